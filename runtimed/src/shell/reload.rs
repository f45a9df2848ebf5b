//! Reads the configuration again on SIGHUP: what can change in a running daemon changes at once, a
//! bad file changes nothing, and either is said in the log and to the service manager.

use super::hub::Shared;
use super::notify;
use crate::config::Config;
use crate::log::Log;
use runtime_core::P2pSettings;
use std::path::PathBuf;

/// What a reload needs to know of the start.
#[derive(Debug)]
pub(crate) struct Source {
    /// The configuration file.
    pub(crate) file: PathBuf,
    /// Whether it was asked for, so that its absence is an error.
    pub(crate) must_exist: bool,
    /// The log, whose level may change.
    pub(crate) log: Log,
}

/// What was read at the start and cannot change before the next one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    domain: String,
    uid_base: u32,
    p2p: Option<P2pSettings>,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        let p2p = config.settings.p2p.clone();
        Self { domain: config.settings.domain.clone(), uid_base: config.uid_base, p2p }
    }

    /// Keys that differ, and so wait for a restart.
    fn waiting(&self, new: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        if self.domain != new.domain {
            keys.push("runtime.domain");
        }
        if self.uid_base != new.uid_base {
            keys.push("sandbox.uid_base");
        }
        if self.p2p != new.p2p {
            keys.push("p2p");
        }
        keys
    }
}

/// Reads the file and puts it in force.
pub(super) fn reload(hub: &Shared, source: &Source, fixed: &Fixed) {
    notify::reloading();
    let status = match Config::load(&source.file, source.must_exist) {
        Ok(config) => apply(hub, source, fixed, config),
        Err(error) => {
            tracing::error!(%error, "the configuration was not read again, the old one stays in force");
            format!("the old configuration stays in force: {error}")
        }
    };
    notify::reloaded(&status);
}

fn apply(hub: &Shared, source: &Source, fixed: &Fixed, config: Config) -> String {
    for key in &config.without_effect {
        tracing::warn!(key, "this key has no effect in this version");
    }
    let waiting = fixed.waiting(&Fixed::of(&config));
    for key in &waiting {
        tracing::warn!(key, "this key changes with a restart only");
    }
    source.log.set(config.log_level);
    let file = source.file.display();
    hub.borrow_mut().configure(config);
    tracing::info!(%file, "the configuration was read again");
    let runtime = &hub.borrow().runtime_url;
    if waiting.is_empty() {
        format!("serving {runtime}")
    } else {
        format!("serving {runtime}; a restart is needed for {}", waiting.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::Fixed;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn what_needs_a_restart_is_named() {
        let config = |text: &str| Config::parse(Path::new("f"), text).unwrap();
        let old = Fixed::of(&config(""));
        let same = config("[sandbox]\nmemory = \"32MiB\"\n[log]\nlevel = \"debug\"\n");
        assert!(old.waiting(&Fixed::of(&same)).is_empty());
        let other = config("[runtime]\ndomain = \"home.example\"\n[sandbox]\nuid_base = 700000\n");
        assert_eq!(old.waiting(&Fixed::of(&other)), ["runtime.domain", "sandbox.uid_base"]);
    }
}
