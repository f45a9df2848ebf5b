//! The second source: the home domain's catalogue, asked for a stub named after the domain.

use super::world::{Step, World};
use crate::settings::{DomainSettings, Settings};
use crate::ua::StubRoute;
use protocol::ctl::{CtlUp, FetchError};
use protocol::reason::Reason;
use std::collections::BTreeMap;

pub(super) fn home_catalogue() -> Settings {
    let home = DomainSettings {
        catalogue: Some("https://cat.home.example/.well-known".to_owned()),
        ..DomainSettings::default()
    };
    let domains = BTreeMap::from([("home.example".to_owned(), home)]);
    Settings {
        domain: "home.example".to_owned(),
        runtime_url: "hyperty-runtime://home.example/1".to_owned(),
        domains,
        ..Settings::default()
    }
}

pub(super) fn fetch_failed(error: FetchError) -> CtlUp {
    CtlUp::FetchFailed { error, text: format!("{error:?}") }
}

#[test]
fn absent_down_or_slow_the_home_catalogue_is_asked_by_the_foreign_name() {
    for error in [FetchError::Absent, FetchError::Down, FetchError::Slow] {
        let mut world = World::with(&home_catalogue());
        world.fetch_answers.push_back(fetch_failed(error));
        world.active("example.com");
        let second = world.jobs.get(1).expect("a second job");
        assert_eq!(second.base, "https://cat.home.example/.well-known");
        assert!(second.alternatives.is_empty());
        assert_eq!(second.names, ["example.com"]);
    }
}

#[test]
fn bad_content_never_falls_back() {
    let bad =
        [FetchError::Unusable, FetchError::Redirect, FetchError::Decoding, FetchError::CodeSize];
    for error in bad {
        let mut world = World::with(&home_catalogue());
        world.fetch_answers.push_back(fetch_failed(error));
        world.message("example.com");
        assert_eq!(world.jobs.len(), 1, "{error:?}");
        assert!(matches!(world.route("example.com"), StubRoute::Refused(_)));
    }
}

#[test]
fn when_both_sources_fail_the_first_error_is_the_answer() {
    let mut world = World::with(&home_catalogue());
    world.fetch_answers.push_back(fetch_failed(FetchError::Down));
    world.fetch_answers.push_back(fetch_failed(FetchError::Absent));
    world.message("example.com");
    assert_eq!(world.jobs.len(), 2);
    let StubRoute::Refused(refusal) = world.route("example.com") else { panic!() };
    assert_eq!((refusal.reason, refusal.stage), (Reason::CatalogueDown, Some("descriptor")));
}

#[test]
fn the_home_domain_does_not_fall_back_to_itself() {
    let mut world = World::with(&home_catalogue());
    world.fetch_answers.push_back(fetch_failed(FetchError::Absent));
    world.message("home.example");
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn a_silent_fetch_worker_is_replaced_by_the_second_source_in_time() {
    let mut world = World::with(&home_catalogue()).holding(&[Step::Fetch]);
    world.message("example.com");
    world.held.remove(&Step::Fetch);
    world.pass(6_000);
    assert_eq!(world.jobs.len(), 2);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
}
