//! The named sockets: passed by the service manager or made and opened to their group, and accepted
//! from.

mod passed;

pub(crate) use passed::Passed;

use super::apps;
use super::control;
use super::hub::WeakHub;
use super::peer::Peer;
use crate::limits::{ACCEPT_AGAIN_AFTER, APPS_MAX, LAST_WORDS_WITHIN, OPERATORS_MAX};
use crate::paths::Paths;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, PeerCreds, ToFsName as _};
use nix::sys::socket::{Shutdown, shutdown};
use std::cell::{Cell, RefCell};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Both sockets of a daemon. Their names go when they are dropped.
#[derive(Debug)]
pub(super) struct Sockets {
    /// For operators.
    pub(super) control: Listener,
    /// For applications.
    pub(super) bus: Listener,
}

impl Sockets {
    /// Opens those that were not passed. Whoever left a socket here is dead: this daemon holds the
    /// lock.
    ///
    /// # Errors
    /// One cannot be made.
    pub(super) fn open(mut passed: Passed, paths: &Paths) -> io::Result<Self> {
        let made = |passed: Option<Listener>, path: &Path| passed.map_or_else(|| listen(path), Ok);
        Ok(Self {
            control: made(passed.control()?, &paths.control_socket())?,
            bus: made(passed.bus()?, &paths.bus_socket())?,
        })
    }
}

fn listen(path: &Path) -> io::Result<Listener> {
    match fs::remove_file(path) {
        Ok(()) => tracing::debug!(path = %path.display(), "a stale socket was removed"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(named(path, &error)),
    }
    let name = path.to_fs_name::<GenericFilePath>().map_err(|error| named(path, &error))?;
    let listener =
        ListenerOptions::new().name(name).create_tokio().map_err(|error| named(path, &error))?;
    // After bind: the umask would cut the mode. The folder is 0750 all the while.
    fs::set_permissions(path, Permissions::from_mode(0o660))
        .map_err(|error| named(path, &error))?;
    Ok(listener)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot serve {}: {error}", path.display()))
}

/// Who is at the other end; a peer that the kernel does not name is nobody.
pub(super) fn peer_of(stream: &Stream) -> Peer {
    let creds = stream.peer_creds().ok();
    let uid = creds.as_ref().and_then(PeerCreds::euid).unwrap_or(u32::MAX);
    let pid = creds.as_ref().and_then(PeerCreds::pid).unwrap_or(0);
    Peer { uid, pid }
}

/// Says a last word and lets the peer go. Were the connection closed while there is something of the
/// peer's that was not read, it would find that its own word failed instead of reading ours.
pub(super) async fn part(mut stream: &Stream, word: &[u8]) {
    let both = async {
        let said = stream.write_all(word).await;
        let Stream::UdSocket(socket) = stream;
        // A peer that has gone already needs neither.
        if said.is_ok() && shutdown(socket.inner().as_raw_fd(), Shutdown::Write).is_ok() {
            until_closed(stream).await;
        }
    };
    let _late = tokio::time::timeout(LAST_WORDS_WITHIN, both).await;
}

/// Ends when the peer closes; whatever it still says is thrown away.
pub(super) async fn until_closed(mut stream: &Stream) {
    let mut waste = [0_u8; 4_096];
    while matches!(stream.read(&mut waste).await, Ok(read) if read > 0) {}
}

/// Counts a connection while it lives.
#[derive(Debug)]
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(count: &Rc<Cell<usize>>, max: usize) -> Option<Self> {
        (count.get() < max).then(|| {
            count.set(count.get().saturating_add(1));
            Self(Rc::clone(count))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A descriptor that is kept back, so that an operator gets in when there is none left.
#[derive(Debug, Clone, Default)]
struct Spare(Rc<RefCell<Option<File>>>);

impl Spare {
    /// Keeps one, if none is kept and there is one.
    fn keep(&self) {
        let kept = self.0.take().or_else(|| File::open("/dev/null").ok());
        self.0.replace(kept);
    }

    /// Gives it to whoever asks next; whether there was one.
    fn spend(&self) -> bool {
        self.0.take().is_some()
    }
}

/// The next connection. While there are no descriptors, connections wait in the kernel.
async fn next(listener: &Listener, spare: Option<&Spare>) -> Stream {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(_) if spare.is_some_and(Spare::spend) => {}
            Err(error) => {
                if !told {
                    tracing::warn!(%error, "connections are not accepted");
                }
                told = true;
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

/// Lets applications in, one task each. One too many is closed at once.
pub(super) async fn accept_apps(hub: WeakHub, listener: Rc<Listener>) {
    let count = Rc::new(Cell::new(0));
    loop {
        let stream = next(&listener, None).await;
        let Some(hub) = hub.upgrade() else { return };
        if let Some(place) = Place::take(&count, APPS_MAX) {
            tokio::task::spawn_local(async move {
                let peer = peer_of(&stream);
                apps::serve(hub, stream, peer).await;
                drop(place);
            });
        }
    }
}

/// Lets operators in, one task each. One too many is closed at once.
pub(super) async fn accept_operators(hub: WeakHub, listener: Rc<Listener>) {
    let (count, spare) = (Rc::new(Cell::new(0)), Spare::default());
    loop {
        spare.keep();
        let stream = next(&listener, Some(&spare)).await;
        let Some(hub) = hub.upgrade() else { return };
        if let Some(place) = Place::take(&count, OPERATORS_MAX) {
            let spare = spare.clone();
            tokio::task::spawn_local(async move {
                let peer = peer_of(&stream);
                control::serve(hub, stream, peer).await;
                // Before anybody else takes the descriptor that was just given back.
                spare.keep();
                drop(place);
            });
        }
    }
}
