//! Published resources of this runtime: who is subscribed, and the copies that subscribers get.

use super::egress::{Claim, Waiting};
use super::step::{Facts, origin_of};
use super::{Peer, answer::Answer, answer::Said, carrier::Carrier};
use crate::core::Core;
use crate::effect::Effect;
use crate::input::LinkId;
use crate::limits::{RESOURCES_PER_SUBSCRIBE, SUBSCRIBERS_PER_RESOURCE, SUBSCRIPTIONS_PER_LINK};
use crate::resolve::STATUS;
use crate::ua::Refusal;
use protocol::address::Address;
use protocol::frame::{ExtTag, FrameBuilder, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;
use std::collections::BTreeMap;
use std::sync::Arc;

/// JSON text of a plain success.
pub(super) const DONE: &str = r#"{"code":200}"#;

#[derive(Debug)]
struct Subscriber {
    link: LinkId,
    /// Copies that were dropped since the last one that was handed over.
    lagged: u32,
}

/// Subscribers by resource and address.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    by_resource: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Subscriber>>,
    by_link: BTreeMap<LinkId, u32>,
}

impl Subscriptions {
    fn add(&mut self, resource: &str, subscriber: &str, link: LinkId) -> Result<(), Refusal> {
        let count = self.by_link.entry(link).or_default();
        let full = Refusal::new(Reason::Overloaded, "too many subscriptions");
        if *count >= SUBSCRIPTIONS_PER_LINK {
            return Err(full);
        }
        let set = self.by_resource.entry(Arc::from(resource)).or_default();
        if set.len() >= SUBSCRIBERS_PER_RESOURCE {
            return Err(full);
        }
        if set.insert(Arc::from(subscriber), Subscriber { link, lagged: 0 }).is_none() {
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn remove(&mut self, resource: &str, subscriber: &str) {
        let Some(set) = self.by_resource.get_mut(resource) else { return };
        if let Some(gone) = set.remove(subscriber)
            && let Some(count) = self.by_link.get_mut(&gone.link)
        {
            *count = count.saturating_sub(1);
        }
        if set.is_empty() {
            self.by_resource.remove(resource);
        }
    }

    /// A link ended.
    pub(crate) fn forget(&mut self, link: LinkId) {
        if self.by_link.remove(&link).is_some() {
            self.by_resource.retain(|_, set| {
                set.retain(|_, subscriber| subscriber.link != link);
                !set.is_empty()
            });
        }
    }

    /// Links that are subscribed to something, for the check.
    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.by_resource.values().flat_map(|set| set.values().map(|one| one.link))
    }
}

/// A publication before it is copied.
struct Publication<'a> {
    resource: &'a str,
    from: &'a str,
    mtype: u8,
    id: &'a str,
    id_num: bool,
    body: &'a [u8],
    /// What its edge read of its source, and was checked.
    sources: &'a [&'a [u8]],
    origin: u32,
}

impl Core {
    /// The sender publishes on a resource of its own.
    pub(super) fn publication(&mut self, carrier: &Carrier<'_>, facts: Facts) {
        let Ok(view) = carrier.view() else { return };
        if self.bus.watchers.is_any() {
            self.watch("in", facts.by, &view, "publish");
        }
        self.bus.counters.deliver();
        let addresses = Address::parse(view.from()).ok().zip(Address::parse(view.to()).ok());
        let known = addresses.is_some_and(|(from, to)| {
            self.ua.status_message(self.bus.now, &from, &to, view.body(), &mut self.ua_out)
        });
        // A status is published by the registry, with what it made of it.
        if !known {
            let said = view.ext().flatten().filter(|ext| ext.tag == ExtTag::Source);
            let sources: Vec<&[u8]> = said.map(|ext| ext.value).collect();
            self.fan_out(&Publication {
                resource: view.to(),
                from: view.from(),
                mtype: view.header.mtype,
                id: view.id(),
                id_num: view.has(flags::ID_NUM),
                body: view.body(),
                sources: &sources,
                origin: origin_of(facts.by),
            });
        }
        if facts.reply {
            self.say(facts.by, &Answer::to(&view, Said::Yes(DONE)));
        }
    }

    /// The runtime publishes for a component.
    pub(crate) fn publish(&mut self, resource: &str, from: &str, body: &str) {
        let id = self.bus.next_serial().to_string();
        self.fan_out(&Publication {
            resource,
            from,
            mtype: MessageType::Update.as_u8(),
            id: &id,
            id_num: true,
            body: body.as_bytes(),
            sources: &[],
            origin: super::egress::BY_RUNTIME,
        });
    }

    /// Gives each subscriber its copy, or notes that it missed one.
    fn fan_out(&mut self, publication: &Publication<'_>) {
        let Some(set) = self.bus.subscriptions.by_resource.get(publication.resource) else {
            return;
        };
        let receivers: Vec<(Arc<str>, LinkId, u32)> =
            set.iter().map(|(address, one)| (Arc::clone(address), one.link, one.lagged)).collect();
        for (subscriber, link, lagged) in receivers {
            self.bus.counters.accept();
            let handed = self.copy_to(publication, link, lagged);
            if let Err(reason) = handed {
                self.bus.counters.refuse(reason);
            }
            let set = self.bus.subscriptions.by_resource.get_mut(publication.resource);
            if let Some(one) = set.and_then(|set| set.get_mut(&subscriber)) {
                one.lagged = if handed.is_ok() { 0 } else { one.lagged.saturating_add(1) };
            }
        }
    }

    fn copy_to(
        &mut self,
        publication: &Publication<'_>,
        link: LinkId,
        lagged: u32,
    ) -> Result<(), Reason> {
        let mut builder = FrameBuilder::msg(
            publication.mtype,
            publication.id,
            publication.from,
            publication.resource,
        )
        .flag_if(flags::ID_NUM, publication.id_num)
        .body(publication.body);
        for source in publication.sources {
            builder = builder.ext(ExtTag::Source, source);
        }
        if lagged > 0 {
            builder = builder.flag(flags::LAGGED).ext(ExtTag::Lagged, &lagged.to_le_bytes());
        }
        let frame = builder.build().map_err(|_e| Reason::TooLarge)?;
        let bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
        self.bus.room(link, publication.origin, bytes, Claim::Message)?;
        if self.bus.watchers.is_any()
            && let Ok(view) = frame.view()
        {
            self.watch("out", Peer::Link(link), &view, "copy");
        }
        self.bus.enqueue(link, Waiting { origin: publication.origin, bytes, counted: true });
        self.bus.out.push(Effect::Send { link, frame });
        Ok(())
    }

    /// `subscribe` and `unsubscribe` at `<runtime>/subscriptions`, for resources that are here.
    pub(super) fn subscribe(
        &mut self,
        by: Peer,
        from: &str,
        body: &[u8],
        join: bool,
    ) -> Result<(), Refusal> {
        let Peer::Link(link) = by else {
            let text = "an operator follows events and status instead";
            return Err(Refusal::new(Reason::NotImplemented, text));
        };
        let resources = resources_of(body)?;
        for resource in &resources {
            let owner = self.bus.names.owner_at_or_above(resource.as_str());
            // Who is connected here is nothing that a stub is to know, for itself or for others.
            if join && self.bus.is_worker(by) && owner != Some(by) {
                let text = "a stub subscribes to nothing but its own";
                return Err(Refusal::new(Reason::Policy, text));
            }
            let here = resource.as_str().ends_with(STATUS) && owner.is_some();
            if join && !here {
                let text = "only <address>/status of what is connected here can be subscribed to";
                return Err(Refusal::new(Reason::NotImplemented, text));
            }
        }
        for resource in &resources {
            if join {
                self.bus.subscriptions.add(resource.as_str(), from, link)?;
            } else {
                self.bus.subscriptions.remove(resource.as_str(), from);
            }
        }
        Ok(())
    }
}

/// `resources` or `subscribe` of a body: one address, or several.
fn resources_of(body: &[u8]) -> Result<Vec<Address>, Refusal> {
    let malformed = || Refusal::new(Reason::Malformed, "body.resources must list addresses");
    let body: serde_json::Value = serde_json::from_slice(body).map_err(|_e| malformed())?;
    let named = ["resources", "subscribe", "resource"].iter().find_map(|name| body.get(name));
    let texts: Vec<&str> = match named {
        Some(serde_json::Value::String(text)) => vec![text],
        Some(serde_json::Value::Array(list)) => list
            .iter()
            .map(serde_json::Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(malformed)?,
        _ => return Err(malformed()),
    };
    if texts.is_empty() || texts.len() > RESOURCES_PER_SUBSCRIBE {
        return Err(malformed());
    }
    let parsed = texts.into_iter().map(Address::parse).collect::<Result<_, _>>();
    parsed.map_err(|error| Refusal::new(Reason::BadAddress, error.to_string()))
}
