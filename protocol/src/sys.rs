//! Descriptors across processes: packets with `SCM_RIGHTS`, sealed memfds, pidfds. The only file of
//! this crate that may be `unsafe`, and only where neither std nor nix has a safe way.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    recvmsg, sendmsg, socketpair,
};
use nix::sys::stat::fstat;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use crate::limits::PACKET_FDS_MAX;

/// A pair of connected sockets that keep packet boundaries, close-on-exec.
///
/// # Errors
/// No descriptors left.
pub fn socketpair_seqpacket() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// A pair of connected streams, close-on-exec and non-blocking.
///
/// # Errors
/// No descriptors left.
pub fn socketpair_stream() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}

/// What one packet brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes in the buffer; 0 is the end of the link.
    pub len: usize,
    /// Descriptors, owned before anything is judged.
    pub fds: Vec<OwnedFd>,
    /// The packet or its descriptors did not fit: a breach.
    pub truncated: bool,
}

/// Sends one packet; never blocks, never raises SIGPIPE. On `WouldBlock` nothing was sent and the
/// descriptors stay with the caller.
///
/// # Errors
/// What the socket says.
pub fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let raw: Vec<RawFd> = fds.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let sent =
        sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::Error::other("packet was cut")) }
}

/// Receives one packet; never blocks. After a peer's death `ECONNRESET` comes *before* its queued
/// packets: read on until `len` is 0, or its last words are lost ([`is_reset`]).
///
/// # Errors
/// What the socket says.
pub fn recv_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!([RawFd; PACKET_FDS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            fds.extend(raw.into_iter().map(adopt));
        }
    }
    let cut = MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC;
    Ok(Received { len: message.bytes, fds, truncated: message.flags.intersects(cut) })
}

/// Whether the error only announces the end: the queued packets follow.
pub fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Takes ownership of an inherited or just received descriptor number.
#[expect(unsafe_code, reason = "the kernel hands descriptors over as numbers")]
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller got this number from exec or from a control message, and nobody else in
    // this process owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets or clears close-on-exec.
///
/// # Errors
/// Not a descriptor.
pub fn set_cloexec(fd: impl AsFd, on: bool) -> io::Result<()> {
    let flag = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(flag))?;
    Ok(())
}

/// Makes it non-blocking.
///
/// # Errors
/// Not a descriptor.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// A memfd with these bytes that nobody can change any more.
///
/// # Errors
/// No memory or descriptors left, or the process's file size limit is too small.
pub fn sealed_memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = nix::unistd::write(&fd, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    seal(&fd)?;
    Ok(fd)
}

/// How often a seal is tried. The kernel waits 150 ms in each attempt.
const SEAL_ATTEMPTS: u32 = 10;

/// Nobody changes the file from here on.
///
/// The kernel refuses with EBUSY while it holds one of the pages itself, as when it moves memory
/// about under load. Nobody else has the file yet, so that waiting for the kernel is enough.
fn seal(fd: &OwnedFd) -> io::Result<()> {
    for _ in 1..SEAL_ATTEMPTS {
        match fcntl(fd, FcntlArg::F_ADD_SEALS(SEALS)) {
            Err(Errno::EBUSY) => {}
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
    fcntl(fd, FcntlArg::F_ADD_SEALS(SEALS)).map(drop).map_err(io::Error::from)
}

/// Makes sure that a descriptor from a worker is a memfd that nobody can change, really holds its
/// bytes (a hole would be paid for by the reader), and is at most `max` bytes; its size.
///
/// # Errors
/// It is anything else.
pub fn check_sealed(fd: impl AsFd, max: usize) -> io::Result<usize> {
    let fd = fd.as_fd();
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    if fstatfs(fd)?.filesystem_type() != TMPFS_MAGIC {
        return Err(invalid("not a memfd"));
    }
    let seals = SealFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SEALS) {
        return Err(invalid("not sealed"));
    }
    let stat = fstat(fd)?;
    let size = usize::try_from(stat.st_size).map_err(|_e| invalid("size"))?;
    if size > max {
        return Err(invalid("too large"));
    }
    let held = usize::try_from(stat.st_blocks).map_err(|_e| invalid("size"))?.saturating_mul(512);
    if held < size { Err(invalid("has holes")) } else { Ok(size) }
}

/// Reads a sealed memfd from its beginning, whatever its shared offset.
///
/// # Errors
/// As [`check_sealed`], or it cannot be read.
pub fn read_sealed(fd: impl AsFd, max: usize) -> io::Result<Vec<u8>> {
    let fd = fd.as_fd();
    let mut bytes = vec![0_u8; check_sealed(fd, max)?];
    let mut done = 0_usize;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = i64::try_from(done).map_err(|_e| io::Error::from(io::ErrorKind::InvalidData))?;
        match nix::sys::uio::pread(fd, rest, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done = done.saturating_add(read),
        }
    }
    Ok(bytes)
}

/// A pidfd of a process.
///
/// # Errors
/// It is gone, or the kernel is too old.
#[expect(unsafe_code, reason = "nix has no pidfd_open")]
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        Ok(fd) if fd >= 0 => Ok(adopt(fd)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal to the process behind a pidfd.
///
/// # Errors
/// It is gone, or not ours to signal.
#[expect(unsafe_code, reason = "nix has no pidfd_send_signal")]
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means "as kill(2)"; the other arguments are integers.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Reaps the child behind a pidfd, if it has ended. Children that were born with no exit signal
/// (`CLONE_PARENT`) are included.
///
/// # Errors
/// It is no child of ours, or was reaped already.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    match waitid(Id::PIDFd(pidfd), flags) {
        Ok(WaitStatus::Exited(_, code)) => Ok(Some(Ended::Code(code))),
        // The numbers of signals are the kernel's interface.
        #[allow(clippy::as_conversions, reason = "nix offers no other way to the number")]
        Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(Ended::Signal(signal as i32))),
        Ok(_) | Err(Errno::EINTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        check_sealed, is_reset, read_sealed, recv_packet, sealed_memfd, send_packet,
        socketpair_seqpacket,
    };
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::os::fd::AsFd as _;

    #[test]
    fn a_packet_brings_its_descriptors() {
        let (a, b) = socketpair_seqpacket().unwrap();
        let code = sealed_memfd("code", b"let x = 1").unwrap();
        send_packet(a.as_fd(), b"hello", &[code.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let got = recv_packet(b.as_fd(), &mut buffer).unwrap();
        assert_eq!((got.len, got.truncated), (5, false));
        assert_eq!(read_sealed(&got.fds[0], 100).unwrap(), b"let x = 1");
    }

    #[test]
    fn last_words_are_read_after_the_reset() {
        let (a, b) = socketpair_seqpacket().unwrap();
        send_packet(b.as_fd(), b"unread by the dead", &[]).unwrap();
        send_packet(a.as_fd(), b"last words", &[]).unwrap();
        drop(a);
        let mut buffer = [0; 64];
        let reset = recv_packet(b.as_fd(), &mut buffer).unwrap_err();
        assert!(is_reset(&reset), "{reset}");
        assert_eq!(recv_packet(b.as_fd(), &mut buffer).unwrap().len, 10);
        assert_eq!(recv_packet(b.as_fd(), &mut buffer).unwrap().len, 0);
    }

    #[test]
    fn a_packet_that_does_not_fit_is_noticed() {
        let (a, b) = socketpair_seqpacket().unwrap();
        send_packet(a.as_fd(), &[1; 65], &[]).unwrap();
        assert!(recv_packet(b.as_fd(), &mut [0; 64]).unwrap().truncated);
    }

    #[test]
    fn attack_024_only_sealed_memfds_of_real_bytes_pass() {
        let good = sealed_memfd("x", &[7; 5000]).unwrap();
        assert_eq!(check_sealed(&good, 5000).unwrap(), 5000);
        assert!(check_sealed(&good, 4999).is_err());
        let open = memfd_create("x", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert!(check_sealed(&open, 10).is_err());
        nix::unistd::ftruncate(&open, 1_000_000).unwrap();
        nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_ADD_SEALS(super::SEALS)).unwrap();
        assert!(check_sealed(&open, 2_000_000).is_err(), "holes");
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(check_sealed(&file, usize::MAX).is_err());
        // Large pages take the same seals; a machine may have none.
        let large = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_HUGETLB;
        if let Ok(large) = memfd_create("x", large) {
            nix::fcntl::fcntl(&large, nix::fcntl::FcntlArg::F_ADD_SEALS(super::SEALS)).unwrap();
            assert!(check_sealed(&large, usize::MAX).is_err(), "large pages");
        }
    }

    #[test]
    fn attack_024_a_shared_offset_hides_nothing() {
        let fd = sealed_memfd("x", b"EVIL;GOOD").unwrap();
        nix::unistd::lseek(&fd, 5, nix::unistd::Whence::SeekSet).unwrap();
        assert_eq!(read_sealed(&fd, 100).unwrap(), b"EVIL;GOOD");
    }
}
