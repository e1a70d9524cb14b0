//! Frame headers of pictures: what is let through to the decoder has a bounded size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lss::infrastructure::snapshot::read_header;

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = read_header(data) {
        assert!(header.width > 0 && header.height > 0);
        assert!(header.memory() >= header.pixels());
    }
});
