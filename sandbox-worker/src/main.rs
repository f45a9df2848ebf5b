//! `sandbox-worker`: the confined process. What it does is its role; the daemon chooses.
//!
//! It writes nothing to standard output; standard error is its log. Everything else goes over the
//! link that it inherits. Only the probe has none, and prints. Exit statuses are in `protocol::exit`.
#![forbid(unsafe_code)]

mod echo;
mod engine;
mod fetch;
mod hostapi;
mod minibus;
mod net;
mod port;
mod probe;
mod role;
mod spawner;
mod stub;

use clap::{Parser, ValueEnum};
use jail::Profile;
use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getpeername};
use protocol::ctl::Level;
use protocol::exit;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// The confined process of runtimed; started by runtimed, not by hand.
#[derive(Debug, Parser)]
#[command(name = "sandbox-worker", version)]
struct Arguments {
    /// What this process is for
    #[arg(long)]
    role: RoleName,
    /// Number of the inherited link to the daemon
    #[arg(long, default_value_t = port::LINK_FD)]
    link_fd: RawFd,
    /// Number of the inherited image that workers are started from (spawner only)
    #[arg(long, required_if_eq("role", "spawner"))]
    image_fd: Option<RawFd>,
    /// Where runtimes of others connect to this one (net only)
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Process whose cgroup and limits count (probe only)
    #[arg(long)]
    of: Option<i32>,
    /// Level that is demanded (probe only)
    #[arg(long, value_parser = level, default_value = "namespaces")]
    minimum: Level,
}

fn level(word: &str) -> Result<Level, String> {
    [Level::None, Level::Filtered, Level::Namespaces, Level::Full]
        .into_iter()
        .find(|level| level.name() == word)
        .ok_or_else(|| format!("{word} is no level"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Spawner,
    Net,
    Fetch,
    Stub,
    Probe,
}

/// Says it to whoever reads the log.
pub(crate) fn log(text: &str) {
    // Without a reader there is nobody to tell.
    drop(writeln!(std::io::stderr(), "sandbox-worker: {text}"));
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    if arguments.role == RoleName::Probe {
        return probe::run(arguments.of, arguments.minimum);
    }
    // Adopting a number that is not ours to close would break the process later and elsewhere.
    if getpeername::<UnixAddr>(arguments.link_fd).is_err() {
        return usage(&format!("descriptor {} is no link", arguments.link_fd));
    }
    match (arguments.role, arguments.image_fd) {
        (RoleName::Spawner, Some(image)) => match getpeername::<UnixAddr>(image) {
            Err(Errno::ENOTSOCK) => spawner::run(arguments.link_fd, image),
            _ => usage(&format!("descriptor {image} is no image")),
        },
        (RoleName::Spawner, None) => usage("the spawner needs an image"),
        (RoleName::Net, _) => net::run(arguments.link_fd, arguments.listen),
        (RoleName::Fetch, _) => fetch::run(arguments.link_fd),
        (RoleName::Stub, _) => role::run(Profile::Stub, arguments.link_fd, stub::serve),
        (RoleName::Probe, _) => usage("the probe has no link"),
    }
}

fn usage(text: &str) -> ExitCode {
    log(&format!("{text}; this program is started by runtimed"));
    ExitCode::from(exit::USAGE)
}
