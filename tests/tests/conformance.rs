//! Holds `docs/conformance.md`: every step and message of the seeds has its row, every row names
//! tests that exist or says what it waits for, and the number of open rows is the one written down.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows that must be there: the numbered ones of each seed, of the recorded traces (A) and of
/// the test ideas of the original (T), and the others by name.
const NUMBERED: &[(&str, u32)] =
    &[("PS", 22), ("IW", 24), ("P2P", 15), ("MF", 22), ("PF", 8), ("A", 3), ("T", 24)];
const NAMED: &[&str] = &["PS-message", "PS-login", "IW-message", "P2P-code", "P2P-who"];

struct Row {
    id: String,
    shown: Vec<(String, String)>,
    open: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/conformance.md")).unwrap()
}

/// Splits a row at the bars that are not in backticks.
fn cells(line: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut code = false;
    for c in line.trim().trim_matches('|').chars() {
        match c {
            '`' => code = !code,
            '|' if !code => found.push(String::new()),
            _ => {}
        }
        if c != '|' || code {
            found.last_mut().unwrap().push(c);
        }
    }
    found.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn rows(text: &str) -> Vec<Row> {
    let table = text.lines().filter(|line| line.starts_with("| "));
    let all =
        table.map(cells).filter(|cells| !["step", "message", "sentence"].contains(&&*cells[0]));
    all.map(|cells| {
        assert_eq!(cells.len(), 3, "{cells:?}");
        let shown = cells[2].split('`').skip(1).step_by(2);
        let shown = shown.filter_map(|name| name.split_once(".rs::"));
        Row {
            id: cells[0].clone(),
            shown: shown.map(|(file, test)| (format!("{file}.rs"), test.to_owned())).collect(),
            open: cells[2].strip_prefix("open: ").map(str::to_owned),
        }
    })
    .collect()
}

/// Whether the file has a test of this name.
fn is_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let Some(at) = lines.iter().position(|line| line.contains(&head)) else { return false };
    let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with('#'));
    attributes.into_iter().any(|line| line.starts_with("#[test]") || line.contains("::test"))
}

#[test]
fn every_step_and_message_of_the_seeds_has_one_row() {
    let ids: Vec<String> = rows(&document()).into_iter().map(|row| row.id).collect();
    let unique: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "a row is there twice: {ids:?}");
    let numbered =
        NUMBERED.iter().flat_map(|(seed, last)| (1..=*last).map(move |n| format!("{seed}{n}")));
    let wanted: BTreeSet<String> =
        numbered.chain(NAMED.iter().map(|name| (*name).to_owned())).collect();
    let found: BTreeSet<String> = ids.into_iter().collect();
    assert_eq!(found, wanted);
}

#[test]
fn every_row_names_tests_that_exist_or_says_what_it_waits_for() {
    for row in rows(&document()) {
        if let Some(words) = &row.open {
            assert!(row.shown.is_empty() && words.len() > 10, "{}: open, or shown?", row.id);
            continue;
        }
        assert!(!row.shown.is_empty(), "{} names no test", row.id);
        for (file, test) in &row.shown {
            let text = fs::read_to_string(root().join(file));
            let text = text.unwrap_or_else(|error| panic!("{}: {file}: {error}", row.id));
            assert!(is_test(&text, test), "{}: {file} has no test {test}", row.id);
        }
    }
}

#[test]
fn the_number_of_open_rows_is_the_one_written_down() {
    let text = document();
    let open: Vec<(String, String)> =
        rows(&text).into_iter().filter_map(|row| Some((row.id, row.open?))).collect();
    for (id, words) in &open {
        println!("open: {id}: {words}");
    }
    let written = text.lines().find_map(|line| line.strip_prefix("Open rows: "));
    assert_eq!(written, Some(open.len().to_string().as_str()), "docs/conformance.md: Open rows");
}

#[test]
fn a_function_that_is_no_test_or_is_not_there_is_noticed() {
    let text =
        "#[test]\n#[cfg(unix)]\nfn one() {}\n\nfn two() {}\n#[tokio::test]\nasync fn three() {}\n";
    let found = ["one", "two", "three", "four"].map(|name| is_test(text, name));
    assert_eq!(found, [true, false, true, false]);
    let row = &rows("| PS1 | a `b|c` d | `x/y.rs::z`, `v.rs::w` |")[0];
    assert_eq!((row.id.as_str(), row.shown.len(), &row.open), ("PS1", 2, &None));
}
