//! What an evil stub consumes: messages, lines, statuses, connections, time, memory. By the findings
//! of the security review (`attack_…`) and the rows of the escape matrix (`escape_…`). Its neighbour
//! answers throughout.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use system_tests::catalogue::descriptor;
use system_tests::evil::{ALICE, BOB, EVIL, GOOD, PUPPET, PUPPET_AT, Scene};
use system_tests::trap::Trap;
use system_tests::wait_for;

/// Memory that a sandbox may hold at most: its heap, as much again outside of it, and itself.
const SANDBOX_BYTES_MAX: u64 = 256 * 1_048_576;

/// How long an attack goes on beside the neighbour's answers.
const ATTACK: Duration = Duration::from_millis(1_500);

/// Has the puppet repeat this for a while, and the neighbour answer all the time.
fn beside(scene: &mut Scene, code: &str) {
    let (ms, begun) = (ATTACK.as_millis(), Instant::now());
    scene.order(&format!(
        "const until = Date.now() + {ms};
         globalThis.turns = 0;
         const again = () => {{
           globalThis.turns += 1;
           {{ {code} }}
           if (Date.now() < until) setTimeout(again, 1);
         }};
         setTimeout(again, 20);"
    ));
    while begun.elapsed() < ATTACK {
        scene.good_answers();
    }
    // What it floods itself with may swallow its answer, too.
    let turns = wait_for("the attack is over", || {
        let to = PUPPET_AT;
        let answer = scene.alice.call("execute", to, &json!({"order": "return globalThis.turns;"}));
        answer["body"]["value"].as_u64()
    });
    assert!(turns > 2, "it was busy all the time: {turns}");
}

/// What `logs` prints of the puppet.
fn lines(scene: &Scene) -> Vec<String> {
    let output = scene.daemon.ctl(&["logs", EVIL]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// Asserts that nothing of this can change what a terminal shows.
fn harmless(text: &str) {
    let odd = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
    };
    let found: Vec<_> = text.lines().filter(|line| line.contains(odd)).take(3).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Gives an order that nobody answers in time; what the sender is told instead.
fn unanswered(scene: &mut Scene, code: &str, timeout_ms: u64) -> Value {
    let id = 1_000_000;
    scene.alice.write(&json!({"id": id, "type": "execute", "to": PUPPET_AT,
                              "timeout": timeout_ms, "body": {"order": code}}));
    scene.alice.response(id)["body"].clone()
}

fn with_heartbeat(every: &str) -> Scene {
    let more = format!("\n\n[supervision]\nheartbeat = \"{every}\"\n");
    let mut scene = Scene::with(&descriptor(PUPPET), &more);
    let _deployed = scene.order("");
    scene
}

/// A whole turn is no hang, even where seven others share the processor.
fn patient() -> Scene {
    with_heartbeat("20s")
}

fn memory(scene: &Scene) -> u64 {
    let pid = scene.daemon.row(EVIL).unwrap()["pid"].as_i64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1_024
}

#[test]
fn escape_045_a_flood_of_messages_is_cut_and_the_neighbour_answers_as_fast() {
    let mut scene = Scene::start();
    beside(
        &mut scene,
        &format!(
            "for (let i = 0; i < 5000; i += 1) {{
               tools.bus.postMessage({{ type: 'update', from: 'hyperty://evil.example/x',
                 to: i % 2 ? '{BOB}' : 'hyperty://nowhere.example/x', body: {{ i }} }});
             }}"
        ),
    );
    let said = wait_for("the flood is told", || {
        lines(&scene).into_iter().find(|line| line.contains("flood: "))
    });
    assert!(said.contains("messages were not sent"), "{said}");
    scene.stands();
}

#[test]
fn escape_042_lines_without_end_and_full_of_tricks_are_few_short_and_harmless() {
    let mut scene = Scene::start();
    let before = scene.daemon.log().len();
    beside(
        &mut scene,
        "const tricks = ['\\u001b[2J\\u001b]0;root\\u0007', '\\r\\nERROR sandbox=1 forged',
           '\\u202efdp.exe', '\\u0085\\u009b31m', 'x'.repeat(10000), '\\u2066\\u200b\\ufeff'];
         for (const trick of tricks) console.error(trick, [trick], { [trick]: trick });
         Promise.reject(new Error(tricks[globalThis.turns % 6]));",
    );
    let kept = lines(&scene);
    assert!(kept.len() <= 1_001, "{} lines", kept.len());
    assert!(kept.iter().all(|line| line.len() <= 1_100), "a line is long");
    assert!(kept.iter().any(|line| line.contains("lines were not kept")));
    assert!(kept.iter().all(|line| !line.starts_with("ERROR")), "a line is forged");
    harmless(&kept.join("\n"));
    let log = scene.daemon.log();
    harmless(&log);
    assert!(log.len() - before < 2 * 1_048_576, "{} bytes in the log", log.len() - before);
    scene.stands();
}

#[test]
fn attack_026_a_status_that_changes_in_a_loop_leaves_the_record_to_others() {
    let mut scene = Scene::start();
    let events = |scene: &Scene| scene.daemon.ctl_json(&["events"]).as_array().unwrap().clone();
    let before = events(&scene);
    beside(
        &mut scene,
        "for (let i = 0; i < 50; i += 1) {
           for (const value of ['live', 'disconnected', 'failed', 'created']) {
             tools.bus.postMessage({ type: 'update', from: tools.url,
               to: `${tools.url}/status`, body: { value, desc: '\\u001b[31m\\u202e' } });
           }
         }",
    );
    let after = events(&scene);
    let told = after.iter().filter(|row| row["event"] == "stub-status" && row["name"] == EVIL);
    let told = told.count();
    assert!(told <= 40, "{told} events");
    assert_eq!(after[..before.len()], before[..], "what was there before is still there");
    harmless(&scene.daemon.log());
    for args in [&["events"][..], &["ps"], &["inspect", EVIL]] {
        let output = scene.daemon.ctl(args);
        harmless(&String::from_utf8(output.stdout).unwrap());
    }
    scene.stands();
}

#[test]
fn attack_017_what_a_private_domains_catalogue_names_is_not_connected_to() {
    let loopback = Trap::set();
    let port = loopback.port();
    let mut evil = descriptor(PUPPET);
    // The catalogue's own wish, of a domain that the operator calls private.
    evil["configuration"] = json!({
        "one": format!("ws://127.0.0.1:{port}/"),
        "deep": {"er": [format!("http://localhost:{port}/"), "wss://victim.example:25"]},
        "metadata": "http://169.254.169.254/latest",
        "runtimeURL": format!("http://[::1]:{port}/"),
    });
    evil["runtime"] = json!({"capabilities": {"net": [format!("127.0.0.1:{port}")]}});
    let mut scene = Scene::with(&evil, "private = true\n\n");
    let _deployed = scene.order("");
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "017700000001",
        "127.0.0.1.",
        "LOCALHOST",
        "①②⑦.⓪.⓪.①",
        "user@127.0.0.1",
        "victim.example@127.0.0.1",
    ];
    let urls: Vec<String> = hosts
        .iter()
        .flat_map(|host| ["ws", "http"].map(|scheme| format!("{scheme}://{host}:{port}/")))
        .chain(["http://169.254.169.254/".into(), "wss://victim.example:25/".into()])
        .collect();
    let tried = scene.order(&format!(
        "const one = (url) => new Promise((done) => {{
           try {{
             if (url.startsWith('http')) {{
               fetch(url).then(() => done(url), () => done(null));
             }} else {{
               const socket = new WebSocket(url);
               socket.onopen = () => done(url);
               socket.onclose = () => done(null);
             }}
           }} catch (error) {{ done(null); }}
         }});
         const urls = {};
         const ends = [];
         const next = () => urls.length === 0 ? ends
           : one(urls.pop()).then((end) => {{ ends.push(end); return next(); }});
         return Promise.race([next(), tools.pause(12000).then(() => ends)]);",
        json!(urls)
    ));
    let ends = tried.as_array().unwrap();
    assert!(ends.iter().all(Value::is_null), "{ends:?}");
    assert!(ends.len() >= 10, "{ends:?}");
    assert_eq!(loopback.visits(), 0, "what the catalogue names is not granted");
    let refused = scene.events("refused", EVIL, "policy");
    assert!(!refused.is_empty() && refused.len() < 100, "{} events", refused.len());
    scene.stands();
}

#[test]
fn escape_045_as_many_connections_as_can_be_tried_are_few() {
    let granted = Trap::set();
    let open = granted.port();
    let keys = format!("private = true\nconnect = [\"127.0.0.1:{open}\"]\n\n");
    let mut scene = Scene::with(&descriptor(PUPPET), &keys);
    let _deployed = scene.order("");
    beside(
        &mut scene,
        &format!(
            "for (let i = 0; i < 100; i += 1) {{
               try {{ const s = new WebSocket('ws://127.0.0.1:{open}/'); s.onclose = () => {{}}; }}
               catch (error) {{ break; }}
               const x = new XMLHttpRequest();
               try {{ x.open('GET', 'http://127.0.0.1:{open}/'); x.send(); x.abort(); }}
               catch (error) {{ break; }}
             }}"
        ),
    );
    let visits = granted.visits();
    assert!((1..=200).contains(&visits), "{visits} connections");
    scene.stands();
}

#[test]
fn escape_039_a_script_without_end_costs_its_own_turn_and_nobody_else() {
    let mut scene = patient();
    for code in [
        "try { for (;;) {} } catch (error) { for (;;) {} }",
        "const again = () => Promise.resolve().then(again); again(); await_never: for (;;) {}",
        "/(a+)+$/.test('a'.repeat(64) + 'b');",
        "const o = { get x() { return this.x; } }; for (;;) { try { o.x; } catch (e) {} }",
    ] {
        let body = unanswered(&mut scene, code, 300);
        assert!(body["code"] == 408 || body["code"] == 500, "{code}: {body}");
        scene.good_answers();
        assert_eq!(scene.order("return 1 + 1;"), 2, "{code}");
    }
    scene.stands();
}

#[test]
fn escape_038_a_script_that_eats_memory_is_refused_it_in_its_heap_and_beside_it() {
    let mut scene = patient();
    for code in [
        "const all = []; for (;;) all.push(new Array(10000).fill({}));",
        "let s = 'x'; for (;;) s = s + s + Math.random();",
        "const all = []; for (;;) all.push(new Uint8Array(1 << 20));",
        "const all = new Map(); for (let i = 0; ; i += 1) all.set(`key ${i}`, { i });",
        "const big = 'x'.repeat(60 << 20); return JSON.stringify([big, big, big]).length;",
        "const deep = (n) => deep(n + 1) + 1; return deep(0);",
        "const text = 'x'.repeat(9 << 20); for (let i = 0; i < 9; i += 1) new TextEncoder().encode(text);",
        "for (;;) tools.bus.postMessage({ type: 'event', to: 'hyperty://home.example/bob',
           body: 'x'.repeat(150000) });",
        "return new Function('return ' + '('.repeat(1000000) + '1')();",
    ] {
        let body = unanswered(&mut scene, code, 4_000);
        assert_ne!(body["code"], 503, "{code}: {body}");
        assert_eq!(scene.order("return 1 + 1;"), 2, "{code}");
    }
    let held = memory(&scene);
    assert!(held < SANDBOX_BYTES_MAX, "{held} bytes at its peak");
    scene.stands();
}

#[test]
fn escape_063_one_built_in_call_that_runs_for_ever_is_a_hang_and_only_this_stub_is_started_again() {
    for code in [
        // No engine asks for permission to go on in the middle of that.
        "'a'.repeat(1 << 24).indexOf('a'.repeat(1 << 22) + 'b');",
        // Nor often enough between calls that are long each.
        "const text = 'x'.repeat(15 << 20); for (;;) text.toWellFormed().toUpperCase();",
    ] {
        let mut scene = with_heartbeat("1s");
        let asked = Instant::now();
        let id = scene.alice.ask("execute", PUPPET_AT, &json!({ "order": code }));
        while scene.events("exited", EVIL, "hang").is_empty() {
            assert!(
                asked.elapsed() < Duration::from_secs(20),
                "{code}: {:?}",
                scene.daemon.row(EVIL)
            );
            scene.good_answers();
        }
        let body = scene.alice.response(id)["body"].clone();
        let (code, reason) = (&body["code"], &body["reason"]);
        assert_eq!((code, reason), (&json!(503), &json!("stub-died")), "{body}");
        assert_eq!(scene.order("return 1 + 1;"), 2);
        let row = scene.daemon.row(GOOD).unwrap();
        assert_eq!(row["restarts"], 0, "{row}");
        scene.daemon.assert_conserved();
    }
}

#[test]
fn escape_051_messages_that_go_round_come_to_an_end() {
    let mut scene = Scene::start();
    // Each message is answered with two, to itself, to its address, and by way of an application.
    scene.order(
        "tools.round = 0;
         tools.bus.addListener('hyperty://evil.example/round', (message) => {
           tools.round += 1;
           for (const to of ['hyperty://evil.example/round', tools.url, message.from]) {
             tools.bus.postMessage({ type: 'event', from: 'hyperty://evil.example/round', to,
               body: { round: tools.round } });
           }
         });
         tools.bus.postMessage({ type: 'event', from: 'hyperty://evil.example/x',
           to: 'hyperty://evil.example/round' });",
    );
    scene.bob.write(&json!({"type": "event", "to": "hyperty://evil.example/round", "body": {}}));
    for _ in 0..20 {
        scene.good_answers();
    }
    let seen = scene.order("return tools.round;").as_u64().unwrap();
    assert!(seen <= 2_000, "{seen} rounds");
    scene.stands();
}

#[test]
fn escape_043_odd_json_arrives_as_json_or_not_at_all() {
    let mut scene = Scene::start();
    let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let texts = [
        deep(10_000),
        deep(65),
        format!("{{\"a\":{}}}", "{\"a\":".repeat(5_000)),
        "1e999999".to_owned(),
        "9".repeat(50_000),
        "-0".to_owned(),
        r#"{"a":1,"a":2,"a":3}"#.to_owned(),
        r#""\ud800""#.to_owned(),
        r#""\udc00\ud800 \uffff""#.to_owned(),
        r#""a\u0000b""#.to_owned(),
        "\"a\u{0}b\"".to_owned(),
        "\"a\nb\"".to_owned(),
        r#"{"__proto__":{"code":200},"constructor":{"prototype":{"polluted":true}}}"#.to_owned(),
        String::new(),
    ];
    let mut arrived = 0;
    for text in texts {
        let order = format!(
            "const text = {};
             JSON.stringify = () => text;
             tools.bus.postMessage({{ type: 'update', from: 'hyperty://evil.example/x',
               to: '{BOB}', body: {{}} }});",
            json!(text)
        );
        let answer = scene.alice.call("execute", PUPPET_AT, &json!({ "order": order }));
        assert!(answer["body"]["code"].is_u64(), "{answer}");
        // Every line that an application reads is parsed by this.
        scene.bob.write(&json!({"id": "fence", "type": "read", "to": ALICE, "body": {}}));
        let fence = scene.alice.read().expect("the request");
        scene.alice.write(&json!({"id": "fence", "type": "response", "to": BOB,
                                  "body": {"code": 200}}));
        assert_eq!(fence["id"], "fence", "{fence}");
        loop {
            let line = scene.bob.read().expect("the daemon lives");
            if line["id"] == "fence" {
                break;
            }
            arrived += 1;
        }
    }
    assert!(arrived > 2, "{arrived} of them are JSON");
    scene.stands();
}

#[test]
fn escape_058_what_is_called_like_a_prototype_pollutes_nothing() {
    let keys = json!({
        "__proto__": {"polluted": 1, "from": BOB},
        "constructor": {"prototype": {"polluted": 1}},
        "prototype": {"polluted": 1},
        "toString": "x", "hasOwnProperty": 1, "valueOf": null,
        "inner": {"__proto__": {"polluted": 1}},
    });
    let mut evil = descriptor(PUPPET);
    evil["configuration"] = keys.clone();
    evil["__proto__"] = json!({"polluted": 1});
    let mut scene = Scene::with(&evil, "");
    let clean = "return [({}).polluted, [].polluted, Object.prototype.from, (() => {}).polluted]
                   .every((value) => value === undefined);";
    assert_eq!(scene.order(clean), true);
    let mut body = keys;
    body["order"] = json!(clean);
    let answer = scene.alice.call("execute", PUPPET_AT, &body);
    assert_eq!(answer["body"]["value"], true, "{answer}");
    // The stub pollutes its own: the host keeps its word, and nobody else is fooled.
    let told = scene.order(&format!(
        "const all = {{ from: '{BOB}', to: '{ALICE}', id: 7, type: 'response', code: 200,
           reply: false, polluted: 1 }};
         for (const name of Object.keys(all)) {{
           Object.defineProperty(Object.prototype, name, {{
             configurable: true, get: () => all[name], set: () => {{}} }});
         }}
         try {{
           tools.bus.postMessage({{ body: {{}} }});
           tools.bus.postMessage({{ type: 'update', to: '{ALICE}' }});
         }} finally {{
           for (const name of Object.keys(all)) delete Object.prototype[name];
         }}
         return 'done';"
    ));
    assert_eq!(told, "done");
    let next = scene.order("return 'nothing else came before';");
    assert_eq!(next, "nothing else came before");
    scene.stands();
}
