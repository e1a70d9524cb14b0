//! Text of others as it may be shown: a camera's words, an answer of RCS or Ably, FFmpeg's stderr,
//! an error of the network. The one place where such text is shaped.
//!
//! The order matters. Masked first, because half a secret, or one whose spaces were folded, is not
//! recognised any more; then made one line; then cut.

use super::secret::{mask, mask_cut};

/// More than this of a text is not looked at, in bytes: many times what is ever shown.
const MAX_READ: usize = 32 * 1024;

/// Stands where the rest of a longer text was.
pub const CUT: char = '…';

/// One line of at most `max` characters, and [`CUT`] if there was more: without a secret, without
/// characters that end a line, move a cursor or turn the reading direction, and with single spaces.
pub fn shown(text: &str, max: usize) -> String {
    let (masked, cut) = masked(text, MAX_READ.max(max.saturating_mul(4)));
    let line = one_line(&masked);
    // Folding may have put together what was none before.
    let line = if line == masked { line } else { mask(&line) };
    shortened(line, max, cut)
}

/// The same of bytes, which should be UTF-8.
pub fn shown_bytes(bytes: &[u8], max: usize) -> String {
    let read = bytes.get(..MAX_READ.saturating_mul(2)).unwrap_or(bytes);
    shown(&String::from_utf8_lossy(read), max)
}

/// Without a secret, at most `max` characters, and [`CUT`] if there was more; lines and spaces stay
/// as they are.
pub fn shown_as_it_is(text: &str, max: usize) -> String {
    let (masked, cut) = masked(text, MAX_READ.max(max.saturating_mul(4)));
    shortened(masked, max, cut)
}

/// Without a secret, and else as it is: a text that has been cut, maybe within one.
pub fn shown_cut(text: &str) -> String {
    mask_cut(text)
}

/// Masked, and whether only the first `most` bytes of it are there.
fn masked(text: &str, most: usize) -> (String, bool) {
    if text.len() <= most {
        return (mask(text), false);
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
    let head = text.get(..end.unwrap_or(0)).unwrap_or_default();
    (mask_cut(head), true)
}

/// Without what is unprintable, and with single spaces.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_whitespace() && !is_unprintable(c) {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn shortened(mut text: String, max: usize, cut: bool) -> String {
    if let Some((at, _)) = text.char_indices().nth(max) {
        text.truncate(at);
        text.push(CUT);
    } else if cut {
        text.push(CUT);
    }
    text
}

/// Characters that would end a line, move the cursor, or turn the reading direction.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text can be a token that a camera has given something: a line, not empty, at most 256
/// bytes.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;
    use proptest::prelude::*;

    #[test]
    fn one_line_of_bearable_length() {
        assert_eq!(shown(" a\r\n\tb\u{1b}[31m  c\u{202e} ", 99), "a b [31m c");
        assert_eq!(shown("äöü", 3), "äöü");
        assert_eq!(shown("äöüß", 3), "äöü…");
        assert_eq!(shown_bytes(b"a\xff\nb", 9), "a\u{fffd} b");
        assert_eq!(shown(&"y".repeat(10 * MAX_READ), 5), "yyyyy…");
        assert_eq!(shown("", 5), "");
        assert_eq!(shown_as_it_is("a\n  b\n", 4), "a\n  …");
    }

    #[test]
    fn masked_before_it_is_cut_or_folded() {
        let _keep = [
            Secret::new("can@ry  two spaces"),
            Secret::new("foreign-canary-0815"),
        ];
        for most in 0..60 {
            for text in [
                "login can@ry  two spaces refused",
                "login can%40ry++two+spaces refused",
                "login can&#64;ry  two spaces refused",
                "login foreign-\ncanary-0815 foreign-canary-0815 refused",
            ] {
                let text = shown(text, most);
                assert!(!text.contains("can@"), "{text}");
                assert!(!text.contains("can%40"), "{text}");
                assert!(!text.contains("can&#"), "{text}");
                assert!(!text.contains("foreign-c"), "{text}");
            }
        }
        assert_eq!(
            shown("login can@ry  two spaces refused", 99),
            "login *** refused"
        );
    }

    #[test]
    fn a_text_too_long_to_read_ends_with_no_half_secret() {
        let _keep = Secret::new("foreign/canary/4711");
        for spelling in ["foreign/canary/4711", "foreign%2Fcanary%2f4711"] {
            for half in 4..spelling.len() {
                // What is shown reaches the end of what is read.
                let text = format!("{}{spelling}", " ".repeat(MAX_READ - half));
                let line = shown(&text, 200);
                assert!(!line.contains("fore"), "{half}: {line}");
            }
        }
    }

    proptest! {
        #[test]
        fn bounded_and_on_one_line(text in ".{0,300}", most in 0usize..100) {
            let line = shown(&text, most);
            prop_assert!(line.chars().count() <= most + 1);
            prop_assert!(!line.chars().any(is_unprintable));
        }
    }
}
