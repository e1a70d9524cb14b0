//! Every key there is, one row each (the spec's YAML section; contract 2). `etc/lss.yaml` explains
//! them at length.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Field, Key, Reader, Section, Source};
use super::row::{Change, Keys, Reload, Row, Takes, keys};
use super::shown::{Shown, Yaml};
use super::source::{
    self, CaFile, Headers, Hosts, Password, Subnets, choice, flag, number, of, optional, required,
    secret, span,
};
use super::value::{self, CertificateCheck, EngineChoice, LogFormat, Mode, Passthrough};
use crate::util::secret::Secret;

/// Ably's own page for "is there an internet at all".
const CONNECTIVITY_URL: &str = "https://internet-up.ably-realtime.com/is-the-internet-up.txt";

/// The spec's.
const FFMPEG_PATH: &str = "/usr/local/ffmpeg-whip/bin/ffmpeg";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn hours(hours: u64) -> Duration {
    secs(hours * 3600)
}

keys! {
    /// The effective configuration: file, environment and defaults, validated.
    Config in "" {
        /// With the cloud, or alone.
        mode: Mode = Mode::Cloud, Restart; choice(&value::MODES);
        sections {
            /// The local REST API.
            server: Server;
            /// The cloud's command line.
            ably: Ably;
            /// The cloud service's HTTP side.
            rcs: Rcs;
            /// Who we are.
            node: Node;
            /// Streams.
            ffmpeg: Ffmpeg;
            /// Camera movement.
            ptz: Ptz;
            /// Cameras.
            camera: Camera;
            /// Snapshots.
            snapshot: Snapshot;
            /// Logs.
            log: Log;
        }
    }
}

keys! {
    /// The local REST API.
    Server in "server." {
        /// Address to listen on. Empty: every address when a token is set, loopback when none is.
        listen: Option<IpAddr> = None, Restart; optional("an IP address", value::address);
        /// Port to listen on.
        port: u16 = 10_060, Restart; number(1..=65_535);
        /// What clients send as `Authorization: Bearer …`.
        api_token: Option<Secret> = None, NowIfSet, env "LSS_API_TOKEN";
            secret("8 characters or more", Secret::new, value::api_token)
                .or_file("server.api_token_file");
        /// Host names under which browsers reach the API.
        allowed_hosts: Vec<String> = Vec::new(), Now; Hosts;
    }
}

keys! {
    /// The cloud's command line.
    Ably in "ably." {
        /// Ably's key. Needed in cloud mode unless `auth_url` is set.
        api_key: Option<Secret> = None, Restart, env "ABLY_API_KEY";
            secret("appId.keyId:secret", Secret::key, value::header_token);
        /// A service that hands out tokens in place of a key.
        auth_url: Option<Secret> = None, Restart;
            secret("an https URL", Secret::url, value::token_url);
        /// Headers sent to `auth_url`.
        auth_headers: Vec<(String, Secret)> = Vec::new(), Restart; Headers;
        /// Equals the node id: leave it empty.
        client_id: String = String::new(), Restart; of("the node id", value::text);
        /// How often the node says over Ably that it is alive.
        heartbeat_interval: Duration = secs(10), Restart; span(ms(100), secs(600));
        /// A routing name of Ably's, or a host.
        endpoint: String = "main".to_owned(), Restart;
            of("a routing name or host", value::endpoint);
        /// Port of the endpoint.
        port: u16 = 443, Restart; number(1..=65_535);
        /// Whether to use TLS; without it only to this machine.
        tls: bool = true, Restart; flag();
        /// Hosts to try when the endpoint can't be reached. Empty: those of the routing name.
        fallback_hosts: Option<Vec<String>> = None, Restart; Hosts;
        /// Asked before a fall-back is tried. Empty: not asked.
        connectivity_check_url: String = CONNECTIVITY_URL.to_owned(), Restart;
            of("a URL", or_empty(value::plain_url));
        /// The certificates to trust. Empty: the system's.
        ca_file: Option<PathBuf> = None, Restart; CaFile;
    }
}

keys! {
    /// The cloud service's HTTP side.
    Rcs in "rcs." {
        /// Where the cloud service is, shown without a trailing slash. Needed in cloud mode.
        base_url: Option<String> = None, Restart, env "RCS_BASE_URL";
            optional("a URL", value::base_url);
        /// How long a connection to it may take.
        connect_timeout: Duration = secs(10), Restart; span(ms(100), secs(120));
        /// How long its answer may take.
        read_timeout: Duration = secs(30), Restart; span(ms(100), secs(300));
        /// How often the node says over HTTP that it is alive.
        heartbeat_interval: Duration = secs(5), Restart; span(ms(100), secs(600));
        /// Sent as `Authorization: Bearer …`, over https only.
        token: Option<Secret> = None, Now;
            secret("printable ASCII", Secret::new, value::header_token);
        /// How many reports are kept while RCS can't be reached.
        callback_queue: usize = 1000, Restart; number(1..=100_000);
        /// The certificates to trust. Empty: the system's.
        ca_file: Option<PathBuf> = None, Restart; CaFile;
    }
}

keys! {
    /// Who we are.
    Node in "lss.node." {
        /// The node's name for people.
        name: String = "LSS-Node-1".to_owned(), Restart, env "LSS_NODE_NAME";
            of("128 characters at most", value::name);
        /// Which machine this is. Needed in cloud mode; else the host name if empty.
        machine_id: String = String::new(), Restart, env "LSS_MACHINE_ID";
            of("letters, digits and . _ : -", or_empty(value::id));
        /// How many streams may run at a time.
        max_tasks: usize = 4, Now, env "LSS_MAX_TASKS"; number(1..=256);
        /// The address told to the cloud. Empty: found out.
        ip: Option<IpAddr> = None, Restart; optional("an IP address", value::host_address);
        /// A page that answers with the address of the site's uplink. Empty: nobody is asked.
        public_ip_url: Option<String> = None, Restart; optional("a URL", value::plain_url);
        /// Where it is kept which camera logins were refused. Empty: the service manager's
        /// directory, else nowhere.
        state_dir: Option<PathBuf> = None, Restart; optional("a full path", value::directory);
    }
}

impl Node {
    /// `lss-{machineId}`
    pub fn node_id(&self) -> String {
        format!("lss-{}", self.machine_id)
    }
}

keys! {
    /// Streams.
    Ffmpeg in "lss.ffmpeg." {
        /// The FFmpeg to use.
        path: PathBuf = PathBuf::from(FFMPEG_PATH), Restart, env "FFMPEG_PATH";
            of("a program", |text| value::non_empty(text).map(PathBuf::from));
        /// How long a stream that is stopped may take to end by itself.
        stop_timeout: Duration = secs(10), Now; span(ms(100), secs(120));
        /// A stream counts as started when its process has lived this long and pictures leave.
        start_confirm: Duration = secs(2), Now; span(ms(0), secs(60));
        /// A stream counts as failed that has not started in this time.
        start_timeout: Duration = secs(15), Now; span(ms(500), secs(600));
        /// A stream that sends nothing for this long is started anew.
        stall_timeout: Duration = secs(10), Now; span(secs(1), secs(600));
        /// How long a WHIP endpoint may take to answer (FFmpeg 9.0 or later).
        whip_timeout: Duration = secs(10), Restart; span(secs(1), secs(60));
        /// How often a stream that broke is started anew; -1 = for ever.
        max_retries: i64 = 3, Now;
            of("-1 to 1000000", |text| {
                value::number(-1..=1_000_000)(text)
                    .map_err(|wrong| format!("{wrong} (-1 = for ever)"))
            });
        /// Whether a camera's video may go out unchanged.
        passthrough: Passthrough = Passthrough::Never, Restart; choice(&value::PASSTHROUGHS);
        /// What carries a stream: `auto`, always FFmpeg, or never FFmpeg's own sender.
        engine: EngineChoice = EngineChoice::Auto, Restart; choice(&value::ENGINES);
        /// Hosts to which a stream may be sent over plain http besides this machine.
        whip_hosts: Vec<String> = Vec::new(), Restart; Hosts;
        /// The directory of files for streams of type FILE. Empty: no such streams.
        file_root: Option<PathBuf> = None, Restart; optional("a full path", value::directory);
    }
}

keys! {
    /// Camera movement.
    Ptz in "ptz." {
        /// A movement that nobody stops is stopped after this time.
        max_move: Duration = secs(30), Now; span(ms(100), secs(300));
        /// An order to move that arrives later than this after it was given moves nothing.
        command_ttl: Duration = secs(5), Now; span(ms(500), secs(60));
    }
}

keys! {
    /// Cameras.
    Camera in "camera." {
        /// Whether the network is searched for cameras, again and again.
        scan_enabled: bool = true, Now; flag();
        /// The networks to search, or `auto` alone: those of this machine.
        scan_subnet: Vec<String> = vec!["192.168.0.0/24".to_owned()], Now; Subnets;
        /// One search takes at most this long.
        scan_timeout: Duration = secs(30), Now; span(secs(1), secs(600));
        /// From the beginning of one search to that of the next.
        rescan_interval: Duration = secs(60), Now; span(secs(1), hours(24));
        /// Whether cameras may be reached on this machine itself.
        allow_loopback: bool = false, Restart; flag();
        /// What an HTTPS camera's certificate has to be: the one that was seen first, good by this
        /// machine's authorities, or any.
        tls: CertificateCheck = CertificateCheck::Pin, Restart;
            choice(&value::CERTIFICATE_CHECKS);
        /// Logins of cameras; what fits best counts.
        credentials: Vec<CameraCredential> = Vec::new(), Now; Credentials;
    }
}

keys! {
    /// One entry of `camera.credentials`.
    CameraCredential in "camera.credentials[]." {
        /// Which cameras it is for.
        matches as "match": String = String::new(), Now;
            required("an address, network, host name or camera id", value::camera);
        /// Name of the account.
        username: String = String::new(), Now; required("text", value::non_empty);
        /// Its password.
        password: Secret = Secret::new(""), Now; Password;
        /// Which protocol is spoken: HIKVISION its own, every other vendor ONVIF.
        vendor: Option<String> = None, Now; optional("a vendor's name", value::vendor);
        /// Whether the password may be sent as it is (Basic) where a camera asks for that alone.
        allow_basic: bool = false, Now; flag();
        /// Path of the ONVIF device service, where the camera does not tell it.
        onvif_path: Option<String> = None, Now; optional("a path", value::onvif_path);
        /// The ONVIF profile that is moved and shown.
        profile: Option<String> = None, Now; optional("a profile's token", value::profile);
    }
}

/// The logins of cameras.
struct Credentials;

impl Source<Vec<CameraCredential>> for Credentials {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        _: Vec<CameraCredential>,
    ) -> Field<Vec<CameraCredential>> {
        let mut rows = Vec::new();
        CameraCredential::rows(&mut rows);
        for row in rows {
            r.knows(row.key);
        }
        let mut out: Vec<CameraCredential> = Vec::new();
        for item in r.items(section, key.name) {
            let credential = CameraCredential::read(r, &item);
            let matches = r.told("camera.credentials[].match");
            let twice = matches.sound
                && matches.given
                && out
                    .iter()
                    .any(|other| other.matches.eq_ignore_ascii_case(&credential.matches));
            if twice {
                r.fault(&matches.place, "is in the list already: take one out");
            }
            out.push(credential);
        }
        r.whole(section, key.name, out)
    }

    fn takes(&self) -> String {
        "a list".to_owned()
    }

    fn entries(&self, out: &mut Vec<Row>) {
        CameraCredential::rows(out);
    }
}

impl Shown for Vec<CameraCredential> {
    fn shown(&self) -> String {
        "[]".to_owned()
    }

    fn write(&self, key: &str, yaml: &mut Yaml) {
        if self.is_empty() {
            yaml.line(key, self.shown());
        } else {
            yaml.entries(key, self, Keys::show);
        }
    }
}

keys! {
    /// Snapshots.
    Snapshot in "snapshot." {
        /// A camera that has not sent its picture by then sends none.
        timeout: Duration = secs(5), Now; span(ms(500), secs(60));
    }
}

keys! {
    /// Logs.
    Log in "log." {
        /// One line of `key=value` an event, or one JSON object.
        format: LogFormat = LogFormat::Text, Restart; choice(&value::FORMATS);
        /// How much is told. In the file too, because a reload can't change the environment.
        level: log::LevelFilter = log::LevelFilter::Info, Now, env "LSS_LOG";
            choice(&value::LEVELS);
    }
}

/// `''` stays.
fn or_empty(
    parse: impl Fn(&str) -> Result<String, value::Wrong>,
) -> impl Fn(&str) -> Result<String, value::Wrong> {
    move |text| match text {
        "" => Ok(String::new()),
        text => parse(text),
    }
}
