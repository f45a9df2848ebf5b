//! The house rules that a machine can hold: layers, file heads and sizes, where `unsafe` may live,
//! that the paths named in the documents exist, and that the lists in them are true.

use protocol::reason::Reason;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layer drawing: each crate may import these of ours, and no others.
const LAYERS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("runtime-core", &["protocol"]),
    ("runtimed", &["protocol", "runtime-core"]),
    ("jail", &[]),
    ("sandbox-worker", &["protocol", "jail"]),
    ("peers", &["protocol"]),
    ("runtimectl", &["protocol", "peers"]),
    ("system-tests", &["protocol", "runtime-core", "jail", "peers"]),
];

/// What the pure core may not even know of.
const NOT_IN_CORE: &[&str] = &["tokio", "nix", "libc", "rand", "tempfile", "rusqlite"];

/// Crate roots in which `unsafe` is not forbidden.
const UNSAFE_ROOMS: &[&str] = &["protocol/src/lib.rs", "sandbox-worker/jail/src/lib.rs"];

/// Files in which `unsafe` may appear.
fn may_be_unsafe(path: &str) -> bool {
    path.starts_with("sandbox-worker/jail/") || path == "protocol/src/sys.rs"
}

const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_only_use_the_layers_below() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> =
        packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, ours, "a new crate needs its row in LAYERS");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let allowed = LAYERS.iter().find(|(layer, _)| *layer == name).unwrap().1;
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            assert!(
                !ours.contains(used) || allowed.contains(&used),
                "{name} may not import {used}"
            );
            assert!(
                name != "runtime-core" || !NOT_IN_CORE.contains(&used),
                "the core may not know {used}"
            );
        }
    }
}

/// Cargo gives a feature that one crate asks for to all of them; this one would make the worker's
/// event loop open a socketpair, which its filter refuses.
#[test]
fn nobody_asks_for_the_signals_of_tokio() {
    for package in metadata()["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let features = dependency["features"].as_array().unwrap();
            assert!(
                dependency["name"] != "tokio"
                    || !features.iter().any(|f| f == "signal" || f == "full"),
                "{} asks for tokio's signals",
                package["name"]
            );
        }
    }
}

/// A jail with a wall left out is for the tests of the jail only.
#[test]
fn nobody_asks_for_a_jail_with_a_wall_left_out() {
    for package in metadata()["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let features = dependency["features"].as_array().unwrap();
            let asks = dependency["name"] == "jail" && !features.is_empty();
            assert!(!asks, "{} asks for features of the jail", package["name"]);
        }
        let defaults = &package["features"]["default"];
        assert!(package["name"] != "jail" || defaults.is_null(), "the jail has default features");
    }
}

/// Cargo builds the programs of a package for its own tests only; without one, `cargo test` in a
/// clean clone would leave the system tests without that program.
#[test]
fn every_program_has_a_test_that_gets_it_built() {
    for package in metadata()["packages"].as_array().unwrap() {
        let targets = package["targets"].as_array().unwrap();
        let any = |kind: &str| targets.iter().any(|target| target["kind"][0] == kind);
        assert!(!any("bin") || any("test"), "{} has programs and no test", package["name"]);
    }
}

#[test]
fn every_file_says_what_lives_there_and_is_short() {
    for (path, text) in files("rs") {
        assert!(text.starts_with("//! "), "{path} does not open with //!");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines");
        assert!(!path.ends_with("/mod.rs"), "{path}: a room is room.rs beside room/");
        for room in ["utils", "util", "common", "helpers", "helper", "manager"] {
            assert!(!path.ends_with(&format!("/{room}.rs")), "{path}: name what lives there");
        }
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["TO", "FIX", "X", "unimple"].map(|start| match start {
        "TO" => "TODO".to_owned(),
        "FIX" => "FIXME".to_owned(),
        "X" => "XXX".to_owned(),
        _ => format!("{start}mented!"),
    });
    for (path, text) in files("rs").into_iter().filter(|(path, _)| !path.ends_with("tidy.rs")) {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{path} says {word}");
        }
        assert!(!text.contains("#[ignore]"), "{path} ignores a test");
    }
}

#[test]
fn unsafe_lives_in_its_two_rooms() {
    for (path, text) in files("rs") {
        let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        if is_root && !UNSAFE_ROOMS.contains(&path.as_str()) && !path.starts_with("tests/") {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{path} does not forbid unsafe");
        }
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses =
            code.filter(|line| line.contains("unsafe {") || line.contains("unsafe fn")).count();
        assert!(uses == 0 || may_be_unsafe(&path) || path.ends_with("tidy.rs"), "{path}");
    }
}

/// Every `path/in/backticks` of a document that looks like one of ours.
fn paths_in(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('/') && !word.contains([' ', ':', '<', '*', '$', '{']))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter(|word| {
            !["run/", "state/", "cache/", "target/", "registry/"]
                .iter()
                .any(|out| word.starts_with(out))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn paths_named_in_the_documents_exist() {
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for path in paths_in(&text) {
            assert!(root().join(&path).exists(), "{document} names {path}");
        }
    }
}

#[test]
fn the_list_of_errors_is_the_enum() {
    let text = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = Reason::ALL
        .iter()
        .map(|reason| {
            format!("| `{}` | {} | {} |", reason.token(), reason.code(), reason.meaning().trim())
        })
        .collect();
    assert_eq!(rows, expected, "docs/errors.md is not what protocol::reason says");
}

#[test]
fn every_bound_says_its_unit_and_reason() {
    for (path, text) in files("rs").into_iter().filter(|(path, _)| path.ends_with("limits.rs")) {
        let lines: Vec<&str> = text.lines().collect();
        for (above, line) in lines.iter().zip(lines.iter().skip(1)) {
            let is_const = line.trim_start().starts_with("pub const")
                || line.trim_start().starts_with("pub(crate) const");
            let says = ["///", "#["].iter().any(|start| above.trim_start().starts_with(start));
            assert!(!is_const || says, "{path}: {line}");
        }
    }
}

#[test]
fn each_decision_record_has_its_four_parts() {
    for entry in fs::read_dir(root().join("docs/adr")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# 0"), "{}", path.display());
        if !path.ends_with("0008-dependencies.md") {
            for part in [
                "**Context.**",
                "**Decision.**",
                "**Consequence.**",
                "**What would change our mind.**",
            ] {
                assert!(text.contains(part), "{} lacks {part}", path.display());
            }
        }
    }
}
