//! The RTSP client against a strict stand-in server over real sockets: logins, faults, deadlines.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use lss::domain::camera::Credentials;
    use lss::domain::discovery::{RtspGateway as _, StreamDescription};
    use lss::domain::error::{ErrorCode, Fault};
    use lss::domain::gateway::LoginEnd;
    use lss::infrastructure::http::doors::Doors;
    use lss::infrastructure::rtsp::RtspClient;
    use lss::infrastructure::rtsp::lend::Lent;
    use lss::util::secret::Secret;

    use super::support::digest_server::{GateRules, Offer};
    use super::support::rtsp_server::{BASELINE_SDP, Quirk, RtspServer, Rules};

    /// Long enough for a busy machine; no test waits for it.
    const LONG: Duration = Duration::from_secs(20);
    /// For tests that wait for it.
    const SHORT: Duration = Duration::from_millis(400);

    fn login(password: &str) -> Credentials {
        Credentials::new("admin", Secret::new(password)).unwrap()
    }

    fn right() -> Credentials {
        login(&GateRules::default().password)
    }

    fn gated(gate: GateRules) -> Rules {
        Rules {
            gate: Some(gate),
            ..Rules::default()
        }
    }

    fn quirk(quirk: Quirk) -> RtspServer {
        RtspServer::start(Rules {
            quirk,
            ..Rules::default()
        })
    }

    fn describe(
        server: &RtspServer,
        path: &str,
        login: Option<&Credentials>,
        timeout: Duration,
    ) -> Result<StreamDescription, Fault> {
        let url = Secret::url(server.url(path));
        RtspClient::default().describe(server.addr, &url, login, timeout)
    }

    fn code(result: Result<StreamDescription, Fault>) -> (ErrorCode, String) {
        let fault = result.unwrap_err();
        (fault.code, fault.message)
    }

    #[test]
    fn an_open_camera_describes_itself() {
        let server = RtspServer::start(Rules::default());
        let seen = describe(&server, "/main", None, LONG).unwrap();
        assert_eq!(seen.server.as_deref(), Some("Rtsp Server/3.0"));
        assert_eq!(seen.tracks.len(), 2);
        let video = &seen.tracks[0];
        assert_eq!(
            (video.media.as_str(), video.size),
            ("video", Some((640, 360)))
        );
        assert_eq!(video.h264_profile, Some([0x42, 0xc0, 30]));
        assert_eq!(video.reorders, Some(false));
        assert_eq!(seen.tracks[1].codec.as_deref(), Some("PCMA"));
        // A login is not sent to a camera that asks for none.
        describe(&server, "/main", Some(&right()), LONG).unwrap();
        let log = server.seen();
        assert_eq!(log.with_login, [false, false]);
        assert!(log.violations.is_empty(), "{:?}", log.violations);
    }

    #[test]
    fn every_kind_of_digest_and_basic() {
        use Offer::{Basic, Md5, Md5Sess, Sha256, Sha256Sess};
        for (offers, qop, opaque, one_header) in [
            (vec![Md5], false, None, false),
            (vec![Md5, Basic], false, None, false),
            (vec![Basic, Md5], true, Some("o=1"), false),
            (vec![Md5Sess], true, None, false),
            (vec![Md5Sess], false, None, false),
            (vec![Sha256], true, Some(""), false),
            (vec![Md5, Sha256, Basic], false, None, true),
            (vec![Sha256Sess], true, None, false),
            (vec![Basic], false, None, false),
        ] {
            let what = format!("{offers:?} qop {qop}");
            let server = RtspServer::start(gated(GateRules {
                offers,
                qop,
                opaque: opaque.map(str::to_owned),
                one_header,
                bound_to_connection: true,
                nonce_uses: Some(1),
                lock_after: Some(1),
                ..GateRules::default()
            }));
            let seen = describe(&server, "/main", Some(&right()), LONG);
            assert!(seen.is_ok(), "{what}: {seen:?}");
            let log = server.seen();
            assert_eq!(log.with_login, [false, true], "{what}");
            assert_eq!((log.refused, log.connections), (0, 1), "{what}");
            assert!(log.violations.is_empty(), "{what}: {:?}", log.violations);
        }
    }

    #[test]
    fn a_wrong_password_is_tried_once() {
        for offers in [vec![Offer::Md5, Offer::Basic], vec![Offer::Basic]] {
            let server = RtspServer::start(gated(GateRules {
                offers,
                qop: false,
                ..GateRules::default()
            }));
            let wrong = login("cAnary-wrong");
            let (code, words) = code(describe(&server, "/main", Some(&wrong), LONG));
            assert_eq!(code, ErrorCode::Unauthorized, "{words}");
            assert!(!words.contains("cAnary"), "{words}");
            let log = server.seen();
            assert_eq!(log.refused, 1);
            assert_eq!(log.with_login, [false, true]);
        }
    }

    #[test]
    fn a_camera_that_wants_a_login_and_gets_none() {
        let server = RtspServer::start(gated(GateRules::default()));
        let (code, words) = code(describe(&server, "/main", None, LONG));
        assert_eq!(code, ErrorCode::Unauthorized, "{words}");
        assert_eq!(server.seen().with_login, [false]);
    }

    #[test]
    fn stale_nonces_are_renewed_once() {
        // Every nonce is too old at once: says so, and does not.
        for (says_stale, wanted, requests) in [
            (true, ErrorCode::InternalError, 3),
            (false, ErrorCode::Unauthorized, 2),
        ] {
            let server = RtspServer::start(gated(GateRules {
                nonce_uses: Some(0),
                says_stale,
                qop: false,
                ..GateRules::default()
            }));
            let (code, words) = code(describe(&server, "/main", Some(&right()), LONG));
            assert_eq!(code, wanted, "{words}");
            assert_eq!(server.seen().requests.len(), requests);
        }
    }

    #[test]
    fn unknown_paths_before_and_behind_the_login() {
        for path_before_login in [true, false] {
            let server = RtspServer::start(Rules {
                path_before_login,
                ..gated(GateRules::default())
            });
            let (code, words) = code(describe(&server, "/no/such", Some(&right()), LONG));
            assert_eq!(code, ErrorCode::NotFound, "{words}");
            assert_eq!(
                server.seen().with_login.iter().any(|l| *l),
                !path_before_login
            );
        }
    }

    #[test]
    fn what_other_answers_mean() {
        for (status, wanted) in [
            (403, ErrorCode::AccessDenied),
            (453, ErrorCode::NodeBusy),
            (503, ErrorCode::NodeBusy),
            (500, ErrorCode::InternalError),
            (454, ErrorCode::InternalError),
        ] {
            let server = RtspServer::start(Rules {
                status,
                ..Rules::default()
            });
            let (code, words) = code(describe(&server, "/main", None, LONG));
            assert_eq!(code, wanted, "{words}");
        }
        let server = RtspServer::start(Rules {
            streams: [("/main".to_owned(), "v=0\r\n".to_owned())].into(),
            ..Rules::default()
        });
        let (code, words) = code(describe(&server, "/main", None, LONG));
        assert_eq!(code, ErrorCode::InternalError);
        assert!(words.contains("no media"), "{words}");
    }

    #[test]
    fn urls_of_other_kinds_are_refused_before_anything_is_sent() {
        let server = RtspServer::start(Rules::default());
        for url in ["http://h/", "rtmps://h/x", "main"] {
            let fault = RtspClient::default()
                .describe(server.addr, &Secret::unlisted(url), None, LONG)
                .unwrap_err();
            assert_eq!(fault.code, ErrorCode::ValidationFailed);
        }
        assert_eq!(server.seen().connections, 0);
        // User info stays out of the request; the host may be any.
        let url = Secret::url("rtsp://admin:cAnary-p@ss@camera.example/main");
        RtspClient::default()
            .describe(server.addr, &url, None, LONG)
            .unwrap();
        assert_eq!(
            server.seen().requests,
            ["DESCRIBE rtsp://camera.example/main"]
        );
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let sent_on = |to: &str| {
            quirk(Quirk::Redirects {
                path: "/old".to_owned(),
                to: to.to_owned(),
            })
        };
        let elsewhere = RtspServer::start(Rules::default());
        for to in [
            "rtsp://10.1.2.3/main".to_owned(),
            elsewhere.url("/main"),
            String::new(),
            "http://127.0.0.1/".to_owned(),
        ] {
            let server = sent_on(&to);
            let (code, words) = code(describe(&server, "/old", Some(&right()), LONG));
            assert_eq!(code, ErrorCode::InternalError, "{to}: {words}");
            assert_eq!(server.seen().requests.len(), 1);
        }
        assert_eq!(elsewhere.seen().connections, 0);

        // The port is known only now, so the name stands for it.
        let server = sent_on("rtsp://camera.example/main");
        let url = Secret::url("rtsp://camera.example/old");
        assert!(
            RtspClient::default()
                .describe(server.addr, &url, None, LONG)
                .is_ok()
        );
        let round = sent_on("rtsp://camera.example/old/again");
        let url = Secret::url("rtsp://camera.example/old");
        let (code, _) = code(RtspClient::default().describe(round.addr, &url, None, LONG));
        assert_eq!(code, ErrorCode::InternalError);
        assert_eq!(round.seen().requests.len(), 2, "not for ever");
    }

    #[test]
    fn a_challenge_that_closes_the_connection() {
        let server = RtspServer::start(Rules {
            quirk: Quirk::ClosesBehindChallenge { tells: true },
            ..gated(GateRules::default())
        });
        describe(&server, "/main", Some(&right()), LONG).unwrap();
        let log = server.seen();
        assert_eq!((log.connections, log.refused), (2, 0));
        assert_eq!(log.with_login, [false, true]);
    }

    #[test]
    fn a_challenge_that_closes_without_a_word_costs_one_login_at_most() {
        let server = RtspServer::start(Rules {
            quirk: Quirk::ClosesBehindChallenge { tells: false },
            ..gated(GateRules::default())
        });
        let result = describe(&server, "/main", Some(&right()), LONG);
        // Whether the close was seen before the login was sent is the network's to decide.
        if let Err(fault) = result {
            assert_eq!(fault.code, ErrorCode::Unavailable, "{fault}");
        }
        let log = server.seen();
        assert!(log.with_login.iter().filter(|l| **l).count() <= 1);
    }

    #[test]
    fn media_and_questions_before_the_answer() {
        let mut before = b"$\x00\x00\x05media$\x01\x00\x00".to_vec();
        before.extend(b"OPTIONS rtsp://127.0.0.1/ RTSP/1.0\r\nCSeq: 77\r\n\r\n");
        before.extend(b"RTSP/1.0 200 OK\r\nCSeq: 4711\r\n\r\n");
        let server = quirk(Quirk::Before(before));
        let seen = describe(&server, "/main", None, LONG).unwrap();
        assert_eq!(seen.tracks.len(), 2);
    }

    #[test]
    fn a_description_without_a_length() {
        for closes in [true, false] {
            let server = quirk(Quirk::NoLength { closes });
            let began = Instant::now();
            let seen = describe(&server, "/main", None, LONG).unwrap();
            assert_eq!(seen.tracks.len(), 2);
            assert!(began.elapsed() < LONG / 2);
        }
    }

    /// Ends by its deadline, with a word on what was wrong.
    fn ends_in_time(server: &RtspServer, wanted: ErrorCode, word: &str) {
        let began = Instant::now();
        let (code, words) = code(describe(server, "/main", Some(&right()), SHORT));
        let took = began.elapsed();
        assert!(took < SHORT + Duration::from_secs(10), "{took:?}");
        assert_eq!(code, wanted, "{words}");
        assert!(words.contains(word), "{words}");
        let began = Instant::now();
        let fault = RtspClient::default()
            .speaks(server.addr, SHORT)
            .unwrap_err();
        assert!(began.elapsed() < SHORT + Duration::from_secs(10));
        assert_eq!(fault.code, wanted, "{fault}");
    }

    #[test]
    fn silence() {
        ends_in_time(&quirk(Quirk::Silent), ErrorCode::Unavailable, "in time");
    }

    #[test]
    fn a_drip_does_not_stretch_the_deadline() {
        let drip = Quirk::Drip(Duration::from_millis(50));
        ends_in_time(&quirk(drip), ErrorCode::Unavailable, "in time");
    }

    #[test]
    fn half_an_answer() {
        ends_in_time(
            &quirk(Quirk::HalfClosed),
            ErrorCode::InternalError,
            "in the middle",
        );
    }

    #[test]
    fn a_connection_closed_at_once() {
        ends_in_time(&quirk(Quirk::HangsUp), ErrorCode::Unavailable, "closed");
    }

    #[test]
    fn other_protocols_and_garbage() {
        for (bytes, word) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
                "HTTP",
            ),
            (b"\x00\xff\xfe garbage", "not RTSP"),
            (b"HELLO", "not RTSP"),
            (b"RTSP/1.0 ok OK\r\n\r\n", "no number"),
            (b"RTSP/1.0 200 OK\r\nContent-Length: 70000\r\n\r\n", "65536"),
        ] {
            ends_in_time(
                &quirk(Quirk::Says(bytes.to_vec())),
                ErrorCode::InternalError,
                word,
            );
        }
        let banner = Quirk::Greets(b"SSH-2.0-dropbear_2020.81\r\n".to_vec());
        ends_in_time(&quirk(banner), ErrorCode::InternalError, "SSH");
    }

    #[test]
    fn endless_heads_are_cut_off() {
        let mut head = b"RTSP/1.0 200 OK\r\n".to_vec();
        head.resize(100_000, b'a');
        ends_in_time(&quirk(Quirk::Says(head)), ErrorCode::InternalError, "8192");
    }

    #[test]
    fn nobody_there() {
        let free: SocketAddr = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let fault = RtspClient::default().speaks(free, LONG).unwrap_err();
        assert_eq!(fault.code, ErrorCode::Unavailable);
        assert!(fault.message.contains("nothing listens"), "{fault}");
        let fault = RtspClient::default()
            .speaks(free, Duration::ZERO)
            .unwrap_err();
        assert_eq!(fault.code, ErrorCode::Unavailable);
    }

    #[test]
    fn who_speaks_rtsp() {
        let open = RtspServer::start(Rules::default());
        assert_eq!(RtspClient::default().speaks(open.addr, LONG), Ok(()));
        let closed = RtspServer::start(Rules {
            gate_on_options: true,
            ..gated(GateRules::default())
        });
        assert_eq!(RtspClient::default().speaks(closed.addr, LONG), Ok(()));
        assert_eq!(closed.seen().with_login, [false], "never with a login");
        let airplay = RtspServer::start(Rules {
            public: "ANNOUNCE, SETUP, RECORD, PAUSE, FLUSH, TEARDOWN, OPTIONS".to_owned(),
            server: Some("AirTunes/220.68".to_owned()),
            ..Rules::default()
        });
        let fault = RtspClient::default()
            .speaks(airplay.addr, LONG)
            .unwrap_err();
        assert_eq!(fault.code, ErrorCode::InternalError);
        assert!(fault.message.contains("AirPlay"), "{fault}");
    }

    // ---- What is lent to FFmpeg -----------------------------------------------------------------

    /// Reads one message; its head.
    fn read_head(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0_u8; 1];
        while !bytes.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        String::from_utf8(bytes).unwrap()
    }

    fn read_bytes(stream: &mut TcpStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Answers one request of ours with a status and headers; the request.
    fn answer(stream: &mut TcpStream, status: u16, headers: &str, body: &str) -> String {
        let request = read_head(stream);
        let cseq = request
            .lines()
            .find_map(|line| line.strip_prefix("CSeq: "))
            .unwrap();
        let length = body.len();
        let text = format!(
            "RTSP/1.0 {status} Word\r\nCSeq: {cseq}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        request
    }

    #[test]
    fn what_is_lent_holds_no_login_and_leads_nowhere_else() {
        let camera = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = camera.local_addr().unwrap();
        let third = TcpListener::bind("127.0.0.1:0").unwrap();
        third.set_nonblocking(true).unwrap();
        let elsewhere = format!("Location: rtsp://{}/x\r\n", third.local_addr().unwrap());
        let digest = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n\"\r\n";
        let played = std::thread::spawn(move || {
            let (mut line, _) = camera.accept().unwrap();
            answer(&mut line, 401, digest, "");
            let asked = answer(
                &mut line,
                200,
                &format!("Content-Type: application/sdp\r\nContent-Base: rtsp://{at}/main/\r\n"),
                BASELINE_SDP,
            );
            assert!(asked.contains("Authorization: Digest"), "{asked}");
            let setup = answer(
                &mut line,
                200,
                "Session: 7;timeout=60\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n",
                "",
            );
            assert!(
                setup.starts_with(&format!("SETUP rtsp://{at}/main/trackID=1 RTSP/1.0")),
                "{setup}"
            );
            assert!(setup.contains("Authorization: Digest"), "{setup}");
            assert!(setup.contains("interleaved=0-1"), "{setup}");
            line.write_all(b"$\x00\x00\x03abc").unwrap();
            let play = answer(&mut line, 302, &elsewhere, "");
            assert!(
                play.starts_with("PLAY ") && play.contains("Session: 7"),
                "{play}"
            );
            read_head(&mut line)
        });
        let until = Instant::now() + LONG;
        let url = Secret::url(format!("rtsp://{at}/main"));
        let lent = Lent::open(at, &Doors::default(), &url, Some(&right()), until)
            .map_err(|(_, fault)| fault)
            .unwrap();
        assert_eq!(lent.login(), LoginEnd::Taken);
        let shown = lent.url().unwrap().expose().to_owned();
        assert!(!shown.contains('@') && shown.starts_with("rtsp://127.0.0.1:"));
        let (door, _) = shown["rtsp://".len()..].split_once('/').unwrap();
        let door: SocketAddr = door.parse().unwrap();
        let (_here, there) = UnixStream::pair().unwrap();
        let lender = std::thread::spawn(move || lent.serve(there, until));

        // Somebody else on this machine does not know the path.
        let mut stranger = TcpStream::connect(door).unwrap();
        stranger
            .write_all(b"DESCRIBE rtsp://127.0.0.1/main RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            .unwrap();
        assert_eq!(stranger.read(&mut [0; 1]).unwrap(), 0);

        let mut borrower = TcpStream::connect(door).unwrap();
        let ask = |mut stream: &TcpStream, line: &str, more: &str| {
            let text = format!("{line} RTSP/1.0\r\nCSeq: 9\r\n{more}\r\n");
            stream.write_all(text.as_bytes()).unwrap();
        };
        ask(&borrower, &format!("OPTIONS {shown}"), "");
        ask(&borrower, &format!("DESCRIBE {shown}"), "");
        let mut heard = borrower.try_clone().unwrap();
        assert!(read_head(&mut heard).starts_with("RTSP/1.0 200"));
        let described = read_head(&mut heard);
        assert!(
            described.contains(&format!("Content-Base: rtsp://{at}/main")),
            "{described}"
        );
        read_bytes(&mut heard, BASELINE_SDP.len());
        ask(
            &borrower,
            &format!("SETUP rtsp://{at}/main/trackID=1"),
            "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        );
        let set_up = read_head(&mut heard);
        assert!(set_up.contains("Session: 7;timeout=60"), "{set_up}");
        assert_eq!(read_bytes(&mut heard, 7), b"$\x00\x00\x03abc");
        // Reports of the borrower are not the camera's business.
        borrower.write_all(b"$\x01\x00\x02xy").unwrap();
        ask(
            &borrower,
            &format!("PLAY rtsp://{at}/main/"),
            "Session: 7\r\n",
        );
        let played_at = read_head(&mut heard);
        assert!(played_at.starts_with("RTSP/1.0 502"), "{played_at}");
        assert!(
            played_at.contains("CSeq: 9") && !played_at.contains("Location"),
            "{played_at}"
        );
        borrower
            .write_all(b"TEARDOWN x RTSP/1.0\r\nCSeq: 11\r\nSession: 7\r\n\r\n")
            .unwrap();
        assert_eq!(lender.join().unwrap(), LoginEnd::Taken);
        assert!(played.join().unwrap().starts_with("TEARDOWN "));
        assert!(third.accept().is_err(), "nobody went there");
    }

    #[test]
    fn a_stream_that_is_refused_or_redirected_is_not_lent() {
        let until = || Instant::now() + LONG;
        let server = RtspServer::start(gated(GateRules::default()));
        let url = Secret::url(server.url("/main"));
        let wrong = login("wrong");
        let refused = Lent::open(server.addr, &Doors::default(), &url, Some(&wrong), until());
        assert!(matches!(refused, Err((LoginEnd::Refused, _))));
        let stranger = Lent::open(server.addr, &Doors::default(), &url, None, until());
        assert!(matches!(stranger, Err((LoginEnd::Unknown, _))));
        let lent = Lent::open(
            server.addr,
            &Doors::default(),
            &url,
            Some(&right()),
            until(),
        );
        assert!(lent.is_ok_and(|lent| lent.login() == LoginEnd::Taken));

        let server = quirk(Quirk::Redirects {
            path: "/main".to_owned(),
            to: "rtsp://127.0.0.2/main".to_owned(),
        });
        let url = Secret::url(server.url("/main"));
        match Lent::open(
            server.addr,
            &Doors::default(),
            &url,
            Some(&right()),
            until(),
        ) {
            Err((LoginEnd::Unknown, fault)) => {
                assert!(fault.message.contains("not followed"), "{fault}");
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }

    /// It never comes, or it ends: nobody waits for it.
    #[test]
    fn a_borrower_that_does_not_come_is_not_waited_for() {
        let server = RtspServer::start(Rules::default());
        let url = Secret::url(server.url("/main"));
        let until = Instant::now() + LONG;
        let lent = Lent::open(server.addr, &Doors::default(), &url, None, until)
            .map_err(|(_, fault)| fault)
            .unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        let lender = std::thread::spawn(move || lent.serve(there, until));
        drop(here);
        assert_eq!(lender.join().unwrap(), LoginEnd::Unknown);
        assert!(Instant::now() < until);
    }
}
