//! Both ends against each other, and each breach.
#![allow(clippy::as_conversions, clippy::arithmetic_side_effects, reason = "tests")]

use super::{Got, Hello, HelloError, Link, LinkError, Side, State, Welcome};
use crate::frame::{Frame, FrameBuilder, FrameRef, Kind, flags, frames, patch};
use crate::limits::{PACKET_BYTES_TARGET, WINDOW_BYTES, WINDOW_FRAMES};
use proptest::prelude::*;

const HELLO: Hello = Hello { role: 1, engine: 1, build: [7; 20] };
const WELCOME: Welcome =
    Welcome { sandbox: 3, incarnation: 1, ping_ms: 5000, wall_ms: 9, epoch: 8 };

fn pass(from: &mut Link, to: &mut Link) -> Vec<Got> {
    let mut got = Vec::new();
    while let Some(packet) = from.out.next_packet() {
        assert!(!packet.bytes.is_empty());
        for frame in frames(&packet.bytes) {
            got.push(to.receive(&frame.unwrap()).unwrap());
        }
    }
    got
}

fn open() -> (Link, Link) {
    let (mut daemon, mut worker) = (Link::new(Side::Daemon), Link::new(Side::Worker));
    worker.hello(HELLO);
    assert_eq!(pass(&mut worker, &mut daemon), [Got::Hello(HELLO)]);
    daemon.welcome(WELCOME);
    assert_eq!(pass(&mut daemon, &mut worker), [Got::Welcome(WELCOME)]);
    (daemon, worker)
}

fn message(bytes: usize) -> Frame {
    let body = vec![b' '; bytes];
    FrameBuilder::msg(2, "1", "a://b/c", "a://b/d").body(&body).build().unwrap()
}

fn numbered(seq: u64) -> Frame {
    let mut frame = message(0);
    patch::seq(frame.bytes_mut(), seq);
    frame
}

#[test]
fn hello_and_welcome_are_these_bytes() {
    let hello = HELLO.to_bytes();
    assert_eq!(&hello[..16], b"RTB1\x01\0\x01\0\x01\x01\0\0\0\0\0\0");
    assert_eq!(&hello[16..], [7; 20]);
    assert_eq!(Hello::from_bytes(&hello), Ok(HELLO));
    let welcome = WELCOME.to_bytes();
    assert_eq!(&welcome[..16], b"RTB1\x01\0\0\0\x03\0\0\0\x01\0\0\0");
    assert_eq!(Welcome::from_bytes(&welcome), Ok(WELCOME));
    let mut old = hello;
    old[4] = 2;
    old[6] = 3;
    assert_eq!(Hello::from_bytes(&old), Err(HelloError::Version(2, 3)));
    assert_eq!(Hello::from_bytes(&hello[1..]), Err(HelloError::Layout));
}

#[test]
fn the_window_holds_at_the_edge_and_opens_by_acknowledgement() {
    let (mut daemon, mut worker) = open();
    for _ in 0..=WINDOW_FRAMES {
        daemon.out.push(message(0).bytes());
    }
    assert_eq!(pass(&mut daemon, &mut worker).len(), WINDOW_FRAMES as usize);
    assert_eq!(daemon.out.backlog(), 1);
    let frame = message(0);
    for _ in 0..WINDOW_FRAMES / 2 - 1 {
        worker.incoming.disposed(frame.bytes().len());
    }
    worker.acknowledge(false);
    assert!(!worker.out.has_packet(), "not yet half of the window");
    worker.incoming.disposed(frame.bytes().len());
    worker.acknowledge(false);
    let got = pass(&mut worker, &mut daemon);
    assert!(matches!(got[..], [Got::Ack(settled)] if settled.frames == WINDOW_FRAMES / 2));
    assert_eq!(pass(&mut daemon, &mut worker), [Got::Msg]);
}

#[test]
fn control_passes_while_messages_wait() {
    let (mut daemon, mut worker) = open();
    for _ in 0..WINDOW_FRAMES + 5 {
        daemon.out.push(message(0).bytes());
    }
    daemon.out.push_ctl(&FrameBuilder::ctl(b"x").build().unwrap(), Vec::new());
    assert_eq!(pass(&mut daemon, &mut worker).last(), Some(&Got::Ctl));
}

#[test]
fn control_beyond_its_reserve_waits_and_comes_in_order_ahead_of_messages() {
    let (mut daemon, mut worker) = open();
    let control = FrameBuilder::ctl(b"x").build().unwrap();
    let count = WINDOW_FRAMES as usize + 300;
    for _ in 0..count {
        daemon.out.push_ctl(&control, Vec::new());
    }
    daemon.out.push(message(0).bytes());
    assert_eq!(daemon.out.untaken_ctl(), count);
    let mut got = pass(&mut daemon, &mut worker);
    assert_eq!(got.len(), WINDOW_FRAMES as usize + 64, "no breach");
    worker.acknowledge(true);
    pass(&mut worker, &mut daemon);
    got.extend(pass(&mut daemon, &mut worker));
    assert_eq!((got.len(), got.pop()), (count + 1, Some(Got::Msg)));
    assert!(got.iter().all(|got| *got == Got::Ctl));
    worker.acknowledge(true);
    pass(&mut worker, &mut daemon);
    assert_eq!(daemon.out.untaken_ctl(), 0);
}

#[test]
fn bytes_have_a_window_too() {
    let (mut daemon, mut worker) = open();
    let frame = message(100_000);
    for _ in 0..100 {
        daemon.out.push(frame.bytes());
    }
    let got = pass(&mut daemon, &mut worker).len();
    assert_eq!(got, (WINDOW_BYTES as usize).div_ceil(frame.bytes().len()));
}

#[test]
fn packets_collect_small_frames_and_let_a_large_one_travel_alone() {
    let (mut daemon, _worker) = open();
    for _ in 0..1000 {
        daemon.out.push(message(200).bytes());
    }
    daemon.out.push(message(150_000).bytes());
    let mut sizes = Vec::new();
    while let Some(packet) = daemon.out.next_packet() {
        sizes.push((packet.bytes.len(), frames(&packet.bytes).count()));
    }
    assert_eq!(sizes.last().unwrap().1, 1);
    assert!(sizes.iter().rev().skip(1).all(|(bytes, _)| *bytes <= PACKET_BYTES_TARGET));
    assert_eq!(sizes.len(), 1 + (1000 * message(200).bytes().len()).div_ceil(PACKET_BYTES_TARGET));
}

#[test]
fn what_was_never_sent_comes_back_in_order() {
    let (mut daemon, _worker) = open();
    for size in 0..WINDOW_FRAMES as usize + 10 {
        daemon.out.push(message(size).bytes());
    }
    let sent = frames(&daemon.out.next_packet().unwrap().bytes).count();
    let unsent = daemon.out.unsent();
    assert_eq!(unsent.len() + sent, WINDOW_FRAMES as usize + 10);
    assert!(
        unsent.iter().zip(sent..).all(|(frame, size)| frame.view().unwrap().body().len() == size)
    );
}

#[test]
fn each_breach_ends_the_link() {
    let breach = |frame: &Frame| open().0.receive(&frame.view().unwrap()).unwrap_err();
    assert_eq!(breach(&numbered(2)), LinkError::Sequence { expected: 1, got: 2 });
    let mut forged = numbered(1);
    patch::origin(forged.bytes_mut(), 1, 0);
    assert_eq!(breach(&forged), LinkError::DaemonField);
    let mut forged = numbered(1);
    patch::flags(forged.bytes_mut(), flags::SYNTH);
    assert_eq!(breach(&forged), LinkError::DaemonField);
    let plain = |kind: Kind, body: &[u8]| FrameBuilder::new(kind).body(body).build().unwrap();
    assert_eq!(breach(&plain(Kind::Ping, &[])), LinkError::Unexpected(Kind::Ping, State::Open));
    assert_eq!(breach(&plain(Kind::Ack, &[0; 27])), LinkError::Ack);
    let mut ack = [0xFF_u8; 28];
    ack[24..].fill(0);
    assert_eq!(breach(&plain(Kind::Ack, &ack)), LinkError::Ack, "never sent");
    assert_eq!(breach(&plain(Kind::Ack, &[0; 28])), LinkError::Ack, "takes credit back");
    let early = numbered(1);
    let mut link = Link::new(Side::Daemon);
    let refused = link.receive(&early.view().unwrap());
    assert_eq!(refused, Err(LinkError::Unexpected(Kind::Msg, State::New)));
}

#[test]
fn a_sender_that_ignores_credit_is_noticed() {
    let (mut daemon, _worker) = open();
    for seq in 1..=u64::from(WINDOW_FRAMES) {
        daemon.receive(&numbered(seq).view().unwrap()).unwrap();
    }
    let over = numbered(u64::from(WINDOW_FRAMES) + 1);
    assert_eq!(daemon.receive(&over.view().unwrap()), Err(LinkError::Credit));
}

proptest! {
    #[test]
    fn nothing_is_lost_or_reordered_however_the_ends_take_turns(
        turns in proptest::collection::vec((0_u8..5, 0_usize..3000), 1..400)
    ) {
        let (mut daemon, mut worker) = open();
        let (mut pushed, mut taken, mut sizes, mut settled) = (0_usize, Vec::new(), Vec::new(), 0);
        for (turn, size) in turns {
            match turn {
                0 | 1 => for extra in 0..50 {
                    daemon.out.push(message(size + extra).bytes());
                    sizes.push(size + extra);
                    pushed += 1;
                },
                2 => if let Some(packet) = daemon.out.next_packet() {
                    for frame in frames(&packet.bytes) {
                        let frame: FrameRef<'_> = frame.unwrap();
                        prop_assert_eq!(worker.receive(&frame).unwrap(), Got::Msg);
                        taken.push(frame.body().len());
                        worker.incoming.disposed(frame.bytes().len());
                    }
                },
                3 => worker.acknowledge(size % 2 == 0),
                _ => for got in pass(&mut worker, &mut daemon) {
                    if let Got::Ack(more) = got { settled += more.frames as usize }
                },
            }
            prop_assert!(settled <= taken.len() && taken.len() <= pushed);
        }
        loop {
            for got in pass(&mut worker, &mut daemon) {
                if let Got::Ack(more) = got { settled += more.frames as usize }
            }
            prop_assert!(settled <= taken.len());
            let Some(packet) = daemon.out.next_packet() else {
                if taken.len() == pushed { break }
                worker.acknowledge(true);
                prop_assert!(worker.out.has_packet(), "stuck");
                continue;
            };
            for frame in frames(&packet.bytes) {
                let frame: FrameRef<'_> = frame.unwrap();
                worker.receive(&frame).unwrap();
                taken.push(frame.body().len());
                worker.incoming.disposed(frame.bytes().len());
            }
        }
        prop_assert_eq!(taken, sizes);
    }

    #[test]
    fn any_frame_is_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 48..200), kind in any::<u8>()) {
        let mut bytes = bytes;
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4] = kind;
        if let Ok(frame) = FrameRef::parse(&bytes) {
            let (mut daemon, mut worker) = open();
            let _result = (daemon.receive(&frame), worker.receive(&frame));
        }
    }
}
