//! Whether output runs at a pace that no camera makes. Pure: time is an argument.
//!
//! A camera whose clock is set while it sends makes FFmpeg fill the hour in between: a thousand
//! doubled pictures a second, all cores, and nobody sees anything. The counters go on, so no stall is
//! seen in them.

use std::time::{Duration, Instant};

use crate::domain::stream::Progress;

/// So long, and it is no burst that a camera catches up with.
const TOO_LONG: Duration = Duration::from_secs(5);
/// Pictures a second that no camera sends.
const MOST_FRAMES: f64 = 150.0;
/// Media seconds a second that no camera sends for so long.
const MOST_SPEED: f64 = 3.0;
/// Blocks that are read in one go tell of no pace.
const LEAST_APART: Duration = Duration::from_millis(200);

/// The pace of one run.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    last: Option<(Instant, u64, u64)>,
    /// Since when it has been too fast without a pause.
    since: Option<Instant>,
    runs_away: bool,
}

impl Pace {
    /// A progress block.
    pub fn note(&mut self, progress: &Progress, now: Instant) {
        let block = (now, progress.frame, progress.out_time_ms);
        let Some((at, frame, out_time)) = self.last else {
            self.last = Some(block);
            return;
        };
        let apart = now.saturating_duration_since(at);
        if apart < LEAST_APART {
            return;
        }
        self.last = Some(block);
        let a_second = |more: u64| {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            f64::from(more) / apart.as_secs_f64()
        };
        let frames = a_second(progress.frame.saturating_sub(frame));
        let speed = a_second(progress.out_time_ms.saturating_sub(out_time)) / 1e3;
        if frames > MOST_FRAMES || speed > MOST_SPEED {
            let since = *self.since.get_or_insert(at);
            self.runs_away |= now.saturating_duration_since(since) >= TOO_LONG;
        } else {
            self.since = None;
        }
    }

    /// Whether it has been too fast for too long.
    pub fn runs_away(&self) -> bool {
        self.runs_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORWARD: &str = include_str!("../../../tests/fixtures/ffmpeg/progress-forward-9.0.2.txt");
    const BACK: &str = include_str!("../../../tests/fixtures/ffmpeg/progress-back-9.0.2.txt");

    /// A block a second, as it was asked for.
    fn recorded(text: &str) -> Vec<Progress> {
        let mut blocks = Vec::new();
        let mut block = Progress {
            has_video: true,
            ..Progress::default()
        };
        for line in text.lines() {
            let (key, value) = line.split_once('=').unwrap();
            match key {
                "frame" => block.frame = value.trim().parse().unwrap(),
                "out_time_us" => {
                    let micros: u64 = value.trim().parse().unwrap_or(0);
                    block.out_time_ms = micros / 1000;
                }
                "progress" => blocks.push(block),
                _ => {}
            }
        }
        blocks
    }

    /// After how many seconds it is called a runaway.
    fn after(blocks: &[Progress]) -> Option<u64> {
        let mut pace = Pace::default();
        let t0 = Instant::now();
        for (second, block) in (0..).zip(blocks) {
            pace.note(block, t0 + Duration::from_secs(second));
            if pace.runs_away() {
                return Some(second);
            }
        }
        None
    }

    #[test]
    fn a_cameras_clock_that_is_set_is_seen_in_what_ffmpeg_recorded() {
        // It was set after five seconds.
        for (recording, text) in [("forward", FORWARD), ("back", BACK)] {
            let seconds = after(&recorded(text)).unwrap_or_else(|| panic!("{recording}"));
            assert!((8..=13).contains(&seconds), "{recording}: {seconds}");
        }
    }

    #[test]
    fn what_cameras_do_is_none() {
        let block = |frame, out_time_ms| Progress {
            has_video: true,
            frame,
            out_time_ms,
            ..Progress::default()
        };
        // 60 pictures a second, for a minute.
        let steady: Vec<_> = (0..60).map(|s| block(s * 60, s * 1000)).collect();
        assert_eq!(after(&steady), None);
        // A gap of a minute that is caught up with in four seconds, and again.
        let bursts: Vec<_> = (0..60)
            .map(|s| {
                let gone = s / 10 * 10_000 + (s % 10).min(4) * 2_500;
                block(gone / 40, gone)
            })
            .collect();
        assert_eq!(after(&bursts), None);
        // Time that jumps once, copied.
        let jump: Vec<_> = (0..60)
            .map(|s| block(s * 25, s * 1000 + if s > 20 { 3_600_000 } else { 0 }))
            .collect();
        assert_eq!(after(&jump), None);
    }

    #[test]
    fn blocks_read_in_one_go_tell_of_no_pace() {
        let mut pace = Pace::default();
        let t0 = Instant::now();
        for s in 0..30u64 {
            let block = Progress {
                has_video: true,
                frame: s * 25,
                out_time_ms: s * 1000,
                ..Progress::default()
            };
            // The owner was away for ten seconds, and reads ten blocks at once.
            let read = t0 + Duration::from_secs(s / 10 * 10) + Duration::from_millis(s % 10);
            pace.note(&block, read);
            assert!(!pace.runs_away());
        }
    }
}
