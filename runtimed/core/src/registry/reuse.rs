//! Addresses that are given again to whoever asks in the same name (runtime-core §4.7).

use super::allocation::Holder;
use crate::store::{Change, Record, RecordKey, ReuseRow, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By key, and back.
#[derive(Debug, Default)]
pub(crate) struct Reuse {
    by_key: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    by_url: BTreeMap<Arc<str>, Arc<str>>,
}

/// The key of a name. Its parts stay apart, so that no two can read the same.
pub(super) fn key_of(holder: &Holder, scheme: &str, home: &str, name: &str) -> Arc<str> {
    Arc::from(json!([holder.text(), scheme, home, name]).to_string())
}

impl Reuse {
    /// What was given under this key.
    pub(super) fn get(&self, key: &str) -> &[Arc<str>] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// These are given under it, too.
    pub(super) fn add(&mut self, key: &Arc<str>, urls: &[Arc<str>]) -> Change {
        for url in urls {
            self.by_url.insert(Arc::clone(url), Arc::clone(key));
        }
        self.by_key.entry(Arc::clone(key)).or_default().extend_from_slice(urls);
        self.row(key)
    }

    /// This one is not given again.
    pub(super) fn forget(&mut self, url: &str) -> Option<Change> {
        let key = self.by_url.remove(url)?;
        if let Some(urls) = self.by_key.get_mut(&key) {
            urls.retain(|other| **other != *url);
            if urls.is_empty() {
                self.by_key.remove(&key);
            }
        }
        Some(self.row(&key))
    }

    /// Whether it is given again to hyperties, and so is no application's.
    pub(super) fn is_hypertys(&self, url: &str) -> bool {
        let key = self.by_url.get(url).and_then(|key| serde_json::from_str::<Value>(key).ok());
        let holder = key.as_ref().and_then(|key| Holder::read(key.get(0)?.as_str()?));
        matches!(holder, Some(Holder::Hyperties(_)))
    }

    fn row(&self, key: &Arc<str>) -> Change {
        match self.by_key.get(key) {
            Some(urls) => Change::Put(Record::Reuse(ReuseRow {
                key: key.to_string(),
                urls: urls.iter().map(ToString::to_string).collect(),
            })),
            None => Change::Delete(RecordKey::new(Table::Reuse, &**key)),
        }
    }

    /// A row that was kept.
    pub(super) fn restore(&mut self, row: &ReuseRow) {
        let urls: Vec<Arc<str>> = row.urls.iter().map(|url| Arc::from(&**url)).collect();
        let _kept = self.add(&Arc::from(&*row.key), &urls);
    }
}
