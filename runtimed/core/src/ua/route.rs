//! Where a route key leads, and what a stub may speak for.

use super::component::{AfterStop, Component, State};
use super::{Refusal, Ua, UaOut};
use crate::input::{LinkId, Time};
use protocol::address::{Address, RouteKey};
use protocol::reason::Reason;

/// Where a route key leads now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StubRoute {
    /// To this link.
    Ready {
        /// Of the worker.
        link: LinkId,
        /// Of the component.
        url: Address,
    },
    /// To a stub that is being started: park.
    Deploying,
    /// Nowhere, and why.
    Refused(Refusal),
    /// Nowhere yet: a message would start a deploy.
    Absent,
}

/// A worker that speaks for remote addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// What it serves.
    pub(crate) key: RouteKey,
    /// Address of the component.
    pub(crate) url: Address,
    /// Address of its sandbox.
    pub(crate) sandbox: Address,
}

/// Whether it is a requester without its connection: messages wait for that.
fn is_unconnected(component: &Component) -> bool {
    matches!(component.key, RouteKey::P2p(_)) && component.status != "live"
}

impl Ua {
    /// Where the key leads now; changes nothing.
    pub(crate) fn route(&self, now: Time, key: &RouteKey) -> StubRoute {
        if self.stopping {
            return StubRoute::Refused(Refusal::new(Reason::Stopping, "the runtime is stopping"));
        }
        let Some(component) = self.components.get(key) else {
            return if let RouteKey::Hyperty(url) = key {
                let text = format!("there is no hyperty {url}");
                StubRoute::Refused(Refusal::new(Reason::UnknownAddress, text))
            } else if key.domain() == "localhost" {
                let text = "no stub serves the domain localhost";
                StubRoute::Refused(Refusal::new(Reason::NoRoute, text))
            } else {
                StubRoute::Absent
            };
        };
        match component.state {
            State::Active if is_unconnected(component) => {
                if component.status == "failed" {
                    let text = format!("the runtime of {} cannot be reached", key.domain());
                    return StubRoute::Refused(Refusal::new(Reason::PeerDown, text).retry(1_000));
                }
                StubRoute::Deploying
            }
            State::Active => match component.stub.and_then(|id| self.sandboxes.get(&id)?.link) {
                Some(link) => StubRoute::Ready { link, url: component.url.clone() },
                None => StubRoute::Deploying,
            },
            State::Deploying | State::Backoff => StubRoute::Deploying,
            State::Stopping if component.starts_after_stop() => StubRoute::Deploying,
            // Stopped for being idle: a message wakes it.
            State::Stopping
                if component.after_stop == AfterStop::Sleep
                    || component.after_stop == AfterStop::Shed && !component.rests(now) =>
            {
                StubRoute::Absent
            }
            State::Dormant | State::Failed if !component.rests(now) => StubRoute::Absent,
            State::Dormant | State::Quarantined | State::Failed | State::Stopping => {
                StubRoute::Refused(component.refusal(now))
            }
        }
    }

    /// As [`Ua::route`], but starts what is absent.
    pub(crate) fn stub_for(
        &mut self,
        now: Time,
        key: &RouteKey,
        cause: &str,
        out: &mut Vec<UaOut>,
    ) -> StubRoute {
        self.moved = true;
        match self.route(now, key) {
            StubRoute::Absent => match self.start(now, key, cause, out) {
                Ok(()) => StubRoute::Deploying,
                Err(refusal) => StubRoute::Refused(refusal),
            },
            other => other,
        }
    }

    /// What a worker's link may speak for.
    pub(crate) fn bridge_of(&self, link: LinkId) -> Option<&Bridge> {
        let sandbox = self.sandboxes.get(self.links.get(&link)?)?;
        sandbox.bridge.as_ref()
    }

    /// A message passed: the component is not idle.
    pub(crate) fn used(&mut self, at: Time, key: &RouteKey) {
        if let Some(component) = self.components.get_mut(key) {
            component.last_used = component.last_used.max(at);
        }
    }

    /// Somebody is subscribed through the stub, or no longer.
    pub(crate) fn hold(&mut self, key: RouteKey, held: bool) {
        if held {
            self.held.insert(key);
        } else {
            self.held.remove(&key);
        }
    }

    /// Whether somebody is subscribed through it, or it acts by itself: it is not idle.
    pub(crate) fn is_held(&self, key: &RouteKey) -> bool {
        matches!(key, RouteKey::Hyperty(_)) || self.held.contains(key)
    }
}
