//! Any bytes as `-progress` output: no panic, and the same blocks in whatever pieces they come.
#![no_main]

use lss::infrastructure::child::progress::ProgressParser;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut whole = Vec::new();
    ProgressParser::new().feed(data, |block| whole.push(block));
    let mut pieces = Vec::new();
    let mut parser = ProgressParser::new();
    let step = usize::from(data.first().copied().unwrap_or(0) % 13) + 1;
    for piece in data.chunks(step) {
        parser.feed(piece, |block| pieces.push(block));
    }
    assert_eq!(whole, pieces);
    for block in &whole {
        for number in [block.fps, block.speed, block.bitrate_kbps].into_iter().flatten() {
            assert!(number.is_finite() && number >= 0.0);
        }
    }
});
