//! Puts discovery together: what it looks with, and whom it tells.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::cameras::CamerasHealth;
use crate::application::camera::CameraService;
use crate::application::discovery::{
    DiscoveryObserver, DiscoveryParts, DiscoveryService, Networks, ScanPolicy, ScanState,
};
use crate::application::node::NodeRegistry;
use crate::config::Config;
use crate::domain::discovery::CameraScannerGateway;
use crate::domain::error::Fault;
use crate::domain::node::Camera;
use crate::infrastructure::discovery::Scanner;

/// Starts the thread, and the first sweep. The receiver is ready once when that is over.
pub fn start(
    config: &Config,
    cameras: CameraService,
    node: Arc<NodeRegistry>,
    health: Arc<CamerasHealth>,
) -> Result<(DiscoveryService, Receiver<()>), String> {
    let (first, first_over) = bounded(1);
    let parts = DiscoveryParts {
        scanner: Box::new(scanner),
        cameras,
        observer: Arc::new(Observer {
            node,
            health,
            first,
        }),
    };
    let policy = policy(config).map_err(|fault| fault.message)?;
    let service =
        DiscoveryService::start(parts, policy).map_err(|e| format!("thread discovery: {e}"))?;
    Ok((service, first_over))
}

fn scanner() -> io::Result<Box<dyn CameraScannerGateway>> {
    Ok(Box::new(Scanner::new()?))
}

/// The numbers that the configuration sets. It has judged the networks by the same rules.
pub fn policy(config: &Config) -> Result<ScanPolicy, Fault> {
    let camera = &config.camera;
    Ok(ScanPolicy {
        enabled: camera.scan_enabled,
        networks: Networks::parse(
            "camera.scan_subnet",
            &camera.scan_subnet,
            camera.allow_loopback,
        )?,
        every: camera.rescan_interval,
        timeout: camera.scan_timeout,
        allow_loopback: camera.allow_loopback,
    })
}

/// Tells the node's picture, health, and once `main`.
struct Observer {
    node: Arc<NodeRegistry>,
    health: Arc<CamerasHealth>,
    first: Sender<()>,
}

impl DiscoveryObserver for Observer {
    fn listed(&self, cameras: &Arc<Vec<Camera>>, state: &ScanState) {
        self.node.set_cameras(cameras.clone());
        self.health.scan(state);
    }

    fn first_sweep_over(&self) {
        // Told already.
        let _ = self.first.try_send(());
    }
}
