//! Domain login (seeds `deploy-protostub` and `deploy-iwstub`: stubs are connected with credentials of
//! the Identity Module): before code runs whose domain names an identity provider, the runtime asks
//! the proxy of that provider, over the bus, and puts what it answers into the configuration.
//!
//! Credentials are asked for at each start, go from the answer into the assignment of the one
//! sandbox that waits for them, and are kept nowhere. Nobody but the runtime speaks to such a proxy
//! (`resolve.rs`), and the monitor does not show what it says (`bus/watch.rs`).

use crate::bus::own::{Asking, Outcome, Part, Purpose};
use crate::input::Time;
use crate::limits::LOGIN_SPARE_MS;
use crate::ua::{Refusal, Ua, UaOut};
use protocol::address::RouteKey;
use protocol::message::MessageType;
use protocol::reason::Reason;
use serde_json::{Value, json};

/// The stage of a deploy.
pub(super) const LOGIN: &str = "login";

impl Ua {
    /// Whether the stub is to be logged in first; if so, its proxy is asked, once.
    pub(super) fn waits_for_login(
        &mut self,
        now: Time,
        key: &RouteKey,
        out: &mut Vec<UaOut>,
    ) -> bool {
        let logs_in = matches!(key, RouteKey::Domain(_) | RouteKey::Legacy { .. });
        let provider = self.domain_settings(key).login.clone().filter(|_| logs_in);
        let Some(provider) = provider else { return false };
        let deploy = self.components.get_mut(key).and_then(|component| component.deploy.as_mut());
        let Some(deploy) = deploy else { return false };
        if std::mem::replace(&mut deploy.asks_login, true) {
            return true;
        }
        let started = deploy.started;
        let left = deploy.deadline.0.saturating_sub(now.0).saturating_sub(LOGIN_SPARE_MS).max(1);
        let to = format!("domain-idp://{provider}");
        self.stage(now, key, LOGIN, &to, out);
        let params = json!({"resources": [key.domain()]});
        let body = json!({"resource": "identity", "method": "getAccessToken", "params": params});
        out.push(UaOut::Ask(Box::new(Asking {
            from: Part::Identity,
            to,
            kind: MessageType::Execute,
            body: body.to_string(),
            source: None,
            within_ms: Some(u32::try_from(left).unwrap_or(u32::MAX)),
            purpose: Purpose::Login(key.clone(), started),
        })));
        true
    }

    /// What the proxy said to the deploy that started then.
    pub(crate) fn logged_in(
        &mut self,
        now: Time,
        (key, started): (&RouteKey, Time),
        outcome: Outcome,
        out: &mut Vec<UaOut>,
    ) {
        self.moved = true;
        let deploy = self.components.get_mut(key).and_then(|component| component.deploy.as_mut());
        let Some(deploy) = deploy.filter(|deploy| deploy.started == started) else { return };
        // If the sandbox was lost meanwhile, the next one asks again.
        deploy.asks_login = false;
        match credentials(outcome) {
            Ok(credentials) => self.assign(now, key, Some(credentials), out),
            Err(mut refusal) => {
                refusal.desc = format!("the stub is not logged in: {}", refusal.desc);
                self.fail(now, key, refusal.at(LOGIN), out);
            }
        }
    }
}

/// The `value` of a good answer.
fn credentials(outcome: Outcome) -> Result<Value, Refusal> {
    let body = outcome.agreed()?;
    let value = serde_json::from_slice(&body).ok().and_then(|mut body: Value| {
        let value = body.get_mut("value").map(Value::take)?;
        (!value.is_null()).then_some(value)
    });
    value.ok_or_else(|| Refusal::new(Reason::NodeRefused, "the answer has no value"))
}
