//! What a service manager relies on, with the test in its place: sockets that it passes, what it is
//! told, signs of life, and SIGHUP. A real one is met in the gates of `systemd/gate`.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::{PATIENCE, program, wait_for};

/// Gives the daemon what it has as its input and output as descriptors 3 and 4.
const PASS: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null
export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES="$2"
exec "$0" --root "$1""#;

/// The manager: a root, a socket on which it is told things, and the daemon if it runs.
struct Manager {
    root: tempfile::TempDir,
    told: UnixDatagram,
    daemon: Option<Child>,
}

impl Manager {
    fn new(config: &str) -> Self {
        let root = tempfile::Builder::new().prefix("rt-").tempdir().unwrap();
        fs::DirBuilder::new().mode(0o750).create(root.path().join("run")).unwrap();
        let told = UnixDatagram::bind(root.path().join("notify")).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        let manager = Self { root, told, daemon: None };
        manager.configure(config);
        manager
    }

    fn configure(&self, text: &str) {
        fs::write(self.root.path().join("runtimed.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("NOTIFY_SOCKET", self.path("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("log")).unwrap());
        command
    }

    fn start(&mut self) {
        let mut command = self.command(&program("runtimed"));
        self.daemon = Some(command.arg("--root").arg(self.root.path()).spawn().unwrap());
    }

    /// Starts the daemon with these sockets.
    fn start_with(&mut self, sockets: [&UnixListener; 2], names: &str) {
        let [first, second] =
            sockets.map(|socket| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", PASS]).arg(program("runtimed")).arg(self.root.path()).arg(names);
        self.daemon = Some(command.stdin(first).stdout(second).spawn().unwrap());
    }

    /// What the daemon says next, each in its own line.
    fn hears(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let len = loop {
            match self.told.recv(&mut buffer) {
                // A process that was stopped for a moment is told so by this.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.unwrap_or_else(|e| panic!("{e}: {}", self.log())),
            }
        };
        let text = String::from_utf8(buffer[..len].to_vec()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.daemon.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().unwrap();
        wait_for("the daemon ends", || daemon.try_wait().unwrap())
    }

    fn ask(&self, address: &str, code: u16) {
        let mut app = App::connect(&self.path("run/bus.sock"), "app", &[]);
        let answer = app.call("read", address, &json!({}));
        assert_eq!(answer["body"]["code"], code, "{answer}");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }
}

fn catalogue(root: &Path) -> String {
    let folder = Folder::new(&root.join("catalogue"));
    folder.stub(ECHO_STUB);
    config(&folder.url())
}

#[test]
fn sockets_that_are_passed_are_served_and_outlive_the_daemon() {
    let mut manager = Manager::new("");
    let listen = |name: &str| UnixListener::bind(manager.path(name)).unwrap();
    let (control, bus) = (listen("run/control.sock"), listen("run/bus.sock"));
    let inode = fs::metadata(manager.path("run/bus.sock")).unwrap().ino();
    for _ in 0..2 {
        // Whoever comes before the daemon is served by it.
        let mut early = App::silent(&manager.path("run/bus.sock"));
        early.write(&json!({"hello": {"name": "early", "addresses": []}}));
        manager.start_with([&bus, &control], "bus:control");
        assert!(early.read().unwrap().get("welcome").is_some());
        let mut ctl = Command::new(program("runtimectl"));
        let status = ctl.arg("--root").arg(manager.root.path()).arg("status").output().unwrap();
        assert!(status.status.success(), "{status:?}");
        manager.signal(Signal::SIGTERM);
        assert!(manager.ended().success());
        assert_eq!(fs::metadata(manager.path("run/bus.sock")).unwrap().ino(), inode);
        assert!(manager.path("run/control.sock").exists());
    }
}

#[test]
fn a_socket_that_nobody_would_serve_is_refused() {
    let mut manager = Manager::new("");
    let bus = UnixListener::bind(manager.path("run/bus.sock")).unwrap();
    for (names, said) in [("bus:web", "`web`"), ("bus:bus", "two sockets named `bus`")] {
        manager.start_with([&bus, &bus], names);
        assert_eq!(manager.ended().code(), Some(78));
        assert!(manager.log().contains(said), "{}", manager.log());
    }
}

#[test]
fn the_manager_hears_of_start_reload_and_stop() {
    let mut manager = Manager::new("");
    manager.start();
    let started = manager.hears();
    assert_eq!(started[0], "READY=1");
    assert!(started[1].starts_with("STATUS=serving hyperty-runtime://localhost/"), "{started:?}");
    // Who was told that it is ready is served.
    manager.ask("hyperty://localhost/nobody", 404);

    manager.configure("[domain.\"example.com\"\n");
    manager.signal(Signal::SIGHUP);
    let reloading = manager.hears();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    let kept = manager.hears();
    assert_eq!(kept[0], "READY=1");
    let status = "STATUS=the old configuration stays in force: ";
    assert!(kept[1].starts_with(status) && kept[1].contains("runtimed.toml:1:"), "{kept:?}");

    manager.configure(&catalogue(manager.root.path()));
    manager.signal(Signal::SIGHUP);
    assert_eq!(manager.hears()[0], "RELOADING=1");
    assert_eq!(manager.hears(), started, "all is in force");
    manager.ask("hyperty://example.com/bob", 200);

    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.hears(), ["STOPPING=1", "STATUS=stopping"]);
    assert!(manager.ended().success());
}

#[test]
fn fault_027_a_reload_of_a_bad_file_leaves_the_old_configuration_in_force_and_says_why() {
    let mut manager = Manager::new("");
    let good = catalogue(manager.root.path());
    manager.configure(&good);
    manager.start();
    let started = manager.hears();
    for bad in ["[delivery]\nparked_mesages = 1\n", "[domain.", "[sandbox]\nmemory = \"much\"\n"] {
        manager.configure(bad);
        manager.signal(Signal::SIGHUP);
        assert_eq!(manager.hears()[0], "RELOADING=1");
        let told = manager.hears();
        assert_eq!(told[0], "READY=1", "it serves as before");
        let why = "STATUS=the old configuration stays in force: ";
        assert!(told[1].starts_with(why) && told[1].contains("runtimed.toml:"), "{told:?}");
        assert!(manager.log().contains("runtimed.toml:"), "{}", manager.log());
        manager.ask("hyperty://example.com/bob", 200);
    }
    manager.configure(&good);
    manager.signal(Signal::SIGHUP);
    assert_eq!(manager.hears()[0], "RELOADING=1");
    assert_eq!(manager.hears(), started, "the complaint is over");
    manager.ask("hyperty://example.com/bob", 200);
}

#[test]
fn a_reload_says_what_waits_for_a_restart_and_changes_the_log() {
    let mut manager = Manager::new("");
    manager.start();
    assert_eq!(manager.hears()[0], "READY=1");
    manager.configure("[runtime]\ndomain = \"home.example\"\n[log]\nlevel = \"error\"\n");
    manager.signal(Signal::SIGHUP);
    assert_eq!(manager.hears()[0], "RELOADING=1");
    let reloaded = manager.hears();
    assert!(reloaded[1].ends_with("; a restart is needed for runtime.domain"), "{reloaded:?}");
    manager.ask("hyperty://localhost/nobody", 404);
    manager.signal(Signal::SIGTERM);
    assert!(manager.ended().success());
    let log = manager.log();
    assert!(log.contains("key=\"runtime.domain\"") && !log.contains("stopping"), "{log}");
}

#[test]
fn the_watchdog_is_fed_while_nothing_else_happens() {
    let mut manager = Manager::new("");
    let mut command = manager.command(&program("runtimed"));
    command.env("WATCHDOG_USEC", "300000").arg("--root").arg(manager.root.path());
    manager.daemon = Some(command.spawn().unwrap());
    assert_eq!(manager.hears()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.hears(), ["WATCHDOG=1"]);
    }
}
