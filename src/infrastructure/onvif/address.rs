//! The addresses that cameras advertise, and what of them is used. Pure.
//!
//! Cameras name addresses from behind a NAT, from the factory, of another interface. So only
//! path and query are taken, and the host stays the one that was reached. A port is believed
//! only as a second try.

use std::net::IpAddr;

use crate::domain::camera::CameraAddress;
use crate::util::url::{self, UrlParts};

/// A port and a path on the camera that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddress {
    /// HTTP port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

/// Where a service may be, the likeliest first. `advertised` = one address or several separated
/// by spaces; `usual` = the conventional path. A camera that is spoken with by TLS (`secure`) is not
/// spoken with otherwise for what it advertises.
pub fn service_places(
    advertised: Option<&str>,
    (reached, secure): (&CameraAddress, bool),
    usual: &str,
) -> Vec<ServiceAddress> {
    let mut places = Vec::new();
    if let Some(parts) = advertised.and_then(|list| best(list, reached.ip))
        && let Some(path) = clean(parts.path)
    {
        places.push(ServiceAddress {
            port: reached.port,
            path: path.clone(),
        });
        if is_host(&parts, reached.ip)
            && let Some(port) = port(&parts, secure)
        {
            places.push(ServiceAddress { port, path });
        }
    }
    places.push(ServiceAddress {
        port: reached.port,
        path: usual.to_owned(),
    });
    dedup(places)
}

/// Where a picture may be, the likeliest first; none for anything but HTTP. The picture is often
/// on the web port while the services are on another, so a port on the same host comes first.
pub fn picture_places(uri: &str, (reached, secure): (&CameraAddress, bool)) -> Vec<ServiceAddress> {
    let Some(parts) = split(uri.trim()) else {
        return Vec::new();
    };
    let (Some(_), Some(path)) = (port(&parts, false), clean(parts.path)) else {
        return Vec::new();
    };
    let mut both: Vec<u16> = port(&parts, secure).into_iter().collect();
    both.push(reached.port);
    if !is_host(&parts, reached.ip) {
        both.reverse();
    }
    dedup(
        both.into_iter()
            .map(|port| ServiceAddress {
                port,
                path: path.clone(),
            })
            .collect(),
    )
}

/// A stream's address with the host that was reached and without user info; the advertised port
/// is kept. `None` for anything but RTSP.
pub fn stream_address(uri: &str, reached: IpAddr) -> Option<String> {
    let parts = url::split(uri.trim()).ok()?;
    let scheme = parts.scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "rtsp" | "rtsps") {
        return None;
    }
    let host = match reached {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let port = parts.port.map_or(String::new(), |p| format!(":{p}"));
    Some(format!("{scheme}://{host}{port}{}", parts.path))
}

/// The best of several addresses: the one of this host, else one that can be routed, HTTP first.
fn best(list: &str, ip: IpAddr) -> Option<UrlParts<'_>> {
    list.split_whitespace()
        .filter_map(split)
        .filter(|p| matches!(p.scheme.to_ascii_lowercase().as_str(), "http" | "https"))
        .min_by_key(|p| {
            (
                !is_host(p, ip),
                !is_routable(p.host),
                !p.scheme.eq_ignore_ascii_case("http"),
            )
        })
}

/// An address in parts, also where the camera has left out the scheme, or all but the path: the path
/// is what it is taken for.
fn split(text: &str) -> Option<UrlParts<'_>> {
    if text.contains("://") {
        return url::split(text).ok();
    }
    let (host, path) = text.split_at(text.find('/')?);
    let bare = UrlParts {
        scheme: "http",
        userinfo: None,
        host: "",
        port: None,
        path,
    };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port.parse().ok()?)),
        _ => (host, None),
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    host.bytes()
        .all(is_name)
        .then_some(UrlParts { host, port, ..bare })
}

/// The port of an address by HTTP or HTTPS; by HTTPS alone if it has to be `secure`.
fn port(parts: &UrlParts<'_>, secure: bool) -> Option<u16> {
    if parts.scheme.eq_ignore_ascii_case("https") {
        return Some(parts.port.unwrap_or(443));
    }
    let plain = parts.scheme.eq_ignore_ascii_case("http") && !secure;
    plain.then(|| parts.port.unwrap_or(80))
}

fn is_host(parts: &UrlParts<'_>, ip: IpAddr) -> bool {
    parts.host.parse::<IpAddr>() == Ok(ip)
}

fn is_routable(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => !ip.is_link_local() && !ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => !ip.is_unicast_link_local() && !ip.is_unspecified(),
        Err(_) => true,
    }
}

/// A path that can go into a request line; `/` where there is none.
fn clean(path: &str) -> Option<String> {
    let path = path.split('#').next().unwrap_or_default();
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    Some(if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    })
}

fn dedup(places: Vec<ServiceAddress>) -> Vec<ServiceAddress> {
    let mut out: Vec<ServiceAddress> = Vec::with_capacity(places.len());
    for place in places {
        if !out.contains(&place) {
            out.push(place);
        }
    }
    out
}

/// The port and path of the first place that a discovery answer names for the host it came from.
pub fn discovered_place(xaddrs: &str, source: IpAddr) -> Option<ServiceAddress> {
    let parts = best(xaddrs, source)?;
    Some(ServiceAddress {
        port: port(&parts, false)?,
        path: clean(parts.path)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reached(port: u16) -> CameraAddress {
        CameraAddress::new(IpAddr::from([10, 0, 0, 9]), port)
    }

    fn text(places: &[ServiceAddress]) -> Vec<String> {
        places
            .iter()
            .map(|p| format!("{}{}", p.port, p.path))
            .collect()
    }

    #[test]
    fn services() {
        let at = |advertised| {
            text(&service_places(
                advertised,
                (&reached(8080), false),
                "/usual",
            ))
        };
        assert_eq!(at(None), ["8080/usual"]);
        assert_eq!(
            at(Some("http://192.168.1.88:8080/onvif/Media")),
            ["8080/onvif/Media", "8080/usual"],
            "another host: only its path"
        );
        assert_eq!(
            at(Some("http://10.0.0.9:6688/onvif/Media?a=1#x")),
            ["8080/onvif/Media?a=1", "6688/onvif/Media?a=1", "8080/usual"]
        );
        assert_eq!(
            at(Some(
                "http://169.254.1.2/a https://10.0.0.9/b http://10.0.0.9/c"
            )),
            ["8080/c", "80/c", "8080/usual"]
        );
        assert_eq!(
            at(Some("http://[fe80::1]/a http://[2001:db8::1]/b")),
            ["8080/b", "8080/usual"]
        );
        assert_eq!(at(Some("http://10.0.0.9:8080")), ["8080/", "8080/usual"]);
        assert_eq!(at(Some("SERVICE_URI")), ["8080/usual"]);
        // Without a scheme, or all but the path.
        for (advertised, places) in [
            ("/onvif/PTZ", vec!["8080/onvif/PTZ", "8080/usual"]),
            (
                "192.168.1.10/onvif/PTZ?a=b",
                vec!["8080/onvif/PTZ?a=b", "8080/usual"],
            ),
            (
                "10.0.0.9:6688/onvif/PTZ",
                vec!["8080/onvif/PTZ", "6688/onvif/PTZ", "8080/usual"],
            ),
            ("/a http://10.0.0.9:8080/b", vec!["8080/b", "8080/usual"]),
            ("camera.local:x/onvif", vec!["8080/usual"]),
            ("a b@c/d", vec!["8080/usual"]),
        ] {
            assert_eq!(at(Some(advertised)), places, "{advertised}");
        }
        assert_eq!(at(Some("ftp://10.0.0.9/x")), ["8080/usual"]);
        assert_eq!(
            at(Some("https://10.0.0.9/b")),
            ["8080/b", "443/b", "8080/usual"]
        );
        let by_tls = |advertised| text(&service_places(advertised, (&reached(443), true), "/u"));
        assert_eq!(
            by_tls(Some("http://10.0.0.9/a")),
            ["443/a", "443/u"],
            "not back to where everybody reads along"
        );
        assert_eq!(
            by_tls(Some("https://10.0.0.9:8443/a")),
            ["443/a", "8443/a", "443/u"]
        );
    }

    #[test]
    fn pictures() {
        let at = |uri| text(&picture_places(uri, (&reached(8000), false)));
        assert_eq!(
            at("http://10.0.0.9/cgi?a=1&b=2"),
            ["80/cgi?a=1&b=2", "8000/cgi?a=1&b=2"]
        );
        assert_eq!(at("http://1.2.3.4:81/x"), ["8000/x", "81/x"]);
        assert_eq!(
            at("/snap.jpg?a=1"),
            ["8000/snap.jpg?a=1", "80/snap.jpg?a=1"]
        );
        assert_eq!(at("1.2.3.4:81/x"), ["8000/x", "81/x"]);
        assert_eq!(at("https://10.0.0.9/x"), ["443/x", "8000/x"]);
        let by_tls = |uri| text(&picture_places(uri, (&reached(443), true)));
        assert_eq!(by_tls("http://10.0.0.9/x"), ["443/x"]);
        assert_eq!(by_tls("https://10.0.0.9:8443/x"), ["8443/x", "443/x"]);
        for none in ["rtsp://10.0.0.9/x", "x", "a@b/x", "", "http://h/é"] {
            assert!(
                picture_places(none, (&reached(80), false)).is_empty(),
                "{none}"
            );
        }
    }

    #[test]
    fn streams() {
        let at = |uri| stream_address(uri, IpAddr::from([10, 0, 0, 9]));
        assert_eq!(
            at("rtsp://a:b@192.168.1.88:555/S?x=1").as_deref(),
            Some("rtsp://10.0.0.9:555/S?x=1")
        );
        assert_eq!(at("http://10.0.0.9/"), None);
        assert_eq!(
            stream_address("rtsp://h/x", "::1".parse().unwrap()).as_deref(),
            Some("rtsp://[::1]/x")
        );
    }

    proptest! {
        #[test]
        fn paths_can_go_into_a_request_line(text in any::<String>()) {
            for list in [text.clone(), format!("http://10.0.0.9/{text}"), format!("http://{text}/a")] {
                let all = [service_places(Some(&list), (&reached(80), false), "/u"), picture_places(&list, (&reached(80), false))];
                for place in all.concat() {
                    prop_assert!(place.path.starts_with('/'));
                    prop_assert!(place.path.bytes().all(|b| b.is_ascii_graphic()));
                }
                let _ = stream_address(&list, IpAddr::from([1, 2, 3, 4]));
            }
        }
    }
}
