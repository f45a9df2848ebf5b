//! The net and fetch roles as real processes, born by the spawner, with every wall in force.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "tests"
)]

#[path = "roles/daemon.rs"]
mod daemon;

use daemon::{Spawner, Worker};
use protocol::ctl::{
    Assign, ConnectError, CtlDown, CtlUp, EngineKind, FetchJob, HostProfile, Role, Shelf, Target,
};
use protocol::frame::{FrameBuilder, flags};
use protocol::sys::{self, Ended};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

fn connect(
    net: &mut Worker,
    host: &str,
    port: u16,
    private: bool,
) -> (Option<ConnectError>, Vec<OwnedFd>) {
    let host = host.to_owned();
    let wanted = CtlDown::NetConnect { req: 4, sandbox: 2, host, port, private, budget_ms: 5_000 };
    net.send(&wanted, Vec::new());
    match net.ctl() {
        (CtlUp::NetResult { req: 4, error }, fds) => (error.map(|(error, _)| error), fds),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_net_role_connects_and_relays_from_its_jail_and_ends_with_its_link() {
    let mut spawner = Spawner::start();
    let mut net = spawner.worker(Role::Net);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();

    assert_eq!(connect(&mut net, "localhost", port, false).0, Some(ConnectError::AddressDenied));
    assert_eq!(connect(&mut net, "127.1", port, true).0, Some(ConnectError::NotResolved));

    let (error, fds) = connect(&mut net, "127.0.0.1", port, true);
    assert_eq!(error, None);
    let mut inside = UnixStream::from(fds.into_iter().next().unwrap());
    inside.set_nonblocking(false).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    inside.write_all(b"ping").unwrap();
    let mut four = [0; 4];
    far.read_exact(&mut four).unwrap();
    far.write_all(b"pong").unwrap();
    inside.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"pong");

    assert_eq!(net.leave(), Ended::Code(0));
    assert_eq!(inside.read(&mut four).unwrap(), 0, "its streams end with it");
}

#[test]
fn the_net_role_listens_where_it_was_told_before_its_jail_closed() {
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut spawner = Spawner::start();
    let mut net = spawner.worker_listening(Role::Net, Some(at.to_string()));
    let (said, _) = net.ctl();
    assert_eq!(said, CtlUp::Listening { error: None, turned_away: 0 });
    net.send(&CtlDown::NetListen { sandbox: 2 }, Vec::new());
    let mut far = TcpStream::connect(at).unwrap();
    far.write_all(b"ping").unwrap();
    let (CtlUp::Incoming { from }, fds) = net.ctl() else { panic!("nobody came") };
    assert_eq!(from, far.local_addr().unwrap().to_string());
    let mut inside = UnixStream::from(fds.into_iter().next().unwrap());
    inside.set_nonblocking(false).unwrap();
    let mut four = [0; 4];
    inside.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"ping");

    // A second one finds the place taken, says so, and connects for others all the same.
    let mut other = spawner.worker_listening(Role::Net, Some(at.to_string()));
    let (CtlUp::Listening { error: Some(error), .. }, _) = other.ctl() else { panic!() };
    assert!(error.contains("in use"), "{error}");
    assert_eq!(connect(&mut other, "127.1", at.port(), true).0, Some(ConnectError::NotResolved));
    assert_eq!(net.leave(), Ended::Code(0));
    assert!(TcpStream::connect(at).is_err(), "the listener ends with it");
}

fn job(base: &str) -> CtlDown {
    CtlDown::Fetch(Box::new(FetchJob {
        base: base.to_owned(),
        alternatives: Vec::new(),
        shelf: Shelf::Protostub,
        names: vec!["default".into()],
        sources: Vec::new(),
        ca_pem: String::new(),
        budget_ms: 15_000,
    }))
}

#[test]
fn the_fetch_role_reads_a_file_catalogue_from_its_jail() {
    let mut spawner = Spawner::start();
    let mut fetch = spawner.worker(Role::Fetch);
    let folder = own_folder();
    std::fs::write(folder.join("descriptor"), br#"{"objectName":"x"}"#).unwrap();
    std::fs::write(folder.join("code"), b"code()").unwrap();
    let open = |name: &str| OwnedFd::from(std::fs::File::open(folder.join(name)).unwrap());

    fetch.send(&job("file:///srv/catalogue"), Vec::new());
    let mut code = None;
    while code.is_none() {
        match fetch.ctl() {
            (CtlUp::Connect { req, target: Target::File { path } }, _) => match path.as_str() {
                "protocolstub/default.ps.json" => {
                    fetch.send(&CtlDown::Connected { req }, vec![open("descriptor")]);
                }
                "protocolstub/default.ps.js" => {
                    fetch.send(&CtlDown::Connected { req }, vec![open("code")]);
                }
                _ => {
                    let (error, text) = (ConnectError::NotFound, "no".to_owned());
                    fetch.send(&CtlDown::ConnectRefused { req, error, text }, Vec::new());
                }
            },
            (CtlUp::Closed { .. }, _) => {}
            (CtlUp::Fetched { descriptor, .. }, _) => {
                assert_eq!(descriptor.name, "x");
                fetch.send(&CtlDown::FetchSource, Vec::new());
            }
            (CtlUp::Source { size: 6, .. }, fds) => {
                code = Some(sys::read_sealed(&fds[0], 100).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(code.unwrap(), b"code()");
    assert_eq!(fetch.ended(), Ended::Code(0), "one job a life");
}

/// A folder of this test alone.
fn own_folder() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("roles-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_fetch_role_speaks_http_from_its_jail() {
    let mut spawner = Spawner::start();
    let mut fetch = spawner.worker(Role::Fetch);
    fetch.send(&job("http://example.com"), Vec::new());
    let (CtlUp::Connect { req, target: Target::Tcp { host, port: 80 } }, _) = fetch.ctl() else {
        panic!("no connection is wanted");
    };
    assert_eq!(host, "example.com");
    let (near, mut far) = UnixStream::pair().unwrap();
    fetch.send(&CtlDown::Connected { req }, vec![near.into()]);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        head.extend_from_slice(&byte);
    }
    assert!(head.starts_with(b"GET /protocolstub/default HTTP/1.1\r\n"));
    let body = r#"{"sourcePackage":{"sourceCode":"a()"}}"#;
    write!(far, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    loop {
        match fetch.ctl() {
            (CtlUp::Closed { .. }, _) => {}
            (CtlUp::Fetched { origin, .. }, _) => {
                assert_eq!(origin, "http://example.com");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fetch.leave(), Ended::Code(0));
}

fn assign(engine: EngineKind) -> CtlDown {
    CtlDown::Assign(Box::new(Assign {
        component: "hyperty-runtime://home.example/rt/protostub/b.example".into(),
        runtime_url: "hyperty-runtime://home.example/rt".into(),
        config: "{}".into(),
        profile: HostProfile::Worker,
        engine,
        ca_pem: String::new(),
        memory_bytes: 64 * 1_048_576,
        turn_ms: 2_000,
        grants: Vec::new(),
    }))
}

/// Asks the component, and gives the body of its answer.
fn ask(worker: &mut Worker) -> String {
    let (from, to) = ("hyperty://home.example/a", "hyperty://b.example/b");
    let message = FrameBuilder::msg(2, "7", from, to).flag(flags::REPLY).body(br#"{"n":1}"#);
    worker.post(&message.build().unwrap());
    let answer = worker.message();
    let answer = answer.view().unwrap();
    assert_eq!((answer.id(), answer.from(), answer.to()), ("7", to, from));
    String::from_utf8(answer.body().to_vec()).unwrap()
}

#[test]
fn a_javascript_stub_is_loaded_and_answers_from_its_jail() {
    let code = br"
        export default function activate(url, bus, config) {
            bus.addListener('*', m => bus.postMessage({
                id: m.id, type: 'response', from: m.to, to: m.from,
                body: { code: 200, twice: m.body.n * 2, at: url } }));
            return { name: 'Twice', instance: {} };
        }";
    let mut spawner = Spawner::start();
    let mut stub = spawner.worker(Role::Stub);
    stub.send(&assign(EngineKind::Js), vec![sys::sealed_memfd("code", code).unwrap()]);
    assert_eq!(stub.ctl().0, CtlUp::Loaded);
    assert_eq!(stub.ctl().0, CtlUp::Activated { name: "Twice".into() });
    let body = ask(&mut stub);
    assert!(body.contains(r#""twice":2"#) && body.contains("protostub/b.example"), "{body}");
    stub.send(&CtlDown::Remove { grace_ms: 1_000 }, Vec::new());
    assert_eq!(stub.ctl().0, CtlUp::Removed);
    assert_eq!(stub.ended(), Ended::Code(0));
}

#[test]
fn an_echo_answers_from_its_jail_and_ends_with_its_link() {
    let mut spawner = Spawner::start();
    let mut echo = spawner.worker(Role::Stub);
    echo.send(&assign(EngineKind::Echo), Vec::new());
    assert_eq!(echo.ctl().0, CtlUp::Loaded);
    assert!(matches!(echo.ctl().0, CtlUp::Activated { .. }));
    assert_eq!(ask(&mut echo), r#"{"n":1}"#);
    assert_eq!(echo.leave(), Ended::Code(0));
}
