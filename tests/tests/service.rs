//! The daemon as a service of a real systemd. The checks change the machine they run on, so they
//! only do it in one that `systemd/gate` made for them and will throw away; elsewhere they do
//! nothing. One after the other, each begins with nothing running.

#[path = "service/clock.rs"]
mod clock;
#[path = "service/machine.rs"]
mod machine;
#[path = "service/memory.rs"]
mod memory;

use clock::fault_051_a_wall_clock_that_jumps_a_day_changes_stamps_and_nothing_else;
use machine::{
    BUS, GATE, another_daemon, ask_bob, configure, ctl, drop_in, fresh, has_cgroup_v2, listen,
    main_pid, output, pid_of, processes_of_the_unit, property, run, signal, stop, stub,
};
use memory::fault_010_a_stub_out_of_memory_dies_alone;
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{ExitCode, Output};
use system_tests::app::App;
use system_tests::domain::Domain;
use system_tests::{lives, wait_for};

type Check = (&'static str, fn());

macro_rules! checks {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}

const CHECKS: &[Check] = checks![
    the_units_are_verified_without_a_word,
    the_exposure_is_at_most_3_0,
    user_group_and_folders_are_made_by_the_package,
    the_first_connection_starts_the_daemon,
    a_stub_lives_in_its_jail_under_the_hardened_unit,
    a_stub_reaches_its_node_through_the_net_role,
    the_group_may_look_and_strangers_may_not,
    a_reload_puts_a_good_file_in_force_and_a_bad_one_not,
    fault_025_a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_again,
    fault_021_a_killed_daemon_is_started_again_and_its_sockets_wait_for_it,
    a_wrong_configuration_is_not_tried_again,
    without_socket_units_the_daemon_makes_its_sockets,
    a_dynamic_user_serves_as_well,
    the_doctor_finds_a_sound_machine_under_the_installed_unit,
    a_stop_leaves_nothing_behind,
];

/// Those of cgroups of version 2, which a container does not have if its host has the first.
const CGROUP_CHECKS: &[Check] = checks![fault_010_a_stub_out_of_memory_dies_alone];

/// Those of a machine whose clock is its own.
const CLOCK_CHECKS: &[Check] =
    checks![fault_051_a_wall_clock_that_jumps_a_day_changes_stamps_and_nothing_else];

/// In a container with cgroups of the first version, the service manager is not told that what a
/// killed daemon left has ended, and waits this long before it starts the next one.
const SHORT_END: &str = "TimeoutStopSec=1\n";

fn main() -> ExitCode {
    let Ok(gate) = std::env::var(GATE) else {
        let all = CHECKS.len() + CGROUP_CHECKS.len() + CLOCK_CHECKS.len();
        println!("{all} checks run in a machine made by systemd/gate, not here");
        return ExitCode::SUCCESS;
    };
    println!("service checks in the gate `{gate}`");
    let (mut passed, mut failed, mut skipped) = (0_usize, 0_usize, 0_usize);
    let mut count = |held| if held { passed += 1 } else { failed += 1 };
    for check in CHECKS {
        count(holds(check));
    }
    let more = [
        (CGROUP_CHECKS, has_cgroup_v2(), "no cgroup version 2 here"),
        (CLOCK_CHECKS, gate == "vm", "the clock is that of the host"),
    ];
    for (checks, can, why_not) in more {
        for check in checks {
            if can {
                count(holds(check));
            } else {
                println!("skipped {}: {why_not}", check.0);
                skipped += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

/// Makes the check, and says how it went.
fn holds((name, check): &Check) -> bool {
    let (start, since) = (std::time::Instant::now(), output("date", &["+--since=@%s"]));
    let held = catch_unwind(|| {
        fresh();
        check();
    })
    .is_ok();
    let word = if held { "ok" } else { "FAILED" };
    println!("check {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f32());
    if !held {
        let journal = run("journalctl", &["--no-pager", since.trim(), "-u", "runtimed*"]);
        println!("{}", String::from_utf8_lossy(&journal.stdout));
    }
    held
}

fn the_units_are_verified_without_a_word() {
    // It ends well on a key that it does not know, and says so.
    let said = run(
        "systemd-analyze",
        &["verify", "--man=no", "runtimed.service", "runtimed.socket", "runtimed-bus.socket"],
    );
    assert!(said.status.success() && said.stderr.is_empty() && said.stdout.is_empty(), "{said:?}");
}

fn the_exposure_is_at_most_3_0() {
    let args = ["security", "--no-pager", "--threshold=30", "runtimed.service"];
    let table = output("systemd-analyze", &args);
    println!("{}", table.lines().last().unwrap_or_default().trim());
}

fn user_group_and_folders_are_made_by_the_package() {
    let uid: u32 = output("id", &["-u", "runtimed"]).trim().parse().unwrap();
    let folder = fs::metadata("/run/runtimed").unwrap();
    assert!(uid > 0 && folder.uid() == uid);
    assert_eq!(folder.permissions().mode() & 0o7777, 0o750);
    listen();
    for socket in ["/run/runtimed/control.sock", BUS] {
        let socket = fs::metadata(socket).unwrap();
        assert_eq!((socket.uid(), socket.permissions().mode() & 0o7777), (uid, 0o660));
    }
    output("systemctl", &["start", "runtimed"]);
    for folder in ["/var/lib/runtimed", "/var/cache/runtimed"] {
        let folder = fs::metadata(folder).unwrap();
        assert_eq!((folder.uid(), folder.permissions().mode() & 0o7777), (uid, 0o700));
    }
}

fn the_first_connection_starts_the_daemon() {
    listen();
    assert_eq!((property("ActiveState").as_str(), main_pid()), ("inactive", 0));
    let app = App::connect(Path::new(BUS), "gate", &[]);
    // The start is over for systemd when the daemon has told it so.
    wait_for("the service is active", || (property("ActiveState") == "active").then_some(()));
    let runtime = app.welcome["welcome"]["runtime"].as_str().unwrap().to_owned();
    assert_eq!(property("StatusText"), format!("serving {runtime}"));
    assert_eq!(ctl(&["status"])["runtime"], runtime.as_str());
    assert_eq!(property("Type"), "notify");
}

fn a_stub_lives_in_its_jail_under_the_hardened_unit() {
    listen();
    ask_bob();
    let row = stub();
    let level = row["sandbox"]["level"].as_str().unwrap();
    assert!(["namespaces", "full"].contains(&level), "{row}");
    let pid = pid_of(&row);
    assert!(processes_of_the_unit().contains(&pid), "{row}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap();
    let daemon = fs::metadata(format!("/proc/{}", main_pid())).unwrap();
    assert_ne!(daemon.uid(), 0, "the unit has a user");
    assert!(field("CapBnd").ends_with("\t0000000000000000"), "{status}");
    assert!(field("NoNewPrivs").ends_with('1'), "{status}");
    println!("level {level}, layers {}", row["sandbox"]["layers"]);
}

fn a_stub_reaches_its_node_through_the_net_role() {
    let domain = Domain::start("node.example");
    configure(&domain.config());
    listen();
    let mut app = App::connect(Path::new(BUS), "gate", &[]);
    let answer = app.call("read", "hyperty://node.example/bob", &json!({}));
    assert_eq!(answer["body"]["code"], 200, "{answer}");
}

fn as_nobody(groups: &str, args: &[&str]) -> Output {
    let mut all = vec!["--reuid=65534", "--regid=65534", groups, "runtimectl"];
    all.extend_from_slice(args);
    run("setpriv", &all)
}

fn the_group_may_look_and_strangers_may_not() {
    listen();
    let group = format!("--groups={}", output("id", &["-g", "runtimed"]).trim());
    let looked = as_nobody(&group, &["status"]);
    assert!(looked.status.success(), "{looked:?}");
    let operated = as_nobody(&group, &["deploy", "example.com"]);
    assert_eq!(operated.status.code(), Some(5), "{operated:?}");
    let stranger = as_nobody("--clear-groups", &["status"]);
    assert_eq!(stranger.status.code(), Some(5), "{stranger:?}");
}

fn a_reload_puts_a_good_file_in_force_and_a_bad_one_not() {
    listen();
    ask_bob();
    let pid = main_pid();
    configure("[delivery]\nparked_mesages = 1\n");
    output("systemctl", &["reload", "runtimed"]);
    let status = wait_for("the bad file is named", || {
        Some(property("StatusText")).filter(|status| status.contains("runtimed.toml:2:1"))
    });
    assert!(status.starts_with("the old configuration stays in force"), "{status}");
    ask_bob();
    configure("[runtime]\ndomain = \"home.example\"\n");
    output("systemctl", &["reload", "runtimed"]);
    wait_for("what waits for a restart is named", || {
        let status = property("StatusText");
        status.ends_with("; a restart is needed for runtime.domain").then_some(())
    });
    assert_eq!((main_pid(), property("ActiveState").as_str()), (pid, "active"));
}

fn fault_025_a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_again() {
    drop_in(&format!("WatchdogSec=2\n{SHORT_END}"));
    listen();
    ask_bob();
    let (daemon, worker) = (main_pid(), pid_of(&stub()));
    // It is fed while all is well: systemd saw a later sign of life than the start's.
    let fed = || property("WatchdogTimestampMonotonic").parse::<u64>().unwrap();
    let first = fed();
    wait_for("the watchdog is fed", || (fed() > first).then_some(()));
    signal(daemon, Signal::SIGSTOP);
    another_daemon(daemon);
    assert_eq!(property("NRestarts"), "1");
    let journal = output("journalctl", &["--no-pager", "-u", "runtimed", "-g", "Watchdog timeout"]);
    assert!(journal.contains("limit 2s"), "{journal}");
    assert!(!lives(worker), "no stub outlives its daemon");
    ask_bob();
}

fn fault_021_a_killed_daemon_is_started_again_and_its_sockets_wait_for_it() {
    drop_in(SHORT_END);
    listen();
    ask_bob();
    let old = processes_of_the_unit();
    let inode = fs::metadata(BUS).unwrap().ino();
    let daemon = main_pid();
    signal(daemon, Signal::SIGKILL);
    // Whoever connects meanwhile is served by the next daemon.
    ask_bob();
    assert_ne!(another_daemon(0), daemon);
    assert_eq!(fs::metadata(BUS).unwrap().ino(), inode);
    let now = processes_of_the_unit();
    assert!(old.iter().all(|pid| !now.contains(pid)), "{old:?} {now:?}");
}

fn a_wrong_configuration_is_not_tried_again() {
    configure("[delivery]\nparked_mesages = 1\n");
    let started = run("systemctl", &["start", "runtimed"]);
    assert!(!started.status.success());
    assert_eq!(property("ExecMainStatus"), "78");
    assert_eq!((property("ActiveState").as_str(), property("NRestarts").as_str()), ("failed", "0"));
}

fn without_socket_units_the_daemon_makes_its_sockets() {
    output("systemctl", &["start", "runtimed"]);
    ask_bob();
    assert_eq!(fs::metadata(BUS).unwrap().permissions().mode() & 0o7777, 0o660);
    stop();
    assert!(!Path::new(BUS).exists());
}

fn a_dynamic_user_serves_as_well() {
    drop_in(
        "DynamicUser=yes\nUser=rt-dynamic\nGroup=rt-dynamic\nRuntimeDirectory=\n\
         RuntimeDirectory=rt-dynamic\nRuntimeDirectoryPreserve=no\nStateDirectory=\n\
         StateDirectory=rt-dynamic\nCacheDirectory=\nCacheDirectory=rt-dynamic\n",
    );
    output("systemctl", &["start", "runtimed"]);
    let uid = fs::metadata(format!("/proc/{}", main_pid())).unwrap().uid();
    assert!((61_184..=65_519).contains(&uid), "{uid} is dynamic");
    let bus = Path::new("/run/rt-dynamic/bus.sock");
    let mut app = App::connect(bus, "gate", &[]);
    let answer = app.call("read", machine::BOB, &serde_json::Value::Null);
    assert_eq!(answer["body"]["code"], 200, "{answer}");
    stop();
    assert!(!bus.exists() && Path::new("/var/lib/private/rt-dynamic").exists());
}

fn the_doctor_finds_a_sound_machine_under_the_installed_unit() {
    listen();
    ask_bob();
    let table = run("runtimectl", &["doctor"]);
    println!("{}", String::from_utf8_lossy(&table.stdout).trim_end());
    assert!(table.status.success(), "{table:?}");
    let rows = ctl(&["doctor"]);
    let of = |check: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["check"] == check).unwrap();
        (row["state"].as_str().unwrap(), row["found"].as_str().unwrap())
    };
    for check in
        ["kernel", "namespaces", "seccomp", "limits", "sandbox", "disk", "configuration", "daemon"]
    {
        assert_eq!(of(check).0, "ok", "{check}: {}", of(check).1);
    }
    // It speaks of the daemon of the unit, with what the unit gives it.
    assert!(of("daemon").1.contains(&format!("pid {}, ", main_pid())), "{}", of("daemon").1);
    if has_cgroup_v2() {
        let (state, found) = of("cgroup");
        assert!(found.starts_with("version 2, memory and pids, ours at "), "{found}");
        assert_eq!((state, found.ends_with("/runtimed.service")), ("ok", true), "{found}");
    }
}

fn a_stop_leaves_nothing_behind() {
    listen();
    ask_bob();
    let processes = processes_of_the_unit();
    assert!(processes.len() >= 3, "daemon, spawner, stub: {processes:?}");
    let start = std::time::Instant::now();
    stop();
    // Nobody had to be killed for it.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert_eq!(
        (property("Result").as_str(), property("ExecMainStatus").as_str()),
        ("success", "0")
    );
    assert_eq!(processes_of_the_unit(), Vec::<i32>::new());
    assert!(processes.iter().all(|pid| !lives(*pid)));
    let mut left: Vec<_> = fs::read_dir("/run/runtimed").unwrap().flatten().collect();
    left.retain(|entry| entry.file_name() != "lock");
    assert!(left.is_empty(), "{left:?}");
    let identity: Vec<_> = fs::read_dir("/var/lib/runtimed").unwrap().flatten().collect();
    assert!(!identity.is_empty(), "who the runtime is stays");
}
