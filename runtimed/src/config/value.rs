//! The values of the configuration that are more than a string: durations, sizes, hosts, origins.
//! Each is checked while the file is parsed, so that every error has its line and column.

use serde::Deserialize;

/// Milliseconds, written `200ms`, `3s`, `10m` or `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Millis(pub(crate) u64);

impl TryFrom<String> for Millis {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no duration; write for example \"200ms\", \"3s\", \"10m\"");
        let (number, unit) = split_unit(&text).ok_or_else(wrong)?;
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        match number.checked_mul(factor) {
            Some(0) => Err(format!("`{text}` is no time at all")),
            Some(millis) if millis <= 30 * 24 * 3_600_000 => Ok(Self(millis)),
            _ => Err(format!("`{text}` is longer than 30 days")),
        }
    }
}

/// Bytes, written `512KiB`, `64MiB` or `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Bytes(pub(crate) u64);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write for example \"64MiB\"");
        let (number, unit) = split_unit(&text).ok_or_else(wrong)?;
        let shift: u32 = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wrong()),
        };
        let bytes = number.checked_mul(1_u64 << shift);
        bytes.filter(|bytes| *bytes <= 1 << 40).map(Self).ok_or_else(wrong)
    }
}

/// A share of one processor, written `50%`; several processors are more than 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Percent(pub(crate) u32);

impl TryFrom<String> for Percent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let share = text.strip_suffix('%').and_then(|number| number.parse().ok());
        share.filter(|share| (1..=100_000).contains(share)).map(Self).ok_or_else(|| {
            format!("`{text}` is no share of a processor; write for example \"50%\"")
        })
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(at)?;
    Some((number.parse().ok()?, unit))
}

/// A domain: labels of letters, digits and hyphens, lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Domain(pub(crate) String);

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

impl TryFrom<String> for Domain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numeric = |text: &str| {
            text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
        };
        if !is_domain(&text) || numeric(&text) {
            return Err(format!(
                "`{text}` is no domain; write it in lower case, for example \"example.com\""
            ));
        }
        Ok(Self(text))
    }
}

/// Whom a section is about: a domain, or only the stub of one scheme of it, as in
/// `slack://slack.com`. Never both: `slack.slack.com` is a host that somebody may own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Section(pub(crate) String);

impl TryFrom<String> for Section {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some((scheme, domain)) = text.split_once("://") else {
            return Domain::try_from(text).map(|domain| Self(domain.0));
        };
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(letters) {
            return Err(format!("`{scheme}` is no scheme; write it in lower case"));
        }
        let _domain = Domain::try_from(domain.to_owned())?;
        Ok(Self(text))
    }
}

/// A `host:port` that may be connected to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HostPort(pub(crate) String);

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let port = !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port != 0);
    port && (literal || is_domain(host))
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_host_port(&text) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is no host and port; write for example \"127.0.0.1:9090\" or \"node.example:443\""
        ))
    }
}

/// An address of this machine and a port, to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ListenAt(pub(crate) String);

impl TryFrom<String> for ListenAt {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<std::net::SocketAddr>() {
            Ok(at) if at.port() >= 1_024 => Ok(Self(at.to_string())),
            Ok(_) => Err(format!("`{text}`: ports below 1024 need rights that nothing here has")),
            Err(_) => Err(format!(
                "`{text}` is no address and port; write for example \"127.0.0.1:7443\""
            )),
        }
    }
}

/// Base address of a catalogue, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Catalogue(pub(crate) String);

impl TryFrom<String> for Catalogue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let base = text.trim_end_matches('/');
        let plain = base.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@'));
        let good = match base.split_once("://") {
            Some(("http" | "https", rest)) => is_authority(rest.split('/').next().unwrap_or("")),
            Some(("file", rest)) => rest.starts_with('/'),
            _ => false,
        };
        if good && (plain || base.starts_with("file:")) {
            return Ok(Self(base.to_owned()));
        }
        Err(format!(
            "`{text}` is no catalogue; write https://…, http://… or file:///folder, without user or query"
        ))
    }
}

fn is_authority(text: &str) -> bool {
    is_host_port(text) || is_domain(text)
}

/// An origin that code may come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Origin(pub(crate) String);

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let rest = text.trim_end_matches('/').split_once("://");
        match rest {
            Some((scheme @ ("http" | "https"), authority)) if is_authority(authority) => {
                Ok(Self(format!("{scheme}://{authority}")))
            }
            _ => Err(format!("`{text}` is no origin; write for example \"https://cdn.example\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Catalogue, Domain, HostPort, Millis, Origin};

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn durations_have_a_unit_and_a_bound() {
        for (given, want) in
            [("200ms", 200), ("3s", 3_000), ("10m", 600_000), ("720h", 2_592_000_000)]
        {
            assert_eq!(Millis::try_from(text(given)), Ok(Millis(want)));
        }
        for bad in ["", "3", "s", "3 s", "-3s", "0s", "3d", "721h", "99999999999999999999s"] {
            assert!(Millis::try_from(text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_a_binary_unit_and_do_not_wrap() {
        assert_eq!(Bytes::try_from(text("64MiB")), Ok(Bytes(67_108_864)));
        for bad in ["64", "64MB", "64 MiB", "18446744073709551615GiB", "1025GiB"] {
            assert!(Bytes::try_from(text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_exact() {
        for good in ["127.0.0.1:9090", "node.example:443", "[::1]:80"] {
            assert!(HostPort::try_from(text(good)).is_ok(), "{good}");
        }
        for bad in
            ["node.example", "*.example:443", "Node.example:1", "a:0", "a:+1", "a:65536", "::1:80"]
        {
            assert!(HostPort::try_from(text(bad)).is_err(), "{bad}");
        }
        for bad in ["", "a..b", "Example.com", "example.com.", "a/b", "10.0.0.1", "ex_ample"] {
            assert!(Domain::try_from(text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn catalogues_and_origins_name_where_they_are() {
        let base = Catalogue::try_from(text("http://127.0.0.1:80/.well-known/")).unwrap();
        assert_eq!(base.0, "http://127.0.0.1:80/.well-known");
        assert_eq!(Catalogue::try_from(text("file:///srv/a b/")).unwrap().0, "file:///srv/a b");
        for bad in [
            "file://srv",
            "ftp://a.example",
            "http://u@a.example",
            "http://a.example?x",
            "http:///x",
        ] {
            assert!(Catalogue::try_from(text(bad)).is_err(), "{bad}");
        }
        assert_eq!(
            Origin::try_from(text("https://cdn.example/")).unwrap().0,
            "https://cdn.example"
        );
        assert!(Origin::try_from(text("https://cdn.example/x")).is_err());
    }
}
