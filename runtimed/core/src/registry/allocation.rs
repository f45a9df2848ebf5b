//! Addresses of the home domain for whoever needs some: made here, or allocated by the domain's
//! message node (`create` and `delete` at `domain://msg-node.<home>/address-allocation`).
//!
//! The node is asked for a block at a time, one message for each scheme; what nobody needs yet is
//! kept ahead, over a restart, too. Who names what the addresses are for gets the same again.
//! Addresses that nobody has any more are given back to the node and never to another.

use super::blocks::{Blocks, Giving};
use super::reuse::{Reuse, key_of};
use crate::bus::hyperties::Loading;
use crate::bus::own::{Asking, Outcome, Part, Purpose};
use crate::bus::pending::PendingRef;
use crate::core::Core;
use crate::input::Time;
use crate::limits::{
    ALLOCATED_MAX, ALLOCATION_BLOCK, ALLOCATION_LOW, ALLOCATION_WAITING, ALLOCATIONS_PER_REQUEST,
    NODE_RETRY_MS, RESTORE_JITTER_MS,
};
use crate::store::{BlockRow, ReuseRow};
use crate::ua::Refusal;
use protocol::address::{Address, SchemeClass};
use protocol::message::MessageType;
use protocol::reason::Reason;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Code of a node that does not know what it is asked about.
const UNKNOWN: u16 = 404;

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The applications of this user: it is reserved for them until they claim it.
    User(u32),
    /// The hyperties of this user: it is reserved, and no application's to claim.
    Hyperties(u32),
}

impl Holder {
    /// As the store has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::User(uid) => format!("uid/{uid}"),
            Self::Hyperties(uid) => format!("hyperties/{uid}"),
        }
    }

    /// Reads [`Self::text`].
    pub(super) fn read(text: &str) -> Option<Self> {
        let (kind, uid) = text.split_once('/')?;
        let uid = uid.parse().ok()?;
        match kind {
            "uid" => Some(Self::User(uid)),
            "hyperties" => Some(Self::Hyperties(uid)),
            _ => None,
        }
    }
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A request to `<runtime>/address-allocation`.
    Request(PendingRef),
    /// A hyperty is loaded.
    Hyperty(Box<Loading>),
}

impl Errand {
    /// The request that waits, if one does.
    fn request(&self) -> Option<PendingRef> {
        match self {
            Self::Request(at) => Some(*at),
            Self::Hyperty(loading) => loading.request(),
        }
    }
}

/// Somebody needs addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needing {
    /// Scheme of the addresses.
    pub(crate) scheme: String,
    /// How many.
    pub(crate) number: usize,
    /// Whose they are.
    pub(crate) holder: Holder,
    /// What they are for: who names the same gets the same.
    pub(crate) name: Option<String>,
    /// Whom to tell.
    pub(crate) errand: Errand,
}

/// What the node is asked for one scheme.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Needing>,
    /// Name of the allocation that is on its way.
    flight: Option<Arc<str>>,
    failures: usize,
    retry_at: Option<Time>,
}

/// All addresses that the runtime gives.
#[derive(Debug, Default)]
pub(crate) struct Allocation {
    blocks: Blocks,
    reuse: Reuse,
    queues: BTreeMap<String, Queue>,
    /// Schemes of which the node may be to be asked.
    due: BTreeSet<String>,
    /// What is being given back.
    giving: Option<Giving>,
    give_failures: usize,
    give_at: Option<Time>,
    give_due: bool,
}

fn later(now: Time, failures: usize) -> Time {
    let wait = NODE_RETRY_MS.get(failures).or(NODE_RETRY_MS.last()).copied().unwrap_or_default();
    Time(now.0.saturating_add(wait))
}

impl Allocation {
    /// When a tick may find something.
    pub(crate) fn earliest(&self) -> Option<Time> {
        self.queues.values().filter_map(|queue| queue.retry_at).chain(self.give_at).min()
    }

    /// Whether the node may be to be asked now.
    pub(crate) fn has_news(&self) -> bool {
        !self.due.is_empty() || self.give_due
    }

    /// Nobody waits for what nobody was asked for.
    pub(crate) fn check(&self) -> Result<(), String> {
        let idle = self.queues.iter().find(|(_, q)| !q.waiting.is_empty() && q.flight.is_none());
        if let Some((scheme, queue)) = idle {
            return Err(format!("nobody asks for addresses of {scheme}: {queue:?}"));
        }
        self.blocks.check()
    }
}

impl Core {
    /// Somebody needs addresses, and is told now or later ([`Self::allocated`]).
    pub(crate) fn need_addresses(&mut self, needing: Needing) {
        if let Err(refusal) = self.check_needing(&needing) {
            return self.allocated(&needing.errand, Err(refusal));
        }
        let have = self.given_before(&needing).len();
        let local = !self.settings.addresses_from_node;
        if local || have >= needing.number {
            return self.give_addresses(&needing);
        }
        let scheme = needing.scheme.clone();
        let queue = self.allocation.queues.entry(scheme.clone()).or_default();
        if queue.waiting.len() >= ALLOCATION_WAITING {
            let refusal = Refusal::new(Reason::Overloaded, "too many wait for addresses");
            return self.allocated(&needing.errand, Err(refusal));
        }
        queue.waiting.push_back(needing);
        self.serve_queue(&scheme);
    }

    fn check_needing(&self, needing: &Needing) -> Result<(), Refusal> {
        let Needing { scheme, number, .. } = needing;
        if !SchemeClass::of(scheme).is_claimable() {
            let text = "addresses are allocated for hyperties and data objects";
            return Err(Refusal::new(Reason::NotClaimable, text));
        }
        if !(1..=ALLOCATIONS_PER_REQUEST).contains(number) {
            let text = format!("from 1 to {ALLOCATIONS_PER_REQUEST} addresses at a time");
            return Err(Refusal::new(Reason::TooManyAddresses, text));
        }
        if self.allocation.blocks.len() >= ALLOCATED_MAX {
            return Err(Refusal::new(Reason::Overloaded, "too many addresses are allocated"));
        }
        Ok(())
    }

    fn key_of(&self, needing: &Needing) -> Option<Arc<str>> {
        let name = needing.name.as_deref()?;
        Some(key_of(&needing.holder, &needing.scheme, &self.settings.domain, name))
    }

    /// What the same name was given before.
    fn given_before(&self, needing: &Needing) -> Vec<Arc<str>> {
        let key = self.key_of(needing);
        key.map_or_else(Vec::new, |key| self.allocation.reuse.get(&key).to_vec())
    }

    /// Gives everybody in the queue of a scheme what there is, in order; if more is needed, the
    /// node is asked.
    fn serve_queue(&mut self, scheme: &str) {
        loop {
            let Some(queue) = self.allocation.queues.get(scheme) else { return };
            let Some(first) = queue.waiting.front().cloned() else { break };
            let (have, ahead) =
                (self.given_before(&first).len(), self.allocation.blocks.ahead(scheme));
            if have.saturating_add(ahead) < first.number {
                break;
            }
            if let Some(queue) = self.allocation.queues.get_mut(scheme) {
                queue.waiting.pop_front();
            }
            self.give_addresses(&first);
        }
        self.allocation.due.insert(scheme.to_owned());
    }

    /// There are enough, or they are made here.
    fn give_addresses(&mut self, needing: &Needing) {
        let waits = needing.errand.request();
        if waits.is_some_and(|at| self.bus.pending.get(at).is_none()) {
            // Whoever asked has been told otherwise, or is gone.
            return;
        }
        let mut urls = self.given_before(needing);
        urls.truncate(needing.number);
        let mut new = Vec::new();
        while urls.len().saturating_add(new.len()) < needing.number {
            match self.next_address(needing) {
                Some(url) => new.push(url),
                None => {
                    let refusal = Refusal::new(Reason::Overloaded, "there is no free address");
                    return self.allocated(&needing.errand, Err(refusal));
                }
            }
        }
        if let (false, Some(key)) = (new.is_empty(), self.key_of(needing)) {
            let change = self.allocation.reuse.add(&key, &new);
            self.persist(change);
        }
        urls.append(&mut new);
        self.allocated(&needing.errand, Ok(urls));
    }

    fn next_address(&mut self, needing: &Needing) -> Option<Arc<str>> {
        let url = if self.settings.addresses_from_node {
            let url = self.allocation.blocks.next(&needing.scheme)?;
            let change = self.allocation.blocks.held(&url, &needing.holder)?;
            self.persist(change);
            url
        } else {
            let (scheme, home) = (&needing.scheme, self.settings.domain.clone());
            let guid = self.ua.guids.next();
            let url = format!("{scheme}://{home}/{guid}");
            Address::parse(&url).ok().filter(|url| self.is_unknown(url.as_str()))?;
            Arc::from(url)
        };
        let (Holder::User(uid) | Holder::Hyperties(uid)) = needing.holder;
        self.nobody_listens(&url);
        self.reserve(&url, uid);
        Some(url)
    }

    /// Whether a user may claim it.
    pub(crate) fn is_allocated_to_others(&self, url: &str, uid: u32) -> bool {
        self.allocation.blocks.is_anothers(url, Some(&Holder::User(uid)))
            || self.allocation.reuse.is_hypertys(url)
    }

    /// Whether nobody has or had it.
    pub(crate) fn is_unknown(&self, url: &str) -> bool {
        let names = &self.bus.names;
        names.is_free(url) && !self.allocation.blocks.is_anothers(url, None)
    }

    /// Nobody has this address any more; it is not given to others.
    pub(crate) fn address_gone(&mut self, url: &str) {
        let forgotten = self.allocation.reuse.forget(url);
        let returns = self.allocation.blocks.returns(url);
        self.allocation.give_due |= returns.is_some();
        for change in forgotten.into_iter().chain(returns) {
            self.persist(change);
        }
    }

    /// The time for something has come.
    pub(crate) fn allocation_tick(&mut self) {
        let (now, allocation) = (self.bus.now, &mut self.allocation);
        for (scheme, queue) in &mut allocation.queues {
            if queue.retry_at.take_if(|at| *at <= now).is_some() {
                allocation.due.insert(scheme.clone());
            }
        }
        allocation.give_due |= allocation.give_at.take_if(|at| *at <= now).is_some();
    }

    /// Asks the node for what is needed, and tells it what nobody has any more.
    pub(crate) fn ask_for_addresses(&mut self) {
        while let Some(scheme) = self.allocation.due.pop_first() {
            self.ask_for_block(&scheme);
        }
        if std::mem::take(&mut self.allocation.give_due) {
            self.give_back();
        }
    }

    fn ask_for_block(&mut self, scheme: &str) {
        let ahead = self.allocation.blocks.ahead(scheme);
        let Some(queue) = self.allocation.queues.get_mut(scheme) else { return };
        let wanted = queue.waiting.front().map_or(0, |first| first.number);
        let rests = queue.waiting.is_empty() && queue.retry_at.is_some();
        let enough = queue.waiting.is_empty() && ahead >= ALLOCATION_LOW;
        let off = self.bus.stopping || !self.settings.addresses_from_node;
        if queue.flight.is_some() || rests || enough || (off && queue.waiting.is_empty()) {
            return;
        }
        let name: Arc<str> = Arc::from(self.ua.guids.next());
        (queue.flight, queue.retry_at) = (Some(Arc::clone(&name)), None);
        let number = ALLOCATION_BLOCK.max(wanted);
        let mut body = json!({"value": {"number": number, "allocationKey": &*name}});
        // The scheme of hyperties goes without saying (runtime-core §4.7).
        if let (true, Some(object)) = (scheme != "hyperty", body.as_object_mut()) {
            object.insert("scheme".to_owned(), json!(scheme));
        }
        let change = self.allocation.blocks.asked(&name);
        self.persist(change);
        let purpose = Purpose::Block(scheme.to_owned());
        self.ask_node(MessageType::Create, &body, purpose);
    }

    fn ask_node(&mut self, kind: MessageType, body: &Value, purpose: Purpose) {
        self.ask(Asking {
            from: Part::Allocation,
            to: format!("domain://msg-node.{}/address-allocation", self.settings.domain),
            kind,
            body: body.to_string(),
            source: None,
            within_ms: None,
            purpose,
        });
    }

    /// The node allocated a block, or did not.
    pub(crate) fn block_answered(&mut self, scheme: &str, outcome: Outcome) {
        let Some(queue) = self.allocation.queues.get_mut(scheme) else { return };
        let Some(name) = queue.flight.take() else { return };
        // Whether it did is not known of a node that was not heard to the end.
        let unsure = match &outcome {
            Outcome::Refused(refusal) => matches!(
                refusal.reason,
                Reason::Deadline
                    | Reason::StubDied
                    | Reason::Undeployed
                    | Reason::Stopping
                    | Reason::TooLarge
            ),
            Outcome::Said { .. } => false,
        };
        let blocks = &mut self.allocation.blocks;
        let asked = if unsure { blocks.returns(&name) } else { blocks.gone(&name) };
        self.allocation.give_due |= unsure;
        if let Some(change) = asked {
            self.persist(change);
        }
        match outcome.agreed().and_then(|body| self.take_block(scheme, &name, &body)) {
            Ok(()) => {
                if let Some(queue) = self.allocation.queues.get_mut(scheme) {
                    queue.failures = 0;
                }
                self.serve_queue(scheme);
            }
            Err(refusal) => self.no_block(scheme, &refusal),
        }
    }

    /// Takes every address that the node may allocate: of the scheme that was asked for, of its
    /// domain, and nobody's. At least one.
    fn take_block(&mut self, scheme: &str, name: &Arc<str>, body: &[u8]) -> Result<(), Refusal> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let listed = body.pointer("/value/allocated").and_then(Value::as_array);
        let texts = listed.into_iter().flatten().filter_map(Value::as_str);
        let mut any = false;
        for text in texts.take(ALLOCATIONS_PER_REQUEST) {
            let Ok(url) = Address::parse(text) else { continue };
            let proper = url.scheme() == scheme
                && url.host() == self.settings.domain
                && !url.path().is_empty();
            if proper && self.is_unknown(url.as_str()) {
                let change = self.allocation.blocks.allocated(&Arc::from(url.as_str()), name);
                self.persist(change);
                any = true;
            }
        }
        let none = || Refusal::new(Reason::NodeRefused, "the node allocated no usable address");
        any.then_some(()).ok_or_else(none)
    }

    fn no_block(&mut self, scheme: &str, refusal: &Refusal) {
        let now = self.bus.now;
        let Some(queue) = self.allocation.queues.get_mut(scheme) else { return };
        queue.retry_at = Some(later(now, queue.failures));
        queue.failures = queue.failures.saturating_add(1);
        for needing in std::mem::take(&mut queue.waiting) {
            self.allocated(&needing.errand, Err(refusal.clone()));
        }
    }

    fn give_back(&mut self) {
        let allocation = &mut self.allocation;
        let ready = allocation.giving.is_none() && allocation.give_at.is_none();
        if !ready || self.bus.stopping || !self.settings.has_home_stub() {
            return;
        }
        let Some(giving) = allocation.blocks.next_returning(ALLOCATIONS_PER_REQUEST) else {
            return;
        };
        let body = match &giving {
            Giving::Addresses(list) => {
                let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
                json!({"childrenResources": list})
            }
            Giving::Allocation(name) => json!({"resource": &**name}),
        };
        allocation.giving = Some(giving);
        self.ask_node(MessageType::Delete, &body, Purpose::GiveBack);
    }

    /// The node took addresses back, or did not.
    pub(crate) fn give_back_answered(&mut self, outcome: Outcome) {
        let Some(giving) = self.allocation.giving.take() else { return };
        let unknown = matches!(outcome, Outcome::Said { code: UNKNOWN, .. });
        let now = self.bus.now;
        if outcome.agreed().is_err() && !unknown {
            let allocation = &mut self.allocation;
            allocation.give_at = Some(later(now, allocation.give_failures));
            allocation.give_failures = allocation.give_failures.saturating_add(1);
            return;
        }
        self.allocation.give_failures = 0;
        let texts = match giving {
            Giving::Addresses(list) => list,
            Giving::Allocation(name) => vec![name],
        };
        for text in texts {
            if let Some(change) = self.allocation.blocks.gone(&text) {
                self.persist(change);
            }
        }
        self.allocation.give_due = self.allocation.blocks.is_any_returning();
    }

    /// What was kept comes back. What nobody has is given back some time soon.
    pub(crate) fn restore_addresses(&mut self, blocks: &[BlockRow], reuse: &[ReuseRow]) {
        for row in blocks {
            self.allocation.blocks.restore(row, &self.settings.domain);
        }
        for row in reuse {
            self.allocation.reuse.restore(row);
        }
        if self.allocation.blocks.is_any_returning() {
            let jitter = (self.ua.random() % RESTORE_JITTER_MS).saturating_add(1);
            self.allocation.give_at = Some(Time(self.bus.now.0.saturating_add(jitter)));
        }
    }
}
