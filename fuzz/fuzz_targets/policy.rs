//! Any text as RCS's `ffmpegCommand`: no panic; what is taken sends to one WHIP endpoint that may
//! be named, and holds nothing that reads, writes or listens.
#![no_main]

use std::sync::LazyLock;

use lss::domain::stream::{
    AudioConfig, Id, InputType, MediaUrl, Source, StreamSpec, VideoConfig,
};
use lss::infrastructure::ffmpeg::command::FfmpegSettings;
use lss::infrastructure::ffmpeg::policy::judge;
use lss::infrastructure::ffmpeg::probe::Abilities;
use lss::util::url;

struct Fixed {
    spec: StreamSpec,
    settings: FfmpegSettings,
    abilities: Abilities,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let camera = MediaUrl::parse("sourceUrl", "rtsp://10.0.0.9/x").expect("a URL");
    let mut settings = FfmpegSettings::new("/opt/ffmpeg");
    settings.whip_hosts = vec!["sfu.local".to_owned()];
    Fixed {
        spec: StreamSpec {
            task_id: Id::parse("taskId", "t1").expect("an id"),
            camera_id: None,
            input: InputType::Rtsp,
            source: Source::Network(camera),
            looped: false,
            whip_url: MediaUrl::parse("whipUrl", "https://whip.example/x").expect("a URL"),
            playback_url: None,
            video: VideoConfig::default(),
            audio: AudioConfig::default(),
            ffmpeg_command: None,
            max_retries: None,
        },
        settings,
        abilities: Abilities {
            version: "9.0.2".to_owned(),
            whip: true,
            ..Abilities::default()
        },
    }
});

libfuzzer_sys::fuzz_target!(|text: &str| {
    let fixed = &*FIXED;
    let Ok(judged) = judge(text, &fixed.spec, &fixed.settings, &fixed.abilities) else {
        return;
    };
    let argv: Vec<&str> = judged.launch.argv.iter().map(|a| a.expose()).collect();
    assert_eq!(argv.first(), Some(&"/opt/ffmpeg"));
    let Some((target, before)) = argv.split_last() else {
        panic!("no arguments");
    };
    assert!(before.ends_with(&["-f", "whip"]), "{argv:?}");
    // As FFmpeg finds the host: what follows the first of these is path to it.
    let authority = target.split("://").nth(1).unwrap_or("");
    let authority = authority.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    assert!(
        host.eq_ignore_ascii_case("whip.example") || host.eq_ignore_ascii_case("sfu.local"),
        "{argv:?}"
    );
    let mut white_lists = 0;
    let mut inputs = 0;
    for pair in argv.windows(2) {
        match pair {
            ["-protocol_whitelist", list] => {
                white_lists += 1;
                assert!(!list.contains("file") && !list.contains("http"), "{argv:?}");
            }
            ["-i", input] => {
                inputs += 1;
                let network = url::split(input).is_ok_and(|parts| {
                    matches!(parts.scheme, "rtsp" | "rtsps" | "srt" | "rtmp" | "rtmps")
                        && !url::is_no_source_host(parts.host)
                });
                assert!(network || input.starts_with("anullsrc"), "{argv:?}");
            }
            _ => {}
        }
    }
    assert!(inputs > 0 && inputs <= white_lists, "{argv:?}");
    for arg in &argv {
        assert!(!arg.starts_with("-/") && !arg.starts_with("--"), "{argv:?}");
        assert!(!arg.chars().any(|c| c == '\0'), "{argv:?}");
    }
});
