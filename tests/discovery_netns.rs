//! The scanner on networks of its own: dead ones, silent ones, and one with a camera that answers
//! WS-Discovery by somebody else's implementation. Where the machine allows no network namespaces
//! the tests say SKIPPED.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "discovery_sweep/device.rs"]
#[allow(dead_code)]
mod device;
#[path = "discovery_netns/net.rs"]
mod net;

use std::io::{BufRead as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use lss::domain::discovery::{AddressRange, CameraScannerGateway, PORTS, SweepOrder, SweepReport};
use lss::infrastructure::discovery::Scanner;
use net::Wire;

fn order(first: [u8; 4], last: [u8; 4], own: [u8; 4]) -> SweepOrder {
    SweepOrder {
        ranges: vec![AddressRange {
            first: first.into(),
            last: last.into(),
        }],
        except: vec![own.into()],
        multicast: false,
        loopback: false,
        // How long a sweep takes is the benchmark's to say (`cargo bench --bench sweep`).
        timeout: Duration::from_secs(60),
    }
}

fn sweep(order: &SweepOrder) -> SweepReport {
    let report = Scanner::new().unwrap().sweep(order);
    assert!(!report.cut_short, "{report:?}");
    assert!(report.warnings.is_empty(), "{report:?}");
    report
}

/// How often the kernel's neighbour table was full, on the whole machine; `None` where it does not
/// tell, as inside of a namespace.
fn neighbour_tables_full() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/net/stat/arp_cache").ok()?;
    let mut lines = text.lines();
    let heads = lines.next()?;
    let column = heads.split_whitespace().position(|n| n == "table_fulls")?;
    let count = |line: &str| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok();
    Some(lines.filter_map(count).sum())
}

/// The devices of [`far_side`]: `ip port manner`, one after the other.
const FAR: &str = "LSS_TEST_FAR_SIDE";

/// No test by itself: the devices on the far side, in a process there.
#[test]
fn far_side() {
    let Ok(all) = std::env::var(FAR) else { return };
    device::serve(&all);
}

fn devices(wire: &Wire, devices: &[String]) -> net::Part {
    let me = std::env::current_exe().unwrap();
    let mut command = wire.on_far_side(&[
        me.as_os_str(),
        "--exact".as_ref(),
        "far_side".as_ref(),
        "--nocapture".as_ref(),
    ]);
    command.env(FAR, devices.join(";"));
    net::start(command).0
}

#[test]
fn a_dead_network_of_254_costs_one_knock_each() {
    if !net::enter("a_dead_network_of_254_costs_one_knock_each") {
        return;
    }
    let _wire = Wire::lay("10.77.0.1/24", &["10.77.0.2/24"]);
    let report = sweep(&order([10, 77, 0, 3], [10, 77, 0, 254], [10, 77, 0, 1]));
    assert_eq!(report.addresses, 252);
    // Nobody has a neighbour: more than one knock each would be to nobody.
    assert_eq!(report.connects, 252);
}

#[test]
fn a_dead_network_of_1022_leaves_the_neighbour_table_room() {
    let name = "a_dead_network_of_1022_leaves_the_neighbour_table_room";
    let full = neighbour_tables_full();
    if !net::enter(name) {
        let now = neighbour_tables_full();
        assert_eq!(now, full, "the neighbour table overflowed");
        return;
    }
    let wire = Wire::lay("10.77.0.1/22", &["10.77.0.2/22", "10.77.3.200/22"]);
    let _devices = devices(&wire, &["10.77.3.200 554 rtsp".to_owned()]);
    // Twice: the first leaves the table full of failed entries.
    for _ in 0..2 {
        let report = sweep(&order([10, 77, 0, 1], [10, 77, 3, 254], [10, 77, 0, 1]));
        assert_eq!(report.addresses, 1021);
        // The camera among the last is found, with its hardware address.
        let [camera] = report.finds.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!(camera.ip, IpAddr::from([10, 77, 3, 200]));
        assert_eq!(camera.mac.as_deref(), Some(wire.mac.as_str()));
    }
}

#[test]
fn silence_is_tried_on_every_port() {
    if !net::enter("silence_is_tried_on_every_port") {
        return;
    }
    let wire = Wire::lay("10.77.0.1/22", &["10.77.0.2/22"]);
    let all = |a, b| (a..=b).map(|n| Ipv4Addr::new(10, 77, 1, n));
    // Neighbours that are known and mute.
    wire.silent_neighbours(all(1, 254));
    let report = sweep(&order([10, 77, 1, 1], [10, 77, 1, 254], [10, 77, 0, 1]));
    assert!(report.connects >= 254 * 8, "{report:?}");
    // Behind a router that says nothing either.
    net::ip("route add 10.78.0.0/22 via 10.77.0.2");
    let report = sweep(&order([10, 78, 0, 1], [10, 78, 0, 254], [10, 77, 0, 1]));
    assert!(report.connects >= 254 * 8, "{report:?}");
    let report = sweep(&order([10, 78, 0, 1], [10, 78, 3, 254], [10, 77, 0, 1]));
    assert!(report.connects >= 1022 * 8, "{report:?}");
}

#[test]
fn a_camera_whose_firewall_opens_one_port_is_found_among_the_dead() {
    if !net::enter("a_camera_whose_firewall_opens_one_port_is_found_among_the_dead") {
        return;
    }
    let wire = Wire::lay(
        "10.77.0.1/24",
        &["10.77.0.2/24", "10.77.0.60/24", "10.77.0.61/24"],
    );
    let mut all = Vec::new();
    for port in PORTS {
        let manner = if port == 80 { "onvif" } else { "hole" };
        all.push(format!("10.77.0.60 {port} {manner}"));
        let manner = if port == 8554 { "rtsp" } else { "hole" };
        all.push(format!("10.77.0.61 {port} {manner}"));
    }
    let _devices = devices(&wire, &all);
    let report = sweep(&order([10, 77, 0, 3], [10, 77, 0, 254], [10, 77, 0, 1]));
    let [first, second] = report.finds.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(
        (first.ip, first.http_port),
        (IpAddr::from([10, 77, 0, 60]), Some(80))
    );
    assert_eq!(
        (second.ip, second.rtsp_port),
        (IpAddr::from([10, 77, 0, 61]), Some(8554))
    );
}

#[test]
fn without_a_way_for_multicast_the_sweep_says_so_and_goes_on() {
    if !net::enter("without_a_way_for_multicast_the_sweep_says_so_and_goes_on") {
        return;
    }
    // Loopback alone: there is nobody to ask.
    net::ip("link set lo up");
    let mut order = order([10, 77, 0, 3], [10, 77, 0, 4], [10, 77, 0, 1]);
    order.multicast = true;
    let report = sweep(&order);
    assert!(report.finds.is_empty(), "{report:?}");
    // An interface that is up, and nobody on it.
    let _wire = Wire::lay("10.77.0.1/24", &["10.77.0.2/24"]);
    sweep(&order);
}

/// The Python of the end-to-end tests, if it has the package.
fn python() -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/e2e/env");
    let text =
        std::fs::read_to_string(path).map_err(|_| "tests/e2e/setup has not been run".to_owned())?;
    let python = text
        .lines()
        .find_map(|line| line.strip_prefix("python="))
        .filter(|path| !path.is_empty())
        .ok_or("no python (run tests/e2e/setup, which says why)")?;
    let has = std::process::Command::new(python)
        .args(["-c", "import wsdiscovery"])
        .output()
        .is_ok_and(|done| done.status.success());
    if has {
        Ok(python.to_owned())
    } else {
        Err("no WSDiscovery in target/e2e/venv (run tests/e2e/setup)".to_owned())
    }
}

#[test]
fn a_camera_is_found_by_ws_discovery_alone() {
    let name = "a_camera_is_found_by_ws_discovery_alone";
    let python = match python() {
        Ok(python) => python,
        Err(why) => return net::skip(name, &why),
    };
    if !net::enter(name) {
        return;
    }
    let wire = Wire::lay("10.77.0.1/24", &["10.77.0.9/24"]);
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/lab/wsd_camera.py");
    let lab = lab.to_str().unwrap();
    let command = wire.on_far_side(&[
        &python,
        lab,
        "10.77.0.9",
        // No port of the sweep's, and no path that could be guessed.
        "8081",
        "/onvif/devices",
        "onvif://www.onvif.org/name/Gate%20camera",
        "onvif://www.onvif.org/hardware/X-100",
        "onvif://www.onvif.org/MAC/bc-ad-28-00-11-22",
    ]);
    let (responder, lines) = net::start(command);
    // What goes over the wire is counted: beyond the namespace there is nothing.
    let nothing = SweepOrder {
        ranges: Vec::new(),
        multicast: true,
        ..order([10, 77, 0, 1], [10, 77, 0, 1], [10, 77, 0, 1])
    };
    let report = sweep(&nothing);
    let [camera] = report.finds.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(camera.ip, IpAddr::from([10, 77, 0, 9]));
    assert_eq!(camera.onvif, Some((8081, "/onvif/devices".to_owned())));
    assert_eq!((camera.http_port, camera.rtsp_port), (Some(8081), None));
    assert_eq!(camera.name.as_deref(), Some("Gate camera"));
    assert_eq!(camera.mac.as_deref(), Some("bc:ad:28:00:11:22"));
    assert!(
        camera.endpoint.as_deref().is_some_and(|e| e.len() == 36),
        "{camera:?}"
    );
    // One address: the one that answered. The one that it named is nobody's business.
    assert_eq!(report.addresses, 1);
    drop(responder);
    let asked: Vec<String> = lines.lines().map_while(Result::ok).collect();
    assert_eq!(
        asked,
        ["POST /onvif/devices HTTP/1.1 "],
        "one request is enough"
    );
}

#[test]
fn lies_by_datagram_lead_nowhere() {
    if !net::enter("lies_by_datagram_lead_nowhere") {
        return;
    }
    // Both ends on our side of the wire would be our own; so the liar is on the far side, and
    // answers whoever probes.
    let wire = Wire::lay("10.77.0.1/24", &["10.77.0.9/24", "10.77.0.10/24"]);
    let me = std::env::current_exe().unwrap();
    let mut command = wire.on_far_side(&[
        me.as_os_str(),
        "--exact".as_ref(),
        "liar".as_ref(),
        "--nocapture".as_ref(),
    ]);
    command.env(FAR, "10.77.0.9");
    let (_liar, _lines) = net::start(command);
    let nothing = SweepOrder {
        ranges: Vec::new(),
        multicast: true,
        ..order([10, 77, 0, 1], [10, 77, 0, 1], [10, 77, 0, 1])
    };
    let report = sweep(&nothing);
    assert!(report.finds.is_empty(), "{report:?}");
    assert_eq!(report.addresses, 1, "only the one that spoke");
    assert!(
        report
            .others
            .iter()
            .any(|o| o.starts_with("10.77.0.9:3702: says that it is a camera")),
        "{report:?}"
    );
}

/// No test by itself: answers every probe with lies, on the far side.
#[test]
fn liar() {
    let Ok(ip) = std::env::var(FAR) else { return };
    let ip: Ipv4Addr = ip.parse().unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 3702)).unwrap();
    socket
        .join_multicast_v4(&Ipv4Addr::new(239, 255, 255, 250), &ip)
        .unwrap();
    println!("\nready");
    std::io::stdout().flush().unwrap();
    let lie = |xaddrs: &str| {
        format!(
            "<E><Body><ProbeMatches><ProbeMatch><Types>dn:NetworkVideoTransmitter</Types><Scopes>onvif://www.onvif.org/name/x</Scopes><XAddrs>{xaddrs}</XAddrs></ProbeMatch></ProbeMatches></Body></E>"
        )
    };
    let huge = vec![b'<'; 60_000];
    let mut buffer = [0; 4096];
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let (_, to) = socket.recv_from(&mut buffer).unwrap();
        // Another's address, ours, the loopback's, ports that nobody has, noise, huge ones, many.
        for xaddrs in [
            "http://10.77.0.10:80/onvif/device_service",
            "http://10.77.0.1/x",
            "http://127.0.0.1:22/x",
            "http://10.77.0.9:9/%0d%0aX",
            "x",
        ] {
            let _ = socket.send_to(lie(xaddrs).as_bytes(), to);
        }
        let _ = socket.send_to(&huge, to);
        for _ in 0..500 {
            let _ = socket.send_to(b"<Envelope", to);
        }
    }
}
