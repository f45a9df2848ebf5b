//! What operators ask of the bus.

use super::bench::{ALICE, BOB, Bench, REMOTE, message, request, response};
use crate::input::{Input, Token};
use protocol::control::{Command, Denial, MonitorRow, Reply, ResolveReply};
use protocol::message::MessageType;
use protocol::reason::Reason;

fn send(to: &str, wait: bool) -> Command {
    let (kind, body) = ("read".to_owned(), r#"{"x":1}"#.to_owned());
    Command::Send { to: to.to_owned(), kind, body, timeout_ms: 500, wait }
}

fn resolve(bench: &mut Bench, address: &str) -> ResolveReply {
    bench.operator(77, Command::Resolve { address: address.to_owned() });
    match bench.replies(77).pop() {
        Some(Reply::Resolve(reply)) => *reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_operator_calls_and_gets_the_final_response() {
    let mut bench = Bench::new();
    let bob = bench.app(&[BOB]);
    bench.operator(1, send(BOB, true));
    let frame = bench.hear(bob).unwrap();
    let from = frame.view().unwrap().from().to_owned();
    assert!(from.starts_with("hyperty-runtime://home.example/rt/ctl/"), "{from}");
    assert_eq!(frame.view().unwrap().body(), br#"{"x":1}"#);
    bench.send(bob, response("1", BOB, &from, 100));
    assert!(bench.replies(1).is_empty());
    bench.send(bob, response("1", BOB, &from, 202).body(b"{}"));
    let reply = Reply::Response { code: 202, from: BOB.to_owned(), body: "{}".to_owned() };
    assert_eq!(bench.replies(1), [reply]);
    // Its address is gone with it.
    bench.send(bob, request("2", BOB, &from));
    assert_eq!(bench.refusal(bob).unwrap().2, "unknown-address");
}

#[test]
fn an_operator_is_told_why_not() {
    let mut bench = Bench::new();
    let bob = bench.app(&[BOB]);
    let reason = |bench: &Bench, token| match bench.replies(token).as_slice() {
        [Reply::Denied { denial, reason, .. }] => (*denial, *reason),
        other => panic!("{other:?}"),
    };
    bench.operator(1, send("hyperty://home.example/nobody", true));
    assert_eq!(reason(&bench, 1), (Denial::NotFound, Some(Reason::UnknownAddress)));
    bench.operator(2, send("nonsense", false));
    assert_eq!(reason(&bench, 2), (Denial::Usage, Some(Reason::BadAddress)));
    bench.operator(3, send(BOB, true));
    bench.pass(500);
    assert_eq!(reason(&bench, 3), (Denial::Timeout, Some(Reason::Deadline)));
    bench.operator(4, send(BOB, false));
    assert_eq!(bench.replies(4), [Reply::Done]);
    bench.operator(5, send(BOB, true));
    bench.input(Input::OperatorGone { token: Token(5) });
    assert_eq!(bench.core.waiting(), (0, 0));
    bench.operator(6, send(BOB, true));
    bench.input(Input::AppLeft { link: bob, unsent: Vec::new() });
    assert_eq!(reason(&bench, 6), (Denial::Failed, Some(Reason::ReceiverGone)));
}

#[test]
fn resolve_tells_what_the_router_would_do_and_changes_nothing() {
    let mut bench = Bench::new();
    let _alice = bench.app(&[ALICE]);
    let table = [
        ("HYPERTY://home.example/alice/", "deliver", None),
        ("hyperty://home.example/nobody", "refuse", Some(Reason::UnknownAddress)),
        ("hyperty://home.example/alice/x", "refuse", Some(Reason::UnknownAddress)),
        ("runtime://home.example/rt/ua", "deliver", None),
        ("runtime://home.example/rt/policy", "refuse", Some(Reason::NotImplemented)),
        ("nonsense", "refuse", Some(Reason::BadAddress)),
        ("unknown://far.example/x", "refuse", Some(Reason::NoRoute)),
        (REMOTE, "deploy", None),
    ];
    for (address, decision, reason) in table {
        let reply = resolve(&mut bench, address);
        assert_eq!((reply.decision.as_str(), reply.reason), (decision, reason), "{reply:#?}");
        assert!(!reply.steps.is_empty());
    }
    assert!(bench.spawned.is_empty());
    let last = resolve(&mut bench, REMOTE).steps;
    let steps: Vec<&str> = last.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["address", "owner", "owned here", "reserved", "route key", "stub"]);
    let _stub = bench.stub("far.example");
    assert_eq!(resolve(&mut bench, REMOTE).decision, "deliver");
}

#[test]
fn a_monitor_sees_each_message_once_and_bodies_only_if_it_asks() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.operator(1, Command::Monitor { bodies: false });
    bench.operator(2, Command::Monitor { bodies: true });
    bench.send(alice, request("5", ALICE, BOB).body(b"[1]"));
    bench.send(bob, message(MessageType::Update, "6", ALICE, BOB));
    let rows = |bench: &Bench, token| -> Vec<MonitorRow> {
        let row = |reply| match reply {
            Reply::Monitor(row) => *row,
            other => panic!("{other:?}"),
        };
        bench.replies(token).into_iter().map(row).collect()
    };
    let plain = rows(&bench, 1);
    let seen: Vec<_> = plain.iter().map(|row| (row.id.as_str(), row.outcome.as_str())).collect();
    assert_eq!(seen, [("5", "deliver app/app2"), ("6", "refuse forged")]);
    assert_eq!((plain[0].link.as_str(), plain[0].kind.as_str()), ("app/app1", "read"));
    assert!(plain.iter().all(|row| row.body.is_none()));
    assert_eq!(rows(&bench, 2)[0].body.as_deref(), Some("[1]"));
    bench.input(Input::OperatorGone { token: Token(1) });
    bench.send(alice, request("7", ALICE, BOB));
    assert_eq!(rows(&bench, 1).len(), 2);
    assert_eq!(rows(&bench, 2).len(), 3);
}

#[test]
fn status_tells_the_account_of_messages() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let _bob = bench.app(&[BOB]);
    bench.send(alice, request("1", ALICE, BOB));
    bench.send(alice, request("2", BOB, BOB));
    bench.operator(1, Command::Status);
    let Some(Reply::Status(status)) = bench.replies(1).pop() else { panic!("no status") };
    assert_eq!((status.accepted, status.queued, status.refused, status.apps), (2, 1, 1, 2));
}
