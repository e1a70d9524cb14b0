use super::*;
use std::io::{Read as _, Write as _};

#[test]
fn families_take_turns() {
    let parse =
        |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
    let got = alternate(parse(&[
        "[::1]:1",
        "[::2]:1",
        "[::3]:1",
        "127.0.0.1:1",
        "127.0.0.2:1",
        "[::4]:1",
    ]));
    assert_eq!(
        Vec::from(got),
        parse(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"])
    );
    assert!(alternate(Vec::new()).is_empty());
}

fn transport(tls: bool) -> Transport {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    let tls = tls.then(|| Arc::new(config));
    Transport::new(TransportId(1), "h".into(), 1, Secret::new("/canary"), tls)
}

#[test]
fn without_tls_no_address_but_loopback() {
    let now = Instant::now();
    let mut plain = transport(false);
    let event = plain.resolved(Ok(vec!["192.0.2.1:1".parse().unwrap()]), now);
    let Some(Event::Lost(fault)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(fault.kind, FaultKind::Tls);
    let mut resolving = transport(false);
    let event = resolving.resolved(Err("no such host".into()), now);
    assert!(matches!(event, Some(Event::Lost(f)) if f.kind == FaultKind::Resolve));
}

#[test]
fn a_refused_connection_is_a_fault_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut transport = transport(true);
    let mut event = transport.resolved(Ok(vec![address]), Instant::now());
    let until = Instant::now() + Duration::from_secs(5);
    while event.is_none() && Instant::now() < until {
        event = transport.drive(true, Instant::now()).pop();
    }
    assert!(matches!(event, Some(Event::Lost(f)) if f.kind == FaultKind::Connect));
}

/// A transport that is open, and the other end of its socket.
fn open() -> (Transport, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tcp.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head
            .lines()
            .find_map(|l| l.strip_prefix("Sec-WebSocket-Key: "));
        let accept = tungstenite::handshake::derive_accept_key(key.unwrap().as_bytes());
        write!(
            tcp,
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .unwrap();
        tcp
    });
    let mut plain = transport(false);
    assert!(plain.resolved(Ok(vec![address]), Instant::now()).is_none());
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let events = plain.drive(true, Instant::now());
        match events.first() {
            Some(Event::Opened) => break,
            Some(other) => panic!("{other:?}"),
            None => assert!(Instant::now() < until),
        }
    }
    (plain, server.join().unwrap())
}

/// Writes until the peer's buffers are full.
fn fill(transport: &mut Transport, now: Instant) {
    for _ in 0..100 {
        assert!(transport.send("x".repeat(60_000)).is_none());
        assert!(transport.drive(true, now).is_empty());
        if transport.next_deadline().is_some() {
            return;
        }
    }
    panic!("it took everything");
}

#[test]
fn writes_without_progress_end_the_transport_and_slow_ones_do_not() {
    let (mut transport, mut peer) = open();
    let now = Instant::now();
    fill(&mut transport, now);
    let later = now + WRITE_PATIENCE / 2;
    assert!(transport.drive(true, later).is_empty());
    // The peer reads a little: progress, and patience begins anew.
    let mut buffer = vec![0; 4 << 20];
    let mut read = 0;
    let until = Instant::now() + Duration::from_secs(10);
    while transport.stuck.is_some_and(|(since, _)| since == now) {
        read += peer.read(&mut buffer).unwrap();
        assert!(transport.drive(true, later).is_empty());
        assert!(Instant::now() < until, "{read} bytes were read");
        if transport.stuck.is_none() {
            fill(&mut transport, later);
        }
    }
    assert!(transport.drive(true, now + WRITE_PATIENCE).is_empty());
    let events = transport.drive(true, later + WRITE_PATIENCE);
    let [Event::Lost(fault)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(fault.kind, FaultKind::Timeout);
    assert!(transport.interest(true).is_none());
}

#[test]
fn a_ping_is_answered_and_tells_of_life() {
    let (mut transport, mut peer) = open();
    peer.write_all(&[0x89, 2, b'h', b'i']).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let events = transport.drive(true, Instant::now());
        if matches!(events[..], [Event::Activity]) {
            break;
        }
        assert!(events.is_empty() && Instant::now() < until);
    }
    transport.drive(true, Instant::now());
    let mut pong = [0; 8];
    peer.read_exact(&mut pong).unwrap();
    assert_eq!((pong[0], pong[1]), (0x8A, 0x82), "a masked pong");
}

#[test]
fn a_transport_that_is_not_listened_to_waits_for_nothing() {
    let (mut transport, mut peer) = open();
    peer.write_all(b"\x81\x02{}").unwrap();
    assert!(transport.drive(false, Instant::now()).is_empty());
    assert!(
        transport.interest(false).is_none(),
        "or a hang-up would spin"
    );
    let until = Instant::now() + Duration::from_secs(10);
    while !matches!(transport.drive(true, Instant::now())[..], [Event::Text(_)]) {
        assert!(Instant::now() < until);
    }
}
