use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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

#[test]
fn a_part_of_a_frame_is_a_sign_of_life() {
    let (mut transport, mut peer) = open();
    let mut next = || {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let mut events = transport.drive(true, Instant::now());
            if let Some(event) = events.pop() {
                return event;
            }
            assert!(Instant::now() < until);
        }
    };
    // A text frame of four bytes, in three parts.
    peer.write_all(&[0x81]).unwrap();
    assert!(matches!(next(), Event::Activity));
    peer.write_all(&[4, b'a', b'b']).unwrap();
    assert!(matches!(next(), Event::Activity));
    peer.write_all(b"cd").unwrap();
    assert!(matches!(next(), Event::Text(text) if text == "abcd"));
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

/// Both sides' TLS, for one another alone, under the name that [`transport`] gives.
fn tls_pair() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(client), Arc::new(server))
}

type TlsPeer = WebSocket<StreamOwned<ServerConnection, TcpStream>>;

/// The same over TLS; the other end is a websocket that reads only when it is told to.
fn open_tls() -> (Transport, TlsPeer) {
    let (client, server) = tls_pair();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = StreamOwned::new(ServerConnection::new(server).unwrap(), tcp);
        tungstenite::accept(tls).unwrap()
    });
    let secret = Secret::new("/canary");
    let mut transport = Transport::new(TransportId(1), "h".into(), 1, secret, Some(client));
    assert!(
        transport
            .resolved(Ok(vec![address]), Instant::now())
            .is_none()
    );
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let events = transport.drive(true, Instant::now());
        match events.first() {
            Some(Event::Opened) => break,
            Some(other) => panic!("{other:?}"),
            None => assert!(Instant::now() < until),
        }
    }
    (transport, peer.join().unwrap())
}

/// The number that a text of these tests begins with.
fn number(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}

fn numbered(n: usize, size: usize) -> String {
    format!("{n} {}", "x".repeat(size))
}

/// Neither end reads while both write: every buffer on the way is full in both directions. What
/// comes in must not make an end of what waits to go out, nor lie unseen behind it.
#[test]
fn both_directions_full_over_tls_lose_nothing() {
    const OURS: usize = 60_000;
    const THEIRS: usize = 3_000;
    let (mut transport, mut peer) = open_tls();
    let now = Instant::now();
    let mut sent = 0;
    while transport.next_deadline().is_none() {
        assert!(transport.send(numbered(sent, OURS)).is_none());
        sent += 1;
        assert!(transport.drive(true, now).is_empty());
        assert!(sent < 200, "it took everything");
    }
    // More than rustls holds: from here on tungstenite's own buffer fills.
    for _ in 0..4 {
        assert!(transport.send(numbered(sent, OURS)).is_none());
        sent += 1;
    }

    // The other side floods, and reads nothing before its flood is through.
    let flooding = std::thread::spawn(move || {
        for n in 0..4_000 {
            peer.send(Message::text(numbered(n, THEIRS))).unwrap();
        }
        peer
    });
    let mut heard = 0;
    let mut on = |events: Vec<Event>| {
        for event in events {
            let Event::Text(text) = event else {
                panic!("{event:?}")
            };
            assert_eq!(number(&text), heard, "in their order");
            heard += 1;
        }
        heard
    };
    // Ours go on being written between what comes in, as much as is allowed to wait.
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if sent < 100 {
            let event = transport.send(numbered(sent, OURS));
            assert!(event.is_none(), "while both are full: {event:?}");
            sent += 1;
        }
        // Time stands still: nothing ends for want of patience.
        if on(transport.drive(true, now)) == 4_000 {
            break;
        }
        assert!(Instant::now() < until, "{heard} of 4000 were heard");
    }
    let mut peer = flooding.join().unwrap();

    // Now it reads, and everything is there.
    let reading = std::thread::spawn(move || {
        let mut got = 0;
        while got < sent {
            match peer.read().unwrap() {
                Message::Text(text) => {
                    assert_eq!(number(text.as_str()), got, "in their order");
                    got += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        peer
    });
    while !reading.is_finished() {
        let events = transport.drive(true, now);
        assert!(events.is_empty(), "{events:?}");
        assert!(Instant::now() < until, "not everything has arrived");
    }
    let _peer = reading.join().unwrap();
    assert!(transport.stuck.is_none());
}

/// What TLS takes in while it can't write is no longer in the socket: poll(2) will not tell of it.
#[test]
fn what_came_in_behind_a_blocked_write_is_not_left_lying() {
    let (mut transport, mut peer) = open_tls();
    let now = Instant::now();
    let mut sent = 0;
    let mut fill = |transport: &mut Transport, listen| {
        for _ in 0..8 {
            assert!(transport.send(numbered(sent, 60_000)).is_none());
            sent += 1;
            let events = transport.drive(listen, now);
            assert!(events.is_empty(), "{events:?}");
        }
    };
    while transport.next_deadline().is_none() {
        fill(&mut transport, true);
    }
    fill(&mut transport, true);
    let socket = transport.interest(true).unwrap().0.try_clone_to_owned();
    let socket = socket.unwrap();
    let waiting = |flags| {
        let mut fds = [nix::poll::PollFd::new(socket.as_fd(), flags)];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap();
        fds[0].any().unwrap()
    };
    peer.send(Message::text(numbered(0, 10))).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !waiting(PollFlags::POLLIN) {
        assert!(Instant::now() < until);
    }
    // Publishes at that very moment.
    for n in 0..4 {
        assert!(transport.send(numbered(n, 60_000)).is_none());
    }
    // Whoever waits as the client's thread does gets to it at once.
    assert!(
        transport.has_more() || waiting(PollFlags::POLLIN),
        "a message waits, and nothing will tell"
    );
    let events = transport.drive(true, now);
    assert!(matches!(&events[..], [Event::Text(_)]), "{events:?}");
    assert!(!transport.has_more());

    // Not listened to it waits, and is there when it is listened to again.
    peer.send(Message::text(numbered(1, 10))).unwrap();
    while !waiting(PollFlags::POLLIN) {
        assert!(Instant::now() < until);
    }
    assert!(transport.drive(false, now).is_empty());
    assert!(transport.has_more() || waiting(PollFlags::POLLIN));
    let events = transport.drive(true, now);
    assert!(matches!(&events[..], [Event::Text(_)]), "{events:?}");
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    let (mut transport, _peer) = open_tls();
    let now = Instant::now();
    for n in 0..1_000 {
        match transport.send(numbered(n, 60_000)) {
            None => assert!(transport.drive(true, now).is_empty()),
            Some(Event::Lost(fault)) => {
                assert_eq!(fault.kind, FaultKind::Timeout);
                return;
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    panic!("60 MB were taken for a peer that reads nothing");
}
