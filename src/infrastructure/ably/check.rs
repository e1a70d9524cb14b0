//! A look at Ably for `lss doctor`: is there an internet, what time is it, is our login taken?
//!
//! Connects as the daemon does, and closes after CONNECTED. Attaches to no channel and enters no
//! presence, so nobody hears of it, and a daemon that runs meanwhile is not disturbed.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::client::{Auth, ClientSettings};
use super::endpoint::{Hosts, Login, connect_path};
use super::frame::{Action, ProtocolMessage};
use super::helper::{MAX_WORDS, TokenFetch, base, get, server_time};
use super::transport::MAX_FRAME;
use super::upgrade::{Progress, Upgrade};
use crate::domain::checkup::AblyLook;
use crate::infrastructure::http::bounded::Bounded;
use crate::infrastructure::http::names::Names;
use crate::infrastructure::http::response::is_timeout;
use crate::util::foreign::shown;
use crate::util::secret::Secret;
use crate::util::time::epoch_ms;

/// The frames before CONNECTED or ERROR: none, or a heartbeat.
const MAX_FRAMES_BEFORE: usize = 8;

/// The host that is tried first.
pub fn primary_host(settings: &ClientSettings) -> String {
    hosts(settings).primary
}

fn hosts(settings: &ClientSettings) -> Hosts {
    Hosts::of(&settings.endpoint, settings.fallback_hosts.as_deref())
}

fn service(settings: &ClientSettings, host: &str) -> String {
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    base(scheme, host, settings.port)
}

/// Asks the connectivity check URL (RTN17j), for at most `within`.
pub fn internet(settings: &ClientSettings, within: Duration) -> Result<(), String> {
    let body = get(
        &settings.http,
        &settings.connectivity_check_url,
        within,
        64 * 1024,
    )?;
    if body.contains("yes") && body.len() < 64 {
        Ok(())
    } else {
        Err("a page instead of “yes”".to_owned())
    }
}

/// Ably's clock less ours, in seconds; `None` where it does not tell within that time.
pub fn clock(settings: &ClientSettings, within: Duration) -> Option<i64> {
    let url = format!("{}/time", service(settings, &primary_host(settings)));
    let asked = Instant::now();
    let theirs = server_time(&settings.http, &url, within)?;
    let travel = i64::try_from(asked.elapsed().as_millis() / 2).ok()?;
    let ours = i64::try_from(epoch_ms(SystemTime::now())).ok()?;
    theirs
        .checked_add(travel)?
        .checked_sub(ours)
        .map(|ms| ms.saturating_add(500).div_euclid(1000))
}

/// How many fallback hosts are tried where the primary one is not reached.
const FALLBACKS: usize = 2;

/// Connects with our login, and closes. The name, the token and the rest each end by `within`.
/// Where the primary host is not reached, fallback hosts are tried, as the daemon does (RTN17j).
pub fn connect(settings: &ClientSettings, within: Duration) -> AblyLook {
    let Hosts { primary, fallbacks } = hosts(settings);
    let first = connect_to(settings, &primary, within);
    let (AblyLook::Unreachable(why) | AblyLook::Foreign(why)) = &first else {
        return first;
    };
    for host in fallbacks.iter().take(FALLBACKS) {
        match connect_to(settings, host, within / 2) {
            AblyLook::Unreachable(_) | AblyLook::Foreign(_) => {}
            AblyLook::Connected { host, took, .. } => {
                return AblyLook::Connected {
                    host,
                    took,
                    missed: Some((primary, why.clone())),
                };
            }
            answered => return answered,
        }
    }
    first
}

fn connect_to(settings: &ClientSettings, host: &str, within: Duration) -> AblyLook {
    let token;
    let login = match &settings.auth {
        Auth::Key(key) => Login::Key(key),
        Auth::Url(source) => {
            let fetch = TokenFetch {
                http: settings.http.clone(),
                patience: within,
                source: source.clone(),
                client_id: settings.client_id.clone(),
                service: service(settings, host),
            };
            match fetch.run() {
                Ok(found) => {
                    token = found.value;
                    Login::Token(&token)
                }
                Err(why) => return AblyLook::NoToken(why.text),
            }
        }
    };
    let path = connect_path(login, &settings.client_id, &settings.agent, None);
    match talk(settings, host, &path, within) {
        Ok(look) | Err(look) => look,
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn unreachable(why: &io::Error) -> AblyLook {
    AblyLook::Unreachable(if is_timeout(why) {
        "no answer in time".to_owned()
    } else {
        shown(&why.to_string(), MAX_WORDS)
    })
}

fn talk(
    settings: &ClientSettings,
    host: &str,
    path: &Secret,
    within: Duration,
) -> Result<AblyLook, AblyLook> {
    let mut addresses = Names::default()
        .lookup(host, settings.port, within)
        .map_err(|why| unreachable(&why))?;
    if settings.tls.is_none() {
        // The key must not travel in the clear, whatever the name resolves to (RSA1).
        addresses.retain(|a| a.ip().is_loopback());
    }
    let begin = Instant::now();
    let (tcp, _) = Bounded::connect(&addresses, begin + within).map_err(|why| unreachable(&why))?;
    let mut wire: Box<dyn Wire> = match &settings.tls {
        None => Box::new(tcp),
        Some(config) => {
            let tls = ServerName::try_from(host.to_owned())
                .map_err(|_| rustls::Error::General(format!("{host} is no name for TLS")))
                .and_then(|name| ClientConnection::new(Arc::clone(config), name))
                .map_err(|why| AblyLook::Unreachable(why.to_string()))?;
            Box::new(StreamOwned::new(tls, tcp))
        }
    };
    let rest = upgrade(settings, host, path, &mut wire)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let mut socket = WebSocket::from_partially_read(wire, rest, Role::Client, Some(config));
    for _ in 0..MAX_FRAMES_BEFORE {
        let Some(message) = next(&mut socket)? else {
            continue;
        };
        let answer = match message.action {
            Action::Connected => AblyLook::Connected {
                host: host.to_owned(),
                took: begin.elapsed(),
                missed: None,
            },
            Action::Error | Action::Disconnected => {
                let error = message.error;
                AblyLook::Refused {
                    code: error.as_ref().map_or(0, |e| e.code),
                    words: error.map_or_else(|| "without a reason".to_owned(), |e| e.message),
                }
            }
            _ => continue,
        };
        // As a client says goodbye (RTN12a); whether it is heard is of no interest.
        let close = ProtocolMessage::new(Action::Close).to_text();
        let _ = socket.send(Message::text(close));
        let _ = socket.close(None);
        return Ok(answer);
    }
    Err(AblyLook::Foreign(
        "it talks, and not as Ably does".to_owned(),
    ))
}

fn upgrade(
    settings: &ClientSettings,
    host: &str,
    path: &Secret,
    wire: &mut dyn Wire,
) -> Result<Vec<u8>, AblyLook> {
    let mut upgrade = Upgrade::new(host, settings.port, settings.tls.is_some(), path);
    wire.write_all(upgrade.to_write())
        .and_then(|()| wire.flush())
        .map_err(|why| unreachable(&why))?;
    let mut buffer = [0_u8; 4096];
    loop {
        let read = wire.read(&mut buffer).map_err(|why| unreachable(&why))?;
        if read == 0 {
            return Err(AblyLook::Unreachable(
                "it closes the connection without an answer".to_owned(),
            ));
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        match upgrade.read(bytes) {
            Ok(Progress::Incomplete) => {}
            Ok(Progress::Done(rest)) => return Ok(rest),
            Err(fault) => return Err(AblyLook::Foreign(shown(&fault.text, MAX_WORDS))),
        }
    }
}

/// The next protocol message; `None` for a frame that is none.
fn next(socket: &mut WebSocket<Box<dyn Wire>>) -> Result<Option<ProtocolMessage>, AblyLook> {
    match socket.read() {
        Ok(Message::Text(text)) => Ok(ProtocolMessage::parse(&text).ok()),
        Ok(_) => Ok(None),
        Err(tungstenite::Error::Io(why)) => Err(unreachable(&why)),
        Err(why) => Err(AblyLook::Unreachable(shown(&why.to_string(), MAX_WORDS))),
    }
}
