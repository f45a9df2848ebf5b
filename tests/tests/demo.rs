//! The demo, and what the documents tell a reader to type.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use system_tests::program;

#[test]
fn the_demo_tells_its_story_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program("runtimectl"))
        .arg("demo")
        .env_clear()
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for told in [
        "nothing here knows alpha.example",
        "sandbox-proved",
        "the answer came back from hyperty://alpha.example/bob",
        "200 requests, 200 answers",
        "the same answer as before",
        "=> deliver",
        "nothing was lost",
        "stopped with status 0",
    ] {
        assert!(text.contains(told), "{told} is not in\n{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");
}

#[test]
fn the_default_configuration_is_accepted_as_printed_and_uncommented() {
    let printed = Command::new(program("runtimectl")).args(["config", "default"]).output().unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| {
                    rest.starts_with('[')
                        || rest.split_once(" = ").is_some_and(|(key, _)| {
                            key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                        })
                })
                .unwrap_or(line)
        })
        .filter(|line| !line.starts_with("ca = "))
        .fold(String::new(), |all, line| all + line + "\n");
    assert!(uncommented.contains("\nmax_restarts = 5\n"), "{uncommented}");
    let folder = tempfile::tempdir().unwrap();
    // What it names must be there.
    let pair = Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates");
    for (named, ours) in [("p2p.pem", "alpha.pem"), ("p2p.key", "alpha.key")] {
        let copy = folder.path().join(named);
        std::fs::copy(pair.join(ours), &copy).unwrap();
        std::fs::set_permissions(copy, Permissions::from_mode(0o600)).unwrap();
    }
    let place = format!("\"{}/p2p.", folder.path().display());
    let uncommented = uncommented.replace("\"/etc/runtimed/p2p.", &place);
    for (name, text) in [("printed", text), ("uncommented", uncommented)] {
        let path = folder.path().join(name);
        std::fs::write(&path, &text).unwrap();
        let checked = Command::new(program("runtimed"))
            .args(["--check-config", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{name}: {checked:?}\n{text}");
    }
}
