//! What vendors of cameras are called, and where their main stream usually is. Data; the rules
//! around it are a few lines.

use super::camera::fit::StreamName;

/// Names that mean one vendor's firmware, and the paths of its main stream, the usual one first.
///
/// `{n}` = the channel, `{nn}` = in two digits, `{id}` = the main stream's number as Hikvision
/// counts. A path without either is a camera's only channel. XM's is left out: it carries the
/// password.
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
        ],
        &[
            "/Streaming/Channels/{id}",
            "/h264/ch{n}/main/av_stream",
            "/ISAPI/Streaming/channels/{id}",
        ],
    ),
    (
        &["DAHUA", "AMCREST", "IMOU", "LOREX"],
        &["/cam/realmonitor?channel={n}&subtype=0"],
    ),
    (&["AXIS"], &["/axis-media/media.amp"]),
    (
        &["UNIVIEW", "UNV"],
        &["/media/video1", "/unicast/c{n}/s0/live"],
    ),
    (
        &["REOLINK"],
        &["/Preview_{nn}_main", "/h264Preview_{nn}_main"],
    ),
    (&["TP-LINK", "TAPO", "VIGI"], &["/stream1"]),
    (&["HANWHA", "SAMSUNG"], &["/profile2/media.smp"]),
    (&["FOSCAM"], &["/videoMain"]),
    (&["VIVOTEK"], &["/live.sdp"]),
    (&["BOSCH"], &["/rtsp_tunnel"]),
    (&["YOOSEE"], &["/onvif1"]),
    (&["TIANDY"], &["/1/1"]),
    (&["TVT"], &["/profile1"]),
    (&["MILESIGHT"], &["/main"]),
    (&["EZVIZ"], &[]),
    (&["XM", "XIONGMAI", "NETSURVEILLANCE"], &[]),
];

/// Every path at which a vendor's main stream may be, the usual one first. `vendor` in any case;
/// `channel` from 1. Empty for a vendor that is not known, or a channel that it can't have.
pub fn rtsp_paths(vendor: &str, channel: u16) -> Vec<String> {
    if channel == 0 {
        return Vec::new();
    }
    let templates = TABLE
        .iter()
        .find(|(names, _)| names.iter().any(|n| n.eq_ignore_ascii_case(vendor)))
        .map_or(&[][..], |(_, templates)| templates);
    templates
        .iter()
        .filter(|t| channel == 1 || t.contains('{'))
        .map(|t| {
            t.replace("{nn}", &format!("{channel:02}"))
                .replace("{id}", &(u32::from(channel) * 100 + 1).to_string())
                .replace("{n}", &channel.to_string())
        })
        .collect()
}

/// Which stream the path of an RTSP URL is likely to be: the sub stream where a vendor's spelling says
/// so, else the main one.
pub fn stream_of(path: &str) -> StreamName {
    let path = path.to_ascii_lowercase();
    let sub = if let Some((_, rest)) = path.split_once("/streaming/") {
        // Channel and stream: 102, 202; in the old spelling one digit is the channel.
        let digits: String = rest
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.len() > 2 && !digits.ends_with("01")
    } else {
        path.split(['?', '&'])
            .any(|part| part.strip_prefix("subtype=").is_some_and(|n| n != "0"))
    };
    if sub {
        StreamName::Sub
    } else {
        StreamName::Main
    }
}

/// The usual path of a vendor's main stream.
pub fn rtsp_path(vendor: &str, channel: u16) -> Option<String> {
    rtsp_paths(vendor, channel).into_iter().next()
}

/// The vendor whose name stands in a text as a word of its own: `Hangzhou Hikvision Digital
/// Technology` names HIKVISION, `XMAS` names nobody. The first one wins.
pub fn named_in(text: &str) -> Option<&'static str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '-')
        .find_map(|word| {
            TABLE
                .iter()
                .flat_map(|(names, _)| names.iter().copied())
                .find(|name| name.eq_ignore_ascii_case(word))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_stream_it_is() {
        for (path, sub) in [
            ("/Streaming/Channels/101", false),
            ("/Streaming/Channels/102?transportmode=unicast", true),
            ("/streaming/tracks/1601", false),
            ("/Streaming/Channels/2", false),
            ("/cam/realmonitor?channel=1&subtype=0", false),
            ("/cam/realmonitor?channel=1&subtype=1", true),
            ("/live", false),
            ("", false),
        ] {
            let is = stream_of(path) == StreamName::Sub;
            assert_eq!(is, sub, "{path}");
        }
    }

    #[test]
    fn main_streams_by_channel() {
        for (vendor, channel, path) in [
            ("HIKVISION", 1, Some("/Streaming/Channels/101")),
            ("hik", 12, Some("/Streaming/Channels/1201")),
            ("HIKVISION", u16::MAX, Some("/Streaming/Channels/6553501")),
            ("Dahua", 3, Some("/cam/realmonitor?channel=3&subtype=0")),
            ("AXIS", 1, Some("/axis-media/media.amp")),
            ("AXIS", 2, None),
            ("UNIVIEW", 1, Some("/media/video1")),
            ("UNIVIEW", 2, Some("/unicast/c2/s0/live")),
            ("REOLINK", 2, Some("/Preview_02_main")),
            ("TAPO", 1, Some("/stream1")),
            ("HIKVISION", 0, None),
            ("XM", 1, None),
            ("ACME", 1, None),
            ("", 1, None),
        ] {
            assert_eq!(
                rtsp_path(vendor, channel).as_deref(),
                path,
                "{vendor} {channel}"
            );
        }
        assert_eq!(rtsp_paths("LTS", 2).len(), 3);
    }

    #[test]
    fn the_table_is_sound() {
        let mut seen = std::collections::BTreeSet::new();
        for (names, templates) in TABLE {
            for name in *names {
                assert_eq!(*name, name.to_uppercase());
                assert!(seen.insert(*name), "{name} twice");
                assert_eq!(named_in(name), Some(*name));
            }
            for template in *templates {
                assert!(template.starts_with('/'), "{template}");
                assert!(!template.contains("pass") && !template.contains('@'));
                assert!(
                    !rtsp_paths(names[0], 1)
                        .iter()
                        .any(|p| p.contains(['{', '}']))
                );
            }
        }
    }

    #[test]
    fn names_in_texts() {
        for (text, vendor) in [
            ("HIKVISION DS-2CD2012-I", Some("HIKVISION")),
            (
                "Hangzhou Hikvision Digital Technology Co.,Ltd",
                Some("HIKVISION"),
            ),
            ("tp-link", Some("TP-LINK")),
            ("AXIS_ACCC8E012345", Some("AXIS")),
            ("NETSurveillance WEB", Some("NETSURVEILLANCE")),
            ("XMAS lights", None),
            ("IP Camera", None),
            ("", None),
        ] {
            assert_eq!(named_in(text), vendor, "{text}");
        }
    }
}
