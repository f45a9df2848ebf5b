//! Control messages between the daemon and its workers, one enum per direction, and the packets
//! between daemon and spawner.
//!
//! Variants are appended, never changed in place. Descriptors travel beside the packet, in the
//! order that a variant names them.

mod fetch;
mod peers;

pub use fetch::{FetchError, FetchJob, Shelf};
pub use peers::PeerIdentity;

use crate::codec::{CodecError, decode_exact, encode};
use crate::descriptor::Descriptor;
use crate::limits::{CTL_BYTES_MAX, CTL_CLAIM_BYTES_MAX, SPAWN_BYTES_MAX};
use bincode::{Decode, Encode};

/// What a worker process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Role {
    /// Starts the others.
    Spawner,
    /// Resolves, checks and connects for sandboxes, and relays their bytes.
    Net,
    /// Downloads and takes apart one catalogue entry, then ends.
    Fetch,
    /// Runs foreign code.
    Stub,
}

impl Role {
    /// The word of the command line and of `ps --all`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spawner => "spawner",
            Self::Net => "net",
            Self::Fetch => "fetch",
            Self::Stub => "stub",
        }
    }
}

/// How far a sandbox is closed (CONTRACT §7); ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Level {
    /// Nothing is in force.
    None,
    /// No capabilities, `no_new_privs`, rlimits, seccomp.
    Filtered,
    /// And user, mount, pid, net, ipc, uts namespaces and a private root.
    Namespaces,
    /// And its own host uid, cgroup memory and pids, Landlock.
    Full,
}

impl Level {
    /// The word of the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Filtered => "filtered",
            Self::Namespaces => "namespaces",
            Self::Full => "full",
        }
    }

    /// The level with this word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Filtered, Self::Namespaces, Self::Full]
            .into_iter()
            .find(|level| level.name() == name)
    }
}

/// What a worker says of its own confinement, before any foreign byte.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConfinedReport {
    /// The level it believes to have reached.
    pub level: Level,
    /// Names of the layers in force.
    pub layers: Vec<String>,
    /// Layers that are missing, each with the reason.
    pub missing: Vec<String>,
    /// What came of attacking itself.
    pub proof: ProofReport,
}

/// What came of a worker's attacks on itself, after its jail was closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct ProofReport {
    /// Attacks made.
    pub probes: u32,
    /// Attacks refused.
    pub denied: u32,
    /// Microseconds that all of them took.
    pub took_us: u32,
    /// Those that got through, each with what happened.
    pub failures: Vec<String>,
}

/// Daemon to spawner. Descriptors: link end of the worker, log pipe, and with `cgroup` the
/// directory of the cgroup (version 2) that the process is born into.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SpawnRequest {
    /// Never reused while the daemon lives.
    pub sandbox: u32,
    /// What the process is for.
    pub role: Role,
    /// Host uid and gid that the inside uid 0 is mapped to; `None` is the daemon's own.
    pub uid: Option<u32>,
    /// `RLIMIT_NOFILE`.
    pub open_files: u32,
    /// `RLIMIT_NPROC` of a host uid of its own.
    pub processes: u32,
    /// Whether it is born into a cgroup of its own. Where the kernel refuses that, it is born
    /// outside; the daemon looks.
    pub cgroup: bool,
    /// Net role: where it listens for peers, `address:port`. Bound before its jail closes, in which
    /// nothing can be bound.
    pub listen: Option<String>,
}

/// Spawner to daemon. Descriptor: pidfd; on failure, too, if the process was born (it is the
/// daemon's child, and the daemon's to reap).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SpawnReply {
    /// The process exists and has executed the worker.
    Spawned {
        /// As asked.
        sandbox: u32,
        /// Host pid.
        pid: i32,
        /// Whether its namespaces could be made.
        namespaces: bool,
    },
    /// It does not exist.
    Failed {
        /// As asked.
        sandbox: u32,
        /// Which step failed, and how.
        text: String,
    },
}

/// Where a sandbox wants a stream to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Target {
    /// A TCP connection, relayed by the net role.
    Tcp {
        /// Host name or address literal, lower case, as granted.
        host: String,
        /// Port.
        port: u16,
    },
    /// A regular file of the `file://` catalogue that the fetch job is about.
    File {
        /// Path below the catalogue's folder; relative, no `..`.
        path: String,
    },
}

/// Why a stream was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ConnectError {
    /// No grant for this target.
    NotGranted,
    /// The name leads to an address that is never connected to.
    AddressDenied,
    /// The name does not resolve.
    NotResolved,
    /// Refused, reset or unreachable.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The file is not there.
    NotFound,
    /// Too many connections or attempts.
    Exhausted,
}

/// Which host API a stub sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum HostProfile {
    /// As a worker of a browser: `self`, no `window`.
    Worker,
    /// With inert `window`, `document`, `localStorage`.
    Window,
}

/// What runs the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum EngineKind {
    /// `QuickJS`.
    Js,
    /// Swaps `from` and `to` of each message without an engine; benchmarks only.
    Echo,
}

/// Puts a component into a sandbox. Descriptor: sealed memfd of its code (none for `Echo`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Assign {
    /// Address of the component (`url` of `activate`).
    pub component: String,
    /// Address of the runtime.
    pub runtime_url: String,
    /// Merged configuration, a JSON object as text.
    pub config: String,
    /// Which host API it sees.
    pub profile: HostProfile,
    /// What runs it.
    pub engine: EngineKind,
    /// Trust roots in PEM besides the bundled ones; empty for none.
    pub ca_pem: String,
    /// Bytes that the engine's heap may hold.
    pub memory_bytes: u64,
    /// Milliseconds that one turn of the engine may take.
    pub turn_ms: u32,
    /// `host:port` that connections are granted to (for an early and clear refusal inside).
    pub grants: Vec<String>,
}

/// Worker to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CtlUp {
    /// The jail is closed; said before the engine exists and before any foreign byte.
    Confined(ConfinedReport),
    /// The code is loaded.
    Loaded,
    /// The code is activated.
    Activated {
        /// What it calls itself.
        name: String,
    },
    /// It did not load or activate.
    DeployFailed {
        /// `load` or `activate`.
        stage: String,
        /// What the engine said, bounded.
        text: String,
    },
    /// The component is removed; the worker ends.
    Removed,
    /// A stream is wanted.
    Connect {
        /// Number of the request, chosen by the worker.
        req: u32,
        /// Where to.
        target: Target,
    },
    /// The stream with this number is closed.
    Closed {
        /// As in `Connect`.
        req: u32,
    },
    /// A line of the stub's console or of the worker itself.
    Log {
        /// 0 error, 1 warn, 2 info, 3 debug.
        level: u8,
        /// Bounded and escaped.
        text: String,
    },
    /// A fetch worker has the descriptor.
    Fetched {
        /// Where the last hop ended: an origin such as `https://example.com`, or `file://`.
        origin: String,
        /// The descriptor.
        descriptor: Box<Descriptor>,
    },
    /// A fetch worker has the code. Descriptor: sealed memfd.
    Source {
        /// Where the last hop of the code ended.
        origin: String,
        /// Bytes.
        size: u64,
    },
    /// The fetch failed.
    FetchFailed {
        /// How.
        error: FetchError,
        /// One sentence.
        text: String,
    },
    /// Net role: the answer to `NetConnect`. Descriptor on success: stream socket.
    NetResult {
        /// As asked.
        req: u64,
        /// How it failed, if it did, and one sentence.
        error: Option<(ConnectError, String)>,
    },
    /// Net role: somebody connected to where it listens. Descriptor: stream socket.
    Incoming {
        /// From where, for the log.
        from: String,
    },
    /// Net role: whether it listens, and how many it turned away since it last said.
    Listening {
        /// Why it does not.
        error: Option<String>,
        /// Connections that were closed at once: too many, or too fast.
        turned_away: u64,
    },
    /// A connection that came in is of a runtime of this domain: its certificate says so.
    Peer {
        /// As in `Incoming`.
        conn: u32,
        /// Domain.
        domain: String,
    },
    /// A connection that came in has ended.
    Left {
        /// As in `Incoming`.
        conn: u32,
        /// Why, if not in order: what the peer did wrong.
        refused: Option<String>,
    },
}

/// Daemon to worker.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CtlDown {
    /// Puts the component in. Descriptor: code.
    Assign(Box<Assign>),
    /// Takes it out; the worker ends within the grace.
    Remove {
        /// Milliseconds.
        grace_ms: u32,
    },
    /// The stream that was wanted. Descriptor: stream socket, or file.
    Connected {
        /// As asked.
        req: u32,
    },
    /// It is not given.
    ConnectRefused {
        /// As asked.
        req: u32,
        /// Why.
        error: ConnectError,
        /// One sentence.
        text: String,
    },
    /// Fetch role: get this descriptor.
    Fetch(Box<FetchJob>),
    /// Fetch role: the descriptor is accepted, get its code.
    FetchSource,
    /// Net role: connect for a sandbox.
    NetConnect {
        /// Number chosen by the daemon.
        req: u64,
        /// For whom; all its relays end with it.
        sandbox: u32,
        /// Host name or address literal that is really looked up.
        host: String,
        /// Port.
        port: u16,
        /// Whether exactly this target may be a non-public address.
        private: bool,
        /// Milliseconds.
        budget_ms: u32,
    },
    /// Net role: the sandbox is gone, close its relays.
    NetForget {
        /// Whose.
        sandbox: u32,
    },
    /// Net role: who connects from now on is for this sandbox, until it is forgotten.
    NetListen {
        /// Whose.
        sandbox: u32,
    },
    /// Stub role, before its assignment: whose its connections are.
    Identity(Box<PeerIdentity>),
    /// Stub role: somebody connected. Descriptor: stream socket.
    Incoming {
        /// Number of the connection, chosen by the daemon.
        conn: u32,
        /// From where, for the log.
        from: String,
    },
}

macro_rules! coded {
    ($($type:ty, $max:ident;)+) => {$(
        impl $type {
            /// Encodes it.
            ///
            /// # Errors
            /// It is over its bound.
            pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
                encode::<$max, _>(self)
            }

            /// Decodes exactly one.
            ///
            /// # Errors
            /// Too long, not decodable, or bytes left over.
            pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
                decode_exact::<$max, CTL_CLAIM_BYTES_MAX, _>(bytes)
            }
        }
    )+};
}

coded! {
    CtlUp, CTL_BYTES_MAX;
    CtlDown, CTL_BYTES_MAX;
    SpawnRequest, SPAWN_BYTES_MAX;
    SpawnReply, SPAWN_BYTES_MAX;
}

#[cfg(test)]
mod tests {
    use super::{CtlDown, CtlUp, Role, SpawnRequest};
    use proptest::prelude::*;

    #[test]
    fn a_spawn_request_is_these_bytes() {
        let request = SpawnRequest {
            sandbox: 7,
            role: Role::Stub,
            uid: None,
            open_files: 128,
            processes: 8,
            cgroup: true,
            listen: None,
        };
        let bytes = request.encode().unwrap();
        assert_eq!(bytes, [7, 3, 0, 128, 8, 1, 0]);
        assert_eq!(SpawnRequest::decode(&bytes).unwrap(), request);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(up) = CtlUp::decode(&bytes) {
                let _again = CtlUp::decode(&up.encode().unwrap()).unwrap();
            }
            if let Ok(down) = CtlDown::decode(&bytes) {
                let _again = CtlDown::decode(&down.encode().unwrap()).unwrap();
            }
        }
    }
}
