//! Sessions with cameras as they are known to behave; each oddity names who has it.

use std::fmt::Write as _;

use super::*;

const URL: &str = "rtsp://10.0.0.9:554/live";
const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n\
                   m=audio 0 RTP/AVP 8\r\na=control:track2\r\n";

/// A camera that is told what to answer.
struct Camera {
    player: Player,
    now: Instant,
    /// Numbers of its answers.
    cseq: u32,
}

impl Camera {
    fn dialled() -> Self {
        Self::by(URL, None)
    }

    fn by(url: &str, login: Option<Credentials>) -> Self {
        let now = Instant::now();
        let at = "10.0.0.9:554".parse().unwrap();
        let player = Player::new(at, &Secret::new(url), login, "00".to_owned(), now).unwrap();
        Self {
            player,
            now,
            cseq: 0,
        }
    }

    /// What was sent since the last time.
    fn hears(&mut self) -> String {
        String::from_utf8(self.player.take_output()).unwrap()
    }

    /// Answers the request in hand.
    fn says(&mut self, status: u16, headers: &[&str], body: &str) -> Result<Vec<Event>, PlayError> {
        self.cseq += 1;
        let mut text = format!("RTSP/1.0 {status} Words\r\nCSeq: {}\r\n", self.cseq);
        for header in headers {
            let _ = write!(text, "{header}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        let _ = write!(text, "\r\n{body}");
        self.sends(text.as_bytes())
    }

    fn sends(&mut self, bytes: &[u8]) -> Result<Vec<Event>, PlayError> {
        self.player.feed(bytes);
        let mut events = Vec::new();
        while let Some(event) = self.player.next_event(self.now)? {
            events.push(event);
        }
        Ok(events)
    }

    /// Media on an interleaved channel.
    fn streams(&mut self, channel: u8, packet: &[u8]) -> Vec<Event> {
        let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
        let bytes = [&[b'$', channel], &length[..], packet].concat();
        self.sends(&bytes).unwrap()
    }

    fn described(&mut self, headers: &[&str], sdp: &str, media: &[usize]) {
        let events = self.says(200, headers, sdp).unwrap();
        let [Event::Described(sdp)] = &events[..] else {
            panic!("{events:?}");
        };
        self.hears();
        self.player.set_up(sdp, media, self.now).unwrap();
    }

    /// Video alone, playing.
    fn playing(session: &str) -> Self {
        let mut camera = Self::dialled();
        camera.described(&[], SDP, &[0]);
        let session = format!("Session: {session}");
        camera
            .says(
                200,
                &[&session, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"],
                "",
            )
            .unwrap();
        assert_eq!(camera.says(200, &[], ""), Ok(vec![Event::Playing]));
        camera.hears();
        camera
    }

    fn passes(&mut self, time: Duration) -> String {
        self.now += time;
        self.player.tick(self.now).unwrap();
        self.hears()
    }
}

/// The URL of a request.
fn url_of(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

#[test]
fn from_the_description_to_the_picture() {
    let mut camera = Camera::dialled();
    let asked = camera.hears();
    assert!(asked.starts_with("DESCRIBE rtsp://10.0.0.9:554/live RTSP/1.0\r\nCSeq: 1\r\n"));
    camera.described(&["Content-Base: rtsp://10.0.0.9:554/live/"], SDP, &[0, 1]);
    let video = camera.hears();
    assert!(
        video.starts_with("SETUP rtsp://10.0.0.9:554/live/track1 RTSP/1.0\r\n"),
        "{video}"
    );
    assert!(video.contains("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"));
    assert!(!video.contains("Session") && !video.contains("Require") && !video.contains("mode="));
    camera
        .says(200, &["Session: 12345678 ; timeout=30"], "")
        .unwrap();
    let audio = camera.hears();
    assert!(audio.starts_with("SETUP rtsp://10.0.0.9:554/live/track2 RTSP/1.0\r\n"));
    assert!(
        audio.contains("interleaved=2-3\r\nSession: 12345678\r\n"),
        "{audio}"
    );
    camera.says(200, &[], "").unwrap();
    let play = camera.hears();
    assert!(play.starts_with("PLAY rtsp://10.0.0.9:554/live/ RTSP/1.0\r\n"));
    assert!(play.contains("Range: npt=0.000-\r\nSession: 12345678\r\n"));
    assert_eq!(
        camera.says(200, &["RTP-Info: url=x;seq=0;rtptime=;"], ""),
        Ok(vec![Event::Playing])
    );
    assert_eq!(
        camera.streams(0, b"video"),
        [Event::Rtp(0, b"video".to_vec())]
    );
    assert_eq!(
        camera.streams(3, b"report"),
        [Event::Rtcp(1, b"report".to_vec())]
    );
    assert_eq!(camera.streams(7, b"nobody's"), []);
    camera.player.send_rtcp(1, b"rr");
    assert_eq!(camera.player.take_output(), b"$\x03\x00\x02rr");
    camera.player.tear_down();
    assert!(
        camera
            .hears()
            .starts_with("TEARDOWN rtsp://10.0.0.9:554/live/ RTSP/1.0\r\n")
    );
    camera.player.tear_down();
    assert_eq!(camera.hears(), "");
}

#[test]
fn packets_before_the_answer_to_play_are_kept() {
    // live555 2026.10.24, Reolink, v4l2rtspserver
    let mut camera = Camera::dialled();
    camera.described(&[], SDP, &[0]);
    camera.says(200, &["Session: 1"], "").unwrap();
    assert_eq!(
        camera.streams(0, b"early"),
        [Event::Rtp(0, b"early".to_vec())]
    );
    assert_eq!(camera.says(200, &[], ""), Ok(vec![Event::Playing]));
}

#[test]
fn the_channels_are_those_of_the_answer() {
    // Escam Q6, retina's UnassignedChannelDataPolicy
    for (transport, media, reports) in [
        ("RTP/AVP/TCP;unicast;interleaved=4-5", 4, 5),
        ("RTP/AVP/TCP;interleaved=2", 2, 3),
        ("RTP/AVP;unicast;Interleaved = 6 - 7 ;ssrc=zz", 6, 7),
        ("RTP/AVP/TCP;unicast", 0, 1),
        ("RTP/AVP/TCP;unicast;interleaved=x", 0, 1),
    ] {
        let mut camera = Camera::dialled();
        camera.described(&[], SDP, &[0]);
        camera
            .says(200, &["Session: 1", &format!("Transport: {transport}")], "")
            .unwrap();
        assert_eq!(
            camera.streams(media, b"v"),
            [Event::Rtp(0, b"v".to_vec())],
            "{transport}"
        );
        assert_eq!(
            camera.streams(reports, b"r"),
            [Event::Rtcp(0, b"r".to_vec())],
            "{transport}"
        );
    }
}

#[test]
fn datagrams_only_is_said() {
    let mut camera = Camera::dialled();
    camera.described(&[], SDP, &[0]);
    let by_udp = "Transport: RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257";
    assert_eq!(
        camera.says(200, &["Session: 1", by_udp], ""),
        Err(PlayError::NoTcp)
    );
    let mut camera = Camera::dialled();
    camera.described(&[], SDP, &[0]);
    assert_eq!(camera.says(461, &[], ""), Err(PlayError::NoTcp));
}

#[test]
fn bases_are_repaired_and_joined_as_text() {
    let first = |headers: &[&str], control: &str| {
        let mut camera = Camera::dialled();
        let sdp = format!("v=0\r\nm=video 0 RTP/AVP 96\r\na=control:{control}\r\n");
        camera.described(headers, &sdp, &[0]);
        let request = camera.hears();
        url_of(&request).to_owned()
    };
    for (header, control, want) in [
        // Without a slash, with one, behind a query (Dahua, Vivotek).
        (
            "Content-Base: rtsp://10.0.0.9:554/live",
            "track1",
            "/live/track1",
        ),
        (
            "Content-Base: rtsp://10.0.0.9:554/live/",
            "/track1",
            "/live/track1",
        ),
        (
            "Content-Base: rtsp://10.0.0.9:554/cam?channel=1&subtype=0",
            "trackID=0",
            "/cam?channel=1&subtype=0/trackID=0",
        ),
        (
            "Content-Location: rtsp://10.0.0.9:554/other",
            "track1",
            "/other/track1",
        ),
        // Absolute, of another host (behind a port forward), and the whole.
        (
            "Content-Base: rtsp://10.0.0.9:554/live",
            "rtsp://192.168.1.5:8554/live/track1",
            "/live/track1",
        ),
        ("Content-Base: rtsp://10.0.0.9:554/live", "*", "/live"),
        // Broken bases (moonfire-nvr#356, go2rtc#208, gortsplib).
        (
            "Content-Base: rtsp://rtsp://10.0.0.9:554/live",
            "track1",
            "/live/track1",
        ),
        ("Content-Base: 10.0.0.9:554/live", "track1", "/live/track1"),
        ("Content-Base: /live", "track1", "/live/track1"),
        ("Content-Base: live", "track1", "/live/track1"),
        (
            "Content-Base: rtsp://192.168.0.7/lan/",
            "track1",
            "/lan/track1",
        ),
        ("X-Nothing: 1", "track1", "/live/track1"),
    ] {
        assert_eq!(
            first(&[header], control),
            format!("rtsp://10.0.0.9:554{want}"),
            "{header} {control}"
        );
    }
}

#[test]
fn a_track_that_is_not_found_is_looked_for_elsewhere() {
    let mut camera = Camera::dialled();
    camera.described(&["Content-Base: rtsp://10.0.0.9:554/wrong/"], SDP, &[0]);
    camera.hears();
    assert_eq!(camera.says(404, &[], ""), Ok(vec![]));
    assert_eq!(url_of(&camera.hears()), "rtsp://10.0.0.9:554/live/track1");
    assert_eq!(
        camera.says(404, &[], ""),
        Err(PlayError::Refused("SETUP", 404, "Words".to_owned()))
    );
}

#[test]
fn sound_that_is_refused_is_left_out_and_the_first_session_stays() {
    let mut camera = Camera::dialled();
    camera.described(&[], SDP, &[0, 1]);
    camera.says(200, &["Session: first;timeout=2"], "").unwrap();
    camera.hears();
    assert_eq!(
        camera.says(461, &["Session: second"], ""),
        Ok(vec![Event::LeftOut(1, 461)])
    );
    assert!(camera.hears().contains("Session: first\r\n"));
    assert_eq!(camera.says(200, &[], ""), Ok(vec![Event::Playing]));
    assert_eq!(camera.streams(2, b"a"), []);
}

#[test]
fn range_is_left_out_where_it_is_not_known() {
    let mut camera = Camera::dialled();
    camera.described(&[], SDP, &[0]);
    camera.says(200, &["Session: 1"], "").unwrap();
    camera.hears();
    assert_eq!(camera.says(457, &[], ""), Ok(vec![]));
    let again = camera.hears();
    assert!(again.starts_with("PLAY") && !again.contains("Range"));
    // Busy is told as it is.
    let busy = PlayError::Refused("PLAY", 453, "Words".to_owned());
    assert_eq!(camera.says(453, &[], ""), Err(busy));
}

#[test]
fn it_is_kept_alive_by_what_the_camera_permits() {
    let mut camera = Camera::playing("1;timeout=60");
    let first = camera.passes(Duration::from_secs(1));
    assert!(
        first.starts_with("OPTIONS rtsp://10.0.0.9:554/live RTSP/1.0\r\n"),
        "{first}"
    );
    assert!(first.contains("Session: 1\r\n"));
    camera
        .says(200, &["Public: DESCRIBE, GET_PARAMETER,PLAY"], "")
        .unwrap();
    // What keeps it alive for certain comes at half its time, and not at its end.
    assert_eq!(camera.passes(Duration::from_secs(29)), "");
    assert!(
        camera
            .passes(Duration::from_secs(1))
            .starts_with("GET_PARAMETER ")
    );
    camera.says(200, &[], "").unwrap();
    assert!(
        camera
            .passes(Duration::from_secs(30))
            .starts_with("GET_PARAMETER ")
    );
    // Not answered: the next goes out all the same.
    assert!(
        camera
            .passes(Duration::from_secs(30))
            .starts_with("GET_PARAMETER ")
    );
    camera.cseq += 1;
    // thingino: 454 to it. No new session; by the other.
    assert_eq!(camera.says(454, &[], ""), Ok(vec![]));
    assert!(
        camera
            .passes(Duration::from_secs(30))
            .starts_with("OPTIONS ")
    );
    // Refused as well: left alone.
    camera.says(501, &[], "").unwrap();
    assert_eq!(camera.passes(Duration::from_secs(300)), "");
    assert_eq!(camera.streams(0, b"v"), [Event::Rtp(0, b"v".to_vec())]);
}

#[test]
fn short_and_long_lifetimes() {
    for (session, second) in [
        ("1;timeout=10", 5),
        ("1;timeout=1", 2),
        ("1;timeout=86400", 30),
        ("1", 30),
        ("1;timeout=", 30),
    ] {
        let mut camera = Camera::playing(session);
        let due = camera.player.next_tick().unwrap();
        assert_eq!(due - camera.now, FIRST_OPTIONS, "{session}");
        assert!(camera.passes(FIRST_OPTIONS).starts_with("OPTIONS "));
        let due = camera.player.next_tick().unwrap();
        assert_eq!(due - camera.now, Duration::from_secs(second), "{session}");
    }
}

#[test]
fn a_login_that_is_renewed_in_the_session_ends_nothing() {
    let login = Credentials::new("admin", Secret::new("cAnary-77")).unwrap();
    let mut camera = Camera::by("rtsp://admin:cAnary-77@10.0.0.9:554/live", Some(login));
    let digest = |nonce: &str| format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\"");
    assert!(!camera.hears().contains("Authorization"));
    assert_eq!(camera.says(401, &[&digest("a")], ""), Ok(vec![]));
    assert!(camera.hears().contains("nonce=\"a\""));
    camera.described(&[], SDP, &[0]);
    camera.says(200, &["Session: 1"], "").unwrap();
    camera.says(200, &[], "").unwrap();
    camera.hears();
    // Axis M5525 renews after 150 s.
    camera.passes(Duration::from_secs(30));
    assert_eq!(camera.says(401, &[&digest("b")], ""), Ok(vec![]));
    let again = camera.hears();
    assert!(
        again.starts_with("OPTIONS") && again.contains("nonce=\"b\""),
        "{again}"
    );
    // The same nonce again: it won't have it. The picture goes on.
    let events = camera.says(401, &[&digest("b")], "").unwrap();
    assert_eq!(
        events,
        [Event::KeepAliveRefused(PlayError::Talk(
            TalkError::NotAllowed
        ))]
    );
    assert_eq!(camera.passes(Duration::from_secs(300)), "");
    assert_eq!(camera.streams(0, b"v"), [Event::Rtp(0, b"v".to_vec())]);
    assert!(!format!("{:?}", camera.player).contains("cAnary"));
}

#[test]
fn redirects_stay_on_the_host() {
    let mut camera = Camera::dialled();
    camera.hears();
    assert_eq!(
        camera.says(302, &["Location: rtsp://10.0.0.9:554/new"], ""),
        Ok(vec![])
    );
    assert_eq!(url_of(&camera.hears()), "rtsp://10.0.0.9:554/new");
    let refused = camera
        .says(302, &["Location: rtsp://10.9.9.9:554/new"], "")
        .unwrap_err();
    assert!(refused.to_string().contains("10.9.9.9"), "{refused}");
    // In a circle.
    let mut camera = Camera::dialled();
    for _ in 0..2 {
        assert_eq!(
            camera.says(302, &["Location: rtsp://10.0.0.9:554/new"], ""),
            Ok(vec![])
        );
    }
    assert!(
        camera
            .says(302, &["Location: rtsp://10.0.0.9:554/new"], "")
            .is_err()
    );
}

#[test]
fn a_silent_camera_is_given_up_and_faults_are_named() {
    let mut camera = Camera::dialled();
    assert_eq!(camera.player.next_tick(), Some(camera.now + ANSWER));
    let late = camera.player.tick(camera.now + ANSWER);
    assert_eq!(late, Err(PlayError::Late("DESCRIBE")));
    let mut camera = Camera::dialled();
    assert_eq!(
        camera.says(401, &["WWW-Authenticate: Basic realm=\"x\""], ""),
        Err(TalkError::LoginWanted.into())
    );
    let mut camera = Camera::dialled();
    let nothing = Sdp::parse(b"v=0\r\n");
    let now = camera.now;
    assert_eq!(
        camera.player.set_up(&nothing, &[0], now),
        Err(PlayError::NoVideo)
    );
}

/// Cameras that count their answers in their own way.
#[test]
fn answers_by_another_number_are_taken_where_no_other_comes() {
    let mut camera = Camera::dialled();
    camera.cseq = 70;
    assert_eq!(camera.says(200, &[], SDP), Ok(vec![]));
    assert_eq!(camera.player.next_tick(), Some(camera.now + SILENCE));
    camera.passes(SILENCE);
    let events = camera.sends(b"").unwrap();
    let [Event::Described(sdp)] = &events[..] else {
        panic!("{events:?}");
    };
    camera.player.set_up(sdp, &[0], camera.now).unwrap();
    assert_eq!(camera.says(200, &["Session: 1"], ""), Ok(vec![]));
    assert!(camera.passes(SILENCE).ends_with("Session: 1\r\n\r\n"));
    // Media meanwhile is no other answer.
    assert_eq!(camera.says(200, &[], ""), Ok(vec![]));
    camera.now += SILENCE / 2;
    assert_eq!(camera.streams(0, b"v"), [Event::Rtp(0, b"v".to_vec())]);
    camera.passes(SILENCE / 2);
    assert_eq!(camera.sends(b""), Ok(vec![Event::Playing]));
    // And what it permits is learnt all the same.
    assert!(camera.passes(FIRST_OPTIONS).starts_with("OPTIONS"));
    assert_eq!(camera.says(200, &["Public: GET_PARAMETER"], ""), Ok(vec![]));
    camera.passes(SILENCE);
    let next = camera.passes(Duration::from_secs(29));
    assert!(next.starts_with("GET_PARAMETER"), "{next}");
}

/// Descriptions without a length: a silence ends them, or the connection.
#[test]
fn a_description_without_a_length_ends_with_a_silence_or_the_connection() {
    let answer =
        format!("RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\n\r\n{SDP}");
    let (head, rest) = answer.split_at(answer.len() - 20);
    for closes in [false, true] {
        let mut camera = Camera::dialled();
        camera.hears();
        assert_eq!(camera.sends(head.as_bytes()), Ok(vec![]));
        camera.passes(SILENCE / 2);
        assert_eq!(camera.sends(rest.as_bytes()), Ok(vec![]));
        camera.passes(SILENCE / 2);
        assert_eq!(camera.sends(b""), Ok(vec![]), "it is not silent yet");
        if closes {
            camera.player.ended(camera.now).unwrap();
        } else {
            camera.passes(SILENCE / 2);
        }
        let events = camera.sends(b"").unwrap();
        let [Event::Described(sdp)] = &events[..] else {
            panic!("{events:?}");
        };
        camera.player.set_up(sdp, &[0], camera.now).unwrap();
        camera.player.connected_anew(camera.now);
        assert_eq!(camera.hears().matches("SETUP").count(), 1);
    }
}

/// Closed behind the challenge, unsaid: the login went into the old connection.
#[test]
fn a_login_that_went_into_a_closed_connection_is_sent_again_once() {
    let login = Credentials::new("admin", Secret::new("cAnary-77")).unwrap();
    let mut camera = Camera::by("rtsp://10.0.0.9:554/live", Some(login));
    camera.hears();
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"a\"";
    camera.says(401, &[challenge], "").unwrap();
    assert!(camera.hears().contains("Authorization"));
    assert_eq!(camera.player.ended(camera.now), Ok(()));
    camera.player.connected_anew(camera.now);
    let again = camera.hears();
    assert!(again.starts_with("DESCRIBE") && again.contains("Authorization"));
    assert!(again.contains("CSeq: 3\r\n"), "{again}");
    // One that closes behind the login itself may mean that it is wrong.
    let closed = Err(TalkError::Closed.into());
    assert_eq!(camera.player.ended(camera.now), closed);
    // And nothing else is sent twice.
    let mut camera = Camera::dialled();
    assert_eq!(
        camera.player.ended(camera.now),
        Err(TalkError::Closed.into())
    );
}
