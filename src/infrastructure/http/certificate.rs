//! What a certificate says of itself: owner, signer, its time and its key (X.509, RFC 5280, 4.1), in
//! any version. Whether a certificate is good is for others to judge. Pure.

use std::time::{Duration, SystemTime};

use super::der::{
    BIT_STRING, COMMON_NAME, GENERALIZED_TIME, INTEGER, OID, SEQUENCE, SET, UTC_TIME, VERSION,
    expect, item,
};
use crate::domain::checkup::CertificateFacts;
use crate::util::foreign;

/// id-at-organizationName.
const ORGANISATION: [u8; 3] = [0x55, 0x04, 0x0A];
/// A name is shown up to so many characters.
const MAX_NAME: usize = 80;

/// Reads a certificate in DER; `None` for what is none.
pub fn facts(der: &[u8]) -> Option<CertificateFacts> {
    let fields = Fields::read(der)?;
    let (from_tag, from, rest) = item(fields.validity)?;
    let (until_tag, until, _) = item(rest)?;
    Some(CertificateFacts {
        subject: name(fields.subject),
        issuer: name(fields.issuer),
        from: moment(from_tag, from),
        until: moment(until_tag, until),
    })
}

/// A certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey<'a> {
    /// The content of its AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The key itself, in the form of that algorithm.
    pub key: &'a [u8],
}

/// Reads the key of a certificate in DER.
pub fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let (algorithm, rest) = expect(Fields::read(der)?.key, SEQUENCE)?;
    let (bits, _) = expect(rest, BIT_STRING)?;
    // Whole bytes: no bit of the last one is unused.
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else {
        return None;
    };
    Some(PublicKey { algorithm, key })
}

/// The fields of a certificate that are of interest, unread.
struct Fields<'a> {
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (tbs, _) = expect(certificate, SEQUENCE)?;
        // Version 1 names none.
        let rest = match item(tbs)? {
            (VERSION, _, rest) => rest,
            _ => tbs,
        };
        let (_serial, rest) = expect(rest, INTEGER)?;
        let (_algorithm, rest) = expect(rest, SEQUENCE)?;
        let (issuer, rest) = expect(rest, SEQUENCE)?;
        let (validity, rest) = expect(rest, SEQUENCE)?;
        let (subject, rest) = expect(rest, SEQUENCE)?;
        let (key, _) = expect(rest, SEQUENCE)?;
        Some(Self {
            issuer,
            validity,
            subject,
            key,
        })
    }
}

/// The common name, else the organisation.
fn name(mut sets: &[u8]) -> String {
    let (mut common, mut organisation) = (None, None);
    while let Some((set, rest)) = expect(sets, SET) {
        sets = rest;
        let Some((pair, _)) = expect(set, SEQUENCE) else {
            continue;
        };
        let Some((oid, value)) = expect(pair, OID) else {
            continue;
        };
        let Some((_, text, _)) = item(value) else {
            continue;
        };
        let text = || foreign::shown_bytes(text, MAX_NAME);
        if oid == COMMON_NAME {
            common = Some(text());
        } else if oid == ORGANISATION {
            organisation = Some(text());
        }
    }
    common
        .or(organisation)
        .unwrap_or_else(|| "no name".to_owned())
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; times before 1970 count as 1970.
fn moment(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let full = match tag {
        // RFC 5280, 4.1.2.5.1
        UTC_TIME if text.len() == 12 => {
            let century = if text.get(..2)? < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| full.get(from..to);
    let shown = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    if part(0, 4)? < "1970" {
        return Some(SystemTime::UNIX_EPOCH);
    }
    humantime::parse_rfc3339(&shown)
        .ok()
        // Keeps sums with it within what a SystemTime holds on every target.
        .filter(|at| {
            at.duration_since(SystemTime::UNIX_EPOCH)
                .is_ok_and(|d| d < Duration::from_secs(253_402_300_800))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["rcs.test".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "The Proxy CA");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Firewalls Inc");
        params.not_before = date_time_ymd(2024, 2, 29);
        params.not_after = date_time_ymd(2060, 1, 2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_times() {
        let facts = facts(&certificate()).unwrap();
        assert_eq!(facts.subject, "The Proxy CA");
        assert_eq!(facts.issuer, "The Proxy CA");
        let shown = |at: Option<SystemTime>| crate::util::time::rfc3339(at.unwrap());
        assert_eq!(shown(facts.from), "2024-02-29T00:00:00.000Z");
        assert_eq!(shown(facts.until), "2060-01-02T00:00:00.000Z");
    }

    #[test]
    fn times_of_both_kinds() {
        assert_eq!(
            moment(UTC_TIME, b"491231235959Z"),
            humantime::parse_rfc3339("2049-12-31T23:59:59Z").ok()
        );
        assert_eq!(
            moment(UTC_TIME, b"500101000000Z"),
            Some(SystemTime::UNIX_EPOCH)
        );
        for bad in [
            &b"20240101Z"[..],
            b"991332000000Z",
            b"24010100000+Z",
            b"\xFF",
        ] {
            assert_eq!(moment(UTC_TIME, bad), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0_usize..400,
        ) {
            let _ = facts(&bytes);
            let whole = certificate_once();
            let _ = facts(whole.get(..cut.min(whole.len())).unwrap());
        }
    }

    fn certificate_once() -> &'static [u8] {
        static MADE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        MADE.get_or_init(certificate)
    }
}
