//! How the ports of cameras are spoken to: plainly, by TLS, or by TLS on another port that they lead
//! to. Found out by what answers, and remembered for everybody who speaks with that camera.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::camera_tls::CameraTls;
use crate::domain::camera_trust::{CertificateRule, KeptCertificate};

/// Ports that are remembered; beyond that all are forgotten, and found out anew.
const MAX_DOORS: usize = 1024;

/// Where the conversation with a camera's port takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// What is connected to.
    pub at: SocketAddr,
    /// By TLS.
    pub tls: bool,
}

/// What is known of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// How it is spoken to.
    Door(Door),
    /// It has said nothing to a plain request.
    Silent,
}

/// Shared by all clients of all cameras.
#[derive(Debug, Clone)]
pub struct Doors(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tls: CameraTls,
    known: Mutex<HashMap<SocketAddr, Known>>,
}

impl Default for Doors {
    fn default() -> Self {
        Self::new(CertificateRule::default())
    }
}

impl Doors {
    /// Nothing is known yet.
    pub fn new(rule: CertificateRule) -> Self {
        Self(Arc::new(Inner {
            tls: CameraTls::new(rule),
            known: Mutex::default(),
        }))
    }

    /// What cameras' certificates have to be, and which are kept.
    pub fn tls(&self) -> &CameraTls {
        &self.0.tls
    }

    /// Forgets the certificates of an address, and which of its ports speak TLS.
    pub fn forget(&self, ip: IpAddr) -> Vec<KeptCertificate> {
        self.known().retain(|at, _| at.ip() != ip);
        self.0.tls.forget(ip)
    }

    /// Whether a port is known to be spoken to by TLS, itself or where it leads.
    pub fn is_tls(&self, port: SocketAddr) -> bool {
        matches!(self.of(port), Some(Known::Door(Door { tls: true, .. })))
    }

    /// What is known of a port. Where a certificate is kept, there is no way back to plain HTTP:
    /// that is what whoever wants the login would ask for.
    pub(super) fn of(&self, port: SocketAddr) -> Option<Known> {
        if self.0.tls.is_kept(port) {
            return Some(Known::Door(Door {
                at: port,
                tls: true,
            }));
        }
        if let Some(at) = self.0.tls.behind(port) {
            return Some(Known::Door(Door { at, tls: true }));
        }
        self.known().get(&port).copied()
    }

    /// Whether a port is spoken to by TLS because of a certificate that is kept.
    pub(super) fn is_held(&self, port: SocketAddr) -> bool {
        self.0.tls.is_kept(port) || self.0.tls.behind(port).is_some()
    }

    /// A port has led to another itself, with TLS: for good, where that one's certificate is kept.
    pub(super) fn leads(&self, port: SocketAddr, to: SocketAddr) {
        self.0.tls.leads(port, to);
    }

    pub(super) fn learn(&self, port: SocketAddr, what: Known) {
        let mut known = self.known();
        if known.len() >= MAX_DOORS {
            known.clear();
        }
        known.insert(port, what);
    }

    pub(super) fn unlearn(&self, port: SocketAddr) {
        self.known().remove(&port);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SocketAddr, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_port_is_for_now_unless_it_has_led_on_itself() {
        let doors = Doors::default();
        let (plain, secured) = (
            SocketAddr::from(([192, 0, 2, 7], 80)),
            SocketAddr::from(([192, 0, 2, 7], 443)),
        );
        doors.tls().take_back(vec![KeptCertificate {
            at: secured,
            fingerprint: [1; 32],
            since: std::time::UNIX_EPOCH,
            entrances: Vec::new(),
        }]);
        let known = Known::Door(Door {
            at: secured,
            tls: true,
        });
        doors.learn(plain, known);
        assert!(doors.is_tls(plain) && !doors.is_held(plain));
        doors.unlearn(plain);
        assert_eq!(doors.of(plain), None);
        doors.leads(plain, secured);
        assert!(doors.is_held(plain) && doors.is_held(secured));
        assert_eq!(doors.of(plain), Some(known));
    }
}
