//! Rows 13 to 20 and 61: sockets of its own, and one that was handed to it.

use super::Arg::{Bytes, Held, Int, Room};
use super::{Attempt, HELD_FD, Row, Way, call, outcome, outcomes, refused, system_call};
use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, c_int, c_long};
use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::atomic::Ordering;

pub(super) const ROWS: &[Row] = &[
    (13, ABSTRACT),
    (14, CONTROL),
    (15, FAMILIES),
    (16, CONNECTING),
    (17, RECONNECTING),
    (18, INTERFACES),
    (19, SERVING),
    (20, DATAGRAMS),
    (61, LINKS),
];

const NET: &[&str] = &["net"];
const REFUSED: &[&str] = &["ECONNREFUSED", "EPERM"];
const UNREACHABLE: &[&str] = &["ENETUNREACH", "EACCES", "EADDRNOTAVAIL"];

const ABSTRACT: &[Attempt] = &[
    refused("stream", Way::Do(|name| hidden(SOCK_STREAM, name))).or(REFUSED),
    refused("datagram", Way::Do(|name| hidden(SOCK_DGRAM, name))).or(REFUSED),
    refused("packets", Way::Do(|name| hidden(SOCK_SEQPACKET, name))).or(REFUSED),
];

fn hidden(kind: c_int, name: &str) -> String {
    reached(AF_UNIX, kind, &UnixAddr::new_abstract(name.as_bytes()).unwrap())
}

const CONTROL: &[Attempt] = &[
    refused("given", Way::Do(named)).or(&["ENOENT", "EACCES"]),
    refused("usual", Way::Do(|_| named("/run/runtimed/control.sock"))).or(&["ENOENT", "EACCES"]),
    refused("bus", Way::Do(|_| named("/run/runtimed/bus.sock"))).or(&["ENOENT", "EACCES"]),
    refused("messages", Way::Do(|_| named("/run/dbus/system_bus_socket")))
        .or(&["ENOENT", "EACCES"]),
];

fn named(path: &str) -> String {
    reached(AF_UNIX, SOCK_STREAM, &UnixAddr::new(path).unwrap())
}

/// Makes a socket and connects it.
fn reached(family: c_int, kind: c_int, address: &dyn SockaddrLike) -> String {
    let made = system_call(libc::SYS_socket, [family.into(), kind.into(), 0, 0, 0, 0]);
    if made < 0 { outcome(made) } else { connected(made, address) }
}

fn connected(socket: c_long, address: &dyn SockaddrLike) -> String {
    let place = super::address(address.as_ptr().expose_provenance());
    let length = c_long::from(address.len());
    outcome(system_call(libc::SYS_connect, [socket, place, length, 0, 0, 0]))
}

const FAMILIES: &[Attempt] = &[
    refused("each", Way::Do(|_| families(libc::SYS_socket))),
    refused("each-pair", Way::Do(|_| families(libc::SYS_socketpair))),
];

/// Every family and type but those of the net role: TCP, UDP, and pairs of streams. A pair is
/// written to nowhere.
fn families(number: c_long) -> String {
    let all = (0..=50).flat_map(|family| (0..=11).map(move |kind| (family, kind)));
    let others = all.filter(|(family, kind)| {
        let inet = [AF_INET, AF_INET6].contains(family) && [SOCK_STREAM, SOCK_DGRAM].contains(kind);
        !inet && (*family, *kind) != (AF_UNIX, SOCK_STREAM)
    });
    outcomes(others.map(|(family, kind)| {
        outcome(system_call(number, [family.into(), kind.into(), 0, 0, 0, 0]))
    }))
}

const CONNECTING: &[Attempt] = &[
    refused("loopback", Way::Do(|port| inet(SOCK_STREAM, Ipv4Addr::LOCALHOST, port)))
        .or(UNREACHABLE)
        .but_for(NET),
    refused("private", Way::Do(|_| inet(SOCK_STREAM, Ipv4Addr::new(10, 0, 0, 1), "80")))
        .or(UNREACHABLE)
        .but_for(NET),
    refused("metadata", Way::Do(|_| inet(SOCK_STREAM, Ipv4Addr::new(169, 254, 169, 254), "80")))
        .or(UNREACHABLE)
        .but_for(NET),
    refused(
        "loopback6",
        Way::Do(|port| {
            let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, port.parse().unwrap(), 0, 0);
            reached(AF_INET6, SOCK_STREAM, &SockaddrIn6::from(address))
        }),
    )
    .or(UNREACHABLE)
    .but_for(NET),
    call("by-link", libc::SYS_connect, &[Int(3), UNSPECIFIED, Int(16)]).but_for(NET),
];

fn inet(kind: c_int, host: Ipv4Addr, port: &str) -> String {
    let address = SocketAddrV4::new(host, port.parse().unwrap());
    reached(AF_INET, kind, &SockaddrIn::from(address))
}

/// An address of no family: a TCP connection is given up with it.
const UNSPECIFIED: super::Arg = Bytes(&[0; 16]);

const RECONNECTING: &[Attempt] = &[
    call("give-up", libc::SYS_connect, &[Held, UNSPECIFIED, Int(16)]).but_for(NET),
    refused(
        "connect-again",
        Way::Do(|port| {
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.parse().unwrap());
            connected(HELD_FD.load(Ordering::Relaxed).into(), &SockaddrIn::from(address))
        }),
    )
    .but_for(NET),
    call("own-name", libc::SYS_getsockname, &[Held, Room, Room]).but_for(NET),
    call("peer-name", libc::SYS_getpeername, &[Held, Room, Room]).but_for(NET),
];

/// `SIOCGIFCONF`, `SIOCGIFHWADDR`, `SIOCGIFADDR`, `SIOCETHTOOL`.
const QUESTIONS: [c_long; 4] = [0x8912, 0x8927, 0x8915, 0x8946];

const INTERFACES: &[Attempt] = &[
    refused(
        "each-of-own",
        Way::Do(|_| {
            let asked = QUESTIONS.iter().flat_map(|question| (0..4).map(move |fd| (fd, *question)));
            outcomes(asked.map(|(fd, question)| outcome(asked_of(fd, question))))
        }),
    ),
    refused(
        "each-of-held",
        Way::Do(|_| {
            let held = HELD_FD.load(Ordering::Relaxed).into();
            outcomes(QUESTIONS.iter().map(|question| outcome(asked_of(held, *question))))
        }),
    ),
];

fn asked_of(fd: c_long, question: c_long) -> c_long {
    let room = super::address(vec![0_u8; 4_096].leak().as_mut_ptr().expose_provenance());
    system_call(libc::SYS_ioctl, [fd, question, room, 0, 0, 0])
}

const ANY_PORT: super::Arg = Bytes(b"\x02\0\0\0\x7f\0\0\x01\0\0\0\0\0\0\0\0");

const SERVING: &[Attempt] = &[
    call("bind", libc::SYS_bind, &[Held, ANY_PORT, Int(16)]),
    call("listen", libc::SYS_listen, &[Held, Int(1)]),
    call("accept", libc::SYS_accept4, &[Held, Int(0), Int(0), Int(0)]),
    call("bind-link", libc::SYS_bind, &[Int(3), Bytes(b"\x01\0\0jail-probe"), Int(13)]),
    call("listen-link", libc::SYS_listen, &[Int(3), Int(1)]),
    call(
        "option",
        libc::SYS_setsockopt,
        &[
            Held,
            Int(libc::SOL_SOCKET as c_long),
            Int(libc::SO_REUSEPORT as c_long),
            Bytes(b"\x01\0\0\0"),
            Int(4),
        ],
    ),
];

/// Port 53 of an address of documents.
const RESOLVER: super::Arg = Bytes(b"\x02\0\0\x35\xc0\0\x02\x01\0\0\0\0\0\0\0\0");

const DATAGRAMS: &[Attempt] = &[
    refused("name-server", Way::Do(|_| inet(SOCK_DGRAM, Ipv4Addr::new(192, 0, 2, 1), "53")))
        .or(UNREACHABLE)
        .but_for(NET),
    refused("local-name-server", Way::Do(|_| inet(SOCK_DGRAM, Ipv4Addr::new(127, 0, 0, 53), "53")))
        .or(UNREACHABLE)
        .but_for(NET),
    call("send-to", libc::SYS_sendto, &[Held, Bytes(b"x"), Int(1), Int(0), RESOLVER, Int(16)]),
    call("send-many", libc::SYS_sendmmsg, &[Held, Room, Int(1), Int(0)]),
];

const LINKS: &[Attempt] = &[
    call("own-name", libc::SYS_getsockname, &[Int(3), Room, Room]).but_for(NET),
    call("peer-name", libc::SYS_getpeername, &[Int(3), Room, Room]).but_for(NET),
    call(
        "peer-process",
        libc::SYS_getsockopt,
        &[Int(3), Int(libc::SOL_SOCKET as c_long), Int(libc::SO_PEERCRED as c_long), Room, Room],
    ),
    call("accept", libc::SYS_accept4, &[Int(3), Int(0), Int(0), Int(0)]).or(&["EINVAL"]),
];
