//! HEARTBEAT and the presence body on the cloud line (spec; contract 14).

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::node::LssNode;
use crate::json::{HeartbeatJson, NodeJson, Reader};
use crate::util::time::{Now, epoch_ms, rfc3339};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Heartbeat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    node: HeartbeatJson<'a>,
    max_tasks: usize,
    active_tasks: Map<String, Value>,
    timestamp: String,
}

/// One heartbeat. `with_cameras`: they are the first to be left out when it is too large.
pub fn heartbeat(node: &LssNode, with_cameras: bool, now: Now) -> String {
    let beat = HeartbeatJson::new(node, node.status, Reader::Line);
    let active = node.active_tasks.iter();
    to_json(&Heartbeat {
        kind: "HEARTBEAT",
        node: if with_cameras { beat } else { beat.small() },
        max_tasks: node.identity.max_tasks,
        active_tasks: active
            .map(|(id, at)| (id.clone(), json!(epoch_ms(*at))))
            .collect(),
        timestamp: rfc3339(now.wall),
    })
}

/// What presence on `lss:registry` says: the register body.
pub fn presence(node: &LssNode, with_cameras: bool) -> String {
    let body = NodeJson::new(node, Reader::Line);
    to_json(&if with_cameras { body } else { body.small() })
}

fn to_json(body: &impl Serialize) -> String {
    // Strings, numbers and maps of them: there is nothing in these shapes that can fail.
    serde_json::to_string(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use super::*;
    use crate::domain::node::{Camera, NodeIdentity, NodeStatus, SystemInfo};

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
                vendor: Some("HIKVISION".into()),
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
