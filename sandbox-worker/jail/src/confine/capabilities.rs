//! No capabilities, in none of the five sets, and no way back.

use super::{ConfineError, demand, failed};
use crate::raw;
use nix::errno::Errno;

/// Gives up everything. Without namespaces of its own the process has no right to empty the
/// bounding set, which means nothing to a process that can gain no privileges.
pub(super) fn drop_all(namespaces: bool) -> Result<(), ConfineError> {
    let failed = failed("caps");
    let allowed = |result: Result<(), Errno>| match result {
        Err(Errno::EPERM) if !namespaces => Ok(()),
        other => other.map_err(&failed),
    };
    allowed(raw::empty_bounding_set())?;
    allowed(raw::empty_ambient_set())?;
    allowed(raw::lock_securebits())?;
    raw::drop_capabilities().map_err(&failed)?;
    demand("caps", raw::has_no_capabilities() == Ok(true), "some capability is left")
}
