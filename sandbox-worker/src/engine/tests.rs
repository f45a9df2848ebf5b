//! The engine with components of every habit, in virtual time.

mod bus;
mod forms;
mod hazards;
mod network;
mod outside;
mod surroundings;
mod sync;

use super::{Attempt, Delivery, Engine, Net, Out, Setup};
use protocol::ctl::HostProfile;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const URL: &str = "hyperty-runtime://home.example/7/protostub/1";
pub(super) const RUNTIME: &str = "hyperty-runtime://home.example/7";

pub(super) fn setup() -> Setup {
    Setup {
        component: URL.to_owned(),
        runtime_url: RUNTIME.to_owned(),
        config: r#"{"url":"ws://node.example:9000/ws"}"#.to_owned(),
        profile: HostProfile::Worker,
        memory_bytes: 32 * 1_048_576,
        turn: Duration::from_millis(300),
    }
}

/// An engine whose time only passes when it is told so.
pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) now: Duration,
    pub(super) setup: Setup,
    pub(super) posts: Vec<Value>,
    pub(super) logs: Vec<String>,
    pub(super) dials: Vec<Attempt>,
    pub(super) others: Vec<Out>,
}

impl Bench {
    pub(super) fn new(setup: Setup) -> Self {
        let mut engine = Engine::new().unwrap();
        engine.prepare(&setup);
        Self {
            engine,
            now: Duration::from_secs(1),
            setup,
            posts: Vec::new(),
            logs: Vec::new(),
            dials: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Loads and activates `code`; the name it gave itself, or where and why it failed.
    pub(super) fn start(&mut self, code: &[u8]) -> Result<String, String> {
        self.engine.load(self.now, code);
        loop {
            self.engine.tick(self.now);
            self.drain();
            // What it did to its connections meanwhile stays for the test.
            let step =
                |out: &Out| matches!(out, Out::Loaded | Out::Activated { .. } | Out::Failed { .. });
            let Some(at) = self.others.iter().position(step) else {
                return Err("neither loaded nor failed".to_owned());
            };
            let out = self.others.remove(at);
            match out {
                Out::Loaded => {
                    let setup = self.setup.clone();
                    self.engine.activate(self.now, &setup);
                }
                Out::Activated { name } => return Ok(name),
                Out::Failed { stage, text } => return Err(format!("{}: {text}", stage.name())),
                other => panic!("{other:?}"),
            }
        }
    }

    /// A bench with this code active.
    pub(super) fn with(code: &str) -> Self {
        let mut bench = Self::new(setup());
        let started = bench.start(code.as_bytes());
        assert!(started.is_ok(), "{started:?} {:?}", bench.logs);
        bench
    }

    /// A bench with a form-A component whose `activate` is this.
    pub(super) fn active(body: &str) -> Self {
        Self::with(&format!(
            "export default function activate(url, bus, config, factory) {{ {body}
               return {{ name: 'test', instance: {{}} }}; }}"
        ))
    }

    pub(super) fn drain(&mut self) {
        while let Some(out) = self.engine.next_out() {
            match out {
                Out::Post(frame) => {
                    let json = crate::minibus::json_of(&frame.view().unwrap());
                    self.posts.push(serde_json::from_slice(&json.unwrap()).unwrap());
                }
                Out::Log { text, .. } => self.logs.push(text),
                Out::Dial(attempt) => self.dials.push(attempt),
                other => self.others.push(other),
            }
        }
    }

    /// Lets time pass, step by step, until `ms` have passed.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.saturating_add(Duration::from_millis(ms));
        loop {
            self.engine.tick(self.now);
            self.drain();
            match self.engine.next_tick() {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
        }
        self.now = end;
        self.engine.tick(end);
        self.drain();
    }

    pub(super) fn deliver(&mut self, message: &Value) -> Delivery {
        let delivery = self.engine.deliver(self.now, message.to_string().as_bytes());
        self.drain();
        delivery
    }

    pub(super) fn net(&mut self, event: Net) {
        self.engine.net(self.now, event);
        self.drain();
    }

    pub(super) fn logged(&self, text: &str) -> bool {
        self.logs.iter().any(|line| line.contains(text))
    }

    /// What the component posted to `to` last.
    pub(super) fn told(&self, to: &str) -> &Value {
        &self.posts.iter().rev().find(|post| post["to"] == to).expect("nothing was posted")["body"]
    }
}

pub(super) fn message(kind: &str, from: &str, to: &str) -> Value {
    json!({"id": 1, "type": kind, "from": from, "to": to, "body": {}})
}
