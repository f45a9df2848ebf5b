//! The one place where what strangers wrote is made fit for a terminal: nothing of it clears, colours,
//! turns or hides what stands there, and nothing begins a line of its own.

use protocol::control::{
    EventRow, InspectReply, MonitorRow, PsRow, Reply, ResolveReply, ResolveStep, SandboxReply,
    StatusReply,
};
use protocol::ctl::ProofReport;
use protocol::reason::Reason;
use protocol::text::is_hidden;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::fmt::Write as _;

/// Text on one line: each hidden character as its number.
pub(crate) fn text(text: &str) -> String {
    escaped(text, is_hidden)
}

/// Text of lines that this program made.
pub(crate) fn lines(text: &str) -> String {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON that says the same with escapes of its own; `pretty` for people.
pub(crate) fn json(value: &Value, pretty: bool) -> String {
    let written = if pretty { format!("{value:#}") } else { value.to_string() };
    written_json(&written, false)
}

/// A body: JSON as it was written, but on one line; or, if it is none, text.
fn body(given: &str) -> String {
    match serde_json::from_str::<IgnoredAny>(given) {
        Ok(_) => written_json(given, true),
        Err(_) => text(given),
    }
}

fn written_json(written: &str, on_one_line: bool) -> String {
    let mut out = String::with_capacity(written.len());
    for c in written.chars() {
        match c {
            // In valid JSON, layout: what is inside of a text is escaped.
            '\n' | '\r' | '\t' => out.push(if on_one_line { ' ' } else { c }),
            c if is_hidden(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing into a String cannot fail.
                    let _infallible = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// What a daemon answers, fit for a terminal.
pub(crate) trait Shown {
    /// The same, with every text on one line.
    fn shown(self) -> Self;
}

impl Shown for String {
    fn shown(self) -> Self {
        text(&self)
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(self) -> Self {
        self.map(T::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(self) -> Self {
        self.into_iter().map(T::shown).collect()
    }
}

impl<T: Shown> Shown for Box<T> {
    fn shown(self) -> Self {
        Self::new((*self).shown())
    }
}

impl<A: Shown, B: Shown> Shown for (A, B) {
    fn shown(self) -> Self {
        (self.0.shown(), self.1.shown())
    }
}

macro_rules! shown {
    ($($plain:ty),* ; $($name:ident { $($field:ident),* $(; $body:ident)? })*) => {
        $(impl Shown for $plain {
            fn shown(self) -> Self {
                self
            }
        })*
        $(impl Shown for $name {
            fn shown(self) -> Self {
                // No `..`: whoever adds a field decides here.
                let Self { $($field,)* $($body,)? } = self;
                Self { $($field: $field.shown(),)* $($body: $body.map(|given| body(&given)),)? }
            }
        })*
    };
}

shown! {
    bool, i32, u32, u64, Reason;
    StatusReply {
        runtime, domain, version, uptime_ms, pid, states, apps, accepted, delivered, refused,
        expired, queued, late, minimum, rss_bytes, store
    }
    PsRow {
        name, url, kind, engine, domain, state, status, pid, restarts, sandbox_id, level, layers,
        digest, source, pin, started_at_ms, rss_bytes
    }
    InspectReply {
        row, granted, not_granted, proof, missing, last_error, stages, parked, retry_after_ms,
        attacks
    }
    ProofReport { probes, denied, took_us, failures }
    SandboxReply {
        id, address, role, name, pid, usable, level, minimum, layers, missing, seen, attacks
    }
    ResolveReply { address, steps, decision, reason }
    ResolveStep { step, key, found, detail }
    EventRow { time_ms, seq, event, name, sandbox, reason, detail }
    MonitorRow { time_ms, dir, link, kind, id, from, to, bytes, outcome; body }
}

impl Shown for Reply {
    fn shown(self) -> Self {
        match self {
            Self::Done => Self::Done,
            Self::Denied { denial, code, reason, stage, text } => {
                Self::Denied { denial, code, reason, stage: stage.shown(), text: text.shown() }
            }
            Self::Status(reply) => Self::Status(reply.shown()),
            Self::Ps(rows) => Self::Ps(rows.shown()),
            Self::Inspect(reply) => Self::Inspect(reply.shown()),
            Self::Deployed(row) => Self::Deployed(row.shown()),
            Self::Response { code, from, body: given } => {
                Self::Response { code, from: from.shown(), body: body(&given) }
            }
            Self::Resolve(reply) => Self::Resolve(reply.shown()),
            Self::Monitor(row) => Self::Monitor(row.shown()),
            Self::Event(row) => Self::Event(row.shown()),
            Self::Log { time_ms, text } => Self::Log { time_ms, text: text.shown() },
            Self::Sandbox(reply) => Self::Sandbox(reply.shown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{body, json, lines, text};
    use serde_json::{Value, json};

    #[test]
    fn hidden_characters_are_numbers_and_letters_stay() {
        assert_eq!(text("a\u{1b}[2J\n\u{9b}é"), "a\\u{1b}[2J\\u{a}\\u{9b}é");
        assert_eq!(lines("a\n\u{202e}b"), "a\n\\u{202e}b");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = json!({"\u{9b}": ["\u{202e}\u{e0041}\u{7f}\n\\u{1b}", "é"]});
        for pretty in [true, false] {
            let written = json(&value, pretty);
            assert!(written.contains("\\udb40\\udc41") && written.contains('é'), "{written}");
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
        }
    }

    #[test]
    fn a_body_is_shown_as_it_was_written_on_one_line() {
        let given = "{\"b\":1,\r\n\t\"a\": 1e0, \"a\":\"\u{9b}\"}";
        assert_eq!(body(given), "{\"b\":1,   \"a\": 1e0, \"a\":\"\\u009b\"}");
        assert_eq!(body("{\n\u{9b}"), "{\\u{a}\\u{9b}");
    }
}
