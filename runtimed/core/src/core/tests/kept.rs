//! What the core keeps in the store, and what it makes of it after a restart.

use super::bench::{ALICE, BOB, Bench, REMOTE, message, request, settings};
use crate::effect::Effect;
use crate::input::{Input, LinkId};
use crate::limits::{QUARANTINE_MS, RESERVED_PER_UID, STATUS_KEPT_MS};
use crate::settings::Settings;
use crate::store::{Change, ClaimRow, Record, RecordKey, StubRow, Table};
use protocol::address::RouteKey;
use protocol::control::{Command, PsRow, Reply};
use protocol::ctl::FetchError;
use protocol::message::MessageType;
use std::collections::BTreeMap;

/// The rows that are there after all that the core wanted kept.
pub(super) fn kept(bench: &Bench) -> BTreeMap<RecordKey, Record> {
    let mut rows = BTreeMap::new();
    for effect in &bench.others {
        let Effect::Persist(change) = effect else { continue };
        match (**change).clone() {
            Change::Put(record) => rows.insert(record.key(), record),
            Change::Delete(key) => rows.remove(&key),
        };
    }
    rows
}

/// A new core that is given these rows.
pub(super) fn restored(rows: BTreeMap<RecordKey, Record>) -> Bench {
    let mut bench = Bench::with(settings());
    bench.input(Input::Restored(rows.into_values().collect()));
    bench
}

fn claim(url: &str, uid: u32, seq: u64) -> Record {
    Record::Claim(ClaimRow { url: url.to_owned(), uid, seq })
}

#[test]
fn an_address_is_its_users_after_a_restart_whether_its_application_was_connected_or_not() {
    let mut first = Bench::new();
    first.app(&[ALICE]);
    let gone = first.app(&[BOB]);
    first.input(Input::AppLeft { link: gone, unsent: Vec::new() });
    let mut bench = restored(kept(&first));
    for address in [ALICE, BOB] {
        assert_eq!(bench.join(2_000, &[address]).1.as_deref(), Some("address-taken"));
        let own = format!("{address}-asker");
        let asker = bench.app(&[&own]);
        bench.send(asker, request("1", &own, address));
        let refusal = bench.refusal(asker).unwrap();
        assert_eq!(refusal, ("1".to_owned(), 503, "receiver-gone".to_owned()));
        bench.app(&[address]);
    }
}

#[test]
fn what_was_kept_of_another_home_domain_is_not_reserved_here() {
    let rows = [claim("hyperty://old.example/a", 1, 1), claim("nonsense", 1, 2)];
    let bench = restored(rows.into_iter().map(|row| (row.key(), row)).collect());
    assert!(!bench.core.bus.names.is_reserved("hyperty://old.example/a"));
    assert_eq!(kept(&bench).len(), 0, "and stays in the store for its return");
}

#[test]
fn the_oldest_address_of_a_user_goes_from_the_store_too() {
    let url = |n: usize| format!("hyperty://home.example/{n}");
    let rows = (0..=RESERVED_PER_UID).map(|n| claim(&url(n), 1, n as u64 + 5));
    let bench = restored(rows.map(|row| (row.key(), row)).collect());
    let gone = |effect: &Effect| match effect {
        Effect::Persist(change) => match &**change {
            Change::Delete(key) => Some(key.clone()),
            Change::Put(_) => None,
        },
        _ => None,
    };
    let gone: Vec<RecordKey> = bench.others.iter().filter_map(gone).collect();
    assert_eq!(gone, [RecordKey::new(Table::Claim, url(0))]);
    // New reservations are younger than all that were kept.
    let mut bench = bench;
    bench.app(&[ALICE]);
    let Some(Record::Claim(row)) = kept(&bench).remove(&RecordKey::new(Table::Claim, ALICE)) else {
        panic!("alice is kept");
    };
    assert!(row.seq > RESERVED_PER_UID as u64 + 5);
}

/// What the store has of the stub of this key.
fn stub_row(bench: &Bench, key: &RouteKey) -> Option<StubRow> {
    match kept(bench).remove(&RecordKey::stub(key)) {
        Some(Record::Stub(row)) => Some(row),
        _ => None,
    }
}

fn sandboxes(bench: &Bench) -> Vec<u32> {
    let id = |row: Record| match row {
        Record::Sandbox(row) => Some(row.id),
        _ => None,
    };
    kept(bench).into_values().filter_map(id).collect()
}

fn far() -> RouteKey {
    RouteKey::Domain("far.example".to_owned())
}

fn ps(bench: &mut Bench) -> Vec<PsRow> {
    bench.operator(77, Command::Ps { all: false });
    match bench.replies(77).pop() {
        Some(Reply::Ps(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

fn says(bench: &mut Bench, link: LinkId, url: &str, word: &str) {
    let body = format!(r#"{{"value":"{word}"}}"#);
    let status = format!("{url}/status");
    let update = message(MessageType::Update, "1", url, &status);
    bench.send(link, update.body(body.as_bytes()));
}

#[test]
fn a_stub_of_each_kind_has_its_address_after_a_restart_and_is_started_by_the_next_message() {
    let mut first = Bench::new();
    let mut urls = Vec::new();
    let keys = ["far.example", "sip://x@far.example", "domain-idp://far.example"];
    for target in keys {
        let (_, link, url) = first.stub(target);
        says(&mut first, link, &url, "live");
        urls.push(url);
    }
    first.pass(STATUS_KEPT_MS);
    assert!(urls[2].starts_with("domain-idp://far.example/stub/"));
    let row = stub_row(&first, &RouteKey::Idp("far.example".to_owned())).unwrap();
    assert_eq!((row.url.as_str(), row.status.as_str()), (urls[2].as_str(), "live"));
    assert_eq!(row.source.as_deref(), Some("https://far.example"));
    assert_eq!(row.version.as_deref(), Some("1"));
    let digest = format!("sha256:{}", "01".repeat(32));
    assert_eq!(row.digest, Some(digest.clone()));

    let mut bench = restored(kept(&first));
    let mut rows = ps(&mut bench);
    rows.sort_by_key(|row| urls.iter().position(|url| *url == row.url));
    let seen: Vec<_> = rows.iter().map(|r| (&*r.url, &*r.state, &*r.status)).collect();
    let want: Vec<_> = urls.iter().map(|url| (&**url, "dormant", "disconnected")).collect();
    assert_eq!(seen, want, "their processes ended with the daemon");
    let row = stub_row(&bench, &far()).unwrap();
    assert_eq!((row.status.as_str(), row.digest), ("disconnected", Some(digest)));

    let alice = bench.app(&[ALICE]);
    bench.send(alice, request("1", ALICE, REMOTE));
    let (_, stub, url) = bench.youngest();
    assert_eq!((bench.ids(stub), url), (vec!["1".to_owned()], urls[0].clone()));
}

#[test]
fn a_stub_that_never_ran_is_not_kept_and_one_that_is_removed_is_forgotten() {
    let mut bench = Bench::new();
    bench.fetch_fails = Some(FetchError::Absent);
    let alice = bench.app(&[ALICE]);
    bench.send(alice, request("1", ALICE, REMOTE));
    assert_eq!(ps(&mut bench)[0].state, "failed");
    assert_eq!(stub_row(&bench, &far()), None);
    bench.fetch_fails = None;
    let (_, _, url) = bench.stub("far.example");
    assert_eq!(stub_row(&bench, &far()).unwrap().url, url);
    bench.operator(9, Command::Undeploy { name: "far.example".to_owned() });
    assert_eq!(stub_row(&bench, &far()), None);
}

#[test]
fn a_quarantine_lasts_as_long_as_it_would_have_without_the_restart() {
    let mut first = Bench::new();
    first.stub("far.example");
    for wait in [100, 500, 2_000, 5_000, 20_000, 0] {
        let (sandbox, _, _) = first.youngest();
        first.exits(sandbox, Vec::new());
        first.pass(wait);
    }
    let row = stub_row(&first, &far()).unwrap();
    let until = row.quarantine_until_ms.unwrap();
    assert_eq!((row.quarantines, row.status.as_str()), (1, "failed"));
    assert!(until > first.now && until <= first.now + QUARANTINE_MS[0]);

    let after = |epoch_ms: u64| {
        let mut bench = Bench::with(Settings { epoch_ms, ..settings() });
        bench.now = 0;
        bench.input(Input::Restored(kept(&first).into_values().collect()));
        bench
    };
    let mut bench = after(until - 10_000);
    assert_eq!(ps(&mut bench)[0].state, "quarantined");
    let alice = bench.app(&[ALICE]);
    bench.send(alice, request("1", ALICE, REMOTE));
    let refusal = bench.refusal(alice).unwrap();
    assert_eq!((refusal.1, refusal.2.as_str()), (503, "quarantined"));
    bench.pass(10_000);
    bench.send(alice, request("2", ALICE, REMOTE));
    let (_, stub, _) = bench.youngest();
    assert_eq!(bench.ids(stub), ["2"]);
    assert_eq!(stub_row(&bench, &far()).unwrap().quarantines, 1, "the next one is longer");

    assert_eq!(ps(&mut after(until))[0].state, "dormant");
    // A clock that was set back makes it no longer than any quarantine is.
    let mut bench = after(0);
    bench.pass(*QUARANTINE_MS.last().unwrap());
    assert_eq!(ps(&mut bench)[0].state, "dormant");
}

#[test]
fn what_a_stub_says_of_itself_is_kept_once_a_second_and_the_last_of_it_always() {
    let mut bench = Bench::new();
    let (_, link, url) = bench.stub("far.example");
    bench.others.clear();
    for _time in 0..100 {
        for word in ["live", "disconnected", "in-progress"] {
            says(&mut bench, link, &url, word);
        }
    }
    let written = |bench: &Bench| {
        let persists = bench.others.iter().filter(|e| matches!(e, Effect::Persist(_)));
        persists.count()
    };
    assert!(written(&bench) <= 1, "{}", written(&bench));
    bench.pass(STATUS_KEPT_MS);
    assert!(written(&bench) <= 2, "{}", written(&bench));
    assert_eq!(stub_row(&bench, &far()).unwrap().status, "in-progress");
}

#[test]
fn rows_that_were_never_written_so_are_thrown_away() {
    let mut first = Bench::new();
    first.stub("far.example");
    let row = stub_row(&first, &far()).unwrap();
    let wrong = |key: RouteKey, url: &str| StubRow { key, url: url.to_owned(), ..row.clone() };
    let other = |domain: &str| RouteKey::Domain(domain.to_owned());
    let rows = vec![
        wrong(other("a.example"), &row.url),
        wrong(other("b.example"), "hyperty-runtime://b.example/protostub/x/y"),
        wrong(other("c.example"), "nonsense"),
        wrong(other("localhost"), "hyperty-runtime://localhost/protostub/x"),
        row.clone(),
    ];
    let mut bench = Bench::new();
    bench.input(Input::Restored(rows.into_iter().map(Record::Stub).collect()));
    let left = ps(&mut bench);
    assert_eq!(left.iter().map(|row| &*row.url).collect::<Vec<_>>(), [row.url]);
    let gone = bench.others.iter().filter(|effect| match effect {
        Effect::Persist(change) => matches!(**change, Change::Delete(_)),
        _ => false,
    });
    assert_eq!(gone.count(), 4);
}

#[test]
fn the_store_knows_each_process_that_lives_and_says_after_a_crash_which_did() {
    let mut first = Bench::new();
    let (sandbox, _, _) = first.stub("far.example");
    assert_eq!(sandboxes(&first), [sandbox.0], "its fetch worker has ended");
    let rows = kept(&first);
    first.exits(sandbox, Vec::new());
    assert!(!sandboxes(&first).contains(&sandbox.0));

    let mut bench = restored(rows);
    assert_eq!(sandboxes(&bench), [0_u32; 0]);
    let lost = bench.events("exited").pop().unwrap();
    assert_eq!((lost.name.as_str(), lost.sandbox), ("far.example", Some(sandbox.0)));
    assert_eq!(lost.reason.as_deref(), Some("lost"));
    bench.stub("far.example");
    assert!(bench.spawned.iter().all(|(id, _, _)| *id > sandbox), "no number is used twice");
}
