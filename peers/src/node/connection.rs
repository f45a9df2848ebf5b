//! One WebSocket connection of a node: the handshake with its path, texts in, texts out.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::switch::Connection;
use crate::limits;

/// What a connection tells the task that owns the node.
pub(super) type Event = (Connection, Happening);

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Happening {
    Shaken,
    Text(String),
    Left,
}

/// Serves one connection to its end. Without a path every handshake is refused.
pub(super) async fn run(
    number: Connection,
    stream: TcpStream,
    path: Option<String>,
    outbound: mpsc::Receiver<String>,
    events: mpsc::Sender<Event>,
) {
    // Small messages in both directions: waiting for more only adds delay.
    stream.set_nodelay(true).ok();
    if let Some(socket) = shake(stream, path).await
        && events.send((number, Happening::Shaken)).await.is_ok()
    {
        talk(number, socket, outbound, &events).await;
    }
    events.send((number, Happening::Left)).await.ok();
}

async fn shake(stream: TcpStream, path: Option<String>) -> Option<WebSocketStream<TcpStream>> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::MESSAGE_BYTES))
        .max_frame_size(Some(limits::MESSAGE_BYTES));
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let check = move |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let status = match &path {
            Some(path) if request.uri().path() == path => return Ok(response),
            Some(_) => StatusCode::NOT_FOUND,
            None => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = status;
        Err(refusal)
    };
    let shaken = accept_hdr_async_with_config(stream, check, Some(config));
    timeout(limits::HANDSHAKE, shaken).await.ok()?.ok()
}

async fn talk(
    number: Connection,
    mut socket: WebSocketStream<TcpStream>,
    mut outbound: mpsc::Receiver<String>,
    events: &mpsc::Sender<Event>,
) {
    loop {
        tokio::select! {
            text = outbound.recv() => {
                let Some(text) = text else { return };
                let sent = timeout(limits::WRITE, socket.send(Message::text(text))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let text = Happening::Text(text.as_str().to_owned());
                    if events.send((number, text)).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}
