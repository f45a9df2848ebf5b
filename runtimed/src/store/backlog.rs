//! Changes that are not committed yet, the last of each row.

use crate::limits::BACKLOG_ROWS_MAX;
use runtime_core::{Change, RecordKey};
use std::collections::BTreeMap;

/// Changes that wait.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    rows: BTreeMap<RecordKey, Change>,
    lost: bool,
}

impl Backlog {
    /// Adds a change; it replaces what was said of its row before.
    pub(crate) fn add(&mut self, change: Change) {
        let key = change.key();
        if self.rows.len() >= BACKLOG_ROWS_MAX && !self.rows.contains_key(&key) {
            self.lost = true;
            return;
        }
        self.rows.insert(key, change);
    }

    /// Puts back what could not be committed, under what was said since.
    pub(crate) fn put_back(&mut self, changes: Vec<Change>) {
        for change in changes {
            let key = change.key();
            if !self.rows.contains_key(&key) {
                self.add(change);
            }
        }
    }

    /// Takes all that waits.
    pub(crate) fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.rows).into_values().collect()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a change found no room: what would be committed now is not the whole any more.
    pub(crate) const fn has_lost(&self) -> bool {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::Backlog;
    use crate::limits::BACKLOG_ROWS_MAX;
    use runtime_core::store::LeaseRow;
    use runtime_core::{Change, Record, RecordKey, Table};

    fn lease(url: &str, expires_ms: u64) -> Change {
        Change::Put(Record::Lease(LeaseRow { url: url.to_owned(), expires_ms }))
    }

    #[test]
    fn of_several_changes_to_a_row_the_last_is_kept_even_if_an_older_comes_back() {
        let mut backlog = Backlog::default();
        backlog.add(lease("a", 1));
        backlog.add(lease("a", 2));
        let taken = backlog.take();
        assert_eq!(taken, [lease("a", 2)]);
        assert!(backlog.is_empty());
        let gone = Change::Delete(RecordKey::new(Table::Lease, "a"));
        backlog.add(gone.clone());
        backlog.put_back(vec![lease("a", 2), lease("b", 1)]);
        assert_eq!(backlog.take(), [gone, lease("b", 1)]);
    }

    #[test]
    fn the_backlog_is_bounded_and_says_when_it_is_not_the_whole_any_more() {
        let mut backlog = Backlog::default();
        for n in 0..BACKLOG_ROWS_MAX {
            backlog.add(lease(&n.to_string(), 1));
        }
        backlog.add(lease("0", 2));
        assert!(!backlog.has_lost());
        backlog.add(lease("one more", 1));
        assert!(backlog.has_lost());
        assert_eq!(backlog.take().len(), BACKLOG_ROWS_MAX);
    }
}
