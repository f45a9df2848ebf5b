//! Requests that wait for their response, by requester address and id text.

use super::Peer;
use super::names::NameId;
use crate::input::Time;
use protocol::address::{Address, RouteKey};
use std::collections::HashMap;

/// Bytes of an id that are kept without an allocation.
const SHORT_BYTES: usize = 22;

/// Text of an id; short ones lie inline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum IdText {
    /// Up to [`SHORT_BYTES`], padded with zeros, which no id contains.
    Short([u8; SHORT_BYTES]),
    /// Longer.
    Long(Box<str>),
}

impl IdText {
    /// Keeps `text`.
    pub(crate) fn new(text: &str) -> Self {
        let mut short = [0; SHORT_BYTES];
        match short.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short(short)
            }
            None => Self::Long(text.into()),
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Short(bytes) => {
                let used = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                std::str::from_utf8(used).unwrap_or_default()
            }
            Self::Long(text) => text,
        }
    }
}

/// Who asked, and how the request is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PendingKey {
    /// Address of the requester.
    pub(crate) requester: NameId,
    /// Id of the request.
    pub(crate) id: IdText,
}

/// Where the request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Handed to this link.
    At(Peer),
    /// Parked.
    Parked,
    /// It asked the runtime to deploy this.
    Deploy(RouteKey),
    /// It asked the runtime to end this.
    Removal(RouteKey),
    /// It subscribes, and message nodes are yet to agree; or it needs addresses, and the home
    /// domain's is yet to allocate them.
    Nodes,
}

/// A request that the runtime passed on to who can answer it: its response comes from the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Relay {
    /// Whoever asks observes this object once its reporter agrees.
    Observe(Address),
    /// A question, and nothing more.
    Read,
}

/// A request without its final response.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// What it is found by.
    pub(crate) key: PendingKey,
    /// Whose it is.
    pub(crate) peer: Peer,
    /// The address that was asked.
    pub(crate) asked: NameId,
    /// Where it is.
    pub(crate) waits: Waits,
    /// When it is answered with 408.
    pub(crate) deadline: Time,
    /// Whether its id was a JSON number.
    pub(crate) id_num: bool,
    /// Provisional responses so far.
    pub(crate) provisional: u8,
    /// Whether it was passed on.
    pub(crate) relay: Option<Box<Relay>>,
}

/// Names a request; stays good when its place is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingRef {
    slot: u32,
    serial: u64,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(crate) struct PendingTable {
    by_key: HashMap<PendingKey, u32>,
    slots: Vec<Option<(u64, Pending)>>,
    free: Vec<u32>,
    serial: u64,
    /// No request is due before this.
    earliest: Option<Time>,
}

impl PendingTable {
    /// Requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// When a sweep may find something.
    pub(crate) const fn earliest(&self) -> Option<Time> {
        self.earliest
    }

    fn place(&self, slot: u32) -> Option<&(u64, Pending)> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut (u64, Pending)> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// The request with this key.
    pub(crate) fn find(&self, key: &PendingKey) -> Option<PendingRef> {
        let slot = *self.by_key.get(key)?;
        self.place(slot).map(|(serial, _)| PendingRef { slot, serial: *serial })
    }

    /// The request itself.
    pub(crate) fn get(&self, at: PendingRef) -> Option<&Pending> {
        self.place(at.slot).filter(|(serial, _)| *serial == at.serial).map(|(_, pending)| pending)
    }

    /// The request itself, to change its state.
    pub(crate) fn get_mut(&mut self, at: PendingRef) -> Option<&mut Pending> {
        self.place_mut(at.slot).filter(|(serial, _)| *serial == at.serial).map(|(_, p)| p)
    }

    /// Enters a request; its key must be free.
    pub(crate) fn insert(&mut self, pending: Pending) -> PendingRef {
        self.serial = self.serial.wrapping_add(1);
        self.earliest = Some(self.earliest.map_or(pending.deadline, |t| t.min(pending.deadline)));
        let serial = self.serial;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(u32::MAX)
            }
        };
        self.by_key.insert(pending.key.clone(), slot);
        if let Some(place) = usize::try_from(slot).ok().and_then(|at| self.slots.get_mut(at)) {
            *place = Some((serial, pending));
        }
        PendingRef { slot, serial }
    }

    /// Takes a request out.
    pub(crate) fn remove(&mut self, at: PendingRef) -> Option<Pending> {
        self.get(at)?;
        let place = self.slots.get_mut(usize::try_from(at.slot).ok()?)?;
        let (_, pending) = place.take()?;
        self.by_key.remove(&pending.key);
        self.free.push(at.slot);
        Some(pending)
    }

    /// Those for which `which` holds, in the order of their places.
    pub(crate) fn select(&self, which: impl Fn(&Pending) -> bool) -> Vec<PendingRef> {
        let numbered = (0_u32..).zip(&self.slots);
        numbered
            .filter_map(|(slot, place)| place.as_ref().map(|(serial, p)| (slot, *serial, p)))
            .filter(|(_, _, pending)| which(pending))
            .map(|(slot, serial, _)| PendingRef { slot, serial })
            .collect()
    }

    /// Those whose deadline has come; afterwards [`Self::earliest`] is exact.
    pub(crate) fn due(&mut self, now: Time) -> Vec<PendingRef> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let rest = self.iter().map(|pending| pending.deadline).filter(|deadline| *deadline > now);
        self.earliest = rest.min();
        self.select(|pending| pending.deadline <= now)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.slots.iter().flatten().map(|(_, pending)| pending)
    }
}

#[cfg(test)]
mod tests {
    use super::{IdText, Pending, PendingKey, PendingTable, Waits};
    use crate::bus::Peer;
    use crate::bus::names::Names;
    use crate::input::Time;

    fn pending(names: &mut Names, requester: &str, id: &str, deadline: u64) -> Pending {
        Pending {
            key: PendingKey { requester: names.hold(requester), id: IdText::new(id) },
            peer: Peer::Core,
            asked: names.hold("hyperty://a.b/asked"),
            waits: Waits::Parked,
            deadline: Time(deadline),
            id_num: false,
            provisional: 0,
            relay: None,
        }
    }

    #[test]
    fn an_id_reads_back_at_every_length() {
        for length in 0..128 {
            let text = "x".repeat(length);
            assert_eq!(IdText::new(&text).text(), text);
        }
    }

    #[test]
    fn two_requesters_may_use_one_id_and_the_key_is_no_concatenation() {
        let (mut names, mut table) = (Names::default(), PendingTable::default());
        let first = pending(&mut names, "hyperty://a.b/x1", "1", 10);
        let second = pending(&mut names, "hyperty://a.b/x", "11", 10);
        let (first_key, second_key) = (first.key.clone(), second.key.clone());
        let first = table.insert(first);
        let second = table.insert(second);
        assert_eq!(table.find(&first_key), Some(first));
        assert_eq!(table.find(&second_key), Some(second));
        table.remove(first).unwrap();
        assert_eq!(table.find(&first_key), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_reference_does_not_reach_the_next_user_of_its_place() {
        let (mut names, mut table) = (Names::default(), PendingTable::default());
        let first = table.insert(pending(&mut names, "hyperty://a.b/x", "1", 10));
        table.remove(first).unwrap();
        let second = table.insert(pending(&mut names, "hyperty://a.b/x", "2", 10));
        assert!(table.get(first).is_none() && table.remove(first).is_none());
        assert_eq!(table.get(second).unwrap().key.id.text(), "2");
    }

    #[test]
    fn a_sweep_finds_what_is_due_and_knows_when_the_next_is() {
        let (mut names, mut table) = (Names::default(), PendingTable::default());
        for (id, deadline) in [("1", 30), ("2", 10), ("3", 20)] {
            let _at = table.insert(pending(&mut names, "hyperty://a.b/x", id, deadline));
        }
        assert!(table.due(Time(9)).is_empty());
        let due = table.due(Time(20));
        assert_eq!(due.len(), 2);
        for at in due {
            table.remove(at).unwrap();
        }
        assert_eq!(table.earliest(), Some(Time(30)));
        let last = table.due(Time(31));
        table.remove(last[0]).unwrap();
        assert_eq!((table.earliest(), table.len()), (None, 0));
    }
}
