//! What is registered at the home domain's registry, until when, and what is to be said next.

use crate::input::Time;
use crate::limits::{LEASES_MAX, REGISTRATIONS_AT_ONCE, RESTORE_JITTER_MS};
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
    /// Which connection with the registry agreed; 0: none of this life of the daemon.
    sure: u32,
    pub(super) flight: Option<Step>,
    pub(super) failures: usize,
    due: Option<Time>,
}

impl Lease {
    /// Whether the registry has it not, and is being told nothing of it: nothing is to be said of
    /// its end.
    pub(super) fn is_unknown_there(&self) -> bool {
        self.until.is_none() && self.flight.is_none()
    }

    /// What is to be said when its time comes; `None`: nothing is, and it can be forgotten.
    fn next(&self, now: Time, connection: u32) -> Option<Step> {
        match (self.wanted, self.until) {
            (true, None) => Some(Step::Create),
            (true, Some(_)) if self.sure == connection => Some(Step::Refresh),
            (true, Some(_)) => Some(Step::Return),
            // What has run out needs no farewell.
            (false, until) => until.filter(|until| *until > now).map(|_| Step::Leave),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Leases {
    by_url: BTreeMap<Arc<str>, Lease>,
    due: BTreeSet<(Time, Arc<str>)>,
    flights: usize,
    /// Number of the connection with the registry: what an older one agreed to is not sure.
    connection: u32,
    /// When all are looked through for what is not sure any more, and when they last were.
    review: Option<Time>,
    reviewed: Option<Time>,
    /// The registry answered something, and that was not lost and looked for since.
    answered: bool,
    /// Addresses that were not registered because there was no room.
    pub(super) turned_away: u64,
    /// The registry refused something, and was not well since.
    pub(super) troubled: bool,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            by_url: BTreeMap::new(),
            due: BTreeSet::new(),
            flights: 0,
            connection: 1,
            review: None,
            reviewed: None,
            answered: false,
            turned_away: 0,
            troubled: false,
        }
    }
}

impl Leases {
    /// When a tick may find something; of what is due nothing while as much is said as may be.
    pub(crate) fn earliest(&self) -> Option<Time> {
        let busy = self.flights >= REGISTRATIONS_AT_ONCE;
        let due = self.due.first().filter(|_| !busy).map(|(at, _)| *at);
        [due, self.review].into_iter().flatten().min()
    }

    /// What the registry agreed to is not sure any more. That is noted at once; all are looked
    /// through once in [`RESTORE_JITTER_MS`], however often the connection comes and goes.
    pub(super) fn lost(&mut self, now: Time) {
        if !self.answered {
            return;
        }
        self.connection = self.connection.checked_add(1).unwrap_or(1);
        let free = self.reviewed.map_or(now, |at| Time(at.0.saturating_add(RESTORE_JITTER_MS)));
        self.review.get_or_insert(free.max(now));
    }

    /// Those that are to be said again, if it is time to look for them.
    pub(super) fn unsure(&mut self, now: Time) -> Vec<Arc<str>> {
        if self.review.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        self.reviewed = Some(now);
        let connection = self.connection;
        let old = self
            .by_url
            .iter_mut()
            .filter(|(_, lease)| lease.sure != 0 && lease.sure != connection || lease.failures > 0);
        let mut urls = Vec::new();
        for (url, lease) in old {
            (lease.sure, lease.failures) = (0, 0);
            if lease.wanted && lease.flight.is_none() {
                urls.push(Arc::clone(url));
            }
        }
        self.answered = self.by_url.values().any(|lease| lease.sure == connection);
        urls
    }

    /// The registry has it until then.
    pub(super) fn agreed(&mut self, url: &str, until: Time) -> Option<&Lease> {
        let lease = self.by_url.get_mut(url)?;
        (lease.until, lease.sure, lease.failures) = (Some(until), self.connection, 0);
        Some(lease)
    }

    /// What it is to be told of one next.
    pub(super) fn next(&self, url: &str, now: Time) -> Option<Step> {
        self.by_url.get(url)?.next(now, self.connection)
    }

    /// Whether one more is kept; if not, it is counted.
    pub(super) fn has_room(&mut self) -> bool {
        let room = self.by_url.len() < LEASES_MAX;
        if !room {
            self.turned_away = self.turned_away.saturating_add(1);
        }
        room
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

    #[cfg(test)]
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
        self.answered = true;
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

#[cfg(test)]
mod tests {
    use super::Leases;
    use crate::limits::LEASES_MAX;

    #[test]
    fn so_many_registrations_are_kept_and_what_finds_no_room_is_counted() {
        let mut leases = Leases::default();
        for number in 0..LEASES_MAX {
            assert!(leases.has_room());
            leases.entry(&number.to_string());
        }
        assert_eq!((leases.has_room(), leases.turned_away), (false, 1));
        leases.forget("7");
        assert!(leases.has_room());
    }
}
