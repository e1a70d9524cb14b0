//! A child's stderr: bytes → whole lines, and the masked last words of one run.
//!
//! [`LineSplitter`] owns at most one line. [`LogTail`] owns at most 2,000 characters of whole
//! lines. No threads: a reader feeds one and fills the other. What stands in the tail is masked
//! before it enters; session descriptions (they carry ICE passwords and are forty lines long) and
//! lines that FFmpeg prints on every healthy run are left out, so that the deciding line stays.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::domain::gateway::RunLog;
use crate::util::foreign;

/// The longest line kept, in bytes.
pub const MAX_LINE: usize = 4096;
/// Stands where the rest of a longer line was.
pub const CUT: &str = "… [cut]";
/// The most text of one run, in characters, line ends included (spec: the last 2000).
pub const MAX_TAIL: usize = 2000;
/// The longest line in the tail, in characters: one of them must not push out all others.
const MAX_TAIL_LINE: usize = 500;

/// Cuts a byte stream into lines. `\n`, `\r\n` and a lone `\r` end a line; empty lines are
/// dropped; a line over [`MAX_LINE`] is cut there and its rest dropped; bytes that are no UTF-8
/// become U+FFFD.
#[derive(Debug, Default)]
pub struct LineSplitter {
    line: Vec<u8>,
    cut: bool,
}

impl LineSplitter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; calls `on_line` for every line that ends in them.
    pub fn feed(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (head, tail) = rest.split_at(at);
            self.append(head);
            self.flush(&mut on_line);
            rest = tail.get(1..).unwrap_or_default();
        }
        self.append(rest);
    }

    /// The stream has ended: a last line without an end is a line.
    pub fn finish(&mut self, mut on_line: impl FnMut(&str)) {
        self.flush(&mut on_line);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.line.len());
        match bytes.get(..room) {
            Some(fits) if bytes.len() > room => {
                self.line.extend_from_slice(fits);
                self.cut = true;
            }
            _ => self.line.extend_from_slice(bytes),
        }
    }

    fn flush(&mut self, on_line: &mut impl FnMut(&str)) {
        if !self.line.is_empty() {
            let text = String::from_utf8_lossy(&self.line);
            if self.cut {
                // The cut may have halved a character.
                let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
                on_line(&format!("{whole}{CUT}"));
            } else {
                on_line(&text);
            }
        }
        self.line.clear();
        self.cut = false;
    }
}

/// The masked last words of one run. Written by its reader, read by anybody.
#[derive(Debug, Default)]
pub struct LogTail {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<String>,
    /// Characters in `lines`, one more each for its end.
    chars: usize,
}

impl LogTail {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one raw line: masks it, leaves it out if it tells nothing, and drops the oldest lines
    /// that no longer fit.
    pub fn push(&self, line: &str) {
        // Before anything is left out of it: a secret with a piece missing is not recognised.
        let masked = match line.strip_suffix(CUT) {
            Some(head) => format!("{}{CUT}", foreign::shown_cut(head)),
            None => foreign::shown_as_it_is(line, MAX_LINE),
        };
        let Some(mut shown) = telling(&masked) else {
            return;
        };
        if let Some((at, _)) = shown.char_indices().nth(MAX_TAIL_LINE) {
            shown.truncate(at);
            shown.push_str(CUT);
        }
        let chars = shown.chars().count() + 1;
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.lines.back() == Some(&shown) {
            return;
        }
        ring.chars += chars;
        ring.lines.push_back(shown);
        while ring.chars > MAX_TAIL {
            let Some(oldest) = ring.lines.pop_front() else {
                break;
            };
            ring.chars = ring.chars.saturating_sub(oldest.chars().count() + 1);
        }
    }
}

impl RunLog for LogTail {
    fn lines(&self) -> Vec<String> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.lines.iter().cloned().collect()
    }
}

/// Lines of a healthy FFmpeg run that only take room. (Substrings of what FFmpeg 8.1 and 9.0
/// print; the DELETE ones come on every clean stop, whatever the server answers.)
const NOISE: [&str; 9] = [
    "Failed to read response from DELETE",
    "Failed to dispose resource, ret=-5",
    "Timestamps are unset in a packet",
    "ffmpeg stats and -progress period set",
    "[info] using cpu capabilities",
    "[info] using SAR",
    "has not been used for any stream",
    "Press [q] to stop",
    "Nothing was written into output file",
];

/// The part of a line worth keeping; none if there is none.
fn telling(line: &str) -> Option<String> {
    let line = line.trim_end();
    let bytes = line.as_bytes();
    // SDP: `a=ice-pwd:…`. Nothing else that FFmpeg prints begins so.
    if let [b'a'..=b'z', b'=', ..] = bytes {
        return None;
    }
    // Verbose lines are there for the classifier.
    if line.is_empty() || line.contains("[verbose]") || NOISE.iter().any(|n| line.contains(n)) {
        return None;
    }
    let mut text = without_addresses(line);
    if let Some((_, said)) = text.split_once("[info]") {
        // Metadata of streams, blank lines, and x264's closing statistics.
        let detail = said.starts_with("     ") || matches!(said.trim(), "Metadata:" | "Side data:");
        let statistics = text.starts_with("[libx264") && !said.trim_start().starts_with("profile");
        if said.trim().is_empty() || detail || statistics {
            return None;
        }
    }
    for dump in [", offer:", ", offer is", "SDP:", "offer: v=", "answer: v="] {
        if let Some(at) = text.find(dump) {
            text.truncate(at);
        }
    }
    (!text.trim().is_empty()).then_some(text)
}

/// `[WHIP muxer @ 0x55e942f5ea00]` → `[WHIP muxer]`: addresses differ every time and tell nobody
/// anything.
fn without_addresses(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(" @ 0x") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;
    use proptest::prelude::*;

    fn split(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new();
        splitter.feed(bytes, |l| lines.push(l.to_owned()));
        splitter.finish(|l| lines.push(l.to_owned()));
        lines
    }

    #[test]
    fn every_kind_of_line_end() {
        assert_eq!(split(b"a\nb\r\nc\rd\n\n\re"), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_nothing_of_its_rest_shows() {
        let mut bytes = vec![b'x'; MAX_LINE - 1];
        bytes.extend_from_slice("é".repeat(5000).as_bytes());
        bytes.extend_from_slice(b"\nnext\n");
        let lines = split(&bytes);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], format!("{}{CUT}", "x".repeat(MAX_LINE - 1)));
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn no_utf8_is_no_trouble() {
        assert_eq!(split(b"a\xFFb\n"), ["a\u{FFFD}b"]);
    }

    #[test]
    fn the_tail_keeps_the_last_whole_lines() {
        let tail = LogTail::new();
        for n in 0..200 {
            tail.push(&format!("[error] line number {n} of many"));
        }
        let lines = tail.lines();
        let text = lines.join("\n");
        assert!(text.chars().count() <= MAX_TAIL, "{}", text.len());
        assert!(text.chars().count() > MAX_TAIL - 60);
        assert_eq!(lines.last().unwrap(), "[error] line number 199 of many");
        assert!(lines[0].starts_with("[error] line number"));
    }

    #[test]
    fn secrets_never_enter() {
        let _url = Secret::url("https://whip.example/canary-7f3a-path/publish");
        let _camera = Secret::url("rtsp://admin:canary-pass#1@10.0.0.9/Streaming/1");
        let tail = LogTail::new();
        tail.push("[WHIP muxer @ 0x5f] [error] Failed to request url=https://whip.example/canary-7f3a-path/publish, offer: v=0");
        tail.push("a=ice-pwd:canary-ice");
        tail.push(
            "[error] Error opening input file rtsp://admin:canary-pass#1@10.0.0.9/Streaming/1.",
        );
        let text = tail.lines().join("\n");
        assert!(!text.contains("canary-"), "{text}");
        assert!(
            text.contains("[WHIP muxer] [error] Failed to request url=https://whip.example/canar…"),
            "{text}"
        );
        assert_eq!(tail.lines().len(), 2);
    }

    #[test]
    fn noise_and_repetitions_are_left_out() {
        let tail = LogTail::new();
        for line in [
            "[WHIP muxer @ 0x1] [error] Failed to read response from DELETE url=http://127.0.0.1:1/res/1",
            "[in#0 @ 0x1] [verbose] setting jitter buffer size to 0",
            "[info]     title           : Session streamed with GStreamer",
            "[libx264 @ 0x1] [info] mb P  I16..4:  6.0%",
            "[info]",
            "",
            "m=video 9 UDP/TLS/RTP/SAVPF 106 105",
        ] {
            tail.push(line);
        }
        assert_eq!(tail.lines(), Vec::<String>::new());
        tail.push("[h264 @ 0x1] [error] error while decoding MB 1 2");
        tail.push("[h264 @ 0x2] [error] error while decoding MB 1 2");
        assert_eq!(tail.lines(), ["[h264] [error] error while decoding MB 1 2"]);
    }

    #[test]
    fn one_endless_line_does_not_push_out_the_others() {
        let tail = LogTail::new();
        tail.push("[error] the deciding line");
        tail.push(&"y".repeat(MAX_LINE));
        assert_eq!(tail.lines()[0], "[error] the deciding line");
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..300),
            cuts in proptest::collection::vec(0usize..300, 0..8),
        ) {
            let whole = split(&bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut splitter = LineSplitter::new();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                splitter.feed(&bytes[from..cut], |l| pieces.push(l.to_owned()));
                from = cut;
            }
            splitter.finish(|l| pieces.push(l.to_owned()));
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn the_tail_is_bounded_whatever_comes(lines in proptest::collection::vec(".{0,700}", 0..30)) {
            let tail = LogTail::new();
            for line in &lines {
                tail.push(line);
            }
            prop_assert!(tail.lines().join("\n").chars().count() <= MAX_TAIL);
        }
    }
}
