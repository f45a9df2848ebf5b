//! A worker that does wrong on demand: jailed, verified and linked as any other, and then, at the
//! stage that its plan names or when a message says so, it dies, stalls or breaks the link.
//!
//! It stands where the daemon looks for `sandbox-worker`. Whatever it does not play is the real
//! program's. Its plan is written behind the end of the program by `system_tests::chaos::worker`.

mod link;
mod plan;

use link::Worker;
use plan::{Plan, Stage};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = Plan::read();
    let role = plan.role;
    let is_meant = arguments.iter().any(|argument| argument == role.name());
    if !is_meant || !plan.take_turn() {
        let error = Command::new(&plan.real).arg0("sandbox-worker").args(&arguments).exec();
        eprintln!("the real worker does not start: {error}");
        return ExitCode::FAILURE;
    }
    let mut worker = Worker::new(plan);
    worker.reach(Stage::Born);
    let confinement = match jail::confine(role.profile()) {
        Ok(confinement) => confinement,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    worker.confined(confinement);
    worker.reach(Stage::Confined);
    worker.hello();
    worker.reach(Stage::Hello);
    while worker.turn() {}
    worker.status()
}
