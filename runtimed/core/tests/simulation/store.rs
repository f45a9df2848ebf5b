//! A model of the store: what was committed, and what a core makes of it that starts after a crash.

use crate::random::Random;
use crate::world::{World, settings};
use protocol::address::RouteKey;
use protocol::control::{Command, PsRow, Reply};
use runtime_core::store::{ClaimRow, StubRow};
use runtime_core::{Change, Core, Effect, Input, LinkId, Record, RecordKey, Table, Time, Token};
use std::collections::BTreeMap;

/// Rows by key.
type Rows = BTreeMap<RecordKey, Record>;

/// What is committed. What one input changes is committed together, so that a crash is between two
/// inputs.
#[derive(Debug, Default)]
pub(crate) struct Store {
    rows: Rows,
    changed: bool,
    /// Whether a crash is tried after every commit.
    pub(crate) trying: bool,
}

fn apply(rows: &mut Rows, change: Change) {
    match change {
        Change::Put(record) => {
            let key = record.key();
            if let (Record::Stub(new), Some(Record::Stub(old))) = (&record, rows.get(&key)) {
                assert_eq!(new.url, old.url, "the address of {} changed", new.key);
            }
            rows.insert(key, record);
        }
        Change::Delete(key) => {
            rows.remove(&key);
        }
    }
}

fn persisted(effects: Vec<Effect>) -> Vec<Change> {
    let change = |effect| match effect {
        Effect::Persist(change) => Some(*change),
        _ => None,
    };
    effects.into_iter().filter_map(change).collect()
}

impl Store {
    pub(crate) fn add(&mut self, change: Change) {
        apply(&mut self.rows, change);
        self.changed = true;
    }

    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// All rows, for a core that starts.
    pub(crate) fn all(&self) -> Vec<Record> {
        self.rows.values().cloned().collect()
    }

    /// The address that the stub of `key` has, if it is kept.
    pub(crate) fn url(&self, key: &RouteKey) -> Option<&str> {
        match self.rows.get(&RecordKey::stub(key)) {
            Some(Record::Stub(row)) => Some(&row.url),
            _ => None,
        }
    }

    /// Addresses of the hyperties that are kept.
    fn hyperties(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for row in self.rows.values() {
            if let Record::Hyperty(row) = row {
                found.push(row.url.as_str());
            }
        }
        found
    }

    /// Whether it is given again for the same hyperty of its user.
    fn is_for_hyperty(&self, url: &str) -> bool {
        self.rows.values().any(|row| match row {
            Record::Reuse(row) => {
                row.key.starts_with("[\"hyperties/") && row.urls.iter().any(|own| own == url)
            }
            _ => false,
        })
    }

    fn claims(&self) -> Vec<ClaimRow> {
        let claim = |row: &Record| match row {
            Record::Claim(row) => Some(row.clone()),
            _ => None,
        };
        self.rows.values().filter_map(claim).collect()
    }

    fn stubs(&self) -> Vec<StubRow> {
        let stub = |row: &Record| match row {
            Record::Stub(row) => Some(row.clone()),
            _ => None,
        };
        self.rows.values().filter_map(stub).collect()
    }
}

impl World {
    /// What was promised to somebody is committed.
    fn check_promises(&self) {
        for app in self.apps.values() {
            for address in &app.addresses {
                let row = self.store.rows.get(&RecordKey::new(Table::Claim, address));
                let Some(Record::Claim(row)) = row else { panic!("{address} is not kept") };
                assert_eq!(row.uid, app.uid, "{address}");
            }
        }
        for (url, uid) in &self.promised {
            let row = self.store.rows.get(&RecordKey::new(Table::Claim, url));
            let Some(Record::Claim(row)) = row else { panic!("{url} is not kept") };
            assert_eq!(row.uid, *uid, "{url}");
            let row = self.store.rows.get(&RecordKey::new(Table::Block, url));
            if let Some(Record::Block(row)) = row {
                assert_eq!(row.holder, Some(format!("uid/{uid}")), "{url}");
            }
        }
        let lives = self.processes.iter().filter(|(_, process)| process.link.is_some());
        for (id, process) in lives {
            let row = self.store.rows.get(&RecordKey::new(Table::Sandbox, id.0.to_string()));
            assert!(row.is_some(), "{process:?} is not kept");
        }
    }

    /// A crash now, and another one at once: a new core finds all that was committed, makes the
    /// same of it both times, and stands by it.
    pub(crate) fn try_crash(&mut self) {
        self.totals.crashes += 1;
        self.check_promises();
        let now = Time(self.now);
        let start = |rows: Vec<Record>| {
            let mut core = Core::new(settings(self.seed));
            let effects = core.handle(now, Input::Restored(rows));
            core.check().unwrap();
            (core, persisted(effects))
        };
        let (_, changes) = start(self.store.all());
        let mut rows = self.store.rows.clone();
        for change in changes {
            let key = change.key();
            let gone = matches!(change, Change::Delete(_));
            assert!(!gone || key.table == Table::Sandbox, "{key:?} was thrown away");
            apply(&mut rows, change);
        }
        assert!(rows.keys().all(|key| key.table != Table::Sandbox), "no process is left");
        let (mut core, changes) = start(rows.into_values().collect());
        assert_eq!(changes, [], "the second time is as the first");
        self.check_stubs(&mut core);
        let claims = self.store.claims();
        if !claims.is_empty() {
            // Not the world's own: it must go on as if nothing had been tried.
            let claim = Random(self.totals.crashes).pick(&claims).clone();
            // Not even its user's application claims the address of a hyperty.
            let free = !self.store.is_for_hyperty(&claim.url);
            check_claim(&mut core, now, &claim, free);
        }
        core.check().unwrap();
    }

    fn check_stubs(&self, core: &mut Core) {
        let (now, command) = (Time(self.now), Command::Ps { all: false });
        let effects = core.handle(now, Input::Operator { token: Token(1), command, rss: vec![] });
        let found = effects.into_iter().find_map(|effect| match effect {
            Effect::Reply { reply, .. } => Some(*reply),
            _ => None,
        });
        let Some(Reply::Ps(found)) = found else { panic!("{found:?}") };
        let (hyperties, found): (Vec<PsRow>, Vec<PsRow>) =
            found.into_iter().partition(|row| row.kind == "hyperty");
        let hyperties: Vec<String> = hyperties.into_iter().map(|row| row.url).collect();
        assert_eq!(hyperties, self.store.hyperties());
        let found: BTreeMap<String, PsRow> =
            found.into_iter().map(|row| (row.url.clone(), row)).collect();
        let kept = self.store.stubs();
        assert_eq!(found.len(), kept.len());
        for row in kept {
            let rests = row.quarantine_until_ms.is_some_and(|until| until > self.now);
            let state = if rests { "quarantined" } else { "dormant" };
            assert_eq!(found[&row.url].state, state, "{row:?}");
            assert_eq!(found[&row.url].name, row.key.to_string());
        }
    }

    /// The daemon is killed: all processes and connections end with it, and a new core goes on with
    /// what was committed.
    pub(crate) fn crashes(&mut self) {
        self.check_promises();
        self.forget_life();
        self.core = Core::new(settings(self.seed));
        let rows = self.store.all();
        self.input(Input::Restored(rows));
    }
}

/// The address is its user's and nobody else's.
fn check_claim(core: &mut Core, now: Time, claim: &ClaimRow, free: bool) {
    for (link, uid) in [(LinkId(1), claim.uid + 7), (LinkId(2), claim.uid)] {
        let (name, addresses) = ("back".to_owned(), vec![claim.url.clone()]);
        let effects = core.handle(now, Input::AppJoined { link, name, uid, addresses });
        let let_in = effects.iter().any(|effect| matches!(effect, Effect::Welcome { .. }));
        assert_eq!(let_in, free && uid == claim.uid, "{claim:?} for {uid}");
    }
}
