//! Messages that wait for a route: one queue per route key, in order, bounded per key, per sender
//! and in all.

use super::Peer;
use super::pending::PendingRef;
use crate::input::Time;
use crate::limits::{PARK_KEY_BYTES, PARK_TOTAL_BYTES, PARK_TOTAL_FRAMES};
use protocol::address::RouteKey;
use protocol::frame::Frame;
use std::collections::{BTreeMap, VecDeque};

/// A message that waits for its route.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The message.
    pub(crate) frame: Frame,
    /// Who is charged.
    pub(crate) origin: Peer,
    /// Its size.
    pub(crate) bytes: u32,
    /// When it is given up.
    pub(crate) deadline: Time,
    /// The request that it is, if it is one.
    pub(crate) pending: Option<PendingRef>,
}

#[derive(Debug, Default)]
struct Queue {
    parked: VecDeque<Parked>,
    bytes: u64,
}

/// Why a message cannot be parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParkError {
    /// The key's queue, or the sender's half of it, is full.
    KeyFull,
    /// All queues together are full.
    AllFull,
}

/// All messages that wait for a route.
#[derive(Debug)]
pub(crate) struct Park {
    queues: BTreeMap<RouteKey, Queue>,
    frames_per_key: usize,
    frames: usize,
    bytes: u64,
    earliest: Option<Time>,
}

impl Park {
    /// Empty; `frames_per_key` from the configuration.
    pub(crate) const fn new(frames_per_key: usize) -> Self {
        Self { queues: BTreeMap::new(), frames_per_key, frames: 0, bytes: 0, earliest: None }
    }

    /// As many for one key from now on; what is there stays.
    pub(crate) const fn allow(&mut self, frames_per_key: usize) {
        self.frames_per_key = frames_per_key;
    }

    /// Messages parked in all.
    pub(crate) const fn frames(&self) -> usize {
        self.frames
    }

    /// When a sweep may find something.
    pub(crate) const fn earliest(&self) -> Option<Time> {
        self.earliest
    }

    /// Messages parked for this key.
    pub(crate) fn count(&self, key: &RouteKey) -> usize {
        self.queues.get(key).map_or(0, |queue| queue.parked.len())
    }

    /// The messages parked for this key, in order.
    pub(crate) fn of(&self, key: &RouteKey) -> impl Iterator<Item = &Parked> {
        self.queues.get(key).into_iter().flat_map(|queue| &queue.parked)
    }

    /// Keys for which something is parked.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&RouteKey, usize)> {
        self.queues.iter().map(|(key, queue)| (key, queue.parked.len()))
    }

    /// Whether one more message fits.
    pub(crate) fn room(&self, key: &RouteKey, origin: Peer, bytes: u32) -> Result<(), ParkError> {
        let bytes = u64::from(bytes);
        if self.frames >= PARK_TOTAL_FRAMES || self.bytes.saturating_add(bytes) > PARK_TOTAL_BYTES {
            return Err(ParkError::AllFull);
        }
        let Some(queue) = self.queues.get(key) else {
            let fits = self.frames_per_key > 0 && bytes <= PARK_KEY_BYTES;
            return if fits { Ok(()) } else { Err(ParkError::KeyFull) };
        };
        let own = queue.parked.iter().filter(|parked| parked.origin == origin);
        let (own, own_bytes) = own.fold((0_usize, 0_u64), |(count, sum), parked| {
            (count.saturating_add(1), sum.saturating_add(u64::from(parked.bytes)))
        });
        let half = self.frames_per_key.div_ceil(2);
        let half_bytes = PARK_KEY_BYTES.div_ceil(2);
        let fits = queue.parked.len() < self.frames_per_key
            && queue.bytes.saturating_add(bytes) <= PARK_KEY_BYTES
            && own < half
            && (own == 0 || own_bytes.saturating_add(bytes) <= half_bytes);
        if fits { Ok(()) } else { Err(ParkError::KeyFull) }
    }

    fn charge(&mut self, parked: &Parked) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(parked.bytes));
        self.earliest = Some(self.earliest.map_or(parked.deadline, |t| t.min(parked.deadline)));
    }

    fn discharge(&mut self, parked: &Parked) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(parked.bytes));
    }

    /// Parks it behind the others. Whether there is room was asked before.
    pub(crate) fn push(&mut self, key: &RouteKey, parked: Parked) {
        self.charge(&parked);
        let queue = self.queues.entry(key.clone()).or_default();
        queue.bytes = queue.bytes.saturating_add(u64::from(parked.bytes));
        queue.parked.push_back(parked);
    }

    /// Parks these, which were parked or queued before, ahead of the others and in their order.
    pub(crate) fn push_front(&mut self, key: &RouteKey, again: Vec<Parked>) {
        for parked in again.into_iter().rev() {
            self.charge(&parked);
            let queue = self.queues.entry(key.clone()).or_default();
            queue.bytes = queue.bytes.saturating_add(u64::from(parked.bytes));
            queue.parked.push_front(parked);
        }
    }

    /// Takes everything parked for this key, oldest first.
    pub(crate) fn take(&mut self, key: &RouteKey) -> VecDeque<Parked> {
        let queue = self.queues.remove(key).unwrap_or_default();
        for parked in &queue.parked {
            self.discharge(parked);
        }
        queue.parked
    }

    /// Takes what is due; afterwards [`Self::earliest`] is exact.
    pub(crate) fn due(&mut self, now: Time) -> Vec<Parked> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut earliest: Option<Time> = None;
        for queue in self.queues.values_mut() {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                queue.parked.drain(..).partition(|parked| parked.deadline <= now);
            for parked in &kept {
                earliest = Some(earliest.map_or(parked.deadline, |t| t.min(parked.deadline)));
            }
            queue.bytes = kept.iter().map(|parked| u64::from(parked.bytes)).sum();
            queue.parked = kept;
            due.extend(gone);
        }
        self.queues.retain(|_, queue| !queue.parked.is_empty());
        for parked in &due {
            self.discharge(parked);
        }
        self.earliest = earliest;
        due
    }

    /// What is wrong with the sums, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let frames: usize = self.queues.values().map(|queue| queue.parked.len()).sum();
        let sum = |queue: &Queue| queue.parked.iter().map(|p| u64::from(p.bytes)).sum::<u64>();
        let bytes: u64 = self.queues.values().map(sum).sum();
        let each = self.queues.values().all(|queue| queue.bytes == sum(queue));
        if frames != self.frames || bytes != self.bytes || !each {
            return Err(format!("parked {frames}/{bytes}, booked {}/{}", self.frames, self.bytes));
        }
        Ok(())
    }

    /// Every parked message.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parked> {
        self.queues.values().flat_map(|queue| &queue.parked)
    }
}
