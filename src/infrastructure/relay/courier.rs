//! The thread that speaks with the WHIP endpoint, so that no answer is waited for where media flows.
//! One errand after the other: a session is ended before the next one is asked for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::infrastructure::whip::client::{Client, Refusal, Session};
use crate::infrastructure::whip::release::{Closed, SessionCloser};
use crate::util::secret::Secret;

/// Errands that wait: one session is asked for at a time, and few are left to be ended.
const ERRANDS: usize = 8;
/// TLS's handshake wants some.
const STACK: usize = 512 * 1024;

/// What is to be done.
#[derive(Debug)]
pub enum Errand {
    /// Ask for a session with this offer.
    Open(String),
    /// End this one.
    Close(Secret),
}

/// What has come of an errand.
#[derive(Debug)]
pub enum Back {
    /// Of [`Errand::Open`].
    Opened(Result<Session, Refusal>),
    /// Of [`Errand::Close`].
    Closed(Closed),
}

/// See the module.
#[derive(Debug)]
pub struct Courier {
    errands: Sender<Errand>,
    back: Receiver<Back>,
    wake: Arc<EventFd>,
}

impl Courier {
    /// Starts the thread; it ends with this.
    pub fn start(
        client: Client,
        closer: SessionCloser,
        bearer: Option<Secret>,
    ) -> io::Result<Self> {
        let (errands, incoming) = bounded::<Errand>(ERRANDS);
        let (done, back) = bounded(ERRANDS);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags)?);
        let bell = Arc::clone(&wake);
        std::thread::Builder::new()
            .name("whip".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                for errand in incoming {
                    let back = match errand {
                        Errand::Open(offer) => Back::Opened(client.open(&offer)),
                        Errand::Close(url) => Back::Closed(closer.close(&url, bearer.as_ref())),
                    };
                    if done.send(back).is_err() || bell.write(1).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self {
            errands,
            back,
            wake,
        })
    }

    /// Gives an errand. One too many is left undone.
    pub fn send(&self, errand: Errand) {
        let _ = self.errands.try_send(errand);
    }

    /// What has come back, if anything has.
    pub fn back(&self) -> Option<Back> {
        // Whatever it counts: all that is there is taken.
        let _ = self.wake.read();
        self.back.try_recv().ok()
    }

    /// The same, waited for.
    pub fn back_within(&self, time: Duration) -> Option<Back> {
        self.back.recv_timeout(time).ok()
    }

    /// Readable when something has come back.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
