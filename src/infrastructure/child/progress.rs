//! `-progress` blocks → [`Progress`]: an incremental parser.
//!
//! Owns at most one line and one block. Knows no file descriptor and no clock: bytes go in as
//! they are read, blocks come out when their last line (`progress=…`) has been seen. A field that
//! says `N/A` (the whip muxer has neither size nor bit rate) is "not known"; what is no
//! `key=value` is passed over.

use crate::domain::stream::Progress;

/// The longest line looked at. FFmpeg's own are under 40 bytes; of anything longer the rest is
/// dropped, and the line with it.
const MAX_LINE: usize = 256;

/// The parser. Feeding the same bytes in other pieces gives the same blocks.
#[derive(Debug, Default)]
pub struct ProgressParser {
    line: Vec<u8>,
    overlong: bool,
    block: Block,
}

/// The block so far.
#[derive(Debug, Default)]
struct Block {
    progress: Progress,
    /// Something was said that moves: without it the block tells nothing.
    counted: bool,
}

impl ProgressParser {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; calls `on_block` for every block that ends in them.
    pub fn feed(&mut self, bytes: &[u8], mut on_block: impl FnMut(Progress)) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.overlong)
                    && let Ok(text) = std::str::from_utf8(&line)
                    && let Some(done) = self.block.line(text)
                {
                    on_block(done);
                }
                // The allocation is kept for the next line.
                self.line = line;
                self.line.clear();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            } else {
                self.overlong = true;
            }
        }
    }
}

impl Block {
    /// One line; the whole block if this was its last.
    fn line(&mut self, line: &str) -> Option<Progress> {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        match key.trim() {
            "frame" => {
                self.progress.has_video = true;
                if let Ok(frame) = value.parse() {
                    self.progress.frame = frame;
                    self.counted = true;
                }
            }
            "fps" => self.progress.fps = number(value),
            "bitrate" => {
                self.progress.bitrate_kbps = value.strip_suffix("kbits/s").and_then(number);
            }
            "speed" => self.progress.speed = value.strip_suffix('x').and_then(number),
            "drop_frames" => self.progress.drop_frames = value.parse().unwrap_or(0),
            "dup_frames" => self.progress.dup_frames = value.parse().unwrap_or(0),
            // `out_time_ms` is in microseconds too (an old FFmpeg slip): only this one is read.
            // Before the first packet it is a large negative number, or N/A.
            "out_time_us" => {
                if let Ok(us) = value.parse::<i64>() {
                    self.progress.out_time_ms = u64::try_from(us / 1000).unwrap_or(0);
                    self.counted = true;
                }
            }
            "progress" => {
                let block = std::mem::take(self);
                return block.counted.then_some(block.progress);
            }
            _ => {}
        }
        None
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|n| n.is_finite() && *n >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As FFmpeg 9.0.2 printed it with the whip muxer, two blocks.
    const WHIP: &str = "frame=56\nfps=55.99\nstream_0_0_q=23.0\nbitrate=N/A\ntotal_size=N/A\n\
        out_time_us=1933521\nout_time_ms=1933521\nout_time=00:00:01.933521\ndup_frames=1\n\
        drop_frames=2\nspeed=1.93x\nprogress=continue\nframe=86\nfps=42.99\nbitrate=N/A\n\
        total_size=N/A\nout_time_us=2933521\nout_time_ms=2933521\nout_time=00:00:02.933521\n\
        dup_frames=1\ndrop_frames=2\nspeed=1.47x\nprogress=end\n";

    fn parse(bytes: &[u8]) -> Vec<Progress> {
        let mut parser = ProgressParser::new();
        let mut blocks = Vec::new();
        parser.feed(bytes, |p| blocks.push(p));
        blocks
    }

    #[test]
    fn a_recorded_stream() {
        let blocks = parse(WHIP.as_bytes());
        assert_eq!(blocks.len(), 2);
        assert_eq!(
            blocks[0],
            Progress {
                has_video: true,
                frame: 56,
                fps: Some(55.99),
                bitrate_kbps: None,
                speed: Some(1.93),
                drop_frames: 2,
                dup_frames: 1,
                out_time_ms: 1933,
                uplink: None,
            }
        );
        assert!(blocks[1].advanced_since(&blocks[0]));
    }

    #[test]
    fn not_known_is_none_and_a_bit_rate_is_read_where_there_is_one() {
        let text = "frame=0\nfps=0.00\nbitrate=  812.3kbits/s\nout_time_us=N/A\nspeed=N/A\nprogress=continue\n";
        let blocks = parse(text.as_bytes());
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].bitrate_kbps, Some(812.3));
        assert_eq!(blocks[0].speed, None);
        assert_eq!(blocks[0].out_time_ms, 0);
    }

    #[test]
    fn before_the_first_packet_the_time_is_negative() {
        let blocks = parse(b"frame=0\nout_time_us=-9223372036854775808\nprogress=continue\n");
        assert_eq!(blocks[0].out_time_ms, 0);
    }

    #[test]
    fn garbage_is_passed_over_and_leaves_nothing_behind() {
        let mut bytes = vec![0xFF; 100_000];
        bytes.extend_from_slice(
            b"\nprogress=continue\nframe=7\nout_time_us=x\nspeed=infx\n=\n==\nprogress=continue\n",
        );
        let blocks = parse(&bytes);
        assert_eq!(blocks.len(), 1, "a block that counts nothing is none");
        assert_eq!(blocks[0].frame, 7);
        assert_eq!(blocks[0].speed, None);
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            cuts in proptest::collection::vec(0usize..WHIP.len() + 40, 0..12),
            noise in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = noise;
            bytes.extend_from_slice(WHIP.as_bytes());
            let whole = parse(&bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut parser = ProgressParser::new();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                parser.feed(&bytes[from..cut], |p| pieces.push(p));
                from = cut;
            }
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn memory_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut parser = ProgressParser::new();
            parser.feed(&bytes, |_| {});
            prop_assert!(parser.line.len() <= MAX_LINE);
        }
    }
}
