//! `subscribe` and `unsubscribe` at `<runtime>/subscriptions`: to resources that are here, and to
//! those of other domains through their message nodes.

use super::nodes::Why;
use super::step::Facts;
use super::subscribers::Account;
use super::{LinkKind, Peer};
use crate::core::Core;
use crate::limits::RESOURCES_PER_SUBSCRIBE;
use crate::resolve::{STATUS, is_resource, is_stub};
use crate::store::{Change, Record, RecordKey, SubscriptionRow, Table};
use crate::ua::Refusal;
use protocol::address::{Address, RouteKey, SchemeClass, is_within};
use protocol::frame::FrameRef;
use protocol::reason::Reason;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// JSON text of a plain success.
pub(super) const DONE: &str = r#"{"code":200}"#;

/// A `subscribe` that waits for message nodes.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) subscriber: Address,
    /// What was not there before.
    pub(super) new: Vec<Arc<str>>,
    /// What nodes are yet to agree to; empty: it is done.
    pub(super) left: BTreeSet<Arc<str>>,
}

/// Where a resource is.
enum Place {
    Here,
    /// At the message node of this domain.
    Node(String),
}

/// What a body asks for.
pub(super) struct Wanted {
    pub(super) resources: Vec<Address>,
    /// `source`, else `subscriber`.
    subscriber: Option<Address>,
    /// Where a list goes on.
    pub(super) after: Option<String>,
}

impl Core {
    /// Somebody subscribes.
    pub(super) fn subscribe(
        &mut self,
        facts: Facts,
        view: &FrameRef<'_>,
    ) -> Result<Subscribing, Refusal> {
        let (wanted, subscriber) = self.wanted(facts, view)?;
        let peer = self.is_keeper(facts.by, subscriber.as_str());
        let places = wanted.resources.iter().map(|resource| {
            if peer { self.place_for_peer(resource) } else { self.place_of(facts.by, resource) }
        });
        let places = places.collect::<Result<Vec<Place>, Refusal>>()?;
        let account = self.account_of(facts.by, &subscriber)?;
        let account = if peer { Account::Peer } else { account };
        let link = if let Peer::Link(link) = facts.by { Some(link) } else { None };
        let mut new = Vec::new();
        for resource in &wanted.resources {
            let (resource, by) = (resource.as_str(), subscriber.as_str());
            match self.bus.subscriptions.add(resource, by, link, account) {
                Ok(true) => new.push(Arc::from(resource)),
                Ok(false) => {}
                Err(refusal) => {
                    // All or nothing.
                    for resource in &new {
                        self.bus.subscriptions.remove(resource, by);
                    }
                    return Err(refusal);
                }
            }
        }
        let mut left = BTreeSet::new();
        for (resource, place) in wanted.resources.iter().zip(places) {
            let Place::Node(domain) = place else { continue };
            self.want_at_node(&domain, resource.as_str(), Why::Subscribed, true);
            if !self.bus.nodes.is_told(&domain, resource.as_str()) {
                left.insert(Arc::from(resource.as_str()));
            }
        }
        Ok(Subscribing { subscriber, new, left })
    }

    /// Somebody is subscribed no longer; to say so twice is no mistake.
    pub(super) fn unsubscribe(&mut self, facts: Facts, view: &FrameRef<'_>) -> Result<(), Refusal> {
        let (wanted, subscriber) = self.wanted(facts, view)?;
        for resource in &wanted.resources {
            self.unsubscribed(resource.as_str(), subscriber.as_str());
        }
        Ok(())
    }

    /// What is asked for, and for whom: who is named in the body, if the sender may speak for
    /// that address, else the sender. What the edge read off the body is not asked: it is not read
    /// where a worker is its own edge.
    fn wanted(&self, facts: Facts, view: &FrameRef<'_>) -> Result<(Wanted, Address), Refusal> {
        if !matches!(facts.by, Peer::Link(_)) {
            let text = "an operator follows events and status instead";
            return Err(Refusal::new(Reason::NotImplemented, text));
        }
        let mut wanted = wanted_of(view.body())?;
        let bad = |error: protocol::address::AddressError| {
            Refusal::new(Reason::BadAddress, error.to_string())
        };
        let subscriber = match wanted.subscriber.take() {
            Some(named)
                if self.may_speak(facts.by, &named).is_none()
                    || self.names_another_guest(facts.by, view.from(), &named) =>
            {
                let text = "the sender may not speak for the address named in the body";
                return Err(Refusal::new(Reason::ForgedSource, text));
            }
            Some(named) => named,
            None => Address::parse(view.from()).map_err(bad)?,
        };
        Ok((wanted, subscriber))
    }

    /// Who is charged. What an application has claimed stays its user's when it leaves.
    fn account_of(&self, by: Peer, subscriber: &Address) -> Result<Account, Refusal> {
        let gone = || Refusal::new(Reason::ReceiverGone, "the sender is gone");
        let Peer::Link(id) = by else { return Err(gone()) };
        let link = self.bus.links.get(&id).ok_or_else(gone)?;
        Ok(match link.kind {
            LinkKind::App { uid, .. } if subscriber.class().is_claimable() => Account::User(uid),
            LinkKind::App { .. } | LinkKind::Worker { .. } => Account::Link(id),
        })
    }

    fn place_of(&self, by: Peer, resource: &Address) -> Result<Place, Refusal> {
        let text = resource.as_str();
        let no_resource = || {
            let text = "what is subscribed to is <address>/status, or a data object or below it";
            Refusal::new(Reason::NotImplemented, text)
        };
        let names = &self.bus.names;
        let owner = names.owner_at_or_above(text);
        // Who is connected here is nothing that a stub is to know, for itself or for others; and
        // none makes us fetch another.
        let stub = is_stub(&self.bus, &self.ua, by);
        if stub && owner != Some(by) && !self.is_told_changes(by, text) {
            let text = "a stub subscribes to nothing but its own";
            return Err(Refusal::new(Reason::Policy, text));
        }
        // Only its reporter lets somebody observe it.
        if by != Peer::Core && self.bus.objects.is_below(text) {
            let text = format!("an object is observed by a subscribe at {}", self.bus.sync_url());
            return Err(Refusal::new(Reason::Policy, text));
        }
        let here = owner.is_some() || names.is_reserved(text);
        if here {
            let published = if is_within(text, &self.bus.runtime) {
                text.ends_with(STATUS) || *text == *self.bus.changes_url()
            } else {
                is_resource(resource)
            };
            return if published { Ok(Place::Here) } else { Err(no_resource()) };
        }
        let kept = matches!(
            resource.class(),
            SchemeClass::Runtime | SchemeClass::Hyperty | SchemeClass::DataObject
        );
        match resource.route_key(&self.settings.domain) {
            Some(RouteKey::Domain(domain)) if kept => self.node_of(domain),
            _ => {
                let text = "no message node keeps subscriptions to such an address";
                Err(Refusal::new(Reason::NotImplemented, text))
            }
        }
    }

    /// Another runtime subscribes: to what would be published at the home domain's message node, and
    /// to nothing that the runtime says itself.
    fn place_for_peer(&self, resource: &Address) -> Result<Place, Refusal> {
        let (text, names) = (resource.as_str(), &self.bus.names);
        let owner = names.owner_at_or_above(text);
        let home = resource.route_key(&self.settings.domain);
        let open = home == Some(RouteKey::Domain(self.settings.domain.clone()))
            && resource.class().is_claimable()
            && is_resource(resource)
            && !self.bus.objects.is_below(text)
            && owner.is_none_or(|owner| {
                matches!(owner, Peer::Link(_)) && !is_stub(&self.bus, &self.ua, owner)
            });
        if !open {
            let text = "another runtime subscribes to nothing but what is published here";
            return Err(Refusal::new(Reason::Policy, text));
        }
        if owner.is_some() || names.is_reserved(text) {
            return Ok(Place::Here);
        }
        Err(Refusal::new(Reason::UnknownAddress, "nobody here has it"))
    }

    /// Whether another runtime at the end of a connection asks for what changes in the registry.
    fn is_told_changes(&self, by: Peer, resource: &str) -> bool {
        let connected = matches!(by, Peer::Link(link) if self.p2p.connections.is_live(link));
        connected && *resource == *self.bus.changes_url()
    }

    fn node_of(&self, domain: String) -> Result<Place, Refusal> {
        if domain == self.settings.domain && !self.settings.has_home_stub() {
            let text = "nobody in the home domain has it";
            return Err(Refusal::new(Reason::UnknownAddress, text));
        }
        Ok(Place::Node(domain))
    }

    /// Takes one subscription out, here and, if it was the last, at the node.
    pub(crate) fn unsubscribed(&mut self, resource: &str, subscriber: &str) {
        if self.bus.subscriptions.remove(resource, subscriber)
            && !self.bus.subscriptions.has(resource)
        {
            self.abandoned(resource);
        }
    }

    /// An address is about to be somebody's: whoever subscribed to it, or below it, before it was
    /// anybody's was let in by nobody.
    pub(crate) fn nobody_listens(&mut self, address: &str) {
        for resource in self.bus.subscriptions.resources_within(address) {
            for who in self.bus.subscriptions.names_of(&resource) {
                self.unsubscribed(&resource, &who);
            }
        }
    }

    /// Nobody here is subscribed to it any more.
    pub(crate) fn abandoned(&mut self, resource: &str) {
        let key = Address::parse(resource).ok().and_then(|a| a.route_key(&self.settings.domain));
        if let Some(RouteKey::Domain(domain)) = key {
            self.want_at_node(&domain, resource, Why::Subscribed, false);
        }
    }

    /// The home domain's node is told that an address is connected here, or no longer; and so is
    /// its registry, if it is to be.
    pub(crate) fn connected(&mut self, address: &str, here: bool) {
        self.want_registered(address, None, here);
        if !here || self.settings.has_home_stub() {
            let home = self.settings.domain.clone();
            self.want_at_node(&home, address, Why::Connected, here);
        }
    }

    /// Tells the store what has changed.
    pub(crate) fn keep_subscriptions(&mut self) {
        for ((resource, subscriber), there) in self.bus.subscriptions.changes() {
            let (resource, subscriber) = (resource.to_string(), subscriber.to_string());
            self.persist(if there {
                let address = Address::parse(&resource);
                let domain = address.map(|address| address.domain().to_owned());
                Change::Put(Record::Subscription(SubscriptionRow {
                    resource,
                    subscriber,
                    domain: domain.unwrap_or_default(),
                    identity: None,
                    since_ms: self.settings.epoch_ms.saturating_add(self.bus.now.0),
                }))
            } else {
                Change::Delete(RecordKey::pair(Table::Subscription, resource, subscriber))
            });
        }
    }

    /// What was kept comes back, after the claims: subscribers wait for their applications, nodes
    /// are told again. What cannot be now stays in the store for another configuration.
    pub(crate) fn restore_subscription(&mut self, row: &SubscriptionRow) {
        let Ok(resource) = Address::parse(&row.resource) else { return };
        let Some(uid) = self.bus.names.reserved_for(&row.subscriber) else { return };
        let Ok(place) = self.place_of(Peer::Core, &resource) else { return };
        let (resource, account) = (resource.as_str(), Account::User(uid));
        let added = self.bus.subscriptions.restore(resource, &row.subscriber, account);
        if let (true, Place::Node(domain)) = (added, place) {
            self.want_at_node_soon(&domain, resource);
        }
    }
}

/// Reads a body in all its spellings: `subscribe`, `unsubscribe`, `resources` and `resource`, each
/// one address or several, together.
pub(super) fn wanted_of(body: &[u8]) -> Result<Wanted, Refusal> {
    let malformed = || Refusal::new(Reason::Malformed, "body.resources must list addresses");
    let body: Value = serde_json::from_slice(body).map_err(|_e| malformed())?;
    let mut texts: Vec<&str> = Vec::new();
    for name in ["subscribe", "unsubscribe", "resources", "resource"] {
        match body.get(name) {
            Some(Value::String(text)) => texts.push(text),
            Some(Value::Array(list)) => {
                for text in list {
                    texts.push(text.as_str().ok_or_else(malformed)?);
                }
            }
            Some(_) => return Err(malformed()),
            None => {}
        }
    }
    let bad = |error: protocol::address::AddressError| {
        Refusal::new(Reason::BadAddress, error.to_string())
    };
    let mut resources = Vec::new();
    for text in texts {
        let resource = Address::parse(text).map_err(bad)?;
        if !resources.contains(&resource) {
            resources.push(resource);
        }
        if resources.len() > RESOURCES_PER_SUBSCRIBE {
            return Err(malformed());
        }
    }
    if resources.is_empty() {
        return Err(malformed());
    }
    let named = ["source", "subscriber"].iter().find_map(|name| body.get(name)?.as_str());
    let subscriber = named.map(Address::parse).transpose().map_err(bad)?;
    let after = body.get("after").and_then(Value::as_str).map(str::to_owned);
    Ok(Wanted { resources, subscriber, after })
}
