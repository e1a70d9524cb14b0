use proptest::prelude::*;

use super::*;

const PROBE: &str = include_str!("../../../tests/fixtures/cameras/agsh-onvif/Probe.xml");

fn hints() -> Hints {
    let mut hints = Hints::new(Reach {
        own: vec![
            (Ipv4Addr::new(192, 168, 0, 2), 24),
            (Ipv4Addr::new(203, 0, 113, 2), 28),
        ],
        loopback: false,
    });
    hints.asked("0E3C7D9A");
    hints
}

fn camera(xaddrs: &str) -> Vec<u8> {
    PROBE
        .replace("RELATES_TO", "urn:uuid:0e3c7d9a")
        .replace("SERVICE_URI", xaddrs)
        .into_bytes()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn places_are_of_the_address_that_answered() {
    let mut hints = hints();
    // The address in the message is another's.
    let told = hints.datagram(
        ip("192.168.0.9"),
        &camera("http://192.168.1.88:8080/onvif/device_service"),
    );
    let (from, place) = told.unwrap();
    assert_eq!(from, Ipv4Addr::new(192, 168, 0, 9));
    assert_eq!(place.unwrap().port, 8080);
    assert_eq!(hints.path(from, 8080), Some("/onvif/device_service"));
    assert_eq!(hints.path(from, 80), None);
    assert_eq!(hints.of(Ipv4Addr::new(192, 168, 1, 88)), None);
    let hint = hints.of(from).unwrap();
    assert_eq!(hint.hardware.as_deref(), Some("HD_PREDATOR"));
    assert_eq!(
        hint.endpoint.as_deref(),
        Some("c9790c3a-701b-464d-a189-0060351c8ada")
    );
    // Once more: nothing new.
    let again = camera("http://192.168.0.9:8080/other");
    assert_eq!(
        hints.datagram(ip("192.168.0.9"), &again),
        Some((from, None))
    );
    assert_eq!(hints.cameras().collect::<Vec<_>>(), [from]);
}

#[test]
fn whose_answers_count() {
    let reach = hints().reach;
    for yes in [
        "192.168.0.9",
        "192.168.77.1",
        "10.1.2.3",
        "172.31.0.1",
        "100.64.0.5",
        "203.0.113.7",
    ] {
        assert!(reach.allows(yes.parse().unwrap()), "{yes}");
    }
    for no in [
        "8.8.8.8",
        "203.0.113.16",
        "203.0.113.15",
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.1.1",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "240.0.0.1",
        // This machine.
        "192.168.0.2",
        "203.0.113.2",
    ] {
        assert!(!reach.allows(no.parse().unwrap()), "{no}");
    }
    let local = Reach {
        own: vec![(Ipv4Addr::LOCALHOST, 8)],
        loopback: true,
    };
    assert!(local.allows(Ipv4Addr::new(127, 0, 0, 9)));
    let none = Reach {
        own: vec![
            (Ipv4Addr::new(1, 2, 3, 4), 0),
            (Ipv4Addr::new(5, 6, 7, 8), 32),
        ],
        loopback: false,
    };
    assert!(!none.allows(Ipv4Addr::new(9, 9, 9, 9)));
    let mut hints = hints();
    assert_eq!(
        hints.datagram(ip("8.8.8.8"), &camera("http://8.8.8.8/x")),
        None
    );
    assert_eq!(
        hints.datagram(ip("fe80::1"), &camera("http://10.0.0.1/x")),
        None
    );
}

#[test]
fn answers_to_others_printers_and_noise_are_not_believed() {
    let mut hints = hints();
    let foreign = PROBE.replace("RELATES_TO", "urn:uuid:ffff").into_bytes();
    assert_eq!(hints.datagram(ip("10.0.0.1"), &foreign), None);
    let printer = b"<Envelope><Body><ProbeMatches><ProbeMatch><Types>wprt:PrintDeviceType</Types><XAddrs>http://10.0.0.7/x</XAddrs></ProbeMatch></ProbeMatches></Body></Envelope>";
    assert_eq!(hints.datagram(ip("10.0.0.7"), printer), None);
    let huge = vec![0xff; 65_000];
    for noise in [&b""[..], b"<Envelope>", b"HTTP/1.1 200 OK", &huge] {
        assert_eq!(hints.datagram(ip("10.0.0.8"), noise), None);
    }
    assert_eq!(hints.cameras().count(), 0);
}

#[test]
fn an_answer_without_a_relation_counts_and_one_without_a_place_too() {
    let mut hints = hints();
    let bare = "<E><Body><ProbeMatches><ProbeMatch><Types>dn:NetworkVideoTransmitter</Types><Scopes>onvif://www.onvif.org/MAC/BC-AD-28-00-11-22 onvif://www.onvif.org/name/Gate%201</Scopes></ProbeMatch></ProbeMatches></Body></E>";
    let from = Ipv4Addr::new(10, 0, 0, 9);
    assert_eq!(
        hints.datagram(ip("10.0.0.9"), bare.as_bytes()),
        Some((from, None))
    );
    let hint = hints.of(from).unwrap();
    assert_eq!(hint.mac.as_deref(), Some("bc:ad:28:00:11:22"));
    assert_eq!(hint.name.as_deref(), Some("Gate 1"));
}

#[test]
fn a_flood_is_bounded() {
    let mut hints = hints();
    // Of one source, each with another port.
    let places = (1..200)
        .filter_map(|n| hints.datagram(ip("10.0.0.9"), &camera(&format!("http://10.0.0.9:{n}/x"))))
        .filter(|(_, place)| place.is_some())
        .count();
    assert_eq!(places, MAX_PLACES);
    assert_eq!(hints.sources[&Ipv4Addr::new(10, 0, 0, 9)].datagrams, 199);
    // Of many sources.
    for n in 0..5000_u32 {
        hints.datagram(IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + n)), b"<x/>");
    }
    assert_eq!(hints.sources.len(), MAX_SOURCES);
    let mut hints = super::tests::hints();
    let big = vec![b' '; 60_000];
    for n in 0..1000_u32 {
        hints.datagram(IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + n)), &big);
    }
    assert!(hints.is_flooded() && hints.bytes < MAX_BYTES + 60_000);
    assert_eq!(
        hints.datagram(ip("192.168.0.9"), &camera("http://192.168.0.9/x")),
        None
    );
}

proptest! {
    #[test]
    fn any_datagram_makes_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), source in any::<u32>()) {
        let mut hints = hints();
        let _ = hints.datagram(IpAddr::V4(Ipv4Addr::from_bits(source)), &bytes);
    }

    /// Nothing outside of private networks and our own is ever told of.
    #[test]
    fn sources_are_always_judged(source in any::<u32>()) {
        let mut hints = hints();
        let from = Ipv4Addr::from_bits(source);
        if hints.datagram(IpAddr::V4(from), &camera("http://9.9.9.9/x")).is_some() {
            let [a, b, ..] = from.octets();
            prop_assert!(from.is_private() || (a == 100 && (64..128).contains(&b)) || from.octets().starts_with(&[203, 0, 113]));
        }
    }
}
