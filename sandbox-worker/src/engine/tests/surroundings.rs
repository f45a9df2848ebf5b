//! What a component finds around itself, and what it must not find.

use super::{Bench, message, setup};
use protocol::ctl::HostProfile;

fn says(profile: HostProfile, expression: &str) -> String {
    let mut setup = setup();
    setup.profile = profile;
    let mut bench = Bench::new(setup);
    let code = format!("exports.default = () => ({{ name: String({expression}) }});");
    bench.start(code.as_bytes()).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

#[test]
fn the_default_profile_is_a_worker_without_window_or_process() {
    for (expression, expected) in [
        (
            "typeof window + typeof process + typeof document + typeof global",
            "undefinedundefinedundefinedundefined",
        ),
        ("self === globalThis", "true"),
        ("typeof RTCPeerConnection", "undefined"),
        ("[navigator.onLine, typeof navigator.userAgent]", "true,string"),
        ("[location.protocol, location.hostname]", "https:,home.example"),
        (
            "typeof addEventListener + typeof atob + typeof queueMicrotask + typeof performance.now()",
            "functionfunctionfunctionnumber",
        ),
        ("require('btoa')('a') + require('atob')('YQ==')", "YQ==a"),
        ("new Date(0).toISOString()", "1970-01-01T00:00:00.000Z"),
        ("crypto.getRandomValues(new Uint8Array(32)).some((b) => b > 0)", "true"),
        ("crypto.randomUUID().length", "36"),
        ("typeof System.register", "function"),
        ("'withCredentials' in new XMLHttpRequest()", "true"),
    ] {
        assert_eq!(says(HostProfile::Worker, expression), expected, "{expression}");
    }
}

#[test]
fn what_is_set_up_late_is_there_when_it_is_read_and_yields_to_the_components_own() {
    let names = [
        ["Event", "CustomEvent", "MessageEvent", "CloseEvent", "ErrorEvent", "ProgressEvent"],
        ["EventTarget", "addEventListener", "removeEventListener", "dispatchEvent", "URL", "fetch"],
        ["TextEncoder", "TextDecoder", "URLSearchParams", "WebSocket", "Headers", "Request"],
        [
            "XMLHttpRequest",
            "XMLHttpRequestUpload",
            "Response",
            "AbortController",
            "AbortSignal",
            "WebSocketServer",
        ],
    ];
    for name in names.as_flattened() {
        let read =
            format!("typeof {name} + typeof Object.getOwnPropertyDescriptor(self, '{name}').value");
        assert_eq!(says(HostProfile::Worker, &read), "functionfunction", "{name}");
    }
    for (expression, expected) in [
        ("'fetch' in self && !Object.keys(self).includes('fetch')", "true"),
        ("(fetch = 1, typeof Headers + fetch)", "function1"),
        ("(delete self.fetch, typeof Headers + typeof fetch)", "functionundefined"),
        (
            "(Object.defineProperty(self, 'URL', { value: 2 }), typeof URLSearchParams + URL)",
            "function2",
        ),
        ("(self.Event = class {}, new CloseEvent('close') instanceof Event)", "false"),
    ] {
        assert_eq!(says(HostProfile::Worker, expression), expected, "{expression}");
    }
}

#[test]
fn the_window_profile_has_an_inert_page() {
    for (expression, expected) in [
        ("window === self && typeof document.createElement('div').setAttribute", "function"),
        ("(localStorage.setItem('a', 1), localStorage.getItem('a') + localStorage.length)", "11"),
        ("document.getElementById('x')", "null"),
        (
            "(() => { try { localStorage.setItem('a', 'x'.repeat(2e6)); } catch (e) { return e.name; } })()",
            "QuotaExceededError",
        ),
    ] {
        assert_eq!(says(HostProfile::Window, expression), expected, "{expression}");
    }
}

#[test]
fn texts_bytes_and_addresses_are_converted_as_in_a_browser() {
    for (expression, expected) in [
        ("new TextEncoder().encode('é\\ud800').join()", "195,169,239,191,189"),
        ("new TextDecoder().decode(new Uint8Array([0xEF, 0xBB, 0xBF, 104, 255]))", "h\u{FFFD}"),
        ("new URL('../c?x=1#h', 'https://u:p@a.b:8443/d/e').href", "https://u:p@a.b:8443/c?x=1#h"),
        (
            "(() => { const u = new URL('http://a.b/'); u.searchParams.append('k', 'a b&c'); u.port = '81'; return u.href; })()",
            "http://a.b:81/?k=a+b%26c",
        ),
        ("[...new URLSearchParams('?a=1&b=%20x&a=2')].join(';')", "a,1;b, x;a,2"),
        ("(() => { try { new URL('nope'); } catch (e) { return e.name; } })()", "TypeError"),
    ] {
        assert_eq!(says(HostProfile::Worker, expression), expected, "{expression}");
    }
}

#[test]
fn events_reach_handlers_and_listeners_and_those_that_throw_are_reported() {
    let bench = Bench::active(
        "const t = new EventTarget(); t.onx = () => { throw new Error('first'); };
         const once = (e) => console.log(e.type, e.detail, e.target === t);
         t.addEventListener('x', once, { once: true }); t.addEventListener('x', once);
         t.addEventListener('x', { handleEvent() { console.log('object'); } });
         t.dispatchEvent(new CustomEvent('x', { detail: 5 })); t.dispatchEvent(new Event('x'));",
    );
    assert!(bench.logs[0].starts_with("uncaught in onx: Error: first"));
    assert_eq!(bench.logs[1..3], ["x 5 true", "object"]);
    assert_eq!(bench.logs[4], "object");
}

#[test]
fn timers_come_in_their_order_and_can_be_taken_back() {
    let mut bench = Bench::active(
        "const log = console.log; setTimeout((a, b) => log('c', a, b), 30, 1, 2); setTimeout(log, 10, 'a'); setTimeout(log, 10, 'b');
         clearTimeout(setTimeout(log, 20, 'never')); setImmediate(log, 'now');
         let n = 0; const i = setInterval(() => { log('i'); if (++n === 2) clearInterval(i); }, 40);
         clearTimeout(undefined); clearInterval(null);",
    );
    bench.pass(200);
    assert_eq!(bench.logs, ["now", "a", "b", "c 1 2", "i", "i"]);
}

#[test]
fn every_other_create_of_the_factory_gives_something_that_is_silent_or_answers_501() {
    let mut bench = Bench::active(
        "for (const name of ['createDiscovery', 'createChatManager', 'createContextReporter', 'createContextObserver',
           'createNotificationHandler', 'createRegistrationStatus', 'createIdentityManager', 'createSomethingNew']) {
           const made = factory[name](url, bus, config);
           made.onNotification((e) => {}); made.addEventListener('x', () => {}); made.field = 1;
           if (made.field !== 1) throw new Error('no field');
           const answer = made.create('schema', [], {}, {});
           answer.then(() => console.log('resolved'), (e) => { if (e.code !== 501) console.log(e); });
           made.subscribe('ignored');
           JSON.stringify(made); `${made}`;
         }
         const identity = factory.createMessageBodyIdentity('bob', 'user://a.b/bob', 'pic', 'Bob', 'en', 'idp.b', 'proof');
         console.log(identity.idp, identity.userProfile.preferred_username, typeof factory.other, 'createX' in factory);
         (async () => { const search = await factory.createSearch(); console.log(typeof search.read); })();",
    );
    bench.pass(1);
    assert_eq!(bench.logs, ["idp.b bob undefined true", "function"]);
    assert!(bench.posts.is_empty());
    bench.deliver(&message("read", "x://y.z/q", "a://b.c/d"));
}
