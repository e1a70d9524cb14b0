//! What a camera can be told, what its lane tells the world in return, and the checks that need
//! no camera. No JSON: the doors turn payloads into these.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;

pub use crate::domain::camera::StopWay;
use crate::domain::camera::fit::{FitAsk, FitReport, StreamName};
use crate::domain::camera::{CameraDeviceInfo, Picture, PresetInfo, Protocol};
use crate::domain::error::Fault;
use crate::domain::patrol::{PatrolEvent, PatrolStatus, Plan, TourId};
use crate::domain::ptz::{Drive, Drives, HoldId, PtzEvent, Velocity};
use crate::domain::stream::CameraId;

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
    /// A later stop of the same camera has overtaken it: it moves nothing.
    pub overtaken: bool,
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
        /// The press of a joystick that it belongs to: without that it moves nothing.
        hold: Option<HoldId>,
    },
    /// A joystick is pressed: grants a hold, and moves nothing.
    Hold(HoldId),
    /// Stand still.
    Stop(Drives),
    /// What the camera then does by itself.
    Act(Action),
    /// Ask something. Never in the way of anything else.
    Query(Query),
    /// A tour that lss keeps.
    Patrol(PatrolOrder),
}

impl Order {
    /// Whether it may set something in motion that has to be ended.
    pub(super) fn sets_in_motion(&self) -> bool {
        match self {
            Self::Move { .. } => true,
            Self::Act(action) => action.moves().is_some(),
            Self::Patrol(order) => matches!(order, PatrolOrder::Start(_) | PatrolOrder::Resume(_)),
            _ => false,
        }
    }

    /// Whether it makes something stand still. Every door, every queue and the lane ask this.
    pub fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Stop(_) | Self::Patrol(PatrolOrder::Stop(_) | PatrolOrder::Pause(_))
        )
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

/// What a camera is told once and then does by itself, in an order and in the request that it
/// becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
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
}

impl Action {
    /// The drive that this sets in motion.
    pub(super) fn moves(&self) -> Option<Drive> {
        match self {
            Self::Preset(PresetOrder::Goto { .. }) | Self::CameraPatrol { start: true, .. } => {
                Some(Drive::PanTiltZoom)
            }
            Self::Preset(_) | Self::FocusAuto | Self::CameraPatrol { start: false, .. } => None,
        }
    }
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
    /// A keyframe now, so that who begins to watch need not wait for the next one.
    Keyframe(StreamName),
    /// How its encoder is set, and what is to be changed; with leave it is changed.
    Fit(FitAsk),
}

/// What a query brings.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryData {
    /// Of [`Query::Check`].
    Check(CheckReport),
    /// Of [`Query::Snapshot`].
    Picture(Box<Picture>),
    /// Of [`Query::Presets`].
    Presets(Vec<PresetInfo>),
    /// Of [`Query::DeviceInfo`] and [`Query::OnvifProbe`].
    Info(Box<CameraDeviceInfo>),
    /// Of [`Query::StreamUri`]: without a login; `None` where the camera does not tell.
    StreamUri(Option<String>),
    /// Of [`Query::Keyframe`]: whether the camera was asked; it is not where it was asked a moment
    /// ago.
    Keyframe(bool),
    /// Of [`Query::Fit`].
    Fit(Box<FitReport>),
}

/// Whether a camera is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// It answers.
    pub online: bool,
    /// By which protocol.
    pub protocol: Option<Protocol>,
    /// How long its answer took.
    pub latency: Option<Duration>,
    /// It has taken the login.
    pub authenticated: bool,
    /// What is wrong.
    pub fault: Option<Fault>,
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
    /// What the camera then does by itself.
    Act(Action),
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
    /// Of a stop: a movement of ours may be running there. Then it passes by the lock-out guard.
    pub may_move: bool,
    /// What.
    pub request: DeviceRequest,
}

/// A camera's yes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Done {
    /// After so long the camera ends this movement by itself, as far as is known. Where that is
    /// before its time, the lane repeats the movement.
    pub ends_after: Option<Duration>,
    /// The preset's number or token, where one was stored.
    pub preset: Option<Arc<str>>,
    /// What a query brought.
    pub data: Option<QueryData>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The camera has accepted it.
    Done(Done),
    /// It was not carried out: the camera said no, or it never got there (no connection, guarded
    /// login). Of a stop also: said yes, and still moves.
    Refused(Fault),
    /// Nothing was sent, because whoever answers does not show the camera's certificate: the camera
    /// itself has refused nothing, and may answer the next time.
    Stranger(Fault),
    /// Nobody knows: it was sent, and no answer came.
    Lost(Fault),
}

/// What a command is answered with when it went well.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Success {
    /// A newer command or a stop made it pointless before it was sent.
    pub superseded: bool,
    /// When the movement ends if nobody repeats it.
    pub stops_at: Option<SystemTime>,
    /// The preset's number or token, where one was stored.
    pub preset: Option<Arc<str>>,
    /// Of patrol commands.
    pub patrol: Option<PatrolStatus>,
    /// What a query brought.
    pub data: Option<QueryData>,
}

impl Success {
    pub(super) fn superseded() -> Self {
        Self {
            superseded: true,
            ..Self::default()
        }
    }
}

/// What a command is answered with.
pub type CommandResult = Result<Success, Fault>;

/// What the lane's thread has to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this.
    Send(Send),
    /// Answer a command. Comes exactly once for each.
    Reply(CommandId, CommandResult),
    /// Tell the cloud.
    Ptz(PtzEvent),
    /// Tell the cloud.
    Patrol(PatrolEvent),
}

/// How a command ended.
#[derive(Debug)]
pub struct CameraReply {
    /// As the command named the camera.
    pub camera: CameraId,
    /// By which protocol the camera is spoken to; `None` while that is not known.
    pub protocol: Option<Protocol>,
    /// What came of it.
    pub result: CommandResult,
}

/// What a caller waits on. Every command is answered once; a channel that is cut means that the
/// node stops.
pub type CameraDone = Receiver<CameraReply>;
