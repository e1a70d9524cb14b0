//! From "start" to the first frame decoded at a WHIP receiver: by FFmpeg by hand, and through lss with
//! the same arguments, from a source that it knows and from one that it asks first; in turn. Needs the parts of `tests/e2e/setup`.
//! `cargo bench --bench first_frame`; the numbers in docs/performance.md are its.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs, dead_code)]

#[path = "../tests/e2e/lab.rs"]
mod lab;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Camera, Receiver, Tools};
use lss::application::stream::{StartCommand, StreamRules};
use lss::domain::carry::{Carried, Way};
use lss::infrastructure::child::launch::Launcher;
use lss::infrastructure::ffmpeg::command::{FfmpegSettings, build};
use lss::infrastructure::ffmpeg::probe::probe;
use lss::util::secret::Secret;
use support::daemon::{self, Daemon, Setup};

const RUNS: usize = 7;

fn main() {
    let tools = match Tools::find() {
        Ok(tools) => tools,
        Err(why) => {
            println!("not measured: {why}");
            return;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(&tools, dir.path(), None, &["cam=live", "new=live"]);
    let receiver = Receiver::start(&tools, dir.path(), true);
    let daemon = Daemon::start(&Setup {
        ffmpeg: format!("path: '{}'", tools.ffmpeg.display()),
        env: vec![("LSS_LOG".into(), "info".into())],
        ..Setup::default()
    });
    daemon::wait_for("readiness", Duration::from_secs(30), || {
        (daemon.request("GET", "/readyz", None).0 == 200).then_some(())
    });
    let abilities = probe(&tools.ffmpeg, &Launcher::of_no_node()).unwrap();
    let settings = FfmpegSettings::new(&tools.ffmpeg);
    let through = |key: &str, source: &str| {
        let begin = Instant::now();
        let body = serde_json::json!({
            "taskId": key, "sourceUrl": source, "whipUrl": receiver.url("ok", key),
        });
        let (status, answer) = daemon.request("POST", "/api/stream/start", Some(&body));
        assert_eq!(status, 200, "{answer}");
        first_frame(&receiver, key, begin)
    };
    // What has streamed is known.
    through("warm", &camera.url("cam"));
    daemon::wait_for("streaming", Duration::from_secs(30), || {
        let (_, task) = daemon.request("GET", "/api/stream/task/warm", None);
        (task["data"]["status"] == "STREAMING").then_some(())
    });
    daemon.stop_task("warm", false);
    let (mut known, mut asked, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let key = format!("hand{run}");
        let command = StartCommand {
            task_id: Some(key.clone()),
            source_url: Some(Secret::new(camera.url("cam"))),
            whip_url: Some(Secret::new(receiver.url("ok", &key))),
            ..StartCommand::default()
        };
        let spec = command.validate(&StreamRules::default()).unwrap();
        let carried = Carried {
            way: Way::Transcode,
            reason: String::new(),
        };
        let launch = build(&spec, &carried, &settings, &abilities, None).unwrap();
        let begin = Instant::now();
        let mut child = Command::new(launch.argv[0].expose())
            .args(launch.argv.iter().skip(1).map(Secret::expose))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let hand = first_frame(&receiver, &key, begin);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        child.wait().unwrap();

        let key = format!("known{run}");
        let of_known = through(&key, &camera.url("cam"));
        daemon.stop_task(&key, false);
        let key = format!("asked{run}");
        let of_asked = through(&key, &camera.url(&format!("new?{run}")));
        daemon.stop_task(&key, false);
        // The first round warms the sources up.
        if run > 0 {
            by_hand.push(hand);
            known.push(of_known);
            asked.push(of_asked);
        }
    }
    for times in [&mut by_hand, &mut known, &mut asked] {
        times.sort();
    }
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    println!(
        "| first decoded frame, {RUNS} interleaved runs | median | min | max |\n|---|---|---|---|"
    );
    let rows = [
        ("FFmpeg by hand", &by_hand),
        ("through lss, a source that it knows", &known),
        ("through lss, a source that it asks first", &asked),
    ];
    for (what, times) in rows {
        println!(
            "| {what} | {:.0} ms | {:.0} ms | {:.0} ms |",
            ms(times[RUNS / 2]),
            ms(times[0]),
            ms(times[RUNS - 1])
        );
    }
    let beyond = |times: &[Duration]| ms(times[RUNS / 2]) - ms(by_hand[RUNS / 2]);
    println!(
        "| medians beyond that by hand: known (target: at most 50 ms), asked | {:.0} ms | {:.0} ms | |",
        beyond(&known),
        beyond(&asked)
    );
}

fn first_frame(receiver: &Receiver, key: &str, begin: Instant) -> Duration {
    let deadline = begin + Duration::from_secs(30);
    loop {
        if receiver.sessions(key).first().is_some_and(|s| s.video > 0) {
            return begin.elapsed();
        }
        assert!(Instant::now() < deadline, "no frame of {key}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
