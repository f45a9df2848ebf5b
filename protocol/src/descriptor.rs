//! Descriptors: what a catalogue says of a stub or a hyperty, in every published generation (CONTRACT §6).
//!
//! Parsed in the fetch worker's jail; what crosses to the daemon is typed and bounded, does not hold
//! the code, and is checked again by the daemon: the worker may be in foreign hands.

mod check;
mod parse;
#[cfg(test)]
mod tests;

pub use check::Unbounded;
pub use parse::{DescriptorError, Encoding, Package, parse};

use bincode::{Decode, Encode};

/// Constraints that this host can meet.
pub const OFFERED: &[&str] = &["browser", "http", "https", "windowsandbox", "ws", "wss"];
/// Constraints of the published schemas that it cannot.
pub const NOT_OFFERED: &[&str] =
    &["camera", "coap", "datachannel", "mic", "node", "ortc", "sensor", "webrtc"];

/// A host that a stub asks to reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct WantedHost {
    /// Lower case.
    pub host: String,
    /// Port, the scheme's default if it does not say.
    pub port: u16,
    /// Whether it is asked for by TLS (`https`, `wss`).
    pub secure: bool,
}

/// What a stub is and asks for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Descriptor {
    /// What it calls itself; may be empty.
    pub name: String,
    /// Its version; may be empty.
    pub version: String,
    /// Whether it reaches a legacy network.
    pub interworking: bool,
    /// Names of the constraints that are set, lower case.
    pub constraints: Vec<String>,
    /// A JSON object, as text.
    pub configuration: String,
    /// Hosts found in the configuration, and asked for by `runtime.capabilities.net`.
    pub wanted: Vec<WantedHost>,
    /// Whether it carries a signature.
    pub signed: bool,
    /// What a hyperty offers (`hypertyType`): `chat`, `audio` …
    pub resources: Vec<String>,
    /// Schemas of its data objects, as addresses in a catalogue.
    pub data_objects: Vec<String>,
}

impl Descriptor {
    /// The first constraint that this host does not offer.
    pub fn first_unoffered(&self) -> Option<&str> {
        self.constraints.iter().map(String::as_str).find(|name| !OFFERED.contains(name))
    }

    /// Whether the stub wants `window`, `document` and `localStorage` to be there.
    pub fn wants_window(&self) -> bool {
        self.constraints.iter().any(|name| name == "windowsandbox")
    }
}
