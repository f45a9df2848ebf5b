//! Vectors of the canonical form, and properties of ownership.

use super::{Address, AddressError, RouteKey, is_within};
use proptest::prelude::*;

/// Text, and its canonical form.
const ACCEPTED: &[(&str, &str)] = &[
    ("hyperty://example.com/bob", "hyperty://example.com/bob"),
    ("HYPERTY://Example.COM/Bob", "hyperty://example.com/Bob"),
    ("hyperty://example.com/bob/", "hyperty://example.com/bob"),
    ("hyperty://example.com", "hyperty://example.com"),
    ("hyperty://example.com/", "hyperty://example.com"),
    ("runtime://sp.sp/8456/sm", "hyperty-runtime://sp.sp/8456/sm"),
    ("RUNTIME://sp1.sp", "hyperty-runtime://sp1.sp"),
    ("hyperty-runtime://sp1/protostub/123", "hyperty-runtime://sp1/protostub/123"),
    ("hyperty-runtime://sandbox/internal", "hyperty-runtime://sandbox/internal"),
    (
        "domain://msg-node.sp1.sp/hyperty-address-allocation",
        "domain://msg-node.sp1.sp/hyperty-address-allocation",
    ),
    ("hyperty://localhost:9090/test", "hyperty://localhost:9090/test"),
    ("sip:alice@ims.example.com", "sip://alice@ims.example.com"),
    ("slack://user@slack.com", "slack://user@slack.com"),
    ("SIP:Alice@IMS.example.com", "sip://Alice@ims.example.com"),
    ("global://registry/", "global://registry"),
    ("user://google.com/x@gmail.com", "user://google.com/x@gmail.com"),
    ("user-guid://abcdef", "user-guid://abcdef"),
    ("hyperty://a.b/c?x=1", "hyperty://a.b/c?x=1"),
    ("h://x", "h://x"),
    ("domain-idp://google.com", "domain-idp://google.com"),
    ("comm://localhost/abc/children/x", "comm://localhost/abc/children/x"),
    ("hyperty://a-b.c1/x", "hyperty://a-b.c1/x"),
    ("hyperty://1a.b2c/x", "hyperty://1a.b2c/x"),
    ("hyperty://a.b/%20", "hyperty://a.b/%20"),
    ("hyperty://a.b/%2F", "hyperty://a.b/%2F"),
    ("hyperty://a.b:65535/x", "hyperty://a.b:65535/x"),
    ("registry.x+y://a.b/x", "registry.x+y://a.b/x"),
    ("hyperty://a.b/..x/x..", "hyperty://a.b/..x/x.."),
    ("hyperty://registry.a/x", "hyperty://registry.a/x"),
    ("hyperty://msg-node.a.b/x", "hyperty://msg-node.a.b/x"),
];

const REFUSED: &[(&str, AddressError)] = &[
    ("", AddressError::Scheme),
    ("*", AddressError::Scheme),
    ("localhost", AddressError::Scheme),
    ("user@gmail.com", AddressError::Scheme),
    ("://a.b", AddressError::Scheme),
    ("1x://a.b", AddressError::Scheme),
    ("hyperty:/a.b", AddressError::Scheme),
    ("hyperty:a.b", AddressError::Scheme),
    ("mn:/session", AddressError::Scheme),
    ("hy_perty://a.b", AddressError::Scheme),
    ("hyperty://", AddressError::Host),
    ("hyperty:///x", AddressError::Host),
    ("https://.foo.com/a", AddressError::Host),
    ("hyperty://example.com./x", AddressError::Host),
    ("hyperty://a..b/x", AddressError::Host),
    ("hyperty://-a.b/x", AddressError::Host),
    ("hyperty://a-.b/x", AddressError::Host),
    ("hyperty://a_b.c/x", AddressError::Host),
    ("hyperty://127.0.0.1/x", AddressError::Host),
    ("hyperty://2130706433/x", AddressError::Host),
    ("hyperty://127.1/x", AddressError::Host),
    ("hyperty://a.0x7f/x", AddressError::Host),
    ("hyperty://[::1]/x", AddressError::Port),
    ("tel:+351123456", AddressError::Scheme),
    ("hyperty://a.b:/x", AddressError::Port),
    ("hyperty://a.b:0/x", AddressError::Port),
    ("hyperty://a.b:080/x", AddressError::Port),
    ("hyperty://a.b:65536/x", AddressError::Port),
    ("hyperty://a.b:8o/x", AddressError::Port),
    ("hyperty://u@a.b/x", AddressError::User),
    ("hyperty-runtime://u@a.b/x", AddressError::User),
    ("sip://@a.b/x", AddressError::User),
    ("sip://a:b@c.d", AddressError::User),
    ("sip://a@b@c.d", AddressError::Host),
    ("hyperty://a.b//x", AddressError::Segment),
    ("hyperty://a.b/x//", AddressError::Segment),
    ("hyperty://a.b/./x", AddressError::Segment),
    ("hyperty://a.b/x/..", AddressError::Segment),
    ("hyperty://a.b/%61lice", AddressError::Percent),
    ("hyperty://a.b/%2f", AddressError::Percent),
    ("hyperty://a.b/%2", AddressError::Percent),
    ("hyperty://a.b/%", AddressError::Percent),
    ("hyperty://a.b/%ZZ", AddressError::Percent),
    ("hyperty://a.b/x y", AddressError::Character),
    ("hyperty://a.b/\u{e9}", AddressError::Character),
    ("hyperty://\u{2460}.b/x", AddressError::Character),
    ("hyperty://a.b/\u{202e}x", AddressError::Character),
    ("hyperty://a.b/\"", AddressError::Character),
    ("hyperty://a.b/\\", AddressError::Character),
    ("hyperty://a.b/\0", AddressError::Character),
    ("domain://msg-node.registry.a/x", AddressError::Prefix),
    ("domain://registry.registry.a/x", AddressError::Prefix),
];

#[test]
fn vectors_have_one_spelling_or_one_refusal() {
    for (text, canonical) in ACCEPTED {
        let address = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(address.as_str(), *canonical, "{text}");
    }
    for (text, error) in REFUSED {
        assert_eq!(Address::parse(text).map(|a| a.to_string()), Err(*error), "{text}");
    }
}

#[test]
fn parts_are_where_they_belong() {
    let address = Address::parse("sip:alice@ims.example.com:5060/x/y").unwrap();
    assert_eq!(address.scheme(), "sip");
    assert_eq!(address.user(), Some("alice"));
    assert_eq!(address.host(), "ims.example.com:5060");
    assert_eq!(address.path(), "/x/y");
    assert_eq!(address.segments().collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(Address::parse("domain://msg-node.a.b/sm").unwrap().domain(), "a.b");
}

#[test]
fn a_sibling_with_the_same_prefix_is_not_within() {
    let owner = Address::parse("runtime://ua.pt/rt1").unwrap();
    let within = |text: &str| Address::parse(text).unwrap().is_within(&owner);
    assert!(within("hyperty-runtime://ua.pt/rt1"));
    assert!(within("runtime://UA.pt/rt1/sm"));
    assert!(!within("runtime://ua.pt/rt12"));
    assert!(!within("runtime://ua.pt"));
    assert!(!within("runtime://ua.pt.evil/rt1"));
}

#[test]
fn route_keys_are_decided_by_the_address() {
    let key = |text: &str| Address::parse(text).unwrap().route_key("home.example");
    let domain = |name: &str| Some(RouteKey::Domain(name.to_owned()));
    assert_eq!(key("hyperty://example.com/bob"), domain("example.com"));
    assert_eq!(key("domain://msg-node.other2.com/sm"), domain("other2.com"));
    assert_eq!(key("domain://registry.other.com"), domain("other.com"));
    assert_eq!(key("global://registry"), domain("home.example"));
    assert_eq!(key("domain-idp://google.com"), Some(RouteKey::Idp("google.com".to_owned())));
    assert_eq!(key("sip:a@b.co.uk").unwrap().to_string(), "sip.b.co.uk");
    assert_eq!(
        key("sip:a@b.co.uk").unwrap().lookup_names(),
        ["sip.b.co.uk", "sip.co.uk", "default"]
    );
    assert_eq!(key("slack://u@slack.com").unwrap().lookup_names(), ["slack.slack.com", "default"]);
    assert_eq!(key("nonsense://a.b/x"), None);
    assert_ne!(key("slack://u@slack.com"), key("hyperty://slack.slack.com/x"));
    assert_eq!(RouteKey::parse("Example.com", "h"), domain("example.com"));
    assert_eq!(RouteKey::parse("sip:a@b.c", "h").unwrap().to_string(), "sip.b.c");
    assert_eq!(RouteKey::parse("not a domain", "h"), None);
    assert_eq!(RouteKey::parse("10.0.0.1", "h"), None);
}

fn any_address() -> impl Strategy<Value = String> {
    ("[a-z]{1,8}", "[a-z][a-z0-9]{0,5}(\\.[a-z]{1,5}){0,2}", "(/[a-zA-Z0-9._~-]{1,6}x){0,4}")
        .prop_map(|(scheme, host, path)| format!("{scheme}://{host}{path}"))
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(text in any_address()) {
        let address = Address::parse(&text).unwrap();
        prop_assert_eq!(Address::parse(address.as_str()).unwrap(), address);
    }

    #[test]
    fn every_accepted_spelling_has_the_same_owner(text in any_address(), owner in any_address(), upper in any::<bool>(), slash in any::<bool>()) {
        let (address, owner) = (Address::parse(&text).unwrap(), Address::parse(&owner).unwrap());
        let (scheme, rest) = text.split_once("://").unwrap();
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let spelling = format!(
            "{}://{}{path}{}",
            if upper { scheme.to_uppercase() } else { scheme.to_owned() },
            if upper { host.to_uppercase() } else { host.to_owned() },
            if slash { "/" } else { "" },
        );
        let other = Address::parse(&spelling).unwrap();
        prop_assert_eq!(&other, &address);
        prop_assert_eq!(other.is_within(&owner), address.is_within(&owner));
    }

    #[test]
    fn below_is_within_and_beside_is_not(text in any_address(), more in "[a-z]{1,5}") {
        let owner = Address::parse(&text).unwrap();
        prop_assert!(owner.child(&more).unwrap().is_within(&owner));
        let beside = format!("{owner}{more}");
        prop_assert!(!is_within(&beside, owner.as_str()));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        if let Ok(address) = Address::parse(&text) {
            prop_assert!(address.as_str().is_ascii());
            let _parts = (address.scheme(), address.user(), address.host(), address.path(), address.route_key("h"));
        }
    }
}
