//! RuntimeUA alone, against model answers.

#![allow(clippy::arithmetic_side_effects, reason = "tests")]

mod connections;
mod deploys;
mod failures;
mod fallback;
mod guests;
mod hostile;
mod limits;
mod operators;
mod pace;
mod quotas;
mod races;
mod reports;
mod resting;
mod seeds;
mod stages;
mod supervision;
mod world;
