//! Byte-exact tests of the header, and properties of the parser.
#![allow(clippy::as_conversions, clippy::arithmetic_side_effects, reason = "tests")]

use super::{
    ExtTag, Frame, FrameBuilder, FrameError, FrameRef, Kind, attach, detach, flags, frames, patch,
};
use crate::limits::{FRAME_BYTES_MAX, FRAME_HELD_BYTES_MAX, ID_BYTES_MAX};
use proptest::prelude::*;

fn sample() -> Frame {
    FrameBuilder::msg(2, "7", "hyperty://a.b/c", "hyperty://d.e/f")
        .flag(flags::ID_NUM | flags::REPLY)
        .ext(ExtTag::Deadline, &1500_u32.to_le_bytes())
        .body(b"{}")
        .build()
        .unwrap()
}

#[test]
fn the_header_is_these_bytes() {
    let mut frame = sample();
    patch::seq(frame.bytes_mut(), 0x0102_0304_0506_0708);
    patch::origin(frame.bytes_mut(), 9, 10);
    let expected: [u8; 48] = [
        88, 0, 0, 0, // len
        0x10, 2, // kind, mtype
        0x11, 0, // flags
        8, 7, 6, 5, 4, 3, 2, 1, // seq
        9, 0, 0, 0, 0, 0, 0, 0, // origin
        10, 0, 0, 0, 0, 0, 0, 0, // oseq
        0, 0, 16, 0, // code, hops, reserved
        1, 0, 15, 0, 15, 0, 7, 0, // id, from, to, ext
        2, 0, 0, 0, // body
    ];
    assert_eq!(frame.bytes()[..48], expected);
    assert_eq!(
        &frame.bytes()[48..],
        b"7hyperty://a.b/chyperty://d.e/f\x04\x04\x00\xdc\x05\x00\x00{}"
    );
}

#[test]
fn a_frame_reads_back() {
    let frame = sample();
    let view = frame.view().unwrap();
    assert_eq!((view.id(), view.from(), view.to()), ("7", "hyperty://a.b/c", "hyperty://d.e/f"));
    assert_eq!(view.body(), b"{}");
    assert_eq!(view.ext().find(ExtTag::Deadline), Some(&1500_u32.to_le_bytes()[..]));
    assert_eq!(view.ext().find(ExtTag::Source), None);
    assert!(view.has(flags::REPLY) && !view.has(flags::SYNTH));
}

#[test]
fn bounds_hold_at_the_edge_and_one_past() {
    let id = "x".repeat(ID_BYTES_MAX);
    assert!(FrameBuilder::msg(1, &id, "", "").build().is_ok());
    let id = "x".repeat(ID_BYTES_MAX + 1);
    assert_eq!(FrameBuilder::msg(1, &id, "", "").build(), Err(FrameError::TooLarge("id")));
    let body = vec![b' '; FRAME_HELD_BYTES_MAX - 48];
    assert!(FrameBuilder::msg(1, "", "", "").body(&body).build().is_ok());
    let body = vec![b' '; FRAME_HELD_BYTES_MAX - 47];
    assert_eq!(
        FrameBuilder::msg(1, "", "", "").body(&body).build(),
        Err(FrameError::TooLarge("len"))
    );
}

#[test]
fn a_body_that_no_packet_holds_is_detached_and_attached_again() {
    let large = |bytes: usize| {
        let body = vec![b'7'; bytes];
        FrameBuilder::msg(2, "1", "a://b.c", "a://b.d")
            .flag(flags::REPLY)
            .body(&body)
            .build()
            .unwrap()
    };
    let fits = large(FRAME_BYTES_MAX - 48 - 15);
    assert_eq!(fits.bytes().len(), FRAME_BYTES_MAX);
    assert!(detach(fits.bytes()).is_none());
    let frame = large(FRAME_BYTES_MAX - 48 - 14);
    let (head, body) = detach(frame.bytes()).unwrap();
    let view = FrameRef::parse(&head).unwrap();
    assert!(view.has(flags::BODY_FD | flags::REPLY) && view.body().is_empty());
    assert_eq!(attach(&view, body).unwrap(), frame);
    assert_eq!(attach(&view, &body[1..]), Err(FrameError::Arithmetic));
    assert_eq!(attach(&fits.view().unwrap(), &[]), Err(FrameError::Arithmetic));
}

#[test]
fn each_breach_has_its_error() {
    let good = sample().bytes().to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        FrameRef::parse(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(0, 47), FrameError::Truncated);
    assert_eq!(with(0, 89), FrameError::Truncated);
    assert_eq!(with(0, 87), FrameError::Arithmetic);
    assert_eq!(with(2, 0x11), FrameError::TooLarge("len"));
    assert_eq!(with(4, 0x33), FrameError::Kind(0x33));
    assert_eq!(with(7, 0x04), FrameError::Reserved);
    assert_eq!(with(35, 1), FrameError::Reserved);
    assert_eq!(with(8, 0), FrameError::Sequence);
    assert_eq!(with(48, 7), FrameError::Text("id"));
    assert_eq!(with(49, 0xFF), FrameError::Text("from"));
    assert_eq!(with(44, 3), FrameError::Arithmetic);
    assert!(matches!(with(4, Kind::Ping.as_u8()), FrameError::Sequence));
}

#[test]
fn a_packet_is_walked_frame_by_frame_until_the_first_breach() {
    let mut packet = sample().bytes().to_vec();
    packet.extend_from_slice(sample().bytes());
    assert_eq!(frames(&packet).flatten().count(), 2);
    packet.push(0);
    let all: Vec<_> = frames(&packet).collect();
    assert_eq!(all.len(), 3);
    assert!(all[2].is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for frame in frames(&bytes).flatten() {
            prop_assert!(frame.bytes().len() >= 48);
            let _count = frame.ext().count();
        }
    }

    #[test]
    fn a_changed_byte_never_moves_a_part_outside(at in 0_usize..88, byte in any::<u8>()) {
        let mut bytes = sample().bytes().to_vec();
        bytes[at] = byte;
        if let Ok(frame) = FrameRef::parse(&bytes) {
            let sum = 48 + frame.id().len() + frame.from().len() + frame.to().len() + frame.body().len();
            prop_assert!(sum <= frame.header.len);
        }
    }

    #[test]
    fn what_is_built_reads_back(id in "[ -~]{0,128}", from in "[a-z:/]{0,200}", to in "[a-z:/]{0,200}", body in proptest::collection::vec(any::<u8>(), 0..2000), mtype in any::<u8>(), code in any::<u16>()) {
        let frame = FrameBuilder::msg(mtype, &id, &from, &to).code(code).body(&body).build().unwrap();
        let view = frame.view().unwrap();
        prop_assert_eq!(view.id(), id.as_str());
        prop_assert_eq!(view.from(), from.as_str());
        prop_assert_eq!(view.to(), to.as_str());
        prop_assert_eq!(view.body(), body.as_slice());
        prop_assert_eq!((view.header.mtype, view.header.code), (mtype, code));
    }
}
