//! The kill storm: twenty stubs under traffic, and every other thing that happens is a fault. In the
//! end every message is accounted for, and what is left is what was there before the first.

use crate::world::{Event, World};
use protocol::control::Command;
use protocol::ctl::Role;
use runtime_core::{Core, DomainSettings, Exit, Input, Settings, Token};
use std::fmt::Write as _;

/// Stubs.
const STUBS: u64 = 20;
/// Milliseconds between two things that happen, at most.
const PAUSE_MS: u64 = 40;
/// Milliseconds in which all that was begun must have ended.
const QUIET_MS: u64 = 30_000;
/// Milliseconds in which stubs that are told to end must have ended.
const CLEAR_MS: u64 = 5_000;

/// What a storm is to do, and has done.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    left: u64,
    /// How the faults were, by kind.
    pub(crate) done: [u64; 5],
}

fn name(stub: u64) -> String {
    format!("d{stub}.example")
}

/// Restarts come quickly and never end: the storm is to go on.
fn settings(seed: u64) -> Settings {
    let mut settings = Settings {
        heartbeat_ms: 500,
        backoff_initial_ms: 20,
        backoff_max_ms: 100,
        max_restarts: 100_000,
        window_ms: 1_000,
        domains: std::collections::BTreeMap::new(),
        ..crate::world::settings(seed)
    };
    for stub in 0..STUBS {
        let catalogue = Some(format!("http://{}/.well-known", name(stub)));
        let with = DomainSettings { catalogue, private: true, ..DomainSettings::default() };
        settings.domains.insert(name(stub), with);
    }
    settings
}

impl World {
    /// A storm of so many faults.
    pub(crate) fn storming(seed: u64, faults: u64) -> Self {
        let mut world = Self::new(seed);
        world.core = Core::new(settings(seed));
        world.storm = Some(Storm { left: faults, ..Storm::default() });
        world
    }

    /// The whole storm; how many milliseconds it was, and what was done.
    pub(crate) fn weather(mut self) -> (u64, String) {
        for _ in 0..4 {
            self.app_joins();
        }
        self.later(0, Event::Traffic);
        while self.storm.as_ref().is_some_and(|storm| storm.left > 0) {
            let end = self.now + 1_000;
            self.until(end);
        }
        let lasted = self.now;
        self.stopping_traffic();
        self.until(lasted + QUIET_MS);
        self.wait_for_own();
        self.check_quiet();
        self.clear();
        let mut told = format!("{:?}", self.totals);
        let done = self.storm.as_ref().map(|storm| storm.done);
        let _infallible =
            write!(told, " [killed, out of memory, ended, stopped, garbage]: {done:?}");
        self.input(Input::Stop);
        let end = self.now + CLEAR_MS;
        self.until(end);
        self.check_end();
        (lasted, told)
    }

    /// Everything is undeployed: no process of a stub, no code, no link but the applications'.
    fn clear(&mut self) {
        for stub in 0..STUBS {
            self.operates(Command::Undeploy { name: name(stub) });
        }
        let end = self.now + CLEAR_MS;
        self.until(end);
        let left: Vec<_> = self.processes.values().filter(|p| p.role != Role::Net).collect();
        assert!(left.is_empty() && self.processes.len() <= 1, "{:?}", self.processes);
        assert!(self.codes.is_empty(), "{:?} are held for nobody", self.codes);
        assert_eq!(self.queues.len(), self.apps.len() + self.processes.len());
        self.wait_for_own();
        self.check_quiet();
    }

    /// What happens next in a storm.
    pub(crate) fn storms(&mut self) {
        if self.stopping {
            return;
        }
        let ms = 1 + self.random.below(PAUSE_MS);
        self.later(ms, Event::Traffic);
        match self.random.below(20) {
            0..10 => self.strikes(),
            10 => self.someone_is_slow(),
            11 => self.stub_speaks(),
            12 if self.apps.len() > 2 && self.random.chance(10) => self.someone_leaves(),
            12 if self.apps.len() < 6 => self.app_joins(),
            13 => self.app_subscribes(),
            14 => {
                // What failed in the middle of its deploy does not rest for long.
                let target = name(self.random.below(STUBS));
                self.operates(Command::Deploy { target, wait: false, live: false });
            }
            _ => {
                let Some(link) = self.some_app() else { return };
                let to = format!("hyperty://{}/x", name(self.random.below(STUBS)));
                for _ in 0..=self.random.below(6) {
                    self.request(link, &to);
                }
            }
        }
    }

    fn operates(&mut self, command: Command) {
        let token = Token(self.next_serial());
        self.operators.insert(token, 0);
        self.input(Input::Operator { token, command, rss: Vec::new() });
    }

    /// One fault of one process, if there is one to suffer it.
    fn strikes(&mut self) {
        let alive = self.processes.iter().filter(|(_, process)| process.link.is_some());
        let all: Vec<_> = alive.map(|(id, _)| *id).collect();
        if all.is_empty() {
            return;
        }
        let sandbox = *self.random.pick(&all);
        let kind = match self.random.below(10) {
            0..4 => 0,
            4 => 1,
            5 | 6 => 2,
            7 => 3,
            _ => 4,
        };
        match kind {
            0 => self.dies(sandbox, Exit::Signal(9)),
            1 => self.dies(sandbox, Exit::OutOfMemory),
            2 => self.dies(sandbox, Exit::Code(1)),
            3 => {
                if let Some(process) = self.processes.get_mut(&sandbox) {
                    process.stalled = true;
                }
            }
            _ => {
                let text = "garbage".to_owned();
                self.input(Input::Violation { sandbox, text });
            }
        }
        if let Some(storm) = self.storm.as_mut() {
            storm.left = storm.left.saturating_sub(1);
            storm.done[kind] += 1;
        }
    }
}
