//! What is answered to a request, and how it is put on the wire.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

use crate::limits;

/// An answer of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header lines beside `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How it is sent.
    pub behaviour: Behaviour,
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// At once and whole.
    Normal,
    /// Whole, after this time.
    Delay(Duration),
    /// Never: the connection is held open until the client gives up.
    BlackHole,
    /// The head promises the whole body; the connection closes after so many bytes of it.
    Truncate(usize),
    /// So many bytes at a time, with this time between them.
    Drip(usize, Duration),
    /// The body again and again, with no length, until the client closes.
    Endless,
    /// The body, under a head that promises this length.
    ContentLength(u64),
    /// In the chunked transfer coding, with chunks of so many bytes.
    Chunked(usize),
    /// The body is all that is sent; there is no head.
    Raw,
    /// Nothing: the connection closes after the request.
    Close,
}

impl Response {
    /// 200 with this body.
    pub fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status: 200, headers, body: body.into(), behaviour: Behaviour::Normal }
    }

    /// 200 with JSON.
    pub fn json(value: &Value) -> Self {
        Self::ok("application/json", value.to_string())
    }

    /// 200 with JavaScript.
    pub fn javascript(code: &str) -> Self {
        Self::ok("text/javascript", code)
    }

    /// This status and no body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), behaviour: Behaviour::Normal }
    }

    /// A redirect (301, 302, 303, 307, 308) to `location`.
    pub fn redirect(status: u16, location: &str) -> Self {
        let headers = vec![("Location".to_owned(), location.to_owned())];
        Self { headers, ..Self::status(status) }
    }

    /// The same, sent like this.
    #[must_use]
    pub fn sent(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }

    /// Writes it. An error only says that the client has gone.
    pub(super) async fn write<W: AsyncWrite + Unpin>(&self, out: &mut W) -> std::io::Result<()> {
        match self.behaviour {
            Behaviour::Close => return Ok(()),
            Behaviour::BlackHole => sleep(limits::BLACK_HOLE).await,
            Behaviour::Raw => out.write_all(&self.body).await?,
            Behaviour::Normal => self.whole(out).await?,
            Behaviour::Delay(time) => {
                sleep(time).await;
                self.whole(out).await?;
            }
            Behaviour::Truncate(bytes) => {
                out.write_all(self.head(Some(self.length())).as_bytes()).await?;
                let kept = self.body.get(..bytes).unwrap_or(&self.body);
                out.write_all(kept).await?;
            }
            Behaviour::Drip(bytes, pause) => {
                out.write_all(self.head(Some(self.length())).as_bytes()).await?;
                for part in self.body.chunks(bytes.max(1)) {
                    out.write_all(part).await?;
                    out.flush().await?;
                    sleep(pause).await;
                }
            }
            Behaviour::Endless => self.endless(out).await?,
            Behaviour::ContentLength(length) => {
                out.write_all(self.head(Some(length)).as_bytes()).await?;
                out.write_all(&self.body).await?;
            }
            Behaviour::Chunked(bytes) => self.chunked(out, bytes.max(1)).await?,
        }
        out.shutdown().await
    }

    async fn whole<W: AsyncWrite + Unpin>(&self, out: &mut W) -> std::io::Result<()> {
        out.write_all(self.head(Some(self.length())).as_bytes()).await?;
        out.write_all(&self.body).await
    }

    async fn endless<W: AsyncWrite + Unpin>(&self, out: &mut W) -> std::io::Result<()> {
        out.write_all(self.head(None).as_bytes()).await?;
        let part = if self.body.is_empty() { b" ".as_slice() } else { &self.body };
        let chunk = part.repeat(limits::ENDLESS_CHUNK.div_ceil(part.len()));
        let mut sent = 0_usize;
        while sent < limits::ENDLESS_BYTES {
            out.write_all(&chunk).await?;
            sent = sent.saturating_add(chunk.len());
        }
        Ok(())
    }

    async fn chunked<W: AsyncWrite + Unpin>(
        &self,
        out: &mut W,
        size: usize,
    ) -> std::io::Result<()> {
        let head = self.head(None).replacen("\r\n", "\r\nTransfer-Encoding: chunked\r\n", 1);
        out.write_all(head.as_bytes()).await?;
        for part in self.body.chunks(size) {
            out.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
            out.write_all(part).await?;
            out.write_all(b"\r\n").await?;
        }
        out.write_all(b"0\r\n\r\n").await
    }

    fn head(&self, length: Option<u64>) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, phrase(self.status));
        for (name, value) in &self.headers {
            // Writing to a String does not fail.
            write!(head, "{name}: {value}\r\n").ok();
        }
        if let Some(length) = length {
            write!(head, "Content-Length: {length}\r\n").ok();
        }
        head.push_str("Connection: close\r\n\r\n");
        head
    }

    fn length(&self) -> u64 {
        self.body.len().try_into().unwrap_or(u64::MAX)
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200..=299 => "OK",
        300..=399 => "Elsewhere",
        400..=499 => "Refused",
        _ => "Error",
    }
}
