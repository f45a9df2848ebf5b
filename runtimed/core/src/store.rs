//! What the runtime keeps for ever: rows of a few tables, written whole and named by their key.
//!
//! The core says [`crate::Effect::Persist`] for each row that changes; the shell commits all that
//! one input changed together, in order, and hands every row back at the next start as
//! [`crate::Input::Restored`]. A change says what the row is from now on, so that of several to
//! the same row the last alone is enough.
//!
//! To keep something new: a row below, its table in the shell (`runtimed/src/store`), a place in
//! `Core::restore`.

mod rows;

pub use rows::{
    BlockRow, ClaimRow, CodeRow, DeadRow, HypertyRow, LeaseRow, ObjectRow, OutboxRow, ReuseRow,
    RuntimeRow, SandboxRow, StubRow, SubscriptionRow,
};

use protocol::address::RouteKey;

/// One table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Who this runtime is.
    Runtime,
    /// Addresses that applications have, connected or not.
    Claim,
    /// Protostubs and interworking stubs.
    Stub,
    /// Proxies of identity providers.
    IdpProxy,
    /// Processes that were started and not yet seen to end.
    Sandbox,
    /// Registered hyperties.
    Hyperty,
    /// Which addresses a hyperty or data object gets again.
    Reuse,
    /// Registered data objects.
    Object,
    /// Who is subscribed to what.
    Subscription,
    /// Registrations at the domain registry.
    Lease,
    /// Addresses that a message node allocated.
    Block,
    /// Durable messages on their way.
    Outbox,
    /// Durable messages that were given up.
    Dead,
    /// Code and descriptors in the cache.
    Code,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Runtime,
        Self::Claim,
        Self::Stub,
        Self::IdpProxy,
        Self::Sandbox,
        Self::Hyperty,
        Self::Reuse,
        Self::Object,
        Self::Subscription,
        Self::Lease,
        Self::Block,
        Self::Outbox,
        Self::Dead,
        Self::Code,
    ];
}

/// Names one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// In which table.
    pub table: Table,
    /// First part of its key.
    pub first: String,
    /// Second part; empty where one is enough.
    pub second: String,
}

impl RecordKey {
    /// The row of `table` with this key.
    pub fn new(table: Table, first: impl Into<String>) -> Self {
        Self { table, first: first.into(), second: String::new() }
    }

    /// As [`Self::new`], for a table whose key has two parts.
    pub fn pair(table: Table, first: impl Into<String>, second: impl Into<String>) -> Self {
        Self { table, first: first.into(), second: second.into() }
    }

    /// The row of a component. A domain and a legacy scheme may read the same, so that they are two.
    pub fn stub(key: &RouteKey) -> Self {
        match key {
            // Those of P2P connections are never kept.
            RouteKey::Domain(domain) | RouteKey::P2pHandler(domain) | RouteKey::P2p(domain) => {
                Self::new(Table::Stub, domain)
            }
            RouteKey::Legacy { scheme, domain } => Self::pair(Table::Stub, domain, scheme),
            RouteKey::Idp(domain) => Self::new(Table::IdpProxy, domain),
            RouteKey::Hyperty(url) => Self::new(Table::Hyperty, url),
        }
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// See [`Table::Runtime`].
    Runtime(RuntimeRow),
    /// See [`Table::Claim`].
    Claim(ClaimRow),
    /// See [`Table::Stub`] and, by its route key, [`Table::IdpProxy`].
    Stub(StubRow),
    /// See [`Table::Sandbox`].
    Sandbox(SandboxRow),
    /// See [`Table::Hyperty`].
    Hyperty(HypertyRow),
    /// See [`Table::Reuse`].
    Reuse(ReuseRow),
    /// See [`Table::Object`].
    Object(ObjectRow),
    /// See [`Table::Subscription`].
    Subscription(SubscriptionRow),
    /// See [`Table::Lease`].
    Lease(LeaseRow),
    /// See [`Table::Block`].
    Block(BlockRow),
    /// See [`Table::Outbox`].
    Outbox(OutboxRow),
    /// See [`Table::Dead`].
    Dead(DeadRow),
    /// See [`Table::Code`].
    Code(CodeRow),
}

impl Record {
    /// Names the row.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Runtime(_) => RecordKey::new(Table::Runtime, ""),
            Self::Claim(row) => RecordKey::new(Table::Claim, &row.url),
            Self::Stub(row) => RecordKey::stub(&row.key),
            Self::Sandbox(row) => RecordKey::new(Table::Sandbox, row.id.to_string()),
            Self::Hyperty(row) => RecordKey::new(Table::Hyperty, &row.url),
            Self::Reuse(row) => RecordKey::new(Table::Reuse, &row.key),
            Self::Object(row) => RecordKey::new(Table::Object, &row.url),
            Self::Subscription(row) => {
                RecordKey::pair(Table::Subscription, &row.resource, &row.subscriber)
            }
            Self::Lease(row) => RecordKey::new(Table::Lease, &row.url),
            Self::Block(row) => RecordKey::new(Table::Block, &row.url),
            Self::Outbox(row) => RecordKey::pair(Table::Outbox, &row.route, row.seq.to_string()),
            Self::Dead(row) => RecordKey::pair(Table::Dead, &row.route, row.seq.to_string()),
            Self::Code(row) => RecordKey::new(Table::Code, &row.digest),
        }
    }
}

/// What a row is from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This.
    Put(Record),
    /// Gone.
    Delete(RecordKey),
}

impl Change {
    /// Which row.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}
