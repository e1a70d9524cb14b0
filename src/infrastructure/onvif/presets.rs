//! Presets and the camera's own tours: what an operator calls them, and what the camera does.

use std::time::Instant;

use super::answer::media::Profile;
use super::answer::ptz::{self, Preset};
use super::camera::OnvifCamera;
use super::outcome::Trouble;
use super::reply::FaultKind;
use super::request::{self, Service};
use crate::domain::camera::{CameraError, PresetInfo, is_function_preset};

/// A camera with so many presets, all numbered, has functions among them.
const MANY: usize = 250;
/// Where Hikvision has its movement service, and nobody else.
const VENDOR_PATH: &str = "/onvif/PTZ";

/// All presets.
pub(super) fn list(
    camera: &mut OnvifCamera,
    deadline: Instant,
) -> Result<Vec<PresetInfo>, Trouble> {
    let all = fetch(camera, deadline)?;
    let functions = has_functions(camera, &all);
    Ok(all
        .into_iter()
        .map(|preset| PresetInfo {
            function: functions && is_function(&preset.token),
            id: preset.token,
            name: preset.name,
            enabled: true,
        })
        .collect())
}

fn fetch(camera: &mut OnvifCamera, deadline: Instant) -> Result<Vec<Preset>, Trouble> {
    let content = camera.with_profile(deadline, |camera, profile| {
        camera
            .client
            .call(&request::presets(&profile.token), deadline)
    })?;
    let all = ptz::tokens(&content, "Preset");
    camera.memory().with(|m| m.presets = Some(all.clone()));
    Ok(all)
}

fn is_function(token: &str) -> bool {
    token.parse().is_ok_and(is_function_preset)
}

/// Whether numbers of this camera may be functions instead of positions.
fn has_functions(camera: &OnvifCamera, all: &[Preset]) -> bool {
    let vendor = camera.memory().with(|m| {
        m.places
            .iter()
            .any(|(service, place)| *service == Service::Ptz && place.path == VENDOR_PATH)
    });
    vendor || (all.len() >= MANY && all.iter().all(|p| p.token.parse::<u32>().is_ok()))
}

/// The preset that is meant: by token, else by name. Only a token is taken from what is
/// remembered, for the camera itself refuses one that is gone; a name may have moved to another
/// position since, and what is not known may have been added.
fn resolve(
    camera: &mut OnvifCamera,
    wanted: &str,
    deadline: Instant,
) -> Result<Option<Preset>, Trouble> {
    let known = camera.memory().with(|m| m.presets.clone());
    if let Some(hit) = known.and_then(|all| all.into_iter().find(|p| p.token == wanted)) {
        return Ok(Some(hit));
    }
    let all = fetch(camera, deadline)?;
    Ok(find(&all, wanted))
}

fn find(all: &[Preset], wanted: &str) -> Option<Preset> {
    all.iter()
        .find(|p| p.token == wanted)
        .or_else(|| all.iter().find(|p| p.name.as_deref() == Some(wanted)))
        .cloned()
}

fn unknown(what: &str) -> Trouble {
    CameraError::NotFound(format!("the camera has no such {what}")).into()
}

fn guard(camera: &OnvifCamera, preset: &Preset) -> Result<(), Trouble> {
    let all = camera.memory().with(|m| m.presets.clone());
    if is_function(&preset.token) && has_functions(camera, &all.unwrap_or_default()) {
        let words = format!(
            "preset {} is a function of the camera, not a position",
            preset.token
        );
        return Err(CameraError::NotSupported(words).into());
    }
    Ok(())
}

/// Does something with a preset's token; what the camera no longer knows is forgotten here too.
fn with_preset<T>(
    camera: &mut OnvifCamera,
    deadline: Instant,
    mut act: impl FnMut(&mut OnvifCamera, &Profile) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let result = camera.with_profile(deadline, &mut act);
    if matches!(&result, Err(trouble) if trouble.kind() == Some(FaultKind::NoToken)) {
        camera.memory().with(|m| m.presets = None);
    }
    result
}

/// Goes to a preset.
pub(super) fn goto(
    camera: &mut OnvifCamera,
    wanted: &str,
    force: bool,
    deadline: Instant,
) -> Result<(), Trouble> {
    let preset = resolve(camera, wanted, deadline)?.ok_or_else(|| unknown("preset"))?;
    if !force {
        guard(camera, &preset)?;
    }
    with_preset(camera, deadline, |camera, profile| {
        let operation = request::goto_preset(&profile.token, &preset.token);
        camera.client.call(&operation, deadline)
    })?;
    Ok(())
}

/// Stores a preset; one that is not known is created, and the camera's token is the answer.
pub(super) fn set(
    camera: &mut OnvifCamera,
    wanted: Option<&str>,
    name: Option<&str>,
    deadline: Instant,
) -> Result<String, Trouble> {
    let known = match wanted {
        Some(wanted) => resolve(camera, wanted, deadline)?,
        None => None,
    };
    if let Some(preset) = &known {
        guard(camera, preset)?;
    }
    let token = known.as_ref().map(|p| p.token.as_str());
    let name = name
        .filter(|n| !n.trim().is_empty())
        .or(known.as_ref().and_then(|p| p.name.as_deref()))
        .or(wanted)
        .unwrap_or("Preset");
    let answer = camera.with_profile(deadline, |camera, profile| {
        let operation = request::set_preset(&profile.token, name, token);
        camera.client.call(&operation, deadline)
    });
    // Whatever came of it, the list may not be what it was.
    camera.memory().with(|m| m.presets = None);
    if let Some(token) = ptz::set_preset(&answer?).or(token.map(str::to_owned)) {
        return Ok(token);
    }
    // Stored, and not a word on where: by its name, if that is on one preset alone.
    let all = fetch(camera, deadline)?;
    let mut named = all.iter().filter(|p| p.name.as_deref() == Some(name));
    match (named.next(), named.next()) {
        (Some(preset), None) => Ok(preset.token.clone()),
        _ => {
            let words = "it stored the preset and did not say where".to_owned();
            Err(CameraError::BadAnswer(words).into())
        }
    }
}

/// Forgets a preset.
pub(super) fn delete(
    camera: &mut OnvifCamera,
    wanted: &str,
    deadline: Instant,
) -> Result<(), Trouble> {
    let preset = resolve(camera, wanted, deadline)?.ok_or_else(|| unknown("preset"))?;
    guard(camera, &preset)?;
    let result = camera.with_profile(deadline, |camera, profile| {
        let operation = request::remove_preset(&profile.token, &preset.token);
        camera.client.call(&operation, deadline)
    });
    camera.memory().with(|m| m.presets = None);
    result.map(|_| ())
}

/// Begins or ends a tour that is stored in the camera, by token, else by name.
pub(super) fn tour(
    camera: &mut OnvifCamera,
    wanted: &str,
    start: bool,
    deadline: Instant,
) -> Result<(), Trouble> {
    let content = camera.with_profile(deadline, |camera, profile| {
        camera
            .client
            .call(&request::preset_tours(&profile.token), deadline)
    })?;
    let tours = ptz::tokens(&content, "PresetTour");
    let tour = find(&tours, wanted).ok_or_else(|| unknown("tour"))?;
    camera.with_profile(deadline, |camera, profile| {
        let operation = request::operate_tour(&profile.token, &tour.token, start);
        camera.client.call(&operation, deadline)
    })?;
    Ok(())
}
