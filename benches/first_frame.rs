//! From "start" to the first frame decoded at a WHIP receiver: through lss, and by the same FFmpeg
//! with the same arguments by hand, in turn. Needs the parts of `tests/e2e/setup`.
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
    let camera = Camera::start(&tools, dir.path(), None, &["cam=live"]);
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
    let (mut through, mut by_hand) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let key = format!("hand{run}");
        let command = StartCommand {
            task_id: Some(key.clone()),
            source_url: Some(Secret::new(camera.url("cam"))),
            whip_url: Some(Secret::new(receiver.url("ok", &key))),
            ..StartCommand::default()
        };
        let spec = command.validate(&StreamRules::default()).unwrap();
        let launch = build(&spec, &settings, &abilities, None).unwrap();
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

        let key = format!("lss{run}");
        let begin = Instant::now();
        let body = serde_json::json!({
            "taskId": key, "sourceUrl": camera.url("cam"), "whipUrl": receiver.url("ok", &key),
        });
        let (status, answer) = daemon.request("POST", "/api/stream/start", Some(&body));
        assert_eq!(status, 200, "{answer}");
        let lss = first_frame(&receiver, &key, begin);
        daemon.stop_task(&key, false);
        // The first pair warms the source up.
        if run > 0 {
            by_hand.push(hand);
            through.push(lss);
        }
    }
    by_hand.sort();
    through.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let (hand, lss) = (by_hand[RUNS / 2], through[RUNS / 2]);
    println!(
        "| first decoded frame, {RUNS} interleaved runs | median | min | max |\n|---|---|---|---|"
    );
    for (what, times) in [("FFmpeg by hand", &by_hand), ("through lss", &through)] {
        println!(
            "| {what} | {:.0} ms | {:.0} ms | {:.0} ms |",
            ms(times[RUNS / 2]),
            ms(times[0]),
            ms(times[RUNS - 1])
        );
    }
    println!(
        "| difference of the medians (target: at most 100 ms) | {:.0} ms | ratio {:.3} | |",
        ms(lss) - ms(hand),
        lss.as_secs_f64() / hand.as_secs_f64()
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
