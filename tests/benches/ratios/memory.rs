//! Memory: idle stubs beside the kit's idle workers, and the daemon with and without applications.

use crate::control;
use crate::figures::median;
use crate::reference::Reference;
use crate::worlds::World;
use std::fs;
use system_tests::app::App;
use system_tests::wait_for;

/// Stubs alive at the same time: shared pages are shared by as many.
const STUBS: usize = 20;
/// Applications that connect and say nothing.
const APPS: usize = 200;

/// Measures and prints.
pub(crate) fn run(reference: &Reference) {
    let domains: Vec<String> = (0..STUBS).map(|n| format!("d{n}.example")).collect();
    let world = World::javascript(&domains);
    let daemon = i32::try_from(world.daemon.pid()).expect("a pid");
    let bare = kib(daemon, "smaps_rollup", "Pss:");
    control::deploy(world.root(), &domains[0]);
    let one = kib(pids(&world)[0], "smaps_rollup", "Pss:");
    for domain in &domains[1..] {
        control::deploy(world.root(), domain);
    }
    let stubs = wait_for("all stubs are there", || {
        let pids = pids(&world);
        (pids.len() == STUBS).then_some(pids)
    });
    let each = |file: &str, key: &str| {
        let read: Option<Vec<f64>> = stubs.iter().map(|pid| kib(*pid, file, key)).collect();
        read.map(|values| median(&values))
    };
    let with_stubs = kib(daemon, "smaps_rollup", "Pss:");
    let apps: Vec<App> = (0..APPS)
        .map(|n| App::connect(&world.daemon.bus(), "idle", &[&format!("hyperty://localhost/i{n}")]))
        .collect();
    let with_apps = kib(daemon, "smaps_rollup", "Pss:");
    println!("Memory in KiB (PSS; without slab and kernel stack)\n");
    println!("| | KiB |\n|---|---|");
    let print = |name: &str, value: Option<f64>| match value {
        Some(value) => println!("| {name} | {value:.1} |"),
        None => println!("| {name} | not readable, or no reference |"),
    };
    let per = |more: Option<f64>, less: Option<f64>, count: usize| {
        let count = f64::from(u32::try_from(count).expect("a small number"));
        Some((more? - less?) / count)
    };
    print("idle stub, one alive", one);
    print(&format!("idle stub, {STUBS} alive, each"), each("smaps_rollup", "Pss:"));
    print("page tables of each", each("status", "VmPTE:"));
    print(&format!("kit's idle QuickJS worker, {STUBS} alive, each"), reference.idle_pss(STUBS));
    print("daemon without stubs", bare);
    print("daemon, more for each stub", per(with_stubs, bare, STUBS));
    print("daemon, more for each application", per(with_apps, with_stubs, apps.len()));
    println!();
}

fn pids(world: &World) -> Vec<i32> {
    let rows = control::rows(world.root());
    rows.into_iter().filter(|row| row.state == "active").filter_map(|row| row.pid).collect()
}

/// A line of `/proc/PID/<file>` in KiB; `None` if this user may not read it.
pub(crate) fn kib(pid: i32, file: &str, key: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
