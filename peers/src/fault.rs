//! What can go wrong in a peer; each ends the call it happened in.

use std::io;
use std::time::Duration;

/// A failure of a peer itself, never an answer to whoever talks to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system refused.
    #[error("{doing}: {cause}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The peer's own task has ended.
    #[error("the peer has stopped")]
    Stopped,
    /// The other end closed the connection.
    #[error("the other end closed the connection")]
    Closed,
    /// What was waited for did not come.
    #[error("nothing came within {waited:?} while waiting for {what}")]
    Deadline {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The other end sent something that is not JSON of the expected kind.
    #[error("not understood: {0}")]
    Malformed(String),
    /// The daemon refused the hello; the line it answered.
    #[error("refused: {0}")]
    Refused(serde_json::Value),
    /// A bound of this crate was reached.
    #[error("{what} has reached its limit of {limit}")]
    Full {
        /// What is full.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl Fault {
    /// An [`Fault::Io`] made of what was being done.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { doing, cause }
    }
}
