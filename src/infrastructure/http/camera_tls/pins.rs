//! Which certificate was seen first at which address and port. Pure; no clock, no file.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use crate::domain::camera_trust::{Fingerprint, KeptCertificate};

/// Most that are kept: as many as cameras are listed. Beyond that, the one that was used longest ago
/// makes room.
pub const MAX_PINS: usize = 1024;
/// Ports that lead to one place.
const MAX_ENTRANCES: usize = 4;

/// What is thought of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// The one that is kept.
    Known,
    /// The first one there; kept from now on. Where room had to be made: whose is forgotten.
    First {
        /// What made room.
        forgotten: Option<SocketAddr>,
    },
    /// Not the one that is kept.
    Other {
        /// What is kept.
        kept: KeptCertificate,
        /// It was not seen before, so it is worth a word in the log.
        news: bool,
    },
}

#[derive(Debug)]
struct Pin {
    fingerprint: Fingerprint,
    since: SystemTime,
    entrances: Vec<u16>,
    /// Place in the order of use.
    used: u64,
    /// The last one that was refused.
    refused: Option<Fingerprint>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pins {
    pins: HashMap<SocketAddr, Pin>,
    uses: u64,
}

impl Pins {
    /// Judges a certificate, and keeps it if it is the first.
    pub fn judge(&mut self, at: SocketAddr, shown: Fingerprint, now: SystemTime) -> Judged {
        self.uses += 1;
        let used = self.uses;
        if let Some(pin) = self.pins.get_mut(&at) {
            if pin.fingerprint == shown {
                pin.used = used;
                pin.refused = None;
                return Judged::Known;
            }
            let news = pin.refused != Some(shown);
            pin.refused = Some(shown);
            return Judged::Other {
                kept: kept(at, pin),
                news,
            };
        }
        let forgotten = self.make_room();
        let pin = Pin {
            fingerprint: shown,
            since: now,
            entrances: Vec::new(),
            used,
            refused: None,
        };
        self.pins.insert(at, pin);
        Judged::First { forgotten }
    }

    /// Keeps a certificate whatever was kept there; true if it is another.
    pub fn replace(&mut self, at: SocketAddr, shown: Fingerprint, now: SystemTime) -> bool {
        match self.judge(at, shown, now) {
            Judged::Known => false,
            Judged::First { .. } => true,
            Judged::Other { .. } => {
                if let Some(pin) = self.pins.get_mut(&at) {
                    pin.fingerprint = shown;
                    pin.since = now;
                    pin.used = self.uses;
                    pin.refused = None;
                }
                true
            }
        }
    }

    fn make_room(&mut self) -> Option<SocketAddr> {
        if self.pins.len() < MAX_PINS {
            return None;
        }
        let oldest = self.pins.iter().min_by_key(|(_, pin)| pin.used);
        let oldest = oldest.map(|(at, _)| *at)?;
        self.pins.remove(&oldest);
        Some(oldest)
    }

    /// Whether a certificate is kept of this very port.
    pub fn has(&self, at: SocketAddr) -> bool {
        self.pins.contains_key(&at)
    }

    /// Where a port without TLS leads, if that place's certificate is kept.
    pub fn behind(&self, entrance: SocketAddr) -> Option<SocketAddr> {
        let leads = |(at, pin): &(&SocketAddr, &Pin)| {
            at.ip() == entrance.ip() && pin.entrances.contains(&entrance.port())
        };
        self.pins.iter().find(leads).map(|(at, _)| *at)
    }

    /// A port leads to where a certificate is kept; true if that was not known.
    pub fn leads(&mut self, entrance: SocketAddr, to: SocketAddr) -> bool {
        let Some(pin) = self.pins.get_mut(&to) else {
            return false;
        };
        let new = !pin.entrances.contains(&entrance.port()) && pin.entrances.len() < MAX_ENTRANCES;
        if new {
            pin.entrances.push(entrance.port());
        }
        new
    }

    /// All of an address.
    pub fn of(&self, ip: IpAddr) -> Vec<KeptCertificate> {
        let all = self.pins.iter().filter(|(at, _)| at.ip() == ip);
        let mut all: Vec<KeptCertificate> = all.map(|(at, pin)| kept(*at, pin)).collect();
        all.sort_by_key(|certificate| certificate.at);
        all
    }

    /// Forgets all of an address; what that was.
    pub fn forget(&mut self, ip: IpAddr) -> Vec<KeptCertificate> {
        let forgotten = self.of(ip);
        self.pins.retain(|at, _| at.ip() != ip);
        forgotten
    }

    /// Everything, the longest unused first.
    pub fn all(&self) -> Vec<KeptCertificate> {
        let mut all: Vec<(&SocketAddr, &Pin)> = self.pins.iter().collect();
        all.sort_by_key(|(_, pin)| pin.used);
        all.into_iter().map(|(at, pin)| kept(*at, pin)).collect()
    }

    /// Takes over what was kept, in the order of its use. What has been seen since counts for more.
    pub fn take_back(&mut self, all: Vec<KeptCertificate>) {
        for certificate in all.into_iter().take(MAX_PINS) {
            self.uses += 1;
            let used = self.uses;
            if self.pins.len() >= MAX_PINS {
                return;
            }
            self.pins.entry(certificate.at).or_insert(Pin {
                fingerprint: certificate.fingerprint,
                since: certificate.since,
                entrances: certificate.entrances,
                used,
                refused: None,
            });
        }
    }
}

fn kept(at: SocketAddr, pin: &Pin) -> KeptCertificate {
    KeptCertificate {
        at,
        fingerprint: pin.fingerprint,
        since: pin.since,
        entrances: pin.entrances.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 7], port))
    }

    #[test]
    fn the_first_one_counts_until_it_is_forgotten() {
        let mut pins = Pins::default();
        let first = Judged::First { forgotten: None };
        assert_eq!(pins.judge(at(443), [1; 32], UNIX_EPOCH), first);
        assert_eq!(pins.judge(at(443), [1; 32], UNIX_EPOCH), Judged::Known);
        // Another port is another place.
        assert_eq!(pins.judge(at(322), [2; 32], UNIX_EPOCH), first);
        for news in [true, false] {
            let Judged::Other { kept, news: said } = pins.judge(at(443), [2; 32], UNIX_EPOCH)
            else {
                panic!("another certificate passed");
            };
            assert_eq!((kept.fingerprint, said), ([1; 32], news));
        }
        assert_eq!(pins.forget(at(1).ip()).len(), 2);
        assert_eq!(pins.judge(at(443), [2; 32], UNIX_EPOCH), first);
    }

    #[test]
    fn entrances_belong_to_the_place_they_lead_to() {
        let mut pins = Pins::default();
        assert!(!pins.leads(at(80), at(443)), "nothing is kept there");
        pins.judge(at(443), [1; 32], UNIX_EPOCH);
        assert!(pins.leads(at(80), at(443)));
        assert!(!pins.leads(at(80), at(443)), "known");
        assert_eq!(pins.behind(at(80)), Some(at(443)));
        assert_eq!(pins.behind(at(8080)), None);
        let all = pins.all();
        let mut again = Pins::default();
        again.take_back(all);
        assert_eq!(again.behind(at(80)), Some(at(443)));
        again.forget(at(1).ip());
        assert_eq!(again.behind(at(80)), None);
    }

    #[test]
    fn they_are_bounded_and_the_longest_unused_goes() {
        let mut pins = Pins::default();
        for port in 0..1024 {
            pins.judge(at(port), [1; 32], UNIX_EPOCH);
        }
        pins.judge(at(0), [1; 32], UNIX_EPOCH);
        let judged = pins.judge(at(2000), [1; 32], UNIX_EPOCH);
        let forgotten = Some(at(1));
        assert_eq!(judged, Judged::First { forgotten });
        assert_eq!(pins.all().len(), MAX_PINS);
        let mut again = Pins::default();
        again.judge(at(5), [9; 32], UNIX_EPOCH);
        again.take_back(pins.all());
        assert_eq!(again.all().len(), MAX_PINS);
        assert_eq!(again.judge(at(5), [9; 32], UNIX_EPOCH), Judged::Known);
    }
}
