//! A core on the bench: applications by name, workers that do what they are told at once.

use crate::core::Core;
use crate::effect::Effect;
use crate::input::{CodeHandle, Digest, Exit, Input, LinkId, SandboxId, StreamHandle, Time, Token};
use crate::settings::{DomainSettings, Settings};
use protocol::control::{Command, EventRow, Reply};
use protocol::ctl::{ConfinedReport, CtlDown, CtlUp, FetchError, Level, ProofReport, Role};
use protocol::descriptor::Descriptor;
use protocol::frame::{Frame, FrameBuilder, flags};
use protocol::message::MessageType;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) const RUNTIME: &str = "hyperty-runtime://home.example/rt";
pub(super) const ALICE: &str = "hyperty://home.example/alice";
pub(super) const BOB: &str = "hyperty://home.example/bob";
pub(super) const REMOTE: &str = "hyperty://far.example/carol";

pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) now: u64,
    /// What was handed to each link and not yet looked at.
    pub(super) heard: BTreeMap<LinkId, VecDeque<Frame>>,
    pub(super) others: Vec<Effect>,
    /// Whether workers do what they are told.
    pub(super) willing: bool,
    pub(super) fetch_fails: Option<FetchError>,
    pub(super) spawned: Vec<(SandboxId, Role, String)>,
    pub(super) components: BTreeMap<SandboxId, String>,
    /// The configuration that each was given.
    pub(super) configured: BTreeMap<SandboxId, String>,
    todo: VecDeque<Effect>,
    next: u32,
    links: BTreeMap<SandboxId, LinkId>,
    confined: BTreeSet<SandboxId>,
    /// Of the catalogue that was asked last.
    origin: String,
}

pub(super) fn settings() -> Settings {
    let mut settings = Settings {
        runtime_url: RUNTIME.to_owned(),
        domain: "home.example".to_owned(),
        ..Settings::default()
    };
    let far = DomainSettings {
        catalogue: Some("https://far.example/.well-known".to_owned()),
        ..DomainSettings::default()
    };
    settings.domains.insert("far.example".to_owned(), far);
    settings
}

pub(super) fn message(kind: MessageType, id: &str, from: &str, to: &str) -> FrameBuilder<'static> {
    // The builder borrows its texts; in tests they may live for ever.
    let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    FrameBuilder::msg(kind.as_u8(), keep(id), keep(from), keep(to))
}

pub(super) fn request(id: &str, from: &str, to: &str) -> FrameBuilder<'static> {
    message(MessageType::Read, id, from, to).flag(flags::REPLY | flags::ID_NUM)
}

pub(super) fn response(id: &str, from: &str, to: &str, code: u16) -> FrameBuilder<'static> {
    message(MessageType::Response, id, from, to).code(code)
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self {
            core: Core::new(settings),
            now: 1_000,
            heard: BTreeMap::new(),
            others: Vec::new(),
            willing: true,
            fetch_fails: None,
            spawned: Vec::new(),
            components: BTreeMap::new(),
            configured: BTreeMap::new(),
            todo: VecDeque::new(),
            next: 1,
            links: BTreeMap::new(),
            confined: BTreeSet::new(),
            origin: String::new(),
        }
    }

    /// An application with these addresses.
    pub(super) fn app(&mut self, addresses: &[&str]) -> LinkId {
        let (link, refused) = self.join(1_000, addresses);
        assert_eq!(refused, None);
        link
    }

    /// An application that may be refused.
    pub(super) fn join(&mut self, uid: u32, addresses: &[&str]) -> (LinkId, Option<String>) {
        let link = LinkId(self.next);
        self.next += 1;
        let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        let name = format!("app{}", link.0);
        self.input(Input::AppJoined { link, name, uid, addresses });
        let refused = self.others.iter().find_map(|effect| match effect {
            Effect::Reject { link: to, reason, .. } if *to == link => {
                Some(reason.token().to_owned())
            }
            _ => None,
        });
        (link, refused)
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        let effects = self.core.handle(Time(self.now), input);
        self.carry_out(effects, None);
        self.work();
    }

    /// A link sends a message.
    pub(super) fn send(&mut self, link: LinkId, message: FrameBuilder<'_>) {
        let mut frame = message.build().unwrap();
        let frame = frame.bytes_mut();
        let effects = self.core.handle(Time(self.now), Input::Frame { link, frame });
        self.carry_out(effects, Some(frame));
        self.work();
    }

    fn carry_out(&mut self, effects: Vec<Effect>, frame: Option<&[u8]>) {
        // The check walks all tables: with thousands of requests, now and then.
        if self.core.waiting().0 < 64 || self.core.counters().accepted.is_multiple_of(512) {
            self.core.check().unwrap();
        }
        for effect in effects {
            match effect {
                Effect::Forward { link } => {
                    let frame = Frame::from_bytes(frame.unwrap().to_vec()).unwrap();
                    self.heard.entry(link).or_default().push_back(frame);
                }
                Effect::Send { link, frame } => {
                    self.heard.entry(link).or_default().push_back(frame);
                }
                Effect::Publish { links, frame } => {
                    for link in links {
                        self.heard.entry(link).or_default().push_back(frame.clone());
                    }
                }
                Effect::Spawn { sandbox, role, ref name } => {
                    self.spawned.push((sandbox, role, name.clone()));
                    self.todo.push_back(effect);
                }
                other => {
                    self.todo.push_back(other.clone());
                    self.others.push(other);
                }
            }
        }
    }

    /// Workers do what they are told, until nothing is left.
    pub(super) fn work(&mut self) {
        while self.willing && self.step() {}
    }

    /// A worker does the next thing that one was told; false if nothing is left.
    pub(super) fn step(&mut self) -> bool {
        let Some(effect) = self.todo.pop_front() else { return false };
        match effect {
            Effect::Spawn { sandbox, .. } => self.born(sandbox),
            Effect::Verify { sandbox } => {
                self.feed(Input::Verified { sandbox, outcome: Ok(Vec::new()) });
            }
            Effect::Kill { sandbox } => {
                self.feed(Input::Exited { sandbox, exit: Exit::Signal(9), unsent: vec![] });
            }
            Effect::Ctl { sandbox, down, .. } => self.told(sandbox, down),
            _ => {}
        }
        true
    }

    fn feed(&mut self, input: Input<'_>) {
        let effects = self.core.handle(Time(self.now), input);
        self.carry_out(effects, None);
    }

    fn born(&mut self, sandbox: SandboxId) {
        let link = LinkId(self.next);
        self.next += 1;
        self.links.insert(sandbox, link);
        self.feed(Input::Spawned { sandbox, link, pid: 7, namespaces: true });
        if self.confined.insert(sandbox) {
            let level = Level::Full;
            let (layers, missing) = (Vec::new(), Vec::new());
            let proof = ProofReport { probes: 100, denied: 100, ..ProofReport::default() };
            let report = ConfinedReport { level, layers, missing, proof };
            self.feed(Input::Confined { sandbox, report });
            self.feed(Input::Ready { sandbox });
        }
    }

    fn says(&mut self, sandbox: SandboxId, up: CtlUp) {
        self.feed(Input::Ctl { sandbox, up, stream: None, code: None });
    }

    fn told(&mut self, sandbox: SandboxId, down: CtlDown) {
        match down {
            CtlDown::Fetch(job) => {
                self.origin = job.base.split('/').take(3).collect::<Vec<_>>().join("/");
                let up = match self.fetch_fails {
                    Some(error) => CtlUp::FetchFailed { error, text: "on the bench".to_owned() },
                    None => CtlUp::Fetched {
                        origin: self.origin.clone(),
                        descriptor: Box::new(Descriptor {
                            name: "far".to_owned(),
                            version: "1".to_owned(),
                            interworking: false,
                            constraints: Vec::new(),
                            configuration: "{}".to_owned(),
                            wanted: Vec::new(),
                            signed: false,
                            resources: vec!["chat".to_owned()],
                            data_objects: Vec::new(),
                        }),
                    },
                };
                self.says(sandbox, up);
            }
            CtlDown::FetchSource => {
                let up = CtlUp::Source { origin: self.origin.clone(), size: 1 };
                let code = Some((CodeHandle(u64::from(sandbox.0)), Digest([1; 32])));
                self.feed(Input::Ctl { sandbox, up, stream: None::<StreamHandle>, code });
            }
            CtlDown::Assign(assign) => {
                self.components.insert(sandbox, assign.component);
                self.configured.insert(sandbox, assign.config);
                self.says(sandbox, CtlUp::Loaded);
                self.says(sandbox, CtlUp::Activated { name: "far".to_owned() });
            }
            CtlDown::Remove { .. } => {
                self.says(sandbox, CtlUp::Removed);
                self.feed(Input::Exited { sandbox, exit: Exit::Code(0), unsent: vec![] });
            }
            _ => {}
        }
    }

    /// Deploys the stub of a domain: its sandbox, link and address.
    pub(super) fn stub(&mut self, domain: &str) -> (SandboxId, LinkId, String) {
        let target = domain.to_owned();
        self.operator(1_000_000, Command::Deploy { target, wait: false, live: false });
        self.youngest()
    }

    pub(super) fn youngest(&self) -> (SandboxId, LinkId, String) {
        let (sandbox, url) = self.components.last_key_value().unwrap();
        (*sandbox, self.links[sandbox], url.clone())
    }

    /// The process ends; the newest `unsent` frames that it was handed come back.
    pub(super) fn exits(&mut self, sandbox: SandboxId, unsent: Vec<Frame>) {
        self.input(Input::Exited { sandbox, exit: Exit::Signal(11), unsent });
    }

    pub(super) fn operator(&mut self, token: u64, command: Command) {
        self.input(Input::Operator { token: Token(token), command, rss: Vec::new() });
    }

    /// Replies to an operator, so far.
    pub(super) fn replies(&self, token: u64) -> Vec<Reply> {
        let of_token = |effect: &Effect| match effect {
            Effect::Reply { token: to, reply, .. } if to.0 == token => Some((**reply).clone()),
            _ => None,
        };
        self.others.iter().filter_map(of_token).collect()
    }

    pub(super) fn events(&self, name: &str) -> Vec<EventRow> {
        let row = |effect: &Effect| match effect {
            Effect::Event(row) if row.event == name => Some(row.clone()),
            _ => None,
        };
        self.others.iter().filter_map(row).collect()
    }

    /// The next frame that a link was handed.
    pub(super) fn hear(&mut self, link: LinkId) -> Option<Frame> {
        self.heard.get_mut(&link)?.pop_front()
    }

    /// Ids of all frames that a link was handed.
    pub(super) fn ids(&mut self, link: LinkId) -> Vec<String> {
        let all = self.heard.remove(&link).unwrap_or_default();
        all.iter().map(|frame| frame.view().unwrap().id().to_owned()).collect()
    }

    /// The next frame must be an answer of the runtime: its id, code and reason.
    pub(super) fn refusal(&mut self, link: LinkId) -> Option<(String, u16, String)> {
        let frame = self.hear(link)?;
        let view = frame.view().unwrap();
        assert!(view.has(flags::SYNTH), "{} is not from the runtime", view.from());
        let body: serde_json::Value = serde_json::from_slice(view.body()).unwrap();
        assert_eq!(body["code"], view.header.code);
        let reason = body["reason"].as_str().unwrap_or_default().to_owned();
        Some((view.id().to_owned(), view.header.code, reason))
    }

    /// Lets time pass, with every tick that is due.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.core.next_deadline().filter(|at| at.0 <= end) {
            self.now = self.now.max(at.0);
            self.input(Input::Tick);
        }
        self.now = end;
    }
}
