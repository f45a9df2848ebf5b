//! `runtimectl doctor`: what this machine has of what runtimed needs, what it costs where something
//! is missing, and how to mend it. Works without a daemon; one that runs is asked, too.
//!
//! What counts is what a worker reaches: the kernel is looked at by the worker's own probe, which
//! knows it, and the configuration by the daemon's own check.

mod daemon;
mod places;
mod programs;

use crate::cli::Global;
use crate::client::{SYSTEM_SOCKET, socket_path};
use crate::output::{self, Failure};
use daemon::Answers;
use programs::Checked;
use protocol::exit;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// All there.
    Ok,
    /// It works, at a cost.
    Warn,
    /// It does not.
    Fail,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found of one thing; as the worker's probe prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Finding {
    check: String,
    state: State,
    found: String,
    cost: Option<String>,
    mend: Option<String>,
}

impl Finding {
    fn ok(check: &str, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { check: check.to_owned(), state: State::Ok, found, cost: None, mend: None }
    }

    fn lack(check: &str, state: State, found: impl Into<String>, cost: &str, mend: &str) -> Self {
        let (cost, mend) = (Some(cost.to_owned()), Some(mend.to_owned()));
        Self { check: check.to_owned(), state, found: found.into(), cost, mend }
    }
}

/// Looks at everything and prints it; the status says whether something fails.
pub(crate) fn run(global: &Global) -> Result<u8, Failure> {
    let socket = socket_path(global.root.as_deref(), global.socket.as_deref());
    let daemon = Answers::of(&socket);
    let of_system = global.root.is_none() && socket.as_os_str() == SYSTEM_SOCKET;
    let status = daemon.status();
    let pid = status.map(|status| status.pid);
    let checked = Checked::of(pid, global.root.as_deref(), of_system);
    let minimum = status.map(|status| status.minimum.as_str()).or(checked.minimum());
    let mut found = programs::probe(pid, minimum);
    found.extend(places::look(&checked));
    found.push(checked.finding(status.is_some()));
    found.push(daemon.finding());
    let rows = found.iter().map(|finding| serde_json::json!(finding)).collect();
    output::rows(global.output, rows, || table(&found))?;
    let fails = found.iter().any(|finding| finding.state == State::Fail);
    Ok(if fails { exit::FAILED } else { exit::OK })
}

/// For people: one line each, and below it what a lack costs and how to mend it.
fn table(found: &[Finding]) -> String {
    let width = found.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut out = String::new();
    // Writing into a String cannot fail.
    for Finding { check, state, found, cost, mend } in found {
        let _infallible = writeln!(out, "{:<4}  {check:<width$}  {found}", state.name());
        for (word, text) in [("costs", cost), ("mend", mend)] {
            if let Some(text) = text {
                let _infallible = writeln!(out, "      {:width$}  {word}: {text}", "");
            }
        }
    }
    let count = |state| found.iter().filter(|finding| finding.state == state).count();
    let (ok, warn, fail) = (count(State::Ok), count(State::Warn), count(State::Fail));
    let _infallible = write!(out, "{ok} ok, {warn} warn, {fail} fail");
    out
}

#[cfg(test)]
mod tests {
    use super::{Finding, State, table};

    #[test]
    fn a_lack_says_below_its_line_what_it_costs_and_how_to_mend_it() {
        let found = [
            Finding::ok("kernel", "Linux 7"),
            Finding::lack("disk", State::Fail, "full", "nothing is kept", "make room"),
        ];
        let said = "ok    kernel  Linux 7\n\
                    fail  disk    full\n\
                    \x20             costs: nothing is kept\n\
                    \x20             mend: make room\n\
                    1 ok, 0 warn, 1 fail";
        assert_eq!(table(&found), said);
    }

    #[test]
    fn what_the_probe_prints_is_read_and_printed_the_same() {
        let text = r#"{"check":"cgroup","state":"warn","found":"f","cost":"c","mend":"m"}"#;
        let finding: Finding = serde_json::from_str(text).unwrap();
        assert_eq!(finding, Finding::lack("cgroup", State::Warn, "f", "c", "m"));
        assert_eq!(serde_json::to_string(&finding).unwrap(), text);
    }
}
