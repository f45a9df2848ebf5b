//! Frames that no packet holds: on a link their body travels in a sealed memfd beside the head.

use super::{Frame, FrameError, FrameRef, flags};
use crate::limits::FRAME_BYTES_MAX;

/// Splits a frame that is too large for a packet into its head, which says so, and its body.
/// `None`: it fits.
pub fn detach(frame: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if frame.len() <= FRAME_BYTES_MAX {
        return None;
    }
    let view = FrameRef::parse(frame).ok()?;
    let body = view.body();
    let mut head = frame.get(..frame.len().saturating_sub(body.len()))?.to_vec();
    let len = u32::try_from(head.len()).ok()?;
    super::patch::put(&mut head, 0, &len.to_le_bytes());
    super::patch::flags(&mut head, view.header.flags | flags::BODY_FD);
    Some((head, body))
}

/// Puts a body back behind its head.
///
/// # Errors
/// The body has another length than the head says, or the head needs none.
pub fn attach(head: &FrameRef<'_>, body: &[u8]) -> Result<Frame, FrameError> {
    if !head.has(flags::BODY_FD) || head.header.body_len != body.len() {
        return Err(FrameError::Arithmetic);
    }
    let total = head.bytes().len().saturating_add(body.len());
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(head.bytes());
    bytes.extend_from_slice(body);
    let len = u32::try_from(total).map_err(|_e| FrameError::TooLarge("len"))?;
    super::patch::put(&mut bytes, 0, &len.to_le_bytes());
    super::patch::flags(&mut bytes, head.header.flags & !flags::BODY_FD);
    Frame::from_bytes(bytes)
}
