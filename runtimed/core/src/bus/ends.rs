//! What becomes of messages when a link ends, a route opens, or a deadline comes.

use super::egress::{Claim, Waiting};
use super::park::Parked;
use super::pending::{IdText, PendingKey, PendingRef, Waits};
use super::step::{no_room, origin_of};
use super::{LinkKind, Peer, carrier::charge};
use crate::core::Core;
use crate::effect::Effect;
use crate::input::LinkId;
use crate::ua::{Happened, Refusal, StubRoute};
use protocol::address::{Address, RouteKey};
use protocol::frame::{ExtTag, Frame, FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;

/// A frame that was not handed over when its link ended.
#[derive(Debug)]
pub(crate) struct Orphan {
    frame: Frame,
    /// Whether it is an accepted message.
    pub(crate) counted: bool,
}

const REMOVED: &str = "the stub took the message and was removed before it answered";
const DIED: &str = "the stub took the message and died before it answered";

impl Core {
    /// An application's connection ended.
    pub(crate) fn app_left(&mut self, id: LinkId, unsent: Vec<Frame>) {
        let Some(link) = self.bus.links.get(&id) else { return };
        let LinkKind::App { name, uid } = link.kind.clone() else { return };
        let below_runtime = format!("{}/", self.bus.runtime);
        // What it reported ends with it.
        let objects = &self.bus.objects;
        let kept = link.addresses.iter().filter(|text| {
            !text.starts_with(&below_runtime) && !objects.is_one(text) && !objects.is_part(text)
        });
        let kept: Vec<_> = kept.cloned().collect();
        self.link_ended(id, unsent);
        for address in kept {
            self.reserve(&address, uid);
            self.connected(&address, false);
            self.registered(&address, false);
        }
        self.finish(id, &Refusal::new(Reason::ReceiverGone, no_room(Reason::ReceiverGone)));
        let happened = Happened::new("app-left", &name, "its connection ended");
        self.ua.event(self.bus.now, happened, &mut self.ua_out);
    }

    /// A link is gone: its addresses, subscriptions and requests go with it. What waits for its
    /// answers is settled by [`Self::finish`] or [`Self::stub_down`].
    pub(crate) fn link_ended(&mut self, id: LinkId, unsent: Vec<Frame>) {
        let bytes = self.bus.links.get(&id).map_or(0, |link| link.egress.bytes());
        let Some(mut link) = self.bus.links.remove(&id) else { return };
        if let LinkKind::Worker { sandbox } = link.kind {
            self.bus.sandboxes.remove(&sandbox);
        }
        self.bus.egress_sub(bytes);
        let (delivered, counted) = link.egress.end(unsent.len());
        self.bus.counters.delivered = self.bus.counters.delivered.saturating_add(delivered);
        let orphans = unsent.into_iter().zip(counted);
        let orphans = orphans.map(|(frame, counted)| Orphan { frame, counted }).collect();
        self.bus.orphans.insert(id, orphans);
        for address in &link.addresses {
            self.bus.names.unregister(address);
        }
        self.peer_link_ended(id);
        self.bus.names.touch();
        self.bus.slow.forget(id);
        for resource in self.bus.subscriptions.forget(id) {
            self.abandoned(&resource);
        }
        self.end_objects(id);
        for at in self.bus.pending.select(|pending| pending.peer == Peer::Link(id)) {
            let _pending = self.bus.forget(at);
        }
    }

    /// Settles what an ended link leaves behind when nothing of it comes again.
    pub(crate) fn finish(&mut self, id: LinkId, refusal: &Refusal) {
        for orphan in self.bus.orphans.remove(&id).unwrap_or_default() {
            if orphan.counted {
                self.bus.counters.refuse(refusal.reason);
            }
        }
        self.fail_all(|waits| *waits == Waits::At(Peer::Link(id)), refusal);
    }

    fn fail_all(&mut self, which: impl Fn(&Waits) -> bool, refusal: &Refusal) {
        for at in self.bus.pending.select(|pending| which(&pending.waits)) {
            self.fail(at, refusal);
        }
    }

    /// A stub is gone. What it never took waits if the stub comes again; what it took and did not
    /// answer is lost with it.
    pub(crate) fn stub_down(&mut self, key: &RouteKey, id: LinkId, again: bool, refusal: &Refusal) {
        let mut parked = Vec::new();
        for orphan in self.bus.orphans.remove(&id).unwrap_or_default() {
            if !orphan.counted {
                continue;
            }
            let pending = orphan.frame.view().ok().and_then(|view| self.request_of(&view));
            let asks = orphan.frame.view().is_ok_and(|view| view.has(flags::REPLY));
            if asks && pending.is_none() {
                // Its deadline has passed, and whoever asked was told.
                self.bus.counters.expired = self.bus.counters.expired.saturating_add(1);
                continue;
            }
            match self.parked_again(orphan.frame, key, pending) {
                Some(once_more) if again => parked.push(once_more),
                _ => {
                    self.bus.counters.refuse(refusal.reason);
                    if let Some(at) = pending {
                        self.fail(at, refusal);
                    }
                }
            }
        }
        for once_more in &parked {
            self.bus.moved(once_more.pending, Waits::Parked);
        }
        self.bus.park.push_front(key, parked);
        self.node_is_lost(key, again, refusal);
        let lost = match refusal.reason {
            Reason::Undeployed | Reason::Stopping if !again => {
                Refusal::new(refusal.reason, REMOVED)
            }
            _ => Refusal::new(Reason::StubDied, DIED),
        };
        self.fail_all(|waits| *waits == Waits::At(Peer::Link(id)), &lost);
        let is_any = self.bus.park.count(key) > 0;
        if is_any && self.ua.route(self.bus.now, key) == StubRoute::Absent {
            let cause = "messages that the stopped stub had not taken";
            match self.ua.stub_for(self.bus.now, key, cause, &mut self.ua_out) {
                StubRoute::Refused(refusal) => self.failed(key, &refusal),
                StubRoute::Ready { .. } | StubRoute::Deploying | StubRoute::Absent => {}
            }
        }
    }

    /// The request that a message is, if it still waits.
    fn request_of(&self, view: &FrameRef<'_>) -> Option<PendingRef> {
        let requester = self.bus.names.find(view.from())?;
        self.bus.pending.find(&PendingKey { requester, id: IdText::new(view.id()) })
    }

    /// The message as it is parked once more, if it belongs to this route.
    fn parked_again(
        &self,
        frame: Frame,
        key: &RouteKey,
        pending: Option<PendingRef>,
    ) -> Option<Parked> {
        let view = frame.view().ok()?;
        let response = view.header.mtype == MessageType::Response.as_u8();
        let route = Address::parse(view.to()).ok()?.route_key(&self.settings.domain);
        let own = matches!(key, RouteKey::Hyperty(url) if view.to() == url);
        let direct = matches!(
            (key, &route),
            (RouteKey::P2p(domain), Some(RouteKey::Domain(to))) if domain == to
        );
        if response || !own && !direct && route.as_ref() != Some(key) {
            return None;
        }
        let request = pending.and_then(|at| self.bus.pending.get(at));
        let origin = request.map_or_else(|| origin_peer(&view), |request| request.peer);
        let deadline = request.map_or_else(
            || self.bus.deadline(view.ext().find(ExtTag::Deadline)),
            |request| request.deadline,
        );
        let bytes = charge(&view);
        Some(Parked { frame, origin, bytes, deadline, pending })
    }

    /// A route is open: what is parked goes out, in order, before anything newer.
    pub(crate) fn active(&mut self, key: &RouteKey, link: LinkId, url: &Address) {
        self.give(link, url.as_str());
        self.bus.names.touch();
        if !matches!(key, RouteKey::P2p(_)) {
            for parked in self.bus.park.take(key) {
                self.release(parked, link);
            }
        }
        self.peer_stub_active(key, url);
        self.node_is_back(key);
        if let RouteKey::Hyperty(url) = key {
            self.hyperty_is_here(link, url);
        }
        self.tell_created(key);
    }

    pub(crate) fn release(&mut self, parked: Parked, to: LinkId) {
        let origin = origin_of(parked.origin);
        let bytes = parked.bytes;
        if let Err(reason) = self.bus.room(to, origin, bytes, Claim::Response) {
            self.note_slow(to);
            let refusal = Refusal::new(reason, no_room(reason));
            return self.give_up(&parked, &refusal);
        }
        self.bus.moved(parked.pending, Waits::At(Peer::Link(to)));
        if self.bus.watchers.is_any()
            && let Ok(view) = parked.frame.view()
        {
            let outcome = format!("deliver {}", self.bus.link_name(to));
            self.watch("in", parked.origin, &view, &outcome);
        }
        self.bus.enqueue(to, Waiting { origin, bytes, counted: true });
        self.bus.out.push(Effect::Send { link: to, frame: parked.frame });
    }

    /// Refuses a parked message.
    pub(crate) fn give_up(&mut self, parked: &Parked, refusal: &Refusal) {
        self.bus.counters.refuse(refusal.reason);
        if self.bus.watchers.is_any()
            && let Ok(view) = parked.frame.view()
        {
            self.watch("in", parked.origin, &view, &format!("refuse {}", refusal.reason));
        }
        if let Some(at) = parked.pending {
            self.fail(at, refusal);
        }
    }

    /// A deploy failed: what is parked is answered.
    pub(crate) fn failed(&mut self, key: &RouteKey, refusal: &Refusal) {
        self.bus.names.touch();
        if matches!(key, RouteKey::P2p(_)) {
            self.peer_stub_down(key, false);
            self.fall_back(key, refusal);
        }
        for parked in self.bus.park.take(key) {
            self.give_up(&parked, refusal);
        }
        self.fail_all(|waits| matches!(waits, Waits::Deploy(k) if k == key), refusal);
    }

    /// Deadlines.
    pub(crate) fn sweep(&mut self) {
        let late = Refusal::new(Reason::Deadline, "no answer within the deadline");
        for parked in self.bus.park.due(self.bus.now) {
            self.bus.counters.expired = self.bus.counters.expired.saturating_add(1);
            if self.bus.watchers.is_any()
                && let Ok(view) = parked.frame.view()
            {
                self.watch("in", parked.origin, &view, "expire");
            }
            if let Some(at) = parked.pending {
                self.expire(at, &late);
            }
        }
        for at in self.bus.pending.due(self.bus.now) {
            self.expire(at, &late);
        }
    }

    fn expire(&mut self, at: PendingRef, late: &Refusal) {
        if self.bus.pending.get(at).is_some() {
            self.bus.counters.deadlines = self.bus.counters.deadlines.saturating_add(1);
            self.fail(at, late);
        }
    }

    /// The runtime stops: everything that waits is answered.
    pub(crate) fn stop_bus(&mut self) {
        self.bus.stopping = true;
        let stopping = Refusal::new(Reason::Stopping, "the runtime is stopping");
        let keys: Vec<RouteKey> = self.bus.park.keys().map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.failed(&key, &stopping);
        }
        self.fail_all(|_| true, &stopping);
    }
}

/// Who sent a frame, by what the runtime wrote into it.
fn origin_peer(view: &FrameRef<'_>) -> Peer {
    match u32::try_from(view.header.origin) {
        Ok(number) if number > 0 => Peer::Link(LinkId(number)),
        _ => Peer::Core,
    }
}
