//! CAMERA_FIT in JSON, at every door (contract 16).

use serde_json::{Value, json};

use super::decode::Fields;
use crate::domain::camera::Protocol;
use crate::domain::camera::fit::{
    FitAsk, FitReport, JudgedStream, Profile, Step, StreamName, Value as Datum, Wish, hundredths,
};
use crate::domain::discovery::Sight;
use crate::domain::error::{ErrorCode, Fault};
use crate::util::{foreign, url};

/// Longest text of a camera that is shown, in characters.
const MAX_TEXT: usize = 128;
/// Longest reason, in characters.
const MAX_REASON: usize = 512;
/// Longest keyframe distance that may be wished for, in seconds.
const MAX_GAP: i64 = 60;

/// What is asked of a fit.
pub fn ask(fields: &Fields) -> Result<FitAsk, Fault> {
    let stream = match fields.text("stream")? {
        None => None,
        Some(text) => Some(
            StreamName::parse(text)
                .ok_or_else(|| Fault::new(ErrorCode::ParamInvalid, "stream must be main or sub"))?,
        ),
    };
    let apply = fields.flag("apply")?.unwrap_or(false);
    let wish = fields.object("wish")?;
    Ok(FitAsk {
        stream,
        apply,
        wish: Wish {
            bitrate_kbps: number(&wish, "bitrateKbps", 1_000_000)?,
            fps: number(&wish, "fps", 240)?,
            width: number(&wish, "width", 16_384)?,
            height: number(&wish, "height", 16_384)?,
            keyframe_ms: number(&wish, "keyframeSeconds", MAX_GAP)?.map(|s| s * 1000),
        },
    })
}

fn number(wish: &Fields, name: &str, max: i64) -> Result<Option<u32>, Fault> {
    match wish.integer(name)? {
        None => Ok(None),
        Some(value) => u32::try_from(value)
            .ok()
            .filter(|_| (1..=max).contains(&value))
            .map(Some)
            .ok_or_else(|| {
                let words = format!("wish.{name} must be from 1 to {max}");
                Fault::new(ErrorCode::ParamInvalid, words)
            }),
    }
}

/// What a fit has found and done.
pub fn report(camera: &str, protocol: Option<Protocol>, report: &FitReport) -> Value {
    json!({
        "cameraId": camera,
        "protocol": protocol.map(Protocol::name),
        "streams": report.streams.iter().map(stream).collect::<Vec<_>>(),
        "plan": report.plan.iter().map(step).collect::<Vec<_>>(),
        "applied": report.applied,
        "verified": report.verified.as_ref().map(verified),
        "rolledBack": report.rolled_back,
    })
}

fn stream(judged: &JudgedStream) -> Value {
    let (stream, sight) = (&judged.stream, judged.sight.as_ref());
    let settings = &stream.settings;
    let size = sight.and_then(|s| s.size).or(settings.size);
    let shown = |text: &str| foreign::shown(text, MAX_TEXT);
    let profile = sight
        .and_then(Sight::profile_name)
        .or_else(|| settings.profile.map(|p| p.name().to_owned()));
    let b_frames = sight
        .and_then(|s| s.b_frames)
        .or_else(|| (settings.profile == Some(Profile::Baseline)).then_some(false));
    let gap = sight
        .and_then(|s| s.keyframe_seconds)
        .or_else(|| settings.keyframe_seconds());
    let codec = sight.and_then(|s| s.codec.as_deref());
    let audio = settings.audio.as_deref();
    let audio = audio.or_else(|| sight?.audio.as_deref());
    json!({
        "stream": stream.name.name(),
        "url": stream.url.as_deref().map(url::mask),
        "codec": codec.or(settings.codec.as_deref()).map(shown),
        "profile": profile,
        "bFrames": b_frames,
        "width": size.map(|s| s.0),
        "height": size.map(|s| s.1),
        "fps": settings.fps.or(sight.and_then(|s| s.fps)).map(hundredths),
        "bitrateKbps": settings.bitrate_kbps,
        "keyframeSeconds": gap.map(hundredths),
        "audio": audio.map(shown),
        "fit": judged.fitness.name(),
        "reason": foreign::shown(&judged.reason, MAX_REASON),
    })
}

fn step(step: &Step) -> Value {
    let datum = |datum: &Datum| match datum {
        Datum::Text(text) => json!(foreign::shown(text, MAX_TEXT)),
        Datum::Number(number) => whole(*number),
        Datum::Flag(flag) => json!(flag),
    };
    json!({
        "stream": step.stream.name(),
        "key": step.key,
        "from": step.from.as_ref().map(datum),
        "to": datum(&step.to),
    })
}

/// Without a `.0` where it is whole.
fn whole(number: f64) -> Value {
    let number = hundredths(number);
    // Whole, and far below 2^53.
    #[allow(clippy::cast_possible_truncation)]
    if number.fract() == 0.0 && number.abs() < 1e9 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

fn verified(sight: &Sight) -> Value {
    json!({
        "profile": sight.profile_name(),
        "bFrames": sight.b_frames,
        "keyframeSeconds": sight.keyframe_seconds.map(hundredths),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::camera::fit::{EncoderOptions, EncoderSettings, EncoderStream, Fitness};

    fn asked(text: &str) -> Result<FitAsk, Fault> {
        let value: Value = serde_json::from_str(text).unwrap();
        ask(&Fields::of(&value, "the body")?)
    }

    #[test]
    fn asks() {
        assert_eq!(asked("{}").unwrap(), FitAsk::default());
        let full = asked(
            r#"{"stream":"SUB","apply":"true","wish":{"bitrateKbps":"800","fps":15,"width":0,"keyframeSeconds":2}}"#,
        )
        .unwrap();
        assert_eq!(full.stream, Some(StreamName::Sub));
        assert!(full.apply);
        assert_eq!(full.wish.bitrate_kbps, Some(800));
        assert_eq!(full.wish.keyframe_ms, Some(2000));
        assert_eq!(full.wish.width, None);
        for bad in [
            r#"{"stream":"third"}"#,
            r#"{"apply":"perhaps"}"#,
            r#"{"wish":{"fps":-1}}"#,
            r#"{"wish":{"keyframeSeconds":61}}"#,
            r#"{"wish":7}"#,
        ] {
            assert_eq!(
                asked(bad).unwrap_err().code,
                ErrorCode::ParamInvalid,
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_null_and_urls_are_masked() {
        let stream = EncoderStream {
            name: StreamName::Sub,
            url: Some("rtsp://192.168.0.9:554/Streaming/Channels/102?key=abc".to_owned()),
            settings: EncoderSettings::default(),
            options: EncoderOptions::default(),
        };
        let found = FitReport {
            streams: vec![JudgedStream {
                stream,
                sight: None,
                fitness: Fitness::Impossible,
                reason: "why".to_owned(),
            }],
            plan: vec![Step {
                stream: StreamName::Sub,
                key: "keyframeSeconds",
                from: Some(Datum::Number(4.0)),
                to: Datum::Number(1.96),
            }],
            ..FitReport::default()
        };
        let shown = report("cam", Some(Protocol::ISAPI), &found);
        let text = shown.to_string();
        assert!(!text.contains("abc") && !text.contains("102"), "{text}");
        for key in ["codec", "profile", "bFrames", "width", "audio"] {
            assert_eq!(shown["streams"][0].get(key), Some(&Value::Null), "{key}");
        }
        assert_eq!(
            shown["plan"][0],
            json!({"stream": "sub", "key": "keyframeSeconds", "from": 4, "to": 1.96})
        );
        assert_eq!(shown["verified"], Value::Null);
    }
}
