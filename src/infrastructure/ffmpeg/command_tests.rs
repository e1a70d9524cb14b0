use super::*;
use crate::domain::carry::{Asked, Means, Passthrough, Picture, decide};
use crate::domain::stream::{Id, MediaUrl};
use crate::util::secret::mask;

pub(in crate::infrastructure::ffmpeg) fn abilities(
    options: &[&str],
    encoders: &[&str],
) -> Abilities {
    Abilities {
        version: "9.0.2".to_owned(),
        whip: true,
        whip_options: options.iter().map(|o| (*o).to_owned()).collect(),
        encoders: encoders.iter().map(|e| (*e).to_owned()).collect(),
    }
}

pub(in crate::infrastructure::ffmpeg) fn full() -> Abilities {
    abilities(
        &["timeout", "whip_flags", "dtls_active", "authorization"],
        &["libx264", "libopus", "opus"],
    )
}

pub(in crate::infrastructure) fn spec(source: &str) -> StreamSpec {
    let source = match MediaUrl::parse("sourceUrl", source) {
        Ok(url) => Source::Network(url),
        Err(_) => Source::File(source.to_owned()),
    };
    let input = match &source {
        Source::Network(url) => super::super::source::input_of_scheme(url.scheme()).unwrap(),
        Source::File(_) => InputType::File,
    };
    StreamSpec {
        task_id: Id::parse("taskId", "t1").unwrap(),
        camera_id: None,
        input,
        source,
        looped: false,
        whip_url: MediaUrl::parse("whipUrl", "https://whip.example/secret-path/publish").unwrap(),
        playback_url: None,
        video: VideoConfig::default(),
        audio: AudioConfig::default(),
        ffmpeg_command: None,
        max_retries: None,
    }
}

/// As a task without facts of its source is carried where nothing prefers its picture unchanged.
fn build(
    spec: &StreamSpec,
    settings: &FfmpegSettings,
    abilities: &Abilities,
    facts: Option<&SourceFacts>,
) -> Result<Launch, Fault> {
    let means = Means {
        relay: false,
        ffmpeg: true,
        encoder: true,
    };
    let asked = Asked::of(&spec.video);
    let carried = decide(asked, Passthrough::Never, Picture::Unasked, means)?;
    super::build(spec, &carried, settings, abilities, facts)
}

const CAMERA: &str = "rtsp://admin:p@ss:1#%@10.0.0.9/Streaming/101";

fn line(spec: &StreamSpec) -> String {
    line_with(spec, &FfmpegSettings::new("/opt/ffmpeg"), &full())
}

fn line_with(spec: &StreamSpec, settings: &FfmpegSettings, abilities: &Abilities) -> String {
    line_of(&build(spec, settings, abilities, None).unwrap())
}

fn line_of(launch: &Launch) -> String {
    let args: Vec<&str> = launch.argv.iter().map(Secret::expose).collect();
    args.join(" ")
}

fn has(line: &str, args: &str) -> bool {
    format!(" {line} ").contains(&format!(" {args} "))
}

#[test]
fn the_default_camera() {
    assert_eq!(
        line(&spec(CAMERA)),
        "/opt/ffmpeg -hide_banner -nostdin -nostats -loglevel +level+verbose -progress pipe:1 \
         -stats_period 1 -use_wallclock_as_timestamps 1 -protocol_whitelist tcp \
         -allowed_media_types video+audio -rtsp_transport tcp -timeout 5000000 \
         -analyzeduration 1000000 -probesize 1000000 -fpsprobesize 0 \
         -i rtsp://admin:p%40ss%3A1%23%25@10.0.0.9/Streaming/101 \
         -map 0:v:0 -map 0:a:0? -c:v libx264 -preset veryfast -tune zerolatency \
         -profile:v baseline -bf 0 -pix_fmt yuv420p -g 30 -keyint_min 30 \
         -b:v 2500000 -maxrate 2500000 -bufsize 5000000 \
         -vf select=lte(selected_n\\,(t-start_t)*30+3) -fps_mode vfr -enc_time_base 1:90000 \
         -x264-params force-cfr=0 \
         -c:a libopus -b:a 128000 -ar 48000 -ac 2 -max_interleave_delta 500000 -timeout 10 \
         -whip_flags dtls_active -f whip https://whip.example/secret-path/publish"
    );
}

#[test]
fn arrival_is_the_clock_where_no_frame_rate_has_to_be_guessed_from_it() {
    let clock = "-use_wallclock_as_timestamps 1";
    let mut task = spec(CAMERA);
    task.video.width = Some(640);
    let own = line(&task);
    assert!(
        has(&own, clock) && own.contains("*30+3),scale=640:-2 "),
        "{own}"
    );
    task.video.fps = Some(15);
    let named = line(&task);
    assert!(
        has(&named, clock) && has(&named, "-vf scale=640:-2 -r 15"),
        "{named}"
    );
    assert!(!named.contains("-fps_mode"), "{named}");
    task.video.codec = Some("copy".into());
    let copied = line(&task);
    assert!(
        has(&copied, clock) && !copied.contains("-fps_mode"),
        "{copied}"
    );
    let hardware = abilities(&[], &["h264_v4l2m2m", "opus"]);
    let mut task = spec(CAMERA);
    let settings = FfmpegSettings::new("ffmpeg");
    let guessed = line_with(&task, &settings, &hardware);
    assert!(
        !guessed.contains(clock) && has(&guessed, "-fpsmax 30"),
        "{guessed}"
    );
    task.video.fps = Some(15);
    assert!(has(&line_with(&task, &settings, &hardware), clock));
}

#[test]
fn each_input_has_its_own_time_out() {
    let srt = line(&spec("srt://10.0.0.1:9000"));
    assert!(
        has(&srt, "-protocol_whitelist srt -timeout 5000000"),
        "{srt}"
    );
    assert!(!srt.contains("rtsp_transport"), "{srt}");
    let rtmp = line(&spec("rtmp://10.0.0.1/live/x"));
    assert!(
        has(&rtmp, "-protocol_whitelist rtmp,tcp -rw_timeout 5000000"),
        "{rtmp}"
    );
    assert!(
        !rtmp.contains("-timeout 5000000"),
        "it would listen: {rtmp}"
    );
    let rtsps = line(&spec("rtsps://10.0.0.1/x"));
    assert!(has(&rtsps, "-protocol_whitelist tls,tcp"), "{rtsps}");
    assert!(has(&rtsps, "-tls_verify 0"), "{rtsps}");
    for line in [srt, rtmp, rtsps] {
        assert!(!line.contains("-reconnect"), "HTTP only: {line}");
    }
}

#[test]
fn files_are_paths_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a%03d.mp4"), "x").unwrap();
    let mut settings = FfmpegSettings::new("ffmpeg");
    settings.file_root = Some(dir.path().to_owned());
    let mut task = spec("a%03d.mp4");
    let once = line_with(&task, &settings, &full());
    assert!(has(&once, "-re -i file:/proc/self/fd/0"), "{once}");
    let Stdin::File(file) = build(&task, &settings, &full(), None).unwrap().stdin else {
        panic!("no file");
    };
    assert_eq!(file.path, "a%03d.mp4");
    assert_eq!(file.root, dir.path());
    assert!(has(&once, "-protocol_whitelist file"), "{once}");
    assert!(
        !once.contains("wallclock") && has(&once, "-fpsmax 30"),
        "{once}"
    );
    assert!(once.contains("-format_whitelist mov,"), "{once}");
    assert!(!has(&once, "-timeout 5000000"), "{once}");
    assert!(
        build(&task, &settings, &full(), None)
            .unwrap()
            .ends_by_nature
    );
    task.looped = true;
    let looped = line_with(&task, &settings, &full());
    assert!(has(&looped, "-re -stream_loop -1 -i"), "{looped}");
    assert!(
        !build(&task, &settings, &full(), None)
            .unwrap()
            .ends_by_nature
    );
    let fault = build(&spec("../etc/passwd"), &settings, &full(), None).unwrap_err();
    assert_eq!(fault.code, ErrorCode::ValidationFailed);
}

#[test]
fn muxer_options_only_where_the_muxer_has_them() {
    let settings = FfmpegSettings::new("ffmpeg");
    let newest = line_with(&spec(CAMERA), &settings, &full());
    assert!(
        has(&newest, "-timeout 10 -whip_flags dtls_active -f whip"),
        "{newest}"
    );
    // The same without that, for an endpoint that will not have it.
    let first = build(&spec(CAMERA), &settings, &full(), None).unwrap();
    let second = passive(&first).unwrap();
    assert!(first.dtls_active && !second.dtls_active);
    let line = line_of(&second);
    assert!(has(&line, "-timeout 10 -f whip"), "{line}");
    assert_eq!(line, newest.replace("-whip_flags dtls_active ", ""));
    assert_eq!(passive(&second), None);
    let old = abilities(&["handshake_timeout"], &["libx264", "opus"]);
    let oldest = line_with(&spec(CAMERA), &settings, &old);
    assert!(
        !oldest.contains("dtls_active") && !has(&oldest, "-timeout 10"),
        "{oldest}"
    );
    assert!(
        has(&oldest, "-c:a opus -strict -2 -b:a 128000 -ar 48000 -ac 2"),
        "{oldest}"
    );
}

#[test]
fn the_picture_as_asked() {
    let mut task = spec(CAMERA);
    task.video = VideoConfig {
        codec: None,
        bitrate: Some(4_000_000),
        fps: Some(15),
        width: Some(1281),
        height: Some(721),
        preset: Some("ultrafast".into()),
        profile: Some("main".into()),
        level: None,
        keyframe_interval: Some(60),
    };
    let line = line(&task);
    for args in [
        "-preset ultrafast",
        "-profile:v main",
        "-g 60 -keyint_min 60",
        "-b:v 4000000 -maxrate 4000000 -bufsize 8000000",
        "-vf scale=1280:720",
        "-r 15",
    ] {
        assert!(has(&line, args), "{args}: {line}");
    }
    assert!(!line.contains("-fpsmax"));
}

#[test]
fn one_side_keeps_the_aspect() {
    let mut task = spec(CAMERA);
    task.video.width = Some(640);
    assert!(line(&task).contains(",scale=640:-2 "));
    task.video.width = None;
    task.video.height = Some(481);
    assert!(line(&task).contains(",scale=-2:480 "));
}

#[test]
fn a_level_that_does_not_fit_is_left_out() {
    let level = |width, height, fps, asked: Option<&str>| {
        let mut task = spec(CAMERA);
        task.video.width = width;
        task.video.height = height;
        task.video.fps = fps;
        task.video.level = asked.map(str::to_owned);
        let line = line(&task);
        let (_, rest) = line.split_once(" -level ")?;
        Some(rest.split(' ').next().unwrap().to_owned())
    };
    assert_eq!(level(None, None, None, None), None, "size unknown");
    assert_eq!(
        level(Some(1280), Some(720), None, None).as_deref(),
        Some("3.1")
    );
    assert_eq!(level(None, Some(720), None, None).as_deref(), Some("3.1"));
    assert_eq!(level(Some(1280), Some(720), Some(60), None), None);
    assert_eq!(level(Some(1920), Some(1080), None, Some("3.1")), None);
    assert_eq!(
        level(Some(1920), None, None, Some("40")).as_deref(),
        Some("4")
    );
    assert_eq!(level(None, None, None, Some("4.1")).as_deref(), Some("4.1"));
}

#[test]
fn copy_leaves_the_picture_alone_and_encodes_the_sound() {
    let mut task = spec(CAMERA);
    task.video.codec = Some("Copy".into());
    task.video.fps = Some(15);
    let launch = build(&task, &FfmpegSettings::new("ffmpeg"), &full(), None).unwrap();
    assert_eq!(launch.mode, TaskMode::Copy);
    assert!(launch.mode_reason.contains("fps"), "{}", launch.mode_reason);
    let line = line(&task);
    assert!(has(&line, "-c:v copy -c:a libopus"), "{line}");
    for absent in ["-preset", "-r 15", "-fpsmax", "-pix_fmt", "-b:v"] {
        assert!(!line.contains(absent), "{line}");
    }
}

#[test]
fn x264s_options_stay_with_x264() {
    let abilities = abilities(&[], &["libx264", "h264_v4l2m2m", "libopenh264", "opus"]);
    let mut task = spec(CAMERA);
    task.video.codec = Some("h264_v4l2m2m".into());
    task.video.preset = Some("veryfast".into());
    task.video.width = Some(1280);
    let line = line_with(&task, &FfmpegSettings::new("ffmpeg"), &abilities);
    for absent in ["-preset", "-tune", "-keyint_min", "-level", "-profile:v"] {
        assert!(!line.contains(absent), "{absent}: {line}");
    }
    task.video.codec = Some("libopenh264".into());
    let line = line_with(&task, &FfmpegSettings::new("ffmpeg"), &abilities);
    assert!(has(&line, "-profile:v constrained_baseline"), "{line}");
}

#[test]
fn refusals_name_the_field() {
    type Change = fn(&mut VideoConfig);
    let cases: &[(&str, Change)] = &[
        ("videoConfig.codec", |v| v.codec = Some("libx265".into())),
        ("videoConfig.codec", |v| v.codec = Some("vp8".into())),
        ("videoConfig.codec", |v| v.codec = Some("h264_nvenc".into())),
        ("videoConfig.preset", |v| v.preset = Some("p4".into())),
        ("videoConfig.profile", |v| {
            v.profile = Some("high444".into());
        }),
        ("videoConfig.level", |v| v.level = Some("9".into())),
    ];
    for (field, change) in cases {
        let mut task = spec(CAMERA);
        change(&mut task.video);
        let fault = build(&task, &FfmpegSettings::new("ffmpeg"), &full(), None).unwrap_err();
        assert_eq!(fault.code, ErrorCode::ValidationFailed);
        assert!(fault.message.contains(field), "{}", fault.message);
    }
    let none = abilities(&[], &["opus"]);
    let fault = build(&spec(CAMERA), &FfmpegSettings::new("ffmpeg"), &none, None).unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
}

#[test]
fn sound_is_clamped_and_said() {
    let mut task = spec(CAMERA);
    task.audio = AudioConfig {
        mode: AudioMode::Wanted,
        codec: Some("aac".into()),
        bitrate: Some(64_000),
        sample_rate: Some(16_000),
        channels: Some(1),
    };
    let launch = build(&task, &FfmpegSettings::new("ffmpeg"), &full(), None).unwrap();
    assert!(
        launch.mode_reason.contains("Opus"),
        "{}",
        launch.mode_reason
    );
    assert!(has(&line(&task), "-c:a libopus -b:a 64000 -ar 48000 -ac 2"));
    let mute = abilities(&[], &["libx264"]);
    let launch = build(&task, &FfmpegSettings::new("ffmpeg"), &mute, None).unwrap();
    assert!(
        launch.mode_reason.contains("without sound"),
        "{}",
        launch.mode_reason
    );
    assert!(launch.argv.iter().any(|a| a.expose() == "-an"));
}

#[test]
fn while_a_command_line_lives_its_secrets_are_masked_and_its_options_are_not() {
    let launch = build(&spec(CAMERA), &FfmpegSettings::new("ffmpeg"), &full(), None).unwrap();
    let said = mask(
        "opening rtsp://admin:p%40ss%3A1%23%25@10.0.0.9/Streaming/101 with libx264 -tune zerolatency, \
         password p%40ss%3A1%23%25, to https://whip.example/secret-path/publish",
    );
    assert!(
        !said.contains("p%40ss") && !said.contains("secret-path"),
        "{said}"
    );
    assert!(said.contains("libx264 -tune zerolatency"), "{said}");
    drop(launch);
}

fn sound(codec: &str) -> SourceFacts {
    SourceFacts {
        audio: Some(crate::domain::stream::AudioFacts {
            codec: Some(codec.to_owned()),
            ..crate::domain::stream::AudioFacts::default()
        }),
        ..SourceFacts::default()
    }
}

#[test]
fn a_sound_that_can_not_be_had_or_converted_never_costs_the_picture() {
    let settings = FfmpegSettings::new("ffmpeg");
    let refused = |status| {
        let mut facts = sound("PCMA");
        facts.audio.as_mut().unwrap().refused = Some(status);
        facts
    };
    let mut silent = sound("PCMA");
    silent.audio.as_mut().unwrap().silent = true;
    for (facts, words) in [
        (refused(461), "refuses its sound (RTSP 461)"),
        (refused(404), "refuses its sound (RTSP 404)"),
        (silent, "announces a sound and sends none"),
        (
            sound("X-VENDOR-VOICE"),
            "can't decode the source's sound (X-VENDOR-VOICE)",
        ),
    ] {
        for codec in [None, Some("copy".to_owned())] {
            let mut task = spec(CAMERA);
            task.video.codec = codec;
            let launch = build(&task, &settings, &full(), Some(&facts)).unwrap();
            let args: Vec<&str> = launch.argv.iter().map(Secret::expose).collect();
            let args = args.join(" ");
            assert_eq!(launch.audio, TaskAudio::Dropped);
            assert!(
                launch.mode_reason.contains("without sound: "),
                "{}",
                launch.mode_reason
            );
            assert!(launch.mode_reason.contains(words), "{}", launch.mode_reason);
            // It is not even asked for: FFmpeg would wait for it, or give the stream up.
            assert!(has(&args, "-allowed_media_types video"), "{args}");
            assert!(has(&args, "-an") && !args.contains("-map 0:a"), "{args}");

            task.audio.mode = AudioMode::Required;
            let fault = build(&task, &settings, &full(), Some(&facts)).unwrap_err();
            assert_eq!(fault.code, ErrorCode::RtspStreamError);
            assert!(
                fault.message.contains("audioConfig.mode is required"),
                "{fault}"
            );
            assert!(fault.message.contains(words), "{fault}");
        }
    }
}

#[test]
fn sound_goes_out_where_it_can_and_is_wanted() {
    let settings = FfmpegSettings::new("ffmpeg");
    for codec in ["PCMA", "PCMU", "MPEG4-GENERIC", "G726-32", "opus"] {
        let launch = build(&spec(CAMERA), &settings, &full(), Some(&sound(codec))).unwrap();
        assert_eq!(launch.audio, TaskAudio::Encoded, "{codec}");
    }
    let quiet = SourceFacts::default();
    let launch = build(&spec(CAMERA), &settings, &full(), Some(&quiet)).unwrap();
    assert_eq!(launch.audio, TaskAudio::None);
    assert!(!launch.mode_reason.contains("sound"), "nothing is left out");
    let mut task = spec(CAMERA);
    task.audio.mode = AudioMode::Required;
    let fault = build(&task, &settings, &full(), Some(&quiet)).unwrap_err();
    assert!(fault.message.contains("announces no sound"), "{fault}");
    assert!(build(&task, &settings, &full(), Some(&sound("PCMA"))).is_ok());
    let mute = abilities(&[], &["libx264"]);
    let fault = build(&task, &settings, &mute, None).unwrap_err();
    assert_eq!(fault.code, ErrorCode::FfmpegNotFound);
    task.audio.mode = AudioMode::Off;
    for source in [CAMERA, "srt://h:9000", "rtmp://h/live"] {
        task.source = spec(source).source;
        let launch = build(&task, &settings, &full(), Some(&sound("PCMA"))).unwrap();
        assert_eq!(launch.audio, TaskAudio::None);
        assert!(launch.mode_reason.contains("audioConfig.mode is off"));
        assert!(launch.argv.iter().any(|a| a.expose() == "-an"));
    }
}

#[test]
fn a_source_that_sends_on_is_read_where_it_was_found() {
    let mut facts = SourceFacts {
        moved_to: Some(Secret::url("rtsp://10.0.0.9:8554/other?x=1")),
        ..SourceFacts::default()
    };
    let settings = FfmpegSettings::new("ffmpeg");
    let launch = build(&spec(CAMERA), &settings, &full(), Some(&facts)).unwrap();
    let args: Vec<&str> = launch.argv.iter().map(Secret::expose).collect();
    let url = "rtsp://admin:p%40ss%3A1%23%25@10.0.0.9:8554/other?x=1";
    assert!(has(&args.join(" "), &format!("-i {url}")), "{args:?}");
    assert!(!mask(&args.join(" ")).contains("p%40ss"));
    // What FFmpeg would read as options is not taken from a camera.
    facts.moved_to = Some(Secret::url("rtsp://10.0.0.9/x?listen"));
    assert!(build(&spec(CAMERA), &settings, &full(), Some(&facts)).is_err());
}
