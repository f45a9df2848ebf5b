//! Files that were only partly written when the machine stopped.

use super::crash::{after, commit, last};
use super::rows;
use crate::store::FILE;
use crate::store::file::StoreFile;
use std::fs;
use std::path::{Path, PathBuf};

const COMMITS: u64 = 6;
/// Of the log: its head, the head of each frame, a page.
const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
const PAGE: usize = 4_096;

/// A file with a log of several commits, and the length of the log after each.
struct Pieces {
    file: Vec<u8>,
    log: Vec<u8>,
    lengths: Vec<usize>,
    /// The file once the log is in it.
    settled: Vec<u8>,
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn pieces() -> Pieces {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (mut writer, _) = StoreFile::open(&path).unwrap();
    writer.commit(&commit(1)).unwrap();
    writer.settle().unwrap();
    let file = fs::read(&path).unwrap();
    let mut lengths = vec![0];
    for n in 2..=COMMITS {
        writer.commit(&commit(n)).unwrap();
        lengths.push(fs::read(log_of(&path)).unwrap().len());
    }
    let log = fs::read(log_of(&path)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), file, "the file is written when the log is moved");
    writer.settle().unwrap();
    Pieces { file, log, lengths, settled: fs::read(&path).unwrap() }
}

/// The number of the last commit in a file with this log; it must be whole.
fn opened(file: &[u8], log: &[u8]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    fs::write(&path, file).unwrap();
    fs::write(log_of(&path), log).unwrap();
    let found = rows(&path);
    let last = last(&found);
    assert_eq!(found, after(last));
    last
}

#[test]
fn fault_030_store_a_log_cut_anywhere_gives_the_last_whole_commit() {
    let pieces = pieces();
    let mut cuts: Vec<usize> = (0..=HEAD + FRAME_HEAD).collect();
    for frame in (HEAD..=pieces.log.len()).step_by(FRAME_HEAD + PAGE) {
        for near in [1, 2, 8, FRAME_HEAD, FRAME_HEAD + 1, PAGE / 2] {
            cuts.extend([frame.saturating_sub(near), frame + near]);
        }
        cuts.push(frame);
    }
    cuts.retain(|cut| *cut <= pieces.log.len());
    for cut in cuts {
        let whole = pieces.lengths.iter().filter(|length| **length <= cut).count();
        assert_eq!(opened(&pieces.file, &pieces.log[..cut]), whole as u64, "cut at {cut}");
    }
}

#[test]
fn fault_030_store_a_log_with_wrong_bytes_gives_whole_commits_before_them() {
    let pieces = pieces();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _try in 0..200 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = usize::try_from(random >> 33).unwrap() % pieces.log.len();
        let mut log = pieces.log.clone();
        log[at] ^= 0x10;
        let before = pieces.lengths.iter().filter(|length| **length <= at).count();
        let found = opened(&pieces.file, &log);
        assert!(found >= before as u64, "{found} with a wrong byte at {at}");
    }
}

#[test]
fn fault_030_store_a_log_that_was_partly_moved_into_the_file_is_moved_again() {
    let pieces = pieces();
    assert!(pieces.settled.len() >= pieces.file.len());
    let pages = pieces.settled.len() / PAGE;
    for which in 0..64_usize {
        let mut file = pieces.file.clone();
        file.resize(pieces.settled.len(), 0);
        for page in (0..pages).filter(|page| which >> (page % 6) & 1 == 1) {
            let place = page * PAGE..(page + 1) * PAGE;
            file[place.clone()].copy_from_slice(&pieces.settled[place]);
        }
        assert_eq!(opened(&file, &pieces.log), COMMITS, "pages {which:b}");
    }
    assert_eq!(opened(&pieces.settled, &pieces.log), COMMITS);
}

#[test]
fn a_file_that_lost_its_end_is_refused() {
    let pieces = pieces();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    for pages in 1..pieces.settled.len() / PAGE {
        let whole = &pieces.settled[..pages * PAGE + 17];
        fs::write(&path, whole).unwrap();
        StoreFile::open(&path).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}
