//! Subscriptions without a message node: what the runtimes at both ends of a connection tell each
//! other, and what each lets the other have.

use super::*;
use crate::limits::{NODE_RETRY_MS, SUBSCRIPTIONS_PER_PEER};

pub(super) const AT: &str = "hyperty-runtime://home.example/rt/subscriptions";
pub(super) const KEEPER: &str = "hyperty-runtime://far.example/7/subscriptions";
pub(super) const MOOD: &str = "hyperty://far.example/carol/status";
pub(super) const OWN: &str = "hyperty://home.example/alice/status";

impl Bench {
    /// An application asks the keeper of subscriptions.
    pub(super) fn keeper_hears(
        &mut self,
        link: LinkId,
        kind: MessageType,
        id: &str,
        resources: &[&str],
    ) {
        let asked = message(kind, id, ALICE, AT).flag(flags::REPLY | flags::ID_NUM);
        self.send(link, with_body(asked, &json!({ "resources": resources })));
    }

    /// A guest asks; the code of its answer.
    fn guest_asks(&mut self, link: LinkId, guest: &str, (from, body): (&str, &Value)) -> u16 {
        let asked = message(MessageType::Subscribe, "77", from, AT).flag(flags::REPLY);
        self.send(link, by(guest, with_body(asked, body)));
        let all = self.heard.get_mut(&link).expect("an answer");
        let at = all.iter().position(|frame| frame.view().unwrap().id() == "77").expect("one");
        all.remove(at).unwrap().view().unwrap().header.code
    }

    fn tells(&mut self, link: LinkId, from: &str, to: &str) {
        self.send(link, message(MessageType::Update, "5", from, to));
    }

    /// To which runtimes the copies that a stub has got are.
    fn copies_for(&mut self, link: LinkId, resource: &str) -> Vec<String> {
        let all = self.heard.remove(&link).unwrap_or_default();
        let copies = all.iter().filter(|frame| frame.view().unwrap().to() == resource);
        copies.map(|frame| peer_of(frame).expect("a runtime")).collect()
    }
}

#[test]
fn the_runtime_that_has_a_resource_is_told_who_is_subscribed_and_again_over_the_next_connection() {
    let mut bench = Bench::with(with_p2p(false, false));
    let _handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    bench.keeper_hears(alice, MessageType::Subscribe, "1", &[MOOD]);
    let (_, link, url) = bench.youngest();
    assert!(url.contains("/p2prequester/"), "a connection is made for it: {url}");
    bench.status(link, &url, "in-progress", &url);
    assert_eq!(bench.hear(alice), None);
    bench.status(link, &url, "live", FAR);
    let told = bench.heard_for(link, KEEPER, MessageType::Subscribe);
    assert_eq!(told.view().unwrap().from(), AT);
    assert_eq!(peer_of(&told).as_deref(), Some(FAR));
    assert_eq!(body_of(&told), json!({"subscribe": [MOOD], "resources": [MOOD], "source": AT}));
    assert_eq!(bench.hear(alice), None, "nobody has agreed");
    bench.agrees(link, &told, &json!({"code": 200}));
    assert_eq!(bench.ids(alice), ["1"]);
    bench.tells(link, CAROL, MOOD);
    let copy = bench.hear(alice).expect("a copy");
    assert!(copy.view().unwrap().has(flags::INBOUND));
    assert_eq!((copy.view().unwrap().from(), copy.view().unwrap().to()), (CAROL, MOOD));
    bench.tells(link, CAROL, "hyperty://far.example/dan/status");
    assert_eq!(bench.hear(alice), None, "nobody is subscribed to that");
    // Lost: it is forgotten there, and told again when somebody is there again.
    bench.status(link, &url, "disconnected", FAR);
    bench.status(link, &url, "failed", FAR);
    bench.heard.clear();
    bench.keeper_hears(alice, MessageType::Subscribe, "2", &["comm://far.example/room/changes"]);
    assert_eq!(bench.refusal(alice).unwrap(), ("2".to_owned(), 503, "peer-down".to_owned()));
    bench.pass(2_000);
    bench.status(link, &url, "live", FAR);
    bench.pass(2_000);
    let again = bench.heard_for(link, KEEPER, MessageType::Subscribe);
    assert_eq!(body_of(&again)["resources"], json!([MOOD]));
    bench.agrees(link, &again, &json!({"code": 200}));
    bench.tells(link, CAROL, MOOD);
    assert_eq!(bench.ids(alice), ["5"]);
    bench.keeper_hears(alice, MessageType::Unsubscribe, "3", &[MOOD]);
    let back = bench.heard_for(link, KEEPER, MessageType::Unsubscribe);
    assert_eq!(body_of(&back)["unsubscribe"], json!([MOOD]));
}

#[test]
fn whoever_came_is_told_too_and_what_it_refuses_holds_up_nothing_else() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    bench.connected(handler, 1, FAR);
    let (first, nobody) = ("comm://far.example/room/changes", "hyperty://far.example/a/status");
    let answers = |bench: &mut Bench, resources: &[&str], code: u16| {
        let told = bench.heard_for(handler.1, KEEPER, MessageType::Subscribe);
        assert_eq!(body_of(&told)["resources"], json!(resources));
        let view = told.view().unwrap();
        let answer = response(view.id(), view.to(), view.from(), code);
        bench.send(handler.1, by("far.example", answer));
    };
    for (id, resource) in [("1", first), ("2", nobody), ("3", MOOD)] {
        bench.keeper_hears(alice, MessageType::Subscribe, id, &[resource]);
    }
    answers(&mut bench, &[first], 200);
    answers(&mut bench, &[nobody, MOOD], 404);
    answers(&mut bench, &[nobody], 404);
    answers(&mut bench, &[MOOD], 200);
    assert_eq!(bench.ids(alice), ["1", "2", "3"]);
    // One that is not there any more after the connection was lost is asked for again, later.
    bench.handler_says(handler.0, CtlUp::Left { conn: 1, refused: None });
    bench.status(handler.1, HANDLER, "disconnected", FAR);
    bench.heard.clear();
    bench.connected(handler, 2, FAR);
    bench.pass(2_000);
    answers(&mut bench, &[first, MOOD], 404);
    answers(&mut bench, &[first], 404);
    answers(&mut bench, &[MOOD], 200);
    bench.heard.clear();
    bench.pass(NODE_RETRY_MS[1]);
    answers(&mut bench, &[first], 200);
}

#[test]
fn another_runtime_gets_copies_of_what_is_published_here_until_its_connection_is_lost() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    let high = format!("{HIGH}/subscriptions");
    for (conn, remote, guest, keeper) in
        [(1, FAR, "far.example", KEEPER), (2, HIGH, "high.example", high.as_str())]
    {
        bench.connected(handler, conn, remote);
        let body = json!({"subscribe": [OWN], "resources": [OWN], "source": keeper});
        assert_eq!(bench.guest_asks(handler.1, guest, (keeper, &body)), 200);
    }
    bench.heard.clear();
    bench.tells(alice, ALICE, OWN);
    assert_eq!(bench.copies_for(handler.1, OWN), [FAR, HIGH], "each its own");
    bench.handler_says(handler.0, CtlUp::Left { conn: 1, refused: None });
    bench.status(handler.1, HANDLER, "disconnected", FAR);
    bench.tells(alice, ALICE, OWN);
    assert_eq!(bench.copies_for(handler.1, OWN), [HIGH]);
    let back = message(MessageType::Unsubscribe, "8", &high, AT);
    bench.send(handler.1, by("high.example", with_body(back, &json!({"unsubscribe": [OWN]}))));
    bench.tells(alice, ALICE, OWN);
    assert_eq!(bench.copies_for(handler.1, OWN), [""; 0]);
}

#[test]
fn attack_023_another_runtime_is_subscribed_for_itself_to_what_is_published_here_and_no_more() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    let before = bench.spawned.len();
    bench.connected(handler, 1, FAR);
    bench.connected(handler, 2, HIGH);
    let status = format!("{RUNTIME}/status");
    let changes = format!("{RUNTIME}/registry/changes");
    let own = format!("{HANDLER}/status");
    for resource in [
        &status,
        &changes,
        &own,
        ALICE,
        "hyperty://home.example/nobody/status",
        MOOD,
        "hyperty://high.example/x/status",
        "sip:a@b.example",
        "comm://other.example/room/changes",
    ] {
        let body = json!({"resources": [resource]});
        let code = bench.guest_asks(handler.1, "far.example", (KEEPER, &body));
        assert!(code >= 300, "{resource}: {code}");
    }
    // For another, whose keeper speaks through the same stub; and for whom no keeper is.
    for (guest, from, source) in [
        ("high.example", HIGH, KEEPER),
        ("high.example", KEEPER, KEEPER),
        ("far.example", FAR, ALICE),
        ("far.example", KEEPER, HANDLER),
        ("far.example", CAROL, CAROL),
        ("far.example", FAR, FAR),
    ] {
        let body = json!({"resources": [OWN], "source": source});
        let asked = message(MessageType::Subscribe, "78", from, AT);
        bench.send(handler.1, by(guest, with_body(asked, &body)));
    }
    bench.heard.clear();
    bench.tells(alice, ALICE, OWN);
    assert_eq!(bench.hear(handler.1), None);
    // Nobody publishes for the domain of another that is there.
    bench.keeper_hears(alice, MessageType::Subscribe, "1", &[MOOD]);
    let told = bench.heard_for(handler.1, KEEPER, MessageType::Subscribe);
    let view = told.view().unwrap();
    bench.send(handler.1, by("far.example", response(view.id(), view.to(), view.from(), 200)));
    assert_eq!(bench.ids(alice), ["1"]);
    let said = |from| message(MessageType::Update, "9", from, MOOD);
    bench.send(handler.1, by("high.example", said("hyperty://high.example/x")));
    assert_eq!(bench.hear(alice), None);
    bench.send(handler.1, by("far.example", said(CAROL)));
    assert_eq!(bench.ids(alice), ["9"]);
    assert_eq!(bench.spawned.len(), before, "none of that starts anything");
}

#[test]
fn a_runtime_is_subscribed_to_so_many_resources_and_takes_no_room_of_another() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let _alice = bench.app(&[ALICE, "comm://home.example/room"]);
    bench.connected(handler, 1, FAR);
    bench.connected(handler, 2, HIGH);
    let number = |number: u32| json!({"resources": format!("comm://home.example/room/{number}")});
    for one in 0..SUBSCRIPTIONS_PER_PEER {
        bench.now += 10;
        assert_eq!(bench.guest_asks(handler.1, "far.example", (KEEPER, &number(one))), 200);
    }
    let more = number(SUBSCRIPTIONS_PER_PEER);
    assert_eq!(bench.guest_asks(handler.1, "far.example", (KEEPER, &more)), 503);
    let high = format!("{HIGH}/subscriptions");
    assert_eq!(bench.guest_asks(handler.1, "high.example", (&high, &more)), 200);
}
