//! The log on stderr: its level, from the environment or the configuration, can change.

use crate::config::LogLevel;
use std::fmt;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Formatter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::reload::Handle;

/// Overrides the configured level; directives as `tracing` knows them.
const VARIABLE: &str = "RUNTIMED_LOG";

type Level = Handle<EnvFilter, Formatter<DefaultFields, Format, fn() -> std::io::Stderr>>;

/// The log, once it has been started.
pub(crate) struct Log {
    /// `None` if the environment decides.
    level: Option<Level>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Starts it.
    ///
    /// # Errors
    /// The environment's directives are wrong.
    pub(crate) fn start(level: LogLevel) -> Result<Self, String> {
        let own = std::env::var(VARIABLE).ok().filter(|directives| !directives.is_empty());
        let directives = own.clone().unwrap_or_else(|| level.to_string());
        let filter = EnvFilter::try_new(&directives)
            .map_err(|error| format!("{VARIABLE} is wrong: {error}"))?;
        let stderr: fn() -> std::io::Stderr = std::io::stderr;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(stderr)
            .with_ansi(false)
            .with_target(false)
            // Whoever read stderr may have gone; saying so on stderr would be the end of the daemon.
            .log_internal_errors(false)
            .with_filter_reloading();
        let level = own.is_none().then(|| builder.reload_handle());
        builder.init();
        Ok(Self { level })
    }

    /// Another level is configured; the environment still wins.
    pub(crate) fn set(&self, level: LogLevel) {
        let Some(handle) = &self.level else { return };
        let set = EnvFilter::try_new(level.to_string())
            .map_err(|error| error.to_string())
            .and_then(|filter| handle.reload(filter).map_err(|error| error.to_string()));
        if let Err(error) = set {
            tracing::error!(error, "the level of the log stays");
        }
    }
}
