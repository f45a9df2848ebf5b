//! Applications that ask for addresses and give them back, and a message node that allocates some.

use crate::world::{HOME, RUNTIME, World};
use protocol::frame::{Frame, FrameBuilder, FrameRef, flags};
use protocol::message::MessageType;
use runtime_core::LinkId;
use serde_json::{Value, json};

impl World {
    fn address_request(&mut self, link: LinkId, kind: MessageType, body: &Value) {
        let Some(from) = self.own_address(link) else { return };
        let (id, to) = (self.next_serial().to_string(), format!("{RUNTIME}/address-allocation"));
        self.expect(link, &id, 15_000, &to);
        let body = body.to_string();
        let builder = FrameBuilder::msg(kind.as_u8(), &id, &from, &to)
            .flag(flags::ID_NUM | flags::REPLY)
            .body(body.as_bytes());
        self.speak(link, builder.build().unwrap().bytes_mut());
    }

    /// Somebody needs addresses, or needs them no longer.
    pub(crate) fn app_needs_addresses(&mut self) {
        let Some(link) = self.some_app() else { return };
        let uid = self.apps[&link].uid;
        let own: Vec<String> = self.promised_to(uid);
        if !own.is_empty() && self.random.chance(20) {
            let url = self.random.pick(&own).clone();
            // Whatever comes of it, nobody counts on it any more.
            self.promised.remove(&url);
            return self.address_request(link, MessageType::Delete, &json!({"resource": url}));
        }
        let scheme = *self.random.pick(&["hyperty", "comm"]);
        let mut value = json!({"number": 1 + self.random.below(4), "scheme": scheme});
        if self.random.chance(50) {
            value["allocationKey"] = json!(*self.random.pick(&["chat", "call"]));
        }
        self.address_request(link, MessageType::Create, &json!({"value": value}));
    }

    /// Addresses that a user was given and has not given back.
    pub(crate) fn promised_to(&self, uid: u32) -> Vec<String> {
        let own = self.promised.iter().filter(|(_, of)| **of == uid);
        own.map(|(url, _)| url.clone()).collect()
    }

    /// An application heard which addresses it has: nobody else was told of them.
    pub(crate) fn heard_addresses(&mut self, link: LinkId, view: &FrameRef<'_>) {
        let body: Value = serde_json::from_slice(view.body()).unwrap_or_default();
        let Some(list) = body.pointer("/value/allocated").and_then(Value::as_array) else { return };
        if !view.from().ends_with("/address-allocation") {
            return;
        }
        let uid = self.apps[&link].uid;
        assert!((1..=4).contains(&list.len()), "{body}");
        for url in list {
            let url = url.as_str().unwrap().to_owned();
            let other = self.promised.insert(url.clone(), uid);
            assert!(other.is_none_or(|other| other == uid), "{url} was given twice");
        }
    }
}

/// What a message node answers that allocates: mostly what it may, and what was asked for.
pub(crate) fn allocation(request: &FrameRef<'_>, random: u64) -> Option<Frame> {
    let wanted: Value = serde_json::from_slice(request.body()).ok()?;
    let key = wanted.pointer("/value/allocationKey")?.as_str()?;
    let number = wanted.pointer("/value/number")?.as_u64()?;
    let scheme = wanted.get("scheme").and_then(Value::as_str).unwrap_or("hyperty");
    let mut all: Vec<String> = match random % 8 {
        0 => vec![format!("{scheme}://{HOME}/alice"), "nonsense".to_owned()],
        1 => vec![format!("{scheme}://{HOME}/only-one-{key}")],
        _ => Vec::new(),
    };
    if random % 8 > 1 {
        all.extend((0..number).map(|n| format!("{scheme}://{HOME}/{key}-{n}")));
    }
    let body = json!({"code": 200, "value": {"allocated": all}}).to_string();
    let mtype = MessageType::Response.as_u8();
    let frame = FrameBuilder::msg(mtype, request.id(), request.to(), request.from());
    frame.code(200).body(body.as_bytes()).build().ok()
}
