use super::*;
use crate::domain::camera::fit::{EncoderOptions, EncoderSettings, Value};

/// As most cameras leave the box.
fn boxed(name: StreamName) -> EncoderStream {
    EncoderStream {
        name,
        url: None,
        settings: EncoderSettings {
            codec: Some("H265".into()),
            profile: None,
            size: Some(match name {
                StreamName::Main => (2560, 1440),
                StreamName::Sub => (640, 360),
            }),
            fps: Some(25.0),
            bitrate_kbps: Some(4096),
            keyframe_frames: Some(100),
            smart_codec: Some(true),
            audio: Some("AAC".into()),
        },
        options: EncoderOptions {
            codecs: vec!["H264".into(), "H265".into()],
            profiles: vec![Profile::High, Profile::Main, Profile::Baseline],
            sizes: vec![(640, 360), (640, 480), (352, 288)],
            fps: Some(Rates::Of(vec![25.0, 20.0, 12.0, 6.0])),
            bitrate_kbps: Some((256, 8192)),
            keyframe_frames: Some((1, 400)),
            audio: vec!["AAC".into(), "G.711ulaw".into(), "G.711alaw".into()],
        },
    }
}

fn good() -> EncoderStream {
    let mut stream = boxed(StreamName::Sub);
    stream.settings = EncoderSettings {
        codec: Some("H264".into()),
        profile: Some(Profile::Baseline),
        keyframe_frames: Some(50),
        smart_codec: Some(false),
        audio: Some("G.711alaw".into()),
        ..stream.settings
    };
    stream
}

fn sight(idc: u8, b_frames: Option<bool>) -> Sight {
    Sight {
        codec: Some("H264".into()),
        profile: Some([idc, 0, 31]),
        b_frames,
        ..Sight::default()
    }
}

/// `key: from → to`, or why not.
fn planned(stream: EncoderStream, sight: Option<Sight>, wish: Wish) -> String {
    let judged = judge(stream, sight);
    let shown = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    };
    match plan(&judged, wish) {
        Err(why) => format!("no: {why}"),
        Ok(change) => change
            .steps(judged.stream.name, &judged.stream.settings)
            .iter()
            .map(|step| {
                let from = step.from.as_ref().map_or("?".to_owned(), shown);
                format!("{}: {from} → {}", step.key, shown(&step.to))
            })
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[test]
fn the_smallest_change() {
    type Change = fn(&mut EncoderStream);
    let table: &[(&str, Change, Option<Sight>, &str)] = &[
        ("fits", |_| {}, None, ""),
        (
            "high",
            |s| s.settings.profile = Some(Profile::High),
            None,
            "profile: High → Baseline",
        ),
        (
            "high, no baseline",
            |s| {
                s.settings.profile = Some(Profile::High);
                s.options.profiles = vec![Profile::High, Profile::Main];
            },
            None,
            "profile: High → Main",
        ),
        (
            "main without B-frames, no baseline",
            |s| {
                s.settings.profile = Some(Profile::Main);
                s.options.profiles = vec![Profile::High, Profile::Main];
            },
            Some(sight(77, Some(false))),
            "",
        ),
        (
            "main with B-frames, no baseline",
            |s| {
                s.settings.profile = Some(Profile::Main);
                s.options.profiles = vec![Profile::High, Profile::Main];
            },
            Some(sight(77, Some(true))),
            "no: Main with B-frames, which WebRTC does not play, and the camera offers no profile \
             without them",
        ),
        (
            "main with B-frames, baseline offered",
            |s| s.settings.profile = Some(Profile::Main),
            Some(sight(77, Some(true))),
            "profile: Main → Baseline",
        ),
        (
            "only high, without B-frames",
            |s| {
                s.settings.profile = Some(Profile::High);
                s.options.profiles = vec![Profile::High];
            },
            Some(sight(100, Some(false))),
            "",
        ),
        (
            "only high, not told",
            |s| {
                s.settings.profile = Some(Profile::High);
                s.options.profiles = vec![Profile::High];
            },
            None,
            "no: High, which receivers may refuse, and the camera offers no other profile",
        ),
        (
            "says baseline and sends high",
            |_| {},
            Some(sight(100, Some(false))),
            "no: the camera says Baseline and sends High",
        ),
        (
            "no h264",
            |s| {
                s.settings.codec = Some("H265".into());
                s.options.codecs = vec!["H265".into()];
            },
            None,
            "no: it is H265, and the camera offers no H.264 for it",
        ),
        (
            "keyframes far apart",
            |s| s.settings.keyframe_frames = Some(100),
            None,
            "keyframeSeconds: 4 → 2",
        ),
        (
            "a range that ends above",
            |s| {
                s.settings.keyframe_frames = Some(100);
                s.options.keyframe_frames = Some((75, 400));
            },
            None,
            "keyframeSeconds: 4 → 3",
        ),
        (
            "close ones stay",
            |s| s.settings.keyframe_frames = Some(5),
            None,
            "",
        ),
        (
            "distance not told",
            |s| s.settings.keyframe_frames = None,
            None,
            "",
        ),
        (
            "smart codec",
            |s| s.settings.smart_codec = Some(true),
            None,
            "smartCodec: true → false",
        ),
        (
            "sound that can't be chosen",
            |s| {
                s.settings.audio = Some("AAC".into());
                s.options.audio = vec!["AAC".into(), "MP2L2".into()];
            },
            None,
            "",
        ),
        (
            "opus before g711",
            |s| {
                s.settings.audio = Some("AAC".into());
                s.options.audio = vec!["G711".into(), "OPUS".into()];
            },
            None,
            "audio: AAC → OPUS",
        ),
        ("no sound", |s| s.settings.audio = None, None, ""),
    ];
    for (name, change, sight, expected) in table {
        let mut stream = good();
        change(&mut stream);
        let plan = planned(stream, sight.clone(), Wish::default());
        assert_eq!(plan, *expected, "{name}");
    }
    assert_eq!(
        planned(boxed(StreamName::Main), None, Wish::default()),
        "codec: H265 → H264, profile: ? → Baseline, keyframeSeconds: 4 → 2, smartCodec: true → \
         false, audio: AAC → G.711alaw"
    );
}

#[test]
fn wishes_are_kept_within_what_the_camera_offers() {
    let none = Wish::default();
    for (wish, expected) in [
        (
            Wish {
                bitrate_kbps: Some(1000),
                ..none
            },
            "bitrateKbps: 4096 → 1000",
        ),
        (
            Wish {
                bitrate_kbps: Some(64),
                ..none
            },
            "bitrateKbps: 4096 → 256",
        ),
        (
            Wish {
                bitrate_kbps: Some(5000),
                ..none
            },
            "",
        ),
        (
            Wish {
                fps: Some(15),
                ..none
            },
            "fps: 25 → 12, keyframeSeconds: 2 → 2",
        ),
        (
            Wish {
                fps: Some(5),
                ..none
            },
            "",
        ),
        (
            Wish {
                width: Some(640),
                height: Some(400),
                ..none
            },
            "",
        ),
        (
            Wish {
                height: Some(300),
                ..none
            },
            "width: 640 → 352, height: 360 → 288",
        ),
        (
            Wish {
                keyframe_ms: Some(1000),
                ..none
            },
            "keyframeSeconds: 2 → 1",
        ),
    ] {
        assert_eq!(planned(good(), None, wish), expected, "{wish:?}");
    }
}

#[test]
fn the_sub_stream_is_taken_where_its_size_is_enough() {
    let none = Wish::default();
    let judged = |streams: Vec<EncoderStream>| -> Vec<JudgedStream> {
        streams.into_iter().map(|s| judge(s, None)).collect()
    };
    let both = || vec![boxed(StreamName::Main), boxed(StreamName::Sub)];
    let pick = |streams: Vec<EncoderStream>, named, wish| {
        choose(&judged(streams), named, wish).map(|s| s.stream.name)
    };
    assert_eq!(pick(both(), None, none), Ok(StreamName::Sub));
    assert_eq!(
        pick(both(), Some(StreamName::Main), none),
        Ok(StreamName::Main)
    );
    let mut small = both();
    small[1].settings.size = Some((352, 288));
    assert_eq!(pick(small, None, none), Ok(StreamName::Main));
    let mut no_h264 = both();
    no_h264[1].options.codecs = vec!["H265".into()];
    assert_eq!(pick(no_h264, None, none), Ok(StreamName::Main));
    let large = Wish {
        width: Some(1920),
        ..none
    };
    assert_eq!(pick(both(), None, large), Ok(StreamName::Main));
    let alone = vec![boxed(StreamName::Main)];
    assert!(pick(alone, Some(StreamName::Sub), none).is_err());
    assert!(pick(Vec::new(), None, none).is_err());
    let words = &judged(both())[1].reason;
    assert!(words.contains("recorders"), "{words}");
}

#[test]
fn what_the_stream_shows_is_held_against_what_was_asked() {
    let before = judge(good(), None);
    let change = EncoderChange {
        profile: Some(Profile::Main),
        keyframe_frames: Some(50),
        keyframe_fps: Some(25.0),
        ..EncoderChange::default()
    };
    let seen = |idc, b_frames, seconds| Sight {
        keyframe_seconds: seconds,
        ..sight(idc, b_frames)
    };
    for (sight, expected) in [
        (seen(77, Some(false), Some(2.0)), vec![]),
        (seen(66, Some(false), Some(2.4)), vec![]),
        (
            seen(100, Some(false), Some(1.0)),
            vec!["it says Main and sends High"],
        ),
        (
            seen(77, Some(true), Some(4.0)),
            vec![
                "it sends B-frames in Main",
                "it says a keyframe every 2.0 s and sends one every 4.0 s",
            ],
        ),
        (
            seen(77, Some(false), None),
            vec!["it says a keyframe every 2.0 s, and no two came while it was looked at"],
        ),
        (
            Sight {
                profile: None,
                ..seen(0, Some(false), Some(2.0))
            },
            vec!["its stream has no parameter set that could be read"],
        ),
        (
            Sight {
                codec: Some("H265".into()),
                keyframe_seconds: Some(1.0),
                ..Sight::default()
            },
            vec!["it says H.264 and sends H265"],
        ),
    ] {
        assert_eq!(lies(&before, &change, &sight), expected);
    }
}
