//! What the whole-system tests share: a private daemon below a throw-away root, and the facts that
//! tests wait for.

#![forbid(unsafe_code)]

pub mod app;
pub mod catalogue;
pub mod chaos;
pub mod confined;
pub mod domain;
pub mod evil;
pub mod facts;
pub mod on_disk;
pub mod operator;
pub mod skip;
pub mod trap;

use chaos::Subject;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for a fact before it fails. Generous: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where cargo put the programs of this build: two folders above this test.
pub fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let folder = exe.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built; run cargo test --workspace", path.display());
    path
}

/// Asks `fact` until it says something, or panics after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A daemon of one's own. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    root: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    /// Starts a daemon with this `runtimed.toml`.
    pub fn start(config: &str) -> Self {
        Self::start_program(&program("runtimed"), config)
    }

    /// Starts the `runtimed` in this folder, which takes the worker that is beside it.
    pub fn start_from(programs: &Path, config: &str) -> Self {
        Self::start_program(&programs.join("runtimed"), config)
    }

    fn start_program(program: &Path, config: &str) -> Self {
        Self::start_by(config, |root| command(program, root))
    }

    /// Starts a daemon by this command, which is made for its root, and which it becomes.
    pub fn start_by(config: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let root = tempfile::Builder::new().prefix("rt-").tempdir().expect("a temporary folder");
        std::fs::write(root.path().join("runtimed.toml"), config).expect("the configuration");
        let child = Self::launch(command(root.path()), root.path());
        let daemon = Self { root, child };
        let status = daemon.ctl(&["status", "--wait", "20s"]);
        assert!(status.status.success(), "{status:?}");
        daemon
    }

    fn launch(mut command: Command, root: &Path) -> Child {
        let log = std::fs::File::create(root.join("log")).expect("the log");
        command.stdout(Stdio::null()).stderr(log);
        command.spawn().expect("runtimed starts")
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where applications connect.
    pub fn bus(&self) -> PathBuf {
        self.root().join("run/bus.sock")
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root().join("log")).unwrap_or_default()
    }

    /// Runs `runtimectl` on it.
    pub fn ctl(&self, args: &[&str]) -> Output {
        Command::new(program("runtimectl"))
            .arg("--root")
            .arg(self.root())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("runtimectl runs")
    }

    /// Runs `runtimectl … -o json` on it; the document.
    pub fn ctl_json(&self, args: &[&str]) -> Value {
        let mut all = vec!["-o", "json"];
        all.extend_from_slice(args);
        let output = self.ctl(&all);
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The row of `ps` with this name.
    pub fn row(&self, name: &str) -> Option<Value> {
        let rows = self.ctl_json(&["ps"]);
        rows.as_array()?.iter().find(|row| row["name"] == name).cloned()
    }

    /// Waits until the component is in this state; its row.
    pub fn wait_state(&self, name: &str, state: &str) -> Value {
        wait_for(&format!("{name} is {state}"), || {
            self.row(name).filter(|row| row["state"] == state)
        })
    }

    /// Asserts conservation: accepted = delivered + refused + expired + queued.
    pub fn assert_conserved(&self) -> Value {
        let messages = self.ctl_json(&["status"])["messages"].clone();
        let number = |name: &str| messages[name].as_u64().expect("a counter");
        assert_eq!(
            number("accepted"),
            number("delivered") + number("refused") + number("expired") + number("queued"),
            "{messages}"
        );
        messages
    }

    /// Pids of all living descendants of the daemon.
    pub fn descendants(&self) -> Vec<i32> {
        chaos::process::descendants(self)
    }

    /// Ends the daemon by this signal and starts it again on the same root.
    pub fn restart(&mut self, signal: nix::sys::signal::Signal) {
        self.stop(signal);
        self.start_again();
    }

    /// Starts a daemon that has ended again, on the same root.
    pub fn start_again(&mut self) {
        self.start_again_by(command(&program("runtimed"), self.root()));
    }

    /// Starts a daemon that has ended again by this command.
    pub fn start_again_by(&mut self, command: Command) {
        self.child = Self::launch(command, self.root());
        let status = self.ctl(&["status", "--wait", "20s"]);
        assert!(status.status.success(), "{status:?}");
    }

    /// Sends a signal and waits for the end; its status.
    pub fn stop(&mut self, signal: nix::sys::signal::Signal) -> std::process::ExitStatus {
        self.signal(signal);
        self.ended()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("the daemon lives");
    }

    /// Waits for the end; its status.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        wait_for("the daemon ends", || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the daemon\n{}", self.log());
        }
        // It may have ended already; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Subject for Daemon {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    fn pid_of(&self, component: &str) -> Option<i32> {
        i32::try_from(self.row(component)?["pid"].as_i64()?).ok()
    }
}

/// This `runtimed` on this root.
pub fn command(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--root").arg(root).stdin(Stdio::null());
    command
}

/// Pid and parent of every process that is not a zombie.
pub fn processes() -> Vec<(i32, i32)> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            (state != "Z" && state != "X").then_some((pid, parent))
        })
        .collect()
}

/// Whether this process lives and is no zombie.
pub fn lives(pid: i32) -> bool {
    processes().iter().any(|(found, _)| *found == pid)
}
