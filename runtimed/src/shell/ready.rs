//! Descriptors that the runtime waits for.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for a descriptor to become what `interest` says.
///
/// # Errors
/// It cannot be waited for.
#[expect(
    deprecated,
    reason = "the successor is unsafe for types whose number could change; an OwnedFd keeps its own"
)]
pub(super) fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
