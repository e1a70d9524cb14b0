//! Host names of cameras, resolved within bounds. What they resolve to is judged by the caller.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::domain::camera::{CameraError, NameLookup};
use crate::infrastructure::http::names::Names;

/// See [`NameLookup`].
#[derive(Default)]
pub struct CameraNames {
    names: Names,
}

impl NameLookup for CameraNames {
    fn lookup(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, CameraError> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        // The port is of no interest here.
        self.names
            .lookup(host, 80, timeout)
            .map(|found| found.iter().map(SocketAddr::ip).collect())
            .map_err(|why| CameraError::Unreachable(format!("the host name: {why}")))
    }
}
