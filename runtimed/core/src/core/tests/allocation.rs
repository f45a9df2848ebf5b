//! Addresses of the home domain: made here, or allocated by its message node (runtime-core §4.7).

use super::bench::{ALICE, BOB, Bench, RUNTIME, message, settings};
use super::home::with_home_stub;
use super::kept::kept;
use crate::guid::Secret;
use crate::input::{Input, LinkId};
use crate::limits::{ALLOCATION_BLOCK, ALLOCATIONS_PER_REQUEST, NODE_RETRY_MS, RESTORE_JITTER_MS};
use crate::settings::Settings;
use crate::store::{BlockRow, Record};
use protocol::frame::{Frame, flags};
use protocol::message::MessageType;
use serde_json::{Value, json};

const NODE: &str = "domain://msg-node.home.example/address-allocation";

fn by_node() -> Settings {
    Settings { addresses_from_node: true, ..with_home_stub() }
}

fn body(frame: &Frame) -> Value {
    serde_json::from_slice(frame.view().unwrap().body()).unwrap()
}

/// What was said in answer: the addresses, or the reason.
type Heard = Result<Vec<String>, String>;

impl Bench {
    fn wishes(&mut self, link: LinkId, kind: MessageType, body: &Value) {
        let to = format!("{RUNTIME}/address-allocation");
        let from = self.core.bus.links[&link].addresses[0].to_string();
        let id = format!("w{}", self.core.counters().accepted);
        let body = body.to_string();
        self.send(link, message(kind, &id, &from, &to).flag(flags::REPLY).body(body.as_bytes()));
    }

    fn answer(&mut self, link: LinkId) -> Option<Heard> {
        let frame = self.hear(link)?;
        let body = body(&frame);
        Some(match body["reason"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => {
                let list = body["value"]["allocated"].as_array().cloned().unwrap_or_default();
                Ok(list.iter().map(|url| url.as_str().unwrap().to_owned()).collect())
            }
        })
    }

    /// What `link` gets when the answer needs nobody else.
    fn gets(&mut self, link: LinkId, value: &Value) -> Heard {
        self.wishes(link, MessageType::Create, &json!({"value": value}));
        self.answer(link).unwrap_or_else(|| Err("no answer".to_owned()))
    }

    fn gives_up(&mut self, link: LinkId, urls: &[String]) -> Heard {
        self.wishes(link, MessageType::Delete, &json!({"childrenResources": urls}));
        self.answer(link).unwrap()
    }

    /// What the node was asked last, with everything before it forgotten.
    fn asked(&mut self, home: LinkId) -> Option<Frame> {
        let heard = self.heard.remove(&home).unwrap_or_default();
        heard.into_iter().rfind(|frame| frame.view().unwrap().to() == NODE)
    }

    fn node_says(&mut self, home: LinkId, asked: &Frame, code: u16, said: &Value) {
        let view = asked.view().unwrap();
        let said = said.to_string();
        let answer = message(MessageType::Response, view.id(), NODE, view.from());
        self.send(home, answer.code(code).body(said.as_bytes()));
    }

    /// The node does as it is asked.
    fn node_allocates(&mut self, home: LinkId) -> Value {
        let asked = self.asked(home).expect("the node is asked");
        let wanted = body(&asked);
        let scheme = wanted["scheme"].as_str().unwrap_or("hyperty");
        let key = wanted["value"]["allocationKey"].as_str().unwrap();
        let number = wanted["value"]["number"].as_u64().unwrap();
        let all: Vec<_> =
            (0..number).map(|n| format!("{scheme}://home.example/{key}-{n}")).collect();
        self.node_says(home, &asked, 200, &json!({"code": 200, "value": {"allocated": all}}));
        wanted
    }
}

/// Alice here, and the home domain's stub.
fn world(settings: Settings) -> (Bench, LinkId, LinkId) {
    let mut bench = Bench::with(settings);
    let alice = bench.app(&[ALICE]);
    let (_, home, _) = bench.youngest();
    bench.heard.clear();
    (bench, alice, home)
}

/// The same after a crash, with Alice here again.
fn again(first: &Bench, settings: Settings) -> (Bench, LinkId) {
    // No two lives have the same secret.
    let mut bench = Bench::with(Settings { secret: Secret::new([2; 32]), ..settings });
    bench.input(Input::Restored(kept(first).into_values().collect()));
    let alice = bench.app(&[ALICE]);
    (bench, alice)
}

fn blocks(bench: &Bench) -> Vec<BlockRow> {
    let block = |row| match row {
        Record::Block(row) => Some(row),
        _ => None,
    };
    kept(bench).into_values().filter_map(block).collect()
}

#[test]
fn without_a_node_addresses_are_made_here_and_are_their_users() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let urls = bench.gets(alice, &json!({"number": 2, "scheme": "COMM"})).unwrap();
    assert!(urls.len() == 2 && urls[0] != urls[1], "{urls:?}");
    for url in &urls {
        assert!(url.starts_with("comm://home.example/"), "{url}");
        assert_eq!(bench.join(2_000, &[url]).1.as_deref(), Some("address-taken"));
    }
    let hyperty = bench.gets(alice, &json!({})).unwrap().remove(0);
    assert!(hyperty.starts_with("hyperty://home.example/"), "{hyperty}");
    bench.app(&[&hyperty, &urls[0]]);
    assert!(blocks(&bench).is_empty());
}

#[test]
fn who_names_what_it_is_for_gets_the_same_again_over_a_crash_and_more_if_more_is_needed() {
    let mut first = Bench::new();
    let alice = first.app(&[ALICE]);
    let named = |number: u64, name: &str| json!({"number": number, "allocationKey": name});
    let two = first.gets(alice, &named(2, "chat")).unwrap();
    let (mut bench, alice) = again(&first, settings());
    assert_eq!(bench.gets(alice, &named(2, "chat")).unwrap(), two);
    assert_eq!(bench.gets(alice, &named(1, "chat")).unwrap(), two[..1]);
    let three = bench.gets(alice, &named(3, "chat")).unwrap();
    assert_eq!((&three[..2], three.len()), (&two[..], 3));
    let apart = bench.gets(alice, &named(1, "chat2")).unwrap();
    assert!(!three.contains(&apart[0]));
    // Another user's name is another name.
    let (other, refused) = bench.join(2_000, &["hyperty://home.example/other"]);
    assert_eq!(refused, None);
    let others = bench.gets(other, &named(3, "chat")).unwrap();
    assert!(others.iter().all(|url| !three.contains(url)), "{others:?}");
}

#[test]
fn what_is_asked_for_has_its_bounds_and_a_stub_gets_nothing() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, url) = bench.stub("far.example");
    let most = ALLOCATIONS_PER_REQUEST;
    assert_eq!(bench.gets(alice, &json!({"number": most})).unwrap().len(), most);
    for (value, reason) in [
        (json!({"number": 0}), "too-many-addresses"),
        (json!({"number": most + 1}), "too-many-addresses"),
        (json!({"number": -1}), "malformed"),
        (json!({"number": "2"}), "malformed"),
        (json!({"scheme": "hyperty-runtime"}), "not-claimable"),
        (json!({"scheme": "domain"}), "not-claimable"),
        (json!({"scheme": 5}), "malformed"),
        (json!({"allocationKey": "x".repeat(257)}), "malformed"),
    ] {
        assert_eq!(bench.gets(alice, &value), Err(reason.to_owned()), "{value}");
    }
    for kind in [MessageType::Create, MessageType::Delete] {
        let ask = message(kind, "1", &url, &format!("{RUNTIME}/address-allocation"));
        bench.send(stub, ask.flag(flags::REPLY).body(b"{}"));
        assert_eq!(bench.refusal(stub).unwrap().2, "policy");
    }
}

#[test]
fn the_node_is_asked_for_a_block_and_again_before_it_is_used_up() {
    let (mut bench, alice, home) = world(by_node());
    assert_eq!(bench.gets(alice, &json!({})), Err("no answer".to_owned()));
    let wanted = bench.node_allocates(home);
    assert_eq!(wanted["value"]["number"], ALLOCATION_BLOCK);
    assert_eq!(wanted.get("scheme"), None, "that of hyperties goes without saying");
    let mut had = vec![bench.answer(alice).unwrap().unwrap().remove(0)];
    for _more in 0..7 {
        had.append(&mut bench.gets(alice, &json!({})).unwrap());
        assert!(bench.asked(home).is_none(), "{had:?}");
    }
    had.append(&mut bench.gets(alice, &json!({})).unwrap());
    bench.node_allocates(home);
    had.append(&mut bench.gets(alice, &json!({"number": 20})).unwrap());
    had.sort();
    had.dedup();
    assert_eq!(had.len(), 29, "none twice");
    bench.wishes(alice, MessageType::Create, &json!({"scheme": "comm", "value": {"number": 30}}));
    let wanted = bench.node_allocates(home);
    assert_eq!((&wanted["scheme"], &wanted["value"]["number"]), (&json!("comm"), &json!(30)));
    assert_eq!(bench.answer(alice).unwrap().unwrap().len(), 30);
}

#[test]
fn a_crash_loses_no_address_and_gives_back_what_was_only_asked_for() {
    let (mut first, alice, home) = world(by_node());
    let _none_yet = first.gets(alice, &json!({"allocationKey": "chat"}));
    first.node_allocates(home);
    let given = first.answer(alice).unwrap().unwrap();
    let _asked = first.gets(alice, &json!({"scheme": "comm"}));
    let lost = body(&first.asked(home).unwrap())["value"]["allocationKey"].clone();

    let (mut bench, alice) = again(&first, by_node());
    assert_eq!(bench.gets(alice, &json!({"allocationKey": "chat"})).unwrap(), given);
    assert_eq!(bench.join(2_000, &[&given[0]]).1.as_deref(), Some("address-taken"));
    let other = bench.gets(alice, &json!({})).unwrap().remove(0);
    assert_ne!(other, given[0], "it was kept ahead");
    let (_, home, _) = bench.youngest();
    bench.pass(RESTORE_JITTER_MS);
    let asked = bench.asked(home).unwrap();
    assert_eq!(asked.view().unwrap().header.mtype, MessageType::Delete.as_u8());
    assert_eq!(body(&asked), json!({"resource": lost}));
    bench.node_says(home, &asked, 404, &json!({"code": 404}));
    assert!(blocks(&bench).iter().all(|row| json!(row.allocation) != lost));
}

#[test]
fn what_the_node_may_not_allocate_is_not_taken() {
    let (mut bench, alice, home) = world(by_node());
    let good = "hyperty://home.example/good";
    let bad = json!([
        "hyperty://far.example/x",
        "comm://home.example/x",
        "hyperty://home.example",
        ALICE,
        format!("{ALICE}/below"),
        RUNTIME,
        "nonsense",
        7,
        "hyperty://home.example/good/below",
    ]);
    for listed in [json!([]), bad.clone(), json!("x"), json!(null)] {
        let listed = listed
            .as_array()
            .map_or(listed.clone(), |list| json!(list.iter().take(8).collect::<Vec<_>>()));
        let _none_yet = bench.gets(alice, &json!({}));
        let asked = bench.asked(home).expect("whoever asks is not made to wait");
        bench.node_says(home, &asked, 200, &json!({"value": {"allocated": listed}}));
        assert_eq!(bench.answer(alice), Some(Err("node-refused".to_owned())), "{listed}");
    }
    let _none_yet = bench.gets(alice, &json!({}));
    let asked = bench.asked(home).unwrap();
    let mut listed = vec![json!(good)];
    listed.extend(bad.as_array().unwrap().iter().cloned());
    bench.node_says(home, &asked, 200, &json!({"value": {"allocated": listed}}));
    assert_eq!(bench.answer(alice), Some(Ok(vec![good.to_owned()])));
    assert_eq!(blocks(&bench).iter().filter(|row| row.url.contains("://")).count(), 1);
}

#[test]
fn what_is_kept_ahead_or_given_to_others_cannot_be_claimed() {
    let (mut bench, alice, home) = world(by_node());
    let _none_yet = bench.gets(alice, &json!({}));
    bench.node_allocates(home);
    let given = bench.answer(alice).unwrap().unwrap().remove(0);
    let ahead = blocks(&bench).into_iter().find(|row| row.holder.is_none()).unwrap().url;
    for (url, uid, may) in [
        (&ahead, 1_000, false),
        (&format!("{ahead}/below"), 1_000, false),
        (&given, 2_000, false),
        (&given, 1_000, true),
    ] {
        assert_eq!(bench.join(uid, &[url]).1.is_none(), may, "{url} by {uid}");
    }
}

#[test]
fn a_node_that_does_not_answer_is_asked_again_and_told_to_forget_what_it_may_have_done() {
    let (mut bench, alice, home) = world(by_node());
    let _none_yet = bench.gets(alice, &json!({}));
    let asked = bench.asked(home).unwrap();
    bench.pass(settings().default_deadline_ms + 10);
    assert_eq!(bench.answer(alice), Some(Err("deadline".to_owned())));
    let told = bench.asked(home).unwrap();
    assert_eq!(body(&told), json!({"resource": body(&asked)["value"]["allocationKey"]}));
    bench.node_says(home, &told, 500, &json!({"code": 500}));
    bench.pass(NODE_RETRY_MS[0] + 1);
    let all: Vec<Frame> = bench.heard.remove(&home).unwrap().into();
    let all: Vec<Frame> =
        all.into_iter().filter(|frame| frame.view().unwrap().to() == NODE).collect();
    let kinds: Vec<_> = all.iter().map(|frame| frame.view().unwrap().header.mtype).collect();
    assert_eq!(kinds, [MessageType::Create.as_u8(), MessageType::Delete.as_u8()]);
    bench.node_says(home, &all[1], 200, &json!({"code": 200}));
    assert_eq!(blocks(&bench).len(), 1, "what is asked for now");
    // Who comes now waits for what is on its way.
    let _none_yet = bench.gets(alice, &json!({}));
    assert!(bench.asked(home).is_none());
    bench.heard.entry(home).or_default().push_back(all[0].clone());
    bench.node_allocates(home);
    assert!(bench.answer(alice).unwrap().is_ok());
}

#[test]
fn who_has_gone_meanwhile_gets_nothing() {
    let (mut bench, alice, home) = world(by_node());
    let _none_yet = bench.gets(alice, &json!({"number": 3}));
    let asked = bench.asked(home).unwrap();
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    let list =
        json!(["hyperty://home.example/a", "hyperty://home.example/b", "hyperty://home.example/c"]);
    bench.node_says(home, &asked, 200, &json!({"value": {"allocated": list}}));
    assert!(blocks(&bench).iter().all(|row| row.holder.as_deref().is_none_or(|h| h == "asked")));
    let bob = bench.app(&[BOB]);
    assert_eq!(bench.gets(bob, &json!({"number": 3})).unwrap().len(), 3);
}

#[test]
fn what_is_given_up_goes_back_to_the_node_and_to_nobody_else() {
    let (mut bench, alice, home) = world(by_node());
    let _none_yet = bench.gets(alice, &json!({"number": 2, "allocationKey": "chat"}));
    bench.node_allocates(home);
    let urls = bench.answer(alice).unwrap().unwrap();
    bench.asked(home);
    let mut with_foreign = urls.clone();
    with_foreign.push("hyperty://home.example/nobody".to_owned());
    assert_eq!(bench.gives_up(alice, &with_foreign), Err("unknown-address".to_owned()));
    assert_eq!(bench.gives_up(alice, &[ALICE.to_owned()]), Err("address-taken".to_owned()));
    let (other, _) = bench.join(2_000, &["hyperty://home.example/other"]);
    assert_eq!(bench.gives_up(other, &urls), Err("unknown-address".to_owned()));
    assert_eq!(bench.gives_up(alice, &urls), Ok(vec![]));
    let (mut bench, alice) = again(&bench, by_node());
    let (_, home, _) = bench.youngest();
    assert!(bench.join(1_000, &[&urls[0]]).1.is_some(), "it is on its way back");
    bench.pass(RESTORE_JITTER_MS);
    let told = bench.asked(home).unwrap();
    assert_eq!(body(&told), json!({"childrenResources": urls}));
    bench.node_says(home, &told, 200, &json!({"code": 200}));
    assert!(blocks(&bench).iter().all(|row| !urls.contains(&row.url)));
    let new = bench.gets(alice, &json!({"number": 2, "allocationKey": "chat"})).unwrap();
    assert!(new.iter().all(|url| !urls.contains(url)), "{new:?}");
}
