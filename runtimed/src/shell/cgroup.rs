//! Limits that the kernel holds for each sandbox, as far as this machine and our rights go:
//!
//! ```text
//! version 2, our subtree delegated    born into its cgroup (clone3), limits in force from the start
//! version 1, directories writable     moved into it: the kernel takes some 10 ms for that, so a
//!                                     thread does it while the worker closes its jail
//! neither                             resource limits and the engine's own; the reason is reported
//! ```
//!
//! Nothing depends on them: what a sandbox has is measured by membership and reported with it.

mod find;
mod holding;
mod room;
#[cfg(test)]
mod tests;

use crate::limits::NET_MEMORY_BYTES;
use find::{Place, Version, places};
use room::{Room, bound, remove_dir, sweep, write};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(super) use holding::{Held, clear_left_overs, hold, remove};

/// What one sandbox may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Descriptors.
    pub(crate) open_files: u32,
    /// Processes and threads.
    pub(crate) processes: u32,
    /// Bytes of memory, with everything that the kernel holds for it.
    pub(crate) memory_bytes: u64,
    /// Hundredths of one processor, if bounded.
    pub(crate) cpu_percent: Option<u32>,
}

impl Bounds {
    /// For our own role, which all sandboxes share: its processor time is theirs together.
    pub(super) fn of_net(self) -> Self {
        let memory_bytes = self.memory_bytes.max(NET_MEMORY_BYTES);
        Self { memory_bytes, cpu_percent: None, ..self }
    }

    const fn wants(&self, controller: Controller) -> bool {
        !matches!(controller, Controller::Cpu) || self.cpu_percent.is_some()
    }
}

/// What a cgroup can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.name() == name)
    }

    const fn layer(self) -> &'static str {
        match self {
            Self::Memory => "cgroup-memory",
            Self::Pids => "cgroup-pids",
            Self::Cpu => "cgroup-cpu",
        }
    }
}

/// The rung of the ladder that was reached when the daemon started.
#[derive(Debug)]
pub(super) struct Cgroups {
    rooms: Vec<Rc<Room>>,
    /// Where left-overs may be.
    places: Vec<Place>,
    why_none: String,
    /// Our whole cgroup of version 2, delegated or not.
    whole: Option<PathBuf>,
}

impl Cgroups {
    /// Looks for the best rung. With version 2 this process moves aside, because a cgroup that is
    /// divided holds no processes itself: so before any other process is started.
    pub(super) fn find() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let places = places(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let whole = places.iter().find(|place| place.version == Version::V2);
        let whole = whole.map(|place| own(place).to_owned());
        Self { whole, ..Self::among(places) }
    }

    /// None at all, and why.
    pub(super) fn none(why: &str) -> Self {
        Self { rooms: Vec::new(), places: Vec::new(), why_none: why.to_owned(), whole: None }
    }

    fn among(places: Vec<Place>) -> Self {
        let mut cgroups = Self::none("this machine has no cgroups");
        let (second, first): (Vec<_>, Vec<_>) =
            places.into_iter().partition(|place| place.version == Version::V2);
        for place in second {
            match divide(&place) {
                Ok((room, place)) => {
                    cgroups.rooms.push(Rc::new(room));
                    cgroups.places.push(place);
                    return cgroups;
                }
                Err(error) => cgroups.why_none = format!("version 2: {error}"),
            }
        }
        for place in first {
            let controls = place.controllers.first().map_or("", |c| c.name());
            match Room::take(place.clone()) {
                Ok(room) => {
                    cgroups.rooms.push(Rc::new(room));
                    cgroups.places.push(place);
                }
                Err(error) => cgroups.why_none = format!("version 1, {controls}: {error}"),
            }
        }
        cgroups
    }

    /// One sentence for the log.
    pub(super) fn rung(&self) -> String {
        let names: Vec<_> = self
            .rooms
            .iter()
            .flat_map(|room| room.controllers.iter().map(|controller| controller.name()))
            .collect();
        match self.rooms.first().map(|room| room.version) {
            Some(Version::V2) => format!("cgroup version 2: {}", names.join(" ")),
            Some(Version::V1) => format!("cgroup version 1: {}", names.join(" ")),
            None => format!("resource limits only ({})", self.why_none),
        }
    }

    /// Our whole cgroup of version 2: what the kernel counts there is ours and our sandboxes'.
    pub(super) fn whole(&self) -> Option<&Path> {
        self.whole.as_deref()
    }

    /// Why sandboxes have none, if so.
    pub(super) fn why_none(&self) -> Option<&str> {
        self.rooms.is_empty().then_some(self.why_none.as_str())
    }

    /// A key of the configuration that only a cgroup could put in force.
    pub(super) fn without_effect(&self, bounds: &Bounds) -> Option<&'static str> {
        let missing = |c| !self.rooms.iter().any(|room| room.controllers.contains(&c));
        (bounds.cpu_percent.is_some() && missing(Controller::Cpu)).then_some("sandbox.cpu")
    }

    /// Whether a sandbox can be born into its cgroup.
    pub(super) fn takes_births(&self) -> bool {
        self.rooms.first().is_some_and(|room| room.version == Version::V2)
    }

    /// A cgroup for one sandbox, not made yet.
    pub(super) fn plan(&self, sandbox: u32, bounds: &Bounds) -> Vec<Planned> {
        let planned = |room: &Rc<Room>| Planned {
            version: room.version,
            controllers: room.controllers.iter().copied().filter(|c| bounds.wants(*c)).collect(),
            dir: room.dir.join(sandbox.to_string()),
        };
        let planned = self.rooms.iter().map(planned);
        planned.filter(|part| !part.controllers.is_empty()).collect()
    }

    /// Removes our rooms; the sandboxes are gone.
    pub(super) fn remove(&self) -> bool {
        self.rooms.iter().all(|room| room.remove().is_ok())
    }
}

/// The part of a divided cgroup that the daemon itself is in.
const ASIDE: &str = "supervisor";

/// The whole cgroup, if this process is in a part of it already.
fn own(place: &Place) -> &Path {
    let whole = place.dir.ends_with(ASIDE).then(|| place.dir.parent());
    whole.flatten().unwrap_or(&place.dir)
}

/// A cgroup of version 2 that is divided: this process moves into a part of its own.
fn divide(place: &Place) -> io::Result<(Room, Place)> {
    let aside_already = place.dir.ends_with(ASIDE);
    let own = own(place).to_owned();
    let offered = fs::read_to_string(own.join("cgroup.controllers"))?;
    let controllers: Vec<_> =
        offered.split_ascii_whitespace().filter_map(Controller::from_name).collect();
    if !controllers.contains(&Controller::Memory) && !controllers.contains(&Controller::Pids) {
        return Err(io::Error::other("neither memory nor pids is delegated to us"));
    }
    let place = Place { version: Version::V2, controllers, dir: own.clone() };
    let room = Room::take(place.clone())?;
    let aside = own.join(ASIDE);
    let me = std::process::id().to_string();
    let moved = !aside_already;
    let divided = (|| {
        if moved {
            match fs::create_dir(&aside) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => write(&aside.join("cgroup.procs"), &me)?,
            }
        }
        offer(&own, &room.controllers)?;
        offer(&room.dir, &room.controllers)
    })();
    if let Err(error) = divided {
        // As it was before: the cgroup is not ours alone.
        if moved {
            drop(write(&own.join("cgroup.procs"), &me));
            drop(remove_dir(&aside));
        }
        drop(room.remove());
        return Err(error);
    }
    Ok((room, place))
}

/// Lets the children of a cgroup be controlled.
fn offer(dir: &Path, controllers: &[Controller]) -> io::Result<()> {
    let words: Vec<_> = controllers.iter().map(|c| format!("+{}", c.name())).collect();
    write(&dir.join("cgroup.subtree_control"), &words.join(" "))
}

/// One directory of a sandbox's cgroup.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    version: Version,
    controllers: Vec<Controller>,
    dir: PathBuf,
}

/// The cgroup of one sandbox, in one or several trees.
#[derive(Debug)]
pub(super) struct Cgroup {
    parts: Vec<Planned>,
}

impl Cgroup {
    /// Makes it and sets its limits. Whatever was made is removed again when one of them fails.
    pub(super) fn make(parts: Vec<Planned>, bounds: &Bounds) -> io::Result<Self> {
        let cgroup = Self { parts };
        let made = cgroup.parts.iter().try_for_each(|part| {
            fs::create_dir(&part.dir)?;
            let each = part.controllers.iter();
            each.copied().try_for_each(|c| bound(&part.dir, part.version, c, bounds))
        });
        match made {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                drop(cgroup.remove());
                Err(error)
            }
        }
    }

    /// What a process is born into.
    pub(super) fn birthplace(&self) -> io::Result<OwnedFd> {
        let part = self.parts.first().ok_or(io::ErrorKind::NotFound)?;
        File::open(&part.dir).map(OwnedFd::from)
    }

    /// Moves a process into it. The caller holds the process: its number is nobody else's.
    pub(super) fn take_in(&self, pid: i32) -> io::Result<()> {
        self.parts
            .iter()
            .try_for_each(|part| write(&part.dir.join("cgroup.procs"), &pid.to_string()))
    }

    /// The layers in force, if the kernel says that the process is in every part of it.
    pub(super) fn holds(&self, pid: i32) -> io::Result<Vec<String>> {
        let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mut layers = Vec::new();
        for part in &self.parts {
            let mut last = part.dir.components().rev();
            let (own, room) = (last.next(), last.next());
            let inside = memberships.lines().any(|line| {
                let mut path = Path::new(line).components().rev();
                (path.next(), path.next()) == (own, room)
            });
            if !inside {
                return Err(io::Error::other(format!("it is not in {}", part.dir.display())));
            }
            layers.extend(part.controllers.iter().map(|c| c.layer().to_owned()));
        }
        Ok(layers)
    }

    /// Whether the kernel killed somebody in it for want of memory.
    pub(super) fn was_out_of_memory(&self) -> bool {
        let part = self.parts.iter().find(|part| part.controllers.contains(&Controller::Memory));
        let Some(part) = part else { return false };
        let file = match part.version {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        let text = fs::read_to_string(part.dir.join(file)).unwrap_or_default();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|kills| kills.trim().parse::<u64>().ok()).is_some_and(|kills| kills > 0)
    }

    /// Removes it.
    pub(super) fn remove(&self) -> io::Result<()> {
        let removed: Vec<_> = self.parts.iter().map(|part| remove_dir(&part.dir)).collect();
        removed.into_iter().collect()
    }
}
