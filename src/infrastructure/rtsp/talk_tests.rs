//! Conversations with servers as they are known to behave.

use std::fmt::Write as _;

use super::*;

const URL: &str = "rtsp://10.0.0.9:554/Streaming/Channels/101";

struct Camera {
    talk: Talk,
}

impl Camera {
    /// A conversation whose first DESCRIBE is under way.
    fn asked(login: bool) -> Self {
        let login = login.then(|| Credentials::new("admin", Secret::new("cAnary-12345")).unwrap());
        let mut talk = Talk::new(login, "0a4f113b".to_owned());
        talk.request("DESCRIBE", Secret::unlisted(URL), Vec::new());
        Self { talk }
    }

    fn sent(&mut self) -> String {
        String::from_utf8(self.talk.take_output()).unwrap()
    }

    fn says(
        &mut self,
        status: u16,
        cseq: u32,
        headers: &[&str],
    ) -> Result<Option<Event>, TalkError> {
        let mut text = format!("RTSP/1.0 {status} X\r\nCseq: {cseq}\r\n");
        for header in headers {
            let _ = write!(text, "{header}\r\n");
        }
        text.push_str("\r\n");
        self.talk.feed(text.as_bytes());
        self.talk.next_event()
    }
}

fn answer(event: Result<Option<Event>, TalkError>) -> u16 {
    match event.unwrap() {
        Some(Event::Answer(response)) => response.status,
        other => panic!("{other:?}"),
    }
}

/// The value of a parameter in an `Authorization` header.
fn parameter(request: &str, name: &str) -> Option<String> {
    let line = request.lines().find(|l| l.starts_with("Authorization: "))?;
    let at = line.find(&format!("{name}=\""))? + name.len() + 2;
    line[at..].split('"').next().map(str::to_owned)
}

const HIKVISION: [&str; 2] = [
    "WWW-Authenticate: Digest realm=\"IP Camera(C1214)\", nonce=\"9d2a1f0b77\", stale=\"FALSE\"",
    "WWW-Authenticate: Basic realm=\"IP Camera(C1214)\"",
];

#[test]
fn digest_before_basic_with_the_whole_url() {
    let mut camera = Camera::asked(true);
    let first = camera.sent();
    assert!(first.starts_with(&format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 1\r\n")));
    assert!(
        !first.contains("Authorization"),
        "not before it is asked for"
    );
    assert_eq!(camera.says(401, 1, &HIKVISION), Ok(None));
    let second = camera.sent();
    assert!(second.contains("CSeq: 2\r\n"), "{second}");
    assert_eq!(parameter(&second, "uri").as_deref(), Some(URL));
    // md5(md5(admin:IP Camera(C1214):cAnary-12345):9d2a1f0b77:md5(DESCRIBE:URL)), by md5sum.
    assert_eq!(
        parameter(&second, "response").as_deref(),
        Some("b3b8cd7c061a584d0a94a121b1deb8fb")
    );
    assert!(!second.contains("qop") && !second.contains("cAnary"));
    assert_eq!(answer(camera.says(200, 2, &[])), 200);
}

#[test]
fn a_refused_login_is_not_sent_again() {
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &HIKVISION).unwrap();
    camera.sent();
    let again = [
        HIKVISION[0].replace("9d2a1f0b77", "0b77aa"),
        HIKVISION[1].to_owned(),
    ];
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    assert_eq!(camera.says(401, 2, &again), Err(TalkError::LoginRefused));
    assert_eq!(camera.sent(), "");
}

#[test]
fn a_stale_nonce_is_renewed_once() {
    let challenge = |nonce: &str, stale: bool| {
        format!(
            "WWW-Authenticate: Digest realm=\"AXIS_ACCC8E012345\", nonce=\"{nonce}\", algorithm=MD5, stale={stale}"
        )
    };
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &[&challenge("a", false)]).unwrap();
    camera.sent();
    assert_eq!(camera.says(401, 2, &[&challenge("b", true)]), Ok(None));
    assert_eq!(parameter(&camera.sent(), "nonce").as_deref(), Some("b"));
    assert_eq!(
        camera.says(401, 3, &[&challenge("c", true)]),
        Err(TalkError::StaleForEver)
    );

    // The same nonce, called stale: no way on.
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &[&challenge("a", false)]).unwrap();
    assert_eq!(
        camera.says(401, 2, &[&challenge("a", true)]),
        Err(TalkError::LoginRefused)
    );
}

#[test]
fn later_requests_get_a_new_nonce_without_a_word_on_stale() {
    let challenge = |nonce: &str| {
        format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"")
    };
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &[&challenge("a")]).unwrap();
    assert!(camera.sent().contains("nc=00000001"));
    assert_eq!(answer(camera.says(200, 2, &[])), 200);
    camera
        .talk
        .request("OPTIONS", Secret::unlisted(URL), Vec::new());
    assert!(
        camera.sent().contains("nc=00000002"),
        "the nonce is used on"
    );
    assert_eq!(camera.says(401, 3, &[&challenge("b")]), Ok(None));
    assert!(camera.sent().contains("nc=00000001"));
    assert_eq!(
        camera.says(401, 4, &[&challenge("c")]),
        Err(TalkError::NotAllowed),
        "once, not for ever; and the login was taken before"
    );
}

#[test]
fn the_strongest_challenge_wins() {
    let mut camera = Camera::asked(true);
    camera.sent();
    let offers = [
        "WWW-Authenticate: Basic realm=\"r\"",
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"m\", algorithm=MD5, qop=\"auth\", \
         Digest realm=\"r\", nonce=\"s\", algorithm=SHA-256, qop=\"auth,auth-int\"",
    ];
    camera.says(401, 1, &offers).unwrap();
    let sent = camera.sent();
    assert_eq!(parameter(&sent, "nonce").as_deref(), Some("s"));
    assert!(sent.contains("algorithm=SHA-256") && sent.contains("qop=auth"));
    assert_eq!(parameter(&sent, "cnonce").as_deref(), Some("0a4f113b"));
}

#[test]
fn basic_only_where_nothing_else_is_offered() {
    let basic = "WWW-Authenticate: Basic realm=\"GStreamer RTSP Server\"";
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &[basic]).unwrap();
    assert!(
        camera
            .sent()
            .contains("Authorization: Basic YWRtaW46Y0FuYXJ5LTEyMzQ1\r\n")
    );
    assert_eq!(camera.says(401, 2, &[basic]), Err(TalkError::LoginRefused));

    for digest in [
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512-256",
        "WWW-Authenticate: Basic realm=\"r\", Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
    ] {
        let mut camera = Camera::asked(true);
        camera.sent();
        assert_eq!(
            camera.says(401, 1, &[digest, basic]),
            Err(TalkError::LoginUnknown),
            "a Digest that is not known is no reason to hand the password over"
        );
        assert_eq!(camera.sent(), "");
    }
}

#[test]
fn strangers_and_unknown_kinds_of_login() {
    let mut camera = Camera::asked(false);
    assert_eq!(camera.says(401, 1, &HIKVISION), Err(TalkError::LoginWanted));
    for challenge in [&["WWW-Authenticate: Negotiate"][..], &[]] {
        let mut camera = Camera::asked(true);
        assert_eq!(camera.says(401, 1, challenge), Err(TalkError::LoginUnknown));
    }
}

#[test]
fn answers_are_tied_by_their_number() {
    let mut camera = Camera::asked(false);
    assert_eq!(camera.says(200, 9, &[]), Ok(None), "to nothing of ours");
    assert_eq!(camera.says(100, 1, &[]), Ok(None), "not the last word");
    camera.talk.feed(b"RTSP/1.0 404 Not Found\r\n\r\n");
    assert_eq!(
        answer(camera.talk.next_event()),
        404,
        "no number is put up with"
    );
    assert_eq!(
        camera.says(200, 1, &[]),
        Ok(None),
        "nothing is in hand any more"
    );
}

#[test]
fn what_the_server_asks_is_answered() {
    let mut camera = Camera::asked(false);
    camera.sent();
    camera.talk.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n$\x00\x00\x01aREDIRECT rtsp://x/ RTSP/1.0\r\nCSeq: 6\r\n\r\n");
    assert!(matches!(
        camera.talk.next_event(),
        Ok(Some(Event::Frame { channel: 0, .. }))
    ));
    assert_eq!(camera.talk.next_event(), Ok(None));
    assert_eq!(
        camera.sent(),
        "RTSP/1.0 200 OK\r\nCSeq: 5\r\n\r\nRTSP/1.0 501 Not Implemented\r\nCSeq: 6\r\n\r\n"
    );
    for _ in 0..MAX_ASKED {
        camera.talk.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\n");
    }
    assert_eq!(camera.talk.next_event(), Err(TalkError::Chatter));
}

#[test]
fn a_challenge_that_closes_asks_for_a_new_connection() {
    let mut camera = Camera::asked(true);
    camera.sent();
    camera
        .says(401, 1, &[HIKVISION[0], "Connection: Keep-Alive, Close"])
        .unwrap();
    assert!(camera.talk.needs_connection());
    camera.talk.connected_anew();
    assert!(!camera.talk.needs_connection());
    assert!(camera.sent().contains("Authorization: Digest"));
    assert_eq!(answer(camera.says(200, 2, &[])), 200);
}

#[test]
fn the_end_of_the_connection() {
    assert_eq!(Camera::asked(false).talk.end(), Err(TalkError::Closed));
    let mut camera = Camera::asked(false);
    camera
        .talk
        .feed(b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\nv=0");
    assert_eq!(camera.talk.next_event(), Ok(None));
    assert!(camera.talk.is_open_ended());
    assert_eq!(answer(camera.talk.end()), 200);
}

/// A login that was taken for the description and is not for what follows: no wrong password.
#[test]
fn one_request_s_401_is_no_wrong_password() {
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &HIKVISION).unwrap();
    camera.sent();
    assert_eq!(answer(camera.says(200, 2, &[])), 200);
    camera
        .talk
        .request("SETUP", Secret::unlisted(URL), Vec::new());
    camera.sent();
    let next = HIKVISION[0].replace("9d2a1f0b77", "0b77aa");
    assert_eq!(camera.says(401, 3, &[&next]), Ok(None), "its nonce was old");
    camera.sent();
    let next = HIKVISION[0].replace("9d2a1f0b77", "0b77bb");
    assert_eq!(camera.says(401, 4, &[&next]), Err(TalkError::NotAllowed));
    assert_eq!(camera.sent(), "", "it is not sent again");
}

/// A refusal is one whatever it asks for next.
#[test]
fn a_refusal_in_other_clothes_is_one() {
    for headers in [
        &[][..],
        &["WWW-Authenticate: Basic realm=\"x\""],
        &["WWW-Authenticate: Negotiate"],
        &["WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", algorithm=SHA-512"],
    ] {
        let mut camera = Camera::asked(true);
        camera.sent();
        camera.says(401, 1, &HIKVISION).unwrap();
        camera.sent();
        let refused = camera.says(401, 2, headers);
        assert_eq!(refused, Err(TalkError::LoginRefused), "{headers:?}");
        assert_eq!(camera.sent(), "");
    }
}

/// Numbers that servers make up.
#[test]
fn odd_numbers_are_put_up_with() {
    for head in [
        "",
        "CSeq: abc\r\n",
        "CSeq:\r\n",
        "cseq:1\r\n",
        "CSEQ : 0001\r\n",
    ] {
        let mut camera = Camera::asked(false);
        camera.sent();
        camera
            .talk
            .feed(format!("RTSP/1.0 200 OK\r\n{head}\r\n").as_bytes());
        assert_eq!(answer(camera.talk.next_event()), 200, "{head}");
    }
    for number in [0, 77] {
        let mut camera = Camera::asked(false);
        camera.sent();
        assert_eq!(camera.says(200, number, &[]), Ok(None));
        assert_eq!(answer(camera.talk.end()), 200, "{number}");
    }
    // One that calls every answer its first: taken where no other comes.
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &HIKVISION).unwrap();
    camera.sent();
    assert_eq!(camera.says(200, 1, &[]), Ok(None));
    assert!(camera.talk.is_open_ended(), "a silence decides");
    assert_eq!(answer(camera.talk.end()), 200);
    // A late double of an older answer, and then the right one.
    let mut camera = Camera::asked(true);
    camera.sent();
    camera.says(401, 1, &HIKVISION).unwrap();
    camera.sent();
    assert_eq!(camera.says(401, 1, &HIKVISION), Ok(None));
    assert_eq!(answer(camera.says(200, 2, &[])), 200);
}
