//! Addresses: parsed once at the door into the one spelling they have (CONTRACT §3).
//!
//! Scheme and host are lower case, `runtime` is `hyperty-runtime`, one trailing slash means the
//! same as none, `sip:a@b.example` is `sip://a@b.example`. What does not parse is refused, never
//! repaired. Ownership is by whole path segments, never by substring.

mod host;
mod route;
mod scheme;
#[cfg(test)]
mod tests;

pub use route::RouteKey;
pub use scheme::{DATA_OBJECT_SCHEMES, SchemeClass};

use crate::limits::ADDRESS_BYTES_MAX;
use std::fmt;
use std::sync::Arc;

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than the bound.
    #[error("address is longer than {ADDRESS_BYTES_MAX} bytes")]
    TooLong,
    /// No scheme, or one that is not letters, digits, `+`, `-` and `.`.
    #[error("address has no scheme such as hyperty://")]
    Scheme,
    /// A character that no address has.
    #[error("address holds a character other than printable ASCII")]
    Character,
    /// Not dot-separated labels of letters, digits and hyphens, or the last one is a number.
    #[error("address has no proper host")]
    Host,
    /// Not 1 to 65535 without leading zeros.
    #[error("address has no proper port")]
    Port,
    /// A user in an address of the runtime's own schemes, or an improper one.
    #[error("address has a user where none belongs")]
    User,
    /// An empty, `.` or `..` segment.
    #[error("address has an empty or a dot segment in its path")]
    Segment,
    /// `%` without two upper-case digits, or one that hides a plain character.
    #[error("address has a percent-encoding that is not canonical")]
    Percent,
    /// `msg-node.` and `registry.` more than once.
    #[error("address has more than one backend prefix")]
    Prefix,
}

/// One canonical address.
#[derive(Clone)]
pub struct Address {
    text: Arc<str>,
    scheme_end: u16,
    user_end: u16,
    host_end: u16,
}

impl Address {
    /// Parses `text` into its canonical form.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if text.bytes().any(|byte| !(0x21..=0x7E).contains(&byte) || b"\"\\<>`{}|^".contains(&byte))
        {
            return Err(AddressError::Character);
        }
        let (scheme, rest) = text.split_once(':').ok_or(AddressError::Scheme)?;
        let scheme = scheme::canonical(scheme)?;
        let class = SchemeClass::of(&scheme);
        let rest = match rest.strip_prefix("//") {
            Some(rest) => rest,
            // The short form of the legacy world: `sip:alice@example.com`.
            None if class == SchemeClass::Legacy && has_user(rest) => rest,
            None => return Err(AddressError::Scheme),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let path = path.strip_suffix('/').unwrap_or(path);
        let (user, host) = match authority.split_once('@') {
            Some((user, host)) if class == SchemeClass::Legacy => (Some(host::user(user)?), host),
            Some(_) => return Err(AddressError::User),
            None => (None, authority),
        };
        check_path(path)?;
        let host = host.to_ascii_lowercase();
        host::check(&host)?;
        Self::assemble(&scheme, user, &host, path)
    }

    fn assemble(
        scheme: &str,
        user: Option<&str>,
        host: &str,
        path: &str,
    ) -> Result<Self, AddressError> {
        let mut text = String::with_capacity(
            [scheme.len(), 4, user.map_or(0, str::len), host.len(), path.len()].iter().sum(),
        );
        text.push_str(scheme);
        text.push_str("://");
        let after_scheme = text.len();
        if let Some(user) = user {
            text.push_str(user);
            text.push('@');
        }
        let after_user = text.len();
        text.push_str(host);
        let after_host = text.len();
        text.push_str(path);
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let place = |at: usize| u16::try_from(at).map_err(|_e| AddressError::TooLong);
        Ok(Self {
            scheme_end: place(after_scheme)?,
            user_end: place(after_user)?,
            host_end: place(after_host)?,
            text: text.into(),
        })
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn part(&self, from: u16, to: u16) -> &str {
        self.text.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }

    /// Scheme, without `://`.
    pub fn scheme(&self) -> &str {
        self.part(0, self.scheme_end.saturating_sub(3))
    }

    /// User of a legacy address.
    pub fn user(&self) -> Option<&str> {
        (self.user_end > self.scheme_end)
            .then(|| self.part(self.scheme_end, self.user_end.saturating_sub(1)))
    }

    /// Host, with its port if it has one.
    pub fn host(&self) -> &str {
        self.part(self.user_end, self.host_end)
    }

    /// Path with its leading slash; empty if none.
    pub fn path(&self) -> &str {
        self.text.get(usize::from(self.host_end)..).unwrap_or_default()
    }

    /// Segments of the path.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }

    /// Whether it is `owner` or below it, by whole segments.
    pub fn is_within(&self, owner: &Self) -> bool {
        is_within(&self.text, &owner.text)
    }

    /// Who may speak for such addresses.
    pub fn class(&self) -> SchemeClass {
        SchemeClass::of(self.scheme())
    }

    /// Whether it belongs to a legacy network: a scheme not of the runtime's own, and a user.
    pub fn is_legacy(&self) -> bool {
        self.user().is_some()
    }

    /// Whether it is an element of a domain's back end.
    pub fn is_backend(&self) -> bool {
        matches!(self.class(), SchemeClass::Backend | SchemeClass::Idp)
            || self.host().len() != self.domain().len()
    }

    /// Host without its backend prefix (`msg-node.`, `registry.`).
    pub fn domain(&self) -> &str {
        host::without_prefix(self.host())
    }

    /// The address one segment below.
    ///
    /// # Errors
    /// The segment is no proper one, or the whole gets too long.
    pub fn child(&self, segment: &str) -> Result<Self, AddressError> {
        Self::parse(&format!("{}/{segment}", self.text))
    }

    /// Which stub leads there; `None` if no stub may (an unknown scheme, the session address of a
    /// message node). `home` is the runtime's own domain.
    pub fn route_key(&self, home: &str) -> Option<RouteKey> {
        RouteKey::of(self, home)
    }
}

/// Whether the canonical text `address` is `owner` or below it, by whole segments.
pub fn is_within(address: &str, owner: &str) -> bool {
    address.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the `@` is before the path: one in the path is no user.
fn has_user(rest: &str) -> bool {
    rest.split('/').next().is_some_and(|authority| authority.contains('@'))
}

fn check_path(path: &str) -> Result<(), AddressError> {
    for segment in path.split('/').skip(1) {
        if matches!(segment, "" | "." | "..") {
            return Err(AddressError::Segment);
        }
    }
    let bytes = path.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let digits = bytes.get(at.saturating_add(1)..at.saturating_add(3));
        let value = digits
            .filter(|two| two.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')))
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok())
            .ok_or(AddressError::Percent)?;
        if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
            return Err(AddressError::Percent);
        }
    }
    Ok(())
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl std::hash::Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl std::borrow::Borrow<str> for Address {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}
