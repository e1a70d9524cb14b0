//! Child processes: how each is started; those that carry tasks watched, signalled, reaped, what
//! they print and how far they are.

pub mod env;
pub mod file;
mod job;
pub mod launch;
pub mod leftovers;
pub mod log_tail;
pub mod marker;
pub mod process;
pub mod progress;
