//! Cold starts: from the operator's word to `active`, catalogue and all; and from the kill of a
//! stub to the next one active, whose code is here already.

use crate::control::{self, Asked};
use crate::figures::{Row, Run, median, micros, print_head, short};
use crate::reference::Reference;
use crate::worlds::{PING, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use system_tests::wait_for;

/// Starts of each kind in one round.
const STARTS: usize = 10;

/// The moments of one start after a kill, counted from the kill.
#[derive(Debug, Clone, Copy)]
struct Moments {
    exited: Duration,
    started: Duration,
    sandbox: Duration,
    active: Duration,
}

/// Measures and prints.
pub(crate) fn run(reference: &Reference, rounds: usize) {
    let world = World::javascript(&[PING.to_owned()]);
    let mut deploys = Row::new("deploy of a `file://` stub → active (two sandboxes)", "");
    let mut again = Row::new("kill -9 → the next one active", "≤ 2 × start");
    let mut sandbox = Row::new("start of its sandbox: wanted → verified and ready", "≤ 1.3 static");
    let mut noticed = Row::new("kill -9 → event `exited`", "≤ 6");
    let (mut all_deploys, mut all_moments) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = reference.starts(STARTS);
        let deployed: Vec<Duration> = (0..STARTS).map(|_| deploy(&world)).collect();
        let moments = kills(&world);
        let after = reference.starts(STARTS);
        if let (Some((before, eof_before)), Some((after, eof_after))) = (before, after) {
            let of = |pick: fn(&Moments) -> Duration| Run::of(moments.iter().map(pick).collect());
            deploys.add(before, Run::of(deployed.clone()), after);
            again.add(before, of(|m| m.active), after);
            sandbox.add(before, of(|m| m.sandbox.saturating_sub(m.started)), after);
            let eof = |at: f64| Run { middle: at, high: f64::NAN };
            noticed.add(eof(eof_before), of(|m| m.exited), eof(eof_after));
        }
        all_deploys.extend(deployed);
        all_moments.extend(moments);
    }
    if matches!(reference, Reference::Kit(_)) {
        print_head("Starts beside the kit's confined QuickJS worker (less is better)", "µs");
        [deploys, again, sandbox, noticed].iter().for_each(Row::print);
        println!();
    }
    print_times(&all_deploys, &all_moments);
}

fn print_times(deploys: &[Duration], moments: &[Moments]) {
    let of = |pick: fn(&Moments) -> Duration| {
        short(median(&moments.iter().map(|m| micros(pick(m))).collect::<Vec<_>>()))
    };
    let deploy = median(&deploys.iter().copied().map(micros).collect::<Vec<_>>());
    println!(
        "Starts in µs, medians of {} each, by the daemon's events as they arrive\n",
        deploys.len()
    );
    println!("| deploy → active | kill → exited | → deploy-started | → sandbox | → active |");
    println!("|---|---|---|---|---|");
    println!(
        "| {} | {} | {} | {} | {} |\n",
        short(deploy),
        of(|m| m.exited),
        of(|m| m.started),
        of(|m| m.sandbox),
        of(|m| m.active),
    );
}

fn deploy(world: &World) -> Duration {
    let begun = Instant::now();
    control::deploy(world.root(), PING);
    let took = begun.elapsed();
    control::undeploy(world.root(), PING);
    took
}

fn kills(world: &World) -> Vec<Moments> {
    control::deploy(world.root(), PING);
    let mut events = control::follow(world.root());
    let moments = (0..STARTS).map(|_| kill_once(world, &mut events)).collect();
    drop(events);
    control::undeploy(world.root(), PING);
    moments
}

fn kill_once(world: &World, events: &mut Asked) -> Moments {
    let pid = wait_for("the stub is active", || {
        let row = control::row(world.root(), PING)?;
        row.pid.filter(|_| row.state == "active")
    });
    // The window in which exits are counted has passed: the restart comes at once.
    std::thread::park_timeout(Duration::from_millis(15));
    let begun = Instant::now();
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the stub lives");
    let mut until = |event: &str, detail: &str| {
        loop {
            let row = events.event().expect("the stream goes on");
            if row.event == event && row.name == PING && row.detail.starts_with(detail) {
                return begun.elapsed();
            }
        }
    };
    Moments {
        exited: until("exited", ""),
        started: until("deploy-started", ""),
        sandbox: until("deploy-stage", "sandbox"),
        active: until("deploy-stage", "listener"),
    }
}
