//! Values and rules. No serde, no clock, no threads, no I/O.

pub mod camera;
pub mod camera_trust;
pub mod carry;
pub mod checkup;
pub mod discovery;
pub mod engine;
pub mod error;
pub mod gateway;
pub mod health;
pub mod login_memory;
pub mod metrics;
pub mod node;
pub mod patrol;
pub mod ptz;
pub mod refusals;
pub mod stream;
pub mod vendor;
pub mod whip_fit;
