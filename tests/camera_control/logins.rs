//! Which login a camera is told things with, and which it is not.

use lss_test::digest_server::GateRules;
use lss_test::isapi_camera::{self, Model};
use serde_json::json;

use super::{Bench, lss_test, with};

#[test]
fn releases_of_a_joystick_whose_login_is_refused_do_not_lock_the_account() {
    let rules = GateRules {
        lock_after: Some(4),
        ..GateRules::default()
    };
    let (bench, camera) = (Bench::new(), isapi_camera::start(rules, Model::default()));
    let first = with(camera.addr, Some("HIK"), &json!({ "action": "PAN_LEFT" }));
    bench.done("c", &first);
    bench.done("c", &json!({ "action": "STOP" }));
    camera.with(|dome| "changed at the camera".clone_into(&mut dome.gate.rules.password));
    for action in ["PAN_LEFT", "STOP"].repeat(6) {
        let (status, answer) = bench.ptz("c", &json!({ "action": action }));
        assert_eq!((status, &answer["code"]), (502, &json!(10001)), "{answer}");
    }
    camera.with(|dome| {
        assert!(!dome.gate.is_locked());
        // The first press alone: with the challenge that was kept, and with a fresh one.
        assert!(dome.gate.refused <= 2, "{}", dome.gate.refused);
    });
}
