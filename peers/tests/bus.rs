//! The application client against a stand-in for the daemon that follows a script.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use peers::Fault;
use peers::bus::App;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// Answers the n-th line with the n-th text, closes after the last, and returns what it heard.
fn daemon(script: Vec<String>) -> (TempDir, PathBuf, JoinHandle<Vec<Value>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let task = tokio::spawn(async move {
        let (mut reader, mut writer) = listener.accept().await.unwrap().0.into_split();
        let mut lines = BufReader::new(&mut reader).lines();
        let mut heard = Vec::new();
        for text in script {
            let line = lines.next_line().await.unwrap().unwrap();
            heard.push(serde_json::from_str(&line).unwrap());
            writer.write_all(text.as_bytes()).await.unwrap();
        }
        heard
    });
    (dir, path, task)
}

fn welcome() -> String {
    "{\"welcome\":{\"address\":\"hyperty-runtime://h/1/app/1\",\"runtime\":\"hyperty-runtime://h/1\"}}\n"
        .to_owned()
}

#[tokio::test]
async fn hello_is_answered_and_the_final_response_is_picked_out() {
    let script = "{\"type\":\"update\",\"n\":1}\n\
        {\"type\":\"response\",\"id\":1,\"body\":{\"code\":100}}\n\
        {\"type\":\"response\",\"id\":2,\"body\":{\"code\":200}}\n\
        {\"type\":\"response\",\"id\":1,\"body\":{\"code\":\"200\"}}\n";
    let (_dir, path, task) = daemon(vec![welcome(), script.to_owned()]);
    let mut app = App::connect(&path, "alice-app", &["hyperty://h/alice"]).await.unwrap();
    assert_eq!(
        (app.address(), app.runtime()),
        ("hyperty-runtime://h/1/app/1", "hyperty-runtime://h/1")
    );
    let answer = app.request(json!({"type": "read", "to": "hyperty://x/bob"})).await.unwrap();
    assert_eq!(answer, json!({"type": "response", "id": 1, "body": {"code": "200"}}));
    assert_eq!(app.next().await.unwrap(), json!({"type": "update", "n": 1}));
    assert_eq!(app.next().await.unwrap().pointer("/body/code"), Some(&json!(100)));
    assert_eq!(app.next().await.unwrap().get("id"), Some(&json!(2)));
    assert!(matches!(app.next().await, Err(Fault::Closed)));
    let heard = task.await.unwrap();
    assert_eq!(
        heard,
        [
            json!({"hello": {"name": "alice-app", "addresses": ["hyperty://h/alice"]}}),
            json!({"id": 1, "type": "read", "to": "hyperty://x/bob"}),
        ]
    );
}

#[tokio::test]
async fn a_refused_hello_is_told_with_the_daemons_words() {
    let error = "{\"error\":{\"code\":403,\"reason\":\"address-taken\"}}\n".to_owned();
    let (_dir, path, _task) = daemon(vec![error]);
    let refused = App::connect(&path, "eve", &[]).await;
    assert!(matches!(&refused, Err(Fault::Refused(line))
        if line.pointer("/error/reason") == Some(&json!("address-taken"))));
}

#[tokio::test]
async fn a_line_in_two_parts_survives_a_deadline_between_them() {
    let (_dir, path, _task) = daemon(vec![welcome(), "{\"a\":".to_owned(), "1}\n".to_owned()]);
    let mut app = App::connect(&path, "a", &[]).await.unwrap();
    app.send(&json!({})).await.unwrap();
    let late = app.next_within(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(Fault::Deadline { .. })), "{late:?}");
    app.send(&json!({})).await.unwrap();
    assert_eq!(app.next().await.unwrap(), json!({"a": 1}));
}

#[tokio::test]
async fn text_that_is_no_json_is_malformed_and_nobody_there_is_a_fault() {
    let (_dir, path, _task) = daemon(vec!["nonsense\n".to_owned()]);
    assert!(matches!(App::connect(&path, "a", &[]).await, Err(Fault::Malformed(_))));
    let nowhere = path.with_file_name("none");
    assert!(matches!(App::connect_raw(&nowhere).await, Err(Fault::Io { .. })));
}
