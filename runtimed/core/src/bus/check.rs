//! What must hold after every step; for the simulation and for tests.

use super::pending::Waits;
use super::{Bus, Link, LinkKind, Peer};
use std::collections::BTreeMap;

impl Link {
    /// Whether it is an application.
    pub(crate) const fn is_app(&self) -> bool {
        matches!(self.kind, LinkKind::App { .. })
    }
}

impl Bus {
    /// The first thing that does not hold.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.counters.check(self.queued())?;
        self.names.check()?;
        self.park.check()?;
        self.check_links()?;
        self.check_own()?;
        self.check_pending()
    }

    fn exists(&self, peer: Peer) -> bool {
        match peer {
            Peer::Core => true,
            Peer::Link(id) => self.links.contains_key(&id),
            Peer::Operator(token) => self.operators.contains_key(&token),
        }
    }

    fn check_links(&self) -> Result<(), String> {
        let bytes: u64 = self.links.values().map(|link| link.egress.bytes()).sum();
        if bytes != self.egress_bytes {
            return Err(format!("{bytes} bytes wait, {} are booked", self.egress_bytes));
        }
        if let Some(link) = self.orphans.keys().next() {
            return Err(format!("frames of link {} are forgotten", link.0));
        }
        for (text, owner) in self.names.owned() {
            if !self.exists(owner) {
                return Err(format!("{text} belongs to {owner:?}, who is gone"));
            }
        }
        self.nodes.check()?;
        self.subscriptions.check(|id| self.links.contains_key(&id))
    }

    fn check_pending(&self) -> Result<(), String> {
        let mut holds = 0_u64;
        let mut own: BTreeMap<Peer, u32> = BTreeMap::new();
        for pending in self.pending.iter() {
            holds = holds.saturating_add(2);
            let count = own.entry(pending.peer).or_default();
            *count = count.saturating_add(1);
            if !self.exists(pending.peer) {
                return Err(format!("{pending:?} is waited for by nobody"));
            }
            if matches!(pending.waits, Waits::At(peer) if !self.exists(peer)) {
                return Err(format!("{pending:?} waits at nobody"));
            }
        }
        if holds != self.names.holds() {
            return Err(format!("requests hold {holds} names, held are {}", self.names.holds()));
        }
        for (id, link) in &self.links {
            let own = own.get(&Peer::Link(*id)).copied().unwrap_or_default();
            if own != link.pending {
                return Err(format!("link {} has {own} requests, booked {}", id.0, link.pending));
            }
        }
        let waiting = self.pending.iter().filter(|p| p.waits == Waits::Parked).count();
        let parked = self.park.iter().filter_map(|parked| self.pending.get(parked.pending?));
        let parked = parked.filter(|pending| pending.waits == Waits::Parked).count();
        if waiting == parked {
            Ok(())
        } else {
            Err(format!("{waiting} requests say they are parked, {parked} are"))
        }
    }
}
