//! The file itself: opened, brought to the present version, read whole, and written in commits.

use super::schema::STEPS;
use super::tables::{columns, layout, read};
use crate::limits::{STORE_BUSY, STORE_LOG_BYTES};
use runtime_core::{Change, Record, RecordKey, Table};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, Statement, TransactionBehavior, params_from_iter,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFault {
    /// Its content is none of ours.
    #[error("{} is damaged ({text}); restore it, or move it away to start without it", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        text: String,
    },
    /// It was written by a newer program.
    #[error("{} has version {found}, this program knows {known}; start the newer program", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: usize,
    },
    /// The system does not let us.
    #[error("{} cannot be used: {text}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        text: String,
    },
}

/// Why a commit failed. Nothing of it was kept.
#[derive(Debug)]
pub(crate) struct CommitFault {
    /// How.
    pub(crate) text: String,
    /// Whether trying again is of no use, or would lie.
    pub(crate) lasting: bool,
}

impl From<rusqlite::Error> for CommitFault {
    fn from(error: rusqlite::Error) -> Self {
        Self { text: error.to_string(), lasting: is_lasting(&error) }
    }
}

/// Extended results of failed syncs: the system forgets what it could not write, and the next sync
/// would say that all is well.
const SYNC_FAILED: [i32; 2] =
    [rusqlite::ffi::SQLITE_IOERR_FSYNC, rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC];

fn is_lasting(error: &rusqlite::Error) -> bool {
    if error.sqlite_extended_error_code().is_some_and(|code| SYNC_FAILED.contains(&code)) {
        return true;
    }
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
        )
    )
}

/// The open file.
#[derive(Debug)]
pub(crate) struct StoreFile {
    connection: Connection,
    log: PathBuf,
}

impl StoreFile {
    /// Opens or makes the file and reads all its rows.
    ///
    /// # Errors
    /// It cannot be used; it is as it was.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Record>), StoreFault> {
        Self::open_with(path, STEPS)
    }

    /// As [`Self::open`], with these steps.
    pub(super) fn open_with(
        path: &Path,
        steps: &[&str],
    ) -> Result<(Self, Vec<Record>), StoreFault> {
        let unusable = |text: String| StoreFault::Unusable { path: path.to_owned(), text };
        make_private(path).map_err(|error| unusable(error.to_string()))?;
        let fault = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
                StoreFault::Damaged { path: path.to_owned(), text: error.to_string() }
            }
            Some(_) => unusable(error.to_string()),
        };
        let mut connection = connect(path).map_err(fault)?;
        migrate(&mut connection, path, steps, &fault)?;
        let rows = read_all(&connection).map_err(fault)?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok((Self { connection, log: log.into() }, rows))
    }

    /// Commits all changes, or none.
    ///
    /// # Errors
    /// None was kept.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), CommitFault> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writing = Writing::new(&transaction);
        for change in changes {
            match change {
                Change::Put(record) => writing.put(record)?,
                Change::Delete(key) => writing.delete(key)?,
            }
        }
        drop(writing);
        transaction.commit()?;
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > STORE_LOG_BYTES) {
            self.settle()?;
        }
        Ok(())
    }

    /// Moves what is in the log into the file.
    ///
    /// # Errors
    /// It stays in the log.
    pub(crate) fn settle(&mut self) -> Result<(), CommitFault> {
        let done = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let _busy: i64 = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], done)?;
        Ok(())
    }

    /// Bounds the file, to see what a full disk does.
    #[cfg(test)]
    pub(super) fn bound_pages(&self, pages: u32) {
        let bound = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], bound).unwrap();
    }

    /// Lets nothing be written, as on a disk that became read-only, or lets it again.
    #[cfg(test)]
    pub(super) fn read_only(&self, on: bool) {
        self.connection.pragma_update(None, "query_only", on).unwrap();
    }
}

/// SQLite would make it readable for others.
fn make_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(STORE_BUSY)?;
    // Alone with its file it needs no shared memory, which a full disk could take from under it.
    // When the log is moved into the file is said by `settle`: SQLite would hide a failed sync.
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 0;",
    )?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        Ok(connection)
    } else {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        Err(rusqlite::Error::SqliteFailure(code, Some(format!("journal mode {mode}"))))
    }
}

/// Brings the file to the present version, one transaction a step, with a copy of what it was.
fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[&str],
    fault: &impl Fn(rusqlite::Error) -> StoreFault,
) -> Result<(), StoreFault> {
    let version = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
    let found = connection.query_row("PRAGMA user_version", [], version).map_err(fault)?;
    let at = usize::try_from(found).unwrap_or(usize::MAX);
    if at > steps.len() {
        return Err(StoreFault::Newer { path: path.to_owned(), found, known: steps.len() });
    }
    let check = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let health = connection.query_row("PRAGMA quick_check(1)", [], check).map_err(fault)?;
    if health != "ok" {
        return Err(StoreFault::Damaged { path: path.to_owned(), text: health });
    }
    if at > 0 && at < steps.len() {
        copy_before(connection, path, found).map_err(|error| StoreFault::Unusable {
            path: path.to_owned(),
            text: format!("no copy could be made before its tables are changed: {error}"),
        })?;
    }
    for (next, step) in (found.saturating_add(1)..).zip(steps.iter().skip(at)) {
        let mut run = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", next)?;
            transaction.commit()
        };
        run().map_err(fault)?;
    }
    Ok(())
}

/// Keeps the file of an older version beside it.
fn copy_before(connection: &Connection, path: &Path, version: u32) -> std::io::Result<()> {
    let done = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let _busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], done)
        .map_err(std::io::Error::other)?;
    let copy = path.with_extension(format!("db.v{version}"));
    let part = path.with_extension("db.part");
    fs::copy(path, &part)?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, &copy)
}

/// Every row that can be read; one that cannot is left where it is.
fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Record>> {
    let mut found = Vec::new();
    for table in Table::ALL {
        let (name, _, key) = layout(table);
        let mut statement =
            connection.prepare(&format!("SELECT * FROM {name} ORDER BY {}", key.join(", ")))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match read(table, row) {
                Ok(record) => found.push(record),
                Err(error) => tracing::warn!(name, %error, "a row is not understood"),
            }
        }
    }
    Ok(found)
}

/// The statements of one commit, each prepared once.
struct Writing<'a> {
    connection: &'a Connection,
    put: BTreeMap<Table, Statement<'a>>,
    delete: BTreeMap<Table, Statement<'a>>,
}

impl<'a> Writing<'a> {
    const fn new(connection: &'a Connection) -> Self {
        Self { connection, put: BTreeMap::new(), delete: BTreeMap::new() }
    }

    fn put(&mut self, record: &Record) -> rusqlite::Result<()> {
        let table = record.key().table;
        let statement = match self.put.entry(table) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let (name, width, _) = layout(table);
                let places = vec!["?"; width].join(", ");
                let sql = format!("INSERT OR REPLACE INTO {name} VALUES ({places})");
                place.insert(self.connection.prepare(&sql)?)
            }
        };
        statement.execute(params_from_iter(columns(record))).map(drop)
    }

    fn delete(&mut self, key: &RecordKey) -> rusqlite::Result<()> {
        let (name, _, named_by) = layout(key.table);
        let statement = match self.delete.entry(key.table) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let which: Vec<String> = named_by.iter().map(|one| format!("{one} = ?")).collect();
                let sql = format!("DELETE FROM {name} WHERE {}", which.join(" AND "));
                place.insert(self.connection.prepare(&sql)?)
            }
        };
        let parts = [&key.first, &key.second].into_iter().take(named_by.len());
        statement.execute(params_from_iter(parts)).map(drop)
    }
}
