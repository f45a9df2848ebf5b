//! Which stubs and sandboxes are in the store, and how they come back.
//!
//! A stub is kept from its first activation or quarantine until it is forgotten: strangers choose
//! the domains, and of one that never ran nobody knows the address. A sandbox is kept while its
//! process lives.

use super::component::{Component, Package, State};
use super::{Happened, Ua, UaOut};
use crate::effect::Effect;
use crate::input::{SandboxId, Time};
use crate::limits::{COMPONENTS_MAX, SANDBOX_NUMBERS_KEPT, STATUS_KEPT_MS};
use crate::registry::normalise;
use crate::store::{Change, Record, RecordKey, SandboxRow, StubRow, Table};
use crate::supervise::quarantine_ms;
use protocol::address::{Address, RouteKey};
use std::collections::BTreeSet;

/// What the store has of one stub.
#[derive(Debug)]
pub(crate) struct Kept {
    row: StubRow,
    /// Since when, if in this life.
    at: Option<Time>,
}

impl Component {
    /// What is to be kept of it now.
    fn row(&self, wall: impl Fn(Time) -> u64) -> StubRow {
        let before = self.kept.as_ref().map(|kept| &kept.row);
        let package = self.package.as_ref();
        let version = package.map(|p| p.descriptor.version.clone()).filter(|v| !v.is_empty());
        StubRow {
            key: self.key.clone(),
            url: self.url.to_string(),
            interworking: self.interworking,
            source: package
                .map(|p| p.source.clone())
                .or_else(|| before.and_then(|row| row.source.clone())),
            digest: package
                .map(Package::digest_text)
                .or_else(|| before.and_then(|row| row.digest.clone())),
            version: if package.is_some() {
                version
            } else {
                before.and_then(|row| row.version.clone())
            },
            status: self.status.to_owned(),
            status_ms: self.status_ms,
            last_error: self.last_error.clone(),
            quarantines: u32::try_from(self.quarantines).unwrap_or(u32::MAX),
            quarantine_until_ms: self
                .retry_at
                .filter(|_| self.state == State::Quarantined)
                .map(wall),
        }
    }

    /// Whether somebody may know its address.
    fn is_worth_keeping(&self) -> bool {
        // A P2P connection is made anew, and its handler has its address for ever.
        let p2p = matches!(self.key, RouteKey::P2pHandler(_) | RouteKey::P2p(_));
        !p2p && (self.kept.is_some() || matches!(self.state, State::Active | State::Quarantined))
    }
}

impl StubRow {
    /// Whether this says nothing new but what the stub says of itself.
    fn differs_in_status_alone(&self, old: &Self) -> bool {
        let as_old = Self { status: old.status.clone(), status_ms: old.status_ms, ..self.clone() };
        as_old == *old
    }
}

impl Ua {
    /// Something that is kept of this stub may have changed.
    pub(crate) fn mark(&mut self, key: &RouteKey) {
        self.marked.insert(key.clone());
    }

    /// The wall clock was set: until when a stub rests is kept by it.
    pub(crate) fn clock_is_set(&mut self, epoch_ms: u64) {
        self.settings.epoch_ms = epoch_ms;
        self.events.clock_is_set(epoch_ms);
        let rest = self.components.values().filter(|c| c.state == State::Quarantined);
        self.marked.extend(rest.map(|c| c.key.clone()));
    }

    /// As [`Self::mark`], if what it said of itself has waited long enough.
    pub(crate) fn keep_if_due(&mut self, now: Time, key: &RouteKey) {
        let due = self.components.get_mut(key).and_then(|c| c.keep_at.take_if(|at| *at <= now));
        if due.is_some() {
            self.mark(key);
        }
    }

    /// Says what is to be kept of all that changed. A stub that says one thing after the other is
    /// kept now and then, and with the last.
    pub(crate) fn keep_marked(&mut self, now: Time, out: &mut Vec<Effect>) {
        for key in std::mem::take(&mut self.marked) {
            if matches!(key, RouteKey::Hyperty(_)) {
                self.keep_hyperty(now, &key, out);
                continue;
            }
            let events = &self.events;
            let Some(component) = self.components.get_mut(&key) else { continue };
            if !component.is_worth_keeping() {
                continue;
            }
            component.keep_at = None;
            let row = component.row(|at| events.wall(at));
            if let Some(kept) = &component.kept {
                if kept.row == row {
                    continue;
                }
                let soonest = kept.at.map(|at| Time(at.0.saturating_add(STATUS_KEPT_MS)));
                let soonest = soonest.filter(|soonest| now < *soonest);
                if soonest.is_some() && row.differs_in_status_alone(&kept.row) {
                    component.keep_at = soonest;
                    self.moved = true;
                    continue;
                }
            }
            out.push(Effect::Persist(Box::new(Change::Put(Record::Stub(row.clone())))));
            component.kept = Some(Kept { row, at: Some(now) });
        }
    }

    /// Checks that no stub has another address than the one it is kept with.
    pub(crate) fn check_kept(&self) -> Result<(), String> {
        let mut all = self.components.values();
        let moved =
            all.find(|c| c.kept.as_ref().is_some_and(|kept| kept.row.url != c.url.as_str()));
        moved.map_or(Ok(()), |c| Err(format!("{} is kept with another address", c.key)))
    }

    /// A stub is forgotten for good.
    pub(crate) fn drop_kept(component: &Component, out: &mut Vec<UaOut>) {
        if component.kept.is_some() {
            persist(Change::Delete(RecordKey::stub(&component.key)), out);
        }
        if let Some(hyperty) = &component.hyperty {
            Self::drop_hyperty(hyperty, component.url.as_str(), out);
        }
    }

    /// A process of ours lives.
    pub(crate) fn keep_sandbox(&self, now: Time, id: SandboxId, out: &mut Vec<UaOut>) {
        let Some(sandbox) = self.sandboxes.get(&id) else { return };
        let name = self.key_of(id).map_or_else(|| "net".to_owned(), |key| key.to_string());
        let row = SandboxRow {
            id: id.0,
            name,
            role: sandbox.role.name().to_owned(),
            pid: sandbox.pid.unwrap_or_default(),
            started_ms: self.events.wall(now),
        };
        persist(Change::Put(Record::Sandbox(row)), out);
    }

    /// It lives no longer.
    pub(crate) fn drop_sandbox(id: SandboxId, out: &mut Vec<UaOut>) {
        persist(Change::Delete(RecordKey::new(Table::Sandbox, id.0.to_string())), out);
    }

    /// Stubs that were kept: each has its address, rests as long as it has to, and is started by
    /// the next message.
    pub(crate) fn restore_stubs(
        &mut self,
        now: Time,
        mut rows: Vec<StubRow>,
        out: &mut Vec<UaOut>,
    ) {
        // The ones that nobody has heard of for the longest time go if there are too many.
        rows.sort_by(|a, b| b.status_ms.cmp(&a.status_ms).then_with(|| a.key.cmp(&b.key)));
        let mut known: BTreeSet<String> = BTreeSet::new();
        for row in rows {
            let own = address_of(&row).filter(|url| known.insert(url.to_string()));
            let full = self.components.len() >= COMPONENTS_MAX;
            let Some(url) = own.filter(|_| !full && !self.components.contains_key(&row.key)) else {
                persist(Change::Delete(RecordKey::stub(&row.key)), out);
                continue;
            };
            self.restore_stub(now, row, url);
        }
    }

    fn restore_stub(&mut self, now: Time, row: StubRow, url: Address) {
        let key = row.key.clone();
        let mut component = Component::new(key.clone(), url, now);
        component.state = State::Dormant;
        component.interworking = row.interworking;
        component.last_error.clone_from(&row.last_error);
        component.quarantines = usize::try_from(row.quarantines).unwrap_or(usize::MAX);
        let said = normalise(&row.status).unwrap_or("none");
        component.status = said;
        component.status_ms = row.status_ms;
        // Its process ended with the one that started it.
        if matches!(said, "created" | "in-progress" | "live") {
            component.status = "disconnected";
            component.status_ms = self.events.wall(now);
        }
        let left = row.quarantine_until_ms.map(|until| {
            // A clock that was set back meanwhile must not make it longer than it was.
            let longest = quarantine_ms(component.quarantines.saturating_sub(1));
            until.saturating_sub(self.events.wall(now)).min(longest)
        });
        if let Some(left) = left.filter(|left| *left > 0) {
            component.state = State::Quarantined;
            component.retry_at = Some(Time(now.0.saturating_add(left)));
        }
        component.kept = Some(Kept { row, at: None });
        self.components.insert(key.clone(), component);
        self.moved = true;
        self.mark(&key);
    }

    /// Processes of a life that ended without its word: they ended with it.
    pub(crate) fn restore_sandboxes(
        &mut self,
        now: Time,
        rows: &[SandboxRow],
        out: &mut Vec<UaOut>,
    ) {
        for row in rows {
            let id = SandboxId(row.id);
            let detail = format!("pid {} ended with the runtime that started it", row.pid);
            let what = Happened::new("exited", &row.name, &detail).sandbox(id);
            self.event(now, what.reason("lost"), out);
            Self::drop_sandbox(id, out);
            // Its number, address and host id are not given to another while it may still be dying.
            if row.id < SANDBOX_NUMBERS_KEPT {
                self.next_sandbox = self.next_sandbox.max(row.id.saturating_add(1));
            }
        }
    }
}

fn persist(change: Change, out: &mut Vec<UaOut>) {
    out.push(UaOut::Effect(Effect::Persist(Box::new(change))));
}

/// The address that was kept, if it is one that was given to such a stub.
fn address_of(row: &StubRow) -> Option<Address> {
    let url = Address::parse(&row.url).ok().filter(|url| url.as_str() == row.url)?;
    let start = match &row.key {
        RouteKey::Idp(domain) => format!("domain-idp://{domain}/stub/"),
        RouteKey::Domain(domain) | RouteKey::Legacy { domain, .. } => {
            format!("hyperty-runtime://{domain}/protostub/")
        }
        RouteKey::P2pHandler(_) | RouteKey::P2p(_) | RouteKey::Hyperty(_) => return None,
    };
    let guid = row.url.strip_prefix(&start)?;
    (!guid.is_empty() && !guid.contains('/') && row.key.domain() != "localhost").then_some(url)
}
