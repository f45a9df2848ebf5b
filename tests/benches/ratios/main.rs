//! `cargo bench -p system-tests --bench ratios`: what the daemon costs beside a bare epoll relay,
//! and a stub's start beside a bare confined engine, as ratios of one interleaved run.
//!
//! The same program is also the reference relay (`--relay SOCKET`) and the worker of the row
//! without JavaScript (`--role …`, as `runtimed` starts workers). What the figures mean is in
//! `docs/performance.md`.

#![forbid(unsafe_code)]

mod addresses;
mod control;
mod echo;
mod fairness;
mod figures;
mod machine;
mod memory;
mod pair;
mod reference;
mod relay;
mod routing;
mod start;
mod stubs;
mod worlds;

use reference::Reference;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the user chose by the environment.
#[derive(Debug)]
struct Choices {
    /// Folder of the reference kit, built; `BENCH_KIT`.
    kit: Option<PathBuf>,
    /// How often each candidate runs between two references; `BENCH_ROUNDS`.
    rounds: usize,
    /// Whether everything runs where the kernel likes; `BENCH_FREE`.
    free: bool,
}

impl Choices {
    fn from_environment() -> Self {
        let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
        Self {
            kit: std::env::var_os("BENCH_KIT").map(PathBuf::from),
            rounds: rounds.unwrap_or(9),
            free: std::env::var_os("BENCH_FREE").is_some(),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--role", role, ..] => echo::run(role, &arguments),
        ["--relay", socket] => relay::run(socket.as_ref()),
        words if words.contains(&"--bench") => {
            let named = words.iter().copied().filter(|word| !word.starts_with('-'));
            bench(&Choices::from_environment(), &named.collect::<Vec<_>>());
            ExitCode::SUCCESS
        }
        _ => {
            println!("ratios: not measured; run `cargo bench -p system-tests --bench ratios`");
            ExitCode::SUCCESS
        }
    }
}

/// Measures what is named, or everything.
fn bench(choices: &Choices, parts: &[&str]) {
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    machine::prepare(choices.free);
    machine::print_state("before");
    let reference = Reference::choose(choices.kit.as_deref());
    println!("{}\n", reference.said());
    if wanted("routing") {
        routing::run(&reference, choices.rounds);
    }
    if wanted("fairness") {
        fairness::run(choices.rounds);
    }
    if wanted("start") {
        start::run(&reference, choices.rounds);
    }
    if wanted("memory") {
        memory::run(&reference);
    }
    if wanted("addresses") {
        addresses::run(&reference, choices.rounds);
    }
    machine::print_state("after");
}
