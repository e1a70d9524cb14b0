//! The effective configuration as YAML again, for `check-config`: every key, secrets masked.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;

use super::value::{self, shown_duration, word};
use super::{CameraCredential, Config};
use crate::util::secret::{MASK, Secret};

/// The configuration in the shape of the file. A secret that is set shows as `'***'`, one that is
/// not as `''`; what came from a token or password file stands under the key it stands in for.
pub fn to_yaml(config: &Config) -> String {
    let mut y = Yaml::default();
    y.plain("mode", word(&value::MODES, &config.mode));

    let server = &config.server;
    y.section("server");
    y.text("listen", &shown(server.listen));
    y.plain("port", server.port);
    y.secret("api_token", server.api_token.as_ref());
    y.list("allowed_hosts", &server.allowed_hosts);
    y.end();

    let ably = &config.ably;
    y.section("ably");
    y.secret("api_key", ably.api_key.as_ref());
    y.secret("auth_url", ably.auth_url.as_ref());
    y.headers("auth_headers", &ably.auth_headers);
    y.text("client_id", &ably.client_id);
    y.plain(
        "heartbeat_interval",
        shown_duration(ably.heartbeat_interval),
    );
    y.text("endpoint", &ably.endpoint);
    y.plain("port", ably.port);
    y.plain("tls", ably.tls);
    y.list(
        "fallback_hosts",
        ably.fallback_hosts.as_deref().unwrap_or_default(),
    );
    y.text("connectivity_check_url", &ably.connectivity_check_url);
    y.path("ca_file", ably.ca_file.as_ref());
    y.end();

    let rcs = &config.rcs;
    y.section("rcs");
    y.text("base_url", rcs.base_url.as_deref().unwrap_or_default());
    y.plain("connect_timeout", shown_duration(rcs.connect_timeout));
    y.plain("read_timeout", shown_duration(rcs.read_timeout));
    y.plain("heartbeat_interval", shown_duration(rcs.heartbeat_interval));
    y.secret("token", rcs.token.as_ref());
    y.plain("callback_queue", rcs.callback_queue);
    y.path("ca_file", rcs.ca_file.as_ref());
    y.end();

    y.section("lss");
    let node = &config.node;
    y.section("node");
    y.text("name", &node.name);
    y.text("machine_id", &node.machine_id);
    y.plain("max_tasks", node.max_tasks);
    y.text("ip", &shown(node.ip));
    y.text(
        "public_ip_url",
        node.public_ip_url.as_deref().unwrap_or_default(),
    );
    y.path("state_dir", node.state_dir.as_ref());
    y.end();
    let ffmpeg = &config.ffmpeg;
    y.section("ffmpeg");
    y.text("path", &ffmpeg.path.to_string_lossy());
    y.plain("stop_timeout", shown_duration(ffmpeg.stop_timeout));
    y.plain("start_confirm", shown_duration(ffmpeg.start_confirm));
    y.plain("start_timeout", shown_duration(ffmpeg.start_timeout));
    y.plain("stall_timeout", shown_duration(ffmpeg.stall_timeout));
    y.plain("whip_timeout", shown_duration(ffmpeg.whip_timeout));
    y.plain("max_retries", ffmpeg.max_retries);
    y.plain(
        "passthrough",
        word(&value::PASSTHROUGHS, &ffmpeg.passthrough),
    );
    y.plain("engine", word(&value::ENGINES, &ffmpeg.engine));
    y.list("whip_hosts", &ffmpeg.whip_hosts);
    y.path("file_root", ffmpeg.file_root.as_ref());
    y.end();
    y.end();

    y.section("ptz");
    y.plain("max_move", shown_duration(config.ptz.max_move));
    y.plain("command_ttl", shown_duration(config.ptz.command_ttl));
    y.end();

    let camera = &config.camera;
    y.section("camera");
    y.plain("scan_enabled", camera.scan_enabled);
    y.list("scan_subnet", &camera.scan_subnet);
    y.plain("scan_timeout", shown_duration(camera.scan_timeout));
    y.plain("rescan_interval", shown_duration(camera.rescan_interval));
    y.plain("allow_loopback", camera.allow_loopback);
    y.plain("tls", word(&value::CERTIFICATE_CHECKS, &camera.tls));
    y.credentials("credentials", &camera.credentials);
    y.end();

    y.section("snapshot");
    y.plain("timeout", shown_duration(config.snapshot.timeout));
    y.end();

    y.section("log");
    y.plain("format", word(&value::FORMATS, &config.log.format));
    y.plain("level", word(&value::LEVELS, &config.log.level));
    y.end();
    y.out
}

fn shown(value: Option<impl Display>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// Texts stand in single quotes always: no text is then taken for a number, a word or a mark.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn masked(secret: Option<&Secret>) -> String {
    quoted(match secret {
        Some(secret) if !secret.is_empty() => MASK,
        _ => "",
    })
}

/// Block-style YAML. Writing to a String can't fail.
#[derive(Default)]
struct Yaml {
    out: String,
    depth: usize,
}

impl Yaml {
    fn line(&mut self, key: &str, value: impl Display) {
        let indent = self.depth * 2;
        let _ = writeln!(self.out, "{:indent$}{key}: {value}", "");
    }

    fn section(&mut self, key: &str) {
        let indent = self.depth * 2;
        let _ = writeln!(self.out, "{:indent$}{key}:", "");
        self.depth += 1;
    }

    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// A number, a word of ours, a span of time.
    fn plain(&mut self, key: &str, value: impl Display) {
        self.line(key, value);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.line(key, quoted(value));
    }

    fn path(&mut self, key: &str, value: Option<&PathBuf>) {
        let text = value.map(|p| p.to_string_lossy().into_owned());
        self.text(key, &text.unwrap_or_default());
    }

    fn secret(&mut self, key: &str, value: Option<&Secret>) {
        self.line(key, masked(value));
    }

    fn list(&mut self, key: &str, items: &[String]) {
        let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
        self.line(key, format_args!("[{}]", items.join(", ")));
    }

    fn headers(&mut self, key: &str, headers: &[(String, Secret)]) {
        if headers.is_empty() {
            self.line(key, "{}");
            return;
        }
        self.section(key);
        for (name, value) in headers {
            self.line(&quoted(name), masked(Some(value)));
        }
        self.end();
    }

    fn credentials(&mut self, key: &str, credentials: &[CameraCredential]) {
        if credentials.is_empty() {
            self.line(key, "[]");
            return;
        }
        self.section(key);
        for credential in credentials {
            self.line("- match", quoted(&credential.matches));
            self.depth += 1;
            self.text("username", &credential.username);
            self.secret("password", Some(&credential.password));
            if let Some(vendor) = &credential.vendor {
                self.text("vendor", vendor);
            }
            if credential.allow_basic {
                self.line("allow_basic", "true");
            }
            if let Some(path) = &credential.onvif_path {
                self.text("onvif_path", path);
            }
            if let Some(profile) = &credential.profile {
                self.text("profile", profile);
            }
            self.end();
        }
        self.end();
    }
}
