//! Keeps the guard's memory over restarts: reads it at the start, and writes what has changed, on a
//! thread of its own, so that nobody who asks the guard waits for a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::application::camera::Book;
use crate::config::Config;
use crate::infrastructure::state::{self, logins};

/// Most often that it is written, whatever is refused.
const PAUSE: Duration = Duration::from_secs(1);

/// The thread that writes, where there is a state directory.
pub struct LoginMemory {
    /// Closed = write what is to be written, and end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LoginMemory {
    /// Hands the guard what an earlier run has kept. Without a state directory nothing is kept.
    pub fn start(config: &Config, book: &Arc<Book>) -> io::Result<Self> {
        let mut keeper = Self {
            stop: None,
            thread: None,
        };
        let Some(dir) = config.node.state_dir.clone() else {
            log::info!(
                "no state directory (lss.node.state_dir): refused camera logins are forgotten at a restart"
            );
            return Ok(keeper);
        };
        if let Err(why) = state::prepare(&dir) {
            log::warn!(dir:? = dir; "the state directory can't be used, nothing is kept: {why}");
            return Ok(keeper);
        }
        take_back(&dir, book);
        let (stop, stopped) = bounded(1);
        let (book, changed) = (book.clone(), book.on_refusals());
        keeper.stop = Some(stop);
        keeper.thread = Some(
            std::thread::Builder::new()
                .name("login-memory".to_owned())
                .spawn(move || keep(&dir, &book, &changed, &stopped))?,
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
pub fn look(config: &Config, book: &Book) {
    if let Some(dir) = &config.node.state_dir
        && let Ok(Some(memory)) = logins::read(dir)
    {
        book.remember(&memory);
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

fn keep(dir: &PathBuf, book: &Book, changed: &Receiver<()>, stopped: &Receiver<()>) {
    let mut failing = false;
    loop {
        let last = select! {
            recv(changed) -> _ => false,
            recv(stopped) -> _ => true,
        };
        if last && changed.try_recv().is_err() {
            return;
        }
        let written = match book.login_memory() {
            Some(memory) => logins::write(dir, &memory),
            None => return,
        };
        match written {
            Ok(()) => failing = false,
            // Once, until it works again: a full disk would fill with that.
            Err(why) if !failing => {
                failing = true;
                log::warn!(dir:? = dir; "refused camera logins can't be kept: {why}");
            }
            Err(_) => {}
        }
        if last {
            return;
        }
        // Ends at once when it is to end; what has changed meanwhile waits in its channel.
        let _ = stopped.recv_timeout(PAUSE);
    }
}
