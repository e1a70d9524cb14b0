//! Text with its escapes undone: percent signs, HTML and XML entities, backslashes. Pure.
//!
//! A peer that quotes a password spells it as its own format wants: `p%40ss`, `p%40SS`, `p&#64;ss`,
//! `p\u0040ss`, and one inside the other where an error page stands in a JSON answer. All of these
//! are one text once they are undone, so secrets are looked for there; each byte remembers which
//! part of the original it comes from, and that part is what is hidden.

/// Deeper than any peer nests one format in another.
pub(super) const MAX_DEPTH: usize = 4;

/// The longest escape: `&#x0010ffff;`, with room for more leading zeros.
const LONGEST: usize = 16;

/// Bytes, and the part of the original text that each stands for.
#[derive(Debug, Default)]
pub(super) struct Unescaped {
    pub(super) bytes: Vec<u8>,
    from: Vec<u32>,
    to: Vec<u32>,
}

impl Unescaped {
    /// `text` with one layer of escapes undone; `None` if it has none.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let here = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        undo(text, |from, to| (here(from), here(to)))
    }

    /// The next layer undone, still telling of the first text.
    pub(super) fn again(&self) -> Option<Self> {
        undo(&self.bytes, |from, to| {
            let last = to.saturating_sub(1);
            (
                self.from.get(from).copied().unwrap_or_default(),
                self.to.get(last).copied().unwrap_or_default(),
            )
        })
    }

    /// The part of the original that the bytes from `from` to before `to` stand for.
    pub(super) fn origin(&self, from: usize, to: usize) -> (usize, usize) {
        let first = self.from.get(from).copied().unwrap_or_default();
        let last = self.to.get(to.saturating_sub(1)).copied();
        (first as usize, last.unwrap_or(first) as usize)
    }
}

/// Undone to the last layer.
pub(super) fn wholly(text: &[u8]) -> Vec<u8> {
    let Some(mut done) = Unescaped::of(text) else {
        return text.to_vec();
    };
    for _ in 1..MAX_DEPTH {
        match done.again() {
            Some(further) => done = further,
            None => break,
        }
    }
    done.bytes
}

/// Where an escape may have been cut in two at the end of a text.
pub(super) fn torn_escape(text: &[u8]) -> Option<usize> {
    let tail = text.len().saturating_sub(LONGEST);
    let begins = |b: &u8| matches!(b, b'%' | b'&' | b'\\');
    let at = text.get(tail..)?.iter().rposition(begins)?;
    Some(tail + at)
}

fn undo(text: &[u8], origin: impl Fn(usize, usize) -> (u32, u32)) -> Option<Unescaped> {
    let first = text.iter().position(|b| matches!(b, b'%' | b'&' | b'\\'))?;
    let mut out = Unescaped {
        bytes: Vec::with_capacity(text.len()),
        from: Vec::with_capacity(text.len()),
        to: Vec::with_capacity(text.len()),
    };
    let mut push = |bytes: &[u8], from: usize, to: usize| {
        let (from, to) = origin(from, to);
        for byte in bytes {
            out.bytes.push(*byte);
            out.from.push(from);
            out.to.push(to);
        }
    };
    let mut found = false;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let escape = if at < first { None } else { escape(rest) };
        if let Some((taken, meant)) = escape {
            found = true;
            push(meant.bytes(), at, at + taken);
            at += taken;
        } else {
            push(rest.get(..1).unwrap_or_default(), at, at + 1);
            at += 1;
        }
    }
    found.then_some(out)
}

/// What one escape means.
struct Meant {
    bytes: [u8; 4],
    len: usize,
}

impl Meant {
    fn byte(byte: u8) -> Self {
        Self {
            bytes: [byte, 0, 0, 0],
            len: 1,
        }
    }

    fn char(c: char) -> Self {
        let mut bytes = [0; 4];
        let len = c.encode_utf8(&mut bytes).len();
        Self { bytes, len }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The escape that `text` begins with: its length and its meaning.
fn escape(text: &[u8]) -> Option<(usize, Meant)> {
    match text {
        [b'%', b'u' | b'U', rest @ ..] => {
            let number = digits(rest.get(..4)?, 16)?;
            Some((6, Meant::char(char::from_u32(number)?)))
        }
        [b'%', high, low, ..] => {
            let byte = u8::try_from(digits(&[*high, *low], 16)?).ok()?;
            Some((3, Meant::byte(byte)))
        }
        [b'&', rest @ ..] => {
            let end = rest.iter().take(LONGEST - 1).position(|b| *b == b';')?;
            let name = rest.get(..end)?;
            let c = match name {
                [b'#', b'x' | b'X', hex @ ..] => char::from_u32(digits(hex, 16)?)?,
                [b'#', decimal @ ..] => char::from_u32(digits(decimal, 10)?)?,
                _ => named(name)?,
            };
            Some((end + 2, Meant::char(c)))
        }
        [b'\\', rest @ ..] => backslash(rest).map(|(taken, meant)| (taken + 1, meant)),
        _ => None,
    }
}

/// What follows a backslash, in JSON, C, Rust, JavaScript and the shell.
fn backslash(rest: &[u8]) -> Option<(usize, Meant)> {
    match rest {
        [b'u' | b'U', b'{', hex @ ..] => {
            let end = hex.iter().take(8).position(|b| *b == b'}')?;
            let c = char::from_u32(digits(hex.get(..end)?, 16)?)?;
            Some((end + 3, Meant::char(c)))
        }
        [b'u', hex @ ..] => {
            let first = digits(hex.get(..4)?, 16)?;
            if let Some(c) = char::from_u32(first) {
                return Some((5, Meant::char(c)));
            }
            // A pair of surrogates is one character.
            let [b'\\', b'u', low @ ..] = hex.get(4..)? else {
                return None;
            };
            let second = digits(low.get(..4)?, 16)?;
            let units = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
            let c = char::decode_utf16(units).next()?.ok()?;
            Some((11, Meant::char(c)))
        }
        [b'x', high, low, ..] => {
            let byte = u8::try_from(digits(&[*high, *low], 16)?).ok()?;
            Some((3, Meant::byte(byte)))
        }
        [c, ..] => {
            let byte = match c {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                b'0' => 0,
                mark if mark.is_ascii_punctuation() => *mark,
                _ => return None,
            };
            Some((1, Meant::byte(byte)))
        }
        [] => None,
    }
}

/// A number of at least one digit and nothing else.
fn digits(text: &[u8], radix: u32) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |sum, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        sum.checked_mul(radix)?.checked_add(digit)
    })
}

/// HTML's names for the characters of ASCII that are neither letters nor digits.
fn named(name: &[u8]) -> Option<char> {
    let found = match name {
        b"Tab" => '\t',
        b"NewLine" => '\n',
        b"nbsp" => '\u{a0}',
        b"excl" => '!',
        b"quot" | b"QUOT" => '"',
        b"num" => '#',
        b"dollar" => '$',
        b"percnt" => '%',
        b"amp" | b"AMP" => '&',
        b"apos" => '\'',
        b"lpar" => '(',
        b"rpar" => ')',
        b"ast" | b"midast" => '*',
        b"plus" => '+',
        b"comma" => ',',
        b"period" => '.',
        b"sol" => '/',
        b"colon" => ':',
        b"semi" => ';',
        b"lt" | b"LT" => '<',
        b"equals" => '=',
        b"gt" | b"GT" => '>',
        b"quest" => '?',
        b"commat" => '@',
        b"lsqb" | b"lbrack" => '[',
        b"bsol" => '\\',
        b"rsqb" | b"rbrack" => ']',
        b"Hat" => '^',
        b"lowbar" | b"UnderBar" => '_',
        b"grave" => '`',
        b"lcub" | b"lbrace" => '{',
        b"verbar" | b"vert" | b"VerticalLine" => '|',
        b"rcub" | b"rbrace" => '}',
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> String {
        String::from_utf8(wholly(text.as_bytes())).unwrap()
    }

    #[test]
    fn every_spelling_of_one_text() {
        for spelling in [
            "p@s:s\"é𝄞",
            "p%40s%3as%22%c3%A9%F0%9D%84%9E",
            "p%u0040s%u003As&quot;%u00e9𝄞",
            "p&commat;s&colon;s&quot;&#233;&#x1D11E;",
            "p&#64;s&#x3a;s&#34;&#xE9;&#119070;",
            r#"p\u0040s\u003as\"\u00e9\ud834\udd1e"#,
            r#"p\x40s\:s\"\u{e9}\u{1d11e}"#,
            // One in the other.
            r"p%2540s\u0025\u0033\u0061s&amp;quot;é𝄞",
            r"p\\u0040s:s\\\u0022é𝄞",
        ] {
            assert_eq!(plain(spelling), "p@s:s\"é𝄞", "{spelling}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        for text in [
            "100%",
            "%",
            "%4",
            "%zz",
            "%u12",
            "a & b",
            "&;",
            "&nothing;",
            "&#;",
            "&#x;",
            "\\",
            "\\u12",
            "\\u{}",
            "\\ud834",
            "\\q",
            "&#xffffffffff;",
            "",
        ] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn each_byte_knows_where_it_came_from() {
        let text = "a%2540b&amp;c";
        let one = Unescaped::of(text.as_bytes()).unwrap();
        assert_eq!(one.bytes, b"a%40b&c");
        let two = one.again().unwrap();
        assert_eq!(two.bytes, b"a@b&c");
        let at = |from, to| {
            let (from, to) = two.origin(from, to);
            &text[from..to]
        };
        assert_eq!(at(1, 2), "%2540");
        assert_eq!(at(2, 5), "b&amp;c");
        assert!(two.again().is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_undone_without_harm(text in "[ -~%&;#\\\\ux0-9é]{0,80}") {
            if let Some(done) = Unescaped::of(text.as_bytes()) {
                prop_assert!(done.bytes.len() <= text.len());
                let (from, to) = done.origin(0, done.bytes.len());
                prop_assert_eq!((from, to), (0, text.len()));
            }
            let _ = (wholly(text.as_bytes()), torn_escape(text.as_bytes()));
        }
    }
}
