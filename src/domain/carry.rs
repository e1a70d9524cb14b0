//! How a task's picture is carried: what is wished × what the source is × what this box has. The one
//! table of that, for whoever carries tasks and for whoever tells people what will become of theirs.

use super::error::{ErrorCode, Fault};
use super::stream::{VideoConfig, VideoFacts};

/// Whether pictures stay as the camera sends them (`lss.ffmpeg.passthrough`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passthrough {
    /// As the task asks.
    Never,
    /// Where the task asks for nothing in particular, and every receiver takes what the source sends.
    Auto,
    /// Wherever WHIP can carry what the source sends.
    Prefer,
}

/// What a task asks of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// As it is (codec `copy`).
    Unchanged,
    /// A codec, a bit rate, a frame rate or a size.
    Particular,
    /// None of these.
    Nothing,
}

impl Asked {
    /// What that configuration asks.
    pub fn of(video: &VideoConfig) -> Self {
        let copy = |codec: &String| codec.eq_ignore_ascii_case("copy");
        if video.codec.as_ref().is_some_and(copy) {
            Self::Unchanged
        } else if video.codec.is_some()
            || video.bitrate.is_some()
            || video.fps.is_some()
            || video.width.is_some()
            || video.height.is_some()
        {
            Self::Particular
        } else {
            Self::Nothing
        }
    }
}

/// What a source's picture is to WHIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// H.264 Baseline without B-frames: every receiver takes it.
    Baseline,
    /// H.264 Main or High without B-frames: WHIP carries it, and not every receiver lists it.
    MainOrHigh,
    /// H.264 with B-frames, which WebRTC does not play.
    Reordered,
    /// H.264 of a profile that WebRTC does not play.
    OtherProfile,
    /// Not H.264.
    OtherCodec,
    /// It was to go out as it is, seemed to fit, and was refused by what was to send it.
    Unsendable,
    /// The source does not say enough.
    Unknown,
    /// Nobody has asked the source.
    Unasked,
    /// There is none.
    Missing,
}

impl Picture {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Baseline,
        Self::MainOrHigh,
        Self::Reordered,
        Self::OtherProfile,
        Self::OtherCodec,
        Self::Unsendable,
        Self::Unknown,
        Self::Unasked,
        Self::Missing,
    ];

    /// By what its description says: the codec in upper case; `profile_idc`, constraint flags and
    /// `level_idc`; whether frames may be shown in another order than they are sent.
    pub fn of(codec: Option<&str>, profile: Option<[u8; 3]>, reorders: Option<bool>) -> Self {
        let profile = profile.map(|[profile_idc, _, _]| profile_idc);
        match (codec, reorders, profile) {
            (None, ..) => Self::Unknown,
            (Some(other), ..) if other != "H264" => Self::OtherCodec,
            (_, Some(true), _) => Self::Reordered,
            (_, _, None) | (_, None, Some(66 | 77 | 100)) => Self::Unknown,
            (_, Some(false), Some(66)) => Self::Baseline,
            (_, Some(false), Some(77 | 100)) => Self::MainOrHigh,
            _ => Self::OtherProfile,
        }
    }

    /// By what the source has said, and what was met with since, for an endpoint on that host.
    pub fn of_facts(video: &VideoFacts, whip_host: &str) -> Self {
        match &video.unsendable {
            Some(refused) if refused.by.as_deref().is_none_or(|host| host == whip_host) => {
                Self::Unsendable
            }
            _ => Self::of(video.codec.as_deref(), video.h264_profile, video.reorders),
        }
    }

    /// A clause.
    fn words(self) -> &'static str {
        match self {
            Self::Baseline => "the source is H.264 Baseline without B-frames",
            Self::MainOrHigh => "the source is H.264 Main or High without B-frames",
            Self::Reordered => "the source is H.264 with B-frames, which WebRTC does not play",
            Self::OtherProfile => "the source is H.264 of a profile that WebRTC does not play",
            Self::OtherCodec => "the source is not H.264, which is all that WHIP carries here",
            Self::Unsendable => "the source was refused when it was to be sent as it is",
            Self::Unknown => "the source does not say whether it is H.264 without B-frames",
            Self::Unasked => "the source has not been asked what it is",
            Self::Missing => "the source has no picture",
        }
    }
}

/// What there is to carry a task with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// Our own publisher, where it may be used.
    pub relay: bool,
    /// An FFmpeg that can send.
    pub ffmpeg: bool,
    /// It has an encoder for H.264.
    pub encoder: bool,
}

/// How the picture is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As it is, by our own publisher.
    Relay,
    /// As it is, by FFmpeg.
    Copy,
    /// Encoded anew by FFmpeg.
    Transcode,
}

/// A decision, and why in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// How.
    pub way: Way,
    /// Why so: a clause without a full stop.
    pub reason: String,
}

/// Whether the decision depends on what the source is, so that asking it is worth the while.
pub fn depends_on_source(asked: Asked, passthrough: Passthrough) -> bool {
    matches!(
        (asked, passthrough),
        (Asked::Nothing, Passthrough::Auto)
            | (Asked::Nothing | Asked::Particular, Passthrough::Prefer)
    )
}

/// The table.
pub fn decide(
    asked: Asked,
    passthrough: Passthrough,
    picture: Picture,
    means: Means,
) -> Result<Carried, Fault> {
    if picture == Picture::Missing {
        return Err(Fault::new(
            ErrorCode::RtspStreamError,
            format!("{}: there is nothing to stream", picture.words()),
        ));
    }
    match stays(asked, passthrough, picture, means.relay)? {
        Ok(reason) if means.relay => Ok(Carried {
            way: Way::Relay,
            reason,
        }),
        Ok(reason) if means.ffmpeg => Ok(Carried {
            way: Way::Copy,
            reason,
        }),
        Err(reason) if means.ffmpeg && means.encoder => Ok(Carried {
            way: Way::Transcode,
            reason,
        }),
        Ok(_) => Err(Fault::new(
            ErrorCode::FfmpegNotFound,
            "there is no FFmpeg that can send the picture",
        )),
        Err(reason) => {
            let lacking = if means.ffmpeg {
                "this FFmpeg has no H.264 encoder: install one with libx264"
            } else {
                "there is no FFmpeg that could"
            };
            Err(Fault::new(
                ErrorCode::FfmpegNotFound,
                format!("the picture would have to be encoded ({reason}), and {lacking}"),
            ))
        }
    }
}

/// Whether the picture stays as it is (`Ok`) or is encoded (`Err`), and why; a fault where it was to
/// stay and can't.
fn stays(
    asked: Asked,
    passthrough: Passthrough,
    picture: Picture,
    relay: bool,
) -> Result<Result<String, String>, Fault> {
    let source = || picture.words().to_owned();
    Ok(match (asked, passthrough) {
        (Asked::Unchanged, _) => match picture {
            Picture::Reordered | Picture::OtherCodec => {
                return Err(Fault::new(
                    ErrorCode::TaskStartFailed,
                    format!(
                        "videoConfig.codec is copy, and {}: leave codec out, or set the camera to \
                         H.264 Baseline",
                        picture.words()
                    ),
                ));
            }
            _ => Ok("videoConfig.codec is copy".to_owned()),
        },
        (_, Passthrough::Never) => Err("the task does not ask for copy".to_owned()),
        (Asked::Particular, Passthrough::Auto) => Err(
            "the task asks for a codec, a bit rate, a frame rate or a size of its own".to_owned(),
        ),
        (Asked::Nothing, Passthrough::Auto) => match picture {
            Picture::Baseline => Ok(source()),
            _ => Err(source()),
        },
        (_, Passthrough::Prefer) => match picture {
            Picture::Baseline | Picture::MainOrHigh => Ok(source()),
            // Our own publisher reads the pictures before it asks the endpoint.
            Picture::Unknown if relay => Ok(format!("{}: its pictures do", source())),
            _ => Err(source()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stream::Unsendable;

    const ASKED: [Asked; 3] = [Asked::Unchanged, Asked::Particular, Asked::Nothing];
    const PASSTHROUGH: [Passthrough; 3] =
        [Passthrough::Never, Passthrough::Auto, Passthrough::Prefer];

    /// By [`Picture::ALL`]: u = unchanged, e = encoded, x = can't be.
    const TABLE: [(Asked, Passthrough, &str); 9] = [
        (Asked::Unchanged, Passthrough::Never, "uuxuxuuux"),
        (Asked::Unchanged, Passthrough::Auto, "uuxuxuuux"),
        (Asked::Unchanged, Passthrough::Prefer, "uuxuxuuux"),
        (Asked::Particular, Passthrough::Never, "eeeeeeeex"),
        (Asked::Particular, Passthrough::Auto, "eeeeeeeex"),
        (Asked::Particular, Passthrough::Prefer, "uueeeeeex"),
        (Asked::Nothing, Passthrough::Never, "eeeeeeeex"),
        (Asked::Nothing, Passthrough::Auto, "ueeeeeeex"),
        (Asked::Nothing, Passthrough::Prefer, "uueeeeeex"),
    ];

    /// Relay, FFmpeg, encoder → what becomes of u and of e (r, c, t; x = a fault).
    const BOXES: [(bool, bool, bool, char, char); 8] = [
        (false, false, false, 'x', 'x'),
        (false, false, true, 'x', 'x'),
        (false, true, false, 'c', 'x'),
        (false, true, true, 'c', 't'),
        (true, false, false, 'r', 'x'),
        (true, false, true, 'r', 'x'),
        (true, true, false, 'r', 'x'),
        (true, true, true, 'r', 't'),
    ];

    #[test]
    fn the_whole_table() {
        let mut rows = 0;
        for (asked, passthrough, row) in TABLE {
            assert_eq!(row.len(), Picture::ALL.len());
            for (picture, wanted) in Picture::ALL.into_iter().zip(row.chars()) {
                for (relay, ffmpeg, encoder, unchanged, encoded) in BOXES {
                    let means = Means {
                        relay,
                        ffmpeg,
                        encoder,
                    };
                    let read =
                        relay && picture == Picture::Unknown && passthrough == Passthrough::Prefer;
                    let wanted = match wanted {
                        'u' => unchanged,
                        'e' if read => unchanged,
                        'e' => encoded,
                        other => other,
                    };
                    let got = decide(asked, passthrough, picture, means);
                    let found = match got.as_ref().map(|c| c.way) {
                        Ok(Way::Relay) => 'r',
                        Ok(Way::Copy) => 'c',
                        Ok(Way::Transcode) => 't',
                        Err(_) => 'x',
                    };
                    let what = format!("{asked:?} {passthrough:?} {picture:?} {means:?}: {got:?}");
                    assert_eq!(found, wanted, "{what}");
                    let words = got.map_or_else(|f| f.message, |c| c.reason);
                    assert!(words.len() > 20, "no reason: {what}");
                    rows += 1;
                }
            }
        }
        assert_eq!(rows, 3 * 3 * 9 * 8);
    }

    #[test]
    fn only_where_the_source_counts_it_is_asked() {
        let means = Means {
            relay: false,
            ffmpeg: true,
            encoder: true,
        };
        for asked in ASKED {
            for passthrough in PASSTHROUGH {
                let ways: Vec<Way> = Picture::ALL
                    .into_iter()
                    .filter_map(|p| decide(asked, passthrough, p, means).ok())
                    .map(|c| c.way)
                    .collect();
                let differ = ways.iter().any(|way| *way != ways[0]);
                assert_eq!(
                    depends_on_source(asked, passthrough),
                    differ,
                    "{asked:?} {passthrough:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let lacks = |ffmpeg| {
            let means = Means {
                relay: true,
                ffmpeg,
                encoder: false,
            };
            decide(
                Asked::Nothing,
                Passthrough::Auto,
                Picture::OtherCodec,
                means,
            )
            .unwrap_err()
        };
        for (ffmpeg, word) in [(false, "no FFmpeg"), (true, "no H.264 encoder")] {
            let fault = lacks(ffmpeg);
            assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
            for word in ["not H.264", word] {
                assert!(fault.message.contains(word), "{}", fault.message);
            }
        }
    }

    #[test]
    fn what_a_task_asks() {
        let none = VideoConfig::default();
        assert_eq!(Asked::of(&none), Asked::Nothing);
        let with = |change: fn(&mut VideoConfig)| {
            let mut video = VideoConfig::default();
            change(&mut video);
            Asked::of(&video)
        };
        assert_eq!(with(|v| v.codec = Some("Copy".into())), Asked::Unchanged);
        let particular: [fn(&mut VideoConfig); 5] = [
            |v| v.codec = Some("h264".into()),
            |v| v.bitrate = Some(1),
            |v| v.fps = Some(1),
            |v| v.width = Some(1),
            |v| v.height = Some(1),
        ];
        for change in particular {
            assert_eq!(with(change), Asked::Particular);
        }
        // How it would be encoded, if it is.
        assert_eq!(with(|v| v.preset = Some("fast".into())), Asked::Nothing);
    }

    #[test]
    fn pictures_by_their_description() {
        let baseline = Some([66, 0xc0, 31]);
        for (codec, profile, reorders, picture) in [
            (Some("H264"), baseline, Some(false), Picture::Baseline),
            (Some("H264"), baseline, None, Picture::Unknown),
            (
                Some("H264"),
                Some([77, 0, 31]),
                Some(false),
                Picture::MainOrHigh,
            ),
            (
                Some("H264"),
                Some([100, 0, 51]),
                Some(false),
                Picture::MainOrHigh,
            ),
            (Some("H264"), Some([100, 0, 51]), None, Picture::Unknown),
            (
                Some("H264"),
                Some([100, 0, 51]),
                Some(true),
                Picture::Reordered,
            ),
            (Some("H264"), None, Some(true), Picture::Reordered),
            (Some("H264"), None, Some(false), Picture::Unknown),
            (Some("H264"), Some([88, 0, 31]), None, Picture::OtherProfile),
            (
                Some("H264"),
                Some([122, 0, 31]),
                Some(false),
                Picture::OtherProfile,
            ),
            (Some("H265"), baseline, Some(false), Picture::OtherCodec),
            (Some("JPEG"), None, None, Picture::OtherCodec),
            (None, None, None, Picture::Unknown),
        ] {
            let what = format!("{codec:?} {profile:?} {reorders:?}");
            assert_eq!(Picture::of(codec, profile, reorders), picture, "{what}");
            let mut facts = VideoFacts {
                codec: codec.map(str::to_owned),
                h264_profile: profile,
                reorders,
                ..VideoFacts::default()
            };
            let seen = |facts: &VideoFacts| Picture::of_facts(facts, "a.example");
            assert_eq!(seen(&facts), picture, "{what}");
            for (by, refused) in [(None, true), (Some("a.example"), true), (Some("b"), false)] {
                facts.unsendable = Some(Unsendable {
                    by: by.map(str::to_owned),
                    why: "why".to_owned(),
                });
                let as_is = if refused {
                    Picture::Unsendable
                } else {
                    picture
                };
                assert_eq!(seen(&facts), as_is, "{what} {by:?}");
            }
        }
    }
}
