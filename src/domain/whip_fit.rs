//! What a camera's stream means for WHIP: whether it can go out as it is, what lss does otherwise
//! and what that costs, and what to set on the camera. Judged from the description alone; for the
//! people who install cameras (`lss doctor`). What a picture is to WHIP is [`Picture`]'s to say, as for
//! whoever carries it.

use super::carry::Picture;
use super::discovery::{StreamDescription, TrackInfo};

/// A 1080p picture, whose encoding was measured.
const FULL_HD: u32 = 1920 * 1080;
/// Its rate then, frames a second.
const MEASURED_FPS: f64 = 30.0;
/// Share of an x86 core that encoding that took at least (FFmpeg 9.0, x264 veryfast). Noise at
/// night costs more, and the core of a small gateway is slower.
const MEASURED_CORE: f64 = 0.33;

/// How good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing to do.
    Pass,
    /// Works, at a cost, or something is not known.
    Warn,
    /// Can't be streamed.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How good.
    pub grade: Grade,
    /// What it is, and what lss does about it.
    pub words: String,
    /// What to set on the camera; `None` = nothing.
    pub advice: Option<String>,
}

/// What happens to the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoFit {
    /// Can go out as it is: does where `passthrough` is `auto` or `prefer` and the task asks for nothing
    /// in particular, and where it asks for codec `copy`.
    Unchanged,
    /// H.264 that WHIP can carry and not every receiver takes (Main, High): likewise, but not where
    /// `passthrough` is `auto`.
    UnchangedIfPreferred,
    /// Decoded and encoded anew.
    Transcode,
    /// The description does not say enough to leave it as it is.
    Unknown,
    /// There is none.
    Missing,
}

impl From<Picture> for VideoFit {
    fn from(picture: Picture) -> Self {
        match picture {
            Picture::Baseline => Self::Unchanged,
            Picture::MainOrHigh => Self::UnchangedIfPreferred,
            Picture::Reordered
            | Picture::OtherProfile
            | Picture::OtherCodec
            | Picture::Unsendable => Self::Transcode,
            Picture::Unknown | Picture::Unasked => Self::Unknown,
            Picture::Missing => Self::Missing,
        }
    }
}

/// What happens to the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioFit {
    /// Opus, which WHIP carries as it is.
    Unchanged,
    /// Encoded to Opus.
    Convert,
    /// There is none.
    Missing,
}

/// The judgement on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhipFit {
    /// The first video track.
    pub video: VideoFit,
    /// The first audio track.
    pub audio: AudioFit,
    /// In words: the picture, then its keyframes, then the sound.
    pub notes: Vec<Note>,
}

impl WhipFit {
    /// The worst of all notes.
    pub fn grade(&self) -> Grade {
        self.notes
            .iter()
            .map(|n| n.grade)
            .max()
            .unwrap_or(Grade::Pass)
    }
}

pub fn judge(stream: &StreamDescription) -> WhipFit {
    let first = |media: &str| stream.tracks.iter().find(|t| t.media == media);
    let mut notes = Vec::new();
    let video = judge_video(first("video"), &mut notes);
    let audio = judge_audio(first("audio"), video, &mut notes);
    WhipFit {
        video,
        audio,
        notes,
    }
}

fn note(grade: Grade, words: impl Into<String>, advice: Option<&str>) -> Note {
    Note {
        grade,
        words: words.into(),
        advice: advice.map(str::to_owned),
    }
}

fn judge_video(track: Option<&TrackInfo>, notes: &mut Vec<Note>) -> VideoFit {
    let Some(track) = track else {
        notes.push(note(
            Grade::Fail,
            "no video: there is nothing to stream",
            Some("use the path of a stream that has a picture"),
        ));
        return VideoFit::Missing;
    };
    let picture = Picture::of(track.codec.as_deref(), track.h264_profile, track.reorders);
    let fit = VideoFit::from(picture);
    let (grade, words, advice) = describe(track, picture);
    let size = shown_size(track);
    let done = match fit {
        VideoFit::Unchanged => {
            "goes out as it is where lss.ffmpeg.passthrough is auto or prefer, or the task asks for \
             codec copy, at next to no cost"
                .to_owned()
        }
        VideoFit::UnchangedIfPreferred => format!(
            "goes out as it is where lss.ffmpeg.passthrough is prefer or the task asks for codec \
             copy; else lss encodes it anew: {}",
            cost(track)
        ),
        _ => format!("lss encodes it anew: {}", cost(track)),
    };
    notes.push(note(grade, format!("{words}{size}: {done}"), advice));
    if fit != VideoFit::Transcode {
        // Encoded anew, the interval is lss's own.
        notes.push(note(
            Grade::Pass,
            "the camera does not tell its keyframe interval; sent as it is, a viewer who joins \
             waits for the next keyframe",
            Some("set the I-frame interval to 2 s (50 at 25 frames a second), and no smart codec"),
        ));
    }
    fit
}

/// What it is, without size and without what is done about it, and what to set.
fn describe(track: &TrackInfo, picture: Picture) -> (Grade, String, Option<&'static str>) {
    let name = track
        .h264_profile
        .map_or_else(|| "H.264".to_owned(), |p| format!("H.264 {}", profile(p)));
    let encoding = Some("set the encoding to H.264, profile Baseline");
    let baseline = Some("set the profile to Baseline: then the picture can go out as it is");
    let (words, advice) = match (picture, track.codec.as_deref()) {
        (Picture::Baseline, _) => return (Grade::Pass, name, None),
        (Picture::MainOrHigh, _) => (
            format!("{name} without B-frames, which Cloudflare does not list"),
            baseline,
        ),
        (Picture::Reordered, _) => (
            format!("{name} with B-frames, which WebRTC does not play"),
            Some("turn B-frames off and set the profile to Baseline"),
        ),
        (Picture::OtherProfile | Picture::Unsendable, _) => {
            (format!("{name}, which WebRTC does not play"), baseline)
        }
        (Picture::OtherCodec, Some("H265" | "HEVC")) => (
            "H.265, which WHIP does not carry here".to_owned(),
            Some("set the encoding to H.264, profile Baseline, or use a stream that has it"),
        ),
        (Picture::OtherCodec, codec) => {
            let name = match codec {
                Some("JPEG") => "Motion JPEG",
                other => other.unwrap_or("video"),
            };
            (format!("{name}, which WHIP does not carry"), encoding)
        }
        (_, None) => (
            "video whose encoding the camera does not tell".to_owned(),
            encoding,
        ),
        (_, Some(_)) if track.h264_profile.is_none() => (
            "H.264 whose profile the camera does not tell".to_owned(),
            baseline,
        ),
        (_, Some(_)) => (
            format!("{name}, and whether it has B-frames the camera does not tell"),
            Some("set the profile to Baseline, which has no B-frames"),
        ),
    };
    (Grade::Warn, words, advice)
}

fn judge_audio(track: Option<&TrackInfo>, video: VideoFit, notes: &mut Vec<Note>) -> AudioFit {
    let Some(track) = track else {
        notes.push(note(Grade::Pass, "no audio", None));
        return AudioFit::Missing;
    };
    let codec = track.codec.as_deref().unwrap_or("");
    if codec == "OPUS" {
        notes.push(note(
            Grade::Pass,
            "Opus audio, which WHIP carries; lss encodes it again all the same",
            None,
        ));
        return AudioFit::Unchanged;
    }
    let name = match codec {
        "MPEG4-GENERIC" | "MP4A-LATM" => "AAC",
        "PCMA" => "G.711 A-law",
        "PCMU" => "G.711 µ-law",
        "" => "unnamed",
        other => other,
    };
    let words =
        format!("{name} audio: lss converts it to Opus, for one or two hundredths of a PC's core");
    // Beside a picture that goes out as it is, the sound is what costs.
    let advice = (video == VideoFit::Unchanged).then_some("turn audio off if nobody needs it");
    notes.push(note(Grade::Pass, words, advice));
    AudioFit::Convert
}

/// As people call it.
fn profile([profile_idc, constraints, level]: [u8; 3]) -> String {
    let name = match (profile_idc, constraints & 0x40 != 0) {
        (66, true) => "Constrained Baseline".to_owned(),
        (66, false) => "Baseline".to_owned(),
        (77, _) => "Main".to_owned(),
        (88, _) => "Extended".to_owned(),
        (100, _) => "High".to_owned(),
        (110, _) => "High 10".to_owned(),
        (122, _) => "High 4:2:2".to_owned(),
        (244, _) => "High 4:4:4".to_owned(),
        (other, _) => format!("profile {other}"),
    };
    format!("{name} level {}.{}", level / 10, level % 10)
}

fn shown_size(track: &TrackInfo) -> String {
    match (track.size, track.fps) {
        (Some((width, height)), Some(fps)) => {
            format!(", {width}x{height} at {} frames a second", rounded(fps))
        }
        (Some((width, height)), None) => format!(", {width}x{height}"),
        _ => String::new(),
    }
}

fn rounded(fps: f64) -> String {
    let text = format!("{fps:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What encoding takes, by size and rate.
fn cost(track: &TrackInfo) -> String {
    let Some((width, height)) = track.size else {
        return "a third of a core and more for 1080p at 30 frames a second".to_owned();
    };
    let pixels = f64::from(width) * f64::from(height) / f64::from(FULL_HD);
    let rate = track.fps.unwrap_or(MEASURED_FPS) / MEASURED_FPS;
    let cores = (MEASURED_CORE * pixels * rate).max(0.02);
    format!("about {cores:.2} of a PC's core, more on a small gateway and at night")
}

#[cfg(test)]
#[path = "whip_fit_tests.rs"]
mod tests;
