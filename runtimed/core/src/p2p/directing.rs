//! Messages that go over a connection with another runtime, and what becomes of those that waited
//! for one.

use super::connections::{Connections, domain_of};
use crate::bus::carrier::{Carrier, charge};
use crate::bus::park::Parked;
use crate::bus::step::Facts;
use crate::core::Core;
use crate::input::LinkId;
use crate::settings::Settings;
use crate::ua::{Refusal, StubRoute};
use protocol::address::{Address, RouteKey, SchemeClass};
use protocol::frame::{ExtTag, Frame, FrameBuilder, FrameError, FrameRef, flags, patch};
use protocol::reason::Reason;
use std::sync::Arc;

/// A live connection, as the way of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Direct {
    /// Whose stub.
    pub(crate) key: RouteKey,
    pub(crate) link: LinkId,
    /// The runtime at its other end.
    pub(crate) peer: Arc<str>,
}

/// What is decided of an address without regard to stubs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directly {
    /// Over this connection.
    Over(Direct),
    /// Over one that there is none of yet; by the node if it is not to be had, if there is one.
    Connect { key: RouteKey, has_node: bool },
}

/// Whether and how a message goes without a message node. `wants`: its sender asks for it.
pub(crate) fn directly(
    settings: &Settings,
    connections: &Connections,
    own: &str,
    (to, wants): (&Address, bool),
) -> Option<Directly> {
    let domain = to.domain();
    let proper =
        matches!(to.class(), SchemeClass::Runtime | SchemeClass::Hyperty | SchemeClass::DataObject)
            && to.host() == domain;
    if !proper || !settings.talks_directly(domain) {
        return None;
    }
    let has_node = settings.has_node(domain);
    let any = || connections.any_of(domain).filter(|_| !has_node);
    let over = connections.runtime_of(to).or_else(any).and_then(|peer| {
        let way = connections.used(own, peer)?;
        let (key, link, peer) = (way.key.clone(), way.link, Arc::clone(peer));
        Some(Directly::Over(Direct { key, link, peer }))
    });
    let connect = || {
        let key = RouteKey::P2p(domain.to_owned());
        (wants || !has_node).then_some(Directly::Connect { key, has_node })
    };
    over.or_else(connect)
}

/// The same message with the runtime that it goes to, for a stub that has several.
fn addressed(view: &FrameRef<'_>, peer: &str) -> Result<Frame, FrameError> {
    let mut builder = FrameBuilder::msg(view.header.mtype, view.id(), view.from(), view.to())
        .flag(view.header.flags)
        .code(view.header.code)
        .hops(view.header.hops)
        .ext(ExtTag::Peer, peer.as_bytes())
        .body(view.body());
    for ext in view.ext().flatten().filter(|ext| ext.tag != ExtTag::Peer) {
        builder = builder.ext(ext.tag, ext.value);
    }
    let mut frame = builder.build()?;
    patch::seq(frame.bytes_mut(), view.header.seq);
    patch::origin(frame.bytes_mut(), view.header.origin, view.header.oseq);
    Ok(frame)
}

impl Core {
    /// Hands a message to the stub of a connection.
    pub(crate) fn hand_over_directly(
        &mut self,
        carrier: &Carrier<'_>,
        facts: Facts,
        direct: &Direct,
    ) {
        let Ok(view) = carrier.view() else { return };
        let frame = if view.has(flags::BODY_FD) {
            let text = "a body of this size does not go over a connection with a runtime";
            Err(Refusal::new(Reason::TooLarge, text))
        } else {
            addressed(&view, &direct.peer)
                .map_err(|error| Refusal::new(Reason::TooLarge, error.to_string()))
        };
        match frame {
            Ok(frame) => {
                // Whoever speaks is known at the other end before it speaks.
                self.tell_registry_changes();
                self.ua.used(self.bus.now, &direct.key);
                let bytes = frame.view().map_or(facts.bytes, |view| charge(&view));
                self.hand_over(Carrier::Owned(frame), Facts { bytes, ..facts }, direct.link);
            }
            Err(refusal) => self.refuse(facts.by, &view, &refusal),
        }
    }

    /// A connection is there: what waited for one of its domain goes out, in order.
    pub(super) fn go_directly(&mut self, key: &RouteKey) {
        if self.bus.park.count(key) > 0 {
            self.tell_registry_changes();
        }
        for parked in self.bus.park.take(key) {
            let to = parked.frame.view().ok().and_then(|view| Address::parse(view.to()).ok());
            let way = to.and_then(|to| {
                let (connections, own) = (&self.p2p.connections, &self.bus.runtime);
                directly(&self.settings, connections, own, (&to, true))
            });
            match way {
                Some(Directly::Over(direct)) => self.release_directly(&parked, &direct),
                _ => self.go_by_node(parked, key, &super::unreachable(key)),
            }
        }
    }

    fn release_directly(&mut self, parked: &Parked, direct: &Direct) {
        let frame = parked.frame.view().and_then(|view| addressed(&view, &direct.peer));
        match frame {
            Ok(frame) => {
                let bytes = frame.view().map_or(parked.bytes, |view| charge(&view));
                let Parked { origin, deadline, pending, .. } = *parked;
                self.release(Parked { frame, origin, bytes, deadline, pending }, direct.link);
            }
            Err(error) => {
                let refusal = Refusal::new(Reason::TooLarge, error.to_string());
                self.give_up(parked, &refusal);
            }
        }
    }

    /// There is no connection: what waited for one goes by the message node, if the domain has one.
    pub(crate) fn fall_back(&mut self, key: &RouteKey, refusal: &Refusal) {
        self.bus.names.touch();
        self.node_is_not_reached(key.domain(), refusal);
        for parked in self.bus.park.take(key) {
            self.go_by_node(parked, key, refusal);
        }
    }

    fn go_by_node(&mut self, parked: Parked, key: &RouteKey, refusal: &Refusal) {
        let domain = key.domain();
        if !self.settings.has_node(domain) {
            return self.give_up(&parked, refusal);
        }
        let node = RouteKey::Domain(domain.to_owned());
        let cause = "messages that no connection with a runtime was there for";
        match self.ua.stub_for(self.bus.now, &node, cause, &mut self.ua_out) {
            StubRoute::Ready { link, .. } => self.release(parked, link),
            StubRoute::Deploying | StubRoute::Absent => {
                if self.bus.park.room(&node, parked.origin, parked.bytes).is_ok() {
                    self.bus.park.push(&node, parked);
                } else {
                    let text = "too many messages wait for this domain";
                    self.give_up(&parked, &Refusal::new(Reason::ParkFull, text));
                }
            }
            StubRoute::Refused(refusal) => self.give_up(&parked, &refusal),
        }
    }

    /// The way by the node for what cannot even start to go directly.
    pub(crate) fn or_by_node(
        &mut self,
        (key, route): (RouteKey, StubRoute),
        cause: &str,
    ) -> (RouteKey, StubRoute) {
        let lost = matches!((&key, &route), (RouteKey::P2p(_), StubRoute::Refused(_)));
        if !lost || !self.settings.has_node(key.domain()) {
            return (key, route);
        }
        let node = RouteKey::Domain(domain_of(key.domain()).to_owned());
        let route = self.ua.stub_for(self.bus.now, &node, cause, &mut self.ua_out);
        (node, route)
    }
}
