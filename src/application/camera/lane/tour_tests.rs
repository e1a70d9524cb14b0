//! The lane and its tour in simulated time.

use super::sim::{Manners, Sim, ms, secs};
use crate::application::camera::order::*;
use crate::application::camera::ptz_ask::PtzAsk;
use crate::domain::error::ErrorCode;
use crate::domain::patrol::{PatrolEventKind, PatrolState};
use crate::domain::ptz::PtzAction;
use crate::domain::stream::Id;

const EXAMPLE: [(&str, u64, u64); 3] = [
    ("LEFT", 0, 3000),
    ("STOP", 3000, 2000),
    ("RIGHT", 5000, 3000),
];

#[test]
fn a_tour_is_carried_out_on_time() {
    let mut sim = Sim::new();
    let start = sim.start_patrol(2, &EXAMPLE);
    let status = sim.ok(start).patrol.clone().unwrap();
    assert_eq!(
        (status.state, status.current_loop),
        (PatrolState::Running, 0)
    );
    sim.pass(ms(4000));
    assert!((sim.position + 150.0).abs() < 0.1);
    sim.pass(secs(20));
    assert!(sim.position.abs() < 0.1, "{}", sim.position);
    assert_eq!(
        sim.log(),
        [
            "0 move -50,0,0 control",
            "3000 stop control",
            "5000 move 50,0,0 control",
            "8000 move -50,0,0 control",
            "11000 stop control",
            "13000 move 50,0,0 control",
            "16000 stop control",
        ]
    );
    assert_eq!(
        sim.patrol_kinds(),
        [
            PatrolEventKind::Started,
            PatrolEventKind::LoopEnd,
            PatrolEventKind::LoopEnd,
            PatrolEventKind::Ended
        ]
    );
    assert!(sim.lane.is_quiet());
}

#[test]
fn a_slow_camera_delays_one_waypoint_and_not_all_that_follow() {
    let mut sim = Sim::new();
    sim.manners = Manners::Good { rtt: 900 };
    sim.start_patrol(0, &EXAMPLE);
    sim.pass(secs(3600));
    for (at, send) in &sim.sent {
        if matches!(send.request, DeviceRequest::Move { .. }) {
            let late = (at % 8000) % 5000;
            assert!(late <= 900, "{at}");
        }
    }
}

#[test]
fn a_manual_command_pauses_the_tour_and_resume_goes_on() {
    let mut sim = Sim::new();
    sim.start_patrol(1, &EXAMPLE);
    sim.pass(secs(1));
    sim.log();
    let manual = sim.act(PtzAction::TiltUp, None);
    sim.pass(secs(1));
    assert!(sim.reply(manual).unwrap().is_ok());
    assert_eq!(sim.log(), ["1000 stop control", "1020 move 0,50,0 control"]);
    assert_eq!(sim.lane.patrol().unwrap().state, PatrolState::Paused);
    let status = sim.patrol(PatrolOrder::Status);
    assert_eq!(
        sim.ok(status).patrol.as_ref().unwrap().state,
        PatrolState::Paused
    );
    let resume = sim.patrol(PatrolOrder::Resume(None));
    assert_eq!(
        sim.ok(resume).patrol.as_ref().unwrap().state,
        PatrolState::Running
    );
    sim.pass(secs(10));
    // 2 s of LEFT were left, and the tour took over from the operator.
    assert_eq!(
        sim.log(),
        [
            "2000 move -50,0,0 control",
            "4000 stop control",
            "6000 move 50,0,0 control",
            "9000 stop control",
        ]
    );
    assert!(sim.still() && sim.lane.is_quiet());
}

#[test]
fn a_manual_stop_pauses_too_and_a_stale_command_does_not() {
    let mut sim = Sim::new();
    sim.start_patrol(0, &EXAMPLE);
    sim.pass(secs(1));
    let left = Order::ptz(&PtzAsk::new(PtzAction::PanLeft)).unwrap();
    sim.aged(Origin::Ably, left, secs(9));
    assert_eq!(sim.lane.patrol().unwrap().state, PatrolState::Running);
    let stop = sim.stop();
    sim.pass(ms(100));
    assert!(sim.still() && sim.reply(stop).unwrap().is_ok());
    assert_eq!(sim.lane.patrol().unwrap().state, PatrolState::Paused);
    sim.pass(secs(100));
    assert!(sim.still());
}

#[test]
fn patrol_stop_pause_and_end_halt_the_camera() {
    for order in [PatrolOrder::Stop(None), PatrolOrder::Pause(None)] {
        let mut sim = Sim::new();
        sim.start_patrol(0, &EXAMPLE);
        sim.pass(secs(1));
        assert!(!sim.still());
        sim.patrol(order);
        sim.pass(ms(50));
        assert!(sim.still());
        sim.pass(secs(100));
        assert!(sim.still());
    }
}

#[test]
fn patrol_orders_without_a_patrol_or_for_another_tour() {
    let mut sim = Sim::new();
    let status = sim.patrol(PatrolOrder::Status);
    let none = sim.ok(status).patrol.clone().unwrap();
    assert_eq!((none.state, none.tour), (PatrolState::Stopped, None));
    for order in [
        PatrolOrder::Stop(None),
        PatrolOrder::Pause(None),
        PatrolOrder::Resume(None),
    ] {
        let id = sim.patrol(order);
        assert_eq!(sim.fault(id), ErrorCode::NotFound);
    }
    sim.start_patrol(0, &EXAMPLE);
    let other = Id::parse("tourId", "other").unwrap();
    let id = sim.patrol(PatrolOrder::Stop(Some(other)));
    assert_eq!(sim.fault(id), ErrorCode::NotFound);
    let this = Id::parse("tourId", "tour").unwrap();
    let id = sim.patrol(PatrolOrder::Stop(Some(this)));
    assert_eq!(
        sim.ok(id).patrol.as_ref().unwrap().state,
        PatrolState::Stopped
    );
    sim.pass(secs(1));
    assert!(sim.still() && sim.lane.patrol().is_none());
}

#[test]
fn movements_that_wait_when_a_tour_begins_or_goes_on_are_pointless() {
    let mut sim = Sim::new();
    sim.manners = Manners::Good { rtt: 500 };
    sim.act(PtzAction::SetPreset, None);
    let old = sim.act(PtzAction::PanRight, None);
    sim.start_patrol(0, &[("UP", 2000, 4000)]);
    assert!(sim.ok(old).superseded);
    sim.pass(secs(3));
    sim.act(PtzAction::SetPreset, None);
    let old = sim.act(PtzAction::PanRight, None);
    sim.patrol(PatrolOrder::Resume(None));
    assert!(sim.ok(old).superseded);
    sim.pass(secs(2));
    assert_eq!((sim.velocity.pan, sim.velocity.tilt), (0, 50));
}

#[test]
fn a_step_that_waits_goes_with_the_pause() {
    let mut sim = Sim::new();
    sim.manners = Manners::Good { rtt: 1000 };
    sim.act(PtzAction::SetPreset, None);
    sim.start_patrol(0, &[("LEFT", 0, 5000)]);
    sim.pass(ms(100));
    sim.patrol(PatrolOrder::Pause(None));
    sim.log();
    sim.pass(secs(60));
    let log = sim.log();
    assert!(!log.iter().any(|l| l.contains("move")), "{log:?}");
}

#[test]
fn a_new_patrol_replaces_the_old_one() {
    let mut sim = Sim::new();
    sim.start_patrol(0, &EXAMPLE);
    sim.pass(secs(1));
    sim.start_patrol(1, &[("UP", 0, 2000)]);
    sim.pass(secs(1));
    assert_eq!((sim.velocity.pan, sim.velocity.tilt), (0, 50));
    sim.pass(secs(10));
    assert!(sim.still());
    assert_eq!(
        sim.patrol_kinds(),
        [
            PatrolEventKind::Started,
            PatrolEventKind::Ended,
            PatrolEventKind::Started,
            PatrolEventKind::LoopEnd,
            PatrolEventKind::Ended
        ]
    );
}

#[test]
fn a_camera_that_reboots_in_mid_tour_is_taken_up_again() {
    let mut sim = Sim::new();
    sim.start_patrol(0, &EXAMPLE);
    sim.pass(secs(1));
    sim.manners = Manners::Dead;
    sim.pass(secs(60));
    assert_eq!(sim.lane.patrol().unwrap().state, PatrolState::Paused);
    // It is back, and stands still after its start.
    sim.velocity.pan = 0;
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(13));
    assert_eq!(sim.lane.patrol().unwrap().state, PatrolState::Running);
    let kinds = sim.patrol_kinds();
    assert!(
        kinds
            .windows(2)
            .any(|k| k == [PatrolEventKind::Paused, PatrolEventKind::Resumed])
    );
    sim.patrol(PatrolOrder::Stop(None));
    sim.pass(secs(20));
    assert!(sim.still() && sim.lane.is_quiet());
}

#[test]
fn a_camera_that_stays_away_fails_the_tour() {
    let mut sim = Sim::new();
    sim.manners = Manners::Unreachable;
    sim.start_patrol(0, &EXAMPLE);
    sim.pass(secs(330));
    assert_eq!(sim.patrol_kinds().last(), Some(&PatrolEventKind::Failed));
    assert!(sim.lane.patrol().is_none());
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(30));
    assert!(sim.still() && sim.lane.is_quiet());
}

#[test]
fn shutdown_ends_the_tour() {
    let mut sim = Sim::new();
    sim.start_patrol(0, &EXAMPLE);
    sim.pass(secs(1));
    sim.shut_down();
    sim.pass(secs(1));
    assert!(sim.still() && sim.lane.is_idle());
    let last = sim.patrol.last().unwrap();
    assert_eq!(last.kind, PatrolEventKind::Ended);
    assert_eq!(last.reason.as_deref(), Some("the node is stopping"));
}
