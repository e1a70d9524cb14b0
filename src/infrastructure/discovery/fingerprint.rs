//! Vendor and model from what a device says to strangers. Pure.

use crate::domain::discovery::{Certainty, VendorGuess};

/// What was seen of one device.
#[derive(Debug, Clone, Default)]
pub struct Signs {
    /// `Server` of HTTP.
    pub http_server: Option<String>,
    /// Title of the home page.
    pub http_title: Option<String>,
    /// Realms of HTTP and RTSP.
    pub realms: Vec<String>,
    /// `Server` of RTSP.
    pub rtsp_server: Option<String>,
    /// Speaks ISAPI.
    pub isapi: bool,
    /// `name` of the discovery scopes.
    pub scopes_name: Option<String>,
    /// `hardware` of the discovery scopes.
    pub scopes_hardware: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Ports that accept.
    pub open_ports: Vec<u16>,
    /// Where the home page leads, and how it begins.
    pub pages: Vec<String>,
}

/// The vendor.
pub fn guess(signs: &Signs) -> Option<VendorGuess> {
    signs.isapi.then(|| VendorGuess {
        vendor: "HIKVISION".to_owned(),
        certainty: Certainty::Said,
    })
}

/// The model, where the device says it unasked.
pub fn model(signs: &Signs) -> Option<String> {
    signs.scopes_hardware.clone()
}
