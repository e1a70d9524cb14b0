//! The camera's side of a relay, without a socket: the session that plays, the pictures out of it, and
//! whether WebRTC can carry them as they are.
//!
//! Whoever holds this reads the connection, writes what is to be written, and passes the time in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::camera_words::why;
use crate::domain::camera::Credentials;
use crate::domain::stream::{Cause, Diagnosis};
use crate::infrastructure::media::h264::assembler::Assembler;
use crate::infrastructure::media::h264::picture::Picture;
use crate::infrastructure::media::rtcp::{REPORT_EVERY, Reception};
use crate::infrastructure::media::rtp;
use crate::infrastructure::media::timeline::Timeline;
use crate::infrastructure::rtsp::play::{self, PlayError, Player};
use crate::infrastructure::rtsp::sdp::Sdp;
use crate::infrastructure::rtsp::talk::TalkError;
use crate::util::foreign::shown;
use crate::util::secret::Secret;

/// RFC 6184 8.1
const CLOCK: u32 = 90_000;
/// Where the parameter sets leave open whether there are B-frames, so many pictures show it, or what
/// comes in so long a time.
const JUDGED_PICTURES: u32 = 30;
const JUDGED_FOR: Duration = Duration::from_secs(1);
/// A camera that plays and has sent nothing for so long may do so only with all its parts set up.
const MUTE: Duration = Duration::from_secs(5);
/// Longest name of a codec that is shown, in characters.
const MAX_NAME: usize = 40;
const REORDERED: &str = "the camera's H.264 has B-frames, which WebRTC does not play";
const INTERLACED: &str = "the camera's H.264 may be interlaced, which WebRTC does not play";

/// What comes of the camera.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// It plays; whether it has taken a login for it.
    Open {
        /// A login was sent, and it was right.
        login_taken: bool,
    },
    /// Its pictures can go out as they are.
    Fit,
    /// A picture, whole.
    Picture {
        /// As it came.
        picture: Picture,
        /// By a clock of 90,000 ticks a second that goes evenly.
        ticks: u64,
    },
    /// Something for the log.
    Words(String),
}

/// Why nothing more comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// The camera does not play, or plays no longer.
    Refused(Diagnosis),
    /// The same, and FFmpeg may fare better with this camera: it does not talk, or not in a way that is
    /// understood here.
    Misunderstood(Diagnosis),
    /// WebRTC can't carry what it sends as it is: why not.
    Unfit(String),
}

/// The video of the description that is played.
#[derive(Debug)]
struct Track {
    /// Its place in the description.
    media: usize,
    assembler: Assembler,
    timeline: Timeline,
    reception: Reception,
    next_report: Option<Instant>,
}

/// What is asked for, and how.
#[derive(Debug)]
struct Asks {
    at: SocketAddr,
    url: Secret,
    login: Option<Credentials>,
    cnonce: String,
}

/// One camera.
#[derive(Debug)]
pub struct Source {
    player: Player,
    asks: Asks,
    /// Where the description has a sound.
    sound: Option<usize>,
    /// The sound is set up along with the picture, and dropped.
    with_sound: bool,
    /// That it plays has been told.
    opened: bool,
    own: u32,
    track: Option<Track>,
    plays: bool,
    /// How long it may be silent.
    patience: Duration,
    /// When it has last sent media, or begun to play.
    heard_at: Option<Instant>,
    /// Since when its pictures are judged, and how many those were; `None` once they are.
    judging: Option<(Option<Instant>, u32)>,
}

impl Source {
    /// Begins to ask. `random` = fresh, as text without quotes and as a number.
    pub fn new(
        at: SocketAddr,
        url: &Secret,
        login: Option<Credentials>,
        random: (String, u32),
        patience: Duration,
        now: Instant,
    ) -> Result<Self, Stop> {
        let asks = Asks {
            at,
            url: url.clone(),
            login,
            cnonce: random.0,
        };
        Ok(Self {
            player: asks.player(now)?,
            asks,
            sound: None,
            with_sound: false,
            opened: false,
            own: random.1,
            track: None,
            plays: false,
            patience,
            heard_at: None,
            judging: Some((None, 0)),
        })
    }

    /// What to write to the connection; empties it.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.player.take_output()
    }

    /// What is to be written goes to a new connection: the camera has said that it closes this one.
    pub fn needs_connection(&self) -> bool {
        self.player.needs_connection()
    }

    /// A new connection is there. What was put out for the last one and has not gone is not to go.
    pub fn connected_anew(&mut self, now: Instant) {
        self.player.connected_anew(now);
    }

    /// It has begun to play.
    pub fn plays(&self) -> bool {
        self.plays
    }

    /// It plays and sends nothing: some do so until their sound is set up, too. After a
    /// [`Source::tear_down`] that was written, [`Source::begin_anew`] asks so, by a new connection.
    pub fn wants_anew(&self, now: Instant) -> bool {
        self.may_want_anew() && self.heard_at.is_some_and(|at| now >= at + self.mute())
    }

    /// See [`Source::wants_anew`].
    pub fn begin_anew(&mut self, now: Instant) -> Result<(), Stop> {
        self.with_sound = true;
        self.plays = false;
        self.heard_at = None;
        self.track = None;
        // Not the same twice under one nonce.
        self.asks.cnonce.push('1');
        self.player = self.asks.player(now)?;
        Ok(())
    }

    fn may_want_anew(&self) -> bool {
        self.sound.is_some() && !self.with_sound && self.sent_nothing()
    }

    fn sent_nothing(&self) -> bool {
        self.track.as_ref().is_none_or(|t| t.next_report.is_none())
    }

    fn mute(&self) -> Duration {
        MUTE.min(self.patience / 2)
    }

    /// Bytes of the connection.
    pub fn feed(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<Heard>) -> Result<(), Stop> {
        self.player.feed(bytes);
        self.take_events(now, out)
    }

    /// The connection has ended. `Ok` = the conversation goes on by a new one.
    pub fn ended(&mut self, now: Instant, out: &mut Vec<Heard>) -> Result<(), Stop> {
        match self.player.ended(now) {
            Ok(()) => self.take_events(now, out),
            Err(PlayError::Talk(TalkError::Closed)) => Err(self.closed()),
            Err(error) => Err(self.asks.stop(&error)),
        }
    }

    fn take_events(&mut self, now: Instant, out: &mut Vec<Heard>) -> Result<(), Stop> {
        loop {
            let event = self.player.next_event(now);
            match event.map_err(|error| self.asks.stop(&error))? {
                None => return Ok(()),
                Some(play::Event::Described(sdp)) => self.described(&sdp, now)?,
                Some(play::Event::Playing) => {
                    self.plays = true;
                    self.heard_at = Some(now);
                    let login_taken = self.player.is_logging_in();
                    if !std::mem::replace(&mut self.opened, true) {
                        out.push(Heard::Open { login_taken });
                    }
                }
                Some(play::Event::Rtp(media, bytes)) => self.packet(media, &bytes, now, out)?,
                Some(play::Event::Rtcp(media, bytes)) => {
                    if let Some(track) = self.track.as_mut().filter(|t| t.media == media) {
                        track.reception.reports(&bytes, now);
                    }
                }
                Some(play::Event::KeepAliveRefused(error)) => out.push(Heard::Words(format!(
                    "the camera refuses to keep the session alive: {error}"
                ))),
                // The sound: the picture may come without it.
                Some(play::Event::LeftOut(..)) => {}
            }
        }
    }

    fn closed(&self) -> Stop {
        let why = |words: &str| Diagnosis {
            cause: Cause::SourceStream,
            detail: words.to_owned(),
        };
        if self.plays {
            Stop::Refused(why("the source closed the connection"))
        } else {
            Stop::Misunderstood(why("the source closed the connection before it played"))
        }
    }

    /// Sends what is due, and notices what is overdue.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Heard>) -> Result<(), Stop> {
        self.player
            .tick(now)
            .map_err(|error| self.asks.stop(&error))?;
        self.take_events(now, out)?;
        if self.heard_at.is_some_and(|at| now >= at + self.patience) {
            let why = |words: &str| Diagnosis {
                cause: Cause::SourceStream,
                detail: words.to_owned(),
            };
            return Err(if self.sent_nothing() {
                Stop::Misunderstood(why("the source plays and sends nothing"))
            } else {
                Stop::Refused(why("the source stopped sending (timed out)"))
            });
        }
        if let Some(track) = &mut self.track
            && track.next_report.is_some_and(|at| now >= at)
        {
            track.next_report = Some(now + REPORT_EVERY);
            if let Some(report) = track.reception.report(now) {
                self.player.send_rtcp(track.media, &report);
            }
        }
        Ok(())
    }

    /// When [`Source::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Instant> {
        let patience = if self.may_want_anew() {
            self.mute()
        } else {
            self.patience
        };
        let silent = self.heard_at.map(|at| at + patience);
        let report = self.track.as_ref().and_then(|track| track.next_report);
        [self.player.next_tick(), silent, report]
            .into_iter()
            .flatten()
            .min()
    }

    /// Gives the session back. What is left to write should be written.
    pub fn tear_down(&mut self) {
        self.player.tear_down();
    }

    /// Packets that are missing, and pictures that were left out for it.
    pub fn losses(&self) -> (u64, u64) {
        self.track.as_ref().map_or((0, 0), |track| {
            let tally = track.assembler.tally();
            (tally.lost, tally.dropped)
        })
    }

    fn described(&mut self, sdp: &Sdp, now: Instant) -> Result<(), Stop> {
        let found = sdp
            .media
            .iter()
            .enumerate()
            .find(|(_, m)| m.kind == "video");
        let Some((place, media)) = found else {
            return Err(Stop::Refused(Diagnosis {
                cause: Cause::SourceStream,
                detail: "the camera describes a stream without a picture".to_owned(),
            }));
        };
        let codec = media.rtpmap().map(|map| map.codec);
        if codec.as_deref() != Some("H264") {
            let what = codec.unwrap_or_else(|| "what it has no name for".to_owned());
            let what = shown(&what, MAX_NAME);
            return Err(Stop::Unfit(format!(
                "the camera sends {what} and not H.264"
            )));
        }
        let sets = media.units("sprop-parameter-sets");
        let track = Track {
            media: place,
            assembler: Assembler::new(sets.iter().map(Vec::as_slice)),
            timeline: Timeline::new(CLOCK),
            reception: Reception::new(self.own),
            next_report: None,
        };
        self.sound = sdp.media.iter().position(|m| m.kind == "audio");
        let sound = self.sound.filter(|_| self.with_sound);
        let parts: Vec<usize> = [Some(place), sound].into_iter().flatten().collect();
        self.player
            .set_up(sdp, &parts, now)
            .map_err(|error| self.asks.stop(&error))?;
        track.judge_sets()?;
        self.track = Some(track);
        Ok(())
    }

    fn packet(
        &mut self,
        media: usize,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<Heard>,
    ) -> Result<(), Stop> {
        let Some(track) = self.track.as_mut().filter(|track| track.media == media) else {
            return Ok(());
        };
        let Some(packet) = rtp::read(bytes) else {
            return Ok(());
        };
        self.heard_at = Some(now);
        track.next_report.get_or_insert(now + REPORT_EVERY);
        track.reception.packet(&packet);
        let mut pictures = Vec::new();
        track
            .assembler
            .push(&packet, &mut pictures)
            .map_err(|unfit| Stop::Unfit(unfit.to_string()))?;
        if track.assembler.has_bidirectional() {
            return Err(Stop::Unfit(REORDERED.to_owned()));
        }
        for picture in pictures {
            if picture.sets.is_some() {
                track.judge_sets()?;
            }
            let ticks = track.timeline.map(picture.timestamp, now);
            if let Some((since, count)) = &mut self.judging {
                let since = *since.get_or_insert(now);
                *count += 1;
                let plain = track
                    .assembler
                    .sets()
                    .sequence()
                    .all(|sps| sps.reorders == Some(false));
                if plain || *count >= JUDGED_PICTURES || now >= since + JUDGED_FOR {
                    self.judging = None;
                    out.push(Heard::Fit);
                }
            }
            out.push(Heard::Picture { picture, ticks });
        }
        Ok(())
    }
}

impl Asks {
    fn player(&self, now: Instant) -> Result<Player, Stop> {
        let (login, cnonce) = (self.login.clone(), self.cnonce.clone());
        Player::new(self.at, &self.url, login, cnonce, now).map_err(|error| self.stop(&error))
    }

    /// What an error ends.
    fn stop(&self, error: &PlayError) -> Stop {
        let why = why(error, self.login.is_some());
        match error {
            PlayError::Late(_)
            | PlayError::Talk(TalkError::Message(_) | TalkError::Closed | TalkError::Chatter) => {
                Stop::Misunderstood(why)
            }
            _ => Stop::Refused(why),
        }
    }
}

impl Track {
    /// What the parameter sets say.
    fn judge_sets(&self) -> Result<(), Stop> {
        for sps in self.assembler.sets().sequence() {
            if sps.reorders == Some(true) {
                return Err(Stop::Unfit(REORDERED.to_owned()));
            }
            if sps.interlaced {
                return Err(Stop::Unfit(INTERLACED.to_owned()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
