//! Text from outside, made fit to be shown: what a terminal would obey, and what would make a line
//! read as another, never reaches whoever reads it.

/// Whether the character is not shown as what it is: controls of both sets, the marks that turn the
/// direction of writing, separators, and what has no width.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{61C}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// The text without hidden characters, and at most `max` bytes of it.
pub fn bounded(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !is_hidden(*c)) {
        if out.len().saturating_add(c.len_utf8()) > max {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{bounded, is_hidden};

    #[test]
    fn what_turns_or_hides_text_is_hidden_and_letters_are_not() {
        for c in
            ['\0', '\t', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{feff}']
        {
            assert!(is_hidden(c), "{c:?}");
        }
        for c in ['a', ' ', '\u{a0}', 'é', 'ж', 'ع', '中', '🙂'] {
            assert!(!is_hidden(c), "{c:?}");
        }
    }

    #[test]
    fn a_bound_never_cuts_a_character() {
        assert_eq!(bounded("a\u{1b}[31mé中", 5), "a[31m");
        assert_eq!(bounded("aé", 2), "a");
    }
}
