//! `lss relay` asks sources what they are: the process itself, against a strict stand-in.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::process::{Command, Output, Stdio};
    use std::time::Duration;

    use lss::domain::stream::{AudioFacts, Cause, Challenge, SourceFacts, SourceLook};
    use lss::infrastructure::relay::event;
    use lss::infrastructure::relay::job::Job;
    use lss::util::secret::Secret;
    use lss::util::url::encode_userinfo;

    use super::support::digest_server::{GateRules, Offer};
    use super::support::rtsp_server::{BASELINE_SDP, Quirk, RtspServer, Rules};

    /// Long enough for a busy machine; no test waits for it.
    const LONG: Duration = Duration::from_secs(20);

    fn relay(job: &[u8], started_by_lss: bool) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lss"));
        command
            .arg("relay")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if started_by_lss {
            command.env("LSS_CHILD_OF_NODE", "");
        }
        let mut child = command.spawn().unwrap();
        // One that leaves at once has closed its end.
        let _ = child.stdin.take().unwrap().write_all(job);
        child.wait_with_output().unwrap()
    }

    fn look_within(url: &str, as_stranger: bool, within: Duration) -> SourceLook {
        let job = Job::Look {
            url: Secret::unlisted(url),
            as_stranger,
            within,
        };
        let output = relay(job.write().expose().as_bytes(), true);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{text}");
        event::read(line.as_bytes()).unwrap_or_else(|| panic!("no event: {text}"))
    }

    fn look(url: &str) -> SourceLook {
        look_within(url, false, LONG)
    }

    fn facts(look: SourceLook) -> SourceFacts {
        match look {
            SourceLook::Known(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(look: SourceLook) -> (Cause, String) {
        match look {
            SourceLook::Refused { why, .. } => (why.cause, why.detail),
            other => panic!("{other:?}"),
        }
    }

    fn gated(offers: &[Offer]) -> RtspServer {
        RtspServer::start(Rules {
            gate: Some(GateRules {
                offers: offers.to_vec(),
                ..GateRules::default()
            }),
            ..Rules::default()
        })
    }

    /// With the login in front of the host.
    fn with_login(server: &RtspServer, password: &str) -> String {
        let login = format!("admin:{}", encode_userinfo(password));
        server.url("/main").replace("//", &format!("//{login}@"))
    }

    fn right(server: &RtspServer) -> String {
        with_login(server, &GateRules::default().password)
    }

    #[track_caller]
    fn well_behaved(server: &RtspServer) {
        let seen = server.seen();
        assert_eq!(seen.violations, Vec::<String>::new());
        assert_eq!(seen.sessions, 0, "a place of the camera's stays taken");
    }

    #[test]
    fn by_hand_it_says_that_it_is_not_for_hands() {
        let output = relay(b"", false);
        assert_eq!(output.status.code(), Some(2));
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains("started by lss itself"), "{words}");
        assert!(output.stdout.is_empty());
        for no_job in [b"".as_slice(), b"{}", b"[1", &vec![0xff; 100_000]] {
            let output = relay(no_job, true);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(output.stdout.is_empty());
        }
    }

    #[test]
    fn picture_and_sound_are_described_and_the_place_is_given_back() {
        let server = RtspServer::start(Rules::default());
        let facts = facts(look(&server.url("/main")));
        assert_eq!(facts.video.codec.as_deref(), Some("H264"));
        assert_eq!(facts.video.h264_profile, Some([66, 192, 30]));
        assert_eq!(facts.video.size, Some((640, 360)));
        assert_eq!(facts.video.reorders, Some(false));
        let sound = AudioFacts {
            codec: Some("PCMA".to_owned()),
            clock_rate: Some(8000),
            channels: Some(1),
            refused: None,
            silent: false,
        };
        assert_eq!(facts.audio, Some(sound));
        assert_eq!(
            (facts.challenge, facts.login_taken),
            (Challenge::None, false)
        );
        assert_eq!(facts.moved_to, None);
        let methods: Vec<String> = server.seen().requests;
        let ends = ["/main", "/trackID=1", "/trackID=2", "/main/"];
        let names = ["DESCRIBE", "SETUP", "SETUP", "TEARDOWN"];
        assert_eq!(methods.len(), 4, "{methods:?}");
        for (at, request) in methods.iter().enumerate() {
            assert!(request.starts_with(names[at]), "{methods:?}");
            assert!(request.ends_with(ends[at]), "{methods:?}");
        }
        well_behaved(&server);
    }

    #[test]
    fn without_sound_nothing_is_set_up() {
        let (silent, _) = BASELINE_SDP.split_once("m=audio").unwrap();
        let mut rules = Rules::default();
        rules.streams.insert("/main".to_owned(), silent.to_owned());
        let server = RtspServer::start(rules);
        assert_eq!(facts(look(&server.url("/main"))).audio, None);
        assert_eq!(server.seen().requests.len(), 1);
        well_behaved(&server);
    }

    #[test]
    fn a_sound_that_is_refused_is_told_from_a_picture_that_is() {
        for status in [461, 404, 500] {
            let mut rules = Rules::default();
            rules.setups.insert("trackID=2".to_owned(), status);
            let server = RtspServer::start(rules);
            let sound = facts(look(&server.url("/main"))).audio.unwrap();
            assert_eq!(sound.refused, Some(status));
            well_behaved(&server);
        }
        // A second sound counts, too: FFmpeg would set it up.
        let mut rules = Rules::default();
        let two = format!("{BASELINE_SDP}m=audio 0 RTP/AVP 0\r\na=control:trackID=3\r\n");
        rules.streams.insert("/main".to_owned(), two);
        rules.setups.insert("trackID=3".to_owned(), 461);
        let server = RtspServer::start(rules);
        let sound = facts(look(&server.url("/main"))).audio.unwrap();
        assert_eq!(
            (sound.codec.as_deref(), sound.refused),
            (Some("PCMA"), Some(461))
        );
        well_behaved(&server);

        for (status, words) in [
            (453, "no free viewer place (RTSP 453)"),
            (461, "does not send over TCP (RTSP 461)"),
            (454, "SETUP of its picture with RTSP 454"),
        ] {
            let mut rules = Rules::default();
            rules.setups.insert("trackID=1".to_owned(), status);
            let server = RtspServer::start(rules);
            let (cause, said) = refusal(look(&server.url("/main")));
            assert_eq!(cause, Cause::SourceStream);
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn parts_are_looked_for_elsewhere_where_the_camera_names_a_wrong_place() {
        // Without a scheme; with two; of the camera's own network; a path that it does not know.
        for base in [
            "10.0.0.9:554/main/",
            "rtsp://rtsp://10.0.0.9/main/",
            "rtsp://192.168.0.7/main",
            "/main/",
            "rtsp://127.0.0.1/wrong/",
        ] {
            let mut rules = Rules {
                base: Some(base.to_owned()),
                ..Rules::default()
            };
            rules.setups.insert("wrong/trackID=1".to_owned(), 404);
            rules.setups.insert("wrong/trackID=2".to_owned(), 454);
            let server = RtspServer::start(rules);
            let sound = facts(look(&server.url("/main"))).audio.unwrap();
            assert_eq!(sound.refused, None, "{base}");
            let seen = server.seen().requests;
            let at = |end: &str| {
                seen.iter()
                    .any(|r| r.starts_with("SETUP") && r.ends_with(end))
            };
            assert!(at("/main/trackID=1") && at("/main/trackID=2"), "{seen:?}");
            assert_eq!(server.seen().sessions, 0, "{base}: a place stays taken");
        }
    }

    #[test]
    fn which_login_is_wanted_and_whether_ffmpeg_has_it() {
        use Offer::{Basic, Md5, Sha256};
        for (offers, challenge) in [
            (vec![Md5], Challenge::Digest),
            (vec![Basic], Challenge::Basic),
            (vec![Basic, Md5], Challenge::Digest),
            (vec![Sha256, Md5], Challenge::Digest),
            (vec![Md5, Sha256], Challenge::DigestSha256),
            (vec![Sha256], Challenge::DigestSha256),
            (vec![Sha256, Basic], Challenge::DigestSha256),
        ] {
            let server = gated(&offers);
            let facts = facts(look(&right(&server)));
            assert_eq!(facts.challenge, challenge, "{offers:?}");
            assert!(facts.login_taken, "{offers:?}");
            let ffmpeg_cant = challenge == Challenge::DigestSha256;
            assert_eq!(facts.why_not_ffmpeg().is_some(), ffmpeg_cant, "{offers:?}");
            assert_eq!(server.seen().refused, 0);
            well_behaved(&server);
        }
    }

    #[test]
    fn a_login_counts_as_refused_only_if_it_was_sent() {
        for offers in [[Offer::Md5], [Offer::Sha256], [Offer::Basic]] {
            let server = gated(&offers);
            let (cause, words) = refusal(look(&server.url("/main")));
            assert_eq!(cause, Cause::SourceLogin, "{words}");
            assert!(
                words.contains("asks for a login and the URL has none"),
                "{words}"
            );
            assert_eq!(server.seen().with_login, [false]);

            let server = gated(&offers);
            let (cause, words) = refusal(look(&with_login(&server, "cAnary-wrong")));
            assert_eq!(cause, Cause::SourceAuth, "{words}");
            assert!(!words.contains("cAnary"), "{words}");
            assert_eq!(server.seen().refused, 1, "once, and no more");
        }
    }

    #[test]
    fn a_stranger_learns_what_is_asked_for_and_sends_no_login() {
        for (offer, challenge) in [
            (Offer::Sha256, Challenge::DigestSha256),
            (Offer::Md5, Challenge::Digest),
        ] {
            let server = gated(&[offer]);
            let facts = facts(look_within(&right(&server), true, LONG));
            assert_eq!((facts.challenge, facts.login_taken), (challenge, false));
            assert_eq!(server.seen().with_login, [false]);
        }
    }

    #[test]
    fn redirects_are_followed_on_the_same_host_whatever_the_port() {
        let goal = RtspServer::start(Rules {
            gate: Some(GateRules::default()),
            ..Rules::default()
        });
        let sends_to = |to: String| {
            RtspServer::start(Rules {
                quirk: Quirk::Redirects {
                    path: "main".to_owned(),
                    to,
                },
                ..Rules::default()
            })
        };
        let password = encode_userinfo(&GateRules::default().password);
        for to in [
            goal.url("/main"),
            goal.url("/main").replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        ] {
            let server = sends_to(to);
            let url = server
                .url("/main")
                .replace("//", &format!("//admin:{password}@"));
            let facts = facts(look(&url));
            assert!(facts.login_taken);
            assert_eq!(facts.moved_to.unwrap().expose(), goal.url("/main"));
            assert_eq!(
                server.seen().with_login,
                [false],
                "nobody asked for it there"
            );
        }
        assert_eq!(goal.seen().refused, 0);

        for (to, named) in [
            ("rtsp://10.9.8.7:8554/x", "10.9.8.7:8554"),
            ("rtsp://other.example/x", "other.example"),
            ("http://127.0.0.1/x", "http://127.0.0.1/x"),
            ("", "which is not its host"),
        ] {
            let server = sends_to(to.to_owned());
            let (cause, words) = refusal(look(&server.url("/main")));
            assert_eq!(cause, Cause::SourceStream);
            assert!(words.contains("sends elsewhere (RTSP 302)"), "{words}");
            assert!(words.contains(named), "{words}");
        }
        let endless = sends_to("rtsp://127.0.0.1:1/main".to_owned());
        let (cause, _) = refusal(look(&endless.url("/main")));
        assert_eq!(cause, Cause::SourceUnreachable, "nobody is on that port");
    }

    #[test]
    fn what_can_not_be_had_is_told_from_what_is_not_understood() {
        let unused = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let (cause, words) = refusal(look(&format!("rtsp://{unused}/x")));
        assert_eq!(cause, Cause::SourceUnreachable);
        assert!(words.contains("nothing listens"), "{words}");

        let silent = RtspServer::start(Rules {
            quirk: Quirk::Silent,
            ..Rules::default()
        });
        let within = Duration::from_millis(400);
        let (cause, words) = refusal(look_within(&silent.url("/main"), false, within));
        assert_eq!(cause, Cause::SourceUnreachable);
        assert!(words.contains("does not answer"), "{words}");

        let quirk = |quirk| {
            RtspServer::start(Rules {
                quirk,
                ..Rules::default()
            })
        };
        let web = quirk(Quirk::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
        let (cause, words) = refusal(look(&web.url("/main")));
        assert_eq!(cause, Cause::SourceStream);
        assert!(words.contains("an HTTP server"), "{words}");

        let server = RtspServer::start(Rules::default());
        let (cause, words) = refusal(look(&server.url("/none")));
        assert_eq!(cause, Cause::SourceStream);
        assert!(words.contains("404"), "{words}");
        let (cause, words) = refusal(look("rtsp://no-such-host.invalid/x"));
        assert_eq!(cause, Cause::SourceUnreachable);
        assert!(words.contains("can't be resolved"), "{words}");

        for odd in [
            quirk(Quirk::HangsUp),
            quirk(Quirk::Says(b"RTSP/1.0 x y\r\n\r\n".to_vec())),
        ] {
            let seen = look(&odd.url("/main"));
            assert!(matches!(seen, SourceLook::Unclear(_)), "{seen:?}");
        }
        let seen = look("rtsps://127.0.0.1/x");
        assert!(matches!(seen, SourceLook::Unclear(_)), "{seen:?}");
    }
}
