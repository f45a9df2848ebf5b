//! What the message nodes are told: the resources of their domains that somebody here is subscribed
//! to, and the addresses that are connected here.
//!
//! Each resource is told once, however many wait for it (the first subscriber's is the one that
//! goes out, and the last one leaving takes it back), at `domain://msg-node.<domain>/sm`. One
//! message is on its way to a domain at a time, for up to [`crate::limits::RESOURCES_PER_SUBSCRIBE`] resources, so
//! that what is told keeps its order. A node that does not agree is asked again, later and later;
//! one whose stub or connection comes back is told everything again. A domain without a message node
//! has runtimes that are told instead, over connections (`p2p/subscriptions.rs`).

mod node;

use super::answer::Said;
use super::own::{Asking, Part, Purpose};
use super::pending::PendingRef;
use super::subscribe::DONE;
use crate::core::Core;
use crate::input::Time;
use crate::limits::{NODE_RETRY_MS, PEER_WAIT_MS, RESTORE_JITTER_MS};
use crate::p2p::subscriptions::Keeper;
use crate::ua::Refusal;
use node::{Flight, Node, Row};
use protocol::address::RouteKey;
use protocol::message::MessageType;
use protocol::reason::Reason;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a node is told of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody here is subscribed to it.
    Subscribed,
    /// It is the address of somebody who is connected here.
    Connected,
}

/// A `subscribe` of somebody here that is answered when the nodes have agreed.
#[derive(Debug)]
struct Ask {
    at: PendingRef,
    subscriber: Arc<str>,
    /// What was not there before, to be taken back if it fails.
    new: Vec<Arc<str>>,
    left: BTreeSet<Arc<str>>,
}

/// All message nodes, by domain.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    by_domain: BTreeMap<String, Node>,
    asks: Vec<Ask>,
    /// Domains that may have something to be told.
    due: BTreeSet<String>,
}

impl Nodes {
    /// When a tick may find something.
    pub(crate) fn earliest(&self) -> Option<Time> {
        let idle = self.by_domain.values().filter(|n| n.flight.is_none() && !n.todo.is_empty());
        let reviews = self.by_domain.values().filter_map(|node| node.review);
        let refused = self.by_domain.values().filter_map(|node| node.refused_until);
        idle.filter_map(|node| node.retry_at).chain(reviews).chain(refused).min()
    }

    /// Whether the node of the domain knows of it.
    pub(crate) fn is_told(&self, domain: &str, resource: &str) -> bool {
        self.by_domain.get(domain).is_some_and(|node| node.row(resource).told())
    }

    fn want(&mut self, domain: &str, resource: &Arc<str>, why: Why, wanted: bool) {
        if !wanted && !self.by_domain.contains_key(domain) {
            return;
        }
        let node = self.by_domain.entry(domain.to_owned()).or_default();
        let mut row = node.row(resource);
        match why {
            Why::Subscribed => row.subscribed = wanted,
            Why::Connected => row.connected = wanted,
        }
        node.set(resource, row);
        if wanted {
            // Who asks now is not made to wait for a time that others have waited for.
            node.retry_at = None;
            node.refused.remove(resource);
        }
        self.due.insert(domain.to_owned());
    }

    /// Nothing is on its way for nobody, and what is to be told is what differs.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (domain, node) in &self.by_domain {
            let differs = node.rows.iter().filter(|(_, row)| row.is_wanted() != row.told());
            if !differs.map(|(resource, _)| resource).eq(&node.todo) {
                return Err(format!("what {domain} is to be told is not what differs: {node:?}"));
            }
            let idle = node.flight.is_none() && !node.todo.is_empty();
            if idle && node.retry_at.is_none() && self.due.contains(domain) {
                return Err(format!("{domain} is to be told and is not"));
            }
        }
        Ok(())
    }
}

impl Core {
    /// The node of a domain is to be told of a resource from now on, or no longer.
    pub(crate) fn want_at_node(&mut self, domain: &str, resource: &str, why: Why, wanted: bool) {
        self.bus.nodes.want(domain, &Arc::from(resource), why, wanted);
        self.hold_stub(domain);
    }

    /// A stub through which somebody is subscribed is not idle.
    fn hold_stub(&mut self, domain: &str) {
        let held = self.bus.nodes.by_domain.get(domain).is_some_and(|node| !node.rows.is_empty());
        let directly = self.is_told_directly(domain);
        self.ua.hold(RouteKey::Domain(domain.to_owned()), held && !directly);
        self.ua.hold(RouteKey::P2p(domain.to_owned()), held && directly);
    }

    /// As [`Self::want_at_node`], some time soon: everybody does when a runtime starts.
    pub(crate) fn want_at_node_soon(&mut self, domain: &str, resource: &str) {
        self.want_at_node(domain, resource, Why::Subscribed, true);
        // Not at once: what was restored rests first.
        let jitter = (self.ua.random() % RESTORE_JITTER_MS).saturating_add(1);
        let at = Time(self.bus.now.0.saturating_add(jitter));
        if let Some(node) = self.bus.nodes.by_domain.get_mut(domain) {
            node.retry_at.get_or_insert(at);
        }
    }

    /// A request is answered when the nodes have agreed to what it asks.
    pub(super) fn await_nodes(
        &mut self,
        at: PendingRef,
        subscriber: &str,
        new: Vec<Arc<str>>,
        left: BTreeSet<Arc<str>>,
    ) {
        self.bus.nodes.asks.push(Ask { at, subscriber: Arc::from(subscriber), new, left });
    }

    /// The stub of a domain is there (again), or says that it is connected (again).
    pub(crate) fn node_is_back(&mut self, key: &RouteKey) {
        let RouteKey::Domain(domain) = key else { return };
        if self.is_told_directly(domain) {
            return;
        }
        self.node_came(domain);
        if *domain == self.settings.domain {
            self.registry_is_back();
        }
    }

    /// Whoever keeps subscriptions in a domain is to be told everything.
    pub(crate) fn node_came(&mut self, domain: &str) {
        if let Some(node) = self.bus.nodes.by_domain.get_mut(domain) {
            node.lose(self.bus.now);
            node.retry_at = None;
            node.failures = 0;
            self.bus.nodes.due.insert(domain.to_owned());
        }
        self.hold_stub(domain);
    }

    /// It is gone, and is looked for soon.
    pub(crate) fn node_went(&mut self, domain: &str) {
        let at = Time(self.bus.now.0.saturating_add(first_retry()));
        if let Some(node) = self.bus.nodes.by_domain.get_mut(domain) {
            node.lose(self.bus.now);
            node.retry_at = Some(at);
        }
        self.hold_stub(domain);
    }

    /// No connection with a runtime that is to be told could be made.
    pub(crate) fn node_is_not_reached(&mut self, domain: &str, refusal: &Refusal) {
        if !self.is_told_directly(domain) || self.p2p.connections.any_of(domain).is_some() {
            return;
        }
        let Some(node) = self.bus.nodes.by_domain.get_mut(domain) else { return };
        if node.flight.is_none()
            && let Some((true, resources)) = node.next()
        {
            node.flight = Some(Flight { join: true, resources });
            self.node_answered(domain, Some(refusal));
        }
    }

    /// The stub of a domain is gone. If nobody starts it again, the node is asked later; if an
    /// operator removed it, when it is back.
    pub(crate) fn node_is_lost(&mut self, key: &RouteKey, again: bool, refusal: &Refusal) {
        let RouteKey::Domain(domain) = key else { return };
        let removed = refusal.reason == Reason::Undeployed;
        let wait = refusal.retry_after_ms.unwrap_or(0).max(first_retry());
        let at = Time(self.bus.now.0.saturating_add(wait));
        if let Some(node) = self.bus.nodes.by_domain.get_mut(domain) {
            node.lose(self.bus.now);
            node.retry_at = (!again && !removed).then_some(at);
        }
        self.hold_stub(domain);
    }

    /// Whether some node may have something to be told now.
    pub(crate) fn has_news_for_nodes(&self) -> bool {
        !self.bus.nodes.due.is_empty()
    }

    /// The time for some nodes has come.
    pub(crate) fn nodes_tick(&mut self) {
        let now = self.bus.now;
        let nodes = &mut self.bus.nodes;
        for (domain, node) in nodes.by_domain.iter_mut().filter(|(_, n)| n.review.is_some()) {
            node.review_rows(now);
            nodes.due.insert(domain.clone());
        }
        for (domain, node) in &mut nodes.by_domain {
            if node.refused_until.is_some_and(|at| at <= now) {
                node.try_refused_again();
                nodes.due.insert(domain.clone());
            }
        }
        let due = nodes.by_domain.iter().filter(|(_, node)| {
            node.retry_at.is_some_and(|retry| retry <= now) && node.is_due(now)
        });
        let due: Vec<String> = due.map(|(domain, _)| domain.clone()).collect();
        nodes.due.extend(due);
    }

    /// Tells every node that is due the next of what it is to be told.
    pub(crate) fn tell_nodes(&mut self) {
        while let Some(domain) = self.bus.nodes.due.pop_first() {
            if !self.bus.stopping {
                self.tell_node(&domain);
            }
        }
    }

    fn tell_node(&mut self, domain: &str) {
        let now = self.bus.now;
        let Some(node) = self.bus.nodes.by_domain.get_mut(domain) else { return };
        if node.rows.is_empty() && node.flight.is_none() {
            self.bus.nodes.by_domain.remove(domain);
            return;
        }
        if !node.is_due(now) {
            return;
        }
        let Some((join, mut resources)) = node.next() else { return };
        let keeper = self.keeper_of(domain, join, &mut resources);
        let Some(node) = self.bus.nodes.by_domain.get_mut(domain) else { return };
        node.retry_at = None;
        match keeper {
            Keeper::At(to) => {
                let asking = telling(&self.bus.runtime, (domain, to), join, &resources);
                node.flight = Some(Flight { join, resources });
                self.ask(asking);
            }
            Keeper::Awaited => {
                node.retry_at = Some(Time(now.0.saturating_add(PEER_WAIT_MS)));
            }
            Keeper::Unreachable(refusal) => {
                node.flight = Some(Flight { join, resources });
                self.node_answered(domain, Some(&refusal));
            }
        }
    }

    /// A node answered, or cannot be asked.
    pub(crate) fn node_answered(&mut self, domain: &str, refused: Option<&Refusal>) {
        let now = self.bus.now;
        let directly = self.is_told_directly(domain);
        let Some(node) = self.bus.nodes.by_domain.get_mut(domain) else { return };
        let Some(flight) = node.flight.take() else { return };
        let divides =
            |refusal: &Refusal| directly && flight.join && refusal.reason == Reason::NodeRefused;
        match refused {
            None => {
                node.failures = 0;
                node.agreed |= flight.join;
                for resource in &flight.resources {
                    let row = node.row(resource);
                    node.set(resource, Row { told: node.agreement(flight.join), ..row });
                }
            }
            // A node that cannot be told forgets by itself, with the session.
            Some(_) if !flight.join => {
                for resource in &flight.resources {
                    let row = node.row(resource);
                    node.set(resource, Row { told: 0, ..row });
                }
            }
            Some(refusal) if divides(refusal) => {
                if node.divide(&flight, now) {
                    self.bus.nodes.due.insert(domain.to_owned());
                    return;
                }
            }
            Some(refusal) => {
                let wait = NODE_RETRY_MS.get(node.failures).or(NODE_RETRY_MS.last());
                let wait = wait.copied().unwrap_or_default();
                let wait = wait.max(refusal.retry_after_ms.unwrap_or(0));
                node.failures = node.failures.saturating_add(1);
                node.retry_at = Some(Time(now.0.saturating_add(wait)));
            }
        }
        if flight.join {
            self.answer_asks(&flight.resources, refused);
        }
        self.hold_stub(domain);
        self.bus.nodes.due.insert(domain.to_owned());
    }

    /// Answers who waited for these resources.
    fn answer_asks(&mut self, resources: &[Arc<str>], refused: Option<&Refusal>) {
        let (mut ended, mut waiting) = (Vec::new(), Vec::new());
        for mut ask in std::mem::take(&mut self.bus.nodes.asks) {
            let before = ask.left.len();
            ask.left.retain(|resource| !resources.contains(resource));
            let touched = before != ask.left.len();
            let over = touched && (refused.is_some() || ask.left.is_empty());
            if over { ended.push(ask) } else { waiting.push(ask) }
        }
        self.bus.nodes.asks = waiting;
        for ask in ended {
            match refused {
                None => self.settle(ask.at, Said::Yes(DONE)),
                Some(refusal) => {
                    for resource in &ask.new {
                        self.unsubscribed(resource, &ask.subscriber);
                    }
                    self.fail(ask.at, refusal);
                }
            }
        }
    }
}

fn first_retry() -> u64 {
    NODE_RETRY_MS.first().copied().unwrap_or_default()
}

/// `subscribe` or `unsubscribe` to the subscription manager of a domain, in both spellings.
fn telling(
    runtime: &str,
    (domain, to): (&str, String),
    join: bool,
    resources: &[Arc<str>],
) -> Asking {
    let (kind, word) = if join {
        (MessageType::Subscribe, "subscribe")
    } else {
        (MessageType::Unsubscribe, "unsubscribe")
    };
    let source = format!("{runtime}/subscriptions");
    let list: Vec<&str> = resources.iter().map(AsRef::as_ref).collect();
    Asking {
        from: Part::Subscriptions,
        to,
        kind,
        body: json!({word: list, "resources": list, "source": source}).to_string(),
        source: Some(source),
        within_ms: None,
        purpose: Purpose::Node(domain.to_owned()),
    }
}
