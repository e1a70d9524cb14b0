//! `lss relay` that carries: the process itself, where the camera or the endpoint would not have it. Pictures
//! that arrive are `tests/e2e`'s to see.

#[cfg(test)]
mod support;

#[cfg(test)]
#[cfg(feature = "relay")]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use lss::domain::stream::{Cause, Diagnosis};
    use lss::infrastructure::relay::job::{Carry, Job};
    use lss::infrastructure::relay::report::{self, Report};
    use lss::util::secret::Secret;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::support::digest_server::GateRules;
    use super::support::rtsp_server::{Quirk, RtspServer, Rules};

    /// Long enough for a busy machine; no test waits for it.
    const LONG: Duration = Duration::from_secs(20);

    fn started(url: &str, whip_url: &str) -> Child {
        let job = Job::Carry(Carry {
            url: Secret::unlisted(url),
            whip_url: Secret::unlisted(whip_url),
            bearer: None,
            whip_hosts: Vec::new(),
            patience: LONG,
            silence: LONG,
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_lss"))
            .arg("relay")
            .env_clear()
            .env("LSS_CHILD_OF_NODE", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(job.write().expose().as_bytes()).unwrap();
        child
    }

    /// All that it says until it ends, which it does in order.
    fn says(mut child: Child) -> Vec<Report> {
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = output.lines().map(Result::unwrap);
        let reports = lines.map(|line| report::read(line.as_bytes()).expect(&line));
        let reports = reports.collect();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        reports
    }

    fn why(child: Child) -> Diagnosis {
        match &says(child)[..] {
            [
                Report::Failed {
                    why, own: false, ..
                },
            ] => why.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn never() -> String {
        "http://127.0.0.1:1/whip/x".to_owned()
    }

    #[test]
    fn a_camera_that_refuses_is_told_of_and_asked_once() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = format!("rtsp://{}/main", nobody.local_addr().unwrap());
        drop(nobody);
        assert_eq!(
            why(started(&gone, &never())).cause,
            Cause::SourceUnreachable
        );

        let server = RtspServer::start(Rules::default());
        let found = why(started(&server.url("/none"), &never()));
        assert_eq!(found.cause, Cause::SourceStream);
        assert!(found.detail.contains("no such stream"), "{found:?}");

        let server = RtspServer::start(Rules {
            gate: Some(GateRules::default()),
            ..Rules::default()
        });
        let wrong = server.url("/main").replace("//", "//admin:wrong@");
        assert_eq!(why(started(&wrong, &never())).cause, Cause::SourceAuth);
        assert_eq!(server.seen().refused, 1, "a wrong password is sent once");
        let none = why(started(&server.url("/main"), &never()));
        assert_eq!(none.cause, Cause::SourceLogin);
    }

    /// Cameras that the look before puts up with. The stand-in answers PLAY with 501.
    #[test]
    fn odd_answers_are_put_up_with_as_by_a_look() {
        let gated = RtspServer::start(Rules {
            gate: Some(GateRules {
                password: "plain-77".to_owned(),
                ..GateRules::default()
            }),
            quirk: Quirk::ClosesBehindChallenge { tells: false },
            ..Rules::default()
        });
        let url = gated.url("/main").replace("//", "//admin:plain-77@");
        let endless = RtspServer::start(Rules {
            quirk: Quirk::NoLength { closes: false },
            ..Rules::default()
        });
        for (server, url) in [(&gated, url), (&endless, endless.url("/main"))] {
            let found = why(started(&url, &never()));
            assert!(found.detail.contains("PLAY with RTSP 501"), "{found:?}");
            assert_eq!(server.seen().violations, [""; 0]);
        }
        assert_eq!(gated.seen().connections, 2);
        assert_eq!(gated.seen().refused, 0);
        // Closed behind the description, too.
        let closing = RtspServer::start(Rules {
            quirk: Quirk::NoLength { closes: true },
            ..Rules::default()
        });
        let said = says(started(&closing.url("/main"), &never()));
        assert!(
            matches!(&said[..], [Report::Failed { own: true, .. }]),
            "FFmpeg may fare better: {said:?}"
        );
        let asked = closing.seen().requests;
        assert!(asked[1].starts_with("SETUP"), "{asked:?}");
    }

    #[test]
    fn what_is_no_h264_is_unfit_and_no_endpoint_is_asked() {
        let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:t\r\n";
        let server = RtspServer::start(Rules {
            streams: [("/main".to_owned(), sdp.to_owned())].into(),
            ..Rules::default()
        });
        let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
        let whip = format!("http://{}/whip/x", endpoint.local_addr().unwrap());
        let said = says(started(&server.url("/main"), &whip));
        let [Report::Unfit(why)] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(why.contains("H265"), "{why}");
        assert_eq!(server.seen().sessions, 0);
        endpoint.set_nonblocking(true).unwrap();
        assert!(endpoint.accept().is_err(), "the endpoint was asked");
    }

    #[test]
    fn asked_to_end_it_ends_without_a_word_whatever_the_camera_does() {
        let server = RtspServer::start(Rules {
            quirk: Quirk::Silent,
            ..Rules::default()
        });
        let child = started(&server.url("/main"), &never());
        while server.seen().requests.is_empty() && server.seen().connections == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        // One that has not got that far ends by the signal itself.
        while std::fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|text| text.contains("SigBlk:\t0000000000000000"))
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        kill(pid, Signal::SIGTERM).unwrap();
        assert_eq!(says(child), []);
    }
}
