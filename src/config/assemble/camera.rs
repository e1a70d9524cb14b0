//! Cameras: what is scanned, and which logins they have.

use std::net::IpAddr;

use super::{duration, either, secs};
use crate::config::fault::Place;
use crate::config::reader::{Reader, Section};
use crate::config::value::{self, Wrong};
use crate::config::{Camera, CameraCredential, CertificateCheck};
use crate::util::secret::Secret;
use crate::util::{foreign, url};

/// Addresses that one sweep takes at most: a /16.
const MAX_SCANNED: u64 = 65_536;

pub(super) fn camera<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> Camera {
    let scan_enabled = r.read(section, "scan_enabled", None, true, value::boolean);
    let allow_loopback = r.read(section, "allow_loopback", None, false, value::boolean);
    let tls = r.read(
        section,
        "tls",
        None,
        CertificateCheck::Pin,
        value::certificate_check,
    );
    let scan_subnet = subnets(r, section, scan_enabled.value, allow_loopback.value);
    let scan_timeout = duration(r, section, "scan_timeout", secs(30), secs(1), secs(600));
    let rescan = duration(
        r,
        section,
        "rescan_interval",
        secs(60),
        secs(1),
        secs(86_400),
    );
    if scan_enabled.value && scan_timeout.sound && rescan.sound && scan_timeout.value > rescan.value
    {
        let place = if rescan.given {
            &rescan.place
        } else {
            &scan_timeout.place
        };
        r.warn(
            place,
            "rescan_interval is shorter than scan_timeout: a slow sweep puts the next one off",
        );
    }
    Camera {
        scan_enabled: scan_enabled.value,
        scan_subnet,
        scan_timeout: scan_timeout.value,
        rescan_interval: rescan.value,
        allow_loopback: allow_loopback.value,
        tls: tls.value,
        credentials: credentials(r, section),
    }
}

fn subnets<'a>(
    r: &mut Reader<'a>,
    section: &Section<'a>,
    enabled: bool,
    allow_loopback: bool,
) -> Vec<String> {
    let Some(given) = r.list(section, "scan_subnet") else {
        return vec!["192.168.0.0/24".to_owned()];
    };
    let alone = given.len() == 1;
    let mut out: Vec<String> = Vec::new();
    let mut size = 0;
    let mut last = None;
    let mut sound = true;
    for item in given {
        if item.text.eq_ignore_ascii_case("auto") {
            if alone {
                return vec!["auto".to_owned()];
            }
            r.fault(&item.place, "auto stands alone, without other networks");
            sound = false;
            continue;
        }
        let subnet = match value::subnet(&item.text) {
            Ok(subnet) => subnet,
            Err(wrong) => {
                r.fault(&item.place, wrong);
                sound = false;
                continue;
            }
        };
        if subnet.first().is_loopback() && !allow_loopback {
            r.fault(
                &item.place,
                "is this machine itself: set camera.allow_loopback if cameras are reached there",
            );
        } else if !subnet.is_private() {
            r.fault(
                &item.place,
                "is not a private network: only private networks are scanned",
            );
        } else if subnet.is_nobody() {
            r.fault(
                &item.place,
                "is where clouds keep their machines' credentials",
            );
        }
        size += subnet.size();
        let text = subnet.to_string();
        if !out.contains(&text) {
            out.push(text);
        }
        last = Some(item.place);
    }
    if let Some(place) = last
        && size > MAX_SCANNED
    {
        r.fault(
            &place,
            format!("makes more than {MAX_SCANNED} addresses in all (a /16): name fewer networks"),
        );
    }
    if enabled && sound && out.is_empty() {
        let place = Place::File {
            name: r.file_name().to_owned(),
            line: None,
            key: Some("camera.scan_subnet".to_owned()),
        };
        r.fault(
            &place,
            "names no network: name one, or auto, or set camera.scan_enabled to false",
        );
    }
    out
}

fn credentials<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> Vec<CameraCredential> {
    for key in [
        "match",
        "username",
        "password",
        "password_file",
        "vendor",
        "allow_basic",
        "onvif_path",
        "profile",
    ] {
        r.knows(&format!("camera.credentials[].{key}"));
    }
    let mut out: Vec<CameraCredential> = Vec::new();
    for item in r.items(section, "credentials") {
        let matches = r.read(&item, "match", None, String::new(), credential_match);
        let username = r.read(&item, "username", None, String::new(), value::non_empty);
        for field in [&matches, &username] {
            if !field.given {
                r.fault(&field.place, "is missing");
            }
        }
        // An empty password is a password here, if it is written down.
        let written = r.read(&item, "password", None, None, |text| {
            value::password(text).map(|()| Some(Secret::new(text)))
        });
        if written.value.as_ref().is_some_and(|p| !p.is_empty()) {
            r.note_secret();
        }
        let file = r.secret_file(&item, "password_file", value::password);
        let neither = !written.given && !file.given;
        let place = written.place.clone();
        let password = either(r, written, file, "password");
        if neither {
            r.fault(&place, "is missing: set password or password_file");
        }
        let vendor = r.read(&item, "vendor", None, None, value::optional(vendor));
        let allow_basic = r.read(&item, "allow_basic", None, false, value::boolean);
        let onvif_path = r.read(&item, "onvif_path", None, None, value::optional(onvif_path));
        let profile = r.read(&item, "profile", None, None, value::optional(profile));
        let twice = matches.sound
            && matches.given
            && out
                .iter()
                .any(|other| other.matches.eq_ignore_ascii_case(&matches.value));
        if twice {
            r.fault(&matches.place, "is in the list already: take one out");
        }
        out.push(CameraCredential {
            matches: matches.value,
            username: username.value,
            password: password.value.unwrap_or_else(|| Secret::new("")),
            vendor: vendor.value,
            allow_basic: allow_basic.value,
            onvif_path: onvif_path.value,
            profile: profile.value,
        });
    }
    out
}

/// An address, a network, a host name or a camera id.
fn credential_match(text: &str) -> Result<String, Wrong> {
    if text.contains('/') {
        return value::subnet(text)
            .map(|subnet| subnet.to_string())
            .map_err(|_| "must be a network of a /16 or smaller, like 192.168.0.0/24".to_owned());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    value::id(text).map_err(|_| {
        "must be an IP address, a network like 192.168.0.0/24, a host name or a camera id".into()
    })
}

fn onvif_path(text: &str) -> Result<String, Wrong> {
    if url::is_service_path(text) {
        Ok(text.to_owned())
    } else {
        Err("must be the path of the camera's ONVIF device service, like /onvif/services".into())
    }
}

fn profile(text: &str) -> Result<String, Wrong> {
    if foreign::is_token(text) {
        Ok(text.to_owned())
    } else {
        Err("must be the token of an ONVIF profile, at most 256 bytes".into())
    }
}

fn vendor(text: &str) -> Result<String, Wrong> {
    let word = text.len() <= 32
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if word {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("must be a vendor's name, like HIKVISION or DAHUA".into())
    }
}
