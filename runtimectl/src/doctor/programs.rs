//! What the other programs say: the worker of the machine, the daemon of its configuration.

use super::{Finding, State};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use protocol::sys::pidfd_open;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Time for one of them; the worker takes at most half of it.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of what one of them says; a probe says some thousand.
const SAID_BYTES_MAX: u64 = 65_536;
/// Where the package puts the worker.
const PACKAGED: &str = "/usr/libexec/runtimed/sandbox-worker";
/// The service's places, as its unit names them to it.
const OF_SYSTEM: [(&str, &str); 4] = [
    ("RUNTIME_DIRECTORY", "/run/runtimed"),
    ("STATE_DIRECTORY", "/var/lib/runtimed"),
    ("CACHE_DIRECTORY", "/var/cache/runtimed"),
    ("CONFIGURATION_DIRECTORY", "/etc/runtimed"),
];

/// How a program ended, and what it said.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

fn beside(name: &str) -> PathBuf {
    std::env::current_exe().map_or_else(|_| PathBuf::from(name), |own| own.with_file_name(name))
}

/// Runs it to its end.
fn run(command: &mut Command) -> Result<Said, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut out = tempfile::tempfile().map_err(failed)?;
    let mut err = tempfile::tempfile().map_err(failed)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(failed)?)
        .stderr(err.try_clone().map_err(failed)?)
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let late = PollTimeout::try_from(WITHIN).unwrap_or(PollTimeout::MAX);
    let ended = pidfd_open(pid).map_err(failed).and_then(|pidfd| {
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, late).map_err(|errno| errno.to_string())
    });
    if ended != Ok(1) {
        // It may be ending just now; it is waited for in either case.
        drop(child.kill());
        drop(child.wait());
        let name = command.get_program().display();
        return Err(format!("{name} did not end within {} s", WITHIN.as_secs()));
    }
    let status = child.wait().map_err(failed)?.code();
    Ok(Said { status, out: text(&mut out)?, err: text(&mut err)? })
}

fn text(file: &mut File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_start| file.take(SAID_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// What the worker finds, for the running daemon or the caller.
pub(super) fn probe(daemon: Option<u32>, minimum: Option<&str>) -> Vec<Finding> {
    let own = beside("sandbox-worker");
    let worker = if own.exists() { own } else { PathBuf::from(PACKAGED) };
    let mut command = Command::new(&worker);
    command.args(["--role", "probe"]).env_clear();
    command.args(minimum.iter().flat_map(|minimum| ["--minimum", minimum]));
    if let Some(pid) = daemon {
        command.args(["--of", &pid.to_string()]);
        become_owner(&mut command, &process(pid));
    }
    let findings = run(&mut command).and_then(|said| {
        serde_json::from_str(&said.out).map_err(|error| {
            let status =
                said.status.map_or_else(String::new, |status| format!(", status {status}"));
            format!("{} is not understood ({error}{status}) {}", worker.display(), said.err)
        })
    });
    findings.unwrap_or_else(|text| {
        let cost = "no stub can be run, and the machine cannot be looked at";
        let mend = "install all three programs of the same build, and let the daemon's user run \
                    sandbox-worker";
        vec![Finding::lack("worker", State::Fail, text, cost, mend)]
    })
}

fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// What the user of the daemon, or of its root, cannot do, the daemon cannot.
fn become_owner(command: &mut Command, its: &Path) {
    let Ok(owner) = its.metadata() else { return };
    if geteuid().is_root() && owner.uid() != 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
}

/// What the daemon says of its configuration and places.
#[derive(Debug)]
pub(super) struct Checked(Result<Vec<(String, String)>, String>);

impl Checked {
    /// Asks the `runtimed` beside this program, for the service's places or those of a root.
    pub(super) fn of(daemon: Option<u32>, root: Option<&Path>, system: bool) -> Self {
        let mut command = Command::new(beside("runtimed"));
        command.arg("--check-config");
        if let Some(root) = root {
            command.arg("--root").arg(root);
            become_owner(&mut command, root);
        }
        if let Some(pid) = daemon {
            become_owner(&mut command, &process(pid));
        }
        if system {
            command.envs(OF_SYSTEM);
        }
        Self(run(&mut command).and_then(|said| match said.status {
            Some(0) => Ok(pairs(&said.out)),
            _ => Err(said.err.strip_prefix("runtimed: ").unwrap_or(&said.err).to_owned()),
        }))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let pairs = self.0.as_ref().ok()?;
        pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Lowest level at which foreign code is run.
    pub(super) fn minimum(&self) -> Option<&str> {
        self.get("minimum")
    }

    /// Where the daemon writes.
    pub(super) fn places(&self) -> Vec<(&'static str, PathBuf)> {
        let place = |name| Some((name, PathBuf::from(self.get(name)?)));
        ["run", "state", "cache"].into_iter().filter_map(place).collect()
    }

    pub(super) fn finding(&self, daemon_runs: bool) -> Finding {
        const CHECK: &str = "configuration";
        let pairs = match &self.0 {
            Ok(pairs) => pairs,
            Err(text) => {
                let cost = if daemon_runs {
                    "the running daemon goes on with what it has read; the next start fails"
                } else {
                    "runtimed does not start"
                };
                let mend = "do as it says; runtimectl config default prints every key";
                return Finding::lack(CHECK, State::Fail, text.clone(), cost, mend);
            }
        };
        let file = self.get("config").unwrap_or_default();
        let idle = pairs.iter().filter(|(key, _)| key == "without effect");
        let idle: Vec<_> = idle.map(|(_, value)| value.as_str()).collect();
        if idle.is_empty() {
            return Finding::ok(CHECK, file);
        }
        let found = format!("{file}; {} without effect", idle.join(", "));
        let cost = "this version does not do what these keys ask for";
        Finding::lack(CHECK, State::Warn, found, cost, "take them out, or use a newer version")
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(" = ")?;
        Some((key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::{Checked, State, pairs, run};
    use std::path::PathBuf;
    use std::process::Command;

    #[test]
    fn what_the_check_says_is_kept_and_keys_without_effect_are_a_warning() {
        let text = "config = /r/runtimed.toml\nstate = /r/a = b\nminimum = full\n";
        let checked = Checked(Ok(pairs(text)));
        assert_eq!(checked.minimum(), Some("full"));
        assert_eq!(checked.places(), [("state", PathBuf::from("/r/a = b"))]);
        assert_eq!(checked.finding(false).state, State::Ok);
        let idle = Checked(Ok(pairs(&format!("{text}without effect = sandbox.pool\n"))));
        let finding = idle.finding(false);
        assert_eq!(finding.state, State::Warn);
        assert_eq!(finding.found, "/r/runtimed.toml; sandbox.pool without effect");
        let broken = Checked(Err("f:1:1: no".to_owned()));
        assert_eq!(broken.finding(true).found, "f:1:1: no");
        assert_ne!(broken.finding(true).cost, broken.finding(false).cost);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let said = run(&mut Command::new("/nonexistent/runtimed")).err().unwrap();
        assert!(said.starts_with("/nonexistent/runtimed: "), "{said}");
    }

    #[test]
    fn both_outputs_and_the_status_are_heard() {
        let said = run(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"])).unwrap();
        assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (Some(3), "a", "b"));
    }
}
