//! Reading `/proc`: each fact, or the fault that it cannot be seen.

use super::{NAMESPACES, NETWORK, VerifyFault, hold};
use nix::errno::Errno;
use nix::unistd::{Pid, getpgid, getsid};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

/// Room for what is read of a process.
const PROC_FILE_BYTES: usize = 4_096;
/// What a jail's only mount must be.
const MOUNT_OPTIONS: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];

fn unseen(what: &'static str, seen: impl Into<String>) -> VerifyFault {
    VerifyFault { what, seen: seen.into() }
}

/// A file of `/proc`; most fit into the first read.
pub(super) fn read(path: &str) -> Result<String, VerifyFault> {
    let mut text = String::with_capacity(PROC_FILE_BYTES);
    fs::File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| unseen("cannot be seen", format!("{path}: {error}")))?;
    Ok(text)
}

/// `/proc/<process>/status`.
#[derive(Debug)]
pub(super) struct Status(String);

impl Status {
    pub(super) fn of(process: &str) -> Result<Self, VerifyFault> {
        read(&format!("/proc/{process}/status")).map(Self)
    }

    pub(super) fn text(&self, field: &str) -> Result<&str, VerifyFault> {
        self.0
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| *name == field)
            .map(|(_, value)| value.trim())
            .ok_or_else(|| unseen("cannot be seen", format!("status has no {field}")))
    }

    pub(super) fn number(&self, field: &str) -> Result<u64, VerifyFault> {
        let text = self.text(field)?;
        text.parse().map_err(|_e| unseen("cannot be seen", format!("{field} {text}")))
    }

    pub(super) fn numbers(&self, field: &str) -> Result<Vec<u64>, VerifyFault> {
        let text = self.text(field)?;
        text.split_ascii_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_e| unseen("cannot be seen", format!("{field} {text}")))
    }
}

/// What is true of this process, for as long as it lives: read once, because each worker is
/// compared with it and waits meanwhile.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) status: Status,
    namespaces: Vec<(&'static str, (u64, u64))>,
}

impl Ours {
    pub(super) fn get() -> Result<&'static Self, VerifyFault> {
        static OURS: OnceLock<Ours> = OnceLock::new();
        match OURS.get() {
            Some(ours) => Ok(ours),
            None => Self::read().map(|ours| OURS.get_or_init(|| ours)),
        }
    }

    fn read() -> Result<Self, VerifyFault> {
        let names = NAMESPACES.iter().map(|(name, _)| *name).chain([NETWORK]);
        let numbered = names.map(|name| namespace("self", name).map(|number| (name, number)));
        Ok(Self { status: Status::of("self")?, namespaces: numbered.collect::<Result<_, _>>()? })
    }

    pub(super) fn namespace(&self, name: &str) -> Result<(u64, u64), VerifyFault> {
        let found = self.namespaces.iter().find(|(known, _)| *known == name);
        found.map(|(_, number)| *number).ok_or_else(|| unseen("cannot be seen", name))
    }
}

/// Process group and session.
pub(super) fn group_and_session(pid: i32) -> Result<(i32, i32), VerifyFault> {
    let unseen = |errno: Errno| unseen("session", errno.to_string());
    let process = Some(Pid::from_raw(pid));
    let (group, session) = (getpgid(process).map_err(unseen)?, getsid(process).map_err(unseen)?);
    Ok((group.as_raw(), session.as_raw()))
}

/// The number of a namespace.
pub(super) fn namespace(process: &str, name: &str) -> Result<(u64, u64), VerifyFault> {
    let path = format!("/proc/{process}/ns/{name}");
    let node = fs::metadata(&path).map_err(|e| unseen("cannot be seen", format!("{path}: {e}")))?;
    Ok((node.dev(), node.ino()))
}

/// The hard value of a limit, in a text as of `/proc/<pid>/limits`.
pub(super) fn limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The process sees one mount: an empty, closed tmpfs.
pub(super) fn own_mount(pid: i32) -> Result<(), VerifyFault> {
    let table = read(&format!("/proc/{pid}/mountinfo"))?;
    judge_mounts(&table)
}

fn judge_mounts(table: &str) -> Result<(), VerifyFault> {
    let mut lines = table.lines();
    let (first, more) = (lines.next().unwrap_or_default(), lines.count());
    hold("root", more == 0, || format!("{} mounts", more.saturating_add(1)))?;
    // id parent major:minor root place options … - type source options
    let (left, right) = first.split_once(" - ").unwrap_or_default();
    let fields: Vec<&str> = left.split(' ').collect();
    let kind = right.split(' ').next().unwrap_or_default();
    hold("root", kind == "tmpfs", || format!("a {kind}"))?;
    let place = (fields.get(3).copied(), fields.get(4).copied());
    hold("root", place == (Some("/"), Some("/")), || format!("{place:?}"))?;
    let options: Vec<&str> = fields.get(5).copied().unwrap_or_default().split(',').collect();
    let closed = MOUNT_OPTIONS.iter().all(|option| options.contains(option));
    hold("root", closed, || format!("mounted {options:?}"))
}

#[cfg(test)]
mod tests {
    use super::{Status, group_and_session, judge_mounts, limit};

    const CLOSED: &str =
        "90 80 0:41 / / ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs ro,size=4k\n";

    #[test]
    fn exactly_one_closed_tmpfs_is_a_private_root() {
        assert_eq!(judge_mounts(CLOSED), Ok(()));
        for (wrong, seen) in [
            (CLOSED.replace("ro,nosuid", "rw,nosuid"), "mounted"),
            (CLOSED.replace("nosuid,", ""), "mounted"),
            (CLOSED.replace(",nodev", ""), "mounted"),
            (CLOSED.replace(",noexec", ""), "mounted"),
            (CLOSED.replace("- tmpfs", "- ext4"), "ext4"),
            (CLOSED.replace("0:41 / /", "0:41 /x /"), "/x"),
            (CLOSED.repeat(2), "2 mounts"),
            (String::new(), "a "),
        ] {
            let fault = judge_mounts(&wrong).unwrap_err();
            assert!(fault.what == "root" && fault.seen.contains(seen), "{fault} for {wrong}");
        }
    }

    #[test]
    fn a_field_that_is_not_there_is_a_fault() {
        let status = Status("Uid:\t1\t2\t3\t4\nGroups:\t \nSeccomp:\tx\n".to_owned());
        assert_eq!(status.numbers("Uid").unwrap(), [1, 2, 3, 4]);
        assert_eq!(status.text("Groups").unwrap(), "");
        assert!(status.text("Threads").is_err());
        assert!(status.number("Seccomp").is_err());
    }

    #[test]
    fn group_and_session_are_those_of_the_process() {
        let own = nix::unistd::getpid().as_raw();
        assert_eq!(group_and_session(own).unwrap().1, nix::unistd::getsid(None).unwrap().as_raw());
        assert_eq!(group_and_session(i32::MAX).unwrap_err().what, "session");
    }

    #[test]
    fn a_hard_limit_is_the_second_number() {
        let text = "Max open files            1024                 4096                 files\n";
        assert_eq!(limit(text, "Max open files"), Some(4096));
        let unlimited =
            "Max core file size        0                    unlimited            bytes\n";
        assert_eq!(limit(unlimited, "Max core file size"), None);
    }
}
