//! What this machine has of the things that jails are made of, what it costs where one is missing,
//! and how to mend it. Looking changes nothing: calls are made with arguments that cannot do
//! anything, and files are read.

mod bounds;
mod cgroup;
mod clock;
mod kernel;
mod memory;
mod namespaces;

use std::fs;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All there.
    Ok,
    /// It works, at a cost.
    Warn,
    /// Foreign code cannot be run as it should be.
    Fail,
}

impl State {
    /// The word that is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which thing.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What is there.
    pub found: String,
    /// What that costs; nothing if it is all there.
    pub cost: Option<String>,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Finding {
    /// All there.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), cost: None, mend: None }
    }

    /// Something is missing: what that costs, and what to do about it.
    pub fn lack(
        check: &'static str,
        state: State,
        found: impl Into<String>,
        cost: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        let (cost, mend) = (Some(cost.into()), Some(mend.into()));
        Self { check, state, found: found.into(), cost, mend }
    }
}

/// For whom the machine is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Whom {
    /// The process whose cgroup and limits count; `None` is the caller.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: u32,
    /// Whether a sandbox that was just tried got its namespaces.
    pub namespaces: bool,
}

/// What was found of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Thing by thing.
    pub findings: Vec<Finding>,
    /// Whether a sandbox can be limited by a cgroup, of either version.
    pub cgroups: bool,
}

/// Looks at everything.
pub fn survey(whom: &Whom) -> Survey {
    let process = whom.pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let (cgroup, cgroups) = cgroup::look(&process, whom.uid, &read);
    let findings = vec![
        kernel::calls(),
        namespaces::look(whom, &read),
        kernel::landlock(),
        kernel::seccomp(),
        cgroup,
        bounds::look(&process, whom.uid, &read),
        memory::look(&read),
        clock::look(&read),
    ];
    Survey { findings, cgroups }
}

/// What reads a file, so that tests can show another machine.
type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

fn number(read: Read<'_>, path: &str) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{State, Whom, survey};
    use std::collections::BTreeSet;

    #[test]
    fn everything_is_found_once_and_what_lacks_says_cost_and_mend() {
        let uid = nix::unistd::geteuid().as_raw();
        let found = survey(&Whom { pid: None, uid, namespaces: true }).findings;
        let checks: BTreeSet<_> = found.iter().map(|finding| finding.check).collect();
        assert_eq!(checks.len(), found.len());
        for finding in &found {
            let complete = finding.cost.is_some() && finding.mend.is_some();
            assert_eq!(finding.state != State::Ok, complete, "{finding:?}");
            assert!(!finding.found.is_empty() && !finding.found.contains('\n'), "{finding:?}");
        }
    }

    #[test]
    fn what_the_tests_of_the_jail_need_is_there() {
        let found = survey(&Whom { pid: None, uid: 0, namespaces: true }).findings;
        for check in ["kernel", "seccomp"] {
            let finding = found.iter().find(|finding| finding.check == check).unwrap();
            assert_eq!(finding.state, State::Ok, "{finding:?}");
        }
    }
}
