//! A small catalogue over HTTP/1.1 on loopback that serves what it is told to, as badly as it is
//! told to; and a catalogue as a folder.

mod folder;
mod response;
mod serve;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fault::Fault;
use crate::task::Task;
use crate::{limits, token};
pub use folder::{Layout, write_folder};
pub use response::{Behaviour, Response};
use serve::Command;

/// How a catalogue is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Put a random segment before every path, so that no other program on this machine can ask.
    pub guarded: bool,
}

/// A running catalogue. It stops, and closes everything, when this is dropped.
#[derive(Debug)]
pub struct Catalogue {
    address: SocketAddr,
    prefix: String,
    counts: watch::Receiver<Arc<BTreeMap<String, u64>>>,
    task: Task<Command>,
}

impl Catalogue {
    /// Starts an empty catalogue on 127.0.0.1, on the current tokio runtime.
    ///
    /// # Errors
    /// The port is taken, or there is no random source.
    pub async fn start(options: Options) -> Result<Self, Fault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .map_err(Fault::io("bind the catalogue's port"))?;
        let address = listener.local_addr().map_err(Fault::io("read the catalogue's port"))?;
        let prefix = if options.guarded {
            format!("/{}", token::random().map_err(Fault::io("make the catalogue's token"))?)
        } else {
            String::new()
        };
        let (publish, counts) = watch::channel(Arc::new(BTreeMap::new()));
        let guard = prefix.clone();
        let task = Task::spawn(|commands| serve::run(listener, guard, commands, publish));
        Ok(Self { address, prefix, counts, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What `catalogue` in the daemon's configuration has to be: it ends in `/.well-known`.
    pub fn url(&self) -> String {
        self.url_of("/.well-known")
    }

    /// The whole URL of a path of the table.
    pub fn url_of(&self, path: &str) -> String {
        format!("http://{}{}{path}", self.address, self.prefix)
    }

    /// Answers requests for `path` (from the root, without the random segment) like this.
    ///
    /// # Errors
    /// [`Fault::Full`] after [`limits::PATHS`] paths, [`Fault::Stopped`].
    pub async fn set(&self, path: &str, response: Response) -> Result<(), Fault> {
        let fits = self.task.ask(|reply| Command::Set(path.to_owned(), response, reply)).await?;
        let full = Fault::Full { what: "the catalogue's table", limit: limits::PATHS };
        if fits { Ok(()) } else { Err(full) }
    }

    /// Serves a descriptor at `/.well-known/protocolstub/<name>`.
    ///
    /// # Errors
    /// As [`Catalogue::set`].
    pub async fn set_stub(&self, name: &str, descriptor: &Value) -> Result<(), Fault> {
        self.set(&Self::stub_path(name), Response::json(descriptor)).await
    }

    /// `/.well-known/protocolstub/<name>`.
    pub fn stub_path(name: &str) -> String {
        format!("/.well-known/protocolstub/{name}")
    }

    /// Forgets a path: it is answered 404 again.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub async fn remove(&self, path: &str) -> Result<(), Fault> {
        self.task.ask(|reply| Command::Remove(path.to_owned(), reply)).await
    }

    /// How often a path was asked for, whether it was there or not.
    pub fn count(&self, path: &str) -> u64 {
        self.counts.borrow().get(path).copied().unwrap_or(0)
    }

    /// Every path that was asked for, and how often.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.borrow().as_ref().clone()
    }

    /// Waits until a path has been asked for at least so often.
    ///
    /// # Errors
    /// [`Fault::Deadline`] if it has not within `limit`.
    pub async fn wait(&self, limit: Duration, path: &str, often: u64) -> Result<(), Fault> {
        let mut counts = self.counts.clone();
        let enough = counts.wait_for(|all| all.get(path).copied().unwrap_or(0) >= often);
        match tokio::time::timeout(limit, enough).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Fault::Stopped),
            Err(_) => Err(Fault::Deadline { what: "a request to the catalogue", waited: limit }),
        }
    }

    /// Stops it and waits until its port and connections are closed.
    pub async fn stop(self) {
        // A task that has already ended has closed everything, too.
        self.task.ask(Command::Stop).await.ok();
    }
}
