//! What a conversation on an open port comes to: how it goes on, and what was learnt.

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// More has to be read.
    More,
    /// This goes out, and its answer is read.
    Send(Vec<u8>),
    /// On a new connection, by [`Talk::begin`](super::talk::Talk::begin).
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

/// Whether what came so far can still become something that begins with `with`.
pub(super) fn may_begin(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(a, b)| a == b)
}
