//! HEARTBEAT and the presence body on the cloud line (spec; contract 14).

use serde_json::{Map, Value, json};

use crate::domain::node::{Camera, LssNode};
use crate::util::time::{Now, epoch_ms, rfc3339};

/// One heartbeat. `with_cameras`: they are the first to be left out when it is too large.
pub fn heartbeat(node: &LssNode, with_cameras: bool, now: Now) -> String {
    let active: Map<String, Value> = node
        .active_tasks
        .iter()
        .map(|(id, at)| (id.clone(), json!(epoch_ms(*at))))
        .collect();
    json!({
        "type": "HEARTBEAT",
        "nodeId": node.identity.node_id,
        "status": node.status.name(),
        "activeTaskCount": node.active_tasks.len(),
        "maxTasks": node.identity.max_tasks,
        "activeTasks": active,
        "cpuUsage": node.cpu_usage,
        "memoryUsage": node.memory_usage,
        "cameras": cameras(node, with_cameras),
        "timestamp": rfc3339(now.wall),
    })
    .to_string()
}

/// What presence on `lss:registry` says: the register body.
pub fn presence(node: &LssNode, with_cameras: bool) -> String {
    let system = &node.system;
    json!({
        "nodeId": node.identity.node_id,
        "nodeName": node.identity.node_name,
        "nodeIp": node.node_ip,
        "publicIp": node.public_ip,
        "nodePort": node.identity.node_port,
        "machineId": node.identity.machine_id,
        "ablyClientId": node.identity.node_id,
        "maxTasks": node.identity.max_tasks,
        "ffmpegPath": node.identity.ffmpeg_path.display().to_string(),
        "systemInfo": {
            "os": system.os,
            "cpuCores": system.cpu_cores,
            "totalMemory": system.total_memory,
            "availableMemory": system.available_memory,
            "ffmpegVersion": system.ffmpeg_version,
        },
        "cameras": cameras(node, with_cameras),
    })
    .to_string()
}

/// `null` where they were left out for size: "none" would be a lie.
fn cameras(node: &LssNode, with: bool) -> Value {
    if !with {
        return Value::Null;
    }
    node.cameras.iter().map(camera).collect()
}

fn camera(camera: &Camera) -> Value {
    json!({
        "ip": camera.ip,
        "port": camera.port,
        "onvif": camera.onvif,
        "online": camera.online,
        "rtspUrl": camera.rtsp_url,
        "vendor": camera.vendor,
        "model": camera.model,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use super::*;
    use crate::domain::node::{NodeIdentity, NodeStatus, SystemInfo};

    fn node() -> LssNode {
        LssNode {
            identity: NodeIdentity {
                node_id: "lss-machine_007".into(),
                node_name: "LSS-Node-1".into(),
                machine_id: "machine_007".into(),
                node_port: 10060,
                max_tasks: 4,
                ffmpeg_path: "/usr/local/ffmpeg-whip/bin/ffmpeg".into(),
            },
            node_ip: Some("192.168.0.100".into()),
            public_ip: None,
            status: NodeStatus::Online,
            active_tasks: vec![(
                "task_001".into(),
                UNIX_EPOCH + Duration::from_secs(1_706_601_600),
            )],
            registered_at: None,
            last_heartbeat: None,
            system: SystemInfo {
                os: "Linux 5.15.0".into(),
                cpu_cores: 8,
                total_memory: 16_000_000_000,
                available_memory: 12_000_000_000,
                ffmpeg_version: "9.0.2".into(),
            },
            cpu_usage: Some(45.5),
            memory_usage: None,
            cameras: vec![Camera {
                ip: "192.168.0.64".into(),
                port: 554,
                onvif: true,
                rtsp_url: "rtsp://192.168.0.64:554/Streaming/Channels/101".into(),
                vendor: "HIKVISION".into(),
                model: "DS-2CD2T45FWD".into(),
                online: true,
                last_seen: UNIX_EPOCH,
            }],
        }
    }

    #[test]
    fn the_spec_s_heartbeat_with_the_contract_s_additions() {
        let now = Now {
            mono: Instant::now(),
            wall: UNIX_EPOCH,
        };
        let beat: Value = serde_json::from_str(&heartbeat(&node(), true, now)).unwrap();
        assert_eq!(beat["type"], "HEARTBEAT");
        assert_eq!(
            beat["activeTasks"],
            json!({"task_001": 1_706_601_600_000_u64})
        );
        assert_eq!(beat["activeTaskCount"], 1);
        assert_eq!(
            (&beat["cpuUsage"], &beat["memoryUsage"]),
            (&json!(45.5), &Value::Null)
        );
        assert_eq!(beat["cameras"][0]["online"], true);
        let small: Value = serde_json::from_str(&heartbeat(&node(), false, now)).unwrap();
        assert_eq!(small["cameras"], Value::Null);
    }

    #[test]
    fn presence_is_the_register_body() {
        let body: Value = serde_json::from_str(&presence(&node(), true)).unwrap();
        assert_eq!(body["ablyClientId"], "lss-machine_007");
        assert_eq!(body["systemInfo"]["cpuCores"], 8);
        assert_eq!(body["publicIp"], Value::Null);
        assert_eq!(body["cameras"][0]["vendor"], "HIKVISION");
    }
}
