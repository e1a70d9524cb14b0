//! Wakes a thread that waits in poll(2).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd: rung by anyone, waited for by one.
#[derive(Debug)]
pub(super) struct Doorbell(EventFd);

impl Doorbell {
    /// A silent one.
    pub(super) fn new() -> std::io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self(EventFd::from_flags(flags)?))
    }

    /// Rings. The only way it can fail is that it rings already, 2^64 times.
    pub(super) fn ring(&self) {
        let _ = self.0.write(1);
    }

    /// Silences it.
    pub(super) fn answer(&self) {
        let _ = self.0.read();
    }

    /// What poll(2) waits for.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
