//! Model workers: they are born, confine themselves, fetch, run, speak, stall and die.

use crate::addresses::allocation;
use crate::apps::CLAIMS;
use crate::traffic::answer;
use crate::world::{Event, HOME, RUNTIME, World};
use protocol::address::{Address, RouteKey, SchemeClass, is_within};
use protocol::ctl::{
    ConfinedReport, ConnectError, CtlDown, CtlUp, FetchError, Level, ProofReport, Role, Target,
};
use protocol::descriptor::{Descriptor, WantedHost};
use protocol::frame::{FrameBuilder, FrameRef, flags};
use protocol::message::MessageType;
use runtime_core::{CodeHandle, Digest, Effect, Exit, Input, LinkId, SandboxId};

/// Milliseconds after which the shell takes a process for unkillable.
const UNKILLABLE_MS: u64 = 5_000;

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) role: Role,
    pub(crate) link: Option<LinkId>,
    /// Says and takes nothing any more.
    pub(crate) stalled: bool,
    /// Address of the component that runs in it.
    pub(crate) component: Option<String>,
    pub(crate) key: Option<RouteKey>,
    /// What the core calls it.
    name: String,
    pub(crate) sandbox: String,
    /// Of the catalogue that it is sent to.
    origin: String,
}

/// The origin of an address, as a fetch worker says it.
fn origin(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

impl Process {
    pub(crate) fn may_say(&self, from: &str) -> bool {
        let own = self.component.as_ref().is_some_and(|own| is_within(from, own));
        let route = Address::parse(from).unwrap().route_key(HOME);
        own || is_within(from, &self.sandbox)
            || (route.is_some() && route == self.key)
            || (self.is_home_stub() && is_stranger(from))
    }

    fn is_home_stub(&self) -> bool {
        self.key == Some(RouteKey::Domain(HOME.to_owned()))
    }
}

/// Somebody of a foreign domain whom the home domain's own stub may bring in.
fn is_stranger(from: &str) -> bool {
    let address = Address::parse(from).unwrap();
    let backend = matches!(address.class(), SchemeClass::Backend | SchemeClass::Idp);
    address.route_key(HOME).is_some_and(|key| key.domain() != HOME && !backend)
}

/// What a process says.
#[derive(Debug)]
pub(crate) enum Says {
    Spawned,
    SpawnFailed,
    Confined,
    Ready,
    Verified,
    Heartbeat,
    Opened(u32),
    Ctl(CtlUp),
    Source,
}

/// What a process was started for, by its name.
fn key_of(name: &str, component: &Address) -> RouteKey {
    if component.class() == SchemeClass::Hyperty {
        assert_eq!(name, component.as_str());
        return RouteKey::Hyperty(name.to_owned());
    }
    let scheme = name.strip_suffix(component.host()).unwrap();
    let domain = component.host().to_owned();
    match scheme.strip_suffix('.') {
        Some(scheme) => RouteKey::Legacy { scheme: scheme.to_owned(), domain },
        None => RouteKey::Domain(domain),
    }
}

fn descriptor() -> Descriptor {
    Descriptor {
        name: "stub".to_owned(),
        version: "1".to_owned(),
        interworking: false,
        constraints: Vec::new(),
        configuration: "{}".to_owned(),
        wanted: vec![WantedHost { host: "node.a.example".to_owned(), port: 443, secure: true }],
        signed: false,
        resources: Vec::new(),
        data_objects: Vec::new(),
    }
}

impl World {
    /// What the shell is told about processes.
    pub(crate) fn worker_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { sandbox, role, name } => self.born(sandbox, role, &name),
            Effect::Verify { sandbox } => self.will_say(sandbox, Says::Verified),
            Effect::Kill { sandbox } => {
                // Now and then one that does not end.
                if self.random.chance(1) {
                    return self.later(UNKILLABLE_MS, Event::Dies(sandbox, Exit::Unkillable));
                }
                self.soon(Event::Dies(sandbox, Exit::Signal(9)));
            }
            Effect::Signal { sandbox, signal } => {
                self.soon(Event::Dies(sandbox, Exit::Signal(signal)));
            }
            Effect::Ping { sandbox, within_ms } => {
                let stalled = self.processes.get(&sandbox).is_some_and(|p| p.stalled);
                let ms = if stalled { within_ms } else { 1 };
                self.later(ms, Event::Up(sandbox, Says::Heartbeat));
            }
            Effect::OpenFile { sandbox, req, .. } => self.will_say(sandbox, Says::Opened(req)),
            Effect::Ctl { sandbox, down, .. } => self.told(sandbox, down),
            other => panic!("nobody carries out {other:?}"),
        }
    }

    fn born(&mut self, sandbox: SandboxId, role: Role, name: &str) {
        let process = Process {
            role,
            link: None,
            stalled: false,
            component: None,
            key: None,
            name: name.to_owned(),
            sandbox: format!("{RUNTIME}/sandbox/{}", sandbox.0),
            origin: String::new(),
        };
        assert!(self.processes.insert(sandbox, process).is_none(), "{sandbox:?} is used twice");
        let says = if self.mishap(3) { Says::SpawnFailed } else { Says::Spawned };
        self.will_say(sandbox, says);
    }

    /// Whether something goes wrong by itself; a storm says itself what does.
    fn mishap(&mut self, percent: u64) -> bool {
        self.storm.is_none() && self.random.chance(percent)
    }

    /// Says it soon, or dies or stalls instead.
    fn will_say(&mut self, sandbox: SandboxId, says: Says) {
        if self.storm.is_some() {
            return self.soon(Event::Up(sandbox, says));
        }
        match self.random.below(60) {
            0 => self.soon(Event::Dies(sandbox, Exit::Signal(11))),
            1 if !matches!(says, Says::Spawned | Says::SpawnFailed | Says::Verified) => {
                if let Some(process) = self.processes.get_mut(&sandbox) {
                    process.stalled = true;
                }
            }
            _ => self.soon(Event::Up(sandbox, says)),
        }
    }

    pub(crate) fn dies(&mut self, sandbox: SandboxId, exit: Exit) {
        let Some(process) = self.processes.get(&sandbox) else { return };
        let Some(link) = process.link else {
            // It does not exist yet for anybody but the spawner.
            return self.says(sandbox, Says::SpawnFailed);
        };
        self.processes.remove(&sandbox);
        let unsent = self.unsent(link, true);
        self.input(Input::Exited { sandbox, exit, unsent });
    }

    pub(crate) fn says(&mut self, sandbox: SandboxId, says: Says) {
        let Some(process) = self.processes.get(&sandbox) else { return };
        let mute = process.stalled;
        let born = process.link.is_some();
        match says {
            Says::Spawned if !born => self.spawned(sandbox),
            Says::SpawnFailed if !born => {
                self.processes.remove(&sandbox);
                self.input(Input::SpawnFailed { sandbox, text: "no room".to_owned() });
            }
            Says::Verified => {
                let wrong = self.mishap(2);
                let outcome = if wrong { Err("seccomp is off".to_owned()) } else { Ok(Vec::new()) };
                self.input(Input::Verified { sandbox, outcome });
            }
            Says::Heartbeat => self.input(Input::Heartbeat { sandbox, answered: !mute }),
            Says::Opened(req) => {
                let stream = self.stream();
                let missing = self.mishap(20);
                let outcome = if missing {
                    Err((ConnectError::NotFound, "no such file".to_owned()))
                } else {
                    Ok(stream)
                };
                self.input(Input::Opened { sandbox, req, outcome });
            }
            _ if mute => {}
            Says::Confined => {
                let level = if self.mishap(2) { Level::Filtered } else { Level::Full };
                let (layers, missing) = (Vec::new(), Vec::new());
                // Now and then one whose proof is none.
                let probes = if self.mishap(2) { 3 } else { 100 };
                let proof = ProofReport { probes, denied: probes, ..ProofReport::default() };
                let report = ConfinedReport { level, layers, missing, proof };
                self.input(Input::Confined { sandbox, report });
                self.will_say(sandbox, Says::Ready);
            }
            Says::Ready => self.input(Input::Ready { sandbox }),
            Says::Ctl(up) => self.ctl(sandbox, up),
            Says::Source => {
                let code = CodeHandle(self.next_serial());
                self.codes.insert(code);
                let process = self.processes.get(&sandbox);
                let origin = process.map_or_else(String::new, |process| process.origin.clone());
                let up = CtlUp::Source { origin, size: 10 };
                let code = Some((code, Digest([7; 32])));
                self.input(Input::Ctl { sandbox, up, stream: None, code });
            }
            Says::Spawned | Says::SpawnFailed => {}
        }
    }

    fn spawned(&mut self, sandbox: SandboxId) {
        let link = self.next_link();
        if let Some(process) = self.processes.get_mut(&sandbox) {
            process.link = Some(link);
        }
        self.queues.insert(link, std::collections::VecDeque::new());
        self.input(Input::Spawned { sandbox, link, pid: 100, namespaces: true });
        self.will_say(sandbox, Says::Confined);
    }

    fn ctl(&mut self, sandbox: SandboxId, up: CtlUp) {
        let ends = matches!(up, CtlUp::Removed | CtlUp::FetchFailed { .. });
        let loaded = matches!(up, CtlUp::Loaded);
        let stream = matches!(up, CtlUp::NetResult { error: None, .. }).then(|| self.stream());
        self.input(Input::Ctl { sandbox, up, stream, code: None });
        if loaded {
            let up = CtlUp::Activated { name: "stub".to_owned() };
            self.will_say(sandbox, Says::Ctl(up));
        }
        if ends {
            self.soon(Event::Dies(sandbox, Exit::Code(0)));
        }
    }

    fn told(&mut self, sandbox: SandboxId, down: CtlDown) {
        let Some(process) = self.processes.get_mut(&sandbox) else { return };
        match down {
            CtlDown::Assign(assign) => {
                let component = Address::parse(&assign.component).unwrap();
                process.key = Some(key_of(&process.name, &component));
                process.component = Some(assign.component.clone());
                if let Some(url) = process.key.as_ref().and_then(|key| self.store.url(key)) {
                    assert_eq!(url, assign.component, "it is its own for ever");
                }
                let says = if self.mishap(5) {
                    let (stage, text) = ("load".to_owned(), "SyntaxError".to_owned());
                    CtlUp::DeployFailed { stage, text }
                } else {
                    CtlUp::Loaded
                };
                self.will_say(sandbox, Says::Ctl(says));
            }
            CtlDown::Remove { .. } => self.will_say(sandbox, Says::Ctl(CtlUp::Removed)),
            CtlDown::Fetch(job) => {
                let bad = job.base.contains("bad.example") || self.mishap(5);
                let origin = origin(&job.base);
                if let Some(process) = self.processes.get_mut(&sandbox) {
                    process.origin.clone_from(&origin);
                }
                let up = if bad {
                    let errors = [
                        FetchError::Down,
                        FetchError::Slow,
                        FetchError::Absent,
                        FetchError::Unusable,
                    ];
                    let (error, text) = (*self.random.pick(&errors), "cut short".to_owned());
                    CtlUp::FetchFailed { error, text }
                } else {
                    CtlUp::Fetched { origin, descriptor: Box::new(descriptor()) }
                };
                if self.random.chance(30) {
                    let target = Target::Tcp { host: "a.example".to_owned(), port: 80 };
                    self.will_say(sandbox, Says::Ctl(CtlUp::Connect { req: 1, target }));
                    let target = Target::File { path: "default".to_owned() };
                    self.will_say(sandbox, Says::Ctl(CtlUp::Connect { req: 2, target }));
                }
                self.will_say(sandbox, Says::Ctl(up));
            }
            CtlDown::FetchSource => self.will_say(sandbox, Says::Source),
            CtlDown::NetConnect { req, .. } => {
                let bad = self.mishap(20);
                let error = bad.then(|| (ConnectError::Unreachable, "refused".to_owned()));
                self.will_say(sandbox, Says::Ctl(CtlUp::NetResult { req, error }));
            }
            CtlDown::Connected { .. }
            | CtlDown::ConnectRefused { .. }
            | CtlDown::NetForget { .. }
            | CtlDown::NetListen { .. }
            | CtlDown::Identity(_)
            | CtlDown::Incoming { .. } => {}
        }
    }

    /// A stub took a frame; it plays both itself and everything behind it.
    pub(crate) fn stub_reacts(&mut self, link: LinkId, view: &FrameRef<'_>) {
        if view.header.mtype == MessageType::Response.as_u8() || !view.has(flags::REPLY) {
            return;
        }
        match self.random.below(12) {
            0 => {}
            1 => {
                let forged = "hyperty://elsewhere.example/alice";
                let frame = answer(view, forged, 200);
                self.soon(Event::Speaks(link, frame));
            }
            2 => {
                for code in [100, 200, 200] {
                    let frame = answer(view, view.to(), code);
                    self.later(1, Event::Speaks(link, frame));
                }
            }
            3 => {
                let late = answer(view, view.to(), 200);
                let ms = 3_000 + self.random.below(14_000);
                self.later(ms, Event::Speaks(link, late));
            }
            _ => {
                let allocated = allocation(view, self.random.below(64));
                let frame = allocated.unwrap_or_else(|| answer(view, view.to(), 200));
                self.soon(Event::Speaks(link, frame));
            }
        }
    }

    /// A stub speaks of itself: for somebody remote, as somebody it is not, its status, a flood.
    pub(crate) fn stub_speaks(&mut self) {
        let stubs = self.processes.values().filter(|p| p.role == Role::Stub && !p.stalled);
        let stubs: Vec<_> =
            stubs.filter_map(|p| Some((p.link?, p.component.clone()?, p.key.clone()?))).collect();
        if stubs.is_empty() {
            return;
        }
        let (link, component, key) = self.random.pick(&stubs).clone();
        let count = if self.random.chance(5) { 1_500 } else { 1 };
        let kind = self.random.below(7);
        let resource = self.resource();
        let path = *self.random.pick(CLAIMS);
        for _ in 0..count {
            let number = self.next_serial();
            let id = number.to_string();
            let remote = match &key {
                RouteKey::Legacy { scheme, domain } => format!("{scheme}://carol@{domain}"),
                RouteKey::Hyperty(url) => url.clone(),
                other => format!("hyperty://{}/remote", other.domain()),
            };
            let (read, update) = (MessageType::Read.as_u8(), MessageType::Update.as_u8());
            let to = format!("hyperty://{HOME}/{path}");
            let body = format!("{{\"n\":{number}}}");
            let status = format!("{component}/status");
            let builder = match kind {
                0 => FrameBuilder::msg(update, &id, &component, &status)
                    .body(b"{\"value\":\"live\"}"),
                1 => FrameBuilder::msg(update, &id, "hyperty://forged.example/x", &to),
                2 => FrameBuilder::msg(read, &id, &remote, "hyperty://b.example/elsewhere"),
                6 => FrameBuilder::msg(update, &id, &remote, &resource).body(body.as_bytes()),
                3 => FrameBuilder::msg(read, &id, &remote, &component).flag(flags::REPLY),
                _ => FrameBuilder::msg(read, &id, &remote, &to)
                    .flag_if(flags::REPLY, self.random.chance(70))
                    .body(body.as_bytes()),
            };
            let mut frame = builder.build().unwrap();
            self.speak(link, frame.bytes_mut());
        }
    }
}
