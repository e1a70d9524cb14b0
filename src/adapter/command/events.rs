//! Task events on the cloud line.

use std::sync::Arc;

use super::wire;
use crate::domain::gateway::{CloudLine, TaskObserver};
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
