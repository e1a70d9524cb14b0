//! OPTIONS and DESCRIBE, to tell a camera from what else listens on 554. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::talk::{End, Facts, Next, may_begin};
use super::words::{banner, realms, words};

/// Most bytes that are read.
pub const MAX_BYTES: usize = 8 * 1024;
/// Most headers of one answer that are looked at.
const MAX_HEADERS: usize = 64;
const BEGIN: &[u8] = b"RTSP/1.";

/// One connection to a port that may speak RTSP.
#[derive(Debug)]
pub struct RtspTalk {
    url: String,
    taken: usize,
    buffer: Vec<u8>,
    stage: Stage,
    facts: Facts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Options,
    Describe,
}

/// An answer's head.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    server: Option<String>,
    methods: Option<String>,
    realms: Vec<String>,
    body: usize,
}

impl RtspTalk {
    /// With what listens there.
    pub fn new(ip: Ipv4Addr, port: u16) -> Self {
        Self {
            url: format!("rtsp://{}/", SocketAddrV4::new(ip, port)),
            taken: 0,
            buffer: Vec::new(),
            stage: Stage::Options,
            facts: Facts::default(),
        }
    }

    pub(super) fn begin(&mut self) -> Vec<u8> {
        format!(
            "OPTIONS {} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: lss\r\n\r\n",
            self.url
        )
        .into_bytes()
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Next {
        let room = MAX_BYTES.saturating_sub(self.taken);
        self.taken = self.taken.saturating_add(bytes.len());
        self.buffer
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        if !may_begin(&self.buffer, BEGIN) {
            self.give_up();
            return Next::Over;
        }
        let head = match read_head(&self.buffer) {
            Some((head, len)) if len + self.skip(&head) <= self.buffer.len() => {
                let all = len + self.skip(&head);
                self.buffer.drain(..all);
                head
            }
            _ if self.taken >= MAX_BYTES => {
                self.give_up();
                return Next::Over;
            }
            _ => return Next::More,
        };
        match self.stage {
            Stage::Options => self.options(head),
            Stage::Describe => {
                // 405, 501: without DESCRIBE there is no stream to see.
                self.facts.rtsp |= !matches!(head.status, 405 | 501);
                self.learn(head);
                Next::Over
            }
        }
    }

    /// The body of DESCRIBE is not waited for: it is nobody's business here.
    fn skip(&self, head: &Head) -> usize {
        match self.stage {
            Stage::Options => head.body,
            Stage::Describe => 0,
        }
    }

    fn options(&mut self, head: Head) -> Next {
        let methods = head.methods.as_deref().map(str::to_ascii_uppercase);
        let air_play = head
            .server
            .as_deref()
            .is_some_and(|s| s.starts_with("AirTunes"));
        self.learn(head);
        match methods {
            Some(methods) if methods.contains("DESCRIBE") => self.facts.rtsp = true,
            Some(methods) if methods.contains("ANNOUNCE") || methods.contains("RECORD") => {
                "an AirPlay receiver".clone_into(&mut self.facts.note);
                return Next::Over;
            }
            None if air_play => {
                "an AirPlay receiver".clone_into(&mut self.facts.note);
                return Next::Over;
            }
            _ => {}
        }
        self.stage = Stage::Describe;
        Next::Send(
            format!(
                "DESCRIBE {} RTSP/1.0\r\nCSeq: 2\r\nUser-Agent: lss\r\nAccept: application/sdp\r\n\r\n",
                self.url
            )
            .into_bytes(),
        )
    }

    fn learn(&mut self, head: Head) {
        if self.facts.rtsp_server.is_none() {
            self.facts.rtsp_server = head.server;
        }
        self.facts.add_realms(head.realms);
    }

    pub(super) fn ended(&mut self, how: End) {
        match self.stage {
            Stage::Options => {
                self.facts.silent = self.taken == 0 && how == End::Late;
                if self.taken == 0 && how == End::Closed {
                    "closes at once".clone_into(&mut self.facts.note);
                } else {
                    self.give_up();
                }
            }
            // It has answered RTSP; not every camera lets strangers as far as DESCRIBE.
            Stage::Describe => self.facts.rtsp = true,
        }
    }

    fn give_up(&mut self) {
        if self.stage == Stage::Describe {
            self.facts.rtsp = true;
        } else {
            banner(&self.buffer).clone_into(&mut self.facts.note);
        }
    }

    pub(super) fn facts(self) -> Facts {
        let mut facts = self.facts;
        if facts.note.is_empty() && !facts.rtsp && self.stage == Stage::Describe {
            "RTSP without DESCRIBE".clone_into(&mut facts.note);
        }
        facts
    }
}

/// A whole head and its length.
fn read_head(bytes: &[u8]) -> Option<(Head, usize)> {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
    let first = lines.next().filter(|l| l.ends_with(b"\n"))?;
    let mut len = first.len();
    let mut head = Head {
        status: status(first),
        ..Head::default()
    };
    for (count, line) in lines.enumerate() {
        if !line.ends_with(b"\n") {
            return None;
        }
        len += line.len();
        let line = line.trim_ascii();
        if line.is_empty() {
            return Some((head, len));
        }
        let colon = line.iter().position(|b| *b == b':');
        let Some((name, value)) = colon.and_then(|at| line.split_at_checked(at)) else {
            continue;
        };
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if count < MAX_HEADERS {
            head.take(&name.to_ascii_lowercase(), value);
        }
    }
    None
}

impl Head {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name.trim_ascii() {
            b"server" if self.server.is_none() => self.server = words(&text()),
            b"public" | b"allow" => {
                let methods = self.methods.get_or_insert_default();
                methods.push_str(&text());
                methods.push(',');
            }
            b"www-authenticate" => self.realms.extend(realms(value)),
            b"content-length" => self.body = text().parse().unwrap_or(0).min(MAX_BYTES),
            _ => {}
        }
    }
}

fn status(line: &[u8]) -> u16 {
    String::from_utf8_lossy(line)
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "rtsp_talk_tests.rs"]
mod tests;
