//! What a camera can be told, what its lane tells the world in return, and the checks that need
//! no camera. No JSON: the doors turn payloads into these.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use crate::domain::camera::StopWay;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::patrol::{PatrolEvent, PatrolStatus, Plan, TourId};
use crate::domain::ptz::{Drive, Drives, PtzAction, PtzEvent, Speed, Velocity, check_preset_id};
use crate::domain::stream::CameraId;

/// Longest `duration` of a movement, in milliseconds (contract 6).
const MAX_DURATION: i64 = 3_600_000;
/// Longest preset name, in bytes; cameras cut it further.
const MAX_NAME: usize = 128;

/// One command on its way through a lane. Chosen by the caller, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// One request to a camera. Never used twice by a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// By which way an order came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The cloud's command line. What it moves is stopped when the line is lost.
    Ably,
    /// The local API.
    Rest,
    /// The camera's own tour.
    Patrol,
    /// lss itself.
    Internal,
}

/// An order with where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Its reply carries the same.
    pub id: CommandId,
    /// As the command named the camera; events carry it.
    pub camera: CameraId,
    /// By which way.
    pub origin: Origin,
    /// How old it was when it was handed in; zero where that is not known.
    pub age: Duration,
    /// What to do.
    pub order: Order,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Move one drive until `duration` is over, a stop comes, or nobody repeats it in time.
    Move {
        /// What moves.
        drive: Drive,
        /// How; never zero (that is a stop).
        velocity: Velocity,
        /// How long; none = `ptz.max_move`.
        duration: Option<Duration>,
    },
    /// Stand still.
    Stop(Drives),
    /// Presets.
    Preset(PresetOrder),
    /// Let the camera focus.
    FocusAuto,
    /// A tour that the camera itself keeps.
    CameraPatrol {
        /// Which.
        patrol: u32,
        /// Start or stop.
        start: bool,
    },
    /// Ask something. Never in the way of anything else.
    Query(Query),
    /// A tour that lss keeps.
    Patrol(PatrolOrder),
}

/// What to do with a preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresetOrder {
    /// Go there.
    Goto {
        /// Number or token.
        preset: Arc<str>,
        /// Also where it is a function of the camera, such as a reboot.
        force: bool,
    },
    /// Store where the camera looks.
    Set {
        /// Number or token; none = a new one.
        preset: Option<Arc<str>>,
        /// What people call it.
        name: Option<Arc<str>>,
    },
    /// Forget it.
    Delete {
        /// Number or token.
        preset: Arc<str>,
    },
}

/// What to ask a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// Is it there, and does it take the login?
    Check,
    /// A picture.
    Snapshot {
        /// Not wider than this, in pixels.
        max_width: Option<u32>,
        /// Most bytes of the JPEG.
        max_bytes: usize,
    },
    /// The presets.
    Presets,
    /// Everything there is to know.
    DeviceInfo,
    /// The same by ONVIF alone.
    OnvifProbe,
    /// Where its stream is.
    StreamUri,
}

/// What to do with the camera's tour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatrolOrder {
    /// Start this one; one that runs is stopped first.
    Start(Box<Plan>),
    /// End it. With a tour named, only if it is that one.
    Stop(Option<TourId>),
    /// Stand still.
    Pause(Option<TourId>),
    /// Go on.
    Resume(Option<TourId>),
    /// Where does it stand?
    Status,
}

/// The fields of a PTZ payload, as the wire has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PtzAsk {
    /// What to do.
    pub action: PtzAction,
    /// 0 to 100; none = 50.
    pub speed: Option<i64>,
    /// Milliseconds.
    pub duration: Option<i64>,
    /// Number or token.
    pub preset: Option<String>,
    /// What people call it.
    pub preset_name: Option<String>,
    /// Of the camera's own patrols.
    pub patrol: Option<i64>,
    /// Also where the preset is a function of the camera.
    pub force: bool,
}

impl PtzAsk {
    /// An action and nothing else.
    pub fn new(action: PtzAction) -> Self {
        Self {
            action,
            speed: None,
            duration: None,
            preset: None,
            preset_name: None,
            patrol: None,
            force: false,
        }
    }
}

impl Order {
    /// Judges a PTZ payload: 20002 for what is missing, 20003 for what is out of range.
    pub fn ptz(ask: &PtzAsk) -> Result<Self, Fault> {
        // Whatever else is wrong with it: a stop is a stop.
        if ask.action == PtzAction::Stop {
            return Ok(Self::Stop(Drives::ALL));
        }
        let speed = ask.speed.map_or(Ok(Speed::DEFAULT), Speed::parse)?;
        let duration = ask.duration.map(duration).transpose()?;
        if let Some((drive, velocity)) = ask.action.movement(speed) {
            return Ok(if velocity.is_zero() {
                Self::Stop(Drives::only(drive))
            } else {
                Self::Move {
                    drive,
                    velocity,
                    duration,
                }
            });
        }
        let patrol = || match ask.patrol.map(u32::try_from) {
            Some(Ok(patrol @ 1..)) => Ok(patrol),
            Some(_) => Err(invalid("patrolId must be a number from 1")),
            None => Err(missing("patrolId")),
        };
        Ok(match ask.action {
            PtzAction::GotoPreset => Self::Preset(PresetOrder::Goto {
                preset: preset(ask)?.ok_or_else(|| missing("presetId"))?,
                force: ask.force,
            }),
            PtzAction::SetPreset => {
                let (preset, name) = (preset(ask)?, name(ask)?);
                if preset.is_none() && name.is_none() {
                    return Err(missing("presetId"));
                }
                Self::Preset(PresetOrder::Set { preset, name })
            }
            PtzAction::DeletePreset => Self::Preset(PresetOrder::Delete {
                preset: preset(ask)?.ok_or_else(|| missing("presetId"))?,
            }),
            PtzAction::StartPatrol => Self::CameraPatrol {
                patrol: patrol()?,
                start: true,
            },
            PtzAction::StopPatrol => Self::CameraPatrol {
                patrol: patrol()?,
                start: false,
            },
            // Every other action was taken above.
            _ => Self::FocusAuto,
        })
    }

    /// Whether age makes no difference (contract 5).
    pub(super) fn is_never_stale(&self) -> bool {
        match self {
            Self::Stop(_) | Self::Query(_) => true,
            Self::Patrol(order) => !matches!(order, PatrolOrder::Start(_) | PatrolOrder::Resume(_)),
            _ => false,
        }
    }
}

fn duration(ms: i64) -> Result<Duration, Fault> {
    match u64::try_from(ms) {
        Ok(ok @ 1..) if ms <= MAX_DURATION => Ok(Duration::from_millis(ok)),
        _ => Err(invalid(&format!(
            "duration must be from 1 to {MAX_DURATION} ms"
        ))),
    }
}

fn preset(ask: &PtzAsk) -> Result<Option<Arc<str>>, Fault> {
    ask.preset
        .as_deref()
        .map(|id| check_preset_id(id).map(|()| Arc::from(id)).map_err(invalid))
        .transpose()
}

fn name(ask: &PtzAsk) -> Result<Option<Arc<str>>, Fault> {
    match ask.preset_name.as_deref() {
        None | Some("") => Ok(None),
        Some(name) if name.len() > MAX_NAME || name.chars().any(char::is_control) => Err(invalid(
            &format!("presetName must be at most {MAX_NAME} bytes without control characters"),
        )),
        Some(name) => Ok(Some(name.into())),
    }
}

fn missing(field: &str) -> Fault {
    Fault::new(ErrorCode::ParamMissing, format!("{field} is missing"))
}

fn invalid(why: &str) -> Fault {
    Fault::new(ErrorCode::ParamInvalid, why)
}

/// What is sent to the camera.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceRequest {
    /// Move.
    Move {
        /// What moves.
        drive: Drive,
        /// How; never zero.
        velocity: Velocity,
        /// The lane will stop it after so long. To be set as the camera's own limit where it has
        /// one (never shorter than it allows), so that the movement ends without us too; what the
        /// camera then really does is told by [`Done::ends_after`].
        limit: Duration,
    },
    /// Stand still.
    Stop {
        /// What.
        drive: Drive,
        /// How.
        way: StopWay,
    },
    /// Presets.
    Preset(PresetOrder),
    /// Let the camera focus.
    FocusAuto,
    /// A tour that the camera itself keeps.
    CameraPatrol {
        /// Which.
        patrol: u32,
        /// Start or stop.
        start: bool,
    },
    /// Ask something.
    Query(Query),
}

/// On which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// The warm one. Never two requests at once.
    Control,
    /// A new one: the other is busy or stuck, or a try on it has failed.
    Fresh,
    /// That of queries. Never two requests at once.
    Query,
}

/// A request to be sent now. It is answered exactly once by [`Lane::answer`](super::Lane::answer),
/// at the latest after `timeout`; the lane itself gives up a little later.
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// The answer carries the same.
    pub id: RequestId,
    /// On which connection.
    pub wire: Wire,
    /// For the whole of it, connecting included.
    pub timeout: Duration,
    /// What.
    pub request: DeviceRequest,
}

/// A camera's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<D> {
    /// After so long the camera ends this movement by itself, as far as is known. Where that is
    /// before its time, the lane repeats the movement.
    pub ends_after: Option<Duration>,
    /// The preset's number or token, where one was stored.
    pub preset: Option<Arc<str>>,
    /// What a query brought.
    pub data: Option<D>,
}

impl<D> Default for Done<D> {
    fn default() -> Self {
        Self {
            ends_after: None,
            preset: None,
            data: None,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<D> {
    /// The camera has accepted it.
    Done(Done<D>),
    /// It was not carried out: the camera said no, or it never got there (no connection, guarded
    /// login). Of a stop also: said yes, and still moves.
    Refused(Fault),
    /// Nobody knows: it was sent, and no answer came.
    Lost(Fault),
}

/// What a command is answered with when it went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success<D> {
    /// A newer command or a stop made it pointless before it was sent.
    pub superseded: bool,
    /// When the movement ends if nobody repeats it.
    pub stops_at: Option<SystemTime>,
    /// The preset's number or token, where one was stored.
    pub preset: Option<Arc<str>>,
    /// Of patrol commands.
    pub patrol: Option<PatrolStatus>,
    /// What a query brought.
    pub data: Option<D>,
}

impl<D> Default for Success<D> {
    fn default() -> Self {
        Self {
            superseded: false,
            stops_at: None,
            preset: None,
            patrol: None,
            data: None,
        }
    }
}

impl<D> Success<D> {
    pub(super) fn superseded() -> Self {
        Self {
            superseded: true,
            ..Self::default()
        }
    }
}

/// What a command is answered with.
pub type CommandResult<D> = Result<Success<D>, Fault>;

/// What the lane's thread has to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output<D> {
    /// Send this.
    Send(Send),
    /// Answer a command. Comes exactly once for each.
    Reply(CommandId, CommandResult<D>),
    /// Tell the cloud.
    Ptz(PtzEvent),
    /// Tell the cloud.
    Patrol(PatrolEvent),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(action: PtzAction) -> PtzAsk {
        PtzAsk::new(action)
    }

    #[test]
    fn each_of_the_actions_is_an_order() {
        for action in PtzAction::ALL {
            let order = Order::ptz(&PtzAsk {
                preset: Some("1".into()),
                patrol: Some(1),
                ..ask(action)
            })
            .unwrap();
            let stale = order.is_never_stale();
            assert_eq!(stale, action == PtzAction::Stop, "{action:?}");
        }
    }

    #[test]
    fn speed_zero_is_a_stop_of_that_drive() {
        let order = Order::ptz(&PtzAsk {
            speed: Some(0),
            ..ask(PtzAction::FocusFar)
        })
        .unwrap();
        assert_eq!(order, Order::Stop(Drives::only(Drive::Focus)));
        assert!(order.is_never_stale());
        let stop = PtzAsk {
            speed: Some(1000),
            ..ask(PtzAction::Stop)
        };
        assert_eq!(Order::ptz(&stop).unwrap(), Order::Stop(Drives::ALL));
    }

    #[test]
    fn what_is_missing_or_out_of_range() {
        let code = |ask: &PtzAsk| Order::ptz(ask).unwrap_err().code;
        for action in [
            PtzAction::GotoPreset,
            PtzAction::SetPreset,
            PtzAction::DeletePreset,
            PtzAction::StartPatrol,
            PtzAction::StopPatrol,
        ] {
            assert_eq!(code(&ask(action)), ErrorCode::ParamMissing, "{action:?}");
        }
        for speed in [-1, 101, 1000] {
            let bad = PtzAsk {
                speed: Some(speed),
                ..ask(PtzAction::PanLeft)
            };
            assert_eq!(code(&bad), ErrorCode::ParamInvalid);
        }
        for duration in [0, -5, 3_600_001, i64::MAX] {
            let bad = PtzAsk {
                duration: Some(duration),
                ..ask(PtzAction::PanLeft)
            };
            assert_eq!(code(&bad), ErrorCode::ParamInvalid);
        }
        let bad = PtzAsk {
            preset: Some("../../x".into()),
            ..ask(PtzAction::GotoPreset)
        };
        assert_eq!(code(&bad), ErrorCode::ParamInvalid);
        let bad = PtzAsk {
            patrol: Some(-1),
            ..ask(PtzAction::StartPatrol)
        };
        assert_eq!(code(&bad), ErrorCode::ParamInvalid);
        let long = PtzAsk {
            preset_name: Some("x".repeat(129)),
            ..ask(PtzAction::SetPreset)
        };
        assert_eq!(code(&long), ErrorCode::ParamInvalid);
    }

    #[test]
    fn a_new_preset_needs_only_a_name() {
        let order = Order::ptz(&PtzAsk {
            preset_name: Some("Entrance".into()),
            ..ask(PtzAction::SetPreset)
        })
        .unwrap();
        assert_eq!(
            order,
            Order::Preset(PresetOrder::Set {
                preset: None,
                name: Some("Entrance".into()),
            })
        );
    }
}
