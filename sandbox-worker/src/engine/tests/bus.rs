//! The MiniBus as runtime-core §3 describes it, with what it recommends.

use super::{Bench, Delivery, URL, message};
use serde_json::{Value, json};

fn heard(bench: &mut Bench) -> Value {
    bench.deliver(&message("read", "x://y.z/q", "test://report.me/now"));
    bench.told("test://heard.by/me").clone()
}

const REPORT: &str = "const heard = []; const hear = (what) => heard.push(what);
  bus.addListener('test://report.me/now', () => {
    bus.postMessage({ type: 'event', from: url, to: 'test://heard.by/me', body: heard.splice(0) }); });";

#[test]
fn own_listeners_come_first_and_all_only_for_addresses_that_are_not_of_hyperties() {
    let mut bench = Bench::active(&format!(
        "{REPORT} for (const a of ['hyperty://a/b', 'comm://a/b', 'hyperty-runtime://a/b', '*']) {{
           bus.addListener(a, (m) => {{ if (m.to !== 'test://report.me/now') hear(a); }}); }}"
    ));
    for (to, expected) in [
        ("hyperty://a/b", json!(["hyperty://a/b"])),
        ("comm://a/b", json!(["comm://a/b", "*"])),
        ("hyperty-runtime://a/b", json!(["hyperty-runtime://a/b"])),
        ("hyperty://a/other", json!(["*"])),
    ] {
        assert_eq!(bench.deliver(&message("read", "x://y.z/q", to)), Delivery::Taken);
        assert_eq!(heard(&mut bench), expected, "{to}");
    }
}

#[test]
fn what_nobody_listens_to_is_told_and_what_is_no_json_too() {
    let mut bench = Bench::active("bus.addListener('hyperty://a.b/c', () => {});");
    assert_eq!(
        bench.deliver(&message("read", "x://y.z/q", "hyperty://a.b/d")),
        Delivery::NoListener
    );
    assert_eq!(bench.engine.deliver(bench.now, b"{\"id\":"), Delivery::Broken);
    assert_eq!(bench.deliver(&message("read", "x://y.z/q", "hyperty://a.b/c")), Delivery::Taken);
}

#[test]
fn removing_is_idempotent_and_during_a_message_skips_nobody() {
    let mut bench = Bench::active(&format!(
        "{REPORT}
         const first = bus.addListener('hyperty://a.b/c', () => {{ hear(1); first.remove(); first.remove(); }});
         bus.addListener('hyperty://a.b/c', () => hear(2));
         if (first.url !== 'hyperty://a.b/c') throw new Error('no url');"
    ));
    for expected in [json!([1, 2]), json!([2])] {
        bench.deliver(&message("read", "x://y.z/q", "hyperty://a.b/c"));
        assert_eq!(heard(&mut bench), expected);
    }
}

#[test]
fn a_listener_that_throws_does_not_keep_the_message_from_the_next() {
    let mut bench = Bench::active(&format!(
        "{REPORT} bus.addListener('hyperty://a.b/c', () => {{ undeclared(); }});
         bus.addListener('hyperty://a.b/c', () => hear(2));"
    ));
    bench.deliver(&message("read", "x://y.z/q", "hyperty://a.b/c"));
    assert_eq!(heard(&mut bench), json!([2]));
    assert!(
        bench.logged("uncaught in the listener of hyperty://a.b/c: ReferenceError: undeclared")
    );
}

#[test]
fn an_id_is_given_only_where_there_is_none_and_the_sender_is_the_component() {
    let bench = Bench::active(
        "const ids = [undefined, 0, '', 'x', 9].map((id) => bus.postMessage({ id, type: 'event', to: 'a://b.c/d' }));
         bus.postMessage({ type: 'event', to: 'ids://b.c/d', body: ids });
         bus.postMessage({ type: 'EVENT', from: 'u://p/1', to: ['a://b.c/1', 'a://b.c/2'] });",
    );
    assert_eq!(bench.told("ids://b.c/d"), &json!([1, 2, 3, "x", 9]));
    assert_eq!(bench.posts[3], json!({"id": "x", "type": "event", "from": URL, "to": "a://b.c/d"}));
    let copies: Vec<_> = bench.posts[6..].iter().map(|post| (&post["type"], &post["to"])).collect();
    assert_eq!(
        copies,
        [(&json!("event"), &json!("a://b.c/1")), (&json!("event"), &json!("a://b.c/2"))]
    );
}

fn response(id: &Value, code: &Value) -> Value {
    json!({"id": id, "type": "response", "from": "a://b.c/d", "to": "me://k.l/m", "body": {"code": code}})
}

#[test]
fn a_response_finds_its_callback_provisional_ones_keep_it_and_a_late_one_is_a_message() {
    let mut bench = Bench::active(&format!(
        "{REPORT} bus.addListener('*', (m) => hear(['*', m.body.code]));
         bus.postMessage({{ type: 'read', from: 'me://k.l/m', to: 'a://b.c/d' }}, (m) => hear(m.body.code));"
    ));
    for (id, code, expected) in [
        (json!("1"), json!(183), json!([183])),
        (json!(2), json!(200), json!([["*", 200]])),
        (json!(1), json!("2XX"), json!(["2XX"])),
        (json!(1), json!(200), json!([["*", 200]])),
    ] {
        bench.deliver(&response(&id, &code));
        let mut expected = expected;
        // The request for the report is seen by `*` as well.
        expected.as_array_mut().unwrap().retain(|entry| entry != &json!(["*", null]));
        let got = heard(&mut bench);
        let got: Vec<_> =
            got.as_array().unwrap().iter().filter(|e| e != &&json!(["*", null])).cloned().collect();
        assert_eq!(json!(got), expected, "{id} {code}");
    }
}

#[test]
fn nobody_answers_for_fifteen_seconds_then_the_bus_does_unless_it_was_told_not_to() {
    let mut bench = Bench::active(&format!(
        "{REPORT} bus.postMessage({{ type: 'read', from: 'me://k.l/m', to: 'a://b.c/d' }}, (m) => hear(m));
         bus.postMessage({{ type: 'read', from: 'me://k.l/m', to: 'a://b.c/e' }}, () => hear('never'), false);"
    ));
    bench.pass(14_900);
    assert_eq!(heard(&mut bench), json!([]));
    bench.pass(200);
    let got = heard(&mut bench);
    assert_eq!(got.as_array().unwrap().len(), 1);
    let timeout = json!({"code": 408, "desc": "Response timeout!", "value": {"type": "read", "from": "me://k.l/m", "to": "a://b.c/d", "id": 1}});
    assert_eq!(got[0], json!({"id": 1, "type": "response", "body": timeout}));
}

#[test]
fn retries_post_the_same_message_and_end_with_the_last_answer() {
    let mut bench = Bench::active(&format!(
        "{REPORT} bus.postMessageWithRetries({{ type: 'read', from: 'me://k.l/m', to: 'a://b.c/d' }}, 2, (m) => hear(m.body.code));"
    ));
    for count in 1..=3 {
        assert_eq!(bench.posts.iter().filter(|post| post["to"] == "a://b.c/d").count(), count);
        bench.deliver(&response(&json!(1), &json!(500)));
    }
    assert_eq!(heard(&mut bench), json!([500]));
}

#[test]
fn response_listeners_are_added_and_removed_by_hand_and_whole_addresses_dropped() {
    let mut bench = Bench::active(&format!(
        "{REPORT} bus.addResponseListener('me://k.l/m', 5, () => hear(5));
         bus.addResponseListener('me://k.l/m', 6, () => hear(6));
         bus.removeResponseListener('me://k.l/m', 6);
         bus.addListener('hyperty://a.b/c', () => hear('gone'));
         bus.removeAllListenersOf('hyperty://a.b/c');
         const other = {{ posted: [], postMessage(m) {{ hear(['other', m.to]); }}, addListener: (u, cb) => ({{ remove() {{}} }}) }};
         const bound = bus.bind('out://a.b/c', 'in://a.b/c', other);
         bus.addListener('unbind://a.b/c', () => bound.unbind());"
    ));
    bench.deliver(&response(&json!(5), &json!(200)));
    bench.deliver(&response(&json!(6), &json!(200)));
    assert_eq!(
        bench.deliver(&message("read", "x://y.z/q", "hyperty://a.b/c")),
        Delivery::NoListener
    );
    bench.deliver(&message("read", "x://y.z/q", "out://a.b/c"));
    bench.deliver(&message("read", "x://y.z/q", "unbind://a.b/c"));
    assert_eq!(bench.deliver(&message("read", "x://y.z/q", "out://a.b/c")), Delivery::NoListener);
    assert_eq!(heard(&mut bench), json!([5, ["other", "out://a.b/c"]]));
}

#[test]
fn what_may_not_leave_is_answered_to_who_asked() {
    let mut bench = Bench::active(&format!(
        "{REPORT} bus.addListener('*', (m) => hear(['*', m.type, m.body.code]));
         bus.postMessage({{ type: 'shout', to: 'a://b.c/d' }}, (m) => hear([m.body.code, m.body.reason, m.from]));
         bus.postMessage({{ type: 'read', from: 'far://b.c/d', to: 'a://b.c/d', body: 'x'.repeat(300000) }});"
    ));
    bench.pass(10);
    let got = heard(&mut bench);
    assert_eq!(got[0], json!([400, "unknown-type", "a://b.c/d"]));
    assert_eq!(got[1], json!(["*", "response", 413]));
}
