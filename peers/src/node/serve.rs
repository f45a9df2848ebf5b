//! The one task that owns a node: it accepts, decides with the switch, and sends.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::connection::{self, Event, Happening};
use super::switch::{Connection, Outbound, Switch};
use super::{Mode, Participant, Stats};
use crate::limits;

/// What the owner of a node asks of it.
#[derive(Debug)]
pub(super) enum Command {
    Received(oneshot::Sender<Vec<Value>>),
    Registered(oneshot::Sender<BTreeMap<String, Value>>),
    Push(String, oneshot::Sender<usize>),
    DropConnections(oneshot::Sender<usize>),
    Mode(Mode, oneshot::Sender<()>),
    Participant(String, Participant, oneshot::Sender<bool>),
    Stop(oneshot::Sender<()>),
}

struct Line {
    outbound: mpsc::Sender<String>,
    task: AbortHandle,
    shaken: bool,
}

struct Server {
    path: String,
    switch: Switch,
    lines: BTreeMap<Connection, Line>,
    tasks: JoinSet<()>,
    events: mpsc::Sender<Event>,
    last: Connection,
}

/// Serves until the handle is gone. Aborting this aborts every connection: they live in its set.
pub(super) async fn run(
    listener: TcpListener,
    path: String,
    domain: String,
    mut commands: mpsc::Receiver<Command>,
    stats: watch::Sender<Stats>,
) {
    let (events, mut happened) = mpsc::channel(limits::EVENTS);
    let mut server = Server {
        path,
        switch: Switch::new(&domain),
        lines: BTreeMap::new(),
        tasks: JoinSet::new(),
        events,
        last: 0,
    };
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Stop(reply)) => {
                    drop(listener);
                    server.tasks.shutdown().await;
                    reply.send(()).ok();
                    return;
                }
                Some(command) => server.command(command),
                None => return,
            },
            Some(event) = happened.recv() => server.event(event),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => server.accept(stream),
                // Out of descriptors: let somebody else close one.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = server.tasks.join_next() => {}
        }
        let open = server.lines.values().filter(|line| line.shaken).count();
        server.switch.stats.connections = open.try_into().unwrap_or(u64::MAX);
        stats.send_replace(server.switch.stats);
    }
}

impl Server {
    fn accept(&mut self, stream: TcpStream) {
        let refuse = self.switch.mode == Mode::RefuseConnections;
        if self.lines.len() >= limits::CONNECTIONS {
            self.refused();
            return;
        }
        self.last = self.last.saturating_add(1);
        let number = self.last;
        let (outbound, queue) = mpsc::channel(limits::OUTBOUND_MESSAGES);
        let path = (!refuse).then(|| self.path.clone());
        let events = self.events.clone();
        let task = self.tasks.spawn(connection::run(number, stream, path, queue, events));
        self.lines.insert(number, Line { outbound, task, shaken: false });
    }

    fn event(&mut self, (number, happening): Event) {
        match happening {
            Happening::Shaken => {
                if let Some(line) = self.lines.get_mut(&number) {
                    line.shaken = true;
                    let accepted = &mut self.switch.stats.accepted;
                    *accepted = accepted.saturating_add(1);
                }
            }
            // A connection that was cut may have said something before; it counts no more.
            Happening::Text(text) if self.lines.contains_key(&number) => {
                let out = self.switch.message(number, &text);
                self.send(out);
            }
            Happening::Text(_) => {}
            Happening::Left => {
                if self.lines.remove(&number).is_some_and(|line| !line.shaken) {
                    self.refused();
                }
                self.switch.left(number);
            }
        }
    }

    fn command(&mut self, command: Command) {
        // Who asked may have gone; the answer is then for nobody.
        match command {
            Command::Received(reply) => {
                reply.send(self.switch.received.iter().cloned().collect()).ok();
            }
            Command::Registered(reply) => {
                reply.send(self.switch.registry.all()).ok();
            }
            Command::Push(text, reply) => {
                let to = self.switch.connected();
                let count = to.len();
                self.send(to.into_iter().map(|number| (number, text.clone())).collect());
                reply.send(count).ok();
            }
            Command::DropConnections(reply) => {
                let all: Vec<_> = self.lines.keys().copied().collect();
                for number in &all {
                    self.cut(*number);
                }
                reply.send(all.len()).ok();
            }
            Command::Mode(mode, reply) => {
                self.switch.mode = mode;
                reply.send(()).ok();
            }
            Command::Participant(name, behaviour, reply) => {
                reply.send(self.switch.participant(name, behaviour)).ok();
            }
            // Handled where the listener is.
            Command::Stop(_) => {}
        }
    }

    fn send(&mut self, out: Outbound) {
        for (number, text) in out {
            let Some(line) = self.lines.get(&number) else { continue };
            // A closed queue is a connection that has just ended; its `Left` is on the way.
            if let Err(TrySendError::Full(_)) = line.outbound.try_send(text) {
                let slow = &mut self.switch.stats.slow;
                *slow = slow.saturating_add(1);
                self.cut(number);
            }
        }
    }

    fn cut(&mut self, number: Connection) {
        if let Some(line) = self.lines.remove(&number) {
            line.task.abort();
        }
        self.switch.left(number);
    }

    fn refused(&mut self) {
        let refused = &mut self.switch.stats.refused_connections;
        *refused = refused.saturating_add(1);
    }
}
