//! Why something does not reach its domain, for the one who asked.

use protocol::reason::Reason;

/// Why a message does not reach its domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Token and code.
    pub(crate) reason: Reason,
    /// Stage of the deploy, if it was one.
    pub(crate) stage: Option<&'static str>,
    /// One sentence.
    pub(crate) desc: String,
    /// Milliseconds until it makes sense to try again.
    pub(crate) retry_after_ms: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, desc: impl Into<String>) -> Self {
        Self { reason, stage: None, desc: desc.into(), retry_after_ms: None }
    }

    pub(crate) fn at(mut self, stage: &'static str) -> Self {
        self.stage = Some(stage);
        self
    }

    pub(crate) fn retry(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms.max(1));
        self
    }
}
