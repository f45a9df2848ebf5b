//! An application on the daemon's bus socket: newline-delimited JSON, one message a line.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::fault::Fault;
use crate::limits;

/// A connected application.
#[derive(Debug)]
pub struct App {
    stream: UnixStream,
    buffer: Vec<u8>,
    scanned: usize,
    inbox: VecDeque<Value>,
    welcome: Value,
    last_id: u64,
}

impl App {
    /// Connects, says hello under `name`, claims `addresses` and waits for the welcome.
    ///
    /// # Errors
    /// [`Fault::Refused`] with the daemon's line if it is not a welcome, else what failed.
    pub async fn connect(path: &Path, name: &str, addresses: &[&str]) -> Result<Self, Fault> {
        let mut app = Self::connect_raw(path).await?;
        app.send(&json!({"hello": {"name": name, "addresses": addresses}})).await?;
        let mut first = app.next_within(limits::WELCOME).await?;
        match first.get_mut("welcome") {
            Some(welcome) => {
                app.welcome = welcome.take();
                Ok(app)
            }
            None => Err(Fault::Refused(first)),
        }
    }

    /// Connects and says nothing.
    ///
    /// # Errors
    /// [`Fault::Io`] if nobody listens.
    pub async fn connect_raw(path: &Path) -> Result<Self, Fault> {
        let stream =
            UnixStream::connect(path).await.map_err(Fault::io("connect to the bus socket"))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            scanned: 0,
            inbox: VecDeque::new(),
            welcome: Value::Null,
            last_id: 0,
        })
    }

    /// What the daemon said in its welcome.
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// The application's own address, below the runtime's.
    pub fn address(&self) -> &str {
        self.welcome.get("address").and_then(Value::as_str).unwrap_or("")
    }

    /// The runtime's address.
    pub fn runtime(&self) -> &str {
        self.welcome.get("runtime").and_then(Value::as_str).unwrap_or("")
    }

    /// Sends one message as it is.
    ///
    /// # Errors
    /// [`Fault::Io`], or [`Fault::Deadline`] if the daemon does not read.
    pub async fn send(&mut self, message: &Value) -> Result<(), Fault> {
        self.send_line(message.to_string().as_bytes()).await
    }

    /// Sends any bytes and a newline.
    ///
    /// # Errors
    /// As [`App::send`].
    pub async fn send_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let mut whole = line.to_vec();
        whole.push(b'\n');
        match timeout(limits::ANSWER, self.stream.write_all(&whole)).await {
            Ok(written) => written.map_err(Fault::io("write to the bus socket")),
            Err(_) => Err(Fault::Deadline { what: "the daemon to read", waited: limits::ANSWER }),
        }
    }

    /// Sends a request, with an id of its own if it has none, and waits for the final response.
    ///
    /// # Errors
    /// As [`App::request_within`].
    pub async fn request(&mut self, message: Value) -> Result<Value, Fault> {
        self.request_within(limits::ANSWER, message).await
    }

    /// As [`App::request`], with a deadline of its own. Whatever else comes meanwhile, provisional
    /// responses among it, is kept for [`App::next`].
    ///
    /// # Errors
    /// [`Fault::Deadline`], [`Fault::Closed`], [`Fault::Full`], or what failed.
    pub async fn request_within(
        &mut self,
        limit: Duration,
        mut message: Value,
    ) -> Result<Value, Fault> {
        let id = match message.get("id") {
            Some(id) if *id != json!(0) => id.clone(),
            _ => self.fresh_id(),
        };
        if let Some(members) = message.as_object_mut() {
            members.insert("id".to_owned(), id.clone());
        }
        self.send(&message).await?;
        let answer = async {
            loop {
                let incoming = self.read_message().await?;
                if is_final(&incoming, &id) {
                    return Ok(incoming);
                }
                if self.inbox.len() >= limits::INBOX {
                    return Err(Fault::Full { what: "the inbox", limit: limits::INBOX });
                }
                self.inbox.push_back(incoming);
            }
        };
        let late = Fault::Deadline { what: "the final response", waited: limit };
        timeout(limit, answer).await.unwrap_or(Err(late))
    }

    /// The next message that is not the answer to a [`App::request`].
    ///
    /// # Errors
    /// As [`App::next_within`].
    pub async fn next(&mut self) -> Result<Value, Fault> {
        self.next_within(limits::ANSWER).await
    }

    /// As [`App::next`], with a deadline of its own.
    ///
    /// # Errors
    /// [`Fault::Deadline`], [`Fault::Closed`], [`Fault::Malformed`].
    pub async fn next_within(&mut self, limit: Duration) -> Result<Value, Fault> {
        if let Some(message) = self.inbox.pop_front() {
            return Ok(message);
        }
        let late = Fault::Deadline { what: "a message", waited: limit };
        timeout(limit, self.read_message()).await.unwrap_or(Err(late))
    }

    /// Answers a request that came in, with this body.
    ///
    /// # Errors
    /// As [`App::send`].
    pub async fn respond(&mut self, request: &Value, body: &Value) -> Result<(), Fault> {
        let response = json!({
            "id": request.get("id"), "type": "response",
            "from": request.get("to"), "to": request.get("from"), "body": body,
        });
        self.send(&response).await
    }

    fn fresh_id(&mut self) -> Value {
        self.last_id = self.last_id.saturating_add(1);
        json!(self.last_id)
    }

    /// Reads one line. What has come of a line stays in the buffer if this is given up.
    async fn read_message(&mut self) -> Result<Value, Fault> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let end = self.scanned.saturating_add(at).saturating_add(1);
                let line: Vec<u8> = self.buffer.drain(..end).collect();
                self.scanned = 0;
                return serde_json::from_slice(&line)
                    .map_err(|error| Fault::Malformed(format!("a line of the daemon: {error}")));
            }
            self.scanned = self.buffer.len();
            if self.scanned > limits::MESSAGE_BYTES {
                return Err(Fault::Full { what: "one line", limit: limits::MESSAGE_BYTES });
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(Fault::io("read from the bus socket"))? == 0 {
                return Err(Fault::Closed);
            }
        }
    }
}

/// A final response to this id: `code` is missing or at least 200.
fn is_final(message: &Value, id: &Value) -> bool {
    let response = message.get("type").and_then(Value::as_str) == Some("response");
    let code = message.pointer("/body/code");
    let number = |code: &Value| code.as_u64().or_else(|| code.as_str()?.parse().ok());
    response && message.get("id") == Some(id) && code.and_then(number).is_none_or(|c| c >= 200)
}
