//! Session descriptions and the parameter sets in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lss::infrastructure::media::{h264::sps, h265};
use lss::infrastructure::rtsp::sdp::Sdp;

fuzz_target!(|data: &[u8]| {
    let sdp = Sdp::parse(data);
    let _ = sdp.control();
    for (media, track) in sdp.media.iter().zip(sdp.tracks()) {
        let _ = (media.control(), media.parameter("config"));
        assert!(
            track
                .codec
                .is_none_or(|c| !c.is_empty() && c.chars().count() <= 200)
        );
        assert!(track.size.is_none_or(|(w, h)| w > 0 && h > 0));
        assert!(track.fps.is_none_or(|f| f.is_finite() && f > 0.0));
    }
    // As a set, too: through Base64 a fuzzer finds its way slowly.
    if let Some(sps) = sps::read_sps(data) {
        assert!(sps.size.0 > 0 && sps.size.1 > 0);
    }
    let _ = h265::read_size(data);
});
