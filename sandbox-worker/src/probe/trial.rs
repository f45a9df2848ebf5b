//! One sandbox, made as the daemon makes them: a spawner, a stub worker, its report. It is given
//! nothing to run, and ends with its link.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use protocol::ctl::{ConfinedReport, CtlUp, Role, SpawnReply, SpawnRequest};
use protocol::frame::frames;
use protocol::limits::{READ_BUFFER_BYTES, SPAWN_BYTES_MAX};
use protocol::link::{Got, Link, Side};
use protocol::sys::{
    Received, is_reset, reap, recv_packet, send_packet, set_cloexec, socketpair_seqpacket,
};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time for the whole trial; the daemon's own bound for a start is 3 s.
const WITHIN: Duration = Duration::from_secs(5);
/// For root: the last of the host ids that sandboxes have by default, which none has before 65,535
/// others.
const UID: u32 = 524_288 + 65_535;
/// Descriptors, as the daemon's default.
const OPEN_FILES: u32 = 128;
/// Processes, likewise.
const PROCESSES: u32 = 8;
/// Bytes of its last words that are repeated.
const WORDS_BYTES: u64 = 512;
/// This program.
const IMAGE: &str = "/proc/self/exe";

/// What the sandbox says of itself.
#[derive(Debug)]
pub(super) struct Tried {
    /// Level, layers, proof.
    pub(super) report: ConfinedReport,
    /// Whether it got namespaces.
    pub(super) namespaces: bool,
    /// From the wish to the report.
    pub(super) took: Duration,
}

/// Ends with the trial.
struct Spawner {
    process: Child,
    link: OwnedFd,
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // It ends with its link, too; what it made is ended by its own.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Makes one, hears its report, and lets it end.
pub(super) fn run() -> Result<Tried, String> {
    let begun = Instant::now();
    let until = begun.checked_add(WITHIN).unwrap_or(begun);
    let spawner = spawner().map_err(|error| format!("no spawner: {error}"))?;
    let (link, theirs) = socketpair_seqpacket().map_err(|error| format!("no link: {error}"))?;
    let (log, log_end) = UnixStream::pair().map_err(|error| format!("no log: {error}"))?;
    let uid = geteuid().is_root().then_some(UID);
    let request = SpawnRequest {
        sandbox: 1,
        role: Role::Stub,
        uid,
        open_files: OPEN_FILES,
        processes: PROCESSES,
        cgroup: false,
        listen: None,
    };
    let bytes = request.encode().map_err(|error| error.to_string())?;
    send_packet(spawner.link.as_fd(), &bytes, &[theirs.as_fd(), log_end.as_fd()])
        .map_err(|error| format!("the spawner ended: {error}"))?;
    // Only it holds them from now on, so that its end is heard.
    drop((theirs, log_end));
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let received = packet(spawner.link.as_fd(), &mut buffer, until)?;
    let reply = buffer.get(..received.len.min(SPAWN_BYTES_MAX)).unwrap_or_default();
    let namespaces = match SpawnReply::decode(reply).map_err(|error| error.to_string())? {
        SpawnReply::Spawned { namespaces, .. } => namespaces,
        SpawnReply::Failed { text, .. } => {
            wait_for_end(received.fds, until);
            return Err(text);
        }
    };
    let report = report(link.as_fd(), &mut buffer, until);
    let took = begun.elapsed();
    drop(link);
    wait_for_end(received.fds, until);
    match report {
        Ok(report) => Ok(Tried { report, namespaces, took }),
        Err(text) => Err(format!("{text}{}", last_words(log))),
    }
}

fn spawner() -> io::Result<Spawner> {
    let (link, theirs) = socketpair_seqpacket()?;
    let image = File::open(IMAGE)?;
    set_cloexec(&theirs, false)?;
    set_cloexec(&image, false)?;
    let process = Command::new(IMAGE)
        .args(["--role", "spawner"])
        .args(["--link-fd", &theirs.as_raw_fd().to_string()])
        .args(["--image-fd", &image.as_raw_fd().to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Spawner { process, link })
}

/// One packet; an empty one at the end.
fn packet(link: BorrowedFd<'_>, buffer: &mut [u8], until: Instant) -> Result<Received, String> {
    loop {
        match recv_packet(link, buffer) {
            Ok(received) => return Ok(received),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(link, until)?,
            Err(error) if is_reset(&error) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn wait(fd: BorrowedFd<'_>, until: Instant) -> Result<(), String> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
        Ok(0) => Err(format!("nothing was heard within {} s", WITHIN.as_secs())),
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.to_string()),
    }
}

fn report(
    link: BorrowedFd<'_>,
    buffer: &mut [u8],
    until: Instant,
) -> Result<ConfinedReport, String> {
    let mut ours = Link::new(Side::Daemon);
    loop {
        let received = packet(link, buffer, until)?;
        if received.len == 0 {
            return Err("the worker ended before it was confined".to_owned());
        }
        for frame in frames(buffer.get(..received.len).unwrap_or_default()) {
            let frame = frame.map_err(|error| error.to_string())?;
            if ours.receive(&frame).map_err(|error| error.to_string())? == Got::Ctl {
                return match CtlUp::decode(frame.body()).map_err(|error| error.to_string())? {
                    CtlUp::Confined(report) => Ok(report),
                    other => Err(format!("the worker says something else: {other:?}")),
                };
            }
        }
    }
}

/// The worker is this process's child, by way of its spawner.
fn wait_for_end(pidfds: Vec<OwnedFd>, until: Instant) {
    for pidfd in pidfds {
        // One that does not end by itself is ended with this process.
        while matches!(reap(pidfd.as_fd()), Ok(None)) && wait(pidfd.as_fd(), until).is_ok() {}
    }
}

fn last_words(log: UnixStream) -> String {
    let mut words = Vec::new();
    let readable = log.set_nonblocking(true).is_ok();
    if readable {
        // What is there; the rest, if somebody still writes, is not waited for.
        drop(log.take(WORDS_BYTES).read_to_end(&mut words));
    }
    let text = String::from_utf8_lossy(&words);
    let text: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if text.is_empty() { String::new() } else { format!(": {}", text.join("; ")) }
}
