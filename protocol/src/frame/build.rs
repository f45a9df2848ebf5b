//! Makes frames; the only way to write one.

use super::{ExtTag, Frame, FrameError, Kind, flags};
use crate::limits::{
    ADDRESS_BYTES_MAX, BODY_BYTES_MAX, EXT_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_HELD_BYTES_MAX,
    HOPS_START, ID_BYTES_MAX,
};

/// The parts of a frame to be.
#[derive(Debug, Clone)]
pub struct FrameBuilder<'a> {
    kind: Kind,
    mtype: u8,
    flags: u16,
    seq: u64,
    code: u16,
    hops: u8,
    id: &'a str,
    from: &'a str,
    to: &'a str,
    ext: Vec<u8>,
    body: &'a [u8],
    body_fd_len: Option<u32>,
}

impl<'a> FrameBuilder<'a> {
    /// An empty frame of `kind`. Sequenced kinds get number 1; the link writes the real one.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            mtype: 0,
            flags: 0,
            seq: u64::from(kind.is_sequenced()),
            code: 0,
            hops: if matches!(kind, Kind::Msg) { HOPS_START } else { 0 },
            id: "",
            from: "",
            to: "",
            ext: Vec::new(),
            body: &[],
            body_fd_len: None,
        }
    }

    /// A message of type number `mtype`.
    pub fn msg(mtype: u8, id: &'a str, from: &'a str, to: &'a str) -> Self {
        Self { mtype, id, from, to, ..Self::new(Kind::Msg) }
    }

    /// A control message with this bincode.
    pub fn ctl(body: &'a [u8]) -> Self {
        Self { body, ..Self::new(Kind::Ctl) }
    }

    /// Sets the bits of `flag`.
    #[must_use]
    pub fn flag(mut self, flag: u16) -> Self {
        self.flags |= flag;
        self
    }

    /// Sets or leaves the bits of `flag`.
    #[must_use]
    pub fn flag_if(self, flag: u16, set: bool) -> Self {
        if set { self.flag(flag) } else { self }
    }

    /// Sets the response code.
    #[must_use]
    pub fn code(mut self, code: u16) -> Self {
        self.code = code;
        self
    }

    /// Sets the hops left.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Appends an extension.
    #[must_use]
    pub fn ext(mut self, tag: ExtTag, value: &[u8]) -> Self {
        super::ext::append(&mut self.ext, tag.as_u8(), value);
        self
    }

    /// Sets the inline body.
    #[must_use]
    pub fn body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }

    /// Says that a body of `len` bytes travels in the packet's descriptor.
    #[must_use]
    pub fn body_fd(mut self, len: u32) -> Self {
        self.body_fd_len = Some(len);
        self.flags |= flags::BODY_FD;
        self
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// A part is over its bound, or a text holds control characters.
    pub fn build(self) -> Result<Frame, FrameError> {
        let check = |len: usize, max: usize, field: &'static str| {
            if len > max { Err(FrameError::TooLarge(field)) } else { Ok(()) }
        };
        check(self.id.len(), ID_BYTES_MAX, "id")?;
        check(self.from.len(), ADDRESS_BYTES_MAX, "from")?;
        check(self.to.len(), ADDRESS_BYTES_MAX, "to")?;
        check(self.ext.len(), EXT_BYTES_MAX, "ext")?;
        check(self.body.len(), BODY_BYTES_MAX, "body")?;
        for (field, text) in [("id", self.id), ("from", self.from), ("to", self.to)] {
            super::text(text.as_bytes(), field)?;
        }
        let total =
            [self.id.len(), self.from.len(), self.to.len(), self.ext.len(), self.body.len()]
                .iter()
                .fold(FRAME_HEADER_BYTES, |sum, part| sum.saturating_add(*part));
        check(total, FRAME_HELD_BYTES_MAX, "len")?;
        let body_len = match self.body_fd_len {
            Some(len) => len,
            None => u32_of(self.body.len())?,
        };
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(&u32_of(total)?.to_le_bytes());
        bytes.extend_from_slice(&[self.kind.as_u8(), self.mtype]);
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&self.code.to_le_bytes());
        bytes.extend_from_slice(&[self.hops, 0]);
        for part in [self.id.len(), self.from.len(), self.to.len(), self.ext.len()] {
            let part = u16::try_from(part).map_err(|_e| FrameError::TooLarge("part"))?;
            bytes.extend_from_slice(&part.to_le_bytes());
        }
        bytes.extend_from_slice(&body_len.to_le_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(self.from.as_bytes());
        bytes.extend_from_slice(self.to.as_bytes());
        bytes.extend_from_slice(&self.ext);
        bytes.extend_from_slice(self.body);
        Ok(Frame::trusted(bytes))
    }
}

fn u32_of(value: usize) -> Result<u32, FrameError> {
    u32::try_from(value).map_err(|_e| FrameError::TooLarge("len"))
}
