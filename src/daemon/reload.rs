//! SIGHUP: the file is read again; what can change in a running daemon changes, and the log says
//! what does not (contract 2). A file with a fault changes nothing. Streams are not touched.

use sd_notify::NotifyState;

use super::{RunningDaemon, access, cameras, discovery, late_limit};
use crate::config::{self, Change, Config, Takes};
use crate::logging;

impl RunningDaemon {
    pub(super) fn reload(&mut self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
        }
        match config::load(&self.loaded.request, &config::process_env) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    log::warn!("{warning}");
                }
                self.take(&loaded.config);
            }
            Err(faults) => {
                for fault in &faults {
                    log::error!("{fault}");
                }
                log::error!(
                    faults = faults.len();
                    "the configuration was not reloaded: what ran before goes on"
                );
            }
        }
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }

    /// Swaps in what can be.
    fn take(&mut self, new: &Config) {
        let changes = self.loaded.config.take_over(new);
        self.apply(&changes);
        if changes.is_empty() {
            log::info!("the configuration was reloaded: nothing has changed");
        }
    }

    fn apply(&self, changes: &[Change]) {
        let config = &self.loaded.config;
        // Before the lines below, which may otherwise not be seen.
        logging::set_level(config.log.level);
        if let Err(why) = self.rest.set_access(access(config)) {
            log::error!("the REST API keeps its tokens and hosts: {why}");
        }
        self.rest.set_late_limit(late_limit(config));
        if let Some(cloud) = &self.cloud {
            cloud.client.set_token(config.rcs.token.clone());
        }
        self.node.set_max_tasks(config.node.max_tasks);
        self.streams.set_limits(config);
        self.cameras
            .configure(cameras::policy(config), cameras::logins(config));
        let searches = discovery::policy(config);
        let goes_on = searches.is_err();
        match searches {
            Ok(policy) => self.discovery.configure(policy),
            // The new networks need what waits for a restart.
            Err(fault) => log::error!("discovery goes on as before: {}", fault.message),
        }
        for change in changes {
            match change.takes {
                Takes::Now if goes_on && change.key.starts_with("camera.scan_") => {}
                Takes::Now => log::info!(key = change.key; "reloaded: a new value is in effect"),
                Takes::Restart => {
                    log::warn!(key = change.key; "reloaded: the new value waits for a restart");
                }
            }
        }
    }
}
