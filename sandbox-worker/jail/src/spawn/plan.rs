//! All that a child needs, prepared before it exists: after `clone3` nothing may be allocated.

use super::{Spawn, SpawnFault};
use crate::Profile;
use crate::limits::{
    ADDRESS_SPACE_BYTES, FILE_BYTES, OPEN_FILES, OPEN_FILES_NET, PROCESSES, STACK_BYTES,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use std::ffi::{CString, c_char};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// Copies are made at and above this number, out of the way of 0 to 3.
const PARKED_FD: RawFd = 10;

/// Resource limits of the new process. What the caller may not exceed itself is cut to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors.
    pub open_files: u64,
    /// Bytes of a file or memfd.
    pub file_bytes: u64,
    /// Bytes of address space, if bounded.
    pub address_space: Option<u64>,
    /// Processes of a host uid of its own; never set for a shared one, which it would count whole.
    pub processes: u64,
}

impl Limits {
    /// What a profile needs.
    pub const fn of(profile: Profile) -> Self {
        let (open_files, address_space) = match profile {
            Profile::Net => (OPEN_FILES_NET, None),
            Profile::Stub | Profile::Fetch => (OPEN_FILES, Some(ADDRESS_SPACE_BYTES)),
        };
        Self { open_files, file_bytes: FILE_BYTES, address_space, processes: PROCESSES }
    }

    /// The limits to set, in order.
    fn list(self, own_uid: bool) -> Vec<(Resource, u64)> {
        let mut list = vec![
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_MEMLOCK, 0),
            (Resource::RLIMIT_MSGQUEUE, 0),
            (Resource::RLIMIT_NICE, 0),
            (Resource::RLIMIT_RTPRIO, 0),
            (Resource::RLIMIT_FSIZE, self.file_bytes),
            (Resource::RLIMIT_STACK, STACK_BYTES),
        ];
        list.extend(self.address_space.map(|bytes| (Resource::RLIMIT_AS, bytes)));
        if own_uid {
            list.push((Resource::RLIMIT_NPROC, self.processes));
        }
        // Last: nothing may fail for want of a descriptor before.
        list.push((Resource::RLIMIT_NOFILE, self.open_files));
        for (resource, wanted) in &mut list {
            if let Ok((_, most)) = getrlimit(*resource) {
                *wanted = most.min(*wanted);
            }
        }
        list
    }
}

/// Everything the child uses.
pub(super) struct Plan {
    pub(super) null: OwnedFd,
    pub(super) log: OwnedFd,
    pub(super) link: OwnedFd,
    pub(super) image: OwnedFd,
    /// The child's end of the pair; closed by its exec.
    pub(super) sync: OwnedFd,
    /// The spawner's end, which the child closes, so that it notices the spawner's death.
    pub(super) other_end: RawFd,
    /// Ends with a null pointer; points into the arguments of [`Plan::new`]'s caller.
    pub(super) argv: Vec<*const c_char>,
    pub(super) uid: Option<u32>,
    /// Whether the caller's network is not the one for it.
    pub(super) makes_network: bool,
    pub(super) cgroup: Option<OwnedFd>,
    pub(super) limits: Vec<(Resource, u64)>,
}

impl Plan {
    pub(super) fn new(
        spawn: Spawn<'_>,
        args: &[CString],
        other_end: BorrowedFd<'_>,
        theirs: OwnedFd,
    ) -> Result<Self, SpawnFault> {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| SpawnFault::Prepare("/dev/null", errno.into()))?;
        Ok(Self {
            null: parked(null)?,
            log: parked(spawn.log)?,
            link: parked(spawn.link)?,
            image: parked(spawn.image)?,
            sync: parked(theirs)?,
            other_end: other_end.as_raw_fd(),
            argv: args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect(),
            uid: spawn.uid,
            makes_network: spawn.profile != Profile::Net,
            cgroup: spawn.cgroup.map(parked).transpose()?,
            limits: spawn.limits.list(spawn.uid.is_some()),
        })
    }

    /// The caller is where the process is to be.
    pub(super) fn in_own_network(mut self, there: bool) -> Self {
        self.makes_network &= !there;
        self
    }
}

/// A copy out of the way; an owned original is closed.
#[expect(unsafe_code, reason = "nix returns the copy as a number")]
fn parked(fd: impl AsFd) -> Result<OwnedFd, SpawnFault> {
    let copy = fcntl(fd.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(PARKED_FD))
        .map_err(|errno| SpawnFault::Prepare("fcntl", errno.into()))?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
