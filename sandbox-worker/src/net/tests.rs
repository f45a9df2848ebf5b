//! The net role against a daemon's end of a link, over real sockets on loopback.

use super::{Resolver, serve};
use crate::port::Port;
use crate::port::tests::DaemonEnd;
use protocol::ctl::{ConnectError, CtlDown, CtlUp};
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::LocalSet;

/// Runs `test` with the daemon's end of a link to a running net role.
async fn with_net<F: Future<Output = ()>>(test: impl FnOnce(DaemonEnd) -> F) {
    LocalSet::new()
        .run_until(async {
            let (daemon, socket) = DaemonEnd::new();
            let net = tokio::task::spawn_local(async move {
                let mut port = Port::new(socket).unwrap();
                serve(&mut port, Resolver::parse("", "")).await
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
