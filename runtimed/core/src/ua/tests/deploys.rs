//! Deploys that go well: the stages in the order of the seeds, one flight for everybody, the second
//! source, what the stub is told.

use super::fallback::{fetch_failed, home_catalogue};
use super::world::{FETCH, STUB, Step, World, configured, key};
use crate::effect::{Attach, Effect};
use crate::input::Exit;
use crate::limits::{DEPLOYS_MAX, PROBES_MIN};
use crate::settings::DomainSettings;
use crate::ua::{StubRoute, UaInput, UaOut};
use protocol::address::RouteKey;
use protocol::control::Command;
use protocol::ctl::{CtlDown, CtlUp, FetchError, HostProfile, ProofReport, Role};
use protocol::reason::Reason;

#[test]
fn a_message_to_an_unknown_domain_finds_jails_and_runs_its_stub() {
    let mut world = World::new();
    assert_eq!(world.route("example.com"), StubRoute::Absent);
    assert_eq!(world.message("example.com"), StubRoute::Deploying);
    let StubRoute::Ready { link, url } = world.route("example.com") else { panic!() };
    assert!(url.as_str().starts_with("hyperty-runtime://example.com/protostub/"), "{url}");
    let released: Vec<_> = world
        .outs
        .iter()
        .filter(|out| matches!(out, UaOut::Active { .. } | UaOut::Failed { .. }))
        .collect();
    assert_eq!(released, [&UaOut::Active { key: key("example.com"), link, url: url.clone() }]);
    let bridge = world.ua.bridge_of(link).expect("a bridge");
    assert_eq!((&bridge.key, &bridge.url), (&key("example.com"), &url));
    assert!(bridge.sandbox.as_str().starts_with("hyperty-runtime://localhost/runtime/sandbox/"));
    // The fetch worker has done its work and is gone.
    assert_eq!((world.of(Role::Fetch).len(), world.of(Role::Stub).len()), (0, 1));
}

#[test]
fn the_stages_are_named_in_the_order_of_the_seeds() {
    let mut world = World::new();
    world.active("example.com");
    assert_eq!(world.events_named("deploy-started").len(), 1);
    let stages = world.inspect("example.com").stages;
    let place = |name: &str| stages.iter().position(|(stage, _)| stage == name);
    let mut last = None;
    for name in STAGES {
        let at = place(name);
        assert!(at.is_some() && at > last, "{name} in {stages:?}");
        last = at;
    }
    let events = world.events_named("deploy-stage");
    let of_events: Vec<_> =
        STAGES.iter().map(|name| events.iter().position(|row| row.detail.contains(name))).collect();
    assert!(of_events.iter().all(Option::is_some), "{of_events:?} {events:#?}");
    assert!(of_events.is_sorted(), "{of_events:?}");
}

/// Stages that do not depend on which of two workers is quicker.
const STAGES: &[&str] =
    &["descriptor", "policy", "source", "register", "assign", "load", "activate", "listener"];

#[test]
fn a_thousand_messages_are_one_deploy() {
    let mut world = World::new().holding(&[Step::Fetch]);
    for _message in 0..1_000 {
        assert_eq!(world.message("example.com"), StubRoute::Deploying);
    }
    assert_eq!((world.of(Role::Fetch).len(), world.of(Role::Stub).len()), (1, 1));
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn nothing_foreign_is_sent_before_the_check_from_outside_and_hello() {
    for held in [Step::Verify, Step::Hello, Step::Confine(STUB), Step::Confine(FETCH)] {
        let mut world = World::new().holding(&[held]);
        world.message("example.com");
        assert!(world.assigns.is_empty(), "{held:?}");
        if held != Step::Confine(STUB) {
            assert!(world.jobs.is_empty(), "{held:?}");
        }
    }
}

#[test]
fn a_worker_below_the_minimum_gets_no_code() {
    let mut world = World::new();
    world.level = protocol::ctl::Level::Filtered;
    world.message("example.com");
    assert!(world.assigns.is_empty() && world.jobs.is_empty());
    let StubRoute::Refused(refusal) = world.route("example.com") else { panic!() };
    assert_eq!(refusal.reason, Reason::SandboxRefused);
    assert!(!world.events_named("sandbox-refused").is_empty());
    assert!(world.alive.is_empty(), "no process is left");
}

#[test]
fn a_worker_that_has_not_attacked_itself_enough_gets_no_code() {
    for (probes, enough) in [(PROBES_MIN, true), (PROBES_MIN - 1, false), (0, false)] {
        let mut world = World::new();
        world.proof = ProofReport { probes, denied: probes, ..ProofReport::default() };
        world.message("example.com");
        assert_eq!(!world.assigns.is_empty(), enough, "{probes}");
        assert_eq!(world.events_named("sandbox-refused").is_empty(), enough, "{probes}");
    }
}

#[test]
fn the_event_of_a_proof_counts_the_attacks_and_names_one_that_got_through() {
    let mut world = World::new();
    world.proof.denied = 99;
    world.proof.failures = vec!["keyring-inherited: no keyring".to_owned()];
    world.active("example.com");
    let proved = world.events_named("sandbox-proved");
    let text = "99 of 100 attacks refused in 90 µs, but not keyring-inherited: no keyring";
    assert!(proved.iter().all(|event| event.detail.contains(text)), "{proved:?}");
}

#[test]
fn the_stub_is_told_its_configuration_with_the_runtime_in_it() {
    let mut world = World::with(&configured(
        "example.com",
        DomainSettings { ca_pem: "PEM".to_owned(), ..DomainSettings::default() },
    ));
    let stub = world.active("example.com");
    let (sandbox, assign, attach) = world.assigns.first().expect("assigned");
    assert_eq!(*sandbox, stub);
    assert!(matches!(attach, Attach::Code(_)));
    let config: serde_json::Value = serde_json::from_str(&assign.config).unwrap();
    assert_eq!(config["url"], "wss://node.example.com/ws");
    assert_eq!(config["runtimeURL"], "hyperty-runtime://localhost/runtime");
    assert_eq!(assign.runtime_url, "hyperty-runtime://localhost/runtime");
    assert_eq!(assign.ca_pem, "PEM");
    assert_eq!(assign.grants, ["node.example.com:443"]);
    assert_eq!(assign.profile, HostProfile::Worker);
}

#[test]
fn a_stub_that_wants_a_window_gets_the_inert_one() {
    let mut world = World::new();
    world.descriptor.constraints = vec!["windowsandbox".to_owned()];
    world.active("example.com");
    assert_eq!(world.assigns.first().expect("assigned").1.profile, HostProfile::Window);
}

#[test]
fn without_configuration_both_well_known_places_are_asked() {
    let mut world = World::new();
    world.active("example.com");
    let job = world.jobs.first().expect("a job");
    assert_eq!(job.base, "https://catalogue.example.com/.well-known");
    assert_eq!(job.alternatives, ["https://example.com/.well-known"]);
    assert_eq!(job.names, ["default"]);
    assert!(job.budget_ms <= 4_000);
}

#[test]
fn a_legacy_address_asks_for_its_own_name_first() {
    let mut world = World::new();
    let key = RouteKey::parse("sip://a@ims.example.com", "localhost").unwrap();
    let mut out = Vec::new();
    world.ua.stub_for(world.time(), &key, "message", &mut out);
    for out in out {
        if let UaOut::Effect(Effect::Spawn { sandbox, role: Role::Fetch, .. }) = out {
            world.alive.insert(sandbox, Role::Fetch);
            let link = crate::input::LinkId(5);
            world.input(UaInput::Spawned { sandbox, link, pid: 5, namespaces: true });
            for input in world.confined(sandbox) {
                world.input(input);
            }
        }
    }
    let job = world.jobs.first().expect("a job");
    assert_eq!(job.names, ["sip.ims.example.com", "sip.example.com", "default"]);
    assert_eq!(world.ps("sip.ims.example.com").kind, "interworking");
}

#[test]
fn a_worker_that_dies_before_it_read_code_is_replaced_three_times() {
    for role in [Role::Fetch, Role::Stub] {
        let mut world = World::new().holding(&[Step::Hello]);
        world.message("example.com");
        for _death in 0..3 {
            let id = *world.of(role).last().expect("one lives");
            world.dies(id, Exit::Code(111));
            assert_eq!(world.of(role).len(), 1, "{role:?}");
        }
        assert_eq!(world.route("example.com"), StubRoute::Deploying);
        let id = *world.of(role).last().expect("one lives");
        world.dies(id, Exit::Code(111));
        let StubRoute::Refused(refusal) = world.route("example.com") else { panic!("{role:?}") };
        assert_eq!(refusal.reason, Reason::SandboxUnavailable, "{role:?}");
        assert!(world.alive.is_empty());
    }
}

#[test]
fn more_deploys_than_the_bound_are_refused_or_wait_but_do_not_start() {
    let mut world = World::new().holding(&[Step::Fetch]);
    for n in 0..=DEPLOYS_MAX {
        world.message(&format!("d{n}.example"));
    }
    assert!(world.of(Role::Fetch).len() <= DEPLOYS_MAX);
    assert!(world.of(Role::Stub).len() <= DEPLOYS_MAX);
}

#[test]
fn strangers_cannot_fill_the_table_of_components() {
    let mut world = World::new();
    for n in 0..crate::limits::COMPONENTS_MAX + 50 {
        world.fetch_answers.push_back(fetch_failed(FetchError::Absent));
        world.message(&format!("d{n}.example"));
        assert!(world.alive.is_empty());
    }
    assert!(world.ua.components.len() <= crate::limits::COMPONENTS_MAX);
    // The oldest failure made room: a new domain is still served.
    world.fetch_answers.clear();
    world.active("example.com");
}

#[test]
fn a_table_full_of_sleeping_stubs_makes_room_for_a_new_domain() {
    let mut world = World::new();
    for n in 0..crate::limits::COMPONENTS_MAX {
        world.active(&format!("d{n}.example"));
    }
    world.message("example.com");
    assert!(matches!(world.route("example.com"), StubRoute::Refused(_) | StubRoute::Absent));
    world.pass(610_000);
    assert!(world.of(Role::Stub).is_empty(), "all are dormant");
    world.active("example.com");
    assert!(world.ua.components.len() <= crate::limits::COMPONENTS_MAX);
    assert!(world.codes.len() <= crate::limits::COMPONENTS_MAX, "code of the oldest is dropped");
}

#[test]
fn localhost_is_served_by_no_stub() {
    let mut world = World::new();
    let StubRoute::Refused(refusal) = world.message("localhost") else { panic!() };
    assert_eq!(refusal.reason.code(), 404);
    assert!(world.alive.is_empty());
}

#[test]
fn an_interworking_descriptor_changes_the_kind_and_never_the_key() {
    let mut world = World::new();
    world.descriptor.interworking = true;
    world.active("example.com");
    let row = world.ps("example.com");
    assert_eq!((row.kind.as_str(), row.domain.as_str()), ("interworking", "example.com"));
}

#[test]
fn a_status_said_before_activation_is_kept() {
    let mut world = World::new().holding(&[Step::Activate]);
    world.message("example.com");
    let stub = world.stub();
    let url = world.ua.components[&key("example.com")].url.clone();
    let to = url.child("status").unwrap();
    let mut out = Vec::new();
    let body = br#"{"value":"IN-PROGRESS"}"#;
    let now = world.time();
    assert!(world.ua.status_message(now, &url, &to, body, &mut out));
    world.up(stub, CtlUp::Activated { name: "stub".to_owned() });
    assert_eq!(world.ps("example.com").status, "in-progress");
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
}

#[test]
fn the_wait_for_one_answer_never_outlasts_twelve_seconds() {
    let steps = [
        Step::Spawn(FETCH),
        Step::Spawn(STUB),
        Step::Confine(FETCH),
        Step::Confine(STUB),
        Step::Verify,
        Step::Hello,
        Step::Fetch,
        Step::Source,
        Step::Load,
        Step::Activate,
    ];
    for step in steps {
        let mut world = World::with(&home_catalogue()).holding(&[step]);
        world.message("example.com");
        world.pass(12_001);
        let StubRoute::Refused(refusal) = world.route("example.com") else {
            let failed = world.outs.iter().any(|out| matches!(out, UaOut::Failed { .. }));
            assert!(failed, "{step:?} hangs");
            continue;
        };
        assert!(
            refusal.retry_after_ms.is_some() && refusal.stage.is_some(),
            "{step:?} {refusal:?}"
        );
        // A process that was asked for and has not come yet is killed when it comes.
        assert!(world.alive.keys().all(|id| world.killed.contains(id)), "{step:?}");
    }
}

/// A stub that was active dies, and its restart fails: the next deploy fetches again.
fn used_once(world: &mut World) {
    let id = world.active("example.com");
    world.held.insert(Step::Load);
    world.dies(id, Exit::Signal(11));
    world.pass(0);
    let id = world.stub();
    world.up(id, CtlUp::DeployFailed { stage: "load".to_owned(), text: "memory".to_owned() });
    world.held.clear();
    world.pass(2_000);
    assert_eq!(world.route("example.com"), StubRoute::Absent);
}

#[test]
fn the_digest_is_pinned_only_where_the_operator_says_so() {
    for pin in [false, true] {
        let with = DomainSettings { pin, ..DomainSettings::default() };
        let mut world = World::with(&configured("example.com", with));
        used_once(&mut world);
        world.digest = crate::input::Digest([8; 32]);
        world.message("example.com");
        match world.route("example.com") {
            StubRoute::Ready { .. } => assert!(!pin),
            StubRoute::Refused(refusal) => {
                assert!(pin, "{refusal:?}");
                assert_eq!(refusal.reason, Reason::Integrity);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(world.codes.len(), usize::from(!pin));
    }
}

#[test]
fn an_update_that_wants_more_rights_waits_until_the_operator_removes_the_old_one() {
    let mut world = World::new();
    used_once(&mut world);
    world.descriptor.wanted.push(super::world::wanted("other.example", 443, true));
    world.message("example.com");
    let StubRoute::Refused(refusal) = world.route("example.com") else { panic!("taken") };
    assert_eq!((refusal.reason, refusal.stage), (Reason::Policy, Some("policy")));
    world.ask(Command::Undeploy { name: "example.com".to_owned() });
    world.active("example.com");
}

#[test]
fn code_that_never_ran_pins_nothing() {
    let with = DomainSettings { pin: true, ..DomainSettings::default() };
    let mut world = World::with(&configured("example.com", with)).holding(&[Step::Load]);
    world.message("example.com");
    let id = world.stub();
    world.up(id, CtlUp::DeployFailed { stage: "load".to_owned(), text: "broken".to_owned() });
    world.held.clear();
    world.pass(1_000);
    world.digest = crate::input::Digest([8; 32]);
    world.active("example.com");
    assert_eq!(world.ps("example.com").pin.as_deref(), Some("digest"));
}

#[test]
fn code_that_is_not_needed_any_more_is_dropped() {
    let mut world = World::new();
    world.active("example.com");
    assert_eq!(world.codes.len(), 1);
    world.ask(Command::Undeploy { name: "example.com".to_owned() });
    assert!(world.codes.is_empty());
    let mut world = World::new().holding(&[Step::Load]);
    world.message("example.com");
    let stub = world.stub();
    let text = "SyntaxError".to_owned();
    world.up(stub, CtlUp::DeployFailed { stage: "load".to_owned(), text });
    assert!(world.codes.is_empty(), "code of a failed deploy");
}

#[test]
fn the_fetch_worker_is_told_to_get_the_code_only_after_the_descriptor_is_accepted() {
    let mut world = World::new().holding(&[Step::Fetch]);
    world.descriptor.constraints = vec!["node".to_owned()];
    world.message("example.com");
    let fetch = world.of(Role::Fetch)[0];
    let descriptor = Box::new(world.descriptor.clone());
    world.up(fetch, CtlUp::Fetched { origin: "https://example.com".to_owned(), descriptor });
    assert!(!world.said_to(fetch).iter().any(|down| matches!(down, CtlDown::FetchSource)));
    let StubRoute::Refused(refusal) = world.route("example.com") else { panic!() };
    assert_eq!(refusal.reason, Reason::Constraint);
    assert!(refusal.desc.contains("node"), "{}", refusal.desc);
}

#[test]
fn a_stub_that_wants_two_things_which_are_not_there_is_refused_by_the_name_of_one() {
    let mut world = World::new();
    world.descriptor.constraints =
        vec!["browser".to_owned(), "mobile".to_owned(), "node".to_owned()];
    world.message("example.com");
    let StubRoute::Refused(refusal) = world.route("example.com") else { panic!() };
    assert_eq!(refusal.reason, Reason::Constraint);
    let named = ["mobile", "node"].iter().any(|name| refusal.desc.contains(name));
    assert!(named && !refusal.desc.contains("browser"), "{}", refusal.desc);
    assert!(world.of(Role::Stub).is_empty() && world.codes.is_empty());
}

#[test]
fn where_nobody_listens_for_other_runtimes_nobody_connects_to_one_either() {
    let mut world = World::new();
    let mut out = Vec::new();
    let requester = RouteKey::P2p("example.com".to_owned());
    let refusal = world.ua.start(world.time(), &requester, "a test", &mut out).unwrap_err();
    assert_eq!(refusal.reason, Reason::NotImplemented);
    assert!(out.is_empty() && world.of(Role::Stub).is_empty());
}
