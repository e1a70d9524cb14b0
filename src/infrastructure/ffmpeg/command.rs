//! Task → FFmpeg's arguments. Pure, but for the look at a FILE source's path.
//!
//! Which options each input takes, and why, is measured in `docs/ffmpeg.md`. Arguments only,
//! never a shell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::carry::{Carried, Way};
use crate::domain::engine::{EngineKind, Launch, SourceFile, Stdin};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::stream::{
    AudioConfig, AudioMode, InputType, Source, SourceFacts, StreamSpec, TaskAudio, TaskMode,
    TaskSender, VideoConfig, moved,
};
use crate::util::secret::Secret;

use super::level::Level;
use super::probe::{Abilities, H264_ENCODERS};
use super::query;
use super::source::{FILE_FORMATS, FILE_INPUT, decodes_sound, file_below, network_url, protocols};

/// The descriptor on which FFmpeg writes its progress: stdout, which the whip muxer leaves alone.
pub const PROGRESS_FD: i32 = 1;

const BITRATE: u64 = 2_500_000;
const FPS: u32 = 30;
const AUDIO_BITRATE: u64 = 128_000;
const DEFAULT_LEVEL: &str = "3.1";

/// What an operator may set about command lines.
#[derive(Debug, Clone)]
pub struct FfmpegSettings {
    /// The program.
    pub path: PathBuf,
    /// FILE sources are below this directory; none = refused.
    pub file_root: Option<PathBuf>,
    /// Hosts that a prebuilt command's output may name besides that of `whipUrl`.
    pub whip_hosts: Vec<String>,
    /// How long a source may be silent before FFmpeg's read ends. It tries twice, so the whole is
    /// double that.
    pub input_timeout: Duration,
    /// How long the WHIP endpoint may take to answer, where the muxer has the option.
    pub whip_timeout: Duration,
}

impl FfmpegSettings {
    /// The defaults, for that program.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file_root: None,
            whip_hosts: Vec::new(),
            input_timeout: Duration::from_secs(5),
            whip_timeout: Duration::from_secs(10),
        }
    }
}

/// An argument list in the making. Only what carries a secret is masked by value later.
pub(super) struct Args(Vec<Secret>);

impl Args {
    pub(super) fn new(program: &Path) -> Self {
        Self(vec![Secret::unlisted(program.to_string_lossy())])
    }

    pub(super) fn plain<T: AsRef<str>>(&mut self, args: impl IntoIterator<Item = T>) -> &mut Self {
        self.0
            .extend(args.into_iter().map(|a| Secret::unlisted(a.as_ref())));
        self
    }

    pub(super) fn pair(&mut self, option: &str, value: &str) -> &mut Self {
        self.plain([option, value])
    }

    pub(super) fn number(&mut self, option: &str, value: impl Into<u64>) -> &mut Self {
        let value: u64 = value.into();
        self.plain([option, &value.to_string()])
    }

    pub(super) fn secret(&mut self, arg: Secret) -> &mut Self {
        self.0.push(arg);
        self
    }

    pub(super) fn done(self) -> Vec<Secret> {
        self.0
    }
}

/// What every command line begins with: no stdin, whole lines with their level on stderr, and
/// progress on a pipe of its own. `verbose` prints nothing per packet (measured: 190 to 230 lines
/// a run) and is the only level that names the WHIP session's URL; the leading `+` keeps repeated
/// lines folded.
pub(super) fn global_args(args: &mut Args) {
    args.plain(["-hide_banner", "-nostdin", "-nostats"]);
    args.pair("-loglevel", "+level+verbose");
    args.pair("-progress", &format!("pipe:{PROGRESS_FD}"));
    args.pair("-stats_period", "1");
}

/// What the WHIP output needs before its `-f whip URL`.
pub(super) fn whip_args(args: &mut Args, settings: &FfmpegSettings, abilities: &Abilities) {
    if abilities.has_whip_option("timeout") {
        args.number("-timeout", settings.whip_timeout.as_secs().max(1));
    }
}

/// FFmpeg as DTLS client, where its muxer can be that: a second quicker at every start. (As server it
/// loses the peer's first words, and waits for their repeat.)
const DTLS_ACTIVE: [&str; 2] = ["-whip_flags", "dtls_active"];

/// The same with FFmpeg as DTLS server, for an endpoint that would not have it as client; none where
/// it is that already, or where the command line is RCS's.
pub fn passive(launch: &Launch) -> Option<Launch> {
    if !launch.dtls_active {
        return None;
    }
    let mut argv = launch.argv.clone();
    let at = argv
        .windows(DTLS_ACTIVE.len())
        .position(|pair| pair.iter().map(Secret::expose).eq(DTLS_ACTIVE))?;
    argv.drain(at..at + DTLS_ACTIVE.len());
    Some(Launch {
        argv,
        dtls_active: false,
        ..launch.clone()
    })
}

/// How long the muxer may hold pictures back for a sound that does not come. Its own 10 s freeze the
/// picture where the sound ends in mid-stream, and leave it 10 s late to the end (measured).
pub(super) const INTERLEAVE: (&str, &str) = ("-max_interleave_delta", "500000");

/// The command line of a task whose picture is carried so, by what its source has said of itself if it
/// has been asked.
pub fn build(
    spec: &StreamSpec,
    carried: &Carried,
    settings: &FfmpegSettings,
    abilities: &Abilities,
    facts: Option<&SourceFacts>,
) -> Result<Launch, Fault> {
    let sound = Sound::choose(&spec.audio, abilities, facts)?;
    let mut args = Args::new(&settings.path);
    global_args(&mut args);
    let video = Video::choose(carried.way, &spec.video, abilities)?;
    let clock = match spec.source {
        Source::Network(_) => video.clock(&spec.video),
        Source::File(_) => Clock::Source,
    };
    if clock == Clock::Arrival {
        args.pair("-use_wallclock_as_timestamps", "1");
    }
    let file = input_args(&mut args, spec, settings, abilities, facts, &sound)?;
    args.plain(["-map", "0:v:0"]);
    if sound.is_read() {
        // One: WHIP takes no second, and a source may have several.
        args.plain(["-map", "0:a:0?"]);
    }
    video.args(&mut args, &spec.video, clock)?;
    let note = sound.args(&mut args, &spec.audio, abilities);
    args.pair(INTERLEAVE.0, INTERLEAVE.1);
    whip_args(&mut args, settings, abilities);
    let dtls_active = abilities.has_whip_option("dtls_active");
    if dtls_active {
        args.plain(DTLS_ACTIVE);
    }
    args.pair("-f", "whip");
    args.secret(network_url(spec.whip_url.expose()));
    let mut mode_reason = video.reason(&spec.video, &carried.reason);
    if let Some(note) = note {
        mode_reason.push_str("; ");
        mode_reason.push_str(&note);
    }
    Ok(Launch {
        engine: EngineKind::Ffmpeg,
        mode: match video {
            Video::Copy => TaskMode::Copy,
            Video::Encode { .. } => TaskMode::Transcode,
        },
        sender: TaskSender::Ffmpeg,
        mode_reason,
        audio: sound.shown(),
        argv: args.done(),
        stdin: file.map_or(Stdin::Empty, Stdin::File),
        ends_by_nature: spec.input == InputType::File && !spec.looped,
        whip_bearer: None,
        dtls_active,
    })
}

fn input_args(
    args: &mut Args,
    spec: &StreamSpec,
    settings: &FfmpegSettings,
    abilities: &Abilities,
    facts: Option<&SourceFacts>,
    sound: &Sound,
) -> Result<Option<SourceFile>, Fault> {
    match &spec.source {
        Source::Network(url) => {
            query::check("sourceUrl", url.expose())?;
            let moved_to = facts.and_then(|facts| facts.moved_to.as_ref());
            let target = moved_to.and_then(|to| moved(&Secret::url(url.expose()), to));
            if let Some(target) = &target {
                query::check("the URL that the source sends on to", target.expose())?;
            }
            let input = NetworkInput {
                scheme: url.scheme(),
                url: target.as_ref().map_or(url.expose(), Secret::expose),
                timeout: settings.input_timeout,
                sound: sound.is_read(),
            };
            network_input(args, &input, abilities);
            Ok(None)
        }
        Source::File(path) => {
            let file = file_below("sourceUrl", settings.file_root.as_deref(), path)?;
            args.pair("-protocol_whitelist", protocols("file"));
            args.pair("-format_whitelist", FILE_FORMATS);
            args.plain(["-re"]);
            if spec.looped {
                args.pair("-stream_loop", "-1");
            }
            args.pair("-i", FILE_INPUT);
            Ok(Some(file))
        }
    }
}

/// What is read from the network.
pub(super) struct NetworkInput<'a> {
    pub scheme: &'a str,
    pub url: &'a str,
    pub timeout: Duration,
    /// Whether its sound is read, too.
    pub sound: bool,
}

/// A network input, the one way that all command lines of ours have it: streams and frames.
pub(super) fn network_input(args: &mut Args, input: &NetworkInput<'_>, abilities: &Abilities) {
    args.pair("-protocol_whitelist", protocols(input.scheme));
    if matches!(input.scheme, "rtsp" | "rtsps") {
        // FFmpeg sets up whatever is announced, and gives the stream up where one part of it is
        // refused: metadata, which nobody needs, or a sound (measured).
        let media = if input.sound { "video+audio" } else { "video" };
        args.pair("-allowed_media_types", media);
    }
    network_args(args, input.scheme, input.timeout, abilities);
    args.plain(["-i"]);
    args.secret(network_url(input.url));
}

/// Time-outs and probing of a network input. The probe ends as soon as the codecs are known
/// (`-fpsprobesize 0`: not a second later, when the frame rate has been counted), and what was
/// read for it is sent: with `-fflags nobuffer` the first picture would wait for the next keyframe.
fn network_args(args: &mut Args, scheme: &str, timeout: Duration, abilities: &Abilities) {
    let micros = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
    match scheme {
        "rtsp" | "rtsps" => {
            args.pair("-rtsp_transport", "tcp");
            args.number("-timeout", micros);
            // Cameras sign their certificates themselves; 9.0 would refuse them all.
            if scheme == "rtsps" && abilities.verifies_certificates() {
                args.pair("-tls_verify", "0");
            }
        }
        // On RTMP `-timeout` would make FFmpeg listen instead.
        "rtmp" | "rtmps" => {
            args.number("-rw_timeout", micros);
        }
        _ => {
            args.number("-timeout", micros);
        }
    }
    args.pair("-analyzeduration", "1000000");
    args.pair("-probesize", "1000000");
    args.pair("-fpsprobesize", "0");
}

/// By which clock the output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// What the source says.
    Source,
    /// When each picture arrives. A camera whose clock is set by an hour while it sends would make
    /// FFmpeg fill that hour, or stand still for it.
    Arrival,
}

/// Without a frame rate in the task: as the camera sends them, but no more than the default on
/// average. Pictures that come late and then all at once are not dropped.
const AT_MOST_30: &str = "select=lte(selected_n\\,(t-start_t)*30+3)";

/// How the picture goes out.
enum Video {
    /// Unchanged.
    Copy,
    /// By that encoder.
    Encode { encoder: &'static str },
}

impl Video {
    /// A codec that is none is named, however the picture goes out.
    fn choose(way: Way, config: &VideoConfig, abilities: &Abilities) -> Result<Self, Fault> {
        let there = || {
            H264_ENCODERS
                .into_iter()
                .filter(|encoder| abilities.has_encoder(encoder))
        };
        let asked = config.codec.as_deref().map(str::to_ascii_lowercase);
        let named = match asked.as_deref() {
            None | Some("copy" | "h264" | "avc") => None,
            Some(name) => Some(H264_ENCODERS.into_iter().find(|e| *e == name).ok_or_else(
                || {
                    refused(
                        "codec",
                        format!(
                            "WHIP takes H.264 only: {}, or copy",
                            H264_ENCODERS.join(", ")
                        ),
                    )
                },
            )?),
        };
        if way != Way::Transcode {
            return Ok(Self::Copy);
        }
        if let Some(encoder) = named
            && !abilities.has_encoder(encoder)
        {
            let there: Vec<&str> = there().collect();
            return Err(refused(
                "codec",
                format!("this FFmpeg has no {encoder}; it has {}", there.join(", ")),
            ));
        }
        let encoder = named.or_else(|| there().next()).ok_or_else(|| {
            Fault::new(
                ErrorCode::FfmpegNotFound,
                "this FFmpeg has no H.264 encoder: install one with libx264",
            )
        })?;
        Ok(Self::Encode { encoder })
    }

    /// How it goes out, and `why` so.
    fn reason(&self, config: &VideoConfig, why: &str) -> String {
        let Self::Encode { encoder } = self else {
            let ignored = [
                ("bitrate", config.bitrate.is_some()),
                ("fps", config.fps.is_some()),
                ("size", config.width.or(config.height).is_some()),
            ];
            let ignored: Vec<&str> = ignored
                .iter()
                .filter_map(|(name, given)| given.then_some(*name))
                .collect();
            return if ignored.is_empty() {
                format!("unchanged: {why}")
            } else {
                let ignored = ignored.join(", ");
                format!("unchanged, whatever videoConfig says of {ignored}: {why}")
            };
        };
        format!("encoded by {encoder}: {why}")
    }

    /// By arrival, where nothing speaks against it. From arrivals FFmpeg guesses twice the frame rate
    /// (measured), which doubles pictures or halves the bit rate; so that is for output that needs no
    /// guess: unchanged video, a rate that the task names, an encoder that goes by time stamps alone.
    fn clock(&self, config: &VideoConfig) -> Clock {
        match self {
            Self::Encode { encoder } if *encoder != "libx264" && config.fps.is_none() => {
                Clock::Source
            }
            Self::Encode { .. } | Self::Copy => Clock::Arrival,
        }
    }

    fn args(&self, args: &mut Args, config: &VideoConfig, clock: Clock) -> Result<(), Fault> {
        let Self::Encode { encoder } = *self else {
            args.pair("-c:v", "copy");
            return Ok(());
        };
        let fps = config.fps.unwrap_or(FPS);
        args.pair("-c:v", encoder);
        if encoder == "libx264" {
            args.pair("-preset", preset(config)?);
            args.pair("-tune", "zerolatency");
        } else if matches!(encoder, "h264_nvenc" | "h264_qsv")
            && let Some(preset) = &config.preset
        {
            args.pair("-preset", preset);
        }
        if let Some(profile) = profile(config, encoder)? {
            args.pair("-profile:v", profile);
        }
        if let Some(level) = level(config, fps)?
            && encoder == "libx264"
        {
            args.pair("-level", level);
        }
        args.number("-bf", 0u32);
        let pixels = if encoder == "h264_qsv" {
            "nv12"
        } else {
            "yuv420p"
        };
        args.pair("-pix_fmt", pixels);
        let interval = config.keyframe_interval.unwrap_or(fps);
        args.number("-g", interval);
        if encoder == "libx264" {
            args.number("-keyint_min", interval);
        }
        let bitrate = config.bitrate.unwrap_or(BITRATE);
        args.number("-b:v", bitrate);
        args.number("-maxrate", bitrate);
        args.number("-bufsize", bitrate.saturating_mul(2));
        let by_arrival = clock == Clock::Arrival && config.fps.is_none();
        let most = by_arrival.then(|| AT_MOST_30.to_owned());
        let filters: Vec<String> = most.into_iter().chain(scale(config)).collect();
        if !filters.is_empty() {
            args.pair("-vf", &filters.join(","));
        }
        match config.fps {
            Some(fps) => args.number("-r", fps),
            None if by_arrival => {
                args.plain(["-fps_mode", "vfr", "-enc_time_base", "1:90000"]);
                // x264's rate control then goes by the time stamps, not by a guessed frame rate.
                args.pair("-x264-params", "force-cfr=0")
            }
            // As the camera sends them, but no more than the default.
            None => args.number("-fpsmax", FPS),
        };
        Ok(())
    }
}

fn refused(field: &str, why: impl AsRef<str>) -> Fault {
    Fault::new(
        ErrorCode::ValidationFailed,
        format!("videoConfig.{field}: {}", why.as_ref()),
    )
}

fn preset(config: &VideoConfig) -> Result<&str, Fault> {
    const PRESETS: [&str; 10] = [
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
        "slow",
        "slower",
        "veryslow",
        "placebo",
    ];
    let preset = config.preset.as_deref().unwrap_or("veryfast");
    if PRESETS.contains(&preset) {
        Ok(preset)
    } else {
        Err(refused(
            "preset",
            format!("libx264 has {}", PRESETS.join(", ")),
        ))
    }
}

/// The profile in the encoder's own word; none where it has no such option.
fn profile(config: &VideoConfig, encoder: &str) -> Result<Option<&'static str>, Fault> {
    let profile = match config.profile.as_deref().unwrap_or("baseline") {
        "baseline" | "constrained_baseline" => "baseline",
        "main" => "main",
        "high" => "high",
        _ => {
            return Err(refused(
                "profile",
                "WHIP takes baseline, main and high (Cloudflare lists baseline alone)",
            ));
        }
    };
    Ok(match (encoder, profile) {
        ("h264_v4l2m2m", _) => None,
        ("libopenh264", "baseline") => Some("constrained_baseline"),
        _ => Some(profile),
    })
}

/// The level to mark the stream with; none where it does not fit the picture, or where the
/// picture's size is the camera's and nothing was asked: x264 then picks the right one itself.
fn level(config: &VideoConfig, fps: u32) -> Result<Option<&'static str>, Fault> {
    let asked = config.level.as_deref();
    let level = Level::parse(asked.unwrap_or(DEFAULT_LEVEL))
        .ok_or_else(|| refused("level", "must be an H.264 level from 1 to 6.2, like 3.1"))?;
    // With one side given, 16:9 is the likely other.
    let size = match (config.width, config.height) {
        (Some(w), Some(h)) => Some((w, h)),
        (Some(w), None) => Some((w, w.saturating_mul(9).div_ceil(16))),
        (None, Some(h)) => Some((h.saturating_mul(16).div_ceil(9), h)),
        (None, None) => None,
    };
    Ok(match size {
        Some((w, h)) => level.fits(w, h, fps).then_some(level.name),
        None => asked.map(|_| level.name),
    })
}

/// 4:2:0 needs even sides; -2 is "by aspect, and even".
fn scale(config: &VideoConfig) -> Option<String> {
    let even = |side: u32| side & !1;
    match (config.width, config.height) {
        (Some(w), Some(h)) => Some(format!("scale={}:{}", even(w), even(h))),
        (Some(w), None) => Some(format!("scale={}:-2", even(w))),
        (None, Some(h)) => Some(format!("scale=-2:{}", even(h))),
        (None, None) => None,
    }
}

/// What becomes of the sound.
enum Sound {
    /// As Opus, where there is any.
    Encode,
    /// The task wants none.
    Off,
    /// The source has none.
    Missing,
    /// It can't be had or converted, in words.
    Dropped(String),
}

impl Sound {
    fn choose(
        config: &AudioConfig,
        abilities: &Abilities,
        facts: Option<&SourceFacts>,
    ) -> Result<Self, Fault> {
        if config.mode == AudioMode::Off {
            return Ok(Self::Off);
        }
        let required =
            |code, why: &str| Fault::new(code, format!("audioConfig.mode is required, and {why}"));
        let must = config.mode == AudioMode::Required;
        if let Some(facts) = facts {
            let Some(sound) = &facts.audio else {
                return if must {
                    let why = "the source announces no sound";
                    Err(required(ErrorCode::RtspStreamError, why))
                } else {
                    Ok(Self::Missing)
                };
            };
            let codec = sound.codec.as_deref();
            let why = if let Some(status) = sound.refused {
                Some(format!("the source refuses its sound (RTSP {status})"))
            } else if sound.silent {
                Some("the source announces a sound and sends none".to_owned())
            } else {
                codec
                    .filter(|codec| !decodes_sound(codec))
                    .map(|codec| format!("FFmpeg can't decode the source's sound ({codec})"))
            };
            if let Some(why) = why {
                return if must {
                    Err(required(ErrorCode::RtspStreamError, &why))
                } else {
                    Ok(Self::Dropped(why))
                };
            }
        }
        if !abilities.has_encoder("libopus") && !abilities.has_encoder("opus") {
            let why = "this FFmpeg has no Opus encoder";
            return if must {
                Err(required(ErrorCode::FfmpegNotFound, why))
            } else {
                Ok(Self::Dropped(why.to_owned()))
            };
        }
        Ok(Self::Encode)
    }

    /// Whether it is read from the source.
    fn is_read(&self) -> bool {
        matches!(self, Self::Encode)
    }

    fn shown(&self) -> TaskAudio {
        match self {
            Self::Encode => TaskAudio::Encoded,
            Self::Off | Self::Missing => TaskAudio::None,
            Self::Dropped(_) => TaskAudio::Dropped,
        }
    }

    /// Opus at 48 kHz in stereo, which is all that WHIP takes, whatever is asked. A note where that
    /// matters.
    fn args(&self, args: &mut Args, config: &AudioConfig, abilities: &Abilities) -> Option<String> {
        if !self.is_read() {
            args.plain(["-an"]);
            return match self {
                Self::Dropped(why) => Some(format!("without sound: {why}")),
                Self::Off => Some("without sound: audioConfig.mode is off".to_owned()),
                Self::Missing | Self::Encode => None,
            };
        }
        if abilities.has_encoder("libopus") {
            args.pair("-c:a", "libopus");
        } else {
            // FFmpeg's own is marked experimental.
            args.plain(["-c:a", "opus", "-strict", "-2"]);
        }
        args.number("-b:a", config.bitrate.unwrap_or(AUDIO_BITRATE));
        args.plain(["-ar", "48000", "-ac", "2"]);
        let other = config
            .codec
            .as_deref()
            .is_some_and(|c| !matches!(c.to_ascii_lowercase().as_str(), "opus" | "libopus"))
            || config.sample_rate.is_some_and(|r| r != 48_000)
            || config.channels.is_some_and(|c| c != 2);
        other.then(|| "sound as Opus, 48 kHz, stereo: WHIP takes nothing else".to_owned())
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
pub(in crate::infrastructure) mod tests;
