//! Stream tasks: values, the status table, causes of failure.

mod cause;
mod source;
mod tally;

use std::fmt;
use std::time::{Duration, SystemTime};

use super::error::{ErrorCode, Fault};
use crate::util::secret::Secret;
use crate::util::url;

pub use cause::{Cause, Diagnosis, ExitRecord};
pub use source::{
    AudioFacts, AudioMode, Challenge, SourceFacts, SourceLook, TaskAudio, TaskSender, Unsendable,
    VideoFacts, moved,
};
pub use tally::{StartSplit, Tally};

/// An id from the cloud: `[A-Za-z0-9._:-]{1,128}` (contract 3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// Checks `text`; `field` names it in the fault.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new(
                ErrorCode::ParamMissing,
                format!("{field} is empty"),
            ));
        }
        let fits = text.len() <= 128
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Fault::new(
                ErrorCode::ParamInvalid,
                format!("{field} must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -"),
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A task's id (the spec's `StreamSn`).
pub type TaskId = Id;
/// A camera's id.
pub type CameraId = Id;

/// A media URL: a secret with its harmless parts taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaUrl {
    secret: Secret,
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl MediaUrl {
    /// Takes a URL apart. The fault names `field` and never shows the URL.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        let parts = url::split(text)
            .map_err(|why| Fault::new(ErrorCode::ParamInvalid, format!("{field} {why}")))?;
        Ok(Self {
            scheme: parts.scheme.to_ascii_lowercase(),
            host: parts.host.to_owned(),
            port: parts.port,
            secret: Secret::url(text),
        })
    }

    /// The whole URL. Only for handing it to where it must go.
    pub fn expose(&self) -> &str {
        self.secret.expose()
    }

    /// In lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `None` where the URL names none.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// User and password, decoded, if the URL carries a user.
    pub fn credentials(&self) -> Option<(String, Secret)> {
        let parts = url::split(self.expose()).ok()?;
        let user = url::decode(parts.raw_user()?);
        let password = url::decode(parts.raw_password().unwrap_or(""));
        Some((user, Secret::new(password)))
    }

    /// Path and query.
    pub fn path(&self) -> String {
        url::split(self.expose()).map_or_else(|_| String::new(), |parts| parts.path.to_owned())
    }

    /// As it may be shown.
    pub fn masked(&self) -> String {
        url::mask(self.expose())
    }
}

/// Where the media comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputType {
    /// rtsp or rtsps
    Rtsp,
    /// A path below `file_root`.
    File,
    /// srt
    Srt,
    /// rtmp or rtmps
    Rtmp,
}

impl InputType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtsp => "RTSP",
            Self::File => "FILE",
            Self::Srt => "SRT",
            Self::Rtmp => "RTMP",
        }
    }

    /// From the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Rtsp, Self::File, Self::Srt, Self::Rtmp]
            .into_iter()
            .find(|t| t.name().eq_ignore_ascii_case(text))
    }
}

/// A validated source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// rtsp(s), srt, rtmp(s).
    Network(MediaUrl),
    /// As given; resolved below `file_root` when the command line is built.
    File(String),
}

impl Source {
    /// As it may be shown.
    pub fn masked(&self) -> String {
        match self {
            Self::Network(url) => url.masked(),
            Self::File(path) => path.clone(),
        }
    }
}

/// What the task asks of the picture; `None` = not asked, the spec's default applies where a
/// default is needed. Kept apart, because `passthrough: auto` depends on what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VideoConfig {
    /// FFmpeg encoder name or `copy`; default `libx264`.
    pub codec: Option<String>,
    /// Bits per second; default 2,500,000.
    pub bitrate: Option<u64>,
    /// Frames per second; default 30.
    pub fps: Option<u32>,
    /// Pixels; none = not scaled (or by aspect when only the other is set).
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// x264 preset; default `veryfast`.
    pub preset: Option<String>,
    /// H.264 profile; default `baseline`.
    pub profile: Option<String>,
    /// H.264 level; default 3.1 where it fits the size.
    pub level: Option<String>,
    /// Frames; default = fps.
    pub keyframe_interval: Option<u32>,
}

/// What the task asks of the sound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AudioConfig {
    /// Whether it has to be there.
    pub mode: AudioMode,
    /// Default `opus`.
    pub codec: Option<String>,
    /// Bits per second; default 128,000.
    pub bitrate: Option<u64>,
    /// Hz; clamped to 48,000, all that WHIP takes.
    pub sample_rate: Option<u32>,
    /// Clamped to 2.
    pub channels: Option<u32>,
}

/// How often a task is tried again before it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryLimit {
    /// At most so many in a row.
    Times(u32),
    /// Never given up (`maxRetries: -1`).
    Forever,
}

/// A START that has passed validation.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSpec {
    /// The cloud's id for this task.
    pub task_id: TaskId,
    /// Whose picture; none for files without a camera.
    pub camera_id: Option<CameraId>,
    /// What kind of source.
    pub input: InputType,
    /// Where from.
    pub source: Source,
    /// FILE only: start over at the end.
    pub looped: bool,
    /// Where to. The path is the key to the stream.
    pub whip_url: MediaUrl,
    /// Where viewers look; whole towards RCS, masked in logs.
    pub playback_url: Option<String>,
    /// The picture.
    pub video: VideoConfig,
    /// The sound.
    pub audio: AudioConfig,
    /// RCS's own command line, used in place of ours after the policy has judged it.
    pub ffmpeg_command: Option<Secret>,
    /// The task's own limit; none = the node's `max_retries`.
    pub max_retries: Option<RetryLimit>,
}

/// A task's status (spec; moves: contract 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamStatus {
    /// Accepted, nothing done yet (a START that waits behind a STOP).
    Idle,
    /// A process runs, media does not leave yet.
    Starting,
    /// Media leaves.
    Streaming,
    /// Failed, and tried again.
    Reconnecting,
    /// Ended by command, shutdown or the end of a file.
    Stopped,
    /// Given up.
    Error,
}

impl StreamStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Starting,
        Self::Streaming,
        Self::Reconnecting,
        Self::Stopped,
        Self::Error,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Starting => "STARTING",
            Self::Streaming => "STREAMING",
            Self::Reconnecting => "RECONNECTING",
            Self::Stopped => "STOPPED",
            Self::Error => "ERROR",
        }
    }

    /// STARTING, STREAMING, RECONNECTING.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Streaming | Self::Reconnecting)
    }

    /// STOPPED, ERROR.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Stopped | Self::Error)
    }

    /// The contract's table of moves; what is not in it does not happen.
    pub fn may_become(self, next: Self) -> bool {
        use StreamStatus::{Error, Idle, Reconnecting, Starting, Stopped, Streaming};
        matches!(
            (self, next),
            (Idle, Starting | Stopped | Error)
                | (Starting, Streaming | Reconnecting | Error | Stopped)
                | (Streaming, Reconnecting | Error | Stopped)
                | (Reconnecting, Streaming | Error | Stopped)
        )
    }
}

/// How a task is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskMode {
    /// FFmpeg encodes.
    Transcode,
    /// FFmpeg sends the camera's own picture.
    Copy,
    /// RCS's command line.
    Prebuilt,
    /// Our own publisher.
    Relay,
}

impl TaskMode {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transcode => "transcode",
            Self::Copy => "copy",
            Self::Prebuilt => "prebuilt",
            Self::Relay => "relay",
        }
    }
}

/// One `-progress` block.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Whether the engine counts pictures: it does so where the output has video.
    pub has_video: bool,
    /// Frames sent.
    pub frame: u64,
    /// Frames per second, as the engine counts.
    pub fps: Option<f64>,
    /// Kilobit per second; `None` where the muxer does not say (whip).
    pub bitrate_kbps: Option<f64>,
    /// 1.0 = real time.
    pub speed: Option<f64>,
    /// Frames dropped by the encoder.
    pub drop_frames: u64,
    /// Frames doubled by the encoder.
    pub dup_frames: u64,
    /// Milliseconds of media sent.
    pub out_time_ms: u64,
    /// How it arrives; `None` where the engine does not tell (FFmpeg), or has no session.
    pub uplink: Option<UplinkStats>,
}

/// How what one WHIP session sends arrives, from the session's start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UplinkStats {
    /// There and back; `None` until the other end has told.
    pub round_trip: Option<Duration>,
    /// Part of the packets that the other end missed, of its last reports, 0 to 1; those that came when
    /// they were sent again count as missed.
    pub loss: Option<f64>,
    /// Requests for packets to be sent again.
    pub nacks: u64,
    /// Requests for a keyframe.
    pub keyframe_requests: u64,
    /// Bytes of media that went out, those that were sent again included.
    pub sent_bytes: u64,
    /// Those that were sent again.
    pub resent_bytes: u64,
}

impl Progress {
    /// Whether what the task is for has gone out since `earlier`: pictures, where it has any
    /// (sound that goes on beside a frozen picture is no progress), else time.
    pub fn advanced_since(&self, earlier: &Self) -> bool {
        if self.has_video {
            self.frame > earlier.frame
        } else {
            self.out_time_ms > earlier.out_time_ms
        }
    }

    /// The greatest counts of both: counters that go back and forth have not advanced.
    #[must_use]
    pub fn furthest(self, other: &Self) -> Self {
        Self {
            frame: self.frame.max(other.frame),
            out_time_ms: self.out_time_ms.max(other.out_time_ms),
            ..self
        }
    }
}

/// Why a task is STOPPED (contract 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// By STOP.
    Command,
    /// The daemon ends.
    NodeShutdown,
    /// A file without `loop` has been played.
    EndOfFile,
}

impl StopReason {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "COMMAND",
            Self::NodeShutdown => "NODE_SHUTDOWN",
            Self::EndOfFile => "END_OF_FILE",
        }
    }
}

/// A task as it can be shown (spec's `StreamTask`, contract 14).
#[derive(Debug, Clone, PartialEq)]
pub struct StreamTask {
    /// What was asked.
    pub spec: StreamSpec,
    /// Where it stands.
    pub status: StreamStatus,
    /// Pid of the running process.
    pub process_id: Option<u32>,
    /// Why it is not streaming, if it is not. Masked.
    pub error: Option<Fault>,
    /// Counted failures in a row.
    pub retry_count: u32,
    /// The limit that applies.
    pub max_retries: RetryLimit,
    /// When START was accepted.
    pub created_at: SystemTime,
    /// When it first streamed.
    pub started_at: Option<SystemTime>,
    /// When it became terminal.
    pub stopped_at: Option<SystemTime>,
    /// Last progress.
    pub last_heartbeat: Option<SystemTime>,
    /// How it is carried.
    pub mode: TaskMode,
    /// By whom it is sent.
    pub sender: TaskSender,
    /// Why so.
    pub mode_reason: String,
    /// What of the sound goes out.
    pub audio: TaskAudio,
    /// The last progress block of the current run.
    pub progress: Option<Progress>,
    /// The last five ended runs, oldest first.
    pub exit_history: Vec<ExitRecord>,
    /// Why it is STOPPED.
    pub stop_reason: Option<StopReason>,
    /// What it has been through.
    pub tally: Tally,
}

/// What kind of callback a change is (contract 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEventKind {
    /// The first STREAMING.
    Started,
    /// Any other change.
    StatusUpdate,
    /// STOPPED.
    Stopped,
    /// ERROR.
    Error,
}

impl TaskEventKind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::StatusUpdate => "STATUS_UPDATE",
            Self::Stopped => "STOPPED",
            Self::Error => "ERROR",
        }
    }
}

/// One change of a task, as RCS and Ably are told.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEvent {
    /// What kind.
    pub kind: TaskEventKind,
    /// When it happened.
    pub at: SystemTime,
    /// The task right after the change.
    pub task: StreamTask,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert!(Id::parse("taskId", "task_001").is_ok());
        assert!(Id::parse("taskId", "A.b:c-d_9").is_ok());
        assert!(Id::parse("taskId", &"x".repeat(128)).is_ok());
        for bad in ["", "a b", "../x", "ä", &"x".repeat(129), "a\n"] {
            assert!(Id::parse("taskId", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn terminal_is_for_good_and_nothing_becomes_idle() {
        for from in StreamStatus::ALL {
            assert!(!from.may_become(StreamStatus::Idle));
            assert!(!from.may_become(from));
            for to in StreamStatus::ALL {
                if from.is_terminal() {
                    assert!(!from.may_become(to));
                }
            }
            if from.is_active() {
                assert!(from.may_become(StreamStatus::Stopped));
                assert!(from.may_become(StreamStatus::Error));
            }
        }
        assert!(!StreamStatus::Reconnecting.may_become(StreamStatus::Starting));
    }

    #[test]
    fn a_media_url_shows_no_secret() {
        let url =
            MediaUrl::parse("sourceUrl", "RTSP://admin:p@ss%231@10.0.0.9/Streaming/1").unwrap();
        assert_eq!(url.scheme(), "rtsp");
        let (user, password) = url.credentials().unwrap();
        assert_eq!((user.as_str(), password.expose()), ("admin", "p@ss#1"));
        assert_eq!(url.masked(), "RTSP://***@10.0.0.9/Strea…");
        assert!(!format!("{url:?}").contains("p@ss"));
    }
}
