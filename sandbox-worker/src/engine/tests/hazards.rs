//! What a component must not be able to do to its worker.

use super::super::limits::{LOG_LINES_BURST, POSTS_BURST, POSTS_PER_SECOND, POSTS_WAITING_BYTES};
use super::super::watch::used;
use super::{Attempt, Bench, Delivery, Net, message, setup};
use protocol::limits::LOG_LINE_BYTES_MAX;
use serde_json::json;
use std::time::Duration;

/// Processor time of this thread since then.
fn spent(begun: Duration) -> Duration {
    used().saturating_sub(begun)
}

const PING: &str = "bus.addListener('test://ping.me/now', (m) => bus.postMessage({
  id: m.id, type: 'response', from: m.to, to: m.from, body: { code: 200 } }));";

fn answers(bench: &mut Bench) -> bool {
    let before = bench.posts.len();
    bench.deliver(&message("read", "x://y.z/q", "test://ping.me/now"));
    bench.posts.len() > before
}

#[test]
fn an_endless_loop_ends_with_its_turn_and_the_component_goes_on() {
    let mut bench = Bench::active(&format!(
        "{PING} bus.addListener('test://loop.me/now', () => {{ try {{ for (;;) {{}} }} catch (e) {{ for (;;) {{}} }} }});
         setTimeout(() => {{ for (;;) {{}} }}, 5);
         setTimeout(() => bus.postMessage({{ type: 'event', to: 'test://after.it/all' }}), 6);"
    ));
    let begun = used();
    assert_eq!(bench.deliver(&message("read", "x://y.z/q", "test://loop.me/now")), Delivery::Taken);
    assert!(spent(begun) < Duration::from_secs(2), "{:?}", spent(begun));
    assert!(bench.logged("interrupted: the turn took longer than 300 ms"), "{:?}", bench.logs);
    assert!(answers(&mut bench));
    bench.pass(20);
    assert_eq!(bench.told("test://after.it/all"), &json!(null));
}

#[test]
fn promises_without_end_do_not_keep_the_loop_from_turning() {
    let mut bench = Bench::active(&format!(
        "{PING} (async () => {{ for (;;) {{ await 0; }} }})();
         const again = () => queueMicrotask(again); again();"
    ));
    for _ in 0..3 {
        let begun = used();
        assert!(answers(&mut bench));
        assert!(spent(begun) < Duration::from_millis(250), "{:?}", spent(begun));
    }
    assert_eq!(bench.engine.next_tick(), Some(bench.now));
}

#[test]
fn a_heap_that_is_full_is_an_error_of_the_component_and_it_goes_on() {
    let mut bench = Bench::active(&format!(
        "{PING} bus.addListener('test://bomb.me/now', (m) => {{
           if (m.body.kind === 1) {{ const all = []; for (;;) all.push(new Array(10000).fill({{}})); }}
           if (m.body.kind === 2) {{ let s = 'x'; for (;;) s = s + s + m.id; }}
           if (m.body.kind === 3) {{ const all = []; for (;;) all.push(new Uint8Array(1 << 20)); }}
           const deep = (n) => deep(n + 1) + 1; deep(0); }});"
    ));
    for kind in 1..=4 {
        let mut bomb = message("read", "x://y.z/q", "test://bomb.me/now");
        bomb["body"]["kind"] = json!(kind);
        bench.logs.clear();
        bench.deliver(&bomb);
        assert!(bench.logged("uncaught in"), "{kind}: {:?}", bench.logs);
        assert!(answers(&mut bench), "{kind}");
    }
}

#[test]
fn errors_that_nobody_catches_are_told_once_and_survived() {
    let mut bench = Bench::active(&format!(
        "{PING} setTimeout(() => undeclared, 1);
         Promise.reject(new Error('left alone'));
         const looked = Promise.reject(new Error('looked at')); looked.catch(() => {{}});
         setTimeout(() => {{ throw 'just text'; }}, 2);
         new Promise(() => {{ throw {{ odd: true }}; }});"
    ));
    bench.pass(10);
    assert!(bench.logged("uncaught in a timer: ReferenceError: undeclared is not defined"));
    assert!(bench.logged("uncaught unhandled rejection: Error: left alone"));
    assert!(bench.logged("uncaught in a timer: just text"));
    assert!(bench.logged("uncaught unhandled rejection: {\"odd\":true}"));
    assert!(!bench.logged("looked at"));
    assert_eq!(bench.logs.len(), 4, "{:?}", bench.logs);
    assert!(answers(&mut bench));
}

#[test]
fn the_console_is_cut_in_length_and_rate_and_says_what_is_missing() {
    let mut bench = Bench::active(
        "console.log('a\\u0007\\nb', { deep: { deeper: { deepest: { no: 1 } } } }, [1, 'two']);
         console.error('x'.repeat(5000));
         for (let i = 0; i < 1000; i++) console.info(i);",
    );
    bench.pass(1);
    assert_eq!(bench.logs[0], "a\\u{7} | b {deep: {deeper: {deepest: {no: 1}}}} [1, \"two\"]");
    assert!(bench.logs[1].len() <= LOG_LINE_BYTES_MAX && bench.logs[1].ends_with('…'));
    let burst = usize::try_from(LOG_LINES_BURST).unwrap();
    assert_eq!(bench.logs.len(), burst + 1);
    assert_eq!(bench.logs[burst], "802 lines were not kept");
}

#[test]
fn a_flood_is_cut_requests_get_429_and_answers_are_never_counted() {
    let burst = usize::try_from(POSTS_BURST).unwrap();
    let mut bench = Bench::active(&format!(
        "{PING} let refused = 0;
         for (let i = 0; i < {burst} + 500; i++) bus.postMessage({{ type: 'event', to: 'a://b.c/d' }});
         bus.postMessage({{ type: 'read', to: 'a://b.c/e' }}, (m) => console.log('refused', m.body.code, m.body.reason));"
    ));
    assert_eq!(bench.posts.len(), burst);
    bench.pass(5);
    assert!(bench.logged("refused 429 flood"), "{:?}", bench.logs);
    assert!(bench.logged("flood: 501 messages were not sent"), "{:?}", bench.logs);
    for _ in 0..3_000 {
        assert!(answers(&mut bench));
    }
    let rate = usize::try_from(POSTS_PER_SECOND).unwrap();
    assert!(bench.posts.len() <= burst + 3_000 + rate);
}

#[test]
fn a_link_that_is_full_refuses_instead_of_piling_up() {
    let mut bench = Bench::active(
        "bus.addListener('test://send.it/now', () => {
           bus.postMessage({ type: 'read', to: 'a://b.c/d' }, (m) => console.log('got', m.body.code, m.body.reason)); });",
    );
    bench.engine.set_link_full(true);
    bench.deliver(&message("event", "x://y.z/q", "test://send.it/now"));
    bench.pass(5);
    assert!(bench.posts.is_empty() && bench.logged("got 503 slow-consumer"), "{:?}", bench.logs);
}

/// As the published stub does it: a closed socket is opened again at once, and the status told.
const HOT: &str = "
  const open = () => {
    const socket = new WebSocket(config.url);
    socket.onclose = () => {
      bus.postMessage({ type: 'update', from: url, to: url + '/status', body: { value: 'disconnected' } });
      open();
    };
    socket.onerror = () => {};
  };
  open();";

#[test]
fn a_hot_reconnect_floods_nobody() {
    let mut bench = Bench::active(&format!("{PING} {HOT}"));
    let mut made = 0;
    for _ in 0..30_000_u32 {
        while let Some(Attempt::Ws { conn, .. }) = bench.dials.pop() {
            made += 1;
            let error = "refused".to_owned();
            bench.net(Net::WsClosed {
                conn,
                code: 1006,
                reason: String::new(),
                clean: false,
                error,
            });
        }
        bench.pass(1);
    }
    assert!((5..=12).contains(&made), "{made} attempts in 30 s");
    assert!(bench.posts.len() <= 12, "{}", bench.posts.len());
    assert!(answers(&mut bench));
}

#[test]
fn more_connections_and_timers_than_allowed_are_refused_to_the_component() {
    let bench = Bench::active(
        "let sockets = 0; try { for (;;) { new WebSocket('ws://a.b:1/'); sockets++; } } catch (e) { console.log(sockets, e.message); }
         let timers = 0; try { for (;;) { setTimeout(() => {}, 1e6); timers++; } } catch (e) { console.log(timers, e.message); }",
    );
    assert_eq!(bench.logs, ["32 more than 32 connections", "4096 more than 4096 timers"]);
}

#[test]
fn a_component_is_asked_to_end_and_whatever_it_says_is_swallowed() {
    for (instance, expected) in [
        ("{ disconnect() { console.log('bye'); throw new Error('never connected'); } }", true),
        ("{ _stop: async () => { console.log('bye'); throw new Error('no'); } }", true),
        ("{ close() { console.log('bye'); } }", true),
        ("null", false),
    ] {
        let mut bench = Bench::new(setup());
        let code = format!("exports.default = () => ({{ name: 'x', instance: {instance} }});");
        bench.start(code.as_bytes()).unwrap();
        bench.engine.stop(bench.now);
        bench.pass(1);
        assert_eq!(bench.logs, if expected { vec!["bye"] } else { vec![] });
    }
}

#[test]
fn what_waits_outside_the_heap_has_a_bound_in_bytes_and_in_attempts() {
    let mut bench = Bench::active(
        "const big = 'x'.repeat(150000);
         for (let i = 0; i < 500; i++) bus.postMessage({ type: 'event', to: 'a://b.c/d', body: big });
         for (let i = 0; i < 1000; i++) { const x = new XMLHttpRequest(); x.open('GET', `http://h${i}.b/`); x.send(); x.abort(); }",
    );
    assert_eq!(bench.posts.len(), POSTS_WAITING_BYTES / 150_000);
    assert!(bench.dials.len() <= 32, "{}", bench.dials.len());
    bench.pass(2_000);
    assert_eq!(bench.engine.connections(), 0);
}

#[test]
fn the_parts_of_the_host_api_are_no_modules_for_a_component() {
    let bench = Bench::active(
        "import('host:base.js').then(() => console.log('got it'), (e) => console.log('no: ' + e.message));
         console.log('source: ' + setTimeout.toString());",
    );
    assert!(bench.logged("there is no such module here"), "{:?}", bench.logs);
    assert!(!bench.logged("got it"), "{:?}", bench.logs);
    assert!(bench.logged("[native code]"), "{:?}", bench.logs);
}
