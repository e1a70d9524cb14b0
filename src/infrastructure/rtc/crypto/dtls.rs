//! DTLS by dimpl, its cryptography by ring: ECDHE with ECDSA, which is what WebRTC peers must speak
//! (RFC 8827, 6.5). A peer whose only certificate is RSA can't be had.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aes::Aes128;
use dimpl::crypto::{
    Aad, ActiveKeyExchange, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, Dtls13CipherSuite,
    HashAlgorithm, HashContext, HashProvider, HmacProvider, KeyProvider, NamedGroup, Nonce,
    SecureRandom, SignatureAlgorithm, SignatureVerifier, SigningKey, SupportedDtls12CipherSuite,
    SupportedDtls13CipherSuite, SupportedKxGroup, TmpBuf,
};
use dimpl::{Config, CryptoError, CryptoOperation};
use ring::aead::{self, AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA384_ASN1,
    ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaKeyPair, VerificationAlgorithm,
};
use ring::{digest, hmac, signature};
use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion,
};
use str0m_proto::crypto::{CryptoError as ProtoError, DtlsVersion};

use super::certificate::{Curve, NoKey, public_key, self_signed};
use super::srtp::one_block;

/// First wait for an answer to a flight; doubles with each try.
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// Tries after the first one of a flight.
const TRIES: usize = 4;
/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// GCM's tag, in both versions.
const TAG: usize = 16;

const fn refused(operation: CryptoOperation) -> CryptoError {
    CryptoError::OperationFailed(operation)
}

/// Makes DTLS endpoints, and everything they ask for.
#[derive(Debug)]
pub struct Dtls;

impl DtlsProvider for Dtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self_signed()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, ProtoError> {
        let config = config(mtu)?;
        let endpoint = match version {
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert.clone(), now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert.clone(), now),
            _ => dimpl::Dtls::new_12(config, cert.clone(), now),
        };
        Ok(Box::new(Endpoint(endpoint)))
    }
}

/// Built once: dimpl proves the cryptography by known answers each time.
fn config(mtu: Option<usize>) -> Result<Arc<Config>, ProtoError> {
    static BUILT: OnceLock<(Option<usize>, Arc<Config>)> = OnceLock::new();
    if let Some((of, config)) = BUILT.get()
        && *of == mtu
    {
        return Ok(config.clone());
    }
    let mut builder = Config::builder()
        .with_crypto_provider(PROVIDER)
        .flight_start_rto(FIRST_WAIT)
        .flight_retries(TRIES)
        .handshake_timeout(HANDSHAKE);
    if let Some(mtu) = mtu {
        builder = builder.mtu(mtu);
    }
    let built = Arc::new(builder.build().map_err(ProtoError::DtlsImpl)?);
    let _ = BUILT.set((mtu, built.clone()));
    Ok(built)
}

const PROVIDER: CryptoProvider = CryptoProvider {
    kx_groups: &[&Exchange::X25519, &Exchange::P256],
    signature_verification: &Dtls,
    key_provider: &Dtls,
    secure_random: &Dtls,
    hash_provider: &Dtls,
    hmac_provider: &Dtls,
    cipher_suites: &[&Suite::Aes128, &Suite::Aes256],
    dtls13_cipher_suites: &[&Suite::Aes128],
};

/// dimpl's endpoint as str0m wants it.
#[derive(Debug)]
struct Endpoint(dimpl::Dtls);

impl DtlsInstance for Endpoint {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

/// Cipher suites, of DTLS 1.2 and of 1.3.
#[derive(Debug)]
enum Suite {
    /// With SHA-256.
    Aes128,
    /// With SHA-384.
    Aes256,
}

impl Suite {
    const fn key(&self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }

    const fn hash(&self) -> HashAlgorithm {
        match self {
            Self::Aes128 => HashAlgorithm::SHA256,
            Self::Aes256 => HashAlgorithm::SHA384,
        }
    }

    fn cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let algorithm = match self {
            Self::Aes128 => &AES_128_GCM,
            Self::Aes256 => &AES_256_GCM,
        };
        let key =
            UnboundKey::new(algorithm, key).map_err(|_| refused(CryptoOperation::CreateCipher))?;
        Ok(Box::new(Gcm(LessSafeKey::new(key))))
    }
}

impl SupportedDtls12CipherSuite for Suite {
    fn suite(&self) -> Dtls12CipherSuite {
        match self {
            Self::Aes128 => Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
            Self::Aes256 => Dtls12CipherSuite::ECDHE_ECDSA_AES256_GCM_SHA384,
        }
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.hash()
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        (0, self.key(), 4)
    }

    fn explicit_nonce_len(&self) -> usize {
        8
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        self.cipher(key)
    }
}

impl SupportedDtls13CipherSuite for Suite {
    fn suite(&self) -> Dtls13CipherSuite {
        match self {
            Self::Aes128 => Dtls13CipherSuite::AES_128_GCM_SHA256,
            Self::Aes256 => Dtls13CipherSuite::AES_256_GCM_SHA384,
        }
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.hash()
    }

    fn key_len(&self) -> usize {
        self.key()
    }

    fn iv_len(&self) -> usize {
        12
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        self.cipher(key)
    }

    fn encrypt_sn(&self, key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        let mut mask = [0; 16];
        match self {
            Self::Aes128 => one_block::<Aes128>(key, sample, &mut mask),
            Self::Aes256 => one_block::<aes::Aes256>(key, sample, &mut mask),
        }
        mask
    }
}

struct Gcm(LessSafeKey);

impl std::fmt::Debug for Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gcm")
    }
}

impl Cipher for Gcm {
    fn encrypt(&mut self, text: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce.0);
        self.0
            .seal_in_place_append_tag(nonce, aead::Aad::from(&aad[..]), text)
            .map_err(|_| refused(CryptoOperation::Encrypt))
    }

    fn decrypt(&mut self, text: &mut TmpBuf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce.0);
        let length = self
            .0
            .open_in_place(nonce, aead::Aad::from(&aad[..]), text.as_mut())
            .map_err(|_| refused(CryptoOperation::Decrypt))?
            .len();
        text.truncate(length);
        Ok(())
    }
}

/// Groups of the key exchange.
#[derive(Debug)]
enum Exchange {
    X25519,
    P256,
}

impl SupportedKxGroup for Exchange {
    fn name(&self) -> NamedGroup {
        match self {
            Self::X25519 => NamedGroup::X25519,
            Self::P256 => NamedGroup::Secp256r1,
        }
    }

    fn start_exchange(&self, mut buf: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let algorithm = match self {
            Self::X25519 => &X25519,
            Self::P256 => &ECDH_P256,
        };
        let private = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new())
            .map_err(|_| refused(CryptoOperation::GenerateEphemeralKey))?;
        let public = private
            .compute_public_key()
            .map_err(|_| refused(CryptoOperation::ComputePublicKey))?;
        buf.clear();
        buf.extend_from_slice(public.as_ref());
        Ok(Box::new(Exchanging {
            group: self.name(),
            algorithm,
            private: Some(private),
            public: buf,
        }))
    }
}

/// One exchange under way.
struct Exchanging {
    group: NamedGroup,
    algorithm: &'static agreement::Algorithm,
    private: Option<EphemeralPrivateKey>,
    public: Buf,
}

impl std::fmt::Debug for Exchanging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchanging({:?})", self.group)
    }
}

impl ActiveKeyExchange for Exchanging {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn complete(mut self: Box<Self>, peer: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let wrong = CryptoError::InvalidPublicKey(self.group);
        let Some(private) = self.private.take() else {
            return Err(wrong);
        };
        let peer = UnparsedPublicKey::new(self.algorithm, peer);
        agreement::agree_ephemeral(private, &peer, |secret| {
            out.clear();
            out.extend_from_slice(secret);
        })
        .map_err(|_| wrong)
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}

impl SignatureVerifier for Dtls {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        if algorithm != SignatureAlgorithm::ECDSA {
            return Err(CryptoError::UnsupportedSignatureAlgorithm(algorithm));
        }
        let (curve, key) = public_key(certificate).map_err(|why| match why {
            NoKey::Unreadable => CryptoError::CertificateParseFailed,
            NoKey::NotElliptic => CryptoError::UnsupportedPublicKeyAlgorithm,
            NoKey::OtherCurve => CryptoError::UnsupportedEcCurve,
        })?;
        let group = match curve {
            Curve::P256 => NamedGroup::Secp256r1,
            Curve::P384 => NamedGroup::Secp384r1,
        };
        let verifies: &dyn VerificationAlgorithm = match (curve, hash) {
            (Curve::P256, HashAlgorithm::SHA256) => &ECDSA_P256_SHA256_ASN1,
            (Curve::P256, HashAlgorithm::SHA384) => &ECDSA_P256_SHA384_ASN1,
            (Curve::P384, HashAlgorithm::SHA256) => &ECDSA_P384_SHA256_ASN1,
            (Curve::P384, HashAlgorithm::SHA384) => &ECDSA_P384_SHA384_ASN1,
            _ => {
                return Err(CryptoError::UnsupportedSignatureVerification {
                    signature: algorithm,
                    hash,
                    group,
                });
            }
        };
        signature::UnparsedPublicKey::new(verifies, key)
            .verify(data, signature)
            .map_err(|_| CryptoError::SignatureVerificationFailed {
                signature: algorithm,
                hash,
                group,
            })
    }
}

impl KeyProvider for Dtls {
    fn load_private_key(&self, key: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &random)
            .map(|pair| Box::new(Signs(pair)) as Box<dyn SigningKey>)
            .map_err(|_| CryptoError::InvalidPrivateKey)
    }
}

/// The key of our own certificate.
struct Signs(EcdsaKeyPair);

impl std::fmt::Debug for Signs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signs")
    }
}

impl SigningKey for Signs {
    fn sign(
        &mut self,
        data: &[u8],
        requested: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), CryptoError> {
        let key_hash = self.hash_algorithm();
        if requested != key_hash {
            return Err(CryptoError::SigningKeyHashMismatch {
                key_hash,
                requested,
            });
        }
        let signature = self
            .0
            .sign(&SystemRandom::new(), data)
            .map_err(|_| refused(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

impl SecureRandom for Dtls {
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
        SystemRandom::new()
            .fill(buf)
            .map_err(|_| refused(CryptoOperation::FillRandom))
    }
}

impl HashProvider for Dtls {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        // The suites ask for these two alone.
        let algorithm = match algorithm {
            HashAlgorithm::SHA384 => &digest::SHA384,
            _ => &digest::SHA256,
        };
        Box::new(Hashing(digest::Context::new(algorithm)))
    }
}

struct Hashing(digest::Context);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing")
    }
}

impl HashContext for Hashing {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        out.clear();
        out.extend_from_slice(self.0.clone().finish().as_ref());
    }
}

impl HmacProvider for Dtls {
    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let algorithm = match hash {
            HashAlgorithm::SHA256 => hmac::HMAC_SHA256,
            HashAlgorithm::SHA384 => hmac::HMAC_SHA384,
            _ => return Err(CryptoError::UnsupportedHmacHash(hash)),
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), data);
        let tag = tag.as_ref();
        out.get_mut(..tag.len())
            .ok_or(refused(CryptoOperation::ComputeHmac))?
            .copy_from_slice(tag);
        Ok(tag.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimpl_finds_every_known_answer() {
        let all = CryptoProvider {
            dtls13_cipher_suites: &[&Suite::Aes128, &Suite::Aes256],
            ..PROVIDER
        };
        all.validate().unwrap();
        assert!(config(Some(1150)).is_ok());
        assert_eq!(config(Some(900)).unwrap().mtu(), 900);
    }

    #[test]
    fn what_the_own_key_signs_its_certificate_verifies() {
        let made = self_signed().unwrap();
        let mut signature = Buf::new();
        Dtls.load_private_key(&made.private_key)
            .unwrap()
            .sign(b"words", HashAlgorithm::SHA256, &mut signature)
            .unwrap();
        let verify = |data: &[u8], hash| {
            Dtls.verify_signature(
                &made.certificate,
                data,
                &signature,
                hash,
                SignatureAlgorithm::ECDSA,
            )
        };
        assert_eq!(verify(b"words", HashAlgorithm::SHA256), Ok(()));
        assert!(verify(b"other", HashAlgorithm::SHA256).is_err());
        assert!(verify(b"words", HashAlgorithm::SHA384).is_err());
        assert!(verify(b"words", HashAlgorithm::MD5).is_err());
    }
}
