//! The lane over any sequence of commands, answers, losses and delays: within a bounded time
//! after the last stop or deadline the camera stands still, and every command got exactly one
//! result. (That none gets two, that no connection carries two requests at once and that no
//! deadline is past after a turn is checked by the simulation at every step.)

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::sim::{Manners, Quirks, Sim, ms, secs};
use crate::application::camera::order::*;
use crate::application::camera::ptz_ask::PtzAsk;
use crate::domain::error::ErrorCode;
use crate::domain::patrol::{PatrolEventKind, PatrolState};
use crate::domain::ptz::{Drive, Drives, PtzAction, Velocity};

/// Movements, presets, own patrols, auto focus, stops by speed 0.
const ACTIONS: [PtzAction; 14] = [
    PtzAction::PanLeft,
    PtzAction::PanRight,
    PtzAction::TiltUp,
    PtzAction::ZoomIn,
    PtzAction::RightDown,
    PtzAction::FocusNear,
    PtzAction::FocusFar,
    PtzAction::IrisOpen,
    PtzAction::FocusAuto,
    PtzAction::SetPreset,
    PtzAction::GotoPreset,
    PtzAction::DeletePreset,
    PtzAction::StartPatrol,
    PtzAction::StopPatrol,
];

#[derive(Debug, Clone)]
enum Do {
    Act {
        action: usize,
        speed: i64,
        duration: Option<i64>,
        ably: bool,
        age: u64,
    },
    Stop,
    StopOne(usize),
    Query,
    StartPatrol(i64, Vec<(&'static str, u64, u64)>),
    Patrol(u8),
    Pass(u64),
    LinkLost,
    LinkBack,
    Manners(Manners),
    StopManners(Option<Manners>),
    Quirks(u8),
}

fn schedule() -> impl Strategy<Value = Vec<(&'static str, u64, u64)>> {
    let action = prop_oneof![
        Just("LEFT"),
        Just("RIGHT"),
        Just("STOP"),
        Just("GOTO_PRESET"),
        Just("ZOOM_IN"),
    ];
    proptest::collection::vec((action, 0..8000u64, 0..4000u64), 1..6)
        .prop_filter("a loop of 1 s", |w| w.iter().any(|(_, s, d)| s + d >= 1000))
}

fn good() -> impl Strategy<Value = Manners> {
    prop_oneof![
        3 => (1..100u64).prop_map(|rtt| Manners::Good { rtt }),
        1 => (100..1500u64).prop_map(|rtt| Manners::Good { rtt }),
    ]
}

fn bad() -> impl Strategy<Value = Manners> {
    prop_oneof![
        3 => good(),
        1 => (1500..9000u64).prop_map(|rtt| Manners::Good { rtt }),
        1 => (0..9000u64).prop_map(|after| Manners::AnswerLost { after }),
        // Later than the echo nothing can be done; real cameras have long closed the connection.
        1 => (0..9000u64, 0..2900u64).prop_map(|(after, late)| Manners::Late { after, late }),
        1 => Just(Manners::Unreachable),
        1 => Just(Manners::Dead),
        1 => Just(Manners::Stranger),
        1 => Just(Manners::SenderStuck),
        1 => prop_oneof![
            Just(ErrorCode::ValidationFailed),
            Just(ErrorCode::Unauthorized),
            Just(ErrorCode::NodeBusy),
            Just(ErrorCode::InternalError),
        ].prop_map(Manners::Refuses),
    ]
}

fn command() -> BoxedStrategy<Do> {
    let act = (
        0..ACTIONS.len(),
        prop_oneof![1 => Just(0i64), 9 => 1..=100i64],
        proptest::option::of(1..20_000i64),
        any::<bool>(),
        prop_oneof![8 => Just(0u64), 1 => 0..10_000u64],
    )
        .prop_map(|(action, speed, duration, ably, age)| Do::Act {
            action,
            speed,
            duration,
            ably,
            age,
        });
    prop_oneof![
        8 => act,
        3 => Just(Do::Stop),
        1 => (0..3usize).prop_map(Do::StopOne),
        1 => Just(Do::Query),
        1 => (0..3i64, schedule()).prop_map(|(loops, plan)| Do::StartPatrol(loops, plan)),
        2 => (0..4u8).prop_map(Do::Patrol),
        5 => (0..300u64).prop_map(Do::Pass),
        3 => (0..12_000u64).prop_map(Do::Pass),
        1 => Just(Do::LinkLost),
        2 => Just(Do::LinkBack),
    ]
    .boxed()
}

fn well() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => command(),
        1 => good().prop_map(Do::Manners),
    ]
}

fn badly() -> impl Strategy<Value = Do> {
    prop_oneof![
        8 => command(),
        2 => bad().prop_map(Do::Manners),
        1 => proptest::option::of(bad()).prop_map(Do::StopManners),
        1 => (0..16u8).prop_map(Do::Quirks),
    ]
}

/// A reason for a drive to move, or that there is none any more.
enum Reason {
    /// This command, if it is carried out.
    Command(u64, Instant),
    /// A tour.
    Tour(Instant),
    /// No longer than this.
    Until(Instant),
}

/// The simulation, and what each drive has a reason to do.
struct World {
    sim: Sim,
    reasons: [Vec<Reason>; 3],
    /// Whether the camera is checked to stand still when there is no reason to move.
    strict: bool,
}

/// A stop waits for an unanswered movement (1.5 s), may itself have just left (1.5 s) and is then
/// carried out after half a round trip.
const SLACK: Duration = Duration::from_secs(4);

impl World {
    fn new(strict: bool) -> Self {
        let sim = Sim::new();
        Self {
            reasons: [Vec::new(), Vec::new(), Vec::new()],
            sim,
            strict,
        }
    }

    /// Until when the drive may move.
    fn until(&self, drive: Drive) -> Option<Instant> {
        let mut until = None;
        for reason in &self.reasons[drive as usize] {
            until = match reason {
                Reason::Command(id, at) => match self.sim.reply(*id) {
                    Some(Ok(success)) if !success.superseded => Some(*at),
                    Some(_) => until,
                    None => until.max(Some(*at)),
                },
                Reason::Tour(at) => until.max(Some(*at)),
                Reason::Until(at) => until.map(|old: Instant| old.min(*at)),
            };
        }
        until
    }

    fn because(&mut self, drive: Drive, reason: Reason) {
        self.reasons[drive as usize].push(reason);
    }

    /// The drive has no reason any more.
    fn should_stop(&mut self, drive: Drive) {
        self.because(drive, Reason::Until(self.sim.now.mono + SLACK));
    }

    fn apply(&mut self, doing: Do) {
        let walks = self.walks();
        match doing {
            Do::Act {
                action,
                speed,
                duration,
                ably,
                age,
            } => {
                let origin = if ably { Origin::Ably } else { Origin::Rest };
                let order = Order::ptz(&PtzAsk {
                    speed: Some(speed),
                    duration,
                    preset: Some("3".into()),
                    patrol: Some(2),
                    ..PtzAsk::new(ACTIONS[action])
                })
                .unwrap();
                let drive = match &order {
                    Order::Move {
                        drive, duration, ..
                    } => Some((*drive, Some(duration.unwrap_or(secs(30))))),
                    Order::Stop(drives) => drives.iter().next().map(|d| (d, None)),
                    _ => None,
                };
                let id = self.sim.aged(origin, order, ms(age));
                match drive {
                    // It may wait for `command_ttl` before it is sent.
                    Some((drive, Some(lasts))) => {
                        let until = self.sim.now.mono + secs(5) + lasts + SLACK;
                        self.because(drive, Reason::Command(id, until));
                    }
                    Some((drive, None)) => self.should_stop(drive),
                    None => {}
                }
            }
            Do::Stop => {
                self.sim.stop();
                for drive in Drive::ALL {
                    self.should_stop(drive);
                }
            }
            Do::StopOne(n) => {
                let drive = Drive::ALL[n];
                self.sim
                    .order(Origin::Rest, Order::Stop(Drives::only(drive)));
                self.should_stop(drive);
            }
            Do::Query => {
                self.sim.order(Origin::Rest, Order::Query(Query::Check));
            }
            Do::StartPatrol(loops, plan) => {
                self.sim.start_patrol(loops, &plan);
            }
            Do::Patrol(n) => {
                self.sim.patrol(match n {
                    0 => PatrolOrder::Stop(None),
                    1 => PatrolOrder::Pause(None),
                    2 => PatrolOrder::Resume(None),
                    _ => PatrolOrder::Status,
                });
            }
            Do::Pass(by) => self.pass(ms(by)),
            Do::LinkLost => {
                self.sim.link_lost();
                assert!(!self.sim.lane.moves_for_cloud() || !self.sim.lane.moving().is_empty());
            }
            Do::LinkBack => self.sim.lane.link_back(),
            Do::Manners(manners) => self.sim.manners = manners,
            Do::StopManners(manners) => self.sim.stop_manners = manners,
            Do::Quirks(bits) => {
                let code = ErrorCode::InternalError;
                self.sim.quirks = Quirks {
                    stop: (bits & 1 != 0).then_some(code),
                    zero: (bits & 3 == 2).then_some(code),
                    lens: (bits & 4 != 0).then_some(ErrorCode::ValidationFailed),
                    own_limit: (bits & 8 != 0).then_some(1500),
                };
            }
        }
        self.sim.settle();
        self.toured(walks);
    }

    fn walks(&self) -> bool {
        self.sim
            .lane
            .patrol()
            .is_some_and(|p| p.state == PatrolState::Running)
    }

    fn toured(&mut self, walked: bool) {
        if self.walks() || walked {
            let until = self.sim.now.mono + SLACK;
            self.because(Drive::PanTiltZoom, Reason::Tour(until));
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.sim.now.mono + by;
        while self.sim.now.mono < end {
            let walks = self.walks();
            let slice = end.saturating_duration_since(self.sim.now.mono);
            self.sim.pass(slice.min(ms(100)));
            self.toured(walks);
            self.check();
        }
    }

    fn check(&self) {
        if !self.strict {
            return;
        }
        for drive in Drive::ALL {
            let moves = !Velocity::ZERO.with(drive, self.sim.velocity).is_zero();
            assert!(
                !moves || Some(self.sim.now.mono) <= self.until(drive),
                "{} moves at {} ms for no reason: {:?}",
                drive.name(),
                self.sim.at(),
                self.sim.sent
            );
        }
    }

    /// The camera behaves from now on.
    fn heal(&mut self) {
        self.sim.manners = Manners::Good { rtt: 40 };
        self.sim.stop_manners = None;
        self.sim.quirks = Quirks::default();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A camera that answers: at every moment, not only at the end, nothing moves for longer than
    /// its command allows and a few round trips.
    #[test]
    fn a_camera_that_answers_moves_for_a_reason(
        doings in proptest::collection::vec(well(), 1..60),
    ) {
        let mut world = World::new(true);
        for doing in doings {
            world.apply(doing);
            world.check();
        }
        world.sim.patrol(PatrolOrder::Stop(None));
        world.pass(secs(60));
        prop_assert!(world.sim.still());
        prop_assert!(world.sim.lane.is_quiet(), "{:?}", world.sim.lane);
        prop_assert_eq!(world.sim.unanswered(), Vec::<u64>::new());
        prop_assert_eq!(world.sim.lane.next_deadline(), None);
    }

    /// A camera that does what it likes, and then behaves: it stands still within a minute of the
    /// last deadline, and every command was answered.
    #[test]
    fn whatever_happened_it_stands_still_in_the_end(
        doings in proptest::collection::vec(badly(), 1..60),
        stop in any::<bool>(),
    ) {
        let mut world = World::new(false);
        for doing in doings {
            world.apply(doing);
        }
        world.heal();
        world.sim.patrol(PatrolOrder::Stop(None));
        if stop {
            world.sim.stop();
            // A request is out for 8.5 s at most, a stop that is refused is tried every 10 s, and
            // the echo follows after 3 s.
            world.pass(secs(25));
        } else {
            world.pass(secs(60));
        }
        prop_assert!(world.sim.still(), "{:?}", world.sim.sent);
        world.pass(secs(60));
        prop_assert!(world.sim.still());
        prop_assert!(world.sim.lane.is_quiet(), "{:?}", world.sim.lane);
        prop_assert_eq!(world.sim.unanswered(), Vec::<u64>::new());
        let kinds = world.sim.patrol_kinds();
        let count = |kind| kinds.iter().filter(|k| **k == kind).count();
        prop_assert_eq!(
            count(PatrolEventKind::Started),
            count(PatrolEventKind::Ended) + count(PatrolEventKind::Failed)
        );
    }

    /// Shut down at any moment: within 6 s it is idle, the camera stands still if it can be
    /// reached, and every command was answered.
    #[test]
    fn shutdown_leaves_no_camera_moving(
        doings in proptest::collection::vec(well(), 1..40),
        rtt in 1..1000u64,
        late in proptest::option::of((0..500u64, 0..2000u64)),
    ) {
        let mut world = World::new(false);
        for doing in doings {
            world.apply(doing);
        }
        if let Some((after, late)) = late {
            world.sim.manners = Manners::Late { after, late };
            world.sim.act(PtzAction::PanLeft, None);
            world.sim.act(PtzAction::FocusFar, None);
        }
        world.sim.manners = Manners::Good { rtt };
        world.sim.shut_down();
        let mut took = 0;
        while !world.sim.lane.is_idle() {
            world.pass(ms(100));
            took += 1;
            prop_assert!(took <= 60, "{:?}", world.sim.lane);
        }
        prop_assert!(world.sim.still(), "{:?}", world.sim.sent);
        prop_assert_eq!(world.sim.unanswered(), Vec::<u64>::new());
        world.pass(secs(60));
        prop_assert!(world.sim.still());
    }

    /// Shut down while the camera does what it likes: it still takes no longer, and everything
    /// was answered.
    #[test]
    fn shutdown_never_takes_longer(
        doings in proptest::collection::vec(badly(), 1..40),
    ) {
        let mut world = World::new(false);
        for doing in doings {
            world.apply(doing);
        }
        world.sim.shut_down();
        world.sim.stop();
        world.pass(secs(6));
        prop_assert!(world.sim.lane.is_idle());
        prop_assert_eq!(world.sim.unanswered(), Vec::<u64>::new());
        prop_assert_eq!(world.sim.lane.next_deadline(), None);
    }

    /// The link is lost at any moment: what the cloud alone has moved stands still at once.
    #[test]
    fn link_loss_leaves_no_camera_moving(
        doings in proptest::collection::vec(well(), 1..40),
    ) {
        let mut world = World::new(false);
        for doing in doings {
            let doing = match doing {
                Do::Act { action, speed, duration, age, .. } => {
                    Do::Act { action, speed, duration, ably: true, age }
                }
                Do::StartPatrol(..) | Do::Patrol(_) => Do::Query,
                other => other,
            };
            world.apply(doing);
        }
        world.sim.link_lost();
        world.pass(SLACK);
        prop_assert!(world.sim.still(), "{:?}", world.sim.sent);
        prop_assert!(!world.sim.lane.moves_for_cloud());
    }
}
