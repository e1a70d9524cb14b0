use super::super::response::{framing, keep_for, parse_head};
use super::*;
use crate::domain::camera_trust::KeptCertificate;
use proptest::prelude::*;
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// What a scripted camera does with one request on a connection.
#[derive(Clone)]
enum Act {
    /// Sends bytes.
    Say(&'static [u8]),
    /// Sends made bytes.
    Bytes(Vec<u8>),
    /// Closes.
    Close,
    /// Closes with a reset.
    Reset,
    /// Keeps still until the client goes away.
    Hang,
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A camera that reads one request, does its acts, reads the next. Ends when its script is done;
/// the handle gives the requests seen, by connection.
fn camera(connections: Vec<Vec<Vec<Act>>>) -> (SocketAddr, JoinHandle<Vec<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for script in connections {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut requests = Vec::new();
            'script: for acts in script {
                requests.push(read_request(&mut stream));
                for act in acts {
                    match act {
                        Act::Say(bytes) => stream.write_all(bytes).unwrap(),
                        Act::Bytes(bytes) => {
                            let _ = stream.write_all(&bytes);
                        }
                        Act::Close => break 'script,
                        Act::Reset => {
                            // A close with unread data is a reset; so ask for none and linger 0.
                            nix::sys::socket::setsockopt(
                                &stream,
                                nix::sys::socket::sockopt::Linger,
                                &libc::linger {
                                    l_onoff: 1,
                                    l_linger: 0,
                                },
                            )
                            .unwrap();
                            break 'script;
                        }
                        Act::Hang => {
                            let _ = stream.read(&mut [0]);
                        }
                    }
                }
            }
            seen.push(requests);
        }
        seen
    });
    (addr, thread)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut one).unwrap() == 0 {
            return String::from_utf8(bytes).unwrap();
        }
        bytes.push(one[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let len: usize = head
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "))
        .map_or(0, |v| v.parse().unwrap());
    let mut body = vec![0; len];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

fn client(addr: SocketAddr) -> CameraClient {
    CameraClient::new(addr, Duration::from_secs(3), Doors::default())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(8)
}

fn get(resend: Resend) -> Request<'static> {
    Request {
        method: "GET",
        target: "/x?y=z",
        content_type: None,
        soap_action: None,
        body: None,
        resend,
        max_reply: 1000,
        secret: false,
    }
}

#[test]
fn one_connection_for_many_requests_and_one_packet_each() {
    let (addr, seen) = camera(vec![vec![vec![Act::Say(OK)]; 4]]);
    let mut client = client(addr);
    let put = Request {
        method: "PUT",
        content_type: Some("application/xml"),
        soap_action: None,
        body: Some(b"<a/>"),
        ..get(Resend::WhenCrossed)
    };
    for _ in 0..2 {
        let response = client.send(&put, Some(b"Digest x=\"y\""), soon()).unwrap();
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, &b"ok"[..])
        );
    }
    client
        .send(
            &Request {
                body: Some(b""),
                content_type: None,
                soap_action: None,
                ..put
            },
            None,
            soon(),
        )
        .unwrap();
    let seen = seen.join().unwrap();
    // Before the first login: how this port is spoken to.
    assert!(seen[0][0].starts_with("GET /x?y=z HTTP/1.1\r\n"));
    assert!(!seen[0][0].contains("Authorization"));
    assert_eq!(
        seen[0][1],
        format!(
            "PUT /x?y=z HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: lss\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\nAuthorization: Digest x=\"y\"\r\nContent-Type: application/xml\r\nContent-Length: 4\r\n\r\n<a/>"
        )
    );
    assert!(seen[0][3].ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn bodies_by_length_chunks_and_close() {
    let cases: [(&'static [u8], &[u8]); 6] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello", b"hello"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX: y\r\n\r\n",
            b"hello",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (
            b"HTTP/1.1  401  Unauthorized\r\nWWW-Authenticate: Digest realm=\"\xc4\xe3\"\r\nbroken header line\r\nContent-Length: 0\r\n\r\n",
            b"",
        ),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    ];
    for (bytes, body) in cases {
        let (addr, seen) = camera(vec![vec![vec![Act::Say(bytes), Act::Close]]]);
        let response = client(addr).send(&get(Resend::Always), None, soon());
        assert_eq!(
            response.as_ref().map(|r| r.body.as_slice()),
            Ok(body),
            "{}",
            String::from_utf8_lossy(bytes)
        );
        seen.join().unwrap();
    }
}

#[test]
fn answers_that_are_none() {
    let cases: [(&'static [u8], HttpError); 7] = [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
            HttpError::Lost("the camera closed the connection in mid-answer".to_owned()),
        ),
        (
            b"",
            HttpError::Lost("the camera closed the connection without an answer".to_owned()),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
            HttpError::TooLarge(1000),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            HttpError::TooLarge(1000),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            HttpError::Malformed("chunk size is no number".to_owned()),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            HttpError::Malformed("two Content-Lengths".to_owned()),
        ),
        (
            b"SSH-2.0-dropbear\r\n",
            HttpError::Malformed("invalid HTTP version".to_owned()),
        ),
    ];
    for (bytes, expected) in cases {
        let (addr, seen) = camera(vec![vec![vec![Act::Say(bytes), Act::Close]]]);
        let error = client(addr).send(&get(Resend::Always), None, soon());
        assert_eq!(error, Err(expected), "{}", String::from_utf8_lossy(bytes));
        seen.join().unwrap();
    }
    let endless = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; 5000]].concat();
    let (addr, seen) = camera(vec![vec![vec![Act::Bytes(endless), Act::Hang]]]);
    let error = client(addr).send(&get(Resend::Always), None, soon());
    assert_eq!(error, Err(HttpError::TooLarge(1000)));
    seen.join().unwrap();
}

#[test]
fn a_dead_kept_connection_is_replaced_by_rule() {
    // The camera resets when the second request arrives: the close that crosses on the wire.
    let crossing = |second: Vec<Vec<Act>>| {
        let mut connections = vec![vec![vec![Act::Say(OK)], vec![Act::Reset]]];
        if !second.is_empty() {
            connections.push(second);
        }
        camera(connections)
    };
    for resend in [Resend::Always, Resend::WhenCrossed] {
        let (addr, seen) = crossing(vec![vec![Act::Say(OK)]]);
        let mut client = client(addr);
        client.send(&get(resend), None, soon()).unwrap();
        let dead = client.send(&get(resend), None, soon());
        assert_eq!(dead, Err(HttpError::Dead));
        client.send(&get(resend), None, soon()).unwrap();
        assert_eq!(seen.join().unwrap().len(), 2);
    }
    let (addr, seen) = crossing(vec![]);
    let mut client = client(addr);
    client.send(&get(Resend::Never), None, soon()).unwrap();
    let error = client.send(&get(Resend::Never), None, soon()).unwrap_err();
    assert!(matches!(error, HttpError::Lost(_)), "{error}");
    assert_eq!(seen.join().unwrap().len(), 1);
}

#[test]
fn a_closed_kept_connection_is_noticed_before_anything_is_sent() {
    let (addr, seen) = camera(vec![
        vec![vec![Act::Say(OK), Act::Close]],
        vec![vec![Act::Say(OK)]],
    ]);
    let mut client = client(addr);
    client.send(&get(Resend::Never), None, soon()).unwrap();
    // Until the close has arrived.
    let deadline = soon();
    while client.kept.as_mut().unwrap().wire.is_quiet() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    client.send(&get(Resend::Never), None, soon()).unwrap();
    assert_eq!(seen.join().unwrap().len(), 2);
}

#[test]
fn a_fresh_connection_is_never_tried_twice() {
    let (addr, seen) = camera(vec![vec![vec![Act::Reset]]]);
    let error = client(addr)
        .send(&get(Resend::Always), None, soon())
        .unwrap_err();
    assert!(matches!(error, HttpError::Lost(_)), "{error}");
    assert_eq!(seen.join().unwrap().len(), 1);
}

#[test]
fn nothing_is_sent_twice_once_an_answer_has_begun() {
    let (addr, seen) = camera(vec![vec![
        vec![Act::Say(OK)],
        vec![Act::Say(b"HTTP/1.1 2"), Act::Close],
    ]]);
    let mut client = client(addr);
    client.send(&get(Resend::Always), None, soon()).unwrap();
    let error = client.send(&get(Resend::Always), None, soon()).unwrap_err();
    assert!(matches!(error, HttpError::Lost(_)), "{error}");
    assert_eq!(seen.join().unwrap().len(), 1);
}

#[test]
fn deadlines_hold_for_silence_and_for_drips() {
    let (addr, seen) = camera(vec![vec![vec![Act::Hang]]]);
    let begin = Instant::now();
    let error = client(addr).send(
        &get(Resend::Always),
        None,
        begin + Duration::from_millis(100),
    );
    assert_eq!(error, Err(HttpError::Timeout("waiting for the answer")));
    assert!(begin.elapsed() < Duration::from_secs(4));
    seen.join().unwrap();

    // One byte at a time, for ever.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (done, until) = mpsc::channel::<()>();
    let drip = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n");
        while until.recv_timeout(Duration::from_millis(20)).is_err() {
            if stream.write_all(b"x").is_err() {
                break;
            }
        }
    });
    let begin = Instant::now();
    let error = client(addr).send(
        &get(Resend::Always),
        None,
        begin + Duration::from_millis(200),
    );
    assert_eq!(error, Err(HttpError::Timeout("waiting for the answer")));
    assert!(begin.elapsed() < Duration::from_secs(4));
    let _ = done.send(());
    drip.join().unwrap();

    let error = client(addr).send(&get(Resend::Always), None, Instant::now());
    assert_eq!(error, Err(HttpError::TooLate));
}

#[test]
fn nobody_listens() {
    let addr = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = client(addr).send(&get(Resend::Always), None, soon());
    assert_eq!(
        error,
        Err(HttpError::Connect(format!("nothing listens on {addr}")))
    );
}

#[test]
fn how_long_a_connection_is_kept() {
    let keep = |headers: &[(&str, &str)], http_1_0| {
        let response = Response {
            status: 200,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()))
                .collect(),
            body: Vec::new(),
        };
        keep_for(&response, http_1_0).map(|d| d.as_secs())
    };
    assert_eq!(keep(&[], false), Some(15));
    assert_eq!(keep(&[], true), None);
    assert_eq!(keep(&[("connection", "Keep-Alive")], true), Some(15));
    assert_eq!(keep(&[("connection", "foo, Close")], false), None);
    assert_eq!(keep(&[("keep-alive", "timeout=8, max=98")], false), Some(7));
    assert_eq!(keep(&[("keep-alive", "timeout=900")], false), Some(15));
    assert_eq!(keep(&[("keep-alive", "timeout=8, max=0")], false), None);
}

proptest! {
    #[test]
    fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((head, len))) = parse_head(&bytes) {
            prop_assert!(len <= bytes.len());
            let _ = framing(&head.response);
            let _ = keep_for(&head.response, head.http_1_0);
        }
    }
}

#[test]
fn a_way_round_a_closed_port_is_left_when_it_is_closed_itself() {
    let (addr, camera) = camera(vec![vec![vec![Act::Say(OK), Act::Close]]]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = nobody.local_addr().unwrap();
    drop(nobody);
    let mut client = client(addr);
    // As when the port was closed, and HTTPS was there.
    client
        .doors
        .learn(addr, Known::Door(Door { at, tls: true }));
    let error = client.send(&get(Resend::Always), None, soon()).unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error}");
    let answer = client.send(&get(Resend::Always), None, soon()).unwrap();
    assert_eq!(answer.body, b"ok");
    camera.join().unwrap();

    // Where a certificate is kept, the way back is told.
    client.doors.tls().take_back(vec![KeptCertificate {
        at,
        fingerprint: [1; 32],
        since: std::time::UNIX_EPOCH,
        entrances: vec![addr.port()],
    }]);
    for _ in 0..2 {
        let error = client.send(&get(Resend::Always), None, soon()).unwrap_err();
        assert!(error.to_string().contains("DELETE"), "{error}");
    }
}
