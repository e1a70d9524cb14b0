//! WS-Discovery: probes and the answers to them. Pure: no socket, and ids are passed in.
//!
//! Answers are hints from anybody on the network; they are confirmed over HTTP before they are
//! believed.

use std::net::IpAddr;

use super::address::{ServiceAddress, discovered_place};
use super::answer::device::Scopes;
use crate::infrastructure::xml::{self, Element, XmlError, XmlWriter};

/// Where probes go.
pub const MULTICAST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(239, 255, 255, 250);
/// UDP.
pub const PORT: u16 = 3702;
/// Longest answer that is looked at.
pub const MAX_ANSWER: usize = 64 * 1024;
/// Most matches taken from one answer.
const MAX_MATCHES: usize = 32;

/// What a probe asks for. Some cameras answer to one of these only, so each is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFor {
    /// `dn:NetworkVideoTransmitter`
    Transmitters,
    /// `tds:Device`
    Devices,
    /// No type: anything answers.
    Anything,
}

impl ProbeFor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Transmitters, Self::Devices, Self::Anything];
}

/// A probe message. `id` = a fresh UUID, without `urn:uuid:`.
pub fn probe(what: ProbeFor, id: &str) -> Vec<u8> {
    let envelope = [
        ("xmlns:s", "http://www.w3.org/2003/05/soap-envelope"),
        (
            "xmlns:a",
            "http://schemas.xmlsoap.org/ws/2004/08/addressing",
        ),
    ];
    let discovery = "http://schemas.xmlsoap.org/ws/2005/04/discovery";
    XmlWriter::document(|w| {
        w.element("s:Envelope", &envelope, |w| {
            w.element("s:Header", &[], |w| {
                w.leaf("a:Action", &format!("{discovery}/Probe"));
                w.leaf("a:MessageID", &format!("urn:uuid:{id}"));
                w.leaf("a:To", "urn:schemas-xmlsoap-org:ws:2005:04:discovery");
            });
            w.element("s:Body", &[], |w| {
                w.element("d:Probe", &[("xmlns:d", discovery)], |w| match what {
                    ProbeFor::Transmitters => w.leaf_with(
                        "d:Types",
                        &[("xmlns:dn", "http://www.onvif.org/ver10/network/wsdl")],
                        "dn:NetworkVideoTransmitter",
                    ),
                    ProbeFor::Devices => w.leaf_with(
                        "d:Types",
                        &[("xmlns:tds", "http://www.onvif.org/ver10/device/wsdl")],
                        "tds:Device",
                    ),
                    ProbeFor::Anything => {}
                });
            });
        });
    })
}

/// One device that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeMatch {
    /// Its id; cloned firmware shares one.
    pub endpoint: Option<String>,
    /// Kinds of device, without prefixes.
    pub types: Vec<String>,
    /// Name, hardware, place.
    pub scopes: Scopes,
    /// As it came: addresses separated by spaces.
    pub xaddrs: String,
}

impl ProbeMatch {
    /// Whether this is a camera and not a printer.
    pub fn is_camera(&self) -> bool {
        !self.scopes.is_empty() || self.types.iter().any(|t| t == "NetworkVideoTransmitter")
    }

    /// Where its device service is, on the host that the answer came from.
    pub fn place(&self, source: IpAddr) -> Option<ServiceAddress> {
        discovered_place(&self.xaddrs, source)
    }
}

/// What an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The id of the probe that it answers, without `urn:` and `uuid:`; some leave it out.
    pub relates_to: Option<String>,
    /// The devices.
    pub matches: Vec<ProbeMatch>,
}

/// Reads a datagram.
pub fn read(datagram: &[u8]) -> Result<ProbeAnswer, XmlError> {
    if datagram.len() > MAX_ANSWER {
        return Err(XmlError::TooLong);
    }
    let root = xml::parse(datagram)?;
    let relates_to = root
        .at(&["Header", "RelatesTo"])
        .map(|e| bare_id(e.text()))
        .filter(|id| !id.is_empty());
    let matches = root
        .child("Body")
        .map(|body| body.find_all("ProbeMatch"))
        .unwrap_or_default()
        .into_iter()
        .take(MAX_MATCHES)
        .map(probe_match)
        .collect();
    Ok(ProbeAnswer {
        relates_to,
        matches,
    })
}

fn probe_match(element: &Element) -> ProbeMatch {
    let text = |name: &str| element.text_of(name).unwrap_or_default();
    ProbeMatch {
        endpoint: element
            .text_at(&["EndpointReference", "Address"])
            .map(bare_id),
        types: text("Types")
            .split_whitespace()
            .map(|t| t.rsplit(':').next().unwrap_or(t).to_owned())
            .collect(),
        scopes: Scopes::from_items(text("Scopes").split_whitespace()),
        xaddrs: text("XAddrs").to_owned(),
    }
}

/// `urn:uuid:X`, `uuid:X` and `X` are one.
fn bare_id(id: &str) -> String {
    let id = id.trim();
    let id = id.strip_prefix("urn:").unwrap_or(id);
    id.strip_prefix("uuid:").unwrap_or(id).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::answer::fixture;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_captured_answer() {
        let text = String::from_utf8(fixture("agsh-onvif/Probe.xml")).unwrap();
        let text = text.replace("RELATES_TO", "urn:uuid:0E3C7D9A").replace(
            "SERVICE_URI",
            "http://169.254.3.4/x http://10.0.0.9:8899/onvif/device_service",
        );
        let answer = read(text.as_bytes()).unwrap();
        assert_eq!(answer.relates_to.as_deref(), Some("0e3c7d9a"));
        let [one] = answer.matches.as_slice() else {
            panic!()
        };
        assert_eq!(
            one.endpoint.as_deref(),
            Some("c9790c3a-701b-464d-a189-0060351c8ada")
        );
        assert_eq!(one.types, ["NetworkVideoTransmitter", "Device"]);
        assert_eq!(one.scopes.value("hardware"), Some("HD_PREDATOR"));
        assert!(one.is_camera());
        let place = one.place(IpAddr::from([10, 0, 0, 9])).unwrap();
        assert_eq!(
            (place.port, place.path.as_str()),
            (8899, "/onvif/device_service")
        );
    }

    #[test]
    fn a_printer_is_no_camera() {
        let printer = b"<Envelope><Body><ProbeMatches><ProbeMatch><Types>wprt:PrintDeviceType</Types><XAddrs>http://10.0.0.7/x</XAddrs></ProbeMatch></ProbeMatches></Body></Envelope>";
        let answer = read(printer).unwrap();
        assert_eq!(answer.relates_to, None);
        assert!(!answer.matches[0].is_camera());
        assert!(read(b"<Envelope/>").unwrap().matches.is_empty());
        assert!(read(b"HTTP/1.1 200 OK").is_err());
    }

    #[test]
    fn probes_are_read_back() {
        for what in ProbeFor::ALL {
            let bytes = probe(what, "0e3c7d9a-6a51-4b7e-9d58-3f4f5d1c2b10");
            let root = xml::parse(&bytes).unwrap();
            assert_eq!(
                root.text_at(&["Header", "MessageID"]),
                Some("urn:uuid:0e3c7d9a-6a51-4b7e-9d58-3f4f5d1c2b10")
            );
            let types = root.text_at(&["Body", "Probe", "Types"]);
            assert_eq!(types.is_none(), what == ProbeFor::Anything);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(answer) = read(&bytes) {
                for one in answer.matches {
                    let _ = (one.is_camera(), one.place(IpAddr::from([1, 2, 3, 4])));
                }
            }
        }
    }
}
