//! The shell around the core: processes, links, sockets, signals and time. One thread, one owner
//! of the core ([`hub`]), and tasks that never hold it across a wait.

mod apps;
mod cgroup;
mod clock;
mod code;
mod control;
mod effects;
mod files;
mod hub;
mod notify;
mod peer;
mod pressure;
mod ready;
mod reload;
mod signals;
mod sockets;
mod spawn;
mod store;
mod verify;
mod watch;
mod workers;

use crate::config::Config;
use crate::identity::{Identity, random_bytes};
use crate::limits::{CGROUP_REMOVE_AFTER, KILLED_WITHIN, LAST_WORDS_WITHIN, STOP_WITHIN};
use crate::paths::Paths;
use crate::store::Kept;
pub(crate) use cgroup::Bounds;
pub(crate) use reload::Source;
pub(crate) use sockets::Passed;

use cgroup::{Cgroups, clear_left_overs};
use clock::Clock;
use hub::{Hub, Parts, Shared};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use peer::Gate;
use pressure::Gauges;
use protocol::sys::{adopt, set_cloexec};
use reload::{Fixed, reload};
use runtime_core::{Input, Secret, Settings};
use signals::{Signals, Told};
use sockets::Sockets;
use spawn::{Image, Process, Spawner};
use std::io;
use std::os::fd::{IntoRawFd as _, RawFd};
use std::rc::Rc;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// What the shell starts with.
#[derive(Debug)]
pub(crate) struct Start {
    /// The configuration that was read.
    pub(crate) config: Config,
    /// From where, to read it again.
    pub(crate) source: Source,
    /// Sockets of the service manager.
    pub(crate) passed: Passed,
    /// What was kept.
    pub(crate) kept: Kept,
}

/// Takes from this process what it will not need, before anything else is started: descriptors
/// that it happened to inherit are kept from its children, its memory from debuggers, and no
/// program that it starts can gain privileges.
pub(crate) fn confine_self() {
    let inherited = std::fs::read_dir("/proc/self/fd")
        .map(|entries| {
            let numbers =
                entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            numbers.filter(|fd| *fd > 2).collect::<Vec<RawFd>>()
        })
        .unwrap_or_default();
    for fd in inherited.into_iter().map(adopt) {
        // The listing itself is among them and closed by now.
        if let Err(error) = set_cloexec(&fd, true) {
            tracing::trace!(%error, "a descriptor is gone");
        }
        let _kept: RawFd = fd.into_raw_fd();
    }
    let results = [
        ("no_new_privs", prctl::set_no_new_privs()),
        ("dumpable", prctl::set_dumpable(false)),
        ("descriptors", raise_descriptors()),
    ];
    for (what, result) in results {
        if let Err(error) = result {
            tracing::warn!(what, %error, "could not be set");
        }
    }
}

/// Links, pidfds and pipes of many sandboxes need more than the usual soft limit.
fn raise_descriptors() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 20), hard)
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It cannot start.
pub(crate) fn run(start: Start, paths: &Paths, identity: &Identity) -> io::Result<()> {
    let Start { config, source, passed, kept } = start;
    let fixed = Fixed::of(&config);
    let image = Image::load()?;
    // Before there is any other process: it would be in the way of a cgroup that is divided.
    let cgroups = Cgroups::find();
    tracing::info!("sandboxes are held by {}", cgroups.rung());
    // While this is the only thread.
    let first = Process::start(&image)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let own = nix::unistd::geteuid();
        let uid_base = own.is_root().then_some(config.uid_base);
        let spawner = Spawner::new(image, first, uid_base, (cgroups, config.bounds))?;
        let clock = Clock::start();
        let settings = Settings {
            runtime_url: identity.url(&config.settings.domain),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uid: own.as_raw(),
            epoch_ms: clock.epoch_ms(),
            seed: u64::from_le_bytes(random_bytes()?),
            secret: Secret::new(random_bytes()?),
            ..config.settings
        };
        let gate = Gate::new(own.as_raw(), uid_base);
        let hub = Hub::new(Parts { settings, clock, gate, spawner });
        serve(hub, paths, (passed, kept), |hub| reload(hub, &source, &fixed)).await
    })
}

async fn serve(
    hub: Shared,
    paths: &Paths,
    (passed, kept): (Passed, Kept),
    reload: impl Fn(&Shared),
) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    store::start(&hub, kept);
    let sockets = Sockets::open(passed, paths)?;
    let (control, bus) = (Rc::new(sockets.control), Rc::new(sockets.bus));
    let weak = Rc::downgrade(&hub);
    let gauges = Gauges::open(hub.borrow().spawner.cgroups.whole());
    let tasks = [
        tokio::task::spawn_local(pressure::watch(weak.clone(), gauges)),
        tokio::task::spawn_local(clock::watch(weak.clone())),
        tokio::task::spawn_local(spawn::listen(weak.clone())),
        tokio::task::spawn_local(workers::acknowledge_in_time(weak.clone())),
        tokio::task::spawn_local(hub::keep_time(weak.clone())),
        tokio::task::spawn_local(sockets::accept_operators(weak.clone(), Rc::clone(&control))),
        tokio::task::spawn_local(sockets::accept_apps(weak.clone(), Rc::clone(&bus))),
    ];
    clear_left_overs(&hub.borrow().spawner.cgroups);
    hub.borrow_mut().turn(Input::Tick);
    let runtime = hub.borrow().runtime_url.clone();
    notify::ready(&runtime);
    tracing::info!(runtime, bus = %paths.bus_socket().display(), "ready");
    while signals.next().await == Told::Reload {
        reload(&hub);
    }
    notify::stopping();
    tracing::info!("stopping");
    let ended = Rc::clone(&hub.borrow().ended);
    hub.borrow_mut().turn(Input::Stop);
    tokio::select! {
        () = stopped(&hub, &ended) => {}
        () = tokio::time::sleep(STOP_WITHIN) => tracing::warn!("the stop took too long"),
        () = signals.told_to_stop() => tracing::warn!("told twice to stop"),
    }
    end(&hub).await;
    store::end(&hub).await;
    for task in tasks {
        task.abort();
    }
    drop((control, bus));
    tracing::info!("stopped");
    Ok(())
}

async fn stopped(hub: &Shared, ended: &tokio::sync::Notify) {
    while !hub.borrow().stopped {
        ended.notified().await;
    }
}

/// Applications get what waits for them; whatever process is left is killed and waited for.
async fn end(hub: &Shared) {
    let ended = {
        let mut hub = hub.borrow_mut();
        hub.stopped = true;
        hub.close_apps();
        for worker in hub.workers.values() {
            worker.signal(nix::libc::SIGKILL);
        }
        hub.spawner.end();
        Rc::clone(&hub.ended)
    };
    let workers_gone = async {
        while !hub.borrow().workers.is_empty() {
            ended.notified().await;
        }
    };
    let apps_served = async {
        while !hub.borrow().apps.is_empty() {
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    // A service manager that finds a process after ours waits for it in vain.
    let spawner_gone = async {
        while !hub.borrow_mut().spawner.has_ended() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let _late = tokio::join!(
        tokio::time::timeout(KILLED_WITHIN, async { tokio::join!(workers_gone, spawner_gone) }),
        tokio::time::timeout(LAST_WORDS_WITHIN, apps_served),
    );
    let rooms_gone = async {
        while !hub.borrow().spawner.cgroups.remove() {
            tokio::time::sleep(CGROUP_REMOVE_AFTER).await;
        }
    };
    if tokio::time::timeout(KILLED_WITHIN, rooms_gone).await.is_err() {
        tracing::warn!("cgroups are left; the next start removes them");
    }
}
