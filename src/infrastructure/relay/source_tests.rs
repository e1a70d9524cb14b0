use std::fmt::Write as _;

use base64::Engine as _;

use super::*;

/// Main, and nothing that forbids B-frames; the same, with fields.
const MAIN: &[u8] = &[0x67, 77, 0, 31, 0xf4, 5, 1, 0x6c, 0x80];
const FIELDS: &[u8] = &[0x67, 77, 0, 31, 0xf4, 5, 1, 0x62, 0x40];
/// Baseline, of the same form.
const BASELINE: &[u8] = &[0x67, 66, 0xc0, 31, 0xf4, 5, 1, 0x6c, 0x80];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const KEY: &[u8] = &[0x65, 0b1001_1000, 1, 1, 0x80];
const DELTA: &[u8] = &[0x41, 0b1001_1000, 2, 2, 0x80];
const BIDIRECTIONAL: &[u8] = &[0x01, 0b1001_1100, 3, 3, 0x80];
const SILENCE: Duration = Duration::from_secs(8);
const PICTURE: Duration = Duration::from_millis(40);

fn sdp(codec: &str, sps: Option<&[u8]>) -> String {
    let base64 = |unit: &[u8]| base64::engine::general_purpose::STANDARD.encode(unit);
    let sets = sps.map(|sps| {
        let (sps, pps) = (base64(sps), base64(PPS));
        format!("a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sps},{pps}\r\n")
    });
    let sets = sets.unwrap_or_default();
    format!(
        "v=0\r\nm=audio 0 RTP/AVP 8\r\na=control:sound\r\nm=video 0 RTP/AVP 96\r\n\
         a=rtpmap:96 {codec}/90000\r\n{sets}a=control:picture\r\n"
    )
}

struct Camera {
    source: Source,
    now: Instant,
    answers: u32,
    packets: u16,
    pictures: u32,
    heard: Vec<Heard>,
}

impl Camera {
    fn dialled(login: bool) -> Self {
        let now = Instant::now();
        let login = login.then(|| Credentials::new("admin", Secret::new("canary-pw")).unwrap());
        let at = "10.0.0.9:554".parse().unwrap();
        let url = Secret::url("rtsp://10.0.0.9/live");
        let source = Source::new(at, &url, login, ("00".to_owned(), 7), SILENCE, now).unwrap();
        Self {
            source,
            now,
            answers: 0,
            packets: 0,
            pictures: 0,
            heard: Vec::new(),
        }
    }

    fn asked(&mut self) -> String {
        String::from_utf8_lossy(&self.source.take_output()).into_owned()
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.source.feed(bytes, self.now, &mut self.heard)
    }

    fn says(&mut self, status: u16, headers: &str, body: &str) -> Result<(), Stop> {
        self.answers += 1;
        let mut text = format!(
            "RTSP/1.0 {status} Words\r\nCSeq: {}\r\n{headers}",
            self.answers
        );
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        self.feed(text.as_bytes())
    }

    fn plays(sdp: &str) -> Self {
        let mut camera = Self::dialled(false);
        camera.says(200, "", sdp).unwrap();
        camera.says(200, "Session: 12\r\n", "").unwrap();
        camera.says(200, "", "").unwrap();
        assert_eq!(camera.took(), [Heard::Open { login_taken: false }]);
        camera
    }

    /// The next picture, a while later.
    fn shows(&mut self, units: &[&[u8]]) -> Result<(), Stop> {
        self.now += PICTURE;
        for (at, unit) in units.iter().enumerate() {
            let packet = rtp::write(&rtp::Packet {
                marker: at + 1 == units.len(),
                payload_type: 96,
                sequence: self.packets,
                timestamp: self.pictures * 3600,
                ssrc: 9,
                payload: unit,
            });
            let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
            let frame = [&[b'$', 0], &length[..], &packet].concat();
            self.packets += 1;
            self.feed(&frame)?;
        }
        self.pictures += 1;
        Ok(())
    }

    fn took(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// Whether it was found fit, and its pictures.
    fn pictures(&mut self) -> (bool, usize) {
        let heard = self.took();
        let fit = heard.contains(&Heard::Fit);
        let pictures = heard.iter().filter(|h| matches!(h, Heard::Picture { .. }));
        (fit, pictures.count())
    }
}

fn refused(stop: Result<(), Stop>) -> (Cause, String) {
    match stop.unwrap_err() {
        Stop::Refused(why) => (why.cause, why.detail),
        Stop::Misunderstood(why) => panic!("misunderstood: {why:?}"),
        Stop::Unfit(why) => panic!("unfit: {why}"),
    }
}

fn unfit(stop: Result<(), Stop>) -> String {
    match stop.unwrap_err() {
        Stop::Unfit(why) => why,
        Stop::Refused(why) | Stop::Misunderstood(why) => panic!("refused: {why:?}"),
    }
}

#[test]
fn the_picture_alone_is_played_and_what_forbids_b_frames_fits_at_once() {
    let mut camera = Camera::dialled(false);
    assert!(camera.asked().starts_with("DESCRIBE "));
    camera.says(200, "", &sdp("H264", Some(BASELINE))).unwrap();
    let asked = camera.asked();
    assert!(
        asked.starts_with("SETUP ") && asked.contains("/picture "),
        "{asked}"
    );
    camera.says(200, "Session: 12\r\n", "").unwrap();
    assert!(camera.asked().starts_with("PLAY "));
    camera.says(200, "", "").unwrap();
    camera.took();
    camera.shows(&[KEY]).unwrap();
    camera.shows(&[DELTA]).unwrap();
    // A marker is not trusted at first, so a picture comes with the next one.
    assert_eq!(camera.pictures(), (true, 1));
    camera.shows(&[DELTA]).unwrap();
    assert_eq!(camera.pictures(), (false, 1));
    camera.source.tear_down();
    assert!(camera.asked().starts_with("TEARDOWN "));
}

#[test]
fn where_the_sets_leave_it_open_the_slices_of_the_first_second_decide() {
    let mut camera = Camera::plays(&sdp("H264", Some(MAIN)));
    camera.shows(&[KEY]).unwrap();
    let mut shown = 0;
    let fit_after = loop {
        camera.shows(&[DELTA]).unwrap();
        shown += 1;
        let (fit, pictures) = camera.pictures();
        assert_eq!(pictures, 1, "none is held back meanwhile");
        if fit {
            break shown;
        }
    };
    assert!((20..=30).contains(&fit_after), "{fit_after}");

    let mut camera = Camera::plays(&sdp("H264", Some(MAIN)));
    camera.shows(&[KEY]).unwrap();
    let why = unfit(camera.shows(&[BIDIRECTIONAL]));
    assert!(why.contains("B-frames"), "{why}");
    assert!(!camera.took().contains(&Heard::Fit));
}

#[test]
fn what_can_not_go_out_as_it_is_is_unfit() {
    for (codec, sps, word) in [
        ("H265", None, "H265 and not H.264"),
        ("JPEG", None, "JPEG and not H.264"),
        ("H264", Some(FIELDS), "interlaced"),
    ] {
        let mut camera = Camera::dialled(false);
        let why = unfit(camera.says(200, "", &sdp(codec, sps)));
        assert!(why.contains(word), "{why}");
    }
    // Sets that come in the stream.
    let mut camera = Camera::plays(&sdp("H264", None));
    camera.shows(&[FIELDS, PPS, KEY]).unwrap();
    assert!(unfit(camera.shows(&[DELTA])).contains("interlaced"));
    // And later ones.
    let mut camera = Camera::plays(&sdp("H264", Some(BASELINE)));
    camera.shows(&[KEY]).unwrap();
    camera.shows(&[DELTA]).unwrap();
    assert!(camera.pictures().0);
    assert!(unfit(camera.shows(&[BIDIRECTIONAL])).contains("B-frames"));
    // Packets out of order on purpose.
    let mut camera = Camera::plays(&sdp("H264", None));
    assert!(unfit(camera.shows(&[&[25, 0, 0, 0, 1]])).contains("mode 2"));
}

#[test]
fn a_camera_that_refuses_is_told_by_what_it_says() {
    for (status, cause, word) in [
        (404, Cause::SourceStream, "no such stream"),
        (453, Cause::SourceStream, "viewer place"),
        (403, Cause::SourceStream, "denied"),
        (500, Cause::SourceStream, "RTSP 500 Words"),
    ] {
        let mut camera = Camera::dialled(false);
        let (found, words) = refused(camera.says(status, "", ""));
        assert_eq!(found, cause, "{status}");
        assert!(words.contains(word), "{words}");
    }
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
    let mut camera = Camera::dialled(false);
    let (cause, words) = refused(camera.says(401, challenge, ""));
    assert_eq!(cause, Cause::SourceLogin, "{words}");
    let mut camera = Camera::dialled(true);
    camera.says(401, challenge, "").unwrap();
    assert!(camera.asked().contains("Authorization: Digest"));
    let (cause, _) = refused(camera.says(401, challenge, ""));
    assert_eq!(cause, Cause::SourceAuth);
}

#[test]
fn a_login_that_was_taken_is_said() {
    let mut camera = Camera::dialled(true);
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
    camera.says(401, challenge, "").unwrap();
    camera.says(200, "", &sdp("H264", Some(BASELINE))).unwrap();
    camera.says(200, "Session: 12\r\n", "").unwrap();
    camera.says(200, "", "").unwrap();
    assert_eq!(camera.took(), [Heard::Open { login_taken: true }]);
}

#[test]
fn one_that_falls_silent_is_given_up_and_one_that_sends_is_reported_to() {
    let mut camera = Camera::plays(&sdp("H264", Some(BASELINE)));
    camera.asked();
    camera.shows(&[KEY]).unwrap();
    camera.now += REPORT_EVERY;
    camera.source.tick(camera.now, &mut camera.heard).unwrap();
    let output = camera.source.take_output();
    let at = output.iter().position(|byte| *byte == b'$').unwrap();
    let report = &output[at..];
    assert_eq!(report[..6], [b'$', 1, 0, 32, 0x81, 201]);
    camera.now += SILENCE;
    let (cause, words) = refused(camera.source.tick(camera.now, &mut camera.heard));
    assert_eq!(cause, Cause::SourceStream);
    assert!(words.contains("stopped sending"), "{words}");

    let mut heard = Vec::new();
    let closed = camera.source.ended(camera.now, &mut heard);
    assert_eq!(refused(closed).1, "the source closed the connection");
}

fn misunderstood(stop: Result<(), Stop>) -> String {
    match stop.unwrap_err() {
        Stop::Misunderstood(why) => why.detail,
        other => panic!("{other:?}"),
    }
}

/// Some send nothing until their sound is set up, too.
#[test]
fn one_that_plays_and_sends_nothing_is_asked_for_its_sound_as_well() {
    let mut camera = Camera::plays(&sdp("H264", Some(BASELINE)));
    camera.asked();
    let mute = MUTE.min(SILENCE / 2);
    assert!(!camera.source.wants_anew(camera.now));
    camera.now += mute;
    assert!(camera.source.wants_anew(camera.now));
    camera.source.tear_down();
    assert!(camera.asked().contains("TEARDOWN"));
    camera.source.begin_anew(camera.now).unwrap();
    camera.source.connected_anew(camera.now);
    camera.answers = 0;
    assert!(camera.asked().starts_with("DESCRIBE"));
    camera.says(200, "", &sdp("H264", Some(BASELINE))).unwrap();
    assert!(camera.asked().contains("/picture RTSP"));
    camera.says(200, "Session: 13\r\n", "").unwrap();
    assert!(camera.asked().contains("/sound RTSP"));
    camera.says(200, "", "").unwrap();
    assert!(camera.asked().starts_with("PLAY"));
    camera.says(200, "", "").unwrap();
    assert_eq!(camera.took(), [], "that it plays is told once");
    // The sound is dropped, and is no sign of a picture.
    let sound = rtp::write(&rtp::Packet {
        marker: false,
        payload_type: 8,
        sequence: 1,
        timestamp: 1,
        ssrc: 2,
        payload: &[0; 160],
    });
    let length = u16::try_from(sound.len()).unwrap().to_be_bytes();
    camera
        .feed(&[&[b'$', 2], &length[..], &sound].concat())
        .unwrap();
    assert_eq!(camera.took(), []);
    let mut other = Vec::new();
    std::mem::swap(&mut other, &mut camera.heard);
    camera.now += SILENCE;
    assert!(!camera.source.wants_anew(camera.now), "once");
    let ticked = camera.source.tick(camera.now, &mut other);
    assert!(misunderstood(ticked).contains("sends nothing"));
}

/// What FFmpeg may fare better with is told as that.
#[test]
fn a_camera_that_is_not_understood_may_be_by_another() {
    let mut heard = Vec::new();
    let mut late = Camera::dialled(false);
    late.now += Duration::from_secs(5);
    let late = late.source.tick(late.now, &mut heard);
    assert!(misunderstood(late).contains("does not answer"));
    let mut closed = Camera::dialled(false);
    let closed = closed.source.ended(closed.now, &mut heard);
    assert!(misunderstood(closed).contains("before it played"));
    let mut garbled = Camera::dialled(false);
    assert!(misunderstood(garbled.feed(b"SSH-2.0-x\r\n")).contains("SSH"));
}
