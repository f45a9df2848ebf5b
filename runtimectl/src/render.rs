//! Replies as JSON (CONTRACT §8) and as text for people.

use crate::output::columns;
use crate::time::{rfc3339, span};
use protocol::control::{
    EventRow, InspectReply, MonitorRow, PsRow, ResolveReply, SandboxReply, StatusReply,
};
use protocol::ctl::ProofReport;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One object of `ps -o json`.
pub(crate) fn ps_json(row: &PsRow) -> Value {
    json!({
        "name": row.name, "url": row.url, "kind": row.kind, "engine": row.engine,
        "domain": row.domain, "state": row.state, "status": row.status, "pid": row.pid,
        "restarts": row.restarts,
        "sandbox": {"id": row.sandbox_id, "level": row.level, "layers": row.layers},
        "code": {"digest": row.digest, "source": row.source, "pin": row.pin},
        "started_at": row.started_at_ms.map(rfc3339), "rss_bytes": row.rss_bytes,
    })
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `ps` for people.
pub(crate) fn ps_table(rows: &[PsRow]) -> String {
    let body: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                row.kind.clone(),
                row.state.clone(),
                row.status.clone(),
                or_dash(row.pid),
                row.restarts.to_string(),
                row.level.clone(),
                or_dash(row.rss_bytes.map(|bytes| format!("{}K", bytes / 1_024))),
                or_dash(row.started_at_ms.map(rfc3339)),
            ]
        })
        .collect();
    columns(
        &["NAME", "KIND", "STATE", "STATUS", "PID", "RESTARTS", "LEVEL", "RSS", "STARTED"],
        &body,
    )
}

/// `status -o json`.
pub(crate) fn status_json(status: &StatusReply) -> Value {
    let components: serde_json::Map<String, Value> =
        status.states.iter().map(|(word, number)| (word.clone(), json!(number))).collect();
    json!({
        "runtime": status.runtime, "domain": status.domain, "version": status.version,
        "pid": status.pid, "uptime_ms": status.uptime_ms, "components": components, "apps": status.apps,
        "messages": {
            "accepted": status.accepted, "delivered": status.delivered, "refused": status.refused,
            "expired": status.expired, "queued": status.queued, "late": status.late,
        },
        "sandbox": {"minimum": status.minimum}, "rss_bytes": status.rss_bytes,
        "store": {"state": if status.store.is_none() { "ok" } else { "degraded" }, "detail": status.store},
    })
}

/// `status` for people.
pub(crate) fn status_text(status: &StatusReply) -> String {
    let components = if status.states.is_empty() {
        "none".to_owned()
    } else {
        let parts: Vec<String> =
            status.states.iter().map(|(word, number)| format!("{number} {word}")).collect();
        parts.join(", ")
    };
    format!(
        "runtimed {}: running for {}, pid {}\n   runtime: {}\ncomponents: {components}\n      apps: {}\n  messages: {} accepted = {} delivered + {} refused + {} expired + {} queued; {} late\n   sandbox: minimum {}\n    memory: {}K\n     store: {}\n",
        status.version,
        span(status.uptime_ms),
        status.pid,
        status.runtime,
        status.apps,
        status.accepted,
        status.delivered,
        status.refused,
        status.expired,
        status.queued,
        status.late,
        status.minimum,
        status.rss_bytes / 1_024,
        status.store.as_ref().map_or_else(|| "ok".to_owned(), |text| format!("degraded: {text}")),
    )
}

/// `inspect -o json`: the row of `ps` and what is known besides.
pub(crate) fn inspect_json(reply: &InspectReply) -> Value {
    let mut value = ps_json(&reply.row);
    let stages: Vec<Value> =
        reply.stages.iter().map(|(stage, ms)| json!({"stage": stage, "ms": ms})).collect();
    if let Some(object) = value.as_object_mut() {
        object.insert("grants".to_owned(), json!(reply.granted));
        object.insert("not_granted".to_owned(), json!(reply.not_granted));
        object.insert("proof".to_owned(), json!(reply.proof));
        object.insert("attacks".to_owned(), attacks_json(&reply.attacks));
        object.insert("missing_layers".to_owned(), json!(reply.missing));
        object.insert("last_error".to_owned(), json!(reply.last_error));
        object.insert("stages".to_owned(), json!(stages));
        object.insert("parked".to_owned(), json!(reply.parked));
        object.insert("retry_after_ms".to_owned(), json!(reply.retry_after_ms));
    }
    value
}

/// `inspect` for people.
pub(crate) fn inspect_text(reply: &InspectReply) -> String {
    let row = &reply.row;
    let mut out = format!(
        "{}\n  url       {}\n  kind      {} ({})\n  state     {}, says {}\n  process   {} (sandbox {}, restarts {})\n  level     {}: {}\n  code      {} from {}\n",
        row.name,
        row.url,
        row.kind,
        row.engine,
        row.state,
        row.status,
        or_dash(row.pid),
        or_dash(row.sandbox_id),
        row.restarts,
        row.level,
        row.layers.join(" "),
        or_dash(row.digest.as_ref()),
        or_dash(row.source.as_ref()),
    );
    list(&mut out, "granted", &reply.granted);
    list(&mut out, "refused", &reply.not_granted);
    out.push_str(&proof_text(&reply.attacks, &reply.proof, &reply.missing));
    for (stage, ms) in &reply.stages {
        let _infallible = writeln!(out, "  stage     {ms:>6} ms  {stage}");
    }
    if let Some(error) = &reply.last_error {
        let _infallible = writeln!(out, "  error     {error}");
    }
    if let Some(ms) = reply.retry_after_ms {
        let _infallible = writeln!(out, "  retry in  {}", span(ms));
    }
    out
}

/// One line for each of `items`.
fn list(out: &mut String, name: &str, items: &[String]) {
    for item in items {
        // Writing into a String cannot fail.
        let _infallible = writeln!(out, "  {name:<10}{item}");
    }
}

fn attacks_json(attacks: &ProofReport) -> Value {
    json!({
        "made": attacks.probes, "refused": attacks.denied, "took_us": attacks.took_us,
        "got_through": attacks.failures,
    })
}

/// What is known of a sandbox: by its attacks on itself, from outside, and by its own word.
fn proof_text(attacks: &ProofReport, seen: &[String], missing: &[String]) -> String {
    let mut out = String::new();
    let ProofReport { probes, denied, took_us, failures } = attacks;
    if *probes > 0 {
        let text = format!("{denied} of {probes} attacks on itself refused, in {took_us} µs");
        list(&mut out, "proof", &[text]);
    }
    list(&mut out, "through", failures);
    if !seen.is_empty() {
        list(&mut out, "seen", &[seen.join(" ")]);
    }
    list(&mut out, "missing", missing);
    out
}

/// `sandbox -o json`.
pub(crate) fn sandbox_json(reply: &SandboxReply) -> Value {
    json!({
        "id": reply.id, "address": reply.address, "role": reply.role, "name": reply.name,
        "pid": reply.pid, "usable": reply.usable, "level": reply.level, "minimum": reply.minimum,
        "layers": reply.layers, "missing_layers": reply.missing, "proof": reply.seen,
        "attacks": attacks_json(&reply.attacks),
    })
}

/// `sandbox` for people.
pub(crate) fn sandbox_text(reply: &SandboxReply) -> String {
    let mut out = format!(
        "sandbox {}\n  address   {}\n  role      {} {}\n  process   {}, {}\n  level     {} (minimum {}): {}\n",
        reply.id,
        reply.address,
        reply.role,
        reply.name,
        or_dash(reply.pid),
        if reply.usable { "proved and ready" } else { "not ready" },
        reply.level,
        reply.minimum,
        reply.layers.join(" "),
    );
    out.push_str(&proof_text(&reply.attacks, &reply.seen, &reply.missing));
    out
}

/// `resolve -o json`.
pub(crate) fn resolve_json(reply: &ResolveReply) -> Value {
    let steps: Vec<Value> = reply
        .steps
        .iter()
        .map(|step| {
            json!({"step": step.step, "key": step.key, "found": step.found, "detail": step.detail})
        })
        .collect();
    let mut value = json!({"address": reply.address, "steps": steps, "decision": reply.decision});
    if let (Some(reason), Some(object)) = (reply.reason, value.as_object_mut()) {
        object.insert("code".to_owned(), json!(reason.code()));
        object.insert("reason".to_owned(), json!(reason.token()));
    }
    value
}

/// `resolve` for people.
pub(crate) fn resolve_text(reply: &ResolveReply) -> String {
    let body: Vec<Vec<String>> = reply
        .steps
        .iter()
        .zip(1_u32..)
        .map(|(step, number)| {
            vec![
                number.to_string(),
                step.step.clone(),
                step.key.clone(),
                if step.found { "yes" } else { "no" }.to_owned(),
                step.detail.clone(),
            ]
        })
        .collect();
    let reason = reply
        .reason
        .map_or(String::new(), |reason| format!(" ({} {})", reason.code(), reason.token()));
    format!(
        "{}\n{}\n=> {}{reason}",
        reply.address,
        columns(&["#", "STEP", "KEY", "FOUND", "DETAIL"], &body),
        reply.decision
    )
}

/// One object of `events -o ndjson`.
pub(crate) fn event_json(row: &EventRow) -> Value {
    let mut value = json!({
        "time": rfc3339(row.time_ms), "seq": row.seq, "event": row.event, "name": row.name,
        "sandbox": row.sandbox, "detail": row.detail,
    });
    if let (Some(reason), Some(object)) = (&row.reason, value.as_object_mut()) {
        object.insert("reason".to_owned(), json!(reason));
    }
    value
}

/// One line of `events`.
pub(crate) fn event_text(row: &EventRow) -> String {
    let reason = row.reason.as_ref().map_or(String::new(), |reason| format!(" [{reason}]"));
    format!("{}  {:<18} {:<24} {}{reason}", rfc3339(row.time_ms), row.event, row.name, row.detail)
}

/// One object of `monitor -o json`.
pub(crate) fn monitor_json(row: &MonitorRow) -> Value {
    let mut value = json!({
        "time": rfc3339(row.time_ms), "dir": row.dir, "link": row.link, "type": row.kind,
        "id": row.id, "from": row.from, "to": row.to, "bytes": row.bytes, "outcome": row.outcome,
    });
    if let (Some(body), Some(object)) = (&row.body, value.as_object_mut()) {
        let body = serde_json::from_str(body).unwrap_or_else(|_e| json!(body));
        object.insert("body".to_owned(), body);
    }
    value
}

/// One line of `monitor`.
pub(crate) fn monitor_text(row: &MonitorRow) -> String {
    let body = row.body.as_ref().map_or(String::new(), |body| format!("\n    {body}"));
    format!(
        "{}  {:<3} {:<16} {:<10} #{:<6} {} -> {}  {} B  {}{body}",
        rfc3339(row.time_ms),
        row.dir,
        row.link,
        row.kind,
        row.id,
        row.from,
        row.to,
        row.bytes,
        row.outcome
    )
}
