//! A stand-in ONVIF camera: strict about namespaces, paths, logins, nonces and its clock, with
//! motors that turn, and with the quirks of real ones on demand. Reads XML with its namespaces,
//! apart from lss's own reader.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use sha1::Digest as _;

use super::camera_head::{Axis, Clock, Head};
use super::camera_http::{HttpServer, Incoming, Outgoing, Site};
use super::digest_server::{Gate, GateRules, Verdict};

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const SOAP_1_1: &str = "http://schemas.xmlsoap.org/soap/envelope/";
pub(super) const TT: &str = "http://www.onvif.org/ver10/schema";
pub(super) const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
pub(super) const MEDIA: &str = "http://www.onvif.org/ver10/media/wsdl";
pub(super) const MEDIA2: &str = "http://www.onvif.org/ver20/media/wsdl";
pub(super) const PTZ: &str = "http://www.onvif.org/ver20/ptz/wsdl";
pub(super) const IMAGING: &str = "http://www.onvif.org/ver20/imaging/wsdl";
const WSSE: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";

/// Where it wants its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginMode {
    Open,
    /// In the message; HTTP is not asked for.
    Token,
    /// Around it; a token is not looked at.
    Digest,
    /// Either; strangers are asked for Digest.
    Both,
}

/// What it answers to; to all else with 200 and nothing, but for the first, which refuses an
/// action wherever it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Understands {
    Soap12,
    /// Named or not.
    Soap12AnyAction,
    Soap12WithAction,
    Soap11,
}

/// What it does with `Stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    Works,
    Unsupported,
    Ignored,
}

/// What differs between models.
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools, reason = "independent quirks")]
pub struct OnvifModel {
    pub understands: Understands,
    pub login: LoginMode,
    /// Seconds that its clock is ahead of ours.
    pub clock_ahead: i64,
    /// Seconds that `UTCDateTime` is ahead of the clock it checks with.
    pub utc_ahead: i64,
    /// Its clock is told to users only.
    pub clock_needs_login: bool,
    /// Host and port that it advertises.
    pub xaddr: String,
    /// Paths that it advertises are not there; the usual ones are.
    pub wrong_paths: bool,
    /// Its movement service is on another port.
    pub ptz_elsewhere: bool,
    pub media1: bool,
    pub media2: bool,
    /// Knows `GetServices`.
    pub services: bool,
    /// Names its movement in `GetCapabilities`.
    pub ptz_in_capabilities: bool,
    /// Seconds that a move can be given, as it says.
    pub timeouts: Option<(u64, u64)>,
    /// Refuses times all the same.
    pub refuses_timeouts: bool,
    /// Role, codes and words of that refusal.
    pub timeout_refusal: (&'static str, &'static str, &'static str),
    /// Ends moves without a time by itself.
    pub default_timeout: Option<Duration>,
    /// Does not turn and zoom in one word.
    pub one_axis_only: bool,
    /// Moves only if both are named.
    pub both_axes_only: bool,
    /// Refuses a move that names its zoom, or pan and tilt, moving or not.
    pub refuses_zoom: bool,
    pub refuses_pan_tilt: bool,
    /// Refuses velocity zero.
    pub refuses_zero: bool,
    pub stop: StopMode,
    /// Takes velocity zero and turns on.
    pub ignores_zero: bool,
    /// Says whether it moves.
    pub tells_motion: bool,
    /// The account may look and not move, in the words for a wrong login.
    pub may_not_move: bool,
    /// Accounts of which that is so.
    pub viewers: Vec<String>,
    /// Tells strangers who it is.
    pub open_information: bool,
    /// Refusals of a login come as 401 and ask for Basic, whatever was sent.
    pub asks_for_basic: bool,
    /// Faults come with HTTP 200.
    pub faults_in_200: bool,
    /// A byte order mark, no prefixes, numbers with exponents.
    pub odd_style: bool,
    pub profile: String,
    /// More views of the same video source, each of which moves by a profile of its own.
    pub views: Vec<&'static str>,
    /// Where its device service is.
    pub device_path: &'static str,
    pub focus: bool,
    pub iris: bool,
    pub picture: Option<Vec<u8>>,
    /// Where its stream is, as it says.
    pub stream: String,
    pub clock: Clock,
}

impl Default for OnvifModel {
    fn default() -> Self {
        Self {
            understands: Understands::Soap12,
            login: LoginMode::Token,
            clock_ahead: 0,
            utc_ahead: 0,
            clock_needs_login: false,
            xaddr: "192.168.1.88:8080".to_owned(),
            wrong_paths: false,
            ptz_elsewhere: false,
            media1: true,
            media2: false,
            services: true,
            ptz_in_capabilities: true,
            timeouts: None,
            refuses_timeouts: false,
            timeout_refusal: ("Sender", "InvalidArgVal/TimeoutNotSupported", "timeout"),
            default_timeout: None,
            one_axis_only: false,
            both_axes_only: false,
            refuses_zoom: false,
            refuses_pan_tilt: false,
            refuses_zero: false,
            stop: StopMode::Works,
            ignores_zero: false,
            tells_motion: true,
            may_not_move: false,
            viewers: Vec::new(),
            open_information: false,
            asks_for_basic: false,
            faults_in_200: false,
            odd_style: false,
            profile: "Profile_2 <PTZ>".to_owned(),
            views: Vec::new(),
            device_path: "/onvif/device_service",
            focus: true,
            iris: true,
            picture: Some(vec![0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x01, 0xFF, 0xD9]),
            stream: "rtsp://u:p@192.168.1.88:8554/main?a=1&b=2".to_owned(),
            clock: Clock::real(),
        }
    }
}

/// The camera's insides.
pub struct OnvifDevice {
    pub gate: Gate,
    pub model: OnvifModel,
    pub head: Head,
    /// Token → name, pan, tilt, zoom.
    pub presets: BTreeMap<String, (String, [f64; 3])>,
    pub tour: Option<String>,
    pub auto_focus: bool,
    pub iris: f64,
    /// Operations in the order they came.
    pub operations: Vec<String>,
    /// Tokens that were refused.
    pub refused_tokens: u32,
    /// The profile of the view that was last set going: a stop of another leaves it alone.
    pub view: String,
    nonces: HashSet<String>,
}

/// The camera as a server.
pub type OnvifStandIn = HttpServer<OnvifDevice>;

/// Switches a camera on.
pub fn start(rules: GateRules, model: OnvifModel) -> OnvifStandIn {
    start_on(SocketAddr::from(([127, 0, 0, 1], 0)), rules, model).unwrap()
}

/// The same, on this very port.
pub fn start_on(
    addr: SocketAddr,
    rules: GateRules,
    model: OnvifModel,
) -> std::io::Result<OnvifStandIn> {
    let presets = BTreeMap::from([
        ("1".to_owned(), ("Entrance".to_owned(), [0.25, 0.0, 0.0])),
        (
            "guid-2".to_owned(),
            ("Gate & <Yard>".to_owned(), [0.5, 0.5, 0.0]),
        ),
    ]);
    let device = OnvifDevice {
        gate: Gate::new(rules),
        model,
        head: Head::default(),
        presets,
        tour: None,
        auto_focus: false,
        iris: 10.0,
        operations: Vec::new(),
        refused_tokens: 0,
        view: String::new(),
        nonces: HashSet::new(),
    };
    HttpServer::start_on(addr, device)
}

impl OnvifStandIn {
    pub fn position(&self, axis: Axis) -> f64 {
        self.with(|device| {
            let now = device.model.clock.now();
            device.head.position(axis, now)
        })
    }

    pub fn moving(&self) -> bool {
        self.with(|device| {
            let now = device.model.clock.now();
            device.head.moving(now)
        })
    }

    /// Operations so far, and forgets them.
    pub fn take_operations(&self) -> Vec<String> {
        self.with(|device| std::mem::take(&mut device.operations))
    }
}

/// An element with its namespace.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) text: String,
    pub(super) children: Vec<Node>,
}

impl Node {
    pub(super) fn child(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.children
            .iter()
            .find(|c| c.namespace == namespace && c.name == name)
    }

    pub(super) fn text_of(&self, namespace: &str, name: &str) -> Option<&str> {
        self.child(namespace, name).map(|c| c.text.as_str())
    }
}

fn parse(text: &str) -> Option<Node> {
    let mut reader = quick_xml::NsReader::from_str(text);
    let mut open = vec![Node::default()];
    let node = |namespace: ResolveResult, start: &BytesStart| {
        let ResolveResult::Bound(namespace) = namespace else {
            return None;
        };
        let mut node = Node {
            namespace: namespace.0.to_owned(),
            name: start.local_name().as_ref().to_owned(),
            ..Node::default()
        };
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let value = quick_xml::escape::unescape(&attribute.value).ok()?;
            node.attributes
                .insert(attribute.key.as_ref().to_owned(), value.into_owned());
        }
        Some(node)
    };
    loop {
        match reader.read_resolved_event().ok()? {
            (namespace, Event::Start(start)) => open.push(node(namespace, &start)?),
            (namespace, Event::Empty(start)) => {
                let done = node(namespace, &start)?;
                open.last_mut()?.children.push(done);
            }
            (_, Event::End(_)) => {
                let done = open.pop()?;
                open.last_mut()?.children.push(done);
            }
            (_, Event::Text(text)) => open.last_mut()?.text.push_str(&text),
            (_, Event::GeneralRef(reference)) => {
                let known = quick_xml::escape::resolve_xml_entity(&reference.xml10_content())
                    .map(str::to_owned)
                    .or_else(|| {
                        reference
                            .resolve_char_ref()
                            .ok()
                            .flatten()
                            .map(String::from)
                    });
                open.last_mut()?.text.push_str(&known?);
            }
            (_, Event::Eof) => break,
            (_, Event::Decl(_)) => {}
            _ => return None,
        }
    }
    let document = open.pop().filter(|_| open.is_empty())?;
    document.children.into_iter().next()
}

pub(super) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

/// A refusal in SOAP.
pub(super) struct Fault(&'static str, &'static str, String);

pub(super) fn fault(role: &'static str, subcode: &'static str, reason: &str) -> Fault {
    Fault(role, subcode, reason.to_owned())
}

pub(super) type Answer = Result<String, Fault>;

impl Site for OnvifDevice {
    fn answer(&mut self, request: &Incoming) -> Outgoing {
        if request.method == "GET" && request.target == "/picture?x=1&y=2" {
            return self.picture(request);
        }
        if request.method != "POST" {
            return Outgoing::new(405, "text/html", "<html>405</html>");
        }
        let Some(services) = self.services_at(request.path()) else {
            return Outgoing::new(404, "text/html", "<html>404</html>");
        };
        let kind = request.header("Content-Type").unwrap_or_default();
        let action = kind.contains("action=\"http") || request.header("SOAPAction").is_some();
        let soap = match self.model.understands {
            Understands::Soap12 if action => {
                let words = "The [action] cannot be processed at the receiver.";
                return self.fault_reply(&fault("Receiver", "ActionNotSupported", words));
            }
            Understands::Soap12WithAction if !action => {
                return Outgoing::new(200, "text/plain", "");
            }
            Understands::Soap12 | Understands::Soap12AnyAction | Understands::Soap12WithAction => {
                SOAP
            }
            Understands::Soap11 if !request.text().contains(SOAP_1_1) => {
                return Outgoing::new(200, "text/plain", "");
            }
            Understands::Soap11 if request.header("SOAPAction").is_none() => {
                return Outgoing::new(400, "text/plain", "no SOAPAction");
            }
            Understands::Soap11 => SOAP_1_1,
        };
        let expected = match soap {
            SOAP_1_1 => "text/xml",
            _ => "application/soap+xml",
        };
        if !kind.starts_with(expected) {
            return Outgoing::new(415, "text/html", "<html>415</html>");
        }
        let Some(envelope) = parse(&request.text()) else {
            return self.fault_reply(&fault("Sender", "WellFormed", "not well formed"));
        };
        if envelope.namespace != soap || envelope.name != "Envelope" {
            return self.fault_reply(&fault("VersionMismatch", "VersionMismatch", "SOAP 1.2"));
        }
        let header = envelope.child(soap, "Header");
        let security = header.and_then(|h| h.child(WSSE, "Security"));
        if header.is_some_and(|h| h.children.len() != usize::from(security.is_some())) {
            self.violation("a header that is no login");
        }
        let Some(operation) = envelope
            .child(soap, "Body")
            .and_then(|b| b.children.first())
        else {
            return self.fault_reply(&fault("Sender", "InvalidArgs", "no body"));
        };
        self.operations.push(operation.name.clone());
        if request.header("Authorization").is_some() && security.is_some() {
            self.violation("both logins in one request");
        }
        let open = match operation.name.as_str() {
            "GetSystemDateAndTime" => !self.model.clock_needs_login,
            "GetDeviceInformation" => self.model.open_information && security.is_none(),
            _ => false,
        };
        if let Some(refusal) = self.check_login(request, security, open) {
            return refusal;
        }
        if !services.contains(&operation.namespace.as_str()) {
            return self.fault_reply(&fault("Receiver", "ActionNotSupported", "not at this path"));
        }
        match self.dispatch(operation) {
            Ok(inside) => self.reply(&operation.namespace, &operation.name, &inside),
            Err(fault) => self.fault_reply(&fault),
        }
    }
}

impl OnvifDevice {
    fn violation(&mut self, what: &str) {
        self.gate.violations.push(what.to_owned());
    }

    fn services_at(&self, path: &str) -> Option<Vec<&'static str>> {
        let (media, ptz, imaging) = if self.model.wrong_paths {
            (
                "/onvif/media_service",
                "/onvif/ptz_service",
                "/onvif/imaging_service",
            )
        } else {
            ("/onvif/Media", "/onvif/Ptz?a=b", "/onvif/Imaging")
        };
        let ptz = ptz.split('?').next().unwrap();
        if path == self.model.device_path {
            Some(vec![DEVICE])
        } else if path == media {
            let mut all = Vec::new();
            all.extend(self.model.media1.then_some(MEDIA));
            all.extend(self.model.media2.then_some(MEDIA2));
            Some(all)
        } else if path == ptz && !self.model.ptz_elsewhere {
            Some(vec![PTZ])
        } else if path == imaging {
            Some(vec![IMAGING])
        } else {
            None
        }
    }

    pub(super) fn xaddr(&self, service: &str) -> String {
        let path = if self.model.wrong_paths {
            format!("/wrong/{service}")
        } else if service == "Ptz" {
            "/onvif/Ptz?a=b".to_owned()
        } else {
            format!("/onvif/{service}")
        };
        escape(&format!("http://{}{path}", self.model.xaddr))
    }

    /// The clock that logins are checked with.
    pub(super) fn clock(&self) -> SystemTime {
        shift(SystemTime::now(), self.model.clock_ahead)
    }

    fn check_login(
        &mut self,
        request: &Incoming,
        security: Option<&Node>,
        open: bool,
    ) -> Option<Outgoing> {
        let mode = self.model.login;
        if mode == LoginMode::Open {
            return None;
        }
        if let Some(security) = security.filter(|_| mode != LoginMode::Digest) {
            // Whatever is there is looked at, also where nothing would be needed.
            return match self.check_token(security) {
                Ok(()) => None,
                Err(why) => {
                    self.refused_tokens += 1;
                    let text = format!("{why}. You still have 26 attempt(s)");
                    Some(self.fault_reply(&fault("Sender", "NotAuthorized", &text)))
                }
            };
        }
        if open {
            return None;
        }
        if mode == LoginMode::Token {
            return Some(self.fault_reply(&fault("Sender", "NotAuthorized", "no login")));
        }
        match self.gate.judge(request) {
            Verdict::Pass => None,
            Verdict::Stop {
                status, headers, ..
            } => {
                let mut reply = Outgoing::new(status, "text/html", "<html>Unauthorized</html>");
                reply.headers.extend(headers);
                Some(reply)
            }
        }
    }

    fn check_token(&mut self, security: &Node) -> Result<(), &'static str> {
        let base64 = base64::engine::general_purpose::STANDARD;
        let token = security.child(WSSE, "UsernameToken").ok_or("no token")?;
        let text = |name| token.text_of(WSSE, name).ok_or("incomplete token");
        let created = &token
            .children
            .iter()
            .find(|c| c.name == "Created")
            .ok_or("no time")?
            .text;
        let password = token.child(WSSE, "Password").ok_or("no password")?;
        if password
            .attributes
            .get("Type")
            .is_none_or(|t| !t.ends_with("#PasswordDigest"))
        {
            self.violation("a password that is no digest");
            return Err("password type");
        }
        let nonce = base64.decode(text("Nonce")?).map_err(|_| "nonce")?;
        if nonce.len() > 22 || created.len() != 24 || !created.ends_with('Z') {
            self.violation("a nonce or time that some cameras refuse");
        }
        if !self.nonces.insert(text("Nonce")?.to_owned()) {
            self.violation("a nonce used twice");
            return Err("replay");
        }
        let when = humantime::parse_rfc3339(created).map_err(|_| "time")?;
        let clock = self.clock();
        let apart = clock.duration_since(when).unwrap_or_else(|e| e.duration());
        if apart > Duration::from_secs(5) {
            return Err("time check failed");
        }
        let mut hash = sha1::Sha1::new();
        hash.update(&nonce);
        hash.update(created.as_bytes());
        let user = text("Username")?;
        let right = self.gate.rules.password_of(user).ok_or("no such user")?;
        hash.update(right.as_bytes());
        if password.text != base64.encode(hash.finalize()) {
            return Err("wrong password");
        }
        user.clone_into(&mut self.gate.user);
        Ok(())
    }

    fn reply(&self, namespace: &str, name: &str, inside: &str) -> Outgoing {
        let text = if self.model.odd_style {
            // Without any prefix, each level with its own default namespace.
            let inside = inside
                .replace("<tt:", "<")
                .replace("</tt:", "</")
                .replace("<x:", "<")
                .replace("</x:", "</");
            format!(
                "\u{feff}\r\n\r\n<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><Envelope xmlns=\"{SOAP}\"><Body>\r\n<{name}Response xmlns=\"{namespace}\">{inside}</{name}Response></Body></Envelope>"
            )
        } else {
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<env:Envelope xmlns:env=\"{SOAP}\" xmlns:x=\"{namespace}\" xmlns:tt=\"{TT}\"><env:Header/><env:Body><x:{name}Response>{inside}</x:{name}Response></env:Body></env:Envelope>"
            )
        };
        Outgoing::new(200, "application/soap+xml; charset=utf-8", text)
    }

    fn fault_reply(&self, Fault(role, subcode, reason): &Fault) -> Outgoing {
        let basic = self.model.asks_for_basic && *subcode == "NotAuthorized";
        let status = match (self.model.faults_in_200, *role) {
            _ if basic => 401,
            (true, _) => 200,
            (false, "Receiver") => 500,
            (false, _) => 400,
        };
        let subcodes = subcode
            .split('/')
            .rev()
            .filter(|c| !c.is_empty())
            .fold(String::new(), |inner, code| {
                format!("<e:Subcode><e:Value>ter:{code}</e:Value>{inner}</e:Subcode>")
            });
        let text = format!(
            "<?xml version=\"1.0\"?><e:Envelope xmlns:e=\"{SOAP}\"><e:Body><e:Fault><e:Code><e:Value>e:{role}</e:Value>{subcodes}</e:Code><e:Reason><e:Text xml:lang=\"en\">{}</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>",
            escape(reason)
        );
        let mut reply = Outgoing::new(status, "application/soap+xml", text);
        if basic {
            let ask = (
                "WWW-Authenticate".to_owned(),
                "Basic realm=\"gSOAP\"".to_owned(),
            );
            reply.headers.push(ask);
        }
        reply
    }

    fn picture(&mut self, request: &Incoming) -> Outgoing {
        if self.model.login != LoginMode::Open
            && let Verdict::Stop {
                status, headers, ..
            } = self.gate.judge(request)
        {
            let mut reply = Outgoing::new(status, "text/html", "<html>no</html>");
            reply.headers.extend(headers);
            return reply;
        }
        Outgoing::new(
            200,
            "image/jpeg",
            self.model.picture.clone().unwrap_or_default(),
        )
    }
}

pub(super) fn shift(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - by } else { time + by }
}
