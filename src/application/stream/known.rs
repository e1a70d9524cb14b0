//! What sources have said of themselves, as long as it holds: their last run showed pictures. So a
//! source that is known is not asked again, and a start or a retry is as quick as without asking.
//!
//! Bounded; the one that was kept longest ago goes first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::domain::stream::{Source, SourceFacts};

/// Sources that are remembered: more than a node has streams.
const MAX_SOURCES: usize = 128;
/// So long a source is believed to be what it does not say itself, and only a start has shown: without
/// the sound that it announces, or not to be sent as it is. Then it gets another chance, which costs a
/// start in vain where nothing has changed: a `start_timeout` where the sound is still missing.
const SHOWN_FOR: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
struct Known {
    source: Source,
    facts: SourceFacts,
    until: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct KnownSources(VecDeque<Known>);

impl KnownSources {
    /// What that source has said, if it still holds.
    pub fn get(&self, source: &Source, now: Instant) -> Option<&SourceFacts> {
        self.0
            .iter()
            .find(|known| known.source == *source)
            .filter(|known| known.until.is_none_or(|until| now < until))
            .map(|known| &known.facts)
    }

    /// A run that was started by these facts shows pictures.
    pub fn keep(&mut self, source: &Source, facts: &SourceFacts, now: Instant) {
        let before = self.0.iter().find(|known| known.source == *source);
        let silent = facts.audio.as_ref().is_some_and(|sound| sound.silent);
        let shown = silent || facts.video.unsendable.is_some();
        let until = match before {
            Some(known) if known.facts == *facts => known.until,
            _ => shown.then(|| now + SHOWN_FOR),
        };
        self.forget(source);
        if self.0.len() >= MAX_SOURCES {
            self.0.pop_front();
        }
        self.0.push_back(Known {
            source: source.clone(),
            facts: facts.clone(),
            until,
        });
    }

    /// A run of that source has shown nothing.
    pub fn forget(&mut self, source: &Source) {
        self.0.retain(|known| known.source != *source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stream::{AudioFacts, MediaUrl, Unsendable};

    fn source(text: &str) -> Source {
        Source::Network(MediaUrl::parse("sourceUrl", text).unwrap())
    }

    fn silent() -> SourceFacts {
        SourceFacts {
            audio: Some(AudioFacts {
                silent: true,
                ..AudioFacts::default()
            }),
            ..SourceFacts::default()
        }
    }

    #[test]
    fn kept_by_its_whole_url_until_it_shows_nothing() {
        let (now, mut known) = (Instant::now(), KnownSources::default());
        let (a, b) = (source("rtsp://u:p@h/a"), source("rtsp://u:q@h/a"));
        known.keep(&a, &SourceFacts::default(), now);
        assert_eq!(
            known.get(&b, now),
            None,
            "another password is another login"
        );
        let long = now + Duration::from_secs(86_400 * 365);
        assert_eq!(known.get(&a, long), Some(&SourceFacts::default()));
        known.forget(&a);
        assert_eq!(known.get(&a, now), None);
    }

    #[test]
    fn a_missing_sound_and_a_refused_picture_get_another_chance_after_an_hour() {
        let mut refused = SourceFacts::default();
        refused.video.unsendable = Some(Unsendable {
            by: None,
            why: "B-frames".to_owned(),
        });
        for facts in [silent(), refused] {
            let (now, mut known) = (Instant::now(), KnownSources::default());
            let a = source("rtsp://h/a");
            known.keep(&a, &facts, now);
            // A restart in between does not put it off.
            known.keep(&a, &facts, now + SHOWN_FOR / 2);
            let last = now + SHOWN_FOR.mul_f64(0.99);
            assert_eq!(known.get(&a, last), Some(&facts));
            assert_eq!(known.get(&a, now + SHOWN_FOR), None);
        }
    }

    #[test]
    fn bounded() {
        let (now, mut known) = (Instant::now(), KnownSources::default());
        for number in 0..=MAX_SOURCES {
            known.keep(&source(&format!("rtsp://h/{number}")), &silent(), now);
        }
        assert_eq!(known.0.len(), MAX_SOURCES);
        assert_eq!(known.get(&source("rtsp://h/0"), now), None);
        assert!(known.get(&source("rtsp://h/1"), now).is_some());
    }
}
