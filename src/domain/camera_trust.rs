//! How a camera that speaks TLS is known again: by the certificate it showed first.

use std::net::SocketAddr;
use std::time::SystemTime;

/// The SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

/// What a camera's certificate has to be (`camera.tls`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateRule {
    /// The one that was seen first; what else is wrong with it does not matter. Cameras sign their
    /// own, and let them expire.
    #[default]
    Pin,
    /// Signed by an authority that this machine trusts, valid now, and for the camera's address.
    Verify,
    /// Any: whoever is in between reads along.
    Any,
}

impl CertificateRule {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Pin, Self::Verify, Self::Any];

    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Verify => "verify",
            Self::Any => "any",
        }
    }
}

/// A certificate that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCertificate {
    /// Where it was shown.
    pub at: SocketAddr,
    /// Which it was.
    pub fingerprint: Fingerprint,
    /// When it was seen first.
    pub since: SystemTime,
    /// Ports of the same address without TLS that lead there.
    pub entrances: Vec<u16>,
}

/// What a camera's certificate is judged by, to be handed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameraTrust {
    /// The rule.
    pub rule: CertificateRule,
    /// What is kept of that camera.
    pub kept: Vec<KeptCertificate>,
}

/// A fingerprint as people compare it: hex, in lower case.
pub fn hex(fingerprint: &Fingerprint) -> String {
    use std::fmt::Write as _;
    fingerprint.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The other way; `None` for what is no fingerprint.
pub fn unhex(text: &str) -> Option<Fingerprint> {
    let mut out = Fingerprint::default();
    if text.len() != 2 * out.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}
