//! The one list of routes: method and path → what is to be done. Knows no request and does nothing.

use self::CameraOp::{
    CertificateForget, Fit, Hold, List, PatrolPause, PatrolResume, PatrolStart, PatrolStatus,
    PatrolStop, PresetDelete, PresetGoto, PresetSet, Presets, Probe, Ptz, Scan, Snapshot,
};
use self::Op::{
    ActiveTasks, Camera, Health, Live, Maintenance, Metrics, Node, OpenApi, Ready, Start, Stop,
    Task, TaskLog, Tasks,
};
use crate::util::url;

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Start,
    Stop,
    Task,
    TaskLog,
    ActiveTasks,
    Tasks,
    Node,
    Maintenance,
    Health,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Camera(CameraOp),
}

/// What a camera route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraOp {
    List,
    Scan,
    Probe,
    Ptz,
    Hold,
    Presets,
    PresetSet,
    PresetGoto,
    PresetDelete,
    Snapshot,
    CertificateForget,
    Fit,
    PatrolStart,
    PatrolStop,
    PatrolPause,
    PatrolResume,
    PatrolStatus,
}

impl Op {
    /// Answered whatever Host and token, and while stopping: they are for those who watch.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::Live | Self::Ready)
    }
}

/// Method, path with `{…}` for a variable segment, and what it does.
#[rustfmt::skip] // A line each, in columns.
const ROUTES: &[(&str, &str, Op)] = &[
    ("POST",   "/api/stream/start",                         Start),
    ("POST",   "/api/stream/stop",                          Stop),
    ("GET",    "/api/stream/task/{id}",                     Task),
    ("GET",    "/api/stream/task/{id}/log",                 TaskLog),
    ("GET",    "/api/stream/tasks/active",                  ActiveTasks),
    ("GET",    "/api/stream/tasks",                         Tasks),
    ("GET",    "/api/stream/node",                          Node),
    ("PUT",    "/api/stream/node/maintenance",              Maintenance),
    ("GET",    "/api/stream/health",                        Health),
    ("GET",    "/api/cameras",                              Camera(List)),
    ("POST",   "/api/cameras/scan",                         Camera(Scan)),
    ("POST",   "/api/cameras/probe",                        Camera(Probe)),
    ("POST",   "/api/cameras/{id}/ptz",                     Camera(Ptz)),
    ("POST",   "/api/cameras/{id}/ptz/hold",                Camera(Hold)),
    ("GET",    "/api/cameras/{id}/presets",                 Camera(Presets)),
    ("PUT",    "/api/cameras/{id}/presets/{presetId}",      Camera(PresetSet)),
    ("DELETE", "/api/cameras/{id}/presets/{presetId}",      Camera(PresetDelete)),
    ("POST",   "/api/cameras/{id}/presets/{presetId}/goto", Camera(PresetGoto)),
    ("GET",    "/api/cameras/{id}/snapshot.jpg",            Camera(Snapshot)),
    ("DELETE", "/api/cameras/{id}/certificate",             Camera(CertificateForget)),
    ("POST",   "/api/cameras/{id}/fit",                     Camera(Fit)),
    ("POST",   "/api/patrol/start",                         Camera(PatrolStart)),
    ("POST",   "/api/patrol/stop",                          Camera(PatrolStop)),
    ("POST",   "/api/patrol/pause",                         Camera(PatrolPause)),
    ("POST",   "/api/patrol/resume",                        Camera(PatrolResume)),
    ("GET",    "/api/patrol/{id}",                          Camera(PatrolStatus)),
    ("GET",    "/livez",                                    Live),
    ("GET",    "/readyz",                                   Ready),
    ("GET",    "/metrics",                                  Metrics),
    ("GET",    "/api/openapi.json",                         OpenApi),
];

/// A route whose path is that of a request.
pub struct Route {
    pub method: &'static str,
    pub op: Op,
    /// The variable segments, decoded.
    pub ids: Vec<String>,
}

/// All routes of a path, whatever the method.
pub fn routes_of(path: &str) -> Vec<Route> {
    let mut found: Vec<Route> = ROUTES
        .iter()
        .filter_map(|(method, template, op)| {
            let ids = matches(template, path)?;
            Some(Route {
                method,
                op: *op,
                ids,
            })
        })
        .collect();
    // A path that stands in the list is that, and nobody's id.
    if found.iter().any(|route| route.ids.is_empty()) {
        found.retain(|route| route.ids.is_empty());
    }
    found
}

/// The variable segments, decoded, if `path` is what `template` says.
fn matches(template: &str, path: &str) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    let mut segments = path.split('/');
    for expected in template.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') && !segment.is_empty() {
            ids.push(url::decode(segment));
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let of = |path| matches("/api/stream/task/{id}/log", path);
        assert_eq!(of("/api/stream/task/a/log"), Some(vec!["a".to_owned()]));
        assert_eq!(
            of("/api/stream/task/a%2fb%20/log"),
            Some(vec!["a/b ".into()])
        );
        for other in [
            "/api/stream/task//log",
            "/api/stream/task/a/log/",
            "/api/stream/task/a",
            "/api/stream/task/a/LOG",
            "api/stream/task/a/log",
            "//api/stream/task/a/log",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(matches("/livez", "/livez"), Some(Vec::new()));
        assert_eq!(
            matches("/c/{id}/p/{presetId}/goto", "/c/cam/p/12/goto"),
            Some(vec!["cam".into(), "12".into()])
        );
        assert_eq!(matches("/livez", "/livez/"), None);
    }

    /// The description names the same routes as the table, no more and no fewer.
    #[test]
    fn the_description_is_complete() {
        let described: serde_json::Value =
            serde_json::from_str(include_str!("openapi.json")).unwrap();
        let mut described: Vec<(String, String)> = described["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|method| {
                    let path = path
                        .replace("{taskId}", "{id}")
                        .replace("{cameraId}", "{id}");
                    (method.to_uppercase(), path)
                })
            })
            .collect();
        let mut served: Vec<(String, String)> = ROUTES
            .iter()
            .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        described.sort();
        served.sort();
        assert_eq!(described, served);
    }
}
