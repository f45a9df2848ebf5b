//! The spawner role: one thread, one request after the other, each a new sandbox.
//!
//! It trusts the daemon, reads nothing from anybody else, and ends with the link.

use jail::Profile;
use jail::spawn::{Limits, Networks, Spawn, SpawnError, Spawned, prepare, spawn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::ctl::{Role, SpawnReply, SpawnRequest};
use protocol::exit;
use protocol::limits::SPAWN_BYTES_MAX;
use protocol::sys::{adopt, is_reset, recv_packet, send_packet, set_cloexec};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::process::ExitCode;

/// How long nothing is wanted before something is prepared.
const QUIET_MS: u8 = 5;

/// Serves the link on descriptor `link_fd` until it ends, starting workers from `image_fd`.
pub(crate) fn run(link_fd: RawFd, image_fd: RawFd) -> ExitCode {
    let (link, image) = (adopt(link_fd), adopt(image_fd));
    match serve(link.as_fd(), image.as_fd()) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            crate::log(&format!("spawner: {error}"));
            ExitCode::from(exit::TEMPORARY)
        }
    }
}

fn serve(link: BorrowedFd<'_>, image: BorrowedFd<'_>) -> io::Result<()> {
    set_cloexec(link, true)?;
    set_cloexec(image, true)?;
    prepare()?;
    let mut networks = Networks::default();
    let mut buffer = [0_u8; SPAWN_BYTES_MAX];
    loop {
        // Not in the middle of a birth, nor between the births of a crowd.
        if !wait(link, PollFlags::POLLIN, QUIET_MS.into())? {
            networks.prepare();
            wait(link, PollFlags::POLLIN, PollTimeout::NONE)?;
        }
        let received = match recv_packet(link, &mut buffer) {
            Ok(received) if received.len == 0 => return Ok(()),
            Ok(received) if received.truncated => return Err(broken("a packet was cut")),
            Ok(received) => received,
            // What was queued before the end, and then the end, follow.
            Err(error) if is_reset(&error) || error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..received.len).unwrap_or_default();
        let request = SpawnRequest::decode(bytes).map_err(io::Error::other)?;
        let mut fds = received.fds.into_iter();
        let (Some(link_end), Some(log)) = (fds.next(), fds.next()) else {
            return Err(broken("a request needs two descriptors"));
        };
        let cgroup = fds.next();
        if cgroup.is_some() != request.cgroup || fds.next().is_some() {
            return Err(broken("a request has other descriptors than it says"));
        }
        let fds = Given { image, link: link_end, log, cgroup };
        let (reply, pidfd) = answer(&request, fds, &mut networks);
        send(link, &reply, pidfd.as_ref())?;
    }
}

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The descriptors of a request, and the program.
struct Given<'a> {
    image: BorrowedFd<'a>,
    link: OwnedFd,
    log: OwnedFd,
    cgroup: Option<OwnedFd>,
}

/// Does what is asked. A process that failed on its way comes back as a pidfd, too: it is the
/// daemon's child, and nobody else can wait for it.
fn answer(
    request: &SpawnRequest,
    given: Given<'_>,
    networks: &mut Networks,
) -> (SpawnReply, Option<OwnedFd>) {
    let sandbox = request.sandbox;
    let failed = |text: String| SpawnReply::Failed { sandbox, text };
    let Some(profile) = profile(request.role) else {
        return (failed("a spawner is not started by a spawner".to_owned()), None);
    };
    let mut limits = Limits::of(profile);
    if profile != Profile::Net {
        limits.open_files = request.open_files.into();
    }
    limits.processes = request.processes.into();
    let mut args = vec!["sandbox-worker", "--role", request.role.name()];
    if let Some(listen) = request.listen.as_deref().filter(|_| profile == Profile::Net) {
        args.extend(["--listen", listen]);
    }
    let args = &args;
    let Given { image, link, log, cgroup } = given;
    let (uid, cgroup) = (request.uid, cgroup.as_ref().map(|fd| fd.as_fd()));
    match spawn(Spawn { image, args, link, log, profile, uid, limits, cgroup }, networks) {
        Ok(Spawned { pidfd, pid, namespaces }) => {
            (SpawnReply::Spawned { sandbox, pid, namespaces }, Some(pidfd))
        }
        Err(SpawnError { fault, remains }) => (failed(fault.to_string()), remains),
    }
}

const fn profile(role: Role) -> Option<Profile> {
    match role {
        Role::Spawner => None,
        Role::Net => Some(Profile::Net),
        Role::Fetch => Some(Profile::Fetch),
        Role::Stub => Some(Profile::Stub),
    }
}

fn send(link: BorrowedFd<'_>, reply: &SpawnReply, pidfd: Option<&OwnedFd>) -> io::Result<()> {
    let bytes = reply.encode().map_err(io::Error::other)?;
    let fds: Vec<_> = pidfd.iter().map(|fd| fd.as_fd()).collect();
    loop {
        match send_packet(link, &bytes, &fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(link, PollFlags::POLLOUT, PollTimeout::NONE)?;
            }
            // Nobody waits for it any more; the end comes with the next packet.
            Err(error) if is_reset(&error) => return Ok(()),
            other => return other,
        }
    }
}

/// Whether it came within this time.
fn wait(link: BorrowedFd<'_>, event: PollFlags, most: PollTimeout) -> io::Result<bool> {
    match poll(&mut [PollFd::new(link, event)], most) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Given, answer, profile};
    use jail::Profile;
    use jail::spawn::Networks;
    use protocol::ctl::{Role, SpawnReply, SpawnRequest};
    use protocol::sys::socketpair_seqpacket;
    use std::os::fd::AsFd as _;

    fn ask(role: Role, uid: Option<u32>) -> String {
        let (link, log) = socketpair_seqpacket().unwrap();
        let image = std::fs::File::open("/dev/null").unwrap();
        let (open_files, processes) = (128, 8);
        let request = SpawnRequest {
            sandbox: 7,
            role,
            uid,
            open_files,
            processes,
            cgroup: false,
            listen: None,
        };
        let given = Given { image: image.as_fd(), link, log, cgroup: None };
        match answer(&request, given, &mut Networks::default()) {
            (SpawnReply::Failed { sandbox: 7, text }, None) => text,
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_spawner_is_born_of_a_spawner() {
        assert_eq!(profile(Role::Spawner), None);
        assert_eq!(profile(Role::Stub), Some(Profile::Stub));
        assert!(ask(Role::Spawner, Some(524_288)).contains("not started by"));
    }

    #[test]
    fn attack_027_no_worker_is_born_as_somebody_of_the_host() {
        for uid in [1, 33, 999, 1_000, 65_534, 65_535] {
            let text = ask(Role::Stub, Some(uid));
            assert!(text.contains(&format!("no worker runs as host id {uid}")), "{text}");
        }
    }

    #[test]
    fn no_worker_is_born_as_the_kernels_root() {
        assert!(ask(Role::Stub, Some(0)).contains("no worker runs as root"));
        if nix::unistd::geteuid().is_root() {
            assert!(ask(Role::Stub, None).contains("no worker runs as root"));
        }
    }
}
