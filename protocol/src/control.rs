//! The control API on `run/control.sock`: length-prefixed (`u32`, little-endian) bincode, one
//! request a connection, one or many replies. `runtimectl` is its only client in this repository.

use crate::codec::{CodecError, decode_exact, encode};
use crate::ctl::ProofReport;
use crate::limits::{CONTROL_BYTES_MAX, CONTROL_CLAIM_BYTES_MAX};
use crate::reason::Reason;
use bincode::{Decode, Encode};

/// Version of this API; the first member of every request.
pub const CONTROL_VERSION: u16 = 1;

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// How the daemon is.
    Status,
    /// The components; with `all` the undeployed ones and the roles, too.
    Ps {
        /// Everything.
        all: bool,
    },
    /// Everything about one component, named as in `ps`.
    Inspect {
        /// Route key or sandbox id.
        name: String,
    },
    /// Deploys the stub for a domain or an address.
    Deploy {
        /// `example.com` or `slack://x@slack.com`.
        target: String,
        /// Answer when it is active (or failed), not at once.
        wait: bool,
        /// Answer when its status is `live`.
        live: bool,
    },
    /// Removes it.
    Undeploy {
        /// As in `ps`.
        name: String,
    },
    /// Stops and starts it, ends a quarantine.
    Restart {
        /// As in `ps`.
        name: String,
    },
    /// Sends a signal to its process.
    Kill {
        /// As in `ps`.
        name: String,
        /// Number of the signal.
        signal: i32,
    },
    /// Sends a message as `<runtime>/ctl/<n>`; with `wait` its final response is the reply.
    Send {
        /// Receiver.
        to: String,
        /// Type.
        kind: String,
        /// JSON text; empty for none.
        body: String,
        /// Milliseconds, 0 for the default.
        timeout_ms: u64,
        /// Whether a response is expected.
        wait: bool,
    },
    /// Explains where a message would go.
    Resolve {
        /// Receiver.
        address: String,
    },
    /// Streams what passes the bus.
    Monitor {
        /// With bodies (needs the right to operate).
        bodies: bool,
    },
    /// The log lines of a component; with `follow` also those to come.
    Logs {
        /// As in `ps`.
        name: String,
        /// Go on.
        follow: bool,
    },
    /// The events kept; with `follow` also those to come.
    Events {
        /// Go on.
        follow: bool,
    },
    /// How one sandbox is closed, and what came of attacking it.
    Sandbox {
        /// Its number, a component as in `ps`, or a role.
        name: String,
    },
}

impl Command {
    /// Whether it changes something, so that reading rights are not enough.
    pub const fn is_operation(&self) -> bool {
        match self {
            Self::Deploy { .. }
            | Self::Undeploy { .. }
            | Self::Restart { .. }
            | Self::Kill { .. }
            | Self::Send { .. } => true,
            Self::Monitor { bodies } => *bodies,
            Self::Status
            | Self::Ps { .. }
            | Self::Inspect { .. }
            | Self::Resolve { .. }
            | Self::Logs { .. }
            | Self::Events { .. }
            | Self::Sandbox { .. } => false,
        }
    }
}

/// A request with the version it speaks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// [`CONTROL_VERSION`].
    pub version: u16,
    /// What is asked.
    pub command: Command,
}

/// Why a request was not carried out; maps to an exit status of `runtimectl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Denial {
    /// It failed.
    Failed,
    /// The request makes no sense.
    Usage,
    /// The component is not active.
    NotActive,
    /// No such thing.
    NotFound,
    /// Not allowed.
    Denied,
    /// The limit passed.
    Timeout,
}

/// How the daemon is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct StatusReply {
    /// Address of the runtime.
    pub runtime: String,
    /// Home domain.
    pub domain: String,
    /// Version of the program.
    pub version: String,
    /// Milliseconds since the daemon started.
    pub uptime_ms: u64,
    /// Pid of the daemon.
    pub pid: u32,
    /// Components by state: word, number.
    pub states: Vec<(String, u32)>,
    /// Applications connected.
    pub apps: u32,
    /// Messages accepted, delivered, refused, expired, queued (conservation).
    pub accepted: u64,
    /// See `accepted`.
    pub delivered: u64,
    /// See `accepted`.
    pub refused: u64,
    /// See `accepted`.
    pub expired: u64,
    /// See `accepted`.
    pub queued: u64,
    /// Responses that nobody waited for.
    pub late: u64,
    /// Lowest level at which foreign code is run.
    pub minimum: String,
    /// Bytes resident.
    pub rss_bytes: u64,
    /// Why what should be kept is only in memory; `None`: it is kept.
    pub store: Option<String>,
}

/// One row of `ps` (CONTRACT §8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct PsRow {
    /// Route key, or the role.
    pub name: String,
    /// Address of the component.
    pub url: String,
    /// protostub, interworking, … or `role`.
    pub kind: String,
    /// `js`, …
    pub engine: String,
    /// Domain served.
    pub domain: String,
    /// Word of CONTRACT §7.
    pub state: String,
    /// What the stub says of itself.
    pub status: String,
    /// Host pid.
    pub pid: Option<i32>,
    /// Since the daemon started.
    pub restarts: u32,
    /// Number of the sandbox.
    pub sandbox_id: Option<u32>,
    /// Level reached.
    pub level: String,
    /// Layers in force.
    pub layers: Vec<String>,
    /// `sha256:…` of the code.
    pub digest: Option<String>,
    /// Where the code came from.
    pub source: Option<String>,
    /// How the code is pinned.
    pub pin: Option<String>,
    /// Milliseconds since the epoch.
    pub started_at_ms: Option<u64>,
    /// Bytes resident.
    pub rss_bytes: Option<u64>,
}

/// Everything about one component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct InspectReply {
    /// As in `ps`.
    pub row: PsRow,
    /// `host:port` granted.
    pub granted: Vec<String>,
    /// What was asked for and not granted, each with the reason.
    pub not_granted: Vec<String>,
    /// What the check from outside found.
    pub proof: Vec<String>,
    /// Layers missing, each with the reason.
    pub missing: Vec<String>,
    /// Last error, if any.
    pub last_error: Option<String>,
    /// Deploy stages with their milliseconds.
    pub stages: Vec<(String, u64)>,
    /// Messages parked for it.
    pub parked: u32,
    /// Milliseconds until a quarantine or a failure ends.
    pub retry_after_ms: Option<u64>,
    /// What came of the sandbox's attacks on itself; without a sandbox, none were made.
    pub attacks: ProofReport,
}

/// How one sandbox is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct SandboxReply {
    /// Its number.
    pub id: u32,
    /// Its address.
    pub address: String,
    /// What the process is for.
    pub role: String,
    /// The component it works for, as in `ps`; empty for none.
    pub name: String,
    /// Host pid.
    pub pid: Option<i32>,
    /// Whether it may be given foreign code, or is.
    pub usable: bool,
    /// Level reached.
    pub level: String,
    /// Lowest level at which foreign code is run.
    pub minimum: String,
    /// Layers in force, as the worker says.
    pub layers: Vec<String>,
    /// Layers missing, each with the reason.
    pub missing: Vec<String>,
    /// Layers that were seen from outside.
    pub seen: Vec<String>,
    /// What came of its attacks on itself.
    pub attacks: ProofReport,
}

/// One step of a routing decision.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ResolveStep {
    /// Which table or rule.
    pub step: String,
    /// What was looked up.
    pub key: String,
    /// Whether it was there.
    pub found: bool,
    /// One sentence.
    pub detail: String,
}

/// Where a message would go, and why.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ResolveReply {
    /// Canonical address.
    pub address: String,
    /// In order.
    pub steps: Vec<ResolveStep>,
    /// deliver, park, deploy or refuse.
    pub decision: String,
    /// If refused.
    pub reason: Option<Reason>,
}

/// Something that happened (CONTRACT §8).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EventRow {
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    /// Counts up from 1.
    pub seq: u64,
    /// Word of the contract.
    pub event: String,
    /// Component, as in `ps`; empty if none.
    pub name: String,
    /// Sandbox, if one.
    pub sandbox: Option<u32>,
    /// Reason token, if one.
    pub reason: Option<String>,
    /// One sentence.
    pub detail: String,
}

/// One message that passed the bus.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MonitorRow {
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    /// `in` or `out`.
    pub dir: String,
    /// Name of the link.
    pub link: String,
    /// Type.
    pub kind: String,
    /// Id.
    pub id: String,
    /// Sender.
    pub from: String,
    /// Receiver.
    pub to: String,
    /// Size of the frame.
    pub bytes: u64,
    /// deliver, park, refuse …, with the reason.
    pub outcome: String,
    /// JSON text, if asked for.
    pub body: Option<String>,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// Done, nothing to say; ends a stream.
    Done,
    /// Not done.
    Denied {
        /// What kind.
        denial: Denial,
        /// Response code, if the cause has one.
        code: Option<u16>,
        /// Reason token, if the cause has one.
        reason: Option<Reason>,
        /// Stage of the deploy, if it was one.
        stage: Option<String>,
        /// What failed, why, and what to do.
        text: String,
    },
    /// To `Status`.
    Status(Box<StatusReply>),
    /// To `Ps`.
    Ps(Vec<PsRow>),
    /// To `Inspect`.
    Inspect(Box<InspectReply>),
    /// To `Deploy`: the row as it stands.
    Deployed(Box<PsRow>),
    /// To `Send`: the response (code and body as JSON text).
    Response {
        /// Response code.
        code: u16,
        /// Who answered.
        from: String,
        /// JSON text.
        body: String,
    },
    /// To `Resolve`.
    Resolve(Box<ResolveReply>),
    /// Part of a stream.
    Monitor(Box<MonitorRow>),
    /// Part of a stream.
    Event(Box<EventRow>),
    /// Part of a stream: time, text.
    Log {
        /// Milliseconds since the epoch.
        time_ms: u64,
        /// Bounded and escaped.
        text: String,
    },
    /// To `Sandbox`.
    Sandbox(Box<SandboxReply>),
}

impl Request {
    /// Encodes it with its length in front.
    ///
    /// # Errors
    /// It is over its bound.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        prefixed(&encode::<CONTROL_BYTES_MAX, _>(self)?)
    }

    /// Decodes exactly one (without the length).
    ///
    /// # Errors
    /// Too long, not decodable, or bytes left over.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode_exact::<CONTROL_BYTES_MAX, CONTROL_CLAIM_BYTES_MAX, _>(bytes)
    }
}

impl Reply {
    /// Encodes it with its length in front.
    ///
    /// # Errors
    /// It is over its bound.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        prefixed(&encode::<CONTROL_BYTES_MAX, _>(self)?)
    }

    /// Decodes exactly one (without the length).
    ///
    /// # Errors
    /// Too long, not decodable, or bytes left over.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode_exact::<CONTROL_BYTES_MAX, CONTROL_CLAIM_BYTES_MAX, _>(bytes)
    }
}

fn prefixed(body: &[u8]) -> Result<Vec<u8>, CodecError> {
    let len =
        u32::try_from(body.len()).map_err(|_e| CodecError::TooLarge { max: CONTROL_BYTES_MAX })?;
    let mut out = Vec::with_capacity(body.len().saturating_add(4));
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(body);
    Ok(out)
}
