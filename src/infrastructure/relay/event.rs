//! What the child says on its stdout: one JSON object a line. Its words for people go to stderr, so a
//! camera's text can forge no event.
//!
//! The child has read a camera's bytes, so what it says is read like any text from outside: bounded,
//! with no secret in it, and nothing in it leads the daemon to another host.

use serde::{Deserialize, Serialize};

use crate::domain::stream::{
    AudioFacts, Cause, Challenge, Diagnosis, SourceFacts, SourceLook, VideoFacts,
};
use crate::infrastructure::rtsp::message::request_url;
use crate::util::foreign;
use crate::util::secret::Secret;

/// The longest line that is believed.
pub const MAX_LINE: usize = 16 * 1024;
/// Longest reason, in characters.
const MAX_WORDS: usize = 500;
/// Longest name of a codec.
const MAX_NAME: usize = 64;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Source(Facts),
    Refused {
        cause: String,
        detail: String,
        login_taken: bool,
    },
    Unclear(String),
}

#[derive(Serialize, Deserialize)]
struct Facts {
    video: Video,
    audio: Option<Audio>,
    challenge: Login,
    login_taken: bool,
    moved_to: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Video {
    codec: Option<String>,
    h264_profile: Option<[u8; 3]>,
    size: Option<(u32, u32)>,
    fps: Option<f64>,
    reorders: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct Audio {
    codec: Option<String>,
    clock_rate: Option<u32>,
    channels: Option<u8>,
    refused: Option<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Login {
    None,
    Digest,
    DigestSha256,
    Basic,
}

/// A line, its end included.
pub fn write(look: &SourceLook) -> String {
    let line = match look {
        SourceLook::Known(facts) => Line::Source(facts_line(facts)),
        SourceLook::Refused { why, login_taken } => Line::Refused {
            cause: why.cause.name().to_owned(),
            detail: why.detail.clone(),
            login_taken: *login_taken,
        },
        SourceLook::Unclear(why) => Line::Unclear(why.clone()),
    };
    // A struct of texts and numbers can't fail to be written; a fraction that is none is `null`.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

fn facts_line(facts: &SourceFacts) -> Facts {
    Facts {
        video: Video {
            codec: facts.video.codec.clone(),
            h264_profile: facts.video.h264_profile,
            size: facts.video.size,
            fps: facts.video.fps,
            reorders: facts.video.reorders,
        },
        audio: facts.audio.as_ref().map(|sound| Audio {
            codec: sound.codec.clone(),
            clock_rate: sound.clock_rate,
            channels: sound.channels,
            refused: sound.refused,
        }),
        challenge: match facts.challenge {
            Challenge::None => Login::None,
            Challenge::Digest => Login::Digest,
            Challenge::DigestSha256 => Login::DigestSha256,
            Challenge::Basic => Login::Basic,
        },
        login_taken: facts.login_taken,
        moved_to: facts.moved_to.as_ref().map(|url| url.expose().to_owned()),
    }
}

/// Reads a line, without its end. `None` for what is no event.
pub fn read(line: &[u8]) -> Option<SourceLook> {
    let words = |text: &str| foreign::shown(text, MAX_WORDS);
    Some(match serde_json::from_slice(line).ok()? {
        Line::Source(facts) => SourceLook::Known(Box::new(facts_of(facts))),
        Line::Refused {
            cause,
            detail,
            login_taken,
        } => SourceLook::Refused {
            why: Diagnosis {
                // Only of the source: nothing else has been asked.
                cause: [
                    Cause::SourceUnreachable,
                    Cause::SourceAuth,
                    Cause::SourceLogin,
                    Cause::SourceStream,
                ]
                .into_iter()
                .find(|known| known.name() == cause)?,
                detail: words(&detail),
            },
            login_taken,
        },
        Line::Unclear(why) => SourceLook::Unclear(words(&why)),
    })
}

fn facts_of(facts: Facts) -> SourceFacts {
    let name = |text: Option<String>| text.map(|text| foreign::shown(&text, MAX_NAME));
    SourceFacts {
        video: VideoFacts {
            codec: name(facts.video.codec),
            h264_profile: facts.video.h264_profile,
            size: facts.video.size,
            fps: facts.video.fps.filter(|fps| fps.is_finite()),
            reorders: facts.video.reorders,
            // Nobody has tried.
            unsendable: None,
        },
        audio: facts.audio.map(|sound| AudioFacts {
            codec: name(sound.codec),
            clock_rate: sound.clock_rate,
            channels: sound.channels,
            refused: sound.refused,
            // Nobody has listened.
            silent: false,
        }),
        challenge: match facts.challenge {
            Login::None => Challenge::None,
            Login::Digest => Challenge::Digest,
            Login::DigestSha256 => Challenge::DigestSha256,
            Login::Basic => Challenge::Basic,
        },
        login_taken: facts.login_taken,
        moved_to: facts
            .moved_to
            .and_then(|url| request_url(&url))
            .map(Secret::url),
    }
}

/// Cuts what comes into lines; those that are no event are dropped, and so is what is too long.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    too_long: bool,
}

impl Reader {
    /// Takes the next bytes, and tells of each event in them, as `read` makes it of a line.
    pub fn feed<T>(
        &mut self,
        bytes: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
        mut tell: impl FnMut(T),
    ) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (part, ends) = match part.split_last() {
                Some((b'\n', rest)) => (rest, true),
                _ => (part, false),
            };
            if self.line.len() + part.len() > MAX_LINE {
                self.too_long = true;
                self.line.clear();
            }
            if !self.too_long {
                self.line.extend_from_slice(part);
            }
            if ends {
                if !self.too_long
                    && let Some(event) = read(&self.line)
                {
                    tell(event);
                }
                self.line.clear();
                self.too_long = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks() -> Vec<SourceLook> {
        let facts = SourceFacts {
            video: VideoFacts {
                codec: Some("H264".to_owned()),
                h264_profile: Some([66, 192, 30]),
                size: Some((640, 360)),
                fps: Some(25.0),
                reorders: Some(false),
                unsendable: None,
            },
            audio: Some(AudioFacts {
                codec: Some("PCMA".to_owned()),
                clock_rate: Some(8000),
                channels: Some(1),
                refused: Some(461),
                silent: false,
            }),
            challenge: Challenge::DigestSha256,
            login_taken: true,
            moved_to: Some(Secret::url("rtsp://10.0.0.9:8554/b?c=d")),
        };
        let refused = |cause| SourceLook::Refused {
            why: Diagnosis {
                cause,
                detail: "why \"not\"".to_owned(),
            },
            login_taken: false,
        };
        vec![
            SourceLook::Known(Box::new(facts)),
            SourceLook::Known(Box::default()),
            refused(Cause::SourceUnreachable),
            refused(Cause::SourceAuth),
            refused(Cause::SourceLogin),
            refused(Cause::SourceStream),
            SourceLook::Unclear("no idea".to_owned()),
        ]
    }

    #[test]
    fn what_is_written_is_read_again_however_it_is_cut() {
        let text: String = looks().iter().map(write).collect();
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            let (mut reader, mut heard) = (Reader::default(), Vec::new());
            for part in [first, second] {
                reader.feed(part, read, |look| heard.push(look));
            }
            assert_eq!(heard, looks());
        }
    }

    #[test]
    fn what_is_no_event_is_dropped_and_costs_no_other() {
        let long = "x".repeat(MAX_LINE + 1);
        let whip = r#"{"refused":{"cause":"whip_auth","detail":"","login_taken":false}}"#;
        let good = write(&SourceLook::Unclear("here".to_owned()));
        let text = format!("{long}\n{whip}\n\n[]\n{good}{{\"unclear\":\"cut");
        let (mut reader, mut heard) = (Reader::default(), Vec::new());
        for part in text.as_bytes().chunks(1000) {
            reader.feed(part, read, |look| heard.push(look));
        }
        assert_eq!(heard, [SourceLook::Unclear("here".to_owned())]);
    }

    #[test]
    fn texts_are_one_line_and_bounded_and_urls_are_rtsp_without_user_info() {
        let facts = SourceFacts {
            video: VideoFacts {
                codec: Some(format!("A\u{1b}[2J{}", "B".repeat(1000))),
                ..VideoFacts::default()
            },
            moved_to: Some(Secret::unlisted("file:///etc/passwd")),
            ..SourceFacts::default()
        };
        let line = write(&SourceLook::Known(Box::new(facts)));
        let Some(SourceLook::Known(read)) = read(line.trim_end().as_bytes()) else {
            panic!("{line}");
        };
        let codec = read.video.codec.unwrap();
        assert!(codec.len() < 300 && !codec.contains('\u{1b}'), "{codec}");
        assert_eq!(read.moved_to, None);
    }
}
