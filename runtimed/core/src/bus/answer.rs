//! What the runtime says itself: refusals, expiries, and the answers of its built-ins.

use super::egress::{BY_RUNTIME, Claim, Waiting};
use super::own::Outcome;
use super::pending::PendingRef;
use super::{LinkKind, Peer};
use crate::core::Core;
use crate::effect::{Effect, ReplyTo};
use crate::input::{LinkId, Token};
use crate::ua::{Refusal, bounded};
use protocol::control::{Denial, Reply};
use protocol::frame::{FrameBuilder, FrameRef, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;
use std::fmt::Write as _;

/// Bytes of the sentence in a refusal.
const DESC_BYTES: usize = 512;

/// An answer of the runtime.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// Id of the request.
    pub(crate) id: &'a str,
    /// Whether it was a JSON number.
    pub(crate) id_num: bool,
    /// The address that was asked.
    pub(crate) from: &'a str,
    /// The requester.
    pub(crate) to: &'a str,
    /// What is said.
    pub(crate) said: Said<'a>,
}

/// What is said.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said<'a> {
    /// The request is refused.
    No(&'a Refusal),
    /// It is done; JSON text.
    Yes(&'a str),
}

/// JSON text of a refusal (CONTRACT §5).
pub(crate) fn body_of(refusal: &Refusal) -> String {
    let desc = serde_json::Value::from(bounded(&refusal.desc, DESC_BYTES));
    let (code, reason) = (refusal.reason.code(), refusal.reason.token());
    let mut body = format!(r#"{{"code":{code},"desc":{desc},"reason":"{reason}""#);
    // Writing to a String does not fail.
    if let Some(stage) = refusal.stage {
        let _ok = write!(body, r#","stage":"{stage}""#);
    }
    if let Some(ms) = refusal.retry_after_ms {
        let _ok = write!(body, r#","retryAfter":{ms}"#);
    }
    body.push('}');
    body
}

/// What kind of failure an operator is told.
const fn denial_of(reason: Reason) -> Denial {
    match reason.code() {
        400 => Denial::Usage,
        403 => Denial::Denied,
        404 => Denial::NotFound,
        408 => Denial::Timeout,
        _ => Denial::Failed,
    }
}

/// A refusal as the operator's reply.
pub(crate) fn denied(refusal: &Refusal) -> Reply {
    Reply::Denied {
        denial: denial_of(refusal.reason),
        code: Some(refusal.reason.code()),
        reason: Some(refusal.reason),
        stage: refusal.stage.map(ToOwned::to_owned),
        text: refusal.desc.clone(),
    }
}

impl Core {
    /// Refuses an accepted message: counts it, tells the operators, and answers on the way it
    /// came if an answer is expected. The address that it claims to come from gets nothing.
    pub(crate) fn refuse(&mut self, by: Peer, view: &FrameRef<'_>, refusal: &Refusal) {
        let flooding = self.is_flooding(by);
        let flood = Refusal::new(Reason::Flood, "too many of its messages are refused");
        let refusal = if flooding { &flood } else { refusal };
        self.bus.counters.refuse(refusal.reason);
        if self.bus.watchers.is_any() {
            self.watch("in", by, view, &format!("refuse {}", refusal.reason));
        }
        self.refused_event(by, view, refusal);
        let response = view.header.mtype == MessageType::Response.as_u8();
        if let Peer::Operator(token) = by {
            self.end_operator(token, denied(refusal));
        } else if view.has(flags::REPLY) && !response {
            self.say(by, &Answer::to(view, Said::No(refusal)));
        }
    }

    /// Whether a worker has used up its refusals.
    fn is_flooding(&mut self, by: Peer) -> bool {
        let now = self.bus.now;
        let Peer::Link(id) = by else { return false };
        self.bus.links.get_mut(&id).is_some_and(|link| {
            matches!(link.kind, LinkKind::Worker { .. }) && !link.refusals.take(now)
        })
    }

    /// Ends a request with a refusal; its message is accounted for by the caller.
    pub(crate) fn fail(&mut self, at: PendingRef, refusal: &Refusal) {
        self.settle(at, Said::No(refusal));
    }

    /// Ends a request with an answer of the runtime.
    pub(crate) fn settle(&mut self, at: PendingRef, said: Said<'_>) {
        let Some(pending) = self.bus.pending.get(at) else { return };
        let (to, from) = (pending.key.requester, pending.asked);
        let (to, from) = (self.bus.names.text(to), self.bus.names.text(from));
        let from = if pending.relay.is_some() { self.bus.sync_url().into() } else { from };
        let Some(pending) = self.bus.forget(at) else { return };
        let (id, id_num) = (pending.key.id.text(), pending.id_num);
        self.say(pending.peer, &Answer { id, id_num, from: &from, to: &to, said });
    }

    /// Says it to the peer.
    pub(crate) fn say(&mut self, to: Peer, answer: &Answer<'_>) {
        match to {
            Peer::Link(link) => self.say_to_link(link, answer),
            Peer::Operator(token) => {
                let reply = match answer.said {
                    Said::No(refusal) => denied(refusal),
                    Said::Yes(body) => Reply::Response {
                        code: 200,
                        from: answer.from.to_owned(),
                        body: body.to_owned(),
                    },
                };
                self.end_operator(token, reply);
            }
            Peer::Core => match answer.said {
                Said::No(refusal) => {
                    self.own_ended(answer.id, Outcome::Refused(refusal.clone()));
                }
                Said::Yes(body) => {
                    let body = body.as_bytes().to_vec();
                    self.own_ended(answer.id, Outcome::Said { code: 200, body });
                }
            },
        }
    }

    fn say_to_link(&mut self, link: LinkId, answer: &Answer<'_>) {
        self.bus.counters.answered = self.bus.counters.answered.saturating_add(1);
        let refused;
        let (code, body) = match answer.said {
            Said::No(refusal) => {
                refused = body_of(refusal);
                (refusal.reason.code(), refused.as_str())
            }
            Said::Yes(body) => (200, body),
        };
        let mtype = MessageType::Response.as_u8();
        let frame = FrameBuilder::msg(mtype, answer.id, answer.from, answer.to)
            .flag(flags::SYNTH)
            .flag_if(flags::ID_NUM, answer.id_num)
            .code(code)
            .body(body.as_bytes())
            .build();
        let Ok(frame) = frame else { return };
        let bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
        if self.bus.room(link, BY_RUNTIME, bytes, Claim::Response).is_err() {
            self.bus.counters.unanswered = self.bus.counters.unanswered.saturating_add(1);
            return self.cut_off(link, Reason::SlowConsumer);
        }
        if self.bus.watchers.is_any()
            && let Ok(view) = frame.view()
        {
            self.watch("out", Peer::Link(link), &view, "answer by the runtime");
        }
        self.bus.enqueue(link, Waiting { origin: BY_RUNTIME, bytes, counted: false });
        self.bus.out.push(Effect::Send { link, frame });
    }

    /// Cuts off an application that takes nothing. A worker has more time: its engine may be busy.
    pub(crate) fn cut_off(&mut self, id: LinkId, reason: Reason) {
        self.note_slow(id);
        if let Some(link) = self.bus.links.get_mut(&id)
            && matches!(link.kind, LinkKind::App { .. })
            && !link.closing
        {
            link.closing = true;
            self.bus.names.touch();
            self.bus.out.push(Effect::CloseApp { link: id, reason });
        }
    }

    /// Gives an operator's message its reply and takes its address away.
    pub(crate) fn end_operator(&mut self, token: Token, reply: Reply) {
        self.bus.out.push(Effect::Reply { token, reply: Box::new(reply), to: ReplyTo::Last });
        self.operator_gone(token);
    }

    /// Takes the address of an operator's message away.
    pub(crate) fn operator_gone(&mut self, token: Token) {
        let peer = Peer::Operator(token);
        for at in self.bus.pending.select(|pending| pending.peer == peer) {
            let _pending = self.bus.forget(at);
        }
        if let Some(address) = self.bus.operators.remove(&token) {
            self.bus.names.unregister(&address);
        }
    }
}

impl<'a> Answer<'a> {
    /// To the message in `view`.
    pub(crate) fn to(view: &FrameRef<'a>, said: Said<'a>) -> Self {
        let id_num = view.has(flags::ID_NUM);
        Self { id: view.id(), id_num, from: view.to(), to: view.from(), said }
    }
}

#[cfg(test)]
mod tests {
    use super::body_of;
    use crate::ua::Refusal;
    use protocol::reason::Reason;

    #[test]
    fn a_refusal_is_this_json() {
        let refusal = Refusal::new(Reason::CatalogueDown, "no \"catalogue\"").at("descriptor");
        assert_eq!(
            body_of(&refusal.retry(1_000)),
            r#"{"code":503,"desc":"no \"catalogue\"","reason":"catalogue-down","stage":"descriptor","retryAfter":1000}"#
        );
        let plain = body_of(&Refusal::new(Reason::Loop, "x"));
        assert_eq!(plain, r#"{"code":508,"desc":"x","reason":"loop"}"#);
    }
}
