//! `runtimectl demo`: the whole story on a private daemon with two domains on loopback. Every step
//! is a line `ok <ms> <text>`; the first that does not hold ends the demo with status 1 and its
//! name. Needs no root, HOME, configuration or network.

mod story;
mod world;

use crate::output::Failure;
use nix::sys::signal::{SigSet, Signal};
use protocol::exit;
use std::time::Instant;

/// Prints the steps as they hold.
#[derive(Debug)]
pub(crate) struct Steps {
    last: Instant,
}

impl Steps {
    fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// A heading of the story.
    pub(crate) fn say(text: &str) -> Result<(), Failure> {
        crate::output::line(text)
    }

    /// The step holds.
    pub(crate) fn ok(&mut self, text: &str) -> Result<(), Failure> {
        let ms = self.last.elapsed().as_millis();
        self.last = Instant::now();
        crate::output::line(&format!("ok {ms:>5} ms  {text}"))
    }
}

/// The step does not hold.
pub(crate) fn broken(step: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(exit::FAILED, format!("demo: {step}: {why}"))
}

/// Tells the story; with `keep` leaves everything running until it is interrupted.
pub(crate) fn run(keep: bool) -> Result<(), Failure> {
    let interrupts = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    if keep {
        // Before any thread exists, so that all of them leave these to the one that waits.
        interrupts.thread_block().map_err(|error| broken("keep", error))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken("event loop", error))?;
    runtime.block_on(async {
        let mut steps = Steps::new();
        let world = world::World::start(&mut steps).await?;
        let told = story::tell(&world, &mut steps).await;
        if told.is_ok() && keep {
            world.explain()?;
            let waited = tokio::task::spawn_blocking(move || interrupts.wait()).await;
            waited
                .map_err(|error| broken("keep", error))?
                .map_err(|error| broken("keep", error))?;
        }
        // The daemon is stopped whether the story held or not; its log helps where it did not.
        let log = world.log();
        let stopped = world.stop(&mut steps).await;
        told.map_err(|failure| failure.hint(format!("the daemon's log ends:\n{log}")))?;
        stopped
    })
}
