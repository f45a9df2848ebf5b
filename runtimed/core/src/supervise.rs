//! Supervision: what the end of a process means, when a stub is started again, when it rests.
//!
//! ```text
//! active ── dies unasked ─▶ backoff (first at once, then 200 ms ×4 ±20 %) ─▶ deploying ─▶ active
//!                        └▶ quarantined, after more than max_restarts within the window
//! active ── idle ─▶ stopping ─▶ dormant ── next message ─▶ deploying
//! ```
//!
//! Silence alone never ends anything; two missed heartbeats do.

mod exits;
mod shed;

pub(crate) use exits::quarantine_ms;

use crate::effect::{Attach, Effect, ReplyTo};
use crate::input::{LinkId, SandboxId, Time};
use crate::limits::{HEARTBEATS_MISSED_MAX, REMOVE_GRACE_MS};
use crate::operator::reply;
use crate::ua::component::{State, noun};
use crate::ua::{Refusal, Ua, UaOut};
use protocol::address::RouteKey;
use protocol::control::Reply;
use protocol::ctl::{CtlDown, Role};
use protocol::reason::Reason;

/// Why a worker ended that another one of the same build would not do better.
pub(crate) const INCOMPATIBLE: &str = "incompatible";
/// Why a worker is ended that goes over a bound which its code alone cannot bring it to.
pub(crate) const QUOTA: &str = "quota";

impl Ua {
    /// Removes a component that has no process.
    pub(crate) fn forget(&mut self, key: &RouteKey, out: &mut Vec<UaOut>) {
        let removed = Refusal::new(Reason::Undeployed, format!("{} was removed", noun(key)));
        self.answer_waiters(key, Some(&removed), out);
        let Some(component) = self.components.remove(key) else { return };
        Self::drop_kept(&component, out);
        for token in component.leaving {
            reply(token, Reply::Done, ReplyTo::Last, out);
        }
        if let Some(package) = component.package {
            out.push(UaOut::Effect(Effect::DropCode { code: package.code }));
        }
    }

    /// Asks a component to end; it is killed if it does not.
    pub(crate) fn remove(
        &mut self,
        now: Time,
        key: &RouteKey,
        why: &'static str,
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get_mut(key) else { return };
        component.state = State::Stopping;
        let (stub, deploy) = (component.stub, component.deploy.take());
        if let Some(fetch) = deploy.and_then(|deploy| deploy.fetch) {
            self.condemn(fetch, "removed", "", out);
        }
        let Some(id) = stub else { return };
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        sandbox.condemned.get_or_insert((why, String::new()));
        if sandbox.assigned {
            sandbox.deadline = Some(Time(now.0.saturating_add(REMOVE_GRACE_MS)));
            let grace_ms = u32::try_from(REMOVE_GRACE_MS).unwrap_or(u32::MAX);
            Self::send(id, CtlDown::Remove { grace_ms }, Attach::None, out);
        } else {
            out.push(UaOut::Effect(Effect::Kill { sandbox: id }));
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        now: Time,
        id: SandboxId,
        answered: bool,
        out: &mut Vec<UaOut>,
    ) {
        let heartbeat = self.settings.heartbeat_ms;
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        let before = sandbox.missed;
        sandbox.missed = if answered { 0 } else { before.saturating_add(1) };
        let hangs = sandbox.missed > HEARTBEATS_MISSED_MAX;
        if !hangs {
            let wait = if answered { heartbeat } else { 0 };
            sandbox.next_ping = Some(Time(now.0.saturating_add(wait)));
        }
        let word = match (answered, before) {
            (false, _) => Some("a heartbeat was not answered in time"),
            (true, 1..) => Some("heartbeats are answered again"),
            (true, 0) => None,
        };
        if let (Some(word), Some(key)) = (word, self.key_of(id)) {
            let wall = self.events.wall(now);
            if let Some(component) = self.component(&key) {
                component.log(wall, word.to_owned());
            }
        }
        if hangs {
            self.condemn(id, "hang", "two heartbeats were not answered", out);
        }
    }

    pub(crate) fn tick(&mut self, now: Time, out: &mut Vec<UaOut>) {
        let due: Vec<SandboxId> = self
            .sandboxes
            .iter()
            .filter(|(_, sandbox)| sandbox.next_deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.sandbox_tick(now, id, out);
        }
        let keys: Vec<RouteKey> = self
            .components
            .values()
            .filter(|c| c.next_deadline(&self.settings).is_some_and(|at| at <= now))
            .map(|c| c.key.clone())
            .collect();
        for key in keys {
            self.component_tick(now, &key, out);
        }
        self.keep_handler(now, out);
        self.net_tick(now, out);
    }

    fn sandbox_tick(&mut self, now: Time, id: SandboxId, out: &mut Vec<UaOut>) {
        let heartbeat = self.settings.heartbeat_ms;
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        if sandbox.deadline.is_some_and(|at| at <= now) {
            let text = match (sandbox.assigned, sandbox.report.is_some()) {
                (false, false) => "it was not confined in time",
                (false, true) => "it was not ready in time",
                (true, _) => "it did not load, activate or end in time",
            };
            return self.condemn(id, "timeout", text, out);
        }
        if sandbox.next_ping.is_some_and(|at| at <= now) {
            sandbox.next_ping = None;
            out.push(UaOut::Effect(Effect::Ping { sandbox: id, within_ms: heartbeat }));
        }
    }

    fn component_tick(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        self.keep_if_due(now, key);
        self.expire_waiters(now, key, out);
        self.tell_changes(now, key, out);
        let idle_ms = self.settings.idle_ms;
        let held = self.is_held(key);
        let Some(component) = self.components.get_mut(key) else { return };
        match component.state {
            State::Deploying => self.deploy_tick(now, key, out),
            State::Backoff if component.retry_at.is_some_and(|at| at <= now) => {
                if let Err(refusal) = self.start(now, key, "restart", out) {
                    // Too many deploys at once: it is not the stub's fault, and it is tried again.
                    let wait = refusal.retry_after_ms.unwrap_or(1_000);
                    if let Some(component) = self.components.get_mut(key) {
                        component.retry_at = Some(Time(now.0.saturating_add(wait)));
                    }
                }
            }
            State::Quarantined if component.retry_at.is_some_and(|at| at <= now) => {
                component.state = State::Dormant;
                component.retry_at = None;
                component.exits.clear();
                self.marked.insert(key.clone());
            }
            State::Active if now.0.saturating_sub(component.last_used.0) >= idle_ms => {
                let streams = component
                    .stub
                    .and_then(|id| self.sandboxes.get(&id))
                    .map_or(0, |s| s.streams.len());
                if streams > 0 || held {
                    component.last_used = now;
                } else {
                    self.remove(now, key, "idle", out);
                }
            }
            _ => {}
        }
    }

    /// Components that were sent nothing for as long as makes them idle, and their links.
    pub(crate) fn about_to_rest(&self, now: Time) -> Vec<(RouteKey, LinkId)> {
        let idle_ms = self.settings.idle_ms;
        let due = self.components.values().filter(|component| {
            component.state == State::Active
                && now.0.saturating_sub(component.last_used.0) >= idle_ms
        });
        due.filter_map(|component| {
            let link = self.sandboxes.get(&component.stub?)?.link?;
            Some((component.key.clone(), link))
        })
        .collect()
    }

    pub(crate) fn stop(&mut self, now: Time, out: &mut Vec<UaOut>) {
        self.stopping = true;
        let stopping = Refusal::new(Reason::Stopping, "the runtime is stopping");
        let keys: Vec<RouteKey> = self.components.keys().cloned().collect();
        for key in keys {
            self.answer_waiters(&key, Some(&stopping), out);
            if self.components.get(&key).is_some_and(|c| c.stub.is_some() || c.deploy.is_some()) {
                self.remove(now, &key, "removed", out);
            }
        }
    }

    pub(crate) fn check_stopped(&mut self, out: &mut Vec<UaOut>) {
        // The net role goes last: over its relays the stubs say goodbye to their message nodes.
        if self.stopping && self.sandboxes.values().all(|s| s.role == Role::Net) {
            let net = self.net.sandbox;
            let alive =
                net.filter(|id| self.sandboxes.get(id).is_some_and(|s| s.condemned.is_none()));
            if let Some(id) = alive {
                self.condemn(id, "removed", "", out);
            }
        }
        if self.stopping && !self.stopped && self.sandboxes.is_empty() {
            self.stopped = true;
            out.push(UaOut::Effect(Effect::Stopped));
        }
    }
}

/// Milliseconds before the restart after the `exits`th exit; `jitter` is 0 to 400 thousandths.
pub(crate) fn delay(exits: u32, initial_ms: u64, max_ms: u64, jitter: u64) -> u64 {
    if exits <= 1 {
        return 0;
    }
    let grown =
        4_u64.saturating_pow(exits.saturating_sub(2)).saturating_mul(initial_ms).min(max_ms);
    grown.saturating_mul(800_u64.saturating_add(jitter)) / 1_000
}

#[cfg(test)]
mod tests {
    use super::delay;

    #[test]
    fn the_first_restart_is_at_once_then_four_times_longer_each_up_to_the_maximum() {
        let middle = |exits| delay(exits, 200, 60_000, 200);
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(middle), [0, 200, 800, 3_200, 12_800, 51_200, 60_000]);
        assert_eq!((delay(2, 200, 60_000, 0), delay(2, 200, 60_000, 400)), (160, 240));
        assert_eq!(delay(u32::MAX, 200, 60_000, 400), 72_000);
    }
}
