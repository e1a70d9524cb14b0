//! lss, the Local Sender Service: pushes IP cameras to WHIP endpoints from a gateway on site.
//!
//! The map is in `ARCHITECTURE.md`. Layers: `adapter → application → domain ← infrastructure`;
//! only [`daemon`] sees all four; [`util`] sees none. `tests/architecture.rs` holds that.

pub mod adapter;
pub mod application;
pub mod config;
pub mod daemon;
pub mod domain;
pub mod infrastructure;
pub mod json;
pub mod logging;
pub mod util;
