//! Cgroups: whether sandboxes can be given their own, with limits of memory and processes.

use super::{Finding, Read, State};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const CHECK: &str = "cgroup";
/// What a sandbox is limited by.
const WANTED: [&str; 2] = ["memory", "pids"];
/// Where a daemon that has divided its cgroup is itself.
const ASIDE: &str = "supervisor";

/// A tree of cgroups, and where in it the process is.
struct Place {
    second: bool,
    controllers: Vec<String>,
    dir: PathBuf,
}

/// And whether it is enough for limits.
pub(super) fn look(process: &str, uid: u32, read: Read<'_>) -> (Finding, bool) {
    // The trees as we see them, the process's places in them.
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let own = read(&format!("/proc/{process}/cgroup")).unwrap_or_default();
    let places: Vec<_> = mounts.lines().filter_map(|line| place(line, &own, read)).collect();
    judge(&places, &|dir| may_divide(dir, uid))
}

/// Whether the user may make cgroups there.
fn may_divide(dir: &Path, uid: u32) -> bool {
    let read_only = nix::sys::statvfs::statvfs(dir)
        .map_or(true, |fs| fs.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY));
    let mine = |path: PathBuf| fs::metadata(path).is_ok_and(|at| uid == 0 || at.uid() == uid);
    !read_only && mine(dir.to_owned()) && mine(dir.join("cgroup.procs"))
}

fn judge(places: &[Place], may_divide: &dyn Fn(&Path) -> bool) -> (Finding, bool) {
    const COST: &str = "memory and processes of a stub are bounded by resource limits and its \
                        engine only; level full cannot be reached";
    let has = |place: &Place, name: &str| place.controllers.iter().any(|c| c == name);
    let whole = |place: &&Place| WANTED.iter().all(|name| has(place, name));
    let second = places.iter().find(|place| place.second);
    if let Some(place) = second.filter(whole) {
        let dir = place.dir.display();
        if may_divide(&place.dir) {
            return (
                Finding::ok(CHECK, format!("version 2, memory and pids, ours at {dir}")),
                true,
            );
        }
        let mend = "start runtimed by its unit, or with systemd-run --user --scope -p Delegate=yes";
        let found = format!("version 2, but {dir} is not delegated");
        return (Finding::lack(CHECK, State::Warn, found, COST, mend), false);
    }
    let first = |name: &str| places.iter().any(|p| !p.second && has(p, name) && may_divide(&p.dir));
    if WANTED.iter().all(|name| first(name)) {
        let cost = "a sandbox is moved into its cgroup while it starts, not born in it";
        let mend = "boot with systemd.unified_cgroup_hierarchy=1";
        let found = "version 1, memory and pids";
        return (Finding::lack(CHECK, State::Warn, found, cost, mend), true);
    }
    let (found, mend) = match second {
        Some(place) => (
            format!("version 2 at {} without memory and pids", place.dir.display()),
            "start runtimed by its unit, which has Delegate=; in a container, delegate them to it",
        ),
        None if places.is_empty() => {
            ("none".to_owned(), "mount cgroup2 at /sys/fs/cgroup, as systemd does")
        }
        None => (
            "version 1, and its directories are not ours".to_owned(),
            "boot with systemd.unified_cgroup_hierarchy=1, and start runtimed by its unit",
        ),
    };
    (Finding::lack(CHECK, State::Warn, found, COST, mend), false)
}

/// What a line of `mountinfo` says, with the membership in `own`.
fn place(mount: &str, own: &str, read: Read<'_>) -> Option<Place> {
    // id parent major:minor root place options … - type source options
    let (left, right) = mount.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, at) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, options) = (right.next()?, right.nth(1)?);
    let second = match kind {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let wanted = options.split(',').filter(|name| WANTED.contains(name));
    let mut controllers: Vec<_> = wanted.map(str::to_owned).collect();
    if !second && controllers.is_empty() {
        return None;
    }
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let same = if second {
            names.is_empty()
        } else {
            names.split(',').any(|n| controllers.iter().any(|c| c == n))
        };
        same.then_some(path)
    })?;
    let mut dir = Path::new(at).join(Path::new(path).strip_prefix(root).ok()?);
    if second {
        if dir.ends_with(ASIDE) {
            dir.pop();
        }
        let offered = read(&dir.join("cgroup.controllers").to_string_lossy())?;
        controllers = offered.split_ascii_whitespace().map(str::to_owned).collect();
    }
    Some(Place { second, controllers, dir })
}

#[cfg(test)]
mod tests {
    use super::{judge, place};
    use crate::survey::{Finding, State};
    use std::path::Path;

    const SECOND: &str = "25 23 0:22 / /cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    const FIRST: &str = "35 31 0:32 / /one/memory rw - cgroup cgroup rw,memory\n\
                         36 31 0:33 / /one/pids rw - cgroup cgroup rw,pids\n\
                         37 31 0:34 / /one/freezer rw - cgroup cgroup rw,freezer";

    fn found(mounts: &str, own: &str, offered: &str, ours: &str) -> Finding {
        let read = |path: &str| path.ends_with("cgroup.controllers").then(|| offered.to_owned());
        let places: Vec<_> = mounts.lines().filter_map(|line| place(line, own, &read)).collect();
        let (finding, enough) = judge(&places, &|dir| dir.starts_with(Path::new(ours)));
        assert_eq!(enough, !finding.cost.iter().any(|cost| cost.contains("level full")));
        finding
    }

    #[test]
    fn version_2_counts_where_it_is_delegated_with_memory_and_pids() {
        let own = "0::/system.slice/runtimed.service/supervisor";
        let dir = "/cg/system.slice/runtimed.service";
        let all = found(SECOND, own, "cpu memory pids", dir);
        assert_eq!((all.state, all.found.ends_with(dir)), (State::Ok, true), "{all:?}");
        let other = found(SECOND, own, "cpu memory pids", "/elsewhere");
        assert_eq!((other.state, other.found.contains("delegated")), (State::Warn, true));
        let few = found(SECOND, own, "cpu", dir);
        assert!(few.found.ends_with("without memory and pids"), "{few:?}");
    }

    #[test]
    fn version_1_is_taken_where_it_is_ours_and_version_2_controls_nothing() {
        let own = "5:pids:/\n4:memory:/a/b\n0::/";
        let both = format!("{FIRST}\n{SECOND}");
        let ours = found(&both, own, "", "/one");
        assert_eq!((ours.state, ours.found.as_str()), (State::Warn, "version 1, memory and pids"));
        assert!(found(FIRST, own, "", "/none").found.starts_with("version 1, and"));
        assert_eq!(found("", own, "", "/").found, "none");
    }
}
