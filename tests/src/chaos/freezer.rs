//! A process that even SIGKILL does not end, as one that waits for a dead disk: frozen by a cgroup of
//! version 1, which thaws it when this is dropped. (What version 2 has frozen can be killed.)

use std::fs;
use std::path::{Path, PathBuf};

/// Where the freezer is mounted on machines that have one.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// A frozen process.
#[derive(Debug)]
pub struct Frozen {
    room: PathBuf,
}

impl Frozen {
    /// Freezes it; why not, where that cannot be done.
    pub fn freeze(pid: i32) -> Result<Self, String> {
        let room = Path::new(FREEZER).join(format!("chaos-{}-{pid}", std::process::id()));
        fs::create_dir(&room).map_err(|error| format!("{}: {error}", room.display()))?;
        let frozen = Self { room };
        frozen.write("cgroup.procs", &pid.to_string())?;
        frozen.write("freezer.state", "FROZEN")?;
        crate::wait_for("it is frozen", || {
            let state = fs::read_to_string(frozen.room.join("freezer.state")).ok()?;
            (state.trim() == "FROZEN").then_some(())
        });
        Ok(frozen)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let path = self.room.join(file);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Nothing of it can be mended here, and the process must not stay.
        drop(self.write("freezer.state", "THAWED"));
        let empty = || fs::remove_dir(&self.room).is_ok().then_some(());
        if !std::thread::panicking() {
            crate::wait_for("the frozen process has ended", empty);
        }
    }
}
