//! Addresses as a message node reads them: the domain, and who is above an address. Written apart
//! from the daemon's parser on purpose; a peer on the network has its own, too.

/// The host part of `scheme://[user@]host[:port]/path`, lower case and without backend prefix.
pub(super) fn domain_of(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?.to_ascii_lowercase();
    let bare =
        host.strip_prefix("msg-node.").or_else(|| host.strip_prefix("registry.")).unwrap_or(&host);
    (!bare.is_empty()).then(|| bare.to_owned())
}

/// The path of an address, without the leading slash.
pub(super) fn path_of(address: &str) -> &str {
    address.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, p)| p)
}

/// The address itself and each address above it that still has a path, longest first.
pub(super) fn lineage(address: &str) -> impl Iterator<Item = &str> {
    let floor = address.find("://").map_or(0, |at| at.saturating_add(3));
    std::iter::successors(Some(address), move |current| {
        let (above, _) = current.rsplit_once('/')?;
        (above.len() > floor && above.get(floor..)?.contains('/')).then_some(above)
    })
}

/// Whether `address` is `owner` or lies below it by whole path segments.
pub(super) fn covers(owner: &str, address: &str) -> bool {
    address.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_the_host_without_user_and_backend_prefix() {
        for (address, domain) in [
            ("hyperty://Example.com/bob", Some("example.com")),
            ("domain://msg-node.example.com/sm", Some("example.com")),
            ("domain://registry.example.com", Some("example.com")),
            ("slack://bob@slack.com", Some("slack.com")),
            ("mn:/session", None),
            ("hyperty:///bob", None),
        ] {
            assert_eq!(domain_of(address).as_deref(), domain, "{address}");
        }
    }

    #[test]
    fn lineage_ends_before_the_bare_host() {
        let all: Vec<_> = lineage("hyperty://a.example/x/y/z").collect();
        assert_eq!(
            all,
            ["hyperty://a.example/x/y/z", "hyperty://a.example/x/y", "hyperty://a.example/x"]
        );
        assert_eq!(lineage("domain://a.example").count(), 1);
    }

    #[test]
    fn a_longer_name_is_not_below_a_shorter_one() {
        assert!(covers("hyperty://a/x", "hyperty://a/x/y"));
        assert!(!covers("hyperty://a/x", "hyperty://a/xy"));
    }
}
