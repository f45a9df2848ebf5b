//! A stub in the hands of an attacker, and everything around it that must not notice.

use crate::app::App;
use crate::catalogue::{ECHO_STUB, Folder, descriptor};
use crate::{Daemon, command, program, wait_for};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The stub that runs what it is told to.
pub const PUPPET: &str = include_str!("../evil/puppet.js");

/// Domain of the puppet.
pub const EVIL: &str = "evil.example";
/// Domain of a stub that answers whatever happens beside it.
pub const GOOD: &str = "good.example";
/// The application that gives the orders.
pub const ALICE: &str = "hyperty://home.example/alice";
/// An application that has nothing to do with it.
pub const BOB: &str = "hyperty://home.example/bob";
/// Where orders go.
pub const PUPPET_AT: &str = "hyperty://evil.example/puppet";

/// Longest that the tame stub may take while its neighbour attacks.
const ECHO_WITHIN: Duration = Duration::from_secs(1);

/// One daemon with an evil and a good domain, and two applications.
#[derive(Debug)]
pub struct Scene {
    /// The daemon under attack.
    pub daemon: Daemon,
    /// Gives the orders.
    pub alice: App,
    /// A bystander.
    pub bob: App,
    _folders: Vec<tempfile::TempDir>,
}

impl Scene {
    /// With the puppet as the stub of [`EVIL`].
    pub fn start() -> Self {
        let mut scene = Self::with(&descriptor(PUPPET), "");
        let _deployed = scene.order("");
        scene
    }

    /// With this descriptor for [`EVIL`], and more configuration. Keys of the evil domain's section
    /// come first in `more`, up to an empty line.
    pub fn with(evil: &Value, more: &str) -> Self {
        Self::by(evil, more, |root| command(&program("runtimed"), root))
    }

    /// The same, with a daemon that this command becomes.
    pub fn by(evil: &Value, more: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a folder")).collect();
        let catalogues: Vec<_> = folders.iter().map(|folder| Folder::new(folder.path())).collect();
        let (keys, sections) = more.split_once("\n\n").unwrap_or((more, ""));
        let mut config = "[runtime]\ndomain = \"home.example\"\n".to_owned();
        if let [evil_at, good_at] = catalogues.as_slice() {
            evil_at.put("default", &evil.to_string());
            good_at.stub(ECHO_STUB);
            let (evil_at, good_at) = (evil_at.url(), good_at.url());
            let _ok = write!(
                config,
                "[domain.\"{EVIL}\"]\ncatalogue = \"{evil_at}\"\n{keys}\n\
                 [domain.\"{GOOD}\"]\ncatalogue = \"{good_at}\"\n{sections}\n"
            );
        }
        let daemon = Daemon::start_by(&config, command);
        let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let bob = App::connect(&daemon.bus(), "bob", &[BOB]);
        let mut scene = Self { daemon, alice, bob, _folders: folders };
        // Deploys it.
        let _first = scene.echo();
        scene
    }

    /// Has the puppet run this code; what it returned.
    pub fn order(&mut self, code: &str) -> Value {
        let answer = self.alice.call("execute", PUPPET_AT, &json!({ "order": code }));
        assert_eq!(answer["body"]["code"], 200, "{code}\n{answer}");
        answer["body"]["value"].clone()
    }

    /// Has the puppet post this and gives what it was answered.
    pub fn asked(&mut self, message: &Value) -> Value {
        let answer = self.order(&format!("return tools.ask({message});"));
        answer["body"].clone()
    }

    /// Asserts that the puppet's request is refused so.
    pub fn refused(&mut self, message: &Value, code: u16, reason: &str) {
        let body = self.asked(message);
        assert_eq!((&body["code"], &body["reason"]), (&json!(code), &json!(reason)), "{message}");
    }

    fn echo(&mut self) -> Duration {
        let begun = Instant::now();
        let answer = self.bob.call("read", "hyperty://good.example/x", &json!({"still": "here"}));
        assert_eq!(answer["body"]["value"]["echo"]["still"], "here", "{answer}");
        begun.elapsed()
    }

    /// Asserts that the stub next door answers as fast as ever. Three tries: the machine is shared.
    pub fn good_answers(&mut self) {
        let fast = (0..3).any(|_| self.echo() < ECHO_WITHIN);
        assert!(fast, "the neighbour does not answer within {ECHO_WITHIN:?}");
    }

    /// Events of this kind about this component, with this reason.
    pub fn events(&self, event: &str, name: &str, reason: &str) -> Vec<Value> {
        let all = self.daemon.ctl_json(&["events"]);
        let rows = all.as_array().expect("a list").iter();
        rows.filter(|row| row["event"] == event && row["name"] == name && row["reason"] == reason)
            .cloned()
            .collect()
    }

    /// Waits for such an event; the first.
    pub fn event(&self, event: &str, name: &str, reason: &str) -> Value {
        wait_for(&format!("an event {event} of {name}: {reason}"), || {
            self.events(event, name, reason).into_iter().next()
        })
    }

    /// Asserts what holds after every attack: the puppet was not even restarted, its neighbour
    /// answers, the bystander heard nothing, and no message is missing.
    pub fn stands(&mut self) {
        self.good_answers();
        for name in [EVIL, GOOD] {
            let row = self.daemon.row(name).expect("a row");
            assert_eq!((&row["state"], &row["restarts"]), (&json!("active"), &json!(0)), "{row}");
        }
        self.daemon.assert_conserved();
    }
}
