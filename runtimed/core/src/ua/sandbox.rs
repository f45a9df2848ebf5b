//! One worker process, as the core sees it.
//!
//! ```text
//! spawn ─▶ Spawned ─▶ Confined ─▶ Verified ┐
//!                        └─▶ Ready (Hello) ─┴─▶ usable: only now is code or a job sent
//! ```

use super::Bridge;
use super::rates::{Rates, Seldom};
use crate::input::{LinkId, Time};
use protocol::address::RouteKey;
use protocol::ctl::{ConfinedReport, Level, Role};
use std::collections::BTreeMap;

/// Whom a sandbox works for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A component: its stub, or its fetch worker.
    Component(RouteKey),
    /// Everybody.
    Net,
}

/// A connection or file that a sandbox asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Not answered yet.
    Asked,
    /// Not answered yet, and not wanted any more.
    Abandoned,
    /// Handed over.
    Open,
}

/// Somebody who came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Of which domain, once its worker knows.
    pub(crate) domain: Option<String>,
}

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    pub(crate) role: Role,
    pub(crate) owner: Owner,
    pub(crate) link: Option<LinkId>,
    pub(crate) pid: Option<i32>,
    pub(crate) report: Option<ConfinedReport>,
    /// Layers that the check from outside saw.
    pub(crate) seen: Vec<String>,
    /// What it saw, while the level that is wanted also needs to know of the cgroup.
    pub(crate) waiting: Option<Vec<String>>,
    /// Layers of its cgroup, or why it has none; `None` while it is not known.
    pub(crate) cgroup: Option<Result<Vec<String>, String>>,
    pub(crate) verified: bool,
    pub(crate) ready: bool,
    /// Whether it was given code: from then on its death is the stub's.
    pub(crate) assigned: bool,
    pub(crate) bridge: Option<Bridge>,
    /// By the number that the worker gave. What it says of others changes nothing.
    pub(crate) streams: BTreeMap<u32, Stream>,
    /// Those who came and were handed to it, by the number that they were given.
    pub(crate) guests: BTreeMap<u32, Guest>,
    /// Which refused connections are events.
    pub(crate) refused: Seldom,
    pub(crate) rates: Rates,
    /// The signal that an operator sent.
    pub(crate) signalled: Option<i32>,
    /// When it is killed if nothing happens.
    pub(crate) deadline: Option<Time>,
    pub(crate) next_ping: Option<Time>,
    pub(crate) missed: u8,
    /// Why it is being killed.
    pub(crate) condemned: Option<(&'static str, String)>,
}

impl Sandbox {
    pub(crate) fn new(role: Role, owner: Owner, now: Time, deadline: Time) -> Self {
        Self {
            role,
            owner,
            link: None,
            pid: None,
            report: None,
            seen: Vec::new(),
            waiting: None,
            cgroup: None,
            verified: false,
            ready: false,
            assigned: false,
            bridge: None,
            streams: BTreeMap::new(),
            guests: BTreeMap::new(),
            refused: Seldom::default(),
            rates: Rates::new(now),
            signalled: None,
            deadline: Some(deadline),
            next_ping: None,
            missed: 0,
            condemned: None,
        }
    }

    /// How far it is closed (CONTRACT §7): what the worker says of itself, and what only others see.
    pub(crate) fn level(&self) -> Level {
        let Some(report) = &self.report else { return Level::None };
        let has = |layers: &[String], layer: &str| layers.iter().any(|found| found == layer);
        let limited = matches!(
            &self.cgroup,
            Some(Ok(layers)) if has(layers, "cgroup-memory") && has(layers, "cgroup-pids")
        );
        let apart = has(&self.seen, "own-uid") && has(&report.layers, "landlock");
        if limited && apart && report.level == Level::Namespaces {
            Level::Full
        } else {
            report.level
        }
    }

    /// What is in force.
    pub(crate) fn layers(&self) -> Vec<String> {
        let said = self.report.iter().flat_map(|report| &report.layers);
        let own_uid = self.seen.iter().filter(|layer| *layer == "own-uid");
        let cgroup = self.cgroup.iter().flatten().flatten();
        said.chain(own_uid).chain(cgroup).cloned().collect()
    }

    /// What is not, each with the reason.
    pub(crate) fn missing(&self) -> Vec<String> {
        let said = self.report.iter().flat_map(|report| report.missing.iter().cloned());
        let cgroup = match &self.cgroup {
            Some(Err(why)) => Some(format!("cgroup: {why}")),
            Some(Ok(_)) | None => None,
        };
        said.chain(cgroup).collect()
    }

    /// Whether it may be given code or a job.
    pub(crate) const fn is_usable(&self) -> bool {
        self.verified && self.ready && self.condemned.is_none()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [self.deadline, self.next_ping].into_iter().flatten().min()
    }
}
