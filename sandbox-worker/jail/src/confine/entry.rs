//! Whether the process is as the spawner makes them: one thread, no environment, four descriptors.
//! A preloaded library could have started a thread, which no wall that is put up here would hold.

use super::ConfineError;
use crate::{breach, raw};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::fs::FileTypeExt as _;

/// More than a file of `/proc` has that is read here.
const PROC_FILE_BYTES: usize = 4_096;
/// Number of the link.
const LINK_FD: RawFd = 3;

/// How the process was born.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Whether the spawner gave it namespaces: it is pid 1, and exactly one id is mapped.
    pub(super) namespaces: bool,
    /// Whether its network has no interface but its own loopback.
    pub(super) lonely_network: bool,
}

fn unclean<T>(text: impl Into<String>) -> Result<T, ConfineError> {
    Err(ConfineError::Unclean(text.into()))
}

/// A file of `/proc`, each of which fits: growing a buffer from nothing takes eight calls.
fn read(path: &str) -> Result<String, ConfineError> {
    let mut text = String::with_capacity(PROC_FILE_BYTES);
    fs::File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| ConfineError::Unclean(format!("{path} cannot be read: {error}")))?;
    Ok(text)
}

pub(super) fn check() -> Result<Entry, ConfineError> {
    if let Some((name, _)) = std::env::vars_os().next() {
        return unclean(format!("its environment holds {}", name.display()));
    }
    if threads(&read("/proc/self/status")?) != Some(1) {
        return unclean("it has more than one thread");
    }
    descriptors()?;
    let first = std::process::id() == 1 || breach::lacks("pid-ns");
    let own_ids = maps_one_id(&read("/proc/self/uid_map")?) || breach::lacks("user-ns");
    let interfaces = read("/proc/self/net/dev").unwrap_or_default();
    Ok(Entry { namespaces: first && own_ids, lonely_network: only_loopback(&interfaces) })
}

fn threads(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

fn maps_one_id(map: &str) -> bool {
    let mut fields = map.split_ascii_whitespace();
    (fields.next(), fields.nth(1), fields.next()) == (Some("0"), Some("1"), None)
}

fn only_loopback(interfaces: &str) -> bool {
    let mut names = interfaces.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.next().is_some_and(|(name, _)| name.trim() == "lo") && names.next().is_none()
}

fn descriptors() -> Result<(), ConfineError> {
    let unlisted = |errno| ConfineError::Unclean(format!("descriptors cannot be listed: {errno}"));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::open("/proc/self/fd", flags, Mode::empty()).map_err(unlisted)?;
    let own = listing.as_raw_fd();
    let mut found = Vec::new();
    for entry in listing.iter() {
        let name = entry.map_err(unlisted)?.file_name().to_string_lossy().into_owned();
        found.extend(name.parse::<RawFd>().ok().filter(|number| *number != own));
    }
    found.sort_unstable();
    if found != [0, 1, 2, LINK_FD] && !breach::lacks("descriptors") {
        return unclean(format!("its descriptors are {found:?} instead of 0 to 3"));
    }
    let is_null = |fd: &str| {
        let node = fs::metadata(format!("/proc/self/fd/{fd}"));
        node.is_ok_and(|node| node.file_type().is_char_device())
    };
    if !is_null("0") || !is_null("1") {
        return unclean("standard input or output is no device");
    }
    let domain = raw::socket_option(LINK_FD, libc::SO_DOMAIN);
    let kind = raw::socket_option(LINK_FD, libc::SO_TYPE);
    if (domain, kind) != (Ok(libc::AF_UNIX), Ok(libc::SOCK_SEQPACKET)) {
        return unclean("descriptor 3 is no link");
    }
    Ok(())
}

/// Looks whether the other end of the link still exists.
pub(super) fn link_lives() -> Result<(), ConfineError> {
    // SAFETY: `descriptors` has seen that 3 is open, and nobody closes it before this returns.
    #[expect(unsafe_code, reason = "an inherited descriptor is a number")]
    let link = unsafe { BorrowedFd::borrow_raw(LINK_FD) };
    let mut waiting = [PollFd::new(link.as_fd(), PollFlags::empty())];
    match poll(&mut waiting, PollTimeout::ZERO) {
        Ok(0) => Ok(()),
        _ => Err(ConfineError::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::{maps_one_id, only_loopback, threads};

    #[test]
    fn only_a_map_of_one_id_is_a_namespace_of_the_spawner() {
        assert!(maps_one_id("         0     524289          1\n"));
        assert!(!maps_one_id("         0          0 4294967295\n"));
        assert!(!maps_one_id("         0 524289 1\n         1 7 1\n"));
        assert!(!maps_one_id(""));
    }

    #[test]
    fn only_loopback_is_a_network_of_its_own() {
        let head = "Inter-|   Receive |  Transmit\n face |bytes |bytes\n";
        assert!(only_loopback(&format!("{head}    lo:       0 0\n")));
        assert!(!only_loopback(&format!("{head}    lo: 0\n  eth0: 1\n")));
        assert!(!only_loopback(&format!("{head}  eth0: 1\n")));
        assert!(!only_loopback(""), "a check that cannot be made has failed");
    }

    #[test]
    fn threads_that_cannot_be_counted_are_not_one() {
        assert_eq!(threads("Name:\tx\nThreads:\t1\n"), Some(1));
        assert_eq!(threads("Name:\tx\n"), None);
    }
}
