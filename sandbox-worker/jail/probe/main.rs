//! The process that the tests of this crate put into a jail: it tries the walls and says what
//! happened. Every attempt is harmless when it succeeds: signal 0, invalid descriptors, pointers
//! and requests.
//!
//! ```text
//! test ── daemon (optional) ── spawner ── clone3 ──▶ stub | fetch | net: confined
//!                                                    bare: as the spawner made it, no more
//! ```
//! A spawner's descriptor 0 is the worker's link and its descriptor 1 the test's, both ways.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "only tests run this program")]
#![allow(unsafe_code, reason = "descriptors are planted")]

mod attempts;
mod escapes;
#[path = "../../../runtimed/src/shell/verify.rs"]
mod verify;

use escapes::{HELD_FD, PLANTED_FD};
use jail::spawn::{Limits, Networks, Spawn, prepare, spawn};
use jail::{Profile, confine};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, send};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::fs::File;
use std::io::{BufRead as _, BufReader, IoSliceMut};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;
use verify::{Expect, verify};

/// A worker's link.
const LINK: i32 = 3;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["daemon", rest @ ..] => daemon(rest),
        // The same, by a name that its process shows.
        ["throw-away", rest @ ..] => daemon(rest),
        ["spawner", role, uid] => spawner(&[role], uid.parse().ok()),
        #[cfg(feature = "breach")]
        ["spawner", role, uid, without] => {
            jail::breach::open(without, escapes::FILTERED).unwrap();
            attempts::plant_segment();
            spawner(&[role, without], uid.parse().ok())
        }
        ["without-landlock", "spawner", role, uid] => {
            refuse_landlock();
            spawner(&[role], uid.parse().ok())
        }
        ["judge", pid, uid, claim] => judge(pid.parse().unwrap(), uid.parse().ok(), claim),
        [role] => worker(role),
        #[cfg(feature = "breach")]
        [role, without] => {
            jail::breach::open(without, escapes::FILTERED).unwrap();
            worker(role)
        }
        _ => ExitCode::from(2),
    }
}

/// Only a parent, to be killed.
fn daemon(rest: &[&str]) -> ExitCode {
    let mut spawner = Command::new("/proc/self/exe").args(rest).spawn().unwrap();
    drop(spawner.wait());
    ExitCode::SUCCESS
}

/// Makes the kernel one that has no Landlock, for this process and all that it makes.
fn refuse_landlock() {
    let calls = [
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
    ];
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let target = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, target).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Holds a folder open without close-on-exec, as a mistake in a daemon would.
fn plant_folder() {
    let root = std::mem::ManuallyDrop::new(File::open("/").unwrap());
    // SAFETY: the number is free, and nobody closes it.
    let planted = unsafe { nix::unistd::dup2_raw(&*root, PLANTED_FD) };
    std::mem::forget(planted.unwrap());
}

fn profile(role: &str) -> Profile {
    match role {
        "fetch" => Profile::Fetch,
        "net" => Profile::Net,
        _ => Profile::Stub,
    }
}

/// Makes a worker with these arguments, of which the first is its role.
fn spawner(worker: &[&str], uid: Option<u32>) -> ExitCode {
    prepare().unwrap();
    // What a worker must not see: a key in the very keyring that it would inherit.
    attempts::plant_key();
    assert_eq!(attempts::find_key(attempts::KEY), "ok", "the planted key is seen where it may be");
    plant_folder();
    let role = *worker.first().unwrap();
    let image = if role == "no-program" { "/dev/null" } else { "/proc/self/exe" };
    let image = File::open(image).unwrap();
    let link = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let log = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    nix::unistd::dup2_stdin(&null).unwrap();
    let args = [&["jail-probe"], worker].concat();
    let profile = profile(role);
    let limits = Limits::of(profile);
    let image = image.as_fd();
    let wanted = Spawn { image, args: &args, link, log, profile, uid, limits, cgroup: None };
    // Who checks stays where it is, but here spawner and supervisor are one process: what is true of
    // it is read before it moves.
    drop(verify(0, &Expect { pidfd: image, uid, namespaces: false, our_network: false }));
    let mut networks = Networks::default();
    networks.prepare();
    let born = match spawn(wanted, &mut networks) {
        Ok(born) => born,
        Err(error) => {
            println!("failed: {error}; to be waited for: {}", error.remains.is_some());
            return ExitCode::FAILURE;
        }
    };
    println!("spawned {} {}", born.pid, born.namespaces);
    let control = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    for claim in BufReader::new(File::from(control)).lines() {
        let claim = claim.unwrap();
        if claim == "keys" {
            println!("{}", attempts::find_key(attempts::EVIL_KEY));
            continue;
        }
        let expect = Expect {
            pidfd: born.pidfd.as_fd(),
            uid,
            namespaces: claim == "namespaces",
            our_network: profile == Profile::Net,
        };
        say_verdict(born.pid, &expect);
    }
    ExitCode::SUCCESS
}

fn say_verdict(pid: i32, expect: &Expect<'_>) {
    match verify(pid, expect) {
        Ok(verified) => println!("verified {}", verified.layers.join(" ")),
        Err(fault) => println!("refused {}: {}", fault.what, fault.seen),
    }
}

/// Looks at a process as somebody else.
fn judge(pid: i32, uid: Option<u32>, claim: &str) -> ExitCode {
    // Any descriptor that is not readable: the verdict is about what can be read.
    let (idle, _kept) = std::os::unix::net::UnixStream::pair().unwrap();
    let namespaces = claim == "namespaces";
    let expect = Expect { pidfd: idle.as_fd(), uid, namespaces, our_network: false };
    say_verdict(pid, &expect);
    ExitCode::SUCCESS
}

fn say(text: &str) {
    send(LINK, text.as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
}

fn worker(role: &str) -> ExitCode {
    let _held = match role {
        "thread" => {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            None
        }
        "descriptor" => Some(File::open("/").unwrap()),
        _ => None,
    };
    let before = attempts::identity();
    if role == "bare" {
        say("report none");
    } else {
        match confine(profile(role)) {
            Ok(own) => {
                say(&format!(
                    "report {:?} {} | {} | {} of {} in {} µs: {}",
                    own.level,
                    own.layers.join(" "),
                    own.missing.join(", "),
                    own.proof.denied,
                    own.proof.probes,
                    own.proof.took.as_micros(),
                    own.proof
                        .failures
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ));
            }
            Err(error) => {
                // Where there is no link, either, the log has to do.
                eprint_or_say(&format!("unconfined {error}"));
                return ExitCode::from(100);
            }
        }
    }
    say(&before);
    serve()
}

#[expect(clippy::print_stderr, reason = "the log of a probe without a link")]
fn eprint_or_say(text: &str) {
    if send(LINK, text.as_bytes(), MsgFlags::MSG_NOSIGNAL).is_err() {
        eprintln!("{text}");
    }
}

/// Makes each attempt that it is asked for, until the link ends.
fn serve() -> ExitCode {
    loop {
        let asked = hear();
        if asked.is_empty() {
            return ExitCode::SUCCESS;
        }
        let said = match asked.split_once(' ') {
            Some(("escape", row)) => escapes::make(row),
            Some(("calls", role)) => escapes::refused_calls(role),
            _ => attempts::attempt(&asked),
        };
        let word = asked.split(' ').next().unwrap();
        say(&format!("{word} {said}"));
    }
}

/// What is asked; a descriptor that comes with it is kept.
fn hear() -> String {
    let mut buffer = [0_u8; 256];
    let mut rights = nix::cmsg_space!(i32);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let heard = recvmsg::<UnixAddr>(LINK, &mut slices, Some(&mut rights), MsgFlags::empty());
    let heard = heard.unwrap();
    for message in heard.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(fds) = message {
            HELD_FD.store(*fds.first().unwrap(), Ordering::Relaxed);
        }
    }
    let read = heard.bytes;
    String::from_utf8_lossy(buffer.get(..read).unwrap()).into_owned()
}
