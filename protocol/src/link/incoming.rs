//! The receiving half: numbers without gaps, credit kept, acknowledgements when they are worth it.

use super::LinkError;
use crate::frame::{Header, Kind};
use crate::limits::{WINDOW_BYTES, WINDOW_FRAMES};

/// Frames further than the window that control messages may use, so that data never holds them up.
pub(super) const CTL_RESERVE: u64 = 64;
/// Frames owed from which an acknowledgement goes along with a packet that leaves anyway.
const PIGGY_BACK_FRAMES: u64 = 64;

/// What was received on one link.
#[derive(Debug)]
pub struct Incoming {
    last_seq: u64,
    bytes: u64,
    disposed_frames: u64,
    disposed_bytes: u64,
    told_frames: u64,
    told_bytes: u64,
}

impl Incoming {
    pub(super) const fn new() -> Self {
        Self {
            last_seq: 0,
            bytes: 0,
            disposed_frames: 0,
            disposed_bytes: 0,
            told_frames: 0,
            told_bytes: 0,
        }
    }

    pub(super) fn accept(&mut self, header: &Header) -> Result<(), LinkError> {
        let expected = self.last_seq.saturating_add(1);
        if header.seq != expected {
            return Err(LinkError::Sequence { expected, got: header.seq });
        }
        let reserve = if header.kind == Kind::Ctl { CTL_RESERVE } else { 0 };
        let frames_max = self.told_frames.saturating_add(u64::from(WINDOW_FRAMES));
        let bytes_max = self.told_bytes.saturating_add(u64::from(WINDOW_BYTES));
        // A message may start while there is any credit in bytes, and end beyond it.
        let over = self.bytes >= bytes_max && header.kind == Kind::Msg;
        if expected > frames_max.saturating_add(reserve) || over {
            return Err(LinkError::Credit);
        }
        self.last_seq = expected;
        self.bytes = self.bytes.saturating_add(wide(header.len));
        Ok(())
    }

    /// The oldest frame not yet disposed of, of `len` bytes, is dealt with.
    pub fn disposed(&mut self, len: usize) {
        if self.disposed_frames < self.last_seq {
            self.disposed_frames = self.disposed_frames.saturating_add(1);
            self.disposed_bytes = self.disposed_bytes.saturating_add(wide(len));
        }
    }

    /// Number of the last frame received: its `oseq`.
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Whether an acknowledgement is owed, so that the delay must run.
    pub const fn owes(&self) -> bool {
        self.disposed_frames > self.told_frames
    }

    pub(super) fn ack(&mut self, late: bool, leaves_anyway: bool) -> Option<[u8; 28]> {
        let frames = self.disposed_frames.saturating_sub(self.told_frames);
        let bytes = self.disposed_bytes.saturating_sub(self.told_bytes);
        let half = frames >= u64::from(WINDOW_FRAMES / 2) || bytes >= u64::from(WINDOW_BYTES / 2);
        let along = leaves_anyway && frames >= PIGGY_BACK_FRAMES;
        if frames == 0 || !(half || late || along) {
            return None;
        }
        self.told_frames = self.disposed_frames;
        self.told_bytes = self.disposed_bytes;
        let words = [
            self.told_frames,
            self.told_frames.saturating_add(u64::from(WINDOW_FRAMES)),
            self.told_bytes.saturating_add(u64::from(WINDOW_BYTES)),
        ];
        let mut out = [0_u8; 28];
        for (place, byte) in out.iter_mut().zip(words.iter().flat_map(|word| word.to_le_bytes())) {
            *place = byte;
        }
        Some(out)
    }
}

pub(super) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
