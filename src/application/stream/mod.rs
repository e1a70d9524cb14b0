//! Stream tasks: the one owner of every task, and the handle that others talk to it through.
//!
//! [`StreamService`] is what doors (REST, Ably) hold: it validates and sends a message with a reply
//! channel. The engine prepares the command line on a thread of its own ([`prepare`]). The owner's
//! thread ([`Owner`]) never waits for anything but its own queues; what it decides stands in
//! [`Table`], a machine without threads, processes or clock.

mod consent;
mod effect;
mod entry;
mod known;
mod owner;
mod pace;
mod passive;
mod policy;
pub mod prepare;
mod relays;
mod retry;
mod run;
mod service;
mod table;
#[cfg(test)]
mod table_tests;
mod validate;

pub use effect::Effect;
pub use owner::{Control, Owner};
pub use policy::Policy;
pub use service::{
    Accepted, FirstTry, FirstTryEnd, MAX_WAITING, StopDone, StreamRequest, StreamService, TaskLog,
};
pub use table::Table;
pub use validate::{AudioAsk, StartCommand, StreamRules, VideoAsk};
