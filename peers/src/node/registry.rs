//! The domain registry of a node, at `domain://registry.<domain>`: what was registered, and what
//! was said of it last. Nothing runs out by itself; `expires` is remembered and not kept.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::limits;

/// Entries by address.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: BTreeMap<String, Map<String, Value>>,
}

fn refusal(code: u16, desc: &str) -> Value {
    json!({"code": code, "description": desc})
}

/// The address that a message is about; a hyperty may be named by its path.
fn resource(body: &Value) -> &str {
    let text = body.get("resource").and_then(Value::as_str).unwrap_or("");
    text.strip_prefix("/hyperty/").unwrap_or(text)
}

impl Registry {
    /// Everything, as `read` would show it.
    pub(super) fn all(&self) -> BTreeMap<String, Value> {
        let all = self.entries.iter();
        all.map(|(url, entry)| (url.clone(), Value::Object(entry.clone()))).collect()
    }

    /// The body of the answer to a message; `None`: it is not for a registry.
    pub(super) fn answer(&mut self, kind: &str, body: &Value) -> Option<Value> {
        Some(match kind {
            "create" => self.create(body),
            "update" => self.update(body),
            "read" => match self.entries.get(resource(body)) {
                Some(entry) => json!({"code": 200, "value": entry}),
                None => refusal(404, "Not Found"),
            },
            "delete" => match self.entries.remove(resource(body)) {
                Some(_) => json!({"code": 200}),
                None => refusal(404, "Not Found"),
            },
            _ => return None,
        })
    }

    fn create(&mut self, body: &Value) -> Value {
        let Some(value) = body.get("value").and_then(Value::as_object) else {
            return refusal(400, "a registration has a value");
        };
        let Some(url) = value.get("url").and_then(Value::as_str) else {
            return refusal(400, "a registration has a URL");
        };
        if self.entries.len() >= limits::REGISTERED && !self.entries.contains_key(url) {
            return refusal(507, "too many registrations");
        }
        self.entries.insert(url.to_owned(), value.clone());
        json!({"code": 200})
    }

    fn update(&mut self, body: &Value) -> Value {
        let Some(entry) = self.entries.get_mut(resource(body)) else {
            return refusal(404, "Not Found");
        };
        match (body.get("attribute").and_then(Value::as_str), body.get("value")) {
            (Some(attribute), Some(value)) => {
                entry.insert(attribute.to_owned(), value.clone());
            }
            (None, Some(Value::Object(members))) => entry.extend(members.clone()),
            _ => {}
        }
        json!({"code": 200})
    }
}
