//! The node as it shows itself: put together on demand from who it is, what the system says, what
//! runs and what was found. Knows no JSON, no HTTP, no peer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use crate::domain::gateway::{NodeSource, SystemProbe};
use crate::domain::node::{Camera, LssNode, NodeIdentity, NodeStatus, SystemInfo};
use crate::util::time::Now;

/// The active tasks, written by the stream owner after each change and read by everybody else
/// without asking it.
#[derive(Debug, Default)]
pub struct ActiveTasks {
    tasks: RwLock<Arc<Vec<(String, SystemTime)>>>,
}

impl ActiveTasks {
    /// The new picture: id and start of each active task.
    pub fn set(&self, tasks: Vec<(String, SystemTime)>) {
        let new = Arc::new(tasks);
        *self.tasks.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The present picture.
    pub fn get(&self) -> Arc<Vec<(String, SystemTime)>> {
        self.tasks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Everything that makes up the node's picture.
pub struct NodeRegistry {
    identity: NodeIdentity,
    probe: Arc<dyn SystemProbe>,
    active: Arc<ActiveTasks>,
    max_tasks: AtomicUsize,
    maintenance: AtomicBool,
    stopping: AtomicBool,
    facts: Mutex<Facts>,
}

struct Facts {
    engine: String,
    cameras: Arc<Vec<Camera>>,
    public_ip: Option<IpAddr>,
    registered_at: Option<SystemTime>,
    last_heartbeat: Option<SystemTime>,
}

impl NodeRegistry {
    /// A node that nothing is known of yet but who it is.
    pub fn new(
        identity: NodeIdentity,
        probe: Arc<dyn SystemProbe>,
        active: Arc<ActiveTasks>,
    ) -> Self {
        Self {
            max_tasks: AtomicUsize::new(identity.max_tasks),
            identity,
            probe,
            active,
            maintenance: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            facts: Mutex::new(Facts {
                engine: "not probed yet".to_owned(),
                cameras: Arc::default(),
                public_ip: None,
                registered_at: None,
                last_heartbeat: None,
            }),
        }
    }

    /// What the engine says of itself (`ffmpegVersion`), or why there is none.
    pub fn set_engine(&self, version: impl Into<String>) {
        self.facts().engine = version.into();
    }

    /// What discovery has found.
    pub fn set_cameras(&self, cameras: impl Into<Arc<Vec<Camera>>>) {
        self.facts().cameras = cameras.into();
    }

    /// Most active tasks, from now on.
    pub fn set_max_tasks(&self, max: usize) {
        self.max_tasks.store(max, Ordering::Relaxed);
    }

    /// MAINTENANCE from now on, or not any more.
    pub fn set_maintenance(&self, enabled: bool) {
        self.maintenance.store(enabled, Ordering::Relaxed);
    }

    /// OFFLINE from now on.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeSource for NodeRegistry {
    fn node(&self, now: Now) -> LssNode {
        let system = self.probe.sample(now.mono);
        let active = self.active.get();
        let identity = NodeIdentity {
            max_tasks: self.max_tasks.load(Ordering::Relaxed),
            ..self.identity.clone()
        };
        let (engine, cameras, public_ip, registered_at, last_heartbeat) = {
            let facts = self.facts();
            (
                facts.engine.clone(),
                facts.cameras.clone(),
                facts.public_ip,
                facts.registered_at,
                facts.last_heartbeat,
            )
        };
        LssNode {
            status: NodeStatus::of(
                self.stopping.load(Ordering::Relaxed),
                self.maintenance.load(Ordering::Relaxed),
                active.len(),
                identity.max_tasks,
            ),
            identity,
            node_ip: system.node_ip.map(|ip| ip.to_string()),
            public_ip: public_ip.map(|ip| ip.to_string()),
            active_tasks: active.as_ref().clone(),
            registered_at,
            last_heartbeat,
            system: SystemInfo {
                os: system.os,
                cpu_cores: system.cpu_cores,
                total_memory: system.total_memory,
                available_memory: system.available_memory,
                ffmpeg_version: engine,
            },
            cpu_usage: system.cpu_usage,
            memory_usage: system.memory_usage,
            cameras: cameras.as_ref().clone(),
        }
    }

    /// The first one stays.
    fn registered(&self, at: SystemTime) {
        self.facts().registered_at.get_or_insert(at);
    }

    fn heartbeat_taken(&self, at: SystemTime) {
        self.facts().last_heartbeat = Some(at);
    }

    fn public_ip_found(&self, ip: IpAddr) {
        self.facts().public_ip = Some(ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gateway::SystemSample;
    use std::time::{Duration, Instant, UNIX_EPOCH};

    struct Probe;

    impl SystemProbe for Probe {
        fn sample(&self, _: Instant) -> SystemSample {
            SystemSample {
                os: "Linux 5.15.0".to_owned(),
                cpu_cores: 4,
                total_memory: 1000,
                available_memory: 400,
                cpu_usage: Some(12.5),
                memory_usage: Some(60.0),
                node_ip: Some("192.168.0.100".parse().unwrap()),
            }
        }
    }

    #[test]
    fn put_together_on_demand() {
        let active = Arc::new(ActiveTasks::default());
        let identity = NodeIdentity {
            node_id: "lss-m".to_owned(),
            node_name: "n".to_owned(),
            machine_id: "m".to_owned(),
            node_port: 10060,
            max_tasks: 2,
            ffmpeg_path: "/f".into(),
        };
        let node = NodeRegistry::new(identity, Arc::new(Probe), active.clone());
        let now = Now::read();
        let first = node.node(now);
        assert_eq!(first.status, NodeStatus::Online);
        assert_eq!(first.registered_at, None);
        assert_eq!(first.node_ip.as_deref(), Some("192.168.0.100"));
        assert_eq!(first.system.available_memory, 400);
        assert!(first.active_tasks.is_empty());

        active.set(vec![
            ("a".to_owned(), UNIX_EPOCH),
            ("b".to_owned(), UNIX_EPOCH),
        ]);
        node.set_engine("9.0");
        node.public_ip_found("203.0.113.1".parse().unwrap());
        let later = UNIX_EPOCH + Duration::from_secs(9);
        node.registered(UNIX_EPOCH);
        node.registered(later);
        node.heartbeat_taken(UNIX_EPOCH);
        node.heartbeat_taken(later);
        let second = node.node(now);
        assert_eq!(second.status, NodeStatus::Busy);
        assert_eq!(second.registered_at, Some(UNIX_EPOCH), "the first stays");
        assert_eq!(second.last_heartbeat, Some(later));
        assert_eq!(second.system.ffmpeg_version, "9.0");
        assert_eq!(second.public_ip.as_deref(), Some("203.0.113.1"));

        node.set_maintenance(true);
        assert_eq!(node.node(now).status, NodeStatus::Maintenance);
        node.set_stopping();
        assert_eq!(node.node(now).status, NodeStatus::Offline);
    }
}
