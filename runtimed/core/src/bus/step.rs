//! One step for one message: who says it, may they, where does it go.

use super::carrier::{Carrier, Stamp, charge, respelled};
use super::egress::{Claim, Waiting};
use super::names::NameId;
use super::park::{ParkError, Parked};
use super::pending::{IdText, Pending, PendingKey, PendingRef, Waits};
use super::voice::Voice;
use super::{LinkKind, MemoRoute, Peer};
use crate::core::Core;
use crate::input::{LinkId, Time};
use crate::limits::{PENDING_PER_LINK, PENDING_TOTAL};
use crate::resolve::Target;
use crate::ua::{Refusal, StubRoute, UaInput};
use protocol::address::{Address, RouteKey};
use protocol::frame::{ExtTag, Frame, FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;
use std::sync::Arc;

/// Why a step ends early.
pub(super) enum Halt {
    /// The same message must be spelled canonically first.
    Respell(Frame),
    /// It goes nowhere.
    Refuse(Refusal),
}

impl Halt {
    pub(super) fn refuse(reason: Reason, desc: &str) -> Self {
        Self::Refuse(Refusal::new(reason, desc))
    }
}

/// What is known of the addresses of a message.
struct Known {
    from_id: Option<NameId>,
    to_id: Option<NameId>,
    voice: Voice,
    route: Option<MemoRoute>,
}

/// What was read from a message before it is moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) by: Peer,
    pub(crate) voice: Voice,
    pub(crate) reply: bool,
    pub(crate) bytes: u32,
    pub(crate) deadline: Time,
    pub(crate) stamp: Stamp,
}

enum Verdict {
    Response,
    Send { to: LinkId, key: Option<Arc<RouteKey>> },
    Resolved(Target, Facts),
}

impl Core {
    /// A message came in by a link.
    pub(crate) fn on_frame(&mut self, link: LinkId, bytes: &mut [u8]) {
        if let Some(sender) = self.bus.links.get_mut(&link) {
            sender.heard = self.bus.now;
            self.bus.counters.accept();
            self.step(Peer::Link(link), Carrier::InPlace(bytes));
        }
    }

    /// Decides what becomes of an accepted message, and does it.
    pub(crate) fn step(&mut self, by: Peer, carrier: Carrier<'_>) {
        let view = match carrier.view() {
            Ok(view) => view,
            Err(error) => {
                let text = error.to_string();
                return self.broken_frame(by, text);
            }
        };
        match self.judge(by, &view) {
            Ok((Verdict::Response, facts)) => self.respond(carrier, facts),
            Ok((Verdict::Send { to, key }, facts)) => {
                if let Some(key) = key {
                    self.ua.used(self.bus.now, &key);
                }
                self.hand_over(carrier, facts, to);
            }
            Ok((Verdict::Resolved(target, facts), _)) => self.carry_out(carrier, facts, target),
            Err(Halt::Refuse(refusal)) => self.refuse(by, &view, &refusal),
            Err(Halt::Respell(frame)) => self.step(by, Carrier::Owned(frame)),
        }
    }

    /// A frame whose texts are none: the link's end does not keep to the protocol.
    fn broken_frame(&mut self, by: Peer, text: String) {
        self.bus.counters.refuse(Reason::Malformed);
        let Peer::Link(id) = by else { return };
        let Some(link) = self.bus.links.get(&id) else { return };
        if let LinkKind::Worker { sandbox } = link.kind {
            self.sandbox(UaInput::Violation { sandbox, text });
        }
    }

    fn judge(&mut self, by: Peer, view: &FrameRef<'_>) -> Result<(Verdict, Facts), Halt> {
        let Some(kind) = MessageType::from_u8(view.header.mtype) else {
            return Err(Halt::refuse(Reason::UnknownType, "this type of message is not known"));
        };
        self.meter(by)?;
        let known = match self.recall(by, view) {
            Some(known) => known,
            None => {
                let known = self.recognise(by, view)?;
                self.remember(by, view, &known, None);
                known
            }
        };
        self.check_sources(by, view)?;
        self.check_guest(by, view)?;
        let facts = self.facts(by, view, known.voice);
        if kind == MessageType::Response {
            return Ok((Verdict::Response, facts));
        }
        self.check_request(by, view, known.from_id)?;
        match known.route {
            Some(MemoRoute::Local(Peer::Link(to))) => Ok((Verdict::Send { to, key: None }, facts)),
            Some(MemoRoute::Stub(key, to)) => Ok((Verdict::Send { to, key: Some(key) }, facts)),
            Some(MemoRoute::Local(_)) | None => {
                let target = self.find_target(by, view, &known)?;
                Ok((Verdict::Resolved(target, facts), facts))
            }
        }
    }

    fn facts(&self, by: Peer, view: &FrameRef<'_>, voice: Voice) -> Facts {
        let origin = if let Peer::Link(link) = by { u64::from(link.0) } else { 0 };
        let kept = view.header.flags & !flags::DAEMON_ONLY;
        Facts {
            by,
            voice,
            reply: view.has(flags::REPLY),
            bytes: charge(view),
            deadline: self.bus.deadline(view.ext().find(ExtTag::Deadline)),
            stamp: Stamp {
                flags: if voice.is_inbound() { kept | flags::INBOUND } else { kept },
                origin,
                oseq: view.header.seq,
                hops: view.header.hops.saturating_sub(1),
            },
        }
    }

    /// A worker has a rate.
    fn meter(&mut self, by: Peer) -> Result<(), Halt> {
        if let Peer::Link(id) = by
            && let Some(link) = self.bus.links.get_mut(&id)
            && matches!(link.kind, LinkKind::Worker { .. })
            && !link.rate.take(self.bus.now)
        {
            return Err(Halt::refuse(Reason::Flood, "more messages than the rate allows"));
        }
        Ok(())
    }

    /// What is remembered of the same pair of addresses.
    fn recall(&self, by: Peer, view: &FrameRef<'_>) -> Option<Known> {
        let Peer::Link(id) = by else { return None };
        let memo = self.bus.links.get(&id)?.memo.as_ref()?;
        let same = memo.epoch == self.bus.names.epoch()
            && memo.from == view.from()
            && memo.to == view.to();
        same.then(|| Known {
            from_id: memo.from_id,
            to_id: memo.to_id,
            voice: memo.voice,
            route: memo.route.clone(),
        })
    }

    /// Reads both addresses; says so if the frame must be spelled canonically first.
    fn recognise(&mut self, by: Peer, view: &FrameRef<'_>) -> Result<Known, Halt> {
        let from_id = self.bus.names.find(view.from());
        let own = from_id.is_some() && self.bus.names.owner(view.from()) == Some(by);
        let (from, voice) = if own {
            (None, Voice::Own)
        } else {
            let from = Address::parse(view.from())
                .map_err(|error| Halt::refuse(Reason::BadAddress, &format!("from: {error}")))?;
            let voice = self.may_speak(by, &from).ok_or_else(|| {
                Halt::refuse(Reason::Forged, "the sender does not own the address in from")
            })?;
            (Some(from), voice)
        };
        let to_id = self.bus.names.find(view.to());
        let to = if to_id.is_some() {
            None
        } else {
            let parsed = Address::parse(view.to());
            Some(parsed.map_err(|e| Halt::refuse(Reason::BadAddress, &format!("to: {e}")))?)
        };
        let from_text = from.as_ref().map_or(view.from(), Address::as_str);
        let to_text = to.as_ref().map_or(view.to(), Address::as_str);
        if from_text != view.from() || to_text != view.to() {
            if view.has(flags::BODY_FD) {
                return Err(Halt::refuse(Reason::BadAddress, "an address is not canonical"));
            }
            let frame = respelled(view, from_text, to_text)
                .map_err(|error| Halt::refuse(Reason::TooLarge, &error.to_string()))?;
            return Err(Halt::Respell(frame));
        }
        Ok(Known { from_id, to_id, voice, route: None })
    }

    /// What the body says of its source is held to the same rule as `from`.
    fn check_sources(&self, by: Peer, view: &FrameRef<'_>) -> Result<(), Halt> {
        if by == Peer::Core {
            return Ok(());
        }
        for ext in view.ext() {
            let Ok(ext) = ext else {
                return Err(Halt::refuse(Reason::Malformed, "the extensions do not add up"));
            };
            if ext.tag != ExtTag::Source {
                continue;
            }
            let source = std::str::from_utf8(ext.value).unwrap_or_default();
            let owned = source == view.from() || self.bus.names.owner(source) == Some(by);
            let spoken = owned
                || Address::parse(source)
                    .is_ok_and(|address| self.may_speak(by, &address).is_some());
            if !spoken {
                let text = "the sender may not speak for the address named in the body";
                return Err(Halt::refuse(Reason::ForgedSource, text));
            }
        }
        Ok(())
    }

    fn check_request(
        &self,
        by: Peer,
        view: &FrameRef<'_>,
        from_id: Option<NameId>,
    ) -> Result<(), Halt> {
        if self.bus.stopping {
            return Err(Halt::refuse(Reason::Stopping, "the runtime is stopping"));
        }
        if view.header.hops == 0 {
            return Err(Halt::refuse(Reason::Loop, "the message went round in a loop"));
        }
        if !view.has(flags::REPLY) {
            return Ok(());
        }
        if view.id().is_empty() {
            return Err(Halt::refuse(Reason::Malformed, "a request needs an id"));
        }
        if let Some(requester) = from_id.or_else(|| self.bus.names.find(view.from())) {
            let key = PendingKey { requester, id: IdText::new(view.id()) };
            if self.bus.pending.find(&key).is_some() {
                return Err(Halt::refuse(Reason::DuplicateId, "this id is still pending"));
            }
        }
        let own = match by {
            Peer::Link(id) => self.bus.links.get(&id).map_or(0, |link| link.pending),
            Peer::Core | Peer::Operator(_) => 0,
        };
        if own >= PENDING_PER_LINK || self.bus.pending.len() >= PENDING_TOTAL {
            return Err(Halt::refuse(Reason::Overloaded, "too many requests wait for responses"));
        }
        Ok(())
    }

    fn find_target(
        &mut self,
        by: Peer,
        view: &FrameRef<'_>,
        known: &Known,
    ) -> Result<Target, Halt> {
        let target = self.target(by, view).map_err(Halt::Refuse)?;
        let route = match &target {
            Target::Local(peer @ Peer::Link(to))
                if !(known.voice.is_inbound() && Peer::Link(*to) == by) =>
            {
                Some(MemoRoute::Local(*peer))
            }
            // Of the same pair, one message may ask for a connection and the next not.
            Target::Stub(key, StubRoute::Ready { link, .. })
                if !self.settings.talks_directly(key.domain()) =>
            {
                Some(MemoRoute::Stub(Arc::new(key.clone()), *link))
            }
            _ => None,
        };
        if route.is_some() {
            self.remember(by, view, known, route);
        }
        Ok(target)
    }

    /// Where it goes. What leads there is started.
    pub(super) fn target(&mut self, by: Peer, view: &FrameRef<'_>) -> Result<Target, Refusal> {
        let to = Address::parse(view.to())
            .map_err(|error| Refusal::new(Reason::BadAddress, format!("to: {error}")))?;
        let mut resolver = self.resolver(view.has(flags::P2P));
        Ok(match resolver.decide(self.bus.now, by, &to) {
            Target::Refuse(refusal) => return Err(refusal),
            Target::Publication if self.publishes_for_others(by, view.from(), &to) => {
                let text = "whoever came publishes in its own domain alone";
                return Err(Refusal::new(Reason::Forged, text));
            }
            // Only the start itself may tell whether a failure's time is over.
            Target::Stub(key, StubRoute::Absent | StubRoute::Refused(_)) => {
                let cause = format!("{} from {}", view.to(), view.from());
                let route = self.ua.stub_for(self.bus.now, &key, &cause, &mut self.ua_out);
                let (key, route) = self.or_by_node((key, route), &cause);
                Target::Stub(key, route)
            }
            other => other,
        })
    }

    fn remember(&mut self, by: Peer, view: &FrameRef<'_>, known: &Known, route: Option<MemoRoute>) {
        let Peer::Link(id) = by else { return };
        let epoch = self.bus.names.epoch();
        // A row that only requests hold may go before ownership changes.
        let lasting =
            |text: &str, row: Option<NameId>| row.filter(|_| self.bus.names.owner(text).is_some());
        let from_id = lasting(view.from(), known.from_id);
        let to_id = lasting(view.to(), known.to_id);
        if let Some(link) = self.bus.links.get_mut(&id) {
            let memo = link.memo.get_or_insert_default();
            memo.from.clear();
            memo.from.push_str(view.from());
            memo.to.clear();
            memo.to.push_str(view.to());
            (memo.epoch, memo.voice, memo.route) = (epoch, known.voice, route);
            (memo.from_id, memo.to_id) = (from_id, to_id);
        }
    }

    pub(super) fn carry_out(&mut self, carrier: Carrier<'_>, facts: Facts, target: Target) {
        let refusal = match target {
            Target::Local(Peer::Link(to)) => {
                if facts.voice.is_inbound() && facts.by == Peer::Link(to) {
                    Refusal::new(Reason::Loop, "a message does not go back where it came from")
                } else {
                    return self.hand_over(carrier, facts, to);
                }
            }
            Target::Local(Peer::Core | Peer::Operator(_)) => {
                Refusal::new(Reason::UnknownAddress, "nobody listens at this address")
            }
            Target::Stub(key, StubRoute::Ready { link, .. }) => {
                self.ua.used(self.bus.now, &key);
                return self.hand_over(carrier, facts, link);
            }
            Target::Stub(key, StubRoute::Deploying | StubRoute::Absent) => {
                return self.park(carrier, facts, &key);
            }
            Target::Direct(direct) => return self.hand_over_directly(&carrier, facts, &direct),
            Target::Builtin(builtin) => return self.built_in(&carrier, facts, builtin),
            Target::Publication => return self.publication(carrier, facts),
            Target::Refuse(refusal) | Target::Stub(_, StubRoute::Refused(refusal)) => refusal,
        };
        if let Ok(view) = carrier.view() {
            self.refuse(facts.by, &view, &refusal);
        }
    }

    /// Hands the message to a link, if it has room.
    pub(crate) fn hand_over(&mut self, mut carrier: Carrier<'_>, facts: Facts, to: LinkId) {
        let origin = origin_of(facts.by);
        let room = self.bus.room(to, origin, facts.bytes, Claim::Message);
        let Ok(view) = carrier.view() else { return };
        if let Err(reason) = room {
            if reason == Reason::SlowConsumer {
                self.note_slow(to);
            }
            return self.refuse(facts.by, &view, &Refusal::new(reason, no_room(reason)));
        }
        if facts.reply {
            let _at = self.await_response(&view, facts, Waits::At(Peer::Link(to)));
        }
        if self.bus.watchers.is_any() {
            let outcome = format!("deliver {}", self.bus.link_name(to));
            self.watch("in", facts.by, &view, &outcome);
        }
        carrier.stamp(facts.stamp);
        self.bus.enqueue(to, Waiting { origin, bytes: facts.bytes, counted: true });
        self.bus.out.push(carrier.into_effect(to));
    }

    /// Enters the request that a message is.
    pub(super) fn await_response(
        &mut self,
        view: &FrameRef<'_>,
        facts: Facts,
        waits: Waits,
    ) -> PendingRef {
        if let Peer::Link(id) = facts.by
            && let Some(link) = self.bus.links.get_mut(&id)
        {
            link.pending = link.pending.saturating_add(1);
        }
        let requester = self.bus.names.hold(view.from());
        let asked = self.bus.names.hold(view.to());
        self.bus.pending.insert(Pending {
            key: PendingKey { requester, id: IdText::new(view.id()) },
            peer: facts.by,
            asked,
            waits,
            deadline: facts.deadline,
            id_num: view.has(flags::ID_NUM),
            provisional: 0,
            relay: None,
        })
    }

    fn park(&mut self, mut carrier: Carrier<'_>, facts: Facts, key: &RouteKey) {
        let room = self.bus.park.room(key, facts.by, facts.bytes);
        let Ok(view) = carrier.view() else { return };
        let refusal = match room {
            Err(ParkError::KeyFull) => {
                Some(Refusal::new(Reason::ParkFull, "too many messages wait for this domain"))
            }
            Err(ParkError::AllFull) => {
                Some(Refusal::new(Reason::Overloaded, "too many messages wait for all domains"))
            }
            Ok(()) if view.has(flags::BODY_FD) => {
                let text = "a body of this size cannot wait for a stub that is being started";
                Some(Refusal::new(Reason::TooLarge, text))
            }
            Ok(()) => None,
        };
        if let Some(refusal) = refusal {
            return self.refuse(facts.by, &view, &refusal);
        }
        let pending = facts.reply.then(|| self.await_response(&view, facts, Waits::Parked));
        if self.bus.watchers.is_any() {
            self.watch("in", facts.by, &view, &format!("park {key}"));
        }
        carrier.stamp(facts.stamp);
        if let Ok(frame) = carrier.into_frame() {
            let (origin, bytes, deadline) = (facts.by, facts.bytes, facts.deadline);
            self.bus.park.push(key, Parked { frame, origin, bytes, deadline, pending });
        }
    }
}

/// The sentence for a receiver that has no room.
pub(super) const fn no_room(reason: Reason) -> &'static str {
    match reason {
        Reason::SlowConsumer => "the receiver does not take its messages fast enough",
        Reason::Overloaded => "the runtime holds as much as it may",
        _ => "the receiver's connection ended",
    }
}

/// Number under which a peer's frames are charged to their receivers.
pub(super) const fn origin_of(by: Peer) -> u32 {
    match by {
        Peer::Link(link) => link.0,
        Peer::Core | Peer::Operator(_) => super::egress::BY_RUNTIME,
    }
}
