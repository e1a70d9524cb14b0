use super::*;
use std::net::Ipv4Addr;

const PACE: Pace = Pace {
    request: Duration::from_secs(10),
    answer: Duration::from_secs(60),
    stall: Duration::from_secs(10),
    linger: Duration::from_secs(2),
};

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn fresh() -> (Exchange, Instant) {
    let now = Instant::now();
    (
        Exchange::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PACE, now),
        now,
    )
}

/// Everything that waits for the client, taken.
fn taken(exchange: &mut Exchange, now: Instant) -> String {
    let bytes = exchange.to_client().to_vec();
    exchange.client_took(bytes.len(), now);
    String::from_utf8(bytes).unwrap()
}

fn sent_on(exchange: &mut Exchange) -> String {
    assert!(exchange.wants_backend());
    exchange.on_backend_connected();
    let bytes = exchange.to_backend().to_vec();
    exchange.backend_took(bytes.len());
    String::from_utf8(bytes).unwrap()
}

const GET: &[u8] = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn one_request_one_answer_and_closed() {
    let (mut x, now) = fresh();
    x.on_client_bytes(GET, now);
    assert_eq!(
        sent_on(&mut x),
        "GET /livez HTTP/1.1\r\nHost: a\r\nX-Lss-Peer: 127.0.0.1\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(x.standing(), Standing::Served);
    assert!(!x.reads_client());
    for piece in ["HTTP/1.1 200 O", "K\r", "\nContent-Length: 2\r\n\r\nh", "i"] {
        x.on_backend_bytes(piece.as_bytes(), now);
    }
    assert_eq!(x.standing(), Standing::Taking);
    x.on_backend_end(now);
    assert!(!x.closes_write());
    assert_eq!(
        taken(&mut x, now),
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    );
    assert!(x.closes_write());
    assert!(!x.closes_write(), "once");
    assert_eq!((x.standing(), x.reads_client()), (Standing::Leaving, true));
    x.on_client_end(now);
    assert!(x.is_done());
}

#[test]
fn byte_by_byte_is_the_same() {
    let (mut x, now) = fresh();
    let request = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    for byte in request {
        assert!(!x.wants_backend());
        x.on_client_bytes(&[*byte], now);
    }
    assert!(sent_on(&mut x).ends_with("Connection: close\r\nContent-Length: 4\r\n\r\nbody"));
}

#[test]
fn chunks_arrive_as_a_length() {
    let (mut x, now) = fresh();
    x.on_client_bytes(
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\nGET /",
        now,
    );
    let sent = sent_on(&mut x);
    assert!(
        sent.ends_with("\r\nContent-Length: 4\r\n\r\nbody"),
        "{sent}"
    );
    assert!(!sent.contains("chunked"));
}

#[test]
fn the_deadline_counts_from_the_start_and_not_from_the_last_byte() {
    let (mut x, now) = fresh();
    x.on_client_bytes(
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n",
        now,
    );
    for second in 1..10 {
        x.on_client_bytes(b".", now + secs(second));
    }
    assert_eq!(x.deadline(), now + secs(10));
    x.on_deadline(now + secs(10));
    let answer = taken(&mut x, now + secs(10));
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":20001"), "{answer}");
    assert!(x.closes_write());
    assert_eq!(x.deadline(), now + secs(12));
    x.on_deadline(now + secs(12));
    assert!(x.is_done());
}

#[test]
fn silence_is_closed_in_silence() {
    let (mut x, now) = fresh();
    x.on_deadline(now + secs(10));
    assert!(x.is_done() && x.to_client().is_empty());
    let (mut x, now) = fresh();
    x.on_client_end(now);
    assert!(x.is_done() && x.to_client().is_empty());
}

#[test]
fn half_a_request_is_an_error() {
    for half in [
        &b"GET / HT"[..],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx",
    ] {
        let (mut x, now) = fresh();
        x.on_client_bytes(half, now);
        x.on_client_end(now);
        assert!(taken(&mut x, now).starts_with("HTTP/1.1 400 "));
    }
}

#[test]
fn garbage_is_refused_at_once() {
    let (mut x, now) = fresh();
    x.on_client_bytes(b"\x16\x03\x01\x02\x00", now);
    assert!(taken(&mut x, now).starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_head_without_end() {
    let (mut x, now) = fresh();
    x.on_client_bytes(b"GET / HTTP/1.1\r\nX: ", now);
    for _ in 0..17 {
        x.on_client_bytes(&[b'a'; 1024], now);
    }
    let answer = taken(&mut x, now);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // What comes behind it is thrown away, within bounds.
    assert!(x.closes_write());
    for _ in 0..=1024 {
        x.on_client_bytes(&[b'a'; 1024], now);
    }
    assert!(x.is_done());
    assert!(x.buffered() < 1024);
}

#[test]
fn too_large_goes_on_without_the_body() {
    let (mut x, now) = fresh();
    x.on_client_bytes(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 262145\r\n\r\n",
        now,
    );
    assert!(sent_on(&mut x).ends_with("\r\nX-Lss-Oversize: 1\r\n\r\n"));

    let (mut x, now) = fresh();
    x.on_client_bytes(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        now,
    );
    x.on_client_bytes(b"40001\r\n", now);
    x.on_client_bytes(b"x", now);
    assert!(sent_on(&mut x).ends_with("\r\nX-Lss-Oversize: 1\r\n\r\n"));

    let (mut x, now) = fresh();
    x.on_client_bytes(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n",
        now,
    );
    x.on_client_bytes(&vec![b'x'; MAX_BODY], now);
    assert!(sent_on(&mut x).contains("Content-Length: 262144\r\n"));
}

#[test]
fn continue_is_said_to_who_waits_for_it() {
    let (mut x, now) = fresh();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    x.on_client_bytes(head, now);
    assert_eq!(taken(&mut x, now), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(x.standing(), Standing::Asking);
    x.on_client_bytes(b"hi", now);
    assert!(!sent_on(&mut x).contains("Expect"));
}

#[test]
fn a_slow_reader_has_time_as_long_as_it_reads() {
    let (mut x, now) = fresh();
    x.on_client_bytes(GET, now);
    sent_on(&mut x);
    x.on_backend_bytes(b"HTTP/1.1 200 OK\r\n\r\n", now);
    x.on_backend_bytes(&[b'x'; 100], now);
    x.on_backend_end(now);
    for second in 1..30 {
        x.client_took(1, now + secs(second));
        assert_eq!(x.deadline(), now + secs(second) + PACE.stall);
    }
    x.on_deadline(now + secs(39));
    assert!(x.is_done());
}

#[test]
fn no_answer_from_behind() {
    let (mut x, now) = fresh();
    x.on_client_bytes(GET, now);
    x.on_backend_end(now);
    let answer = taken(&mut x, now);
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("50003"),
        "{answer}"
    );

    let (mut x, now) = fresh();
    x.on_client_bytes(GET, now);
    sent_on(&mut x);
    x.on_deadline(now + secs(60));
    let answer = taken(&mut x, now + secs(60));
    assert!(
        answer.starts_with("HTTP/1.1 500 ") && answer.contains("50001"),
        "{answer}"
    );
}

#[test]
fn a_head_request_gets_no_body_from_us_either() {
    let (mut x, now) = fresh();
    x.on_client_bytes(b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n", now);
    x.on_backend_end(now);
    assert!(taken(&mut x, now).ends_with("\r\n\r\n"));
}

proptest::proptest! {
    /// Whatever comes, in whatever pieces: no panic, memory stays bounded, and what goes on to
    /// tiny_http is one well-formed head with the body it announces.
    #[test]
    fn anything_at_all(
        pieces in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
                proptest::sample::select(vec![
                    b"POST / HTTP/1.1\r\n".to_vec(), b"GET http://a/b HTTP/1.0\r\n".to_vec(),
                    b"Host: a\r\n".to_vec(), b"\r\n".to_vec(), b"\n".to_vec(),
                    b"Content-Length: 5\r\n".to_vec(), b"Transfer-Encoding: chunked\r\n".to_vec(),
                    b"Expect: 100-continue\r\n".to_vec(), b"5\r\nhello\r\n".to_vec(),
                    b"0\r\n\r\n".to_vec(), b"hello".to_vec(),
                ]),
            ],
            0..40,
        )
    ) {
        let (mut x, now) = fresh();
        for piece in &pieces {
            x.on_client_bytes(piece, now);
            proptest::prop_assert!(x.buffered() <= MAX_HEAD + MAX_BODY + 1024);
            if x.wants_backend() {
                let sent = x.to_backend().to_vec();
                let mut headers = [httparse::EMPTY_HEADER; 16];
                let mut parsed = httparse::Request::new(&mut headers);
                let Ok(httparse::Status::Complete(at)) = parsed.parse(&sent) else {
                    panic!("not a head: {sent:?}");
                };
                let announced = parsed.headers.iter().find(|h| h.name == "Content-Length")
                    .map_or(0, |h| std::str::from_utf8(h.value).unwrap().parse().unwrap());
                proptest::prop_assert_eq!(sent.len() - at, announced);
                break;
            }
        }
    }
}
