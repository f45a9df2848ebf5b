//! One worker process, as the core sees it.
//!
//! ```text
//! spawn ─▶ Spawned ─▶ Confined ─▶ Verified ┐
//!                        └─▶ Ready (Hello) ─┴─▶ usable: only now is code or a job sent
//! ```

use super::Bridge;
use crate::input::{LinkId, Time};
use protocol::address::RouteKey;
use protocol::ctl::{ConfinedReport, Role};
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
    pub(crate) verified: bool,
    pub(crate) ready: bool,
    /// Whether it was given code: from then on its death is the stub's.
    pub(crate) assigned: bool,
    pub(crate) bridge: Option<Bridge>,
    /// By the number that the worker gave. What it says of others changes nothing.
    pub(crate) streams: BTreeMap<u32, Stream>,
    /// When the next refused connection is an event of its own, and how many came before.
    pub(crate) refused: Option<(Time, u32)>,
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
    pub(crate) const fn new(role: Role, owner: Owner, deadline: Time) -> Self {
        Self {
            role,
            owner,
            link: None,
            pid: None,
            report: None,
            seen: Vec::new(),
            verified: false,
            ready: false,
            assigned: false,
            bridge: None,
            streams: BTreeMap::new(),
            refused: None,
            signalled: None,
            deadline: Some(deadline),
            next_ping: None,
            missed: 0,
            condemned: None,
        }
    }

    /// Whether it may be given code or a job.
    pub(crate) const fn is_usable(&self) -> bool {
        self.verified && self.ready && self.condemned.is_none()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [self.deadline, self.next_ping].into_iter().flatten().min()
    }
}
