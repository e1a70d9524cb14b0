//! This machine: what it has, its FFmpeg, and a daemon that runs already.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::CameraAt;
use crate::application::doctor::{self, Check};
use crate::config::Config;
use crate::daemon::listen_address;
use crate::daemon::lock::NodeLock;
use crate::domain::checkup::{FfmpegFacts, FfmpegLook, NodeLook, PortLook, RunningNode};
use crate::infrastructure::child::launch::Launcher;
use crate::infrastructure::ffmpeg::probe::{Abilities, H264_ENCODERS, probe};
use crate::infrastructure::http::agent::{Timeouts, agent};
use crate::infrastructure::http::names::Names;
use crate::infrastructure::machine as look_at;

/// A daemon on this machine answers at once.
const REST: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    read: Duration::from_millis(700),
};
/// Its answers are no longer.
const MAX_ANSWER: u64 = 1 << 20;
/// Where RTSP usually listens.
const RTSP_PORTS: [u64; 2] = [554, 8554];

/// The machine and its clock's keeper.
pub(super) fn machine() -> Vec<Check> {
    let mut checks = doctor::machine(&look_at::look());
    checks.push(doctor::clock_discipline(&look_at::clock_discipline()));
    checks
}

/// FFmpeg and its encoders.
pub(super) fn ffmpeg(path: &Path, spared: bool) -> Vec<Check> {
    let found = probe(path, &Launcher::of_no_node())
        .map(|abilities| facts(&abilities))
        .map_err(|why| why.to_string());
    doctor::ffmpeg(&FfmpegLook {
        path: path.to_owned(),
        found,
        spared,
    })
}

fn facts(abilities: &Abilities) -> FfmpegFacts {
    FfmpegFacts {
        version: abilities.version.clone(),
        whip: abilities.whip,
        verifies_certificates: abilities.verifies_certificates(),
        notices_lost_peer: abilities.has_whip_option("whip_flags"),
        h264: H264_ENCODERS
            .iter()
            .filter(|name| abilities.has_encoder(name))
            .map(|name| (*name).to_owned())
            .collect(),
        opus: abilities.has_encoder("libopus") || abilities.has_encoder("opus"),
    }
}

/// Whether a daemon of this node runs, its port, and the cameras it knows.
pub(super) fn node(config: &Config) -> (Vec<Check>, Vec<CameraAt>) {
    let node_id = config.node.node_id();
    let listen = listen_address(config);
    let told = ask(config, listen, "/api/stream/health").and_then(|data| {
        if data.get("nodeId").and_then(Value::as_str) == Some(node_id.as_str()) {
            Ok(running(&data))
        } else {
            Err(format!("what answers on {listen} is another program"))
        }
    });
    // The lock of another user's daemon is seen by root alone; its answer by everybody.
    let look = if told.is_ok() || NodeLock::is_held(&node_id) {
        NodeLook::Runs(told)
    } else {
        NodeLook::Absent
    };
    let answers = matches!(look, NodeLook::Runs(Ok(_)));
    let port = if answers {
        PortLook::Ours
    } else {
        port(listen)
    };
    let known = if answers {
        ask(config, listen, "/api/cameras").map_or_else(|_| Vec::new(), |data| cameras(&data))
    } else {
        Vec::new()
    };
    let mut checks = vec![doctor::node(&node_id, &look)];
    // A daemon that hangs has the port all the same; what is wrong is said already.
    if !(matches!(look, NodeLook::Runs(_)) && port == PortLook::Taken) {
        checks.push(doctor::rest_port(&listen.to_string(), &port));
    }
    (checks, known)
}

/// Bound and let go of at once.
fn port(listen: SocketAddr) -> PortLook {
    match TcpListener::bind(listen) {
        Ok(_) => PortLook::Free,
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => PortLook::Taken,
        Err(why) => PortLook::Unusable(why.to_string()),
    }
}

/// `data` of an answer of the daemon's own API.
fn ask(config: &Config, listen: SocketAddr, path: &str) -> Result<Value, String> {
    let ip = match listen.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let at = SocketAddr::new(ip, listen.port());
    let http = agent(REST, ureq::tls::TlsConfig::default(), Names::default());
    let mut request = http.get(format!("http://{at}{path}"));
    if let Some(token) = &config.server.api_token {
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
        request = request.header("authorization", bearer.as_str());
    }
    let response = request.call().map_err(|why| why.to_string())?;
    let body = response.into_body().into_with_config().limit(MAX_ANSWER);
    let body = body.read_to_vec().map_err(|why| why.to_string())?;
    let mut answer: Value =
        serde_json::from_slice(&body).map_err(|_| "its answer is no JSON".to_owned())?;
    Ok(answer.get_mut("data").map_or(Value::Null, Value::take))
}

fn running(data: &Value) -> RunningNode {
    let parts = data.get("parts").and_then(Value::as_object);
    let troubles = parts.into_iter().flatten().filter_map(|(name, part)| {
        let status = part.get("status").and_then(Value::as_str).unwrap_or("?");
        let fine = matches!(status, "UP" | "OFF");
        let reason = part
            .get("reason")
            .and_then(Value::as_str)
            .filter(|r| !r.is_empty());
        (!fine).then(|| (name.clone(), reason.unwrap_or(status).to_owned()))
    });
    RunningNode {
        status: data
            .get("status")
            .and_then(Value::as_str)
            .unwrap_or("?")
            .to_owned(),
        troubles: troubles.collect(),
    }
}

fn cameras(data: &Value) -> Vec<CameraAt> {
    let list = data.as_array().into_iter().flatten();
    list.filter_map(|camera| {
        // The list shows the port of RTSP where that is known, and HTTP's is not told then.
        let is_rtsp = camera.get("rtspUrl").is_some_and(Value::is_string);
        let port = camera
            .get("port")
            .and_then(Value::as_u64)
            .filter(|port| !is_rtsp && !RTSP_PORTS.contains(port));
        Some(CameraAt {
            host: camera.get("ip").and_then(Value::as_str)?.to_owned(),
            port: port.and_then(|p| u16::try_from(p).ok()),
        })
    })
    .collect()
}
