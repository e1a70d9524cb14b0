//! Child processes that carry tasks, whatever the engine: started, watched, signalled, reaped;
//! what they print and how far they are.

pub mod env;
pub mod leftovers;
pub mod log_tail;
pub mod marker;
pub mod process;
pub mod progress;
