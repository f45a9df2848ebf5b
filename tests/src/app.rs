//! An application as anybody would write it: a Unix socket, JSON lines, deadlines.

use crate::PATIENCE;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One connection to `run/bus.sock`.
#[derive(Debug)]
pub struct App {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    /// The daemon's answer to hello.
    pub welcome: Value,
    next_id: u64,
}

impl App {
    /// Connects and says nothing yet.
    pub fn silent(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the bus socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let lines = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, lines, welcome: Value::Null, next_id: 0 }
    }

    /// Connects, claims the addresses, and is welcome.
    pub fn connect(path: &Path, name: &str, addresses: &[&str]) -> Self {
        let mut app = Self::silent(path);
        app.write(&json!({"hello": {"name": name, "addresses": addresses}}));
        app.welcome = app.read().expect("an answer to hello");
        assert!(app.welcome.get("welcome").is_some(), "{}", app.welcome);
        app
    }

    /// Writes one JSON line.
    pub fn write(&mut self, value: &Value) {
        self.write_raw(format!("{value}\n").as_bytes());
    }

    /// Writes bytes as they are.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon reads");
    }

    /// Whether the daemon says something, or closes the connection, within this time.
    pub fn hears_within(&mut self, time: std::time::Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a timeout");
        let heard = self.lines.fill_buf().is_ok();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        heard
    }

    /// The next line; `None` when the daemon closed the connection.
    pub fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("a line of JSON")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing within {PATIENCE:?}: {error}"),
        }
    }

    /// Sends a request without waiting; its id.
    pub fn ask(&mut self, kind: &str, to: &str, body: &Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.write(&json!({"id": id, "type": kind, "to": to, "body": body}));
        id
    }

    /// The next response with this id; other messages before it are passed over.
    pub fn response(&mut self, id: u64) -> Value {
        loop {
            let message = self.read().expect("the daemon answers");
            if message["type"] == "response" && message["id"] == id {
                return message;
            }
        }
    }

    /// Sends a request and waits for its response.
    pub fn call(&mut self, kind: &str, to: &str, body: &Value) -> Value {
        let id = self.ask(kind, to, body);
        self.response(id)
    }

    /// Sends a request and asserts the code and the reason of its refusal.
    pub fn refused(&mut self, kind: &str, to: &str, code: u16, reason: &str) -> Value {
        let response = self.call(kind, to, &json!({}));
        assert_eq!(response["body"]["code"], code, "{response}");
        assert_eq!(response["body"]["reason"], reason, "{response}");
        assert!(response["body"]["desc"].as_str().is_some_and(|desc| desc.len() > 5), "{response}");
        response
    }
}
