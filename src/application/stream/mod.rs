//! Stream tasks: the one owner of every task, and the handle that others talk to it through.
//!
//! [`StreamService`] is what doors (REST, Ably) hold: it validates, has the engine prepare the
//! command line on the caller's thread, and sends a message with a reply channel. The owner's
//! thread never waits for anything but its own queue.

mod service;
mod validate;

pub use service::{
    FirstTry, FirstTryEnd, MAX_WAITING, StopDone, StreamRequest, StreamService, TaskLog,
};
pub use validate::{AudioAsk, StartCommand, StreamRules, VideoAsk};
