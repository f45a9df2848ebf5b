//! What the RuntimeUA is told of sandboxes, and what it wants of the bus and the shell.

use super::Refusal;
use crate::bus::own::Asking;
use crate::effect::Effect;
use crate::input::{CodeHandle, Digest, Exit, LinkId, SandboxId, StreamHandle};
use crate::p2p::PeerSaid;
use protocol::address::{Address, RouteKey};
use protocol::ctl::{ConfinedReport, ConnectError, CtlUp};

/// What the other half is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum UaOut {
    /// Hand it to the shell.
    Effect(Effect),
    /// The route leads to this link: release what is parked, in order.
    Active {
        /// Which route.
        key: RouteKey,
        /// To where.
        link: LinkId,
        /// Of the component.
        url: Address,
    },
    /// The deploy failed: answer what is parked.
    Failed {
        /// Which route.
        key: RouteKey,
        /// With this.
        refusal: Refusal,
    },
    /// The link is gone. What it took and did not answer is answered 503 `stub-died`; what it never
    /// took waits if it will come `again`, else it is answered with `refusal`.
    Down {
        /// Which route.
        key: RouteKey,
        /// Whose.
        link: LinkId,
        /// Whether the stub is started again.
        again: bool,
        /// Why.
        refusal: Refusal,
    },
    /// Its process has ended, because somebody wanted it to.
    Removed {
        /// Which route.
        key: RouteKey,
        /// Of the component.
        url: Address,
    },
    /// Ask somebody; what comes of it is told to the part that asks.
    Ask(Box<Asking>),
    /// The stub says that it is connected, and was not before.
    Live {
        /// Which route.
        key: RouteKey,
    },
    /// A stub says how far a connection with another runtime is.
    Connection(PeerSaid),
    /// Nobody of this domain who came is here any more.
    DomainLeft {
        /// Which.
        domain: String,
    },
    /// Give a copy of this update to the subscribers of `resource`.
    Publish {
        /// The resource.
        resource: Address,
        /// The publisher.
        from: Address,
        /// JSON text.
        body: String,
    },
}

/// How far the end of a component that is not needed any more has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It has no process.
    Done,
    /// [`UaOut::Removed`] will follow.
    UnderWay,
}

/// What the shell says of sandboxes (see [`crate::Input`]).
#[derive(Debug)]
pub(crate) enum UaInput {
    Spawned {
        sandbox: SandboxId,
        link: LinkId,
        pid: i32,
        namespaces: bool,
    },
    SpawnFailed {
        sandbox: SandboxId,
        text: String,
    },
    Confined {
        sandbox: SandboxId,
        report: ConfinedReport,
    },
    Verified {
        sandbox: SandboxId,
        outcome: Result<Vec<String>, String>,
    },
    Limited {
        sandbox: SandboxId,
        outcome: Result<Vec<String>, String>,
    },
    Ready {
        sandbox: SandboxId,
    },
    Ctl {
        sandbox: SandboxId,
        up: CtlUp,
        stream: Option<StreamHandle>,
        code: Option<(CodeHandle, Digest)>,
    },
    Opened {
        sandbox: SandboxId,
        req: u32,
        outcome: Result<StreamHandle, (ConnectError, String)>,
    },
    Violation {
        sandbox: SandboxId,
        text: String,
    },
    Incompatible {
        sandbox: SandboxId,
        text: String,
    },
    /// It took nothing for too long (the bus says so).
    Exceeded {
        sandbox: SandboxId,
        text: String,
    },
    Heartbeat {
        sandbox: SandboxId,
        answered: bool,
    },
    Exited {
        sandbox: SandboxId,
        exit: Exit,
    },
    Tick,
    Stop,
}
