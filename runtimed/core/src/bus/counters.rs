//! The account of all messages: accepted = delivered + refused + expired + queued.

use protocol::reason::Reason;
use std::collections::BTreeMap;

/// What became of the messages since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Came in, or were made as a copy for a subscriber.
    pub accepted: u64,
    /// Taken by the receiver, or by the runtime itself.
    pub delivered: u64,
    /// Refused, dropped or lost with their receiver; each for a reason.
    pub refused: u64,
    /// Given up at their deadline before they were handed over.
    pub expired: u64,
    /// Waiting in a link or parked; filled in by [`crate::Core::counters`].
    pub queued: u64,
    /// Of the refused: responses that nobody waited for.
    pub late: u64,
    /// Answers that the runtime made itself; in none of the above.
    pub answered: u64,
    /// Of these: not handed over, since the receiver takes nothing.
    pub unanswered: u64,
    /// Requests answered with 408.
    pub deadlines: u64,
    /// The refused by reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl Counters {
    /// One message more came in.
    pub(crate) const fn accept(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }

    /// The runtime took it.
    pub(crate) const fn deliver(&mut self) {
        self.delivered = self.delivered.saturating_add(1);
    }

    /// It was refused.
    pub(crate) fn refuse(&mut self, reason: Reason) {
        self.refused = self.refused.saturating_add(1);
        let count = self.reasons.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// It was a response that nobody waits for.
    pub(crate) const fn late(&mut self) {
        self.refused = self.refused.saturating_add(1);
        self.late = self.late.saturating_add(1);
    }

    /// What does not add up, if anything.
    pub(crate) fn check(&self, queued: u64) -> Result<(), String> {
        let parts = [self.delivered, self.refused, self.expired, queued];
        if parts.into_iter().fold(0_u64, u64::saturating_add) == self.accepted {
            return Ok(());
        }
        Err(format!(
            "accepted {} is not delivered {} + refused {} + expired {} + queued {queued}",
            self.accepted, self.delivered, self.refused, self.expired
        ))
    }
}
