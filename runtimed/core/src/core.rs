//! The core: one input at a time in, effects out.

mod operators;
mod restore;
#[cfg(test)]
mod tests;

use crate::bus::apps::Joining;
use crate::bus::counters::Counters;
use crate::bus::{Bus, LinkKind, Peer};
use crate::effect::Effect;
use crate::input::{Input, LinkId, SandboxId, Time};
use crate::p2p::P2p;
use crate::registry::allocation::Allocation;
use crate::registry::leases::Leases;
use crate::settings::Settings;
use crate::ua::{Refusal, StubRoute, Ua, UaInput, UaOut};
use protocol::frame::Frame;
use protocol::reason::Reason;

/// MessageBus, Registry and RuntimeUA as one deterministic state machine.
#[derive(Debug)]
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) bus: Bus,
    pub(crate) ua: Ua,
    pub(crate) allocation: Allocation,
    pub(crate) leases: Leases,
    pub(crate) p2p: P2p,
    /// What the RuntimeUA wants of the bus; carried out before an input ends.
    pub(crate) ua_out: Vec<UaOut>,
    /// What is wrong with the store.
    store_trouble: Option<String>,
    /// Answers to the questions of tests.
    #[cfg(test)]
    pub(crate) heard: Vec<(u32, crate::bus::own::Outcome)>,
}

impl Core {
    /// A core that knows nobody yet.
    pub fn new(settings: Settings) -> Self {
        let (bus, ua) = (Bus::new(&settings), Ua::new(&settings));
        Self {
            settings,
            bus,
            ua,
            allocation: Allocation::default(),
            leases: Leases::default(),
            p2p: P2p::default(),
            ua_out: Vec::new(),
            store_trouble: None,
            #[cfg(test)]
            heard: Vec::new(),
        }
    }

    /// Takes one input and says what the shell is to do, in order.
    pub fn handle(&mut self, now: Time, input: Input<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        self.handle_into(now, input, &mut out);
        out
    }

    /// As [`Self::handle`], into a vector that is used again.
    pub fn handle_into(&mut self, now: Time, input: Input<'_>, out: &mut Vec<Effect>) {
        self.bus.now = self.bus.now.max(now);
        std::mem::swap(&mut self.bus.out, out);
        self.take(input);
        self.settle_all();
        self.ua.keep_marked(self.bus.now, &mut self.bus.out);
        self.ua.reckon();
        self.keep_subscriptions();
        std::mem::swap(&mut self.bus.out, out);
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Time> {
        let nodes = self.bus.nodes.earliest().filter(|_| !self.bus.stopping);
        let (slow, park) = (self.bus.slow.earliest(), self.bus.park.earliest());
        let (pending, changes) = (self.bus.pending.earliest(), self.bus.changes.earliest());
        let bus = [pending, park, slow, nodes, changes, self.p2p.earliest()];
        let registry = [self.allocation.earliest(), self.next_registration()];
        bus.into_iter().chain(registry).flatten().chain(self.ua.next_deadline()).min()
    }

    /// What became of all messages.
    pub fn counters(&self) -> Counters {
        Counters { queued: self.bus.queued(), ..self.bus.counters.clone() }
    }

    /// Requests that wait for a response, and messages that wait for a route; without what the
    /// runtime itself asks message nodes, now and again as long as they do not agree.
    pub fn waiting(&self) -> (usize, usize) {
        let own = self.bus.park.iter().filter(|parked| parked.origin == Peer::Core).count();
        let asked = self.bus.pending.len().saturating_sub(self.bus.own.open());
        (asked, self.bus.park.frames().saturating_sub(own))
    }

    /// Checks what must always hold; for the simulation.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self) -> Result<(), String> {
        self.bus.check()?;
        self.ua.check()?;
        self.allocation.check()?;
        self.leases.check()?;
        self.check_p2p()?;
        for (key, count) in self.bus.park.keys() {
            let route = self.ua.route(self.bus.now, key);
            if route != StubRoute::Deploying {
                return Err(format!("{count} messages wait for {key}, which is {route:?}"));
            }
        }
        Ok(())
    }

    fn take(&mut self, input: Input<'_>) {
        match input {
            Input::Frame { link, frame } => self.on_frame(link, frame),
            Input::Disposed { link, frames, bytes: _ } => self.bus.disposed(link, frames),
            Input::AppJoined { link, name, uid, addresses } => {
                self.app_joined(&Joining { link, name, uid, addresses });
            }
            Input::AppLeft { link, unsent } => self.app_left(link, unsent),
            Input::EdgeRefused { link, reason } => self.edge_refused(link, reason),
            Input::Spawned { sandbox, link, pid, namespaces } => {
                self.spawned(sandbox, link);
                self.sandbox(UaInput::Spawned { sandbox, link, pid, namespaces });
            }
            Input::Exited { sandbox, exit, unsent } => {
                self.exited(sandbox, UaInput::Exited { sandbox, exit }, unsent);
            }
            Input::SpawnFailed { sandbox, text } => {
                self.exited(sandbox, UaInput::SpawnFailed { sandbox, text }, Vec::new());
            }
            Input::Confined { sandbox, report } => {
                self.sandbox(UaInput::Confined { sandbox, report });
            }
            Input::Verified { sandbox, outcome } => {
                self.sandbox(UaInput::Verified { sandbox, outcome });
            }
            Input::Limited { sandbox, outcome } => {
                self.sandbox(UaInput::Limited { sandbox, outcome });
            }
            Input::Ready { sandbox } => self.sandbox(UaInput::Ready { sandbox }),
            Input::Ctl { sandbox, up, stream, code } => {
                self.sandbox(UaInput::Ctl { sandbox, up, stream, code });
            }
            Input::Opened { sandbox, req, outcome } => {
                self.sandbox(UaInput::Opened { sandbox, req, outcome });
            }
            Input::Violation { sandbox, text } => {
                self.sandbox(UaInput::Violation { sandbox, text });
            }
            Input::Incompatible { sandbox, text } => {
                self.sandbox(UaInput::Incompatible { sandbox, text });
            }
            Input::Heartbeat { sandbox, answered } => {
                self.sandbox(UaInput::Heartbeat { sandbox, answered });
            }
            Input::Operator { token, command, rss } => self.operator(token, command, &rss),
            Input::OperatorGone { token } => {
                self.bus.watchers.remove(token);
                self.operator_gone(token);
                self.ua.operator_gone(token);
            }
            Input::Configured { settings } => self.configured(*settings),
            Input::Restored(rows) => self.restore(rows),
            Input::StoreState { trouble } => self.store_trouble = trouble,
            // No route changes with these.
            Input::Clock { epoch_ms } => self.clock_is_set(epoch_ms),
            Input::Memory(seen) => self.ua.memory(self.bus.now, seen, &mut self.ua_out),
            Input::Tick => {
                self.sweep();
                self.cut_slow();
                self.keep_used();
                self.nodes_tick();
                self.changes_tick();
                self.allocation_tick();
                self.p2p_tick();
                self.sandbox(UaInput::Tick);
            }
            Input::Stop => {
                self.stop_bus();
                self.sandbox(UaInput::Stop);
            }
        }
    }

    /// What is stopped for being idle is used by nobody: nothing is pending or subscribed through
    /// it, and it was silent, too.
    fn keep_used(&mut self) {
        for (key, link) in self.ua.about_to_rest(self.bus.now) {
            if let Some(at) = self.bus.last_use(link) {
                self.ua.used(at, &key);
            }
        }
    }

    /// Other settings are in force from now on. Routes may change with them.
    fn configured(&mut self, settings: Settings) {
        self.settings = settings.in_place_of(&self.settings);
        self.bus.configure(&self.settings);
        self.ua.configure(&self.settings);
        let has_home_stub = self.settings.has_home_stub();
        for address in self.bus.claimed() {
            if self.may_be_told_home(&address) {
                self.connected(&address, has_home_stub);
            }
        }
        self.load_configured();
    }

    /// What is stamped or kept from now on is so by the new time.
    fn clock_is_set(&mut self, epoch_ms: u64) {
        self.settings.epoch_ms = epoch_ms;
        self.ua.clock_is_set(epoch_ms);
    }

    /// Something about a sandbox: routes may change, so that remembered ones are void.
    pub(crate) fn sandbox(&mut self, input: UaInput) {
        self.bus.names.touch();
        self.ua.sandbox_input(self.bus.now, input, &mut self.ua_out);
    }

    fn spawned(&mut self, sandbox: SandboxId, link: LinkId) {
        self.bus.add_link(link, LinkKind::Worker { sandbox });
        let address = self.ua.sandbox_address(sandbox);
        self.give(link, address.as_str());
    }

    fn exited(&mut self, sandbox: SandboxId, input: UaInput, unsent: Vec<Frame>) {
        let link = self.bus.sandboxes.get(&sandbox).copied();
        if let Some(link) = link {
            let gone = self.hyperties_of(link);
            self.link_ended(link, unsent);
            for address in gone {
                self.connected(&address, false);
                self.registered(&address, false);
            }
        }
        self.sandbox(input);
        self.pump();
        if let Some(link) = link {
            let died = "the worker took the message and died before it answered";
            self.finish(link, &Refusal::new(Reason::StubDied, died));
        }
    }

    /// Something was refused before it was a message.
    fn edge_refused(&mut self, link: LinkId, reason: Reason) {
        let by = Peer::Link(link);
        if let Some(times) = self.coalesce(by, reason) {
            let detail = format!("refused at the edge ({times} times)");
            self.record_refusal(by, reason, &detail);
        }
    }

    /// Carries out what follows from an input, until nothing follows any more. A part whose
    /// question was refused waits before it asks again, so that this ends.
    fn settle_all(&mut self) {
        loop {
            self.pump();
            self.hear_answers();
            let for_nodes =
                self.has_news_for_nodes() || self.allocation.has_news() || self.p2p.has_news();
            if !for_nodes && !self.has_news_for_registry() && self.ua_out.is_empty() {
                return;
            }
            self.tell_nodes();
            self.ask_for_addresses();
            self.tell_registry();
            self.tell_paths();
        }
    }

    /// Carries out what the RuntimeUA said, in order, until it says nothing more.
    pub(crate) fn pump(&mut self) {
        while !self.ua_out.is_empty() {
            for out in std::mem::take(&mut self.ua_out) {
                match out {
                    UaOut::Effect(effect) => self.bus.out.push(effect),
                    UaOut::Active { key, link, url } => {
                        self.active(&key, link, &url);
                        self.paths_are_unknown(&key, true);
                    }
                    UaOut::Failed { key, refusal } => self.failed(&key, &refusal),
                    UaOut::Down { key, link, again, refusal } => {
                        self.peer_stub_down(&key, again);
                        self.paths_are_unknown(&key, false);
                        self.stub_down(&key, link, again, &refusal);
                    }
                    UaOut::Ask(asking) => self.ask(*asking),
                    UaOut::Removed { key, url } => self.tell_removed(&key, url.as_str()),
                    UaOut::Live { key } => {
                        self.node_is_back(&key);
                        self.paths_are_unknown(&key, true);
                    }
                    UaOut::Connection(said) => self.peer_said(said),
                    UaOut::DomainLeft { domain } => self.domain_left(&domain),
                    UaOut::Publish { resource, from, body } => {
                        self.publish(resource.as_str(), from.as_str(), &body);
                    }
                }
            }
        }
    }
}
