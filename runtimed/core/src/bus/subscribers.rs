//! Who is subscribed to what, here. A subscription of an application's claimed address outlives
//! its connection, as the claim does, and is kept in the store; any other ends with its link.

use crate::input::LinkId;
use crate::limits::{
    SUBSCRIBERS_PER_RESOURCE, SUBSCRIPTIONS_PER_LINK, SUBSCRIPTIONS_PER_PEER, SUBSCRIPTIONS_PER_UID,
};
use crate::ua::Refusal;
use protocol::address::is_within;
use protocol::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Who is charged for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    /// A link; it ends with it.
    Link(LinkId),
    /// The user of an application; it is kept.
    User(u32),
    /// The subscriber itself: a runtime at the other end of a connection, with which it ends.
    Peer,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Where copies go; `None` while its application is away.
    pub(crate) link: Option<LinkId>,
    account: Account,
    /// Copies that it missed since the last one that was handed over.
    pub(crate) lagged: u32,
}

impl Subscriber {
    /// Whether it is a runtime at the other end of a connection.
    pub(crate) fn is_peer(&self) -> bool {
        self.account == Account::Peer
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    by_resource: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Subscriber>>,
    /// Resources of those that are kept.
    kept: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Resources of runtimes at the other ends of connections.
    peers: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    by_account: BTreeMap<Account, u32>,
    /// What has changed for the store since it was last told: whether the row is there.
    changed: BTreeMap<(Arc<str>, Arc<str>), bool>,
}

impl Subscriptions {
    /// Where copies go.
    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.by_resource.values().flat_map(BTreeMap::values).filter_map(|row| row.link)
    }

    /// Enters one; false if it is there already.
    pub(crate) fn add(
        &mut self,
        resource: &str,
        subscriber: &str,
        link: Option<LinkId>,
        account: Account,
    ) -> Result<bool, Refusal> {
        let known = self.by_resource.get_mut(resource).and_then(|set| set.get_mut(subscriber));
        if let Some(known) = known {
            known.link = link;
            return Ok(false);
        }
        let most = match account {
            Account::Link(_) => SUBSCRIPTIONS_PER_LINK,
            Account::User(_) => SUBSCRIPTIONS_PER_UID,
            Account::Peer => SUBSCRIPTIONS_PER_PEER,
        };
        let held = self.by_account.get(&account).copied().unwrap_or_default();
        let own = match account {
            Account::Peer => self.peers.get(subscriber).map_or(0, BTreeSet::len),
            Account::Link(_) | Account::User(_) => usize::try_from(held).unwrap_or(usize::MAX),
        };
        let crowd = self.by_resource.get(resource).map_or(0, BTreeMap::len);
        if u32::try_from(own).is_ok_and(|own| own < most) && crowd < SUBSCRIBERS_PER_RESOURCE {
            let (resource, subscriber) = (Arc::from(resource), Arc::from(subscriber));
            self.by_account.insert(account, held.saturating_add(1));
            self.enter((resource, subscriber), Subscriber { link, account, lagged: 0 });
            return Ok(true);
        }
        Err(Refusal::new(Reason::Overloaded, "too many subscriptions"))
    }

    fn enter(&mut self, (resource, subscriber): (Arc<str>, Arc<str>), row: Subscriber) {
        let index = match row.account {
            Account::Link(_) => None,
            Account::User(_) => Some(&mut self.kept),
            Account::Peer => Some(&mut self.peers),
        };
        if let Some(index) = index {
            index.entry(Arc::clone(&subscriber)).or_default().insert(Arc::clone(&resource));
        }
        if matches!(row.account, Account::User(_)) {
            self.changed.insert((Arc::clone(&resource), Arc::clone(&subscriber)), true);
        }
        self.by_resource.entry(resource).or_default().insert(subscriber, row);
    }

    /// Enters one that the store has; false if it is one too many.
    pub(crate) fn restore(&mut self, resource: &str, subscriber: &str, account: Account) -> bool {
        let added = self.add(resource, subscriber, None, account).is_ok();
        self.changed.remove(&(Arc::from(resource), Arc::from(subscriber)));
        added
    }

    /// Takes one out; false if it is not there.
    pub(crate) fn remove(&mut self, resource: &str, subscriber: &str) -> bool {
        let Some(set) = self.by_resource.get_mut(resource) else { return false };
        let Some((subscriber, row)) = set.remove_entry(subscriber) else { return false };
        let resource = if set.is_empty() {
            self.by_resource.remove_entry(resource).map(|(resource, _)| resource)
        } else {
            self.by_resource.get_key_value(resource).map(|(resource, _)| Arc::clone(resource))
        };
        if let Some(resource) = resource {
            self.settle(row.account, resource, subscriber);
        }
        true
    }

    /// The accounts of a row that is gone.
    fn settle(&mut self, account: Account, resource: Arc<str>, subscriber: Arc<str>) {
        if let Some(count) = self.by_account.get_mut(&account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_account.remove(&account);
            }
        }
        let index = match account {
            Account::Link(_) => return,
            Account::User(_) => &mut self.kept,
            Account::Peer => &mut self.peers,
        };
        if let Some(resources) = index.get_mut(&subscriber) {
            resources.remove(&resource);
            if resources.is_empty() {
                index.remove(&subscriber);
            }
        }
        if matches!(account, Account::User(_)) {
            self.changed.insert((resource, subscriber), false);
        }
    }

    /// What a runtime at the other end of a connection is subscribed to over this link.
    pub(crate) fn of_peer(&self, subscriber: &str, link: LinkId) -> Vec<Arc<str>> {
        let all = self.peers.get(subscriber).into_iter().flatten();
        let row = |resource: &Arc<str>| self.by_resource.get(resource)?.get(subscriber)?.link;
        all.filter(|resource| row(resource) == Some(link)).cloned().collect()
    }

    /// A link ended: what is kept waits for its address to be claimed again. The resources that
    /// nobody is subscribed to any more.
    pub(crate) fn forget(&mut self, link: LinkId) -> Vec<Arc<str>> {
        self.by_account.remove(&Account::Link(link));
        let mut abandoned = Vec::new();
        for peer in self.peers.keys().cloned().collect::<Vec<_>>() {
            for resource in self.of_peer(&peer, link) {
                self.remove(&resource, &peer);
                if !self.has(&resource) {
                    abandoned.push(resource);
                }
            }
        }
        self.by_resource.retain(|resource, set| {
            set.retain(|_, row| {
                if row.link == Some(link) {
                    row.link = None;
                }
                row.account != Account::Link(link)
            });
            if set.is_empty() {
                abandoned.push(Arc::clone(resource));
            }
            !set.is_empty()
        });
        abandoned
    }

    /// An address was claimed: what is kept for it and below it goes to `link`. The resources that
    /// nobody is subscribed to any more, because another user had them.
    pub(crate) fn rejoin(&mut self, address: &str, link: LinkId, uid: u32) -> Vec<Arc<str>> {
        let mut abandoned = Vec::new();
        for (resource, subscriber) in self.kept_within(address) {
            let row = self.by_resource.get_mut(&resource).and_then(|set| set.get_mut(&subscriber));
            match row {
                Some(row) if row.account == Account::User(uid) => row.link = Some(link),
                _ => {
                    self.remove(&resource, &subscriber);
                    if !self.has(&resource) {
                        abandoned.push(resource);
                    }
                }
            }
        }
        abandoned
    }

    /// Resource and subscriber of what is kept for an address and below it.
    pub(crate) fn kept_within(&self, address: &str) -> Vec<(Arc<str>, Arc<str>)> {
        let from = (Bound::Included(address), Bound::Unbounded);
        let below = self.kept.range::<str, _>(from).take_while(|(key, _)| key.starts_with(address));
        let below = below.filter(|(subscriber, _)| is_within(subscriber, address));
        let rows = below.flat_map(|(subscriber, resources)| {
            resources.iter().map(|resource| (Arc::clone(resource), Arc::clone(subscriber)))
        });
        rows.collect()
    }

    /// Whether anybody is subscribed to it.
    pub(crate) fn has(&self, resource: &str) -> bool {
        self.by_resource.contains_key(resource)
    }

    /// Whether a subscription leads to this link.
    pub(crate) fn is_joined(&self, resource: &str, link: LinkId) -> bool {
        let set = self.by_resource.get(resource);
        set.is_some_and(|set| set.values().any(|row| row.link == Some(link)))
    }

    /// What anybody is subscribed to of an address and what is below it.
    pub(crate) fn resources_within(&self, address: &str) -> Vec<Arc<str>> {
        let from = (Bound::Included(address), Bound::Unbounded);
        let all = self.by_resource.range::<str, _>(from).map(|(resource, _)| resource);
        let near = all.take_while(|resource| resource.starts_with(address));
        near.filter(|resource| is_within(resource, address)).cloned().collect()
    }

    /// Who is subscribed to a resource.
    pub(crate) fn names_of(&self, resource: &str) -> Vec<Arc<str>> {
        let set = self.by_resource.get(resource);
        set.map_or_else(Vec::new, |set| set.keys().cloned().collect())
    }

    /// Whether this one is subscribed to it.
    pub(crate) fn is_subscribed(&self, resource: &str, subscriber: &str) -> bool {
        self.by_resource.get(resource).is_some_and(|set| set.contains_key(subscriber))
    }

    /// The subscribers of a resource.
    pub(crate) fn of(&mut self, resource: &str) -> Option<&mut BTreeMap<Arc<str>, Subscriber>> {
        self.by_resource.get_mut(resource)
    }

    /// What the store has not been told: resource, subscriber, and whether the row is there.
    pub(crate) fn changes(&mut self) -> BTreeMap<(Arc<str>, Arc<str>), bool> {
        std::mem::take(&mut self.changed)
    }

    /// The first thing that does not hold.
    pub(crate) fn check(&self, is_link: impl Fn(LinkId) -> bool) -> Result<(), String> {
        let mut counts: BTreeMap<Account, u32> = BTreeMap::new();
        for (resource, set) in &self.by_resource {
            for (subscriber, row) in set {
                let count = counts.entry(row.account).or_default();
                *count = count.saturating_add(1);
                if row.link.is_some_and(|link| !is_link(link)) {
                    return Err(format!("{subscriber} is subscribed to {resource} by a dead link"));
                }
            }
            if set.is_empty() {
                return Err(format!("nobody is subscribed to {resource}"));
            }
        }
        let peers: usize = self.peers.values().map(BTreeSet::len).sum();
        let booked = counts.get(&Account::Peer).copied().unwrap_or_default();
        if u32::try_from(peers) != Ok(booked) {
            return Err(format!("{peers} subscriptions of other runtimes, {booked} booked"));
        }
        let kept: usize = self.kept.values().map(BTreeSet::len).sum();
        let users = counts.iter().filter(|(account, _)| matches!(account, Account::User(_)));
        let users: u64 = users.map(|(_, count)| u64::from(*count)).sum();
        if counts == self.by_account && u64::try_from(kept) == Ok(users) {
            Ok(())
        } else {
            Err(format!("{kept} kept subscriptions; counted {counts:?}, booked {self:?}"))
        }
    }
}
