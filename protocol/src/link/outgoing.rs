//! The sending half: numbers, credit, packets. Small frames are copied into the open packet, which
//! leaves when it is full or when the sender's turn ends.

use super::incoming::{CTL_RESERVE, wide};
use super::{LinkError, Settled};
use crate::frame::{Frame, FrameBuilder, Kind, frames, patch};
use crate::limits::{ACK_KEPT_MAX, PACKET_BYTES_TARGET, WINDOW_BYTES, WINDOW_FRAMES};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// One packet, ready to be sent.
#[derive(Debug)]
pub struct Packet {
    /// Whole frames.
    pub bytes: Vec<u8>,
    /// Descriptors that go with it.
    pub fds: Vec<OwnedFd>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    len: u32,
    message: bool,
}

/// What is to be sent on one link.
#[derive(Debug)]
pub struct Outgoing {
    last_seq: u64,
    acked: u64,
    max_seq: u64,
    sent_bytes: u64,
    max_bytes: u64,
    open: Vec<u8>,
    ready: VecDeque<Packet>,
    waiting: VecDeque<Frame>,
    waiting_ctl: VecDeque<(Frame, Vec<OwnedFd>)>,
    in_flight: VecDeque<InFlight>,
    ctl_in_flight: usize,
    spare: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            last_seq: 0,
            acked: 0,
            max_seq: u64::from(WINDOW_FRAMES),
            sent_bytes: 0,
            max_bytes: u64::from(WINDOW_BYTES),
            open: Vec::new(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_ctl: VecDeque::new(),
            in_flight: VecDeque::new(),
            ctl_in_flight: 0,
            spare: Vec::new(),
        }
    }

    /// Queues a message frame: into the open packet if there is credit, else to wait for it.
    pub fn push(&mut self, frame: &[u8]) {
        if self.waiting.is_empty() && self.waiting_ctl.is_empty() && self.has_credit() {
            self.append(frame, true);
        } else {
            self.waiting.push_back(Frame::trusted(frame.to_vec()));
        }
    }

    /// Queues a control frame with its descriptors, ahead of messages that wait for credit. It has
    /// a reserve of its own; past that it waits, too.
    pub fn push_ctl(&mut self, frame: &Frame, fds: Vec<OwnedFd>) {
        if self.waiting_ctl.is_empty() && self.has_ctl_credit() {
            self.append_ctl(frame, fds);
        } else {
            self.waiting_ctl.push_back((frame.clone(), fds));
        }
    }

    fn append_ctl(&mut self, frame: &Frame, fds: Vec<OwnedFd>) {
        self.ctl_in_flight = self.ctl_in_flight.saturating_add(1);
        if fds.is_empty() {
            self.append(frame.bytes(), false);
            return;
        }
        self.close_open();
        self.append(frame.bytes(), false);
        let bytes = std::mem::take(&mut self.open);
        self.ready.push_back(Packet { bytes, fds });
    }

    /// Queues a frame that has no number (hello, acknowledgement, heartbeat, bye).
    pub fn push_plain(&mut self, kind: Kind, body: &[u8]) {
        if let Ok(frame) = FrameBuilder::new(kind).body(body).build() {
            self.make_room(frame.bytes().len());
            self.open.extend_from_slice(frame.bytes());
        }
    }

    /// Whether anything could be sent now.
    pub fn has_packet(&self) -> bool {
        !self.open.is_empty() || !self.ready.is_empty()
    }

    /// Takes the next packet. If the socket does not take it, give it back by
    /// [`Outgoing::put_back`]; if it does, give the buffer back by [`Outgoing::recycle`].
    pub fn next_packet(&mut self) -> Option<Packet> {
        if let Some(packet) = self.ready.pop_front() {
            return Some(packet);
        }
        if self.open.is_empty() {
            return None;
        }
        let bytes = std::mem::replace(&mut self.open, std::mem::take(&mut self.spare));
        Some(Packet { bytes, fds: Vec::new() })
    }

    /// The socket was full.
    pub fn put_back(&mut self, packet: Packet) {
        self.ready.push_front(packet);
    }

    /// The packet was sent; its buffer can be used again.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= PACKET_BYTES_TARGET.saturating_mul(2) {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// What waits here: for credit, or for the socket.
    pub fn backlog(&self) -> usize {
        let frames = self.waiting.len().saturating_add(self.waiting_ctl.len());
        frames.saturating_add(self.ready.len())
    }

    /// Control frames that the peer has not taken, sent or not: with their descriptors they cost
    /// memory here, whatever the peer does.
    pub fn untaken_ctl(&self) -> usize {
        self.ctl_in_flight.saturating_add(self.waiting_ctl.len())
    }

    /// Message frames that were never handed to the socket, in order.
    pub fn unsent(&mut self) -> Vec<Frame> {
        self.close_open();
        let mut unsent = Vec::new();
        for packet in self.ready.drain(..) {
            for frame in frames(&packet.bytes).flatten().filter(|f| f.header.kind == Kind::Msg) {
                unsent.push(frame.to_owned());
            }
        }
        unsent.extend(self.waiting.drain(..));
        unsent
    }

    pub(super) fn acknowledged(&mut self, body: &[u8]) -> Result<Settled, LinkError> {
        let word = |at: usize| {
            body.get(at..at.saturating_add(8))
                .and_then(|part| part.try_into().ok())
                .map(u64::from_le_bytes)
                .ok_or(LinkError::Ack)
        };
        let (prefix, max_seq, max_bytes) = (word(0)?, word(8)?, word(16)?);
        let kept = body
            .get(24..26)
            .and_then(|part| part.try_into().ok())
            .map(u16::from_le_bytes)
            .map_or(usize::MAX, usize::from);
        let length = kept.saturating_mul(4).saturating_add(28);
        if kept > ACK_KEPT_MAX || body.len() != length || body.get(26..28) != Some(&[0, 0]) {
            return Err(LinkError::Ack);
        }
        let backwards = prefix < self.acked || max_seq < self.max_seq || max_bytes < self.max_bytes;
        if backwards || prefix > self.last_seq {
            return Err(LinkError::Ack);
        }
        let mut settled = Settled::default();
        for _ in self.acked..prefix {
            let Some(frame) = self.in_flight.pop_front() else { return Err(LinkError::Ack) };
            if frame.message {
                settled.frames = settled.frames.saturating_add(1);
                settled.bytes = settled.bytes.saturating_add(u64::from(frame.len));
            } else {
                self.ctl_in_flight = self.ctl_in_flight.saturating_sub(1);
            }
        }
        (self.acked, self.max_seq, self.max_bytes) = (prefix, max_seq, max_bytes);
        while self.has_ctl_credit() {
            let Some((frame, fds)) = self.waiting_ctl.pop_front() else { break };
            self.append_ctl(&frame, fds);
        }
        while self.has_credit() {
            let Some(frame) = self.waiting.pop_front() else { break };
            self.append(frame.bytes(), true);
        }
        Ok(settled)
    }

    const fn has_credit(&self) -> bool {
        self.last_seq < self.max_seq && self.sent_bytes < self.max_bytes
    }

    const fn has_ctl_credit(&self) -> bool {
        self.last_seq < self.max_seq.saturating_add(CTL_RESERVE)
    }

    fn append(&mut self, frame: &[u8], message: bool) {
        self.make_room(frame.len());
        let at = self.open.len();
        self.open.extend_from_slice(frame);
        self.last_seq = self.last_seq.saturating_add(1);
        self.sent_bytes = self.sent_bytes.saturating_add(wide(frame.len()));
        if let Some(place) = self.open.get_mut(at..) {
            patch::seq(place, self.last_seq);
        }
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.in_flight.push_back(InFlight { len, message });
    }

    /// A frame that would make the open packet too long starts the next one.
    fn make_room(&mut self, len: usize) {
        if self.open.len().saturating_add(len) > PACKET_BYTES_TARGET {
            self.close_open();
        }
    }

    fn close_open(&mut self) {
        if !self.open.is_empty() {
            let bytes = std::mem::replace(&mut self.open, std::mem::take(&mut self.spare));
            self.ready.push_back(Packet { bytes, fds: Vec::new() });
        }
    }
}
