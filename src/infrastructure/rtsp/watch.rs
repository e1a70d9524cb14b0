//! Looks at a stream itself: plays it for some seconds over the one connection, and tells what its
//! packets show. Nothing is decoded and nothing is kept.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::control::{self, Places};
use super::line::{Line, Trouble, is_secure, judge, next_target};
use super::look::set_up;
use super::message::{Response, request_url_or_secure};
use super::play::channels;
use super::sdp::Sdp;
use super::talk::{Event, TalkError};
use crate::domain::camera::Credentials;
use crate::domain::discovery::Sight;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::LoginEnd;
use crate::infrastructure::http::camera::camera_words;
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::media::h264::watch::PictureWatch;
use crate::util::secret::Secret;

/// Redirects followed, on the same host.
const MAX_REDIRECTS: u32 = 1;
/// For the goodbye, which nobody waits for.
const GOODBYE: Duration = Duration::from_millis(200);

/// Plays the stream until enough is seen or `until`; `on_play` is called once it plays. What came of
/// the login, whatever came of the rest.
pub(super) fn look(
    at: SocketAddr,
    doors: &Doors,
    url: &Secret,
    login: Option<&Credentials>,
    until: Instant,
    on_play: &mut dyn FnMut(),
) -> (LoginEnd, Result<Sight, Fault>) {
    let Some(target) = request_url_or_secure(url.expose()) else {
        let words = "not an rtsp:// URL with a host";
        let fault = Fault::new(ErrorCode::ValidationFailed, words);
        return (LoginEnd::Unknown, Err(fault));
    };
    let timeout = until.saturating_duration_since(Instant::now());
    let tls = is_secure(&target).then(|| doors.clone());
    let mut line = match Line::open(at, tls, timeout, login.cloned()) {
        Ok(line) => line,
        Err(fault) => return (LoginEnd::Unknown, Err(fault)),
    };
    let result = play(&mut line, at, target, on_play);
    let end = match &result {
        Err(End::Trouble(Trouble::Talk(TalkError::LoginRefused))) => LoginEnd::Refused,
        Ok(_) | Err(End::Fault(_)) if line.talk.is_logging_in() => LoginEnd::Taken,
        _ => LoginEnd::Unknown,
    };
    let result = result.map_err(|end| match end {
        End::Trouble(trouble) => trouble.fault(at),
        End::Fault(fault) => fault,
    });
    (end, result)
}

enum End {
    Trouble(Trouble),
    Fault(Fault),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn play(
    line: &mut Line,
    at: SocketAddr,
    target: String,
    on_play: &mut dyn FnMut(),
) -> Result<Sight, End> {
    let (target, response) = describe(line, at, target)?;
    let mut sight = Sight::of(&judge(&response, at)?);
    let sdp = Sdp::parse(&response.body);
    let video = sdp.media.iter().find(|m| m.kind == "video");
    let Some(video) = video.filter(|_| sight.codec.as_deref() == Some("H264")) else {
        // Nothing that could be looked into; what the description says is the answer.
        return Ok(sight);
    };
    let places = Places::described(&target, &response, sdp.control());
    let urls = places.of_part(video.control().unwrap_or_default());
    let Some(setup) = set_up(line, urls, 0, None)? else {
        let words = format!("{at} describes a picture that is nowhere");
        return Err(Fault::new(ErrorCode::InternalError, words).into());
    };
    let setup = taken(at, "SETUP", setup)?;
    let Some((channel, _)) = channels(&setup, 0) else {
        let words = format!("{at} sends no media over TCP");
        return Err(Fault::new(ErrorCode::InternalError, words).into());
    };
    let session: Vec<_> = control::session(&setup)
        .0
        .map(|session| ("Session", session))
        .into_iter()
        .collect();
    begin(line, at, &places, &session)?;
    on_play();
    let pictures = watch(line, channel)?;
    line.set_deadline(Instant::now() + GOODBYE);
    let url = Secret::url(places.aggregate());
    line.talk.request("TEARDOWN", url, session);
    let _ = line.send();
    if let Some(sps) = pictures.sps() {
        // What is sent counts before what was described.
        sight.profile = Some(sps.profile);
        sight.size = Some(sps.size);
        sight.fps = sps.fps.or(sight.fps);
    }
    sight.b_frames = pictures.b_frames(sight.b_frames);
    sight.keyframe_seconds = pictures.keyframe_seconds();
    Ok(sight)
}

fn describe(line: &mut Line, at: SocketAddr, target: String) -> Result<(String, Response), End> {
    let mut target = target;
    for _ in 0..=MAX_REDIRECTS {
        let accept = [("Accept", "application/sdp".to_owned())];
        let response = line.ask("DESCRIBE", Secret::url(target.clone()), &accept)?;
        match next_target(&response, &target, at)? {
            None => return Ok((target, response)),
            Some(next) => target = next,
        }
    }
    let words = format!("{at} sends from one URL to the next");
    Err(Fault::new(ErrorCode::InternalError, words).into())
}

fn begin(
    line: &mut Line,
    at: SocketAddr,
    places: &Places,
    session: &[(&'static str, String)],
) -> Result<(), End> {
    let url = || Secret::url(places.aggregate());
    let mut headers = session.to_vec();
    headers.push(("Range", "npt=0.000-".to_owned()));
    let mut answer = line.ask("PLAY", url(), &headers)?;
    if answer.status == 457 {
        // Range is meant for recordings; some live sources say so.
        answer = line.ask("PLAY", url(), session)?;
    }
    taken(at, "PLAY", answer).map(|_| ())
}

/// An answer that is no refusal.
fn taken(at: SocketAddr, method: &str, answer: Response) -> Result<Response, End> {
    if answer.is_success() {
        return Ok(answer);
    }
    let code = match answer.status {
        453 | 503 => ErrorCode::NodeBusy,
        _ => ErrorCode::InternalError,
    };
    let reason = camera_words(&answer.reason);
    let words = format!("{at} answers {method} with {} {reason}", answer.status);
    Err(Fault::new(code, words.trim_end()).into())
}

/// Reads until enough is seen, the line's deadline or its end.
fn watch(line: &mut Line, picture: u8) -> Result<PictureWatch, End> {
    let mut pictures = PictureWatch::default();
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        while let Some(event) = line.talk.next_event().map_err(Trouble::Talk)? {
            match event {
                Event::Frame { channel, payload } if channel == picture => {
                    pictures.packet(&payload);
                }
                Event::Frame { .. } | Event::Answer(_) => {}
            }
            if pictures.is_enough() {
                return Ok(pictures);
            }
        }
        // What the camera asked in between is answered.
        line.send()?;
        match line.read(&mut buffer) {
            Ok(0) | Err(Trouble::Late) => return Ok(pictures),
            Ok(heard) => line.talk.feed(buffer.get(..heard).unwrap_or_default()),
            Err(trouble) => return Err(trouble.into()),
        }
    }
}
