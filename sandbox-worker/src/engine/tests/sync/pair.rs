//! Two components, each in an engine of its own, and between them what the runtime does.

use super::super::{Bench, RUNTIME, message, setup};
use serde_json::{Value, json};

pub(super) const OBJECT: &str = "comm://home.example/o1";
pub(super) const ALICE: &str = "hyperty://home.example/alice";
pub(super) const BOB: &str = "hyperty://home.example/bob";
pub(super) const SCHEMA: &str =
    "hyperty-catalogue://catalogue.home.example/.well-known/dataschema/Communication";
/// Says the result of the code that it is told.
const PUPPET: &str = "export default function activate(url, bus, config, factory) {
  const syncher = factory.createSyncher(url, bus, config);
  const kept = { heard: [], failed: [] };
  bus.addListener('test://do.it/now', (m) => {
    Promise.resolve((0, eval)(`(${m.body.code})`)({ syncher, kept, bus, url, factory })).then(
      (value) => { if (value !== undefined) bus.postMessage({ type: 'event', from: url, to: 'test://said.it/now', body: { value } }); },
      (error) => kept.failed.push(String(error)));
  });
  return { name: 'puppet', instance: {} };
}";

/// Reporter and observer, and between them what the runtime does at `<runtime>/sm`.
pub(super) struct Pair {
    pub(super) alice: Bench,
    pub(super) bob: Bench,
    /// Copies of changes and children on their way to the observer.
    pub(super) copies: Vec<Value>,
    /// Whether they are handed over.
    pub(super) open: bool,
    pub(super) observing: bool,
}

impl Pair {
    pub(super) fn start() -> Self {
        let bench = |url: &str| {
            let mut setup = setup();
            url.clone_into(&mut setup.component);
            let mut bench = Bench::new(setup);
            bench.start(PUPPET.as_bytes()).unwrap();
            bench
        };
        let (alice, bob) = (bench(ALICE), bench(BOB));
        Self { alice, bob, copies: Vec::new(), open: true, observing: false }
    }

    /// Alice reports this, and lets in whoever asks.
    pub(super) fn reporting(initial: &Value) -> Self {
        let mut pair = Self::start();
        pair.order(
            ALICE,
            &format!(
                "async ({{ syncher, kept }}) => {{
                   kept.it = await syncher.create('{SCHEMA}', [], {initial}, true, false, 'room');
                   kept.it.onSubscription((e) => {{ kept.heard.push(e.type); if (e.accept) e.accept(); }}); }}"
            ),
        );
        pair
    }

    /// And Bob observes it.
    pub(super) fn observed(initial: &Value) -> Self {
        let mut pair = Self::reporting(initial);
        pair.order(
            BOB,
            &format!(
                "async ({{ syncher, kept }}) => {{
                   kept.it = await syncher.subscribe('{SCHEMA}', '{OBJECT}');
                   kept.it.onChange('*', (e) => kept.heard.push(e)); }}"
            ),
        );
        assert!(pair.observing, "{:?}", pair.bob.logs);
        pair
    }

    pub(super) fn bench(&mut self, who: &str) -> &mut Bench {
        if who == ALICE { &mut self.alice } else { &mut self.bob }
    }

    /// Lets one of them do something; what it says comes by [`Self::said`].
    pub(super) fn order(&mut self, who: &str, code: &str) {
        let mut order = message("event", "x://y.z/q", "test://do.it/now");
        order["body"] = json!({"code": code});
        self.bench(who).deliver(&order);
        self.settle();
    }

    pub(super) fn said(&mut self, who: &str, code: &str) -> Value {
        self.order(who, code);
        self.bench(who).told("test://said.it/now")["value"].clone()
    }

    pub(super) fn data(&mut self, who: &str) -> Value {
        self.said(who, "({ kept }) => JSON.parse(JSON.stringify(kept.it.data))")
    }

    pub(super) fn same(&mut self) {
        let (here, there) = (self.data(ALICE), self.data(BOB));
        assert_eq!(here, there);
    }

    /// Carries messages until nobody says anything.
    fn settle(&mut self) {
        loop {
            self.alice.pass(0);
            self.bob.pass(0);
            let is_own =
                |post: &Value| post["to"].as_str().is_some_and(|to| to.starts_with("test:"));
            let mut posts = Vec::new();
            for bench in [&mut self.alice, &mut self.bob] {
                let (own, other) = std::mem::take(&mut bench.posts).into_iter().partition(is_own);
                bench.posts = own;
                let other: Vec<Value> = other;
                posts.extend(other);
            }
            if posts.is_empty() {
                break;
            }
            for post in posts {
                self.carry(post);
            }
            self.hand_over();
        }
    }

    pub(super) fn hand_over(&mut self) {
        if self.open {
            for copy in std::mem::take(&mut self.copies) {
                self.bob.deliver(&copy);
            }
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.alice.pass(ms);
        self.bob.pass(ms);
        self.settle();
    }

    fn carry(&mut self, mut post: Value) {
        let to = post["to"].as_str().unwrap().to_owned();
        if to == format!("{RUNTIME}/sm") {
            return self.runtime(post);
        }
        if to == format!("{OBJECT}/changes") {
            self.copies.push(post);
        } else if to == format!("{OBJECT}/children") {
            let answer = answer(&post, &json!({"code": 200}));
            let from = post["from"].as_str().unwrap().to_owned();
            self.bench(&from).deliver(&answer);
            if from == ALICE {
                self.copies.push(post);
            } else {
                self.alice.deliver(&post);
            }
        } else if to.starts_with(OBJECT) || to == ALICE {
            self.alice.deliver(&post);
        } else if to == BOB {
            if post["type"] == "response" && post["from"] == format!("{OBJECT}/subscription") {
                self.observing |= post["body"]["code"] == 200;
                post["from"] = json!(format!("{RUNTIME}/sm"));
            }
            self.bob.deliver(&post);
        } else {
            panic!("{post}");
        }
    }

    fn runtime(&mut self, mut post: Value) {
        let from = post["from"].as_str().unwrap().to_owned();
        if post["body"]["resume"] == true {
            let nothing = answer(&post, &json!({"code": 404}));
            self.bench(&from).deliver(&nothing);
            return;
        }
        match post["type"].as_str().unwrap() {
            "create" => {
                assert!(post["body"]["value"]["data"].is_null(), "the data stays here: {post}");
                let body = json!({"code": 200, "resource": OBJECT, "childrenResources": []});
                self.bench(&from).deliver(&answer(&post, &body));
            }
            "subscribe" => {
                post["to"] = json!(format!("{OBJECT}/subscription"));
                self.alice.deliver(&post);
            }
            kind => {
                self.bench(&from).deliver(&answer(&post, &json!({"code": 200})));
                let (kind, to) = if kind == "delete" {
                    ("delete", format!("{OBJECT}/changes"))
                } else {
                    ("unsubscribe", format!("{OBJECT}/subscription"))
                };
                let from = if kind == "delete" { OBJECT } else { BOB };
                let mut told = message(kind, from, &to);
                told["body"] = json!({"resource": OBJECT});
                if kind == "delete" {
                    self.copies.push(told);
                } else {
                    self.alice.deliver(&told);
                }
            }
        }
    }
}

fn answer(request: &Value, body: &Value) -> Value {
    json!({"id": request["id"], "type": "response", "from": request["to"], "to": request["from"], "body": body})
}

/// An update of the object as its reporter would send it.
pub(super) fn update(version: u64, attribute: &str, value: &Value) -> Value {
    json!({"id": version, "type": "update", "from": OBJECT, "to": format!("{OBJECT}/changes"),
        "body": {"version": version, "attribute": attribute, "value": value}})
}
