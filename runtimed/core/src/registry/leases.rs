//! What is registered at the home domain's registry, until when, and what is to be said next.

use crate::input::Time;
use crate::limits::REGISTRATIONS_AT_ONCE;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the registry is told of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is new.
    Create,
    /// It was there before, and is again.
    Return,
    /// It is still there.
    Refresh,
    /// It is gone.
    Leave,
}

/// One address.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Whether it is here.
    pub(super) wanted: bool,
    /// What is said of it beside its address; JSON text of an object.
    pub(super) details: Option<Arc<str>>,
    /// Until when the registry has it.
    pub(super) until: Option<Time>,
    /// Whether it was told so by this life of the daemon, and has not been lost since.
    pub(super) sure: bool,
    pub(super) flight: Option<Step>,
    pub(super) failures: usize,
    due: Option<Time>,
}

impl Lease {
    /// What is to be said when its time comes; `None`: nothing is, and it can be forgotten.
    pub(super) fn next(&self, now: Time) -> Option<Step> {
        match (self.wanted, self.until) {
            (true, None) => Some(Step::Create),
            (true, Some(_)) if self.sure => Some(Step::Refresh),
            (true, Some(_)) => Some(Step::Return),
            // What has run out needs no farewell.
            (false, until) => until.filter(|until| *until > now).map(|_| Step::Leave),
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_url: BTreeMap<Arc<str>, Lease>,
    due: BTreeSet<(Time, Arc<str>)>,
    flights: usize,
    /// The registry refused something, and was not well since.
    pub(super) troubled: bool,
}

impl Leases {
    /// When a tick may find something; nothing while as much is said as may be.
    pub(crate) fn earliest(&self) -> Option<Time> {
        let busy = self.flights >= REGISTRATIONS_AT_ONCE;
        self.due.first().filter(|_| !busy).map(|(at, _)| *at)
    }

    pub(super) fn get(&self, url: &str) -> Option<&Lease> {
        self.by_url.get(url)
    }

    pub(super) fn get_mut(&mut self, url: &str) -> Option<&mut Lease> {
        self.by_url.get_mut(url)
    }

    pub(super) fn entry(&mut self, url: &str) -> &mut Lease {
        self.by_url.entry(Arc::from(url)).or_default()
    }

    pub(crate) fn urls(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_url.keys()
    }

    pub(super) fn forget(&mut self, url: &str) {
        self.set_due(url, None);
        self.by_url.remove(url);
    }

    /// When something is to be said of it.
    pub(super) fn set_due(&mut self, url: &str, at: Option<Time>) {
        let Some((url, lease)) = self.by_url.get_key_value(url) else { return };
        let (url, before) = (Arc::clone(url), lease.due);
        if let Some(before) = before {
            self.due.remove(&(before, Arc::clone(&url)));
        }
        if let Some(at) = at {
            self.due.insert((at, Arc::clone(&url)));
        }
        if let Some(lease) = self.by_url.get_mut(&url) {
            lease.due = at;
        }
    }

    /// The next address of which something is to be said now.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Arc<str>> {
        let (at, url) = self.due.first()?;
        if *at > now || self.flights >= REGISTRATIONS_AT_ONCE {
            return None;
        }
        let url = Arc::clone(url);
        self.set_due(&url, None);
        Some(url)
    }

    pub(super) fn begin(&mut self, url: &str, step: Step) {
        if let Some(lease) = self.by_url.get_mut(url) {
            lease.flight = Some(step);
            self.flights = self.flights.saturating_add(1);
        }
    }

    pub(super) fn end(&mut self, url: &str) -> Option<Step> {
        let step = self.by_url.get_mut(url)?.flight.take()?;
        self.flights = self.flights.saturating_sub(1);
        Some(step)
    }

    /// What is under way is counted, and of what is not somebody will think.
    pub(crate) fn check(&self) -> Result<(), String> {
        let flights = self.by_url.values().filter(|lease| lease.flight.is_some()).count();
        let dues = self.by_url.values().filter(|lease| lease.due.is_some()).count();
        if flights != self.flights || dues != self.due.len() {
            return Err(format!("{flights} registrations under way, {dues} due: {self:?}"));
        }
        let idle = self.by_url.iter().find(|(_, l)| l.flight.is_none() && l.due.is_none());
        idle.map_or(Ok(()), |(url, lease)| Err(format!("nobody thinks of {url}: {lease:?}")))
    }
}
