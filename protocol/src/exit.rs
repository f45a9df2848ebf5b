//! Exit statuses: they are protocol. The supervisor reads the worker's, scripts read the tools'.

/// Told to stop, and stopped.
pub const OK: u8 = 0;
/// `runtimectl`: the request failed.
pub const FAILED: u8 = 1;
/// Wrong use of the command line.
pub const USAGE: u8 = 2;
/// `runtimectl`: the component is not active.
pub const NOT_ACTIVE: u8 = 3;
/// `runtimectl`: no such thing.
pub const NOT_FOUND: u8 = 4;
/// `runtimectl`: not allowed.
pub const DENIED: u8 = 5;
/// `runtimectl`: the limit passed.
pub const TIMEOUT: u8 = 6;
/// `runtimectl`: the daemon does not answer.
pub const UNREACHABLE: u8 = 7;
/// `runtimed`: a second daemon holds the lock of this root.
pub const CANT_CREATE: u8 = 73;
/// `runtimed`: the configuration is wrong.
pub const CONFIG: u8 = 78;
/// Worker: permanent, do not start again (the jail could not be closed).
pub const PERMANENT: u8 = 100;
/// Worker: temporary, start again.
pub const TEMPORARY: u8 = 111;
