//! Datagram sockets without `bind`: the system-call filter of this role has none.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

/// A non-blocking datagram socket with a random port that hears only `peer`.
///
/// # Errors
/// No route, or no descriptors left.
pub(super) fn datagram(peer: SocketAddr) -> io::Result<UdpSocket> {
    let family = if peer.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(peer))?;
    Ok(UdpSocket::from(fd))
}
