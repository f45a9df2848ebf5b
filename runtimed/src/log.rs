//! The log on stderr: its level, from the environment or the configuration, can change.

use crate::config::LogLevel;
use crate::limits::LOG_BYTES_AT_ONCE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt;
use std::io::{self, Write, stderr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Formatter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::reload::Handle;

/// Overrides the configured level; directives as `tracing` knows them.
const VARIABLE: &str = "RUNTIMED_LOG";

type Level = Handle<EnvFilter, Formatter<DefaultFields, Format, fn() -> Patient>>;

/// Lines that nobody took.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Stderr, as far as it takes lines at once: the daemon does not wait for whoever reads its log. A
/// line that is not taken is lost and counted, and how many were is said before the next.
#[derive(Debug, Clone, Copy)]
struct Patient;

impl Patient {
    /// Whether a pipe or socket has room for one line, or the file can be written to at all.
    fn has_room() -> bool {
        let stderr = stderr();
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = LOST.load(Ordering::Relaxed);
        if lost > 0 && Self::has_room() {
            LOST.store(0, Ordering::Relaxed);
            stderr().write_all(
                format!("{lost} lines of the log were lost: nobody took them\n").as_bytes(),
            )?;
        }
        if !Self::has_room() {
            LOST.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        match line.get(..LOG_BYTES_AT_ONCE.saturating_sub(1)) {
            Some(start) if line.len() > LOG_BYTES_AT_ONCE => {
                stderr().write_all(&[start, b"\n"].concat())?;
            }
            _ => stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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
        let stderr: fn() -> Patient = || Patient;
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
