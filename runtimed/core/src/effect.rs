//! What the core tells the shell to do, in order.

use crate::input::{CodeHandle, LinkId, SandboxId, StreamHandle, Token};
use crate::store::Change;
use protocol::control::{EventRow, Reply};
use protocol::ctl::{CtlDown, Role};
use protocol::frame::Frame;
use protocol::reason::Reason;

/// A descriptor that goes with a control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// None.
    None,
    /// The code with this handle (the shell keeps it until `DropCode`).
    Code(CodeHandle),
    /// The stream with this handle; the shell closes its copy.
    Stream(StreamHandle),
}

/// Whether more replies follow on this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyTo {
    /// The last one.
    Last,
    /// A stream goes on.
    More,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Hand the frame of this very `Input::Frame`, as patched, to this link.
    Forward {
        /// To whom.
        link: LinkId,
    },
    /// Hand this frame to this link.
    Send {
        /// To whom.
        link: LinkId,
        /// What.
        frame: Frame,
    },
    /// Hand this one frame to each of these links.
    Publish {
        /// To whom.
        links: Vec<LinkId>,
        /// What.
        frame: Frame,
    },
    /// Tell the application that it is in.
    Welcome {
        /// Which.
        link: LinkId,
        /// Its own address.
        address: String,
        /// Canonical addresses granted.
        addresses: Vec<String>,
    },
    /// Tell the application that it is not, and close.
    Reject {
        /// Which.
        link: LinkId,
        /// Why.
        reason: Reason,
        /// One sentence.
        desc: String,
    },
    /// Cut this application off (slow consumer, stopping).
    CloseApp {
        /// Which.
        link: LinkId,
        /// Why.
        reason: Reason,
    },
    /// Ask the spawner for a process.
    Spawn {
        /// Its number.
        sandbox: SandboxId,
        /// What for.
        role: Role,
        /// For the log.
        name: String,
    },
    /// Check it from outside; answered by `Input::Verified`.
    Verify {
        /// Whose.
        sandbox: SandboxId,
    },
    /// Send a control message.
    Ctl {
        /// To whom.
        sandbox: SandboxId,
        /// What.
        down: CtlDown,
        /// Its descriptor.
        attach: Attach,
    },
    /// Open a regular file beneath the folder of a `file://` catalogue; answered by `Input::Opened`.
    OpenFile {
        /// For whom.
        sandbox: SandboxId,
        /// Names the request.
        req: u32,
        /// The catalogue's folder.
        folder: String,
        /// Relative path.
        path: String,
    },
    /// Forget the code.
    DropCode {
        /// Which.
        code: CodeHandle,
    },
    /// SIGKILL through the pidfd; `Input::Exited` follows.
    Kill {
        /// Whom.
        sandbox: SandboxId,
    },
    /// A signal that the operator asked for.
    Signal {
        /// Whom.
        sandbox: SandboxId,
        /// Number.
        signal: i32,
    },
    /// Send a heartbeat and report the answer as `Input::Heartbeat`.
    Ping {
        /// Whom.
        sandbox: SandboxId,
        /// Milliseconds to wait for the answer.
        within_ms: u64,
    },
    /// Answer an operator.
    Reply {
        /// Which request.
        token: Token,
        /// What (boxed: large).
        reply: Box<Reply>,
        /// Whether more follow.
        to: ReplyTo,
    },
    /// Log this event (the core keeps it, too).
    Event(EventRow),
    /// Log a line of a stub's console.
    Console {
        /// Which component.
        name: String,
        /// 0 error … 3 debug.
        level: u8,
        /// Bounded and escaped.
        text: String,
    },
    /// Keep this for ever (boxed: large). What one input changes is committed together; the core
    /// does not wait for it.
    Persist(Box<Change>),
    /// Everything is stopped; the daemon may end.
    Stopped,
}
