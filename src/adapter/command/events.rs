//! Events of tasks and cameras on the cloud line.

use std::sync::Arc;
use std::time::SystemTime;

use super::wire;
use crate::adapter::camera_wire;
use crate::domain::gateway::{CloudLine, TaskObserver};
use crate::domain::patrol::PatrolEvent;
use crate::domain::ptz::PtzEvent;
use crate::domain::stream::TaskEvent;

/// Tells the cloud line of every change of a task.
pub struct TaskEvents {
    /// Where to.
    pub line: Arc<dyn CloudLine>,
    /// `lss-{machineId}`
    pub node_id: String,
}

impl TaskObserver for TaskEvents {
    fn task_changed(&self, event: &TaskEvent) {
        let json = wire::task_event(&self.node_id, event);
        self.line.task_event(&event.task.spec.task_id, json);
    }
}

/// Tells the cloud line what lss does with cameras on its own.
pub struct CameraEvents {
    /// Where to.
    pub line: Arc<dyn CloudLine>,
    /// `lss-{machineId}`
    pub node_id: String,
}

impl CameraEvents {
    /// A `ptz_event`.
    pub fn ptz_event(&self, event: &PtzEvent, at: SystemTime) {
        let json = camera_wire::ptz_event(&self.node_id, event, at);
        self.line.node_event("ptz_event", json);
    }

    /// A `patrol_event`.
    pub fn patrol_event(&self, event: &PatrolEvent, at: SystemTime) {
        let json = camera_wire::patrol_event(&self.node_id, event, at);
        self.line.node_event("patrol_event", json);
    }
}
