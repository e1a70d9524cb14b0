//! Where the main stream of each vendor's cameras usually is, and what vendors are called.

/// Names that mean one vendor's firmware, and the paths of its main stream, the usual one first.
/// XM's is left out: its path carries the password.
const TABLE: &[(&[&str], &[&str])] = &[
    (
        &[
            "HIKVISION",
            "HIK",
            "HILOOK",
            "HIWATCH",
            "LTS",
            "ANNKE",
            "TRENDNET",
            "EZVIZ",
        ],
        &[
            "/Streaming/Channels/101",
            "/h264/ch1/main/av_stream",
            "/ISAPI/Streaming/channels/101",
        ],
    ),
    (
        &["DAHUA", "AMCREST", "IMOU", "LOREX"],
        &["/cam/realmonitor?channel=1&subtype=0"],
    ),
    (&["AXIS"], &["/axis-media/media.amp"]),
    (&["UNIVIEW"], &["/media/video1", "/unicast/c1/s0/live"]),
    (&["REOLINK"], &["/Preview_01_main", "/h264Preview_01_main"]),
    (&["TAPO", "VIGI", "TP-LINK"], &["/stream1"]),
    (&["HANWHA", "SAMSUNG"], &["/profile2/media.smp"]),
    (&["FOSCAM"], &["/videoMain"]),
    (&["VIVOTEK"], &["/live.sdp"]),
    (&["BOSCH"], &["/rtsp_tunnel"]),
    (&["YOOSEE"], &["/onvif1"]),
    (&["TIANDY"], &["/1/1"]),
    (&["TVT"], &["/profile1"]),
    (&["MILESIGHT"], &["/main"]),
];

/// Paths of a vendor's main stream, the usual one first; empty for a vendor that is not known.
pub fn paths(vendor: &str) -> &'static [&'static str] {
    TABLE
        .iter()
        .find(|(names, _)| names.contains(&vendor))
        .map_or(&[], |(_, paths)| paths)
}

/// What a camera says of its manufacturer → the vendor's short name, in upper case: `Hangzhou
/// Hikvision Digital Technology` is HIKVISION. `None` for what names nobody.
pub fn vendor_of(manufacturer: &str) -> Option<String> {
    let upper = manufacturer.trim().to_uppercase();
    // XM's firmware names the codec here.
    if upper == "H264" || upper == "H265" {
        return Some("XM".to_owned());
    }
    let is_part = |c: char| !c.is_alphanumeric() && c != '-';
    let known = TABLE
        .iter()
        .flat_map(|(names, _)| names.iter())
        .find(|name| upper.split(is_part).any(|word| word == **name));
    if let Some(known) = known {
        return Some((*known).to_owned());
    }
    let plain = upper
        .chars()
        .any(char::is_alphanumeric)
        .then_some(upper)
        .filter(|name| name.len() <= 64 && name != "UNKNOWN");
    plain.filter(|name| !name.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manufacturers_are_vendors() {
        for (said, vendor) in [
            ("HIKVISION", Some("HIKVISION")),
            ("Hikvision", Some("HIKVISION")),
            (
                "Hangzhou Hikvision Digital Technology Co.,Ltd",
                Some("HIKVISION"),
            ),
            ("Dahua Technology", Some("DAHUA")),
            ("tp-link", Some("TP-LINK")),
            ("Hanwha Techwin", Some("HANWHA")),
            ("H264", Some("XM")),
            ("Acme Optics", Some("ACME OPTICS")),
            ("  ", None),
            ("unknown", None),
            ("--", None),
        ] {
            assert_eq!(vendor_of(said).as_deref(), vendor, "{said}");
        }
    }

    #[test]
    fn no_path_carries_a_login() {
        for (names, paths) in TABLE {
            for path in *paths {
                assert!(path.starts_with('/') && !path.contains("pass"), "{path}");
            }
            for name in *names {
                assert_eq!(*name, name.to_uppercase());
                assert_eq!(vendor_of(name).as_deref(), Some(*name));
            }
        }
        assert!(paths("XM").is_empty());
        assert_eq!(paths("HIKVISION")[0], "/Streaming/Channels/101");
    }
}
