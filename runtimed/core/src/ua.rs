//! RuntimeUA, Registry and Supervisor: everything about components and their sandboxes.
//!
//! Half of the core: the bus asks [`Ua::route`] and [`Ua::stub_for`], feeds it what the shell says
//! of sandboxes, and carries out what it says in [`UaOut`].

pub(crate) mod component;
mod connect;
pub(crate) mod guests;
pub(crate) mod hyperty;
pub(crate) mod kept;
mod pace;
mod peers;
mod pressure;
pub(crate) mod rates;
mod refusal;
mod route;
pub(crate) mod sandbox;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use crate::events::{Happened, bounded};
pub(crate) use connect::Way;
pub(crate) use refusal::Refusal;
pub(crate) use route::{Bridge, StubRoute};
pub(crate) use words::{Removal, UaInput, UaOut};

use crate::bucket::Bucket;
use crate::effect::{Attach, Effect};
use crate::events::Events;
use crate::guid::Guids;
use crate::input::{CodeHandle, Digest, LinkId, SandboxId, StreamHandle, Time, Token};
use crate::settings::Settings;
use crate::supervise::{INCOMPATIBLE, QUOTA};
use component::Component;
use protocol::address::{Address, RouteKey};
use protocol::ctl::{CtlDown, CtlUp, Role};
use sandbox::{Owner, Sandbox};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Components, their sandboxes, and what they are doing.
#[derive(Debug)]
pub(crate) struct Ua {
    pub(crate) settings: Settings,
    pub(crate) runtime: Address,
    pub(crate) components: BTreeMap<RouteKey, Component>,
    pub(crate) sandboxes: BTreeMap<SandboxId, Sandbox>,
    pub(crate) links: BTreeMap<LinkId, SandboxId>,
    pub(crate) events: Events,
    pub(crate) net: connect::Net,
    pub(crate) door: guests::Door,
    pub(crate) pressure: pressure::Pressure,
    /// Stubs through which somebody is subscribed: they are not idle.
    held: BTreeSet<RouteKey>,
    /// How many stubs the applications of each user have ended lately.
    pub(crate) sheds: BTreeMap<u32, Bucket>,
    pub(crate) stopping: bool,
    pub(crate) stopped: bool,
    pub(crate) followers: VecDeque<crate::operator::Follower>,
    next_sandbox: u32,
    /// Stubs of which what is kept may differ from what is.
    pub(crate) marked: BTreeSet<RouteKey>,
    random: u64,
    /// Names that nobody can foresee.
    pub(crate) guids: Guids,
    /// Not later than the earliest deadline of all; looked for again only after a change that may
    /// bring one nearer, because there are many turns and few such changes.
    soonest: Option<Time>,
    pub(crate) moved: bool,
}

impl Ua {
    pub(crate) fn new(settings: &Settings) -> Self {
        // A runtime address that does not parse is a mistake of the shell; the fallback parses.
        let runtime = Address::parse(&settings.runtime_url)
            .or_else(|_e| Address::parse("hyperty-runtime://localhost/runtime"));
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => unreachable!("a constant address: {error}"),
        };
        Self {
            runtime,
            components: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            links: BTreeMap::new(),
            events: Events::new(settings.epoch_ms),
            net: connect::Net::default(),
            door: guests::Door::default(),
            pressure: pressure::Pressure::default(),
            held: BTreeSet::new(),
            sheds: BTreeMap::new(),
            stopping: false,
            stopped: false,
            followers: VecDeque::new(),
            next_sandbox: 1,
            marked: BTreeSet::new(),
            random: settings.seed,
            guids: Guids::new(settings.secret.clone()),
            settings: settings.clone(),
            soonest: None,
            moved: false,
        }
    }

    /// What the shell says.
    pub(crate) fn sandbox_input(&mut self, now: Time, input: UaInput, out: &mut Vec<UaOut>) {
        self.moved = true;
        match input {
            UaInput::Spawned { sandbox, link, pid, namespaces } => {
                self.spawned(now, sandbox, link, (pid, namespaces), out);
            }
            UaInput::SpawnFailed { sandbox, text } => {
                self.lost(now, sandbox, &format!("no process: {text}"), out);
            }
            UaInput::Confined { sandbox, report } => self.confined(now, sandbox, &report, out),
            UaInput::Verified { sandbox, outcome } => self.verified(now, sandbox, outcome, out),
            UaInput::Limited { sandbox, outcome } => self.limited(now, sandbox, outcome, out),
            UaInput::Ready { sandbox } => self.ready(now, sandbox, out),
            UaInput::Ctl { sandbox, up, stream, code } => {
                self.ctl(now, sandbox, up, (stream, code), out);
            }
            UaInput::Opened { sandbox, req, outcome } => {
                self.give_stream(sandbox, req, outcome, out);
            }
            UaInput::Violation { sandbox, text } => {
                self.condemn(sandbox, "protocol", &text, out);
            }
            UaInput::Incompatible { sandbox, text } => {
                self.condemn(sandbox, INCOMPATIBLE, &text, out);
            }
            UaInput::Exceeded { sandbox, text } => self.condemn(sandbox, QUOTA, &text, out),
            UaInput::Heartbeat { sandbox, answered } => {
                self.heartbeat(now, sandbox, answered, out);
            }
            UaInput::Exited { sandbox, exit } => self.exited(now, sandbox, exit, out),
            UaInput::Tick => self.tick(now, out),
            UaInput::Stop => self.stop(now, out),
        }
        self.check_stopped(out);
    }

    fn ctl(
        &mut self,
        now: Time,
        id: SandboxId,
        up: CtlUp,
        (stream, code): (Option<StreamHandle>, Option<(CodeHandle, Digest)>),
        out: &mut Vec<UaOut>,
    ) {
        let drop_code = |out: &mut Vec<UaOut>| {
            if let Some((code, _)) = code {
                out.push(UaOut::Effect(Effect::DropCode { code }));
            }
        };
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            drop_code(out);
            return;
        };
        let role = sandbox.role;
        // The net role is ours, and says as much as all others ask it for.
        let floods = role != Role::Net && !sandbox.rates.ctl.take(now);
        if floods || !matches!(up, CtlUp::Source { .. }) {
            drop_code(out);
        }
        if floods {
            return self.condemn(id, QUOTA, "more control messages than the rate allows", out);
        }
        match (up, role) {
            (CtlUp::Connect { req, target }, Role::Fetch | Role::Stub) => {
                self.connect(now, id, req, target, out);
            }
            (CtlUp::Closed { req }, Role::Fetch | Role::Stub) => self.closed(id, req),
            (CtlUp::NetResult { req, error }, Role::Net) => {
                self.net_result(req, error, stream, out);
            }
            (CtlUp::Incoming { from }, Role::Net) => self.guest_came(now, &from, stream, out),
            (CtlUp::Listening { error, turned_away }, Role::Net) => {
                self.door_said(now, id, (error, turned_away), out);
            }
            (CtlUp::Peer { conn, domain }, Role::Stub) => self.guest_named(id, conn, domain),
            (CtlUp::Left { conn, refused }, Role::Stub) => {
                self.guest_left(now, id, (conn, refused), out);
            }
            (CtlUp::Log { level, text }, _) => self.log_line(now, id, level, &text, out),
            (CtlUp::Fetched { origin, descriptor }, Role::Fetch) => {
                self.fetched(now, id, &origin, *descriptor, out);
            }
            (CtlUp::Source { origin, .. }, Role::Fetch) => self.source(now, id, &origin, code, out),
            (CtlUp::FetchFailed { error, text }, Role::Fetch) => {
                self.fetch_failed(now, id, error, &text, out);
            }
            (CtlUp::Loaded, Role::Stub) => self.loaded(now, id, out),
            (CtlUp::Activated { name }, Role::Stub) => self.activated(now, id, &name, out),
            (CtlUp::DeployFailed { stage, text }, Role::Stub) => {
                self.deploy_failed(now, id, &stage, &text, out);
            }
            (CtlUp::Removed, Role::Stub) => {}
            (other, role) => {
                let text = format!("a {} worker said {other:?}", role.name());
                self.condemn(id, "protocol", &bounded(&text, 256), out);
            }
        }
    }

    /// Asks for a new process; it has its number at once.
    pub(crate) fn spawn(
        &mut self,
        now: Time,
        role: Role,
        owner: Owner,
        out: &mut Vec<UaOut>,
    ) -> SandboxId {
        let sandbox = SandboxId(self.next_sandbox);
        self.next_sandbox = self.next_sandbox.saturating_add(1);
        let name = match &owner {
            Owner::Component(key) => key.to_string(),
            Owner::Net => "net".to_owned(),
        };
        let deadline = now.0.saturating_add(self.settings.start_timeout_ms);
        self.sandboxes.insert(sandbox, Sandbox::new(role, owner, now, Time(deadline)));
        out.push(UaOut::Effect(Effect::Spawn { sandbox, role, name }));
        sandbox
    }

    pub(crate) fn send(id: SandboxId, down: CtlDown, attach: Attach, out: &mut Vec<UaOut>) {
        out.push(UaOut::Effect(Effect::Ctl { sandbox: id, down, attach }));
    }

    /// Ends a sandbox; why is told when it has ended.
    pub(crate) fn condemn(
        &mut self,
        id: SandboxId,
        why: &'static str,
        text: &str,
        out: &mut Vec<UaOut>,
    ) {
        if let Some(sandbox) = self.sandboxes.get_mut(&id) {
            if sandbox.condemned.is_none() {
                sandbox.condemned = Some((why, bounded(text, 256)));
            }
            // Nothing more is waited for from it.
            (sandbox.deadline, sandbox.next_ping) = (None, None);
            out.push(UaOut::Effect(Effect::Kill { sandbox: id }));
        }
    }

    /// The component that a sandbox works for.
    pub(crate) fn key_of(&self, id: SandboxId) -> Option<RouteKey> {
        match &self.sandboxes.get(&id)?.owner {
            Owner::Component(key) => Some(key.clone()),
            Owner::Net => None,
        }
    }

    /// The next number of a generator that is good enough for jitter, and whose next number can be
    /// told from one before (splitmix64): nobody is shown any.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Records an event and tells whoever follows.
    pub(crate) fn event(&mut self, now: Time, what: Happened<'_>, out: &mut Vec<UaOut>) {
        let row = self.events.record(now, what);
        self.follow_event(&row, out);
        out.push(UaOut::Effect(Effect::Event(row)));
    }

    /// When [`UaInput::Tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.soonest
    }

    /// Looks for the earliest deadline again, if it may have moved.
    pub(crate) fn reckon(&mut self) {
        if !std::mem::take(&mut self.moved) {
            return;
        }
        self.soonest = self.earliest();
    }

    fn earliest(&self) -> Option<Time> {
        let sandboxes = self.sandboxes.values().filter_map(Sandbox::next_deadline);
        let components = self.components.values().filter_map(|c| c.next_deadline(&self.settings));
        sandboxes.chain(components).chain(self.net.due(self.wants_door())).min()
    }

    /// Checks that no deadline lies before the one that the shell was told.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_kept()?;
        match (self.earliest(), self.soonest) {
            (Some(due), told) if told.is_none_or(|told| told > due) => {
                Err(format!("{due:?} is due, and {told:?} was told"))
            }
            _ => Ok(()),
        }
    }
}

/// Names an operator's request to the waiters.
pub(crate) type Waiter = (Token, bool, Time);
