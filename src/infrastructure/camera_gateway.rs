//! Opens cameras by every protocol there is, and keeps what was learnt of each for its next client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraError, CameraGateway, CameraTarget, Protocol, ProtocolOffer,
};
use crate::domain::camera_trust::{CameraTrust, KeptCertificate};
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::{isapi, onvif};

/// Most cameras remembered by a protocol; beyond that the one opened longest ago is forgotten, and
/// learnt anew when it is opened again.
const MAX_REMEMBERED: usize = 256;

/// A protocol as this gateway uses it. One more is one more row in [`Cameras::new`].
trait Driver: Send + Sync {
    /// See [`CameraGateway::open`].
    fn open(&self, target: &CameraTarget, options: CameraOptions) -> Box<dyn CameraDevice>;

    /// See [`CameraGateway::speaks`].
    fn speaks(
        &self,
        address: &CameraAddress,
        options: &CameraOptions,
        deadline: Instant,
    ) -> Result<bool, CameraError>;
}

/// See [`CameraGateway`].
pub struct Cameras {
    options: CameraOptions,
    offers: Vec<ProtocolOffer>,
    drivers: Vec<(Protocol, Box<dyn Driver>)>,
}

impl Cameras {
    /// With the options that hold for all cameras.
    pub fn new(options: CameraOptions) -> Self {
        // The order is that of preference: what a vendor has made for itself says more of its
        // cameras than what everybody speaks.
        let rows: [(Protocol, &'static [&'static str], Box<dyn Driver>); 2] = [
            (
                Protocol::ISAPI,
                &["HIKVISION", "HIK"],
                Box::new(Isapi::default()),
            ),
            (Protocol::ONVIF, &[], Box::new(Onvif::default())),
        ];
        let mut cameras = Self {
            options,
            offers: Vec::new(),
            drivers: Vec::new(),
        };
        for (protocol, vendors, driver) in rows {
            cameras.offers.push(ProtocolOffer { protocol, vendors });
            cameras.drivers.push((protocol, driver));
        }
        cameras
    }

    /// A camera's clock less ours, in seconds, as it tells strangers.
    pub fn clock_offset(&self, address: &CameraAddress, deadline: Instant) -> Option<i64> {
        onvif::detect::clock_offset(address, &self.options, deadline)
    }

    fn driver(&self, protocol: Protocol) -> Option<&dyn Driver> {
        let row = self.drivers.iter().find(|(known, _)| *known == protocol);
        row.map(|(_, driver)| driver.as_ref())
    }
}

impl CameraGateway for Cameras {
    fn protocols(&self) -> &[ProtocolOffer] {
        &self.offers
    }

    fn open(
        &self,
        target: &CameraTarget,
        protocol: Protocol,
    ) -> Result<Box<dyn CameraDevice>, CameraError> {
        let driver = self.driver(protocol).ok_or_else(|| unknown(protocol))?;
        Ok(driver.open(target, self.options.clone()))
    }

    fn speaks(
        &self,
        address: &CameraAddress,
        protocol: Protocol,
        deadline: Instant,
    ) -> Result<bool, CameraError> {
        let driver = self.driver(protocol).ok_or_else(|| unknown(protocol))?;
        driver.speaks(address, &self.options, deadline)
    }

    fn trust(&self, ip: IpAddr) -> CameraTrust {
        self.options.doors.tls().trust(ip)
    }

    fn forget_certificates(&self, ip: IpAddr) -> Vec<KeptCertificate> {
        self.options.doors.forget(ip)
    }
}

fn unknown(protocol: Protocol) -> CameraError {
    CameraError::NotSupported(format!("lss does not speak {protocol}"))
}

/// What was learnt of cameras by one protocol. Another user may be allowed other things.
struct Remembered<M>(Mutex<Known<M>>);

struct Known<M> {
    /// How often any was opened.
    opened: u64,
    /// By address, user name and channel: when it was opened last, and what was learnt.
    cameras: HashMap<(CameraAddress, Option<String>, u16), (u64, M)>,
}

impl<M> Default for Remembered<M> {
    fn default() -> Self {
        Self(Mutex::new(Known {
            opened: 0,
            cameras: HashMap::new(),
        }))
    }
}

impl<M: Clone + Default> Remembered<M> {
    /// What was learnt of a camera by any of its clients.
    fn of(&self, target: &CameraTarget) -> M {
        let user = target.credentials.as_ref().map(|c| c.username().to_owned());
        let key = (target.address.clone(), user, target.channel);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { opened, cameras } = &mut *known;
        *opened += 1;
        if cameras.len() >= MAX_REMEMBERED && !cameras.contains_key(&key) {
            let oldest = cameras
                .iter()
                .min_by_key(|(_, (at, _))| *at)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                cameras.remove(&oldest);
            }
        }
        let (at, memory) = cameras.entry(key).or_default();
        *at = *opened;
        memory.clone()
    }
}

#[derive(Default)]
struct Isapi(Remembered<isapi::client::Memory>);

impl Driver for Isapi {
    fn open(&self, target: &CameraTarget, options: CameraOptions) -> Box<dyn CameraDevice> {
        let memory = self.0.of(target);
        Box::new(isapi::IsapiCamera::new(target.clone(), options, memory))
    }

    fn speaks(
        &self,
        address: &CameraAddress,
        options: &CameraOptions,
        deadline: Instant,
    ) -> Result<bool, CameraError> {
        isapi::detect::speaks_isapi(address, options, deadline)
    }
}

#[derive(Default)]
struct Onvif(Remembered<onvif::Memory>);

impl Driver for Onvif {
    fn open(&self, target: &CameraTarget, options: CameraOptions) -> Box<dyn CameraDevice> {
        let memory = self.0.of(target);
        Box::new(onvif::OnvifCamera::new(target.clone(), options, memory))
    }

    fn speaks(
        &self,
        address: &CameraAddress,
        options: &CameraOptions,
        deadline: Instant,
    ) -> Result<bool, CameraError> {
        onvif::detect::speaks_onvif(address, options, deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::camera::Manner;

    #[test]
    fn what_was_learnt_is_kept_and_bounded() {
        let isapi = Remembered::<isapi::client::Memory>::default();
        let target = |port| CameraTarget {
            address: CameraAddress::new(IpAddr::from([127, 0, 0, 1]), port),
            credentials: None,
            channel: 1,
            manner: Manner::default(),
        };
        isapi.of(&target(1)).with(|m| m.no_momentary = true);
        assert!(isapi.of(&target(1)).with(|m| m.no_momentary));
        for port in 2..=300 {
            isapi.of(&target(port));
        }
        assert_eq!(isapi.0.lock().unwrap().cameras.len(), MAX_REMEMBERED);
        assert!(!isapi.of(&target(1)).with(|m| m.no_momentary));
    }

    #[test]
    fn what_is_on_offer_can_be_opened_and_nothing_else() {
        let cameras = Cameras::new(CameraOptions::default());
        let target = CameraTarget {
            address: CameraAddress::new(IpAddr::from([127, 0, 0, 1]), 1),
            credentials: None,
            channel: 1,
            manner: Manner::default(),
        };
        let offers = cameras.protocols();
        let names: Vec<&str> = offers.iter().map(|offer| offer.protocol.name()).collect();
        assert_eq!(names, ["ISAPI", "ONVIF"]);
        for offer in offers {
            let device = cameras.open(&target, offer.protocol).unwrap();
            assert_eq!(device.protocol(), offer.protocol);
        }
        assert!(cameras.open(&target, Protocol::named("VAPIX")).is_err());
    }
}
