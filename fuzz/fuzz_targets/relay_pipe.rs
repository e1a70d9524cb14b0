//! What goes through the pipes between the daemon and its child `lss relay`: any bytes as the child's
//! job, and as what the child says. No panic; one word a look; what is believed is bounded, and leads
//! to no other host by a login of its own.
#![no_main]

use lss::domain::stream::SourceLook;
use lss::infrastructure::child::process::{OutputJudge, RunSignal};
use lss::infrastructure::relay::event;
use lss::infrastructure::relay::job::Job;
use lss::infrastructure::relay::judge::LookJudge;
use lss::util::url;

/// Longer than anything that is shown of it.
const MOST: usize = 1_000;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(job) = Job::read(data) {
        let text = job.write();
        assert_eq!(Job::read(text.expose().as_bytes()), Some(job));
    }

    // However it is cut.
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let mut judge = LookJudge::new();
    judge.stdout(data, &mut |said| whole.push(said));
    let why = judge.verdict(Some(0), None, false);
    let mut judge = LookJudge::new();
    for piece in data.chunks(7) {
        judge.stdout(piece, &mut |said| pieces.push(said));
    }
    assert_eq!(whole, pieces);
    assert_eq!(why, judge.verdict(Some(0), None, false));
    let last_words = |said: &&RunSignal| !matches!(said, RunSignal::LoginTaken);
    assert!(whole.iter().filter(last_words).count() <= 1);
    assert!(why.is_some() || !whole.is_empty());

    for line in data.split(|b| *b == b'\n') {
        let Some(look) = event::read(line) else {
            continue;
        };
        match &look {
            SourceLook::Known(facts) => {
                if let Some(target) = &facts.moved_to {
                    let parts = url::split(target.expose()).expect("a URL");
                    assert!(parts.raw_user().is_none(), "user info");
                    assert!(parts.scheme.to_ascii_lowercase().starts_with("rtsp"));
                }
                let codec = facts.video.codec.as_deref().unwrap_or_default();
                assert!(codec.chars().count() < MOST);
            }
            SourceLook::Refused { why, .. } => assert!(why.detail.chars().count() < MOST),
            SourceLook::Unclear(why) => assert!(why.chars().count() < MOST),
        }
        // What is written is a line, and says the same.
        let line = event::write(&look);
        let text = line.strip_suffix('\n').expect("a line");
        assert!(!text.contains('\n'));
        assert_eq!(event::read(text.as_bytes()), Some(look));
    }
});
