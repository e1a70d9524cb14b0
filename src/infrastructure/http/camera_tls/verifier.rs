//! What is asked of a camera's certificate within the handshake: that whoever shows it holds its
//! key. Whose it is, is judged when the hands are shaken, before anything else is sent.
//!
//! webpki refuses certificates of version 1 and RSA keys below 2,048 bits whatever they are wanted
//! for, and both are what cameras have. So the key is taken out here, and the signature is left to
//! the same algorithms; PKCS#1 signatures of short keys to ring itself.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, alg_id};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::infrastructure::http::certificate;

/// See the module.
#[derive(Debug)]
pub(super) struct HoldsItsKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl HoldsItsKey {
    pub fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { algorithms }
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &[u8],
        scheme: SignatureScheme,
        signature: &[u8],
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = certificate::public_key(certificate)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let known = self.algorithms.mapping.iter();
        let good = known
            .filter(|(named, _)| *named == scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
            .any(|algorithm| {
                let verified = algorithm.verify_signature(key.key, message, signature);
                verified.is_ok()
            });
        if good || is_signed_by_short_key(scheme, key, message, signature) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }
}

/// RSA of 1,024 bits and more with PKCS#1. ring has no PSS for such keys, which is all that TLS 1.3
/// knows.
fn is_signed_by_short_key(
    scheme: SignatureScheme,
    key: certificate::PublicKey<'_>,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let algorithm = match scheme {
        SignatureScheme::RSA_PKCS1_SHA256 => {
            &ring::signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
        }
        SignatureScheme::RSA_PKCS1_SHA512 => {
            &ring::signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
        }
        _ => return false,
    };
    key.algorithm == alg_id::RSA_ENCRYPTION.as_ref()
        && ring::signature::UnparsedPublicKey::new(algorithm, key.key)
            .verify(message, signature)
            .is_ok()
}

impl ServerCertVerifier for HoldsItsKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss.scheme, dss.signature())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss.scheme, dss.signature())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        // PKCS#1 before PSS: a camera with a short key that takes the first it knows gets one that
        // can be checked. TLS 1.3 leaves it out of account.
        schemes.sort_by_key(|scheme| {
            matches!(
                scheme,
                SignatureScheme::RSA_PSS_SHA256
                    | SignatureScheme::RSA_PSS_SHA384
                    | SignatureScheme::RSA_PSS_SHA512
            )
        });
        schemes
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tls::provider;
    use super::*;

    /// A certificate with an RSA key of 1,024 bits, and what that key has signed with PKCS#1 and SHA-256.
    const SHORT: &str = "308201f830820161a00302010202140bc23765b8682da87ab3400665000f1e6ba365ae300d06092a864886f7\
         0d01010b0500300e310c300a06035504030c0363616d301e170d3236313133303034323134345a170d323631\
         3230313034323134345a300e310c300a06035504030c0363616d30819f300d06092a864886f70d0101010500\
         03818d0030818902818100b152078886ca64353b95a93c815b33ad79d4b7ab38326dd2c7fdb77c837820de9d\
         0b3594d2fe7853f58757bb6e0b1ce267ccc59df254d38bd37021ec985dfbe218fb391dfee9c795220c5c7e42\
         955c421849c975547cab8f50df54e920f642e8fc689e9f5c8f695253a914431e4b31215b43456ec0ec808ead\
         8582af4595fb410203010001a3533051301d0603551d0e041604149b005d10cc0204674272694f179b3a151b\
         87700d301f0603551d230418301680149b005d10cc0204674272694f179b3a151b87700d300f0603551d1301\
         01ff040530030101ff300d06092a864886f70d01010b0500038181005774a3134a8d56173ff67b4074c54858\
         3998175c2bc4f6bcb5dd8b4d15e364fb228442c7fe8bcace8699879b43d35e2cc82848841b731281b3024d16\
         36d26b362647159da688a6b135d972a0489dbfc30f2f0ae7aa53d0ecf95b64b6c3ef5e9d6dbbbe85f255e678\
         cab47fcb01862529eaaa65704e8b5c72b276b8a8057c0939";
    const SIGNATURE: &str = "9acb492bbcbef36413bca69771c7799c0afe2c912d7e4c678d3c3e31061ecff16d3b2ba6d9c053a36283c6a8\
         1c71256224b8656fe495507b07fa757f3446b4b2eaefafb1c12af57ba908374935eda6a1aa5b957c7e21f6b2\
         88fe5ffc3e8107ffd8123acf6f8a3a2d33e8b6cd22e049313ee9387bfe0341774e56131c88ff2e42";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn a_short_key_counts_where_it_can_be_checked() {
        let verifier = HoldsItsKey::new(provider().signature_verification_algorithms);
        let verify = |message: &str, scheme| {
            let (certificate, signature) = (bytes(SHORT), bytes(SIGNATURE));
            let good = verifier.verify(message.as_bytes(), &certificate, scheme, &signature);
            good.is_ok()
        };
        assert!(verify("a handshake", SignatureScheme::RSA_PKCS1_SHA256));
        assert!(!verify("another one", SignatureScheme::RSA_PKCS1_SHA256));
        for scheme in [
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA1,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ] {
            assert!(!verify("a handshake", scheme), "{scheme:?}");
        }
        let rubbish = verifier.verify(b"", b"", SignatureScheme::RSA_PKCS1_SHA256, b"");
        assert!(rubbish.is_err());
    }

    #[test]
    fn what_a_short_key_can_do_is_offered_first() {
        let verifier = HoldsItsKey::new(provider().signature_verification_algorithms);
        let schemes = verifier.supported_verify_schemes();
        let at = |scheme| schemes.iter().position(|s| *s == scheme).unwrap();
        assert!(at(SignatureScheme::RSA_PKCS1_SHA512) < at(SignatureScheme::RSA_PSS_SHA512));
        assert!(!schemes.contains(&SignatureScheme::RSA_PKCS1_SHA1));
    }
}
