//! What happens of itself: requests, faults, joins, operators.

use crate::apps::{CLAIMS, Expected};
use crate::world::{Event, HOME, RUNTIME, World};
use protocol::address::Address;
use protocol::control::Command;
use protocol::frame::{ExtTag, Frame, FrameBuilder, FrameRef, flags};
use protocol::message::MessageType;
use runtime_core::{Exit, Input, LinkId, Token};

/// Milliseconds between two things that happen of themselves, at most.
const PAUSE_MS: u64 = 120;

impl World {
    pub(crate) fn traffic(&mut self) {
        if self.stopping {
            return;
        }
        let ms = 1 + self.random.below(PAUSE_MS);
        self.later(ms, Event::Traffic);
        match self.random.below(100) {
            0..3 => self.app_joins(),
            3..5 => self.someone_leaves(),
            5..8 => self.someone_is_slow(),
            8..11 => self.something_dies(),
            11..16 => self.operator_asks(),
            16..19 => self.burst(),
            19..28 => self.stub_speaks(),
            28..30 => self.app_misbehaves(),
            30..33 => self.app_subscribes(),
            33..35 => self.app_publishes(),
            35..38 => self.someone_answers_for_another(),
            38..42 => self.app_needs_addresses(),
            42..45 => self.app_asks_for_a_stub(),
            45..48 => self.app_loads(),
            _ => self.app_asks(),
        }
    }

    pub(crate) fn some_app(&mut self) -> Option<LinkId> {
        let apps: Vec<LinkId> = self.apps.keys().copied().collect();
        (!apps.is_empty()).then(|| *self.random.pick(&apps))
    }

    pub(crate) fn someone_leaves(&mut self) {
        if let Some(link) = self.some_app() {
            self.app_leaves(link);
        }
    }

    pub(crate) fn someone_is_slow(&mut self) {
        let Some(link) = self.some_app() else { return };
        if let Some(app) = self.apps.get_mut(&link) {
            app.slow = !app.slow;
        }
        self.later(0, Event::Drain(link));
    }

    fn something_dies(&mut self) {
        let all: Vec<_> = self.processes.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let sandbox = *self.random.pick(&all);
        if self.random.chance(30) {
            if let Some(process) = self.processes.get_mut(&sandbox) {
                process.stalled = true;
            }
        } else if self.random.chance(20) {
            let text = "sequence".to_owned();
            self.input(Input::Violation { sandbox, text });
        } else {
            let exit = *self.random.pick(&[Exit::Code(1), Exit::Signal(11), Exit::Unknown]);
            self.later(0, Event::Dies(sandbox, exit));
        }
    }

    fn destination(&mut self) -> String {
        let path = *self.random.pick(CLAIMS);
        match self.random.below(15) {
            14 => {
                let known = self.hyperties.addresses();
                if known.is_empty() {
                    format!("hyperty://{HOME}/no-hyperty")
                } else {
                    self.random.pick(&known).clone()
                }
            }
            0..4 => format!("hyperty://{HOME}/{path}"),
            4..6 => format!("hyperty://a.example/{path}"),
            6..8 => format!("HYPERTY://b.Example/{path}/"),
            8 => "sip:carol@c.example".to_owned(),
            9 => format!("hyperty://bad.example/{path}"),
            10 => format!("{RUNTIME}/ua"),
            11 => format!("{RUNTIME}/nothing"),
            12 => "nonsense".to_owned(),
            _ => "domain://registry.a.example".to_owned(),
        }
    }

    pub(crate) fn app_asks(&mut self) {
        if let Some(link) = self.some_app() {
            let to = self.destination();
            self.request(link, &to);
        }
    }

    /// An application sends a message, mostly a request.
    pub(crate) fn request(&mut self, link: LinkId, to: &str) {
        let number = self.next_serial();
        let id = number.to_string();
        let timeout = self.random.chance(30).then(|| 200 + self.random.below(4_000));
        let reply = self.random.chance(80);
        let Some(from) = self.own_address(link) else { return };
        let body = format!("{{\"n\":{number}}}");
        let mut builder = FrameBuilder::msg(MessageType::Read.as_u8(), &id, &from, to)
            .flag(flags::ID_NUM)
            .flag_if(flags::REPLY, reply)
            .body(body.as_bytes());
        if let Some(ms) = timeout {
            builder = builder.ext(ExtTag::Deadline, &u32::try_from(ms).unwrap().to_le_bytes());
        }
        let mut frame = builder.build().unwrap();
        let again = (reply && self.random.chance(3)).then(|| frame.clone());
        for frame in std::iter::once(&mut frame).chain(again.clone().as_mut()) {
            if reply {
                self.expect(link, &id, timeout.unwrap_or(15_000), to);
                self.asked_by(link, &id, &from);
            }
            self.speak(link, frame.bytes_mut());
        }
    }

    pub(crate) fn expect(&mut self, link: LinkId, id: &str, within: u64, to: &str) {
        self.totals.requests += 1;
        let deadline = self.now + within + 10;
        if let Some(app) = self.apps.get_mut(&link) {
            let expected = app.expected.entry(id.to_owned()).or_insert_with(|| Expected {
                deadline,
                what: to.to_owned(),
                ..Expected::default()
            });
            expected.sent += 1;
        }
    }

    fn asked_by(&mut self, link: LinkId, id: &str, from: &str) {
        let app = self.apps.get_mut(&link);
        if let Some(expected) = app.and_then(|app| app.expected.get_mut(id)) {
            from.clone_into(&mut expected.from);
        }
    }

    pub(crate) fn own_address(&mut self, link: LinkId) -> Option<String> {
        let app = self.apps.get(&link)?;
        let mut own = app.addresses.clone();
        own.push(app.address.clone());
        let address = self.random.pick(&own).clone();
        Some(if self.random.chance(10) { format!("{address}/below") } else { address })
    }

    /// Many messages at once, to one receiver.
    fn burst(&mut self) {
        let Some(link) = self.some_app() else { return };
        let to = self.destination();
        // Once in a while more than a receiver may have waiting.
        let most = if self.random.chance(3) { 900 } else { 60 };
        for _ in 0..self.random.below(most) {
            self.request(link, &to);
        }
    }

    /// A forged sender, a forged source, an unknown type: refused, and nothing else happens.
    fn app_misbehaves(&mut self) {
        let Some(link) = self.some_app() else { return };
        let Some(from) = self.own_address(link) else { return };
        let to = self.destination();
        let mtype = MessageType::Update.as_u8();
        let forged = format!("hyperty://{HOME}/nobody-has-this");
        let before = self.core.counters();
        let frame = match self.random.below(4) {
            0 => FrameBuilder::msg(mtype, "1", &forged, &to),
            1 => FrameBuilder::msg(mtype, "1", &from, &to).ext(ExtTag::Source, forged.as_bytes()),
            2 => FrameBuilder::msg(99, "1", &from, &to),
            _ => FrameBuilder::msg(mtype, "1", &from, &to).hops(0),
        };
        self.speak(link, frame.build().unwrap().bytes_mut());
        let after = self.core.counters();
        assert_eq!(after.refused, before.refused + 1, "{after:?}");
    }

    /// Something that somebody may publish on, here or elsewhere.
    pub(crate) fn resource(&mut self) -> String {
        // What lives elsewhere would bring stubs that the storm does not know.
        let most = if self.storm.is_some() { 4 } else { 6 };
        match self.random.below(most) {
            0 | 1 => format!("{RUNTIME}/status"),
            2 => format!("hyperty://{HOME}/{}/status", self.random.pick(CLAIMS)),
            3 => format!("comm://{HOME}/elsewhere/changes"),
            4 => "comm://bad.example/chat/changes".to_owned(),
            _ => "comm://a.example/chat/changes".to_owned(),
        }
    }

    fn app_publishes(&mut self) {
        let Some(link) = self.some_app() else { return };
        let Some(from) = self.own_address(link) else { return };
        let (id, to) = (self.next_serial().to_string(), format!("{from}/status"));
        let body = format!("{{\"n\":{id}}}");
        let builder = FrameBuilder::msg(MessageType::Update.as_u8(), &id, &from, &to);
        self.speak(link, builder.body(body.as_bytes()).build().unwrap().bytes_mut());
    }

    /// To the status of the runtime, and so of every stub, or to anything else; or no longer.
    pub(crate) fn app_subscribes(&mut self) {
        let Some(link) = self.some_app() else { return };
        let Some(from) = self.own_address(link) else { return };
        let (id, to) = (self.next_serial().to_string(), format!("{RUNTIME}/subscriptions"));
        let kinds = [MessageType::Subscribe, MessageType::Subscribe, MessageType::Unsubscribe];
        let mtype = self.random.pick(&kinds).as_u8();
        let body = format!("{{\"resources\":[\"{}\"]}}", self.resource());
        self.expect(link, &id, 15_000, &to);
        let builder = FrameBuilder::msg(mtype, &id, &from, &to)
            .flag(flags::ID_NUM | flags::REPLY)
            .body(body.as_bytes());
        self.speak(link, builder.build().unwrap().bytes_mut());
    }

    /// To start a stub, or to end one that nobody else uses.
    fn app_asks_for_a_stub(&mut self) {
        let Some(link) = self.some_app() else { return };
        let Some(from) = self.own_address(link) else { return };
        let (id, to) = (self.next_serial().to_string(), format!("{RUNTIME}/ua"));
        let mtype = self.random.pick(&[MessageType::Create, MessageType::Delete]).as_u8();
        let domain = *self.random.pick(&["a.example", "b.example", "sip:x@c.example", HOME]);
        let body = format!("{{\"value\":{{\"type\":\"protostub\",\"domain\":\"{domain}\"}}}}");
        self.expect(link, &id, 15_000, &to);
        let builder = FrameBuilder::msg(mtype, &id, &from, &to)
            .flag(flags::ID_NUM | flags::REPLY)
            .body(body.as_bytes());
        self.speak(link, builder.build().unwrap().bytes_mut());
    }

    /// A response to somebody's request by somebody who was not asked: never passed on.
    fn someone_answers_for_another(&mut self) {
        let (Some(link), Some(victim)) = (self.some_app(), self.some_app()) else { return };
        let Some(from) = self.own_address(link) else { return };
        let Some(app) = self.apps.get(&victim).filter(|_| link != victim) else { return };
        let Some((id, expected)) = app.expected.last_key_value() else { return };
        // Who was asked may answer as another of its addresses.
        let asked = Address::parse(&expected.what);
        if asked.is_ok_and(|asked| self.apps[&link].owns(asked.as_str())) {
            return;
        }
        let mtype = MessageType::Response.as_u8();
        let response = FrameBuilder::msg(mtype, id, &from, &expected.from).code(200);
        let mut frame = response.build().unwrap();
        self.speak(link, frame.bytes_mut());
    }

    fn operator_asks(&mut self) {
        let token = Token(self.next_serial());
        let name = (*self.random.pick(&["a.example", "b.example", "sip.c.example"])).to_owned();
        let target = name.clone();
        let command = match self.random.below(10) {
            0 => Command::Status,
            1 => Command::Ps { all: true },
            2 => Command::Inspect { name },
            3 => Command::Deploy { target, wait: true, live: false },
            4 => Command::Restart { name },
            5 => Command::Undeploy { name },
            6 => Command::Kill { name, signal: 9 },
            7 => Command::Resolve { address: self.destination() },
            _ => Command::Send {
                to: self.destination(),
                kind: "read".to_owned(),
                body: "{}".to_owned(),
                timeout_ms: self.random.below(3_000),
                wait: self.random.chance(70),
            },
        };
        self.operators.insert(token, 0);
        self.input(Input::Operator { token, command, rss: Vec::new() });
        if self.random.chance(10) {
            self.soon(Event::Hangs(token));
        }
    }

    /// A receiver took a frame.
    pub(crate) fn react(&mut self, link: LinkId, frame: &Frame) {
        let view = frame.view().unwrap();
        if self.apps.contains_key(&link) {
            self.app_reacts(link, &view);
        } else {
            self.stub_reacts(link, &view);
        }
    }
}

/// A response to a request.
pub(crate) fn answer(request: &FrameRef<'_>, from: &str, code: u16) -> Frame {
    let body = format!("{{\"code\":{code},\"value\":1}}");
    FrameBuilder::msg(MessageType::Response.as_u8(), request.id(), from, request.from())
        .code(code)
        .body(body.as_bytes())
        .build()
        .unwrap()
}
