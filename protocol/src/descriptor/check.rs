//! What the parser keeps, for whoever has a descriptor from another process and cannot know that the
//! parser made it.

use super::Descriptor;
use crate::limits::{
    CONFIGURATION_BYTES_MAX, CONSTRAINTS_MAX, DESCRIPTOR_WORD_BYTES_MAX, HOST_BYTES_MAX,
    LISTED_MAX, WANTED_HOSTS_MAX,
};
use crate::text::is_hidden;

/// The member of a descriptor that the parser would never have let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the descriptor's {0} is out of its bounds")]
pub struct Unbounded(&'static str);

impl Descriptor {
    /// Whether the parser can have made it.
    ///
    /// # Errors
    /// It cannot; which member shows it.
    pub fn check(&self) -> Result<(), Unbounded> {
        let hosts = self.wanted.len() <= WANTED_HOSTS_MAX
            && self.wanted.iter().all(|want| want.port != 0 && is_host(&want.host));
        let constraints = self.constraints.len() <= CONSTRAINTS_MAX
            && self.constraints.iter().all(|name| is_word(name));
        let listed = |list: &[String]| {
            list.len() <= LISTED_MAX && list.iter().all(|text| !text.is_empty() && is_word(text))
        };
        for (kept, member) in [
            (is_word(&self.name), "name"),
            (is_word(&self.version), "version"),
            (constraints, "constraints"),
            (self.configuration.len() <= CONFIGURATION_BYTES_MAX, "configuration"),
            (hosts, "hosts"),
            (listed(&self.resources), "resources"),
            (listed(&self.data_objects), "data objects"),
        ] {
            if !kept {
                return Err(Unbounded(member));
            }
        }
        Ok(())
    }
}

/// A name, a version or a constraint.
pub(super) fn is_word(text: &str) -> bool {
    text.len() <= DESCRIPTOR_WORD_BYTES_MAX && !text.chars().any(is_hidden)
}

/// A name or the literal of an address, in lower case.
pub(super) fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b);
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(plain)
}
