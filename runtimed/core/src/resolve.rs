//! Where a message goes, and why: one decision, taken for each message and told by `resolve`.

use crate::bus::{Bus, Peer};
use crate::core::Core;
use crate::input::Time;
use crate::p2p::connections::Connections;
use crate::p2p::{Direct, Directly, directly};
use crate::settings::Settings;
use crate::ua::{Refusal, StubRoute, Ua};
use protocol::address::{Address, RouteKey, SchemeClass, is_within};
use protocol::control::{ResolveReply, ResolveStep};
use protocol::reason::Reason;

/// A part of the runtime that answers messages itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// `<runtime>/ua`: deploys and removes stubs.
    Ua,
    /// `<runtime>/subscriptions`: subscribes to local resources.
    Subscriptions,
    /// `<runtime>/registry`: tells who is registered here.
    Registry,
    /// `<runtime>/address-allocation`: gives addresses of the home domain.
    Addresses,
    /// `<runtime>/sm`: data objects and who observes them.
    Sync,
    /// `<remote runtime>/registry/changes`: is told what changes at the other end of a connection.
    PeerChanges,
    /// One that is known and does nothing yet.
    Unbuilt,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// To the owner of exactly this address.
    Local(Peer),
    /// To the runtime itself.
    Builtin(Builtin),
    /// To the subscribers of the sender's own resource.
    Publication,
    /// Through the stub of this key.
    Stub(RouteKey, StubRoute),
    /// Over a connection with another runtime.
    Direct(Direct),
    /// Nowhere.
    Refuse(Refusal),
}

/// What a decision is taken from.
pub(crate) struct Resolver<'a> {
    pub(crate) bus: &'a Bus,
    pub(crate) ua: &'a Ua,
    pub(crate) settings: &'a Settings,
    pub(crate) connections: &'a Connections,
    /// Whether the sender asks for a connection with the other runtime.
    pub(crate) direct: bool,
    /// Where each step is told, if somebody asked.
    pub(crate) steps: Option<Vec<ResolveStep>>,
}

/// Path of the registry below the runtime.
pub(crate) const REGISTRY: &str = "registry";
/// And of the resource of its changes.
pub(crate) const CHANGES: &str = "registry/changes";
/// Path of the synchronisation of data objects below the runtime.
pub(crate) const SYNC: &str = "sm";
/// Path of the Identity Module below the runtime.
pub(crate) const IDENTITY: &str = "idm";
/// Last segment of a published resource.
pub(crate) const STATUS: &str = "/status";

/// Where the changes of a data object are published, below it.
pub(crate) const OBJECT_CHANGES: &str = "/changes";
/// Where its participants add to it.
pub(crate) const CHILDREN: &str = "/children";
/// Where its reporter is asked by who wants to observe it.
pub(crate) const SUBSCRIPTION: &str = "/subscription";

/// Whether its owner may publish on it: a status, or a data object and what lies below it.
pub(crate) fn is_resource(address: &Address) -> bool {
    address.as_str().ends_with(STATUS) || address.class() == SchemeClass::DataObject
}

const BUILTINS: &[(&str, Builtin)] = &[
    ("ua", Builtin::Ua),
    ("subscriptions", Builtin::Subscriptions),
    (REGISTRY, Builtin::Registry),
    (CHANGES, Builtin::Unbuilt),
    ("address-allocation", Builtin::Addresses),
    ("object-allocation", Builtin::Unbuilt),
    ("discovery", Builtin::Unbuilt),
    ("policy", Builtin::Unbuilt),
    ("pep", Builtin::Unbuilt),
    ("identity", Builtin::Unbuilt),
    (IDENTITY, Builtin::Unbuilt),
    (SYNC, Builtin::Sync),
    ("status", Builtin::Unbuilt),
    ("ctl", Builtin::Unbuilt),
    ("", Builtin::Unbuilt),
];

/// Whether a stub speaks, which causes no route and hears of nothing but its own.
pub(crate) fn is_stub(bus: &Bus, ua: &Ua, by: Peer) -> bool {
    matches!(by, Peer::Link(link) if bus.is_worker(by) && !ua.is_hyperty(link))
}

fn refuse(reason: Reason, desc: impl Into<String>) -> Target {
    Target::Refuse(Refusal::new(reason, desc))
}

impl Core {
    /// What decides where a message goes; `direct` if its sender asks for a connection.
    pub(crate) const fn resolver(&self, direct: bool) -> Resolver<'_> {
        Resolver {
            bus: &self.bus,
            ua: &self.ua,
            settings: &self.settings,
            connections: &self.p2p.connections,
            direct,
            steps: None,
        }
    }
}

impl Resolver<'_> {
    fn note(&mut self, step: &str, key: &str, found: bool, detail: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            let (step, key) = (step.to_owned(), key.to_owned());
            steps.push(ResolveStep { step, key, found, detail: detail() });
        }
    }

    /// Decides for a canonical address. A worker (`by` a stub) reaches what is here and nothing
    /// else: a message that came in through a bridge never makes us fetch and run code.
    pub(crate) fn decide(&mut self, now: Time, by: Peer, to: &Address) -> Target {
        let text = to.as_str();
        if self.is_kept_from(by, to) {
            let why = "who logs stubs in speaks to the runtime alone";
            self.note("login", text, false, || why.to_owned());
            return refuse(Reason::Policy, why);
        }
        match self.bus.names.owner(text) {
            Some(owner @ (Peer::Link(_) | Peer::Operator(_))) => {
                self.note("owner", text, true, || format!("owned by {}", self_name(owner)));
                return Target::Local(owner);
            }
            Some(Peer::Core) | None => {
                self.note("owner", text, false, || "nobody owns exactly this address".to_owned());
            }
        }
        if let Some(key) = self.ua.hyperty_at(text) {
            return self.hyperty(now, by, key);
        }
        if let Some(target) = self.here(by, to) {
            return target;
        }
        if let Peer::Link(link) = by
            && self.connections.tells_changes(link, text)
        {
            self.note("registry", text, true, || "changes of a connected runtime".to_owned());
            return Target::Builtin(Builtin::PeerChanges);
        }
        if self.brings(by, to) {
            self.note("resource", text, true, || "has subscribers here".to_owned());
            return Target::Publication;
        }
        if is_stub(self.bus, self.ua, by) {
            self.note("sender", "worker", false, || "only applications cause a route".to_owned());
            return refuse(Reason::NoRoute, "a stub reaches only what is connected here");
        }
        self.away(now, to)
    }

    /// Whether it is the proxy of an identity provider that logs stubs in: whoever could ask it
    /// what the runtime asks would have their credentials.
    fn is_kept_from(&self, by: Peer, to: &Address) -> bool {
        let other = by != Peer::Core || self.steps.is_some();
        other
            && to.class() == SchemeClass::Idp
            && self.settings.is_login_provider(to.host())
            && !self.is_own(by, to.as_str())
    }

    /// A hyperty that is not connected, but may be soon; no stub causes that.
    fn hyperty(&mut self, now: Time, by: Peer, key: RouteKey) -> Target {
        let route = self.ua.route(now, &key);
        let comes = matches!(route, StubRoute::Ready { .. } | StubRoute::Deploying);
        self.note("hyperty", &key.to_string(), comes, || told(&route));
        if !comes && is_stub(self.bus, self.ua, by) {
            return refuse(Reason::ReceiverGone, "the hyperty that has it does not run");
        }
        Target::Stub(key, route)
    }

    /// Whether a stub brings in what was published in its domain and is subscribed to here.
    fn brings(&self, by: Peer, to: &Address) -> bool {
        let Peer::Link(link) = by else { return false };
        self.bus.subscriptions.has(to.as_str())
            && self.ua.bridge_of(link).is_some_and(|bridge| match bridge.key {
                RouteKey::P2p(_) | RouteKey::P2pHandler(_) => self.connections.speaks(link, to),
                _ => to.route_key(&self.settings.domain).as_ref() == Some(&bridge.key),
            })
    }

    /// Whether the sender owns it; a stub does before it is active, and so has its listener.
    fn is_own(&self, by: Peer, text: &str) -> bool {
        match (self.bus.names.owner_at_or_above(text), by) {
            (_, Peer::Core) | (None, Peer::Operator(_)) => false,
            (Some(owner), _) => owner == by || self.will_own(by, text),
            (None, Peer::Link(_)) => self.will_own(by, text),
        }
    }

    /// Whether it is where those who observe an object of somebody here add to it, and the sender
    /// is one of them.
    fn takes_part(&self, by: Peer, text: &str) -> bool {
        let Peer::Link(link) = by else { return false };
        text.strip_suffix(CHILDREN).is_some_and(|object| self.bus.objects.is_one(object))
            && self.bus.subscriptions.is_joined(text, link)
    }

    /// Whether it is the address of a stub, or below it, that is its own or will be when it is
    /// active: the handler's is below the runtime's.
    pub(crate) fn will_own(&self, by: Peer, text: &str) -> bool {
        let Peer::Link(link) = by else { return false };
        self.ua.bridge_of(link).is_some_and(|bridge| {
            let owner = self.bus.names.owner(bridge.url.as_str());
            is_within(text, bridge.url.as_str()) && owner.is_none_or(|owner| owner == by)
        })
    }

    /// Addresses that are owned here.
    fn here(&mut self, by: Peer, to: &Address) -> Option<Target> {
        let text = to.as_str();
        if is_resource(to) && (self.is_own(by, text) || self.takes_part(by, text)) {
            self.note("resource", text, true, || "published to its subscribers".to_owned());
            return Some(Target::Publication);
        }
        if let Some(name) = text.strip_prefix(&*self.bus.runtime)
            && (name.is_empty() || name.starts_with('/'))
        {
            let name = name.trim_start_matches('/');
            let built = BUILTINS.iter().find(|row| row.0 == name).map(|row| row.1);
            self.note("built-in", text, built.is_some(), || "below the runtime".to_owned());
            let missing = || refuse(Reason::UnknownAddress, "the runtime has no such address");
            return Some(built.map_or_else(missing, Target::Builtin));
        }
        let owned = self.bus.names.owner_at_or_above(text).is_some();
        self.note("owned here", text, owned, || "compared by whole segments".to_owned());
        if owned {
            return Some(refuse(Reason::UnknownAddress, "its owner is here and does not have it"));
        }
        let reserved = self.bus.names.is_reserved(text);
        self.note("reserved", text, reserved, || "kept for an application that left".to_owned());
        reserved.then(|| refuse(Reason::ReceiverGone, "the application that has it is gone"))
    }

    /// Addresses of other domains, and of the home domain's own stub.
    fn away(&mut self, now: Time, to: &Address) -> Target {
        let home = self.settings.domain.as_str();
        if let Some(target) = self.directly(now, to) {
            return target;
        }
        let key = to.route_key(home);
        let shown = key.as_ref().map_or_else(String::new, ToString::to_string);
        self.note("route key", to.as_str(), key.is_some(), || format!("scheme {}", to.scheme()));
        let Some(key) = key else {
            return refuse(Reason::NoRoute, "no stub may serve addresses of this scheme");
        };
        if key.domain() == home {
            let served = self.settings.has_home_stub();
            self.note("home domain", home, served, || "a stub only with a catalogue".to_owned());
            if !served {
                return refuse(Reason::UnknownAddress, "nobody in the home domain has it");
            }
        }
        let route = self.ua.route(now, &key);
        self.note("stub", &shown, matches!(route, StubRoute::Ready { .. }), || told(&route));
        Target::Stub(key, route)
    }
}

impl Resolver<'_> {
    /// Without a message node, if the operator and the sender want that.
    fn directly(&mut self, now: Time, to: &Address) -> Option<Target> {
        let own = &self.bus.runtime;
        let way = directly(self.settings, self.connections, own, (to, self.direct))?;
        let (key, has_node) = match way {
            Directly::Over(direct) => {
                let peer = direct.peer.to_string();
                self.note("connection", &peer, true, || format!("by {}", direct.key));
                return Some(Target::Direct(direct));
            }
            Directly::Connect { key, has_node } => (key, has_node),
        };
        let route = self.ua.route(now, &key);
        let ready = matches!(route, StubRoute::Ready { .. });
        self.note("connection", &key.to_string(), ready, || told(&route));
        let of_no_use = matches!(route, StubRoute::Ready { .. } | StubRoute::Refused(_));
        (!(has_node && of_no_use)).then_some(Target::Stub(key, route))
    }
}

fn self_name(owner: Peer) -> String {
    match owner {
        Peer::Core => "the runtime".to_owned(),
        Peer::Link(link) => format!("link {}", link.0),
        Peer::Operator(_) => "an operator".to_owned(),
    }
}

fn told(route: &StubRoute) -> String {
    match route {
        StubRoute::Ready { url, .. } => format!("active at {url}"),
        StubRoute::Deploying => "is being started".to_owned(),
        StubRoute::Refused(refusal) => refusal.desc.clone(),
        StubRoute::Absent => "not there; a message starts it".to_owned(),
    }
}

/// Explains where a message of an application would go.
pub(crate) fn explain(mut resolver: Resolver<'_>, now: Time, text: &str) -> ResolveReply {
    resolver.steps = Some(Vec::new());
    let address = match Address::parse(text) {
        Ok(address) => address,
        Err(error) => {
            resolver.note("address", text, false, || error.to_string());
            return ResolveReply {
                address: text.to_owned(),
                steps: resolver.steps.unwrap_or_default(),
                decision: "refuse".to_owned(),
                reason: Some(Reason::BadAddress),
            };
        }
    };
    resolver.note("address", address.as_str(), true, || "canonical".to_owned());
    let target = resolver.decide(now, Peer::Core, &address);
    let (decision, reason) = match target {
        Target::Local(Peer::Operator(_)) => ("refuse", Some(Reason::UnknownAddress)),
        Target::Local(_)
        | Target::Publication
        | Target::Direct(_)
        | Target::Builtin(
            Builtin::Ua
            | Builtin::Subscriptions
            | Builtin::Registry
            | Builtin::Addresses
            | Builtin::Sync
            | Builtin::PeerChanges,
        )
        | Target::Stub(_, StubRoute::Ready { .. }) => ("deliver", None),
        Target::Builtin(Builtin::Unbuilt) => ("refuse", Some(Reason::NotImplemented)),
        Target::Refuse(refusal) | Target::Stub(_, StubRoute::Refused(refusal)) => {
            ("refuse", Some(refusal.reason))
        }
        Target::Stub(_, StubRoute::Deploying) => ("park", None),
        Target::Stub(_, StubRoute::Absent) => ("deploy", None),
    };
    ResolveReply {
        address: address.to_string(),
        steps: resolver.steps.unwrap_or_default(),
        decision: decision.to_owned(),
        reason,
    }
}
