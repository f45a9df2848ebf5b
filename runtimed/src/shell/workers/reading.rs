//! What workers say: packets, frames, control messages; and what breaks the link.

use super::super::hub::{Hub, WeakHub};
use super::{Hears, Worker};
use crate::limits::{END_AFTER_LINK, PACKETS_PER_TURN};
use protocol::ctl::CtlUp;
use protocol::frame::{Header, Kind, flags};
use protocol::link::{Got, HelloError, LinkError};
use protocol::sys::{is_reset, recv_packet};
use runtime_core::{Input, LinkId, SandboxId};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

/// How one turn of reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing is left.
    Drained,
    /// More may be there; others have their turn first.
    More,
    /// Nothing will come any more.
    Ended,
}

/// Reads one link while it lasts.
pub(in super::super) async fn read_links(hub: WeakHub, link: LinkId) {
    let Some(fd) = hub
        .upgrade()
        .and_then(|hub| hub.borrow().workers.get(&link).map(|worker| Rc::clone(&worker.fd)))
    else {
        return;
    };
    loop {
        let Ok(mut ready) = fd.readable().await else { return };
        let Some(strong) = hub.upgrade() else { return };
        let turn = strong.borrow_mut().read_turn(link);
        drop(strong);
        match turn {
            Turn::Drained => ready.clear_ready(),
            Turn::More => {
                ready.retain_ready();
                drop(ready);
                tokio::task::yield_now().await;
            }
            Turn::Ended => break,
        }
    }
    drop(fd);
    // Death is decided by the pidfd; a link that ends before its process is a breach.
    tokio::time::sleep(END_AFTER_LINK).await;
    if let Some(hub) = hub.upgrade() {
        hub.borrow_mut().breach(link, "closed its link and lives on");
    }
}

impl Hub {
    fn read_turn(&mut self, link: LinkId) -> Turn {
        let turn = self.read_packets(link, PACKETS_PER_TURN);
        self.mark_dirty(link);
        self.end_turn();
        turn
    }

    /// Reads what a dead worker left behind, to the end.
    pub(in super::super) fn read_to_the_end(&mut self, link: LinkId) {
        // A socket holds fewer packets than this; nobody is left to add more.
        while self.read_packets(link, PACKETS_PER_TURN) == Turn::More {}
    }

    fn read_packets(&mut self, link: LinkId, packets: usize) -> Turn {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let mut turn = Turn::More;
        for _ in 0..packets {
            let Some(worker) = self.workers.get_mut(&link) else {
                turn = Turn::Ended;
                break;
            };
            if worker.hears != Hears::On {
                turn = Turn::Ended;
                break;
            }
            let received = match recv_packet(worker.fd.get_ref().as_fd(), &mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    turn = Turn::Drained;
                    break;
                }
                // The queued packets follow.
                Err(error) if is_reset(&error) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.breach(link, &format!("its link cannot be read: {error}"));
                    continue;
                }
            };
            if received.len == 0 {
                worker.hears = Hears::Ended;
                continue;
            }
            if received.truncated {
                self.breach(link, "sent a packet over the bound");
                continue;
            }
            let packet = buffer.get_mut(..received.len).unwrap_or_default();
            if let Err(text) = self.take_packet(link, packet, received.fds) {
                self.breach(link, &text);
            }
        }
        self.read_buffer = buffer;
        turn
    }

    fn take_packet(
        &mut self,
        link: LinkId,
        packet: &mut [u8],
        mut fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let now = self.clock.now();
        let mut rest = packet;
        while !rest.is_empty() {
            // The texts of a message are looked at by the core, once.
            let header = Header::parse(rest).map_err(|error| error.to_string())?;
            let (len, kind) = (header.len, header.kind);
            let body = header.body_of(rest);
            if !fds.is_empty() && (len != rest.len() || kind != Kind::Ctl) {
                return Err("sent a descriptor where none belongs".to_owned());
            }
            let Some(worker) =
                self.workers.get_mut(&link).filter(|worker| worker.hears != Hears::Breached)
            else {
                return Ok(());
            };
            let sandbox = worker.sandbox;
            let got = match worker.link.receive_parts(&header, body) {
                Err(error @ LinkError::Hello(HelloError::Version(..))) => {
                    self.refuse_version(link, error.to_string());
                    return Ok(());
                }
                other => other.map_err(|error| error.to_string())?,
            };
            match got {
                Got::Msg if header.flags & flags::BODY_FD != 0 => {
                    return Err("said that a body is beside the frame, and sent none".to_owned());
                }
                Got::Msg => {
                    worker.link.incoming.disposed(len);
                    let (message, after) = rest.split_at_mut(len);
                    rest = after;
                    self.feed_frame(now, link, message);
                    continue;
                }
                Got::Ctl => {
                    let up = CtlUp::decode(body).map_err(|error| error.to_string())?;
                    self.take_ctl(sandbox, up, std::mem::take(&mut fds))?;
                }
                Got::Ack(settled) if settled.frames > 0 => {
                    let (frames, bytes) = (settled.frames, settled.bytes);
                    self.feed(Input::Disposed { link, frames, bytes });
                    self.mark_dirty(link);
                }
                Got::Hello(_) => {
                    self.feed(Input::Ready { sandbox });
                    self.welcome_worker(sandbox);
                }
                Got::Pong => {
                    let body = body.try_into().ok().map(u64::from_le_bytes);
                    if body.is_some() && worker.ping.take_if(|ping| body == Some(*ping)).is_some() {
                        self.feed(Input::Heartbeat { sandbox, answered: true });
                    }
                }
                Got::Ack(_) | Got::Bye | Got::Ping | Got::Welcome(_) => {}
            }
            rest = rest.split_at_mut(len).1;
        }
        Ok(())
    }

    fn take_ctl(&mut self, sandbox: SandboxId, up: CtlUp, fds: Vec<OwnedFd>) -> Result<(), String> {
        let declared = match &up {
            CtlUp::Source { .. }
            | CtlUp::NetResult { error: None, .. }
            | CtlUp::Incoming { .. } => 1,
            _ => 0,
        };
        if fds.len() != declared {
            return Err(format!("sent {} descriptors where {declared} belong", fds.len()));
        }
        let fd = fds.into_iter().next();
        match (up, fd) {
            (CtlUp::Confined(report), _) => {
                if let Some((_, worker)) = self.worker_of(sandbox) {
                    worker.level = report.level;
                }
                self.feed(Input::Confined { sandbox, report });
            }
            (up @ CtlUp::Source { .. }, Some(fd)) => {
                let CtlUp::Source { size, .. } = &up else { return Ok(()) };
                let code = self.held.keep_code(fd, *size).map_err(|error| {
                    format!("handed over code that is no sealed memfd: {error}")
                })?;
                self.feed(Input::Ctl { sandbox, up, stream: None, code: Some(code) });
            }
            (up, fd) => {
                let stream = fd.map(|fd| self.held.keep_stream(fd));
                self.feed(Input::Ctl { sandbox, up, stream, code: None });
            }
        }
        Ok(())
    }

    /// The worker broke the link: the core learns it, and the process is killed.
    pub(in super::super) fn breach(&mut self, link: LinkId, text: &str) {
        if let Some(input) = self.broken(link, text) {
            self.turn(input);
        }
    }

    /// As [`Self::breach`]; what is returned is for the core. `None`: it is known.
    pub(super) fn broken(&mut self, link: LinkId, text: &str) -> Option<Input<'static>> {
        let worker =
            self.workers.get_mut(&link).filter(|worker| worker.hears != Hears::Breached)?;
        let Worker { sandbox, role, .. } = *worker;
        worker.hears = Hears::Breached;
        worker.signal(nix::libc::SIGKILL);
        tracing::warn!(sandbox = sandbox.0, role = role.name(), "breach of the link: {text}");
        Some(Input::Violation { sandbox, text: text.to_owned() })
    }

    /// The worker is of another version: nothing is wrong with what it did.
    fn refuse_version(&mut self, link: LinkId, text: String) {
        let Some(worker) = self.workers.get_mut(&link) else { return };
        worker.hears = Hears::Breached;
        worker.signal(nix::libc::SIGKILL);
        let sandbox = worker.sandbox;
        tracing::warn!(sandbox = sandbox.0, "another version: {text}");
        self.turn(Input::Incompatible { sandbox, text });
    }
}
