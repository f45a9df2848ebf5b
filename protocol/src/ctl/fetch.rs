//! What a fetch worker is asked for, and why it did not get it.

use bincode::{Decode, Encode};

/// What kind of entry of a catalogue is wanted (runtime-core §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Shelf {
    /// A protostub.
    Protostub,
    /// The proxy of an identity provider.
    IdpProxy,
    /// A hyperty.
    Hyperty,
}

impl Shelf {
    /// Its folder in the catalogue.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Protostub => "protocolstub",
            Self::IdpProxy => "idp-proxy",
            Self::Hyperty => "hyperty",
        }
    }

    /// What the name of a descriptor ends in that has its code in a file beside it.
    pub const fn descriptor_ending(self) -> &'static str {
        match self {
            Self::Protostub => ".ps.json",
            Self::IdpProxy => ".idp.json",
            Self::Hyperty => ".hy.json",
        }
    }

    /// And the name of that file.
    pub const fn code_ending(self) -> &'static str {
        match self {
            Self::Protostub => ".ps.js",
            Self::IdpProxy => ".idp.js",
            Self::Hyperty => ".hy.js",
        }
    }
}

/// One source of a catalogue entry, for a fetch worker.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FetchJob {
    /// Base address of the catalogue, without a trailing slash: `https://…`, `http://…`, `file:///…`.
    pub base: String,
    /// Further bases to try when this one is absent or down, in order.
    pub alternatives: Vec<String>,
    /// Which folder of it.
    pub shelf: Shelf,
    /// Names to try, in order: `<base>/<folder>/<name>`, then with the ending of descriptors.
    pub names: Vec<String>,
    /// Origins besides the catalogue's own that redirects and code may come from.
    pub sources: Vec<String>,
    /// Trust roots in PEM besides the bundled ones; empty for none.
    pub ca_pem: String,
    /// Milliseconds for the whole job.
    pub budget_ms: u32,
}

/// What went wrong in a fetch worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FetchError {
    /// Not reachable, or its TLS or HTTP is broken.
    Down,
    /// No answer in time.
    Slow,
    /// No such entry (404).
    Absent,
    /// It redirects to where it may not.
    Redirect,
    /// The descriptor cannot be used: not JSON, cut short, too large, no code, unknown language.
    Unusable,
    /// The code does not decode.
    Decoding,
    /// The code is larger than the bound.
    CodeSize,
}
