//! The deploy of a stub or a hyperty, step by step (seeds `deploy-protostub`, 22 steps, and `deploy-iwstub`, 24).
//!
//! ```text
//! stage        seed steps       what happens here
//! trigger      1–3              a message, an application or an operator asks; no stub is known
//! sandbox      13–16 (IW 14–17) a fetch worker and a stub worker are spawned, confined, verified
//! descriptor   4–5              the fetch worker reads the domain's catalogue
//! policy       6 (IW 6–8)       constraints, grants, pins
//! source       7–8              the fetch worker reads and decodes the code; it is hashed
//! register     9–12             address, status listener
//! login        —                credentials, where the operator named an identity provider
//! assign       17–18            code and merged configuration go into the sandbox
//! load         18               the code is evaluated
//! activate     18               its entry is called
//! listener     19 (IW 21)       the route leads to it; parked messages are released
//! ```
//!
//! A hyperty has its address before (`crate::ua::hyperty`), is listed in another folder of the
//! catalogue, and asks for no other domain's. The sandbox is prepared while the descriptor is fetched; everything else is in the seeds' order.

mod fetching;
mod login;
mod starting;

use crate::effect::Effect;
use crate::input::{CodeHandle, Digest, SandboxId, Time};
use crate::limits::{COMPONENTS_MAX, DEPLOY_MS, DEPLOYS_MAX, FAILED_MS};
use crate::settings::DomainSettings;
use crate::ua::component::{AfterStop, Component, State};
use crate::ua::sandbox::{Owner, Sandbox};
use crate::ua::{Happened, Refusal, Ua, UaOut};
use protocol::address::RouteKey;
use protocol::ctl::Role;
use protocol::descriptor::Descriptor;
use protocol::reason::Reason;
use std::collections::{BTreeSet, VecDeque};

/// One catalogue to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The domain's own, or the home domain's.
    pub(crate) own: bool,
    pub(crate) base: String,
    pub(crate) alternatives: Vec<String>,
    pub(crate) names: Vec<String>,
    /// By whose rules: of the domain, or of the home domain.
    pub(crate) settings: DomainSettings,
}

impl Source {
    /// Addresses that its fetch worker is sent to, and that these may lead to.
    fn places(&self) -> impl Iterator<Item = &str> {
        let places = std::iter::once(&self.base).chain(&self.alternatives);
        places.chain(&self.settings.sources).map(String::as_str)
    }
}

/// A deploy or a restart under way.
#[derive(Debug)]
pub(crate) struct Deploy {
    pub(crate) started: Time,
    pub(crate) deadline: Time,
    pub(crate) stage: &'static str,
    /// Catalogues not yet asked.
    pub(crate) sources: VecDeque<Source>,
    pub(crate) source: Option<Source>,
    pub(crate) source_deadline: Option<Time>,
    pub(crate) fetch: Option<SandboxId>,
    pub(crate) descriptor: Option<(Descriptor, String)>,
    pub(crate) code: Option<(CodeHandle, Digest)>,
    /// What the first catalogue answered: the error that the sender gets.
    pub(crate) first_error: Option<Refusal>,
    pub(crate) spawns: u8,
    /// Whether the code was there already: a restart.
    pub(crate) again: bool,
    pub(crate) private_targets: BTreeSet<String>,
    /// The proxy of an identity provider is asked for credentials.
    pub(crate) asks_login: bool,
}

impl Deploy {
    pub(crate) fn next_deadline(&self) -> Time {
        self.source_deadline.map_or(self.deadline, |at| at.min(self.deadline))
    }

    /// `host:port` that the fetch worker may reach now.
    pub(crate) fn fetch_targets(&self) -> BTreeSet<String> {
        let Some(source) = &self.source else { return BTreeSet::new() };
        source.places().filter_map(fetching::target_of).collect()
    }
}

impl Ua {
    /// Starts a deploy, or starts again what is dormant.
    pub(crate) fn start(
        &mut self,
        now: Time,
        key: &RouteKey,
        cause: &str,
        out: &mut Vec<UaOut>,
    ) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::new(Reason::Stopping, "the runtime is stopping"));
        }
        let p2p = matches!(key, RouteKey::P2pHandler(_) | RouteKey::P2p(_));
        if p2p && self.settings.p2p.is_none() {
            let text = "this runtime has no [p2p]";
            return Err(Refusal::new(Reason::NotImplemented, text));
        }
        self.door.removed &= !matches!(key, RouteKey::P2pHandler(_));
        if let Some(component) = self.components.get_mut(key).filter(|c| c.state == State::Stopping)
        {
            match component.after_stop {
                AfterStop::Forget => return Err(component.refusal(now)),
                AfterStop::Sleep | AfterStop::Shed => component.after_stop = AfterStop::Wake,
                AfterStop::Wake | AfterStop::Restart | AfterStop::Anew => {}
            }
            return Ok(());
        }
        self.has_room_for_deploy()?;
        if !self.components.contains_key(key) {
            if let RouteKey::Hyperty(url) = key {
                let text = format!("there is no hyperty {url}");
                return Err(Refusal::new(Reason::UnknownAddress, text));
            }
            self.make_room_for_component(out)?;
            let url = self.allocate(key);
            self.components.insert(key.clone(), Component::new(key.clone(), url, now));
        }
        let name = key.to_string();
        self.event(now, Happened::new("deploy-started", &name, cause), out);
        let again = self.components.get(key).is_some_and(|c| c.package.is_some());
        let sources = if again { VecDeque::new() } else { self.sources_for(key) };
        let stub = self.spawn(now, Role::Stub, Owner::Component(key.clone()), out);
        let deadline = Time(now.0.saturating_add(DEPLOY_MS));
        if let Some(component) = self.components.get_mut(key) {
            component.state = State::Deploying;
            component.retry_at = None;
            if matches!(key, RouteKey::P2p(_)) {
                // No connection outlives its stub.
                component.status = "none";
            }
            component.stub = Some(stub);
            component.last_used = now;
            component.stages.clear();
            component.stage("trigger", 0);
            component.deploy = Some(Deploy {
                started: now,
                deadline,
                stage: "trigger",
                sources,
                source: None,
                source_deadline: None,
                fetch: None,
                descriptor: None,
                code: None,
                first_error: None,
                spawns: 0,
                again,
                private_targets: BTreeSet::new(),
                asks_login: false,
            });
        }
        self.mark(key);
        if !again {
            self.next_source(now, key, out);
        }
        Ok(())
    }

    /// Whether this is a time to start something new.
    fn has_room_for_deploy(&self) -> Result<(), Refusal> {
        if let Some(refusal) = self.pressure.refusal() {
            return Err(refusal);
        }
        // Who waits for a login waits for another deploy.
        let busy = |c: &&Component| c.deploy.as_ref().is_some_and(|deploy| !deploy.asks_login);
        if self.components.values().filter(busy).count() >= DEPLOYS_MAX {
            return Err(Refusal::new(Reason::Overloaded, "too many deploys at once").retry(1_000));
        }
        Ok(())
    }

    /// Forgets a component without a process if the table is full: strangers choose the domains.
    /// First one that failed, then one that sleeps, the longest unused first.
    pub(crate) fn make_room_for_component(&mut self, out: &mut Vec<UaOut>) -> Result<(), Refusal> {
        if self.components.len() < COMPONENTS_MAX {
            return Ok(());
        }
        let oldest = self
            .components
            .values()
            .filter(|c| c.hyperty.is_none() && c.waiters.is_empty())
            .filter(|c| matches!(c.state, State::Failed | State::Dormant))
            .min_by_key(|c| (c.state != State::Failed, c.pin.is_some(), c.last_used))
            .map(|c| c.key.clone());
        let Some(key) = oldest else {
            return Err(Refusal::new(Reason::Overloaded, "too many components").retry(1_000));
        };
        self.forget(&key, out);
        Ok(())
    }

    /// Records that a stage is reached.
    pub(crate) fn stage(
        &mut self,
        now: Time,
        key: &RouteKey,
        stage: &'static str,
        detail: &str,
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get_mut(key) else { return };
        let Some(deploy) = component.deploy.as_mut() else { return };
        deploy.stage = stage;
        let ms = now.0.saturating_sub(deploy.started.0);
        component.stage(stage, ms);
        let stub = component.stub;
        let name = key.to_string();
        let text = if detail.is_empty() { stage.to_owned() } else { format!("{stage}: {detail}") };
        let mut what = Happened::new("deploy-stage", &name, &text);
        what.sandbox = stub;
        self.event(now, what, out);
    }

    /// The deploy failed: everything it started ends, everybody who waits is answered.
    pub(crate) fn fail(
        &mut self,
        now: Time,
        key: &RouteKey,
        refusal: Refusal,
        out: &mut Vec<UaOut>,
    ) {
        let Some(component) = self.components.get_mut(key) else { return };
        let Some(deploy) = component.deploy.take() else { return };
        let stage = refusal.stage.unwrap_or(deploy.stage);
        let wait = FAILED_MS.get(component.failures).or(FAILED_MS.last()).copied().unwrap_or(1_000);
        component.failures = component.failures.saturating_add(1);
        let refusal = refusal.at(stage).retry(wait);
        component.state = State::Failed;
        // Nobody has heard of a stub that never ran.
        let known = deploy.again || component.status != "none";
        if !known {
            component.status = "failed";
        }
        component.retry_at = Some(Time(now.0.saturating_add(wait)));
        component.last_refusal = Some(refusal.clone());
        component.last_error = Some(format!("{stage}: {}", refusal.desc));
        component.stage("failed", now.0.saturating_sub(deploy.started.0));
        let (stub, package) = (component.stub.take(), component.package.take());
        let codes = deploy.code.map(|c| c.0).into_iter().chain(package.map(|p| p.code));
        for code in codes.collect::<BTreeSet<_>>() {
            out.push(UaOut::Effect(Effect::DropCode { code }));
        }
        for id in [stub, deploy.fetch].into_iter().flatten() {
            self.condemn(id, "deploy-failed", "", out);
        }
        let name = key.to_string();
        let detail = format!("{stage}: {}", refusal.desc);
        let what = Happened::new("deploy-failed", &name, &detail).reason(refusal.reason.token());
        self.event(now, what, out);
        if known {
            self.set_status(now, key, "failed", &refusal.desc, out);
        }
        self.mark(key);
        self.answer_waiters(key, Some(&refusal), out);
        out.push(UaOut::Failed { key: key.clone(), refusal });
    }

    /// The deploy's own deadlines.
    pub(crate) fn deploy_tick(&mut self, now: Time, key: &RouteKey, out: &mut Vec<UaOut>) {
        let Some(component) = self.components.get(key) else { return };
        let Some(deploy) = component.deploy.as_ref() else { return };
        if deploy.source_deadline.is_some_and(|at| at <= now) {
            let asked =
                deploy.fetch.and_then(|id| self.sandboxes.get(&id)).is_some_and(Sandbox::is_usable);
            let refusal = if asked {
                let stage = if deploy.descriptor.is_some() { "source" } else { "descriptor" };
                let text = "the catalogue did not answer in time";
                Refusal::new(Reason::CatalogueSlow, text).at(stage)
            } else {
                let text = "no fetch worker was ready in time";
                Refusal::new(Reason::SandboxUnavailable, text).at("sandbox")
            };
            self.source_failed(now, key, refusal, out);
        } else if deploy.deadline <= now {
            let assigned =
                component.stub.and_then(|id| self.sandboxes.get(&id)).is_some_and(|s| s.assigned);
            // The code waits for its sandbox.
            let stage =
                if component.package.is_some() && !assigned { "sandbox" } else { deploy.stage };
            let reason = match stage {
                "assign" | "load" => Reason::Load,
                "activate" => Reason::Activation,
                "trigger" | "sandbox" => Reason::SandboxUnavailable,
                _ => Reason::CatalogueSlow,
            };
            let first = deploy.first_error.clone();
            let late = Refusal::new(reason, format!("the deploy took too long at stage {stage}"))
                .at(stage);
            self.fail(now, key, first.unwrap_or(late), out);
        }
    }
}
