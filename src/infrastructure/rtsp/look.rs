//! Asks a source what it is, as FFmpeg would go on to play it: follows it to another path or port of
//! its own host, logs in, reads its description, and tries whether its sound can be had.
//!
//! What is not understood here is no fault of the source: FFmpeg has years of oddities behind it, so
//! it is told apart ([`SourceLook::Unclear`]) from what no client could have.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::control::{self, Places};
use super::line::{Line, Trouble};
use super::message::{MessageError, Response, request_url};
use super::sdp::{Media, Sdp};
use super::talk::TalkError;
use crate::domain::camera::Credentials;
use crate::domain::error::ErrorCode;
use crate::domain::refusals;
use crate::domain::stream::{
    AudioFacts, Cause, Challenge, Diagnosis, SourceFacts, SourceLook, VideoFacts, moved,
};
use crate::infrastructure::http::bounded::left;
use crate::infrastructure::http::camera::camera_words;
use crate::util::secret::Secret;
use crate::util::url;

/// Redirects followed, on the same host.
const MAX_REDIRECTS: u32 = 3;
/// Sounds whose SETUP is tried: FFmpeg sets up all that are announced, and gives the whole stream up
/// where one is refused.
const MAX_SOUNDS: usize = 4;
/// A source that has said all is left after so long, whether it has answered TEARDOWN or not.
const GOODBYE: Duration = Duration::from_millis(500);

/// What to ask.
pub struct Question<'a> {
    /// The addresses of the URL's host, the first one that can be connected to is taken.
    pub at: &'a [IpAddr],
    /// `rtsp://…`; user info in it is not used.
    pub url: &'a Secret,
    /// Sent where the source asks for one, and once; `None` = it is asked without.
    pub login: Option<&'a Credentials>,
    /// Without a login only how it wants to be logged in to is of interest, so a challenge is an
    /// answer and no refusal.
    pub as_stranger: bool,
    /// It is answered by then.
    pub until: Instant,
}

/// Asks. Ends by the question's deadline.
pub fn look(question: &Question<'_>) -> SourceLook {
    let mut asking = Asking {
        question,
        challenge: Challenge::None,
        login_taken: false,
    };
    match asking.ask() {
        Ok(facts) => SourceLook::Known(Box::new(facts)),
        Err(Stop::Refused(cause, detail)) => SourceLook::Refused {
            why: Diagnosis { cause, detail },
            login_taken: asking.login_taken,
        },
        Err(Stop::Unclear(why)) => SourceLook::Unclear(why),
    }
}

/// Why there are no facts.
enum Stop {
    Refused(Cause, String),
    Unclear(String),
}

impl Stop {
    fn refused(cause: Cause, words: impl Into<String>) -> Self {
        Self::Refused(cause, words.into())
    }
}

/// What comes back.
type Asked<T> = Result<T, Stop>;

struct Asking<'a> {
    question: &'a Question<'a>,
    challenge: Challenge,
    login_taken: bool,
}

impl Asking<'_> {
    fn ask(&mut self) -> Asked<SourceFacts> {
        let start = request_url(self.question.url.expose())
            .ok_or_else(|| Stop::Unclear("not an rtsp:// URL with a host".to_owned()))?;
        let (mut line, mut at) = self.connect(port_of(&start))?;
        let mut target = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = match self.describe(&mut line, &target) {
                Ok(response) => response,
                Err(Trouble::Talk(TalkError::LoginWanted)) if self.question.as_stranger => {
                    return Ok(self.facts(&start, &target));
                }
                Err(trouble) => return Err(self.trouble(trouble)),
            };
            if !(300..400).contains(&response.status) {
                return self.described(line, &response, &start, &target);
            }
            target = next(&response, &target, at.ip())?;
            // Also on the same port: some servers close behind a redirect, and say nothing of it.
            (line, at) = self.connect_to(SocketAddr::new(at.ip(), port_of(&target)))?;
        }
        Err(Stop::refused(
            Cause::SourceStream,
            "the camera sends from one URL to the next without end",
        ))
    }

    fn describe(&mut self, line: &mut Line, target: &str) -> Result<Response, Trouble> {
        let accept = [("Accept", "application/sdp".to_owned())];
        let answer = line.ask("DESCRIBE", Secret::url(target), &accept);
        self.challenge = line.talk.challenge();
        self.login_taken |= answer.is_ok() && line.talk.is_logging_in();
        answer
    }

    /// To the first address that takes a connection, each with its share of the time.
    fn connect(&self, port: u16) -> Asked<(Line, SocketAddr)> {
        let mut last = None;
        for (done, ip) in self.question.at.iter().enumerate() {
            let others = self.question.at.len().saturating_sub(done).max(1);
            let share = self.left()? / u32::try_from(others).unwrap_or(u32::MAX);
            let at = SocketAddr::new(*ip, port);
            match self.open(at, share) {
                Ok(line) => return Ok((line, at)),
                Err(stop) => last = Some(stop),
            }
        }
        Err(last.unwrap_or_else(|| {
            let words = "the source's host name can't be resolved";
            Stop::refused(Cause::SourceUnreachable, words)
        }))
    }

    fn connect_to(&self, at: SocketAddr) -> Asked<(Line, SocketAddr)> {
        Ok((self.open(at, self.left()?)?, at))
    }

    fn open(&self, at: SocketAddr, within: Duration) -> Asked<Line> {
        let mut line = Line::open(at, None, within, self.question.login.cloned()).map_err(
            |fault| match fault.code {
                ErrorCode::Unavailable => {
                    let words = format!("the source can't be reached: {}", fault.message);
                    Stop::refused(Cause::SourceUnreachable, words)
                }
                _ => Stop::Unclear(fault.message),
            },
        )?;
        line.set_deadline(self.question.until);
        Ok(line)
    }

    fn left(&self) -> Asked<Duration> {
        left(self.question.until).ok_or_else(|| {
            let words = "the source does not answer (timed out)";
            Stop::refused(Cause::SourceUnreachable, words)
        })
    }

    fn trouble(&self, trouble: Trouble) -> Stop {
        match trouble {
            Trouble::Late => Stop::refused(
                Cause::SourceUnreachable,
                "the source accepts connections and does not answer (timed out)",
            ),
            Trouble::Lost(words) => Stop::Unclear(words),
            Trouble::Other(fault) if fault.code == ErrorCode::Unavailable => {
                let words = format!("the source can't be reached: {}", fault.message);
                Stop::refused(Cause::SourceUnreachable, words)
            }
            Trouble::Other(fault) => Stop::Unclear(fault.message),
            Trouble::Talk(error) => match error {
                TalkError::LoginWanted => Stop::refused(
                    Cause::SourceLogin,
                    "the camera asks for a login and the URL has none: put user and password \
                     into sourceUrl",
                ),
                TalkError::LoginRefused => {
                    Stop::refused(Cause::SourceAuth, "the camera refused the login (RTSP 401)")
                }
                TalkError::LoginUnknown if self.challenge == Challenge::DigestSha256 => {
                    Stop::refused(
                        Cause::SourceLogin,
                        "the camera offers a kind of Digest login that neither lss nor FFmpeg \
                         knows: set its RTSP authentication to Digest MD5",
                    )
                }
                TalkError::Message(MessageError::NotRtsp(words)) => Stop::refused(
                    Cause::SourceStream,
                    format!("no RTSP, is the port right (554 is usual)? {words}"),
                ),
                other => Stop::Unclear(other.to_string()),
            },
        }
    }

    fn described(
        &self,
        mut line: Line,
        response: &Response,
        start: &str,
        target: &str,
    ) -> Asked<SourceFacts> {
        self.judge(response)?;
        let sdp = Sdp::parse(&response.body);
        let Some(picture) = sdp.media.iter().find(|m| m.kind == "video") else {
            let words = if sdp.media.is_empty() {
                "the camera describes no media"
            } else {
                "the camera describes a stream without a picture"
            };
            return Err(Stop::refused(Cause::SourceStream, words));
        };
        let mut facts = self.facts(start, target);
        facts.video = video(picture);
        let sounds: Vec<&Media> = sdp.media.iter().filter(|m| m.kind == "audio").collect();
        if let Some(first) = sounds.first() {
            let places = Places::described(target, response, sdp.control());
            let mut sound = audio(first);
            sound.refused = self.try_sounds(&mut line, &places, picture, &sounds)?;
            facts.audio = Some(sound);
        }
        Ok(facts)
    }

    fn facts(&self, start: &str, target: &str) -> SourceFacts {
        SourceFacts {
            challenge: self.challenge,
            login_taken: self.login_taken,
            // Under the name that was asked for: nobody is led to another one.
            moved_to: (start != target).then(|| {
                let target = Secret::url(target);
                moved(&Secret::url(start), &target).unwrap_or(target)
            }),
            ..SourceFacts::default()
        }
    }

    /// The answer to DESCRIBE, where it is none.
    fn judge(&self, response: &Response) -> Asked<()> {
        let cause = match response.status {
            200..=299 => return Ok(()),
            403 if self.login_taken => Cause::SourceAuth,
            _ => Cause::SourceStream,
        };
        Err(Stop::Refused(cause, refused("DESCRIBE", response)))
    }

    /// Sets picture and sounds up as FFmpeg would, in one session, and gives it back. The status by
    /// which a sound is refused.
    fn try_sounds(
        &self,
        line: &mut Line,
        places: &Places,
        picture: &Media,
        sounds: &[&Media],
    ) -> Asked<Option<u16>> {
        let mut session = None;
        let all = std::iter::once(&picture).chain(sounds.iter().take(MAX_SOUNDS));
        for (number, media) in all.enumerate() {
            let Some(control) = media.control() else {
                // Nobody says where it is set up: FFmpeg has ways of its own.
                break;
            };
            let urls = places.of_part(control);
            // What can't be asked is not known: FFmpeg finds out.
            let Ok(Some(answer)) = set_up(line, urls, 2 * number, session.as_deref()) else {
                return Ok(None);
            };
            if !answer.is_success() {
                self.goodbye(line, places, session);
                return if number == 0 {
                    Err(Stop::refused(
                        Cause::SourceStream,
                        refused("SETUP of its picture", &answer),
                    ))
                } else {
                    Ok(Some(answer.status))
                };
            }
            session = session.or_else(|| control::session(&answer).0);
        }
        self.goodbye(line, places, session);
        Ok(None)
    }

    /// Gives the session back, so that its place is free for whoever plays the stream.
    fn goodbye(&self, line: &mut Line, places: &Places, session: Option<String>) {
        let Some(session) = session else { return };
        let url = Secret::url(places.aggregate());
        line.set_deadline(self.question.until.min(Instant::now() + GOODBYE));
        // Whatever it answers, and if it does not: the connection's end tells it, too.
        let _ = line.ask("TEARDOWN", url, &[("Session", session)]);
    }
}

/// Sets one part up, at the first of `urls` that the camera knows; its last answer. `None` where there
/// are none.
pub(super) fn set_up(
    line: &mut Line,
    urls: Vec<String>,
    channel: usize,
    session: Option<&str>,
) -> Result<Option<Response>, Trouble> {
    let mut headers = vec![control::transport(channel)];
    headers.extend(session.map(|session| ("Session", session.to_owned())));
    let mut last = None;
    for url in urls {
        let answer = line.ask("SETUP", Secret::url(url), &headers)?;
        let elsewhere = control::is_wrong_place(answer.status);
        last = Some(answer);
        if !elsewhere {
            break;
        }
    }
    Ok(last)
}

/// Where a redirect leads, if that is the same host; the words name any other.
fn next(response: &Response, from: &str, ip: IpAddr) -> Asked<String> {
    let location = response.header("location").unwrap_or_default();
    let elsewhere = |whither: &str| {
        Stop::refused(
            Cause::SourceStream,
            format!(
                "the camera sends elsewhere (RTSP {}): to {whither}, which is not its host and \
                 is not followed: put that into sourceUrl if it is meant",
                response.status
            ),
        )
    };
    let Some(target) = request_url(&location) else {
        return Err(elsewhere(&camera_words(&url::mask(&location))));
    };
    let (Ok(old), Ok(new)) = (url::split(from), url::split(&target)) else {
        return Err(elsewhere("no URL"));
    };
    let same = new.host.eq_ignore_ascii_case(old.host)
        || url::literal_ip(new.host) == Some(ip.to_canonical());
    if same {
        Ok(target)
    } else {
        let port = new.port.map(|p| format!(":{p}")).unwrap_or_default();
        Err(elsewhere(&camera_words(&format!("{}{port}", new.host))))
    }
}

fn port_of(target: &str) -> u16 {
    url::split(target)
        .ok()
        .and_then(|parts| parts.port)
        .unwrap_or(554)
}

fn video(media: &Media) -> VideoFacts {
    let track = media.track();
    VideoFacts {
        codec: track.codec,
        h264_profile: track.h264_profile,
        size: track.size,
        fps: track.fps,
        reorders: track.reorders,
        unsendable: None,
    }
}

fn audio(media: &Media) -> AudioFacts {
    let track = media.track();
    AudioFacts {
        codec: track.codec,
        clock_rate: track.clock_rate,
        channels: track.channels,
        refused: None,
        silent: false,
    }
}

/// Why the picture itself can't be had.
fn refused(what: &str, answer: &Response) -> String {
    refusals::words(answer.status).map_or_else(
        || {
            let words = camera_words(&answer.reason);
            format!(
                "the camera answered {what} with RTSP {} {words}",
                answer.status
            )
            .trim_end()
            .to_owned()
        },
        str::to_owned,
    )
}
