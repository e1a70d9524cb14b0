//! Replies as careful and careless servers write them.

use proptest::prelude::*;

use super::*;

/// `text` with its line ends as on the wire.
fn wire(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn all(bytes: &[u8]) -> Result<Vec<Incoming>, MessageError> {
    let mut inbox = Inbox::default();
    inbox.feed(bytes);
    let mut out = Vec::new();
    while let Some(incoming) = inbox.next_message()? {
        out.push(incoming);
    }
    Ok(out)
}

fn one(bytes: &[u8]) -> Response {
    match all(bytes).unwrap().as_slice() {
        [Incoming::Response(response)] => response.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_in_any_case_folded_and_doubled_headers() {
    let reply = one(&wire(
        "RTSP/1.0 401 Unauthorized\nCseq : 7 \nwww-authenticate: Digest realm=\"a\",\n \
         nonce=\"b\"\nno header at all\nWWW-AUTHENTICATE:Basic realm=\"a\"\n\n",
    ));
    assert_eq!((reply.status, reply.cseq()), (401, Some(7)));
    assert_eq!(reply.reason, "Unauthorized");
    let offered: Vec<&[u8]> = reply.all("www-authenticate").collect();
    assert_eq!(
        offered,
        [
            &b"Digest realm=\"a\", nonce=\"b\""[..],
            b"Basic realm=\"a\""
        ]
    );
}

#[test]
fn bare_line_feeds_blank_lines_between_and_no_reason() {
    let bytes = b"\r\n\r\nRTSP/1.0 200\nCSeq: 1\nContent-Length: 3\n\nabc\r\n\r\nRTSP/1.1 454 Session Not Found\r\nCSeq: 2\r\n\r\n";
    let both = all(bytes).unwrap();
    let [Incoming::Response(first), Incoming::Response(second)] = both.as_slice() else {
        panic!("{both:?}");
    };
    assert_eq!((first.status, first.body.as_slice()), (200, &b"abc"[..]));
    assert_eq!((second.status, second.cseq()), (454, Some(2)));
}

#[test]
fn blanks_and_returns_too_many() {
    let reply =
        one(b"RTSP/1.0  200 \t OK then \r\r\nCSeq: 1\r\r\nContent-Length: 2\r\r\n \r\r\nab");
    assert_eq!((reply.status, reply.reason.as_str()), (200, "OK then"));
    assert_eq!((reply.cseq(), reply.body.as_slice()), (Some(1), &b"ab"[..]));
}

#[test]
fn media_and_requests_before_the_answer() {
    let mut bytes = b"$\x00\x00\x04abcd$\x01\x00\x00".to_vec();
    bytes.extend(wire(
        "SET_PARAMETER rtsp://10.0.0.9/ RTSP/1.0\nCSeq: 9\nContent-Length: 2\n\nxyRTSP/1.0 200 OK\nCSeq: 1\n\n",
    ));
    let seen = all(&bytes).unwrap();
    assert_eq!(
        seen[..3],
        [
            Incoming::Frame {
                channel: 0,
                payload: b"abcd".to_vec()
            },
            Incoming::Frame {
                channel: 1,
                payload: Vec::new()
            },
            Incoming::Request {
                method: "SET_PARAMETER".to_owned(),
                cseq: Some("9".to_owned())
            },
        ]
    );
    assert!(matches!(&seen[3], Incoming::Response(r) if r.status == 200));
}

#[test]
fn a_missing_length() {
    // Without a type there is no body.
    assert!(one(&wire("RTSP/1.0 200 OK\nCSeq: 1\n\n")).body.is_empty());
    // With one, the connection's end is its end.
    let mut inbox = Inbox::default();
    inbox.feed(&wire(
        "RTSP/1.0 200 OK\nCSeq: 1\nContent-Type: application/sdp\n\nv=0\nm=vid",
    ));
    assert_eq!(inbox.next_message(), Ok(None));
    assert!(inbox.is_open_ended());
    inbox.feed(b"eo 0 RTP/AVP 96\r\n");
    assert_eq!(inbox.next_message(), Ok(None));
    match inbox.end().unwrap() {
        Some(Incoming::Response(r)) => assert!(r.body.ends_with(b"m=video 0 RTP/AVP 96\r\n")),
        other => panic!("{other:?}"),
    }
    assert_eq!(inbox.end(), Ok(None));
}

#[test]
fn what_else_answers_on_554() {
    for (bytes, word) in [
        (&b"SSH-2.0-dropbear_2019.78\r\n"[..], "SSH"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"220 (vsFTPd 3.0.3)\r\n", "not RTSP"),
        (b"\x00\x01\x02\x03", "not RTSP"),
        (b"<html>\n", "not RTSP"),
        (b"GET / HTTP/1.0\r\n", "not RTSP"),
        (b"RTSP/2.0 200 OK\r\n", "not RTSP"),
    ] {
        let error = all(bytes).unwrap_err();
        let MessageError::NotRtsp(words) = error else {
            panic!("{error:?}");
        };
        assert!(words.contains(word), "{words}");
    }
    // A word and no end of line: only the end tells.
    let mut inbox = Inbox::default();
    inbox.feed(b"HELLO who is there");
    assert_eq!(inbox.next_message(), Ok(None));
    assert!(matches!(inbox.end(), Err(MessageError::NotRtsp(_))));
    let mut inbox = Inbox::default();
    inbox.feed(b"RTSP/1.0 200 OK\r\nCSe");
    assert_eq!(inbox.next_message(), Ok(None));
    assert_eq!(inbox.end(), Err(MessageError::CutShort));
}

#[test]
fn limits() {
    let mut endless = b"RTSP/1.0 200 OK\r\nX: ".to_vec();
    endless.resize(MAX_HEAD + 1, b'x');
    assert_eq!(all(&endless), Err(MessageError::TooLong(MAX_HEAD)));
    let one_line = vec![b'A'; MAX_HEAD + 1];
    assert_eq!(all(&one_line), Err(MessageError::TooLong(MAX_HEAD)));
    let mut whole = endless.clone();
    whole.extend(b"\r\n\r\n");
    assert_eq!(all(&whole), Err(MessageError::TooLong(MAX_HEAD)));

    let length = |text: &str| {
        all(&wire(&format!(
            "RTSP/1.0 200 OK\nContent-Length: {text}\n\n"
        )))
    };
    assert_eq!(length("65537"), Err(MessageError::TooLong(MAX_BODY)));
    let beyond = "9".repeat(40);
    assert_eq!(length(&beyond), Err(MessageError::TooLong(MAX_BODY)));
    let same = wire("RTSP/1.0 200 OK\nContent-Length: 1\nContent-Length: 1\n\na");
    assert_eq!(one(&same).body, b"a");

    let mut inbox = Inbox::default();
    inbox.feed(&wire("RTSP/1.0 200 OK\nContent-Type: application/sdp\n\n"));
    inbox.feed(&vec![b'a'; MAX_BODY + 1]);
    assert_eq!(inbox.next_message(), Err(MessageError::TooLong(MAX_BODY)));
    for status in [
        "RTSP/1.0\r\n\r\n",
        "RTSP/1.0 2000 OK\r\n\r\n",
        "RTSP/1.0 x OK\r\n\r\n",
    ] {
        assert!(
            matches!(all(status.as_bytes()), Err(MessageError::Malformed(_))),
            "{status}"
        );
    }
}

#[test]
fn requests_hold_no_line_of_their_own() {
    let bytes = write_request(
        "DESCRIBE",
        "rtsp://h/a\r\nX: y",
        3,
        &[("Authorization", b"Basic a\r\nb")],
    );
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "DESCRIBE rtsp://h/aX: y RTSP/1.0\r\nCSeq: 3\r\nUser-Agent: lss\r\nAuthorization: Basic ab\r\n\r\n"
    );
    assert_eq!(
        write_response(200, "OK", Some("12\r\nX: y")),
        b"RTSP/1.0 200 OK\r\nCSeq: 12\r\n\r\n"
    );
}

#[test]
fn urls_on_the_request_line() {
    for (url, wanted) in [
        (
            "rtsp://a:p@ss#1@h:8554/x?y=1&z",
            Some("rtsp://h:8554/x?y=1&z"),
        ),
        (
            "RTSP://[fe80::1]/a b/ü",
            Some("rtsp://[fe80::1]/a%20b/%C3%BC"),
        ),
        ("rtsp://h", Some("rtsp://h")),
        ("rtsps://h/", None),
        ("http://h/", None),
        ("rtsp:///x", None),
        ("rtsp://h/a\r\nb", None),
    ] {
        assert_eq!(request_url(url).as_deref(), wanted, "{url}");
    }
    let by_tls = request_url_or_secure("RTSPS://a:b@h/x");
    assert_eq!(by_tls.as_deref(), Some("rtsps://h/x"));
}

/// Answers with a description, as careless servers write them, and all of it is understood.
#[test]
fn answers_in_every_dress() {
    const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\n";
    let long = SDP.len() + 40;
    let short = 5;
    let length = SDP.len();
    for (what, text) in [
        (
            "as it should be",
            format!("RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {length}\r\n\r\n{SDP}"),
        ),
        (
            "bare line feeds",
            format!("RTSP/1.0 200 OK\nCSeq: 2\nContent-Length: {length}\n\n{SDP}"),
        ),
        (
            "names and version in lower case",
            format!("rtsp/1.0 200 ok\r\ncseq:2\r\ncontent-length:{length}\r\n\r\n{SDP}"),
        ),
        (
            "a debug print before it",
            format!(
                "[rtsp] send describe\r\nRTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {length}\r\n\r\n{SDP}"
            ),
        ),
        (
            "NULs before it",
            format!("\0\0\0\0RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {length}\r\n\r\n{SDP}"),
        ),
        (
            "NULs in its head",
            format!("RTSP/1.0 200 OK\0\r\nCSeq: 2\0\r\nContent-Length: {length}\0\r\n\r\n{SDP}"),
        ),
        (
            "NULs behind it",
            format!("RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {length}\r\n\r\n{SDP}\0\0\0"),
        ),
        (
            "a length that is longer",
            format!("RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {long}\r\n\r\n{SDP}"),
        ),
        (
            "no length",
            format!("RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\n\r\n{SDP}"),
        ),
        (
            "a length that is none",
            format!(
                "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 0x3a\r\n\r\n{SDP}"
            ),
        ),
        (
            "two lengths",
            format!(
                "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: {short}\r\nContent-Length: {length}\r\n\r\n{SDP}"
            ),
        ),
    ] {
        let mut inbox = Inbox::default();
        inbox.feed(text.as_bytes());
        let whole = match inbox.next_message().unwrap() {
            Some(message) => message,
            None => {
                assert!(inbox.is_open_ended(), "{what}");
                inbox.end().unwrap().unwrap()
            }
        };
        let Incoming::Response(response) = whole else {
            panic!("{what}: {whole:?}");
        };
        assert_eq!((response.status, response.cseq()), (200, Some(2)), "{what}");
        assert!(response.body.starts_with(SDP.as_bytes()), "{what}");
        // What follows is understood, too.
        inbox.feed(b"RTSP/1.0 454 Session Not Found\r\nCSeq: 3\r\n\r\n");
        let next = inbox.next_message().unwrap();
        assert!(
            matches!(&next, Some(Incoming::Response(r)) if r.status == 454),
            "{what}: {next:?}"
        );
    }
}

#[test]
fn more_than_it_said_is_stepped_over() {
    let mut inbox = Inbox::default();
    inbox.feed(
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 3\r\n\r\nv=0\r\nm=video 0 RTP/AVP 96\r\n",
    );
    assert!(inbox.next_message().unwrap().is_some());
    assert_eq!(inbox.next_message(), Ok(None), "the rest of it");
    inbox.feed(b"a=control:1\r\nRTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n");
    assert!(matches!(
        inbox.next_message(),
        Ok(Some(Incoming::Response(r))) if r.cseq() == Some(2)
    ));
    // Without end it is none.
    inbox.feed(&vec![b'x'; MAX_BODY + 1]);
    assert!(inbox.next_message().is_err());
}

proptest! {
    #[test]
    fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = all(&bytes);
    }

    #[test]
    fn any_reply_makes_no_panic(text in "RTSP/1\\.0 [0-9 ]{0,4}[\\r\\n:A-Za-z0-9 $-]{0,120}") {
        let _ = all(text.as_bytes());
    }

    /// However the bytes arrive, the same messages come out.
    #[test]
    fn the_cut_does_not_matter(cuts in proptest::collection::vec(0..160_usize, 0..8)) {
        let mut bytes = b"$\x02\x00\x05hello".to_vec();
        bytes.extend(wire("RTSP/1.0 200 OK\nCSeq: 1\nContent-Length: 5\n\nv=0\r\n"));
        bytes.extend(wire("OPTIONS * RTSP/1.0\nCSeq: 2\n\n"));
        bytes.extend(wire("RTSP/1.0 404 Not Found\nCSeq: 3\n\n"));
        let whole = all(&bytes).unwrap();
        prop_assert_eq!(whole.len(), 4);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for pair in cuts.windows(2) {
            inbox.feed(&bytes[pair[0]..pair[1]]);
            while let Some(incoming) = inbox.next_message().unwrap() {
                seen.push(incoming);
            }
        }
        prop_assert_eq!(seen, whole);
    }
}
