//! Findings of the security review that concern the jail, each as the attack that it was, with every
//! wall up. Those that show only where a wall is left out are in `breaches.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end")]

#[path = "../probe/scene.rs"]
mod scene;

use scene::skip::skipped;
use scene::{Scene, Who, each};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// A library that starts a thread before `main` is reached.
const LIBRARY: &str = r"
#include <pthread.h>
#include <unistd.h>
static void *idle(void *nothing) { for (;;) pause(); return nothing; }
__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, idle, NULL);
}
";

#[test]
fn attack_003_a_library_that_starts_a_thread_in_every_process_leaves_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    fs::create_dir(&etc).unwrap();
    for (place, mode) in [(folder.path(), 0o755), (&etc, 0o755)] {
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
    }
    let (source, library) = (folder.path().join("idle.c"), folder.path().join("idle.so"));
    fs::write(&source, LIBRARY).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .args([&library, &source])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return skipped("there is no C compiler");
    }
    fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).unwrap();
    each(|who| {
        // What is found there without it starts as ever.
        drop(fs::remove_file(etc.join("ld.so.preload")));
        let mut scene = Scene::with_settings(who, "stub", &etc);
        assert!(scene.read().starts_with("report Namespaces"), "{who:?}");
        fs::write(etc.join("ld.so.preload"), format!("{}\n", library.display())).unwrap();
        let mut scene = Scene::with_settings(who, "stub", &etc);
        let said = scene.read();
        assert!(said.starts_with("unconfined") && said.contains("thread"), "{who:?}: {said}");
    });
}

#[test]
fn attack_005_another_stub_of_the_same_user_looks_into_no_worker() {
    each(|who| {
        let scene = Scene::confined(who, "stub");
        let pid = scene.worker.unwrap();
        let user = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uid = user.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        let uid = uid.split_whitespace().next().unwrap().to_owned();
        // The numbers of its descriptors may be listed; what they are may not be seen.
        let rooms = [
            ("readlink", "fd/0"),
            ("readlink", "exe"),
            ("readlink", "cwd"),
            ("ls", "root/"),
            ("ls", "fdinfo"),
            ("ls", "map_files"),
            ("cat", "environ"),
            ("cat", "maps"),
            ("cat", "mem"),
            ("cat", "fd/0"),
        ];
        for (program, room) in rooms {
            let mut look = if nix::unistd::geteuid().is_root() {
                let mut look = Command::new("setpriv");
                look.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
                look.args(["unshare", "--user"]);
                look
            } else {
                let mut look = Command::new("unshare");
                look.arg("--user");
                look
            };
            let file = format!("/proc/{pid}/{room}");
            let output = look.args([program, &file]).output().unwrap();
            assert!(output.stdout.is_empty(), "{who:?} {room}: {output:?}");
            assert!(!output.status.success(), "{who:?} {room}: {output:?}");
        }
    });
}

#[test]
fn attack_008_calls_that_no_filter_sees_win_nothing() {
    each(|who| {
        let mut scene = Scene::confined(who, "stub");
        let said = scene.attempt("uprobe");
        assert!(["EPERM", "ENXIO", "ENOSYS"].contains(&said.as_str()), "{who:?}: {said}");
        scene.ask("uretprobe");
        scene.wait();
        if scene.is_over() {
            let signal = scene.killed_by();
            assert_eq!(signal, nix::sys::signal::Signal::SIGILL, "{who:?}");
        } else {
            assert_eq!(scene.outcome("uretprobe"), "EPERM", "{who:?}");
        }
    });
}

#[test]
fn attack_023_a_stub_that_uses_up_what_one_user_may_have_does_not_keep_another_from_it() {
    each(|who| {
        let mut evil = Scene::confined(who, "stub");
        for name in ["inotify", "pipe", "key", "fork", "thread", "memfd", "shared-memory"] {
            assert_eq!(evil.attempt(name), "EPERM", "{who:?}: {name} has a count for each user");
        }
        // Descriptors on their way are counted for each user, too, and nobody takes these.
        evil.ask("flood-descriptors");
        evil.wait();
        evil.rests();
        // Where each stub has a user of its own, any other may send one; elsewhere the role may
        // whose business it is.
        let role = if who == Who::Root { "bare" } else { "net" };
        let mut other = Scene::of_another(who, role);
        for _ in 0..2 {
            let _said = other.read();
        }
        assert_eq!(other.attempt("rights"), "ok", "{who:?}");
    });
}

#[test]
fn attack_025_no_datagram_reaches_a_name() {
    each(|who| {
        for role in ["stub", "fetch", "net"] {
            let mut scene = Scene::confined(who, role);
            for name in ["datagrams", "named-datagram"] {
                assert_eq!(scene.attempt(name), "EPERM", "{who:?} {role}: {name}");
            }
        }
    });
}
