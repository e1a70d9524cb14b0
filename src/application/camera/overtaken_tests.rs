//! What is older than a stop and comes after it moves nothing, whatever its camera is called.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::fakes::{self, Asked, FakeNames};
use super::overtaken::{Call, Overtaken};
use super::{
    CameraAsk, CameraParams, CameraReply, CameraService, Host, Order, Origin, PatrolOrder, PtzAsk,
    Sent,
};
use crate::domain::camera::Credentials;
use crate::domain::gateway::StreamPlace;
use crate::domain::patrol::{PatrolAsk, Plan, WaypointAsk};
use crate::domain::ptz::PtzAction;
use crate::domain::stream::Id;
use crate::util::secret::Secret;

const SOON: Duration = Duration::from_secs(10);
const IP: &str = "192.168.7.1";

/// What passed while others were held, in the section that followed the loss.
fn live(made_ms: i64, number: u64) -> Sent {
    sent(made_ms, 1, number, false)
}

/// What was held: made then, and fetched again by a later section.
fn rewound(made_ms: i64, number: u64) -> Sent {
    sent(made_ms, 2, number, true)
}

fn sent(made_ms: i64, section: u64, number: u64, held: bool) -> Sent {
    Sent {
        place: Some(StreamPlace {
            made_ms,
            section,
            number,
            held,
        }),
        ..Sent::now()
    }
}

struct Bench {
    cameras: CameraService,
    asked: Asked,
}

impl Bench {
    fn new() -> Self {
        let (cameras, asked, _) = fakes::cameras();
        Self { cameras, asked }
    }

    fn send(&self, ask: &CameraAsk, sent: Sent, order: Order) -> Option<CameraReply> {
        let done = self.cameras.submit(ask, Origin::Ably, sent, order).ok()?;
        Some(done.recv_timeout(SOON).unwrap())
    }

    /// Whether it was answered so.
    fn superseded(&self, ask: &CameraAsk, sent: Sent, order: Order) -> bool {
        let reply = self.send(ask, sent, order).unwrap();
        reply.result.unwrap().superseded
    }

    /// What set something in motion.
    fn moves(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let moves = asked.iter().filter(|line| {
            line.contains(" for ") || line.contains("goto") || line.contains("start patrol")
        });
        moves.cloned().collect()
    }
}

fn called(id: Option<&str>, host: Option<&str>) -> CameraAsk {
    CameraAsk {
        camera_id: id.map(|id| Id::parse("cameraId", id).unwrap()),
        said: CameraParams {
            host: host.map(|host| Host::parse("ip", host).unwrap()),
            login: host.map(|_| Credentials::new("admin", Secret::new(fakes::PASSWORD)).unwrap()),
            ..CameraParams::default()
        },
    }
}

fn ptz(action: PtzAction) -> Order {
    Order::ptz(&PtzAsk {
        preset: Some("3".into()),
        patrol: Some(1),
        ..PtzAsk::new(action)
    })
    .unwrap()
}

fn tour(id: &str) -> Order {
    let plan = Plan::check(&PatrolAsk {
        tour: Id::parse("tourId", id).unwrap(),
        camera: Id::parse("cameraId", "cam").unwrap(),
        loop_count: None,
        waypoints: vec![WaypointAsk {
            action: "LEFT".into(),
            duration: Some(5_000),
            ..WaypointAsk::default()
        }],
    });
    Order::Patrol(PatrolOrder::Start(Box::new(plan.unwrap())))
}

fn tour_stop(id: Option<&str>) -> Order {
    Order::Patrol(PatrolOrder::Stop(
        id.map(|id| Id::parse("tourId", id).unwrap()),
    ))
}

fn pairs() -> Vec<(Order, Order)> {
    let stop = || ptz(PtzAction::Stop);
    let zero = Order::ptz(&PtzAsk {
        speed: Some(0),
        ..PtzAsk::new(PtzAction::TiltUp)
    });
    vec![
        (ptz(PtzAction::PanLeft), stop()),
        (ptz(PtzAction::PanLeft), zero.unwrap()),
        (ptz(PtzAction::FocusFar), stop()),
        (ptz(PtzAction::GotoPreset), stop()),
        (ptz(PtzAction::StartPatrol), stop()),
        (tour("t"), stop()),
        (tour("t"), tour_stop(None)),
        (tour("t"), tour_stop(Some("t"))),
        (tour("t"), Order::Patrol(PatrolOrder::Pause(None))),
        (Order::Patrol(PatrolOrder::Resume(None)), stop()),
        (
            Order::Patrol(PatrolOrder::Resume(None)),
            Order::Patrol(PatrolOrder::Pause(None)),
        ),
    ]
}

#[test]
fn what_was_held_or_fetched_again_never_follows_its_later_stop() {
    for (moves, stop) in pairs() {
        // A second apart; the same millisecond; two of one array that was held but for its stop.
        for (older, newer) in [
            (rewound(1_000, 9), live(2_000, 4)),
            (rewound(2_000, 9), live(2_000, 4)),
            (sent(2_000, 1, 3, true), live(2_000, 4)),
        ] {
            let bench = Bench::new();
            let cam = called(Some("cam"), Some(IP));
            bench.send(&cam, newer, stop.clone());
            let resume = matches!(moves, Order::Patrol(PatrolOrder::Resume(_)));
            if resume && bench.cameras.lanes() == 0 {
                // There is no tour to go on with.
                assert!(bench.send(&cam, older, moves.clone()).is_none());
            } else {
                assert!(
                    bench.superseded(&cam, older, moves.clone()),
                    "{moves:?} {stop:?}"
                );
            }
            assert_eq!(bench.moves(), [""; 0], "{moves:?} after {stop:?}");
        }
    }
}

#[test]
fn what_is_newer_than_the_stop_goes_ahead() {
    for (moves, stop) in pairs() {
        for (newer, older) in [
            (rewound(3_000, 9), live(2_000, 4)),
            (sent(2_000, 1, 5, true), live(2_000, 4)),
            // In one section the cloud sends in order, whatever its clocks say.
            (live(1_999, 5), live(2_000, 4)),
        ] {
            let bench = Bench::new();
            let cam = called(Some("cam"), Some(IP));
            bench.send(&cam, older, stop.clone());
            if let Some(reply) = bench.send(&cam, newer, moves.clone()) {
                assert!(!reply.result.is_ok_and(|s| s.superseded), "{moves:?}");
            }
        }
    }
}

#[test]
fn a_paused_tour_is_not_resumed_by_what_is_older_than_the_pause() {
    let bench = Bench::new();
    let cam = called(Some("cam"), Some(IP));
    bench.send(&cam, live(1_000, 1), tour("t")).unwrap();
    let pause = Order::Patrol(PatrolOrder::Pause(None));
    bench.send(&cam, live(3_000, 2), pause).unwrap();
    let resume = Order::Patrol(PatrolOrder::Resume(None));
    let reply = bench.send(&cam, rewound(2_000, 3), resume).unwrap();
    let success = reply.result.unwrap();
    assert!(success.superseded);
    // What is told of the tour is true of it.
    assert_eq!(success.patrol.unwrap().state.name(), "PAUSED");
}

#[test]
fn by_whatever_name_the_stop_came() {
    // The stop by one name, the movement by another, nothing known of the camera before.
    let with_port = |mut ask: CameraAsk| {
        ask.said.port = Some(8899);
        ask
    };
    let cases = [
        (called(None, Some(IP)), called(Some("cam"), Some(IP))),
        (called(Some("cam"), Some(IP)), called(None, Some(IP))),
        (called(Some("one"), Some(IP)), called(Some("two"), Some(IP))),
        // It can't be resolved: nobody has said yet where that camera is.
        (called(Some("cam"), None), called(Some("cam"), Some(IP))),
        // Only the movement knows the port.
        (
            called(None, Some(IP)),
            with_port(called(Some("cam"), Some(IP))),
        ),
        // By its name, which leads there.
        (
            called(None, Some("dome.lan")),
            called(Some("cam"), Some("192.168.0.9")),
        ),
        (
            called(None, Some("192.168.0.9")),
            called(Some("cam"), Some("dome.lan")),
        ),
    ];
    for (stop, moves) in cases {
        let bench = Bench::new();
        bench.send(&stop, live(2_000, 4), ptz(PtzAction::Stop));
        let overtaken = bench.superseded(&moves, rewound(1_000, 9), ptz(PtzAction::PanLeft));
        assert!(overtaken, "{stop:?} {moves:?}");
        assert_eq!(bench.moves(), [""; 0]);
    }
}

#[test]
fn no_other_camera_drive_or_tour_is_stopped_by_it() {
    let bench = Bench::new();
    let cam = called(Some("cam"), Some(IP));
    let mut channel = called(Some("recorder"), Some("192.168.7.2"));
    channel.said.channel = Some(2);
    let focus = Order::ptz(&PtzAsk {
        speed: Some(0),
        ..PtzAsk::new(PtzAction::FocusFar)
    });
    bench.send(&cam, live(2_000, 4), focus.unwrap());
    bench.send(&channel, live(2_000, 5), ptz(PtzAction::Stop));
    let other = called(Some("other"), Some("192.168.7.3"));
    bench.send(&other, live(2_000, 6), tour_stop(Some("another")));
    let mut first = channel.clone();
    first.said.channel = Some(1);
    let old = |number| rewound(1_000, number);
    assert!(!bench.superseded(&cam, old(10), ptz(PtzAction::PanLeft)));
    assert!(!bench.superseded(&first, old(11), ptz(PtzAction::PanLeft)));
    assert!(!bench.superseded(&other, old(12), tour("t")));
    assert!(!bench.superseded(&other, old(13), ptz(PtzAction::PanLeft)));
    let mut nat = called(Some("nat_1"), Some("192.168.7.4"));
    nat.said.port = Some(8001);
    bench.send(&nat, live(2_000, 7), ptz(PtzAction::Stop));
    let mut beside = called(Some("nat_2"), Some("192.168.7.4"));
    beside.said.port = Some(8002);
    assert!(!bench.superseded(&beside, old(14), ptz(PtzAction::PanLeft)));
}

#[test]
fn of_what_did_not_come_by_the_cloud_the_order_of_arrival_counts() {
    // A held movement of the cloud, a stop of the local API meanwhile.
    let bench = Bench::new();
    let cam = called(Some("cam"), Some(IP));
    let held = rewound(1_000, 9);
    std::thread::sleep(Duration::from_millis(2));
    bench.send(&cam, Sent::now(), ptz(PtzAction::Stop));
    assert!(bench.superseded(&cam, held, ptz(PtzAction::PanLeft)));
    std::thread::sleep(Duration::from_millis(2));
    assert!(!bench.superseded(&cam, Sent::now(), ptz(PtzAction::PanLeft)));
    // A movement whose host name is looked up, a stop by the address meanwhile.
    let names = Arc::new(FakeNames(Mutex::new(Ok(vec![IP.parse().unwrap()]))));
    let (cameras, asked, _) = fakes::cameras_named(names.clone());
    let waits = {
        let lookup = names.0.lock().unwrap();
        let waits = cameras.submit(
            &called(None, Some("dome.lan")),
            Origin::Rest,
            Sent::now(),
            ptz(PtzAction::PanLeft),
        );
        std::thread::sleep(Duration::from_millis(2));
        let stop = cameras.submit(
            &called(None, Some(IP)),
            Origin::Rest,
            Sent::now(),
            ptz(PtzAction::Stop),
        );
        assert!(stop.unwrap().recv_timeout(SOON).unwrap().result.is_ok());
        drop(lookup);
        waits.unwrap()
    };
    let reply = waits.recv_timeout(SOON).unwrap();
    assert!(reply.result.unwrap().superseded);
    assert!(!asked.lock().unwrap().iter().any(|l| l.contains(" for ")));
}

#[test]
fn it_is_remembered_for_as_long_as_a_rewind_reaches_back_and_no_longer() {
    let (mut stops, start) = (Overtaken::default(), Instant::now());
    let cam = called(Some("cam"), Some(IP));
    let spot = super::book::ChannelAddress {
        ip: IP.parse().unwrap(),
        port: 80,
        channel: 1,
    };
    let moves = ptz(PtzAction::PanLeft);
    let stop = ptz(PtzAction::Stop);
    let older = Call::new(&cam, rewound(1_000, 9));
    stops.note(&Call::new(&cam, live(2_000, 4)), Some(spot), &stop, start);
    // An older one that comes later takes nothing back.
    stops.note(&Call::new(&cam, rewound(500, 5)), Some(spot), &stop, start);
    for (after, overtaken) in [(0, true), (170, true), (301, false)] {
        let now = start + Duration::from_secs(after);
        assert_eq!(stops.has(&older, &spot, &moves, now), overtaken, "{after}");
    }
    // A joystick's stops are one entry, and many cameras' have a bound.
    for number in 0..5_000 {
        let one = called(Some(&format!("c{}", number % 2_500)), None);
        let call = Call::new(&one, live(3_000, number));
        stops.note(&call, None, &stop, start);
    }
    assert_eq!(stops.len(), 1_024);
    for number in 5_000..5_100 {
        let call = Call::new(&cam, live(3_000, number));
        stops.note(&call, Some(spot), &stop, start);
    }
    assert_eq!(stops.len(), 1_024);
    let last = called(Some("c2499"), None);
    let call = Call::new(&last, rewound(1_000, 6_000));
    assert!(stops.has(&call, &spot, &moves, start));
}
