//! The real binary and the cameras around it, on loopback addresses of their own: who is found,
//! who is told of it, and that no stranger is ever told a password.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[allow(dead_code)]
#[path = "discovery_sweep/device.rs"]
mod device;
#[path = "support/mod.rs"]
mod lss_test;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use device::{Device, Manner};
use lss_test::ably::Standin;
use lss_test::daemon::{Daemon, Setup, fake_ffmpeg, wait_for};
use lss_test::digest_server::GateRules;
use lss_test::isapi_camera::{self, IsapiStandIn, Model};
use lss_test::onvif_camera::{self, OnvifModel, OnvifStandIn};
use lss_test::rcs::{Door, Rcs};
use lss_test::rtsp_server::{BASELINE_SDP, RtspServer, Rules};
use lss_test::site::published;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// The ports of cameras are fixed, and some are privileged: where they can't be had, the test says
/// so and counts as skipped.
fn ports_of_cameras(test: &str) -> bool {
    let probe = std::net::TcpListener::bind((Ipv4Addr::new(127, 77, 0, 1), 554))
        .and_then(|_| std::net::TcpListener::bind((Ipv4Addr::new(127, 77, 0, 1), 80)));
    let why = match probe {
        Ok(_) => return true,
        // Another test is asking at this moment: so they can be had.
        Err(why) if why.kind() == std::io::ErrorKind::AddrInUse => return true,
        Err(why) => why,
    };
    let line = format!("SKIPPED {test}: ports 554 and 80 can't be listened on: {why}");
    eprintln!("{line}");
    let required = std::env::var_os("LSS_E2E_REQUIRE").is_some_and(|v| v == "1");
    assert!(!required, "{line}");
    let counted = concat!(env!("CARGO_MANIFEST_DIR"), "/target/e2e/skipped");
    if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(counted) {
        let _ = writeln!(file, "{line}");
    }
    false
}

fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

fn rtsp(ip: Ipv4Addr, paths: &[&str]) -> RtspServer {
    let rules = Rules {
        gate: Some(GateRules::default()),
        path_before_login: true,
        server: None,
        streams: paths
            .iter()
            .map(|path| ((*path).to_owned(), BASELINE_SDP.to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..Rules::default()
    };
    RtspServer::start_on(at(ip, 554), rules).unwrap()
}

struct Hikvision {
    http: IsapiStandIn,
    rtsp: RtspServer,
}

fn hikvision(ip: Ipv4Addr, paths: &[&str]) -> Hikvision {
    let http = isapi_camera::start_on(at(ip, 80), GateRules::default(), Model::default());
    Hikvision {
        http: http.unwrap(),
        rtsp: rtsp(ip, paths),
    }
}

impl Hikvision {
    /// It was told a login, by either protocol.
    fn was_told_a_login(&self) -> bool {
        let http = self.http.log();
        let over_http = http.iter().any(|r| r.header("Authorization").is_some());
        over_http || self.rtsp.seen().with_login.contains(&true)
    }
}

struct Onvif {
    http: OnvifStandIn,
    rtsp: RtspServer,
}

fn onvif(ip: Ipv4Addr) -> Onvif {
    let http = onvif_camera::start_on(at(ip, 80), GateRules::default(), OnvifModel::default());
    Onvif {
        http: http.unwrap(),
        rtsp: rtsp(ip, &["/main"]),
    }
}

impl Onvif {
    fn was_told_a_login(&self) -> bool {
        let http = self.http.log();
        let over_http = http.iter().any(|request| {
            request.header("Authorization").is_some() || request.text().contains("UsernameToken")
        });
        over_http || self.rtsp.seen().with_login.contains(&true)
    }
}

/// `camera.credentials` for these addresses, with the login that the stand-ins take.
fn credentials(ips: &[Ipv4Addr]) -> String {
    let rules = GateRules::default();
    let entries: Vec<String> = ips
        .iter()
        .map(|ip| {
            format!(
                "{{ match: {ip}, username: {}, password: '{}' }}",
                rules.user, rules.password
            )
        })
        .collect();
    format!("credentials: [ {} ]", entries.join(", "))
}

fn entry(list: &Value, ip: Ipv4Addr) -> Option<&Value> {
    let ip = ip.to_string();
    list.as_array()?.iter().find(|camera| camera["ip"] == ip)
}

fn ips(list: &Value) -> Vec<String> {
    let text = |camera: &Value| camera["ip"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(text).collect()
}

fn scan(daemon: &Daemon, body: &Value) -> (u16, Value) {
    daemon.request("POST", "/api/cameras/scan", Some(body))
}

#[test]
fn cameras_are_found_told_of_and_missed_and_decoys_are_not() {
    if !ports_of_cameras("cameras_are_found_told_of_and_missed_and_decoys_are_not") {
        return;
    }
    let ip = |last| Ipv4Addr::new(127, 77, 3, last);
    let hik = hikvision(ip(5), &["/Streaming/Channels/101"]);
    let known = onvif(ip(6));
    let stranger = onvif(ip(7));
    let decoys = [
        Device::start(ip(8), 554, Manner::Says("SSH-2.0-OpenSSH_9.2\r\n")),
        Device::start(ip(9), 554, Manner::Silent),
        Device::start(ip(10), 80, Manner::Router),
        Device::start(ip(11), 80, Manner::Printer),
        Device::start(ip(12), 554, Manner::BlackHole),
    ];
    let (ably, rcs) = (Standin::start(), Rcs::start());
    let setup = Setup {
        standalone: false,
        camera_scan: true,
        camera: format!(
            ", scan_subnet: 127.77.3.0/28, scan_timeout: 4s, rescan_interval: 4s, {}",
            credentials(&[ip(5), ip(6)])
        ),
        more: format!(
            "rcs: {{ base_url: '{}', heartbeat_interval: 500ms }}\nably: {{ api_key: 'app.key:secret', endpoint: '127.0.0.1', port: {}, tls: false, heartbeat_interval: 500ms, connectivity_check_url: 'http://{}/up' }}\n",
            rcs.base_url(),
            ably.address.port(),
            ably.address,
        ),
        ffmpeg: format!("path: '{}'", fake_ffmpeg().display()),
        ..Setup::default()
    };
    let mut daemon = Daemon::start(&setup);

    // The registration waits for the first sweep.
    let registered = rcs.wait_nth(Door::Register, 1);
    assert_eq!(
        ips(&registered.body["cameras"]),
        ["127.77.3.5", "127.77.3.6", "127.77.3.7"],
        "{}",
        registered.body
    );
    let camera = entry(&registered.body["cameras"], ip(6)).unwrap();
    assert_eq!(
        (&camera["port"], &camera["onvif"]),
        (&json!(554), &json!(true))
    );

    // Those whose login is known are asked what they are.
    let list = wait_for("what the cameras told", SOON, || {
        let list = daemon.get("/api/cameras");
        let told =
            |ip| entry(&list, ip).is_some_and(|c| !c["model"].is_null() && !c["rtspUrl"].is_null());
        (told(ip(5)) && told(ip(6))).then_some(list)
    });
    assert_eq!(ips(&list), ["127.77.3.5", "127.77.3.6", "127.77.3.7"]);
    let camera = entry(&list, ip(5)).unwrap();
    assert_eq!(
        (&camera["vendor"], &camera["model"], &camera["port"]),
        (&json!("HIKVISION"), &json!("DS-2DF7276"), &json!(554))
    );
    assert_eq!(
        camera["rtspUrl"],
        "rtsp://127.77.3.5:554/Streaming/Channels/101"
    );
    assert_eq!(
        entry(&list, ip(6)).unwrap()["rtspUrl"],
        "rtsp://127.77.3.6:8554/main?a=1&b=2"
    );
    assert_eq!(
        daemon.get("/api/stream/health")["parts"]["cameras"]["reason"],
        "3 found, 3 online"
    );

    // RCS and the line hear of them, without a password.
    rcs.wait_for("a heartbeat with the model", SOON, |requests| {
        requests.iter().any(|r| {
            r.door == Door::Heartbeat
                && entry(&r.body["cameras"], ip(5))
                    .is_some_and(|c| c["model"] == "DS-2DF7276" && c["online"] == true)
        })
    });
    let status = format!("lss:{}:status", daemon.node_id);
    ably.until("a heartbeat with cameras", |model| {
        published(model, &status, "HEARTBEAT")
            .iter()
            .any(|beat| entry(&beat["cameras"], ip(6)).is_some_and(|c| c["online"] == true))
    });
    ably.until("presence with cameras", |model| {
        model.channels.get("lss:registry").is_some_and(|channel| {
            let members = format!("{:?}", channel.members);
            members.contains("127.77.3.5") && members.contains("DS-2DF7276")
        })
    });

    // One goes away.
    drop(known);
    let list = wait_for("the camera to be missed", SOON, || {
        let list = daemon.get("/api/cameras");
        (entry(&list, ip(6))?["online"] == false).then_some(list)
    });
    assert_eq!(entry(&list, ip(5)).unwrap()["online"], true);
    assert!(entry(&list, ip(6)).unwrap()["lastSeen"].is_string());
    rcs.wait_for("a heartbeat that misses it", SOON, |requests| {
        requests.iter().any(|r| {
            r.door == Door::Heartbeat
                && entry(&r.body["cameras"], ip(6)).is_some_and(|c| c["online"] == false)
        })
    });
    assert!(daemon.log().contains("camera is gone"));

    assert!(daemon.stop().success());
    assert!(hik.was_told_a_login(), "its login is known");
    assert_eq!(hik.rtsp.seen().refused, 0);
    assert_eq!(hik.http.with(|dome| dome.gate.refused), 0);
    assert!(!stranger.was_told_a_login());
    let password = GateRules::default().password;
    for decoy in &decoys {
        let heard = String::from_utf8_lossy(&decoy.heard().bytes).to_lowercase();
        assert!(
            !heard.contains("authorization") && !heard.contains("usernametoken"),
            "{decoy:?}: {heard}"
        );
        assert!(!heard.contains(&password.to_lowercase()), "{decoy:?}");
    }
    for request in rcs.requests() {
        assert!(
            !request.body.to_string().contains("p@ss"),
            "{}",
            request.body
        );
    }
    assert!(!daemon.log().contains("p@ss"));
    ably.assert_clean();
}

#[test]
fn a_scan_on_demand_and_what_can_t_be_scanned() {
    if !ports_of_cameras("a_scan_on_demand_and_what_can_t_be_scanned") {
        return;
    }
    let ip = |last| Ipv4Addr::new(127, 77, 4, last);
    let cameras = (hikvision(ip(5), &["/Streaming/Channels/101"]), onvif(ip(6)));
    let setup = Setup {
        camera: ", scan_subnet: [], scan_timeout: 5s".into(),
        ..Setup::default()
    };
    let daemon = Daemon::start(&setup);
    assert_eq!(
        daemon.get("/api/cameras"),
        json!([]),
        "nothing is swept unasked"
    );
    for (body, code, words) in [
        (json!({}), 20002, "subnet is missing"),
        (json!({ "subnet": "eth0" }), 20003, "eth0"),
        (json!({ "subnet": "fe80::/64" }), 20003, "fe80::/64"),
        (json!({ "subnet": "10.0.0.0/33" }), 20003, "10.0.0.0/33"),
        (json!({ "subnet": 7 }), 20003, "subnet"),
        (json!({ "subnet": "10.0.0.0/8" }), 20005, "10.0.0.0/8"),
        (json!({ "subnet": "8.8.8.0/24" }), 20005, "8.8.8.0/24"),
        (json!({ "subnet": "224.0.0.0/24" }), 20005, "224.0.0.0/24"),
        (
            json!({ "subnet": "169.254.169.254" }),
            20005,
            "169.254.169.254",
        ),
    ] {
        let (status, answer) = scan(&daemon, &body);
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(code)),
            "{body}: {answer}"
        );
        assert!(
            answer["message"].as_str().unwrap().contains(words),
            "{answer}"
        );
    }
    // Two at once, one of them for a part of it.
    std::thread::scope(|scope| {
        let both = ["127.77.4.0/28", "127.77.4.0/29"].map(|subnet| {
            let daemon = &daemon;
            scope.spawn(move || scan(daemon, &json!({ "subnet": subnet })))
        });
        for answer in both {
            let (status, answer) = answer.join().unwrap();
            assert_eq!(status, 200, "{answer}");
            assert_eq!(
                ips(&answer["data"]),
                ["127.77.4.5", "127.77.4.6"],
                "{answer}"
            );
        }
    });
    let list = daemon.get("/api/cameras");
    let camera = entry(&list, ip(5)).unwrap();
    assert_eq!(
        (&camera["cameraId"], &camera["vendor"], &camera["online"]),
        (&Value::Null, &json!("HIKVISION"), &json!(true))
    );
    // Nobody knows a login.
    assert!(!cameras.0.was_told_a_login() && !cameras.1.was_told_a_login());

    // A command names one; then it has its name in the list, and its login is learnt from.
    let rules = GateRules::default();
    let (status, answer) = daemon.request(
        "POST",
        "/api/cameras/yard/ptz",
        Some(&json!({ "ip": "127.77.4.5", "username": rules.user, "password": rules.password, "action": "STOP" })),
    );
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"]["protocol"], "ISAPI", "as discovery saw");
    let (status, answer) = scan(&daemon, &json!({ "subnet": "127.77.4.5" }));
    assert_eq!(status, 200, "{answer}");
    wait_for("what it told", SOON, || {
        let list = daemon.get("/api/cameras");
        assert_eq!(ips(&list), ["127.77.4.5", "127.77.4.6"]);
        let camera = entry(&list, ip(5))?;
        (camera["cameraId"] == "yard" && camera["model"] == "DS-2DF7276").then_some(())
    });
    assert_eq!(cameras.0.http.with(|dome| dome.gate.refused), 0);
    assert!(!cameras.1.was_told_a_login());
}

#[test]
fn a_stream_is_looked_for_where_it_usually_is() {
    if !ports_of_cameras("a_stream_is_looked_for_where_it_usually_is") {
        return;
    }
    let ip = |last| Ipv4Addr::new(127, 77, 5, last);
    // An old one, and one that has none of the usual streams.
    let old = hikvision(ip(5), &["/h264/ch1/main/av_stream"]);
    let none = hikvision(ip(6), &["/elsewhere"]);
    let setup = Setup {
        camera: ", scan_timeout: 5s".into(),
        ..Setup::default()
    };
    let daemon = Daemon::start(&setup);
    let (status, answer) = scan(&daemon, &json!({ "subnet": "127.77.5.0/28" }));
    assert_eq!(status, 200, "{answer}");
    wait_for("the streams to be asked for", SOON, || {
        let list = daemon.get("/api/cameras");
        let url = |ip| entry(&list, ip).map(|c| c["rtspUrl"].clone());
        (url(ip(5))? == "rtsp://127.77.5.5:554/h264/ch1/main/av_stream" && url(ip(6))?.is_null())
            .then_some(())
    });
    assert!(!old.was_told_a_login() && !none.was_told_a_login());
    assert_eq!(old.rtsp.seen().violations, [] as [&str; 0]);
}

#[test]
fn a_sweep_does_not_hold_up_the_end() {
    let setup = Setup {
        camera: ", scan_timeout: 60s".into(),
        ..Setup::default()
    };
    let mut daemon = Daemon::start(&setup);
    std::thread::scope(|scope| {
        let addr = daemon.addr;
        // Half a million ports.
        let body = r#"{"subnet":"127.78.0.0/16"}"#;
        let asked = scope.spawn(move || {
            let raw = format!(
                "POST /api/cameras/scan HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            lss_test::daemon::raw_request(addr, raw.as_bytes())
        });
        wait_for("the sweep to begin", SOON, || {
            daemon.log().contains("a sweep begins").then_some(())
        });
        // REST answers meanwhile.
        let began = Instant::now();
        assert_eq!(daemon.get("/api/cameras"), json!([]));
        assert!(began.elapsed() < SOON);
        let began = Instant::now();
        assert!(daemon.stop().success());
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let (status, answer) = asked.join().unwrap();
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("50003"), "{answer}");
    });
    assert!(!daemon.log().contains("panicked"));
}

#[test]
fn a_reload_switches_sweeps_on() {
    if !ports_of_cameras("a_reload_switches_sweeps_on") {
        return;
    }
    let _camera = hikvision(Ipv4Addr::new(127, 77, 9, 5), &["/Streaming/Channels/101"]);
    let setup = Setup {
        camera: ", scan_subnet: 127.77.9.0/28, scan_timeout: 5s, rescan_interval: 10s".into(),
        ..Setup::default()
    };
    let mut daemon = Daemon::start(&setup);
    assert_eq!(daemon.get("/api/cameras"), json!([]));
    let text = std::fs::read_to_string(&daemon.config).unwrap();
    let on = text.replace("scan_enabled: false", "scan_enabled: true");
    std::fs::write(&daemon.config, on).unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for("the camera", SOON, || {
        (ips(&daemon.get("/api/cameras")) == ["127.77.9.5"]).then_some(())
    });
    assert!(daemon.stop().success());
}

#[test]
fn whether_a_camera_speaks_rtsp_is_told_by_a_probe() {
    if !ports_of_cameras("whether_a_camera_speaks_rtsp_is_told_by_a_probe") {
        return;
    }
    let ip = |last| Ipv4Addr::new(127, 77, 6, last);
    let with = hikvision(ip(5), &["/Streaming/Channels/101"]);
    let http = isapi_camera::start_on(at(ip(6), 80), GateRules::default(), Model::default());
    let without = http.unwrap();
    let daemon = Daemon::start(&Setup::default());
    let rules = GateRules::default();
    for (ip, speaks) in [(ip(5), true), (ip(6), false)] {
        let body = json!({
            "ip": ip.to_string(), "username": rules.user, "password": rules.password,
            "vendorType": "HIKVISION",
        });
        let (status, answer) = daemon.request("POST", "/api/cameras/probe", Some(&body));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            answer["data"]["protocolSupport"]["rtsp"], speaks,
            "{answer}"
        );
    }
    assert_eq!(with.rtsp.seen().with_login, [false]);
    assert!(!without.log().is_empty());
}

struct Printed {
    code: Option<i32>,
    out: String,
    err: String,
}

fn lss_scan(args: &[&str], config: &str) -> Printed {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lss.yaml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lss"))
        .arg("scan")
        .args(args)
        .arg("--config")
        .arg(&file)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Printed {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[test]
fn lss_scan_prints_what_is_there_and_tells_no_password() {
    if !ports_of_cameras("lss_scan_prints_what_is_there_and_tells_no_password") {
        return;
    }
    let ip = |last| Ipv4Addr::new(127, 77, 7, last);
    let hik = hikvision(ip(5), &["/Streaming/Channels/101"]);
    let other = onvif(ip(6));
    let _ssh = Device::start(ip(7), 554, Manner::Says("SSH-2.0-OpenSSH_9.2\r\n"));
    let config = format!(
        "camera: {{ allow_loopback: true, scan_subnet: 127.77.7.0/28, {} }}\n",
        credentials(&[ip(5), ip(6)])
    );
    let table = lss_scan(&[], &config);
    assert_eq!(table.code, Some(0), "{}", table.err);
    for words in [
        "ADDRESS",
        "127.77.7.5  554   HIKVISION",
        "rtsp://127.77.7.5:554/Streaming/Channels/101",
        "127.77.7.6  554 ",
        "2 cameras: looked at 16 addresses of 127.77.7.0/28",
        "127.77.7.7:554: ",
    ] {
        assert!(table.out.contains(words), "{words}\n{}", table.out);
    }
    let json = lss_scan(&["--json", "--subnet", "127.77.7.4/30"], &config);
    assert_eq!(json.code, Some(0), "{}", json.err);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(ips(&json["cameras"]), ["127.77.7.5", "127.77.7.6"]);
    assert_eq!(json["cameras"][0]["vendor"], "HIKVISION");
    assert_eq!(json["networks"], json!(["127.77.7.4/30"]));
    assert!(!hik.was_told_a_login() && !other.was_told_a_login());
}

#[test]
fn lss_scan_says_plainly_what_is_wrong() {
    let allowed = "camera: { allow_loopback: true }\n";
    let nothing = lss_scan(&["--subnet", "127.77.8.0/29"], allowed);
    assert_eq!(nothing.code, Some(0), "{}", nothing.err);
    assert!(
        nothing
            .out
            .starts_with("No camera found: looked at 8 addresses of 127.77.8.0/29"),
        "{}",
        nothing.out
    );
    for (args, config, words) in [
        (&["--subnet", "8.8.8.0/24"][..], allowed, "8.8.8.0/24"),
        (&["--subnet", "fe80::/64"], allowed, "fe80::/64"),
        (&["--subnet", "10.0.0.0/8"], allowed, "10.0.0.0/8"),
        (&["--subnet", "127.0.0.0/24"], "", "allow_loopback"),
        (
            &[],
            "camera: { scan_enabled: false, scan_subnet: [] }\n",
            "--subnet",
        ),
        (
            &[],
            "camera: { scan_subnet: 8.8.8.0/24 }\n",
            "camera.scan_subnet",
        ),
        (&["127.0.0.1"], allowed, "unexpected argument"),
    ] {
        let got = lss_scan(args, config);
        assert_eq!(
            (got.code, got.out.as_str()),
            (Some(2), ""),
            "{args:?} {config}"
        );
        assert!(got.err.contains(words), "{args:?}: {}", got.err);
    }
}
