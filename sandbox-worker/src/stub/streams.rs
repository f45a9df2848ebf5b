//! Connections of the component: each is a task over a stream that the daemon gives on request.

use super::guests::{self, Guest, Lobby};
use super::peers::{self, Door};
use super::{http, websocket};
use crate::engine::limits::{CONNECT, WS_BUFFER_MESSAGES};
use crate::engine::{Attempt, Net, host_of};
use crate::fetch::tls;
use crate::port::{Port, PortError};
use protocol::ctl::{CtlUp, PeerIdentity, Target};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

/// Requests for streams that wait for the link.
const ASKS: usize = 64;

/// A task wants something of the daemon.
#[derive(Debug)]
pub(super) enum Ask {
    /// A stream.
    Stream { host: String, port: u16, reply: oneshot::Sender<Opened> },
    /// That it knows whose a connection is.
    Peer { conn: u32, domain: String, told: oneshot::Sender<()> },
}

/// A guest that has left, and why, if it was refused.
type Left = (u32, Option<String>);

type Opened = Result<(Lease, OwnedFd), String>;

/// What a WebSocket is to do.
#[derive(Debug)]
pub(super) enum Command {
    Text(String),
    Binary(Vec<u8>),
    /// Code 1005 for none, 0 for at once.
    Close {
        code: u16,
        reason: String,
    },
}

/// A stream that the daemon counts until it is told otherwise: by the end of this.
#[derive(Debug)]
pub(super) struct Lease {
    req: u32,
    closed: Rc<RefCell<Vec<u32>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.closed.borrow_mut().push(self.req);
    }
}

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// What every connection may use.
#[derive(Debug, Default)]
struct Rights {
    grants: Vec<String>,
    tls: Option<Result<Arc<ClientConfig>, String>>,
    ca_pem: String,
    identity: Option<PeerIdentity>,
    door: Option<Result<Door, String>>,
}

impl Rights {
    /// Made when the first connection needs it.
    fn tls(&mut self) -> Result<Arc<ClientConfig>, String> {
        let (ca_pem, identity) = (&self.ca_pem, &self.identity);
        let made = self.tls.get_or_insert_with(|| {
            let shown = identity.as_ref().map(peers::shown).transpose()?;
            tls::client(ca_pem, shown).map_err(|error| error.to_string())
        });
        made.clone()
    }

    /// The domain that is connected with, if this is a requester of connections.
    fn domain_of_peer(&self) -> Option<String> {
        let identity = self.identity.as_ref().filter(|identity| !identity.listens);
        identity.and_then(|identity| identity.peers.first()).map(|(domain, _)| domain.clone())
    }

    /// Likewise, when the first one comes.
    fn door(&mut self) -> Result<Door, String> {
        let identity = self.identity.as_ref().filter(|identity| identity.listens);
        let Some(identity) = identity else { return Err("nobody may come here".to_owned()) };
        self.door.get_or_insert_with(|| Door::new(identity)).clone()
    }
}

/// How a task gets its stream and tells what happens on it.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    rights: Rc<RefCell<Rights>>,
    asks: mpsc::Sender<Ask>,
    nets: mpsc::Sender<Net>,
}

impl Dialer {
    /// Tells the engine; waits while it is busy.
    pub(super) async fn tell(&self, net: Net) {
        // The loop that receives lives as long as the tasks.
        drop(self.nets.send(net).await);
    }

    /// Waits until the daemon is told of whom a connection is.
    pub(super) async fn introduce(&self, conn: u32, domain: String) {
        let (told, heard) = oneshot::channel();
        // The loop that receives lives as long as the tasks.
        drop(self.asks.send(Ask::Peer { conn, domain, told }).await);
        drop(heard.await);
    }

    /// Whether connections lead to another runtime.
    pub(super) fn is_of_peers(&self) -> bool {
        self.rights.borrow().domain_of_peer().is_some()
    }

    /// A stream to the host of `url`, with TLS if its scheme says so.
    ///
    /// # Errors
    /// Why there is none, as one sentence.
    pub(super) async fn open(&self, url: &Url) -> Result<(Lease, Box<dyn Stream>), String> {
        timeout(CONNECT, self.connect(url))
            .await
            .unwrap_or_else(|_elapsed| Err(format!("{} did not answer in time", host_of(url))))
    }

    async fn connect(&self, url: &Url) -> Result<(Lease, Box<dyn Stream>), String> {
        let granted = host_of(url);
        if !self.rights.borrow().grants.contains(&granted) {
            return Err(format!("a connection to {granted} is not granted"));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(0);
        let (reply, opened) = oneshot::channel();
        let gone = || "the runtime is gone".to_owned();
        self.asks
            .send(Ask::Stream { host: host.clone(), port, reply })
            .await
            .map_err(|_e| gone())?;
        let (lease, fd) = opened.await.map_err(|_e| gone())??;
        let socket = std::os::unix::net::UnixStream::from(fd);
        let fault = |error: std::io::Error| format!("{granted}: {error}");
        socket.set_nonblocking(true).map_err(fault)?;
        let stream = UnixStream::from_std(socket).map_err(fault)?;
        if !matches!(url.scheme(), "https" | "wss") {
            return Ok((lease, Box::new(stream)));
        }
        let config = self.rights.borrow_mut().tls()?;
        // A runtime shows the certificate of its domain, whatever its host is called.
        let named = self.rights.borrow().domain_of_peer();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let bare = named.unwrap_or(bare);
        let name = ServerName::try_from(bare).map_err(|error| format!("{granted}: {error}"))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(fault)?;
        Ok((lease, Box::new(stream)))
    }
}

#[derive(Debug)]
struct Running {
    task: AbortHandle,
    commands: Option<mpsc::Sender<Command>>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Streams {
    dialer: Dialer,
    running: HashMap<u32, Running>,
    tasks: JoinSet<u32>,
    opening: HashMap<u32, oneshot::Sender<Opened>>,
    last_req: u32,
    closed: Rc<RefCell<Vec<u32>>>,
    left: Rc<RefCell<Vec<Left>>>,
    lobby: Lobby,
}

impl Streams {
    /// None yet; what its tasks ask for comes out of the receiver.
    pub(super) fn new(nets: mpsc::Sender<Net>) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(ASKS);
        let dialer = Dialer { rights: Rc::default(), asks, nets };
        let streams = Self {
            dialer,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            opening: HashMap::new(),
            last_req: 0,
            closed: Rc::default(),
            left: Rc::default(),
            lobby: Lobby::default(),
        };
        (streams, asked)
    }

    /// What connections are allowed, and which roots they trust besides the bundled ones.
    pub(super) fn grant(&mut self, grants: Vec<String>, ca_pem: String) {
        let mut rights = self.dialer.rights.borrow_mut();
        (rights.grants, rights.ca_pem, rights.tls) = (grants, ca_pem, None);
    }

    /// With what its connections prove whose they are.
    ///
    /// # Errors
    /// It cannot be used, as one sentence.
    pub(super) fn identify(&mut self, identity: PeerIdentity) -> Result<(), String> {
        let mut rights = self.dialer.rights.borrow_mut();
        let listens = identity.listens;
        peers::shown(&identity)?;
        rights.identity = Some(identity);
        if listens { rights.door().map(drop) } else { Ok(()) }
    }

    /// Somebody came.
    pub(super) fn arrived(&mut self, guest: Guest) {
        let (id, left) = (guest.id, Rc::clone(&self.left));
        if let Some((oldest, from)) = self.lobby.came(id, &guest.from) {
            self.show_out(oldest, format!("{from}: it said too little before others came"));
        }
        let door = self.dialer.rights.borrow_mut().door();
        let (commands, orders) = mpsc::channel(WS_BUFFER_MESSAGES.saturating_add(1));
        let run = guests::run(self.dialer.clone(), guest, door, orders);
        let task = self.tasks.spawn_local(async move {
            let refused = run.await;
            left.borrow_mut().push((id, refused));
            guests::conn_of(id)
        });
        self.running.insert(guests::conn_of(id), Running { task, commands: Some(commands) });
    }

    /// Those who have left and are not yet reported.
    pub(super) fn take_left(&mut self) -> Vec<Left> {
        let left = std::mem::take(&mut *self.left.borrow_mut());
        for (id, _) in &left {
            self.lobby.left(*id);
        }
        left
    }

    fn show_out(&mut self, id: u32, why: String) {
        self.give_up(guests::conn_of(id));
        self.left.borrow_mut().push((id, Some(why)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Starts a connection.
    pub(super) fn dial(&mut self, attempt: Attempt) {
        let dialer = self.dialer.clone();
        let (conn, task, commands) = match attempt {
            Attempt::Ws { conn, url, protocols } => {
                let (commands, orders) = mpsc::channel(WS_BUFFER_MESSAGES.saturating_add(1));
                let run = websocket::run(dialer, conn, url, protocols, orders);
                let task = self.tasks.spawn_local(async move {
                    run.await;
                    conn
                });
                (conn, task, Some(commands))
            }
            Attempt::Http(request) => {
                let conn = request.conn;
                let task = self.tasks.spawn_local(async move {
                    http::run(dialer, request).await;
                    conn
                });
                (conn, task, None)
            }
        };
        self.running.insert(conn, Running { task, commands });
    }

    /// Tells a WebSocket what to do.
    pub(super) fn command(&mut self, conn: u32, command: Command) {
        if let Some(Running { commands: Some(commands), .. }) = self.running.get(&conn) {
            // There is room, as the engine counts what waits; or it is about to tell its end.
            drop(commands.try_send(command));
        }
    }

    /// Ends a connection without a word.
    pub(super) fn give_up(&mut self, conn: u32) {
        if let Some(running) = self.running.remove(&conn) {
            running.task.abort();
        }
    }

    /// Says to the daemon what a task wants.
    ///
    /// # Errors
    /// The link failed.
    pub(super) fn ask(&mut self, port: &mut Port, ask: Ask) -> Result<(), PortError> {
        let up = match ask {
            Ask::Stream { host, port, reply } => {
                self.last_req = self.last_req.wrapping_add(1).max(1);
                self.opening.insert(self.last_req, reply);
                CtlUp::Connect { req: self.last_req, target: Target::Tcp { host, port } }
            }
            Ask::Peer { conn, domain, .. } if !self.lobby.known(conn) => {
                self.show_out(conn, format!("{domain}: too many have come"));
                return Ok(());
            }
            Ask::Peer { conn, domain, told } => {
                // Who waits for it goes on behind this on the link.
                let _gone = told.send(());
                CtlUp::Peer { conn, domain }
            }
        };
        port.send_ctl(&up, Vec::new())
    }

    /// A stream came.
    pub(super) fn connected(&mut self, req: u32, fds: Vec<OwnedFd>) {
        let lease = Lease { req, closed: Rc::clone(&self.closed) };
        let Some(reply) = self.opening.remove(&req) else { return };
        let opened = match fds.into_iter().next() {
            Some(fd) => Ok((lease, fd)),
            None => Err("the runtime sent no stream".to_owned()),
        };
        // Who asked may have given up meanwhile: then its lease ends here.
        drop(reply.send(opened));
    }

    /// No stream will come.
    pub(super) fn refused(&mut self, req: u32, text: String) {
        if let Some(reply) = self.opening.remove(&req) {
            drop(reply.send(Err(text)));
        }
    }

    /// A task that has ended; `None` while there is none at all.
    pub(super) async fn done(&mut self) -> Option<Option<u32>> {
        self.tasks.join_next().await.map(Result::ok)
    }

    /// Forgets a task that has ended.
    pub(super) fn forget(&mut self, done: Option<u32>) {
        if let Some(conn) = done {
            self.running.remove(&conn);
        }
    }

    /// Streams that are closed and not yet reported.
    pub(super) fn take_closed(&mut self) -> Vec<u32> {
        std::mem::take(&mut *self.closed.borrow_mut())
    }
}
