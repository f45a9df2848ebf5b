//! A packet is one or more whole frames.

use super::{FrameError, FrameRef};

/// Walks the frames of one packet; ends after the first error.
#[derive(Debug, Clone)]
pub struct PacketFrames<'a> {
    rest: &'a [u8],
}

/// The frames of `packet`.
pub const fn frames(packet: &[u8]) -> PacketFrames<'_> {
    PacketFrames { rest: packet }
}

impl<'a> Iterator for PacketFrames<'a> {
    type Item = Result<FrameRef<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = FrameRef::parse(self.rest);
        self.rest = match &frame {
            Ok(frame) => self.rest.get(frame.header.len..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(frame)
    }
}
