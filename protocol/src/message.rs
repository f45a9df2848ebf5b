//! Messages as JSON, at the edges only: the application socket and a worker's MiniBus.
//!
//! Between link and link a message is a frame; its body stays the JSON text that the sender wrote.

mod body;
mod json;
mod plain;
mod received;
#[cfg(test)]
mod tests;

pub use body::{BodyFacts, body_facts, facts_of_parsed};
pub use json::{
    Head, Incoming, MessageError, Receivers, salvage_id, write_json, write_lagged_json,
};
pub use received::received;

use std::fmt;

/// What a message asks for or is (runtime-core §1.2). Any case is read, lower case is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Create an object, deploy a component.
    Create,
    /// Query.
    Read,
    /// Change, status event.
    Update,
    /// Remove.
    Delete,
    /// Become an observer.
    Subscribe,
    /// Stop being one.
    Unsubscribe,
    /// Answer to any of the others.
    Response,
    /// Call of a method.
    Execute,
    /// Wraps another message.
    Forward,
    /// Mutual authentication.
    Handshake,
    /// Stub to message node.
    Open,
    /// Stub to message node, again.
    ReOpen,
    /// Stub to message node, the end.
    Close,
    /// Side event of a data object.
    Event,
}

impl MessageType {
    const ALL: &'static [(Self, u8, &'static str)] = &[
        (Self::Create, 1, "create"),
        (Self::Read, 2, "read"),
        (Self::Update, 3, "update"),
        (Self::Delete, 4, "delete"),
        (Self::Subscribe, 5, "subscribe"),
        (Self::Unsubscribe, 6, "unsubscribe"),
        (Self::Response, 7, "response"),
        (Self::Execute, 8, "execute"),
        (Self::Forward, 9, "forward"),
        (Self::Handshake, 10, "handshake"),
        (Self::Open, 11, "open"),
        (Self::ReOpen, 12, "re-open"),
        (Self::Close, 13, "close"),
        (Self::Event, 14, "event"),
    ];

    /// The type with this word, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.2.eq_ignore_ascii_case(word)).map(|row| row.0)
    }

    /// The type with this number of the frame header.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// The number in the frame header.
    pub fn as_u8(self) -> u8 {
        Self::ALL.iter().find(|row| row.0 == self).map_or(0, |row| row.1)
    }

    /// The word, in lower case.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }

    /// Whether an application waits for a response if it does not say (CONTRACT §4).
    pub const fn is_request(self) -> bool {
        match self {
            Self::Create
            | Self::Read
            | Self::Execute
            | Self::Subscribe
            | Self::Unsubscribe
            | Self::Delete
            | Self::Handshake
            | Self::Open => true,
            Self::Update
            | Self::Forward
            | Self::Event
            | Self::Response
            | Self::ReOpen
            | Self::Close => false,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
