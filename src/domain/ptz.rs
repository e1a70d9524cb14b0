//! Camera movement: the actions of the wire, velocities, and what a camera moves by.

use std::fmt;
use std::time::Duration;

use super::error::{ErrorCode, Fault};
use super::stream::CameraId;

/// What an operator or a patrol can ask of a camera's head and lens: the spec's 17, and the
/// diagonals that a patrol knows (contract 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PtzAction {
    /// Turn left.
    PanLeft,
    /// Turn right.
    PanRight,
    TiltUp,
    TiltDown,
    /// Closer.
    ZoomIn,
    /// Wider.
    ZoomOut,
    /// Focus on what is near.
    FocusNear,
    /// Focus on what is far.
    FocusFar,
    /// Let the camera focus.
    FocusAuto,
    IrisOpen,
    IrisClose,
    /// Stand still.
    Stop,
    /// Store where it looks.
    SetPreset,
    /// Look where it was told to remember.
    GotoPreset,
    /// Forget a place.
    DeletePreset,
    /// Start a tour that the camera itself keeps.
    StartPatrol,
    /// End it.
    StopPatrol,
    /// Left and up.
    LeftUp,
    /// Left and down.
    LeftDown,
    /// Right and up.
    RightUp,
    /// Right and down.
    RightDown,
}

impl PtzAction {
    /// Every action.
    pub const ALL: [Self; 21] = [
        Self::PanLeft,
        Self::PanRight,
        Self::TiltUp,
        Self::TiltDown,
        Self::ZoomIn,
        Self::ZoomOut,
        Self::FocusNear,
        Self::FocusFar,
        Self::FocusAuto,
        Self::IrisOpen,
        Self::IrisClose,
        Self::Stop,
        Self::SetPreset,
        Self::GotoPreset,
        Self::DeletePreset,
        Self::StartPatrol,
        Self::StopPatrol,
        Self::LeftUp,
        Self::LeftDown,
        Self::RightUp,
        Self::RightDown,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::PanLeft => "PAN_LEFT",
            Self::PanRight => "PAN_RIGHT",
            Self::TiltUp => "TILT_UP",
            Self::TiltDown => "TILT_DOWN",
            Self::ZoomIn => "ZOOM_IN",
            Self::ZoomOut => "ZOOM_OUT",
            Self::FocusNear => "FOCUS_NEAR",
            Self::FocusFar => "FOCUS_FAR",
            Self::FocusAuto => "FOCUS_AUTO",
            Self::IrisOpen => "IRIS_OPEN",
            Self::IrisClose => "IRIS_CLOSE",
            Self::Stop => "STOP",
            Self::SetPreset => "SET_PRESET",
            Self::GotoPreset => "GOTO_PRESET",
            Self::DeletePreset => "DELETE_PRESET",
            Self::StartPatrol => "START_PATROL",
            Self::StopPatrol => "STOP_PATROL",
            Self::LeftUp => "LEFT_UP",
            Self::LeftDown => "LEFT_DOWN",
            Self::RightUp => "RIGHT_UP",
            Self::RightDown => "RIGHT_DOWN",
        }
    }

    /// From the name on the wire, in any case; `LEFT`, `RIGHT`, `UP`, `DOWN` (the spec's waypoints)
    /// mean the pan and tilt actions.
    pub fn parse(text: &str) -> Option<Self> {
        let short = [
            ("LEFT", Self::PanLeft),
            ("RIGHT", Self::PanRight),
            ("UP", Self::TiltUp),
            ("DOWN", Self::TiltDown),
        ];
        Self::ALL
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(text))
            .or_else(|| {
                short
                    .into_iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(text))
                    .map(|(_, action)| action)
            })
    }

    /// The drive that the action moves and how fast, `None` for what is no movement by speed
    /// (STOP, presets, patrols, auto focus). Speed 0 gives velocity 0: a stop of that drive.
    pub fn movement(self, speed: Speed) -> Option<(Drive, Velocity)> {
        let v = speed.get();
        let still = Velocity::ZERO;
        let (drive, velocity) = match self {
            Self::PanLeft => (Drive::PanTiltZoom, Velocity { pan: -v, ..still }),
            Self::PanRight => (Drive::PanTiltZoom, Velocity { pan: v, ..still }),
            Self::TiltUp => (Drive::PanTiltZoom, Velocity { tilt: v, ..still }),
            Self::TiltDown => (Drive::PanTiltZoom, Velocity { tilt: -v, ..still }),
            Self::ZoomIn => (Drive::PanTiltZoom, Velocity { zoom: v, ..still }),
            Self::ZoomOut => (Drive::PanTiltZoom, Velocity { zoom: -v, ..still }),
            Self::LeftUp => (Drive::PanTiltZoom, Velocity::pan_tilt(-v, v)),
            Self::LeftDown => (Drive::PanTiltZoom, Velocity::pan_tilt(-v, -v)),
            Self::RightUp => (Drive::PanTiltZoom, Velocity::pan_tilt(v, v)),
            Self::RightDown => (Drive::PanTiltZoom, Velocity::pan_tilt(v, -v)),
            Self::FocusNear => (Drive::Focus, Velocity { focus: -v, ..still }),
            Self::FocusFar => (Drive::Focus, Velocity { focus: v, ..still }),
            Self::IrisClose => (Drive::Iris, Velocity { iris: -v, ..still }),
            Self::IrisOpen => (Drive::Iris, Velocity { iris: v, ..still }),
            Self::FocusAuto
            | Self::Stop
            | Self::SetPreset
            | Self::GotoPreset
            | Self::DeletePreset
            | Self::StartPatrol
            | Self::StopPatrol => return None,
        };
        Some((drive, velocity))
    }
}

/// One press of a joystick (contract 17). Moves by it count while it is the camera's newest press and
/// has been heard of lately; what was stuck on the way, or was overtaken by its own stop, is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HoldId(u64);

impl HoldId {
    /// A hold of which nothing has been heard for so many milliseconds has ended.
    pub const EXPIRES_MS: u64 = 1500;
    /// The same.
    pub const EXPIRES: Duration = Duration::from_millis(Self::EXPIRES_MS);
    /// The longest movement by one order of a hold.
    pub const MAX_MOVE: Duration = Duration::from_secs(1);

    /// By a number that no other hold of this camera has.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// As [`HoldId`] is written; anything else → 20003.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(number) if hex => Ok(Self(number)),
            _ => Err(Fault::new(
                ErrorCode::ParamInvalid,
                "hold must be what PTZ_HOLD was answered with",
            )),
        }
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A speed of the wire, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed(i8);

impl Speed {
    /// What a command without a speed means (contract 6).
    pub const DEFAULT: Self = Self(50);

    /// Checks a number of the wire; outside → 20003.
    pub fn parse(value: i64) -> Result<Self, Fault> {
        match i8::try_from(value) {
            Ok(speed @ 0..=100) => Ok(Self(speed)),
            _ => Err(Fault::new(
                ErrorCode::ParamInvalid,
                "speed must be from 0 to 100",
            )),
        }
    }

    /// 0 to 100.
    pub fn get(self) -> i8 {
        self.0
    }
}

/// What one camera request sets as a whole. A movement of one axis of a drive ends what its other
/// axes did (the spec's table gives them as 0); drives move independently of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drive {
    /// Head and zoom.
    PanTiltZoom,
    Focus,
    Iris,
}

impl Drive {
    /// Every drive; the one whose movement shows most comes first.
    pub const ALL: [Self; 3] = [Self::PanTiltZoom, Self::Focus, Self::Iris];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::PanTiltZoom => "pan, tilt and zoom",
            Self::Focus => "focus",
            Self::Iris => "iris",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::PanTiltZoom => 1,
            Self::Focus => 2,
            Self::Iris => 4,
        }
    }
}

/// A set of drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drives(u8);

impl Drives {
    /// No drive.
    pub const NONE: Self = Self(0);
    /// Every drive.
    pub const ALL: Self = Self(7);

    /// Just this one.
    pub fn only(drive: Drive) -> Self {
        Self(drive.bit())
    }

    /// Whether `drive` is in the set.
    pub fn contains(self, drive: Drive) -> bool {
        self.0 & drive.bit() != 0
    }

    /// Puts `drive` in.
    pub fn insert(&mut self, drive: Drive) {
        self.0 |= drive.bit();
    }

    /// Takes `drive` out.
    pub fn remove(&mut self, drive: Drive) {
        self.0 &= !drive.bit();
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in the set, in the order of [`Drive::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Drive> {
        Drive::ALL
            .into_iter()
            .filter(move |drive| self.contains(*drive))
    }
}

/// How fast each axis moves, −100 to 100: right, up, in, far and open are positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Velocity {
    /// + right
    pub pan: i8,
    /// + up
    pub tilt: i8,
    /// + in (tele)
    pub zoom: i8,
    /// + far
    pub focus: i8,
    /// + open
    pub iris: i8,
}

impl Velocity {
    /// Everything stands still.
    pub const ZERO: Self = Self {
        pan: 0,
        tilt: 0,
        zoom: 0,
        focus: 0,
        iris: 0,
    };

    fn pan_tilt(pan: i8, tilt: i8) -> Self {
        Self {
            pan,
            tilt,
            ..Self::ZERO
        }
    }

    /// Whether everything stands still.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Takes over the axes of `drive` from `other`.
    #[must_use]
    pub fn with(self, drive: Drive, other: Self) -> Self {
        match drive {
            Drive::PanTiltZoom => Self {
                pan: other.pan,
                tilt: other.tilt,
                zoom: other.zoom,
                ..self
            },
            Drive::Focus => Self {
                focus: other.focus,
                ..self
            },
            Drive::Iris => Self {
                iris: other.iris,
                ..self
            },
        }
    }
}

/// Judges a preset's id: a number, or a token that is opaque to us. Never a path: it may become
/// part of one. The error says what is wrong with it.
pub fn check_preset_id(id: &str) -> Result<(), &'static str> {
    if id.is_empty() {
        Err("presetId is empty")
    } else if id.len() > 128 || id.chars().any(char::is_control) {
        Err("presetId must be at most 128 bytes without control characters")
    } else if id.contains(['/', '\\', '?', '#', '%']) || id.contains("..") {
        Err("presetId must not contain / \\ ? # % or ..")
    } else {
        Ok(())
    }
}

/// What lss did on its own with a camera in motion (contract 14, `ptz_event`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PtzEventKind {
    /// Nobody repeated the command within `ptz.max_move`.
    StoppedByLimit,
    /// The link by which the stop would have come was lost.
    StoppedByLinkLoss,
    /// The camera has not obeyed a stop for 60 s.
    StopFailed,
    /// It has obeyed at last.
    StopRecovered,
}

impl PtzEventKind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::StoppedByLimit => "STOPPED_BY_LIMIT",
            Self::StoppedByLinkLoss => "STOPPED_BY_LINK_LOSS",
            Self::StopFailed => "STOP_FAILED",
            Self::StopRecovered => "STOP_RECOVERED",
        }
    }
}

/// A `ptz_event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PtzEvent {
    /// Whose camera, as the command named it that began the movement.
    pub camera: CameraId,
    /// What happened.
    pub kind: PtzEventKind,
    /// Why, in words. Masked.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for action in PtzAction::ALL {
            assert_eq!(PtzAction::parse(action.name()), Some(action));
            assert_eq!(
                PtzAction::parse(&action.name().to_ascii_lowercase()),
                Some(action)
            );
        }
        assert_eq!(PtzAction::parse("LEFT"), Some(PtzAction::PanLeft));
        assert_eq!(PtzAction::parse("down"), Some(PtzAction::TiltDown));
        for nonsense in ["", "PAN", "LEFT ", "PAN_LEFT\0", "SELF_DESTRUCT"] {
            assert_eq!(PtzAction::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn movements_are_the_specs_table() {
        let of = |action: PtzAction| action.movement(Speed::parse(40).unwrap()).map(|(_, v)| v);
        let still = Velocity::ZERO;
        let pan = |pan| Some(Velocity { pan, ..still });
        assert_eq!(of(PtzAction::PanLeft), pan(-40));
        assert_eq!(of(PtzAction::PanRight), pan(40));
        assert_eq!(
            of(PtzAction::TiltDown),
            Some(Velocity { tilt: -40, ..still })
        );
        assert_eq!(of(PtzAction::ZoomIn), Some(Velocity { zoom: 40, ..still }));
        assert_eq!(
            of(PtzAction::FocusNear),
            Some(Velocity {
                focus: -40,
                ..still
            })
        );
        assert_eq!(
            of(PtzAction::RightDown),
            Some(Velocity {
                pan: 40,
                tilt: -40,
                ..still
            })
        );
        assert_eq!(of(PtzAction::Stop), None);
        for action in PtzAction::ALL {
            if let Some((_, velocity)) = action.movement(Speed::parse(0).unwrap()) {
                assert!(velocity.is_zero(), "{action:?}");
            }
            if let Some((drive, velocity)) = action.movement(Speed::DEFAULT) {
                assert!(
                    velocity.with(drive, Velocity::ZERO).is_zero(),
                    "{action:?} moves another drive too"
                );
            }
        }
    }

    #[test]
    fn speeds() {
        for good in [0, 1, 50, 100] {
            assert_eq!(i64::from(Speed::parse(good).unwrap().get()), good);
        }
        for bad in [-1, 101, 127, 128, 1000, i64::MIN, i64::MAX] {
            assert_eq!(
                Speed::parse(bad).unwrap_err().code,
                ErrorCode::ParamInvalid,
                "{bad}"
            );
        }
    }

    #[test]
    fn preset_ids() {
        for good in ["1", "300", "Profile 1 & co", "{5f1c-…}", "a.b"] {
            assert_eq!(check_preset_id(good), Ok(()), "{good}");
        }
        let long = "1".repeat(129);
        for bad in ["", "../../x", "1/goto", "..", "1?x=1", "1\n", "%2e", &long] {
            assert!(check_preset_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sets_of_drives() {
        let mut set = Drives::only(Drive::Iris);
        set.insert(Drive::PanTiltZoom);
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Drive::PanTiltZoom, Drive::Iris]
        );
        set.remove(Drive::Iris);
        set.remove(Drive::PanTiltZoom);
        assert!(set.is_empty());
        assert_eq!(Drives::ALL.iter().count(), 3);
    }
}
