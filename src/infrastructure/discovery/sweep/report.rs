//! The end of a sweep: what was learnt of each address becomes what is told.

use super::{MAX_WARNINGS, Sweep};
use crate::domain::discovery::SweepReport;
use crate::infrastructure::discovery::neighbours;

/// Most lines about ports that are no camera's.
const MAX_OTHERS: usize = 64;

impl Sweep<'_> {
    pub(super) fn report(mut self, cut_short: bool) -> SweepReport {
        // What was learnt in conversations that were cut off counts.
        let conns: Vec<_> = self.conns.drain().map(|(_, conn)| conn).collect();
        for conn in conns {
            if let Some(talking) = conn.talking {
                self.learnt(conn.ip, conn.port, talking.talk.facts());
            }
        }
        let parked: Vec<_> = self.parked.drain().collect();
        for ((ip, port), (talk, _)) in parked {
            self.learnt(ip, port, talk.facts());
        }
        for ip in self.hints.cameras() {
            self.dossiers.entry(ip).or_default();
        }
        let macs = neighbours::macs(|ip| self.dossiers.contains_key(&ip));
        let rank = |port: u16| {
            self.ports
                .iter()
                .position(|(p, _)| *p == port)
                .unwrap_or(usize::MAX)
        };
        let mut finds = Vec::new();
        let mut others = Vec::new();
        for (ip, dossier) in &self.dossiers {
            let hint = self.hints.of(*ip);
            match dossier.find(*ip, hint, macs.get(ip).cloned(), rank) {
                Some(find) => finds.push(find),
                None => others.extend(dossier.others(*ip, hint.is_some())),
            }
        }
        others.truncate(MAX_OTHERS);
        self.warnings.truncate(MAX_WARNINGS);
        SweepReport {
            finds,
            addresses: self.schedule.tried(),
            connects: self.schedule.connects(),
            took: self.begin.elapsed(),
            cut_short,
            others,
            warnings: self.warnings,
        }
    }
}
