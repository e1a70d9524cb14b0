//! Answers of the movement service.

use std::time::Duration;

use super::super::clock::duration;
use crate::domain::camera::{Motion, Position};
use crate::infrastructure::xml::{Element, as_number};

/// The ways of moving that a camera lists: what is not in the list it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Spaces {
    /// Turns at a speed.
    pub continuous: bool,
    /// Turns to a place.
    pub absolute: bool,
    /// Turns by a distance.
    pub relative: bool,
    /// Zooms in any of these ways.
    pub zoom: bool,
}

impl Spaces {
    /// `None` where nothing at all is listed: then it says nothing.
    fn read(list: &Element) -> Option<Self> {
        let has = |names: &[&str]| names.iter().any(|n| list.child(n).is_some());
        let spaces = Self {
            continuous: has(&[
                "ContinuousPanTiltVelocitySpace",
                "ContinuousZoomVelocitySpace",
            ]),
            absolute: has(&["AbsolutePanTiltPositionSpace", "AbsoluteZoomPositionSpace"]),
            relative: has(&[
                "RelativePanTiltTranslationSpace",
                "RelativeZoomTranslationSpace",
            ]),
            zoom: has(&[
                "ContinuousZoomVelocitySpace",
                "AbsoluteZoomPositionSpace",
                "RelativeZoomTranslationSpace",
            ]),
        };
        (spaces != Self::default()).then_some(spaces)
    }
}

/// Something that moves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its token.
    pub token: String,
    /// Its ways of moving.
    pub spaces: Option<Spaces>,
    /// 0 = it has none.
    pub max_presets: Option<u32>,
    /// Tours of its own.
    pub max_tours: Option<u32>,
}

/// From `GetNodesResponse`.
pub fn nodes(content: &Element) -> Vec<Node> {
    content
        .children_of("PTZNode")
        .map(|node| {
            let number = |path: &[&str]| node.text_at(path).and_then(|t| t.parse().ok());
            Node {
                token: node.attribute("token").unwrap_or_default().to_owned(),
                spaces: node.child("SupportedPTZSpaces").and_then(Spaces::read),
                max_presets: number(&["MaximumNumberOfPresets"]),
                max_tours: number(&[
                    "Extension",
                    "SupportedPresetTour",
                    "MaximumNumberOfPresetTours",
                ]),
            }
        })
        .collect()
}

/// The ranges of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfigurationOptions {
    /// Its ways of moving.
    pub spaces: Option<Spaces>,
    /// The shortest and longest time that a move can be given; `None` where none can.
    pub timeout: Option<(Duration, Duration)>,
}

/// From `GetConfigurationOptionsResponse`.
pub fn configuration_options(content: &Element) -> ConfigurationOptions {
    let Some(options) = content.child("PTZConfigurationOptions") else {
        return ConfigurationOptions::default();
    };
    let bound = |name| options.text_at(&["PTZTimeout", name]).and_then(duration);
    ConfigurationOptions {
        spaces: options.child("Spaces").and_then(Spaces::read),
        timeout: match (bound("Min"), bound("Max")) {
            // 0 to 0 is how some say that they have none.
            (min, Some(max)) if max >= Duration::from_secs(1) => {
                Some((min.unwrap_or_default().min(max), max))
            }
            _ => None,
        },
    }
}

/// From `GetStatusResponse`.
pub fn motion(content: &Element) -> Motion {
    let Some(status) = content.child("PTZStatus") else {
        return Motion::default();
    };
    let told: Vec<&str> = ["PanTilt", "Zoom"]
        .iter()
        .filter_map(|axis| status.text_at(&["MoveStatus", axis]))
        .collect();
    let moving = if told.iter().any(|s| s.eq_ignore_ascii_case("MOVING")) {
        Some(true)
    } else if !told.is_empty() && told.iter().all(|s| s.eq_ignore_ascii_case("IDLE")) {
        Some(false)
    } else {
        None
    };
    let number = |axis: &str, of: &str| {
        status
            .at(&["Position", axis])
            .and_then(|e| e.attribute(of))
            .and_then(as_number)
    };
    let position = number("PanTilt", "x")
        .zip(number("PanTilt", "y"))
        .map(|(pan, tilt)| Position {
            pan,
            tilt,
            // A camera without a zoom has no place of it.
            zoom: number("Zoom", "x").unwrap_or(0.0),
        });
    Motion { moving, position }
}

/// A preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// Its key.
    pub token: String,
    /// May be missing, empty or there twice.
    pub name: Option<String>,
}

/// From `GetPresetsResponse`, and `GetPresetToursResponse` by another name. Those without a token
/// can't be gone to and are left out.
pub fn tokens(content: &Element, element: &str) -> Vec<Preset> {
    content
        .children_of(element)
        .filter_map(|preset| {
            Some(Preset {
                token: preset
                    .attribute("token")
                    .filter(|t| !t.is_empty())?
                    .to_owned(),
                name: preset.text_of("Name").map(str::to_owned),
            })
        })
        .collect()
}

/// The token in `SetPresetResponse`.
pub fn set_preset(content: &Element) -> Option<String> {
    content.text_of("PresetToken").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::content;
    use super::*;
    use crate::infrastructure::xml::parse;

    #[test]
    fn what_moves_and_how() {
        let list = nodes(&content("agsh-onvif/GetNodes.xml"));
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].max_presets, Some(360));
        assert_eq!(list[0].max_tours, None);
        let all = Spaces {
            continuous: true,
            absolute: true,
            relative: true,
            zoom: true,
        };
        assert_eq!(list[0].spaces, Some(all));
        let options = configuration_options(&content("agsh-onvif/GetConfigurationOptions.xml"));
        assert_eq!(options.spaces, Some(all));
        assert_eq!(
            options.timeout,
            Some((Duration::ZERO, Duration::from_secs(10)))
        );
        let zoom_only = parse(b"<r><PTZNode token='n'><SupportedPTZSpaces><ContinuousZoomVelocitySpace/></SupportedPTZSpaces></PTZNode><PTZNode><SupportedPTZSpaces/></PTZNode></r>").unwrap();
        let list = nodes(&zoom_only);
        assert_eq!(
            list[0].spaces.map(|s| (s.continuous, s.absolute, s.zoom)),
            Some((true, false, true))
        );
        assert_eq!(list[1].spaces, None);
    }

    #[test]
    fn times_that_a_move_can_be_given() {
        let read = |min: &str, max: &str| {
            let text = format!(
                "<r><PTZConfigurationOptions><PTZTimeout><Min>{min}</Min><Max>{max}</Max></PTZTimeout></PTZConfigurationOptions></r>"
            );
            configuration_options(&parse(text.as_bytes()).unwrap()).timeout
        };
        let secs = |a, b| Some((Duration::from_secs(a), Duration::from_secs(b)));
        assert_eq!(read("PT1S", "PT10S"), secs(1, 10));
        assert_eq!(read("PT0S", "PT0S"), None);
        assert_eq!(read("x", "PT00H01M00S"), secs(0, 60));
        assert_eq!(read("PT1S", "x"), None);
    }

    #[test]
    fn where_it_looks_and_whether_it_moves() {
        let motion_of = motion(&content("agsh-onvif/GetStatus.xml"));
        assert_eq!(motion_of.moving, Some(false));
        let position = motion_of.position.unwrap();
        assert!((position.pan + 0.864_665_985).abs() < 1e-9);
        assert!((position.zoom - 0.211_861_998).abs() < 1e-9);
        let read = |inside: &str| {
            let text = format!("<r><PTZStatus>{inside}</PTZStatus></r>");
            motion(&parse(text.as_bytes()).unwrap())
        };
        assert_eq!(
            read("<MoveStatus><PanTilt>MOVING</PanTilt><Zoom>IDLE</Zoom></MoveStatus>").moving,
            Some(true)
        );
        assert_eq!(
            read("<MoveStatus><PanTilt>UNKNOWN</PanTilt></MoveStatus>").moving,
            None
        );
        assert_eq!(read(""), Motion::default());
        let small = read("<Position><PanTilt y='5.9E-07' x='+1'/></Position>");
        assert!((small.position.unwrap().tilt - 5.9e-7).abs() < 1e-12);
        assert_eq!(
            read("<Position><PanTilt x='NaN' y='0'/></Position>").position,
            None
        );
    }

    #[test]
    fn presets_of_two_cameras() {
        let list = tokens(&content("ex-onvif/get_ptz_presets.xml"), "Preset");
        assert_eq!(list[0].token, "PresetToken001");
        assert_eq!(list[1].name.as_deref(), Some("Parking"));
        let list = tokens(&content("agsh-onvif/ptz.GetPresets.xml"), "Preset");
        assert!(list.len() > 3 && list.iter().all(|p| !p.token.is_empty()));
        let odd = parse(b"<r><Preset/><Preset token=''/><Preset token='000'><Name/></Preset></r>")
            .unwrap();
        assert_eq!(
            tokens(&odd, "Preset"),
            [Preset {
                token: "000".to_owned(),
                name: None
            }]
        );
        assert_eq!(
            set_preset(&content("agsh-onvif/ptz.SetPreset.xml")).as_deref(),
            Some("20")
        );
        assert_eq!(
            set_preset(&content("ex-onvif/set_ptz_preset.xml")).as_deref(),
            Some("PresetToken001")
        );
    }
}
