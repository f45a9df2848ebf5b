//! Every bound of the stub role, each with its unit.

use std::time::Duration;

/// Bytes of the engine's heap while there is no component that says how many.
pub(crate) const HEAP_BYTES: usize = 64 * 1_048_576;
/// Bytes of native stack that one turn of the engine may use.
pub(crate) const STACK_BYTES: usize = 512 * 1_024;
/// Longest turn of the engine while there is no component that says otherwise.
pub(crate) const TURN: Duration = Duration::from_secs(2);
/// Longest turn that loads or activates a component.
pub(crate) const TURN_LOAD: Duration = Duration::from_secs(2);
/// How long promise jobs and due timers may follow one another before the link is looked at.
pub(crate) const SLICE: Duration = Duration::from_millis(20);
/// Bytes of the text of one error.
pub(crate) const ERROR_BYTES_MAX: usize = 2_048;
/// Lines a second that the console may write on average.
pub(crate) const LOG_LINES_PER_SECOND: u32 = 100;
/// Lines that the console may write at once.
pub(crate) const LOG_LINES_BURST: u32 = 200;
/// Control messages that the runtime has not taken, from which on lines are not kept.
pub(crate) const LOG_LINES_UNTAKEN: usize = 512;
/// Messages a second that a component may send on average without having been sent any.
pub(crate) const POSTS_PER_SECOND: u32 = 500;
/// Messages that a component may send at once; each message it takes allows one more.
pub(crate) const POSTS_BURST: u32 = 1_024;
/// Messages that may wait for the link before further ones are refused.
pub(crate) const POSTS_WAITING: usize = 1_024;
/// Bytes that may wait for the link, and bytes that one turn may post.
pub(crate) const POSTS_WAITING_BYTES: usize = 8 * 1_048_576;
/// Timers of one component: as in `timers.js`, whose count the component can falsify.
pub(crate) const TIMERS_MAX: usize = 4_096;
/// Bytes of the address of a connection.
pub(crate) const URL_BYTES_MAX: usize = 65_536;
/// Bytes of the subprotocols that a WebSocket offers.
pub(crate) const WS_PROTOCOLS_BYTES: usize = 1_024;
/// Bytes of the name of a method.
pub(crate) const HTTP_METHOD_BYTES: usize = 64;
/// Connections of one component, open and wanted.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// Delay of the second attempt after a failed one; doubles.
pub(crate) const DIAL_FIRST: Duration = Duration::from_millis(250);
/// Longest delay of an attempt: shorter than the time that stubs wait for a connection.
pub(crate) const DIAL_LAST: Duration = Duration::from_secs(5);
/// A connection that ended sooner counts as failed.
pub(crate) const DIAL_LASTING: Duration = Duration::from_secs(5);
/// Connections a second that are begun on average.
pub(crate) const DIALS_PER_SECOND: u32 = 20;
/// Connections that are begun at once.
pub(crate) const DIALS_BURST: u32 = 32;
/// How long a connection waits at least when too many were begun.
pub(crate) const DIAL_PAUSE: Duration = Duration::from_millis(50);
/// Hosts whose failures are remembered.
pub(crate) const DIAL_HOSTS_MAX: usize = 64;
/// Bytes that one WebSocket may have waiting to be sent.
pub(crate) const WS_BUFFER_BYTES: usize = 8 * 1_048_576;
/// Bytes that the sockets of a component together may have waiting to be sent.
pub(crate) const WS_BUFFER_BYTES_ALL: usize = 16 * 1_048_576;
/// Messages that one WebSocket may have waiting to be sent.
pub(crate) const WS_BUFFER_MESSAGES: usize = 8_192;
/// Bytes of one message that comes in on a WebSocket.
pub(crate) const WS_MESSAGE_BYTES: usize = 4 * 1_048_576;
/// How long a WebSocket waits for the other side's close.
pub(crate) const WS_CLOSE: Duration = Duration::from_secs(3);
/// How long connecting may take, TLS and handshake included.
pub(crate) const CONNECT: Duration = Duration::from_secs(30);
/// Bytes of a request body.
pub(crate) const HTTP_REQUEST_BYTES: usize = 1_048_576;
/// Bytes of a response body.
pub(crate) const HTTP_RESPONSE_BYTES: usize = 8 * 1_048_576;
/// Bytes of the head of a response, and of the headers of a request.
pub(crate) const HTTP_HEAD_BYTES: usize = 64 * 1_024;
/// Header lines of a request or response.
pub(crate) const HTTP_HEADERS_MAX: usize = 100;
/// Redirects that one request follows.
pub(crate) const HTTP_REDIRECTS: usize = 5;
/// How long one request may take in all; long polls are kept open on purpose.
pub(crate) const HTTP_EXCHANGE: Duration = Duration::from_mins(2);
/// Events of the network that wait for the engine.
pub(crate) const NET_EVENTS: usize = 16;
/// Longest time that open sockets get to close in order when the component is removed.
pub(crate) const STOP_SOCKETS: Duration = Duration::from_millis(500);
/// Number from which on sockets are of connections that came in; below are those that were made. All
/// are small integers to the engine.
pub(crate) const GUESTS_FROM: u32 = 0x4000_0000;
/// Connections that came in and have not ended: as many as the runtime lets in.
pub(crate) const GUESTS_MAX: usize = protocol::limits::GUESTS_MAX;
/// Those of them of whom it is not known who they are; one more, and the one who has said nothing for
/// longest is shown out. Their places are kept for them, so that whoever proves who it is gets in.
pub(crate) const STRANGERS_MAX: usize = 16;
/// Those of them who have proved who they are.
pub(crate) const GUESTS_KNOWN_MAX: usize = GUESTS_MAX.saturating_sub(STRANGERS_MAX);
/// How long somebody who came may take to say who it is: TLS and the handshake of the WebSocket.
pub(crate) const GUEST_HANDSHAKE: Duration = Duration::from_secs(3);
/// Bytes of one message of somebody who came: a little more than the largest that has its place in
/// one packet.
pub(crate) const GUEST_MESSAGE_BYTES: usize = 256 * 1_024;
/// Messages a second that somebody who came may send on average.
pub(crate) const GUEST_MESSAGES_PER_SECOND: u32 = 500;
/// Messages that somebody who came may send at once.
pub(crate) const GUEST_MESSAGES_BURST: u32 = 1_024;
/// How long nothing is sent to another runtime before it is asked whether it lives.
pub(crate) const PEER_PING: Duration = Duration::from_secs(15);
/// How long another runtime may be silent, which is longer than it takes to answer.
pub(crate) const PEER_SILENCE: Duration = Duration::from_secs(40);
