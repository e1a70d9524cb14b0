//! Pan, tilt and zoom: moves in the form that the camera takes, and stops that are obeyed.

use std::time::{Duration, Instant};

use super::answer::media::Profile;
use super::answer::ptz;
use super::device::OnvifCamera;
use super::memory::StopTrust;
use super::outcome::Trouble;
use super::reply::FaultKind;
use super::request::{self, MoveForm};
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
    let timeout = if velocity.is_zero() {
        None
    } else {
        move_time(camera, profile, limit, deadline)?
    };
    let mut form = MoveForm {
        timeout,
        moving_axes_only: camera.memory().with(|m| m.moving_axes_only),
    };
    let mut first = None;
    loop {
        let operation = request::continuous_move(&profile.token, velocity, form);
        match camera.client.call(&operation, deadline) {
            Ok(_) => break,
            Err(trouble) if trouble.kind() == Some(FaultKind::BadForm) => {
                first.get_or_insert(trouble);
            }
            Err(trouble) => return Err(trouble),
        }
        if form.timeout.is_some() {
            form.timeout = None;
        } else if !form.moving_axes_only && !velocity.is_zero() {
            form.moving_axes_only = true;
        } else {
            return Err(first.unwrap_or_else(|| {
                CameraError::Device("move refused in every form".to_owned()).into()
            }));
        }
    }
    camera.memory().with(|m| {
        m.moving_axes_only = form.moving_axes_only;
        if timeout.is_some() && form.timeout.is_none() {
            m.move_times = Some(None);
        }
        m.moved |= !velocity.is_zero();
    });
    let default = profile.ptz.as_ref().and_then(|p| p.default_timeout);
    Ok(MoveAccepted {
        ends_after: form
            .timeout
            .or(default)
            .filter(|d| !velocity.is_zero() && !d.is_zero()),
    })
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
    let zero = request::continuous_move(&profile.token, Velocity::ZERO, MoveForm::default());
    match (stopped, camera.client.call(&zero, deadline)) {
        // Or accepted, and the other way is not known here.
        (_, Ok(_)) | (Some(Ok(_)), Err(Trouble::Fault(_) | Trouble::NotHere(_))) => {}
        (Some(Err(first)), Err(_)) => return Err(first),
        (_, Err(second)) => return Err(second),
    }
    let doubtful = camera
        .memory()
        .with(|m| m.stop == StopTrust::Weak && m.tells_motion == Some(true));
    if doubtful && stands_still(camera, profile, deadline) == Some(false) {
        let words = "it has accepted the stop and still moves".to_owned();
        return Err(CameraError::Device(words).into());
    }
    Ok(())
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
