//! Attacks on networks: sockets of every family, connections, and what a socket can be told.

use super::Arg::{Bytes, Int};
use super::{NONE, NULL, Probe, opens, probe};
use crate::Profile::Net;
use libc::{
    AF_ALG, AF_BLUETOOTH, AF_CAN, AF_INET, AF_INET6, AF_KEY, AF_NETLINK, AF_PACKET, AF_RDS,
    AF_TIPC, AF_UNIX, AF_VSOCK, AF_X25, AF_XDP, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM,
    SYS_socket,
};

/// `IPPROTO_MPTCP`.
const MULTIPATH: super::Arg = Int(262);
/// Families whose module the kernel would load for a type that exists: with one that does not,
/// nothing is loaded where the filter is missing.
const NO_TYPE: super::Arg = NONE;
/// An abstract name that nobody has, as an address of `AF_UNIX`.
const NOBODY: super::Arg = Bytes(b"\x01\0\0\x7fno-such-name");
const NOBODY_BYTES: super::Arg = Int(16);

pub(super) const PROBES: &[Probe] = &[
    opens("unix", SYS_socket, &[Int(AF_UNIX), Int(SOCK_STREAM), Int(0)]),
    opens("unix-datagram", SYS_socket, &[Int(AF_UNIX), Int(SOCK_DGRAM), Int(0)]),
    opens("unix-packets", SYS_socket, &[Int(AF_UNIX), Int(SOCK_SEQPACKET), Int(0)]),
    opens("tcp", SYS_socket, &[Int(AF_INET), Int(SOCK_STREAM), Int(0)]).but_for(&[Net]),
    opens("udp", SYS_socket, &[Int(AF_INET), Int(SOCK_DGRAM), Int(0)]).but_for(&[Net]),
    opens("tcp6", SYS_socket, &[Int(AF_INET6), Int(SOCK_STREAM), Int(0)]).but_for(&[Net]),
    opens("udp6", SYS_socket, &[Int(AF_INET6), Int(SOCK_DGRAM), Int(0)]).but_for(&[Net]),
    opens("multipath", SYS_socket, &[Int(AF_INET), Int(SOCK_STREAM), MULTIPATH]),
    opens("raw", SYS_socket, &[Int(AF_INET), Int(SOCK_RAW), Int(1)]),
    opens("raw6", SYS_socket, &[Int(AF_INET6), Int(SOCK_RAW), Int(58)]),
    opens("ping", SYS_socket, &[Int(AF_INET), Int(SOCK_DGRAM), Int(1)]),
    opens("netlink", SYS_socket, &[Int(AF_NETLINK), Int(SOCK_RAW), Int(0)]),
    probe("packet", SYS_socket, &[Int(AF_PACKET), NO_TYPE, Int(0)]),
    probe("vsock", SYS_socket, &[Int(AF_VSOCK), NO_TYPE, Int(0)]),
    probe("kernel-crypto", SYS_socket, &[Int(AF_ALG), NO_TYPE, Int(0)]),
    probe("bluetooth", SYS_socket, &[Int(AF_BLUETOOTH), NO_TYPE, Int(0)]),
    probe("can", SYS_socket, &[Int(AF_CAN), NO_TYPE, Int(0)]),
    probe("key-management", SYS_socket, &[Int(AF_KEY), NO_TYPE, Int(0)]),
    probe("tipc", SYS_socket, &[Int(AF_TIPC), NO_TYPE, Int(0)]),
    probe("rds", SYS_socket, &[Int(AF_RDS), NO_TYPE, Int(0)]),
    probe("x25", SYS_socket, &[Int(AF_X25), NO_TYPE, Int(0)]),
    probe("xdp", SYS_socket, &[Int(AF_XDP), NO_TYPE, Int(0)]),
    probe("no-family", SYS_socket, &[NONE, NO_TYPE, Int(0)]),
    probe("pair-datagram", libc::SYS_socketpair, &[Int(AF_UNIX), Int(SOCK_DGRAM), Int(0), NULL]),
    probe("pair", libc::SYS_socketpair, &[Int(AF_UNIX), Int(SOCK_STREAM), Int(0), NULL])
        .but_for(&[Net]),
    probe("connect", libc::SYS_connect, &[NONE, NOBODY, NOBODY_BYTES]).but_for(&[Net]),
    probe("bind", libc::SYS_bind, &[NONE, NULL, Int(0)]),
    probe("listen", libc::SYS_listen, &[NONE, Int(0)]),
    probe("accept", libc::SYS_accept4, &[NONE, NULL, NULL, Int(0)]),
    probe("send-to", libc::SYS_sendto, &[NONE, NULL, Int(0), Int(0), NOBODY, NOBODY_BYTES]),
    probe("send-many", libc::SYS_sendmmsg, &[NONE, NULL, Int(0), Int(0)]),
    probe("receive-many", libc::SYS_recvmmsg, &[NONE, NULL, Int(0), Int(0), NULL]),
    probe("own-name", libc::SYS_getsockname, &[NONE, NULL, NULL]).but_for(&[Net]),
    probe("peer-name", libc::SYS_getpeername, &[NONE, NULL, NULL]).but_for(&[Net]),
    probe(
        "peer-credentials",
        libc::SYS_getsockopt,
        &[Int(3), Int(libc::SOL_SOCKET), Int(libc::SO_PEERCRED), NULL, NULL],
    ),
    probe(
        "peer-process",
        libc::SYS_getsockopt,
        &[Int(3), Int(libc::SOL_SOCKET), Int(77), NULL, NULL],
    ),
    probe(
        "socket-program",
        libc::SYS_setsockopt,
        &[NONE, Int(libc::SOL_SOCKET), Int(libc::SO_ATTACH_FILTER), NULL, Int(0)],
    ),
    probe("interfaces", libc::SYS_ioctl, &[Int(3), Int(0x8912), NULL]),
    probe("hardware-address", libc::SYS_ioctl, &[Int(3), Int(0x8927), NULL]),
];
