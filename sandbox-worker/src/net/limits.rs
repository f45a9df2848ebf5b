//! Every bound of the net role, each with its unit.

use std::time::Duration;

/// Streams that one sandbox may have open or under way.
pub(crate) const RELAYS_PER_SANDBOX: usize = 32;
/// Streams open or under way in all.
pub(crate) const RELAYS_TOTAL: usize = 1_024;
/// Bytes that one direction of a stream may hold here.
pub(crate) const RELAY_BYTES: usize = 65_536;
/// How long one direction may go on after the other has ended.
pub(crate) const HALF_OPEN: Duration = Duration::from_secs(30);
/// How often a stream is looked at for a sandbox end that hung up while nothing could be read.
pub(crate) const HANG_UP_LOOK: Duration = Duration::from_secs(5);
/// Longest that resolving and connecting may take together, whatever is asked.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Shortest share of the budget that one of several addresses gets.
pub(crate) const CONNECT_SHARE_MIN: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
pub(crate) const ADDRESSES_MAX: usize = 32;
/// Results that wait for their turn on the link.
pub(crate) const RESULTS_QUEUED: usize = 64;
/// How long one name server is waited for.
pub(crate) const DNS_TRY: Duration = Duration::from_millis(1_500);
/// How often all name servers are asked.
pub(crate) const DNS_ROUNDS: usize = 2;
/// Name servers that are asked.
pub(crate) const DNS_SERVERS_MAX: usize = 3;
/// Bytes of an answer in a datagram.
pub(crate) const DNS_ANSWER_BYTES: usize = 4_096;
/// Bytes that are read of `/etc/hosts` and `/etc/resolv.conf`.
pub(crate) const HOSTS_BYTES: u64 = 1_048_576;
/// Connections of one address that are in at a time: a few, or one host could keep all others out.
pub(crate) const GUESTS_PER_ADDRESS: usize = 16;
/// Bits of an IPv6 address that say whose it is: one host may have all the others.
pub(crate) const NETWORK_BITS: u32 = 64;
/// Connections a second of one address that are let in on average.
pub(crate) const ADDRESS_PER_SECOND: u32 = 2;
/// Connections of one address that are let in at once.
pub(crate) const ADDRESS_BURST: u32 = 16;
/// Addresses whose rate is known; with more, only the rate of all together holds.
pub(crate) const ADDRESSES_RATED: usize = 1_024;
/// Connections a second that are let in on average.
pub(crate) const GUESTS_PER_SECOND: u32 = 20;
/// Connections that are let in at once.
pub(crate) const GUESTS_BURST: u32 = 64;
/// How long nobody is accepted after the kernel refused to.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is said how many were turned away.
pub(crate) const TURNED_AWAY_SAID: Duration = Duration::from_secs(1);
