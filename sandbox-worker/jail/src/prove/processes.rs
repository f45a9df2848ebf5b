//! Attacks on processes: others' and its own, signals, priorities, ids, programs, namespaces, limits.

use super::Arg::{Int, Text};
use super::{NONE, NULL, Probe, opens, probe};
use libc::c_int;

/// A number of a process that is not this one's: its parent's or its neighbour's.
const OTHER: super::Arg = Int(2);
/// Signal 0: only looks whether one could be sent.
const LOOK: super::Arg = Int(0);
/// No value that an option of `prctl` takes.
const ABSURD: super::Arg = Int(9_999);
/// Flags of `clone` that exclude each other, so that nothing is born: a thread with signal handlers
/// of its own.
const STILLBORN: c_int = libc::CLONE_THREAD;

pub(super) const PROBES: &[Probe] = &[
    probe("trace", libc::SYS_ptrace, &[Int(17), OTHER, NULL, NULL]),
    probe("read-memory", libc::SYS_process_vm_readv, &[OTHER, NULL, NULL, NULL, NULL, Int(0)]),
    probe("write-memory", libc::SYS_process_vm_writev, &[OTHER, NULL, NULL, NULL, NULL, Int(0)]),
    probe("advise-memory", libc::SYS_process_madvise, &[NONE, NULL, NULL, Int(0), Int(0)]),
    probe("signal-all", libc::SYS_kill, &[NONE, LOOK]),
    probe("signal-group", libc::SYS_kill, &[Int(0), LOOK]),
    probe("signal-first", libc::SYS_kill, &[Int(1), LOOK]),
    probe("signal-other", libc::SYS_kill, &[OTHER, LOOK]),
    probe("signal-thread", libc::SYS_tkill, &[OTHER, LOOK]),
    probe("signal-thread-of", libc::SYS_tgkill, &[OTHER, OTHER, LOOK]),
    probe("signal-queue", libc::SYS_rt_sigqueueinfo, &[OTHER, LOOK, NULL]),
    probe("signal-queue-thread", libc::SYS_rt_tgsigqueueinfo, &[OTHER, OTHER, LOOK, NULL]),
    probe("signal-handler", libc::SYS_rt_sigaction, &[Int(libc::SIGKILL), NONE, NULL, Int(8)]),
    opens("pidfd", libc::SYS_pidfd_open, &[Int(1), Int(0)]),
    probe("pidfd-signal", libc::SYS_pidfd_send_signal, &[NONE, LOOK, NULL, Int(0)]),
    probe("pidfd-descriptor", libc::SYS_pidfd_getfd, &[NONE, Int(0), Int(0)]),
    probe("compare", libc::SYS_kcmp, &[Int(1), Int(1), ABSURD, Int(0), Int(0)]),
    probe("priority", libc::SYS_setpriority, &[ABSURD, Int(0), Int(0)]),
    probe("io-priority", libc::SYS_ioprio_set, &[ABSURD, Int(0), Int(0)]),
    probe("scheduler", libc::SYS_sched_setscheduler, &[NONE, Int(0), NULL]),
    probe("scheduler-attributes", libc::SYS_sched_setattr, &[Int(0), NULL, Int(0)]),
    probe("affinity", libc::SYS_sched_setaffinity, &[NONE, Int(0), NULL]),
    probe("parent", libc::SYS_getppid, &[]),
    probe("session", libc::SYS_getsid, &[Int(0)]),
    probe("group", libc::SYS_setpgid, &[Int(0), NONE]),
    probe("wait", libc::SYS_waitid, &[NONE, Int(0), NULL, Int(0), NULL]),
    probe("thread", libc::SYS_clone, &[Int(STILLBORN), NULL, NULL, NULL, NULL]),
    probe("clone-user", libc::SYS_clone, &[Int(STILLBORN | libc::CLONE_NEWUSER), NULL, NULL]),
    probe("clone3", libc::SYS_clone3, &[NULL, Int(0)]),
    probe("execute", libc::SYS_execve, &[Text(c"/\x7fno-such-program"), NULL, NULL]),
    probe("execute-descriptor", libc::SYS_execveat, &[NONE, Text(c""), NULL, NULL, Int(0x1000)]),
    probe("unshare", libc::SYS_unshare, &[Int(0)]),
    probe("unshare-all", libc::SYS_unshare, &[NONE]),
    probe("enter-namespace", libc::SYS_setns, &[NONE, Int(0)]),
    probe("set-users", libc::SYS_setresuid, &[NONE, NONE, NONE]),
    probe("set-groups", libc::SYS_setresgid, &[NONE, NONE, NONE]),
    probe("set-file-user", libc::SYS_setfsuid, &[NONE]),
    probe("supplementary-groups", libc::SYS_setgroups, &[NONE, NULL]),
    probe("capabilities", libc::SYS_capset, &[NULL, NULL]),
    probe("see-capabilities", libc::SYS_capget, &[NULL, NULL]),
    probe("dumpable", libc::SYS_prctl, &[Int(libc::PR_SET_DUMPABLE), ABSURD, NULL, NULL, NULL]),
    probe(
        "parent-death",
        libc::SYS_prctl,
        &[Int(libc::PR_SET_PDEATHSIG), ABSURD, NULL, NULL, NULL],
    ),
    probe("securebits", libc::SYS_prctl, &[Int(libc::PR_SET_SECUREBITS), NONE, NULL, NULL, NULL]),
    probe("filter-off", libc::SYS_prctl, &[Int(libc::PR_SET_SECCOMP), ABSURD, NULL, NULL, NULL]),
    probe("filter-more", libc::SYS_seccomp, &[ABSURD, Int(0), NULL]),
    probe("memory-policy", libc::SYS_prctl, &[Int(libc::PR_SET_MDWE), ABSURD, NULL, NULL, NULL]),
    #[cfg(target_arch = "x86_64")]
    probe("segment-base", libc::SYS_arch_prctl, &[ABSURD, NULL]),
    #[cfg(target_arch = "x86_64")]
    probe("segments", libc::SYS_modify_ldt, &[ABSURD, NULL, NULL]),
    probe("personality", libc::SYS_personality, &[NONE]),
    probe("own-limit", libc::SYS_prlimit64, &[Int(0), ABSURD, NULL, NULL]),
    probe("other-limit", libc::SYS_prlimit64, &[OTHER, ABSURD, NULL, NULL]),
    probe("old-limit", libc::SYS_setrlimit, &[ABSURD, NULL]),
];
