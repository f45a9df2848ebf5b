//! What a component holds of its worker outside of its heap, when it falsifies the objects that the
//! host API stands on.

use super::super::limits::{HTTP_HEAD_BYTES, HTTP_HEADERS_MAX, TIMERS_MAX, URL_BYTES_MAX};
use super::{Attempt, Bench, Net, Out};

fn opened(bench: &mut Bench) -> u32 {
    let Some(Attempt::Ws { conn, .. }) = bench.dials.pop() else { panic!("no socket") };
    bench.net(Net::WsOpened { conn, protocol: String::new() });
    conn
}

#[test]
fn a_socket_is_closed_once_whatever_the_component_says_of_its_state() {
    let mut bench = Bench::active(
        "const socket = new WebSocket('ws://a.b:1/');
         bus.addListener('test://close.it/now', () => {
           for (let i = 0; i < 10000; i += 1) { socket.readyState = 1; socket.close(1000, 'again'); }
           socket.readyState = 1;
         });",
    );
    opened(&mut bench);
    for _ in 0..2 {
        bench.deliver(&super::message("event", "x://y.z/q", "test://close.it/now"));
    }
    assert_eq!(bench.others.len(), 1, "{:?}", bench.others);
    assert!(matches!(bench.others.first(), Some(Out::WsClose { code: 1000, .. })));
}

#[test]
fn a_request_is_given_up_once_whatever_becomes_of_the_map_of_requests() {
    let mut bench = Bench::active(
        "const request = new XMLHttpRequest();
         request.open('GET', 'http://a.b/');
         request.send();
         const conn = request._conn;
         Map.prototype.delete = () => true;
         bus.addListener('test://abort.it/now', () => {
           for (let i = 0; i < 10000; i += 1) { request._conn = conn; request.abort(); }
         });",
    );
    assert_eq!(bench.dials.len(), 1);
    bench.deliver(&super::message("event", "x://y.z/q", "test://abort.it/now"));
    assert_eq!(bench.others.len(), 1, "{} outs", bench.others.len());
    assert_eq!(bench.engine.connections(), 0);
}

#[test]
fn timers_have_a_bound_that_the_component_cannot_move() {
    let bench = Bench::active(
        "Map.prototype.set = function () { return this; };
         Object.defineProperty(Map.prototype, 'size', { get: () => 0 });
         for (let i = 0; i < 10000; i += 1) setTimeout(() => {}, 1e6);",
    );
    assert!(bench.engine.timers() <= TIMERS_MAX, "{}", bench.engine.timers());
}

#[test]
fn what_a_connection_is_told_is_bounded_before_it_is_copied() {
    let cases = [
        ("new WebSocket(`ws://a.b:1/${long}`)", format!("an address over {URL_BYTES_MAX} bytes")),
        ("new WebSocket('ws://a.b:1/', long)", "subprotocols over 1024 bytes".to_owned()),
        ("ask({ 'x-a': long })", format!("headers over {HTTP_HEAD_BYTES} bytes")),
        ("ask(Object.fromEntries(many))", format!("more than {HTTP_HEADERS_MAX} headers")),
        ("ask(Object.fromEntries(wide))", format!("headers over {HTTP_HEAD_BYTES} bytes")),
        ("ask({}, 'POST', long + long + long + long)", "a body over 1048576 bytes".to_owned()),
        ("ask({}, long)", "a method over 64 bytes".to_owned()),
        ("request(`http://a.b/${long}`)", format!("an address over {URL_BYTES_MAX} bytes")),
    ];
    for (code, expected) in cases {
        let bench = Bench::active(&format!(
            "const long = 'x'.repeat(300000);
             const many = Array.from({{ length: 101 }}, (_, i) => [`x-${{i}}`, 'x']);
             const wide = Array.from({{ length: 90 }}, (_, i) => [`x-${{i}}`, 'x'.repeat(800)]);
             const request = (url) => {{ const x = new XMLHttpRequest(); x.open('GET', url); x.send(); }};
             const ask = (headers, method = 'GET', body = undefined) => {{
               const x = new XMLHttpRequest();
               x.open(method, 'http://a.b/');
               for (const [name, value] of Object.entries(headers)) x.setRequestHeader(name, value);
               x.send(body);
             }};
             try {{ {code}; console.log('taken'); }} catch (e) {{ console.log(e.message); }}"
        ));
        assert_eq!(bench.logs, [expected], "{code}");
        assert!(bench.dials.is_empty(), "{code}");
    }
}

#[test]
fn headers_that_the_component_puts_together_itself_are_held_to_the_same() {
    let bench = Bench::active(
        "const piece = 'x'.repeat(60000);
         const flat = new Array(4000).fill(piece);
         Array.prototype.flat = () => flat;
         const ask = () => { const x = new XMLHttpRequest(); x.open('GET', 'http://a.b/'); x.send(); };
         try { ask(); } catch (e) { console.log(e.message); }
         flat.length = 100;
         try { ask(); } catch (e) { console.log(e.message); }
         Array.prototype.flat = () => [1, {}];
         try { ask(); } catch (e) { console.log(e.name); }",
    );
    let bounds = [
        format!("more than {HTTP_HEADERS_MAX} headers"),
        format!("headers over {HTTP_HEAD_BYTES} bytes"),
        "TypeError".to_owned(),
    ];
    assert_eq!(bench.logs, bounds);
}
