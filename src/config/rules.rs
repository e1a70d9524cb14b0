//! What holds between keys, and what follows from several of them (contract 1, 2).

use std::path::PathBuf;

use super::fault::FaultPlace;
use super::reader::Reader;
use super::value;
use super::{Config, EngineChoice, Mode};
use crate::util::url::is_loopback_host;

/// Facts that come from outside the file.
pub(super) struct Facts<'a> {
    /// `--standalone` was given.
    pub standalone: bool,
    /// The machine id of a standalone node that has none.
    pub host_name: &'a str,
}

/// Completes `config` and reports what does not fit together.
pub(super) fn hold(r: &mut Reader<'_>, config: &mut Config, facts: &Facts<'_>) {
    if facts.standalone {
        config.mode = Mode::Standalone;
    }
    open_api(r, config);
    state_dir(r, config);
    streams(r, config);
    relay(r, config);
    rcs_token(r, config);
    sweeps(r, config);
    ably(r, config);
    node_id(r, config, facts);
}

fn open_api(r: &mut Reader<'_>, config: &Config) {
    if let Some(ip) = config.server.listen
        && !ip.is_loopback()
        && config.server.api_token.is_none()
        && r.told("server.api_token").sound
    {
        let place = r.told("server.listen").place;
        r.fault(
            &place,
            "needs a token on this address: the API moves cameras and has no other login. Set server.api_token_file (or server.api_token, or LSS_API_TOKEN), or leave listen empty for loopback alone",
        );
    }
}

/// As the file says, else the service manager's first; what that says is no fault of anybody here.
fn state_dir(r: &mut Reader<'_>, config: &mut Config) {
    if config.node.state_dir.is_none() {
        config.node.state_dir = r.env("STATE_DIRECTORY").and_then(|given| {
            let first = given.text.split(':').next()?;
            Some(PathBuf::from(first)).filter(|path| path.is_absolute())
        });
    }
}

fn streams(r: &mut Reader<'_>, config: &Config) {
    let ffmpeg = &config.ffmpeg;
    let confirm = r.told("lss.ffmpeg.start_confirm");
    let timeout = r.told("lss.ffmpeg.start_timeout");
    if confirm.sound && timeout.sound && ffmpeg.start_confirm >= ffmpeg.start_timeout {
        let place = if confirm.given {
            &confirm.place
        } else {
            &timeout.place
        };
        r.fault(
            place,
            "start_confirm must be shorter than start_timeout, or no stream can ever start",
        );
    }
}

fn relay(r: &mut Reader<'_>, config: &Config) {
    if config.ffmpeg.engine == EngineChoice::Relay && !cfg!(feature = "relay") {
        let place = r.told("lss.ffmpeg.engine").place;
        r.fault(
            &place,
            "this lss was built without its relay: use auto or ffmpeg",
        );
    }
}

fn rcs_token(r: &mut Reader<'_>, config: &Config) {
    let plain = config.rcs.base_url.as_deref();
    if config.rcs.token.is_some() && plain.is_some_and(value::is_plain_remote) {
        let place = r.told("rcs.token").place;
        r.fault(
            &place,
            "must not be sent over plain http to another machine: make rcs.base_url https",
        );
    }
}

fn sweeps(r: &mut Reader<'_>, config: &Config) {
    let camera = &config.camera;
    let timeout = r.told("camera.scan_timeout");
    let rescan = r.told("camera.rescan_interval");
    if camera.scan_enabled
        && timeout.sound
        && rescan.sound
        && camera.scan_timeout > camera.rescan_interval
    {
        let place = if rescan.given {
            &rescan.place
        } else {
            &timeout.place
        };
        r.warn(
            place,
            "rescan_interval is shorter than scan_timeout: a slow sweep puts the next one off",
        );
    }
}

fn ably(r: &mut Reader<'_>, config: &Config) {
    let ably = &config.ably;
    let shaped = ably.api_key.as_ref().is_none_or(|key| {
        key.expose()
            .split_once(':')
            .is_some_and(|(name, secret)| !name.is_empty() && !secret.is_empty())
    });
    if !shaped {
        let place = r.told("ably.api_key").place;
        r.warn(
            &place,
            "does not look like an Ably key (appId.keyId:secret): was it copied whole?",
        );
    }
    if !ably.tls && r.told("ably.endpoint").sound && !is_loopback_host(&ably.endpoint) {
        let place = r.told("ably.tls").place;
        r.fault(
            &place,
            "must be true: without TLS only to an ably.endpoint on loopback (127.0.0.1, ::1, localhost)",
        );
    }
}

/// Who the node is, and whether the cloud can be worked with.
fn node_id(r: &mut Reader<'_>, config: &mut Config, facts: &Facts<'_>) {
    let machine_id = r.told("lss.node.machine_id");
    // What is there but wrong is a fault already, not a missing one.
    let given = |r: &Reader<'_>, key: &str, set: bool| set || !r.told(key).sound;
    let has_id = given(r, "lss.node.machine_id", !config.node.machine_id.is_empty());
    if !has_id && config.mode == Mode::Standalone {
        config.node.machine_id = value::id_of_host(facts.host_name);
    }
    if config.mode == Mode::Cloud && r.told("mode").sound {
        let ably = given(r, "ably.api_key", config.ably.api_key.is_some())
            || given(r, "ably.auth_url", config.ably.auth_url.is_some());
        let rcs = given(r, "rcs.base_url", config.rcs.base_url.is_some());
        missing(r, ably, has_id, rcs);
    }
    let node_id = config.node.node_id();
    let client_id = r.told("ably.client_id");
    if client_id.given
        && client_id.sound
        && !config.ably.client_id.is_empty()
        && machine_id.sound
        && !config.node.machine_id.is_empty()
        && config.ably.client_id != node_id
    {
        r.fault(
            &client_id.place,
            "must equal the node id, which is lss- and the machine id: leave it empty",
        );
    }
    config.ably.client_id = node_id;
}

/// The cloud mode's three, in one fault (contract 1).
fn missing(r: &mut Reader<'_>, ably: bool, machine_id: bool, rcs: bool) {
    let names: Vec<&str> = [
        (ably, "ABLY_API_KEY (or ably.api_key, or ably.auth_url)"),
        (machine_id, "LSS_MACHINE_ID (or lss.node.machine_id)"),
        (rcs, "RCS_BASE_URL (or rcs.base_url)"),
    ]
    .into_iter()
    .filter(|&(given, _)| !given)
    .map(|(_, name)| name)
    .collect();
    if !names.is_empty() {
        r.fault(
            &FaultPlace::Whole,
            format!(
                "missing for work with the cloud: {}. Set them, or run with --standalone (mode: standalone) for the local REST API alone",
                names.join(", ")
            ),
        );
    }
}
