//! Hosts: dot-separated labels of letters, digits and hyphens, with an optional port that belongs
//! to them. Lower case already.

use super::AddressError;

/// Labels that name an element of a domain's back end.
const BACKEND_PREFIXES: &[&str] = &["msg-node.", "registry."];
/// Bytes of a label (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Bytes of a host (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Host without one backend prefix, if something is left.
pub(super) fn without_prefix(host: &str) -> &str {
    BACKEND_PREFIXES
        .iter()
        .find_map(|prefix| host.strip_prefix(prefix))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(host)
}

/// Checks a host in lower case.
pub(super) fn check(host: &str) -> Result<(), AddressError> {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    if let Some(port) = port {
        let proper = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
        if !proper || port.parse::<u16>().is_err() {
            return Err(AddressError::Port);
        }
    }
    check_name(name)?;
    let inner = without_prefix(name);
    if inner.len() != name.len() && without_prefix(inner).len() != inner.len() {
        return Err(AddressError::Prefix);
    }
    Ok(())
}

/// Checks the labels of a name in lower case.
fn check_name(name: &str) -> Result<(), AddressError> {
    if name.is_empty() || name.len() > HOST_BYTES_MAX {
        return Err(AddressError::Host);
    }
    let mut last = "";
    for label in name.split('.') {
        let proper = !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !proper {
            return Err(AddressError::Host);
        }
        last = label;
    }
    // A name that ends in a number would be taken for an IPv4 address by somebody.
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if numeric { Err(AddressError::Host) } else { Ok(()) }
}

/// Checks the user of a legacy address.
pub(super) fn user(user: &str) -> Result<&str, AddressError> {
    let proper = !user.is_empty()
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b));
    if proper { Ok(user) } else { Err(AddressError::User) }
}
