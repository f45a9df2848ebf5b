//! The probe role: what sandboxes would be on this machine, for `runtimectl doctor`. It needs no
//! daemon, tries one sandbox for real, looks at what it is made of, and prints one JSON array.

mod trial;

use jail::survey::{Finding, State, Whom, survey};
use nix::unistd::{Pid, Uid, geteuid};
use protocol::ctl::Level;
use protocol::exit;
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use trial::Tried;

/// Prints what was found, for the process `pid` if there is one, and for a `minimum` level.
pub(crate) fn run(pid: Option<i32>, minimum: Level) -> ExitCode {
    let uid = pid.and_then(owner).unwrap_or_else(geteuid);
    let tried = trial::run();
    let namespaces = tried.as_ref().is_ok_and(|tried| tried.namespaces);
    let mut found = vec![worker()];
    let survey = survey(&Whom { pid, uid: uid.as_raw(), namespaces });
    found.extend(survey.findings);
    // Its host id and its cgroup are for the daemon to look at, who gives them to it.
    let more = uid.is_root() && survey.cgroups;
    found.push(sandbox(&tried, more, minimum));
    let rows: Vec<Value> = found.iter().map(row).collect();
    match writeln!(std::io::stdout(), "{}", Value::Array(rows)) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            crate::log(&format!("probe: nobody reads: {error}"));
            ExitCode::from(exit::FAILED)
        }
    }
}

fn owner(pid: i32) -> Option<Uid> {
    let process = std::fs::metadata(format!("/proc/{}", Pid::from_raw(pid))).ok()?;
    Some(Uid::from_raw(process.uid()))
}

fn row(finding: &Finding) -> Value {
    json!({
        "check": finding.check, "state": finding.state.name(), "found": finding.found,
        "cost": finding.cost, "mend": finding.mend,
    })
}

/// This program.
fn worker() -> Finding {
    let version = env!("CARGO_PKG_VERSION");
    let linked = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    if cfg!(debug_assertions) {
        let cost = "everything takes several times as long";
        let mend = "cargo build --release";
        return Finding::lack("worker", State::Warn, format!("{version}, debug"), cost, mend);
    }
    let found = format!("{version}, {linked}");
    if linked == "static" {
        return Finding::ok("worker", found);
    }
    let cost = "each sandbox starts later and takes more memory than with a static one";
    let mend = "cargo rustc --release -p sandbox-worker --bin sandbox-worker -- -C \
                target-feature=+crt-static";
    Finding::lack("worker", State::Warn, found, cost, mend)
}

/// What the sandbox came to that was tried, and would come to with `more`: a host id and a cgroup of
/// its own.
fn sandbox(tried: &Result<Tried, String>, more: bool, minimum: Level) -> Finding {
    const CHECK: &str = "sandbox";
    const REFUSED: &str = "no stub is run";
    let tried = match tried {
        Ok(tried) => tried,
        Err(text) => {
            let mend = "mend what else failed; sandbox-worker --role probe says more on stderr";
            return Finding::lack(CHECK, State::Fail, text.clone(), REFUSED, mend);
        }
    };
    let report = &tried.report;
    let landlock = report.layers.iter().any(|layer| layer == "landlock");
    let level = match report.level {
        Level::Namespaces if more && landlock => Level::Full,
        level => level,
    };
    let mut found = format!(
        "level {} after {} ms, {} of {} attacks on itself refused",
        level.name(),
        tried.took.as_millis(),
        report.proof.denied,
        report.proof.probes,
    );
    for missing in &report.missing {
        found.push_str("; without ");
        found.push_str(missing);
    }
    if level >= minimum {
        return Finding::ok(CHECK, found);
    }
    let cost = format!("it is below sandbox.minimum, which is {}: {REFUSED}", minimum.name());
    let mend = "mend what else failed; or lower sandbox.minimum, if you trust every stub";
    Finding::lack(CHECK, State::Fail, found, cost, mend)
}

#[cfg(test)]
mod tests {
    use super::{Tried, sandbox};
    use jail::survey::State;
    use protocol::ctl::{ConfinedReport, Level, ProofReport};
    use std::time::Duration;

    fn tried(level: Level, layer: &str) -> Tried {
        let report = ConfinedReport {
            level,
            layers: vec![layer.to_owned()],
            missing: vec!["keyring: none".to_owned()],
            proof: ProofReport::default(),
        };
        Tried { report, namespaces: true, took: Duration::from_millis(7) }
    }

    #[test]
    fn a_sandbox_below_the_minimum_fails_and_says_what_it_lacks() {
        let tried = Ok(tried(Level::Filtered, "landlock"));
        for (minimum, state) in [
            (Level::None, State::Ok),
            (Level::Filtered, State::Ok),
            (Level::Namespaces, State::Fail),
            (Level::Full, State::Fail),
        ] {
            let finding = sandbox(&tried, true, minimum);
            assert_eq!(finding.state, state, "{minimum:?}");
            assert!(finding.found.ends_with("; without keyring: none"), "{finding:?}");
        }
        let none = sandbox(&Err("no process".to_owned()), true, Level::None);
        assert_eq!((none.state, none.found.as_str()), (State::Fail, "no process"));
    }

    #[test]
    fn it_is_full_with_landlock_and_a_host_id_and_a_cgroup_of_its_own() {
        for (layer, more, state) in [
            ("landlock", true, State::Ok),
            ("landlock", false, State::Fail),
            ("root", true, State::Fail),
        ] {
            let finding = sandbox(&Ok(tried(Level::Namespaces, layer)), more, Level::Full);
            assert_eq!(finding.state, state, "{layer} {more}");
        }
    }
}
