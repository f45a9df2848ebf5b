//! Deploys and undeploys of one domain that cross each other.

use super::world::{FETCH, STUB, Step, World};
use protocol::control::{Command, Reply};
use protocol::ctl::Role;

const NAME: &str = "example.com";
const STEPS: [Step; 10] = [
    Step::Spawn(STUB),
    Step::Spawn(FETCH),
    Step::Confine(STUB),
    Step::Verify,
    Step::Hello,
    Step::Fetch,
    Step::Source,
    Step::Load,
    Step::Activate,
    Step::Remove,
];

/// The last order of an operator that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Deploy,
    Undeploy,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn deploy(world: &mut World) -> bool {
    let command = Command::Deploy { target: NAME.to_owned(), wait: false, live: false };
    matches!(world.ask(command), Reply::Deployed(_))
}

fn undeploy(world: &mut World) -> bool {
    // Answered when it is gone, or at once if it is not accepted.
    let token = world.operator(Command::Undeploy { name: NAME.to_owned() });
    !matches!(world.replies(token)[..], [Reply::Denied { .. }])
}

fn states(world: &mut World) -> Vec<String> {
    let Reply::Ps(rows) = world.ask(Command::Ps { all: false }) else { panic!("no rows") };
    rows.into_iter().map(|row| row.state).collect()
}

fn race(seed: u64) {
    let (mut world, mut random) = (World::new(), Random(seed));
    let mut last = Last::Undeploy;
    for _ in 0..30 {
        match random.below(5) {
            0 | 1 if deploy(&mut world) => last = Last::Deploy,
            2 if undeploy(&mut world) => last = Last::Undeploy,
            // The world stands still at another step, or at none.
            3 => world.held = STEPS.into_iter().filter(|_| random.below(8) == 0).collect(),
            _ => world.pass(random.below(3_000).try_into().unwrap()),
        }
        let stubs = world.of(Role::Stub).len();
        assert!(stubs <= 2, "seed {seed}: {stubs} stubs of one domain, one of them ending at most");
    }
    world.held.clear();
    world.pass(20_000);
    let found = states(&mut world);
    match last {
        Last::Undeploy => assert!(found.is_empty(), "seed {seed}: undeployed, but {found:?}"),
        Last::Deploy => {
            let [state] = &found[..] else { panic!("seed {seed}: deployed, but {found:?}") };
            assert!(["active", "failed"].contains(&state.as_str()), "seed {seed}: {state}");
            // Where a step took too long, the next try takes none.
            assert!(deploy(&mut world), "seed {seed}");
            assert_eq!(states(&mut world), ["active"], "seed {seed}");
        }
    }
    let stubs = usize::from(last == Last::Deploy);
    assert_eq!((world.of(Role::Stub).len(), world.of(Role::Fetch).len()), (stubs, 0), "{seed}");
    assert_eq!(world.codes.len(), stubs, "seed {seed}: code is held that nobody runs");
}

#[test]
fn fault_054_however_deploys_and_undeploys_race_the_last_accepted_order_holds() {
    for seed in 0..300 {
        race(seed);
    }
}
