//! `lss guard`, from both ends: what the daemon gives it to know, and what it does when the daemon is
//! gone.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::lock::{self, NodeLock};
use super::startup::launcher;
use crate::config::Config;
use crate::domain::camera::CameraGateway;
use crate::infrastructure::camera_gateway::Cameras;
use crate::infrastructure::child::marker::GUARD_VARIABLE;
use crate::infrastructure::guard::child::Guard;
use crate::infrastructure::guard::last;
use crate::infrastructure::guard::watched::Watched;
use crate::infrastructure::http::camera::CameraOptions;
use crate::infrastructure::http::doors::Doors;

/// The thread that keeps it.
pub fn start(config: &Config, lock: &NodeLock) -> io::Result<Guard> {
    Guard::start(launcher(config), lock.paths())
}

/// Cameras whose movements the guard is told of.
pub fn watched(inner: Cameras, guard: Guard, lock: &NodeLock) -> Arc<dyn CameraGateway> {
    let claims = lock.claims();
    Arc::new(Watched::new(
        Arc::new(inner),
        Box::new(move |job| guard.tell(job)),
        Box::new(move |place, claim| claims.say(place, claim)),
    ))
}

/// The process `lss guard`.
pub fn run() -> ExitCode {
    if !last::is_meant(std::env::var_os(GUARD_VARIABLE).is_some()) {
        let words =
            "lss: `lss guard` is started by lss itself, to stop cameras should lss be killed";
        let _ = writeln!(io::stderr(), "{words}");
        return ExitCode::from(2);
    }
    // The last to go where memory runs out, where this may be asked for.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-500");
    let offers = Cameras::new(CameraOptions::default());
    let (jobs, locks) = last::listen(io::stdin().lock(), offers.protocols());
    let rule = jobs.iter().map(|job| job.trust.rule).next();
    let doors = Doors::new(rule.unwrap_or_default());
    let kept = jobs.iter().flat_map(|job| job.trust.kept.clone());
    doors.tls().take_back(kept.collect());
    let cameras = super::cameras::gateway(doors);
    last::stop_all(&jobs, &cameras, &|place| lock::claimed(&locks, place));
    ExitCode::SUCCESS
}
