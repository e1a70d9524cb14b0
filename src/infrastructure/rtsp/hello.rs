//! What an RTSP server says to a stranger, and whether it is a camera. Pure; no login is ever sent
//! from here.

use super::message::{Response, write_request};
use crate::infrastructure::http::camera::camera_words;

/// The question whether something speaks RTSP at `at` (`ip:port`; IPv6 in brackets), as bytes for
/// whoever has sockets of its own. An [`Inbox`](super::message::Inbox) reads the answer.
pub fn options(at: std::net::SocketAddr) -> Vec<u8> {
    write_request("OPTIONS", &format!("rtsp://{at}/"), 1, &[])
}

/// What a server is, by an answer to OPTIONS or DESCRIBE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// `Server`, one line, masked.
    pub server: Option<String>,
    /// The realms of the logins that it asks for.
    pub realms: Vec<String>,
    /// `Public`, in upper case; empty = not said.
    pub methods: Vec<String>,
}

impl Hello {
    /// From any answer, whatever its status.
    pub fn read(response: &Response) -> Self {
        let mut realms = Vec::new();
        for header in response.all("www-authenticate").take(8) {
            let realm = realm(&String::from_utf8_lossy(header));
            if let Some(realm) = realm.filter(|r| !realms.contains(r)) {
                realms.push(realm);
            }
        }
        Self {
            server: server(response),
            realms,
            methods: response
                .all("public")
                .flat_map(|v| v.split(|b| *b == b','))
                .map(|m| String::from_utf8_lossy(m).trim().to_ascii_uppercase())
                .filter(|m| !m.is_empty())
                .take(32)
                .collect(),
        }
    }

    /// Takes streams and gives none: an AirPlay receiver, a loudspeaker.
    pub fn only_receives(&self) -> bool {
        let has = |name: &str| self.methods.iter().any(|m| m == name);
        has("ANNOUNCE") && has("RECORD") && !has("DESCRIBE")
    }
}

/// `Server`, as it may be shown.
pub fn server(response: &Response) -> Option<String> {
    let words = camera_words(&response.header("server")?);
    (!words.is_empty()).then_some(words)
}

/// The realm of one header.
fn realm(header: &str) -> Option<String> {
    let at = header.to_ascii_lowercase().find("realm=")?;
    let text = header.get(at + 6..)?.trim_start();
    let value = match text.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => text.split(',').next(),
    };
    let words = camera_words(value?);
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::super::message::{Inbox, Incoming};
    use super::*;

    fn hello(text: &str) -> Hello {
        let mut inbox = Inbox::default();
        inbox.feed(text.replace('\n', "\r\n").as_bytes());
        match inbox.next_message().unwrap() {
            Some(Incoming::Response(response)) => Hello::read(&response),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_question() {
        let v6 = options("[::1]:8554".parse().unwrap());
        assert_eq!(
            String::from_utf8(v6).unwrap(),
            "OPTIONS rtsp://[::1]:8554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: lss\r\n\r\n"
        );
    }

    #[test]
    fn a_camera_that_wants_a_login_for_everything() {
        let seen = hello(
            "RTSP/1.0 401 Unauthorized\nCSeq: 1\nServer: Rtsp Server/3.0\n\
             WWW-Authenticate: Digest realm=\"Login to 5H0A1B2\", nonce=\"x\"\n\
             WWW-Authenticate: Basic realm=\"Login to 5H0A1B2\"\n\n",
        );
        assert_eq!(seen.server.as_deref(), Some("Rtsp Server/3.0"));
        assert_eq!(seen.realms, ["Login to 5H0A1B2"]);
        assert!(!seen.only_receives(), "it does not say what it can");
    }

    #[test]
    fn an_airplay_receiver() {
        let seen = hello(
            "RTSP/1.0 200 OK\nPublic: ANNOUNCE, SETUP, RECORD, PAUSE, FLUSH, TEARDOWN, OPTIONS, \
             GET_PARAMETER, SET_PARAMETER, POST, GET\nServer: AirTunes/220.68\nCSeq: 1\n\n",
        );
        assert!(seen.only_receives());
        let dahua = hello(
            "RTSP/1.0 200 OK\nCSeq: 1\nPublic: OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD\n\n",
        );
        assert!(!dahua.only_receives(), "it can take streams too");
    }
}
