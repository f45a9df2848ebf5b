//! `<runtime>/registry`: which hyperties and data objects are registered here, and
//! `<runtime>/registry/changes`: which come and go (seed `p2p-connection-messages`).
//!
//! A `subscribe` is answered with all of them, and with `next` if they are more than one answer
//! holds: the rest is asked for by the same message with `after`. From then on each `update` says
//! in `value` which were added and in `removed` which are gone; what comes and goes within
//! [`CHANGES_MS`] is one update.

use super::step::Facts;
use super::subscribe::wanted_of;
use super::{Bus, is_registered};
use crate::core::Core;
use crate::input::Time;
use crate::limits::{CHANGES_MS, PEER_LIST_BYTES, REGISTRY_LIST_BYTES};
use crate::resolve::{CHANGES, REGISTRY};
use crate::ua::Refusal;
use protocol::frame::FrameRef;
use protocol::reason::Reason;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has changed since the subscribers were last told.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Whether it was added.
    changed: BTreeMap<Arc<str>, bool>,
    due: Option<Time>,
}

impl Changes {
    /// When the subscribers are told.
    pub(crate) const fn earliest(&self) -> Option<Time> {
        self.due
    }
}

/// As many as fit, and whether that was all.
fn fitting<'a>(texts: &mut impl Iterator<Item = &'a str>, most: usize) -> (Vec<&'a str>, bool) {
    let (mut list, mut bytes) = (Vec::new(), 0_usize);
    for text in texts {
        list.push(text);
        bytes = bytes.saturating_add(text.len()).saturating_add(3);
        if bytes >= most {
            return (list, false);
        }
    }
    (list, true)
}

impl Bus {
    /// The resource that subscribers of all that comes and goes are subscribed to.
    pub(super) fn changes_url(&self) -> String {
        format!("{}/{CHANGES}", self.runtime)
    }
}

impl Core {
    /// `subscribe` at `<runtime>/registry`: the body of its answer.
    pub(super) fn registry_subscribe(
        &mut self,
        facts: Facts,
        view: &FrameRef<'_>,
    ) -> Result<String, Refusal> {
        let after = self.asks_for_changes(view)?;
        // It is here, so that there is nothing to wait for.
        let _done = self.subscribe(facts, view)?;
        let most = if self.bus.is_worker(facts.by) { PEER_LIST_BYTES } else { REGISTRY_LIST_BYTES };
        Ok(self.registered_after(after.as_deref(), most))
    }

    /// `unsubscribe` at `<runtime>/registry`.
    pub(super) fn registry_unsubscribe(
        &mut self,
        facts: Facts,
        view: &FrameRef<'_>,
    ) -> Result<(), Refusal> {
        self.asks_for_changes(view)?;
        self.unsubscribe(facts, view)
    }

    /// Where the list goes on, if the message is about the changes and nothing else.
    fn asks_for_changes(&self, view: &FrameRef<'_>) -> Result<Option<String>, Refusal> {
        let wanted = wanted_of(view.body())?;
        let own = self.bus.changes_url();
        if wanted.resources.iter().all(|resource| resource.as_str() == own) {
            return Ok(wanted.after);
        }
        let text = format!("what is subscribed to here is {own}");
        Err(Refusal::new(Reason::NotImplemented, text))
    }

    /// What is registered, from the first after this one on.
    fn registered_after(&self, after: Option<&str>, most: usize) -> String {
        let owned = self.bus.names.owned_after(after).map(|(text, _)| &**text);
        let mut claimed = owned.filter(|text| self.is_told_of(text));
        let (list, whole) = fitting(&mut claimed, most);
        let mut body = json!({"code": 200, "value": list});
        if let (false, Some(last), Some(object)) = (whole, list.last(), body.as_object_mut()) {
            object.insert("next".to_owned(), json!(last));
        }
        body.to_string()
    }

    /// What an object is asked at is no object.
    fn is_told_of(&self, text: &str) -> bool {
        is_registered(text) && !self.bus.objects.is_part(text)
    }

    /// An address was given to somebody here, or is free again.
    pub(crate) fn registered(&mut self, text: &str, added: bool) {
        let resource = self.bus.changes_url();
        if !self.is_told_of(text) || !self.bus.subscriptions.has(&resource) {
            return;
        }
        let changes = &mut self.bus.changes;
        // What came and went is as it was.
        if changes.changed.remove(text).is_none_or(|before| before == added) {
            changes.changed.insert(Arc::from(text), added);
        }
        let at = Time(self.bus.now.0.saturating_add(CHANGES_MS));
        changes.due.get_or_insert(at);
    }

    /// Tells the subscribers, if it is time.
    pub(crate) fn changes_tick(&mut self) {
        if self.bus.changes.due.is_some_and(|due| due <= self.bus.now) {
            self.tell_registry_changes();
        }
    }

    /// Tells them what there is to tell.
    pub(crate) fn tell_registry_changes(&mut self) {
        if self.bus.changes.due.is_none() {
            return;
        }
        let changed = std::mem::take(&mut self.bus.changes).changed;
        let registry = format!("{}/{REGISTRY}", self.bus.runtime);
        let resource = self.bus.changes_url();
        for (added, name) in [(true, "value"), (false, "removed")] {
            let mut texts = changed.iter().filter(|(_, was)| **was == added).map(|(t, _)| &**t);
            loop {
                let (list, whole) = fitting(&mut texts, PEER_LIST_BYTES);
                if list.is_empty() {
                    break;
                }
                // Whoever knows only `value` finds it in every update.
                let mut body = json!({"value": []});
                if let Some(object) = body.as_object_mut() {
                    object.insert(name.to_owned(), json!(list));
                }
                self.publish(&resource, &registry, &body.to_string());
                if whole {
                    break;
                }
            }
        }
    }
}
