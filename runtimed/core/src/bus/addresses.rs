//! `<runtime>/address-allocation`: an application asks for addresses of the home domain, and gives
//! them back. What it gets is its user's, as if it had claimed it, and is claimed with the next
//! hello.

use super::answer::Said;
use super::pending::PendingRef;
use super::{LinkKind, Peer};
use crate::core::Core;
use crate::limits::{ALLOCATION_NAME_BYTES, ALLOCATIONS_PER_REQUEST};
use crate::registry::allocation::{Errand, Holder, Needing};
use crate::store::{Change, RecordKey, Table};
use crate::ua::Refusal;
use protocol::address::Address;
use protocol::frame::FrameRef;
use protocol::reason::Reason;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a `create` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    scheme: String,
    number: usize,
    holder: Holder,
    name: Option<String>,
}

impl Wish {
    /// With whom to tell.
    pub(super) fn told_to(self, at: PendingRef) -> Needing {
        let Self { scheme, number, holder, name } = self;
        Needing { scheme, number, holder, name, errand: Errand::Request(at) }
    }
}

fn malformed(text: &str) -> Refusal {
    Refusal::new(Reason::Malformed, text)
}

impl Core {
    /// `create`.
    pub(super) fn wish_for_addresses(
        &self,
        by: Peer,
        view: &FrameRef<'_>,
    ) -> Result<Wish, Refusal> {
        wish(view.body(), Holder::User(self.user_of(by)?))
    }

    pub(super) fn user_of(&self, by: Peer) -> Result<u32, Refusal> {
        let link = if let Peer::Link(id) = by { self.bus.links.get(&id) } else { None };
        match link.map(|link| &link.kind) {
            Some(LinkKind::App { uid, .. }) => Ok(*uid),
            _ => Err(Refusal::new(Reason::Policy, "only applications may do that")),
        }
    }

    /// Tells who needed addresses what came of it.
    pub(crate) fn allocated(&mut self, errand: &Errand, outcome: Result<Vec<Arc<str>>, Refusal>) {
        let at = match errand {
            Errand::Request(at) => at,
            Errand::Hyperty(loading) => return self.hyperty_addressed(loading, outcome),
        };
        match outcome {
            Ok(urls) => {
                let urls: Vec<&str> = urls.iter().map(AsRef::as_ref).collect();
                let body = json!({"code": 200, "value": {"allocated": urls}}).to_string();
                self.settle(*at, Said::Yes(&body));
            }
            Err(refusal) => self.fail(*at, &refusal),
        }
    }

    /// `delete` of addresses, all or none: each is the user's, and nobody is connected with it.
    pub(super) fn give_up_addresses(
        &mut self,
        by: Peer,
        view: &FrameRef<'_>,
    ) -> Result<(), Refusal> {
        let uid = self.user_of(by)?;
        let given = given_up(view.body())?;
        for url in given.iter().map(Address::as_str) {
            let names = &self.bus.names;
            if names.owner(url).is_some() || self.ua.hyperty_at(url).is_some() {
                let text = format!("somebody is connected with {url}, or will be");
                return Err(Refusal::new(Reason::AddressTaken, text));
            }
            if !names.has_reserved(url, uid) {
                let text = format!("{url} is not the sender's");
                return Err(Refusal::new(Reason::UnknownAddress, text));
            }
        }
        for url in given.iter().map(Address::as_str) {
            self.bus.names.unreserve(url);
            self.persist(Change::Delete(RecordKey::new(Table::Claim, url)));
            for (resource, subscriber) in self.bus.subscriptions.kept_within(url) {
                self.unsubscribed(&resource, &subscriber);
            }
            self.address_gone(url);
        }
        self.bus.names.touch();
        Ok(())
    }
}

fn wish(body: &[u8], holder: Holder) -> Result<Wish, Refusal> {
    let body: Value =
        serde_json::from_slice(body).map_err(|_e| malformed("the body is not JSON"))?;
    let value = body.get("value").unwrap_or(&Value::Null);
    let member = |name: &str| value.get(name).or_else(|| body.get(name));
    let scheme = match member("scheme") {
        None => "hyperty".to_owned(),
        Some(scheme) => {
            scheme.as_str().ok_or_else(|| malformed("scheme is no text"))?.to_ascii_lowercase()
        }
    };
    let number = match member("number") {
        None => Some(1),
        Some(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    let number = number.ok_or_else(|| malformed("value.number is no number"))?;
    let name = match member("allocationKey") {
        None => None,
        Some(Value::String(name)) if name.len() <= ALLOCATION_NAME_BYTES => Some(name.clone()),
        Some(_) => {
            let text = format!("allocationKey is a text of at most {ALLOCATION_NAME_BYTES} bytes");
            return Err(malformed(&text));
        }
    };
    Ok(Wish { scheme, number, holder, name })
}

/// `childrenResources` and `resource`, each address once.
fn given_up(body: &[u8]) -> Result<Vec<Address>, Refusal> {
    let wrong = || malformed("body.childrenResources must list addresses");
    let body: Value = serde_json::from_slice(body).map_err(|_e| wrong())?;
    let mut texts: Vec<&str> = body.get("resource").and_then(Value::as_str).into_iter().collect();
    if let Some(list) = body.get("childrenResources") {
        for text in list.as_array().ok_or_else(wrong)? {
            texts.push(text.as_str().ok_or_else(wrong)?);
        }
    }
    if texts.is_empty() || texts.len() > ALLOCATIONS_PER_REQUEST {
        return Err(wrong());
    }
    let mut given: Vec<Address> = Vec::new();
    for text in texts {
        let address =
            Address::parse(text).map_err(|e| Refusal::new(Reason::BadAddress, e.to_string()))?;
        if !given.contains(&address) {
            given.push(address);
        }
    }
    Ok(given)
}
