//! Connections with other runtimes without a message node (seed `p2p-connection-messages`).
//!
//! The handler's stub has the connections of those who came, a requester's stub the one that was
//! made to the place where a domain's runtimes listen. What they say of a connection comes in as
//! the status of the stub with the remote runtime as its `resource`; what is known of it is in
//! [`connections`], where messages go because of it in [`directing`], what the message node is told
//! in [`paths`], who is registered at the other end in [`registries`], and who is subscribed there in
//! [`subscriptions`].
//!
//! ```text
//! created ─▶ in-progress ─▶ live ─▶ disconnected ─▶ in-progress …
//!    └──────────┴─▶ failed ─▶ in-progress …
//! ```

pub(crate) mod connections;
mod directing;
mod paths;
mod registries;
pub(crate) mod subscriptions;

use crate::core::Core;
use crate::input::{LinkId, Time};
use crate::limits::{PEER_WAIT_MS, SURPLUS_MS};
use crate::ua::rates::Seldom;
use crate::ua::{Happened, Refusal};
use connections::{Came, Connection, Connections, Phase, domain_of};
pub(crate) use directing::{Direct, Directly, directly};
use paths::Paths;
use protocol::address::{Address, RouteKey};
use protocol::reason::Reason;
use std::collections::BTreeMap;

/// What is known of connections with other runtimes.
#[derive(Debug, Default)]
pub(crate) struct P2p {
    pub(crate) connections: Connections,
    paths: Paths,
    /// Requesters that are to connect, and until when messages wait for it.
    waits: BTreeMap<RouteKey, Time>,
    /// When requesters that are not needed are looked at again.
    surplus_at: Option<Time>,
    /// Which of what other runtimes list wrongly are events.
    listed: Seldom,
    /// Which of those that are one connection too many.
    too_many: Seldom,
}

impl P2p {
    /// When a tick may find something.
    pub(crate) fn earliest(&self) -> Option<Time> {
        let waits = self.waits.values().min().copied();
        [waits, self.surplus_at, self.paths.earliest()].into_iter().flatten().min()
    }

    /// Whether a message node may have something to be told.
    pub(crate) const fn has_news(&self) -> bool {
        self.paths.has_news()
    }
}

/// What a stub said of a connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PeerSaid {
    /// The stub.
    pub(crate) key: RouteKey,
    pub(crate) link: LinkId,
    /// The runtime at the other end, if it is known.
    pub(crate) remote: Option<Address>,
    /// Word of the status.
    pub(crate) word: &'static str,
}

/// Why a message does not get to a runtime that is not connected.
fn unreachable(key: &RouteKey) -> Refusal {
    let text = format!("the runtime of {} cannot be reached", key.domain());
    Refusal::new(Reason::PeerDown, text)
}

impl Core {
    /// A stub says how far a connection is.
    pub(crate) fn peer_said(&mut self, said: PeerSaid) {
        let Some(phase) = Phase::of(said.word) else { return };
        let PeerSaid { key, link, remote, .. } = said;
        // Whether this is a requester's only connection, known or not.
        let requester = matches!(key, RouteKey::P2p(_));
        if requester {
            match phase {
                Phase::Created | Phase::InProgress | Phase::Disconnected => self.await_peer(&key),
                Phase::Live | Phase::Failed => {
                    self.p2p.waits.remove(&key);
                }
            }
        }
        if let Some(remote) = remote {
            self.connection_said(remote.as_str(), Connection { key: key.clone(), link, phase });
        }
        if requester && phase == Phase::Failed {
            self.fall_back(&key, &unreachable(&key));
        }
    }

    fn await_peer(&mut self, key: &RouteKey) {
        let until = Time(self.bus.now.0.saturating_add(PEER_WAIT_MS));
        self.p2p.waits.entry(key.clone()).or_insert(until);
    }

    fn connection_said(&mut self, runtime: &str, now: Connection) {
        let (key, link, phase) = (now.key.clone(), now.link, now.phase);
        let came = matches!(key, RouteKey::P2pHandler(_));
        let Ok(before) = self.p2p.connections.note(runtime, came, now) else {
            if self.p2p.too_many.take(self.bus.now, 1).is_none() {
                return;
            }
            let what = Happened::new("refused", "p2p", "too many connections with other runtimes");
            return self.ua.event(self.bus.now, what.reason("overloaded"), &mut self.ua_out);
        };
        self.bus.names.touch();
        let (was, is) = (before == Some(Phase::Live), phase == Phase::Live);
        if was && !is {
            self.peer_lost(runtime, link);
        }
        // Who came comes again as somebody new.
        if came && matches!(phase, Phase::Disconnected | Phase::Failed) {
            self.p2p.connections.forget(runtime, came);
        }
        if is && !was {
            self.peer_live(runtime, came, link);
        }
    }

    /// A connection is there.
    fn peer_live(&mut self, runtime: &str, came: Came, link: LinkId) {
        let key = RouteKey::P2p(domain_of(runtime).to_owned());
        self.p2p.waits.remove(&key);
        if came {
            self.add_listener(runtime, link);
        }
        self.ask_who_is_there(runtime, None);
        self.go_directly(&key);
        self.keeper_is_back(runtime);
        self.settle_surplus();
    }

    /// It is gone: what was asked over it is not answered any more.
    fn peer_lost(&mut self, runtime: &str, link: LinkId) {
        let text = "the connection with the other runtime was lost before it answered";
        let lost = Refusal::new(Reason::PeerDown, text);
        let at = crate::bus::pending::Waits::At(crate::bus::Peer::Link(link));
        for request in self.bus.pending.select(|pending| pending.waits == at) {
            let asked = self.bus.pending.get(request).map(|p| self.bus.names.text(p.asked));
            if asked.is_some_and(|asked| self.p2p.connections.was_asked(runtime, link, &asked)) {
                self.fail(request, &lost);
            }
        }
        self.p2p.connections.prune(runtime);
        self.remove_listener(runtime, link);
        self.forget_keeper(runtime, link);
        self.keeper_is_lost(runtime);
    }

    /// The stub of a connection is there: messages wait for the connection itself.
    pub(crate) fn peer_stub_active(&mut self, key: &RouteKey, url: &Address) {
        match key {
            RouteKey::P2p(_) => {
                if self.p2p.connections.any_of(key.domain()).is_some() {
                    self.go_directly(key);
                } else {
                    self.await_peer(key);
                }
                self.want_path(key, url, true);
            }
            RouteKey::P2pHandler(_) => self.want_path(key, url, true),
            RouteKey::Domain(_)
            | RouteKey::Idp(_)
            | RouteKey::Legacy { .. }
            | RouteKey::Hyperty(_) => {}
        }
    }

    /// It is gone, and perhaps comes again.
    pub(crate) fn peer_stub_down(&mut self, key: &RouteKey, again: bool) {
        self.p2p.waits.remove(key);
        if !again {
            self.unwant_paths(key);
        }
    }

    /// A link is gone, and the connections behind it.
    pub(crate) fn peer_link_ended(&mut self, link: LinkId) {
        for (runtime, came) in self.p2p.connections.of_link(link) {
            self.p2p.connections.forget(&runtime, came);
            self.keeper_is_lost(&runtime);
        }
    }

    /// Nobody of this domain who came is here any more.
    pub(crate) fn domain_left(&mut self, domain: &str) {
        for (runtime, link) in self.p2p.connections.guests_of(domain) {
            if self.p2p.connections.forget(&runtime, true).is_some_and(|c| c.phase == Phase::Live) {
                self.bus.names.touch();
                self.peer_lost(&runtime, link);
            }
        }
    }

    /// Ends requesters that are not needed, as soon as nothing waits for an answer over them.
    fn settle_surplus(&mut self) {
        self.p2p.surplus_at = None;
        for (key, link) in self.p2p.connections.surplus(&self.bus.runtime) {
            let at = crate::bus::pending::Waits::At(crate::bus::Peer::Link(link));
            if self.bus.pending.iter().any(|pending| pending.waits == at) {
                self.p2p.surplus_at = Some(Time(self.bus.now.0.saturating_add(SURPLUS_MS)));
            } else {
                self.ua.rest(self.bus.now, &key, &mut self.ua_out);
            }
        }
    }

    /// The time of some has come.
    pub(crate) fn p2p_tick(&mut self) {
        let now = self.bus.now;
        let late: Vec<RouteKey> = self
            .p2p
            .waits
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            self.p2p.waits.remove(&key);
            let text = "no connection in time";
            self.ua.set_status(now, &key, "failed", text, &mut self.ua_out);
            self.fall_back(&key, &unreachable(&key));
        }
        if self.p2p.surplus_at.is_some_and(|at| at <= now) {
            self.settle_surplus();
        }
        self.paths_tick();
    }

    /// The first thing that does not hold.
    pub(crate) fn check_p2p(&self) -> Result<(), String> {
        self.p2p.connections.check(|link| self.bus.links.contains_key(&link))?;
        self.p2p.paths.check()
    }
}
