//! Connections with other runtimes: every message of seed `p2p-connection-messages`, and where
//! messages go because of them.

mod chance;
mod messages;
mod subscriptions;
mod voices;
mod ways;

use super::bench::{ALICE, BOB, Bench, RUNTIME, message, request, response, settings};
use crate::input::{Input, LinkId, SandboxId, StreamHandle};
use crate::limits::{PEER_WAIT_MS, SURPLUS_MS};
use crate::settings::{DomainSettings, P2pSettings, Settings};
use proptest::prelude::*;
use protocol::control::Command;
use protocol::ctl::{CtlUp, Role};
use protocol::frame::{ExtTag, Frame, FrameBuilder, flags};
use protocol::message::MessageType;
use serde_json::{Value, json};

const FAR: &str = "hyperty-runtime://far.example/7";
const HIGH: &str = "hyperty-runtime://high.example/7";
const CAROL: &str = "hyperty://far.example/carol";
const HANDLER: &str = "hyperty-runtime://home.example/rt/p2phandler/rt";
const NODE: &str = "domain://msg-node.home.example/sm";

/// One that listens, and talks to the runtimes of `far.example` and `high.example` directly.
fn with_p2p(home_node: bool, far_node: bool) -> Settings {
    let mut all = settings();
    let domain = |name: &str, node: bool, p2p: bool| DomainSettings {
        catalogue: node.then(|| format!("https://{name}/.well-known")),
        p2p: p2p.then(|| format!("{name}:7443")),
        ..DomainSettings::default()
    };
    all.domains.insert("far.example".to_owned(), domain("far.example", far_node, true));
    all.domains.insert("high.example".to_owned(), domain("high.example", false, true));
    all.domains.insert("home.example".to_owned(), domain("home.example", home_node, false));
    all.p2p = Some(P2pSettings {
        listen: "127.0.0.1:7443".to_owned(),
        certificate_pem: String::new(),
        key_pem: String::new(),
        catalogue: Some("https://home.example/stubs".to_owned()),
    });
    all
}

fn body_of(frame: &Frame) -> Value {
    serde_json::from_slice(frame.view().unwrap().body()).unwrap()
}

fn peer_of(frame: &Frame) -> Option<String> {
    let view = frame.view().unwrap();
    view.ext().find(ExtTag::Peer).map(|peer| String::from_utf8(peer.to_vec()).unwrap())
}

fn with_body<'a>(builder: FrameBuilder<'a>, body: &Value) -> FrameBuilder<'a> {
    builder.body(Box::leak(body.to_string().into_bytes().into_boxed_slice()))
}

/// What the handler's edge makes of what somebody of this domain said.
fn by<'a>(domain: &'a str, builder: FrameBuilder<'a>) -> FrameBuilder<'a> {
    builder.ext(ExtTag::Guest, domain.as_bytes())
}

impl Bench {
    /// The handler, active.
    fn handler(&mut self) -> (SandboxId, LinkId) {
        self.input(Input::Tick);
        let (sandbox, link, url) = self.youngest();
        assert_eq!(url, HANDLER);
        (sandbox, link)
    }

    /// A stub says how far a connection is.
    fn status(&mut self, link: LinkId, url: &str, word: &str, remote: &str) {
        let kind = if word == "created" { MessageType::Create } else { MessageType::Update };
        let said = message(kind, "1", url, &format!("{url}/status"));
        self.send(link, with_body(said, &json!({"value": word, "resource": remote})));
    }

    /// Somebody of this domain comes to the handler.
    fn comes(&mut self, handler: SandboxId, conn: u32, domain: &str) {
        let net = self.spawned.iter().rev().find(|(_, role, _)| *role == Role::Net);
        let sandbox = net.expect("a net role").0;
        let up = CtlUp::Incoming { from: "192.0.2.1:5".to_owned() };
        let stream = Some(StreamHandle(u64::from(conn)));
        self.input(Input::Ctl { sandbox, up, stream, code: None });
        self.handler_says(handler, CtlUp::Peer { conn, domain: domain.to_owned() });
    }

    fn handler_says(&mut self, sandbox: SandboxId, up: CtlUp) {
        self.input(Input::Ctl { sandbox, up, stream: None, code: None });
    }

    /// A runtime comes and is connected.
    fn connected(&mut self, handler: (SandboxId, LinkId), conn: u32, remote: &str) {
        let domain = remote.split('/').nth(2).unwrap();
        self.comes(handler.0, conn, domain);
        for word in ["created", "in-progress", "live"] {
            self.status(handler.1, HANDLER, word, remote);
        }
    }

    /// The next message to a link with this address and type.
    fn heard_for(&mut self, link: LinkId, to: &str, kind: MessageType) -> Frame {
        let all = self.heard.get_mut(&link).expect("it was told something");
        let at = all.iter().position(|frame| {
            let view = frame.view().unwrap();
            view.to() == to && view.header.mtype == kind.as_u8()
        });
        all.remove(at.expect("told")).unwrap()
    }

    fn agrees(&mut self, link: LinkId, question: &Frame, body: &Value) {
        let view = question.view().unwrap();
        let answer = message(MessageType::Response, view.id(), view.to(), view.from()).code(200);
        self.send(link, with_body(answer, body));
    }

    /// A requester of a domain that an application's message started.
    fn requester(&mut self, by: LinkId, id: &str, to: &str) -> (SandboxId, LinkId, String) {
        self.send(by, request(id, ALICE, to));
        self.youngest()
    }
}
