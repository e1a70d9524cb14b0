//! Focus and iris, by the imaging service.

use std::time::Instant;

use super::answer::imaging;
use super::camera::OnvifCamera;
use super::outcome::Trouble;
use super::request::{self, ImagingChange};
use crate::domain::camera::CameraError;

/// A step of the iris at full speed, as a part of its range.
const IRIS_STEP: f64 = 0.2;

/// The video source of our channel: what the imaging service wants to be told.
pub(super) fn source(camera: &mut OnvifCamera, deadline: Instant) -> Result<String, Trouble> {
    let (_, profile) = camera.profile(deadline)?;
    profile.source.ok_or_else(|| {
        CameraError::NotSupported("its profile names no video source".to_owned()).into()
    })
}

/// Drives the focus; zero stops it.
pub(super) fn focus(camera: &mut OnvifCamera, speed: i8, deadline: Instant) -> Result<(), Trouble> {
    let source = source(camera, deadline)?;
    if speed == 0 {
        camera
            .client
            .call(&request::focus_stop(&source), deadline)?;
        return Ok(());
    }
    let known = camera.memory().with(|m| m.focus_speeds);
    let speeds = match known {
        Some(speeds) => speeds,
        None => {
            let content = camera
                .client
                .call(&request::move_options(&source), deadline)?;
            let speeds = imaging::focus_speeds(&content);
            camera.memory().with(|m| m.focus_speeds = Some(speeds));
            speeds
        }
    };
    let Some((min, max)) = speeds else {
        let words = "it has no focus that can be driven".to_owned();
        return Err(CameraError::NotSupported(words).into());
    };
    let part = f64::from(speed.clamp(-100, 100)) / 100.0;
    let value = if part < 0.0 { -part * min } else { part * max };
    camera
        .client
        .call(&request::focus_move(&source, value), deadline)?;
    Ok(())
}

/// One step of the iris: ONVIF has no other way. Its value is an attenuation: less is more open.
pub(super) fn iris(camera: &mut OnvifCamera, speed: i8, deadline: Instant) -> Result<(), Trouble> {
    if speed == 0 {
        return Ok(());
    }
    let source = source(camera, deadline)?;
    let options = camera
        .client
        .call(&request::imaging_options(&source), deadline)?;
    let Some((min, max)) = imaging::iris_range(&options) else {
        let words = "it has no iris that can be set by hand".to_owned();
        return Err(CameraError::NotSupported(words).into());
    };
    let settings = camera
        .client
        .call(&request::imaging_settings(&source), deadline)?;
    let now = imaging::iris(&settings).unwrap_or(min);
    let part = f64::from(speed.clamp(-100, 100)) / 100.0;
    let next = (now - part * IRIS_STEP * (max - min)).clamp(min, max);
    let change = request::set_imaging(&source, ImagingChange::Iris(next));
    camera.client.call(&change, deadline)?;
    Ok(())
}
