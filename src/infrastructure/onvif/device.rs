//! A camera spoken to by ONVIF.

use std::time::{Duration, Instant};

use super::answer::media::{self, Profile};
use super::answer::ptz;
use super::client::OnvifClient;
use super::memory::{Learnt, Memory};
use super::outcome::Trouble;
use super::reply::FaultKind;
use super::request::{self, ImagingChange, Service};
use super::{address, lens, movement, presets, probe};
use crate::domain::camera::{
    CameraDevice, CameraDeviceInfo, CameraError, CameraTarget, Checked, Motion, MoveAccepted,
    PresetInfo, Protocol, SnapshotWish, StopWay,
};
use crate::domain::checkup::StreamSettings;
use crate::domain::ptz::{Drive, Velocity};
use crate::infrastructure::http::camera::CameraOptions;

/// One client of one ONVIF device. See [`CameraDevice`].
pub struct OnvifCamera {
    target: CameraTarget,
    pub(super) client: OnvifClient,
}

impl OnvifCamera {
    /// Opens nothing yet. `memory` = what other clients of this camera have learnt.
    pub fn new(target: CameraTarget, options: CameraOptions, memory: Memory) -> Self {
        let client = OnvifClient::new(
            target.address.clone(),
            target.credentials.clone(),
            options,
            memory,
        );
        Self { target, client }
    }

    pub(super) fn target(&self) -> &CameraTarget {
        &self.target
    }

    pub(super) fn memory(&self) -> &Memory {
        self.client.memory()
    }

    /// The profile that moves our channel, and the media service that knows it.
    pub(super) fn profile(&mut self, deadline: Instant) -> Result<(Service, Profile), Trouble> {
        let known = self.memory().with(|m| m.media.zip(m.profile.clone()));
        if let Some(known) = known {
            return Ok(known);
        }
        let (media, all) = self.profiles(deadline)?;
        let channel = self.target.channel;
        let chosen = media::choose(&all, channel).cloned().ok_or_else(|| {
            let words = if all.is_empty() {
                "it has no media profile".to_owned()
            } else {
                format!("it has no channel {channel}")
            };
            CameraError::NotSupported(words)
        })?;
        self.memory().with(|m| {
            m.media = Some(media);
            m.profile = Some(chosen.clone());
        });
        Ok((media, chosen))
    }

    /// All profiles, from the first media service that has any.
    pub(super) fn profiles(
        &mut self,
        deadline: Instant,
    ) -> Result<(Service, Vec<Profile>), Trouble> {
        let services = self.client.services(deadline)?;
        let mut ways = vec![Service::Media];
        if services.address(Service::Media2).is_some() {
            ways.push(Service::Media2);
            if services.address(Service::Media).is_none() {
                ways.reverse();
            }
        }
        let mut result = Ok((Service::Media, Vec::new()));
        for media in ways {
            match self.client.call(&request::profiles(media), deadline) {
                Ok(content) => {
                    let list = media::profiles(&content, media);
                    if !list.is_empty() {
                        return Ok((media, list));
                    }
                }
                // The other service is not asked with a login that was refused.
                Err(Trouble::Other(error)) => return Err(error.into()),
                Err(trouble) => result = Err(trouble),
            }
        }
        result
    }

    /// Does something with the moving profile; once more with a new one if the camera does not
    /// know the old one any more.
    pub(super) fn with_profile<T>(
        &mut self,
        deadline: Instant,
        mut act: impl FnMut(&mut Self, &Profile) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let (_, profile) = self.profile(deadline)?;
        let result = act(self, &profile);
        let stale = matches!(
            &result,
            Err(trouble) if matches!(
                trouble.kind(),
                Some(FaultKind::NoProfile | FaultKind::NoPtzProfile)
            )
        );
        if !stale {
            return result;
        }
        self.memory().with(Learnt::forget_profile);
        let (_, again) = self.profile(deadline)?;
        if again.token == profile.token {
            return result;
        }
        act(self, &again)
    }

    pub(super) fn ask_motion(&mut self, deadline: Instant) -> Result<Motion, Trouble> {
        let content = self.with_profile(deadline, |camera, profile| {
            camera
                .client
                .call(&request::status(&profile.token), deadline)
        })?;
        let motion = ptz::motion(&content);
        self.memory()
            .with(|m| m.tells_motion = Some(motion.moving.is_some()));
        Ok(motion)
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
                    movement::turn(camera, profile, velocity, limit, deadline)
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
            Drive::PanTiltZoom => self.with_profile(deadline, |camera, profile| {
                movement::stop(camera, profile, way, deadline)
            })?,
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
                address::picture_places(&uri, &self.target.address)
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
}
