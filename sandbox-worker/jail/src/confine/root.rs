//! A root with nothing in it: an empty, read-only tmpfs, the old root gone.

use super::{ConfineError, demand, failed};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

/// Where the new root is mounted first: a directory that was just read from, so it exists.
const PLACE: &str = "/proc";
/// One page and one inode: nothing can be made in it, and it takes no memory worth counting.
const OPTIONS: &str = "size=4k,nr_inodes=1,mode=0555";

/// Puts the calling process into a private root. Its mount namespace is its own.
pub(super) fn replace() -> Result<(), ConfineError> {
    let failed = failed("root");
    let none = None::<&str>;
    // Nothing done here may travel to the host's mounts.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(&failed)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), PLACE, Some("tmpfs"), flags, Some(OPTIONS)).map_err(&failed)?;
    chdir(PLACE).map_err(&failed)?;
    // The old root ends up on top of the new one, under the same name, and is taken away.
    pivot_root(".", ".").map_err(&failed)?;
    umount2(".", MntFlags::MNT_DETACH).map_err(&failed)?;
    chdir("/").map_err(&failed)?;
    let kind = statfs("/").map_err(&failed)?.filesystem_type();
    let held = statvfs("/").map_err(&failed)?.flags();
    let wanted = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC;
    let empty = std::fs::read_dir("/").is_ok_and(|mut entries| entries.next().is_none());
    let private = kind == TMPFS_MAGIC && held.contains(wanted) && empty;
    demand("root", private, "the new root is not empty and read-only")
}
