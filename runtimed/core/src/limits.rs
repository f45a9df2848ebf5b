//! Every bound of the core, each with its unit and the reason for its size.

use protocol::limits::{WINDOW_BYTES, WINDOW_FRAMES};

/// Frames an application may have waiting at its socket before senders get 503 `slow-consumer`.
pub const EGRESS_APP_FRAMES: u32 = 1_024;
/// Bytes of the same: one sender may have half of what is free, and a whole line must fit.
pub const EGRESS_APP_BYTES: u64 = 4 * 1_048_576;
/// Frames a worker may have unacknowledged: its window, and as many waiting behind it.
pub const EGRESS_WORKER_FRAMES: u32 = WINDOW_FRAMES.saturating_add(EGRESS_APP_FRAMES);
/// Bytes of the same.
#[expect(clippy::as_conversions, reason = "u64::from is not const; u32 always fits")]
pub const EGRESS_WORKER_BYTES: u64 = (WINDOW_BYTES as u64).saturating_add(EGRESS_APP_BYTES);
/// Responses may fill a receiver to this many times its bound: else a slow requester would be
/// taken for a failing responder. Past it the receiver is cut off.
pub const EGRESS_RESPONSE_FACTOR: u32 = 2;
/// Bytes that all receivers together may have waiting.
pub const EGRESS_TOTAL_BYTES: u64 = 512 * 1_048_576;
/// Bytes parked per route key.
pub const PARK_KEY_BYTES: u64 = 1_048_576;
/// Frames parked in all.
pub const PARK_TOTAL_FRAMES: usize = 16_384;
/// Bytes parked in all.
pub const PARK_TOTAL_BYTES: u64 = 64 * 1_048_576;
/// Requests that one link may have waiting for a response.
pub const PENDING_PER_LINK: u32 = 8_192;
/// Requests waiting in all.
pub const PENDING_TOTAL: usize = 131_072;
/// Provisional responses that one request may get.
pub const PROVISIONAL_MAX: u8 = 32;
/// Addresses that one application may claim.
pub const CLAIMS_PER_APP: usize = 64;
/// Addresses kept reserved for one user; past it the user's own oldest reservation goes.
pub const RESERVED_PER_UID: usize = 65_536;
/// Applications connected.
pub const APPS_MAX: usize = 4_096;
/// Bytes of the name that an application gives itself.
pub const APP_NAME_BYTES: usize = 128;
/// Resources that one link may be subscribed to, if that ends with the link.
pub const SUBSCRIPTIONS_PER_LINK: u32 = 1_024;
/// Subscriptions of one user's applications, kept when they leave.
pub const SUBSCRIPTIONS_PER_UID: u32 = 65_536;
/// Milliseconds until a message node that did not agree is asked again: the first time, the second
/// …; then the last.
pub const NODE_RETRY_MS: &[u64] = &[1_000, 5_000, 30_000, 60_000, 300_000];
/// Addresses that the message node is asked for at a time, unless somebody needs more.
pub const ALLOCATION_BLOCK: usize = 16;
/// Addresses of a scheme kept ahead; when there are fewer, the next block is asked for.
pub const ALLOCATION_LOW: usize = 8;
/// Addresses that one request may get or give back; an answer of the node holds as many.
pub const ALLOCATIONS_PER_REQUEST: usize = 60;
/// Requests of one scheme that wait for addresses.
pub const ALLOCATION_WAITING: usize = 1_024;
/// Addresses that the message node has allocated, whoever has them.
pub const ALLOCATED_MAX: usize = 262_144;
/// Bytes of the name under which addresses are given again.
pub const ALLOCATION_NAME_BYTES: usize = 256;
/// Registrations that the domain registry is told of at the same time.
pub const REGISTRATIONS_AT_ONCE: usize = 64;
/// Registrations kept, of who is here and of who is gone and still to be taken back: as many as there
/// are addresses that a message node has allocated.
pub const LEASES_MAX: usize = ALLOCATED_MAX;
/// Milliseconds in which whoever was registered may come back after a restart, before the registry
/// is told that it is gone.
pub const REJOIN_MS: u64 = 10_000;
/// Questions of the runtime's own that wait for an answer; more are refused at once.
pub const OWN_REQUESTS_MAX: usize = 2_048;
/// Bytes of an answer to one.
pub const OWN_ANSWER_BYTES: usize = 65_536;
/// Milliseconds that are left of a deploy when the proxy of an identity provider is given up.
pub const LOGIN_SPARE_MS: u64 = 500;
/// Milliseconds over which the nodes are told what was kept, when the runtime starts; and in which all
/// that one was told is looked through at most once, however often it comes and goes.
pub const RESTORE_JITTER_MS: u64 = 2_000;
/// Subscribers of one resource.
pub const SUBSCRIBERS_PER_RESOURCE: usize = 4_096;
/// Resources in one `subscribe`.
pub const RESOURCES_PER_SUBSCRIBE: usize = 64;
/// Milliseconds within which addresses that come and go are told in one update.
pub const CHANGES_MS: u64 = 50;
/// Bytes of addresses in one list of the registry; about ten thousand, and half a line.
pub const REGISTRY_LIST_BYTES: usize = 524_288;
/// Addresses that are made for a data object until one is nobody's.
pub const ADDRESS_TRIES: usize = 8;
/// Data objects that one link may report.
pub const OBJECTS_PER_LINK: usize = 256;
/// Data objects that the applications of one user may report.
pub const OBJECTS_PER_UID: usize = 4_096;
/// Data objects in all.
pub const OBJECTS_TOTAL: usize = 65_536;
/// The same for another runtime, and in each update: what it reads at once.
pub const PEER_LIST_BYTES: usize = 49_152;
/// Bytes of a body that a built-in reads.
pub const BUILTIN_BODY_BYTES: usize = 65_536;
/// Operators that watch the bus at the same time.
pub const MONITORS_MAX: usize = 16;
/// Bytes of a body that a monitor row shows.
pub const MONITOR_BODY_BYTES: usize = 65_536;
/// Bytes of `from`, `to` and other foreign text in an event.
pub const EVENT_TEXT_BYTES: usize = 256;
/// Frames a second that one worker may send, and the burst: above what an engine can say with
/// sense, below what would starve the others.
pub const WORKER_FRAMES_PER_SECOND: u32 = 250_000;
/// Refusals a second (and burst) that are answered with their own reason; past it with 429.
pub const WORKER_REFUSALS_PER_SECOND: u32 = 1_000;
/// Control messages a second that one worker may send: several times what a worker does whose code
/// does all it can. More is a breach.
pub const WORKER_CTL_PER_SECOND: u32 = 1_000;
/// The burst of the same: a link's whole window, and all that may wait behind it in the worker.
pub const WORKER_CTL_BURST: u32 = 4_096;
/// Lines a second of one worker that are kept, twice what a worker lets through.
pub const LOG_LINES_PER_SECOND: u32 = 200;
/// The burst of the same.
pub const LOG_LINES_BURST: u32 = 400;
/// Connections a second that one worker may ask for, more than a worker lets through.
pub const CONNECTS_PER_SECOND: u32 = 32;
/// The burst of the same.
pub const CONNECTS_BURST: u32 = 64;
/// Connections a second that all stubs together make to one `host:port`: when a node that five
/// hundred of them lost comes back, it must not fall over again.
pub const PLACE_CONNECTS_PER_SECOND: u32 = 40;
/// The burst of the same. In no second are there more than both together, 50.
pub const PLACE_CONNECTS_BURST: u32 = 10;
/// Connections to one `host:port` that wait for their turn: it comes within [`CONNECT_MS`].
pub const CONNECTIONS_PACED: usize = 160;
/// Milliseconds for which a worker that has no room may take nothing; then it is ended.
pub const SLOW_MS: u64 = 10_000;
/// Changes of its own status that one stub may have at once as events of their own; past them one a
/// second stands for all.
pub const STATUS_EVENTS_BURST: u32 = 8;
/// Milliseconds that such an event stands for.
pub const STATUS_EVENT_MS: u64 = 1_000;
/// Hosts that a descriptor asks for and does not get that have an event each; one more counts the
/// rest, and `inspect` names all.
pub const REFUSED_HOSTS_TOLD: usize = 8;
/// Milliseconds within which equal refusals of one link are one event.
pub const REFUSED_EVENT_MS: u64 = 1_000;
/// Milliseconds that become of those while it goes on: a day of it is some 1,440 events.
pub const REFUSED_EVENT_MOST_MS: u64 = 60_000;
/// Milliseconds to which deadlines are rounded up, so that a sweep answers many.
pub const DEADLINE_GRAIN_MS: u64 = 10;
/// Milliseconds for one whole deploy, less than a requester waits.
pub const DEPLOY_MS: u64 = 12_000;
/// Milliseconds of which a share passed with somebody waiting for memory.
pub const PRESSURE_WINDOW_MS: u64 = 2_000;
/// Percent of them above which memory is short, and nothing new is started.
pub const PRESSURE_BEGINS_PERCENT: u64 = 15;
/// Percent down to which it stays so: or each second could be another word.
pub const PRESSURE_ENDS_PERCENT: u64 = 5;
/// Percent of the memory below which it is really short: a stub that has reached its own bound makes
/// the kernel count waits, too, and must not stop the others.
pub const PRESSURE_FREE_PERCENT: u64 = 10;
/// Milliseconds after which who was refused for it may ask again.
pub const PRESSURE_RETRY_MS: u64 = 2_000;
/// Samples of it kept; the shell takes one a second.
pub const PRESSURE_SAMPLES: usize = 16;
/// Milliseconds for one source of a catalogue entry.
pub const SOURCE_MS: u64 = 4_000;
/// Milliseconds for code to load and to activate, each.
pub const LOAD_MS: u64 = 5_000;
/// Milliseconds between the worker's word that it is confined and the end of the check from outside.
pub const VERIFY_MS: u64 = 3_000;
/// Attacks on itself that a sandbox must have made: fewer prove nothing.
pub const PROBES_MIN: u32 = 60;
/// Layers, missing layers and attacks that got through, of one sandbox, each.
pub const REPORT_LINES: usize = 64;
/// Bytes of one of them.
pub const REPORT_LINE_BYTES: usize = 256;
/// Milliseconds that a connection may take to be made.
pub const CONNECT_MS: u32 = 4_000;
/// Milliseconds that a component has to end by itself when asked to.
pub const REMOVE_GRACE_MS: u64 = 2_000;
/// Workers that may die before they read code, in one deploy.
pub const SPAWN_TRIES: u8 = 3;
/// Components kept, whatever their state; strangers choose the domains.
pub const COMPONENTS_MAX: usize = 1_024;
/// Sandboxes after which a new life of the daemon does not count on but begins with one again.
pub const SANDBOX_NUMBERS_KEPT: u32 = 1 << 30;
/// Hyperties of one user.
pub const HYPERTIES_PER_USER: usize = 64;
/// Hyperties in all; the rest of the components is for stubs.
pub const HYPERTIES_MAX: usize = 512;
/// Deploys at the same time.
pub const DEPLOYS_MAX: usize = 32;
/// Connections that one sandbox may have open or be waiting for.
pub const CONNECTIONS_PER_SANDBOX: u32 = 32;
/// Connections waiting for the net role to be ready.
pub const CONNECTIONS_WAITING: usize = 256;
/// Events kept.
pub const EVENTS_KEPT: usize = 10_000;
/// Log lines kept per component.
pub const LOG_LINES_KEPT: usize = 1_000;
/// Deploy stages listed by `inspect`.
pub const STAGES_KEPT: usize = 64;
/// Unasked exits remembered per component.
pub const EXITS_KEPT: usize = 64;
/// Operators waiting for one deploy.
pub const WAITERS_PER_COMPONENT: usize = 64;
/// Operators following events or logs.
pub const FOLLOWERS_MAX: usize = 64;
/// Milliseconds a failed deploy is remembered: the first time, the second …; then the last.
pub const FAILED_MS: &[u64] = &[1_000, 5_000, 30_000, 300_000];
/// Stubs a second that one user's applications may end, and the burst: each is fetched and started
/// again by the next message.
pub const SHEDS_PER_SECOND: u32 = 1;
/// The burst of the same.
pub const SHEDS_BURST: u32 = 16;
/// Milliseconds a quarantine lasts: the first time, the second …; then the last.
pub const QUARANTINE_MS: &[u64] = &[30_000, 120_000, 600_000, 3_600_000];
/// Milliseconds of being active after which a quarantine starts from the beginning again.
pub const QUARANTINE_REARM_MS: u64 = 600_000;
/// Milliseconds an operator's `deploy --wait` takes at most.
pub const OPERATOR_WAIT_MS: u64 = 30_000;
/// Heartbeats that may be missed in a row; one more ends the stub.
pub const HEARTBEATS_MISSED_MAX: u8 = 1;
/// Milliseconds that one turn of a stub's engine may take.
pub const TURN_MS: u32 = 2_000;
/// Milliseconds within which only one of the things that a stub says of itself is kept.
pub const STATUS_KEPT_MS: u64 = 1_000;
/// Bytes of the sentence that a stub gives with its status.
pub const STATUS_DESC_BYTES: usize = 512;
/// Bytes of what is said of somebody who came.
pub const GUEST_TEXT_BYTES: usize = 256;
/// Runtimes that connections are known of, at both sides.
pub const PEERS_MAX: usize = 256;
/// Resources here that one of them may be subscribed to.
pub const SUBSCRIPTIONS_PER_PEER: u32 = 1_024;
/// Addresses that one of them may list.
pub const PEER_ADDRESSES_MAX: usize = 65_536;
/// Milliseconds for which messages wait for a connection with another runtime: less than whoever
/// asked waits, so that there is time to go another way.
pub const PEER_WAIT_MS: u64 = 5_000;
/// Milliseconds after which a requester that is not needed is looked at again.
pub const SURPLUS_MS: u64 = 1_000;
