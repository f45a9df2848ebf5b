//! A spawner and a worker of the probe, as root or as an ordinary user, and the test's end of both.

#![allow(dead_code, reason = "each test file uses its part")]

#[allow(unreachable_pub, reason = "it is a module of a library, too")]
#[path = "../../../tests/src/skip.rs"]
pub(crate) mod skip;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, recv, send, sendmsg,
    socketpair,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use skip::skipped;
use std::fs;
use std::io::{BufRead as _, BufReader, IoSlice, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The probe.
const PROBE: &str = env!("CARGO_BIN_EXE_jail-probe");
/// An ordinary user, for tests that run as root.
const NOBODY: &str = "65534";
/// The host id that root gives its workers here.
pub(crate) const OWN_UID: u32 = 700_001;
/// Milliseconds that any single fact is waited for.
const PATIENCE_MS: u16 = 10_000;

/// Who the spawner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The kernel's root: workers get an id of their own.
    Root,
    /// Anybody else: workers share the id.
    User,
}

/// Runs `test` for everybody that this process can be.
pub(crate) fn each(test: impl Fn(Who)) {
    if geteuid().is_root() {
        test(Who::Root);
    } else {
        skipped("the part in which root makes the workers needs root");
    }
    test(Who::User);
}

/// A copy of the probe where an ordinary user may execute it; removed in the end.
#[derive(Debug)]
pub(crate) struct Copied(PathBuf);

impl Copied {
    fn new() -> Self {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("jail-probe-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        // By a process of its own: one that another thread starts meanwhile would hold a file that
        // is written to here, and the copy could not be executed.
        let made = Command::new("install").args(["-m", "755", PROBE]).arg(&place).status();
        assert!(made.unwrap().success());
        Self(place)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// The probe as a command of `who`; the copy must live until it runs.
pub(crate) fn probe(who: Who) -> (Command, Option<Copied>) {
    if who == Who::User && geteuid().is_root() {
        let mut command = Command::new("setpriv");
        let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
        let copied = Copied::new();
        command.args([&user, &group, "--clear-groups"]).arg(&copied.0);
        (command, Some(copied))
    } else {
        (Command::new(PROBE), None)
    }
}

/// The probe as a command of `who` in a place where the kernel makes no namespaces: a user
/// namespace of its own, with a bound of none.
fn probe_without_namespaces(who: Who) -> (Command, Option<Copied>) {
    let close = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    in_user_namespace(who, close)
}

/// The probe as a command of `who` in user, mount, pid, ipc and uts namespaces that end with it.
fn probe_to_throw_away(who: Who) -> (Command, Option<Copied>) {
    let fresh = "exec unshare --mount --pid --fork --kill-child=SIGKILL --mount-proc \
                 --ipc --uts \"$@\"";
    in_user_namespace(who, fresh)
}

/// The probe as a command of `who` in a user namespace of its own, started by the shell's `then`.
fn in_user_namespace(who: Who, then: &str) -> (Command, Option<Copied>) {
    let (plain, copied) = probe(who);
    // Until its ids are mapped, it could not execute the probe as anybody.
    let then = format!("until grep -q . /proc/self/gid_map; do :; done; {then}");
    let first = plain.get_program().to_owned();
    let rest: Vec<_> = plain.get_args().map(ToOwned::to_owned).collect();
    // A shell that is not privileged gives up what it has when its ids are mapped while it asks.
    let closed = ["--user", "--keep-caps", "sh", "-p", "-c", &then, "sh"];
    if who == Who::Root {
        // Its workers have host ids, which must exist inside: mapped by `map_all`.
        let mut command = Command::new("unshare");
        command.args(closed).arg(first).args(rest);
        (command, copied)
    } else if geteuid().is_root() {
        // setpriv and its arguments first, the program last.
        let mut command = Command::new(first);
        let (options, program) = rest.split_at(rest.len().saturating_sub(1));
        command.args(options).args(["unshare", "--map-current-user"]).args(closed).args(program);
        (command, copied)
    } else {
        let mut command = Command::new("unshare");
        command.arg("--map-current-user").args(closed).arg(first).args(rest);
        (command, copied)
    }
}

/// The probe as a command of `who` where this folder is in the place of `/etc`.
fn probe_with_settings(who: Who, etc: &Path) -> (Command, Option<Copied>) {
    let bind = format!("mount --bind {} /etc && exec \"$@\"", etc.display());
    let then = format!("exec unshare --mount sh -c '{bind}' sh \"$@\"");
    in_user_namespace(who, &then)
}

/// Maps the ids of the host into the user namespace that `process` makes for itself.
fn map_all(process: u32) {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/user")).unwrap();
    let patience = Instant::now();
    while namespace(&process.to_string()) == namespace("self") {
        assert!(patience.elapsed().as_millis() < PATIENCE_MS.into(), "no namespace was made");
        std::thread::yield_now();
    }
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{process}/{file}"), "0 0 800000").unwrap();
    }
}

/// A spawner, its worker, and what they say.
#[derive(Debug)]
pub(crate) struct Scene {
    first: Child,
    control: BufReader<UnixStream>,
    link: OwnedFd,
    /// Host pid of the worker, while it is ours to wait for.
    pub(crate) worker: Option<Pid>,
    /// Removed in the end: a shell may not have executed it yet.
    _copied: Option<Copied>,
    /// Whether the spawner could make namespaces.
    pub(crate) namespaces: bool,
}

impl Scene {
    /// A worker of the probe in `role`.
    pub(crate) fn new(who: Who, role: &str) -> Self {
        Self::start(who, probe(who), &["spawner", role])
    }

    /// One whose spawner gets no namespaces from the kernel.
    pub(crate) fn without_namespaces(who: Who, role: &str) -> Self {
        let scene = Self::begin(who, probe_without_namespaces(who), &["spawner", role], &[]);
        if who == Who::Root {
            map_all(scene.first.id());
        }
        scene.born()
    }

    /// One that leaves out `layer`, in namespaces that are thrown away with it; its filter gives an
    /// errno of its own. It is not this process's child.
    pub(crate) fn lacking(who: Who, role: &str, layer: &str) -> Self {
        let args = ["throw-away", "spawner", role];
        let scene = Self::begin(who, probe_to_throw_away(who), &args, &[layer]);
        if who == Who::Root {
            map_all(scene.first.id());
        }
        let mut scene = scene.born();
        scene.worker = None;
        scene
    }

    /// One in a place where the kernel has no Landlock.
    pub(crate) fn without_landlock(who: Who, role: &str) -> Self {
        Self::start(who, probe(who), &["without-landlock", "spawner", role])
    }

    /// One of a machine whose settings are those in this folder.
    pub(crate) fn with_settings(who: Who, role: &str, etc: &Path) -> Self {
        let scene = Self::begin(who, probe_with_settings(who, etc), &["spawner", role], &[]);
        if who == Who::Root {
            map_all(scene.first.id());
        }
        scene.born()
    }

    /// One whose worker has another host id than all others, where it has one of its own.
    pub(crate) fn of_another(who: Who, role: &str) -> Self {
        Self::begin_as(who, probe(who), OWN_UID + 1, &["spawner", role], &[]).born()
    }

    /// One that is not this process's child.
    pub(crate) fn below_a_daemon(who: Who, role: &str) -> Self {
        let mut scene = Self::start(who, probe(who), &["daemon", "spawner", role]);
        scene.worker = None;
        scene
    }

    /// A worker that has made its report and said who it is.
    pub(crate) fn confined(who: Who, role: &str) -> Self {
        let mut scene = Self::new(who, role);
        let report = scene.read();
        assert!(report.starts_with("report"), "{report}");
        let identity = scene.read();
        assert!(identity.starts_with("identity"), "{identity}");
        scene
    }

    fn start(who: Who, probe: (Command, Option<Copied>), args: &[&str]) -> Self {
        Self::begin(who, probe, args, &[]).born()
    }

    fn begin(who: Who, probe: (Command, Option<Copied>), args: &[&str], more: &[&str]) -> Self {
        Self::begin_as(who, probe, OWN_UID, args, more)
    }

    fn begin_as(
        who: Who,
        probe: (Command, Option<Copied>),
        uid: u32,
        args: &[&str],
        more: &[&str],
    ) -> Self {
        let (link, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .unwrap();
        let (control, far) = UnixStream::pair().unwrap();
        let uid = if who == Who::Root { uid.to_string() } else { "-".to_owned() };
        let (mut command, copied) = probe;
        command.args(args).arg(uid).args(more).env_clear().stdin(theirs).stdout(OwnedFd::from(far));
        let first = command.spawn().unwrap();
        drop(command);
        let control = BufReader::new(control);
        Self { first, control, link, worker: None, namespaces: false, _copied: copied }
    }

    /// Waits until the spawner has made the worker.
    fn born(mut self) -> Self {
        let mut news = String::new();
        self.control.read_line(&mut news).unwrap();
        let mut words = news.split_whitespace();
        assert_eq!(words.next(), Some("spawned"), "{news}");
        self.worker = words.next().unwrap().parse().map(Pid::from_raw).ok();
        self.namespaces = words.next() == Some("true");
        self
    }

    /// Waits until the worker has said something.
    pub(crate) fn wait(&self) {
        let mut waiting = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut waiting, PollTimeout::from(PATIENCE_MS)), Ok(1), "nothing came");
    }

    /// The worker's next words.
    pub(crate) fn read(&mut self) -> String {
        self.wait();
        let mut buffer = [0_u8; 4_096];
        let read = recv(self.link.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert!(read > 0, "the worker ended");
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    /// Asks for an attempt.
    pub(crate) fn ask(&mut self, name: &str) {
        send(self.link.as_raw_fd(), name.as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    /// Number of the process that made the worker.
    pub(crate) fn supervisor(&self) -> u32 {
        self.first.id()
    }

    /// Hands a descriptor to the worker; the next attempt finds it.
    pub(crate) fn hand(&mut self, held: &impl AsRawFd, name: &str) {
        let fds = [held.as_raw_fd()];
        let (rights, bytes) = ([ControlMessage::ScmRights(&fds)], [IoSlice::new(name.as_bytes())]);
        sendmsg::<UnixAddr>(self.link.as_raw_fd(), &bytes, &rights, MsgFlags::MSG_NOSIGNAL, None)
            .unwrap();
    }

    /// Waits until the worker waits itself, for the next question.
    pub(crate) fn rests(&self) {
        let patience = Instant::now();
        let file = format!("/proc/{}/stat", self.worker.unwrap());
        while !fs::read_to_string(&file).unwrap().contains(") S ") {
            assert!(patience.elapsed().as_millis() < PATIENCE_MS.into(), "it goes on");
            std::thread::yield_now();
        }
    }

    /// The outcome of an attempt.
    pub(crate) fn attempt(&mut self, name: &str) -> String {
        self.ask(name);
        self.outcome(name)
    }

    /// The outcome of what was asked as `name`.
    pub(crate) fn outcome(&mut self, name: &str) -> String {
        let word = name.split(' ').next().unwrap();
        loop {
            let said = self.read();
            if let Some(outcome) = said.strip_prefix(&format!("{word} ")) {
                return outcome.to_owned();
            }
            assert_eq!(said, "rights", "only a descriptor may come before the outcome");
        }
    }

    /// Whether the spawner finds in its keyring what the worker planted.
    pub(crate) fn finds_planted_key(&mut self) -> String {
        self.verdict("keys")
    }

    /// The spawner's verdict on the worker, which claims namespaces or only a filter.
    pub(crate) fn verdict(&mut self, claim: &str) -> String {
        writeln!(self.control.get_mut(), "{claim}").unwrap();
        let mut line = String::new();
        self.control.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The signal that ended the worker.
    pub(crate) fn killed_by(&mut self) -> Signal {
        let worker = self.worker.take().unwrap();
        match waitpid(worker, None).unwrap() {
            WaitStatus::Signaled(_, signal, _) => signal,
            other => panic!("{other:?}"),
        }
    }

    /// SIGKILL for the process between this one and the spawner.
    pub(crate) fn kill_daemon(&mut self) {
        self.first.kill().unwrap();
        self.first.wait().unwrap();
    }

    /// Whether the worker has ended and left no word.
    pub(crate) fn is_over(&self) -> bool {
        recv(self.link.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_PEEK) == Ok(0)
    }

    /// Whether nobody holds the other end of the link any more.
    pub(crate) fn link_ends(&mut self) -> bool {
        self.wait();
        recv(self.link.as_raw_fd(), &mut [0; 64], MsgFlags::empty()) == Ok(0)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(worker) = self.worker {
            let _gone = kill(worker, Signal::SIGKILL);
            let _waited = waitpid(worker, None);
        }
        let _gone = self.first.kill();
        let _waited = self.first.wait();
    }
}
