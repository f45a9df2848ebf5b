//! A port at which nobody is served, and what shows that somebody came.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// A listener on loopback that counts who comes.
#[derive(Debug)]
pub struct Trap {
    listener: TcpListener,
}

impl Trap {
    /// On a free port of 127.0.0.1.
    pub fn set() -> Self {
        Self::at(0)
    }

    /// On this port of 127.0.0.1.
    pub fn at(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        Self { listener }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// Whoever connected since this was last asked. The kernel completes connections by itself, so
    /// that none is missed.
    pub fn visits(&self) -> usize {
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}
