//! What lss does: tasks, node, health. Knows the domain and its gateways, no protocol.

pub mod camera;
pub mod discovery;
pub mod doctor;
pub mod health;
pub mod node;
pub mod stream;
