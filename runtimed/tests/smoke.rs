//! The daemon as a program: its command line, its configuration, its root and its lock.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_runtimed");

fn runtimed() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("RUNTIMED_ROOT").env_remove("RUNTIMED_LOG");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn root() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

#[test]
fn a_good_configuration_passes_the_check_and_nothing_is_made() {
    let root = root();
    let config = root.path().join("runtimed.toml");
    fs::write(&config, "[runtime]\ndomain = \"home.example\"\n").unwrap();
    let output = runtimed().arg("--root").arg(root.path()).arg("--check-config").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    let place = |name: &str| root.path().join(name).display().to_string();
    let lines = [
        format!("config = {}", place("runtimed.toml")),
        format!("run = {}", place("run")),
        format!("state = {}", place("state")),
        format!("cache = {}", place("cache")),
        "minimum = namespaces".to_owned(),
    ];
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_bad_configuration_is_status_78_with_file_line_and_column() {
    let root = root();
    let config = root.path().join("runtimed.toml");
    fs::write(&config, "[runtime]\ndomian = \"x\"\n").unwrap();
    for with_root in [true, false] {
        let mut command = runtimed();
        if with_root {
            command.env("RUNTIMED_ROOT", root.path());
        } else {
            command.arg("--config").arg(&config).arg("--root").arg(root.path().join("other"));
        }
        let output = command.arg("--check-config").output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let want = format!("{}:2:1: unknown field `domian`", config.display());
        assert!(said(&output).contains(&want), "{}", said(&output));
    }
}

#[test]
fn a_configuration_that_was_asked_for_and_is_not_there_is_status_78() {
    let root = root();
    let output = runtimed()
        .args(["--config", "/nonexistent/runtimed.toml", "--root"])
        .arg(root.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).contains("cannot read /nonexistent/runtimed.toml"), "{}", said(&output));
}

#[test]
fn a_root_that_others_can_write_is_refused() {
    let root = root();
    fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
    let output = runtimed().arg("--root").arg(root.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).contains("can be written by others"), "{}", said(&output));
}

#[test]
fn a_socket_path_that_is_too_long_is_refused() {
    let root = root();
    let long = root.path().join("x".repeat(100));
    let output = runtimed().arg("--root").arg(&long).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).contains("the system takes at most 107"), "{}", said(&output));
    assert!(!long.exists());
}

#[test]
fn wrong_use_is_status_2() {
    let output = runtimed().arg("--nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// A daemon that is killed if the test fails.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn start(root: &Path) -> Daemon {
    let mut child =
        Daemon(runtimed().arg("--root").arg(root).stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(child.0.stderr.take().unwrap());
    let mut seen = String::new();
    for line in log.lines() {
        let line = line.unwrap();
        if line.contains("ready") {
            return child;
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    panic!("the daemon never was ready:\n{seen}");
}

fn wait(daemon: &mut Daemon, within: Duration) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = daemon.0.try_wait().unwrap() {
            return status.code().unwrap();
        }
        assert!(start.elapsed() < within, "the daemon does not end");
        std::thread::yield_now();
    }
}

/// The daemon needs its worker, which is built beside it with the whole workspace.
fn has_worker() -> bool {
    Path::new(PROGRAM).with_file_name("sandbox-worker").exists()
}

#[test]
fn one_daemon_lives_in_a_root_and_leaves_it_clean() {
    if !has_worker() {
        return;
    }
    let root = root();
    let run = root.path().join("run");
    let mut daemon = start(root.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&run), 0o750);
    assert_eq!(mode(&run.join("bus.sock")), 0o660);
    assert_eq!(mode(&run.join("control.sock")), 0o660);
    let second = runtimed().arg("--root").arg(root.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(73));
    assert!(said(&second).contains("another runtimed holds"), "{}", said(&second));
    let identity = fs::read(root.path().join("state/runtime.json")).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(wait(&mut daemon, Duration::from_secs(6)), 0);
    let left: Vec<_> =
        fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);

    // A daemon that was killed leaves its sockets; the next one replaces them and is the same.
    let mut killed = start(root.path());
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    assert!(run.join("bus.sock").exists());
    let _again = start(root.path());
    assert_eq!(fs::read(root.path().join("state/runtime.json")).unwrap(), identity);
    UnixStream::connect(run.join("bus.sock")).unwrap();
}

#[test]
fn the_first_line_of_an_application_must_be_a_hello() {
    if !has_worker() {
        return;
    }
    let root = root();
    let _daemon = start(root.path());
    let bus = root.path().join("run/bus.sock");
    for (line, reason) in [("nonsense\n", "malformed"), ("{\"id\":1}\n", "malformed")] {
        let mut stream = UnixStream::connect(&bus).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let lines: Vec<_> = BufReader::new(stream).lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), 1, "the connection is closed after the error");
        let error: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(error["error"]["code"], 400);
        assert_eq!(error["error"]["reason"], reason);
    }
}
