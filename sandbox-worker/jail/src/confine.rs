//! Closing the jail from inside, as the first act of a worker: before any foreign byte, before a
//! second thread, before an event loop.
//!
//! Every wall but two is demanded: where it cannot be put up, nothing is run. Landlock and the
//! keyring are best effort, and so are namespaces, which the spawner made or could not make: what
//! is missing is reported, and the level says what was reached.

mod capabilities;
mod entry;
mod filter;
mod landlock;
mod root;

use crate::limits::{FIRST_FREE_FD, HOST_NAME};
use crate::{Level, Profile, Proof, breach, prove, raw};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpgrp, getpid, getsid};

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The level reached, as far as a process can tell of itself: never above
    /// [`Level::Namespaces`], because its host id and its cgroup are seen from outside only.
    pub level: Level,
    /// Names of the layers in force.
    pub layers: Vec<&'static str>,
    /// Layers that are missing, each with its reason.
    pub missing: Vec<String>,
    /// What came of attacking it.
    pub proof: Proof,
}

/// Why the jail could not be closed. The process must end.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// It is not in the state in which the spawner starts workers.
    #[error("the process did not start clean: {0}")]
    Unclean(String),
    /// A wall cannot be put up.
    #[error("the jail lacks its {layer}: {reason}")]
    Layer {
        /// Which.
        layer: &'static str,
        /// Why.
        reason: String,
    },
    /// The daemon is gone.
    #[error("the link has ended")]
    Gone,
}

fn failed(layer: &'static str) -> impl Fn(Errno) -> ConfineError {
    move |errno| ConfineError::Layer { layer, reason: errno.to_string() }
}

fn demand(layer: &'static str, holds: bool, reason: &str) -> Result<(), ConfineError> {
    if holds { Ok(()) } else { Err(ConfineError::Layer { layer, reason: reason.to_owned() }) }
}

/// Closes the jail around the calling process, which [`crate::spawn::spawn`] made, and attacks it:
/// whether what got through is too much is the daemon's decision.
///
/// # Errors
/// A wall cannot be put up, or the process is not as the spawner makes them: end it.
pub fn confine(profile: Profile) -> Result<Confinement, ConfineError> {
    close(profile, None, || ()).map(|(confinement, ())| confinement)
}

/// As [`confine`], with one thing opened as the last that is possible: `open` binds `port`. There is
/// no foreign byte yet, and nothing can be bound afterwards.
///
/// # Errors
/// As [`confine`].
pub fn confine_listening<T>(
    profile: Profile,
    port: u16,
    open: impl FnOnce() -> T,
) -> Result<(Confinement, T), ConfineError> {
    close(profile, Some(port), open)
}

fn close<T>(
    profile: Profile,
    bound: Option<u16>,
    open: impl FnOnce() -> T,
) -> Result<(Confinement, T), ConfineError> {
    let mut own = Confinement {
        level: Level::Filtered,
        layers: Vec::new(),
        missing: Vec::new(),
        proof: Proof::default(),
    };
    let entry = entry::check()?;
    if !breach::lacks("descriptors") {
        raw::close_from(FIRST_FREE_FD).map_err(failed("descriptors"))?;
    }
    own.layers.extend(["descriptors", "rlimits"]);
    session(&mut own)?;
    if entry.namespaces {
        namespaces(profile, entry, &mut own)?;
    } else {
        own.missing.push("namespaces: the spawner could not make them".to_owned());
    }
    privileges(entry, &mut own)?;
    match landlock::restrict(profile, bound) {
        Ok(None) => own.layers.push("landlock"),
        Ok(Some(lacking)) => {
            own.layers.push("landlock");
            own.missing.push(format!("landlock: {lacking}"));
        }
        Err(reason) => own.missing.push(format!("landlock: {reason}")),
    }
    // The daemon may have died before its death could be bound to ours.
    entry::link_lives()?;
    let walls = prove::walls(&own.layers);
    let opened = open();
    if !breach::lacks("seccomp") {
        filter::install(profile)?;
    }
    own.layers.push("seccomp");
    own.proof = walls.and(prove::filter(profile, breach::refusal()));
    own.settle();
    Ok((own, opened))
}

/// What `filtered` stands on.
const FILTERED: [&str; 8] = [
    "descriptors",
    "rlimits",
    "session",
    "caps",
    "no-new-privs",
    "non-dumpable",
    "parent-death",
    "seccomp",
];
/// What no level stands on: best effort.
const BELTS: [&str; 2] = ["keyring", "landlock"];

impl Confinement {
    /// Takes out the layers that an attack got through: the level is what was reached, not what
    /// was put up.
    fn settle(&mut self) {
        for failure in &self.proof.failures {
            if let Some(at) = self.layers.iter().position(|layer| *layer == failure.layer) {
                self.layers.remove(at);
                self.missing.push(format!("{}: an attack got through, {failure}", failure.layer));
            }
            if FILTERED.contains(&failure.layer) {
                self.level = Level::None;
            } else if !BELTS.contains(&failure.layer) {
                self.level = self.level.min(Level::Filtered);
            }
        }
    }
}

fn session(own: &mut Confinement) -> Result<(), ConfineError> {
    let leads = getsid(None) == Ok(getpid()) && getpgrp() == getpid();
    let leads = leads || breach::lacks("session");
    demand("session", leads, "the process belongs to another's session or group")?;
    own.layers.push("session");
    let joined = if breach::lacks("keyring") { Ok(()) } else { raw::new_session_keyring() };
    match joined {
        Ok(()) => own.layers.push("keyring"),
        Err(errno) => own.missing.push(format!("keyring: {errno}")),
    }
    Ok(())
}

fn namespaces(
    profile: Profile,
    entry: entry::Entry,
    own: &mut Confinement,
) -> Result<(), ConfineError> {
    own.layers.extend(["user-ns", "mount-ns", "pid-ns"]);
    if profile != Profile::Net {
        let lonely = entry.lonely_network || breach::lacks("net-ns");
        demand("net-ns", lonely, "there are network interfaces besides lo")?;
        own.layers.push("net-ns");
    }
    own.layers.extend(["ipc-ns", "uts-ns", "cgroup-ns"]);
    if !breach::lacks("uts-ns-name") {
        nix::unistd::sethostname(HOST_NAME).map_err(failed("uts-ns"))?;
    }
    if !breach::lacks("root") {
        root::replace()?;
    }
    own.layers.push("root");
    own.level = Level::Namespaces;
    Ok(())
}

fn privileges(entry: entry::Entry, own: &mut Confinement) -> Result<(), ConfineError> {
    if !breach::lacks("caps") {
        capabilities::drop_all(entry.namespaces && !breach::lacks("user-ns"))?;
    }
    own.layers.push("caps");
    if !breach::lacks("no-new-privs") {
        prctl::set_no_new_privs().map_err(failed("no-new-privs"))?;
        demand("no-new-privs", prctl::get_no_new_privs() == Ok(true), "it does not last")?;
    }
    own.layers.push("no-new-privs");
    if !breach::lacks("non-dumpable") {
        // After the last exec: an exec would set it again.
        prctl::set_dumpable(false).map_err(failed("non-dumpable"))?;
        demand("non-dumpable", prctl::get_dumpable() == Ok(false), "it does not last")?;
    }
    own.layers.push("non-dumpable");
    if !breach::lacks("parent-death") {
        // Changed ids and capabilities clear it.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("parent-death"))?;
    }
    own.layers.push("parent-death");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Confinement;
    use crate::{Failure, Level, Proof};

    fn settled(layer: &'static str) -> Confinement {
        let failure = Failure { layer, name: "attack", what: "it worked".to_owned() };
        let proof =
            Proof { probes: 2, failures: vec![failure.clone(), failure], ..Proof::default() };
        let mut own = Confinement {
            level: Level::Namespaces,
            layers: vec!["caps", "keyring", "root", "seccomp"],
            missing: Vec::new(),
            proof,
        };
        own.settle();
        own
    }

    #[test]
    fn a_layer_that_an_attack_got_through_is_missing_and_lowers_the_level() {
        for (layer, level) in [
            ("seccomp", Level::None),
            ("caps", Level::None),
            ("root", Level::Filtered),
            ("keyring", Level::Namespaces),
        ] {
            let own = settled(layer);
            assert_eq!(own.level, level, "{layer}");
            assert!(!own.layers.contains(&layer), "{layer}");
            assert_eq!(own.layers.len(), 3, "{layer}");
            let missing = format!("{layer}: an attack got through, attack: it worked");
            assert_eq!(own.missing, [missing]);
        }
    }
}
