//! Hello and Welcome: fixed layouts that never change meaning, so that any two versions can tell
//! each other that they do not fit (architecture §5.6).

use crate::limits::{BODY_BYTES_MAX, WINDOW_BYTES, WINDOW_FRAMES};

/// "RTB1", little-endian.
const MAGIC: u32 = 0x3142_5452;
/// The version of the wire spoken here.
pub(super) const VERSION: u16 = 1;

/// Why a hello or a welcome is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Wrong length or magic.
    #[error("hello has a wrong layout")]
    Layout,
    /// No common version.
    #[error("peer speaks versions {0} to {1}, not {VERSION}")]
    Version(u16, u16),
}

/// Worker to daemon: the engine is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// 1 stub, 2 fetch, 3 gateway, 4 net, 5 spawner, 6 SDK.
    pub role: u8,
    /// 0 none, 1 JavaScript, 2 WebAssembly, 3 native.
    pub engine: u8,
    /// Identifies the build.
    pub build: [u8; 20],
}

impl Hello {
    /// Bytes of the layout.
    pub const BYTES: usize = 36;

    /// Writes it.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0_u8; Self::BYTES];
        let version = VERSION.to_le_bytes();
        let parts: [&[u8]; 5] =
            [&MAGIC.to_le_bytes(), &version, &version, &[self.role, self.engine, 0, 0], &[0; 4]];
        for (place, byte) in out.iter_mut().zip(parts.concat().iter().chain(&self.build)) {
            *place = *byte;
        }
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// Wrong layout, or no common version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HelloError> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_e| HelloError::Layout)?;
        let &[
            a,
            b,
            c,
            d,
            min_a,
            min_b,
            max_a,
            max_b,
            role,
            engine,
            f0,
            f1,
            r0,
            r1,
            r2,
            r3,
            ref build @ ..,
        ] = bytes;
        let (min, max) = (u16::from_le_bytes([min_a, min_b]), u16::from_le_bytes([max_a, max_b]));
        if u32::from_le_bytes([a, b, c, d]) != MAGIC || [f0, f1, r0, r1, r2, r3] != [0; 6] {
            return Err(HelloError::Layout);
        }
        if !(min..=max).contains(&VERSION) {
            return Err(HelloError::Version(min, max));
        }
        Ok(Self { role, engine, build: *build })
    }
}

/// Daemon to worker: accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// Number of the sandbox.
    pub sandbox: u32,
    /// How often this component was started.
    pub incarnation: u32,
    /// Milliseconds between heartbeats.
    pub ping_ms: u32,
    /// Milliseconds since the epoch.
    pub wall_ms: u64,
    /// Identifies this life of the daemon.
    pub epoch: u64,
}

impl Welcome {
    /// Bytes of the layout.
    pub const BYTES: usize = 56;

    /// Writes it.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0_u8; Self::BYTES];
        let mib = u32::try_from(BODY_BYTES_MAX / 1_048_576).unwrap_or(u32::MAX);
        let words = [
            MAGIC,
            u32::from(VERSION),
            self.sandbox,
            self.incarnation,
            WINDOW_FRAMES,
            WINDOW_FRAMES,
            WINDOW_BYTES,
            WINDOW_BYTES,
            mib,
            self.ping_ms,
        ];
        let head = words.iter().flat_map(|word| word.to_le_bytes());
        let tail = self.wall_ms.to_le_bytes().into_iter().chain(self.epoch.to_le_bytes());
        for (place, byte) in out.iter_mut().zip(head.chain(tail)) {
            *place = byte;
        }
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// Wrong layout, or a version that is not spoken here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HelloError> {
        if bytes.len() != Self::BYTES {
            return Err(HelloError::Layout);
        }
        let word = |at: usize| {
            bytes
                .get(at..at.saturating_add(4))
                .and_then(|part| part.try_into().ok())
                .map_or(0, u32::from_le_bytes)
        };
        let long = |at: usize| u64::from(word(at)) | (u64::from(word(at.saturating_add(4))) << 32);
        if word(0) != MAGIC {
            return Err(HelloError::Layout);
        }
        if word(4) != u32::from(VERSION) {
            let chosen = u16::try_from(word(4) & 0xFFFF).unwrap_or_default();
            return Err(HelloError::Version(chosen, chosen));
        }
        Ok(Self {
            sandbox: word(8),
            incarnation: word(12),
            ping_ms: word(36),
            wall_ms: long(40),
            epoch: long(48),
        })
    }
}
