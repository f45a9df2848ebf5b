//! What one message node, or the runtimes of a domain without one, are told and are to be told.

use crate::input::Time;
use crate::limits::{NODE_RETRY_MS, RESOURCES_PER_SUBSCRIBE, RESTORE_JITTER_MS};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) subscribed: bool,
    pub(super) connected: bool,
    /// Which connection with the node agreed; 0: none, or it was lost since.
    pub(super) told: u32,
}

impl Row {
    pub(super) const fn is_wanted(self) -> bool {
        self.subscribed || self.connected
    }

    pub(super) const fn told(self) -> bool {
        self.told != 0
    }
}

/// The message on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) join: bool,
    pub(super) resources: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    /// How often the connection with it was lost: what an older one agreed to does not hold.
    pub(super) losses: u32,
    /// When all rows are looked through for such, and when they last were.
    pub(super) review: Option<Time>,
    pub(super) reviewed: Option<Time>,
    /// The node agreed to something, and that was not lost and looked for since.
    pub(super) agreed: bool,
    pub(super) rows: BTreeMap<Arc<str>, Row>,
    /// Those that are wanted and not told, or told and not wanted.
    pub(super) todo: BTreeSet<Arc<str>>,
    pub(super) flight: Option<Flight>,
    pub(super) retry_at: Option<Time>,
    pub(super) failures: usize,
    /// Those that a runtime refused, which holds up nothing else, and when they are tried again.
    pub(super) refused: BTreeSet<Arc<str>>,
    pub(super) refused_until: Option<Time>,
    /// One at a time is told, because some together were refused.
    pub(super) singly: bool,
}

impl Node {
    pub(super) fn set(&mut self, resource: &Arc<str>, row: Row) {
        if row.is_wanted() == row.told() {
            self.todo.remove(resource);
            self.refused.remove(resource);
        } else {
            self.todo.insert(Arc::clone(resource));
        }
        if row.is_wanted() || row.told() {
            self.rows.insert(Arc::clone(resource), row);
        } else {
            self.rows.remove(resource);
        }
    }

    /// The next resources to tell, all in one direction, and which.
    pub(super) fn next(&self) -> Option<(bool, Vec<Arc<str>>)> {
        let wanted = |resource: &Arc<str>| self.rows.get(resource).is_some_and(|r| r.is_wanted());
        let join = wanted(self.open().next()?);
        let same = self.open().filter(|resource| wanted(resource) == join);
        let most = if self.singly { 1 } else { RESOURCES_PER_SUBSCRIBE };
        Some((join, same.take(most).cloned().collect()))
    }

    /// What may be told now.
    pub(super) fn open(&self) -> impl Iterator<Item = &Arc<str>> {
        self.todo.iter().filter(|resource| !self.refused.contains(*resource))
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.flight.is_none()
            && self.open().next().is_some()
            && self.retry_at.is_none_or(|retry| retry <= now)
    }

    /// What holds of it now.
    pub(super) fn row(&self, resource: &str) -> Row {
        let row = self.rows.get(resource).copied().unwrap_or_default();
        let holds = row.told == self.agreement(true);
        Row { told: if holds { row.told } else { 0 }, ..row }
    }

    /// What is written of what the node agreed to now.
    pub(super) fn agreement(&self, join: bool) -> u32 {
        if join { self.losses.checked_add(1).unwrap_or(1) } else { 0 }
    }

    /// Nobody knows any more what the node was told. That is noted at once; all rows are looked
    /// through once in [`RESTORE_JITTER_MS`], however often the node comes and goes.
    pub(super) fn lose(&mut self, now: Time) {
        self.try_refused_again();
        if !self.agreed {
            return;
        }
        self.losses = self.losses.wrapping_add(1);
        let free = self.reviewed.map_or(now, |at| Time(at.0.saturating_add(RESTORE_JITTER_MS)));
        self.review.get_or_insert(free.max(now));
        self.review_rows(now);
    }

    pub(super) fn try_refused_again(&mut self) {
        self.refused.clear();
        (self.refused_until, self.singly) = (None, false);
    }

    /// A runtime refused what it was told: some of them are told again, one by one; false if it was
    /// one, which waits.
    pub(super) fn divide(&mut self, flight: &Flight, now: Time) -> bool {
        if flight.resources.len() > 1 {
            self.singly = true;
            return true;
        }
        let wait = NODE_RETRY_MS.get(self.failures).or(NODE_RETRY_MS.last());
        let until = Time(now.0.saturating_add(wait.copied().unwrap_or_default()));
        if self.refused_until.is_none() {
            self.refused_until = Some(until);
            self.failures = self.failures.saturating_add(1);
        }
        self.refused.extend(flight.resources.iter().cloned());
        let more = self.open().next().is_some();
        self.singly &= more;
        false
    }

    /// Looks for what the node was told and does not know any more, if it is time to.
    pub(super) fn review_rows(&mut self, now: Time) {
        if self.review.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.reviewed = Some(now);
        let holds = self.agreement(true);
        self.agreed = self.rows.values().any(|row| row.told == holds);
        let old = self.rows.iter().filter(|(_, row)| row.told() && row.told != holds);
        for resource in old.map(|(resource, _)| Arc::clone(resource)).collect::<Vec<_>>() {
            let row = self.row(&resource);
            self.set(&resource, row);
        }
    }
}
