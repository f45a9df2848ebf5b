//! The cgroups of living workers: put there, looked at, removed again.

use super::super::hub::{Hub, WeakHub};
use super::{Bounds, Cgroup, Cgroups, Place, sweep};
use crate::limits::{CGROUP_REMOVALS_MAX, CGROUP_REMOVE_AFTER};
use runtime_core::{Input, LinkId};
use std::io;
use std::os::fd::OwnedFd;

/// What is known of a worker's cgroup.
#[derive(Debug)]
pub(in super::super) enum Held {
    /// It is made, and the process was born into it, if the kernel took it.
    Born(Cgroup),
    /// It is still to be made.
    Later(Vec<super::Planned>, Bounds),
    /// There is none, and why.
    Not(String),
}

impl Held {
    /// Prepares the cgroup of a sandbox that is about to be born.
    pub(in super::super) fn prepare(cgroups: &Cgroups, sandbox: u32, bounds: Bounds) -> Self {
        if let Some(why) = cgroups.why_none() {
            return Self::Not(why.to_owned());
        }
        let plan = cgroups.plan(sandbox, &bounds);
        if !cgroups.takes_births() {
            return Self::Later(plan, bounds);
        }
        match Cgroup::make(plan, &bounds) {
            Ok(cgroup) => Self::Born(cgroup),
            Err(error) => Self::Not(error.to_string()),
        }
    }

    /// The directory that the process is to be born into.
    pub(in super::super) fn birthplace(&self) -> Option<OwnedFd> {
        match self {
            Self::Born(cgroup) => cgroup.birthplace().ok(),
            Self::Later(..) | Self::Not(_) => None,
        }
    }

    /// Nobody was born: what was made is removed.
    pub(in super::super) fn abandon(self) {
        if let Self::Born(cgroup) = self {
            tokio::task::spawn_local(remove(cgroup));
        }
    }
}

/// Puts the worker where it belongs, if it is not there already, and says how that went. The
/// process is not waited for before this has ended: its number must stay its own.
pub(in super::super) async fn hold(hub: WeakHub, link: LinkId, pid: i32, held: Held) {
    let (cgroup, outcome) = match held {
        Held::Not(why) => (None, Err(why)),
        Held::Born(cgroup) => {
            let outcome = cgroup.holds(pid).map_err(|error| error.to_string());
            (Some(cgroup), outcome)
        }
        Held::Later(plan, bounds) => {
            let moved = tokio::task::spawn_blocking(move || move_in(plan, &bounds, pid)).await;
            match moved {
                Ok(Ok((cgroup, outcome))) => (Some(cgroup), outcome.map_err(|e| e.to_string())),
                Ok(Err(error)) => (None, Err(error.to_string())),
                Err(error) => (None, Err(error.to_string())),
            }
        }
    };
    let Some(hub) = hub.upgrade() else { return };
    hub.borrow_mut().held(link, cgroup, outcome);
}

type Moved = (Cgroup, io::Result<Vec<String>>);

fn move_in(plan: Vec<super::Planned>, bounds: &Bounds, pid: i32) -> io::Result<Moved> {
    let cgroup = Cgroup::make(plan, bounds)?;
    let outcome = cgroup.take_in(pid).and_then(|()| cgroup.holds(pid));
    Ok((cgroup, outcome))
}

impl Hub {
    fn held(&mut self, link: LinkId, cgroup: Option<Cgroup>, outcome: Result<Vec<String>, String>) {
        let Some(worker) = self.workers.get_mut(&link) else {
            if let Some(cgroup) = cgroup {
                tokio::task::spawn_local(remove(cgroup));
            }
            return;
        };
        worker.cgroup = cgroup;
        let sandbox = worker.sandbox;
        self.turn(Input::Limited { sandbox, outcome });
    }
}

/// Removes the cgroup of a worker that is gone. The kernel may hold it for a moment still.
pub(in super::super) async fn remove(cgroup: Cgroup) {
    let mut cgroup = cgroup;
    for attempt in 0..CGROUP_REMOVALS_MAX {
        let removed = tokio::task::spawn_blocking(move || {
            let removed = cgroup.remove();
            (cgroup, removed)
        });
        let Ok((again, removed)) = removed.await else { return };
        match removed {
            Ok(()) => return,
            Err(error) => tracing::debug!(attempt, %error, "a cgroup is still in use"),
        }
        cgroup = again;
        tokio::time::sleep(CGROUP_REMOVE_AFTER.saturating_mul(1 << attempt)).await;
    }
    tracing::warn!(?cgroup, "a cgroup cannot be removed; the next start tries again");
}

/// Removes what daemons that died left behind, on a thread of its own: the kernel may take its time.
pub(in super::super) fn clear_left_overs(cgroups: &Cgroups) {
    tokio::task::spawn_local(clear(cgroups.places.clone()));
}

async fn clear(mut places: Vec<Place>) {
    for attempt in 0..CGROUP_REMOVALS_MAX {
        let swept = tokio::task::spawn_blocking(move || {
            let left: usize = places.iter().map(sweep).sum();
            (places, left)
        });
        let Ok((again, left)) = swept.await else { return };
        if left == 0 {
            return;
        }
        places = again;
        tokio::time::sleep(CGROUP_REMOVE_AFTER.saturating_mul(1 << attempt)).await;
    }
    tracing::warn!("cgroups of a daemon that is gone cannot be removed");
}
