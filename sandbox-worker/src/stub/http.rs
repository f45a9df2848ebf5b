//! One request over a stream of its own.

use super::streams::{Dialer, Lease, Stream};
use crate::engine::limits::{
    HTTP_EXCHANGE, HTTP_HEAD_BYTES, HTTP_HEADERS_MAX, HTTP_REDIRECTS, HTTP_RESPONSE_BYTES,
};
use crate::engine::{HttpRequest, Net};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::{Position, Url};

/// Carries the request out and tells the engine how it goes.
pub(super) async fn run(dialer: Dialer, request: HttpRequest) {
    let conn = request.conn;
    let result = timeout(HTTP_EXCHANGE, exchange(&dialer, request))
        .await
        .unwrap_or_else(|_elapsed| Err("no whole answer in time".to_owned()));
    let error = result.err().unwrap_or_default();
    dialer.tell(Net::HttpEnd { conn, error }).await;
}

struct Ready {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

fn ready(request: HttpRequest) -> Result<Ready, String> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_e| format!("{} is no method", request.method))?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static("runtimed"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    Ok(Ready { method, url: request.url, headers, body: Bytes::from(request.body) })
}

async fn exchange(dialer: &Dialer, request: HttpRequest) -> Result<(), String> {
    let conn = request.conn;
    let mut ready = ready(request)?;
    for _ in 0..=HTTP_REDIRECTS {
        let (lease, stream) = dialer.open(&ready.url).await?;
        let Some(elsewhere) = once(dialer, conn, &ready, (lease, stream)).await? else {
            return Ok(());
        };
        follow(&mut ready, &elsewhere)?;
    }
    Err(format!("more than {HTTP_REDIRECTS} redirects"))
}

/// Where a redirect leads.
struct Elsewhere {
    status: StatusCode,
    location: String,
}

fn follow(ready: &mut Ready, to: &Elsewhere) -> Result<(), String> {
    let url = ready.url.join(&to.location).map_err(|error| format!("a redirect: {error}"))?;
    let downgrade = ready.url.scheme() == "https" && url.scheme() != "https";
    if downgrade || !matches!(url.scheme(), "http" | "https") {
        return Err(format!("a redirect to {url} is not followed"));
    }
    if url.origin() != ready.url.origin() {
        ready.headers.remove(AUTHORIZATION);
    }
    let keeps =
        matches!(to.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if !keeps && ready.method != Method::HEAD {
        ready.method = Method::GET;
        ready.body = Bytes::new();
        ready.headers.remove(CONTENT_TYPE);
        ready.headers.remove(CONTENT_LENGTH);
    }
    ready.url = url;
    Ok(())
}

/// One exchange on one stream; tells the answer unless it leads elsewhere.
async fn once(
    dialer: &Dialer,
    conn: u32,
    ready: &Ready,
    (_lease, stream): (Lease, Box<dyn Stream>),
) -> Result<Option<Elsewhere>, String> {
    let fault = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HTTP_HEAD_BYTES)
        .max_headers(HTTP_HEADERS_MAX)
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(fault)?;
    // Ends with this exchange.
    let mut driver = JoinSet::new();
    driver.spawn_local(async move { drop(connection.await) });
    let response = sender.send_request(head(ready)?).await.map_err(fault)?;
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    if let (true, Some(location)) = (is_redirect(status), location) {
        return Ok(Some(Elsewhere { status, location: location.to_owned() }));
    }
    tell(dialer, conn, ready, response).await?;
    Ok(None)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

fn head(ready: &Ready) -> Result<Request<Full<Bytes>>, String> {
    let url = &ready.url;
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let path = &url[Position::BeforePath..Position::AfterQuery];
    let mut request = Request::builder()
        .method(ready.method.clone())
        .uri(path)
        .body(Full::new(ready.body.clone()))
        .map_err(|error| format!("the request cannot be sent: {error}"))?;
    *request.headers_mut() = ready.headers.clone();
    let host = HeaderValue::from_str(host).map_err(|error| format!("the host: {error}"))?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn tell(
    dialer: &Dialer,
    conn: u32,
    ready: &Ready,
    response: Response<Incoming>,
) -> Result<(), String> {
    let status = response.status();
    let mut headers = Vec::new();
    for (name, value) in response.headers() {
        headers.push(name.as_str().to_owned());
        headers.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    dialer
        .tell(Net::HttpHead {
            conn,
            status: status.as_u16(),
            text: status.canonical_reason().unwrap_or_default().to_owned(),
            headers,
            url: ready.url.to_string(),
        })
        .await;
    let mut body = response.into_body();
    let mut total = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("HTTP: {error}"))?;
        let Ok(bytes) = frame.into_data() else { continue };
        total = total.saturating_add(bytes.len());
        if total > HTTP_RESPONSE_BYTES {
            return Err(format!("the answer is over {HTTP_RESPONSE_BYTES} bytes"));
        }
        dialer.tell(Net::HttpChunk { conn, bytes: bytes.to_vec() }).await;
    }
    Ok(())
}
