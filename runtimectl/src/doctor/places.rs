//! The disk: room in the places where the daemon writes.

use super::programs::Checked;
use super::{Finding, State};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::path::Path;

const CHECK: &str = "disk";
/// Bytes below which writing is about to fail.
const NO_ROOM_BYTES: u64 = 16 * 1_048_576;
/// Bytes that should be free.
const ROOM_BYTES: u64 = 256 * 1_048_576;
/// Files that should be possible.
const ROOM_FILES: u64 = 1_024;

/// Room in one place.
#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u64,
    files: u64,
    read_only: bool,
}

/// Nothing, if the places are not known because the configuration is broken.
pub(super) fn look(checked: &Checked) -> Option<Finding> {
    let places = checked.places();
    let rooms = places.iter().map(|(name, path)| (*name, path.as_path(), room(path)));
    let worst = rooms.min_by_key(|(.., room)| (state(*room) != State::Fail, room.map(|r| r.bytes)));
    worst.map(|(name, path, room)| judge(name, path, room))
}

/// Of the folder, or of the one it would be made in.
fn room(path: &Path) -> Option<Room> {
    let there = path.ancestors().find(|ancestor| ancestor.exists())?;
    let fs = statvfs(there).ok()?;
    let bytes = fs.blocks_available().checked_mul(fs.fragment_size());
    // Some file systems make room for files as they need it, and say 0 of 0.
    let files = if fs.files() == 0 { u64::MAX } else { fs.files_available() };
    let read_only = fs.flags().contains(FsFlags::ST_RDONLY);
    Some(Room { bytes: bytes.unwrap_or(u64::MAX), files, read_only })
}

fn state(room: Option<Room>) -> State {
    match room {
        Some(Room { bytes, files, read_only: false }) if bytes >= NO_ROOM_BYTES && files > 0 => {
            if bytes >= ROOM_BYTES && files >= ROOM_FILES {
                State::Ok
            } else {
                State::Warn
            }
        }
        _ => State::Fail,
    }
}

fn judge(name: &str, path: &Path, room: Option<Room>) -> Finding {
    let path = path.display();
    let found = match room {
        None => format!("{name} at {path} cannot be looked at"),
        Some(Room { read_only: true, .. }) => format!("{name} at {path} is read-only"),
        Some(Room { bytes, files, .. }) => {
            let files =
                if files < ROOM_FILES { format!(" and {files} files") } else { String::new() };
            format!("{} MiB{files} free for {name} at {path}", bytes / 1_048_576)
        }
    };
    match state(room) {
        State::Ok => Finding::ok(CHECK, found),
        state => {
            let cost = "what must outlive the daemon cannot be written, and it may not start";
            Finding::lack(CHECK, state, found, cost, "make room there, or choose another --root")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NO_ROOM_BYTES, ROOM_BYTES, ROOM_FILES, Room, State, judge, room, state};
    use std::path::Path;

    #[test]
    fn room_is_enough_little_or_none() {
        let of = |bytes, files, read_only| state(Some(Room { bytes, files, read_only }));
        assert_eq!(of(ROOM_BYTES, ROOM_FILES, false), State::Ok);
        assert_eq!(of(ROOM_BYTES - 1, ROOM_FILES, false), State::Warn);
        assert_eq!(of(ROOM_BYTES, ROOM_FILES - 1, false), State::Warn);
        assert_eq!(of(NO_ROOM_BYTES - 1, ROOM_FILES, false), State::Fail);
        assert_eq!(of(ROOM_BYTES, 0, false), State::Fail);
        assert_eq!(of(ROOM_BYTES, ROOM_FILES, true), State::Fail);
        assert_eq!(state(None), State::Fail);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_where_it_would_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let there = room(&folder.path().join("not/there")).unwrap();
        assert!(there.bytes > 0 && !there.read_only);
        let said = judge("state", Path::new("/s"), Some(Room { files: 3, ..there })).found;
        assert!(said.ends_with("MiB and 3 files free for state at /s"), "{said}");
    }
}
