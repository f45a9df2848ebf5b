//! WebSocket, XMLHttpRequest and fetch, without a network.

use super::{Attempt, Bench, Net, Out};

const EVENTS: &str = "
  const socket = new WebSocket('wss://a.b/x?y=1#z', ['one', 'two']);
  for (const type of ['open', 'message', 'error', 'close']) {
    socket['on' + type] = (e) => console.log('on', type, e.data instanceof ArrayBuffer ? [...new Uint8Array(e.data)] : e.data, e.code, e.reason, e.wasClean);
    socket.addEventListener(type, () => console.log('listener', type, socket.readyState));
  }";

#[test]
fn a_websocket_tells_of_itself_in_both_ways_and_counts_what_waits() {
    let mut bench = Bench::active(&format!(
        "{EVENTS}
         try {{ socket.send('early'); }} catch (e) {{ console.log(e.name, socket.readyState, WebSocket.CONNECTING); }}
         socket.addEventListener('open', () => {{
           socket.send('h\u{e9}'); socket.send(new Uint8Array([0, 200, 255]).subarray(1)); console.log(socket.bufferedAmount, socket.protocol); }});
         setTimeout(() => {{ console.log(socket.bufferedAmount); socket.close(3001, 'enough'); }}, 5);"
    ));
    let Attempt::Ws { conn, url, protocols } = bench.dials.remove(0) else { panic!() };
    assert_eq!((url.as_str(), protocols.as_str()), ("wss://a.b/x?y=1", "one, two"));
    bench.net(Net::WsOpened { conn, protocol: "two".to_owned() });
    let sent = [
        Out::WsText { conn, text: "h\u{e9}".to_owned() },
        Out::WsBinary { conn, bytes: vec![200, 255] },
    ];
    assert_eq!(bench.others, sent);
    bench.net(Net::WsSent { conn, bytes: 3 });
    bench.net(Net::WsSent { conn, bytes: 2 });
    bench.net(Net::WsText { conn, text: "t".to_owned() });
    bench.net(Net::WsBinary { conn, bytes: vec![0, 255] });
    bench.pass(10);
    let close = Out::WsClose { conn, code: 3001, reason: "enough".to_owned() };
    assert_eq!(bench.others.last(), Some(&close));
    bench.net(Net::WsClosed {
        conn,
        code: 3001,
        reason: "enough".to_owned(),
        clean: true,
        error: String::new(),
    });
    assert_eq!(
        bench.logs,
        [
            "InvalidStateError 0 0",
            "on open undefined undefined undefined undefined",
            "listener open 1",
            "5 two",
            "on message t undefined undefined undefined",
            "listener message 1",
            "on message [0, 255] undefined undefined undefined",
            "listener message 1",
            "0",
            "on close undefined 3001 enough true",
            "listener close 3",
        ]
    );
    assert_eq!(bench.engine.connections(), 0);
}

#[test]
fn a_websocket_that_fails_says_error_then_close_1006_and_why_in_the_log() {
    let mut bench = Bench::active(EVENTS);
    let Attempt::Ws { conn, .. } = bench.dials.remove(0) else { panic!() };
    let error = "a connection to a.b:443 is not granted".to_owned();
    bench.net(Net::WsClosed { conn, code: 1006, reason: String::new(), clean: false, error });
    assert_eq!(bench.logs[0], "wss://a.b/x?y=1: a connection to a.b:443 is not granted");
    assert_eq!(bench.logs[2], "listener error 3");
    assert_eq!(bench.logs[3], "on close undefined 1006  false");
}

#[test]
fn a_buffer_without_end_closes_its_socket() {
    let mut bench = Bench::active(
        "const socket = new WebSocket('ws://a.b:1/');
         socket.onopen = () => { const part = 'x'.repeat(1 << 20); for (let i = 0; i < 20; i++) socket.send(part); };
         socket.onclose = (e) => console.log('closed', e.code);",
    );
    let Attempt::Ws { conn, .. } = bench.dials.remove(0) else { panic!() };
    bench.net(Net::WsOpened { conn, protocol: String::new() });
    assert!(bench.logged("the buffer of ws://a.b:1/ is full: closed"));
    assert!(bench.logged("closed 1006"));
    assert_eq!(bench.others.len(), 9);
}

#[test]
fn addresses_that_are_none_are_refused_at_once() {
    let bench = Bench::active(
        "for (const f of [() => new WebSocket('file:///etc/passwd'), () => new WebSocket('nonsense'),
           () => new WebSocket('ws://a.b', ['x', 'x']), () => { const x = new XMLHttpRequest(); x.open('GET', 'http://a.b', false); }]) {
           try { f(); console.log('taken'); } catch (e) { console.log(e.name); } }
         fetch('ftp://a.b/').catch((e) => console.log(e.name));",
    );
    assert_eq!(
        bench.logs,
        ["SyntaxError", "SyntaxError", "SyntaxError", "InvalidAccessError", "TypeError"]
    );
    assert!(bench.dials.is_empty());
}

fn head(conn: u32, status: u16) -> Net {
    let headers = vec!["Content-Type".to_owned(), "application/octet-stream".to_owned()];
    Net::HttpHead { conn, status, text: "OK".to_owned(), headers, url: "https://a.b/p".to_owned() }
}

#[test]
fn a_request_delivers_raw_bytes_and_passes_through_all_its_states() {
    let mut bench = Bench::active(
        "const x = new XMLHttpRequest();
         x.onreadystatechange = () => console.log('state', x.readyState, x.status);
         for (const t of ['loadstart', 'progress', 'load', 'loadend']) x.addEventListener(t, (e) => console.log(t, e.loaded));
         x.open('post', 'https://a.b/p?q=1'); x.responseType = 'arraybuffer';
         x.setRequestHeader('X-One', 'a'); x.setRequestHeader('x-one', 'b'); x.setRequestHeader('Host', 'evil');
         x.onload = () => console.log([...new Uint8Array(x.response)], x.getResponseHeader('content-type'), x.getAllResponseHeaders());
         x.send(new Uint8Array([0, 255, 128]).buffer);",
    );
    let Attempt::Http(request) = bench.dials.remove(0) else { panic!() };
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://a.b/p?q=1"));
    assert_eq!(request.headers, [("X-One".to_owned(), "a, b".to_owned())]);
    assert_eq!(request.body, [0, 255, 128]);
    let conn = request.conn;
    bench.net(head(conn, 200));
    bench.net(Net::HttpChunk { conn, bytes: vec![0, 1, 255] });
    bench.net(Net::HttpChunk { conn, bytes: vec![254] });
    bench.net(Net::HttpEnd { conn, error: String::new() });
    assert_eq!(
        bench.logs,
        [
            "state 1 0",
            "loadstart 0",
            "state 2 200",
            "state 3 200",
            "progress 3",
            "state 3 200",
            "progress 4",
            "state 4 200",
            "[0, 1, 255, 254] application/octet-stream content-type: application/octet-stream",
            "load 4",
            "loadend 4",
        ]
    );
}

#[test]
fn a_request_that_fails_times_out_or_is_aborted_says_which() {
    let mut bench = Bench::active(
        "const make = (name, prepare) => { const x = new XMLHttpRequest();
           for (const t of ['load', 'error', 'timeout', 'abort', 'loadend']) x['on' + t] = () => console.log(name, t, x.status, x.readyState);
           x.open('GET', `https://${name}.b/`); prepare(x); x.send(); return x; };
         make('fail', () => {}); make('slow', (x) => { x.timeout = 50; });
         const gone = make('gone', () => {}); setTimeout(() => gone.abort(), 5);",
    );
    let conns: Vec<u32> = bench
        .dials
        .drain(..)
        .map(|attempt| match attempt {
            Attempt::Http(request) => request.conn,
            Attempt::Ws { .. } => panic!(),
        })
        .collect();
    bench.net(Net::HttpEnd { conn: conns[0], error: "reset".to_owned() });
    bench.pass(100);
    assert_eq!(
        bench.logs,
        [
            "GET https://fail.b/: reset",
            "fail error 0 4",
            "fail loadend 0 4",
            "gone abort 0 4",
            "gone loadend 0 4",
            "slow timeout 0 4",
            "slow loadend 0 4",
        ]
    );
    assert_eq!(bench.others, [Out::Drop { conn: conns[2] }, Out::Drop { conn: conns[1] }]);
    assert_eq!(bench.engine.connections(), 0);
}

#[test]
fn fetch_gives_status_headers_and_body_and_rejects_what_fails() {
    let mut bench = Bench::active(
        "fetch('https://a.b/p', { method: 'PUT', headers: new Headers({ A: 'b' }), body: JSON.stringify({ u: 'ü' }) })
           .then((r) => { console.log(r.ok, r.status, r.headers.get('CONTENT-TYPE')); return r.json(); })
           .then((j) => console.log(j.n));
         fetch('https://c.d/').catch((e) => console.log(e.name, e.message));",
    );
    let Attempt::Http(request) = bench.dials.remove(0) else { panic!() };
    assert_eq!(request.body, "{\"u\":\"ü\"}".as_bytes());
    assert!(request.headers.contains(&("a".to_owned(), "b".to_owned())));
    let conn = request.conn;
    bench.net(head(conn, 404));
    bench.net(Net::HttpChunk { conn, bytes: b"{\"n\":7}".to_vec() });
    bench.net(Net::HttpEnd { conn, error: String::new() });
    let Attempt::Http(request) = bench.dials.remove(0) else { panic!() };
    bench.net(Net::HttpEnd { conn: request.conn, error: "down".to_owned() });
    assert_eq!(
        bench.logs,
        ["false 404 application/octet-stream", "7", "TypeError fetch of https://c.d/: down"]
    );
}
