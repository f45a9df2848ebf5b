//! What the runtime asks others itself: each part from an address of its own, and each question
//! ends in exactly one [`Answered`], whatever becomes of it.
//!
//! A question is a message like any other: it is accepted, parked, handed over or refused, and
//! counted so. It may cause a deploy; that is why only the runtime's own duties ask. Whoever gets
//! an answer may ask again, but not at once: a refusal comes without time passing.

use super::{Bus, Peer};
use crate::bus::carrier::Carrier;
use crate::core::Core;
use crate::input::Time;
use crate::limits::{OWN_ANSWER_BYTES, OWN_REQUESTS_MAX};
use crate::resolve::IDENTITY;
use crate::ua::Refusal;
use protocol::address::RouteKey;
use protocol::frame::{ExtTag, Frame, FrameBuilder, FrameError, FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;
use std::collections::{BTreeMap, VecDeque};

/// The first code that is no success.
const REFUSED: u16 = 300;

/// A part of the runtime that speaks to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The RuntimeUA.
    Ua,
    /// The Registry.
    Registry,
    /// The keeper of subscriptions.
    Subscriptions,
    /// Who asks message nodes for addresses.
    Allocation,
    /// The Identity Module.
    Identity,
}

impl Part {
    const ALL: [Self; 5] =
        [Self::Ua, Self::Registry, Self::Subscriptions, Self::Allocation, Self::Identity];

    /// Its path below the runtime.
    const fn path(self) -> &'static str {
        match self {
            Self::Ua => "ua",
            Self::Registry => "registry",
            Self::Subscriptions => "subscriptions",
            Self::Allocation => "address-allocation",
            Self::Identity => IDENTITY,
        }
    }
}

/// What a question is for; comes back with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The message node of this domain is told of resources (`bus/nodes.rs`).
    Node(String),
    /// The home domain's is to allocate addresses of this scheme (`registry/allocation.rs`).
    Block(String),
    /// And to take some back.
    GiveBack,
    /// The home domain's registry is told of this address (`registry/registration.rs`).
    Registered(std::sync::Arc<str>),
    /// An identity provider's proxy is to log in the stub of this key, whose deploy started then
    /// (`deploy/login.rs`).
    Login(RouteKey, Time),
    /// And of the stub of a connection with this address, or no longer (`p2p/paths.rs`).
    Path(String, bool),
    /// The handler listens for a new connection.
    Listener,
    /// The other end of a connection says who is registered there (`p2p/registries.rs`).
    AtPeer(String),
    /// A test wants to know.
    #[cfg(test)]
    Test(u32),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asking {
    /// Who asks.
    pub(crate) from: Part,
    /// Whom.
    pub(crate) to: String,
    /// Type of the message.
    pub(crate) kind: MessageType,
    /// JSON text.
    pub(crate) body: String,
    /// Whom the body names as source; the runtime speaks for it.
    pub(crate) source: Option<String>,
    /// Milliseconds until it is given up; `None`: as any other.
    pub(crate) within_ms: Option<u32>,
    /// What for.
    pub(crate) purpose: Purpose,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Whoever was asked said this: a code, 200 if there was none, and JSON text.
    Said {
        /// Of the response.
        code: u16,
        /// Its body.
        body: Vec<u8>,
    },
    /// It did not get there, was not answered in time, or the answer cannot be read.
    Refused(Refusal),
}

impl Outcome {
    /// The body of a good answer; anything else is a refusal.
    pub(crate) fn agreed(self) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Said { code, body } if code < REFUSED => Ok(body),
            Self::Said { code, .. } => {
                Err(Refusal::new(Reason::NodeRefused, format!("the answer was {code}")))
            }
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

/// The end of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    /// What it was for.
    pub(crate) purpose: Purpose,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// All questions that are open, and those that ended and were not yet taken notice of.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// By id.
    open: BTreeMap<u64, Purpose>,
    ended: VecDeque<Answered>,
}

impl Own {
    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    fn end(&mut self, id: &str, outcome: Outcome) {
        let purpose = id.parse().ok().and_then(|id: u64| self.open.remove(&id));
        if let Some(purpose) = purpose {
            self.ended.push_back(Answered { purpose, outcome });
        }
    }
}

impl Bus {
    /// Gives every part its address.
    pub(super) fn name_parts(&mut self) {
        for part in Part::ALL {
            let address = self.part(part);
            self.names.register(&address, Peer::Core);
        }
    }

    fn part(&self, part: Part) -> String {
        format!("{}/{}", self.runtime, part.path())
    }

    /// Every question is waited for, and nothing else of the runtime's own is.
    pub(super) fn check_own(&self) -> Result<(), String> {
        let waiting = self.pending.iter().filter(|pending| pending.peer == Peer::Core).count();
        if waiting != self.own.open.len() || !self.own.ended.is_empty() {
            return Err(format!("{waiting} questions wait, open are {:?}", self.own));
        }
        Ok(())
    }
}

impl Core {
    /// Asks. What comes of it is told to the part that asked, before this input ends or later.
    pub(crate) fn ask(&mut self, asking: Asking) {
        let id = self.bus.next_serial();
        let frame = if self.bus.own.open.len() < OWN_REQUESTS_MAX {
            question(&self.bus.part(asking.from), id, &asking)
                .map_err(|error| Refusal::new(Reason::TooLarge, error.to_string()))
        } else {
            let text = "the runtime waits for too many answers";
            Err(Refusal::new(Reason::Overloaded, text))
        };
        self.bus.own.open.insert(id, asking.purpose);
        match frame {
            Ok(frame) => {
                self.bus.counters.accept();
                self.step(Peer::Core, Carrier::Owned(frame));
            }
            Err(refusal) => self.bus.own.end(&id.to_string(), Outcome::Refused(refusal)),
        }
    }

    /// The response to a question.
    pub(super) fn own_response(&mut self, view: &FrameRef<'_>) {
        let outcome = if view.has(flags::BODY_FD) || view.body().len() > OWN_ANSWER_BYTES {
            Outcome::Refused(Refusal::new(Reason::TooLarge, "the answer is too large"))
        } else {
            let code = if view.header.code == 0 { 200 } else { view.header.code };
            Outcome::Said { code, body: view.body().to_vec() }
        };
        self.bus.own.end(view.id(), outcome);
    }

    /// The runtime answers a question of its own, mostly with a refusal.
    pub(super) fn own_ended(&mut self, id: &str, outcome: Outcome) {
        self.bus.own.end(id, outcome);
    }

    /// Tells every part what came of its questions, in order.
    pub(crate) fn hear_answers(&mut self) {
        while let Some(Answered { purpose, outcome }) = self.bus.own.ended.pop_front() {
            match purpose {
                Purpose::Node(domain) => {
                    self.node_answered(&domain, outcome.agreed().err().as_ref());
                }
                Purpose::Block(scheme) => self.block_answered(&scheme, outcome),
                Purpose::GiveBack => self.give_back_answered(outcome),
                Purpose::Login(key, started) => {
                    self.ua.logged_in(self.bus.now, (&key, started), outcome, &mut self.ua_out);
                }
                Purpose::Registered(url) => self.registry_answered(&url, outcome),
                Purpose::Path(url, joined) => {
                    self.path_answered(&url, joined, outcome.agreed().err().as_ref());
                }
                Purpose::Listener => {}
                Purpose::AtPeer(runtime) => self.who_is_there(&runtime, outcome),
                #[cfg(test)]
                Purpose::Test(number) => self.heard.push((number, outcome)),
            }
            self.pump();
        }
    }
}

fn question(from: &str, id: u64, asking: &Asking) -> Result<Frame, FrameError> {
    let id = id.to_string();
    let mut frame = FrameBuilder::msg(asking.kind.as_u8(), &id, from, &asking.to)
        .flag(flags::REPLY | flags::ID_NUM);
    let within = asking.within_ms.map(u32::to_le_bytes);
    if let Some(within) = &within {
        frame = frame.ext(ExtTag::Deadline, within);
    }
    if let Some(source) = &asking.source {
        frame = frame.ext(ExtTag::Source, source.as_bytes());
    }
    frame.body(asking.body.as_bytes()).build()
}
