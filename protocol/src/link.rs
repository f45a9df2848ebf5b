//! The link: the same state machine at both ends of a worker's socket, without I/O.
//!
//! ```text
//!  worker                                   daemon
//!  New ── Ctl(Confined) ──────────────────▶ New        jail closed, engine not yet built
//!      ── Hello ──────────────────────────▶ Hello      engine ready
//!  Open ◀──────────────────────── Welcome ─ Open       the check from outside passed
//!      ◀─ Msg, Ctl, Ack, Ping, Pong ──────▶
//!      ── Bye ────────────────────────────▶ Closing    ended in order
//! ```
//!
//! `Msg` and `Ctl` frames are numbered from 1 in each direction. A sender may be `WINDOW_FRAMES`
//! and `WINDOW_BYTES` ahead of what the receiver disposed of, control messages a little further,
//! so that data never holds them up. Whatever breaks these rules is a breach: never repaired,
//! never answered, the worker is killed.

mod hello;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

pub use hello::{Hello, HelloError, Welcome};
pub use incoming::Incoming;
pub use outgoing::{Outgoing, Packet};

use crate::frame::{FrameRef, Header, Kind, flags};
use crate::limits::FRAME_BYTES_MAX;

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `runtimed`.
    Daemon,
    /// A worker.
    Worker,
}

/// How far the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Only control messages.
    New,
    /// The worker said hello, the daemon has not welcomed it.
    Hello,
    /// Everything.
    Open,
    /// `Bye` was said; nothing follows.
    Closing,
}

/// A breach of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A number was left out or repeated.
    #[error("frame {got} came where {expected} was due")]
    Sequence {
        /// The number due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The sender is further ahead than it may be.
    #[error("peer sent more than it may")]
    Credit,
    /// A frame that this end never gets in this state.
    #[error("a {0:?} frame came in state {1:?}")]
    Unexpected(Kind, State),
    /// Larger than a packet may be.
    #[error("frame is larger than a packet")]
    Size,
    /// A worker wrote what only the daemon may.
    #[error("worker wrote a field that is the daemon's")]
    DaemonField,
    /// An acknowledgement of what was never sent, or one that takes credit back.
    #[error("acknowledgement is impossible")]
    Ack,
    /// Hello or welcome with a wrong layout.
    #[error(transparent)]
    Hello(#[from] HelloError),
}

/// What the peer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Message frames.
    pub frames: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// What a received frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// The worker's engine is ready.
    Hello(Hello),
    /// The daemon accepts.
    Welcome(Welcome),
    /// A message of the bus; say [`Incoming::disposed`] when it is dealt with.
    Msg,
    /// A control message; already counted as disposed of.
    Ctl,
    /// The peer took messages.
    Ack(Settled),
    /// Echo the body in a `Pong`.
    Ping,
    /// The answer to a `Ping`.
    Pong,
    /// The peer ended in order.
    Bye,
}

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    side: Side,
    state: State,
    /// What goes out.
    pub out: Outgoing,
    /// What comes in.
    pub incoming: Incoming,
}

impl Link {
    /// A new link.
    pub fn new(side: Side) -> Self {
        Self { side, state: State::New, out: Outgoing::new(), incoming: Incoming::new() }
    }

    /// How far it is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Says hello (worker).
    pub fn hello(&mut self, hello: Hello) {
        self.state = State::Hello;
        self.out.push_plain(Kind::Hello, &hello.to_bytes());
    }

    /// Accepts the worker (daemon).
    pub fn welcome(&mut self, welcome: Welcome) {
        self.state = State::Open;
        self.out.push_plain(Kind::Welcome, &welcome.to_bytes());
    }

    /// Ends in order.
    pub fn bye(&mut self) {
        self.state = State::Closing;
        self.out.push_plain(Kind::Bye, &[]);
    }

    /// Takes one frame that was received.
    ///
    /// # Errors
    /// A breach; the link is over.
    pub fn receive(&mut self, frame: &FrameRef<'_>) -> Result<Got, LinkError> {
        self.receive_parts(&frame.header, frame.body())
    }

    /// As [`Self::receive`], of a frame whose texts somebody else looks at.
    ///
    /// # Errors
    /// A breach; the link is over.
    pub fn receive_parts(&mut self, header: &Header, body: &[u8]) -> Result<Got, LinkError> {
        if self.side == Side::Daemon
            && (header.flags & flags::DAEMON_ONLY != 0 || header.origin != 0 || header.oseq != 0)
        {
            return Err(LinkError::DaemonField);
        }
        if self.side == Side::Daemon && header.len > FRAME_BYTES_MAX {
            return Err(LinkError::Size);
        }
        let unexpected = LinkError::Unexpected(header.kind, self.state);
        match (header.kind, self.side, self.state) {
            (Kind::Hello, Side::Daemon, State::New) => {
                self.state = State::Hello;
                Ok(Got::Hello(Hello::from_bytes(body)?))
            }
            (Kind::Welcome, Side::Worker, State::Hello) => {
                self.state = State::Open;
                Ok(Got::Welcome(Welcome::from_bytes(body)?))
            }
            (Kind::Msg, _, State::Open) => {
                self.incoming.accept(header)?;
                Ok(Got::Msg)
            }
            (Kind::Ctl, _, State::New | State::Hello | State::Open) => {
                self.incoming.accept(header)?;
                self.incoming.disposed(header.len);
                Ok(Got::Ctl)
            }
            (Kind::Ack, _, State::New | State::Hello | State::Open) => {
                Ok(Got::Ack(self.out.acknowledged(body)?))
            }
            (Kind::Ping, Side::Worker, State::Open | State::Hello | State::Closing) => {
                Ok(Got::Ping)
            }
            (Kind::Pong, Side::Daemon, State::Open | State::Hello | State::Closing) => {
                Ok(Got::Pong)
            }
            (Kind::Bye, _, State::Open | State::Hello | State::New) => {
                self.state = State::Closing;
                Ok(Got::Bye)
            }
            // What was under way when this end said bye is read, and means nothing any more.
            (Kind::Msg | Kind::Ctl, _, State::Closing) => {
                self.incoming.accept(header)?;
                Ok(if header.kind == Kind::Msg { Got::Msg } else { Got::Ctl })
            }
            (Kind::Ack, _, State::Closing) => Ok(Got::Ack(self.out.acknowledged(body)?)),
            _ => Err(unexpected),
        }
    }

    /// Queues an acknowledgement if one is owed: at half of the window, or with `late` (the delay
    /// has passed), or with anything that leaves anyway once enough is owed.
    pub fn acknowledge(&mut self, late: bool) {
        if let Some(body) = self.incoming.ack(late, self.out.has_packet()) {
            self.out.push_plain(Kind::Ack, &body);
        }
    }
}
