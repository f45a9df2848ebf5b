//! What the core keeps in the store, and what it makes of it after a restart.

use super::bench::{ALICE, BOB, Bench, request, settings};
use crate::effect::Effect;
use crate::input::Input;
use crate::limits::RESERVED_PER_UID;
use crate::store::{Change, ClaimRow, Record, RecordKey, Table};
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
