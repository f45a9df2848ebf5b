//! Which addresses a sandbox is never connected to: one table, no exceptions in code.
//!
//! The table is over *resolved* addresses. Whatever spelling a name had, the connection goes to
//! exactly the address that was checked here.

use super::datagram::datagram;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The discard port.
const ROUTE_PORT: u16 = 9;

/// Why an address is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reachable by anybody.
    Public,
    /// Somebody's own network, or the machine itself: only where the operator named the target.
    Private(&'static str),
    /// Never: no single host is meant.
    Never(&'static str),
}

/// A row: network, prefix length, class.
struct Row4(Ipv4Addr, u32, Class);
struct Row6(Ipv6Addr, u32, Class);

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

const fn v6(a: u16, b: u16, c: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
}

use Class::{Never, Private};

/// IANA special-purpose registry for IPv4, and the metadata services of clouds.
const TABLE4: &[Row4] = &[
    Row4(v4(0, 0, 0, 0), 8, Never("unspecified")),
    Row4(v4(10, 0, 0, 0), 8, Private("private")),
    Row4(v4(100, 64, 0, 0), 10, Private("carrier-grade NAT")),
    Row4(v4(127, 0, 0, 0), 8, Private("loopback")),
    Row4(v4(168, 63, 129, 16), 32, Private("cloud metadata")),
    Row4(v4(169, 254, 0, 0), 16, Private("link-local")),
    Row4(v4(172, 16, 0, 0), 12, Private("private")),
    Row4(v4(192, 0, 0, 0), 24, Private("protocol assignments")),
    Row4(v4(192, 0, 2, 0), 24, Private("documentation")),
    Row4(v4(192, 31, 196, 0), 24, Private("AS112")),
    Row4(v4(192, 52, 193, 0), 24, Private("AMT")),
    Row4(v4(192, 88, 99, 0), 24, Private("6to4 relay")),
    Row4(v4(192, 168, 0, 0), 16, Private("private")),
    Row4(v4(192, 175, 48, 0), 24, Private("AS112")),
    Row4(v4(198, 18, 0, 0), 15, Private("benchmarks")),
    Row4(v4(198, 51, 100, 0), 24, Private("documentation")),
    Row4(v4(203, 0, 113, 0), 24, Private("documentation")),
    Row4(v4(224, 0, 0, 0), 4, Never("multicast")),
    Row4(v4(255, 255, 255, 255), 32, Never("broadcast")),
    Row4(v4(240, 0, 0, 0), 4, Private("reserved")),
];

/// IPv6: the ranges that hide an IPv4 address are refused whole, whatever they hide.
const TABLE6: &[Row6] = &[
    Row6(Ipv6Addr::UNSPECIFIED, 128, Never("unspecified")),
    Row6(Ipv6Addr::LOCALHOST, 128, Private("loopback")),
    Row6(v6(0, 0, 0), 96, Private("IPv4-compatible")),
    Row6(v6(0x64, 0xff9b, 0), 96, Private("NAT64")),
    Row6(v6(0x64, 0xff9b, 1), 48, Private("NAT64")),
    Row6(v6(0x100, 0, 0), 64, Private("discard")),
    Row6(v6(0x2001, 0, 0), 23, Private("Teredo and protocol assignments")),
    Row6(v6(0x2001, 0xdb8, 0), 32, Private("documentation")),
    Row6(v6(0x2002, 0, 0), 16, Private("6to4")),
    Row6(v6(0x3fff, 0, 0), 20, Private("documentation")),
    Row6(v6(0x5f00, 0, 0), 16, Private("segment routing")),
    Row6(v6(0xfc00, 0, 0), 7, Private("unique local")),
    Row6(v6(0xfe80, 0, 0), 10, Private("link-local")),
    Row6(v6(0xfec0, 0, 0), 10, Private("site-local")),
    Row6(v6(0xff00, 0, 0), 8, Never("multicast")),
];

/// The class of an address. An IPv4-mapped one is the address it means.
pub(crate) fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => class4(mapped),
            None => class6(address),
        },
    }
}

fn class4(address: Ipv4Addr) -> Class {
    let bits = address.to_bits();
    TABLE4
        .iter()
        .find(|Row4(net, prefix, _)| {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(*prefix)).unwrap_or(0);
            bits & mask == net.to_bits()
        })
        .map_or(Class::Public, |row| row.2)
}

fn class6(address: Ipv6Addr) -> Class {
    let bits = address.to_bits();
    TABLE6
        .iter()
        .find(|Row6(net, prefix, _)| {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(*prefix)).unwrap_or(0);
            bits & mask == net.to_bits()
        })
        // Global unicast is 2000::/3; what lies outside of it is not assigned.
        .map_or_else(
            || if bits >> 125 == 1 { Class::Public } else { Private("reserved") },
            |row| row.2,
        )
}

/// Whether the address is one of this host: the kernel would then connect from the address to
/// itself. Sends nothing.
pub(crate) fn is_own(address: IpAddr) -> bool {
    // Any port does: a connected datagram socket only chooses its route.
    datagram(SocketAddr::new(address, ROUTE_PORT))
        .and_then(|socket| socket.local_addr())
        .is_ok_and(|local| local.ip() == address)
}

/// Judges all addresses that a name led to; the first refusal, in words. One refused address
/// refuses them all: a name that leads to a public and a private address is an attack.
///
/// # Errors
/// At least one address must not be connected to.
pub(crate) fn judge(addresses: &[SocketAddr], private: bool) -> Result<(), String> {
    for address in addresses {
        match class(address.ip()) {
            Never(what) => return Err(format!("{} is {what}", address.ip())),
            Private(what) if !private => return Err(format!("{} is {what}", address.ip())),
            Class::Public if !private && is_own(address.ip()) => {
                return Err(format!("{} is this host's own", address.ip()));
            }
            Private(_) | Class::Public => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Class, class, is_own, judge};
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    fn of(text: &str) -> Class {
        class(text.parse().unwrap())
    }

    #[test]
    fn attack_018_each_range_is_refused_at_both_of_its_edges_and_not_beyond() {
        let rows = [
            ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
            ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
            ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
            ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
            ("2001::", "2001:1ff:ffff::", "2000:ffff::", "2001:200::"),
            ("2001:db8::", "2001:db8:ffff::", "2001:db7:ffff::", "2001:db9::"),
            ("2002::", "2002:ffff::", "2001:ffff::", "2003::"),
        ];
        for (first, last, before, after) in rows {
            assert!(matches!(of(first), Class::Private(_)), "{first}");
            assert!(matches!(of(last), Class::Private(_)), "{last}");
            assert_eq!(of(before), Class::Public, "{before}");
            assert_eq!(of(after), Class::Public, "{after}");
        }
    }

    #[test]
    fn attack_018_what_hides_an_ipv4_address_or_means_no_host_is_refused() {
        for text in [
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:4136:e378::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "4000::1",
            "240.0.0.1",
            "169.254.169.254",
        ] {
            assert!(matches!(of(text), Class::Private(_)), "{text}");
        }
        for text in ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1"] {
            assert!(matches!(of(text), Class::Never(_)), "{text}");
        }
        for text in ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert_eq!(of(text), Class::Public, "{text}");
        }
    }

    #[test]
    fn attack_018_one_refused_address_refuses_all() {
        let port = |text: &str| SocketAddr::new(text.parse().unwrap(), 443);
        // Documentation addresses are not this host's; private so that they pass.
        assert!(judge(&[port("203.0.113.5"), port("127.0.0.1")], true).is_ok());
        assert!(judge(&[port("8.8.8.8"), port("127.0.0.1")], false).is_err());
        assert!(judge(&[port("127.0.0.1"), port("8.8.8.8")], false).is_err());
        assert!(judge(&[port("8.8.8.8"), port("0.0.0.0")], true).is_err());
    }

    /// Set where this test runs a second time, in a network of its own.
    const ALONE: &str = "RUNTIMED_TEST_ALONE";

    #[test]
    fn attack_018_a_public_address_of_this_host_is_its_own() {
        let own = ["8.8.8.8", "2606:4700::1111"];
        if std::env::var_os(ALONE).is_some() {
            for text in own {
                let port = SocketAddr::new(text.parse().unwrap(), 443);
                assert_eq!(class(port.ip()), Class::Public);
                assert_eq!(judge(&[port], false), Err(format!("{text} is this host's own")));
                assert_eq!(judge(&[port], true), Ok(()), "the operator named it");
            }
            return;
        }
        let test = "net::addresses::tests::attack_018_a_public_address_of_this_host_is_its_own";
        let script = format!(
            "ip link set lo up && ip address add {}/32 dev lo && ip address add {}/128 dev lo \
             && exec \"$0\" --exact {test}",
            own[0], own[1]
        );
        let run = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        if error.contains("ip: not found") {
            return crate::net::skip::skipped("there is no program that gives a network addresses");
        }
        assert!(run.status.success() && said.contains("1 passed"), "{said}{error}");
    }

    #[test]
    fn this_host_is_recognised_by_its_route() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own("192.0.2.77".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_what_it_maps(bits in any::<u32>()) {
            let plain = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(class(IpAddr::V4(plain)), class(IpAddr::V6(plain.to_ipv6_mapped())));
        }

        #[test]
        fn the_standard_library_finds_nothing_private_that_passes(bits in any::<u32>()) {
            let ip = Ipv4Addr::from_bits(bits);
            let special = ip.is_private() || ip.is_loopback() || ip.is_link_local()
                || ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast()
                || ip.is_documentation();
            prop_assert!(!special || class(ip.into()) != Class::Public);
        }
    }
}
