//! The registry: the addresses of stubs and what they say of themselves; below, the addresses that
//! are given to others, and what the home domain's registry is told.

pub(crate) mod allocation;
mod blocks;
pub(crate) mod leases;
mod registration;
mod reuse;

use crate::input::{SandboxId, Time};
use crate::limits::{BUILTIN_BODY_BYTES, STATUS_DESC_BYTES};
use crate::settings::{DomainSettings, Settings};
use crate::ua::component::Component;
use crate::ua::{Happened, Ua, UaOut, bounded};
use protocol::address::{Address, RouteKey};
use serde_json::{Value, json};

/// The words of CONTRACT §7, from all spellings of all generations. `None`: no status.
pub(crate) fn normalise(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "created" | "deployed" | "deploying" => "created",
        "in-progress" | "inprogress" | "in_progress" | "connecting" | "progress" => "in-progress",
        "live" | "connected" => "live",
        "disconnected" | "dead" | "closed" => "disconnected",
        "failed" | "failure" | "deployment-failed" | "error" => "failed",
        _ => return None,
    })
}

impl Ua {
    /// What the configuration says of a key: in a section of its own, else in its domain's. The
    /// stub of `slack://slack.com` and that of the host `slack.slack.com` share no section.
    pub(crate) fn domain_settings(&self, key: &RouteKey) -> &DomainSettings {
        static NOTHING: DomainSettings = DomainSettings {
            catalogue: None,
            private: false,
            connect: Vec::new(),
            sources: Vec::new(),
            hosts: std::collections::BTreeMap::new(),
            ca_pem: String::new(),
            pin: false,
            p2p: None,
            login: None,
        };
        let own = match key {
            RouteKey::Domain(_) | RouteKey::P2pHandler(_) | RouteKey::P2p(_) => {
                key.domain().to_owned()
            }
            RouteKey::Hyperty(_) => {
                let hyperty = self.components.get(key).and_then(|c| c.hyperty.as_ref());
                let place = hyperty.map(|hyperty| hyperty.place.domain.as_str());
                return place
                    .and_then(|domain| self.settings.domains.get(domain))
                    .unwrap_or(&NOTHING);
            }
            RouteKey::Idp(domain) => format!("domain-idp://{domain}"),
            RouteKey::Legacy { scheme, domain } => format!("{scheme}://{domain}"),
        };
        self.settings
            .domains
            .get(&own)
            .or_else(|| self.settings.domains.get(key.domain()))
            .unwrap_or(&NOTHING)
    }

    /// Other settings. What stubs were granted is decided again, and holds for their next
    /// connections; what is pinned stays pinned.
    pub(crate) fn configure(&mut self, settings: &Settings) {
        self.settings = settings.clone();
        let keys: Vec<RouteKey> = self.components.keys().cloned().collect();
        for key in keys {
            let package = self.components.get(&key).and_then(|c| c.package.as_ref());
            let grants = package.map(|package| self.grants_for(&key, &package.descriptor.wanted));
            let package = self.components.get_mut(&key).and_then(|c| c.package.as_mut());
            if let (Some(package), Some(grants)) = (package, grants) {
                package.grants = grants;
            }
        }
    }

    /// A new address for a component (seed `deploy-protostub`, step 10).
    pub(crate) fn allocate(&mut self, key: &RouteKey) -> Address {
        let guid = self.guids.next();
        let text = match key {
            RouteKey::P2pHandler(_) => return self.handler_address(),
            RouteKey::P2p(_) => format!("hyperty-runtime://{}/p2prequester/{guid}", key.domain()),
            RouteKey::Idp(domain) => format!("domain-idp://{domain}/stub/{guid}"),
            RouteKey::Domain(domain) | RouteKey::Legacy { domain, .. } => {
                format!("hyperty-runtime://{domain}/protostub/{guid}")
            }
            // It was allocated before there was a component.
            RouteKey::Hyperty(url) => url.clone(),
        };
        // A route key came out of an address, so that its domain is a proper host; only one of
        // nearly the whole length could be pushed over the bound.
        Address::parse(&text).unwrap_or_else(|_e| self.runtime.clone())
    }

    /// Address of a sandbox (CONTRACT §7).
    pub(crate) fn sandbox_address(&self, id: SandboxId) -> Address {
        self.runtime
            .child("sandbox")
            .and_then(|folder| folder.child(&id.0.to_string()))
            .unwrap_or_else(|_e| self.runtime.clone())
    }

    /// A message to `<component>/status` from the component itself: recorded and published. False:
    /// it is no status of the sender's own.
    pub(crate) fn status_message(
        &mut self,
        now: Time,
        from: &Address,
        to: &Address,
        body: &[u8],
        out: &mut Vec<UaOut>,
    ) -> bool {
        let own = to.as_str().strip_suffix("/status").is_some_and(|url| url == from.as_str());
        let Some(key) =
            self.components.values().find(|c| own && c.url == *from).map(|c| c.key.clone())
        else {
            return false;
        };
        if body.len() > BUILTIN_BODY_BYTES {
            return false;
        }
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(word) = value.get("value").and_then(Value::as_str).and_then(normalise) else {
            return false;
        };
        let desc = value.get("desc").and_then(Value::as_str).unwrap_or_default();
        let desc = bounded(desc, STATUS_DESC_BYTES);
        if matches!(key, RouteKey::P2pHandler(_) | RouteKey::P2p(_)) {
            let resource = value.get("resource").and_then(Value::as_str);
            self.connection_status(now, &key, (word, resource, &desc), out);
            return true;
        }
        self.own_status(now, &key, word, &desc, out);
        self.publish_status(&key, &desc, out);
        true
    }

    /// Records what a stub says of itself.
    pub(crate) fn own_status(
        &mut self,
        now: Time,
        key: &RouteKey,
        word: &'static str,
        desc: &str,
        out: &mut Vec<UaOut>,
    ) {
        if self.change_status(now, key, word) {
            // A stub that changes its mind in a loop must not wash the record away.
            self.moved = true;
            let told = self.components.get_mut(key).is_some_and(|c| c.changes.take(now));
            if told {
                self.status_event(now, key, desc, out);
            }
            if word == "live" {
                out.push(UaOut::Live { key: key.clone() });
            }
        }
    }

    /// The event for all changes that had none.
    pub(crate) fn tell_changes(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        let untold = self.components.get_mut(key).and_then(|c| c.changes.told(now));
        if let Some(untold) = untold {
            self.status_event(now, key, &format!("after {untold} changes"), out);
        }
    }

    /// Records a status and publishes it: as the component's own resource, and as a copy from the
    /// runtime (`body.resource` names the component), as watchers of the original expect.
    pub(crate) fn set_status(
        &mut self,
        now: Time,
        key: &RouteKey,
        word: &'static str,
        desc: &str,
        out: &mut Vec<UaOut>,
    ) {
        if self.change_status(now, key, word) {
            self.status_event(now, key, desc, out);
            if word == "live" {
                out.push(UaOut::Live { key: key.clone() });
            }
        }
        self.publish_status(key, desc, out);
    }

    /// Whether that is another one.
    fn change_status(&mut self, now: Time, key: &RouteKey, word: &'static str) -> bool {
        let wall = self.events.wall(now);
        let Some(component) = self.components.get_mut(key) else { return false };
        let changed = std::mem::replace(&mut component.status, word) != word;
        if changed {
            component.status_ms = wall;
        }
        changed
    }

    fn status_event(&mut self, now: Time, key: &RouteKey, desc: &str, out: &mut Vec<UaOut>) {
        let Some(component) = self.components.get(key) else { return };
        let (word, stub) = (component.status, component.stub);
        let name = key.to_string();
        let detail = if desc.is_empty() { word.to_owned() } else { format!("{word}: {desc}") };
        let mut what = Happened::new("stub-status", &name, &detail);
        what.sandbox = stub;
        self.event(now, what, out);
    }

    pub(crate) fn publish_status(&mut self, key: &RouteKey, desc: &str, out: &mut Vec<UaOut>) {
        let Some(component) = self.components.get(key) else { return };
        let (word, url) = (component.status, component.url.clone());
        let mut body = json!({"value": word, "resource": url.as_str()});
        if let (false, Some(object)) = (desc.is_empty(), body.as_object_mut()) {
            object.insert("desc".to_owned(), json!(desc));
        }
        for (publisher, resource) in
            [(&url, url.child("status")), (&self.runtime, self.runtime.child("status"))]
        {
            if let Ok(resource) = resource {
                out.push(UaOut::Publish {
                    resource,
                    from: publisher.clone(),
                    body: body.to_string(),
                });
            }
        }
        self.answer_live(key, out);
        self.mark(key);
    }

    pub(crate) fn component(&mut self, key: &RouteKey) -> Option<&mut Component> {
        self.components.get_mut(key)
    }
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn words_of_all_generations_mean_five_things() {
        for (word, meaning) in [
            ("LIVE", Some("live")),
            ("connected", Some("live")),
            ("CREATED", Some("created")),
            ("in-progress", Some("in-progress")),
            ("Disconnected", Some("disconnected")),
            ("deployment-failed", Some("failed")),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(normalise(word), meaning, "{word}");
        }
    }
}
