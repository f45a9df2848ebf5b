//! What stands on the other side of `runtimed` in the demo and in the tests: a small message node,
//! a catalogue that can misbehave in every way a server can, descriptors of every published
//! generation, and an application on the bus socket.
//!
//! Everything listens on loopback only, holds its state in one task, and bounds what it keeps. None
//! of it shares code with the daemon, so that a mistake there is not repeated here.

#![forbid(unsafe_code)]

pub mod bus;
pub mod catalogue;
pub mod descriptor;
pub mod fault;
pub mod limits;
pub mod node;
mod task;
mod token;

pub use fault::Fault;
