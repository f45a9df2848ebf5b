//! The folders of one daemon, made, checked and held by descriptors: whoever may rename what is above
//! them can put something else in their place, but nothing of ours is made, checked or changed there.

use super::{PathError, Paths, io_at};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, mkdirat};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A folder itself, never one that a link leads to.
const OWN: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// One that others made; links above ours are the system's matter.
const ABOVE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
const LOCK: OFlag = OFlag::O_RDWR
    .union(OFlag::O_CREAT)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// All of them, as long as the daemon starts.
#[derive(Debug)]
pub(crate) struct Folders {
    run: Folder,
    others: Vec<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folders {
    pub(super) fn open(paths: &Paths) -> Result<Self, PathError> {
        let root = paths.root.as_deref().map(|root| Folder::beside(root, 0o700)).transpose()?;
        let place = |path: &Path, mode| match &root {
            Some(root) => Folder::make(&root.fd, path, mode),
            None => Folder::beside(path, mode),
        };
        let run = place(&paths.run, 0o750)?;
        let mut others = vec![place(&paths.state, 0o700)?, place(&paths.cache, 0o700)?];
        // An older daemon or a package may have left other modes.
        fchmod(&run.fd, Mode::from_bits_truncate(0o750)).map_err(refused(&run.path))?;
        others.extend(root);
        Ok(Self { run, others })
    }

    /// Takes the lock that only one daemon can hold. It is released when the file is dropped, and
    /// no child inherits it.
    ///
    /// # Errors
    /// Somebody holds it, or it cannot be made.
    pub(crate) fn lock(&self) -> Result<File, PathError> {
        let path = self.run.path.join("lock");
        let fd = openat(&self.run.fd, "lock", LOCK, Mode::from_bits_truncate(0o600));
        let mut file = File::from(fd.map_err(refused(&path))?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PathError::Locked(path)),
            Err(TryLockError::Error(source)) => return Err(PathError::Io { path, source }),
        }
        file.set_len(0).map_err(io_at(&path))?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(io_at(&path))?;
        Ok(file)
    }

    /// Whether the names still lead to them: what is opened by name would be somebody else's.
    ///
    /// # Errors
    /// One does not.
    pub(crate) fn check(&self) -> Result<(), PathError> {
        for Folder { path, fd } in self.others.iter().chain([&self.run]) {
            let (named, held) = (fs::symlink_metadata(path).map_err(io_at(path))?, stat(path, fd)?);
            if (named.dev(), named.ino()) != (held.st_dev, held.st_ino) {
                return Err(PathError::Swapped(path.clone()));
            }
        }
        Ok(())
    }
}

impl Folder {
    /// Makes it where its parent is, which is made, too, if it is not there.
    fn beside(path: &Path, mode: u32) -> Result<Self, PathError> {
        let parent = path.parent().unwrap_or(path);
        let above = match open(parent, ABOVE, Mode::empty()) {
            Err(Errno::ENOENT) => {
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o700).create(parent).map_err(io_at(parent))?;
                open(parent, ABOVE, Mode::empty())
            }
            opened => opened,
        };
        Self::make(above.map_err(refused(parent))?, path, mode)
    }

    /// Makes it below `above`, or takes the one that is there if it is ours alone.
    fn make(above: impl AsFd, path: &Path, mode: u32) -> Result<Self, PathError> {
        let name = path.file_name().unwrap_or(path.as_os_str());
        match mkdirat(&above, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(refused(path)(errno)),
        }
        let fd = openat(&above, name, OWN, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOTDIR | Errno::ELOOP => PathError::NotAFolder(path.to_owned()),
            errno => refused(path)(errno),
        })?;
        let found = stat(path, &fd)?;
        super::check_owner(path, found.st_uid, found.st_mode)?;
        Ok(Self { path: path.to_owned(), fd })
    }
}

fn stat(path: &Path, fd: &OwnedFd) -> Result<FileStat, PathError> {
    fstat(fd).map_err(refused(path))
}

fn refused(path: &Path) -> impl Fn(Errno) -> PathError {
    let path = path.to_owned();
    move |errno| PathError::Io { path: path.clone(), source: io::Error::from(errno) }
}

#[cfg(test)]
mod tests {
    use crate::paths::{PathError, Paths};
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// So many that a check by name, and a use by name after it, was fooled whenever it was tried.
    const STARTS: u32 = 30_000;

    fn under(root: &Path) -> Paths {
        Paths::choose(Some(root.to_owned()), false, |_| None).unwrap()
    }

    #[test]
    fn escape_059_a_root_that_is_swapped_while_the_daemon_starts_is_never_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (root, link) = (temp.path().join("root"), temp.path().join("link"));
        let victim = temp.path().join("victim");
        fs::create_dir(&victim).unwrap();
        // What a daemon would take for its own; its mode tells whether it was touched.
        for name in ["run", "state"] {
            fs::create_dir(victim.join(name)).unwrap();
        }
        let run = victim.join("run");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&victim, &link).unwrap();
        under(&root).prepare().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let exchange = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, &root, AT_FDCWD, &link, exchange).unwrap();
                }
            });
            let untouched = (0..STARTS).try_for_each(|_start| {
                match under(&root).prepare() {
                    Ok(_) | Err(PathError::NotAFolder(_)) => {}
                    Err(other) => return Err(other.to_string()),
                }
                let touched = victim.join("cache").exists()
                    || fs::metadata(&run).unwrap().permissions().mode() & 0o777 != 0o711;
                if touched { Err("a link was followed".to_owned()) } else { Ok(()) }
            });
            over.store(true, Ordering::Relaxed);
            assert_eq!(untouched, Ok(()));
        });
    }

    #[test]
    fn escape_059_a_folder_that_another_has_taken_the_place_of_is_noticed() {
        for name in ["", "run", "state", "cache"] {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path().join("root");
            let folders = under(&root).prepare().unwrap();
            folders.check().unwrap();
            let place = root.join(name);
            fs::rename(&place, temp.path().join("away")).unwrap();
            assert!(matches!(folders.check(), Err(PathError::Io { .. })), "{name}");
            fs::create_dir(&place).unwrap();
            for folder in ["run", "state", "cache"].iter().filter(|_| name.is_empty()) {
                fs::create_dir(root.join(folder)).unwrap();
            }
            assert!(matches!(folders.check(), Err(PathError::Swapped(_))), "{name}");
        }
    }
}
