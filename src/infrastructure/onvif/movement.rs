//! Pan, tilt and zoom: moves in the form that the camera takes, and stops that are obeyed.

use std::time::{Duration, Instant};

use super::answer::media::Profile;
use super::answer::ptz;
use super::camera::OnvifCamera;
use super::memory::StopTrust;
use super::outcome::Trouble;
use super::reply::FaultKind;
use super::request::{self, Axes, MoveForm};
use crate::domain::camera::{CameraError, MoveAccepted, StopWay};
use crate::domain::ptz::Velocity;

/// A camera that was told to stop may take so long to stand still.
const SETTLE: Duration = Duration::from_millis(700);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// The time to give a move, within what the camera takes; `None` where it takes none.
pub(super) fn move_time(
    camera: &mut OnvifCamera,
    profile: &Profile,
    limit: Duration,
    deadline: Instant,
) -> Result<Option<Duration>, Trouble> {
    let known = camera.memory().with(|m| m.move_times);
    let times = match known {
        Some(times) => times,
        None => ask_move_times(camera, profile, deadline)?,
    };
    // Whole seconds, because many read nothing else.
    Ok(times.map(|(min, max)| whole_seconds(limit).clamp(min, max)))
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

fn ask_move_times(
    camera: &mut OnvifCamera,
    profile: &Profile,
    deadline: Instant,
) -> Result<Option<(Duration, Duration)>, Trouble> {
    let token = profile.ptz.as_ref().and_then(|p| p.token.clone());
    let told = match token {
        None => None,
        Some(token) => {
            let asked = request::configuration_options(&token);
            match camera.client.call(&asked, deadline) {
                Ok(content) => ptz::configuration_options(&content).timeout,
                Err(Trouble::Fault(_) | Trouble::NotHere(_)) => None,
                Err(trouble) => return Err(trouble),
            }
        }
    };
    // In whole seconds, inside the range that was told.
    let times = told.and_then(|(min, max)| {
        let (min, max) = (whole_seconds(min), Duration::from_secs(max.as_secs()));
        (min <= max).then_some((min, max))
    });
    camera.memory().with(|m| m.move_times = Some(times));
    Ok(times)
}

/// Moves until the next word. What the camera refuses of the form (not of the movement) is left
/// out, and that is remembered.
pub(super) fn turn(
    camera: &mut OnvifCamera,
    profile: &Profile,
    velocity: Velocity,
    limit: Duration,
    deadline: Instant,
) -> Result<MoveAccepted, Trouble> {
    if velocity.is_zero() {
        stand_still(camera, profile, deadline)?;
        return Ok(MoveAccepted::default());
    }
    let timeout = move_time(camera, profile, limit, deadline)?;
    let moving = Axes::moved_by(velocity);
    let mut axes = vec![Axes::Both, moving];
    if camera.memory().with(|m| m.moving_axes_only) {
        axes.remove(0);
    }
    axes.dedup();
    let mut times = vec![timeout, None];
    times.dedup();
    let mut first: Option<Trouble> = None;
    for axes in axes {
        for &timeout in &times {
            let form = MoveForm { timeout, axes };
            let operation = request::continuous_move(&profile.token, velocity, form);
            match camera.client.call(&operation, deadline) {
                Ok(_) => {
                    // A no without a word of SOAP may have been a hiccup: it is asked again.
                    let meant = matches!(first, None | Some(Trouble::Fault(_)));
                    learn_form(camera, form, moving, meant);
                    let default = profile.ptz.as_ref().and_then(|p| p.default_timeout);
                    return Ok(MoveAccepted {
                        ends_after: timeout.or(default).filter(|d| !d.is_zero()),
                    });
                }
                Err(trouble) if trouble.may_be_about_the_form() => {
                    first.get_or_insert(trouble);
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }
    Err(first
        .unwrap_or_else(|| CameraError::Device("move refused in every form".to_owned()).into()))
}

/// The camera has taken a move in this form. `meant` = what it refused before can be left out from
/// now on.
fn learn_form(camera: &OnvifCamera, form: MoveForm, moving: Axes, meant: bool) {
    camera.memory().with(|m| {
        if meant {
            m.moving_axes_only |= form.axes != Axes::Both;
            if form.timeout.is_none() {
                m.move_times = Some(None);
            }
        }
        if !m.named.contains(&form.axes) {
            m.named.push(form.axes);
        }
        m.set_going.0 |= moving.turn();
        m.set_going.1 |= moving.zoom();
        m.moved = true;
    });
}

/// Stands still. By `Stop`, which is trusted once it was seen to work; where the camera refuses
/// it, turns on, or does not say whether it moves, by velocity zero too.
pub(super) fn stop(
    camera: &mut OnvifCamera,
    profile: &Profile,
    way: StopWay,
    deadline: Instant,
) -> Result<(), Trouble> {
    let stopped = match way {
        StopWay::ZeroVelocity => None,
        StopWay::Stop => {
            let stopped = camera.client.call(&request::stop(&profile.token), deadline);
            match &stopped {
                Ok(_) if is_enough(camera, profile, deadline) => return Ok(()),
                Err(trouble) if !is_about_stopping(trouble) => return stopped.map(|_| ()),
                Err(Trouble::Fault(_) | Trouble::NotHere(_)) => {
                    camera.memory().with(|m| m.stop = StopTrust::Weak);
                }
                Ok(_) | Err(_) => {}
            }
            Some(stopped)
        }
    };
    match (stopped, stand_still(camera, profile, deadline)) {
        (_, Ok(())) => {}
        (Some(Err(first)), Err(_)) => return Err(first),
        // A second word that is refused makes no success of a first one that may be ignored.
        (Some(Ok(_)), Err(second)) if second.may_be_about_the_form() => {
            return match stands_still(camera, profile, deadline) {
                Some(true) => Ok(()),
                Some(false) => Err(still_moves()),
                None => {
                    let second = CameraError::from(second);
                    let words = format!(
                        "it has accepted the stop, does not say whether it moves, and refuses velocity zero: {second}"
                    );
                    Err(CameraError::Device(words).into())
                }
            };
        }
        (_, Err(second)) => return Err(second),
    }
    let doubtful = camera
        .memory()
        .with(|m| m.stop == StopTrust::Weak && m.tells_motion == Some(true));
    if doubtful && stands_still(camera, profile, deadline) == Some(false) {
        return Err(still_moves());
    }
    Ok(())
}

fn still_moves() -> Trouble {
    CameraError::Device("it has accepted the stop and still moves".to_owned()).into()
}

/// Velocity zero, in every form in which this camera has taken a move; in the others too where
/// that leaves an axis without a word. Both axes at once where nothing is known.
fn stand_still(
    camera: &mut OnvifCamera,
    profile: &Profile,
    deadline: Instant,
) -> Result<(), Trouble> {
    let (named, set_going) = camera.memory().with(|m| (m.named.clone(), m.set_going));
    let known = if named.is_empty() {
        vec![Axes::Both]
    } else {
        named
    };
    let others = Axes::ALL.iter().copied().filter(|a| !known.contains(a));
    let mut taken = Vec::new();
    let mut first = None;
    for (at, axes) in known.iter().copied().chain(others).enumerate() {
        if at >= known.len() && reaches(&taken, set_going) {
            break;
        }
        let form = MoveForm {
            timeout: None,
            axes,
        };
        let zero = request::continuous_move(&profile.token, Velocity::ZERO, form);
        match camera.client.call(&zero, deadline) {
            Ok(_) => taken.push(axes),
            Err(trouble) if trouble.may_be_about_the_form() => {
                first.get_or_insert(trouble);
            }
            Err(trouble) => return Err(trouble),
        }
    }
    match first {
        Some(trouble) if !reaches(&taken, set_going) => Err(trouble),
        _ => Ok(()),
    }
}

/// Whether these words reach every axis that was ever set going; any word, where none was.
fn reaches(taken: &[Axes], (turned, zoomed): (bool, bool)) -> bool {
    !taken.is_empty()
        && (!turned || taken.iter().any(|a| a.turn()))
        && (!zoomed || taken.iter().any(|a| a.zoom()))
}

/// Whether an accepted `Stop` needs no second word.
fn is_enough(camera: &mut OnvifCamera, profile: &Profile, deadline: Instant) -> bool {
    let (trust, tells, moved) = camera
        .memory()
        .with(|m| (m.stop, m.tells_motion, std::mem::take(&mut m.moved)));
    match (trust, tells) {
        (StopTrust::Proven, _) => true,
        (StopTrust::Unproven, Some(true)) => match stands_still(camera, profile, deadline) {
            Some(true) => {
                if moved {
                    camera.memory().with(|m| m.stop = StopTrust::Proven);
                }
                true
            }
            Some(false) => {
                camera.memory().with(|m| m.stop = StopTrust::Weak);
                false
            }
            None => false,
        },
        (StopTrust::Unproven | StopTrust::Weak, _) => false,
    }
}

/// A refused login or an unknown profile would meet the second word as well.
fn is_about_stopping(trouble: &Trouble) -> bool {
    let login = matches!(trouble, Trouble::Other(CameraError::LoginRefused(_)));
    let profile = matches!(
        trouble.kind(),
        Some(FaultKind::NoProfile | FaultKind::NoPtzProfile)
    );
    !login && !profile
}

/// Looks until the camera says that it stands still; `Some(false)` when it does not within
/// [`SETTLE`], `None` where it gives no answer.
fn stands_still(camera: &mut OnvifCamera, profile: &Profile, deadline: Instant) -> Option<bool> {
    let begin = Instant::now();
    loop {
        let content = camera
            .client
            .call(&request::status(&profile.token), deadline)
            .ok()?;
        if !ptz::motion(&content).moving? {
            return Some(true);
        }
        if begin.elapsed() >= SETTLE || Instant::now() + LOOK >= deadline {
            return Some(false);
        }
        std::thread::sleep(LOOK);
    }
}
