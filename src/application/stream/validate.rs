//! START validation (contract 3). Every refusal names the field and what would be right.

use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{
    AudioConfig, AudioMode, Id, InputType, MediaUrl, RetryLimit, Source, StreamSpec, VideoConfig,
};
use crate::util::secret::Secret;
use crate::util::url;

/// What validation needs of the configuration.
#[derive(Debug, Clone, Default)]
pub struct StreamRules {
    /// Hosts that a `whipUrl` over plain http may name besides loopback.
    pub whip_hosts: Vec<String>,
    /// FILE sources are below this directory; none = FILE refused.
    pub file_root: Option<std::path::PathBuf>,
}

/// START as a door has decoded it: types are right, nothing else is checked.
#[derive(Clone, Default)]
pub struct StartCommand {
    /// Wire: `taskId`.
    pub task_id: Option<String>,
    /// Wire: `cameraId`.
    pub camera_id: Option<String>,
    /// Wire: `sourceUrl`.
    pub source_url: Option<Secret>,
    /// Wire: `whipUrl`.
    pub whip_url: Option<Secret>,
    /// Wire: `playbackUrl`.
    pub playback_url: Option<String>,
    /// Wire: `inputType`; RTSP if none.
    pub input_type: Option<String>,
    /// Wire: `loop`.
    pub looped: bool,
    /// Wire: `ffmpegCommand`; empty = none.
    pub ffmpeg_command: Option<Secret>,
    /// Wire: `maxRetries`; -1 = for ever.
    pub max_retries: Option<i64>,
    /// Wire: `videoConfig`.
    pub video: VideoAsk,
    /// Wire: `audioConfig`.
    pub audio: AudioAsk,
}

/// Wire: `videoConfig`.
#[derive(Debug, Clone, Default)]
pub struct VideoAsk {
    /// Wire: `codec`.
    pub codec: Option<String>,
    /// Wire: `bitrate`: `2500k`, `2.5M`, or bits per second.
    pub bitrate: Option<String>,
    /// Wire: `fps`.
    pub fps: Option<i64>,
    /// Wire: `width`.
    pub width: Option<i64>,
    /// Wire: `height`.
    pub height: Option<i64>,
    /// Wire: `preset`.
    pub preset: Option<String>,
    /// Wire: `profile`.
    pub profile: Option<String>,
    /// Wire: `level`.
    pub level: Option<String>,
    /// Wire: `keyframeInterval`.
    pub keyframe_interval: Option<i64>,
}

/// Wire: `audioConfig`.
#[derive(Debug, Clone, Default)]
pub struct AudioAsk {
    /// Wire: `mode`: `wanted`, `required` or `off`.
    pub mode: Option<String>,
    /// Wire: `codec`.
    pub codec: Option<String>,
    /// Wire: `bitrate`.
    pub bitrate: Option<String>,
    /// Wire: `sampleRate`.
    pub sample_rate: Option<i64>,
    /// Wire: `channels`.
    pub channels: Option<i64>,
}

impl StartCommand {
    /// The task, or the first thing that is wrong with it.
    pub fn validate(&self, rules: &StreamRules) -> Result<StreamSpec, Fault> {
        let task_id = Id::parse("taskId", required("taskId", self.task_id.as_deref())?)?;
        let camera_id = match self.camera_id.as_deref() {
            None => None,
            Some(text) => Some(Id::parse("cameraId", text)?),
        };
        let input = match self.input_type.as_deref() {
            None => InputType::Rtsp,
            Some(text) => InputType::parse(text).ok_or_else(|| {
                Fault::new(
                    ErrorCode::ParamInvalid,
                    "inputType must be RTSP, FILE, SRT or RTMP",
                )
            })?,
        };
        let source_text = required("sourceUrl", self.source_url.as_ref().map(Secret::expose))?;
        let source = source(input, source_text, rules)?;
        let whip_text = required("whipUrl", self.whip_url.as_ref().map(Secret::expose))?;
        let whip_url = whip(whip_text, rules)?;
        let max_retries = match self.max_retries {
            None => None,
            Some(-1) => Some(RetryLimit::Forever),
            Some(n) => Some(RetryLimit::Times(ranged("maxRetries", n, 0, 1_000_000)?)),
        };
        Ok(StreamSpec {
            task_id,
            camera_id,
            input,
            source,
            looped: self.looped,
            whip_url,
            playback_url: self.playback_url.clone().filter(|u| !u.is_empty()),
            video: self.video.validate()?,
            audio: self.audio.validate()?,
            ffmpeg_command: self
                .ffmpeg_command
                .clone()
                .filter(|c| !c.expose().trim().is_empty()),
            max_retries,
        })
    }
}

fn required<'a>(field: &str, value: Option<&'a str>) -> Result<&'a str, Fault> {
    value
        .filter(|v| !v.is_empty())
        .ok_or_else(|| Fault::new(ErrorCode::ParamMissing, format!("{field} is missing")))
}

fn ranged(field: &str, value: i64, min: u32, max: u32) -> Result<u32, Fault> {
    u32::try_from(value)
        .ok()
        .filter(|v| (min..=max).contains(v))
        .ok_or_else(|| {
            Fault::new(
                ErrorCode::ParamInvalid,
                format!("{field} must be from {min} to {max}"),
            )
        })
}

fn source(input: InputType, text: &str, rules: &StreamRules) -> Result<Source, Fault> {
    let schemes: &[&str] = match input {
        InputType::Rtsp => &["rtsp", "rtsps"],
        InputType::Srt => &["srt"],
        InputType::Rtmp => &["rtmp", "rtmps"],
        InputType::File => return file_source(text, rules),
    };
    // The spec writes SRT sources with and without their scheme.
    let with_scheme;
    let text = if input == InputType::Srt && !text.contains("://") {
        with_scheme = format!("srt://{text}");
        &with_scheme
    } else {
        text
    };
    let url = MediaUrl::parse("sourceUrl", text)?;
    if !schemes.contains(&url.scheme()) {
        return Err(Fault::new(
            ErrorCode::ParamInvalid,
            format!(
                "sourceUrl must begin with {}:// when inputType is {}",
                schemes.join(":// or "),
                input.name()
            ),
        ));
    }
    refuse_bad_address("sourceUrl", url.host())?;
    Ok(Source::Network(url))
}

fn file_source(text: &str, rules: &StreamRules) -> Result<Source, Fault> {
    if rules.file_root.is_none() {
        return Err(Fault::new(
            ErrorCode::ValidationFailed,
            "inputType FILE is switched off: set lss.ffmpeg.file_root to the directory that holds the files",
        ));
    }
    if text.contains("://") || text.chars().any(char::is_control) {
        return Err(Fault::new(
            ErrorCode::ParamInvalid,
            "sourceUrl must be a plain path when inputType is FILE",
        ));
    }
    Ok(Source::File(text.to_owned()))
}

/// Addresses that no source may have, in any spelling (contract 3). Names are not looked up: what
/// they stand for may change between the look and FFmpeg's own.
fn refuse_bad_address(field: &str, host: &str) -> Result<(), Fault> {
    if url::is_no_source_host(host) {
        return Err(Fault::new(
            ErrorCode::ValidationFailed,
            format!("{field} names a multicast, broadcast or metadata address"),
        ));
    }
    Ok(())
}

fn whip(text: &str, rules: &StreamRules) -> Result<MediaUrl, Fault> {
    let url = MediaUrl::parse("whipUrl", text)?;
    let listed = rules
        .whip_hosts
        .iter()
        .any(|h| h.eq_ignore_ascii_case(url.host()));
    match url.scheme() {
        "https" => Ok(url),
        "http" if url::is_loopback_host(url.host()) || listed => Ok(url),
        "http" => Err(Fault::new(
            ErrorCode::ValidationFailed,
            "whipUrl must be https: plain http is taken only to loopback or to a host in lss.ffmpeg.whip_hosts",
        )),
        _ => Err(Fault::new(
            ErrorCode::ParamInvalid,
            "whipUrl must begin with https://",
        )),
    }
}

impl VideoAsk {
    fn validate(&self) -> Result<VideoConfig, Fault> {
        Ok(VideoConfig {
            codec: word("videoConfig.codec", self.codec.as_deref())?,
            bitrate: bitrate(
                "videoConfig.bitrate",
                self.bitrate.as_deref(),
                50_000,
                100_000_000,
            )?,
            fps: option("videoConfig.fps", self.fps, 1, 120)?,
            width: option("videoConfig.width", self.width, 16, 7680)?,
            height: option("videoConfig.height", self.height, 16, 4320)?,
            preset: word("videoConfig.preset", self.preset.as_deref())?,
            profile: word("videoConfig.profile", self.profile.as_deref())?,
            level: word("videoConfig.level", self.level.as_deref())?,
            keyframe_interval: option(
                "videoConfig.keyframeInterval",
                self.keyframe_interval,
                1,
                1200,
            )?,
        })
    }
}

impl AudioAsk {
    fn validate(&self) -> Result<AudioConfig, Fault> {
        let mode = match self.mode.as_deref().filter(|mode| !mode.is_empty()) {
            None => AudioMode::default(),
            Some(mode) => AudioMode::parse(mode).ok_or_else(|| {
                Fault::new(
                    ErrorCode::ParamInvalid,
                    "audioConfig.mode must be wanted, required or off",
                )
            })?,
        };
        Ok(AudioConfig {
            mode,
            codec: word("audioConfig.codec", self.codec.as_deref())?,
            bitrate: bitrate(
                "audioConfig.bitrate",
                self.bitrate.as_deref(),
                6_000,
                512_000,
            )?,
            sample_rate: option("audioConfig.sampleRate", self.sample_rate, 8_000, 192_000)?,
            channels: option("audioConfig.channels", self.channels, 1, 8)?,
        })
    }
}

fn option(field: &str, value: Option<i64>, min: u32, max: u32) -> Result<Option<u32>, Fault> {
    value.map(|v| ranged(field, v, min, max)).transpose()
}

/// A name for FFmpeg: letters, digits, `.`, `_`, `-`; so it can't be an option or a path.
fn word(field: &str, value: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(text) = value.filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let fits = text.len() <= 32
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fits {
        Ok(Some(text.to_owned()))
    } else {
        Err(Fault::new(
            ErrorCode::ParamInvalid,
            format!("{field} must be a plain name of at most 32 letters, digits, . _ -"),
        ))
    }
}

/// `2500k`, `2.5M`, `2500000` → bits per second.
fn bitrate(field: &str, value: Option<&str>, min: u64, max: u64) -> Result<Option<u64>, Fault> {
    let Some(text) = value.map(str::trim).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (text.get(..text.len() - 1).unwrap_or(""), 1_000.0),
        Some(b'm' | b'M') => (text.get(..text.len() - 1).unwrap_or(""), 1_000_000.0),
        _ => (text, 1.0),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let bits = digits
        .parse::<f64>()
        .ok()
        .filter(|_| plain)
        .map(|n| n * factor)
        .filter(|bits| bits.is_finite() && *bits >= 0.0 && *bits <= 1e12);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked just above
    let bits = bits.map(|b| b.round() as u64);
    bits.filter(|b| (min..=max).contains(b))
        .map(Some)
        .ok_or_else(|| {
            Fault::new(
                ErrorCode::ParamInvalid,
                format!("{field} must be a bit rate like 2500k or 2.5M, from {min} to {max} bit/s"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> StartCommand {
        StartCommand {
            task_id: Some("task_001".into()),
            camera_id: Some("cam_001".into()),
            source_url: Some(Secret::new(
                "rtsp://admin:p@ss#1:x%@192.168.0.64/Streaming/Channels/101",
            )),
            whip_url: Some(Secret::new(
                "https://customer-1.example.com/secretpath/whip",
            )),
            ..StartCommand::default()
        }
    }

    fn refused(change: impl FnOnce(&mut StartCommand)) -> Fault {
        let mut command = start();
        change(&mut command);
        command.validate(&StreamRules::default()).unwrap_err()
    }

    #[test]
    fn the_specs_example_passes() {
        let mut command = start();
        command.video = VideoAsk {
            codec: Some("libx264".into()),
            bitrate: Some("2500k".into()),
            fps: Some(30),
            preset: Some("veryfast".into()),
            ..VideoAsk::default()
        };
        let spec = command.validate(&StreamRules::default()).unwrap();
        assert_eq!(spec.video.bitrate, Some(2_500_000));
        assert_eq!(spec.input, InputType::Rtsp);
        let Source::Network(url) = &spec.source else {
            panic!("not a network source")
        };
        assert_eq!(url.host(), "192.168.0.64");
    }

    #[test]
    fn refusals_name_the_field_and_no_secret() {
        type Change = fn(&mut StartCommand);
        let canary = "canary-7f3a";
        let cases: &[(&str, ErrorCode, Change)] = &[
            ("taskId", ErrorCode::ParamMissing, |c| c.task_id = None),
            ("taskId", ErrorCode::ParamInvalid, |c| {
                c.task_id = Some("a b".into());
            }),
            ("cameraId", ErrorCode::ParamInvalid, |c| {
                c.camera_id = Some("../x".into());
            }),
            ("sourceUrl", ErrorCode::ParamMissing, |c| {
                c.source_url = None;
            }),
            ("sourceUrl", ErrorCode::ParamInvalid, |c| {
                c.source_url = Some(Secret::new("http://u:canary-7f3a@h/x"));
            }),
            ("sourceUrl", ErrorCode::ParamInvalid, |c| {
                c.source_url = Some(Secret::new("rtsp://u:canary-7f3a@h:0/x"));
            }),
            ("sourceUrl", ErrorCode::ValidationFailed, |c| {
                c.source_url = Some(Secret::new("rtsp://169.254.169.254/x"));
            }),
            ("sourceUrl", ErrorCode::ValidationFailed, |c| {
                c.source_url = Some(Secret::new("rtsp://[ff02::1]/x"));
            }),
            ("whipUrl", ErrorCode::ParamMissing, |c| c.whip_url = None),
            ("whipUrl", ErrorCode::ValidationFailed, |c| {
                c.whip_url = Some(Secret::new("http://far.example/canary-7f3a"));
            }),
            ("whipUrl", ErrorCode::ParamInvalid, |c| {
                c.whip_url = Some(Secret::new("file:///etc/canary-7f3a"));
            }),
            ("inputType", ErrorCode::ParamInvalid, |c| {
                c.input_type = Some("HTTP".into());
            }),
            ("maxRetries", ErrorCode::ParamInvalid, |c| {
                c.max_retries = Some(-2);
            }),
            ("fps", ErrorCode::ParamInvalid, |c| c.video.fps = Some(0)),
            ("bitrate", ErrorCode::ParamInvalid, |c| {
                c.video.bitrate = Some("fast".into());
            }),
            ("bitrate", ErrorCode::ParamInvalid, |c| {
                c.video.bitrate = Some("-5k".into());
            }),
            ("bitrate", ErrorCode::ParamInvalid, |c| {
                c.video.bitrate = Some("€".into());
            }),
            ("codec", ErrorCode::ParamInvalid, |c| {
                c.video.codec = Some("-vf".into());
            }),
            ("preset", ErrorCode::ParamInvalid, |c| {
                c.video.preset = Some("a b".into());
            }),
            ("file_root", ErrorCode::ValidationFailed, |c| {
                c.input_type = Some("FILE".into());
                c.source_url = Some(Secret::new("/etc/passwd"));
            }),
        ];
        for (field, code, change) in cases {
            let fault = refused(change);
            assert_eq!(fault.code, *code, "{}", fault.message);
            assert!(fault.message.contains(field), "{} / {field}", fault.message);
            assert!(!fault.message.contains(canary), "{}", fault.message);
        }
    }

    #[test]
    fn plain_http_to_loopback_or_a_listed_host() {
        let mut command = start();
        command.whip_url = Some(Secret::new("http://127.0.0.1:8189/whip"));
        assert!(command.validate(&StreamRules::default()).is_ok());
        command.whip_url = Some(Secret::new("http://sfu.local/whip"));
        let rules = StreamRules {
            whip_hosts: vec!["SFU.local".into()],
            ..StreamRules::default()
        };
        assert!(command.validate(&rules).is_ok());
    }

    #[test]
    fn srt_gets_its_scheme_once() {
        let mut command = start();
        command.input_type = Some("SRT".into());
        for text in ["10.0.0.1:9000", "srt://10.0.0.1:9000"] {
            command.source_url = Some(Secret::new(text));
            let spec = command.validate(&StreamRules::default()).unwrap();
            let Source::Network(url) = spec.source else {
                panic!()
            };
            assert_eq!(url.expose(), "srt://10.0.0.1:9000");
        }
    }
}
