//! A wall clock that jumps. It is the whole machine's, so only a machine that was made to be thrown
//! away has it done.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A jump, taken back when this is dropped; the time that passes meanwhile counts.
#[derive(Debug)]
pub struct Jump {
    before: SystemTime,
    at: Instant,
}

impl Jump {
    /// Sets the clock this much forward.
    pub fn forward(by: Duration) -> Self {
        let jump = Self::here();
        set(jump.before + by);
        jump
    }

    /// Sets the clock this much back.
    pub fn back(by: Duration) -> Self {
        let jump = Self::here();
        set(jump.before - by);
        jump
    }

    fn here() -> Self {
        let made_for_it = std::env::var("SERVICE_GATE").is_ok_and(|gate| gate == "vm");
        assert!(made_for_it, "the clock of this machine is not ours to set");
        Self { before: SystemTime::now(), at: Instant::now() }
    }
}

impl Drop for Jump {
    fn drop(&mut self) {
        set(self.before + self.at.elapsed());
    }
}

fn set(to: SystemTime) {
    let since = to.duration_since(UNIX_EPOCH).expect("after 1970");
    let argument = format!("@{}.{:03}", since.as_secs(), since.subsec_millis());
    let output = Command::new("date").args(["-u", "-s", &argument]).output().expect("date runs");
    assert!(output.status.success(), "{output:?}");
}
