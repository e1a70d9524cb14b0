//! PTZ payloads judged: from the fields of the wire to an order, or what is wrong with them. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::order::{Action, Order, PresetOrder};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::ptz::{Drives, HoldId, PtzAction, Speed, check_preset_id};

/// Longest `duration` of a movement, in milliseconds (contract 6).
const MAX_DURATION: i64 = 3_600_000;
/// Longest preset name, in bytes; cameras cut it further.
const MAX_NAME: usize = 128;

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
    /// What a press of a joystick was answered with.
    pub hold: Option<String>,
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
            hold: None,
        }
    }
}

impl Order {
    /// A joystick is pressed.
    pub fn hold() -> Self {
        // Random, so that an order by a hold of an earlier lss or lane meets none of its name.
        Self::Hold(HoldId::new(fastrand::u64(..)))
    }

    /// Judges a PTZ payload: 20002 for what is missing, 20003 for what is out of range.
    pub fn ptz(ask: &PtzAsk) -> Result<Self, Fault> {
        // Whatever else is wrong with it: a stop is a stop.
        if ask.action == PtzAction::Stop {
            return Ok(Self::Stop(Drives::ALL));
        }
        let speed = ask.speed.map_or(Ok(Speed::DEFAULT), Speed::parse)?;
        let duration = ask.duration.map(duration).transpose()?;
        let hold = ask.hold.as_deref().map(HoldId::parse).transpose()?;
        if hold.is_some() {
            of_a_hold(ask.action, speed, duration)?;
        }
        if let Some((drive, velocity)) = ask.action.movement(speed) {
            return Ok(if velocity.is_zero() {
                Self::Stop(Drives::only(drive))
            } else {
                Self::Move {
                    drive,
                    velocity,
                    duration,
                    hold,
                }
            });
        }
        let patrol = || match ask.patrol.map(u32::try_from) {
            Some(Ok(patrol @ 1..)) => Ok(patrol),
            Some(_) => Err(invalid("patrolId must be a number from 1")),
            None => Err(missing("patrolId")),
        };
        Ok(match ask.action {
            PtzAction::GotoPreset => Self::Act(Action::Preset(PresetOrder::Goto {
                preset: preset(ask)?.ok_or_else(|| missing("presetId"))?,
                force: ask.force,
            })),
            PtzAction::SetPreset => {
                let (preset, name) = (preset(ask)?, name(ask)?);
                if preset.is_none() && name.is_none() {
                    return Err(missing("presetId"));
                }
                Self::Act(Action::Preset(PresetOrder::Set { preset, name }))
            }
            PtzAction::DeletePreset => Self::Act(Action::Preset(PresetOrder::Delete {
                preset: preset(ask)?.ok_or_else(|| missing("presetId"))?,
            })),
            PtzAction::StartPatrol => Self::Act(Action::CameraPatrol {
                patrol: patrol()?,
                start: true,
            }),
            PtzAction::StopPatrol => Self::Act(Action::CameraPatrol {
                patrol: patrol()?,
                start: false,
            }),
            // Every other action was taken above.
            _ => Self::Act(Action::FocusAuto),
        })
    }
}

/// What a hold moves ends by itself soon, whatever becomes of the hand that holds it.
fn of_a_hold(action: PtzAction, speed: Speed, duration: Option<Duration>) -> Result<(), Fault> {
    if action.movement(speed).is_none() {
        return Err(invalid("hold goes with movements only"));
    }
    match duration {
        None if speed.get() > 0 => Err(missing("duration")),
        Some(long) if long > HoldId::MAX_MOVE => Err(invalid(&format!(
            "duration must be at most {} ms with hold",
            HoldId::MAX_MOVE.as_millis()
        ))),
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ptz::Drive;

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
            Order::Act(Action::Preset(PresetOrder::Set {
                preset: None,
                name: Some("Entrance".into()),
            }))
        );
    }
}
