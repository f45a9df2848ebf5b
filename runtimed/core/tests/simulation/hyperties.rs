//! Applications that load hyperties and remove them: the same place is the same address for one
//! user, over any crash, and another for another.

use crate::world::{RUNTIME, World};
use protocol::frame::{FrameBuilder, FrameRef, flags};
use protocol::message::MessageType;
use runtime_core::LinkId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What was loaded.
#[derive(Debug, Default)]
pub(crate) struct Hyperties {
    /// By user and place, for ever.
    addresses: BTreeMap<(u32, String), String>,
    /// Requests to load one, by sender and id.
    asked: BTreeMap<(LinkId, String), (u32, String)>,
}

impl Hyperties {
    /// Addresses of all that were ever loaded.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.values().cloned().collect()
    }
}

impl World {
    fn ua_request(&mut self, link: LinkId, kind: MessageType, value: &Value) -> Option<String> {
        let from = self.own_address(link)?;
        let (id, to) = (self.next_serial().to_string(), format!("{RUNTIME}/ua"));
        self.expect(link, &id, 15_000, &to);
        let body = json!({"value": value}).to_string();
        let builder = FrameBuilder::msg(kind.as_u8(), &id, &from, &to)
            .flag(flags::ID_NUM | flags::REPLY)
            .body(body.as_bytes());
        let asked = id.clone();
        if kind == MessageType::Create {
            let place = value["descriptor"].as_str().unwrap().to_owned();
            self.hyperties.asked.insert((link, asked), (self.apps[&link].uid, place));
        }
        self.speak(link, builder.build().unwrap().bytes_mut());
        Some(id)
    }

    /// Somebody loads a hyperty, or removes one.
    pub(crate) fn app_loads(&mut self) {
        let Some(link) = self.some_app() else { return };
        let known = self.hyperties.addresses();
        if !known.is_empty() && self.random.chance(25) {
            let url = self.random.pick(&known).clone();
            self.ua_request(link, MessageType::Delete, &json!({"type": "hyperty", "url": url}));
            return;
        }
        let domain = *self.random.pick(&["a.example", "b.example", "bad.example"]);
        let name = *self.random.pick(&["Chat", "Call"]);
        let url = format!("https://{domain}/.well-known/hyperty/{name}");
        let value = json!({"type": "hyperty", "descriptor": url});
        self.ua_request(link, MessageType::Create, &value);
    }

    /// An application heard at which address its hyperty runs.
    pub(crate) fn heard_hyperty(&mut self, link: LinkId, view: &FrameRef<'_>) {
        let asked = self.hyperties.asked.remove(&(link, view.id().to_owned()));
        let Some(asked) = asked.filter(|_| view.header.code == 200) else { return };
        let body: Value = serde_json::from_slice(view.body()).unwrap();
        let url = body["value"]["runtimeHypertyURL"].as_str().unwrap().to_owned();
        let others = self.hyperties.addresses.iter().filter(|(who, _)| **who != asked);
        assert!(others.map(|(_, of)| of).all(|of| *of != url), "{url} is two hyperties");
        let before = self.hyperties.addresses.insert(asked, url.clone());
        assert!(before.is_none_or(|before| before == url), "{url} was another address");
    }
}
