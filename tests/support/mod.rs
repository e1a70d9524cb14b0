//! Stand-ins and tools that integration tests share.
#![allow(dead_code)] // Each test binary uses a part of it.

pub mod daemon;
