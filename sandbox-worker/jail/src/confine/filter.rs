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
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;

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
    #[expect(clippy::as_conversions, reason = "an enum whose values are the numbers of errno")]
    let refused = SeccompAction::Errno((breach::refusal() as i32).unsigned_abs());
    SeccompFilter::new(list, refused, SeccompAction::Allow, ARCH.try_into()?)?.try_into()
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
