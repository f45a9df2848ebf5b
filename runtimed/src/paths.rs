//! Where everything of one daemon is: under one folder (`--root`), where its service manager says,
//! at the system's places for root, at the user's (XDG) otherwise; and the checks that nobody else
//! can put something there.

mod folders;

pub(crate) use folders::Folders;

use crate::limits::SOCKET_PATH_BYTES_MAX;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The system's configuration.
const SYSTEM_CONFIG: &str = "/etc/runtimed/runtimed.toml";

/// The places of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The one folder, if there is one.
    pub(crate) root: Option<PathBuf>,
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// Sockets and lock.
    pub(crate) run: PathBuf,
    /// What outlives the daemon.
    pub(crate) state: PathBuf,
    /// What can be fetched again.
    pub(crate) cache: PathBuf,
}

/// Why a place cannot be used. Said once, on stderr.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathError {
    /// Not a folder, or a link to one.
    #[error("{} is not a folder of its own (a file or a symbolic link)", .0.display())]
    NotAFolder(PathBuf),
    /// Somebody else's.
    #[error("{} belongs to uid {owner}, but runtimed runs as uid {own}", path.display())]
    Owner {
        /// Which folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Writable by others.
    #[error("{} can be written by others (mode {mode:03o}); chmod go-w it", path.display())]
    Writable {
        /// Which folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It was there, and then something else.
    #[error("{} was put aside while runtimed started; keep others from writing above it", .0.display())]
    Swapped(PathBuf),
    /// Too long for a socket.
    #[error(
        "the socket path {} has {len} bytes, the system takes at most {SOCKET_PATH_BYTES_MAX}; choose a shorter --root",
        path.display()
    )]
    TooLong {
        /// Which path.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// A variable that is needed is not there.
    #[error("{0} is not set; set it, or say where to live with --root DIR")]
    NoVariable(&'static str),
    /// The system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon lives here.
    #[error("another runtimed holds {}; stop it, or choose another --root", .0.display())]
    Locked(PathBuf),
}

impl PathError {
    /// The exit status that says so.
    pub(crate) const fn exit(&self) -> u8 {
        match self {
            Self::Locked(_) => protocol::exit::CANT_CREATE,
            _ => protocol::exit::CONFIG,
        }
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> PathError {
    let path = path.to_owned();
    move |source| PathError::Io { path, source }
}

impl Paths {
    /// Decides where things are; nothing is touched.
    ///
    /// # Errors
    /// A variable is missing, or a socket path would be too long.
    pub(crate) fn choose(
        root: Option<PathBuf>,
        system: bool,
        variable: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, PathError> {
        let paths = match root {
            Some(root) => {
                let root = std::path::absolute(&root).map_err(io_at(&root))?;
                Self {
                    config: root.join("runtimed.toml"),
                    run: root.join("run"),
                    state: root.join("state"),
                    cache: root.join("cache"),
                    root: Some(root),
                }
            }
            None if variable("RUNTIME_DIRECTORY").is_some() => Self::of_service(&variable)?,
            None if system => Self {
                root: None,
                config: PathBuf::from(SYSTEM_CONFIG),
                run: PathBuf::from("/run/runtimed"),
                state: PathBuf::from("/var/lib/runtimed"),
                cache: PathBuf::from("/var/cache/runtimed"),
            },
            None => {
                let absolute = |name| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
                let home = absolute("HOME");
                let xdg = |name: &'static str, below: &str| {
                    absolute(name)
                        .or_else(|| home.as_ref().map(|home| home.join(below)))
                        .map(|base| base.join("runtimed"))
                        .ok_or(PathError::NoVariable("HOME"))
                };
                let run =
                    absolute("XDG_RUNTIME_DIR").ok_or(PathError::NoVariable("XDG_RUNTIME_DIR"))?;
                Self {
                    root: None,
                    config: xdg("XDG_CONFIG_HOME", ".config")?.join("runtimed.toml"),
                    run: run.join("runtimed"),
                    state: xdg("XDG_STATE_HOME", ".local/state")?,
                    cache: xdg("XDG_CACHE_HOME", ".cache")?,
                }
            }
        };
        for socket in [paths.control_socket(), paths.bus_socket()] {
            let len = socket.as_os_str().as_bytes().len();
            if len > SOCKET_PATH_BYTES_MAX {
                return Err(PathError::TooLong { path: socket, len });
            }
        }
        Ok(paths)
    }

    /// The folders that systemd made for a service (`RuntimeDirectory=` and so on), which it names
    /// in the environment. For `DynamicUser=` a name is a link, into a place that only root writes.
    fn of_service(variable: &impl Fn(&'static str) -> Option<OsString>) -> Result<Self, PathError> {
        let folder = |name: &'static str| {
            let folders = variable(name).ok_or(PathError::NoVariable(name))?;
            let first = folders.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
            let path = PathBuf::from(OsStr::from_bytes(first));
            Ok(fs::canonicalize(&path).unwrap_or(path))
        };
        let config = match folder("CONFIGURATION_DIRECTORY") {
            Ok(folder) => folder.join("runtimed.toml"),
            Err(_none) => PathBuf::from(SYSTEM_CONFIG),
        };
        Ok(Self {
            root: None,
            config,
            run: folder("RUNTIME_DIRECTORY")?,
            state: folder("STATE_DIRECTORY")?,
            cache: folder("CACHE_DIRECTORY")?,
        })
    }

    /// The operators' socket.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// The applications' socket.
    pub(crate) fn bus_socket(&self) -> PathBuf {
        self.run.join("bus.sock")
    }

    /// Refuses a root that is not ours alone; one that is not there yet is fine.
    ///
    /// # Errors
    /// It is no folder, or others could put something into it.
    pub(crate) fn check_root(&self) -> Result<(), PathError> {
        match &self.root {
            Some(root) if fs::symlink_metadata(root).is_ok() => check_folder(root),
            _ => Ok(()),
        }
    }

    /// Makes the folders that are missing and checks those that are there.
    ///
    /// # Errors
    /// One cannot be made, or is not ours alone.
    pub(crate) fn prepare(&self) -> Result<Folders, PathError> {
        Folders::open(self)
    }
}

fn check_folder(path: &Path) -> Result<(), PathError> {
    let meta = fs::symlink_metadata(path).map_err(io_at(path))?;
    if !meta.is_dir() {
        return Err(PathError::NotAFolder(path.to_owned()));
    }
    check_owner(path, meta.uid(), meta.mode())
}

fn check_owner(path: &Path, owner: u32, mode: u32) -> Result<(), PathError> {
    let own = nix::unistd::geteuid().as_raw();
    if owner != own {
        return Err(PathError::Owner { path: path.to_owned(), owner, own });
    }
    let mode = mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(PathError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{PathError, Paths};
    use std::ffi::OsString;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};

    fn under(root: &Path) -> Paths {
        Paths::choose(Some(root.to_owned()), false, |_| None).unwrap()
    }

    #[test]
    fn a_root_holds_everything() {
        let paths = under(Path::new("/srv/r"));
        assert_eq!(paths.control_socket(), Path::new("/srv/r/run/control.sock"));
        assert_eq!(paths.bus_socket(), Path::new("/srv/r/run/bus.sock"));
        assert_eq!(paths.config, Path::new("/srv/r/runtimed.toml"));
    }

    #[test]
    fn without_a_root_the_user_or_the_system_decides() {
        let system = Paths::choose(None, true, |_| None).unwrap();
        assert_eq!(system.run, Path::new("/run/runtimed"));
        let variable = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/u")),
            "XDG_RUNTIME_DIR" => Some(OsString::from("/run/user/7")),
            "XDG_STATE_HOME" => Some(OsString::from("relative/is/ignored")),
            _ => None,
        };
        let user = Paths::choose(None, false, variable).unwrap();
        assert_eq!(user.run, Path::new("/run/user/7/runtimed"));
        assert_eq!(user.state, Path::new("/home/u/.local/state/runtimed"));
        assert_eq!(user.config, Path::new("/home/u/.config/runtimed/runtimed.toml"));
        let none = Paths::choose(None, false, |_| None);
        assert!(matches!(none, Err(PathError::NoVariable("XDG_RUNTIME_DIR"))));
    }

    #[test]
    fn a_service_lives_where_its_manager_says() {
        let temp = tempfile::tempdir().unwrap();
        let real = temp.path().canonicalize().unwrap().join("private");
        fs::create_dir(&real).unwrap();
        let link = temp.path().join("state");
        symlink(&real, &link).unwrap();
        let service = |name: &'static str| {
            Some(match name {
                "RUNTIME_DIRECTORY" => OsString::from("/run/a:/run/b"),
                "STATE_DIRECTORY" => link.clone().into_os_string(),
                "CACHE_DIRECTORY" => OsString::from("/var/cache/a"),
                _ => return None,
            })
        };
        let paths = Paths::choose(None, false, service).unwrap();
        assert_eq!((paths.run.as_path(), &paths.state), (Path::new("/run/a"), &real));
        assert_eq!(paths.config, Path::new("/etc/runtimed/runtimed.toml"));
        let partly = |name| (name == "RUNTIME_DIRECTORY").then(|| OsString::from("/run/a"));
        let partly = Paths::choose(None, true, partly);
        assert!(matches!(partly, Err(PathError::NoVariable("STATE_DIRECTORY"))));
        let root = Paths::choose(Some(PathBuf::from("/srv/r")), false, service).unwrap();
        assert_eq!(root.run, Path::new("/srv/r/run"));
    }

    #[test]
    fn a_socket_path_fits_at_the_edge_and_not_one_past_it() {
        let root = |len: usize| PathBuf::from(format!("/{}", "r".repeat(len)));
        let edge = 107 - 1 - "/run/control.sock".len();
        assert!(Paths::choose(Some(root(edge)), false, |_| None).is_ok());
        let past = Paths::choose(Some(root(edge + 1)), false, |_| None);
        assert!(matches!(past, Err(PathError::TooLong { len: 108, .. })));
    }

    #[test]
    fn folders_are_made_private_and_others_folders_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("new");
        under(&root).prepare().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&root), mode(&root.join("run"))), (0o700, 0o750));
        assert_eq!((mode(&root.join("state")), mode(&root.join("cache"))), (0o700, 0o700));
        under(&root).prepare().unwrap();
        for bad in [0o720, 0o702] {
            fs::set_permissions(&root, Permissions::from_mode(bad)).unwrap();
            assert!(matches!(under(&root).prepare(), Err(PathError::Writable { .. })));
            assert!(under(&root).check_root().is_err());
        }
        let link = temp.path().join("link");
        symlink(temp.path(), &link).unwrap();
        assert!(matches!(under(&link).prepare(), Err(PathError::NotAFolder(_))));
    }

    #[test]
    fn one_daemon_holds_the_lock_until_it_lets_go() {
        let temp = tempfile::tempdir().unwrap();
        let paths = under(&temp.path().join("r"));
        let folders = paths.prepare().unwrap();
        let lock = folders.lock().unwrap();
        assert_eq!(paths.prepare().unwrap().lock().unwrap_err().exit(), 73);
        drop(lock);
        folders.lock().unwrap();
    }
}
