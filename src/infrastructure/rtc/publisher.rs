//! One session that sends a camera's pictures, and its sound where there is some, to a WHIP endpoint.
//!
//! The order of things: [`Publisher::new`] makes the offer, [`Publisher::accept`] takes the answer,
//! and from then on whatever arrives goes to [`Publisher::receive`], passing time to
//! [`Publisher::timeout`], media to [`Publisher::video`] and [`Publisher::audio`]. After each of these
//! [`Publisher::poll`] is asked until it says [`Output::Wait`].
//!
//! A session that is lost does not come back: the owner opens a fresh one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::error::RtcError;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RtpWrite};
use str0m::{Candidate, IceCreds, Input, Rtc, RtcConfig};

use super::answer::{self, Refusal};
use super::crypto;
use super::figures::{Figures, Meter};
use super::stamps::Stamps;
use crate::util::foreign;

/// Payload type of H.264, and of its retransmissions.
const H264: u8 = 96;
const H264_AGAIN: u8 = 97;
/// Constrained Baseline, level 3.1, whatever the camera sends: servers match profiles strictly, and
/// a browser decodes more than it is told (OBS offers the same).
const PROFILE: u32 = 0x0042_e01f;
/// Header extension by which a bundled stream is told apart before its SSRC is known.
const MID_EXTENSION: u8 = 4;
/// Packets that can be sent again: 4 Mb/s for four seconds.
const CACHE: usize = 2048;
/// Age of a packet up to which it is sent again.
const CACHE_AGE: Duration = Duration::from_secs(3);
/// Share of retransmissions over which those that wait are dropped.
const CACHE_RATIO: f32 = 0.15;
/// Longest wait between two ICE checks, which a live peer answers, and how many go unanswered before
/// str0m takes consent for lost.
const STUN_WAIT: Duration = Duration::from_secs(1);
const STUN_TRIES: usize = 7;
/// Nothing at all has come for that long: the peer is gone. str0m takes up to six seconds longer to
/// say so of one that has checked on us just before.
const SILENCE: Duration = Duration::from_secs(8);
/// From the answer to the first packet of media. So that its failure is told, and another way taken,
/// before a whole start is given up (`start_timeout`), which the camera and the answer share.
const CONNECT: Duration = Duration::from_secs(6);
/// Figures are measured once in this time.
const MEASURE: Duration = Duration::from_secs(1);
/// What a session that has ended waits for.
const FOR_LONG: Duration = Duration::from_secs(3600);
/// Where the next wake-up is due, but would bring nothing new.
const A_MOMENT: Duration = Duration::from_millis(1);
/// Characters of an error's words.
const MAX_WORDS: usize = 200;

/// Payload bytes of one packet at most: with RTP's header, an extension, a tag and a retransmission's
/// two bytes it stays below 1,200 bytes of UDP.
pub const MOST_PAYLOAD: usize = 1140;

/// What the owner does next.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Transmit {
        /// One of the host candidates.
        from: SocketAddr,
        /// The peer.
        to: SocketAddr,
        /// As they are.
        bytes: Vec<u8>,
    },
    /// Nothing before this moment, but for what arrives.
    Wait(Instant),
    /// Something has happened; ask again.
    Event(Event),
}

/// What happens in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Media may be sent now.
    Connected,
    /// A viewer can't decode before the next keyframe.
    KeyframeWanted,
    /// The peer is not the one that the answer names: somebody sits in between, or the endpoint is
    /// broken. The session is over, and must not be tried by a sender that does not check this.
    FingerprintWrong,
    /// The session is over.
    Lost(Loss),
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// ICE found no way to the endpoint.
    #[error("no UDP address of the WHIP endpoint answers (ICE): a firewall may drop UDP")]
    NoWay,
    /// ICE did, DTLS did not.
    #[error("no DTLS handshake with the WHIP endpoint{0}")]
    NoHandshake(String),
    /// The peer answers no more.
    #[error("the WHIP endpoint answers no more (ICE consent is lost)")]
    Silent,
    /// The peer has ended the session in order.
    #[error("the WHIP endpoint has ended the session")]
    Ended,
    /// Anything else, in str0m's words.
    #[error("the WebRTC session has failed: {0}")]
    Failed(String),
}

/// Why there is no offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoOffer {
    /// Not one of the addresses can be a candidate.
    #[error("this machine has no address to send WebRTC from")]
    NoAddress,
    /// For keys and passwords.
    #[error("the operating system gives no random bytes")]
    NoRandom,
    /// str0m made none.
    #[error("no WebRTC offer could be made")]
    Failed,
}

/// How far a session is.
#[derive(Debug)]
enum Stage {
    /// The offer is out.
    Offered(SdpPendingOffer),
    /// ICE and DTLS are under way; since when.
    Connecting(Instant),
    /// Media flows; when the peer was last heard.
    Connected(Instant),
    /// What is still to be said, if it has not been yet.
    Over(Option<Event>),
}

/// One stream of the session.
#[derive(Debug)]
struct Track {
    mid: Mid,
    format: Option<Pt>,
    /// Extended, so that it never wraps. Begins below 65,536: peers take the upper bits for 0.
    sequence: u64,
    /// Where its timestamps begin.
    base: u32,
}

impl Track {
    fn new(mid: Mid) -> Self {
        let random = crypto::random_number();
        Self {
            mid,
            format: None,
            // Half the range, so that a peer sees no wrap right at the start.
            sequence: u64::from(random & 0x7fff),
            base: random,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Publisher {
    rtc: Rtc,
    stage: Stage,
    /// ICE has found a way, once.
    way: bool,
    video: Track,
    stamps: Stamps,
    audio: Option<Track>,
    meter: Meter,
}

impl Publisher {
    /// A session to be offered from these addresses, each a bound socket's, and its offer.
    pub fn new(
        now: Instant,
        host_candidates: &[SocketAddr],
        audio: bool,
    ) -> Result<(Self, String), NoOffer> {
        let mut rtc = config()?.build(now);
        for address in host_candidates {
            if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
        }
        let mut changes = rtc.sdp_api();
        // One stream for both, so that viewers keep lips and voice together.
        let stream = crypto::random_text::<16>().ok_or(NoOffer::NoRandom)?;
        let mut add = |kind| {
            let direction = Direction::SendOnly;
            changes.add_media(kind, direction, Some(stream.clone()), None, None)
        };
        let video = Track::new(add(MediaKind::Video));
        let audio = audio.then(|| Track::new(add(MediaKind::Audio)));
        let (offer, pending) = changes.apply().ok_or(NoOffer::Failed)?;
        let offer = offer.to_sdp_string();
        if !offer.contains("a=candidate:") {
            return Err(NoOffer::NoAddress);
        }
        let publisher = Self {
            rtc,
            stage: Stage::Offered(pending),
            way: false,
            video,
            stamps: Stamps::default(),
            audio,
            meter: Meter::default(),
        };
        Ok((publisher, in_ours(&offer)))
    }

    /// Takes the endpoint's answer. One that can't be taken leaves the session as it was, unless
    /// its grammar alone is at fault: then it is over.
    pub fn accept(&mut self, sdp: &str, now: Instant) -> Result<(), Refusal> {
        let taken = answer::look(sdp, self.audio.is_some())?;
        let parsed =
            SdpAnswer::from_sdp_string(sdp).map_err(|e| Refusal::unreadable(&e.to_string()))?;
        let pending = match std::mem::replace(&mut self.stage, Stage::Over(None)) {
            Stage::Offered(pending) => pending,
            other => {
                self.stage = other;
                return Err(Refusal::Late);
            }
        };
        let unreadable = |error: RtcError| Refusal::unreadable(&error.to_string());
        self.rtc
            .handle_input(Input::Timeout(now))
            .map_err(unreadable)?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, parsed)
            .map_err(unreadable)?;
        let format = |rtc: &Rtc, track: &Track| {
            rtc.media(track.mid)
                .filter(|media| media.direction().is_sending())
                .and_then(|media| media.remote_pts().first().copied())
        };
        self.video.format = format(&self.rtc, &self.video);
        if self.video.format.is_none() {
            return Err(Refusal::NoH264);
        }
        self.audio = self.audio.take().filter(|_| taken.audio).map(|mut track| {
            track.format = format(&self.rtc, &track);
            track
        });
        self.audio = self.audio.take().filter(|track| track.format.is_some());
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.video.mid, None) {
            stream.set_rtx_cache(CACHE, CACHE_AGE, Some(CACHE_RATIO));
        }
        self.stage = Stage::Connecting(now);
        Ok(())
    }

    /// The endpoint takes sound, too. Known once the answer is.
    pub fn takes_audio(&self) -> bool {
        self.audio.as_ref().is_some_and(|t| t.format.is_some())
    }

    /// A datagram that has arrived at one of the addresses. What is none of a session's is passed over.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        // A peer that is quicker than its answer tries again; nothing of its can be checked yet.
        if matches!(self.stage, Stage::Offered(_) | Stage::Over(_)) {
            return;
        }
        let Ok(datagram) = Receive::new(Protocol::Udp, from, to, bytes) else {
            return;
        };
        let input = Input::Receive(now, datagram);
        // Anyone can send to an open port.
        if !self.rtc.accepts(&input) {
            return;
        }
        if let Stage::Connected(heard) = &mut self.stage {
            *heard = now;
        }
        if let Err(error) = self.rtc.handle_input(input) {
            self.failed(&error);
        }
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Over(_)) {
            return;
        }
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            self.failed(&error);
        }
        match self.stage {
            Stage::Connecting(since) if now >= since + CONNECT => {
                let why = if self.way {
                    Loss::NoHandshake(String::new())
                } else {
                    Loss::NoWay
                };
                self.end(Event::Lost(why));
            }
            Stage::Connected(heard) if now >= heard + SILENCE => {
                self.end(Event::Lost(Loss::Silent));
            }
            _ => {}
        }
    }

    /// The packets of one picture, or of a part of it: `ends` says that the last one is its last.
    /// `ticks` are of 90 kHz, from any beginning; pictures may go out faster than these say, as those of
    /// a keyframe group that was kept do. Goes nowhere before the session is connected.
    pub fn video(&mut self, now: Instant, ticks: u64, packets: &[Arc<[u8]>], ends: bool) {
        if !matches!(self.stage, Stage::Connected(_)) {
            return;
        }
        let stamp = self.stamps.stamp(ticks, now);
        let count = packets.len();
        for (at, packet) in packets.iter().enumerate() {
            let marker = ends && at + 1 == count;
            write(&mut self.rtc, &mut self.video, now, stamp, packet, marker);
        }
        self.written(now);
    }

    /// One packet of Opus. `ticks` are of 48 kHz, from any beginning.
    pub fn audio(&mut self, now: Instant, ticks: u64, packet: &Arc<[u8]>) {
        if !matches!(self.stage, Stage::Connected(_)) {
            return;
        }
        if let Some(track) = &mut self.audio {
            write(&mut self.rtc, track, now, ticks, packet, false);
            self.written(now);
        }
    }

    /// What is written leaves with the next step of time.
    fn written(&mut self, now: Instant) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            self.failed(&error);
        }
    }

    /// Ends the session in order: what is polled from now on tells the peer.
    pub fn close(&mut self) {
        if !matches!(self.stage, Stage::Over(_)) {
            self.stage = Stage::Over(None);
            if self.rtc.close().is_err() {
                self.rtc.disconnect();
            }
        }
    }

    /// What there is to do now.
    pub fn poll(&mut self, now: Instant) -> Output {
        let mut woken = false;
        loop {
            if let Stage::Over(event) = &mut self.stage
                && let Some(event) = event.take()
            {
                self.rtc.disconnect();
                return Output::Event(event);
            }
            match self.rtc.poll_output() {
                Ok(str0m::Output::Transmit(datagram)) => {
                    let bytes: Vec<u8> = datagram.contents.into();
                    self.meter.sent(&bytes, H264_AGAIN);
                    return Output::Transmit {
                        from: datagram.source,
                        to: datagram.destination,
                        bytes,
                    };
                }
                Ok(str0m::Output::Event(event)) => {
                    if let Some(event) = self.happened(event, now) {
                        return Output::Event(event);
                    }
                }
                Ok(str0m::Output::Timeout(at)) => {
                    if matches!(self.stage, Stage::Over(_)) {
                        return Output::Wait(now + FOR_LONG);
                    }
                    if at > now {
                        return Output::Wait(self.bounded(at, now));
                    }
                    if woken {
                        return Output::Wait(now + A_MOMENT);
                    }
                    woken = true;
                    self.timeout(now);
                }
                // The only complaints about an SDP this late are of the fingerprint.
                Err(RtcError::RemoteSdp(_)) => self.end(Event::FingerprintWrong),
                Err(error) => {
                    self.failed(&error);
                    if woken {
                        return Output::Wait(now + A_MOMENT);
                    }
                    woken = true;
                }
            }
        }
    }

    /// Not later than a deadline of our own.
    fn bounded(&self, at: Instant, now: Instant) -> Instant {
        let most = match self.stage {
            Stage::Connecting(since) => since + CONNECT,
            Stage::Connected(heard) => heard + SILENCE,
            _ => now + FOR_LONG,
        };
        at.min(most)
    }

    /// Loss, delay, and what was sent.
    pub fn figures(&self) -> Figures {
        self.meter.figures()
    }

    fn happened(&mut self, event: str0m::Event, now: Instant) -> Option<Event> {
        match event {
            str0m::Event::Connected => {
                if matches!(self.stage, Stage::Connecting(_)) {
                    self.stage = Stage::Connected(now);
                    return Some(Event::Connected);
                }
            }
            str0m::Event::IceConnectionStateChange(state) => {
                if state.is_connected() {
                    self.way = true;
                } else if state.is_disconnected() && self.way {
                    // Before that it says that no way has been found yet, and one may still be.
                    self.end(Event::Lost(Loss::Silent));
                }
            }
            str0m::Event::KeyframeRequest(_) => return Some(Event::KeyframeWanted),
            str0m::Event::Closed => self.end(Event::Lost(Loss::Ended)),
            str0m::Event::MediaEgressStats(stats) if stats.mid == self.video.mid => {
                self.meter.media(&stats);
            }
            str0m::Event::PeerStats(stats) => self.meter.peer(&stats),
            _ => {}
        }
        None
    }

    fn failed(&mut self, error: &RtcError) {
        let words = foreign::shown(&error.to_string(), MAX_WORDS);
        match (&self.stage, error) {
            (Stage::Connecting(_), RtcError::Dtls(_)) => {
                self.end(Event::Lost(Loss::NoHandshake(handshake_words(&words))));
            }
            // Once there are keys, a bad record harms nobody.
            (Stage::Over(_), _) | (Stage::Connected(_), RtcError::Dtls(_)) => {}
            _ => self.end(Event::Lost(Loss::Failed(words))),
        }
    }

    fn end(&mut self, event: Event) {
        if !matches!(self.stage, Stage::Over(_)) {
            self.stage = Stage::Over(Some(event));
        }
    }
}

fn write(
    rtc: &mut Rtc,
    track: &mut Track,
    now: Instant,
    ticks: u64,
    packet: &Arc<[u8]>,
    last: bool,
) {
    let Some(format) = track.format else {
        return;
    };
    let mut direct = rtc.direct_api();
    let Some(stream) = direct.stream_tx_by_mid(track.mid, None) else {
        return;
    };
    // The lower half goes round, as timestamps do.
    let low = u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or(0);
    let timestamp = track.base.wrapping_add(low);
    let sequence = track.sequence.into();
    track.sequence += 1;
    stream.write_rtp(
        RtpWrite::new(format, sequence, timestamp, now, packet.clone())
            .marker(last)
            .nackable(true),
    );
}

/// What DTLS complains of where a peer has an RSA certificate alone, which only ECDHE_ECDSA can't do
/// with: `handshake_failure` (40) and its kin from a server; from a client, a key or signature of
/// another kind.
const LIKE_RSA: [&str; 5] = [
    "description=40",
    "description=42",
    "description=43",
    "public key algorithm",
    "signature algorithm",
];

fn handshake_words(words: &str) -> String {
    let words = words.strip_prefix("DTLS error: ").unwrap_or(words);
    let hint = if LIKE_RSA.iter().any(|sign| words.contains(sign)) {
        "; its certificate may be RSA, where WebRTC asks for ECDSA"
    } else {
        ""
    };
    format!(" ({words}{hint})")
}

fn config() -> Result<RtcConfig, NoOffer> {
    let (Some(ufrag), Some(pass)) = (
        crypto::random_text::<8>(),
        // 128 bits at least (RFC 8445, 5.3).
        crypto::random_text::<32>(),
    ) else {
        return Err(NoOffer::NoRandom);
    };
    let certificate = crypto::self_signed().ok_or(NoOffer::NoRandom)?;
    let mut config = RtcConfig::new()
        .set_crypto_provider(crypto::provider())
        .set_dtls_cert(certificate)
        .set_local_ice_credentials(IceCreds { ufrag, pass })
        .set_rtp_mode(true)
        .set_stats_interval(Some(MEASURE))
        .clear_extension_map()
        .set_extension(MID_EXTENSION, Extension::RtpMid)
        .clear_codecs()
        .enable_opus(true, false);
    config
        .codec_config()
        .add_h264(H264.into(), Some(H264_AGAIN.into()), true, PROFILE);
    config.set_max_stun_rto(STUN_WAIT);
    config.set_max_stun_retransmits(STUN_TRIES);
    Ok(config)
}

/// str0m's offer as WHIP wants it: `rtcp-mux-only` (RFC 9725, 4.4.1), and no trickling of candidates,
/// which we neither do nor understand.
fn in_ours(offer: &str) -> String {
    offer
        .replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n")
        .replace("a=ice-options:trickle\r\n", "")
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
