//! `runtimed`: reads its configuration, takes its lock, starts the spawner while it is still a
//! process of one thread, and then runs the shell around the core.

#![forbid(unsafe_code)]

mod config;
mod identity;
mod limits;
mod log;
mod paths;
mod shell;
mod store;

use clap::Parser;
use config::Config;
use identity::Identity;
use log::Log;
use paths::{PathError, Paths};
use shell::{Passed, Source, Start};
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Kept;

/// Lets applications talk to any domain without knowing its protocol.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    /// Configuration file; by default `runtimed.toml` in the root, or the system's or user's place.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Put everything (sockets, state, cache) under this folder.
    #[arg(long, value_name = "DIR", env = "RUNTIMED_ROOT")]
    root: Option<PathBuf>,
    /// Only check the configuration, and print where everything would be.
    #[arg(long)]
    check_config: bool,
}

/// A sentence for stderr and the exit status that goes with it.
#[derive(Debug)]
struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    fn new(status: u8, text: impl Display) -> Self {
        Self { status, text: text.to_string() }
    }

    fn config(error: impl Display) -> Self {
        Self::new(protocol::exit::CONFIG, error)
    }
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The log may not exist yet, and this is for whoever typed the command.
            let line = format!("runtimed: {}\n", failure.text);
            let _written = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            ExitCode::from(failure.status)
        }
    }
}

/// What was checked, one `key = value` a line.
fn say(file: &Path, paths: Option<&Paths>, config: &Config) -> Result<(), Failure> {
    let absent = if file.exists() { "" } else { " (not there: defaults)" };
    let mut lines = vec![format!("config = {}{absent}", file.display())];
    if let Some(Paths { run, state, cache, .. }) = paths {
        for (name, place) in [("run", run), ("state", state), ("cache", cache)] {
            lines.push(format!("{name} = {}", place.display()));
        }
    }
    lines.push(format!("minimum = {}", config.settings.minimum.name()));
    lines.extend(config.without_effect.iter().map(|key| format!("without effect = {key}")));
    let text = lines.join("\n");
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| Failure::new(protocol::exit::FAILED, format!("cannot print: {error}")))
}

fn run(args: Args) -> Result<(), Failure> {
    if let (true, Some(file)) = (args.check_config, &args.config) {
        // Wherever the daemon will live.
        let config = Config::load(file, true).map_err(Failure::config)?;
        return say(file, None, &config);
    }
    let system = args.root.is_none() && nix::unistd::geteuid().is_root();
    let paths = Paths::choose(args.root, system, std::env::var_os)
        .map_err(|error| Failure::new(error.exit(), error))?;
    paths.check_root().map_err(|error| Failure::new(error.exit(), error))?;
    let must_exist = args.config.is_some();
    let file = args.config.unwrap_or_else(|| paths.config.clone());
    let config = Config::load(&file, must_exist).map_err(Failure::config)?;
    if args.check_config {
        return say(&file, Some(&paths), &config);
    }
    let log = Log::start(config.log_level).map_err(Failure::config)?;
    for key in &config.without_effect {
        tracing::warn!(key, "this key has no effect in this version");
    }
    let passed = Passed::take().map_err(Failure::config)?;
    let placed = |error: PathError| Failure::new(error.exit(), error);
    let folders = paths.prepare().map_err(placed)?;
    let lock = folders.lock().map_err(placed)?;
    let mut kept = Kept::open(&paths.state);
    let identity = Identity::load_or_create(&paths.state, kept.guid()).map_err(Failure::config)?;
    // Whoever put something else in their place had it read: better no runtime than that one.
    folders.check().map_err(placed)?;
    kept.begin(&identity.guid);
    shell::confine_self();
    let start = Start { config, source: Source { file, must_exist, log }, passed, kept };
    let result = shell::run(start, &paths, &identity)
        .map_err(|error| Failure::new(protocol::exit::FAILED, error));
    drop(lock);
    result
}
