//! An operator's connection without the command line in between, so that its times mean something.

use protocol::control::{CONTROL_VERSION, Command, EventRow, PsRow, Reply, Request};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use system_tests::wait_for;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request and its replies.
#[derive(Debug)]
pub(crate) struct Asked {
    stream: UnixStream,
}

impl Asked {
    /// Asks the daemon with this root.
    pub(crate) fn new(root: &Path, command: Command) -> Self {
        let mut stream = UnixStream::connect(root.join("run/control.sock")).expect("a daemon");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let request = Request { version: CONTROL_VERSION, command };
        stream.write_all(&request.encode().expect("a small request")).expect("the daemon reads");
        Self { stream }
    }

    /// The next reply.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("a reply in time");
        let length = usize::try_from(u32::from_le_bytes(length)).expect("a length");
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("a whole reply");
        Reply::decode(&bytes).expect("a reply")
    }

    /// The next event of a stream; `None` at its end.
    pub(crate) fn event(&mut self) -> Option<EventRow> {
        match self.reply() {
            Reply::Event(row) => Some(*row),
            Reply::Done => None,
            other => panic!("no event: {other:?}"),
        }
    }
}

/// The rows of `ps`.
pub(crate) fn rows(root: &Path) -> Vec<PsRow> {
    match Asked::new(root, Command::Ps { all: false }).reply() {
        Reply::Ps(rows) => rows,
        other => panic!("no rows: {other:?}"),
    }
}

/// The row with this name, if it is there.
pub(crate) fn row(root: &Path, name: &str) -> Option<PsRow> {
    rows(root).into_iter().find(|row| row.name == name)
}

/// Deploys and waits until it is active.
pub(crate) fn deploy(root: &Path, domain: &str) -> PsRow {
    let command = Command::Deploy { target: domain.to_owned(), wait: true, live: false };
    match Asked::new(root, command).reply() {
        Reply::Deployed(row) => *row,
        other => panic!("{domain} was not deployed: {other:?}"),
    }
}

/// Undeploys and waits until nothing is left of it.
pub(crate) fn undeploy(root: &Path, domain: &str) {
    let reply = Asked::new(root, Command::Undeploy { name: domain.to_owned() }).reply();
    assert_eq!(reply, Reply::Done);
    wait_for("the component is gone", || row(root, domain).is_none().then_some(()));
}

/// The events from now on.
pub(crate) fn follow(root: &Path) -> Asked {
    let mut kept = Asked::new(root, Command::Events { follow: false });
    let mut last = 0;
    while let Some(row) = kept.event() {
        last = row.seq;
    }
    let mut stream = Asked::new(root, Command::Events { follow: true });
    while last > 0 && stream.event().expect("the stream goes on").seq < last {}
    stream
}
