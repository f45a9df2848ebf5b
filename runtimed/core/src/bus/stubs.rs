//! `<runtime>/ua`: an application asks for a stub or a hyperty, or says that it needs it no longer
//! (seed `deploy-protostub`, steps 1 and 20).

use super::Peer;
use super::answer::Said;
use super::hyperties::hyperty_told;
use super::pending::Waits;
use crate::core::Core;
use crate::ua::hyperty::Hyperty;
use crate::ua::{Refusal, Removal, StubRoute};
use protocol::address::RouteKey;
use protocol::frame::FrameRef;
use protocol::reason::Reason;
use serde_json::{Value, json};

/// What came of it.
pub(super) enum Asked {
    /// The stub is there, or is gone: the answer.
    Done(String),
    /// It is answered when this is so.
    Waits(Waits),
    /// It is answered when this runs.
    Hyperty(Hyperty),
}

impl Core {
    /// `create` of `{"type":"protostub","domain":…}` or `{"type":"hyperty","descriptor":…}`.
    pub(super) fn ua_create(&mut self, by: Peer, view: &FrameRef<'_>) -> Result<Asked, Refusal> {
        if let Some(value) = hyperty_in(view.body()) {
            return self.wanted_hyperty(by, &value).map(Asked::Hyperty);
        }
        let key = self.wanted_stub(by, view)?;
        match self.ua.stub_for(self.bus.now, &key, "asked for at ua", &mut self.ua_out) {
            StubRoute::Ready { .. } => Ok(Asked::Done(self.told_of(&key))),
            StubRoute::Deploying | StubRoute::Absent => Ok(Asked::Waits(Waits::Deploy(key))),
            StubRoute::Refused(refusal) => Err(refusal),
        }
    }

    /// `delete` of the same. Its process ends and its code is forgotten; its address, and what it
    /// may do, stay for the next deploy: to forget those is the operators' right. A hyperty is its
    /// user's, and is forgotten but for its address.
    pub(super) fn ua_delete(&mut self, by: Peer, view: &FrameRef<'_>) -> Result<Asked, Refusal> {
        if let Some(value) = hyperty_in(view.body()) {
            return self.delete_hyperty(by, &value);
        }
        let key = self.wanted_stub(by, view)?;
        if self.is_used_by_others(&key, by) {
            let text = format!("others use the stub of {key}");
            return Err(Refusal::new(Reason::Policy, text));
        }
        if let Ok(uid) = self.user_of(by) {
            self.ua.may_shed(self.bus.now, uid)?;
        }
        match self.ua.shed(self.bus.now, &key, &mut self.ua_out)? {
            Removal::Done => Ok(Asked::Done(self.told_of(&key))),
            Removal::UnderWay => Ok(Asked::Waits(Waits::Removal(key))),
        }
    }

    fn wanted_stub(&self, by: Peer, view: &FrameRef<'_>) -> Result<RouteKey, Refusal> {
        if self.bus.is_worker(by) {
            return Err(Refusal::new(Reason::Policy, "only applications ask for stubs"));
        }
        wanted_stub(view.body(), &self.settings.domain)
    }

    /// Whether somebody else waits for it or is asked through it, is subscribed through it, or is
    /// known at its node; or whether it is not there for who sends through it alone.
    fn is_used_by_others(&self, key: &RouteKey, by: Peer) -> bool {
        let link = self.ua.link_of(key).map(Peer::Link);
        let asks = self.bus.pending.iter().any(|pending| {
            let through = match &pending.waits {
                Waits::At(peer) => Some(*peer) == link,
                Waits::Deploy(of) => of == key,
                Waits::Removal(_) | Waits::Parked | Waits::Nodes => false,
            };
            let asked = Some(pending.peer) == link && pending.waits != Waits::At(by);
            through && pending.peer != by || asked
        });
        let parked = self.bus.park.of(key).any(|parked| parked.origin != by);
        asks || parked || self.ua.is_held(key) || self.ua.is_for_others(key)
    }

    /// Everybody who waited for it to be active hears of it.
    pub(super) fn tell_created(&mut self, key: &RouteKey) {
        let body = self.told_of(key);
        for at in self.bus.pending.select(|p| matches!(&p.waits, Waits::Deploy(k) if k == key)) {
            self.settle(at, Said::Yes(&body));
        }
    }

    /// And so does everybody who waited for it to be gone.
    pub(crate) fn tell_removed(&mut self, key: &RouteKey, url: &str) {
        let body = match key {
            RouteKey::Hyperty(url) => hyperty_told(url, "undeployed"),
            _ => told(url, "disconnected"),
        };
        for at in self.bus.pending.select(|p| matches!(&p.waits, Waits::Removal(k) if k == key)) {
            self.settle(at, Said::Yes(&body));
        }
    }

    fn told_of(&self, key: &RouteKey) -> String {
        if let RouteKey::Hyperty(url) = key {
            return hyperty_told(url, "deployed");
        }
        let component = self.ua.components.get(key);
        component.map_or_else(String::new, |c| told(c.url.as_str(), c.status))
    }
}

/// The address under the name of the seeds, too, and what the stub says of itself.
fn told(url: &str, status: &str) -> String {
    json!({"code": 200, "value": {"url": url, "runtimeURL": url, "status": status}}).to_string()
}

/// What a body asks for, if that is a hyperty.
fn hyperty_in(body: &[u8]) -> Option<Value> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    let value = body.get_mut("value").map(Value::take).unwrap_or(body);
    let kind = value.get("type")?.as_str()?;
    kind.eq_ignore_ascii_case("hyperty").then_some(value)
}

fn wanted_stub(body: &[u8], home: &str) -> Result<RouteKey, Refusal> {
    let malformed = |text: &str| Refusal::new(Reason::Malformed, text);
    let body: Value =
        serde_json::from_slice(body).map_err(|_e| malformed("the body is not JSON"))?;
    let value = body.get("value").unwrap_or(&body);
    let member = |name: &str| value.get(name).and_then(Value::as_str);
    let kind = member("type").map(str::to_ascii_lowercase);
    let proxy = match kind.as_deref() {
        Some("protostub" | "interworking") => false,
        Some("idp-proxy" | "idpproxy") => true,
        _ => {
            let text =
                "only hyperties, protostubs and proxies of identity providers are deployed here";
            return Err(Refusal::new(Reason::NotImplemented, text));
        }
    };
    let domain = member("domain").ok_or_else(|| malformed("body.value.domain is missing"))?;
    let key = match RouteKey::parse(domain, home) {
        Some(RouteKey::Domain(domain)) if proxy => Some(RouteKey::Idp(domain)),
        other => other,
    };
    key.ok_or_else(|| Refusal::new(Reason::BadAddress, "body.value.domain is no domain"))
}

#[cfg(test)]
mod tests {
    use super::wanted_stub;
    use protocol::address::RouteKey;

    #[test]
    fn a_stub_is_asked_for_by_type_and_domain() {
        let code =
            |body: &str| wanted_stub(body.as_bytes(), "h.example").map_err(|r| r.reason.code());
        let key = Ok(RouteKey::Domain("a.example".to_owned()));
        assert_eq!(code(r#"{"value":{"type":"protostub","domain":"a.example"}}"#), key);
        assert_eq!(code(r#"{"type":"ProtoStub","domain":"a.example"}"#), key);
        let proxy = Ok(RouteKey::Idp("a.example".to_owned()));
        assert_eq!(code(r#"{"value":{"type":"idp-proxy","domain":"a.example"}}"#), proxy);
        assert_eq!(code(r#"{"type":"protostub","domain":"domain-idp://a.example"}"#), proxy);
        assert_eq!(code(r#"{"value":{"type":"hyperty","domain":"a.example"}}"#), Err(501));
        assert_eq!(code(r#"{"value":{"type":"protostub"}}"#), Err(400));
        assert_eq!(code(r#"{"value":{"type":"protostub","domain":"-"}}"#), Err(400));
        assert_eq!(code("x"), Err(400));
    }
}
