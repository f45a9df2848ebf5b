//! The tables as SQL. A step is never changed once it was released: what comes later is a new step.

/// Each step takes the file from the version that is its place in the list to the next.
pub(super) const STEPS: &[&str] = &["
CREATE TABLE runtime (
    guid TEXT NOT NULL PRIMARY KEY, p2p_handler TEXT, epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE claim (
    url TEXT NOT NULL PRIMARY KEY, uid INTEGER NOT NULL, seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE stub (
    domain TEXT NOT NULL, scheme TEXT NOT NULL, url TEXT NOT NULL, interworking INTEGER NOT NULL,
    source TEXT, digest TEXT, version TEXT, status TEXT NOT NULL, status_ms INTEGER NOT NULL,
    last_error TEXT, quarantines INTEGER NOT NULL, quarantine_until_ms INTEGER,
    PRIMARY KEY (domain, scheme)
) STRICT, WITHOUT ROWID;
CREATE TABLE idp_proxy (
    domain TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL, interworking INTEGER NOT NULL,
    source TEXT, digest TEXT, version TEXT, status TEXT NOT NULL, status_ms INTEGER NOT NULL,
    last_error TEXT, quarantines INTEGER NOT NULL, quarantine_until_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE sandbox (
    id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL,
    pid INTEGER NOT NULL, started_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE hyperty (
    url TEXT NOT NULL PRIMARY KEY, descriptor TEXT NOT NULL, name TEXT NOT NULL,
    user TEXT NOT NULL, resources TEXT NOT NULL, schemes TEXT NOT NULL, p2p_handler TEXT,
    p2p_requester TEXT, status TEXT NOT NULL, since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE reuse (
    key TEXT NOT NULL PRIMARY KEY, urls TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE object (
    url TEXT NOT NULL PRIMARY KEY, reporter TEXT NOT NULL, schema TEXT NOT NULL,
    name TEXT NOT NULL, resources TEXT NOT NULL, subscribers TEXT NOT NULL,
    authorised TEXT NOT NULL, status TEXT NOT NULL, since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE subscription (
    resource TEXT NOT NULL, subscriber TEXT NOT NULL, domain TEXT NOT NULL, identity TEXT,
    since_ms INTEGER NOT NULL, PRIMARY KEY (resource, subscriber)
) STRICT, WITHOUT ROWID;
CREATE TABLE lease (
    url TEXT NOT NULL PRIMARY KEY, expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE block (
    url TEXT NOT NULL PRIMARY KEY, allocation TEXT NOT NULL, holder TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    route TEXT NOT NULL, seq INTEGER NOT NULL, frame BLOB NOT NULL, attempts INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, PRIMARY KEY (route, seq)
) STRICT;
CREATE TABLE dead (
    route TEXT NOT NULL, seq INTEGER NOT NULL, frame BLOB NOT NULL, reason TEXT NOT NULL,
    dead_ms INTEGER NOT NULL, PRIMARY KEY (route, seq)
) STRICT;
CREATE TABLE code (
    digest TEXT NOT NULL PRIMARY KEY, source TEXT NOT NULL, version TEXT NOT NULL,
    size INTEGER NOT NULL, etag TEXT, fetched_ms INTEGER NOT NULL, verified_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"];
