//! What operators ask of components: lists, deploys, signals, logs, events.

mod sandboxes;

use crate::effect::{Effect, ReplyTo};
use crate::input::{SandboxId, Time, Token};
use crate::limits::{FOLLOWERS_MAX, OPERATOR_WAIT_MS, WAITERS_PER_COMPONENT};
use crate::ua::component::{AfterStop, Component, State};
use crate::ua::sandbox::Sandbox;
use crate::ua::{Happened, Refusal, Ua, UaOut, bounded};
use protocol::address::RouteKey;
use protocol::control::{Command, Denial, EventRow, InspectReply, PsRow, Reply, StatusReply};
use protocol::ctl::{Level, Role};
use std::collections::BTreeMap;

/// Somebody who follows events, or the log of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Follower {
    pub(crate) token: Token,
    /// `None`: events.
    pub(crate) log_of: Option<RouteKey>,
}

/// What the other half knows for a reply.
#[derive(Debug, Default)]
pub(crate) struct OperatorCtx<'a> {
    /// Filled in but for what is known here.
    pub(crate) status: StatusReply,
    /// Resident bytes.
    pub(crate) rss: &'a [(SandboxId, u64)],
    /// Messages parked for a key.
    pub(crate) parked: u32,
}

pub(crate) fn reply(token: Token, reply: Reply, to: ReplyTo, out: &mut Vec<UaOut>) {
    out.push(UaOut::Effect(Effect::Reply { token, reply: Box::new(reply), to }));
}

pub(crate) fn deny(token: Token, denial: Denial, text: impl Into<String>, out: &mut Vec<UaOut>) {
    let denied = Reply::Denied { denial, code: None, reason: None, stage: None, text: text.into() };
    reply(token, denied, ReplyTo::Last, out);
}

pub(crate) fn deny_refusal(token: Token, refusal: &Refusal, out: &mut Vec<UaOut>) {
    let denied = Reply::Denied {
        denial: Denial::Failed,
        code: Some(refusal.reason.code()),
        reason: Some(refusal.reason),
        stage: refusal.stage.map(str::to_owned),
        text: refusal.desc.clone(),
    };
    reply(token, denied, ReplyTo::Last, out);
}

impl Ua {
    /// Every command but `Send`, `Resolve` and `Monitor`.
    pub(crate) fn operator(
        &mut self,
        now: Time,
        token: Token,
        command: Command,
        ctx: &OperatorCtx<'_>,
        out: &mut Vec<UaOut>,
    ) {
        self.moved = true;
        match command {
            Command::Status => {
                let status = self.status(now, ctx);
                reply(token, Reply::Status(Box::new(status)), ReplyTo::Last, out);
            }
            Command::Ps { all } => {
                let rows = self.rows(all, ctx.rss);
                reply(token, Reply::Ps(rows), ReplyTo::Last, out);
            }
            Command::Deploy { target, wait, live } => {
                self.operator_deploy(now, token, &target, (wait, live), out);
            }
            Command::Events { follow } => {
                for row in self.events.kept() {
                    reply(token, Reply::Event(Box::new(row.clone())), ReplyTo::More, out);
                }
                self.follow_or_end(token, None, follow, out);
            }
            Command::Inspect { name }
            | Command::Undeploy { name }
            | Command::Restart { name }
            | Command::Kill { name, .. }
            | Command::Logs { name, .. }
                if self.named(&name).is_none() =>
            {
                let text =
                    format!("no component {}; `runtimectl ps` lists them", bounded(&name, 128));
                deny(token, Denial::NotFound, text, out);
            }
            Command::Sandbox { name } => self.answer_sandbox(token, &name, out),
            Command::Inspect { name } => {
                if let Some(found) = self.named(&name).and_then(|key| self.inspect(now, &key, ctx))
                {
                    reply(token, Reply::Inspect(Box::new(found)), ReplyTo::Last, out);
                }
            }
            Command::Undeploy { name } => self.undeploy(now, token, &name, out),
            Command::Restart { name } => self.operator_restart(now, token, &name, out),
            Command::Kill { name, signal } => self.kill(token, &name, signal, out),
            Command::Logs { name, follow } => {
                let key = self.named(&name);
                let lines =
                    key.as_ref().and_then(|key| self.components.get(key)).map(|c| c.log.clone());
                for (time_ms, text) in lines.unwrap_or_default() {
                    reply(token, Reply::Log { time_ms, text }, ReplyTo::More, out);
                }
                self.follow_or_end(token, key, follow, out);
            }
            Command::Send { .. } | Command::Resolve { .. } | Command::Monitor { .. } => {
                deny(token, Denial::Usage, "this is not answered here", out);
            }
        }
    }

    /// The connection of an operator ended.
    pub(crate) fn operator_gone(&mut self, token: Token) {
        self.followers.retain(|follower| follower.token != token);
        for component in self.components.values_mut() {
            component.waiters.retain(|waiter| waiter.0 != token);
            component.leaving.retain(|waiter| *waiter != token);
        }
    }

    fn named(&self, name: &str) -> Option<RouteKey> {
        let lower = name.to_ascii_lowercase();
        let by_name = self.components.keys().find(|key| key.to_string() == lower);
        by_name.cloned().or_else(|| {
            let id = lower.parse().ok().map(SandboxId)?;
            self.components.values().find(|c| c.stub == Some(id)).map(|c| c.key.clone())
        })
    }

    fn follow_or_end(
        &mut self,
        token: Token,
        log_of: Option<RouteKey>,
        follow: bool,
        out: &mut Vec<UaOut>,
    ) {
        if !follow {
            return reply(token, Reply::Done, ReplyTo::Last, out);
        }
        if self.followers.len() >= FOLLOWERS_MAX {
            return deny(token, Denial::Failed, "too many follow already", out);
        }
        self.followers.push_back(Follower { token, log_of });
    }

    pub(crate) fn follow_event(&mut self, row: &EventRow, out: &mut Vec<UaOut>) {
        for follower in self.followers.iter().filter(|follower| follower.log_of.is_none()) {
            reply(follower.token, Reply::Event(Box::new(row.clone())), ReplyTo::More, out);
        }
    }

    /// A line of a stub's console, or of the worker itself.
    pub(crate) fn log_line(
        &mut self,
        now: Time,
        id: SandboxId,
        level: u8,
        text: &str,
        out: &mut Vec<UaOut>,
    ) {
        let lost = self.sandboxes.get_mut(&id).and_then(|sandbox| sandbox.rates.line(now));
        let Some(lost) = lost else { return };
        if lost > 0 {
            self.keep_line(now, id, 1, &format!("{lost} lines were not kept"), out);
        }
        self.keep_line(now, id, level, text, out);
    }

    fn keep_line(&mut self, now: Time, id: SandboxId, level: u8, text: &str, out: &mut Vec<UaOut>) {
        let text = bounded(text, protocol::limits::LOG_LINE_BYTES_MAX);
        let wall = self.events.wall(now);
        let name = match self.key_of(id) {
            Some(key) => {
                if let Some(component) = self.components.get_mut(&key) {
                    component.log(wall, text.clone());
                }
                for follower in self.followers.iter().filter(|f| f.log_of.as_ref() == Some(&key)) {
                    let line = Reply::Log { time_ms: wall, text: text.clone() };
                    reply(follower.token, line, ReplyTo::More, out);
                }
                key.to_string()
            }
            None => "net".to_owned(),
        };
        out.push(UaOut::Effect(Effect::Console { name, level: level.min(3), text }));
    }

    fn status(&self, now: Time, ctx: &OperatorCtx<'_>) -> StatusReply {
        let mut states: BTreeMap<&str, u32> = BTreeMap::new();
        for component in self.components.values() {
            let count = states.entry(component.state.word()).or_default();
            *count = count.saturating_add(1);
        }
        StatusReply {
            runtime: self.runtime.to_string(),
            domain: self.settings.domain.clone(),
            version: self.settings.version.clone(),
            uptime_ms: now.0,
            pid: self.settings.pid,
            states: states.into_iter().map(|(word, n)| (word.to_owned(), n)).collect(),
            minimum: self.settings.minimum.name().to_owned(),
            rss_bytes: rss_of(SandboxId(0), ctx.rss).unwrap_or_default(),
            ..ctx.status.clone()
        }
    }

    fn rows(&self, all: bool, rss: &[(SandboxId, u64)]) -> Vec<PsRow> {
        let mut rows: Vec<PsRow> = self.components.values().map(|c| self.row(c, rss)).collect();
        if all {
            let roles = self.sandboxes.iter().filter(|(_, s)| s.role != Role::Stub);
            rows.extend(roles.map(|(id, sandbox)| PsRow {
                name: sandbox.role.name().to_owned(),
                kind: "role".to_owned(),
                domain: self.key_of(*id).map_or(String::new(), |key| key.domain().to_owned()),
                state: if sandbox.is_usable() { "active" } else { "deploying" }.to_owned(),
                status: "none".to_owned(),
                pid: sandbox.pid,
                sandbox_id: Some(id.0),
                level: sandbox.level().name().to_owned(),
                layers: sandbox.layers(),
                rss_bytes: rss_of(*id, rss),
                ..PsRow::default()
            }));
        }
        rows
    }

    fn row(&self, component: &Component, rss: &[(SandboxId, u64)]) -> PsRow {
        let sandbox = component.stub.and_then(|id| self.sandboxes.get(&id));
        let package = component.package.as_ref();
        PsRow {
            name: component.key.to_string(),
            url: component.url.to_string(),
            kind: component.kind().to_owned(),
            engine: "js".to_owned(),
            domain: component.key.domain().to_owned(),
            state: component.state.word().to_owned(),
            status: component.status.to_owned(),
            pid: sandbox.and_then(|sandbox| sandbox.pid),
            restarts: component.restarts,
            sandbox_id: component.stub.map(|id| id.0),
            level: sandbox.map_or(Level::None, Sandbox::level).name().to_owned(),
            layers: sandbox.map(Sandbox::layers).unwrap_or_default(),
            digest: package.map(crate::ua::component::Package::digest_text),
            source: package.map(|package| package.source.clone()),
            pin: component.pin.as_ref().map(|_| {
                if self.domain_settings(&component.key).pin { "digest" } else { "rights" }
                    .to_owned()
            }),
            started_at_ms: sandbox.and(component.started_at).map(|at| self.events.wall(at)),
            rss_bytes: component.stub.and_then(|id| rss_of(id, rss)),
        }
    }

    fn inspect(&self, now: Time, key: &RouteKey, ctx: &OperatorCtx<'_>) -> Option<InspectReply> {
        let component = self.components.get(key)?;
        let sandbox = component.stub.and_then(|id| self.sandboxes.get(&id));
        let grants = component.package.as_ref().map(|package| &package.grants);
        Some(InspectReply {
            row: self.row(component, ctx.rss),
            granted: grants.map(crate::grants::Grants::all).unwrap_or_default(),
            not_granted: grants.map(|grants| grants.refused.clone()).unwrap_or_default(),
            proof: sandbox.map(|sandbox| sandbox.seen.clone()).unwrap_or_default(),
            attacks: sandbox
                .and_then(|sandbox| sandbox.report.as_ref())
                .map(|report| report.proof.clone())
                .unwrap_or_default(),
            missing: sandbox.map(Sandbox::missing).unwrap_or_default(),
            last_error: component.last_error.clone(),
            stages: component.stages.iter().cloned().collect(),
            parked: ctx.parked,
            retry_after_ms: component.retry_at.map(|at| at.0.saturating_sub(now.0)),
        })
    }

    fn operator_deploy(
        &mut self,
        now: Time,
        token: Token,
        target: &str,
        (wait, live): (bool, bool),
        out: &mut Vec<UaOut>,
    ) {
        let Some(key) = RouteKey::parse(target, &self.settings.domain) else {
            let text = format!("{} is neither a domain nor an address", bounded(target, 128));
            return deny(token, Denial::Usage, text, out);
        };
        if key.domain() == "localhost" {
            return deny(token, Denial::Usage, "no stub serves the domain localhost", out);
        }
        self.deploy_for(now, token, &key, (wait, live), out);
    }

    /// As an operator's `deploy` of this component.
    pub(crate) fn deploy_for(
        &mut self,
        now: Time,
        token: Token,
        key: &RouteKey,
        (wait, live): (bool, bool),
        out: &mut Vec<UaOut>,
    ) {
        self.moved = true;
        let idle = self.components.get(key).is_none_or(|component| {
            matches!(component.state, State::Failed | State::Quarantined | State::Dormant)
                || component.state == State::Stopping && component.after_stop != AfterStop::Forget
        });
        let backoff = self.components.get(key).is_some_and(|c| c.state == State::Backoff);
        if idle || backoff {
            if let Some(component) = self.components.get_mut(key) {
                component.exits.clear();
                component.failures = 0;
            }
            if let Err(refusal) = self.start(now, key, "an operator", out) {
                return deny_refusal(token, &refusal, out);
            }
        }
        let Some(component) = self.components.get_mut(key) else { return };
        component.by_operator = true;
        if component.state == State::Stopping && component.after_stop == AfterStop::Forget {
            if self.stopping {
                return deny_refusal(token, &component.refusal(now), out);
            }
            component.after_stop = AfterStop::Anew;
        }
        if !wait {
            return self.answer_deployed(token, key, out);
        }
        if component.waiters.len() >= WAITERS_PER_COMPONENT {
            return deny(token, Denial::Failed, "too many wait for this deploy", out);
        }
        component.waiters.push((token, live, Time(now.0.saturating_add(OPERATOR_WAIT_MS))));
        if component.state == State::Active {
            self.answer_waiters(key, None, out);
            self.answer_live(key, out);
        }
    }

    fn answer_deployed(&self, token: Token, key: &RouteKey, out: &mut Vec<UaOut>) {
        if let Some(component) = self.components.get(key) {
            let row = self.row(component, &[]);
            reply(token, Reply::Deployed(Box::new(row)), ReplyTo::Last, out);
        }
    }

    /// The deploy ended: everybody who waits for `active` hears of it; with a refusal, all do.
    pub(crate) fn answer_waiters(
        &mut self,
        key: &RouteKey,
        refusal: Option<&Refusal>,
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get_mut(key) else { return };
        let (done, rest) = std::mem::take(&mut component.waiters)
            .into_iter()
            .partition(|(_, live, _)| refusal.is_some() || !live);
        component.waiters = rest;
        let done: Vec<crate::ua::Waiter> = done;
        for (token, _, _) in done {
            match refusal {
                Some(refusal) => deny_refusal(token, refusal, out),
                None => self.answer_deployed(token, key, out),
            }
        }
    }

    /// Whoever waits for `live` hears of it.
    pub(crate) fn answer_live(&mut self, key: &RouteKey, out: &mut Vec<UaOut>) {
        let Some(component) = self.components.get_mut(key) else { return };
        if component.state != State::Active || component.status != "live" {
            return;
        }
        for (token, _, _) in std::mem::take(&mut component.waiters) {
            self.answer_deployed(token, key, out);
        }
    }

    pub(crate) fn expire_waiters(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        let Some(component) = self.components.get_mut(key) else { return };
        let text = format!(
            "{key} is {}, says {}, after {} s",
            component.state.word(),
            component.status,
            OPERATOR_WAIT_MS / 1_000
        );
        component.waiters.retain(|(token, _, until)| {
            let late = *until <= now;
            if late {
                deny(*token, Denial::Timeout, text.clone(), out);
            }
            !late
        });
    }

    fn undeploy(&mut self, now: Time, token: Token, name: &str, out: &mut Vec<UaOut>) {
        let Some(key) = self.named(name) else { return };
        self.door.removed |= matches!(key, RouteKey::P2pHandler(_));
        let removed = Refusal::new(protocol::reason::Reason::Undeployed, "an operator removed it");
        let leaves = self.take_away(now, &key, &removed, out);
        match self.components.get_mut(&key).filter(|_| leaves) {
            // The end of its process is the event, and the answer.
            Some(component) => component.leaving.push(token),
            None => reply(token, Reply::Done, ReplyTo::Last, out),
        }
    }

    /// Removes a component for good; whether its process is yet to end.
    pub(crate) fn take_away(
        &mut self,
        now: Time,
        key: &RouteKey,
        why: &Refusal,
        out: &mut Vec<UaOut>,
    ) -> bool {
        self.moved = true;
        let has_process = self.components.get(key).is_some_and(|c| c.stub.is_some());
        self.answer_waiters(key, Some(why), out);
        out.push(UaOut::Failed { key: key.clone(), refusal: why.clone() });
        self.remove(now, key, "removed", out);
        if let Some(component) = self.components.get_mut(key).filter(|_| has_process) {
            component.after_stop = AfterStop::Forget;
            return true;
        }
        self.forget(key, out);
        let name = key.to_string();
        self.event(now, Happened::new("exited", &name, &why.desc), out);
        false
    }

    fn operator_restart(&mut self, now: Time, token: Token, name: &str, out: &mut Vec<UaOut>) {
        let Some(key) = self.named(name) else { return };
        let Some(component) = self.components.get_mut(&key) else { return };
        component.exits.clear();
        component.quarantines = 0;
        component.failures = 0;
        if component.stub.is_some() && component.state == State::Active {
            component.after_stop = AfterStop::Restart;
            self.remove(now, &key, "operator", out);
        } else if !matches!(component.state, State::Deploying | State::Stopping)
            && let Err(refusal) = self.start(now, &key, "restart by the operator", out)
        {
            return deny_refusal(token, &refusal, out);
        }
        reply(token, Reply::Done, ReplyTo::Last, out);
    }

    fn kill(&mut self, token: Token, name: &str, signal: i32, out: &mut Vec<UaOut>) {
        let stub = self.named(name).and_then(|key| self.components.get(&key)?.stub);
        let Some(id) = stub else {
            return deny(
                token,
                Denial::NotActive,
                format!("{} has no process", bounded(name, 128)),
                out,
            );
        };
        if !(1..=64).contains(&signal) {
            return deny(token, Denial::Usage, format!("{signal} is no signal"), out);
        }
        if let Some(sandbox) = self.sandboxes.get_mut(&id) {
            sandbox.signalled = Some(signal);
        }
        out.push(UaOut::Effect(Effect::Signal { sandbox: id, signal }));
        reply(token, Reply::Done, ReplyTo::Last, out);
    }
}

fn rss_of(id: SandboxId, rss: &[(SandboxId, u64)]) -> Option<u64> {
    rss.iter().find(|(found, _)| *found == id).map(|(_, bytes)| *bytes)
}
