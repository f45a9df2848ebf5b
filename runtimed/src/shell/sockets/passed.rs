//! Sockets that the service manager made and listens on for this daemon, by their names.

use interprocess::local_socket::tokio::Listener;
use interprocess::os::unix::uds_local_socket::tokio::Listener as UnixListener;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike as _, SockaddrStorage, getsockname, getsockopt, sockopt,
};
use protocol::sys::adopt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// `FileDescriptorName=` of the operators' socket.
const CONTROL: &str = "control";
/// `FileDescriptorName=` of the applications' socket.
const BUS: &str = "bus";

/// What was passed; what was not is made by the daemon itself.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    control: Option<OwnedFd>,
    bus: Option<OwnedFd>,
}

impl Passed {
    /// Takes what was passed to this process. Nothing is the usual case. A socket that cannot be
    /// served is an error: its clients would wait for ever.
    ///
    /// # Errors
    /// A socket has no known name, comes twice, or is of the wrong kind.
    pub(crate) fn take() -> Result<Self, String> {
        let fds = sd_notify::listen_fds_with_names()
            .map_err(|error| format!("the service manager's sockets cannot be taken: {error}"))?;
        let mut passed = Self::default();
        for (fd, name) in fds {
            passed.put(adopt(fd), &name)?;
        }
        Ok(passed)
    }

    fn put(&mut self, fd: OwnedFd, name: &str) -> Result<(), String> {
        let place = match name {
            CONTROL => &mut self.control,
            BUS => &mut self.bus,
            _ => {
                return Err(format!(
                    "the service manager passed a socket named `{name}`; known are {CONTROL} and {BUS} (FileDescriptorName=)"
                ));
            }
        };
        if place.is_some() {
            return Err(format!("the service manager passed two sockets named `{name}`"));
        }
        check(&fd).map_err(|why| format!("the socket that was passed as `{name}` {why}"))?;
        *place = Some(fd);
        Ok(())
    }

    /// The operators' socket. Its name belongs to the service manager and is not removed.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) fn control(&mut self) -> io::Result<Option<Listener>> {
        self.control.take().map(listener).transpose()
    }

    /// The applications' socket, likewise.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) fn bus(&mut self) -> io::Result<Option<Listener>> {
        self.bus.take().map(listener).transpose()
    }
}

fn listener(fd: OwnedFd) -> io::Result<Listener> {
    UnixListener::try_from(fd).map(Listener::from)
}

fn check(fd: &OwnedFd) -> Result<(), &'static str> {
    let address = getsockname::<SockaddrStorage>(fd.as_raw_fd());
    if address.ok().and_then(|address| address.family()) != Some(AddressFamily::Unix) {
        return Err("is no Unix socket");
    }
    if getsockopt(fd, sockopt::SockType) != Ok(SockType::Stream) {
        return Err("is no stream socket (ListenStream=)");
    }
    if getsockopt(fd, sockopt::AcceptConn) != Ok(true) {
        return Err("does not listen (Accept=no)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Passed;
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    fn unix() -> (tempfile::TempDir, OwnedFd) {
        let temp = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(temp.path().join("s")).unwrap();
        (temp, listener.into())
    }

    #[test]
    fn sockets_are_known_by_their_names() {
        let mut passed = Passed::default();
        passed.put(unix().1, "bus").unwrap();
        assert!(passed.control.is_none() && passed.bus.is_some());
        let twice = passed.put(unix().1, "bus").unwrap_err();
        assert!(twice.contains("two sockets named `bus`"), "{twice}");
        let strange = passed.put(unix().1, "runtimed.socket").unwrap_err();
        assert!(strange.contains("`runtimed.socket`"), "{strange}");
    }

    #[test]
    fn what_is_no_listening_unix_stream_is_refused() {
        let refused = |fd: OwnedFd| Passed::default().put(fd, "control").unwrap_err();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(refused(tcp.into()).contains("no Unix socket"));
        assert!(refused(UnixDatagram::unbound().unwrap().into()).contains("no stream"));
        assert!(refused(UnixStream::pair().unwrap().0.into()).contains("does not listen"));
        assert!(refused(std::fs::File::open("/").unwrap().into()).contains("no Unix socket"));
    }

    #[tokio::test]
    async fn the_name_of_a_passed_socket_stays_when_the_daemon_goes() {
        let (temp, fd) = unix();
        let mut passed = Passed::default();
        passed.put(fd, "control").unwrap();
        drop(passed.control().unwrap().unwrap());
        assert!(passed.bus().unwrap().is_none());
        assert!(temp.path().join("s").exists());
    }
}
