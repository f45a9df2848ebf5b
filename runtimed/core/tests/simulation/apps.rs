//! Model applications: what they claim, ask, answer, and expect.

use crate::traffic::answer;
use crate::world::{Event, HOME, World};
use protocol::address::Address;
use protocol::frame::{Frame, FrameRef, flags};
use protocol::message::MessageType;
use runtime_core::{Input, LinkId};
use std::collections::BTreeMap;

/// A request that an application made.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Final responses that must come: one for each time it was sent.
    pub(crate) sent: u32,
    pub(crate) finals: u32,
    pub(crate) deadline: u64,
    /// The address that was asked, as the sender spelled it.
    pub(crate) what: String,
    /// The requester, as far as somebody may try to answer it.
    pub(crate) from: String,
}

/// An application.
#[derive(Debug, Default)]
pub(crate) struct App {
    pub(crate) uid: u32,
    pub(crate) address: String,
    pub(crate) addresses: Vec<String>,
    /// Takes nothing for now.
    pub(crate) slow: bool,
    pub(crate) expected: BTreeMap<String, Expected>,
}

impl App {
    pub(crate) fn owns(&self, address: &str) -> bool {
        let within = |own: &String| protocol::address::is_within(address, own);
        within(&self.address) || self.addresses.iter().any(within)
    }

    pub(crate) fn check_answered(&self) {
        for (id, expected) in &self.expected {
            assert_eq!(expected.finals, expected.sent, "request {id} to {}", expected.what);
        }
    }
}

/// Paths that applications claim in the home domain.
pub(crate) const CLAIMS: &[&str] = &["alice", "bob", "carol/x", "dave", "erin"];

impl World {
    pub(crate) fn app_joins(&mut self) {
        let link = self.next_link();
        let count = 1 + self.random.below(2);
        let mut addresses: Vec<String> =
            (0..count).map(|_| format!("hyperty://{HOME}/{}", self.random.pick(CLAIMS))).collect();
        let uid = 1_000 + u32::try_from(self.random.below(2)).unwrap();
        let own = self.promised_to(uid);
        if !own.is_empty() && self.random.chance(30) {
            addresses.push(self.random.pick(&own).clone());
        }
        self.apps.insert(link, App { uid, ..App::default() });
        self.queues.insert(link, std::collections::VecDeque::new());
        self.input(Input::AppJoined { link, name: format!("app{}", link.0), uid, addresses });
    }

    pub(crate) fn app_leaves(&mut self, link: LinkId) {
        if self.apps.remove(&link).is_some() {
            let unsent = self.unsent(link, false);
            self.input(Input::AppLeft { link, unsent });
        }
    }

    /// What lay at a receiver that ends: some of it was handed over, the rest was not.
    pub(crate) fn unsent(&mut self, link: LinkId, windowed: bool) -> Vec<Frame> {
        let mut queue = self.queues.remove(&link).unwrap_or_default();
        let most = queue.len() as u64 + 1;
        let handed = if windowed { self.random.below(most) } else { 0 };
        queue.split_off(usize::try_from(handed).unwrap()).into_iter().collect()
    }

    /// A response reached an application.
    pub(crate) fn check_response(&mut self, link: LinkId, view: &FrameRef<'_>) {
        if view.header.mtype != MessageType::Response.as_u8() {
            return;
        }
        assert!(view.has(flags::ID_NUM), "the id's form is echoed");
        let now = self.now;
        let app = self.apps.get_mut(&link).expect("an application");
        assert!(app.owns(view.to()), "a response for {}", view.to());
        let expected = app.expected.get_mut(view.id());
        let expected = expected.unwrap_or_else(|| panic!("a response to nothing: {}", view.id()));
        if (1..200).contains(&view.header.code) {
            assert!(expected.finals < expected.sent, "provisional after the end");
            return;
        }
        if !view.has(flags::SYNTH) {
            let asked = Address::parse(&expected.what).unwrap();
            assert_eq!(view.from(), asked.as_str(), "nobody else answers");
        }
        expected.finals += 1;
        assert!(expected.finals <= expected.sent, "one response too many: {expected:?}");
        assert!(now <= expected.deadline, "too late by {}", now - expected.deadline);
        let body = std::str::from_utf8(view.body()).unwrap();
        match (view.has(flags::SYNTH), view.header.code) {
            (false, _) => self.totals.answered_by_peers += 1,
            (true, 408) => self.totals.timed_out += 1,
            (true, _) if body.contains("stub-died") => self.totals.died += 1,
            (true, _) => self.totals.refused += 1,
        }
    }

    /// An application takes a frame.
    pub(crate) fn app_reacts(&mut self, link: LinkId, view: &FrameRef<'_>) {
        if view.header.mtype == MessageType::Response.as_u8() || !view.has(flags::REPLY) {
            return;
        }
        match self.random.below(10) {
            0 => {}
            1 => {
                let late = answer(view, view.to(), 200);
                let ms = 1_000 + self.random.below(20_000);
                self.later(ms, Event::Speaks(link, late));
            }
            2 => {
                for code in [100, 200, 200] {
                    let frame = answer(view, view.to(), code);
                    self.later(1, Event::Speaks(link, frame));
                }
            }
            _ => {
                let frame = answer(view, view.to(), 200);
                self.soon(Event::Speaks(link, frame));
            }
        }
    }
}
