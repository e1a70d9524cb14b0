//! The scanner that the rest of lss sees.

use std::io;
use std::sync::Arc;

use super::sweep::{Stop, Sweep};
use super::talk::PortKind;
use crate::domain::discovery::{CameraScannerGateway, PORTS, SweepOrder, SweepReport};

/// The ports of [`PORTS`], and what each is.
fn usual(port: u16) -> PortKind {
    match port {
        554 | 8554 => PortKind::Rtsp,
        37777 => PortKind::Sign,
        8000 | 8899 | 2020 => PortKind::Onvif,
        _ => PortKind::Web,
    }
}

/// Looks for cameras by connecting to addresses and by WS-Discovery. Each sweep opens its own
/// sockets and closes all of them.
#[derive(Debug)]
pub struct Scanner {
    ports: Vec<(u16, PortKind)>,
    stop: Arc<Stop>,
}

impl Scanner {
    /// For the ports of cameras.
    pub fn new() -> io::Result<Self> {
        let ports: Vec<_> = PORTS.iter().map(|port| (*port, usual(*port))).collect();
        Self::with_ports(&ports)
    }

    /// For other ports, the likeliest first.
    pub fn with_ports(ports: &[(u16, PortKind)]) -> io::Result<Self> {
        Ok(Self {
            ports: ports.to_vec(),
            stop: Arc::new(Stop::new()?),
        })
    }
}

impl CameraScannerGateway for Scanner {
    fn sweep(&mut self, order: &SweepOrder) -> SweepReport {
        match Sweep::new(order, &self.ports, &self.stop) {
            Ok(sweep) => sweep.run(),
            Err(why) => SweepReport {
                cut_short: true,
                warnings: vec![format!("no sweep: {}", why.desc())],
                ..SweepReport::default()
            },
        }
    }

    fn canceller(&self) -> Arc<dyn Fn() + Send + Sync> {
        let stop = Arc::clone(&self.stop);
        Arc::new(move || stop.ring())
    }
}
