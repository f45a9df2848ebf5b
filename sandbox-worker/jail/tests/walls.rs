//! What holds inside a jail, tried by a process that was put into it: as root, whose workers have
//! host ids of their own, and as an ordinary user, whose workers share theirs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end")]

#[path = "../probe/scene.rs"]
mod scene;

use scene::{OWN_UID, Scene, Who, each, probe};

/// Calls that lead out, and that no filter lets through.
const LEADS_OUT: &[&str] = &[
    "open",
    "open-root",
    "open-resolv",
    "mkdir",
    "unix",
    "netlink",
    "inet-raw",
    "mptcp",
    "bind",
    "listen",
    "kill-group",
    "kill-parent",
    "priority",
    "ptrace",
    "mount",
    "unshare",
    "setns",
    "keyring",
    "prctl",
    "exec",
    "io-uring",
    "bpf",
    "userfaultfd",
    "perf",
    "personality",
    "setuid",
    "setsid",
    "inotify",
    "pipe",
    "sendmmsg",
    "set-limit",
    "x32",
    "pidfd",
    "owner",
    "async",
    "sockopt",
    "key",
    "fork",
    "thread",
    "exec-memory",
    "shared-memory",
    "memfd-hugetlb",
];

#[test]
fn a_stub_reaches_nothing_but_its_link() {
    each(|who| {
        let mut scene = Scene::new(who, "stub");
        let report = scene.read();
        assert!(report.starts_with("report Namespaces "), "{who:?}: {report}");
        for layer in ["pid-ns", "net-ns", "root", "caps", "session", "keyring", "seccomp"] {
            assert!(report.contains(layer), "{who:?}: {layer} in {report}");
        }
        let identity = scene.read();
        assert_eq!(identity, "identity pid=1 parent=0 group=1 session=1 uid=0", "{who:?}");
        for name in LEADS_OUT.iter().chain(&["inet", "inet6-udp", "memfd", "seals", "rights"]) {
            assert_eq!(scene.attempt(name), "EPERM", "{who:?}: {name}");
        }
    });
}

#[test]
fn a_stub_can_still_compute_panic_and_wait() {
    each(|who| {
        let mut scene = Scene::confined(who, "stub");
        let sum = 9 * 1_048_576 * 7 + 31 * 1_048_576 * 8;
        assert_eq!(scene.attempt("memory"), sum.to_string());
        assert_eq!(scene.attempt("panic"), "true");
        assert_eq!(scene.attempt("time"), "true");
    });
}

#[test]
fn a_fetch_worker_may_also_seal_a_memfd() {
    each(|who| {
        let mut scene = Scene::confined(who, "fetch");
        assert_eq!(scene.attempt("memfd"), "ok", "{who:?}");
        assert_eq!(scene.attempt("seals"), "EINVAL", "{who:?}: /dev/null has no seals");
        for name in LEADS_OUT.iter().chain(&["inet", "inet6-udp", "rights"]) {
            assert_eq!(scene.attempt(name), "EPERM", "{who:?}: {name}");
        }
    });
}

#[test]
fn attack_022_the_net_role_makes_tcp_and_udp_sockets_and_hands_streams_over_and_no_more() {
    each(|who| {
        let mut scene = Scene::confined(who, "net");
        for name in ["inet", "inet6-udp"] {
            assert_eq!(scene.attempt(name), "ok", "{who:?}: {name}");
        }
        assert_eq!(scene.attempt("rights"), "ok", "{who:?}");
        for name in LEADS_OUT.iter().chain(&["memfd", "seals"]) {
            assert_eq!(scene.attempt(name), "EPERM", "{who:?}: {name}");
        }
    });
}

#[test]
fn namespaces_session_and_keyring_hold_without_a_filter() {
    each(|who| {
        let mut scene = Scene::confined(who, "bare");
        assert_eq!(scene.attempt("key"), "ENOKEY", "{who:?}: the spawner's key");
        // Signal 0 to its own group reaches itself only: it is alone in it.
        assert_eq!(scene.attempt("kill-group"), "ok", "{who:?}");
        assert_eq!(scene.attempt("pidfd"), "ok", "{who:?}: pid 1 is itself");
    });
}

#[test]
fn attack_003_a_worker_that_did_not_start_clean_is_refused() {
    each(|who| {
        for (role, text) in [("thread", "more than one thread"), ("descriptor", "0 to 3")] {
            let mut scene = Scene::new(who, role);
            let said = scene.read();
            assert!(said.starts_with("unconfined") && said.contains(text), "{who:?}: {said}");
        }
    });
}

#[test]
fn a_process_with_an_environment_or_without_a_link_is_refused() {
    for (name, text) in
        [(Some("LD_PRELOAD_X"), "environment holds LD_PRELOAD_X"), (None, "descript")]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jail-probe"));
        command.arg("stub").env_clear().envs(name.map(|name| (name, "x")));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(text), "{said}");
        assert_eq!(output.status.code(), Some(100));
    }
}

#[test]
fn a_worker_that_cannot_be_executed_is_named_with_step_and_reason() {
    each(|who| {
        let (link, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let uid = if who == Who::Root { OWN_UID.to_string() } else { "-".to_owned() };
        let (mut command, _copied) = probe(who);
        command.args(["spawner", "no-program", &uid]).stdin(std::os::fd::OwnedFd::from(link));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = "failed: the new process could not execute the worker: EACCES";
        assert!(said.starts_with(text), "{who:?}: {said}");
        assert!(said.trim_end().ends_with("to be waited for: true"), "{who:?}: {said}");
    });
}

#[test]
fn no_worker_is_ever_born_as_the_kernels_root() {
    each(|who| {
        let (link, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut command, _copied) = probe(who);
        command.args(["spawner", "stub", "0"]).stdin(std::os::fd::OwnedFd::from(link));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("failed: no worker runs as root"), "{who:?}: {said}");
        assert!(said.trim_end().ends_with("to be waited for: false"), "{who:?}: {said}");
    });
}

#[test]
fn attack_025_a_fault_an_abort_and_a_foreign_call_end_the_worker() {
    use nix::sys::signal::Signal::{SIGABRT, SIGSEGV, SIGSYS};
    each(|who| {
        for (name, signals) in [
            // As pid 1 of its namespace, abort ends in a fault.
            ("abort", [SIGABRT, SIGSEGV]),
            ("fault", [SIGSEGV, SIGSEGV]),
            ("foreign", [SIGSYS, SIGSYS]),
        ] {
            let mut scene = Scene::confined(who, "stub");
            scene.ask(name);
            let signal = scene.killed_by();
            assert!(signals.contains(&signal), "{who:?}: {name} ended in {signal}");
        }
    });
}

#[test]
fn the_death_of_the_daemon_ends_spawner_and_worker() {
    each(|who| {
        let mut scene = Scene::below_a_daemon(who, "stub");
        assert!(scene.read().starts_with("report"));
        let _identity = scene.read();
        scene.kill_daemon();
        // The link ends when nobody holds its other end any more: neither spawner nor worker.
        assert!(scene.link_ends(), "{who:?}");
    });
}

#[test]
fn without_namespaces_the_level_says_so_and_the_filter_still_holds() {
    each(|who| {
        let mut scene = Scene::without_namespaces(who, "stub");
        assert!(!scene.namespaces, "{who:?}");
        let report = scene.read();
        assert!(report.starts_with("report Filtered "), "{who:?}: {report}");
        assert!(report.contains("namespaces: the spawner could not"), "{who:?}: {report}");
        let identity = scene.read();
        let uid = if who == Who::Root { format!("uid={OWN_UID}") } else { "uid=".to_owned() };
        assert!(identity.contains(&uid) && !identity.contains("uid=0"), "{who:?}: {identity}");
        for name in LEADS_OUT.iter().chain(&["inet", "memfd"]) {
            assert_eq!(scene.attempt(name), "EPERM", "{who:?}: {name}");
        }
        let verdict = scene.verdict("filtered");
        assert!(verdict.starts_with("verified "), "{who:?}: {verdict}");
        assert!(!verdict.contains("-ns") && !verdict.contains("root"), "{who:?}: {verdict}");
        let verdict = scene.verdict("namespaces");
        assert!(verdict.starts_with("refused "), "{who:?}: {verdict}");
    });
}
