//! What a command without a daemon (`lss probe`, `lss fit`) holds a camera's certificate against: the
//! node's rule and the certificates that the node has kept, where whoever calls may read them. It
//! keeps nothing itself; a certificate that it had to take unseen is told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::cameras;
use super::terminal::err;
use crate::config::{self, LoadRequest, UnknownKeys};
use crate::domain::camera_trust::{CertificateRule, KeptCertificate, hex};
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::state::certificates;

/// The state directory of the packages' service. The service manager tells it to the node alone.
const SERVICE_STATE: &str = "/var/lib/lss";

/// The rule and what is kept, for one run.
pub(super) struct KnownTrust {
    /// What cameras are spoken to through.
    pub doors: Doors,
    /// Where a certificate was known before.
    known: BTreeSet<SocketAddr>,
}

impl KnownTrust {
    /// From the node's configuration and its state directory. What can't be read is said.
    pub fn read() -> Self {
        let request = LoadRequest {
            path: None,
            // What the cloud needs is not needed here.
            standalone: true,
            unknown_keys: UnknownKeys::Warn,
        };
        let config = match config::load(&request, &config::process_env) {
            Ok(loaded) => loaded.config,
            Err(faults) => {
                let why = faults.first().map(ToString::to_string);
                let why = why.unwrap_or_default();
                err(&format!(
                    "the node's configuration can't be used, so neither its camera.tls nor the certificates that it keeps count here: {why}"
                ));
                return Self::of(Doors::default(), Vec::new());
            }
        };
        let dir = config.node.state_dir.clone();
        let dir = dir.unwrap_or_else(|| PathBuf::from(SERVICE_STATE));
        let kept = certificates::read(&dir).unwrap_or_else(|why| {
            let file = dir.join(certificates::FILE);
            err(&format!(
                "the certificates that the node keeps can't be read and don't count here: {}: {why}",
                file.display()
            ));
            certificates::Found::default()
        });
        if kept.damaged > 0 {
            err(&format!(
                "{} of the certificates that the node keeps can't be read and don't count here",
                kept.damaged
            ));
        }
        Self::of(cameras::doors(&config), kept.certificates)
    }

    fn of(doors: Doors, kept: Vec<KeptCertificate>) -> Self {
        let known = kept.iter().map(|kept| kept.at).collect();
        doors.tls().take_back(kept);
        Self { doors, known }
    }

    /// Tells which certificates were taken with nothing to compare them with, for whoever typed the
    /// command to compare.
    pub fn tell(&self) {
        for line in self.unseen() {
            err(&line);
        }
    }

    fn unseen(&self) -> Vec<String> {
        let tls = self.doors.tls();
        let mut seen = tls.kept();
        // By the other rules there is nothing to compare.
        seen.retain(|seen| {
            tls.trust(seen.at.ip()).rule == CertificateRule::Pin && !self.known.contains(&seen.at)
        });
        seen.iter()
            .map(|seen| {
                format!(
                    "the certificate of {} was taken unseen; compare its SHA-256 with the camera's own page: {}",
                    seen.at,
                    hex(&seen.fingerprint)
                )
            })
            .collect()
    }
}
