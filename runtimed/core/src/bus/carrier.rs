//! A message on its way through one step: in the shell's buffer, or a frame of its own.

use crate::effect::Effect;
use crate::input::LinkId;
use protocol::frame::{Frame, FrameBuilder, FrameError, FrameRef, flags, patch};

/// A message on its way.
#[derive(Debug)]
pub(crate) enum Carrier<'a> {
    /// The frame of this very input.
    InPlace(&'a mut [u8]),
    /// A frame that the core holds.
    Owned(Frame),
}

/// What the runtime writes into a frame before it goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Flags, checked.
    pub(crate) flags: u16,
    /// Link that it came in by.
    pub(crate) origin: u64,
    /// Its number there.
    pub(crate) oseq: u64,
    /// Runtimes it may still pass.
    pub(crate) hops: u8,
}

impl Carrier<'_> {
    /// Reads it.
    pub(crate) fn view(&self) -> Result<FrameRef<'_>, FrameError> {
        match self {
            Self::InPlace(bytes) => FrameRef::parse(bytes),
            Self::Owned(frame) => frame.view(),
        }
    }

    /// Writes into its header.
    pub(crate) fn stamp(&mut self, stamp: Stamp) {
        let bytes = match self {
            Self::InPlace(bytes) => &mut **bytes,
            Self::Owned(frame) => frame.bytes_mut(),
        };
        patch::flags(bytes, stamp.flags);
        patch::origin(bytes, stamp.origin, stamp.oseq);
        patch::hops(bytes, stamp.hops);
    }

    /// Hands it over.
    pub(crate) fn into_effect(self, link: LinkId) -> Effect {
        match self {
            Self::InPlace(_) => Effect::Forward { link },
            Self::Owned(frame) => Effect::Send { link, frame },
        }
    }

    /// Keeps it.
    pub(crate) fn into_frame(self) -> Result<Frame, FrameError> {
        match self {
            Self::InPlace(bytes) => FrameRef::parse(bytes).map(|view| view.to_owned()),
            Self::Owned(frame) => Ok(frame),
        }
    }
}

/// Bytes that a frame is charged with: itself and a body in a descriptor.
pub(crate) fn charge(view: &FrameRef<'_>) -> u32 {
    let beside = if view.has(flags::BODY_FD) { view.header.body_len } else { 0 };
    u32::try_from(view.header.len.saturating_add(beside)).unwrap_or(u32::MAX)
}

/// The same message with canonical addresses. Its body must be inline.
pub(crate) fn respelled(view: &FrameRef<'_>, from: &str, to: &str) -> Result<Frame, FrameError> {
    let mut builder = FrameBuilder::msg(view.header.mtype, view.id(), from, to)
        .flag(view.header.flags)
        .code(view.header.code)
        .hops(view.header.hops)
        .body(view.body());
    for ext in view.ext().flatten() {
        builder = builder.ext(ext.tag, ext.value);
    }
    let mut frame = builder.build()?;
    patch::seq(frame.bytes_mut(), view.header.seq);
    Ok(frame)
}
