//! A stand-in Hikvision dome: strict about paths, bodies and logins, with motors that turn.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::camera_head::{Axis, Clock, Head};
use super::camera_http::{HttpServer, Incoming, Outgoing, Site};
use super::digest_server::{Gate, GateRules, Verdict};

const NS: &str = "http://www.hikvision.com/ver20/XMLSchema";

/// What differs between models.
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools, reason = "independent quirks")]
pub struct Model {
    /// Takes timed moves.
    pub momentary: bool,
    /// A recorder with its movement and pictures behind the proxy paths.
    pub recorder: bool,
    /// Another user steers.
    pub occupied: bool,
    /// Says yes to a stop and moves on.
    pub ignores_stop: bool,
    /// Says where it looks.
    pub tells_position: bool,
    /// The account may not move.
    pub low_privilege: bool,
    /// Accounts that may look and not move.
    pub viewers: Vec<String>,
    /// Answers 401 to any request whose target has this in it, whatever the login.
    pub refuses: Option<&'static str>,
    /// Has `/ISAPI/Security/userCheck`.
    pub user_check: bool,
    /// Takes the size of a picture in the query.
    pub picture_size: bool,
    /// Knows only the old spelling of the picture's path.
    pub old_picture: bool,
    /// Has focus and iris motors.
    pub lens: bool,
    /// Empty = it gives none.
    pub picture: Vec<u8>,
    /// Tells how its stream is set: the port of RTSP, frames between keyframes at 25 a second.
    pub stream: Option<(u16, u32)>,
    /// Where its RTSP answers, as it says.
    pub rtsp_port: u16,
    pub clock: Clock,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            momentary: true,
            recorder: false,
            occupied: false,
            ignores_stop: false,
            tells_position: true,
            low_privilege: false,
            viewers: Vec::new(),
            refuses: None,
            user_check: true,
            picture_size: true,
            old_picture: false,
            lens: true,
            picture: vec![0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x01, 0xFF, 0xD9],
            stream: None,
            rtsp_port: 554,
            clock: Clock::real(),
        }
    }
}

/// The camera's insides.
pub struct Dome {
    pub gate: Gate,
    pub model: Model,
    pub head: Head,
    /// Number → name, pan, tilt, zoom.
    pub presets: BTreeMap<u32, (String, [f64; 3])>,
    /// The tour that runs.
    pub patrol: Option<u32>,
    /// How often it was told to restart (preset 94).
    pub reboots: u32,
}

/// The camera as a server.
pub type IsapiStandIn = HttpServer<Dome>;

/// Switches a camera on.
pub fn start(rules: GateRules, model: Model) -> IsapiStandIn {
    start_at(std::net::Ipv4Addr::LOCALHOST, rules, model)
}

/// The same, at an address of its own.
pub fn start_at(ip: std::net::Ipv4Addr, rules: GateRules, model: Model) -> IsapiStandIn {
    start_on(SocketAddr::from((ip, 0)), rules, model).unwrap()
}

/// The same, on this very port.
pub fn start_on(addr: SocketAddr, rules: GateRules, model: Model) -> std::io::Result<IsapiStandIn> {
    let presets = BTreeMap::from([(1, ("Entrance".to_owned(), [0.25, 0.0, 0.0]))]);
    let dome = Dome {
        gate: Gate::new(rules),
        model,
        head: Head::default(),
        presets,
        patrol: None,
        reboots: 0,
    };
    HttpServer::start_on(addr, dome)
}

impl IsapiStandIn {
    pub fn position(&self, axis: Axis) -> f64 {
        self.with(|dome| {
            let now = dome.model.clock.now();
            dome.head.position(axis, now)
        })
    }

    pub fn speed(&self, axis: Axis) -> f64 {
        self.with(|dome| {
            let now = dome.model.clock.now();
            dome.head.speed(axis, now)
        })
    }

    pub fn moving(&self) -> bool {
        self.with(|dome| {
            let now = dome.model.clock.now();
            dome.head.moving(now)
        })
    }
}

fn xml(status: u16, body: &str) -> Outgoing {
    Outgoing::new(
        status,
        "application/xml; charset=\"UTF-8\"",
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}\n"),
    )
    .with("Connection", "keep-alive")
    .with("Keep-Alive", "timeout=8, max=98")
}

fn status(http: u16, code: u32, string: &str, sub: &str) -> Outgoing {
    xml(
        http,
        &format!(
            "<ResponseStatus version=\"2.0\" xmlns=\"{NS}\">\n<statusCode>{code}</statusCode>\n<statusString>{string}</statusString>\n<subStatusCode>{sub}</subStatusCode>\n</ResponseStatus>"
        ),
    )
}

fn ok() -> Outgoing {
    status(200, 1, "OK", "ok")
}

fn not_supported() -> Outgoing {
    status(403, 4, "Invalid Operation", "notSupport")
}

fn bad_content() -> Outgoing {
    status(400, 6, "Invalid XML Content", "badXmlContent")
}

impl Site for Dome {
    fn answer(&mut self, request: &Incoming) -> Outgoing {
        match self.gate.judge(request) {
            Verdict::Pass => {}
            Verdict::Stop {
                status: http,
                headers,
                locked,
                tries_left,
            } => {
                let mut reply = if http == 403 {
                    Outgoing::new(403, "text/html", "<html>Document Error: Forbidden</html>")
                } else {
                    let (lock, unlock) = if locked {
                        ("lock", 1712)
                    } else {
                        ("unlock", 0)
                    };
                    let left = tries_left.map_or(String::new(), |n| {
                        format!("<retryLoginTime>{n}</retryLoginTime>")
                    });
                    xml(
                        http,
                        &format!(
                            "<userCheck version=\"2.0\" xmlns=\"{NS}\"><statusValue>401</statusValue><statusString>Unauthorized</statusString><lockStatus>{lock}</lockStatus><unlockTime>{unlock}</unlockTime>{left}</userCheck>"
                        ),
                    )
                };
                reply.headers.extend(headers);
                return reply;
            }
        }
        let refused = self.model.refuses;
        if refused.is_some_and(|part| request.target.contains(part)) {
            let mut reply = xml(
                401,
                "<userCheck><statusValue>401</statusValue><statusString>Unauthorized</statusString></userCheck>",
            );
            if let Verdict::Stop { headers, .. } = self.gate.challenge(request, false) {
                reply.headers.extend(headers);
            }
            return reply;
        }
        let has_body = !request.body.is_empty();
        if has_body && request.header("Content-Type") != Some("application/xml") {
            return status(400, 5, "Invalid XML Format", "badXmlFormat");
        }
        if has_body && !request.body.starts_with(b"<?xml") {
            return status(400, 5, "Invalid XML Format", "badXmlFormat");
        }
        self.route(request)
    }
}

impl Dome {
    fn route(&mut self, request: &Incoming) -> Outgoing {
        let path: Vec<&str> = request.path().split('/').skip(1).collect();
        let method = request.method.as_str();
        match (method, path.as_slice()) {
            ("GET", ["ISAPI", "Security", "userCheck"]) if self.model.user_check => xml(
                200,
                &format!(
                    "<userCheck version=\"2.0\" xmlns=\"{NS}\"><statusValue>200</statusValue><statusString>OK</statusString></userCheck>"
                ),
            ),
            ("GET", ["ISAPI", "System", "deviceInfo"]) => self.device_info(),
            (_, ["ISAPI", "PTZCtrl", "channels", channel, rest @ ..]) => {
                if self.model.recorder {
                    return bad_content();
                }
                self.ptz(method, channel, rest, request)
            }
            (
                _,
                [
                    "ISAPI",
                    "ContentMgmt",
                    "PTZCtrlProxy",
                    "channels",
                    channel,
                    rest @ ..,
                ],
            ) if self.model.recorder => self.ptz(method, channel, rest, request),
            (_, ["ISAPI", "System", "Video", "inputs", "channels", "1", motor]) => {
                self.lens(method, motor, request)
            }
            ("GET", ["ISAPI", "Streaming", "channels", "101", "capabilities"]) => xml(
                200,
                &format!(
                    "<StreamingChannel version=\"2.0\" xmlns=\"{NS}\"><id>101</id><Video><videoCodecType opt=\"H.264,H.265\">H.264</videoCodecType><videoResolutionWidth opt=\"1920,1280\">1920</videoResolutionWidth><videoResolutionHeight opt=\"1080,720\">1080</videoResolutionHeight><maxFrameRate opt=\"2500,2000\">2500</maxFrameRate></Video></StreamingChannel>"
                ),
            ),
            ("GET", ["ISAPI", "Streaming", "channels", "101"]) if self.model.stream.is_some() => {
                let (port, frames) = self.model.stream.unwrap();
                xml(
                    200,
                    &format!(
                        "<StreamingChannel version=\"2.0\" xmlns=\"{NS}\"><id>101</id><Transport><rtspPortNo>{port}</rtspPortNo></Transport><Video><videoCodecType>H.264</videoCodecType><maxFrameRate>2500</maxFrameRate><GovLength>{frames}</GovLength><SmartCodec><enabled>false</enabled></SmartCodec></Video></StreamingChannel>"
                    ),
                )
            }
            ("GET", ["ISAPI", "Security", "adminAccesses"]) => xml(
                200,
                &format!(
                    "<AdminAccessProtocolList version=\"2.0\" xmlns=\"{NS}\"><AdminAccessProtocol><id>1</id><enabled>true</enabled><protocol>HTTP</protocol><portNo>80</portNo></AdminAccessProtocol><AdminAccessProtocol><id>2</id><enabled>true</enabled><protocol>RTSP</protocol><portNo>{}</portNo></AdminAccessProtocol></AdminAccessProtocolList>",
                    self.model.rtsp_port
                ),
            ),
            ("GET", ["ISAPI", "Streaming", "channels", id, "picture"]) => {
                let expected = if self.model.old_picture { "1" } else { "101" };
                if self.model.recorder {
                    return bad_content();
                }
                if *id != expected {
                    return not_supported();
                }
                self.picture(request)
            }
            (
                "GET",
                [
                    "ISAPI",
                    "ContentMgmt",
                    "StreamingProxy",
                    "channels",
                    "101",
                    "picture",
                ],
            ) if self.model.recorder => self.picture(request),
            _ => Outgoing::new(404, "text/html", "<html>Document Error: Not Found</html>"),
        }
    }

    fn device_info(&self) -> Outgoing {
        let kind = if self.model.recorder { "NVR" } else { "IPDome" };
        xml(
            200,
            &format!(
                "<DeviceInfo version=\"2.0\" xmlns=\"{NS}\">\n<deviceName>Yard</deviceName>\n<model>DS-2DF7276</model>\n<serialNumber>DS-2DF72760120210101AAWRF01234567</serialNumber>\n<macAddress>44:19:B6:01:02:03</macAddress>\n<firmwareVersion>V5.8.1</firmwareVersion>\n<firmwareReleasedDate>build 240929</firmwareReleasedDate>\n<deviceType>{kind}</deviceType>\n</DeviceInfo>"
            ),
        )
    }

    fn picture(&self, request: &Incoming) -> Outgoing {
        if self.model.picture.is_empty() {
            return status(500, 3, "Device Error", "deviceError");
        }
        if request.target.contains('?') && !self.model.picture_size {
            return not_supported();
        }
        Outgoing::new(
            200,
            "image/jpeg; charset=\"UTF-8\"",
            self.model.picture.clone(),
        )
    }

    fn ptz(&mut self, method: &str, channel: &str, rest: &[&str], request: &Incoming) -> Outgoing {
        if channel != "1" {
            return bad_content();
        }
        let now = self.model.clock.now();
        let views = self.model.viewers.contains(&self.gate.user);
        if method != "GET" && (self.model.low_privilege || views) {
            return status(403, 4, "Invalid Operation", "lowPrivilege");
        }
        if method == "PUT" && self.model.occupied {
            return status(403, 4, "Invalid Operation", "ptzOccupiedPriority");
        }
        match (method, rest) {
            ("PUT", ["continuous"]) => self.drive(&request.text(), None, now),
            ("PUT", ["momentary"]) if self.model.momentary => {
                let text = request.text();
                let Some(time) = tag(&text, "duration").and_then(|t| t.parse().ok()) else {
                    return bad_content();
                };
                self.drive(&text, Some(Duration::from_millis(time)), now)
            }
            ("GET", ["status"]) if self.model.tells_position => {
                let at = |axis, head: &mut Head| (head.position(axis, now) * 100.0).round();
                let (pan, tilt, zoom) = (
                    at(Axis::Pan, &mut self.head),
                    at(Axis::Tilt, &mut self.head),
                    at(Axis::Zoom, &mut self.head),
                );
                xml(
                    200,
                    &format!(
                        "<PTZStatus xmlns=\"{NS}\"><AbsoluteHigh><elevation>{tilt}</elevation><azimuth>{pan}</azimuth><absoluteZoom>{zoom}</absoluteZoom></AbsoluteHigh></PTZStatus>"
                    ),
                )
            }
            ("GET", ["capabilities"]) => xml(
                200,
                &format!(
                    "<PTZChanelCap version=\"2.0\" xmlns=\"{NS}\"><ContinuousPanTiltSpace><XRange><Min>-100</Min><Max>100</Max></XRange></ContinuousPanTiltSpace><ContinuousZoomSpace/><maxPresetNum>300</maxPresetNum><maxPatrolNum>8</maxPatrolNum><PresetNameCap><specialNo opt=\"33,34,92,94\"/></PresetNameCap></PTZChanelCap>"
                ),
            ),
            ("GET", ["presets"]) => {
                let mut list = String::new();
                for (id, (name, _)) in &self.presets {
                    let name = name.replace('&', "&amp;").replace('<', "&lt;");
                    let _ = write!(
                        list,
                        "<PTZPreset><enabled>true</enabled><id>{id}</id><presetName>{name}</presetName></PTZPreset>"
                    );
                }
                xml(
                    200,
                    &format!(
                        "<PTZPresetList version=\"2.0\" xmlns=\"{NS}\">{list}<PTZPreset><enabled>true</enabled><id>94</id><presetName>Remote reboot</presetName></PTZPreset></PTZPresetList>"
                    ),
                )
            }
            (_, ["presets", id, rest @ ..]) => {
                let Ok(id) = id.parse() else {
                    return bad_content();
                };
                self.preset(method, id, rest, request, now)
            }
            ("PUT", ["patrols", id, "start"]) if request.body.is_empty() => {
                if self.head.moving(now) {
                    return status(403, 4, "Invalid Operation", "invalidOperation");
                }
                self.patrol = id.parse().ok();
                ok()
            }
            ("PUT", ["patrols", _, "stop"]) if request.body.is_empty() => {
                self.patrol = None;
                ok()
            }
            ("PUT", ["onepushfoucs", "start"]) if self.model.lens => {
                self.head.drive(Axis::Focus, 0.0, now, None);
                ok()
            }
            _ => not_supported(),
        }
    }

    fn preset(
        &mut self,
        method: &str,
        id: u32,
        rest: &[&str],
        request: &Incoming,
        now: Duration,
    ) -> Outgoing {
        match (method, rest) {
            ("PUT", ["goto"]) if request.body.is_empty() => {
                if id == 94 {
                    self.reboots += 1;
                    return ok();
                }
                let Some((_, place)) = self.presets.get(&id) else {
                    return status(403, 4, "Invalid Operation", "invalidOperation");
                };
                for (axis, place) in [Axis::Pan, Axis::Tilt, Axis::Zoom].into_iter().zip(*place) {
                    self.head.jump(axis, place, now);
                }
                ok()
            }
            ("PUT", []) => {
                let text = request.text();
                let (Some(inner), Some(name)) = (tag(&text, "id"), tag(&text, "presetName")) else {
                    return bad_content();
                };
                // A name that closes its own element, or an id that is not the path's.
                if inner != id.to_string()
                    || text.matches("<presetName>").count() != 1
                    || name.contains('<')
                    || name.len() > 200
                {
                    return bad_content();
                }
                let name = name
                    .replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&quot;", "\"")
                    .replace("&apos;", "'")
                    .replace("&amp;", "&");
                let place = [Axis::Pan, Axis::Tilt, Axis::Zoom].map(|a| self.head.position(a, now));
                self.presets.insert(id, (name, place));
                ok()
            }
            ("DELETE", []) => {
                self.presets.remove(&id);
                ok()
            }
            _ => not_supported(),
        }
    }

    /// An axis that is left out is not touched.
    fn drive(&mut self, text: &str, runs_for: Option<Duration>, now: Duration) -> Outgoing {
        if tag(text, "PTZData").is_none() {
            return bad_content();
        }
        self.patrol = None;
        let mut speeds = Vec::new();
        for (name, axis) in [
            ("pan", Axis::Pan),
            ("tilt", Axis::Tilt),
            ("zoom", Axis::Zoom),
        ] {
            let Some(value) = tag(text, name) else {
                continue;
            };
            match value.parse::<i32>() {
                Ok(n) if (-100..=100).contains(&n) => speeds.push((axis, n)),
                _ => return status(400, 6, "Invalid XML Content", "badParameters"),
            }
        }
        if self.model.ignores_stop && speeds.iter().all(|(_, speed)| *speed == 0) {
            return ok();
        }
        for (axis, speed) in speeds {
            self.head
                .drive(axis, f64::from(speed) / 100.0, now, runs_for);
        }
        ok()
    }

    fn lens(&mut self, method: &str, motor: &str, request: &Incoming) -> Outgoing {
        let axis = match motor {
            "focus" => Axis::Focus,
            "iris" => Axis::Iris,
            _ => return not_supported(),
        };
        if !self.model.lens {
            return not_supported();
        }
        if method == "GET" {
            return xml(
                200,
                &format!("<Lens xmlns=\"{NS}\"><{motor}>0</{motor}></Lens>"),
            );
        }
        let now = self.model.clock.now();
        match tag(&request.text(), motor).and_then(|t| t.parse::<i32>().ok()) {
            Some(n) if (-100..=100).contains(&n) => {
                self.head.drive(axis, f64::from(n) / 100.0, now, None);
                ok()
            }
            _ => bad_content(),
        }
    }
}

/// What stands between the first `<name>` and the last `</name>`.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("<{name}>");
    let begin = text.find(&open)? + open.len();
    let end = text.rfind(&format!("</{name}>"))?;
    text.get(begin..end)
}
