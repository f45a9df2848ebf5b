//! Where the cgroups of this process are, by what the kernel lists of mounts and memberships.

use super::Controller;
use std::path::{Path, PathBuf};

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// One tree for each controller.
    V1,
    /// One tree for all.
    V2,
}

/// The directory of the cgroup that this process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    /// What it controls; the one of version 2 says so itself, in a file.
    pub(super) controllers: Vec<Controller>,
    pub(super) dir: PathBuf,
}

/// All of them, by the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn places(mounts: &str, own: &str) -> Vec<Place> {
    mounts.lines().filter_map(|line| place(line, own)).collect()
}

fn place(mount: &str, own: &str) -> Option<Place> {
    // id parent major:minor root place options … - type source options
    let (left, right) = mount.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, at) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, options) = (right.next()?, right.nth(1)?);
    let (version, controllers) = match kind {
        "cgroup2" => (Version::V2, Vec::new()),
        "cgroup" => {
            let found: Vec<_> = options.split(',').filter_map(Controller::from_name).collect();
            if found.is_empty() {
                return None;
            }
            (Version::V1, found)
        }
        _ => return None,
    };
    let path = own.lines().find_map(|line| membership(line, &controllers))?;
    let below = Path::new(path).strip_prefix(root).ok()?;
    // An escaped name of a mount is nobody's, and a cgroup outside of ours is not ours to divide.
    let strange = at.contains('\\') || path.contains("/..");
    (!strange).then(|| Place { version, controllers, dir: Path::new(at).join(below) })
}

/// The path of `/proc/self/cgroup`'s line, if it is of these controllers.
fn membership<'a>(line: &'a str, controllers: &[Controller]) -> Option<&'a str> {
    let mut fields = line.splitn(3, ':');
    let (_number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
    let same = match controllers.first() {
        Some(first) => names.split(',').any(|name| Controller::from_name(name) == Some(*first)),
        None => names.is_empty(),
    };
    same.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::{Controller, Place, Version, places};
    use std::path::PathBuf;

    fn dirs(mounts: &str, own: &str) -> Vec<(Version, String)> {
        let shown = |place: Place| (place.version, place.dir.display().to_string());
        places(mounts, own).into_iter().map(shown).collect()
    }

    #[test]
    fn the_one_tree_of_version_2_is_found() {
        let mounts = "25 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
                      26 23 0:5 / /dev rw - devtmpfs udev rw\n";
        let own = "0::/system.slice/runtimed.service\n";
        let dir = "/sys/fs/cgroup/system.slice/runtimed.service".to_owned();
        assert_eq!(dirs(mounts, own), [(Version::V2, dir)]);
    }

    #[test]
    fn the_trees_of_version_1_that_control_something_of_ours_are_found_with_their_own_paths() {
        let mounts = "32 31 0:29 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n\
                      37 31 0:34 / /cg/freezer rw - cgroup cgroup rw,freezer\n\
                      39 31 0:36 / /cg/pids rw - cgroup cgroup rw,pids\n";
        let own = "8:pids:/\n6:freezer:/\n4:memory:/box/1\n1:cpu,cpuacct:/x:y\n";
        let found = places(mounts, own);
        let of = |controller, dir: &str| Place {
            version: Version::V1,
            controllers: vec![controller],
            dir: PathBuf::from(dir),
        };
        assert_eq!(
            found,
            [
                of(Controller::Cpu, "/cg/cpu,cpuacct/x:y"),
                of(Controller::Memory, "/cg/memory/box/1"),
                of(Controller::Pids, "/cg/pids/"),
            ]
        );
    }

    #[test]
    fn a_tree_that_is_mounted_from_a_part_on_is_entered_there_and_nothing_outside_of_it() {
        let mount = "35 31 0:32 /box /cg/memory rw - cgroup cgroup rw,memory\n";
        let at = |path: &str| dirs(mount, &format!("4:memory:{path}\n"));
        assert_eq!(at("/box/1"), [(Version::V1, "/cg/memory/1".to_owned())]);
        assert_eq!(at("/other"), []);
        assert_eq!(at("/box/../x"), []);
        assert_eq!(dirs(mount, "4:pids:/box\n"), []);
        assert_eq!(dirs("nonsense\n1 2 - cgroup\n", "0::/\n"), []);
    }
}
