//! A clock that jumps: a year forward, two back, and right again, under a daemon at work. Streams,
//! tours, commands and heartbeats must not notice: deadlines count on the monotonic clock.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::parts;
use crate::support::camera_head::Axis;
use crate::support::daemon::{Setup, wait_for};
use crate::support::digest_server::GateRules;
use crate::support::isapi_camera::{self, Model};
use crate::support::rcs::Door;
use crate::support::site::Site;

const SOON: Duration = Duration::from_secs(30);

/// From now on the daemon's wall clock is off by so much.
fn jump(file: &Path, by: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, format!("{by}\n")).unwrap();
    std::fs::rename(&next, file).unwrap();
}

/// The year of the newest line in the daemon's log.
fn year(site: &Site) -> i32 {
    let log = site.daemon.log();
    log.lines().last().unwrap()[..4].parse().unwrap()
}

#[test]
fn years_forward_and_back_disturb_nothing() {
    let Some([faketime]) = parts("years_forward_and_back", ["faketime"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("offset");
    jump(&file, "+0");
    let text = |value: &str| value.to_owned();
    let site = Site::with(Setup {
        env: vec![
            (text("LD_PRELOAD"), faketime.display().to_string()),
            (text("FAKETIME_TIMESTAMP_FILE"), file.display().to_string()),
            (text("FAKETIME_NO_CACHE"), text("1")),
            (text("FAKETIME_DONT_FAKE_MONOTONIC"), text("1")),
            (text("DONT_FAKE_MONOTONIC"), text("1")),
        ],
        ..Setup::default()
    });
    let rules = GateRules::default();
    let camera = isapi_camera::start(rules.clone(), Model::default());
    assert_eq!(site.daemon.start_task("t", "ok").0, 200);
    let pid = site.daemon.wait_status("t", "STREAMING")["processId"].clone();
    let known = json!({
        "cameraId": "cam", "tourId": "tour", "requestId": "tour",
        "ip": "127.0.0.1", "port": camera.addr.port(), "vendorType": "HIKVISION",
        "username": rules.user, "password": rules.password,
        "waypoints": [
            { "action": "LEFT", "speed": 10, "duration": 200, "startTime": 0 },
            { "action": "RIGHT", "speed": 10, "duration": 200, "startTime": 800 },
        ],
    });
    site.send("PATROL_START", known);
    assert_eq!(site.result_of("tour")["success"], true);
    let this_year = year(&site);
    for (n, (by, years)) in [("+365d", 1), ("-730d", -2), ("+0", 0)]
        .into_iter()
        .enumerate()
    {
        jump(&file, by);
        // The jump is real: the log's lines are of another year.
        wait_for("the other year", SOON, || {
            site.daemon.get("/api/stream/tasks");
            ((year(&site) - this_year - years).abs() <= 1
                && (years == 0 || year(&site) != this_year))
                .then_some(())
        });
        // The tour goes on.
        let moved = camera.with(|dome| {
            let now = dome.model.clock.now();
            dome.head.travelled(Axis::Pan, now)
        });
        wait_for("two more waypoints", SOON, || {
            camera
                .with(|dome| {
                    let now = dome.model.clock.now();
                    dome.head.travelled(Axis::Pan, now) > moved + 0.03
                })
                .then_some(())
        });
        // Commands arrive and are not stale, heartbeats go out.
        let beats = site.rcs.at(Door::Heartbeat).len();
        let request = format!("q{n}");
        site.send("QUERY_STATUS", json!({ "requestId": request }));
        assert_eq!(site.result_of(&request)["success"], true);
        wait_for("a heartbeat", SOON, || {
            (site.rcs.at(Door::Heartbeat).len() > beats).then_some(())
        });
    }
    let task = site.daemon.task("t");
    assert_eq!(
        (&task["status"], &task["processId"], &task["retryCount"]),
        (&json!("STREAMING"), &pid, &json!(0))
    );
    site.send(
        "PTZ_CONTROL",
        json!({ "cameraId": "cam", "action": "TILT_UP", "duration": 300, "requestId": "m" }),
    );
    let moved = site.result_of("m");
    assert_eq!(moved["success"], true, "{moved}");
    wait_for("the end of the move", SOON, || {
        (!camera.moving()).then_some(())
    });
    let tour = site.daemon.get("/api/patrol/cam");
    assert_eq!(
        tour["state"],
        Value::from("PAUSED"),
        "by the manual move alone: {tour}"
    );
    site.ably.assert_clean();
}
