//! What lss costs to run, measured on the real optimised binary with stand-ins for FFmpeg:
//! `cargo bench --bench daemon`. Prints a table; the numbers in docs/performance.md are its.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::daemon::{Daemon, Setup, fake_ffmpeg, wait_for};

fn main() {
    println!("| what | measured | target |\n|---|---|---|");
    start_to_rest();
    idle();
    children();
    stops();
}

fn row(what: &str, measured: &str, target: &str) {
    println!("| {what} | {measured} | {target} |");
}

fn quiet(max_tasks: u32) -> Setup {
    Setup {
        env: vec![("LSS_LOG".into(), "info".into())],
        max_tasks,
        ffmpeg: format!(
            "path: '{}', start_confirm: 300ms, stop_timeout: 10s",
            fake_ffmpeg().display()
        ),
        ..Setup::default()
    }
}

fn start_to_rest() {
    let mut times: Vec<Duration> = (0..11)
        .map(|_| {
            let begin = Instant::now();
            let daemon = Daemon::spawn(&quiet(4));
            loop {
                if let Ok(mut stream) = TcpStream::connect(daemon.addr) {
                    let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
                    let mut answer = String::new();
                    let _ = stream.read_to_string(&mut answer);
                    if answer.starts_with("HTTP/1.1 200") {
                        break begin.elapsed();
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
        .collect();
    times.sort();
    row(
        "daemon start to REST answering, median of 11",
        &format!("{:.0} ms", ms(times[5])),
        "< 100 ms",
    );
}

fn idle() {
    let daemon = Daemon::start(&quiet(4));
    settle(&daemon);
    let before = switches(daemon.pid());
    let cpu = cpu_ticks(daemon.pid());
    std::thread::sleep(Duration::from_secs(20));
    let woken = switches(daemon.pid()) - before;
    let used = cpu_ticks(daemon.pid()) - cpu;
    row(
        "idle resident memory (glibc)",
        &format!("{:.1} MB", kb(daemon.pid(), "VmRSS:") / 1024.0),
        "< 8 MB",
    );
    row(
        "idle, standalone: wake-ups in 20 s",
        &woken.to_string(),
        "no periodic one",
    );
    row(
        "idle, standalone: CPU ticks of 10 ms in 20 s",
        &used.to_string(),
        "0",
    );
    row("idle threads", &threads(daemon.pid()).to_string(), "-");
}

fn children() {
    const N: usize = 32;
    let daemon = Daemon::start(&quiet(N as u32));
    settle(&daemon);
    let threads_before = threads(daemon.pid());
    let private_before = private_kb(daemon.pid());
    for n in 0..N {
        // As many progress blocks as FFmpeg is told to send: one a second.
        daemon.start_task(&format!("t{n}"), "slow-ok");
    }
    for n in 0..N {
        daemon.wait_status(&format!("t{n}"), "STREAMING");
    }
    std::thread::sleep(Duration::from_secs(5));
    row(
        "threads a child (32 children)",
        &format!(
            "{:.2}",
            (threads(daemon.pid()) - threads_before) as f64 / N as f64
        ),
        "<= 3",
    );
    row(
        "private memory a child (32 children)",
        &format!(
            "{:.1} KB",
            (private_kb(daemon.pid()) - private_before) / N as f64
        ),
        "< 60 KB",
    );
    let cpu = cpu_ticks(daemon.pid());
    let window = Duration::from_secs(20);
    std::thread::sleep(window);
    let used = (cpu_ticks(daemon.pid()) - cpu) as f64 * 10.0;
    row(
        "CPU with 32 children, a progress block a second each",
        &format!(
            "{:.2} % of a core",
            used / window.as_millis() as f64 * 100.0
        ),
        "< 1 %",
    );
    // 200 requests a second for ten seconds, each on a connection of its own.
    let mut times = Vec::new();
    let begin = Instant::now();
    for n in 0..2000u32 {
        let due = begin + Duration::from_millis(5) * n;
        if let Some(left) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(left);
        }
        let sent = Instant::now();
        let path = if n % 2 == 0 {
            "/api/stream/tasks/active"
        } else {
            "/api/stream/task/t3"
        };
        let (status, _) = daemon.request("GET", path, None);
        assert_eq!(status, 200);
        times.push(sent.elapsed());
    }
    times.sort();
    row(
        "REST p50 / p99 at 200 requests/s while 32 run (connect included)",
        &format!("{:.2} / {:.2} ms", ms(times[1000]), ms(times[1980])),
        "p99 < 5 ms",
    );
}

fn stops() {
    for (mode, what, target) in [
        (
            "ok",
            "stop of a willing child, p50 / p99 of 40",
            "p99 < 0.5 s",
        ),
        (
            "need-two",
            "stop of a child that ignores the first SIGTERM, p50 / p99 of 40",
            "p99 < 3 s",
        ),
    ] {
        let daemon = Daemon::start(&quiet(40));
        for n in 0..40 {
            daemon.start_task(&format!("s{n}"), mode);
        }
        for n in 0..40 {
            daemon.wait_status(&format!("s{n}"), "STREAMING");
        }
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..40)
                .map(|n| {
                    let daemon = &daemon;
                    scope.spawn(move || {
                        let begin = Instant::now();
                        let (status, body) = daemon.stop_task(&format!("s{n}"), false);
                        assert_eq!(status, 200, "{body}");
                        begin.elapsed()
                    })
                })
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        times.sort();
        row(
            what,
            &format!("{:.0} / {:.0} ms", ms(times[20]), ms(times[39])),
            target,
        );
    }
}

/// Waits until the start-up work (FFmpeg probe) is done.
fn settle(daemon: &Daemon) {
    wait_for("readiness", Duration::from_secs(20), || {
        (daemon.request("GET", "/readyz", None).0 == 200).then_some(())
    });
    std::thread::sleep(Duration::from_secs(1));
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

fn kb(pid: u32, key: &str) -> f64 {
    field(&format!("/proc/{pid}/status"), key)
}

fn private_kb(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    field(&path, "Private_Dirty:") + field(&path, "Private_Clean:")
}

fn threads(pid: u32) -> i64 {
    field(&format!("/proc/{pid}/status"), "Threads:") as i64
}

fn field(path: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Voluntary context switches of all threads: how often anything woke up.
fn switches(pid: u32) -> i64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|t| {
            field(
                &format!("{}/status", t.unwrap().path().display()),
                "voluntary_ctxt",
            ) as i64
        })
        .sum()
}

fn cpu_ticks(pid: u32) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    after[11].parse::<i64>().unwrap() + after[12].parse::<i64>().unwrap()
}
