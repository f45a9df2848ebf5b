//! What operators are told, and what they can do.

use super::world::{Step, World, key};
use crate::input::{Exit, Token};
use crate::limits::{EVENTS_KEPT, LOG_LINES_KEPT, OPERATOR_WAIT_MS};
use crate::ua::{StubRoute, UaOut};
use protocol::control::{Command, Denial, Reply};
use protocol::ctl::{CtlUp, FetchError, Role};
use protocol::reason::Reason;

fn name() -> String {
    "example.com".to_owned()
}

fn deploy(wait: bool, live: bool) -> Command {
    Command::Deploy { target: name(), wait, live }
}

fn says(world: &mut World, status: &str) {
    let url = world.ua.components[&key("example.com")].url.clone();
    let body = format!(r#"{{"value":"{status}"}}"#);
    let (now, mut out) = (world.time(), Vec::new());
    let to = url.child("status").unwrap();
    assert!(world.ua.status_message(now, &url, &to, body.as_bytes(), &mut out));
    world.outs.extend(out);
}

#[test]
fn deploy_without_wait_answers_at_once_and_with_wait_when_it_is_active() {
    let mut world = World::new().holding(&[Step::Activate]);
    let Reply::Deployed(row) = world.ask(deploy(false, false)) else { panic!() };
    assert_eq!(row.state, "deploying");
    let token = world.operator(deploy(true, false));
    assert!(world.replies(token).is_empty());
    let id = world.stub();
    world.up(id, CtlUp::Activated { name: String::new() });
    let replies = world.replies(token);
    assert!(matches!(&replies[..], [Reply::Deployed(row)] if row.state == "active"), "{replies:?}");
    assert!(matches!(world.ask(deploy(true, false)), Reply::Deployed(_)), "active already");
}

#[test]
fn wait_for_live_waits_for_the_stubs_own_word() {
    let mut world = World::new();
    let token = world.operator(deploy(true, true));
    says(&mut world, "in-progress");
    assert!(world.replies(token).is_empty());
    says(&mut world, "LIVE");
    assert!(matches!(&world.replies(token)[..], [Reply::Deployed(row)] if row.status == "live"));
}

#[test]
fn a_deploy_that_fails_tells_everybody_who_waits_what_and_where() {
    let mut world = World::new().holding(&[Step::Fetch]);
    let waiting = [world.operator(deploy(true, false)), world.operator(deploy(true, true))];
    let fetch = world.of(Role::Fetch)[0];
    let text = "404 Not Found".to_owned();
    world.up(fetch, CtlUp::FetchFailed { error: FetchError::Absent, text });
    for token in waiting {
        let replies = world.replies(token);
        let [Reply::Denied { denial, code, reason, stage, text }] = &replies[..] else {
            panic!("{replies:?}")
        };
        assert_eq!((*denial, *code), (Denial::Failed, Some(503)));
        assert_eq!(*reason, Some(Reason::CatalogueAbsent));
        assert_eq!(stage.as_deref(), Some("descriptor"));
        assert!(text.contains("404 Not Found"), "{text}");
    }
}

#[test]
fn a_wait_has_its_limit() {
    let mut world = World::new();
    let token = world.operator(deploy(true, true));
    world.pass(OPERATOR_WAIT_MS - 1);
    assert!(world.replies(token).is_empty());
    world.pass(1);
    assert!(matches!(&world.replies(token)[..], [Reply::Denied { denial: Denial::Timeout, .. }]));
}

#[test]
fn an_operator_who_left_is_not_answered() {
    let mut world = World::new().holding(&[Step::Activate]);
    let token = world.operator(deploy(true, false));
    let follower = world.operator(Command::Events { follow: true });
    world.ua.operator_gone(token);
    world.ua.operator_gone(follower);
    let seen = world.replies(follower).len();
    let id = world.stub();
    world.up(id, CtlUp::Activated { name: String::new() });
    assert!(world.replies(token).is_empty());
    assert_eq!(world.replies(follower).len(), seen);
}

#[test]
fn nonsense_and_unknown_names_are_told_apart() {
    let mut world = World::new();
    let denial = |reply| match reply {
        Reply::Denied { denial, text, .. } => {
            assert!(!text.is_empty());
            denial
        }
        other => panic!("{other:?}"),
    };
    for target in ["", "no domain", "http//x", "..", "localhost"] {
        let command = Command::Deploy { target: target.to_owned(), wait: true, live: false };
        assert_eq!(denial(world.ask(command)), Denial::Usage, "{target}");
    }
    let unknown = || "nowhere.example".to_owned();
    for command in [
        Command::Inspect { name: unknown() },
        Command::Undeploy { name: unknown() },
        Command::Restart { name: unknown() },
        Command::Kill { name: unknown(), signal: 9 },
        Command::Logs { name: unknown(), follow: false },
    ] {
        assert_eq!(denial(world.ask(command)), Denial::NotFound);
    }
    world.active("example.com");
    let signal = Command::Kill { name: name(), signal: 900 };
    assert_eq!(denial(world.ask(signal)), Denial::Usage);
    assert!(world.ua.components.len() == 1 && world.alive.len() == 1);
}

#[test]
fn undeploy_leaves_nothing_and_the_next_message_deploys_anew() {
    let mut world = World::new();
    world.active("example.com");
    assert_eq!(world.ask(Command::Undeploy { name: name() }), Reply::Done);
    assert!(world.alive.is_empty() && world.codes.is_empty() && world.ua.components.is_empty());
    assert_eq!(world.route("example.com"), StubRoute::Absent);
    world.active("example.com");
    assert_eq!(world.jobs.len(), 2, "fetched again");
}

#[test]
fn undeploy_during_a_deploy_ends_it_and_answers_who_waits() {
    for held in [Step::Fetch, Step::Source, Step::Load, Step::Activate, Step::Verify] {
        let mut world = World::new().holding(&[held]);
        let token = world.operator(deploy(true, false));
        let leaving = world.operator(Command::Undeploy { name: name() });
        let replies = world.replies(token);
        let undeployed = Some(Reason::Undeployed);
        assert!(
            matches!(&replies[..], [Reply::Denied { reason, .. }] if *reason == undeployed),
            "{held:?} {replies:?}"
        );
        assert!(world.replies(leaving).is_empty() || world.ua.components.is_empty(), "{held:?}");
        world.pass(2_001);
        assert_eq!(world.replies(leaving), [Reply::Done], "answered when it is gone");
        assert!(world.alive.is_empty() && world.codes.is_empty(), "{held:?}");
        assert!(world.ua.components.is_empty(), "{held:?}");
        assert!(world.outs.iter().any(|out| matches!(out, UaOut::Failed { .. })), "{held:?}");
    }
}

#[test]
fn inspect_shows_rights_proof_layers_and_stages() {
    let mut world = World::new();
    world.descriptor.wanted.push(super::world::wanted("mail.example", 25, true));
    world.active("example.com");
    let found = world.inspect("example.com");
    assert_eq!(found.granted, ["node.example.com:443"]);
    assert!(found.not_granted.len() == 1 && found.not_granted[0].contains("mail.example:25"));
    assert_eq!(found.proof, ["seccomp 2"]);
    assert_eq!(found.missing.len(), 1);
    assert_eq!((found.row.state.as_str(), found.row.level.as_str()), ("active", "namespaces"));
    let digest = found.row.digest.as_deref().unwrap_or_default();
    assert!(digest.starts_with("sha256:0707") && digest.len() == 7 + 64, "{digest}");
    assert_eq!(found.row.source.as_deref(), Some("https://catalogue.example.com"));
    assert!(found.last_error.is_none());
    let number = found.row.sandbox_id.expect("a sandbox").to_string();
    assert_eq!(world.inspect(&number).row.name, "example.com", "by its sandbox, too");
}

#[test]
fn sandbox_shows_how_a_worker_is_closed_by_number_component_and_role() {
    let mut world = World::new();
    let stub = world.active("example.com");
    let sandbox = |world: &mut World, name: &str| match world
        .ask(Command::Sandbox { name: name.to_owned() })
    {
        Reply::Sandbox(found) => *found,
        other => panic!("{other:?}"),
    };
    let found = sandbox(&mut world, &stub.0.to_string());
    assert_eq!((found.role.as_str(), found.name.as_str()), ("stub", "example.com"));
    assert!(found.usable && found.pid.is_some() && found.address.ends_with("/sandbox/1"));
    assert_eq!((found.level.as_str(), found.minimum.as_str()), ("namespaces", "namespaces"));
    assert_eq!(
        (found.layers.as_slice(), found.seen.as_slice()),
        (["seccomp".to_owned()].as_slice(), ["seccomp 2".to_owned()].as_slice())
    );
    assert_eq!((found.attacks.probes, found.attacks.denied), (100, 100));
    assert_eq!(sandbox(&mut world, "Example.com"), found);
    let Reply::Denied { denial: Denial::NotFound, text, .. } =
        world.ask(Command::Sandbox { name: "4711".to_owned() })
    else {
        panic!()
    };
    assert!(text.contains("no sandbox 4711"), "{text}");
}

#[test]
fn ps_keeps_one_row_however_often_it_was_restarted() {
    let mut world = World::new();
    for _life in 0..3 {
        let id = world.active("example.com");
        world.dies(id, Exit::Signal(9));
        world.pass(2_000);
    }
    let Reply::Ps(rows) = world.ask(Command::Ps { all: false }) else { panic!() };
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].restarts, rows[0].kind.as_str()), (3, "protostub"));
    assert!(rows[0].pid.is_some() && rows[0].started_at_ms.is_some());
}

#[test]
fn status_counts_components_by_state() {
    let mut world = World::new();
    world.active("example.com");
    world.active("other.example");
    let failed = CtlUp::FetchFailed { error: FetchError::Absent, text: String::new() };
    world.fetch_answers.push_back(failed);
    world.message("broken.example");
    let Reply::Status(status) = world.ask(Command::Status) else { panic!() };
    let expected = [("active".to_owned(), 2), ("failed".to_owned(), 1)];
    assert_eq!(status.states, expected);
    assert_eq!(status.minimum, "namespaces");
}

#[test]
fn events_are_numbered_bounded_and_followed() {
    let mut world = World::new();
    let follower = world.operator(Command::Events { follow: true });
    let mut domains = (0..).map(|n| format!("d{n}.example"));
    while world.events().len() <= EVENTS_KEPT {
        let failed = CtlUp::FetchFailed { error: FetchError::Absent, text: String::new() };
        world.fetch_answers.push_back(failed);
        world.message(&domains.next().unwrap());
    }
    let all = world.events().len();
    assert!(world.events().iter().zip(1..).all(|(row, seq)| row.seq == seq));
    let event = |reply: &Reply| matches!(reply, Reply::Event(_));
    assert_eq!(world.replies(follower).iter().filter(|reply| event(reply)).count(), all);
    let token = world.operator(Command::Events { follow: false });
    let replies = world.replies(token);
    assert_eq!(replies.iter().filter(|reply| event(reply)).count(), EVENTS_KEPT);
    assert_eq!(replies.last(), Some(&Reply::Done));
}

#[test]
fn event_words_are_those_of_the_contract() {
    let words = [
        "deploy-started",
        "deploy-stage",
        "deploy-failed",
        "stub-status",
        "sandbox-proved",
        "sandbox-refused",
        "exited",
        "restart-scheduled",
        "quarantined",
        "refused",
        "flood",
        "app-joined",
        "app-left",
    ];
    let mut world = World::new();
    let id = world.active("example.com");
    world.connect(id, 1, "evil.example", 443);
    for _death in 0..8 {
        if let Some(id) = world.of(Role::Stub).last().copied() {
            world.dies(id, Exit::Signal(11));
        }
        world.pass(20_000);
    }
    for row in world.events() {
        assert!(words.contains(&row.event.as_str()), "{row:?}");
        assert!(!row.name.is_empty() && !row.detail.is_empty(), "{row:?}");
    }
}

#[test]
fn log_lines_are_bounded_escaped_and_the_last_thousand() {
    let mut world = World::new();
    let id = world.active("example.com");
    let line = |text: &str| CtlUp::Log { level: 2, text: text.to_owned() };
    world.up(id, line("\u{1b}[31mred\u{202e}\u{85}\u{7}end"));
    world.up(id, line(&"x".repeat(5_000)));
    let token: Token = world.operator(Command::Logs { name: name(), follow: true });
    world.up(id, line("later"));
    let texts: Vec<String> = world
        .replies(token)
        .into_iter()
        .filter_map(|reply| if let Reply::Log { text, .. } = reply { Some(text) } else { None })
        .collect();
    let red = texts.iter().find(|text| text.contains("red")).expect("kept");
    let clean = |c: char| !c.is_control() && c != '\u{202e}';
    assert!(red.chars().all(clean) && red.contains("end"), "{red:?}");
    assert!(texts.iter().all(|text| text.len() <= 1_024));
    assert_eq!(texts.last().map(String::as_str), Some("later"));
    for n in 0..2_000 {
        world.up(id, line(&n.to_string()));
        world.pass(10);
    }
    let token = world.operator(Command::Logs { name: name(), follow: false });
    let replies = world.replies(token);
    assert_eq!(replies.len(), LOG_LINES_KEPT + 1);
    assert_eq!(replies.last(), Some(&Reply::Done));
}
