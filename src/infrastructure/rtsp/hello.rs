//! What an RTSP server says of itself in any answer. Pure.

use super::message::Response;
use crate::infrastructure::http::camera::camera_words;

/// `Server`, as it may be shown.
pub fn server(response: &Response) -> Option<String> {
    let words = camera_words(&response.header("server")?);
    (!words.is_empty()).then_some(words)
}

/// Takes streams and gives none, by its answer to OPTIONS: an AirPlay receiver, a loudspeaker.
pub fn only_receives(response: &Response) -> bool {
    let has = |name: &[u8]| {
        response
            .all("public")
            .flat_map(|list| list.split(|b| *b == b','))
            .any(|method| method.trim_ascii().eq_ignore_ascii_case(name))
    };
    has(b"ANNOUNCE") && has(b"RECORD") && !has(b"DESCRIBE")
}

#[cfg(test)]
mod tests {
    use super::super::message::{Inbox, Incoming};
    use super::*;

    fn response(text: &str) -> Response {
        let mut inbox = Inbox::default();
        inbox.feed(text.replace('\n', "\r\n").as_bytes());
        match inbox.next_message().unwrap() {
            Some(Incoming::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn receivers_are_told_from_cameras() {
        let airplay = response(
            "RTSP/1.0 200 OK\nPublic: ANNOUNCE, SETUP, RECORD, PAUSE, FLUSH, TEARDOWN, OPTIONS, \
             GET_PARAMETER, SET_PARAMETER, POST, GET\nServer: AirTunes/220.68\nCSeq: 1\n\n",
        );
        assert!(only_receives(&airplay));
        assert_eq!(server(&airplay).as_deref(), Some("AirTunes/220.68"));
        let both = response(
            "RTSP/1.0 200 OK\nCSeq: 1\nPublic: OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD\n\n",
        );
        assert!(!only_receives(&both), "it gives streams, too");
        let shy = response("RTSP/1.0 401 Unauthorized\nCSeq: 1\nServer: \n\n");
        assert!(!only_receives(&shy), "it does not say what it can");
        assert_eq!(server(&shy), None);
    }
}
