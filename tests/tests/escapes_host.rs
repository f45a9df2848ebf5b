//! What a hostile stub, user or name tries on the daemon's own ground: its links, its sockets, its
//! folders, its spawner. By the rows of the escape matrix (`escape_…`) and the findings of the
//! security review (`attack_…`).

use nix::unistd::geteuid;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config, descriptor};
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::process::Victim;
use system_tests::chaos::worker::Programs;
use system_tests::evil::{EVIL, PUPPET, Scene};
use system_tests::facts::{settled, wait_events};
use system_tests::skip::skipped;
use system_tests::trap::Trap;
use system_tests::{Daemon, PATIENCE, lives, program, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";
const OTHER: &str = "hyperty://other.example/x";

/// Two domains with the same stub.
fn both(folder: &Path) -> String {
    let catalogue = Folder::new(folder);
    catalogue.stub(ECHO_STUB);
    let url = catalogue.url();
    format!("{}[domain.\"other.example\"]\ncatalogue = \"{url}\"\n", config(&url))
}

fn answers(app: &mut App, to: &str) {
    let response = app.call("read", to, &json!({}));
    assert_eq!(response["body"]["code"], 200, "{response}");
}

#[test]
fn escape_021_of_all_that_a_script_names_only_what_was_granted_is_connected_to() {
    let (granted, trap) = (Trap::set(), Trap::set());
    let (open, shut) = (granted.port(), trap.port());
    let keys = format!(
        "private = true\nconnect = [\"open.example:{open}\"]\n\
         hosts = {{ \"open.example:{open}\" = \"127.0.0.1:{open}\", \
         \"open.example:{shut}\" = \"127.0.0.1:{shut}\" }}\n\n"
    );
    let mut scene = Scene::with(&descriptor(PUPPET), &keys);
    let _deployed = scene.order("");
    let hosts = [
        format!("open.example:{shut}"),
        format!("127.0.0.1:{open}"),
        format!("[::1]:{open}"),
        format!("open.example.:{open}"),
        format!("\u{43e}pen.example:{open}"),
        format!("open.ex\u{e4}mple:{open}"),
        format!("open.example\r\n.victim.example:{open}"),
        format!("open.example\0:{open}"),
        format!("open.example%00.victim.example:{open}"),
        format!("sub.open.example:{open}"),
        format!("victim.example:{open}"),
    ];
    let tried = scene.order(&format!(
        "const one = (url) => new Promise((done) => {{
           try {{
             const request = new XMLHttpRequest();
             request.onload = request.onerror = () => done(request.status || null);
             request.open('GET', url);
             request.send();
           }} catch (error) {{ done(null); }}
         }});
         return Promise.all({}.map((host) => one(`http://${{host}}/`)));",
        json!(hosts)
    ));
    assert!(tried.as_array().unwrap().iter().all(Value::is_null), "{tried}");
    assert_eq!((granted.visits(), trap.visits()), (0, 0));
    let logs = scene.daemon.ctl(&["logs", EVIL]);
    let told = String::from_utf8(logs.stdout).unwrap();
    for host in [format!("open.example:{shut}"), format!("127.0.0.1:{open}")] {
        assert!(told.contains(&format!("{host} is not granted")), "{told}");
    }
    // What was granted is there.
    scene.order(&format!("new WebSocket('ws://open.example:{open}/').onclose = () => {{}};"));
    wait_for("the granted connection", || (granted.visits() == 1).then_some(()));
    scene.stands();
}

#[test]
fn escape_023_ten_thousand_connections_cost_the_daemon_no_descriptor() {
    let granted = Trap::set();
    let open = granted.port();
    let keys = format!("private = true\nconnect = [\"127.0.0.1:{open}\"]\n\n");
    let mut scene = Scene::with(&descriptor(PUPPET), &keys);
    scene.order(&format!("new WebSocket('ws://127.0.0.1:{open}/').onclose = () => {{}};"));
    wait_for("the net role is there", || (granted.visits() > 0).then_some(()));
    let before = Ledger::at_rest(&scene.daemon);
    let tried = scene.order(&format!(
        "let tried = 0;
         const some = () => {{
           for (let i = 0; i < 500; i += 1, tried += 1) {{
             try {{ new WebSocket('ws://127.0.0.1:{open}/').onclose = () => {{}}; }}
             catch (error) {{}}
           }}
           return tried < 10000 ? tools.pause(1).then(some) : tried;
         }};
         return some();"
    ));
    assert_eq!(tried, 10_000);
    let mut visits = 0;
    wait_for("some are made", || {
        visits += granted.visits();
        (visits > 0).then_some(())
    });
    before.wait_restored(&scene.daemon);
    visits += granted.visits();
    assert!(visits <= 200, "{visits} connections");
    scene.stands();
}

#[test]
fn escape_041_a_descriptor_where_none_belongs_is_closed_and_its_sender_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs::obedient();
    let quick = "[supervision]\nbackoff_initial = \"50ms\"\nbackoff_max = \"2s\"\n";
    let daemon = Daemon::start_from(programs.folder(), &format!("{quick}{}", both(folder.path())));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    answers(&mut alice, REMOTE);
    answers(&mut alice, OTHER);
    let before = Ledger::at_rest(&daemon);
    for turn in 1..=6 {
        alice.ask("update", REMOTE, &json!({"fault": "descriptor"}));
        let exits = wait_events(&daemon, "exited", NAME, turn);
        assert!(exits.iter().all(|exit| exit["reason"] == "protocol"), "{exits:#?}");
        assert!(exits[turn - 1]["detail"].as_str().unwrap().contains("descriptor"), "{exits:#?}");
        answers(&mut alice, OTHER);
        if turn < 6 {
            daemon.wait_state(NAME, "active");
            before.wait_restored(&daemon);
        }
    }
    daemon.wait_state(NAME, "quarantined");
    alice.refused("read", REMOTE, 503, "quarantined");
    assert_eq!(daemon.row("other.example").unwrap()["restarts"], 0);
    settled(&daemon);
}

/// Sends a byte now and then until the other end closes; how long that took.
fn drip(mut stream: UnixStream, bytes: &[u8]) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut rest = bytes.iter().cycle();
    loop {
        let byte = *rest.next().unwrap();
        if stream.write_all(&[byte]).is_err() {
            return begun.elapsed();
        }
        match stream.read(&mut [0; 1_024]) {
            Ok(0) => return begun.elapsed(),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return begun.elapsed();
            }
            Ok(_) | Err(_) => {}
        }
        assert!(begun.elapsed() < PATIENCE, "it is listened to for ever");
    }
}

#[test]
fn escape_044_whoever_says_one_byte_at_a_time_is_cut_off_and_others_are_answered() {
    let mut scene = Scene::start();
    let (bus, control) = (scene.daemon.bus(), scene.daemon.root().join("run/control.sock"));
    let slow = [
        (bus, br#"{"hello":{"name":"slow-loris"}  "#.to_vec()),
        // A length that is never reached.
        (control, vec![0, 1, 0, 0, 7]),
    ]
    .map(|(path, bytes)| {
        std::thread::spawn(move || drip(UnixStream::connect(path).unwrap(), &bytes))
    });
    while slow.iter().any(|thread| !thread.is_finished()) {
        scene.good_answers();
    }
    for thread in slow {
        let took = thread.join().unwrap();
        assert!((Duration::from_secs(4)..Duration::from_secs(12)).contains(&took), "{took:?}");
    }
    scene.stands();
}

#[test]
fn escape_044_an_application_that_reads_no_answer_is_cut_off_and_others_are_answered() {
    let mut scene = Scene::start();
    let mut numb = UnixStream::connect(scene.daemon.bus()).unwrap();
    numb.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let hello = json!({"hello": {"name": "numb", "addresses": ["hyperty://home.example/numb"]}});
    numb.write_all(format!("{hello}\n").as_bytes()).unwrap();
    let body = json!({"x": "x".repeat(60_000)});
    let begun = Instant::now();
    let mut refused = Value::Null;
    while refused.is_null() {
        assert!(begun.elapsed() < PATIENCE, "everything is taken for it");
        scene.good_answers();
        for n in 0..64 {
            let to = "hyperty://home.example/numb";
            scene.bob.write(&json!({"id": format!("n{n}"), "type": "update", "to": to,
                                    "reply": true, "timeout": 1, "body": body}));
        }
        for _ in 0..64 {
            let answer = scene.bob.read().unwrap();
            if answer["body"]["reason"] != "deadline" {
                refused = answer["body"].clone();
            }
        }
    }
    let reason = refused["reason"].as_str().unwrap();
    assert!(["slow-consumer", "receiver-gone"].contains(&reason), "{refused}");
    scene.stands();
}

/// All names below a folder, but what a daemon writes into its log.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path.clone());
            }
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn escape_052_no_name_of_anybody_becomes_a_name_in_the_file_system() {
    let temp = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(&temp.path().join("catalogue"));
    let mut evil = descriptor(ECHO_STUB);
    for member in ["cguid", "objectName", "version", "name", "type"] {
        evil[member] = json!("../../../../evil-name");
    }
    catalogue.put("default", &evil.to_string());
    let daemon = Daemon::start(&config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "../../evil-name", &[ALICE]);
    answers(&mut alice, REMOTE);
    Ledger::at_rest(&daemon);
    let before = tree(temp.path());
    let inside = tree(daemon.root());
    let long = "x".repeat(4_096);
    let names =
        ["../evil-name", "..", ".", "/", "/etc/evil-name", "%2e%2e%2fevil-name", "-rf /", &long];
    for name in names {
        for address in [
            format!("hyperty://{name}/x"),
            format!("hyperty://{name}.example/x"),
            format!("hyperty://localhost/{name}/%2e%2e/../x"),
            format!("sip:a@{name}"),
        ] {
            let body = alice.call("read", &address, &json!({}))["body"].clone();
            assert_eq!(body["code"], 400, "{address}: {body}");
        }
        for command in ["deploy", "undeploy", "restart", "kill", "inspect", "logs", "resolve"] {
            let output = daemon.ctl(&[command, "--", name]);
            let status = output.status.code().unwrap();
            let explains = command == "resolve" && status == 0;
            assert!(explains || [1, 2, 4].contains(&status), "{command} {name}: {output:?}");
        }
    }
    let nul = alice.call("read", "hyperty://a\0b.example/x", &json!({}));
    assert_eq!(nul["body"]["code"], 400, "{nul}");
    assert_eq!(tree(temp.path()), before);
    assert_eq!(tree(daemon.root()), inside);
    assert_eq!(daemon.ctl_json(&["ps"]).as_array().unwrap().len(), 1);
}

/// Starts a daemon on this root, which is not to come up; what it said.
fn refused_to_start(root: &Path) -> Output {
    let mut child = system_tests::command(&program("runtimed"), root)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait_for("the daemon ends", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    assert!(!ended.success());
    output
}

#[test]
fn escape_059_a_folder_that_is_a_link_is_not_followed_and_the_start_fails() {
    for room in ["", "run", "state", "cache"] {
        let temp = tempfile::tempdir().unwrap();
        let (root, victim) = (temp.path().join("root"), temp.path().join("victim"));
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("file"), "precious").unwrap();
        if !room.is_empty() {
            fs::create_dir(&root).unwrap();
            fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        }
        std::os::unix::fs::symlink(&victim, root.join(room).components().as_path()).unwrap();
        let mode = fs::metadata(&victim).unwrap().mode();
        let output = refused_to_start(&root);
        assert_eq!(output.status.code(), Some(78), "{room}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("symbolic link"), "{room}: {said}");
        assert_eq!(tree(&victim), [victim.join("file").display().to_string()], "{room}");
        assert_eq!(fs::metadata(&victim).unwrap().mode(), mode, "{room}");
    }
}

#[test]
fn escape_059_a_file_that_is_a_link_is_not_written_through() {
    let temp = tempfile::tempdir().unwrap();
    let victim = temp.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let mode = fs::metadata(&victim).unwrap().mode();
    let names: Vec<String> = {
        let daemon = Daemon::start("");
        let root = daemon.root().display().to_string();
        let all = tree(daemon.root());
        let below = all.iter().filter_map(|path| path.strip_prefix(&root)?.strip_prefix('/'));
        let files = below.filter(|path| path.contains('/'));
        files.map(str::to_owned).collect()
    };
    assert!(names.iter().any(|name| name == "run/lock") && names.len() >= 5, "{names:?}");
    for name in names {
        let root = temp.path().join("root");
        fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
        for folder in [&root, &root.join("run"), &root.join("state"), &root.join("cache")] {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        std::os::unix::fs::symlink(&victim, root.join(&name)).unwrap();
        let mut child = system_tests::command(&program("runtimed"), &root)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Either it does not start, or what was there is replaced.
        wait_for(&format!("an end of {name}"), || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || UnixStream::connect(root.join("run/bus.sock")).is_ok()).then_some(())
        });
        drop(child.kill());
        child.wait().unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        assert_eq!(fs::metadata(&victim).unwrap().mode(), mode, "{name}");
        fs::remove_dir_all(&root).unwrap();
    }
}

/// `runtimectl` on this daemon as somebody else.
fn as_nobody(daemon: &Daemon, group: &str, args: &[&str]) -> Output {
    Command::new("setpriv")
        .args(["--reuid=65534", &format!("--regid={group}"), "--clear-groups"])
        .arg(program("runtimectl"))
        .arg("--root")
        .arg(daemon.root())
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn escape_060_no_other_user_reaches_the_sockets_and_a_group_may_only_look() {
    if !geteuid().is_root() {
        return skipped("only root can be another user");
    }
    if !Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "test", "-x"])
        .arg(program("runtimectl"))
        .status()
        .is_ok_and(|status| status.success())
    {
        return skipped("nobody may not execute the programs of this build");
    }
    let daemon = Daemon::start("");
    let denied = |group: &str, args: &[&str]| {
        let output = as_nobody(&daemon, group, args);
        assert_eq!(output.status.code(), Some(5), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(denied("65534", &["status"]).contains("ermission denied"));
    // Even where the root is open, the folder of the sockets is not.
    fs::set_permissions(daemon.root(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(denied("65534", &["status"]).contains("ermission denied"));
    // The socket's group looks and does not operate; that it tried is on record.
    let group = fs::metadata(daemon.root().join("run/control.sock")).unwrap().gid().to_string();
    assert!(as_nobody(&daemon, &group, &["status"]).status.success());
    for args in [&["deploy", "a.example"][..], &["undeploy", "a.example"], &["kill", "a.example"]] {
        assert!(denied(&group, args).contains("others may look"), "{args:?}");
    }
    let log = daemon.log();
    assert!(log.contains("an operator was refused") && log.contains("uid=65534"), "{log}");
    assert_eq!(daemon.ctl_json(&["ps"]), json!([]));
}

/// The spawner of a daemon.
fn spawner(daemon: &Daemon, before: i32) -> Victim {
    wait_for("the spawner", || {
        daemon.descendants().into_iter().filter(|pid| *pid != before).find_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let named = line.split(|byte| *byte == 0).any(|word| word == b"spawner");
            named.then(|| Victim::new(daemon, pid)).flatten()
        })
    })
}

#[test]
fn escape_074_a_spawner_that_is_killed_or_wedged_is_replaced_and_no_stub_notices() {
    for wedged in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(&both(folder.path()));
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        answers(&mut alice, REMOTE);
        let pid = daemon.row(NAME).unwrap()["pid"].clone();
        let first = spawner(&daemon, 0);
        if wedged {
            assert!(first.stop());
            // Whoever waits for it is told.
            let body = alice.call("read", OTHER, &json!({}))["body"].clone();
            assert_eq!((&body["code"], &body["stage"]), (&json!(503), &json!("sandbox")), "{body}");
            first.wait_gone();
        } else {
            assert!(first.kill());
            first.wait_gone();
        }
        wait_for("another stub is started", || {
            let body = alice.call("read", OTHER, &json!({}))["body"].clone();
            (body["code"] == 200).then_some(())
        });
        assert!(lives(spawner(&daemon, first.pid).pid));
        answers(&mut alice, REMOTE);
        let row = daemon.row(NAME).unwrap();
        assert_eq!((&row["pid"], &row["restarts"]), (&pid, &json!(0)), "{row}");
        settled(&daemon);
    }
}
