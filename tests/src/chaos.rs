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
