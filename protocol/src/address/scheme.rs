//! Schemes, and who may speak for their addresses.

use super::AddressError;
use std::borrow::Cow;

/// Schemes of data objects that applications and stubs may use.
pub const DATA_OBJECT_SCHEMES: &[&str] =
    &["comm", "connection", "context", "ctxt", "fake", "hello", "resource", "walletdata"];

/// Bytes of a scheme.
const SCHEME_BYTES_MAX: usize = 32;

/// What a scheme stands for, and so who may speak for its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemeClass {
    /// `hyperty-runtime`: the runtime itself and its components; a remote one by its domain's stub.
    Runtime,
    /// `hyperty`: its owner here, or the stub of its domain.
    Hyperty,
    /// `comm`, `context` …: as `hyperty`.
    DataObject,
    /// `domain`, `global`: only the stub of the domain.
    Backend,
    /// `domain-idp`: only the identity provider's proxy.
    Idp,
    /// `user`, `user-guid`, `acct`: nobody speaks as a user.
    User,
    /// `mn`: only between a stub and its message node, never on the bus.
    Session,
    /// Any other scheme: the interworking stub of its scheme and domain.
    Legacy,
}

impl SchemeClass {
    /// The class of a canonical scheme.
    pub fn of(scheme: &str) -> Self {
        match scheme {
            "hyperty-runtime" => Self::Runtime,
            "hyperty" => Self::Hyperty,
            "domain" | "global" => Self::Backend,
            "domain-idp" => Self::Idp,
            "user" | "user-guid" | "acct" => Self::User,
            "mn" => Self::Session,
            _ if DATA_OBJECT_SCHEMES.contains(&scheme) => Self::DataObject,
            _ => Self::Legacy,
        }
    }

    /// Whether an application may claim such addresses.
    pub const fn is_claimable(self) -> bool {
        matches!(self, Self::Hyperty | Self::DataObject)
    }
}

/// Lower case, with the alias `runtime` rewritten.
pub(super) fn canonical(scheme: &str) -> Result<Cow<'_, str>, AddressError> {
    let bytes = scheme.as_bytes();
    let proper = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.len() <= SCHEME_BYTES_MAX
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    if !proper {
        return Err(AddressError::Scheme);
    }
    let lower = if bytes.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(scheme.to_ascii_lowercase())
    } else {
        Cow::Borrowed(scheme)
    };
    Ok(if lower == "runtime" { Cow::Borrowed("hyperty-runtime") } else { lower })
}
