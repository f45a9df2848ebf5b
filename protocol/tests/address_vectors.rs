//! Addresses seen from outside: one row per spelling with everything that is derived from it, the
//! bounds at the edge and one past, and properties of ownership (CONTRACT §3, security finding 13).
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use proptest::prelude::*;
use protocol::address::{Address, AddressError, RouteKey, SchemeClass, is_within};
use protocol::limits::ADDRESS_BYTES_MAX;

const HOME: &str = "home.example";

use SchemeClass::{Backend, DataObject, Hyperty, Idp, Legacy, Runtime, User};

/// Spelling, canonical form, domain, class, whether it is of a back end, name of the route key
/// (empty: no stub may lead there).
type Row = (&'static str, &'static str, &'static str, SchemeClass, bool, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // runtime-core §2.3, as far as the rows do not break the canonical form.
    ("runtime://sp.sp/8456/sm", "hyperty-runtime://sp.sp/8456/sm", "sp.sp", Runtime, false, "sp.sp"),
    ("runtime://sp1.sp", "hyperty-runtime://sp1.sp", "sp1.sp", Runtime, false, "sp1.sp"),
    ("runtime://sp1.sp/", "hyperty-runtime://sp1.sp", "sp1.sp", Runtime, false, "sp1.sp"),
    ("hyperty-runtime://sp1/protostub/123", "hyperty-runtime://sp1/protostub/123", "sp1", Runtime, false, "sp1"),
    ("hyperty-runtime://sp1/protostub/123/status", "hyperty-runtime://sp1/protostub/123/status", "sp1", Runtime, false, "sp1"),
    ("Runtime://SP.sp/Ab", "hyperty-runtime://sp.sp/Ab", "sp.sp", Runtime, false, "sp.sp"),
    ("RUNTIME://ua.pt/rt1/registry/", "hyperty-runtime://ua.pt/rt1/registry", "ua.pt", Runtime, false, "ua.pt"),
    ("Hyperty-Runtime://ua.pt/rt1/discovery/", "hyperty-runtime://ua.pt/rt1/discovery", "ua.pt", Runtime, false, "ua.pt"),
    ("runtime://ua.pt/rt1/p2phandler/f93f98b5-8944-9428-eb3e-95319e4263a1", "hyperty-runtime://ua.pt/rt1/p2phandler/f93f98b5-8944-9428-eb3e-95319e4263a1", "ua.pt", Runtime, false, "ua.pt"),
    ("domain://msg-node.sp1.sp/hyperty-address-allocation", "domain://msg-node.sp1.sp/hyperty-address-allocation", "sp1.sp", Backend, true, "sp1.sp"),
    ("domain://msg-node.other2.com/sm", "domain://msg-node.other2.com/sm", "other2.com", Backend, true, "other2.com"),
    ("DOMAIN://MSG-NODE.Other2.COM/sm/", "domain://msg-node.other2.com/sm", "other2.com", Backend, true, "other2.com"),
    ("domain://registry.other3.com", "domain://registry.other3.com", "other3.com", Backend, true, "other3.com"),
    ("domain://registry.other3.com/", "domain://registry.other3.com", "other3.com", Backend, true, "other3.com"),
    ("domain://registry.ua.pt", "domain://registry.ua.pt", "ua.pt", Backend, true, "ua.pt"),
    ("domain://sp1.sp", "domain://sp1.sp", "sp1.sp", Backend, true, "sp1.sp"),
    ("global://registry", "global://registry", "registry", Backend, true, HOME),
    ("global://registry/", "global://registry", "registry", Backend, true, HOME),
    ("GLOBAL://Registry/", "global://registry", "registry", Backend, true, HOME),
    ("domain-idp://google.com", "domain-idp://google.com", "google.com", Idp, true, "idp.google.com"),
    ("domain-idp://Google.com/stub/1/status", "domain-idp://google.com/stub/1/status", "google.com", Idp, true, "idp.google.com"),
    ("hyperty://localhost:9090/test", "hyperty://localhost:9090/test", "localhost:9090", Hyperty, false, "localhost:9090"),
    ("hyperty://localhost/test", "hyperty://localhost/test", "localhost", Hyperty, false, "localhost"),
    ("hyperty://other.com/x", "hyperty://other.com/x", "other.com", Hyperty, false, "other.com"),
    ("hyperty://registry.ua.pt/1", "hyperty://registry.ua.pt/1", "ua.pt", Hyperty, true, "ua.pt"),
    ("hyperty://msg-node.ua.pt:8443/1", "hyperty://msg-node.ua.pt:8443/1", "ua.pt:8443", Hyperty, true, "ua.pt:8443"),
    ("hyperty://registryx.ua.pt/1", "hyperty://registryx.ua.pt/1", "registryx.ua.pt", Hyperty, false, "registryx.ua.pt"),
    ("hyperty://my-msg-node.ua.pt/1", "hyperty://my-msg-node.ua.pt/1", "my-msg-node.ua.pt", Hyperty, false, "my-msg-node.ua.pt"),
    ("hyperty://a.b/c?x=1", "hyperty://a.b/c?x=1", "a.b", Hyperty, false, "a.b"),
    ("hyperty://a.b/c#d", "hyperty://a.b/c#d", "a.b", Hyperty, false, "a.b"),
    ("hyperty://a.b/x:y@z", "hyperty://a.b/x:y@z", "a.b", Hyperty, false, "a.b"),
    ("hyperty://a.b/C%2FD", "hyperty://a.b/C%2FD", "a.b", Hyperty, false, "a.b"),
    ("hyperty://a.b/%25", "hyperty://a.b/%25", "a.b", Hyperty, false, "a.b"),
    ("hyperty://a.b/...", "hyperty://a.b/...", "a.b", Hyperty, false, "a.b"),
    ("hyperty://a.b/.hidden", "hyperty://a.b/.hidden", "a.b", Hyperty, false, "a.b"),
    ("hyperty://xn--bcher-kva.example/x", "hyperty://xn--bcher-kva.example/x", "xn--bcher-kva.example", Hyperty, false, "xn--bcher-kva.example"),
    ("hyperty://127.0.0.1.example/x", "hyperty://127.0.0.1.example/x", "127.0.0.1.example", Hyperty, false, "127.0.0.1.example"),
    ("hyperty://a.0xg/x", "hyperty://a.0xg/x", "a.0xg", Hyperty, false, "a.0xg"),
    ("hyperty://a.b:1/x", "hyperty://a.b:1/x", "a.b:1", Hyperty, false, "a.b:1"),
    ("hyperty://a.b:443/x", "hyperty://a.b:443/x", "a.b:443", Hyperty, false, "a.b:443"),
    ("comm://localhost/f3/children/chat", "comm://localhost/f3/children/chat", "localhost", DataObject, false, "localhost"),
    ("comm://localhost/f3/children/", "comm://localhost/f3/children", "localhost", DataObject, false, "localhost"),
    ("Comm://A.b/f3/subscription", "comm://a.b/f3/subscription", "a.b", DataObject, false, "a.b"),
    ("connection://a.b/1", "connection://a.b/1", "a.b", DataObject, false, "a.b"),
    ("context://a.b/1/changes", "context://a.b/1/changes", "a.b", DataObject, false, "a.b"),
    ("ctxt://a.b/1", "ctxt://a.b/1", "a.b", DataObject, false, "a.b"),
    ("hello://a.b/1", "hello://a.b/1", "a.b", DataObject, false, "a.b"),
    ("resource://a.b/1", "resource://a.b/1", "a.b", DataObject, false, "a.b"),
    ("walletData://a.b/1", "walletdata://a.b/1", "a.b", DataObject, false, "a.b"),
    ("user://google.com/x@gmail.com", "user://google.com/x@gmail.com", "google.com", User, false, "google.com"),
    ("acct://sp.example/alice", "acct://sp.example/alice", "sp.example", User, false, "sp.example"),
    ("slack://user@slack.com", "slack://user@slack.com", "slack.com", Legacy, false, "slack.slack.com"),
    ("slack:user@slack.com", "slack://user@slack.com", "slack.com", Legacy, false, "slack.slack.com"),
    ("sip:alice@ims.example.com", "sip://alice@ims.example.com", "ims.example.com", Legacy, false, "sip.ims.example.com"),
    ("sip://alice@ims.example.com/", "sip://alice@ims.example.com", "ims.example.com", Legacy, false, "sip.ims.example.com"),
    ("SIP:Alice@IMS.Example.com", "sip://Alice@ims.example.com", "ims.example.com", Legacy, false, "sip.ims.example.com"),
    ("sip:alice@ims.example.com:5060", "sip://alice@ims.example.com:5060", "ims.example.com:5060", Legacy, false, "sip.ims.example.com:5060"),
    ("sip:+351123456@ims.example.com", "sip://+351123456@ims.example.com", "ims.example.com", Legacy, false, "sip.ims.example.com"),
    ("xmpp:bob@sip.co.uk/phone", "xmpp://bob@sip.co.uk/phone", "sip.co.uk", Legacy, false, "xmpp.sip.co.uk"),
    ("matrix://a.b-c_d@m.org", "matrix://a.b-c_d@m.org", "m.org", Legacy, false, "matrix.m.org"),
    // Nobody may speak for a foreign scheme without a user.
    ("hyperty-catalogue://catalogue.a.b/.well-known/protocolstub/default", "hyperty-catalogue://catalogue.a.b/.well-known/protocolstub/default", "catalogue.a.b", Legacy, false, ""),
    ("https://example.com/x", "https://example.com/x", "example.com", Legacy, false, ""),
    ("h://x", "h://x", "x", Legacy, false, ""),
    ("user-guid://abcdef", "user-guid://abcdef", "abcdef", User, false, ""),
    ("hyperty-runtime://sandbox/internal", "hyperty-runtime://sandbox/internal", "sandbox", Runtime, false, ""),
    ("mn://session", "mn://session", "session", SchemeClass::Session, false, ""),
];

#[rustfmt::skip]
const REFUSED: &[(&str, AddressError)] = &[
    ("user://foo@bar.com", AddressError::User),
    ("global://x@registry", AddressError::User),
    ("comm://x@a.b/1", AddressError::User),
    ("runtime://x@a.b/1", AddressError::User),
    ("hyperty:x@a.b", AddressError::Scheme),
    ("runtime:x@a.b", AddressError::Scheme),
    ("mn:/session", AddressError::Scheme),
    ("tel:+351123456", AddressError::Scheme),
    ("ua.pt", AddressError::Scheme),
    ("//a.b/x", AddressError::Scheme),
    ("sip:b.example/x@y", AddressError::Scheme),
    ("sip:@a.b", AddressError::User),
    ("sip:a%40b@c.d", AddressError::User),
    ("sip:a@", AddressError::Host),
    ("sip:a@127.0.0.1", AddressError::Host),
    ("sip:a@b.c.", AddressError::Host),
    ("hyperty://a.b?x=1", AddressError::Host),
    ("hyperty://a.b#x", AddressError::Host),
    ("hyperty://a,b/x", AddressError::Host),
    ("hyperty://a.b.1/x", AddressError::Host),
    ("hyperty://a.0x/x", AddressError::Host),
    ("hyperty://0X7F/x", AddressError::Host),
    ("hyperty://0177.0.0.01/x", AddressError::Host),
    ("hyperty://./x", AddressError::Host),
    ("hyperty://msg-node./x", AddressError::Host),
    ("hyperty://%61.b/x", AddressError::Host),
    ("hyperty://\u{2460}\u{2461}\u{2466}.\u{24ea}.\u{24ea}.\u{2460}/x", AddressError::Character),
    ("hyperty://b\u{fc}cher.example/x", AddressError::Character),
    ("hyperty://a.b/\u{200b}x", AddressError::Character),
    ("hyperty://a\u{3002}b/x", AddressError::Character),
    ("hyperty://a.b/x\n", AddressError::Character),
    (" hyperty://a.b/x", AddressError::Character),
    ("hyperty://a.b/x\u{7f}", AddressError::Character),
    ("hyperty://a.b:+80/x", AddressError::Port),
    ("hyperty://a.b:-1/x", AddressError::Port),
    ("hyperty://a.b:80:80/x", AddressError::Port),
    ("hyperty://a.b//", AddressError::Segment),
    ("hyperty://a.b/./", AddressError::Segment),
    ("hyperty://a.b/../x", AddressError::Segment),
    ("hyperty://a.b/%2e%2e/x", AddressError::Percent),
    ("hyperty://a.b/%2E%2E/x", AddressError::Percent),
    ("hyperty://a.b/%c3%a9", AddressError::Percent),
    ("hyperty://a.b/%7E", AddressError::Percent),
    ("hyperty://a.b/%+1", AddressError::Percent),
    ("hyperty://msg-node.registry.x/y", AddressError::Prefix),
    ("hyperty://registry.msg-node.x/y", AddressError::Prefix),
    ("domain://msg-node.msg-node.x:80", AddressError::Prefix),
];

#[test]
fn attack_013_every_row_has_one_spelling_and_one_meaning() {
    for (text, canonical, domain, class, backend, key) in ROWS {
        let address = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(address.as_str(), *canonical, "{text}");
        assert_eq!(address.domain(), *domain, "{text}");
        assert_eq!(address.class(), *class, "{text}");
        assert_eq!(address.is_backend(), *backend, "{text}");
        let found = address.route_key(HOME).map_or(String::new(), |key| key.to_string());
        assert_eq!(found, *key, "{text}");
        assert_eq!(Address::parse(canonical).as_ref(), Ok(&address), "{text}");
    }
    for (text, error) in REFUSED {
        assert_eq!(Address::parse(text).map(|a| a.to_string()), Err(*error), "{text}");
    }
}

#[test]
fn the_parts_of_every_row_make_up_its_text() {
    for (text, ..) in ROWS {
        let address = Address::parse(text).unwrap();
        let user = address.user().map_or(String::new(), |user| format!("{user}@"));
        let (scheme, host, path) = (address.scheme(), address.host(), address.path());
        assert_eq!(format!("{scheme}://{user}{host}{path}"), address.as_str());
        let segments = address.segments().fold(String::new(), |all, segment| all + "/" + segment);
        assert_eq!(segments, path, "{text}");
        assert_eq!(address.is_legacy(), !user.is_empty(), "{text}");
    }
}

#[test]
fn only_hyperties_and_data_objects_can_be_claimed() {
    for (text, _, _, class, ..) in ROWS {
        let claimable = Address::parse(text).unwrap().class().is_claimable();
        assert_eq!(claimable, matches!(class, Hyperty | DataObject), "{text}");
    }
}

#[test]
fn a_route_key_is_the_same_for_every_element_of_a_domain() {
    let key = |text: &str| Address::parse(text).unwrap().route_key(HOME);
    let domain = Some(RouteKey::Domain("ua.pt".to_owned()));
    for text in
        ["hyperty://ua.pt/1", "domain://msg-node.UA.pt/sm", "runtime://ua.pt", "user://ua.pt/x"]
    {
        assert_eq!(key(text), domain, "{text}");
    }
    // One legacy network never stands for another, nor for a domain that is spelt like its key.
    assert_ne!(key("sip:a@b.example"), key("xmpp:a@b.example"));
    assert_ne!(key("sip:a@x.co.uk"), key("sip:a@y.co.uk"));
    assert_ne!(key("sip:a@b.example"), key("hyperty://sip.b.example/x"));
    assert_ne!(key("domain-idp://b.example"), key("hyperty://idp.b.example/x"));
}

#[test]
fn lengths_pass_at_the_edge_and_are_refused_one_past() {
    let whole = |bytes: usize| format!("hyperty://a.b/{}", "x".repeat(bytes - 14));
    assert_eq!(
        Address::parse(&whole(ADDRESS_BYTES_MAX)).unwrap().as_str().len(),
        ADDRESS_BYTES_MAX
    );
    assert_eq!(Address::parse(&whole(ADDRESS_BYTES_MAX + 1)), Err(AddressError::TooLong));
    // What grows while it is rewritten is measured in its canonical form, too.
    let alias = |bytes: usize| format!("runtime://a.b/{}", "x".repeat(bytes - 22));
    assert_eq!(
        Address::parse(&alias(ADDRESS_BYTES_MAX)).unwrap().as_str().len(),
        ADDRESS_BYTES_MAX
    );
    assert_eq!(Address::parse(&alias(ADDRESS_BYTES_MAX + 1)), Err(AddressError::TooLong));

    let scheme = |bytes: usize| Address::parse(&format!("{}://a.b", "s".repeat(bytes)));
    assert!(scheme(32).is_ok());
    assert_eq!(scheme(33), Err(AddressError::Scheme));
    let label = |bytes: usize| Address::parse(&format!("hyperty://{}.b/x", "l".repeat(bytes)));
    assert!(label(63).is_ok());
    assert_eq!(label(64), Err(AddressError::Host));
    let host = |last: usize| {
        let long = "l".repeat(63);
        Address::parse(&format!("hyperty://{long}.{long}.{long}.{}:65535/x", "l".repeat(last)))
    };
    assert!(host(61).is_ok(), "253 bytes; the port does not count");
    assert_eq!(host(62), Err(AddressError::Host));
}

#[test]
fn a_child_is_one_segment_and_never_leaves_its_parent() {
    let parent = Address::parse("hyperty://a.b/x").unwrap();
    assert_eq!(parent.child("status").unwrap().as_str(), "hyperty://a.b/x/status");
    for (segment, error) in [
        (".", AddressError::Segment),
        ("..", AddressError::Segment),
        ("a b", AddressError::Character),
    ] {
        assert_eq!(parent.child(segment), Err(error), "{segment}");
    }
}

/// A canonical address of any class, and a spelling of it that must be taken for the same.
fn spelt() -> impl Strategy<Value = (String, String)> {
    let row = prop::sample::select(ROWS);
    (row, any::<bool>(), "(/[A-Za-z0-9_~-]{1,6}){0,3}", any::<bool>()).prop_map(
        |((_, canonical, ..), upper, more, slash)| {
            let canonical = format!("{canonical}{more}");
            let (scheme, rest) = canonical.split_once("://").unwrap();
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let (user, host) =
                authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
            let scheme = if scheme == "hyperty-runtime" { "runtime" } else { scheme };
            let case = |text: &str| if upper { text.to_uppercase() } else { text.to_owned() };
            let slashes = if user.is_some() { "" } else { "//" };
            let user = user.map_or(String::new(), |user| format!("{user}@"));
            let end = if slash { "/" } else { "" };
            let spelling = format!("{}:{slashes}{user}{}{path}{end}", case(scheme), case(host));
            (canonical, spelling)
        },
    )
}

#[test]
fn an_argument_of_an_operator_is_spelt_like_the_addresses_that_it_serves() {
    let key = |text: &str| RouteKey::parse(text, HOME);
    let domain = |name: &str| Some(RouteKey::Domain(name.to_owned()));
    assert_eq!(key("A.b:8080"), domain("a.b:8080"));
    assert_eq!(key("msg-node.a.b"), domain("a.b"));
    for none in
        ["", "a.b:080", "a.b:+80", "a.b:0", "a.b:", "a.b/x", "a.b//", "x@a.b", "10.0.0.1:80"]
    {
        assert_eq!(key(none), None, "{none}");
    }
}

proptest! {
    #[test]
    fn attack_013_every_accepted_spelling_is_owned_by_the_same_owners((canonical, spelling) in spelt(), (owner, other_owner) in spelt()) {
        let (address, other) = (Address::parse(&canonical).unwrap(), Address::parse(&spelling).unwrap());
        prop_assert_eq!(address.as_str(), canonical.as_str());
        prop_assert_eq!(&other, &address);
        prop_assert_eq!(other.route_key(HOME), address.route_key(HOME));
        let (owner, same) = (Address::parse(&owner).unwrap(), Address::parse(&other_owner).unwrap());
        prop_assert_eq!(other.is_within(&same), address.is_within(&owner));
    }

    #[test]
    fn ownership_is_an_order((canonical, spelling) in spelt(), below in "[a-z]{1,6}", further in "[a-z]{1,6}") {
        let top = Address::parse(&canonical).unwrap();
        let middle = top.child(&below).unwrap();
        let bottom = middle.child(&further).unwrap();
        prop_assert!(top.is_within(&Address::parse(&spelling).unwrap()));
        prop_assert!(bottom.is_within(&middle) && middle.is_within(&top) && bottom.is_within(&top));
        prop_assert!(!top.is_within(&middle) && !middle.is_within(&bottom));
        let sibling = top.child(&format!("{below}{further}")).unwrap();
        prop_assert!(!sibling.is_within(&middle), "the same prefix is not below");
        prop_assert_eq!(is_within(sibling.as_str(), middle.as_str()), false);
    }

    #[test]
    fn arbitrary_bytes_are_one_canonical_address_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        stays_itself(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_changed_character_makes_one_canonical_address_or_none(row in prop::sample::select(ROWS), at in 0_usize..40, new in any::<char>(), ascii in 0x20_u8..0x7F, plain in any::<bool>()) {
        let mut text: Vec<char> = row.0.chars().collect();
        let place = at % text.len();
        if let Some(old) = text.get_mut(place) {
            *old = if plain { char::from(ascii) } else { new };
        }
        stays_itself(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn an_argument_of_an_operator_is_a_key_or_none(text in "\\PC{0,40}") {
        if let Some(key) = RouteKey::parse(&text, HOME) {
            prop_assert!(!key.domain().is_empty() && !key.lookup_names().is_empty());
            prop_assert!(key.to_string().is_ascii());
        }
    }
}

/// What is accepted is its own canonical form, and nothing in it can be read in two ways.
fn stays_itself(text: &str) -> Result<(), TestCaseError> {
    let Ok(address) = Address::parse(text) else { return Ok(()) };
    let again = Address::parse(address.as_str());
    prop_assert_eq!(again.as_ref().map(Address::as_str), Ok(address.as_str()));
    prop_assert_eq!(again.map(|a| a.route_key(HOME)), Ok(address.route_key(HOME)));
    prop_assert!(address.as_str().bytes().all(|byte| (0x21..=0x7E).contains(&byte)));
    prop_assert!(!address.as_str().ends_with('/') && !address.host().contains(['@', '/']));
    prop_assert!(!address.host().bytes().any(|byte| byte.is_ascii_uppercase()));
    prop_assert!(!matches!(address.scheme(), "runtime" | ""));
    prop_assert!(address.segments().all(|segment| !matches!(segment, "" | "." | "..")));
    Ok(())
}
