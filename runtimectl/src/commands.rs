//! Each command: what is asked of the daemon, and how its answer is printed.

use crate::cli::{Cli, Command, ConfigCommand, Format, Global, WaitFor};
use crate::client::{Client, socket_path};
use crate::output::{self, Failure};
use crate::{config_default, demo, doctor, render, shown};
use nix::sys::signal::Signal;
use protocol::control::{self, Reply};
use protocol::exit;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Between two looks for the socket while `status --wait` waits.
const WAIT_STEP: Duration = Duration::from_millis(20);

/// Carries out the command; the exit status if it could be carried out.
pub(crate) fn run(cli: &Cli) -> Result<u8, Failure> {
    let ask = |command: control::Command| ask(&cli.global, command);
    let format = cli.global.output;
    match &cli.command {
        Command::Status { wait } => status(&cli.global, *wait)?,
        Command::Ps { all } => ps(format, ask(control::Command::Ps { all: *all })?.answer()?)?,
        Command::Inspect { name } => {
            show(format, &ask(control::Command::Inspect { name: name.clone() })?.answer()?)?;
        }
        Command::Deploy { target, wait } => deploy(format, &cli.global, target, *wait)?,
        Command::Undeploy { name } => {
            done(&ask(control::Command::Undeploy { name: name.clone() })?.answer()?)?;
        }
        Command::Restart { name } => {
            done(&ask(control::Command::Restart { name: name.clone() })?.answer()?)?;
        }
        Command::Kill { name, signal } => {
            let signal = signal_number(signal)?;
            done(&ask(control::Command::Kill { name: name.clone(), signal })?.answer()?)?;
        }
        Command::Send { address, body, kind } => {
            let send = message(address, kind, body.as_deref(), Duration::ZERO, false)?;
            done(&ask(send)?.answer()?)?;
        }
        Command::Call { address, body, kind, timeout } => {
            return call(format, ask(message(address, kind, body.as_deref(), *timeout, true)?)?);
        }
        Command::Resolve { address } => {
            let address = address.clone();
            show(format, &ask(control::Command::Resolve { address })?.answer()?)?;
        }
        Command::Sandbox { name } => {
            show(format, &ask(control::Command::Sandbox { name: name.clone() })?.answer()?)?;
        }
        Command::Monitor { body } => {
            stream(format, ask(control::Command::Monitor { bodies: *body })?, true)?;
        }
        Command::Logs { name, follow } => {
            let command = control::Command::Logs { name: name.clone(), follow: *follow };
            stream(format, ask(command)?, *follow)?;
        }
        Command::Events { follow } => {
            stream(format, ask(control::Command::Events { follow: *follow })?, *follow)?;
        }
        Command::Config { command: ConfigCommand::Default } => {
            output::line(config_default::TEXT.trim_end())?;
        }
        Command::Doctor => return doctor::run(&cli.global),
        Command::Demo { keep } => demo::run(*keep)?,
    }
    Ok(exit::OK)
}

/// Prints a reply that is one thing with many sides.
fn show(format: Format, reply: &Reply) -> Result<(), Failure> {
    match reply {
        Reply::Inspect(reply) => {
            output::document(format, &render::inspect_json(reply), || render::inspect_text(reply))
        }
        Reply::Resolve(reply) => {
            output::document(format, &render::resolve_json(reply), || render::resolve_text(reply))
        }
        Reply::Sandbox(reply) => {
            output::document(format, &render::sandbox_json(reply), || render::sandbox_text(reply))
        }
        other => Err(unexpected(other)),
    }
}

fn ask(global: &Global, command: control::Command) -> Result<Client, Failure> {
    let path = socket_path(global.root.as_deref(), global.socket.as_deref());
    Client::ask(&path, command).map(|client| client.exact(global.output != Format::Table))
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::new(exit::FAILED, format!("the daemon answered something else: {reply:?}"))
        .hint("runtimectl and runtimed must come from the same build")
}

fn done(reply: &Reply) -> Result<(), Failure> {
    match reply {
        Reply::Done => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn status(global: &Global, wait: Option<Duration>) -> Result<(), Failure> {
    let until = wait.and_then(|wait| Instant::now().checked_add(wait));
    loop {
        match ask(global, control::Command::Status).and_then(Client::answer) {
            Ok(Reply::Status(status)) => {
                return output::document(global.output, &render::status_json(&status), || {
                    render::status_text(&status)
                });
            }
            Ok(other) => return Err(unexpected(&other)),
            Err(failure) => match until {
                Some(until) if failure.status == exit::UNREACHABLE && Instant::now() < until => {
                    pause();
                }
                _ => return Err(failure),
            },
        }
    }
}

/// Waits a moment without a busy loop; the only pause of this program.
fn pause() {
    std::thread::park_timeout(WAIT_STEP);
}

fn ps(format: Format, reply: Reply) -> Result<(), Failure> {
    match reply {
        Reply::Ps(rows) => output::rows(format, rows.iter().map(render::ps_json).collect(), || {
            render::ps_table(&rows)
        }),
        other => Err(unexpected(&other)),
    }
}

fn deploy(
    format: Format,
    global: &Global,
    target: &str,
    wait: Option<WaitFor>,
) -> Result<(), Failure> {
    let command = control::Command::Deploy {
        target: target.to_owned(),
        wait: wait.is_some(),
        live: wait == Some(WaitFor::Live),
    };
    match ask(global, command)?.answer()? {
        Reply::Deployed(row) => output::document(format, &render::ps_json(&row), || {
            format!("{}  {}  {}", row.name, row.state, row.url)
        }),
        other => done(&other),
    }
}

fn message(
    to: &str,
    kind: &str,
    body: Option<&str>,
    timeout: Duration,
    wait: bool,
) -> Result<control::Command, Failure> {
    if let Some(body) = body {
        serde_json::from_str::<Value>(body)
            .map_err(|error| Failure::new(exit::USAGE, format!("the body is not JSON: {error}")))?;
    }
    Ok(control::Command::Send {
        to: to.to_owned(),
        kind: kind.to_owned(),
        body: body.unwrap_or_default().to_owned(),
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        wait,
    })
}

/// Prints the response; a code of 400 and more is a failure of the call.
fn call(format: Format, client: Client) -> Result<u8, Failure> {
    match client.answer()? {
        Reply::Response { code, from, body } => {
            let value = serde_json::from_str(&body).unwrap_or_else(|_e| json!(body));
            let document = json!({"code": code, "from": from, "body": value});
            output::document(format, &document, || shown::json(&value, true))?;
            Ok(match code {
                408 => exit::TIMEOUT,
                404 => exit::NOT_FOUND,
                403 => exit::DENIED,
                400.. => exit::FAILED,
                _ => exit::OK,
            })
        }
        other => Err(unexpected(&other)),
    }
}

/// Prints a stream as it comes, or, as one JSON document, when it has ended.
fn stream(format: Format, mut client: Client, endless: bool) -> Result<(), Failure> {
    let mut kept = Vec::new();
    while let Some(reply) = client.next()? {
        let (value, text) = match reply {
            Reply::Event(row) => (render::event_json(&row), render::event_text(&row)),
            Reply::Monitor(row) => (render::monitor_json(&row), render::monitor_text(&row)),
            Reply::Log { time_ms, text } => {
                let time = crate::time::rfc3339(time_ms);
                (json!({"time": time, "text": text}), format!("{time}  {text}"))
            }
            Reply::Done => break,
            other => return Err(unexpected(&other)),
        };
        match format {
            Format::Table => output::line(&text)?,
            // An endless array could never be closed, so that a stream that follows is one
            // object a line in both JSON forms.
            Format::Json if !endless => kept.push(value),
            Format::Json | Format::Ndjson => output::line(&shown::json(&value, false))?,
        }
    }
    if format == Format::Json && !endless {
        output::line(&shown::json(&Value::Array(kept), true))?;
    }
    Ok(())
}

/// The number of `KILL`, `SIGKILL` or `9`.
fn signal_number(text: &str) -> Result<i32, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let signal = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) => name.parse::<Signal>().ok(),
    };
    signal
        .map(|signal| {
            // The numbers of signals are the kernel's interface.
            #[allow(clippy::as_conversions, reason = "nix offers no other way to the number")]
            let number = signal as i32;
            number
        })
        .ok_or_else(|| Failure::new(exit::USAGE, format!("{text} is no signal")))
}

#[cfg(test)]
mod tests {
    use super::{message, signal_number};
    use std::time::Duration;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["9", "KILL", "sigkill"] {
            assert_eq!(signal_number(text).unwrap(), 9);
        }
        assert!(signal_number("NONSENSE").is_err());
        assert!(signal_number("4711").is_err());
    }

    #[test]
    fn a_body_that_is_not_json_is_wrong_use() {
        let failure = message("a://b.c/d", "read", Some("{"), Duration::ZERO, true).unwrap_err();
        assert_eq!(failure.status, protocol::exit::USAGE);
    }
}
