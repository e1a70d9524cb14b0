//! The file of cameras' certificates. Knows the format; what it means is for who speaks TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::domain::camera_trust::{KeptCertificate, hex, unhex};

/// Its name in the state directory.
pub const FILE: &str = "certificates.json";
/// Longest that is read: many times what is written.
const MAX_FILE: u64 = 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    version: u32,
    certificates: Vec<CertificateShape>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateShape {
    at: SocketAddr,
    sha256: String,
    since: u64,
    entrances: Vec<u16>,
}

/// What is kept; nothing where there is no file, and in words why it can't be used.
pub fn read(dir: &Path) -> Result<Vec<KeptCertificate>, String> {
    let bytes = super::read(dir, FILE, MAX_FILE).map_err(|why| why.to_string())?;
    let Some(bytes) = bytes else {
        return Ok(Vec::new());
    };
    let shape: Shape = serde_json::from_slice(&bytes).map_err(|why| format!("damaged: {why}"))?;
    if shape.version != VERSION {
        return Err(format!("of another version ({})", shape.version));
    }
    let all: Option<Vec<KeptCertificate>> = shape.certificates.into_iter().map(kept).collect();
    all.ok_or("damaged".to_owned())
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
        assert_eq!(read(dir.path()), Ok(Vec::new()));
        let all = vec![KeptCertificate {
            at: "[fd00::5]:443".parse().unwrap(),
            fingerprint: [0xAB; 32],
            since: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            entrances: vec![80, 8000],
        }];
        write(dir.path(), &all).unwrap();
        assert_eq!(read(dir.path()), Ok(all));
        let good = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        for bad in [
            "",
            "{}",
            "null",
            &good[..good.len() / 2],
            &good.replace("\"version\":1", "\"version\":2"),
            &good.replace("abab", "abxx"),
            &good.replace(":443", ""),
            &good.replace("1800000000", "18446744073709551615"),
            &"x".repeat(2_000_000),
        ] {
            std::fs::write(dir.path().join(FILE), bad).unwrap();
            assert!(read(dir.path()).is_err(), "{}", &bad[..bad.len().min(200)]);
        }
    }
}
