//! Publications: each subscriber of a resource gets a copy, and all copies are one frame.

use super::carrier::{Carrier, Stamp};
use super::egress::{BY_RUNTIME, Claim, Waiting};
use super::step::{Facts, origin_of};
use super::subscribe::DONE;
use super::subscribers::Subscriber;
use super::{LinkKind, Peer, answer::Answer, answer::Said};
use crate::core::Core;
use crate::effect::Effect;
use crate::input::LinkId;
use crate::p2p::subscriptions::runtime_of_keeper;
use crate::resolve::Target;
use crate::ua::Refusal;
use protocol::address::{Address, RouteKey, SchemeClass};
use protocol::frame::{ExtIter, ExtTag, Frame, FrameBuilder, FrameError, flags, patch};
use protocol::message::MessageType;
use protocol::reason::Reason;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One copy: its link, and the subscriber if that is a runtime at the other end of a connection.
type Receiver = (LinkId, Option<Arc<str>>);

/// A publication before it is copied.
struct Publication<'a> {
    resource: &'a str,
    from: &'a str,
    mtype: u8,
    id: &'a str,
    flags: u16,
    /// What its edge said of it: who else is named in the body.
    ext: Option<ExtIter<'a>>,
    body: &'a [u8],
    by: Peer,
}

impl Publication<'_> {
    /// Its frame, marked if copies before it were missed.
    /// For a runtime at the other end of a connection it says which, as its stub has several.
    fn frame(&self, lagged: u32, keeper: Option<&str>) -> Result<Frame, FrameError> {
        let mut builder = FrameBuilder::msg(self.mtype, self.id, self.from, self.resource)
            .flag(self.flags)
            .body(self.body);
        let kept = self.ext.clone().into_iter().flatten().map_while(Result::ok);
        for ext in kept.filter(|ext| !is_of_one_copy(ext.tag)) {
            builder = builder.ext(ext.tag, ext.value);
        }
        if let Some(keeper) = keeper {
            builder = builder.ext(ExtTag::Peer, runtime_of_keeper(keeper).as_bytes());
        }
        if lagged > 0 {
            builder = builder.flag(flags::LAGGED).ext(ExtTag::Lagged, &lagged.to_le_bytes());
        }
        let mut frame = builder.build()?;
        if let Peer::Link(link) = self.by {
            patch::origin(frame.bytes_mut(), u64::from(link.0), 0);
        }
        Ok(frame)
    }
}

impl Core {
    /// The sender publishes on a resource that it may publish on.
    pub(super) fn publication(&mut self, carrier: Carrier<'_>, facts: Facts) {
        let Ok(view) = carrier.view() else { return };
        if view.has(flags::BODY_FD) {
            let refusal = Refusal::new(Reason::TooLarge, "the body is too large to be published");
            return self.refuse(facts.by, &view, &refusal);
        }
        if self.bus.watchers.is_any() {
            self.watch("in", facts.by, &view, "publish");
        }
        self.bus.counters.deliver();
        let addresses = Address::parse(view.from()).ok().zip(Address::parse(view.to()).ok());
        let known = addresses.as_ref().is_some_and(|(from, to)| {
            self.ua.status_message(self.bus.now, from, to, view.body(), &mut self.ua_out)
        });
        // A status is published by the registry, with what it made of it.
        if !known {
            let inbound = if facts.voice.is_inbound() { flags::INBOUND } else { 0 };
            self.fan_out(&Publication {
                resource: view.to(),
                from: view.from(),
                mtype: view.header.mtype,
                id: view.id(),
                flags: (view.header.flags & flags::ID_NUM) | inbound,
                ext: Some(view.ext()),
                body: view.body(),
                by: facts.by,
            });
        }
        if facts.reply {
            self.say(facts.by, &Answer::to(&view, Said::Yes(DONE)));
        }
        if let Some((_, resource)) = addresses.filter(|_| self.goes_to_the_node(facts.by)) {
            self.publish_at_node(carrier, facts, &resource);
        }
    }

    /// What an application or a hyperty publishes goes to the subscribers of other runtimes, too, if the home
    /// domain has a message node.
    fn goes_to_the_node(&self, by: Peer) -> bool {
        let Peer::Link(link) = by else { return false };
        let kind = self.bus.links.get(&link).map(|link| &link.kind);
        self.settings.has_home_stub()
            && (matches!(kind, Some(LinkKind::App { .. })) || self.ua.is_hyperty(link))
    }

    fn publish_at_node(&mut self, carrier: Carrier<'_>, facts: Facts, resource: &Address) {
        let home = &self.settings.domain;
        let key = RouteKey::Domain(home.clone());
        let claimed = matches!(resource.class(), SchemeClass::Hyperty | SchemeClass::DataObject);
        if !claimed || resource.route_key(home).as_ref() != Some(&key) {
            return;
        }
        let Ok(view) = carrier.view() else { return };
        let cause = format!("{} publishes {resource}", view.from());
        let route = self.ua.stub_for(self.bus.now, &key, &cause, &mut self.ua_out);
        let stamp = Stamp { flags: facts.stamp.flags & !flags::REPLY, ..facts.stamp };
        // One more message than came in: nobody waits for its answer.
        self.bus.counters.accept();
        let facts = Facts { reply: false, stamp, ..facts };
        match carrier.into_frame() {
            Ok(mut frame) => {
                patch::flags(frame.bytes_mut(), stamp.flags);
                self.carry_out(Carrier::Owned(frame), facts, Target::Stub(key, route));
            }
            Err(_) => self.bus.counters.refuse(Reason::Malformed),
        }
    }

    /// The runtime publishes for a component.
    pub(crate) fn publish(&mut self, resource: &str, from: &str, body: &str) {
        self.publish_as(MessageType::Update, resource, from, body);
    }

    /// As [`Self::publish`], by a message of this type.
    pub(super) fn publish_as(&mut self, kind: MessageType, resource: &str, from: &str, body: &str) {
        let id = self.bus.next_serial().to_string();
        self.fan_out(&Publication {
            resource,
            from,
            mtype: kind.as_u8(),
            id: &id,
            flags: flags::ID_NUM,
            ext: None,
            body: body.as_bytes(),
            by: Peer::Core,
        });
    }

    /// Gives each link that is subscribed its copy, or notes that its subscribers missed one.
    fn fan_out(&mut self, publication: &Publication<'_>) {
        let Some(set) = self.bus.subscriptions.of(publication.resource) else { return };
        let (mut receivers, mut away) = (BTreeMap::<Receiver, u32>::new(), 0_u64);
        for (name, one) in set.iter_mut() {
            match one.link {
                Some(link) if Peer::Link(link) == publication.by && is_inbound(publication) => {}
                Some(link) => {
                    let lagged = receivers.entry(receiver(link, name, one)).or_default();
                    *lagged = (*lagged).max(one.lagged);
                }
                None => {
                    one.lagged = one.lagged.saturating_add(1);
                    away = away.saturating_add(1);
                }
            }
        }
        for _ in 0..away {
            self.bus.counters.accept();
            self.bus.counters.refuse(Reason::ReceiverGone);
        }
        let missed = self.copies(publication, receivers);
        let Some(set) = self.bus.subscriptions.of(publication.resource) else { return };
        for (name, one) in set.iter_mut() {
            match one.link.map(|link| missed.contains(&receiver(link, name, one))) {
                Some(true) => one.lagged = one.lagged.saturating_add(1),
                Some(false) => one.lagged = 0,
                None => {}
            }
        }
    }

    /// Hands the copies over; the links that have no room for one.
    fn copies(
        &mut self,
        publication: &Publication<'_>,
        receivers: BTreeMap<Receiver, u32>,
    ) -> Vec<Receiver> {
        let (mut missed, mut same) = (Vec::new(), Vec::new());
        let plain = publication.frame(0, None).map_err(|_e| Reason::TooLarge);
        for ((link, keeper), lagged) in receivers {
            self.bus.counters.accept();
            let marked = if lagged > 0 || keeper.is_some() {
                publication
                    .frame(lagged, keeper.as_deref())
                    .map(Some)
                    .map_err(|_e| Reason::TooLarge)
            } else {
                Ok(None)
            };
            let handed = match (&plain, marked) {
                (Ok(_), Ok(Some(marked))) => self.copy(publication, link, &marked).map(|()| {
                    self.bus.out.push(Effect::Send { link, frame: marked });
                }),
                (Ok(plain), Ok(None)) => {
                    self.copy(publication, link, plain).map(|()| same.push(link))
                }
                (Err(reason), _) => Err(*reason),
                (_, Err(reason)) => Err(reason),
            };
            if let Err(reason) = handed {
                self.bus.counters.refuse(reason);
                missed.push((link, keeper));
            }
        }
        if let (Ok(frame), false) = (plain, same.is_empty()) {
            self.bus.out.push(Effect::Publish { links: same, frame });
        }
        missed
    }

    /// Books one copy.
    fn copy(&mut self, from: &Publication<'_>, link: LinkId, frame: &Frame) -> Result<(), Reason> {
        let bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
        let origin = if from.by == Peer::Core { BY_RUNTIME } else { origin_of(from.by) };
        self.bus.room(link, origin, bytes, Claim::Message)?;
        if self.bus.watchers.is_any()
            && let Ok(view) = frame.view()
        {
            self.watch("out", Peer::Link(link), &view, "copy");
        }
        self.bus.enqueue(link, Waiting { origin, bytes, counted: true });
        Ok(())
    }
}

/// To whom a subscriber's copy goes.
fn receiver(link: LinkId, name: &Arc<str>, one: &Subscriber) -> Receiver {
    (link, one.is_peer().then(|| Arc::clone(name)))
}

/// What an edge or the runtime says of one message, and not of what is made of it.
const fn is_of_one_copy(tag: ExtTag) -> bool {
    matches!(tag, ExtTag::Lagged | ExtTag::Deadline | ExtTag::Peer | ExtTag::Guest)
}

/// It came in through a stub, and does not go back there.
const fn is_inbound(publication: &Publication<'_>) -> bool {
    publication.flags & flags::INBOUND != 0
}
