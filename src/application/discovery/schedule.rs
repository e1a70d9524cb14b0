//! What is swept next: the sweep that comes round, and those that somebody asks for (contract 9).
//! A machine: the time comes in. One sweep at a time; whoever asks runs next, or joins the one
//! under way if that looks at what he asks for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::networks::{Networks, covers_all};
use crate::domain::discovery::AddressRange;

/// Most that wait for a sweep.
pub const MAX_WAITING: usize = 16;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// `camera.scan_subnet`
    Configured,
    /// Something else.
    These(Networks),
}

/// The schedule. `T` = who waits for a sweep's end.
#[derive(Debug)]
pub struct Schedule<T> {
    /// `None` = only what is asked for.
    every: Option<Duration>,
    due: Option<Instant>,
    waiting: VecDeque<(Wish, T)>,
    running: Option<RunningSweep<T>>,
    /// The last sweep was one that somebody asked for.
    last_was_asked: bool,
}

#[derive(Debug)]
struct RunningSweep<T> {
    wish: Wish,
    ranges: Vec<AddressRange>,
    joined: Vec<T>,
}

impl<T> Schedule<T> {
    /// The first sweep at once, then one `every` so long from start to start.
    pub fn new(every: Option<Duration>, now: Instant) -> Self {
        Self {
            every,
            due: every.map(|_| now),
            waiting: VecDeque::new(),
            running: None,
            last_was_asked: false,
        }
    }

    /// Another pace, and the first sweep of it at once.
    pub fn set_every(&mut self, every: Option<Duration>, now: Instant) {
        self.every = every;
        self.due = every.map(|_| now);
    }

    /// Somebody asks for a sweep; given back where too many wait.
    pub fn ask(&mut self, wish: Wish, who: T) -> Result<(), T> {
        if self.callers() >= MAX_WAITING {
            return Err(who);
        }
        match &mut self.running {
            Some(running) if running.looks_at(&wish) => running.joined.push(who),
            _ => self.waiting.push_back((wish, who)),
        }
        Ok(())
    }

    /// How many wait for a sweep's end.
    pub fn callers(&self) -> usize {
        self.waiting.len() + self.running.as_ref().map_or(0, |r| r.joined.len())
    }

    /// What to sweep now, if anything. To be followed by [`started`](Self::started).
    pub fn next(&self, now: Instant) -> Option<Wish> {
        if self.running.is_some() {
            return None;
        }
        let is_due = self.due.is_some_and(|due| due <= now);
        match self.waiting.front() {
            // Who asks again and again does not keep the rest of the site from being looked at.
            Some(_) if is_due && self.last_was_asked => Some(Wish::Configured),
            Some((wish, _)) => Some(wish.clone()),
            None => is_due.then_some(Wish::Configured),
        }
    }

    /// The sweep has begun, and looks at these ranges.
    pub fn started(&mut self, wish: Wish, ranges: Vec<AddressRange>, now: Instant) {
        if wish == Wish::Configured
            && let Some(every) = self.every
        {
            self.due = Some(now + every);
        }
        let mut running = RunningSweep {
            wish,
            ranges,
            joined: Vec::new(),
        };
        let mut waiting = VecDeque::new();
        for (wish, who) in self.waiting.drain(..) {
            if running.looks_at(&wish) {
                running.joined.push(who);
            } else {
                waiting.push_back((wish, who));
            }
        }
        self.waiting = waiting;
        self.last_was_asked = !running.joined.is_empty();
        self.running = Some(running);
    }

    /// It has ended: who waited for it.
    pub fn ended(&mut self, now: Instant) -> Vec<T> {
        // A round that is missed is left out: sweeps never overlap, and never run without a pause.
        if let (Some(every), Some(due)) = (self.every, self.due)
            && due <= now
            && self
                .running
                .as_ref()
                .is_some_and(|r| r.wish == Wish::Configured)
        {
            let late = now.saturating_duration_since(due).as_nanos();
            let missed = late / every.as_nanos().max(1) + 1;
            self.due = Some(due + every * u32::try_from(missed).unwrap_or(u32::MAX));
        }
        self.running.take().map_or_else(Vec::new, |r| r.joined)
    }

    /// When [`next`](Self::next) has something, if nobody asks.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.running.is_none())
    }

    /// Everybody who waits, at the end of it all.
    pub fn give_up(&mut self) -> Vec<T> {
        let mut all: Vec<T> = self.waiting.drain(..).map(|(_, who)| who).collect();
        all.extend(self.running.take().into_iter().flat_map(|r| r.joined));
        all
    }
}

impl<T> RunningSweep<T> {
    fn looks_at(&self, wish: &Wish) -> bool {
        match wish {
            Wish::These(Networks::Listed(list)) if !list.is_empty() => {
                list.iter().all(|cidr| covers_all(&self.ranges, *cidr))
            }
            wish => *wish == self.wish,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::cidr::Cidr;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn net(text: &str) -> Wish {
        Wish::These(Networks::Listed(vec![Cidr::parse(text).unwrap()]))
    }

    fn ranges(text: &str) -> Vec<AddressRange> {
        let cidr = Cidr::parse(text).unwrap();
        vec![AddressRange {
            first: cidr.first(),
            last: cidr.last(),
        }]
    }

    fn site() -> Vec<AddressRange> {
        ranges("192.168.0.0/24")
    }

    #[test]
    fn from_start_to_start_and_never_two_at_a_time() {
        let t0 = Instant::now();
        let mut s = Schedule::<u8>::new(Some(MINUTE), t0);
        assert_eq!(s.next(t0), Some(Wish::Configured), "the first at once");
        s.started(Wish::Configured, site(), t0);
        assert_eq!((s.next(t0 + 2 * MINUTE), s.deadline()), (None, None));
        assert!(s.ended(t0 + 5 * SECOND).is_empty());
        assert_eq!(s.deadline(), Some(t0 + MINUTE));
        assert_eq!(s.next(t0 + 59 * SECOND), None);
        assert_eq!(s.next(t0 + MINUTE), Some(Wish::Configured));
        // One that takes longer than its round leaves the next ones out.
        s.started(Wish::Configured, site(), t0 + MINUTE);
        s.ended(t0 + 3 * MINUTE + SECOND);
        assert_eq!(s.deadline(), Some(t0 + 4 * MINUTE));
    }

    #[test]
    fn who_asks_runs_next_or_joins() {
        let t0 = Instant::now();
        let mut s = Schedule::new(None, t0);
        assert_eq!((s.next(t0), s.deadline()), (None, None), "switched off");
        s.ask(Wish::Configured, 1).unwrap();
        assert_eq!(s.next(t0), Some(Wish::Configured));
        s.started(Wish::Configured, site(), t0);
        s.ask(net("192.168.0.64/26"), 2).unwrap();
        s.ask(Wish::Configured, 3).unwrap();
        s.ask(net("10.0.0.0/24"), 4).unwrap();
        s.ask(Wish::These(Networks::Auto), 5).unwrap();
        s.ask(net("10.0.0.0/25"), 6).unwrap();
        assert_eq!(s.ended(t0 + SECOND), [1, 2, 3]);
        assert_eq!(s.next(t0), Some(net("10.0.0.0/24")));
        s.started(net("10.0.0.0/24"), ranges("10.0.0.0/24"), t0);
        assert_eq!(s.ended(t0), [4, 6]);
        assert_eq!(s.next(t0), Some(Wish::These(Networks::Auto)));
        s.started(Wish::These(Networks::Auto), site(), t0);
        s.ask(Wish::Configured, 7).unwrap();
        let mut all = s.give_up();
        all.sort_unstable();
        assert_eq!(all, [5, 7]);
    }

    #[test]
    fn who_asks_all_the_time_does_not_starve_the_site() {
        let t0 = Instant::now();
        let mut s = Schedule::new(Some(MINUTE), t0);
        s.started(Wish::Configured, site(), t0);
        s.ended(t0 + SECOND);
        s.ask(net("10.0.0.0/24"), 1).unwrap();
        s.ask(net("10.0.1.0/24"), 2).unwrap();
        let late = t0 + 2 * MINUTE;
        assert_eq!(s.next(late), Some(net("10.0.0.0/24")), "who asks runs next");
        s.started(net("10.0.0.0/24"), ranges("10.0.0.0/24"), late);
        s.ended(late);
        assert_eq!(s.next(late), Some(Wish::Configured));
    }

    #[test]
    fn there_is_an_end_to_who_may_wait() {
        let mut s = Schedule::new(None, Instant::now());
        for n in 0..MAX_WAITING {
            s.ask(net("10.0.0.0/24"), n).unwrap();
        }
        assert_eq!(s.ask(Wish::Configured, 99), Err(99));
    }

    proptest! {
        /// Whoever asks is answered once, and rounds are never closer than they should be.
        #[test]
        fn everybody_is_answered_once(
            steps in proptest::collection::vec((0u8..5, 1u64..100), 1..80),
        ) {
            let mut now = Instant::now();
            let mut s = Schedule::new(Some(MINUTE), now);
            let (mut asked, mut answered) = (0u32, Vec::new());
            let mut last_round: Option<Instant> = None;
            for (step, secs) in steps {
                now += Duration::from_secs(secs);
                match step {
                    0 | 1 => {
                        let wish = if step == 0 { Wish::Configured } else { net("10.0.0.0/24") };
                        if s.ask(wish, asked).is_ok() {
                            asked += 1;
                        }
                    }
                    2 | 3 => if let Some(wish) = s.next(now) {
                        let nobody_asked = s.waiting.is_empty();
                        if wish == Wish::Configured && nobody_asked
                            && let Some(last) = last_round
                        {
                            prop_assert!(now >= last + MINUTE);
                        }
                        let ranges = match &wish {
                            Wish::Configured => site(),
                            Wish::These(_) => ranges("10.0.0.0/24"),
                        };
                        if wish == Wish::Configured {
                            last_round = Some(now);
                        }
                        s.started(wish, ranges, now);
                    },
                    _ => answered.extend(s.ended(now)),
                }
            }
            answered.extend(s.give_up());
            answered.sort_unstable();
            prop_assert_eq!(answered, (0..asked).collect::<Vec<_>>());
        }
    }
}
