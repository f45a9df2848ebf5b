//! The reference of the routing rows: a relay that does nothing but read, look up and write, with
//! plain epoll on one thread. No checks, no answers, no bounds: what is left is the limit.
//!
//! ```text
//! u32 length of the rest | u16 length of `to` | to | payload          (little-endian)
//! ```
//!
//! A `to` of length 0xFFFF registers the newline-separated addresses in the payload.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

/// Length of `to` in a registration.
const REGISTER: u16 = 0xFFFF;
/// Bytes of the read buffer that all connections share.
const BUFFER_BYTES: usize = 512 * 1_024;
/// Mark of the listener among the events.
const LISTENER: u64 = u64::MAX;

/// Appends a frame.
pub(crate) fn frame(to: &str, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(2 + to.len() + payload.len()).expect("a small frame");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&u16::try_from(to.len()).expect("a short address").to_le_bytes());
    out.extend_from_slice(to.as_bytes());
    out.extend_from_slice(payload);
}

/// The frame that registers an address.
pub(crate) fn registration(address: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&u32::try_from(2 + address.len()).expect("small").to_le_bytes());
    out.extend_from_slice(&REGISTER.to_le_bytes());
    out.extend_from_slice(address.as_bytes());
    out
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    out: Vec<u8>,
    dirty: bool,
    /// Whether it waits for the socket to take more.
    full: bool,
}

#[derive(Debug)]
struct Relay {
    epoll: Epoll,
    connections: Vec<Option<Connection>>,
    routes: HashMap<Box<[u8]>, usize>,
    dirty: Vec<usize>,
    buffer: Vec<u8>,
}

/// Serves this socket until it is killed.
pub(crate) fn run(socket: &Path) -> ExitCode {
    let listener = UnixListener::bind(socket).expect("the socket is free");
    listener.set_nonblocking(true).expect("a socket");
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).expect("epoll");
    let mut relay = Relay {
        epoll,
        connections: Vec::new(),
        routes: HashMap::new(),
        dirty: Vec::new(),
        buffer: vec![0; BUFFER_BYTES],
    };
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = relay.epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..count] {
            if event.data() == LISTENER {
                relay.accept(&listener);
                continue;
            }
            let at = usize::try_from(event.data()).expect("an index");
            if event.events().contains(EpollFlags::EPOLLOUT) {
                relay.mark(at);
            }
            if event.events().intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP) {
                relay.read(at);
            }
        }
        for at in std::mem::take(&mut relay.dirty) {
            relay.flush(at);
        }
    }
}

impl Relay {
    fn accept(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).expect("a socket");
            let at = u64::try_from(self.connections.len()).expect("an index");
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, at)).expect("epoll");
            let (partial, out) = (Vec::new(), Vec::new());
            self.connections.push(Some(Connection {
                stream,
                partial,
                out,
                dirty: false,
                full: false,
            }));
        }
    }

    fn mark(&mut self, at: usize) {
        if let Some(connection) = &mut self.connections[at]
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(at);
        }
    }

    fn read(&mut self, at: usize) {
        let Some(connection) = &mut self.connections[at] else { return };
        let held = connection.partial.len();
        if self.buffer.len() < held + BUFFER_BYTES / 2 {
            self.buffer.resize(held + BUFFER_BYTES / 2, 0);
        }
        self.buffer[..held].copy_from_slice(&connection.partial);
        let read = match connection.stream.read(&mut self.buffer[held..]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(0) | Err(_) => {
                self.connections[at] = None;
                self.routes.retain(|_, route| *route != at);
                return;
            }
            Ok(read) => read,
        };
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..held + read];
        while let Some((whole, after)) = split(rest) {
            self.route(at, whole);
            rest = after;
        }
        if let Some(connection) = &mut self.connections[at] {
            connection.partial.clear();
            connection.partial.extend_from_slice(rest);
        }
        self.buffer = buffer;
    }

    fn route(&mut self, from: usize, whole: &[u8]) {
        let length = u16::from_le_bytes([whole[4], whole[5]]);
        if length == REGISTER {
            for address in whole[6..].split(|byte| *byte == b'\n') {
                self.routes.insert(address.into(), from);
            }
        } else if let Some(at) = self.routes.get(&whole[6..6 + usize::from(length)]).copied()
            && let Some(connection) = &mut self.connections[at]
        {
            connection.out.extend_from_slice(whole);
            self.mark(at);
        }
    }

    fn flush(&mut self, at: usize) {
        let Some(connection) = &mut self.connections[at] else { return };
        connection.dirty = false;
        let mut sent = 0;
        while sent < connection.out.len() {
            match connection.stream.write(&connection.out[sent..]) {
                Ok(written) => sent += written,
                Err(_) => break,
            }
        }
        connection.out.drain(..sent);
        let full = !connection.out.is_empty();
        if full != connection.full {
            connection.full = full;
            let more = if full { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mark = u64::try_from(at).expect("an index");
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | more, mark);
            self.epoll.modify(&connection.stream, &mut event).expect("epoll");
        }
    }
}

/// The first whole frame, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let whole = 4 + usize::try_from(u32::from_le_bytes(length)).ok()?;
    bytes.split_at_checked(whole)
}
