//! What a receiver has not yet taken: the account of one link, charged to the senders.
//!
//! The frames themselves are in the shell. Here is one small record each, in order.

use crate::limits::{
    EGRESS_APP_BYTES, EGRESS_APP_FRAMES, EGRESS_RESPONSE_FACTOR, EGRESS_WORKER_BYTES,
    EGRESS_WORKER_FRAMES,
};
use std::collections::VecDeque;

/// The account number of the runtime itself.
pub(crate) const BY_RUNTIME: u32 = u32::MAX;

/// A frame that the receiver has not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Who sent it.
    pub(crate) origin: u32,
    /// Its size, with a body in a descriptor.
    pub(crate) bytes: u32,
    /// Whether it is a message that was accepted (and not an answer of the runtime).
    pub(crate) counted: bool,
}

/// How far a frame may fill the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A message: half of what the others leave free.
    Message,
    /// A response, or a frame that was accepted before: everything, twice over.
    Response,
}

/// The account.
#[derive(Debug)]
pub(crate) struct Egress {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    counted: u64,
    frames_max: u32,
    bytes_max: u64,
}

impl Egress {
    /// For an application.
    pub(crate) const fn app() -> Self {
        Self::new(EGRESS_APP_FRAMES, EGRESS_APP_BYTES)
    }

    /// For a worker.
    pub(crate) const fn worker() -> Self {
        Self::new(EGRESS_WORKER_FRAMES, EGRESS_WORKER_BYTES)
    }

    const fn new(frames_max: u32, bytes_max: u64) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, counted: 0, frames_max, bytes_max }
    }

    /// Bytes waiting.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Accepted messages waiting.
    pub(crate) const fn counted(&self) -> u64 {
        self.counted
    }

    fn frames(&self) -> u64 {
        u64::try_from(self.waiting.len()).unwrap_or(u64::MAX)
    }

    /// Whether one more frame of `bytes` from `origin` may wait here.
    pub(crate) fn has_room(&self, origin: u32, bytes: u32, claim: Claim) -> bool {
        let frames = self.frames().saturating_add(1);
        let size = self.bytes.saturating_add(u64::from(bytes));
        let (frames_max, bytes_max) = (u64::from(self.frames_max), self.bytes_max);
        match claim {
            Claim::Response => {
                let factor = u64::from(EGRESS_RESPONSE_FACTOR);
                frames <= frames_max.saturating_mul(factor)
                    && size <= bytes_max.saturating_mul(factor)
            }
            Claim::Message => {
                let calm =
                    frames.saturating_mul(2) <= frames_max && size.saturating_mul(2) <= bytes_max;
                calm || self.is_within_share(origin, bytes)
            }
        }
    }

    /// The origin's own frames may be half of what all others leave free.
    fn is_within_share(&self, origin: u32, bytes: u32) -> bool {
        let (mut own, mut own_bytes) = (0_u64, 0_u64);
        for waiting in self.waiting.iter().filter(|waiting| waiting.origin == origin) {
            own = own.saturating_add(1);
            own_bytes = own_bytes.saturating_add(u64::from(waiting.bytes));
        }
        let half = |max: u64, used: u64, own: u64| {
            max.saturating_sub(used.saturating_sub(own)).checked_div(2).unwrap_or(0)
        };
        own.saturating_add(1) <= half(u64::from(self.frames_max), self.frames(), own)
            && own_bytes.saturating_add(u64::from(bytes))
                <= half(self.bytes_max, self.bytes, own_bytes)
    }

    /// Enters a frame.
    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(u64::from(waiting.bytes));
        self.counted = self.counted.saturating_add(u64::from(waiting.counted));
        self.waiting.push_back(waiting);
    }

    fn forget(&mut self, waiting: Waiting) {
        self.bytes = self.bytes.saturating_sub(u64::from(waiting.bytes));
        self.counted = self.counted.saturating_sub(u64::from(waiting.counted));
    }

    /// The receiver took the oldest `frames`: how many of them were accepted messages.
    pub(crate) fn dispose(&mut self, frames: u32) -> u64 {
        let mut delivered = 0_u64;
        for _ in 0..frames {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.forget(waiting);
            delivered = delivered.saturating_add(u64::from(waiting.counted));
        }
        delivered
    }

    /// The link ended and the newest `unsent` frames were never handed over: how many accepted
    /// messages were, and of each unsent frame whether it is one.
    pub(crate) fn end(&mut self, unsent: usize) -> (u64, Vec<bool>) {
        let handed = self.waiting.len().saturating_sub(unsent);
        let delivered = self.dispose(u32::try_from(handed).unwrap_or(u32::MAX));
        let missing = unsent.saturating_sub(self.waiting.len());
        let rest = self.waiting.drain(..).map(|waiting| waiting.counted);
        let counted = std::iter::repeat_n(false, missing).chain(rest).collect();
        (self.bytes, self.counted) = (0, 0);
        (delivered, counted)
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, EGRESS_APP_BYTES, Egress, Waiting};

    fn fill(egress: &mut Egress, origin: u32) -> usize {
        (0..10_000)
            .take_while(|_| {
                let room = egress.has_room(origin, 100, Claim::Message);
                if room {
                    egress.push(Waiting { origin, bytes: 100, counted: true });
                }
                room
            })
            .count()
    }

    #[test]
    fn each_sender_gets_half_of_what_the_others_leave() {
        let mut egress = Egress::app();
        assert_eq!(fill(&mut egress, 1), 512);
        assert_eq!(fill(&mut egress, 2), 256);
        assert_eq!(fill(&mut egress, 3), 128);
        assert_eq!(egress.dispose(512), 512);
        assert!(egress.has_room(1, 100, Claim::Message));
    }

    #[test]
    fn a_response_fits_when_messages_do_not_up_to_twice_the_bound() {
        let mut egress = Egress::app();
        for _ in 0..2_048 {
            assert!(egress.has_room(1, 100, Claim::Response));
            egress.push(Waiting { origin: 1, bytes: 100, counted: true });
        }
        assert!(!egress.has_room(1, 100, Claim::Response));
        assert!(!egress.has_room(2, 100, Claim::Message));
    }

    #[test]
    fn bytes_bound_as_frames_do() {
        let half = u32::try_from(EGRESS_APP_BYTES / 2).unwrap();
        let quarter = half / 2;
        let mut egress = Egress::app();
        assert!(egress.has_room(1, half, Claim::Message));
        assert!(!egress.has_room(1, half.saturating_add(1), Claim::Message));
        egress.push(Waiting { origin: 1, bytes: half, counted: true });
        assert!(!egress.has_room(1, 1, Claim::Message));
        assert!(egress.has_room(2, quarter, Claim::Message));
        assert!(!egress.has_room(2, quarter.saturating_add(1), Claim::Message));
    }

    #[test]
    fn at_the_end_the_newest_frames_are_the_unsent_ones() {
        let mut egress = Egress::app();
        for counted in [true, false, true, false, true] {
            egress.push(Waiting { origin: 1, bytes: 10, counted });
        }
        assert_eq!(egress.end(2), (2, vec![false, true]));
        assert_eq!((egress.bytes(), egress.counted()), (0, 0));
    }
}
