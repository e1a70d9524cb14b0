//! JSON shapes that only REST speaks (contract 10, 14): node, health, log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::application::health::HealthBoard;
use crate::application::stream::TaskLog;
use crate::domain::health::{Part, PartHealth};
use crate::domain::node::{Camera, LssNode, SystemInfo};
use crate::util::time::rfc3339;

/// The spec's `LssNode`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeJson {
    node_id: String,
    node_name: String,
    machine_id: String,
    ably_client_id: String,
    node_ip: Option<String>,
    public_ip: Option<String>,
    node_port: u16,
    status: &'static str,
    active_task_count: usize,
    max_tasks: usize,
    registered_at: Option<String>,
    last_heartbeat: Option<String>,
    ffmpeg_path: String,
    system_info: SystemJson,
    cpu_usage: Option<f64>,
    memory_usage: Option<f64>,
    cameras: Vec<CameraJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemJson {
    os: String,
    cpu_cores: usize,
    total_memory: u64,
    available_memory: u64,
    ffmpeg_version: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CameraJson {
    ip: String,
    port: u16,
    onvif: bool,
    rtsp_url: String,
    vendor: String,
    model: String,
    online: bool,
    last_seen: String,
}

impl NodeJson {
    /// The node as it is now.
    pub fn new(node: LssNode) -> Self {
        let id = node.identity;
        Self {
            ably_client_id: id.node_id.clone(),
            node_id: id.node_id,
            node_name: id.node_name,
            machine_id: id.machine_id,
            node_ip: node.node_ip,
            public_ip: node.public_ip,
            node_port: id.node_port,
            status: node.status.name(),
            active_task_count: node.active_tasks.len(),
            max_tasks: id.max_tasks,
            registered_at: node.registered_at.map(rfc3339),
            last_heartbeat: node.last_heartbeat.map(rfc3339),
            ffmpeg_path: id.ffmpeg_path.display().to_string(),
            system_info: SystemJson::new(node.system),
            cpu_usage: node.cpu_usage,
            memory_usage: node.memory_usage,
            cameras: node.cameras.into_iter().map(CameraJson::new).collect(),
        }
    }
}

impl SystemJson {
    fn new(system: SystemInfo) -> Self {
        Self {
            os: system.os,
            cpu_cores: system.cpu_cores,
            total_memory: system.total_memory,
            available_memory: system.available_memory,
            ffmpeg_version: system.ffmpeg_version,
        }
    }
}

impl CameraJson {
    fn new(camera: Camera) -> Self {
        Self {
            ip: camera.ip,
            port: camera.port,
            onvif: camera.onvif,
            rtsp_url: camera.rtsp_url,
            vendor: camera.vendor,
            model: camera.model,
            online: camera.online,
            last_seen: rfc3339(camera.last_seen),
        }
    }
}

#[derive(Debug, Serialize)]
struct PartJson {
    status: &'static str,
    since: String,
    reason: String,
}

/// Part name → how it is.
type Parts = BTreeMap<&'static str, PartJson>;

fn parts(board: &HealthBoard) -> Parts {
    let part = |(part, health): (Part, PartHealth)| {
        let json = PartJson {
            status: health.status.name(),
            since: rfc3339(health.since),
            reason: health.reason,
        };
        (part.name(), json)
    };
    board.all().into_iter().map(part).collect()
}

/// `GET /api/stream/health`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthJson {
    status: &'static str,
    node_id: String,
    uptime_ms: u64,
    parts: Parts,
}

impl HealthJson {
    /// The board as it is now.
    pub fn new(board: &HealthBoard, node_id: &str, uptime: std::time::Duration) -> Self {
        Self {
            status: board.overall().name(),
            node_id: node_id.to_owned(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            parts: parts(board),
        }
    }
}

/// `GET /readyz`
#[derive(Debug, Serialize)]
pub struct ReadyJson {
    ready: bool,
    parts: Parts,
}

impl ReadyJson {
    /// The board as it is now.
    pub fn new(board: &HealthBoard, ready: bool) -> Self {
        Self {
            ready,
            parts: parts(board),
        }
    }
}

/// `GET /livez`
#[derive(Debug, Serialize)]
pub struct LiveJson {
    /// It answers, so it is.
    pub live: bool,
}

/// `PUT /api/stream/node/maintenance`
#[derive(Debug, Serialize)]
pub struct MaintenanceJson {
    /// On or off.
    pub enabled: bool,
}

/// `GET /api/stream/task/{id}/log`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogJson {
    task_id: String,
    run: u64,
    runs: Vec<u64>,
    lines: Vec<String>,
}

impl LogJson {
    /// One run's log.
    pub fn new(task_id: &str, log: TaskLog) -> Self {
        Self {
            task_id: task_id.to_owned(),
            run: log.run,
            runs: log.runs,
            lines: log.lines,
        }
    }
}
