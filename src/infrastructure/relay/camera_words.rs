//! Why a camera does not play, in the causes and words of the whole program. Pure.

use crate::domain::refusals;
use crate::domain::stream::{Cause, Diagnosis};
use crate::infrastructure::rtsp::message::MessageError;
use crate::infrastructure::rtsp::play::PlayError;
use crate::infrastructure::rtsp::talk::TalkError;

/// What an error means. `has_login`: there is one to send.
pub fn why(error: &PlayError, has_login: bool) -> Diagnosis {
    let (cause, detail) = match error {
        PlayError::Talk(talk) => of_talk(talk),
        PlayError::Late(_) => (
            Cause::SourceUnreachable,
            "the source accepts connections and does not answer (timed out)".to_owned(),
        ),
        PlayError::Refused(method, status, words) => of_status(method, *status, words, has_login),
        PlayError::Elsewhere(words) => (Cause::SourceStream, words.clone()),
        PlayError::NoVideo => (
            Cause::SourceStream,
            "the camera describes a stream without a picture".to_owned(),
        ),
        PlayError::NoTcp => (Cause::SourceStream, refusals::NOT_OVER_TCP.to_owned()),
        PlayError::BadUrl => (Cause::BadCommand, error.to_string()),
    };
    Diagnosis { cause, detail }
}

fn of_talk(error: &TalkError) -> (Cause, String) {
    match error {
        TalkError::LoginWanted => (
            Cause::SourceLogin,
            "the camera asks for a login and the URL has none: put user and password into sourceUrl"
                .to_owned(),
        ),
        TalkError::LoginRefused => (
            Cause::SourceAuth,
            refusals::LOGIN.to_owned(),
        ),
        TalkError::LoginUnknown => (
            Cause::SourceLogin,
            "the camera asks for a kind of login that lss does not know".to_owned(),
        ),
        TalkError::Message(MessageError::NotRtsp(words)) => {
            (Cause::SourceStream, format!("no RTSP: {words}"))
        }
        other => (Cause::SourceStream, other.to_string()),
    }
}

fn of_status(method: &str, status: u16, words: &str, has_login: bool) -> (Cause, String) {
    let cause = if status == 403 && has_login {
        Cause::SourceAuth
    } else {
        Cause::SourceStream
    };
    let says = refusals::words(status).map_or_else(
        || {
            let says = format!("the camera answered {method} with RTSP {status} {words}");
            says.trim_end().to_owned()
        },
        str::to_owned,
    );
    (cause, says)
}
