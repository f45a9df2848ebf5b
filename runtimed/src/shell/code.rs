//! Descriptors that the core knows by number: the code of components, and streams on their way.

use nix::errno::Errno;
use protocol::limits::CODE_BYTES_MAX;
use protocol::sys::read_sealed;
use runtime_core::{CodeHandle, Digest, StreamHandle};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// The descriptors held for the core.
#[derive(Debug, Default)]
pub(super) struct Held {
    code: HashMap<CodeHandle, OwnedFd>,
    streams: HashMap<StreamHandle, OwnedFd>,
    last: u64,
}

impl Held {
    fn next(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// Checks and hashes code that a worker handed over, and keeps it. The digest is of what
    /// everybody will read: the memfd is sealed, and read by position, so that its shared offset
    /// means nothing.
    ///
    /// # Errors
    /// It is no sealed memfd within its bound, or not as long as was said.
    pub(super) fn keep_code(&mut self, fd: OwnedFd, size: u64) -> io::Result<(CodeHandle, Digest)> {
        let bytes = read_sealed(fd.as_fd(), CODE_BYTES_MAX)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) != size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not as long as was said"));
        }
        let digest = Digest(Sha256::digest(&bytes).into());
        let handle = CodeHandle(self.next());
        self.code.insert(handle, fd);
        Ok((handle, digest))
    }

    /// A descriptor of the code for one more worker.
    ///
    /// # Errors
    /// There is no such code, or no descriptor is left.
    pub(super) fn code(&self, handle: CodeHandle) -> io::Result<OwnedFd> {
        let fd = self.code.get(&handle).ok_or_else(|| io::Error::from(Errno::EBADF))?;
        fd.try_clone()
    }

    /// Forgets the code.
    pub(super) fn drop_code(&mut self, handle: CodeHandle) {
        self.code.remove(&handle);
    }

    /// Keeps a stream while its input is dealt with.
    pub(super) fn keep_stream(&mut self, fd: OwnedFd) -> StreamHandle {
        let handle = StreamHandle(self.next());
        self.streams.insert(handle, fd);
        handle
    }

    /// Takes a stream to hand it on, or to close it.
    pub(super) fn take_stream(&mut self, handle: StreamHandle) -> Option<OwnedFd> {
        self.streams.remove(&handle)
    }
}

#[cfg(test)]
mod tests {
    use super::Held;
    use protocol::sys::sealed_memfd;

    #[test]
    fn code_is_hashed_as_it_will_be_read() {
        let mut held = Held::default();
        let fd = sealed_memfd("code", b"abc").unwrap();
        nix::unistd::lseek(&fd, 2, nix::unistd::Whence::SeekSet).unwrap();
        let (handle, digest) = held.keep_code(fd, 3).unwrap();
        assert_eq!(digest.0[..4], [0xba, 0x78, 0x16, 0xbf]);
        held.code(handle).unwrap();
        held.drop_code(handle);
        assert!(held.code(handle).is_err());
    }

    #[test]
    fn code_of_another_length_or_no_memfd_is_refused() {
        let mut held = Held::default();
        assert!(held.keep_code(sealed_memfd("code", b"abc").unwrap(), 4).is_err());
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(held.keep_code(file.into(), 3).is_err());
    }
}
