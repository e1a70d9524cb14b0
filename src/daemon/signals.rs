//! Signals as messages.

use crossbeam_channel::{Receiver, bounded};
use nix::sys::signal::{SigSet, Signal};

/// Blocks SIGTERM, SIGINT and SIGHUP for this thread and all that it starts later. To be called
/// before any other thread exists: a thread with them unblocked would be killed by them.
pub fn block() -> nix::Result<SigSet> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(set)
}

/// Starts the thread `signals`, which hands each one on. It lives as long as the process.
pub fn listen(set: SigSet) -> std::io::Result<Receiver<Signal>> {
    // A signal that finds the queue full says nothing new.
    let (tx, rx) = bounded(8);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            loop {
                match set.wait() {
                    Ok(signal) => {
                        let _ = tx.try_send(signal);
                    }
                    Err(nix::errno::Errno::EINTR) => {}
                    Err(why) => {
                        log::error!("signals can't be received any more: {why}");
                        return;
                    }
                }
            }
        })?;
    Ok(rx)
}
