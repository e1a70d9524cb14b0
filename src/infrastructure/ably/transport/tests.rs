use super::*;

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
