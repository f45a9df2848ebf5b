//! What a running daemon says of itself and of its sandboxes.

use super::{Finding, State};
use crate::client::Client;
use crate::output::Failure;
use crate::time::span;
use protocol::control::{Command, PsRow, Reply, SandboxReply, StatusReply};
use protocol::exit;
use std::path::Path;

const CHECK: &str = "daemon";
/// The levels, from none up (CONTRACT §7).
const LEVELS: [&str; 4] = ["none", "filtered", "namespaces", "full"];
/// States in which a component serves nobody until something is done.
const STUCK: [&str; 2] = ["quarantined", "failed"];

/// Its answers.
#[derive(Debug)]
pub(super) struct Answers(Result<Answered, Failure>);

#[derive(Debug)]
struct Answered {
    status: Box<StatusReply>,
    rows: Vec<PsRow>,
    /// The sandbox of the lowest level.
    lowest: Option<Box<SandboxReply>>,
}

fn ask(socket: &Path, command: Command) -> Result<Reply, Failure> {
    Client::ask(socket, command)?.answer()
}

fn other<T>(reply: &Reply) -> Result<T, Failure> {
    let text = format!("it answers something else: {reply:?}");
    Err(Failure::new(exit::FAILED, text).hint("use programs of the same build"))
}

fn level(word: &str) -> usize {
    LEVELS.iter().position(|level| *level == word).unwrap_or_default()
}

impl Answers {
    /// Asks whoever serves this socket.
    pub(super) fn of(socket: &Path) -> Self {
        Self(Answered::of(socket))
    }

    /// How it is, if it runs and answers.
    pub(super) fn status(&self) -> Option<&StatusReply> {
        self.0.as_ref().ok().map(|answered| &*answered.status)
    }

    pub(super) fn finding(&self) -> Finding {
        match &self.0 {
            Ok(answered) => answered.finding(),
            Err(failure) => {
                let cost = if failure.status == exit::UNREACHABLE {
                    "applications here are served by nobody"
                } else {
                    "what it reaches under its unit or container cannot be seen"
                };
                let mend =
                    failure.hint.as_deref().unwrap_or("see its log on stderr or in the journal");
                Finding::lack(CHECK, State::Warn, failure.text.clone(), cost, mend)
            }
        }
    }
}

impl Answered {
    fn of(socket: &Path) -> Result<Self, Failure> {
        let status = match ask(socket, Command::Status)? {
            Reply::Status(status) => status,
            reply => return other(&reply),
        };
        let rows = match ask(socket, Command::Ps { all: true })? {
            Reply::Ps(rows) => rows,
            reply => return other(&reply),
        };
        let closed = rows.iter().filter(|row| row.sandbox_id.is_some() && !row.level.is_empty());
        let lowest = closed.min_by_key(|row| level(&row.level)).and_then(|row| row.sandbox_id);
        // One that ended since is not seen; the others are no lower.
        let lowest =
            lowest.and_then(|id| match ask(socket, Command::Sandbox { name: id.to_string() }) {
                Ok(Reply::Sandbox(reply)) => Some(reply),
                _ => None,
            });
        Ok(Self { status, rows, lowest })
    }

    fn finding(&self) -> Finding {
        let status = &*self.status;
        let mut found = format!(
            "{}, pid {}, for {}, minimum {}",
            status.version,
            status.pid,
            span(status.uptime_ms),
            status.minimum,
        );
        if let Some(lowest) = &self.lowest {
            found.push_str("; sandboxes at ");
            found.push_str(&lowest.level);
            for missing in &lowest.missing {
                found.push_str("; without ");
                found.push_str(missing);
            }
        }
        match self.trouble() {
            None => Finding::ok(CHECK, found),
            Some((state, text, cost, mend)) => {
                Finding::lack(CHECK, state, format!("{found}; {text}"), cost, mend)
            }
        }
    }

    /// The worst of what is wrong: how bad, what, what it costs, how to mend it.
    fn trouble(&self) -> Option<(State, String, &'static str, &'static str)> {
        let status = &*self.status;
        let settled = [status.delivered, status.refused, status.expired, status.queued];
        let settled = settled.into_iter().fold(0, u64::saturating_add);
        if settled != status.accepted {
            let text = format!("{} messages accepted, {settled} accounted for", status.accepted);
            let mend = "keep runtimectl events and the log, and report it";
            return Some((
                State::Fail,
                text,
                "messages were lost: this is a fault of runtimed",
                mend,
            ));
        }
        if let Some(low) = self.lowest.as_ref().filter(|s| level(&s.level) < level(&status.minimum))
        {
            let text = format!("sandbox {} is below the minimum", low.id);
            let cost = "no stub is run in it";
            return Some((State::Fail, text, cost, "runtimectl sandbox ID says what it lacks"));
        }
        if status.version != env!("CARGO_PKG_VERSION") {
            let text = format!("runtimectl is {}", env!("CARGO_PKG_VERSION"));
            let cost = "they may not understand each other";
            return Some((
                State::Warn,
                text,
                cost,
                "restart the daemon, or install the same build",
            ));
        }
        let stuck: Vec<_> =
            self.rows.iter().filter(|row| STUCK.contains(&row.state.as_str())).collect();
        if !stuck.is_empty() {
            let names: Vec<_> =
                stuck.iter().map(|row| format!("{} is {}", row.name, row.state)).collect();
            let cost = "messages to these domains are answered with errors";
            let mend = "runtimectl inspect NAME says why; runtimectl restart or deploy tries again";
            return Some((State::Warn, names.join(", "), cost, mend));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Answered, State};
    use protocol::control::{PsRow, SandboxReply, StatusReply};

    fn healthy() -> Answered {
        let status = StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            minimum: "namespaces".to_owned(),
            accepted: 5,
            delivered: 3,
            queued: 2,
            ..StatusReply::default()
        };
        let lowest = SandboxReply { level: "namespaces".to_owned(), ..SandboxReply::default() };
        Answered { status: Box::new(status), rows: Vec::new(), lowest: Some(Box::new(lowest)) }
    }

    #[test]
    fn a_daemon_is_well_or_says_the_worst_of_what_is_wrong() {
        assert_eq!(healthy().finding().state, State::Ok);
        let mut stuck = healthy();
        let row = |name: &str, state: &str| PsRow {
            name: name.to_owned(),
            state: state.to_owned(),
            ..PsRow::default()
        };
        stuck.rows = vec![row("a.example", "quarantined"), row("b.example", "active")];
        assert!(stuck.finding().found.ends_with("; a.example is quarantined"));
        stuck.status.version = "0".to_owned();
        assert!(stuck.finding().found.contains("; runtimectl is "));
        assert_eq!(stuck.finding().state, State::Warn);
        stuck.status.minimum = "full".to_owned();
        assert!(stuck.finding().found.ends_with("is below the minimum"));
        stuck.status.queued = 1;
        let lost = stuck.finding();
        assert_eq!(lost.state, State::Fail);
        assert!(lost.found.ends_with("5 messages accepted, 4 accounted for"), "{lost:?}");
    }

    #[test]
    fn what_its_sandboxes_lack_is_said() {
        let mut answered = healthy();
        answered.lowest.as_mut().unwrap().missing = vec!["keyring: EDQUOT".to_owned()];
        let found = answered.finding().found;
        assert!(found.ends_with("; sandboxes at namespaces; without keyring: EDQUOT"), "{found}");
    }
}
