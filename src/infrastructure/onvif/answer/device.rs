//! Answers of the device service.

use std::time::SystemTime;

use super::super::clock::utc;
use super::super::request::Service;
use crate::infrastructure::http::camera::camera_words;
use crate::infrastructure::xml::{Element, as_number};
use crate::util::url;

/// Who the device is. Empty texts are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceInformation {
    /// Maker.
    pub manufacturer: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Firmware.
    pub firmware: Option<String>,
    /// Serial number.
    pub serial_number: Option<String>,
    /// Hardware.
    pub hardware_id: Option<String>,
}

impl DeviceInformation {
    /// From `GetDeviceInformationResponse`.
    pub fn read(content: &Element) -> Self {
        let text = |name| content.text_of(name).map(camera_words);
        Self {
            manufacturer: text("Manufacturer"),
            model: text("Model"),
            firmware: text("FirmwareVersion"),
            serial_number: text("SerialNumber"),
            hardware_id: text("HardwareId"),
        }
    }
}

/// The camera's clock, in UTC; `None` where it tells none, or nonsense.
pub fn system_time(content: &Element) -> Option<SystemTime> {
    let moment = content.find("UTCDateTime")?;
    let field = |group: &str, name: &str| {
        moment
            .text_at(&[group, name])
            .and_then(as_number)
            .filter(|n| n.fract() == 0.0 && (0.0..10_000.0).contains(n))
            // In range, so nothing is cut off.
            .map(|n| {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let n = n as u32;
                n
            })
    };
    utc(
        field("Date", "Year")?,
        field("Date", "Month")?,
        field("Date", "Day")?,
        field("Time", "Hour")?,
        field("Time", "Minute")?,
        field("Time", "Second")?,
    )
}

/// Where services are, and the versions that are spoken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceList {
    /// Service and address, in the camera's order.
    pub addresses: Vec<(Service, String)>,
    /// The highest.
    pub version: Option<(u32, u32)>,
}

impl ServiceList {
    /// Of a service.
    pub fn address(&self, service: Service) -> Option<&str> {
        self.addresses
            .iter()
            .find(|(s, _)| *s == service)
            .map(|(_, a)| a.as_str())
    }

    /// From `GetCapabilitiesResponse`.
    pub fn of_capabilities(content: &Element) -> Self {
        let Some(all) = content.child("Capabilities") else {
            return Self::default();
        };
        let named = [
            ("Device", Service::Device),
            ("Media", Service::Media),
            ("PTZ", Service::Ptz),
            ("Imaging", Service::Imaging),
        ];
        let addresses = named
            .into_iter()
            .filter_map(|(name, service)| {
                let address = all.text_at(&[name, "XAddr"])?;
                Some((service, address.to_owned()))
            })
            .collect();
        let version = all
            .at(&["Device", "System"])
            .into_iter()
            .flat_map(|system| system.children_of("SupportedVersions"))
            .filter_map(version)
            .max();
        Self { addresses, version }
    }

    /// From `GetServicesResponse`.
    pub fn of_services(content: &Element) -> Self {
        let mut list = Self::default();
        for service in content.children_of("Service") {
            let (Some(namespace), Some(address)) =
                (service.text_of("Namespace"), service.text_of("XAddr"))
            else {
                continue;
            };
            let namespace = namespace.trim_end_matches('/');
            let Some(&known) = Service::ALL.iter().find(|s| s.namespace() == namespace) else {
                continue;
            };
            if known == Service::Device {
                list.version = service.child("Version").and_then(version);
            }
            list.addresses.push((known, address.to_owned()));
        }
        list
    }

    /// With what another list adds.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (service, address) in other.addresses {
            if self.address(service).is_none() {
                self.addresses.push((service, address));
            }
        }
        self.version = self.version.max(other.version);
        self
    }
}

fn version(element: &Element) -> Option<(u32, u32)> {
    let number = |name| element.text_of(name).and_then(|t| t.parse().ok());
    Some((number("Major")?, number("Minor")?))
}

/// What scopes tell: they are texts like `onvif://www.onvif.org/name/HIKVISION%20DS-2CD2`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(Vec<(String, String)>);

impl Scopes {
    /// From `GetScopesResponse`.
    pub fn read(content: &Element) -> Self {
        Self::from_items(content.find_all("ScopeItem").into_iter().map(Element::text))
    }

    /// From single texts.
    pub fn from_items<'a>(items: impl Iterator<Item = &'a str>) -> Self {
        Self(
            items
                .filter_map(|item| item.strip_prefix("onvif://www.onvif.org/"))
                .filter_map(|rest| rest.split_once('/'))
                .map(|(key, value)| (key.to_ascii_lowercase(), url::decode(value)))
                .collect(),
        )
    }

    /// The first value of a key that is not empty: `name`, `hardware`, `location`, `mac`, `type`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values(key).next()
    }

    /// All values of a key that are not empty.
    pub fn values<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.0
            .iter()
            .filter(move |(k, v)| k == key && !v.trim().is_empty())
            .map(|(_, v)| v.trim())
    }

    /// Whether there is anything of ONVIF at all: printers answer probes too.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The first MAC of `GetNetworkInterfacesResponse`.
pub fn mac_address(content: &Element) -> Option<String> {
    content
        .find_all("HwAddress")
        .into_iter()
        .find_map(|e| normal_mac(e.text()))
}

/// `aa:bb:cc:dd:ee:ff` from any of the ways to write it.
pub fn normal_mac(text: &str) -> Option<String> {
    let digits: Vec<char> = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.' | ' '))
        .collect();
    if digits.len() != 12 || !digits.iter().all(char::is_ascii_hexdigit) {
        return None;
    }
    let pairs: Vec<String> = digits
        .chunks(2)
        .map(|pair| pair.iter().collect::<String>().to_ascii_lowercase())
        .collect();
    let mac = pairs.join(":");
    (mac != "00:00:00:00:00:00").then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::super::content;
    use super::*;
    use crate::infrastructure::xml::parse;
    use crate::util::time::rfc3339;

    #[test]
    fn device_information_of_five_cameras() {
        let read = |path: &str| {
            let i = DeviceInformation::read(&content(path));
            (
                i.manufacturer.unwrap_or_default(),
                i.model.unwrap_or_default(),
                i.firmware.unwrap_or_default(),
            )
        };
        let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            read("onvif-nvt/hikvision-fixed/core/GetDeviceInformation.Response.xml"),
            three("HIKVISION", "DS-2CD2012-I", "V5.2.0 build 140721")
        );
        assert_eq!(
            read("onvif-nvt/trendnet/core/GetDeviceInformation.Response.xml"),
            three("TRENDnet", "TV-IP320PI", "V5.3.4 build 160830")
        );
        let (maker, model, _) = read("ex-onvif/get_device_information.xml");
        assert_eq!(
            (maker.as_str(), model.as_str()),
            ("Milesight Technology Co.,Ltd.", "MS-C8165-PE")
        );
        assert!(!read("agsh-onvif/GetDeviceInformation.xml").0.is_empty());
        let empty = parse(b"<x><Manufacturer> </Manufacturer></x>").unwrap();
        assert_eq!(
            DeviceInformation::read(&empty),
            DeviceInformation::default()
        );
    }

    #[test]
    fn clocks_of_four_cameras() {
        let read = |path: &str| system_time(&content(path)).map(rfc3339).unwrap();
        assert_eq!(
            read("agsh-onvif/GetSystemDateAndTime.xml"),
            "2014-12-24T19:14:37.000Z"
        );
        for path in [
            "onvif-nvt/hikvision-fixed/core/GetSystemDateAndTime.Response.xml",
            "onvif-nvt/trendnet/core/GetSystemDateAndTime.Response.xml",
            "elixir-onvif/get_system_date_and_time.xml",
        ] {
            assert!(read(path).starts_with("20"), "{path}");
        }
        let odd = |second: &str, month: &str| {
            let text = format!(
                "<r><UTCDateTime><Time><Hour>1</Hour><Minute>2</Minute><Second>{second}</Second></Time><Date><Year>2026</Year><Month>{month}</Month><Day>3</Day></Date></UTCDateTime></r>"
            );
            system_time(&parse(text.as_bytes()).unwrap())
        };
        assert!(odd("59", "1").is_some());
        assert!(odd("60", "1").is_none(), "no answer rather than a guess");
        assert!(odd("1", "0").is_none());
        assert!(odd("x", "1").is_none());
        assert!(odd("1.5", "1").is_none());
    }

    #[test]
    fn services_of_four_cameras() {
        let hik = ServiceList::of_capabilities(&content(
            "onvif-nvt/hikvision-fixed/core/GetCapabilities.Response.xml",
        ));
        assert_eq!(
            hik.address(Service::Media),
            Some("http://10.10.1.65/onvif/Media")
        );
        assert_eq!(hik.address(Service::Ptz), None, "a fixed camera");
        assert_eq!(hik.version, Some((2, 40)));
        let newer = ServiceList::of_services(&content(
            "onvif-nvt/hikvision-fixed/core/GetServices.Response.xml",
        ));
        assert_eq!(
            newer.address(Service::Imaging),
            Some("http://10.10.1.65/onvif/Imaging")
        );
        assert_eq!(newer.version, Some((2, 40)));
        let encoder = ServiceList::of_capabilities(&content("agsh-onvif/GetCapabilities.xml")).or(
            ServiceList::of_services(&content("agsh-onvif/GetServices.xml")),
        );
        assert!(encoder.address(Service::Ptz).is_some());
        let trend =
            ServiceList::of_services(&content("onvif-nvt/trendnet/core/GetServices.Response.xml"));
        assert!(trend.address(Service::Media).is_some());
        assert_eq!(
            ServiceList::of_capabilities(&parse(b"<x/>").unwrap()),
            ServiceList::default()
        );
    }

    #[test]
    fn scopes_and_macs() {
        let hik = Scopes::read(&content(
            "onvif-nvt/hikvision-fixed/core/GetScopes.Response.xml",
        ));
        assert_eq!(hik.value("hardware"), Some("DS-2CD2012-I"));
        assert_eq!(hik.value("name"), Some("HIKVISION DS-2CD2012-I"));
        assert_eq!(hik.value("location"), Some("city/hangzhou"));
        assert_eq!(hik.value("mac"), None);
        let milesight = Scopes::read(&content("ex-onvif/get_scopes.xml"));
        assert!(milesight.value("name").is_some());
        assert!(
            Scopes::read(&content("agsh-onvif/GetScopes.xml"))
                .values("type")
                .count()
                > 1
        );
        let mac = |path: &str| mac_address(&content(path));
        assert_eq!(
            mac("onvif-nvt/hikvision-fixed/core/GetNetworkInterfaces.Response.xml").as_deref(),
            Some("c0:56:e3:f9:55:68")
        );
        assert!(mac("agsh-onvif/device.GetNetworkInterfaces.xml").is_some());
        assert!(mac("onvif-nvt/trendnet/core/GetNetworkInterfaces.Response.xml").is_some());
        assert_eq!(
            normal_mac("AA-BB-CC-DD-EE-FF").as_deref(),
            Some("aa:bb:cc:dd:ee:ff")
        );
        assert_eq!(
            normal_mac("aabbccddeeff").as_deref(),
            Some("aa:bb:cc:dd:ee:ff")
        );
        assert_eq!(normal_mac("00:00:00:00:00:00"), None);
        assert_eq!(normal_mac("aa:bb"), None);
    }
}
