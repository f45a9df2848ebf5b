//! The system-call filter: an allow-list for each profile, measured by running the worker.
//!
//! Everything else gets `EPERM`; a foreign architecture is killed; x32 numbers are on no list. The
//! unconditional calls are cached by the kernel as a bitmap, so that reading, writing and waiting
//! cost nothing more.

#[cfg(all(test, target_arch = "x86_64"))]
mod golden;
mod rules;

use super::{ConfineError, demand};
use crate::{Profile, breach, raw};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, apply_filter_all_threads,
    sock_filter,
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;

/// Calls that one part of a filter knows.
const CALLS_PER_PART: usize = 8;
/// Instructions that the kernel takes.
const INSTRUCTIONS_MAX: usize = 4_096;
/// `BPF_LD | BPF_W | BPF_ABS`: loads a word of `seccomp_data`.
const LOAD_WORD: u16 = 0x20;
/// Where the number of the call is in it.
const NUMBER_AT: u32 = 0;
/// `BPF_JMP | BPF_JGE | BPF_K`: goes on if the number is not below.
const JUMP_IF_FROM: u16 = 0x35;
/// `BPF_JMP | BPF_JA`: goes there.
const JUMP: u16 = 0x05;

/// Puts the filter of `profile` in force, for every thread, for ever.
pub(super) fn install(profile: Profile) -> Result<(), ConfineError> {
    let failed = |reason: String| ConfineError::Layer { layer: "seccomp", reason };
    let program =
        program(profile, std::process::id()).map_err(|error| failed(error.to_string()))?;
    apply_filter_all_threads(&program).map_err(|error| failed(error.to_string()))?;
    // A call that cannot fail, and is on no list.
    demand(
        "seccomp",
        raw::parent() == Err(breach::refusal()),
        "the filter lets through what it should not",
    )
}

/// The filter of a process whose own number, as it sees it, is `pid`.
fn program(profile: Profile, pid: u32) -> Result<BpfProgram, BackendError> {
    let mut list: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in rules::unconditional(profile) {
        list.insert(call, Vec::new());
    }
    for (call, rule) in rules::conditional(profile, pid)? {
        list.entry(call).or_default().push(rule);
    }
    let mut parts = Vec::new();
    while !list.is_empty() {
        let rest = list.keys().nth(CALLS_PER_PART).copied().map(|first| list.split_off(&first));
        let first = list.keys().next().copied().unwrap_or_default();
        parts.push((first, part(std::mem::take(&mut list))?));
        list = rest.unwrap_or_default();
    }
    joined(&parts)
}

/// A filter that knows these calls alone.
fn part(list: BTreeMap<i64, Vec<SeccompRule>>) -> Result<BpfProgram, BackendError> {
    #[expect(clippy::as_conversions, reason = "an enum whose values are the numbers of errno")]
    let refused = SeccompAction::Errno((breach::refusal() as i32).unsigned_abs());
    SeccompFilter::new(list, refused, SeccompAction::Allow, ARCH.try_into()?)?.try_into()
}

/// One filter of several, each for the calls from its first number up to the next one's: before it
/// is in force the kernel walks through it for every number there is, and with one long list that
/// takes longer than all else of it. Each part looks at the architecture itself.
fn joined(parts: &[(i64, BpfProgram)]) -> Result<BpfProgram, BackendError> {
    let too_long = || BackendError::FilterTooLarge(usize::MAX);
    let instruction = |code, k, jf| sock_filter { code, jt: 0, jf, k };
    let mut whole = vec![instruction(LOAD_WORD, NUMBER_AT, 0)];
    // From the last part to the first, which needs no look.
    let looks = parts.len().saturating_sub(1).saturating_mul(2);
    let mut target = parts.iter().map(|(_, part)| part.len()).sum::<usize>();
    for (at, (first, part)) in parts.iter().enumerate().skip(1).rev() {
        target = target.saturating_sub(part.len());
        // Jumps count from the instruction behind them.
        let behind = parts.len().saturating_sub(at).saturating_mul(2);
        let over = looks.saturating_sub(behind).saturating_add(target);
        let first = u32::try_from(*first).map_err(|_e| too_long())?;
        whole.push(instruction(JUMP_IF_FROM, first, 1));
        whole.push(instruction(JUMP, u32::try_from(over).map_err(|_e| too_long())?, 0));
    }
    for (_, part) in parts {
        whole.extend_from_slice(part);
    }
    if whole.len() > INSTRUCTIONS_MAX { Err(too_long()) } else { Ok(whole) }
}

#[cfg(test)]
mod tests {
    use super::{program, rules};
    use crate::Profile;
    use std::collections::BTreeSet;

    const PROFILES: [Profile; 3] = [Profile::Stub, Profile::Fetch, Profile::Net];

    #[test]
    fn every_profile_has_a_program_the_kernel_takes() {
        for profile in PROFILES {
            let length = program(profile, 1).unwrap().len();
            assert!((100..4_096).contains(&length), "{profile:?}: {length} instructions");
        }
    }

    #[test]
    fn no_call_is_both_free_and_conditional() {
        for profile in PROFILES {
            let free: BTreeSet<i64> = rules::unconditional(profile).into_iter().collect();
            for (call, _) in rules::conditional(profile, 1).unwrap() {
                assert!(!free.contains(&call), "{profile:?}: the rule of call {call} is void");
            }
        }
    }

    #[test]
    fn what_leads_out_is_on_no_list_of_a_stub() {
        let listed: BTreeSet<i64> = rules::unconditional(Profile::Stub)
            .into_iter()
            .chain(rules::conditional(Profile::Stub, 1).unwrap().into_iter().map(|(call, _)| call))
            .collect();
        for call in [
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_getsockopt,
            libc::SYS_sendmmsg,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_kill,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_prctl,
            libc::SYS_seccomp,
            libc::SYS_keyctl,
            libc::SYS_memfd_create,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_userfaultfd,
            libc::SYS_mount,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_prlimit64,
            libc::SYS_setpriority,
            libc::SYS_pidfd_open,
        ] {
            assert!(!listed.contains(&call), "call {call} is allowed");
        }
    }
}
