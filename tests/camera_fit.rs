//! Cameras' encoders fitted for WHIP, by each protocol, against a camera that can be made to lie.

// Helpers fail their test by panicking; the lints know only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lss::application::camera::{
    Book, CameraAsk, CameraParams, CameraParts, CameraService, Host, LanePolicy, Order, Origin,
    Query, QueryData, Sent, Vendor,
};
use lss::domain::camera::Credentials;
use lss::domain::camera::fit::{FitAsk, FitReport, Fitness, StreamName, Value, Wish};
use lss::domain::error::{ErrorCode, Fault};
use lss::domain::gateway::CameraObserver;
use lss::domain::patrol::PatrolEvent;
use lss::domain::ptz::PtzEvent;
use lss::infrastructure::camera_gateway::Cameras;
use lss::infrastructure::camera_names::CameraNames;
use lss::infrastructure::child::launch::Launcher;
use lss::infrastructure::http::camera::CameraOptions;
use lss::infrastructure::http::doors::Doors;
use lss::infrastructure::pictures::Pictures;
use lss::infrastructure::rtsp::RtspClient;
use lss::util::secret::Secret;
use support::digest_server::GateRules;
use support::fit_camera::{Face, FitCamera, Lie};

struct Nobody;

impl CameraObserver for Nobody {
    fn ptz_event(&self, _: &PtzEvent, _: SystemTime) {}
    fn patrol_event(&self, _: &PatrolEvent, _: SystemTime) {}
    fn moves_for_cloud(&self, _: bool) {}
}

/// A camera and who fits it.
struct Bench {
    camera: FitCamera,
    service: CameraService,
}

impl Bench {
    /// `look` = how long a stream that is not as asked is looked at.
    fn new(face: Face, lie: Lie, look: Duration) -> Self {
        let service = CameraService::new(CameraParts {
            gateway: Arc::new(Cameras::new(CameraOptions::default())),
            rtsp: Arc::new(RtspClient::default()),
            names: Arc::new(CameraNames::default()),
            pictures: Arc::new(Pictures::new(
                "ffmpeg".into(),
                Launcher::of_no_node(),
                Doors::default(),
            )),
            observer: Arc::new(Nobody),
            book: Arc::new(Book::new(Vec::new(), true, Box::new(Vec::new))),
            policy: LanePolicy {
                fit_look: look,
                ..LanePolicy::default()
            },
        });
        Self {
            camera: FitCamera::start(face, lie),
            service,
        }
    }

    /// One that is looked at for as long as cameras are.
    fn patient(face: Face) -> Self {
        Self::new(face, Lie::None, LanePolicy::default().fit_look)
    }

    fn fit(&self, ask: FitAsk) -> Result<FitReport, Fault> {
        let rules = GateRules::default();
        let addr = self.camera.addr();
        let face = self.camera.with(|inside| inside.face);
        let vendor = if face == Face::Isapi {
            "HIKVISION"
        } else {
            "DAHUA"
        };
        let camera = CameraAsk {
            camera_id: None,
            said: CameraParams {
                host: Some(Host::parse("ip", &addr.ip().to_string()).unwrap()),
                port: Some(addr.port()),
                login: Some(Credentials::new(rules.user, Secret::new(rules.password)).unwrap()),
                vendor: Vendor::parse(vendor),
                ..CameraParams::default()
            },
        };
        let order = Order::Query(Query::Fit(ask));
        let done = self
            .service
            .submit(&camera, Origin::Rest, Sent::now(), order)?;
        let reply = done.recv_timeout(Duration::from_secs(70)).unwrap();
        match reply.result?.data {
            Some(QueryData::Fit(report)) => Ok(*report),
            other => panic!("{other:?}"),
        }
    }
}

fn apply() -> FitAsk {
    FitAsk {
        apply: true,
        ..FitAsk::default()
    }
}

/// `key: from → to` of the sub stream.
fn keys(report: &FitReport) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    };
    report
        .plan
        .iter()
        .map(|step| {
            assert_eq!(step.stream, StreamName::Sub);
            let from = step.from.as_ref().map_or("?".to_owned(), shown);
            format!("{}: {from} -> {}", step.key, shown(&step.to))
        })
        .collect()
}

#[test]
fn cameras_are_fitted() {
    for face in [Face::Isapi, Face::Media, Face::Media2] {
        let bench = Bench::patient(face);
        let before = bench.camera.sub();
        let told = bench.fit(FitAsk::default()).unwrap();
        let mut expected = vec!["profile: High -> Baseline", "keyframeSeconds: 4 -> 2"];
        if face == Face::Isapi {
            expected.push("smartCodec: true -> false");
        }
        assert_eq!(keys(&told), expected, "{face:?}");
        assert_eq!(told.streams.len(), 2);
        assert_eq!(told.streams[1].fitness, Fitness::NeedsChange);
        let seen = told.streams[1].sight.as_ref().unwrap();
        assert_eq!(seen.profile.unwrap()[0], 100, "by its own parameter set");
        assert!(!told.applied && told.verified.is_none() && !told.rolled_back);
        assert_eq!(bench.camera.sub(), before, "nothing is written");
        assert_eq!(bench.camera.with(|inside| inside.writes), 0);

        let done = bench.fit(apply()).unwrap();
        assert_eq!(done.failed, None, "{face:?}");
        assert!(done.applied && !done.rolled_back);
        let verified = done.verified.unwrap();
        assert_eq!(verified.profile.unwrap()[0], 66);
        assert_eq!(verified.b_frames, Some(false));
        assert_eq!(verified.keyframe_seconds, Some(2.0));
        assert_eq!(done.streams[1].fitness, Fitness::Unchanged);
        let after = bench.camera.sub();
        assert_eq!((after.profile.as_str(), after.gov), ("Baseline", 50));
        assert_eq!(
            (after.codec, after.size, after.kbps),
            (before.codec, before.size, before.kbps),
            "what fits is left alone"
        );
        assert_eq!(bench.camera.with(|inside| inside.writes), 1);
        assert!(bench.camera.with(|inside| inside.keyframes) >= 1);

        // What is right already is looked at and not written.
        let again = bench.fit(apply()).unwrap();
        assert_eq!(again.failed, None);
        assert!(!again.applied && again.plan.is_empty());
        assert_eq!(again.verified.unwrap().keyframe_seconds, Some(2.0));
        assert_eq!(bench.camera.with(|inside| inside.writes), 1);

        // And not twice within a minute.
        let wish = FitAsk {
            wish: Wish {
                keyframe_ms: Some(1000),
                ..Wish::default()
            },
            ..apply()
        };
        let fault = bench.fit(wish).unwrap_err();
        assert_eq!(fault.code, ErrorCode::NodeBusy, "{fault}");
        assert_eq!(bench.camera.with(|inside| inside.writes), 1);
    }
}

/// What it does, the profiles that it offers, whether that is written back, and what is said of it.
type Case = (Lie, &'static str, bool, &'static str);

#[test]
fn what_a_camera_says_is_held_against_its_stream() {
    let cases: [Case; 5] = [
        (Lie::Ignores, "Baseline,Main,High", false, "changed nothing"),
        (Lie::Refuses, "Baseline,Main,High", false, "camera error"),
        (
            Lie::KeepsKeyframes,
            "Baseline,Main,High",
            true,
            "it says a keyframe every 2.0 s and sends one every 4.0 s",
        ),
        (
            Lie::KeepsProfile,
            "Baseline,Main,High",
            true,
            "it says Baseline and sends High",
        ),
        (Lie::BFrames, "Main,High", true, "it sends B-frames in Main"),
    ];
    for face in [Face::Isapi, Face::Media, Face::Media2] {
        for (lie, profiles, back, words) in cases {
            let bench = Bench::new(face, lie, Duration::from_secs(2));
            bench.camera.with(|inside| inside.profiles = profiles);
            let before = bench.camera.sub();
            let report = bench.fit(apply()).unwrap();
            let shown = format!("{report:?}");
            let failed = report
                .failed
                .unwrap_or_else(|| panic!("{face:?} {lie:?}: {shown}"));
            assert_eq!(failed.code, ErrorCode::InternalError);
            // Of a refusal the camera's own words are told.
            let told = failed.message.contains(words) || lie == Lie::Refuses;
            assert!(told, "{face:?} {lie:?}: {failed}");
            assert_eq!(report.rolled_back, back, "{face:?} {lie:?}: {failed}");
            assert!(!report.applied);
            assert_eq!(bench.camera.sub(), before, "{face:?} {lie:?}");
            let writes = bench.camera.with(|inside| inside.writes);
            let expected = match lie {
                Lie::Refuses => 0,
                // The second one is the old settings: it might have been late with the first.
                _ => 2,
            };
            assert_eq!(writes, expected, "{face:?} {lie:?}");
        }
    }
}

#[test]
fn what_a_late_camera_makes_of_it_in_the_end_is_what_it_was() {
    for face in [Face::Isapi, Face::Media, Face::Media2] {
        let bench = Bench::new(face, Lie::Late, Duration::from_secs(2));
        let before = bench.camera.sub();
        let report = bench.fit(apply()).unwrap();
        let failed = report.failed.unwrap();
        assert!(failed.message.contains("it may be late"), "{failed}");
        assert!(!report.applied && !report.rolled_back, "{failed}");
        bench.camera.catch_up();
        assert_eq!(bench.camera.sub(), before, "{face:?}");
    }
}

#[test]
fn a_camera_that_restarts_between_picture_and_sound_is_set_back() {
    let bench = Bench::patient(Face::Media);
    bench
        .camera
        .with(|inside| inside.sound = Some("AAC".to_owned()));
    let before = bench.camera.sub();
    bench
        .camera
        .restarts_after_the_picture(Duration::from_secs(2));
    let report = bench.fit(apply()).unwrap();
    let failed = report.failed.unwrap();
    assert!(failed.message.contains("not reachable"), "{failed}");
    assert!(
        failed
            .message
            .contains("the old settings were written back"),
        "{failed}"
    );
    assert!(report.plan.iter().any(|step| step.key == "audio"));
    assert!(report.rolled_back && !report.applied);
    assert_eq!(bench.camera.sub(), before);
    assert_eq!(
        bench.camera.with(|inside| inside.sound.clone()).as_deref(),
        Some("AAC")
    );
    // It counts as a write.
    let again = bench.fit(apply()).unwrap_err();
    assert_eq!(again.code, ErrorCode::NodeBusy, "{again}");
}

#[test]
fn sound_is_changed_beside_the_picture() {
    let bench = Bench::patient(Face::Media);
    bench
        .camera
        .with(|inside| inside.sound = Some("AAC".to_owned()));
    let done = bench.fit(apply()).unwrap();
    assert_eq!(done.failed, None);
    assert!(done.applied);
    assert_eq!(
        bench.camera.with(|inside| inside.sound.clone()).as_deref(),
        Some("G711")
    );
}

#[test]
fn a_camera_that_knows_no_keyframes_on_demand_is_asked_once() {
    for face in [Face::Isapi, Face::Media] {
        let bench = Bench::patient(face);
        bench.camera.with(|inside| inside.knows_keyframes = false);
        for _ in 0..2 {
            assert_eq!(bench.fit(apply()).unwrap().failed, None);
        }
        assert_eq!(bench.camera.with(|inside| inside.keyframes), 1, "{face:?}");
    }
}

#[test]
fn nothing_is_written_where_nobody_could_look() {
    let bench = Bench::patient(Face::Isapi);
    bench.camera.stop_playing();
    let report = bench.fit(apply()).unwrap();
    assert!(
        report
            .failed
            .unwrap()
            .message
            .contains("nothing is written")
    );
    assert!(!report.plan.is_empty());
    assert_eq!(bench.camera.with(|inside| inside.writes), 0);
}

#[test]
fn a_stream_that_offers_nothing_is_told_so() {
    let bench = Bench::patient(Face::Media);
    bench.camera.with(|inside| inside.profiles = "High");
    bench
        .camera
        .with(|inside| inside.encoders[1].codec = "H264".to_owned());
    let told = bench.fit(FitAsk::default()).unwrap();
    // High without B-frames can be carried; only its keyframes are too far apart.
    assert_eq!(keys(&told), ["keyframeSeconds: 4 -> 2"], "{told:?}");
    let main = FitAsk {
        stream: Some(StreamName::Main),
        ..FitAsk::default()
    };
    assert_eq!(bench.fit(main).unwrap().plan[0].stream, StreamName::Main);
}

fn lss(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lss"))
        .args(args)
        .env_clear()
        .env("LSS_CAMERA_PASSWORD", GateRules::default().password)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn from_the_command_line() {
    let camera = FitCamera::start(Face::Isapi, Lie::None);
    let at = camera.addr().to_string();
    let user = GateRules::default().user;
    let (code, out, err) = lss(&["fit", &at, "--user", &user, "--json"]);
    assert_eq!(code, 0, "{err}");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["protocol"], "ISAPI");
    assert_eq!(told["plan"][0]["key"], "profile");
    assert_eq!(told["streams"][1]["fit"], "needs_change");
    assert!(!out.contains("Channels/102"), "{out}");
    assert_eq!(camera.with(|inside| inside.writes), 0);
    let (code, out, err) = lss(&["fit", &at, "--user", &user, "--apply"]);
    assert_eq!(code, 0, "{out} {err}");
    assert!(out.contains("applied, and the stream is as asked"), "{out}");
    assert_eq!(camera.sub().profile, "Baseline");
    camera.with(|inside| inside.lie = Lie::Refuses);
    let (code, _, err) = lss(&[
        "fit", &at, "--user", &user, "--stream", "main", "--apply", "--json",
    ]);
    assert_eq!(code, 1);
    assert!(err.contains("50001"), "{err}");
}
