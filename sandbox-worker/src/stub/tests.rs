//! The role over a real link, with a daemon and servers in the same process.

mod guests;

use super::serve;
use crate::port::Port;
use crate::port::tests::DaemonEnd;
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::ctl::{Assign, ConnectError, CtlDown, CtlUp, EngineKind, HostProfile, Target};
use protocol::frame::{Frame, FrameBuilder, flags};
use protocol::link::Got;
use protocol::sys;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, LocalSet};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::Message;

const URL: &str = "hyperty-runtime://home.example/7/protostub/1";
const CA: &str = include_str!("../fetch/tests/ca.pem");
const LEAF: &str = include_str!("../fetch/tests/leaf.pem");
const KEY: &str = include_str!("../fetch/tests/key.pem");

/// The longest that anything here may take.
const LONG: Duration = Duration::from_secs(20);

fn assign(engine: EngineKind) -> Box<Assign> {
    Box::new(Assign {
        component: URL.to_owned(),
        runtime_url: "hyperty-runtime://home.example/7".to_owned(),
        config: "{}".to_owned(),
        profile: HostProfile::Worker,
        engine,
        ca_pem: CA.to_owned(),
        memory_bytes: 32 << 20,
        turn_ms: 300,
        grants: vec!["node.example:80".to_owned(), "secure.example:443".to_owned()],
    })
}

/// A daemon's end and the worker's task.
struct World {
    daemon: DaemonEnd,
    worker: JoinHandle<Result<(), String>>,
    /// Streams that the worker gave back.
    closed: Vec<u32>,
    /// Why guests left, if they were shown out.
    left: Vec<(u32, Option<String>)>,
}

impl World {
    async fn new(assign: Box<Assign>, code: &str) -> Self {
        Self::begin(None, assign, code).await
    }

    /// With something that the daemon says before.
    async fn begin(before: Option<CtlDown>, assign: Box<Assign>, code: &str) -> Self {
        let (mut daemon, socket) = DaemonEnd::new();
        let worker = tokio::task::spawn_local(async move {
            let mut port = Port::new(socket).unwrap();
            serve(&mut port).await.map_err(|error| error.to_string())
        });
        assert!(matches!(daemon.next().await, Some((Got::Hello(hello), ..)) if hello.role == 1));
        daemon.welcome();
        if let Some(before) = before {
            daemon.send(&before);
        }
        let code = sys::sealed_memfd("code", code.as_bytes()).unwrap();
        daemon.send_with(&CtlDown::Assign(assign), vec![code]);
        Self { daemon, worker, closed: Vec::new(), left: Vec::new() }
    }

    /// With a form-A component whose `activate` is this, active.
    async fn active(body: &str) -> Self {
        let code = format!(
            "export default function activate(url, bus, config) {{
               const tell = (body) => bus.postMessage({{ type: 'event', from: url, to: 'test://told.to/me', body }});
               {body}
               return {{ name: 'test', instance: {{ disconnect() {{ tell('bye'); }} }} }}; }}"
        );
        let mut world = Self::new(assign(EngineKind::Js), &code).await;
        assert_eq!(world.ctl().await.0, CtlUp::Loaded);
        assert_eq!(world.ctl().await.0, CtlUp::Activated { name: "test".to_owned() });
        world
    }

    /// The next control message that is no line of the log.
    async fn ctl(&mut self) -> (CtlUp, Vec<OwnedFd>) {
        loop {
            match self.daemon.ctl().await {
                (CtlUp::Log { .. }, _) => {}
                other => return other,
            }
        }
    }

    fn message(&mut self, kind: u8, to: &str, body: &str) {
        let frame = FrameBuilder::msg(kind, "5", "hyperty://home.example/a", to)
            .flag(flags::ID_NUM | flags::REPLY)
            .body(body.as_bytes())
            .build()
            .unwrap();
        self.daemon.link.out.push(frame.bytes());
        self.daemon.flush();
    }

    /// The next message of the component.
    async fn posted(&mut self) -> Frame {
        loop {
            match self.daemon.next().await.expect("the link is over") {
                (Got::Msg, frame, _) => {
                    self.daemon.link.incoming.disposed(frame.bytes().len());
                    self.daemon.flush();
                    return frame;
                }
                (Got::Ack(_) | Got::Pong, ..) => {}
                (Got::Ctl, frame, _) => {
                    match CtlUp::decode(frame.view().unwrap().body()).unwrap() {
                        CtlUp::Closed { req } => self.closed.push(req),
                        CtlUp::Left { conn, refused } => self.left.push((conn, refused)),
                        CtlUp::Log { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn told(&mut self) -> serde_json::Value {
        let frame = self.posted().await;
        let view = frame.view().unwrap();
        assert_eq!(view.to(), "test://told.to/me");
        serde_json::from_slice(view.body()).unwrap()
    }

    /// Gives the next stream that is asked for, and its other end.
    async fn connect(&mut self, host: &str, port: u16) -> (u32, UnixStream) {
        let (CtlUp::Connect { req, target }, _) = self.ctl().await else { panic!() };
        assert_eq!(target, Target::Tcp { host: host.to_owned(), port });
        let (near, far) = sys::socketpair_stream().unwrap();
        self.daemon.send_with(&CtlDown::Connected { req }, vec![far]);
        (req, UnixStream::from_std(near.into()).unwrap())
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(LONG, test).await.expect("took too long");
    });
}

#[test]
fn a_component_is_loaded_activated_used_and_removed() {
    run(async {
        let mut world = World::active(
            "bus.addListener('*', (m) => bus.postMessage({ id: m.id, type: 'response', from: m.to, to: m.from, body: { code: 200, got: m.body } }));",
        )
        .await;
        world.message(2, "hyperty://far.example/b", r#"{"a":1}"#);
        let frame = world.posted().await;
        let view = frame.view().unwrap();
        assert_eq!(
            (view.from(), view.to()),
            ("hyperty://far.example/b", "hyperty://home.example/a")
        );
        assert_eq!((view.id(), view.header.code), ("5", 200));
        assert_eq!(view.body(), br#"{"code":200,"got":{"a":1}}"#);
        world.daemon.send(&CtlDown::Remove { grace_ms: 2_000 });
        assert_eq!(world.told().await, "bye");
        assert_eq!(world.ctl().await.0, CtlUp::Removed);
        assert!(matches!(world.daemon.next().await, Some((Got::Bye, ..))));
        assert_eq!(world.worker.await.unwrap(), Ok(()));
    });
}

#[test]
fn what_does_not_load_or_activate_is_told_with_its_stage() {
    run(async {
        for (code, expected, text) in [
            ("throw new Error('on purpose')", "load", "on purpose"),
            ("exports.default = () => { for (;;) {} }", "activate", "interrupted"),
        ] {
            let mut world = World::new(assign(EngineKind::Js), code).await;
            let mut told = world.ctl().await.0;
            if told == CtlUp::Loaded {
                told = world.ctl().await.0;
            }
            let CtlUp::DeployFailed { stage, text: said } = told else { panic!("{told:?}") };
            assert_eq!(stage, expected);
            assert!(said.contains(text), "{said}");
        }
    });
}

#[test]
fn a_component_that_listens_late_gets_what_came_early_and_one_that_never_does_refuses() {
    run(async {
        let mut world = World::active(
            "setTimeout(() => bus.addListener('hyperty://far.example/late', (m) => tell(m.body)), 50);",
        )
        .await;
        world.message(2, "hyperty://far.example/late", "[1]");
        world.message(2, "hyperty://far.example/late", "[2]");
        assert_eq!(world.told().await, serde_json::json!([1]));
        assert_eq!(world.told().await, serde_json::json!([2]));
        for _ in 0..257 {
            world.message(2, "hyperty://far.example/never", "{}");
        }
        let refused = world.posted().await;
        let view = refused.view().unwrap();
        assert_eq!((view.from(), view.header.code), ("hyperty://far.example/never", 404));
    });
}

#[test]
fn heartbeats_are_answered_by_the_loop_that_runs_the_component() {
    run(async {
        let mut world = World::active("bus.addListener('*', () => { for (;;) {} });").await;
        world.message(2, "hyperty://far.example/b", "{}");
        let begun = std::time::Instant::now();
        world.daemon.link.out.push_plain(protocol::frame::Kind::Ping, b"12345678");
        world.daemon.flush();
        while !matches!(world.daemon.next().await, Some((Got::Pong, ..))) {}
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    });
}

/// Answers text with the same text twice and bytes reversed, then closes.
#[allow(clippy::result_large_err, reason = "the signature of a handshake callback")]
async fn serve_socket(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path_and_query().unwrap().as_str(), "/ws?a=b");
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "sip, other");
        response.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, choose).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => {
                socket.send(Message::text(format!("{text}{text}"))).await.unwrap();
            }
            Message::Binary(bytes) => {
                let bytes: Vec<u8> = bytes.iter().rev().copied().collect();
                socket.send(Message::binary(bytes)).await.unwrap();
            }
            _ => {}
        }
    }
}

fn socket_code(url: &str) -> String {
    format!(
        "const socket = new WebSocket('{url}', ['sip', 'other']);
         socket.onopen = () => {{ tell(['open', socket.protocol]); socket.send('h\u{e9}'); socket.send(new Uint8Array([1, 255, 0])); }};
         socket.onmessage = (e) => {{
           if (typeof e.data === 'string') {{ tell(e.data); return; }}
           tell([...new Uint8Array(e.data)]);
           setTimeout(() => {{ tell(socket.bufferedAmount); socket.close(4000, 'done'); }}, 20); }};
         socket.onclose = (e) => tell(['close', e.code, e.reason, e.wasClean]);"
    )
}

async fn socket_conversation(world: &mut World) {
    for expected in [
        serde_json::json!(["open", "sip"]),
        serde_json::json!("h\u{e9}h\u{e9}"),
        serde_json::json!([0, 255, 1]),
        serde_json::json!(0),
        serde_json::json!(["close", 4000, "done", true]),
    ] {
        assert_eq!(world.told().await, expected);
    }
}

#[test]
fn a_websocket_speaks_text_and_bytes_over_a_stream_of_the_daemon() {
    run(async {
        let mut world = World::active(&socket_code("ws://node.example/ws?a=b")).await;
        let (req, stream) = world.connect("node.example", 80).await;
        tokio::task::spawn_local(serve_socket(stream));
        socket_conversation(&mut world).await;
        // The stream may be given back before the component is told.
        if world.closed.is_empty() {
            assert_eq!(world.ctl().await.0, CtlUp::Closed { req });
        } else {
            assert_eq!(world.closed, [req]);
        }
    });
}

#[test]
fn tls_ends_inside_and_trusts_the_root_that_was_assigned() {
    run(async {
        let mut world = World::active(&socket_code("wss://secure.example/ws?a=b")).await;
        let (_, stream) = world.connect("secure.example", 443).await;
        tokio::task::spawn_local(async move { serve_socket(tls(stream).await.unwrap()).await });
        socket_conversation(&mut world).await;
    });
}

async fn tls(stream: UnixStream) -> std::io::Result<tokio_rustls::server::TlsStream<UnixStream>> {
    tls_with(LEAF, stream).await
}

async fn tls_with(
    leaf: &str,
    stream: UnixStream,
) -> std::io::Result<tokio_rustls::server::TlsStream<UnixStream>> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(leaf.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)).accept(stream).await
}

#[test]
fn a_certificate_that_nobody_vouches_for_ends_the_connection() {
    run(async {
        let mut assign = assign(EngineKind::Js);
        assign.ca_pem = String::new();
        let code = "export default (url, bus) => {
          fetch('https://secure.example/').catch((e) => bus.postMessage({ type: 'event', to: 'test://told.to/me', body: e.message }));
          return { name: 'x' }; }";
        let mut world = World::new(assign, code).await;
        assert_eq!(world.ctl().await.0, CtlUp::Loaded);
        assert_eq!(world.ctl().await.0, CtlUp::Activated { name: "x".to_owned() });
        let (_, stream) = world.connect("secure.example", 443).await;
        tokio::task::spawn_local(async move { drop(tls(stream).await) });
        let told = world.told().await;
        assert!(told.as_str().unwrap().contains("certificate"), "{told}");
    });
}

#[test]
fn fault_040_a_node_whose_certificate_does_not_hold_gets_no_socket_and_no_word() {
    let expired = include_str!("../fetch/tests/expired.pem");
    let self_signed = include_str!("../fetch/tests/self-signed.pem");
    for (leaf, host) in
        [(expired, "secure.example"), (self_signed, "secure.example"), (LEAF, "other.example")]
    {
        run(async {
            let mut assign = assign(EngineKind::Js);
            assign.grants = vec![format!("{host}:443"), format!("{host}:80")];
            let code = format!(
                "export default (url, bus) => {{
                   const socket = new WebSocket('wss://{host}/ws');
                   const tell = (body) => bus.postMessage({{ type: 'event', to: 'test://told.to/me', body }});
                   socket.onopen = () => {{ tell('open'); socket.send('secret'); }};
                   socket.onclose = (e) => tell([e.code, e.wasClean]);
                   return {{ name: 'x' }}; }}"
            );
            let mut world = World::new(assign, &code).await;
            assert_eq!(world.ctl().await.0, CtlUp::Loaded);
            assert_eq!(world.ctl().await.0, CtlUp::Activated { name: "x".to_owned() });
            let (_, stream) = world.connect(host, 443).await;
            let server = tokio::task::spawn_local(tls_with(leaf, stream));
            // And no second try without TLS: nothing else is asked for.
            assert_eq!(world.told().await, serde_json::json!([1006, false]), "{host}");
            assert!(server.await.unwrap().is_err(), "{host} was believed");
        });
    }
}

#[test]
fn a_connection_that_is_not_granted_is_not_even_asked_for_and_a_refused_one_says_why() {
    run(async {
        let mut world = World::active(
            "const ask = (u) => fetch(u).catch((e) => tell(e.message)); ask('http://evil.example/').then(() => ask('http://node.example/'));",
        )
        .await;
        let told = world.told().await;
        assert!(told.as_str().unwrap().contains("evil.example:80 is not granted"), "{told}");
        let (CtlUp::Connect { req, .. }, _) = world.ctl().await else { panic!() };
        let text = "node.example is never connected to".to_owned();
        let error = ConnectError::AddressDenied;
        world.daemon.send(&CtlDown::ConnectRefused { req, error, text });
        let told = world.told().await;
        assert!(told.as_str().unwrap().contains("never connected"), "{told}");
    });
}

/// Reads one request up to the end of its head, then answers with these bytes.
async fn answer(mut stream: UnixStream, response: &[u8]) -> String {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&part[..read]);
    }
    stream.write_all(response).await.unwrap();
    String::from_utf8(request).unwrap()
}

#[test]
fn a_request_brings_raw_bytes_and_follows_a_redirect() {
    run(async {
        let mut world = World::active(
            "const x = new XMLHttpRequest(); x.open('POST', 'http://node.example/poll?t=1'); x.responseType = 'arraybuffer';
             x.setRequestHeader('X-A', 'b');
             x.onload = () => tell([x.status, x.responseURL, x.getResponseHeader('X-B'), [...new Uint8Array(x.response)]]); x.send('body');",
        )
        .await;
        let (req, stream) = world.connect("node.example", 80).await;
        let redirect = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n";
        let request = answer(stream, redirect).await;
        assert!(request.starts_with("POST /poll?t=1 HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("Host: node.example\r\n") && request.contains("X-A: b\r\n"),
            "{request}"
        );
        assert!(request.contains("Content-Length: 4\r\n"), "{request}");
        // The first stream is given back before the second is asked for.
        let second = loop {
            match world.ctl().await.0 {
                CtlUp::Closed { req: closed } => assert_eq!(closed, req),
                CtlUp::Connect { req, .. } => break req,
                other => panic!("{other:?}"),
            }
        };
        let (near, far) = sys::socketpair_stream().unwrap();
        world.daemon.send_with(&CtlDown::Connected { req: second }, vec![far]);
        let response = b"HTTP/1.1 200 OK\r\nX-B: c\r\nContent-Length: 4\r\n\r\n\x00\xFF\x80\x01";
        let request = answer(UnixStream::from_std(near.into()).unwrap(), response).await;
        assert!(request.starts_with("GET /there HTTP/1.1\r\n"), "{request}");
        let expected = serde_json::json!([200, "http://node.example/there", "c", [0, 255, 128, 1]]);
        assert_eq!(world.told().await, expected);
    });
}

#[test]
fn the_bench_engine_answers_without_any_code() {
    run(async {
        let mut world = World::new(assign(EngineKind::Echo), "").await;
        assert_eq!(world.ctl().await.0, CtlUp::Loaded);
        assert_eq!(world.ctl().await.0, CtlUp::Activated { name: "echo".to_owned() });
        world.message(2, "hyperty://far.example/b", r#"{"a":1}"#);
        let frame = world.posted().await;
        assert_eq!(frame.view().unwrap().body(), br#"{"a":1}"#);
        world.daemon.send(&CtlDown::Remove { grace_ms: 1 });
        assert_eq!(world.ctl().await.0, CtlUp::Removed);
        assert_eq!(world.worker.await.unwrap(), Ok(()));
    });
}
