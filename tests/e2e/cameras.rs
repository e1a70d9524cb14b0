//! Cameras: clients that are not ours at our stand-ins, our login at web servers that are not ours,
//! and a snapshot out of a real stream.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use lss::domain::camera::Credentials;
use lss::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use lss::infrastructure::http::doors::Doors;
use lss::infrastructure::http::login_client::{LoginClient, LoginError, LoginRules};
use lss::util::secret::Secret;
use md5::Digest as _;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::daemon::{Lab, Lss, NASTY_PASSWORD, SOON, Settings, parts};
use crate::lab::{Camera, Login, Part, free_port, poll, processes_with, until};
use crate::support::camera_head::Axis;
use crate::support::digest_server::{GateRules, Offer};
use crate::support::isapi_camera::{self, IsapiStandIn, Model};
use crate::support::onvif_camera::{self, LoginMode, OnvifModel, OnvifStandIn, Understands};

// ---- An ONVIF client that is not ours, at the stand-in ------------------------------------------

/// The `onvif` package in a process of its own.
struct Client {
    child: Child,
    orders: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    fn start(node: &Path, installed: &Path, camera: &OnvifStandIn, scheme: &str) -> Self {
        let rules = camera.with(|device| device.gate.rules.clone());
        let mut child = Command::new(node)
            .arg(crate::lab::repo().join("tests/e2e/onvif_client.mjs"))
            .args([&camera.addr.port().to_string(), &rules.user])
            .args([&rules.password, scheme])
            .env("LSS_NODE_MODULES_FROM", installed.join("package.json"))
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            orders,
            said,
        }
    }

    /// The next line that it says. It ends each call by a time-out of its own.
    fn hears(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    /// Calls a method; its result.
    fn call(&mut self, method: &str, options: Option<&Value>) -> Value {
        let order = match options {
            Some(with) => json!({ "call": method, "with": with }),
            None => json!({ "call": method }),
        };
        writeln!(self.orders, "{order}").unwrap();
        let answer = self.hears();
        assert_eq!(answer["done"], method, "{answer}");
        answer["result"].clone()
    }
}

#[test]
fn an_onvif_client_that_is_not_ours_drives_the_stand_in() {
    let Some([node, onvif]) = parts(
        "an_onvif_client_that_is_not_ours_drives_the_stand_in",
        ["node", "onvif"],
    ) else {
        return;
    };
    for (login, scheme, media2) in [
        (LoginMode::Token, "token", false),
        (LoginMode::Digest, "digest", false),
        (LoginMode::Both, "token", true),
    ] {
        let rules = GateRules {
            // The package escapes nothing and knows ASCII only.
            password: "plain-Password.1".to_owned(),
            ..GateRules::default()
        };
        let camera = onvif_camera::start(
            rules,
            OnvifModel {
                // The package names one with each request.
                understands: Understands::Soap12AnyAction,
                login,
                media2,
                profile: "Profile_2".to_owned(),
                timeouts: Some((1, 60)),
                ..OnvifModel::default()
            },
        );
        let xaddr = camera.addr.to_string();
        camera.with(|device| device.model.xaddr = xaddr);
        let mut client = Client::start(&node, &onvif, &camera, scheme);
        let connected = client.hears();
        assert_eq!(
            connected["connected"]["profiles"],
            json!(["Profile_1", "Profile_2"]),
            "{connected}"
        );
        // The one with a PTZConfiguration is told by what it holds, for this client as for ours.
        let ptz = json!({ "profileToken": "Profile_2" });

        let info = client.call("getDeviceInformation", None);
        assert_eq!(info["manufacturer"], "ACME", "{info}");
        assert_eq!(info["serialNumber"], "S-1", "{info}");

        let mut order = ptz.clone();
        order["x"] = json!(-0.5);
        order["timeout"] = json!(30_000);
        client.call("continuousMove", Some(&order));
        assert!(camera.moving());
        until("the head to turn", SOON, || {
            (camera.position(Axis::Pan) < -0.05).then_some(())
        });
        let moving = client.call("getStatus", Some(&ptz));
        assert_eq!(moving["moveStatus"]["panTilt"], "MOVING", "{moving}");
        let mut order = ptz.clone();
        (order["panTilt"], order["zoom"]) = (json!(true), json!(true));
        client.call("stop", Some(&order));
        assert!(!camera.moving());

        // Where it looks, as it says and as it is.
        let status = client.call("getStatus", Some(&ptz));
        assert_eq!(status["moveStatus"]["panTilt"], "IDLE", "{status}");
        let told = number(&status["position"]["x"]);
        assert!((told - camera.position(Axis::Pan)).abs() < 1e-6, "{status}");

        let presets = client.call("getPresets", Some(&ptz));
        // The package reads what looks like a number as one.
        assert_eq!(presets["Entrance"]["$"]["token"], 1, "{presets}");
        assert!(presets["Gate & <Yard>"].is_object(), "{presets}");
        let mut order = ptz.clone();
        order["presetName"] = json!("Here");
        client.call("setPreset", Some(&order));
        let made = client.call("getPresets", Some(&ptz));
        let token = made["Here"]["$"]["token"].clone();
        assert!(token.is_string(), "{made}");
        let mut order = ptz.clone();
        order["preset"] = json!("1");
        client.call("gotoPreset", Some(&order));
        assert!((camera.position(Axis::Pan) - 0.25).abs() < 1e-9);
        let mut order = ptz.clone();
        order["presetToken"] = token;
        client.call("removePreset", Some(&order));
        let left = client.call("getPresets", Some(&ptz));
        assert!(left.get("Here").is_none(), "{left}");

        let uri = client.call("getSnapshotUri", Some(&ptz));
        let expected = format!("http://{}/picture?x=1&y=2", camera.addr);
        assert_eq!(uri["uri"], expected, "{uri}");
        assert_eq!(
            camera.with(|device| device.gate.violations.clone()),
            Vec::<String>::new()
        );
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap(),
    }
}

// ---- curl at the stand-in dome -------------------------------------------------------------------

/// curl with a login; the status and the body.
fn curl(program: &Path, camera: &IsapiStandIn, password: &str, args: &[&str]) -> (u16, String) {
    let (path, options) = args.split_last().unwrap();
    let user = camera.with(|dome| dome.gate.rules.user.clone());
    let output = Command::new(program)
        .args(["-q", "-s", "--max-time", "20", "--noproxy", "*"])
        .args(["--digest", "-u", &format!("{user}:{password}")])
        .args(["-w", "\n%{http_code}"])
        .args(options)
        .arg(format!("http://{}{path}", camera.addr))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn curl_drives_the_stand_in_dome() {
    let Some([program]) = parts("curl_drives_the_stand_in_dome", ["curl"]) else {
        return;
    };
    let xml = ["-H", "Content-Type: application/xml"];
    for offers in [
        vec![Offer::Md5],
        vec![Offer::Sha256],
        vec![Offer::Md5, Offer::Sha256],
    ] {
        let rules = GateRules {
            offers,
            opaque: Some("5b6ea228".to_owned()),
            ..GateRules::default()
        };
        let password = rules.password.clone();
        let camera = isapi_camera::start(rules, Model::default());
        let ask = |args: &[&str]| curl(&program, &camera, &password, args);
        let put = |body: &str, path: &str| {
            let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}");
            ask(&[&xml[..], &["-X", "PUT", "--data-binary", &body, path]].concat())
        };

        let (status, info) = ask(&["/ISAPI/System/deviceInfo"]);
        assert_eq!(status, 200, "{info}");
        assert!(info.contains("<model>DS-2DF7276</model>"), "{info}");

        let path = "/ISAPI/PTZCtrl/channels/1/continuous";
        let (status, text) = put(
            "<PTZData><pan>-50</pan><tilt>0</tilt><zoom>0</zoom></PTZData>",
            path,
        );
        assert_eq!(status, 200, "{text}");
        assert!((camera.speed(Axis::Pan) + 0.5).abs() < 1e-9);
        // An axis that is left out is not touched.
        put("<PTZData><zoom>0</zoom></PTZData>", path);
        assert!(camera.moving());
        let (status, _) = put(
            "<PTZData><pan>0</pan><tilt>0</tilt><zoom>0</zoom></PTZData>",
            path,
        );
        assert_eq!((status, camera.moving()), (200, false));
        let (status, text) = put("<PTZData><pan>101</pan></PTZData>", path);
        assert_eq!(status, 400);
        assert!(text.contains("badParameters"), "{text}");

        let preset = "/ISAPI/PTZCtrl/channels/1/presets/7";
        let name = "<PTZPreset><id>7</id><presetName>Gate &amp; yard</presetName></PTZPreset>";
        assert_eq!(put(name, preset).0, 200);
        let (_, list) = ask(&["/ISAPI/PTZCtrl/channels/1/presets"]);
        assert!(
            list.contains("<presetName>Gate &amp; yard</presetName>"),
            "{list}"
        );
        let goto = "/ISAPI/PTZCtrl/channels/1/presets/1/goto";
        let (status, text) = ask(&["-X", "PUT", "-H", "Content-Length: 0", goto]);
        assert_eq!(status, 200, "{text}");
        assert!((camera.position(Axis::Pan) - 0.25).abs() < 1e-9);
        assert_eq!(ask(&["-X", "DELETE", preset]).0, 200);

        let target = tempfile::NamedTempFile::new().unwrap();
        let file = target.path().to_str().unwrap();
        let (status, _) = ask(&["-o", file, "/ISAPI/Streaming/channels/101/picture"]);
        assert_eq!(status, 200);
        assert_eq!(fs::read(file).unwrap(), Model::default().picture);
        camera.with(|dome| {
            assert_eq!(dome.gate.violations, Vec::<String>::new());
            assert_eq!(dome.gate.refused, 0);
        });
    }
}

#[test]
fn the_stand_in_dome_counts_wrong_passwords_and_locks() {
    let Some([program]) = parts(
        "the_stand_in_dome_counts_wrong_passwords_and_locks",
        ["curl"],
    ) else {
        return;
    };
    let rules = GateRules {
        lock_after: Some(3),
        ..GateRules::default()
    };
    let password = rules.password.clone();
    let camera = isapi_camera::start(rules, Model::default());
    let path = "/ISAPI/Security/userCheck";
    for left in [2, 1, 0] {
        let (status, text) = curl(&program, &camera, "wrong", &[path]);
        assert_eq!(status, 401);
        let told = format!("<retryLoginTime>{left}</retryLoginTime>");
        assert!(text.contains(&told), "{text}");
    }
    // Locked: the right one is refused too.
    let (status, text) = curl(&program, &camera, &password, &[path]);
    assert_eq!(status, 401);
    assert!(text.contains("<lockStatus>lock</lockStatus>"), "{text}");
    camera.with(|dome| assert_eq!((dome.gate.wrong, dome.gate.is_locked()), (3, true)));
}

// ---- Our login at web servers that are not ours --------------------------------------------------

const REALM: &str = "IP Camera(F1598)";
const USER: &str = "admin";
const PASSWORD: &str = "p@ss \"w&\u{f6}<rd:%#?\\ x";

/// A web server with one page behind a login.
struct WebServer {
    process: Part,
    addr: SocketAddr,
    log: PathBuf,
}

impl WebServer {
    /// `config` is written to a file of its own, whose path takes the place of `@` in `args`.
    fn start(dir: &Path, name: &str, program: &Path, config: &str, args: &[&str]) -> Self {
        let port = free_port();
        let www = dir.join("www");
        fs::create_dir_all(&www).unwrap();
        fs::write(www.join("page"), "hello").unwrap();
        let file = dir.join(format!("{name}.conf"));
        let config = config
            .replace("@PORT", &port.to_string())
            .replace("@DIR", dir.to_str().unwrap());
        fs::write(&file, config).unwrap();
        let args: Vec<&str> = args
            .iter()
            .map(|&a| if a == "@" { file.to_str().unwrap() } else { a })
            .collect();
        let mut process = Part::start(dir, name, program, &args, &[]);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        until(name, SOON, || {
            assert!(process.ended().is_none(), "{name}: {}", process.output());
            std::net::TcpStream::connect(addr).ok()
        });
        Self {
            process,
            addr,
            log: dir.join("access.log"),
        }
    }

    /// Ends it, and tells the status of every answer that it has given.
    fn answers(mut self) -> Vec<u16> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(SOON).expect("ends after SIGTERM");
        self.answers_so_far()
    }

    fn answers_so_far(&self) -> Vec<u16> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let of = |line: &str| line.split(' ').next()?.parse().ok();
        text.lines().filter_map(of).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// The file of users as `htdigest` writes it.
fn users(dir: &Path, sha256: bool) {
    let login = format!("{USER}:{REALM}:{PASSWORD}");
    let hash = if sha256 {
        hex(&sha2::Sha256::digest(&login))
    } else {
        hex(&md5::Md5::digest(&login))
    };
    fs::write(dir.join("users"), format!("{USER}:{REALM}:{hash}\n")).unwrap();
}

fn lighttpd(dir: &Path, program: &Path, algorithm: &str) -> WebServer {
    users(dir, algorithm == "SHA-256");
    let config = format!(
        "server.document-root = \"@DIR/www\"\n\
         server.bind = \"127.0.0.1\"\n\
         server.port = @PORT\n\
         server.modules = ( \"mod_auth\", \"mod_authn_file\", \"mod_accesslog\" )\n\
         accesslog.filename = \"@DIR/access.log\"\n\
         accesslog.format = \"%s %m %U\"\n\
         auth.backend = \"htdigest\"\n\
         auth.backend.htdigest.userfile = \"@DIR/users\"\n\
         auth.require = ( \"/\" => ( \"method\" => \"digest\", \"algorithm\" => \"{algorithm}\", \
           \"realm\" => \"{REALM}\", \"require\" => \"valid-user\" ) )\n"
    );
    let modules = program.ancestors().nth(2).unwrap().join("lib/lighttpd");
    let modules = modules.to_str().unwrap();
    WebServer::start(
        dir,
        "lighttpd",
        program,
        &config,
        &["-D", "-m", modules, "-f", "@"],
    )
}

fn apache(dir: &Path, program: &Path, lifetime: u32) -> WebServer {
    users(dir, false);
    let modules = [
        "mpm_event",
        "authn_core",
        "authz_core",
        "authz_user",
        "authn_file",
        "auth_digest",
    ];
    let load: Vec<String> = modules
        .iter()
        .map(|m| format!("LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so"))
        .collect();
    let config = format!(
        "{}\n\
         ServerRoot @DIR\nPidFile @DIR/apache.pid\nServerName 127.0.0.1\nListen 127.0.0.1:@PORT\n\
         DefaultRuntimeDir @DIR\nMutex posixsem\nStartServers 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n\
         MinSpareThreads 1\nMaxSpareThreads 8\nServerLimit 1\n\
         DocumentRoot @DIR/www\nErrorLog @DIR/error.log\n\
         LogFormat \"%>s %m %U\" short\nCustomLog @DIR/access.log short\n\
         <Location \"/\">\nAuthType Digest\nAuthName \"{REALM}\"\nAuthDigestDomain /\n\
         AuthDigestQop auth\nAuthDigestNonceLifetime {lifetime}\nAuthDigestProvider file\n\
         AuthUserFile @DIR/users\nRequire valid-user\n</Location>\n",
        load.join("\n")
    );
    WebServer::start(
        dir,
        "apache",
        program,
        &config,
        &["-D", "FOREGROUND", "-f", "@"],
    )
}

fn our_client(addr: SocketAddr, password: &str) -> LoginClient {
    LoginClient::new(
        CameraClient::new(addr, Duration::from_secs(3), Doors::default()),
        Some(Credentials::new(USER, Secret::new(password)).unwrap()),
        LoginRules {
            allow_basic: false,
            is_definite: |_| false,
        },
    )
}

fn ask(client: &mut LoginClient, method: &str, target: &str) -> Result<(u16, Vec<u8>), LoginError> {
    let has_body = method == "PUT";
    let request = Request {
        method,
        target,
        content_type: has_body.then_some("application/xml"),
        soap_action: None,
        body: has_body.then_some(b"<x/>"),
        resend: Resend::Always,
        max_reply: 100_000,
        secret: false,
    };
    let answer = client.send(&request, Instant::now() + Duration::from_secs(8))?;
    Ok((answer.status, answer.body))
}

/// Many requests, one challenge; a wrong password, one refusal.
fn logs_in(server: WebServer) {
    let mut good = our_client(server.addr, PASSWORD);
    for target in ["/page", "/page?a=1&b=%20x", "/page"] {
        let (status, body) = ask(&mut good, "GET", target).unwrap();
        assert_eq!((status, body.as_slice()), (200, b"hello".as_slice()));
    }
    // What it says of the method is another matter: the login was taken.
    let (status, _) = ask(&mut good, "PUT", "/page").unwrap();
    assert!(![401, 403].contains(&status), "{status}");
    for _ in 0..50 {
        assert_eq!(ask(&mut good, "GET", "/page").unwrap().0, 200);
    }
    assert!(good.is_logged_in());
    let refused = ask(&mut our_client(server.addr, "wrong"), "GET", "/page").unwrap_err();
    assert!(
        matches!(refused, LoginError::Refused { tried: true, .. }),
        "{refused:?}"
    );
    let answers = server.answers();
    // Two answers on two connections may change places in the log; their number is sure.
    let challenges = answers.iter().filter(|s| **s == 401).count();
    assert_eq!((answers[0], challenges), (401, 3), "{answers:?}");
    assert_eq!(answers.len(), 54 + 3, "{answers:?}");
}

#[test]
fn our_login_at_lighttpd() {
    let Some([program]) = parts("our_login_at_lighttpd", ["lighttpd"]) else {
        return;
    };
    for algorithm in ["MD5", "SHA-256"] {
        let dir = tempfile::tempdir().unwrap();
        logs_in(lighttpd(dir.path(), &program, algorithm));
    }
}

#[test]
fn our_login_at_apache() {
    let Some([program]) = parts("our_login_at_apache", ["apache"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    logs_in(apache(dir.path(), &program, 300));
}

#[test]
fn a_nonce_that_apache_calls_stale_costs_one_more_round_trip() {
    let Some([program]) = parts(
        "a_nonce_that_apache_calls_stale_costs_one_more_round_trip",
        ["apache"],
    ) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = apache(dir.path(), &program, 1);
    let mut client = our_client(server.addr, PASSWORD);
    let mut asked = 0;
    until("a second challenge", SOON, || {
        asked += 1;
        assert_eq!(ask(&mut client, "GET", "/page").unwrap().0, 200);
        let answers = server.answers_so_far();
        (answers.iter().filter(|s| **s == 401).count() >= 2).then_some(())
    });
    let answers = server.answers();
    let challenges = answers.iter().filter(|s| **s == 401).count();
    assert_eq!(answers.len(), asked + challenges, "{answers:?}");
}

// ---- A snapshot out of a real stream -------------------------------------------------------------

/// A camera with that login, RTSP and all but pictures.
fn rules() -> GateRules {
    GateRules {
        user: "admin".to_owned(),
        password: NASTY_PASSWORD.to_owned(),
        ..GateRules::default()
    }
}

fn snapshot(lss: &Lss, camera: &str, query: &str) -> (u32, u32, Vec<u8>) {
    let answer = lss.rest(
        "GET",
        &format!("/api/cameras/{camera}/snapshot.jpg{query}"),
        None,
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    let picture = image::load_from_memory(&answer.body).expect("a JPEG");
    (
        picture.width(),
        picture.height(),
        picture.to_luma8().into_raw(),
    )
}

#[test]
fn a_snapshot_comes_out_of_the_stream_where_the_camera_gives_none() {
    let Some(lab) = Lab::enter("a_snapshot_comes_out_of_the_stream_where_the_camera_gives_none")
    else {
        return;
    };
    let login = Login {
        user: "admin",
        password: NASTY_PASSWORD,
        scheme: "digest",
    };
    let mounts = [
        "Streaming/Channels/101=long_h264_aac.mp4",
        "main=long_h264_1080_aac.mp4",
    ];
    let mut stream = Camera::start(&lab.tools, lab.dir(), Some(login), &mounts);
    let dome = isapi_camera::start(
        rules(),
        Model {
            picture: Vec::new(),
            rtsp_port: stream.port(),
            ..Model::default()
        },
    );
    let other = onvif_camera::start(
        rules(),
        OnvifModel {
            picture: None,
            stream: format!("rtsp://192.168.1.88:{}/main", stream.port()),
            ..OnvifModel::default()
        },
    );
    let settings = Settings {
        camera_loopback: true,
        ..Settings::default()
    };
    let lss = Lss::start(&lab, &settings);
    for (name, addr, vendor) in [("dome", dome.addr, "HIKVISION"), ("other", other.addr, "X")] {
        let body = json!({
            "action": "STOP", "ip": "127.0.0.1", "port": addr.port(),
            "username": "admin", "password": NASTY_PASSWORD, "vendorType": vendor,
        });
        let answer = lss.rest("POST", &format!("/api/cameras/{name}/ptz"), Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for (name, query, size) in [
        ("dome", "", (640, 360)),
        ("dome", "?width=320", (320, 180)),
        ("other", "", (1920, 1080)),
        ("other", "?width=1280", (1280, 720)),
    ] {
        let (width, height, pixels) = snapshot(&lss, name, query);
        assert_eq!((width, height), size, "{name}{query}");
        // The clip's test picture, not a grey one.
        let (dark, light) = (pixels.iter().min(), pixels.iter().max());
        assert!(dark < Some(&40) && light > Some(&200), "{dark:?} {light:?}");
    }
    let port = format!("127.0.0.1:{}/", stream.port());
    assert_eq!(processes_with(&port), Vec::<u32>::new());

    // The stream hangs too: an answer by its time, in the camera's own words.
    stream.hang();
    let asked = Instant::now();
    let answer = lss.rest("GET", "/api/cameras/dome/snapshot.jpg", None);
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert_eq!(answer.json["code"], 50001, "{}", answer.text);
    assert!(answer.text.contains("deviceError"), "{}", answer.text);
    assert!(asked.elapsed() < Duration::from_secs(25));
    let gone = || processes_with(&port).is_empty().then_some(());
    assert!(poll(SOON, gone).is_some(), "an FFmpeg is left");
    lss.finish();
}
