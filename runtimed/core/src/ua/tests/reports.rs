//! What a fetch worker reports, if it is in foreign hands or its catalogue wants too much: nothing
//! that it was not asked for, nothing without a bound, and no character that a terminal obeys.

use super::world::{Step, World, configured, descriptor, wanted};
use crate::input::SandboxId;
use crate::limits::REFUSED_HOSTS_TOLD;
use crate::settings::DomainSettings;
use crate::ua::UaInput;
use protocol::ctl::{CtlUp, Role};
use protocol::descriptor::Descriptor;
use protocol::limits::{CONFIGURATION_BYTES_MAX, GRANTS_MAX, WANTED_HOSTS_MAX};

/// Domains whose catalogue leads to a listed origin, and one that is a folder.
fn world() -> World {
    let domain = DomainSettings {
        catalogue: Some("https://example.com/.well-known".to_owned()),
        sources: vec!["https://cdn.example:8443".to_owned(), "http://plain.example".to_owned()],
        ..DomainSettings::default()
    };
    World::with(&configured("example.com", domain))
}

/// Whether the worker was ended for what it said.
fn condemned(world: &World, id: SandboxId) -> bool {
    let exits = world.events_named("exited");
    let exit = exits.iter().find(|event| event.sandbox == Some(id.0));
    exit.is_some_and(|event| event.reason.as_deref() == Some("protocol"))
}

/// Origins that nobody of `example.com` may claim.
const LIES: &[&str] = &[
    "",
    "https://evil.example",
    "https://example.com.evil.example",
    "https://example.com/.well-known",
    "https://example.com\u{1b}[2J",
    "https://example.com/\u{202e}",
    "https://example.com:443",
    "https://EXAMPLE.com",
    "http://example.com",
    "http://plain.example",
    "https://cdn.example",
    "file://",
];

#[test]
fn a_fetch_worker_cannot_say_that_it_was_where_it_was_not_sent() {
    for lie in LIES {
        let mut world = world().holding(&[Step::Fetch]);
        world.message("example.com");
        let id = world.of(Role::Fetch)[0];
        let (origin, descriptor) = ((*lie).to_owned(), Box::new(descriptor()));
        world.up(id, CtlUp::Fetched { origin, descriptor });
        assert!(condemned(&world, id), "{lie:?}");
        let stages = world.events_named("deploy-stage");
        assert!(!stages.iter().any(|row| row.detail.starts_with("descriptor")), "{lie:?}");
    }
    for origin in ["https://example.com", "https://cdn.example:8443"] {
        let mut world = world();
        let descriptor = Box::new(descriptor());
        world.fetch_answers.push_back(CtlUp::Fetched { origin: origin.to_owned(), descriptor });
        world.active("example.com");
    }
}

#[test]
fn a_fetch_worker_cannot_say_that_code_is_from_where_it_may_not_come() {
    for lie in LIES {
        let mut world = world().holding(&[Step::Source]);
        world.message("example.com");
        let id = world.of(Role::Fetch)[0];
        let UaInput::Ctl { sandbox, code, stream, .. } = world.code_of(id) else { panic!() };
        let up = CtlUp::Source { origin: (*lie).to_owned(), size: 10 };
        world.input(UaInput::Ctl { sandbox, up, stream, code });
        assert!(condemned(&world, id), "{lie:?}");
        assert!(world.codes.is_empty() && world.assigns.is_empty(), "{lie:?}");
        assert_eq!(world.ps("example.com").source, None, "{lie:?}");
    }
}

#[test]
fn a_descriptor_that_no_honest_worker_reports_is_not_taken() {
    let change = |change: &dyn Fn(&mut Descriptor)| {
        let mut descriptor = descriptor();
        change(&mut descriptor);
        descriptor
    };
    let hosts = |count: usize| -> Vec<_> {
        (0..count).map(|n| wanted(&format!("h{n}.example"), 443, true)).collect()
    };
    for bad in [
        change(&|d| d.wanted = hosts(WANTED_HOSTS_MAX + 1)),
        change(&|d| d.wanted = vec![wanted("a.example\u{1b}[31m", 443, true)]),
        change(&|d| d.wanted = vec![wanted("a.example\nok", 443, true)]),
        change(&|d| d.wanted = vec![wanted("A.example", 443, true)]),
        change(&|d| d.wanted = vec![wanted("", 443, true)]),
        change(&|d| d.wanted = vec![wanted("a.example", 0, true)]),
        change(&|d| d.name = "n\u{9b}31m".to_owned()),
        change(&|d| d.version = "v".repeat(2_000)),
        change(&|d| d.constraints = vec!["\u{202e}".to_owned()]),
        change(&|d| d.constraints = vec!["browser".to_owned(); 4_000]),
        change(&|d| d.configuration = "{}".repeat(CONFIGURATION_BYTES_MAX)),
    ] {
        let mut world = World::new().holding(&[Step::Fetch]);
        world.message("example.com");
        let id = world.of(Role::Fetch)[0];
        let before = world.events().len();
        let origin = "https://example.com".to_owned();
        let text = format!("{bad:?}").chars().take(300).collect::<String>();
        world.up(id, CtlUp::Fetched { origin, descriptor: Box::new(bad) });
        assert!(condemned(&world, id), "{text}");
        assert!(world.events().len() < before + 10, "{text}");
    }
}

#[test]
fn a_catalogue_that_wishes_for_many_hosts_does_not_wash_the_record_away() {
    let mut world = World::new();
    world.descriptor.wanted =
        (0..WANTED_HOSTS_MAX).map(|n| wanted(&format!("h{n}.example"), 443, true)).collect();
    world.active("example.com");
    let refused = WANTED_HOSTS_MAX - GRANTS_MAX;
    let told = world.events_named("refused");
    assert_eq!(told.len(), REFUSED_HOSTS_TOLD + 1);
    let more = format!("{} more hosts", refused - REFUSED_HOSTS_TOLD);
    assert!(told.last().unwrap().detail.contains(&more), "{told:?}");
    assert_eq!(world.inspect("example.com").not_granted.len(), refused, "all are named there");
}
