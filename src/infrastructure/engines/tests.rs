//! What a START is carried by, with an FFmpeg that is a script.

use super::*;
use crate::domain::stream::{AudioFacts, Unsendable, VideoFacts};
use crate::infrastructure::ffmpeg::command::tests::spec;
use crate::infrastructure::ffmpeg::engine::tests::{engine, install_with};

const CAMERA: &str = "rtsp://admin:pw@10.0.0.9/x";
const MUXER: &str = "Muxer whip [WHIP]:";
const ALL: [&str; 2] = ["libx264", "libopus"];

/// Engines of a node with such an FFmpeg; `None` = there is none.
fn node(passthrough: Passthrough, encoders: Option<&[&str]>) -> (Engines, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ffmpeg");
    if let Some(encoders) = encoders {
        install_with(&path, MUXER, encoders);
    }
    let (ffmpeg, _) = engine(path);
    (Engines::new(Arc::new(ffmpeg), passthrough, None), dir)
}

fn source(codec: &str, profile_idc: u8, reorders: bool) -> SourceFacts {
    SourceFacts {
        video: VideoFacts {
            codec: Some(codec.to_owned()),
            h264_profile: Some([profile_idc, 0, 31]),
            reorders: Some(reorders),
            ..VideoFacts::default()
        },
        ..SourceFacts::default()
    }
}

fn baseline() -> SourceFacts {
    source("H264", 66, false)
}

fn asking(change: impl FnOnce(&mut StreamSpec)) -> StreamSpec {
    let mut task = spec(CAMERA);
    change(&mut task);
    task
}

fn has(way: &Launch, args: [&str; 2]) -> bool {
    way.argv
        .windows(2)
        .any(|pair| pair.iter().map(Secret::expose).eq(args))
}

/// What carries a source that has said this.
fn informed(node: &Engines, task: &StreamSpec, facts: &SourceFacts) -> Result<Launch, Fault> {
    let plan = node.prepare(task, Some(facts))?;
    assert_ne!(plan.current().engine, EngineKind::Look);
    Ok(plan.current().clone())
}

#[test]
fn passthrough_leaves_the_picture_alone_where_it_fits() {
    use Passthrough::{Auto, Never, Prefer};
    let high = || source("H264", 100, false);
    let b_frames = || source("H264", 100, true);
    let h265 = || source("H265", 66, false);
    for (passthrough, facts, copied, why) in [
        (Never, baseline(), false, "does not ask for copy"),
        (Auto, baseline(), true, "H.264 Baseline without B-frames"),
        (Auto, high(), false, "Main or High"),
        (Auto, b_frames(), false, "with B-frames"),
        (Prefer, high(), true, "Main or High without B-frames"),
        (Prefer, b_frames(), false, "with B-frames"),
        (Prefer, h265(), false, "not H.264"),
    ] {
        let (node, _dir) = node(passthrough, Some(&ALL));
        let way = informed(&node, &asking(|_| {}), &facts).unwrap();
        let (mode, codec, how) = if copied {
            (TaskMode::Copy, "copy", "unchanged: ")
        } else {
            (TaskMode::Transcode, "libx264", "encoded by libx264: ")
        };
        let what = format!("{passthrough:?} {facts:?}: {}", way.mode_reason);
        assert_eq!((way.mode, way.sender), (mode, TaskSender::Ffmpeg), "{what}");
        assert!(has(&way, ["-c:v", codec]), "{what}");
        assert!(way.mode_reason.starts_with(how), "{what}");
        assert!(way.mode_reason.contains(why), "{what}");
    }
}

#[test]
fn what_a_task_asks_goes_before_auto_and_not_before_prefer() {
    let task = asking(|task| task.video.fps = Some(15));
    let (auto, _dir) = node(Passthrough::Auto, Some(&ALL));
    let way = informed(&auto, &task, &baseline()).unwrap();
    assert_eq!(way.mode, TaskMode::Transcode);
    assert!(has(&way, ["-r", "15"]));
    let (prefer, _dir) = node(Passthrough::Prefer, Some(&ALL));
    let way = informed(&prefer, &task, &baseline()).unwrap();
    assert_eq!(way.mode, TaskMode::Copy);
    let said = "whatever videoConfig says of fps";
    assert!(way.mode_reason.contains(said), "{}", way.mode_reason);
}

#[test]
fn a_source_is_asked_first_and_carried_all_the_same_where_it_says_nothing() {
    let (node, _dir) = node(Passthrough::Auto, Some(&ALL));
    let mut plan = node.prepare(&asking(|_| {}), None).unwrap();
    assert_eq!(plan.current().engine, EngineKind::Look);
    assert_eq!(plan.current().mode_reason, "the source is asked what it is");
    plan.move_on().unwrap();
    let way = plan.current();
    assert_eq!(
        (way.engine, way.mode),
        (EngineKind::Ffmpeg, TaskMode::Transcode)
    );
    assert!(
        way.mode_reason.contains("not been asked"),
        "{}",
        way.mode_reason
    );
    assert_eq!(plan.move_on(), Err(None));
    // What lss can't ask.
    for other in ["srt://h:9000", "rtmp://h/live", "rtsps://h/x"] {
        let plan = node.prepare(&spec(other), None).unwrap();
        let way = plan.current();
        assert_eq!(
            (way.engine, way.mode),
            (EngineKind::Ffmpeg, TaskMode::Transcode)
        );
    }
    let copy = asking(|task| task.video.codec = Some("copy".to_owned()));
    let reason = node
        .prepare(&copy, None)
        .unwrap()
        .current()
        .mode_reason
        .clone();
    assert_eq!(reason, "unchanged: videoConfig.codec is copy");
}

#[test]
fn without_an_encoder_what_fits_is_carried_and_the_rest_says_what_is_missing() {
    let none: &[&str] = &["libopus"];
    let (auto, _dir) = node(Passthrough::Auto, Some(none));
    let mut plan = auto.prepare(&asking(|_| {}), None).unwrap();
    assert_eq!(plan.current().engine, EngineKind::Look);
    let fault = plan.move_on().unwrap_err().unwrap();
    assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
    let way = informed(&auto, &asking(|_| {}), &baseline()).unwrap();
    assert_eq!(way.mode, TaskMode::Copy);
    let high = source("H264", 100, false);
    let fault = informed(&auto, &asking(|_| {}), &high).unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
    for words in ["would have to be encoded", "Main or High", "libx264"] {
        assert!(fault.message.contains(words), "{fault}");
    }
    // Nothing that the source could be would help, or it can't be asked: at once.
    let (never, _dir) = node(Passthrough::Never, Some(none));
    let slower = asking(|task| task.video.fps = Some(5));
    for (node, task) in [
        (&never, asking(|_| {})),
        (&auto, slower),
        (&auto, spec("rtmp://h/x")),
    ] {
        let fault = node.prepare(&task, None).unwrap_err();
        assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
        assert!(fault.message.contains("no H.264 encoder"), "{fault}");
    }
    let (without, _dir) = node(Passthrough::Auto, None);
    let fault = without.prepare(&asking(|_| {}), None).unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
    for words in ["no FFmpeg", "Install FFmpeg"] {
        assert!(fault.message.contains(words), "{fault}");
    }
}

#[test]
fn what_a_task_itself_gets_wrong_is_said_before_the_source_is_asked() {
    for encoders in [&ALL[..], &["libopus"]] {
        let (node, _dir) = node(Passthrough::Prefer, Some(encoders));
        let task = asking(|task| task.video.codec = Some("vp8".to_owned()));
        let fault = node.prepare(&task, None).unwrap_err();
        assert_eq!(fault.code, ErrorCode::ValidationFailed, "{fault}");
    }
}

#[test]
fn copy_of_what_does_not_fit_is_refused_before_it_is_tried() {
    let (node, _dir) = node(Passthrough::Never, Some(&ALL));
    let copy = asking(|task| task.video.codec = Some("copy".to_owned()));
    assert_eq!(
        informed(&node, &copy, &baseline()).unwrap().mode,
        TaskMode::Copy
    );
    for (facts, words) in [
        (source("H264", 77, true), "B-frames"),
        (source("H265", 1, false), "not H.264"),
    ] {
        let fault = informed(&node, &copy, &facts).unwrap_err();
        assert_eq!(fault.code, ErrorCode::TaskStartFailed);
        assert!(fault.message.contains(words), "{fault}");
    }
}

#[test]
fn what_was_refused_as_it_is_is_encoded_and_says_by_what() {
    let (node, _dir) = node(Passthrough::Auto, Some(&ALL));
    let mut facts = baseline();
    let refused = |by: Option<&str>| Unsendable {
        by: by.map(str::to_owned),
        why: "Unsupported B frames by RTC".to_owned(),
    };
    for by in [None, Some("whip.example")] {
        facts.video.unsendable = Some(refused(by));
        let way = informed(&node, &asking(|_| {}), &facts).unwrap();
        assert_eq!(way.mode, TaskMode::Transcode);
        let why = "(Unsupported B frames by RTC)";
        assert!(way.mode_reason.contains(why), "{}", way.mode_reason);
    }
    // Another endpoint may take it.
    facts.video.unsendable = Some(refused(Some("whip-2.example")));
    let way = informed(&node, &asking(|_| {}), &facts).unwrap();
    assert_eq!(way.mode, TaskMode::Copy);
}

/// The same node, whose own publisher may be used; `only`: and FFmpeg's may not.
fn relaying(
    passthrough: Passthrough,
    encoders: Option<&[&str]>,
    only: bool,
) -> (Engines, tempfile::TempDir) {
    let (mut engines, dir) = node(passthrough, encoders);
    engines.relaying = Some(Relaying {
        only,
        whip_hosts: vec!["sfu.example".to_owned()],
        patience: Duration::from_secs(10),
        silence: Duration::from_secs(8),
    });
    (engines, dir)
}

fn sounding() -> SourceFacts {
    SourceFacts {
        audio: Some(AudioFacts {
            codec: Some("PCMA".to_owned()),
            clock_rate: Some(8000),
            channels: Some(1),
            ..AudioFacts::default()
        }),
        ..baseline()
    }
}

/// The ways of a plan, in order.
fn ways(mut plan: Plan) -> Vec<(EngineKind, TaskMode)> {
    let mut all = Vec::new();
    loop {
        let way = plan.current();
        all.push((way.engine, way.mode));
        if plan.move_on().is_err() {
            return all;
        }
    }
}

#[cfg(feature = "relay")]
#[test]
fn what_stays_as_it_is_is_sent_by_lss_and_behind_it_stands_ffmpeg() {
    use EngineKind::{Ffmpeg, Relay};
    let (node, _dir) = relaying(Passthrough::Prefer, Some(&ALL), false);
    let plan = node.prepare(&asking(|_| {}), Some(&baseline())).unwrap();
    let way = plan.current();
    assert_eq!((way.sender, way.audio), (TaskSender::Lss, TaskAudio::None));
    assert!(
        way.mode_reason.contains("H.264 Baseline"),
        "{}",
        way.mode_reason
    );
    let shown: Vec<&str> = way.argv.iter().map(Secret::expose).collect();
    assert_eq!(shown, ["/proc/self/exe", "relay"], "no secret in arguments");
    let Stdin::Job(job) = &way.stdin else {
        panic!("no job");
    };
    let Some(Job::Carry(job)) = Job::read(job.expose().as_bytes()) else {
        panic!("another job");
    };
    assert_eq!(job.url.expose(), CAMERA);
    assert_eq!(job.whip_hosts, ["sfu.example"]);
    assert_eq!(
        ways(plan)[..2],
        [(Relay, TaskMode::Relay), (Ffmpeg, TaskMode::Copy)]
    );
    // What it may find out is tried; what it has found unfit is not tried again.
    let mut open = source("H264", 100, false);
    open.video.reorders = None;
    let plan = node.prepare(&asking(|_| {}), Some(&open)).unwrap();
    assert_eq!(
        ways(plan)[..2],
        [(Relay, TaskMode::Relay), (Ffmpeg, TaskMode::Transcode)]
    );
    open.video.unsendable = Some(Unsendable {
        by: None,
        why: "it has B-frames".to_owned(),
    });
    let copied = asking(|task| task.video.codec = Some("copy".to_owned()));
    for (task, mode) in [
        (asking(|_| {}), TaskMode::Transcode),
        (copied, TaskMode::Copy),
    ] {
        let plan = node.prepare(&task, Some(&open)).unwrap();
        assert_eq!(ways(plan)[0], (Ffmpeg, mode));
    }
    // A camera that sends on is asked where it has sent to.
    let moved = SourceFacts {
        moved_to: Some(Secret::url("rtsp://10.0.0.9:8554/y")),
        ..baseline()
    };
    let plan = node.prepare(&asking(|_| {}), Some(&moved)).unwrap();
    let Stdin::Job(job) = &plan.current().stdin else {
        panic!("no job");
    };
    assert!(job.expose().contains("rtsp://admin:pw@10.0.0.9:8554/y"));
}

#[cfg(feature = "relay")]
#[test]
fn no_sound_is_lost_that_ffmpeg_would_send() {
    for (mode, encoders, only, carried) in [
        (
            AudioMode::Wanted,
            Some(&ALL[..]),
            false,
            Some((TaskSender::Ffmpeg, TaskAudio::Encoded)),
        ),
        (
            AudioMode::Off,
            Some(&ALL[..]),
            false,
            Some((TaskSender::Lss, TaskAudio::None)),
        ),
        (
            AudioMode::Wanted,
            None,
            false,
            Some((TaskSender::Lss, TaskAudio::Dropped)),
        ),
        (
            AudioMode::Wanted,
            Some(&ALL[..]),
            true,
            Some((TaskSender::Lss, TaskAudio::Dropped)),
        ),
        (
            AudioMode::Required,
            Some(&ALL[..]),
            false,
            Some((TaskSender::Ffmpeg, TaskAudio::Encoded)),
        ),
        (AudioMode::Required, Some(&ALL[..]), true, None),
    ] {
        let (node, _dir) = relaying(Passthrough::Prefer, encoders, only);
        let task = asking(|task| task.audio.mode = mode);
        let found = informed(&node, &task, &sounding());
        let found = found.map(|way| (way.sender, way.audio)).ok();
        assert_eq!(found, carried, "{mode:?} {only}");
    }
}

#[cfg(feature = "relay")]
#[test]
fn a_node_without_ffmpeg_and_one_that_may_not_use_its_sender_carry_what_fits() {
    for (encoders, only, word) in [
        (None, false, "FFmpeg"),
        (Some(&ALL[..]), true, "engine is relay"),
    ] {
        let (node, _dir) = relaying(Passthrough::Auto, encoders, only);
        let plan = node.prepare(&asking(|_| {}), None).unwrap();
        assert_eq!(plan.current().engine, EngineKind::Look);
        let way = informed(&node, &asking(|_| {}), &baseline()).unwrap();
        assert_eq!(way.engine, EngineKind::Relay);
        let fault = informed(&node, &asking(|_| {}), &source("H265", 66, false)).unwrap_err();
        assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
        assert!(fault.message.contains(word), "{}", fault.message);
        // What can't be carried whatever the source is, is said at once.
        let task = asking(|task| task.video.bitrate = Some(1_000_000));
        let fault = node.prepare(&task, None).unwrap_err();
        assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
        let prebuilt = asking(|task| task.ffmpeg_command = Some(Secret::new("ffmpeg -version")));
        let fault = node.prepare(&prebuilt, None).unwrap_err();
        assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
    }
}

#[test]
fn other_sources_are_ffmpegs() {
    let (node, _dir) = relaying(Passthrough::Prefer, Some(&ALL), false);
    for url in ["rtsps://10.0.0.9/x", "rtmp://10.0.0.9/x"] {
        let task = asking(|task| {
            let url = MediaUrl::parse("sourceUrl", url).unwrap();
            task.source = Source::Network(url);
            task.video.codec = Some("copy".to_owned());
        });
        let plan = node.prepare(&task, None).unwrap();
        assert!(
            ways(plan)
                .iter()
                .all(|(engine, _)| *engine == EngineKind::Ffmpeg)
        );
        let plan = node.prepare(&task, Some(&baseline())).unwrap();
        assert!(
            ways(plan)
                .iter()
                .all(|(engine, _)| *engine == EngineKind::Ffmpeg)
        );
    }
}
