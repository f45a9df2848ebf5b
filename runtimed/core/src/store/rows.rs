//! The rows of the tables. Times are milliseconds since the epoch: they outlive the daemon's clock.

use protocol::address::RouteKey;

/// Who this runtime is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeRow {
    /// Its identifier, for ever.
    pub guid: String,
    /// Address of its P2P handler, once it has one.
    pub p2p_handler: Option<String>,
    /// How often it was started.
    pub epoch: u64,
}

/// An address that an application claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRow {
    /// The address.
    pub url: String,
    /// Whose it is.
    pub uid: u32,
    /// Rises with each claim; a user's lowest goes first when there are too many.
    pub seq: u64,
}

/// A stub or a proxy, by its route key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StubRow {
    /// What it serves.
    pub key: RouteKey,
    /// Its address, the same in all its lives.
    pub url: String,
    /// Whether its descriptor says that it is an interworking stub.
    pub interworking: bool,
    /// Origin of its code.
    pub source: Option<String>,
    /// Digest of its code, as text.
    pub digest: Option<String>,
    /// Version of its descriptor.
    pub version: Option<String>,
    /// What it said of itself last.
    pub status: String,
    /// Since when.
    pub status_ms: u64,
    /// Why it ended last.
    pub last_error: Option<String>,
    /// How often it was quarantined in a row.
    pub quarantines: u32,
    /// Until when it rests.
    pub quarantine_until_ms: Option<u64>,
}

/// A process that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRow {
    /// Its number in that life of the daemon.
    pub id: u32,
    /// What it was started for.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Its pid on the host.
    pub pid: i32,
    /// When.
    pub started_ms: u64,
}

/// A registered hyperty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HypertyRow {
    /// Its address.
    pub url: String,
    /// Where its descriptor is.
    pub descriptor: String,
    /// Name of its descriptor.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// What it offers.
    pub resources: Vec<String>,
    /// Schemes of its data objects.
    pub schemes: Vec<String>,
    /// Address of the P2P handler that reaches it.
    pub p2p_handler: Option<String>,
    /// Where the code for requesters is.
    pub p2p_requester: Option<String>,
    /// What it says of itself.
    pub status: String,
    /// Since when it is registered.
    pub since_ms: u64,
}

/// Addresses that are given again to whoever has the same characteristics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReuseRow {
    /// Resources, schemes and name, joined.
    pub key: String,
    /// The addresses.
    pub urls: Vec<String>,
}

/// A registered data object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectRow {
    /// Its address.
    pub url: String,
    /// Who reports it.
    pub reporter: String,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub resources: Vec<String>,
    /// Who observes it.
    pub subscribers: Vec<String>,
    /// Who may without being asked for.
    pub authorised: Vec<String>,
    /// What is said of it.
    pub status: String,
    /// Since when it is registered.
    pub since_ms: u64,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// To what.
    pub resource: String,
    /// Whose.
    pub subscriber: String,
    /// Domain of the resource.
    pub domain: String,
    /// Identity that it was made under.
    pub identity: Option<String>,
    /// Since when.
    pub since_ms: u64,
}

/// A registration at the domain registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// What is registered.
    pub url: String,
    /// Until when.
    pub expires_ms: u64,
}

/// An address that a message node allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// The address.
    pub url: String,
    /// Name of the allocation, under which it is given back.
    pub allocation: String,
    /// Who has it; `None`: kept ahead.
    pub holder: Option<String>,
}

/// A durable message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its route key.
    pub route: String,
    /// Its place in the queue.
    pub seq: u64,
    /// The frame.
    pub frame: Vec<u8>,
    /// How often it was handed over.
    pub attempts: u32,
    /// When it was accepted.
    pub first_ms: u64,
}

/// A durable message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    /// Its route key.
    pub route: String,
    /// Its place in the queue.
    pub seq: u64,
    /// The frame.
    pub frame: Vec<u8>,
    /// Why.
    pub reason: String,
    /// When.
    pub dead_ms: u64,
}

/// Code in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRow {
    /// Its digest, as text.
    pub digest: String,
    /// Where it came from.
    pub source: String,
    /// Version of its descriptor.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// Validator of the answer it came in.
    pub etag: Option<String>,
    /// When it was fetched.
    pub fetched_ms: u64,
    /// By what it was found good.
    pub verified_by: String,
}
