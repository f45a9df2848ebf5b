//! What the shell tells the core.

use crate::settings::Settings;
use crate::store::Record;
use protocol::control::Command;
use protocol::ctl::{ConfinedReport, ConnectError, CtlUp};
use protocol::frame::Frame;

/// Milliseconds since the daemon started, monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

/// One connection to the bus: an application or a worker. Never reused while the daemon lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// One worker process, ever. Never reused while the daemon lives. Chosen by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxId(pub u32);

/// One request of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A sealed memfd of code that the shell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeHandle(pub u64);

/// A stream or file descriptor that the shell holds until the effects of this input are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamHandle(pub u64);

/// SHA-256 of the code, computed by the shell over the sealed memfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The kernel killed it, because it wanted more memory than it may have.
    OutOfMemory,
    /// The wait failed; it is gone all the same.
    Unknown,
    /// Not at all, long after SIGKILL: nothing more comes of it, and what it holds of the machine is
    /// nobody else's until it has ended.
    Unkillable,
}

/// How short memory is somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Microseconds that somebody waited for it, since the machine started.
    pub stalled_us: u64,
    /// Percent of it that could be had; `None` if that cannot be seen.
    pub free_percent: Option<u64>,
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message frame from a worker or an application. Its shape was checked
    /// (`FrameRef::parse`); everything else is for the core. The core patches it in place and may
    /// say [`crate::Effect::Forward`] for it.
    Frame {
        /// Where it came in.
        link: LinkId,
        /// The whole frame.
        frame: &'a mut [u8],
    },
    /// The receiver took frames: written to the application's socket, or acknowledged by the worker.
    Disposed {
        /// Whose.
        link: LinkId,
        /// How many.
        frames: u32,
        /// Their size.
        bytes: u64,
    },
    /// An application said hello. Answered by `Welcome` or `Reject`.
    AppJoined {
        /// Its connection.
        link: LinkId,
        /// What it calls itself.
        name: String,
        /// Checked by peer credentials.
        uid: u32,
        /// What it claims.
        addresses: Vec<String>,
    },
    /// An application's connection ended.
    AppLeft {
        /// Its connection.
        link: LinkId,
        /// Frames that were not written.
        unsent: Vec<Frame>,
    },
    /// A line or frame was refused at the edge, before it was a message; only counted and shown.
    EdgeRefused {
        /// Where.
        link: LinkId,
        /// Why.
        reason: protocol::reason::Reason,
    },
    /// The spawner made the process; its link exists.
    Spawned {
        /// As in the effect.
        sandbox: SandboxId,
        /// Its link.
        link: LinkId,
        /// Host pid.
        pid: i32,
        /// Whether it has namespaces of its own.
        namespaces: bool,
    },
    /// The spawner could not make it.
    SpawnFailed {
        /// As in the effect.
        sandbox: SandboxId,
        /// How.
        text: String,
    },
    /// The worker says its jail is closed.
    Confined {
        /// Whose.
        sandbox: SandboxId,
        /// What it says.
        report: ConfinedReport,
    },
    /// The check from outside ended.
    Verified {
        /// Whose.
        sandbox: SandboxId,
        /// Facts seen, or the first that is wrong.
        outcome: Result<Vec<String>, String>,
    },
    /// Whether a cgroup holds it: said once of each worker, before or after [`Input::Verified`].
    Limited {
        /// Whose.
        sandbox: SandboxId,
        /// Layers in force (`cgroup-memory`, `cgroup-pids` …), or why there are none.
        outcome: Result<Vec<String>, String>,
    },
    /// The worker said Hello: its engine is ready.
    Ready {
        /// Whose.
        sandbox: SandboxId,
    },
    /// Any other control message. `Confined` never comes this way.
    Ctl {
        /// Whose.
        sandbox: SandboxId,
        /// What.
        up: CtlUp,
        /// The descriptor that came with `NetResult`.
        stream: Option<StreamHandle>,
        /// The memfd that came with `Source`, checked (seals, size) and hashed.
        code: Option<(CodeHandle, Digest)>,
    },
    /// The answer to [`crate::Effect::OpenFile`].
    Opened {
        /// Whose.
        sandbox: SandboxId,
        /// As asked.
        req: u32,
        /// The file, or why not.
        outcome: Result<StreamHandle, (ConnectError, String)>,
    },
    /// The worker broke the link: frame, sequence, credit, undeclared descriptor. It will be killed.
    Violation {
        /// Whose.
        sandbox: SandboxId,
        /// What.
        text: String,
    },
    /// The worker speaks another version of the link. It will be killed, and another one of the
    /// same build would be no better.
    Incompatible {
        /// Whose.
        sandbox: SandboxId,
        /// Both versions.
        text: String,
    },
    /// The worker answered the last heartbeat, or missed its time.
    Heartbeat {
        /// Whose.
        sandbox: SandboxId,
        /// Whether it answered.
        answered: bool,
    },
    /// The process is gone, its link read to the end and closed.
    Exited {
        /// Whose.
        sandbox: SandboxId,
        /// How.
        exit: Exit,
        /// Frames that were never handed over.
        unsent: Vec<Frame>,
    },
    /// An operator asks.
    Operator {
        /// Names the request in replies.
        token: Token,
        /// What.
        command: Command,
        /// Resident bytes per live sandbox, read by the shell for `ps`, and of the daemon (id 0).
        rss: Vec<(SandboxId, u64)>,
    },
    /// The operator's connection ended.
    OperatorGone {
        /// Which request.
        token: Token,
    },
    /// The configuration was read again. Who the runtime is stays as it was.
    Configured {
        /// What holds from now on.
        settings: Box<Settings>,
    },
    /// What was kept, before anything else happens.
    Restored(Vec<Record>),
    /// The store works again, or why it does not; nothing is lost while the daemon lives.
    StoreState {
        /// `None`: it works.
        trouble: Option<String>,
    },
    /// Somebody set the wall clock: what is stamped from now on shows it, and nothing else changes.
    Clock {
        /// Milliseconds since the epoch at `Time(0)`, by the clock as it is now.
        epoch_ms: u64,
    },
    /// How memory is, of the whole machine and of our own cgroup, as far as it can be seen. Said
    /// about once a second.
    Memory([Option<Memory>; 2]),
    /// The time that [`crate::Core::next_deadline`] asked for has come.
    Tick,
    /// SIGTERM: refuse deploys, answer what is parked and pending, remove the components.
    Stop,
}
