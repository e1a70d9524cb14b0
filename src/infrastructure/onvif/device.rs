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
use crate::infrastructure::http::camera::{CameraOptions, camera_words};

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
            options.for_manner(&target.manner),
            memory,
        )
        .with_device_path(target.manner.onvif_path.as_deref());
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
        let named = self.target.manner.profile.clone();
        let known = self.memory().with(|m| m.media.zip(m.profile.clone()));
        if let Some(known) = known {
            if named.as_ref().is_none_or(|token| *token == known.1.token) {
                return Ok(known);
            }
            self.memory().with(Learnt::forget_profile);
        }
        let (media, all) = self.profiles(deadline)?;
        let channel = self.target.channel;
        let chosen = match &named {
            Some(token) => all.iter().find(|p| p.token == *token).cloned(),
            None => {
                let order = self.source_order(&all, media, deadline)?;
                media::choose(&all, &order, channel).cloned()
            }
        };
        let chosen = chosen.ok_or_else(|| {
            if let Some(token) = &named {
                let there: Vec<&str> = all.iter().map(|p| p.token.as_str()).collect();
                return CameraError::NotFound(camera_words(&format!(
                    "it has no profile {token}, but {}",
                    there.join(", ")
                )));
            }
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

    /// The video sources in the camera's own order, which is asked for where there are several; as
    /// they turn up in its profiles where it does not tell.
    pub(super) fn source_order(
        &mut self,
        profiles: &[Profile],
        media: Service,
        deadline: Instant,
    ) -> Result<Vec<String>, Trouble> {
        let seen = media::sources(profiles);
        if seen.len() < 2 || media != Service::Media {
            return Ok(seen);
        }
        let told = match self.client.call(&request::video_sources(), deadline) {
            Ok(content) => media::video_sources(&content),
            Err(Trouble::Other(error @ CameraError::LoginRefused(_))) => return Err(error.into()),
            Err(_) => Vec::new(),
        };
        let all = seen.iter().all(|source| told.contains(source));
        Ok(if all { told } else { seen })
    }

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
        let stale = matches!(&result, Err(trouble) if is_about_the_profile(trouble));
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

/// The camera does not know our profile, or that one does not move.
fn is_about_the_profile(trouble: &Trouble) -> bool {
    matches!(
        trouble.kind(),
        Some(FaultKind::NoProfile | FaultKind::NoPtzProfile)
    )
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
}
