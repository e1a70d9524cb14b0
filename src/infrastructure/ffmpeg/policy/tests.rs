use proptest::prelude::*;

use super::super::command::tests::{full, spec};
use super::parts::MAX_TEXT;
use super::*;
use crate::domain::stream::{MediaUrl, Source};

const CAMERA: &str = "rtsp://admin:p@ss@10.0.0.9/Streaming/101";
const WHIP: &str = "https://whip.example/canary-4f1c/publish";
/// The spec's template, filled in; it does not start as it is.
const TEMPLATE: &str = "/usr/local/ffmpeg-whip/bin/ffmpeg \\\r\n-rtsp_transport tcp \\\r\n\
    -analyzeduration 1000000 -probesize 1000000 \\\r\n\
    -reconnect 1 -reconnect_streamed 1 -reconnect_delay_max 3 \\\r\n\
    -i rtsp://admin:p@ss@10.0.0.9/Streaming/101 \\\r\n-map 0:v:0 -map \"0:a?\" \\\r\n\
    -c:v libx264 -preset veryfast -tune zerolatency \\\r\n\
    -profile:v baseline -level 3.1 -pix_fmt yuv420p -g 30 -keyint_min 30 \\\r\n\
    -b:v 2500k -maxrate 2500k -bufsize 5000k \\\r\n\
    -c:a opus -strict -2 -ar 48000 -ac 2 -b:a 128k \\\r\n\
    -f whip https://whip.example/canary-4f1c/publish";

fn task() -> StreamSpec {
    spec(CAMERA)
}

fn settings() -> FfmpegSettings {
    FfmpegSettings {
        whip_hosts: vec!["sfu.local".to_owned()],
        ..FfmpegSettings::new("/opt/ffmpeg")
    }
}

fn judged(text: &str) -> Judged {
    judge(text, &task(), &settings(), &full()).unwrap_or_else(|f| panic!("{text}: {f}"))
}

fn line(text: &str) -> String {
    words(&judged(text)).join(" ")
}

fn words(judged: &Judged) -> Vec<String> {
    let argv = &judged.launch.argv;
    argv.iter().map(|a| a.expose().to_owned()).collect()
}

fn why(text: &str) -> String {
    match judge(text, &task(), &settings(), &full()) {
        Ok(_) => panic!("taken: {text}"),
        Err(fault) => {
            assert_eq!(fault.code, ErrorCode::ValidationFailed);
            fault.message
        }
    }
}

#[test]
fn the_specs_template_is_mended() {
    let judged = judged(TEMPLATE);
    assert_eq!(
        words(&judged).join(" "),
        "/opt/ffmpeg -hide_banner -nostdin -nostats -loglevel +level+verbose -progress pipe:1 \
         -stats_period 1 -rtsp_transport tcp -analyzeduration 1000000 -probesize 1000000 \
         -protocol_whitelist tcp -timeout 5000000 \
         -i rtsp://admin:p%40ss@10.0.0.9/Streaming/101 -map 0:v:0 -map 0:a? \
         -c:v libx264 -preset veryfast -tune zerolatency -profile:v baseline -level 3.1 \
         -pix_fmt yuv420p -g 30 -keyint_min 30 -b:v 2500k -maxrate 2500k -bufsize 5000k \
         -c:a opus -strict -2 -b:a 128k -ar 48000 -ac 2 -max_interleave_delta 500000 -timeout 10 \
         -f whip https://whip.example/canary-4f1c/publish"
    );
    assert_eq!(judged.launch.mode, TaskMode::Prebuilt);
    assert!(!judged.launch.ends_by_nature);
    assert!(judged.warnings.is_empty());
    let notes = judged.notes.join("\n");
    for name in [
        "-reconnect dropped",
        "-reconnect_streamed",
        "-reconnect_delay_max",
        "-timeout 5000000 added",
    ] {
        assert!(notes.contains(name), "{name}: {notes}");
    }
    assert!(judged.launch.mode_reason.contains("-reconnect dropped"));
}

#[test]
fn silence_for_a_camera_without_a_microphone() {
    let line = line(&format!(
        "ffmpeg -rtsp_transport tcp -timeout 3000000 -i {CAMERA} -f lavfi -i anullsrc=r=48000:cl=stereo -map 0:v -map 1:a -c:v copy -c:a libopus -shortest -f whip {WHIP}"
    ));
    assert!(
        line.contains("-protocol_whitelist none -f lavfi -i anullsrc=r=48000:cl=stereo"),
        "{line}"
    );
    assert!(
        line.contains("-timeout 3000000"),
        "a sensible time-out stays: {line}"
    );
    for graph in [
        "sine",
        "movie=/etc/passwd",
        "anullsrc,movie=x",
        "anullsrc=r=1;amovie=x",
        "anullsrcx",
    ] {
        let text = format!("ffmpeg -i {CAMERA} -f lavfi -i '{graph}' -f whip {WHIP}");
        assert!(why(&text).contains("anullsrc"), "{graph}");
    }
    assert!(why(&format!("ffmpeg -f lavfi -i anullsrc -f whip {WHIP}")).contains("silence"));
}

#[test]
fn the_bearer_is_kept_for_our_own_delete() {
    let judged = judged(&format!(
        "ffmpeg -i {CAMERA} -c copy -authorization canary-token -f whip {WHIP}"
    ));
    assert_eq!(
        judged.launch.whip_bearer.as_ref().unwrap().expose(),
        "canary-token"
    );
    assert_eq!(crate::util::secret::mask("x canary-token y"), "x *** y");
    assert!(judged.warnings[0].contains("redirects"));
    assert!(
        !words(&judged).contains(&"-ar".to_owned()),
        "copied sound is not touched"
    );
}

#[test]
fn time_outs_that_can_not_work_are_replaced() {
    let rtmp = line(&format!(
        "ffmpeg -timeout 5 -i rtmp://10.0.0.1/live/x -f whip {WHIP}"
    ));
    assert!(rtmp.contains("-rw_timeout 5000000 -i rtmp"), "{rtmp}");
    assert!(!rtmp.contains("-timeout 5 -i"), "it would listen: {rtmp}");
    for bad in ["-1", "0", "5", "x", "999999999999"] {
        let line = line(&format!("ffmpeg -timeout {bad} -i {CAMERA} -f whip {WHIP}"));
        assert!(line.contains("-timeout 5000000 -i"), "{bad}: {line}");
    }
    let old = line(&format!(
        "ffmpeg -stimeout 2000000 -i {CAMERA} -timeout 5000000 -f whip {WHIP}"
    ));
    assert!(!old.contains("stimeout"), "{old}");
    assert!(
        old.contains("-timeout 10 -f whip"),
        "seconds, for the muxer: {old}"
    );
}

#[test]
fn sound_is_clamped() {
    let line = line(&format!(
        "ffmpeg -i {CAMERA} -c:a libopus -ar 16000 -ac 1 -f whip {WHIP}"
    ));
    assert!(line.contains("-c:a libopus -ar 48000 -ac 2"), "{line}");
    assert!(!line.contains("16000"), "{line}");
}

#[test]
fn udp_where_it_is_asked_for() {
    let line = line(&format!(
        "ffmpeg -rtsp_transport udp -i {CAMERA} -f whip {WHIP}"
    ));
    assert!(line.contains("-protocol_whitelist tcp,udp,rtp"), "{line}");
}

#[test]
fn limits_end_by_nature() {
    assert!(
        judged(&format!("ffmpeg -t 10 -i {CAMERA} -f whip {WHIP}"))
            .launch
            .ends_by_nature
    );
    assert!(
        judged(&format!("ffmpeg -i {CAMERA} -frames:v 10 -f whip {WHIP}"))
            .launch
            .ends_by_nature
    );
}

#[test]
fn hosts_of_the_output() {
    assert!(
        line(&format!(
            "ffmpeg -i {CAMERA} -f whip HTTPS://WHIP.example/other"
        ))
        .ends_with(" https://WHIP.example/other")
    );
    assert!(
        line(&format!("ffmpeg -i {CAMERA} -f whip http://sfu.local/x"))
            .ends_with("http://sfu.local/x")
    );
    for url in [
        "https://evil.example/x",
        "http://whip.example/x",
        "https://whip.example.evil/x",
        "https://evil.example/@whip.example",
        "https://evil.example?@sfu.locals/x",
        "rtmp://whip.example/x",
        "file:///tmp/x",
        "/tmp/x",
        "x.mp4",
        "pipe:1",
        "-",
        "tee:a|b",
        "tls://whip.example/x",
        "unix:///x",
    ] {
        let why = why(&format!("ffmpeg -i {CAMERA} -f whip '{url}'"));
        assert!(why.contains("output"), "{url}: {why}");
    }
    // To FFmpeg the host of this would be evil.example, had the password not been encoded.
    let line = line(&format!(
        "ffmpeg -i {CAMERA} -f whip https://evil.example?@whip.example/x"
    ));
    assert!(
        line.ends_with("https://evil.example%3F@whip.example/x"),
        "{line}"
    );
}

#[test]
fn hosts_and_schemes_of_inputs() {
    for url in [
        "http://10.0.0.1/x.m3u8",
        "https://10.0.0.1/x",
        "udp://239.0.0.1:1234",
        "rtp://10.0.0.1",
        "tcp://10.0.0.1:22",
        "rtsp://169.254.169.254/x",
        "rtsp://2852039166/x",
        "srt://224.0.0.1:1",
        "concat:a.mp4|b.mp4",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "crypto:/etc/passwd",
        "data:text/plain,x",
        "cache:x",
        "async:x",
        "pipe:0",
        "fd:",
        "unix:/x",
        "file:/etc/passwd",
        "/etc/passwd",
        "x.mp4",
        "-",
        "/dev/video0",
        "rtsp://",
        "rtsp://h:0/",
        "srt://10.0.0.9:9000?mode=listener",
        "SRT://10.0.0.9:9000?MODE=Listener",
        "srt://10.0.0.9:9000?mode=%6cistener",
        "rtmp://10.0.0.9/live/x?listen=1",
        "rtsp://10.0.0.9/x?listen",
    ] {
        let why = why(&format!("ffmpeg -i '{url}' -f whip {WHIP}"));
        assert!(why.contains("-i"), "{url}: {why}");
    }
    for (format, url) in [
        ("v4l2", "/dev/video0"),
        ("concat", "list.txt"),
        ("hls", CAMERA),
        ("sdp", CAMERA),
        ("mpegts", CAMERA),
        ("rtsp", "srt://10.0.0.1:9000"),
    ] {
        why(&format!("ffmpeg -f {format} -i {url} -f whip {WHIP}"));
    }
}

#[test]
fn files_only_where_the_task_is_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.mp4"), "x").unwrap();
    let mut settings = settings();
    settings.file_root = Some(dir.path().to_owned());
    let mut task = task();
    task.input = InputType::File;
    task.source = Source::File("a.mp4".to_owned());
    let judge = |text: &str| judge(text, &task, &settings, &full());
    let once = judge(&format!("ffmpeg -i a.mp4 -c copy -f whip {WHIP}")).unwrap();
    assert!(once.launch.ends_by_nature);
    let words_once = words(&once).join(" ");
    assert!(
        words_once.contains("-re -i file:/proc/self/fd/0"),
        "{words_once}"
    );
    let Stdin::File(file) = &once.launch.stdin else {
        panic!("no file");
    };
    assert_eq!(
        (file.root.as_path(), file.path.as_str()),
        (dir.path(), "a.mp4")
    );
    let two = judge(&format!("ffmpeg -i a.mp4 -i a.mp4 -f whip {WHIP}")).unwrap_err();
    assert!(two.message.contains("one input"), "{}", two.message);
    assert!(
        words_once.contains("-protocol_whitelist file -format_whitelist mov,"),
        "{words_once}"
    );
    let looped = judge(&format!(
        "ffmpeg -re -stream_loop -1 -f mp4 -i file:a.mp4 -f whip {WHIP}"
    ))
    .unwrap();
    assert!(!looped.launch.ends_by_nature);
    for bad in [
        "../secret",
        "/etc/passwd",
        "file:/etc/passwd",
        "concat:a.mp4",
        "none.mp4",
    ] {
        assert!(
            judge(&format!("ffmpeg -i {bad} -f whip {WHIP}")).is_err(),
            "{bad}"
        );
    }
    assert!(judge(&format!("ffmpeg -f concat -i a.mp4 -f whip {WHIP}")).is_err());
    // A network input is still one.
    assert!(judge(&format!("ffmpeg -i {CAMERA} -f whip {WHIP}")).is_ok());
}

#[test]
fn options_that_are_not_on_the_list() {
    let plain = |option: &str| why(&format!("ffmpeg {option} -i {CAMERA} -f whip {WHIP}"));
    for (option, name) in [
        ("-report", "-report"),
        ("-dump", "-dump"),
        ("-/filter:v /etc/passwd", "-/filter:v"),
        ("-init_hw_device vaapi=x", "-init_hw_device"),
        ("-filter_complex_script x", "-filter_complex_script"),
        ("-sdp_file x", "-sdp_file"),
        ("-vstats_file x", "-vstats_file"),
        ("-passlogfile x", "-passlogfile"),
        ("-stats_enc_pre:v x", "-stats_enc_pre:v"),
        ("-attach x", "-attach"),
        ("-dump_attachment:t x", "-dump_attachment:t"),
        ("-cert_file x", "-cert_file"),
        ("-listen 1", "-listen"),
        ("-headers x", "-headers"),
        ("--help", "--help"),
        ("-h", "-h"),
        ("-rtsp_flags listen", "-rtsp_flags"),
        ("-rtsp_flags 2", "-rtsp_flags"),
        ("-mode listener", "-mode"),
        ("-mode 1", "-mode"),
        ("-c:v:m:x y", "-c:v:m:x"),
    ] {
        let why = plain(option);
        assert!(why.contains(name), "{option}: {why}");
    }
    let output = |option: &str| why(&format!("ffmpeg -i {CAMERA} {option} -f whip {WHIP}"));
    for (option, name) in [
        ("-vf movie=/etc/passwd", "-vf"),
        ("-filter:v subtitles=x", "-filter:v"),
        ("-af amovie=x", "-af"),
        (
            "-filter_complex '[0:v]drawtext=textfile=/etc/passwd[v]'",
            "-filter_complex",
        ),
        ("-c:v rawvideo", "-c:v"),
        ("-f tee", "-f"),
        ("-f whip -f mp4", "-f"),
        ("-re", "-re"),
        ("-x264-params stats=x", "-x264-params"),
        ("-flags:v +pass1", "-flags:v"),
        ("-flags 512", "-flags"),
        ("-fflags +0x200", "-fflags"),
        ("-map 0:v -f mp4 /tmp/x", "follows"),
        ("/tmp/x.mp4", "follows"),
    ] {
        let why = output(option);
        assert!(why.contains(name), "{option}: {why}");
    }
}

#[test]
fn texts_that_are_no_commands() {
    for (text, word) in [
        ("", "empty"),
        ("ffmpeg", "empty"),
        ("ffmpeg -i", "-i"),
        ("ffmpeg -i 'rtsp://x", "quote"),
        ("ffmpeg -i rtsp://x/ -b:v", "-b:v"),
        ("ffmpeg -f whip https://whip.example/x", "no input"),
        ("rm -rf /", "-rf"),
        ("ffmpeg \u{0}", "control"),
        ("ffmpeg \u{1b}[0m", "control"),
        (
            "sudo ffmpeg -i rtsp://x/ -f whip https://whip.example/x",
            "follows",
        ),
        (
            "ffmpeg -i rtsp://x/ -f whip https://whip.example/x; rm x",
            "follows",
        ),
        (
            "ffmpeg -i rtsp://x/ -f whip https://whip.example/x | tee x",
            "follows",
        ),
        (
            "ffmpeg -i rtsp://x/ -f whip https://whip.example/x > x",
            "follows",
        ),
        ("ffmpeg -i rtsp://x/ -f whip $(id)", "output"),
    ] {
        assert!(why(text).contains(word), "{text}: {}", why(text));
    }
    assert!(why(&"x".repeat(MAX_TEXT + 1)).contains("longer"));
    let many = format!(
        "ffmpeg {} -f whip {WHIP}",
        format!("-i {CAMERA} ").repeat(5)
    );
    assert!(why(&many).contains("more than"));
}

#[test]
fn refusals_show_no_value() {
    for text in [
        format!("ffmpeg -i rtsp://u:canary-pw@169.254.169.254/x -f whip {WHIP}"),
        format!("ffmpeg -i {CAMERA} -f whip https://evil.example/canary-path"),
        format!("ffmpeg -i {CAMERA} -authorization 'canary token' -f whip {WHIP}"),
        format!("ffmpeg -i {CAMERA} -vf 'movie=canary-file' -f whip {WHIP}"),
        format!("ffmpeg -passphrase canary-pass -listen 1 -i srt://h:1 -f whip {WHIP}"),
        "-rtsp://u:canary-pw@h/ x".to_owned(),
    ] {
        assert!(!why(&text).contains("canary"), "{}", why(&text));
    }
}

/// What must hold of everything that is taken.
fn sound(judged: &Judged, settings: &FfmpegSettings, spec: &StreamSpec) {
    let argv = words(judged);
    assert_eq!(argv[0], settings.path.to_str().unwrap());
    let whips = argv
        .windows(2)
        .filter(|w| w[0] == "-f" && w[1] == "whip")
        .count();
    assert_eq!(whips, 1, "{argv:?}");
    assert_eq!(argv[argv.len() - 3..argv.len() - 1], ["-f", "whip"]);
    let out = url::split(argv.last().unwrap()).unwrap();
    assert!(matches!(out.scheme, "https" | "http"), "{argv:?}");
    assert!(
        out.host.eq_ignore_ascii_case(spec.whip_url.host())
            || settings
                .whip_hosts
                .iter()
                .any(|h| h.eq_ignore_ascii_case(out.host)),
        "{argv:?}"
    );
    // Each input has its own white list, and is of a known kind.
    let inputs: Vec<&String> = argv
        .windows(2)
        .filter(|w| w[0] == "-i")
        .map(|w| &w[1])
        .collect();
    let lists = argv.iter().filter(|a| *a == "-protocol_whitelist").count();
    assert_eq!(inputs.len(), lists, "{argv:?}");
    for input in inputs {
        assert!(
            [
                "rtsp://", "rtsps://", "srt://", "rtmp://", "rtmps://", "anullsrc"
            ]
            .iter()
            .any(|p| input.starts_with(p)),
            "{input}"
        );
    }
    for arg in &argv {
        let name = arg.strip_prefix('-').unwrap_or("");
        for bad in [
            "/",
            "-",
            "report",
            "dump",
            "attach",
            "sdp_file",
            "init_hw",
            "vstats",
            "pass",
            "cert_file",
            "reconnect",
            "listen",
            "filter_script",
            "filter_complex_script",
            "stats_enc",
        ] {
            assert!(
                !name.starts_with(bad) || name.starts_with("passphrase"),
                "{arg}: {argv:?}"
            );
        }
        assert!(
            !arg.contains("movie") && !arg.contains("subtitles"),
            "{arg}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "\\PC{0,200}") {
        let (settings, spec) = (settings(), task());
        if let Ok(judged) = judge(&text, &spec, &settings, &full()) {
            sound(&judged, &settings, &spec);
        }
    }

    #[test]
    fn any_mixture_of_pieces_is_judged(pieces in proptest::collection::vec(piece(), 0..16)) {
        let (settings, spec) = (settings(), task());
        let text = format!("ffmpeg {}", pieces.join(" "));
        if let Ok(judged) = judge(&text, &spec, &settings, &full()) {
            sound(&judged, &settings, &spec);
        }
    }

    #[test]
    fn a_good_command_with_something_bad_in_it(at in 0usize..20, bad in piece()) {
        let (settings, spec) = (settings(), task());
        let mut words: Vec<String> = TEMPLATE.replace("\\\r\n", " ").split_whitespace().map(str::to_owned).collect();
        words.insert(at.min(words.len()), bad);
        if let Ok(judged) = judge(&words.join(" "), &spec, &settings, &full()) {
            sound(&judged, &settings, &spec);
        }
    }
}

fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "-i",
        CAMERA,
        "rtsp://h/x",
        "-f",
        "whip",
        "tee",
        "lavfi",
        "anullsrc",
        "anullsrc=r=48000",
        WHIP,
        "https://evil.example/x",
        "http://sfu.local/x",
        "-vf",
        "scale=1:1",
        "movie=x",
        "'scale=/w=x'",
        "-filter_complex",
        "[0:v]null[a]",
        "-map",
        "0:v",
        "-c",
        "copy",
        "-c:v",
        "libx264",
        "-report",
        "-/vf",
        "x",
        "-",
        "--",
        "-y",
        "-an",
        "-re",
        "-t",
        "10",
        "-attach",
        "file:/etc/passwd",
        "/etc/passwd",
        "-timeout",
        "5",
        "-rtsp_transport",
        "udp",
        "tcp",
        "-reconnect",
        "1",
        "-authorization",
        "tok",
        "-progress",
        "pipe:9",
        "-loglevel",
        "quiet",
        "-protocol_whitelist",
        "file,http",
        "-ar",
        "8000",
        "-sdp_file",
        "'a b'",
        "\\\n",
        "\"",
        "'",
        "-metadata",
        "a=b",
        "-b:v",
        "1k",
        "-dump",
        "concat:a|b",
        "-bsf:v",
        "dump_extra",
        "-passphrase",
    ];
    prop_oneof![
        9 => proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => "[-a-z:/=]{0,12}",
    ]
}

#[test]
fn the_tasks_own_whip_url_counts_not_the_commands() {
    let mut task = task();
    task.whip_url = MediaUrl::parse("whipUrl", "https://other.example/x").unwrap();
    let fault = judge(TEMPLATE, &task, &settings(), &full()).unwrap_err();
    assert!(fault.message.contains("whipUrl"), "{}", fault.message);
}
