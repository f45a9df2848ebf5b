//! Faults of the disk that the state is kept on: full, read-only, another's.

use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::chaos::disk::{Disk, where_one_may_mount};
use system_tests::on_disk::OnDisk;
use system_tests::{Daemon, command, program, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";

/// A configuration with a stub that answers.
fn world() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let config = config(&catalogue.url());
    (folder, config)
}

fn wait_store(daemon: &Daemon, state: &str) -> Value {
    wait_for(&format!("the store is {state}"), || {
        let status = daemon.ctl_json(&["status"]);
        (status["store"]["state"] == state).then_some(status)
    })
}

#[test]
fn fault_028_on_a_full_disk_traffic_and_deploys_go_on_and_all_is_kept_when_there_is_room() {
    where_one_may_mount(|| {
        let (_folder, config) = world();
        let OnDisk { daemon, disk } = OnDisk::start("1m", "true", &config);
        let first = wait_store(&daemon, "ok");
        disk.fill();
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let status = wait_store(&daemon, "degraded");
        assert!(status["store"]["detail"].as_str().unwrap().contains("full"), "{status}");
        assert_eq!(
            alice.call("read", REMOTE, &json!({}))["body"]["code"],
            200,
            "deployed all the same"
        );
        daemon.assert_conserved();
        disk.empty();
        wait_store(&daemon, "ok");
        // What was kept late is kept as well: another daemon finds it.
        let next = Daemon::start_by("", |root| {
            let state = root.join("state");
            fs::create_dir(&state).unwrap();
            fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
            for file in fs::read_dir(daemon.root().join("state")).unwrap().flatten() {
                fs::copy(file.path(), state.join(file.file_name())).unwrap();
            }
            command(&program("runtimed"), root)
        });
        assert_eq!(next.ctl_json(&["status"])["runtime"], first["runtime"]);
        App::connect(&next.bus(), "bob", &[]).refused("read", ALICE, 503, "receiver-gone");
    });
}

#[test]
fn fault_028_without_room_for_its_identity_a_new_runtime_does_not_start_and_leaves_no_scrap() {
    where_one_may_mount(|| {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::mount(root.path(), "64k", "true");
        disk.fill();
        let output = command(&program("runtimed"), root.path()).output().unwrap();
        let left = disk.entries();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(said.contains("identity") && said.contains("No space left"), "{said}");
        let known = |name: &String| ["ballast", "crumbs", "registry.db"].contains(&name.as_str());
        assert!(left.iter().all(known), "half an identity is none: {left:?}");
    });
}

#[test]
fn fault_029_on_a_disk_that_nobody_may_write_to_a_known_runtime_serves_and_says_so() {
    where_one_may_mount(|| {
        let mut known = Daemon::start("");
        let runtime = known.ctl_json(&["status"])["runtime"].clone();
        known.stop(nix::sys::signal::Signal::SIGTERM);
        let (_folder, config) = world();
        let saved = known.root().join("state");
        let first = format!("cp -p '{}'/* . && mount -o remount,ro .", saved.display());
        let OnDisk { daemon, disk: _disk } = OnDisk::start("1m", &first, &config);
        let status = wait_store(&daemon, "degraded");
        assert_eq!(status["runtime"], runtime);
        let why = status["store"]["detail"].as_str().unwrap();
        assert!(why.contains("registry.db") && why.len() > 30, "{why}");
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200);
        daemon.assert_conserved();
    });
}

fn tried(root: &Path) -> Output {
    command(&program("runtimed"), root).output().unwrap()
}

fn refused(root: &Path, words: &str) {
    let output = tried(root);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(said.starts_with("runtimed: ") && said.lines().count() == 1, "one line: {said}");
    assert!(said.contains(words), "{said}");
}

#[test]
fn fault_032_a_state_folder_that_others_can_write_to_is_refused_by_a_sentence() {
    for bad in ["state", "run", "cache", "."] {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(bad);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        refused(root.path(), "can be written by others (mode 777); chmod go-w it");
    }
}

#[test]
fn fault_032_a_folder_of_somebody_else_is_refused_by_a_sentence() {
    if nix::unistd::geteuid().is_root() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&state, Some(65_534), None).unwrap();
        refused(root.path(), "belongs to uid 65534, but runtimed runs as uid 0");
    } else {
        refused(Path::new("/usr"), "belongs to uid 0, but runtimed runs as uid ");
    }
}

#[test]
fn fault_030_an_identity_that_is_torn_stops_the_start_and_is_not_replaced() {
    let mut daemon = Daemon::start("");
    daemon.stop(nix::sys::signal::Signal::SIGTERM);
    let path = daemon.root().join("state/runtime.json");
    let whole = fs::read(&path).unwrap();
    for kept in [0, 1, whole.len() / 2] {
        fs::write(&path, &whole[..kept]).unwrap();
        refused(daemon.root(), "runtime.json is damaged");
        assert_eq!(fs::read(&path).unwrap(), &whole[..kept]);
    }
    // As the sentence says: it is moved away, and the store still knows who this is.
    fs::remove_file(&path).unwrap();
    daemon.start_again();
    assert_eq!(fs::read(&path).unwrap(), whole);
}
