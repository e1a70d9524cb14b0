//! Fitting a camera's encoder, so that its stream can go out as it is (contract 16): what is set,
//! what can be set, the smallest change, and whether the camera then does what it says. Pure.

use std::time::{Duration, Instant};

use super::CameraError;
use crate::domain::discovery::{Sight, StreamDescription};
use crate::domain::error::Fault;

mod plan;

pub use plan::{Fitness, choose, judge, lies, plan, silent_lie};

/// A viewer who joins waits for the next keyframe: not longer than this.
pub const LONGEST_GAP: f64 = 2.0;
/// A sub stream of this size is enough where nothing else is wished for.
pub const ENOUGH: (u32, u32) = (640, 360);
/// Between two requests for a keyframe of one camera.
const KEYFRAME_PACE: Duration = Duration::from_secs(2);

/// Which of a camera's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamName {
    /// The large one, which recorders take.
    Main,
    /// The small one.
    Sub,
}

impl StreamName {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
        }
    }

    /// By its name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Main, Self::Sub]
            .into_iter()
            .find(|s| s.name().eq_ignore_ascii_case(text.trim()))
    }
}

/// An H.264 profile, as cameras name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// No B-frames, and every receiver takes it.
    Baseline,
    /// May have B-frames.
    Main,
    /// Rare.
    Extended,
    /// May have B-frames; some receivers refuse it.
    High,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Baseline, Self::Main, Self::Extended, Self::High];

    /// As ISAPI and ONVIF spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "Baseline",
            Self::Main => "Main",
            Self::Extended => "Extended",
            Self::High => "High",
        }
    }

    /// By a camera's spelling: `Baseline`, `baseline`, `Constrained Baseline`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|p| text.ends_with(&p.name().to_ascii_lowercase()))
    }

    /// By `profile_idc` of a sequence parameter set.
    pub fn of_idc(idc: u8) -> Option<Self> {
        match idc {
            66 => Some(Self::Baseline),
            77 => Some(Self::Main),
            88 => Some(Self::Extended),
            100 => Some(Self::High),
            _ => None,
        }
    }
}

/// Video codecs as lss spells them: `H.264`, `h264` → `H264`; `HEVC` → `H265`.
pub fn codec_name(text: &str) -> String {
    let name: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_uppercase();
    match name.as_str() {
        "AVC" | "MPEG4AVC" => "H264".to_owned(),
        "HEVC" => "H265".to_owned(),
        "MJPEG" | "MPJPEG" => "JPEG".to_owned(),
        _ => name,
    }
}

/// How good a sound codec is for WHIP, by a camera's spelling; `None` = it has to be converted.
pub fn audio_rank(text: &str) -> Option<u8> {
    match codec_name(text).as_str() {
        "OPUS" => Some(0),
        "G711ALAW" | "PCMA" | "G711A" => Some(1),
        "G711ULAW" | "G711MULAW" | "PCMU" | "G711U" | "G711" => Some(2),
        _ => None,
    }
}

/// How an encoder is set, by the camera's own word. `None` = it did not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncoderSettings {
    /// See [`codec_name`].
    pub codec: Option<String>,
    /// Of H.264.
    pub profile: Option<Profile>,
    /// Width and height.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// The rate, or its upper limit.
    pub bitrate_kbps: Option<u32>,
    /// From one keyframe to the next.
    pub keyframe_frames: Option<u32>,
    /// A maker's own scheme that spaces keyframes as it likes.
    pub smart_codec: Option<bool>,
    /// The sound's codec in the camera's spelling; `None` = off, or not told.
    pub audio: Option<String>,
}

impl EncoderSettings {
    /// Seconds from one keyframe to the next.
    pub fn keyframe_seconds(&self) -> Option<f64> {
        let frames = self.keyframe_frames.filter(|n| *n > 0)?;
        let fps = self.fps.filter(|fps| *fps > 0.0)?;
        Some(f64::from(frames) / fps)
    }
}

/// The frame rates that can be set.
#[derive(Debug, Clone, PartialEq)]
pub enum Rates {
    /// Anything between two.
    Between(f64, f64),
    /// One of these.
    Of(Vec<f64>),
}

/// What an encoder can be set to, by the camera's own word. Empty or `None` = it did not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncoderOptions {
    /// See [`codec_name`].
    pub codecs: Vec<String>,
    /// Of H.264.
    pub profiles: Vec<Profile>,
    /// Of H.264 where the camera tells them apart.
    pub sizes: Vec<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<Rates>,
    /// Lowest and highest.
    pub bitrate_kbps: Option<(u32, u32)>,
    /// Lowest and highest.
    pub keyframe_frames: Option<(u32, u32)>,
    /// In the camera's spelling.
    pub audio: Vec<String>,
}

/// One stream of a camera, as the camera tells.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderStream {
    /// Which.
    pub name: StreamName,
    /// Where, without a login.
    pub url: Option<String>,
    /// How it is set.
    pub settings: EncoderSettings,
    /// What it can be set to.
    pub options: EncoderOptions,
}

/// What is to be set; `None` = stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncoderChange {
    /// See [`codec_name`].
    pub codec: Option<String>,
    /// Of H.264.
    pub profile: Option<Profile>,
    /// Width and height.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// The rate, or its upper limit.
    pub bitrate_kbps: Option<u32>,
    /// From one keyframe to the next, in frames.
    pub keyframe_frames: Option<u32>,
    /// Frames a second that those frames are meant for.
    pub keyframe_fps: Option<f64>,
    /// Only ever off.
    pub smart_codec: Option<bool>,
    /// In the camera's spelling.
    pub audio: Option<String>,
}

impl EncoderChange {
    /// Nothing is to be set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A value in a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// One key of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Whose.
    pub stream: StreamName,
    /// As in the contract's `streams`.
    pub key: &'static str,
    /// `None` = the camera did not say.
    pub from: Option<Value>,
    /// What it is to be.
    pub to: Value,
}

impl EncoderChange {
    /// Key by key.
    pub fn steps(&self, stream: StreamName, before: &EncoderSettings) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut step = |key, from: Option<Value>, to: Option<Value>| {
            if let Some(to) = to {
                steps.push(Step {
                    stream,
                    key,
                    from,
                    to,
                });
            }
        };
        let text = |text: &String| Value::Text(text.clone());
        let number = |n: u32| Value::Number(f64::from(n));
        let profile = |p: Profile| Value::Text(p.name().to_owned());
        step(
            "codec",
            before.codec.as_ref().map(text),
            self.codec.as_ref().map(text),
        );
        step(
            "profile",
            before.profile.map(profile),
            self.profile.map(profile),
        );
        let sizes = before.size.zip(self.size);
        if self.size.is_some() && sizes.is_none_or(|(old, new)| old.0 != new.0) {
            step(
                "width",
                before.size.map(|s| number(s.0)),
                self.size.map(|s| number(s.0)),
            );
        }
        if self.size.is_some() && sizes.is_none_or(|(old, new)| old.1 != new.1) {
            step(
                "height",
                before.size.map(|s| number(s.1)),
                self.size.map(|s| number(s.1)),
            );
        }
        step(
            "fps",
            before.fps.map(Value::Number),
            self.fps.map(Value::Number),
        );
        step(
            "bitrateKbps",
            before.bitrate_kbps.map(number),
            self.bitrate_kbps.map(number),
        );
        step(
            "keyframeSeconds",
            before
                .keyframe_seconds()
                .map(|s| Value::Number(hundredths(s))),
            self.keyframe_seconds()
                .map(|s| Value::Number(hundredths(s))),
        );
        step(
            "smartCodec",
            before.smart_codec.map(Value::Flag),
            self.smart_codec.map(Value::Flag),
        );
        step(
            "audio",
            before.audio.as_ref().map(text),
            self.audio.as_ref().map(text),
        );
        steps
    }

    /// Seconds from one keyframe to the next.
    pub fn keyframe_seconds(&self) -> Option<f64> {
        let frames = f64::from(self.keyframe_frames?);
        self.keyframe_fps
            .filter(|fps| *fps > 0.0)
            .map(|fps| frames / fps)
    }

    /// The keys that are not as asked, by what the camera says of itself afterwards.
    pub fn missing_in(&self, after: &EncoderSettings) -> Vec<&'static str> {
        fn differs<T: PartialEq>(asked: Option<&T>, is: Option<&T>) -> bool {
            asked.is_some() && asked != is
        }
        // A rate in other units is rounded.
        let near = |asked: Option<f64>, is: Option<f64>| {
            asked.is_some_and(|asked| is.is_none_or(|is| (asked - is).abs() > 0.5))
        };
        // Cameras round it to their own steps.
        let over = self.bitrate_kbps.is_some_and(|asked| {
            let most = asked.saturating_add(asked / 8);
            after.bitrate_kbps.is_none_or(|is| is > most)
        });
        let off = self.smart_codec == Some(false) && after.smart_codec == Some(true);
        [
            ("codec", differs(self.codec.as_ref(), after.codec.as_ref())),
            (
                "profile",
                differs(self.profile.as_ref(), after.profile.as_ref()),
            ),
            ("size", differs(self.size.as_ref(), after.size.as_ref())),
            ("fps", near(self.fps, after.fps)),
            ("bitrateKbps", over),
            (
                "keyframeSeconds",
                differs(
                    self.keyframe_frames.as_ref(),
                    after.keyframe_frames.as_ref(),
                ),
            ),
            ("smartCodec", off),
            ("audio", differs(self.audio.as_ref(), after.audio.as_ref())),
        ]
        .into_iter()
        .filter_map(|(key, missing)| missing.then_some(key))
        .collect()
    }
}

/// Rounded to hundredths.
pub fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// What somebody wishes beyond the smallest change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// At most.
    pub bitrate_kbps: Option<u32>,
    /// At most.
    pub fps: Option<u32>,
    /// Pixels across.
    pub width: Option<u32>,
    /// Pixels down.
    pub height: Option<u32>,
    /// From one keyframe to the next, in milliseconds.
    pub keyframe_ms: Option<u32>,
}

/// What is asked of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FitAsk {
    /// `None` = whichever is enough.
    pub stream: Option<StreamName>,
    /// Write the change, and look at what comes of it.
    pub apply: bool,
    /// Beyond the smallest change.
    pub wish: Wish,
}

impl Sight {
    /// By a description alone.
    pub fn of(description: &StreamDescription) -> Self {
        let first = |media: &str| description.tracks.iter().find(|t| t.media == media);
        let video = first("video");
        Self {
            codec: video.and_then(|v| v.codec.as_deref()).map(codec_name),
            profile: video.and_then(|v| v.h264_profile),
            b_frames: video.and_then(|v| v.reorders),
            size: video.and_then(|v| v.size),
            fps: video.and_then(|v| v.fps),
            keyframe_seconds: None,
            audio: first("audio").and_then(|a| a.codec.clone()),
        }
    }

    /// As people call its profile.
    pub fn profile_name(&self) -> Option<String> {
        let [idc, constraints, _] = self.profile?;
        Some(match Profile::of_idc(idc) {
            Some(Profile::Baseline) if constraints & 0x40 != 0 => "Constrained Baseline".to_owned(),
            Some(profile) => profile.name().to_owned(),
            None => format!("profile {idc}"),
        })
    }
}

/// One stream, with the judgement on it.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedStream {
    /// As the camera tells.
    pub stream: EncoderStream,
    /// As the stream itself shows; `None` = it could not be looked at.
    pub sight: Option<Sight>,
    /// Whether it can go out unchanged.
    pub fitness: Fitness,
    /// Why, in words.
    pub reason: String,
}

/// What a fit has found and done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FitReport {
    /// All that were told.
    pub streams: Vec<JudgedStream>,
    /// Key by key.
    pub plan: Vec<Step>,
    /// It is written, and stays.
    pub applied: bool,
    /// What the stream showed last.
    pub verified: Option<Sight>,
    /// It was written, was not what was asked, and the old settings were written back.
    pub rolled_back: bool,
    /// Why it did not succeed.
    pub failed: Option<Fault>,
}

/// What an encoder was set to before a change: the camera's own documents, whole. Only whoever made
/// it can read it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EncoderBackup(pub Vec<(String, Vec<u8>)>);

impl std::fmt::Debug for EncoderBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncoderBackup({} documents)", self.0.len())
    }
}

/// The encoders of one camera's channel. Every call ends by its deadline.
pub trait EncoderDevice {
    /// The streams, the main one first.
    fn encoders(&mut self, deadline: Instant) -> Result<Vec<EncoderStream>, CameraError>;

    /// Everything that a change of a stream's settings may touch, as it is now.
    fn backup(
        &mut self,
        stream: StreamName,
        change: &EncoderChange,
        deadline: Instant,
    ) -> Result<EncoderBackup, CameraError>;

    /// Writes the change into the documents as they were read, and those back whole: cameras
    /// refuse parts. Whatever has to be asked for that is asked before the first one is written.
    fn change(
        &mut self,
        backup: &EncoderBackup,
        change: &EncoderChange,
        deadline: Instant,
    ) -> Result<(), ChangeError>;

    /// Writes the documents back as they were read, each of them, whatever became of the others.
    fn restore(&mut self, backup: &EncoderBackup, deadline: Instant) -> Result<(), CameraError>;

    /// Asks for a keyframe now. `false` = not sent, for another was asked for a moment ago. A camera
    /// that does not know how is not asked again.
    fn keyframe(&mut self, stream: StreamName, deadline: Instant) -> Result<bool, CameraError>;
}

/// A change that did not go all the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeError {
    /// What it met with.
    pub why: CameraError,
    /// The camera has taken a document, or may have: it may not be set as it was.
    pub has_written: bool,
}

impl From<CameraError> for ChangeError {
    /// Before anything was written.
    fn from(why: CameraError) -> Self {
        Self {
            why,
            has_written: false,
        }
    }
}

/// Writes one document after the other, up to the first that fails.
pub fn write_in_turn(
    writes: impl Iterator<Item = Result<(), CameraError>>,
) -> Result<(), ChangeError> {
    let mut has_written = false;
    for write in writes {
        if let Err(why) = write {
            // A refusal in the camera's own words is a no; these two may be a yes.
            has_written |= matches!(why, CameraError::NoAnswer(_) | CameraError::BadAnswer(_));
            return Err(ChangeError { why, has_written });
        }
        has_written = true;
    }
    Ok(())
}

/// Writes every document, and tells of the first that failed. After a refused login no more: each
/// try of it counts towards a lock.
pub fn write_each(
    writes: impl Iterator<Item = Result<(), CameraError>>,
) -> Result<(), CameraError> {
    let mut result = Ok(());
    for write in writes {
        if let Err(CameraError::LoginRefused(_)) = write {
            return write;
        }
        result = result.and(write);
    }
    result
}

/// When a camera may be asked for a keyframe. Pure.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyframePace {
    last: Option<Instant>,
    unknown: bool,
}

impl KeyframePace {
    /// Whether to ask now; an error where the camera is known not to know how.
    pub fn take(&mut self, now: Instant) -> Result<bool, CameraError> {
        if self.unknown {
            let words = "keyframes on demand, as it has said before";
            return Err(CameraError::NotSupported(words.to_owned()));
        }
        let early = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < KEYFRAME_PACE);
        if !early {
            self.last = Some(now);
        }
        Ok(!early)
    }

    /// What the camera said.
    pub fn answered<T>(&mut self, result: &Result<T, CameraError>) {
        self.unknown |= matches!(result, Err(CameraError::NotSupported(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::camera::LoginRefusal;

    #[test]
    fn names_in_every_spelling() {
        for (text, name) in [
            ("H.264", "H264"),
            ("h264", "H264"),
            ("HEVC", "H265"),
            ("MJPEG", "JPEG"),
            ("MPEG4", "MPEG4"),
        ] {
            assert_eq!(codec_name(text), name);
        }
        for (text, rank) in [
            ("opus", Some(0)),
            ("G.711alaw", Some(1)),
            ("PCMU", Some(2)),
            ("G711", Some(2)),
            ("AAC", None),
            ("G.722.1", None),
            ("MP4A-LATM", None),
        ] {
            assert_eq!(audio_rank(text), rank, "{text}");
        }
        assert_eq!(
            Profile::parse("Constrained Baseline"),
            Some(Profile::Baseline)
        );
        assert_eq!(Profile::parse("high"), Some(Profile::High));
        assert_eq!(Profile::parse("Main10"), None);
    }

    fn gone() -> CameraError {
        CameraError::Unreachable("gone".to_owned())
    }

    fn refused_login() -> CameraError {
        CameraError::LoginRefused(LoginRefusal {
            tried: true,
            unlock_after: None,
            tries_left: None,
            words: "no".to_owned(),
        })
    }

    #[test]
    fn a_change_tells_whether_anything_of_it_has_gone_out() {
        let cases = [
            (vec![Err(gone())], false),
            (vec![Err(CameraError::Device("no".to_owned()))], false),
            (vec![Err(CameraError::NoAnswer("late".to_owned()))], true),
            (vec![Err(CameraError::BadAnswer("?".to_owned()))], true),
            (vec![Ok(()), Err(gone())], true),
            (
                vec![Ok(()), Err(CameraError::Forbidden("no".to_owned()))],
                true,
            ),
            (vec![Ok(()), Err(refused_login())], true),
        ];
        for (writes, has_written) in cases {
            let shown = format!("{writes:?}");
            let failed = write_in_turn(writes.into_iter()).unwrap_err();
            assert_eq!(failed.has_written, has_written, "{shown}");
        }
        assert_eq!(write_in_turn([Ok(()), Ok(())].into_iter()), Ok(()));
    }

    #[test]
    fn what_is_written_back_is_written_back_whatever_fails_but_a_login() {
        let writes = |results: Vec<Result<(), CameraError>>| {
            let mut tried = 0;
            let result = write_each(results.into_iter().inspect(|_| tried += 1));
            (tried, result)
        };
        assert_eq!(writes(vec![Err(gone()), Ok(())]), (2, Err(gone())));
        assert_eq!(writes(vec![Ok(()), Err(gone())]), (2, Err(gone())));
        assert_eq!(writes(vec![Ok(()), Ok(())]), (2, Ok(())));
        let (tried, result) = writes(vec![Err(gone()), Err(refused_login()), Ok(())]);
        assert_eq!((tried, result), (2, Err(refused_login())));
    }

    #[test]
    fn keyframes_are_asked_for_every_two_seconds_at_most_and_never_in_vain() {
        let mut pace = KeyframePace::default();
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!(pace.take(at(0)), Ok(true));
        pace.answered::<()>(&Err(CameraError::NoAnswer(String::new())));
        assert_eq!(pace.take(at(1_999)), Ok(false));
        assert_eq!(pace.take(at(2_000)), Ok(true));
        assert_eq!(pace.take(at(3_000)), Ok(false));
        pace.answered::<()>(&Err(CameraError::NotSupported(String::new())));
        assert!(matches!(
            pace.take(at(60_000)),
            Err(CameraError::NotSupported(_))
        ));
    }
}
