//! What the stubs of P2P connections say of them, as far as they may.

use super::{Ua, UaOut, bounded};
use crate::input::Time;
use crate::limits::GUEST_TEXT_BYTES;
use crate::p2p::PeerSaid;
use crate::p2p::connections::is_runtime;
use protocol::address::{Address, RouteKey};
use serde_json::json;

impl Ua {
    /// A stub says how far a connection is: with whom in `resource`, or of itself.
    pub(crate) fn connection_status(
        &mut self,
        now: Time,
        key: &RouteKey,
        (word, resource, desc): (&'static str, Option<&str>, &str),
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get(key) else { return };
        let Some(id) = component.stub else { return };
        let Some(link) = self.sandboxes.get(&id).and_then(|sandbox| sandbox.link) else { return };
        let own = component.url.clone();
        let requester = matches!(key, RouteKey::P2p(_));
        let resource = resource.filter(|text| *text != own.as_str());
        let remote = match resource.map(|text| (text, Address::parse(text))) {
            None => None,
            Some((_, Ok(remote))) if self.may_be_connected(key, &remote, word) => Some(remote),
            Some((text, _)) => {
                self.door.refused = self.door.refused.saturating_add(1);
                let text = bounded(text, GUEST_TEXT_BYTES);
                return self.note_refused(now, id, &format!("no connection with {text}"), out);
            }
        };
        // A requester that does not say with whom is not connected with anybody.
        if requester && word == "live" && remote.is_none() {
            return self.note_refused(now, id, "a connection with nobody", out);
        }
        if requester || remote.is_none() {
            self.own_status(now, key, word, desc, out);
        }
        if remote.is_none() {
            self.publish_status(key, desc, out);
        }
        if let Some(remote) = &remote {
            self.publish_connection(&own, word, remote, out);
            self.answer_live(key, out);
        }
        if requester || remote.is_some() {
            out.push(UaOut::Connection(PeerSaid { key: key.clone(), link, remote, word }));
        }
    }

    /// Whether the runtime at the other end may be this one: of the domain whose certificate was
    /// shown.
    fn may_be_connected(&self, key: &RouteKey, remote: &Address, word: &str) -> bool {
        let proved = match key {
            RouteKey::P2p(domain) => remote.domain() == domain,
            // Of somebody who has left it is said afterwards.
            RouteKey::P2pHandler(_) if matches!(word, "disconnected" | "failed") => {
                self.settings.talks_directly(remote.domain())
            }
            RouteKey::P2pHandler(_) => {
                let stub = self.components.get(key).and_then(|component| component.stub);
                let guests = stub.and_then(|id| self.sandboxes.get(&id)).map(|s| &s.guests);
                guests.is_some_and(|guests| {
                    guests.values().any(|guest| guest.domain.as_deref() == Some(remote.domain()))
                })
            }
            RouteKey::Domain(_)
            | RouteKey::Idp(_)
            | RouteKey::Legacy { .. }
            | RouteKey::Hyperty(_) => false,
        };
        proved && is_runtime(remote) && *remote != self.runtime
    }

    /// To whoever watches the stub, and as a copy from the runtime: `resource` is the runtime at the
    /// other end.
    fn publish_connection(
        &self,
        stub: &Address,
        word: &str,
        remote: &Address,
        out: &mut Vec<UaOut>,
    ) {
        let body = json!({"value": word, "resource": remote.as_str()}).to_string();
        for publisher in [stub, &self.runtime] {
            if let Ok(resource) = publisher.child("status") {
                let (from, body) = (publisher.clone(), body.clone());
                out.push(UaOut::Publish { resource, from, body });
            }
        }
    }

    /// The last one of a domain who came has left: nobody of it is connected any more, whatever the
    /// handler says.
    pub(super) fn domain_left(&self, key: &RouteKey, domain: &str, out: &mut Vec<UaOut>) {
        let stub = self.components.get(key).and_then(|component| component.stub);
        let Some(sandbox) = stub.and_then(|id| self.sandboxes.get(&id)) else { return };
        let still = sandbox.guests.values().any(|guest| guest.domain.as_deref() == Some(domain));
        if !still {
            out.push(UaOut::DomainLeft { domain: domain.to_owned() });
        }
    }

    /// Ends a stub that nobody needs; the next message starts it.
    pub(crate) fn rest(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        let active = |c: &super::component::Component| c.state == super::component::State::Active;
        if self.components.get(key).is_some_and(active) {
            self.moved = true;
            self.remove(now, key, "idle", out);
        }
    }
}
