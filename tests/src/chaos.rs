//! Injectors of faults. Each breaks one thing of a running daemon from outside, and nothing that
//! does not belong to it: tests drive them now, a command can later.

pub mod clock;
pub mod disk;
pub mod freezer;
pub mod ledger;
pub mod limits;
pub mod network;
pub mod pressure;
pub mod process;
pub mod worker;

use std::path::Path;

/// A daemon that runs, as far as an injector has to know it.
pub trait Subject {
    /// Its process.
    fn pid(&self) -> u32;

    /// Its folder.
    fn root(&self) -> &Path;

    /// The process of one of its components, while it has one.
    fn pid_of(&self, component: &str) -> Option<i32>;
}
