//! `<runtime>/sm`: data objects that a reporter keeps the same with its observers.
//!
//! The runtime gives an object its address, keeps who observes it, and passes changes on. The data
//! is with the components alone. Nobody observes an object whom its reporter has not let in: the
//! `subscribe` of an observer is passed on to `<object>/subscription` with the observer as its
//! sender, and only the reporter's own 200 enters it. An object ends with its reporter.

use super::builtin::Outcome;
use super::carrier::{Carrier, charge, respelled};
use super::pending::{IdText, PendingKey, PendingRef, Relay};
use super::step::Facts;
use super::subscribe::DONE;
use super::subscribers::Account;
use super::voice::Voice;
use super::{Bus, LinkKind, Peer, nodes::Why};
use crate::core::Core;
use crate::input::LinkId;
use crate::limits::{ADDRESS_TRIES, OBJECTS_PER_LINK, OBJECTS_PER_UID, OBJECTS_TOTAL};
use crate::resolve::{CHILDREN, OBJECT_CHANGES, SUBSCRIPTION, SYNC, is_stub};
use crate::ua::Refusal;
use protocol::address::{Address, RouteKey, SchemeClass};
use protocol::frame::{ExtTag, Frame, FrameBuilder, FrameError, FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NO_ADDRESS: &str = "there is no free address";

/// Objects that are reported here.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    by_url: BTreeMap<Arc<str>, LinkId>,
    by_link: BTreeMap<LinkId, BTreeSet<Arc<str>>>,
}

impl Objects {
    /// Whether it is the address of an object.
    pub(crate) fn is_one(&self, text: &str) -> bool {
        self.by_url.contains_key(text)
    }

    /// Whether it is where the reporter of an object is asked.
    pub(crate) fn is_part(&self, text: &str) -> bool {
        text.strip_suffix(SUBSCRIPTION).is_some_and(|object| self.is_one(object))
    }

    /// Whether it is directly below an object.
    pub(crate) fn is_below(&self, text: &str) -> bool {
        text.rsplit_once('/').is_some_and(|(object, _)| self.is_one(object))
    }

    fn count(&self, link: LinkId) -> usize {
        self.by_link.get(&link).map_or(0, BTreeSet::len)
    }

    pub(crate) fn insert(&mut self, url: &str, link: LinkId) {
        let url: Arc<str> = Arc::from(url);
        self.by_link.entry(link).or_default().insert(Arc::clone(&url));
        self.by_url.insert(url, link);
    }

    fn remove(&mut self, url: &str) {
        let Some(link) = self.by_url.remove(url) else { return };
        if let Some(urls) = self.by_link.get_mut(&link) {
            urls.remove(url);
            if urls.is_empty() {
                self.by_link.remove(&link);
            }
        }
    }
}

impl Bus {
    /// The address that objects are created and observed at.
    pub(super) fn sync_url(&self) -> String {
        format!("{}/{SYNC}", self.runtime)
    }
}

impl Core {
    /// A message to `<runtime>/sm`.
    pub(super) fn synchronise(
        &mut self,
        facts: Facts,
        view: &FrameRef<'_>,
        kind: MessageType,
    ) -> Result<Outcome, Refusal> {
        let Peer::Link(link) = facts.by else {
            let text = "objects belong to applications and components";
            return Err(Refusal::new(Reason::NotImplemented, text));
        };
        if facts.voice != Voice::Own {
            let text = "it is the runtime of an observer that asks for it";
            return Err(Refusal::new(Reason::Policy, text));
        }
        let body = object_of(view.body())?;
        if body.get("resume").and_then(Value::as_bool) == Some(true) {
            let text = "the runtime keeps no objects: there is nothing to be resumed";
            return Err(Refusal::new(Reason::UnknownAddress, text));
        }
        match kind {
            MessageType::Create => self.create_object(link, view.from(), &body).map(Outcome::Yes),
            MessageType::Subscribe | MessageType::Read => {
                self.pass_on(facts, view, kind, &body).map(|()| Outcome::PassedOn)
            }
            MessageType::Unsubscribe => {
                let url = resource_of(&body)?;
                self.observes_no_more(facts, view, &url);
                Ok(Outcome::Yes(DONE.to_owned()))
            }
            MessageType::Delete => {
                let url = resource_of(&body)?;
                match self.bus.objects.by_url.get(url.as_str()) {
                    Some(owner) if *owner == link => {}
                    Some(_) => {
                        let text = "only its reporter takes an object away";
                        return Err(Refusal::new(Reason::Policy, text));
                    }
                    None => {
                        return Err(Refusal::new(
                            Reason::UnknownAddress,
                            "there is no such object",
                        ));
                    }
                }
                self.end_object(url.as_str());
                Ok(Outcome::Yes(DONE.to_owned()))
            }
            _ => Err(Refusal::new(Reason::NotImplemented, "objects are not asked for that here")),
        }
    }

    /// Gives an object its address, and that to the link of its reporter.
    fn create_object(
        &mut self,
        link: LinkId,
        reporter: &str,
        body: &Map<String, Value>,
    ) -> Result<String, Refusal> {
        self.room_for_object(link)?;
        let schema = body.get("schema").and_then(Value::as_str).unwrap_or_default();
        let url = self.allocate(scheme_of(schema))?;
        let text = url.as_str();
        let children = format!("{text}{CHILDREN}");
        self.nobody_listens(text);
        // What participants add reaches its reporter as it does everybody else.
        self.bus.subscriptions.add(&children, reporter, Some(link), Account::Link(link))?;
        self.bus.objects.insert(text, link);
        if !self.give(link, text) || !self.give(link, &format!("{text}{SUBSCRIPTION}")) {
            self.end_object(text);
            return Err(Refusal::new(Reason::Overloaded, NO_ADDRESS));
        }
        if self.may_be_told_home(text) {
            self.connected(text, true);
        }
        self.registered(text, true);
        Ok(json!({"code": 200, "resource": text, "childrenResources": [children]}).to_string())
    }

    /// Each link, each user and all together report so many.
    fn room_for_object(&self, link: LinkId) -> Result<(), Refusal> {
        let objects = &self.bus.objects;
        let uid_of = |link| match self.bus.links.get(&link).map(|link| &link.kind) {
            Some(LinkKind::App { uid, .. }) => Some(*uid),
            _ => None,
        };
        let of_user: usize = uid_of(link).map_or(0, |uid| {
            let links = objects.by_link.iter().filter(|(link, _)| uid_of(**link) == Some(uid));
            links.map(|(_, urls)| urls.len()).sum()
        });
        let full = objects.count(link) >= OBJECTS_PER_LINK
            || of_user >= OBJECTS_PER_UID
            || objects.by_url.len() >= OBJECTS_TOTAL;
        if full { Err(Refusal::new(Reason::Overloaded, "too many objects")) } else { Ok(()) }
    }

    /// A new address of the home domain, that nobody has, had or knows.
    fn allocate(&mut self, scheme: &str) -> Result<Address, Refusal> {
        for _ in 0..ADDRESS_TRIES {
            let text = format!("{scheme}://{}/{}", self.settings.domain, self.ua.guids.next());
            let url = Address::parse(&text)
                .map_err(|error| Refusal::new(Reason::BadAddress, error.to_string()))?;
            if self.is_unknown(url.as_str()) {
                return Ok(url);
            }
        }
        Err(Refusal::new(Reason::Overloaded, NO_ADDRESS))
    }

    /// Whether the home domain's node is told that an address of somebody here is connected. It is
    /// not of what a stub reports: that would fetch and run the home domain's stub because another
    /// stub said something. And nobody is sent to where a reporter is asked but by the runtime.
    pub(crate) fn may_be_told_home(&self, text: &str) -> bool {
        let objects = &self.bus.objects;
        let reporter = objects.by_url.get(text).copied();
        let stub = reporter.is_some_and(|link| is_stub(&self.bus, &self.ua, Peer::Link(link)));
        !stub && !objects.is_part(text)
    }

    /// Passes a request on to the reporter: the requester stays its sender, so that the reporter
    /// knows who asks.
    fn pass_on(
        &mut self,
        facts: Facts,
        view: &FrameRef<'_>,
        kind: MessageType,
        body: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        if !facts.reply {
            return Err(Refusal::new(Reason::Malformed, "who asks for an object needs its answer"));
        }
        let url = resource_of(body)?;
        let (to, relay) = if kind == MessageType::Read {
            (url.to_string(), Relay::Read)
        } else {
            (format!("{url}{SUBSCRIPTION}"), Relay::Observe(url))
        };
        let mut told = body.clone();
        // Who it is for is who sent it.
        for claim in ["source", "reporter", "resume"] {
            told.remove(claim);
        }
        told.insert("subscriber".to_owned(), json!(view.from()));
        let told = Value::Object(told).to_string();
        let too_large = |e: FrameError| Refusal::new(Reason::TooLarge, e.to_string());
        let frame = asking(view, kind, &to, told.as_bytes()).map_err(too_large)?;
        let next = frame.view().map_err(too_large)?;
        let target = self.target(facts.by, &next)?;
        let facts = Facts { bytes: charge(&next), ..facts };
        self.carry_out(Carrier::Owned(frame), facts, target);
        let requester = self.bus.names.find(view.from());
        let key = requester.map(|requester| PendingKey { requester, id: IdText::new(view.id()) });
        let at = key.and_then(|key| self.bus.pending.find(&key));
        if let Some(pending) = at.and_then(|at| self.bus.pending.get_mut(at)) {
            pending.relay = Some(Box::new(relay));
        }
        Ok(())
    }

    /// The response to a request that was passed on comes from where it was sent to. A reporter
    /// that agrees lets an observer in; `None`: it cannot be let in, and is told so.
    pub(super) fn relayed(
        &mut self,
        carrier: &Carrier<'_>,
        facts: Facts,
        at: PendingRef,
        relay: &Relay,
    ) -> Option<(Carrier<'static>, Facts)> {
        let view = carrier.view().ok()?;
        if view.has(flags::BODY_FD) {
            let text = "the object is too large to be sent as one message";
            return self.not_relayed(at, &Refusal::new(Reason::TooLarge, text));
        }
        let agreed = matches!(view.header.code, 0 | 200..300);
        if let (Relay::Observe(url), true) = (relay, agreed)
            && let Err(refusal) = self.observes(at, url)
        {
            return self.not_relayed(at, &refusal);
        }
        let frame = respelled(&view, &self.bus.sync_url(), view.to()).ok()?;
        let bytes = frame.view().map_or(facts.bytes, |view| charge(&view));
        Some((Carrier::Owned(frame), Facts { bytes, ..facts }))
    }

    fn not_relayed(
        &mut self,
        at: PendingRef,
        refusal: &Refusal,
    ) -> Option<(Carrier<'static>, Facts)> {
        self.bus.counters.refuse(refusal.reason);
        self.fail(at, refusal);
        None
    }

    /// Whoever asked observes the object from now on.
    fn observes(&mut self, at: PendingRef, url: &Address) -> Result<(), Refusal> {
        let Some(pending) = self.bus.pending.get(at) else { return Ok(()) };
        let (peer, who) = (pending.peer, self.bus.names.text(pending.key.requester));
        let Peer::Link(link) = peer else { return Ok(()) };
        let here = self.bus.names.owner_at_or_above(url.as_str()).is_some();
        let account = Account::Link(link);
        let parts = [OBJECT_CHANGES, CHILDREN].map(|part| format!("{url}{part}"));
        for resource in &parts {
            if let Err(refusal) = self.bus.subscriptions.add(resource, &who, Some(link), account) {
                for resource in &parts {
                    self.unsubscribed(resource, &who);
                }
                return Err(refusal);
            }
            if let (false, Some(RouteKey::Domain(domain))) =
                (here, url.route_key(&self.settings.domain))
            {
                self.want_at_node(&domain, resource, Why::Subscribed, true);
            }
        }
        Ok(())
    }

    /// An observer goes, and its reporter is told.
    fn observes_no_more(&mut self, facts: Facts, view: &FrameRef<'_>, url: &Address) {
        let (text, who) = (url.as_str(), view.from());
        let changes = format!("{text}{OBJECT_CHANGES}");
        let children = format!("{text}{CHILDREN}");
        if !self.bus.subscriptions.is_subscribed(&changes, who) {
            return;
        }
        self.unsubscribed(&changes, who);
        self.unsubscribed(&children, who);
        let to = format!("{text}{SUBSCRIPTION}");
        let body = json!({"resource": text, "source": who}).to_string();
        let frame = asking(view, MessageType::Unsubscribe, &to, body.as_bytes());
        let Ok(frame) = frame else { return };
        let Ok(next) = frame.view() else { return };
        let Ok(target) = self.target(facts.by, &next) else { return };
        let mut stamp = facts.stamp;
        stamp.flags &= !flags::REPLY;
        let facts = Facts { bytes: charge(&next), reply: false, stamp, ..facts };
        // One more message than came in: nobody waits for its answer.
        self.bus.counters.accept();
        self.carry_out(Carrier::Owned(frame), facts, target);
    }

    /// An object is no more: its observers are told, and nobody is subscribed to it.
    fn end_object(&mut self, url: &str) {
        let link = self.bus.objects.by_url.get(url).copied();
        let changes = format!("{url}{OBJECT_CHANGES}");
        let body = json!({"resource": url}).to_string();
        self.publish_as(MessageType::Delete, &changes, url, &body);
        for resource in [changes, format!("{url}{CHILDREN}")] {
            for who in self.bus.subscriptions.names_of(&resource) {
                self.unsubscribed(&resource, &who);
            }
        }
        self.bus.objects.remove(url);
        let asked = format!("{url}{SUBSCRIPTION}");
        if let Some(id) = link
            && let Some(link) = self.bus.links.get_mut(&id)
        {
            link.addresses.retain(|address| **address != *url && **address != *asked);
            for address in [url, &asked] {
                if self.bus.names.owner(address) == Some(Peer::Link(id)) {
                    self.bus.names.unregister(address);
                }
            }
        }
        self.connected(url, false);
        self.registered(url, false);
    }

    /// What a link has reported ends with it.
    pub(super) fn end_objects(&mut self, link: LinkId) {
        for url in self.bus.objects.by_link.get(&link).cloned().unwrap_or_default() {
            self.end_object(&url);
        }
    }
}

/// The request of `view`, to another address and with another body.
fn asking(
    view: &FrameRef<'_>,
    kind: MessageType,
    to: &str,
    body: &[u8],
) -> Result<Frame, FrameError> {
    let mut builder = FrameBuilder::msg(kind.as_u8(), view.id(), view.from(), to)
        .flag(view.header.flags)
        .hops(view.header.hops)
        .ext(ExtTag::Source, view.from().as_bytes())
        .body(body);
    if let Some(deadline) = view.ext().find(ExtTag::Deadline) {
        builder = builder.ext(ExtTag::Deadline, deadline);
    }
    builder.build()
}

fn object_of(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => Ok(body),
        _ => Err(Refusal::new(Reason::Malformed, "the body is no object")),
    }
}

/// The object that a body is about.
fn resource_of(body: &Map<String, Value>) -> Result<Address, Refusal> {
    let text = body.get("resource").and_then(Value::as_str);
    let text = text.ok_or_else(|| Refusal::new(Reason::Malformed, "body.resource is missing"))?;
    let url = Address::parse(text)
        .map_err(|error| Refusal::new(Reason::BadAddress, format!("body.resource: {error}")))?;
    if url.class() == SchemeClass::DataObject {
        return Ok(url);
    }
    Err(Refusal::new(Reason::BadAddress, "body.resource is no data object"))
}

/// The scheme of the objects of a schema, by its name.
pub(crate) fn scheme_of(schema: &str) -> &'static str {
    let name = schema.rsplit('/').next().unwrap_or_default();
    match name {
        "Communication" => "comm",
        "Connection" => "connection",
        "HelloWorldDataSchema" => "hello",
        "WalletData" => "walletdata",
        _ if name.starts_with("Context") => "context",
        _ => "resource",
    }
}

#[cfg(test)]
mod tests {
    use super::scheme_of;

    #[test]
    fn an_object_is_addressed_by_the_name_of_its_schema() {
        let base = "hyperty-catalogue://catalogue.a.example/.well-known/dataschema/";
        for (name, scheme) in [
            ("Communication", "comm"),
            ("Connection", "connection"),
            ("Context", "context"),
            ("ContextLight", "context"),
            ("WalletData", "walletdata"),
            ("HelloWorldDataSchema", "hello"),
            ("Anything", "resource"),
            ("", "resource"),
        ] {
            assert_eq!(scheme_of(&format!("{base}{name}")), scheme, "{name}");
        }
        assert_eq!(scheme_of("Communication"), "comm");
    }
}
