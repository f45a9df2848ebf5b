//! Carries out what the core decides.

use super::files::open_beneath;
use super::hub::{Hub, WeakHub};
use super::verify::{Expect, verify};
use crate::limits::DYING_WITHIN;
use protocol::control::EventRow;
use protocol::ctl::{Level, Role};
use protocol::frame::Frame;
use runtime_core::{Attach, Effect, Input, LinkId, SandboxId};
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use tokio::io::unix::AsyncFd;

impl Hub {
    /// Carries out one effect; `frame` is the frame of the input it follows from.
    pub(super) fn carry_out(&mut self, effect: Effect, frame: &[u8]) {
        match effect {
            Effect::Forward { link } => self.hand_over(link, frame),
            Effect::Send { link, frame } => self.hand_over(link, frame.bytes()),
            Effect::Publish { links, frame } => self.hand_round(&links, frame),
            Effect::Welcome { link, address, addresses } => {
                self.welcome_app(link, address, addresses);
            }
            Effect::Reject { link, reason, desc } => self.reject_app(link, reason, &desc),
            Effect::CloseApp { link, reason } => self.close_app(link, reason),
            Effect::Spawn { sandbox, role, name } => self.spawn_worker(sandbox, role, &name),
            Effect::Verify { sandbox } => self.verify_worker(sandbox),
            Effect::Ctl { sandbox, down, attach } => {
                let fds = self.attached(attach);
                self.send_ctl(sandbox, &down, fds);
            }
            Effect::OpenFile { sandbox, req, folder, path } => {
                let outcome = open_beneath(&folder, &path).map(|fd| self.held.keep_stream(fd));
                self.later(Input::Opened { sandbox, req, outcome });
            }
            Effect::DropCode { code } => self.held.drop_code(code),
            Effect::Kill { sandbox } => self.kill(sandbox),
            Effect::Signal { sandbox, signal } => self.signal(sandbox, signal),
            Effect::Ping { sandbox, within_ms } => self.ping(sandbox, within_ms),
            Effect::Reply { token, reply, to } => self.reply(token, &reply, to),
            Effect::Event(row) => log_event(&row),
            Effect::Console { name, level, text } => match level {
                0 => tracing::warn!(stub = name, "console error: {text}"),
                1 => tracing::info!(stub = name, "console warn: {text}"),
                _ => tracing::debug!(stub = name, "console: {text}"),
            },
            Effect::Persist(change) => self.persist(*change),
            Effect::Stopped => {
                self.stopped = true;
                self.ended.notify_one();
            }
        }
    }

    fn hand_over(&mut self, link: LinkId, frame: &[u8]) {
        if self.workers.contains_key(&link) {
            self.push_to_worker(link, frame);
        } else if let Ok(frame) = Frame::from_bytes(frame.to_vec()) {
            self.push_to_app(link, frame);
        } else {
            tracing::error!(link = link.0, "the core forwards what is no frame");
        }
    }

    /// Hands one frame to many; all applications share it.
    fn hand_round(&mut self, links: &[LinkId], frame: Frame) {
        let (workers, apps) = links.iter().partition(|link| self.workers.contains_key(link));
        let (workers, apps): (Vec<LinkId>, Vec<LinkId>) = (workers, apps);
        for link in workers {
            self.push_to_worker(link, frame.bytes());
        }
        self.push_to_apps(&apps, frame);
    }

    fn attached(&mut self, attach: Attach) -> Vec<OwnedFd> {
        match attach {
            Attach::None => Vec::new(),
            Attach::Stream(stream) => self.held.take_stream(stream).into_iter().collect(),
            Attach::Code(code) => match self.held.code(code) {
                Ok(fd) => vec![fd],
                Err(error) => {
                    // The worker refuses an assignment without code, and the deploy fails by that.
                    tracing::error!(%error, "code cannot be handed on");
                    Vec::new()
                }
            },
        }
    }

    fn verify_worker(&mut self, sandbox: SandboxId) {
        let hub = self.me.clone();
        // One that is gone already is reported by its exit.
        let Some((_, worker)) = self.worker_of(sandbox) else { return };
        let expect = Expect {
            pidfd: worker.pidfd.get_ref().as_fd(),
            uid: worker.uid,
            namespaces: worker.level >= Level::Namespaces,
            our_network: worker.role == Role::Net,
        };
        match verify(worker.pid, &expect) {
            Ok(seen) => {
                worker.accepted = true;
                self.welcome_worker(sandbox);
                self.later(Input::Verified { sandbox, outcome: Ok(seen.layers) });
            }
            Err(fault) => {
                let pidfd = Rc::clone(&worker.pidfd);
                let refusal = refuse_if_alive(hub, sandbox, pidfd, fault.to_string());
                tokio::task::spawn_local(refusal);
            }
        }
    }
}

/// A process on its way out cannot be looked at: that is its death, which is reported by itself,
/// and no fault of its jail.
async fn refuse_if_alive(
    hub: WeakHub,
    sandbox: SandboxId,
    pidfd: Rc<AsyncFd<OwnedFd>>,
    text: String,
) {
    let dies = tokio::time::timeout(DYING_WITHIN, pidfd.readable()).await.is_ok();
    if let (false, Some(hub)) = (dies, hub.upgrade()) {
        hub.borrow_mut().turn(Input::Verified { sandbox, outcome: Err(text) });
    }
}

fn log_event(row: &EventRow) {
    let sandbox = row.sandbox.map(tracing::field::display);
    let reason = row.reason.as_deref();
    let (event, name, detail) = (row.event.as_str(), row.name.as_str(), row.detail.as_str());
    match event {
        "deploy-failed" | "sandbox-refused" | "quarantined" | "refused" | "flood" => {
            tracing::warn!(event, name, sandbox, reason, "{detail}");
        }
        "deploy-stage" | "app-joined" | "app-left" => {
            tracing::debug!(event, name, sandbox, reason, "{detail}");
        }
        _ => tracing::info!(event, name, sandbox, reason, "{detail}"),
    }
}
