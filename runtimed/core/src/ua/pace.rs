//! The pace of connections to one place: a node that comes back is not run over by all who lost it
//! at once. Who must wait waits here, one of each stub in turn; who finds no room is refused, and
//! comes again by a backoff of its own.

use super::Way;
use crate::bucket::Bucket;
use crate::input::{SandboxId, Time};
use crate::limits::{CONNECTIONS_PACED, PLACE_CONNECTS_BURST, PLACE_CONNECTS_PER_SECOND};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

/// One request of a sandbox, by the number that the sandbox gave it.
pub(super) type Request = (SandboxId, u32);

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is its turn.
    Now(Way),
    /// It waits.
    Waits,
    /// There was no room, and this one, perhaps another, waits no longer.
    Full(Request),
}

/// All places to which there were connections lately.
#[derive(Debug, Default)]
pub(super) struct Paces {
    places: BTreeMap<(String, u16), Pace>,
}

#[derive(Debug)]
struct Pace {
    bucket: Bucket,
    waiting: BTreeMap<SandboxId, VecDeque<(u32, Way)>>,
    count: usize,
    /// Whose turn it was.
    last: SandboxId,
}

impl Paces {
    /// A sandbox wants to go this way.
    pub(super) fn ask(&mut self, now: Time, (id, req): Request, way: Way) -> Turn {
        let to = (way.host.clone(), way.port);
        if !self.places.contains_key(&to) {
            // Where nobody went for a while nothing is remembered.
            self.places.retain(|_, pace| pace.count > 0 || !pace.bucket.is_full(now));
        }
        let pace = self.places.entry(to).or_insert_with(|| Pace::new(now));
        if pace.count == 0 && pace.bucket.take(now) {
            return Turn::Now(way);
        }
        pace.waiting.entry(id).or_default().push_back((req, way));
        pace.count = pace.count.saturating_add(1);
        if pace.count > CONNECTIONS_PACED {
            return pace.give_up(id).map_or(Turn::Waits, Turn::Full);
        }
        Turn::Waits
    }

    /// The next one whose turn it is.
    pub(super) fn next(&mut self, now: Time) -> Option<(Request, Way)> {
        let mut due = self.places.values_mut().filter(|pace| pace.count > 0);
        due.find_map(|pace| pace.bucket.take(now).then(|| pace.take()).flatten())
    }

    /// When it is somebody's turn.
    pub(super) fn due(&self) -> Option<Time> {
        let waiting = self.places.values().filter(|pace| pace.count > 0);
        waiting.map(|pace| pace.bucket.next()).min()
    }

    /// It is not wanted any more; whether it was here.
    pub(super) fn withdraw(&mut self, (id, req): Request) -> bool {
        self.places.values_mut().any(|pace| pace.remove(id, |other| other == req))
    }

    /// The sandbox is gone.
    pub(super) fn forget(&mut self, id: SandboxId) {
        for pace in self.places.values_mut() {
            pace.remove(id, |_| true);
        }
    }
}

impl Pace {
    fn new(now: Time) -> Self {
        Self {
            bucket: Bucket::with_burst(PLACE_CONNECTS_PER_SECOND, PLACE_CONNECTS_BURST, now),
            waiting: BTreeMap::new(),
            count: 0,
            last: SandboxId(0),
        }
    }

    /// The first of whoever comes after the last one's, round and round.
    fn take(&mut self) -> Option<(Request, Way)> {
        let after = self.waiting.range((Excluded(self.last), Unbounded)).map(|(id, _)| *id).next();
        let id = after.or_else(|| self.waiting.keys().next().copied())?;
        let (req, way) = self.waiting.get_mut(&id)?.pop_front()?;
        self.last = id;
        self.count = self.count.saturating_sub(1);
        self.drop_if_empty(id);
        Some(((id, req), way))
    }

    /// The youngest of whoever has most waiting; of the newcomer if it has as many.
    fn give_up(&mut self, newcomer: SandboxId) -> Option<Request> {
        let most = self.waiting.iter().max_by_key(|(id, of)| (of.len(), **id == newcomer));
        let id = *most?.0;
        let (req, _) = self.waiting.get_mut(&id)?.pop_back()?;
        self.count = self.count.saturating_sub(1);
        self.drop_if_empty(id);
        Some((id, req))
    }

    fn remove(&mut self, id: SandboxId, is_it: impl Fn(u32) -> bool) -> bool {
        let Some(of) = self.waiting.get_mut(&id) else { return false };
        let before = of.len();
        of.retain(|(req, _)| !is_it(*req));
        let gone = before.saturating_sub(of.len());
        self.count = self.count.saturating_sub(gone);
        self.drop_if_empty(id);
        gone > 0
    }

    fn drop_if_empty(&mut self, id: SandboxId) {
        if self.waiting.get(&id).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&id);
        }
    }
}
