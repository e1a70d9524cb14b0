//! The node and its cameras as JSON, once for all who are told: the local API, RCS, and the cloud's
//! line. Nothing is absent because it is not known (that is null); what is absent, its reader's
//! shape does not have (spec; contract 10, 14).

use serde::Serialize;

use crate::domain::node::{Camera, LssNode, NodeStatus};
use crate::util::time::rfc3339;

/// Who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// RCS, at a registration.
    Registration,
    /// RCS, at a heartbeat.
    RcsHeartbeat,
    /// Heartbeats and presence on the cloud's line.
    Line,
    /// Whoever may ask the local API.
    LocalApi,
}

/// The spec's `Camera`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CameraJson<'a> {
    ip: &'a str,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    onvif: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
    rtsp_url: &'a str,
    vendor: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
}

/// The spec's word for a camera of which nobody knows who makes it.
const UNKNOWN: &str = "UNKNOWN";

/// Who makes it, in a list of cameras.
pub fn vendor(camera: &Camera) -> &str {
    camera.vendor.as_deref().unwrap_or(UNKNOWN)
}

impl<'a> CameraJson<'a> {
    fn new(camera: &'a Camera, reader: Reader) -> Self {
        Self {
            ip: &camera.ip,
            port: camera.port,
            onvif: (reader != Reader::RcsHeartbeat).then_some(camera.onvif),
            online: (reader != Reader::Registration).then_some(camera.online),
            rtsp_url: &camera.rtsp_url,
            vendor: vendor(camera),
            model: &camera.model,
            last_seen: (reader == Reader::LocalApi).then(|| rfc3339(camera.last_seen)),
        }
    }
}

/// Every camera of the node.
fn cameras(node: &LssNode, reader: Reader) -> Vec<CameraJson<'_>> {
    let cameras = node.cameras.iter();
    cameras
        .map(|camera| CameraJson::new(camera, reader))
        .collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemJson<'a> {
    os: &'a str,
    cpu_cores: usize,
    total_memory: u64,
    available_memory: u64,
    ffmpeg_version: &'a str,
}

/// Who the node is and what it runs on: the spec's register body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeJson<'a> {
    node_id: &'a str,
    node_name: &'a str,
    node_ip: Option<&'a str>,
    node_port: u16,
    machine_id: &'a str,
    ably_client_id: &'a str,
    max_tasks: usize,
    ffmpeg_path: String,
    public_ip: Option<&'a str>,
    system_info: SystemJson<'a>,
    /// Null where they were left out for size: "none" would be a lie.
    cameras: Option<Vec<CameraJson<'a>>>,
}

impl<'a> NodeJson<'a> {
    /// The node as `reader` is told of it.
    pub fn new(node: &'a LssNode, reader: Reader) -> Self {
        let id = &node.identity;
        Self {
            node_id: &id.node_id,
            node_name: &id.node_name,
            node_ip: node.node_ip.as_deref(),
            node_port: id.node_port,
            machine_id: &id.machine_id,
            ably_client_id: &id.node_id,
            max_tasks: id.max_tasks,
            ffmpeg_path: id.ffmpeg_path.display().to_string(),
            public_ip: node.public_ip.as_deref(),
            system_info: SystemJson {
                os: &node.system.os,
                cpu_cores: node.system.cpu_cores,
                total_memory: node.system.total_memory,
                available_memory: node.system.available_memory,
                ffmpeg_version: &node.system.ffmpeg_version,
            },
            cameras: Some(cameras(node, reader)),
        }
    }

    /// Without its cameras.
    #[must_use]
    pub fn small(self) -> Self {
        Self {
            cameras: None,
            ..self
        }
    }
}

/// How the node is, now and again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatJson<'a> {
    node_id: &'a str,
    status: &'static str,
    active_task_count: usize,
    cpu_usage: Option<f64>,
    memory_usage: Option<f64>,
    /// Null where they were left out for size.
    cameras: Option<Vec<CameraJson<'a>>>,
}

impl<'a> HeartbeatJson<'a> {
    /// `status` = the node's own, but OFFLINE in the last one.
    pub fn new(node: &'a LssNode, status: NodeStatus, reader: Reader) -> Self {
        Self {
            node_id: &node.identity.node_id,
            status: status.name(),
            active_task_count: node.active_tasks.len(),
            cpu_usage: node.cpu_usage,
            memory_usage: node.memory_usage,
            cameras: Some(cameras(node, reader)),
        }
    }

    /// Without its cameras.
    #[must_use]
    pub fn small(self) -> Self {
        Self {
            cameras: None,
            ..self
        }
    }
}

/// The spec's `LssNode`, as the local API has it: who the node is, and how.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalNodeJson<'a> {
    #[serde(flatten)]
    node: NodeJson<'a>,
    status: &'static str,
    active_task_count: usize,
    registered_at: Option<String>,
    last_heartbeat: Option<String>,
    cpu_usage: Option<f64>,
    memory_usage: Option<f64>,
}

impl<'a> LocalNodeJson<'a> {
    /// The node as it is now.
    pub fn new(node: &'a LssNode) -> Self {
        Self {
            node: NodeJson::new(node, Reader::LocalApi),
            status: node.status.name(),
            active_task_count: node.active_tasks.len(),
            registered_at: node.registered_at.map(rfc3339),
            last_heartbeat: node.last_heartbeat.map(rfc3339),
            cpu_usage: node.cpu_usage,
            memory_usage: node.memory_usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::node::{NodeIdentity, SystemInfo};

    fn node() -> LssNode {
        LssNode {
            identity: NodeIdentity {
                node_id: "lss-m1".into(),
                node_name: "LSS-Node-1".into(),
                machine_id: "m1".into(),
                node_port: 10060,
                max_tasks: 4,
                ffmpeg_path: "/opt/ffmpeg".into(),
            },
            node_ip: Some("192.168.0.100".into()),
            public_ip: None,
            status: NodeStatus::Online,
            active_tasks: vec![("task_001".into(), UNIX_EPOCH)],
            registered_at: None,
            last_heartbeat: Some(UNIX_EPOCH),
            system: SystemInfo {
                os: "Linux 5.15.0".into(),
                cpu_cores: 8,
                total_memory: 16_000,
                available_memory: 12_000,
                ffmpeg_version: "9.0.2".into(),
            },
            cpu_usage: Some(45.5),
            memory_usage: None,
            cameras: vec![Camera {
                ip: "192.168.0.64".into(),
                port: 554,
                onvif: true,
                rtsp_url: String::new(),
                vendor: Some("HIKVISION".into()),
                model: "DS-2CD2T45FWD".into(),
                online: true,
                last_seen: UNIX_EPOCH,
            }],
        }
    }

    fn shown(json: &impl Serialize) -> Value {
        serde_json::to_value(json).unwrap()
    }

    /// The shapes by reader, whole: a field that one of them has more or less is seen here.
    #[test]
    fn each_reader_has_the_shape_that_it_was_promised() {
        let node = node();
        let camera = |extra: Value| {
            let mut all = json!({
                "ip": "192.168.0.64", "port": 554, "rtspUrl": "", "vendor": "HIKVISION",
                "model": "DS-2CD2T45FWD",
            });
            let extra = extra.as_object().unwrap().clone();
            all.as_object_mut().unwrap().extend(extra);
            json!([all])
        };
        let body = |cameras: Value| {
            json!({
                "nodeId": "lss-m1", "nodeName": "LSS-Node-1", "machineId": "m1",
                "nodeIp": "192.168.0.100", "publicIp": null, "nodePort": 10060,
                "ablyClientId": "lss-m1", "maxTasks": 4, "ffmpegPath": "/opt/ffmpeg",
                "systemInfo": {
                    "os": "Linux 5.15.0", "cpuCores": 8, "totalMemory": 16_000,
                    "availableMemory": 12_000, "ffmpegVersion": "9.0.2",
                },
                "cameras": cameras,
            })
        };
        assert_eq!(
            shown(&NodeJson::new(&node, Reader::Registration)),
            body(camera(json!({ "onvif": true })))
        );
        let line = camera(json!({ "onvif": true, "online": true }));
        let presence = NodeJson::new(&node, Reader::Line);
        assert_eq!(shown(&presence), body(line.clone()));
        assert_eq!(shown(&presence.small()), body(Value::Null));

        let beat = |cameras: Value| {
            json!({
                "nodeId": "lss-m1", "status": "OFFLINE", "activeTaskCount": 1,
                "cpuUsage": 45.5, "memoryUsage": null, "cameras": cameras,
            })
        };
        let told = |reader| HeartbeatJson::new(&node, NodeStatus::Offline, reader);
        assert_eq!(
            shown(&told(Reader::RcsHeartbeat)),
            beat(camera(json!({ "online": true })))
        );
        assert_eq!(shown(&told(Reader::Line)), beat(line));
        assert_eq!(shown(&told(Reader::Line).small()), beat(Value::Null));

        let local = json!({
            "onvif": true, "online": true, "lastSeen": "1970-01-01T00:00:00.000Z",
        });
        let mut whole = body(camera(local));
        let how = json!({
            "status": "ONLINE", "activeTaskCount": 1, "registeredAt": null,
            "lastHeartbeat": "1970-01-01T00:00:00.000Z", "cpuUsage": 45.5, "memoryUsage": null,
        });
        let how = how.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(how);
        assert_eq!(shown(&LocalNodeJson::new(&node)), whole);
    }
}
