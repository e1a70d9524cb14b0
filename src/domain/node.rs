//! The node: who it is and what it runs on.

use std::path::PathBuf;
use std::time::SystemTime;

/// What the node says of itself (spec; contract 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeStatus {
    /// Takes tasks.
    Online,
    /// Said once, in the last message.
    Offline,
    /// As many active tasks as `max_tasks`.
    Busy,
    /// Refuses new tasks by order.
    Maintenance,
}

impl NodeStatus {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Offline => "OFFLINE",
            Self::Busy => "BUSY",
            Self::Maintenance => "MAINTENANCE",
        }
    }

    /// OFFLINE wins over MAINTENANCE, that over BUSY (contract 14).
    pub fn of(stopping: bool, maintenance: bool, active: usize, max: usize) -> Self {
        if stopping {
            Self::Offline
        } else if maintenance {
            Self::Maintenance
        } else if active >= max {
            Self::Busy
        } else {
            Self::Online
        }
    }
}

/// The machine, as the register body tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemInfo {
    /// Kernel name and release, e.g. `Linux 5.15.0`.
    pub os: String,
    /// Processors that are online.
    pub cpu_cores: usize,
    /// Bytes.
    pub total_memory: u64,
    /// Bytes.
    pub available_memory: u64,
    /// FFmpeg's version, or in words why there is none.
    pub ffmpeg_version: String,
}

/// What never changes while the process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// `lss-{machineId}`; the Ably client id too.
    pub node_id: String,
    /// For people.
    pub node_name: String,
    /// As configured.
    pub machine_id: String,
    /// Port of the REST API.
    pub node_port: u16,
    /// Most active tasks at a time.
    pub max_tasks: usize,
    /// As configured.
    pub ffmpeg_path: PathBuf,
}

/// A camera as the spec's `Camera` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// Address.
    pub ip: String,
    /// The RTSP port if RTSP answered, else the HTTP one.
    pub port: u16,
    /// Answers ONVIF.
    pub onvif: bool,
    /// Without user info; empty where unknown.
    pub rtsp_url: String,
    /// `HIKVISION`, `DAHUA`, …; `None` where unknown.
    pub vendor: Option<String>,
    /// Empty where unknown.
    pub model: String,
    /// Answered in the last sweep.
    pub online: bool,
    /// When it last answered.
    pub last_seen: SystemTime,
}

/// One picture of the node, made when somebody asks.
#[derive(Debug, Clone, PartialEq)]
pub struct LssNode {
    /// Who.
    pub identity: NodeIdentity,
    /// The address the cloud sees us under inside the site, if known.
    pub node_ip: Option<String>,
    /// The address of the site's uplink, if configured to be asked for.
    pub public_ip: Option<String>,
    /// How it is.
    pub status: NodeStatus,
    /// Active tasks: id and start.
    pub active_tasks: Vec<(String, SystemTime)>,
    /// First registration that RCS took; `None` until then.
    pub registered_at: Option<SystemTime>,
    /// Last heartbeat that RCS took; `None` until then.
    pub last_heartbeat: Option<SystemTime>,
    /// The machine.
    pub system: SystemInfo,
    /// Percent of the machine's processors in use since the last look, at the first since boot;
    /// `None` where the system does not say.
    pub cpu_usage: Option<f64>,
    /// Percent of the machine's memory in use.
    pub memory_usage: Option<f64>,
    /// What discovery has found.
    pub cameras: Vec<Camera>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_by_precedence() {
        assert_eq!(NodeStatus::of(false, false, 3, 4), NodeStatus::Online);
        assert_eq!(NodeStatus::of(false, false, 4, 4), NodeStatus::Busy);
        assert_eq!(NodeStatus::of(false, true, 4, 4), NodeStatus::Maintenance);
        assert_eq!(NodeStatus::of(true, true, 4, 4), NodeStatus::Offline);
    }
}
