//! The scanner against devices of all kinds on loopback addresses, over real sockets: what is
//! found, what is told of the rest, and what a sweep may cost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "discovery_sweep/device.rs"]
#[allow(dead_code)]
mod device;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use device::{Device, Manner, Ports};
use lss::domain::discovery::{
    AddressRange, CameraScannerGateway, Certainty, Find, SweepOrder, SweepReport,
};
use lss::infrastructure::discovery::{PortKind, Scanner};

/// Descriptors are counted and limited: one sweep at a time.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn order(first: Ipv4Addr, last: Ipv4Addr) -> SweepOrder {
    SweepOrder {
        ranges: vec![AddressRange { first, last }],
        except: Vec::new(),
        multicast: false,
        loopback: true,
        timeout: Duration::from_secs(10),
    }
}

fn sweep(ports: &Ports, order: &SweepOrder) -> SweepReport {
    let mut scanner = Scanner::with_ports(&ports.kinds()).unwrap();
    let before = descriptors();
    let began = Instant::now();
    let report = scanner.sweep(order);
    let took = began.elapsed();
    assert!(took < order.timeout + Duration::from_secs(5), "{took:?}");
    assert!(report.took <= took);
    // The devices' ends of the connections close a little later.
    let deadline = Instant::now() + Duration::from_secs(10);
    while descriptors() > before {
        assert!(Instant::now() < deadline, "descriptors are left open");
        std::thread::sleep(Duration::from_millis(20));
    }
    report
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn find(report: &SweepReport, ip: Ipv4Addr) -> &Find {
    report
        .finds
        .iter()
        .find(|f| f.ip == IpAddr::V4(ip))
        .unwrap_or_else(|| panic!("{ip} is not found: {report:#?}"))
}

fn other(report: &SweepReport, ip: Ipv4Addr, port: u16) -> &str {
    let begin = format!("{ip}:{port}: ");
    report
        .others
        .iter()
        .find_map(|line| line.strip_prefix(&begin))
        .unwrap_or_else(|| panic!("nothing of {begin} in {report:#?}"))
}

#[test]
fn cameras_among_everything_else() {
    let _alone = alone();
    let ports = Ports::free();
    let ip = |n| Ipv4Addr::new(127, 44, 1, n);
    let at = |n, port, manner| Device::start(ip(n), port, manner);
    let p = ports;
    let devices = [
        at(1, p.rtsp, Manner::Rtsp),
        at(2, p.onvif, Manner::Onvif),
        at(3, p.web, Manner::Isapi),
        at(4, p.rtsp, Manner::Says("SSH-2.0-OpenSSH_9.6\r\n")),
        at(5, p.rtsp, Manner::Silent),
        at(6, p.web, Manner::Router),
        at(7, p.web, Manner::Printer),
        at(8, p.rtsp, Manner::Drips),
        at(8, p.web, Manner::Drips),
        at(9, p.rtsp, Manner::BlackHole),
        at(9, p.web, Manner::Onvif),
        at(10, p.rtsp, Manner::HalfClosed),
        at(10, p.web, Manner::HalfClosed),
        at(11, p.rtsp, Manner::Garbage),
        at(11, p.web, Manner::Garbage),
        at(11, p.web2, Manner::EndlessPage),
        at(12, p.rtsp2, Manner::Rtsp),
        at(12, p.web2, Manner::OnvifCloses),
        at(12, p.sdk, Manner::Silent),
        at(12, p.sign, Manner::Silent),
        at(13, p.rtsp, Manner::AirPlay),
        at(14, p.rtsp, Manner::RtspLogin),
        at(15, p.rtsp, Manner::Resets),
        at(15, p.web, Manner::Resets),
        at(16, p.rtsp, Manner::Router),
        at(17, p.sign, Manner::Silent),
        at(18, p.web, Manner::Rtsp),
    ];
    let report = sweep(&p, &order(ip(1), ip(30)));

    let found: Vec<String> = report.finds.iter().map(|f| f.ip.to_string()).collect();
    let expected: Vec<String> = [1, 2, 3, 9, 12, 14].map(|n| ip(n).to_string()).to_vec();
    assert_eq!(found, expected, "{report:#?}");
    assert!(
        !report.cut_short && report.warnings.is_empty(),
        "{report:#?}"
    );
    assert_eq!(report.addresses, 30);

    let one = find(&report, ip(1));
    assert_eq!((one.rtsp_port, one.http_port), (Some(p.rtsp), None));
    let two = find(&report, ip(2));
    assert_eq!(
        two.onvif,
        Some((p.onvif, "/onvif/device_service".to_owned()))
    );
    assert_eq!(
        (two.http_port, two.rtsp_port, two.isapi),
        (Some(p.onvif), None, false)
    );
    let three = find(&report, ip(3));
    assert!(three.isapi && three.onvif.is_none());
    assert_eq!(three.http_port, Some(p.web));
    let vendor = three.vendor.clone().unwrap();
    assert_eq!(
        (vendor.vendor.as_str(), vendor.certainty),
        ("HIKVISION", Certainty::Said)
    );
    let nine = find(&report, ip(9));
    assert_eq!((nine.http_port, nine.rtsp_port), (Some(p.web), None));
    let twelve = find(&report, ip(12));
    assert_eq!(twelve.rtsp_port, Some(p.rtsp2));
    assert_eq!(
        twelve.onvif,
        Some((p.web2, "/onvif/device_service".to_owned()))
    );
    assert_eq!(find(&report, ip(14)).rtsp_port, Some(p.rtsp));

    assert_eq!(other(&report, ip(4), p.rtsp), "an SSH banner");
    assert_eq!(other(&report, ip(5), p.rtsp), "silence");
    assert_eq!(
        other(&report, ip(6), p.web),
        "a web page \"Home Router\" (mini_httpd/1.30)"
    );
    assert_eq!(
        other(&report, ip(7), p.web),
        "a web page \"LaserPrinter 4000\" (PrintSrv)"
    );
    assert_eq!(other(&report, ip(10), p.rtsp), "closes at once");
    assert_eq!(other(&report, ip(11), p.rtsp), "something unknown");
    assert_eq!(other(&report, ip(13), p.rtsp), "an AirPlay receiver");
    assert_eq!(other(&report, ip(15), p.web), "closes at once");
    assert_eq!(other(&report, ip(16), p.rtsp), "a web server");
    assert!(other(&report, ip(17), p.sign).contains("nothing is asked there"));
    assert_eq!(other(&report, ip(18), p.web), "an RTSP server");

    for device in &devices {
        let heard = device.heard();
        let text = String::from_utf8_lossy(&heard.bytes).to_ascii_lowercase();
        assert!(
            !text.contains("authorization") && !text.contains("wsse"),
            "{device:?}: {text}"
        );
        assert!(heard.most_at_once <= 2, "{device:?}");
        assert!(heard.connections <= 5, "{device:?}: {heard:?}");
        assert!(heard.bytes.len() < 4096, "{device:?}");
        // A bounded taste of what never ends: what is read, and what the kernel's buffers hold.
        assert!(
            heard.sent < 4_000_000,
            "{device:?}: {} bytes taken",
            heard.sent
        );
        if device.port == p.sign {
            assert_eq!(heard.bytes, b"", "nothing is sent to {}", device.port);
        }
    }
}

#[test]
fn a_network_of_tarpits_ends_in_time_with_what_was_found() {
    let _alone = alone();
    let ports = Ports::free();
    let ip = |n| Ipv4Addr::new(127, 44, 2, n);
    let mut devices = Vec::new();
    for n in 1..=40 {
        for (at, (port, _)) in ports.kinds().into_iter().enumerate() {
            let manner = if at % 2 == 0 {
                Manner::Silent
            } else {
                Manner::Drips
            };
            devices.push(Device::start(ip(n), port, manner));
        }
    }
    devices.push(Device::start(ip(41), ports.rtsp, Manner::Rtsp));
    let mut short = order(ip(1), ip(41));
    short.timeout = Duration::from_secs(3);
    let report = sweep(&ports, &short);
    assert_eq!(find(&report, ip(41)).rtsp_port, Some(ports.rtsp));
    assert_eq!(report.finds.len(), 1);
    assert!(report.others.len() <= 64);
    // With time enough it ends by itself: what only swallows is left alone.
    let report = sweep(&ports, &order(ip(1), ip(41)));
    assert!(!report.cut_short, "{:?}", report.took);
    assert_eq!(report.finds.len(), 1);
}

#[test]
fn a_cancelled_scanner_stops_at_once_and_for_good() {
    let _alone = alone();
    let ports = Ports::free();
    let ip = |n| Ipv4Addr::new(127, 44, 3, n);
    let silent: Vec<Device> = (1..=5)
        .map(|n| Device::start(ip(n), ports.rtsp, Manner::Silent))
        .collect();
    let mut scanner = Scanner::with_ports(&ports.kinds()).unwrap();
    let cancel = scanner.canceller();
    let order = order(ip(1), ip(5));
    let (report, waited) = std::thread::scope(|scope| {
        let sweep = scope.spawn(|| {
            let report = scanner.sweep(&order);
            (report, Instant::now())
        });
        // Under way: somebody is being talked to.
        while silent.iter().all(|d| d.heard().connections == 0) {
            std::thread::yield_now();
        }
        let rung = Instant::now();
        cancel();
        let (report, ended) = sweep.join().unwrap();
        (report, ended - rung)
    });
    assert!(report.cut_short);
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    let report = scanner.sweep(&order);
    assert!(report.cut_short && report.connects == 0, "{report:?}");
}

/// The sweep of the next test, in a process of its own: the devices need descriptors too.
const POOR: &str = "LSS_TEST_POOR_SWEEP";

#[test]
fn a_lack_of_descriptors_makes_a_sweep_slower_and_says_so() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let ip = |n| Ipv4Addr::new(127, 44, 4, n);
    if let Ok(port) = std::env::var(POOR) {
        let kinds = [(port.parse().unwrap(), PortKind::Rtsp)];
        let mut scanner = Scanner::with_ports(&kinds).unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let used: std::collections::BTreeSet<u64> = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|e| e.unwrap().file_name().to_str().unwrap().parse().ok())
            .collect();
        // Six are left, fewer than the least that a sweep tries.
        let limit = (0..).filter(|fd| !used.contains(fd)).nth(6).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
        let report = scanner.sweep(&order(ip(1), ip(40)));
        assert_eq!(report.finds.len(), 20, "{report:#?}");
        assert!(!report.cut_short);
        let slower = |w: &String| w.starts_with("the sweep is slower: ");
        assert!(report.warnings.iter().any(slower), "{:?}", report.warnings);
        return;
    }
    let _alone = alone();
    let ports = Ports::free();
    let cameras = (1..=20).map(|n| Device::start(ip(n), ports.rtsp, Manner::Rtsp));
    // So many silent connects at once that descriptors run out.
    let holes = (21..=40).map(|n| Device::start(ip(n), ports.rtsp, Manner::BlackHole));
    let _devices: Vec<Device> = cameras.chain(holes).collect();
    let name = "a_lack_of_descriptors_makes_a_sweep_slower_and_says_so";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads", "1"])
        .env(POOR, ports.rtsp.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
fn only_what_was_ordered_is_spoken_to() {
    let _alone = alone();
    let ports = Ports::free();
    let ip = |n| Ipv4Addr::new(127, 44, 5, n);
    let devices: Vec<Device> = (1..=4)
        .map(|n| Device::start(ip(n), ports.rtsp, Manner::Rtsp))
        .collect();
    let mut some = order(ip(2), ip(3));
    some.except = vec![ip(3)];
    // Ranges may overlap.
    some.ranges.push(some.ranges[0]);
    let report = sweep(&ports, &some);
    assert_eq!((report.finds.len(), report.addresses), (1, 1));
    let mut none = order(ip(1), ip(4));
    none.loopback = false;
    let report = sweep(&ports, &none);
    assert_eq!((report.finds.len(), report.connects), (0, 0));
    let nothing = SweepOrder {
        ranges: Vec::new(),
        ..order(ip(1), ip(1))
    };
    let report = sweep(&ports, &nothing);
    assert!(!report.cut_short);
    let connections: Vec<usize> = devices.iter().map(|d| d.heard().connections).collect();
    assert_eq!(connections, [0, 1, 0, 0]);
}

#[test]
fn a_thousand_addresses_that_refuse_take_a_moment() {
    let _alone = alone();
    let ports = Ports::free();
    let ip = |a, n| Ipv4Addr::new(127, 45, a, n);
    let report = sweep(&ports, &order(ip(0, 1), ip(3, 254)));
    assert_eq!((report.addresses, report.connects), (1022, 1022 * 8));
    assert!(!report.cut_short && report.finds.is_empty() && report.others.is_empty());
}

#[test]
fn the_ports_of_cameras() {
    let _alone = alone();
    let ip = Ipv4Addr::new(127, 44, 6, 1);
    // They are fixed and some are privileged; where they can't be had, there is nothing to see.
    let (Some(rtsp), Some(web)) = (
        Device::try_start(ip, 554, Manner::Rtsp),
        Device::try_start(ip, 80, Manner::Isapi),
    ) else {
        device::skipped("the_ports_of_cameras: no right to listen on ports 554 and 80");
        return;
    };
    let report = Scanner::new().unwrap().sweep(&order(ip, ip));
    let found = find(&report, ip);
    assert_eq!(
        (found.rtsp_port, found.http_port),
        (Some(rtsp.port), Some(web.port))
    );
    assert!(found.isapi);
}
