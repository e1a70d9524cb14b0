//! What the daemon tells its guard: one JSON object a line. Passwords are among it, so it goes over
//! the pipe and nowhere else.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::camera::{
    CameraAddress, CameraTarget, Credentials, Manner, Protocol, ProtocolOffer,
};
use crate::domain::camera_trust::{CameraTrust, CertificateRule, KeptCertificate, hex, unhex};
use crate::domain::ptz::{Drive, Drives};
use crate::util::secret::Secret;

/// The longest line that is believed.
pub const MAX_LINE: usize = 16 * 1024;
/// Of one address.
const MAX_CERTIFICATES: usize = 16;

/// One camera that may be moving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where.
    pub address: CameraAddress,
    /// Which channel there.
    pub channel: u16,
    /// By what it is spoken to.
    pub protocol: Protocol,
    /// What may move; none = it stands still.
    pub drives: Drives,
    /// The login by which it was set in motion, then others that it has taken. None: it wants none.
    pub logins: Vec<Credentials>,
    /// How it is spoken with.
    pub manner: Manner,
    /// What its certificate is judged by, where it has one.
    pub trust: CameraTrust,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub enum GuardOrder {
    /// Where the node's locks are: whoever moves a camera later claims it there.
    Locks(Vec<PathBuf>),
    /// What is true of a camera from now on.
    Job(Job),
    /// The daemon ends in order: nothing is left to do.
    Done,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Locks(Vec<PathBuf>),
    Job(JobLine),
    Done,
}

#[derive(Serialize, Deserialize)]
struct JobLine {
    ip: IpAddr,
    port: u16,
    channel: u16,
    protocol: String,
    drives: Vec<String>,
    logins: Vec<(String, Clear)>,
    profile: Option<String>,
    onvif_path: Option<String>,
    allow_basic: bool,
    tls: String,
    /// Where, which, and the ports that lead there.
    certificates: Vec<(SocketAddr, String, Vec<u16>)>,
}

/// A password in clear, wiped when it goes.
struct Clear(Zeroizing<String>);

impl Serialize for Clear {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Clear {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

impl Job {
    /// The camera, as it is named in claims.
    pub fn place(&self) -> String {
        place(&self.address, self.channel)
    }

    /// For speaking with it by one of its logins.
    pub fn target(&self, login: Option<&Credentials>) -> CameraTarget {
        CameraTarget {
            address: self.address.clone(),
            credentials: login.cloned(),
            channel: self.channel,
            manner: Manner {
                // To the login that set it in motion by it, and to no other.
                allow_basic: self.manner.allow_basic && self.logins.first() == login,
                ..self.manner.clone()
            },
        }
    }
}

/// A camera, as it is named in claims: by address and channel, whatever the port.
pub fn place(address: &CameraAddress, channel: u16) -> String {
    format!("{}/{channel}", address.ip)
}

fn drive_name(drive: Drive) -> &'static str {
    match drive {
        Drive::PanTiltZoom => "ptz",
        Drive::Focus => "focus",
        Drive::Iris => "iris",
    }
}

/// A line, its end included.
pub fn write(told: &GuardOrder) -> Zeroizing<Vec<u8>> {
    let line = match told {
        GuardOrder::Locks(paths) => Line::Locks(paths.clone()),
        GuardOrder::Done => Line::Done,
        GuardOrder::Job(job) => Line::Job(JobLine {
            ip: job.address.ip,
            port: job.address.port,
            channel: job.channel,
            protocol: job.protocol.name().to_owned(),
            drives: job
                .drives
                .iter()
                .map(|d| drive_name(d).to_owned())
                .collect(),
            logins: job
                .logins
                .iter()
                .map(|c| {
                    let password = Zeroizing::new(c.password().expose().to_owned());
                    (c.username().to_owned(), Clear(password))
                })
                .collect(),
            profile: job.manner.profile.clone(),
            onvif_path: job.manner.onvif_path.clone(),
            allow_basic: job.manner.allow_basic,
            tls: job.trust.rule.name().to_owned(),
            certificates: job
                .trust
                .kept
                .iter()
                .take(MAX_CERTIFICATES)
                .map(|c| (c.at, hex(&c.fingerprint), c.entrances.clone()))
                .collect(),
        }),
    };
    // Room enough from the start: what a growing buffer leaves behind would not be wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    if serde_json::to_writer(&mut *bytes, &line).is_ok() {
        bytes.push(b'\n');
    } else {
        bytes.clear();
    }
    bytes
}

/// Reads a line. `None` for what is none: it comes from a daemon of the same build, so that is a
/// line that its death has cut. `offers` = the protocols there are.
pub fn read(line: &[u8], offers: &[ProtocolOffer]) -> Option<GuardOrder> {
    match serde_json::from_slice(line).ok()? {
        Line::Locks(paths) => Some(GuardOrder::Locks(paths)),
        Line::Done => Some(GuardOrder::Done),
        Line::Job(job) => {
            let mut drives = Drives::NONE;
            for drive in Drive::ALL {
                if job.drives.iter().any(|name| name == drive_name(drive)) {
                    drives.insert(drive);
                }
            }
            let login = |(user, password): &(String, Clear)| {
                Credentials::new(user.clone(), Secret::new(password.0.as_str())).ok()
            };
            Some(GuardOrder::Job(Job {
                address: CameraAddress::new(job.ip, job.port),
                channel: job.channel,
                protocol: offers
                    .iter()
                    .map(|offer| offer.protocol)
                    .find(|protocol| protocol.name() == job.protocol)?,
                drives,
                logins: job.logins.iter().filter_map(login).collect(),
                manner: Manner {
                    profile: job.profile,
                    onvif_path: job.onvif_path,
                    allow_basic: job.allow_basic,
                },
                trust: CameraTrust {
                    // The strictest, rather than none.
                    rule: CertificateRule::ALL
                        .into_iter()
                        .find(|rule| rule.name() == job.tls)
                        .unwrap_or_default(),
                    kept: job.certificates.into_iter().filter_map(kept).collect(),
                },
            }))
        }
    }
}

/// The guard does not live long enough to ask how old it is.
fn kept((at, sha256, entrances): (SocketAddr, String, Vec<u16>)) -> Option<KeptCertificate> {
    Some(KeptCertificate {
        at,
        fingerprint: unhex(&sha256)?,
        since: SystemTime::UNIX_EPOCH,
        entrances,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: [ProtocolOffer; 1] = [ProtocolOffer {
        protocol: Protocol::ISAPI,
        vendors: &[],
    }];

    #[test]
    fn what_is_written_is_read_again() {
        let login = |user: &str| Credentials::new(user, Secret::new("p\"ä\\\u{2028}")).unwrap();
        let mut drives = Drives::only(Drive::Focus);
        drives.insert(Drive::PanTiltZoom);
        let job = Job {
            address: CameraAddress::new("fd00::5".parse().unwrap(), 8899),
            channel: 3,
            protocol: Protocol::ISAPI,
            drives,
            logins: vec![login("admin"), login("viewer")],
            manner: Manner {
                profile: Some("view \"2\"".to_owned()),
                onvif_path: Some("/onvif/services".to_owned()),
                allow_basic: true,
            },
            trust: CameraTrust {
                rule: CertificateRule::Any,
                kept: vec![KeptCertificate {
                    at: "[fd00::5]:443".parse().unwrap(),
                    fingerprint: [0x0F; 32],
                    since: SystemTime::UNIX_EPOCH,
                    entrances: vec![80],
                }],
            },
        };
        assert_eq!(job.place(), "fd00::5/3");
        // Basic is for the login that was allowed it, and set the camera in motion.
        assert!(job.target(Some(&login("admin"))).manner.allow_basic);
        assert!(!job.target(Some(&login("viewer"))).manner.allow_basic);
        assert!(!job.target(None).manner.allow_basic);
        for told in [
            GuardOrder::Job(job),
            GuardOrder::Done,
            GuardOrder::Locks(vec!["/run/lss-0/lss-a.lock".into()]),
        ] {
            let line = write(&told);
            assert_eq!(line.iter().position(|b| *b == b'\n'), Some(line.len() - 1));
            assert_eq!(read(&line, &OFFERS), Some(told));
        }
    }

    #[test]
    fn what_a_death_has_cut_is_nothing() {
        let whole = write(&GuardOrder::Locks(vec!["/run".into()]));
        for cut in 0..whole.len() - 2 {
            assert_eq!(read(&whole[..cut], &OFFERS), None);
        }
    }
}
