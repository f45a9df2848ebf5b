//! A small message node on loopback: JSON text over WebSocket, sessions that can be re-opened, and
//! participants that answer.

mod connection;
mod registry;
mod route;
mod serve;
mod switch;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fault::Fault;
use crate::task::Task;
use crate::{limits, token};
use serve::Command;

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The first path segment of the URL; without it a random one. Together with the port it lets a
    /// node that was stopped come back under its old URL.
    pub token: Option<String>,
}

/// How a node treats everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As a node should.
    #[default]
    Normal,
    /// Takes connections and messages and never says a word.
    Silent,
    /// Answers `open` and `re-open` with 403.
    RefuseSessions,
    /// Refuses the WebSocket handshake with 503; connections that exist stay.
    RefuseConnections,
}

/// How one participant of the domain answers requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Participant {
    /// `{code: 200, value: {echo: <body>, by: <address>, domain}}`; every name not set otherwise.
    Echo,
    /// Never answers.
    Silent,
    /// A provisional 180, then as [`Participant::Echo`].
    Provisional,
    /// Two final responses, of which the second is one too many.
    Twice,
    /// This response body.
    Body(Value),
}

/// What a node has counted; `connections` and `sessions` are now, the rest since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Open WebSocket connections.
    pub connections: u64,
    /// Sessions with a connection.
    pub sessions: u64,
    /// WebSocket connections ever made.
    pub accepted: u64,
    /// Handshakes refused: wrong path, wrong mode, no WebSocket, too slow.
    pub refused_connections: u64,
    /// Sessions opened anew.
    pub opened: u64,
    /// Sessions resumed with their token.
    pub reopened: u64,
    /// Sessions closed by their owner.
    pub closed: u64,
    /// Sessions refused.
    pub refused_sessions: u64,
    /// Messages that were JSON objects.
    pub received: u64,
    /// Responses made here.
    pub answered: u64,
    /// Messages passed on to another runtime.
    pub routed: u64,
    /// Messages nobody was there for.
    pub unrouted: u64,
    /// Texts that were no messages.
    pub malformed: u64,
    /// Connections dropped because they did not read.
    pub slow: u64,
}

/// A running node. It stops, and closes everything, when this is dropped.
#[derive(Debug)]
pub struct Node {
    domain: String,
    address: SocketAddr,
    token: String,
    stats: watch::Receiver<Stats>,
    task: Task<Command>,
}

impl Node {
    /// Starts a node for a domain on 127.0.0.1, on the current tokio runtime.
    ///
    /// # Errors
    /// The port is taken, or there is no random source.
    pub async fn start(domain: &str, options: Options) -> Result<Self, Fault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .map_err(Fault::io("bind the node's port"))?;
        let address = listener.local_addr().map_err(Fault::io("read the node's port"))?;
        let token = match options.token {
            Some(token) => token,
            None => token::random().map_err(Fault::io("make the node's token"))?,
        };
        let (publish, stats) = watch::channel(Stats::default());
        let path = format!("/{token}/ws");
        let served = domain.to_owned();
        let task = Task::spawn(|commands| serve::run(listener, path, served, commands, publish));
        Ok(Self { domain: domain.to_owned(), address, token, stats, task })
    }

    /// The domain it serves.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What a stub's `configuration.url` has to be: `ws://127.0.0.1:<port>/<token>/ws`.
    pub fn url(&self) -> String {
        format!("ws://{}/{}/ws", self.address, self.token)
    }

    /// `host:port`, as a grant names it.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Options that bring a node back under this one's URL once this one is stopped.
    pub fn options(&self) -> Options {
        Options { port: self.address.port(), token: Some(self.token.clone()) }
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        *self.stats.borrow()
    }

    /// Waits until the counters satisfy `fact`.
    ///
    /// # Errors
    /// [`Fault::Deadline`] if they do not within `limit`.
    pub async fn wait(
        &self,
        limit: Duration,
        fact: impl FnMut(&Stats) -> bool,
    ) -> Result<Stats, Fault> {
        let mut fact = fact;
        let mut stats = self.stats.clone();
        let found = tokio::time::timeout(limit, stats.wait_for(|stats| fact(stats))).await;
        match found {
            Ok(Ok(stats)) => Ok(*stats),
            Ok(Err(_)) => Err(Fault::Stopped),
            Err(_) => Err(Fault::Deadline { what: "the node's counters", waited: limit }),
        }
    }

    /// The last messages received, oldest first.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub async fn received(&self) -> Result<Vec<Value>, Fault> {
        self.task.ask(Command::Received).await
    }

    /// What is registered at the domain's registry, by address.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub async fn registered(&self) -> Result<BTreeMap<String, Value>, Fault> {
        self.task.ask(Command::Registered).await
    }

    /// Sends a message to every connected session, whatever its `to`; how many there were.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub async fn push(&self, message: &Value) -> Result<usize, Fault> {
        self.push_text(message.to_string()).await
    }

    /// As [`Node::push`], with any text, JSON or not.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub async fn push_text(&self, text: String) -> Result<usize, Fault> {
        self.task.ask(|reply| Command::Push(text, reply)).await
    }

    /// Cuts every connection without a close; sessions stay and can be re-opened.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub async fn drop_connections(&self) -> Result<usize, Fault> {
        self.task.ask(Command::DropConnections).await
    }

    /// Changes how everybody is treated from now on.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub async fn set_mode(&self, mode: Mode) -> Result<(), Fault> {
        self.task.ask(|reply| Command::Mode(mode, reply)).await
    }

    /// Changes how `<scheme>://<domain>/<name>` answers from now on.
    ///
    /// # Errors
    /// [`Fault::Full`] after [`limits::PARTICIPANTS`] names, [`Fault::Stopped`].
    pub async fn set_participant(&self, name: &str, behaviour: Participant) -> Result<(), Fault> {
        let fits =
            self.task.ask(|reply| Command::Participant(name.to_owned(), behaviour, reply)).await?;
        let full = Fault::Full { what: "the table of participants", limit: limits::PARTICIPANTS };
        if fits { Ok(()) } else { Err(full) }
    }

    /// Stops it and waits until its port and connections are closed.
    pub async fn stop(self) {
        // A task that has already ended has closed everything, too.
        self.task.ask(Command::Stop).await.ok();
    }
}
