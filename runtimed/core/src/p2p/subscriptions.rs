//! Subscriptions over connections with other runtimes, of domains that have no message node: each
//! runtime's keeper of subscriptions, `<runtime>/subscriptions`, is told by the other's.
//!
//! What is told, when, and how often, is as with a message node ([`crate::bus::nodes`]); here is
//! whom it is told to, what becomes of it when a connection comes or goes, and as whom a runtime at
//! the other end may subscribe here.

use super::connections::domain_of;
use super::unreachable;
use crate::bus::Peer;
use crate::core::Core;
use crate::input::LinkId;
use crate::ua::{Refusal, StubRoute};
use protocol::address::{Address, RouteKey};
use std::sync::Arc;

/// Path of the keeper of subscriptions below the runtime.
const KEEPER: &str = "/subscriptions";

/// The runtime whose keeper of subscriptions this is.
pub(crate) fn runtime_of_keeper(keeper: &str) -> &str {
    keeper.strip_suffix(KEEPER).unwrap_or(keeper)
}

/// Who keeps subscriptions in a domain.
pub(crate) enum Keeper {
    /// Whoever has this address.
    At(String),
    /// A runtime, with which a connection is being made.
    Awaited,
    /// A runtime that there is no connection with.
    Unreachable(Refusal),
}

impl Core {
    /// Whether the runtimes of a domain keep the subscriptions to what is theirs.
    pub(crate) fn is_told_directly(&self, domain: &str) -> bool {
        self.settings.talks_directly(domain) && !self.settings.has_node(domain)
    }

    /// Whom to tell of resources in a domain; those that are another runtime's are left out.
    pub(crate) fn keeper_of(
        &mut self,
        domain: &str,
        join: bool,
        resources: &mut Vec<Arc<str>>,
    ) -> Keeper {
        if !self.is_told_directly(domain) {
            return Keeper::At(format!("domain://msg-node.{domain}/sm"));
        }
        let connections = &self.p2p.connections;
        let runtime_of = |resource: &str| {
            let address = Address::parse(resource).ok();
            let known = address.and_then(|address| connections.runtime_of(&address));
            known.or_else(|| connections.any_of(domain))
        };
        if let Some(runtime) = resources.first().and_then(|first| runtime_of(first)) {
            resources.retain(|resource| runtime_of(resource) == Some(runtime));
            return Keeper::At(format!("{runtime}{KEEPER}"));
        }
        let key = RouteKey::P2p(domain.to_owned());
        if !join {
            return Keeper::Unreachable(unreachable(&key));
        }
        let cause = "subscriptions to resources of the domain";
        match self.ua.stub_for(self.bus.now, &key, cause, &mut self.ua_out) {
            StubRoute::Ready { .. } if !self.p2p.waits.contains_key(&key) => {
                Keeper::Unreachable(unreachable(&key))
            }
            StubRoute::Ready { .. } | StubRoute::Deploying | StubRoute::Absent => Keeper::Awaited,
            StubRoute::Refused(refusal) => Keeper::Unreachable(refusal),
        }
    }

    /// There is a connection with a runtime: it is told everything.
    pub(super) fn keeper_is_back(&mut self, runtime: &str) {
        let domain = domain_of(runtime);
        if self.is_told_directly(domain) {
            self.node_came(domain);
        }
    }

    /// There is one less: what the runtime was told is not known there any more.
    pub(super) fn keeper_is_lost(&mut self, runtime: &str) {
        let domain = domain_of(runtime);
        if self.is_told_directly(domain) {
            self.node_went(domain);
        }
    }

    /// The runtime at the other end is subscribed to nothing over this link any more.
    pub(super) fn forget_keeper(&mut self, runtime: &str, link: LinkId) {
        let keeper = format!("{runtime}{KEEPER}");
        for resource in self.bus.subscriptions.of_peer(&keeper, link) {
            self.unsubscribed(&resource, &keeper);
        }
    }

    /// Whether a subscriber is the keeper of a runtime at the other end of a live connection of the
    /// sender.
    pub(crate) fn is_keeper(&self, by: Peer, subscriber: &str) -> bool {
        let runtime = subscriber.strip_suffix(KEEPER);
        let pair = if let Peer::Link(link) = by { runtime.map(|text| (link, text)) } else { None };
        pair.is_some_and(|(link, runtime)| self.p2p.connections.is_behind(link, runtime))
    }

    /// Whether a sender is somebody who came and names one of another domain who did: both speak
    /// through the same stub.
    pub(crate) fn names_another_guest(&self, by: Peer, from: &str, named: &Address) -> bool {
        self.is_handler(by) && domain_of(from) != named.domain()
    }

    /// Whether a sender is somebody who came and publishes as if in another domain than its own.
    pub(crate) fn publishes_for_others(&self, by: Peer, from: &str, to: &Address) -> bool {
        to.domain() != self.settings.domain && self.names_another_guest(by, from, to)
    }

    fn is_handler(&self, by: Peer) -> bool {
        let Peer::Link(link) = by else { return false };
        let bridge = self.ua.bridge_of(link);
        bridge.is_some_and(|bridge| matches!(bridge.key, RouteKey::P2pHandler(_)))
    }
}
