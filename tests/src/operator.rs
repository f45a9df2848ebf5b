//! An operator without `runtimectl`: the control socket itself, for tests that ask often, count
//! milliseconds or misbehave.

use crate::{Daemon, PATIENCE};
use protocol::control::{CONTROL_VERSION, Command, Reply, Request};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// One request under way.
#[derive(Debug)]
pub struct Operator {
    stream: UnixStream,
}

impl Operator {
    /// Connects and asks; reads nothing yet.
    pub fn ask(daemon: &Daemon, command: Command) -> Self {
        let path = daemon.root().join("run/control.sock");
        let mut stream = UnixStream::connect(path).expect("the control socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = Request { version: CONTROL_VERSION, command };
        stream.write_all(&request.encode().expect("a small request")).expect("the daemon reads");
        Self { stream }
    }

    /// The next reply; `None` when there are no more.
    pub fn reply(&mut self) -> Option<Reply> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).ok()?;
        let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(len)).expect("a length")];
        self.stream.read_exact(&mut bytes).expect("the whole reply");
        Some(Reply::decode(&bytes).expect("a reply"))
    }

    /// Whether the daemon has ended the connection, without reading from it.
    pub fn is_cut(&mut self) -> bool {
        self.stream.write_all(b"?").is_err()
    }
}

/// Asks, and takes all replies.
pub fn asked(daemon: &Daemon, command: Command) -> Vec<Reply> {
    let mut operator = Operator::ask(daemon, command);
    std::iter::from_fn(|| operator.reply()).collect()
}
