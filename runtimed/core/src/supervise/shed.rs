//! A component that an application needs no longer: its process ends and its code is forgotten; its
//! address and its pins stay.

use crate::effect::Effect;
use crate::input::{LinkId, Time};
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
                self.remove(now, key, "removed", out);
                out.push(UaOut::Failed { key: key.clone(), refusal: removed(key) });
                Ok(Removal::UnderWay)
            }
            State::Stopping if component.starts_after_stop() => {
                let text = format!("the stub of {key} is being started again");
                Err(Refusal::new(Reason::Policy, text))
            }
            State::Stopping => Ok(Removal::UnderWay),
            State::Backoff => {
                component.state = State::Dormant;
                component.retry_at = None;
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

    /// Whether an operator waits for it.
    pub(crate) fn is_waited_for(&self, key: &RouteKey) -> bool {
        self.components.get(key).is_some_and(|component| !component.waiters.is_empty())
    }
}

fn removed(key: &RouteKey) -> Refusal {
    Refusal::new(Reason::Undeployed, format!("the stub of {key} was removed"))
}
