//! Printing: rows as a table, one JSON document, or one object a line; failures on stderr.

use crate::cli::Format;
use crate::shown;
use serde_json::{Value, json};
use std::io::{self, Write as _};

/// Why the command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
    pub(crate) code: Option<u16>,
    pub(crate) reason: Option<String>,
    pub(crate) stage: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), hint: None, code: None, reason: None, stage: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One or more lines of this program's own. A broken pipe ends the program quietly, as with any tool in a pipe.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", shown::lines(text)).and_then(|()| out.flush()).map_err(|error| {
        Failure::new(protocol::exit::FAILED, format!("cannot write to stdout: {error}"))
    })
}

/// Prints one document.
pub(crate) fn document(
    format: Format,
    value: &Value,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => line(table().trim_end()),
        Format::Json => line(&shown::json(value, true)),
        Format::Ndjson => line(&shown::json(value, false)),
    }
}

/// Prints rows.
pub(crate) fn rows(
    format: Format,
    values: Vec<Value>,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => line(table().trim_end()),
        Format::Json => line(&shown::json(&Value::Array(values), true)),
        Format::Ndjson => values.iter().try_for_each(|value| line(&shown::json(value, false))),
    }
}

/// Says on stderr what failed, why and what to do.
pub(crate) fn failure(format: Format, failure: &Failure) {
    let mut err = io::stderr().lock();
    let written = match format {
        Format::Table => {
            let stage =
                failure.stage.as_ref().map_or(String::new(), |stage| format!(" (stage {stage})"));
            let hint =
                failure.hint.as_ref().map_or(String::new(), |hint| format!("hint: {hint}\n"));
            let said = format!("error: {}{stage}\n{hint}", failure.text);
            err.write_all(shown::lines(&said).as_bytes())
        }
        Format::Json | Format::Ndjson => {
            let said = json!({"error": {
                "status": failure.status, "code": failure.code, "reason": failure.reason,
                "stage": failure.stage, "message": failure.text, "hint": failure.hint,
            }});
            writeln!(err, "{}", shown::json(&said, false))
        }
    };
    // Nothing is left to tell it to if stderr is closed.
    drop(written);
}

/// Columns of equal width, two spaces between, no borders.
pub(crate) fn columns(head: &[&str], body: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in body {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let one = |cells: Vec<&str>| {
        let mut out = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            let pad = width.saturating_sub(cell.chars().count()).saturating_add(2);
            out.push_str(cell);
            out.push_str(&" ".repeat(pad));
        }
        out.trim_end().to_owned()
    };
    let mut lines = vec![one(head.to_vec())];
    lines.extend(body.iter().map(|row| one(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let table = columns(&["A", "LONG"], &[vec!["wide".to_owned(), "x".to_owned()]]);
        assert_eq!(table, "A     LONG\nwide  x");
    }
}
