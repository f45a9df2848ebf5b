//! The hub: the only owner of the core. Every task of the shell hands it what happened, and it
//! carries out what the core decides, in order, before anything else happens.

use super::apps::App;
use super::clock::Clock;
use super::code::Held;
use super::control::Operator;
use super::notify::Watchdog;
use super::peer::Gate;
use super::spawn::Spawner;
use super::store::Keeper;
use super::watch::Holding;
use super::workers::Worker;
use crate::config::Config;
use protocol::limits::READ_BUFFER_BYTES;
use runtime_core::{Core, Effect, Input, LinkId, SandboxId, Settings, StreamHandle, Time, Token};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::{Rc, Weak};
use tokio::sync::Notify;

/// How tasks hold the hub. A borrow never lives across an `await`.
pub(super) type Shared = Rc<RefCell<Hub>>;

/// How tasks that end with the daemon hold it.
pub(super) type WeakHub = Weak<RefCell<Hub>>;

/// The core and everything it speaks to.
#[derive(Debug)]
pub(super) struct Hub {
    core: Core,
    pub(super) me: WeakHub,
    pub(super) clock: Clock,
    pub(super) gate: Gate,
    pub(super) runtime_url: String,
    /// Where the net role listens, if this runtime does.
    pub(super) listen: Option<String>,
    pub(super) heartbeat_ms: u32,
    pub(super) default_deadline_ms: u64,
    pub(super) apps: HashMap<LinkId, App>,
    pub(super) workers: HashMap<LinkId, Worker>,
    pub(super) sandboxes: BTreeMap<SandboxId, LinkId>,
    /// What processes hold that do not end.
    pub(super) unkillable: HashMap<LinkId, Holding>,
    pub(super) operators: HashMap<Token, Operator>,
    pub(super) held: Held,
    pub(super) keeper: Keeper,
    pub(super) spawner: Spawner,
    pub(super) dirty: Vec<LinkId>,
    pub(super) owing: Vec<LinkId>,
    pub(super) owes: Rc<Notify>,
    /// Taken while a link is read, so that frames can be handed to the core where they lie.
    pub(super) read_buffer: Vec<u8>,
    pub(super) stopped: bool,
    pub(super) ended: Rc<Notify>,
    queue: VecDeque<Input<'static>>,
    /// Empty between inputs; kept for its room.
    effects: Vec<Effect>,
    deadline: Option<Time>,
    deadline_moved: Rc<Notify>,
    watchdog: Watchdog,
    last_link: u32,
    last_token: u64,
}

/// What a hub is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// For the core, complete.
    pub(super) settings: Settings,
    /// The time.
    pub(super) clock: Clock,
    /// Who may come in.
    pub(super) gate: Gate,
    /// Makes processes.
    pub(super) spawner: Spawner,
}

impl Hub {
    /// A hub with a new core.
    pub(super) fn new(parts: Parts) -> Shared {
        let Parts { settings, clock, gate, spawner } = parts;
        Rc::new_cyclic(|me| {
            RefCell::new(Self {
                me: me.clone(),
                clock,
                gate,
                runtime_url: settings.runtime_url.clone(),
                listen: settings.p2p.as_ref().map(|p2p| p2p.listen.clone()),
                heartbeat_ms: u32::try_from(settings.heartbeat_ms).unwrap_or(u32::MAX),
                default_deadline_ms: settings.default_deadline_ms,
                core: Core::new(settings),
                apps: HashMap::new(),
                workers: HashMap::new(),
                sandboxes: BTreeMap::new(),
                unkillable: HashMap::new(),
                operators: HashMap::new(),
                held: Held::default(),
                keeper: Keeper::default(),
                spawner,
                dirty: Vec::new(),
                owing: Vec::new(),
                owes: Rc::new(Notify::new()),
                read_buffer: vec![0; READ_BUFFER_BYTES],
                stopped: false,
                ended: Rc::new(Notify::new()),
                queue: VecDeque::new(),
                effects: Vec::new(),
                deadline: None,
                deadline_moved: Rc::new(Notify::new()),
                watchdog: Watchdog::from_environment(),
                last_link: 0,
                last_token: 0,
            })
        })
    }

    /// A number for a new link.
    pub(super) fn next_link(&mut self) -> LinkId {
        self.last_link = self.last_link.saturating_add(1);
        LinkId(self.last_link)
    }

    /// A number for a new request.
    pub(super) fn next_token(&mut self) -> Token {
        self.last_token = self.last_token.saturating_add(1);
        Token(self.last_token)
    }

    /// One thing happened and nothing else is to hand: deals with it and lets the links write.
    pub(super) fn turn(&mut self, input: Input<'static>) {
        self.feed(input);
        self.end_turn();
    }

    /// Deals with one input and what follows from it at once.
    pub(super) fn feed(&mut self, input: Input<'static>) {
        self.queue.push_back(input);
        self.drain();
    }

    /// Deals with a message frame that lies in somebody's buffer and came `now`: the clock is read
    /// once for all frames of a packet.
    pub(super) fn feed_frame(&mut self, now: Time, link: LinkId, frame: &mut [u8]) {
        let mut effects = std::mem::take(&mut self.effects);
        let input = Input::Frame { link, frame: &mut *frame };
        self.core.handle_into(now, input, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect, frame);
        }
        self.effects = effects;
        self.drain();
    }

    /// Something follows from an effect; it is dealt with after the other effects.
    pub(super) fn later(&mut self, input: Input<'static>) {
        self.queue.push_back(input);
    }

    fn drain(&mut self) {
        while let Some(input) = self.queue.pop_front() {
            let stream = stream_of(&input);
            let mut effects = std::mem::take(&mut self.effects);
            self.core.handle_into(self.clock.now(), input, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect, &[]);
            }
            self.effects = effects;
            // What nobody took is closed.
            drop(stream.and_then(|stream| self.held.take_stream(stream)));
        }
    }

    /// The end of a turn: every link that has something to say says it once. What is due already is
    /// done at once, because a timer is a millisecond late; what remains due is left to the timer.
    pub(super) fn end_turn(&mut self) {
        self.flush();
        let mut deadline = self.core.next_deadline();
        if deadline.is_some_and(|due| due <= self.clock.now()) {
            self.feed(Input::Tick);
            self.flush();
            deadline = self.core.next_deadline();
        }
        self.gather_store();
        if deadline != self.deadline {
            self.deadline = deadline;
            self.deadline_moved.notify_one();
        }
        self.watchdog.turned();
    }

    /// The configuration was read again.
    pub(super) fn configure(&mut self, config: Config) {
        self.heartbeat_ms = u32::try_from(config.settings.heartbeat_ms).unwrap_or(u32::MAX);
        self.default_deadline_ms = config.settings.default_deadline_ms;
        self.spawner.allow(config.bounds);
        self.turn(Input::Configured { settings: Box::new(config.settings) });
    }

    fn flush(&mut self) {
        while let Some(link) = self.dirty.pop() {
            self.flush_worker(link);
        }
        self.drain();
    }
}

fn stream_of(input: &Input<'_>) -> Option<StreamHandle> {
    match input {
        Input::Ctl { stream, .. } => *stream,
        Input::Opened { outcome: Ok(stream), .. } => Some(*stream),
        _ => None,
    }
}

/// Wakes the core when its next deadline comes, and when the watchdog wants to see a turn of it.
pub(super) async fn keep_time(hub: WeakHub) {
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let (next, moved) = {
            let hub = strong.borrow();
            let deadline = hub.deadline.map(|time| hub.clock.instant(time));
            let next = deadline.into_iter().chain(hub.watchdog.due()).min();
            (next, Rc::clone(&hub.deadline_moved))
        };
        drop(strong);
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = moved.notified() => {}
            () = timer => {
                let Some(strong) = hub.upgrade() else { return };
                let mut hub = strong.borrow_mut();
                hub.deadline = None;
                hub.turn(Input::Tick);
            }
        }
    }
}
