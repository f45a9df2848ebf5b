//! Opens the files of a `file://` catalogue: regular files beneath its folder, and nothing else.

use crate::limits::CATALOGUE_FILE_BYTES_MAX;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use protocol::ctl::ConnectError;
use std::os::fd::OwnedFd;

const DIR: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
const FILE: OFlag = OFlag::O_CLOEXEC.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// Opens `path` beneath `folder` for reading. Neither links nor `..` lead out of it, and what is
/// no regular file is not even waited for.
///
/// # Errors
/// Why not, for the worker that asked.
pub(super) fn open_beneath(folder: &str, path: &str) -> Result<OwnedFd, (ConnectError, String)> {
    let folder = folder.strip_prefix("file://").unwrap_or(folder);
    let refused = |text: &str| (ConnectError::NotGranted, text.to_owned());
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !path.split('/').all(plain) || path.contains('\0') {
        return Err(refused("only relative names without `.` and `..` are opened"));
    }
    let dir = open(folder, DIR, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT => (ConnectError::NotFound, "the catalogue's folder is not there".to_owned()),
        other => refused(&format!("the catalogue's folder cannot be opened: {other}")),
    })?;
    let opened = match at_once(&dir, path) {
        // `RestrictSUIDSGID=` of a unit takes the call away, and `DynamicUser=` comes with that.
        Err(Errno::ENOSYS) => step_by_step(dir, path),
        other => other,
    };
    let file = opened.map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => (ConnectError::NotFound, format!("no file {path}")),
        Errno::ELOOP | Errno::EXDEV => refused("links are not followed"),
        other => refused(&format!("{path} cannot be opened: {other}")),
    })?;
    let stat = fstat(&file).map_err(|errno| refused(&errno.to_string()))?;
    if kind(&stat) != SFlag::S_IFREG {
        return Err(refused("only regular files are opened"));
    }
    if stat.st_size > CATALOGUE_FILE_BYTES_MAX {
        return Err(refused("the file is larger than any descriptor or code may be"));
    }
    Ok(file)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn at_once(dir: &OwnedFd, path: &str) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(dir, path, OpenHow::new().flags(FILE).resolve(resolve))
}

/// The same by a call for each part of the path: a part that is a link is not followed, and none
/// is `..`, so that each leads deeper.
fn step_by_step(mut dir: OwnedFd, path: &str) -> nix::Result<OwnedFd> {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        dir = openat(&dir, part, DIR | OFlag::O_NOFOLLOW, Mode::empty()).map_err(|errno| {
            let found = fstatat(&dir, part, AtFlags::AT_SYMLINK_NOFOLLOW);
            let link = found.is_ok_and(|stat| kind(&stat) == SFlag::S_IFLNK);
            if link { Errno::ELOOP } else { errno }
        })?;
    }
    openat(&dir, name, FILE | OFlag::O_NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::{DIR, at_once, open_beneath, step_by_step};
    use nix::errno::Errno;
    use nix::fcntl::open;
    use nix::sys::stat::Mode;
    use protocol::ctl::ConnectError;
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_beneath_the_folder_are_opened() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("catalogue");
        fs::create_dir_all(folder.join("protocolstub")).unwrap();
        fs::write(folder.join("protocolstub/default"), "{}").unwrap();
        fs::write(temp.path().join("secret"), "x").unwrap();
        symlink("../../secret", folder.join("protocolstub/link")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU).unwrap();
        let folder = format!("file://{}", folder.display());
        let fd = open_beneath(&folder, "protocolstub/default").unwrap();
        let mut text = String::new();
        fs::File::from(fd).read_to_string(&mut text).unwrap();
        assert_eq!(text, "{}");
        for (path, want) in [
            ("protocolstub/other", ConnectError::NotFound),
            ("protocolstub/default/x", ConnectError::NotFound),
            ("protocolstub/link", ConnectError::NotGranted),
            ("up/secret", ConnectError::NotGranted),
            ("../secret", ConnectError::NotGranted),
            ("protocolstub/../../secret", ConnectError::NotGranted),
            ("/etc/passwd", ConnectError::NotGranted),
            ("protocolstub", ConnectError::NotGranted),
            ("fifo", ConnectError::NotGranted),
            ("", ConnectError::NotGranted),
        ] {
            assert_eq!(open_beneath(&folder, path).unwrap_err().0, want, "{path}");
        }
        let gone = open_beneath("file:///nonexistent/folder", "default").unwrap_err();
        assert_eq!(gone.0, ConnectError::NotFound);
    }

    #[test]
    fn without_openat2_the_same_is_opened_and_refused() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("catalogue");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/file"), "").unwrap();
        fs::write(folder.join("top"), "").unwrap();
        symlink("b", folder.join("a/link")).unwrap();
        symlink("b/file", folder.join("a/last")).unwrap();
        let dir = || open(&folder, DIR, Mode::empty()).unwrap();
        for (path, want) in [
            ("top", Ok(())),
            ("a/b/file", Ok(())),
            ("a/link/file", Err(Errno::ELOOP)),
            ("a/last", Err(Errno::ELOOP)),
            ("a/none/file", Err(Errno::ENOENT)),
            ("a/b/none", Err(Errno::ENOENT)),
            ("top/file", Err(Errno::ENOTDIR)),
        ] {
            assert_eq!(at_once(&dir(), path).map(drop), want, "{path}");
            assert_eq!(step_by_step(dir(), path).map(drop), want, "{path}");
        }
    }
}
