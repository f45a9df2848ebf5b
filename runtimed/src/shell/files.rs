//! Opens the files of a `file://` catalogue: regular files beneath its folder, and nothing else.

use crate::limits::CATALOGUE_FILE_BYTES_MAX;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use protocol::ctl::ConnectError;
use std::os::fd::OwnedFd;

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
    let dir_flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = open(folder, dir_flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT => (ConnectError::NotFound, "the catalogue's folder is not there".to_owned()),
        other => refused(&format!("the catalogue's folder cannot be opened: {other}")),
    })?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    let file = openat2(&dir, path, how).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => (ConnectError::NotFound, format!("no file {path}")),
        Errno::ELOOP | Errno::EXDEV => refused("links are not followed"),
        other => refused(&format!("{path} cannot be opened: {other}")),
    })?;
    let stat = fstat(&file).map_err(|errno| refused(&errno.to_string()))?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if kind != SFlag::S_IFREG {
        return Err(refused("only regular files are opened"));
    }
    if stat.st_size > CATALOGUE_FILE_BYTES_MAX {
        return Err(refused("the file is larger than any descriptor or code may be"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::open_beneath;
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
        nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
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
}
