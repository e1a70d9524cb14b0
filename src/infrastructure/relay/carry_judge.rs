//! The daemon's end of a relay: reads the child's reports, and says what they mean for its task.

use std::sync::Arc;
use std::time::Duration;

use super::event::Reader;
use super::job::Job;
use super::report::{self, Report};
use crate::domain::engine::{Launch, Stdin};
use crate::domain::stream::{Cause, Diagnosis, Progress};
use crate::infrastructure::child::process::{OutputJudge, RunSignal};
use crate::infrastructure::whip::place::Places;
use crate::util::secret::Secret;

/// Judges one relay.
#[derive(Debug)]
pub struct CarryJudge {
    reader: Reader,
    state: State,
}

#[derive(Debug)]
struct State {
    /// Where its sessions may be.
    places: Option<Places>,
    /// A session that is not known to be ended.
    session: Option<Secret>,
    /// The endpoint has answered, and no media path is up yet.
    connecting: bool,
    failed: Option<(Diagnosis, Option<Duration>)>,
    handed_over: bool,
    asked: bool,
}

impl CarryJudge {
    /// For what that job is.
    pub fn new(launch: &Launch) -> Self {
        let job = match &launch.stdin {
            Stdin::Job(words) => Job::read(words.expose().as_bytes()),
            _ => None,
        };
        let places = match job {
            Some(Job::Carry(job)) => Places::of(job.whip_url.expose(), Arc::from(job.whip_hosts)),
            _ => None,
        };
        Self {
            reader: Reader::default(),
            state: State {
                places,
                session: None,
                connecting: false,
                failed: None,
                handed_over: false,
                asked: false,
            },
        }
    }
}

impl State {
    fn heard(&mut self, report: Report, tell: &mut dyn FnMut(RunSignal)) {
        match report {
            Report::Open { login_taken: true } => tell(RunSignal::LoginTaken),
            Report::Open { login_taken: false } => {}
            Report::KeyframeWanted => {
                if !self.asked && self.failed.is_none() {
                    tell(RunSignal::KeyframeWanted);
                }
            }
            Report::Unfit(why) => {
                self.handed_over = true;
                tell(RunSignal::Unfit(why));
            }
            Report::Made(session) => {
                // What is made by the end is made in vain.
                self.connecting = !self.asked;
                let ours = self
                    .places
                    .as_ref()
                    .is_some_and(|p| p.allow(session.expose()).is_ok());
                self.session = Some(session).filter(|_| ours);
            }
            Report::Elsewhere(host) => {
                self.connecting = !self.asked;
                log::warn!(
                    host = host;
                    "a WHIP session may stay open until the server's own timeout, and the next try \
                     may find its place taken: it is on a host that is neither whipUrl's nor in \
                     lss.ffmpeg.whip_hosts"
                );
            }
            Report::Ended => self.session = None,
            Report::Up(took) => {
                self.connecting = false;
                tell(RunSignal::SessionUp(Some(took)));
            }
            Report::Lost(why) => {
                if !self.asked {
                    tell(RunSignal::SessionLost(Diagnosis {
                        cause: Cause::WhipStream,
                        detail: why,
                    }));
                }
            }
            Report::Progress(block) => tell(RunSignal::Progress(Progress {
                has_video: true,
                frame: block.frames,
                fps: Some(block.fps),
                bitrate_kbps: Some(block.kbps),
                speed: None,
                drop_frames: block.left_out,
                dup_frames: 0,
                out_time_ms: u64::try_from(block.out_time.as_millis()).unwrap_or(u64::MAX),
                uplink: block.uplink,
            })),
            Report::Failed {
                why,
                retry_after,
                own,
            } => {
                if self.asked || self.failed.is_some() {
                    return;
                }
                self.failed = Some((why.clone(), retry_after));
                tell(if own {
                    RunSignal::FailingAlone(why)
                } else {
                    RunSignal::Failing(why)
                });
            }
        }
    }
}

impl OutputJudge for CarryJudge {
    fn stdout(&mut self, bytes: &[u8], tell: &mut dyn FnMut(RunSignal)) {
        let state = &mut self.state;
        self.reader
            .feed(bytes, report::read, |report| state.heard(report, tell));
    }

    /// Words are for the log.
    fn line(&mut self, _: &str) -> Option<RunSignal> {
        None
    }

    fn asked_to_end(&mut self) {
        self.state.asked = true;
    }

    fn verdict(&self, code: Option<i32>, signal: Option<i32>, asked: bool) -> Option<Diagnosis> {
        if let Some((why, _)) = &self.state.failed {
            return Some(why.clone());
        }
        if self.state.handed_over {
            return None;
        }
        if asked {
            // Of a start that took too long, that is why.
            return self.state.connecting.then(|| Diagnosis {
                cause: Cause::WhipUnreachable,
                detail:
                    "the WHIP server answered, but no media path had come up by then (ICE/DTLS)"
                        .to_owned(),
            });
        }
        let how = match (code, signal) {
            (_, Some(9)) => "was killed from outside (signal 9): out of memory?".to_owned(),
            (_, Some(signal)) => format!("was ended by signal {signal}"),
            (Some(code), None) => format!("ended (code {code}) and did not say why"),
            (None, None) => "ended and did not say why".to_owned(),
        };
        Some(Diagnosis {
            cause: Cause::EngineCrash,
            detail: format!("the relay {how}"),
        })
    }

    fn session_left(&self) -> Option<Secret> {
        self.state.session.clone()
    }

    fn busy(&self) -> Option<Secret> {
        None
    }

    fn retry_after(&self) -> Option<Duration> {
        self.state.failed.as_ref().and_then(|(_, wait)| *wait)
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::Carry;
    use super::super::report::{Block, write};
    use super::*;
    use crate::domain::engine::EngineKind;
    use crate::domain::stream::{TaskAudio, TaskMode, TaskSender};

    fn judge() -> CarryJudge {
        let job = Job::Carry(Carry {
            url: Secret::url("rtsp://10.0.0.9/x"),
            whip_url: Secret::url("https://whip.example/whip/canary-77aa"),
            bearer: None,
            whip_hosts: vec!["sfu.example".to_owned()],
            patience: Duration::from_secs(10),
            silence: Duration::from_secs(8),
        });
        CarryJudge::new(&Launch {
            engine: EngineKind::Relay,
            mode: TaskMode::Relay,
            sender: TaskSender::Lss,
            mode_reason: String::new(),
            audio: TaskAudio::None,
            argv: Vec::new(),
            stdin: Stdin::Job(job.write()),
            ends_by_nature: false,
            dtls_active: false,
            whip_bearer: None,
        })
    }

    fn hear(judge: &mut CarryJudge, report: &Report) -> Vec<RunSignal> {
        let mut said = Vec::new();
        for part in write(report).as_bytes().chunks(5) {
            judge.stdout(part, &mut |next| said.push(next));
        }
        said
    }

    fn failed(own: bool) -> Report {
        Report::Failed {
            why: Diagnosis {
                cause: Cause::WhipUnreachable,
                detail: "asked too often".to_owned(),
            },
            retry_after: Some(Duration::from_secs(37)),
            own,
        }
    }

    #[test]
    fn a_session_is_left_until_its_end_is_said_and_only_where_it_may_be() {
        let mut judge = judge();
        for (url, ours) in [
            ("https://whip.example/s/1", true),
            ("https://sfu.example/s/1", true),
            ("http://whip.example/s/1", false),
            ("https://evil.example/s/1", false),
            ("nonsense", false),
        ] {
            hear(&mut judge, &Report::Made(Secret::url(url)));
            let left = judge.session_left();
            assert_eq!(left.is_some(), ours, "{url}");
        }
        hear(
            &mut judge,
            &Report::Made(Secret::url("https://whip.example/s/2")),
        );
        assert!(judge.session_left().is_some());
        hear(&mut judge, &Report::Ended);
        assert_eq!(judge.session_left(), None);
    }

    #[test]
    fn what_a_relay_says_becomes_what_the_task_hears() {
        let mut judge = judge();
        assert_eq!(
            hear(&mut judge, &Report::Open { login_taken: true }),
            [RunSignal::LoginTaken]
        );
        assert_eq!(hear(&mut judge, &Report::Open { login_taken: false }), []);
        let took = Duration::from_millis(170);
        assert_eq!(
            hear(&mut judge, &Report::Up(took)),
            [RunSignal::SessionUp(Some(took))]
        );
        let block = Block {
            frames: 50,
            ..Block::default()
        };
        let said = hear(&mut judge, &Report::Progress(block));
        assert!(matches!(&said[..], [RunSignal::Progress(p)] if p.frame == 50 && p.has_video));
        let said = hear(&mut judge, &Report::Lost("silence".to_owned()));
        assert!(matches!(&said[..], [RunSignal::SessionLost(why)] if why.detail == "silence"));
    }

    #[test]
    fn a_start_that_is_ended_while_no_path_is_up_has_that_for_its_reason() {
        let made = Report::Made(Secret::url("https://whip.example/s/1"));
        for elsewhere in [false, true] {
            let mut judge = judge();
            assert_eq!(judge.verdict(Some(0), None, true), None);
            let elsewhere = elsewhere.then(|| Report::Elsewhere("sfu.example".to_owned()));
            hear(&mut judge, elsewhere.as_ref().unwrap_or(&made));
            let verdict = judge.verdict(Some(0), None, true).unwrap();
            assert_eq!(verdict.cause, Cause::WhipUnreachable);
            hear(&mut judge, &Report::Up(Duration::from_secs(1)));
            assert_eq!(judge.verdict(Some(0), None, true), None);
        }
        // One that comes about while it ends was never waited for.
        let mut judge = judge();
        judge.asked_to_end();
        hear(&mut judge, &made);
        assert_eq!(judge.verdict(Some(0), None, true), None);
    }

    #[test]
    fn a_failure_is_told_once_with_whose_it_is() {
        for own in [true, false] {
            let mut judge = judge();
            let said = hear(&mut judge, &failed(own));
            assert_eq!(matches!(&said[..], [RunSignal::FailingAlone(_)]), own);
            assert_eq!(matches!(&said[..], [RunSignal::Failing(_)]), !own);
            assert_eq!(hear(&mut judge, &failed(own)), []);
            let verdict = judge.verdict(Some(0), None, false).unwrap();
            assert_eq!(verdict.detail, "asked too often");
            assert_eq!(judge.retry_after(), Some(Duration::from_secs(37)));
        }
    }

    #[test]
    fn what_does_not_fit_is_handed_over_and_is_no_failure() {
        let mut judge = judge();
        let why = "B-frames".to_owned();
        let said = hear(&mut judge, &Report::Unfit(why.clone()));
        assert_eq!(said, [RunSignal::Unfit(why)]);
        assert_eq!(judge.verdict(Some(0), None, false), None);
    }

    #[test]
    fn one_that_ends_without_a_word_has_crashed_unless_it_was_asked_to() {
        let judge = judge();
        for (code, signal, word) in [
            (Some(101), None, "code 101"),
            (None, Some(11), "signal 11"),
            (None, Some(9), "memory"),
        ] {
            let verdict = judge.verdict(code, signal, false).unwrap();
            assert_eq!(verdict.cause, Cause::EngineCrash);
            assert!(verdict.detail.contains(word), "{verdict:?}");
        }
        assert_eq!(judge.verdict(Some(0), None, true), None);
    }
}
