//! Every bound of this crate, with its unit.

use std::time::Duration;

/// Connections that a node or a catalogue holds at once; further ones are closed at once.
pub const CONNECTIONS: usize = 256;
/// Sessions a node remembers, connected or waiting to be re-opened.
pub const SESSIONS: usize = 256;
/// Addresses a node has learned to route, all sessions together.
pub const ROUTES: usize = 16_384;
/// Resources with subscribers at a node.
pub const SUBSCRIPTIONS: usize = 4_096;
/// Addresses registered at a node's registry.
pub const REGISTERED: usize = 16_384;
/// Messages kept for a session that lost its connection.
pub const WAITING_MESSAGES: usize = 64;
/// Messages on their way to one connection; one that reads slower is dropped.
pub const OUTBOUND_MESSAGES: usize = 1_024;
/// Events from connections that the task of a peer has not handled yet.
pub const EVENTS: usize = 256;
/// Calls from the owner of a peer that it has not handled yet.
pub const COMMANDS: usize = 64;
/// Received messages and requests that are remembered; the oldest go first.
pub const REMEMBERED: usize = 4_096;
/// Named participants of a node with a behaviour of their own.
pub const PARTICIPANTS: usize = 256;
/// Addresses that one allocation hands out.
pub const ALLOCATED: u64 = 64;
/// Bytes of one WebSocket message, and of one line of the bus socket.
pub const MESSAGE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of the head of one HTTP request.
pub const REQUEST_BYTES: usize = 16 * 1024;
/// Header lines of one HTTP request.
pub const REQUEST_HEADERS: usize = 64;
/// Paths in the table of a catalogue, and paths it counts requests for.
pub const PATHS: usize = 4_096;
/// Bytes that an endless body has sent when even this server gives up.
pub const ENDLESS_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one write of an endless body.
pub const ENDLESS_CHUNK: usize = 16 * 1024;
/// Messages an application has received and nobody has asked for yet.
pub const INBOX: usize = 4_096;
/// Time for a handshake or for the head of a request.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time for one write to a peer that does not read.
pub const WRITE: Duration = Duration::from_secs(5);
/// How long a black hole holds a connection that the client does not close.
pub const BLACK_HOLE: Duration = Duration::from_mins(2);
/// How long an application waits for the welcome.
pub const WELCOME: Duration = Duration::from_secs(10);
/// How long an application waits for an answer; longer than the daemon's own 15 s.
pub const ANSWER: Duration = Duration::from_secs(20);
