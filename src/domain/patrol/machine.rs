//! The timetable machine. Every deadline counts from the start of its loop, and a loop starts
//! where the last one ended, so nothing adds up: what is late once is late once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{
    Act, PatrolEvent, PatrolEventKind, PatrolState, PatrolStatus, Plan, Slot, Step, TourId,
};

/// Failures in a row that suspend a tour.
const FAILURES: u32 = 3;
/// A suspended tour is tried again so often.
const RETRY: Duration = Duration::from_secs(10);
/// A tour suspended for so long has failed.
const GIVE_UP: Duration = Duration::from_secs(300);

/// Why a patrol stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pause {
    /// A command said so; only a command ends it.
    Operator,
    /// The camera fails.
    Camera {
        reason: String,
        retry_at: Instant,
        give_up_at: Instant,
        /// When the try went out that is not answered yet.
        trying: Option<Instant>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Running,
    Paused { at: Instant, why: Pause },
    Over,
}

/// One tour on its way.
#[derive(Debug)]
pub struct Patrol {
    plan: Plan,
    state: State,
    /// Start of this loop; moved on by what pauses took.
    loop_start: Instant,
    current_loop: u64,
    /// The waypoint that was begun last.
    current: usize,
    /// The first waypoint of this loop that is not begun.
    next: usize,
    /// End of the movement that runs.
    moving_until: Option<Instant>,
    /// The last thing that was asked of the camera was to stand still.
    halted: bool,
    failures: u32,
    steps: VecDeque<Step>,
}

impl Patrol {
    /// Starts a tour: its first loop begins now.
    pub fn start(plan: Plan, now: Instant) -> Self {
        let mut patrol = Self {
            plan,
            state: State::Running,
            loop_start: now,
            current_loop: 0,
            current: 0,
            next: 0,
            moving_until: None,
            halted: false,
            failures: 0,
            steps: VecDeque::new(),
        };
        patrol.tell(PatrolEventKind::Started, None);
        // Whatever else moves the camera ends now, also if the tour itself begins later.
        if patrol.slot(0).is_some_and(|s| !s.begin.is_zero()) {
            patrol.halt();
        }
        patrol
    }

    /// The next thing that is due, in order; to be asked until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<Step> {
        while self.steps.is_empty() && self.advance(now) {}
        self.steps.pop_front()
    }

    /// When [`poll`](Self::poll) has something again, once it has been asked until there is none.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Over
            | State::Paused {
                why: Pause::Operator,
                ..
            } => None,
            State::Paused {
                why:
                    Pause::Camera {
                        retry_at,
                        give_up_at,
                        trying,
                        ..
                    },
                ..
            } => Some(if trying.is_some() {
                *give_up_at
            } else {
                *retry_at.min(give_up_at)
            }),
            State::Running => {
                let coming = match self.slot(self.next) {
                    Some(slot) => slot.begin,
                    None => self.plan.length,
                };
                let coming = self.loop_start + coming;
                Some(self.moving_until.map_or(coming, |end| end.min(coming)))
            }
        }
    }

    /// Stands still from now on; resume goes on with what is left of the waypoint. Ends the
    /// retries of a suspended tour. Pausing what an operator has paused changes nothing.
    pub fn pause(&mut self, reason: &str, now: Instant) {
        let at = match &self.state {
            State::Over
            | State::Paused {
                why: Pause::Operator,
                ..
            } => return,
            State::Paused { at, .. } => *at,
            State::Running => now,
        };
        self.state = State::Paused {
            at,
            why: Pause::Operator,
        };
        self.halt();
        self.tell(PatrolEventKind::Paused, Some(reason.to_owned()));
    }

    /// Goes on. Resuming what runs changes nothing.
    pub fn resume(&mut self, now: Instant) {
        if let State::Paused { at, .. } = self.state {
            self.run_on(at, now);
            self.begin_what_is_left(now);
        }
    }

    /// Ends the tour.
    pub fn stop(&mut self, reason: &str) {
        match &self.state {
            State::Over => return,
            // It stands still already; what moves the camera now is not this tour's.
            State::Paused {
                why: Pause::Operator,
                ..
            } => {}
            _ => self.halt(),
        }
        self.finish(PatrolEventKind::Ended, reason);
    }

    /// The camera has done what a step asked.
    pub fn succeeded(&mut self) {
        match &self.state {
            State::Running => self.failures = 0,
            State::Paused {
                at,
                why:
                    Pause::Camera {
                        trying: Some(tried),
                        ..
                    },
            } => {
                let (at, tried) = (*at, *tried);
                self.run_on(at, tried);
                // The movement of the try, if it was one, goes on to the waypoint's end.
                if let Some(Slot {
                    act: Act::Move(_),
                    end,
                    ..
                }) = self.slot_at(self.offset(tried))
                {
                    self.moving_until = Some(self.loop_start + *end);
                    self.halted = false;
                }
            }
            _ => {}
        }
    }

    /// The camera has not done what a step asked. `reason` is masked.
    pub fn failed(&mut self, reason: &str, now: Instant) {
        match &mut self.state {
            State::Running => {
                self.failures += 1;
                if self.failures >= FAILURES {
                    let reason = format!("the camera failed {FAILURES} times in a row: {reason}");
                    self.state = State::Paused {
                        at: now,
                        why: Pause::Camera {
                            reason: reason.clone(),
                            retry_at: now + RETRY,
                            give_up_at: now + GIVE_UP,
                            trying: None,
                        },
                    };
                    self.halt();
                    self.tell(PatrolEventKind::Paused, Some(reason));
                }
            }
            State::Paused {
                why: Pause::Camera {
                    retry_at, trying, ..
                },
                ..
            } => {
                if let Some(tried) = trying.take() {
                    *retry_at = (tried + RETRY).max(now);
                    self.moving_until = None;
                }
            }
            _ => {}
        }
    }

    /// Whether it is over. What [`poll`](Self::poll) still has is to be done.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Which tour.
    pub fn tour(&self) -> &TourId {
        &self.plan.tour
    }

    /// Where it stands.
    pub fn status(&self) -> PatrolStatus {
        PatrolStatus {
            tour: Some(self.plan.tour.clone()),
            camera: self.plan.camera.clone(),
            state: match self.state {
                State::Running => PatrolState::Running,
                State::Paused { .. } => PatrolState::Paused,
                State::Over => PatrolState::Stopped,
            },
            current_waypoint: self.current,
            current_loop: self.current_loop,
            loop_count: self.plan.loop_count,
        }
    }

    /// Does one thing that is due; false when nothing is.
    fn advance(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Over
            | State::Paused {
                why: Pause::Operator,
                ..
            } => false,
            State::Paused {
                at,
                why:
                    Pause::Camera {
                        reason,
                        retry_at,
                        give_up_at,
                        trying,
                    },
            } => {
                if now >= *give_up_at {
                    let reason = format!("given up after {} min: {reason}", GIVE_UP.as_secs() / 60);
                    self.halt();
                    self.finish(PatrolEventKind::Failed, &reason);
                    return true;
                }
                if trying.is_some() || now < *retry_at {
                    return false;
                }
                *trying = Some(now);
                let offset = at.saturating_duration_since(self.loop_start);
                self.steps.push_back(match self.slot_at(offset) {
                    Some(Slot {
                        act: Act::Move(velocity),
                        end,
                        ..
                    }) => Step::Move {
                        velocity: *velocity,
                        until: now + end.saturating_sub(offset),
                    },
                    Some(Slot {
                        act: Act::Goto(preset),
                        ..
                    }) => Step::GotoPreset(preset.clone()),
                    _ => Step::Halt,
                });
                true
            }
            State::Running => self.run(now),
        }
    }

    fn run(&mut self, now: Instant) -> bool {
        let offset = self.offset(now);
        if self.moving_until.is_some_and(|end| now >= end) {
            if self.is_replaced(offset) {
                self.moving_until = None;
            } else {
                self.halt();
                return true;
            }
        }
        // Before the loop's end, also if we come late: the last waypoint may be the way home.
        if self.slot(self.next).is_some_and(|s| s.begin <= offset) {
            self.begin_next(offset);
            return true;
        }
        if offset >= self.plan.length {
            self.end_loops(offset);
            return true;
        }
        false
    }

    /// Whether the movement that ends now is followed by the next one at this very moment: that
    /// one takes its place. A stop between the two would cost the second a round trip of its
    /// length, loop for loop, and the camera would end up somewhere else.
    fn is_replaced(&self, offset: Duration) -> bool {
        let runs = |slot: Option<&Slot>, offset: Duration, ended: Duration| {
            slot.is_some_and(|s| {
                matches!(s.act, Act::Move(_)) && s.begin == ended && offset < s.end
            })
        };
        let Some(ended) = self.slot(self.current).map(|s| s.end) else {
            return false;
        };
        match self.slot(self.next) {
            next @ Some(_) => runs(next, offset, ended),
            None => {
                let goes_on = self.plan.loop_count == 0
                    || self.current_loop.saturating_add(1) < self.plan.loop_count;
                let offset = offset.saturating_sub(self.plan.length);
                goes_on && runs(self.slot(0), offset, Duration::ZERO)
            }
        }
    }

    fn begin_next(&mut self, offset: Duration) {
        let index = self.next;
        self.next += 1;
        self.current = index;
        let Some(slot) = self.slot(index) else {
            return;
        };
        match &slot.act {
            // Missed, or of no length.
            Act::Move(_) if slot.end <= offset => {}
            Act::Move(velocity) => {
                let until = self.loop_start + slot.end;
                let step = Step::Move {
                    velocity: *velocity,
                    until,
                };
                self.steps.push_back(step);
                self.moving_until = Some(until);
                self.halted = false;
            }
            Act::Goto(preset) => {
                // So late that the timetable wants the camera elsewhere.
                let missed = self
                    .slot(self.next)
                    .is_some_and(|s| s.begin > slot.begin && s.begin <= offset);
                if !missed {
                    let step = Step::GotoPreset(preset.clone());
                    self.steps.push_back(step);
                    self.halted = false;
                }
            }
            Act::Halt => {
                if !self.halted {
                    self.halt();
                }
            }
        }
    }

    /// This loop is over, and with it as many as have gone by.
    fn end_loops(&mut self, offset: Duration) {
        let gone = offset.as_nanos() / self.plan.length.as_nanos().max(1);
        let gone = u32::try_from(gone).unwrap_or(u32::MAX).max(1);
        let left = match self.plan.loop_count {
            0 => u64::MAX,
            count => count.saturating_sub(self.current_loop),
        };
        let last = u64::from(gone) >= left;
        let done = if last { left } else { u64::from(gone) };
        self.current_loop = self.current_loop.saturating_add(done - 1);
        self.tell(PatrolEventKind::LoopEnd, None);
        if last {
            let reason = match self.plan.loop_count {
                1 => "its one loop is done".to_owned(),
                count => format!("all {count} loops are done"),
            };
            self.finish(PatrolEventKind::Ended, &reason);
        } else {
            self.current_loop = self.current_loop.saturating_add(1);
            self.loop_start += self.plan.length * gone;
            self.next = 0;
            self.current = 0;
        }
    }

    /// From paused to running: the timetable is moved on by what the pause took.
    fn run_on(&mut self, paused_at: Instant, from: Instant) {
        self.loop_start += from.saturating_duration_since(paused_at);
        self.state = State::Running;
        self.failures = 0;
        self.tell(PatrolEventKind::Resumed, None);
    }

    /// Begins the rest of the waypoint that a pause interrupted.
    fn begin_what_is_left(&mut self, now: Instant) {
        let offset = self.offset(now);
        match self.slot_at(offset) {
            Some(Slot {
                act: Act::Move(velocity),
                end,
                ..
            }) => {
                let until = self.loop_start + *end;
                let velocity = *velocity;
                self.steps.push_back(Step::Move { velocity, until });
                self.moving_until = Some(until);
                self.halted = false;
            }
            Some(Slot {
                act: Act::Goto(preset),
                ..
            }) => {
                let step = Step::GotoPreset(preset.clone());
                self.steps.push_back(step);
                self.halted = false;
            }
            // A stop or a gap: what an operator left moving ends now.
            _ => self.halt(),
        }
    }

    /// The begun waypoint that covers `offset`. On its way to a preset the camera is until
    /// something else begins.
    fn slot_at(&self, offset: Duration) -> Option<&Slot> {
        let slot = self.slot(self.next.checked_sub(1)?)?;
        let end = match slot.act {
            Act::Goto(_) => self
                .slot(self.next)
                .map_or(self.plan.length, |coming| coming.begin),
            _ => slot.end,
        };
        (offset < end).then_some(slot)
    }

    fn slot(&self, index: usize) -> Option<&Slot> {
        self.plan.slots.get(index)
    }

    fn offset(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.loop_start)
    }

    fn halt(&mut self) {
        self.moving_until = None;
        self.halted = true;
        self.steps.push_back(Step::Halt);
    }

    fn finish(&mut self, kind: PatrolEventKind, reason: &str) {
        self.state = State::Over;
        self.tell(kind, Some(reason.to_owned()));
        self.steps.push_back(Step::Finished);
    }

    fn tell(&mut self, kind: PatrolEventKind, reason: Option<String>) {
        self.steps.push_back(Step::Event(PatrolEvent {
            camera: self.plan.camera.clone(),
            tour: self.plan.tour.clone(),
            kind,
            reason,
            current_waypoint: self.current,
            current_loop: self.current_loop,
        }));
    }
}
