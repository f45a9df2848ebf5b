//! Connections that come in, from runtimes that are whom they say and from others.

use super::{LONG, World, assign, run};
use crate::engine::limits::{GUEST_MESSAGE_BYTES, PEER_PING, PEER_SILENCE, STRANGERS_MAX};
use crate::fetch::tls;
use crate::stub::guests::Lobby;
use crate::stub::peers::shown;
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::ctl::{CtlDown, CtlUp, EngineKind, PeerIdentity};
use protocol::frame::ExtTag;
use protocol::sys;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/certificates/", $name))
    };
}

const ROOT: &str = pem!("ca.pem");
const BETA: (&str, &str) = (pem!("beta.pem"), pem!("beta.key"));
const FORGED: (&str, &str) = (pem!("forged.pem"), pem!("forged.key"));
const GAMMA: (&str, &str) = (pem!("gamma.pem"), pem!("gamma.key"));

fn identity((certificate, key): (&str, &str), listens: bool) -> PeerIdentity {
    let peer = |domain: &str| (domain.to_owned(), ROOT.to_owned());
    PeerIdentity {
        certificate_pem: certificate.to_owned(),
        key_pem: key.to_owned(),
        listens,
        peers: vec![peer("alpha.example"), peer("beta.example")],
    }
}

/// Tells who comes and what they say, and says it back.
const SERVER: &str = "
  const tell = (body) => bus.postMessage({ type: 'event', to: 'test://told.to/me', body });
  const server = new WebSocketServer();
  server.onconnection = ({ socket }) => {
    tell(['came', socket.peer, socket.readyState]);
    socket.onmessage = ({ data }) => { tell(['said', data.length]); socket.send(data); };
    socket.onclose = ({ code }) => tell(['left', code]);
  };";

/// The domain that a message of the component is marked with.
async fn mark(world: &mut World) -> Option<String> {
    let frame = world.posted().await;
    let mark = frame.view().unwrap().ext().find(ExtTag::Guest).map(<[u8]>::to_vec);
    mark.map(|domain| String::from_utf8(domain).unwrap())
}

/// A component with the grant, which is called by the name `alpha.example`.
async fn listening(body: &str) -> World {
    let own = (pem!("alpha.pem"), pem!("alpha.key"));
    let before = CtlDown::Identity(Box::new(identity(own, true)));
    let code = format!("export default (url, bus) => {{ {body} return {{ name: 'x' }}; }}");
    let mut world = World::begin(Some(before), assign(EngineKind::Js), &code).await;
    assert_eq!(world.ctl().await.0, CtlUp::Loaded);
    assert_eq!(world.ctl().await.0, CtlUp::Activated { name: "x".to_owned() });
    world
}

fn knock(world: &mut World, conn: u32) -> UnixStream {
    let (near, far) = sys::socketpair_stream().unwrap();
    world.daemon.send_with(&CtlDown::Incoming { conn, from: "192.0.2.7:1".to_owned() }, vec![far]);
    UnixStream::from_std(near.into()).unwrap()
}

type Socket = WebSocketStream<TlsStream<UnixStream>>;

/// Comes as this, and says that it is of this domain.
async fn visit(
    world: &mut World,
    conn: u32,
    own: Option<(&str, &str)>,
    domain: &str,
) -> Result<Socket, String> {
    let stream = knock(world, conn);
    let own = own.map(|own| shown(&identity(own, false)).unwrap());
    let connector = TlsConnector::from(tls::client(ROOT, own).unwrap());
    let name = ServerName::try_from("alpha.example").unwrap();
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    let url = format!("wss://alpha.example/{domain}");
    client_async(url, stream).await.map(|(socket, _)| socket).map_err(|error| error.to_string())
}

/// How the connection ended, as the daemon is told; sooner or later than what the component says.
async fn left(world: &mut World) -> (u32, Option<String>) {
    if let Some(left) = world.left.pop() {
        return left;
    }
    match world.ctl().await.0 {
        CtlUp::Left { conn, refused } => (conn, refused),
        other => panic!("{other:?}"),
    }
}

async fn refused(world: &mut World, id: u32) -> String {
    match left(world).await {
        (conn, Some(why)) if conn == id => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_runtime_of_a_domain_that_may_come_talks_to_the_component() {
    run(async {
        let mut world = listening(SERVER).await;
        let mut socket = visit(&mut world, 1, Some(BETA), "beta.example").await.unwrap();
        let peer = CtlUp::Peer { conn: 1, domain: "beta.example".to_owned() };
        assert_eq!(world.ctl().await.0, peer);
        assert_eq!(world.told().await, json!(["came", "beta.example", 1]));
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(world.told().await, json!(["said", 5]));
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
        socket.close(None).await.unwrap();
        assert_eq!(world.told().await, json!(["left", 1005]));
        assert_eq!(left(&mut world).await, (1, None));
    });
}

#[test]
fn attack_023_what_is_said_on_hearing_a_guest_is_marked_with_its_domain_and_nothing_else_is() {
    run(async {
        let later = SERVER.replace("socket.send(data);", "setTimeout(() => tell(['later']), 1);");
        let mut world = listening(&later).await;
        for (id, domain) in [(1, "beta.example"), (2, "beta.example")] {
            let mut socket = visit(&mut world, id, Some(BETA), domain).await.unwrap();
            world.ctl().await;
            assert_eq!(mark(&mut world).await, None, "it came");
            socket.send(Message::text("hello")).await.unwrap();
            assert_eq!(mark(&mut world).await, Some(domain.to_owned()), "it said something");
            assert_eq!(mark(&mut world).await, None, "later");
            socket.close(None).await.unwrap();
            assert_eq!(mark(&mut world).await, None, "it left");
            left(&mut world).await;
        }
    });
}

#[test]
fn whoever_is_of_no_domain_that_may_come_is_refused_before_the_component_hears_of_it() {
    run(async {
        let mut world = listening(SERVER).await;
        let strangers = [
            (Some(GAMMA), "gamma.example"),
            (Some(FORGED), "alpha.example"),
            (Some(BETA), "alpha.example"),
            (Some(BETA), ""),
            (None, "beta.example"),
        ];
        for (id, (own, domain)) in (1..).zip(strangers) {
            // With TLS 1.3 a client learns of its refusal when it reads.
            if let Ok(mut socket) = visit(&mut world, id, own, domain).await {
                assert!(!matches!(socket.next().await, Some(Ok(_))), "{domain}");
            }
            let why = refused(&mut world, id).await;
            assert!(why.starts_with("192.0.2.7:1: no "), "{why}");
        }
        let _socket = visit(&mut world, 9, Some(BETA), "beta.example").await.unwrap();
        let peer = CtlUp::Peer { conn: 9, domain: "beta.example".to_owned() };
        assert_eq!(world.ctl().await.0, peer, "nothing was said before");
    });
}

#[test]
fn a_guest_that_sends_too_much_at_once_is_shown_out() {
    run(async {
        let mut world = listening(SERVER).await;
        let mut socket = visit(&mut world, 1, Some(BETA), "beta.example").await.unwrap();
        world.ctl().await;
        assert_eq!(world.told().await, json!(["came", "beta.example", 1]));
        let most = "x".repeat(GUEST_MESSAGE_BYTES);
        socket.send(Message::text(most.clone())).await.unwrap();
        assert_eq!(world.told().await, json!(["said", GUEST_MESSAGE_BYTES]));
        let read = tokio::task::spawn_local(async move {
            // It is cut off while it sends, or when it looks.
            drop(socket.send(Message::text(format!("{most}x"))).await);
            while let Some(Ok(_)) = socket.next().await {}
        });
        assert_eq!(world.told().await, json!(["left", 1006]));
        let why = refused(&mut world, 1).await;
        assert!(why.starts_with("beta.example at 192.0.2.7:1: "), "{why}");
        read.await.unwrap();
    });
}

#[test]
fn a_guest_that_floods_is_shown_out() {
    run(async {
        let quiet = SERVER.replace("tell(['said', data.length]); socket.send(data);", "");
        let mut world = listening(&quiet).await;
        let mut socket = visit(&mut world, 1, Some(BETA), "beta.example").await.unwrap();
        world.ctl().await;
        assert_eq!(world.told().await, json!(["came", "beta.example", 1]));
        let flood = tokio::task::spawn_local(async move {
            while socket.send(Message::text("x")).await.is_ok() {}
        });
        assert_eq!(world.told().await, json!(["left", 1006]));
        let why = refused(&mut world, 1).await;
        assert!(why.ends_with("more messages than the rate allows"), "{why}");
        flood.await.unwrap();
    });
}

#[test]
fn without_the_grant_there_is_no_server_and_nobody_is_let_in() {
    run(async {
        let code = "export default () => { let name; try { new WebSocketServer(); } catch (e) { name = e.name; } return { name }; }";
        let mut world = World::new(assign(EngineKind::Js), code).await;
        assert_eq!(world.ctl().await.0, CtlUp::Loaded);
        let name = "NotAllowedError".to_owned();
        assert_eq!(world.ctl().await.0, CtlUp::Activated { name });
        let mut stream = knock(&mut world, 4);
        assert_eq!(refused(&mut world, 4).await, "192.0.2.7:1: nobody may come here");
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn a_key_that_is_not_that_of_the_certificate_fails_the_deploy() {
    run(async {
        let before = CtlDown::Identity(Box::new(identity((BETA.0, GAMMA.1), true)));
        let mut world =
            World::begin(Some(before), assign(EngineKind::Js), "export default () => 1").await;
        let CtlUp::DeployFailed { stage, text } = world.ctl().await.0 else { panic!() };
        assert_eq!(stage, "load");
        assert!(text.starts_with("the key of [p2p]"), "{text}");
    });
}

#[test]
fn attack_022_strangers_that_say_nothing_keep_nobody_out() {
    run(async {
        let mut world = listening(SERVER).await;
        let strangers = u32::try_from(STRANGERS_MAX).unwrap();
        let mut silent: Vec<_> = (1..=strangers).map(|id| knock(&mut world, id)).collect();
        let mut socket = visit(&mut world, 100, Some(BETA), "beta.example").await.unwrap();
        let why = refused(&mut world, 1).await;
        assert_eq!(why, "192.0.2.7:1: it said too little before others came");
        assert_eq!(silent.remove(0).read(&mut [0]).await.unwrap(), 0);
        let peer = CtlUp::Peer { conn: 100, domain: "beta.example".to_owned() };
        assert_eq!(world.ctl().await.0, peer);
        assert_eq!(world.told().await, json!(["came", "beta.example", 1]));
        // Its place is no stranger's any more, whoever comes.
        for id in 201..=200 + 2 * strangers {
            silent.push(knock(&mut world, id));
        }
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(world.told().await, json!(["said", 5]));
        // All but as many as have places are gone: they were in before the message was.
        let mut gone: Vec<_> = world.left.drain(..).map(|(conn, _)| conn).collect();
        while gone.len() < silent.len() - STRANGERS_MAX {
            gone.push(left(&mut world).await.0);
        }
        assert!(!gone.contains(&100), "{gone:?}");
    });
}

#[test]
fn there_are_only_so_many_guests_at_a_time() {
    let mut lobby = Lobby::default();
    for id in 0..64 {
        assert_eq!(lobby.came(id, ""), None);
        assert_eq!(lobby.known(id), id < 48, "{id}");
    }
    assert!(!lobby.known(99), "it was never there");
    lobby.came(99, "");
    lobby.left(0);
    assert!(lobby.known(99), "there is room again");
    lobby.came(100, "");
    lobby.left(100);
    assert!(!lobby.known(100), "it was shown out before");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_guest_that_does_not_say_who_it_is_is_not_waited_for() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let mut world = listening(SERVER).await;
            let mut silent = knock(&mut world, 1);
            let why = timeout(LONG, refused(&mut world, 1)).await.unwrap();
            assert!(why.ends_with("it did not say who it is in time"), "{why}");
            assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_guest_is_asked_whether_it_lives_and_stays_while_it_answers() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let mut world = listening(SERVER).await;
            let mut socket =
                Box::pin(visit(&mut world, 1, Some(BETA), "beta.example")).await.unwrap();
            world.ctl().await;
            assert_eq!(world.told().await, json!(["came", "beta.example", 1]));
            let came = Instant::now();
            for asked in 1..=4 {
                // Reading on is what answers.
                let message = socket.next().await.unwrap().unwrap();
                assert!(message.is_ping(), "{message:?}");
                assert_eq!(came.elapsed().as_secs(), PEER_PING.as_secs() * asked);
            }
            assert!(came.elapsed() > PEER_SILENCE);
            socket.send(Message::text("hello")).await.unwrap();
            assert_eq!(world.told().await, json!(["said", 5]));
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_guest_that_does_not_answer_for_forty_seconds_is_taken_for_gone() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let mut world = listening(SERVER).await;
            let _socket = Box::pin(visit(&mut world, 1, Some(BETA), "beta.example")).await.unwrap();
            world.ctl().await;
            assert_eq!(world.told().await, json!(["came", "beta.example", 1]));
            let came = Instant::now();
            assert_eq!(world.told().await, json!(["left", 1006]));
            assert_eq!(came.elapsed().as_secs(), PEER_SILENCE.as_secs());
            assert_eq!(left(&mut world).await, (1, None), "it did nothing wrong");
        })
        .await;
}

/// A component that goes to another runtime and tells how that ends.
async fn going(to_runtime: bool) -> (World, WebSocketStream<UnixStream>) {
    let before = to_runtime.then(|| CtlDown::Identity(Box::new(identity(BETA, false))));
    let code = "export default (url, bus) => {
      const socket = new WebSocket('ws://node.example/beta.example');
      socket.onclose = ({ code }) =>
        bus.postMessage({ type: 'event', to: 'test://told.to/me', body: ['left', code] });
      return { name: 'x' }; }";
    let mut world = World::begin(before, assign(EngineKind::Js), code).await;
    assert_eq!(world.ctl().await.0, CtlUp::Loaded);
    assert_eq!(world.ctl().await.0, CtlUp::Activated { name: "x".to_owned() });
    let (_, stream) = world.connect("node.example", 80).await;
    let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    (world, socket)
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_runtime_that_was_gone_to_and_does_not_answer_is_taken_for_gone_too() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let (mut world, mut socket) = going(true).await;
            let opened = Instant::now();
            let asked = timeout(PEER_SILENCE, socket.next()).await.expect("it is asked");
            assert!(asked.unwrap().unwrap().is_ping());
            assert_eq!(opened.elapsed().as_secs(), PEER_PING.as_secs());
            // Nobody reads on, so nobody answers; the first question was not answered either.
            assert_eq!(world.told().await, json!(["left", 1006]));
            assert!(opened.elapsed() <= PEER_PING + PEER_SILENCE);
            // Other servers need not know of it.
            let (_world, mut socket) = going(false).await;
            let day = Duration::from_hours(24);
            assert!(timeout(day, socket.next()).await.is_err(), "it is asked nothing");
        })
        .await;
}
