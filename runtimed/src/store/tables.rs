//! Rows of the core as rows of SQL, and back. The columns are in the order of the schema.

use protocol::address::RouteKey;
use runtime_core::store::{
    BlockRow, ClaimRow, CodeRow, DeadRow, HypertyRow, LeaseRow, ObjectRow, OutboxRow, ReuseRow,
    RuntimeRow, SandboxRow, StubRow, SubscriptionRow,
};
use runtime_core::{Record, Table};
use rusqlite::Row;
use rusqlite::types::{Type, Value};

/// Name, number of columns, and the columns of the key.
pub(super) const fn layout(table: Table) -> (&'static str, usize, &'static [&'static str]) {
    match table {
        Table::Runtime => ("runtime", 3, &["guid"]),
        Table::Claim => ("claim", 3, &["url"]),
        Table::Stub => ("stub", 12, &["domain", "scheme"]),
        Table::IdpProxy => ("idp_proxy", 11, &["domain"]),
        Table::Sandbox => ("sandbox", 5, &["id"]),
        Table::Hyperty => ("hyperty", 10, &["url"]),
        Table::Reuse => ("reuse", 2, &["key"]),
        Table::Object => ("object", 9, &["url"]),
        Table::Subscription => ("subscription", 5, &["resource", "subscriber"]),
        Table::Lease => ("lease", 2, &["url"]),
        Table::Block => ("block", 3, &["url"]),
        Table::Outbox => ("outbox", 5, &["route", "seq"]),
        Table::Dead => ("dead", 5, &["route", "seq"]),
        Table::Code => ("code", 7, &["digest"]),
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn opt(value: Option<&String>) -> Value {
    value.map_or(Value::Null, |value| text(value))
}

/// What is past the range of SQL is a time or a number that nobody reaches.
fn num(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn list(items: &[String]) -> Value {
    Value::Text(serde_json::json!(items).to_string())
}

/// The columns of a row.
pub(super) fn columns(record: &Record) -> Vec<Value> {
    match record {
        Record::Runtime(r) => vec![text(&r.guid), opt(r.p2p_handler.as_ref()), num(r.epoch)],
        Record::Claim(r) => vec![text(&r.url), num(r.uid.into()), num(r.seq)],
        Record::Stub(r) => stub_columns(r),
        Record::Sandbox(r) => vec![
            num(r.id.into()),
            text(&r.name),
            text(&r.role),
            Value::Integer(r.pid.into()),
            num(r.started_ms),
        ],
        Record::Hyperty(r) => hyperty_columns(r),
        Record::Reuse(r) => vec![text(&r.key), list(&r.urls)],
        Record::Object(r) => object_columns(r),
        Record::Subscription(r) => vec![
            text(&r.resource),
            text(&r.subscriber),
            text(&r.domain),
            opt(r.identity.as_ref()),
            num(r.since_ms),
        ],
        Record::Lease(r) => vec![text(&r.url), num(r.expires_ms)],
        Record::Block(r) => vec![text(&r.url), text(&r.allocation), opt(r.holder.as_ref())],
        Record::Outbox(r) => vec![
            text(&r.route),
            num(r.seq),
            Value::Blob(r.frame.clone()),
            num(r.attempts.into()),
            num(r.first_ms),
        ],
        Record::Dead(r) => vec![
            text(&r.route),
            num(r.seq),
            Value::Blob(r.frame.clone()),
            text(&r.reason),
            num(r.dead_ms),
        ],
        Record::Code(r) => code_columns(r),
    }
}

fn stub_columns(row: &StubRow) -> Vec<Value> {
    let mut columns = vec![text(row.key.domain())];
    match &row.key {
        // A hyperty has a table of its own.
        RouteKey::Idp(_) | RouteKey::Hyperty(_) => {}
        // Those of P2P connections are never kept.
        RouteKey::Domain(_) | RouteKey::P2pHandler(_) | RouteKey::P2p(_) => columns.push(text("")),
        RouteKey::Legacy { scheme, .. } => columns.push(text(scheme)),
    }
    columns.extend([
        text(&row.url),
        num(row.interworking.into()),
        opt(row.source.as_ref()),
        opt(row.digest.as_ref()),
        opt(row.version.as_ref()),
        text(&row.status),
        num(row.status_ms),
        opt(row.last_error.as_ref()),
        num(row.quarantines.into()),
        row.quarantine_until_ms.map_or(Value::Null, num),
    ]);
    columns
}

fn hyperty_columns(row: &HypertyRow) -> Vec<Value> {
    vec![
        text(&row.url),
        text(&row.descriptor),
        text(&row.name),
        text(&row.user),
        list(&row.resources),
        list(&row.schemes),
        opt(row.p2p_handler.as_ref()),
        opt(row.p2p_requester.as_ref()),
        text(&row.status),
        num(row.since_ms),
    ]
}

fn object_columns(row: &ObjectRow) -> Vec<Value> {
    vec![
        text(&row.url),
        text(&row.reporter),
        text(&row.schema),
        text(&row.name),
        list(&row.resources),
        list(&row.subscribers),
        list(&row.authorised),
        text(&row.status),
        num(row.since_ms),
    ]
}

fn code_columns(row: &CodeRow) -> Vec<Value> {
    vec![
        text(&row.digest),
        text(&row.source),
        text(&row.version),
        num(row.size),
        opt(row.etag.as_ref()),
        num(row.fetched_ms),
        text(&row.verified_by),
    ]
}

fn strings(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<String>> {
    serde_json::from_str(row.get_ref(at)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// Reads a row of `table`.
///
/// # Errors
/// It holds what was never written.
pub(super) fn read(table: Table, row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(match table {
        Table::Runtime => Record::Runtime(RuntimeRow {
            guid: row.get(0)?,
            p2p_handler: row.get(1)?,
            epoch: row.get(2)?,
        }),
        Table::Claim => {
            Record::Claim(ClaimRow { url: row.get(0)?, uid: row.get(1)?, seq: row.get(2)? })
        }
        Table::Stub => {
            let (domain, scheme): (String, String) = (row.get(0)?, row.get(1)?);
            let key = if scheme.is_empty() {
                RouteKey::Domain(domain)
            } else {
                RouteKey::Legacy { scheme, domain }
            };
            Record::Stub(read_stub(key, row, 2)?)
        }
        Table::IdpProxy => Record::Stub(read_stub(RouteKey::Idp(row.get(0)?), row, 1)?),
        Table::Sandbox => Record::Sandbox(SandboxRow {
            id: row.get(0)?,
            name: row.get(1)?,
            role: row.get(2)?,
            pid: row.get(3)?,
            started_ms: row.get(4)?,
        }),
        Table::Hyperty => Record::Hyperty(read_hyperty(row)?),
        Table::Reuse => Record::Reuse(ReuseRow { key: row.get(0)?, urls: strings(row, 1)? }),
        Table::Object => Record::Object(read_object(row)?),
        Table::Subscription => Record::Subscription(SubscriptionRow {
            resource: row.get(0)?,
            subscriber: row.get(1)?,
            domain: row.get(2)?,
            identity: row.get(3)?,
            since_ms: row.get(4)?,
        }),
        Table::Lease => Record::Lease(LeaseRow { url: row.get(0)?, expires_ms: row.get(1)? }),
        Table::Block => Record::Block(BlockRow {
            url: row.get(0)?,
            allocation: row.get(1)?,
            holder: row.get(2)?,
        }),
        Table::Outbox => Record::Outbox(OutboxRow {
            route: row.get(0)?,
            seq: row.get(1)?,
            frame: row.get(2)?,
            attempts: row.get(3)?,
            first_ms: row.get(4)?,
        }),
        Table::Dead => Record::Dead(DeadRow {
            route: row.get(0)?,
            seq: row.get(1)?,
            frame: row.get(2)?,
            reason: row.get(3)?,
            dead_ms: row.get(4)?,
        }),
        Table::Code => Record::Code(read_code(row)?),
    })
}

/// `at` is the first column after the key.
fn read_stub(key: RouteKey, row: &Row<'_>, at: usize) -> rusqlite::Result<StubRow> {
    let column = |offset: usize| at.saturating_add(offset);
    Ok(StubRow {
        key,
        url: row.get(column(0))?,
        interworking: row.get(column(1))?,
        source: row.get(column(2))?,
        digest: row.get(column(3))?,
        version: row.get(column(4))?,
        status: row.get(column(5))?,
        status_ms: row.get(column(6))?,
        last_error: row.get(column(7))?,
        quarantines: row.get(column(8))?,
        quarantine_until_ms: row.get(column(9))?,
    })
}

fn read_hyperty(row: &Row<'_>) -> rusqlite::Result<HypertyRow> {
    Ok(HypertyRow {
        url: row.get(0)?,
        descriptor: row.get(1)?,
        name: row.get(2)?,
        user: row.get(3)?,
        resources: strings(row, 4)?,
        schemes: strings(row, 5)?,
        p2p_handler: row.get(6)?,
        p2p_requester: row.get(7)?,
        status: row.get(8)?,
        since_ms: row.get(9)?,
    })
}

fn read_object(row: &Row<'_>) -> rusqlite::Result<ObjectRow> {
    Ok(ObjectRow {
        url: row.get(0)?,
        reporter: row.get(1)?,
        schema: row.get(2)?,
        name: row.get(3)?,
        resources: strings(row, 4)?,
        subscribers: strings(row, 5)?,
        authorised: strings(row, 6)?,
        status: row.get(7)?,
        since_ms: row.get(8)?,
    })
}

fn read_code(row: &Row<'_>) -> rusqlite::Result<CodeRow> {
    Ok(CodeRow {
        digest: row.get(0)?,
        source: row.get(1)?,
        version: row.get(2)?,
        size: row.get(3)?,
        etag: row.get(4)?,
        fetched_ms: row.get(5)?,
        verified_by: row.get(6)?,
    })
}
