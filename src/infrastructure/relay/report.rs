//! What a child that relays says on its stdout, one JSON object a line, and how the daemon reads it.
//!
//! As with a look's word, what comes is read like any text from outside: bounded, and nothing in it
//! leads the daemon to another host (the judge holds a session's URL against the task's endpoint).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::stream::{Cause, Diagnosis, UplinkStats};
use crate::util::foreign;
use crate::util::secret::Secret;

/// Longest reason, in characters.
const MAX_WORDS: usize = 500;
/// Longest name of a host.
const MAX_NAME: usize = 100;
/// What an endpoint asks to wait is believed up to here.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What happens to a relay.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The camera plays.
    Open {
        /// It has taken a login for it.
        login_taken: bool,
    },
    /// What it sends can't go out as it is: why not.
    Unfit(String),
    /// A WHIP session is made, and ended there.
    Made(Secret),
    /// A WHIP session was put on a host where nobody may end it.
    Elsewhere(String),
    /// The session of which that was said is ended, or nothing more can be done for it.
    Ended,
    /// Media goes out; how long the session has taken.
    Up(Duration),
    /// It does no longer, for this reason; a fresh session is tried.
    Lost(String),
    /// A viewer wants a key picture.
    KeyframeWanted,
    /// How far it is.
    Progress(Block),
    /// It goes on no longer.
    Failed {
        /// Why.
        why: Diagnosis,
        /// How long the endpoint wants to be left alone.
        retry_after: Option<Duration>,
        /// The relay's own way of sending has failed, which FFmpeg's may not.
        own: bool,
    },
}

/// How far a relay is, once in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Block {
    /// Pictures that went out.
    pub frames: u64,
    /// Pictures a second, of late.
    pub fps: f64,
    /// Kilobits a second, of late.
    pub kbps: f64,
    /// Media that went out.
    pub out_time: Duration,
    /// Pictures that were left out: damaged on the way from the camera, or too many at once.
    pub left_out: u64,
    /// How it arrives, while there is a session.
    pub uplink: Option<UplinkStats>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Open {
        login_taken: bool,
    },
    Unfit(String),
    Made(String),
    Elsewhere(String),
    Ended,
    Up {
        ms: u64,
    },
    Lost(String),
    KeyframeWanted,
    Progress {
        frames: u64,
        fps: f64,
        kbps: f64,
        out_ms: u64,
        left_out: u64,
        uplink: Option<UplinkLine>,
    },
    Failed {
        cause: String,
        detail: String,
        retry_after_ms: Option<u64>,
        own: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct UplinkLine {
    rtt_us: Option<u64>,
    loss: Option<f64>,
    nacks: u64,
    keyframe_requests: u64,
    sent_bytes: u64,
    resent_bytes: u64,
}

impl UplinkLine {
    fn of(stats: UplinkStats) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            rtt_us: stats.round_trip.map(micros),
            loss: stats.loss,
            nacks: stats.nacks,
            keyframe_requests: stats.keyframe_requests,
            sent_bytes: stats.sent_bytes,
            resent_bytes: stats.resent_bytes,
        }
    }

    fn stats(self) -> UplinkStats {
        UplinkStats {
            round_trip: self.rtt_us.map(Duration::from_micros),
            loss: self.loss.map(|loss| loss.clamp(0.0, 1.0)),
            nacks: self.nacks,
            keyframe_requests: self.keyframe_requests,
            sent_bytes: self.sent_bytes,
            resent_bytes: self.resent_bytes,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A line, its end included.
pub fn write(report: &Report) -> String {
    let line = match report.clone() {
        Report::Open { login_taken } => Line::Open { login_taken },
        Report::Unfit(why) => Line::Unfit(why),
        Report::Made(url) => Line::Made(url.expose().to_owned()),
        Report::Elsewhere(host) => Line::Elsewhere(host),
        Report::Ended => Line::Ended,
        Report::Up(took) => Line::Up { ms: millis(took) },
        Report::Lost(why) => Line::Lost(why),
        Report::KeyframeWanted => Line::KeyframeWanted,
        Report::Progress(block) => Line::Progress {
            frames: block.frames,
            fps: block.fps,
            kbps: block.kbps,
            out_ms: millis(block.out_time),
            left_out: block.left_out,
            uplink: block.uplink.map(UplinkLine::of),
        },
        Report::Failed {
            why,
            retry_after,
            own,
        } => Line::Failed {
            cause: why.cause.name().to_owned(),
            detail: why.detail,
            retry_after_ms: retry_after.map(millis),
            own,
        },
    };
    // A struct of texts and numbers can't fail to be written; a fraction that is none is `null`.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// Reads a line, without its end. `None` for what is no report.
pub fn read(line: &[u8]) -> Option<Report> {
    let words = |text: &str| foreign::shown(text, MAX_WORDS);
    let name = |text: &str| foreign::shown(text, MAX_NAME);
    Some(match serde_json::from_slice(line).ok()? {
        Line::Open { login_taken } => Report::Open { login_taken },
        Line::Unfit(why) => Report::Unfit(words(&why)),
        Line::Made(url) => Report::Made(Secret::url(url)),
        Line::Elsewhere(host) => Report::Elsewhere(name(&host)),
        Line::Ended => Report::Ended,
        Line::Up { ms } => Report::Up(Duration::from_millis(ms)),
        Line::Lost(why) => Report::Lost(words(&why)),
        Line::KeyframeWanted => Report::KeyframeWanted,
        Line::Progress {
            frames,
            fps,
            kbps,
            out_ms,
            left_out,
            uplink,
        } => Report::Progress(Block {
            frames,
            fps,
            kbps,
            out_time: Duration::from_millis(out_ms),
            left_out,
            uplink: uplink.map(UplinkLine::stats),
        }),
        Line::Failed {
            cause,
            detail,
            retry_after_ms,
            own,
        } => Report::Failed {
            why: Diagnosis {
                cause: Cause::ALL.into_iter().find(|known| known.name() == cause)?,
                detail: words(&detail),
            },
            retry_after: retry_after_ms.map(|ms| Duration::from_millis(ms).min(MAX_WAIT)),
            own,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let failed = |cause| Report::Failed {
            why: Diagnosis {
                cause,
                detail: "why \"not\"".to_owned(),
            },
            retry_after: Some(Duration::from_secs(37)),
            own: true,
        };
        let mut all: Vec<Report> = Cause::ALL.into_iter().map(failed).collect();
        all.extend([
            Report::Open { login_taken: true },
            Report::Unfit("B-frames".to_owned()),
            Report::Made(Secret::url("https://whip.example/s/1")),
            Report::Elsewhere("sfu.example".to_owned()),
            Report::Ended,
            Report::Up(Duration::from_millis(170)),
            Report::Lost("silence".to_owned()),
            Report::KeyframeWanted,
            Report::Progress(Block {
                frames: 50,
                fps: 25.0,
                kbps: 4000.5,
                out_time: Duration::from_secs(2),
                left_out: 1,
                uplink: Some(UplinkStats {
                    round_trip: Some(Duration::from_micros(31_500)),
                    loss: Some(0.25),
                    nacks: 7,
                    keyframe_requests: 2,
                    sent_bytes: 1 << 40,
                    resent_bytes: 9,
                }),
            }),
        ]);
        for report in all {
            let line = write(&report);
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(read(line.trim_end().as_bytes()), Some(report));
        }
    }

    #[test]
    fn texts_are_one_line_and_bounded_and_what_is_no_report_is_dropped() {
        let long = format!("{{\"lost\":\"\\u001b[2J{}\"}}", "x".repeat(5000));
        let Some(Report::Lost(words)) = read(long.as_bytes()) else {
            panic!("no report");
        };
        assert!(words.len() < 1000 && !words.contains('\u{1b}'), "{words}");
        for none in [
            "",
            "{}",
            "[]",
            "\"dance\"",
            "{\"failed\":{\"cause\":\"moon\",\"detail\":\"\",\"retry_after_ms\":null,\"own\":true}}",
        ] {
            assert_eq!(read(none.as_bytes()), None, "{none}");
        }
    }
}
