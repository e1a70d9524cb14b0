//! What is said on an open port, without a login, and what is learnt from it. Pure: bytes in,
//! bytes out; time-outs are told.
//!
//! Each side of a conversation is bounded: so many requests, so many connections, so many bytes.

use super::http_talk::HttpTalk;
use super::rtsp_talk::RtspTalk;

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// More has to be read.
    More,
    /// This goes out, and its answer is read.
    Send(Vec<u8>),
    /// On a new connection, by [`Talk::begin`].
    Again,
    /// Nothing more to learn.
    Over,
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The other side closed or reset the connection.
    Closed,
    /// The answer is not there in time.
    Late,
}

/// What was learnt on one port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
// Signs, each by itself: no states of anything.
#[expect(clippy::struct_excessive_bools)]
pub struct Facts {
    /// Speaks RTSP, and DESCRIBE is among what it does.
    pub rtsp: bool,
    /// Speaks HTTP.
    pub http: bool,
    /// Speaks ISAPI.
    pub isapi: bool,
    /// The path of ONVIF's device service.
    pub onvif: Option<String>,
    /// `Server` of HTTP.
    pub http_server: Option<String>,
    /// Title of the home page.
    pub http_title: Option<String>,
    /// `Server` of RTSP.
    pub rtsp_server: Option<String>,
    /// Realms.
    pub realms: Vec<String>,
    /// Where the home page leads, and how it begins.
    pub pages: Vec<String>,
    /// Accepts, and says nothing to anything.
    pub silent: bool,
    /// What it was, for a person.
    pub note: String,
}

impl Facts {
    /// Whether this port makes its device a camera.
    pub fn is_camera(&self) -> bool {
        self.rtsp || self.isapi || self.onvif.is_some()
    }

    pub(super) fn add_realms(&mut self, realms: impl IntoIterator<Item = String>) {
        for realm in realms {
            if self.realms.len() < 4 && !self.realms.contains(&realm) {
                self.realms.push(realm);
            }
        }
    }
}

/// A conversation on one port.
#[derive(Debug)]
pub enum Talk {
    /// RTSP.
    Rtsp(RtspTalk),
    /// HTTP.
    Http(HttpTalk),
}

impl Talk {
    /// What goes out first on a fresh connection.
    pub fn begin(&mut self) -> Vec<u8> {
        match self {
            Self::Rtsp(talk) => talk.begin(),
            Self::Http(talk) => talk.begin(),
        }
    }

    /// Something came.
    pub fn received(&mut self, bytes: &[u8]) -> Next {
        match self {
            Self::Rtsp(talk) => talk.received(bytes),
            Self::Http(talk) => talk.received(bytes),
        }
    }

    /// Nothing more comes on this connection, or not in time.
    pub fn ended(&mut self, how: End) -> Next {
        match self {
            Self::Rtsp(talk) => {
                talk.ended(how);
                Next::Over
            }
            Self::Http(talk) => talk.ended(how),
        }
    }

    /// What was learnt.
    pub fn facts(self) -> Facts {
        match self {
            Self::Rtsp(talk) => talk.facts(),
            Self::Http(talk) => talk.facts(),
        }
    }
}

/// Whether what came so far can still become something that begins with `with`.
pub(super) fn may_begin(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(a, b)| a == b)
}
