//! Which addresses the home domain's message node has allocated to this runtime, and who has them.
//!
//! A row is written before the node is asked, so that a crash in between leaves the name of the
//! allocation, by which it is given back.

use super::allocation::Holder;
use crate::bus::names::{first_below, upwards};
use crate::store::{BlockRow, Change, Record, RecordKey, Table};
use protocol::address::Address;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Where an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Not an address but the name of an allocation that was asked for.
    Asked,
    /// Kept for whoever asks next.
    Ahead,
    /// Somebody has it.
    Held(Holder),
    /// The node is to be told that nobody has it.
    Returning,
}

impl Place {
    /// As the store has it; what it does not know is nobody's.
    fn read(text: Option<&str>) -> Self {
        match text {
            None => Self::Ahead,
            Some("asked") => Self::Asked,
            Some(text) => Holder::read(text).map_or(Self::Returning, Self::Held),
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Ahead => None,
            Self::Asked => Some("asked".to_owned()),
            Self::Returning => Some("returning".to_owned()),
            Self::Held(holder) => Some(holder.text()),
        }
    }
}

#[derive(Debug)]
struct Row {
    allocation: Arc<str>,
    place: Place,
}

/// What is to be given back in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Giving {
    /// These addresses.
    Addresses(Vec<Arc<str>>),
    /// Whatever was allocated under this name.
    Allocation(Arc<str>),
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    rows: BTreeMap<Arc<str>, Row>,
    ahead: BTreeSet<Arc<str>>,
    returning: BTreeSet<Arc<str>>,
}

/// Names of allocations are no addresses.
fn is_address(text: &str) -> bool {
    text.contains("://")
}

impl Blocks {
    /// Rows in all.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it, or one above or below it, was allocated for somebody else.
    pub(crate) fn is_anothers(&self, text: &str, than: Option<&Holder>) -> bool {
        let anothers = |row: &Row| match &row.place {
            Place::Held(holder) => Some(holder) != than,
            Place::Asked | Place::Ahead | Place::Returning => true,
        };
        upwards(text).filter_map(|above| self.rows.get(above)).any(anothers)
            || first_below(&self.rows, text).is_some_and(|(_, row)| anothers(row))
    }

    /// Addresses of a scheme that nobody has.
    pub(super) fn ahead(&self, scheme: &str) -> usize {
        self.of_scheme(scheme).count()
    }

    fn of_scheme<'a>(&'a self, scheme: &str) -> impl Iterator<Item = &'a Arc<str>> {
        let start = format!("{scheme}://");
        let from = (Bound::Included(start.as_str()), Bound::Unbounded);
        let rest = self.ahead.range::<str, _>(from);
        rest.take_while(move |url| url.starts_with(&start))
    }

    fn put(&mut self, text: &Arc<str>, allocation: &Arc<str>, place: Place) -> Change {
        self.ahead.remove(text);
        self.returning.remove(text);
        match place {
            Place::Ahead => self.ahead.insert(Arc::clone(text)),
            Place::Returning => self.returning.insert(Arc::clone(text)),
            Place::Asked | Place::Held(_) => false,
        };
        let row = BlockRow {
            url: text.to_string(),
            allocation: allocation.to_string(),
            holder: place.text(),
        };
        let allocation = Arc::clone(allocation);
        self.rows.insert(Arc::clone(text), Row { allocation, place });
        Change::Put(Record::Block(row))
    }

    fn move_to(&mut self, text: &str, place: Place) -> Option<Change> {
        let (text, row) = self.rows.get_key_value(text)?;
        let (text, allocation) = (Arc::clone(text), Arc::clone(&row.allocation));
        Some(self.put(&text, &allocation, place))
    }

    /// The node is asked under this name.
    pub(super) fn asked(&mut self, name: &Arc<str>) -> Change {
        self.put(name, name, Place::Asked)
    }

    /// The node allocated this address.
    pub(super) fn allocated(&mut self, url: &Arc<str>, name: &Arc<str>) -> Change {
        self.put(url, name, Place::Ahead)
    }

    /// The next address of a scheme.
    pub(super) fn next(&self, scheme: &str) -> Option<Arc<str>> {
        self.of_scheme(scheme).next().cloned()
    }

    /// Somebody has it from now on.
    pub(super) fn held(&mut self, url: &str, by: &Holder) -> Option<Change> {
        self.move_to(url, Place::Held(by.clone()))
    }

    /// Nobody has it any more; not even the next one may, for messages to the last may still come.
    pub(super) fn returns(&mut self, text: &str) -> Option<Change> {
        self.move_to(text, Place::Returning)
    }

    /// The node knows it no longer.
    pub(super) fn gone(&mut self, text: &str) -> Option<Change> {
        self.ahead.remove(text);
        self.returning.remove(text);
        self.rows.remove(text)?;
        Some(Change::Delete(RecordKey::new(Table::Block, text)))
    }

    /// What the node is told next.
    pub(super) fn next_returning(&self, most: usize) -> Option<Giving> {
        let first = self.returning.first()?;
        if !is_address(first) {
            return Some(Giving::Allocation(Arc::clone(first)));
        }
        let addresses = self.returning.iter().filter(|text| is_address(text));
        Some(Giving::Addresses(addresses.take(most).cloned().collect()))
    }

    /// Whether anything is to be given back.
    pub(super) fn is_any_returning(&self) -> bool {
        !self.returning.is_empty()
    }

    /// A row that was kept. One of another home domain waits in the store for that domain.
    pub(super) fn restore(&mut self, row: &BlockRow, home: &str) {
        let place = match Place::read(row.holder.as_deref()) {
            Place::Asked => Place::Returning,
            place => place,
        };
        let here = if is_address(&row.url) {
            Address::parse(&row.url).is_ok_and(|a| a.as_str() == row.url && a.host() == home)
        } else {
            place == Place::Returning
        };
        if here {
            let (text, allocation) = (Arc::from(&*row.url), Arc::from(&*row.allocation));
            // It is in the store already.
            let _kept = self.put(&text, &allocation, place);
        }
    }

    /// What is listed is what is there.
    pub(super) fn check(&self) -> Result<(), String> {
        let are = |place: &Place| self.rows.values().filter(|row| row.place == *place).count();
        if (self.ahead.len(), self.returning.len()) != (are(&Place::Ahead), are(&Place::Returning))
        {
            return Err(format!("addresses are listed where they are not: {self:?}"));
        }
        Ok(())
    }
}
