//! One drive of a camera: what it may be doing, and how it is made to stand still. Decides when a
//! stop is sent and whether it has been obeyed; sends nothing and knows no other drive.
//!
//! A drive counts as moving from the moment a movement is *sent*, not from the answer: an answer
//! that is lost must not leave a camera turning.

use std::time::{Duration, Instant};

use crate::application::camera::order::{Origin, RequestId, StopWay, Wire};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::ptz::{Drive, Velocity};
use crate::domain::stream::CameraId;

/// The lane gives up on a request so long after whoever sent it should have.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// A stop that is not obeyed for so long has failed; it is tried on, but more seldom.
pub(super) const STOP_FAILS: Duration = Duration::from_secs(60);
/// Pace of tries after that, and of those that the camera refuses for their login: each of them
/// counts towards its lock.
const SLOW_PACE: Duration = Duration::from_secs(10);
/// From the beginning of one try to that of the next. A try that times out takes longer by itself.
const PACE: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// A movement whose answer was lost may be carried out late: so long after the stop was obeyed,
/// it is sent once more.
const ECHO: Duration = Duration::from_secs(3);

/// A movement that we have asked for.
#[derive(Debug, Clone)]
pub(super) struct Motion {
    /// As the command named the camera.
    pub camera: CameraId,
    pub origin: Origin,
    pub velocity: Velocity,
    /// Its dead man's switch.
    pub ends_at: Instant,
    /// It has no duration of its own: the switch is `ptz.max_move`.
    pub by_limit: bool,
    /// Before the camera ends it by itself.
    pub repeat_at: Option<Instant>,
}

/// On whose behalf a drive is being stopped, where somebody wants to hear how it goes.
pub(super) type TourNumber = u64;

/// Why a stop was not obeyed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    pub fault: &'a Fault,
    /// Whoever answered has not shown the camera's certificate.
    by_stranger: bool,
}

impl<'a> Failure<'a> {
    pub fn of(fault: &'a Fault) -> Self {
        let by_stranger = false;
        Self { fault, by_stranger }
    }

    pub fn by_a_stranger(fault: &'a Fault) -> Self {
        let by_stranger = true;
        Self { fault, by_stranger }
    }
}

#[derive(Debug)]
struct Halt {
    camera: CameraId,
    since: Instant,
    /// `None` while a try is out, or the halt waits for a movement's answer.
    next_try: Option<Instant>,
    tries: usize,
    way: StopWay,
    /// Both ways were answered with "not supported": `[Stop, ZeroVelocity]`.
    unsupported: [bool; 2],
    /// A newer movement is out. If the camera takes it, this halt is off.
    yields_to: Option<RequestId>,
    /// Accepted once, but a movement was unanswered then: sent again when that has ended.
    waits_for: Option<RequestId>,
    /// After a movement whose answer was lost: it may move, whatever else we know.
    echo: bool,
    /// Tries that the camera has let time out.
    timed_out: usize,
    /// Some try has had an answer: the camera is there.
    answered: bool,
    /// It has failed, and is tried more seldom.
    failed: bool,
    /// Whose step this is, until its success or first failure was reported.
    tour: Option<TourNumber>,
}

/// A stop that is out.
#[derive(Debug)]
pub(super) struct Try {
    pub request: RequestId,
    pub wire: Wire,
    pub gives_up_at: Instant,
    times_out_at: Instant,
    sent_at: Instant,
    way: StopWay,
    /// The movement that was unanswered when this was sent.
    behind: Option<RequestId>,
    /// Nothing of ours moves there; it is asked once, to be sure.
    probe: bool,
}

/// What became of a stop.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StopEnd {
    /// The camera stands still.
    Obeyed,
    /// The camera has accepted it, but it must be sent again.
    Accepted,
    /// Tried again.
    Failing,
    /// This camera can't, or doesn't let us; nothing of ours moves there.
    Hopeless,
    /// It was only asked to be sure.
    Probed,
}

/// What became of a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MoveEnd {
    /// The camera has taken it, and ends it by itself after so long, where that is known.
    Done(Option<Duration>),
    Refused,
    Lost,
    /// It was none that could be left running (a preset, a repetition that was refused).
    Nothing,
}

/// One drive.
#[derive(Debug)]
pub(super) struct Motor {
    pub moving: Option<Motion>,
    pub trying: Option<Try>,
    halt: Option<Halt>,
    /// A movement's answer was lost since the drive last stood still.
    lost_move: bool,
    echo: Option<(Instant, CameraId)>,
    /// Whose order may have sent it on its way without a [`Motion`] that tells of it: by a tour of
    /// the camera's own, or by what a lane that failed had sent.
    on_its_way: Option<CameraId>,
    /// The way that has worked.
    way: StopWay,
    /// How it stood when we started is not known, and nobody has asked yet.
    unknown: bool,
    /// To be asked once, when nothing else is to be done.
    pub wants_probe: bool,
}

impl Motor {
    pub(super) fn new() -> Self {
        Self {
            moving: None,
            trying: None,
            halt: None,
            lost_move: false,
            echo: None,
            on_its_way: None,
            way: StopWay::Stop,
            unknown: true,
            wants_probe: false,
        }
    }

    /// Whether a stop of this drive is under way.
    pub(super) fn is_halting(&self) -> bool {
        self.halt.is_some()
    }

    /// Whether it may move, or is not known to have stopped.
    pub(super) fn may_move(&self) -> bool {
        self.moving.is_some() || self.halt.is_some()
    }

    /// Whether a movement of ours may be running. A stop alone, however long it is tried, is none.
    pub(super) fn runs_for_us(&self) -> bool {
        self.moving.is_some()
            || self.lost_move
            || self.on_its_way.is_some()
            || self.halt.as_ref().is_some_and(|h| h.echo)
    }

    /// Whether what runs here was ordered under this id.
    pub(super) fn runs_for(&self, camera: &CameraId) -> bool {
        let moving = self.moving.as_ref().is_some_and(|m| m.camera == *camera);
        moving || self.on_its_way.as_ref() == Some(camera)
    }

    /// Whether a stop is under way that no newer movement is to take over from.
    pub(super) fn is_being_stopped(&self) -> bool {
        self.halt.as_ref().is_some_and(|h| h.yields_to.is_none())
    }

    /// Something moves it that has no [`Motion`].
    pub(super) fn sent_on_its_way(&mut self, by: &CameraId) {
        self.on_its_way = Some(by.clone());
    }

    /// Nothing is to be done here, now or later.
    pub(super) fn is_quiet(&self) -> bool {
        !self.may_move() && self.trying.is_none() && self.echo.is_none() && !self.wants_probe
    }

    /// Begins to stop the drive, or begins anew: at once, and with all of its patience.
    pub(super) fn stop(&mut self, camera: &CameraId, tour: Option<TourNumber>, now: Instant) {
        self.put_off_echo();
        self.wants_probe = false;
        let out = match &mut self.trying {
            // What is out is a stop: nothing has been moved since it left.
            Some(out) => {
                out.probe = false;
                true
            }
            None => false,
        };
        let next_try = (!out).then_some(now);
        match &mut self.halt {
            Some(halt) => {
                halt.camera = camera.clone();
                halt.since = now;
                halt.tries = 0;
                halt.next_try = next_try;
                halt.yields_to = None;
                halt.waits_for = None;
                halt.tour = tour.or(halt.tour);
            }
            None => {
                self.halt = Some(Halt {
                    camera: camera.clone(),
                    since: now,
                    next_try,
                    tries: 0,
                    way: self.way,
                    unsupported: [false; 2],
                    yields_to: None,
                    waits_for: None,
                    echo: false,
                    timed_out: 0,
                    answered: false,
                    failed: false,
                    tour,
                });
            }
        }
    }

    /// Whatever comes between: the echo follows the next stop that is obeyed.
    fn put_off_echo(&mut self) {
        self.lost_move |= self.echo.take().is_some();
    }

    /// Asks for one stop to be sure, if nobody knows how the drive stands.
    pub(super) fn probe(&mut self) {
        self.wants_probe = self.unknown && self.trying.is_none() && self.halt.is_none();
    }

    /// Whether a stop is to be sent now.
    pub(super) fn stop_is_due(&self, now: Instant) -> bool {
        self.trying.is_none()
            && self
                .halt
                .as_ref()
                .and_then(|h| h.next_try)
                .is_some_and(|at| at <= now)
    }

    /// Whether the next try is the first: it may take the warm connection.
    pub(super) fn is_first_try(&self) -> bool {
        self.halt.as_ref().is_none_or(|h| h.tries == 0)
    }

    /// How long the next try of a stop may take: `brief`, so that one that was lost on the way costs
    /// little. But a new connection begins with a question of its own (a login's challenge), and a
    /// camera that takes longer than that for it would never hear the stop itself: after two that
    /// have timed out comes one that may take as long as a movement may, and so on.
    pub(super) fn stop_patience(&self, brief: Duration, long: Duration) -> Duration {
        match &self.halt {
            Some(halt) if halt.timed_out % 3 == 2 => long.max(brief),
            _ => brief,
        }
    }

    /// A stop is sent. `behind` is the movement of this drive that is unanswered.
    pub(super) fn stop_sent(
        &mut self,
        request: RequestId,
        wire: Wire,
        behind: Option<RequestId>,
        times_out_at: Instant,
        now: Instant,
    ) -> StopWay {
        self.wants_probe = false;
        let way = match &mut self.halt {
            Some(halt) => {
                halt.next_try = None;
                halt.waits_for = None;
                halt.way
            }
            None => self.way,
        };
        self.trying = Some(Try {
            request,
            wire,
            gives_up_at: times_out_at + GRACE,
            times_out_at,
            sent_at: now,
            way,
            behind,
            probe: self.halt.is_none(),
        });
        way
    }

    /// The stop that is out has ended. `unanswered` is the control request that is out.
    pub(super) fn stop_ended(
        &mut self,
        failure: Option<Failure<'_>>,
        unanswered: Option<RequestId>,
        now: Instant,
    ) -> StopEnd {
        let Some(out) = self.trying.take() else {
            return StopEnd::Probed;
        };
        self.unknown = false;
        let Some(halt) = &mut self.halt else {
            return StopEnd::Probed;
        };
        if out.probe {
            // Cannot be: `stop` turns it into a try of its own.
            halt.next_try = Some(now);
            return StopEnd::Probed;
        }
        let Some(Failure { fault, by_stranger }) = failure else {
            self.way = out.way;
            halt.tries = 0;
            halt.since = now;
            return match out.behind {
                None => {
                    if std::mem::take(&mut self.lost_move) {
                        self.echo = Some((now + ECHO, halt.camera.clone()));
                    }
                    self.halt = None;
                    self.moving = None;
                    self.on_its_way = None;
                    StopEnd::Obeyed
                }
                Some(request) if unanswered == Some(request) => {
                    halt.waits_for = Some(request);
                    StopEnd::Accepted
                }
                Some(_) => {
                    halt.next_try = Some(now);
                    StopEnd::Accepted
                }
            };
        };
        halt.answered |= fault.code != ErrorCode::Unavailable && !by_stranger;
        if fault.code == ErrorCode::ValidationFailed {
            let [stop, zero] = &mut halt.unsupported;
            match out.way {
                StopWay::Stop => *stop = true,
                StopWay::ZeroVelocity => *zero = true,
            }
        }
        // A stranger has got no login, so no try counts towards a lock.
        let no_right = !by_stranger
            && matches!(
                fault.code,
                ErrorCode::Unauthorized | ErrorCode::AccessDenied
            );
        let hopeless = no_right || halt.unsupported == [true; 2];
        if hopeless && self.moving.is_none() && !halt.echo && !self.lost_move {
            self.halt = None;
            return StopEnd::Hopeless;
        }
        halt.timed_out += usize::from(now >= out.times_out_at);
        halt.way = out.way.other();
        let pace = if halt.failed || no_right {
            SLOW_PACE
        } else {
            let step = halt.tries.min(PACE.len() - 1);
            PACE.get(step).copied().unwrap_or(SLOW_PACE)
        };
        halt.tries += 1;
        halt.next_try = Some((out.sent_at + pace).max(now));
        StopEnd::Failing
    }

    /// Whose step this halt is, if that was not told yet.
    pub(super) fn halted_tour(&self) -> Option<TourNumber> {
        self.halt.as_ref().and_then(|h| h.tour)
    }

    /// Whether the movement that ends then still runs.
    pub(super) fn is_repeatable(&self, ends_at: Instant) -> bool {
        self.halt.is_none() && self.moving.as_ref().is_some_and(|m| m.ends_at == ends_at)
    }

    /// Whose step this halt is; told once.
    pub(super) fn take_tour(&mut self) -> Option<TourNumber> {
        self.halt.as_mut().and_then(|h| h.tour.take())
    }

    /// A movement of this drive is sent; gives back what the drive did before.
    pub(super) fn move_sent(&mut self, request: RequestId, motion: Motion) -> Option<Motion> {
        self.unknown = false;
        self.put_off_echo();
        if let Some(halt) = &mut self.halt {
            halt.next_try = None;
            halt.yields_to = Some(request);
        }
        self.moving.replace(motion)
    }

    /// A request that could set this drive in motion has ended. True: a halt is off, because the
    /// camera does something newer now.
    pub(super) fn move_ended(
        &mut self,
        request: RequestId,
        end: MoveEnd,
        prior: Option<Motion>,
        sent_at: Instant,
        now: Instant,
    ) -> bool {
        let yielding = self
            .halt
            .as_ref()
            .is_some_and(|h| h.yields_to == Some(request));
        match end {
            MoveEnd::Done(ends_after) => {
                if let Some(motion) = &mut self.moving {
                    motion.repeat_at = ends_after
                        .map(|after| sent_at + after.mul_f64(0.6))
                        .filter(|at| *at < motion.ends_at);
                }
                if yielding {
                    self.halt = None;
                    return true;
                }
            }
            MoveEnd::Refused => {
                // It does what it did before, with the end that had.
                if self.halt.is_none() || yielding {
                    let refused = std::mem::replace(&mut self.moving, prior);
                    // The echo that was put off for it: no stop follows that it could follow.
                    if self.moving.is_none()
                        && self.halt.is_none()
                        && let Some(refused) = refused
                        && std::mem::take(&mut self.lost_move)
                    {
                        self.echo = Some((now + ECHO, refused.camera));
                    }
                }
            }
            MoveEnd::Lost => self.lost_move = true,
            MoveEnd::Nothing => {}
        }
        if let Some(halt) = &mut self.halt {
            let waited = halt.waits_for.take_if(|r| *r == request).is_some();
            if yielding {
                halt.yields_to = None;
            }
            if (waited || yielding) && self.trying.is_none() {
                halt.next_try = Some(now);
            }
        }
        false
    }

    /// The switch strikes: the movement that must end now.
    pub(super) fn overdue(&self, now: Instant) -> Option<&Motion> {
        self.moving
            .as_ref()
            .filter(|m| self.runs_free() && m.ends_at <= now)
    }

    /// Whether the drive moves and nothing is being done to end it.
    pub(super) fn runs_free(&self) -> bool {
        self.moving.is_some() && self.halt.as_ref().is_none_or(|h| h.yields_to.is_some())
    }

    /// Whether the movement is to be repeated now, lest the camera end it before its time.
    pub(super) fn take_repeat(&mut self, now: Instant) -> bool {
        self.halt.is_none()
            && self
                .moving
                .as_mut()
                .is_some_and(|m| m.repeat_at.take_if(|at| *at <= now).is_some())
    }

    /// A stop has been out of obedience for too long: the camera to tell of, once. Where nothing
    /// of ours can be running (`runs`) and the camera is not there, the stop ends instead.
    pub(super) fn take_failed(&mut self, runs: bool, now: Instant) -> Option<CameraId> {
        let halt = self.halt.as_mut()?;
        if halt.failed || now < halt.since + STOP_FAILS {
            return None;
        }
        if !runs && !halt.answered {
            self.halt = None;
            return None;
        }
        halt.failed = true;
        if let Some(next) = &mut halt.next_try {
            *next = (*next).max(now);
        }
        Some(halt.camera.clone())
    }

    /// Whether a stop of this drive has failed and is tried on.
    pub(super) fn has_failed(&self) -> bool {
        self.halt.as_ref().is_some_and(|h| h.failed)
    }

    /// The stop under way is one that had failed before, in a lane that this one replaces.
    pub(super) fn had_failed(&mut self) {
        if let Some(halt) = &mut self.halt {
            halt.failed = true;
        }
    }

    /// Whether all that is done here is to try a stop that nobody has answered yet.
    pub(super) fn awaits_a_sign(&self) -> bool {
        self.halt.as_ref().is_some_and(|h| !h.answered && !h.failed)
    }

    /// Begins to stop the drive once more, if that is due.
    pub(super) fn echo(&mut self, now: Instant) {
        if let Some((_, camera)) = self.echo.take_if(|(at, _)| *at <= now) {
            self.stop(&camera, None, now);
            if let Some(halt) = &mut self.halt {
                halt.echo = true;
            }
        }
    }

    /// When something is to be done here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let mut soonest = self.trying.as_ref().map(|t| t.gives_up_at);
        let mut also = |at: Option<Instant>| {
            soonest = match (soonest, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        };
        if self.runs_free() {
            also(self.moving.as_ref().map(|m| m.ends_at));
        }
        also(self.echo.as_ref().map(|(at, _)| *at));
        match &self.halt {
            None => also(self.moving.as_ref().and_then(|m| m.repeat_at)),
            Some(halt) => {
                if self.trying.is_none() {
                    also(halt.next_try);
                }
                if !halt.failed {
                    also(Some(halt.since + STOP_FAILS));
                }
            }
        }
        soonest
    }
}

/// The drives of one camera, side by side. Knows nothing of what they do.
#[derive(Debug)]
pub(super) struct Motors {
    head: Motor,
    focus: Motor,
    iris: Motor,
}

impl Motors {
    pub(super) fn new() -> Self {
        Self {
            head: Motor::new(),
            focus: Motor::new(),
            iris: Motor::new(),
        }
    }

    pub(super) fn get(&self, drive: Drive) -> &Motor {
        match drive {
            Drive::PanTiltZoom => &self.head,
            Drive::Focus => &self.focus,
            Drive::Iris => &self.iris,
        }
    }

    pub(super) fn get_mut(&mut self, drive: Drive) -> &mut Motor {
        match drive {
            Drive::PanTiltZoom => &mut self.head,
            Drive::Focus => &mut self.focus,
            Drive::Iris => &mut self.iris,
        }
    }

    /// In the order of [`Drive::ALL`].
    pub(super) fn iter(&self) -> impl Iterator<Item = &Motor> {
        [&self.head, &self.focus, &self.iris].into_iter()
    }
}
