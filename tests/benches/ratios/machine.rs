//! The state of the machine, which every figure depends on, and how the run is kept apart from
//! what else happens on it.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::process::{Command, Stdio};

/// Puts this process, and so everything that it starts, on one core and into the real-time class:
/// then a round trip is the sum of the work on its path, and other work does not show.
pub(crate) fn prepare(free: bool) {
    if free {
        println!("placement: free (BENCH_FREE is set; ratios are noisy)");
        return;
    }
    let mut core = CpuSet::new();
    let pinned = core.set(0).and_then(|()| sched_setaffinity(Pid::from_raw(0), &core));
    let own = std::process::id().to_string();
    let real_time = Command::new("chrt")
        .args(["--rr", "--pid", "1", &own])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    println!(
        "placement: core 0 {}, real-time class {}",
        if pinned.is_ok() { "only" } else { "refused" },
        if real_time { "given" } else { "refused (needs root and chrt)" },
    );
}

/// One line.
pub(crate) fn print_state(when: &str) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    println!("{when}: {cores} × {model}, Linux {}, load {load}", kernel.trim());
}
