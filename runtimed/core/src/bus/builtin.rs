//! What the runtime answers itself: `<runtime>/ua`, `<runtime>/subscriptions`,
//! `<runtime>/registry`, `<runtime>/address-allocation` and `<runtime>/sm`.

use super::addresses::Wish;
use super::answer::{Answer, Said};
use super::carrier::Carrier;
use super::hyperties::{Asker, Loading};
use super::pending::Waits;
use super::step::Facts;
use super::stubs::Asked;
use super::subscribe::{DONE, Subscribing};
use crate::core::Core;
use crate::limits::BUILTIN_BODY_BYTES;
use crate::resolve::Builtin;
use crate::ua::Refusal;
use crate::ua::hyperty::Hyperty;
use protocol::frame::{FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;

/// What came of a message to a built-in.
pub(super) enum Outcome {
    /// Done.
    Yes(String),
    /// Answered when the stub is active or has failed, or is gone.
    Stub(Waits),
    /// Answered when the hyperty is active or has failed.
    Loading(Hyperty),
    /// Answered when the message nodes have agreed.
    Subscribing(Subscribing),
    /// Answered when there are enough addresses.
    Wishing(Wish),
    /// It went on as another message, which is accounted for in its place.
    PassedOn,
}

impl From<Asked> for Outcome {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Done(body) => Self::Yes(body),
            Asked::Waits(waits) => Self::Stub(waits),
            Asked::Hyperty(hyperty) => Self::Loading(hyperty),
        }
    }
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
                (Builtin::Ua, Some(MessageType::Create)) => {
                    self.ua_create(facts.by, &view).map(Outcome::from)
                }
                (Builtin::Ua, Some(MessageType::Delete)) => {
                    self.ua_delete(facts.by, &view).map(Outcome::from)
                }
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
                (Builtin::PeerChanges, Some(MessageType::Update)) => {
                    self.peer_changed(facts.by, &view).map(|()| Outcome::Yes(DONE.to_owned()))
                }
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
            if let Outcome::Loading(hyperty) = outcome {
                self.load_hyperty(Loading { hyperty, asker: Asker::Nobody });
            }
            return;
        }
        match outcome {
            Outcome::PassedOn => {}
            Outcome::Yes(body) => self.say(facts.by, &Answer::to(view, Said::Yes(&body))),
            Outcome::Stub(waits) => {
                let _at = self.await_response(view, facts, waits);
            }
            Outcome::Loading(hyperty) => {
                let at = self.await_response(view, facts, Waits::Nodes);
                self.load_hyperty(Loading { hyperty, asker: Asker::Request(at) });
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
}
