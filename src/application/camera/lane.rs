//! One camera's lane: decides, and does nothing itself.
//!
//! Commands, answers and the time go in; [`Output`]s and the next deadline come out. It knows no
//! socket, thread, clock or protocol. Three kinds of request are out side by side: one on the
//! control connection (movements, presets), one stop for each drive, one query. So nothing ever
//! stands in a stop's way (contract 7).

mod commands;
mod due;
mod ends;
mod sending;
mod tour;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use self::tour::Tour;
use super::motor::{Motion, Motor, TourNumber};
use super::motors::Motors;
use super::order::{
    Command, CommandId, CommandResult, Origin, Outcome, Output, Query, RequestId, Success, Wire,
};
use super::waiting::{Queue, Source, Wanted};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::patrol::PatrolStatus;
use crate::domain::ptz::{Drive, Drives, PtzEvent, PtzEventKind};
use crate::domain::stream::CameraId;
use crate::util::time::Now;

/// Most queries that wait.
const MAX_QUERIES: usize = 8;
/// Longest that a query waits for its turn.
const QUERY_WAITS: Duration = Duration::from_secs(30);
/// Most requests that the lane remembers to have given up on.
const MAX_ABANDONED: usize = 8;
/// Most stop commands that wait for the camera to obey.
const MAX_STOPS: usize = 64;
/// The lane gives up on a request so long after whoever sent it should have.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// At shutdown a camera has so long to obey (contract 7).
const SHUTDOWN: Duration = Duration::from_secs(6);
/// By then the last stop of a shutdown is on its way, whatever is unanswered.
const LAST_CALL: Duration = Duration::from_secs(4);

/// The numbers of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanePolicy {
    /// `ptz.max_move`: a movement without a duration ends so long after its last command.
    pub max_move: Duration,
    /// `ptz.command_ttl`: an older command moves nothing.
    pub command_ttl: Duration,
    /// For a request that is no stop and no query.
    pub request_timeout: Duration,
    /// For one try of a stop.
    pub stop_timeout: Duration,
    /// For a query, the frame of a stream included.
    pub query_timeout: Duration,
}

impl Default for LanePolicy {
    /// The contract's defaults.
    fn default() -> Self {
        Self {
            max_move: Duration::from_secs(30),
            command_ttl: Duration::from_secs(5),
            request_timeout: Duration::from_secs(8),
            stop_timeout: Duration::from_secs(2),
            query_timeout: Duration::from_secs(15),
        }
    }
}

/// A request on the control connection.
#[derive(Debug)]
struct Flight {
    request: RequestId,
    wire: Wire,
    source: Source,
    /// The drive that it could set in motion.
    moves: Option<Drive>,
    /// A movement that is left running: its answer must not be lost.
    runs_on: bool,
    /// What the drive did before.
    prior: Option<Motion>,
    stops_at: Option<SystemTime>,
    sent_at: Instant,
    gives_up_at: Instant,
}

#[derive(Debug)]
struct QueryFlight {
    request: RequestId,
    wire: Wire,
    command: CommandId,
    gives_up_at: Instant,
}

#[derive(Debug)]
struct WaitingQuery {
    command: CommandId,
    query: Query,
    expires_at: Instant,
}

/// A request that the lane has given up on, and whoever sent it has not.
#[derive(Debug)]
struct Abandoned {
    request: RequestId,
    wire: Wire,
    /// The drive that it could still set in motion.
    moves: Option<(Drive, CameraId)>,
}

/// A stop command that is not answered yet.
#[derive(Debug)]
struct StopWaiter {
    command: CommandId,
    /// Drives that have not obeyed yet.
    need: Drives,
    /// Some drive has.
    obeyed: bool,
    fault: Option<Fault>,
    fails_at: Instant,
}

#[derive(Debug)]
struct Closing {
    last_call: Instant,
    ends: Instant,
    closed: bool,
}

/// One camera's lane. `D` is what a query brings.
#[derive(Debug)]
pub struct Lane<D> {
    policy: LanePolicy,
    motors: Motors,
    control: Option<Flight>,
    queue: Queue,
    query: Option<QueryFlight>,
    queries: VecDeque<WaitingQuery>,
    /// Their connections are not used as long as they are here.
    abandoned: VecDeque<Abandoned>,
    stops: Vec<StopWaiter>,
    tour: Option<Tour>,
    tours: TourNumber,
    next_request: u64,
    /// The cloud's line is down: nobody could send the stop.
    link_down: bool,
    closing: Option<Closing>,
    /// `STOP_FAILED` was told of this camera, and `STOP_RECOVERED` is still to come.
    announced: Option<CameraId>,
    out: Vec<Output<D>>,
}

impl<D> Lane<D> {
    /// A lane for a camera that nothing is known of.
    pub fn new(policy: LanePolicy) -> Self {
        Self {
            policy,
            motors: Motors::new(),
            control: None,
            queue: Queue::default(),
            query: None,
            queries: VecDeque::new(),
            abandoned: VecDeque::new(),
            stops: Vec::new(),
            tour: None,
            tours: 0,
            next_request: 1,
            link_down: false,
            closing: None,
            announced: None,
            out: Vec::new(),
        }
    }

    /// A lane in place of one that has panicked while `moving` may have moved: they are stopped
    /// by the first [`tick`](Self::tick). `first_request` is beyond every id of the old lane;
    /// `announced` is what that had [announced](Self::announced).
    pub fn after_panic(
        policy: LanePolicy,
        camera: &CameraId,
        moving: Drives,
        first_request: RequestId,
        announced: Option<CameraId>,
        now: Now,
    ) -> Self {
        let mut lane = Self::new(policy);
        lane.next_request = first_request.0;
        let failed = announced.is_some();
        lane.announced = announced;
        for drive in moving.iter() {
            let motor = lane.motor(drive);
            motor.sent_on_its_way(camera);
            motor.stop(camera, None, now.mono);
            if failed {
                motor.had_failed();
            }
        }
        lane
    }

    /// New numbers, after a reload. What runs keeps its deadline.
    pub fn set_policy(&mut self, policy: LanePolicy) {
        self.policy = policy;
    }

    /// Takes a command. It is answered exactly once, now or later.
    pub fn command(&mut self, command: Command, now: Now) -> Vec<Output<D>> {
        self.due(now);
        self.take(command, now);
        self.turn(now)
    }

    /// Takes the end of a request. What the lane has given up on is not heard any more.
    pub fn answer(&mut self, request: RequestId, outcome: Outcome<D>, now: Now) -> Vec<Output<D>> {
        self.ended(request, outcome, now);
        self.turn(now)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> Vec<Output<D>> {
        self.turn(now)
    }

    /// The cloud's line has left CONNECTED (or does not answer pings): what moves by a manual
    /// command of the cloud is stopped, and until [`link_back`](Self::link_back) the cloud moves
    /// nothing.
    pub fn link_lost(&mut self, now: Now) -> Vec<Output<D>> {
        self.due(now);
        self.link_down = true;
        let cancelled = self.queue.take_if(|w| {
            matches!(w.wanted, Wanted::Move { .. }) && w.source.origin() == Origin::Ably
        });
        self.superseded(cancelled);
        let mut told = false;
        for drive in Drive::ALL {
            let motor = self.motor(drive);
            let Some(camera) = motor
                .moving
                .as_ref()
                .filter(|m| m.origin == Origin::Ably && motor.runs_free())
                .map(|m| m.camera.clone())
            else {
                continue;
            };
            motor.stop(&camera, None, now.mono);
            if !std::mem::replace(&mut told, true) {
                self.tell(
                    &camera,
                    PtzEventKind::StoppedByLinkLoss,
                    "the link to the cloud was lost while the camera moved",
                );
            }
        }
        self.turn(now)
    }

    /// A camera's id leads elsewhere from now on: what was set in motion here under it is ended,
    /// because no stop by that id comes here any more. What others move goes on.
    pub fn left(&mut self, camera: &CameraId, now: Now) -> Vec<Output<D>> {
        self.due(now);
        self.tour_left(camera, now);
        let cancelled = self.queue.take_if(|w| {
            let by_it = w.source.camera() == Some(camera);
            by_it && w.wanted.moves().is_some()
        });
        self.superseded(cancelled);
        for drive in Drive::ALL {
            let unanswered = self.control.as_ref().is_some_and(|flight| {
                flight.moves == Some(drive) && flight.source.camera() == Some(camera)
            });
            let motor = self.motor(drive);
            if (unanswered || motor.runs_for(camera)) && !motor.is_being_stopped() {
                log::warn!(
                    camera = camera.as_str(), drive = drive.name();
                    "the camera's id leads elsewhere now; what it moves where it was is stopped"
                );
                motor.stop(camera, None, now.mono);
            }
        }
        self.turn(now)
    }

    /// The cloud's line is back.
    pub fn link_back(&mut self) {
        self.link_down = false;
    }

    /// Ends the patrol, stops what moves, refuses all but stops. At the latest after 6 s the lane
    /// [is idle](Self::is_idle) and has answered everything.
    pub fn shut_down(&mut self, now: Now) -> Vec<Output<D>> {
        self.due(now);
        if self.closing.is_none() {
            self.closing = Some(Closing {
                last_call: now.mono + LAST_CALL,
                ends: now.mono + SHUTDOWN,
                closed: false,
            });
            if let Some(tour) = &mut self.tour {
                tour.machine.stop("the node is stopping");
            }
            self.walk(now);
            let waiting = self.queue.take_if(|_| true);
            for source in waiting {
                self.refuse(&source, stopping());
            }
            let queries: Vec<CommandId> = self.queries.drain(..).map(|q| q.command).collect();
            for command in self
                .query
                .take()
                .map(|q| q.command)
                .into_iter()
                .chain(queries)
            {
                self.reply(command, Err(stopping()));
            }
            for drive in Drive::ALL {
                let motor = self.motor(drive);
                motor.wants_probe = false;
                if let Some(camera) = motor
                    .moving
                    .as_ref()
                    .filter(|_| motor.runs_free())
                    .map(|m| m.camera.clone())
                {
                    motor.stop(&camera, None, now.mono);
                }
            }
        }
        self.turn(now)
    }

    /// Shut down, and nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| {
            closing.closed || (self.control.is_none() && self.motors.iter().all(Motor::is_quiet))
        })
    }

    /// Nothing runs, waits or moves here: the lane may be dropped and made anew.
    pub fn is_quiet(&self) -> bool {
        self.tour.is_none()
            && self.control.is_none()
            && self.queue.is_empty()
            && self.query.is_none()
            && self.queries.is_empty()
            && self.motors.iter().all(Motor::is_quiet)
    }

    /// Nothing but a stop runs here, of what lss has not moved, and the camera has given no sign:
    /// the lane may go if another camera must have its place.
    pub fn tries_in_vain(&self) -> bool {
        self.tour.is_none()
            && self.control.is_none()
            && self.queue.is_empty()
            && self.query.is_none()
            && self.queries.is_empty()
            && Drive::ALL.into_iter().all(|drive| {
                let motor = self.motors.get(drive);
                !self.may_move(drive) && (motor.is_quiet() || motor.awaits_a_sign())
            })
            && self.motors.iter().any(Motor::awaits_a_sign)
    }

    /// The camera of which `STOP_FAILED` was told last, until it has recovered.
    pub fn announced(&self) -> Option<&CameraId> {
        self.announced.as_ref()
    }

    /// Drives that may be moving, or have not obeyed yet.
    pub fn moving(&self) -> Drives {
        let mut drives = Drives::NONE;
        for drive in Drive::ALL {
            if self.motors.get(drive).may_move() {
                drives.insert(drive);
            }
        }
        drives
    }

    /// Whether something moves by a manual command of the cloud: then its line is to be watched
    /// more closely (contract 5).
    pub fn moves_for_cloud(&self) -> bool {
        self.motors.iter().any(|m| {
            m.moving
                .as_ref()
                .is_some_and(|motion| motion.origin == Origin::Ably)
        })
    }

    /// Beyond every id that was given to a request.
    pub fn next_request(&self) -> RequestId {
        RequestId(self.next_request)
    }

    /// Where the camera's tour stands.
    pub fn patrol(&self) -> Option<PatrolStatus> {
        self.tour.as_ref().map(|tour| tour.machine.status())
    }

    /// The next moment at which [`tick`](Self::tick) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let closing = match &self.closing {
            Some(closing) if closing.closed => return None,
            Some(closing) if self.control.is_some() => Some(closing.last_call),
            Some(closing) => Some(closing.ends),
            None => None,
        };
        self.motors
            .iter()
            .filter_map(Motor::deadline)
            .chain(closing)
            .chain(self.control.as_ref().map(|f| f.gives_up_at))
            .chain(self.query.as_ref().map(|f| f.gives_up_at))
            .chain(self.queries.iter().map(|q| q.expires_at))
            .chain(self.queue.deadline())
            .chain(self.stops.iter().map(|s| s.fails_at))
            .chain(self.tour.as_ref().and_then(|t| t.machine.deadline()))
            .min()
    }

    fn turn(&mut self, now: Now) -> Vec<Output<D>> {
        self.due(now);
        self.dispatch(now);
        self.tell_recovery();
        std::mem::take(&mut self.out)
    }

    /// However the last stop that had failed came to its end: under the id it was announced by.
    fn tell_recovery(&mut self) {
        if self.motors.iter().any(Motor::has_failed) {
            return;
        }
        if let Some(camera) = self.announced.take() {
            let moves = self.motors.iter().any(|motor| motor.moving.is_some());
            let how = if moves {
                "a newer movement has taken the place of the stop"
            } else {
                "the camera has obeyed the stop, or nothing of lss moves there any more"
            };
            self.tell(&camera, PtzEventKind::StopRecovered, how);
        }
    }

    fn motor(&mut self, drive: Drive) -> &mut Motor {
        self.motors.get_mut(drive)
    }

    fn reply(&mut self, command: CommandId, result: CommandResult<D>) {
        self.out.push(Output::Reply(command, result));
    }

    fn refuse(&mut self, source: &Source, fault: Fault) {
        if let Source::Command { id, .. } = source {
            self.reply(*id, Err(fault));
        }
    }

    fn superseded(&mut self, sources: Vec<Source>) {
        for source in sources {
            if let Source::Command { id, .. } = source {
                self.reply(id, Ok(Success::superseded()));
            }
        }
    }

    fn tell(&mut self, camera: &CameraId, kind: PtzEventKind, reason: &str) {
        self.out.push(Output::Ptz(PtzEvent {
            camera: camera.clone(),
            kind,
            reason: reason.to_owned(),
        }));
    }

    fn stale(&self) -> Fault {
        Fault::new(
            ErrorCode::ValidationFailed,
            format!(
                "stale: older than ptz.command_ttl ({} s) when the camera was ready for it",
                self.policy.command_ttl.as_secs_f32()
            ),
        )
    }
}

fn stopping() -> Fault {
    Fault::new(ErrorCode::NodeOffline, "the node is stopping")
}

fn no_answer() -> Fault {
    Fault::new(ErrorCode::Unavailable, "the camera did not answer in time")
}

fn busy(what: &str) -> Fault {
    Fault::new(
        ErrorCode::NodeBusy,
        format!("the camera is slow, and too many {what} wait for it"),
    )
}
