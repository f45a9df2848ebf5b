//! `runtimectl`: one request, one answer, one table. Exit statuses are CONTRACT §8.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod commands;
mod config_default;
mod demo;
mod doctor;
mod output;
mod render;
mod shown;
mod time;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help to stdout with status 0, everything else to stderr with 2.
            let status =
                if error.use_stderr() { protocol::exit::USAGE } else { protocol::exit::OK };
            let status = error.print().map_or(protocol::exit::FAILED, |()| status);
            return ExitCode::from(status);
        }
    };
    match commands::run(&cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            output::failure(cli.global.output, &failure);
            ExitCode::from(failure.status)
        }
    }
}
