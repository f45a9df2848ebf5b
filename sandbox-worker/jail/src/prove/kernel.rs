//! Attacks on the kernel: mounts, rings, programs, keys, modules, clocks, and the machine itself.
//!
//! A call by an x32 number is not among them: a filter around ours, such as that of the daemon's
//! unit, kills for it. The tests of the jail attempt it.

use super::Arg::{Int, Text};
use super::{NONE, NULL, Probe, opens, probe};

/// A name that cannot exist.
const NOWHERE: super::Arg = Text(c"/\x7fno-such-folder");
/// No command that the call knows.
const ABSURD: super::Arg = Int(9_999);

pub(super) const PROBES: &[Probe] = &[
    probe("mount", libc::SYS_mount, &[NULL, NULL, NULL, Int(0), NULL]),
    probe("unmount", libc::SYS_umount2, &[NOWHERE, Int(0)]),
    probe("move-mount", libc::SYS_move_mount, &[NONE, NULL, NONE, NULL, Int(0)]),
    probe("open-tree", libc::SYS_open_tree, &[NONE, NULL, Int(0)]),
    opens("open-filesystem", libc::SYS_fsopen, &[NULL, Int(0)]),
    probe("mount-filesystem", libc::SYS_fsmount, &[NONE, NONE, NONE]),
    probe("configure-filesystem", libc::SYS_fsconfig, &[NONE, ABSURD, NULL, NULL, Int(0)]),
    probe("pick-filesystem", libc::SYS_fspick, &[NONE, NULL, NONE]),
    probe("mount-attributes", libc::SYS_mount_setattr, &[NONE, NULL, NONE, NULL, Int(0)]),
    probe("pivot-root", libc::SYS_pivot_root, &[NOWHERE, NOWHERE]),
    probe("swap-on", libc::SYS_swapon, &[NOWHERE, Int(0)]),
    probe("quota", libc::SYS_quotactl, &[NONE, NULL, Int(0), NULL]),
    probe("account", libc::SYS_acct, &[NOWHERE]),
    probe("ring-setup", libc::SYS_io_uring_setup, &[Int(0), NULL]),
    probe("ring-enter", libc::SYS_io_uring_enter, &[NONE, Int(0), Int(0), Int(0), NULL, Int(0)]),
    probe("ring-register", libc::SYS_io_uring_register, &[NONE, Int(0), NULL, Int(0)]),
    probe("async-io", libc::SYS_io_setup, &[Int(0), NULL]),
    probe("bpf", libc::SYS_bpf, &[NONE, NULL, Int(0)]),
    probe("perf", libc::SYS_perf_event_open, &[NULL, Int(0), NONE, NONE, Int(0)]),
    probe("userfault", libc::SYS_userfaultfd, &[NONE]),
    probe("read-keys", libc::SYS_keyctl, &[Int(0), Int(libc::KEY_SPEC_SESSION_KEYRING), Int(0)]),
    probe("user-keys", libc::SYS_keyctl, &[Int(11), Int(libc::KEY_SPEC_USER_KEYRING), NULL, NULL]),
    probe("add-key", libc::SYS_add_key, &[NULL, NULL, NULL, Int(0), Int(0)]),
    probe("request-key", libc::SYS_request_key, &[NULL, NULL, NULL, Int(0)]),
    probe("landlock", libc::SYS_landlock_create_ruleset, &[NULL, Int(0), NONE]),
    probe("landlock-rule", libc::SYS_landlock_add_rule, &[NONE, ABSURD, NULL, Int(0)]),
    probe("host-name", libc::SYS_sethostname, &[NULL, NONE]),
    probe("domain-name", libc::SYS_setdomainname, &[NULL, NONE]),
    probe("see-host-name", libc::SYS_uname, &[NULL]),
    probe("load-module", libc::SYS_init_module, &[NULL, Int(0), NULL]),
    probe("load-module-file", libc::SYS_finit_module, &[NONE, NULL, NONE]),
    probe("unload-module", libc::SYS_delete_module, &[NULL, Int(0)]),
    probe("load-kernel", libc::SYS_kexec_load, &[Int(0), NONE, NULL, NONE]),
    probe("reboot", libc::SYS_reboot, &[Int(0), Int(0), Int(0), NULL]),
    probe("set-clock", libc::SYS_clock_settime, &[NONE, NULL]),
    probe("adjust-clock", libc::SYS_clock_adjtime, &[NONE, NULL]),
    probe("kernel-log", libc::SYS_syslog, &[ABSURD, NULL, Int(0)]),
    probe("timer", libc::SYS_timer_create, &[NONE, NULL, NULL]),
    probe("timer-descriptor", libc::SYS_timerfd_create, &[NONE, NONE]),
    probe("signal-descriptor", libc::SYS_signalfd4, &[NONE, NULL, Int(0), NONE]),
    probe("queue", libc::SYS_mq_open, &[NULL, Int(0), Int(0), NULL]),
    probe("message-queue", libc::SYS_msgget, &[Int(0x7f7f), Int(0)]),
    probe("semaphores", libc::SYS_semget, &[Int(0), NONE, Int(0)]),
    probe("shared-segment", libc::SYS_shmget, &[Int(0), NULL, Int(0)]),
    #[cfg(target_arch = "x86_64")]
    probe("ports", libc::SYS_iopl, &[ABSURD]),
];
