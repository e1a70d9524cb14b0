//! WHIP sessions, one after the other, without a socket: each is prepared, asked for, connected, and
//! replaced by a fresh one when it is lost. (No ICE restart: a fresh session is what every endpoint can.)

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::peer::{Event, Output, Peer};
use crate::domain::stream::{Cause, Diagnosis, UplinkStats};
use crate::infrastructure::whip::client::{Refusal, Session};
use crate::util::foreign::shown;
use crate::util::secret::Secret;

/// A session that was lost has a fresh one within so long, or the relay ends.
pub const ANEW_WITHIN: Duration = Duration::from_secs(10);
/// One that is lost sooner counts as an end: an endpoint that throws everybody out again, or another
/// publisher that wants the same place, is not asked again at once.
const STEADY: Duration = Duration::from_secs(10);
/// The first try of a fresh one, within so long: what has lost one session of an endpoint has often
/// lost all of them.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// Between two tries of a fresh one; up to as much again.
const PAUSE: Duration = Duration::from_secs(1);
/// A path gets so long at most: a peer knows better why it has none, and says so a second earlier.
const PATH: Duration = Duration::from_secs(7);
/// Viewers may ask for key pictures all the time; a camera is asked this often.
const KEYFRAME_EVERY: Duration = Duration::from_secs(2);
/// Longest words of others, in characters.
const MAX_WORDS: usize = 200;

/// What is to be done by whoever has threads and sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Make a peer and its offer ([`Sessions::prepared`]).
    Prepare,
    /// Ask the endpoint for a session ([`Sessions::opened`]).
    Post(String),
    /// End this one; nobody waits for it.
    Delete(Secret),
}

/// What the daemon is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A session is made, and ended there.
    Made(Secret),
    /// A session was put on a host where lss may not end it.
    Elsewhere(String),
    /// Media goes out from now on; how long it took since the session was begun.
    Up(Duration),
    /// Media goes out no longer; a fresh session is tried.
    Lost(String),
    /// A viewer wants a key picture.
    KeyframeWanted,
}

/// There is no session, and none is tried any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// In words.
    pub why: Diagnosis,
    /// How long the endpoint wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The relay's own way of sending has failed, which FFmpeg's may not.
    pub own: bool,
}

#[derive(Debug)]
enum State<P> {
    Idle,
    Preparing,
    Posting(P),
    Connecting {
        peer: P,
        url: Option<Secret>,
        until: Instant,
    },
    Up {
        peer: P,
        url: Option<Secret>,
        since: Instant,
    },
    Pausing(Instant),
}

/// See the module.
#[derive(Debug)]
pub struct Sessions<P> {
    state: State<P>,
    /// A path may take so long, but no longer than [`PATH`].
    patience: Duration,
    began: Instant,
    /// After a loss: until when a fresh session has to be up, and the last reason why there is none.
    anew: Option<(Instant, Diagnosis)>,
    random: fastrand::Rng,
    keyframe_at: Option<Instant>,
    /// When the peer wants to be woken.
    wake_at: Option<Instant>,
    orders: VecDeque<Order>,
    told: VecDeque<Told>,
    /// One that has been left, and may have a word to say of that.
    left: Option<P>,
}

impl<P: Peer> Sessions<P> {
    /// None yet. `seed` decides the jitter.
    pub fn new(patience: Duration, seed: u64, now: Instant) -> Self {
        Self {
            state: State::Idle,
            patience,
            began: now,
            anew: None,
            random: fastrand::Rng::with_seed(seed),
            keyframe_at: None,
            wake_at: None,
            orders: VecDeque::new(),
            told: VecDeque::new(),
            left: None,
        }
    }

    /// Begins one, if none has been begun.
    pub fn begin(&mut self, now: Instant) {
        if matches!(self.state, State::Idle | State::Pausing(_)) {
            self.began = now;
            self.state = State::Preparing;
            self.orders.push_back(Order::Prepare);
        }
    }

    /// The next thing to do.
    pub fn order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The next thing to tell.
    pub fn told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// A peer and its offer are there, or why none is.
    pub fn prepared(&mut self, made: Result<(P, String), String>, now: Instant) -> Result<(), End> {
        if !matches!(self.state, State::Preparing) {
            return Ok(());
        }
        match made {
            Ok((peer, offer)) => {
                self.state = State::Posting(peer);
                self.orders.push_back(Order::Post(offer));
                Ok(())
            }
            Err(words) => self.failed(
                End {
                    why: Diagnosis {
                        cause: Cause::WhipUplink,
                        detail: words,
                    },
                    retry_after: None,
                    own: true,
                },
                now,
            ),
        }
    }

    /// The endpoint has answered.
    pub fn opened(&mut self, answer: Result<Session, Refusal>, now: Instant) -> Result<(), End> {
        let State::Posting(mut peer) = std::mem::replace(&mut self.state, State::Idle) else {
            return Ok(());
        };
        let session = match answer {
            Ok(session) => session,
            Err(refusal) => {
                return self.failed(
                    End {
                        // What it does not like of this offer, it may like of another one.
                        own: refusal.why.cause == Cause::WhipOffer,
                        why: refusal.why,
                        retry_after: refusal.retry_after,
                    },
                    now,
                );
            }
        };
        if let Some(url) = &session.url {
            self.told.push_back(Told::Made(url.clone()));
        }
        if let Some(host) = session.elsewhere {
            self.told.push_back(Told::Elsewhere(host));
        }
        if let Err(words) = peer.accept(&session.answer, now) {
            self.orders.extend(session.url.map(Order::Delete));
            let words = shown(&words, MAX_WORDS);
            return self.failed(
                own(
                    format!("the WHIP endpoint's answer can't be used: {words}"),
                    Cause::WhipStream,
                ),
                now,
            );
        }
        self.wake_at = None;
        self.state = State::Connecting {
            peer,
            url: session.url,
            until: now + self.patience.min(PATH),
        };
        Ok(())
    }

    /// A datagram has come.
    pub fn receive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], now: Instant) {
        if let Some(peer) = self.peer() {
            peer.receive(from, to, bytes, now);
        }
    }

    /// Does what is due. Call [`Sessions::transmit`] then until nothing more comes.
    pub fn tick(&mut self, now: Instant) -> Result<(), End> {
        if let Some((until, why)) = &self.anew
            && now >= *until
        {
            let words = format!(
                "the WHIP session was lost, and there is no fresh one: {}",
                why.detail
            );
            // Not left here: whoever leaves it waits for an answer that is under way.
            return Err(End {
                why: Diagnosis {
                    cause: why.cause,
                    detail: words,
                },
                retry_after: None,
                own: false,
            });
        }
        match &self.state {
            State::Pausing(at) if now >= *at => self.begin(now),
            State::Connecting { until, .. } if now >= *until => return self.no_path(None, now),
            _ => {}
        }
        if self.wake_at.is_some_and(|at| now >= at) {
            self.wake_at = None;
            if let Some(peer) = self.peer() {
                peer.timeout(now);
            }
        }
        Ok(())
    }

    /// The next datagram to send: from, to, what.
    pub fn transmit(
        &mut self,
        now: Instant,
    ) -> Result<Option<(SocketAddr, SocketAddr, Vec<u8>)>, End> {
        loop {
            let Some(peer) = self.peer() else {
                return Ok(None);
            };
            match peer.poll(now) {
                Output::Transmit { from, to, bytes } => return Ok(Some((from, to, bytes))),
                Output::Wait(at) => {
                    self.wake_at = Some(at);
                    return Ok(None);
                }
                Output::Event(event) => self.happened(event, now)?,
            }
        }
    }

    /// When [`Sessions::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Pausing(at) => Some(*at),
            State::Connecting { until, .. } => Some(*until),
            _ => None,
        };
        let anew = self.anew.as_ref().map(|(until, _)| *until);
        [state, anew, self.wake_at].into_iter().flatten().min()
    }

    /// What pictures go to, while they can.
    pub fn up(&mut self) -> Option<&mut P> {
        match &mut self.state {
            State::Up { peer, .. } => Some(peer),
            _ => None,
        }
    }

    /// Of the session that is up.
    pub fn uplink(&self) -> Option<UplinkStats> {
        match &self.state {
            State::Up { peer, .. } => Some(peer.uplink()),
            _ => None,
        }
    }

    /// An answer is awaited.
    pub fn is_posting(&self) -> bool {
        matches!(self.state, State::Posting(_))
    }

    /// Ends what there is.
    pub fn leave(&mut self) {
        self.wake_at = None;
        let state = std::mem::replace(&mut self.state, State::Idle);
        if let State::Connecting { mut peer, url, .. } | State::Up { mut peer, url, .. } = state {
            self.orders.extend(url.map(Order::Delete));
            peer.close();
            self.left = Some(peer);
        }
    }

    /// What tells the other end of a session that was left; once.
    pub fn last_words(&mut self, now: Instant) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut words = Vec::new();
        if let Some(mut peer) = self.left.take() {
            while let Output::Transmit { from, to, bytes } = peer.poll(now) {
                words.push((from, to, bytes));
            }
        }
        words
    }

    fn peer(&mut self) -> Option<&mut P> {
        match &mut self.state {
            State::Connecting { peer, .. } | State::Up { peer, .. } => Some(peer),
            _ => None,
        }
    }

    fn happened(&mut self, event: Event, now: Instant) -> Result<(), End> {
        match event {
            Event::Connected => {
                let state = std::mem::replace(&mut self.state, State::Idle);
                self.state = match state {
                    State::Connecting { peer, url, .. } => {
                        self.anew = None;
                        let took = now.saturating_duration_since(self.began);
                        self.told.push_back(Told::Up(took));
                        State::Up {
                            peer,
                            url,
                            since: now,
                        }
                    }
                    other => other,
                };
            }
            Event::KeyframeWanted => {
                if self.keyframe_at.is_none_or(|at| now >= at + KEYFRAME_EVERY) {
                    self.keyframe_at = Some(now);
                    self.told.push_back(Told::KeyframeWanted);
                }
            }
            Event::FingerprintWrong => {
                self.leave();
                return Err(End {
                    why: Diagnosis {
                        cause: Cause::WhipAuth,
                        detail: "who answered on the media path is not whom the WHIP endpoint \
                                 named (wrong DTLS fingerprint): somebody is in between"
                            .to_owned(),
                    },
                    retry_after: None,
                    own: false,
                });
            }
            Event::Lost(why) => {
                return match self.state {
                    State::Up { since, .. } => {
                        self.lost(&why, now.saturating_duration_since(since), now)
                    }
                    _ => self.no_path(Some(&why), now),
                };
            }
        }
        Ok(())
    }

    /// One that was up for `lasted`: the camera plays on, and a fresh one is tried soon.
    fn lost(&mut self, why: &str, lasted: Duration, now: Instant) -> Result<(), End> {
        self.leave();
        let why = shown(why, MAX_WORDS);
        if lasted < STEADY {
            let words = format!(
                "the WHIP session was lost {:.1} s after it came up: {why}",
                lasted.as_secs_f64()
            );
            return Err(End {
                why: Diagnosis {
                    cause: Cause::WhipStream,
                    detail: words,
                },
                retry_after: None,
                own: false,
            });
        }
        self.told.push_back(Told::Lost(why.clone()));
        let why = Diagnosis {
            cause: Cause::WhipStream,
            detail: why,
        };
        self.anew = Some((now + ANEW_WITHIN, why));
        self.state = State::Pausing(now + FIRST_WITHIN.mul_f64(self.random.f64()));
        Ok(())
    }

    /// The endpoint has answered, and ICE or DTLS do not come about.
    fn no_path(&mut self, why: Option<&str>, now: Instant) -> Result<(), End> {
        self.leave();
        let why = why.map(|why| format!(" ({})", shown(why, MAX_WORDS)));
        let words = format!(
            "the WHIP server answered, but no media path came up (ICE/DTLS){}: is outgoing UDP \
             blocked?",
            why.unwrap_or_default()
        );
        self.failed(own(words, Cause::WhipUnreachable), now)
    }

    /// The end, unless it is a fresh session that is tried: its endpoint may still hold the lost one.
    /// One that says how long it wants to be left alone is.
    fn failed(&mut self, end: End, now: Instant) -> Result<(), End> {
        self.state = State::Idle;
        let for_now = end.retry_after.is_none() && !end.why.cause.is_permanent();
        match &mut self.anew {
            Some((until, why)) if for_now && now < *until => {
                *why = end.why;
                let pause = PAUSE.mul_f64(1.0 + self.random.f64());
                self.state = State::Pausing((now + pause).min(*until));
                Ok(())
            }
            _ => Err(end),
        }
    }
}

fn own(detail: String, cause: Cause) -> End {
    End {
        why: Diagnosis { cause, detail },
        retry_after: None,
        own: true,
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
