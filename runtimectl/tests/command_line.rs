//! The command line as a program, where no daemon is.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn runtimectl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtimectl"));
    command.env_remove("RUNTIMED_ROOT").env_remove("RUNTIMED_SOCKET");
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_names_every_command_and_is_no_error() {
    let output = runtimectl(&["--help"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let help = text(&output.stdout);
    for command in [
        "status", "ps", "inspect", "deploy", "undeploy", "restart", "kill", "send", "call",
        "monitor", "resolve", "logs", "events", "config", "doctor", "demo",
    ] {
        let listed = help.lines().any(|line| line.split_whitespace().next() == Some(command));
        assert!(listed, "{command} is not in\n{help}");
    }
}

#[test]
fn a_wrong_command_line_is_status_2_and_says_why_on_stderr() {
    for args in [&["frobnicate"][..], &[], &["ps", "--al"], &["kill"], &["-o", "xml", "ps"]] {
        let output = runtimectl(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn without_a_daemon_it_is_status_7_and_names_the_socket() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().to_str().unwrap();
    for args in [["--root", folder, "ps"], ["ps", "--root", folder]] {
        let output = runtimectl(&args);
        assert_eq!(output.status.code(), Some(7), "{args:?}");
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{folder}/run/control.sock")), "{said}");
    }
}

#[test]
fn the_default_configuration_is_printed() {
    let output = runtimectl(&["config", "default"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("\n[runtime]\n"), "{}", text(&output.stdout));
}
