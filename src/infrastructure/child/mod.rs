//! Child processes that carry tasks, whatever the engine: what they print and how far they are.

pub mod environment;
pub mod leftovers;
pub mod log_tail;
pub mod process;
pub mod progress;
