//! A test that cannot run on this machine says so: on stderr, and in the file in which `.ci/run`
//! counts them. Other crates of the workspace include this file as a module of their own tests.

use std::fs::OpenOptions;
use std::io::{Write as _, stderr};

/// Names the file to which each skip is appended. It must exist: whoever counts has made it, and
/// for whom it may be written to.
pub const VARIABLE: &str = "RUNTIMED_SKIPS";

/// Says that the test of this thread, or a part of it, does not run here, and why.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("skipped {test}: {reason}\n");
    // Not by a macro, whose output is only shown of tests that fail.
    let told = stderr().write_all(line.as_bytes());
    let counted = std::env::var_os(VARIABLE).map(|path| {
        let mut file = OpenOptions::new().append(true).open(path)?;
        // In one call, so that lines of several processes do not mix.
        file.write_all(line.as_bytes())
    });
    for result in [Some(told), counted].into_iter().flatten() {
        assert!(result.is_ok(), "a skip that cannot be told is none: {result:?}");
    }
}
