//! Registration at the home domain's registry, `domain://registry.<home>` (runtime-core §4.11): who
//! is here is registered, kept alive, and registered again if the registry does not know it any
//! more; who is gone is said to be disconnected.

use super::leases::Step;
use crate::bus::own::{Asking, Outcome, Part, Purpose};
use crate::core::Core;
use crate::input::Time;
use crate::limits::{NODE_RETRY_MS, REJOIN_MS, RESTORE_JITTER_MS};
use crate::settings::Settings;
use crate::store::{Change, LeaseRow, Record, RecordKey, Table};
use crate::ua::Happened;
use protocol::address::{Address, SchemeClass};
use protocol::message::MessageType;
use protocol::reason::Reason;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Code of a registry that does not know the address.
const UNKNOWN: u16 = 404;
/// Time of a lease that is left for its refreshment: at 10/22 of it, as the original does.
const REFRESH: (u64, u64) = (10, 22);
/// Up to this part of it sooner, so that not all come at once.
const JITTER: u64 = 10;

impl Core {
    /// An address is here and to be registered, or no longer. `details` are further members of its
    /// registration, as JSON text.
    pub(crate) fn want_registered(&mut self, url: &str, details: Option<Arc<str>>, wanted: bool) {
        let wanted = wanted && self.settings.register && self.settings.has_home_stub();
        let now = self.bus.now;
        let Some(lease) = self.leases.get_mut(url) else {
            if !wanted {
                return;
            }
            if !self.leases.has_room() {
                let so_far = self.leases.turned_away;
                let why = format!("too many registrations; {so_far} were turned away so far");
                return self.note_trouble(url, &why);
            }
            let lease = self.leases.entry(url);
            (lease.wanted, lease.details) = (true, details);
            return self.leases.set_due(url, Some(now));
        };
        if !wanted && lease.is_unknown_there() {
            return self.leases.forget(url);
        }
        if wanted {
            lease.details = details;
        }
        if lease.wanted != wanted {
            (lease.wanted, lease.failures) = (wanted, 0);
            // What was said before comes first.
            if lease.flight.is_none() {
                self.leases.set_due(url, Some(now));
            }
        }
    }

    /// The home domain's stub, its connection or its node was lost and is back: whether the
    /// registry was, too, is found out by telling it again.
    pub(crate) fn registry_is_back(&mut self) {
        self.leases.lost(self.bus.now);
    }

    /// What is not sure any more is said again within some time.
    fn review_leases(&mut self) {
        let now = self.bus.now;
        for url in self.leases.unsure(now) {
            let jitter = self.ua.random() % RESTORE_JITTER_MS;
            self.leases.set_due(&url, Some(Time(now.0.saturating_add(jitter))));
        }
    }

    /// Whether the registry is to be told something now.
    pub(crate) fn has_news_for_registry(&self) -> bool {
        self.leases.earliest().is_some_and(|at| at <= self.bus.now) && self.may_register()
    }

    /// When something is to be said.
    pub(crate) fn next_registration(&self) -> Option<Time> {
        self.leases.earliest().filter(|_| self.may_register())
    }

    fn may_register(&self) -> bool {
        !self.bus.stopping && self.settings.has_home_stub()
    }

    /// Tells the registry what is due.
    pub(crate) fn tell_registry(&mut self) {
        let now = self.bus.now;
        if self.may_register() {
            self.review_leases();
        }
        while self.may_register()
            && let Some(url) = self.leases.pop_due(now)
        {
            let Some(lease) = self.leases.get(&url) else { continue };
            match self.leases.next(&url, now) {
                None => self.forget_lease(&url),
                Some(step) => {
                    let body = saying(step, &url, lease.details.as_deref(), &self.settings);
                    self.leases.begin(&url, step);
                    self.ask(Asking {
                        from: Part::Registry,
                        to: format!("domain://registry.{}", self.settings.domain),
                        kind: if step == Step::Create {
                            MessageType::Create
                        } else {
                            MessageType::Update
                        },
                        body: body.to_string(),
                        source: None,
                        within_ms: None,
                        purpose: Purpose::Registered(url),
                    });
                }
            }
        }
    }

    fn forget_lease(&mut self, url: &str) {
        let was_kept = self.leases.get(url).is_some_and(|lease| lease.until.is_some());
        self.leases.forget(url);
        if was_kept {
            self.persist(Change::Delete(RecordKey::new(Table::Lease, url)));
        }
    }

    /// The registry answered, or cannot be asked.
    pub(crate) fn registry_answered(&mut self, url: &str, outcome: Outcome) {
        let Some(step) = self.leases.end(url) else { return };
        let unknown = matches!(outcome, Outcome::Said { code: UNKNOWN, .. });
        let said = matches!(outcome, Outcome::Said { .. });
        match (step, outcome.agreed()) {
            (Step::Leave, Ok(_)) => self.left_registry(url),
            (Step::Leave, Err(_)) if unknown => self.left_registry(url),
            (_, Ok(_)) => self.is_registered(url),
            (Step::Return | Step::Refresh, Err(_)) if unknown => {
                if let Some(lease) = self.leases.get_mut(url) {
                    lease.until = None;
                }
                self.persist(Change::Delete(RecordKey::new(Table::Lease, url)));
                self.leases.set_due(url, Some(self.bus.now));
            }
            (_, Err(refusal)) => {
                if said {
                    self.note_trouble(url, &refusal.desc);
                }
                self.not_registered(url, refusal.retry_after_ms.unwrap_or(0));
            }
        }
    }

    /// It is known there as disconnected; if it came back meanwhile, it is new.
    fn left_registry(&mut self, url: &str) {
        if self.leases.get(url).is_some_and(|lease| lease.wanted) {
            if let Some(lease) = self.leases.get_mut(url) {
                lease.until = None;
            }
            self.persist(Change::Delete(RecordKey::new(Table::Lease, url)));
            self.leases.set_due(url, Some(self.bus.now));
        } else {
            self.forget_lease(url);
        }
    }

    fn is_registered(&mut self, url: &str) {
        let (now, lease_ms) = (self.bus.now, self.settings.lease_ms);
        let until = Time(now.0.saturating_add(lease_ms));
        let Some(lease) = self.leases.agreed(url, until) else { return };
        let wanted = lease.wanted;
        let half = lease_ms.saturating_mul(REFRESH.0).checked_div(REFRESH.1).unwrap_or(lease_ms);
        let sooner = self.ua.random().checked_rem(half / JITTER).unwrap_or(0);
        let wait = if wanted { half.saturating_sub(sooner) } else { 0 };
        self.leases.set_due(url, Some(Time(now.0.saturating_add(wait))));
        self.leases.troubled = false;
        let expires_ms = self.settings.epoch_ms.saturating_add(until.0);
        let row = LeaseRow { url: url.to_owned(), expires_ms };
        self.persist(Change::Put(Record::Lease(row)));
    }

    fn not_registered(&mut self, url: &str, at_least_ms: u64) {
        let now = self.bus.now;
        let Some(lease) = self.leases.get_mut(url) else { return };
        if !lease.wanted && lease.is_unknown_there() {
            return self.leases.forget(url);
        }
        let wait = NODE_RETRY_MS.get(lease.failures).or(NODE_RETRY_MS.last()).copied();
        let wait = wait.unwrap_or_default().max(at_least_ms);
        lease.failures = lease.failures.saturating_add(1);
        self.leases.set_due(url, Some(Time(now.0.saturating_add(wait))));
    }

    /// One event until the registry takes something again.
    fn note_trouble(&mut self, url: &str, why: &str) {
        if std::mem::replace(&mut self.leases.troubled, true) {
            return;
        }
        let name = format!("registry.{}", self.settings.domain);
        let detail = format!("the domain registry does not register {url}: {why}");
        let what = Happened::new("refused", &name, &detail).reason(Reason::NodeRefused.token());
        self.ua.event(self.bus.now, what, &mut self.ua_out);
    }

    /// A registration that was kept. Whoever had it has some time to come back.
    pub(crate) fn restore_lease(&mut self, row: &LeaseRow) {
        let at_home = Address::parse(&row.url)
            .is_ok_and(|a| a.as_str() == row.url && a.host() == self.settings.domain);
        if !at_home || !self.leases.has_room() {
            return;
        }
        let now = self.bus.now;
        let left = row.expires_ms.saturating_sub(self.settings.epoch_ms.saturating_add(now.0));
        // A clock that was set back must not make it longer than any is.
        let left = left.min(self.settings.lease_ms);
        let jitter = self.ua.random() % RESTORE_JITTER_MS;
        self.leases.entry(&row.url).until = Some(Time(now.0.saturating_add(left)));
        let wait = REJOIN_MS.saturating_add(jitter);
        self.leases.set_due(&row.url, Some(Time(now.0.saturating_add(wait))));
    }
}

/// What the registry is told, in the words of runtime-core §4.11.
fn saying(step: Step, url: &str, details: Option<&str>, settings: &Settings) -> Value {
    let scheme = url.split("://").next().unwrap_or_default();
    let object = SchemeClass::of(scheme) == SchemeClass::DataObject;
    match step {
        Step::Create => {
            let expires = settings.lease_ms / 1_000;
            let mut value = json!({
                "url": url, "runtime": settings.runtime_url, "expires": expires, "status": "live",
            });
            let given: Map<String, Value> =
                details.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            if let Some(all) = value.as_object_mut() {
                let schemes = if object { json!([scheme]) } else { json!([]) };
                all.insert("dataSchemes".to_owned(), schemes);
                all.insert("resources".to_owned(), json!([]));
                if !object {
                    all.insert("descriptor".to_owned(), json!(""));
                    all.insert("user".to_owned(), json!("user://anonymous"));
                }
                all.extend(given);
            }
            json!({"value": value, "policy": "policy"})
        }
        Step::Return => json!({"resource": url, "value": {"status": "live"}}),
        Step::Refresh => json!({"resource": url, "value": {"status": "live"}, "method": "refresh"}),
        Step::Leave if object => json!({"resource": url, "value": {"status": "disconnected"}}),
        Step::Leave => {
            let resource = format!("/hyperty/{url}");
            json!({"resource": resource, "value": "disconnected", "attribute": "status"})
        }
    }
}
