//! A daemon in miniature: it starts the spawner, has workers born, and holds their links.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use protocol::ctl::{CtlDown, CtlUp, Role, SpawnReply, SpawnRequest};
use protocol::frame::{Frame, FrameBuilder, frames};
use protocol::limits::READ_BUFFER_BYTES;
use protocol::link::{Got, Link, Side, Welcome};
use protocol::sys::{self, Ended};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for any fact.
const WITHIN: Duration = Duration::from_secs(20);
/// A host id for workers of a test that runs as root.
const TEST_UID: u32 = 524_289;

fn wait_for(fd: BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(!left.is_zero(), "nothing came within {WITHIN:?}");
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).unwrap();
}

/// One packet, waited for.
fn packet(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> sys::Received {
    let deadline = Instant::now() + WITHIN;
    loop {
        match sys::recv_packet(fd, buffer) {
            Ok(received) => return received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(fd, deadline),
            Err(error) if sys::is_reset(&error) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The spawner process.
pub struct Spawner {
    process: Child,
    link: OwnedFd,
    next: u32,
}

impl Spawner {
    pub fn start() -> Self {
        let program = env!("CARGO_BIN_EXE_sandbox-worker");
        let mut bytes = Vec::new();
        File::open(program).unwrap().read_to_end(&mut bytes).unwrap();
        let image = sys::sealed_memfd("sandbox-worker", &bytes).unwrap();
        let (link, theirs) = sys::socketpair_seqpacket().unwrap();
        sys::set_cloexec(&theirs, false).unwrap();
        sys::set_cloexec(&image, false).unwrap();
        let process = Command::new(program)
            .args(["--role", "spawner"])
            .args(["--link-fd", &theirs.as_raw_fd().to_string()])
            .args(["--image-fd", &image.as_raw_fd().to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, link, next: 1 }
    }

    /// A worker of `role`, which has said that it is confined and ready, and is welcomed.
    pub fn worker(&mut self, role: Role) -> Worker {
        self.worker_listening(role, None)
    }

    /// Likewise, one that listens there.
    pub fn worker_listening(&mut self, role: Role, listen: Option<String>) -> Worker {
        let sandbox = self.next;
        self.next += 1;
        let (ours, theirs) = sys::socketpair_seqpacket().unwrap();
        let (log, log_end) = UnixStream::pair().unwrap();
        let uid = geteuid().is_root().then_some(TEST_UID + sandbox);
        let (open_files, processes) = (256, 8);
        let request =
            SpawnRequest { sandbox, role, uid, open_files, processes, cgroup: false, listen };
        let bytes = request.encode().unwrap();
        sys::send_packet(self.link.as_fd(), &bytes, &[theirs.as_fd(), log_end.as_fd()]).unwrap();
        drop((theirs, log_end));
        let mut buffer = vec![0; 65_536];
        let mut received = packet(self.link.as_fd(), &mut buffer);
        let reply = SpawnReply::decode(&buffer[..received.len]).unwrap();
        assert!(matches!(reply, SpawnReply::Spawned { .. }), "{reply:?}");
        let pidfd = received.fds.pop().expect("a pidfd");
        let link = Link::new(Side::Daemon);
        let mut worker = Worker { socket: ours, link, inbox: VecDeque::new(), pidfd, log };
        let (confined, _) = worker.ctl();
        assert!(matches!(confined, CtlUp::Confined(_)), "{confined:?}");
        while !matches!(worker.next(), Some((Got::Hello(_), ..))) {}
        worker.link.welcome(Welcome {
            sandbox,
            incarnation: 1,
            ping_ms: 5_000,
            wall_ms: 1,
            epoch: 1,
        });
        worker.flush();
        worker
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // It is this test's own child.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A worker and the daemon's end of its link.
pub struct Worker {
    socket: OwnedFd,
    link: Link,
    inbox: VecDeque<(Got, Frame, Vec<OwnedFd>)>,
    pidfd: OwnedFd,
    log: UnixStream,
}

impl Worker {
    pub fn send(&mut self, ctl: &CtlDown, fds: Vec<OwnedFd>) {
        let frame = FrameBuilder::ctl(&ctl.encode().unwrap()).build().unwrap();
        self.link.out.push_ctl(&frame, fds);
        self.flush();
    }

    fn flush(&mut self) {
        self.link.acknowledge(true);
        while let Some(packet) = self.link.out.next_packet() {
            let fds: Vec<_> = packet.fds.iter().map(|fd| fd.as_fd()).collect();
            match sys::send_packet(self.socket.as_fd(), &packet.bytes, &fds) {
                Err(error) if sys::is_reset(&error) => {}
                result => result.unwrap(),
            }
        }
    }

    fn next(&mut self) -> Option<(Got, Frame, Vec<OwnedFd>)> {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        while self.inbox.is_empty() {
            let received = packet(self.socket.as_fd(), &mut buffer);
            if received.len == 0 {
                return None;
            }
            let mut fds = received.fds;
            for frame in frames(&buffer[..received.len]) {
                let frame = frame.unwrap();
                let got = self.link.receive(&frame).unwrap();
                self.inbox.push_back((got, frame.to_owned(), std::mem::take(&mut fds)));
            }
        }
        self.inbox.pop_front()
    }

    /// The next control message.
    pub fn ctl(&mut self) -> (CtlUp, Vec<OwnedFd>) {
        loop {
            match self.next() {
                Some((Got::Ctl, frame, fds)) => {
                    self.flush();
                    return (CtlUp::decode(frame.view().unwrap().body()).unwrap(), fds);
                }
                Some(_) => {}
                None => panic!("the worker ended: {}", self.last_words()),
            }
        }
    }

    /// Sends a message to the component.
    pub fn post(&mut self, frame: &Frame) {
        self.link.out.push(frame.bytes());
        self.flush();
    }

    /// The next message of the component.
    pub fn message(&mut self) -> Frame {
        loop {
            match self.next() {
                Some((Got::Msg, frame, _)) => {
                    self.link.incoming.disposed(frame.bytes().len());
                    return frame;
                }
                Some(_) => {}
                None => panic!("the worker ended: {}", self.last_words()),
            }
        }
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        self.log.set_read_timeout(Some(WITHIN)).unwrap();
        self.log.read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until it has ended, and how.
    pub fn ended(self) -> Ended {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(ended) = sys::reap(self.pidfd.as_fd()).unwrap() {
                return ended;
            }
            wait_for(self.pidfd.as_fd(), deadline);
        }
    }

    /// Closes its link, and waits until it has ended.
    pub fn leave(self) -> Ended {
        let Self { socket, link, inbox, pidfd, log } = self;
        drop(socket);
        let (socket, _far) = sys::socketpair_seqpacket().unwrap();
        Self { socket, link, inbox, pidfd, log }.ended()
    }
}
