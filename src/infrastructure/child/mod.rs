//! Child processes that carry tasks, whatever the engine: what they print and how far they are.

pub mod log_tail;
pub mod progress;
