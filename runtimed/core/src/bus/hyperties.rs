//! Loading hyperties (runtime-core §5.6): an application asks `<runtime>/ua`, an operator asks, or
//! the configuration names them. First the address, then the deploy; whoever asks is told when it
//! runs.
//!
//! Nobody is told to wait for what is there: a place of a catalogue is one hyperty of one user, and
//! who loads it again is told its address.

use super::pending::{PendingRef, Waits};
use super::stubs::Asked;
use super::subscribers::Account;
use super::{Peer, answer::Said, is_registered};
use crate::core::Core;
use crate::input::{LinkId, Token};
use crate::operator::deny_refusal;
use crate::registry::allocation::{Errand, Holder, Needing};
use crate::resolve::STATUS;
use crate::ua::hyperty::{Hyperty, Place};
use crate::ua::{Happened, Refusal, StubRoute, bounded};
use protocol::address::{Address, RouteKey};
use protocol::reason::Reason;
use serde_json::{Value, json};
use std::sync::Arc;

/// Who is told when a hyperty runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Nobody: the configuration names it, or the message expects no answer.
    Nobody,
    /// A request to `<runtime>/ua`.
    Request(PendingRef),
    /// An operator, who waits for it or for its status.
    Operator(Token, (bool, bool)),
}

/// A hyperty on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loading {
    /// Which.
    pub(crate) hyperty: Hyperty,
    /// Whom to tell.
    pub(crate) asker: Asker,
}

impl Loading {
    /// The request that waits, if one does.
    pub(crate) const fn request(&self) -> Option<PendingRef> {
        if let Asker::Request(at) = self.asker { Some(at) } else { None }
    }
}

/// JSON text of the answer to whoever loaded or removed it.
pub(super) fn hyperty_told(url: &str, status: &str) -> String {
    let value = json!({"type": "hyperty", "url": url, "runtimeHypertyURL": url, "status": status});
    json!({"code": 200, "value": value}).to_string()
}

fn malformed(text: &str) -> Refusal {
    Refusal::new(Reason::Malformed, text)
}

impl Core {
    /// `create` of `{"type":"hyperty","descriptor":…}` at `<runtime>/ua`.
    pub(super) fn wanted_hyperty(&self, by: Peer, value: &Value) -> Result<Hyperty, Refusal> {
        let uid = match by {
            Peer::Operator(_) => self.settings.uid,
            by => self.user_of(by)?,
        };
        let named = ["descriptor", "url"].iter().find_map(|name| value.get(name));
        let url = named.and_then(Value::as_str).ok_or_else(|| {
            malformed("body.value.descriptor is missing: the address of the hyperty in a catalogue")
        })?;
        self.place_of_hyperty(url).map(|place| Hyperty::new(place, uid))
    }

    fn place_of_hyperty(&self, url: &str) -> Result<Place, Refusal> {
        Place::read(url, &self.settings).ok_or_else(|| {
            let shown = bounded(url, 256);
            let form = "hyperty-catalogue://catalogue.<domain>/.well-known/hyperty/<name>";
            Refusal::new(
                Reason::BadAddress,
                format!("{shown} is no hyperty of a catalogue: {form}"),
            )
        })
    }

    /// `delete` of `{"type":"hyperty","url":…}` at `<runtime>/ua`, by its user.
    pub(super) fn delete_hyperty(&mut self, by: Peer, value: &Value) -> Result<Asked, Refusal> {
        let uid = match by {
            Peer::Operator(_) => None,
            by => Some(self.user_of(by)?),
        };
        let url = value.get("url").and_then(Value::as_str);
        let url = url.ok_or_else(|| malformed("body.value.url is missing: its address"))?;
        let url =
            Address::parse(url).map_err(|e| Refusal::new(Reason::BadAddress, e.to_string()))?;
        let key = self.ua.hyperty_at(url.as_str()).filter(|key| {
            let own = self.ua.hyperty_user(key);
            uid.is_none() || own == uid
        });
        let key = key.ok_or_else(|| {
            Refusal::new(Reason::UnknownAddress, "the sender has no hyperty with this address")
        })?;
        let removed = Refusal::new(Reason::Undeployed, "its user removed it");
        if self.ua.take_away(self.bus.now, &key, &removed, &mut self.ua_out) {
            return Ok(Asked::Waits(Waits::Removal(key)));
        }
        Ok(Asked::Done(hyperty_told(url.as_str(), "undeployed")))
    }

    /// Loads a hyperty, which needs an address first unless it is known.
    pub(crate) fn load_hyperty(&mut self, loading: Loading) {
        if let Some(key) = self.ua.known_hyperty(&loading.hyperty) {
            return self.run_hyperty(&loading.asker, &key);
        }
        let Hyperty { place, uid, .. } = &loading.hyperty;
        if let Err(refusal) = self.ua.room_for_hyperty(*uid, &mut self.ua_out) {
            return self.not_loaded(&loading, &refusal);
        }
        self.need_addresses(Needing {
            scheme: "hyperty".to_owned(),
            number: 1,
            holder: Holder::Hyperties(*uid),
            name: Some(place.to_string()),
            errand: Errand::Hyperty(Box::new(loading)),
        });
    }

    /// A hyperty has its address, or cannot have one.
    pub(super) fn hyperty_addressed(
        &mut self,
        loading: &Loading,
        outcome: Result<Vec<Arc<str>>, Refusal>,
    ) {
        let url = outcome.and_then(|urls| {
            let url = urls.first().and_then(|url| Address::parse(url).ok());
            let none = || Refusal::new(Reason::BadAddress, "it was given no usable address");
            let url = url.ok_or_else(none)?;
            // An application of the same user claimed it while it was nobody's.
            if self.bus.names.owner_at_or_above(url.as_str()).is_some() {
                let text = format!("an application is connected with its address {url}");
                return Err(Refusal::new(Reason::AddressTaken, text));
            }
            Ok(url)
        });
        match url {
            Ok(url) => {
                let hyperty = loading.hyperty.clone();
                let key = self.ua.enter_hyperty(self.bus.now, &url, hyperty);
                self.run_hyperty(&loading.asker, &key);
            }
            Err(refusal) => self.not_loaded(loading, &refusal),
        }
    }

    fn run_hyperty(&mut self, asker: &Asker, key: &RouteKey) {
        let now = self.bus.now;
        self.bus.names.touch();
        if let Asker::Operator(token, wishes) = asker {
            return self.ua.deploy_for(now, *token, key, *wishes, &mut self.ua_out);
        }
        let cause = match asker {
            Asker::Request(_) | Asker::Operator(..) => "asked for at ua",
            Asker::Nobody => "it is to be loaded",
        };
        let route = self.ua.load(now, key, cause, &mut self.ua_out);
        let Asker::Request(at) = asker else { return };
        match route {
            StubRoute::Ready { url, .. } => {
                self.settle(*at, Said::Yes(&hyperty_told(url.as_str(), "deployed")));
            }
            StubRoute::Deploying | StubRoute::Absent => {
                self.bus.moved(Some(*at), Waits::Deploy(key.clone()));
            }
            StubRoute::Refused(refusal) => self.fail(*at, &refusal),
        }
    }

    fn not_loaded(&mut self, loading: &Loading, refusal: &Refusal) {
        match &loading.asker {
            Asker::Request(at) => self.fail(*at, refusal),
            Asker::Operator(token, _) => deny_refusal(*token, refusal, &mut self.ua_out),
            Asker::Nobody => {
                let name = loading.hyperty.place.to_string();
                let happened = Happened::new("deploy-failed", &name, &refusal.desc);
                let happened = happened.reason(refusal.reason.token());
                self.ua.event(self.bus.now, happened, &mut self.ua_out);
            }
        }
    }

    /// An operator's `deploy` of the address of a hyperty in a catalogue; false if it is none.
    pub(crate) fn operator_loads(
        &mut self,
        token: Token,
        target: &str,
        wishes: (bool, bool),
    ) -> bool {
        let Some(place) = Place::read(target, &self.settings) else { return false };
        let hyperty = Hyperty::new(place, self.settings.uid);
        self.load_hyperty(Loading { hyperty, asker: Asker::Operator(token, wishes) });
        true
    }

    /// What the configuration names is loaded, unless it is there.
    pub(crate) fn load_configured(&mut self) {
        for url in self.settings.hyperties.clone() {
            match self.place_of_hyperty(&url) {
                Ok(place) => {
                    let hyperty = Hyperty::new(place, self.settings.uid);
                    self.load_hyperty(Loading { hyperty, asker: Asker::Nobody });
                }
                Err(refusal) => {
                    let happened = Happened::new("deploy-failed", "configuration", &refusal.desc);
                    let happened = happened.reason(refusal.reason.token());
                    self.ua.event(self.bus.now, happened, &mut self.ua_out);
                }
            }
        }
    }

    /// A hyperty runs: others may be told of it, and it hears of the runtime's status.
    pub(super) fn hyperty_is_here(&mut self, link: LinkId, url: &str) {
        self.connected(url, true);
        let details = self.ua.hyperty_details(&RouteKey::Hyperty(url.to_owned()));
        self.want_registered(url, details.map(Arc::from), true);
        self.registered(url, true);
        let status = format!("{}{STATUS}", self.bus.runtime);
        // Its first subscription of all, so that there is room.
        let _added = self.bus.subscriptions.add(&status, url, Some(link), Account::Link(link));
    }

    /// Addresses of a worker that others were told of; what it reports is not among them.
    pub(crate) fn hyperties_of(&self, link: LinkId) -> Vec<Arc<str>> {
        let all = self.bus.links.get(&link).map_or(&[][..], |link| &link.addresses);
        let objects = &self.bus.objects;
        let own = all
            .iter()
            .filter(|text| is_registered(text) && !objects.is_one(text) && !objects.is_part(text));
        own.cloned().collect()
    }
}
