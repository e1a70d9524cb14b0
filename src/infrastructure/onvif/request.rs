//! The bodies of requests. Pure.

use std::time::Duration;

use crate::domain::camera::Manner;
use crate::domain::ptz::Velocity;
use crate::infrastructure::http::camera_client::Resend;
use crate::infrastructure::xml::XmlWriter;

const TT: &str = "http://www.onvif.org/ver10/schema";

/// The services that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// The way in.
    Device,
    /// Profiles and streams.
    Media,
    /// Their second version.
    Media2,
    /// Movement.
    Ptz,
    /// Focus and iris.
    Imaging,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Device,
        Self::Media,
        Self::Media2,
        Self::Ptz,
        Self::Imaging,
    ];

    /// Its namespace.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Device => "http://www.onvif.org/ver10/device/wsdl",
            Self::Media => "http://www.onvif.org/ver10/media/wsdl",
            Self::Media2 => "http://www.onvif.org/ver20/media/wsdl",
            Self::Ptz => "http://www.onvif.org/ver20/ptz/wsdl",
            Self::Imaging => "http://www.onvif.org/ver20/imaging/wsdl",
        }
    }

    /// The path that it has where a camera names none, or a wrong one.
    pub fn usual_path(self) -> &'static str {
        match self {
            Self::Device => Manner::ONVIF_PATH,
            Self::Media => "/onvif/media_service",
            Self::Media2 => "/onvif/media2_service",
            Self::Ptz => "/onvif/ptz_service",
            Self::Imaging => "/onvif/imaging_service",
        }
    }
}

/// The settings of pictures' encoders. The answer is kept as it came, to be written back.
pub const VIDEO_ENCODERS: &str = "GetVideoEncoderConfigurations";
/// The same for sound.
pub const AUDIO_ENCODERS: &str = "GetAudioEncoderConfigurations";

/// One operation, ready for an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Whom to ask.
    pub service: Service,
    /// Its name; the answer's element is this with `Response` behind.
    pub name: &'static str,
    /// The element of the body.
    pub body: String,
    /// Whether it may be sent again.
    pub resend: Resend,
    /// Whether the answer carries something that is needed. Else a success is enough, without a
    /// word.
    pub asks: bool,
}

impl Operation {
    fn new(
        service: Service,
        name: &'static str,
        resend: Resend,
        inside: impl FnOnce(&mut XmlWriter),
    ) -> Self {
        let body = XmlWriter::fragment(|w| {
            w.element(name, &[("xmlns", service.namespace())], inside);
        });
        Self {
            service,
            name,
            body,
            resend,
            asks: false,
        }
    }

    fn read(service: Service, name: &'static str, inside: impl FnOnce(&mut XmlWriter)) -> Self {
        Self {
            asks: true,
            ..Self::new(service, name, Resend::Always, inside)
        }
    }
}

/// The camera's clock. Sent without a login.
pub fn system_date_and_time() -> Operation {
    Operation::read(Service::Device, "GetSystemDateAndTime", |_| {})
}

/// Who the device is.
pub fn device_information() -> Operation {
    Operation::read(Service::Device, "GetDeviceInformation", |_| {})
}

/// Services, as every camera has it.
pub fn capabilities() -> Operation {
    Operation::read(Service::Device, "GetCapabilities", |w| {
        w.leaf("Category", "All");
    })
}

/// Services, as newer cameras have it: with the second media service.
pub fn services() -> Operation {
    Operation::read(Service::Device, "GetServices", |w| {
        w.leaf("IncludeCapability", "false");
    })
}

/// Name, hardware, place.
pub fn scopes() -> Operation {
    Operation::read(Service::Device, "GetScopes", |_| {})
}

/// For the MAC.
pub fn network_interfaces() -> Operation {
    Operation::read(Service::Device, "GetNetworkInterfaces", |_| {})
}

/// All profiles.
pub fn profiles(service: Service) -> Operation {
    Operation::read(service, "GetProfiles", |w| {
        if service == Service::Media2 {
            w.leaf("Type", "All");
        }
    })
}

/// The video sources, in the camera's order.
pub fn video_sources() -> Operation {
    Operation::read(Service::Media, "GetVideoSources", |_| {})
}

/// Where a profile's stream is.
pub fn stream_uri(service: Service, profile: &str) -> Operation {
    Operation::read(service, "GetStreamUri", |w| {
        if service == Service::Media2 {
            w.leaf("Protocol", "RTSP");
        } else {
            w.element("StreamSetup", &[], |w| {
                w.leaf_with("Stream", &[("xmlns", TT)], "RTP-Unicast");
                w.element("Transport", &[("xmlns", TT)], |w| {
                    w.leaf("Protocol", "RTSP");
                });
            });
        }
        w.leaf("ProfileToken", profile);
    })
}

/// Where a profile's picture is.
pub fn snapshot_uri(service: Service, profile: &str) -> Operation {
    Operation::read(service, "GetSnapshotUri", |w| {
        w.leaf("ProfileToken", profile);
    })
}

/// What a profile's video can be set to.
pub fn video_encoder_options(service: Service, profile: &str) -> Operation {
    Operation::read(service, "GetVideoEncoderConfigurationOptions", |w| {
        w.leaf("ProfileToken", profile);
    })
}

/// What can move.
pub fn nodes() -> Operation {
    Operation::read(Service::Ptz, "GetNodes", |_| {})
}

/// The ranges of a movement configuration.
pub fn configuration_options(configuration: &str) -> Operation {
    Operation::read(Service::Ptz, "GetConfigurationOptions", |w| {
        w.leaf("ConfigurationToken", configuration);
    })
}

/// Where it looks, and whether it moves.
pub fn status(profile: &str) -> Operation {
    Operation::read(Service::Ptz, "GetStatus", |w| {
        w.leaf("ProfileToken", profile);
    })
}

/// The axes that a move names. Most cameras move only if both are named; a few refuse the one
/// that does not move, or that they do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Axes {
    /// Both.
    #[default]
    Both,
    /// Pan and tilt.
    PanTilt,
    /// Zoom.
    Zoom,
}

impl Axes {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Both, Self::PanTilt, Self::Zoom];

    /// Those that a velocity moves; both for a still stand.
    pub fn moved_by(velocity: Velocity) -> Self {
        match ((velocity.pan, velocity.tilt) != (0, 0), velocity.zoom != 0) {
            (true, false) => Self::PanTilt,
            (false, true) => Self::Zoom,
            _ => Self::Both,
        }
    }

    /// Pan and tilt are among them.
    pub fn turn(self) -> bool {
        self != Self::Zoom
    }

    /// Zoom is among them.
    pub fn zoom(self) -> bool {
        self != Self::PanTilt
    }
}

/// How a move is written, by what the camera was seen to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveForm {
    /// Ends by itself after that long.
    pub timeout: Option<Duration>,
    /// Named whether they move or not; an axis that is left out is not touched.
    pub axes: Axes,
}

/// Moves until the next word. All axes at zero = stands still.
pub fn continuous_move(profile: &str, velocity: Velocity, form: MoveForm) -> Operation {
    let resend = if velocity.is_zero() {
        Resend::Always
    } else {
        Resend::WhenCrossed
    };
    Operation::new(Service::Ptz, "ContinuousMove", resend, |w| {
        w.leaf("ProfileToken", profile);
        w.element("Velocity", &[], |w| {
            if form.axes.turn() {
                let (x, y) = (decimal(velocity.pan), decimal(velocity.tilt));
                w.empty("PanTilt", &[("x", &x), ("y", &y), ("xmlns", TT)]);
            }
            if form.axes.zoom() {
                let x = decimal(velocity.zoom);
                w.empty("Zoom", &[("x", &x), ("xmlns", TT)]);
            }
        });
        if let Some(timeout) = form.timeout {
            w.leaf("Timeout", &seconds(timeout));
        }
    })
}

/// Percent as a plain decimal: never an exponent, never a comma.
fn decimal(percent: i8) -> String {
    let sign = if percent < 0 { "-" } else { "" };
    // More than full speed is refused by the camera: never sent.
    let n = percent.unsigned_abs().min(100);
    match (n / 100, n % 100) {
        (whole, 0) => format!("{sign}{whole}"),
        (whole, part) if part % 10 == 0 => format!("{sign}{whole}.{}", part / 10),
        (whole, part) => format!("{sign}{whole}.{part:02}"),
    }
}

/// A duration as cameras read it, in whole seconds, rounded up.
fn seconds(duration: Duration) -> String {
    let up = u64::from(duration.subsec_nanos() > 0);
    format!("PT{}S", duration.as_secs() + up)
}

/// Stands still. Both flags always: some take a missing one as false, some refuse one alone.
pub fn stop(profile: &str) -> Operation {
    Operation::new(Service::Ptz, "Stop", Resend::Always, |w| {
        w.leaf("ProfileToken", profile);
        w.leaf("PanTilt", "true");
        w.leaf("Zoom", "true");
    })
}

/// All presets.
pub fn presets(profile: &str) -> Operation {
    Operation::read(Service::Ptz, "GetPresets", |w| {
        w.leaf("ProfileToken", profile);
    })
}

/// Goes to a preset.
pub fn goto_preset(profile: &str, preset: &str) -> Operation {
    Operation::new(Service::Ptz, "GotoPreset", Resend::WhenCrossed, |w| {
        w.leaf("ProfileToken", profile);
        w.leaf("PresetToken", preset);
    })
}

/// Stores a preset; without a token the camera makes one.
pub fn set_preset(profile: &str, name: &str, preset: Option<&str>) -> Operation {
    Operation::new(Service::Ptz, "SetPreset", Resend::Never, |w| {
        w.leaf("ProfileToken", profile);
        w.leaf("PresetName", name);
        if let Some(preset) = preset {
            w.leaf("PresetToken", preset);
        }
    })
}

/// Removes a preset.
pub fn remove_preset(profile: &str, preset: &str) -> Operation {
    Operation::new(Service::Ptz, "RemovePreset", Resend::Never, |w| {
        w.leaf("ProfileToken", profile);
        w.leaf("PresetToken", preset);
    })
}

/// Tours stored in the camera.
pub fn preset_tours(profile: &str) -> Operation {
    Operation::read(Service::Ptz, "GetPresetTours", |w| {
        w.leaf("ProfileToken", profile);
    })
}

/// Begins or ends a tour.
pub fn operate_tour(profile: &str, tour: &str, start: bool) -> Operation {
    let (verb, resend) = if start {
        ("Start", Resend::WhenCrossed)
    } else {
        ("Stop", Resend::Always)
    };
    Operation::new(Service::Ptz, "OperatePresetTour", resend, |w| {
        w.leaf("ProfileToken", profile);
        w.leaf("PresetTourToken", tour);
        w.leaf("Operation", verb);
    })
}

/// What the lens of a video source can be driven to.
pub fn move_options(source: &str) -> Operation {
    Operation::read(Service::Imaging, "GetMoveOptions", |w| {
        w.leaf("VideoSourceToken", source);
    })
}

/// Drives the focus.
pub fn focus_move(source: &str, speed: f64) -> Operation {
    Operation::new(Service::Imaging, "Move", Resend::WhenCrossed, |w| {
        w.leaf("VideoSourceToken", source);
        w.element("Focus", &[], |w| {
            w.element("Continuous", &[("xmlns", TT)], |w| {
                w.leaf("Speed", &float(speed));
            });
        });
    })
}

/// Stops the focus.
pub fn focus_stop(source: &str) -> Operation {
    Operation::new(Service::Imaging, "Stop", Resend::Always, |w| {
        w.leaf("VideoSourceToken", source);
    })
}

/// The ranges of picture settings.
pub fn imaging_options(source: &str) -> Operation {
    Operation::read(Service::Imaging, "GetOptions", |w| {
        w.leaf("VideoSourceToken", source);
    })
}

/// The picture settings.
pub fn imaging_settings(source: &str) -> Operation {
    Operation::read(Service::Imaging, "GetImagingSettings", |w| {
        w.leaf("VideoSourceToken", source);
    })
}

/// One change of the picture settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ImagingChange {
    /// The camera focuses.
    AutoFocus,
    /// Attenuation in dB, the exposure in our hands.
    Iris(f64),
}

/// Changes a picture setting; what is not named stays.
pub fn set_imaging(source: &str, change: ImagingChange) -> Operation {
    Operation::new(
        Service::Imaging,
        "SetImagingSettings",
        Resend::Always,
        |w| {
            w.leaf("VideoSourceToken", source);
            w.element("ImagingSettings", &[], |w| match change {
                ImagingChange::AutoFocus => w.element("Focus", &[("xmlns", TT)], |w| {
                    w.leaf("AutoFocusMode", "AUTO");
                }),
                ImagingChange::Iris(iris) => w.element("Exposure", &[("xmlns", TT)], |w| {
                    w.leaf("Mode", "MANUAL");
                    w.leaf("Iris", &float(iris));
                }),
            });
            w.leaf("ForcePersistence", "false");
        },
    )
}

/// At most six decimals, no exponent.
fn float(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "" | "-0" => "0".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves() {
        let both = continuous_move(
            "Profile_1",
            Velocity {
                pan: -50,
                ..Velocity::ZERO
            },
            MoveForm::default(),
        );
        assert_eq!(
            both.body,
            "<ContinuousMove xmlns=\"http://www.onvif.org/ver20/ptz/wsdl\"><ProfileToken>Profile_1</ProfileToken><Velocity><PanTilt x=\"-0.5\" y=\"0\" xmlns=\"http://www.onvif.org/ver10/schema\"/><Zoom x=\"0\" xmlns=\"http://www.onvif.org/ver10/schema\"/></Velocity></ContinuousMove>"
        );
        let one = MoveForm {
            timeout: Some(Duration::from_millis(2_001)),
            axes: Axes::Zoom,
        };
        let zoom = continuous_move(
            "a&b",
            Velocity {
                zoom: 7,
                ..Velocity::ZERO
            },
            one,
        )
        .body;
        assert!(!zoom.contains("PanTilt"));
        assert!(zoom.contains("x=\"0.07\""));
        assert!(zoom.contains("<ProfileToken>a&amp;b</ProfileToken>"));
        assert!(zoom.contains("</Velocity><Timeout>PT3S</Timeout>"));
        assert_eq!(
            continuous_move("p", Velocity::ZERO, one).resend,
            Resend::Always
        );
    }

    #[test]
    fn a_still_stand_names_the_axes_it_is_told_to() {
        for (axes, turn, zoom) in [
            (Axes::Both, true, true),
            (Axes::PanTilt, true, false),
            (Axes::Zoom, false, true),
        ] {
            let form = MoveForm {
                timeout: None,
                axes,
            };
            let still = continuous_move("p", Velocity::ZERO, form).body;
            assert_eq!(
                (still.contains("<PanTilt"), still.contains("<Zoom")),
                (turn, zoom)
            );
        }
        for (pan, zoom, axes) in [
            (5, 0, Axes::PanTilt),
            (0, 5, Axes::Zoom),
            (5, 5, Axes::Both),
            (0, 0, Axes::Both),
        ] {
            let velocity = Velocity {
                pan,
                zoom,
                ..Velocity::ZERO
            };
            assert_eq!(Axes::moved_by(velocity), axes);
        }
    }

    #[test]
    fn numbers_are_plain_decimals() {
        for (percent, text) in [
            (100, "1"),
            (-100, "-1"),
            (50, "0.5"),
            (7, "0.07"),
            (-99, "-0.99"),
            (-128, "-1"),
            (0, "0"),
        ] {
            assert_eq!(decimal(percent), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-3.5, "-3.5"),
            (1e-9, "0"),
            (12.345_678_9, "12.345679"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn names_are_escaped() {
        let set = set_preset("p", "</PresetName><PresetToken>94", None).body;
        assert!(set.contains("&lt;/PresetName&gt;&lt;PresetToken&gt;94</PresetName>"));
        assert_eq!(set.matches("PresetToken").count(), 1);
    }

    #[test]
    fn stops_name_both() {
        assert!(
            stop("p")
                .body
                .contains("<PanTilt>true</PanTilt><Zoom>true</Zoom>")
        );
    }
}
