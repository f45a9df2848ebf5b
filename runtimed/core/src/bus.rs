//! The MessageBus: links, addresses, requests, parked messages, and the account of every message.
//!
//! The parts are here and below; what happens to a message is decided in [`step`], what leaves is
//! written by [`answer`] and [`respond`]. All of it runs inside `Core::handle`.

mod addresses;
pub(crate) mod answer;
pub(crate) mod apps;
mod builtin;
pub(crate) mod carrier;
mod changes;
mod check;
pub(crate) mod counters;
pub(crate) mod egress;
pub(crate) mod ends;
pub(crate) mod hyperties;
pub(crate) mod names;
pub(crate) mod nodes;
pub(crate) mod own;
pub(crate) mod park;
pub(crate) mod pending;
mod publish;
mod respond;
pub(crate) mod slow;
pub(crate) mod step;
mod stubs;
mod subscribe;
pub(crate) mod subscribers;
pub(crate) mod sync;
pub(crate) mod voice;
pub(crate) mod watch;

use crate::bucket::Bucket;
use crate::effect::Effect;
use crate::input::{LinkId, SandboxId, Time, Token};
use crate::limits::{
    DEADLINE_GRAIN_MS, EGRESS_TOTAL_BYTES, WORKER_FRAMES_PER_SECOND, WORKER_REFUSALS_PER_SECOND,
};
use changes::Changes;
use counters::Counters;
use egress::{Claim, Egress, Waiting};
use names::{NameId, Names};
use park::Park;
use pending::{PendingRef, PendingTable, Waits};
use protocol::address::{RouteKey, SchemeClass};
use protocol::limits::DEADLINE_MAX_MS;
use protocol::reason::Reason;
use slow::SlowWorkers;
use std::collections::BTreeMap;
use std::sync::Arc;
use subscribers::Subscriptions;
pub(crate) use sync::scheme_of;
use watch::Watchers;

/// Whether it is an address of a hyperty or a data object: such as others are told of.
pub(crate) fn is_registered(address: &str) -> bool {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| SchemeClass::of(scheme).is_claimable())
}

/// Who takes part in the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Peer {
    /// The runtime itself.
    Core,
    /// An application or a worker.
    Link(LinkId),
    /// One request of an operator.
    Operator(Token),
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// An application.
    App {
        /// What it calls itself, bounded.
        name: String,
        /// Whose it is.
        uid: u32,
    },
    /// A worker.
    Worker {
        /// Which.
        sandbox: SandboxId,
    },
}

/// Where the last message of a link went; good while ownership is as it was.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    epoch: u64,
    from: String,
    to: String,
    from_id: Option<NameId>,
    to_id: Option<NameId>,
    voice: voice::Voice,
    route: Option<MemoRoute>,
}

#[derive(Debug, Clone)]
enum MemoRoute {
    Local(Peer),
    Stub(Arc<RouteKey>, LinkId),
}

/// One connection to the bus.
#[derive(Debug)]
pub(crate) struct Link {
    /// What it is.
    pub(crate) kind: LinkKind,
    /// What it has not yet taken.
    pub(crate) egress: Egress,
    /// Addresses that it owns.
    pub(crate) addresses: Vec<Arc<str>>,
    memo: Option<Memo>,
    /// When it last sent a message.
    heard: Time,
    /// Requests it waits for.
    pending: u32,
    rate: Bucket,
    refusals: Bucket,
    refused: Vec<watch::Coalesced>,
    /// It is being cut off: nothing more is handed to it.
    closing: bool,
}

/// The state of the bus.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) now: Time,
    pub(crate) out: Vec<Effect>,
    pub(crate) runtime: Arc<str>,
    pub(crate) names: Names,
    pub(crate) links: BTreeMap<LinkId, Box<Link>>,
    pub(crate) pending: PendingTable,
    pub(crate) park: Park,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) slow: SlowWorkers,
    pub(crate) changes: Changes,
    pub(crate) objects: sync::Objects,
    pub(crate) nodes: nodes::Nodes,
    pub(crate) own: own::Own,
    pub(crate) counters: Counters,
    pub(crate) watchers: Watchers,
    /// Links of workers by their sandbox.
    pub(crate) sandboxes: BTreeMap<SandboxId, LinkId>,
    /// Addresses of the messages that operators have sent.
    pub(crate) operators: BTreeMap<Token, Arc<str>>,
    /// What was not handed over when a link ended, until its route is known to be gone.
    pub(crate) orphans: BTreeMap<LinkId, Vec<ends::Orphan>>,
    pub(crate) stopping: bool,
    default_deadline_ms: u64,
    egress_bytes: u64,
    /// Number of the last application, operator and publication.
    serial: u64,
}

impl Bus {
    /// An empty bus.
    pub(crate) fn new(settings: &crate::settings::Settings) -> Self {
        let mut names = Names::default();
        names.register(&settings.runtime_url, Peer::Core);
        let mut bus = Self {
            now: Time(0),
            out: Vec::new(),
            runtime: Arc::from(settings.runtime_url.as_str()),
            names,
            links: BTreeMap::new(),
            pending: PendingTable::default(),
            park: Park::new(settings.parked_messages),
            subscriptions: Subscriptions::default(),
            slow: SlowWorkers::default(),
            changes: Changes::default(),
            objects: sync::Objects::default(),
            nodes: nodes::Nodes::default(),
            own: own::Own::default(),
            counters: Counters::default(),
            watchers: Watchers::default(),
            sandboxes: BTreeMap::new(),
            operators: BTreeMap::new(),
            orphans: BTreeMap::new(),
            stopping: false,
            default_deadline_ms: settings.default_deadline_ms,
            egress_bytes: 0,
            serial: 0,
        };
        bus.name_parts();
        bus
    }

    /// Bounds for what comes from now on; what waits already keeps its own.
    pub(crate) fn configure(&mut self, settings: &crate::settings::Settings) {
        self.names.touch();
        self.park.allow(settings.parked_messages);
        self.default_deadline_ms = settings.default_deadline_ms;
    }

    /// A number that was not given before.
    pub(crate) const fn next_serial(&mut self) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// Adds a link without addresses.
    pub(crate) fn add_link(&mut self, id: LinkId, kind: LinkKind) {
        let egress = match kind {
            LinkKind::App { .. } => Egress::app(),
            LinkKind::Worker { sandbox } => {
                self.sandboxes.insert(sandbox, id);
                Egress::worker()
            }
        };
        let link = Link {
            kind,
            egress,
            addresses: Vec::new(),
            memo: None,
            heard: self.now,
            pending: 0,
            rate: Bucket::new(WORKER_FRAMES_PER_SECOND, self.now),
            refusals: Bucket::new(WORKER_REFUSALS_PER_SECOND, self.now),
            refused: Vec::new(),
            closing: false,
        };
        self.links.insert(id, Box::new(link));
    }

    /// When a request with this deadline extension is answered with 408.
    pub(crate) fn deadline(&self, ext: Option<&[u8]>) -> Time {
        let asked = ext.and_then(|value| value.try_into().ok()).map(u32::from_le_bytes);
        let within = asked.map_or(self.default_deadline_ms, u64::from).min(DEADLINE_MAX_MS);
        let exact = self.now.0.saturating_add(within);
        Time(exact.checked_next_multiple_of(DEADLINE_GRAIN_MS).unwrap_or(exact))
    }

    /// Whether the receiver takes one more frame, and if not, why.
    pub(crate) fn room(
        &self,
        to: LinkId,
        origin: u32,
        bytes: u32,
        claim: Claim,
    ) -> Result<(), Reason> {
        let link = self.links.get(&to).filter(|link| !link.closing).ok_or(Reason::ReceiverGone)?;
        if !link.egress.has_room(origin, bytes, claim) {
            return Err(Reason::SlowConsumer);
        }
        // What ends a request is bounded by its receiver alone: it must not be lost to others.
        if claim == Claim::Message
            && self.egress_bytes.saturating_add(u64::from(bytes)) > EGRESS_TOTAL_BYTES
        {
            return Err(Reason::Overloaded);
        }
        Ok(())
    }

    /// Books a frame that the next effect hands over.
    pub(crate) fn enqueue(&mut self, to: LinkId, waiting: Waiting) {
        if let Some(link) = self.links.get_mut(&to) {
            link.egress.push(waiting);
            self.egress_bytes = self.egress_bytes.saturating_add(u64::from(waiting.bytes));
        }
    }

    /// The frames of an ended link wait no more.
    pub(crate) const fn egress_sub(&mut self, bytes: u64) {
        self.egress_bytes = self.egress_bytes.saturating_sub(bytes);
    }

    /// The receiver took frames.
    pub(crate) fn disposed(&mut self, id: LinkId, frames: u32) {
        if let Some(link) = self.links.get_mut(&id) {
            let before = link.egress.bytes();
            let delivered = link.egress.dispose(frames);
            let taken = before.saturating_sub(link.egress.bytes());
            self.egress_bytes = self.egress_bytes.saturating_sub(taken);
            self.slow.took(id);
            self.counters.delivered = self.counters.delivered.saturating_add(delivered);
        }
    }

    /// Messages that wait, in links and parked.
    pub(crate) fn queued(&self) -> u64 {
        let links = self.links.values().map(|link| link.egress.counted());
        let orphans = self.orphans.values().flatten().filter(|orphan| orphan.counted).count();
        let still = self.park.frames().saturating_add(orphans);
        links.fold(u64::try_from(still).unwrap_or(u64::MAX), u64::saturating_add)
    }

    /// Takes a request out, with what it held.
    pub(crate) fn forget(&mut self, at: PendingRef) -> Option<pending::Pending> {
        let pending = self.pending.remove(at)?;
        self.names.release(pending.key.requester);
        self.names.release(pending.asked);
        if let Peer::Link(id) = pending.peer
            && let Some(link) = self.links.get_mut(&id)
        {
            link.pending = link.pending.saturating_sub(1);
        }
        Some(pending)
    }

    /// Moves a request to where its message is now.
    pub(crate) fn moved(&mut self, at: Option<PendingRef>, waits: Waits) {
        if let Some(pending) = at.and_then(|at| self.pending.get_mut(at)) {
            pending.waits = waits;
        }
    }

    /// Addresses of the home domain that links have.
    pub(crate) fn claimed(&self) -> Vec<Arc<str>> {
        let all = self.links.values().flat_map(|link| &link.addresses);
        all.filter(|address| is_registered(address)).cloned().collect()
    }

    /// Whether it is a worker.
    pub(crate) fn is_worker(&self, peer: Peer) -> bool {
        if let Peer::Link(id) = peer { self.sandbox_of(id).is_some() } else { false }
    }

    /// The sandbox that a link leads to, if it does.
    pub(crate) fn sandbox_of(&self, id: LinkId) -> Option<SandboxId> {
        match self.links.get(&id)?.kind {
            LinkKind::Worker { sandbox } => Some(sandbox),
            LinkKind::App { .. } => None,
        }
    }

    /// When the link was last of use: now, while anything is pending or subscribed through it.
    pub(crate) fn last_use(&self, id: LinkId) -> Option<Time> {
        let link = self.links.get(&id)?;
        let at = Waits::At(Peer::Link(id));
        let needed = link.pending > 0
            || self.pending.iter().any(|pending| pending.waits == at)
            || self.subscriptions.links().any(|subscribed| subscribed == id);
        Some(if needed { self.now } else { link.heard })
    }

    /// The name of a link for an operator.
    pub(crate) fn link_name(&self, id: LinkId) -> String {
        match self.links.get(&id).map(|link| &link.kind) {
            Some(LinkKind::App { name, .. }) => format!("app/{name}"),
            Some(LinkKind::Worker { sandbox }) => format!("sandbox/{}", sandbox.0),
            None => format!("link/{}", id.0),
        }
    }
}
