//! `sandbox-worker`: the confined process. What it does is its role; the daemon chooses.
//!
//! It writes nothing to standard output; standard error is its log. Everything else goes over the
//! link that it inherits. Only the probe has none, and prints. Exit statuses are in `protocol::exit`.
#![forbid(unsafe_code)]

mod arguments;
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

use arguments::{Asked, RoleName};
use jail::Profile;
use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getpeername};
use protocol::exit;
use std::io::Write as _;
use std::process::ExitCode;

/// Says it to whoever reads the log.
pub(crate) fn log(text: &str) {
    // Without a reader there is nobody to tell.
    drop(writeln!(std::io::stderr(), "sandbox-worker: {text}"));
}

fn main() -> ExitCode {
    let arguments = match arguments::read(lexopt::Parser::from_env()) {
        Ok(Asked::Run(arguments)) => arguments,
        Ok(Asked::Print(text)) => {
            // Who has closed the output does not want it.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return ExitCode::from(exit::OK);
        }
        Err(error) => return usage(&error.to_string()),
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
