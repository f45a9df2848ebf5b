//! `runtimectl config default`: every key of `runtimed.toml`, its default, and what it means.
//! `runtimed --check-config` accepts it as it is; a test runs that.

/// The commented file.
pub(crate) const TEXT: &str = include_str!("../../runtimed/runtimed.toml");
