//! Replies: documents read into values. Pure. What a camera leaves out stays `None`.

use crate::domain::camera::{
    AudioCapabilities, Position, PresetInfo, PtzCapabilities, StreamSettings, VideoCapabilities,
    is_function_preset,
};
use crate::infrastructure::http::camera::camera_words;
use crate::infrastructure::xml::{Element, as_bool, as_number};

/// Who the device is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceInfo {
    /// The name somebody gave it.
    pub device_name: Option<String>,
    /// Maker, where the camera tells.
    pub manufacturer: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial_number: Option<String>,
    /// `aa:bb:cc:dd:ee:ff`
    pub mac_address: Option<String>,
    /// Version and build.
    pub firmware: Option<String>,
    /// Hardware.
    pub hardware: Option<String>,
    /// `IPCamera`, `IPDome`, `NVR`, …
    pub device_type: Option<String>,
}

impl DeviceInfo {
    /// From a `DeviceInfo` document; `None` if it is something else.
    pub fn read(root: &Element) -> Option<Self> {
        if !root.name.eq_ignore_ascii_case("DeviceInfo") {
            return None;
        }
        let text = |name| root.text_of(name).map(camera_words);
        let firmware = match (
            root.text_of("firmwareVersion"),
            root.text_of("firmwareReleasedDate"),
        ) {
            (Some(version), Some(build)) => Some(camera_words(&format!("{version} {build}"))),
            (one, other) => one.or(other).map(camera_words),
        };
        Some(Self {
            device_name: text("deviceName"),
            manufacturer: text("manufacturer"),
            model: text("model"),
            serial_number: text("serialNumber"),
            mac_address: root.text_of("macAddress").map(str::to_ascii_lowercase),
            firmware,
            hardware: text("hardwareVersion"),
            device_type: text("deviceType"),
        })
    }

    /// Whether it is a recorder, whose channels may sit behind proxies.
    pub fn is_recorder(&self) -> bool {
        self.device_type
            .as_deref()
            .is_some_and(|t| t.to_ascii_uppercase().contains("VR"))
    }
}

/// What a channel's movement can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PtzChannel {
    /// As the domain has it.
    pub capabilities: PtzCapabilities,
    /// The presets that are functions; `None` where the camera lists none.
    pub function_presets: Option<Vec<u32>>,
}

impl PtzChannel {
    /// From `PTZChanelCap` (the vendor's spelling) or `PTZChannelCap`.
    pub fn read(root: &Element) -> Option<Self> {
        let name = root.name.to_ascii_lowercase();
        if !matches!(name.as_str(), "ptzchanelcap" | "ptzchannelcap") {
            return None;
        }
        // A missing element is not a no: there, but never Some(false).
        let there = |names: &[&str]| {
            names
                .iter()
                .any(|n| root.child(n).is_some())
                .then_some(true)
        };
        let count = |name: &str| {
            root.find(name)
                .and_then(|e| e.attribute("max").or(Some(e.text())))
                .and_then(|t| t.trim().parse::<u32>().ok())
        };
        let max_presets = count("maxPresetNum");
        let max_patrols = count("maxPatrolNum");
        let capabilities = PtzCapabilities {
            supported: Some(true),
            continuous_move: there(&["ContinuousPanTiltSpace", "ContinuousZoomSpace"]),
            absolute_move: there(&["AbsolutePanTiltPositionSpace", "AbsoluteZoomPositionSpace"]),
            relative_move: there(&["RelativePanTiltSpace", "RelativeZoomSpace"]),
            preset: max_presets.map(|n| n > 0),
            max_presets,
            patrol: max_patrols.map(|n| n > 0),
            max_patrols,
            zoom: there(&["ContinuousZoomSpace", "AbsoluteZoomPositionSpace"]),
            focus: None,
            iris: None,
        };
        let function_presets =
            root.find("specialNo")
                .and_then(|e| e.attribute("opt"))
                .map(|list| {
                    list.split(',')
                        .filter_map(|n| n.trim().parse().ok())
                        .collect()
                });
        Some(Self {
            capabilities,
            function_presets,
        })
    }
}

/// The presets of a `PTZPresetList`. `functions` = what the camera lists as such; else the usual
/// numbers.
pub fn presets(root: &Element, functions: Option<&[u32]>) -> Vec<PresetInfo> {
    root.find_all("PTZPreset")
        .into_iter()
        .filter_map(|preset| {
            let id = preset.text_of("id")?;
            let number = id.parse::<u32>().ok();
            Some(PresetInfo {
                id: id.to_owned(),
                name: preset.text_of("presetName").map(str::to_owned),
                // Missing means enabled.
                enabled: preset.text_of("enabled").and_then(as_bool).unwrap_or(true),
                function: number.is_some_and(|n| match functions {
                    Some(list) => list.contains(&n),
                    None => is_function_preset(n),
                }),
            })
        })
        .collect()
}

/// Where a channel looks, from `PTZStatus` (tenths) or `PTZAbsoluteEx` (degrees).
pub fn position(root: &Element) -> Option<Position> {
    let number = |name: &str| root.find(name).and_then(|e| as_number(e.text()));
    Some(Position {
        pan: number("azimuth")?,
        tilt: number("elevation")?,
        zoom: number("absoluteZoom")?,
    })
}

/// The port of RTSP, from an `AdminAccessProtocolList`.
pub fn rtsp_port(root: &Element) -> Option<u16> {
    root.find_all("AdminAccessProtocol")
        .into_iter()
        .find(|entry| {
            entry
                .text_of("protocol")
                .is_some_and(|name| name.eq_ignore_ascii_case("RTSP"))
        })
        .and_then(|entry| entry.text_of("portNo"))
        .and_then(|port| port.parse().ok())
        .filter(|port| *port != 0)
}

/// How a stream is set, from its `StreamingChannel`.
pub fn stream_settings(root: &Element) -> StreamSettings {
    let video = root.find("Video");
    let text = |name: &str| video.and_then(|v| v.find(name)).map(Element::text);
    StreamSettings {
        rtsp_port: root
            .find("rtspPortNo")
            .and_then(|port| port.text().parse().ok())
            .filter(|port| *port > 0),
        keyframe_interval: text("GovLength").and_then(|n| n.parse().ok()),
        // In hundredths; 0 stands for "all".
        fps: text("maxFrameRate")
            .and_then(as_number)
            .filter(|rate| *rate > 0.0)
            .map(|rate| rate / 100.0),
        smart_codec: video
            .and_then(|v| v.find("SmartCodec"))
            .and_then(|codec| codec.text_of("enabled"))
            .and_then(as_bool),
    }
}

/// What a stream is set to, or can be set to: a `StreamingChannel`, whose fields carry their
/// choices in `opt` in the capabilities document.
pub fn stream(root: &Element) -> (VideoCapabilities, AudioCapabilities) {
    let video = root.find("Video");
    let choices = |from: Option<&Element>, name: &str| -> Option<Vec<String>> {
        let field = from?.find(name)?;
        let list = field
            .attribute("opt")
            .filter(|o| !o.is_empty())
            .unwrap_or(field.text());
        let items: Vec<String> = list
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect();
        (!items.is_empty()).then_some(items)
    };
    let codecs = choices(video, "videoCodecType").map(|list| {
        let mut names: Vec<String> = list.iter().map(|c| c.replace('.', "")).collect();
        names.dedup();
        names
    });
    let sizes = match (
        choices(video, "videoResolutionWidth"),
        choices(video, "videoResolutionHeight"),
    ) {
        // Lists of equal length are pairs; anything else can't be paired.
        (Some(widths), Some(heights)) if widths.len() == heights.len() => {
            let mut pairs: Vec<(u32, u32)> = widths
                .iter()
                .zip(&heights)
                .filter_map(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)))
                .collect();
            pairs.sort_by_key(|(w, h)| std::cmp::Reverse(u64::from(*w) * u64::from(*h)));
            pairs.dedup();
            Some(pairs.iter().map(|(w, h)| format!("{w}x{h}")).collect())
        }
        _ => None,
    };
    let max_fps = choices(video, "maxFrameRate").and_then(|rates| {
        rates
            .iter()
            .filter_map(|r| as_number(r))
            // In hundredths; 0 stands for "all".
            .filter(|r| *r > 0.0)
            .map(|r| r / 100.0)
            .max_by(f64::total_cmp)
    });
    let audio = root.find("Audio");
    let audio = AudioCapabilities {
        // That sound can be switched on is what having it means; that it is off says nothing.
        supported: audio.map(|_| true),
        codecs: choices(audio, "audioCompressionType"),
    };
    (
        VideoCapabilities {
            codecs,
            resolutions: sizes,
            max_fps,
        },
        audio,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::xml::parse;
    use proptest::prelude::*;

    fn fixture(name: &str) -> Element {
        let path = format!(
            "{}/tests/fixtures/cameras/pyro-engine/hikvision/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        parse(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn the_port_of_rtsp() {
        let list = |entries: &str| {
            let text = format!("<AdminAccessProtocolList>{entries}</AdminAccessProtocolList>");
            rtsp_port(&parse(text.as_bytes()).unwrap())
        };
        let http = "<AdminAccessProtocol><protocol>HTTP</protocol><portNo>80</portNo></AdminAccessProtocol>";
        let rtsp = |port: &str| {
            format!(
                "<AdminAccessProtocol><id>4</id><protocol>rtsp</protocol><portNo>{port}</portNo></AdminAccessProtocol>"
            )
        };
        assert_eq!(list(&format!("{http}{}", rtsp("1554"))), Some(1554));
        for none in [http, &rtsp("0"), &rtsp("70000"), &rtsp(""), ""] {
            assert_eq!(list(none), None, "{none}");
        }
    }

    #[test]
    fn presets_of_a_dome() {
        let caps = PtzChannel::read(&fixture("ptz_capabilities_excerpt.xml")).unwrap();
        let functions = caps.function_presets.clone().unwrap();
        assert_eq!(functions.len(), 31);
        assert!(functions.contains(&94));
        let list = presets(&fixture("presets.xml"), Some(&functions));
        assert_eq!(list[0].id, "1");
        assert_eq!(list[0].name.as_deref(), Some("nord"));
        assert!(list[0].enabled && !list[0].function);
        let reboot = list.iter().find(|p| p.id == "94").unwrap();
        assert!(reboot.function);
        let by_table = presets(&fixture("presets.xml"), None);
        assert_eq!(by_table, list, "the usual numbers are this dome's");
    }

    #[test]
    fn capabilities_say_nothing_they_were_not_told() {
        let caps = PtzChannel::read(&fixture("ptz_capabilities_excerpt.xml")).unwrap();
        let expected = PtzCapabilities {
            supported: Some(true),
            continuous_move: Some(true),
            absolute_move: Some(true),
            zoom: Some(true),
            ..PtzCapabilities::default()
        };
        assert_eq!(caps.capabilities, expected);
        let told = parse(b"<PTZChannelCap><maxPresetNum>300</maxPresetNum><maxPatrolNum max=\"8\"/><RelativePanTiltSpace/></PTZChannelCap>").unwrap();
        let caps = PtzChannel::read(&told).unwrap().capabilities;
        assert_eq!((caps.preset, caps.max_presets), (Some(true), Some(300)));
        assert_eq!((caps.patrol, caps.max_patrols), (Some(true), Some(8)));
        assert_eq!(caps.relative_move, Some(true));
        assert_eq!(PtzChannel::read(&parse(b"<x/>").unwrap()), None);
    }

    #[test]
    fn positions() {
        let ex = position(&fixture("absolute_ex.xml")).unwrap();
        assert!((ex.pan - 214.21).abs() < 1e-9 && (ex.tilt - 8.09).abs() < 1e-9);
        let status = parse(b"<PTZStatus><AbsoluteHigh><elevation>-6</elevation><azimuth>470</azimuth><absoluteZoom>10</absoluteZoom></AbsoluteHigh></PTZStatus>").unwrap();
        assert_eq!(
            position(&status),
            Some(Position {
                pan: 470.0,
                tilt: -6.0,
                zoom: 10.0
            })
        );
        assert_eq!(position(&parse(b"<PTZStatus/>").unwrap()), None);
    }

    #[test]
    fn device_information() {
        let root = parse(b"<DeviceInfo version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\n<deviceName>IP DOME</deviceName><model>DS-2DF7276</model><serialNumber>DS-2DF727620130101</serialNumber><macAddress>44:19:B6:01:02:03</macAddress><firmwareVersion>V5.8.1</firmwareVersion><firmwareReleasedDate>build 240929</firmwareReleasedDate><deviceType>IPDome</deviceType><hardwareVersion>0x0</hardwareVersion></DeviceInfo>").unwrap();
        let info = DeviceInfo::read(&root).unwrap();
        assert_eq!(info.firmware.as_deref(), Some("V5.8.1 build 240929"));
        assert_eq!(info.mac_address.as_deref(), Some("44:19:b6:01:02:03"));
        assert_eq!(info.manufacturer, None);
        assert!(!info.is_recorder());
        let nvr = DeviceInfo::read(
            &parse(b"<DeviceInfo><deviceType>NVR</deviceType></DeviceInfo>").unwrap(),
        );
        assert!(nvr.unwrap().is_recorder());
        assert_eq!(DeviceInfo::read(&parse(b"<userCheck/>").unwrap()), None);
    }

    #[test]
    fn how_a_stream_is_set() {
        let root = parse(b"<StreamingChannel><id>101</id><Transport><rtspPortNo>8554</rtspPortNo></Transport><Video><maxFrameRate>2500</maxFrameRate><GovLength>50</GovLength><SmartCodec><enabled>true</enabled></SmartCodec></Video></StreamingChannel>").unwrap();
        assert_eq!(
            stream_settings(&root),
            StreamSettings {
                rtsp_port: Some(8554),
                keyframe_interval: Some(50),
                fps: Some(25.0),
                smart_codec: Some(true),
            }
        );
        let none = parse(
            b"<StreamingChannel><Video><maxFrameRate>0</maxFrameRate></Video></StreamingChannel>",
        );
        assert_eq!(stream_settings(&none.unwrap()), StreamSettings::default());
    }

    #[test]
    fn streams() {
        let root = parse(b"<StreamingChannel><id>101</id><Video><videoCodecType opt=\"H.264,H.265\">H.265</videoCodecType><videoResolutionWidth opt=\"1280,3840,1920\">3840</videoResolutionWidth><videoResolutionHeight opt=\"720,2160,1080\">2160</videoResolutionHeight><maxFrameRate opt=\"2500,2000,0\">2000</maxFrameRate></Video><Audio><enabled>false</enabled><audioCompressionType opt=\"G.711ulaw,AAC\">AAC</audioCompressionType></Audio></StreamingChannel>").unwrap();
        let (video, audio) = stream(&root);
        assert_eq!(video.codecs.unwrap(), ["H264", "H265"]);
        assert_eq!(
            video.resolutions.unwrap(),
            ["3840x2160", "1920x1080", "1280x720"]
        );
        assert_eq!(video.max_fps, Some(25.0));
        assert_eq!(audio.supported, Some(true));
        assert_eq!(audio.codecs.unwrap(), ["G.711ulaw", "AAC"]);
        let (video, audio) = stream(&parse(b"<StreamingChannel/>").unwrap());
        assert_eq!(video, VideoCapabilities::default());
        assert_eq!(audio, AudioCapabilities::default());
    }

    proptest! {
        #[test]
        fn any_document_makes_no_panic(text in "(<(PTZPreset|id|Video|azimuth|maxFrameRate|specialNo opt='[0-9,]{0,9}')>[0-9a-z.,-]{0,12}</(PTZPreset|id|Video|azimuth|maxFrameRate|specialNo)>){0,6}") {
            if let Ok(root) = parse(format!("<PTZChanelCap>{text}</PTZChanelCap>").as_bytes()) {
                let _ = (presets(&root, None), position(&root), stream(&root), PtzChannel::read(&root));
            }
        }
    }
}
