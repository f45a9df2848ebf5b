//! One component: a stub by its route key, or a hyperty by its address, through all its lives.

use super::hyperty::Hyperty;
use super::kept::Kept;
use super::rates::Changes;
use super::{Refusal, Waiter};
use crate::deploy::Deploy;
use crate::grants::Grants;
use crate::input::{CodeHandle, Digest, SandboxId, Time, Token};
use crate::limits::{LOG_LINES_KEPT, STAGES_KEPT};
use crate::settings::Settings;
use protocol::address::{Address, RouteKey};
use protocol::descriptor::Descriptor;
use protocol::reason::Reason;
use std::collections::VecDeque;
use std::fmt::Write as _;

/// CONTRACT §7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Deploying,
    Active,
    Backoff,
    Dormant,
    Quarantined,
    Stopping,
    Failed,
}

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Active => "active",
            Self::Backoff => "backoff",
            Self::Dormant => "dormant",
            Self::Quarantined => "quarantined",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// What becomes of a component when its process has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AfterStop {
    /// It was idle: the next message starts it.
    #[default]
    Sleep,
    /// It was idle, and that message has come.
    Wake,
    /// An application needs it no longer: the next message fetches and starts it.
    Shed,
    /// An operator's `restart`.
    Restart,
    /// An operator's `undeploy`.
    Forget,
    /// An operator's `undeploy`, and then a `deploy`: nothing of before is kept.
    Anew,
}

/// Code that was fetched and checked, for every start until it is undeployed.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) code: CodeHandle,
    pub(crate) digest: Digest,
    pub(crate) source: String,
    /// Whether the domain's own catalogue had it, or the home domain's.
    pub(crate) own: bool,
    pub(crate) descriptor: Descriptor,
    pub(crate) grants: Grants,
}

impl Package {
    /// What of it is pinned.
    pub(crate) fn pin(&self) -> Pin {
        Pin { grants: self.grants.clone(), digest: self.digest, own: self.own }
    }

    pub(crate) fn digest_text(&self) -> String {
        let mut text = "sha256:".to_owned();
        for byte in self.digest.0 {
            // Writing into a String cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        text
    }
}

/// What was first used, in this life of the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Pin {
    pub(crate) grants: Grants,
    pub(crate) digest: Digest,
    /// Whether the domain's own catalogue had it, or the home domain's.
    pub(crate) own: bool,
}

/// What a component is called in a sentence.
pub(crate) fn noun(key: &RouteKey) -> String {
    match key {
        RouteKey::Hyperty(url) => format!("the hyperty {url}"),
        stub => format!("the stub of {stub}"),
    }
}

/// One component.
#[derive(Debug)]
pub(crate) struct Component {
    pub(crate) key: RouteKey,
    pub(crate) url: Address,
    pub(crate) interworking: bool,
    /// An operator asked for it: no application ends it.
    pub(crate) by_operator: bool,
    /// Of a hyperty: what it is, and whose.
    pub(crate) hyperty: Option<Hyperty>,
    pub(crate) state: State,
    pub(crate) status: &'static str,
    pub(crate) changes: Changes,
    /// Since when, in milliseconds since the epoch.
    pub(crate) status_ms: u64,
    pub(crate) stub: Option<SandboxId>,
    pub(crate) deploy: Option<Deploy>,
    pub(crate) package: Option<Package>,
    pub(crate) pin: Option<Pin>,
    pub(crate) restarts: u32,
    /// Times of unasked exits, newest last.
    pub(crate) exits: VecDeque<Time>,
    pub(crate) quarantines: usize,
    pub(crate) failures: usize,
    pub(crate) retry_at: Option<Time>,
    pub(crate) last_refusal: Option<Refusal>,
    pub(crate) last_error: Option<String>,
    pub(crate) stages: VecDeque<(String, u64)>,
    pub(crate) started_at: Option<Time>,
    pub(crate) active_since: Option<Time>,
    pub(crate) last_used: Time,
    pub(crate) log: VecDeque<(u64, String)>,
    pub(crate) waiters: Vec<Waiter>,
    /// Stopping: what happens when the process is gone.
    pub(crate) after_stop: AfterStop,
    /// Operators who wait until it is gone.
    pub(crate) leaving: Vec<Token>,
    /// What the store has of it.
    pub(crate) kept: Option<Kept>,
    /// When what it says of itself is kept again.
    pub(crate) keep_at: Option<Time>,
}

impl Component {
    pub(crate) fn new(key: RouteKey, url: Address, now: Time) -> Self {
        Self {
            key,
            url,
            interworking: false,
            by_operator: false,
            hyperty: None,
            state: State::Deploying,
            status: "none",
            changes: Changes::new(now),
            status_ms: 0,
            stub: None,
            deploy: None,
            package: None,
            pin: None,
            restarts: 0,
            exits: VecDeque::new(),
            quarantines: 0,
            failures: 0,
            retry_at: None,
            last_refusal: None,
            last_error: None,
            stages: VecDeque::new(),
            started_at: None,
            active_since: None,
            last_used: now,
            log: VecDeque::new(),
            waiters: Vec::new(),
            after_stop: AfterStop::Sleep,
            leaving: Vec::new(),
            kept: None,
            keep_at: None,
        }
    }

    /// Whether it is not to be started before its time.
    pub(crate) fn rests(&self, now: Time) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }

    /// Whether it comes back when the process that is stopping is gone.
    pub(crate) const fn starts_after_stop(&self) -> bool {
        matches!(self.after_stop, AfterStop::Wake | AfterStop::Restart | AfterStop::Anew)
    }

    /// CONTRACT §7.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.key {
            RouteKey::Hyperty(_) => "hyperty",
            RouteKey::Idp(_) => "idp-proxy",
            RouteKey::Legacy { .. } => "interworking",
            RouteKey::Domain(_) if self.interworking => "interworking",
            RouteKey::Domain(_) => "protostub",
            RouteKey::P2pHandler(_) => "p2p-handler",
            RouteKey::P2p(_) => "p2p-requester",
        }
    }

    /// Why messages are refused in this state.
    pub(crate) fn refusal(&self, now: Time) -> Refusal {
        let left = self.retry_at.map(|at| at.0.saturating_sub(now.0));
        let refusal = match self.state {
            State::Quarantined => Refusal::new(
                Reason::Quarantined,
                format!("{} failed too often and rests", noun(&self.key)),
            ),
            State::Stopping => {
                Refusal::new(Reason::Undeployed, format!("{} is being removed", noun(&self.key)))
            }
            _ => self.last_refusal.clone().unwrap_or_else(|| {
                Refusal::new(
                    Reason::SandboxUnavailable,
                    format!("{} is not there", noun(&self.key)),
                )
            }),
        };
        match left {
            Some(left) => refusal.retry(left),
            None => refusal,
        }
    }

    pub(crate) fn stage(&mut self, name: &str, ms: u64) {
        if self.stages.len() >= STAGES_KEPT {
            self.stages.pop_front();
        }
        self.stages.push_back((name.to_owned(), ms));
    }

    pub(crate) fn log(&mut self, wall_ms: u64, text: String) {
        if self.log.len() >= LOG_LINES_KEPT {
            self.log.pop_front();
        }
        self.log.push_back((wall_ms, text));
    }

    /// When it must be looked at.
    pub(crate) fn next_deadline(&self, settings: &Settings) -> Option<Time> {
        let own = match self.state {
            State::Deploying => self.deploy.as_ref().map(Deploy::next_deadline),
            State::Backoff | State::Quarantined => self.retry_at,
            State::Active => Some(Time(self.last_used.0.saturating_add(settings.idle_ms))),
            State::Failed if matches!(self.key, RouteKey::P2pHandler(_)) => self.retry_at,
            State::Dormant | State::Stopping | State::Failed => None,
        };
        let waiters = self.waiters.iter().map(|waiter| waiter.2).min();
        [own, waiters, self.changes.due(), self.keep_at].into_iter().flatten().min()
    }
}
