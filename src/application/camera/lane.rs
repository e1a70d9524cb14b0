//! One camera's lane: decides, and does nothing itself.
//!
//! Commands, answers and the time go in; [`Output`]s and the next deadline come out. It knows no
//! socket, thread, clock or protocol. Three kinds of request are out side by side: one on the
//! control connection (movements, presets), one stop for each drive, one query. So nothing ever
//! stands in a stop's way (contract 7).

mod motor;
#[cfg(test)]
mod props;
#[cfg(test)]
pub(super) mod sim;
#[cfg(test)]
mod tests;
mod tour;
#[cfg(test)]
mod tour_tests;
mod waiting;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use self::motor::{
    Failure, GRACE, Motion, Motor, Motors, MoveEnd, STOP_FAILS, StopEnd, TourNumber,
};
use self::tour::Tour;
use self::waiting::{Ends, Queue, Source, Waiting, Wanted};
use super::order::{
    Action, Command, CommandId, CommandResult, DeviceRequest, Order, Origin, Outcome, Output,
    PatrolOrder, Query, RequestId, Send, Success, Wire,
};
use crate::domain::camera::fit::FitAsk;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::patrol::PatrolStatus;
use crate::domain::ptz::{Drive, Drives, HoldId, PtzEvent, PtzEventKind};
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
/// At shutdown a camera has so long to obey (contract 7).
const SHUTDOWN: Duration = Duration::from_secs(6);
/// The dead man's switch of a tour's movement strikes so long after the tour should have ended it.
const TOUR_SLACK: Duration = Duration::from_millis(500);
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
    /// For a fit that writes, all its looks included.
    pub fit_timeout: Duration,
    /// For the look at a stream whose encoder was changed.
    pub fit_look: Duration,
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
            fit_timeout: Duration::from_secs(60),
            fit_look: Duration::from_secs(15),
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

/// The newest press of a joystick, until a stop or another movement ends it.
#[derive(Debug)]
struct Hold {
    id: HoldId,
    origin: Origin,
    heard_at: Instant,
}

impl Hold {
    fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) < HoldId::EXPIRES
    }
}

#[derive(Debug)]
struct Closing {
    last_call: Instant,
    ends: Instant,
    closed: bool,
}

/// One camera's lane.
#[derive(Debug)]
pub struct Lane {
    policy: LanePolicy,
    motors: Motors,
    control: Option<Flight>,
    queue: Queue,
    query: Option<QueryFlight>,
    queries: VecDeque<WaitingQuery>,
    /// On a connection of its own: it takes long, and what only asks does not wait for it.
    fit: Option<QueryFlight>,
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
    hold: Option<Hold>,
    out: Vec<Output>,
}

impl Lane {
    /// A lane for a camera that nothing is known of.
    pub fn new(policy: LanePolicy) -> Self {
        Self {
            policy,
            motors: Motors::new(),
            control: None,
            queue: Queue::default(),
            query: None,
            queries: VecDeque::new(),
            fit: None,
            abandoned: VecDeque::new(),
            stops: Vec::new(),
            tour: None,
            tours: 0,
            next_request: 1,
            link_down: false,
            closing: None,
            announced: None,
            hold: None,
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
    pub fn command(&mut self, command: Command, now: Now) -> Vec<Output> {
        self.due(now);
        self.take(command, now);
        self.turn(now)
    }

    /// Takes the end of a request. What the lane has given up on is not heard any more.
    pub fn answer(&mut self, request: RequestId, outcome: Outcome, now: Now) -> Vec<Output> {
        self.ended(request, outcome, now);
        self.turn(now)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> Vec<Output> {
        self.turn(now)
    }

    /// The cloud's line has left CONNECTED (or does not answer pings): what moves by a manual
    /// command of the cloud is stopped, and until [`link_back`](Self::link_back) the cloud moves
    /// nothing.
    pub fn link_lost(&mut self, now: Now) -> Vec<Output> {
        self.due(now);
        self.link_down = true;
        self.hold.take_if(|hold| hold.origin == Origin::Ably);
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
    pub fn left(&mut self, camera: &CameraId, now: Now) -> Vec<Output> {
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
    pub fn shut_down(&mut self, now: Now) -> Vec<Output> {
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
                .into_iter()
                .chain(self.fit.take())
                .map(|q| q.command)
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
            && self.fit.is_none()
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
            && self.fit.is_none()
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
            .chain(self.fit.as_ref().map(|f| f.gives_up_at))
            .chain(self.queries.iter().map(|q| q.expires_at))
            .chain(self.queue.deadline())
            .chain(self.stops.iter().map(|s| s.fails_at))
            .chain(self.tour.as_ref().and_then(|t| t.machine.deadline()))
            .min()
    }

    fn turn(&mut self, now: Now) -> Vec<Output> {
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

    fn reply(&mut self, command: CommandId, result: CommandResult) {
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

    // ---- What a command does to the lane ----

    fn take(&mut self, command: Command, now: Now) {
        let Command {
            id,
            camera,
            origin,
            age,
            overtaken,
            order,
        } = command;
        if let Some(closing) = &self.closing
            && (closing.closed || !matches!(order, Order::Stop(_)))
        {
            return self.reply(id, Err(stopping()));
        }
        if overtaken {
            let patrol = matches!(order, Order::Patrol(_)).then(|| self.patrol_or_none(camera));
            let superseded = Success {
                patrol,
                ..Success::superseded()
            };
            return self.reply(id, Ok(superseded));
        }
        if age >= self.policy.command_ttl && !order.is_never_stale() {
            return self.reply(id, Err(self.stale()));
        }
        let stale_at = now.mono + self.policy.command_ttl.saturating_sub(age);
        let source = Source::Command {
            id,
            camera: camera.clone(),
            origin,
        };
        let mut by_hold = None;
        let wanted = match order {
            Order::Query(query) => return self.enqueue_query(id, query, now),
            Order::Patrol(order) => {
                if matches!(order, PatrolOrder::Start(_) | PatrolOrder::Resume(_)) {
                    self.hold = None;
                }
                return self.patrol_order(id, camera, order, now);
            }
            Order::Stop(drives) => {
                self.pause_for_manual(now);
                return self.stop(id, &camera, drives, now);
            }
            Order::Hold(hold) => {
                if self.link_down && origin == Origin::Ably {
                    return self.reply(id, Err(link_is_down()));
                }
                self.pause_for_manual(now);
                self.hold = Some(Hold {
                    id: hold,
                    origin,
                    heard_at: now.mono,
                });
                return self.reply(id, Ok(Success::default()));
            }
            Order::Move {
                drive,
                velocity,
                duration,
                hold,
            } => {
                if velocity.is_zero() {
                    self.pause_for_manual(now);
                    return self.stop(id, &camera, Drives::only(drive), now);
                }
                if self.link_down && origin == Origin::Ably {
                    return self.reply(id, Err(link_is_down()));
                }
                match hold {
                    None => self.hold = None,
                    Some(hold) if self.is_held_by(hold, now.mono) => by_hold = Some(hold),
                    Some(_) => return self.reply(id, Ok(Success::superseded())),
                }
                Wanted::Move {
                    drive,
                    velocity,
                    ends: duration.map_or(Ends::ByLimit, Ends::After),
                }
            }
            Order::Act(action) => Wanted::Act(action),
        };
        if wanted.moves().is_none() && !self.queue.has_room() {
            return self.reply(id, Err(busy("commands")));
        }
        if matches!(&wanted, Wanted::Act(action) if action.moves().is_some()) {
            self.hold = None;
        }
        self.pause_for_manual(now);
        let pushed_out = self.queue.push(Waiting {
            source,
            wanted,
            stale_at: Some(stale_at),
            hold: by_hold,
        });
        self.superseded(pushed_out);
    }

    /// Whether a movement belongs to the press that counts, which has been heard of then.
    fn is_held_by(&mut self, hold: HoldId, now: Instant) -> bool {
        let Some(newest) = &mut self.hold else {
            return false;
        };
        let counts = newest.id == hold && newest.is_alive(now);
        if counts {
            newest.heard_at = now;
        }
        counts
    }

    fn enqueue_query(&mut self, command: CommandId, query: Query, now: Now) {
        if let Query::Fit(ask) = query {
            return self.fit(command, ask, now);
        }
        if self.queries.len() >= MAX_QUERIES {
            return self.reply(command, Err(busy("queries")));
        }
        self.queries.push_back(WaitingQuery {
            command,
            query,
            expires_at: now.mono + QUERY_WAITS,
        });
    }

    /// A fit goes out at once on a connection of its own, one at a time.
    fn fit(&mut self, command: CommandId, ask: FitAsk, now: Now) {
        if self.fit.is_some() {
            let why = "a fit of this camera's encoder is under way";
            return self.reply(command, Err(Fault::new(ErrorCode::NodeBusy, why)));
        }
        let timeout = if ask.apply {
            self.policy.fit_timeout
        } else {
            self.policy.query_timeout
        };
        let (wire, query) = (Wire::Fresh, DeviceRequest::Query(Query::Fit(ask)));
        self.fit = Some(QueryFlight {
            request: self.request(wire, timeout, query),
            wire,
            command,
            gives_up_at: now.mono + timeout + GRACE,
        });
    }

    /// A stop: overtakes and cancels what waits for these drives.
    fn stop(&mut self, command: CommandId, camera: &CameraId, drives: Drives, now: Now) {
        self.hold = None;
        let cancelled = self
            .queue
            .take_if(|w| w.wanted.moves().is_some_and(|d| drives.contains(d)));
        self.superseded(cancelled);
        let closing = self.closing.is_some();
        let mut need = Drives::NONE;
        for drive in drives.iter() {
            let all = drives == Drives::ALL;
            let motor = self.motor(drive);
            // Focus and iris cost requests of their own: they are stopped where lss has moved
            // them, and once where it does not know how they stand.
            if drive == Drive::PanTiltZoom || motor.may_move() || !all {
                motor.stop(camera, None, now.mono);
                need.insert(drive);
            } else if !closing {
                motor.probe();
            }
        }
        if need.is_empty() {
            return self.reply(command, Ok(Success::default()));
        }
        if self.stops.len() >= MAX_STOPS {
            return self.reply(command, Err(busy("stops; the camera is being stopped")));
        }
        self.stops.push(StopWaiter {
            command,
            need,
            obeyed: false,
            fault: None,
            fails_at: now.mono + STOP_FAILS,
        });
    }

    // ---- What goes to the camera next, and on which connection ----

    fn dispatch(&mut self, now: Now) {
        if self.closing.as_ref().is_some_and(|c| c.closed) {
            return;
        }
        self.clear_the_way(now);
        for drive in Drive::ALL {
            if self.motor(drive).stop_is_due(now.mono) {
                self.send_stop(drive, now);
            }
        }
        while self.control_is_free() && self.first_may_go() {
            let Some(waiting) = self.queue.pop() else {
                break;
            };
            self.send(waiting, now);
        }
        if self.closing.is_some() {
            return;
        }
        for drive in Drive::ALL {
            let quiet = self.control_is_free()
                && self.queue.is_empty()
                && self.motors.iter().all(|m| m.trying.is_none());
            if quiet && self.motor(drive).wants_probe {
                self.send_stop(drive, now);
            }
        }
        if self.query.is_none()
            && let Some(next) = self.queries.pop_front()
        {
            let timeout = self.policy.query_timeout;
            let wire = self.usable(Wire::Query);
            let request = self.request(wire, timeout, DeviceRequest::Query(next.query));
            self.query = Some(QueryFlight {
                request,
                wire,
                command: next.command,
                gives_up_at: now.mono + timeout + GRACE,
            });
        }
    }

    /// A preset or a tour of the camera's own comes next: a movement whose end is ours to send is
    /// ended first, lest that end strike it later.
    fn clear_the_way(&mut self, now: Now) {
        let Some(first) = self.queue.first().filter(|_| self.control_is_free()) else {
            return;
        };
        if matches!(first.wanted, Wanted::Move { .. }) {
            return;
        }
        if let Some(drive) = first.wanted.moves() {
            let motor = self.motor(drive);
            if motor.runs_free()
                && let Some(camera) = motor.moving.as_ref().map(|m| m.camera.clone())
            {
                motor.stop(&camera, None, now.mono);
            }
        }
    }

    fn control_is_free(&self) -> bool {
        let stop = |m: &Motor| m.trying.as_ref().is_some_and(|t| t.wire == Wire::Control);
        self.control.is_none() && !self.motors.iter().any(stop)
    }

    /// Whether nothing must come before the first that waits.
    fn first_may_go(&self) -> bool {
        let Some(first) = self.queue.first() else {
            return false;
        };
        let moves = first.wanted.moves();
        Drive::ALL.into_iter().all(|drive| {
            let motor = self.motors.get(drive);
            let concerned = drive == Drive::PanTiltZoom || moves == Some(drive);
            // A stop that is out comes first. One that the camera refuses again and again does
            // not keep it from moving on; but what ends by itself begins from standing still.
            let from_rest = moves.is_some() && matches!(first.wanted, Wanted::Act(_));
            let in_the_way = motor.trying.is_some() || (from_rest && motor.may_move());
            !(concerned && in_the_way)
        })
    }

    fn send_stop(&mut self, drive: Drive, now: Now) {
        let behind = self
            .control
            .as_ref()
            .filter(|f| f.moves == Some(drive))
            .map(|f| f.request);
        let wire = if self.control_is_free() && self.motor(drive).is_first_try() {
            self.usable(Wire::Control)
        } else {
            Wire::Fresh
        };
        let id = RequestId(self.next_request);
        let (brief, long) = (self.policy.stop_timeout, self.policy.request_timeout);
        let motor = self.motor(drive);
        let timeout = motor.stop_patience(brief, long);
        let times_out_at = now.mono + timeout;
        let way = motor.stop_sent(id, wire, behind, times_out_at, now.mono);
        let may_move = self.may_move(drive);
        self.post(wire, timeout, may_move, DeviceRequest::Stop { drive, way });
    }

    /// Whether something that this lane has set in motion may be running: what was taken, what is
    /// unanswered, and what was given up on.
    fn may_move(&self, drive: Drive) -> bool {
        self.motors.get(drive).runs_for_us()
            || self
                .control
                .as_ref()
                .is_some_and(|f| f.moves == Some(drive))
            || self
                .abandoned
                .iter()
                .any(|a| a.moves.as_ref().is_some_and(|(d, _)| *d == drive))
    }

    fn send(&mut self, waiting: Waiting, now: Now) {
        let moves = waiting.wanted.moves();
        let timeout = self.policy.request_timeout;
        let wire = self.usable(Wire::Control);
        let mut flight = Flight {
            request: RequestId(self.next_request),
            wire,
            source: waiting.source,
            moves,
            runs_on: false,
            prior: None,
            stops_at: None,
            sent_at: now.mono,
            gives_up_at: now.mono + timeout + GRACE,
        };
        let request = match waiting.wanted {
            Wanted::Act(action) => {
                flight.runs_on = matches!(action, Action::CameraPatrol { start: true, .. });
                DeviceRequest::Act(action)
            }
            Wanted::Move {
                drive,
                velocity,
                ends,
            } => {
                let stops_at = match ends {
                    Ends::After(duration) => now.mono + duration,
                    Ends::ByLimit => now.mono + self.policy.max_move,
                    Ends::At(at) => at,
                };
                let limit = stops_at.saturating_duration_since(now.mono);
                if limit.is_zero() {
                    // Its time has passed while it waited: only a tour's can be so late.
                    return;
                }
                // A tour ends its movements itself: the switch is there in case it does not, and
                // strikes after the next movement could have taken over.
                let ends_at = match &flight.source {
                    Source::Patrol { .. } => stops_at + TOUR_SLACK,
                    _ => stops_at,
                };
                flight.runs_on = true;
                flight.stops_at = Some(now.wall + limit);
                let request = DeviceRequest::Move {
                    drive,
                    velocity,
                    limit,
                };
                let origin = flight.source.origin();
                let repeat = flight.source == Source::Repeat;
                let motor = self.motors.get_mut(drive);
                match flight.source.camera() {
                    Some(camera) => {
                        let motion = Motion {
                            camera: camera.clone(),
                            origin,
                            velocity,
                            ends_at,
                            by_limit: ends == Ends::ByLimit,
                            repeat_at: None,
                        };
                        flight.prior = motor.move_sent(flight.request, motion);
                    }
                    // What it repeats has ended meanwhile.
                    None if repeat && !motor.is_repeatable(ends_at) => return,
                    None => {}
                }
                request
            }
        };
        self.control = Some(flight);
        self.request(wire, timeout, request);
    }

    /// `wire`, unless somebody is stuck on it.
    fn usable(&self, wire: Wire) -> Wire {
        if self.abandoned.iter().any(|a| a.wire == wire) {
            Wire::Fresh
        } else {
            wire
        }
    }

    fn request(&mut self, wire: Wire, timeout: Duration, request: DeviceRequest) -> RequestId {
        self.post(wire, timeout, false, request)
    }

    fn post(
        &mut self,
        wire: Wire,
        timeout: Duration,
        may_move: bool,
        request: DeviceRequest,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.out.push(Output::Send(Send {
            id,
            wire,
            timeout,
            may_move,
            request,
        }));
        id
    }

    // ---- What the end of a request does to the lane ----

    fn ended(&mut self, request: RequestId, outcome: Outcome, now: Now) {
        if let Some(flight) = self.control.take_if(|f| f.request == request) {
            return self.control_ended(flight, outcome, now);
        }
        let query = self.query.take_if(|f| f.request == request);
        if let Some(flight) = query.or_else(|| self.fit.take_if(|f| f.request == request)) {
            let result = match outcome {
                Outcome::Done(done) => Ok(Success {
                    data: done.data,
                    ..Success::default()
                }),
                Outcome::Refused(fault) | Outcome::Stranger(fault) | Outcome::Lost(fault) => {
                    Err(fault)
                }
            };
            return self.reply(flight.command, result);
        }
        if let Some(index) = self.abandoned.iter().position(|a| a.request == request) {
            if let Some(Abandoned {
                moves: Some((drive, camera)),
                ..
            }) = self.abandoned.remove(index)
            {
                // It may have been carried out until now.
                let motor = self.motor(drive);
                if !motor.runs_free() {
                    motor.stop(&camera, None, now.mono);
                }
            }
            return;
        }
        for drive in Drive::ALL {
            let motor = self.motor(drive);
            if motor.trying.as_ref().is_some_and(|t| t.request == request) {
                let failure = match &outcome {
                    Outcome::Done(_) => None,
                    Outcome::Stranger(fault) => Some(Failure::by_a_stranger(fault)),
                    Outcome::Refused(fault) | Outcome::Lost(fault) => Some(Failure::of(fault)),
                };
                return self.stop_ended(drive, failure, now);
            }
        }
    }

    fn control_ended(&mut self, flight: Flight, outcome: Outcome, now: Now) {
        if let Some(drive) = flight.moves {
            let repeat = flight.source == Source::Repeat;
            let end = match &outcome {
                Outcome::Lost(_) if flight.runs_on => MoveEnd::Lost,
                Outcome::Done(done) if flight.stops_at.is_some() => MoveEnd::Done(done.ends_after),
                Outcome::Refused(_) | Outcome::Stranger(_)
                    if flight.stops_at.is_some() && !repeat =>
                {
                    MoveEnd::Refused
                }
                _ => MoveEnd::Nothing,
            };
            let motor = self.motor(drive);
            if flight.runs_on
                && flight.stops_at.is_none()
                && !matches!(outcome, Outcome::Refused(_) | Outcome::Stranger(_))
                && let Some(camera) = flight.source.camera()
            {
                motor.sent_on_its_way(camera);
            }
            let halt_is_off =
                motor.move_ended(flight.request, end, flight.prior, flight.sent_at, now.mono);
            // Nobody knows whether it moves, and the sender is told that it does not. Of a tour
            // also: what it did before would run on into the next waypoint.
            let tours = matches!(flight.source, Source::Patrol { .. });
            let runs_on = end == MoveEnd::Lost
                || (end == MoveEnd::Refused && tours && motor.moving.is_some());
            if runs_on && !motor.is_halting() {
                let camera = flight.source.camera().cloned().or_else(|| {
                    let moving = motor.moving.as_ref();
                    moving.map(|m| m.camera.clone())
                });
                if let Some(camera) = camera {
                    motor.stop(&camera, None, now.mono);
                }
            }
            if halt_is_off {
                self.stop_done(drive, Ok(true));
            }
        }
        let result = match outcome {
            Outcome::Done(done) => Ok(Success {
                stops_at: flight.stops_at,
                preset: done.preset,
                data: done.data,
                ..Success::default()
            }),
            Outcome::Refused(fault) | Outcome::Stranger(fault) | Outcome::Lost(fault) => Err(fault),
        };
        match flight.source {
            Source::Command { id, .. } => self.reply(id, result),
            Source::Patrol { tour, .. } => {
                self.tour_heard(Some(tour), result.as_ref().err(), now);
            }
            Source::Repeat => {}
        }
    }

    fn stop_ended(&mut self, drive: Drive, failure: Option<Failure<'_>>, now: Now) {
        let fault = failure.map(|failure| failure.fault);
        let unanswered = self.control.as_ref().map(|f| f.request);
        let motor = self.motor(drive);
        let tour = motor.halted_tour();
        match motor.stop_ended(failure, unanswered, now.mono) {
            StopEnd::Probed => {}
            StopEnd::Failing => {
                self.probe_no_more();
                let first = self.motor(drive).take_tour();
                for waiter in &mut self.stops {
                    if waiter.need.contains(drive) {
                        waiter.fault = fault.cloned();
                    }
                }
                self.tour_heard(first, fault, now);
            }
            StopEnd::Hopeless => {
                self.probe_no_more();
                if let Some(fault) = fault {
                    self.stop_done(drive, Err(fault));
                }
                self.tour_heard(tour, fault, now);
            }
            StopEnd::Accepted => {
                self.motor(drive).take_tour();
                self.stop_done(drive, Ok(false));
                self.tour_heard(tour, None, now);
            }
            StopEnd::Obeyed => {
                self.stop_done(drive, Ok(false));
                self.tour_heard(tour, None, now);
            }
        }
    }

    /// A camera that refuses one stop refuses the others too, and each may count towards its lock.
    fn probe_no_more(&mut self) {
        for drive in Drive::ALL {
            self.motor(drive).wants_probe = false;
        }
    }

    /// A drive has obeyed (or something newer moves it: `Ok(true)`), or never will. Answers the
    /// stops that waited for it alone.
    fn stop_done(&mut self, drive: Drive, how: Result<bool, &Fault>) {
        let mut answered = Vec::new();
        self.stops.retain_mut(|waiter| {
            if !waiter.need.contains(drive) {
                return true;
            }
            waiter.need.remove(drive);
            match how {
                Ok(_) => waiter.obeyed = true,
                Err(fault) => waiter.fault = Some(fault.clone()),
            }
            if !waiter.need.is_empty() {
                return true;
            }
            let result = match (&waiter.fault, waiter.obeyed) {
                // What could move has stopped; the rest can't move.
                (_, true) => Ok(Success {
                    superseded: how == Ok(true),
                    ..Success::default()
                }),
                (Some(fault), false) => Err(fault.clone()),
                (None, false) => Ok(Success::default()),
            };
            answered.push((waiter.command, result));
            false
        });
        for (command, result) in answered {
            self.reply(command, result);
        }
    }

    // ---- What the time does to the lane ----

    fn due(&mut self, now: Now) {
        if self.closing.as_ref().is_some_and(|c| c.closed) {
            return;
        }
        self.give_up(now);
        for drive in Drive::ALL {
            self.motor_due(drive, now);
        }
        let mut late = Vec::new();
        self.stops.retain(|waiter| {
            let fails = now.mono >= waiter.fails_at;
            if fails {
                late.push((waiter.command, disobeyed(waiter.fault.as_ref())));
            }
            !fails
        });
        for (command, fault) in late {
            self.reply(command, Err(fault));
        }
        let held = self.hold.as_ref().filter(|hold| hold.is_alive(now.mono));
        let held = held.map(|hold| hold.id);
        let void = self
            .queue
            .take_if(|w| w.hold.is_some_and(|hold| held != Some(hold)));
        self.superseded(void);
        for source in self.queue.take_stale(now.mono) {
            let stale = self.stale();
            self.refuse(&source, stale);
        }
        while self
            .queries
            .front()
            .is_some_and(|q| q.expires_at <= now.mono)
        {
            if let Some(query) = self.queries.pop_front() {
                self.reply(query.command, Err(busy("queries")));
            }
        }
        self.walk(now);
        if self.closing.as_ref().is_some_and(|c| now.mono >= c.ends) {
            self.close();
        }
    }

    /// Requests that whoever sent them should have ended by now.
    fn give_up(&mut self, now: Now) {
        let last_call = self
            .closing
            .as_ref()
            .is_some_and(|c| now.mono >= c.last_call);
        if let Some(flight) = self
            .control
            .take_if(|f| f.gives_up_at <= now.mono || last_call)
        {
            let camera = flight.source.camera().cloned();
            self.abandon(Abandoned {
                request: flight.request,
                wire: flight.wire,
                moves: flight.moves.filter(|_| flight.runs_on).zip(camera),
            });
            self.control_ended(flight, Outcome::Lost(no_answer()), now);
        }
        let query = self.query.take_if(|f| f.gives_up_at <= now.mono);
        let fit = self.fit.take_if(|f| f.gives_up_at <= now.mono);
        for flight in query.into_iter().chain(fit) {
            self.abandon(Abandoned {
                request: flight.request,
                wire: flight.wire,
                moves: None,
            });
            self.reply(flight.command, Err(no_answer()));
        }
        for drive in Drive::ALL {
            let out = self.motor(drive).trying.as_ref();
            if let Some(out) = out.filter(|t| t.gives_up_at <= now.mono) {
                let (request, wire) = (out.request, out.wire);
                self.abandon(Abandoned {
                    request,
                    wire,
                    moves: None,
                });
                self.stop_ended(drive, Some(Failure::of(&no_answer())), now);
            }
        }
    }

    fn abandon(&mut self, abandoned: Abandoned) {
        if self.abandoned.len() >= MAX_ABANDONED {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back(abandoned);
    }

    fn motor_due(&mut self, drive: Drive, now: Now) {
        let motor = self.motor(drive);
        if let Some(motion) = motor.overdue(now.mono) {
            let (camera, by_limit) = (motion.camera.clone(), motion.by_limit);
            motor.stop(&camera, None, now.mono);
            if by_limit {
                let limit = self.policy.max_move;
                self.tell(
                    &camera,
                    PtzEventKind::StoppedByLimit,
                    &format!(
                        "nobody repeated or ended the movement of {} within {} s",
                        drive.name(),
                        limit.as_secs_f32()
                    ),
                );
            }
        }
        self.motor(drive).echo(now.mono);
        let runs = self.may_move(drive);
        if let Some(camera) = self.motor(drive).take_failed(runs, now.mono)
            && self.announced.is_none()
        {
            self.announced = Some(camera.clone());
            self.tell(
                &camera,
                PtzEventKind::StopFailed,
                &format!(
                    "the camera has not obeyed the stop of {} for {} s; it is tried on every 10 s",
                    drive.name(),
                    STOP_FAILS.as_secs()
                ),
            );
        }
        if self.motor(drive).take_repeat(now.mono) {
            self.repeat(drive);
        }
    }

    /// Puts the running movement in the queue once more, unless something newer waits.
    fn repeat(&mut self, drive: Drive) {
        if self.queue.moves(drive) {
            return;
        }
        let Some(motion) = &self.motor(drive).moving else {
            return;
        };
        let wanted = Wanted::Move {
            drive,
            velocity: motion.velocity,
            ends: Ends::At(motion.ends_at),
        };
        self.queue.push(Waiting {
            source: Source::Repeat,
            wanted,
            stale_at: None,
            hold: None,
        });
    }

    fn close(&mut self) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        closing.closed = true;
        self.tour = None;
        let unanswered: Vec<(CommandId, Fault)> = self
            .stops
            .drain(..)
            .map(|w| (w.command, disobeyed(w.fault.as_ref())))
            .collect();
        for (command, fault) in unanswered {
            self.reply(command, Err(fault));
        }
        for source in self.queue.take_if(|_| true) {
            self.refuse(&source, stopping());
        }
        if let Some(flight) = self.control.take() {
            self.refuse(&flight.source, no_answer());
        }
    }
}

fn link_is_down() -> Fault {
    let why = "the link to the cloud is down, so nobody could stop the camera";
    Fault::new(ErrorCode::Unavailable, why)
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

fn disobeyed(fault: Option<&Fault>) -> Fault {
    let why = fault.map_or("it gives no reason", |f| f.message.as_str());
    Fault::new(
        ErrorCode::Unavailable,
        format!("the camera has not obeyed the stop: {why}"),
    )
}
