//! What is looked for: every living secret in every form that it may be quoted in, and where such a
//! form stands in a text.
//!
//! A text is read once for each layer of its escapes, whatever the number of secrets: the first
//! four bytes at each place lead to the few needles that begin so. Adding and removing one costs
//! the same however many there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use zeroize::Zeroizing;

use super::MASK;
use super::unescape::{MAX_DEPTH, Unescaped, torn_escape, wholly};

/// Values shorter than this are masked by type only: masking a two-letter password by value would
/// blank half of every text and so betray it.
pub(super) const MIN: usize = 4;

/// Longer ones are not looked for in base64: no password is, and a token that is in base64 already
/// is not encoded again.
const MAX_BASE64: usize = 256;

/// Places in the filter; a power of two.
const FILTER: usize = 1 << 14;

/// One form of a secret.
#[derive(Debug)]
pub(super) struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    /// What stands in its place.
    shown: String,
    /// A part of a longer base64 text, which is hidden as far as it goes.
    base64: bool,
}

impl Needle {
    pub(super) fn new(value: impl Into<Vec<u8>>, shown: &str) -> Self {
        Self {
            bytes: Zeroizing::new(value.into()),
            shown: shown.to_owned(),
            base64: false,
        }
    }
}

/// Every form in which others may quote `value`, but for escapes, which are undone in the text.
pub(super) fn forms(value: &str) -> Vec<Needle> {
    let mut out = vec![
        Needle::new(value, MASK),
        // As it reads where the escapes of a text are undone that were none in the value.
        Needle::new(wholly(value.as_bytes()), MASK),
    ];
    if value.contains(' ') {
        // As in a form.
        out.push(Needle::new(value.replace(' ', "+"), MASK));
    }
    if !value.is_ascii() {
        // In Latin-1, and as that looks where it was taken for UTF-8.
        let latin: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        out.extend(latin.map(|bytes| Needle::new(bytes, MASK)));
        let lost: String = value
            .chars()
            .map(|c| if c.is_ascii() { c } else { '\u{fffd}' })
            .collect();
        out.push(Needle::new(lost, MASK));
    }
    if value.len() <= MAX_BASE64 {
        out.extend(in_base64(value.as_bytes()));
    }
    out
}

/// The characters by which a value shows inside a longer text in base64, whatever stands before and
/// behind it: one for each place that it may have in a group of three bytes.
fn in_base64(value: &[u8]) -> Vec<Needle> {
    let mut out = Vec::with_capacity(3);
    for alphabet in [&alphabet::STANDARD, &alphabet::URL_SAFE] {
        let engine = GeneralPurpose::new(alphabet, NO_PAD);
        for before in 0..3_usize {
            let mut bytes = Zeroizing::new(vec![0; before]);
            bytes.extend_from_slice(value);
            let text = Zeroizing::new(engine.encode(&*bytes));
            // A character of six bits counts if all of them are the value's.
            let from = (before * 8).div_ceil(6);
            let to = bytes.len() * 8 / 6;
            if let Some(certain) = text.get(from..to) {
                out.push(Needle {
                    base64: true,
                    ..Needle::new(certain, MASK)
                });
            }
        }
    }
    out
}

/// A part of a text that must not be shown, and what to show instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) shown: String,
}

struct Entry {
    needle: Arc<Needle>,
    /// Living secrets that have it.
    lives: usize,
}

/// All needles.
pub(super) struct Needles {
    /// By their first four bytes.
    by_head: BTreeMap<u32, Vec<Entry>>,
    /// How many heads have that place: most texts never come to the map.
    filter: Vec<u16>,
}

/// The first four bytes.
fn head(bytes: &[u8]) -> Option<u32> {
    let head = bytes.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*head))
}

/// A head's place in the filter.
fn place(head: u32) -> usize {
    let mixed = head.wrapping_mul(0x9E37_79B1) >> 16;
    mixed as usize % FILTER
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

impl Needles {
    pub(super) const fn new() -> Self {
        Self {
            by_head: BTreeMap::new(),
            filter: Vec::new(),
        }
    }

    /// Adds what is long enough to be looked for; what the secret has to keep for
    /// [`remove`](Self::remove).
    pub(super) fn add(&mut self, needles: Vec<Needle>) -> Vec<Arc<Needle>> {
        let mut kept: Vec<Arc<Needle>> = Vec::with_capacity(needles.len());
        for needle in needles {
            let Some(head) = head(&needle.bytes) else {
                continue;
            };
            if needle.bytes.len() < MIN || kept.iter().any(|had| had.bytes == needle.bytes) {
                continue;
            }
            let entries = self.by_head.entry(head).or_default();
            if entries.is_empty() {
                if self.filter.is_empty() {
                    self.filter = vec![0; FILTER];
                }
                if let Some(count) = self.filter.get_mut(place(head)) {
                    *count = count.saturating_add(1);
                }
            }
            let same = |entry: &&mut Entry| entry.needle.bytes == needle.bytes;
            if let Some(entry) = entries.iter_mut().find(same) {
                entry.lives += 1;
                kept.push(entry.needle.clone());
            } else {
                let needle = Arc::new(needle);
                kept.push(needle.clone());
                entries.push(Entry { needle, lives: 1 });
            }
        }
        kept
    }

    /// A secret with these has ended.
    pub(super) fn remove(&mut self, needles: &[Arc<Needle>]) {
        for needle in needles {
            let Some(head) = head(&needle.bytes) else {
                continue;
            };
            let Some(entries) = self.by_head.get_mut(&head) else {
                continue;
            };
            entries.retain_mut(|entry| {
                if entry.needle.bytes == needle.bytes {
                    entry.lives = entry.lives.saturating_sub(1);
                }
                entry.lives > 0
            });
            if entries.is_empty() {
                self.by_head.remove(&head);
                // A count at its top may stand for more than it says, and stays.
                if let Some(count) = self.filter.get_mut(place(head))
                    && *count < u16::MAX
                {
                    *count = count.saturating_sub(1);
                }
            }
        }
    }

    /// What of `text` must not be shown: in order, without overlaps. `cut` = the text was longer,
    /// so that it may end within a secret.
    pub(super) fn hits(&self, text: &str, cut: bool) -> Vec<Hit> {
        if self.by_head.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        self.search(text.as_bytes(), cut, |from, to, needle| {
            found.push((from, to, needle));
        });
        let mut layer = Unescaped::of(text.as_bytes());
        for _ in 0..MAX_DEPTH {
            let Some(now) = layer else { break };
            self.search(&now.bytes, cut, |from, to, needle| {
                let (from, to) = now.origin(from, to);
                found.push((from, to, needle));
            });
            layer = now.again();
        }
        merged(text, found)
    }

    fn search<'a>(
        &'a self,
        text: &[u8],
        cut: bool,
        mut found: impl FnMut(usize, usize, &'a Needle),
    ) {
        let mut at = 0;
        while let Some(rest) = text.get(at..) {
            let Some(head) = head(rest) else { break };
            let mut next = at + 1;
            if self.filter.get(place(head)).is_some_and(|n| *n > 0) {
                let entries = self.by_head.get(&head).into_iter().flatten();
                let begins = entries.filter(|e| rest.starts_with(&e.needle.bytes));
                if let Some(entry) = begins.max_by_key(|e| e.needle.bytes.len()) {
                    let needle = &*entry.needle;
                    let mut from = at;
                    let mut to = at + needle.bytes.len();
                    if needle.base64 {
                        (from, to) = whole_base64(text, from, to);
                        next = to;
                    }
                    found(from, to, needle);
                }
            }
            at = next;
        }
        if cut {
            // The end of what is left, also without an escape that was cut in two.
            self.torn(text, text.len(), &mut found);
            if let Some(end) = torn_escape(text) {
                self.torn(text, end, &mut found);
            }
        }
    }

    /// The longest end of `text`, taken up to `end`, that a needle begins with.
    fn torn<'a>(
        &'a self,
        text: &[u8],
        end: usize,
        found: &mut impl FnMut(usize, usize, &'a Needle),
    ) {
        let Some(left) = text.get(..end) else { return };
        let longest = self.by_head.values().flatten();
        let longest = longest.map(|e| e.needle.bytes.len()).max().unwrap_or(0);
        for at in left.len().saturating_sub(longest)..left.len() {
            let rest = left.get(at..).unwrap_or_default();
            let Some(head) = head(rest) else { return };
            if self.filter.get(place(head)).is_none_or(|n| *n == 0) {
                continue;
            }
            let mut entries = self.by_head.get(&head).into_iter().flatten();
            if let Some(entry) = entries.find(|e| e.needle.bytes.starts_with(rest)) {
                found(at, text.len(), &entry.needle);
                return;
            }
        }
    }
}

/// A part of a base64 text, as far as the text goes: the characters at its edges hold bits of it.
fn whole_base64(text: &[u8], from: usize, to: usize) -> (usize, usize) {
    let before = text.get(..from).unwrap_or_default();
    let more = before.iter().rev().take_while(|b| is_base64(**b)).count();
    let behind = text.get(to..).unwrap_or_default();
    let run = behind.iter().take_while(|b| is_base64(**b)).count();
    let padding = behind.iter().skip(run).take_while(|b| **b == b'=').count();
    (from - more, to + run + padding.min(2))
}

/// In order, and what overlaps as one.
fn merged(text: &str, mut found: Vec<(usize, usize, &Needle)>) -> Vec<Hit> {
    // The longest first of those that begin together: a whole URL before the password inside it.
    found.sort_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
    let mut out: Vec<Hit> = Vec::new();
    for (mut from, mut to, needle) in found {
        // A needle of Latin-1 may begin or end within a character.
        while !text.is_char_boundary(from) {
            from = from.saturating_sub(1);
        }
        while !text.is_char_boundary(to) {
            to += 1;
        }
        match out.last_mut() {
            Some(last) if from < last.to => {
                if to > last.to {
                    last.to = to;
                    MASK.clone_into(&mut last.shown);
                }
            }
            _ => out.push(Hit {
                from,
                to,
                shown: needle.shown.clone(),
            }),
        }
    }
    out
}
