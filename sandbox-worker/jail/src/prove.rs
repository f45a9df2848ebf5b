//! The self-proof: a process that has closed its jail attacks it, before it reads the first foreign
//! byte, and says what was refused.
//!
//! ```text
//! walls up but the filter ─▶ walls: each must hold alone ─▶ filter ─▶ attacks: each must be refused
//! ```
//!
//! Every probe is harmless when it succeeds: signal 0, names that cannot exist, invalid descriptors
//! and pointers, results that are given back at once. An attack is written so that a kernel which
//! did not filter it would answer something else than the filter does, wherever that can be done.

mod files;
mod kernel;
mod memory;
mod processes;
mod sockets;
mod walls;

use crate::{Profile, raw};
use libc::{c_int, c_long};
use nix::errno::Errno;
use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

pub(crate) use walls::walls;

/// What came of the battery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Attacks made.
    pub probes: u32,
    /// Attacks refused.
    pub denied: u32,
    /// Those that got through.
    pub failures: Vec<Failure>,
    /// Time that all of it took.
    pub took: Duration,
}

/// An attack that got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The layer that did not hold.
    pub layer: &'static str,
    /// Name of the attack.
    pub name: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

impl Proof {
    fn note(&mut self, layer: &'static str, name: &'static str, outcome: Result<(), String>) {
        self.probes = self.probes.saturating_add(1);
        match outcome {
            Ok(()) => self.denied = self.denied.saturating_add(1),
            Err(what) => self.failures.push(Failure { layer, name, what }),
        }
    }

    /// This and what another part of the battery found.
    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.probes = self.probes.saturating_add(other.probes);
        self.denied = self.denied.saturating_add(other.denied);
        self.failures.extend(other.failures);
        self.took = self.took.saturating_add(other.took);
        self
    }
}

/// An argument of a system call that can do nothing. What a text or bytes point to is only read.
#[derive(Debug, Clone, Copy)]
enum Arg {
    Int(c_int),
    Text(&'static CStr),
    Bytes(&'static [u8]),
}

impl Arg {
    fn word(self) -> c_long {
        let address = match self {
            Self::Int(number) => return number.into(),
            Self::Text(text) => text.as_ptr().expose_provenance(),
            Self::Bytes(bytes) => bytes.as_ptr().expose_provenance(),
        };
        c_long::try_from(address).unwrap_or_default()
    }
}

/// No pointer.
const NULL: Arg = Arg::Int(0);
/// No descriptor, no address, no known command.
const NONE: Arg = Arg::Int(-1);

/// One attack on the filter.
#[derive(Debug, Clone, Copy)]
struct Probe {
    name: &'static str,
    call: c_long,
    args: &'static [Arg],
    /// Those who may do it.
    granted: &'static [Profile],
    /// Whether a success is a descriptor, to be closed at once.
    opens: bool,
}

const fn probe(name: &'static str, call: c_long, args: &'static [Arg]) -> Probe {
    Probe { name, call, args, granted: &[], opens: false }
}

/// One whose success is a descriptor.
const fn opens(name: &'static str, call: c_long, args: &'static [Arg]) -> Probe {
    Probe { name, call, args, granted: &[], opens: true }
}

impl Probe {
    const fn but_for(mut self, granted: &'static [Profile]) -> Self {
        self.granted = granted;
        self
    }

    /// Makes the attack, and gives back at once what it brought.
    fn answer(&self) -> Result<(), Errno> {
        let mut words = [0; 6];
        for (word, arg) in words.iter_mut().zip(self.args) {
            *word = arg.word();
        }
        let result = raw::attempt(self.call, words)?;
        if self.opens {
            raw::give_back(result);
        }
        Ok(())
    }

    /// Makes the attack; it must be answered with `refusal`.
    fn make(&self, refusal: Errno) -> Result<(), String> {
        match self.answer() {
            Err(errno) if errno == refusal => Ok(()),
            Err(errno) => Err(format!("{errno:?}")),
            Ok(()) => Err("it worked".to_owned()),
        }
    }
}

/// Layer that the attacks of the families are on.
const FILTER: &str = "seccomp";

/// The families, each a file.
const FAMILIES: [&[Probe]; 5] =
    [files::PROBES, sockets::PROBES, processes::PROBES, kernel::PROBES, memory::PROBES];

fn attacks(profile: Profile) -> impl Iterator<Item = &'static Probe> {
    let all = FAMILIES.into_iter().flatten();
    all.filter(move |probe| !probe.granted.contains(&profile))
}

/// Attacks the filter of `profile`, which answers with `refusal` what it refuses.
pub(crate) fn filter(profile: Profile, refusal: Errno) -> Proof {
    let begun = Instant::now();
    let mut proof = Proof::default();
    for probe in attacks(profile) {
        proof.note(FILTER, probe.name, probe.make(refusal));
    }
    proof.took = begun.elapsed();
    proof
}

#[cfg(test)]
mod tests {
    use super::{FAMILIES, Proof, attacks};
    use crate::Profile;
    use crate::limits::PROBES_MIN;
    use std::collections::BTreeSet;

    #[test]
    fn every_profile_is_attacked_often_enough() {
        for profile in [Profile::Stub, Profile::Fetch, Profile::Net] {
            let number = u32::try_from(attacks(profile).count()).unwrap();
            assert!(number >= PROBES_MIN, "{profile:?}: {number}");
        }
    }

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for probe in FAMILIES.into_iter().flatten() {
            assert!(names.insert(probe.name), "{} twice", probe.name);
            assert!(probe.args.len() <= 6, "{}", probe.name);
        }
    }

    #[test]
    fn parts_of_a_battery_add_up() {
        let mut first = Proof::default();
        first.note("seccomp", "a", Ok(()));
        let mut second = Proof::default();
        second.note("root", "b", Err("it worked".to_owned()));
        let both = first.and(second);
        assert_eq!((both.probes, both.denied), (2, 1));
        let said: Vec<String> = both.failures.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["b: it worked"]);
    }
}
