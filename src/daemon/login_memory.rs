//! Keeps what is known of cameras over restarts, which is which logins they have refused and which
//! certificates they have shown: reads it at the start, and writes what has changed, on a thread of
//! its own, so that nobody who speaks with a camera waits for a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::application::camera::Book;
use crate::config::Config;
use crate::domain::camera_trust::KeptCertificate;
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::state::{self, certificates, logins};

/// Most often that it is written, whatever is refused.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon a write that failed is tried again: a full disk stays full for a while.
const RETRY: Duration = Duration::from_secs(60);

/// The thread that writes, where there is a state directory.
pub struct LoginMemory {
    /// Closed = write what is to be written, and end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LoginMemory {
    /// Hands the guard and the cameras' clients what an earlier run has kept. Without a state
    /// directory nothing is kept.
    pub fn start(config: &Config, book: &Arc<Book>, doors: &Doors) -> io::Result<Self> {
        let mut keeper = Self {
            stop: None,
            thread: None,
        };
        let Some(dir) = config.node.state_dir.clone() else {
            log::info!(
                "no state directory (lss.node.state_dir): refused camera logins and the certificates of HTTPS cameras are forgotten at a restart"
            );
            return Ok(keeper);
        };
        if let Err(why) = state::prepare(&dir) {
            log::warn!(dir:? = dir; "the state directory can't be used, nothing is kept: {why}");
            return Ok(keeper);
        }
        take_back(&dir, book);
        doors.tls().take_back(read_certificates(&dir));
        let (stop, stopped) = bounded(1);
        let keep = Keep {
            dir,
            refusals: book.on_refusals(),
            book: book.clone(),
            doors: doors.clone(),
            logins: Trouble::new("refused camera logins"),
            certificates: Trouble::new("the certificates of cameras"),
        };
        keeper.stop = Some(stop);
        keeper.thread = Some(
            std::thread::Builder::new()
                .name("login-memory".to_owned())
                .spawn(move || keep.run(&stopped))?,
        );
        Ok(keeper)
    }
}

impl Drop for LoginMemory {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What an earlier run, or one that is running, has kept, to be read only.
pub fn look(config: &Config, book: &Book, doors: &Doors) {
    let Some(dir) = &config.node.state_dir else {
        return;
    };
    if let Ok(Some(memory)) = logins::read(dir) {
        book.remember(&memory);
    }
    if let Ok(found) = certificates::read(dir) {
        doors.tls().take_back(found.certificates);
    }
}

fn read_certificates(dir: &Path) -> Vec<KeptCertificate> {
    let file = dir.join(certificates::FILE);
    match certificates::read(dir) {
        Ok(found) => {
            if found.damaged > 0 {
                log::warn!(
                    file:?, entries = found.damaged;
                    "some certificates of cameras that an earlier run has seen can't be read: there the next ones count as the first"
                );
            }
            found.certificates
        }
        Err(why) => {
            log::warn!(
                file:?;
                "the certificates of cameras that an earlier run has seen can't be read: the next ones count as the first ({why})"
            );
            Vec::new()
        }
    }
}

fn take_back(dir: &Path, book: &Book) {
    let kept = logins::read(dir).unwrap_or_else(|why| {
        log::warn!(
            file:? = dir.join(logins::FILE);
            "refused camera logins of an earlier run can't be read and are forgotten: {why}"
        );
        None
    });
    match kept.map_or_else(|| logins::fresh(SystemTime::now()), Ok) {
        Ok(memory) => book.remember(&memory),
        Err(why) => log::warn!("refused camera logins are not kept: no random numbers: {why}"),
    }
}

/// What the thread works with.
struct Keep {
    dir: PathBuf,
    refusals: Receiver<()>,
    book: Arc<Book>,
    doors: Doors,
    logins: Trouble,
    certificates: Trouble,
}

impl Keep {
    fn run(mut self, stopped: &Receiver<()>) {
        let (refusals, shown) = (self.refusals.clone(), self.doors.tls().on_change());
        let (mut logins, mut certificates, mut last) = (false, false, false);
        loop {
            // What could not be written is tried again, however quiet it is.
            let again = if logins || certificates {
                crossbeam_channel::after(RETRY)
            } else {
                crossbeam_channel::never()
            };
            select! {
                recv(refusals) -> told => match told {
                    Ok(()) => logins = true,
                    // Nobody is left who could tell.
                    Err(_) => return,
                },
                recv(shown) -> _ => certificates = true,
                recv(again) -> _ => {}
                recv(stopped) -> _ => last = true,
            }
            logins |= refusals.try_recv().is_ok();
            certificates |= shown.try_recv().is_ok();
            if logins {
                logins = self.book.login_memory().is_some_and(|memory| {
                    let written = logins::write(&self.dir, &memory);
                    self.logins.heard(&self.dir, &written);
                    written.is_err()
                });
            }
            if certificates {
                let written = certificates::write(&self.dir, &self.doors.tls().kept());
                self.certificates.heard(&self.dir, &written);
                certificates = written.is_err();
            }
            if last {
                return;
            }
            // Ends at once when it is to end; what has changed meanwhile waits in its channel.
            let _ = stopped.recv_timeout(PAUSE);
        }
    }
}

/// Says once that something can't be kept, until it works again: a full disk would fill with that.
struct Trouble {
    what: &'static str,
    failing: bool,
}

impl Trouble {
    fn new(what: &'static str) -> Self {
        let failing = false;
        Self { what, failing }
    }

    fn heard(&mut self, dir: &Path, written: &io::Result<()>) {
        if let Err(why) = written
            && !self.failing
        {
            log::warn!(dir:? = dir; "{} can't be kept: {why}", self.what);
        }
        self.failing = written.is_err();
    }
}
