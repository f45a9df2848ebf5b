//! Connections of other runtimes: who comes is relayed to the sandbox that listens.

use super::Resolver;
use super::{result, stream, wanted, with_role};
use crate::net::limits::GUESTS_PER_ADDRESS;
use crate::port::tests::DaemonEnd;
use protocol::ctl::{CtlDown, CtlUp};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

/// Runs `test` with a role that has this listener from before.
async fn with_door<F: Future<Output = ()>>(
    listener: Option<std::net::TcpListener>,
    test: impl FnOnce(DaemonEnd) -> F,
) {
    with_role(Resolver::parse("", ""), listener, test).await;
}

/// A bound listener and its address.
fn door() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

async fn guest(daemon: &mut DaemonEnd) -> (String, UnixStream) {
    match daemon.ctl().await {
        (CtlUp::Incoming { from }, fds) => (from, stream(fds)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn who_comes_is_relayed_to_the_sandbox_that_listens_and_to_no_other() {
    let (listener, at) = door();
    with_door(Some(listener), |mut daemon| async move {
        // Before anybody listens, it waits.
        let mut far = TcpStream::connect(at).await.unwrap();
        far.write_all(b"ping").await.unwrap();
        daemon.send(&CtlDown::NetListen { sandbox: 3 });
        let (from, mut inside) = guest(&mut daemon).await;
        assert_eq!(from, far.local_addr().unwrap().to_string());
        let mut got = [0; 4];
        inside.read_exact(&mut got).await.unwrap();
        inside.write_all(b"pong").await.unwrap();
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"pong");
        daemon.send(&CtlDown::NetForget { sandbox: 3 });
        assert_eq!(far.read(&mut got).await.unwrap(), 0, "it ends with its sandbox");
        // And the next one waits for the next sandbox.
        let mut next = TcpStream::connect(at).await.unwrap();
        next.write_all(b"more").await.unwrap();
        daemon.send(&CtlDown::NetListen { sandbox: 4 });
        let (_, mut inside) = guest(&mut daemon).await;
        inside.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"more");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn attack_022_who_comes_and_goes_without_end_leaves_room_for_others() {
    let (listener, at) = door();
    with_door(Some(listener), |mut daemon| async move {
        daemon.send(&CtlDown::NetListen { sandbox: 3 });
        let other = TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let from = other.local_addr().unwrap().to_string();
        let coming = tokio::task::spawn_local(async move {
            for _ in 0..200 {
                let mut stream = TcpStream::connect(at).await.unwrap();
                assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
            }
            let mut other = other.connect(at).await.unwrap();
            other.write_all(b"here").await.unwrap();
            other
        });
        let mut inside = loop {
            match daemon.ctl().await {
                (CtlUp::Incoming { from: who }, fds) if who == from => break stream(fds),
                // Whoever else is let in is shown out at once.
                (CtlUp::Incoming { .. } | CtlUp::Listening { .. }, _) => {}
                other => panic!("{other:?}"),
            }
        };
        inside.read_exact(&mut [0; 4]).await.unwrap();
        coming.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn one_host_gets_its_share_of_the_door_and_what_is_turned_away_is_counted() {
    let (listener, at) = door();
    with_door(Some(listener), |mut daemon| async move {
        daemon.send(&CtlDown::NetListen { sandbox: 3 });
        let (mut far, mut near) = (Vec::new(), Vec::new());
        for _ in 0..GUESTS_PER_ADDRESS {
            far.push(TcpStream::connect(at).await.unwrap());
            near.push(guest(&mut daemon).await);
        }
        for _ in 0..3 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
        let mut turned_away = 0;
        while turned_away < 3 {
            match daemon.ctl().await {
                (CtlUp::Listening { error: None, turned_away: more }, _) => turned_away += more,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(turned_away, 3);
        // They do not use up what the sandbox may connect to itself.
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        daemon.send(&wanted(1, 3, "127.0.0.1", other.local_addr().unwrap().port(), true));
        assert_eq!(result(&mut daemon).await.1, None);
    })
    .await;
}
