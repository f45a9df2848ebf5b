//! Who connects to this host's runtime: accepted here, and relayed to the one sandbox that they are
//! for. No byte of theirs is looked at.
//!
//! The listener was bound before the jail closed. Nobody is accepted before there is a sandbox that
//! takes them; until then they wait in the kernel's queue, which has its own bound.

use super::limits::{
    ACCEPT_PAUSE, GUESTS_BURST, GUESTS_PER_ADDRESS, GUESTS_PER_SECOND, TURNED_AWAY_SAID,
};
use crate::engine::bucket::Bucket;
use protocol::limits::GUESTS_MAX;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::Id;
use tokio::time::{Instant, sleep, sleep_until};

/// Where others come in.
#[derive(Debug)]
pub(super) struct Door {
    listener: Option<TcpListener>,
    /// For which sandbox.
    pub(super) sandbox: Option<u32>,
    guests: HashMap<Id, IpAddr>,
    rate: Bucket,
    begun: Instant,
    turned_away: u64,
    /// When the next word on those may be said.
    say_at: Instant,
}

/// What happened at the door.
#[derive(Debug)]
pub(super) enum Knock {
    /// Somebody is let in.
    Guest(TcpStream, SocketAddr),
    /// So many were not.
    TurnedAway(u64),
}

impl Door {
    /// With the listener that was bound, if it was.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) fn new(listener: Option<std::net::TcpListener>) -> io::Result<Self> {
        let listener = listener
            .map(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            })
            .transpose()?;
        let begun = Instant::now();
        Ok(Self {
            listener,
            sandbox: None,
            guests: HashMap::new(),
            rate: Bucket::new(GUESTS_PER_SECOND, GUESTS_BURST),
            begun,
            turned_away: 0,
            say_at: begun,
        })
    }

    /// Waits until somebody is let in, or until there is a word to say on those who were not.
    pub(super) async fn knock(&mut self) -> Knock {
        loop {
            let waiting = self.turned_away > 0;
            let listener = self.listener.as_ref().filter(|_| self.sandbox.is_some());
            let accepted = tokio::select! {
                accepted = accept(listener) => accepted,
                () = sleep_until(self.say_at), if waiting => return self.word(),
            };
            match accepted {
                Ok((stream, from)) if self.lets_in(from.ip()) => {
                    return Knock::Guest(stream, from);
                }
                // Closed at once, which costs less than anything that could be said to it.
                Ok(_) => self.turned_away = self.turned_away.saturating_add(1),
                // No descriptors, or the connection is gone again.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn word(&mut self) -> Knock {
        let now = Instant::now();
        self.say_at = now.checked_add(TURNED_AWAY_SAID).unwrap_or(now);
        Knock::TurnedAway(std::mem::take(&mut self.turned_away))
    }

    fn lets_in(&mut self, from: IpAddr) -> bool {
        let of_address = self.guests.values().filter(|guest| **guest == from).count();
        self.guests.len() < GUESTS_MAX
            && of_address < GUESTS_PER_ADDRESS
            && self.rate.take(self.begun.elapsed())
    }

    /// It is served by this task.
    pub(super) fn came(&mut self, task: Id, from: IpAddr) {
        self.guests.insert(task, from);
    }

    /// Whether that is the task of somebody who came.
    pub(super) fn has(&self, task: Id) -> bool {
        self.guests.contains_key(&task)
    }

    /// A task has ended, whosever it was.
    pub(super) fn left(&mut self, task: Id) {
        self.guests.remove(&task);
    }

    /// Nobody is accepted for this sandbox any more.
    pub(super) fn forget(&mut self, sandbox: u32) {
        self.sandbox.take_if(|of| *of == sandbox);
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
