//! The decisions of a message node, without any socket: sessions, routes, participants.
//!
//! A message comes in as text from a connection; what has to be sent comes out as text for
//! connections. The task in `serve` owns this and does the sending.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use super::registry::Registry;
use super::route::{covers, domain_of, lineage, path_of};
use super::{Mode, Participant, Stats};
use crate::limits;
use crate::token;

/// One WebSocket connection, numbered from 1 for the life of the node.
pub(super) type Connection = u64;

/// What has to be sent, and to whom.
pub(super) type Outbound = Vec<(Connection, String)>;

/// Types that expect exactly one final response.
const REQUESTS: [&str; 8] =
    ["create", "read", "execute", "subscribe", "unsubscribe", "delete", "handshake", "open"];

/// Where sessions are opened and closed.
const SESSION: &str = "mn:/session";

#[derive(Debug)]
struct Session {
    runtime: String,
    connection: Option<Connection>,
    waiting: VecDeque<String>,
}

/// One message as it came in; `kind` is its type in lower case.
struct Incoming<'a> {
    connection: Connection,
    kind: String,
    message: &'a Map<String, Value>,
    text: &'a str,
}

impl Incoming<'_> {
    fn from(&self) -> &str {
        field(self.message, "from")
    }

    fn to(&self) -> &str {
        field(self.message, "to")
    }

    fn is_request(&self) -> bool {
        REQUESTS.contains(&self.kind.as_str())
    }
}

/// The state of a message node.
#[derive(Debug)]
pub(super) struct Switch {
    domain: String,
    pub(super) mode: Mode,
    pub(super) stats: Stats,
    sessions: BTreeMap<String, Session>,
    routes: BTreeMap<String, String>,
    subscribers: BTreeMap<String, BTreeSet<String>>,
    participants: BTreeMap<String, Participant>,
    pub(super) received: VecDeque<Value>,
    pub(super) registry: Registry,
    allocated: u64,
}

impl Switch {
    pub(super) fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_ascii_lowercase(),
            mode: Mode::Normal,
            stats: Stats::default(),
            sessions: BTreeMap::new(),
            routes: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            participants: BTreeMap::new(),
            received: VecDeque::new(),
            registry: Registry::default(),
            allocated: 0,
        }
    }

    /// Gives a participant a behaviour of its own; false if there are too many.
    pub(super) fn participant(&mut self, name: String, behaviour: Participant) -> bool {
        let fits =
            self.participants.len() < limits::PARTICIPANTS || self.participants.contains_key(&name);
        if fits {
            self.participants.insert(name, behaviour);
        }
        fits
    }

    /// A connection is gone; its session waits to be re-opened.
    pub(super) fn left(&mut self, connection: Connection) {
        for session in self.sessions.values_mut() {
            if session.connection == Some(connection) {
                session.connection = None;
            }
        }
        self.count_sessions();
    }

    /// Every connection that has a session.
    pub(super) fn connected(&self) -> Vec<Connection> {
        self.sessions.values().filter_map(|session| session.connection).collect()
    }

    /// One text message from a connection.
    pub(super) fn message(&mut self, connection: Connection, text: &str) -> Outbound {
        let mut out = Outbound::new();
        let Some(message) = serde_json::from_str::<Map<String, Value>>(text).ok() else {
            self.stats.malformed = self.stats.malformed.saturating_add(1);
            return out;
        };
        self.stats.received = self.stats.received.saturating_add(1);
        if self.received.len() >= limits::REMEMBERED {
            self.received.pop_front();
        }
        self.received.push_back(Value::Object(message.clone()));
        if self.mode == Mode::Silent {
            return out;
        }
        let kind = field(&message, "type").to_ascii_lowercase();
        let incoming = Incoming { connection, kind, message: &message, text };
        if incoming.from().is_empty() || incoming.to().is_empty() || incoming.kind.is_empty() {
            self.stats.malformed = self.stats.malformed.saturating_add(1);
        } else if incoming.to() == SESSION {
            self.session(&incoming, &mut out);
        } else if let Some(token) = self.token_of(connection) {
            self.learn(&token, incoming.from());
            self.deliver(&token, &incoming, &mut out);
        } else if incoming.is_request() {
            self.answer(&incoming, &refusal(403, "no session"), &mut out);
        }
        out
    }

    fn session(&mut self, incoming: &Incoming<'_>, out: &mut Outbound) {
        let (connection, from) = (incoming.connection, incoming.from());
        let body = match (incoming.kind.as_str(), self.mode) {
            ("open" | "re-open", Mode::RefuseSessions) => {
                self.stats.refused_sessions = self.stats.refused_sessions.saturating_add(1);
                refusal(403, "this node takes no sessions now")
            }
            ("open", _) => self.open(connection, from),
            ("re-open", _) => {
                let known = from.rsplit_once('/').map(|(_, token)| token.to_owned());
                let body = known.and_then(|token| self.reopen(connection, from, &token));
                body.unwrap_or_else(|| refusal(404, "no such session"))
            }
            ("close", _) => {
                if let Some(token) = self.token_of(connection) {
                    self.forget(&token);
                    self.stats.closed = self.stats.closed.saturating_add(1);
                }
                json!({"code": 200})
            }
            _ => refusal(400, "a session is opened, re-opened or closed"),
        };
        self.answer(incoming, &body, out);
        if incoming.kind == "re-open" {
            self.release(connection, out);
        }
        self.count_sessions();
    }

    fn open(&mut self, connection: Connection, runtime: &str) -> Value {
        // A runtime that lost its token starts over; what it had before is not kept twice.
        let old = self.sessions.iter().find(|(_, session)| session.runtime == runtime);
        if let Some(token) = old.map(|(token, _)| token.clone()) {
            self.forget(&token);
        }
        if let Some(token) = self.token_of(connection) {
            self.forget(&token);
        }
        if self.sessions.len() >= limits::SESSIONS {
            return refusal(503, "too many sessions");
        }
        let Ok(token) = token::random() else {
            return refusal(500, "no random source");
        };
        self.stats.opened = self.stats.opened.saturating_add(1);
        let session = Session {
            runtime: runtime.to_owned(),
            connection: Some(connection),
            waiting: VecDeque::new(),
        };
        self.sessions.insert(token.clone(), session);
        json!({"code": 200, "runtimeToken": token})
    }

    fn reopen(&mut self, connection: Connection, from: &str, token: &str) -> Option<Value> {
        let session = self.sessions.get_mut(token)?;
        (from.strip_suffix(token)?.strip_suffix('/')? == session.runtime).then_some(())?;
        session.connection = Some(connection);
        self.stats.reopened = self.stats.reopened.saturating_add(1);
        Some(json!({"code": 200, "runtimeToken": token}))
    }

    /// Sends what came in for a session while it had no connection.
    fn release(&mut self, connection: Connection, out: &mut Outbound) {
        for session in self.sessions.values_mut() {
            if session.connection == Some(connection) {
                out.extend(session.waiting.drain(..).map(|text| (connection, text)));
            }
        }
    }

    fn forget(&mut self, token: &str) {
        self.sessions.remove(token);
        self.routes.retain(|_, owner| owner != token);
        self.subscribers.retain(|_, tokens| {
            tokens.remove(token);
            !tokens.is_empty()
        });
        self.count_sessions();
    }

    fn learn(&mut self, token: &str, from: &str) {
        let below_runtime =
            self.sessions.get(token).is_some_and(|session| covers(&session.runtime, from));
        let room = self.routes.len() < limits::ROUTES || self.routes.contains_key(from);
        if !below_runtime && room {
            self.routes.insert(from.to_owned(), token.to_owned());
        }
    }

    fn deliver(&mut self, own: &str, incoming: &Incoming<'_>, out: &mut Outbound) {
        let mut reached = self.targets(incoming.to());
        reached.remove(own);
        if !reached.is_empty() {
            let kept =
                reached.iter().filter(|token| self.hand_over(token, incoming.text, out)).count();
            if kept > 0 {
                self.stats.routed = self.stats.routed.saturating_add(1);
            } else if incoming.is_request() {
                self.answer(incoming, &refusal(503, "the receiver is away"), out);
            }
            return;
        }
        if incoming.to() == format!("domain://registry.{}", self.domain) {
            let body = incoming.message.get("body").unwrap_or(&Value::Null);
            if let Some(body) = self.registry.answer(&incoming.kind, body) {
                return self.answer(incoming, &body, out);
            }
        }
        if !incoming.is_request() {
            self.stats.unrouted = self.stats.unrouted.saturating_add(1);
            return;
        }
        for body in self.local(own, incoming) {
            self.answer(incoming, &body, out);
        }
    }

    /// Sessions that a message to this address reaches: the owner, and subscribers.
    fn targets(&self, to: &str) -> BTreeSet<String> {
        let owner = lineage(to).find_map(|above| self.routes.get(above));
        let runtime = || {
            let found = self.sessions.iter().find(|(_, session)| covers(&session.runtime, to));
            found.map(|(token, _)| token)
        };
        let mut found: BTreeSet<String> = owner.or_else(runtime).cloned().into_iter().collect();
        found.extend(self.subscribers.get(to).into_iter().flatten().cloned());
        found
    }

    fn hand_over(&mut self, token: &str, text: &str, out: &mut Outbound) -> bool {
        let Some(session) = self.sessions.get_mut(token) else { return false };
        match session.connection {
            Some(connection) => out.push((connection, text.to_owned())),
            None if session.waiting.len() < limits::WAITING_MESSAGES => {
                session.waiting.push_back(text.to_owned());
            }
            None => return false,
        }
        true
    }

    /// What the node itself or one of its built-in participants answers to a request.
    fn local(&mut self, own: &str, incoming: &Incoming<'_>) -> Vec<Value> {
        let (to, kind) = (incoming.to(), incoming.kind.as_str());
        let body = incoming.message.get("body").cloned().unwrap_or(Value::Null);
        if domain_of(to).as_deref() != Some(self.domain.as_str()) {
            self.stats.unrouted = self.stats.unrouted.saturating_add(1);
            return vec![refusal(404, "no such address in this domain")];
        }
        let path = path_of(to);
        if to.starts_with("domain://") {
            return vec![match (path, kind) {
                ("sm", "subscribe" | "unsubscribe") => self.subscribe(own, kind, &body),
                (path, "create") if path.ends_with("address-allocation") => self.allocate(&body),
                (path, "delete") if path.ends_with("address-allocation") => json!({"code": 200}),
                _ => refusal(404, "the node offers no such service"),
            }];
        }
        let echo = json!({"code": 200, "value": {"echo": body, "by": to, "domain": self.domain}});
        match self.participants.get(path).unwrap_or(&Participant::Echo) {
            Participant::Echo => vec![echo],
            Participant::Silent => Vec::new(),
            Participant::Provisional => vec![json!({"code": 180, "desc": "on its way"}), echo],
            Participant::Twice => vec![echo.clone(), echo],
            Participant::Body(body) => vec![body.clone()],
        }
    }

    fn subscribe(&mut self, own: &str, kind: &str, body: &Value) -> Value {
        let listed = ["subscribe", "unsubscribe", "resources"]
            .into_iter()
            .filter_map(|key| body.get(key).and_then(Value::as_array))
            .flatten()
            .filter_map(Value::as_str);
        for resource in listed {
            if kind == "unsubscribe" {
                self.subscribers.get_mut(resource).map(|tokens| tokens.remove(own));
                continue;
            }
            let known = self.subscribers.contains_key(resource);
            if !known && self.subscribers.len() >= limits::SUBSCRIPTIONS {
                return refusal(507, "too many subscriptions");
            }
            self.subscribers.entry(resource.to_owned()).or_default().insert(own.to_owned());
        }
        self.subscribers.retain(|_, tokens| !tokens.is_empty());
        json!({"code": 200})
    }

    fn allocate(&mut self, body: &Value) -> Value {
        let scheme = body.get("scheme").and_then(Value::as_str).unwrap_or("hyperty");
        let wanted = body.pointer("/value/number").and_then(Value::as_u64).unwrap_or(1);
        let mut allocated = Vec::new();
        for _ in 0..wanted.min(limits::ALLOCATED) {
            self.allocated = self.allocated.saturating_add(1);
            allocated.push(format!("{scheme}://{}/allocated-{}", self.domain, self.allocated));
        }
        json!({"code": 200, "value": {"allocated": allocated}})
    }

    fn answer(&mut self, incoming: &Incoming<'_>, body: &Value, out: &mut Outbound) {
        self.stats.answered = self.stats.answered.saturating_add(1);
        let answer = json!({
            "id": incoming.message.get("id"), "type": "response",
            "from": incoming.to(), "to": incoming.from(), "body": body,
        });
        out.push((incoming.connection, answer.to_string()));
    }

    fn token_of(&self, connection: Connection) -> Option<String> {
        let found =
            self.sessions.iter().find(|(_, session)| session.connection == Some(connection));
        found.map(|(token, _)| token.clone())
    }

    fn count_sessions(&mut self) {
        let live = self.sessions.values().filter(|session| session.connection.is_some()).count();
        self.stats.sessions = live.try_into().unwrap_or(u64::MAX);
    }
}

fn field<'a>(message: &'a Map<String, Value>, key: &str) -> &'a str {
    message.get(key).and_then(Value::as_str).unwrap_or("")
}

fn refusal(code: u16, desc: &str) -> Value {
    json!({"code": code, "desc": desc})
}
