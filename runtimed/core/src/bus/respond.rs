//! Responses: each finds the request it answers, or is dropped and counted.

use super::Peer;
use super::carrier::{Carrier, Stamp};
use super::egress::{Claim, Waiting};
use super::pending::{IdText, PendingKey, PendingRef, Waits};
use super::step::{Facts, no_room, origin_of};
use super::voice::Voice;
use crate::core::Core;
use crate::limits::PROVISIONAL_MAX;
use crate::ua::Refusal;
use protocol::control::Reply;
use protocol::frame::{FrameRef, flags};
use protocol::reason::Reason;

/// First code that is no longer provisional.
const FINAL: u16 = 200;

impl Core {
    /// Passes a response on to who waits for it.
    pub(super) fn respond(&mut self, carrier: Carrier<'_>, facts: Facts) {
        let Ok(view) = carrier.view() else { return };
        let key = self
            .bus
            .names
            .find(view.to())
            .map(|requester| PendingKey { requester, id: IdText::new(view.id()) });
        let Some(at) = key.and_then(|key| self.bus.pending.find(&key)) else {
            self.bus.counters.late();
            if self.bus.watchers.is_any() {
                self.watch("in", facts.by, &view, "drop late");
            }
            return;
        };
        let Some(pending) = self.bus.pending.get_mut(at) else { return };
        let asked = pending.waits == Waits::At(facts.by);
        // Nothing is asked of a stranger through the home domain's node, so that what it says a
        // stranger said answers nothing.
        let entitled = facts.voice != Voice::Foreign
            && (asked || self.bus.names.is(pending.asked, view.from()));
        if !entitled {
            let text = "the response does not come from who was asked";
            return self.refuse(facts.by, &view, &Refusal::new(Reason::Forged, text));
        }
        // A response without a code is a final one.
        let provisional = (1..FINAL).contains(&view.header.code);
        if provisional && pending.provisional >= PROVISIONAL_MAX {
            let text = "too many provisional responses to one request";
            return self.refuse(facts.by, &view, &Refusal::new(Reason::Flood, text));
        }
        if provisional {
            pending.provisional = pending.provisional.saturating_add(1);
        }
        let relay = pending.relay.clone();
        match relay {
            None => self.pass_response(carrier, facts, at, provisional),
            Some(relay) => {
                if let Some((carrier, facts)) = self.relayed(&carrier, facts, at, &relay) {
                    self.pass_response(carrier, facts, at, provisional);
                }
            }
        }
    }

    fn pass_response(
        &mut self,
        mut carrier: Carrier<'_>,
        facts: Facts,
        at: PendingRef,
        provisional: bool,
    ) {
        let Some(pending) = self.bus.pending.get(at) else { return };
        let (peer, id_num) = (pending.peer, pending.id_num);
        if !provisional {
            let _pending = self.bus.forget(at);
        }
        let Ok(view) = carrier.view() else { return };
        let to = match peer {
            Peer::Link(to) => to,
            Peer::Operator(_) | Peer::Core => {
                self.bus.counters.deliver();
                match peer {
                    Peer::Operator(token) if !provisional => {
                        let reply = reply_of(&view);
                        self.end_operator(token, reply);
                    }
                    Peer::Core if !provisional => self.own_response(&view),
                    _ => {}
                }
                return;
            }
        };
        let origin = origin_of(facts.by);
        if let Err(reason) = self.bus.room(to, origin, facts.bytes, Claim::Response) {
            let refusal = Refusal::new(reason, no_room(reason));
            self.refuse(facts.by, &view, &refusal);
            return self.cut_off(to, Reason::SlowConsumer);
        }
        if self.bus.watchers.is_any() {
            let outcome = format!("deliver {}", self.bus.link_name(to));
            self.watch("in", facts.by, &view, &outcome);
        }
        let kept = facts.stamp.flags & !(flags::ID_NUM | flags::REPLY);
        let echoed = if id_num { kept | flags::ID_NUM } else { kept };
        carrier.stamp(Stamp { flags: echoed, ..facts.stamp });
        self.bus.enqueue(to, Waiting { origin, bytes: facts.bytes, counted: true });
        self.bus.out.push(carrier.into_effect(to));
    }
}

fn reply_of(view: &FrameRef<'_>) -> Reply {
    let body = if view.has(flags::BODY_FD) { b"null" } else { view.body() };
    Reply::Response {
        code: if view.header.code == 0 { FINAL } else { view.header.code },
        from: view.from().to_owned(),
        body: String::from_utf8_lossy(body).into_owned(),
    }
}
