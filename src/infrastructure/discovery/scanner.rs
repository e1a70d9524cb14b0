//! The scanner that the rest of lss sees, and its stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::sweep::Sweep;
use crate::domain::discovery::{CameraScannerGateway, PORTS, SweepOrder, SweepReport};

/// What is asked on a port that accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// OPTIONS and DESCRIBE.
    Rtsp,
    /// ISAPI, ONVIF and the home page.
    Web,
    /// ONVIF alone: some vendors' second port, or something else's first.
    Onvif,
    /// Nothing: that it accepts is the sign.
    Sign,
}

/// The ports of [`PORTS`], and what each is.
fn usual(port: u16) -> PortKind {
    match port {
        554 | 8554 => PortKind::Rtsp,
        37777 => PortKind::Sign,
        8000 | 8899 | 2020 => PortKind::Onvif,
        _ => PortKind::Web,
    }
}

/// Rung once, it rings for ever.
#[derive(Debug)]
pub(super) struct Stop {
    is: AtomicBool,
    bell: EventFd,
}

impl Stop {
    /// Whether it has rung.
    pub(super) fn is(&self) -> bool {
        self.is.load(Ordering::SeqCst)
    }

    /// What a poll loop waits for.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn ring(&self) {
        self.is.store(true, Ordering::SeqCst);
        // It can fail only where it rings already.
        let _ = self.bell.write(1);
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
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            ports: ports.to_vec(),
            stop: Arc::new(Stop {
                is: AtomicBool::new(false),
                bell: EventFd::from_flags(flags)?,
            }),
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
