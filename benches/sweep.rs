//! What a sweep costs, in a network namespace of its own, and nmap over the same addresses:
//! `cargo bench --bench sweep`, as root. Each sweep runs in a process of its own. The numbers in
//! docs/performance.md are its.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, missing_docs)]

#[path = "../tests/discovery_sweep/device.rs"]
#[allow(dead_code)]
mod device;
#[path = "../tests/discovery_netns/net.rs"]
#[allow(dead_code)]
mod net;

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lss::domain::discovery::{AddressRange, CameraScannerGateway, PORTS, SweepOrder};
use lss::infrastructure::discovery::Scanner;
use net::Wire;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Sweeps of each kind; the median is shown.
const RUNS: usize = 3;
/// nmap is ended after that long.
const PATIENCE: Duration = Duration::from_secs(240);
/// In the process that sweeps: `first last`.
const SWEEP: &str = "LSS_BENCH_SWEEP";
/// In the process of the devices.
const FAR: &str = "LSS_BENCH_FAR";

fn main() {
    if let Ok(range) = std::env::var(SWEEP) {
        return sweep(&range);
    }
    if let Ok(devices) = std::env::var(FAR) {
        device::serve(&devices);
    }
    if !net::is_inside() {
        match net::possible() {
            Ok(()) => assert!(net::inside(&[]).status().unwrap().success()),
            Err(why) => println!("not measured: {why}"),
        }
        return;
    }
    println!(
        "| network | connects | found | wall, median of {RUNS} | CPU | memory beyond the program's | threads | nmap | nmap's CPU | wall to nmap's |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    let wire = Wire::lay("10.77.0.1/21", &["10.77.0.2/21"]);
    let knock = ["-sT", "-T4", "-n"];
    let blind = ["-sT", "-T4", "-n", "-Pn", "--disable-arp-ping"];
    row(
        "/24, nobody there",
        "10.77.1.1 10.77.1.254",
        "10.77.1.1-254",
        &knock,
    );
    row(
        "/22, nobody there",
        "10.77.4.1 10.77.7.254",
        "10.77.4-7.1-254",
        &knock,
    );
    wire.silent_neighbours((1..=254).map(|n| Ipv4Addr::new(10, 77, 2, n)));
    row(
        "/24, all there and mute",
        "10.77.2.1 10.77.2.254",
        "10.77.2.1-254",
        &blind,
    );
    net::ip("route add 10.78.0.0/22 via 10.77.0.2");
    row(
        "/22, mute behind a router",
        "10.78.0.1 10.78.3.254",
        "10.78.0-3.1-254",
        &blind,
    );
    let mut all = Vec::new();
    for (n, manner, port) in [
        (10, "rtsp", 554),
        (10, "onvif", 80),
        (11, "rtsp", 554),
        (11, "isapi", 80),
        (12, "rtsp", 8554),
        (13, "onvif", 8899),
        (14, "rtsp", 554),
        (200, "router", 80),
    ] {
        all.push(format!("10.77.3.{n} {port} {manner}"));
    }
    for n in [10, 11, 12, 13, 14, 200, 201, 202] {
        let address = format!("10.77.3.{n}/21");
        wire.far(&["ip", "address", "add", &address, "dev", "far0"]);
    }
    let me = std::env::current_exe().unwrap();
    let mut command = wire.on_far_side(&[me]);
    command.env(FAR, all.join(";"));
    let _devices = net::start(command);
    row(
        "/24, five cameras and three others, else nobody",
        "10.77.3.1 10.77.3.254",
        "10.77.3.1-254",
        &knock,
    );
}

/// What the sweeping process says of itself.
struct Swept {
    wall: Duration,
    cpu: Duration,
    memory_kb: u64,
    threads: u64,
    connects: u64,
    found: u64,
}

fn row(what: &str, range: &str, targets: &str, nmap_arguments: &[&str]) {
    let idle = run("");
    let mut runs: Vec<Swept> = (0..RUNS).map(|_| run(range)).collect();
    runs.sort_by_key(|r| r.wall);
    let middle = &runs[RUNS / 2];
    let most = runs.iter().map(|r| r.memory_kb).max().unwrap();
    let (theirs, ratio) = match nmap(nmap_arguments, targets) {
        Ok((wall, cpu)) => (
            format!(
                "{:.1} s | {:.0} ms",
                wall.as_secs_f64(),
                cpu.as_secs_f64() * 1000.0
            ),
            format!("{:.2}", middle.wall.as_secs_f64() / wall.as_secs_f64()),
        ),
        Err(why) => (format!("{why} | -"), "-".to_owned()),
    };
    println!(
        "| {what} | {} | {} | {:.2} s | {:.0} ms | {} KB | {} | {theirs} | {ratio} |",
        middle.connects,
        middle.found,
        middle.wall.as_secs_f64(),
        middle.cpu.as_secs_f64() * 1000.0,
        most.saturating_sub(idle.memory_kb),
        runs.iter().map(|r| r.threads).max().unwrap(),
    );
}

/// One sweep in a process of its own; of nothing if `range` is empty.
fn run(range: &str) -> Swept {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(SWEEP, range)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut threads = 0;
    while child.try_wait().unwrap().is_none() {
        threads = threads.max(value(&status, "Threads:").unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let [wall, cpu, memory_kb, connects, found] = text
        .split_whitespace()
        .map(|n| n.parse::<u64>().unwrap())
        .collect::<Vec<_>>()[..]
    else {
        panic!("{text}")
    };
    Swept {
        wall: Duration::from_micros(wall),
        cpu: Duration::from_micros(cpu),
        memory_kb,
        threads,
        connects,
        found,
    }
}

/// In the process that sweeps.
fn sweep(range: &str) {
    let ends: Vec<Ipv4Addr> = range
        .split_whitespace()
        .map(|ip| ip.parse().unwrap())
        .collect();
    let ranges = match ends[..] {
        [first, last] => vec![AddressRange { first, last }],
        _ => Vec::new(),
    };
    let order = SweepOrder {
        ranges,
        except: Vec::new(),
        multicast: false,
        loopback: false,
        timeout: Duration::from_secs(30),
    };
    let mut scanner = Scanner::new().unwrap();
    let before = cpu(UsageWho::RUSAGE_SELF);
    let report = scanner.sweep(&order);
    let used = cpu(UsageWho::RUSAGE_SELF).saturating_sub(before);
    assert!(
        !report.cut_short && report.warnings.is_empty(),
        "{report:?}"
    );
    println!(
        "{} {} {} {} {}",
        report.took.as_micros(),
        used.as_micros(),
        // Not ru_maxrss, which begins with what the parent had.
        value("/proc/self/status", "VmHWM:").unwrap(),
        report.connects,
        report.finds.len()
    );
}

/// Wall and CPU time of nmap over the same ports.
fn nmap(arguments: &[&str], targets: &str) -> Result<(Duration, Duration), String> {
    let ports: Vec<String> = PORTS.iter().map(u16::to_string).collect();
    let before = cpu(UsageWho::RUSAGE_CHILDREN);
    let begin = Instant::now();
    let mut child = Command::new("nmap")
        .args(arguments)
        .args(["-p", &ports.join(","), "-oG", "/dev/null", targets])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| "no nmap here".to_owned())?;
    let done = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(format!("over {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let wall = begin.elapsed();
    let used = cpu(UsageWho::RUSAGE_CHILDREN).saturating_sub(before);
    if done.success() {
        Ok((wall, used))
    } else {
        Err("nmap failed".to_owned())
    }
}

fn cpu(who: UsageWho) -> Duration {
    let usage = getrusage(who).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap())
}

fn value(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
