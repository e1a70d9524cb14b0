//! FFmpeg's output as a child's: the classifier reads its words, its progress comes on stdout.

use std::sync::Arc;

use super::diagnosis::{Classifier, End, Signal};
use super::source::only_input;
use crate::domain::engine::{HandOver, Launch};
use crate::domain::stream::{Cause, Diagnosis, MediaUrl};
use crate::infrastructure::child::process::{OutputJudge, RunSignal};
use crate::infrastructure::child::progress::ProgressParser;
use crate::util::foreign::shown;
use crate::util::secret::Secret;

/// Longest host that is written down, in characters.
const MAX_HOST: usize = 100;

/// Judges one run's output.
#[derive(Debug)]
pub struct Judge {
    classifier: Classifier,
    progress: ProgressParser,
    ends_by_nature: bool,
    whip_hosts: Arc<[String]>,
    /// The WHIP URL: the last argument.
    endpoint: Option<Secret>,
    /// It sends as DTLS client.
    dtls_active: bool,
    /// The source speaks RTSP, and its URL has no login: none is sent, so none can be refused.
    without_login: bool,
}

impl Judge {
    /// For a run of this command line. A session that its endpoint has put on another host is ended
    /// there only if that is one of `whip_hosts`.
    pub fn new(launch: &Launch, whip_hosts: Arc<[String]>) -> Self {
        Self {
            classifier: Classifier::for_argv(&launch.argv),
            progress: ProgressParser::new(),
            ends_by_nature: launch.ends_by_nature,
            whip_hosts,
            endpoint: launch.argv.last().cloned(),
            dtls_active: launch.dtls_active,
            without_login: only_input(&launch.argv)
                .and_then(|input| MediaUrl::parse("sourceUrl", input.expose()).ok())
                .is_some_and(|url| url.scheme().starts_with("rtsp") && url.credentials().is_none()),
        }
    }

    /// A refusal counts by what was sent.
    fn of_what_was_sent(&self, why: Diagnosis) -> Diagnosis {
        if why.cause != Cause::SourceAuth || !self.without_login {
            return why;
        }
        Diagnosis {
            cause: Cause::SourceLogin,
            detail:
                "the camera gives the stream to those who log in only, and the URL has no login: \
                     put user and password into it"
                    .to_owned(),
        }
    }
}

impl OutputJudge for Judge {
    fn stdout(&mut self, bytes: &[u8], tell: &mut dyn FnMut(RunSignal)) {
        self.progress
            .feed(bytes, |block| tell(RunSignal::Progress(block)));
    }

    fn line(&mut self, line: &str) -> Option<RunSignal> {
        Some(match self.classifier.line(line)? {
            Signal::SessionUp(took) => RunSignal::SessionUp(took),
            // As server FFmpeg waits for five seconds itself.
            Signal::Handshaking if !self.dtls_active => return None,
            Signal::Handshaking => RunSignal::Handshaking,
            Signal::Failing(why) if self.dtls_active && self.classifier.refuses_role() => {
                RunSignal::HandOver(Box::new(HandOver {
                    facts: None,
                    why: format!("FFmpeg as DTLS server, because as client {}", why.detail),
                }))
            }
            Signal::Failing(why) => RunSignal::Failing(self.of_what_was_sent(why)),
        })
    }

    fn asked_to_end(&mut self) {
        self.classifier.freeze();
    }

    fn verdict(&self, code: Option<i32>, signal: Option<i32>, asked: bool) -> Option<Diagnosis> {
        let why = self.classifier.finish(&End {
            code,
            signal,
            ends_by_nature: self.ends_by_nature,
            asked_to_end: asked,
        })?;
        Some(self.of_what_was_sent(why))
    }

    fn session_left(&self) -> Option<Secret> {
        if let Some(session) = self.classifier.session_left() {
            return Some(session);
        }
        let elsewhere = self.classifier.session_left_elsewhere()?;
        let allowed = |host: &String| host.eq_ignore_ascii_case(&elsewhere.host);
        if self.whip_hosts.iter().any(allowed) {
            return Some(elsewhere.url);
        }
        log::warn!(
            host = shown(&elsewhere.host, MAX_HOST);
            "a WHIP session stays open until the server's own timeout, and the next try may find its \
             place taken: it is on a host that is neither whipUrl's nor in lss.ffmpeg.whip_hosts"
        );
        None
    }

    fn busy(&self) -> Option<Secret> {
        self.classifier
            .is_busy()
            .then(|| self.endpoint.clone())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::engine::{EngineKind, Stdin};
    use crate::domain::stream::{TaskMode, TaskSender};

    fn sending() -> Launch {
        Launch {
            engine: EngineKind::Ffmpeg,
            mode: TaskMode::Copy,
            sender: TaskSender::Ffmpeg,
            mode_reason: String::new(),
            audio: crate::domain::stream::TaskAudio::Encoded,
            argv: vec![Secret::new("https://whip.example/whip/canary-4f1c")],
            stdin: Stdin::Empty,
            ends_by_nature: false,
            whip_bearer: None,
            dtls_active: false,
        }
    }

    fn left(location: &str, hosts: &[&str]) -> Option<String> {
        let launch = sending();
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut judge = Judge::new(&launch, hosts.into());
        judge.line(&format!(
            "[WHIP muxer @ 0x5] [verbose] ICE STUN ok, state=7, url=udp://127.0.0.1:45279, \
             location={location}, username=tEDy:4f56fa0a, res=-11B, elapsed=95.04ms"
        ));
        judge.session_left().map(|url| url.expose().to_owned())
    }

    #[test]
    fn a_login_that_was_not_sent_is_not_refused() {
        // By 9.0.2, at a camera that was not asked first.
        let said = "[in#0 @ 0x564611e4fd40] [error] method OPTIONS failed: 401 (Unauthorized)";
        let open = "[in#0 @ 0x564611e4fa00] [error] Error opening input: Server returned 401 \
                    Unauthorized (authorization failed)";
        for (source, cause) in [
            ("rtsps://10.0.0.9/cam", Cause::SourceLogin),
            ("rtsp://10.0.0.9/cam", Cause::SourceLogin),
            ("rtsps://admin:x@10.0.0.9/cam", Cause::SourceAuth),
            ("rtmp://10.0.0.9/cam", Cause::SourceAuth),
        ] {
            let argv = [
                "ffmpeg",
                "-i",
                source,
                "https://whip.example/whip/canary-4f1c",
            ];
            let launch = Launch {
                argv: argv.map(Secret::new).to_vec(),
                ..sending()
            };
            let mut judge = Judge::new(&launch, Arc::from([]));
            let early = [said, open].map(|line| judge.line(line));
            let why = judge.verdict(Some(8), None, false).unwrap();
            assert_eq!(why.cause, cause, "{source}: {why:?}");
            for said in early.into_iter().flatten() {
                assert!(matches!(said, RunSignal::Failing(early) if early.cause == cause));
            }
        }
    }

    const WORDS: &str = include_str!("../../../tests/fixtures/ffmpeg/words-9.0.2.json");

    /// What lss is told of a recorded run whose case begins so.
    fn told(case: &str, dtls_active: bool) -> Vec<RunSignal> {
        let runs: serde_json::Value = serde_json::from_str(WORDS).unwrap();
        let is_it = |run: &&serde_json::Value| run["case"].as_str().unwrap().starts_with(case);
        let run = runs.as_array().unwrap().iter().find(is_it).unwrap();
        let launch = Launch {
            dtls_active,
            ..sending()
        };
        let mut judge = Judge::new(&launch, Arc::from([]));
        let lines = run["stderr"].as_array().unwrap().iter();
        lines
            .filter_map(|line| judge.line(line.as_str().unwrap()))
            .collect()
    }

    #[test]
    fn an_endpoint_that_would_not_have_a_dtls_client_is_for_another_way() {
        let words = |why| format!("FFmpeg as DTLS server, because as client {why}");
        for (case, waits, why) in [
            (
                "D active, refused with 400",
                false,
                "the WHIP endpoint refused the offer (400)",
            ),
            (
                "P 406",
                false,
                "the WHIP endpoint can't answer with a session description (406): is whipUrl right?",
            ),
            (
                "P 415",
                false,
                "the WHIP endpoint takes no session descriptions (415): is whipUrl right?",
            ),
            ("P 422", false, "the WHIP endpoint refused the offer (422)"),
            (
                "D active, peer is client, too",
                true,
                "the DTLS handshake with the WHIP server failed",
            ),
        ] {
            let mut told = told(case, true);
            let Some(RunSignal::HandOver(over)) = told.pop() else {
                panic!("{case}: {told:?}");
            };
            assert_eq!((over.why, over.facts), (words(why), None), "{case}");
            let before = if waits {
                &[RunSignal::Handshaking][..]
            } else {
                &[]
            };
            assert_eq!(told, before, "{case}");
        }
        // What is refused to anybody, or as server already, is a failure.
        for (case, dtls_active) in [
            ("P 401", true),
            ("P 404", true),
            ("P 409", true),
            ("P 503", true),
            ("P UDP refused", true),
            ("P 400", false),
            ("P 422", false),
            ("D active, peer is client, too", false),
        ] {
            let told = told(case, dtls_active);
            assert!(matches!(told.last(), Some(RunSignal::Failing(_))), "{case}");
            assert!(!told.contains(&RunSignal::Handshaking), "{case}");
        }
    }

    #[test]
    fn whose_word_is_due_is_told_of_a_dtls_client_alone() {
        let silent = "D active, silent peer";
        assert_eq!(told(silent, true), [RunSignal::Handshaking]);
        assert_eq!(told(silent, false), []);
        let well = told("D active, as it should be", true);
        assert!(
            matches!(
                well[..],
                [RunSignal::Handshaking, RunSignal::SessionUp(Some(_))]
            ),
            "{well:?}"
        );
    }

    #[test]
    fn a_session_on_another_host_is_ended_where_the_operator_knows_that_host() {
        let known = ["sfu-2.example", "10.0.0.7"];
        for (location, hosts, ours) in [
            ("https://whip.example/res/1", &[][..], true),
            ("https://sfu-2.example/res/1", &[], false),
            ("https://SFU-2.example:8443/res/1", &known, true),
            ("http://10.0.0.7/res/1", &known, true),
            ("https://sfu-3.example/res/1", &known, false),
            ("http://169.254.169.254/latest", &known, false),
            // Without the https that whipUrl has.
            ("http://whip.example/res/1", &known, false),
            ("http://whip.example/res/1", &["whip.example"], true),
            ("ftp://sfu-2.example/res/1", &known, false),
            // Whom that asks depends on who reads it.
            ("https://evil.example?@whip.example/res/1", &[], false),
        ] {
            assert_eq!(left(location, hosts).is_some(), ours, "{location}");
        }
    }
}
