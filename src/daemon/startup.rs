//! What is done in the background while REST answers already. INTERIM
use crate::application::health::HealthBoard;
use crate::application::node::NodeRegistry;
use crate::config::Config;
use crate::domain::error::Fault;
use crate::domain::gateway::{Engine, Launch};
use crate::domain::health::{Part, PartStatus};
use crate::domain::stream::{InputType, Source, StreamSpec, TaskMode};
use crate::infrastructure::child::leftovers::end_leftovers;
use crate::util::secret::Secret;
use crate::util::time::Now;
use std::sync::Arc;
pub struct Interim(String);
impl Engine for Interim {
    fn prepare(&self, spec: &StreamSpec) -> Result<Launch, Fault> {
        let src = match &spec.source {
            Source::Network(u) => Secret::url(u.expose()),
            Source::File(p) => Secret::new(p.clone()),
        };
        Ok(Launch {
            mode: TaskMode::Transcode,
            mode_reason: "x".into(),
            argv: vec![
                Secret::new(self.0.clone()),
                Secret::new("-i"),
                src,
                Secret::new("-f"),
                Secret::new("whip"),
                Secret::url(spec.whip_url.expose()),
            ],
            ends_by_nature: spec.input == InputType::File && !spec.looped,
            whip_bearer: None,
        })
    }
}
pub fn engine(config: &Config) -> Arc<Interim> {
    Arc::new(Interim(config.ffmpeg.path.display().to_string()))
}
pub fn begin(
    config: &Config,
    _e: Arc<Interim>,
    health: Arc<HealthBoard>,
    _n: Arc<NodeRegistry>,
) -> std::io::Result<()> {
    let node_id = config.node.node_id();
    std::thread::Builder::new()
        .name("start-up".into())
        .spawn(move || {
            end_leftovers(&node_id);
            health.set(Part::Ffmpeg, PartStatus::Up, "", Now::read().wall);
        })?;
    Ok(())
}
