//! The timetable machine in simulated time.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// (action, startTime, duration)
fn plan(loop_count: i64, waypoints: &[(&str, u64, u64)]) -> Plan {
    Plan::check(&PatrolAsk {
        tour: Id::parse("tourId", "tour").unwrap(),
        camera: Id::parse("cameraId", "cam").unwrap(),
        loop_count: Some(loop_count),
        waypoints: waypoints
            .iter()
            .map(|&(action, start, duration)| WaypointAsk {
                action: action.to_owned(),
                speed: None,
                duration: Some(i64::try_from(duration).unwrap()),
                start_time: Some(i64::try_from(start).unwrap()),
                preset: Some("7".to_owned()),
            })
            .collect(),
    })
    .unwrap()
}

/// The spec's example.
const EXAMPLE: [(&str, u64, u64); 3] = [
    ("LEFT", 0, 3000),
    ("STOP", 3000, 2000),
    ("RIGHT", 5000, 3000),
];

struct Sim {
    patrol: Patrol,
    t0: Instant,
    now: Instant,
    /// What was asked, and when, in milliseconds since the start.
    log: Vec<(u64, String)>,
    events: Vec<PatrolEvent>,
    finished: bool,
}

impl Sim {
    fn new(plan: Plan) -> Self {
        let t0 = Instant::now();
        let mut sim = Self {
            patrol: Patrol::start(plan, t0),
            t0,
            now: t0,
            log: Vec::new(),
            events: Vec::new(),
            finished: false,
        };
        sim.drain();
        sim
    }

    fn drain(&mut self) {
        while let Some(step) = self.patrol.poll(self.now) {
            let at = u64::try_from((self.now - self.t0).as_millis()).unwrap();
            let what = match step {
                Step::Move { velocity, until } => {
                    assert!(until > self.now, "a movement without end");
                    match (velocity.pan.signum(), velocity.tilt.signum()) {
                        (-1, 0) => "left",
                        (1, 0) => "right",
                        _ => "move",
                    }
                    .to_owned()
                }
                Step::Halt => "halt".to_owned(),
                Step::GotoPreset(preset) => format!("goto {preset}"),
                Step::Event(event) => {
                    let name = event.kind.name().to_owned();
                    self.events.push(event);
                    name
                }
                Step::Finished => {
                    self.finished = true;
                    continue;
                }
            };
            self.log.push((at, what));
        }
        assert!(
            self.patrol.deadline().is_none_or(|at| at > self.now),
            "a deadline that is past makes a busy loop"
        );
    }

    /// Lets time pass; every deadline is kept `late`.
    fn pass_late(&mut self, by: Duration, late: Duration) {
        let end = self.now + by;
        while let Some(at) = self.patrol.deadline().filter(|at| *at + late <= end) {
            self.now = self.now.max(at + late);
            self.drain();
        }
        self.now = end;
        self.drain();
    }

    fn pass(&mut self, by: Duration) {
        self.pass_late(by, Duration::ZERO);
    }

    fn fail(&mut self) {
        self.patrol.failed("no answer", self.now);
        self.drain();
    }

    fn succeed(&mut self) {
        self.patrol.succeeded();
        self.drain();
    }

    fn pause(&mut self) {
        self.patrol.pause("by command", self.now);
        self.drain();
    }

    fn resume(&mut self) {
        self.patrol.resume(self.now);
        self.drain();
    }

    fn state(&self) -> PatrolState {
        self.patrol.status().state
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
            .into_iter()
            .map(|(at, what)| format!("{at} {what}"))
            .collect()
    }

    fn kinds(&self) -> Vec<PatrolEventKind> {
        self.events.iter().map(|e| e.kind).collect()
    }
}

#[test]
fn the_specs_example_on_time() {
    let mut sim = Sim::new(plan(2, &EXAMPLE));
    sim.pass(secs(60));
    assert_eq!(
        sim.log(),
        [
            "0 STARTED",
            "0 left",
            "3000 halt",
            "5000 right",
            "8000 LOOP_END",
            "8000 left", // takes over without a stop
            "11000 halt",
            "13000 right",
            "16000 halt",
            "16000 LOOP_END",
            "16000 ENDED",
        ]
    );
    assert!(sim.finished && sim.patrol.is_over());
    assert_eq!(sim.patrol.deadline(), None);
    let loops: Vec<u64> = sim.events.iter().map(|e| e.current_loop).collect();
    assert_eq!(loops, [0, 0, 1, 1]);
}

#[test]
fn a_week_does_not_drift() {
    let mut sim = Sim::new(plan(0, &EXAMPLE));
    let week = secs(7 * 24 * 3600);
    sim.pass_late(week, ms(90));
    let loops = week.as_secs() / 8;
    let lefts: Vec<u64> = sim
        .log
        .iter()
        .filter(|(_, what)| what == "left")
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(u64::try_from(lefts.len()).unwrap(), loops + 1);
    for (n, at) in (0u64..).zip(&lefts) {
        let late = at - n * 8000;
        assert!(late <= 90, "loop {n} began {late} ms late");
    }
    assert_eq!(sim.patrol.status().current_loop, loops);
}

#[test]
fn movements_that_touch_take_over_from_each_other() {
    let mut sim = Sim::new(plan(
        1,
        &[
            ("LEFT", 0, 1000),
            ("RIGHT", 1000, 0),
            ("LEFT_UP", 1000, 1000),
            ("RIGHT", 2000, 1000),
            ("GOTO_PRESET", 3000, 1000),
        ],
    ));
    sim.pass(secs(5));
    assert_eq!(
        sim.log(),
        [
            "0 STARTED",
            "0 left",
            "1000 halt", // what follows has no length
            "1000 move",
            "2000 right",
            "3000 halt",
            "3000 goto 7",
            "4000 LOOP_END",
            "4000 ENDED",
        ]
    );
}

#[test]
fn gaps_and_a_late_first_waypoint() {
    let mut sim = Sim::new(plan(1, &[("LEFT", 2000, 1000), ("RIGHT", 6000, 1000)]));
    sim.pass(secs(10));
    assert_eq!(
        sim.log(),
        [
            "0 STARTED",
            "0 halt", // whatever moved the camera before
            "2000 left",
            "3000 halt",
            "6000 right",
            "7000 halt",
            "7000 LOOP_END",
            "7000 ENDED",
        ]
    );
}

#[test]
fn presets_dwell_and_are_not_stopped_at_the_end() {
    let mut sim = Sim::new(plan(
        1,
        &[
            ("GOTO_PRESET", 0, 4000),
            ("LEFT", 4000, 1000),
            ("GOTO_PRESET", 5000, 0),
        ],
    ));
    sim.pass(secs(10));
    assert_eq!(
        sim.log(),
        [
            "0 STARTED",
            "0 goto 7",
            "4000 left",
            "5000 halt",
            "5000 goto 7", // the way home
            "5000 LOOP_END",
            "5000 ENDED",
        ]
    );
}

#[test]
fn a_movement_of_no_length_or_speed_moves_nothing() {
    let mut sim = Sim::new(plan(1, &[("LEFT", 0, 0), ("STOP", 0, 1000)]));
    sim.pass(secs(2));
    assert_eq!(
        sim.log(),
        ["0 STARTED", "0 halt", "1000 LOOP_END", "1000 ENDED"]
    );
}

#[test]
fn pause_takes_effect_inside_a_waypoint_and_resume_does_the_rest() {
    let mut sim = Sim::new(plan(1, &EXAMPLE));
    sim.pass(ms(1200));
    sim.pause();
    assert_eq!(sim.state(), PatrolState::Paused);
    sim.pass(secs(3600));
    sim.pause();
    sim.resume();
    sim.resume();
    assert_eq!(sim.state(), PatrolState::Running);
    sim.pass(ms(1799));
    assert_eq!(sim.patrol.status().current_waypoint, 0);
    sim.pass(secs(10));
    assert_eq!(
        sim.log(),
        [
            "0 STARTED",
            "0 left",
            "1200 halt",
            "1200 PAUSED",
            "3601200 RESUMED",
            "3601200 left",
            "3603000 halt",
            "3605000 right",
            "3608000 halt",
            "3608000 LOOP_END",
            "3608000 ENDED",
        ]
    );
}

#[test]
fn resume_in_a_dwell_ends_what_an_operator_left_moving() {
    let mut sim = Sim::new(plan(1, &EXAMPLE));
    sim.pass(secs(4));
    sim.pause();
    sim.pass(secs(9));
    sim.log();
    sim.resume();
    assert_eq!(sim.log(), ["13000 RESUMED", "13000 halt"]);
    sim.pass(ms(999));
    assert!(sim.log().is_empty());
    sim.pass(ms(1));
    assert_eq!(sim.log(), ["14000 right"]);
}

#[test]
fn resume_on_the_way_to_a_preset_goes_there_again() {
    let mut sim = Sim::new(plan(
        0,
        &[("GOTO_PRESET", 0, 0), ("GOTO_PRESET", 5000, 3000)],
    ));
    sim.pass(secs(1));
    sim.pause();
    sim.pass(secs(1));
    sim.log();
    sim.resume();
    assert_eq!(sim.log(), ["2000 RESUMED", "2000 goto 7"]);
    sim.pass(secs(4));
    assert_eq!(sim.log(), ["6000 goto 7"]);
}

#[test]
fn stop_halts_unless_an_operator_has_taken_over() {
    let mut sim = Sim::new(plan(0, &EXAMPLE));
    sim.pass(secs(1));
    sim.log();
    sim.patrol.stop("by command");
    sim.drain();
    assert_eq!(sim.log(), ["1000 halt", "1000 ENDED"]);
    assert!(sim.finished);
    sim.patrol.stop("again");
    sim.resume();
    sim.pause();
    sim.fail();
    sim.pass(secs(100));
    assert!(sim.log().is_empty(), "a tour that is over came back");

    let mut sim = Sim::new(plan(0, &EXAMPLE));
    sim.pass(secs(1));
    sim.pause();
    sim.log();
    sim.patrol.stop("by command");
    sim.drain();
    assert_eq!(sim.log(), ["1000 ENDED"]);
}

#[test]
fn three_failures_in_a_row_suspend_and_a_camera_that_is_back_is_taken_up_again() {
    let mut sim = Sim::new(plan(1, &EXAMPLE));
    sim.pass(ms(500));
    sim.fail();
    sim.fail();
    sim.succeed();
    sim.fail();
    sim.fail();
    assert_eq!(sim.state(), PatrolState::Running);
    sim.log();
    sim.fail();
    assert_eq!(sim.state(), PatrolState::Paused);
    assert_eq!(sim.log(), ["500 halt", "500 PAUSED"]);
    assert!(
        sim.events
            .last()
            .unwrap()
            .reason
            .as_deref()
            .unwrap()
            .contains("3 times in a row: no answer")
    );
    sim.pass(secs(10));
    assert_eq!(sim.log(), ["10500 left"]);
    sim.pass(secs(2));
    sim.fail();
    assert_eq!(sim.state(), PatrolState::Paused);
    sim.pass(secs(8));
    assert_eq!(sim.log(), ["20500 left"]);
    sim.pass(ms(100));
    sim.succeed();
    assert_eq!(sim.state(), PatrolState::Running);
    sim.pass(secs(10));
    assert_eq!(
        sim.log(),
        [
            "20600 RESUMED",
            "23000 halt", // what was left of it counts from the try
            "25000 right",
            "28000 halt",
            "28000 LOOP_END",
            "28000 ENDED",
        ]
    );
}

#[test]
fn suspended_for_five_minutes_is_failed() {
    let mut sim = Sim::new(plan(0, &EXAMPLE));
    for _ in 0..3 {
        sim.fail();
    }
    sim.log();
    let mut tries = 0;
    for _ in 0..299 {
        sim.pass(secs(1));
        tries += sim.log().iter().filter(|l| l.contains("left")).count();
        sim.fail();
    }
    assert_eq!(tries, 29);
    assert_eq!(sim.state(), PatrolState::Paused);
    sim.pass(secs(1));
    assert_eq!(sim.log(), ["300000 halt", "300000 FAILED"]);
    assert!(sim.finished);
    let last = sim.events.last().unwrap();
    assert!(last.reason.as_deref().unwrap().contains("no answer"));
}

#[test]
fn a_try_that_is_never_answered_does_not_keep_it_from_failing() {
    let mut sim = Sim::new(plan(0, &EXAMPLE));
    for _ in 0..3 {
        sim.fail();
    }
    sim.pass(secs(1000));
    assert_eq!(sim.kinds().last(), Some(&PatrolEventKind::Failed));
}

#[test]
fn a_pause_by_an_operator_ends_the_retries() {
    let mut sim = Sim::new(plan(0, &EXAMPLE));
    sim.pass(ms(500));
    for _ in 0..3 {
        sim.fail();
    }
    sim.pass(secs(10));
    sim.log();
    sim.pause();
    assert_eq!(sim.log(), ["10500 halt", "10500 PAUSED"]);
    sim.succeed();
    sim.fail();
    sim.pass(secs(3600));
    assert!(sim.log().is_empty());
    assert_eq!(sim.state(), PatrolState::Paused);
    sim.resume();
    assert_eq!(sim.state(), PatrolState::Running);
    assert_eq!(sim.log(), ["3610500 RESUMED", "3610500 left"]);
    sim.pass(ms(2499));
    assert!(sim.log().is_empty());
    sim.pass(ms(1));
    assert_eq!(sim.log(), ["3613000 halt"]);
}

#[test]
fn resume_of_a_suspended_tour_tries_at_once() {
    let mut sim = Sim::new(plan(0, &EXAMPLE));
    for _ in 0..3 {
        sim.fail();
    }
    sim.pass(secs(1));
    sim.log();
    sim.resume();
    assert_eq!(sim.log(), ["1000 RESUMED", "1000 left"]);
    sim.fail();
    sim.fail();
    assert_eq!(sim.state(), PatrolState::Running);
    sim.fail();
    assert_eq!(sim.state(), PatrolState::Paused);
}

#[test]
fn one_that_slept_skips_what_is_past_and_keeps_the_timetable() {
    let mut sim = Sim::new(plan(0, &EXAMPLE));
    sim.pass(secs(1));
    sim.log();
    // Nobody polls for 2 loops and 5.5 s.
    sim.now += ms(20_500);
    sim.drain();
    assert_eq!(sim.log(), ["21500 halt", "21500 LOOP_END", "21500 right"]);
    assert_eq!(sim.patrol.status().current_loop, 2);
    sim.pass(secs(3));
    assert_eq!(sim.log(), ["24000 LOOP_END", "24000 left"]);

    let mut sim = Sim::new(plan(2, &EXAMPLE));
    sim.now += secs(1000);
    sim.drain();
    assert_eq!(sim.kinds().last(), Some(&PatrolEventKind::Ended));
    assert_eq!(sim.patrol.status().current_loop, 1);
}

#[derive(Debug, Clone)]
enum Do {
    Pass(u64),
    Pause,
    Resume,
    Fail,
    Succeed,
}

fn doing() -> impl Strategy<Value = Do> {
    prop_oneof![
        4 => (0..9000u64).prop_map(Do::Pass),
        1 => Just(Do::Pause),
        2 => Just(Do::Resume),
        2 => Just(Do::Fail),
        2 => Just(Do::Succeed),
    ]
}

fn schedule() -> impl Strategy<Value = Vec<(&'static str, u64, u64)>> {
    let action = prop_oneof![
        Just("LEFT"),
        Just("RIGHT"),
        Just("STOP"),
        Just("GOTO_PRESET"),
        Just("LEFT_UP"),
    ];
    proptest::collection::vec((action, 0..12_000u64, 0..4000u64), 1..12)
        .prop_filter("a loop of 1 s", |w| w.iter().any(|(_, s, d)| s + d >= 1000))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Every waypoint begins when the timetable says, in every loop, however late polls come.
    #[test]
    fn undisturbed_it_keeps_time(
        waypoints in schedule(),
        loops in 1..6i64,
        late in 0..200u64,
    ) {
        let plan = plan(loops, &waypoints);
        let mut sim = Sim::new(plan.clone());
        let all = plan.length * u32::try_from(loops).unwrap();
        sim.pass_late(all + secs(1), ms(late));
        prop_assert!(sim.finished);
        let mut due = Vec::new();
        for n in 0..u32::try_from(loops).unwrap() {
            for slot in plan.slots.iter() {
                let begin = u64::try_from((plan.length * n + slot.begin).as_millis()).unwrap();
                let lasts = u64::try_from(slot.end.saturating_sub(slot.begin).as_millis()).unwrap();
                if matches!(slot.act, Act::Move(_)) && lasts > 3 * late {
                    due.push(begin);
                }
            }
        }
        let begun: Vec<u64> = sim.log.iter()
            .filter(|(_, what)| matches!(what.as_str(), "left" | "right" | "move"))
            .map(|(at, _)| *at)
            .collect();
        for begin in due {
            prop_assert!(
                begun.iter().any(|at| (begin..=begin + 2 * late).contains(at)),
                "the waypoint of {begin} is not among {begun:?}"
            );
        }
        if late == 0 {
            let ends = plan.slots.iter().filter(|s| {
                matches!(s.act, Act::Move(_)) && s.end > s.begin
            }).count();
            prop_assert_eq!(begun.len(), ends * usize::try_from(loops).unwrap());
        }
    }

    /// Whatever interrupts: every movement is followed by a halt at its end or before, a
    /// waypoint's movements add up to its duration, and what is over says so once.
    #[test]
    fn interrupted_it_ends_every_movement(
        waypoints in schedule(),
        doings in proptest::collection::vec(doing(), 0..40),
    ) {
        let plan = plan(1, &waypoints);
        let mut sim = Sim::new(plan.clone());
        let mut failed = false;
        for doing in doings {
            match doing {
                Do::Pass(by) => sim.pass(ms(by)),
                Do::Pause => sim.pause(),
                Do::Resume => sim.resume(),
                Do::Fail => { failed = true; sim.fail(); }
                Do::Succeed => sim.succeed(),
            }
        }
        sim.resume();
        for _ in 0..1000 {
            if sim.finished { break; }
            sim.pass(secs(1));
            sim.succeed();
        }
        prop_assert!(sim.finished, "it never ends: {:?}", sim.patrol);
        let over = sim.kinds().into_iter()
            .filter(|k| matches!(k, PatrolEventKind::Ended | PatrolEventKind::Failed))
            .count();
        prop_assert_eq!(over, 1);
        let mut moving_since = None;
        let mut moved = 0;
        for (at, what) in &sim.log {
            match what.as_str() {
                "left" | "right" | "move" => {
                    // One takes over from another, or a failed try is made anew.
                    if let Some(since) = moving_since.replace(*at) {
                        moved += at - since;
                    }
                }
                "halt" => if let Some(since) = moving_since.take() {
                    moved += at - since;
                },
                _ => {}
            }
        }
        prop_assert!(moving_since.is_none(), "left moving: {:?}", sim.log);
        if !failed {
            let wanted: u128 = plan.slots.iter()
                .filter(|s| matches!(s.act, Act::Move(_)))
                .map(|s| s.end.saturating_sub(s.begin).as_millis())
                .sum();
            prop_assert_eq!(u128::from(moved), wanted);
        }
    }
}
