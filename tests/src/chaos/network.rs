//! Faults of the network, on loopback: ports at which connections are refused, taken and never
//! served, or not even answered.

use nix::sys::socket::{Backlog, listen};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A port at which nobody listens: whoever connects is refused.
pub fn refused() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

/// How long the kernel is tried until it answers nobody at a full port any more.
const UNANSWERED: Duration = Duration::from_millis(300);

/// A port at which connections are not answered at all, neither taken nor refused.
#[derive(Debug)]
pub struct BlackHole {
    listener: TcpListener,
    /// What the port is full of.
    _full: Vec<TcpStream>,
}

impl BlackHole {
    /// Opens one: a queue of one place, and somebody in it.
    pub fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listen(&listener, Backlog::new(0).expect("a number")).expect("a shorter queue");
        let addr = listener.local_addr().expect("an address");
        let fill = || TcpStream::connect_timeout(&addr, UNANSWERED).ok();
        Self { _full: std::iter::from_fn(fill).collect(), listener }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }
}
