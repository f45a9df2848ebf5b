//! The check from outside: what the kernel says of a worker that says it is confined.
//!
//! It is made after the worker's `Confined` and before anything foreign is sent to it. A fact that
//! cannot be read counts as wrong. What nothing outside shows (Landlock, the filter's content, the
//! keyring) is the worker's word, which is sound because no foreign byte came before it.

// Said, because a test of the jail has this file under a path of its own.
#[path = "verify/facts.rs"]
mod facts;

use facts::{Ours, Status, group_and_session, limit, namespace, own_mount, read};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs;
use std::os::fd::BorrowedFd;

/// Descriptors that a worker may have when it is checked: four of its own, and its event loop's.
const DESCRIPTORS_MAX: usize = 16;
/// Descriptors of a worker: 0 to 3 are there from the start.
const DESCRIPTORS_MIN: usize = 4;
/// Largest `RLIMIT_NOFILE` of a worker; the net role's.
const OPEN_FILES_MAX: u64 = 4_096;

/// The namespaces of a jail, but for the network's.
const NAMESPACES: [(&str, &str); 6] = [
    ("user", "user-ns"),
    ("mnt", "mount-ns"),
    ("pid", "pid-ns"),
    ("ipc", "ipc-ns"),
    ("uts", "uts-ns"),
    ("cgroup", "cgroup-ns"),
];
/// The network's, which the net role shares with us.
const NETWORK: &str = "net";

/// What must be true of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect<'a> {
    /// Looked at last: what was read is true of this process and not of a later one with its number.
    pub(crate) pidfd: BorrowedFd<'a>,
    /// Host uid and gid of its own; `None` is ours.
    pub(crate) uid: Option<u32>,
    /// Whether it says that it has namespaces and a private root.
    pub(crate) namespaces: bool,
    /// Whether it belongs into our network, as only the net role does.
    pub(crate) our_network: bool,
}

/// What is wrong, or cannot be seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {seen}")]
pub(crate) struct VerifyFault {
    /// Which fact.
    pub(crate) what: &'static str,
    /// What was found instead.
    pub(crate) seen: String,
}

/// What was seen to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Names of the layers seen.
    pub(crate) layers: Vec<String>,
}

impl Verified {
    fn add(&mut self, layer: &str) {
        self.layers.push(layer.to_owned());
    }
}

fn hold(what: &'static str, holds: bool, seen: impl FnOnce() -> String) -> Result<(), VerifyFault> {
    if holds { Ok(()) } else { Err(VerifyFault { what, seen: seen() }) }
}

/// Checks the process with number `pid`, which has said that it is confined.
///
/// # Errors
/// The first fact that is not as it must be, or cannot be read.
pub(crate) fn verify(pid: i32, expect: &Expect<'_>) -> Result<Verified, VerifyFault> {
    let mut verified = Verified { layers: Vec::new() };
    let ours = Ours::get()?;
    let status = Status::of(&pid.to_string())?;
    identity(&status, &ours.status, expect, &mut verified)?;
    privileges(&status, &ours.status, expect, &mut verified)?;
    session(pid, &mut verified)?;
    limits(pid, &mut verified)?;
    if expect.namespaces {
        namespaces(pid, &status, (expect, ours), &mut verified)?;
        own_mount(pid)?;
        verified.add("root");
        descriptors(pid, &mut verified)?;
    }
    // Readable means ended, and then the number may be another's by now.
    let mut ended = [PollFd::new(expect.pidfd, PollFlags::POLLIN)];
    let alive = poll(&mut ended, PollTimeout::ZERO);
    hold("alive", alive == Ok(0), || "the process has ended".to_owned())?;
    Ok(verified)
}

fn identity(
    status: &Status,
    ours: &Status,
    expect: &Expect<'_>,
    verified: &mut Verified,
) -> Result<(), VerifyFault> {
    for (field, what) in [("Uid", "uid"), ("Gid", "gid")] {
        let own = ours.numbers(field)?;
        // All four ids of the process: real, effective, saved, file system.
        let wanted = match expect.uid {
            Some(uid) => vec![u64::from(uid); 4],
            None => own.get(1).map(|id| vec![*id; 4]).unwrap_or_default(),
        };
        let seen = status.numbers(field)?;
        hold(what, seen == wanted, || format!("{seen:?} instead of {wanted:?}"))?;
        hold(what, seen.iter().all(|id| *id != 0), || "the kernel's root".to_owned())?;
    }
    if let Some(uid) = expect.uid {
        let groups = status.text("Groups")?;
        hold("groups", groups.is_empty(), || format!("still in {groups}"))?;
        let own = ours.numbers("Uid")?;
        hold("own-uid", !own.contains(&u64::from(uid)), || format!("{uid} is ours, too"))?;
        verified.add("own-uid");
    }
    let threads = status.text("Threads")?;
    hold("threads", threads == "1", || threads.to_owned())
}

fn privileges(
    status: &Status,
    ours: &Status,
    expect: &Expect<'_>,
    verified: &mut Verified,
) -> Result<(), VerifyFault> {
    // Without namespaces it had no right to empty the bounding set.
    let sets = if expect.namespaces { &["CapBnd"][..] } else { &[] };
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"].iter().chain(sets) {
        let seen = status.text(set)?;
        let none = !seen.is_empty() && seen.bytes().all(|digit| digit == b'0');
        hold("caps", none, || format!("{set} {seen}"))?;
    }
    verified.add("caps");
    let held = status.text("NoNewPrivs")?;
    hold("no-new-privs", held == "1", || held.to_owned())?;
    verified.add("no-new-privs");
    let mode = status.text("Seccomp")?;
    hold("seccomp", mode == "2", || format!("mode {mode}"))?;
    // Ours are inherited; exactly one is its own.
    let (seen, inherited) = (status.number("Seccomp_filters")?, ours.number("Seccomp_filters")?);
    let wanted = inherited.saturating_add(1);
    hold("seccomp", seen == wanted, || format!("{seen} filters instead of {wanted}"))?;
    verified.add("seccomp");
    Ok(())
}

fn session(pid: i32, verified: &mut Verified) -> Result<(), VerifyFault> {
    let (group, session) = group_and_session(pid)?;
    // The numbers as they are out here: its own, so neither ours nor anybody else's.
    let leads = (group, session) == (pid, pid);
    hold("session", leads, || format!("group {group}, session {session}"))?;
    verified.add("session");
    Ok(())
}

fn limits(pid: i32, verified: &mut Verified) -> Result<(), VerifyFault> {
    let text = read(&format!("/proc/{pid}/limits"))?;
    for (name, most) in
        [("Max core file size", 0), ("Max locked memory", 0), ("Max open files", OPEN_FILES_MAX)]
    {
        let hard = limit(&text, name);
        hold("rlimits", hard.is_some_and(|hard| hard <= most), || format!("{name}: {hard:?}"))?;
    }
    verified.add("rlimits");
    Ok(())
}

fn namespaces(
    pid: i32,
    status: &Status,
    (expect, ours): (&Expect<'_>, &Ours),
    verified: &mut Verified,
) -> Result<(), VerifyFault> {
    let its = |name| namespace(&pid.to_string(), name);
    for (name, layer) in NAMESPACES {
        hold(layer, its(name)? != ours.namespace(name)?, || "it is ours".to_owned())?;
        verified.add(layer);
    }
    let same = its(NETWORK)? == ours.namespace(NETWORK)?;
    hold("net-ns", same == expect.our_network, || format!("same as ours: {same}"))?;
    if !same {
        verified.add("net-ns");
    }
    let numbers = status.numbers("NSpid")?;
    // The first is its number out here; the last, inside.
    let first = u64::try_from(pid).is_ok_and(|pid| numbers == [pid, 1]);
    hold("pid-ns", first, || format!("NSpid {numbers:?}"))?;
    for (file, id) in [("uid_map", "Uid"), ("gid_map", "Gid")] {
        let map = read(&format!("/proc/{pid}/{file}"))?;
        let map: Vec<&str> = map.split_ascii_whitespace().collect();
        let id = status.numbers(id)?.first().map(u64::to_string).unwrap_or_default();
        hold("user-ns", map == ["0", id.as_str(), "1"], || format!("{file} {map:?}"))?;
    }
    Ok(())
}

/// Seen through a user namespace that is ours; without one the kernel shows nobody but root the
/// descriptors of a process that is not dumpable.
fn descriptors(pid: i32, verified: &mut Verified) -> Result<(), VerifyFault> {
    let count = fs::read_dir(format!("/proc/{pid}/fdinfo")).map(Iterator::count);
    let few = count.as_ref().is_ok_and(|n| (DESCRIPTORS_MIN..=DESCRIPTORS_MAX).contains(n));
    hold("descriptors", few, || format!("{count:?}"))?;
    verified.add("descriptors");
    Ok(())
}
