//! OPTIONS and DESCRIBE, to tell a camera from what else listens on 554. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::facts::{End, Facts, Next, may_begin};
use super::words::{banner, realms, words};
use crate::infrastructure::rtsp::head::{Head, Start};
use crate::infrastructure::rtsp::message::write_request;

/// Most bytes that are read.
pub const MAX_BYTES: usize = 8 * 1024;
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
        write_request("OPTIONS", &self.url, 1, &[])
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
        let head = match Head::read(&self.buffer) {
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
            Stage::Options => self.options(&head),
            Stage::Describe => {
                // 405, 501: without DESCRIBE there is no stream to see.
                let refuses = matches!(
                    head.start,
                    Start::Response {
                        status: Some(405 | 501),
                        ..
                    }
                );
                self.facts.rtsp |= !refuses;
                self.learn(&head);
                Next::Over
            }
        }
    }

    /// The body of DESCRIBE is not waited for: it is nobody's business here.
    fn skip(&self, head: &Head) -> usize {
        match self.stage {
            Stage::Options => body_length(head),
            Stage::Describe => 0,
        }
    }

    fn options(&mut self, head: &Head) -> Next {
        let headers = &head.headers;
        let methods = ["public", "allow"]
            .iter()
            .flat_map(|name| headers.all(name))
            .map(|value| String::from_utf8_lossy(value).to_ascii_uppercase())
            .reduce(|all, more| all + "," + &more);
        let air_play = server(head).is_some_and(|s| s.starts_with("AirTunes"));
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
        let accept: (&str, &[u8]) = ("Accept", b"application/sdp");
        Next::Send(write_request("DESCRIBE", &self.url, 2, &[accept]))
    }

    fn learn(&mut self, head: &Head) {
        if self.facts.rtsp_server.is_none() {
            self.facts.rtsp_server = server(head);
        }
        self.facts
            .add_realms(head.headers.all("www-authenticate").flat_map(realms));
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

/// `Server`, the first that says something.
fn server(head: &Head) -> Option<String> {
    head.headers
        .all("server")
        .find_map(|value| words(&String::from_utf8_lossy(value)))
}

/// What stands behind a head, as far as it is read; a length that is no number is none.
fn body_length(head: &Head) -> usize {
    let last = head.headers.all("content-length").last();
    last.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
        .unwrap_or(0)
        .min(MAX_BYTES)
}

#[cfg(test)]
#[path = "rtsp_talk_tests.rs"]
mod tests;
