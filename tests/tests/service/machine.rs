//! The machine of a gate: its service manager, the daemon's unit in it, and what is written there.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::wait_for;

/// Where the gate says which machine this is.
pub const GATE: &str = "SERVICE_GATE";
/// Where the daemon's configuration is.
pub const CONFIG: &str = "/etc/runtimed/runtimed.toml";
/// Where applications connect.
pub const BUS: &str = "/run/runtimed/bus.sock";
/// Whom the stub of `example.com` answers for.
pub const BOB: &str = "hyperty://example.com/bob";

const CATALOGUES: &str = "/etc/runtimed/catalogues";
/// The virtual machine is emulated: everything takes several times as long.
const PATIENT: &str = "[sandbox]\nstart_timeout = \"15s\"\n[supervision]\nheartbeat = \"25s\"\n";

const DROP_IN: &str = "/run/systemd/system/runtimed.service.d/gate.conf";
const UNITS: [&str; 3] = ["runtimed.service", "runtimed.socket", "runtimed-bus.socket"];

/// Runs a program to its end.
pub fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Runs a program that must end well; what it printed.
pub fn output(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What `runtimectl … -o json` says.
pub fn ctl(args: &[&str]) -> Value {
    let mut all = vec!["-o", "json"];
    all.extend_from_slice(args);
    serde_json::from_str(&output("runtimectl", &all)).expect("JSON")
}

/// A property of the daemon's unit.
pub fn property(name: &str) -> String {
    let text = output("systemctl", &["show", "--value", "-p", name, UNITS[0]]);
    text.trim().to_owned()
}

/// The daemon's pid, 0 if it does not run.
pub fn main_pid() -> i32 {
    property("MainPID").parse().expect("a pid")
}

/// Signals the daemon, which was looked up just now.
pub fn signal(pid: i32, signal: Signal) {
    assert!(pid > 1, "the daemon runs");
    kill(Pid::from_raw(pid), signal).expect("the daemon lives");
}

/// Waits until another daemon than `old` is there and ready; its pid.
pub fn another_daemon(old: i32) -> i32 {
    wait_for("another daemon is ready", || {
        let pid = main_pid();
        (pid > 0 && pid != old && property("ActiveState") == "active").then_some(pid)
    })
}

/// A machine in which nothing of ours runs, with the configuration that all checks start with.
pub fn fresh() {
    stop();
    write(DROP_IN, None);
    // How often they were started is forgotten, too.
    let _not_loaded = run("systemctl", &["reset-failed", UNITS[0], UNITS[1], UNITS[2]]);
    output("systemd-tmpfiles", &["--create", "/usr/lib/tmpfiles.d/runtimed.conf"]);
    configure(&config(&catalogue("echo", ECHO_STUB)));
}

/// Makes a catalogue with this stub; its address.
pub fn catalogue(name: &str, stub: &str) -> String {
    let folder = Folder::new(&Path::new(CATALOGUES).join(name));
    folder.stub(stub);
    folder.url()
}

/// Starts the sockets and not the daemon.
pub fn listen() {
    output("systemctl", &["start", UNITS[1], UNITS[2]]);
}

/// Stops the daemon and its sockets.
pub fn stop() {
    output("systemctl", &["stop", UNITS[0], UNITS[1], UNITS[2]]);
}

/// Writes the daemon's configuration.
pub fn configure(text: &str) {
    let more = if std::env::var(GATE).is_ok_and(|gate| gate == "vm") { PATIENT } else { "" };
    write(CONFIG, Some(&format!("{text}{more}")));
}

/// Puts this on top of the daemon's unit.
pub fn drop_in(service: &str) {
    write(DROP_IN, Some(&format!("[Service]\n{service}")));
}

fn write(path: &str, text: Option<&str>) {
    let path = Path::new(path);
    match text {
        Some(text) => {
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        None if path.exists() => fs::remove_file(path).expect("removed"),
        None => return,
    }
    if path.starts_with("/run/systemd") {
        output("systemctl", &["daemon-reload"]);
    }
}

/// An application asks the stub of `example.com`, which is deployed for it; the answer.
pub fn ask_bob() -> Value {
    let mut app = App::connect(Path::new(BUS), "gate", &[]);
    let answer = app.call("read", BOB, &Value::Null);
    assert_eq!(answer["body"]["code"], 200, "{answer}");
    answer
}

/// The component of `example.com`.
pub fn stub() -> Value {
    component("example.com")
}

/// The component of this name.
pub fn component(name: &str) -> Value {
    let rows = ctl(&["ps"]);
    let rows = rows.as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).cloned().expect("a component")
}

/// The pid of a component that runs.
pub fn pid_of(component: &Value) -> i32 {
    let pid = component["pid"].as_i64().unwrap_or_else(|| panic!("it runs: {component}"));
    i32::try_from(pid).expect("a pid")
}

/// Whether this machine has cgroups of version 2, and nothing else.
pub fn has_cgroup_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Pids of all processes in the cgroup of the daemon's unit.
pub fn processes_of_the_unit() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        cgroup.contains(UNITS[0])
    })
    .collect()
}
