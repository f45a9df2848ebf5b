//! The command line, as clap reads it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Talk to a running `runtimed`: see what it does, why, and change it.
#[derive(Debug, Parser)]
#[command(name = "runtimectl", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Accepted before and after the subcommand.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Folder that the daemon was started with.
    #[arg(long, global = true, env = "RUNTIMED_ROOT", value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Control socket, if it is somewhere else.
    #[arg(long, global = true, env = "RUNTIMED_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how the daemon is.
    Status {
        /// Wait this long for the daemon to be there.
        #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, default_missing_value = "10s")]
        wait: Option<Duration>,
    },
    /// List the components.
    Ps {
        /// And the undeployed ones and the daemon's own roles.
        #[arg(long)]
        all: bool,
    },
    /// Show everything about one component.
    Inspect {
        /// As in `ps`.
        name: String,
    },
    /// Find, check and start the stub of a domain or an address, or a hyperty of a catalogue.
    Deploy {
        /// `example.com`, an address such as `slack://x@slack.com`, or that of a hyperty in a catalogue.
        target: String,
        /// Return when it is active; with `=live` when it says that it is connected.
        #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "active")]
        wait: Option<WaitFor>,
    },
    /// Stop a component and forget it.
    Undeploy {
        /// As in `ps`.
        name: String,
    },
    /// Stop and start a component; ends its quarantine.
    Restart {
        /// As in `ps`.
        name: String,
    },
    /// Send a signal to a component's process.
    Kill {
        /// As in `ps`.
        name: String,
        /// Name or number.
        #[arg(short, long, default_value = "KILL")]
        signal: String,
    },
    /// Send a message and do not wait.
    Send {
        /// Receiver.
        address: String,
        /// JSON.
        body: Option<String>,
        /// Message type.
        #[arg(long = "type", default_value = "update", value_name = "TYPE")]
        kind: String,
    },
    /// Send a message and print its response.
    Call {
        /// Receiver.
        address: String,
        /// JSON.
        body: Option<String>,
        /// Message type.
        #[arg(long = "type", default_value = "read", value_name = "TYPE")]
        kind: String,
        /// How long to wait.
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "15s")]
        timeout: Duration,
    },
    /// Watch messages pass.
    Monitor {
        /// Show their bodies.
        #[arg(long)]
        body: bool,
    },
    /// Explain where a message would go.
    Resolve {
        /// Receiver.
        address: String,
    },
    /// Show how one sandbox is closed, and what its attacks on itself came to.
    Sandbox {
        /// Its number, a component as in `ps`, or a role as in `ps --all`.
        #[arg(value_name = "ID")]
        name: String,
    },
    /// Print a component's console and its supervisor's events.
    Logs {
        /// As in `ps`.
        name: String,
        /// Go on as they come.
        #[arg(short, long)]
        follow: bool,
    },
    /// Print what happened.
    Events {
        /// Go on as it happens.
        #[arg(short, long)]
        follow: bool,
    },
    /// About the configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look for what this machine lacks, what that costs, and how to mend it.
    Doctor,
    /// Show the whole story on a private daemon with two domains on loopback.
    Demo {
        /// Leave it running for exploration.
        #[arg(long)]
        keep: bool,
    },
}

/// Until when `deploy` waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// Routable.
    Active,
    /// Connected, as the stub says.
    Live,
}

/// About the configuration file.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key with its default and what it means.
    Default,
}

/// `200ms`, `5s`, `10m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_e| format!("{text} is no time such as 5s"))?;
    let millis = match unit {
        "ms" => Some(number),
        "s" | "" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(format!("{unit} is no unit; use ms, s, m or h")),
    };
    millis.map(Duration::from_millis).ok_or_else(|| format!("{text} is too long"))
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command, Format, WaitFor, duration};
    use clap::{CommandFactory as _, Parser as _};
    use std::time::Duration;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_work_on_both_sides_of_the_subcommand() {
        for line in [["runtimectl", "-o", "json", "ps"], ["runtimectl", "ps", "-o", "json"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.output, Format::Json);
        }
    }

    #[test]
    fn wait_has_a_default_and_a_value() {
        let wait = |flag: &str| match Cli::try_parse_from(["runtimectl", "deploy", "a.b", flag]) {
            Ok(Cli { command: Command::Deploy { wait, .. }, .. }) => wait,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait("--wait"), Some(WaitFor::Active));
        assert_eq!(wait("--wait=live"), Some(WaitFor::Live));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert!(duration("5 parsecs").is_err());
        assert!(duration("99999999999999999999s").is_err());
        assert!(duration("18446744073709551615h").is_err());
    }
}
