//! A catalogue as its clients see it, byte by byte: what it serves, what it counts, and every way in
//! which it can be made to misbehave.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use peers::catalogue::{Behaviour, Catalogue, Options, Response};
use peers::descriptor::Stub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(5);
const PATH: &str = "/.well-known/protocolstub/default";

async fn catalogue() -> Catalogue {
    Catalogue::start(Options::default()).await.unwrap()
}

async fn send(catalogue: &Catalogue, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(catalogue.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Everything that comes until the server closes.
async fn exchange(catalogue: &Catalogue, request: &str) -> String {
    let mut stream = send(catalogue, request).await;
    let mut all = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    String::from_utf8(all).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

async fn answer(behaviour: Behaviour) -> String {
    let catalogue = catalogue().await;
    let response = Response::javascript("0123456789").sent(behaviour);
    catalogue.set(PATH, response).await.unwrap();
    exchange(&catalogue, &get(PATH)).await
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn a_descriptor_is_served_whole_and_counted() {
    let catalogue = catalogue().await;
    let descriptor = Stub::connecting_to("ws://127.0.0.1:9/ws", "1;").inline_base64();
    catalogue.set_stub("default", &descriptor).await.unwrap();
    assert_eq!(catalogue.url_of(PATH), format!("{}/protocolstub/default", catalogue.url()));
    let answer = exchange(&catalogue, &get(PATH)).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
        "{answer}"
    );
    assert_eq!(body(&answer), descriptor.to_string());
    assert_eq!((catalogue.count(PATH), catalogue.count("/other")), (1, 0));
    catalogue.wait(LIMIT, PATH, 1).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_or_was_removed_is_404_and_counted() {
    let catalogue = catalogue().await;
    catalogue.set(PATH, Response::ok("text/plain", "x")).await.unwrap();
    catalogue.remove(PATH).await.unwrap();
    for path in [PATH, "/x?y=1"] {
        assert!(exchange(&catalogue, &get(path)).await.starts_with("HTTP/1.1 404 "));
    }
    let counts: Vec<_> = catalogue.counts().into_iter().collect();
    assert_eq!(counts, [(PATH.to_owned(), 1), ("/x".to_owned(), 1)]);
}

#[tokio::test]
async fn a_guarded_catalogue_answers_only_below_its_segment() {
    let options = Options { guarded: true, ..Options::default() };
    let catalogue = Catalogue::start(options).await.unwrap();
    catalogue.set(PATH, Response::ok("text/plain", "secret")).await.unwrap();
    assert!(exchange(&catalogue, &get(PATH)).await.starts_with("HTTP/1.1 404 "));
    let whole = catalogue.url_of(PATH);
    let path = whole.strip_prefix(&format!("http://{}", catalogue.addr())).unwrap();
    assert_eq!(body(&exchange(&catalogue, &get(path)).await), "secret");
    assert_eq!(catalogue.count(PATH), 1);
}

#[tokio::test]
async fn other_methods_broken_and_oversized_heads_are_refused() {
    let catalogue = catalogue().await;
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(peers::limits::REQUEST_BYTES));
    for (request, status) in
        [("POST / HTTP/1.1\r\n\r\n", 405), ("\0\0\r\n\r\n", 400), (long.as_str(), 431)]
    {
        let answer = exchange(&catalogue, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_truncated_body_ends_before_its_length() {
    let answer = answer(Behaviour::Truncate(4)).await;
    assert!(answer.contains("Content-Length: 10\r\n"));
    assert_eq!(body(&answer), "0123");
}

#[tokio::test]
async fn a_wrong_length_is_promised_and_not_kept() {
    let answer = answer(Behaviour::ContentLength(99)).await;
    assert!(answer.contains("Content-Length: 99\r\n"));
    assert_eq!(body(&answer), "0123456789");
}

#[tokio::test]
async fn a_chunked_body_is_well_formed() {
    let answer = answer(Behaviour::Chunked(4)).await;
    assert!(answer.contains("\r\nTransfer-Encoding: chunked\r\n"));
    assert_eq!(body(&answer), "4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_raw_answer_has_no_head_and_a_close_has_nothing() {
    assert_eq!(answer(Behaviour::Raw).await, "0123456789");
    assert_eq!(answer(Behaviour::Close).await, "");
}

#[tokio::test]
async fn a_delayed_and_a_dripping_answer_come_whole_and_late() {
    for behaviour in
        [Behaviour::Delay(Duration::from_millis(50)), Behaviour::Drip(2, Duration::from_millis(10))]
    {
        let begun = Instant::now();
        assert_eq!(body(&answer(behaviour).await), "0123456789");
        assert!(begun.elapsed() >= Duration::from_millis(50), "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_redirect_names_the_other_place() {
    let catalogue = catalogue().await;
    catalogue.set(PATH, Response::redirect(302, "file:///etc/passwd")).await.unwrap();
    let answer = exchange(&catalogue, &get(PATH)).await;
    assert!(answer.starts_with("HTTP/1.1 302 ") && answer.contains("Location: file:///etc/passwd"));
}

#[tokio::test]
async fn a_black_hole_takes_the_request_and_says_nothing() {
    let catalogue = catalogue().await;
    catalogue.set(PATH, Response::status(200).sent(Behaviour::BlackHole)).await.unwrap();
    let mut stream = send(&catalogue, &get(PATH)).await;
    catalogue.wait(LIMIT, PATH, 1).await.unwrap();
    let mut byte = [0_u8; 1];
    let silent = timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
    assert!(silent.is_err(), "{silent:?}");
    catalogue.stop().await;
    assert!(matches!(timeout(LIMIT, stream.read(&mut byte)).await.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn an_endless_body_goes_on_past_every_reasonable_size() {
    let catalogue = catalogue().await;
    let response = Response::ok("text/plain", "spam").sent(Behaviour::Endless);
    catalogue.set(PATH, response).await.unwrap();
    let mut stream = send(&catalogue, &get(PATH)).await;
    let mut chunk = vec![0_u8; 1024 * 1024];
    for _ in 0..6 {
        timeout(LIMIT, stream.read_exact(&mut chunk)).await.unwrap().unwrap();
    }
    drop(stream);
    let answer = exchange(&catalogue, &get("/still-there")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "));
}
