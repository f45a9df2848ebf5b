//! The program, started by hand: it says that this is wrong use, and does nothing else.

use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_sandbox-worker")).args(arguments).stdin(Stdio::null()).output()
}

#[test]
fn wrong_use_is_status_2_with_a_sentence_and_no_output() {
    for arguments in [
        &[][..],
        &["--role", "king"],
        &["--role", "spawner", "--link-fd", "9"],
        &["--role", "stub", "--link-fd", "x"],
        &["--role", "stub", "more"],
        &["--link-fd", "3"],
    ] {
        let output = run(arguments).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn without_a_link_no_role_starts() {
    for role in ["net", "fetch", "stub"] {
        let output = run(&["--role", role, "--link-fd", "777"]).unwrap();
        assert_eq!(output.status.code(), Some(2), "{role}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("descriptor 777 is no link"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for flag in ["--help", "--version"] {
        assert_eq!(run(&[flag]).unwrap().status.code(), Some(0), "{flag}");
    }
}

#[test]
fn the_probe_prints_one_array_and_what_it_tried_is_gone() {
    let output = run(&["--role", "probe", "--minimum", "filtered"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let checks: Vec<_> = rows.iter().map(|row| row["check"].as_str().unwrap()).collect();
    let all = "worker kernel namespaces landlock seccomp cgroup limits memory clock sandbox";
    assert_eq!(checks.join(" "), all);
    let sandbox = rows.last().unwrap();
    assert_eq!(sandbox["state"], "ok", "{sandbox}");
    assert!(sandbox["found"].as_str().unwrap().contains("attacks on itself refused"), "{sandbox}");
}

#[test]
fn the_probe_knows_only_the_levels() {
    let output = run(&["--role", "probe", "--minimum", "strong"]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("strong is no level"));
}
