//! What differs between two configurations, and what of it a running daemon can take (contract 2).

use super::Config;

/// When a changed key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// At the reload.
    Now,
    /// At the next start.
    Restart,
}

/// A key whose value has changed. The values are not named: they may be secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Dotted, as in the file.
    pub key: &'static str,
    /// When it takes effect.
    pub takes: Takes,
}

/// One key: its name, when it takes effect, and whether it differs.
type Key = (&'static str, Takes, fn(&Config, &Config) -> bool);

macro_rules! keys {
    ($($key:literal $takes:ident $($field:ident).+;)+) => {
        &[$(($key, Takes::$takes, |a, b| a.$($field).+ != b.$($field).+)),+]
    };
}

/// Every value of a [`Config`], under the key that sets it.
const KEYS: &[Key] = keys! {
    "mode" Restart mode;
    "server.listen" Restart server.listen;
    "server.port" Restart server.port;
    "server.api_token" Now server.api_token;
    "server.allowed_hosts" Now server.allowed_hosts;
    "ably.api_key" Restart ably.api_key;
    "ably.client_id" Restart ably.client_id;
    "ably.heartbeat_interval" Restart ably.heartbeat_interval;
    "ably.endpoint" Restart ably.endpoint;
    "ably.port" Restart ably.port;
    "ably.tls" Restart ably.tls;
    "ably.fallback_hosts" Restart ably.fallback_hosts;
    "ably.connectivity_check_url" Restart ably.connectivity_check_url;
    "ably.auth_url" Restart ably.auth_url;
    "ably.auth_headers" Restart ably.auth_headers;
    "ably.ca_file" Restart ably.ca_file;
    "rcs.base_url" Restart rcs.base_url;
    "rcs.connect_timeout" Restart rcs.connect_timeout;
    "rcs.read_timeout" Restart rcs.read_timeout;
    "rcs.heartbeat_interval" Restart rcs.heartbeat_interval;
    "rcs.token" Now rcs.token;
    "rcs.callback_queue" Restart rcs.callback_queue;
    "rcs.ca_file" Restart rcs.ca_file;
    "lss.node.name" Restart node.name;
    "lss.node.machine_id" Restart node.machine_id;
    "lss.node.max_tasks" Now node.max_tasks;
    "lss.node.ip" Restart node.ip;
    "lss.node.public_ip_url" Restart node.public_ip_url;
    "lss.node.state_dir" Restart node.state_dir;
    "lss.ffmpeg.path" Restart ffmpeg.path;
    "lss.ffmpeg.stop_timeout" Now ffmpeg.stop_timeout;
    "lss.ffmpeg.start_confirm" Now ffmpeg.start_confirm;
    "lss.ffmpeg.start_timeout" Now ffmpeg.start_timeout;
    "lss.ffmpeg.stall_timeout" Now ffmpeg.stall_timeout;
    "lss.ffmpeg.whip_timeout" Restart ffmpeg.whip_timeout;
    "lss.ffmpeg.max_retries" Now ffmpeg.max_retries;
    "lss.ffmpeg.passthrough" Restart ffmpeg.passthrough;
    "lss.ffmpeg.engine" Restart ffmpeg.engine;
    "lss.ffmpeg.whip_hosts" Restart ffmpeg.whip_hosts;
    "lss.ffmpeg.file_root" Restart ffmpeg.file_root;
    "ptz.max_move" Now ptz.max_move;
    "ptz.command_ttl" Now ptz.command_ttl;
    "camera.scan_enabled" Now camera.scan_enabled;
    "camera.scan_subnet" Now camera.scan_subnet;
    "camera.scan_timeout" Now camera.scan_timeout;
    "camera.rescan_interval" Now camera.rescan_interval;
    "camera.allow_loopback" Restart camera.allow_loopback;
    "camera.tls" Restart camera.tls;
    "camera.credentials" Now camera.credentials;
    "snapshot.timeout" Now snapshot.timeout;
    "log.format" Restart log.format;
    "log.level" Now log.level;
};

/// What a reload from `old` to `new` changes, in the file's order.
///
/// A token that is taken away waits for a restart: the API may listen where it must not be open.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    KEYS.iter()
        .filter(|(_, _, differs)| differs(old, new))
        .map(|&(key, takes, _)| {
            let bare = key == "server.api_token" && new.server.api_token.is_none();
            Change {
                key,
                takes: if bare { Takes::Restart } else { takes },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, known_keys, parse};

    fn config(yaml: &str) -> Config {
        let mut input = Input::new("lss.yaml", yaml.as_bytes());
        input.standalone = true;
        parse(&input).unwrap().config
    }

    fn between(old: &str, new: &str) -> Vec<(&'static str, Takes)> {
        changes(&config(old), &config(new))
            .into_iter()
            .map(|change| (change.key, change.takes))
            .collect()
    }

    #[test]
    fn every_key_has_its_place() {
        // Sections, parts of a list's entries, and files that stand in for a value.
        let elsewhere = |key: &str| {
            KEYS.iter().any(|(k, ..)| k.starts_with(&format!("{key}.")))
                || key.starts_with("camera.credentials")
                || key == "server.api_token_file"
        };
        for key in known_keys() {
            assert!(
                KEYS.iter().any(|(k, ..)| *k == key) || elsewhere(&key),
                "{key} is not compared"
            );
        }
    }

    #[test]
    fn nothing_changed_is_nothing() {
        let yaml =
            "server: { api_token: canary-token-0123456789 }\ncamera: { scan_enabled: false }\n";
        assert_eq!(between(yaml, yaml), []);
    }

    #[test]
    fn what_changes_now_and_what_waits() {
        assert_eq!(
            between(
                "camera: { scan_enabled: false }\n",
                "server: { port: 9999 }\nlss: { ffmpeg: { max_retries: 7 } }\ncamera: { scan_enabled: false }\nlog: { level: debug }\n",
            ),
            [
                ("server.port", Takes::Restart),
                ("lss.ffmpeg.max_retries", Takes::Now),
                ("log.level", Takes::Now),
            ]
        );
    }

    #[test]
    fn a_token_changes_now_but_does_not_vanish() {
        let with = |token: &str| format!("server: {{ api_token: '{token}' }}\n");
        let (one, two) = ("canary-token-0123456789", "canary-token-9876543210");
        assert_eq!(
            between(&with(one), &with(two)),
            [("server.api_token", Takes::Now)]
        );
        assert_eq!(
            between(&with(one), "mode: standalone\n"),
            [("server.api_token", Takes::Restart)]
        );
    }
}
