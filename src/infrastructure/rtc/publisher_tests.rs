//! A session against a peer that is str0m, too, over a wire and by a clock that are the test's.

use super::*;
use str0m::change::SdpOffer;
use str0m::media::KeyframeRequestKind;

const OURS: &str = "192.0.2.1:5000";
const THEIRS: &str = "192.0.2.2:6000";
const MS: Duration = Duration::from_millis(1);
/// One way.
const DELAY: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Full,
    Lite,
    /// Says another fingerprint than its certificate has.
    OtherFingerprint,
    NoAudio,
    NoCandidates,
}

/// What flies on the wire: when it lands, whether it is for the peer, and what it is.
type Flight = (Instant, bool, Vec<u8>);

struct Net {
    start: Instant,
    now: Instant,
    ours: Publisher,
    theirs: Rtc,
    wire: Vec<Flight>,
    events: Vec<(Duration, Event)>,
    /// Payloads of H.264 by sequence number, and of Opus.
    video: std::collections::BTreeMap<u64, (u32, bool, Vec<u8>)>,
    sound: Vec<Vec<u8>>,
    /// Every so manieth datagram to the peer is lost.
    loss: Option<u32>,
    sent: u32,
    /// The peer's power is off.
    dead: bool,
    /// The peer answers a handshake with this alert.
    alert: Option<u8>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Net {
    fn new(audio: bool, kind: Peer) -> Self {
        let now = Instant::now();
        let (mut ours, offer) = Publisher::new(now, &[address(OURS)], audio).unwrap();
        let (theirs, answer) = peer(now, &offer, kind);
        ours.accept(&answer, now).unwrap();
        Self {
            start: now,
            now,
            ours,
            theirs,
            wire: Vec::new(),
            events: Vec::new(),
            video: std::collections::BTreeMap::new(),
            sound: Vec::new(),
            loss: None,
            sent: 0,
            dead: false,
            alert: None,
        }
    }

    fn connected(kind: Peer) -> Self {
        let mut net = Self::new(true, kind);
        net.run(2000 * MS);
        assert_eq!(net.named(), [Event::Connected]);
        net
    }

    fn named(&self) -> Vec<Event> {
        self.events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// Until nothing more comes out of either end at this moment; when the next wake-up is.
    fn drain(&mut self) -> Instant {
        let ours = loop {
            match self.ours.poll(self.now) {
                Output::Transmit { from, to, bytes } => {
                    assert_eq!((from, to), (address(OURS), address(THEIRS)));
                    self.sent += 1;
                    let lost = self.loss.is_some_and(|n| self.sent.is_multiple_of(n));
                    if !lost {
                        self.wire.push((self.now + DELAY, true, bytes));
                    }
                }
                Output::Event(event) => self.events.push((self.now - self.start, event)),
                Output::Wait(at) => break at,
            }
        };
        assert!(ours > self.now);
        if self.dead {
            return ours;
        }
        let theirs = loop {
            // A peer that was refused ends with an error, too.
            let Ok(output) = self.theirs.poll_output() else {
                self.dead = true;
                return ours;
            };
            match output {
                str0m::Output::Transmit(t) => {
                    self.wire
                        .push((self.now + DELAY, false, t.contents.to_vec()));
                }
                str0m::Output::Event(str0m::Event::RtpPacket(packet)) => {
                    let header = &packet.header;
                    if *header.payload_type == 111 {
                        self.sound.push(packet.payload.to_vec());
                    } else {
                        let what = (header.timestamp, header.marker, packet.payload.to_vec());
                        self.video.insert(*packet.seq_no, what);
                    }
                }
                str0m::Output::Event(_) => {}
                str0m::Output::Timeout(at) => break at,
            }
        };
        ours.min(theirs)
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let wake = self.drain();
            let lands = self.wire.iter().map(|(at, ..)| *at).min();
            let next = lands.unwrap_or(wake).min(wake).min(end);
            self.now = next.max(self.now + Duration::from_micros(1));
            if self.now >= end {
                self.now = end;
                return;
            }
            self.ours.timeout(self.now);
            if !self.dead {
                self.theirs.handle_input(Input::Timeout(self.now)).unwrap();
            }
            let landed: Vec<Flight> = self
                .wire
                .extract_if(.., |(at, ..)| *at <= self.now)
                .collect();
            for (_, for_peer, bytes) in landed {
                if !for_peer {
                    self.ours
                        .receive(self.now, address(THEIRS), address(OURS), &bytes);
                } else if let Some(alert) = self.alert.filter(|_| bytes[0] == 22) {
                    let record = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, alert];
                    self.wire.push((self.now + DELAY, false, record.to_vec()));
                } else if !self.dead {
                    let datagram =
                        Receive::new(Protocol::Udp, address(OURS), address(THEIRS), &bytes)
                            .unwrap();
                    let _ = self.theirs.handle_input(Input::Receive(self.now, datagram));
                }
                self.drain();
            }
        }
    }

    /// So many pictures of five packets each, 40 ms apart, and a packet of sound with each.
    fn play(&mut self, pictures: u64) {
        for picture in 0..pictures {
            let packets: Vec<Arc<[u8]>> = (0..5_u8).map(|n| payload(picture, n)).collect();
            self.ours.video(self.now, picture * 3600, &packets, true);
            self.drain();
            let sound: Arc<[u8]> = Arc::from([0x78, u8::try_from(picture % 251).unwrap()]);
            self.ours.audio(self.now, picture * 1920, &sound);
            self.run(40 * MS);
        }
    }
}

/// A single NAL unit that says what it is.
fn payload(picture: u64, number: u8) -> Arc<[u8]> {
    let mut bytes = vec![0x41, number];
    bytes.extend_from_slice(&picture.to_be_bytes());
    bytes.resize(1000, number);
    Arc::from(bytes)
}

fn peer(now: Instant, offer: &str, kind: Peer) -> (Rtc, String) {
    let mut config = RtcConfig::new()
        .set_crypto_provider(crypto::provider())
        .set_rtp_mode(true)
        .set_ice_lite(kind == Peer::Lite)
        .clear_codecs()
        .enable_h264(true);
    if kind != Peer::NoAudio {
        config = config.enable_opus(true, false);
    }
    let mut rtc = config.build(now);
    rtc.add_local_candidate(Candidate::host(address(THEIRS), "udp").unwrap());
    let offer = SdpOffer::from_sdp_string(offer).unwrap();
    let mut answer = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
    if kind == Peer::OtherFingerprint {
        let at = answer.find("a=fingerprint:sha-256 ").unwrap() + 22;
        let other = if &answer[at..=at] == "A" { "B" } else { "A" };
        // The same in each line.
        let old = answer[at..at + 95].to_owned();
        let new = format!("{other}{}", &old[1..]);
        answer = answer.replace(&old, &new);
    }
    if kind == Peer::NoCandidates {
        let lines = answer.split_inclusive('\n');
        answer = lines.filter(|l| !l.starts_with("a=candidate")).collect();
    }
    (rtc, answer)
}

#[test]
fn the_offer_is_what_servers_want() {
    let now = Instant::now();
    let hosts = [address(OURS), address("[2001:db8::1]:5001")];
    let (_, offer) = Publisher::new(now, &hosts, true).unwrap();
    for line in [
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=rtpmap:96 H264/90000",
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=rtpmap:111 opus/48000/2",
        "a=setup:actpass",
        "a=sendonly",
        "a=rtcp-mux",
        "a=rtcp-mux-only",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
    ] {
        assert!(offer.lines().any(|l| l == line), "{line}\n{offer}");
    }
    let fmtp = offer.lines().find(|l| l.starts_with("a=fmtp:96")).unwrap();
    assert!(fmtp.contains("profile-level-id=42e01f") && fmtp.contains("packetization-mode=1"));
    let count = |what: &str| offer.matches(what).count();
    assert_eq!((count("a=candidate:"), count("a=group:BUNDLE ")), (2, 1));
    assert_eq!(count("a=mid:"), 2);
    assert!(
        !offer.contains("ice-lite") && !offer.contains("ice-options:trickle"),
        "{offer}"
    );

    let (_, silent) = Publisher::new(now, &hosts, false).unwrap();
    assert!(!silent.contains("m=audio"));
    // Nobody could guess one session's password by another's.
    let password = |sdp: &str| {
        let line = sdp.lines().find(|l| l.starts_with("a=ice-pwd:"));
        line.unwrap().to_owned()
    };
    assert_ne!(password(&offer), password(&silent));
    let none = Publisher::new(now, &[], true).err();
    assert_eq!(none, Some(NoOffer::NoAddress));
    let nowhere = [address("0.0.0.0:7")];
    assert_eq!(
        Publisher::new(now, &nowhere, true).err(),
        Some(NoOffer::NoAddress)
    );
}

#[test]
fn pictures_and_sound_arrive_at_a_full_and_at_a_lite_peer() {
    for kind in [Peer::Full, Peer::Lite] {
        let mut net = Net::connected(kind);
        assert!(net.ours.takes_audio());
        let (when, _) = net.events[0];
        assert!(when < 1000 * MS, "{when:?}");
        net.play(30);
        net.run(200 * MS);
        assert_eq!((net.video.len(), net.sound.len()), (150, 30), "{kind:?}");
        let first = *net.video.keys().next().unwrap();
        assert!(first < 65_536);
        let (base, ..) = net.video[&first];
        for (number, (sequence, (stamp, marker, bytes))) in net.video.iter().enumerate() {
            let number = u64::try_from(number).unwrap();
            assert_eq!(*sequence, first + number);
            let (picture, part) = (number / 5, u8::try_from(number % 5).unwrap());
            assert_eq!(bytes[..], payload(picture, part)[..]);
            assert_eq!(*marker, part == 4);
            assert_eq!(u64::from(stamp.wrapping_sub(base)), picture * 3600);
        }
    }
}

#[test]
fn a_kept_group_that_goes_out_in_a_hurry_delays_nothing_that_follows() {
    let mut net = Net::connected(Peer::Full);
    for picture in 0..25 {
        net.ours
            .video(net.now, picture * 3600, &[payload(picture, 0)], true);
        net.run(10 * MS);
    }
    net.run(100 * MS);
    let stamps: Vec<u32> = net.video.values().map(|(stamp, ..)| *stamp).collect();
    assert_eq!(stamps.len(), 25);
    let span = stamps[24].wrapping_sub(stamps[0]);
    // 240 ms, and not 960.
    assert!((20_000..27_000).contains(&span), "{span}");
}

#[test]
fn what_two_in_a_hundred_lose_comes_again() {
    let mut net = Net::connected(Peer::Full);
    net.loss = Some(50);
    net.play(200);
    net.loss = None;
    net.run(1500 * MS);
    assert_eq!(net.video.len(), 1000);
    let figures = net.ours.figures();
    assert!(figures.nacks > 0, "{figures:?}");
    assert!(figures.retransmitted_bytes >= 15_000, "{figures:?}");
    assert!(
        figures.bytes > 1_000_000 && figures.packets > 1200,
        "{figures:?}"
    );
    let trip = figures.round_trip.unwrap();
    assert!(trip >= 35 * MS && trip < 100 * MS, "{trip:?}");
    assert!(figures.loss.unwrap() < 0.1, "{figures:?}");
}

#[test]
fn a_wrong_fingerprint_is_an_event_of_its_own() {
    let mut net = Net::new(true, Peer::OtherFingerprint);
    net.run(12_000 * MS);
    assert_eq!(net.named(), [Event::FingerprintWrong]);
    net.play(2);
    assert!(net.video.is_empty());
}

#[test]
fn a_peer_that_falls_silent_is_lost_within_ten_seconds() {
    for kind in [Peer::Full, Peer::Lite] {
        let mut net = Net::connected(kind);
        net.play(25);
        net.dead = true;
        let died = net.now - net.start;
        net.play(15 * 25);
        assert_eq!(net.named()[1..], [Event::Lost(Loss::Silent)]);
        let took = net.events[1].0.saturating_sub(died);
        assert!(took <= 10_000 * MS, "{kind:?}, {took:?}");
        // Said once, and it wants nothing more.
        let Output::Wait(at) = net.ours.poll(net.now) else {
            panic!("more");
        };
        assert!(at >= net.now + FOR_LONG);
    }
}

#[test]
fn a_peer_that_no_way_leads_to_is_lost_within_six_seconds() {
    let mut net = Net::new(true, Peer::Full);
    net.dead = true;
    net.run(12_000 * MS);
    assert_eq!(net.named(), [Event::Lost(Loss::NoWay)]);
    assert_eq!(net.events[0].0, CONNECT);
    assert_eq!(CONNECT, 6_000 * MS);
}

#[test]
fn a_handshake_that_is_refused_is_told_at_once_and_rsa_is_named() {
    let mut net = Net::new(true, Peer::Full);
    net.alert = Some(40);
    net.run(3000 * MS);
    let [Event::Lost(why @ Loss::NoHandshake(_))] = &net.named()[..] else {
        panic!("{:?}", net.events);
    };
    let words = why.to_string();
    assert!(words.contains("DTLS") && words.contains("RSA"), "{words}");
    assert!(net.events[0].0 < 1000 * MS);
    // As dimpl says it of a client's certificate.
    let rsa = dimpl::crypto::SignatureAlgorithm::RSA;
    for error in [
        dimpl::CryptoError::UnsupportedSignatureAlgorithm(rsa),
        dimpl::CryptoError::UnsupportedPublicKeyAlgorithm,
    ] {
        assert!(handshake_words(&error.to_string()).contains("RSA"));
    }
    assert_eq!(handshake_words("DTLS error: timeout"), " (timeout)");
}

#[test]
fn an_answer_without_candidates_works_where_the_peer_can_reach_us() {
    let mut net = Net::connected(Peer::NoCandidates);
    net.play(5);
    net.run(100 * MS);
    assert_eq!(net.video.len(), 25);
}

#[test]
fn a_viewer_that_wants_a_keyframe_is_heard() {
    let mut net = Net::connected(Peer::Full);
    net.play(5);
    net.run(100 * MS);
    let mid = net.ours.video.mid;
    let mut direct = net.theirs.direct_api();
    let stream = direct.stream_rx_by_mid(mid, None).unwrap();
    stream.request_keyframe(KeyframeRequestKind::Pli);
    net.run(100 * MS);
    assert_eq!(net.named()[1..], [Event::KeyframeWanted]);
    net.run(2000 * MS);
    assert_eq!(net.ours.figures().keyframe_requests, 1);
}

#[test]
fn a_peer_that_takes_no_sound_gets_pictures() {
    let mut net = Net::connected(Peer::NoAudio);
    assert!(!net.ours.takes_audio());
    net.play(5);
    net.run(100 * MS);
    assert_eq!((net.video.len(), net.sound.len()), (25, 0));
}

#[test]
fn either_end_can_end_it_in_order() {
    let mut net = Net::connected(Peer::Full);
    net.theirs.close().unwrap();
    net.run(1000 * MS);
    assert_eq!(net.named()[1..], [Event::Lost(Loss::Ended)]);

    let mut net = Net::connected(Peer::Full);
    net.ours.close();
    net.run(1000 * MS);
    assert_eq!(net.named().len(), 1);
    assert!(!net.theirs.is_alive());
}

#[test]
fn strangers_datagrams_change_nothing() {
    let mut net = Net::connected(Peer::Full);
    let stranger = address("198.51.100.9:9");
    for bytes in [
        &[][..],
        &[0; 20],
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
        &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 5],
        &[0x80, 200, 0, 6, 0, 0],
    ] {
        for from in [stranger, address(THEIRS)] {
            net.ours.receive(net.now, from, address(OURS), bytes);
            net.drain();
        }
    }
    net.play(3);
    net.run(100 * MS);
    assert_eq!(net.video.len(), 15);
    assert_eq!(net.named(), [Event::Connected]);
}

#[test]
fn a_session_takes_one_answer() {
    let now = Instant::now();
    let (mut ours, offer) = Publisher::new(now, &[address(OURS)], true).unwrap();
    let (_, answer) = peer(now, &offer, Peer::Full);
    assert_eq!(ours.accept("<html>", now), Err(Refusal::NotSdp));
    assert_eq!(ours.accept(&answer, now), Ok(()));
    assert_eq!(ours.accept(&answer, now), Err(Refusal::Late));
}

#[test]
fn candidates_that_only_a_browser_could_resolve_are_passed_over() {
    let now = Instant::now();
    let (mut ours, offer) = Publisher::new(now, &[address(OURS)], true).unwrap();
    let (_, answer) = peer(now, &offer, Peer::Full);
    let local = answer.replace(
        "a=candidate:",
        "a=candidate:1 1 udp 2122260223 0f3b2c1d-aaaa.local 50000 typ host\r\na=candidate:",
    );
    let tcp = local.replace(
        "a=candidate:1 ",
        "a=candidate:2 1 tcp 1518280447 192.0.2.2 9 typ host tcptype active\r\na=candidate:1 ",
    );
    assert_eq!(ours.accept(&tcp, now), Ok(()));
}

proptest::proptest! {
    #[test]
    fn no_answer_panics(
        changes in proptest::collection::vec((0..60_usize, 0..4_u8, 0..60_usize, "[ -~]{0,12}"), 0..6),
    ) {
        let now = Instant::now();
        let (mut ours, offer) = Publisher::new(now, &[address(OURS)], true).unwrap();
        let (_, answer) = peer(now, &offer, Peer::Full);
        let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
        for (line, kind, at, text) in changes {
            let line = line % lines.len();
            match kind {
                0 => drop(lines.remove(line)),
                1 => lines.insert(line, lines[at % lines.len()].clone()),
                2 => {
                    let at = at.min(lines[line].len());
                    lines[line].insert_str(at, &text);
                }
                _ => lines[line].truncate(at),
            }
            if lines.is_empty() {
                lines.push(text);
            }
        }
        let accepted = ours.accept(&lines.join("\r\n"), now).is_ok();
        for step in 0..20 {
            let now = now + step * 600 * MS;
            ours.timeout(now);
            for _ in 0..50 {
                if matches!(ours.poll(now), Output::Wait(_)) {
                    break;
                }
            }
            ours.video(now, 0, &[payload(0, 0)], true);
        }
        proptest::prop_assert!(!accepted || matches!(ours.stage, Stage::Over(_)));
    }
}
