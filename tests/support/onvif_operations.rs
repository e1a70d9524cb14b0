//! What the stand-in ONVIF camera does with each operation, once its login is checked.

use std::fmt::Write as _;
use std::time::Duration;

use super::camera_head::Axis;
use super::onvif_camera::{
    Answer, DEVICE, Fault, IMAGING, MEDIA, MEDIA2, Node, OnvifDevice, PTZ, StopMode, TT, escape,
    fault, shift,
};

impl OnvifDevice {
    pub(super) fn dispatch(&mut self, operation: &Node) -> Answer {
        match (operation.namespace.as_str(), operation.name.as_str()) {
            (DEVICE, name) => self.device(name),
            (MEDIA | MEDIA2, name) => self.media(name, operation),
            (PTZ, name) => {
                let profile = operation.text_of(PTZ, "ProfileToken");
                let known = profile
                    .is_none_or(|p| p == self.model.profile || self.model.views.contains(&p));
                if profile == Some("Profile_1") {
                    return Err(fault("Sender", "InvalidArgVal/NoPTZProfile", "no PTZ"));
                }
                if !known {
                    return Err(fault(
                        "Sender",
                        "InvalidArgVal/NoProfile",
                        "no such profile",
                    ));
                }
                if self.model.may_not_move || self.model.viewers.contains(&self.gate.user) {
                    return Err(fault("Sender", "NotAuthorized", "not authorized"));
                }
                if !self.model.views.is_empty() && matches!(name, "ContinuousMove" | "Stop") {
                    let profile = profile.unwrap_or_default();
                    let moves = name == "ContinuousMove" && !is_still(operation);
                    if moves {
                        profile.clone_into(&mut self.view);
                    } else if !self.view.is_empty() && profile != self.view {
                        return Ok(String::new());
                    }
                }
                self.ptz(name, operation)
            }
            (IMAGING, name) => {
                if operation.text_of(IMAGING, "VideoSourceToken") != Some("Source_1") {
                    return Err(fault("Sender", "InvalidArgVal/NoSource", "no such source"));
                }
                self.imaging(name, operation)
            }
            _ => Err(unknown()),
        }
    }

    fn device(&self, name: &str) -> Answer {
        Ok(match name {
            "GetSystemDateAndTime" => {
                let told = shift(self.clock(), self.model.utc_ahead);
                let text = humantime::format_rfc3339_seconds(told).to_string();
                let field = |range: std::ops::Range<usize>| {
                    text[range].trim_start_matches('0').to_owned()
                };
                let or_zero = |text: String| if text.is_empty() { "0".to_owned() } else { text };
                format!(
                    "<x:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType><tt:UTCDateTime><tt:Time><tt:Hour>{}</tt:Hour><tt:Minute>{}</tt:Minute><tt:Second>{}</tt:Second></tt:Time><tt:Date><tt:Year>{}</tt:Year><tt:Month>{}</tt:Month><tt:Day>{}</tt:Day></tt:Date></tt:UTCDateTime></x:SystemDateAndTime>",
                    or_zero(field(11..13)),
                    or_zero(field(14..16)),
                    or_zero(field(17..19)),
                    field(0..4),
                    field(5..7),
                    field(8..10)
                )
            }
            "GetDeviceInformation" => "<x:Manufacturer>ACME</x:Manufacturer><x:Model>\n  Dome &amp; Co\n</x:Model><x:FirmwareVersion>1.2</x:FirmwareVersion><x:SerialNumber>S-1</x:SerialNumber><x:HardwareId></x:HardwareId>".to_owned(),
            "GetCapabilities" => {
                let mut all = format!(
                    "<tt:Device><tt:XAddr>http://{}{}</tt:XAddr><tt:System><tt:SupportedVersions><tt:Major>2</tt:Major><tt:Minor>10</tt:Minor></tt:SupportedVersions><tt:SupportedVersions><tt:Major>20</tt:Major><tt:Minor>6</tt:Minor></tt:SupportedVersions></tt:System></tt:Device><tt:Imaging><tt:XAddr>{}</tt:XAddr></tt:Imaging>",
                    self.model.xaddr,
                    self.model.device_path,
                    self.xaddr("Imaging")
                );
                if self.model.media1 {
                    let _ = write!(all, "<tt:Media><tt:XAddr>{}</tt:XAddr></tt:Media>", self.xaddr("Media"));
                }
                if self.model.ptz_in_capabilities {
                    let _ = write!(all, "<tt:PTZ><tt:XAddr>{}</tt:XAddr></tt:PTZ>", self.xaddr("Ptz"));
                }
                format!("<x:Capabilities>{all}</x:Capabilities>")
            }
            "GetServices" if self.model.services => {
                let mut all = String::new();
                for (namespace, service, there) in [
                    (MEDIA, "Media", self.model.media1),
                    (MEDIA2, "Media", self.model.media2),
                    (PTZ, "Ptz", true),
                    (IMAGING, "Imaging", true),
                ] {
                    if there {
                        let _ = write!(all, "<x:Service><x:Namespace>{namespace}</x:Namespace><x:XAddr>{}</x:XAddr><x:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></x:Version></x:Service>", self.xaddr(service));
                    }
                }
                all
            }
            "GetScopes" => "<x:Scopes><tt:ScopeItem>onvif://www.onvif.org/name/Yard%20Dome</tt:ScopeItem></x:Scopes><x:Scopes><tt:ScopeItem>onvif://www.onvif.org/MAC/AA-BB-CC-DD-EE-0F</tt:ScopeItem></x:Scopes>".to_owned(),
            "GetNetworkInterfaces" => {
                return Err(fault("Sender", "NotAuthorized/OperationProhibited", "administrators only"));
            }
            _ => return Err(unknown()),
        })
    }

    fn media(&self, name: &str, operation: &Node) -> Answer {
        let second = operation.namespace == MEDIA2;
        let profile = escape(&self.model.profile);
        Ok(match name {
            "GetProfiles" => {
                let timeout = self.model.default_timeout.map_or(String::new(), |t| {
                    format!("<tt:DefaultPTZTimeout>PT{}S</tt:DefaultPTZTimeout>", t.as_secs_f64())
                });
                let source = "<tt:SourceToken>Source_1</tt:SourceToken>";
                let video = "<tt:Encoding>H264</tt:Encoding><tt:Resolution><tt:Width>1920</tt:Width><tt:Height>1080</tt:Height></tt:Resolution>";
                let ptz = format!("<tt:NodeToken>Node_1</tt:NodeToken>{timeout}");
                if second {
                    format!("<x:Profiles token=\"Profile_1\"><x:Configurations><x:VideoSource token=\"vs\">{source}</x:VideoSource></x:Configurations></x:Profiles><x:Profiles fixed=\"true\" token=\"{profile}\"><x:Configurations><x:VideoSource token=\"vs\">{source}</x:VideoSource><x:VideoEncoder token=\"ve\">{video}</x:VideoEncoder><x:PTZ token=\"PtzConf\">{ptz}</x:PTZ></x:Configurations></x:Profiles>")
                } else {
                    let views = self.model.views.iter().fold(String::new(), |all, view| {
                        format!("{all}<x:Profiles token=\"{view}\"><tt:VideoSourceConfiguration token=\"vs\">{source}</tt:VideoSourceConfiguration><tt:PTZConfiguration token=\"Ptz_{view}\">{ptz}</tt:PTZConfiguration></x:Profiles>")
                    });
                    format!("<x:Profiles token=\"Profile_1\"><tt:VideoSourceConfiguration token=\"vs\">{source}</tt:VideoSourceConfiguration></x:Profiles><x:Profiles fixed=\"true\" token=\"{profile}\"><tt:VideoSourceConfiguration token=\"vs\">{source}</tt:VideoSourceConfiguration><tt:VideoEncoderConfiguration token=\"ve\">{video}</tt:VideoEncoderConfiguration><tt:PTZConfiguration token=\"PtzConf\">{ptz}</tt:PTZConfiguration></x:Profiles>{views}")
                }
            }
            "GetStreamUri" => {
                let asked = if second {
                    operation.text_of(MEDIA2, "Protocol") == Some("RTSP")
                } else {
                    operation
                        .child(MEDIA, "StreamSetup")
                        .and_then(|s| s.child(TT, "Transport"))
                        .is_some_and(|t| t.text_of(TT, "Protocol") == Some("RTSP"))
                };
                if !asked {
                    return Err(fault("Sender", "InvalidArgVal/InvalidStreamSetup", "setup"));
                }
                media_uri(second, &self.model.stream)
            }
            "GetSnapshotUri" if self.model.picture.is_some() => media_uri(
                second,
                &format!("http://{}/picture?x=1&y=2", self.model.xaddr),
            ),
            "GetVideoSources" if !second => "<x:VideoSources token=\"Source_1\"><tt:Framerate>25</tt:Framerate><tt:Resolution><tt:Width>1920</tt:Width><tt:Height>1080</tt:Height></tt:Resolution></x:VideoSources>".to_owned(),
            "GetVideoEncoderConfigurationOptions" if !second => "<x:Options><tt:H264><tt:ResolutionsAvailable><tt:Width>1280</tt:Width><tt:Height>720</tt:Height></tt:ResolutionsAvailable><tt:ResolutionsAvailable><tt:Width>1920</tt:Width><tt:Height>1080</tt:Height></tt:ResolutionsAvailable><tt:FrameRateRange><tt:Min>1</tt:Min><tt:Max>30</tt:Max></tt:FrameRateRange></tt:H264></x:Options>".to_owned(),
            _ => return Err(unknown()),
        })
    }

    fn ptz(&mut self, name: &str, operation: &Node) -> Answer {
        let now = self.model.clock.now();
        let preset = operation.text_of(PTZ, "PresetToken").map(str::to_owned);
        Ok(match name {
            "GetNodes" => "<x:PTZNode token=\"Node_1\"><tt:SupportedPTZSpaces><tt:ContinuousPanTiltVelocitySpace/><tt:ContinuousZoomVelocitySpace/></tt:SupportedPTZSpaces><tt:MaximumNumberOfPresets>100</tt:MaximumNumberOfPresets></x:PTZNode>".to_owned(),
            "GetConfigurationOptions" => {
                if !operation
                    .text_of(PTZ, "ConfigurationToken")
                    .is_some_and(|token| token.starts_with("Ptz"))
                {
                    return Err(fault("Sender", "InvalidArgVal/NoConfig", "configuration"));
                }
                let (min, max) = self.model.timeouts.unwrap_or((0, 0));
                format!("<x:PTZConfigurationOptions><tt:PTZTimeout><tt:Min>PT{min}S</tt:Min><tt:Max>PT{max}S</tt:Max></tt:PTZTimeout></x:PTZConfigurationOptions>")
            }
            "GetStatus" => {
                let moving = if self.head.moving(now) { "MOVING" } else { "IDLE" };
                let state = if self.model.tells_motion {
                    format!("<tt:MoveStatus><tt:PanTilt>{moving}</tt:PanTilt><tt:Zoom>IDLE</tt:Zoom></tt:MoveStatus>")
                } else {
                    String::new()
                };
                let at = |axis| {
                    let place = self.head.position(axis, now);
                    if self.model.odd_style { format!("{place:E}") } else { place.to_string() }
                };
                let [pan, tilt, zoom] = [Axis::Pan, Axis::Tilt, Axis::Zoom].map(at);
                format!("<x:PTZStatus><tt:Position><tt:PanTilt y=\"{tilt}\" x=\"{pan}\"/><tt:Zoom x=\"{zoom}\"/></tt:Position>{state}</x:PTZStatus>")
            }
            "ContinuousMove" => return self.continuous_move(operation, now),
            "Stop" => return self.stop(operation, now),
            "GetPresets" => {
                let mut all = String::new();
                for (token, (name, _)) in &self.presets {
                    let _ = write!(all, "<x:Preset token=\"{}\"><tt:Name>{}</tt:Name></x:Preset>", escape(token), escape(name));
                }
                all
            }
            "GotoPreset" => {
                let Some((_, place)) = preset.and_then(|p| self.presets.get(&p)) else {
                    return Err(fault("Sender", "InvalidArgVal/NoToken", "no such preset"));
                };
                for (axis, place) in [Axis::Pan, Axis::Tilt, Axis::Zoom].into_iter().zip(*place) {
                    self.head.jump(axis, place, now);
                }
                String::new()
            }
            "SetPreset" => {
                if self.head.moving(now) {
                    return Err(fault("Receiver", "Action/MovingPTZ", "it moves"));
                }
                let token = match preset {
                    Some(token) if !self.presets.contains_key(&token) => {
                        return Err(fault("Sender", "InvalidArgVal/NoToken", "no such preset"));
                    }
                    Some(token) => token,
                    None => format!("made-{}", self.presets.len()),
                };
                let name = operation.text_of(PTZ, "PresetName").unwrap_or_default();
                let place = [Axis::Pan, Axis::Tilt, Axis::Zoom].map(|a| self.head.position(a, now));
                self.presets.insert(token.clone(), (name.to_owned(), place));
                format!("<x:PresetToken>{token}</x:PresetToken>")
            }
            "RemovePreset" => {
                if preset.and_then(|p| self.presets.remove(&p)).is_none() {
                    return Err(fault("Sender", "InvalidArgVal/NoToken", "no such preset"));
                }
                String::new()
            }
            "GetPresetTours" => "<x:PresetTour token=\"T1\"><tt:Name>Night</tt:Name></x:PresetTour>".to_owned(),
            "OperatePresetTour" => {
                let tour = operation.text_of(PTZ, "PresetTourToken").map(str::to_owned);
                self.tour = tour.filter(|_| operation.text_of(PTZ, "Operation") == Some("Start"));
                String::new()
            }
            _ => return Err(unknown()),
        })
    }

    fn continuous_move(&mut self, operation: &Node, now: Duration) -> Answer {
        let velocity = operation
            .child(PTZ, "Velocity")
            .ok_or_else(|| fault("Sender", "InvalidArgVal", "no velocity"))?;
        let pan_tilt = velocity.child(TT, "PanTilt");
        let zoom = velocity.child(TT, "Zoom");
        let number = |node: &Node, name: &str| {
            node.attributes
                .get(name)
                .filter(|t| {
                    t.bytes()
                        .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'))
                })
                .and_then(|t| t.parse::<f64>().ok())
                .filter(|v| v.abs() <= 1.0)
                .ok_or_else(|| fault("Sender", "InvalidArgVal/InvalidVelocity", "velocity"))
        };
        let mut speeds = Vec::new();
        if let Some(node) = pan_tilt {
            speeds.push((Axis::Pan, number(node, "x")?));
            speeds.push((Axis::Tilt, number(node, "y")?));
        }
        if let Some(node) = zoom {
            speeds.push((Axis::Zoom, number(node, "x")?));
        }
        let still = speeds.iter().all(|(_, v)| *v == 0.0);
        if self.model.one_axis_only && pan_tilt.is_some() && zoom.is_some() && !still {
            return Err(fault(
                "Sender",
                "InvalidArgVal/InvalidVelocity",
                "one axis at a time",
            ));
        }
        if (self.model.refuses_zoom && zoom.is_some())
            || (self.model.refuses_pan_tilt && pan_tilt.is_some())
        {
            return Err(fault(
                "Sender",
                "InvalidArgVal/SpaceNotSupported",
                "a space that the node has not",
            ));
        }
        if still && self.model.refuses_zero {
            return Err(fault("Sender", "InvalidArgVal", "velocity zero"));
        }
        let mut runs_for = self.model.default_timeout;
        if let Some(timeout) = operation.text_of(PTZ, "Timeout") {
            let seconds = timeout
                .strip_prefix("PT")
                .and_then(|t| t.strip_suffix('S'))
                .and_then(|t| t.parse::<u64>().ok());
            let fits = self
                .model
                .timeouts
                .zip(seconds)
                .is_some_and(|((min, max), s)| (min..=max).contains(&s));
            if !fits || self.model.refuses_timeouts {
                let (role, codes, words) = self.model.timeout_refusal;
                return Err(fault(role, codes, words));
            }
            runs_for = seconds.map(Duration::from_secs);
        }
        if self.model.both_axes_only && (pan_tilt.is_none() || zoom.is_none()) {
            return Ok(String::new());
        }
        if still && self.model.ignores_zero {
            return Ok(String::new());
        }
        self.tour = None;
        for (axis, speed) in speeds {
            self.head.drive(axis, speed, now, runs_for);
        }
        Ok(String::new())
    }

    fn stop(&mut self, operation: &Node, now: Duration) -> Answer {
        match self.model.stop {
            StopMode::Unsupported => return Err(unknown()),
            StopMode::Ignored => return Ok(String::new()),
            StopMode::Works => {}
        }
        let flag = |name| operation.text_of(PTZ, name) == Some("true");
        if flag("PanTilt") {
            self.head.drive(Axis::Pan, 0.0, now, None);
            self.head.drive(Axis::Tilt, 0.0, now, None);
        }
        if flag("Zoom") {
            self.head.drive(Axis::Zoom, 0.0, now, None);
        }
        Ok(String::new())
    }

    fn imaging(&mut self, name: &str, operation: &Node) -> Answer {
        let now = self.model.clock.now();
        let settings = operation.child(IMAGING, "ImagingSettings");
        Ok(match name {
            "GetMoveOptions" if self.model.focus => "<x:MoveOptions><tt:Continuous><tt:Speed><tt:Min>-7</tt:Min><tt:Max>7</tt:Max></tt:Speed></tt:Continuous></x:MoveOptions>".to_owned(),
            "GetMoveOptions" => "<x:MoveOptions/>".to_owned(),
            "Move" if self.model.focus => {
                let speed = operation
                    .child(IMAGING, "Focus")
                    .and_then(|f| f.child(TT, "Continuous"))
                    .and_then(|c| c.text_of(TT, "Speed"))
                    .and_then(|t| t.parse::<f64>().ok())
                    .filter(|s| s.abs() <= 7.0)
                    .ok_or_else(|| fault("Sender", "InvalidArgVal", "speed"))?;
                self.auto_focus = false;
                self.head.drive(Axis::Focus, speed / 7.0, now, None);
                String::new()
            }
            "Stop" if self.model.focus => {
                self.head.drive(Axis::Focus, 0.0, now, None);
                String::new()
            }
            "GetOptions" => {
                let iris = if self.model.iris {
                    "<tt:Exposure><tt:Mode>AUTO</tt:Mode><tt:Mode>MANUAL</tt:Mode><tt:Iris><tt:Min>0</tt:Min><tt:Max>20</tt:Max></tt:Iris></tt:Exposure>"
                } else {
                    ""
                };
                format!("<x:ImagingOptions>{iris}</x:ImagingOptions>")
            }
            "GetImagingSettings" => format!(
                "<x:ImagingSettings><tt:Exposure><tt:Iris>{}</tt:Iris></tt:Exposure></x:ImagingSettings>",
                self.iris
            ),
            "SetImagingSettings" => {
                if let Some(focus) = settings.and_then(|s| s.child(TT, "Focus")) {
                    self.auto_focus = focus.text_of(TT, "AutoFocusMode") == Some("AUTO");
                    self.head.drive(Axis::Focus, 0.0, now, None);
                }
                if let Some(exposure) = settings.and_then(|s| s.child(TT, "Exposure")) {
                    if exposure.text_of(TT, "Mode") != Some("MANUAL") {
                        return Err(fault("Sender", "InvalidArgVal/SettingsInvalid", "mode"));
                    }
                    self.iris = exposure
                        .text_of(TT, "Iris")
                        .and_then(|t| t.parse().ok())
                        .ok_or_else(|| fault("Sender", "InvalidArgVal", "iris"))?;
                }
                String::new()
            }
            _ => return Err(unknown()),
        })
    }
}

fn media_uri(second: bool, uri: &str) -> String {
    let uri = escape(uri);
    if second {
        format!("<x:Uri>{uri}</x:Uri>")
    } else {
        format!("<x:MediaUri><tt:Uri>{uri}</tt:Uri></x:MediaUri>")
    }
}

fn unknown() -> Fault {
    fault(
        "Receiver",
        "ActionNotSupported",
        "optional action not implemented",
    )
}

/// Whether a move names velocity zero alone.
fn is_still(operation: &Node) -> bool {
    let zero = |text: &String| text.parse::<f64>() == Ok(0.0);
    operation.child(PTZ, "Velocity").is_some_and(|velocity| {
        let axes = &velocity.children;
        axes.iter().all(|axis| {
            let speeds = ["x", "y"]
                .iter()
                .filter_map(|name| axis.attributes.get(*name));
            speeds.into_iter().all(zero)
        })
    })
}
