//! What the rest of lss asks of a camera, by ONVIF.

use std::time::{Duration, Instant};

use super::answer::media::{self, Profile};
use super::camera::{OnvifCamera, is_about_the_profile};
use super::memory::Learnt;
use super::outcome::Trouble;
use super::request::{self, ImagingChange};
use super::{address, lens, movement, presets, probe};
use crate::domain::camera::fit::EncoderDevice;
use crate::domain::camera::{
    CameraDevice, CameraDeviceInfo, CameraError, Checked, Motion, MoveAccepted, PresetInfo,
    Protocol, SnapshotWish, StopWay, StreamSettings,
};
use crate::domain::ptz::{Drive, Velocity};

impl OnvifCamera {
    /// Stands still by whatever moves: the view that was last set going, and the one that is named.
    fn stop_views(&mut self, way: StopWay, deadline: Instant) -> Result<(), Trouble> {
        if let Some(view) = self.memory().with(|m| m.under_way.clone()) {
            match movement::stop(self, &view, way, deadline) {
                Ok(()) => {
                    self.stands(&view);
                    let named = self.target.manner.profile.as_ref();
                    if named.is_none_or(|token| *token == view.token) {
                        return Ok(());
                    }
                    // What moved stands still; the one that is named may not even be there.
                    return match self.stop_named(way, deadline) {
                        Err(Trouble::Other(CameraError::NotFound(_))) => Ok(()),
                        result => result,
                    };
                }
                // The camera has other profiles by now.
                Err(trouble) if is_about_the_profile(&trouble) => {
                    self.stands(&view);
                    self.memory().with(Learnt::forget_profile);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.stop_named(way, deadline)
    }

    fn stop_named(&mut self, way: StopWay, deadline: Instant) -> Result<(), Trouble> {
        self.with_profile(deadline, |camera, profile| {
            movement::stop(camera, profile, way, deadline)
        })
    }

    fn stands(&self, view: &Profile) {
        self.memory().with(|m| {
            m.under_way.take_if(|p| p.token == view.token);
        });
    }

    /// Moves one view; another that is under way is stopped first, so that one stop is enough.
    fn turn_view(
        &mut self,
        profile: &Profile,
        velocity: Velocity,
        limit: Duration,
        deadline: Instant,
    ) -> Result<MoveAccepted, Trouble> {
        let other = self
            .memory()
            .with(|m| m.under_way.clone().filter(|p| p.token != profile.token));
        if let Some(other) = other {
            match movement::stop(self, &other, StopWay::Stop, deadline) {
                Err(trouble) if !is_about_the_profile(&trouble) => return Err(trouble),
                Ok(()) | Err(_) => {}
            }
        }
        self.memory().with(|m| m.under_way = Some(profile.clone()));
        movement::turn(self, profile, velocity, limit, deadline)
    }
}

impl CameraDevice for OnvifCamera {
    fn protocol(&self) -> Protocol {
        Protocol::ONVIF
    }

    fn hang_up(&mut self) {
        self.client.hang_up();
    }

    fn check(&mut self, deadline: Instant) -> Result<Checked, CameraError> {
        self.client.call(&request::device_information(), deadline)?;
        Ok(Checked {
            authenticated: self.client.is_logged_in(),
        })
    }

    fn probe(&mut self, deadline: Instant) -> Result<CameraDeviceInfo, CameraError> {
        Ok(probe::probe(self, deadline)?)
    }

    fn move_at(
        &mut self,
        drive: Drive,
        velocity: Velocity,
        limit: Duration,
        deadline: Instant,
    ) -> Result<MoveAccepted, CameraError> {
        match drive {
            Drive::PanTiltZoom => {
                let velocity = Velocity::ZERO.with(drive, velocity);
                return Ok(self.with_profile(deadline, |camera, profile| {
                    camera.turn_view(profile, velocity, limit, deadline)
                })?);
            }
            Drive::Focus => lens::focus(self, velocity.focus, deadline)?,
            Drive::Iris => lens::iris(self, velocity.iris, deadline)?,
        }
        Ok(MoveAccepted::default())
    }

    fn focus_auto(&mut self, deadline: Instant) -> Result<(), CameraError> {
        let source = lens::source(self, deadline)?;
        let change = request::set_imaging(&source, ImagingChange::AutoFocus);
        self.client.call(&change, deadline)?;
        Ok(())
    }

    fn stop(&mut self, drive: Drive, way: StopWay, deadline: Instant) -> Result<(), CameraError> {
        match drive {
            Drive::PanTiltZoom => self.stop_views(way, deadline)?,
            Drive::Focus => lens::focus(self, 0, deadline)?,
            // It goes by steps: it never runs.
            Drive::Iris => {}
        }
        Ok(())
    }

    fn motion(&mut self, deadline: Instant) -> Result<Motion, CameraError> {
        Ok(self.ask_motion(deadline)?)
    }

    fn presets(&mut self, deadline: Instant) -> Result<Vec<PresetInfo>, CameraError> {
        Ok(presets::list(self, deadline)?)
    }

    fn goto_preset(
        &mut self,
        preset: &str,
        force: bool,
        deadline: Instant,
    ) -> Result<(), CameraError> {
        Ok(presets::goto(self, preset, force, deadline)?)
    }

    fn set_preset(
        &mut self,
        preset: Option<&str>,
        name: Option<&str>,
        deadline: Instant,
    ) -> Result<String, CameraError> {
        Ok(presets::set(self, preset, name, deadline)?)
    }

    fn delete_preset(&mut self, preset: &str, deadline: Instant) -> Result<(), CameraError> {
        Ok(presets::delete(self, preset, deadline)?)
    }

    fn start_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError> {
        Ok(presets::tour(self, patrol, true, deadline)?)
    }

    fn stop_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError> {
        Ok(presets::tour(self, patrol, false, deadline)?)
    }

    fn snapshot(&mut self, _wish: SnapshotWish, deadline: Instant) -> Result<Vec<u8>, CameraError> {
        // ONVIF has no way to ask for a size.
        let known = self.memory().with(|m| m.picture.clone());
        let places = match known {
            Some(place) => vec![place],
            None => {
                let (media, profile) = self.profile(deadline)?;
                let asked = request::snapshot_uri(media, &profile.token);
                let content = self.client.call(&asked, deadline)?;
                let uri = media::uri(&content).unwrap_or_default();
                address::picture_places(&uri, self.client.reached())
            }
        };
        let mut first = None;
        for place in places {
            let error = match self
                .client
                .picture(&place, deadline)
                .map_err(CameraError::from)
            {
                Ok(response) if response.status == 200 => {
                    if response.body.starts_with(&[0xFF, 0xD8, 0xFF]) {
                        self.memory().with(|m| m.picture = Some(place));
                        return Ok(response.body);
                    }
                    CameraError::BadAnswer("no JPEG where a picture was expected".to_owned())
                }
                Ok(response) if response.status == 503 => {
                    CameraError::Busy("HTTP 503 for a picture".to_owned())
                }
                Ok(response) => {
                    CameraError::Device(format!("HTTP {} for a picture", response.status))
                }
                // The other port is not asked with a login that was refused.
                Err(error @ CameraError::LoginRefused(_)) => return Err(error),
                Err(error) => error,
            };
            first.get_or_insert(error);
        }
        self.memory().with(|m| m.picture = None);
        Err(first.unwrap_or_else(|| {
            CameraError::NotSupported("it names no address of a picture by HTTP".to_owned())
        }))
    }

    fn stream_uri(&mut self, deadline: Instant) -> Result<Option<String>, CameraError> {
        let (media, profile) = self.profile(deadline)?;
        let asked = request::stream_uri(media, &profile.token);
        let content = self.client.call(&asked, deadline)?;
        let ip = self.target.address.ip;
        Ok(media::uri(&content).and_then(|uri| address::stream_address(&uri, ip)))
    }

    fn stream_settings(&mut self, deadline: Instant) -> Result<StreamSettings, CameraError> {
        let (_, profile) = self.profile(deadline)?;
        Ok(StreamSettings {
            keyframe_interval: profile.keyframe_interval,
            fps: profile.frame_rate,
            ..StreamSettings::default()
        })
    }

    fn encoders(&mut self) -> Option<&mut dyn EncoderDevice> {
        Some(self)
    }
}
