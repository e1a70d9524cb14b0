//! Camera movement as values: the spec's actions, speeds, presets. Knows no protocol and no clock.

use std::fmt;
use std::time::Duration;

use super::error::{ErrorCode, Fault};

macro_rules! ptz_actions {
    ($($(#[$doc:meta])* $name:ident = $wire:literal),* $(,)?) => {
        /// The spec's `PTZAction`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum PtzAction { $($(#[$doc])* $name),* }

        impl PtzAction {
            /// All of them, in the spec's order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $wire),* }
            }
        }
    };
}

ptz_actions! {
    /// Turn left.
    PanLeft = "PAN_LEFT",
    /// Turn right.
    PanRight = "PAN_RIGHT",
    /// Turn up.
    TiltUp = "TILT_UP",
    /// Turn down.
    TiltDown = "TILT_DOWN",
    /// Closer.
    ZoomIn = "ZOOM_IN",
    /// Wider.
    ZoomOut = "ZOOM_OUT",
    /// Focus on what is nearer.
    FocusNear = "FOCUS_NEAR",
    /// Focus on what is farther.
    FocusFar = "FOCUS_FAR",
    /// Let the camera focus.
    FocusAuto = "FOCUS_AUTO",
    /// More light.
    IrisOpen = "IRIS_OPEN",
    /// Less light.
    IrisClose = "IRIS_CLOSE",
    /// Stand still.
    Stop = "STOP",
    /// Remember where the camera looks.
    SetPreset = "SET_PRESET",
    /// Look where a preset says.
    GotoPreset = "GOTO_PRESET",
    /// Forget a preset.
    DeletePreset = "DELETE_PRESET",
    /// Begin a tour stored in the camera.
    StartPatrol = "START_PATROL",
    /// End a tour stored in the camera.
    StopPatrol = "STOP_PATROL",
}

impl PtzAction {
    /// From the name on the wire, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.name().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for PtzAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

/// How a camera turns and zooms: + is right, up, in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Velocity {
    /// Left and right.
    pub pan: AxisSpeed,
    /// Down and up.
    pub tilt: AxisSpeed,
    /// Out and in.
    pub zoom: AxisSpeed,
}

impl Velocity {
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

    /// The spec's table of actions and axes; `None` for actions that turn or zoom nothing.
    /// `speed` is 0 to 100; a negative one turns the other way.
    pub fn of(action: PtzAction, speed: AxisSpeed) -> Option<Self> {
        let mut velocity = Self::ZERO;
        match action {
            PtzAction::PanLeft => velocity.pan = speed.reversed(),
            PtzAction::PanRight => velocity.pan = speed,
            PtzAction::TiltUp => velocity.tilt = speed,
            PtzAction::TiltDown => velocity.tilt = speed.reversed(),
            PtzAction::ZoomIn => velocity.zoom = speed,
            PtzAction::ZoomOut => velocity.zoom = speed.reversed(),
            PtzAction::Stop => {}
            _ => return None,
        }
        Some(velocity)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seventeen_actions_and_their_names() {
        assert_eq!(PtzAction::ALL.len(), 17);
        for &action in PtzAction::ALL {
            assert_eq!(PtzAction::parse(action.name()), Some(action));
        }
        assert_eq!(PtzAction::parse("pan_left"), Some(PtzAction::PanLeft));
        assert_eq!(PtzAction::parse("PAN_SIDEWAYS"), None);
    }

    #[test]
    fn the_spec_s_table() {
        let half = AxisSpeed::new(50).unwrap();
        let cases = [
            (PtzAction::PanLeft, (-50, 0, 0)),
            (PtzAction::PanRight, (50, 0, 0)),
            (PtzAction::TiltUp, (0, 50, 0)),
            (PtzAction::TiltDown, (0, -50, 0)),
            (PtzAction::ZoomIn, (0, 0, 50)),
            (PtzAction::ZoomOut, (0, 0, -50)),
            (PtzAction::Stop, (0, 0, 0)),
        ];
        for (action, (pan, tilt, zoom)) in cases {
            assert_eq!(
                Velocity::of(action, half),
                Some(Velocity::new(pan, tilt, zoom).unwrap()),
                "{action}"
            );
        }
        assert_eq!(Velocity::of(PtzAction::FocusFar, half), None);
    }

    #[test]
    fn speeds_out_of_range_are_refused() {
        for bad in [-101, 101, 1000, i32::MIN, i32::MAX] {
            assert_eq!(
                AxisSpeed::new(bad).unwrap_err().code,
                ErrorCode::ParamInvalid
            );
        }
        assert_eq!(AxisSpeed::new(-100).unwrap().reversed().percent(), 100);
    }
}
