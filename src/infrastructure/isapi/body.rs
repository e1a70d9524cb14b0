//! Requests: paths and bodies. Pure.

use std::time::Duration;

use crate::domain::ptz::Velocity;
use crate::infrastructure::http::camera_client::Resend;
use crate::infrastructure::xml::XmlWriter;

/// Most bytes of a preset's name.
const MAX_NAME: usize = 32;

/// Where a channel's movement is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PtzTree {
    /// Cameras, and some recorders.
    Direct,
    /// Network channels of other recorders.
    Proxy,
}

impl PtzTree {
    /// The path of one channel.
    pub fn channel(self, channel: u16) -> String {
        match self {
            Self::Direct => format!("/ISAPI/PTZCtrl/channels/{channel}"),
            Self::Proxy => format!("/ISAPI/ContentMgmt/PTZCtrlProxy/channels/{channel}"),
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Method.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// XML; empty for a PUT without content, `None` where the method has none.
    pub body: Option<Vec<u8>>,
    /// Whether it may be sent again.
    pub resend: Resend,
}

impl Call {
    /// Reads.
    pub fn get(target: impl Into<String>) -> Self {
        Self {
            method: "GET",
            target: target.into(),
            body: None,
            resend: Resend::Always,
        }
    }

    fn put(target: String, body: Vec<u8>, resend: Resend) -> Self {
        Self {
            method: "PUT",
            target,
            body: Some(body),
            resend,
        }
    }
}

fn velocity_fields(w: &mut XmlWriter, velocity: Velocity) {
    // All three, always: an axis left out is not touched, so a stop without zoom would leave
    // the lens running.
    w.leaf("pan", &percent(velocity.pan));
    w.leaf("tilt", &percent(velocity.tilt));
    w.leaf("zoom", &percent(velocity.zoom));
}

/// What is out of range is refused by the camera: never sent.
fn percent(speed: i8) -> String {
    speed.clamp(-100, 100).to_string()
}

fn stands_still(velocity: Velocity) -> bool {
    (velocity.pan, velocity.tilt, velocity.zoom) == (0, 0, 0)
}

/// The motors of a lens besides the zoom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lens {
    /// − near, + far.
    Focus,
    /// − closed, + open.
    Iris,
}

fn move_resend(stands_still: bool) -> Resend {
    if stands_still {
        Resend::Always
    } else {
        Resend::WhenCrossed
    }
}

/// Moves until the next word.
pub fn continuous(tree: PtzTree, channel: u16, velocity: Velocity) -> Call {
    let body = XmlWriter::document(|w| {
        w.element("PTZData", &[], |w| velocity_fields(w, velocity));
    });
    Call::put(
        format!("{}/continuous", tree.channel(channel)),
        body,
        move_resend(stands_still(velocity)),
    )
}

/// Moves for a time.
pub fn momentary(tree: PtzTree, channel: u16, velocity: Velocity, time: Duration) -> Call {
    let body = XmlWriter::document(|w| {
        w.element("PTZData", &[], |w| {
            velocity_fields(w, velocity);
            w.element("Momentary", &[], |w| {
                w.leaf("duration", &time.as_millis().to_string());
            });
        });
    });
    Call::put(
        format!("{}/momentary", tree.channel(channel)),
        body,
        move_resend(stands_still(velocity)),
    )
}

/// Drives focus or iris.
pub fn lens(channel: u16, lens: Lens, speed: i8) -> Call {
    let (path, root, field) = match lens {
        Lens::Focus => ("focus", "FocusData", "focus"),
        Lens::Iris => ("iris", "IrisData", "iris"),
    };
    let body = XmlWriter::document(|w| {
        w.element(root, &[], |w| w.leaf(field, &percent(speed)));
    });
    Call::put(lens_path(channel, path), body, move_resend(speed == 0))
}

/// Asks whether a lens motor is there.
pub fn lens_state(channel: u16, lens: Lens) -> Call {
    Call::get(lens_path(
        channel,
        match lens {
            Lens::Focus => "focus",
            Lens::Iris => "iris",
        },
    ))
}

fn lens_path(channel: u16, what: &str) -> String {
    format!("/ISAPI/System/Video/inputs/channels/{channel}/{what}")
}

/// Focuses once. The path is spelled as the vendor spells it.
pub fn one_push_focus(tree: PtzTree, channel: u16) -> Call {
    Call::put(
        format!("{}/onepushfoucs/start", tree.channel(channel)),
        Vec::new(),
        Resend::Always,
    )
}

/// Reads the focus settings.
pub fn focus_settings(channel: u16) -> Call {
    Call::get(format!(
        "/ISAPI/Image/channels/{channel}/focusConfiguration"
    ))
}

/// Writes the focus settings: the document as it was read, with automatic focus. `None` where
/// the document has no such field. Image settings are taken only whole.
pub fn focus_settings_auto(channel: u16, as_read: &[u8]) -> Option<Call> {
    let text = std::str::from_utf8(as_read).ok()?;
    let open = text.find("<focusStyle")?;
    let begin = open + text.get(open..)?.find('>')? + 1;
    let end = begin + text.get(begin..)?.find("</focusStyle>")?;
    let body = format!("{}AUTO{}", text.get(..begin)?, text.get(end..)?);
    Some(Call::put(
        format!("/ISAPI/Image/channels/{channel}/focusConfiguration"),
        body.into_bytes(),
        Resend::Always,
    ))
}

/// Capabilities of a channel's movement.
pub fn ptz_capabilities(tree: PtzTree, channel: u16) -> Call {
    Call::get(format!("{}/capabilities", tree.channel(channel)))
}

/// Where a channel looks.
pub fn ptz_status(tree: PtzTree, channel: u16) -> Call {
    Call::get(format!("{}/status", tree.channel(channel)))
}

/// All presets.
pub fn presets(tree: PtzTree, channel: u16) -> Call {
    Call::get(format!("{}/presets", tree.channel(channel)))
}

/// Goes to a preset.
pub fn goto_preset(tree: PtzTree, channel: u16, preset: u32) -> Call {
    Call::put(
        format!("{}/presets/{preset}/goto", tree.channel(channel)),
        Vec::new(),
        Resend::WhenCrossed,
    )
}

/// Stores a preset.
pub fn set_preset(tree: PtzTree, channel: u16, preset: u32, name: &str) -> Call {
    let body = XmlWriter::document(|w| {
        w.element("PTZPreset", &[], |w| {
            w.leaf("enabled", "true");
            w.leaf("id", &preset.to_string());
            w.leaf("presetName", cut(name));
        });
    });
    Call::put(
        format!("{}/presets/{preset}", tree.channel(channel)),
        body,
        Resend::Never,
    )
}

/// The beginning of a name that fits, cut between characters.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

/// Removes a preset.
pub fn delete_preset(tree: PtzTree, channel: u16, preset: u32) -> Call {
    Call {
        method: "DELETE",
        target: format!("{}/presets/{preset}", tree.channel(channel)),
        body: None,
        resend: Resend::Never,
    }
}

/// Begins or ends a stored tour.
pub fn patrol(tree: PtzTree, channel: u16, patrol: u32, start: bool) -> Call {
    let (verb, resend) = if start {
        ("start", Resend::WhenCrossed)
    } else {
        ("stop", Resend::Always)
    };
    Call::put(
        format!("{}/patrols/{patrol}/{verb}", tree.channel(channel)),
        Vec::new(),
        resend,
    )
}

/// Who the device is.
pub fn device_info() -> Call {
    Call::get("/ISAPI/System/deviceInfo")
}

/// Whether the login is good; also the one place that tells of a lock.
pub const USER_CHECK: &str = "/ISAPI/Security/userCheck";

/// On which port each of its protocols answers.
pub fn protocol_ports() -> Call {
    Call::get("/ISAPI/Security/adminAccesses")
}

/// What the main stream can be set to.
pub fn stream_capabilities(channel: u16) -> Call {
    Call::get(format!(
        "/ISAPI/Streaming/channels/{channel}01/capabilities"
    ))
}

/// What the main stream is set to.
pub fn stream_settings(channel: u16) -> Call {
    Call::get(format!("/ISAPI/Streaming/channels/{channel}01"))
}

/// Where a picture is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PicturePath {
    /// `…/101/picture`: channel and stream.
    Stream,
    /// `…/1/picture`: the old spelling, and the spec's.
    Channel,
    /// Network channels of recorders.
    Proxy,
}

impl PicturePath {
    /// In the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Stream, Self::Channel, Self::Proxy];
}

/// A picture, of about a size if one is given.
pub fn picture(path: PicturePath, channel: u16, size: Option<(u32, u32)>) -> Call {
    let base = match path {
        PicturePath::Stream => format!("/ISAPI/Streaming/channels/{channel}01/picture"),
        PicturePath::Channel => format!("/ISAPI/Streaming/channels/{channel}/picture"),
        PicturePath::Proxy => {
            format!("/ISAPI/ContentMgmt/StreamingProxy/channels/{channel}01/picture")
        }
    };
    Call::get(match size {
        Some((width, height)) => {
            format!("{base}?videoResolutionWidth={width}&videoResolutionHeight={height}")
        }
        None => base,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn velocity(pan: i8, tilt: i8, zoom: i8) -> Velocity {
        Velocity {
            pan,
            tilt,
            zoom,
            ..Velocity::ZERO
        }
    }

    fn text(call: &Call) -> &str {
        std::str::from_utf8(call.body.as_deref().unwrap()).unwrap()
    }

    #[test]
    fn moves_name_every_axis() {
        let call = continuous(PtzTree::Direct, 1, velocity(-50, 0, 7));
        assert_eq!(call.method, "PUT");
        assert_eq!(call.target, "/ISAPI/PTZCtrl/channels/1/continuous");
        assert_eq!(
            text(&call),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><PTZData><pan>-50</pan><tilt>0</tilt><zoom>7</zoom></PTZData>"
        );
        assert_eq!(call.resend, Resend::WhenCrossed);
        let wild = continuous(PtzTree::Direct, 1, velocity(-128, 127, 0));
        assert!(text(&wild).contains("<pan>-100</pan><tilt>100</tilt>"));
        let stop = continuous(PtzTree::Proxy, 2, Velocity::ZERO);
        assert_eq!(
            stop.target,
            "/ISAPI/ContentMgmt/PTZCtrlProxy/channels/2/continuous"
        );
        assert!(text(&stop).contains("<pan>0</pan><tilt>0</tilt><zoom>0</zoom>"));
        assert_eq!(stop.resend, Resend::Always);
        let nudge = momentary(
            PtzTree::Direct,
            1,
            velocity(40, 0, 0),
            Duration::from_millis(300),
        );
        assert!(
            text(&nudge).ends_with(
                "<zoom>0</zoom><Momentary><duration>300</duration></Momentary></PTZData>"
            )
        );
    }

    #[test]
    fn a_preset_s_name_is_escaped_and_cut_between_characters() {
        let call = set_preset(PtzTree::Direct, 1, 1, "</presetName><id>94</id>&");
        assert_eq!(
            text(&call),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><PTZPreset><enabled>true</enabled><id>1</id><presetName>&lt;/presetName&gt;&lt;id&gt;94&lt;/id&gt;&amp;</presetName></PTZPreset>"
        );
        assert_eq!(cut("十二个汉字每个三字节长长长"), "十二个汉字每个三字节");
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn lenses_and_pictures() {
        let near = lens(1, Lens::Focus, -60);
        assert_eq!(near.target, "/ISAPI/System/Video/inputs/channels/1/focus");
        assert!(text(&near).ends_with("<FocusData><focus>-60</focus></FocusData>"));
        let open = lens(1, Lens::Iris, 60);
        assert!(text(&open).ends_with("<IrisData><iris>60</iris></IrisData>"));
        assert_eq!(
            picture(PicturePath::Stream, 3, Some((704, 576))).target,
            "/ISAPI/Streaming/channels/301/picture?videoResolutionWidth=704&videoResolutionHeight=576"
        );
        assert_eq!(
            picture(PicturePath::Channel, 1, None).target,
            "/ISAPI/Streaming/channels/1/picture"
        );
    }

    #[test]
    fn focus_settings_are_sent_back_whole() {
        let read = b"<FocusConfiguration xmlns=\"u\"><focusStyle opt=\"a\">MANUAL</focusStyle><x>1</x></FocusConfiguration>";
        let call = focus_settings_auto(1, read).unwrap();
        assert_eq!(
            text(&call),
            "<FocusConfiguration xmlns=\"u\"><focusStyle opt=\"a\">AUTO</focusStyle><x>1</x></FocusConfiguration>"
        );
        assert_eq!(focus_settings_auto(1, b"<FocusConfiguration/>"), None);
        assert_eq!(focus_settings_auto(1, b"<focusStyle>"), None);
    }
}
