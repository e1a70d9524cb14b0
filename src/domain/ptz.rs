//! Camera movement: the actions of the wire, velocities, what a camera moves by, and what it says
//! of it. Knows no protocol and no clock.

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
    /// Tilt up.
    TiltUp,
    /// Tilt down.
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
    /// Open the iris.
    IrisOpen,
    /// Close the iris.
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

impl fmt::Display for PtzAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
    /// Focus.
    Focus,
    /// Iris.
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

    /// The part that turns and zooms, as a device is asked for it.
    pub fn head(self) -> HeadVelocity {
        HeadVelocity {
            pan: AxisSpeed::clamped(self.pan),
            tilt: AxisSpeed::clamped(self.tilt),
            zoom: AxisSpeed::clamped(self.zoom),
        }
    }

    /// The part that drives one motor of the lens.
    pub fn lens(self, lens: Lens) -> AxisSpeed {
        AxisSpeed::clamped(match lens {
            Lens::Focus => self.focus,
            Lens::Iris => self.iris,
        })
    }
}

/// The highest speed; the lowest is its negative.
pub const FULL_SPEED: i8 = 100;

/// One axis' speed in percent, −100 to 100. Zero stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AxisSpeed(i8);

impl AxisSpeed {
    /// Stands still.
    pub const ZERO: Self = Self(0);

    /// Checks the range; 20003 outside.
    pub fn new(percent: i32) -> Result<Self, Fault> {
        i8::try_from(percent)
            .ok()
            .filter(|p| (-FULL_SPEED..=FULL_SPEED).contains(p))
            .map(Self)
            .ok_or_else(|| Fault::new(ErrorCode::ParamInvalid, "speed must be -100 to 100"))
    }

    /// What lies outside the range becomes its end.
    fn clamped(percent: i8) -> Self {
        Self(percent.clamp(-FULL_SPEED, FULL_SPEED))
    }

    /// −100 to 100.
    pub fn percent(self) -> i8 {
        self.0
    }

    /// The other way.
    #[must_use]
    pub fn reversed(self) -> Self {
        // In range, so its negative is too.
        Self(-self.0)
    }
}

/// How a camera's head turns and zooms, as a device is asked for it: + is right, up, in. The part
/// of a [`Velocity`] that one request sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HeadVelocity {
    /// Left and right.
    pub pan: AxisSpeed,
    /// Down and up.
    pub tilt: AxisSpeed,
    /// Out and in.
    pub zoom: AxisSpeed,
}

impl HeadVelocity {
    /// Stands still on all three axes.
    pub const ZERO: Self = Self {
        pan: AxisSpeed::ZERO,
        tilt: AxisSpeed::ZERO,
        zoom: AxisSpeed::ZERO,
    };

    /// From percents; 20003 where one is out of −100 to 100.
    pub fn new(pan: i32, tilt: i32, zoom: i32) -> Result<Self, Fault> {
        Ok(Self {
            pan: AxisSpeed::new(pan)?,
            tilt: AxisSpeed::new(tilt)?,
            zoom: AxisSpeed::new(zoom)?,
        })
    }

    /// Whether all three axes stand still.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

/// The two motors of a lens that are not the zoom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lens {
    /// − near, + far.
    Focus,
    /// − closed, + open.
    Iris,
}

/// What a stop is to end. Pan, tilt and zoom are always ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StopScope {
    /// The focus motor too.
    pub focus: bool,
    /// The iris motor too.
    pub iris: bool,
}

impl StopScope {
    /// All five axes.
    pub const ALL: Self = Self {
        focus: true,
        iris: true,
    };
}

/// What the camera said to a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveAccepted {
    /// The camera ends this move by itself after that long. A move that is to last longer has to
    /// be sent again before. `None` = it runs until a stop, as far as is known.
    pub ends_by_itself: Option<Duration>,
}

/// Where a camera says it looks, in its own units: good for comparing two of the same camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Left and right.
    pub pan: f64,
    /// Down and up.
    pub tilt: f64,
    /// Out and in.
    pub zoom: f64,
}

/// What a camera says of its motion.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Motion {
    /// Whether it moves; `None` where it does not say.
    pub moving: Option<bool>,
    /// Where it looks; `None` where it does not say.
    pub position: Option<Position>,
}

/// A stored position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetInfo {
    /// The camera's id: a number on ISAPI, a token on ONVIF.
    pub id: String,
    /// `None` where the camera gives none.
    pub name: Option<String>,
    /// `false` for an empty slot.
    pub enabled: bool,
    /// Not a position but a function (wiper, remote reboot, …): never set or deleted, gone to
    /// only by force.
    pub function: bool,
}

/// The numbers that Hikvision gives to functions rather than positions where the camera does not
/// list them itself. 94 restarts the camera.
pub fn is_function_preset(number: u32) -> bool {
    matches!(number, 33..=48 | 90 | 92..=105)
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
    fn speeds_of_axes() {
        for bad in [-101, 101, 1000, i32::MIN, i32::MAX] {
            let fault = AxisSpeed::new(bad).unwrap_err();
            assert_eq!(fault.code, ErrorCode::ParamInvalid);
        }
        assert_eq!(AxisSpeed::new(-100).unwrap().reversed().percent(), 100);
        let velocity = Velocity {
            pan: -40,
            tilt: 100,
            zoom: 1,
            focus: -7,
            iris: 8,
        };
        assert_eq!(velocity.head(), HeadVelocity::new(-40, 100, 1).unwrap());
        assert_eq!(velocity.lens(Lens::Focus).percent(), -7);
        assert_eq!(velocity.lens(Lens::Iris).percent(), 8);
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
