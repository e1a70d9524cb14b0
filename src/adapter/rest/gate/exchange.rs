//! One connection's way through the gate: a request in, an answer out, closed. Sans-IO: bytes
//! and moments come in, bytes to write and a deadline come out.
//!
//! The request is taken whole before tiny_http hears of it, and the answer is taken off
//! tiny_http's hands as it comes, so that no worker ever waits for a client.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::chunked::{Decoder, Fed};
use super::head::{self, Framing, Head, MAX_HEAD, Refusal};
use super::outbox::Outbox;
use crate::adapter::rest::reply::Reply;
use crate::domain::error::{ErrorCode, Fault};

/// Longest body (contract 10).
pub const MAX_BODY: usize = 256 * 1024;
/// Bytes that are still read and thrown away behind an answer.
const MAX_DRAINED: usize = 1024 * 1024;

/// How long each part of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From the connection to the last byte of the request.
    pub request: Duration,
    /// From the last byte of the request to the answer.
    pub answer: Duration,
    /// For which the client may take no byte of the answer.
    pub stall: Duration,
    /// For which a client that got its answer may stay.
    pub linger: Duration,
}

/// Where an exchange stands, for choosing whom to close when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The request is not complete.
    Asking,
    /// The request is complete; no part of the answer waits for the client.
    Served,
    /// A part of the answer waits for the client.
    Taking,
    /// Answered; only the client's end is awaited.
    Leaving,
}

#[derive(Debug)]
enum Phase {
    Head,
    Body(Body),
    /// The request goes to tiny_http, the answer comes from it.
    Relay {
        connected: bool,
    },
    /// The answer is complete.
    Flush,
    /// Our side is closed.
    Linger {
        drained: usize,
    },
    Done,
}

#[derive(Debug)]
enum Body {
    Length(usize),
    Chunked(Decoder),
}

/// One connection.
#[derive(Debug)]
pub struct Exchange {
    pace: Pace,
    peer: IpAddr,
    phase: Phase,
    /// When the current phase ends by itself.
    phase_ends: Instant,
    /// The last time the client took a byte of the answer, or the answer began.
    taken_at: Instant,
    /// The head, later the body.
    inbox: Vec<u8>,
    head: Option<Head>,
    to_backend: Outbox,
    to_client: Outbox,
    /// The first bytes of tiny_http's answer, up to the end of its status line.
    status_line: Option<Vec<u8>>,
    close_write: bool,
}

impl Exchange {
    /// A connection that was just made.
    pub fn new(peer: IpAddr, pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            peer,
            phase: Phase::Head,
            phase_ends: now + pace.request,
            taken_at: now,
            inbox: Vec::new(),
            head: None,
            to_backend: Outbox::default(),
            to_client: Outbox::default(),
            status_line: Some(Vec::new()),
            close_write: false,
        }
    }

    /// Whether bytes of the client are wanted now.
    pub fn reads_client(&self) -> bool {
        matches!(
            self.phase,
            Phase::Head | Phase::Body(_) | Phase::Linger { .. }
        )
    }

    /// Whether a connection to tiny_http is wanted now.
    pub fn wants_backend(&self) -> bool {
        matches!(self.phase, Phase::Relay { connected: false })
    }

    /// What waits to be written to the client.
    pub fn to_client(&self) -> &[u8] {
        self.to_client.waiting()
    }

    /// What waits to be written to tiny_http.
    pub fn to_backend(&self) -> &[u8] {
        self.to_backend.waiting()
    }

    /// Nothing more to do: close.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// `true` once, when our side of the connection is to be closed for writing.
    pub fn closes_write(&mut self) -> bool {
        std::mem::take(&mut self.close_write)
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.inbox.len() + self.to_backend.waiting().len() + self.to_client.waiting().len()
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        match self.phase {
            Phase::Head | Phase::Body(_) => Standing::Asking,
            Phase::Relay { .. } | Phase::Flush if !self.to_client.is_empty() => Standing::Taking,
            Phase::Relay { .. } | Phase::Flush => Standing::Served,
            Phase::Linger { .. } | Phase::Done => Standing::Leaving,
        }
    }

    /// When the client last took a byte of the answer.
    pub fn taken_at(&self) -> Instant {
        self.taken_at
    }

    /// When [`on_deadline`](Self::on_deadline) is due.
    pub fn deadline(&self) -> Instant {
        match self.standing() {
            Standing::Taking => self.taken_at + self.pace.stall,
            _ => self.phase_ends,
        }
    }

    /// The client sent something.
    pub fn on_client_bytes(&mut self, bytes: &[u8], now: Instant) {
        let outcome = match &mut self.phase {
            Phase::Head => self.feed_head(bytes, now),
            Phase::Body(_) => self.feed_body(bytes, now),
            Phase::Linger { drained } => {
                *drained += bytes.len();
                if *drained > MAX_DRAINED {
                    self.phase = Phase::Done;
                }
                Ok(())
            }
            Phase::Relay { .. } | Phase::Flush | Phase::Done => Ok(()),
        };
        if let Err(refusal) = outcome {
            self.refuse(&refusal, now);
        }
    }

    /// The client has closed its side.
    pub fn on_client_end(&mut self, now: Instant) {
        match self.phase {
            Phase::Head if self.inbox.is_empty() => self.phase = Phase::Done,
            Phase::Head | Phase::Body(_) => {
                self.refuse(&Refusal::new(400, "the HTTP request ends too early"), now);
            }
            Phase::Linger { .. } => self.phase = Phase::Done,
            Phase::Relay { .. } | Phase::Flush | Phase::Done => {}
        }
    }

    /// The connection is broken: nobody is left to answer.
    pub fn on_client_gone(&mut self) {
        self.phase = Phase::Done;
    }

    /// The client took bytes of [`to_client`](Self::to_client).
    pub fn client_took(&mut self, count: usize, now: Instant) {
        self.to_client.took(count);
        self.taken_at = now;
        self.leave_if_flushed(now);
    }

    /// There is a connection to tiny_http.
    pub fn on_backend_connected(&mut self) {
        if let Phase::Relay { connected } = &mut self.phase {
            *connected = true;
        }
    }

    /// tiny_http took bytes of [`to_backend`](Self::to_backend).
    pub fn backend_took(&mut self, count: usize) {
        self.to_backend.took(count);
    }

    /// tiny_http answers.
    pub fn on_backend_bytes(&mut self, bytes: &[u8], now: Instant) {
        if !matches!(self.phase, Phase::Relay { .. }) {
            return;
        }
        if self.to_client.is_empty() {
            self.taken_at = now;
        }
        let Some(line) = &mut self.status_line else {
            self.to_client.push(bytes);
            return;
        };
        line.extend_from_slice(bytes);
        if let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") {
            // tiny_http closes, but does not say so; a client that keeps connections must know.
            let (status, rest) = line.split_at(end + 2);
            self.to_client.push(status);
            self.to_client.push(b"Connection: close\r\n");
            self.to_client.push(rest);
            self.status_line = None;
        }
    }

    /// tiny_http has closed, or can't be reached.
    pub fn on_backend_end(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Relay { .. }) {
            return;
        }
        self.to_backend = Outbox::default();
        if self.status_line.is_some() {
            let fault = Fault::new(
                ErrorCode::Unavailable,
                "the API could not answer just now; ask for the state before you ask again",
            );
            self.answer(Reply::fault(&fault), now);
        } else {
            self.phase = Phase::Flush;
            self.phase_ends = now + self.pace.stall;
            self.leave_if_flushed(now);
        }
    }

    /// The time of the current phase is over.
    pub fn on_deadline(&mut self, now: Instant) {
        match self.phase {
            // A connection made in advance and never used: nobody waits for an answer.
            Phase::Head if self.inbox.is_empty() => self.phase = Phase::Done,
            Phase::Head | Phase::Body(_) => self.refuse(
                &Refusal::new(
                    408,
                    format!(
                        "the request did not arrive within {} s",
                        self.pace.request.as_secs_f32()
                    ),
                ),
                now,
            ),
            Phase::Relay { .. } if self.status_line.is_some() => self.answer(
                Reply::fault(&Fault::new(
                    ErrorCode::InternalError,
                    "no answer came in time; the log says more",
                )),
                now,
            ),
            Phase::Relay { .. } | Phase::Flush | Phase::Linger { .. } | Phase::Done => {
                self.phase = Phase::Done;
            }
        }
    }

    /// Answers on the gate's own account, whatever the client still sends.
    pub fn answer(&mut self, reply: Reply, now: Instant) {
        let without_body = self.head.as_ref().is_some_and(|head| head.without_body);
        self.inbox = Vec::new();
        self.to_backend = Outbox::default();
        self.to_client.push(&reply.into_bytes(without_body));
        self.taken_at = now;
        self.phase = Phase::Flush;
        self.phase_ends = now + self.pace.stall;
    }

    fn refuse(&mut self, refusal: &Refusal, now: Instant) {
        self.answer(Reply::fault_as(refusal.status, &refusal.fault), now);
    }

    fn feed_head(&mut self, bytes: &[u8], now: Instant) -> Result<(), Refusal> {
        let before = self.inbox.len();
        self.inbox.extend_from_slice(bytes);
        // Parsed when it may be complete, and at its start, where garbage shows itself.
        let tail = self
            .inbox
            .get(before.saturating_sub(3)..)
            .unwrap_or_default();
        let may_end = tail.windows(2).any(|pair| pair == b"\n\n")
            || tail.windows(3).any(|three| three == b"\n\r\n");
        let parsed = if before == 0 || may_end {
            head::parse(&self.inbox, self.peer)?
        } else {
            None
        };
        let Some((head, length)) = parsed.filter(|(_, length)| *length <= MAX_HEAD) else {
            if self.inbox.len() > MAX_HEAD {
                return Err(Refusal::new(431, "the request's headers are over 16 KiB"));
            }
            return Ok(());
        };
        let body = self.inbox.split_off(length);
        self.inbox = Vec::new();
        let framing = head.framing;
        let expects_continue = head.expects_continue;
        self.head = Some(head);
        self.phase = match framing {
            Framing::Chunked => Phase::Body(Body::Chunked(Decoder::default())),
            Framing::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= MAX_BODY => Phase::Body(Body::Length(length)),
                _ => {
                    self.hand_on_without_body(now);
                    return Ok(());
                }
            },
        };
        if expects_continue && body.is_empty() && framing != Framing::Length(0) {
            self.to_client.push(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.feed_body(&body, now)
    }

    fn feed_body(&mut self, bytes: &[u8], now: Instant) -> Result<(), Refusal> {
        let Phase::Body(body) = &mut self.phase else {
            return Ok(());
        };
        let fed = match body {
            Body::Length(length) => {
                let missing = length.saturating_sub(self.inbox.len());
                self.inbox
                    .extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
                if self.inbox.len() == *length {
                    Fed::Complete
                } else {
                    Fed::Partial
                }
            }
            Body::Chunked(decoder) => decoder.feed(bytes, &mut self.inbox, MAX_BODY)?,
        };
        match fed {
            Fed::Partial => {}
            Fed::Complete => self.hand_on(now),
            Fed::Oversize => self.hand_on_without_body(now),
        }
        Ok(())
    }

    fn hand_on(&mut self, now: Instant) {
        if let Some(head) = &self.head {
            let body = std::mem::take(&mut self.inbox);
            let head = head.with_length(body.len());
            self.to_backend.push(head.as_bytes());
            self.to_backend.push(&body);
        }
        self.relay(now);
    }

    /// Too large is answered by the workers, because Host and token are judged first.
    fn hand_on_without_body(&mut self, now: Instant) {
        self.inbox = Vec::new();
        if let Some(head) = &self.head {
            self.to_backend.push(head.with_oversize().as_bytes());
        }
        self.relay(now);
    }

    fn relay(&mut self, now: Instant) {
        self.phase = Phase::Relay { connected: false };
        self.phase_ends = now + self.pace.answer;
        self.taken_at = now;
    }

    fn leave_if_flushed(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Flush) && self.to_client.is_empty() {
            self.phase = Phase::Linger { drained: 0 };
            self.phase_ends = now + self.pace.linger;
            self.close_write = true;
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
