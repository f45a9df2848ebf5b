//! A model of everything outside half the core: processes, catalogue, net role, operators. Each
//! effect is answered at once in the way things go well, but for the steps that a test holds back
//! or answers by itself.

use crate::effect::{Attach, Effect};
use crate::input::{CodeHandle, Digest, Exit, LinkId, SandboxId, StreamHandle, Time, Token};
use crate::operator::OperatorCtx;
use crate::settings::{DomainSettings, Settings};
use crate::ua::{StubRoute, Ua, UaInput, UaOut};
use protocol::address::RouteKey;
use protocol::control::{Command, EventRow, InspectReply, PsRow, Reply};
use protocol::ctl::{
    Assign, ConfinedReport, CtlDown, CtlUp, FetchJob, Level, ProofReport, Role, Target,
};
use protocol::descriptor::{Descriptor, WantedHost};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A step that the world answers by itself, unless held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Spawn of this role → Spawned.
    Spawn(u8),
    /// Spawned → Confined, of this role.
    Confine(u8),
    /// Verify → Verified.
    Verify,
    /// Confined → Ready.
    Hello,
    /// Fetch → Fetched.
    Fetch,
    /// `FetchSource` → Source.
    Source,
    /// Assign → Loaded.
    Load,
    /// Loaded → Activated.
    Activate,
    /// Remove → exits with status 0.
    Remove,
    /// Kill → exits by SIGKILL.
    Kill,
    /// Ping → answered.
    Ping,
    /// `NetConnect` → connected.
    Net,
}

pub(crate) const NET: u8 = 1;
pub(crate) const FETCH: u8 = 2;
pub(crate) const STUB: u8 = 3;

const fn number(role: Role) -> u8 {
    match role {
        Role::Spawner => 0,
        Role::Net => NET,
        Role::Fetch => FETCH,
        Role::Stub => STUB,
    }
}

pub(crate) struct World {
    pub(crate) ua: Ua,
    pub(crate) now: u64,
    pub(crate) held: BTreeSet<Step>,
    pub(crate) descriptor: Descriptor,
    pub(crate) digest: Digest,
    pub(crate) level: Level,
    pub(crate) proof: ProofReport,
    /// What fetch workers answer instead, in turn.
    pub(crate) fetch_answers: VecDeque<CtlUp>,
    /// All that was said, in order.
    pub(crate) outs: Vec<UaOut>,
    pub(crate) alive: BTreeMap<SandboxId, Role>,
    pub(crate) killed: Vec<SandboxId>,
    pub(crate) jobs: Vec<FetchJob>,
    pub(crate) assigns: Vec<(SandboxId, Assign, Attach)>,
    pub(crate) codes: BTreeSet<CodeHandle>,
    next_code: u64,
    next_token: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&Settings::default())
    }

    pub(crate) fn with(settings: &Settings) -> Self {
        Self {
            ua: Ua::new(settings),
            now: 1_000,
            held: BTreeSet::new(),
            descriptor: descriptor(),
            digest: Digest([7; 32]),
            level: Level::Namespaces,
            proof: ProofReport { probes: 100, denied: 100, took_us: 90, failures: Vec::new() },
            fetch_answers: VecDeque::new(),
            outs: Vec::new(),
            alive: BTreeMap::new(),
            killed: Vec::new(),
            jobs: Vec::new(),
            assigns: Vec::new(),
            codes: BTreeSet::new(),
            next_code: 1,
            next_token: 1,
        }
    }

    pub(crate) fn holding(mut self, steps: &[Step]) -> Self {
        self.held.extend(steps.iter().copied());
        self
    }

    pub(crate) fn time(&self) -> Time {
        Time(self.now)
    }

    /// An application's message asks for the stub of `domain`.
    pub(crate) fn message(&mut self, domain: &str) -> StubRoute {
        let mut out = Vec::new();
        let route = self.ua.stub_for(Time(self.now), &key(domain), "message", &mut out);
        self.carry_out(out);
        route
    }

    pub(crate) fn route(&self, domain: &str) -> StubRoute {
        self.ua.route(Time(self.now), &key(domain))
    }

    /// Deploys the stub of `domain` and says which sandbox runs it.
    pub(crate) fn active(&mut self, domain: &str) -> SandboxId {
        self.message(domain);
        assert!(matches!(self.route(domain), StubRoute::Ready { .. }), "{:?}", self.route(domain));
        self.stub()
    }

    /// The youngest living stub sandbox.
    pub(crate) fn stub(&self) -> SandboxId {
        self.of(Role::Stub).last().copied().expect("a stub lives")
    }

    /// The living sandboxes of a role.
    pub(crate) fn of(&self, role: Role) -> Vec<SandboxId> {
        self.alive.iter().filter(|(_, r)| **r == role).map(|(id, _)| *id).collect()
    }

    pub(crate) fn input(&mut self, input: UaInput) {
        let mut out = Vec::new();
        self.feed(input, &mut out);
        self.carry_out(out);
    }

    pub(crate) fn up(&mut self, sandbox: SandboxId, up: CtlUp) {
        self.input(UaInput::Ctl { sandbox, up, stream: None, code: None });
    }

    /// The process ends by itself.
    pub(crate) fn dies(&mut self, sandbox: SandboxId, exit: Exit) {
        self.input(UaInput::Exited { sandbox, exit });
    }

    /// A stub or fetch worker wants a stream; what it is answered.
    pub(crate) fn connect(&mut self, sandbox: SandboxId, req: u32, host: &str, port: u16) {
        let target = Target::Tcp { host: host.to_owned(), port };
        self.up(sandbox, CtlUp::Connect { req, target });
    }

    /// An operator asks.
    pub(crate) fn operator(&mut self, command: Command) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        let mut out = Vec::new();
        self.ua.operator(Time(self.now), token, command, &OperatorCtx::default(), &mut out);
        self.carry_out(out);
        token
    }

    /// The replies to one request so far.
    pub(crate) fn replies(&self, token: Token) -> Vec<Reply> {
        let of_token = |out: &UaOut| match out {
            UaOut::Effect(Effect::Reply { token: t, reply, .. }) if *t == token => {
                Some((**reply).clone())
            }
            _ => None,
        };
        self.outs.iter().filter_map(of_token).collect()
    }

    /// Asks for something whose end is answered later.
    pub(crate) fn ask_later(&mut self, command: Command) -> Token {
        self.operator(command)
    }

    pub(crate) fn ask(&mut self, command: Command) -> Reply {
        let token = self.operator(command);
        self.replies(token).pop().expect("answered at once")
    }

    pub(crate) fn ps(&mut self, name: &str) -> PsRow {
        let Reply::Ps(rows) = self.ask(Command::Ps { all: true }) else { panic!("no rows") };
        rows.into_iter().find(|row| row.name == name).expect("listed")
    }

    pub(crate) fn inspect(&mut self, name: &str) -> InspectReply {
        match self.ask(Command::Inspect { name: name.to_owned() }) {
            Reply::Inspect(reply) => *reply,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn next_deadline(&mut self) -> Option<Time> {
        self.ua.reckon();
        self.ua.next_deadline()
    }

    /// Lets time pass, with a tick whenever one is due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        for _tick in 0..100_000 {
            match self.next_deadline() {
                Some(Time(at)) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.input(UaInput::Tick);
            let next = self.next_deadline();
            assert!(next.is_none_or(|at| at.0 > self.now), "a tick at {} that goes on", self.now);
        }
        self.now = end;
    }

    pub(crate) fn events(&self) -> Vec<&EventRow> {
        let row = |out: &'_ UaOut| matches!(out, UaOut::Effect(Effect::Event(_)));
        let rows = self.outs.iter().filter(|out| row(out));
        rows.filter_map(|out| match out {
            UaOut::Effect(Effect::Event(row)) => Some(row),
            _ => None,
        })
        .collect()
    }

    pub(crate) fn events_named(&self, event: &str) -> Vec<&EventRow> {
        self.events().into_iter().filter(|row| row.event == event).collect()
    }

    /// Control messages to one sandbox, in order.
    pub(crate) fn said_to(&self, id: SandboxId) -> Vec<&CtlDown> {
        let down = |out: &'_ UaOut| match out {
            UaOut::Effect(Effect::Ctl { sandbox, .. }) => *sandbox == id,
            _ => false,
        };
        let all = self.outs.iter().filter(|out| down(out));
        all.filter_map(|out| match out {
            UaOut::Effect(Effect::Ctl { down, .. }) => Some(down),
            _ => None,
        })
        .collect()
    }

    fn feed(&mut self, input: UaInput, out: &mut Vec<UaOut>) {
        if let UaInput::Exited { sandbox, .. } = &input
            && self.alive.remove(sandbox).is_none()
        {
            return;
        }
        self.ua.sandbox_input(Time(self.now), input, out);
    }

    /// Answers what was said until nothing is left.
    fn carry_out(&mut self, out: Vec<UaOut>) {
        let mut queue = VecDeque::from(out);
        let mut steps = 0;
        while let Some(said) = queue.pop_front() {
            steps += 1;
            assert!(steps < 1_000_000, "it goes round and round");
            if let UaOut::Effect(effect) = &said {
                let mut out = Vec::new();
                for input in self.answers(effect) {
                    self.feed(input, &mut out);
                }
                queue.extend(out);
            }
            self.outs.push(said);
        }
    }

    fn answers(&mut self, effect: &Effect) -> Vec<UaInput> {
        match effect {
            Effect::Spawn { sandbox, role, .. } => {
                self.alive.insert(*sandbox, *role);
                if self.held.contains(&Step::Spawn(number(*role))) {
                    return Vec::new();
                }
                self.born(*sandbox, *role)
            }
            Effect::Verify { sandbox } if !self.held.contains(&Step::Verify) => {
                let outcome = Ok(vec!["seccomp 2".to_owned()]);
                vec![UaInput::Verified { sandbox: *sandbox, outcome }]
            }
            Effect::Kill { sandbox } => {
                self.killed.push(*sandbox);
                if self.held.contains(&Step::Kill) {
                    return Vec::new();
                }
                vec![UaInput::Exited { sandbox: *sandbox, exit: Exit::Signal(9) }]
            }
            Effect::Signal { sandbox, signal } => {
                vec![UaInput::Exited { sandbox: *sandbox, exit: Exit::Signal(*signal) }]
            }
            Effect::Ping { sandbox, .. } if !self.held.contains(&Step::Ping) => {
                vec![UaInput::Heartbeat { sandbox: *sandbox, answered: true }]
            }
            Effect::DropCode { code } => {
                assert!(self.codes.remove(code), "dropped twice: {code:?}");
                Vec::new()
            }
            Effect::Ctl { sandbox, down, attach } => {
                if !self.alive.contains_key(sandbox) {
                    return Vec::new();
                }
                self.answer_ctl(*sandbox, down, *attach)
            }
            _ => Vec::new(),
        }
    }

    fn born(&self, sandbox: SandboxId, role: Role) -> Vec<UaInput> {
        let link = LinkId(1_000 + sandbox.0);
        let pid = 40_000 + i32::try_from(sandbox.0).unwrap();
        let mut inputs = vec![UaInput::Spawned { sandbox, link, pid, namespaces: true }];
        if !self.held.contains(&Step::Confine(number(role))) {
            inputs.extend(self.confined(sandbox));
        }
        inputs
    }

    pub(crate) fn confined(&self, sandbox: SandboxId) -> Vec<UaInput> {
        let report = ConfinedReport {
            level: self.level,
            layers: vec!["seccomp".to_owned()],
            missing: vec!["landlock: not offered by this kernel".to_owned()],
            proof: self.proof.clone(),
        };
        let mut inputs = vec![UaInput::Confined { sandbox, report }];
        if !self.held.contains(&Step::Hello) {
            inputs.push(UaInput::Ready { sandbox });
        }
        inputs
    }

    fn answer_ctl(&mut self, sandbox: SandboxId, down: &CtlDown, attach: Attach) -> Vec<UaInput> {
        let say = |up| UaInput::Ctl { sandbox, up, stream: None, code: None };
        match down {
            CtlDown::Fetch(job) => {
                self.jobs.push((**job).clone());
                if self.held.contains(&Step::Fetch) {
                    return Vec::new();
                }
                let fetched = CtlUp::Fetched {
                    origin: origin(&job.base),
                    descriptor: Box::new(self.descriptor.clone()),
                };
                vec![say(self.fetch_answers.pop_front().unwrap_or(fetched))]
            }
            CtlDown::FetchSource if !self.held.contains(&Step::Source) => {
                vec![self.code_of(sandbox)]
            }
            CtlDown::Assign(assign) => {
                self.assigns.push((sandbox, (**assign).clone(), attach));
                let mut inputs = Vec::new();
                if !self.held.contains(&Step::Load) {
                    inputs.push(say(CtlUp::Loaded));
                    if !self.held.contains(&Step::Activate) {
                        inputs.push(say(CtlUp::Activated { name: "stub".to_owned() }));
                    }
                }
                inputs
            }
            CtlDown::Remove { .. } if !self.held.contains(&Step::Remove) => {
                vec![say(CtlUp::Removed), UaInput::Exited { sandbox, exit: Exit::Code(0) }]
            }
            CtlDown::NetConnect { req, .. } if !self.held.contains(&Step::Net) => {
                vec![UaInput::Ctl {
                    sandbox,
                    up: CtlUp::NetResult { req: *req, error: None },
                    stream: Some(StreamHandle(*req)),
                    code: None,
                }]
            }
            _ => Vec::new(),
        }
    }

    /// A fetch worker hands its code over.
    pub(crate) fn code_of(&mut self, sandbox: SandboxId) -> UaInput {
        let code = CodeHandle(self.next_code);
        self.next_code += 1;
        self.codes.insert(code);
        let origin = self.jobs.last().map_or_else(String::new, |job| origin(&job.base));
        UaInput::Ctl {
            sandbox,
            up: CtlUp::Source { origin, size: 10 },
            stream: None,
            code: Some((code, self.digest)),
        }
    }
}

/// The origin of an address, as a fetch worker says it.
pub(crate) fn origin(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

pub(crate) fn key(domain: &str) -> RouteKey {
    RouteKey::parse(domain, "localhost").expect("a domain")
}

pub(crate) fn descriptor() -> Descriptor {
    Descriptor {
        name: "stub".to_owned(),
        version: "1.0".to_owned(),
        interworking: false,
        constraints: Vec::new(),
        configuration: r#"{"url":"wss://node.example.com/ws"}"#.to_owned(),
        wanted: vec![wanted("node.example.com", 443, true)],
        signed: false,
        resources: Vec::new(),
        data_objects: Vec::new(),
    }
}

pub(crate) fn wanted(host: &str, port: u16, secure: bool) -> WantedHost {
    WantedHost { host: host.to_owned(), port, secure }
}

/// Settings in which one domain is configured.
pub(crate) fn configured(domain: &str, with: DomainSettings) -> Settings {
    let domains = BTreeMap::from([(domain.to_owned(), with)]);
    Settings { domains, ..Settings::default() }
}
