//! Operators on `run/control.sock`: one request a connection, one or many replies.

use super::hub::{Hub, Shared, WeakHub};
use super::peer::{Peer, Right};
use super::sockets;
use crate::limits::{HELLO_WITHIN, OPERATOR_QUEUE_BYTES_MAX, OPERATOR_TAKES_WITHIN};
use interprocess::local_socket::tokio::Stream;
use protocol::control::{CONTROL_VERSION, Command, Denial, Reply, Request};
use protocol::limits::CONTROL_BYTES_MAX;
use runtime_core::{Input, ReplyTo, SandboxId, Token};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

/// The connection of an operator whose request is with the core.
#[derive(Debug, Default)]
pub(super) struct Operator {
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    ended: bool,
    work: Rc<Notify>,
}

impl Hub {
    /// The core answers an operator.
    pub(super) fn reply(&mut self, token: Token, reply: &Reply, to: ReplyTo) {
        let Some(operator) = self.operators.get_mut(&token) else { return };
        let bytes = reply.encode().unwrap_or_else(|error| {
            let text = format!("the answer cannot be sent: {error}");
            denied(Denial::Failed, text).encode().unwrap_or_default()
        });
        operator.queued_bytes = operator.queued_bytes.saturating_add(bytes.len());
        operator.queue.push_back(bytes);
        operator.ended |= to == ReplyTo::Last;
        if operator.queued_bytes > OPERATOR_QUEUE_BYTES_MAX && to == ReplyTo::More {
            tracing::warn!(token = token.0, "an operator is too slow for its stream");
            operator.ended = true;
            self.later(Input::OperatorGone { token });
        }
        if let Some(operator) = self.operators.get(&token) {
            operator.work.notify_one();
        }
    }

    fn ask_core(&mut self, command: Command) -> Token {
        let token = self.next_token();
        self.operators.insert(token, Operator::default());
        let rss = match command {
            Command::Ps { .. } | Command::Inspect { .. } | Command::Status => self.resident(),
            _ => Vec::new(),
        };
        self.turn(Input::Operator { token, command, rss });
        token
    }

    fn resident(&self) -> Vec<(SandboxId, u64)> {
        let own = i32::try_from(std::process::id()).ok().map(|pid| (SandboxId(0), pid));
        let workers = self.workers.values().map(|worker| (worker.sandbox, worker.pid));
        own.into_iter()
            .chain(workers)
            .filter_map(|(sandbox, pid)| Some((sandbox, resident_bytes(pid)?)))
            .collect()
    }

    fn operator_gone(&mut self, token: Token) {
        if self.operators.remove(&token).is_some_and(|operator| !operator.ended) {
            self.turn(Input::OperatorGone { token });
        }
    }
}

/// Bytes resident of a process; `None` if it is gone.
fn resident_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

fn denied(denial: Denial, text: String) -> Reply {
    Reply::Denied { denial, code: None, reason: None, stage: None, text }
}

/// Serves one connection.
pub(super) async fn serve(hub: Shared, stream: Stream, peer: Peer) {
    let right = hub.borrow().gate.admit(peer);
    let weak = Rc::downgrade(&hub);
    drop(hub);
    let command = match request(&stream, right).await {
        Ok(command) => command,
        Err(reply) => {
            tracing::warn!(uid = peer.uid, pid = peer.pid, ?reply, "an operator was refused");
            let bytes = reply.encode().unwrap_or_default();
            return sockets::part(&stream, &bytes).await;
        }
    };
    let Some(token) = weak.upgrade().map(|hub| hub.borrow_mut().ask_core(command)) else { return };
    tokio::select! {
        () = write(&weak, token, &stream) => {}
        () = sockets::until_closed(&stream) => {}
    }
    if let Some(hub) = weak.upgrade() {
        hub.borrow_mut().operator_gone(token);
    }
}

async fn request(stream: &Stream, right: Option<Right>) -> Result<Command, Reply> {
    let right = right.ok_or_else(|| {
        denied(Denial::Denied, "a process in a sandbox may not operate this runtime".to_owned())
    })?;
    let read = tokio::time::timeout(HELLO_WITHIN, read_request(stream)).await;
    let request = match read {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => {
            return Err(denied(Denial::Usage, format!("the request is not understood: {error}")));
        }
        Err(_elapsed) => {
            return Err(denied(Denial::Timeout, "no request came within 5 s".to_owned()));
        }
    };
    if request.version != CONTROL_VERSION {
        let text = format!(
            "this runtimed speaks version {CONTROL_VERSION} of the control API, not {}; use the runtimectl of the same build",
            request.version
        );
        return Err(denied(Denial::Usage, text));
    }
    if request.command.is_operation() && right != Right::Operate {
        let text = "only root and the user of runtimed may do that; others may look".to_owned();
        return Err(denied(Denial::Denied, text));
    }
    Ok(request.command)
}

async fn read_request(mut stream: &Stream) -> io::Result<Request> {
    let mut len = [0_u8; 4];
    stream.read_exact(&mut len).await?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > CONTROL_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {CONTROL_BYTES_MAX} bytes")));
    }
    // What is claimed is not allocated: the buffer grows with what really comes.
    let mut bytes = Vec::new();
    let limit = u64::try_from(len).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut bytes).await?;
    if bytes.len() != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Request::decode(&bytes).map_err(io::Error::other)
}

async fn write(weak: &WeakHub, token: Token, mut stream: &Stream) {
    loop {
        let (next, work) = {
            let Some(hub) = weak.upgrade() else { return };
            let mut hub = hub.borrow_mut();
            let Some(operator) = hub.operators.get_mut(&token) else { return };
            let next = operator.queue.pop_front();
            if let Some(bytes) = &next {
                operator.queued_bytes = operator.queued_bytes.saturating_sub(bytes.len());
            } else if operator.ended {
                return;
            }
            (next, Rc::clone(&operator.work))
        };
        match next {
            Some(bytes) => {
                let written = stream.write_all(&bytes);
                match tokio::time::timeout(OPERATOR_TAKES_WITHIN, written).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_gone)) => return,
                    Err(_elapsed) => {
                        tracing::warn!(token = token.0, "an operator does not read; it is cut off");
                        return;
                    }
                }
            }
            None => work.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::resident_bytes;

    #[test]
    fn memory_of_a_process_is_read_while_it_lives() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident_bytes(own).unwrap() > 100_000);
        assert_eq!(resident_bytes(i32::MAX), None);
    }
}
