//! The check from outside: it passes for what is confined, and for nothing else.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end")]

#[path = "../probe/scene.rs"]
mod scene;

use scene::{OWN_UID, Scene, Who, each, probe};

#[test]
fn a_confined_worker_is_seen_to_be_confined() {
    each(|who| {
        for role in ["stub", "fetch", "net"] {
            let mut scene = Scene::confined(who, role);
            let verdict = scene.verdict("namespaces");
            assert!(verdict.starts_with("verified "), "{who:?} {role}: {verdict}");
            let seen: Vec<&str> = verdict.split(' ').collect();
            assert_eq!(seen.contains(&"own-uid"), who == Who::Root, "{who:?} {role}: {verdict}");
            assert_eq!(seen.contains(&"net-ns"), role != "net", "{who:?} {role}: {verdict}");
            for layer in ["user-ns", "cgroup-ns", "root", "caps", "seccomp", "session", "rlimits"] {
                assert!(seen.contains(&layer), "{who:?} {role}: {layer} in {verdict}");
            }
        }
    });
}

#[test]
fn an_unconfined_worker_is_refused_whatever_it_claims() {
    each(|who| {
        let mut scene = Scene::confined(who, "bare");
        for claim in ["namespaces", "filtered"] {
            let verdict = scene.verdict(claim);
            assert!(verdict.starts_with("refused caps"), "{who:?}: {verdict}");
        }
    });
}

#[test]
fn a_worker_in_our_network_passes_as_the_net_role_only() {
    each(|who| {
        let scene = Scene::confined(who, "net");
        let verdict = judge(who, &scene, "namespaces");
        assert!(verdict.starts_with("refused net-ns"), "{who:?}: {verdict}");
    });
}

#[test]
fn a_process_of_nobody_and_of_no_jail_is_refused() {
    each(|who| {
        let (mut command, _copied) = probe(who);
        let own = std::process::id().to_string();
        let output = command.args(["judge", &own, "-", "filtered"]).output().unwrap();
        let verdict = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(verdict.starts_with("refused"), "{who:?}: {verdict}");
    });
}

#[test]
fn attack_007_a_wrong_verifier_sees_less_and_so_refuses() {
    if !nix::unistd::geteuid().is_root() {
        scene::skip::skipped("it needs root");
        return;
    }
    let scene = Scene::confined(Who::Root, "stub");
    let verdict = judge(Who::User, &scene, "namespaces");
    assert!(verdict.starts_with("refused cannot be seen"), "{verdict}");
}

#[test]
fn a_worker_that_has_ended_is_refused() {
    each(|who| {
        let mut scene = Scene::confined(who, "stub");
        scene.ask("fault");
        let _signal = scene.killed_by();
        let verdict = scene.verdict("namespaces");
        assert!(verdict.starts_with("refused cannot be seen"), "{who:?}: {verdict}");
    });
}

/// What a process of `who`, which is not the spawner, makes of the worker.
fn judge(who: Who, scene: &Scene, claim: &str) -> String {
    let pid = scene.worker.unwrap().to_string();
    let own = OWN_UID.to_string();
    let uid = if scene_is_of_root(scene) { own.as_str() } else { "-" };
    let (mut command, _copied) = probe(who);
    let output = command.args(["judge", &pid, uid, claim]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn scene_is_of_root(scene: &Scene) -> bool {
    let status = format!("/proc/{}/status", scene.worker.unwrap());
    std::fs::read_to_string(status).unwrap().contains(&format!("Uid:\t{OWN_UID}"))
}

#[test]
fn a_worker_with_another_id_than_it_was_given_is_refused() {
    each(|who| {
        let scene = Scene::confined(who, "stub");
        let pid = scene.worker.unwrap().to_string();
        let other = (OWN_UID + 1).to_string();
        let (mut command, _copied) = probe(who);
        let output = command.args(["judge", &pid, &other, "namespaces"]).output().unwrap();
        let verdict = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(verdict.starts_with("refused uid"), "{who:?}: {verdict}");
    });
}
