//! What the configuration decides, as the core needs it.

use crate::guid::Secret;
use crate::ua::hyperty::Place;
use protocol::ctl::Level;
use std::collections::BTreeMap;

/// Everything about one domain (CONTRACT §2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainSettings {
    /// Base address of its catalogue; `None` derives it from the name.
    pub catalogue: Option<String>,
    /// Plain http and ws, and exactly the non-public `host:port` named here, are allowed.
    pub private: bool,
    /// Further egress grants, `host:port`.
    pub connect: Vec<String>,
    /// Further origins that code and redirects may come from.
    pub sources: Vec<String>,
    /// Where a name is really found: `host:port` to `host:port`.
    pub hosts: BTreeMap<String, String>,
    /// PEM of a trust root, read by the shell.
    pub ca_pem: String,
    /// Only code with exactly this digest history (`integrity = "pin"`).
    pub pin: bool,
    /// Where its runtimes listen for ours, `host:port`; and they may come here.
    pub p2p: Option<String>,
    /// Domain of the identity provider whose proxy its stub is logged in by.
    pub login: Option<String>,
}

/// Connections between runtimes without a message node.
#[derive(Clone, PartialEq, Eq)]
pub struct P2pSettings {
    /// Where the net role listens, `address:port`.
    pub listen: String,
    /// Certificate and chain in PEM, read by the shell.
    pub certificate_pem: String,
    /// Private key in PEM, read by the shell.
    pub key_pem: String,
    /// Where the stubs of both sides are listed; `None`: in the home domain's catalogue.
    pub catalogue: Option<String>,
}

impl std::fmt::Debug for P2pSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's to read in a log.
        f.debug_struct("P2pSettings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// The configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address of this runtime, canonical.
    pub runtime_url: String,
    /// Home domain.
    pub domain: String,
    /// Whether addresses are allocated by the home domain's message node; else they are made here.
    pub addresses_from_node: bool,
    /// Whether who is here is registered at the home domain's registry.
    pub register: bool,
    /// Milliseconds that such a registration lasts unless it is refreshed.
    pub lease_ms: u64,
    /// Version of the program.
    pub version: String,
    /// Pid of the daemon.
    pub pid: u32,
    /// Whose the daemon is, and what it loads by itself.
    pub uid: u32,
    /// Hyperties that are loaded at the start, by their address in a catalogue.
    pub hyperties: Vec<String>,
    /// Milliseconds since the epoch at `Time(0)`.
    pub epoch_ms: u64,
    /// Seed for jitter.
    pub seed: u64,
    /// What identifiers are made of that nobody may foresee.
    pub secret: Secret,
    /// By domain, and by legacy key.
    pub domains: BTreeMap<String, DomainSettings>,
    /// Lowest level at which foreign code is run.
    pub minimum: Level,
    /// Bytes of a stub's heap.
    pub memory_bytes: u64,
    /// Milliseconds from spawn to ready.
    pub start_timeout_ms: u64,
    /// First delay after the immediate restart.
    pub backoff_initial_ms: u64,
    /// Longest delay.
    pub backoff_max_ms: u64,
    /// Unasked exits within the window that are still restarted.
    pub max_restarts: u32,
    /// The window.
    pub window_ms: u64,
    /// Between heartbeats.
    pub heartbeat_ms: u64,
    /// After which an unused stub is stopped.
    pub idle_ms: u64,
    /// Deadline of a request that does not say.
    pub default_deadline_ms: u64,
    /// Messages parked per route key.
    pub parked_messages: usize,
    /// Whether and how this runtime talks to others directly.
    pub p2p: Option<P2pSettings>,
}

impl Settings {
    /// These, for the runtime that `old` are in force for: what it is called and what was true at
    /// its start cannot change while it lives.
    #[must_use]
    pub fn in_place_of(self, old: &Self) -> Self {
        Self {
            runtime_url: old.runtime_url.clone(),
            domain: old.domain.clone(),
            version: old.version.clone(),
            pid: old.pid,
            uid: old.uid,
            epoch_ms: old.epoch_ms,
            seed: old.seed,
            secret: old.secret.clone(),
            p2p: old.p2p.clone(),
            ..self
        }
    }
}

impl Settings {
    /// Whether stubs are logged in by the proxy of this identity provider.
    pub fn is_login_provider(&self, domain: &str) -> bool {
        self.domains.values().any(|settings| settings.login.as_deref() == Some(domain))
    }

    /// Whether it is the address of a hyperty in a catalogue.
    pub fn is_hyperty(&self, url: &str) -> bool {
        Place::read(url, self).is_some()
    }

    /// Whether messages to this domain may go over a connection with its runtime.
    pub(crate) fn talks_directly(&self, domain: &str) -> bool {
        let place = self.domains.get(domain).and_then(|settings| settings.p2p.as_ref());
        self.p2p.is_some() && domain != self.domain && place.is_some()
    }

    /// Whether there is a message node besides: of a domain that is talked to directly, its
    /// catalogue must be named.
    pub(crate) fn has_node(&self, domain: &str) -> bool {
        self.domains.get(domain).is_some_and(|settings| settings.catalogue.is_some())
    }

    /// Whether the operator configured a stub for the home domain: its catalogue is named.
    pub fn has_home_stub(&self) -> bool {
        let named = self.domains.get(&self.domain).is_some_and(|d| d.catalogue.is_some());
        named && self.domain != "localhost"
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runtime_url: "hyperty-runtime://localhost/runtime".to_owned(),
            domain: "localhost".to_owned(),
            addresses_from_node: false,
            register: false,
            lease_ms: 3_600_000,
            version: String::new(),
            pid: 0,
            uid: 0,
            hyperties: Vec::new(),
            epoch_ms: 0,
            seed: 1,
            secret: Secret::new([0; 32]),
            domains: BTreeMap::new(),
            minimum: Level::Namespaces,
            memory_bytes: 64 * 1_048_576,
            start_timeout_ms: 3_000,
            backoff_initial_ms: 200,
            backoff_max_ms: 60_000,
            max_restarts: 5,
            window_ms: 60_000,
            heartbeat_ms: 5_000,
            idle_ms: 600_000,
            default_deadline_ms: 15_000,
            parked_messages: 256,
            p2p: None,
        }
    }
}
