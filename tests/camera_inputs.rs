//! What people and programs send that they should not, over both doors of the real binary; and odd
//! things that are right all the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use support::daemon::Setup;
use support::digest_server::{GateRules, Offer};
use support::isapi_camera::{self, IsapiStandIn, Model};
use support::onvif_camera::{self, OnvifModel};
use support::site::Site;

/// One node with both doors open.
struct Doors {
    site: Site,
    requests: AtomicU32,
}

/// What came of a command: its error code, its words, its data.
struct Answer {
    code: i64,
    words: String,
    data: Value,
}

impl Doors {
    fn open(setup: Setup) -> Self {
        Self {
            site: Site::with(setup),
            requests: AtomicU32::new(0),
        }
    }

    fn rest(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let (_, answer) = self.site.daemon.request(method, path, body);
        Answer {
            code: answer["code"].as_i64().unwrap(),
            words: answer["message"].as_str().unwrap_or_default().to_owned(),
            data: answer["data"].clone(),
        }
    }

    fn ably(&self, command: &str, payload: &Value) -> Answer {
        let request = format!("r{}", self.requests.fetch_add(1, Ordering::Relaxed));
        let mut payload = payload.clone();
        payload["requestId"] = json!(request);
        self.site.send(command, payload);
        let result = self.site.result_of(&request);
        Answer {
            code: result["errorCode"].as_i64().unwrap(),
            words: result["errorMessage"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            data: result["data"].clone(),
        }
    }

    /// A PTZ payload over both doors.
    fn ptz(&self, payload: &Value) -> [(&'static str, Answer); 2] {
        let mut body = payload.clone();
        let id = body["cameraId"].as_str().unwrap_or("cam").to_owned();
        body.as_object_mut().unwrap().remove("cameraId");
        [
            (
                "REST",
                self.rest("POST", &format!("/api/cameras/{id}/ptz"), Some(&body)),
            ),
            ("Ably", self.ably("PTZ_CONTROL", payload)),
        ]
    }
}

/// A payload with everything that is needed.
fn known(addr: SocketAddr, rules: &GateRules, vendor: &str, more: &Value) -> Value {
    let payload = json!({
        "cameraId": "cam", "ip": addr.ip().to_string(), "port": addr.port(),
        "username": rules.user, "password": rules.password, "vendorType": vendor,
    });
    with(payload, more)
}

fn with(mut payload: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        payload[key] = value.clone();
    }
    payload
}

fn dome(rules: &GateRules) -> IsapiStandIn {
    isapi_camera::start(rules.clone(), Model::default())
}

#[test]
fn bad_input_is_refused_by_both_doors_and_reaches_no_camera() {
    let rules = GateRules::default();
    let (doors, camera) = (Doors::open(Setup::default()), dome(&rules));
    let own = lss::infrastructure::system::own_addresses();
    let own = own.iter().find(|(ip, _)| !ip.is_loopback());
    let mut cases = vec![
        (json!({ "action": "PAN_SIDEWAYS" }), 20003),
        (json!({ "action": 5 }), 20003),
        (json!({ "action": null }), 20002),
        (json!({ "action": "PAN_LEFT", "speed": 1000 }), 20003),
        (json!({ "action": "PAN_LEFT", "speed": -1 }), 20003),
        (json!({ "action": "PAN_LEFT", "speed": "fast" }), 20003),
        (json!({ "action": "PAN_LEFT", "speed": 1e300 }), 20003),
        (json!({ "action": "PAN_LEFT", "duration": -1 }), 20003),
        (
            json!({ "action": "PAN_LEFT", "duration": 3_600_001 }),
            20003,
        ),
        (json!({ "action": "GOTO_PRESET" }), 20002),
        (
            json!({ "action": "GOTO_PRESET", "presetId": "../../x" }),
            20003,
        ),
        (
            json!({ "action": "GOTO_PRESET", "presetId": "1/goto" }),
            20003,
        ),
        (
            json!({ "action": "GOTO_PRESET", "presetId": "1?x=2" }),
            20003,
        ),
        (
            json!({ "action": "SET_PRESET", "presetId": "1\r\nX: y" }),
            20003,
        ),
        (
            json!({ "action": "SET_PRESET", "presetId": "1", "presetName": "a\u{0}b" }),
            20003,
        ),
        (json!({ "action": "START_PATROL", "patrolId": -1 }), 20003),
        (
            json!({ "action": "PAN_LEFT", "username": "a\r\nX: y" }),
            20003,
        ),
        (json!({ "action": "PAN_LEFT", "password": "a\nb" }), 20003),
        (
            json!({ "action": "PAN_LEFT", "password": "x".repeat(257) }),
            20003,
        ),
        (json!({ "action": "PAN_LEFT", "port": -1 }), 20003),
        (json!({ "action": "PAN_LEFT", "port": 70_000 }), 20003),
        (json!({ "action": "PAN_LEFT", "channel": -1 }), 20003),
        (json!({ "action": "PAN_LEFT", "cameraId": "a b" }), 20003),
    ];
    for ip in ["http://x/", "a..b", "1.2.3.4:80", "a b", "a@b"] {
        cases.push((json!({ "action": "PAN_LEFT", "ip": ip }), 20003));
    }
    for ip in [
        "0.0.0.0",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "169.254.169.254",
        "::",
        "ff02::1",
        "::ffff:169.254.169.254",
        "[fd00:ec2::254]",
    ] {
        cases.push((json!({ "action": "PAN_LEFT", "ip": ip }), 20005));
    }
    if let Some((own, _)) = own {
        cases.push((
            json!({ "action": "PAN_LEFT", "ip": own.to_string() }),
            20005,
        ));
    }
    for (more, code) in cases {
        let payload = known(camera.addr, &rules, "HIK", &more);
        // An id of nonsense is no path.
        let doors = if payload["cameraId"] == "cam" {
            Vec::from(doors.ptz(&payload))
        } else {
            vec![("Ably", doors.ably("PTZ_CONTROL", &payload))]
        };
        for (door, answer) in doors {
            assert_eq!(answer.code, code, "{door} {more}: {}", answer.words);
            assert!(!answer.words.is_empty(), "{door} {more}");
            assert!(!answer.words.contains(&rules.password), "{door} {more}");
        }
    }
    for (door, answer) in doors.ptz(&json!({ "cameraId": "nobody", "action": "PAN_LEFT" })) {
        assert_eq!(answer.code, 20004, "{door}: {}", answer.words);
        assert!(answer.words.contains("send ip"), "{door}: {}", answer.words);
    }
    assert!(camera.log().is_empty());
}

#[test]
fn loopback_is_no_camera_for_either_door() {
    let rules = GateRules::default();
    let setup = Setup {
        camera_loopback: false,
        ..Setup::default()
    };
    let (doors, camera) = (Doors::open(setup), dome(&rules));
    for ip in [
        "127.0.0.1",
        "127.9.9.9",
        "2130706433",
        "0x7f.1",
        "::1",
        "::ffff:127.0.0.1",
        "localhost",
        "LOCALHOST.",
    ] {
        let stop = json!({ "action": "STOP", "ip": ip });
        for (door, answer) in doors.ptz(&known(camera.addr, &rules, "HIK", &stop)) {
            assert_eq!(answer.code, 20005, "{door} {ip}: {}", answer.words);
        }
    }
    assert!(camera.log().is_empty());
}

#[test]
fn a_preset_name_is_a_name_whatever_it_holds() {
    let rules = GateRules::default();
    let doors = Doors::open(Setup::default());
    let hik = dome(&rules);
    let other = onvif_camera::start(rules.clone(), OnvifModel::default());
    let stop = json!({ "action": "STOP" });
    for (id, addr, vendor) in [("h", hik.addr, "HIK"), ("o", other.addr, "AXIS")] {
        let payload = with(
            known(addr, &rules, vendor, &stop),
            &json!({ "cameraId": id }),
        );
        assert_eq!(doors.ably("PTZ_CONTROL", &payload).code, 0);
    }
    let evil = "</presetName><id>94</id>&]]>\"'";
    for id in ["h", "o"] {
        let path = format!("/api/cameras/{id}/presets/7");
        let answer = doors.rest("PUT", &path, Some(&json!({ "name": evil })));
        assert_eq!(answer.code, 0, "{}", answer.words);
        let payload = json!({ "cameraId": id, "presetId": "8", "presetName": evil });
        let answer = doors.ably("PTZ_PRESET_SET", &payload);
        assert_eq!(answer.code, 0, "{}", answer.words);
        let list = doors.ably("CAMERA_PRESET_LIST", &json!({ "cameraId": id }));
        let presets = list.data["presets"].as_array().unwrap().clone();
        let named = presets.iter().filter(|p| p["name"] == evil).count();
        assert_eq!(named, 2, "{presets:?}");
    }
    hik.with(|dome| {
        let names: Vec<&str> = dome.presets.values().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["Entrance", evil, evil]);
        assert_eq!(dome.reboots, 0);
    });
}

#[test]
fn a_login_of_every_special_character_gets_in_by_either_door() {
    let printable: String = (' '..='~').filter(|c| !c.is_ascii_alphanumeric()).collect();
    let rules = GateRules {
        // A colon in a user name can't be told from the one behind it, in any scheme.
        user: format!("ad{}min \u{f6}\u{4e2d}", printable.replace(':', "")),
        password: format!("p{printable}\u{f6}\u{4e2d}\u{1f4f7}"),
        offers: vec![Offer::Sha256],
        ..GateRules::default()
    };
    let stop = json!({ "action": "STOP" });
    for (vendor, id) in [("HIK", "h"), ("AXIS", "o")] {
        let doors = Doors::open(Setup::default());
        let (hik, onvif);
        let addr = if vendor == "HIK" {
            hik = dome(&rules);
            hik.addr
        } else {
            onvif = onvif_camera::start(rules.clone(), OnvifModel::default());
            onvif.addr
        };
        let payload = with(
            known(addr, &rules, vendor, &stop),
            &json!({ "cameraId": id }),
        );
        for (door, answer) in doors.ptz(&payload) {
            assert_eq!(answer.code, 0, "{door} {vendor}: {}", answer.words);
        }
        let check = doors.ably("CAMERA_CHECK", &payload);
        assert_eq!(check.data["authenticated"], true, "{vendor}");
        assert!(!doors.site.daemon.log().contains(&rules.password));
    }
}
