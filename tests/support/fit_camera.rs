//! A stand-in camera whose encoder can be set, by ISAPI and by either media service of ONVIF, that
//! plays what it is set to by RTSP, and lies on demand. It takes settings only whole.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine as _;

use super::camera_http::{Fault, HttpServer, Incoming, Outgoing, Site};
use super::digest_server::{Gate, GateRules, Verdict};

const NS: &str = "http://www.hikvision.com/ver20/XMLSchema";
const TT: &str = "http://www.onvif.org/ver10/schema";
const MEDIA: &str = "http://www.onvif.org/ver10/media/wsdl";
const MEDIA2: &str = "http://www.onvif.org/ver20/media/wsdl";
const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
/// Most bytes of a packet: so small that slices come in fragments.
const PACKET: usize = 500;

/// What it does with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lie {
    #[default]
    None,
    /// Says yes to a change and makes none.
    Ignores,
    /// Shows the new keyframe distance and keeps the old one.
    KeepsKeyframes,
    /// Shows the new profile and keeps the old one.
    KeepsProfile,
    /// Has B-frames in Main.
    BFrames,
    /// Refuses every change.
    Refuses,
    /// Says yes, and makes its changes one after the other when [`FitCamera::catch_up`] lets it.
    Late,
}

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    Isapi,
    Media,
    Media2,
}

/// How one stream is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoder {
    pub codec: String,
    pub profile: String,
    pub size: (u32, u32),
    pub fps: u32,
    pub kbps: u32,
    pub gov: u32,
    pub smart: bool,
}

/// The camera's insides.
pub struct Insides {
    pub face: Face,
    pub lie: Lie,
    /// Main and sub.
    pub encoders: [Encoder; 2],
    /// What the streams really are, where that is not what is shown.
    sent: [Encoder; 2],
    pub profiles: &'static str,
    /// Codec of the sound, by the first media service alone; `None` = it has none.
    pub sound: Option<String>,
    /// What is still to be made of what was asked for.
    waiting: Vec<(usize, Encoder)>,
    /// Changes that were accepted.
    pub writes: u32,
    pub knows_keyframes: bool,
    /// Keyframes that were asked for.
    pub keyframes: u32,
    rtsp: u16,
}

type Shared = Arc<Mutex<Insides>>;

/// The HTTP side.
pub struct FitSite {
    gate: Gate,
    inside: Shared,
}

/// A running camera.
pub struct FitCamera {
    http: HttpServer<FitSite>,
    inside: Shared,
    rtsp: Player,
}

impl FitCamera {
    /// As most cameras leave the box: High, a keyframe every 4 s.
    pub fn start(face: Face, lie: Lie) -> Self {
        let encoder = |codec: &str, size, kbps| Encoder {
            codec: codec.to_owned(),
            profile: "High".to_owned(),
            size,
            fps: 25,
            kbps,
            gov: 100,
            smart: face == Face::Isapi,
        };
        let main = if face == Face::Media { "H264" } else { "H265" };
        let encoders = [
            encoder(main, (2560, 1440), 4096),
            encoder("H264", (640, 360), 512),
        ];
        let inside = Arc::new(Mutex::new(Insides {
            face,
            lie,
            sent: encoders.clone(),
            encoders,
            profiles: "Baseline,Main,High",
            sound: None,
            waiting: Vec::new(),
            writes: 0,
            knows_keyframes: true,
            keyframes: 0,
            rtsp: 0,
        }));
        let rtsp = Player::start(Arc::clone(&inside));
        inside.lock().unwrap().rtsp = rtsp.addr.port();
        let site = FitSite {
            gate: Gate::new(GateRules::default()),
            inside: Arc::clone(&inside),
        };
        Self {
            http: HttpServer::start(site),
            inside,
            rtsp,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.http.addr
    }

    pub fn with<T>(&self, use_it: impl FnOnce(&mut Insides) -> T) -> T {
        use_it(&mut self.inside.lock().unwrap())
    }

    /// The sub stream's settings.
    pub fn sub(&self) -> Encoder {
        self.with(|inside| inside.encoders[1].clone())
    }

    /// Every answer by HTTP comes so late.
    pub fn answers_after(&self, time: std::time::Duration) {
        self.http.fault("/", Fault::LateAnswer(time), usize::MAX);
    }

    /// The next change of the picture is made and answered, and then the service starts again.
    pub fn restarts_after_the_picture(&self, away: std::time::Duration) {
        let needle = "<SetVideoEncoderConfiguration ";
        self.http.fault(needle, Fault::Restart(away), 1);
    }

    /// Makes what it has put off ([`Lie::Late`]).
    pub fn catch_up(&self) {
        self.with(|inside| {
            for (index, asked) in std::mem::take(&mut inside.waiting) {
                inside.encoders[index] = asked.clone();
                inside.sent[index] = asked;
            }
        });
    }

    /// RTSP is switched off.
    pub fn stop_playing(&self) {
        self.rtsp.stop();
    }
}

impl Insides {
    /// A change as it was asked for; whether it is taken.
    fn take(&mut self, index: usize, asked: Encoder) -> bool {
        if self.lie == Lie::Refuses {
            return false;
        }
        self.writes += 1;
        if self.lie == Lie::Ignores {
            return true;
        }
        if self.lie == Lie::Late {
            self.waiting.push((index, asked));
            return true;
        }
        let old = self.sent[index].clone();
        let mut sent = asked.clone();
        match self.lie {
            Lie::KeepsKeyframes => sent.gov = old.gov,
            Lie::KeepsProfile => sent.profile = old.profile,
            _ => {}
        }
        self.encoders[index] = asked;
        self.sent[index] = sent;
        true
    }
}

impl Site for FitSite {
    fn answer(&mut self, request: &Incoming) -> Outgoing {
        let face = self.inside.lock().unwrap().face;
        if face != Face::Isapi {
            return self.soap(request);
        }
        if let Verdict::Stop {
            status, headers, ..
        } = self.gate.judge(request)
        {
            let text = "<userCheck><statusValue>401</statusValue></userCheck>";
            let mut reply = Outgoing::new(status, "application/xml", text);
            reply.headers.extend(headers);
            return reply;
        }
        self.isapi(request)
    }
}

impl FitSite {
    fn isapi(&mut self, request: &Incoming) -> Outgoing {
        let xml = |status, body: &str| {
            let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}\n");
            Outgoing::new(status, "application/xml; charset=\"UTF-8\"", text)
        };
        let status = |http, code: u32, sub: &str| {
            xml(
                http,
                &format!(
                    "<ResponseStatus version=\"2.0\" xmlns=\"{NS}\"><statusCode>{code}</statusCode><statusString>S</statusString><subStatusCode>{sub}</subStatusCode></ResponseStatus>"
                ),
            )
        };
        let mut inside = self.inside.lock().unwrap();
        let path: Vec<&str> = request.path().split('/').skip(1).collect();
        let index = |id: &str| match id {
            "101" => Some(0),
            "102" => Some(1),
            _ => None,
        };
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["ISAPI", "Security", "userCheck"]) => xml(
                200,
                "<userCheck><statusValue>200</statusValue><statusString>OK</statusString></userCheck>",
            ),
            ("GET", ["ISAPI", "Security", "adminAccesses"]) => xml(
                200,
                &format!(
                    "<AdminAccessProtocolList><AdminAccessProtocol><protocol>RTSP</protocol><portNo>{}</portNo></AdminAccessProtocol></AdminAccessProtocolList>",
                    inside.rtsp
                ),
            ),
            ("GET", ["ISAPI", "Streaming", "channels", id]) if index(id).is_some() => {
                let encoder = &inside.encoders[index(id).unwrap()];
                xml(200, &channel(id, encoder))
            }
            ("GET", ["ISAPI", "Streaming", "channels", id, "capabilities"])
                if index(id).is_some() =>
            {
                xml(
                    200,
                    &format!(
                        "<StreamingChannel version=\"2.0\" xmlns=\"{NS}\"><id>{id}</id><Video><videoCodecType opt=\"H.264,H.265\">H.264</videoCodecType><videoResolutionWidth opt=\"640,352\"/><videoResolutionHeight opt=\"360,288\"/><vbrUpperCap min=\"32\" max=\"8192\"/><maxFrameRate opt=\"2500,1250\"/><GovLength min=\"1\" max=\"400\"/><H264Profile opt=\"{}\"/></Video></StreamingChannel>",
                        inside.profiles
                    ),
                )
            }
            ("PUT", ["ISAPI", "Streaming", "channels", id, "requestKeyFrame"]) => {
                inside.keyframes += 1;
                if inside.knows_keyframes && index(id).is_some() && request.body.is_empty() {
                    return status(200, 1, "ok");
                }
                status(403, 4, "notSupport")
            }
            ("PUT", ["ISAPI", "Streaming", "channels", id]) if index(id).is_some() => {
                let text = request.text();
                let whole = [
                    "id",
                    "channelName",
                    "maxPacketSize",
                    "videoScanType",
                    "snapShotImageType",
                    "SVC",
                    "oemThing",
                ];
                if let Some(missing) = whole.iter().find(|name| tag(&text, name).is_none()) {
                    return status(400, 6, &format!("badXmlContent{missing}"));
                }
                let field = |name| tag(&text, name).unwrap_or_default();
                let number = |name| field(name).parse::<u32>().unwrap_or(0);
                let asked = Encoder {
                    codec: field("videoCodecType").replace('.', ""),
                    profile: field("H264Profile"),
                    size: (
                        number("videoResolutionWidth"),
                        number("videoResolutionHeight"),
                    ),
                    fps: number("maxFrameRate") / 100,
                    kbps: number("vbrUpperCap"),
                    gov: number("GovLength"),
                    smart: text.contains("<SmartCodec><enabled>true"),
                };
                if asked.gov == 0 || !text.contains(NS) {
                    return status(400, 6, "badXmlContent");
                }
                if inside.take(index(id).unwrap(), asked) {
                    status(200, 1, "ok")
                } else {
                    status(403, 4, "invalidOperation")
                }
            }
            _ => Outgoing::new(404, "text/html", "<html>Not Found</html>"),
        }
    }

    fn soap(&mut self, request: &Incoming) -> Outgoing {
        let mut inside = self.inside.lock().unwrap();
        let text = request.text();
        let body = text.split_once("Body>").map_or("", |(_, body)| body);
        let name: String = body
            .trim_start_matches('<')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let space = if inside.face == Face::Media2 {
            MEDIA2
        } else {
            MEDIA
        };
        let fault = |why: &str| {
            Outgoing::new(
                400,
                "application/soap+xml",
                format!(
                    "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body><e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>ter:{why}</e:Value></e:Subcode></e:Code><e:Reason><e:Text>{why}</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>"
                ),
            )
        };
        let reply = |space: &str, inner: &str| {
            Outgoing::new(
                200,
                "application/soap+xml",
                format!(
                    "<?xml version=\"1.0\"?><e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:m=\"{space}\" xmlns:tt=\"{TT}\"><e:Body><m:{name}Response>{inner}</m:{name}Response></e:Body></e:Envelope>"
                ),
            )
        };
        if name == "GetCapabilities" {
            return reply(
                DEVICE,
                "<m:Capabilities><tt:Media><tt:XAddr>http://x/onvif/media</tt:XAddr></tt:Media></m:Capabilities>",
            );
        }
        if name == "GetServices" {
            let service = |space: &str| {
                format!(
                    "<m:Service><m:Namespace>{space}</m:Namespace><m:XAddr>http://x/onvif/media</m:XAddr></m:Service>"
                )
            };
            let second = if inside.face == Face::Media2 {
                service(MEDIA2)
            } else {
                String::new()
            };
            return reply(DEVICE, &format!("{}{second}", service(MEDIA)));
        }
        if request.path() != "/onvif/media" || !body.contains(space) {
            return fault("ActionNotSupported");
        }
        let second = inside.face == Face::Media2;
        let index = usize::from(body.contains("sub"));
        match name.as_str() {
            "GetProfiles" => {
                let profiles: String = inside
                    .encoders
                    .iter()
                    .zip(["main", "sub"])
                    .map(|(encoder, token)| {
                        profile(token, encoder, second, inside.sound.as_deref())
                    })
                    .collect();
                reply(space, &profiles)
            }
            "GetVideoEncoderConfigurations" => {
                let all: String = inside
                    .encoders
                    .iter()
                    .zip(["main", "sub"])
                    .map(|(encoder, token)| {
                        configuration("m:Configurations", token, encoder, second)
                    })
                    .collect();
                reply(space, &all)
            }
            "GetVideoEncoderConfigurationOptions" if second => reply(
                space,
                &format!(
                    "<m:Options GovLengthRange=\"1 400\" FrameRatesSupported=\"25 12.5\" ProfilesSupported=\"{}\"><tt:Encoding>H264</tt:Encoding><tt:BitrateRange><tt:Min>32</tt:Min><tt:Max>8192</tt:Max></tt:BitrateRange></m:Options><m:Options><tt:Encoding>H265</tt:Encoding></m:Options>",
                    inside.profiles.replace(',', " ")
                ),
            ),
            "GetVideoEncoderConfigurationOptions" => {
                let (open, close) = ("<tt:H264ProfilesSupported>", "</tt:H264ProfilesSupported>");
                let between = format!("{close}{open}");
                let profiles = format!("{open}{}{close}", inside.profiles.replace(',', &between));
                reply(
                    space,
                    &format!(
                        "<m:Options><tt:H264><tt:GovLengthRange><tt:Min>1</tt:Min><tt:Max>400</tt:Max></tt:GovLengthRange>{profiles}</tt:H264></m:Options>"
                    ),
                )
            }
            "GetAudioEncoderConfigurations" => {
                let sound = inside.sound.as_deref();
                reply(space, &sound_of("m:Configurations", sound))
            }
            "GetAudioEncoderConfigurationOptions" => {
                let option = |codec: &str, rate: u32| {
                    format!(
                        "<tt:Options><tt:Encoding>{codec}</tt:Encoding><tt:BitrateList><tt:Items>64</tt:Items></tt:BitrateList><tt:SampleRateList><tt:Items>{rate}</tt:Items></tt:SampleRateList></tt:Options>"
                    )
                };
                let both = format!("{}{}", option("G711", 8), option("AAC", 16));
                reply(space, &format!("<m:Options>{both}</m:Options>"))
            }
            "SetAudioEncoderConfiguration" => {
                let whole = ["Name", "UseCount", "Multicast", "SessionTimeout"];
                if whole.iter().any(|name| tag(body, name).is_none()) {
                    return fault("ConfigModify");
                }
                inside.sound = tag(body, "Encoding");
                reply(space, "")
            }
            "GetStreamUri" => {
                let uri = format!(
                    "rtsp://192.168.1.88:{}/{}",
                    inside.rtsp,
                    ["main", "sub"][index]
                );
                if second {
                    reply(space, &format!("<m:Uri>{uri}</m:Uri>"))
                } else {
                    reply(
                        space,
                        &format!("<m:MediaUri><tt:Uri>{uri}</tt:Uri></m:MediaUri>"),
                    )
                }
            }
            "SetSynchronizationPoint" => {
                inside.keyframes += 1;
                if inside.knows_keyframes {
                    reply(space, "")
                } else {
                    fault("ActionNotSupported")
                }
            }
            "SetVideoEncoderConfiguration" => {
                let whole = ["Name", "UseCount", "Quality", "SessionTimeout", "Oem"];
                let needed = if second { &whole[..3] } else { &whole[..] };
                if needed.iter().any(|name| tag(body, name).is_none()) {
                    return fault("ConfigModify");
                }
                let field = |name| tag(body, name).unwrap_or_default();
                let number = |name| field(name).parse::<u32>().unwrap_or(0);
                let (gov, profile) = if second {
                    (attribute(body, "GovLength"), attribute(body, "Profile"))
                } else {
                    (field("GovLength"), field("H264Profile"))
                };
                let asked = Encoder {
                    codec: field("Encoding"),
                    profile,
                    size: (number("Width"), number("Height")),
                    fps: number("FrameRateLimit"),
                    kbps: number("BitrateLimit"),
                    gov: gov.parse().unwrap_or(0),
                    smart: false,
                };
                if inside.take(index, asked) {
                    reply(space, "")
                } else {
                    fault("ConfigurationConflict")
                }
            }
            _ => fault("ActionNotSupported"),
        }
    }
}

fn channel(id: &str, of: &Encoder) -> String {
    let codec = of.codec.replace("H26", "H.26");
    let profile = if of.codec == "H264" {
        format!("<H264Profile>{}</H264Profile>", of.profile)
    } else {
        String::new()
    };
    format!(
        "<StreamingChannel version=\"2.0\" xmlns=\"{NS}\">\n<id>{id}</id><channelName>Yard &amp; Gate</channelName><Transport><maxPacketSize>1000</maxPacketSize></Transport><Video><enabled>true</enabled><videoCodecType>{codec}</videoCodecType><videoScanType>progressive</videoScanType><videoResolutionWidth>{}</videoResolutionWidth><videoResolutionHeight>{}</videoResolutionHeight><videoQualityControlType>VBR</videoQualityControlType><vbrUpperCap>{}</vbrUpperCap><maxFrameRate>{}</maxFrameRate><keyFrameInterval>4000</keyFrameInterval><snapShotImageType>JPEG</snapShotImageType>{profile}<GovLength>{}</GovLength><SVC><enabled>false</enabled></SVC><SmartCodec><enabled>{}</enabled></SmartCodec></Video><oemThing xmlns=\"urn:oem\">1</oemThing></StreamingChannel>",
        of.size.0,
        of.size.1,
        of.kbps,
        of.fps * 100,
        of.gov,
        of.smart
    )
}

fn configuration(name: &str, token: &str, of: &Encoder, second: bool) -> String {
    let (attributes, part) = if second {
        (
            format!(" GovLength=\"{}\" Profile=\"{}\"", of.gov, of.profile),
            String::new(),
        )
    } else {
        (
            String::new(),
            format!(
                "<tt:H264><tt:GovLength>{}</tt:GovLength><tt:H264Profile>{}</tt:H264Profile></tt:H264><tt:SessionTimeout>PT60S</tt:SessionTimeout><oem:Oem xmlns:oem=\"urn:oem\">1</oem:Oem>",
                of.gov, of.profile
            ),
        )
    };
    format!(
        "<{name} token=\"video_{token}\"{attributes}><tt:Name>n {token}</tt:Name><tt:UseCount>1</tt:UseCount><tt:Encoding>{}</tt:Encoding><tt:Resolution><tt:Width>{}</tt:Width><tt:Height>{}</tt:Height></tt:Resolution><tt:Quality>3</tt:Quality><tt:RateControl><tt:FrameRateLimit>{}</tt:FrameRateLimit><tt:BitrateLimit>{}</tt:BitrateLimit></tt:RateControl>{part}</{name}>",
        of.codec, of.size.0, of.size.1, of.fps, of.kbps
    )
}

fn sound_of(name: &str, codec: Option<&str>) -> String {
    codec.map_or_else(String::new, |codec| {
        format!(
            "<{name} token=\"sound\"><tt:Name>s</tt:Name><tt:UseCount>2</tt:UseCount><tt:Encoding>{codec}</tt:Encoding><tt:Bitrate>64</tt:Bitrate><tt:SampleRate>16</tt:SampleRate><tt:Multicast><tt:Port>0</tt:Port></tt:Multicast><tt:SessionTimeout>PT60S</tt:SessionTimeout></{name}>"
        )
    })
}

fn profile(token: &str, of: &Encoder, second: bool, sound: Option<&str>) -> String {
    let source = "token=\"s\"><tt:SourceToken>v1</tt:SourceToken>";
    if second {
        format!(
            "<m:Profiles token=\"{token}\"><m:Configurations><m:VideoSource {source}</m:VideoSource>{}</m:Configurations></m:Profiles>",
            configuration("m:VideoEncoder", token, of, true)
        )
    } else {
        format!(
            "<m:Profiles token=\"{token}\"><tt:VideoSourceConfiguration {source}</tt:VideoSourceConfiguration>{}{}</m:Profiles>",
            configuration("tt:VideoEncoderConfiguration", token, of, false),
            sound_of("tt:AudioEncoderConfiguration", sound)
        )
    }
}

/// What stands in the first element of a name, whatever its attributes.
fn tag(text: &str, name: &str) -> Option<String> {
    let open = format!("<{name}");
    let at = text
        .match_indices(&open)
        .map(|(at, _)| at + open.len())
        .find(|end| text[*end..].starts_with(['>', ' ']))?;
    let begin = at + text[at..].find('>')? + 1;
    let end = begin + text[begin..].find(&format!("</{name}>"))?;
    Some(text[begin..end].to_owned())
}

fn attribute(text: &str, name: &str) -> String {
    let open = format!(" {name}=\"");
    let begin = text.find(&open).map_or(0, |at| at + open.len());
    text[begin..].split('"').next().unwrap().to_owned()
}

/// A clip of the fixtures: SPS, PPS, and its slices.
struct Clip {
    sets: Vec<Vec<u8>>,
    key: Vec<u8>,
    others: Vec<Vec<u8>>,
}

impl Clip {
    fn read(name: &str) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let bytes = std::fs::read(format!("{root}/tests/fixtures/h264/{name}.h264")).unwrap();
        let mut units: Vec<Vec<u8>> = Vec::new();
        let mut at = 0;
        while at + 3 <= bytes.len() {
            if bytes[at..].starts_with(&[0, 0, 1]) {
                // The zero of a four-byte start code belongs to it.
                if let Some(last) = units.last_mut() {
                    while last.last() == Some(&0) {
                        last.pop();
                    }
                }
                units.push(Vec::new());
                at += 3;
            } else {
                if let Some(last) = units.last_mut() {
                    last.push(bytes[at]);
                }
                at += 1;
            }
        }
        units.last_mut().unwrap().extend(&bytes[at..]);
        let of = |kind: u8| {
            let mut found = units.clone();
            found.retain(|unit| unit[0] & 0x1f == kind);
            found
        };
        Self {
            sets: [of(7), of(8)].concat(),
            key: of(5)[0].clone(),
            others: of(1),
        }
    }
}

/// The RTSP side.
struct Player {
    addr: SocketAddr,
    stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Player {
    fn start(inside: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let acceptor = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if flag.load(Ordering::SeqCst) {
                    break;
                }
                let inside = Arc::clone(&inside);
                threads.push(std::thread::spawn(move || {
                    serve(&stream, &inside);
                    let _ = stream.shutdown(Shutdown::Both);
                }));
            }
            // Each ends with its client, which has ended by now.
            drop(listener);
            for thread in threads {
                let _ = thread.join();
            }
        });
        Self {
            addr,
            stopped,
            acceptor: Some(acceptor),
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stop();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut stream: &TcpStream, inside: &Shared) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let Some(first) = lines.first() else { return };
        let words: Vec<&str> = first.split(' ').collect();
        let cseq = lines
            .iter()
            .find_map(|l| l.strip_prefix("CSeq: "))
            .unwrap_or("0");
        let index = usize::from(words[1].contains("sub") || words[1].contains("102"));
        let (sent, lie) = {
            let inside = inside.lock().unwrap();
            (inside.sent[index].clone(), inside.lie)
        };
        let name = match sent.profile.as_str() {
            "Baseline" => "baseline",
            "Main" if lie == Lie::BFrames => "main_b",
            "Main" => "main",
            _ => "high",
        };
        let clip = Clip::read(name);
        let (headers, body) = match words[0] {
            "DESCRIBE" => (
                format!(
                    "Content-Base: {}/\r\nContent-Type: application/sdp\r\n",
                    words[1]
                ),
                sdp(&sent, &clip),
            ),
            "SETUP" => (
                "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7;timeout=60\r\n"
                    .to_owned(),
                String::new(),
            ),
            _ => (String::new(), String::new()),
        };
        let session = words[0] == "PLAY" && !lines.iter().any(|l| l == "Session: 7");
        let status = if session { "454 Session" } else { "200 OK" };
        let reply = format!(
            "RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(reply.as_bytes()).is_err() || words[0] == "TEARDOWN" {
            return;
        }
        if words[0] == "PLAY" {
            play(stream, &sent, &clip);
        }
    }
}

fn sdp(sent: &Encoder, clip: &Clip) -> String {
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n";
    if sent.codec != "H264" {
        return format!("{head}a=rtpmap:96 H265/90000\r\na=control:track1\r\n");
    }
    let base64 = base64::engine::general_purpose::STANDARD;
    let sets: Vec<String> = clip.sets.iter().map(|s| base64.encode(s)).collect();
    format!(
        "{head}a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets={}\r\na=control:track1\r\n",
        sets.join(",")
    )
}

/// Four groups at once: what their timestamps say counts, so no test waits for them.
fn play(mut stream: &TcpStream, sent: &Encoder, clip: &Clip) {
    let mut sequence = 0_u16;
    let mut timestamp = 0_u32.wrapping_sub(90_000);
    for _ in 0..4 {
        for frame in 0..sent.gov {
            let mut units: Vec<&Vec<u8>> = Vec::new();
            if frame == 0 {
                units.extend(&clip.sets);
                units.push(&clip.key);
            } else {
                units.push(&clip.others[(frame as usize - 1) % clip.others.len()]);
            }
            for unit in units {
                for payload in packets(unit) {
                    let size = u16::try_from(payload.len() + 12).unwrap();
                    let mut packet = vec![b'$', 0];
                    packet.extend(size.to_be_bytes());
                    packet.extend([0x80, 96]);
                    packet.extend(sequence.to_be_bytes());
                    packet.extend(timestamp.to_be_bytes());
                    packet.extend([0, 0, 0, 9]);
                    packet.extend(payload);
                    sequence = sequence.wrapping_add(1);
                    if stream.write_all(&packet).is_err() {
                        return;
                    }
                }
            }
            timestamp = timestamp.wrapping_add(90_000 / sent.fps);
        }
    }
}

fn packets(unit: &[u8]) -> Vec<Vec<u8>> {
    if unit.len() <= PACKET {
        return vec![unit.to_vec()];
    }
    let parts: Vec<&[u8]> = unit[1..].chunks(PACKET).collect();
    let last = parts.len() - 1;
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let ends = (u8::from(at == 0) << 7) | (u8::from(at == last) << 6);
            let mut payload = vec![(unit[0] & 0xe0) | 0x1c, ends | (unit[0] & 0x1f)];
            payload.extend(*part);
            payload
        })
        .collect()
}
