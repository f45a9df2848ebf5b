//! What waits for an application: frames, which become JSON when they are written, and lines of
//! the runtime itself.

use super::edge::write_frame;
use crate::limits::{APP_PAUSE_BYTES, APP_QUEUE_BYTES_MAX, APP_WRITE_BYTES};
use protocol::frame::Frame;
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;

/// The id that an application gave, and whether it was a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenId {
    /// Its text.
    pub(super) text: String,
    /// Whether it is written without quotes.
    pub(super) number: bool,
}

/// A frame that waits: for this application alone, or for all that are subscribed.
#[derive(Debug)]
pub(super) enum Piece {
    /// Its own.
    Own(Frame),
    /// The one of a publication.
    Shared(Rc<Frame>),
}

impl Deref for Piece {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        match self {
            Self::Own(frame) => frame,
            Self::Shared(frame) => frame,
        }
    }
}

impl Piece {
    fn into_frame(self) -> Frame {
        match self {
            Self::Own(frame) => frame,
            Self::Shared(frame) => Rc::unwrap_or_clone(frame),
        }
    }
}

#[derive(Debug)]
enum Item {
    /// With the id to write instead of its own, if another.
    Frame(Piece, Option<GivenId>),
    Line(Vec<u8>),
}

/// The queue of one application, and the piece that is being written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Item>,
    queued_bytes: usize,
    /// Frames of the piece that is being written, each with where it ends in the piece.
    writing: VecDeque<(usize, Piece)>,
    written: usize,
    spare: Vec<u8>,
}

impl Outbox {
    /// Queues a frame; false if it is one too many. It is kept all the same, so that it comes
    /// back with what was not sent.
    pub(super) fn push(&mut self, frame: Piece, id: Option<GivenId>) -> bool {
        self.queued_bytes = self.queued_bytes.saturating_add(frame.bytes().len());
        self.queue.push_back(Item::Frame(frame, id));
        self.queued_bytes <= APP_QUEUE_BYTES_MAX
    }

    /// Queues a line, with its end.
    pub(super) fn push_line(&mut self, line: Vec<u8>) {
        self.queued_bytes = self.queued_bytes.saturating_add(line.len());
        self.queue.push_back(Item::Line(line));
    }

    /// Whether so much waits that the application should read before it sends more.
    pub(super) const fn is_crowded(&self) -> bool {
        self.queued_bytes > APP_PAUSE_BYTES
    }

    /// The next piece to write; the one before is written completely.
    pub(super) fn piece(&mut self) -> Option<Vec<u8>> {
        self.queue.front()?;
        let mut piece = std::mem::take(&mut self.spare);
        self.written = 0;
        while piece.len() < APP_WRITE_BYTES {
            match self.queue.pop_front() {
                Some(Item::Line(line)) => {
                    self.queued_bytes = self.queued_bytes.saturating_sub(line.len());
                    piece.extend_from_slice(&line);
                }
                Some(Item::Frame(frame, id)) => {
                    self.queued_bytes = self.queued_bytes.saturating_sub(frame.bytes().len());
                    write_frame(&mut piece, &frame, id.as_ref());
                    self.writing.push_back((piece.len(), frame));
                }
                None => break,
            }
        }
        Some(piece)
    }

    /// So many more bytes of the piece were taken: frames and bytes that are thereby delivered.
    pub(super) fn wrote(&mut self, bytes: usize) -> (u32, u64) {
        self.written = self.written.saturating_add(bytes);
        let (mut frames, mut total) = (0_u32, 0_u64);
        while self.writing.front().is_some_and(|(end, _)| *end <= self.written) {
            if let Some((_, frame)) = self.writing.pop_front() {
                frames = frames.saturating_add(1);
                let len = u64::try_from(frame.bytes().len()).unwrap_or(u64::MAX);
                total = total.saturating_add(len);
            }
        }
        (frames, total)
    }

    /// The buffer of a piece can be used again.
    pub(super) fn recycle(&mut self, mut piece: Vec<u8>) {
        if piece.capacity() <= APP_WRITE_BYTES.saturating_mul(2) {
            piece.clear();
            self.spare = piece;
        }
    }

    /// Frames that were not taken to their end, in order.
    pub(super) fn unsent(self) -> Vec<Frame> {
        let queued = self.queue.into_iter().filter_map(|item| match item {
            Item::Frame(frame, _) => Some(frame.into_frame()),
            Item::Line(_) => None,
        });
        self.writing.into_iter().map(|(_, frame)| frame.into_frame()).chain(queued).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Outbox, Piece};
    use protocol::frame::FrameBuilder;

    fn frame(id: &str) -> Piece {
        let frame = FrameBuilder::msg(2, id, "a://b.c/d", "a://b.c/e").body(b"{}");
        Piece::Own(frame.build().unwrap())
    }

    #[test]
    fn a_frame_counts_when_its_last_byte_is_taken() {
        let mut out = Outbox::default();
        out.push_line(b"{}\n".to_vec());
        assert!(out.push(frame("1"), None) && out.push(frame("2"), None));
        let piece = out.piece().unwrap();
        assert_eq!(piece.split(|byte| *byte == b'\n').count(), 3 + 1);
        let one = (piece.len() - 3) / 2;
        assert_eq!(out.wrote(3 + one - 1).0, 0);
        let len = u64::try_from(frame("1").bytes().len()).unwrap();
        assert_eq!(out.wrote(1), (1, len));
        assert!(out.push(frame("3"), None));
        let left: Vec<_> = out.unsent().iter().map(|f| f.view().unwrap().id().to_owned()).collect();
        assert_eq!(left, ["2", "3"]);
    }

    #[test]
    fn a_publication_is_one_frame_for_all_and_comes_back_from_each_that_did_not_take_it() {
        let Piece::Own(frame) = frame("1") else { panic!("a frame of its own") };
        let shared = std::rc::Rc::new(frame);
        let mut outs = [Outbox::default(), Outbox::default()];
        for out in &mut outs {
            assert!(out.push(Piece::Shared(std::rc::Rc::clone(&shared)), None));
        }
        assert_eq!(std::rc::Rc::strong_count(&shared), 3);
        let mut outs = outs.into_iter();
        let mut first = outs.next().unwrap();
        let piece = first.piece().unwrap();
        assert_eq!(first.wrote(piece.len()).0, 1);
        assert_eq!(outs.next().unwrap().unsent(), [(*shared).clone()]);
    }
}
