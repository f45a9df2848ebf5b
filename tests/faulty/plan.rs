//! What a faulty worker is to do, and when.

use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use system_tests::chaos::worker::PLAN_BYTES;

/// Whose part a faulty worker plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// A stub's.
    Stub,
    /// A fetch worker's.
    Fetch,
}

impl Part {
    /// The word of the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::Fetch => "fetch",
        }
    }

    /// Its jail.
    pub(crate) const fn profile(self) -> jail::Profile {
        match self {
            Self::Stub => jail::Profile::Stub,
            Self::Fetch => jail::Profile::Fetch,
        }
    }

    /// What it is in a hello.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Stub => 1,
            Self::Fetch => 2,
        }
    }
}

/// How far the worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// The process exists; its jail is open.
    Born,
    /// Its jail is closed, and it said so.
    Confined,
    /// It said hello.
    Hello,
    /// It was told what to fetch.
    Asked,
    /// It handed a descriptor over, and is told to get the code.
    Described,
    /// It was given code, and has not read it.
    Assigned,
    /// It said that the code is loaded.
    Loaded,
    /// It said that the code is active.
    Activated,
}

/// One thing to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// Says that it cannot do what it was told.
    Refuse,
    /// Ends with status 0.
    Exit,
    /// Ends with another status.
    Fail,
    /// Ends by a signal of its own.
    Abort,
    /// Does nothing any more, not even end.
    Stall,
    /// Sends bytes that are no frame.
    Garbage,
    /// Sends the beginning of a frame, and stalls.
    Cut,
    /// Closes the link, and lives on.
    Close,
    /// Closes one direction of the link, and lives on.
    HalfClose,
    /// Says hello in a version that nobody speaks.
    Version,
    /// Does not end when it is told to.
    Deaf,
    /// Answers heartbeats, and takes no message any more.
    Numb,
    /// Turns round and round.
    Spin,
    /// Takes memory and does not stop.
    Memory,
    /// Sends a descriptor with a message that has none.
    Descriptor,
}

/// The plan.
#[derive(Debug, Deserialize)]
pub(crate) struct Plan {
    /// The program that plays everything else.
    pub(crate) real: PathBuf,
    /// Where turns are taken.
    turns: PathBuf,
    /// How many workers are faulty; the rest are real.
    times: u32,
    /// The role whose workers they are.
    pub(crate) role: Part,
    pub(crate) at: Option<Stage>,
    fault: Option<Fault>,
}

impl Plan {
    /// Reads it from behind the end of this program.
    pub(crate) fn read() -> Self {
        let mut own = File::open("/proc/self/exe").expect("this program");
        let back = i64::try_from(PLAN_BYTES).expect("small");
        own.seek(SeekFrom::End(-back)).expect("a plan");
        let mut text = String::new();
        own.read_to_string(&mut text).expect("a plan in UTF-8");
        serde_json::from_str(text.trim_end_matches('\0')).expect("a plan in JSON")
    }

    /// Whether this worker is one of the faulty ones.
    pub(crate) fn take_turn(&self) -> bool {
        (0..self.times).any(|turn| {
            let path = self.turns.join(turn.to_string());
            OpenOptions::new().write(true).create_new(true).open(path).is_ok()
        })
    }

    /// What is to be done at this stage.
    pub(crate) fn fault_at(&self, stage: Stage) -> Option<Fault> {
        self.fault.filter(|_| self.at == Some(stage))
    }
}
