//! Opens cameras by either protocol, and keeps what was learnt of each for its next client.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraError, CameraGateway, CameraTarget, Protocol,
};
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::{isapi, onvif};

/// Most cameras remembered; beyond that the one opened longest ago is forgotten, and learnt anew
/// when it is opened again.
const MAX_REMEMBERED: usize = 256;

/// Address, user name, channel: another user may be allowed other things.
type Key = (CameraAddress, Option<String>, u16);

#[derive(Default)]
struct Memories {
    isapi: isapi::client::Memory,
    onvif: onvif::Memory,
    opened: u64,
}

/// See [`CameraGateway`].
pub struct Cameras {
    options: CameraOptions,
    known: Mutex<(u64, HashMap<Key, Memories>)>,
}

impl Cameras {
    /// With the options that hold for all cameras.
    pub fn new(options: CameraOptions) -> Self {
        Self {
            options,
            known: Mutex::new((0, HashMap::new())),
        }
    }

    /// A camera's clock less ours, in seconds, as it tells strangers.
    pub fn clock_offset(&self, address: &CameraAddress, deadline: Instant) -> Option<i64> {
        onvif::detect::clock_offset(address, self.options, deadline)
    }

    fn memories(&self, target: &CameraTarget) -> (isapi::client::Memory, onvif::Memory) {
        let user = target.credentials.as_ref().map(|c| c.username().to_owned());
        let key = (target.address.clone(), user, target.channel);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, map) = &mut *known;
        *count += 1;
        if map.len() >= MAX_REMEMBERED && !map.contains_key(&key) {
            let oldest = map
                .iter()
                .min_by_key(|(_, m)| m.opened)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                map.remove(&oldest);
            }
        }
        let memories = map.entry(key).or_default();
        memories.opened = *count;
        (memories.isapi.clone(), memories.onvif.clone())
    }
}

impl CameraGateway for Cameras {
    fn open(&self, target: &CameraTarget, protocol: Protocol) -> Box<dyn CameraDevice> {
        let (isapi, onvif) = self.memories(target);
        match protocol {
            Protocol::Isapi => {
                Box::new(isapi::IsapiCamera::new(target.clone(), self.options, isapi))
            }
            Protocol::Onvif => {
                Box::new(onvif::OnvifCamera::new(target.clone(), self.options, onvif))
            }
        }
    }

    fn speaks(
        &self,
        address: &CameraAddress,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<bool, CameraError> {
        match protocol {
            Protocol::Isapi => isapi::detect::speaks_isapi(address, self.options, deadline),
            Protocol::Onvif => onvif::detect::speaks_onvif(address, self.options, deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn what_was_learnt_is_kept_and_bounded() {
        let cameras = Cameras::new(CameraOptions::default());
        let target = |port| CameraTarget {
            address: CameraAddress::new(IpAddr::from([127, 0, 0, 1]), port),
            credentials: None,
            channel: 1,
        };
        cameras
            .memories(&target(1))
            .0
            .with(|m| m.no_momentary = true);
        assert!(cameras.memories(&target(1)).0.with(|m| m.no_momentary));
        for port in 2..=300 {
            cameras.memories(&target(port));
        }
        assert_eq!(cameras.known.lock().unwrap().1.len(), MAX_REMEMBERED);
        assert!(!cameras.memories(&target(1)).0.with(|m| m.no_momentary));
    }
}
