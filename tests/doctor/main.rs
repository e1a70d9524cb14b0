//! `lss doctor` between stand-ins: a good site, and each thing broken in turn.

// Helpers fail their test by panicking; the lints know only the test functions themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

mod stand_ins;
#[path = "../support/mod.rs"]
mod support;

use stand_ins::{PASSWORD, Site, Stun, TOKEN, Web, answer, rcs, run};
use support::certs::TestCa;
use support::daemon::{Daemon, Setup};
use support::digest_server::GateRules;
use support::isapi_camera::{self, Model};
use support::rtsp_server::{Quirk, RtspServer, Rules};

const YEAR: i64 = 365 * 86_400;

#[test]
fn a_good_site_is_0_and_nothing_was_changed_by_looking() {
    let site = Site::new();
    let seen = site.doctor(&[]);
    assert_eq!(seen.code, 0, "{}", seen.out);
    for line in [
        "pass  config: ",
        "pass  node: ",
        "pass  rest: ",
        "pass  ffmpeg: FFmpeg 9.0.2-stand-in",
        "pass  clock: right within 5 s (by Ably)",
        "pass  internet 127.0.0.1: ",
        "pass  tcp 127.0.0.1:",
        "pass  rcs http://127.0.0.1:",
        "pass  ably 127.0.0.1: ",
        "pass  udp 127.0.0.1:",
        "pass  camera 127.0.0.1:",
        "pass  camera.stream 127.0.0.1:",
    ] {
        seen.line(line);
    }
    assert!(seen.out.contains("DS-2DF7276") && seen.out.contains("takes the login"));
    assert!(seen.out.contains("goes out as it is"), "{}", seen.out);
    assert!(seen.out.contains("a keyframe every 2.0 s"), "{}", seen.out);
    assert!(seen.line("pass  rcs").0.contains("HTTP 405"));
    // RCS was only asked, Ably only connected to: nothing registered, attached or entered.
    for head in site.rcs.heads() {
        assert!(
            head.starts_with("GET /lss/heartbeat ") || head.starts_with("HEAD / "),
            "{head}"
        );
    }
    site.ably.model(|model| assert!(model.channels.is_empty()));
    site.ably.assert_clean();
    assert_eq!(site.camera.with(|dome| dome.gate.refused), 0);
    let rtsp = site.rtsp.seen();
    assert_eq!((rtsp.refused, rtsp.violations), (0, Vec::<String>::new()));
}

#[test]
fn json_has_the_same_checks_for_programs() {
    let site = Site::new();
    let seen = site.doctor(&["--json"]);
    assert_eq!(seen.code, 0, "{}", seen.out);
    let report = seen.json();
    assert_eq!(
        (&report["good"], &report["fail"]),
        (&json!(true), &json!(0))
    );
    let checks = report["checks"].as_array().unwrap();
    let of = |name: &str| -> &Value { checks.iter().find(|c| c["check"] == name).unwrap() };
    assert_eq!(of("ffmpeg")["data"]["whip"], true);
    assert_eq!(of("clock")["data"]["by"], "Ably");
    assert_eq!(of("camera")["subject"], site.camera.addr.to_string());
    assert_eq!(of("camera.stream")["data"]["unchanged"], true);
    assert_eq!(of("udp")["data"]["publicIp"], "127.0.0.1");
    for check in checks {
        let status = check["status"].as_str().unwrap();
        assert!(["pass", "warn", "fail"].contains(&status));
        assert!(status == "pass" || check["advice"].is_string(), "{check}");
        assert!(check["words"].is_string() && check.get("subject").is_some());
    }
}

/// A program that does what `script` says.
fn program(dir: &tempfile::TempDir, script: &str) -> PathBuf {
    let path = dir.path().join("ffmpeg");
    // By another process: a descriptor of ours, inherited by a child just then, would make it busy.
    let written = Command::new("sh")
        .args([
            "-c",
            r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#,
            "-",
            script,
        ])
        .arg(&path)
        .status()
        .unwrap();
    assert!(written.success());
    path
}

#[test]
fn ffmpeg_missing_without_whip_and_old() {
    let mut site = Site::new();
    site.ffmpeg = "/nowhere/ffmpeg".into();
    let seen = site.doctor(&[]);
    seen.fails("ffmpeg", "/nowhere/ffmpeg", "install FFmpeg 9.0");
    seen.only_fails(&["ffmpeg"]);
    site.ffmpeg = program(
        &site.dir,
        "case \" $* \" in *-version*) echo 'ffmpeg version 5.1.6 x';; *) echo \"Unknown format 'whip'.\";; esac",
    );
    site.doctor(&[]).fails("ffmpeg", "5.1.6", "whip");
    site.ffmpeg = program(
        &site.dir,
        "case \" $* \" in *-version*) echo 'ffmpeg version 8.1.2 x';; *muxer*) echo 'Muxer whip [x]:'; echo '  -whip_flags <flags> E';; *) echo ' V..... libx264 x'; echo ' V..... h264_v4l2m2m x'; echo ' A..... libopus x';; esac",
    );
    let seen = site.doctor(&[]);
    assert_eq!(seen.code, 0, "{}", seen.out);
    assert!(
        seen.line("warn  ffmpeg: FFmpeg 8.1.2")
            .0
            .contains("certificate")
    );
    assert!(
        seen.line("pass  ffmpeg.encoders")
            .0
            .contains("h264_v4l2m2m")
    );
}

#[test]
fn a_clock_that_is_a_year_off() {
    let mut site = Site::new();
    site.rcs = Web::start(None, rcs(TOKEN, YEAR));
    site.ably_clock(YEAR);
    let seen = site.doctor(&[]);
    // The year's last second may fall on either side.
    seen.fails("clock", " days behind", "timedatectl");
    assert!(seen.line("fail  clock").0.contains("ONVIF"));
    seen.only_fails(&["clock"]);
    site.ably_clock(-20);
    site.rcs = Web::start(None, rcs(TOKEN, -20));
    let seen = site.doctor(&[]);
    assert_eq!(seen.code, 0, "{}", seen.out);
    assert!(seen.line("warn  clock: ").0.contains(" s ahead (by Ably)"));
    site.ably_clock(0);
    site.rcs = Web::start(None, rcs(TOKEN, YEAR));
    let seen = site.doctor(&[]);
    seen.line("warn  clock: others disagree");
}

#[test]
fn a_captive_portal_stands_in_for_everybody() {
    let page = |_: &str| Some(answer(200, "text/html", "<html>Welcome! Log in.</html>", 0));
    let mut site = Site::new();
    site.rcs = Web::start(None, page);
    site.ably.http(|http| {
        http.connectivity = "<html>Welcome! Log in: yes or no?</html>".repeat(9);
        http.upgrade_status.push_back(200);
    });
    let seen = site.doctor(&[]);
    seen.fails("rcs", "is not RCS", "log");
    seen.fails("internet", "a page instead", "does it ask for a login?");
    seen.fails("ably", "is not Ably", "does it ask for a login?");
    let away = "HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    site.rcs = Web::start(None, move |_| Some(away.to_owned()));
    site.doctor(&[]).fails("rcs", "sends us elsewhere", "login");
}

#[test]
fn certificates_of_strangers_and_for_other_names() {
    let mut site = Site::new();
    let ca = TestCa::new("Gate CA");
    let file = site.dir.path().join("ca.pem");
    ca.write(&file);
    site.rcs_scheme = "https";
    site.rcs = Web::start(Some(ca.server(&["127.0.0.1"])), rcs(TOKEN, 0));
    let seen = site.doctor(&[]);
    seen.fails("tls", "“Gate CA”: a proxy that reads along", "ca_file");
    seen.fails("rcs", "not signed by an authority", "tls lines");
    seen.only_fails(&["tls", "rcs"]);
    // The one who reads along never sees the token.
    assert!(site.rcs.heads().iter().all(|head| !head.contains(TOKEN)));
    site.more_rcs = format!(", ca_file: '{}'", file.display());
    let seen = site.doctor(&[]);
    assert_eq!(seen.code, 0, "{}", seen.out);
    seen.line("pass  tls 127.0.0.1:");
    site.rcs = Web::start(Some(ca.server(&["login.hotel.test"])), rcs(TOKEN, 0));
    site.doctor(&[])
        .fails("tls", "another server, or a login page", "login");
    // What is no TLS at all.
    let plain = RtspServer::start(Rules {
        quirk: Quirk::Greets(b"HTTP/1.0 400 Bad Request\r\n\r\n".to_vec()),
        ..Rules::default()
    });
    site.rcs.addr = plain.addr;
    site.doctor(&[])
        .fails("tls", "does not speak TLS", "the port in the configuration");
}

#[test]
fn a_token_and_a_key_that_are_refused() {
    let mut site = Site::new();
    site.token = "canary-wrong-token".to_owned();
    site.ably_key = "app.key:canary-wrong".to_owned();
    let seen = site.doctor(&[]);
    seen.fails("rcs", "RCS refuses rcs.token: HTTP 401", "rcs.token");
    seen.fails("ably", "refuses our login", "ABLY_API_KEY");
    assert!(seen.line("fail  ably").0.contains("40101"));
    seen.only_fails(&["rcs", "ably"]);
}

#[test]
fn a_fallback_host_of_ably_stands_in() {
    let mut site = Site::new();
    site.ably_endpoint = "127.0.0.2, fallback_hosts: [127.0.0.3, 127.0.0.1]".to_owned();
    let seen = site.doctor(&[]);
    let (line, advice) = seen.line("warn  ably 127.0.0.1: connected with our login");
    assert!(line.contains("127.0.0.2 is not reached"), "{line}");
    assert!(advice.contains("tcp"), "{advice}");
    seen.only_fails(&["tcp"]);
}

#[test]
fn peers_that_are_not_there_or_in_trouble() {
    let mut site = Site::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    site.rcs = Web::start(None, |_| Some(answer(503, "text/html", "busy", 0)));
    site.doctor(&[])
        .fails("rcs", "in trouble itself: HTTP 503", "whoever runs RCS");
    site.rcs.addr = gone.local_addr().unwrap();
    drop(gone);
    let seen = site.doctor(&[]);
    seen.fails("tcp", "is closed", "firewall");
    seen.fails("rcs", "nothing listens", "rcs.base_url");
    seen.only_fails(&["tcp", "rcs"]);
}

#[test]
fn udp_that_is_blocked() {
    let mut site = Site::new();
    site.stun = Stun::start(false);
    let seen = site.doctor(&[]);
    seen.fails("udp", "no answer by UDP", "outgoing UDP");
    seen.only_fails(&["udp"]);
    // Refused by the machine itself: nobody is on that port.
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let seen = run(
        &[
            "--standalone",
            "--config",
            "/dev/null",
            "--stun",
            &port.to_string(),
        ],
        &[("FFMPEG_PATH", site.ffmpeg.to_str().unwrap())],
    );
    seen.fails("udp", "nobody listens there", "ip route");
}

#[test]
fn standalone_asks_nobody_outside() {
    let site = Site::new();
    let path = site.ffmpeg.to_str().unwrap();
    let seen = run(
        &["--standalone", "--config", "/dev/null"],
        &[("FFMPEG_PATH", path), ("LSS_MACHINE_ID", "doctor-alone")],
    );
    for absent in ["rcs", "ably", "dns", "internet"] {
        assert!(!seen.out.contains(&format!("  {absent}")), "{}", seen.out);
    }
    assert!(seen.line("pass  udp").0.contains("not checked"));
}

#[test]
fn a_wrong_camera_password_is_tried_exactly_once() {
    let mut site = Site::new();
    site.password = "canary-wrong".to_owned();
    let seen = site.doctor(&[]);
    seen.fails("camera", "refuses the login", "camera.credentials");
    seen.only_fails(&["camera"]);
    assert_eq!(site.camera.with(|dome| dome.gate.refused), 1);
    let rtsp = site.rtsp.seen();
    assert_eq!((rtsp.connections, rtsp.refused), (0, 0), "not by RTSP too");
}

#[test]
fn a_stream_that_refuses_the_account_or_is_not_there() {
    let mut site = Site::new();
    let other = GateRules {
        password: "another".to_owned(),
        ..GateRules::default()
    };
    let gate = GateRules {
        password: PASSWORD.to_owned(),
        ..GateRules::default()
    };
    let camera = |rtsp: &RtspServer| {
        let model = Model {
            stream: Some((rtsp.addr.port(), 250)),
            rtsp_port: rtsp.addr.port(),
            ..Model::default()
        };
        isapi_camera::start(gate.clone(), model)
    };
    site.rtsp = RtspServer::start(Rules {
        gate: Some(other),
        ..Rules::default()
    });
    site.camera = camera(&site.rtsp);
    let seen = site.doctor(&[]);
    seen.fails("camera.stream", "no stream at", "right to live view");
    assert_eq!(site.rtsp.seen().refused, 1);
    site.rtsp = RtspServer::start(Rules::default());
    site.camera = camera(&site.rtsp);
    let seen = site.doctor(&[]);
    seen.fails("camera.stream", "no stream", "manual");
}

#[test]
fn a_camera_that_is_off_and_one_without_a_login() {
    let site = Site::new();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let named = gone.to_string();
    site.doctor(&["--camera", &named]).fails(
        &format!("camera {named}"),
        "can't be reached",
        "switched on",
    );
    // Nothing in this configuration knows a login for it.
    let camera = site.camera.addr.to_string();
    let file = site.dir.path().join("alone.yaml");
    std::fs::write(
        &file,
        "camera: { scan_enabled: false, allow_loopback: true }",
    )
    .unwrap();
    let args = [
        "--standalone",
        "--config",
        file.to_str().unwrap(),
        "--camera",
        &camera,
    ];
    let seen = run(&args, &[("FFMPEG_PATH", site.ffmpeg.to_str().unwrap())]);
    seen.fails("camera", "none is configured", "camera.credentials");
}

#[test]
fn a_daemon_that_runs_is_no_failure_and_its_cameras_are_looked_at() {
    let site = Site::new();
    let login =
        format!(", credentials: [ {{ match: 127.0.0.1, username: admin, password: {PASSWORD} }} ]");
    let daemon = Daemon::start(&Setup {
        camera: login,
        ..Setup::default()
    });
    let at = site.camera.addr;
    let asked = json!({ "ip": at.ip().to_string(), "port": at.port() });
    let (status, told) = daemon.request("POST", "/api/cameras/probe", Some(&asked));
    assert_eq!(status, 200, "{told}");
    std::fs::set_permissions(&daemon.config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let seen = run(
        &["--config", daemon.config.to_str().unwrap(), "--stun", "off"],
        &[],
    );
    assert_eq!(seen.code, 0, "{}", seen.out);
    assert!(seen.line("pass  node").0.contains("runs and says UP"));
    assert!(
        seen.line("pass  rest")
            .0
            .contains("the running daemon listens")
    );
    seen.line(&format!("pass  camera {at}"));
    assert_eq!(
        daemon.get("/api/stream/health")["status"],
        "UP",
        "not disturbed"
    );
}

#[test]
fn the_port_of_another_program() {
    let mut site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    site.port = taken.local_addr().unwrap().port();
    let seen = site.doctor(&[]);
    seen.fails("rest", "another program", "ss -ltnp");
    seen.only_fails(&["rest"]);
}

#[test]
fn a_bad_configuration_is_2_and_the_rest_is_looked_at_all_the_same() {
    let site = Site::new();
    let file = site.dir.path().join("bad.yaml");
    std::fs::write(
        &file,
        "server: { port: x, api_token: canary-t }\nlog: { level: loud }\n",
    )
    .unwrap();
    let stun = site.stun.addr.to_string();
    let args = ["--config", file.to_str().unwrap(), "--stun", &stun];
    let seen = run(&args, &[("FFMPEG_PATH", site.ffmpeg.to_str().unwrap())]);
    assert_eq!(seen.code, 2, "{}", seen.out);
    for words in ["server.port", "log.level", "RCS_BASE_URL"] {
        assert!(seen.out.contains(words), "{words}\n{}", seen.out);
    }
    seen.line("pass  ffmpeg: FFmpeg 9.0.2-stand-in");
    seen.line("pass  udp");
    assert!(seen.out.contains("  machine: Linux "));
    let json = run(&[&args[..], &["--json"]].concat(), &[]).json();
    assert_eq!(json["good"], false);
}

#[test]
fn when_everything_is_a_black_hole_it_still_ends() {
    let mut site = Site::new();
    site.rcs = Web::start(None, |_| None);
    site.ably.mute(true);
    site.stun = Stun::start(false);
    let silent = Web::start(None, |_| None);
    site.ffmpeg = program(&site.dir, "exec sleep 60");
    let named = silent.addr.to_string();
    let seen = site.doctor(&["--camera", &named]);
    assert!(seen.took < Duration::from_secs(25), "{:?}", seen.took);
    assert_eq!(seen.code, 1);
    for check in [
        "ffmpeg",
        "internet",
        "rcs",
        "ably",
        "udp",
        &format!("camera {named}"),
    ] {
        let (_, advice) = seen.line(&format!("fail  {check}"));
        assert!(!advice.is_empty(), "{check}");
    }
}
