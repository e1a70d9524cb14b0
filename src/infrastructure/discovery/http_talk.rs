//! ISAPI, ONVIF and the home page on one port, in few requests and without a login. Pure.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::facts::{End, Facts, Next};
use super::http_reader::{HttpReader, Read};
use super::words::{banner, realms, words};
use crate::infrastructure::http::coding;
use crate::infrastructure::http::digest::{Challenge, parse_challenges};
use crate::infrastructure::http::response::Response;
use crate::infrastructure::isapi;
use crate::infrastructure::onvif::detect::says_yes_alone;
use crate::infrastructure::onvif::form::{Form, Message};
use crate::infrastructure::onvif::reply::{self, FaultKind, Reply};
use crate::infrastructure::onvif::request::{self, Service};

/// Connections to one port, one after the other.
const MAX_CONNECTIONS: u8 = 4;
/// How much of a home page is kept for its signs.
const MAX_PAGE: usize = 1024;
/// Longest path of another's choice that is asked for.
const MAX_PATH: usize = 512;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ask {
    Isapi,
    /// The clock, of the device service at this path. `hinted` = the device named it.
    Onvif {
        path: String,
        hinted: bool,
        form: Form,
    },
    Page,
}

/// What is worth asking on a port.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    pub isapi: bool,
    /// ONVIF at its usual path.
    pub onvif: bool,
    /// ONVIF at the path that the device named.
    pub hinted: Option<String>,
    /// The home page.
    pub page: bool,
}

/// The conversation with one port.
#[derive(Debug)]
pub struct HttpTalk {
    host: String,
    asks: VecDeque<Ask>,
    reader: HttpReader,
    connections: u8,
    /// Answers on the connection at hand.
    here: u8,
    facts: Facts,
}

impl HttpTalk {
    /// With what listens there.
    pub fn new(ip: Ipv4Addr, port: u16, questions: Questions) -> Self {
        let usual = Service::Device.usual_path();
        let mut asks = VecDeque::new();
        if let Some(path) = questions
            .hinted
            .filter(|p| p.len() <= MAX_PATH && p.starts_with('/'))
        {
            asks.push_back(Ask::Onvif {
                path,
                hinted: true,
                form: Form::default(),
            });
        }
        if questions.isapi {
            asks.push_back(Ask::Isapi);
        }
        let there = asks
            .iter()
            .any(|a| matches!(a, Ask::Onvif { path, .. } if path == usual));
        if questions.onvif && !there {
            asks.push_back(Ask::Onvif {
                path: usual.to_owned(),
                hinted: false,
                form: Form::default(),
            });
        }
        if questions.page {
            asks.push_back(Ask::Page);
        }
        let host = match port {
            80 => ip.to_string(),
            _ => SocketAddrV4::new(ip, port).to_string(),
        };
        Self {
            host,
            asks,
            reader: HttpReader::default(),
            connections: 0,
            here: 0,
            facts: Facts::default(),
        }
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    pub(super) fn begin(&mut self) -> Vec<u8> {
        self.connections += 1;
        self.here = 0;
        self.reader = HttpReader::default();
        self.request()
    }

    fn request(&self) -> Vec<u8> {
        let host = &self.host;
        let common = format!(
            "HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lss\r\nAccept: */*\r\n{}Connection: keep-alive\r\n",
            coding::ACCEPT
        );
        match self.asks.front() {
            None => Vec::new(),
            Some(Ask::Isapi) => {
                let target = isapi::body::device_info().target;
                format!("GET {target} {common}\r\n").into_bytes()
            }
            Some(Ask::Page) => format!("GET / {common}\r\n").into_bytes(),
            Some(Ask::Onvif { path, form, .. }) => {
                let message = Message::new(*form, None, &request::system_date_and_time());
                let action = message
                    .soap_action
                    .map(|action| format!("SOAPAction: {action}\r\n"))
                    .unwrap_or_default();
                let mut bytes = format!(
                    "POST {path} {common}Content-Type: {}\r\n{action}Content-Length: {}\r\n\r\n",
                    message.content_type,
                    message.body.len()
                )
                .into_bytes();
                bytes.extend_from_slice(&message.body);
                bytes
            }
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Next {
        match self.reader.received(bytes) {
            Read::More => Next::More,
            Read::NotHttp => self.not_http(),
            Read::Whole(response, keep) => self.answered(&response, keep),
        }
    }

    pub(super) fn ended(&mut self, how: End) -> Next {
        match self.reader.ended() {
            Some(response) => self.answered(&response, false),
            None if !self.reader.is_empty() => self.not_http(),
            None if how == End::Late => {
                self.facts.silent = !self.facts.http;
                Next::Over
            }
            // A kept connection that was closed: the same once more.
            None if self.here > 0 => self.again(),
            None => {
                // Some servers hang up on what they do not know.
                self.asks.pop_front();
                if self.facts.note.is_empty() {
                    "closes at once".clone_into(&mut self.facts.note);
                }
                self.again()
            }
        }
    }

    fn not_http(&mut self) -> Next {
        if !self.facts.http {
            banner(self.reader.head()).clone_into(&mut self.facts.note);
        }
        Next::Over
    }

    fn again(&mut self) -> Next {
        if self.asks.is_empty() || self.connections >= MAX_CONNECTIONS {
            Next::Over
        } else {
            Next::Again
        }
    }

    fn answered(&mut self, response: &Response, keep: bool) -> Next {
        self.facts.http = true;
        self.here = self.here.saturating_add(1);
        if self.facts.http_server.is_none() {
            self.facts.http_server = response.header("server").as_deref().and_then(words);
        }
        for value in response.all("www-authenticate") {
            self.facts.add_realms(realms(value));
        }
        match self.asks.pop_front() {
            Some(Ask::Isapi) => {
                self.facts.isapi = isapi::detect::is_isapi(response);
                if self.facts.isapi {
                    self.asks.retain(|ask| *ask != Ask::Page);
                }
            }
            Some(Ask::Onvif { path, hinted, .. }) if is_onvif(response, hinted) => {
                self.facts.onvif = Some(path);
                self.asks.retain(|ask| !matches!(ask, Ask::Onvif { .. }));
            }
            Some(Ask::Onvif { path, hinted, form }) if says_yes_alone(response) => {
                if let Some(form) = form.next() {
                    self.asks.push_front(Ask::Onvif { path, hinted, form });
                }
            }
            Some(Ask::Page) => self.page(response),
            Some(Ask::Onvif { .. }) | None => {}
        }
        if self.asks.is_empty() {
            Next::Over
        } else if keep {
            self.reader = HttpReader::default();
            Next::Send(self.request())
        } else {
            self.again()
        }
    }

    fn page(&mut self, response: &Response) {
        let location = response.header("location");
        self.facts.pages.extend(location.as_deref().and_then(words));
        let text = String::from_utf8_lossy(&response.body);
        self.facts.http_title = title(&text);
        let start: String = text.chars().take(MAX_PAGE).collect();
        if !start.trim().is_empty() {
            self.facts.pages.push(start);
        }
    }

    pub(super) fn facts(self) -> Facts {
        let mut facts = self.facts;
        if facts.http {
            facts.note = match (&facts.http_title, &facts.http_server) {
                (Some(title), Some(server)) => format!("a web page \"{title}\" ({server})"),
                (Some(title), None) => format!("a web page \"{title}\""),
                (None, Some(server)) => format!("a web server ({server})"),
                (None, None) => "a web server".to_owned(),
            };
        } else if facts.silent {
            "silence".clone_into(&mut facts.note);
        }
        facts
    }
}

/// Whether the answer is ONVIF's. Where the device itself named the place, a request for a login
/// is answer enough: some guard even their clock.
fn is_onvif(response: &Response, hinted: bool) -> bool {
    match reply::read(&response.body) {
        Ok(Reply::Content(content)) => content
            .name
            .eq_ignore_ascii_case("GetSystemDateAndTimeResponse"),
        // Any SOAP server has faults; those of ONVIF speak of it.
        Ok(Reply::Fault(fault)) => {
            hinted
                || fault.kind() == FaultKind::NotAuthorized
                || response
                    .body
                    .windows(b"onvif".len())
                    .any(|w| w.eq_ignore_ascii_case(b"onvif"))
        }
        Err(_) => {
            hinted
                && response.status == 401
                && parse_challenges(response.all("www-authenticate"))
                    .iter()
                    .any(|c| matches!(c, Challenge::Digest(_)))
        }
    }
}

/// What stands between `<title>` and the next tag.
fn title(page: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let from = open + lower.get(open..)?.find('>')? + 1;
    let rest = page.get(from..)?;
    words(rest.split('<').next()?)
}

#[cfg(test)]
#[path = "http_talk_tests.rs"]
mod tests;
