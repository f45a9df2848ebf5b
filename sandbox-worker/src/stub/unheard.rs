//! Messages that came before the component listened: some stubs first log in somewhere and only
//! then add their listener. They are kept for a while and handed in again.

use protocol::frame::Frame;
use std::collections::VecDeque;
use std::time::Duration;

/// Messages that are kept.
const MESSAGES_MAX: usize = 256;
/// Bytes that are kept.
const BYTES_MAX: usize = 1_048_576;
/// How long: less than a requester waits.
const KEPT: Duration = Duration::from_secs(10);

/// What was kept, oldest first, each with the time when it is given up.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    frames: VecDeque<(Duration, Frame)>,
    bytes: usize,
}

impl Unheard {
    /// Keeps it; gives it back if there is no room.
    pub(super) fn keep(&mut self, now: Duration, frame: &Frame) -> Option<Frame> {
        let bytes = self.bytes.saturating_add(frame.bytes().len());
        if self.frames.len() >= MESSAGES_MAX || bytes > BYTES_MAX {
            return Some(frame.clone());
        }
        self.bytes = bytes;
        self.frames.push_back((now.saturating_add(KEPT), frame.clone()));
        None
    }

    /// When the oldest is given up.
    pub(super) fn next(&self) -> Option<Duration> {
        self.frames.front().map(|entry| entry.0)
    }

    /// All of them.
    pub(super) fn take_all(&mut self) -> Vec<Frame> {
        self.bytes = 0;
        self.frames.drain(..).map(|entry| entry.1).collect()
    }

    /// Those whose time is over.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Frame> {
        let mut out = Vec::new();
        while let Some((_, frame)) = self.frames.pop_front_if(|entry| entry.0 <= now) {
            self.bytes = self.bytes.saturating_sub(frame.bytes().len());
            out.push(frame);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, MESSAGES_MAX, Unheard};
    use protocol::frame::FrameBuilder;
    use std::time::Duration;

    #[test]
    fn what_is_kept_has_a_bound_and_an_end() {
        let mut unheard = Unheard::default();
        let frame = FrameBuilder::msg(2, "1", "a://b.c/d", "e://f.g/h").build().unwrap();
        for _ in 0..MESSAGES_MAX {
            assert_eq!(unheard.keep(Duration::ZERO, &frame), None);
        }
        assert_eq!(unheard.keep(Duration::ZERO, &frame), Some(frame));
        assert_eq!(unheard.expired(Duration::from_secs(1)).len(), 0);
        assert_eq!(unheard.next(), Some(KEPT));
        assert_eq!(unheard.expired(KEPT).len(), MESSAGES_MAX);
        assert_eq!((unheard.next(), unheard.take_all().len()), (None, 0));
    }
}
