//! Any bytes as FFmpeg's stderr: no panic; an end that nobody asked for has a cause; the log tail
//! stays short; the session to delete is on the WHIP endpoint's host.
#![no_main]

use lss::domain::gateway::RunLog;
use lss::infrastructure::child::log_tail::{LineSplitter, LogTail, MAX_TAIL};
use lss::infrastructure::ffmpeg::diagnosis::{Classifier, End, Signal};
use lss::util::url;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut classifier = Classifier::new("https://whip.example/x");
    let tail = LogTail::new();
    let mut splitter = LineSplitter::new();
    let (mut up, mut failing) = (0, 0);
    let mut take = |line: &str| {
        tail.push(line);
        match classifier.line(line) {
            Some(Signal::SessionUp(_)) => up += 1,
            Some(Signal::Failing(found)) => {
                failing += 1;
                assert!(!found.detail.is_empty());
            }
            Some(Signal::Handshaking) | None => {}
        }
    };
    for piece in data.chunks(61) {
        splitter.feed(piece, &mut take);
    }
    splitter.finish(&mut take);
    assert!(up <= 1 && failing <= 1);
    let code = data.last().map(|b| i32::from(*b));
    for code in [code, None] {
        let end = End {
            code,
            ..End::default()
        };
        assert!(classifier.finish(&end).is_some());
    }
    let text = tail.lines().join("\n");
    assert!(text.chars().count() <= MAX_TAIL);
    if let Some(session) = classifier.session_left() {
        let parts = url::split(session.expose()).expect("a URL");
        assert!(parts.host.eq_ignore_ascii_case("whip.example"));
        assert!(parts.scheme.eq_ignore_ascii_case("https"));
    }
});
