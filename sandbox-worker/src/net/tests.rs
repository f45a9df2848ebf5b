//! The net role against a daemon's end of a link, over real sockets on loopback.
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

mod door;

use super::limits::RELAYS_PER_SANDBOX;
use super::{Door, Resolver, serve};
use crate::port::Port;
use crate::port::tests::DaemonEnd;
use protocol::ctl::{ConnectError, CtlDown, CtlUp};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use tokio::task::LocalSet;

/// Runs `test` with the daemon's end of a link to a running net role.
async fn with_net<F: Future<Output = ()>>(test: impl FnOnce(DaemonEnd) -> F) {
    with_role(Resolver::parse("", ""), None, test).await;
}

/// Likewise, of a role that resolves like this.
async fn with_resolver<F: Future<Output = ()>>(
    resolver: Resolver,
    test: impl FnOnce(DaemonEnd) -> F,
) {
    with_role(resolver, None, test).await;
}

/// Likewise, with a listener that it may have from before.
async fn with_role<F: Future<Output = ()>>(
    resolver: Resolver,
    listener: Option<std::net::TcpListener>,
    test: impl FnOnce(DaemonEnd) -> F,
) {
    LocalSet::new()
        .run_until(async {
            let (daemon, socket) = DaemonEnd::new();
            let net = tokio::task::spawn_local(async move {
                let mut port = Port::new(socket).unwrap();
                serve(&mut port, resolver, Door::new(listener).unwrap()).await
            });
            test(daemon).await;
            net.await.unwrap().unwrap();
        })
        .await;
}

fn wanted(req: u64, sandbox: u32, host: &str, port: u16, private: bool) -> CtlDown {
    let host = host.to_owned();
    CtlDown::NetConnect { req, sandbox, host, port, private, budget_ms: 5_000 }
}

async fn result(daemon: &mut DaemonEnd) -> (u64, Option<ConnectError>, Vec<OwnedFd>) {
    match daemon.ctl().await {
        (CtlUp::NetResult { req, error }, fds) => (req, error.map(|(error, _)| error), fds),
        other => panic!("{other:?}"),
    }
}

fn stream(fds: Vec<OwnedFd>) -> UnixStream {
    UnixStream::from_std(fds.into_iter().next().unwrap().into()).unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn a_named_private_target_is_connected_to_and_relayed() {
    with_net(|mut daemon| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        daemon.send(&wanted(9, 1, "localhost", port, true));
        let (req, error, fds) = result(&mut daemon).await;
        assert_eq!((req, error), (9, None));
        let mut inside = stream(fds);
        let (mut far, _) = listener.accept().await.unwrap();
        inside.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        far.read_exact(&mut got).await.unwrap();
        far.write_all(b"pong").await.unwrap();
        inside.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"pong");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn without_leave_no_packet_reaches_a_private_target() {
    with_net(|mut daemon| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (req, host) in
            [(1, "127.0.0.1"), (2, "localhost"), (3, "[::1]"), (4, "[::ffff:127.0.0.1]")]
        {
            daemon.send(&wanted(req, 1, host, port, false));
            let (got, error, fds) = result(&mut daemon).await;
            assert_eq!((got, error), (req, Some(ConnectError::AddressDenied)), "{host}");
            assert!(fds.is_empty());
        }
        daemon.send(&wanted(5, 1, "0.0.0.0", port, true));
        assert_eq!(result(&mut daemon).await.1, Some(ConnectError::AddressDenied));
        for host in ["127.1", "0x7f.0.0.1", "2130706433", "", "a..b"] {
            daemon.send(&wanted(6, 1, host, port, true));
            assert_eq!(result(&mut daemon).await.1, Some(ConnectError::NotResolved), "{host}");
        }
        // The first to knock is this test.
        let own = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, first) = listener.accept().await.unwrap();
        assert_eq!(first, own.local_addr().unwrap(), "somebody connected before");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_port_is_unreachable() {
    with_net(|mut daemon| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        daemon.send(&wanted(1, 1, "127.0.0.1", port, true));
        assert_eq!(result(&mut daemon).await.1, Some(ConnectError::Unreachable));
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_sandbox_has_its_share_of_streams_and_gives_it_back_when_forgotten() {
    with_net(|mut daemon| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut held = Vec::new();
        for req in 0..32 {
            daemon.send(&wanted(req, 1, "127.0.0.1", port, true));
            let (_, error, fds) = result(&mut daemon).await;
            assert_eq!(error, None);
            held.push((stream(fds), listener.accept().await.unwrap()));
        }
        daemon.send(&wanted(32, 1, "127.0.0.1", port, true));
        assert_eq!(result(&mut daemon).await.1, Some(ConnectError::Exhausted));
        daemon.send(&wanted(33, 2, "127.0.0.1", port, true));
        assert_eq!(result(&mut daemon).await.1, None, "another sandbox has its own share");

        daemon.send(&CtlDown::NetForget { sandbox: 1 });
        for (inside, (far, _)) in &mut held {
            assert_eq!(inside.read(&mut [0; 1]).await.unwrap(), 0, "its end is closed");
            assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "the remote is told");
        }
        daemon.send(&wanted(34, 1, "127.0.0.1", port, true));
        assert_eq!(result(&mut daemon).await.1, None);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn streams_that_were_hung_up_are_not_counted_any_more() {
    with_net(|mut daemon| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut remotes = Vec::new();
        for req in 0..200 {
            daemon.send(&wanted(req, 7, "127.0.0.1", port, true));
            let (_, error, fds) = result(&mut daemon).await;
            assert_eq!(error, None, "stream {req}");
            let (mut far, _) = listener.accept().await.unwrap();
            drop(fds);
            // The remote never closes; the relay must.
            assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
            remotes.push(far);
        }
    })
    .await;
}

/// What a name server says of a name: a code and addresses, or nothing at all.
type Said = Option<(u8, Vec<Ipv4Addr>)>;

/// A name server for whatever name, which answers the questions for IPv4 one after the other like
/// this, with the last from then on, and knows no other addresses. Where it listens, and whom it
/// counts.
async fn name_server(answers: Vec<Said>) -> (SocketAddr, Rc<Cell<usize>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    tokio::task::spawn_local(async move {
        let mut buffer = [0; 512];
        while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
            // The type stands before the class, which is the end.
            let asks_for_four = buffer[read - 3] == 1;
            let answer = &answers[counted.get().min(answers.len() - 1)];
            counted.set(counted.get() + usize::from(asks_for_four));
            let Some((code, list)) = answer else { continue };
            let mut reply = buffer[..read].to_vec();
            (reply[2], reply[3]) = (0x81, *code);
            if asks_for_four && *code == 0 {
                reply[7] = u8::try_from(list.len()).unwrap();
                for ip in list {
                    reply.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                    reply.extend_from_slice(&ip.octets());
                }
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    (address, asked)
}

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

#[tokio::test(flavor = "current_thread")]
async fn escape_022_a_name_that_leads_inwards_is_refused_after_it_was_resolved() {
    LocalSet::new()
        .run_until(async {
            let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = trap.local_addr().unwrap().port();
            for answer in [
                vec![LOOPBACK],
                vec![METADATA],
                vec![Ipv4Addr::new(10, 0, 0, 1)],
                vec![Ipv4Addr::UNSPECIFIED],
                vec![PUBLIC, LOOPBACK],
                vec![PUBLIC, METADATA],
            ] {
                let (server, _asked) = name_server(vec![Some((0, answer.clone()))]).await;
                let resolver = Resolver::with_servers(vec![server]);
                let wanted = wanted(1, 1, "rebound.example", port, false);
                with_resolver(resolver, async |mut daemon| {
                    daemon.send(&wanted);
                    let (_, error, fds) = result(&mut daemon).await;
                    assert_eq!(error, Some(ConnectError::AddressDenied), "{answer:?}");
                    assert!(fds.is_empty());
                })
                .await;
            }
            let own = TcpStream::connect(trap.local_addr().unwrap()).await.unwrap();
            let (_, first) = trap.accept().await.unwrap();
            assert_eq!(first, own.local_addr().unwrap(), "somebody connected before");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn escape_022_a_name_is_looked_up_once_and_exactly_what_was_judged_is_connected_to() {
    LocalSet::new()
        .run_until(async {
            let (one, other) = (Ipv4Addr::new(127, 0, 0, 7), Ipv4Addr::new(127, 0, 0, 8));
            let trap = TcpListener::bind((one, 0)).await.unwrap();
            let port = trap.local_addr().unwrap().port();
            let elsewhere = TcpListener::bind((other, port)).await;
            // Whoever asked a second time would be led elsewhere.
            let (server, asked) =
                name_server(vec![Some((0, vec![one])), Some((0, vec![other]))]).await;
            let wanted = wanted(1, 1, "rebound.example", port, true);
            with_resolver(Resolver::with_servers(vec![server]), async |mut daemon| {
                daemon.send(&wanted);
                let (_, error, fds) = result(&mut daemon).await;
                assert_eq!((error, fds.len()), (None, 1));
                trap.accept().await.unwrap();
                assert_eq!(asked.get(), 1);
            })
            .await;
            drop(elsewhere);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn escape_023_ten_thousand_connections_end_at_the_share_of_a_sandbox() {
    with_net(async |mut daemon| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut open, mut refused) = (Vec::new(), 0);
        for req in 0..10_000 {
            daemon.send(&wanted(req, 1, "127.0.0.1", port, true));
            let (_, error, fds) = result(&mut daemon).await;
            match error {
                None => open.push((stream(fds), listener.accept().await.unwrap())),
                Some(error) => {
                    assert_eq!(error, ConnectError::Exhausted);
                    refused += 1;
                }
            }
        }
        assert_eq!((open.len(), refused), (RELAYS_PER_SANDBOX, 10_000 - RELAYS_PER_SANDBOX));
        daemon.send(&wanted(10_000, 2, "127.0.0.1", port, true));
        assert_eq!(result(&mut daemon).await.1, None, "another sandbox has its own share");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn attack_021_a_thousand_dead_stubs_leave_nothing_to_a_peer_that_never_closes() {
    with_net(async |mut daemon| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut alive = Vec::new();
        for dead in 0..1_000_u32 {
            daemon.send(&wanted(dead.into(), dead, "127.0.0.1", port, true));
            let (_, error, fds) = result(&mut daemon).await;
            assert_eq!(error, None, "stub {dead}");
            let (mut far, _) = listener.accept().await.unwrap();
            if dead % 2 == 0 {
                // The process is gone, and its descriptors with it.
                drop(fds);
            } else {
                // The daemon says so, and somebody still holds a copy.
                daemon.send(&CtlDown::NetForget { sandbox: dead });
                alive.push(fds);
            }
            assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "the role has closed its end");
            drop(far);
        }
        assert_eq!(alive.len(), 500);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn fault_041_a_name_server_that_fails_in_any_way_costs_one_connection_its_budget_at_most() {
    const NO_NAME: u8 = 3;
    const FAILED: u8 = 2;
    for (answer, word) in [
        (Some((NO_NAME, Vec::new())), "has no address"),
        (Some((FAILED, Vec::new())), "no name server answers"),
        (None, "no name server answers"),
    ] {
        LocalSet::new()
            .run_until(async {
                let (server, _asked) = name_server(vec![answer.clone()]).await;
                with_resolver(Resolver::with_servers(vec![server]), |mut daemon| async move {
                    let begun = std::time::Instant::now();
                    daemon.send(&wanted(1, 1, "some.example", 9, true));
                    let (CtlUp::NetResult { req: 1, error: Some((error, text)) }, _) =
                        daemon.ctl().await
                    else {
                        panic!("no answer for {word}");
                    };
                    assert_eq!(error, ConnectError::NotResolved);
                    assert!(text.contains(word), "{text}");
                    assert!(begun.elapsed() < std::time::Duration::from_secs(6));
                })
                .await;
            })
            .await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn fault_041_a_name_that_flips_its_address_is_judged_again_each_time() {
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            // To here, to what is no host's, and back.
            let flips = [LOOPBACK, Ipv4Addr::UNSPECIFIED, LOOPBACK];
            let answers = flips.iter().map(|ip| Some((0, vec![*ip]))).collect();
            let (server, _asked) = name_server(answers).await;
            with_resolver(Resolver::with_servers(vec![server]), |mut daemon| async move {
                let mut open = Vec::new();
                for (req, ip) in (0..).zip(&flips) {
                    daemon.send(&wanted(req, 1, "flip.example", port, true));
                    let (_, error, fds) = result(&mut daemon).await;
                    let denied = (*ip != LOOPBACK).then_some(ConnectError::AddressDenied);
                    assert_eq!(error, denied, "{ip}");
                    open.push(fds);
                }
                // Without leave not even the first.
                daemon.send(&wanted(9, 1, "flip.example", port, false));
                assert_eq!(result(&mut daemon).await.1, Some(ConnectError::AddressDenied));
                drop(listener);
            })
            .await;
        })
        .await;
}
