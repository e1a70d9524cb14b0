//! What is known of one address, and whether that makes a camera. Pure.

use std::net::{IpAddr, Ipv4Addr};

use super::facts::Facts;
use super::fingerprint::{self, Signs};
use super::hints::Hint;
use crate::domain::discovery::Find;

/// Ports that accept and say nothing, after which an address is left alone.
const SILENT_PORTS: usize = 3;

/// What was learnt, port by port.
#[derive(Debug, Clone, Default)]
pub struct Dossier {
    /// Ports that accepted.
    open: Vec<u16>,
    facts: Vec<(u16, Facts)>,
    /// Ports on which the path of a hint was asked for.
    hint_asked: Vec<u16>,
}

impl Dossier {
    /// A port accepted.
    pub fn opened(&mut self, port: u16) {
        if !self.open.contains(&port) {
            self.open.push(port);
        }
    }

    /// A conversation was had.
    pub fn learnt(&mut self, port: u16, facts: Facts) {
        self.facts.push((port, facts));
    }

    /// Whether that port was talked with.
    pub fn knows(&self, port: u16) -> bool {
        self.facts.iter().any(|(p, _)| *p == port)
    }

    /// Whether the path of a hint was asked for there; notes that it is now if `now`.
    pub fn hint_asked(&mut self, port: u16, now: bool) -> bool {
        let before = self.hint_asked.contains(&port);
        if now && !before {
            self.hint_asked.push(port);
        }
        before
    }

    /// Speaks ISAPI.
    pub fn isapi(&self) -> bool {
        self.facts.iter().any(|(_, f)| f.isapi)
    }

    /// Speaks ONVIF.
    pub fn onvif(&self) -> bool {
        self.facts.iter().any(|(_, f)| f.onvif.is_some())
    }

    /// Whether it accepts everything, says nothing and is no camera.
    pub fn is_tarpit(&self) -> bool {
        let silent = self.facts.iter().filter(|(_, f)| f.silent).count();
        silent >= SILENT_PORTS && !self.is_camera()
    }

    fn is_camera(&self) -> bool {
        self.facts.iter().any(|(_, f)| f.is_camera())
    }

    /// The camera, if it is one. `rank` = the order in which ports are preferred.
    pub fn find(
        &self,
        ip: Ipv4Addr,
        hint: Option<&Hint>,
        neighbour_mac: Option<String>,
        rank: impl Fn(u16) -> usize,
    ) -> Option<Find> {
        if !self.is_camera() {
            return None;
        }
        let mut facts: Vec<&(u16, Facts)> = self.facts.iter().collect();
        facts.sort_by_key(|(port, _)| rank(*port));
        let port_of = |what: &dyn Fn(&Facts) -> bool| {
            facts.iter().find(|(_, f)| what(f)).map(|(port, _)| *port)
        };
        // The place that the device itself named, before others that answer.
        let onvif = facts
            .iter()
            .filter_map(|(port, f)| Some((*port, f.onvif.clone()?)))
            .min_by_key(|(port, _)| {
                !hint.is_some_and(|h| h.places.iter().any(|p| p.port == *port))
            });
        let isapi_port = port_of(&|f| f.isapi);
        let http_port = isapi_port
            .or(onvif.as_ref().map(|(port, _)| *port))
            .or_else(|| port_of(&|f| f.http));
        let mac = hint.and_then(|h| h.mac.clone()).or(neighbour_mac);
        let signs = self.signs(&facts, hint, mac.clone());
        Some(Find {
            ip: IpAddr::V4(ip),
            endpoint: hint.and_then(|h| h.endpoint.clone()),
            mac,
            rtsp_port: port_of(&|f| f.rtsp),
            http_port,
            onvif,
            isapi: isapi_port.is_some(),
            vendor: fingerprint::guess(&signs),
            model: fingerprint::model(&signs),
            name: hint.and_then(|h| h.name.clone()),
        })
    }

    fn signs(&self, facts: &[&(u16, Facts)], hint: Option<&Hint>, mac: Option<String>) -> Signs {
        let text =
            |of: &dyn Fn(&Facts) -> &Option<String>| facts.iter().find_map(|(_, f)| of(f).clone());
        let mut open_ports = self.open.clone();
        open_ports.sort_unstable();
        let mut realms: Vec<String> = Vec::new();
        for realm in facts.iter().flat_map(|(_, f)| &f.realms) {
            if !realms.contains(realm) {
                realms.push(realm.clone());
            }
        }
        Signs {
            http_server: text(&|f| &f.http_server),
            http_title: text(&|f| &f.http_title),
            realms,
            rtsp_server: text(&|f| &f.rtsp_server),
            isapi: self.isapi(),
            scopes_name: hint.and_then(|h| h.name.clone()),
            scopes_hardware: hint.and_then(|h| h.hardware.clone()),
            mac,
            open_ports,
            pages: facts.iter().flat_map(|(_, f)| f.pages.clone()).collect(),
        }
    }

    /// What it was, port by port, if it is no camera. `hinted` = it had said that it is one.
    pub fn others(&self, ip: Ipv4Addr, hinted: bool) -> Vec<String> {
        if self.is_camera() {
            return Vec::new();
        }
        let mut ports = self.open.clone();
        ports.sort_unstable();
        let mut lines: Vec<String> = ports
            .iter()
            .map(|port| {
                let note = self
                    .facts
                    .iter()
                    .find(|(p, f)| p == port && !f.note.is_empty())
                    .map_or("open, not asked to the end", |(_, f)| f.note.as_str());
                format!("{ip}:{port}: {note}")
            })
            .collect();
        if hinted {
            lines.push(format!(
                "{ip}:3702: says that it is a camera, and speaks neither ONVIF nor RTSP"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::onvif::address::ServiceAddress;

    fn facts(change: impl FnOnce(&mut Facts)) -> Facts {
        let mut facts = Facts::default();
        change(&mut facts);
        facts
    }

    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn a_camera_has_its_own_ports_before_others() {
        let mut one = Dossier::default();
        one.learnt(8080, facts(|f| f.http = true));
        one.learnt(8554, facts(|f| f.rtsp = true));
        one.learnt(554, facts(|f| f.rtsp = true));
        one.learnt(
            8899,
            facts(|f| {
                f.http = true;
                f.onvif = Some("/onvif/device_service".to_owned());
            }),
        );
        let rank = |port: u16| {
            [554, 80, 8000, 8080, 8554, 8899]
                .iter()
                .position(|p| *p == port)
                .unwrap()
        };
        let find = one
            .find(IP, None, Some("02:00:00:00:00:01".into()), rank)
            .unwrap();
        assert_eq!(find.rtsp_port, Some(554));
        assert_eq!(find.http_port, Some(8899));
        assert_eq!(find.onvif, Some((8899, "/onvif/device_service".to_owned())));
        assert_eq!(find.mac.as_deref(), Some("02:00:00:00:00:01"));
        assert!(!find.isapi && one.others(IP, true).is_empty());
        // ISAPI has its port nowhere else, ONVIF has.
        one.learnt(8080, facts(|f| f.isapi = true));
        let find = one.find(IP, None, None, rank).unwrap();
        assert_eq!((find.http_port, find.isapi), (Some(8080), true));
    }

    #[test]
    fn the_place_that_the_device_named_comes_first() {
        let mut one = Dossier::default();
        for port in [80, 8899] {
            one.learnt(port, facts(|f| f.onvif = Some("/x".to_owned())));
        }
        let hint = Hint {
            name: Some("Gate".into()),
            hardware: Some("DS-2CD2012-I".into()),
            mac: Some("bc:ad:28:00:00:01".into()),
            endpoint: Some("e".into()),
            places: vec![ServiceAddress {
                port: 8899,
                path: "/x".into(),
            }],
        };
        let find = one
            .find(
                IP,
                Some(&hint),
                Some("02:00:00:00:00:01".into()),
                usize::from,
            )
            .unwrap();
        assert_eq!(find.onvif, Some((8899, "/x".to_owned())));
        assert_eq!(find.mac.as_deref(), Some("bc:ad:28:00:00:01"));
        assert_eq!(
            (find.name.as_deref(), find.endpoint.as_deref()),
            (Some("Gate"), Some("e"))
        );
    }

    #[test]
    fn what_is_no_camera_is_told_of() {
        let mut one = Dossier::default();
        for port in [554, 80, 37777] {
            one.opened(port);
            one.opened(port);
        }
        one.learnt(554, facts(|f| f.note = "an SSH banner".into()));
        assert_eq!(one.find(IP, None, None, usize::from), None);
        assert_eq!(
            one.others(IP, true),
            [
                "10.0.0.9:80: open, not asked to the end",
                "10.0.0.9:554: an SSH banner",
                "10.0.0.9:37777: open, not asked to the end",
                "10.0.0.9:3702: says that it is a camera, and speaks neither ONVIF nor RTSP",
            ]
        );
    }

    #[test]
    fn three_silent_ports_make_a_tarpit() {
        let mut one = Dossier::default();
        for port in [554, 80] {
            one.learnt(port, facts(|f| f.silent = true));
        }
        assert!(!one.is_tarpit());
        one.learnt(8000, facts(|f| f.silent = true));
        assert!(one.is_tarpit());
        one.learnt(8080, facts(|f| f.isapi = true));
        assert!(!one.is_tarpit());
    }
}
