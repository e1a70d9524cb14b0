//! A camera that speaks ONVIF, with what every request to it needs: its profile, and what was learnt.

use std::time::Instant;

use super::answer::media::{self, Profile};
use super::answer::ptz;
use super::client::OnvifClient;
use super::memory::{Learnt, Memory};
use super::outcome::Trouble;
use super::reply::FaultKind;
use super::request::{self, Service};
use crate::domain::camera::{CameraError, CameraTarget, Motion};
use crate::infrastructure::http::camera::{CameraOptions, camera_words};

/// One client of one ONVIF device. See [`CameraDevice`](crate::domain::camera::CameraDevice).
pub struct OnvifCamera {
    pub(super) target: CameraTarget,
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
pub(super) fn is_about_the_profile(trouble: &Trouble) -> bool {
    matches!(
        trouble.kind(),
        Some(FaultKind::NoProfile | FaultKind::NoPtzProfile)
    )
}
