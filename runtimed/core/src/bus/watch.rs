//! What operators see of the traffic: monitor rows, and refusals as coalesced events.

use super::Peer;
use crate::core::Core;
use crate::effect::{Effect, ReplyTo};
use crate::input::Token;
use crate::limits::{
    EVENT_TEXT_BYTES, MONITOR_BODY_BYTES, MONITORS_MAX, REFUSED_EVENT_MOST_MS, REFUSED_EVENT_MS,
};
use crate::resolve::IDENTITY;
use crate::ua::rates::Seldom;
use crate::ua::{Happened, Refusal, bounded};
use protocol::control::{MonitorRow, Reply};
use protocol::frame::{FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;
use std::collections::BTreeMap;

/// Operators that watch; each with or without bodies.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    streams: BTreeMap<Token, bool>,
    /// Refusals of what the runtime said itself, one of each reason.
    own: Vec<Coalesced>,
}

impl Watchers {
    /// Whether anybody watches.
    pub(crate) fn is_any(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Adds one; false if there are too many.
    pub(crate) fn add(&mut self, token: Token, bodies: bool) -> bool {
        let free = self.streams.len() < MONITORS_MAX;
        if free {
            self.streams.insert(token, bodies);
        }
        free
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, token: Token) {
        self.streams.remove(&token);
    }
}

/// Equal refusals of one link.
#[derive(Debug)]
pub(crate) struct Coalesced {
    reason: Reason,
    events: Seldom,
}

/// Whether what is said here may be credentials: whoever watches is not the stub that they are of.
fn is_secret(address: &str) -> bool {
    address.trim_end_matches('/').rsplit('/').next() == Some(IDENTITY)
}

impl Core {
    /// Tells the watchers of a message. Call it only if there are any.
    pub(crate) fn watch(&mut self, dir: &str, by: Peer, view: &FrameRef<'_>, outcome: &str) {
        let link = self.peer_name(by);
        let kind = MessageType::from_u8(view.header.mtype).map_or("unknown", MessageType::word);
        let inline = !view.has(flags::BODY_FD)
            && view.body().len() <= MONITOR_BODY_BYTES
            && !(is_secret(view.from()) || is_secret(view.to()));
        let body = inline.then(|| String::from_utf8_lossy(view.body()).into_owned());
        let row = MonitorRow {
            time_ms: self.settings.epoch_ms.saturating_add(self.bus.now.0),
            dir: dir.to_owned(),
            link,
            kind: kind.to_owned(),
            id: view.id().to_owned(),
            from: view.from().to_owned(),
            to: view.to().to_owned(),
            bytes: u64::try_from(view.header.len).unwrap_or(u64::MAX),
            outcome: outcome.to_owned(),
            body: None,
        };
        for (token, bodies) in &self.bus.watchers.streams {
            let body = body.clone().filter(|_| *bodies);
            let reply = Reply::Monitor(Box::new(MonitorRow { body, ..row.clone() }));
            let (token, reply) = (*token, Box::new(reply));
            self.bus.out.push(Effect::Reply { token, reply, to: ReplyTo::More });
        }
    }

    /// The name of a peer for an operator.
    pub(crate) fn peer_name(&self, peer: Peer) -> String {
        match peer {
            Peer::Core => "runtime".to_owned(),
            Peer::Operator(token) => format!("ctl/{}", token.0),
            Peer::Link(id) => match self.ua.bridge_of(id) {
                Some(bridge) => bridge.key.to_string(),
                None => self.bus.link_name(id),
            },
        }
    }

    /// Records a refusal, equal ones of a second as one.
    pub(crate) fn refused_event(&mut self, by: Peer, view: &FrameRef<'_>, refusal: &Refusal) {
        let Some(times) = self.coalesce(by, refusal.reason) else { return };
        let text = |text: &str| bounded(text, EVENT_TEXT_BYTES);
        let (from, to, desc) = (text(view.from()), text(view.to()), text(&refusal.desc));
        let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
        let detail = format!("{from} -> {to}: {desc}{times}");
        self.record_refusal(by, refusal.reason, &detail);
    }

    /// Writes the event.
    pub(crate) fn record_refusal(&mut self, by: Peer, reason: Reason, detail: &str) {
        let event = if reason == Reason::Flood { "flood" } else { "refused" };
        let name = self.peer_name(by);
        let mut happened = Happened::new(event, &name, detail).reason(reason.token());
        if let Peer::Link(id) = by
            && let Some(super::LinkKind::Worker { sandbox }) =
                self.bus.links.get(&id).map(|link| &link.kind)
        {
            happened = happened.sandbox(*sandbox);
        }
        self.ua.event(self.bus.now, happened, &mut self.ua_out);
    }

    /// How many refusals the event stands for; `None` if it is not time yet. Of what a stub does wrong,
    /// or somebody behind it, it is told ever more rarely while that goes on.
    pub(crate) fn coalesce(&mut self, by: Peer, reason: Reason) -> Option<u64> {
        let now = self.bus.now;
        let (all, most) = match by {
            Peer::Link(id) => {
                let link = self.bus.links.get_mut(&id)?;
                let worker = matches!(link.kind, super::LinkKind::Worker { .. });
                let most = if worker { REFUSED_EVENT_MOST_MS } else { REFUSED_EVENT_MS };
                (&mut link.refused, most)
            }
            Peer::Core => (&mut self.bus.watchers.own, REFUSED_EVENT_MS),
            Peer::Operator(_) => return Some(1),
        };
        if !all.iter().any(|known| known.reason == reason) {
            all.push(Coalesced { reason, events: Seldom::default() });
        }
        let known = all.iter_mut().find(|known| known.reason == reason)?;
        known.events.take_within(now, 1, most)
    }
}
