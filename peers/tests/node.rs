//! A message node as its clients see it: sessions, re-open, routes, participants, and every way in
//! which it can be made to misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use peers::node::{Mode, Node, Options, Participant};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const LIMIT: Duration = Duration::from_secs(5);
const ALICE: &str = "hyperty://home.example/alice";
const RUNTIME: &str = "hyperty-runtime://home.example/r1";

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn connect(node: &Node) -> Result<Self, Error> {
        Self::connect_to(node, &node.url()).await
    }

    async fn connect_to(node: &Node, url: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(node.addr()).await.unwrap();
        client_async(url, stream).await.map(|(socket, _)| Self(socket))
    }

    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let message = timeout(LIMIT, self.0.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.hear().await
    }

    async fn session(&mut self, kind: &str, from: &str) -> Value {
        let open = json!({"id": 1, "type": kind, "from": from, "to": "mn:/session"});
        self.ask(&open).await["body"].clone()
    }

    /// Whether the node has ended the connection.
    async fn is_cut(&mut self) -> bool {
        match timeout(LIMIT, self.0.next()).await.unwrap() {
            None | Some(Err(_) | Ok(Message::Close(_))) => true,
            Some(Ok(other)) => panic!("expected the end, got {other:?}"),
        }
    }
}

async fn node() -> Node {
    Node::start("alpha.example", Options::default()).await.unwrap()
}

async fn opened(node: &Node, runtime: &str) -> (Client, String) {
    let mut client = Client::connect(node).await.unwrap();
    let body = client.session("open", runtime).await;
    assert_eq!(body["code"], 200);
    let token = body["runtimeToken"].as_str().unwrap().to_owned();
    (client, token)
}

fn read(id: u64, from: &str, to: &str) -> Value {
    json!({"id": id, "type": "read", "from": from, "to": to, "body": {"n": id}})
}

#[tokio::test]
async fn any_name_of_the_domain_echoes_with_its_address() {
    let node = node().await;
    let (mut client, _) = opened(&node, RUNTIME).await;
    let answer = client.ask(&read(7, ALICE, "hyperty://alpha.example/bob")).await;
    assert_eq!(
        answer,
        json!({"id": 7, "type": "response", "from": "hyperty://alpha.example/bob", "to": ALICE,
        "body": {"code": 200, "value": {
            "echo": {"n": 7}, "by": "hyperty://alpha.example/bob", "domain": "alpha.example"}}})
    );
}

#[tokio::test]
async fn another_domain_is_not_found_and_an_update_is_not_answered() {
    let node = node().await;
    let (mut client, _) = opened(&node, RUNTIME).await;
    client.say(&json!({"type": "update", "from": ALICE, "to": "hyperty://alpha.example/x"})).await;
    let answer = client.ask(&read(2, ALICE, "hyperty://beta.example/bob")).await;
    assert_eq!((&answer["id"], &answer["body"]["code"]), (&json!(2), &json!(404)));
    assert_eq!(node.stats().unrouted, 2);
}

#[tokio::test]
async fn a_wrong_path_is_no_node() {
    let node = node().await;
    let url = format!("ws://{}/guessed/ws", node.addr());
    let refused = Client::connect_to(&node, &url).await.map(|_| ());
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 404));
    node.wait(LIMIT, |stats| stats.refused_connections == 1 && stats.accepted == 0).await.unwrap();
}

#[tokio::test]
async fn a_query_does_not_change_the_path() {
    let node = node().await;
    let url = format!("{}?runtimeURL={RUNTIME}", node.url());
    assert!(Client::connect_to(&node, &url).await.is_ok());
}

#[tokio::test]
async fn without_a_session_a_request_is_refused() {
    let node = node().await;
    let mut client = Client::connect(&node).await.unwrap();
    let answer = client.ask(&read(1, ALICE, "hyperty://alpha.example/bob")).await;
    assert_eq!(answer["body"]["code"], 403);
}

#[tokio::test]
async fn a_lost_session_is_resumed_with_its_token_and_gets_what_came_meanwhile() {
    let node = node().await;
    let (mut first, token) = opened(&node, RUNTIME).await;
    first.ask(&read(1, ALICE, "hyperty://alpha.example/bob")).await;
    let (mut other, _) = opened(&node, "hyperty-runtime://home.example/r2").await;
    drop(first);
    node.wait(LIMIT, |stats| stats.sessions == 1).await.unwrap();
    other.say(&read(9, "hyperty://alpha.example/carol", ALICE)).await;
    node.wait(LIMIT, |stats| stats.routed == 1).await.unwrap();

    let mut again = Client::connect(&node).await.unwrap();
    let body = again.session("re-open", &format!("{RUNTIME}/{token}")).await;
    assert_eq!(body, json!({"code": 200, "runtimeToken": token}));
    assert_eq!(again.hear().await["id"], 9);
    assert_eq!((node.stats().opened, node.stats().reopened), (2, 1));
}

#[tokio::test]
async fn an_unknown_token_and_the_token_of_another_runtime_open_nothing() {
    let node = node().await;
    let (_kept, token) = opened(&node, RUNTIME).await;
    let mut client = Client::connect(&node).await.unwrap();
    for from in [format!("{RUNTIME}/nonsense"), format!("hyperty-runtime://evil.example/r/{token}")]
    {
        assert_eq!(client.session("re-open", &from).await["code"], 404);
    }
    assert_eq!(node.stats().reopened, 0);
}

#[tokio::test]
async fn a_closed_session_cannot_be_resumed() {
    let node = node().await;
    let (mut client, token) = opened(&node, RUNTIME).await;
    let session = format!("{RUNTIME}/{token}");
    assert_eq!(client.session("close", &session).await["code"], 200);
    assert_eq!(client.session("re-open", &session).await["code"], 404);
    assert_eq!((node.stats().closed, node.stats().sessions), (1, 0));
}

#[tokio::test]
async fn one_runtime_reaches_another_and_gets_its_answer() {
    let node = node().await;
    let (mut a, _) = opened(&node, RUNTIME).await;
    let (mut b, _) = opened(&node, "hyperty-runtime://alpha.example/r2").await;
    let carol = "hyperty://alpha.example/carol";
    b.ask(&read(1, carol, "hyperty://alpha.example/bob")).await;

    a.say(&read(2, ALICE, carol)).await;
    assert_eq!(b.hear().await, read(2, ALICE, carol));
    let response = json!({"id": 2, "type": "response", "from": carol, "to": ALICE,
        "body": {"code": 200}});
    b.say(&response).await;
    assert_eq!(a.hear().await, response);
    a.say(&read(3, ALICE, "hyperty-runtime://alpha.example/r2/registry")).await;
    assert_eq!(b.hear().await["id"], 3, "below the other's runtime address");
    let own = a.ask(&read(4, ALICE, &format!("{RUNTIME}/sm"))).await;
    assert_eq!(own["body"]["code"], 404, "what comes from a runtime is not sent back to it");
}

#[tokio::test]
async fn subscribers_get_a_copy_until_they_unsubscribe() {
    let node = node().await;
    let (mut a, _) = opened(&node, RUNTIME).await;
    let (mut b, _) = opened(&node, "hyperty-runtime://alpha.example/r2").await;
    let (sm, object) = ("domain://msg-node.alpha.example/sm", "comm://alpha.example/o/changes");
    let mut request = json!({"id": 1, "type": "subscribe", "from": ALICE, "to": sm,
        "body": {"resources": [object]}});
    assert_eq!(a.ask(&request).await["body"], json!({"code": 200}));
    let update = json!({"type": "update", "from": "hyperty://alpha.example/c", "to": object});
    b.say(&update).await;
    assert_eq!(a.hear().await, update);

    request["type"] = json!("unsubscribe");
    assert_eq!(a.ask(&request).await["body"]["code"], 200);
    b.say(&update).await;
    node.wait(LIMIT, |stats| stats.unrouted == 1).await.unwrap();
}

#[tokio::test]
async fn addresses_are_allocated_once_each() {
    let node = node().await;
    let (mut client, _) = opened(&node, RUNTIME).await;
    let request = json!({"id": 1, "type": "create", "from": format!("{RUNTIME}/address-allocation"),
        "to": "domain://msg-node.alpha.example/address-allocation",
        "body": {"scheme": "comm", "value": {"number": 2}}});
    let mut all = Vec::new();
    for _ in 0..2 {
        let answer = client.ask(&request).await;
        all.extend(answer["body"]["value"]["allocated"].as_array().unwrap().clone());
    }
    all.dedup();
    assert!(
        all.len() == 4
            && all.iter().all(|a| { a.as_str().unwrap().starts_with("comm://alpha.example/") })
    );
}

#[tokio::test]
async fn participants_answer_as_they_were_told() {
    let node = node().await;
    let refusal = json!({"code": 406, "desc": "no"});
    for (name, how) in [
        ("mute", Participant::Silent),
        ("slow", Participant::Provisional),
        ("no", Participant::Body(refusal.clone())),
        ("twice", Participant::Twice),
    ] {
        node.set_participant(name, how).await.unwrap();
    }
    let (mut client, _) = opened(&node, RUNTIME).await;
    client.say(&read(1, ALICE, "hyperty://alpha.example/mute")).await;
    let first = client.ask(&read(2, ALICE, "hyperty://alpha.example/slow")).await;
    assert_eq!((&first["id"], &first["body"]["code"]), (&json!(2), &json!(180)));
    assert_eq!(client.hear().await["body"]["code"], 200);
    assert_eq!(client.ask(&read(3, ALICE, "hyperty://alpha.example/no")).await["body"], refusal);
    let one = client.ask(&read(4, ALICE, "hyperty://alpha.example/twice")).await;
    assert_eq!(one, client.hear().await);
}

#[tokio::test]
async fn a_push_reaches_every_session_whatever_it_says() {
    let node = node().await;
    let (mut a, _) = opened(&node, RUNTIME).await;
    let _without_session = Client::connect(&node).await.unwrap();
    let forged = json!({"type": "read", "from": "hyperty://home.example/root", "to": ALICE});
    assert_eq!(node.push(&forged).await.unwrap(), 1);
    assert_eq!(a.hear().await, forged);
    node.push_text("{not json".to_owned()).await.unwrap();
    let raw = timeout(LIMIT, a.0.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(raw.to_text().unwrap(), "{not json");
}

#[tokio::test]
async fn dropping_connections_cuts_them_and_keeps_the_sessions() {
    let node = node().await;
    let (mut client, token) = opened(&node, RUNTIME).await;
    assert_eq!(node.drop_connections().await.unwrap(), 1);
    assert!(client.is_cut().await);
    assert_eq!((node.stats().sessions, node.stats().connections), (0, 0));
    let mut again = Client::connect(&node).await.unwrap();
    assert_eq!(again.session("re-open", &format!("{RUNTIME}/{token}")).await["code"], 200);
}

#[tokio::test]
async fn a_silent_node_hears_and_says_nothing() {
    let node = node().await;
    let (mut client, _) = opened(&node, RUNTIME).await;
    node.set_mode(Mode::Silent).await.unwrap();
    client.say(&read(1, ALICE, "hyperty://alpha.example/bob")).await;
    node.wait(LIMIT, |stats| stats.received == 2).await.unwrap();
    assert_eq!(node.stats().answered, 1, "the open alone");
    node.set_mode(Mode::Normal).await.unwrap();
    let answer = client.ask(&read(2, ALICE, "hyperty://alpha.example/bob")).await;
    assert_eq!(answer["id"], 2);
    let heard: Vec<_> = node.received().await.unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(heard, [json!(1), json!(1), json!(2)]);
}

#[tokio::test]
async fn sessions_and_connections_can_be_refused() {
    let node = node().await;
    node.set_mode(Mode::RefuseSessions).await.unwrap();
    let mut client = Client::connect(&node).await.unwrap();
    assert_eq!(client.session("open", RUNTIME).await["code"], 403);
    assert_eq!(node.stats().refused_sessions, 1);
    node.set_mode(Mode::RefuseConnections).await.unwrap();
    let refused = Client::connect(&node).await.map(|_| ());
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 503));
}

#[tokio::test]
async fn a_node_that_was_stopped_comes_back_under_its_url() {
    let first = node().await;
    let (mut client, _) = opened(&first, RUNTIME).await;
    let (url, options) = (first.url(), first.options());
    first.stop().await;
    assert!(client.is_cut().await);
    let again = Node::start("alpha.example", options).await.unwrap();
    assert_eq!(again.url(), url);
    opened(&again, RUNTIME).await;
}

#[tokio::test]
async fn what_is_no_message_is_counted_and_ends_nothing() {
    let node = node().await;
    let (mut client, _) = opened(&node, RUNTIME).await;
    for text in ["", "[]", "{", "{\"type\":\"read\"}"] {
        client.0.send(Message::text(text)).await.unwrap();
    }
    let answer = client.ask(&read(5, ALICE, "hyperty://alpha.example/bob")).await;
    assert_eq!(answer["id"], 5);
    assert_eq!(node.stats().malformed, 4);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_the_others_go_on() {
    let node = node().await;
    let (slow, _) = opened(&node, RUNTIME).await;
    let text = "x".repeat(16 * 1024);
    for _ in 0..10_000 {
        if node.push_text(text.clone()).await.unwrap() == 0 {
            break;
        }
    }
    assert_eq!((node.stats().slow, node.stats().sessions), (1, 0));
    let (mut other, _) = opened(&node, "hyperty-runtime://home.example/r2").await;
    let answer = other.ask(&read(1, ALICE, "hyperty://alpha.example/bob")).await;
    assert_eq!(answer["body"]["code"], 200);
    drop(slow);
}

#[tokio::test]
async fn the_registry_knows_what_was_registered_and_what_was_said_of_it_last() {
    let node = Node::start("home.example", Options::default()).await.unwrap();
    let mut client = Client::connect(&node).await.unwrap();
    client.session("open", RUNTIME).await;
    let to = "domain://registry.home.example";
    let live = json!({"resource": ALICE, "value": {"status": "live"}});
    let gone = json!({"resource": format!("/hyperty/{ALICE}"), "value": "disconnected",
        "attribute": "status"});
    for (kind, body, code) in [
        ("update", &live, 404),
        ("create", &json!({"value": {"x": 1}}), 400),
        ("create", &json!({"value": {"url": ALICE, "status": "live"}}), 200),
        ("update", &gone, 200),
    ] {
        let message = json!({"id": 2, "type": kind, "from": RUNTIME, "to": to, "body": body});
        assert_eq!(client.ask(&message).await["body"]["code"], code, "{message}");
    }
    let all = node.registered().await.unwrap();
    assert_eq!(all[ALICE], json!({"url": ALICE, "status": "disconnected"}));
}
