//! One WebSocket over a stream of its own.

use super::streams::{Command, Dialer, Lease, Stream};
use crate::engine::Net;
use crate::engine::limits::{CONNECT, PEER_PING, PEER_SILENCE, WS_CLOSE, WS_MESSAGE_BYTES};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Without a code of the other side's.
const NO_CODE: u16 = 1005;
/// Ended without a close.
const ABNORMAL: u16 = 1006;

/// How it ended; `error` is empty if in order.
pub(super) struct End {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) clean: bool,
    pub(super) error: String,
}

pub(super) fn broken(error: impl std::fmt::Display) -> End {
    End { code: ABNORMAL, reason: String::new(), clean: false, error: error.to_string() }
}

/// Connects, carries messages both ways, and tells the engine how it ended.
pub(super) async fn run(
    dialer: Dialer,
    conn: u32,
    url: Url,
    protocols: String,
    mut orders: Receiver<Command>,
) {
    let opened = tokio::select! {
        opened = open(&dialer, &url, &protocols) => opened,
        // Before it is open there is nothing to order but its end.
        _ = orders.recv() => Err("closed before it was open".to_owned()),
    };
    let end = match opened {
        Ok((_lease, socket, protocol)) => {
            dialer.tell(Net::WsOpened { conn, protocol }).await;
            let (sink, source) = socket.split();
            // Both ends of a connection between runtimes notice that the other is gone.
            let peers = dialer.is_of_peers();
            let (ping, silence) = (peers.then_some(PEER_PING), peers.then_some(PEER_SILENCE));
            tokio::select! {
                end = read(&dialer, conn, source, silence) => end,
                end = write(&dialer, conn, sink, orders, ping) => end,
            }
        }
        Err(error) => broken(error),
    };
    let End { code, reason, clean, error } = end;
    dialer.tell(Net::WsClosed { conn, code, reason, clean, error }).await;
}

async fn open(
    dialer: &Dialer,
    url: &Url,
    protocols: &str,
) -> Result<(Lease, Socket, String), String> {
    let mut request = url.as_str().into_client_request().map_err(|error| error.to_string())?;
    if !protocols.is_empty() {
        let value = HeaderValue::from_str(protocols).map_err(|error| error.to_string())?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", value);
    }
    let (lease, stream) = dialer.open(url).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(WS_MESSAGE_BYTES))
        .max_frame_size(Some(WS_MESSAGE_BYTES));
    let (socket, response) =
        timeout(CONNECT, client_async_with_config(request, stream, Some(config)))
            .await
            .map_err(|_elapsed| "no handshake in time".to_owned())?
            .map_err(|error| error.to_string())?;
    let protocol = response.headers().get("Sec-WebSocket-Protocol");
    let protocol = protocol.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ok((lease, socket, protocol))
}

async fn read(
    dialer: &Dialer,
    conn: u32,
    mut source: SplitStream<Socket>,
    silence: Option<Duration>,
) -> End {
    let most = silence.unwrap_or(Duration::MAX);
    loop {
        let message = match timeout(most, source.next()).await {
            Err(_elapsed) => return broken("it has been silent for too long"),
            Ok(None) => return broken("the connection ended without a close"),
            Ok(Some(message)) => message,
        };
        match message {
            Ok(Message::Text(text)) => {
                dialer.tell(Net::WsText { conn, text: text.as_str().to_owned() }).await;
            }
            Ok(Message::Binary(bytes)) => {
                dialer.tell(Net::WsBinary { conn, bytes: bytes.to_vec() }).await;
            }
            Ok(Message::Close(frame)) => return closed(&mut source, frame).await,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(error) => return broken(error),
        }
    }
}

/// The other side closed it.
pub(super) async fn closed(source: &mut SplitStream<Socket>, frame: Option<CloseFrame>) -> End {
    // Reading on is what sends our own close.
    let rest = async { while let Some(Ok(_)) = source.next().await {} };
    drop(timeout(WS_CLOSE, rest).await);
    let (code, reason) = frame.map_or((NO_CODE, String::new()), |frame| {
        (u16::from(frame.code), frame.reason.as_str().to_owned())
    });
    End { code, reason, clean: true, error: String::new() }
}

/// Whether the other side broke the rules, rather than the connection.
pub(super) fn is_breach(error: &Error) -> bool {
    matches!(error, Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_))
        && !matches!(error, Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))
}

/// Sends what is ordered, and with `ping` a ping whenever there was no order for so long.
pub(super) async fn write(
    dialer: &Dialer,
    conn: u32,
    mut sink: SplitSink<Socket, Message>,
    mut orders: Receiver<Command>,
    ping: Option<Duration>,
) -> End {
    let rest = ping.unwrap_or(Duration::MAX);
    loop {
        let order = match timeout(rest, orders.recv()).await {
            Ok(Some(order)) => order,
            Ok(None) => return broken("given up"),
            Err(_elapsed) => {
                if let Err(error) = sink.send(Message::Ping(Bytes::new())).await {
                    return broken(error);
                }
                continue;
            }
        };
        let (message, bytes) = match order {
            Command::Text(text) => {
                let bytes = text.len();
                (Message::text(text), bytes)
            }
            Command::Binary(bytes) => {
                let count = bytes.len();
                (Message::binary(bytes), count)
            }
            Command::Close { code: 0, .. } => return broken("given up"),
            Command::Close { code, reason } => {
                let frame = (code != NO_CODE)
                    .then(|| CloseFrame { code: code.into(), reason: reason.into() });
                // Without an answer it is over all the same.
                drop(sink.send(Message::Close(frame)).await);
                sleep(WS_CLOSE).await;
                return broken("the other side did not answer the close");
            }
        };
        if let Err(error) = sink.send(message).await {
            return broken(error);
        }
        dialer.tell(Net::WsSent { conn, bytes }).await;
    }
}
