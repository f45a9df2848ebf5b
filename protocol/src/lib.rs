//! Every byte that crosses a process of `runtimed`: addresses, messages, frames, links, control
//! messages and their bounds. Nothing here does I/O except [`sys`], which passes descriptors.

pub mod address;
pub mod codec;
pub mod control;
pub mod ctl;
pub mod descriptor;
pub mod exit;
pub mod frame;
pub mod limits;
pub mod link;
pub mod message;
pub mod reason;
pub mod sys;
pub mod text;
