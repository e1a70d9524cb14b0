//! JSON shapes that only REST speaks (contract 10, 14): health, log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::application::health::HealthBoard;
use crate::application::stream::TaskLog;
use crate::domain::health::{Part, PartHealth};
use crate::util::time::rfc3339;

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
