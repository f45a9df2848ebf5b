//! A folder of programs in which the worker is a faulty one.

use crate::{command, program};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Bytes behind the end of the faulty worker: its plan as JSON, and zeros.
pub const PLAN_BYTES: usize = 1_024;

/// Every worker is faulty.
pub const ALWAYS: u32 = 10_000;

/// The programs, with a faulty worker among them.
#[derive(Debug)]
pub struct Programs {
    folder: tempfile::TempDir,
}

impl Programs {
    /// The first `times` stubs do `fault` at `stage`, by the names in `tests/faulty/plan.rs`.
    pub fn faulty(stage: &str, fault: &str, times: u32) -> Self {
        Self::with(&json!({"role": "stub", "at": stage, "fault": fault, "times": times}))
    }

    /// All workers of this role do.
    pub fn faulty_as(role: &str, stage: &str, fault: &str) -> Self {
        Self::with(&json!({"role": role, "at": stage, "fault": fault, "times": ALWAYS}))
    }

    /// All stubs do what messages tell them: `{"fault":"garbage"}`, `{"hold":true}`.
    pub fn obedient() -> Self {
        Self::with(&json!({"role": "stub", "times": ALWAYS}))
    }

    fn with(plan: &Value) -> Self {
        let folder = tempfile::Builder::new().prefix("faulty-").tempdir().expect("a folder");
        let path = folder.path();
        // Workers have a uid of their own, must get in, and take their turns there.
        open_to_all(path, 0o755);
        let turns = path.join("turns");
        fs::create_dir(&turns).expect("a folder");
        open_to_all(&turns, 0o777);
        copy(&program("runtimed"), &path.join("runtimed"));
        copy(&program("sandbox-worker"), &path.join("real-worker"));
        let image = path.join("sandbox-worker");
        fs::copy(program("faulty-worker"), &image).expect("a copy");
        let mut plan = plan.clone();
        plan["real"] = json!(path.join("real-worker"));
        plan["turns"] = json!(turns);
        let mut tail = plan.to_string().into_bytes();
        assert!(tail.len() < PLAN_BYTES, "the plan is too long");
        tail.resize(PLAN_BYTES, 0);
        let mut file = fs::OpenOptions::new().append(true).open(&image).expect("the copy");
        file.write_all(&tail).expect("room on the disk");
        Self { folder }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What starts a daemon of these programs on this root.
    pub fn command(&self, root: &Path) -> Command {
        command(&self.folder.path().join("runtimed"), root)
    }

    /// How many workers were faulty so far.
    pub fn turns(&self) -> usize {
        fs::read_dir(self.folder.path().join("turns")).expect("a folder").count()
    }
}

/// By a process of its own: one that another thread starts meanwhile would hold a file that is
/// written to here, and the copy could not be executed.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().expect("cp runs").success());
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our folder");
}
