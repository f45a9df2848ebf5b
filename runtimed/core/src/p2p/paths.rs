//! What the home domain's message node is told of the stubs of connections (seed
//! `p2p-connection-messages`): the RuntimeUA says that the handler is here, the Registry that a
//! requester is, and each when it is not any more.
//!
//! A node that does not agree is asked again, later and later; one that was lost is told again.

use crate::bus::own::{Asking, Part, Purpose};
use crate::core::Core;
use crate::input::Time;
use crate::limits::NODE_RETRY_MS;
use crate::ua::Refusal;
use protocol::address::{Address, RouteKey};
use protocol::message::MessageType;
use serde_json::json;
use std::collections::BTreeMap;

/// One path.
#[derive(Debug)]
struct Path {
    key: RouteKey,
    wanted: bool,
    /// The node agreed, and has not been lost since.
    told: bool,
    /// A message is on its way.
    flight: bool,
    retry_at: Option<Time>,
    failures: usize,
}

impl Path {
    const fn differs(&self) -> bool {
        !self.flight && self.wanted != self.told
    }
}

/// All of them, by the stub's address.
#[derive(Debug, Default)]
pub(super) struct Paths {
    rows: BTreeMap<String, Path>,
    news: bool,
}

impl Paths {
    pub(super) fn earliest(&self) -> Option<Time> {
        self.rows.values().filter(|path| path.differs()).filter_map(|path| path.retry_at).min()
    }

    pub(super) const fn has_news(&self) -> bool {
        self.news
    }

    /// Nothing is kept for nobody.
    pub(super) fn check(&self) -> Result<(), String> {
        let idle = self.rows.iter().find(|(_, p)| !p.wanted && !p.told && !p.flight);
        idle.map_or(Ok(()), |(url, _)| Err(format!("nobody wants the path to {url}")))
    }
}

impl Core {
    /// The node is to know the way to a stub.
    pub(super) fn want_path(&mut self, key: &RouteKey, url: &Address, wanted: bool) {
        if !wanted || !self.settings.has_home_stub() {
            return;
        }
        let path = self.p2p.paths.rows.entry(url.to_string()).or_insert_with(|| Path {
            key: key.clone(),
            wanted,
            told: false,
            flight: false,
            retry_at: None,
            failures: 0,
        });
        path.wanted = true;
        self.p2p.paths.news = true;
    }

    /// The stub is gone.
    pub(super) fn unwant_paths(&mut self, key: &RouteKey) {
        for path in self.p2p.paths.rows.values_mut().filter(|path| path.key == *key) {
            path.wanted = false;
            path.retry_at = None;
            self.p2p.paths.news = true;
        }
        self.drop_paths();
    }

    fn drop_paths(&mut self) {
        self.p2p.paths.rows.retain(|_, path| path.wanted || path.told || path.flight);
    }

    /// The home domain's stub is there (again), or connected (again), or gone: the node knows
    /// nothing any more.
    pub(crate) fn paths_are_unknown(&mut self, key: &RouteKey, there: bool) {
        let home = &self.settings.domain;
        if !matches!(key, RouteKey::Domain(domain) if domain == home) {
            return;
        }
        let at = Time(self.bus.now.0.saturating_add(NODE_RETRY_MS.first().copied().unwrap_or(0)));
        for path in self.p2p.paths.rows.values_mut() {
            path.told = false;
            path.failures = 0;
            path.retry_at = (!there).then_some(at);
            self.p2p.paths.news |= there;
        }
        self.drop_paths();
    }

    /// The time to ask some again has come.
    pub(super) fn paths_tick(&mut self) {
        let now = self.bus.now;
        let mut rows = self.p2p.paths.rows.values();
        let due = rows.any(|path| path.differs() && path.retry_at.is_some_and(|at| at <= now));
        self.p2p.paths.news |= due;
    }

    /// Tells the node what it is to know.
    pub(crate) fn tell_paths(&mut self) {
        if !std::mem::take(&mut self.p2p.paths.news) || self.bus.stopping {
            return;
        }
        let now = self.bus.now;
        let mut asked = Vec::new();
        for (url, path) in &mut self.p2p.paths.rows {
            if path.differs() && path.retry_at.is_none_or(|at| at <= now) {
                path.flight = true;
                path.retry_at = None;
                asked.push(telling(&self.settings.domain, url, &path.key, path.wanted));
            }
        }
        for asking in asked {
            self.ask(asking);
        }
    }

    /// The node answered, or cannot be asked.
    pub(crate) fn path_answered(&mut self, url: &str, joined: bool, refused: Option<&Refusal>) {
        let now = self.bus.now;
        let Some(path) = self.p2p.paths.rows.get_mut(url) else { return };
        path.flight = false;
        match refused {
            None => {
                path.told = joined;
                path.failures = 0;
            }
            // A node that cannot be told forgets by itself, with the session.
            Some(_) if !joined => path.told = false,
            Some(refusal) => {
                let wait = NODE_RETRY_MS.get(path.failures).or(NODE_RETRY_MS.last());
                let wait = wait.copied().unwrap_or_default();
                let wait = wait.max(refusal.retry_after_ms.unwrap_or(0));
                path.failures = path.failures.saturating_add(1);
                path.retry_at = Some(Time(now.0.saturating_add(wait)));
            }
        }
        self.p2p.paths.news = true;
        self.drop_paths();
    }
}

/// Add or remove a path: the handler's by the RuntimeUA, a requester's by the Registry.
fn telling(home: &str, url: &str, key: &RouteKey, join: bool) -> Asking {
    let (from, folder) = match key {
        RouteKey::P2pHandler(_) => (Part::Ua, "p2phandler"),
        _ => (Part::Registry, "p2prequester"),
    };
    let id = url.rsplit('/').next().unwrap_or_default();
    let source = format!("hyperty-runtime://{home}/{folder}/{id}");
    let (kind, body, source) = if join {
        let body = json!({"subscribe": [url], "source": source});
        (MessageType::Subscribe, body, Some(source))
    } else {
        (MessageType::Unsubscribe, json!({"unsubscribe": [url]}), None)
    };
    Asking {
        from,
        to: format!("domain://msg-node.{home}/sm"),
        kind,
        body: body.to_string(),
        source,
        within_ms: None,
        purpose: Purpose::Path(url.to_owned(), join),
    }
}
