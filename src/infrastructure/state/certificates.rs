//! The file of cameras' certificates. Knows the format; what it means is for who speaks TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::camera_trust::{KeptCertificate, hex, unhex};

/// Its name in the state directory.
pub const FILE: &str = "certificates.json";
/// Longest that is read: many times what is written.
const MAX_FILE: u64 = 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<C> {
    version: u32,
    certificates: Vec<C>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateShape {
    at: SocketAddr,
    sha256: String,
    since: u64,
    entrances: Vec<u16>,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The certificates, in the order of the file.
    pub certificates: Vec<KeptCertificate>,
    /// Entries that can't be read. They cost no other its place.
    pub damaged: usize,
}

/// What is kept; nothing where there is no file, and in words why it can't be used.
pub fn read(dir: &Path) -> Result<Found, String> {
    let bytes = super::read(dir, FILE, MAX_FILE).map_err(|why| why.to_string())?;
    let Some(bytes) = bytes else {
        return Ok(Found::default());
    };
    let shape: Shape<Value> =
        serde_json::from_slice(&bytes).map_err(|why| format!("damaged: {why}"))?;
    if shape.version != VERSION {
        return Err(format!("of another version ({})", shape.version));
    }
    let entries = shape.certificates.len();
    let read = |entry| serde_json::from_value(entry).ok().and_then(kept);
    let certificates: Vec<_> = shape.certificates.into_iter().filter_map(read).collect();
    Ok(Found {
        damaged: entries - certificates.len(),
        certificates,
    })
}

/// Keeps it.
pub fn write(dir: &Path, all: &[KeptCertificate]) -> io::Result<()> {
    let shape = Shape {
        version: VERSION,
        certificates: all.iter().map(shape).collect(),
    };
    super::write(dir, FILE, &serde_json::to_vec(&shape)?)
}

fn shape(kept: &KeptCertificate) -> CertificateShape {
    let since = kept.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    CertificateShape {
        at: kept.at,
        sha256: hex(&kept.fingerprint),
        since: since.as_secs(),
        entrances: kept.entrances.clone(),
    }
}

fn kept(shape: CertificateShape) -> Option<KeptCertificate> {
    // The year 10000.
    (shape.since < 253_402_300_800).then_some(())?;
    Some(KeptCertificate {
        at: shape.at,
        fingerprint: unhex(&shape.sha256)?,
        since: UNIX_EPOCH + Duration::from_secs(shape.since),
        entrances: shape.entrances,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Ok(Found::default()));
        let all = vec![KeptCertificate {
            at: "[fd00::5]:443".parse().unwrap(),
            fingerprint: [0xAB; 32],
            since: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            entrances: vec![80, 8000],
        }];
        write(dir.path(), &all).unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!((found.certificates, found.damaged), (all, 0));
        let good = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        for bad in [
            "",
            "{}",
            "null",
            &good[..good.len() / 2],
            &good.replace("\"version\":1", "\"version\":2"),
            &"x".repeat(2_000_000),
        ] {
            std::fs::write(dir.path().join(FILE), bad).unwrap();
            assert!(read(dir.path()).is_err(), "{}", &bad[..bad.len().min(200)]);
        }
    }

    #[test]
    fn a_damaged_entry_costs_no_other_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let of = |host: u8| KeptCertificate {
            at: ([192, 0, 2, host], 443).into(),
            fingerprint: [host; 32],
            since: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            entrances: vec![80],
        };
        write(dir.path(), &[of(1), of(0xAB), of(3)]).unwrap();
        let good = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let entry = |host: u8| serde_json::to_string(&shape(&of(host))).unwrap();
        for bad in [
            entry(0xAB).replace("abab", "abxx"),
            entry(0xAB).replace(":443", ""),
            entry(0xAB).replace("1800000000", "18446744073709551615"),
            entry(0xAB).replace("1800000000", "253402300800"),
            entry(0xAB).replace("[80]", "[80,-1]"),
            "{}".to_owned(),
            "null".to_owned(),
        ] {
            assert!(good.contains(&entry(0xAB)));
            let damaged = good.replace(&entry(0xAB), &bad);
            std::fs::write(dir.path().join(FILE), damaged).unwrap();
            let found = read(dir.path()).unwrap();
            assert_eq!(found.certificates, [of(1), of(3)], "{bad}");
            assert_eq!(found.damaged, 1, "{bad}");
        }
    }
}
