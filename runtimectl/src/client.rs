//! The client end of `run/control.sock`: connect, make sure who is there, one request, its replies.

use crate::output::Failure;
use crate::shown::Shown as _;
use interprocess::local_socket::prelude::*;
use interprocess::local_socket::{GenericFilePath, Stream};
use protocol::control::{CONTROL_VERSION, Command, Denial, Reply, Request};
use protocol::exit;
use protocol::limits::CONTROL_BYTES_MAX;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The service's.
pub(crate) const SYSTEM_SOCKET: &str = "/run/runtimed/control.sock";

/// One request on its connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
    /// Whether replies are handed on as they came.
    exact: bool,
}

/// Where the control socket is: the flag, the root, the user's own daemon, the system's.
pub(crate) fn socket_path(root: Option<&Path>, socket: Option<&Path>) -> PathBuf {
    if let Some(socket) = socket {
        return socket.to_owned();
    }
    if let Some(root) = root {
        return root.join("run/control.sock");
    }
    let user = std::env::var_os("XDG_RUNTIME_DIR")
        .map(|dir| PathBuf::from(dir).join("runtimed/control.sock"));
    match user {
        Some(path) if path.exists() => path,
        _ => PathBuf::from(SYSTEM_SOCKET),
    }
}

fn unreachable_at(path: &Path, error: &std::io::Error) -> Failure {
    let (status, hint) = match error.kind() {
        ErrorKind::PermissionDenied => {
            (exit::DENIED, "ask to be put into the socket's group, or use the daemon's user")
        }
        ErrorKind::NotFound => (
            exit::UNREACHABLE,
            "start runtimed, or say where it is with --root DIR or --socket PATH",
        ),
        _ => (exit::UNREACHABLE, "start runtimed; see its log on stderr or in the journal"),
    };
    Failure::new(status, format!("no daemon answers at {}: {error}", path.display())).hint(hint)
}

/// The other end must be root, the caller, or the owner of the socket's folder: whoever could put
/// a socket of their own there is not believed otherwise.
fn check_peer(stream: &Stream, path: &Path) -> Result<(), Failure> {
    let peer = stream.peer_creds().ok().and_then(|creds| creds.euid());
    let owner = path.parent().and_then(|dir| dir.metadata().ok()).map(|meta| meta.uid());
    let own = nix::unistd::geteuid().as_raw();
    match peer {
        Some(uid) if uid == 0 || uid == own || Some(uid) == owner => Ok(()),
        _ => Err(Failure::new(
            exit::DENIED,
            format!("{} is served by a stranger (uid {peer:?})", path.display()),
        )
        .hint("the folder's owner, root or you should run the daemon; check who does")),
    }
}

impl Client {
    /// Connects and sends the request.
    pub(crate) fn ask(path: &Path, command: Command) -> Result<Self, Failure> {
        let name =
            path.to_fs_name::<GenericFilePath>().map_err(|error| unreachable_at(path, &error))?;
        let mut stream = Stream::connect(name).map_err(|error| unreachable_at(path, &error))?;
        check_peer(&stream, path)?;
        let bytes = Request { version: CONTROL_VERSION, command }.encode().map_err(|error| {
            Failure::new(exit::USAGE, format!("the request is no good: {error}"))
        })?;
        stream.write_all(&bytes).map_err(|error| unreachable_at(path, &error))?;
        Ok(Self { stream, exact: false })
    }

    /// Hands replies on as they came, for a format that escapes by itself.
    pub(crate) const fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// The next reply; `None` at the end of a stream.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Failure> {
        let lost = |error: std::io::Error| {
            Failure::new(exit::UNREACHABLE, format!("the daemon went away: {error}"))
        };
        let mut len = [0_u8; 4];
        match self.stream.read_exact(&mut len) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(lost(error)),
        }
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > CONTROL_BYTES_MAX {
            return Err(Failure::new(exit::FAILED, format!("a reply of {len} bytes is too long")));
        }
        let mut body = vec![0_u8; len];
        self.stream.read_exact(&mut body).map_err(lost)?;
        let reply = Reply::decode(&body).map_err(|error| {
            Failure::new(exit::FAILED, format!("the daemon speaks another version: {error}"))
                .hint("runtimectl and runtimed must come from the same build")
        })?;
        match if self.exact { reply } else { reply.shown() } {
            Reply::Denied { denial, code, reason, stage, text } => {
                let mut failure = Failure::new(status_of(denial), text);
                failure.code = code;
                failure.reason = reason.map(|reason| reason.token().to_owned());
                failure.stage = stage;
                Err(failure)
            }
            other => Ok(Some(other)),
        }
    }

    /// The one reply.
    pub(crate) fn answer(mut self) -> Result<Reply, Failure> {
        self.next()?
            .ok_or_else(|| Failure::new(exit::UNREACHABLE, "the daemon closed without an answer"))
    }
}

const fn status_of(denial: Denial) -> u8 {
    match denial {
        Denial::Failed => exit::FAILED,
        Denial::Usage => exit::USAGE,
        Denial::NotActive => exit::NOT_ACTIVE,
        Denial::NotFound => exit::NOT_FOUND,
        Denial::Denied => exit::DENIED,
        Denial::Timeout => exit::TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::{Client, socket_path};
    use protocol::control::Command;
    use protocol::exit;
    use std::path::Path;

    #[test]
    fn the_flag_wins_over_the_root() {
        let root = Some(Path::new("/r"));
        assert_eq!(socket_path(root, None), Path::new("/r/run/control.sock"));
        assert_eq!(socket_path(root, Some(Path::new("/s"))), Path::new("/s"));
    }

    #[test]
    fn no_daemon_is_status_seven_with_a_hint() {
        let failure =
            Client::ask(Path::new("/nonexistent/control.sock"), Command::Status).unwrap_err();
        assert_eq!(failure.status, exit::UNREACHABLE);
        assert!(failure.hint.is_some());
    }
}
