//! What discovery tells the directory, and what it may know of it.

use std::net::IpAddr;

use super::{Directory, Vendor};
use crate::application::camera::accounts::Use;
use crate::application::camera::address::Host;
use crate::application::camera::login::Login;
use crate::domain::error::Fault;
use crate::domain::stream::CameraId;

/// Most finds that are remembered.
pub(super) const MAX_FINDS: usize = 4096;

/// What discovery has seen at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The address.
    pub ip: IpAddr,
    /// Whose protocol is spoken there, if that is more than a weak sign.
    pub vendor: Option<String>,
    /// Of HTTP.
    pub http_port: Option<u16>,
    /// Of RTSP.
    pub rtsp_port: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Find {
    pub vendor: Option<Vendor>,
    pub port: Option<u16>,
    pub rtsp_port: Option<u16>,
    used: u64,
}

impl Directory {
    /// Learns what a sweep has found at an address.
    pub fn learn_find(&mut self, seen: &Sighting) {
        let Ok(ip) = self.rules.check(seen.ip) else {
            return;
        };
        self.clock += 1;
        let used = self.clock;
        if !self.finds.contains_key(&ip) && self.finds.len() >= MAX_FINDS {
            let oldest = self.finds.iter().min_by_key(|(_, f)| f.used);
            if let Some(oldest) = oldest.map(|(ip, _)| *ip) {
                self.finds.remove(&oldest);
            }
        }
        let find = Find {
            vendor: seen.vendor.as_deref().and_then(Vendor::parse),
            port: seen.http_port,
            rtsp_port: seen.rtsp_port,
            used,
        };
        self.finds.insert(ip, find);
    }

    /// Nothing is to be found at an address any more.
    pub fn forget_find(&mut self, ip: IpAddr) {
        let host = Host::Ip(ip.to_canonical());
        self.finds.remove(&ip.to_canonical());
        self.cameras
            .retain(|_, camera| !camera.introduced || camera.host.as_ref() != Some(&host));
    }

    /// The id under which to ask what is at an address: one that commands use, else the address.
    pub fn introduce(&mut self, ip: IpAddr) -> Result<CameraId, Fault> {
        let ip = self.rules.check(ip)?;
        if let Some(id) = self.ids_at(ip).into_iter().next() {
            return Ok(id);
        }
        let id = CameraId::parse("ip", &ip.to_string())?;
        let is_new = !self.cameras.contains_key(&id);
        let camera = self.camera(&id);
        camera.introduced |= is_new;
        Ok(id)
    }

    /// The login that belongs to an address: one that was taken there, one that was given for it,
    /// one of the configuration.
    pub fn login_at(&self, ip: IpAddr) -> Option<Login> {
        let host = Host::Ip(ip.to_canonical());
        let address = CameraId::parse("ip", &host.to_string()).ok();
        let ids = self.ids_at(ip).into_iter().chain(address);
        // The configuration may name the camera by any of its ids.
        let mut lists = ids.map(|id| self.taken_logins(&id, &host, Use::View));
        lists.find_map(|logins| logins.into_iter().next())
    }
}
