//! What every route is given and gives back: the application's handles, a request as the gate let
//! it through, an answer now or later.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use super::guard::Access;
use super::late::{Deferred, Late, LateLimit};
use super::reply::Reply;
use crate::application::camera::CameraService;
use crate::application::discovery::DiscoveryService;
use crate::application::health::HealthBoard;
use crate::application::stream::StreamService;
use crate::domain::metrics::{Metric, QueueMetric};
use crate::domain::node::LssNode;
use crate::util::url;

/// Makes a picture of the node when somebody asks.
pub type NodePicture = Arc<dyn Fn() -> LssNode + Send + Sync>;

/// Gathers the metrics of `/metrics` when somebody asks.
/// The queues are the API's own.
pub type Metrics = Arc<dyn Fn(&[QueueMetric]) -> Vec<Metric> + Send + Sync>;

/// What every handler may use.
pub struct Api {
    pub streams: StreamService,
    pub cameras: CameraService,
    pub discovery: DiscoveryService,
    pub health: Arc<HealthBoard>,
    pub node: NodePicture,
    pub node_id: String,
    pub metrics: Metrics,
    pub started: Instant,
    pub access: RwLock<Arc<Access>>,
    pub late: Late,
    pub late_limit: Arc<LateLimit>,
    pub refusing: AtomicBool,
}

/// One request, as the gate let it through.
#[derive(Debug, Default)]
pub struct Call {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub host: Option<String>,
    pub origin: Option<String>,
    pub authorization: Option<String>,
    pub content_type: Option<String>,
    /// Empty if `oversize`.
    pub body: Vec<u8>,
    /// The body was over the limit.
    pub oversize: bool,
}

impl Call {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(p, _)| p)
    }

    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (url::decode(key) == name).then(|| url::decode(value))
        })
    }
}

/// An answer, now or later.
pub enum Answer {
    /// There it is.
    Now(Reply),
    /// When another thread is done.
    Later(Deferred),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Now(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let call = Call {
            target: "/x?a=1&r%75n=%32&run=3&flag".into(),
            ..Call::default()
        };
        assert_eq!(call.path(), "/x");
        assert_eq!(call.query("run").as_deref(), Some("2"));
        assert_eq!(call.query("flag").as_deref(), Some(""));
        assert_eq!(call.query("none"), None);
    }
}
