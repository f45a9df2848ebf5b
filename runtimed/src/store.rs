//! `state/registry.db`: what the runtime keeps for ever, in SQLite.
//!
//! [`StoreFile`] is the file and knows nothing of threads; [`Writer`] is the thread that owns it
//! while the daemon runs; [`Backlog`] is what the daemon has not yet been able to hand over. A
//! commit is whole or not at all, whenever the process or the machine dies; what was committed
//! comes back at the next start. A file that cannot be used never stops the daemon and is never
//! overwritten: the runtime goes on in memory and says so.

mod backlog;
mod file;
mod schema;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use backlog::Backlog;
pub(crate) use file::StoreFile;
pub(crate) use writer::{Job, Outcome, Writer};

use runtime_core::store::RuntimeRow;
use runtime_core::{Change, Record};
use std::path::Path;

/// Name of the file.
pub(crate) const FILE: &str = "registry.db";

/// What is kept, as it was found at the start.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The open file; `None` if it cannot be used.
    pub(crate) file: Option<StoreFile>,
    /// Its rows.
    pub(crate) rows: Vec<Record>,
    /// What is not in it yet.
    pub(crate) unsaved: Vec<Change>,
    /// Why it cannot be used.
    pub(crate) trouble: Option<String>,
}

impl Kept {
    /// Opens the file in the folder `state` and reads it whole.
    pub(crate) fn open(state: &Path) -> Self {
        match StoreFile::open(&state.join(FILE)) {
            Ok((file, rows)) => Self { file: Some(file), rows, unsaved: Vec::new(), trouble: None },
            Err(fault) => {
                let trouble = fault.to_string();
                tracing::error!(trouble, "the runtime keeps nothing until it is restarted");
                Self { file: None, rows: Vec::new(), unsaved: Vec::new(), trouble: Some(trouble) }
            }
        }
    }

    /// A new life of the runtime begins: counted, and known as this runtime's.
    pub(crate) fn begin(&mut self, guid: &str) {
        let at = self.rows.iter().position(|row| matches!(row, Record::Runtime(_)));
        let known = at.map(|at| self.rows.swap_remove(at));
        let row = match known {
            Some(Record::Runtime(row)) => RuntimeRow { epoch: row.epoch.saturating_add(1), ..row },
            _ => RuntimeRow { guid: guid.to_owned(), p2p_handler: None, epoch: 1 },
        };
        self.rows.push(Record::Runtime(row.clone()));
        self.unsaved.push(Change::Put(Record::Runtime(row)));
    }

    /// The runtime whose file it is.
    pub(crate) fn guid(&self) -> Option<&str> {
        self.rows.iter().find_map(|row| match row {
            Record::Runtime(row) => Some(row.guid.as_str()),
            _ => None,
        })
    }
}
