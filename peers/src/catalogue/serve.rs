//! The one task that owns the table and the counters, and a task for each connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::response::Response;
use crate::limits;

/// What the owner of a catalogue, or one of its connections, asks of the table.
#[derive(Debug)]
pub(super) enum Command {
    Set(String, Response, oneshot::Sender<bool>),
    Remove(String, oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// A connection asks what to answer to a path.
type Lookup = (String, oneshot::Sender<Arc<Response>>);

struct Table {
    prefix: String,
    responses: BTreeMap<String, Arc<Response>>,
    counts: Arc<BTreeMap<String, u64>>,
    publish: watch::Sender<Arc<BTreeMap<String, u64>>>,
}

/// Serves until the handle is gone. Aborting this aborts every connection: they live in its set.
pub(super) async fn run(
    listener: TcpListener,
    prefix: String,
    mut commands: mpsc::Receiver<Command>,
    publish: watch::Sender<Arc<BTreeMap<String, u64>>>,
) {
    let (ask, mut asked) = mpsc::channel::<Lookup>(limits::EVENTS);
    let counts = Arc::new(BTreeMap::new());
    let mut table = Table { prefix, responses: BTreeMap::new(), counts, publish };
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Stop(reply)) => {
                    drop(listener);
                    tasks.shutdown().await;
                    reply.send(()).ok();
                    return;
                }
                Some(command) => table.command(command),
                None => return,
            },
            Some((path, reply)) = asked.recv() => {
                // The connection may have gone while it waited.
                reply.send(table.look_up(&path)).ok();
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if tasks.len() < limits::CONNECTIONS => {
                    tasks.spawn(connection(stream, ask.clone()));
                }
                Ok(_) => {}
                // Out of descriptors: let somebody else close one.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

impl Table {
    fn command(&mut self, command: Command) {
        // Who asked may have gone; the answer is then for nobody.
        match command {
            Command::Set(path, response, reply) => {
                let fits =
                    self.responses.len() < limits::PATHS || self.responses.contains_key(&path);
                if fits {
                    self.responses.insert(path, Arc::new(response));
                }
                reply.send(fits).ok();
            }
            Command::Remove(path, reply) => {
                self.responses.remove(&path);
                reply.send(()).ok();
            }
            // Handled where the listener is.
            Command::Stop(_) => {}
        }
    }

    fn look_up(&mut self, path: &str) -> Arc<Response> {
        let missing = || Arc::new(Response::status(404));
        let Some(path) = path.strip_prefix(&self.prefix) else { return missing() };
        let counts = Arc::make_mut(&mut self.counts);
        if counts.len() < limits::PATHS || counts.contains_key(path) {
            let count = counts.entry(path.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
        self.publish.send_replace(Arc::clone(&self.counts));
        self.responses.get(path).cloned().unwrap_or_else(missing)
    }
}

async fn connection(mut stream: TcpStream, ask: mpsc::Sender<Lookup>) {
    let Ok(Some(target)) = timeout(limits::HANDSHAKE, request(&mut stream)).await else { return };
    let response = match target {
        Ok(path) => {
            let (reply, answer) = oneshot::channel();
            if ask.send((path, reply)).await.is_err() {
                return;
            }
            let Ok(response) = answer.await else { return };
            response
        }
        Err(status) => Arc::new(Response::status(status)),
    };
    let (mut reader, mut writer) = stream.split();
    // A client that goes away ends a slow answer; whatever else it sends is read and dropped.
    let gone = async {
        let mut rest = [0_u8; 256];
        while reader.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    };
    tokio::select! {
        _ = response.write(&mut writer) => {}
        () = gone => {}
    }
}

/// The path of one GET request, or the status that refuses it; nothing if the client left.
async fn request(stream: &mut TcpStream) -> Option<Result<String, u16>> {
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; limits::REQUEST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let path = parsed.path?.split(['?', '#']).next()?.to_owned();
                return Some(if parsed.method == Some("GET") { Ok(path) } else { Err(405) });
            }
            Ok(httparse::Status::Partial) if head.len() < limits::REQUEST_BYTES => {}
            Ok(httparse::Status::Partial) => return Some(Err(431)),
            Err(_) => return Some(Err(400)),
        }
    }
}
