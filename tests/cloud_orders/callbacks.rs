//! Callbacks: two tasks, each STARTED and STOPPED; tries that are taken, taken without us hearing
//! of it, refused for now and for good, and that find RCS unwell; a sender that crashes; heartbeats
//! that RCS takes and does not; time; the last hurry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lss::domain::stream::TaskEventKind;
use lss::infrastructure::rcs::backoff::Pace;
use lss::infrastructure::rcs::outbox::{
    Callback, Fate, MAX_REFUSED, Next, Outbox, Outcome, Ticket,
};

const TASKS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The next change of a task.
    Push(usize),
    /// The sender looks for something to send.
    Send,
    /// The try under way ends like this; RCS may have got it all the same.
    End(Fate, bool),
    /// The sender dies with its try; RCS may have got it.
    Crash(bool),
    /// Until something is due.
    Wait,
    /// So long that what is refused is given up.
    Hour,
    Heartbeat(bool),
    Hurry,
}

#[derive(Clone)]
struct World {
    outbox: Outbox,
    now: Instant,
    /// Changes pushed of each task.
    pushed: [usize; 2],
    /// Callbacks of each task that are settled: taken, or dropped as refused.
    settled: [usize; 2],
    /// What RCS has got of each task, doubles included.
    got: [Vec<usize>; 2],
    /// Tries in a row that went wrong for the task's sake.
    failed: [u32; 2],
    under_way: Option<(Ticket, usize, usize)>,
    well: bool,
    hurried: bool,
}

impl World {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(10, Pace::default(), 7),
            now: Instant::now(),
            pushed: [0; 2],
            settled: [0; 2],
            got: [Vec::new(), Vec::new()],
            failed: [0; 2],
            under_way: None,
            well: false,
            hurried: false,
        }
    }

    fn left(&self) -> usize {
        (0..2).map(|t| self.pushed[t] - self.settled[t]).sum()
    }

    /// What can happen now. The tasks are alike until one of them is seen.
    fn enabled(&self) -> Vec<Event> {
        let mut all = Vec::new();
        all.extend((0..2).filter(|t| self.pushed[*t] < 2).map(Event::Push));
        if self.pushed == [0, 0] {
            all.truncate(1);
        }
        if self.under_way.is_some() {
            all.extend([
                Event::End(Fate::Taken, true),
                Event::End(Fate::Refused, false),
                Event::End(Fate::NotTaken, false),
                Event::End(Fate::Unwell, false),
                Event::End(Fate::Unwell, true),
                Event::Crash(false),
                Event::Crash(true),
            ]);
        } else if self.left() > 0 {
            match self.outbox.clone().next(self.now) {
                Next::Send(..) => all.push(Event::Send),
                Next::Wait(_) => all.push(Event::Wait),
                Next::Idle => panic!("idle with {} callbacks", self.left()),
            }
            all.push(Event::Hour);
        }
        all.push(Event::Heartbeat(!self.well));
        if !self.hurried && self.left() > 0 {
            all.push(Event::Hurry);
        }
        all
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Push(task) => {
                let kinds = [TaskEventKind::Started, TaskEventKind::Stopped];
                let n = self.pushed[task];
                let dropped = self.outbox.push(Callback {
                    task: TASKS[task].to_owned(),
                    kind: kinds[n],
                    body: Arc::from(vec![u8::try_from(n).unwrap()]),
                });
                assert!(dropped.is_empty(), "there is room");
                self.pushed[task] += 1;
            }
            Event::Send => {
                let Next::Send(ticket, callback) = self.outbox.next(self.now) else {
                    panic!("nothing to send");
                };
                let task = TASKS.iter().position(|t| *t == callback.task).unwrap();
                let n = usize::from(callback.body[0]);
                assert_eq!(n, self.settled[task], "in order, and no settled one again");
                // A task that fails again and again is not tried before one that has not failed.
                let other = 1 - task;
                let other_waits = self.pushed[other] > self.settled[other];
                assert!(
                    self.failed[task] == 0 || self.failed[other] > 0 || !other_waits,
                    "the healthy one waits"
                );
                self.under_way = Some((ticket, task, n));
            }
            Event::End(fate, got) => {
                let (ticket, task, n) = self.under_way.take().unwrap();
                if got {
                    self.got[task].push(n);
                }
                let outcome = self.outbox.finish(ticket, fate, self.now);
                match outcome {
                    Outcome::Taken { .. } => {
                        assert_eq!(fate, Fate::Taken);
                        self.settled[task] += 1;
                        self.failed[task] = 0;
                    }
                    Outcome::Refused => {
                        assert_eq!(fate, Fate::Refused);
                        self.settled[task] += 1;
                        self.failed[task] = 0;
                    }
                    Outcome::Expired => {
                        assert_eq!(fate, Fate::NotTaken);
                        self.settled[task] += 1;
                        self.failed[task] += 1;
                    }
                    Outcome::Kept { .. } => {
                        assert!(matches!(fate, Fate::NotTaken | Fate::Unwell));
                        let its_own = fate == Fate::NotTaken || self.well;
                        self.failed[task] += u32::from(its_own);
                    }
                    Outcome::Stale => panic!("the ticket was the present one"),
                }
                if self.pushed[task] == self.settled[task] {
                    // Nothing is kept of a task that has nothing to tell.
                    self.failed[task] = 0;
                }
                // Whatever comes of the same ticket later.
                assert_eq!(self.outbox.finish(ticket, fate, self.now), Outcome::Stale);
            }
            Event::Crash(got) => {
                let (ticket, task, n) = self.under_way.take().unwrap();
                if got {
                    self.got[task].push(n);
                }
                self.outbox.abandon();
                let late = self.outbox.finish(ticket, Fate::Taken, self.now);
                assert_eq!(late, Outcome::Stale);
            }
            Event::Wait => match self.outbox.next(self.now) {
                Next::Wait(until) => {
                    assert!(until <= self.now + Duration::from_secs(73));
                    self.now = until;
                }
                other => panic!("{other:?}"),
            },
            Event::Hour => self.now += MAX_REFUSED,
            Event::Heartbeat(taken) => {
                self.well = taken;
                self.outbox.heartbeat(taken);
            }
            Event::Hurry => {
                self.hurried = true;
                self.outbox.hurry();
            }
        }
        assert_eq!(
            self.outbox.len(),
            self.left(),
            "nothing lost, nothing doubled"
        );
    }

    /// RCS takes everything from now on: all that was not settled arrives, soon and in order.
    fn heal(mut self) {
        if self.under_way.is_some() {
            self.happen(Event::End(Fate::Taken, true));
        }
        let end = self.now + Duration::from_secs(150);
        while self.left() > 0 {
            match self.outbox.clone().next(self.now) {
                Next::Send(..) => {
                    self.happen(Event::Send);
                    self.happen(Event::End(Fate::Taken, true));
                }
                _ => self.happen(Event::Wait),
            }
            assert!(self.now < end, "held up for longer than any pause");
        }
        for got in &self.got {
            assert!(got.is_sorted(), "{got:?}");
        }
        assert!(self.outbox.is_empty());
    }
}

fn explore(world: &World, left: usize, so_far: &mut Vec<Event>) -> u64 {
    if left == 0 {
        world.clone().heal();
        return 1;
    }
    let mut orders = 0;
    for event in world.enabled() {
        so_far.push(event);
        let mut next = world.clone();
        next.happen(event);
        orders += explore(&next, left - 1, so_far);
        so_far.pop();
    }
    orders
}

/// Tells the order that a failed assertion was found in.
struct Told(Vec<Event>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("after {:?}", self.0);
        }
    }
}

#[test]
fn no_order_of_events_loses_or_doubles_a_callback() {
    let depth = super::depth(8);
    let mut told = Told(Vec::new());
    let orders = explore(&World::new(), depth, &mut told.0);
    println!("callback outbox: all {orders} orders of {depth} events: nothing lost, in order");
    assert!(orders > 1_000);
}
