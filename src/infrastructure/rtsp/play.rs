//! A camera that plays: DESCRIBE, SETUP, PLAY, kept alive, TEARDOWN, over one connection, without
//! a socket (RFC 2326, media interleaved as in 10.12).
//!
//! Packets are trusted, headers are not: what a camera claims of sequence numbers, sources and
//! channels decides nothing that the packets themselves show. Whoever holds this reads the socket,
//! writes what is to be written, and passes the time in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::control::{self, Places};
use super::line::next_target;
use super::message::{Response, request_url};
use super::sdp::Sdp;
use super::talk::{Event as TalkEvent, Talk, TalkError};
use crate::domain::camera::Credentials;
use crate::infrastructure::http::camera::camera_words;
use crate::util::secret::Secret;

/// An answer that has not come by then does not come.
const ANSWER: Duration = Duration::from_secs(5);
/// An answer that has no length, or another number, has been alone for so long: it is meant, and whole.
const SILENCE: Duration = Duration::from_secs(1);
/// The first OPTIONS comes so soon after PLAY: what it permits is known when the session must be kept
/// alive in earnest, because OPTIONS alone does not do that everywhere.
const FIRST_OPTIONS: Duration = Duration::from_secs(1);
/// Redirects followed, on the same host.
const MAX_REDIRECTS: u32 = 2;

/// Why a camera does not play, or plays no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    /// The conversation broke down, or the login was refused.
    #[error("{0}")]
    Talk(#[from] TalkError),
    /// No answer to this request in time.
    #[error("no answer to {0} in time")]
    Late(&'static str),
    /// It refused a request: which, the status, and its words.
    #[error("{0} was answered {1} {2}")]
    Refused(&'static str, u16, String),
    /// It sends somewhere else, in words.
    #[error("{0}")]
    Elsewhere(String),
    /// Nothing that can be set up.
    #[error("it describes no video")]
    NoVideo,
    /// The answer to SETUP can't be used.
    #[error("it sends no media over TCP")]
    NoTcp,
    /// Not a URL of this protocol.
    #[error("not an rtsp:// URL with a host")]
    BadUrl,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The stream is described; [`Player::set_up`] goes on.
    Described(Sdp),
    /// A media of the description is refused, and gone on without: its place in the description,
    /// and the status.
    LeftOut(usize, u16),
    /// It plays.
    Playing,
    /// An RTP packet of a media, by its place in the description.
    Rtp(usize, Vec<u8>),
    /// An RTCP packet.
    Rtcp(usize, Vec<u8>),
    /// Keeping the session alive is refused for good; media may go on for as long as the camera
    /// likes.
    KeepAliveRefused(PlayError),
}

/// Where the conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Describing,
    /// Waits to be told what to set up.
    Described,
    SettingUp,
    Starting,
    Playing,
    /// TEARDOWN is sent, or an error was told.
    Over,
}

/// One media that is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Track {
    /// Its place in the description.
    media: usize,
    /// Where it may be set up, in the order of trying.
    urls: Vec<String>,
    /// Without it, the rest is of use.
    optional: bool,
    /// Channels of media and reports, once it is set up.
    channels: Option<(u8, u8)>,
}

/// How the session is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeepAlive {
    Options,
    GetParameter,
    /// Both were refused.
    Off,
}

/// One camera's session.
#[derive(Debug)]
pub struct Player {
    at: SocketAddr,
    talk: Talk,
    state: State,
    /// As described: of the request, after redirects.
    url: String,
    redirects: u32,
    /// Where its parts are, and where PLAY, keep-alive and TEARDOWN go.
    places: Places,
    tracks: Vec<Track>,
    /// Which of them is being set up, and by which of its URLs.
    in_hand: (usize, usize),
    session: Option<String>,
    timeout: Duration,
    keep_alive: KeepAlive,
    /// OPTIONS was answered: what it permits is known.
    options_known: bool,
    with_range: bool,
    /// The request in hand must be answered by then.
    answer_by: Option<(Instant, &'static str)>,
    next_keep_alive: Option<Instant>,
    /// Bytes have come that no event was asked of yet.
    fed: bool,
    /// Since when an answer that only a silence ends has been alone.
    quiet_since: Option<Instant>,
    events: std::collections::VecDeque<Event>,
}

impl Player {
    /// Begins with DESCRIBE. `cnonce` = fresh random text without quotes.
    pub fn new(
        at: SocketAddr,
        url: &Secret,
        credentials: Option<Credentials>,
        cnonce: String,
        now: Instant,
    ) -> Result<Self, PlayError> {
        let url = request_url(url.expose()).ok_or(PlayError::BadUrl)?;
        let mut player = Self {
            at,
            talk: Talk::new(credentials, cnonce),
            state: State::Describing,
            places: Places::of(&url),
            url,
            redirects: 0,
            tracks: Vec::new(),
            in_hand: (0, 0),
            session: None,
            timeout: control::DEFAULT_TIMEOUT,
            keep_alive: KeepAlive::Options,
            options_known: false,
            with_range: true,
            answer_by: None,
            next_keep_alive: None,
            fed: false,
            quiet_since: None,
            events: std::collections::VecDeque::new(),
        };
        player.describe(now);
        Ok(player)
    }

    /// Sets up these media of the description, and plays them. The first must succeed; the others
    /// are left out where the camera refuses them.
    pub fn set_up(&mut self, sdp: &Sdp, media: &[usize], now: Instant) -> Result<(), PlayError> {
        self.tracks = media
            .iter()
            .enumerate()
            .filter_map(|(number, &media)| {
                let control = sdp.media.get(media)?.control().unwrap_or("");
                let urls = self.places.of_part(control);
                (!urls.is_empty()).then_some(Track {
                    media,
                    urls,
                    optional: number > 0,
                    channels: None,
                })
            })
            .collect();
        if self.tracks.is_empty() {
            return Err(PlayError::NoVideo);
        }
        self.state = State::SettingUp;
        self.in_hand = (0, 0);
        self.ask_for_track(now);
        Ok(())
    }

    /// What to write to the socket; empties it.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.talk.take_output()
    }

    /// The camera has said that it closes this connection: what is to be written goes to a new one
    /// ([`Player::connected_anew`]). Only before media flows.
    pub fn needs_connection(&self) -> bool {
        self.talk.needs_connection()
    }

    /// A new connection is there. What was put out for the last one and has not gone is not to go.
    pub fn connected_anew(&mut self, now: Instant) {
        self.talk.connected_anew();
        self.talk.send_again();
        self.quiet_since = None;
        self.answer_by = self.answer_by.map(|(_, method)| (now + ANSWER, method));
    }

    /// The connection has ended. `Ok` = what was said was enough, and the conversation goes on by a new
    /// connection; ask for events, too.
    pub fn ended(&mut self, now: Instant) -> Result<(), PlayError> {
        if !matches!(self.state, State::Playing | State::Over) {
            if self.talk.is_open_ended() {
                return self.settle(now);
            }
            if self.talk.needs_connection() || self.talk.may_go_again() {
                return Ok(());
            }
        }
        Err(self.over(TalkError::Closed.into()))
    }

    /// Requests carry a login that the camera has not refused.
    pub fn is_logging_in(&self) -> bool {
        self.talk.is_logging_in()
    }

    /// Takes bytes of the socket. Call [`Player::next_event`] until it is out of them.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.fed |= !bytes.is_empty();
        self.talk.feed(bytes);
    }

    /// The next thing that has happened. After an error nothing more comes.
    pub fn next_event(&mut self, now: Instant) -> Result<Option<Event>, PlayError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.talk.next_event() {
                Ok(Some(TalkEvent::Answer(response))) => self.answered(&response, now)?,
                Ok(Some(TalkEvent::Frame { channel, payload })) => self.frame(channel, payload),
                Ok(None) => {
                    if std::mem::take(&mut self.fed) {
                        self.note_silence(now);
                    }
                    return Ok(None);
                }
                Err(error) => self.trouble(error)?,
            }
        }
    }

    /// Sends what is due, and notices what is overdue. Ask for events, too.
    pub fn tick(&mut self, now: Instant) -> Result<(), PlayError> {
        if self.quiet_since.is_some_and(|since| now >= since + SILENCE) {
            self.settle(now)?;
        }
        if let Some((_, method)) = self.answer_by.filter(|(by, _)| now >= *by) {
            self.answer_by = None;
            return Err(self.over(PlayError::Late(method)));
        }
        if self.state == State::Playing && self.next_keep_alive.is_some_and(|at| now >= at) {
            self.keep_alive(now);
        }
        Ok(())
    }

    /// When [`Player::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Instant> {
        let answer = self.answer_by.map(|(by, _)| by);
        let keep_alive = self
            .next_keep_alive
            .filter(|_| self.state == State::Playing);
        let settled = self.quiet_since.map(|since| since + SILENCE);
        [answer, keep_alive, settled].into_iter().flatten().min()
    }

    /// Puts an RTCP packet for this media (its place in the description) into the output.
    pub fn send_rtcp(&mut self, media: usize, packet: &[u8]) {
        let track = self.tracks.iter().find(|track| track.media == media);
        if let Some((_, channel)) = track.and_then(|track| track.channels) {
            self.talk.send_frame(channel, packet);
        }
    }

    /// Ends the session. What is left to write should be written; no answer is awaited.
    pub fn tear_down(&mut self) {
        if self.session.is_some() && self.state != State::Over {
            let url = self.places.aggregate().to_owned();
            self.ask("TEARDOWN", url, Vec::new(), None);
        }
        self.state = State::Over;
        self.answer_by = None;
        self.quiet_since = None;
    }

    /// Where it is described, after redirects. Without a login.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn describe(&mut self, now: Instant) {
        let headers = vec![("Accept", "application/sdp".to_owned())];
        let url = self.url.clone();
        self.ask("DESCRIBE", url, headers, Some(now));
    }

    fn ask(
        &mut self,
        method: &'static str,
        url: String,
        mut headers: Vec<(&'static str, String)>,
        answered_from: Option<Instant>,
    ) {
        if let Some(session) = &self.session {
            headers.push(("Session", session.clone()));
        }
        self.answer_by = answered_from.map(|now| (now + ANSWER, method));
        self.talk.request(method, Secret::url(url), headers);
    }

    fn ask_for_track(&mut self, now: Instant) {
        let (number, candidate) = self.in_hand;
        let Some(track) = self.tracks.get(number) else {
            return;
        };
        let url = track.urls.get(candidate).cloned().unwrap_or_default();
        self.ask(
            "SETUP",
            url,
            vec![control::transport(2 * number)],
            Some(now),
        );
    }

    fn ask_to_play(&mut self, now: Instant) {
        self.state = State::Starting;
        let url = self.places.aggregate().to_owned();
        let range = self.with_range.then(|| ("Range", "npt=0.000-".to_owned()));
        self.ask("PLAY", url, range.into_iter().collect(), Some(now));
    }

    fn answered(&mut self, response: &Response, now: Instant) -> Result<(), PlayError> {
        self.answer_by = None;
        match self.state {
            State::Describing => self.described(response, now),
            State::SettingUp => self.set_up_answered(response, now),
            State::Starting => self.play_answered(response, now),
            State::Playing => {
                self.keep_alive_answered(response);
                Ok(())
            }
            State::Described | State::Over => Ok(()),
        }
    }

    fn described(&mut self, response: &Response, now: Instant) -> Result<(), PlayError> {
        let next = next_target(response, &self.url, self.at)
            .map_err(|fault| self.over(PlayError::Elsewhere(fault.message)))?;
        if let Some(next) = next {
            self.redirects += 1;
            if self.redirects > MAX_REDIRECTS {
                let words = format!("{} sends from one URL to the next", self.at);
                return Err(self.over(PlayError::Elsewhere(words)));
            }
            self.url = next;
            self.describe(now);
            return Ok(());
        }
        if !response.is_success() {
            return Err(self.refused("DESCRIBE", response));
        }
        let sdp = Sdp::parse(&response.body);
        self.places = Places::described(&self.url, response, sdp.control());
        self.state = State::Described;
        self.events.push_back(Event::Described(sdp));
        Ok(())
    }

    fn set_up_answered(&mut self, response: &Response, now: Instant) -> Result<(), PlayError> {
        let (number, candidate) = self.in_hand;
        let asked = u8::try_from(2 * number).unwrap_or(u8::MAX - 1);
        let Some(track) = self.tracks.get_mut(number) else {
            return Ok(());
        };
        if response.is_success() {
            if self.session.is_none() {
                // The first stays: one camera gives another with each SETUP, and knows only this.
                (self.session, self.timeout) = control::session(response);
            }
            let channels = channels(response, asked);
            if channels.is_none() && !track.optional {
                return Err(self.over(PlayError::NoTcp));
            }
            track.channels = channels;
        } else if control::is_wrong_place(response.status) && candidate + 1 < track.urls.len() {
            self.in_hand = (number, candidate + 1);
            self.ask_for_track(now);
            return Ok(());
        } else if track.optional {
            let event = Event::LeftOut(track.media, response.status);
            self.events.push_back(event);
        } else if response.status == 461 {
            return Err(self.over(PlayError::NoTcp));
        } else {
            return Err(self.refused("SETUP", response));
        }
        self.in_hand = (number + 1, 0);
        if number + 1 < self.tracks.len() {
            self.ask_for_track(now);
        } else {
            self.ask_to_play(now);
        }
        Ok(())
    }

    fn play_answered(&mut self, response: &Response, now: Instant) -> Result<(), PlayError> {
        // Range is meant for recordings; some live sources say so.
        if response.status == 457 && self.with_range {
            self.with_range = false;
            self.ask_to_play(now);
            return Ok(());
        }
        if !response.is_success() {
            return Err(self.refused("PLAY", response));
        }
        self.state = State::Playing;
        self.next_keep_alive = Some(now + FIRST_OPTIONS);
        self.events.push_back(Event::Playing);
        Ok(())
    }

    fn keep_alive(&mut self, now: Instant) {
        let method = match self.keep_alive {
            KeepAlive::Options => "OPTIONS",
            KeepAlive::GetParameter => "GET_PARAMETER",
            KeepAlive::Off => {
                self.next_keep_alive = None;
                return;
            }
        };
        let url = self.places.aggregate().to_owned();
        // Nobody waits for the answer: some give none.
        self.ask(method, url, Vec::new(), None);
        self.next_keep_alive = Some(now + self.timeout / 2);
    }

    fn keep_alive_answered(&mut self, response: &Response) {
        if response.is_success() {
            if self.keep_alive == KeepAlive::Options && !self.options_known {
                self.options_known = true;
                if permits(response, "GET_PARAMETER") {
                    self.keep_alive = KeepAlive::GetParameter;
                }
            }
            return;
        }
        // It answers, so it is there; by the other method, then.
        self.keep_alive = match self.keep_alive {
            KeepAlive::GetParameter => KeepAlive::Options,
            KeepAlive::Options if !self.options_known => {
                self.options_known = true;
                KeepAlive::GetParameter
            }
            KeepAlive::Options | KeepAlive::Off => KeepAlive::Off,
        };
    }

    /// A body without a length goes on with every byte; an answer by another number is overtaken by the
    /// right one alone, whatever media comes meanwhile.
    fn note_silence(&mut self, now: Instant) {
        self.quiet_since = match self.quiet_since {
            _ if !self.talk.is_open_ended() => None,
            Some(since) if self.talk.is_misnumbered() => Some(since),
            _ => Some(now),
        };
    }

    /// What there is of an answer is all of it.
    fn settle(&mut self, now: Instant) -> Result<(), PlayError> {
        self.quiet_since = None;
        match self.talk.end() {
            Ok(Some(TalkEvent::Answer(response))) => self.answered(&response, now),
            Ok(Some(TalkEvent::Frame { channel, payload })) => {
                self.frame(channel, payload);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => self.trouble(error),
        }
    }

    /// A fault of the conversation: while media flows, one that only concerns the request in hand
    /// ends nothing. The login was taken when the session began, so this is no word on it.
    fn trouble(&mut self, error: TalkError) -> Result<(), PlayError> {
        let only_this = matches!(
            error,
            TalkError::LoginWanted
                | TalkError::LoginRefused
                | TalkError::NotAllowed
                | TalkError::LoginUnknown
                | TalkError::StaleForEver
        );
        if self.state != State::Playing || !only_this {
            return Err(self.over(error.into()));
        }
        self.keep_alive = KeepAlive::Off;
        self.next_keep_alive = None;
        self.events
            .push_back(Event::KeepAliveRefused(PlayError::Talk(error)));
        Ok(())
    }

    fn frame(&mut self, channel: u8, payload: Vec<u8>) {
        let of = |track: &Track| {
            let (media, reports) = track.channels?;
            if channel == media {
                Some((track.media, false))
            } else if channel == reports {
                Some((track.media, true))
            } else {
                None
            }
        };
        match self.tracks.iter().find_map(of) {
            Some((media, false)) => self.events.push_back(Event::Rtp(media, payload)),
            Some((media, true)) => self.events.push_back(Event::Rtcp(media, payload)),
            // Channels that nobody set up.
            None => {}
        }
    }

    fn refused(&mut self, method: &'static str, response: &Response) -> PlayError {
        let words = camera_words(&response.reason);
        self.over(PlayError::Refused(method, response.status, words))
    }

    fn over(&mut self, error: PlayError) -> PlayError {
        self.state = State::Over;
        self.quiet_since = None;
        error
    }
}

/// Channels of media and reports: those of the answer; as asked, where it names none. `None` where
/// it sends by datagrams.
pub(super) fn channels(response: &Response, asked: u8) -> Option<(u8, u8)> {
    let pair = (asked, asked.saturating_add(1));
    let Some(transport) = response.header("transport") else {
        return Some(pair);
    };
    let mut named = transport
        .split(';')
        .filter_map(|part| part.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("interleaved"))
        .map(|(_, value)| value.trim());
    let Some(value) = named.next() else {
        // `RTP/AVP` alone means datagrams, but with a port of its own.
        let datagrams = transport.to_ascii_lowercase().contains("server_port");
        return (!datagrams).then_some(pair);
    };
    let (first, second) = value.split_once('-').unwrap_or((value, ""));
    let Ok(media) = first.trim().parse::<u8>() else {
        return Some(pair);
    };
    let reports = second.trim().parse().unwrap_or(media.saturating_add(1));
    Some((media, reports))
}

/// Whether `Public` of an answer to OPTIONS lists this method.
fn permits(response: &Response, method: &str) -> bool {
    response.all("public").any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(method.as_bytes()))
    })
}

#[cfg(test)]
#[path = "play_tests.rs"]
mod tests;
