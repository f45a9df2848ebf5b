//! A hub against the other end of a worker's link: handshake, a full socket, each breach.
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use super::super::hub::{Hub, Parts, Shared};
use super::super::peer::Gate;
use super::super::spawn::Spawner;
use super::super::watch;
use super::{Hears, Worker, read_links};
use crate::shell::clock::Clock;
use protocol::ctl::{CtlDown, CtlUp, Role};
use protocol::frame::{Frame, FrameBuilder, Kind, frames, patch};
use protocol::limits::READ_BUFFER_BYTES;
use protocol::link::{Got, Hello, Link, Side};
use protocol::sys::{pidfd_open, recv_packet, sealed_memfd, send_packet, socketpair_seqpacket};
use runtime_core::{LinkId, SandboxId, Settings};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

const SANDBOX: SandboxId = SandboxId(7);

/// The worker's end, played by the test, and a process that can be killed.
struct Played {
    hub: Shared,
    link: LinkId,
    socket: OwnedFd,
    process: Child,
}

impl Drop for Played {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

fn played() -> Played {
    let spawner = Spawner::without_process().unwrap();
    let (clock, gate) = (Clock::start(), Gate::new(0, None));
    let hub = Hub::new(Parts { settings: Settings::default(), clock, gate, spawner });
    let process = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(process.id()).unwrap();
    let (ours, socket) = socketpair_seqpacket().unwrap();
    let descriptors = (pidfd_open(pid).unwrap(), ours);
    let worker = Worker::new(SANDBOX, (Role::Stub, None), pid, descriptors).unwrap();
    let link = {
        let mut hub = hub.borrow_mut();
        let link = hub.next_link();
        hub.sandboxes.insert(SANDBOX, link);
        hub.workers.insert(link, worker);
        link
    };
    tokio::task::spawn_local(read_links(Rc::downgrade(&hub), link));
    Played { hub, link, socket, process }
}

fn run(test: impl AsyncFnOnce(Played)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let timed = tokio::time::timeout(Duration::from_secs(20), test(played()));
        timed.await.expect("the test takes too long");
    });
}

async fn until(mut fact: impl FnMut() -> bool) {
    while !fact() {
        tokio::task::yield_now().await;
    }
}

fn message(seq: u64, id: &str) -> Frame {
    let mut frame = FrameBuilder::msg(2, id, "a://b.c/d", "a://b.c/e").body(b"{}").build().unwrap();
    patch::seq(frame.bytes_mut(), seq);
    frame
}

fn control(bytes: &[u8]) -> Frame {
    FrameBuilder::ctl(bytes).build().unwrap()
}

impl Played {
    fn send(&self, bytes: &[u8]) {
        send_packet(self.socket.as_fd(), bytes, &[]).unwrap();
    }

    fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        recv_packet(self.socket.as_fd(), buffer).ok().map(|received| received.len)
    }

    fn breached(&self) -> bool {
        let hub = self.hub.borrow();
        hub.workers.get(&self.link).is_none_or(|worker| worker.hears == Hears::Breached)
    }
}

#[test]
fn the_welcome_waits_for_hello_and_for_the_core() {
    run(async |played| {
        let mut worker = Link::new(Side::Worker);
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        worker.hello(Hello { role: 1, engine: 1, build: [0; 20] });
        played.send(&worker.out.next_packet().unwrap().bytes);
        let state = || played.hub.borrow().workers.get(&played.link).unwrap().link.state();
        until(|| state() == protocol::link::State::Hello).await;
        assert_eq!(played.receive(&mut buffer), None, "nobody wants it yet");
        let down = CtlDown::Remove { grace_ms: 5 };
        played.hub.borrow_mut().send_ctl(SANDBOX, &down, Vec::new());
        played.hub.borrow_mut().end_turn();
        let mut got = Vec::new();
        until(|| {
            if let Some(len) = played.receive(&mut buffer) {
                let packet = frames(&buffer[..len]);
                got.extend(packet.map(|frame| worker.receive(&frame.unwrap()).unwrap()));
            }
            got.len() == 2
        })
        .await;
        assert!(matches!(got[..], [Got::Welcome(welcome), Got::Ctl] if welcome.sandbox == 7));
    });
}

#[test]
fn a_full_socket_is_written_on_when_it_has_room() {
    run(async |played| {
        let count = 900_u64;
        let body = vec![b' '; 4_000];
        for number in 0..count {
            let id = number.to_string();
            let frame = FrameBuilder::msg(2, &id, "a://b.c/d", "a://b.c/e").body(&body);
            let frame = frame.build().unwrap();
            played.hub.borrow_mut().push_to_worker(played.link, frame.bytes());
            played.hub.borrow_mut().end_turn();
        }
        let stalled = played.hub.borrow().workers.get(&played.link).unwrap().stalled.is_some();
        assert!(stalled, "the kernel takes less than that");
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut got = Vec::new();
        until(|| {
            if let Some(len) = played.receive(&mut buffer) {
                for frame in frames(&buffer[..len]) {
                    let frame = frame.unwrap();
                    got.push((frame.header.seq, frame.id().to_owned()));
                }
            }
            got.len() == usize::try_from(count).unwrap()
        })
        .await;
        assert!(got.iter().zip(0..).all(|((seq, id), at)| *seq == at + 1 && *id == at.to_string()));
    });
}

#[test]
fn each_breach_kills_the_worker() {
    let two = [control(&CtlUp::Loaded.encode().unwrap()), message(5, "1")]
        .map(|frame| frame.bytes().to_vec());
    let beside = FrameBuilder::msg(2, "1", "a://b.c/d", "a://b.c/e").body_fd(9).build().unwrap();
    let mut forged = control(&CtlUp::Loaded.encode().unwrap());
    patch::origin(forged.bytes_mut(), 1, 1);
    let breaches: Vec<(&str, Vec<u8>, bool)> = vec![
        (
            "no frame",
            b"garbage that is long enough to be a header of some kind, or so".to_vec(),
            false,
        ),
        ("short", vec![1], false),
        ("early message", message(1, "1").bytes().to_vec(), false),
        ("second frame out of order", two.concat(), false),
        ("body beside", beside.bytes().to_vec(), false),
        ("daemon's field", forged.bytes().to_vec(), false),
        ("control that does not decode", control(&[99; 40]).bytes().to_vec(), false),
        ("control with bytes after it", control(&[1, 0]).bytes().to_vec(), false),
        ("over the bound", vec![0; READ_BUFFER_BYTES - 1], false),
        ("descriptor with a plain control", two[0].clone(), true),
        ("descriptor with a message", message(1, "1").bytes().to_vec(), true),
        ("source without its code", control(&source(3)).bytes().to_vec(), false),
        ("source of another length", control(&source(4)).bytes().to_vec(), true),
        ("ping from below", plain(Kind::Ping).bytes().to_vec(), false),
    ];
    for (what, bytes, with_descriptor) in breaches {
        run(async |mut played| {
            if bytes.len() > 200_000 {
                // More than a socket takes at first.
                grow(&played.socket);
            }
            let memfd = sealed_memfd("x", b"abc").unwrap();
            let all = [memfd.as_fd()];
            let fds = if with_descriptor { &all[..] } else { &[] };
            send_packet(played.socket.as_fd(), &bytes, fds).unwrap();
            until(|| played.breached()).await;
            let status = played.process.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{what}");
        });
    }
}

fn source(size: u64) -> Vec<u8> {
    CtlUp::Source { origin: "https://example.com".to_owned(), size }.encode().unwrap()
}

fn plain(kind: Kind) -> Frame {
    FrameBuilder::new(kind).build().unwrap()
}

fn grow(socket: &OwnedFd) {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::SndBuf, &1_000_000).unwrap();
}

#[test]
fn code_with_the_right_length_is_no_breach() {
    run(async |played| {
        let memfd = sealed_memfd("x", b"abc").unwrap();
        let frame = control(&source(3));
        send_packet(played.socket.as_fd(), frame.bytes(), &[memfd.as_fd()]).unwrap();
        let heard = || {
            let hub = played.hub.borrow();
            hub.workers.get(&played.link).unwrap().link.incoming.last_seq()
        };
        until(|| heard() == 1).await;
        assert!(!played.breached());
    });
}

#[test]
fn the_end_of_a_process_is_its_exit_with_what_was_not_sent() {
    run(async |mut played| {
        let pidfd = {
            let hub = played.hub.borrow();
            Rc::clone(&hub.workers.get(&played.link).unwrap().pidfd)
        };
        tokio::task::spawn_local(watch::exit(Rc::downgrade(&played.hub), played.link, pidfd));
        played.process.kill().unwrap();
        until(|| played.hub.borrow().workers.is_empty()).await;
        assert!(played.hub.borrow().sandboxes.is_empty());
    });
}

#[test]
fn a_worker_that_closes_its_link_and_lives_on_is_killed() {
    run(async |mut played| {
        let (_, other) = socketpair_seqpacket().unwrap();
        drop(std::mem::replace(&mut played.socket, other));
        until(|| played.breached()).await;
        let status = played.process.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    });
}

/// A link past the handshake: what the worker's end would do, done by the test.
async fn opened(played: &Played) -> Link {
    let mut worker = Link::new(Side::Worker);
    worker.hello(Hello { role: 1, engine: 1, build: [0; 20] });
    played.send(&worker.out.next_packet().unwrap().bytes);
    let state = || played.hub.borrow().workers.get(&played.link).unwrap().link.state();
    until(|| state() == protocol::link::State::Hello).await;
    let down = CtlDown::Remove { grace_ms: 5 };
    played.hub.borrow_mut().send_ctl(SANDBOX, &down, Vec::new());
    played.hub.borrow_mut().end_turn();
    assert_eq!(state(), protocol::link::State::Open);
    worker
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn attack_026_answers_that_a_worker_never_takes_are_a_breach_and_not_a_pile() {
    run(async |played| {
        let _worker = opened(&played).await;
        let before = descriptors();
        let mut given = 0;
        while !played.breached() {
            given += 1;
            assert!(given <= 1_000, "it goes on for ever");
            let (stream, _) = socketpair_seqpacket().unwrap();
            let down = CtlDown::Connected { req: given };
            played.hub.borrow_mut().send_ctl(SANDBOX, &down, vec![stream]);
            played.hub.borrow_mut().end_turn();
        }
        assert!(given > 64, "an honest one asks for more: {given}");
        let held = descriptors().saturating_sub(before);
        assert!(held <= 300, "{held} descriptors of one worker");
        let down = CtlDown::Connected { req: 9_999 };
        let (stream, _) = socketpair_seqpacket().unwrap();
        played.hub.borrow_mut().send_ctl(SANDBOX, &down, vec![stream]);
        assert!(descriptors() <= before + held + 1, "what comes after is closed");
    });
}

#[test]
fn a_worker_that_does_not_read_is_not_told_that_it_may_send_more() {
    run(async |mut played| {
        let mut worker = opened(&played).await;
        // Its socket is full.
        let body = vec![b' '; 60_000];
        let frame = FrameBuilder::msg(2, "1", "a://b.c/d", "a://b.c/e").body(&body);
        let frame = frame.build().unwrap();
        let stalled = || played.hub.borrow().workers.get(&played.link).unwrap().stalled.is_some();
        while !stalled() {
            played.hub.borrow_mut().push_to_worker(played.link, frame.bytes());
            played.hub.borrow_mut().end_turn();
        }
        // It sends as much as it may, and then more.
        let mut sent = 0_u64;
        while !played.breached() {
            sent += 1;
            assert!(sent < 5_000, "it goes on for ever");
            let frame = control(&CtlUp::Closed { req: 1 }.encode().unwrap());
            worker.out.push_ctl(&frame, Vec::new());
            let Some(mut packet) = worker.out.next_packet() else {
                // What an honest worker would keep to itself.
                let mut frame = frame;
                patch::seq(frame.bytes_mut(), sent);
                let full = send_packet(played.socket.as_fd(), frame.bytes(), &[]).is_err();
                sent = if full { sent - 1 } else { sent };
                tokio::task::yield_now().await;
                continue;
            };
            let bytes = std::mem::take(&mut packet.bytes);
            until(|| send_packet(played.socket.as_fd(), &bytes, &[]).is_ok()).await;
        }
        assert!(sent >= 1_024, "{sent}");
        let status = played.process.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    });
}

#[test]
fn escape_075_a_heartbeat_that_was_not_read_cannot_be_answered() {
    run(async |played| {
        let _worker = opened(&played).await;
        played.hub.borrow_mut().ping(SANDBOX, 60_000);
        let number = |played: &Played| played.hub.borrow().workers.get(&played.link).unwrap().ping;
        let expected = number(&played).unwrap();
        for guess in 0..1_000_u64 {
            let frame = FrameBuilder::new(Kind::Pong).body(&guess.to_le_bytes()).build().unwrap();
            until(|| send_packet(played.socket.as_fd(), frame.bytes(), &[]).is_ok()).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(number(&played), Some(expected), "guessed");
        let frame = FrameBuilder::new(Kind::Pong).body(&expected.to_le_bytes()).build().unwrap();
        until(|| send_packet(played.socket.as_fd(), frame.bytes(), &[]).is_ok()).await;
        until(|| number(&played).is_none()).await;
        assert!(!played.breached());
    });
}
