//! The frame: a fixed 48-byte header, then `id`, `from`, `to`, extensions and body, unpadded.
//!
//! ```text
//!  0        4    5     6       8            16             24             32     34   35  36
//!  | len    |kind|mtype| flags | seq        | origin       | oseq         | code |hops| 0 |
//!  36       38         40       42        44         48
//!  | id_len | from_len | to_len | ext_len | body_len | id from to ext body …
//! ```
//!
//! All integers are little-endian. Routing data exists once, here; the body is opaque JSON text
//! that no router decodes. `docs/adr/0002-frame-layout.md` says why.

mod build;
mod ext;
mod large;
mod packet;

pub use build::FrameBuilder;
pub use ext::{Ext, ExtError, ExtIter, ExtTag};
pub use large::{attach, detach};
pub use packet::{PacketFrames, frames};

use crate::limits::{
    ADDRESS_BYTES_MAX, BODY_BYTES_MAX, EXT_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_HELD_BYTES_MAX,
    ID_BYTES_MAX,
};

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// First frame of a worker: fixed layout, see [`crate::link::Hello`].
    Hello = 0x01,
    /// The daemon's answer to it: fixed layout, see [`crate::link::Welcome`].
    Welcome = 0x02,
    /// A message of the bus; sequenced.
    Msg = 0x10,
    /// A bincode control message; sequenced.
    Ctl = 0x11,
    /// Acknowledgement and credit.
    Ack = 0x20,
    /// Heartbeat; the body is echoed.
    Ping = 0x21,
    /// Its answer, given by the event loop of the engine.
    Pong = 0x22,
    /// The last frame of a link that ends in order.
    Bye = 0x2F,
}

impl Kind {
    /// The kind with this number.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Hello,
            0x02 => Self::Welcome,
            0x10 => Self::Msg,
            0x11 => Self::Ctl,
            0x20 => Self::Ack,
            0x21 => Self::Ping,
            0x22 => Self::Pong,
            0x2F => Self::Bye,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Hello => 0x01,
            Self::Welcome => 0x02,
            Self::Msg => 0x10,
            Self::Ctl => 0x11,
            Self::Ack => 0x20,
            Self::Ping => 0x21,
            Self::Pong => 0x22,
            Self::Bye => 0x2F,
        }
    }

    /// Whether frames of this kind carry a sequence number.
    pub const fn is_sequenced(self) -> bool {
        matches!(self, Self::Msg | Self::Ctl)
    }
}

/// The flags of a frame, bit by bit (architecture §5.3).
pub mod flags {
    /// The id was a JSON number.
    pub const ID_NUM: u16 = 1 << 0;
    /// The body is in the descriptor that came with the packet.
    pub const BODY_FD: u16 = 1 << 1;
    /// The extensions hold a trace.
    pub const TRACE: u16 = 1 << 2;
    /// Injected by a bridge on behalf of a remote entity; written by the daemon.
    pub const INBOUND: u16 = 1 << 3;
    /// The sender waits for a response.
    pub const REPLY: u16 = 1 << 4;
    /// `body.p2p` was true.
    pub const P2P: u16 = 1 << 5;
    /// The sender wants the message kept until delivered.
    pub const DURABLE: u16 = 1 << 6;
    /// Made by the runtime, not by `from`; written by the daemon.
    pub const SYNTH: u16 = 1 << 7;
    /// Possibly a repetition.
    pub const REDELIVERED: u16 = 1 << 8;
    /// Publications before this one were dropped for this receiver; written by the daemon.
    pub const LAGGED: u16 = 1 << 9;
    /// Bits that must be zero.
    pub const RESERVED: u16 = !0x03FF;
    /// Bits that only the daemon may set.
    pub const DAEMON_ONLY: u16 = INBOUND | SYNTH | REDELIVERED | LAGGED;
}

/// Why bytes are not a frame. Each is a breach of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header, or than its own length says.
    #[error("frame is cut short")]
    Truncated,
    /// Longer than the bound, or than a field allows.
    #[error("frame field {0} is over its bound")]
    TooLarge(&'static str),
    /// The parts do not add up to the length.
    #[error("frame parts do not add up to its length")]
    Arithmetic,
    /// Unknown kind.
    #[error("frame kind {0:#04x} is unknown")]
    Kind(u8),
    /// A reserved bit or byte is set.
    #[error("frame has a reserved bit set")]
    Reserved,
    /// Text that is not UTF-8 or holds a control character.
    #[error("frame field {0} is not plain text")]
    Text(&'static str),
    /// A sequence number where none belongs, or none where one does.
    #[error("frame sequence does not fit its kind")]
    Sequence,
}

/// Numbers of a header, read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whole frame in bytes.
    pub len: usize,
    /// What it is for.
    pub kind: Kind,
    /// Message type number, 0 unless [`Kind::Msg`].
    pub mtype: u8,
    /// See [`flags`].
    pub flags: u16,
    /// Number on this link and direction.
    pub seq: u64,
    /// Sandbox and incarnation of the first sender; written by the daemon.
    pub origin: u64,
    /// Sequence number on the origin's link; written by the daemon.
    pub oseq: u64,
    /// Response code, 0 if none.
    pub code: u16,
    /// Runtimes it may still pass.
    pub hops: u8,
    id_end: usize,
    from_end: usize,
    to_end: usize,
    ext_end: usize,
    /// Body bytes, inline or in the descriptor.
    pub body_len: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, FrameError> {
    let part = bytes.get(at..at.saturating_add(2)).ok_or(FrameError::Truncated)?;
    part.try_into()
        .map(u16::from_le_bytes)
        .map_err(|_error: std::array::TryFromSliceError| FrameError::Truncated)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, FrameError> {
    let part = bytes.get(at..at.saturating_add(4)).ok_or(FrameError::Truncated)?;
    part.try_into()
        .map(u32::from_le_bytes)
        .map_err(|_error: std::array::TryFromSliceError| FrameError::Truncated)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, FrameError> {
    let part = bytes.get(at..at.saturating_add(8)).ok_or(FrameError::Truncated)?;
    part.try_into()
        .map(u64::from_le_bytes)
        .map_err(|_error: std::array::TryFromSliceError| FrameError::Truncated)
}

fn bounded(value: u16, max: usize, field: &'static str) -> Result<usize, FrameError> {
    let value = usize::from(value);
    if value > max { Err(FrameError::TooLarge(field)) } else { Ok(value) }
}

impl Header {
    /// Reads and checks the header of the frame that `bytes` begin with: lengths, arithmetic,
    /// reserved bits, kind. Text is not looked at (see [`FrameRef::parse`]).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let len = usize::try_from(u32_at(bytes, 0)?).map_err(|_e| FrameError::TooLarge("len"))?;
        if len > FRAME_HELD_BYTES_MAX {
            return Err(FrameError::TooLarge("len"));
        }
        if len < FRAME_HEADER_BYTES || bytes.len() < len {
            return Err(FrameError::Truncated);
        }
        let [kind, mtype] = [bytes.get(4), bytes.get(5)].map(|b| b.copied().unwrap_or(0));
        let kind = Kind::from_u8(kind).ok_or(FrameError::Kind(kind))?;
        let flags = u16_at(bytes, 6)?;
        if flags & flags::RESERVED != 0 || bytes.get(35) != Some(&0) {
            return Err(FrameError::Reserved);
        }
        let seq = u64_at(bytes, 8)?;
        if (seq != 0) != kind.is_sequenced() {
            return Err(FrameError::Sequence);
        }
        let id = bounded(u16_at(bytes, 36)?, ID_BYTES_MAX, "id")?;
        let from = bounded(u16_at(bytes, 38)?, ADDRESS_BYTES_MAX, "from")?;
        let to = bounded(u16_at(bytes, 40)?, ADDRESS_BYTES_MAX, "to")?;
        let ext = bounded(u16_at(bytes, 42)?, EXT_BYTES_MAX, "ext")?;
        let body_len =
            usize::try_from(u32_at(bytes, 44)?).map_err(|_e| FrameError::TooLarge("body"))?;
        if body_len > BODY_BYTES_MAX {
            return Err(FrameError::TooLarge("body"));
        }
        let id_end = FRAME_HEADER_BYTES.saturating_add(id);
        let from_end = id_end.saturating_add(from);
        let to_end = from_end.saturating_add(to);
        let ext_end = to_end.saturating_add(ext);
        let inline = if flags & flags::BODY_FD == 0 { body_len } else { 0 };
        if ext_end.saturating_add(inline) != len {
            return Err(FrameError::Arithmetic);
        }
        Ok(Self {
            len,
            kind,
            mtype,
            flags,
            seq,
            origin: u64_at(bytes, 16)?,
            oseq: u64_at(bytes, 24)?,
            code: u16_at(bytes, 32)?,
            hops: bytes.get(34).copied().unwrap_or(0),
            id_end,
            from_end,
            to_end,
            ext_end,
            body_len,
        })
    }

    /// The inline body of the frame that was read; empty if it is in a descriptor.
    pub fn body_of<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.ext_end..self.len).unwrap_or_default()
    }
}

/// A frame that lies in somebody's buffer, checked.
#[derive(Debug, Clone, Copy)]
pub struct FrameRef<'a> {
    /// Its header.
    pub header: Header,
    bytes: &'a [u8],
    id: &'a str,
    from: &'a str,
    to: &'a str,
}

fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, FrameError> {
    // Without an early end, so that the compiler looks at many bytes at once.
    let control = |b: &u8| u8::from(*b < 0x20) | u8::from(*b == 0x7F);
    if bytes.iter().map(control).fold(0, std::ops::BitOr::bitor) != 0 {
        return Err(FrameError::Text(field));
    }
    std::str::from_utf8(bytes).map_err(|_e| FrameError::Text(field))
}

impl<'a> FrameRef<'a> {
    /// Checks the frame that `bytes` begin with and reads its texts.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let header = Header::parse(bytes)?;
        let part = |from: usize, to: usize| bytes.get(from..to).ok_or(FrameError::Truncated);
        Ok(Self {
            header,
            bytes: part(0, header.len)?,
            id: text(part(FRAME_HEADER_BYTES, header.id_end)?, "id")?,
            from: text(part(header.id_end, header.from_end)?, "from")?,
            to: text(part(header.from_end, header.to_end)?, "to")?,
        })
    }

    /// The whole frame.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Text of the message id.
    pub const fn id(&self) -> &'a str {
        self.id
    }

    /// Address of the sender.
    pub const fn from(&self) -> &'a str {
        self.from
    }

    /// Address of the receiver.
    pub const fn to(&self) -> &'a str {
        self.to
    }

    /// The extensions, not yet checked.
    pub fn ext(&self) -> ExtIter<'a> {
        ExtIter::new(self.bytes.get(self.header.to_end..self.header.ext_end).unwrap_or_default())
    }

    /// The inline body; empty if it is in a descriptor.
    pub fn body(&self) -> &'a [u8] {
        self.header.body_of(self.bytes)
    }

    /// Whether all bits of `flag` are set.
    pub const fn has(&self, flag: u16) -> bool {
        self.header.flags & flag == flag
    }

    /// How many publications before this one its receiver missed.
    pub fn lagged(&self) -> u32 {
        if !self.has(flags::LAGGED) {
            return 0;
        }
        let value = self.ext().find(ExtTag::Lagged).and_then(|value| value.try_into().ok());
        value.map_or(0, u32::from_le_bytes)
    }

    /// Copies it.
    pub fn to_owned(&self) -> Frame {
        Frame { bytes: self.bytes.to_vec() }
    }
}

/// A frame of its own. Its bytes were checked when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// Checks `bytes`, which must be exactly one frame.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FrameError> {
        let frame = FrameRef::parse(&bytes)?;
        if frame.header.len != bytes.len() {
            return Err(FrameError::Arithmetic);
        }
        Ok(Self { bytes })
    }

    pub(crate) const fn trusted(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The whole frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, for patching by [`patch`].
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Reads it again.
    ///
    /// # Errors
    /// None for a frame that was only patched by [`patch`].
    pub fn view(&self) -> Result<FrameRef<'_>, FrameError> {
        FrameRef::parse(&self.bytes)
    }
}

/// Writes into the header of a frame that lies in a buffer. Out of range writes nothing.
pub mod patch {
    pub(super) fn put(frame: &mut [u8], at: usize, value: &[u8]) {
        if let Some(place) = frame.get_mut(at..at.saturating_add(value.len())) {
            place.copy_from_slice(value);
        }
    }

    /// Replaces the flags.
    pub fn flags(frame: &mut [u8], flags: u16) {
        put(frame, 6, &flags.to_le_bytes());
    }

    /// Replaces the sequence number.
    pub fn seq(frame: &mut [u8], seq: u64) {
        put(frame, 8, &seq.to_le_bytes());
    }

    /// Replaces origin and its sequence number.
    pub fn origin(frame: &mut [u8], origin: u64, oseq: u64) {
        put(frame, 16, &origin.to_le_bytes());
        put(frame, 24, &oseq.to_le_bytes());
    }

    /// Replaces the hops left.
    pub fn hops(frame: &mut [u8], hops: u8) {
        put(frame, 34, &[hops]);
    }
}

#[cfg(test)]
mod tests;
