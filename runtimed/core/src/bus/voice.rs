//! As whom a link may speak (CONTRACT §3, ADR 0010).

use super::Peer;
use super::step::Halt;
use crate::core::Core;
use protocol::address::{Address, RouteKey, SchemeClass, is_within};
use protocol::frame::{ExtTag, FrameRef};
use protocol::message::MessageType;
use protocol::reason::Reason;

/// In what right a sender speaks as an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Voice {
    /// It is its own address.
    #[default]
    Own,
    /// A stub speaks for somebody of the domain that it serves.
    Served,
    /// The home domain's own stub brings in what somebody of a foreign domain said to us.
    Foreign,
}

impl Voice {
    /// Whether somebody remote speaks.
    pub(crate) fn is_inbound(self) -> bool {
        self != Self::Own
    }
}

impl Core {
    /// Whether `by` may speak as `address`, and in what right.
    pub(crate) fn may_speak(&self, by: Peer, address: &Address) -> Option<Voice> {
        if let Some(owner) = self.bus.names.owner_at_or_above(address.as_str())
            && !self.resolver(false).will_own(by, address.as_str())
        {
            return (owner == by && by != Peer::Core).then_some(Voice::Own);
        }
        let Peer::Link(link) = by else { return None };
        let bridge = self.ua.bridge_of(link)?;
        if is_within(address.as_str(), bridge.url.as_str()) {
            return Some(Voice::Own);
        }
        if self.bus.names.is_reserved(address.as_str()) {
            return None;
        }
        if matches!(bridge.key, RouteKey::P2pHandler(_) | RouteKey::P2p(_)) {
            return self.p2p.connections.speaks(link, address).then_some(Voice::Served);
        }
        let key = address.route_key(&self.settings.domain)?;
        let (served, foreign) = match address.class() {
            SchemeClass::User | SchemeClass::Session => (false, false),
            // Whoever speaks for a back end or an identity provider is believed: the domain itself.
            SchemeClass::Backend | SchemeClass::Idp => (true, false),
            SchemeClass::Runtime
            | SchemeClass::Hyperty
            | SchemeClass::DataObject
            | SchemeClass::Legacy => (true, true),
        };
        if served && key == bridge.key {
            return Some(Voice::Served);
        }
        let home = key.domain() == self.settings.domain;
        (foreign && !home && self.is_home_stub(&bridge.key)).then_some(Voice::Foreign)
    }

    /// Whoever came to the handler of connections speaks for the domain of its certificate, which the
    /// worker's edge names; the handler knows all of them and is not believed whom it means. What it
    /// says by itself is of itself, or answers what it was asked to hand on; what it says of itself on
    /// hearing somebody is how the connection is.
    pub(super) fn check_guest(&self, by: Peer, view: &FrameRef<'_>) -> Result<(), Halt> {
        let Peer::Link(link) = by else { return Ok(()) };
        let bridge = self.ua.bridge_of(link);
        let Some(bridge) = bridge.filter(|b| matches!(b.key, RouteKey::P2pHandler(_))) else {
            return Ok(());
        };
        let guest = view.ext().find(ExtTag::Guest);
        if guest.is_none() && view.header.mtype == MessageType::Response.as_u8() {
            return Ok(());
        }
        let own = bridge.url.as_str();
        let status = view.to().strip_prefix(own) == Some("/status");
        let sources = view.ext().flatten().filter(|ext| ext.tag == ExtTag::Source);
        let claims = sources.map(|ext| std::str::from_utf8(ext.value).unwrap_or_default());
        for claim in claims.chain([view.from()]) {
            let may = if is_within(claim, own) {
                guest.is_none() || status
            } else {
                Address::parse(claim).is_ok_and(|of| Some(of.domain().as_bytes()) == guest)
            };
            if !may {
                let text = "whoever came speaks for a domain that is not of its certificate";
                return Err(Halt::refuse(Reason::Forged, text));
            }
        }
        Ok(())
    }

    /// Whether it is the key of the home domain's own stub, which exists only if the operator
    /// named its catalogue.
    fn is_home_stub(&self, key: &RouteKey) -> bool {
        let home = &self.settings.domain;
        matches!(key, RouteKey::Domain(domain) if domain == home) && self.settings.has_home_stub()
    }
}
