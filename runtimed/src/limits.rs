//! Every bound of the shell, each with its unit and the reason for its size.

use std::time::Duration;

/// Bytes of a configuration file; a hundred domains take a tenth of it.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1_048_576;
/// Bytes of a trust root in PEM; it travels to the worker inside one control message.
pub(crate) const CA_BYTES_MAX: u64 = 65_536;
/// Bytes of the certificate of this runtime with its chain, and of its key, each.
pub(crate) const PEER_KEY_BYTES_MAX: u64 = 32_768;
/// Bytes of the trust roots of all peers together: they cross in one control message, with those.
pub(crate) const PEER_ROOTS_BYTES_MAX: u64 = 65_536;
/// Bytes of `state/runtime.json`.
pub(crate) const IDENTITY_BYTES_MAX: u64 = 4_096;
/// Bytes of the worker binary; a debug build has about a tenth of it.
pub(crate) const WORKER_BYTES_MAX: u64 = 512 * 1_048_576;
/// Bytes of a socket path that `sockaddr_un` takes, without the closing zero.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Packets read from one link before the next link has its turn.
pub(crate) const PACKETS_PER_TURN: usize = 64;
/// Connections to the application socket.
pub(crate) const APPS_MAX: usize = 1_024;
/// Connections to the control socket.
pub(crate) const OPERATORS_MAX: usize = 64;
/// Time for an application's hello, and for an operator's request.
pub(crate) const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Bytes read from an application in one turn.
pub(crate) const APP_READ_BYTES: usize = 65_536;
/// Bytes of frames that wait for one application; the core refuses before that.
pub(crate) const APP_QUEUE_BYTES_MAX: usize = 16 * 1_048_576;
/// Bytes that wait for an application above which it is not read from.
pub(crate) const APP_PAUSE_BYTES: usize = 1_048_576;
/// Bytes rendered and written to an application at once.
pub(crate) const APP_WRITE_BYTES: usize = 65_536;
/// Bytes of replies that wait for one operator; a follower that is slower is cut.
pub(crate) const OPERATOR_QUEUE_BYTES_MAX: usize = 8 * 1_048_576;
/// Time in which an operator must take one reply: the places are few.
pub(crate) const OPERATOR_TAKES_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a worker's stderr that are logged per second.
pub(crate) const WORKER_LOG_BYTES_PER_SECOND: usize = 8_192;
/// Time in which the daemon ends after SIGTERM, however it is going.
pub(crate) const STOP_WITHIN: Duration = Duration::from_millis(4_500);
/// Time in which the applications' last answers must be taken at the end.
pub(crate) const LAST_WORDS_WITHIN: Duration = Duration::from_millis(300);
/// Host ids from `uid_base` on that sandboxes may have.
pub(crate) const SANDBOX_UIDS: u32 = 65_536;
/// Frames that wait for a worker behind its window; the core refuses before that.
pub(crate) const WORKER_QUEUE_FRAMES_MAX: usize = 65_536;
/// Control messages that a stub or fetch worker may leave untaken: more than one asks for in its
/// longest turn, few enough that the descriptors with them are no burden.
pub(crate) const CTL_UNTAKEN_MAX: usize = 256;
/// Bytes of a file of a `file://` catalogue: code of full size, base64 in a descriptor.
pub(crate) const CATALOGUE_FILE_BYTES_MAX: i64 = 8 * 1_048_576;
/// Time after the end of its link in which a worker must have ended, too.
pub(crate) const END_AFTER_LINK: Duration = Duration::from_secs(1);
/// Time in which killed workers are waited for at the end.
pub(crate) const KILLED_WITHIN: Duration = Duration::from_millis(500);
/// Time after SIGKILL after which a process that is still there is unkillable.
pub(crate) const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);
/// Bytes of a line of the log: what a pipe takes at once or not at all.
pub(crate) const LOG_BYTES_AT_ONCE: usize = 4_096;
/// Time after which a connection that could not be accepted is tried again.
pub(crate) const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Time in which a worker that is no longer wanted must be born, to be killed.
pub(crate) const BORN_WITHIN: Duration = Duration::from_secs(1);
/// Time after the death of a spawner until the next is started: the first time, the second …; then
/// the last.
pub(crate) const SPAWNER_RESTS: &[Duration] = &[
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_millis(3_200),
    Duration::from_secs(15),
    Duration::from_mins(1),
];
/// Life of a spawner after which its death is a first one.
pub(crate) const SPAWNER_LASTING: Duration = Duration::from_mins(1);
/// Time for which a worker waits for a spawner that rests: as long as it may take to start.
pub(crate) const SPAWNER_AWAITED: Duration = Duration::from_secs(3);
/// Bytes that a sandbox may use beside the heap of its engine: all buffers of the worker at their
/// bounds (sockets 16 MiB, bodies and posts 8 MiB each, windows of the link 4 MiB each, code), so
/// that only what breaks them is killed.
pub(crate) const SANDBOX_BESIDE_HEAP_BYTES: u64 = 48 * 1_048_576;
/// Microseconds of the period in which a sandbox has its share of a processor.
pub(crate) const CGROUP_PERIOD_MICROS: u64 = 100_000;
/// Names that are tried for the daemon's own cgroup.
pub(crate) const CGROUP_ROOMS_MAX: u32 = 16;
/// Time after which a cgroup that the kernel still holds is removed again; doubles.
pub(crate) const CGROUP_REMOVE_AFTER: Duration = Duration::from_millis(10);
/// Attempts at that, which takes a second in all.
pub(crate) const CGROUP_REMOVALS_MAX: u32 = 7;
/// Bytes that the net role may use: 1,024 relays with what each holds in both directions.
pub(crate) const NET_MEMORY_BYTES: u64 = 256 * 1_048_576;
/// Time in which a worker that could not be looked at turns out to be dying; then it is refused.
pub(crate) const DYING_WITHIN: Duration = Duration::from_millis(100);
/// Time after which the daemon looks again whether somebody set the wall clock.
pub(crate) const CLOCK_EVERY: Duration = Duration::from_secs(2);
/// Milliseconds by which it is off then; less is the drift between the clocks.
pub(crate) const CLOCK_STEP_MS: u64 = 1_000;
/// Time after which the daemon looks again whether memory is short.
pub(crate) const PRESSURE_EVERY: Duration = Duration::from_secs(1);
/// Rows that wait for the store while its disk is full; more than all tables of the core hold.
pub(crate) const BACKLOG_ROWS_MAX: usize = 262_144;
/// Bytes of the store's log above which it is moved into the file; a commit takes about a tenth
/// of a percent of it.
pub(crate) const STORE_LOG_BYTES: u64 = 4 * 1_048_576;
/// Time for which the store waits for somebody else who reads the file.
pub(crate) const STORE_BUSY: Duration = Duration::from_secs(1);
/// How long changes are gathered before they are committed together.
pub(crate) const STORE_GATHERS: Duration = Duration::from_millis(10);
/// Time after a failed commit until the next try: the first time, the second …; then the last.
pub(crate) const STORE_RETRY: &[Duration] =
    &[Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];
/// Time in which the last changes must be committed at the end.
pub(crate) const STORE_ENDS_WITHIN: Duration = Duration::from_millis(300);
/// Shortest lease of a registration, in milliseconds: the registry counts in seconds.
pub(crate) const LEASE_MIN_MS: u64 = 1_000;
