//! What is said on an open port, without a login, and what is learnt from it. Pure: bytes in,
//! bytes out; time-outs are told.
//!
//! Each side of a conversation is bounded: so many requests, so many connections, so many bytes.

use super::facts::{End, Facts, Next};
use super::http_talk::HttpTalk;
use super::rtsp_talk::RtspTalk;

/// What is asked on a port that accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// OPTIONS and DESCRIBE.
    Rtsp,
    /// ISAPI, ONVIF and the home page.
    Web,
    /// ONVIF alone: some vendors' second port, or something else's first.
    Onvif,
    /// Nothing: that it accepts is the sign.
    Sign,
}

/// A conversation on one port.
#[derive(Debug)]
pub enum Talk {
    Rtsp(RtspTalk),
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
