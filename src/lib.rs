//! lss, the Local Sender Service: pushes IP cameras to WHIP endpoints from a gateway on site.
//!
//! The map is in `ARCHITECTURE.md`. Layers: `adapter → application → domain ← infrastructure`;
//! only [`daemon`](crate) sees all four; [`util`] sees none. `tests/architecture.rs` holds that.

pub mod application;
pub mod config;
pub mod domain;
pub mod infrastructure;
pub mod util;
