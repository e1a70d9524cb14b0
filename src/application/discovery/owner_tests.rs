//! Discovery as a whole, with a scanner that does as it is told.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::inventory::tests::find;
use super::networks::Networks;
use super::service::DiscoveryService;
use super::shared::{DiscoveryObserver, DiscoveryParts, ScanPolicy, ScanReply, ScanState};
use super::tally::SweepEnd;
use crate::application::camera::fakes::{self, Asked};
use crate::domain::discovery::{
    CameraScannerGateway, Certainty, Find, SweepOrder, SweepReport, VendorGuess,
};
use crate::domain::node::Camera;

const SOON: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(3_600);

/// What the next sweep does.
enum Act {
    Find(Vec<Find>),
    Panic,
    /// Until it is cancelled.
    Hang,
}

/// The test's end of the scanners.
struct Stage {
    acts: Sender<Act>,
    orders: Receiver<SweepOrder>,
    scanners: Arc<AtomicUsize>,
}

struct Scanner {
    acts: Receiver<Act>,
    orders: Sender<SweepOrder>,
    cancel: (Sender<()>, Receiver<()>),
}

impl CameraScannerGateway for Scanner {
    fn sweep(&mut self, order: &SweepOrder) -> SweepReport {
        self.orders.send(order.clone()).unwrap();
        match self.acts.recv_timeout(SOON) {
            Ok(Act::Find(finds)) => SweepReport {
                finds,
                addresses: 254,
                ..SweepReport::default()
            },
            Ok(Act::Panic) => panic!("as the test asked"),
            Ok(Act::Hang) => {
                self.cancel.1.recv_timeout(SOON).unwrap();
                SweepReport {
                    cut_short: true,
                    ..SweepReport::default()
                }
            }
            Err(_) => SweepReport {
                cut_short: true,
                ..SweepReport::default()
            },
        }
    }

    fn canceller(&self) -> Arc<dyn Fn() + Send + Sync> {
        let cancel = self.cancel.0.clone();
        Arc::new(move || {
            let _ = cancel.try_send(());
        })
    }
}

#[derive(Default)]
struct Watcher {
    lists: Mutex<Vec<(Vec<Camera>, ScanState)>>,
    first: AtomicUsize,
    panic: AtomicUsize,
}

impl DiscoveryObserver for Watcher {
    fn listed(&self, cameras: &Arc<Vec<Camera>>, state: &ScanState) {
        let doomed = self.panic.swap(0, Ordering::SeqCst);
        assert_eq!(doomed, 0, "as the test asked");
        let news = (cameras.as_ref().clone(), state.clone());
        self.lists.lock().unwrap().push(news);
    }

    fn first_sweep_over(&self) {
        self.first.fetch_add(1, Ordering::SeqCst);
    }
}

impl Watcher {
    fn until(&self, what: &str, holds: impl Fn(&[Camera], &ScanState) -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            let last = self.lists.lock().unwrap().last().cloned();
            if last.is_some_and(|(list, state)| holds(&list, &state)) {
                return;
            }
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn policy(enabled: bool) -> ScanPolicy {
    ScanPolicy {
        enabled,
        networks: Networks::parse("s", &["192.168.0.0/24".to_owned()], false).unwrap(),
        every: NEVER,
        timeout: Duration::from_secs(30),
        allow_loopback: false,
    }
}

struct Bench {
    service: DiscoveryService,
    stage: Stage,
    watcher: Arc<Watcher>,
    asked: Asked,
    _events: Receiver<fakes::Told>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.service.shut_down();
    }
}

fn bench(
    policy: ScanPolicy,
    prepare: impl Fn(&crate::application::camera::CameraService),
) -> Bench {
    let (acts, script) = unbounded();
    let (tell, orders) = unbounded();
    let scanners = Arc::new(AtomicUsize::new(0));
    let count = scanners.clone();
    let (cameras, asked, events) = fakes::cameras();
    prepare(&cameras);
    let watcher = Arc::new(Watcher::default());
    let parts = DiscoveryParts {
        scanner: Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Scanner {
                acts: script.clone(),
                orders: tell.clone(),
                cancel: bounded(1),
            }))
        }),
        cameras,
        observer: watcher.clone(),
    };
    Bench {
        service: DiscoveryService::start(parts, policy).unwrap(),
        stage: Stage {
            acts,
            orders,
            scanners,
        },
        watcher,
        asked,
        _events: events,
    }
}

impl Bench {
    fn next_order(&self) -> SweepOrder {
        self.stage.orders.recv_timeout(SOON).unwrap()
    }

    fn act(&self, act: Act) {
        self.stage.acts.send(act).unwrap();
    }

    fn scan(&self, subnet: Option<&str>) -> Receiver<ScanReply> {
        self.service.scan(subnet).unwrap()
    }
}

fn listed(reply: &Receiver<ScanReply>) -> Vec<String> {
    let list = reply.recv_timeout(SOON).unwrap().unwrap();
    list.iter().map(|camera| camera.ip.clone()).collect()
}

#[test]
fn the_first_sweep_begins_at_once_and_is_told() {
    let bench = bench(policy(true), |_| {});
    let order = bench.next_order();
    assert_eq!(order.ranges[0].last, Ipv4Addr::new(192, 168, 0, 255));
    assert_eq!(bench.watcher.first.load(Ordering::SeqCst), 0);
    bench.act(Act::Find(vec![find("192.168.0.64")]));
    bench.watcher.until("the camera", |list, state| {
        list.len() == 1 && state.online == 1 && state.swept && state.trouble.is_none()
    });
    assert_eq!(bench.service.cameras()[0].ip, "192.168.0.64");
    assert_eq!(bench.watcher.first.load(Ordering::SeqCst), 1);
    let tally = bench.service.tally();
    assert_eq!(ends(&bench), [1, 0, 0]);
    assert_eq!(tally.last.unwrap().addresses, 254);
    assert!(!tally.under_way);
    assert_eq!(bench.service.every(), Some(NEVER));
}

/// Sweeps so far: complete, cut short, failed.
fn ends(bench: &Bench) -> [u64; 3] {
    SweepEnd::ALL.map(|how| bench.service.tally().ended(how))
}

#[test]
fn two_who_ask_for_what_is_under_way_get_one_sweep() {
    let bench = bench(policy(false), |_| {});
    let first = bench.scan(None);
    bench.next_order();
    let (second, third) = (
        bench.scan(Some("192.168.0.64/30")),
        bench.scan(Some("10.0.0.0/24")),
    );
    bench.act(Act::Find(vec![find("192.168.0.64")]));
    assert_eq!(listed(&first), ["192.168.0.64"]);
    assert_eq!(listed(&second), ["192.168.0.64"]);
    let order = bench.next_order();
    assert_eq!(order.ranges[0].first, Ipv4Addr::new(10, 0, 0, 0));
    bench.act(Act::Find(vec![find("10.0.0.9")]));
    assert_eq!(listed(&third), ["10.0.0.9", "192.168.0.64"]);
    // The round looks at the camera beyond its networks, too.
    let fourth = bench.scan(None);
    let order = bench.next_order();
    assert_eq!(order.ranges[0].first, Ipv4Addr::new(10, 0, 0, 9));
    bench.act(Act::Find(vec![find("192.168.0.64")]));
    assert_eq!(listed(&fourth), ["10.0.0.9", "192.168.0.64"]);
    assert!(!bench.service.cameras()[0].online);
    assert_eq!(bench.stage.scanners.load(Ordering::SeqCst), 1);
}

#[test]
fn too_many_are_told_so() {
    let bench = bench(policy(false), |_| {});
    let first = bench.scan(None);
    bench.next_order();
    let mut waiting = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        match bench.service.scan(Some("10.0.0.0/24")) {
            Ok(reply) => waiting.push(reply),
            Err(fault) => {
                assert_eq!(fault.code.number(), 30302);
                refused += 1;
            }
        }
    }
    // Once this one is answered, the owner has looked at all before it.
    let last = loop {
        match bench.service.scan(Some("10.0.0.0/24")) {
            Ok(reply) => break reply,
            Err(_) => std::thread::yield_now(),
        }
    };
    let fault = last.recv_timeout(SOON).unwrap().unwrap_err();
    assert_eq!(fault.code.number(), 30302);
    bench.act(Act::Find(Vec::new()));
    assert!(listed(&first).is_empty());
    bench.next_order();
    bench.act(Act::Find(Vec::new()));
    let mut served = 0;
    for reply in waiting {
        match reply.recv_timeout(SOON).unwrap() {
            Ok(_) => served += 1,
            Err(fault) => {
                assert_eq!(fault.code.number(), 30302);
                refused += 1;
            }
        }
    }
    assert_eq!(served + refused, 200);
    assert!(
        (1..=super::schedule::MAX_WAITING).contains(&served),
        "{served}"
    );
    for bad in ["8.8.8.0/24", "fe80::/64", "127.0.0.0/24"] {
        assert!(bench.service.scan(Some(bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_sweep_that_panics_is_reported_and_the_next_one_has_a_new_scanner() {
    let bench = bench(policy(false), |_| {});
    let reply = bench.scan(None);
    bench.next_order();
    bench.act(Act::Panic);
    let fault = reply.recv_timeout(SOON).unwrap().unwrap_err();
    assert_eq!(fault.code.number(), 50001);
    bench
        .watcher
        .until("trouble", |_, state| state.trouble.is_some() && state.swept);
    let reply = bench.scan(None);
    bench.next_order();
    bench.act(Act::Find(vec![find("192.168.0.64")]));
    assert_eq!(listed(&reply), ["192.168.0.64"]);
    assert_eq!(ends(&bench), [1, 0, 1]);
    bench
        .watcher
        .until("no trouble", |_, state| state.trouble.is_none());
    assert_eq!(bench.stage.scanners.load(Ordering::SeqCst), 2);
}

#[test]
fn a_thread_that_panics_starts_again() {
    let bench = bench(policy(false), |_| {});
    let reply = bench.scan(None);
    bench.next_order();
    bench.watcher.panic.store(1, Ordering::SeqCst);
    bench.act(Act::Find(vec![find("192.168.0.64")]));
    assert!(
        reply.recv_timeout(SOON).is_err(),
        "whoever waited hears at once"
    );
    bench
        .watcher
        .until("trouble", |_, state| state.trouble.is_some());
    let reply = bench.scan(None);
    bench.next_order();
    bench.act(Act::Find(vec![find("192.168.0.65")]));
    assert_eq!(listed(&reply), ["192.168.0.65"]);
    // What is counted outlives the thread's faults.
    assert_eq!(ends(&bench), [2, 0, 0]);
}

#[test]
fn the_end_comes_at_once() {
    let bench = bench(policy(true), |_| {});
    bench.next_order();
    bench.act(Act::Hang);
    assert!(bench.service.tally().under_way);
    let joined = bench.scan(None);
    let waiting = bench.scan(Some("10.0.0.0/24"));
    let asked = Instant::now();
    bench.service.shut_down();
    assert!(bench.service.join(asked + SOON));
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    for reply in [joined, waiting] {
        let reply = reply.recv_timeout(SOON).unwrap();
        assert_eq!(reply.unwrap_err().code.number(), 50003);
    }
    assert_eq!(bench.service.scan(None).unwrap_err().code.number(), 50003);
}

#[test]
fn sweeps_come_round() {
    let bench = bench(
        ScanPolicy {
            every: Duration::from_millis(20),
            ..policy(true)
        },
        |_| {},
    );
    for _ in 0..4 {
        bench.next_order();
        bench.act(Act::Find(Vec::new()));
    }
    bench.service.configure(policy(false));
    // Those that were under way by then.
    while bench
        .stage
        .orders
        .recv_timeout(Duration::from_millis(200))
        .is_ok()
    {
        bench.act(Act::Find(Vec::new()));
    }
    bench.service.configure(ScanPolicy {
        networks: Networks::parse("s", &["10.0.0.0/24".to_owned()], false).unwrap(),
        ..policy(true)
    });
    assert_eq!(
        bench.next_order().ranges[0].first,
        Ipv4Addr::new(10, 0, 0, 0)
    );
}

#[test]
fn a_camera_whose_login_is_known_is_asked_once() {
    let bench = bench(policy(false), |cameras| {
        fakes::give_login(cameras, "192.168.0.64");
    });
    let hik = || {
        let speaks = |ip| Find {
            isapi: true,
            vendor: Some(VendorGuess {
                vendor: "HIKVISION".into(),
                certainty: Certainty::Likely,
            }),
            ..find(ip)
        };
        vec![speaks("192.168.0.64"), speaks("192.168.0.65")]
    };
    for _ in 0..3 {
        let reply = bench.scan(None);
        bench.next_order();
        bench.act(Act::Find(hik()));
        assert_eq!(listed(&reply).len(), 2);
        bench.watcher.until("what it told", |list, _| {
            list[0].vendor.as_deref() == Some("FAKE")
        });
    }
    // Nobody knows a login of the other: it is not asked what it is.
    let asked = bench.asked.lock().unwrap().clone();
    let probes: Vec<&String> = asked
        .iter()
        .filter(|line| line.ends_with(" probe"))
        .collect();
    assert_eq!(probes, ["192.168.0.64:80 probe"], "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|line| !line.contains("65") || line.contains("by stranger")),
        "{asked:?}"
    );
    assert_eq!(
        bench.service.cameras()[1].vendor.as_deref(),
        Some("HIKVISION")
    );
}
