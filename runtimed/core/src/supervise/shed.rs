//! A component that an application needs no longer: its process ends and its code is forgotten; its
//! address and its pins stay. What is given up while it starts, or between two restarts, rests as what
//! failed does: who asks for a stub and gives it up in a loop fetches its code no more often.

use crate::bucket::Bucket;
use crate::effect::Effect;
use crate::input::{LinkId, Time};
use crate::limits::{FAILED_MS, SHEDS_BURST, SHEDS_PER_SECOND};
use crate::ua::component::{AfterStop, State};
use crate::ua::{Refusal, Removal, Ua, UaOut};
use protocol::address::RouteKey;
use protocol::reason::Reason;

impl Ua {
    /// Ends it, if nobody has said that it is to start again.
    pub(crate) fn shed(
        &mut self,
        now: Time,
        key: &RouteKey,
        out: &mut Vec<UaOut>,
    ) -> Result<Removal, Refusal> {
        let unknown = || Refusal::new(Reason::UnknownAddress, format!("there is no stub of {key}"));
        let component = self.components.get_mut(key).ok_or_else(unknown)?;
        self.moved = true;
        match component.state {
            State::Deploying | State::Active => {
                component.after_stop = AfterStop::Shed;
                let refusal = if component.state == State::Deploying {
                    let failures = component.failures;
                    let wait = FAILED_MS.get(failures).or(FAILED_MS.last()).copied();
                    let wait = wait.unwrap_or_default();
                    component.failures = failures.saturating_add(1);
                    component.retry_at = Some(Time(now.0.saturating_add(wait)));
                    removed(key).retry(wait)
                } else {
                    component.retry_at = None;
                    removed(key)
                };
                component.last_refusal = Some(refusal.clone());
                self.remove(now, key, "removed", out);
                out.push(UaOut::Failed { key: key.clone(), refusal });
                Ok(Removal::UnderWay)
            }
            State::Stopping if component.starts_after_stop() => {
                let text = format!("the stub of {key} is being started again");
                Err(Refusal::new(Reason::Policy, text))
            }
            State::Stopping => Ok(Removal::UnderWay),
            State::Backoff => {
                component.state = State::Dormant;
                component.last_refusal = Some(removed(key));
                out.push(UaOut::Failed { key: key.clone(), refusal: removed(key) });
                self.drop_package(key, out);
                Ok(Removal::Done)
            }
            // A rest is over when its time is.
            State::Dormant | State::Quarantined | State::Failed => {
                self.drop_package(key, out);
                Ok(Removal::Done)
            }
        }
    }

    /// The next deploy fetches its code again.
    pub(crate) fn drop_package(&mut self, key: &RouteKey, out: &mut Vec<UaOut>) {
        let package = self.components.get_mut(key).and_then(|component| component.package.take());
        if let Some(package) = package {
            out.push(UaOut::Effect(Effect::DropCode { code: package.code }));
        }
    }

    /// The link that leads to its process.
    pub(crate) fn link_of(&self, key: &RouteKey) -> Option<LinkId> {
        self.sandboxes.get(&self.components.get(key)?.stub?)?.link
    }

    /// Whether it is there for others than who send through it: an operator asked for it, or it
    /// brings the messages of a session with a legacy service.
    pub(crate) fn is_for_others(&self, key: &RouteKey) -> bool {
        self.components.get(key).is_some_and(|component| {
            let runs = matches!(component.state, State::Active | State::Backoff);
            component.by_operator
                || !component.waiters.is_empty()
                || runs && component.kind() == "interworking"
        })
    }

    /// Whether one more end of a stub is within what a user's applications may do.
    pub(crate) fn may_shed(&mut self, now: Time, uid: u32) -> Result<(), Refusal> {
        if !self.sheds.contains_key(&uid) {
            // Of whom nothing was heard for a while nothing is remembered.
            self.sheds.retain(|_, bucket| !bucket.is_full(now));
        }
        let full = || Bucket::with_burst(SHEDS_PER_SECOND, SHEDS_BURST, now);
        if self.sheds.entry(uid).or_insert_with(full).take(now) {
            return Ok(());
        }
        let text = "this user's applications end too many stubs";
        Err(Refusal::new(Reason::Flood, text).retry(1_000))
    }
}

fn removed(key: &RouteKey) -> Refusal {
    Refusal::new(Reason::Undeployed, format!("the stub of {key} was removed"))
}
