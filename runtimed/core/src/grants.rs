//! Grants: what a stub may reach (CONTRACT §6). Derived from the descriptor, bounded by policy,
//! extended by the operator.

use crate::settings::DomainSettings;
use crate::ua::Way;
use protocol::descriptor::WantedHost;
use protocol::limits::GRANTS_MAX;
use std::collections::BTreeSet;

/// Ports from 1024 up that no descriptor gets: mail, remote shells, databases and their kind.
const DENIED_PORTS: &[u16] = &[
    1433, 1521, 2049, 2222, 2375, 2376, 2379, 2380, 2525, 3306, 3389, 4369, 5432, 5433, 5900, 5984,
    5985, 5986, 6379, 6443, 7000, 7001, 8086, 9042, 9200, 9300, 10250, 11211, 15672, 27017, 27018,
    27019, 50000,
];

/// What was granted, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// `host:port` derived from the descriptor.
    pub(crate) derived: BTreeSet<String>,
    /// `host:port` that the operator added.
    pub(crate) operator: BTreeSet<String>,
    /// What was asked for and not granted, each with the reason.
    pub(crate) refused: Vec<String>,
}

impl Grants {
    /// Decides.
    pub(crate) fn decide(wanted: &[WantedHost], domain: &DomainSettings) -> Self {
        let mut grants = Self {
            operator: domain.connect.iter().map(|target| target.to_ascii_lowercase()).collect(),
            ..Self::default()
        };
        for want in wanted {
            let target = format!("{}:{}", want.host, want.port);
            if grants.operator.contains(&target) {
                continue;
            }
            match objection(want, domain, grants.derived.len()) {
                Some(why) => grants.refused.push(format!("{target}: {why}")),
                None => {
                    grants.derived.insert(target);
                }
            }
        }
        grants
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<String> {
        self.derived.union(&self.operator).cloned().collect()
    }

    /// Whether these ask for nothing beyond `first`.
    pub(crate) fn are_within(&self, first: &Self) -> bool {
        self.all().iter().all(|target| {
            first.derived.contains(target)
                || first.operator.contains(target)
                || self.operator.contains(target)
        })
    }

    /// Where a granted target is found; `None` if it is not granted.
    pub(crate) fn way(&self, host: &str, port: u16, domain: &DomainSettings) -> Option<Way> {
        let target = format!("{}:{port}", host.to_ascii_lowercase());
        let by_operator = self.operator.contains(&target);
        if !by_operator && !self.derived.contains(&target) {
            return None;
        }
        Some(mapped(host, port, by_operator && domain.private, domain))
    }
}

/// Where a name is really found. A mapped name may lead to a non-public address: the operator wrote
/// that address down.
pub(crate) fn mapped(host: &str, port: u16, private: bool, domain: &DomainSettings) -> Way {
    let target = format!("{host}:{port}");
    let place = domain.hosts.get(&target).and_then(|place| {
        let (host, port) = place.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    });
    match place {
        Some((host, port)) => Way { host, port, private: domain.private },
        None => Way { host: host.to_owned(), port, private },
    }
}

fn objection(want: &WantedHost, domain: &DomainSettings, granted: usize) -> Option<String> {
    if granted >= GRANTS_MAX {
        return Some(format!("more than {GRANTS_MAX} hosts"));
    }
    if !want.secure && !domain.private {
        return Some("plain text needs private = true".to_owned());
    }
    let literal = want.host.starts_with('[')
        || want
            .host
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    let is_mapped = domain.hosts.contains_key(&format!("{}:{}", want.host, want.port));
    if literal && !is_mapped {
        return Some("an address instead of a name; grant it with connect".to_owned());
    }
    match want.port {
        443 => None,
        80 if domain.private => None,
        port if port >= 1024 && !DENIED_PORTS.contains(&port) => None,
        port => Some(format!("port {port} is not granted to descriptors")),
    }
}

#[cfg(test)]
mod tests {
    use super::Grants;
    use crate::settings::DomainSettings;
    use protocol::descriptor::WantedHost;

    fn want(host: &str, port: u16, secure: bool) -> WantedHost {
        WantedHost { host: host.to_owned(), port, secure }
    }

    #[test]
    fn a_table_of_wishes() {
        let public = DomainSettings::default();
        let private = DomainSettings { private: true, ..DomainSettings::default() };
        for (host, port, secure, on_public, on_private) in [
            ("a.example", 443, true, true, true),
            ("a.example", 8443, true, true, true),
            ("a.example", 80, true, false, true),
            ("a.example", 443, false, false, true),
            ("a.example", 22, true, false, false),
            ("a.example", 25, true, false, false),
            ("a.example", 6379, true, false, false),
            ("a.example", 1023, true, false, false),
            ("a.example", 1024, true, true, true),
            ("127.0.0.1", 443, true, false, false),
            ("[::1]", 443, true, false, false),
            ("2130706433", 443, true, false, false),
        ] {
            for (domain, expected) in [(&public, on_public), (&private, on_private)] {
                let grants = Grants::decide(&[want(host, port, secure)], domain);
                assert_eq!(!grants.derived.is_empty(), expected, "{host}:{port} {domain:?}");
                assert_eq!(grants.refused.is_empty(), expected, "{host}:{port}");
            }
        }
    }

    #[test]
    fn the_ninth_host_is_refused_and_named() {
        let wanted: Vec<_> = (0..9).map(|n| want(&format!("h{n}.example"), 443, true)).collect();
        let grants = Grants::decide(&wanted, &DomainSettings::default());
        assert_eq!((grants.derived.len(), grants.refused.len()), (8, 1));
        assert!(grants.refused.iter().all(|text| text.starts_with("h8.example:443")));
    }

    #[test]
    fn only_what_the_operator_names_may_be_private() {
        let mut domain = DomainSettings { private: true, ..DomainSettings::default() };
        domain.connect.push("127.0.0.1:9090".to_owned());
        domain.hosts.insert("slack.com:443".to_owned(), "127.0.0.1:9443".to_owned());
        let wanted = [
            want("slack.com", 443, true),
            want("evil.example", 443, true),
            want("127.0.0.1", 9090, false),
        ];
        let grants = Grants::decide(&wanted, &domain);
        let way = |host: &str, port| grants.way(host, port, &domain);
        assert!(way("127.0.0.1", 9090).unwrap().private);
        let slack = way("slack.com", 443).unwrap();
        assert_eq!((slack.host.as_str(), slack.port, slack.private), ("127.0.0.1", 9443, true));
        assert!(!way("evil.example", 443).unwrap().private);
        assert_eq!(way("127.0.0.1", 6379), None);
        domain.private = false;
        assert!(!grants.way("127.0.0.1", 9090, &domain).unwrap().private);
    }

    #[test]
    fn an_update_that_asks_for_more_is_not_within() {
        let domain = DomainSettings::default();
        let first = Grants::decide(&[want("a.example", 443, true)], &domain);
        let more =
            Grants::decide(&[want("a.example", 443, true), want("b.example", 443, true)], &domain);
        assert!(first.are_within(&more) && !more.are_within(&first));
    }
}
