//! Route keys: which stub leads to an address. Decided by the address that asked, never by a
//! descriptor.

use super::{Address, SchemeClass};
use std::fmt;

/// Names one stub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKey {
    /// The protostub of a domain.
    Domain(String),
    /// The proxy of an identity provider.
    Idp(String),
    /// The interworking stub of a legacy scheme and a whole domain.
    Legacy {
        /// Scheme.
        scheme: String,
        /// Whole domain, never cut to two labels: `sip.co.uk` must not speak for all of `co.uk`.
        domain: String,
    },
    /// A hyperty, by its own address. Comes out of no address: nothing is routed through it.
    Hyperty(String),
    /// The handler of connections with other runtimes, of the home domain.
    P2pHandler(String),
    /// The connection that was made to where the runtimes of a domain listen.
    P2p(String),
}

/// What operators call the handler.
const HANDLER: &str = "p2p-handler";

/// An address without its scheme: `<domain>/<id>`.
fn place(runtime: &str) -> &str {
    runtime.split_once("://").map_or(runtime, |(_, place)| place)
}

impl RouteKey {
    pub(super) fn of(address: &Address, home: &str) -> Option<Self> {
        let domain = |address: &Address| Self::Domain(address.domain().to_owned());
        Some(match address.class() {
            SchemeClass::Idp => Self::Idp(address.host().to_owned()),
            SchemeClass::Backend if address.scheme() == "global" => Self::Domain(home.to_owned()),
            SchemeClass::Legacy if address.is_legacy() => Self::Legacy {
                scheme: address.scheme().to_owned(),
                domain: address.host().to_owned(),
            },
            // A scheme that nobody knows, without a user: nobody may speak for it. What every
            // sandbox has inside, and an id of the graph, are in no domain.
            SchemeClass::Session | SchemeClass::Legacy => return None,
            SchemeClass::Runtime if address.host() == "sandbox" => return None,
            SchemeClass::User if address.scheme() == "user-guid" => return None,
            SchemeClass::Runtime
            | SchemeClass::Hyperty
            | SchemeClass::DataObject
            | SchemeClass::Backend
            | SchemeClass::User => domain(address),
        })
    }

    /// The key that an operator means: a domain, or an address.
    pub fn parse(argument: &str, home: &str) -> Option<Self> {
        if argument.contains(':') && argument.contains('@') || argument.contains("://") {
            return Address::parse(argument).ok()?.route_key(home);
        }
        if argument == HANDLER {
            return Some(Self::P2pHandler(home.to_owned()));
        }
        // The same door as for messages, or an operator could start a stub that none reaches.
        let address = Address::parse(&format!("domain://{argument}")).ok()?;
        address.path().is_empty().then(|| Self::Domain(address.domain().to_owned()))
    }

    /// The domain that is served.
    pub fn domain(&self) -> &str {
        match self {
            Self::Domain(domain)
            | Self::Idp(domain)
            | Self::Legacy { domain, .. }
            | Self::P2pHandler(domain)
            | Self::P2p(domain) => domain,
            Self::Hyperty(url) => {
                let place = place(url);
                place.split_once('/').map_or(place, |(domain, _)| domain)
            }
        }
    }

    /// Names under which a catalogue may list the stub, in order. The two-label form of the
    /// original is for this look-up only.
    pub fn lookup_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let Self::Legacy { scheme, domain } = self {
            names.push(format!("{scheme}.{domain}"));
            let labels: Vec<&str> = domain.split('.').collect();
            if let [.., second, last] = labels.as_slice()
                && labels.len() > 2
            {
                names.push(format!("{scheme}.{second}.{last}"));
            }
        }
        names.push(match self {
            Self::P2pHandler(_) => HANDLER.to_owned(),
            Self::P2p(_) => "p2p-requester".to_owned(),
            Self::Domain(_) | Self::Idp(_) | Self::Legacy { .. } => "default".to_owned(),
            // Its place in the catalogue is no part of its address.
            Self::Hyperty(_) => return names,
        });
        names
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) | Self::Hyperty(domain) => f.write_str(domain),
            Self::Idp(domain) => write!(f, "idp.{domain}"),
            Self::Legacy { scheme, domain } => write!(f, "{scheme}.{domain}"),
            Self::P2pHandler(_) => f.write_str(HANDLER),
            Self::P2p(domain) => write!(f, "p2p.{domain}"),
        }
    }
}
