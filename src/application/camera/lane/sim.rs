//! A camera in simulated time, for the lane's tests: it turns requests into velocity as badly as
//! it is told to, and remembers how long it moved.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Lane, LanePolicy};
use crate::application::camera::order::*;
use crate::application::camera::ptz_ask::PtzAsk;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::patrol::{PatrolAsk, PatrolEvent, PatrolEventKind, Plan, WaypointAsk};
use crate::domain::ptz::{Drive, Drives, PtzAction, PtzEvent, PtzEventKind, Velocity};
use crate::domain::stream::{CameraId, Id};
use crate::util::time::Now;

pub(in crate::application::camera) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(in crate::application::camera) fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(super) fn camera() -> CameraId {
    Id::parse("cameraId", "cam").unwrap()
}

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// Carried out at half of the round trip, answered at its end.
    Good { rtt: u64 },
    /// Carried out; the answer gets lost, and that is known after so long.
    AnswerLost { after: u64 },
    /// The connection breaks after `after`, and it is carried out `late` after that.
    Late { after: u64, late: u64 },
    /// Nothing gets there, and that is known at once.
    Unreachable,
    /// Nothing gets there, and nobody knows before the timeout.
    Dead,
    /// The camera says no to everything.
    Refuses(ErrorCode),
    /// Somebody else answers, who does not show the camera's certificate.
    Stranger,
    /// Carried out, and whoever sent it never says how it ended.
    SenderStuck,
}

/// What the camera can't, or won't.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quirks {
    /// What the protocol's stop is answered with.
    pub stop: Option<ErrorCode>,
    /// What a movement of velocity zero is answered with.
    pub zero: Option<ErrorCode>,
    /// What anything about focus and iris is answered with.
    pub lens: Option<ErrorCode>,
    /// Ends movements by itself after so many milliseconds, and says so.
    pub own_limit: Option<u64>,
}

#[derive(Debug)]
enum Happens {
    Carried(DeviceRequest),
    Answered(RequestId, Outcome),
    OwnLimit(u64),
}

pub(super) struct Sim {
    pub lane: Lane,
    pub now: Now,
    t0: Instant,
    pub manners: Manners,
    pub stop_manners: Option<Manners>,
    pub quirks: Quirks,
    /// What the camera really does.
    pub velocity: Velocity,
    /// Velocity × time, of pan: where the head is.
    pub position: f64,
    coming: BTreeMap<(Instant, u64), Happens>,
    count: u64,
    pub moves: u64,
    pub sent: Vec<(u64, Send)>,
    out: BTreeMap<RequestId, Wire>,
    pub replies: BTreeMap<u64, (u64, CommandResult)>,
    commands: u64,
    pub ptz: Vec<PtzEvent>,
    pub patrol: Vec<PatrolEvent>,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self::with(LanePolicy::default())
    }

    pub(super) fn with(policy: LanePolicy) -> Self {
        Self::around(Lane::new(policy), Now::read())
    }

    pub(super) fn around(lane: Lane, now: Now) -> Self {
        Self {
            lane,
            now,
            t0: now.mono,
            manners: Manners::Good { rtt: 20 },
            stop_manners: None,
            quirks: Quirks::default(),
            velocity: Velocity::ZERO,
            position: 0.0,
            coming: BTreeMap::new(),
            count: 0,
            moves: 0,
            sent: Vec::new(),
            out: BTreeMap::new(),
            replies: BTreeMap::new(),
            commands: 0,
            ptz: Vec::new(),
            patrol: Vec::new(),
        }
    }

    /// Milliseconds since the start.
    pub(super) fn at(&self) -> u64 {
        u64::try_from((self.now.mono - self.t0).as_millis()).unwrap()
    }

    pub(super) fn order(&mut self, origin: Origin, order: Order) -> u64 {
        self.aged(origin, order, Duration::ZERO)
    }

    /// A stop by another id of the same camera.
    pub(super) fn stop_as(&mut self, id: &str) {
        self.commands += 1;
        let outputs = self.lane.command(
            Command {
                id: CommandId(self.commands),
                camera: Id::parse("cameraId", id).unwrap(),
                origin: Origin::Ably,
                age: Duration::ZERO,
                overtaken: false,
                order: Order::Stop(Drives::ALL),
            },
            self.now,
        );
        self.perform(outputs);
    }

    pub(super) fn aged(&mut self, origin: Origin, order: Order, age: Duration) -> u64 {
        self.commands += 1;
        let outputs = self.lane.command(
            Command {
                id: CommandId(self.commands),
                camera: camera(),
                origin,
                age,
                overtaken: false,
                order,
            },
            self.now,
        );
        self.perform(outputs);
        self.commands
    }

    pub(super) fn act(&mut self, action: PtzAction, duration: Option<i64>) -> u64 {
        let order = Order::ptz(&PtzAsk {
            duration,
            preset: Some("3".into()),
            patrol: Some(1),
            ..PtzAsk::new(action)
        })
        .unwrap();
        self.order(Origin::Rest, order)
    }

    pub(super) fn stop(&mut self) -> u64 {
        self.order(Origin::Rest, Order::Stop(Drives::ALL))
    }

    pub(super) fn start_patrol(&mut self, loops: i64, waypoints: &[(&str, u64, u64)]) -> u64 {
        let plan = plan(loops, waypoints);
        self.order(
            Origin::Ably,
            Order::Patrol(PatrolOrder::Start(Box::new(plan))),
        )
    }

    pub(super) fn patrol(&mut self, order: PatrolOrder) -> u64 {
        self.order(Origin::Ably, Order::Patrol(order))
    }

    /// An id leads elsewhere from now on.
    pub(super) fn left(&mut self, camera: &CameraId) {
        let outputs = self.lane.left(camera, self.now);
        self.perform(outputs);
    }

    pub(super) fn link_lost(&mut self) {
        let outputs = self.lane.link_lost(self.now);
        self.perform(outputs);
    }

    pub(super) fn shut_down(&mut self) {
        let outputs = self.lane.shut_down(self.now);
        self.perform(outputs);
    }

    pub(super) fn answer(&mut self, request: RequestId, outcome: Outcome) {
        self.out.remove(&request);
        let outputs = self.lane.answer(request, outcome, self.now);
        self.perform(outputs);
    }

    pub(super) fn tick(&mut self) {
        let outputs = self.lane.tick(self.now);
        self.perform(outputs);
    }

    /// Lets time pass, one thing that happens after the other.
    pub(super) fn pass(&mut self, by: Duration) {
        let end = self.now.mono + by;
        loop {
            let deadline = self.lane.next_deadline();
            let coming = self.coming.keys().next().map(|(at, _)| *at);
            let next = [deadline, coming].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.move_to(at);
            if coming == Some(at) {
                let (_, happens) = self.coming.pop_first().unwrap();
                self.happen(happens);
            } else {
                self.tick();
            }
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Instant) {
        let by = at.saturating_duration_since(self.now.mono);
        self.position += f64::from(self.velocity.pan) * by.as_secs_f64();
        self.now = self.now.after(by);
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Carried(request) => self.carry_out(&request),
            Happens::Answered(request, outcome) => self.answer(request, outcome),
            Happens::OwnLimit(moves) => {
                if moves == self.moves {
                    self.velocity = Velocity::ZERO;
                }
            }
        }
    }

    fn carry_out(&mut self, request: &DeviceRequest) {
        match request {
            DeviceRequest::Move { drive, .. } if self.cannot(*drive) => {}
            DeviceRequest::Move {
                drive, velocity, ..
            } => {
                self.velocity = self.velocity.with(*drive, *velocity);
                self.moves += 1;
                if let Some(limit) = self.quirks.own_limit {
                    self.later(ms(limit), Happens::OwnLimit(self.moves));
                }
            }
            DeviceRequest::Stop { drive, .. } => {
                self.velocity = self.velocity.with(*drive, Velocity::ZERO);
            }
            // A preset or a tour of the camera's own ends by itself.
            DeviceRequest::Act(action) if action.moves().is_some() => {
                self.velocity = self.velocity.with(Drive::PanTiltZoom, Velocity::ZERO);
            }
            _ => {}
        }
    }

    /// A camera that says "not supported" does not move.
    fn cannot(&self, drive: Drive) -> bool {
        let no = ErrorCode::ValidationFailed;
        self.manners == Manners::Refuses(no)
            || (drive != Drive::PanTiltZoom && self.quirks.lens == Some(no))
    }

    /// To be called when its manners or quirks have changed.
    pub(super) fn settle(&mut self) {
        for drive in Drive::ALL {
            if self.cannot(drive) {
                self.velocity = self.velocity.with(drive, Velocity::ZERO);
            }
        }
    }

    fn later(&mut self, by: Duration, happens: Happens) {
        self.count += 1;
        self.coming
            .insert((self.now.mono + by, self.count), happens);
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(send) => self.send(&send),
                Output::Reply(CommandId(id), result) => {
                    assert!(id <= self.commands, "a reply to nothing");
                    let at = self.at();
                    let before = self.replies.insert(id, (at, result));
                    assert!(before.is_none(), "command {id} was answered twice");
                }
                Output::Ptz(event) => self.ptz.push(event),
                Output::Patrol(event) => self.patrol.push(event),
            }
        }
        let deadline = self.lane.next_deadline();
        assert!(
            deadline.is_none_or(|at| at > self.now.mono),
            "a deadline that is past makes a busy loop: {:?}",
            self.lane
        );
    }

    fn send(&mut self, send: &Send) {
        let at = self.at();
        self.sent.push((at, send.clone()));
        if send.wire != Wire::Fresh {
            assert!(
                !self.out.values().any(|w| *w == send.wire),
                "two requests at once on one connection"
            );
        }
        let stop = matches!(send.request, DeviceRequest::Stop { .. });
        let manners = self.stop_manners.filter(|_| stop).unwrap_or(self.manners);
        self.out.insert(send.id, send.wire);
        let lost = || {
            Outcome::Lost(Fault::new(
                ErrorCode::Unavailable,
                "no answer from the camera",
            ))
        };
        let refused = |code| Outcome::Refused(Fault::new(code, "the camera says no"));
        let end = |after: u64| ms(after).min(send.timeout);
        if let (Manners::Good { rtt }, Some(code)) = (manners, self.refusal(&send.request)) {
            self.later(end(rtt), Happens::Answered(send.id, refused(code)));
            return;
        }
        let carried = Happens::Carried(send.request.clone());
        match manners {
            Manners::Good { rtt } => {
                if ms(rtt / 2) < send.timeout {
                    self.later(ms(rtt / 2), carried);
                }
                let done = if end(rtt) < send.timeout {
                    Outcome::Done(Done {
                        ends_after: self.quirks.own_limit.map(ms),
                        preset: None,
                        data: Some(QueryData::StreamUri(None)),
                    })
                } else {
                    lost()
                };
                self.later(end(rtt), Happens::Answered(send.id, done));
            }
            Manners::AnswerLost { after } => {
                self.later(end(after / 2), carried);
                self.later(end(after), Happens::Answered(send.id, lost()));
            }
            Manners::Late { after, late } => {
                self.later(end(after), Happens::Answered(send.id, lost()));
                self.later(end(after) + ms(late), carried);
            }
            Manners::Unreachable => {
                let end = refused(ErrorCode::Unavailable);
                self.later(ms(1), Happens::Answered(send.id, end));
            }
            Manners::Dead => {
                self.later(send.timeout, Happens::Answered(send.id, lost()));
            }
            Manners::Refuses(code) => {
                self.later(ms(10), Happens::Answered(send.id, refused(code)));
            }
            Manners::Stranger => {
                let fault = Fault::new(ErrorCode::AccessDenied, "another certificate");
                let end = Outcome::Stranger(fault);
                self.later(ms(10), Happens::Answered(send.id, end));
            }
            Manners::SenderStuck => {
                self.later(ms(10), carried);
                // The thread is replaced some day; until then its connection is not used.
                self.out.remove(&send.id);
            }
        }
    }

    fn refusal(&self, request: &DeviceRequest) -> Option<ErrorCode> {
        match request {
            DeviceRequest::Move { drive, .. } | DeviceRequest::Stop { drive, .. }
                if *drive != Drive::PanTiltZoom && self.quirks.lens.is_some() =>
            {
                self.quirks.lens
            }
            DeviceRequest::Stop {
                way: StopWay::Stop, ..
            } => self.quirks.stop,
            DeviceRequest::Stop {
                way: StopWay::ZeroVelocity,
                ..
            } => self.quirks.zero,
            _ => None,
        }
    }

    // What tests look at

    pub(super) fn reply(&self, command: u64) -> Option<&CommandResult> {
        self.replies.get(&command).map(|(_, result)| result)
    }

    /// Milliseconds since the start at which it was answered.
    pub(super) fn replied_at(&self, command: u64) -> u64 {
        self.replies[&command].0
    }

    pub(super) fn ok(&self, command: u64) -> &Success {
        self.reply(command)
            .expect("not answered")
            .as_ref()
            .expect("answered with a fault")
    }

    pub(super) fn fault(&self, command: u64) -> ErrorCode {
        self.reply(command)
            .expect("not answered")
            .as_ref()
            .expect_err("answered with success")
            .code
    }

    pub(super) fn unanswered(&self) -> Vec<u64> {
        (1..=self.commands)
            .filter(|id| !self.replies.contains_key(id))
            .collect()
    }

    pub(super) fn still(&self) -> bool {
        self.velocity.is_zero()
    }

    /// What was sent since last asked: `at what wire`.
    pub(super) fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent)
            .into_iter()
            .map(|(at, send)| {
                let wire = match send.wire {
                    Wire::Control => "control",
                    Wire::Fresh => "fresh",
                    Wire::Query => "query",
                };
                let what = match send.request {
                    DeviceRequest::Move {
                        drive: Drive::PanTiltZoom,
                        velocity,
                        ..
                    } => format!("move {},{},{}", velocity.pan, velocity.tilt, velocity.zoom),
                    DeviceRequest::Move { drive, .. } => format!("move {}", drive.name()),
                    DeviceRequest::Stop { drive, way } => match (drive, way) {
                        (Drive::PanTiltZoom, StopWay::Stop) => "stop".to_owned(),
                        (Drive::PanTiltZoom, StopWay::ZeroVelocity) => "zero".to_owned(),
                        (drive, StopWay::Stop) => format!("stop {}", drive.name()),
                        (drive, StopWay::ZeroVelocity) => format!("zero {}", drive.name()),
                    },
                    DeviceRequest::Act(Action::Preset(PresetOrder::Goto { .. })) => {
                        "goto".to_owned()
                    }
                    DeviceRequest::Act(Action::Preset(PresetOrder::Set { .. })) => "set".to_owned(),
                    DeviceRequest::Act(Action::Preset(PresetOrder::Delete { .. })) => {
                        "delete".to_owned()
                    }
                    DeviceRequest::Act(Action::FocusAuto) => "auto focus".to_owned(),
                    DeviceRequest::Act(Action::CameraPatrol { start, .. }) => {
                        format!("own patrol {start}")
                    }
                    DeviceRequest::Query(_) => "query".to_owned(),
                };
                format!("{at} {what} {wire}")
            })
            .collect()
    }

    pub(super) fn ptz_kinds(&self) -> Vec<PtzEventKind> {
        self.ptz.iter().map(|e| e.kind).collect()
    }

    pub(super) fn patrol_kinds(&self) -> Vec<PatrolEventKind> {
        self.patrol.iter().map(|e| e.kind).collect()
    }
}

/// (action, startTime, duration)
pub(in crate::application::camera) fn plan(loops: i64, waypoints: &[(&str, u64, u64)]) -> Plan {
    Plan::check(&PatrolAsk {
        tour: Id::parse("tourId", "tour").unwrap(),
        camera: camera(),
        loop_count: Some(loops),
        waypoints: waypoints
            .iter()
            .map(|&(action, start, duration)| WaypointAsk {
                action: action.to_owned(),
                speed: None,
                duration: Some(i64::try_from(duration).unwrap()),
                start_time: Some(i64::try_from(start).unwrap()),
                preset: Some("7".to_owned()),
            })
            .collect(),
    })
    .unwrap()
}
