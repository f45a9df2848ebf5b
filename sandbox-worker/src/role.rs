//! What every confined role does first: closes its jail, says so, and only then anything else.

use crate::port::{Port, PortError};
use jail::{ConfineError, Confinement, Profile};
use protocol::ctl::{ConfinedReport, Level, ProofReport};
use protocol::exit;
use std::os::fd::RawFd;
use std::process::ExitCode;
use tokio::task::LocalSet;

/// Number of the stub role in `Hello`.
pub(crate) const HELLO_STUB: u8 = 1;
/// Number of the fetch role in `Hello`.
pub(crate) const HELLO_FETCH: u8 = 2;
/// Number of the net role in `Hello`.
pub(crate) const HELLO_NET: u8 = 4;

/// Attacks that got through and are named; all are counted.
const FAILURES_SAID: usize = 64;

/// Closes the jail of `profile`, then serves the link on descriptor `link` by `serve`, which says
/// hello when it is ready for its work. Runs on one thread; `spawn_local` works.
pub(crate) fn run<F>(profile: Profile, link: RawFd, serve: F) -> ExitCode
where
    F: AsyncFnOnce(&mut Port) -> Result<(), PortError>,
{
    enter(jail::confine(profile), link, serve)
}

/// As [`run`], in a jail that was closed, or not.
pub(crate) fn enter<F>(
    confined: Result<Confinement, ConfineError>,
    link: RawFd,
    serve: F,
) -> ExitCode
where
    F: AsyncFnOnce(&mut Port) -> Result<(), PortError>,
{
    let confinement = match confined {
        Ok(confinement) => confinement,
        Err(error) => {
            crate::log(&error.to_string());
            let gone = matches!(error, ConfineError::Gone);
            return ExitCode::from(if gone { exit::TEMPORARY } else { exit::PERMANENT });
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::log(&format!("there is no event loop: {error}"));
            return ExitCode::from(exit::TEMPORARY);
        }
    };
    let served = LocalSet::new().block_on(&runtime, async {
        let mut port = Port::adopt(link)?;
        port.confined(report(confinement))?;
        serve(&mut port).await
    });
    match served {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            crate::log(&error.to_string());
            ExitCode::from(exit::TEMPORARY)
        }
    }
}

fn report(confinement: Confinement) -> ConfinedReport {
    let level = match confinement.level {
        jail::Level::None => Level::None,
        jail::Level::Filtered => Level::Filtered,
        jail::Level::Namespaces => Level::Namespaces,
        jail::Level::Full => Level::Full,
    };
    let layers = confinement.layers.into_iter().map(str::to_owned).collect();
    let proof = confinement.proof;
    let failures = proof.failures.iter().take(FAILURES_SAID).map(ToString::to_string).collect();
    let took_us = proof.took.as_micros().try_into().unwrap_or(u32::MAX);
    let proof = ProofReport { probes: proof.probes, denied: proof.denied, took_us, failures };
    ConfinedReport { level, layers, missing: confinement.missing, proof }
}
