//! RCS and Ably: the two ways to the cloud.

use super::{count, duration, ms, port, secs};
use crate::config::fault::Place;
use crate::config::reader::{Field, Reader, Section};
use crate::config::value;
use crate::config::{Ably, Rcs};
use crate::util::secret::Secret;
use crate::util::url::is_loopback_host;

/// Ably's own page for "is there an internet at all".
const CONNECTIVITY_URL: &str = "https://internet-up.ably-realtime.com/is-the-internet-up.txt";

/// The cloud mode's three, in one fault (contract 1).
pub(super) fn missing(r: &mut Reader<'_>, ably: bool, machine_id: bool, rcs: bool) {
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
            &Place::Whole,
            format!(
                "missing for work with the cloud: {}. Set them, or run with --standalone (mode: standalone) for the local REST API alone",
                names.join(", ")
            ),
        );
    }
}

/// With whether a base URL was given at all.
pub(super) fn rcs<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> (Rcs, bool) {
    let base_url = r.read(
        section,
        "base_url",
        Some("RCS_BASE_URL"),
        None,
        value::optional(value::base_url),
    );
    let token = r.secret(section, "token", None, Secret::new, value::header_token);
    if token.value.is_some()
        && base_url
            .value
            .as_deref()
            .is_some_and(value::is_plain_remote)
    {
        r.fault(
            &token.place,
            "must not be sent over plain http to another machine: make rcs.base_url https",
        );
    }
    let given = base_url.value.is_some() || !base_url.sound;
    let rcs = Rcs {
        base_url: base_url.value,
        connect_timeout: duration(r, section, "connect_timeout", secs(10), ms(100), secs(120))
            .value,
        read_timeout: duration(r, section, "read_timeout", secs(30), ms(100), secs(300)).value,
        heartbeat_interval: duration(
            r,
            section,
            "heartbeat_interval",
            secs(5),
            ms(100),
            secs(600),
        )
        .value,
        token: token.value,
        callback_queue: count(r, section, "callback_queue", None, 1000, 100_000),
        ca_file: r.ca_file(section, "ca_file"),
    };
    (rcs, given)
}

/// With whether there is a way to authenticate, and the client id as given.
pub(super) fn ably<'a>(r: &mut Reader<'a>, section: &Section<'a>) -> (Ably, bool, Field<String>) {
    let api_key = r.secret(
        section,
        "api_key",
        Some("ABLY_API_KEY"),
        Secret::key,
        value::header_token,
    );
    let shaped = api_key.value.as_ref().is_none_or(|key| {
        key.expose()
            .split_once(':')
            .is_some_and(|(name, secret)| !name.is_empty() && !secret.is_empty())
    });
    if !shaped {
        r.warn(
            &api_key.place,
            "does not look like an Ably key (appId.keyId:secret): was it copied whole?",
        );
    }
    let auth_url = r.secret(section, "auth_url", None, Secret::url, |text| {
        let url = value::http_url(text)?;
        if value::is_plain_remote(&url) {
            return Err("must be https: tokens travel over it".into());
        }
        Ok(())
    });
    let auth_headers = r.secrets_by_name(
        section,
        "auth_headers",
        value::is_header_name,
        value::header_value,
    );
    let client_id = r.read(section, "client_id", None, String::new(), value::text);
    let endpoint = r.read(
        section,
        "endpoint",
        None,
        "main".to_owned(),
        value::endpoint,
    );
    let tls = r.read(section, "tls", None, true, value::boolean);
    if !tls.value && endpoint.sound && !is_loopback_host(&endpoint.value) {
        r.fault(
            &tls.place,
            "must be true: without TLS only to an ably.endpoint on loopback (127.0.0.1, ::1, localhost)",
        );
    }
    let fallback_hosts = r.read_list(section, "fallback_hosts", value::host);
    let given =
        api_key.value.is_some() || auth_url.value.is_some() || !api_key.sound || !auth_url.sound;
    let ably = Ably {
        api_key: api_key.value,
        client_id: String::new(),
        heartbeat_interval: duration(
            r,
            section,
            "heartbeat_interval",
            secs(10),
            ms(100),
            secs(600),
        )
        .value,
        endpoint: endpoint.value,
        port: port(r, section, 443),
        tls: tls.value,
        fallback_hosts: (!fallback_hosts.is_empty()).then_some(fallback_hosts),
        connectivity_check_url: r
            .read(
                section,
                "connectivity_check_url",
                None,
                CONNECTIVITY_URL.to_owned(),
                |text| {
                    if text.is_empty() {
                        Ok(String::new())
                    } else {
                        value::plain_url(text)
                    }
                },
            )
            .value,
        auth_url: auth_url.value,
        auth_headers,
        ca_file: r.ca_file(section, "ca_file"),
    };
    (ably, given, client_id)
}
