//! Cuts an application's bytes into lines, each bounded.

use protocol::limits::LINE_BYTES_MAX;

/// One line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// As it should be.
    Text(&'a str),
    /// Not UTF-8.
    NotText,
    /// Over the bound; nothing is read after it.
    TooLong,
}

/// Bytes that came and are no lines yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to here no line ends.
    searched: usize,
    broken: bool,
}

impl Lines {
    /// Room for at least `bytes` more.
    pub(super) fn space(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
        }
        self.bytes.reserve(bytes);
        &mut self.bytes
    }

    /// The next line that is not empty.
    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        while !self.broken {
            let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
            let end = memchr::memchr(b'\n', unsearched);
            let to = end.map_or(self.bytes.len(), |at| self.searched.saturating_add(at));
            let from = self.start;
            if to.saturating_sub(from) > LINE_BYTES_MAX {
                self.broken = true;
                return Some(Line::TooLong);
            }
            self.searched = to;
            end?;
            self.start = to.saturating_add(1);
            self.searched = self.start;
            let line = self.bytes.get(from..to).unwrap_or_default();
            let len = line.strip_suffix(b"\r").unwrap_or(line).len();
            if len > 0 {
                // Looked up again: a borrow that is returned from a loop lasts for all of it.
                let line = self.bytes.get(from..from.saturating_add(len)).unwrap_or_default();
                return Some(std::str::from_utf8(line).map_or(Line::NotText, Line::Text));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, Line, Lines};

    fn all(lines: &mut Lines) -> Vec<String> {
        let mut got = Vec::new();
        while let Some(line) = lines.next() {
            got.push(match line {
                Line::Text(text) => text.to_owned(),
                Line::NotText => "<not text>".to_owned(),
                Line::TooLong => "<too long>".to_owned(),
            });
        }
        got
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let text = "{\"a\":1}\n\r\n{\"b\":\"ü\"}\r\n\n{\"c\"";
        for step in 1..text.len() {
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for part in text.as_bytes().chunks(step) {
                lines.space(part.len()).extend_from_slice(part);
                got.extend(all(&mut lines));
            }
            assert_eq!(got, ["{\"a\":1}", "{\"b\":\"ü\"}"], "step {step}");
        }
    }

    #[test]
    fn a_line_is_bounded_at_the_edge_and_one_past() {
        let mut lines = Lines::default();
        let edge = vec![b'x'; LINE_BYTES_MAX];
        lines.space(0).extend_from_slice(&edge);
        assert_eq!(lines.next(), None);
        lines.space(0).push(b'\n');
        assert_eq!(all(&mut lines).first().map(String::len), Some(LINE_BYTES_MAX));
        lines.space(0).extend_from_slice(&edge);
        lines.space(0).extend_from_slice(b"x");
        assert_eq!(all(&mut lines), ["<too long>"], "without waiting for its end");
        lines.space(0).extend_from_slice(b"\n{}\n");
        assert_eq!(all(&mut lines), Vec::<String>::new(), "nothing is read after it");
    }

    #[test]
    fn what_is_not_utf8_is_said_so_and_the_next_line_is_read() {
        let mut lines = Lines::default();
        lines.space(0).extend_from_slice(b"\xff\xfe\n{}\n");
        assert_eq!(all(&mut lines), ["<not text>", "{}"]);
    }
}
