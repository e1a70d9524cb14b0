//! Patrols: what a tour is, which tours are accepted, and the timetable machine that walks one.
//!
//! Knows no camera, clock or thread: [`Patrol`] is asked what is due and says it; the camera's
//! lane does it and reports how it went (contract 8).

mod machine;
#[cfg(test)]
mod machine_tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{ErrorCode, Fault};
use super::ptz::{PtzAction, Speed, Velocity, check_preset_id};
use super::stream::{CameraId, Id};

pub use machine::Patrol;

/// A tour's id.
pub type TourId = Id;

/// Most waypoints of a tour.
pub const MAX_WAYPOINTS: usize = 256;
/// Longest duration and latest start of a waypoint, in milliseconds.
const MAX_MS: i64 = 3_600_000;
/// A loop is at least so long, so that a tour can't be a flood.
const MIN_LOOP: Duration = Duration::from_secs(1);

/// A waypoint as the wire has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaypointAsk {
    /// `LEFT`, `PAN_LEFT`, `LEFT_UP`, `ZOOM_IN`, `STOP`, `GOTO_PRESET`, …
    pub action: String,
    /// 0 to 100; none = 50.
    pub speed: Option<i64>,
    /// How long, in milliseconds. A GOTO_PRESET may leave it out.
    pub duration: Option<i64>,
    /// Milliseconds from the loop's start; none, or before the end of the last one = at once.
    pub start_time: Option<i64>,
    /// Where to, for GOTO_PRESET.
    pub preset: Option<String>,
}

/// A tour as the wire has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatrolAsk {
    /// The cloud's id of the tour.
    pub tour: TourId,
    /// Whose tour.
    pub camera: CameraId,
    /// How often; 0 or none = endless.
    pub loop_count: Option<i64>,
    /// What to do.
    pub waypoints: Vec<WaypointAsk>,
}

/// What a waypoint does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Move(Velocity),
    Halt,
    Goto(Arc<str>),
}

/// A waypoint with its place in the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    begin: Duration,
    end: Duration,
    act: Act,
}

/// A tour that has passed validation: its timetable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    tour: TourId,
    camera: CameraId,
    /// 0 = endless.
    loop_count: u64,
    /// Never empty; begins rise, none begins before the last one has ended.
    slots: Arc<[Slot]>,
    /// End of the last waypoint.
    length: Duration,
}

impl Plan {
    /// Judges a tour; 20005 with the reason, waypoints counted from 0 as in `currentWaypoint`.
    pub fn check(ask: &PatrolAsk) -> Result<Self, Fault> {
        let loop_count = match ask.loop_count.map(u64::try_from) {
            None => 0,
            Some(Ok(count)) => count,
            Some(Err(_)) => return Err(refused("loopCount must be 0 (endless) or more")),
        };
        if ask.waypoints.is_empty() {
            return Err(refused("a patrol needs at least one waypoint"));
        }
        if ask.waypoints.len() > MAX_WAYPOINTS {
            return Err(refused(&format!(
                "a patrol has at most {MAX_WAYPOINTS} waypoints, this one has {}",
                ask.waypoints.len()
            )));
        }
        let mut slots = Vec::with_capacity(ask.waypoints.len());
        let mut end = Duration::ZERO;
        for (index, waypoint) in ask.waypoints.iter().enumerate() {
            let slot =
                slot(waypoint, end).map_err(|why| refused(&format!("waypoint {index}: {why}")))?;
            end = slot.end;
            slots.push(slot);
        }
        if end < MIN_LOOP {
            return Err(refused("a loop must last at least 1 s"));
        }
        Ok(Self {
            tour: ask.tour.clone(),
            camera: ask.camera.clone(),
            loop_count,
            slots: slots.into(),
            length: end,
        })
    }

    /// The cloud's id of the tour.
    pub fn tour(&self) -> &TourId {
        &self.tour
    }

    /// Whose tour.
    pub fn camera(&self) -> &CameraId {
        &self.camera
    }

    /// How long one loop lasts.
    pub fn length(&self) -> Duration {
        self.length
    }
}

fn refused(why: &str) -> Fault {
    Fault::new(ErrorCode::ValidationFailed, why)
}

fn slot(ask: &WaypointAsk, last_end: Duration) -> Result<Slot, String> {
    let speed = match ask.speed {
        None => Speed::DEFAULT,
        Some(value) => Speed::parse(value).map_err(|fault| fault.message)?,
    };
    let act = act(ask, speed)?;
    let duration = match (ask.duration, &act) {
        (Some(ms), _) => millis("duration", ms)?,
        (None, Act::Goto(_)) => Duration::ZERO,
        (None, _) => return Err("duration is missing".to_owned()),
    };
    let begin = match ask.start_time {
        Some(ms) => millis("startTime", ms)?.max(last_end),
        None => last_end,
    };
    Ok(Slot {
        begin,
        end: begin + duration,
        act,
    })
}

/// What a waypoint may do, as senders are told.
const PATROL_ACTIONS: &str = "LEFT, RIGHT, UP, DOWN, LEFT_UP, LEFT_DOWN, RIGHT_UP, RIGHT_DOWN, \
                              ZOOM_IN, ZOOM_OUT, STOP, GOTO_PRESET";

fn act(ask: &WaypointAsk, speed: Speed) -> Result<Act, String> {
    // The action is the sender's text: it is named only where it is one of ours.
    let action = PtzAction::parse(&ask.action)
        .ok_or_else(|| format!("unknown action; use one of {PATROL_ACTIONS}"))?;
    match action {
        PtzAction::Stop => Ok(Act::Halt),
        PtzAction::GotoPreset => {
            let preset = ask.preset.as_deref().ok_or("GOTO_PRESET needs presetId")?;
            check_preset_id(preset)?;
            Ok(Act::Goto(preset.into()))
        }
        PtzAction::PanLeft
        | PtzAction::PanRight
        | PtzAction::TiltUp
        | PtzAction::TiltDown
        | PtzAction::ZoomIn
        | PtzAction::ZoomOut
        | PtzAction::LeftUp
        | PtzAction::LeftDown
        | PtzAction::RightUp
        | PtzAction::RightDown => Ok(match action.movement(speed) {
            Some((_, velocity)) if !velocity.is_zero() => Act::Move(velocity),
            _ => Act::Halt,
        }),
        other => Err(format!(
            "{} can't be part of a patrol; use one of {PATROL_ACTIONS}",
            other.name()
        )),
    }
}

fn millis(field: &str, value: i64) -> Result<Duration, String> {
    match u64::try_from(value) {
        Ok(ms) if value <= MAX_MS => Ok(Duration::from_millis(ms)),
        _ => Err(format!("{field} must be from 0 to {MAX_MS} ms")),
    }
}

/// Where a patrol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatrolState {
    /// On its way.
    Running,
    /// Stands still; goes on with what was left of its waypoint.
    Paused,
    /// Over, or there is none.
    Stopped,
}

impl PatrolState {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What happened to a patrol (contract 14, `patrol_event`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatrolEventKind {
    /// It runs.
    Started,
    /// A loop is done.
    LoopEnd,
    /// It stands still, for a reason.
    Paused,
    /// It goes on.
    Resumed,
    /// All loops done, stopped, or replaced.
    Ended,
    /// Given up.
    Failed,
}

impl PatrolEventKind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::LoopEnd => "LOOP_END",
            Self::Paused => "PAUSED",
            Self::Resumed => "RESUMED",
            Self::Ended => "ENDED",
            Self::Failed => "FAILED",
        }
    }
}

/// A `patrol_event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatrolEvent {
    /// Whose patrol.
    pub camera: CameraId,
    /// Which tour.
    pub tour: TourId,
    /// What happened.
    pub kind: PatrolEventKind,
    /// Why, in words, where there is a why. Masked.
    pub reason: Option<String>,
    /// 0-based; the waypoint that was begun last.
    pub current_waypoint: usize,
    /// 0-based; at LOOP_END the loop that has ended.
    pub current_loop: u64,
}

/// What `PATROL_*` commands answer (contract 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatrolStatus {
    /// Which tour; none where there is no patrol.
    pub tour: Option<TourId>,
    /// Whose.
    pub camera: CameraId,
    /// Where it stands.
    pub state: PatrolState,
    /// 0-based; the waypoint that was begun last.
    pub current_waypoint: usize,
    /// 0-based.
    pub current_loop: u64,
    /// 0 = endless.
    pub loop_count: u64,
}

impl PatrolStatus {
    /// Of a camera without a patrol.
    pub fn none(camera: CameraId) -> Self {
        Self {
            tour: None,
            camera,
            state: PatrolState::Stopped,
            current_waypoint: 0,
            current_loop: 0,
            loop_count: 0,
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Move so until `until`: then comes a [`Step::Halt`], or the next movement.
    Move {
        /// How.
        velocity: Velocity,
        /// The waypoint's end.
        until: Instant,
    },
    /// Stand still.
    Halt,
    /// Go to a preset.
    GotoPreset(Arc<str>),
    /// Tell the cloud.
    Event(PatrolEvent),
    /// The last step: the patrol is over and can be dropped.
    Finished,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waypoint(action: &str, duration: i64) -> WaypointAsk {
        WaypointAsk {
            action: action.to_owned(),
            duration: Some(duration),
            ..WaypointAsk::default()
        }
    }

    fn check(loop_count: Option<i64>, waypoints: Vec<WaypointAsk>) -> Result<Plan, Fault> {
        Plan::check(&PatrolAsk {
            tour: Id::parse("tourId", "tour_001").unwrap(),
            camera: Id::parse("cameraId", "cam_001").unwrap(),
            loop_count,
            waypoints,
        })
    }

    fn refusal(loop_count: Option<i64>, waypoints: Vec<WaypointAsk>) -> String {
        let fault = check(loop_count, waypoints).unwrap_err();
        assert_eq!(fault.code, ErrorCode::ValidationFailed);
        fault.message
    }

    #[test]
    fn the_timetable_counts_from_the_start_of_the_loop() {
        let at = |mut w: WaypointAsk, start| {
            w.start_time = Some(start);
            w
        };
        let plan = check(
            None,
            vec![
                at(waypoint("LEFT", 3000), 0),
                at(waypoint("STOP", 2000), 1000), // overlaps: at once
                at(waypoint("RIGHT", 3000), 7000),
                waypoint("ZOOM_IN", 500),
            ],
        )
        .unwrap();
        let times: Vec<(u128, u128)> = plan
            .slots
            .iter()
            .map(|s| (s.begin.as_millis(), s.end.as_millis()))
            .collect();
        assert_eq!(
            times,
            [(0, 3000), (3000, 5000), (7000, 10_000), (10_000, 10_500)]
        );
        assert_eq!(plan.length(), Duration::from_millis(10_500));
    }

    #[test]
    fn every_action_of_a_patrol_and_no_other() {
        for good in [
            "LEFT",
            "RIGHT",
            "UP",
            "DOWN",
            "ZOOM_IN",
            "ZOOM_OUT",
            "STOP",
            "PAN_LEFT",
            "PAN_RIGHT",
            "TILT_UP",
            "TILT_DOWN",
            "LEFT_UP",
            "LEFT_DOWN",
            "RIGHT_UP",
            "RIGHT_DOWN",
        ] {
            assert!(check(None, vec![waypoint(good, 1000)]).is_ok(), "{good}");
        }
        for bad in [
            "FOCUS_NEAR",
            "SET_PRESET",
            "START_PATROL",
            "",
            "<b>",
            "GOTO_PRESET",
        ] {
            let why = refusal(None, vec![waypoint("LEFT", 1000), waypoint(bad, 1000)]);
            assert!(why.starts_with("waypoint 1: "), "{why}");
            assert!(!why.contains("<b>"));
        }
    }

    #[test]
    fn numbers_out_of_range() {
        for (duration, start, speed) in [
            (-1, 0, 50),
            (3_600_001, 0, 50),
            (i64::MAX, 0, 50),
            (1000, -1, 50),
            (1000, 3_600_001, 50),
            (1000, 0, -1),
            (1000, 0, 101),
        ] {
            let mut w = waypoint("LEFT", duration);
            w.start_time = Some(start);
            w.speed = Some(speed);
            refusal(None, vec![w]);
        }
        assert!(check(Some(0), vec![waypoint("LEFT", 3_600_000)]).is_ok());
        refusal(Some(-1), vec![waypoint("LEFT", 1000)]);
        assert!(refusal(None, vec![waypoint("LEFT", 999)]).contains("1 s"));
    }

    #[test]
    fn numbers_of_waypoints() {
        refusal(None, Vec::new());
        assert!(check(None, vec![waypoint("LEFT", 10); 256]).is_ok());
        refusal(None, vec![waypoint("LEFT", 10); 257]);
        refusal(None, vec![waypoint("LEFT", 10); 100_000]);
    }

    #[test]
    fn presets_need_an_id_and_may_leave_out_the_dwell() {
        let mut goto = waypoint("GOTO_PRESET", 0);
        goto.duration = None;
        refusal(None, vec![goto.clone(), waypoint("STOP", 1000)]);
        goto.preset = Some("3".to_owned());
        assert!(check(None, vec![goto.clone(), waypoint("STOP", 1000)]).is_ok());
        goto.preset = Some("../../x".to_owned());
        refusal(None, vec![goto, waypoint("STOP", 1000)]);
        let mut endless = waypoint("LEFT", 0);
        endless.duration = None;
        assert!(refusal(None, vec![endless]).contains("duration is missing"));
    }
}
