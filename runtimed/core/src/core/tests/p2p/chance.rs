//! Whatever becomes of connections, every question ends exactly once.

use super::subscriptions::{AT, KEEPER, MOOD, OWN};
use super::*;

/// What may happen.
#[derive(Debug, Clone)]
enum Doing {
    Ask(bool, bool),
    Subscribe(bool, bool),
    GuestSubscribes,
    Says(usize, bool),
    Guest(usize),
    Leaves,
    Answer,
    Die,
    Pass(u64),
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        5 => (any::<bool>(), any::<bool>()).prop_map(|(p2p, high)| Doing::Ask(p2p, high)),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(high, joins)| Doing::Subscribe(high, joins)),
        1 => Just(Doing::GuestSubscribes),
        5 => (0..5_usize, any::<bool>()).prop_map(|(word, named)| Doing::Says(word, named)),
        3 => (0..5_usize).prop_map(Doing::Guest),
        1 => Just(Doing::Leaves),
        3 => Just(Doing::Answer),
        1 => Just(Doing::Die),
        3 => (1..4_000_u64).prop_map(Doing::Pass),
    ]
}

const WORDS: [&str; 5] = ["created", "in-progress", "live", "disconnected", "failed"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_becomes_of_connections_every_question_ends_exactly_once(
        node in any::<bool>(),
        all in prop::collection::vec(doing(), 1..50),
    ) {
        let mut bench = Bench::with(with_p2p(node, node));
        bench.input(Input::Tick);
        let alice = bench.app(&[ALICE]);
        let handler = *bench.components.iter().find(|(_, url)| *url == HANDLER).unwrap().0;
        let handler = (handler, bench.core.bus.sandboxes[&handler]);
        let mut asked = 0_usize;
        let mut came = 0;
        for what in all {
            let (sandbox, link, url) = bench.youngest();
            match what {
                Doing::Ask(p2p, high) => {
                    asked += 1;
                    let to = if high { "hyperty://high.example/x" } else { CAROL };
                    let asks = request(&asked.to_string(), ALICE, to);
                    bench.send(alice, if p2p { asks.flag(flags::P2P) } else { asks });
                }
                Doing::Subscribe(high, joins) => {
                    asked += 1;
                    let resource = if high { "hyperty://high.example/x/status" } else { MOOD };
                    let kind =
                        if joins { MessageType::Subscribe } else { MessageType::Unsubscribe };
                    bench.keeper_hears(alice, kind, &asked.to_string(), &[resource]);
                }
                Doing::GuestSubscribes => {
                    let asks = message(MessageType::Subscribe, "1", KEEPER, AT).flag(flags::REPLY);
                    let own = json!({"resources": format!("{ALICE}/status")});
                    bench.send(handler.1, by("far.example", with_body(asks, &own)));
                    bench.send(alice, message(MessageType::Update, "", ALICE, OWN));
                }
                Doing::Says(word, named) => {
                    let remote = if url.contains("high.example") { HIGH } else { FAR };
                    let remote = if named { remote } else { url.as_str() };
                    bench.status(link, &url, WORDS[word], remote);
                }
                Doing::Guest(word) => {
                    if came == 0 {
                        came += 1;
                        bench.comes(handler.0, came, "far.example");
                    }
                    bench.status(handler.1, HANDLER, WORDS[word], FAR);
                }
                Doing::Leaves => {
                    bench.handler_says(handler.0, CtlUp::Left { conn: 1, refused: None });
                }
                Doing::Answer => {
                    for frame in bench.heard.remove(&link).unwrap_or_default() {
                        let view = frame.view().unwrap();
                        if view.header.mtype != MessageType::Response.as_u8() {
                            bench.send(link, response(view.id(), view.to(), view.from(), 200));
                        }
                    }
                }
                Doing::Die if sandbox != handler.0 => bench.exits(sandbox, Vec::new()),
                Doing::Die => {}
                Doing::Pass(ms) => bench.pass(ms),
            }
        }
        bench.pass(60_000);
        let mut ended = bench.ids(alice);
        ended.sort_by_key(|id| id.parse::<usize>().unwrap());
        let expected: Vec<String> = (1..=asked).map(|id| id.to_string()).collect();
        prop_assert_eq!(ended, expected);
    }
}
