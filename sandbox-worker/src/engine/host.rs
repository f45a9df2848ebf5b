//! The state behind the native functions: what the component wants, and how much of it it may.

use super::bucket::Bucket;
use super::describe_value;
use super::dial::Dial;
use super::limits::{
    CONNECTIONS_MAX, DIAL_PAUSE, DIALS_BURST, DIALS_PER_SECOND, ERROR_BYTES_MAX, GUESTS_FROM,
    LOG_LINES_BURST, LOG_LINES_PER_SECOND, POSTS_BURST, POSTS_PER_SECOND, POSTS_WAITING_BYTES,
    TIMERS_MAX, WS_BUFFER_BYTES, WS_BUFFER_BYTES_ALL, WS_BUFFER_MESSAGES,
};
use super::{Ctx, Net, Value};
use crate::minibus::{Posted, Refused, frame_of};
use protocol::frame::Frame;
use protocol::limits::LOG_LINE_BYTES_MAX;
use protocol::reason::Reason;
use rquickjs::Persistent;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use url::Url;

/// What a component wants, or how it is with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    /// A message for the bus.
    Post(Frame),
    /// A line for the log: 0 error, 1 warn, 2 info, 3 debug.
    Log { level: u8, text: String },
    /// The code is loaded.
    Loaded,
    /// The component is active.
    Activated { name: String },
    /// It did not load or activate.
    Failed { stage: Stage, text: String },
    /// A connection is to be made now.
    Dial(Attempt),
    /// Text for a WebSocket.
    WsText { conn: u32, text: String },
    /// Bytes for a WebSocket.
    WsBinary { conn: u32, bytes: Vec<u8> },
    /// A WebSocket is to be closed; no code is 1005, none at all is 0.
    WsClose { conn: u32, code: u16, reason: String },
    /// A connection is given up.
    Drop { conn: u32 },
}

/// A step of a deploy inside the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Parse and evaluate.
    Load,
    /// Call `activate`.
    Activate,
}

impl Stage {
    /// The word of the control message.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Activate => "activate",
        }
    }
}

/// A connection to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// For a WebSocket; `protocols` is the header, empty for none.
    Ws { conn: u32, url: Url, protocols: String },
    /// For one request.
    Http(HttpRequest),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpRequest {
    /// Number of the exchange.
    pub(crate) conn: u32,
    /// Method.
    pub(crate) method: String,
    /// Where to.
    pub(crate) url: Url,
    /// Names and values.
    pub(crate) headers: Vec<(String, String)>,
    /// Body; empty for none.
    pub(crate) body: Vec<u8>,
}

/// Timers by time, and time by timer.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Duration, u32)>,
    times: HashMap<u32, Duration>,
}

impl Timers {
    pub(crate) fn arm(&mut self, id: u32, at: Duration) {
        self.disarm(id);
        if self.times.len() >= TIMERS_MAX {
            return;
        }
        self.order.insert((at, id));
        self.times.insert(id, at);
    }

    pub(crate) fn disarm(&mut self, id: u32) {
        if let Some(at) = self.times.remove(&id) {
            self.order.remove(&(at, id));
        }
    }

    /// The next timer whose time has come; it is disarmed.
    pub(crate) fn due(&mut self, now: Duration) -> Option<u32> {
        let (at, id) = self.order.first().copied()?;
        if at > now {
            return None;
        }
        self.disarm(id);
        Some(id)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.times.len()
    }

    fn next(&self) -> Option<Duration> {
        self.order.first().map(|entry| entry.0)
    }
}

#[derive(Debug, Default)]
struct Buffered {
    /// Domain of whoever came.
    guest: Option<String>,
    bytes: usize,
    messages: usize,
    /// It was asked to close, or given up: once is enough, whatever the component believes.
    closing: bool,
    given_up: bool,
}

/// State of the host API.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) component: String,
    pub(crate) now: Duration,
    pub(crate) stage: Option<Stage>,
    pub(crate) link_full: bool,
    /// A listener was added since this was last asked.
    pub(crate) listened: bool,
    /// Connections that come in are given to the component.
    pub(crate) listens: bool,
    outs: VecDeque<Out>,
    /// Bytes of the messages among them.
    posted_bytes: usize,
    pub(crate) timers: Timers,
    pub(crate) posts: Bucket,
    pub(crate) logs: Bucket,
    pub(crate) dial: Dial<Attempt>,
    dials: Bucket,
    dial_again: Duration,
    sockets: HashMap<u32, Buffered>,
    /// The socket whose message the component is being told of.
    pub(super) heard: Option<u32>,
    last_conn: u32,
    /// When the coalesced lines on what was dropped may be written again.
    quiet_until: Duration,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            component: String::new(),
            now: Duration::ZERO,
            stage: None,
            link_full: false,
            listened: false,
            listens: false,
            outs: VecDeque::new(),
            posted_bytes: 0,
            timers: Timers::default(),
            posts: Bucket::new(POSTS_PER_SECOND, POSTS_BURST),
            logs: Bucket::new(LOG_LINES_PER_SECOND, LOG_LINES_BURST),
            dial: Dial::new(),
            dials: Bucket::new(DIALS_PER_SECOND, DIALS_BURST),
            dial_again: Duration::ZERO,
            sockets: HashMap::new(),
            heard: None,
            last_conn: 0,
            quiet_until: Duration::ZERO,
        }
    }

    // ----- stages

    pub(crate) fn loaded(&mut self) {
        if self.stage.take_if(|stage| *stage == Stage::Load).is_some() {
            self.outs.push_back(Out::Loaded);
        }
    }

    pub(crate) fn activated(&mut self, name: &str) {
        if self.stage.take_if(|stage| *stage == Stage::Activate).is_some() {
            self.outs.push_back(Out::Activated { name: clean(name, LOG_LINE_BYTES_MAX) });
        }
    }

    pub(crate) fn failed(&mut self, stage: Stage, text: &str) {
        if self.stage.take_if(|at| *at == stage).is_some() {
            let text = clean(text, ERROR_BYTES_MAX);
            self.outs.push_back(Out::Failed { stage, text });
        }
    }

    // ----- log

    pub(crate) fn log(&mut self, level: u8, text: &str) {
        if self.logs.take(self.now) {
            let text = clean(text, LOG_LINE_BYTES_MAX);
            self.outs.push_back(Out::Log { level: level.min(3), text });
        }
    }

    /// An error that nobody caught: the component goes on.
    pub(crate) fn uncaught(&mut self, text: &str) {
        self.log(0, &format!("uncaught {text}"));
    }

    // ----- bus

    pub(crate) fn post(&mut self, posted: &Posted) -> Result<(), Refused> {
        // What is refused must be cheaper than what is sent.
        let bytes = self.posted_bytes.saturating_add(posted.body.len());
        if self.link_full || bytes > POSTS_WAITING_BYTES {
            self.posts.miss();
            let desc = "the runtime takes no more messages now";
            return Err(Refused::new(Reason::SlowConsumer, desc));
        }
        if !self.posts.take(self.now) {
            let desc = format!("more than {POSTS_PER_SECOND} messages a second");
            return Err(Refused::new(Reason::Flood, desc));
        }
        let heard = self.heard.and_then(|conn| self.sockets.get(&conn));
        let frame = frame_of(posted, heard.and_then(|socket| socket.guest.as_deref()))?;
        let bytes = self.posted_bytes.saturating_add(frame.bytes().len());
        self.posted_bytes = bytes;
        self.outs.push_back(Out::Post(frame));
        Ok(())
    }

    /// The next thing that is wanted.
    pub(crate) fn next_out(&mut self) -> Option<Out> {
        let out = self.outs.pop_front();
        if let Some(Out::Post(frame)) = &out {
            self.posted_bytes = self.posted_bytes.saturating_sub(frame.bytes().len());
        }
        out
    }

    // ----- connections

    fn next_conn(&mut self) -> Result<u32, String> {
        if self.dial.count() >= CONNECTIONS_MAX {
            return Err(format!("more than {CONNECTIONS_MAX} connections"));
        }
        self.last_conn = (self.last_conn.wrapping_add(1) % GUESTS_FROM).max(1);
        Ok(self.last_conn)
    }

    pub(crate) fn ws_open(&mut self, url: Url, protocols: String) -> Result<u32, String> {
        let conn = self.next_conn()?;
        self.sockets.insert(conn, Buffered::default());
        let host = host_of(&url);
        self.dial.want(self.now, conn, host, Attempt::Ws { conn, url, protocols });
        self.dial_due();
        Ok(conn)
    }

    /// Whether the socket takes so many bytes more.
    fn buffer(&mut self, conn: u32, bytes: usize) -> bool {
        let all: usize = self.sockets.values().map(|buffered| buffered.bytes).sum();
        let Some(buffered) = self.sockets.get_mut(&conn) else { return false };
        let after = buffered.bytes.saturating_add(bytes);
        let full = after > WS_BUFFER_BYTES || all.saturating_add(bytes) > WS_BUFFER_BYTES_ALL;
        if full || buffered.messages >= WS_BUFFER_MESSAGES {
            return false;
        }
        buffered.bytes = after;
        buffered.messages = buffered.messages.saturating_add(1);
        true
    }

    pub(crate) fn ws_text(&mut self, conn: u32, text: String) -> Option<usize> {
        let bytes = text.len();
        self.buffer(conn, bytes).then(|| {
            self.outs.push_back(Out::WsText { conn, text });
            bytes
        })
    }

    pub(crate) fn ws_binary(&mut self, conn: u32, bytes: Vec<u8>) -> Option<usize> {
        let count = bytes.len();
        self.buffer(conn, count).then(|| {
            self.outs.push_back(Out::WsBinary { conn, bytes });
            count
        })
    }

    pub(crate) fn ws_close(&mut self, conn: u32, code: u16, reason: String) {
        if self.dial.withdraw(conn) {
            self.sockets.remove(&conn);
            return;
        }
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        let said = if code == 0 { &mut socket.given_up } else { &mut socket.closing };
        if !std::mem::replace(said, true) {
            self.outs.push_back(Out::WsClose { conn, code, reason });
        }
    }

    pub(crate) fn http(
        &mut self,
        method: String,
        url: Url,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Result<u32, String> {
        let conn = self.next_conn()?;
        let host = host_of(&url);
        let request = HttpRequest { conn, method, url, headers, body };
        self.dial.want(self.now, conn, host, Attempt::Http(request));
        self.dial_due();
        Ok(conn)
    }

    pub(crate) fn http_abort(&mut self, conn: u32) {
        self.sockets.remove(&conn);
        if !self.dial.withdraw(conn) && self.dial.lost(self.now, conn) {
            self.outs.push_back(Out::Drop { conn });
        }
    }

    /// Lets go of the attempts whose time has come.
    pub(crate) fn dial_due(&mut self) {
        while self.now >= self.dial_again {
            if !self.dials.has(self.now) {
                self.dial_again = self.now.saturating_add(DIAL_PAUSE);
                break;
            }
            let Some(attempt) = self.dial.due(self.now) else { break };
            self.dials.take(self.now);
            self.outs.push_back(Out::Dial(attempt));
        }
        self.tell_dropped();
    }

    /// Keeps the books on what the network did.
    pub(crate) fn note(&mut self, now: Duration, event: &Net) {
        self.now = now;
        match event {
            Net::WsOpened { conn, .. } => self.dial.opened(now, *conn),
            Net::WsAccepted { conn, peer, .. } => {
                let guest = Some(peer.clone());
                self.sockets.insert(*conn, Buffered { guest, ..Buffered::default() });
            }
            Net::WsText { conn, .. } | Net::WsBinary { conn, .. } => {
                self.heard = Some(*conn);
                self.posts.earn();
            }
            Net::WsSent { conn, bytes } => {
                if let Some(buffered) = self.sockets.get_mut(conn) {
                    buffered.bytes = buffered.bytes.saturating_sub(*bytes);
                    buffered.messages = buffered.messages.saturating_sub(1);
                }
            }
            Net::WsClosed { conn, .. } => {
                self.sockets.remove(conn);
                let _known = self.dial.lost(now, *conn);
            }
            Net::HttpHead { .. } | Net::HttpChunk { .. } => {}
            Net::HttpEnd { conn, error } if error.is_empty() => {
                self.posts.earn();
                self.dial.served(*conn);
            }
            Net::HttpEnd { conn, .. } => {
                let _known = self.dial.lost(now, *conn);
            }
        }
    }

    pub(crate) fn next_tick(&self) -> Option<Duration> {
        let drops = self.posts.has_dropped() || self.logs.has_dropped();
        let telling = drops.then_some(self.quiet_until);
        let dial = self.dial.next().map(|at| at.max(self.dial_again));
        [self.timers.next(), dial, telling].into_iter().flatten().min()
    }

    /// One line for all that was dropped, at most once a second.
    fn tell_dropped(&mut self) {
        if self.now < self.quiet_until {
            return;
        }
        let posts = self.posts.take_dropped();
        let lines = self.logs.take_dropped();
        if posts > 0 || lines > 0 {
            self.quiet_until = self.now.saturating_add(Duration::from_secs(1));
        }
        if posts > 0 {
            let text = format!("flood: {posts} messages were not sent");
            self.outs.push_back(Out::Log { level: 1, text });
        }
        if lines > 0 {
            let text = format!("{lines} lines were not kept");
            self.outs.push_back(Out::Log { level: 1, text });
        }
    }
}

/// Host and port, as in a grant.
pub(crate) fn host_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(0);
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Cut to its bound, control characters escaped.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut out = String::new();
    for character in text.trim_end().chars() {
        let shown = match character {
            '\n' => " | ".to_owned(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        };
        if out.len().saturating_add(shown.len()).saturating_add(3) > max {
            out.push('…');
            break;
        }
        out.push_str(&shown);
    }
    out
}

/// Promises that were rejected and not yet looked at.
#[derive(Debug, Default, Clone)]
pub(crate) struct Rejections {
    list: Rc<RefCell<Vec<Rejected>>>,
}

#[derive(Debug, Clone)]
struct Rejected {
    promise: Persistent<Value<'static>>,
    reason: Persistent<Value<'static>>,
}

/// Rejections that are kept until the end of their turn.
const REJECTIONS_MAX: usize = 64;

impl Rejections {
    pub(crate) fn track<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Value<'js>,
        reason: Value<'js>,
        handled: bool,
    ) {
        let mut list = self.list.borrow_mut();
        if handled {
            list.retain(|entry| {
                entry.promise.clone().restore(ctx).is_ok_and(|other| other != promise)
            });
        } else if list.len() < REJECTIONS_MAX {
            let promise = Persistent::save(ctx, promise);
            list.push(Rejected { promise, reason: Persistent::save(ctx, reason) });
        }
    }

    /// Texts of those that are still unhandled; forgets all.
    pub(crate) fn take(&self, ctx: &Ctx<'_>) -> Vec<String> {
        let list = std::mem::take(&mut *self.list.borrow_mut());
        list.into_iter()
            .filter_map(|entry| entry.reason.restore(ctx).ok())
            .map(|reason| describe_value(&reason))
            .collect()
    }
}
