//! Who owns which address: one row per address text, ownership by whole path segments, and the
//! reservations that outlive an application's connection.

use super::Peer;
use crate::limits::RESERVED_PER_UID;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Index of an address text while something refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NameId(u32);

#[derive(Debug)]
struct Slot {
    text: Arc<str>,
    owner: Option<Peer>,
    /// Requests that name it as requester or receiver.
    refs: u32,
}

/// The address table.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_text: HashMap<Arc<str>, NameId>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Owned addresses in order, for "is anything below it owned".
    owned: BTreeMap<Arc<str>, Peer>,
    reserved: BTreeMap<Arc<str>, Reservation>,
    by_uid: BTreeMap<u32, BTreeMap<u64, Arc<str>>>,
    reservations: u64,
    /// Changes whenever ownership does; routes remembered under another number are void.
    epoch: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reservation {
    uid: u32,
    order: u64,
}

/// `text` itself, then each address above it, down to `scheme://host`.
pub(crate) fn upwards(text: &str) -> impl Iterator<Item = &str> {
    let authority = text.find("://").map_or(0, |at| at.saturating_add(3));
    std::iter::successors(Some(text), move |current| {
        let cut = current.rfind('/')?;
        if cut < authority { None } else { current.get(..cut) }
    })
}

/// The first key below `text`, by whole segments.
pub(crate) fn first_below<'a, V>(
    map: &'a BTreeMap<Arc<str>, V>,
    text: &str,
) -> Option<(&'a Arc<str>, &'a V)> {
    let mut prefix = String::with_capacity(text.len().saturating_add(1));
    prefix.push_str(text);
    prefix.push('/');
    map.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
        .next()
        .filter(|(key, _)| key.starts_with(&prefix))
}

impl Names {
    /// Number of the present state of ownership.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Makes every remembered route void.
    pub(crate) const fn touch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The row of exactly this text.
    pub(crate) fn find(&self, text: &str) -> Option<NameId> {
        self.by_text.get(text).copied()
    }

    fn slot(&self, id: NameId) -> Option<&Slot> {
        self.slots.get(usize::try_from(id.0).ok()?)?.as_ref()
    }

    fn slot_mut(&mut self, id: NameId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(id.0).ok()?)?.as_mut()
    }

    /// Its text.
    pub(crate) fn text(&self, id: NameId) -> Arc<str> {
        self.slot(id).map_or_else(|| Arc::from(""), |slot| Arc::clone(&slot.text))
    }

    /// Whether it is this text.
    pub(crate) fn is(&self, id: NameId, text: &str) -> bool {
        self.slot(id).is_some_and(|slot| &*slot.text == text)
    }

    /// Owner of exactly this address.
    pub(crate) fn owner(&self, text: &str) -> Option<Peer> {
        self.find(text).and_then(|id| self.slot(id)).and_then(|slot| slot.owner)
    }

    /// Owner of this address or of the nearest one above it.
    pub(crate) fn owner_at_or_above(&self, text: &str) -> Option<Peer> {
        upwards(text).find_map(|above| self.owner(above))
    }

    /// Whether it, or one above it, is reserved.
    pub(crate) fn is_reserved(&self, text: &str) -> bool {
        !self.reserved.is_empty() && upwards(text).any(|above| self.reserved.contains_key(above))
    }

    /// For which user it, or one above it, is reserved.
    pub(crate) fn reserved_for(&self, text: &str) -> Option<u32> {
        upwards(text).find_map(|above| self.reserved.get(above)).map(|reservation| reservation.uid)
    }

    fn row(&mut self, text: &str) -> NameId {
        if let Some(id) = self.find(text) {
            return id;
        }
        let text: Arc<str> = Arc::from(text);
        let slot = Slot { text: Arc::clone(&text), owner: None, refs: 0 };
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = usize::try_from(number).ok().and_then(|at| self.slots.get_mut(at)) {
            *place = Some(slot);
        }
        self.by_text.insert(text, NameId(number));
        NameId(number)
    }

    fn sweep(&mut self, id: NameId) {
        if self.slot(id).is_some_and(|slot| slot.owner.is_none() && slot.refs == 0)
            && let Some(place) = usize::try_from(id.0).ok().and_then(|at| self.slots.get_mut(at))
            && let Some(slot) = place.take()
        {
            self.by_text.remove(&slot.text);
            self.free.push(id.0);
        }
    }

    /// Keeps the row of `text` until [`Self::release`].
    pub(crate) fn hold(&mut self, text: &str) -> NameId {
        let id = self.row(text);
        self.hold_row(id);
        id
    }

    /// Keeps a row that exists until [`Self::release`].
    pub(crate) fn hold_row(&mut self, id: NameId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.refs = slot.refs.saturating_add(1);
        }
    }

    /// Ends one [`Self::hold`].
    pub(crate) fn release(&mut self, id: NameId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.refs = slot.refs.saturating_sub(1);
        }
        self.sweep(id);
    }

    /// Gives `text` to `owner`; false if somebody has it.
    pub(crate) fn register(&mut self, text: &str, owner: Peer) -> bool {
        if self.owned.contains_key(text) {
            return false;
        }
        let id = self.row(text);
        if let Some(slot) = self.slot_mut(id) {
            slot.owner = Some(owner);
            let text = Arc::clone(&slot.text);
            self.owned.insert(text, owner);
        }
        self.touch();
        true
    }

    /// Takes `text` from its owner.
    pub(crate) fn unregister(&mut self, text: &str) -> Option<Peer> {
        let owner = self.owned.remove(text)?;
        if let Some(id) = self.find(text) {
            if let Some(slot) = self.slot_mut(id) {
                slot.owner = None;
            }
            self.sweep(id);
        }
        self.touch();
        Some(owner)
    }

    /// Whether a user may have this address: nobody else owns or has reserved it, anything above
    /// it or anything below it.
    pub(crate) fn is_free_for(&self, text: &str, uid: u32) -> bool {
        self.owner_at_or_above(text).is_none()
            && first_below(&self.owned, text).is_none()
            && upwards(text).all(|above| self.reserved.get(above).is_none_or(|r| r.uid == uid))
            && !self.is_foreign_below(text, uid)
    }

    /// Whether nobody owns or has reserved it, anything above it or anything below it.
    pub(crate) fn is_free(&self, text: &str) -> bool {
        self.owner_at_or_above(text).is_none()
            && first_below(&self.owned, text).is_none()
            && !self.is_reserved(text)
            && first_below(&self.reserved, text).is_none()
    }

    /// Whether exactly this address is reserved for a user.
    pub(crate) fn has_reserved(&self, text: &str, uid: u32) -> bool {
        self.reserved.get(text).is_some_and(|reservation| reservation.uid == uid)
    }

    fn is_foreign_below(&self, text: &str, uid: u32) -> bool {
        let prefix = format!("{text}/");
        self.reserved
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix))
            .any(|(_, reservation)| reservation.uid != uid)
    }

    /// A number above those of all reservations.
    pub(crate) const fn next_order(&mut self) -> u64 {
        self.reservations = self.reservations.saturating_add(1);
        self.reservations
    }

    /// Keeps `text` for `uid` after its connection. The user's oldest reservation goes if there are
    /// too many: which.
    pub(crate) fn reserve(&mut self, text: &str, uid: u32, order: u64) -> Option<Arc<str>> {
        self.unreserve(text);
        self.reservations = self.reservations.max(order);
        let text: Arc<str> = Arc::from(text);
        self.reserved.insert(Arc::clone(&text), Reservation { uid, order });
        let mine = self.by_uid.entry(uid).or_default();
        mine.insert(order, text);
        let full = mine.len() > RESERVED_PER_UID;
        let oldest = if full { mine.pop_first().map(|(_, oldest)| oldest) } else { None };
        if let Some(oldest) = &oldest {
            self.reserved.remove(oldest);
        }
        self.touch();
        oldest
    }

    /// Ends the reservation of exactly this address.
    pub(crate) fn unreserve(&mut self, text: &str) {
        if let Some(reservation) = self.reserved.remove(text)
            && let Some(mine) = self.by_uid.get_mut(&reservation.uid)
        {
            mine.remove(&reservation.order);
            if mine.is_empty() {
                self.by_uid.remove(&reservation.uid);
            }
        }
    }

    /// Every owned address in order, from the first after this one on.
    pub(crate) fn owned_after(
        &self,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&Arc<str>, Peer)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.owned.range::<str, _>((from, Bound::Unbounded));
        rest.map(|(text, owner)| (text, *owner))
    }

    /// Every owned address, for the check.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (&Arc<str>, Peer)> {
        self.owned.iter().map(|(text, owner)| (text, *owner))
    }

    /// What is wrong with the table, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (text, owner) in &self.owned {
            if self.owner(text) != Some(*owner) {
                return Err(format!("{text} has two owners"));
            }
        }
        let rows = self.slots.iter().flatten().count();
        if rows != self.by_text.len() {
            return Err(format!("{rows} rows for {} names", self.by_text.len()));
        }
        let stale = self.slots.iter().flatten().find(|s| s.owner.is_none() && s.refs == 0);
        stale.map_or(Ok(()), |slot| Err(format!("nobody needs the row of {}", slot.text)))
    }

    /// References held by requests, for the check.
    pub(crate) fn holds(&self) -> u64 {
        self.slots.iter().flatten().map(|slot| u64::from(slot.refs)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, upwards};
    use crate::bus::Peer;
    use crate::input::LinkId;

    fn peer(number: u32) -> Peer {
        Peer::Link(LinkId(number))
    }

    #[test]
    fn an_address_is_walked_up_by_whole_segments() {
        let all: Vec<_> = upwards("hyperty://a.b/c/d").collect();
        assert_eq!(all, ["hyperty://a.b/c/d", "hyperty://a.b/c", "hyperty://a.b"]);
        assert_eq!(upwards("tel:+1").collect::<Vec<_>>(), ["tel:+1"]);
    }

    #[test]
    fn the_owner_of_an_address_owns_what_is_below_and_not_what_looks_alike() {
        let mut names = Names::default();
        assert!(names.register("hyperty://a.b/c", peer(1)));
        assert!(!names.register("hyperty://a.b/c", peer(2)));
        assert_eq!(names.owner_at_or_above("hyperty://a.b/c/x/y"), Some(peer(1)));
        assert_eq!(names.owner_at_or_above("hyperty://a.b/cd"), None);
        assert_eq!(names.owner_at_or_above("hyperty://a.b"), None);
        assert_eq!(names.owner("hyperty://a.b/c/x"), None);
    }

    #[test]
    fn a_claim_meets_owners_above_and_below_and_other_users_reservations() {
        let mut names = Names::default();
        names.register("hyperty://a.b/c/d", peer(1));
        names.reserve("hyperty://a.b/r/s", 7, 1);
        let table = [
            ("hyperty://a.b/c/d", 7, false),
            ("hyperty://a.b/c", 7, false),
            ("hyperty://a.b/c/d/e", 7, false),
            ("hyperty://a.b/c/dd", 7, true),
            ("hyperty://a.b/c/d-x", 7, true),
            ("hyperty://a.b/r/s", 7, true),
            ("hyperty://a.b/r/s", 8, false),
            ("hyperty://a.b/r", 8, false),
            ("hyperty://a.b/r/s/t", 8, false),
            ("hyperty://a.b/r/st", 8, true),
        ];
        for (text, uid, free) in table {
            assert_eq!(names.is_free_for(text, uid), free, "{text} for {uid}");
        }
    }

    #[test]
    fn a_row_lives_as_long_as_an_owner_or_a_request_needs_it() {
        let mut names = Names::default();
        names.register("hyperty://a.b/c", peer(1));
        let held = names.hold("hyperty://a.b/c");
        names.unregister("hyperty://a.b/c");
        assert!(names.is(held, "hyperty://a.b/c"));
        names.release(held);
        assert_eq!(names.find("hyperty://a.b/c"), None);
        names.check().unwrap();
        assert_eq!(names.holds(), 0);
    }
}
