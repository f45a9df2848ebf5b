//! The core of `runtimed`, pure: MessageBus, Registry and RuntimeUA as one deterministic state
//! machine. No clock, thread, file, socket or random source lives here; [`Core::handle`] takes an
//! [`Input`] and the time, and returns [`Effect`]s for the shell to carry out in order.

#![forbid(unsafe_code)]

mod bucket;
mod bus;
mod core;
mod deploy;
mod effect;
mod events;
mod grants;
mod guid;
mod input;
pub mod limits;
mod operator;
mod p2p;
mod registry;
mod resolve;
mod settings;
pub mod store;
mod supervise;
mod ua;

pub use crate::bus::counters::Counters;
pub use crate::core::Core;
pub use effect::{Attach, Effect, ReplyTo};
pub use guid::Secret;
pub use input::{
    CodeHandle, Digest, Exit, Input, LinkId, Memory, SandboxId, StreamHandle, Time, Token,
};
pub use settings::{DomainSettings, P2pSettings, Settings};
pub use store::{Change, Record, RecordKey, Table};
