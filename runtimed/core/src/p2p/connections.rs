//! Which connections there are, what is known of each, and which one leads to an address.

use crate::bus::names::upwards;
use crate::input::LinkId;
use crate::limits::{PEER_ADDRESSES_MAX, PEERS_MAX};
use crate::resolve::CHANGES;
use protocol::address::{Address, RouteKey, SchemeClass, is_within};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far a connection is (seed `p2p-connection-messages`, New P2P Connection event and P2P
/// Connection Update event).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    InProgress,
    Live,
    Disconnected,
    Failed,
}

impl Phase {
    /// By the word of its status.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "created" => Self::Created,
            "in-progress" => Self::InProgress,
            "live" => Self::Live,
            "disconnected" => Self::Disconnected,
            "failed" => Self::Failed,
            _ => return None,
        })
    }
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Whose stub has it.
    pub(crate) key: RouteKey,
    /// Of that stub.
    pub(crate) link: LinkId,
    pub(crate) phase: Phase,
}

/// Whether somebody came to our handler; else our requester went to somebody.
pub(crate) type Came = bool;

/// What is known of a runtime at the other end.
#[derive(Debug, Default)]
struct Remote {
    /// By [`Came`]: both if both went at the same time.
    ways: BTreeMap<Came, Connection>,
    /// What its registry lists.
    addresses: BTreeSet<Arc<str>>,
    /// Whether it has said so.
    listed: bool,
}

/// More runtimes than connections are known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

/// All of them, by the runtime at the other end.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_runtime: BTreeMap<Arc<str>, Remote>,
    /// Which runtime has listed an address.
    listed: BTreeMap<Arc<str>, Arc<str>>,
}

/// The domain of a runtime's address.
pub(crate) fn domain_of(runtime: &str) -> &str {
    let place = runtime.split_once("://").map_or(runtime, |(_, place)| place);
    place.split_once('/').map_or(place, |(domain, _)| domain)
}

/// Whether it is the address of a whole runtime: `hyperty-runtime://<domain>/<id>`.
pub(crate) fn is_runtime(address: &Address) -> bool {
    address.class() == SchemeClass::Runtime
        && address.host() == address.domain()
        && address.segments().count() == 1
}

impl Connections {
    /// Notes what was said of a connection: how far it was before.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn note(
        &mut self,
        runtime: &str,
        came: Came,
        now: Connection,
    ) -> Result<Option<Phase>, TooMany> {
        if !self.by_runtime.contains_key(runtime) && self.by_runtime.len() >= PEERS_MAX {
            return Err(TooMany);
        }
        let remote = self.by_runtime.entry(Arc::from(runtime)).or_default();
        let before = remote.ways.insert(came, now);
        Ok(before.map(|before| before.phase))
    }

    /// Forgets a connection; with the last one all that is known of the runtime.
    pub(crate) fn forget(&mut self, runtime: &str, came: Came) -> Option<Connection> {
        let remote = self.by_runtime.get_mut(runtime)?;
        let gone = remote.ways.remove(&came);
        if remote.ways.is_empty() {
            self.by_runtime.remove(runtime);
        }
        self.prune(runtime);
        gone
    }

    /// What is not live any more has nobody behind it.
    pub(crate) fn prune(&mut self, runtime: &str) {
        if self.live(runtime).next().is_none() {
            if let Some(remote) = self.by_runtime.get_mut(runtime) {
                remote.addresses.clear();
                remote.listed = false;
            }
            self.listed.retain(|_, lister| &**lister != runtime);
        }
    }

    /// The connections behind a link.
    pub(crate) fn of_link(&self, link: LinkId) -> Vec<(Arc<str>, Came)> {
        let all = self.by_runtime.iter().flat_map(|(runtime, remote)| {
            remote.ways.iter().map(move |(came, way)| (runtime, *came, way.link))
        });
        let own = all.filter(|(_, _, behind)| *behind == link);
        own.map(|(runtime, came, _)| (Arc::clone(runtime), came)).collect()
    }

    /// The runtimes of a domain that came, and the link that each is behind.
    pub(crate) fn guests_of(&self, domain: &str) -> Vec<(Arc<str>, LinkId)> {
        let all = self.by_runtime.iter().filter(|(runtime, _)| domain_of(runtime) == domain);
        let came = all.filter_map(|(runtime, remote)| {
            Some((Arc::clone(runtime), remote.ways.get(&true)?.link))
        });
        came.collect()
    }

    /// Live connections with a runtime.
    fn live(&self, runtime: &str) -> impl Iterator<Item = (Came, &Connection)> {
        let ways = self.by_runtime.get(runtime).map(|remote| &remote.ways);
        let all = ways.into_iter().flatten().map(|(came, way)| (*came, way));
        all.filter(|(_, way)| way.phase == Phase::Live)
    }

    /// The one that is used. If both went to each other at the same time, the one that the runtime
    /// with the lower address made: both ends say so.
    pub(crate) fn used(&self, own: &str, runtime: &str) -> Option<&Connection> {
        let keeps_guest = own > runtime;
        self.live(runtime).max_by_key(|(came, _)| *came == keeps_guest).map(|(_, way)| way)
    }

    /// The requesters that are not used, because a guest's connection is: their keys and links.
    pub(crate) fn surplus(&self, own: &str) -> Vec<(RouteKey, LinkId)> {
        let both = self
            .by_runtime
            .keys()
            .filter(|runtime| own > &***runtime && self.live(runtime).count() > 1);
        let requesters = both.filter_map(|runtime| self.by_runtime.get(runtime)?.ways.get(&false));
        requesters.map(|way| (way.key.clone(), way.link)).collect()
    }

    /// The runtime behind a live connection that has an address, or may have it: its own, what it
    /// has listed, or anything of its domain while it has not said what it has.
    pub(crate) fn runtime_of(&self, to: &Address) -> Option<&Arc<str>> {
        let alive = |runtime: &&Arc<str>| self.live(runtime).next().is_some();
        if to.class() == SchemeClass::Runtime {
            let mut all = self.by_runtime.keys().filter(alive);
            return all.find(|runtime| is_within(to.as_str(), runtime));
        }
        upwards(to.as_str()).find_map(|text| self.listed.get(text)).filter(alive).or_else(|| {
            let silent = self.by_runtime.iter().filter(|(_, remote)| !remote.listed);
            silent.map(|(runtime, _)| runtime).filter(alive).find(|r| domain_of(r) == to.domain())
        })
    }

    /// Any runtime of a domain behind a live connection.
    pub(crate) fn any_of(&self, domain: &str) -> Option<&Arc<str>> {
        let all = self.by_runtime.keys().filter(|runtime| domain_of(runtime) == domain);
        all.into_iter().find(|runtime| self.live(runtime).next().is_some())
    }

    /// The runtimes whose live connection a stub has.
    fn behind(&self, link: LinkId) -> impl Iterator<Item = &Arc<str>> {
        let all = self.by_runtime.iter();
        let live = move |way: &Connection| way.link == link && way.phase == Phase::Live;
        all.filter(move |(_, remote)| remote.ways.values().any(live)).map(|(runtime, _)| runtime)
    }

    /// Whether those behind a stub's live connections may be an address: the runtimes themselves
    /// and what is below them, and what is of their domains and of no other runtime there.
    pub(crate) fn speaks(&self, link: LinkId, address: &Address) -> bool {
        match address.class() {
            SchemeClass::Runtime => {
                self.behind(link).any(|runtime| is_within(address.as_str(), runtime))
            }
            SchemeClass::Hyperty | SchemeClass::DataObject => {
                let proper = address.host() == address.domain();
                let lister = upwards(address.as_str()).find_map(|text| self.listed.get(text));
                let mut those = self.behind(link);
                proper
                    && match lister {
                        Some(lister) => those.any(|runtime| runtime == lister),
                        None => those.any(|runtime| domain_of(runtime) == address.domain()),
                    }
            }
            SchemeClass::Backend
            | SchemeClass::Idp
            | SchemeClass::User
            | SchemeClass::Session
            | SchemeClass::Legacy => false,
        }
    }

    /// Whether the stub has a live connection with this runtime.
    pub(crate) fn is_behind(&self, link: LinkId, runtime: &str) -> bool {
        self.behind(link).any(|behind| **behind == *runtime)
    }

    /// Whether the stub has any live connection.
    pub(crate) fn is_live(&self, link: LinkId) -> bool {
        self.behind(link).next().is_some()
    }

    /// Whether something was asked of this runtime over this link.
    pub(crate) fn was_asked(&self, runtime: &str, link: LinkId, asked: &str) -> bool {
        if is_within(asked, runtime) {
            return true;
        }
        let lister = upwards(asked).find_map(|text| self.listed.get(text));
        let alone = || {
            !self
                .behind(link)
                .any(|other| &**other != runtime && domain_of(other) == domain_of(runtime))
        };
        match lister {
            Some(lister) => &**lister == runtime,
            None => domain_of(asked) == domain_of(runtime) && alone(),
        }
    }

    /// A live runtime says what it has, or has no longer. How many it may not have.
    pub(crate) fn list(&mut self, runtime: &str, added: &[Address], removed: &[Address]) -> usize {
        let mut refused = 0_usize;
        let Some((runtime, remote)) = self.by_runtime.get_key_value(runtime) else { return 0 };
        let runtime = Arc::clone(runtime);
        let mut room = PEER_ADDRESSES_MAX.saturating_sub(remote.addresses.len());
        for address in added {
            let own = address.class().is_claimable() && address.host() == domain_of(&runtime);
            let lister = self.listed.get(address.as_str());
            if lister == Some(&runtime) {
                continue;
            }
            if !own || room == 0 || lister.is_some() {
                refused = refused.saturating_add(1);
                continue;
            }
            room = room.saturating_sub(1);
            let text: Arc<str> = Arc::from(address.as_str());
            if let Some(remote) = self.by_runtime.get_mut(&runtime) {
                remote.addresses.insert(Arc::clone(&text));
            }
            self.listed.insert(text, Arc::clone(&runtime));
        }
        for address in removed {
            let own = self.by_runtime.get_mut(&runtime);
            if own.is_some_and(|remote| remote.addresses.remove(address.as_str())) {
                self.listed.remove(address.as_str());
            }
        }
        refused
    }

    /// Whether the stub has a live connection with the runtime whose registry this is, and tells
    /// what changes there.
    pub(crate) fn tells_changes(&self, link: LinkId, to: &str) -> bool {
        let runtime = to.strip_suffix(CHANGES).and_then(|text| text.strip_suffix('/'));
        runtime.is_some_and(|runtime| self.is_behind(link, runtime))
    }

    /// Whether there is a live connection with it.
    pub(crate) fn is_open(&self, runtime: &str) -> bool {
        self.live(runtime).next().is_some()
    }

    /// It has said all that it has.
    pub(crate) fn has_listed(&mut self, runtime: &str) {
        if let Some(remote) = self.by_runtime.get_mut(runtime) {
            remote.listed = true;
        }
    }

    /// The first thing that does not hold.
    pub(crate) fn check(&self, is_link: impl Fn(LinkId) -> bool) -> Result<(), String> {
        for (runtime, remote) in &self.by_runtime {
            if remote.ways.is_empty() {
                return Err(format!("nothing leads to {runtime}"));
            }
            if let Some(way) = remote.ways.values().find(|way| !is_link(way.link)) {
                return Err(format!("{runtime} is behind a dead link: {way:?}"));
            }
            if let Some(text) =
                remote.addresses.iter().find(|t| self.listed.get(*t) != Some(runtime))
            {
                return Err(format!("{text} is not listed by {runtime}"));
            }
        }
        let count: usize = self.by_runtime.values().map(|remote| remote.addresses.len()).sum();
        if count == self.listed.len() {
            Ok(())
        } else {
            Err(format!("{count} addresses of runtimes, {} listed", self.listed.len()))
        }
    }
}
