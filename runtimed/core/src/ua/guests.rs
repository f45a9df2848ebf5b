//! Who connects to this runtime: the net role accepts, and each is handed to the handler of P2P
//! connections and to nobody else.

use super::component::State;
use super::rates::Seldom;
use super::sandbox::{Guest, Sandbox};
use super::{Happened, Ua, UaOut, bounded};
use crate::effect::Attach;
use crate::grants::Grants;
use crate::input::{SandboxId, StreamHandle, Time};
use crate::limits::GUEST_TEXT_BYTES;
use protocol::address::{Address, RouteKey};
use protocol::ctl::{CtlDown, PeerIdentity};
use protocol::descriptor::WantedHost;
use protocol::limits::GUESTS_MAX;
use serde_json::{Value, json};

/// Path of the handler below the runtime.
pub(crate) const HANDLER: &str = "p2phandler";

/// What is known of those who came.
#[derive(Debug, Default)]
pub(crate) struct Door {
    last_guest: u32,
    /// Connections that were turned away or shown out.
    pub(crate) refused: u64,
    /// Which of those that the net role turned away are events.
    turned_away: Seldom,
    /// Which of its failures to listen are.
    closed: Seldom,
    /// An operator took the handler out: it stays out until one asks for it.
    pub(crate) removed: bool,
}

impl Ua {
    /// The key of the handler, if this runtime listens.
    pub(crate) fn handler_key(&self) -> Option<RouteKey> {
        self.settings.p2p.as_ref()?;
        Some(RouteKey::P2pHandler(self.settings.domain.clone()))
    }

    /// Address of the handler: the same in every life, as the runtime's own is.
    pub(crate) fn handler_address(&self) -> Address {
        let id = self.runtime.as_str().rsplit('/').next().unwrap_or_default();
        self.runtime
            .child(HANDLER)
            .and_then(|folder| folder.child(id))
            .unwrap_or_else(|_e| self.runtime.clone())
    }

    /// The sandbox of the handler, if it is active.
    fn handler_sandbox(&self) -> Option<SandboxId> {
        let component = self.components.get(&self.handler_key()?)?;
        component.stub.filter(|_| component.state == State::Active)
    }

    /// Whether the net role is needed though nobody asks for a connection.
    pub(crate) fn wants_door(&self) -> bool {
        self.handler_sandbox().is_some()
    }

    /// The handler is part of the runtime: it is started with it, and again when its failure has
    /// been remembered long enough.
    pub(crate) fn keep_handler(&mut self, now: Time, out: &mut Vec<UaOut>) {
        let Some(key) = self.handler_key().filter(|_| !self.stopping) else { return };
        let due = match self.components.get(&key) {
            None => !self.door.removed,
            Some(component) => {
                component.state == State::Failed && component.retry_at.is_none_or(|at| at <= now)
            }
        };
        if due {
            self.moved = true;
            // Too many deploys at once: the next tick tries again.
            let _later = self.start(now, &key, "this runtime listens for others", out);
            self.hold(key, true);
        }
    }

    /// The net role and the handler are both there: from now on who comes is let in.
    pub(crate) fn open_door(&mut self, out: &mut Vec<UaOut>) {
        let net =
            self.net.sandbox.filter(|id| self.sandboxes.get(id).is_some_and(Sandbox::is_usable));
        if let (Some(net), Some(handler)) = (net, self.handler_sandbox()) {
            Self::send(net, CtlDown::NetListen { sandbox: handler.0 }, Attach::None, out);
        }
    }

    /// With what a P2P stub proves whose it is.
    pub(crate) fn identity_for(&self, key: &RouteKey) -> Option<PeerIdentity> {
        let listens = match key {
            RouteKey::P2pHandler(_) => true,
            RouteKey::P2p(_) => false,
            RouteKey::Domain(_)
            | RouteKey::Idp(_)
            | RouteKey::Legacy { .. }
            | RouteKey::Hyperty(_) => return None,
        };
        let p2p = self.settings.p2p.as_ref()?;
        // A requester goes to its domain alone.
        let peers =
            self.settings.domains.iter().filter(|(name, domain)| {
                domain.p2p.is_some() && (listens || *name == key.domain())
            });
        Some(PeerIdentity {
            certificate_pem: p2p.certificate_pem.clone(),
            key_pem: p2p.key_pem.clone(),
            listens,
            peers: peers.map(|(name, domain)| (name.clone(), domain.ca_pem.clone())).collect(),
        })
    }

    /// Somebody came.
    pub(super) fn guest_came(
        &mut self,
        now: Time,
        from: &str,
        stream: Option<StreamHandle>,
        out: &mut Vec<UaOut>,
    ) {
        // The shell closes a stream that goes nowhere.
        let Some((id, stream)) = self.handler_sandbox().zip(stream) else { return };
        let from = bounded(from, GUEST_TEXT_BYTES);
        let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|s| s.condemned.is_none()) else {
            return;
        };
        if sandbox.guests.len() >= GUESTS_MAX {
            return self.note_refused(now, id, &format!("{from}: too many connections"), out);
        }
        self.door.last_guest = self.door.last_guest.checked_add(1).unwrap_or(1);
        let conn = self.door.last_guest;
        sandbox.guests.insert(conn, Guest { domain: None });
        Self::send(id, CtlDown::Incoming { conn, from }, Attach::Stream(stream), out);
    }

    /// The handler's worker knows of which domain somebody is.
    pub(super) fn guest_named(&mut self, id: SandboxId, conn: u32, domain: String) {
        let known = self.settings.domains.get(&domain).is_some_and(|domain| domain.p2p.is_some());
        let guests = self.sandboxes.get_mut(&id).map(|sandbox| &mut sandbox.guests);
        if let Some(guest) = guests.and_then(|guests| guests.get_mut(&conn)).filter(|_| known) {
            guest.domain = Some(domain);
        }
    }

    /// Somebody has left, or was shown out.
    pub(super) fn guest_left(
        &mut self,
        now: Time,
        id: SandboxId,
        (conn, refused): (u32, Option<String>),
        out: &mut Vec<UaOut>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        let Some(guest) = sandbox.guests.remove(&conn) else { return };
        if let (Some(domain), Some(key)) = (guest.domain, self.handler_key()) {
            self.domain_left(&key, &domain, out);
        }
        if let Some(why) = refused {
            self.door.refused = self.door.refused.saturating_add(1);
            self.note_refused(now, id, &bounded(&why, GUEST_TEXT_BYTES), out);
        }
    }

    /// The net role says whether it listens, and whom it turned away.
    pub(super) fn door_said(
        &mut self,
        now: Time,
        id: SandboxId,
        (error, turned_away): (Option<String>, u64),
        out: &mut Vec<UaOut>,
    ) {
        self.door.refused = self.door.refused.saturating_add(turned_away);
        let detail = match error {
            Some(error) => {
                let Some(times) = self.door.closed.take(now, 1) else { return };
                let at = self.settings.p2p.as_ref().map_or("", |p2p| p2p.listen.as_str());
                let why = bounded(&error, GUEST_TEXT_BYTES);
                let more = if times > 1 { format!(" ({times} times)") } else { String::new() };
                format!("nobody can come to {at}: {why}{more}")
            }
            None if turned_away > 0 => {
                let Some(all) = self.door.turned_away.take(now, turned_away) else { return };
                format!("{all} connections were turned away")
            }
            None => return,
        };
        let what = Happened::new("refused", "net", &detail);
        self.event(now, what.sandbox(id).reason("policy"), out);
    }

    /// What the stub of a P2P connection is configured with besides its descriptor's own.
    pub(crate) fn peer_configuration(&self, key: &RouteKey) -> Vec<(&'static str, Value)> {
        match key {
            RouteKey::P2pHandler(_) => vec![("isHandlerStub", json!(true))],
            RouteKey::P2p(domain) => {
                let place = self.domain_settings(key).p2p.clone().unwrap_or_default();
                vec![
                    ("p2pRequesterStub", json!(true)),
                    ("remoteDomain", json!(domain)),
                    ("url", json!(format!("wss://{place}/{}", self.settings.domain))),
                ]
            }
            RouteKey::Domain(_)
            | RouteKey::Idp(_)
            | RouteKey::Legacy { .. }
            | RouteKey::Hyperty(_) => Vec::new(),
        }
    }

    /// What a stub may reach: one of a P2P connection the place where its peer listens, whatever
    /// its descriptor says; the handler nothing.
    pub(crate) fn grants_for(&self, key: &RouteKey, wanted: &[WantedHost]) -> Grants {
        let domain = self.domain_settings(key);
        match key {
            RouteKey::P2pHandler(_) => Grants::default(),
            RouteKey::P2p(_) => {
                Grants { operator: domain.p2p.iter().cloned().collect(), ..Grants::default() }
            }
            RouteKey::Domain(_)
            | RouteKey::Idp(_)
            | RouteKey::Legacy { .. }
            | RouteKey::Hyperty(_) => Grants::decide(wanted, domain),
        }
    }
}
