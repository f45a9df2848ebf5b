//! Connections that come in: TLS, whose they are, the WebSocket, and what they may send.
//!
//! Whoever connects is a stranger until its certificate says that it is of a domain which may come,
//! and costs no more than a task and a deadline until then. There are few places for strangers, and
//! none of the others' is taken by one: more of them show each other out. The path of its request names the domain
//! that it speaks for.

use super::peers::Door;
use super::streams::{Command, Dialer, Stream};
use super::websocket::{self, End, broken};
use crate::engine::Net;
use crate::engine::bucket::Bucket;
use crate::engine::limits::{
    GUEST_HANDSHAKE, GUEST_MESSAGE_BYTES, GUEST_MESSAGES_BURST, GUEST_MESSAGES_PER_SECOND,
    GUESTS_FROM, GUESTS_KNOWN_MAX, PEER_PING, PEER_SILENCE, STRANGERS_MAX,
};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use std::collections::{HashSet, VecDeque};
use std::os::fd::OwnedFd;
use tokio::net::UnixStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response,
};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

type Socket = WebSocketStream<Box<dyn Stream>>;

/// One who came.
#[derive(Debug)]
pub(super) struct Guest {
    /// Number that the daemon gave.
    pub(super) id: u32,
    pub(super) from: String,
    pub(super) stream: OwnedFd,
}

/// Number of a guest among the sockets of the engine.
pub(super) const fn conn_of(id: u32) -> u32 {
    GUESTS_FROM | (id & GUESTS_FROM.wrapping_sub(1))
}

/// Who is in, by the numbers that the daemon gave.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    /// And from where, oldest first.
    strangers: VecDeque<(u32, String)>,
    known: HashSet<u32>,
}

impl Lobby {
    /// A stranger came; who is to go for it, if somebody is.
    pub(super) fn came(&mut self, id: u32, from: &str) -> Option<(u32, String)> {
        let full = self.strangers.len() >= STRANGERS_MAX;
        let oldest = if full { self.strangers.pop_front() } else { None };
        self.strangers.push_back((id, from.to_owned()));
        oldest
    }

    /// One of them has proved who it is; whether it may stay.
    pub(super) fn known(&mut self, id: u32) -> bool {
        let before = self.strangers.len();
        self.strangers.retain(|(stranger, _)| *stranger != id);
        let came = self.strangers.len() < before;
        came && self.known.len() < GUESTS_KNOWN_MAX && self.known.insert(id)
    }

    pub(super) fn left(&mut self, id: u32) {
        self.strangers.retain(|(stranger, _)| *stranger != id);
        self.known.remove(&id);
    }
}

/// Takes the domain of the path, if the certificate is of it.
struct Named<'a> {
    domains: &'a [String],
    found: &'a mut Option<String>,
}

impl Callback for Named<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        let named = request.uri().path().trim_start_matches('/');
        *self.found = self.domains.iter().find(|domain| *domain == named).cloned();
        if self.found.is_some() {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some("not your domain".to_owned()));
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        Err(refusal)
    }
}

/// Serves one guest to its end; why it was refused, if it was.
pub(super) async fn run(
    dialer: Dialer,
    guest: Guest,
    door: Result<Door, String>,
    orders: Receiver<Command>,
) -> Option<String> {
    let (id, conn) = (guest.id, conn_of(guest.id));
    let from = guest.from.clone();
    let welcomed = match door {
        Ok(door) => timeout(GUEST_HANDSHAKE, welcome(guest, door))
            .await
            .unwrap_or_else(|_elapsed| Err("it did not say who it is in time".to_owned())),
        Err(error) => Err(error),
    };
    let (socket, domain) = match welcomed {
        Ok(welcomed) => welcomed,
        Err(error) => return Some(format!("{from}: {error}")),
    };
    // The runtime knows whose it is before the component says anything of it.
    dialer.introduce(id, domain.clone()).await;
    dialer.tell(Net::WsAccepted { conn, peer: domain.clone(), from: from.clone() }).await;
    let (sink, source) = socket.split();
    let (end, breach) = tokio::select! {
        end = read(&dialer, conn, source) => end,
        end = websocket::write(&dialer, conn, sink, orders, Some(PEER_PING)) => (end, false),
    };
    let End { code, reason, clean, error } = end;
    let refused = breach.then(|| format!("{domain} at {from}: {error}"));
    dialer.tell(Net::WsClosed { conn, code, reason, clean, error }).await;
    refused
}

async fn welcome(guest: Guest, door: Door) -> Result<(Socket, String), String> {
    let text = |error: std::io::Error| error.to_string();
    let stream = std::os::unix::net::UnixStream::from(guest.stream);
    stream.set_nonblocking(true).map_err(text)?;
    let stream = UnixStream::from_std(stream).map_err(text)?;
    let accepted = TlsAcceptor::from(door.config).accept(stream).await;
    let stream = accepted.map_err(|error| format!("no TLS with it: {error}"))?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    let domains = door.peers.domains(&chain);
    let config = WebSocketConfig::default()
        .max_message_size(Some(GUEST_MESSAGE_BYTES))
        .max_frame_size(Some(GUEST_MESSAGE_BYTES));
    let mut found = None;
    let named = Named { domains: &domains, found: &mut found };
    let stream: Box<dyn Stream> = Box::new(stream);
    let socket = accept_hdr_async_with_config(stream, named, Some(config)).await;
    let socket = socket.map_err(|error| format!("no WebSocket with it: {error}"))?;
    let domain = found.ok_or("it named no domain")?;
    Ok((socket, domain))
}

/// What it sends, to its end; whether that was against the rules.
async fn read(dialer: &Dialer, conn: u32, mut source: SplitStream<Socket>) -> (End, bool) {
    let begun = Instant::now();
    let mut rate = Bucket::new(GUEST_MESSAGES_PER_SECOND, GUEST_MESSAGES_BURST);
    loop {
        let message = match timeout(PEER_SILENCE, source.next()).await {
            Err(_elapsed) => return (broken("it has been silent for too long"), false),
            Ok(None) => return (broken("the connection ended without a close"), false),
            Ok(Some(Err(error))) => return (broken(&error), websocket::is_breach(&error)),
            Ok(Some(Ok(message))) => message,
        };
        if !rate.take(begun.elapsed()) {
            return (broken("it sends more messages than the rate allows"), true);
        }
        match message {
            Message::Text(text) => {
                dialer.tell(Net::WsText { conn, text: text.as_str().to_owned() }).await;
            }
            Message::Binary(bytes) => {
                dialer.tell(Net::WsBinary { conn, bytes: bytes.to_vec() }).await;
            }
            Message::Close(frame) => return (websocket::closed(&mut source, frame).await, false),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}
