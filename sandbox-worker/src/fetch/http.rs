//! One thing fetched: over streams that the daemon gives, whatever the other end answers.

use super::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use super::place::{Catalogue, Place};
use super::{Failure, failure};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::ctl::{ConnectError, CtlUp, FetchError, Target};
use protocol::limits::REDIRECTS_MAX;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use url::Url;

/// What the job wants of the link.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A stream or file.
    Open(Target, oneshot::Sender<Opened>),
    /// The stream with this number is closed.
    Closed(u32),
    /// Say this to the daemon.
    Say(CtlUp, Vec<OwnedFd>),
}

/// A stream or file with its number, or why there is none.
pub(crate) type Opened = Result<(u32, OwnedFd), (ConnectError, String)>;

/// What was fetched, and where the last hop was.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// All bytes.
    pub(crate) bytes: Vec<u8>,
    /// Where they lay.
    pub(crate) place: Place,
}

/// How things are fetched in one job.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    asks: mpsc::Sender<Ask>,
    tls: Arc<ClientConfig>,
}

/// What too many, or too few, bytes mean for the thing that is fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes.
    pub(crate) max: usize,
    /// If there are more.
    pub(crate) over: FetchError,
    /// If they end too early, or come in a form that was not asked for.
    pub(crate) cut: FetchError,
}

fn down(place: &impl std::fmt::Display, why: &impl std::fmt::Display) -> Failure {
    failure(FetchError::Down, format!("{place}: {why}"))
}

impl Fetcher {
    pub(crate) const fn new(asks: mpsc::Sender<Ask>, tls: Arc<ClientConfig>) -> Self {
        Self { asks, tls }
    }

    /// Says something to the daemon.
    ///
    /// # Errors
    /// The link is over.
    pub(crate) async fn say(&self, ctl: CtlUp, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        self.asks
            .send(Ask::Say(ctl, fds))
            .await
            .map_err(|_e| failure(FetchError::Down, "the link is over"))
    }

    /// Fetches what lies at `place`, following redirects as `catalogue` allows.
    ///
    /// # Errors
    /// It is not there, or not within its bounds.
    pub(crate) async fn get(
        &self,
        catalogue: &Catalogue,
        place: Place,
        bounds: Bounds,
    ) -> Result<Fetched, Failure> {
        let mut place = place;
        for _ in 0..=REDIRECTS_MAX {
            let url = match &place {
                Place::File(path) => {
                    let bytes = self.file(path, bounds).await?;
                    return Ok(Fetched { bytes, place });
                }
                Place::Web(url) => url,
            };
            match self.web(url, bounds).await? {
                Answer::Bytes(bytes) => return Ok(Fetched { bytes, place }),
                Answer::Elsewhere(target) => place = catalogue.follow(&place, &target)?,
            }
        }
        let text = format!("{place} is the end of more than {REDIRECTS_MAX} redirects");
        Err(failure(FetchError::Redirect, text))
    }

    async fn open(&self, target: Target, place: &str) -> Result<(u32, OwnedFd), Failure> {
        let (reply, opened) = oneshot::channel();
        let gone = || failure(FetchError::Down, "the link is over");
        self.asks.send(Ask::Open(target, reply)).await.map_err(|_e| gone())?;
        opened.await.map_err(|_e| gone())?.map_err(|(error, text)| {
            let error = match error {
                ConnectError::NotFound => FetchError::Absent,
                ConnectError::TimedOut => FetchError::Slow,
                ConnectError::NotGranted
                | ConnectError::AddressDenied
                | ConnectError::NotResolved
                | ConnectError::Unreachable
                | ConnectError::Exhausted => FetchError::Down,
            };
            failure(error, format!("{place}: {text}"))
        })
    }

    async fn file(&self, path: &str, bounds: Bounds) -> Result<Vec<u8>, Failure> {
        let (req, fd) = self.open(Target::File { path: path.to_owned() }, path).await?;
        let mut bytes = Vec::new();
        let most = u64::try_from(bounds.max).unwrap_or(u64::MAX).saturating_add(1);
        let read = std::fs::File::from(fd).take(most).read_to_end(&mut bytes);
        self.closed(req).await;
        read.map_err(|error| down(&path, &error))?;
        if bytes.len() > bounds.max { Err(too_large(&path, bounds)) } else { Ok(bytes) }
    }

    async fn closed(&self, req: u32) {
        // Without a link there is nobody to tell.
        drop(self.asks.send(Ask::Closed(req)).await);
    }

    async fn web(&self, url: &Url, bounds: Bounds) -> Result<Answer, Failure> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let target = Target::Tcp { host: host.clone(), port };
        let (req, fd) = self.open(target, url.as_str()).await?;
        let socket = std::os::unix::net::UnixStream::from(fd);
        let answer = async {
            socket.set_nonblocking(true).map_err(|error| down(url, &error))?;
            let stream = UnixStream::from_std(socket).map_err(|error| down(url, &error))?;
            if url.scheme() == "https" {
                let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(bare).map_err(|error| down(url, &error))?;
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let stream =
                    connector.connect(name, stream).await.map_err(|error| down(url, &error))?;
                exchange(stream, url, bounds).await
            } else {
                exchange(stream, url, bounds).await
            }
        }
        .await;
        self.closed(req).await;
        answer
    }
}

enum Answer {
    Bytes(Vec<u8>),
    Elsewhere(String),
}

fn too_large(place: &impl std::fmt::Display, bounds: Bounds) -> Failure {
    failure(bounds.over, format!("{place} is larger than {} bytes", bounds.max))
}

/// One request, one answer, one connection.
async fn exchange<S>(stream: S, url: &Url, bounds: Bounds) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .max_headers(HTTP_HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| down(url, &error))?;
    // Ends with this function, whatever the other side does.
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let response = sender.send_request(request(url)?).await.map_err(|error| down(url, &error))?;
    let status = response.status();
    match status {
        StatusCode::OK => body(response, url, bounds).await.map(Answer::Bytes),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(failure(FetchError::Absent, format!("{url} answers {status}")))
        }
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .map(|location| Answer::Elsewhere(location.to_owned()))
            .ok_or_else(|| {
                failure(FetchError::Redirect, format!("{url} answers {status} without a place"))
            }),
        _ => Err(down(url, &format!("answers {status}"))),
    }
}

fn request(url: &Url) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = url
        .query()
        .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("runtimed/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json, text/javascript, */*;q=0.1")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| down(url, &error))
}

/// Reads within the bound, whatever length was announced.
async fn body(response: Response<Incoming>, url: &Url, bounds: Bounds) -> Result<Vec<u8>, Failure> {
    let encoding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_vec());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(failure(bounds.cut, format!("{url} comes compressed, unasked")));
    }
    let mut body = response.into_body();
    let max = u64::try_from(bounds.max).unwrap_or(u64::MAX);
    if body.size_hint().lower() > max {
        return Err(too_large(url, bounds));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| failure(bounds.cut, format!("{url} is cut short: {error}")))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len().saturating_add(data.len()) > bounds.max {
                return Err(too_large(url, bounds));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}
