//! One run of one child, as the owner sees it: when media counts as leaving, when it has stalled,
//! and the ladder by which it is ended. Pure: time is an argument.

use std::time::{Duration, Instant};

use super::pace::Pace;
use super::policy::Policy;
use crate::domain::engine::HandOver;
use crate::domain::gateway::RunId;
use crate::domain::stream::{Diagnosis, Progress, StartSplit};

/// One SIGTERM does not end an FFmpeg that hangs in a read; a second one does (measured).
const SECOND_TERMINATE: Duration = Duration::from_secs(2);
/// One that has said nothing after the second SIGTERM is wedged: it is killed so long after the
/// first, and what is left of `stop_timeout` is for those that still say something.
const KILL_SILENT: Duration = Duration::from_secs(5);
/// A peer that says nothing in the DTLS handshake for so long will not: an FFmpeg that is its client
/// waits for ever, and so would the task.
const PEER_ANSWERS: Duration = Duration::from_secs(5);
/// An engine that says it has failed gets so long to end by itself.
const FAILING_GRACE: Duration = Duration::from_secs(2);
/// A killed process that does not go (it hangs in the kernel) is killed again this often.
pub const KILL_AGAIN: Duration = Duration::from_secs(5);

/// Why we end a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndWhy {
    /// STOP.
    Stop,
    /// The daemon ends.
    Shutdown,
    /// Not streaming within `start_timeout`.
    StartTimeout,
    /// No progress for `stall_timeout`, or far too much of it.
    Stall,
    /// It said it has failed, but did not end.
    Failing,
    /// It said it does not go on, but did not end.
    HandOver,
}

/// What to do to the process now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM to the group.
    Terminate,
    /// SIGKILL to the group.
    Kill,
}

/// How far the ladder has been climbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    TerminatedOnce,
    TerminatedTwice,
    Killed { times: u32 },
}

#[derive(Debug, Clone)]
struct Ending {
    why: EndWhy,
    rung: Rung,
    next_at: Instant,
    /// Of one that says nothing after its second SIGTERM.
    kill_silent_at: Instant,
    kill_at: Instant,
    /// It has said something since its second SIGTERM.
    spoke: bool,
}

/// A live run: its process is not reaped yet.
#[derive(Debug, Clone)]
pub struct Run {
    /// Which.
    pub id: RunId,
    /// What the engine has said of its failure.
    pub failing: Option<Diagnosis>,
    /// Its failure is its own way of sending's alone.
    pub fails_alone: bool,
    /// It has said that another way is to carry the task.
    pub hand_over: Option<HandOver>,
    /// The source has taken its login.
    login_taken: bool,
    started: Instant,
    session_up_at: Option<Instant>,
    /// When its peer must have answered in the handshake, where the engine does not see to that.
    peer_due: Option<Instant>,
    /// How long the session's handshake took.
    handshake: Option<Duration>,
    /// When output first advanced.
    media_at: Option<Instant>,
    /// As far as the counters have come.
    furthest: Progress,
    /// When output last advanced; `None` until it first does.
    advanced_at: Option<Instant>,
    /// When media of any kind last went out: also sound beside a picture that stands still.
    any_media_at: Option<Instant>,
    /// How fast it goes out.
    pace: Pace,
    /// When it began to count as streaming.
    pub streaming_since: Option<Instant>,
    /// How long it had streamed by its last session but this one.
    streamed_before: Duration,
    give_up_at: Option<Instant>,
    /// What an engine makes up for while it is being ended is no sign of life.
    got_nowhere: bool,
    ending: Option<Ending>,
}

/// What a run wants of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing now.
    Wait,
    /// Media leaves: STREAMING.
    Streaming,
    /// It must be ended for this reason.
    End(EndWhy),
    /// Send this signal (the ladder's next rung).
    Send(Signal),
}

impl Run {
    /// A run whose process has just been started.
    pub fn new(id: RunId, now: Instant) -> Self {
        Self {
            id,
            failing: None,
            fails_alone: false,
            hand_over: None,
            login_taken: false,
            started: now,
            session_up_at: None,
            peer_due: None,
            handshake: None,
            media_at: None,
            furthest: Progress::default(),
            advanced_at: None,
            any_media_at: None,
            pace: Pace::default(),
            streaming_since: None,
            streamed_before: Duration::ZERO,
            give_up_at: None,
            got_nowhere: false,
            ending: None,
        }
    }

    /// The WHIP session is up; its handshake took so long.
    pub fn session_up(&mut self, handshake: Option<Duration>, now: Instant) {
        if self.session_up_at.is_none() {
            self.session_up_at = Some(now);
            self.handshake = handshake;
        }
    }

    /// Its peer's word in the handshake is due. Before the whole start is given up: without that word
    /// nothing has failed, and another way may have it.
    pub fn handshaking(&mut self, policy: &Policy, now: Instant) {
        let give_up = self.started + policy.start_timeout;
        self.peer_due.get_or_insert(give_up.min(now + PEER_ANSWERS));
    }

    /// Whether its peer says nothing in the handshake.
    fn peer_is_silent(&self, now: Instant) -> bool {
        self.waits_for_peer().is_some_and(|due| now >= due)
    }

    fn waits_for_peer(&self) -> Option<Instant> {
        self.peer_due
            .filter(|_| self.session_up_at.is_none() && self.goes_on())
    }

    /// Its session is lost, and it makes a fresh one by itself: it has the time of a start for that.
    pub fn session_lost(&mut self, now: Instant) {
        if !self.goes_on() || self.ending.is_some() {
            return;
        }
        self.streamed_before = self.streamed_for();
        self.session_up_at = None;
        self.advanced_at = None;
        self.streaming_since = None;
        self.started = now;
    }

    /// The source has taken the login; `true` the first time.
    pub fn take_login(&mut self) -> bool {
        !std::mem::replace(&mut self.login_taken, true)
    }

    /// Whether the source has taken the login.
    pub fn has_login(&self) -> bool {
        self.login_taken
    }

    /// A progress block.
    pub fn progress(&mut self, progress: &Progress, now: Instant) {
        self.pace.note(progress, now);
        if progress.advanced_since(&self.furthest) {
            self.advanced_at = Some(now);
            self.media_at.get_or_insert(now);
        }
        if progress.out_time_ms > self.furthest.out_time_ms {
            self.any_media_at = Some(now);
        }
        self.furthest = progress.furthest(&self.furthest);
    }

    /// How long it has streamed: from STREAMING to the last picture, whatever came after that.
    pub fn streamed_for(&self) -> Duration {
        let by_this = match (self.streaming_since, self.advanced_at) {
            (Some(since), Some(last)) => last.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        by_this.max(self.streamed_before)
    }

    /// From the session's handshake to the last picture; `None` without a session.
    pub fn session_lived(&self) -> Option<Duration> {
        let up = self.session_up_at?;
        Some(self.advanced_at?.saturating_duration_since(up))
    }

    /// Whether it was ended because no session had been made and nothing had left until then.
    pub fn got_nowhere(&self) -> bool {
        self.got_nowhere
    }

    /// Sound goes out, and pictures do not (any more).
    pub fn lacks_pictures(&self) -> bool {
        self.furthest.has_video && self.any_media_at > self.advanced_at
    }

    /// It goes out faster than any camera sends.
    pub fn runs_away(&self) -> bool {
        self.pace.runs_away()
    }

    /// The engine said it has failed. The first such word counts.
    pub fn failing(&mut self, diagnosis: Diagnosis, now: Instant) {
        if self.failing.is_none() && self.hand_over.is_none() {
            self.failing = Some(diagnosis);
            self.give_up_at = Some(now + FAILING_GRACE);
        }
    }

    /// The engine said that another way is to carry the task. Not heard of one that has failed or
    /// is being ended: then that is what has happened.
    pub fn hand_over(&mut self, hand_over: HandOver, now: Instant) {
        if self.failing.is_none() && self.hand_over.is_none() && self.ending.is_none() {
            self.hand_over = Some(hand_over);
            self.give_up_at = Some(now + FAILING_GRACE);
        }
    }

    /// Whether it goes on, as far as it has said.
    fn goes_on(&self) -> bool {
        self.failing.is_none() && self.hand_over.is_none()
    }

    /// How long it took to stream; `None` while it does not.
    pub fn start_split(&self) -> Option<StartSplit> {
        let since = |at: Instant| at.saturating_duration_since(self.started);
        let session = since(self.session_up_at?);
        Some(StartSplit {
            // Of an engine that tells nonsense, nothing.
            source: self.handshake.and_then(|took| session.checked_sub(took)),
            session,
            media: since(self.media_at?),
            streaming: since(self.streaming_since?),
        })
    }

    /// It has said something, whatever it was.
    pub fn spoke(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.spoke |= ending.rung == Rung::TerminatedTwice;
        }
    }

    /// Why we are ending it, if we are.
    pub fn ending(&self) -> Option<&EndWhy> {
        self.ending.as_ref().map(|e| &e.why)
    }

    /// Whether SIGKILL has been sent more than once to no avail.
    pub fn will_not_die(&self) -> bool {
        matches!(
            self.ending,
            Some(Ending {
                rung: Rung::Killed { times: 2.. },
                ..
            })
        )
    }

    /// Begins to end it, or gives a running ending a stronger reason; returns the signal to send
    /// now. A STOP does not start the ladder anew that a stall began.
    pub fn end(
        &mut self,
        why: EndWhy,
        force: bool,
        policy: &Policy,
        now: Instant,
    ) -> Option<Signal> {
        match &mut self.ending {
            None => {
                let kill_at = now + policy.stop_timeout;
                self.ending = Some(Ending {
                    why,
                    rung: Rung::TerminatedOnce,
                    next_at: kill_at.min(now + SECOND_TERMINATE),
                    kill_silent_at: kill_at.min(now + KILL_SILENT),
                    kill_at,
                    spoke: false,
                });
                if !force {
                    return Some(Signal::Terminate);
                }
            }
            Some(ending) => {
                if matches!(why, EndWhy::Stop | EndWhy::Shutdown) {
                    ending.why = why;
                }
            }
        }
        if force { self.kill(now) } else { None }
    }

    /// Kills it at once; it must be ending already.
    pub fn kill(&mut self, now: Instant) -> Option<Signal> {
        let ending = self.ending.as_mut()?;
        if matches!(ending.rung, Rung::Killed { .. }) {
            return None;
        }
        ending.rung = Rung::Killed { times: 1 };
        ending.next_at = now + KILL_AGAIN;
        Some(Signal::Kill)
    }

    /// The next moment at which [`judge`](Self::judge) has something to say.
    pub fn deadline(&self, policy: &Policy) -> Instant {
        if let Some(ending) = &self.ending {
            return ending.next_at;
        }
        let mut at = match self.streaming_since {
            None => {
                let timeout = self.started + policy.start_timeout;
                if self.media_leaves() && self.goes_on() {
                    timeout.min(self.started + policy.start_confirm)
                } else {
                    timeout
                }
            }
            Some(since) => self.advanced_at.unwrap_or(since) + policy.stall_timeout,
        };
        for sooner in [self.give_up_at, self.waits_for_peer()] {
            at = at.min(sooner.unwrap_or(at));
        }
        at
    }

    fn media_leaves(&self) -> bool {
        self.session_up_at.is_some() && self.advanced_at.is_some()
    }

    /// What is due now.
    pub fn judge(&mut self, policy: &Policy, now: Instant) -> Verdict {
        if let Some(ending) = &mut self.ending {
            if now < ending.next_at {
                return Verdict::Wait;
            }
            if now < ending.kill_at && ending.rung == Rung::TerminatedOnce {
                ending.rung = Rung::TerminatedTwice;
                ending.next_at = ending.kill_silent_at;
                return Verdict::Send(Signal::Terminate);
            }
            if now < ending.kill_at && ending.rung == Rung::TerminatedTwice && ending.spoke {
                ending.next_at = ending.kill_at;
                return Verdict::Wait;
            }
            let times = match ending.rung {
                Rung::Killed { times } => times.saturating_add(1),
                _ => 1,
            };
            ending.rung = Rung::Killed { times };
            ending.next_at = now + KILL_AGAIN;
            return Verdict::Send(Signal::Kill);
        }
        if self.give_up_at.is_some_and(|at| now >= at) {
            return Verdict::End(match self.hand_over {
                Some(_) => EndWhy::HandOver,
                None => EndWhy::Failing,
            });
        }
        if self.peer_is_silent(now) {
            self.hand_over = Some(HandOver {
                facts: None,
                why: "FFmpeg as DTLS server, because to it as client the endpoint says nothing"
                    .to_owned(),
            });
            return Verdict::End(EndWhy::HandOver);
        }
        match self.streaming_since {
            None if self.goes_on()
                && self.media_leaves()
                && now >= self.started + policy.start_confirm =>
            {
                self.streaming_since = Some(now);
                Verdict::Streaming
            }
            None if now >= self.started + policy.start_timeout => {
                self.got_nowhere = self.session_up_at.is_none() && self.any_media_at.is_none();
                Verdict::End(EndWhy::StartTimeout)
            }
            Some(_) if self.pace.runs_away() => Verdict::End(EndWhy::Stall),
            Some(since) if now >= self.advanced_at.unwrap_or(since) + policy.stall_timeout => {
                Verdict::End(EndWhy::Stall)
            }
            _ => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stream::Cause;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn block(out_time_ms: u64) -> Progress {
        Progress {
            out_time_ms,
            ..Progress::default()
        }
    }

    fn streaming(policy: &Policy, t0: Instant) -> Run {
        let mut run = Run::new(RunId(1), t0);
        run.session_up(None, t0);
        run.progress(&block(900), t0 + secs(1));
        assert_eq!(run.judge(policy, t0 + secs(1)), Verdict::Wait);
        assert_eq!(run.deadline(policy), t0 + policy.start_confirm);
        assert_eq!(run.judge(policy, t0 + secs(2)), Verdict::Streaming);
        run
    }

    #[test]
    fn alive_alone_is_not_streaming() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let mut run = Run::new(RunId(1), t0);
        assert_eq!(run.judge(&policy, t0 + secs(14)), Verdict::Wait);
        run.session_up(None, t0);
        assert_eq!(run.judge(&policy, t0 + secs(14)), Verdict::Wait);
        assert_eq!(
            run.judge(&policy, t0 + secs(15)),
            Verdict::End(EndWhy::StartTimeout)
        );
    }

    #[test]
    fn where_there_is_video_only_pictures_are_progress() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let picture = |frame, out_time_ms| Progress {
            has_video: true,
            frame,
            out_time_ms,
            ..Progress::default()
        };
        // Sound alone never counts as streaming.
        let mut run = Run::new(RunId(1), t0);
        run.session_up(None, t0);
        for s in 1..15 {
            run.progress(&picture(0, s * 1000), t0 + secs(s));
            assert_eq!(run.judge(&policy, t0 + secs(s)), Verdict::Wait);
        }
        assert!(run.lacks_pictures());
        assert_eq!(
            run.judge(&policy, t0 + secs(15)),
            Verdict::End(EndWhy::StartTimeout)
        );
        // Pictures that end while sound goes on, or whose count goes back and forth, are a stall.
        let mut run = Run::new(RunId(2), t0);
        run.session_up(None, t0);
        run.progress(&picture(60, 2000), t0 + secs(2));
        assert_eq!(run.judge(&policy, t0 + secs(2)), Verdict::Streaming);
        assert!(!run.lacks_pictures());
        for s in 3..12 {
            let frame = if s % 2 == 0 { 60 } else { 59 };
            run.progress(&picture(frame, s * 1000), t0 + secs(s));
            assert_eq!(run.judge(&policy, t0 + secs(s)), Verdict::Wait, "{s}");
        }
        assert_eq!(
            run.judge(&policy, t0 + secs(12)),
            Verdict::End(EndWhy::Stall)
        );
        assert!(run.lacks_pictures());
        assert_eq!(run.streamed_for(), Duration::ZERO);
    }

    #[test]
    fn streamed_until_the_last_picture() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let mut run = streaming(&policy, t0);
        assert_eq!(run.streamed_for(), Duration::ZERO);
        run.progress(&block(1900), t0 + secs(42));
        run.progress(&block(1900), t0 + secs(70));
        run.judge(&policy, t0 + secs(90));
        assert_eq!(run.streamed_for(), secs(40));
    }

    #[test]
    fn progress_that_stands_still_is_a_stall() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let mut run = streaming(&policy, t0);
        for s in 3..12 {
            run.progress(&block(900), t0 + secs(s));
        }
        assert_eq!(run.judge(&policy, t0 + secs(10)), Verdict::Wait);
        assert_eq!(
            run.judge(&policy, t0 + secs(11)),
            Verdict::End(EndWhy::Stall)
        );
    }

    #[test]
    fn terminate_terminate_kill_kill() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let mut run = streaming(&policy, t0);
        let t = t0 + secs(20);
        assert_eq!(
            run.end(EndWhy::Stop, false, &policy, t),
            Some(Signal::Terminate)
        );
        assert_eq!(run.judge(&policy, t + secs(1)), Verdict::Wait);
        assert_eq!(run.deadline(&policy), t + secs(2));
        assert_eq!(
            run.judge(&policy, t + secs(2)),
            Verdict::Send(Signal::Terminate)
        );
        assert_eq!(run.deadline(&policy), t + secs(5));
        run.spoke();
        assert_eq!(run.judge(&policy, t + secs(5)), Verdict::Wait);
        assert_eq!(run.deadline(&policy), t + policy.stop_timeout);
        assert_eq!(
            run.judge(&policy, t + policy.stop_timeout),
            Verdict::Send(Signal::Kill)
        );
        assert!(!run.will_not_die());
        assert_eq!(
            run.judge(&policy, t + policy.stop_timeout + KILL_AGAIN),
            Verdict::Send(Signal::Kill)
        );
        assert!(run.will_not_die());
    }

    #[test]
    fn one_that_says_nothing_any_more_is_killed_sooner() {
        let policy = Policy::default();
        let t0 = Instant::now();
        for stop_timeout in [secs(10), secs(4)] {
            let policy = Policy {
                stop_timeout,
                ..policy.clone()
            };
            let mut run = streaming(&policy, t0);
            let t = t0 + secs(20);
            run.end(EndWhy::Stop, false, &policy, t);
            // What it said before the second SIGTERM tells nothing of how it takes that.
            run.spoke();
            assert_eq!(
                run.judge(&policy, t + secs(2)),
                Verdict::Send(Signal::Terminate)
            );
            let kill_at = t + stop_timeout.min(secs(5));
            assert_eq!(run.deadline(&policy), kill_at);
            assert_eq!(run.judge(&policy, kill_at), Verdict::Send(Signal::Kill));
        }
    }

    #[test]
    fn a_pace_that_no_camera_makes_is_a_stall() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let mut run = streaming(&policy, t0);
        for s in 3..10 {
            let block = Progress {
                has_video: true,
                frame: s * 1400,
                out_time_ms: 3_600_000,
                ..Progress::default()
            };
            run.progress(&block, t0 + secs(s));
            let verdict = run.judge(&policy, t0 + secs(s));
            if s < 6 {
                assert_eq!(verdict, Verdict::Wait, "{s}");
            } else {
                assert_eq!(verdict, Verdict::End(EndWhy::Stall), "{s}");
                break;
            }
        }
        assert!(run.runs_away());
    }

    #[test]
    fn force_kills_at_once_also_in_the_middle_of_the_ladder() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let mut run = Run::new(RunId(1), t0);
        assert_eq!(run.end(EndWhy::Stop, true, &policy, t0), Some(Signal::Kill));
        let mut run = Run::new(RunId(2), t0);
        assert_eq!(
            run.end(EndWhy::Stall, false, &policy, t0),
            Some(Signal::Terminate)
        );
        assert_eq!(run.end(EndWhy::Stop, false, &policy, t0 + secs(1)), None);
        assert_eq!(run.ending(), Some(&EndWhy::Stop));
        assert_eq!(
            run.end(EndWhy::Stop, true, &policy, t0 + secs(1)),
            Some(Signal::Kill)
        );
        assert_eq!(run.end(EndWhy::Stop, true, &policy, t0 + secs(1)), None);
    }

    #[test]
    fn one_that_says_it_failed_gets_a_moment_and_never_counts_as_streaming() {
        let policy = Policy::default();
        let t0 = Instant::now();
        let mut run = Run::new(RunId(1), t0);
        run.session_up(None, t0);
        run.progress(&block(10), t0 + secs(1));
        run.failing(
            Diagnosis {
                cause: Cause::WhipStream,
                detail: "x".into(),
            },
            t0 + secs(1),
        );
        assert_eq!(run.judge(&policy, t0 + secs(2)), Verdict::Wait);
        assert_eq!(run.deadline(&policy), t0 + secs(3));
        assert_eq!(
            run.judge(&policy, t0 + secs(3)),
            Verdict::End(EndWhy::Failing)
        );
    }
}
