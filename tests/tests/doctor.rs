//! `runtimectl doctor`, with and without a daemon.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::skip::skipped;
use system_tests::{Daemon, program, wait_for};

fn doctor(root: &Path, format: &str) -> Output {
    Command::new(program("runtimectl"))
        .args(["doctor", "-o", format, "--root"])
        .arg(root)
        .output()
        .unwrap()
}

/// The rows, each complete; and the status says whether one fails.
fn rows(root: &Path) -> Vec<Value> {
    let output = doctor(root, "json");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    for row in &rows {
        let lacks = row["state"] != "ok";
        assert!(["ok", "warn", "fail"].contains(&row["state"].as_str().unwrap()), "{row}");
        assert_eq!((row["cost"].is_string(), row["mend"].is_string()), (lacks, lacks), "{row}");
    }
    let fails = rows.iter().any(|row| row["state"] == "fail");
    assert_eq!(output.status.code(), Some(i32::from(fails)), "{rows:?}");
    rows
}

fn of<'a>(rows: &'a [Value], check: &str) -> &'a Value {
    rows.iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("{check}: {rows:?}"))
}

fn found<'a>(rows: &'a [Value], check: &str) -> &'a str {
    of(rows, check)["found"].as_str().unwrap()
}

fn root() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rt-").tempdir().unwrap()
}

#[test]
fn without_a_daemon_it_looks_at_everything_and_makes_nothing() {
    let root = root();
    let rows = rows(root.path());
    let checks: Vec<_> = rows.iter().map(|row| row["check"].as_str().unwrap()).collect();
    let all = "worker kernel namespaces landlock seccomp cgroup limits memory clock sandbox disk \
               configuration daemon";
    assert_eq!(checks.join(" "), all);
    for check in ["kernel", "namespaces", "seccomp", "sandbox", "disk", "configuration"] {
        assert_eq!(of(&rows, check)["state"], "ok", "{}", of(&rows, check));
    }
    assert!(found(&rows, "configuration").ends_with("runtimed.toml (not there: defaults)"));
    assert_eq!(of(&rows, "daemon")["state"], "warn");
    assert!(found(&rows, "daemon").contains("no daemon answers"), "{rows:?}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_running_daemon_says_what_its_sandboxes_reach_and_which_component_is_stuck() {
    let folder = root();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let domains = config(&catalogue.url())
        + "[domain.\"none.example\"]\ncatalogue = \"file:///nonexistent/catalogue\"\n";
    let daemon = Daemon::start(&domains);
    let mut app = App::connect(&daemon.bus(), "app", &[]);
    assert_eq!(app.call("read", "hyperty://example.com/bob", &Value::Null)["body"]["code"], 200);
    let rows = rows(daemon.root());
    let well = of(&rows, "daemon");
    let said = well["found"].as_str().unwrap();
    assert_eq!(well["state"], "ok", "{well}");
    assert!(said.contains(&format!("pid {}, for ", daemon.pid())), "{well}");
    assert!(said.contains("; sandboxes at "), "{well}");
    app.call("read", "hyperty://none.example/bob", &Value::Null);
    let stuck = wait_for("the component that failed is named", || {
        let rows = self::rows(daemon.root());
        let row = of(&rows, "daemon").clone();
        row["found"].as_str().unwrap().ends_with("none.example is failed").then_some(row)
    });
    assert_eq!(stuck["state"], "warn");
}

#[test]
fn a_configuration_that_is_wrong_fails_and_says_where() {
    let root = root();
    fs::write(root.path().join("runtimed.toml"), "[sandbox]\nminimun = \"full\"\n").unwrap();
    let wrong = rows(root.path());
    assert_eq!(of(&wrong, "configuration")["state"], "fail");
    assert!(found(&wrong, "configuration").contains("runtimed.toml:2:1"), "{wrong:?}");
    fs::remove_file(root.path().join("runtimed.toml")).unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let open = rows(root.path());
    assert!(found(&open, "configuration").contains("chmod go-w"), "{open:?}");
}

#[test]
fn root_looks_at_the_daemon_of_another_user_with_that_users_rights() {
    if !nix::unistd::geteuid().is_root() {
        skipped("only root can take another user's rights");
        return;
    }
    let folder = root();
    // Where the tests run, the other user may see nothing.
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(folder.path());
    for name in ["runtimectl", "runtimed", "sandbox-worker"] {
        fs::copy(program(name), folder.path().join(name)).unwrap();
    }
    let home = folder.path().join("root");
    fs::create_dir(&home).unwrap();
    open(&home);
    std::os::unix::fs::chown(&home, Some(65_534), Some(65_534)).unwrap();
    let mut command = Command::new(folder.path().join("runtimed"));
    let user = command.arg("--root").arg(&home).uid(65_534).gid(65_534);
    let mut daemon = user.stderr(Stdio::null()).spawn().unwrap();
    let ctl = |args: &[&str]| {
        let mut command = Command::new(folder.path().join("runtimectl"));
        command.args(args).arg("--root").arg(&home).output().unwrap()
    };
    let up = ctl(&["status", "--wait", "20s"]);
    let output = ctl(&["doctor", "-o", "json"]);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(up.status.success(), "{up:?}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for check in ["sandbox", "configuration", "daemon"] {
        assert_eq!(of(&rows, check)["state"], "ok", "{rows:?}");
    }
    // Without the right to a host id for each sandbox.
    assert!(found(&rows, "sandbox").starts_with("level namespaces "), "{rows:?}");
}

#[test]
fn a_program_that_is_missing_is_named_and_the_rest_is_said() {
    let folder = root();
    let ctl = folder.path().join("runtimectl");
    // By a process of its own: one that another thread starts meanwhile would hold the file open.
    let copied = Command::new("cp").arg(program("runtimectl")).arg(&ctl).status().unwrap();
    assert!(copied.success());
    // It cannot be run, so that the package's worker, if there is one, does not stand in for it.
    fs::write(folder.path().join("sandbox-worker"), "").unwrap();
    let output = Command::new(ctl)
        .args(["doctor", "--root"])
        .arg(folder.path().join("root"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let line = |start: &str| said.lines().any(|line| line.starts_with(start));
    assert!(line("fail  worker") && line("fail  configuration") && line("warn  daemon"), "{said}");
    assert!(said.lines().any(|line| line.trim_start().starts_with("mend: ")), "{said}");
    assert!(said.ends_with("0 ok, 1 warn, 2 fail\n"), "{said}");
}

#[test]
fn for_people_it_is_one_line_each_and_for_programs_one_object_a_line() {
    let root = root();
    let table = String::from_utf8(doctor(root.path(), "table").stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("ok    kernel         Linux ")), "{table}");
    let lines = String::from_utf8(doctor(root.path(), "ndjson").stdout).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 13);
}
