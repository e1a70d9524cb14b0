//! One conversation with an RTSP server, without a socket: numbers requests, ties answers to
//! them, logs in where asked, answers what the server asks in between.
//!
//! Owns what a connection knows: the next number, the login, the request in hand. Knows no
//! method's meaning, no time and no thread. One request at a time.

use super::login::{Login, Verdict};
use super::message::{Inbox, Incoming, MessageError, Response, write_request, write_response};
use crate::domain::camera::Credentials;
use crate::domain::stream::Challenge;
use crate::util::secret::Secret;

/// Server requests that are answered while one of ours is in hand; a server that asks more is
/// not one that answers.
const MAX_ASKED: u32 = 64;

/// Why a request has no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TalkError {
    /// What came is no message.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// The connection ended and nothing came.
    #[error("the connection was closed without an answer")]
    Closed,
    /// It wants a login, and there is none.
    #[error("it asks for a login, and none is given")]
    LoginWanted,
    /// It refused the login.
    #[error("it refused user name or password")]
    LoginRefused,
    /// It wants a kind of login that is not known here. None was sent.
    #[error("it asks for a kind of login that lss does not know")]
    LoginUnknown,
    /// No nonce is ever good enough.
    #[error("it calls every login stale, whatever its nonce")]
    StaleForEver,
    /// It refuses this request to a login that it has taken for another.
    #[error("it refuses this to a login that it takes otherwise")]
    NotAllowed,
    /// Requests of its own without end.
    #[error("it keeps asking instead of answering")]
    Chatter,
}

/// What a conversation brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The answer to the request in hand; never a 401.
    Answer(Response),
    /// Media on an interleaved channel; comes before the answer to PLAY, too.
    Frame {
        /// Channel.
        channel: u8,
        /// An RTP or RTCP packet.
        payload: Vec<u8>,
    },
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    method: &'static str,
    url: Secret,
    headers: Vec<(&'static str, String)>,
    cseq: u32,
    /// It went out, or is about to.
    taken: bool,
    /// It is sent once more, with the login that was asked for.
    logs_in: bool,
    /// It has been sent on a second connection.
    again: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Talk {
    inbox: Inbox,
    output: Vec<u8>,
    login: Login,
    cseq: u32,
    pending: Option<Pending>,
    /// An answer by a number that is not that of the request in hand. Where no other comes it is
    /// meant for that all the same: some servers count in their own way.
    misnumbered: Option<Response>,
    asked: u32,
    /// The server closes the connection, so what is to be sent needs another one.
    needs_connection: bool,
}

impl Talk {
    /// `cnonce` = fresh random text without quotes.
    pub fn new(credentials: Option<Credentials>, cnonce: String) -> Self {
        Self {
            inbox: Inbox::default(),
            output: Vec::new(),
            login: Login::new(credentials, cnonce),
            cseq: 0,
            pending: None,
            misnumbered: None,
            asked: 0,
            needs_connection: false,
        }
    }

    /// Puts a request in hand, in place of one that is still without an answer. `url` goes on the
    /// request line as it is (see [`request_url`](super::message::request_url)).
    pub fn request(
        &mut self,
        method: &'static str,
        url: Secret,
        headers: Vec<(&'static str, String)>,
    ) {
        self.asked = 0;
        self.misnumbered = None;
        self.pending = Some(Pending {
            method,
            url,
            headers,
            cseq: 0,
            taken: false,
            logs_in: false,
            again: false,
        });
        self.send();
    }

    /// Puts a packet on an interleaved channel (RFC 2326 10.12); one over 64 KiB is left out.
    pub fn send_frame(&mut self, channel: u8, packet: &[u8]) {
        if let Ok(length) = u16::try_from(packet.len()) {
            self.output.extend_from_slice(&[b'$', channel]);
            self.output.extend_from_slice(&length.to_be_bytes());
            self.output.extend_from_slice(packet);
        }
    }

    /// What to write to the socket; empties it.
    pub fn take_output(&mut self) -> Vec<u8> {
        if let Some(pending) = &mut self.pending {
            pending.taken = true;
        }
        std::mem::take(&mut self.output)
    }

    /// The server said that it closes this connection: what is to be written goes to a new one.
    pub fn needs_connection(&self) -> bool {
        self.needs_connection
    }

    /// A new connection is there.
    pub fn connected_anew(&mut self) {
        self.inbox = Inbox::default();
        self.misnumbered = None;
        self.needs_connection = false;
    }

    /// Where the connection ends now, the request in hand may go to another one: it carries the login
    /// that was asked for, and servers close behind a challenge without saying so. Once, because one
    /// that closes behind the login itself may mean a refusal.
    pub fn may_go_again(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.logs_in && !p.again)
    }

    /// What was put out for the last connection is lost with it: the request in hand is put out anew.
    pub fn send_again(&mut self) {
        if let Some(pending) = self.pending.as_mut().filter(|p| p.taken) {
            pending.again = true;
            self.send();
        }
    }

    /// The request in hand carries a login.
    pub fn is_logging_in(&self) -> bool {
        self.login.is_used()
    }

    /// What the last 401 asked for, as FFmpeg would understand it.
    pub fn challenge(&self) -> Challenge {
        self.login.asked_for()
    }

    /// Part of an answer is there, and only a silence or the connection's end tells that it is
    /// all of it.
    pub fn is_open_ended(&self) -> bool {
        self.inbox.is_open_ended() || self.misnumbered.is_some()
    }

    /// An answer by another number is there; it counts where no better one comes.
    pub fn is_misnumbered(&self) -> bool {
        self.misnumbered.is_some()
    }

    /// Takes bytes of the socket. Call [`Talk::next_event`] until it is out of them.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.inbox.feed(bytes);
    }

    /// The next thing that has come whole. `None` = more bytes are needed, or there is something
    /// to be written first.
    pub fn next_event(&mut self) -> Result<Option<Event>, TalkError> {
        while let Some(incoming) = self.inbox.next_message()? {
            if let Some(event) = self.take(incoming)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The connection has ended, or an [open-ended](Talk::is_open_ended) answer has fallen silent.
    pub fn end(&mut self) -> Result<Option<Event>, TalkError> {
        if let Some(response) = self.misnumbered.take()
            && !self.inbox.is_open_ended()
        {
            return self.taken(response);
        }
        match self.inbox.end()? {
            Some(incoming) => self.take(incoming),
            None => Err(TalkError::Closed),
        }
    }

    fn take(&mut self, incoming: Incoming) -> Result<Option<Event>, TalkError> {
        match incoming {
            Incoming::Frame { channel, payload } => Ok(Some(Event::Frame { channel, payload })),
            Incoming::Request { method, cseq } => {
                self.asked += 1;
                if self.asked > MAX_ASKED {
                    return Err(TalkError::Chatter);
                }
                let (status, reason) = match method.as_str() {
                    "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER" => (200, "OK"),
                    _ => (501, "Not Implemented"),
                };
                self.output
                    .extend(write_response(status, reason, cseq.as_deref()));
                Ok(None)
            }
            Incoming::Response(response) => self.answered(response),
        }
    }

    fn answered(&mut self, response: Response) -> Result<Option<Event>, TalkError> {
        let Some(pending) = &self.pending else {
            return Ok(None);
        };
        if response.status < 200 {
            return Ok(None);
        }
        // A missing number is put up with; a wrong one may answer something older.
        if response.cseq().is_some_and(|number| number != pending.cseq) {
            self.misnumbered = Some(response);
            return Ok(None);
        }
        self.taken(response)
    }

    fn taken(&mut self, response: Response) -> Result<Option<Event>, TalkError> {
        self.misnumbered = None;
        if response.status != 401 {
            self.login.passed(response.is_success());
            self.pending = None;
            return Ok(Some(Event::Answer(response)));
        }
        match self.login.challenged(&response) {
            Verdict::Again => {
                self.needs_connection = closes(&response);
                if let Some(pending) = &mut self.pending {
                    pending.logs_in = true;
                }
                self.send();
                Ok(None)
            }
            Verdict::Wanted => Err(TalkError::LoginWanted),
            Verdict::Refused => Err(TalkError::LoginRefused),
            Verdict::NotAllowed => Err(TalkError::NotAllowed),
            Verdict::Unknown => Err(TalkError::LoginUnknown),
            Verdict::StaleForEver => Err(TalkError::StaleForEver),
        }
    }

    fn send(&mut self) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        self.cseq += 1;
        pending.cseq = self.cseq;
        pending.taken = false;
        let url = pending.url.expose();
        let authorization = self.login.authorization(pending.method, url);
        let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(pending.headers.len() + 1);
        if let Some(value) = &authorization {
            headers.push(("Authorization", value));
        }
        headers.extend(pending.headers.iter().map(|(n, v)| (*n, v.as_bytes())));
        self.output
            .extend(write_request(pending.method, url, self.cseq, &headers));
    }
}

/// Whether the server ends the connection behind this answer.
fn closes(response: &Response) -> bool {
    response.all("connection").any(|value| {
        value
            .split(|b| *b == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

#[cfg(test)]
#[path = "talk_tests.rs"]
mod tests;
