//! The sandbox's part of a deploy: confined, verified, assigned, loaded, activated.

use crate::effect::{Attach, Effect};
use crate::input::{LinkId, SandboxId, Time};
use crate::limits::{
    LOAD_MS, PROBES_MIN, REPORT_LINE_BYTES, REPORT_LINES, SPAWN_TRIES, TURN_MS, VERIFY_MS,
};
use crate::supervise::INCOMPATIBLE;
use crate::ua::component::{Package, State};
use crate::ua::sandbox::{Owner, Sandbox};
use crate::ua::{Bridge, Happened, Refusal, Ua, UaOut, bounded};
use protocol::address::RouteKey;
use protocol::ctl::{
    Assign, ConfinedReport, CtlDown, EngineKind, HostProfile, Level, ProofReport, Role,
};
use protocol::reason::Reason;

impl Ua {
    pub(crate) fn spawned(
        &mut self,
        now: Time,
        id: SandboxId,
        link: LinkId,
        (pid, _namespaces): (i32, bool),
        out: &mut Vec<UaOut>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return out.push(UaOut::Effect(Effect::Kill { sandbox: id }));
        };
        sandbox.pid = Some(pid);
        sandbox.link = Some(link);
        self.links.insert(link, id);
        let (role, condemned) = (sandbox.role, sandbox.condemned.is_some());
        self.keep_sandbox(now, id, out);
        if condemned {
            return out.push(UaOut::Effect(Effect::Kill { sandbox: id }));
        }
        if let (Role::Stub, Some(key)) = (role, self.key_of(id)) {
            let wall = self.events.wall(now);
            if let Some(component) = self.component(&key) {
                component.started_at = Some(now);
                component.log(wall, format!("started as pid {pid}"));
            }
        }
    }

    pub(crate) fn confined(
        &mut self,
        now: Time,
        id: SandboxId,
        report: &ConfinedReport,
        out: &mut Vec<UaOut>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        if sandbox.report.is_some() {
            return self.condemn(id, "protocol", "confined twice", out);
        }
        let lines = |lines: &[String]| {
            let kept = lines.iter().take(REPORT_LINES);
            kept.map(|line| bounded(line, REPORT_LINE_BYTES)).collect()
        };
        sandbox.report = Some(ConfinedReport {
            level: report.level,
            layers: lines(&report.layers),
            missing: lines(&report.missing),
            proof: ProofReport { failures: lines(&report.proof.failures), ..report.proof },
        });
        sandbox.deadline = Some(Time(now.0.saturating_add(VERIFY_MS)));
        out.push(UaOut::Effect(Effect::Verify { sandbox: id }));
    }

    pub(crate) fn verified(
        &mut self,
        now: Time,
        id: SandboxId,
        outcome: Result<Vec<String>, String>,
        out: &mut Vec<UaOut>,
    ) {
        let minimum = self.settings.minimum;
        let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|s| s.condemned.is_none()) else {
            return;
        };
        if sandbox.report.is_none() {
            return;
        }
        let name = name_of(&sandbox.owner);
        let problem = match outcome {
            Err(text) => Some(format!("the check from outside failed: {text}")),
            // A cgroup may take longer than all else, and only this level needs it.
            Ok(seen) if minimum == Level::Full && sandbox.cgroup.is_none() => {
                sandbox.waiting = Some(seen);
                return;
            }
            Ok(seen) => {
                sandbox.seen = seen;
                let problem = falls_short(sandbox, minimum);
                sandbox.verified = problem.is_none();
                problem
            }
        };
        if let Some(text) = problem {
            let what = Happened::new("sandbox-refused", &name, &text).sandbox(id);
            self.event(now, what.reason(Reason::SandboxRefused.token()), out);
            let key = self.key_of(id);
            self.condemn(id, "refused", &text, out);
            if let Some(key) = key {
                self.fail(now, &key, Refusal::new(Reason::SandboxRefused, text).at("sandbox"), out);
            }
            return;
        }
        self.say_proved(now, id, out);
        self.usable(now, id, out);
    }

    fn say_proved(&mut self, now: Time, id: SandboxId, out: &mut Vec<UaOut>) {
        let Some(sandbox) = self.sandboxes.get(&id) else { return };
        let name = name_of(&sandbox.owner);
        let mut detail = format!("{}: {}", sandbox.level().name(), sandbox.layers().join(" "));
        if let Some(report) = &sandbox.report {
            detail.push_str("; ");
            detail.push_str(&attacks(&report.proof));
        }
        for missing in sandbox.missing() {
            detail.push_str("; no ");
            detail.push_str(&missing);
        }
        self.event(now, Happened::new("sandbox-proved", &name, &detail).sandbox(id), out);
    }

    /// The kernel was asked for a cgroup, which may take longer than all else.
    pub(crate) fn limited(
        &mut self,
        now: Time,
        id: SandboxId,
        outcome: Result<Vec<String>, String>,
        out: &mut Vec<UaOut>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        sandbox.cgroup = Some(outcome);
        let (waiting, verified) = (sandbox.waiting.take(), sandbox.verified);
        if let Some(seen) = waiting {
            self.verified(now, id, Ok(seen), out);
        } else if verified {
            self.say_proved(now, id, out);
        }
    }

    pub(crate) fn ready(&mut self, now: Time, id: SandboxId, out: &mut Vec<UaOut>) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        if sandbox.ready || sandbox.report.is_none() {
            return self.condemn(id, "protocol", "hello before it was confined, or twice", out);
        }
        sandbox.ready = true;
        self.usable(now, id, out);
    }

    /// Confined, verified and ready: code, a job or connections may come.
    fn usable(&mut self, now: Time, id: SandboxId, out: &mut Vec<UaOut>) {
        let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|s| s.is_usable()) else { return };
        sandbox.deadline = None;
        if sandbox.role == Role::Net {
            sandbox.next_ping = Some(Time(now.0.saturating_add(self.settings.heartbeat_ms)));
        }
        match (sandbox.role, self.key_of(id)) {
            (Role::Net, _) => self.net_ready(id, out),
            (Role::Fetch, Some(key)) => self.give_job(now, id, &key, out),
            (Role::Stub, Some(key)) => {
                self.stage(now, &key, "sandbox", "", out);
                self.assign_when_ready(now, &key, out);
            }
            _ => {}
        }
    }

    /// Steps 17 and 18: once both the code and the sandbox are there.
    pub(crate) fn assign_when_ready(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        if self.may_be_assigned(key).is_some() && !self.waits_for_login(now, key, out) {
            self.assign(now, key, None, out);
        }
    }

    /// The sandbox, if it waits for nothing else.
    fn may_be_assigned(&self, key: &RouteKey) -> Option<SandboxId> {
        let component = self.components.get(key)?;
        let id = component.stub?;
        let usable = self.sandboxes.get(&id).is_some_and(|s| s.is_usable() && !s.assigned);
        let ready = component.package.is_some() && component.deploy.is_some();
        (usable && ready).then_some(id)
    }

    /// Gives the code and its configuration to the sandbox, if it is there.
    pub(super) fn assign(
        &mut self,
        now: Time,
        key: &RouteKey,
        credentials: Option<serde_json::Value>,
        out: &mut Vec<UaOut>,
    ) {
        let Some(id) = self.may_be_assigned(key) else { return };
        let Some(component) = self.components.get(key) else { return };
        let Some(package) = component.package.as_ref() else { return };
        let mut more = self.peer_configuration(key);
        more.extend(credentials.map(|credentials| ("credentials", credentials)));
        let window = package.descriptor.wants_window();
        let assign = Assign {
            component: component.url.to_string(),
            runtime_url: self.runtime.to_string(),
            config: merged(&package.descriptor.configuration, self.runtime.as_str(), more),
            profile: if window { HostProfile::Window } else { HostProfile::Worker },
            engine: EngineKind::Js,
            ca_pem: self.domain_settings(key).ca_pem.clone(),
            memory_bytes: self.settings.memory_bytes,
            turn_ms: TURN_MS,
            grants: package.grants.all(),
        };
        let bridge = Bridge {
            key: key.clone(),
            url: component.url.clone(),
            sandbox: self.sandbox_address(id),
        };
        let code = package.code;
        let identity = self.identity_for(key);
        if let Some(sandbox) = self.sandboxes.get_mut(&id) {
            sandbox.assigned = true;
            sandbox.bridge = Some(bridge);
            sandbox.deadline = Some(Time(now.0.saturating_add(LOAD_MS)));
        }
        self.stage(now, key, "assign", "", out);
        if let Some(identity) = identity {
            Self::send(id, CtlDown::Identity(Box::new(identity)), Attach::None, out);
        }
        Self::send(id, CtlDown::Assign(Box::new(assign)), Attach::Code(code), out);
    }

    pub(crate) fn loaded(&mut self, now: Time, id: SandboxId, out: &mut Vec<UaOut>) {
        let Some(key) = self.starting(id).filter(|key| self.is_at(key, "assign")) else {
            return self.condemn(id, "protocol", "loaded what was not assigned, or twice", out);
        };
        if let Some(sandbox) = self.sandboxes.get_mut(&id) {
            sandbox.deadline = Some(Time(now.0.saturating_add(LOAD_MS)));
        }
        self.stage(now, &key, "load", "", out);
    }

    /// Step 19 (21): the route leads to it from now on.
    pub(crate) fn activated(&mut self, now: Time, id: SandboxId, name: &str, out: &mut Vec<UaOut>) {
        let Some(key) = self.starting(id).filter(|key| self.is_at(key, "load")) else {
            return self.condemn(id, "protocol", "activated what was not loaded", out);
        };
        self.stage(now, &key, "activate", &bounded(name, 128), out);
        self.stage(now, &key, "listener", "", out);
        let heartbeat = self.settings.heartbeat_ms;
        let link = self.sandboxes.get_mut(&id).and_then(|sandbox| {
            sandbox.deadline = None;
            sandbox.next_ping = Some(Time(now.0.saturating_add(heartbeat)));
            sandbox.link
        });
        let Some(component) = self.components.get_mut(&key) else { return };
        let deploy = component.deploy.take();
        component.state = State::Active;
        // First used is what ran, not what was merely fetched.
        if component.pin.is_none() {
            component.pin = component.package.as_ref().map(Package::pin);
        }
        component.failures = 0;
        component.retry_at = None;
        component.active_since = Some(now);
        component.last_used = now;
        let url = component.url.clone();
        // Its work is done; a fetch worker that does not end by itself is ended.
        if let Some(fetch) = deploy.and_then(|deploy| deploy.fetch) {
            self.condemn(fetch, "done", "", out);
        }
        if let Some(link) = link {
            out.push(UaOut::Active { key: key.clone(), link, url });
        }
        self.mark(&key);
        self.answer_waiters(&key, None, out);
        self.answer_live(&key, out);
        // Who comes is for the handler; the net role lets nobody in before.
        self.open_door(out);
        self.start_net(now, out);
    }

    pub(crate) fn deploy_failed(
        &mut self,
        now: Time,
        id: SandboxId,
        stage: &str,
        text: &str,
        out: &mut Vec<UaOut>,
    ) {
        let Some(key) = self.starting(id) else {
            return self.condemn(id, "protocol", "failed what was not assigned", out);
        };
        let (reason, stage) =
            if stage == "load" { (Reason::Load, "load") } else { (Reason::Activation, "activate") };
        self.fail(now, &key, Refusal::new(reason, bounded(text, 512)).at(stage), out);
    }

    /// A sandbox of a deploy is gone before it was the stub's turn to answer for it.
    pub(crate) fn stub_lost(
        &mut self,
        now: Time,
        key: &RouteKey,
        assigned: bool,
        (why, text): (&str, &str),
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get_mut(key) else { return };
        component.stub = None;
        let Some(deploy) = component.deploy.as_mut() else { return };
        if assigned {
            let activating = component.stages.iter().any(|(stage, _)| stage == "load");
            let (reason, stage) =
                if activating { (Reason::Activation, "activate") } else { (Reason::Load, "load") };
            return self.fail(
                now,
                key,
                Refusal::new(reason, format!("the sandbox ended: {text}")).at(stage),
                out,
            );
        }
        deploy.spawns = deploy.spawns.saturating_add(1);
        if why == INCOMPATIBLE || deploy.spawns > SPAWN_TRIES {
            let text = format!("no sandbox: {text}");
            return self.fail(
                now,
                key,
                Refusal::new(Reason::SandboxUnavailable, text).at("sandbox"),
                out,
            );
        }
        let id = self.spawn(now, Role::Stub, Owner::Component(key.clone()), out);
        if let Some(component) = self.components.get_mut(key) {
            component.stub = Some(id);
        }
    }

    /// Whether that is the last stage that the deploy reached.
    fn is_at(&self, key: &RouteKey, stage: &str) -> bool {
        self.components
            .get(key)
            .and_then(|component| component.deploy.as_ref())
            .is_some_and(|deploy| deploy.stage == stage)
    }

    /// The key, if the sandbox is the assigned stub of a deploy under way.
    fn starting(&self, id: SandboxId) -> Option<RouteKey> {
        let key = self.key_of(id)?;
        let component = self.components.get(&key)?;
        let assigned = self.sandboxes.get(&id).is_some_and(|s| s.assigned && s.condemned.is_none());
        (component.stub == Some(id) && component.deploy.is_some() && assigned).then_some(key)
    }
}

/// Why a worker that is what it says is not closed enough.
fn falls_short(sandbox: &Sandbox, minimum: Level) -> Option<String> {
    let proof = &sandbox.report.as_ref()?.proof;
    if proof.probes < PROBES_MIN {
        return Some(format!("its proof is of {} attacks instead of {PROBES_MIN}", proof.probes));
    }
    // The net role is ours, and in the host's network on purpose: what it claims must hold.
    if sandbox.role == Role::Net {
        return (proof.denied != proof.probes).then(|| attacks(proof));
    }
    let level = sandbox.level();
    (level < minimum).then(|| {
        let (level, minimum) = (level.name(), minimum.name());
        format!("level {level} is below the minimum {minimum}: {}", sandbox.missing().join("; "))
    })
}

/// What came of the attacks, in one sentence.
fn attacks(proof: &ProofReport) -> String {
    let ProofReport { probes, denied, took_us, failures } = proof;
    let mut text = format!("{denied} of {probes} attacks refused in {took_us} µs");
    if let Some(first) = failures.first() {
        text.push_str(", but not ");
        text.push_str(first);
    }
    text
}

fn name_of(owner: &Owner) -> String {
    match owner {
        Owner::Component(key) => key.to_string(),
        Owner::Net => "net".to_owned(),
    }
}

/// The descriptor's configuration with the runtime's address in it (seed `deploy-protostub`, 17),
/// and what a P2P connection or a login adds.
fn merged(configuration: &str, runtime: &str, more: Vec<(&str, serde_json::Value)>) -> String {
    let mut value: serde_json::Value =
        serde_json::from_str(configuration).unwrap_or_else(|_e| serde_json::json!({}));
    if let Some(object) = value.as_object_mut() {
        object.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        object.insert("runtimeURL".to_owned(), serde_json::json!(runtime));
    }
    value.to_string()
}
