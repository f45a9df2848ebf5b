//! The file and its tables. What crashes do to it is in [`crash`] and [`torn`].
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "tests")]

mod crash;
mod torn;

use super::file::{StoreFault, StoreFile};
use super::schema::STEPS;
use super::tables::layout;
use super::{FILE, Kept};
use protocol::address::RouteKey;
use runtime_core::store::{
    BlockRow, ClaimRow, CodeRow, DeadRow, HypertyRow, LeaseRow, ObjectRow, OutboxRow, ReuseRow,
    RuntimeRow, SandboxRow, StubRow, SubscriptionRow,
};
use runtime_core::{Change, Record, RecordKey, Table};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The rows of a file, by key.
pub(super) fn rows(path: &Path) -> BTreeMap<RecordKey, Record> {
    let (_, rows) = StoreFile::open(path).unwrap();
    rows.into_iter().map(|row| (row.key(), row)).collect()
}

fn stub(key: RouteKey, url: &str) -> Record {
    Record::Stub(StubRow {
        key,
        url: url.to_owned(),
        interworking: true,
        source: Some("https://a.example".to_owned()),
        digest: Some("sha256:00".to_owned()),
        version: None,
        status: "live".to_owned(),
        status_ms: 1_800_000_000_000,
        last_error: Some("it's \"dead\"; DROP TABLE stub".to_owned()),
        quarantines: 2,
        quarantine_until_ms: None,
    })
}

/// One row for each table; another `n` is another row.
fn one_of_each(n: u32) -> Vec<Record> {
    let url = format!("hyperty://home.example/{n}");
    let some = |text: &str| vec![text.to_owned(), url.clone()];
    let domain = format!("d{n}.example");
    let mut all = vec![
        Record::Runtime(RuntimeRow { guid: n.to_string(), p2p_handler: None, epoch: 7 }),
        Record::Claim(ClaimRow { url: url.clone(), uid: u32::MAX, seq: 1 << 40 }),
        stub(RouteKey::Domain(domain.clone()), &url),
        stub(RouteKey::Legacy { scheme: "sip".to_owned(), domain: domain.clone() }, &url),
        stub(RouteKey::Idp(domain.clone()), &url),
        Record::Sandbox(SandboxRow {
            id: n,
            name: domain.clone(),
            role: "stub".to_owned(),
            pid: -1,
            started_ms: 0,
        }),
        Record::Reuse(ReuseRow { key: url.clone(), urls: some("\u{1F642}") }),
        Record::Subscription(SubscriptionRow {
            resource: url.clone(),
            subscriber: "s".to_owned(),
            domain: domain.clone(),
            identity: Some(String::new()),
            since_ms: 5,
        }),
        Record::Lease(LeaseRow { url: url.clone(), expires_ms: i64::MAX as u64 }),
        Record::Block(BlockRow { url: url.clone(), allocation: "k".to_owned(), holder: None }),
    ];
    all.extend(entities_of(n, &url));
    all
}

fn entities_of(n: u32, url: &str) -> Vec<Record> {
    let some = vec!["chat".to_owned(), String::new()];
    let frame = vec![0, 1, 255];
    vec![
        Record::Hyperty(HypertyRow {
            url: url.to_owned(),
            name: "H".to_owned(),
            resources: some.clone(),
            p2p_handler: Some(url.to_owned()),
            since_ms: 1,
            ..HypertyRow::default()
        }),
        Record::Object(ObjectRow {
            url: url.to_owned(),
            subscribers: some,
            since_ms: 2,
            ..ObjectRow::default()
        }),
        Record::Outbox(OutboxRow {
            route: url.to_owned(),
            seq: n.into(),
            frame: frame.clone(),
            attempts: 3,
            first_ms: 4,
        }),
        Record::Dead(DeadRow {
            route: url.to_owned(),
            seq: n.into(),
            frame,
            reason: "old".to_owned(),
            dead_ms: 4,
        }),
        Record::Code(CodeRow {
            digest: url.to_owned(),
            source: "https://a.example".to_owned(),
            version: "1".to_owned(),
            size: 10,
            etag: None,
            fetched_ms: 4,
            verified_by: "pin".to_owned(),
        }),
    ]
}

pub(super) fn put(rows: Vec<Record>) -> Vec<Change> {
    rows.into_iter().map(Change::Put).collect()
}

fn by_key(rows: Vec<Record>) -> BTreeMap<RecordKey, Record> {
    rows.into_iter().map(|row| (row.key(), row)).collect()
}

#[test]
fn every_row_of_every_table_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut file, found) = StoreFile::open(&path).unwrap();
    assert_eq!(found, []);
    let all = one_of_each(1);
    let tables: std::collections::BTreeSet<Table> = all.iter().map(|row| row.key().table).collect();
    assert_eq!(tables.len(), Table::ALL.len(), "each table has its row here");
    file.commit(&put(all.clone())).unwrap();
    drop(file);
    assert_eq!(rows(&path), by_key(all));
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_row_is_replaced_and_deleted_by_its_key_and_no_other_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut file, _) = StoreFile::open(&path).unwrap();
    file.commit(&put([one_of_each(1), one_of_each(2), one_of_each(1)].concat())).unwrap();
    let first = one_of_each(1).into_iter().filter(|row| row.key().table != Table::Runtime);
    let gone = first.map(|row| Change::Delete(row.key())).collect::<Vec<_>>();
    file.commit(&gone).unwrap();
    file.commit(&gone).unwrap();
    drop(file);
    let mut left = rows(&path);
    left.retain(|key, _| key.table != Table::Runtime);
    let mut want = by_key(one_of_each(2));
    want.retain(|key, _| key.table != Table::Runtime);
    assert_eq!(left, want);
}

#[test]
fn a_legacy_stub_and_a_domain_that_read_the_same_are_two_rows() {
    let legacy = RouteKey::Legacy { scheme: "sip".to_owned(), domain: "a.example".to_owned() };
    let domain = RouteKey::Domain("sip.a.example".to_owned());
    assert_eq!(legacy.to_string(), domain.to_string());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let both = vec![stub(legacy, "x"), stub(domain, "y")];
    StoreFile::open(&path).unwrap().0.commit(&put(both.clone())).unwrap();
    assert_eq!(rows(&path), by_key(both));
}

#[test]
fn the_tables_are_as_wide_as_their_rows() {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    for step in STEPS {
        connection.execute_batch(step).unwrap();
    }
    for table in Table::ALL {
        let (name, width, _) = layout(table);
        let sql = format!("SELECT count(*) FROM pragma_table_info('{name}')");
        let found: usize = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(found, width, "{name}");
    }
}

#[test]
fn a_row_that_is_not_understood_is_left_where_it_is_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    StoreFile::open(&path).unwrap().0.commit(&put(one_of_each(1))).unwrap();
    let edit = rusqlite::Connection::open(&path).unwrap();
    edit.execute("INSERT INTO reuse VALUES ('odd', 'no list')", []).unwrap();
    edit.execute("INSERT INTO claim VALUES ('odd', -1, 0)", []).unwrap();
    drop(edit);
    assert_eq!(rows(&path), by_key(one_of_each(1)));
    let edit = rusqlite::Connection::open(&path).unwrap();
    let odd: u32 = edit.query_row("SELECT count(*) FROM reuse", [], |row| row.get(0)).unwrap();
    assert_eq!(odd, 2);
}

#[test]
fn an_older_file_is_brought_to_the_present_with_a_copy_of_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut file, _) = StoreFile::open(&path).unwrap();
    file.commit(&put(one_of_each(1))).unwrap();
    drop(file);
    let mut steps = STEPS.to_vec();
    steps.push("CREATE TABLE later (a TEXT) STRICT; INSERT INTO later VALUES ('x');");
    let (file, found) = StoreFile::open_with(&path, &steps).unwrap();
    assert_eq!(by_key(found), by_key(one_of_each(1)));
    drop(file);
    let copy = folder.path().join(format!("registry.db.v{}", STEPS.len()));
    assert_eq!(rows(&copy), by_key(one_of_each(1)));
    // The newer file is not touched by the older program.
    let before = fs::read(&path).unwrap();
    let refused = StoreFile::open(&path).unwrap_err();
    assert!(matches!(refused, StoreFault::Newer { .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_step_that_fails_leaves_the_version_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    StoreFile::open(&path).unwrap().0.commit(&put(one_of_each(1))).unwrap();
    let mut steps = STEPS.to_vec();
    steps.push("CREATE TABLE later (a TEXT) STRICT; CREATE TABLE later (a TEXT) STRICT;");
    StoreFile::open_with(&path, &steps).unwrap_err();
    assert_eq!(rows(&path), by_key(one_of_each(1)));
}

#[test]
fn a_file_that_is_none_of_ours_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    fs::write(&path, "this is no database, and somebody may want it back".repeat(100)).unwrap();
    let before = fs::read(&path).unwrap();
    let kept = Kept::open(folder.path());
    assert!(kept.file.is_none() && kept.rows.is_empty());
    assert!(kept.trouble.unwrap().contains("is damaged"));
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(matches!(StoreFile::open(&path), Err(StoreFault::Unusable { .. })));
}

#[test]
fn fault_029_store_a_file_that_becomes_read_only_is_tried_again_and_works_when_it_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut file, _) = StoreFile::open(&path).unwrap();
    file.read_only(true);
    let fault = file.commit(&put(one_of_each(1))).unwrap_err();
    assert!(!fault.lasting && fault.text.contains("readonly"), "{fault:?}");
    file.read_only(false);
    file.commit(&put(one_of_each(1))).unwrap();
    drop(file);
    assert_eq!(rows(&path), by_key(one_of_each(1)));
}

#[test]
fn fault_031_store_a_failed_sync_is_never_tried_again_and_other_failures_are() {
    use rusqlite::ffi;
    let lasting = |code: i32| {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        super::file::CommitFault::from(error).lasting
    };
    for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_CORRUPT] {
        assert!(lasting(code), "{code}");
    }
    for code in [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_FULL, ffi::SQLITE_READONLY] {
        assert!(!lasting(code), "{code}");
    }
}

#[test]
fn fault_028_store_a_full_disk_fails_the_whole_commit_and_the_next_one_works_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut file, _) = StoreFile::open(&path).unwrap();
    file.commit(&put(one_of_each(1))).unwrap();
    file.bound_pages(1);
    let many: Vec<Record> = (2..2_000).flat_map(one_of_each).collect();
    let fault = file.commit(&put(many.clone())).unwrap_err();
    assert!(!fault.lasting && fault.text.contains("full"), "{fault:?}");
    file.bound_pages(1 << 20);
    file.commit(&put(one_of_each(2))).unwrap();
    drop(file);
    assert_eq!(rows(&path), by_key([one_of_each(1), one_of_each(2)].concat()));
}

#[test]
fn the_log_is_moved_into_the_file_before_it_grows_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut file, _) = StoreFile::open(&path).unwrap();
    let mut longest = 0;
    for n in 0..40 {
        let many = (0..100).flat_map(|row| one_of_each(n * 100 + row)).collect();
        file.commit(&put(many)).unwrap();
        longest = longest.max(fs::metadata(folder.path().join("registry.db-wal")).unwrap().len());
    }
    let bound = crate::limits::STORE_LOG_BYTES;
    assert!(longest <= bound, "{longest}");
    assert!(fs::metadata(&path).unwrap().len() > bound / 4);
}
