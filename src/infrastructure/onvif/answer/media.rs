//! Answers of both media services.

use std::time::Duration;

use super::super::clock::duration;
use super::super::request::Service;
use crate::infrastructure::xml::{Element, as_number};

/// A profile: what belongs together of one picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    /// Its token, opaque.
    pub token: String,
    /// The video source: what tells a recorder's channels apart.
    pub source: Option<String>,
    /// Its movement, if it has any.
    pub ptz: Option<PtzConfiguration>,
    /// `H264`, `H265`, `JPEG`, …
    pub video_codec: Option<String>,
    /// Pixels.
    pub resolution: Option<(u32, u32)>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// From one keyframe to the next, in frames.
    pub keyframe_interval: Option<u32>,
    /// `G711`, `AAC`, …
    pub audio_codec: Option<String>,
}

/// A profile's movement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PtzConfiguration {
    /// Its token.
    pub token: Option<String>,
    /// What moves.
    pub node: Option<String>,
    /// After which a move without a time of its own ends.
    pub default_timeout: Option<Duration>,
}

/// From `GetProfilesResponse` of either service. Profiles without a token are left out.
pub fn profiles(content: &Element, service: Service) -> Vec<Profile> {
    content
        .children_of("Profiles")
        .filter_map(|profile| {
            // In the second version, everything is a level deeper under shorter names.
            let part = |old: &str, new: &str| {
                if service == Service::Media2 {
                    profile.at(&["Configurations", new])
                } else {
                    profile.child(old)
                }
            };
            let video = part("VideoEncoderConfiguration", "VideoEncoder");
            let text = |from: Option<&Element>, name: &str| {
                from.and_then(|e| e.text_of(name)).map(str::to_owned)
            };
            Some(Profile {
                token: profile
                    .attribute("token")
                    .filter(|t| !t.is_empty())?
                    .to_owned(),
                source: text(
                    part("VideoSourceConfiguration", "VideoSource"),
                    "SourceToken",
                ),
                ptz: part("PTZConfiguration", "PTZ").map(|ptz| PtzConfiguration {
                    token: ptz.attribute("token").map(str::to_owned),
                    node: ptz.text_of("NodeToken").map(str::to_owned),
                    default_timeout: ptz.text_of("DefaultPTZTimeout").and_then(duration),
                }),
                video_codec: text(video, "Encoding"),
                resolution: video.and_then(|v| v.child("Resolution")).and_then(size),
                frame_rate: video
                    .and_then(|v| v.text_at(&["RateControl", "FrameRateLimit"]))
                    .and_then(as_number),
                // An attribute in the second version.
                keyframe_interval: video
                    .and_then(|v| {
                        v.attribute("GovLength")
                            .or_else(|| v.find("GovLength").map(Element::text))
                    })
                    .and_then(|n| n.parse().ok()),
                audio_codec: text(
                    part("AudioEncoderConfiguration", "AudioEncoder"),
                    "Encoding",
                ),
            })
        })
        .collect()
}

fn size(element: &Element) -> Option<(u32, u32)> {
    let number = |name| element.text_of(name).and_then(|t| t.parse().ok());
    Some((number("Width")?, number("Height")?))
}

/// The video sources of these profiles, in the order in which they turn up. Profiles without one
/// (of sound, of metadata) are no channels.
pub fn sources(profiles: &[Profile]) -> Vec<String> {
    let mut sources: Vec<String> = Vec::new();
    for source in profiles.iter().filter_map(|p| p.source.as_ref()) {
        if !sources.contains(source) {
            sources.push(source.clone());
        }
    }
    sources
}

/// The video sources that `GetVideoSourcesResponse` lists.
pub fn video_sources(content: &Element) -> Vec<String> {
    content
        .children_of("VideoSources")
        .filter_map(|source| source.attribute("token"))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The profile that moves channel `channel` (from 1): of that channel's profiles the first with
/// a movement, else the first. Channels are video sources, in the order `sources`; where no profile
/// names any, all are of the first.
pub fn choose<'a>(
    profiles: &'a [Profile],
    sources: &[String],
    channel: u16,
) -> Option<&'a Profile> {
    let at = usize::from(channel.checked_sub(1)?);
    let wanted = match (sources.get(at), sources.is_empty() && at == 0) {
        (Some(source), _) => Some(source),
        (None, true) => None,
        (None, false) => return None,
    };
    let of_channel = || profiles.iter().filter(|p| p.source.as_ref() == wanted);
    of_channel()
        .find(|p| p.ptz.is_some())
        // A camera with two lenses may have its one movement on the second. A recorder may not:
        // that would turn another camera.
        .or_else(|| {
            profiles
                .iter()
                .find(|p| p.ptz.is_some() && (p.source.is_some() || sources.is_empty()))
                .filter(|_| channel == 1 && sources.len() <= 2)
        })
        .or_else(|| of_channel().next())
}

/// The address in `GetStreamUriResponse` or `GetSnapshotUriResponse` of either service.
pub fn uri(content: &Element) -> Option<String> {
    content
        .find("Uri")
        .map(Element::text)
        .filter(|u| !u.is_empty())
        .map(str::to_owned)
}

/// What video can be set to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoOptions {
    /// In the camera's order.
    pub codecs: Vec<String>,
    /// The largest first.
    pub resolutions: Vec<(u32, u32)>,
    /// Frames per second.
    pub max_fps: Option<f64>,
}

/// From `GetVideoEncoderConfigurationOptionsResponse` of either service.
pub fn video_options(content: &Element, service: Service) -> VideoOptions {
    let mut options = VideoOptions::default();
    let mut add = |codec: &str, of: &Element| {
        if !options.codecs.iter().any(|c| c == codec) {
            options.codecs.push(codec.to_owned());
        }
        options
            .resolutions
            .extend(of.children_of("ResolutionsAvailable").filter_map(size));
        // A range, or in the second version a list.
        let listed = of.attribute("FrameRatesSupported").unwrap_or_default();
        let rates = of
            .text_at(&["FrameRateRange", "Max"])
            .into_iter()
            .chain(listed.split_whitespace())
            .filter_map(as_number)
            .filter(|r| *r > 0.0);
        options.max_fps = rates.chain(options.max_fps).max_by(f64::total_cmp);
    };
    for of in content.children_of("Options") {
        if service == Service::Media2 {
            add(of.text_of("Encoding").unwrap_or("unknown"), of);
            continue;
        }
        for codec in ["H264", "H265", "MPEG4", "JPEG"] {
            if let Some(of) = of.child(codec) {
                add(codec, of);
            }
            // Repeated with more detail, and the only place for what came later.
            if let Some(of) = of.at(&["Extension", codec]) {
                add(codec, of);
            }
        }
    }
    options
        .resolutions
        .sort_by_key(|(w, h)| std::cmp::Reverse((u64::from(*w) * u64::from(*h), *w)));
    options.resolutions.dedup();
    options
}

#[cfg(test)]
mod tests {
    use super::super::content;
    use super::*;
    use crate::infrastructure::xml::parse;

    #[test]
    fn profiles_of_three_cameras() {
        let list = profiles(
            &content("onvif-nvt/hikvision-fixed/media/GetProfiles.Response.xml"),
            Service::Media,
        );
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].token, "Profile_1");
        assert_eq!(list[0].source.as_deref(), Some("VideoSource_1"));
        assert_eq!(list[0].video_codec.as_deref(), Some("H264"));
        assert_eq!(list[0].resolution, Some((1280, 720)));
        assert_eq!(list[0].frame_rate, Some(10.0));
        assert_eq!(list[0].keyframe_interval, Some(2));
        assert_eq!(list[0].ptz, None);
        let list = profiles(&content("agsh-onvif/GetProfiles.xml"), Service::Media);
        let ptz = choose(&list, &sources(&list), 1)
            .unwrap()
            .ptz
            .clone()
            .unwrap();
        assert_eq!(ptz.token.as_deref(), Some("default"));
        assert_eq!(
            ptz.default_timeout,
            Some(Duration::from_secs_f64(1_093_754.348))
        );
        let list = profiles(
            &content("onvif-nvt/trendnet/media/GetProfiles.Response.xml"),
            Service::Media,
        );
        assert!(!list.is_empty());
    }

    #[test]
    fn profiles_of_the_second_version_and_broken_ones() {
        let root = parse(b"<r><Profiles token='p 1'><Configurations><VideoSource token='c'><SourceToken>s</SourceToken></VideoSource><VideoEncoder token='v'><Encoding>H265</Encoding></VideoEncoder><PTZ token='z'><NodeToken>n</NodeToken></PTZ></Configurations></Profiles><Profiles><Name>no token</Name></Profiles><Profiles token='2'><VideoEncoderConfiguration/></Profiles></r>").unwrap();
        let list = profiles(&root, Service::Media2);
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].token, "p 1");
        assert_eq!(list[0].source.as_deref(), Some("s"));
        assert_eq!(list[0].video_codec.as_deref(), Some("H265"));
        assert_eq!(list[0].ptz.as_ref().unwrap().token.as_deref(), Some("z"));
        assert_eq!(profiles(&root, Service::Media)[1].video_codec, None);
    }

    fn profile(token: &str, source: &str, moves: bool) -> Profile {
        Profile {
            token: token.to_owned(),
            source: Some(source.to_owned()),
            ptz: moves.then(PtzConfiguration::default),
            ..Profile::default()
        }
    }

    #[test]
    fn which_profile_moves() {
        let pick = |list: &[Profile], channel| {
            choose(list, &sources(list), channel).map(|p| p.token.clone())
        };
        let second = [profile("a", "1", false), profile("b", "1", true)];
        assert_eq!(pick(&second, 1).as_deref(), Some("b"));
        let none = [profile("a", "1", false), profile("b", "1", false)];
        assert_eq!(pick(&none, 1).as_deref(), Some("a"));
        let two_lenses = [profile("a", "1", false), profile("b", "2", true)];
        assert_eq!(pick(&two_lenses, 1).as_deref(), Some("b"));
        let recorder = [
            profile("a", "1", false),
            profile("b", "2", true),
            profile("c", "3", true),
        ];
        assert_eq!(
            pick(&recorder, 1).as_deref(),
            Some("a"),
            "not another camera"
        );
        assert_eq!(pick(&recorder, 3).as_deref(), Some("c"));
        assert_eq!(pick(&recorder, 4), None);
        assert_eq!(pick(&recorder, 0), None);
        assert_eq!(pick(&[], 1), None);
    }

    #[test]
    fn channels_are_video_sources_in_the_camera_s_order() {
        let none = |token: &str, moves: bool| Profile {
            source: None,
            ..profile(token, "", moves)
        };
        let list = [
            none("sound", false),
            profile("b1", "2", true),
            none("metadata", true),
            profile("a1", "1", false),
            profile("a2", "1", true),
            profile("c1", "3", false),
        ];
        assert_eq!(sources(&list), ["2", "1", "3"]);
        let told = parse(b"<r><VideoSources token='1'/><VideoSources token='2'/><VideoSources/><VideoSources token='unused'/><VideoSources token='3'/></r>").unwrap();
        let told = video_sources(&told);
        assert_eq!(told, ["1", "2", "unused", "3"]);
        let pick =
            |order: &[String], channel| choose(&list, order, channel).map(|p| p.token.as_str());
        for (order, tokens) in [
            (sources(&list), [Some("b1"), Some("a2"), Some("c1"), None]),
            (told, [Some("a2"), Some("b1"), None, Some("c1")]),
        ] {
            for (channel, token) in (1..).zip(tokens) {
                assert_eq!(pick(&order, channel), token, "{order:?} {channel}");
            }
        }
        // Where no profile says where its picture is from, they are all of the first channel.
        let plain = [none("a", false), none("b", true)];
        assert_eq!(choose(&plain, &[], 1).unwrap().token, "b");
        assert_eq!(choose(&plain, &[], 2), None);
    }

    #[test]
    fn uris() {
        assert_eq!(
            uri(&content(
                "onvif-nvt/trendnet/media/GetStreamUri.Response.xml"
            ))
            .as_deref(),
            Some(
                "rtsp://10.10.1.67:554/Streaming/Channels/102?transportmode=unicast&profile=Profile_2"
            )
        );
        assert!(
            uri(&content(
                "onvif-nvt/hikvision-fixed/media/GetSnapshotUri.Response.xml"
            ))
            .unwrap()
            .starts_with("http://10.10.1.65/")
        );
        assert_eq!(uri(&parse(b"<r><Uri/></r>").unwrap()), None);
    }

    #[test]
    fn what_video_can_be() {
        let options = video_options(
            &content("elixir-onvif/get_video_encoder_configuration_options_response.xml"),
            Service::Media,
        );
        assert_eq!(options.codecs, ["H264", "JPEG"]);
        assert_eq!(options.resolutions, [(704, 576), (640, 480), (352, 288)]);
        assert_eq!(options.max_fps, Some(25.0));
        let second = parse(b"<r><Options FrameRatesSupported='30 25 5'><Encoding>H265</Encoding><ResolutionsAvailable><Width>3840</Width><Height>2160</Height></ResolutionsAvailable></Options></r>").unwrap();
        let options = video_options(&second, Service::Media2);
        assert_eq!(options.codecs, ["H265"]);
        assert_eq!(options.max_fps, Some(30.0));
    }
}
