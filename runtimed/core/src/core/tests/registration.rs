//! Registration at the home domain's registry (runtime-core §4.11).

use super::bench::{ALICE, Bench, RUNTIME, message};
use super::home::with_home_stub;
use super::kept::kept;
use crate::input::{Input, LinkId, Time};
use crate::limits::{NODE_RETRY_MS, REGISTRATIONS_AT_ONCE, REJOIN_MS, RESTORE_JITTER_MS};
use crate::settings::Settings;
use crate::store::{LeaseRow, Record};
use protocol::frame::Frame;
use protocol::message::MessageType;
use serde_json::{Value, json};

const REGISTRY: &str = "domain://registry.home.example";
const OBJECT: &str = "comm://home.example/room";
/// Of a lease of an hour.
const HALF_MS: u64 = 3_600_000 * 10 / 22;

fn registering() -> Settings {
    Settings { register: true, ..with_home_stub() }
}

/// One word to the registry.
struct Word {
    frame: Frame,
    create: bool,
    body: Value,
}

impl Bench {
    /// What the registry was told, with everything before it forgotten.
    fn words(&mut self) -> Vec<Word> {
        let (_, home, _) = self.youngest();
        let heard = self.heard.remove(&home).unwrap_or_default();
        let word = |frame: Frame| {
            let view = frame.view().unwrap();
            let body = serde_json::from_slice(view.body()).unwrap();
            let create = view.header.mtype == MessageType::Create.as_u8();
            Word { create, body, frame: frame.clone() }
        };
        let ours = heard.into_iter().filter(|frame| frame.view().unwrap().to() == REGISTRY);
        ours.map(word).collect()
    }

    fn one(&mut self) -> Word {
        let mut all = self.words();
        assert_eq!(all.len(), 1, "{:?}", all.iter().map(|word| &word.body).collect::<Vec<_>>());
        all.remove(0)
    }

    /// What it is told next, and after how long.
    fn next_word(&mut self) -> (u64, Word) {
        for second in 1..=3_600 {
            self.pass(1_000);
            if let Some(word) = self.words().pop() {
                return (second * 1_000, word);
            }
        }
        panic!("nothing within an hour");
    }

    fn registry_says(&mut self, word: &Word, code: u16) {
        let (_, home, _) = self.youngest();
        let view = word.frame.view().unwrap();
        let answer = message(MessageType::Response, view.id(), REGISTRY, view.from());
        self.send(home, answer.code(code).body(b"{}"));
    }

    fn leaves(&mut self, link: LinkId) {
        self.input(Input::AppLeft { link, unsent: Vec::new() });
    }
}

/// Alice here and registered.
fn world() -> (Bench, LinkId) {
    let mut bench = Bench::with(registering());
    let alice = bench.app(&[ALICE]);
    let word = bench.one();
    bench.registry_says(&word, 200);
    (bench, alice)
}

fn refresh() -> Value {
    json!({"resource": ALICE, "value": {"status": "live"}, "method": "refresh"})
}

fn gone() -> Value {
    json!({"resource": format!("/hyperty/{ALICE}"), "value": "disconnected", "attribute": "status"})
}

fn leases(bench: &Bench) -> Vec<LeaseRow> {
    let lease = |row| match row {
        Record::Lease(row) => Some(row),
        _ => None,
    };
    kept(bench).into_values().filter_map(lease).collect()
}

#[test]
fn who_comes_is_registered_kept_alive_and_said_to_be_disconnected_when_it_goes() {
    let mut bench = Bench::with(registering());
    let alice = bench.app(&[ALICE]);
    let word = bench.one();
    assert!(word.create && word.frame.view().unwrap().from() == format!("{RUNTIME}/registry"));
    let hyperty = json!({"url": ALICE, "runtime": RUNTIME, "expires": 3600, "status": "live",
        "user": "user://anonymous", "descriptor": "", "resources": [], "dataSchemes": []});
    assert_eq!(word.body, json!({"value": hyperty, "policy": "policy"}));
    assert_eq!(leases(&bench), [], "not yet");
    bench.registry_says(&word, 200);
    assert_eq!(leases(&bench)[0].expires_ms, bench.now + 3_600_000);
    for _time in 0..3 {
        let (waited, word) = bench.next_word();
        assert!((HALF_MS * 9 / 10 - 1_000..=HALF_MS + 1_000).contains(&waited), "{waited}");
        assert_eq!((word.create, &word.body), (false, &refresh()));
        bench.registry_says(&word, 200);
        assert!(leases(&bench)[0].expires_ms > bench.now + HALF_MS);
    }
    bench.leaves(alice);
    let word = bench.one();
    assert_eq!((word.create, &word.body), (false, &gone()));
    bench.registry_says(&word, 200);
    assert_eq!(leases(&bench), []);
    bench.pass(3_600_000);
    assert!(bench.words().is_empty());
}

#[test]
fn a_data_object_is_registered_with_its_scheme_and_leaves_in_its_own_words() {
    let mut bench = Bench::with(registering());
    let alice = bench.app(&[OBJECT]);
    let word = bench.one();
    let object = json!({"url": OBJECT, "runtime": RUNTIME, "expires": 3600, "status": "live",
        "resources": [], "dataSchemes": ["comm"]});
    assert_eq!(word.body["value"], object);
    bench.registry_says(&word, 200);
    bench.leaves(alice);
    let word = bench.one();
    assert_eq!(word.body, json!({"resource": OBJECT, "value": {"status": "disconnected"}}));
}

#[test]
fn a_registry_that_forgot_is_told_anew() {
    let (mut bench, _) = world();
    let (_, word) = bench.next_word();
    bench.registry_says(&word, 404);
    let word = bench.one();
    assert!(word.create && word.body["value"]["url"] == ALICE);
    assert_eq!(leases(&bench), []);
    bench.registry_says(&word, 200);
    assert_eq!(leases(&bench).len(), 1);
}

#[test]
fn after_the_stub_died_or_said_that_it_is_live_again_everything_is_told_again() {
    let (mut bench, _) = world();
    let again = json!({"resource": ALICE, "value": {"status": "live"}});
    let (sandbox, _, _) = bench.youngest();
    bench.exits(sandbox, Vec::new());
    bench.pass(1 + RESTORE_JITTER_MS);
    let word = bench.one();
    assert_eq!((word.create, &word.body), (false, &again));
    bench.registry_says(&word, 200);
    let (_, home, url) = bench.youngest();
    for status in ["disconnected", "live"] {
        let update = message(MessageType::Update, status, &url, &format!("{url}/status"));
        let body: &[u8] =
            if status == "live" { br#"{"value":"live"}"# } else { br#"{"value":"disconnected"}"# };
        bench.send(home, update.body(body));
    }
    bench.pass(RESTORE_JITTER_MS);
    let word = bench.one();
    assert_eq!(word.body, again);
    bench.registry_says(&word, 404);
    assert!(bench.one().create);
}

#[test]
fn who_goes_and_comes_while_the_registry_is_told_is_told_of_in_order() {
    let mut bench = Bench::with(registering());
    let alice = bench.app(&[ALICE]);
    let created = bench.one();
    bench.leaves(alice);
    assert!(bench.words().is_empty(), "one word at a time");
    bench.registry_says(&created, 200);
    let left = bench.one();
    assert_eq!(left.body, gone());
    bench.app(&[ALICE]);
    bench.registry_says(&left, 200);
    let word = bench.one();
    assert!(word.create);
    bench.registry_says(&word, 200);
    assert_eq!(leases(&bench).len(), 1);
    // And one who was never registered needs no farewell.
    let mut bench = Bench::with(registering());
    let alice = bench.app(&[ALICE]);
    let created = bench.one();
    bench.leaves(alice);
    bench.registry_says(&created, 500);
    bench.pass(400_000);
    assert!(bench.words().is_empty() && bench.core.leases.urls().next().is_none());
}

#[test]
fn a_registry_that_refuses_is_asked_later_and_later_and_the_operator_is_told_once() {
    let mut bench = Bench::with(registering());
    bench.app(&[ALICE]);
    for wait in NODE_RETRY_MS {
        let word = bench.one();
        assert!(word.create);
        bench.registry_says(&word, 500);
        bench.pass(wait - 1);
        assert!(bench.words().is_empty());
        bench.pass(1);
    }
    let refused = bench.events("refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].name, "registry.home.example");
    assert!(refused[0].detail.contains(ALICE), "{}", refused[0].detail);
}

#[test]
fn a_crash_forgets_no_registration_and_who_does_not_come_back_is_said_to_be_gone() {
    let (first, _) = world();
    let after = |settings: Settings| {
        let mut bench = Bench::with(settings);
        bench.input(Input::Restored(kept(&first).into_values().collect()));
        bench
    };
    let mut bench = after(registering());
    bench.app(&[ALICE]);
    let word = bench.one();
    assert_eq!(word.body, json!({"resource": ALICE, "value": {"status": "live"}}));
    let mut bench = after(registering());
    bench.pass(REJOIN_MS + RESTORE_JITTER_MS);
    let word = bench.one();
    assert_eq!(word.body, gone());
    bench.registry_says(&word, 200);
    assert_eq!(leases(&bench), []);
    // What has run out meanwhile needs no farewell; nor does one that is switched off now stay.
    let mut bench = after(Settings { epoch_ms: 4_000_000, ..registering() });
    bench.pass(REJOIN_MS + RESTORE_JITTER_MS);
    assert!(bench.components.is_empty() && leases(&bench).is_empty());
    let mut bench = after(with_home_stub());
    bench.app(&[ALICE]);
    bench.pass(REJOIN_MS + RESTORE_JITTER_MS);
    assert_eq!(bench.one().body, gone());
}

#[test]
fn nobody_is_registered_unless_it_is_asked_for() {
    let mut bench = Bench::with(with_home_stub());
    bench.app(&[ALICE]);
    assert!(bench.words().is_empty());
    bench.input(Input::Configured { settings: Box::new(registering()) });
    let word = bench.one();
    assert!(word.create);
    bench.registry_says(&word, 200);
    bench.input(Input::Configured { settings: Box::new(with_home_stub()) });
    assert_eq!(bench.one().body, gone());
}

#[test]
fn so_many_at_once_and_the_next_when_one_has_ended() {
    let mut bench = Bench::with(registering());
    let urls: Vec<String> = (0..64).map(|n| format!("hyperty://home.example/a{n}")).collect();
    let more: Vec<String> = (0..10).map(|n| format!("hyperty://home.example/b{n}")).collect();
    for all in [&urls, &more] {
        bench.app(&all.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut words = bench.words();
    assert_eq!(words.len(), REGISTRATIONS_AT_ONCE);
    while let Some(word) = words.pop() {
        bench.registry_says(&word, 200);
        words.extend(bench.words());
    }
    assert_eq!(leases(&bench).len(), 74);
}

#[test]
fn attack_who_comes_and_goes_in_a_loop_does_not_grow_what_the_registry_is_to_be_told() {
    let mut bench = Bench::with(registering());
    // The registry hears, and says nothing.
    for round in 0..400_u32 {
        let names: Vec<String> =
            (0..64).map(|n| format!("hyperty://home.example/r{round}n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (link, refused) = bench.join(1_000 + round % 3, &names);
        assert_eq!(refused, None);
        bench.leaves(link);
    }
    let kept = bench.core.leases.urls().count();
    assert!(kept <= 2 * REGISTRATIONS_AT_ONCE, "{kept} addresses of whom nobody is here");
}

#[test]
fn attack_a_home_stub_that_comes_and_goes_in_a_loop_costs_no_look_at_every_registration() {
    let mut bench = Bench::with(registering());
    for round in 0..100_u32 {
        let names: Vec<String> =
            (0..64).map(|n| format!("hyperty://home.example/r{round}n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, refused) = bench.join(1_000, &names);
        assert_eq!(refused, None);
    }
    for word in bench.words() {
        bench.registry_says(&word, 200);
    }
    let (_, home, url) = bench.youngest();
    let status = format!("{url}/status");
    // The core alone: what the bench checks after each input walks all tables.
    let mut spent = std::time::Duration::ZERO;
    for _ in 0..200 {
        for body in [r#"{"value":"live"}"#, r#"{"value":"disconnected"}"#] {
            let update = message(MessageType::Update, "9", &url, &status).body(body.as_bytes());
            let mut frame = update.build().unwrap();
            let frame = frame.bytes_mut();
            let begun = std::time::Instant::now();
            let _effects = bench.core.handle(Time(bench.now), Input::Frame { link: home, frame });
            spent += begun.elapsed();
        }
    }
    let each = spent / 200;
    assert!(each < std::time::Duration::from_millis(2), "{each:?} a change, of 6,400 addresses");
}
