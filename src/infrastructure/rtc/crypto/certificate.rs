//! The certificate that a session shows, and the key in the one that its peer shows. Nobody signs
//! either: the SDP names their fingerprints, and that is what is checked (RFC 8827, 6.5).

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use str0m::config::DtlsCert;

use crate::infrastructure::http::certificate;
use crate::infrastructure::http::der::{
    BIT_STRING, COMMON_NAME, GENERALIZED_TIME, INTEGER, OID, SEQUENCE, SET, UTC_TIME, UTF8_STRING,
    VERSION, expect, write,
};

/// ecdsa-with-SHA256, id-ecPublicKey, and the two curves.
const ECDSA_SHA256: [u8; 8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: [u8; 7] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P256: [u8; 8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: [u8; 5] = [0x2B, 0x81, 0x04, 0x00, 0x22];

/// A new P-256 key and a certificate that it has signed itself; `None` where the operating system
/// has no random bytes. Its validity has no bounds: a gateway's clock may be wrong, and the
/// certificate lives no longer than its session.
pub fn self_signed() -> Option<DtlsCert> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).ok()?;
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).ok()?;
    // Some peers keep certificates by their serial numbers: these have to differ.
    let mut serial = [0_u8; 16];
    random.fill(&mut serial).ok()?;
    let [first, ..] = &mut serial;
    // Positive, and no leading zero.
    *first = *first & 0x7F | 0x40;

    let algorithm = write(SEQUENCE, &[&write(OID, &[&ECDSA_SHA256])]);
    let common_name = [
        write(OID, &[&COMMON_NAME]),
        write(UTF8_STRING, &[b"WebRTC"]),
    ]
    .concat();
    let name = write(
        SEQUENCE,
        &[&write(SET, &[&write(SEQUENCE, &[&common_name])])],
    );
    let validity = write(
        SEQUENCE,
        &[
            &write(UTC_TIME, &[b"000101000000Z"]),
            // "No well-defined expiration date" (RFC 5280, 4.1.2.5).
            &write(GENERALIZED_TIME, &[b"99991231235959Z"]),
        ],
    );
    let curve = [write(OID, &[&EC_PUBLIC_KEY]), write(OID, &[&P256])].concat();
    let public = write(
        SEQUENCE,
        &[
            &write(SEQUENCE, &[&curve]),
            &write(BIT_STRING, &[&[0], pair.public_key().as_ref()]),
        ],
    );
    let body = write(
        SEQUENCE,
        &[
            &write(VERSION, &[&write(INTEGER, &[&[2]])]),
            &write(INTEGER, &[&serial]),
            &algorithm,
            &name,
            &validity,
            &name,
            &public,
        ],
    );
    let signature = pair.sign(&random, &body).ok()?;
    let signed = [
        body,
        algorithm,
        write(BIT_STRING, &[&[0], signature.as_ref()]),
    ]
    .concat();
    Some(DtlsCert {
        certificate: write(SEQUENCE, &[&signed]),
        private_key: key.as_ref().to_vec(),
    })
}

/// Curves on which a peer's key may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

/// What can't be made of a peer's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// It is none.
    Unreadable,
    /// An RSA key, say.
    NotElliptic,
    /// A curve that ring does not verify.
    OtherCurve,
}

/// The public key in a certificate, and its curve.
pub fn public_key(certificate: &[u8]) -> Result<(Curve, &[u8]), NoKey> {
    let read = certificate::public_key(certificate).ok_or(NoKey::Unreadable)?;
    let (kind, parameters) = expect(read.algorithm, OID).ok_or(NoKey::Unreadable)?;
    if kind != EC_PUBLIC_KEY {
        return Err(NoKey::NotElliptic);
    }
    let (curve, _) = expect(parameters, OID).ok_or(NoKey::OtherCurve)?;
    if curve == P256 {
        Ok((Curve::P256, read.key))
    } else if curve == P384 {
        Ok((Curve::P384, read.key))
    } else {
        Err(NoKey::OtherCurve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infrastructure::http::der::item;
    use proptest::prelude::*;
    use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    #[test]
    fn it_is_signed_by_its_own_key_and_each_is_another() {
        let (one, two) = (self_signed().unwrap(), self_signed().unwrap());
        assert_ne!(one.certificate, two.certificate);
        let (curve, key) = public_key(&one.certificate).unwrap();
        assert_eq!((curve, key.len(), key[0]), (Curve::P256, 65, 4));
        let (whole, rest) = expect(&one.certificate, SEQUENCE).unwrap();
        assert!(rest.is_empty());
        let (_, _, rest) = item(whole).unwrap();
        let body = &whole[..whole.len() - rest.len()];
        let (_, rest) = expect(rest, SEQUENCE).unwrap();
        let (signature, _) = expect(rest, BIT_STRING).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(body, &signature[1..])
            .unwrap();
    }

    #[test]
    fn people_and_other_parsers_can_read_it() {
        let made = self_signed().unwrap();
        let facts = certificate::facts(&made.certificate).unwrap();
        assert_eq!(facts.subject, "WebRTC");
        assert_eq!(facts.issuer, "WebRTC");
        // rustls' reader is the strictest that is at hand.
        let der = rustls::pki_types::CertificateDer::from(made.certificate.clone());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der).unwrap();
    }

    #[test]
    fn keys_that_are_not_ours_are_named() {
        let of = |algorithm: &'static rcgen::SignatureAlgorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let made = rcgen::CertificateParams::default();
            made.self_signed(&key).unwrap().der().to_vec()
        };
        let p384 = of(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(public_key(&p384).unwrap().0, Curve::P384);
        let ed25519 = of(&rcgen::PKCS_ED25519);
        assert_eq!(public_key(&ed25519), Err(NoKey::NotElliptic));
        assert_eq!(public_key(b"none"), Err(NoKey::Unreadable));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(cut in 0..400_usize, at in 0..400_usize, byte in any::<u8>()) {
            let mut bytes = self_signed().unwrap().certificate;
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            let _ = public_key(&bytes);
        }
    }
}
