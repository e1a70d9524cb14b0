//! Cryptography of sessions on ring and a bare AES: what str0m and its DTLS ask for, and no more.
//! Both come without a back end, for each of theirs brings C of its own or a second tower of crates.

mod certificate;
mod dtls;
mod srtp;

use std::sync::{Arc, OnceLock};

use ring::rand::{SecureRandom, SystemRandom};
use str0m_proto::crypto::CryptoProvider;

/// For [`str0m::RtcConfig`]. The same for all sessions.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        Arc::new(CryptoProvider {
            srtp_provider: &srtp::Srtp,
            sha1_hmac_provider: &srtp::Srtp,
            sha1_provider: &srtp::Srtp,
            sha256_provider: &srtp::Srtp,
            dtls_provider: &dtls::Dtls,
        })
    };
    PROVIDER.get_or_init(make).clone()
}

pub use certificate::self_signed;

/// `N` letters and digits that nobody can guess; `None` where the operating system has no random
/// bytes.
pub fn random_text<const N: usize>() -> Option<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0_u8; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let letter = |byte: &u8| {
        LETTERS
            .get(usize::from(byte & 0x3F))
            .map(|b| char::from(*b))
    };
    bytes.iter().map(letter).collect()
}

/// A random number of a range that is a power of two; 0 where the operating system has no random
/// bytes: what it is for need only differ, mostly.
pub fn random_number() -> u32 {
    let mut bytes = [0_u8; 4];
    // What is not filled stays 0.
    let _ = SystemRandom::new().fill(&mut bytes);
    u32::from_be_bytes(bytes)
}
