use proptest::prelude::*;

use super::*;

const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

fn talk() -> RtspTalk {
    let mut talk = RtspTalk::new(IP, 554);
    let begin = String::from_utf8(talk.begin()).unwrap();
    assert!(begin.starts_with("OPTIONS rtsp://192.0.2.9:554/ RTSP/1.0\r\nCSeq: 1\r\n"));
    assert!(begin.ends_with("\r\n\r\n"));
    talk
}

/// The facts after these answers, each in one piece; `None` = it did not end by itself.
fn facts(answers: &[&str]) -> Option<Facts> {
    let mut talk = talk();
    let mut next = Next::More;
    for answer in answers {
        next = talk.received(answer.as_bytes());
    }
    (next == Next::Over).then(|| talk.facts())
}

fn note(answer: &str) -> String {
    facts(&[answer]).unwrap().note
}

const METHODS: &str = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY\r\nServer: Rtsp Server/2.0\r\n\r\n";

#[test]
fn a_camera_that_wants_a_login() {
    // Digest and Basic together, header names in another case.
    let login = "RTSP/1.0 401 Unauthorized\r\nCseq: 2\r\nwww-authenticate: Digest realm=\"IP Camera(C1214)\", nonce=\"51\"\r\nWWW-Authenticate: Basic realm=\"IP Camera(C1214)\"\r\n\r\n";
    let facts = facts(&[METHODS, login]).unwrap();
    assert!(facts.rtsp && !facts.http && facts.note.is_empty());
    assert_eq!(facts.rtsp_server.as_deref(), Some("Rtsp Server/2.0"));
    assert_eq!(facts.realms, ["IP Camera(C1214)"]);
}

#[test]
fn the_second_request_is_a_describe_without_a_login() {
    let mut talk = talk();
    let Next::Send(bytes) = talk.received(METHODS.as_bytes()) else {
        panic!()
    };
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(
        text,
        "DESCRIBE rtsp://192.0.2.9:554/ RTSP/1.0\r\nCSeq: 2\r\nUser-Agent: lss\r\nAccept: application/sdp\r\n\r\n"
    );
}

#[test]
fn cameras_of_other_manners() {
    let ok = "RTSP/1.0 200 OK\r\n\r\n";
    for answers in [
        // A login for OPTIONS already.
        ["RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n\r\n";
            2],
        // No list of methods, and no such path.
        [ok, "RTSP/1.0 404 Not Found\r\n\r\n"],
        // The stream is open; its description is not waited for.
        [
            METHODS,
            "RTSP/1.0 200 OK\r\nContent-Length: 99999\r\n\r\nv=0",
        ],
        // Bare line ends; a body behind OPTIONS.
        [
            "RTSP/1.0 200 OK\nPublic: DESCRIBE\nContent-Length: 3\n\nabc",
            "RTSP/1.0 454 x\n\n",
        ],
        // A length that is none; heads that end in a line of blanks.
        [
            "RTSP/1.0  200 OK\r\r\nContent-Length: x\r\r\n \r\r\n",
            "RTSP/1.0\r\nContent-Length: -1\r\n\t\r\n",
        ],
        // Two lines of methods.
        [
            "RTSP/1.0 200 OK\r\nPublic: OPTIONS\r\nPublic: DESCRIBE\r\n\r\n",
            "RTSP/1.0 405 x\r\n\r\n",
        ],
    ] {
        assert!(facts(&answers).unwrap().rtsp, "{answers:?}");
    }
}

#[test]
fn a_camera_that_hangs_up_on_describe_is_one() {
    for how in [End::Closed, End::Late] {
        let mut talk = talk();
        talk.received(METHODS.as_bytes());
        talk.ended(how);
        assert!(talk.facts().rtsp);
    }
}

#[test]
fn what_is_no_camera() {
    assert_eq!(
        note("RTSP/1.0 200 OK\r\nPublic: ANNOUNCE, SETUP, RECORD, PAUSE, FLUSH\r\n\r\n"),
        "an AirPlay receiver"
    );
    assert_eq!(
        note("RTSP/1.0 403 Forbidden\r\nServer: AirTunes/366.0\r\n\r\n"),
        "an AirPlay receiver"
    );
    let none = [
        "RTSP/1.0 200 OK\r\n\r\n",
        "RTSP/1.0 501 Not Implemented\r\n\r\n",
    ];
    let facts = facts(&none).unwrap();
    assert!(!facts.rtsp);
    assert_eq!(facts.note, "RTSP without DESCRIBE");
    assert_eq!(note("SSH-2.0-dropbear\r\n"), "an SSH banner");
    assert_eq!(note("HTTP/1.1 400 Bad Request\r\n\r\n"), "a web server");
    assert_eq!(note("\u{0}"), "something unknown");
}

#[test]
fn silence_and_a_closed_door() {
    let mut silent = talk();
    silent.ended(End::Late);
    let facts = silent.facts();
    assert!(facts.silent && facts.note == "silence");
    let mut closed = talk();
    closed.ended(End::Closed);
    let facts = closed.facts();
    assert!(!facts.silent && facts.note == "closes at once");
    let mut half = talk();
    assert_eq!(half.received(b"RTSP/1.0 200"), Next::More);
    half.ended(End::Late);
    let facts = half.facts();
    assert!(!facts.silent && !facts.rtsp && facts.note == "an RTSP server");
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let mut talk = talk();
    let mut taken = 0;
    let mut next = talk.received(b"RTSP/1.0 200 OK\r\n");
    while next == Next::More {
        taken += 20;
        next = talk.received(b"X-Header: aaaaaaaa\r\n");
    }
    assert!(taken <= MAX_BYTES + 20);
    assert!(!talk.facts().rtsp);
}

proptest! {
    #[test]
    fn any_answers_in_any_pieces_end_bounded(
        bytes in proptest::collection::vec(any::<u8>(), 0..500),
        size in 1..60_usize,
        head in proptest::sample::select(vec!["", "RTSP/1.0 200 OK\r\n", METHODS]),
    ) {
        let mut talk = talk();
        let all = [head.as_bytes(), &bytes, &vec![b'x'; MAX_BYTES * 2]].concat();
        let mut over = false;
        for piece in all.chunks(size) {
            match talk.received(piece) {
                Next::Over => { over = true; break }
                next => prop_assert!(next != Next::Again),
            }
            prop_assert!(talk.buffer.len() <= MAX_BYTES);
        }
        prop_assert!(over);
        let _ = talk.facts();
    }

    /// However it is cut, it means the same.
    #[test]
    fn pieces_do_not_matter(size in 1..200_usize) {
        let mut talk = talk();
        let login = "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"Login to 6M0A\", nonce=\"1\"\r\n\r\n";
        for answer in [METHODS, login] {
            for piece in answer.as_bytes().chunks(size) {
                talk.received(piece);
            }
        }
        let facts = talk.facts();
        prop_assert!(facts.rtsp);
        prop_assert_eq!(facts.realms, ["Login to 6M0A"]);
    }
}
