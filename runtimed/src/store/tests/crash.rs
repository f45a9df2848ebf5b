//! A process that writes is killed, again and again; whatever it was told is committed is there.

use super::{put, rows};
use crate::store::FILE;
use crate::store::file::StoreFile;
use runtime_core::store::{ClaimRow, LeaseRow};
use runtime_core::{Change, Record, RecordKey, Table};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = "STORE_CRASH_FOLDER";
const LAST: &str = "last";

/// What commit `n` changes: a counter, a row that comes and one that goes, and enough to need
/// several pages.
pub(super) fn commit(n: u64) -> Vec<Change> {
    let claim = |n: u64, seq: u64| {
        let url = format!("hyperty://home.example/{}/{}", n % 97, "x".repeat(64));
        Record::Claim(ClaimRow { url, uid: 1, seq })
    };
    let mut changes = put((0..12).map(|k| claim(n * 12 + k, n)).collect());
    changes.push(Change::Delete(claim(n * 7, 0).key()));
    changes.push(Change::Put(Record::Lease(LeaseRow { url: LAST.to_owned(), expires_ms: n })));
    changes
}

/// What is there after commits 1 to `n`.
pub(super) fn after(n: u64) -> BTreeMap<RecordKey, Record> {
    let mut all = BTreeMap::new();
    for change in (1..=n).flat_map(commit) {
        match change {
            Change::Put(record) => all.insert(record.key(), record),
            Change::Delete(key) => all.remove(&key),
        };
    }
    all
}

/// The number of the last commit that is there.
pub(super) fn last(rows: &BTreeMap<RecordKey, Record>) -> u64 {
    match rows.get(&RecordKey::new(Table::Lease, LAST)) {
        Some(Record::Lease(row)) => row.expires_ms,
        _ => 0,
    }
}

/// Not a test by itself: the process that is killed.
#[test]
fn a_process_that_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let path = PathBuf::from(folder).join(FILE);
    let (mut file, found) = StoreFile::open(&path).unwrap();
    let found = found.into_iter().map(|row| (row.key(), row)).collect();
    let mut out = std::io::stdout();
    for n in last(&found) + 1.. {
        file.commit(&commit(n)).unwrap();
        out.write_all(format!("committed {n}\n").as_bytes()).unwrap();
        out.flush().unwrap();
        if n % 5 == 0 {
            file.settle().unwrap();
        }
    }
}

/// Kills the writer after it has said `acks` times that something is committed; the last number.
fn write_and_kill(folder: &Path, acks: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::a_process_that_writes_until_it_is_killed"])
        .arg("--nocapture")
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let number = |line: String| line.split("committed ").nth(1).and_then(|n| n.parse().ok());
    let mut numbers = lines.filter_map(number);
    let told = numbers.nth(acks).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    numbers.last().unwrap_or(told)
}

#[test]
fn fault_022_store_a_killed_writer_leaves_whole_commits_and_all_that_it_said_it_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut random = 0x2545_F491_4F6C_DD1D_u64 ^ u64::from(std::process::id());
    for _round in 0..20 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let told = write_and_kill(folder.path(), usize::try_from(random % 60).unwrap());
        let found = rows(&path);
        let last = last(&found);
        assert!(last == told || last == told + 1, "{told} was said, {last} is there");
        assert_eq!(found, after(last));
    }
}
