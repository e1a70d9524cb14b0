//! Streams as cameras describe them, and what an installer is told.

use super::*;

fn video(codec: &str, profile: Option<[u8; 3]>, reorders: Option<bool>) -> TrackInfo {
    TrackInfo {
        media: "video".to_owned(),
        codec: Some(codec.to_owned()),
        clock_rate: Some(90_000),
        h264_profile: profile,
        size: Some((1920, 1080)),
        fps: Some(30.0),
        reorders,
        ..TrackInfo::default()
    }
}

fn audio(codec: &str) -> TrackInfo {
    TrackInfo {
        media: "audio".to_owned(),
        codec: Some(codec.to_owned()),
        ..TrackInfo::default()
    }
}

fn judged(tracks: Vec<TrackInfo>) -> WhipFit {
    judge(&StreamDescription {
        server: None,
        tracks,
    })
}

fn h264(profile: Option<[u8; 3]>, reorders: Option<bool>) -> WhipFit {
    judged(vec![video("H264", profile, reorders)])
}

#[test]
fn baseline_goes_out_as_it_is() {
    let fit = h264(Some([66, 0xc0, 31]), Some(false));
    assert_eq!(fit.video, VideoFit::Unchanged);
    assert_eq!(fit.grade(), Grade::Pass);
    assert_eq!(
        fit.notes[0].words,
        "H.264 Constrained Baseline level 3.1, 1920x1080 at 30 frames a second: goes out as it is \
         where lss.ffmpeg.passthrough is auto or prefer, or the task asks for codec copy, at next to \
         no cost"
    );
    assert_eq!(fit.notes[0].advice, None);
    assert!(fit.notes[1].words.contains("keyframe interval"));
    assert!(fit.notes[1].advice.is_some());
}

#[test]
fn main_and_high_depend_on_the_setting() {
    for (profile, name) in [
        ([77, 0, 40], "Main level 4.0"),
        ([100, 0, 51], "High level 5.1"),
    ] {
        let fit = h264(Some(profile), Some(false));
        assert_eq!(fit.video, VideoFit::UnchangedIfPreferred);
        assert_eq!(fit.grade(), Grade::Warn);
        let words = &fit.notes[0].words;
        for part in [name, "0.33", "passthrough is prefer or"] {
            assert!(words.contains(part), "{words}");
        }
        let advice = fit.notes[0].advice.as_deref().unwrap();
        assert!(advice.contains("Baseline"), "{advice}");
        // Whether it reorders is not said: it can't be sent as it is unseen.
        let fit = h264(Some(profile), None);
        assert_eq!((fit.video, fit.grade()), (VideoFit::Unknown, Grade::Warn));
    }
}

#[test]
fn b_frames_and_other_profiles_are_encoded_anew() {
    let fit = h264(Some([77, 0, 31]), Some(true));
    assert_eq!(fit.video, VideoFit::Transcode);
    assert!(fit.notes[0].words.contains("B-frames"));
    let advice = fit.notes[0].advice.as_deref().unwrap();
    assert!(advice.contains("B-frames off"), "{advice}");
    assert!(
        !fit.notes.iter().any(|n| n.words.contains("keyframe")),
        "encoded anew, the interval is lss's"
    );
    assert_eq!(
        h264(Some([122, 0, 31]), Some(false)).video,
        VideoFit::Transcode
    );
    assert_eq!(h264(Some([88, 0, 31]), None).video, VideoFit::Transcode);
    assert_eq!(h264(None, None).video, VideoFit::Unknown);
}

#[test]
fn other_codecs_cost_encoding() {
    for codec in ["H265", "HEVC", "JPEG", "MPEG4-VIDEO"] {
        let fit = judged(vec![video(codec, None, None)]);
        assert_eq!((fit.video, fit.grade()), (VideoFit::Transcode, Grade::Warn));
        assert!(fit.notes[0].advice.as_deref().unwrap().contains("H.264"));
    }
    let mut unnamed = video("", None, None);
    unnamed.codec = None;
    assert_eq!(judged(vec![unnamed]).video, VideoFit::Unknown);
}

#[test]
fn the_cost_follows_size_and_rate() {
    let words = |size, fps| {
        let mut track = video("H265", None, None);
        (track.size, track.fps) = (size, fps);
        judged(vec![track]).notes.remove(0).words
    };
    assert!(words(Some((3840, 2160)), Some(15.0)).contains("0.66"));
    assert!(words(Some((640, 360)), Some(12.5)).contains("at 12.5 frames"));
    assert!(words(Some((160, 90)), Some(1.0)).contains("0.02"));
    assert!(words(Some((1920, 1080)), None).contains("1920x1080: lss"));
    assert!(words(None, None).contains("third of a core"));
}

#[test]
fn sound() {
    let with = |codec: &str| {
        judged(vec![
            video("H264", Some([66, 0, 31]), Some(false)),
            audio(codec),
        ])
    };
    assert_eq!(with("OPUS").audio, AudioFit::Unchanged);
    // Nothing carries sound unchanged today, and no advice says so.
    for codec in ["OPUS", "PCMA"] {
        let fit = with(codec);
        let note = fit.notes.last().unwrap();
        let text = format!("{} {}", note.words, note.advice.as_deref().unwrap_or(""));
        assert!(
            !text.contains("no FFmpeg") && !text.contains("passthrough"),
            "{text}"
        );
    }
    for (codec, name) in [
        ("PCMA", "G.711 A-law"),
        ("PCMU", "G.711"),
        ("MPEG4-GENERIC", "AAC"),
        ("G726-32", "G726-32"),
        ("", "unnamed"),
    ] {
        let fit = with(codec);
        assert_eq!(fit.audio, AudioFit::Convert);
        assert_eq!(fit.grade(), Grade::Pass);
        let last = fit.notes.last().unwrap();
        assert!(last.words.contains(name), "{}", last.words);
        assert!(
            last.advice.is_some(),
            "beside an unchanged picture the sound is what costs"
        );
    }
    let beside_h265 = judged(vec![video("H265", None, None), audio("PCMA")]);
    assert_eq!(beside_h265.notes.last().unwrap().advice, None);
    assert_eq!(
        h264(Some([66, 0, 31]), Some(false)).audio,
        AudioFit::Missing
    );
}

#[test]
fn nothing_to_stream() {
    for tracks in [vec![], vec![audio("PCMA")]] {
        let fit = judged(tracks);
        assert_eq!((fit.video, fit.grade()), (VideoFit::Missing, Grade::Fail));
    }
    // A picture is what is first of its kind, whatever stands before it.
    let mut metadata = audio("VND.ONVIF.METADATA");
    metadata.media = "application".to_owned();
    let fit = judged(vec![
        metadata,
        video("H264", Some([66, 0, 31]), Some(false)),
    ]);
    assert_eq!(fit.video, VideoFit::Unchanged);
}
