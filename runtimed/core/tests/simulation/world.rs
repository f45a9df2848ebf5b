//! Virtual time, the queue of what happens, and what is checked of each effect.

use crate::apps::App;
use crate::hyperties::Hyperties;
use crate::random::Random;
use crate::store::Store;
use crate::storm::Storm;
use crate::workers::Process;
use protocol::control::Reply;
use protocol::frame::{Frame, FrameRef, flags};
use protocol::message::MessageType;
use runtime_core::{
    CodeHandle, Core, DomainSettings, Effect, Exit, Input, LinkId, ReplyTo, SandboxId, Settings,
    StreamHandle, Time, Token,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) const RUNTIME: &str = "hyperty-runtime://home.example/rt";
pub(crate) const HOME: &str = "home.example";
/// Milliseconds in which new things are begun.
const BUSY_MS: u64 = 20_000;
/// Milliseconds after which everything that was begun must have ended.
const QUIET_MS: u64 = 30_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody does something of their own.
    Traffic,
    /// A link takes frames and reacts to them.
    Drain(LinkId),
    /// What a process says.
    Up(SandboxId, crate::workers::Says),
    /// A process ends.
    Dies(SandboxId, Exit),
    /// An application's connection ends.
    Leaves(LinkId),
    /// A frame is sent by a link.
    Speaks(LinkId, Frame),
    /// An operator gives up.
    Hangs(Token),
    /// The daemon is killed.
    Crash,
}

/// What happened in one run, or in many.
#[derive(Debug, Default, Clone)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) answered_by_peers: u64,
    pub(crate) refused: u64,
    pub(crate) timed_out: u64,
    pub(crate) died: u64,
    pub(crate) inputs: u64,
    pub(crate) deploys: u64,
    pub(crate) crashes: u64,
    /// Of all effects, in order.
    pub(crate) digest: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.answered_by_peers += other.answered_by_peers;
        self.refused += other.refused;
        self.timed_out += other.timed_out;
        self.died += other.died;
        self.inputs += other.inputs;
        self.deploys += other.deploys;
        self.crashes += other.crashes;
    }
}

/// Everything outside the core, and the core.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) seed: u64,
    pub(crate) store: Store,
    pub(crate) random: Random,
    pub(crate) now: u64,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    pub(crate) apps: BTreeMap<LinkId, App>,
    pub(crate) processes: BTreeMap<SandboxId, Process>,
    /// Frames handed over and not yet taken.
    pub(crate) queues: BTreeMap<LinkId, VecDeque<Frame>>,
    pub(crate) codes: BTreeSet<CodeHandle>,
    pub(crate) operators: BTreeMap<Token, u32>,
    /// Last number heard by a receiver from one address to another.
    order: BTreeMap<(LinkId, String, String), u64>,
    /// Addresses that somebody was told are theirs, by user.
    pub(crate) promised: BTreeMap<String, u32>,
    pub(crate) hyperties: Hyperties,
    pub(crate) totals: Totals,
    pub(crate) stopping: bool,
    stopped: bool,
    /// A storm, while there is one.
    pub(crate) storm: Option<Storm>,
    /// Whether `totals.digest` is made: it takes longer than all the rest.
    pub(crate) digesting: bool,
    effects: Vec<Effect>,
}

pub(crate) fn settings(seed: u64) -> Settings {
    let mut settings = Settings {
        runtime_url: RUNTIME.to_owned(),
        domain: HOME.to_owned(),
        seed,
        parked_messages: 16,
        idle_ms: 8_000,
        ..Settings::default()
    };
    for domain in ["a.example", "b.example", "c.example"] {
        let logs_in = domain == "b.example" && seed.is_multiple_of(3);
        let with = DomainSettings {
            catalogue: Some(format!("http://{domain}/.well-known")),
            private: true,
            login: logs_in.then(|| "c.example".to_owned()),
            ..DomainSettings::default()
        };
        settings.domains.insert(domain.to_owned(), with);
    }
    if seed.is_multiple_of(2) {
        let with = DomainSettings {
            catalogue: Some("file:///srv/home".to_owned()),
            ..DomainSettings::default()
        };
        settings.domains.insert(HOME.to_owned(), with);
        settings.addresses_from_node = seed.is_multiple_of(4);
        settings.register = !seed.is_multiple_of(8);
        settings.lease_ms = 4_000;
    }
    settings
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            core: Core::new(settings(seed)),
            seed,
            store: Store::default(),
            random: Random(seed),
            now: 0,
            events: BTreeMap::new(),
            serial: 0,
            apps: BTreeMap::new(),
            processes: BTreeMap::new(),
            queues: BTreeMap::new(),
            codes: BTreeSet::new(),
            operators: BTreeMap::new(),
            order: BTreeMap::new(),
            promised: BTreeMap::new(),
            hyperties: Hyperties::default(),
            totals: Totals::default(),
            stopping: false,
            stopped: false,
            storm: None,
            digesting: false,
            effects: Vec::new(),
        }
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn next_link(&mut self) -> LinkId {
        LinkId(u32::try_from(self.next_serial()).unwrap())
    }

    pub(crate) fn later(&mut self, ms: u64, event: Event) {
        let serial = self.next_serial();
        self.events.insert((self.now + ms, serial), event);
    }

    /// Soon: with a random delay, mostly short.
    pub(crate) fn soon(&mut self, event: Event) {
        let most = *self.random.pick(&[1, 3, 10, 50]);
        let ms = self.random.below(most);
        self.later(ms, event);
    }

    /// The whole run.
    pub(crate) fn run(mut self) -> Totals {
        for _ in 0..3 {
            self.app_joins();
        }
        self.later(0, Event::Traffic);
        if self.random.chance(50) {
            let ms = self.random.below(BUSY_MS);
            self.later(ms, Event::Crash);
        }
        self.until(BUSY_MS);
        self.stopping_traffic();
        self.until(BUSY_MS + QUIET_MS);
        self.wait_for_own();
        self.check_quiet();
        self.input(Input::Stop);
        self.until(self.now + 10_000);
        self.check_end();
        self.totals
    }

    pub(crate) fn stopping_traffic(&mut self) {
        self.stopping = true;
        for app in self.apps.values_mut() {
            app.slow = false;
        }
        let links: Vec<LinkId> = self.queues.keys().copied().collect();
        for link in links {
            self.later(0, Event::Drain(link));
        }
    }

    /// Lets things happen until `end`.
    pub(crate) fn until(&mut self, end: u64) {
        loop {
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let tick = self.core.next_deadline().map(|at| at.0.max(self.now));
            let next = [event, tick].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = next;
            if event.is_none_or(|at| tick.is_some_and(|tick| tick <= at)) {
                self.input(Input::Tick);
                let again = self.core.next_deadline();
                assert!(again.is_none_or(|at| at.0 > self.now), "a tick that goes on: {again:?}");
            } else if let Some((_, event)) = self.events.pop_first() {
                self.happen(event);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Traffic if self.storm.is_some() => self.storms(),
            Event::Traffic => self.traffic(),
            Event::Drain(link) => self.drain(link),
            Event::Up(sandbox, says) => self.says(sandbox, says),
            Event::Dies(sandbox, exit) => self.dies(sandbox, exit),
            Event::Leaves(link) => self.app_leaves(link),
            Event::Speaks(link, mut frame) => {
                if self.is_alive(link) {
                    self.speak(link, frame.bytes_mut());
                }
            }
            Event::Crash => self.crashes(),
            Event::Hangs(token) => {
                if self.operators.contains_key(&token) {
                    self.operators.remove(&token);
                    self.input(Input::OperatorGone { token });
                }
            }
        }
    }

    pub(crate) fn is_alive(&self, link: LinkId) -> bool {
        self.queues.contains_key(&link)
    }

    /// A frame comes in by a link.
    pub(crate) fn speak(&mut self, link: LinkId, frame: &mut [u8]) {
        let mut effects = std::mem::take(&mut self.effects);
        self.totals.inputs += 1;
        self.core.handle_into(Time(self.now), Input::Frame { link, frame }, &mut effects);
        self.carry_out(&mut effects, Some(frame));
    }

    /// Anything else comes in.
    pub(crate) fn input(&mut self, input: Input<'_>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.totals.inputs += 1;
        self.core.handle_into(Time(self.now), input, &mut effects);
        self.carry_out(&mut effects, None);
    }

    fn carry_out(&mut self, effects: &mut Vec<Effect>, frame: Option<&[u8]>) {
        if let Err(broken) = self.core.check() {
            panic!("at {} ms: {broken}; after {effects:#?}", self.now);
        }
        for effect in effects.drain(..) {
            self.digest(&effect);
            match effect {
                Effect::Forward { link } => {
                    let bytes = frame.expect("a frame came in");
                    self.handed(link, &Frame::from_bytes(bytes.to_vec()).unwrap());
                }
                Effect::Send { link, frame } => self.handed(link, &frame),
                Effect::Publish { links, frame } => {
                    for link in links {
                        self.handed(link, &frame);
                    }
                }
                other => self.effect(other),
            }
        }
        self.effects = std::mem::take(effects);
        if self.store.take_changed() && self.store.trying {
            self.try_crash();
        }
    }

    /// What ends with the daemon.
    pub(crate) fn forget_life(&mut self) {
        self.events.retain(|_, event| matches!(event, Event::Traffic));
        self.apps.clear();
        self.processes.clear();
        self.queues.clear();
        self.codes.clear();
        self.operators.clear();
    }

    fn digest(&mut self, effect: &Effect) {
        if !self.digesting {
            return;
        }
        for byte in format!("{effect:?}").bytes() {
            self.totals.digest =
                (self.totals.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Welcome { link, address, addresses } => {
                if let Some(app) = self.apps.get_mut(&link) {
                    app.address = address;
                    app.addresses = addresses;
                }
            }
            Effect::Reject { link, .. } => {
                self.apps.remove(&link);
                self.queues.remove(&link);
            }
            Effect::CloseApp { link, .. } => self.soon(Event::Leaves(link)),
            Effect::Reply { token, reply, to } => self.replied(token, &reply, to),
            Effect::DropCode { code } => {
                assert!(self.codes.remove(&code), "{code:?} is dropped twice");
            }
            Effect::Stopped => {
                assert!(!self.stopped && self.processes.is_empty(), "stopped too early");
                self.stopped = true;
            }
            Effect::Event(row) => {
                if row.event == "deploy-started" {
                    self.totals.deploys += 1;
                }
            }
            Effect::Persist(change) => self.store.add(*change),
            Effect::Console { .. }
            | Effect::Publish { .. }
            | Effect::Forward { .. }
            | Effect::Send { .. } => {}
            other => self.worker_effect(other),
        }
    }

    fn replied(&mut self, token: Token, reply: &Reply, to: ReplyTo) {
        let known = self.operators.get_mut(&token);
        if to == ReplyTo::Last {
            let known = known.unwrap_or_else(|| panic!("{reply:?} for nobody"));
            *known += 1;
            assert_eq!(*known, 1, "two last replies, now {reply:?}");
        }
    }

    /// A frame is handed to a receiver: here it must be what its sender may say.
    fn handed(&mut self, link: LinkId, frame: &Frame) {
        let view = frame.view().unwrap();
        let queue = self.queues.get_mut(&link);
        let queue = queue.unwrap_or_else(|| panic!("a frame for link {} that is gone", link.0));
        queue.push_back(frame.clone());
        let quiet = queue.len() == 1;
        if !view.has(flags::SYNTH) && view.header.origin != 0 {
            self.check_speaker(link, &view);
            self.check_order(link, &view);
        }
        if self.apps.contains_key(&link) {
            self.check_response(link, &view);
            self.heard_addresses(link, &view);
            self.heard_hyperty(link, &view);
        }
        if quiet && !self.apps.get(&link).is_some_and(|app| app.slow) {
            self.soon(Event::Drain(link));
        }
    }

    fn check_speaker(&self, to: LinkId, view: &FrameRef<'_>) {
        let origin = LinkId(u32::try_from(view.header.origin).unwrap());
        if let Some(app) = self.apps.get(&origin) {
            assert!(app.owns(view.from()), "an application spoke as {}", view.from());
            assert!(!view.has(flags::INBOUND));
        } else if let Some(process) = self.process_of(origin) {
            assert!(process.may_say(view.from()), "{process:?} spoke as {}", view.from());
            assert!(!view.has(flags::INBOUND) || origin != to, "it went back where it came from");
        }
    }

    fn check_order(&mut self, to: LinkId, view: &FrameRef<'_>) {
        if view.header.mtype == MessageType::Response.as_u8() {
            return;
        }
        let body = std::str::from_utf8(view.body()).unwrap();
        let digits = body.strip_prefix("{\"n\":").and_then(|rest| rest.strip_suffix('}'));
        let Some(number) = digits.and_then(|digits| digits.parse::<u64>().ok()) else { return };
        let pair = (to, view.from().to_owned(), view.to().to_owned());
        let last = self.order.insert(pair, number).unwrap_or_default();
        assert!(last < number, "{number} after {last} from {}", view.from());
    }

    /// The runtime itself asks nodes now and again; one of its questions may be on its way.
    pub(crate) fn wait_for_own(&mut self) {
        let limit = self.now + 15_000;
        while self.core.counters().queued > 0 && self.now < limit {
            self.until(self.now + 10);
        }
    }

    pub(crate) fn check_quiet(&self) {
        assert_eq!(self.core.waiting(), (0, 0), "something still waits");
        for app in self.apps.values() {
            app.check_answered();
        }
        let counters = self.core.counters();
        assert_eq!(counters.queued, 0, "{counters:?}");
        let open = self.operators.iter().find(|(_, replies)| **replies == 0);
        assert!(open.is_none(), "operator {open:?} has no reply");
    }

    pub(crate) fn check_end(&self) {
        assert!(self.stopped, "it did not stop: {:?}", self.processes);
        assert!(self.processes.is_empty());
        let counters = self.core.counters();
        let sum = counters.delivered + counters.refused + counters.expired + counters.queued;
        assert_eq!(counters.accepted, sum);
    }

    pub(crate) fn process_of(&self, link: LinkId) -> Option<&Process> {
        self.processes.values().find(|process| process.link == Some(link))
    }

    /// The receiver takes what lies there, and reacts.
    fn drain(&mut self, link: LinkId) {
        if self.apps.get(&link).is_some_and(|app| app.slow) {
            return;
        }
        if self.process_of(link).is_some_and(|process| process.stalled) {
            return;
        }
        let Some(queue) = self.queues.get_mut(&link) else { return };
        let most = usize::try_from(1 + self.random.below(8)).unwrap();
        let taken: Vec<Frame> = queue.drain(..most.min(queue.len())).collect();
        let rest = !queue.is_empty();
        if taken.is_empty() {
            return;
        }
        let bytes = taken.iter().map(|frame| frame.bytes().len() as u64).sum();
        let frames = u32::try_from(taken.len()).unwrap();
        self.input(Input::Disposed { link, frames, bytes });
        for frame in taken {
            self.react(link, &frame);
        }
        if rest {
            self.soon(Event::Drain(link));
        }
    }

    pub(crate) fn stream(&mut self) -> StreamHandle {
        StreamHandle(self.next_serial())
    }
}
