//! What each filter answers to every call, compared with a list that people read: a change of the
//! rules, on purpose or not, shows as a change of `calls.x86_64`. For `x86_64` only, whose numbers
//! the list has.
//!
//! The answers are computed from the program that the kernel gets, by going both ways wherever it
//! looks at an argument: what is allowed with some arguments only `depends`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end")]
#![allow(clippy::arithmetic_side_effects, reason = "a program is short")]

use super::program;
use crate::Profile;
use seccompiler::sock_filter;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A line for each number: the number, the name, the answers of stub, fetch and net, and whether the
/// kernel asks them at all.
const LIST: &str = include_str!("calls.x86_64");
/// The last number of the list; the kernel of the day knows fewer.
const LAST: u32 = 600;
/// What the kernel takes past every filter.
const PAST: &str = "past";
const PROFILES: [Profile; 3] = [Profile::Stub, Profile::Fetch, Profile::Net];

/// `AUDIT_ARCH_X86_64`.
const X86_64: u32 = 0xC000_003E;
/// `AUDIT_ARCH_I386`.
const I386: u32 = 0x4000_0003;
/// Bit of the numbers of x32.
const X32: u32 = 0x4000_0000;

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_KILL_PROCESS`.
const KILL: u32 = 0x8000_0000;
/// `SECCOMP_RET_ERRNO` with EPERM.
const REFUSE: u32 = 0x0005_0001;

// The instructions of seccomp's BPF that the programs are made of.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IS_EQUAL: u16 = 0x15;
const IS_GREATER: u16 = 0x25;
const IS_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;
/// Places of the number and the architecture in what a program loads from.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// Everything that `program` may answer to a call.
fn answers(program: &[sock_filter], number: u32, architecture: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut ways: Vec<(usize, Option<u32>)> = vec![(0, Some(0))];
    while let Some((at, held)) = ways.pop() {
        if !seen.insert((at, held)) {
            continue;
        }
        let step = &program[at];
        let next = at + 1;
        let branch = |holds: fn(u32, u32) -> bool| {
            let (yes, no) = (next + usize::from(step.jt), next + usize::from(step.jf));
            match held {
                Some(value) if holds(value, step.k) => vec![(yes, held)],
                Some(_) => vec![(no, held)],
                None => vec![(yes, None), (no, None)],
            }
        };
        match step.code {
            LOAD => ways.push(match step.k {
                NUMBER_AT => (next, Some(number)),
                ARCHITECTURE_AT => (next, Some(architecture)),
                _ => (next, None),
            }),
            AND => ways.push((next, held.map(|value| value & step.k))),
            JUMP => ways.push((next + usize::try_from(step.k).unwrap(), held)),
            IS_EQUAL => ways.extend(branch(|value, k| value == k)),
            IS_GREATER => ways.extend(branch(|value, k| value > k)),
            IS_NOT_LESS => ways.extend(branch(|value, k| value >= k)),
            RETURN => {
                found.insert(step.k);
            }
            other => panic!("instruction {other:#x} is unknown to this test"),
        }
    }
    found
}

fn word(answers: &BTreeSet<u32>) -> &'static str {
    match answers.iter().copied().collect::<Vec<_>>().as_slice() {
        [ALLOW] => "allow",
        [REFUSE] => "refuse",
        [KILL] => "kill",
        [REFUSE, ALLOW] => "depends",
        other => panic!("{other:x?}"),
    }
}

fn computed(number: u32) -> String {
    let words = PROFILES.map(|profile| {
        let program = program(profile, 1).unwrap();
        word(&answers(&program, number, X86_64))
    });
    words.join(" ")
}

#[test]
fn every_call_is_answered_as_the_list_says() {
    let mut wrong = String::new();
    let mut numbers = 0..=LAST;
    for line in LIST.lines().filter(|line| !line.starts_with('#')) {
        let number = numbers.next().unwrap();
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(number.to_string().as_str()), "{line}");
        let name = words.next().unwrap();
        let said: Vec<&str> = words.filter(|word| *word != PAST).collect();
        let (said, found) = (said.join(" "), computed(number));
        if said != found {
            writeln!(wrong, "{number} {name} {found}, listed as {said}").unwrap();
        }
    }
    assert_eq!(numbers.next(), None, "the list ends too early");
    assert!(wrong.is_empty(), "the filters differ from their list:\n{wrong}");
}

#[test]
fn what_is_beyond_the_list_is_refused_and_what_is_foreign_is_killed() {
    for profile in PROFILES {
        let program = program(profile, 1).unwrap();
        for number in (0..=LAST).map(|number| number | X32).chain([LAST + 1, u32::MAX, X32 - 1]) {
            assert_eq!(word(&answers(&program, number, X86_64)), "refuse", "{profile:?} {number}");
        }
        for number in 0..=LAST {
            assert_eq!(word(&answers(&program, number, I386)), "kill", "{profile:?} {number}");
        }
    }
}

#[test]
fn attack_008_what_the_kernel_takes_past_every_filter_is_written_down_and_refused_all_the_same() {
    let past: Vec<&str> = LIST.lines().filter(|line| line.ends_with(PAST)).collect();
    let wanted =
        ["335 uretprobe", "336 uprobe"].map(|call| format!("{call} refuse refuse refuse {PAST}"));
    assert_eq!(past, wanted);
}
