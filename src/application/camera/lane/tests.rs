//! The lane in simulated time, one behaviour a test.

use std::time::Duration;

use super::sim::{Manners, Quirks, Sim, camera, ms, secs};
use super::{Lane, LanePolicy};
use crate::application::camera::order::*;
use crate::application::camera::ptz_ask::PtzAsk;
use crate::domain::camera::fit::FitAsk;
use crate::domain::error::ErrorCode;
use crate::domain::ptz::{Drive, Drives, HoldId, PtzAction, PtzEventKind, Velocity};
use crate::domain::stream::Id;
use crate::util::time::Now;

/// Lets the first stop of a camera ask how focus and iris stand, and forgets that.
fn warm(sim: &mut Sim) {
    sim.stop();
    sim.pass(secs(1));
    sim.log();
}

#[test]
fn a_move_and_its_stop_are_one_request_each() {
    let mut sim = Sim::new();
    warm(&mut sim);
    let left = sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(500));
    let stop = sim.stop();
    sim.pass(ms(500));
    assert_eq!(
        sim.log(),
        ["1000 move -50,0,0 control", "1500 stop control"]
    );
    assert!(sim.still());
    assert_eq!(sim.replied_at(left), 1020);
    assert_eq!(sim.replied_at(stop), 1520);
    assert!(sim.lane.is_quiet());
    assert_eq!(sim.lane.next_deadline(), None);
}

#[test]
fn the_first_stop_asks_once_about_focus_and_iris_when_nothing_waits() {
    let mut sim = Sim::new();
    let stop = sim.stop();
    sim.pass(secs(5));
    assert_eq!(
        sim.log(),
        [
            "0 stop control",
            "20 stop focus control",
            "40 stop iris control"
        ]
    );
    assert_eq!(sim.replied_at(stop), 20);
    sim.stop();
    sim.pass(secs(5));
    assert_eq!(sim.log(), ["5000 stop control"]);
    assert!(sim.lane.is_quiet());
}

#[test]
fn a_lens_that_is_none_disturbs_no_stop() {
    let mut sim = Sim::new();
    sim.quirks.lens = Some(ErrorCode::ValidationFailed);
    let stop = sim.stop();
    sim.pass(secs(100));
    assert!(sim.ok(stop).stops_at.is_none());
    assert_eq!(sim.log().len(), 3);
    assert!(sim.ptz.is_empty() && sim.lane.is_quiet());
}

#[test]
fn a_stop_ends_focus_and_iris_too_where_they_move() {
    let mut sim = Sim::new();
    sim.act(PtzAction::FocusFar, None);
    sim.act(PtzAction::IrisOpen, None);
    sim.act(PtzAction::PanLeft, None);
    sim.pass(secs(1));
    assert_eq!(
        (sim.velocity.focus, sim.velocity.iris, sim.velocity.pan),
        (50, 50, -50)
    );
    sim.log();
    let stop = sim.stop();
    sim.pass(ms(100));
    assert!(sim.still());
    assert_eq!(
        sim.log(),
        [
            "1000 stop control",
            "1000 stop focus fresh",
            "1000 stop iris fresh"
        ]
    );
    assert_eq!(sim.replied_at(stop), 1020);
}

#[test]
fn drives_move_side_by_side_and_axes_of_the_head_replace_each_other() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.act(PtzAction::FocusNear, None);
    sim.pass(ms(100));
    sim.act(PtzAction::ZoomIn, None);
    sim.pass(ms(100));
    assert_eq!(
        (sim.velocity.pan, sim.velocity.zoom, sim.velocity.focus),
        (0, 50, -50)
    );
}

#[test]
fn of_waiting_moves_only_the_newest_is_sent() {
    let mut sim = Sim::new();
    sim.manners = Manners::Good { rtt: 300 };
    let first = sim.act(PtzAction::PanLeft, None);
    let mut middle = Vec::new();
    for _ in 0..20 {
        sim.pass(ms(10));
        middle.push(sim.act(PtzAction::TiltUp, None));
    }
    let focus = sim.act(PtzAction::FocusFar, None);
    let last = sim.act(PtzAction::PanRight, None);
    sim.pass(secs(2));
    assert_eq!(
        sim.log(),
        [
            "0 move -50,0,0 control",
            "300 move focus control",
            "600 move 50,0,0 control"
        ]
    );
    for id in middle {
        assert!(sim.ok(id).superseded);
        assert!(sim.replied_at(id) <= 210);
    }
    for id in [first, focus, last] {
        assert!(!sim.ok(id).superseded);
        assert!(sim.ok(id).stops_at.is_some());
    }
}

#[test]
fn a_stop_overtakes_waiting_moves_and_is_sent_again_once_the_unanswered_one_has_ended() {
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.manners = Manners::Good { rtt: 3000 };
    sim.stop_manners = Some(Manners::Good { rtt: 20 });
    let hung = sim.act(PtzAction::PanLeft, None);
    let waiting = sim.act(PtzAction::PanRight, None);
    let goto = sim.act(PtzAction::GotoPreset, None);
    sim.pass(ms(100));
    let stop = sim.stop();
    // Overtook, and was carried out before the movement.
    assert!(sim.ok(goto).superseded && sim.ok(waiting).superseded);
    sim.pass(ms(100));
    assert_eq!(sim.replied_at(stop), 1120);
    sim.pass(ms(1500));
    assert_eq!(sim.velocity.pan, -50, "the camera took the move late");
    sim.pass(secs(10));
    assert!(sim.still());
    assert_eq!(
        sim.log(),
        [
            "1000 move -50,0,0 control",
            "1100 stop fresh",
            "4000 stop control"
        ]
    );
    assert!(!sim.ok(hung).superseded);
}

#[test]
fn five_hundred_joystick_commands_and_the_last_stop_counts() {
    let mut sim = Sim::new();
    sim.manners = Manners::Good { rtt: 30 };
    let mut ids = Vec::new();
    for n in 0..500 {
        ids.push(match n % 5 {
            0 => sim.act(PtzAction::PanLeft, None),
            1 => sim.act(PtzAction::PanRight, None),
            2 => sim.act(PtzAction::TiltUp, None),
            3 => sim.act(PtzAction::ZoomIn, None),
            _ => sim.stop(),
        });
        sim.pass(ms(10));
    }
    sim.stop();
    sim.pass(ms(80));
    assert!(sim.still(), "one round trip and 50 ms after the last stop");
    sim.pass(secs(1));
    assert!(sim.still() && sim.unanswered().is_empty());
}

#[test]
fn presets_begin_from_standing_still_and_keep_their_order() {
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    let set = sim.act(PtzAction::SetPreset, None);
    let goto = sim.act(PtzAction::GotoPreset, None);
    let delete = sim.act(PtzAction::DeletePreset, None);
    sim.pass(secs(1));
    assert_eq!(
        sim.log(),
        [
            "1000 move -50,0,0 control",
            "1100 set control",
            "1120 stop control",
            "1140 goto control",
            "1160 delete control",
        ]
    );
    for id in [set, goto, delete] {
        assert!(!sim.ok(id).superseded);
    }
    // The dead man's switch of the movement does not strike the preset.
    sim.pass(secs(100));
    assert!(sim.log().is_empty() && sim.ptz.is_empty());
}

#[test]
fn a_fit_stands_in_nobodys_way_and_goes_out_alone() {
    let mut sim = Sim::new();
    warm(&mut sim);
    let fit = |apply| {
        Order::Query(Query::Fit(FitAsk {
            apply,
            ..FitAsk::default()
        }))
    };
    sim.manners = Manners::Dead;
    let first = sim.order(Origin::Rest, fit(true));
    let second = sim.order(Origin::Rest, fit(false));
    assert_eq!(sim.fault(second), ErrorCode::NodeBusy);
    sim.manners = Manners::Good { rtt: 20 };
    let check = sim.order(Origin::Rest, Order::Query(Query::Check));
    sim.pass(ms(30));
    sim.ok(check); // A question does not wait for it.
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(20));
    sim.stop();
    sim.pass(ms(20));
    assert!(sim.still());
    sim.pass(ms(62_000));
    assert_eq!(sim.fault(first), ErrorCode::Unavailable, "it has an end");
    let third = sim.order(Origin::Rest, fit(false));
    sim.pass(ms(30));
    sim.ok(third);
}

#[test]
fn queries_stand_in_nobodys_way_and_are_bounded() {
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.manners = Manners::Dead;
    let ids: Vec<u64> = (0..12)
        .map(|_| {
            sim.order(
                Origin::Rest,
                Order::Query(Query::Snapshot {
                    max_width: None,
                    max_bytes: 1,
                }),
            )
        })
        .collect();
    assert_eq!(sim.fault(ids[11]), ErrorCode::NodeBusy);
    sim.manners = Manners::Good { rtt: 20 };
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(20));
    sim.stop();
    sim.pass(ms(20));
    assert!(sim.still());
    assert_eq!(
        sim.log(),
        [
            "1000 query query",
            "1000 move -50,0,0 control",
            "1020 stop control"
        ]
    );
    sim.pass(secs(60));
    assert!(sim.unanswered().is_empty());
    assert_eq!(sim.fault(ids[0]), ErrorCode::Unavailable);
    assert_eq!(sim.ok(ids[1]).data, Some(QueryData::StreamUri(None)));
}

#[test]
fn the_dead_mans_switch() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(29_990));
    assert!(!sim.still());
    sim.pass(ms(30));
    assert!(sim.still());
    assert_eq!(sim.ptz_kinds(), [PtzEventKind::StoppedByLimit]);
    assert_eq!(sim.ptz[0].camera, camera());
}

#[test]
fn a_repeated_command_re_arms_it() {
    let mut sim = Sim::new();
    let mut last = 0;
    for _ in 0..10 {
        last = sim.act(PtzAction::PanLeft, None);
        sim.pass(secs(20));
    }
    assert!(!sim.still());
    let stops_at = sim.ok(last).stops_at.unwrap();
    assert_eq!(stops_at.duration_since(sim.now.wall).unwrap(), secs(10));
    sim.pass(ms(10_020));
    assert!(sim.still());
    assert_eq!(sim.ptz.len(), 1);
}

#[test]
fn a_duration_ends_it_without_ado_also_beyond_max_move() {
    let mut sim = Sim::new();
    for duration in [500, 45_000] {
        sim.position = 0.0;
        let id = sim.act(PtzAction::PanRight, Some(duration));
        sim.pass(ms(100));
        assert!(sim.ok(id).stops_at.is_some());
        sim.pass(secs(60));
        assert!(sim.still());
        let wanted = 50.0 * f64::from(i32::try_from(duration).unwrap()) / 1000.0;
        assert!((sim.position - wanted).abs() < 0.1, "{}", sim.position);
    }
    assert!(sim.ptz.is_empty());
}

#[test]
fn a_movement_that_is_refused_leaves_the_last_one_its_end() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, Some(2000));
    sim.pass(secs(1));
    sim.manners = Manners::Refuses(ErrorCode::NodeBusy);
    let refused = sim.act(PtzAction::PanRight, None);
    sim.pass(ms(100));
    assert_eq!(sim.fault(refused), ErrorCode::NodeBusy);
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(ms(880));
    assert_eq!(sim.velocity.pan, -50);
    sim.pass(ms(40));
    assert!(sim.still());
}

#[test]
fn a_movement_whose_answer_is_lost_is_stopped_and_stopped_again() {
    let mut sim = Sim::new();
    // The connection breaks; the camera carries it out 2 s later all the same.
    sim.manners = Manners::Late {
        after: 30,
        late: 2000,
    };
    let id = sim.act(PtzAction::PanLeft, None);
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(ms(40));
    assert_eq!(sim.fault(id), ErrorCode::Unavailable);
    sim.pass(secs(2));
    assert!(!sim.still());
    sim.pass(ms(1100));
    assert!(sim.still());
    assert_eq!(
        sim.log(),
        [
            "0 move -50,0,0 control",
            "30 stop control",
            "3050 stop control"
        ]
    );
    assert!(sim.lane.is_quiet() && sim.ptz.is_empty());
}

#[test]
fn what_comes_between_only_puts_the_second_stop_off() {
    for newer in [None, Some(100)] {
        let mut sim = Sim::new();
        sim.manners = Manners::Late {
            after: 30,
            late: 2900,
        };
        sim.act(PtzAction::PanLeft, None);
        sim.manners = Manners::Good { rtt: 20 };
        sim.pass(secs(2));
        match newer {
            None => sim.stop(),
            Some(duration) => sim.act(PtzAction::TiltUp, Some(duration)),
        };
        sim.pass(ms(980));
        assert!(!sim.still(), "the camera took the move late");
        sim.pass(ms(2500));
        assert!(sim.still(), "{newer:?}");
        sim.pass(secs(10));
        assert!(sim.lane.is_quiet());
    }
}

#[test]
fn a_sender_that_reports_back_late_is_heard_for_the_cameras_sake() {
    let mut sim = Sim::new();
    sim.manners = Manners::SenderStuck;
    let id = sim.act(PtzAction::PanLeft, None);
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(20));
    assert_eq!(sim.fault(id), ErrorCode::Unavailable);
    assert!(sim.still() && sim.lane.is_quiet());
    let stuck = sim.sent[0].1.id;
    // The warm connection is not used while somebody may sit on it.
    sim.log();
    sim.act(PtzAction::TiltUp, Some(500));
    sim.pass(secs(2));
    assert_eq!(sim.log(), ["20000 move 0,50,0 fresh", "20500 stop fresh"]);
    // It was carried out after all, and only now does its sender say so.
    sim.velocity.pan = -50;
    sim.answer(stuck, Outcome::Done(Done::default()));
    sim.pass(secs(1));
    assert!(sim.still());
    assert_eq!(sim.log(), ["22000 stop control"]);
}

#[test]
fn a_sender_that_is_stuck_does_not_keep_the_camera_moving() {
    let mut sim = Sim::new();
    sim.manners = Manners::SenderStuck;
    let id = sim.act(PtzAction::PanLeft, None);
    sim.pass(secs(1));
    assert!(!sim.still());
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(ms(7600));
    assert!(sim.still());
    assert_eq!(sim.fault(id), ErrorCode::Unavailable);
}

#[test]
fn a_stop_that_is_refused_becomes_velocity_zero_and_that_is_remembered() {
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.quirks.stop = Some(ErrorCode::ValidationFailed);
    for _ in 0..2 {
        sim.act(PtzAction::PanLeft, None);
        sim.pass(ms(100));
        let stop = sim.stop();
        sim.pass(secs(1));
        assert!(sim.still());
        assert!(sim.reply(stop).unwrap().is_ok());
    }
    assert_eq!(
        sim.log(),
        [
            "1000 move -50,0,0 control",
            "1100 stop control",
            "1300 zero fresh",
            "2100 move -50,0,0 control",
            "2200 zero control",
        ]
    );
}

#[test]
fn a_stop_that_nobody_answers_is_tried_on_new_connections() {
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.manners = Manners::Dead;
    let stop = sim.stop();
    sim.pass(ms(6500));
    assert_eq!(
        sim.log(),
        [
            "1000 move -50,0,0 control",
            "1100 stop control",
            "3100 zero fresh",
            "5100 stop fresh",
        ]
    );
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(8));
    assert!(sim.still());
    assert!(sim.reply(stop).unwrap().is_ok());
    assert!(sim.ptz.is_empty());
}

#[test]
fn a_camera_too_slow_for_brief_tries_of_a_stop_gets_a_long_one() {
    let mut sim = Sim::new();
    warm(&mut sim);
    // Half of it is the challenge, the other half the request itself: carried out at 2.3 s.
    sim.manners = Manners::Good { rtt: 4600 };
    sim.act(PtzAction::PanLeft, None);
    sim.pass(secs(5));
    assert!(!sim.still());
    let stop = sim.stop();
    sim.pass(secs(9));
    assert!(sim.still());
    assert_eq!(sim.reply(stop).map(Result::is_ok), Some(true));
    assert_eq!(sim.ptz, []);
}

#[test]
fn a_stop_that_is_never_obeyed_fails_after_a_minute_and_is_tried_every_ten_seconds() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.manners = Manners::Unreachable;
    let stop = sim.stop();
    sim.pass(ms(59_999));
    assert!(sim.reply(stop).is_none() && sim.ptz.is_empty());
    sim.pass(ms(1));
    assert_eq!(sim.fault(stop), ErrorCode::Unavailable);
    assert_eq!(sim.ptz_kinds(), [PtzEventKind::StopFailed]);
    sim.log();
    sim.pass(secs(100));
    assert!((9..=11).contains(&sim.log().len()));
    let again = sim.stop();
    assert_eq!(sim.log().len(), 1, "a new stop is tried at once");
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(11));
    assert!(sim.still());
    assert!(sim.reply(again).unwrap().is_ok());
    assert_eq!(
        sim.ptz_kinds(),
        [PtzEventKind::StopFailed, PtzEventKind::StopRecovered]
    );
    assert!(sim.lane.is_quiet());
}

#[test]
fn a_newer_move_ends_the_tries_of_a_stop_that_is_not_obeyed() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.quirks.stop = Some(ErrorCode::InternalError);
    sim.quirks.zero = Some(ErrorCode::InternalError);
    let stop = sim.stop();
    sim.pass(secs(70));
    assert_eq!(sim.fault(stop), ErrorCode::Unavailable);
    let right = sim.act(PtzAction::PanRight, Some(5000));
    sim.pass(ms(100));
    assert!(sim.reply(right).unwrap().is_ok());
    assert_eq!(sim.velocity.pan, 50);
    sim.log();
    sim.pass(ms(4000));
    assert!(sim.log().is_empty(), "stops while the newer one runs");
    sim.quirks = Quirks::default();
    sim.pass(secs(2));
    assert!(sim.still() && sim.lane.is_quiet());
    assert_eq!(
        sim.ptz_kinds(),
        [PtzEventKind::StopFailed, PtzEventKind::StopRecovered]
    );
}

#[test]
fn a_stop_of_what_lss_never_moved_ends_with_its_answer_where_no_camera_is() {
    for manners in [Manners::Unreachable, Manners::Dead] {
        let mut sim = Sim::new();
        sim.manners = manners;
        let stop = sim.stop();
        sim.pass(secs(30));
        assert!(sim.lane.tries_in_vain() && sim.reply(stop).is_none());
        sim.pass(secs(30));
        assert_eq!(sim.fault(stop), ErrorCode::Unavailable);
        sim.pass(secs(5));
        assert!(sim.lane.is_quiet() && sim.ptz.is_empty(), "{manners:?}");
        sim.log();
        sim.pass(secs(60));
        assert!(sim.log().is_empty());
    }
    // One that is there and does not obey is tried on.
    let mut sim = Sim::new();
    sim.manners = Manners::Refuses(ErrorCode::InternalError);
    sim.stop();
    sim.pass(secs(61));
    assert!(!sim.lane.tries_in_vain() && !sim.lane.is_quiet());
    assert_eq!(sim.ptz_kinds(), [PtzEventKind::StopFailed]);
}

#[test]
fn recovery_is_told_under_the_id_that_was_announced() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.manners = Manners::Unreachable;
    sim.stop();
    sim.pass(secs(61));
    assert_eq!(sim.ptz_kinds(), [PtzEventKind::StopFailed]);
    sim.manners = Manners::Good { rtt: 20 };
    sim.stop_as("another");
    sim.pass(secs(11));
    assert!(sim.still());
    let told = sim.ptz.last().unwrap();
    assert_eq!(told.kind, PtzEventKind::StopRecovered);
    assert_eq!(told.camera, camera());
}

#[test]
fn a_lane_that_takes_over_tells_the_recovery_of_what_the_old_one_announced() {
    let now = Now::read();
    let announced = Some(camera());
    let lane = Lane::after_panic(
        LanePolicy::default(),
        &camera(),
        Drives::ALL,
        RequestId(100),
        announced,
        now,
    );
    let mut sim = Sim::around(lane, now);
    sim.manners = Manners::Unreachable;
    sim.tick();
    sim.pass(secs(20));
    assert!(sim.ptz.is_empty());
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(25));
    assert_eq!(sim.ptz_kinds(), [PtzEventKind::StopRecovered]);
}

#[test]
fn a_newer_move_that_fails_brings_the_stop_back() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.manners = Manners::Refuses(ErrorCode::InternalError);
    let stop = sim.stop();
    sim.pass(ms(100));
    sim.act(PtzAction::PanRight, None);
    sim.pass(ms(400));
    assert!(!sim.still() && sim.reply(stop).is_none());
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(2));
    assert!(sim.still());
    assert!(sim.reply(stop).unwrap().is_ok());
}

#[test]
fn a_camera_that_cannot_move_says_so_at_once() {
    let mut sim = Sim::new();
    sim.manners = Manners::Refuses(ErrorCode::ValidationFailed);
    let stop = sim.stop();
    sim.pass(secs(1));
    assert_eq!(sim.fault(stop), ErrorCode::ValidationFailed);
    sim.manners = Manners::Refuses(ErrorCode::Unauthorized);
    let stop = sim.stop();
    sim.pass(secs(1));
    assert_eq!(sim.fault(stop), ErrorCode::Unauthorized);
    sim.log();
    sim.pass(secs(100));
    assert!(sim.log().is_empty() && sim.ptz.is_empty());
}

#[test]
fn a_login_that_is_refused_while_the_camera_moves_is_tried_at_a_walk() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.manners = Manners::Refuses(ErrorCode::Unauthorized);
    sim.stop();
    sim.log();
    sim.pass(secs(50));
    assert_eq!(
        sim.log().len(),
        5,
        "every try counts towards the camera's lock"
    );
    sim.manners = Manners::Good { rtt: 20 };
    sim.pass(secs(11));
    assert!(sim.still());
}

#[test]
fn a_stop_that_meets_a_stranger_is_tried_as_one_that_meets_nobody() {
    for manners in [Manners::Stranger, Manners::Unreachable] {
        let mut sim = Sim::new();
        sim.act(PtzAction::PanLeft, None);
        sim.pass(ms(100));
        sim.log();
        sim.manners = manners;
        let stop = sim.stop();
        sim.pass(ms(1_000));
        assert_eq!(
            sim.log().len(),
            3,
            "{manners:?}: now, 200 ms, and 700 ms later"
        );
        sim.manners = Manners::Good { rtt: 20 };
        sim.pass(secs(1));
        assert!(sim.still(), "{manners:?}");
        assert!(sim.reply(stop).unwrap().is_ok(), "{manners:?}");
        // Of a camera that is not known to move: neither.
        sim.manners = manners;
        let stop = sim.stop();
        sim.pass(ms(500));
        assert!(sim.reply(stop).is_none(), "{manners:?}");
        sim.manners = Manners::Good { rtt: 20 };
        sim.pass(secs(1));
        assert!(sim.reply(stop).unwrap().is_ok(), "{manners:?}");
    }
}

#[test]
fn stale_commands_move_nothing_and_stops_are_never_stale() {
    let mut sim = Sim::new();
    let left = Order::ptz(&PtzAsk::new(PtzAction::PanLeft)).unwrap();
    let old = sim.aged(Origin::Ably, left.clone(), secs(6));
    assert_eq!(sim.fault(old), ErrorCode::ValidationFailed);
    let fresh = sim.aged(Origin::Ably, left.clone(), secs(4));
    sim.pass(ms(100));
    assert!(sim.reply(fresh).unwrap().is_ok());
    let stop = sim.aged(Origin::Ably, Order::Stop(Drives::ALL), secs(100));
    sim.pass(ms(100));
    assert!(sim.reply(stop).unwrap().is_ok() && sim.still());
    // It grows stale while it waits for its turn.
    sim.manners = Manners::Dead;
    sim.act(PtzAction::SetPreset, None);
    let waits = sim.aged(Origin::Ably, left, secs(3));
    sim.pass(ms(1999));
    assert!(sim.reply(waits).is_none());
    sim.pass(ms(1));
    assert_eq!(sim.fault(waits), ErrorCode::ValidationFailed);
    sim.pass(secs(60));
    assert!(sim.still() && sim.unanswered().is_empty());
}

#[test]
fn link_loss_stops_what_the_cloud_moves_and_nothing_else() {
    let mut sim = Sim::new();
    let order = |action| Order::ptz(&PtzAsk::new(action)).unwrap();
    sim.order(Origin::Ably, order(PtzAction::PanLeft));
    sim.order(Origin::Rest, order(PtzAction::FocusFar));
    sim.pass(ms(100));
    assert!(sim.lane.moves_for_cloud());
    sim.link_lost();
    sim.pass(ms(100));
    assert_eq!((sim.velocity.pan, sim.velocity.focus), (0, 50));
    assert_eq!(sim.ptz_kinds(), [PtzEventKind::StoppedByLinkLoss]);
    assert!(!sim.lane.moves_for_cloud());
    let late = sim.order(Origin::Ably, order(PtzAction::PanLeft));
    assert_eq!(sim.fault(late), ErrorCode::Unavailable);
    let local = sim.order(Origin::Rest, order(PtzAction::PanRight));
    sim.pass(ms(100));
    assert!(sim.reply(local).unwrap().is_ok());
    sim.lane.link_back();
    let back = sim.order(Origin::Ably, order(PtzAction::PanLeft));
    sim.pass(ms(100));
    assert!(sim.reply(back).unwrap().is_ok());
}

#[test]
fn link_loss_with_a_move_unanswered_and_one_waiting() {
    let mut sim = Sim::new();
    sim.manners = Manners::Good { rtt: 1000 };
    let left = Order::ptz(&PtzAsk::new(PtzAction::PanLeft)).unwrap();
    sim.order(Origin::Ably, left.clone());
    let waiting = sim.order(Origin::Ably, left);
    sim.pass(ms(100));
    sim.link_lost();
    assert!(sim.ok(waiting).superseded);
    sim.pass(secs(4));
    assert!(sim.still() && sim.unanswered().is_empty());
    assert_eq!(sim.ptz.len(), 1);
}

#[test]
fn shutdown_stops_what_moves_and_answers_everything() {
    let mut sim = Sim::new();
    sim.manners = Manners::Good { rtt: 300 };
    sim.act(PtzAction::PanLeft, None);
    sim.pass(secs(1));
    sim.act(PtzAction::SetPreset, None);
    let waiting = sim.act(PtzAction::DeletePreset, None);
    let query = sim.order(Origin::Rest, Order::Query(Query::Presets));
    sim.shut_down();
    assert_eq!(sim.fault(waiting), ErrorCode::NodeOffline);
    assert_eq!(sim.fault(query), ErrorCode::NodeOffline);
    let refused = sim.act(PtzAction::PanLeft, None);
    assert_eq!(sim.fault(refused), ErrorCode::NodeOffline);
    let stop = sim.stop();
    assert!(!sim.lane.is_idle());
    sim.pass(ms(700));
    assert!(sim.still() && sim.lane.is_idle());
    assert!(sim.reply(stop).unwrap().is_ok());
    assert!(sim.unanswered().is_empty());
}

#[test]
fn shutdown_with_a_dead_camera_takes_six_seconds() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanLeft, None);
    sim.pass(secs(1));
    sim.manners = Manners::Dead;
    sim.act(PtzAction::PanRight, None);
    sim.pass(ms(10));
    sim.shut_down();
    let stop = sim.stop();
    sim.pass(ms(5999));
    assert!(!sim.lane.is_idle());
    sim.pass(ms(1));
    assert!(sim.lane.is_idle());
    assert_eq!(sim.fault(stop), ErrorCode::Unavailable);
    assert!(sim.unanswered().is_empty());
    assert_eq!(sim.lane.next_deadline(), None);
    sim.log();
    let after = sim.stop();
    sim.pass(secs(10));
    assert_eq!(sim.fault(after), ErrorCode::NodeOffline);
    assert!(sim.log().is_empty(), "a request after the end");
}

#[test]
fn shutdown_with_a_move_unanswered_sends_the_last_stop_at_four_seconds() {
    let mut sim = Sim::new();
    sim.stop_manners = Some(Manners::Good { rtt: 20 });
    sim.manners = Manners::Good { rtt: 7500 };
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.shut_down();
    sim.pass(secs(3));
    assert!(!sim.lane.is_idle());
    // The camera takes the movement 3.75 s after it was sent.
    sim.pass(ms(700));
    assert_eq!(sim.velocity.pan, -50);
    sim.pass(secs(3));
    assert!(sim.still() && sim.lane.is_idle());
}

#[test]
fn a_lane_after_a_panic_stops_what_moved() {
    let now = Now::read();
    let mut moving = Drives::only(Drive::PanTiltZoom);
    moving.insert(Drive::Iris);
    let lane = Lane::after_panic(
        LanePolicy::default(),
        &camera(),
        moving,
        RequestId(100),
        None,
        now,
    );
    let mut sim = Sim::around(lane, now);
    sim.velocity.pan = 50;
    sim.velocity.iris = -50;
    sim.tick();
    sim.pass(ms(100));
    assert!(sim.still());
    assert!(sim.lane.next_request() > RequestId(100));
}

#[test]
fn a_camera_with_a_limit_of_its_own_is_told_again() {
    let mut sim = Sim::new();
    sim.quirks.own_limit = Some(2000);
    sim.act(PtzAction::PanRight, Some(10_000));
    sim.pass(ms(9990));
    assert!((sim.position - 499.0).abs() < 2.0, "{}", sim.position);
    sim.pass(ms(100));
    assert!(sim.still());
    let log = sim.log();
    assert!(log.len() >= 8, "{log:?}");
    assert!(log.last().unwrap().contains("stop"));
    sim.pass(secs(60));
    assert!(sim.log().is_empty());
}

#[test]
fn the_limit_that_is_asked_of_the_camera_is_what_is_left() {
    let mut sim = Sim::new();
    sim.act(PtzAction::PanRight, Some(1500));
    sim.act(PtzAction::FocusFar, None);
    sim.pass(ms(50));
    let limits: Vec<Duration> = sim
        .sent
        .iter()
        .filter_map(|(_, send)| match send.request {
            DeviceRequest::Move { limit, .. } => Some(limit),
            _ => None,
        })
        .collect();
    assert_eq!(limits, [ms(1500), secs(30)]);
}

/// Whether each stop that was sent since last asked may pass by the lock-out guard.
fn may_move(sim: &mut Sim) -> Vec<bool> {
    let sent = std::mem::take(&mut sim.sent).into_iter();
    let stops = sent.filter(|(_, send)| matches!(send.request, DeviceRequest::Stop { .. }));
    stops.map(|(_, send)| send.may_move).collect()
}

#[test]
fn a_stop_knows_whether_something_of_ours_may_be_running() {
    // Nothing was moved.
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.stop();
    sim.pass(secs(1));
    assert_eq!(may_move(&mut sim), [false]);
    // It moves, or its movement is unanswered, or the answer was lost.
    for manners in [
        Manners::Good { rtt: 20 },
        Manners::Good { rtt: 1_000 },
        Manners::AnswerLost { after: 20 },
    ] {
        let mut sim = Sim::new();
        warm(&mut sim);
        sim.manners = manners;
        sim.act(PtzAction::PanLeft, None);
        sim.pass(ms(200));
        sim.manners = Manners::Good { rtt: 20 };
        sim.stop();
        sim.pass(secs(10));
        let told = may_move(&mut sim);
        assert!(!told.is_empty() && told.iter().all(|may| *may), "{told:?}");
        // It has obeyed.
        sim.stop();
        sim.pass(secs(1));
        assert_eq!(may_move(&mut sim), [false], "{manners:?}");
    }
    // A movement that the camera has refused is none.
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.manners = Manners::Refuses(ErrorCode::Unauthorized);
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(200));
    sim.stop();
    sim.pass(secs(1));
    assert_eq!(may_move(&mut sim), [false]);
    // A tour of the camera's own runs until it is stopped.
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.act(PtzAction::StartPatrol, None);
    sim.pass(secs(60));
    sim.stop();
    sim.pass(secs(1));
    sim.stop();
    sim.pass(secs(1));
    assert_eq!(may_move(&mut sim), [true, false]);
}

#[test]
fn an_id_that_leads_elsewhere_ends_what_it_set_in_motion_and_nothing_else() {
    let other = Id::parse("cameraId", "another").unwrap();
    // A movement, answered or not.
    for rtt in [20, 1_000] {
        let mut sim = Sim::new();
        warm(&mut sim);
        sim.manners = Manners::Good { rtt };
        let moved = sim.act(PtzAction::PanLeft, None);
        sim.pass(ms(200));
        sim.left(&other);
        sim.pass(ms(1));
        assert!(!sim.log().iter().any(|line| line.contains("stop")));
        sim.left(&camera());
        sim.pass(secs(5));
        assert!(sim.still() && sim.lane.is_quiet());
        assert!(sim.reply(moved).is_some());
        assert_eq!(sim.ptz_kinds(), []);
    }
    // One that waits is not sent any more.
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.manners = Manners::Good { rtt: 1_000 };
    sim.act(PtzAction::FocusAuto, None);
    let waits = sim.act(PtzAction::PanLeft, None);
    sim.left(&camera());
    sim.pass(secs(5));
    assert!(sim.ok(waits).superseded);
    assert!(sim.position.abs() < 0.001, "{}", sim.position);
    // A tour of ours, and one of the camera's own.
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.start_patrol(1_000, &[("LEFT", 0, 60_000)]);
    sim.pass(secs(1));
    assert!(!sim.still());
    sim.left(&other);
    sim.pass(secs(1));
    assert!(!sim.still() && sim.lane.patrol().is_some());
    sim.left(&camera());
    sim.pass(secs(1));
    assert!(sim.still() && sim.lane.patrol().is_none());
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.act(PtzAction::StartPatrol, None);
    sim.pass(secs(1));
    sim.log();
    sim.left(&other);
    sim.pass(secs(1));
    assert_eq!(sim.log(), [""; 0]);
    sim.left(&camera());
    sim.pass(secs(1));
    assert_eq!(sim.log(), ["3000 stop control"]);
}

/// What happens to a joystick, one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joystick {
    /// A page presses it.
    Press(usize),
    /// A page that has pressed it moves it.
    Push(usize),
    /// Somebody moves the camera without a hold.
    Plain,
    /// Somebody sends it to a preset.
    Goto,
    /// A tour is started.
    Tour,
    /// Somebody stops one drive that nobody has moved.
    Stop,
    /// A second passes.
    Second,
    /// Half a second passes.
    Half,
    /// The cloud's line is lost, and comes back.
    LineLost,
}

/// Every sequence of five things that can happen to a joystick that two pages share: an order moves
/// the camera exactly when its press is the newest, nothing has ended it, and it was heard of lately.
#[test]
fn a_hold_moves_only_while_it_is_the_newest_and_alive() {
    use Joystick::*;
    const KINDS: [Joystick; 11] = [
        Press(0),
        Press(1),
        Push(0),
        Push(1),
        Plain,
        Goto,
        Tour,
        Stop,
        Second,
        Half,
        LineLost,
    ];
    for number in 0..KINDS.len().pow(5) {
        let steps: Vec<Joystick> = (0..5)
            .map(|place| KINDS[number / KINDS.len().pow(place) % KINDS.len()])
            .collect();
        // What is of no press, or never pushed, says nothing new.
        if !steps.iter().any(|step| matches!(step, Push(_))) {
            continue;
        }
        follow_joystick(&steps);
    }
}

fn follow_joystick(steps: &[Joystick]) {
    let mut sim = Sim::new();
    let holds = [HoldId::new(1), HoldId::new(2)];
    // The model: which press counts, and when it was heard of.
    let mut held: Option<(usize, u64)> = None;
    let push = |page: usize| Order::Move {
        drive: Drive::PanTiltZoom,
        velocity: Velocity {
            pan: 10,
            ..Velocity::ZERO
        },
        duration: Some(ms(300)),
        hold: Some(holds[page]),
    };
    for (nth, step) in steps.iter().enumerate() {
        match *step {
            Joystick::Press(page) => {
                let moves = sim.moves;
                let pressed = sim.order(Origin::Rest, Order::Hold(holds[page]));
                assert_eq!(
                    sim.reply(pressed),
                    Some(&Ok(Success::default())),
                    "{steps:?}"
                );
                assert_eq!(sim.moves, moves, "a press moves nothing: {steps:?}");
                held = Some((page, sim.at()));
            }
            Joystick::Push(page) => {
                let pushed = sim.order(Origin::Rest, push(page));
                let counts = held.is_some_and(|(by, heard)| by == page && sim.at() - heard < 1500);
                if counts {
                    held = Some((page, sim.at()));
                }
                sim.pass(ms(100));
                let moved = match sim.reply(pushed) {
                    Some(Ok(success)) => !success.superseded,
                    other => panic!("step {nth} of {steps:?}: {other:?}"),
                };
                assert_eq!(moved, counts, "step {nth} of {steps:?}");
            }
            Joystick::Plain => {
                sim.act(PtzAction::TiltUp, Some(200));
                held = None;
            }
            Joystick::Goto => {
                sim.act(PtzAction::GotoPreset, None);
                held = None;
            }
            Joystick::Tour => {
                sim.start_patrol(1, &[("LEFT", 0, 2_000)]);
                held = None;
            }
            Joystick::Stop => {
                sim.order(Origin::Rest, Order::Stop(Drives::only(Drive::Iris)));
                held = None;
            }
            Joystick::Second => sim.pass(secs(1)),
            Joystick::Half => sim.pass(ms(500)),
            Joystick::LineLost => {
                // These pages come by REST: the cloud's line is none of theirs.
                sim.link_lost();
                sim.lane.link_back();
            }
        }
    }
    sim.pass(secs(5));
    assert!(sim.still(), "{steps:?}");
}

#[test]
fn an_order_of_a_hold_that_waits_moves_nothing_when_its_hold_is_void() {
    let holds = [HoldId::new(1), HoldId::new(2)];
    let push = || Order::Move {
        drive: Drive::PanTiltZoom,
        velocity: Velocity {
            pan: 10,
            ..Velocity::ZERO
        },
        duration: Some(ms(800)),
        hold: Some(holds[0]),
    };
    let ends: [fn(&mut Sim); 3] = [
        |sim| {
            sim.order(Origin::Rest, Order::Hold(HoldId::new(2)));
        },
        |sim| {
            sim.act(PtzAction::FocusNear, Some(100));
        },
        |sim| sim.pass(ms(1600)),
    ];
    for end in ends {
        let mut sim = Sim::new();
        warm(&mut sim);
        // The camera takes its time over a preset, behind which the joystick's order waits.
        sim.manners = Manners::Good { rtt: 2_500 };
        sim.act(PtzAction::SetPreset, None);
        sim.order(Origin::Rest, Order::Hold(holds[0]));
        let pushed = sim.order(Origin::Rest, push());
        sim.pass(ms(300));
        end(&mut sim);
        sim.pass(secs(8));
        assert_eq!(sim.reply(pushed), Some(&Ok(Success::superseded())));
        assert!(sim.log().iter().all(|line| !line.contains("move 10,0,0")));
    }
}

/// A movement that nobody has answered, and that the camera carries out behind its stop, is ended by
/// the echo, also where the next movement put that off and was refused.
#[test]
fn the_echo_of_a_lost_movement_comes_although_the_next_one_was_refused() {
    let mut sim = Sim::new();
    warm(&mut sim);
    sim.stop_manners = Some(Manners::Good { rtt: 1 });
    sim.manners = Manners::Late { after: 0, late: 1 };
    sim.act(PtzAction::PanLeft, None);
    sim.manners = Manners::Unreachable;
    sim.pass(ms(1));
    sim.act(PtzAction::PanLeft, None);
    sim.pass(ms(100));
    sim.manners = Manners::Good { rtt: 40 };
    sim.stop_manners = None;
    sim.pass(secs(10));
    assert!(sim.still(), "{:?}", sim.log());
    assert!(sim.lane.is_quiet());
}
