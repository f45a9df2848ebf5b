//! The end of a process: what it was, and what follows for its component.

use super::{INCOMPATIBLE, delay};
use crate::input::{Exit, SandboxId, Time};
use crate::limits::{EXITS_KEPT, QUARANTINE_MS, QUARANTINE_REARM_MS};
use crate::ua::component::{AfterStop, State, noun};
use crate::ua::hyperty::Hyperty;
use crate::ua::sandbox::Sandbox;
use crate::ua::{Happened, Refusal, Ua, UaOut};
use protocol::address::RouteKey;
use protocol::ctl::Role;
use protocol::reason::Reason;

/// Names of signals that a process usually dies of.
const fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "a signal",
    }
}

/// How long the next quarantine lasts, after so many.
pub(crate) fn quarantine_ms(before: usize) -> u64 {
    QUARANTINE_MS.get(before).or(QUARANTINE_MS.last()).copied().unwrap_or(30_000)
}

/// One word and one sentence.
fn cause(sandbox: &Sandbox, exit: Exit) -> (&'static str, String) {
    let how = match exit {
        Exit::Code(code) => format!("exit status {code}"),
        Exit::Signal(signal) => format!("{} ({signal})", signal_name(signal)),
        Exit::OutOfMemory => "SIGKILL (9), it wanted more memory than it may have".to_owned(),
        Exit::Unknown => "gone".to_owned(),
        Exit::Unkillable => "unkillable: SIGKILL does not end its process".to_owned(),
    };
    if let (None, Exit::Signal(signal)) = (&sandbox.condemned, exit)
        && sandbox.signalled == Some(signal)
    {
        return ("killed", format!("{how}, by an operator"));
    }
    match (&sandbox.condemned, exit) {
        (Some((why, text)), _) if text.is_empty() => (why, format!("{why}, {how}")),
        (Some((why, text)), _) => (why, format!("{why}: {text}, {how}")),
        (None, Exit::Code(0)) => ("clean", how),
        (None, Exit::Code(code)) if code == i32::from(protocol::exit::PERMANENT) => {
            (INCOMPATIBLE, how)
        }
        (None, Exit::Code(_)) => ("exit-code", how),
        (None, Exit::Signal(_)) => ("crash", how),
        (None, Exit::OutOfMemory) => ("oom", how),
        (None, Exit::Unknown | Exit::Unkillable) => ("unknown", how),
    }
}

impl Ua {
    /// The spawner could not make it, or lost it.
    pub(crate) fn lost(&mut self, now: Time, id: SandboxId, text: &str, out: &mut Vec<UaOut>) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        if sandbox.condemned.is_none() {
            sandbox.condemned = Some(("unavailable", text.to_owned()));
        }
        self.exited(now, id, Exit::Unknown, out);
    }

    pub(crate) fn exited(&mut self, now: Time, id: SandboxId, exit: Exit, out: &mut Vec<UaOut>) {
        let Some(sandbox) = self.sandboxes.remove(&id) else { return };
        if let Some(link) = sandbox.link {
            self.links.remove(&link);
        }
        let (why, text) = cause(&sandbox, exit);
        self.forget_connections(id, out);
        if sandbox.pid.is_some() && exit != Exit::Unkillable {
            Self::drop_sandbox(id, out);
        }
        let key = match &sandbox.owner {
            crate::ua::sandbox::Owner::Net => {
                self.event(now, Happened::new("exited", "net", &text).sandbox(id).reason(why), out);
                return self.net_gone(now, out);
            }
            crate::ua::sandbox::Owner::Component(key) => key.clone(),
        };
        if sandbox.role == Role::Fetch {
            let current =
                self.components.get(&key).and_then(|c| c.deploy.as_ref()?.fetch) == Some(id);
            if current {
                self.fetch_lost(now, (id, &key), &sandbox, (why, &text), out);
            }
            return;
        }
        let name = key.to_string();
        self.event(now, Happened::new("exited", &name, &text).sandbox(id).reason(why), out);
        let wall = self.events.wall(now);
        if let Some(component) = self.components.get_mut(&key).filter(|c| c.stub == Some(id)) {
            component.log(wall, format!("ended: {text}"));
            component.last_error = (why != "removed" && why != "clean").then(|| text.clone());
            self.mark(&key);
            self.stub_exited(now, &key, &sandbox, (why, &text), out);
        }
    }

    fn stub_exited(
        &mut self,
        now: Time,
        key: &RouteKey,
        sandbox: &Sandbox,
        (why, text): (&'static str, &str),
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get_mut(key) else { return };
        match component.state {
            State::Deploying => {
                let again = component.deploy.as_ref().is_some_and(|deploy| deploy.again);
                if again && sandbox.assigned {
                    component.stub = None;
                    component.deploy = None;
                    return self.unasked(now, key, sandbox, (why, text), out);
                }
                self.stub_lost(now, key, sandbox.assigned, (why, text), out);
            }
            State::Active => self.unasked(now, key, sandbox, (why, text), out),
            State::Stopping => self.asked(now, key, sandbox, why, out),
            State::Backoff | State::Dormant | State::Quarantined | State::Failed => {
                component.stub = None;
            }
        }
    }

    /// It died without being asked to.
    fn unasked(
        &mut self,
        now: Time,
        key: &RouteKey,
        sandbox: &Sandbox,
        (why, text): (&str, &str),
        out: &mut Vec<UaOut>,
    ) {
        let asked = why == "killed";
        let window_start = now.0.saturating_sub(self.settings.window_ms);
        let jitter = self.random() % 401;
        let settings = self.settings.clone();
        let Some(component) = self.components.get_mut(key) else { return };
        component.stub = None;
        if component
            .active_since
            .is_some_and(|at| now.0.saturating_sub(at.0) >= QUARANTINE_REARM_MS)
        {
            component.quarantines = 0;
        }
        component.active_since = None;
        if !asked {
            component.exits.push_back(now);
        }
        while component.exits.front().is_some_and(|at| at.0 < window_start)
            || component.exits.len() > EXITS_KEPT
        {
            component.exits.pop_front();
        }
        let unasked = u32::try_from(component.exits.len()).unwrap_or(u32::MAX);
        let (refusal, again, event, detail) = if unasked > settings.max_restarts {
            let ms = quarantine_ms(component.quarantines);
            component.quarantines = component.quarantines.saturating_add(1);
            component.state = State::Quarantined;
            component.retry_at = Some(Time(now.0.saturating_add(ms)));
            let detail = format!("{unasked} exits within the window; rests for {} s", ms / 1_000);
            (component.refusal(now), false, "quarantined", detail)
        } else {
            let ms = delay(unasked, settings.backoff_initial_ms, settings.backoff_max_ms, jitter);
            component.state = State::Backoff;
            component.restarts = component.restarts.saturating_add(1);
            component.retry_at = Some(Time(now.0.saturating_add(ms)));
            let died = Refusal::new(Reason::StubDied, format!("{} died: {text}", noun(key)));
            (died, true, "restart-scheduled", format!("in {ms} ms"))
        };
        let name = key.to_string();
        self.event(now, Happened::new(event, &name, &detail), out);
        let status = if again { "disconnected" } else { "failed" };
        self.set_status(now, key, status, text, out);
        if !again {
            self.answer_waiters(key, Some(&refusal), out);
        }
        if let Some(link) = sandbox.link {
            out.push(UaOut::Down { key: key.clone(), link, again, refusal: refusal.clone() });
        }
        if !again {
            out.push(UaOut::Failed { key: key.clone(), refusal });
        }
    }

    /// It ended because it was told to.
    fn asked(
        &mut self,
        now: Time,
        key: &RouteKey,
        sandbox: &Sandbox,
        why: &str,
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get_mut(key) else { return };
        component.stub = None;
        component.active_since = None;
        let (after, url) = (component.after_stop, component.url.clone());
        let again = component.starts_after_stop() && after != AfterStop::Anew;
        component.after_stop = AfterStop::default();
        let restart = after == AfterStop::Restart;
        component.state = State::Dormant;
        // What was given up while it started rests, as what failed does.
        component.retry_at = component.retry_at.filter(|_| after == AfterStop::Shed);
        let refusal = if self.stopping {
            Refusal::new(Reason::Stopping, "the runtime is stopping")
        } else {
            Refusal::new(Reason::Undeployed, format!("{} was removed", noun(key)))
        };
        if why != "idle" {
            self.set_status(now, key, "disconnected", "removed", out);
        }
        if let Some(link) = sandbox.link {
            out.push(UaOut::Down {
                key: key.clone(),
                link,
                again: again || why == "idle",
                refusal: refusal.clone(),
            });
        }
        out.push(UaOut::Removed { key: key.clone(), url });
        if after == AfterStop::Shed {
            self.drop_package(key, out);
        }
        if again {
            if let Some(component) = self.components.get_mut(key).filter(|_| restart) {
                component.restarts = component.restarts.saturating_add(1);
            }
            let cause = if restart { "restart by the operator" } else { "a message woke it" };
            if let Err(refusal) = self.start(now, key, cause, out) {
                self.answer_waiters(key, Some(&refusal), out);
                out.push(UaOut::Failed { key: key.clone(), refusal });
            }
        } else if after == AfterStop::Forget {
            self.forget(key, out);
            out.push(UaOut::Failed { key: key.clone(), refusal });
        } else if after == AfterStop::Anew {
            self.start_anew(now, key, out);
        }
    }

    /// What was removed is deployed as if it had never been; whoever waits for that goes on waiting.
    fn start_anew(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        let waiters = self
            .components
            .get_mut(key)
            .map(|c| std::mem::take(&mut c.waiters))
            .unwrap_or_default();
        let hyperty =
            self.components.get(key).and_then(|c| Some((c.url.clone(), c.hyperty.clone()?)));
        self.forget(key, out);
        if let Some((url, hyperty)) = hyperty {
            let _key = self.enter_hyperty(now, &url, Hyperty::new(hyperty.place, hyperty.uid));
        }
        let started = self.start(now, key, "an operator", out);
        if let Some(component) = self.components.get_mut(key) {
            component.waiters = waiters;
        } else {
            let gone = Refusal::new(Reason::Undeployed, format!("{} was removed", noun(key)));
            let refusal = started.err().unwrap_or(gone);
            for (token, _, _) in waiters {
                crate::operator::deny_refusal(token, &refusal, out);
            }
            out.push(UaOut::Failed { key: key.clone(), refusal });
        }
    }
}
