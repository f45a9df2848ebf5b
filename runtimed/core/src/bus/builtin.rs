//! What the runtime answers itself: `<runtime>/ua`, `<runtime>/subscriptions`,
//! `<runtime>/registry`, `<runtime>/address-allocation` and `<runtime>/sm`.

use super::Peer;
use super::addresses::Wish;
use super::answer::{Answer, Said};
use super::carrier::Carrier;
use super::pending::Waits;
use super::step::Facts;
use super::subscribe::{DONE, Subscribing};
use crate::core::Core;
use crate::limits::BUILTIN_BODY_BYTES;
use crate::resolve::Builtin;
use crate::ua::{Refusal, StubRoute};
use protocol::address::{Address, RouteKey};
use protocol::frame::{FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;

/// What came of a message to a built-in.
pub(super) enum Outcome {
    /// Done.
    Yes(String),
    /// Answered when the stub is active or has failed.
    Deploying(RouteKey),
    /// Answered when the message nodes have agreed.
    Subscribing(Subscribing),
    /// Answered when there are enough addresses.
    Wishing(Wish),
    /// It went on as another message, which is accounted for in its place.
    PassedOn,
}

impl Core {
    /// A message to a part of the runtime.
    pub(super) fn built_in(&mut self, carrier: &Carrier<'_>, facts: Facts, builtin: Builtin) {
        let Ok(view) = carrier.view() else { return };
        let kind = MessageType::from_u8(view.header.mtype);
        let outcome = if view.has(flags::BODY_FD) || view.body().len() > BUILTIN_BODY_BYTES {
            Err(Refusal::new(Reason::TooLarge, "the body is too large for a built-in"))
        } else {
            match (builtin, kind) {
                (Builtin::Ua, Some(MessageType::Create)) => self.ua_create(facts.by, &view),
                (Builtin::Subscriptions, Some(MessageType::Subscribe)) => {
                    self.subscribe(facts, &view).map(Outcome::Subscribing)
                }
                (Builtin::Subscriptions, Some(MessageType::Unsubscribe)) => {
                    self.unsubscribe(facts, &view).map(|()| Outcome::Yes(DONE.to_owned()))
                }
                (Builtin::Registry, Some(MessageType::Subscribe)) => {
                    self.registry_subscribe(facts, &view).map(Outcome::Yes)
                }
                (Builtin::Registry, Some(MessageType::Unsubscribe)) => {
                    self.registry_unsubscribe(facts, &view).map(|()| Outcome::Yes(DONE.to_owned()))
                }
                (Builtin::Addresses, Some(MessageType::Create)) => {
                    self.wish_for_addresses(facts.by, &view).map(Outcome::Wishing)
                }
                (Builtin::Addresses, Some(MessageType::Delete)) => {
                    let done = self.give_up_addresses(facts.by, &view);
                    done.map(|()| Outcome::Yes(DONE.to_owned()))
                }
                (Builtin::Sync, Some(kind)) => self.synchronise(facts, &view, kind),
                _ => Err(Refusal::new(Reason::NotImplemented, "this built-in does not do that")),
            }
        };
        match outcome {
            Err(refusal) => self.refuse(facts.by, &view, &refusal),
            Ok(Outcome::PassedOn) => {}
            Ok(outcome) => self.accepted(&view, facts, outcome),
        }
    }

    fn accepted(&mut self, view: &FrameRef<'_>, facts: Facts, outcome: Outcome) {
        self.bus.counters.deliver();
        if self.bus.watchers.is_any() {
            self.watch("in", facts.by, view, "deliver runtime");
        }
        if !facts.reply {
            return;
        }
        match outcome {
            Outcome::PassedOn => {}
            Outcome::Yes(body) => self.say(facts.by, &Answer::to(view, Said::Yes(&body))),
            Outcome::Deploying(key) => {
                let _at = self.await_response(view, facts, Waits::Deploy(key));
            }
            Outcome::Wishing(wish) => {
                let at = self.await_response(view, facts, Waits::Nodes);
                self.need_addresses(wish.told_to(at));
            }
            Outcome::Subscribing(done) if done.left.is_empty() => {
                self.say(facts.by, &Answer::to(view, Said::Yes(DONE)));
            }
            Outcome::Subscribing(Subscribing { subscriber, new, left }) => {
                let at = self.await_response(view, facts, Waits::Nodes);
                self.await_nodes(at, subscriber.as_str(), new, left);
            }
        }
    }

    /// `create` of `{"type":"protostub","domain":…}`, by an application.
    fn ua_create(&mut self, by: Peer, view: &FrameRef<'_>) -> Result<Outcome, Refusal> {
        if self.bus.is_worker(by) {
            return Err(Refusal::new(Reason::Policy, "only applications ask for stubs"));
        }
        let key = wanted_stub(view.body(), &self.settings.domain)?;
        match self.ua.stub_for(self.bus.now, &key, "asked for at ua", &mut self.ua_out) {
            StubRoute::Ready { url, .. } => Ok(Outcome::Yes(created(&url))),
            StubRoute::Deploying | StubRoute::Absent => Ok(Outcome::Deploying(key)),
            StubRoute::Refused(refusal) => Err(refusal),
        }
    }
}

/// JSON text of the answer to `create`.
pub(crate) fn created(url: &Address) -> String {
    format!(r#"{{"code":200,"value":{{"url":"{url}"}}}}"#)
}

fn wanted_stub(body: &[u8], home: &str) -> Result<RouteKey, Refusal> {
    let malformed = |text: &str| Refusal::new(Reason::Malformed, text);
    let body: serde_json::Value =
        serde_json::from_slice(body).map_err(|_e| malformed("the body is not JSON"))?;
    let value = body.get("value").unwrap_or(&body);
    let member = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    if member("type") != Some("protostub") {
        return Err(Refusal::new(Reason::NotImplemented, "only protostubs are deployed here"));
    }
    let domain = member("domain").ok_or_else(|| malformed("body.value.domain is missing"))?;
    RouteKey::parse(domain, home)
        .ok_or_else(|| Refusal::new(Reason::BadAddress, "body.value.domain is no domain"))
}

#[cfg(test)]
mod tests {
    use super::wanted_stub;
    use protocol::address::RouteKey;

    #[test]
    fn a_stub_is_asked_for_by_type_and_domain() {
        let code =
            |body: &str| wanted_stub(body.as_bytes(), "h.example").map_err(|r| r.reason.code());
        let key = Ok(RouteKey::Domain("a.example".to_owned()));
        assert_eq!(code(r#"{"value":{"type":"protostub","domain":"a.example"}}"#), key);
        assert_eq!(code(r#"{"type":"protostub","domain":"a.example"}"#), key);
        assert_eq!(code(r#"{"value":{"type":"hyperty","domain":"a.example"}}"#), Err(501));
        assert_eq!(code(r#"{"value":{"type":"protostub"}}"#), Err(400));
        assert_eq!(code(r#"{"value":{"type":"protostub","domain":"-"}}"#), Err(400));
        assert_eq!(code("x"), Err(400));
    }
}
