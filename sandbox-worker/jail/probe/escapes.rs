//! The escape matrix: each row is a sub-command that makes the attempts of that row in a real way,
//! and says of each what came of it. For throw-away jails only.
//!
//! An answer is the name of an errno, `ok`, or a word; `filtered` is the errno that only a filter
//! for tests gives, so that a call which was filtered is told from one that failed.

#![allow(dead_code, reason = "the tests read the expectations, the program makes the attempts")]
#![allow(unsafe_code, reason = "the walls are tried with raw system calls")]
#![allow(clippy::as_conversions, reason = "a constant can be widened in no other way")]
#![allow(clippy::cast_possible_wrap, reason = "flags are words of bits")]
#![allow(clippy::arithmetic_side_effects, reason = "numbers of tests are small")]

// Said, because the tests have this file under a path of their own.
#[path = "escapes/files.rs"]
mod files;
#[path = "escapes/kernel.rs"]
mod kernel;
#[path = "escapes/memory.rs"]
mod memory;
#[path = "escapes/network.rs"]
mod network;
#[path = "escapes/processes.rs"]
mod processes;

#[allow(unused_imports, reason = "for the tests")]
pub(crate) use kernel::LEFT_KEY;
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_long};
use std::sync::atomic::{AtomicI32, Ordering};

/// The errno of filters for tests; no call that a jail makes is ever answered with it otherwise.
pub(crate) const FILTERED: Errno = Errno::EHWPOISON;
/// Number at which a spawner holds a folder open, without close-on-exec.
pub(crate) const PLANTED_FD: i32 = 50;
/// A descriptor that was handed to the worker over its link.
pub(crate) static HELD_FD: AtomicI32 = AtomicI32::new(-1);

/// An argument of a call.
#[derive(Clone, Copy)]
pub(crate) enum Arg {
    Int(c_long),
    Text(&'static CStr),
    Bytes(&'static [u8]),
    /// Room for 4,096 bytes that the call writes.
    Room,
    /// The descriptor that was handed over.
    Held,
}

/// How an attempt is made.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Call(c_long, &'static [Arg]),
    /// More than one call; the argument comes from the test.
    Do(fn(&str) -> String),
}

/// One attempt of a row, and what must come of it.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    way: Way,
    /// Right answers where the filter stands; EPERM if it is the filter's.
    pub(crate) filter: Expected,
    /// Right answers of the other walls where it does not; none if nothing else is in the way.
    pub(crate) walls: &'static [&'static str],
    /// Roles whose business it is, which do not try.
    granted: &'static [&'static str],
}

/// Who answers an attempt in a closed jail.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// The filter.
    Filtered,
    /// What is behind it, with one of these.
    Passes(&'static [&'static str]),
}

/// An attempt that the filter refuses.
const fn refused(name: &'static str, way: Way) -> Attempt {
    Attempt { name, way, filter: Expected::Filtered, walls: &[], granted: &[] }
}

/// A call that the filter refuses.
const fn call(name: &'static str, number: c_long, args: &'static [Arg]) -> Attempt {
    refused(name, Way::Call(number, args))
}

impl Attempt {
    /// What the other walls answer where there is no filter.
    const fn or(mut self, walls: &'static [&'static str]) -> Self {
        self.walls = walls;
        self
    }

    /// The filter lets it through, and this is the answer, filter or not.
    const fn passes(mut self, answers: &'static [&'static str]) -> Self {
        self.filter = Expected::Passes(answers);
        self.walls = answers;
        self
    }

    const fn but_for(mut self, roles: &'static [&'static str]) -> Self {
        self.granted = roles;
        self
    }

    fn make(&self, argument: &str) -> String {
        match self.way {
            Way::Call(number, args) => outcome(raw(number, args)),
            Way::Do(act) => act(argument),
        }
    }
}

/// A row: its number in the matrix, and its attempts.
pub(crate) type Row = (u8, &'static [Attempt]);

/// All rows that native code can show by calls of its own.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    [files::ROWS, processes::ROWS, network::ROWS, kernel::ROWS, memory::ROWS].into_iter().flatten()
}

/// The attempts of a row that `role` makes: with a filter all of them, without one those that
/// another wall is to stop.
pub(crate) fn attempts(row: u8, role: &str, filter: bool) -> Vec<&'static Attempt> {
    let (_, attempts) = rows().find(|(number, _)| *number == row).unwrap();
    let made = |attempt: &&Attempt| {
        !attempt.granted.contains(&role) && (filter || !attempt.walls.is_empty())
    };
    attempts.iter().filter(made).collect()
}

/// Makes the attempts of a row, asked for as `<row> <role> <filter> <argument>`.
pub(crate) fn make(asked: &str) -> String {
    let mut words = asked.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (row, role, filter, argument) = (word().parse().unwrap(), word(), word(), word());
    let said: Vec<String> = attempts(row, role, filter == "filter")
        .into_iter()
        .map(|attempt| format!("{}={}", attempt.name, attempt.make(argument)))
        .collect();
    said.join(" ")
}

/// What the kernel answered.
fn outcome(result: c_long) -> String {
    if result < 0 { named(Errno::last()) } else { "ok".to_owned() }
}

fn named(errno: Errno) -> String {
    if errno == FILTERED { "filtered".to_owned() } else { format!("{errno:?}") }
}

/// All different answers of many calls.
fn outcomes(results: impl Iterator<Item = String>) -> String {
    let different: BTreeSet<String> = results.collect();
    different.into_iter().collect::<Vec<_>>().join("+")
}

fn raw(number: c_long, args: &[Arg]) -> c_long {
    // For the kernel to write to; given back by no one, as an attempt is made once or twice.
    let mut room: Option<&'static mut [u8]> = None;
    let mut words = [0; 6];
    for (word, arg) in words.iter_mut().zip(args) {
        *word = match arg {
            Arg::Int(value) => *value,
            Arg::Text(text) => address(text.as_ptr().expose_provenance()),
            Arg::Bytes(bytes) => address(bytes.as_ptr().expose_provenance()),
            Arg::Room => {
                let room = room.get_or_insert_with(|| vec![0_u8; 4_096].leak());
                address(room.as_mut_ptr().expose_provenance())
            }
            Arg::Held => HELD_FD.load(Ordering::Relaxed).into(),
        };
    }
    system_call(number, words)
}

fn address(exposed: usize) -> c_long {
    c_long::try_from(exposed).unwrap()
}

pub(crate) fn system_call(number: c_long, words: [c_long; 6]) -> c_long {
    let [first, second, third, fourth, fifth, sixth] = words;
    // SAFETY: the addresses among the arguments are of constants, which the calls they are given
    // to only read, and of room that lives for ever. What else a call may do to this process is
    // the point: it lives in a throw-away jail.
    unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) }
}

/// What the list of all calls says that the filter of `role` refuses, tried for real.
pub(crate) fn refused_calls(role: &str) -> String {
    let column = match role {
        "fetch" => 3,
        "net" => 4,
        _ => 2,
    };
    let refused = include_str!("../src/confine/filter/calls.x86_64").lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = words.first()?.parse().ok()?;
        // What the kernel takes past every filter is tried apart.
        let refused = words.get(column) == Some(&"refuse") && words.last() != Some(&"past");
        refused.then_some(number)
    });
    outcomes(refused.map(|number: c_long| {
        let answer = outcome(system_call(number, [-1; 6]));
        if answer == "EPERM" || answer == "filtered" {
            answer
        } else {
            format!("{number}:{answer}")
        }
    }))
}

/// The signal that would kill: for the first process of a jail, whose numbers are its own. Anybody
/// else only looks whether it could.
fn deadly() -> c_long {
    if std::process::id() == 1 { libc::SIGKILL.into() } else { 0 }
}
