//! What a worker of the tests says of its jail, as the real one does.

use jail::Confinement;
use protocol::ctl::{ConfinedReport, Level, ProofReport};

/// The report of a closed jail.
pub fn said_of(confinement: Confinement) -> ConfinedReport {
    let level = match confinement.level {
        jail::Level::None => Level::None,
        jail::Level::Filtered => Level::Filtered,
        jail::Level::Namespaces => Level::Namespaces,
        jail::Level::Full => Level::Full,
    };
    let layers = confinement.layers.into_iter().map(str::to_owned).collect();
    let proof = ProofReport {
        probes: confinement.proof.probes,
        denied: confinement.proof.denied,
        took_us: confinement.proof.took.as_micros().try_into().unwrap_or(u32::MAX),
        failures: confinement.proof.failures.iter().map(ToString::to_string).collect(),
    };
    ConfinedReport { level, layers, missing: confinement.missing, proof }
}
