//! Connections for sandboxes: the grant is checked here, made by the net role, handed through.

use super::pace::{Paces, Turn};
use super::sandbox::{Owner, Stream};
use super::{Happened, Ua, UaOut};
use crate::effect::{Attach, Effect};
use crate::input::{SandboxId, StreamHandle, Time};
use crate::limits::{CONNECT_MS, CONNECTIONS_PER_SANDBOX, CONNECTIONS_WAITING, EXITS_KEPT};
use crate::settings::Settings;
use crate::supervise::delay;
use protocol::ctl::{ConnectError, CtlDown, Role, Target};
use std::collections::{BTreeMap, VecDeque};

/// The net role, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) sandbox: Option<SandboxId>,
    /// Asked for before the role was ready.
    waiting: VecDeque<(u64, CtlDown)>,
    /// Number given to the net role, and whose request it is.
    asked: BTreeMap<u64, (SandboxId, u32)>,
    last: u64,
    /// Times of its ends, newest last.
    exits: VecDeque<Time>,
    /// It ended too often to be started before.
    retry_at: Option<Time>,
    /// Who waits because too many want to go to the same place.
    paces: Paces,
}

impl Net {
    /// Milliseconds until it may be started.
    fn rests(&self, now: Time) -> u64 {
        self.retry_at.map_or(0, |at| at.0.saturating_sub(now.0))
    }

    /// When it is started again, if anybody waits for that, or has to come in; or has something to
    /// connect.
    pub(super) fn due(&self, door: bool) -> Option<Time> {
        let wanted = door || !self.waiting.is_empty();
        let again = self.retry_at.filter(|_| self.sandbox.is_none() && wanted);
        again.into_iter().chain(self.paces.due()).min()
    }
}

/// Where a granted target is really found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether exactly this may be a non-public address.
    pub(crate) private: bool,
}

impl Ua {
    pub(super) fn connect(
        &mut self,
        now: Time,
        id: SandboxId,
        req: u32,
        target: Target,
        out: &mut Vec<UaOut>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        let role = sandbox.role;
        if sandbox.streams.contains_key(&req) {
            return refuse(id, req, ConnectError::Exhausted, "this number is in use", out);
        }
        if !sandbox.rates.connects.take(now) {
            let text = "too many connections a second";
            return refuse(id, req, ConnectError::Exhausted, text, out);
        }
        let open = u32::try_from(sandbox.streams.len()).unwrap_or(u32::MAX);
        if open >= CONNECTIONS_PER_SANDBOX {
            return refuse(id, req, ConnectError::Exhausted, "too many connections", out);
        }
        match target {
            Target::File { path } => {
                let folder = self.catalogue_folder(id).filter(|_| role == Role::Fetch);
                match folder {
                    Some(folder) => {
                        self.count_stream(id, req);
                        out.push(UaOut::Effect(Effect::OpenFile {
                            sandbox: id,
                            req,
                            folder,
                            path,
                        }));
                    }
                    None => refuse(id, req, ConnectError::NotGranted, "no folder is granted", out),
                }
            }
            Target::Tcp { host, port } => match self.way_for(id, &host, port) {
                // A fetch worker asks a few times in its life, and deploys are counted.
                Some(way) if role == Role::Stub => self.ask_in_turn(now, (id, req), way, out),
                Some(way) => self.ask_net(now, (id, req), way, out),
                None => {
                    let detail = format!("no grant for {}:{port}", super::bounded(&host, 255));
                    self.note_refused(now, id, &detail, out);
                    refuse(id, req, ConnectError::NotGranted, &detail, out);
                }
            },
        }
    }

    /// One event a second and sandbox, and fewer while it goes on: a stub that asks in a loop must not wash the record away.
    pub(super) fn note_refused(
        &mut self,
        now: Time,
        id: SandboxId,
        detail: &str,
        out: &mut Vec<UaOut>,
    ) {
        let name = self.key_of(id).map_or(String::new(), |key| key.to_string());
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        let Some(all) = sandbox.refused.take(now, 1) else { return };
        let detail = match all.saturating_sub(1) {
            0 => detail.to_owned(),
            before => format!("{detail}, and {before} more before it"),
        };
        let what = Happened::new("refused", &name, &detail);
        self.event(now, what.sandbox(id).reason("policy"), out);
    }

    fn count_stream(&mut self, id: SandboxId, req: u32) {
        if let Some(sandbox) = self.sandboxes.get_mut(&id) {
            sandbox.streams.insert(req, Stream::Asked);
        }
    }

    /// The worker has no use for the stream any more. One that is still being made counts on, or
    /// the net role could be made to work without a bound.
    pub(super) fn closed(&mut self, id: SandboxId, req: u32) {
        let waits = self.net.paces.withdraw((id, req));
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        match sandbox.streams.get_mut(&req) {
            Some(Stream::Asked) if waits => {
                sandbox.streams.remove(&req);
            }
            Some(Stream::Open) => {
                sandbox.streams.remove(&req);
            }
            Some(asked) => *asked = Stream::Abandoned,
            None => {}
        }
    }

    /// Whether the sandbox may reach the target, and where it is found.
    fn way_for(&self, id: SandboxId, host: &str, port: u16) -> Option<Way> {
        let component = self.components.get(&self.key_of(id)?)?;
        let target = format!("{host}:{port}");
        match self.sandboxes.get(&id)?.role {
            Role::Stub => {
                let domain = self.domain_settings(&component.key);
                component.package.as_ref()?.grants.way(host, port, domain)
            }
            Role::Fetch => {
                let deploy = component.deploy.as_ref().filter(|deploy| deploy.fetch == Some(id))?;
                let allowed = deploy.fetch_targets();
                if !allowed.contains(&target) {
                    return None;
                }
                // The home catalogue answers for a foreign domain by the home domain's rules.
                let domain = &deploy.source.as_ref()?.settings;
                let private = deploy.private_targets.contains(&target);
                Some(crate::grants::mapped(host, port, private, domain))
            }
            Role::Net | Role::Spawner => None,
        }
    }

    /// Asks at once, or when it is its turn.
    fn ask_in_turn(
        &mut self,
        now: Time,
        (id, req): (SandboxId, u32),
        way: Way,
        out: &mut Vec<UaOut>,
    ) {
        let turn = self.net.paces.ask(now, (id, req), way);
        if let Turn::Now(way) = turn {
            return self.ask_net(now, (id, req), way, out);
        }
        self.count_stream(id, req);
        if let Turn::Full((id, req)) = turn {
            let text = "too many want to connect there at once".to_owned();
            self.give_stream(id, req, Err((ConnectError::Exhausted, text)), out);
        }
    }

    /// Whose turn it is is asked for, and what it needs is started.
    pub(crate) fn net_tick(&mut self, now: Time, out: &mut Vec<UaOut>) {
        while let Some(((id, req), way)) = self.net.paces.next(now) {
            if let Some(sandbox) = self.sandboxes.get_mut(&id) {
                sandbox.streams.remove(&req);
                self.ask_net(now, (id, req), way, out);
            }
        }
        self.start_net(now, out);
    }

    fn ask_net(&mut self, now: Time, (id, req): (SandboxId, u32), way: Way, out: &mut Vec<UaOut>) {
        if self.net.waiting.len() >= CONNECTIONS_WAITING {
            return refuse(id, req, ConnectError::Exhausted, "too many connections wait", out);
        }
        if self.stopping && self.net.sandbox.is_none() {
            return refuse(id, req, ConnectError::Unreachable, "the runtime is stopping", out);
        }
        if self.net.sandbox.is_none() && self.net.rests(now) > u64::from(CONNECT_MS) {
            let text = "the net role ended too often and rests";
            return refuse(id, req, ConnectError::Unreachable, text, out);
        }
        self.count_stream(id, req);
        self.net.last = self.net.last.saturating_add(1);
        let number = self.net.last;
        self.net.asked.insert(number, (id, req));
        let Way { host, port, private } = way;
        let ask = CtlDown::NetConnect {
            req: number,
            sandbox: id.0,
            host,
            port,
            private,
            budget_ms: CONNECT_MS,
        };
        let ready = self
            .net
            .sandbox
            .filter(|net| self.sandboxes.get(net).is_some_and(super::sandbox::Sandbox::is_usable));
        match ready {
            Some(net) => Self::send(net, ask, Attach::None, out),
            None => {
                self.net.waiting.push_back((number, ask));
                self.start_net(now, out);
            }
        }
    }

    /// Starts the net role if somebody waits for it and it does not rest.
    pub(crate) fn start_net(&mut self, now: Time, out: &mut Vec<UaOut>) {
        let wanted = (!self.net.waiting.is_empty() || self.wants_door()) && !self.stopping;
        if wanted && self.net.sandbox.is_none() && self.net.rests(now) == 0 {
            self.net.retry_at = None;
            self.net.sandbox = Some(self.spawn(now, Role::Net, Owner::Net, out));
        }
    }

    /// The net role is usable: ask for what waits.
    pub(crate) fn net_ready(&mut self, id: SandboxId, out: &mut Vec<UaOut>) {
        for (_, ask) in std::mem::take(&mut self.net.waiting) {
            Self::send(id, ask, Attach::None, out);
        }
        self.open_door(out);
    }

    /// The net role is gone, and all its relays with it.
    pub(crate) fn net_gone(&mut self, now: Time, out: &mut Vec<UaOut>) {
        self.net.sandbox = None;
        self.net_rests(now, out);
        self.net.waiting.clear();
        for (id, req) in std::mem::take(&mut self.net.asked).into_values() {
            self.give_stream(
                id,
                req,
                Err((ConnectError::Unreachable, "the net role died".to_owned())),
                out,
            );
        }
    }

    /// Like a stub, it is started again at once the first time, then later each time.
    fn net_rests(&mut self, now: Time, out: &mut Vec<UaOut>) {
        if self.stopping {
            return;
        }
        let window_start = now.0.saturating_sub(self.settings.window_ms);
        let exits = &mut self.net.exits;
        exits.push_back(now);
        while exits.front().is_some_and(|at| at.0 < window_start) || exits.len() > EXITS_KEPT {
            exits.pop_front();
        }
        let exits = u32::try_from(exits.len()).unwrap_or(u32::MAX);
        let jitter = self.random() % 401;
        let Settings { backoff_initial_ms, backoff_max_ms, .. } = self.settings;
        let ms = delay(exits, backoff_initial_ms, backoff_max_ms, jitter);
        self.net.retry_at = Some(Time(now.0.saturating_add(ms)));
        let detail = format!("in {ms} ms, when it is needed");
        self.event(now, Happened::new("restart-scheduled", "net", &detail), out);
    }

    /// A sandbox is gone: its connections are nobody's.
    pub(crate) fn forget_connections(&mut self, id: SandboxId, out: &mut Vec<UaOut>) {
        self.net.paces.forget(id);
        self.net.asked.retain(|_, (owner, _)| *owner != id);
        let asked = &self.net.asked;
        self.net.waiting.retain(|(number, _)| asked.contains_key(number));
        let net = self
            .net
            .sandbox
            .filter(|net| self.sandboxes.get(net).is_some_and(super::sandbox::Sandbox::is_usable));
        if let Some(net) = net {
            Self::send(net, CtlDown::NetForget { sandbox: id.0 }, Attach::None, out);
        }
    }

    pub(super) fn net_result(
        &mut self,
        number: u64,
        error: Option<(ConnectError, String)>,
        stream: Option<StreamHandle>,
        out: &mut Vec<UaOut>,
    ) {
        let Some((id, req)) = self.net.asked.remove(&number) else { return };
        let outcome = match (error, stream) {
            (Some(error), _) => Err(error),
            (None, Some(stream)) => Ok(stream),
            (None, None) => {
                Err((ConnectError::Unreachable, "the net role gave no stream".to_owned()))
            }
        };
        self.give_stream(id, req, outcome, out);
    }

    /// Hands a stream, or the lack of one, to a sandbox.
    pub(super) fn give_stream(
        &mut self,
        id: SandboxId,
        req: u32,
        outcome: Result<StreamHandle, (ConnectError, String)>,
        out: &mut Vec<UaOut>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|s| s.condemned.is_none()) else {
            return;
        };
        let wanted = sandbox.streams.remove(&req) == Some(Stream::Asked);
        match outcome {
            // The shell closes a stream that goes nowhere.
            _ if !wanted => {}
            Ok(stream) => {
                sandbox.streams.insert(req, Stream::Open);
                Self::send(id, CtlDown::Connected { req }, Attach::Stream(stream), out);
            }
            Err((error, text)) => refuse(id, req, error, &text, out),
        }
    }
}

fn refuse(id: SandboxId, req: u32, error: ConnectError, text: &str, out: &mut Vec<UaOut>) {
    let text = super::bounded(text, 256);
    Ua::send(id, CtlDown::ConnectRefused { req, error, text }, Attach::None, out);
}
