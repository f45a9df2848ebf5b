//! The configuration file: what may stand in it, its defaults, and where in it an error is.

mod peers;
mod value;

use crate::limits::{CA_BYTES_MAX, CONFIG_BYTES_MAX, LEASE_MIN_MS, SANDBOX_BESIDE_HEAP_BYTES};
use crate::shell::Bounds;
use peers::P2pTable;
use protocol::ctl::Level;
use protocol::limits::DEADLINE_MAX_MS;
use runtime_core::{DomainSettings, Settings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use toml::Spanned;
use value::{Bytes, Catalogue, Domain, HostPort, Millis, Origin, Percent, Section};

/// The configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What the core needs of it; identity and clock are not filled in yet.
    pub(crate) settings: Settings,
    /// What one sandbox may use.
    pub(crate) bounds: Bounds,
    /// A root daemon runs sandbox N as this and N.
    pub(crate) uid_base: u32,
    /// How much is logged.
    pub(crate) log_level: LogLevel,
    /// Keys that are understood and have no effect in this version.
    pub(crate) without_effect: Vec<&'static str>,
}

/// Why a configuration cannot be used. Said once, on stderr; exit status 78.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {text}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What, and how it should be.
        text: String,
    },
}

/// The words of `[log] level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// Only what failed.
    Error,
    /// And what is odd.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And how.
    Debug,
    /// Everything but bodies.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    runtime: RuntimeTable,
    domain: BTreeMap<Section, DomainTable>,
    sandbox: SandboxTable,
    supervision: SupervisionTable,
    delivery: DeliveryTable,
    p2p: P2pTable,
    log: LogTable,
    metrics: Empty,
    chaos: Empty,
    policy: Empty,
}

/// A table whose keys come with a later version.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuntimeTable {
    domain: Option<Domain>,
    hyperties: Option<Spanned<Vec<String>>>,
    addresses: Option<Spanned<Addresses>>,
    register: Option<Spanned<bool>>,
    lease: Option<Spanned<Millis>>,
}

/// Who allocates addresses of the home domain.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Addresses {
    Local,
    Node,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DomainTable {
    catalogue: Option<Catalogue>,
    private: bool,
    connect: Vec<HostPort>,
    sources: Vec<Origin>,
    hosts: BTreeMap<HostPort, HostPort>,
    ca: Option<Spanned<PathBuf>>,
    integrity: Option<Spanned<Integrity>>,
    p2p: Option<HostPort>,
    login: Option<Domain>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Integrity {
    Rights,
    Pin,
    Require,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SandboxTable {
    minimum: Option<Minimum>,
    memory: Option<Bytes>,
    cpu: Option<Percent>,
    pids: Option<Spanned<u32>>,
    open_files: Option<Spanned<u32>>,
    start_timeout: Option<Millis>,
    pool: Option<u32>,
    uid_base: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Minimum(Level);

impl TryFrom<String> for Minimum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Level::from_name(&text).map(Self).ok_or_else(|| {
            format!("`{text}` is no level; there are none, filtered, namespaces, full")
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SupervisionTable {
    backoff_initial: Option<Millis>,
    backoff_max: Option<Millis>,
    max_restarts: Option<u32>,
    window: Option<Millis>,
    heartbeat: Option<Millis>,
    idle: Option<Millis>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeliveryTable {
    default_deadline: Option<Spanned<Millis>>,
    parked_messages: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogTable {
    level: LogLevel,
}

impl Config {
    /// Reads `path`; if there is none and none was asked for, everything has its default.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub(crate) fn load(path: &Path, must_exist: bool) -> Result<Self, ConfigError> {
        match read_bounded(path, CONFIG_BYTES_MAX) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                Self::parse(path, "")
            }
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Parses the text of the file at `path`.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let place = Place { path, text };
        let file: File = toml::from_str(text).map_err(|error: toml::de::Error| {
            place.wrong(error.span().map_or(text.len(), |span| span.start), error.message())
        })?;
        let without_effect = file.sandbox.without_effect();
        let defaults = Settings::default();
        let domain = file.runtime.domain.as_ref();
        let mut settings = Settings {
            domain: domain.map_or(defaults.domain.clone(), |domain| domain.0.clone()),
            ..defaults
        };
        for (section, table) in file.domain {
            settings.domains.insert(section.0, table.check(&place)?);
        }
        file.runtime.apply(&place, &mut settings)?;
        peers::check_roots(&place, &settings.domains)?;
        settings.p2p = file.p2p.check(&place)?;
        let open_files = bounded(&place, file.sandbox.open_files.as_ref(), (128, 32, 4_096))?;
        let processes = bounded(&place, file.sandbox.pids.as_ref(), (8, 1, 1_024))?;
        let cpu_percent = file.sandbox.cpu.map(|cpu| cpu.0);
        let uid_base =
            bounded(&place, file.sandbox.uid_base.as_ref(), (524_288, 65_536, u32::MAX / 2))?;
        file.sandbox.apply(&mut settings);
        file.supervision.apply(&mut settings);
        file.delivery.apply(&place, &mut settings)?;
        let memory_bytes = settings.memory_bytes.saturating_add(SANDBOX_BESIDE_HEAP_BYTES);
        let bounds = Bounds { open_files, processes, memory_bytes, cpu_percent };
        Ok(Self { settings, bounds, uid_base, log_level: file.log.level, without_effect })
    }
}

impl RuntimeTable {
    /// After the domains: some of it is for a home domain with a stub of its own.
    fn apply(self, place: &Place<'_>, settings: &mut Settings) -> Result<(), ConfigError> {
        let from_node = self.addresses.filter(|word| matches!(word.get_ref(), Addresses::Node));
        let register = self.register.filter(|word| *word.get_ref());
        settings.addresses_from_node = from_node.is_some();
        settings.register = register.is_some();
        let needs = [from_node.map(|word| word.span()), register.map(|word| word.span())];
        if let (false, Some(span)) = (settings.has_home_stub(), needs.into_iter().flatten().next())
        {
            let home = &settings.domain;
            let text =
                format!("this needs a stub of the home domain: a catalogue in [domain.\"{home}\"]");
            return Err(place.wrong(span.start, &text));
        }
        if let Some(lease) = self.lease {
            if lease.get_ref().0 < LEASE_MIN_MS {
                return Err(place.wrong(lease.span().start, "a lease is at least 1s"));
            }
            settings.lease_ms = lease.get_ref().0;
        }
        if let Some(hyperties) = self.hyperties {
            let at = hyperties.span().start;
            settings.hyperties = hyperties.into_inner();
            if let Some(wrong) = settings.hyperties.iter().find(|url| !settings.is_hyperty(url)) {
                let form = "hyperty-catalogue://catalogue.example.com/.well-known/hyperty/Name";
                let text =
                    format!("`{wrong}` is no hyperty of a catalogue; write it like `{form}`");
                return Err(place.wrong(at, &text));
            }
        }
        Ok(())
    }
}

impl DomainTable {
    fn check(self, place: &Place<'_>) -> Result<DomainSettings, ConfigError> {
        let ca_pem = match &self.ca {
            Some(ca) => read_bounded(ca.get_ref(), CA_BYTES_MAX).map_err(|error| {
                let name = ca.get_ref().display();
                place.wrong(ca.span().start, &format!("cannot read the trust root {name}: {error}"))
            })?,
            None => String::new(),
        };
        let pin = match &self.integrity {
            None => false,
            Some(integrity) => match integrity.get_ref() {
                Integrity::Rights => false,
                Integrity::Pin => true,
                Integrity::Require => {
                    return Err(place.wrong(
                        integrity.span().start,
                        "integrity \"require\" needs signed stubs, which this version does not know",
                    ));
                }
            },
        };
        Ok(DomainSettings {
            catalogue: self.catalogue.map(|catalogue| catalogue.0),
            private: self.private,
            connect: self.connect.into_iter().map(|target| target.0).collect(),
            sources: self.sources.into_iter().map(|origin| origin.0).collect(),
            hosts: self.hosts.into_iter().map(|(from, to)| (from.0, to.0)).collect(),
            ca_pem,
            pin,
            p2p: self.p2p.map(|place| place.0),
            login: self.login.map(|provider| provider.0),
        })
    }
}

impl SandboxTable {
    fn without_effect(&self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        if self.pool.is_some_and(|pool| pool > 0) {
            keys.push("sandbox.pool");
        }
        keys
    }

    fn apply(self, settings: &mut Settings) {
        if let Some(minimum) = self.minimum {
            settings.minimum = minimum.0;
        }
        if let Some(memory) = self.memory {
            settings.memory_bytes = memory.0;
        }
        set(&mut settings.start_timeout_ms, self.start_timeout);
    }
}

impl SupervisionTable {
    fn apply(self, settings: &mut Settings) {
        set(&mut settings.backoff_initial_ms, self.backoff_initial);
        set(&mut settings.backoff_max_ms, self.backoff_max);
        set(&mut settings.window_ms, self.window);
        set(&mut settings.heartbeat_ms, self.heartbeat);
        set(&mut settings.idle_ms, self.idle);
        if let Some(max_restarts) = self.max_restarts {
            settings.max_restarts = max_restarts;
        }
    }
}

impl DeliveryTable {
    fn apply(self, place: &Place<'_>, settings: &mut Settings) -> Result<(), ConfigError> {
        if let Some(deadline) = self.default_deadline {
            if deadline.get_ref().0 > DEADLINE_MAX_MS {
                return Err(place.wrong(deadline.span().start, "a deadline is at most 5m"));
            }
            settings.default_deadline_ms = deadline.get_ref().0;
        }
        let parked = bounded(place, self.parked_messages.as_ref(), (256, 0, 65_536))?;
        settings.parked_messages = usize::try_from(parked).unwrap_or(usize::MAX);
        Ok(())
    }
}

fn set(target: &mut u64, value: Option<Millis>) {
    if let Some(value) = value {
        *target = value.0;
    }
}

fn bounded(
    place: &Place<'_>,
    value: Option<&Spanned<u32>>,
    (default, min, max): (u32, u32, u32),
) -> Result<u32, ConfigError> {
    match value {
        None => Ok(default),
        Some(value) if (min..=max).contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => {
            Err(place.wrong(value.span().start, &format!("must be from {min} to {max}")))
        }
    }
}

/// Where an error is.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn wrong(self, at: usize, text: &str) -> ConfigError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let last = before.rsplit('\n').next().unwrap_or("");
        ConfigError::Wrong {
            path: self.path.to_owned(),
            line,
            column: last.chars().count().saturating_add(1),
            text: text.to_owned(),
        }
    }
}

fn read_bounded(path: &Path, max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(max.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > max {
        return Err(std::io::Error::other(format!("larger than {max} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
