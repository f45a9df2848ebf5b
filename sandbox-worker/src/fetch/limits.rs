//! Every bound of the fetch role, each with its unit.

use protocol::limits::CODE_BYTES_MAX;

/// Bytes of a source package: code in base64 (a third more), and some members around it.
pub(crate) const PACKAGE_BYTES_MAX: usize = CODE_BYTES_MAX.saturating_mul(2);
/// Bytes of the head of an HTTP response.
pub(crate) const HTTP_HEAD_BYTES_MAX: usize = 65_536;
/// Header lines of an HTTP response.
pub(crate) const HTTP_HEADERS_MAX: usize = 100;
/// Requests of the job that wait for their turn on the link.
pub(crate) const ASKS_QUEUED: usize = 8;
/// Bytes of the sentence that goes with a failure.
pub(crate) const SENTENCE_BYTES_MAX: usize = 512;
