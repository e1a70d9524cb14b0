//! One camera, called by an id, by its host name and by its address: one lane.

use lss_test::camera_http::Fault;
use serde_json::{Value, json};

use super::lss_test::daemon::wait_for;
use super::{Bench, SOON, dome, lss_test, stands, with};

#[test]
fn a_stop_by_the_address_overtakes_a_move_by_the_name() {
    let (bench, camera) = (Bench::new(), dome());
    let mut first = with(camera.addr, Some("HIK"), &json!({ "action": "STOP" }));
    first["ip"] = json!("localhost");
    bench.done("cam", &first);
    let port = |action: &str| json!({ "action": action, "port": camera.addr.port() });
    // Carried out, never answered.
    camera.fault("/continuous", Fault::HangAfter, 1);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| bench.ptz("cam", &json!({ "action": "ZOOM_IN" })));
        wait_for("the lens to move", SOON, || camera.moving().then_some(()));
        // Nobody says the login again.
        bench.done("127.0.0.1", &port("STOP"));
        assert!(!camera.moving());
        let (status, answer) = mover.join().unwrap();
        assert_eq!((status, &answer["code"]), (503, &json!(50003)), "{answer}");
    });
    stands(&camera);
    // And the other way round.
    bench.done("127.0.0.1", &port("PAN_LEFT"));
    assert!(camera.moving());
    bench.done("cam", &json!({ "action": "STOP" }));
    stands(&camera);
}

#[test]
fn of_moves_by_any_name_only_the_newest_waits() {
    let (bench, camera) = (Bench::new(), dome());
    let mut first = with(camera.addr, Some("HIK"), &json!({ "action": "STOP" }));
    first["ip"] = json!("localhost");
    bench.done("cam", &first);
    let move_by = |ip: Option<&str>, speed: u32| {
        json!({
            "action": "PAN_LEFT", "speed": speed, "ip": ip, "port": camera.addr.port(),
        })
    };
    camera.take_lines();
    camera.fault("/continuous", Fault::LateAct(SOON / 10), 1);
    let replies: Vec<Value> = std::thread::scope(|scope| {
        let bench = &bench;
        let moves = [
            ("cam", move_by(None, 1)),
            ("127.0.0.1", move_by(None, 2)),
            ("by_name", move_by(Some("localhost"), 3)),
            ("another", move_by(Some("127.0.0.1"), 4)),
        ];
        let mut all = Vec::new();
        for (n, (id, body)) in moves.into_iter().enumerate() {
            all.push(scope.spawn(move || bench.done(id, &body)));
            if n == 0 {
                wait_for("the first to be under way", SOON, || {
                    let log = camera.log();
                    let under_way = log.iter().any(|r| r.target.ends_with("/continuous"));
                    under_way.then_some(())
                });
            }
        }
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let superseded = |reply: &Value| reply["superseded"] == true;
    assert!(!superseded(&replies[0]), "{replies:?}");
    let overtaken = replies.iter().filter(|r| superseded(r)).count();
    assert_eq!(overtaken, 2, "{replies:?}");
    let lines = camera.take_lines();
    let moves = lines.iter().filter(|line| line.ends_with("/continuous"));
    assert_eq!(moves.count(), 2, "{lines:?}");
    bench.done("another", &json!({ "action": "STOP" }));
    stands(&camera);
}
