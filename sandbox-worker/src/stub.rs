//! The stub role: one component in one engine, between the link to the daemon and the streams that
//! the daemon gives.
//!
//! ```text
//!  Confined ─▶ engine built ─▶ Hello ─▶ Welcome ─▶ Assign + code
//!    ─▶ Loaded ─▶ Activated ─▶ messages … ─▶ Remove ─▶ Removed, Bye
//!    └▶ DeployFailed ◀┘
//! ```

mod guests;
mod http;
mod peers;
mod streams;
#[cfg(test)]
mod tests;
mod unheard;
mod websocket;

use crate::engine::limits::{
    LOG_LINES_UNTAKEN, NET_EVENTS, POSTS_WAITING, POSTS_WAITING_BYTES, STOP_SOCKETS,
};
use crate::engine::{Delivery, Engine, Net, Out, Setup};
use crate::minibus::{Refused, json_of, refusal_of};
use crate::port::{Event, Port, PortError};
use crate::{echo, role};
use guests::Guest;
use protocol::ctl::{Assign, CtlDown, CtlUp, EngineKind, PeerIdentity};
use protocol::frame::{Frame, flags};
use protocol::limits::CODE_BYTES_MAX;
use protocol::reason::Reason;
use protocol::sys;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use streams::{Command, Streams};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use unheard::Unheard;

/// Number of the engine in `Hello`.
const HELLO_JS: u8 = 1;
/// Events taken from the link before the engine's own work gets its turn.
const EVENTS_A_TURN: usize = 64;

/// What one event of the link means for the loop.
enum Step {
    On,
    Echo,
}

/// One component.
struct Worker {
    engine: Engine,
    streams: Streams,
    setup: Option<Setup>,
    /// It has no identity that can be used, and takes no component.
    refused: bool,
    unheard: Unheard,
    pings: Vec<Vec<u8>>,
    /// Bytes posted since the link last had taken everything.
    posted_bytes: usize,
    begun: Instant,
    /// When the sockets that are still open are left alone.
    ends: Option<Instant>,
}

/// Builds the engine, says hello and serves until the component is removed or the link ends. Must
/// run inside a `LocalSet`.
///
/// # Errors
/// The link cannot go on, or there is no engine.
pub(crate) async fn serve(port: &mut Port) -> Result<(), PortError> {
    let engine = Engine::new().map_err(|fault| PortError::Io(io::Error::other(fault)))?;
    port.hello(role::HELLO_STUB, HELLO_JS)?;
    let (nets, mut happened) = mpsc::channel(NET_EVENTS);
    let (streams, mut asked) = Streams::new(nets);
    let mut worker = Worker {
        engine,
        streams,
        setup: None,
        refused: false,
        unheard: Unheard::default(),
        pings: Vec::new(),
        posted_bytes: 0,
        begun: Instant::now(),
        ends: None,
    };
    loop {
        let wake = worker.wake();
        tokio::select! {
            event = port.next() => {
                let Some(event) = event? else { return Ok(()) };
                if let Step::Echo = worker.take_all(port, event)? {
                    return echo::serve(port).await;
                }
            }
            Some(net) = happened.recv() => worker.happened(net),
            Some(ask) = asked.recv() => worker.streams.ask(port, ask)?,
            Some(done) = worker.streams.done() => worker.streams.forget(done),
            () = sleep_until(wake.unwrap_or(worker.begun)), if wake.is_some() => {}
        }
        worker.turn(port)?;
        if worker.is_over() {
            port.send_ctl(&CtlUp::Removed, Vec::new())?;
            return port.bye().await;
        }
        port.flush()?;
    }
}

impl Worker {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// When there is something to do without any event.
    fn wake(&self) -> Option<Instant> {
        let at = |since| self.begun.checked_add(since);
        let tick = self.engine.next_tick().and_then(at);
        let held = self.unheard.next().and_then(at);
        [tick, held, self.ends].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends || self.streams.is_empty())
    }

    fn take_all(&mut self, port: &mut Port, event: Event) -> Result<Step, PortError> {
        let mut next = Some(event);
        for _ in 0..EVENTS_A_TURN {
            let Some(event) = next else { break };
            if let Step::Echo = self.take(port, event)? {
                return Ok(Step::Echo);
            }
            // What was just posted belongs in front of what the next message brings about.
            self.drain(port)?;
            next = port.try_next()?;
        }
        if let Some(event) = next { self.take(port, event) } else { Ok(Step::On) }
    }

    fn take(&mut self, port: &mut Port, event: Event) -> Result<Step, PortError> {
        match event {
            Event::Msg(frame) => self.message(port, &frame)?,
            Event::Ping(body) => self.pings.push(body),
            Event::Ctl(CtlDown::Assign(assign), fds) => return self.assign(port, *assign, fds),
            Event::Ctl(CtlDown::Connected { req }, fds) => self.streams.connected(req, fds),
            Event::Ctl(CtlDown::Identity(identity), _) => self.identify(port, *identity)?,
            Event::Ctl(CtlDown::Incoming { conn: id, from }, fds) => {
                if let Some(stream) = fds.into_iter().next() {
                    self.streams.arrived(Guest { id, from, stream });
                }
            }
            Event::Ctl(CtlDown::ConnectRefused { req, text, .. }, _) => {
                self.streams.refused(req, text);
            }
            Event::Ctl(CtlDown::Remove { grace_ms }, _) => {
                self.engine.stop(self.now());
                let grace = Duration::from_millis(grace_ms.into()).min(STOP_SOCKETS);
                let now = Instant::now();
                self.ends = Some(now.checked_add(grace).unwrap_or(now));
            }
            Event::Welcome(_) | Event::Ctl(..) => {}
        }
        Ok(Step::On)
    }

    /// Before the component: it is not loaded under an identity that is none.
    fn identify(&mut self, port: &mut Port, identity: PeerIdentity) -> Result<(), PortError> {
        let listens = identity.listens;
        match self.streams.identify(identity) {
            Ok(()) => {
                self.engine.set_listens(listens);
                Ok(())
            }
            Err(text) => {
                self.refused = true;
                let failed = CtlUp::DeployFailed { stage: "load".to_owned(), text };
                port.send_ctl(&failed, Vec::new())
            }
        }
    }

    fn assign(
        &mut self,
        port: &mut Port,
        assign: Assign,
        fds: Vec<OwnedFd>,
    ) -> Result<Step, PortError> {
        // One assignment in a worker's life.
        if self.setup.is_some() || self.refused {
            return Ok(Step::On);
        }
        if assign.engine == EngineKind::Echo {
            return Ok(Step::Echo);
        }
        let setup = Setup {
            component: assign.component,
            runtime_url: assign.runtime_url,
            config: assign.config,
            profile: assign.profile,
            memory_bytes: usize::try_from(assign.memory_bytes).unwrap_or(usize::MAX),
            turn: Duration::from_millis(assign.turn_ms.into()),
        };
        self.streams.grant(assign.grants, assign.ca_pem);
        self.engine.prepare(&setup);
        self.setup = Some(setup);
        let code = fds.into_iter().next().ok_or_else(|| io::Error::other("no code came"));
        match code.and_then(|fd| sys::read_sealed(fd, CODE_BYTES_MAX)) {
            Ok(code) => self.engine.load(self.now(), &code),
            Err(error) => {
                let text = format!("the code cannot be read: {error}");
                let failed = CtlUp::DeployFailed { stage: "load".to_owned(), text };
                port.send_ctl(&failed, Vec::new())?;
            }
        }
        Ok(Step::On)
    }

    /// Hands a message to the component; what nobody listens to yet is kept for a while.
    fn message(&mut self, port: &mut Port, frame: &Frame) -> Result<(), PortError> {
        let delivery = match json_of(&frame.view()?) {
            Ok(json) => self.engine.deliver(self.now(), &json),
            Err(reason) => {
                refuse(port, frame, reason, "the body is no JSON, or names a forged source")?;
                Delivery::Taken
            }
        };
        match delivery {
            Delivery::Taken => {}
            Delivery::NoListener => {
                if let Some(frame) = self.unheard.keep(self.now(), frame) {
                    refuse(port, &frame, Reason::NoRoute, "the component does not listen to this")?;
                }
            }
            Delivery::Broken => {
                refuse(port, frame, Reason::Malformed, "the body is no JSON, or too much")?;
            }
        }
        port.disposed(frame);
        Ok(())
    }

    fn happened(&mut self, net: Net) {
        self.engine.net(self.now(), net);
    }

    /// The component's own work, then all that came of it, then the heartbeat: so that it is only
    /// answered by a loop that still turns.
    fn turn(&mut self, port: &mut Port) -> Result<(), PortError> {
        self.engine.tick(self.now());
        self.drain(port)?;
        if self.engine.take_listened() {
            for frame in self.unheard.take_all() {
                let json = json_of(&frame.view()?).unwrap_or_default();
                if self.engine.deliver(self.now(), &json) == Delivery::NoListener
                    && let Some(frame) = self.unheard.keep(self.now(), &frame)
                {
                    refuse(port, &frame, Reason::NoRoute, "the component does not listen to this")?;
                }
            }
            self.drain(port)?;
        }
        for frame in self.unheard.expired(self.now()) {
            refuse(port, &frame, Reason::NoRoute, "the component does not listen to this")?;
        }
        for body in self.pings.drain(..) {
            port.pong(&body);
        }
        for req in self.streams.take_closed() {
            port.send_ctl(&CtlUp::Closed { req }, Vec::new())?;
        }
        for (conn, refused) in self.streams.take_left() {
            port.send_ctl(&CtlUp::Left { conn, refused }, Vec::new())?;
        }
        Ok(())
    }

    /// Carries out what the component wants.
    fn drain(&mut self, port: &mut Port) -> Result<(), PortError> {
        while let Some(out) = self.engine.next_out() {
            let ctl = match out {
                Out::Post(frame) => {
                    self.posted_bytes = self.posted_bytes.saturating_add(frame.bytes().len());
                    port.send(&frame)?;
                    continue;
                }
                Out::Log { .. } if port.untaken_ctl() > LOG_LINES_UNTAKEN => {
                    self.engine.lost_line();
                    continue;
                }
                Out::Log { level, text } => CtlUp::Log { level, text },
                Out::Activated { name } => CtlUp::Activated { name },
                Out::Failed { stage, text } => {
                    CtlUp::DeployFailed { stage: stage.name().to_owned(), text }
                }
                Out::Loaded => {
                    port.send_ctl(&CtlUp::Loaded, Vec::new())?;
                    // Before the next turn, which may never end: it would be blamed on this one.
                    port.flush()?;
                    if let Some(setup) = self.setup.clone() {
                        self.engine.activate(self.now(), &setup);
                    }
                    continue;
                }
                Out::Dial(attempt) => {
                    self.streams.dial(attempt);
                    continue;
                }
                Out::WsText { conn, text } => {
                    self.streams.command(conn, Command::Text(text));
                    continue;
                }
                Out::WsBinary { conn, bytes } => {
                    self.streams.command(conn, Command::Binary(bytes));
                    continue;
                }
                Out::WsClose { conn, code, reason } => {
                    self.streams.command(conn, Command::Close { code, reason });
                    continue;
                }
                Out::Drop { conn } => {
                    self.streams.give_up(conn);
                    continue;
                }
            };
            port.send_ctl(&ctl, Vec::new())?;
        }
        let waiting = port.backlog();
        if waiting == 0 {
            self.posted_bytes = 0;
        }
        let full = waiting > POSTS_WAITING || self.posted_bytes > POSTS_WAITING_BYTES;
        self.engine.set_link_full(full);
        Ok(())
    }
}

/// Answers a request that the component does not get.
fn refuse(port: &mut Port, frame: &Frame, reason: Reason, desc: &str) -> Result<(), PortError> {
    let view = frame.view()?;
    if !view.has(flags::REPLY) {
        return Ok(());
    }
    match refusal_of(&view, &Refused::new(reason, desc)) {
        Some(answer) => port.send(&answer),
        None => Ok(()),
    }
}
