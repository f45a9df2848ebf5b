//! Every bound of a jail, each with its unit and the reason for its size.

use std::time::Duration;

/// Descriptors of a stub or fetch worker when nobody says otherwise.
pub const OPEN_FILES: u64 = 128;
/// Descriptors of the net role: two for each of 1,024 streams, and those under way.
pub const OPEN_FILES_NET: u64 = 4_096;
/// Bytes of a file; a memfd is one, so it is the largest body that may cross.
pub const FILE_BYTES: u64 = 16 * 1_048_576;
/// Bytes of the main stack.
pub const STACK_BYTES: u64 = 8 * 1_048_576;
/// Bytes of address space: several times an engine's heap and its code, a belt where there is no
/// memory cgroup.
pub const ADDRESS_SPACE_BYTES: u64 = 1_024 * 1_048_576;
/// Processes and threads of a host uid of its own; the worker itself is one.
pub const PROCESSES: u64 = 8;
/// Raised score, so that the kernel's memory killer takes a sandbox before the daemon.
pub const OOM_SCORE: &str = "500";
/// Time from `clone3` to a successful `exec`; measured below 2 ms.
pub const EXEC_WITHIN: Duration = Duration::from_secs(2);
/// Lowest host id of a worker: below it are the ids of the host's own people and services.
pub const HOST_UID_MIN: u32 = 65_536;
/// First descriptor that is neither standard nor the link.
pub const FIRST_FREE_FD: u32 = 4;
/// Numbers below which a proof looks for inherited descriptors; every one was closed at the start,
/// and looking at the net role's thousands would take longer than the rest of its proof.
pub const DESCRIPTORS_PROBED: u32 = 128;
/// Attacks of a proof: fewer are none.
pub const PROBES_MIN: u32 = 60;
/// Name of the machine in a jail, so that it does not know the host's.
pub const HOST_NAME: &str = "sandbox";
