//! The local REST API (contract 2, 10; spec).
//!
//! A request's way: the `rest-gate` thread ([`gate`]) takes it from the network whole, within
//! limits of time, size and number; tiny_http gets it, canonical, over a private Unix socket and
//! hands it to one of the `rest-N` workers; [`guard`] and [`routes`] make the [`reply`]. An answer
//! that takes its time is waited for by `rest-late` ([`late`]), so that it holds no worker.
//!
//! Knows the application's handles; no process, no camera, no cloud.

mod api;
mod cameras;
mod gate;
mod guard;
mod late;
mod listen;
mod metrics;
mod reply;
mod route_table;
mod routes;
mod server;
mod wire;

pub use gate::Limits;
pub use guard::Access;
pub use reply::http_status;
pub use server::{RestDeps, RestServer, RestSettings};
