//! JSON shapes that more than one door speaks: a task as it is shown, START as it is asked
//! (contract 14, spec). Knows neither HTTP nor Ably.

use std::time::SystemTime;

use serde::Serialize;

use super::decode::Fields;
use super::shown_command::shown_command;
use crate::application::stream::{AudioAsk, StartCommand, VideoAsk};
use crate::domain::error::Fault;
use crate::domain::stream::{
    AudioConfig, ExitRecord, Progress, RetryLimit, StopReason, StreamTask, TaskMode, UplinkStats,
    VideoConfig,
};
use crate::util::secret::Secret;
use crate::util::time::rfc3339;
use crate::util::url;

/// Whom a task is shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever may ask the local API: `playbackUrl` is masked.
    Local,
    /// RCS, which handed `playbackUrl` out: it gets it back whole.
    Rcs,
}

/// A task on the wire. Unset = null, never absent. Holds no secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskJson {
    task_id: String,
    camera_id: Option<String>,
    input_type: &'static str,
    source_url: String,
    #[serde(rename = "loop")]
    looped: bool,
    whip_url: String,
    playback_url: Option<String>,
    status: &'static str,
    process_id: Option<u32>,
    error_message: Option<String>,
    error_code: Option<u32>,
    retry_count: u32,
    max_retries: i64,
    created_at: String,
    started_at: Option<String>,
    stopped_at: Option<String>,
    last_heartbeat: Option<String>,
    video_config: VideoJson,
    audio_config: AudioJson,
    ffmpeg_command: Option<String>,
    mode: &'static str,
    sender: &'static str,
    mode_reason: String,
    audio: &'static str,
    progress: Option<ProgressJson>,
    exit_history: Vec<ExitJson>,
    stop_reason: Option<&'static str>,
}

/// What the picture is encoded with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VideoJson {
    codec: Option<String>,
    bitrate: Option<String>,
    fps: Option<u32>,
    width: Option<u32>,
    height: Option<u32>,
    preset: Option<String>,
    profile: Option<String>,
    level: Option<String>,
    keyframe_interval: Option<u32>,
}

/// What the sound is encoded with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AudioJson {
    mode: &'static str,
    codec: Option<String>,
    bitrate: Option<String>,
    sample_rate: Option<u32>,
    channels: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressJson {
    frame: u64,
    fps: Option<f64>,
    bitrate_kbps: Option<f64>,
    speed: Option<f64>,
    drop_frames: u64,
    dup_frames: u64,
    out_time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uplink: Option<UplinkJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UplinkJson {
    round_trip_ms: Option<f64>,
    loss: Option<f64>,
    nacks: u64,
    keyframe_requests: u64,
    sent_bytes: u64,
    resent_bytes: u64,
}

impl UplinkJson {
    fn new(stats: UplinkStats) -> Self {
        Self {
            round_trip_ms: stats.round_trip.map(|time| time.as_secs_f64() * 1e3),
            loss: stats.loss,
            nacks: stats.nacks,
            keyframe_requests: stats.keyframe_requests,
            sent_bytes: stats.sent_bytes,
            resent_bytes: stats.resent_bytes,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExitJson {
    at: String,
    code: Option<i32>,
    signal: Option<i32>,
    error_code: u32,
    cause: String,
}

impl TaskJson {
    /// The task, masked for `audience`.
    pub fn new(task: &StreamTask, audience: Audience) -> Self {
        let spec = &task.spec;
        let time = |at: Option<SystemTime>| at.map(rfc3339);
        Self {
            task_id: spec.task_id.to_string(),
            camera_id: spec.camera_id.as_ref().map(ToString::to_string),
            input_type: spec.input.name(),
            source_url: spec.source.masked(),
            looped: spec.looped,
            whip_url: spec.whip_url.masked(),
            playback_url: spec.playback_url.as_ref().map(|text| match audience {
                Audience::Local => url::mask(text),
                Audience::Rcs => text.clone(),
            }),
            status: task.status.name(),
            process_id: task.process_id,
            error_message: task.error.as_ref().map(|fault| fault.message.clone()),
            error_code: task.error.as_ref().map(|fault| fault.code.number()),
            retry_count: task.retry_count,
            max_retries: match task.max_retries {
                RetryLimit::Times(times) => i64::from(times),
                RetryLimit::Forever => -1,
            },
            created_at: rfc3339(task.created_at),
            started_at: time(task.started_at),
            stopped_at: time(task.stopped_at),
            last_heartbeat: time(task.last_heartbeat),
            video_config: VideoJson::new(&spec.video, task.mode),
            audio_config: AudioJson::new(&spec.audio, task.mode),
            ffmpeg_command: spec.ffmpeg_command.as_ref().map(shown_command),
            mode: task.mode.name(),
            sender: task.sender.name(),
            mode_reason: task.mode_reason.clone(),
            audio: task.audio.name(),
            progress: task.progress.as_ref().map(ProgressJson::new),
            exit_history: task.exit_history.iter().map(ExitJson::new).collect(),
            stop_reason: task.stop_reason.map(StopReason::name),
        }
    }
}

impl VideoJson {
    /// With the spec's defaults where lss encodes; else only what was asked, for a default that
    /// nobody applies would be a lie.
    fn new(video: &VideoConfig, mode: TaskMode) -> Self {
        let encodes = mode == TaskMode::Transcode;
        let or = |value: &Option<String>, default: &str| {
            value
                .clone()
                .or_else(|| encodes.then(|| default.to_owned()))
        };
        let fps = video.fps.or(encodes.then_some(30));
        Self {
            codec: match mode {
                TaskMode::Copy | TaskMode::Relay => Some("copy".to_owned()),
                TaskMode::Transcode | TaskMode::Prebuilt => or(&video.codec, "libx264"),
            },
            bitrate: video
                .bitrate
                .or(encodes.then_some(2_500_000))
                .map(bitrate_text),
            fps,
            width: video.width,
            height: video.height,
            preset: or(&video.preset, "veryfast"),
            profile: or(&video.profile, "baseline"),
            level: video.level.clone(),
            keyframe_interval: video.keyframe_interval.or(fps.filter(|_| encodes)),
        }
    }
}

impl AudioJson {
    /// With the spec's defaults and WHIP's limits (48 kHz stereo) where lss encodes.
    fn new(audio: &AudioConfig, mode: TaskMode) -> Self {
        let encodes = matches!(mode, TaskMode::Transcode | TaskMode::Copy);
        let number = |asked: Option<u32>, most: u32| {
            if encodes {
                Some(asked.unwrap_or(most).min(most))
            } else {
                asked
            }
        };
        Self {
            mode: audio.mode.name(),
            codec: audio
                .codec
                .clone()
                .or_else(|| encodes.then(|| "opus".to_owned())),
            bitrate: audio
                .bitrate
                .or(encodes.then_some(128_000))
                .map(bitrate_text),
            sample_rate: number(audio.sample_rate, 48_000),
            channels: number(audio.channels, 2),
        }
    }
}

impl ProgressJson {
    fn new(progress: &Progress) -> Self {
        Self {
            frame: progress.frame,
            fps: progress.fps,
            bitrate_kbps: progress.bitrate_kbps,
            speed: progress.speed,
            drop_frames: progress.drop_frames,
            dup_frames: progress.dup_frames,
            out_time_ms: progress.out_time_ms,
            uplink: progress.uplink.map(UplinkJson::new),
        }
    }
}

impl ExitJson {
    fn new(exit: &ExitRecord) -> Self {
        Self {
            at: rfc3339(exit.at),
            code: exit.code,
            signal: exit.signal,
            error_code: exit.error_code.number(),
            cause: exit.cause.clone(),
        }
    }
}

/// `2500k` as the spec writes it; a rate that is no whole kilobit in bits.
fn bitrate_text(bits: u64) -> String {
    if bits.is_multiple_of(1000) {
        format!("{}k", bits / 1000)
    } else {
        bits.to_string()
    }
}

/// START as a door got it: types checked, nothing else.
pub fn start_command(fields: &Fields<'_>) -> Result<StartCommand, Fault> {
    let text = |name: &str| fields.text(name).map(|v| v.map(str::to_owned));
    let video = fields.object("videoConfig")?;
    let audio = fields.object("audioConfig")?;
    let video_text = |name: &str| video.text(name).map(|v| v.map(str::to_owned));
    let rate = |fields: &Fields| -> Result<_, Fault> {
        Ok(fields
            .text_or_number("bitrate")?
            .filter(|rate| rate.trim() != "0"))
    };
    Ok(StartCommand {
        task_id: fields.id("taskId")?,
        camera_id: fields.id("cameraId")?,
        source_url: fields.text("sourceUrl")?.map(Secret::url),
        whip_url: fields.text("whipUrl")?.map(Secret::url),
        playback_url: text("playbackUrl")?,
        input_type: text("inputType")?,
        looped: fields.flag("loop")?.unwrap_or(false),
        ffmpeg_command: fields.text("ffmpegCommand")?.map(Secret::new),
        // Zero is none at all.
        max_retries: fields.integer_or_zero("maxRetries")?,
        video: VideoAsk {
            codec: video_text("codec")?,
            bitrate: rate(&video)?,
            fps: video.integer("fps")?,
            width: video.integer("width")?,
            height: video.integer("height")?,
            preset: video_text("preset")?,
            profile: video_text("profile")?,
            level: video.text_or_number("level")?,
            keyframe_interval: video.integer("keyframeInterval")?,
        },
        audio: AudioAsk {
            mode: audio.text("mode")?.map(str::to_owned),
            codec: audio.text("codec")?.map(str::to_owned),
            bitrate: rate(&audio)?,
            sample_rate: audio.integer("sampleRate")?,
            channels: audio.integer("channels")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::decode;
    use crate::domain::error::ErrorCode;
    use std::time::{Duration, UNIX_EPOCH};

    use crate::application::stream::StreamRules;
    use crate::domain::stream::{StreamStatus, TaskSender};

    fn command(text: &str) -> Result<StartCommand, Fault> {
        let value = decode::parse(text.as_bytes())?;
        start_command(&Fields::of(&value, "the body")?)
    }

    fn task(text: &str) -> StreamTask {
        let spec = command(text)
            .unwrap()
            .validate(&StreamRules::default())
            .unwrap();
        StreamTask {
            spec,
            status: StreamStatus::Starting,
            process_id: None,
            error: None,
            retry_count: 0,
            max_retries: RetryLimit::Times(3),
            created_at: UNIX_EPOCH,
            started_at: None,
            stopped_at: None,
            last_heartbeat: None,
            mode: TaskMode::Transcode,
            sender: TaskSender::Ffmpeg,
            mode_reason: "as asked".into(),
            audio: crate::domain::stream::TaskAudio::Encoded,
            progress: None,
            exit_history: Vec::new(),
            stop_reason: None,
            tally: crate::domain::stream::Tally::default(),
        }
    }

    const START: &str = r#"{ "taskId": "task_001", "cameraId": "cam_001",
        "sourceUrl": "rtsp://admin:canary-1@192.168.0.64/Streaming/Channels/101",
        "whipUrl": "https://customer.example/canary-2/whip",
        "playbackUrl": "https://customer.example/canary-3/whep",
        "inputType": "RTSP", "loop": false, "somethingNew": { "x": 1 },
        "videoConfig": { "codec": "libx264", "bitrate": 1500000, "fps": 25.0 },
        "audioConfig": { "sampleRate": 96000 },
        "ffmpegCommand": "/opt/ffmpeg -i rtsp://admin:canary-1@192.168.0.64/x -headers 'X-Key: canary-4' -canary-5 -c:v libx264 -b:v 2500k -authorization canary-6 -f whip https://customer.example/canary-2/whip" }"#;

    #[test]
    fn a_shown_task_is_whole_and_without_secrets() {
        let json = serde_json::to_value(TaskJson::new(&task(START), Audience::Local)).unwrap();
        assert!(!json.to_string().contains("canary"), "{json:#}");
        assert_eq!(
            json["ffmpegCommand"],
            "ffmpeg -i rtsp://***@192.168.0.64/x -headers *** *** -c:v libx264 -b:v 2500k \
             -authorization *** -f whip https://customer.example/canar…"
        );
        assert_eq!(json["createdAt"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["maxRetries"], 3);
        assert_eq!(json["videoConfig"]["bitrate"], "1500k");
        assert_eq!(json["videoConfig"]["fps"], 25);
        assert_eq!(json["videoConfig"]["keyframeInterval"], 25);
        assert_eq!(json["audioConfig"]["codec"], "opus");
        assert_eq!(json["audioConfig"]["sampleRate"], 48_000);
        for unset in [
            "processId",
            "errorCode",
            "progress",
            "startedAt",
            "stopReason",
        ] {
            assert_eq!(json.get(unset), Some(&serde_json::Value::Null), "{unset}");
        }
    }

    #[test]
    fn rcs_gets_its_playback_url_back() {
        let json = serde_json::to_value(TaskJson::new(&task(START), Audience::Rcs)).unwrap();
        assert_eq!(
            json["playbackUrl"],
            "https://customer.example/canary-3/whep"
        );
        let rest = json.to_string().replace("canary-3", "");
        assert!(!rest.contains("canary"), "{rest}");
    }

    #[test]
    fn defaults_are_shown_only_where_they_apply() {
        let mut copied = task(START);
        copied.mode = TaskMode::Copy;
        copied.spec.video = VideoConfig::default();
        let json = serde_json::to_value(TaskJson::new(&copied, Audience::Local)).unwrap();
        assert_eq!(json["videoConfig"]["codec"], "copy");
        assert_eq!(json["videoConfig"]["bitrate"], serde_json::Value::Null);
        assert_eq!(json["audioConfig"]["bitrate"], "128k");
    }

    #[test]
    fn history_and_progress() {
        let mut shown = task(START);
        shown.exit_history.push(ExitRecord {
            at: UNIX_EPOCH + Duration::from_millis(1),
            code: None,
            signal: Some(15),
            error_code: ErrorCode::Success,
            cause: "asked to end".into(),
        });
        shown.progress = Some(Progress {
            frame: 7,
            speed: Some(1.01),
            ..Progress::default()
        });
        let json = serde_json::to_value(TaskJson::new(&shown, Audience::Local)).unwrap();
        assert_eq!(
            json["exitHistory"][0],
            serde_json::json!({ "at": "1970-01-01T00:00:00.001Z", "code": null, "signal": 15,
                "errorCode": 0, "cause": "asked to end" })
        );
        assert_eq!(
            json["progress"],
            serde_json::json!({ "frame": 7, "fps": null, "bitrateKbps": null, "speed": 1.01,
                "dropFrames": 0, "dupFrames": 0, "outTimeMs": 0 })
        );
    }

    #[test]
    fn a_sender_with_primitive_types_is_understood() {
        let all = command(
            r#"{ "taskId": 4711, "cameraId": 12, "sourceUrl": "rtsp://192.168.0.64/1",
                "whipUrl": "https://customer.example/whip", "playbackUrl": "", "inputType": "",
                "loop": "false", "ffmpegCommand": "", "maxRetries": null,
                "videoConfig": { "codec": "", "bitrate": 0, "fps": 0, "width": 0, "height": 0,
                    "preset": "", "profile": "", "level": 0, "keyframeInterval": 0 },
                "audioConfig": { "codec": "", "bitrate": "0", "sampleRate": 0, "channels": 0 } }"#,
        );
        let spec = all.unwrap().validate(&StreamRules::default()).unwrap();
        assert_eq!(spec.task_id.as_str(), "4711");
        assert_eq!(spec.camera_id.unwrap().as_str(), "12");
        assert_eq!(spec.video, VideoConfig::default());
        assert_eq!(spec.audio, AudioConfig::default());
        assert!(!spec.looped && spec.ffmpeg_command.is_none() && spec.max_retries.is_none());
        let texts = command(
            r#"{ "taskId": "t", "sourceUrl": "rtsp://192.168.0.64/1", "loop": "TRUE",
                "whipUrl": "https://customer.example/whip", "maxRetries": "-1",
                "videoConfig": { "fps": "30", "width": "1280" }, "audioConfig": "" }"#,
        );
        let spec = texts.unwrap().validate(&StreamRules::default()).unwrap();
        assert_eq!((spec.video.fps, spec.video.width), (Some(30), Some(1280)));
        assert!(spec.looped);
        assert_eq!(spec.max_retries, Some(RetryLimit::Forever));
    }

    #[test]
    fn wrong_types_are_named_with_their_path() {
        for (text, words) in [
            (r#"{"taskId": 7.5}"#, "taskId must be a text"),
            (r#"{"loop": "yes"}"#, "loop must be true or false"),
            (
                r#"{"videoConfig": {"fps": "fast"}}"#,
                "videoConfig.fps must be",
            ),
            (
                r#"{"audioConfig": "opus"}"#,
                "audioConfig must be an object",
            ),
            (
                r#"{"maxRetries": 1.5}"#,
                "maxRetries must be a whole number",
            ),
        ] {
            let fault = command(text).err().unwrap();
            assert_eq!(fault.code, ErrorCode::ParamInvalid);
            assert!(fault.message.contains(words), "{}", fault.message);
        }
    }
}
