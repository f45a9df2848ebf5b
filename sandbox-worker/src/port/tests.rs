//! The worker's end of a link against a daemon's end in the same process.

use super::{Event, Port, PortError, watch};
use protocol::ctl::{ConfinedReport, CtlDown, CtlUp, Level, ProofReport};
use protocol::frame::{Frame, FrameBuilder, Kind, frames};
use protocol::limits::READ_BUFFER_BYTES;
use protocol::link::{Got, Link, Side, Welcome};
use protocol::sys;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A daemon's end that a test plays by hand.
#[derive(Debug)]
pub(crate) struct DaemonEnd {
    socket: AsyncFd<OwnedFd>,
    pub(crate) link: Link,
    inbox: VecDeque<(Got, Frame, Vec<OwnedFd>)>,
}

impl DaemonEnd {
    /// With the socket of the worker's end.
    pub(crate) fn new() -> (Self, OwnedFd) {
        let (daemon, worker) = sys::socketpair_seqpacket().unwrap();
        let socket = watch(daemon, Interest::READABLE).unwrap();
        (Self { socket, link: Link::new(Side::Daemon), inbox: VecDeque::new() }, worker)
    }

    pub(crate) fn send(&mut self, ctl: &CtlDown) {
        self.send_with(ctl, Vec::new());
    }

    pub(crate) fn send_with(&mut self, ctl: &CtlDown, fds: Vec<OwnedFd>) {
        let frame = FrameBuilder::ctl(&ctl.encode().unwrap()).build().unwrap();
        self.link.out.push_ctl(&frame, fds);
        self.flush();
    }

    pub(crate) fn welcome(&mut self) {
        self.link.welcome(Welcome {
            sandbox: 7,
            incarnation: 1,
            ping_ms: 5_000,
            wall_ms: 1,
            epoch: 2,
        });
        self.flush();
    }

    /// Sends what is queued, which must fit.
    pub(crate) fn flush(&mut self) {
        self.link.acknowledge(true);
        while let Some(packet) = self.link.out.next_packet() {
            let fds: Vec<_> = packet.fds.iter().map(|fd| fd.as_fd()).collect();
            match sys::send_packet(self.socket.get_ref().as_fd(), &packet.bytes, &fds) {
                // A worker that has ended needs no acknowledgement.
                Err(error) if sys::is_reset(&error) => {}
                result => result.unwrap(),
            }
        }
    }

    /// The next frame, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(Got, Frame, Vec<OwnedFd>)> {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        while self.inbox.is_empty() {
            let mut guard = self.socket.readable().await.unwrap();
            let got = match guard.try_io(|fd| sys::recv_packet(fd.as_fd(), &mut buffer)) {
                Ok(Ok(got)) => got,
                Ok(Err(error)) if sys::is_reset(&error) => continue,
                Ok(Err(error)) => panic!("{error}"),
                Err(_would_block) => continue,
            };
            if got.len == 0 {
                return None;
            }
            let mut fds = got.fds;
            for frame in frames(&buffer[..got.len]) {
                let frame = frame.unwrap();
                let what = self.link.receive(&frame).unwrap();
                self.inbox.push_back((what, frame.to_owned(), std::mem::take(&mut fds)));
            }
        }
        self.inbox.pop_front()
    }

    /// The next control message; acknowledgements are passed over.
    pub(crate) async fn ctl(&mut self) -> (CtlUp, Vec<OwnedFd>) {
        loop {
            match self.next().await.expect("the link is over") {
                (Got::Ack(_) | Got::Hello(_) | Got::Pong, ..) => {}
                (Got::Ctl, frame, fds) => {
                    self.flush();
                    return (CtlUp::decode(frame.view().unwrap().body()).unwrap(), fds);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn message(body: &[u8]) -> Frame {
    FrameBuilder::msg(2, "1", "hyperty://a.example/x", "hyperty://b.example/y")
        .body(body)
        .build()
        .unwrap()
}

/// Both ends, welcomed.
async fn open() -> (DaemonEnd, Port) {
    let (mut daemon, socket) = DaemonEnd::new();
    let mut port = Port::new(socket).unwrap();
    let proof = ProofReport::default();
    let report = ConfinedReport { level: Level::Full, layers: vec![], missing: vec![], proof };
    port.confined(report.clone()).unwrap();
    assert_eq!(daemon.ctl().await.0, CtlUp::Confined(report));
    port.hello(1, 1).unwrap();
    assert!(matches!(daemon.next().await, Some((Got::Hello(hello), ..)) if hello.role == 1));
    daemon.welcome();
    assert!(matches!(port.next().await, Ok(Some(Event::Welcome(w))) if w.sandbox == 7));
    (daemon, port)
}

#[tokio::test(flavor = "current_thread")]
async fn a_worker_is_confined_then_ready_then_welcomed() {
    let (daemon, mut port) = open().await;
    drop(daemon);
    assert!(matches!(port.next().await, Ok(None)));
    assert!(matches!(port.next().await, Ok(None)), "and it stays over");
}

#[tokio::test(flavor = "current_thread")]
async fn descriptors_come_with_their_control_message_and_no_other() {
    let (mut daemon, mut port) = open().await;
    let code = sys::sealed_memfd("code", b"x").unwrap();
    daemon.send(&CtlDown::Remove { grace_ms: 1 });
    daemon.send_with(&CtlDown::Connected { req: 5 }, vec![code]);
    assert!(
        matches!(port.next().await, Ok(Some(Event::Ctl(CtlDown::Remove { .. }, fds))) if fds.is_empty())
    );
    let Ok(Some(Event::Ctl(CtlDown::Connected { req: 5 }, fds))) = port.next().await else {
        panic!("no descriptor");
    };
    assert_eq!(sys::read_sealed(&fds[0], 10).unwrap(), b"x");
}

#[tokio::test(flavor = "current_thread")]
async fn undeclared_descriptors_are_a_breach() {
    let (mut daemon, mut port) = open().await;
    let code = sys::sealed_memfd("code", b"x").unwrap();
    daemon.link.out.push(message(b"{}").bytes());
    let packet = daemon.link.out.next_packet().unwrap();
    sys::send_packet(daemon.socket.get_ref().as_fd(), &packet.bytes, &[code.as_fd()]).unwrap();
    assert!(matches!(port.next().await, Err(PortError::Packet)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_turn_of_messages_is_one_packet_and_acknowledged_late() {
    let (mut daemon, mut port) = open().await;
    for _ in 0..50 {
        daemon.link.out.push(message(b"{}").bytes());
    }
    daemon.flush();
    let mut turn = Vec::new();
    while turn.len() < 50 {
        if let Some(Event::Msg(frame)) = port.next().await.unwrap() {
            turn.push(frame);
        }
    }
    for frame in &turn {
        port.send(frame).unwrap();
        port.disposed(frame);
    }
    port.flush().unwrap();
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let packet = sys::recv_packet(daemon.socket.get_ref().as_fd(), &mut buffer).unwrap();
    assert_eq!(frames(&buffer[..packet.len]).count(), 50, "no acknowledgement yet");
    let settled = tokio::select! {
        _ = port.next() => panic!("nothing was sent"),
        got = daemon.next() => got.map(|(got, ..)| got),
    };
    assert!(matches!(settled, Some(Got::Ack(s)) if s.frames == 50), "{settled:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_socket_loses_nothing_and_the_last_words_are_read() {
    let (mut daemon, mut port) = open().await;
    let big = vec![b'7'; 100_000];
    for _ in 0..30 {
        port.send(&message(&big)).unwrap();
    }
    port.flush().unwrap();
    assert!(port.backlog() > 0, "the socket took everything: the test proves nothing");
    let mut got = 0;
    let reader = async {
        while let Some((what, frame, _)) = daemon.next().await {
            match what {
                Got::Msg => {
                    assert_eq!(frame.view().unwrap().body(), big);
                    daemon.link.incoming.disposed(frame.bytes().len());
                    got += 1;
                }
                Got::Bye => break,
                other => panic!("{other:?}"),
            }
        }
    };
    let writer = async { port.bye().await.unwrap() };
    tokio::join!(reader, writer);
    assert_eq!(got, 30);
}

#[tokio::test(flavor = "current_thread")]
async fn a_daemon_that_died_with_unread_packets_is_heard_to_the_end() {
    let (mut daemon, mut port) = open().await;
    port.send(&message(b"unread")).unwrap();
    port.flush().unwrap();
    daemon.link.out.push(message(b"last words").bytes());
    daemon.link.out.push_plain(Kind::Ping, b"beat");
    daemon.flush();
    drop(daemon);
    assert!(matches!(port.next().await, Ok(Some(Event::Msg(_)))));
    let Ok(Some(Event::Ping(body))) = port.next().await else { panic!("no ping") };
    port.pong(&body);
    port.flush().unwrap();
    assert!(matches!(port.next().await, Ok(None)));
}
