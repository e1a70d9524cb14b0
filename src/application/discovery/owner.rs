//! The thread `discovery`: owns the list, the schedule and the scanner, and does what they say.
//!
//! It waits for messages and deadlines alone. A sweep runs on the thread `discovery-sweep`, which
//! has the scanner for that time; cameras are asked by threads `discovery-ask`, a few at a time.
//! One that panics or hangs is left behind and replaced; what it still sends goes nowhere.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};

use super::ask;
use super::inventory::{Change, ChangeKind, Inventory, Lesson};
use super::learning::{AT_A_TIME, Job, Learning, Outcome};
use super::networks::{Plan, plan};
use super::schedule::{Schedule, Wish};
use super::shared::{
    DiscoveryParts, DiscoveryShared, Input, ScanPolicy, ScanReply, ScanState, busy, stopping,
};
use crate::application::camera::Sighting;
use crate::domain::discovery::{CameraScannerGateway, SweepOrder, SweepReport};
use crate::domain::error::{ErrorCode, Fault};
use crate::util::foreign::shown;
use crate::util::time::Now;

/// A scanner that is so long over its time hangs.
const OVERDUE: Duration = Duration::from_secs(10);
/// After a panic, so that a bug that strikes at once does not spin.
const AFTER_PANIC: Duration = Duration::from_secs(1);

type Scanner = Box<dyn CameraScannerGateway>;
type Asked = (Job, Lesson, Outcome);

/// The sweep under way.
struct Sweep {
    order: SweepOrder,
    /// The scanner comes back with its report; cut = it has panicked.
    done: Receiver<(Scanner, SweepReport)>,
    hangs_at: Instant,
}

struct Owner<'a> {
    parts: &'a DiscoveryParts,
    shared: &'a DiscoveryShared,
    policy: Arc<ScanPolicy>,
    schedule: Schedule<Sender<ScanReply>>,
    inventory: Inventory,
    learning: Learning,
    scanner: Option<Scanner>,
    sweep: Option<Sweep>,
    answer: Sender<Asked>,
    answers: Receiver<Asked>,
    addresses: BTreeSet<IpAddr>,
    /// Told already.
    notes: BTreeSet<String>,
    state: ScanState,
}

pub(super) fn start(
    parts: DiscoveryParts,
    shared: Arc<DiscoveryShared>,
    inputs: Receiver<Input>,
    stopped: Receiver<()>,
    alive: Sender<()>,
) -> io::Result<()> {
    thread::Builder::new()
        .name("discovery".to_owned())
        .spawn(move || {
            let _alive = alive;
            let mut trouble = None;
            while !shared.is_stopping() {
                let life = AssertUnwindSafe(|| {
                    Owner::new(&parts, &shared, trouble.take()).run(&inputs, &stopped);
                });
                if catch_unwind(life).is_err() {
                    // Whatever sweeps still does so for nobody.
                    shared.cancel();
                    let mut tally = shared.tally();
                    tally.callers = 0;
                    if tally.under_way {
                        tally.lost();
                    }
                    drop(tally);
                    log::error!(
                        "a fault of lss ended discovery; it starts again with an empty list"
                    );
                    trouble = Some("a fault of lss ended it; it has started again".to_owned());
                    parts.observer.first_sweep_over();
                    let _ = stopped.recv_timeout(AFTER_PANIC);
                }
            }
            for input in inputs.try_iter() {
                if let Input::Scan(_, who) = input {
                    let _ = who.try_send(Err(stopping()));
                }
            }
        })?;
    Ok(())
}

impl<'a> Owner<'a> {
    fn new(
        parts: &'a DiscoveryParts,
        shared: &'a DiscoveryShared,
        trouble: Option<String>,
    ) -> Self {
        let policy = shared.policy();
        // One place for each that may be asked at a time.
        let (answer, answers) = bounded(AT_A_TIME);
        Self {
            schedule: Schedule::new(policy.pace(), Instant::now()),
            parts,
            shared,
            policy,
            inventory: Inventory::default(),
            learning: Learning::default(),
            scanner: None,
            sweep: None,
            answer,
            answers,
            addresses: BTreeSet::new(),
            notes: BTreeSet::new(),
            state: ScanState {
                trouble,
                ..ScanState::default()
            },
        }
    }

    fn run(&mut self, inputs: &Receiver<Input>, stopped: &Receiver<()>) {
        // What a life before this one has published stays until there is news.
        self.parts
            .observer
            .listed(&self.shared.cameras(), &self.state);
        loop {
            self.step(Now::read());
            self.shared.tally().callers = self.schedule.callers();
            let idle = never();
            let swept = self.sweep.as_ref().map_or(&idle, |sweep| &sweep.done);
            let deadline = self.deadline().map_or_else(never, |at| {
                after(at.saturating_duration_since(Instant::now()))
            });
            select! {
                recv(stopped) -> _ => break,
                recv(inputs) -> input => match input {
                    Ok(input) => self.input(input),
                    // The last handle is gone, and with it whoever could stop this.
                    Err(_) => break,
                },
                recv(swept) -> done => match done {
                    Ok((scanner, report)) => self.swept(scanner, &report),
                    Err(_) => self.lost("a fault of lss ended the sweep"),
                },
                recv(self.answers) -> asked => if let Ok(asked) = asked {
                    self.asked(&asked);
                },
                recv(deadline) -> _ => {}
            }
        }
        for who in self.schedule.give_up() {
            let _ = who.try_send(Err(stopping()));
        }
    }

    /// What the time asks for.
    fn step(&mut self, now: Now) {
        let changes = self.inventory.expire(now);
        if !changes.is_empty() {
            self.tell(&changes);
        }
        if self.sweep.as_ref().is_some_and(|s| s.hangs_at <= now.mono) {
            self.shared.cancel();
            self.lost("the sweep hangs beyond its time");
        }
        if let Some(wish) = self.schedule.next(now.mono) {
            self.sweep(wish, now.mono);
        }
        let cameras = &self.parts.cameras;
        let askable = self.inventory.askable();
        let jobs = self
            .learning
            .due(askable, |ip| cameras.login_at(ip), now.mono);
        for job in jobs {
            self.ask(job);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.inventory.next_deadline(),
            self.schedule.deadline(),
            self.learning.next_deadline(),
            self.sweep.as_ref().map(|sweep| sweep.hangs_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Scan(wish, who) => {
                if let Err(who) = self.schedule.ask(wish, who) {
                    let _ = who.try_send(Err(busy()));
                }
            }
            Input::Configured => {
                let old = std::mem::replace(&mut self.policy, self.shared.policy());
                if old.pace() != self.policy.pace() || old.networks != self.policy.networks {
                    self.schedule.set_every(self.policy.pace(), Instant::now());
                }
            }
        }
    }

    fn sweep(&mut self, wish: Wish, now: Instant) {
        let networks = match &wish {
            Wish::Configured => &self.policy.networks,
            Wish::These(networks) => networks,
        };
        // Cameras beyond the networks are looked at again with the round.
        let also: Vec<IpAddr> = match &wish {
            Wish::Configured => self.inventory.addresses().collect(),
            Wish::These(_) => Vec::new(),
        };
        let rules = self.parts.cameras.address_rules();
        let Plan { order, notes, .. } = plan(networks, &rules, also, self.policy.timeout);
        log::debug!(networks = networks.describe(), ranges = order.ranges.len(), left_out = order.except.len(); "a sweep begins");
        self.note(notes.into_iter(), log::Level::Info);
        self.schedule.started(wish, order.ranges.clone(), now);
        self.shared.tally().under_way = true;
        let mut scanner = match self.scanner.take() {
            Some(scanner) => scanner,
            None => match (self.parts.scanner)() {
                Ok(scanner) => {
                    self.shared.set_canceller(scanner.canceller());
                    scanner
                }
                Err(why) => return self.lost(&format!("nothing can be swept ({why})")),
            },
        };
        let (back, done) = bounded(1);
        let asked = order.clone();
        let spawned = thread::Builder::new()
            .name("discovery-sweep".to_owned())
            .spawn(move || {
                let report = scanner.sweep(&asked);
                // Nobody waits any more after a stop, or when it was given up.
                let _ = back.try_send((scanner, report));
            });
        let hangs_at = now + order.timeout + OVERDUE;
        self.sweep = Some(Sweep {
            order,
            done,
            hangs_at,
        });
        if let Err(why) = spawned {
            self.lost(&format!("no thread can be started for the sweep ({why})"));
        }
    }

    fn swept(&mut self, scanner: Scanner, report: &SweepReport) {
        let now = Now::read();
        self.scanner = Some(scanner);
        let Some(sweep) = self.sweep.take() else {
            return;
        };
        self.shared.tally().swept(report, now.wall);
        let first = !self.state.swept;
        let swept = self.inventory.swept(&sweep.order, report, now);
        let (found, took) = (report.finds.len(), report.took);
        log::log!(
            if first { log::Level::Info } else { log::Level::Debug },
            cameras = found, addresses = report.addresses, connects = report.connects,
            took:? = took, cut_short = report.cut_short;
            "the network was searched for cameras"
        );
        if first && found == 0 {
            log::info!(
                "no camera was found in {}; if there are any, name their network in camera.scan_subnet",
                self.policy.networks.describe()
            );
        }
        if swept.left_out > 0 {
            log::warn!(count = swept.left_out; "more cameras than the list has room for");
        }
        self.note(
            report.warnings.iter().map(|w| shown(w, 300)),
            log::Level::Warn,
        );
        self.state.trouble = None;
        self.over(now.mono, &swept.changes, |list| Ok(list.clone()));
    }

    /// The sweep has come to a bad end, and its scanner with it.
    fn lost(&mut self, why: &str) {
        log::error!("{why}; the next one has a new scanner");
        self.sweep = None;
        self.shared.tally().lost();
        self.state.trouble = Some(why.to_owned());
        let why = why.to_owned();
        self.over(Instant::now(), &[], |_| {
            Err(Fault::new(ErrorCode::InternalError, why.clone()))
        });
    }

    fn over(
        &mut self,
        now: Instant,
        changes: &[Change],
        reply: impl Fn(&Arc<Vec<crate::domain::node::Camera>>) -> ScanReply,
    ) {
        let first = !std::mem::replace(&mut self.state.swept, true);
        self.tell(changes);
        if first {
            self.parts.observer.first_sweep_over();
        }
        let list = self.shared.cameras();
        for who in self.schedule.ended(now) {
            let _ = who.try_send(reply(&list));
        }
    }

    fn ask(&self, job: Job) {
        let (cameras, answer) = (self.parts.cameras.clone(), self.answer.clone());
        let asking = job.clone();
        let spawned = thread::Builder::new()
            .name("discovery-ask".to_owned())
            .spawn(move || {
                let asked = catch_unwind(AssertUnwindSafe(|| ask::ask(&cameras, &asking)));
                let (lesson, outcome) = asked.unwrap_or_else(|_| {
                    log::error!(camera:% = asking.camera.ip; "asking a camera failed by a fault of lss itself");
                    (Lesson::default(), Outcome::Failed)
                });
                let _ = answer.try_send((asking, lesson, outcome));
            });
        if spawned.is_err() {
            let _ = self
                .answer
                .try_send((job, Lesson::default(), Outcome::Failed));
        }
    }

    fn asked(&mut self, (job, lesson, outcome): &Asked) {
        if self.learning.ended(job, *outcome, Instant::now()) {
            let changes = self.inventory.learnt(job.camera.key, lesson);
            self.tell(&changes);
        }
    }

    /// Logs the changes, and publishes the list.
    fn tell(&mut self, changes: &[Change]) {
        changes.iter().for_each(log_change);
        let list = Arc::new(self.inventory.cameras());
        self.state.listed = list.len();
        self.state.online = list.iter().filter(|camera| camera.online).count();
        let addresses: BTreeSet<IpAddr> = self.inventory.addresses().collect();
        let gone: Vec<IpAddr> = self.addresses.difference(&addresses).copied().collect();
        self.addresses = addresses;
        let seen: Vec<Sighting> = self.inventory.facts().collect();
        self.parts.cameras.sighted(&seen, &gone);
        let inventory = &self.inventory;
        self.learning.keep(|key| inventory.has(key));
        self.shared.publish(list.clone());
        self.parts.observer.listed(&list, &self.state);
    }

    /// Each once.
    fn note(&mut self, notes: impl Iterator<Item = String>, level: log::Level) {
        for note in notes {
            if self.notes.len() < 64 && self.notes.insert(note.clone()) {
                log::log!(level, "discovery: {note}");
            }
        }
    }
}

/// One line a change.
fn log_change(change: &Change) {
    let camera = &change.camera;
    let (ip, port) = (camera.ip.as_str(), camera.port);
    let vendor = camera.vendor.as_deref().unwrap_or("unknown");
    let model = camera.model.as_str();
    match &change.kind {
        ChangeKind::Found => {
            log::info!(ip = ip, port = port, vendor = vendor, model = model, onvif = camera.onvif; "camera found");
        }
        ChangeKind::Gone => {
            log::warn!(ip = ip, vendor = vendor, model = model; "camera is gone");
        }
        ChangeKind::Back => log::info!(ip = ip, vendor = vendor, model = model; "camera is back"),
        ChangeKind::Moved { from } => {
            log::info!(ip = ip, from:% = from, vendor = vendor, model = model; "camera has a new address");
        }
        ChangeKind::Learnt => {
            log::info!(ip = ip, vendor = vendor, model = model; "camera's make is known");
        }
        ChangeKind::Joined { with } => {
            log::info!(ip = ip, with:% = with; "two addresses are one camera");
        }
        ChangeKind::Forgotten => {
            log::info!(ip = ip, vendor = vendor, model = model; "camera is no longer listed");
        }
    }
}
