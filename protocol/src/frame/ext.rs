//! Extensions of a frame: `u8 tag, u16 length, bytes`, one after the other.

/// The extensions that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtTag {
    /// 16 B trace id, 8 B parent span, 1 B sampled.
    Trace,
    /// The real `type` if its number is 255.
    TypeText,
    /// JSON object of the top-level members that the runtime does not know.
    Members,
    /// `u32`: milliseconds that the requester still waits.
    Deadline,
    /// Runtime address chosen by P2P resolve.
    Peer,
    /// `body.source`, `body.subscriber` or `body.reporter`, as the sender's edge read it.
    Source,
    /// `u32`: publications dropped before this one.
    Lagged,
    /// Domain whose certificate was shown on the connection on which this came in, as the edge of
    /// the stub that listens for connections knows it.
    Guest,
    /// A tag of a later version: carried, not understood.
    Unknown(u8),
}

impl ExtTag {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Trace => 1,
            Self::TypeText => 2,
            Self::Members => 3,
            Self::Deadline => 4,
            Self::Peer => 5,
            Self::Source => 6,
            Self::Lagged => 7,
            Self::Guest => 8,
            Self::Unknown(tag) => tag,
        }
    }

    const fn from_u8(tag: u8) -> Self {
        match tag {
            1 => Self::Trace,
            2 => Self::TypeText,
            3 => Self::Members,
            4 => Self::Deadline,
            5 => Self::Peer,
            6 => Self::Source,
            7 => Self::Lagged,
            8 => Self::Guest,
            other => Self::Unknown(other),
        }
    }
}

/// One extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ext<'a> {
    /// What it is.
    pub tag: ExtTag,
    /// Its bytes.
    pub value: &'a [u8],
}

/// The extensions do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame extensions do not add up")]
pub struct ExtError;

/// Walks the extensions of a frame; ends after the first error.
#[derive(Debug, Clone)]
pub struct ExtIter<'a> {
    rest: &'a [u8],
}

impl<'a> ExtIter<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The first extension with this tag, if the extensions are sound up to it.
    pub fn find(self, tag: ExtTag) -> Option<&'a [u8]> {
        self.map_while(Result::ok).find(|ext| ext.tag == tag).map(|ext| ext.value)
    }
}

impl<'a> Iterator for ExtIter<'a> {
    type Item = Result<Ext<'a>, ExtError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((&[tag, low, high], rest)) = self.rest.split_first_chunk::<3>() else {
            self.rest = &[];
            return Some(Err(ExtError));
        };
        let len = usize::from(u16::from_le_bytes([low, high]));
        let Some((value, rest)) = rest.split_at_checked(len) else {
            self.rest = &[];
            return Some(Err(ExtError));
        };
        self.rest = rest;
        Some(Ok(Ext { tag: ExtTag::from_u8(tag), value }))
    }
}

/// Appends one extension; a value over 65 535 bytes is left out (the builder refuses the sum).
pub(super) fn append(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    if let Ok(len) = u16::try_from(value.len()) {
        out.push(tag);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(value);
    }
}
