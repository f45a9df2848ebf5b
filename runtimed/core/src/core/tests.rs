//! The rules of the bus, each through [`Core::handle`] as the shell calls it.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "tests")]

mod addresses;
mod allocation;
mod bench;
mod bridges;
mod clock;
mod faults;
mod home;
mod hyperties;
mod idle;
mod kept;
mod limits;
mod login;
mod operators;
mod own;
mod p2p;
mod pressure;
mod registered;
mod registration;
mod requests;
mod routes;
mod settings;
mod stubs;
mod subscriptions;
mod sync;
