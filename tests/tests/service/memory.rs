//! A stub that outgrows the cgroup which the unit's `Delegate=` lets the daemon give it.

use crate::machine::{
    BUS, ask_bob, catalogue, component, configure, ctl, listen, main_pid, pid_of, property, run,
    stub,
};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, HOARDING_STUB, config};
use system_tests::{lives, wait_for};

const HOARDER: &str = "hyperty://hoard.example/bob";
const NAME: &str = "hoard.example";

/// Less than the engine's heap may become: as if the worker itself had grown.
const BOUND_BYTES: u32 = 24 << 20;
const TAKEN_BYTES: u32 = 48 << 20;

/// Its directory, by what the kernel says of a process in it.
fn cgroup_of(pid: i32) -> PathBuf {
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = memberships.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    Path::new("/sys/fs/cgroup").join(own)
}

fn exit_of_the_hoarder() -> Option<Value> {
    let events = ctl(&["events"]);
    let mut events = events.as_array()?.iter();
    events.find(|row| row["event"] == "exited" && row["name"] == NAME).cloned()
}

pub fn fault_010_a_stub_out_of_memory_dies_alone() {
    let hoarder = catalogue("hoarder", HOARDING_STUB);
    let echo = config(&catalogue("echo", ECHO_STUB));
    configure(&format!("{echo}[domain.\"{NAME}\"]\ncatalogue = \"{hoarder}\"\n"));
    listen();
    ask_bob();
    let mut app = App::connect(Path::new(BUS), "gate", &[]);
    assert_eq!(app.call("read", HOARDER, &json!({"value": 1}))["body"]["code"], 200);
    let (daemon, other, victim) = (main_pid(), pid_of(&stub()), component(NAME));
    let layers = victim["sandbox"]["layers"].to_string();
    assert!(layers.contains("cgroup-memory") && layers.contains("cgroup-pids"), "{layers}");
    let cgroup = cgroup_of(pid_of(&victim));
    let unit = Path::new("/sys/fs/cgroup/system.slice/runtimed.service");
    assert!(cgroup.starts_with(unit), "{}", cgroup.display());
    assert_ne!(cgroup, cgroup_of(pid_of(&stub())), "each has its own");
    let number = |file: &str| fs::read_to_string(cgroup.join(file)).unwrap().trim().to_owned();
    println!("{}: memory.max {}, pids.max {}", NAME, number("memory.max"), number("pids.max"));
    fs::write(cgroup.join("memory.max"), BOUND_BYTES.to_string()).unwrap();

    let answer = app.call("read", HOARDER, &json!({"value": TAKEN_BYTES}));
    assert_eq!(
        (&answer["body"]["code"], &answer["body"]["reason"]),
        (&json!(503), &json!("stub-died"))
    );
    let exited = wait_for("its end is known", exit_of_the_hoarder);
    assert_eq!(exited["reason"], "oom", "{exited}");
    println!("{}", exited["detail"].as_str().unwrap_or_default());

    // The service manager saw it, and by OOMPolicy= let it be.
    wait_for("the journal tells of it", || {
        let args = ["--no-pager", "-b", "-u", "runtimed", "-g", "killed by the OOM killer"];
        run("journalctl", &args).status.success().then_some(())
    });
    let unit = ["ActiveState", "Result", "NRestarts"].map(property);
    assert_eq!(unit, ["active", "success", "0"]);
    assert_eq!(main_pid(), daemon);
    assert!(lives(other) && pid_of(&stub()) == other, "the other stub is not touched");
    ask_bob();
    // It starts again, in a cgroup of the size that is configured.
    assert_eq!(app.call("read", HOARDER, &json!({"value": 1}))["body"]["code"], 200);
    assert_ne!(cgroup_of(pid_of(&component(NAME))), cgroup);
    wait_for("its old cgroup is gone", || (!cgroup.exists()).then_some(()));
}
