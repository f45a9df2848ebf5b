//! The hub's part of the store: collects what the core wants kept, and hands it to the thread that
//! commits it, one commit at a time. While a commit fails, everything waits here and the core works
//! on; it is told, and so are the operators.

use super::hub::{Hub, Shared, WeakHub};
use super::notify;
use crate::limits::{STORE_ENDS_WITHIN, STORE_GATHERS, STORE_RETRY};
use crate::store::{Backlog, Job, Kept, Outcome, Writer};
use runtime_core::{Change, Input};
use std::rc::Rc;
use tokio::sync::{Notify, mpsc};

/// What the store is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It would take a job.
    Idle,
    /// It will get one, with what else there is by then.
    Gathering,
    /// A job is under way, or the last failed and the next try has its time.
    Busy,
    /// It is given up, or was never there.
    Off,
}

/// What the hub holds of the store.
#[derive(Debug)]
pub(super) struct Keeper {
    backlog: Backlog,
    state: State,
    writer: Option<Writer>,
    failures: usize,
    ended: Rc<Notify>,
}

impl Default for Keeper {
    fn default() -> Self {
        let ended = Rc::new(Notify::new());
        Self { backlog: Backlog::default(), state: State::Off, writer: None, failures: 0, ended }
    }
}

impl Hub {
    /// Something is to be kept.
    pub(super) fn persist(&mut self, change: Change) {
        if self.keeper.state == State::Off {
            return;
        }
        self.keeper.backlog.add(change);
        if self.keeper.backlog.has_lost() {
            self.give_up(
                "more changes wait than can be held; what is kept is of before".to_owned(),
            );
        }
    }

    /// Sees to it that what waits is handed over, soon: a deploy is many small changes, and each
    /// commit costs a flush of the disk.
    pub(super) fn gather_store(&mut self) {
        if self.keeper.state != State::Idle || self.keeper.backlog.is_empty() {
            return;
        }
        self.keeper.state = State::Gathering;
        let hub = self.me.clone();
        let _task = tokio::task::spawn_local(async move {
            tokio::time::sleep(STORE_GATHERS).await;
            if let Some(hub) = hub.upgrade() {
                hub.borrow_mut().flush_store();
            }
        });
    }

    /// Hands over what waits, if nothing is under way.
    fn flush_store(&mut self) {
        if self.keeper.state == State::Gathering {
            self.keeper.state = State::Idle;
        }
        if self.keeper.state != State::Idle || self.keeper.backlog.is_empty() {
            return;
        }
        let Some(writer) = &self.keeper.writer else { return };
        match writer.give(Job::Commit(self.keeper.backlog.take())) {
            Ok(()) => self.keeper.state = State::Busy,
            Err(_job) => self.give_up("its thread is gone".to_owned()),
        }
    }

    /// From now on everything is only in memory.
    fn give_up(&mut self, text: String) {
        self.keeper.state = State::Off;
        self.keeper.backlog.take();
        tracing::error!(text, "the store is given up until the next start");
        self.store_state(Some(text));
    }

    /// Tells the core and systemd how the store is.
    pub(super) fn store_state(&mut self, trouble: Option<String>) {
        notify::store(&self.runtime_url, trouble.as_deref());
        self.later(Input::StoreState { trouble });
    }

    /// Takes the end of a job; says how long to wait before the next.
    fn store_done(&mut self, outcome: Outcome) -> Option<std::time::Duration> {
        match outcome {
            Outcome::Committed => {
                if self.keeper.failures > 0 && self.keeper.state != State::Off {
                    tracing::info!("the store works again");
                    self.store_state(None);
                }
                self.keeper.failures = 0;
            }
            Outcome::Failed { text, lasting: true, .. } => self.give_up(text),
            Outcome::Failed { changes, text, lasting: false } => {
                self.keeper.backlog.put_back(changes);
                if self.keeper.failures == 0 {
                    tracing::warn!(text, "what should be kept waits in memory");
                    self.store_state(Some(text));
                }
                let wait = STORE_RETRY.get(self.keeper.failures).or(STORE_RETRY.last());
                self.keeper.failures = self.keeper.failures.saturating_add(1);
                return wait.copied();
            }
            Outcome::Ended => {
                self.keeper.state = State::Off;
                self.keeper.writer = None;
            }
        }
        None
    }

    /// Nothing is under way any more.
    fn store_idle(&mut self) {
        if self.keeper.state == State::Busy {
            self.keeper.state = State::Idle;
        }
        self.keeper.ended.notify_one();
        self.end_turn();
    }
}

/// Starts the thread of the store and a task that hears what it did, and gives the core what was
/// kept. Signals must be blocked by now.
pub(super) fn start(hub: &Shared, kept: Kept) {
    let Kept { file, rows, unsaved, trouble } = kept;
    let started = file.map(Writer::start).transpose();
    let mut hub = hub.borrow_mut();
    match started {
        Ok(Some((writer, outcomes))) => {
            hub.keeper.writer = Some(writer);
            hub.keeper.state = State::Idle;
            let _task = tokio::task::spawn_local(listen(hub.me.clone(), outcomes));
        }
        Ok(None) => hub.store_state(trouble),
        Err(error) => hub.store_state(Some(format!("the store has no thread: {error}"))),
    }
    for change in unsaved {
        hub.persist(change);
    }
    hub.turn(Input::Restored(rows));
}

async fn listen(hub: WeakHub, mut outcomes: mpsc::Receiver<Outcome>) {
    while let Some(outcome) = outcomes.recv().await {
        let Some(strong) = hub.upgrade() else { return };
        let wait = strong.borrow_mut().store_done(outcome);
        drop(strong);
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        let Some(strong) = hub.upgrade() else { return };
        strong.borrow_mut().store_idle();
    }
}

/// Commits what still waits and closes the file.
pub(super) async fn end(hub: &Shared) {
    let ended = Rc::clone(&hub.borrow().keeper.ended);
    let closing = async {
        loop {
            {
                let mut hub = hub.borrow_mut();
                hub.flush_store();
                let idle = hub.keeper.state != State::Busy;
                match hub.keeper.writer.take() {
                    Some(writer) if idle => {
                        hub.keeper.state = State::Busy;
                        if writer.give(Job::End).is_err() {
                            return;
                        }
                    }
                    Some(writer) => hub.keeper.writer = Some(writer),
                    None if idle => return,
                    None => {}
                }
            }
            ended.notified().await;
        }
    };
    if tokio::time::timeout(STORE_ENDS_WITHIN, closing).await.is_err() {
        tracing::warn!("the last changes could not be committed in time");
    }
}
