//! What the bus answers operators itself: messages, explanations, the monitor.

use super::Core;
use crate::bus::Peer;
use crate::bus::carrier::Carrier;
use crate::effect::{Effect, ReplyTo};
use crate::input::{SandboxId, Token};
use crate::operator::OperatorCtx;
use crate::resolve::explain;
use protocol::address::RouteKey;
use protocol::control::{Command, Denial, Reply, StatusReply};
use protocol::frame::{ExtTag, Frame, FrameBuilder, flags};
use protocol::message::MessageType;
use std::sync::Arc;

/// A message that an operator sends.
struct Sending {
    to: String,
    kind: String,
    body: String,
    timeout_ms: u64,
    wait: bool,
}

impl Core {
    pub(super) fn operator(&mut self, token: Token, command: Command, rss: &[(SandboxId, u64)]) {
        match command {
            Command::Send { to, kind, body, timeout_ms, wait } => {
                self.operator_sends(token, &Sending { to, kind, body, timeout_ms, wait });
            }
            Command::Resolve { address } => {
                let resolver = self.resolver(false);
                let reply = explain(resolver, self.bus.now, &address);
                self.reply(token, Reply::Resolve(Box::new(reply)), ReplyTo::Last);
            }
            Command::Monitor { bodies } => {
                if !self.bus.watchers.add(token, bodies) {
                    self.deny(token, Denial::Failed, "too many watch already");
                }
            }
            Command::Deploy { target, wait, live }
                if self.operator_loads(token, &target, (wait, live)) => {}
            other => {
                let parked = parked_for(&other).map_or(0, |name| self.parked(name));
                let ctx = OperatorCtx { status: self.status(), rss, parked };
                self.bus.names.touch();
                self.ua.operator(self.bus.now, token, other, &ctx, &mut self.ua_out);
            }
        }
    }

    fn status(&self) -> StatusReply {
        let counters = self.counters();
        let apps = self.bus.links.values().filter(|link| link.is_app()).count();
        StatusReply {
            apps: u32::try_from(apps).unwrap_or(u32::MAX),
            accepted: counters.accepted,
            delivered: counters.delivered,
            refused: counters.refused,
            expired: counters.expired,
            queued: counters.queued,
            late: counters.late,
            store: self.store_trouble.clone(),
            ..StatusReply::default()
        }
    }

    fn parked(&self, name: &str) -> u32 {
        let is_named = |key: &RouteKey| key.to_string().eq_ignore_ascii_case(name);
        let count = self.bus.park.keys().find(|(key, _)| is_named(key)).map_or(0, |(_, n)| n);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn reply(&mut self, token: Token, reply: Reply, to: ReplyTo) {
        self.bus.out.push(Effect::Reply { token, reply: Box::new(reply), to });
    }

    fn deny(&mut self, token: Token, denial: Denial, text: &str) {
        let text = text.to_owned();
        let denied = Reply::Denied { denial, code: None, reason: None, stage: None, text };
        self.reply(token, denied, ReplyTo::Last);
    }

    fn operator_sends(&mut self, token: Token, sending: &Sending) {
        let number = self.bus.next_serial();
        let from = format!("{}/ctl/{number}", self.bus.runtime);
        let frame = match frame_of(&from, sending) {
            Ok(frame) => frame,
            Err(text) => return self.deny(token, Denial::Usage, &text),
        };
        let peer = Peer::Operator(token);
        self.bus.names.register(&from, peer);
        self.bus.operators.insert(token, Arc::from(from));
        self.bus.counters.accept();
        self.step(peer, Carrier::Owned(frame));
        if !sending.wait && self.bus.operators.contains_key(&token) {
            self.end_operator(token, Reply::Done);
        }
    }
}

fn parked_for(command: &Command) -> Option<&str> {
    if let Command::Inspect { name } = command { Some(name) } else { None }
}

fn frame_of(from: &str, sending: &Sending) -> Result<Frame, String> {
    let kind = MessageType::from_word(&sending.kind)
        .filter(|kind| *kind != MessageType::Response)
        .ok_or_else(|| format!("{:?} is no type of a message", sending.kind))?;
    if !sending.body.is_empty() {
        let checked: Result<serde_json::Value, _> = serde_json::from_str(&sending.body);
        checked.map_err(|error| format!("the body is not JSON: {error}"))?;
    }
    let mut builder = FrameBuilder::msg(kind.as_u8(), "1", from, &sending.to)
        .flag(flags::ID_NUM)
        .flag_if(flags::REPLY, sending.wait)
        .body(sending.body.as_bytes());
    if sending.timeout_ms > 0 {
        let ms = u32::try_from(sending.timeout_ms).unwrap_or(u32::MAX);
        builder = builder.ext(ExtTag::Deadline, &ms.to_le_bytes());
    }
    builder.build().map_err(|error| error.to_string())
}
