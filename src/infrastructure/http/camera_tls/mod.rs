//! TLS as cameras speak it: their own certificates, which are known again by what they were at first.
//!
//! Owns the rule (`camera.tls`), the certificates that are kept, and the sessions that can be taken
//! up again. A handshake ends with the certificate judged, so nothing that leaves later, a login
//! least of all, reaches a stranger. Knows no HTTP and no RTSP.
//!
//! What can't be spoken with, because the TLS library has none of it: TLS before 1.2, and 1.2 without
//! ephemeral keys and AEAD ciphers (plain RSA key exchange, CBC, RC4).

mod pins;
mod verifier;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, ProtocolVersion,
    SupportedProtocolVersion,
};
use sha2::{Digest as _, Sha256};

use self::pins::{Judged, Pins};
use self::verifier::HoldsItsKey;
use super::bounded::Bounded;
use super::response::is_timeout;
use super::tls::{TrustStore, provider};
use super::wire::Wire;
use crate::domain::camera_trust::{
    CameraTrust, CertificateRule, Fingerprint, KeptCertificate, hex,
};
use crate::util::time::rfc3339;

/// Places whose sessions are kept; beyond that all are forgotten, which costs a longer handshake.
const MAX_PLACES: usize = 256;
/// Sessions of one place.
const SESSIONS: usize = 4;

/// Why there is no TLS with a camera. Nothing but the handshake has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsTrouble {
    /// What it answers is no TLS.
    NoTls(String),
    /// The handshake broke off: closed, reset, an alert. A camera does that which has no session
    /// free or restarts, so it says nothing about whether it speaks TLS.
    BrokenOff(String),
    /// It speaks TLS, and none that is spoken here.
    TooOld(String),
    /// It is not shown the certificate that it has to be.
    Certificate(String),
    /// Out of time.
    Late(String),
}

impl TlsTrouble {
    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::NoTls(words)
            | Self::BrokenOff(words)
            | Self::TooOld(words)
            | Self::Certificate(words)
            | Self::Late(words) => words,
        }
    }
}

/// See the module.
pub struct CameraTls {
    rule: CertificateRule,
    trust: TrustStore,
    pins: Mutex<Pins>,
    sessions: Mutex<HashMap<SocketAddr, Arc<ClientConfig>>>,
    changed: (Sender<()>, Receiver<()>),
}

impl std::fmt::Debug for CameraTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CameraTls")
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

impl CameraTls {
    /// Nothing is kept yet, and no file read.
    pub fn new(rule: CertificateRule) -> Self {
        Self {
            rule,
            trust: TrustStore::new(None),
            pins: Mutex::default(),
            sessions: Mutex::default(),
            changed: bounded(1),
        }
    }

    /// Hands over what was kept before.
    pub fn take_back(&self, kept: Vec<KeptCertificate>) {
        self.pins().take_back(kept);
    }

    /// All that is kept, to be written or handed on.
    pub fn kept(&self) -> Vec<KeptCertificate> {
        self.pins().all()
    }

    /// What the certificates of one address are judged by, to be handed on.
    pub fn trust(&self, ip: IpAddr) -> CameraTrust {
        CameraTrust {
            rule: self.rule,
            kept: self.pins().of(ip),
        }
    }

    /// Hears of each change, several as one.
    pub fn on_change(&self) -> Receiver<()> {
        self.changed.1.clone()
    }

    /// Forgets the certificates of an address: the next ones are the first there. What that was.
    pub fn forget(&self, ip: IpAddr) -> Vec<KeptCertificate> {
        let forgotten = self.pins().forget(ip);
        // A session that is taken up again shows the certificate of before.
        self.sessions().retain(|at, _| at.ip() != ip);
        for certificate in &forgotten {
            log::info!(at:% = certificate.at, sha256 = hex(&certificate.fingerprint).as_str(); "a camera's certificate is forgotten");
        }
        if !forgotten.is_empty() {
            self.tell();
        }
        forgotten
    }

    /// Whether nothing but TLS may be spoken there.
    pub(super) fn is_kept(&self, at: SocketAddr) -> bool {
        !self.may_speak_plain() && self.pins().has(at)
    }

    /// Where a port without TLS has led, if a certificate is kept of that.
    pub(super) fn behind(&self, entrance: SocketAddr) -> Option<SocketAddr> {
        if self.may_speak_plain() {
            return None;
        }
        self.pins().behind(entrance)
    }

    /// A port without TLS has led to one with it.
    pub(super) fn leads(&self, entrance: SocketAddr, to: SocketAddr) {
        if !self.may_speak_plain() && self.pins().leads(entrance, to) {
            self.tell();
        }
    }

    /// Whether a port that is usual for HTTPS is spoken to by nothing else, even by whom it has
    /// never answered by TLS.
    pub(super) fn wants_tls_where_usual(&self) -> bool {
        self.rule == CertificateRule::Verify
    }

    /// Whether a camera may go back from TLS to none.
    pub(super) fn may_speak_plain(&self) -> bool {
        self.rule == CertificateRule::Any
    }

    /// Connects, shakes hands with who is at the other end, and judges the certificate.
    pub fn secure<E: From<TlsTrouble>>(
        &self,
        at: SocketAddr,
        deadline: Instant,
        connect: impl Fn() -> Result<TcpStream, E>,
    ) -> Result<Wire, E> {
        match self.shake_hands(Bounded::of(connect()?, deadline), at) {
            Err(Failed::ShortKey) => {
                log::debug!(at:%; "a key too short for TLS 1.3: by TLS 1.2 from now on");
                self.keep(at, self.make_config(&[&TLS12]).map_err(|why| setup(&why))?);
                let tcp = Bounded::of(connect()?, deadline);
                self.shake_hands(tcp, at)
                    .map_err(|failed| failed.trouble(at).into())
            }
            done => done.map_err(|failed| failed.trouble(at).into()),
        }
    }

    fn shake_hands(&self, mut tcp: Bounded, at: SocketAddr) -> Result<Wire, Failed> {
        let config = self.config(at).map_err(|why| Failed::Judged(setup(&why)))?;
        let mut tls = ClientConnection::new(config, ServerName::from(at.ip()))
            .map_err(|why| Failed::Judged(setup(&why.to_string())))?;
        while tls.is_handshaking() {
            if let Err(why) = tls.complete_io(&mut tcp) {
                let by_13 = tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                return Err(match rustls_error(&why) {
                    Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature))
                        if by_13 && tls.peer_certificates().is_none() =>
                    {
                        Failed::ShortKey
                    }
                    _ => Failed::Io(why),
                });
            }
        }
        // Our last word may still lie in the buffer.
        while tls.wants_write() {
            tls.write_tls(&mut tcp).map_err(Failed::Io)?;
        }
        let certificate = tls.peer_certificates().and_then(<[_]>::first);
        let Some(certificate) = certificate else {
            let words = format!("{at} shows no certificate");
            return Err(Failed::Judged(TlsTrouble::Certificate(words)));
        };
        let shown: Fingerprint = Sha256::digest(certificate).into();
        self.judge(at, shown).map_err(Failed::Judged)?;
        Ok(Wire::secured(tcp, tls))
    }

    fn judge(&self, at: SocketAddr, shown: Fingerprint) -> Result<(), TlsTrouble> {
        let now = SystemTime::now();
        match self.rule {
            CertificateRule::Any => return Ok(()),
            CertificateRule::Verify => {
                // An authority vouches for it, whichever it is; that there is TLS is what is kept.
                if self.pins().replace(at, shown, now) {
                    self.tell();
                }
                return Ok(());
            }
            CertificateRule::Pin => {}
        }
        let judged = self.pins().judge(at, shown, now);
        match judged {
            Judged::Known => Ok(()),
            Judged::First { forgotten } => {
                log::info!(
                    at:%, sha256 = hex(&shown).as_str();
                    "a camera's certificate is seen for the first time and kept: from now on no other passes there"
                );
                if let Some(gone) = forgotten {
                    log::warn!(at:% = gone; "too many certificates of cameras are kept: this one makes room");
                }
                self.tell();
                Ok(())
            }
            Judged::Other { kept, news } => {
                let (was, is) = (hex(&kept.fingerprint), hex(&shown));
                if news {
                    log::warn!(
                        at:%, kept = was.as_str(), shown = is.as_str();
                        "a camera shows another certificate than before: refused, nothing was sent"
                    );
                }
                Err(TlsTrouble::Certificate(format!(
                    "{at} shows another certificate (SHA-256 {}…) than the one first seen on {} ({}…): \
                     somebody may be in between. If the camera has a new one, \
                     DELETE /api/cameras/{{id}}/certificate forgets the old",
                    is.get(..16).unwrap_or_default(),
                    rfc3339(kept.since).get(..10).unwrap_or_default(),
                    was.get(..16).unwrap_or_default(),
                )))
            }
        }
    }

    /// Each place has sessions of its own: what is taken up again shows that place's certificate.
    fn config(&self, at: SocketAddr) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.sessions().get(&at) {
            return Ok(config.clone());
        }
        // May read files: not under the lock.
        let config = self.make_config(&[&TLS13, &TLS12])?;
        Ok(self.keep(at, config))
    }

    fn keep(&self, at: SocketAddr, config: ClientConfig) -> Arc<ClientConfig> {
        let config = Arc::new(config);
        let mut sessions = self.sessions();
        if sessions.len() >= MAX_PLACES {
            sessions.clear();
        }
        sessions.insert(at, config.clone());
        config
    }

    fn make_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|why| why.to_string())?;
        let mut config = match self.rule {
            CertificateRule::Verify => {
                let roots = self.trust.roots().map_err(|why| why.to_string())?;
                builder
                    .with_root_certificates(roots.store())
                    .with_no_client_auth()
            }
            CertificateRule::Pin | CertificateRule::Any => {
                let algorithms = provider().signature_verification_algorithms;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(HoldsItsKey::new(algorithms)))
                    .with_no_client_auth()
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(config)
    }

    fn tell(&self) {
        // Full = somebody is going to look anyway.
        let _ = self.changed.0.try_send(());
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<ClientConfig>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn setup(why: &str) -> TlsTrouble {
    TlsTrouble::BrokenOff(format!("TLS can't be set up: {why}"))
}

/// Why a handshake has failed.
enum Failed {
    Io(io::Error),
    Judged(TlsTrouble),
    /// The signature is one that can't be checked in TLS 1.3.
    ShortKey,
}

impl Failed {
    fn trouble(self, at: SocketAddr) -> TlsTrouble {
        match self {
            Self::Judged(trouble) => trouble,
            Self::Io(why) => trouble(at, &why),
            Self::ShortKey => not_its_own(at),
        }
    }
}

fn not_its_own(at: SocketAddr) -> TlsTrouble {
    TlsTrouble::Certificate(format!(
        "{at} does not prove that its certificate is its own"
    ))
}

fn rustls_error(why: &io::Error) -> Option<&rustls::Error> {
    why.get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

fn trouble(at: SocketAddr, why: &io::Error) -> TlsTrouble {
    if is_timeout(why) {
        return TlsTrouble::Late(format!("{at} does not finish the TLS handshake in time"));
    }
    match rustls_error(why) {
        None => TlsTrouble::BrokenOff(format!("{at} closes the connection in a TLS handshake")),
        Some(rustls::Error::InvalidMessage(_)) => {
            TlsTrouble::NoTls(format!("what {at} answers is no TLS"))
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) => not_its_own(at),
        Some(rustls::Error::InvalidCertificate(why)) => {
            TlsTrouble::Certificate(format!("the certificate of {at} does not do: {why}"))
        }
        Some(
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            ),
        ) => TlsTrouble::TooOld(format!(
            "{at} speaks only a TLS that is too old (lss needs 1.2 with ECDHE and AES-GCM or ChaCha20)"
        )),
        Some(other) => TlsTrouble::BrokenOff(format!("no TLS with {at}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_spoken_tls_is_held_to_it_unless_any_will_do() {
        let at = SocketAddr::from(([192, 0, 2, 7], 443));
        let entrance = SocketAddr::from(([192, 0, 2, 7], 80));
        for rule in CertificateRule::ALL {
            let held = rule != CertificateRule::Any;
            let tls = CameraTls::new(rule);
            assert_eq!(tls.judge(at, [1; 32]), Ok(()));
            tls.leads(entrance, at);
            assert_eq!(tls.is_kept(at), held, "{rule:?}");
            assert_eq!(tls.behind(entrance), held.then_some(at), "{rule:?}");
            // What an authority vouches for may change.
            let other = tls.judge(at, [2; 32]);
            assert_eq!(other.is_err(), rule == CertificateRule::Pin, "{rule:?}");
            assert_eq!(tls.behind(entrance), held.then_some(at), "{rule:?}");
            let later = CameraTls::new(rule);
            later.take_back(tls.kept());
            assert_eq!(later.behind(entrance), held.then_some(at), "{rule:?}");
        }
    }
}
