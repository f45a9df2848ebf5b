//! Who this runtime is: a random identifier, made once and kept in `state/runtime.json`, and beside
//! all else in the store. Either restores the other.
//!
//! A file that cannot be understood stops the daemon (exit 78): a new identity taken silently
//! would cut every peer that knows the old address. Whoever wants a new one moves the file away.

use crate::limits::IDENTITY_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const FILE: &str = "runtime.json";
/// Where it is written before it has its name.
const PART: &str = "runtime.json.part";
const GUID_BYTES: usize = 36;

/// The identity of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Random, version 4 form.
    pub(crate) guid: String,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The file is there, but not understood.
    #[error("{} is damaged ({text}); restore it, or move it away to become a new runtime", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// The store is another runtime's.
    #[error("{} and the store beside it are of two runtimes (the store: {guid}); move one of them away", path.display())]
    Another {
        /// Which file.
        path: PathBuf,
        /// Of the store.
        guid: String,
    },
    /// The system refused.
    #[error("cannot keep the runtime's identity in {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Identity {
    /// Reads the identity kept in `state`; without, takes the `stored` one or makes one, and keeps
    /// it.
    ///
    /// # Errors
    /// It is damaged, is not the stored one, or cannot be written.
    pub(crate) fn load_or_create(
        state: &Path,
        stored: Option<&str>,
    ) -> Result<Self, IdentityError> {
        let path = state.join(FILE);
        match File::open(&path) {
            Ok(file) => {
                let identity = Self::read(&path, file)?;
                match stored.filter(|guid| *guid != identity.guid) {
                    Some(guid) => Err(IdentityError::Another { path, guid: guid.to_owned() }),
                    None => Ok(identity),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let create = || -> io::Result<Self> {
                    let guid = stored.map_or_else(random_guid, |guid| Ok(guid.to_owned()))?;
                    let identity = Self { guid };
                    identity.keep(state, &path, File::sync_all)?;
                    Ok(identity)
                };
                create().map_err(|source| IdentityError::Io { path: path.clone(), source })
            }
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    fn read(path: &Path, file: File) -> Result<Self, IdentityError> {
        let damaged = |text: String| IdentityError::Damaged { path: path.to_owned(), text };
        let mut text = String::new();
        file.take(IDENTITY_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| damaged(error.to_string()))?;
        let identity: Self =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if identity.guid.len() != GUID_BYTES || !identity.guid.bytes().all(plain) {
            return Err(damaged("guid is no identifier".to_owned()));
        }
        Ok(identity)
    }

    /// Written beside, synced, renamed, folder synced: after a crash there is the whole file or none.
    /// What a crash leaves beside it is written over the next time.
    fn keep(&self, state: &Path, path: &Path, sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
        let part = state.join(PART);
        let written = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
                .open(&part)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            // Once it has failed, another sync would say that all is well: nothing is tried again.
            sync(&file)?;
            fs::rename(&part, path)?;
            sync(&File::open(state)?)
        };
        written().inspect_err(|_fault| {
            for scrap in [part.as_path(), path] {
                // It may not be there; what is there and cannot be removed is judged at the next start.
                let _gone = fs::remove_file(scrap);
            }
        })
    }

    /// The address of this runtime in `domain`.
    pub(crate) fn url(&self, domain: &str) -> String {
        format!("hyperty-runtime://{domain}/{}", self.guid)
    }
}

/// Bytes from the kernel's generator.
///
/// # Errors
/// There is no `/dev/urandom`.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn random_guid() -> io::Result<String> {
    let value = u128::from_le_bytes(random_bytes()?);
    // Version 4, variant 1, as RFC 9562 writes them.
    let value = (value & !(0xF_u128 << 76) & !(0x3_u128 << 62)) | (4_u128 << 76) | (2_u128 << 62);
    let hex = format!("{value:032x}");
    let mut guid = String::with_capacity(GUID_BYTES);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            guid.push('-');
        }
        guid.push(digit);
    }
    Ok(guid)
}

#[cfg(test)]
mod tests {
    use super::{FILE, Identity, IdentityError, PART};
    use std::fs::{self, File};
    use std::io;

    type Sync = fn(&File) -> io::Result<()>;

    fn fails_if(fails: bool) -> io::Result<()> {
        if fails { Err(io::Error::other("EIO")) } else { Ok(()) }
    }

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let state = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(state.path(), None).unwrap();
        assert_eq!(Identity::load_or_create(state.path(), None).unwrap(), first);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "no scrap is left");
        let parts: Vec<usize> = first.guid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&first.guid[14..15], "4");
        assert!("89ab".contains(&first.guid[19..20]), "{}", first.guid);
        let url = first.url("home.example");
        assert_eq!(url, format!("hyperty-runtime://home.example/{}", first.guid));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Identity::load_or_create(other.path(), None).unwrap(), first);
    }

    #[test]
    fn the_store_restores_a_lost_identity_and_never_replaces_one() {
        let state = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(state.path(), None).unwrap();
        fs::remove_file(state.path().join(FILE)).unwrap();
        assert_eq!(Identity::load_or_create(state.path(), Some(&first.guid)).unwrap(), first);
        assert_eq!(Identity::load_or_create(state.path(), None).unwrap(), first);
        let error = Identity::load_or_create(state.path(), Some("another")).unwrap_err();
        assert!(matches!(error, IdentityError::Another { .. }), "{error}");
        assert_eq!(Identity::load_or_create(state.path(), None).unwrap(), first);
    }

    #[test]
    fn a_damaged_identity_is_not_replaced() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join(FILE);
        for bad in [
            "",
            "{\"guid\":\"0123",
            "{\"guid\":\"../../etc\"}",
            "{\"guid\":5}",
            "{}",
            "{\"guid\":\"01234567-0123-4123-8123-0123456789AB\"}",
        ] {
            fs::write(&file, bad).unwrap();
            let error = Identity::load_or_create(state.path(), None).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{bad}: {error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), bad);
        }
    }

    #[test]
    fn fault_030_an_identity_cut_at_any_byte_is_damaged_and_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join(FILE);
        let first = Identity::load_or_create(state.path(), None).unwrap();
        let whole = fs::read(&file).unwrap();
        let object = whole.len() - 1;
        for cut in 0..whole.len() {
            fs::write(&file, &whole[..cut]).unwrap();
            let read = Identity::load_or_create(state.path(), None);
            if cut == object {
                assert_eq!(read.unwrap(), first, "only the last line's end is missing");
            } else {
                assert!(matches!(read, Err(IdentityError::Damaged { .. })), "{cut}: {read:?}");
            }
            assert_eq!(fs::read(&file).unwrap(), &whole[..cut]);
        }
    }

    #[test]
    fn fault_030_what_a_crash_left_beside_it_is_written_over() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(PART), "{\"guid\":\"half of a long one ".repeat(100)).unwrap();
        let first = Identity::load_or_create(state.path(), None).unwrap();
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "no scrap is left");
        assert_eq!(Identity::load_or_create(state.path(), None).unwrap(), first);
    }

    #[test]
    fn fault_031_an_identity_whose_sync_fails_counts_as_not_kept_and_is_not_synced_again() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(FILE);
        let identity = Identity { guid: super::random_guid().unwrap() };
        let of_file: Sync = |file| fails_if(file.metadata()?.is_file());
        let of_folder: Sync = |file| fails_if(file.metadata()?.is_dir());
        for sync in [of_file, of_folder] {
            let error = identity.keep(state.path(), &path, sync).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Other);
            assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0, "nothing claims to be kept");
        }
    }
}
