//! Good and bad configuration files.

use super::{Config, ConfigError, LogLevel};
use protocol::ctl::Level;
use std::path::Path;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("runtimed.toml"), text)
}

#[test]
fn nothing_configured_is_every_default() {
    let config = parse("").unwrap();
    assert_eq!(config.settings, runtime_core::Settings::default());
    assert_eq!((config.bounds.open_files, config.uid_base), (128, 524_288));
    assert_eq!(config.log_level, LogLevel::Info);
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let shipped = include_str!("../../runtimed.toml");
    parse(shipped).unwrap();
    // There is no default for where others come in.
    let (before, rest) = shipped.split_once("# Connections between runtimes").unwrap();
    let shipped = format!(
        "{before}{}",
        rest.split_once("[log]").map(|(_, log)| format!("[log]{log}")).unwrap()
    );
    let uncommented: String = shipped
        .lines()
        .filter_map(|line| {
            let key = line.strip_prefix("# ")?;
            let is_key = key.split(' ').nth(1) == Some("=") && !key.contains("/etc/");
            is_key.then(|| format!("{key}\n"))
        })
        .collect();
    assert!(uncommented.contains("heartbeat"));
    let tables = shipped.lines().map(|line| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let key = line.split(' ').nth(1) == Some("=") && !line.contains("/etc/");
        if key || line.starts_with('[') { format!("{line}\n") } else { String::new() }
    });
    let config = parse(&tables.collect::<String>()).unwrap();
    let mut settings = config.settings;
    settings.domains.clear();
    assert_eq!(settings, runtime_core::Settings::default());
    assert_eq!((config.bounds.open_files, config.uid_base), (128, 524_288));
}

#[test]
fn every_key_of_the_contract_is_taken() {
    let config = parse(
        r#"
        [runtime]
        domain = "home.example"
        addresses = "node"
        register = true
        lease = "30m"
        hyperties = ["hyperty-catalogue://catalogue.example.com/.well-known/hyperty/Chat"]
        [domain."home.example"]
        catalogue = "https://home.example/.well-known"
        [domain."example.com"]
        catalogue = "http://127.0.0.1:8080/.well-known/"
        private = true
        connect = ["127.0.0.1:9090"]
        sources = ["https://cdn.example"]
        hosts = { "slack.com:443" = "127.0.0.1:9443" }
        integrity = "pin"
        login = "idp.example"
        [sandbox]
        minimum = "full"
        memory = "32MiB"
        cpu = "50%"
        pids = 4
        open_files = 64
        start_timeout = "1s"
        pool = 2
        uid_base = 700000
        [supervision]
        backoff_initial = "100ms"
        backoff_max = "30s"
        max_restarts = 3
        window = "30s"
        heartbeat = "2s"
        idle = "5m"
        [delivery]
        default_deadline = "5m"
        parked_messages = 16
        [log]
        level = "debug"
        [metrics]
        [chaos]
        [policy]
        "#,
    )
    .unwrap();
    let settings = &config.settings;
    assert_eq!(settings.domain, "home.example");
    assert!(settings.addresses_from_node && settings.register);
    assert_eq!(settings.lease_ms, 1_800_000);
    assert_eq!(settings.hyperties.len(), 1);
    let domain = &settings.domains["example.com"];
    assert_eq!(domain.catalogue.as_deref(), Some("http://127.0.0.1:8080/.well-known"));
    assert!(domain.private && domain.pin);
    assert_eq!(domain.hosts["slack.com:443"], "127.0.0.1:9443");
    assert_eq!(settings.minimum, Level::Full);
    assert_eq!(settings.memory_bytes, 32 << 20);
    assert_eq!(settings.default_deadline_ms, 300_000);
    assert_eq!((settings.heartbeat_ms, settings.idle_ms), (2_000, 300_000));
    assert_eq!((settings.max_restarts, settings.parked_messages), (3, 16));
    assert_eq!((config.bounds.open_files, config.uid_base), (64, 700_000));
    assert_eq!((config.bounds.processes, config.bounds.cpu_percent), (4, Some(50)));
    assert_eq!(config.bounds.memory_bytes, (32 + 48) << 20, "the heap, and what is beside it");
    assert_eq!(config.without_effect, ["sandbox.pool"]);
}

#[test]
fn every_error_has_its_line_and_column() {
    for (text, line, column, says) in [
        ("[runtime]\ndomian = \"x\"", 2, 1, "unknown field `domian`"),
        ("[runtme]\n", 1, 2, "unknown field `runtme`"),
        ("[runtime]\ndomain = \"Home.Example\"", 2, 10, "no domain"),
        ("[runtime]\ndomain = 5", 2, 10, "invalid type"),
        ("[runtime]\naddresses = \"far\"", 2, 13, "unknown variant"),
        ("[runtime]\naddresses = \"node\"", 2, 13, "a stub of the home domain"),
        ("[runtime]\nregister = true", 2, 12, "a stub of the home domain"),
        ("[runtime]\nlease = \"999ms\"", 2, 9, "at least 1s"),
        ("[runtime]\nhyperties = [\"Chat\"]", 2, 13, "no hyperty of a catalogue"),
        ("[sandbox]\nmemory = \"64MB\"", 2, 10, "no size"),
        ("[sandbox]\nminimum = \"strong\"", 2, 11, "no level"),
        ("[sandbox]\nopen_files = 5", 2, 14, "from 32"),
        ("[sandbox]\nuid_base = 0", 2, 12, "from 65536"),
        ("[sandbox]\npids = -1", 2, 8, "invalid value"),
        ("[sandbox]\npids = 0", 2, 8, "from 1 to 1024"),
        ("[sandbox]\ncpu = \"50\"", 2, 7, "no share"),
        ("[sandbox]\ncpu = \"0%\"", 2, 7, "no share"),
        ("[sandbox]\ncpu = \"100001%\"", 2, 7, "no share"),
        ("\n[supervision]\n  idle = \"10\"", 3, 10, "no duration"),
        ("[delivery]\ndefault_deadline = \"6m\"", 2, 20, "at most 5m"),
        ("[delivery]\nparked_messages = 70000", 2, 19, "from 0 to 65536"),
        ("[domain.\"example.com\"]\nconnect = [\"a.example:1\", \"b.example\"]", 2, 11, "no host"),
        ("[domain.\"example.com\"]\nca = \"/nonexistent/ca.pem\"", 2, 6, "trust root"),
        ("[domain.\"example.com\"]\nintegrity = \"require\"", 2, 13, "signed"),
        ("[domain.\"example.com\"]\nlogin = \"https://idp.example\"", 2, 9, "no domain"),
        ("[domain.\"a..b\"]\n", 1, 9, "no domain"),
        ("[domain.\"slack://a..b\"]\n", 1, 9, "no domain"),
        ("[domain.\"Slack://slack.com\"]\n", 1, 9, "no scheme"),
        ("[runtime]\ndomain = \"slack://slack.com\"", 2, 10, "no domain"),
        ("[p2p]\nlisten = \"x\"", 2, 10, "no address and port"),
        ("[p2p]\nlisten = \"localhost:7443\"", 2, 10, "no address and port"),
        ("[p2p]\nlisten = \"127.0.0.1:443\"", 2, 10, "below 1024"),
        ("[p2p]\nlisten = \"127.0.0.1:7443\"", 2, 10, "certificate and key"),
        ("[p2p]\ncatalogue = \"https://a.example\"", 2, 13, "certificate and key"),
        ("[domain.\"a.example\"]\np2p = \"a.example\"", 2, 7, "no host"),
        ("[log]\nlevel = \"loud\"", 2, 9, "unknown variant"),
        ("[sandbox\n", 1, 9, ""),
        ("[log]\nlevel = \"info\"\nlevel = \"info\"", 3, 1, "duplicate"),
    ] {
        match parse(text) {
            Err(ConfigError::Wrong { line: l, column: c, text: said, .. }) => {
                assert_eq!((l, c), (line, column), "{text}: {said}");
                assert!(said.contains(says), "{text}: {said}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let path = Path::new("/nonexistent/runtimed.toml");
    assert!(matches!(Config::load(path, true), Err(ConfigError::Read { .. })));
    assert!(Config::load(path, false).is_ok());
}

/// A folder with a certificate and a key, and the file that names them.
fn peers(key_mode: u32, certificate: &str, key: &str) -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (put("c.pem", certificate, 0o644), put("k.pem", key, key_mode));
    let text = format!(
        "[p2p]\nlisten = \"127.0.0.1:7443\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
    );
    (folder, text)
}

const CERTIFICATE: &str = include_str!("../../../tests/certificates/alpha.pem");
const KEY: &str = include_str!("../../../tests/certificates/alpha.key");

#[test]
fn a_listener_has_a_certificate_and_a_key_that_not_everybody_may_use() {
    let (_folder, text) = peers(0o640, CERTIFICATE, KEY);
    let p2p = parse(&text).unwrap().settings.p2p.unwrap();
    assert_eq!((p2p.listen.as_str(), p2p.key_pem.as_str()), ("127.0.0.1:7443", KEY));
    assert!(!format!("{p2p:?}").contains("PRIVATE"), "{p2p:?}");
    for (mode, certificate, key, line, says) in [
        (0o644, CERTIFICATE, KEY, 4, "everybody may use the key"),
        (0o600, KEY, KEY, 3, "there is no certificate in"),
        (0o600, CERTIFICATE, CERTIFICATE, 4, "there is no key in"),
        (0o600, CERTIFICATE, "-----BEGIN PRIVATE KEY-----\nAAAA", 4, "there is no key in"),
    ] {
        let (_folder, text) = peers(mode, certificate, key);
        match parse(&text) {
            Err(ConfigError::Wrong { line: at, text: said, .. }) => {
                assert!(at == line && said.contains(says), "{at}: {said}");
            }
            other => panic!("{other:?}"),
        }
    }
    let (folder, text) = peers(0o600, CERTIFICATE, KEY);
    drop(folder);
    let gone = parse(&text).unwrap_err().to_string();
    assert!(gone.contains("cannot read the certificate"), "{gone}");
}
