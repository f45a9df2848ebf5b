//! Two components keep an object the same, and what a hostile one can do to the other.

mod pair;

use super::message;
use pair::{ALICE, BOB, OBJECT, Pair, SCHEMA, update};
use serde_json::{Value, json};

#[test]
fn an_observer_gets_the_object_as_it_is_and_then_each_change_at_any_depth() {
    let mut pair = Pair::observed(&json!({"topic": "tea", "people": {"alice": {"mood": "good"}}}));
    pair.same();
    pair.order(
        ALICE,
        "({ kept }) => { const d = kept.it.data;
           d.topic = 'coffee'; d.people.alice.mood = 'better'; d.people.bob = { mood: 'fine' };
           d.people.bob.mood = 'finer'; delete d.people.alice; d.topic = 'coffee'; }",
    );
    pair.same();
    let told = pair.said(BOB, "({ kept }) => kept.heard.map((e) => [e.cType, e.field])");
    let expected = json!([
        ["update", "topic"],
        ["update", "people.alice.mood"],
        ["add", "people.bob"],
        ["update", "people.bob.mood"],
        ["remove", "people.alice"],
    ]);
    assert_eq!(told, expected, "each once, and what did not change not at all");
}

#[test]
fn lists_are_kept_the_same_whatever_is_done_to_them() {
    let mut pair =
        Pair::observed(&json!({"list": [3, 1, 2], "deep": {"rows": [{"n": 1}, {"n": 2}]}}));
    for code in [
        "l.push(5, 6)",
        "l.unshift(0)",
        "l.pop()",
        "l.shift()",
        "l.splice(1, 1, 'a', 'b')",
        "l.splice(-1)",
        "l.sort()",
        "l.reverse()",
        "l[1] = { x: 1 }",
        "l[1].x = 2",
        "l.length = 1",
        "l.fill({ y: 1 })",
        "l[l.length] = 'end'",
        "r.unshift({ n: 0 }); r[2].n = 7; const last = r[2]; r.shift(); last.n = 9",
        "const gone = r.pop(); gone.n = 'not told'",
        "delete l[0]",
    ] {
        pair.order(ALICE, &format!("({{ kept }}) => {{ const l = kept.it.data.list, r = kept.it.data.deep.rows; {code}; }}"));
        pair.same();
    }
    assert_eq!(pair.data(ALICE)["deep"]["rows"], json!([{"n": 1}]));
}

#[test]
fn the_messages_are_those_of_the_published_components() {
    let mut pair = Pair::observed(&json!({}));
    pair.open = false;
    pair.order(ALICE, "({ kept }) => { kept.it.data.list = []; kept.it.data.list.push('a'); delete kept.it.data.list; }");
    let told: Vec<&Value> = pair.copies.iter().collect();
    assert_eq!(told.len(), 3);
    for (at, copy) in (1..).zip(&told) {
        assert_eq!((&copy["type"], &copy["from"]), (&json!("update"), &json!(OBJECT)));
        assert_eq!(
            (&copy["body"]["version"], &copy["body"]["source"]),
            (&json!(at), &json!(ALICE))
        );
        assert!(copy["body"]["lastModified"].is_string());
    }
    assert_eq!(
        (&told[0]["body"]["attribute"], &told[0]["body"]["value"]),
        (&json!("list"), &json!([]))
    );
    let added = &told[1]["body"];
    assert_eq!((&added["attribute"], &added["value"]), (&json!("list.0"), &json!(["a"])));
    assert_eq!((&added["attributeType"], &added["operation"]), (&json!("array"), &json!("add")));
    assert!(told[2]["body"].get("value").is_none(), "what is removed has no value");
}

#[test]
fn who_was_invited_is_told_and_let_in_and_others_are_not() {
    let mut pair = Pair::start();
    pair.order(BOB, "({ syncher, kept }) => { syncher.onNotification((e) => { kept.heard.push([e.type, e.from, e.url, e.domain]); e.ack(); }); }");
    let create = format!(
        "async ({{ syncher, kept }}) => {{ kept.it = await syncher.create('{SCHEMA}', ['{BOB}'], {{ a: 1 }});
           kept.it.onResponse((e) => kept.heard.push(e.code)); }}"
    );
    pair.order(ALICE, &create);
    let heard = pair.said(BOB, "({ kept }) => kept.heard");
    assert_eq!(heard, json!([["create", ALICE, OBJECT, "home.example"]]));
    assert_eq!(pair.said(ALICE, "({ kept }) => kept.heard"), json!([200]));
    let subscribe = format!(
        "async ({{ syncher, kept }}) => {{ kept.it = await syncher.subscribe({{ schema: '{SCHEMA}', resource: '{OBJECT}' }}); }}"
    );
    pair.order(BOB, &subscribe);
    pair.same();
    let mut stranger =
        message("subscribe", "hyperty://home.example/eve", &format!("{OBJECT}/subscription"));
    stranger["id"] = json!(77);
    pair.alice.deliver(&stranger);
    let refused = pair.alice.posts.iter().find(|post| post["id"] == 77).expect("an answer");
    assert_eq!(refused["body"]["code"], 403, "{refused}");
    let mut peek = message("read", "hyperty://home.example/eve", OBJECT);
    peek["id"] = json!(78);
    pair.alice.deliver(&peek);
    let refused = pair.alice.posts.iter().find(|post| post["id"] == 78).expect("an answer");
    assert_eq!((&refused["body"]["code"], &refused["body"]["value"]), (&json!(403), &Value::Null));
}

#[test]
fn children_are_added_by_both_and_changed_by_who_added_them_alone() {
    let mut pair = Pair::observed(&json!({}));
    for (who, other, text) in [(ALICE, BOB, "from alice"), (BOB, ALICE, "from bob")] {
        pair.order(other, "({ kept }) => { kept.added = []; kept.it.onAddChild((e) => { kept.added.push([e.from, e.value, e.childId]); e.child.onChange((c) => kept.added.push(c.data)); }); }");
        let id = pair.said(who, &format!("async ({{ kept }}) => {{ kept.child = await kept.it.addChild({{ text: '{text}' }}); return kept.child.childId; }}"));
        assert_eq!(
            pair.said(other, "({ kept }) => kept.added"),
            json!([[who, {"text": text}, id]])
        );
        pair.order(who, "({ kept }) => { kept.child.data.text = 'better'; }");
        assert_eq!(pair.said(other, "({ kept }) => kept.added[1]"), json!("better"));
        let mut forged =
            message("update", "hyperty://home.example/eve", &format!("{OBJECT}/children"));
        forged["body"] =
            json!({"resource": id, "version": 9, "attribute": "text", "value": "forged"});
        pair.bench(other).deliver(&forged);
        let data = pair.said(
            other,
            &format!("({{ kept }}) => kept.it.childrens['{}'].data", id.as_str().unwrap()),
        );
        assert_eq!(data, json!({"text": "better"}));
    }
}

#[test]
fn an_object_that_is_taken_away_is_told_and_one_that_is_left_is_told_to_its_reporter() {
    let mut pair = Pair::observed(&json!({"a": 1}));
    pair.order(BOB, "({ syncher, kept }) => { syncher.onNotification((e) => kept.heard.push([e.type, e.url])); }");
    pair.order(ALICE, "({ kept }) => kept.it.delete().then(() => undefined)");
    assert_eq!(pair.said(BOB, "({ kept }) => kept.heard"), json!([["delete", OBJECT]]));
    assert_eq!(pair.said(BOB, "({ syncher }) => Object.keys(syncher.observers)"), json!([]));
    assert_eq!(pair.said(ALICE, "({ syncher }) => Object.keys(syncher.reporters)"), json!([]));

    let mut pair = Pair::observed(&json!({"a": 1}));
    pair.order(BOB, "({ kept }) => kept.it.unsubscribe().then(() => undefined)");
    assert_eq!(pair.said(ALICE, "({ kept }) => kept.heard"), json!(["subscribe", "unsubscribe"]));
    assert_eq!(pair.said(ALICE, "({ kept }) => kept.it.subscriptions"), json!({}));
}

#[test]
fn updates_count_once_and_in_order_and_a_gap_is_filled_by_the_whole_object() {
    let mut pair = Pair::observed(&json!({"n": 0}));
    pair.open = false;
    for n in 1..=4 {
        pair.order(
            ALICE,
            &format!("({{ kept }}) => {{ kept.it.data.n = {n}; kept.it.data['k{n}'] = true; }}"),
        );
    }
    let mut copies = std::mem::take(&mut pair.copies);
    assert_eq!(copies.len(), 8);
    let lost = copies.pop().unwrap();
    copies.swap(0, 5);
    copies.push(copies[2].clone());
    pair.open = true;
    for copy in copies {
        pair.bob.deliver(&copy);
    }
    let seen = pair
        .said(BOB, "({ kept }) => kept.heard.filter((e) => e.field === 'n').map((e) => e.data)");
    assert_eq!(seen, json!([1, 2, 3, 4]), "in order, and each once");
    assert_eq!(lost["body"]["attribute"], "k4");
    pair.order(ALICE, "({ kept }) => { kept.it.data.after = 1; }");
    pair.pass(2_000);
    pair.same();
    let mut old = lost;
    old["body"]["value"] = json!("old");
    pair.bob.deliver(&old);
    pair.same();
}

#[test]
fn a_change_that_cannot_be_made_tears_the_object_and_the_whole_one_is_asked_for() {
    let mut pair = Pair::observed(&json!({"list": [1]}));
    // More than the engine takes as the arguments of one call.
    let mut large = update(1, "list.0", &json!(vec![0; 70_000]));
    large["body"]["operation"] = json!("add");
    pair.bob.deliver(&large);
    pair.pass(200);
    pair.pass(1_000);
    pair.same();
    assert_eq!(pair.said(BOB, "({ kept }) => [kept.it.torn, kept.it.version]"), json!([false, 0]));
}

#[test]
fn an_answer_about_another_object_than_was_asked_for_is_none() {
    let mut pair = Pair::observed(&json!({"a": 1}));
    let other = format!("({{ syncher }}) => syncher.subscribe('{SCHEMA}', '{OBJECT}2')");
    pair.order(BOB, &other);
    let failed = pair.said(BOB, "({ kept }) => kept.failed");
    assert_eq!(failed, json!(["the answer is about another object"]));
    assert_eq!(pair.said(BOB, "({ syncher }) => Object.keys(syncher.observers)"), json!([OBJECT]));
}

#[test]
fn nothing_but_data_is_reached_by_a_path_and_nothing_is_inherited() {
    let mut pair = Pair::observed(&json!({"a": {"b": 1}}));
    let before = pair.data(BOB);
    for (at, path) in (1..).zip([
        "__proto__.polluted",
        "a.__proto__.polluted",
        "constructor.prototype.polluted",
        "a.constructor.prototype.polluted",
        "toString.polluted",
        "a.b.c",
        "missing.x",
        "",
        ".",
        "a..b",
        "__proto__",
    ]) {
        pair.bob.deliver(&update(at, path, &json!("yes")));
    }
    let deep = vec!["a"; 1_000].join(".");
    pair.bob.deliver(&update(12, &deep, &json!("yes")));
    let clean = "({ kept }) => [({}).polluted, [].polluted, (() => 1).polluted, ''.toString.polluted].every((x) => x === undefined)";
    assert_eq!(pair.said(BOB, clean), json!(true));
    assert_eq!(pair.data(BOB), before);
    let inside: Value =
        serde_json::from_str(r#"{"__proto__": {"polluted": "yes"}, "ok": 1}"#).unwrap();
    pair.bob.deliver(&update(13, "a", &inside));
    assert_eq!(
        pair.said(BOB, "({ kept }) => [kept.it.data.a.polluted === undefined, kept.it.data.a]"),
        json!([true, {"ok": 1}])
    );
    for (path, value) in [
        ("a.0", json!({"attributeType": 1})),
        ("list.9", json!(1)),
        ("list.x", json!(1)),
        ("list.-1", json!(1)),
    ] {
        let mut message = update(14, path, &value);
        message["body"]["attributeType"] = json!("array");
        message["body"]["operation"] = json!("add");
        pair.bob.deliver(&message);
    }
    assert!(pair.bob.logs.is_empty(), "{:?}", pair.bob.logs);
    pair.pass(3_000);
    pair.same();
    let refused = pair.said(ALICE, "({ kept }) => ['__proto__', '', 'a.b'].map((name) => { try { kept.it.data[name] = 1; return 'taken'; } catch (e) { return e.name; } })");
    assert_eq!(refused, json!(["TypeError", "TypeError", "TypeError"]));
}

#[test]
fn only_the_reporter_changes_an_object_or_takes_it_away() {
    let mut pair = Pair::observed(&json!({"a": 1}));
    for from in [
        BOB,
        ALICE,
        "hyperty://home.example/eve",
        "comm://home.example/o2",
        "comm://home.example/o1/changes",
    ] {
        let mut forged = update(1, "a", &json!("forged"));
        forged["from"] = json!(from);
        pair.bob.deliver(&forged);
        forged["type"] = json!("delete");
        pair.bob.deliver(&forged);
    }
    for version in [json!(-1), json!(1.5), json!("1"), json!(null), json!(1e300)] {
        let mut odd = update(1, "a", &json!("forged"));
        odd["body"]["version"] = version;
        pair.bob.deliver(&odd);
    }
    for body in [json!(null), json!(7), json!("x"), json!([])] {
        let mut odd = update(1, "a", &json!(1));
        odd["body"] = body;
        pair.bob.deliver(&odd);
    }
    assert_eq!(pair.data(BOB), json!({"a": 1}));
    assert!(pair.bob.logs.is_empty(), "{:?}", pair.bob.logs);
}

#[test]
fn a_flood_of_changes_becomes_few_messages_and_the_last_of_each_is_told() {
    let mut pair = Pair::observed(&json!({"n": 0, "list": []}));
    let before = pair.copies.len();
    pair.open = false;
    pair.order(ALICE, "({ kept }) => { for (let i = 0; i < 20000; i += 1) { kept.it.data.n = i; if (i % 100 === 0) kept.it.data.list.push(i); } }");
    let told = pair.copies.len() - before;
    assert!(told <= 32, "{told} messages at once");
    pair.open = true;
    pair.hand_over();
    pair.pass(5_000);
    assert_eq!(pair.data(BOB)["n"], 19_999);
    pair.same();
    for at in 0..200 {
        pair.bob.deliver(&update(1_000 + at, "n", &json!(at)));
    }
    pair.pass(5_000);
    pair.same();
}

#[test]
fn a_reader_who_joins_in_the_middle_of_changes_gets_each_once() {
    let mut pair = Pair::reporting(&json!({"list": []}));
    pair.order(ALICE, "({ kept }) => { kept.it.onSubscription((e) => { for (let i = 0; i < 40; i += 1) kept.it.data.list.push(i); e.accept(); kept.it.data.list.push('after'); }); }");
    pair.order(BOB, &format!("async ({{ syncher, kept }}) => {{ kept.it = await syncher.subscribe('{SCHEMA}', '{OBJECT}'); }}"));
    pair.pass(2_000);
    pair.same();
    assert_eq!(pair.data(BOB)["list"].as_array().unwrap().len(), 41);
}

#[test]
fn what_is_not_offered_says_so_and_urls_are_divided_as_published() {
    let mut pair = Pair::start();
    let said = pair.said(ALICE, "({ factory }) => factory.createDiscovery('a', 'b', {}).discoverHyperties().catch((e) => e)");
    assert_eq!((&said["code"], &said["reason"]), (&json!(501), &json!("not-implemented")));
    let resumed = pair.said(ALICE, "({ syncher }) => syncher.resumeObservers({})");
    assert_eq!(resumed, json!({}));
    for (url, kind, domain, identity) in [
        ("runtime://sp.sp/8456/sm", "runtime", "sp.sp", "/8456/sm"),
        ("hyperty://localhost:9090/test", "hyperty", "localhost:9090", "/test"),
        ("runtime://sp1.sp", "runtime", "sp1.sp", ""),
        ("localhost", "", "localhost", ""),
        ("*", "", "*", ""),
        ("user@gmail.com", "smtp", "gmail.com", "smtp://user@gmail.com"),
        ("slack://user@slack.com", "slack", "slack.com", "slack://user@slack.com"),
        ("sip:alice@ims.example.com", "sip", "ims.example.com", "sip://alice@ims.example.com"),
        ("tel:+351123456", "tel", "+351123456", ""),
        ("user://google.com/x@gmail.com", "user", "google.com", "/x@gmail.com"),
        ("global://registry/", "global", "registry", "/"),
        ("https://.foo.com/a", "https", "foo.com", "/a"),
        ("hyperty://a.b/c?x=1", "hyperty", "a.b", "/c?x=1"),
        ("h://x", "", "h://x", ""),
    ] {
        let divided = pair.said(ALICE, &format!("({{ factory }}) => factory.divideURL('{url}')"));
        assert_eq!(divided, json!({"type": kind, "domain": domain, "identity": identity}), "{url}");
    }
}
