//! Asks one camera what it is and where its stream is: as somebody with its login where one
//! belongs to its address, else as a stranger, who may only ask whether a stream is where its
//! vendor's streams usually are. Blocking; runs on a thread of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::inventory::{Inventory, Lesson, StreamPlace};
use super::learning::{Job, Outcome};
use super::maker;
use crate::application::camera::{CameraService, Query, QueryData};
use crate::domain::camera::{CameraDeviceInfo, Credentials, Protocol};
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::vendor;
use crate::util::secret::Secret;
use crate::util::url;

/// A camera's own time limits end before this.
const PATIENCE: Duration = Duration::from_secs(60);
/// One DESCRIBE takes at most so long.
const DESCRIBE: Duration = Duration::from_secs(3);

/// Cameras that [`ask_strangers`] asks at a time.
const STRANGERS: usize = 8;

/// Asks every camera of a list, as a stranger, where its stream is; until `deadline`.
pub fn ask_strangers(list: &mut Inventory, cameras: &CameraService, deadline: Instant) {
    let jobs: Vec<Job> = list
        .askable()
        .map(|camera| Job {
            camera,
            login: None,
        })
        .filter(Job::has_a_question)
        .collect();
    for some in jobs.chunks(STRANGERS) {
        if Instant::now() >= deadline {
            return;
        }
        let lessons = std::thread::scope(|scope| {
            let asking: Vec<_> = some
                .iter()
                .map(|job| scope.spawn(move || ask(cameras, job).0))
                .collect();
            let lessons = asking.into_iter().map(|thread| thread.join().ok());
            lessons.collect::<Vec<_>>()
        });
        for (job, lesson) in some.iter().zip(lessons) {
            if let Some(lesson) = lesson {
                list.learnt(job.camera.key, &lesson);
            }
        }
    }
}

/// Asks, and tells what was learnt.
pub fn ask(cameras: &CameraService, job: &Job) -> (Lesson, Outcome) {
    let mut lesson = Lesson::default();
    let mut outcome = Outcome::Settled;
    let mut info = None;
    if let Some(login) = &job.login
        && job.camera.tells
    {
        match device_info(cameras, job.camera.ip) {
            Ok(found) => {
                lesson = what_it_is(&found);
                // Over ISAPI a camera tells its port alone; the path is a guess like ours.
                if found.probe_method == Protocol::ONVIF || job.camera.rtsp_port.is_none() {
                    lesson.stream = told_stream(cameras, job.camera.ip, login);
                }
                info = Some(found);
            }
            Err(fault) => {
                log::info!(camera:% = job.camera.ip, code = fault.code.number(); "a camera did not tell what it is: {}", fault.message);
                outcome = after(&fault);
            }
        }
    }
    if lesson.stream.is_none()
        && let Some(port) = job.camera.rtsp_port
    {
        let paths = usual_paths(job, info.as_ref());
        let place = usual_stream(cameras, SocketAddr::new(job.camera.ip, port), &paths);
        match place {
            Ok(place) => lesson.stream = place,
            Err(fault) => outcome = after(&fault),
        }
    }
    (lesson, outcome)
}

/// Whether it is worth asking again later.
fn after(fault: &Fault) -> Outcome {
    match fault.code {
        ErrorCode::Unavailable | ErrorCode::NodeBusy | ErrorCode::InternalError => Outcome::Failed,
        _ => Outcome::Settled,
    }
}

fn query(cameras: &CameraService, ip: IpAddr, query: Query) -> Result<QueryData, Fault> {
    let done = cameras.ask_at(ip, query)?;
    let reply = done.recv_timeout(PATIENCE).map_err(|_| {
        Fault::new(
            ErrorCode::Unavailable,
            "the camera has not answered in time",
        )
    })?;
    reply
        .result?
        .data
        .ok_or_else(|| Fault::new(ErrorCode::InternalError, "the camera's answer says nothing"))
}

fn device_info(cameras: &CameraService, ip: IpAddr) -> Result<CameraDeviceInfo, Fault> {
    match query(cameras, ip, Query::DeviceInfo)? {
        QueryData::Info(info) => Ok(*info),
        _ => Err(Fault::new(
            ErrorCode::InternalError,
            "the answer is not to the question",
        )),
    }
}

fn what_it_is(info: &CameraDeviceInfo) -> Lesson {
    // ISAPI firmware often names nobody: then it is Hikvision's.
    let isapi = info.probe_method == Protocol::ISAPI;
    let maker = info.manufacturer.clone().filter(|name| !name.is_empty());
    Lesson {
        manufacturer: maker.or_else(|| isapi.then(|| "HIKVISION".to_owned())),
        model: info.model.clone(),
        serial: info.serial_number.clone(),
        mac: info.mac_address.as_deref().map(str::to_ascii_lowercase),
        stream: None,
    }
}

/// Where the camera itself says that its stream is.
fn told_stream(cameras: &CameraService, ip: IpAddr, login: &Credentials) -> Option<StreamPlace> {
    let QueryData::StreamUri(Some(uri)) = query(cameras, ip, Query::StreamUri).ok()? else {
        return None;
    };
    stream_place(&uri, login)
}

/// Port and path of a stream's URL. One that has a login in its path is none to be told around.
fn stream_place(uri: &str, login: &Credentials) -> Option<StreamPlace> {
    let parts = url::split(uri).ok()?;
    let path = if parts.path.is_empty() {
        "/"
    } else {
        parts.path
    };
    let decoded = url::decode(path);
    let lower = decoded.to_ascii_lowercase();
    let password = login.password().expose();
    let tells_login = ["password", "passwd", "pwd="]
        .iter()
        .any(|w| lower.contains(w))
        || !password.is_empty() && (decoded.contains(password) || path.contains(password));
    let fits = parts.scheme == "rtsp"
        && path.starts_with('/')
        && path.len() <= 512
        && path.bytes().all(|b| b.is_ascii_graphic());
    (fits && !tells_login).then(|| StreamPlace::At {
        port: Some(parts.port.unwrap_or(554)),
        path: path.to_owned(),
    })
}

fn usual_paths(job: &Job, info: Option<&CameraDeviceInfo>) -> Vec<String> {
    let told = info
        .and_then(|info| info.manufacturer.as_deref())
        .and_then(maker::vendor_of);
    let maker = told.as_deref().or(job.camera.vendor.as_deref());
    let paths = maker.map_or_else(Vec::new, |name| vendor::rtsp_paths(name, 1));
    let isapi = info.is_some_and(|info| info.probe_method == Protocol::ISAPI);
    if paths.is_empty() && isapi {
        return vendor::rtsp_paths("HIKVISION", 1);
    }
    paths
}

/// Which of the usual paths the server has; `None` = it does not say without a login.
fn usual_stream(
    cameras: &CameraService,
    at: SocketAddr,
    paths: &[String],
) -> Result<Option<StreamPlace>, Fault> {
    let place = |path: &str| {
        Some(StreamPlace::At {
            port: None,
            path: path.to_owned(),
        })
    };
    for (number, path) in paths.iter().enumerate() {
        let url = Secret::url(format!("rtsp://{at}{path}"));
        match cameras.describe(at, &url, DESCRIBE) {
            Ok(_) => return Ok(place(path)),
            Err(fault) if fault.code == ErrorCode::NotFound => {}
            Err(fault) if fault.code == ErrorCode::Unavailable => return Err(fault),
            // It keeps to itself what is there. That it said so of the others tells something.
            Err(_) if number > 0 => return Ok(place(path)),
            Err(_) => return Ok(None),
        }
    }
    Ok((!paths.is_empty()).then_some(StreamPlace::Nowhere))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::camera::Sighting;
    use crate::application::camera::fakes;
    use crate::application::discovery::inventory::{Askable, CameraKey};

    fn login(password: &str) -> Credentials {
        Credentials::new("admin", Secret::new(password)).unwrap()
    }

    fn job(login: Option<Credentials>, vendor: Option<&str>) -> Job {
        Job {
            camera: Askable {
                key: CameraKey(1),
                ip: "192.168.0.64".parse().unwrap(),
                rtsp_port: Some(8554),
                vendor: vendor.map(Into::into),
                tells: true,
            },
            login,
        }
    }

    #[test]
    fn a_stream_s_url_becomes_its_place() {
        let login = login("secret-word-1");
        let place = |uri: &str| stream_place(uri, &login);
        let at = |port, path: &str| {
            Some(StreamPlace::At {
                port: Some(port),
                path: path.into(),
            })
        };
        assert_eq!(place("rtsp://u:p@10.0.0.1:8554/a?b=c"), at(8554, "/a?b=c"));
        assert_eq!(place("rtsp://10.0.0.1"), at(554, "/"));
        for bad in [
            "rtsp://10.0.0.1/user=admin_password=tlJwpbo6_channel=1.sdp?real_stream",
            "rtsp://10.0.0.1/live?x=secret-word-1",
            "rtsp://10.0.0.1/live?x=secret%2Dword-1",
            "rtsp://10.0.0.1/?pwd=x",
            "rtsp://10.0.0.1/a b",
            "http://10.0.0.1/live",
            "no url",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_stranger_is_told_no_password() {
        let (cameras, asked, _events) = fakes::cameras();
        let (lesson, outcome) = ask(&cameras, &job(None, Some("UNIVIEW")));
        // The first is not there; of the second the server says nothing without a login.
        let second = StreamPlace::At {
            port: None,
            path: "/unicast/c1/s0/live".into(),
        };
        assert_eq!((lesson.stream, outcome), (Some(second), Outcome::Settled));
        let asked = asked.lock().unwrap();
        assert_eq!(
            *asked,
            [
                "192.168.0.64:8554 describe rtsp://192.168.0.64:8554/media/video1 by stranger",
                "192.168.0.64:8554 describe rtsp://192.168.0.64:8554/unicast/c1/s0/live by stranger",
            ]
        );
    }

    #[test]
    fn with_the_login_of_its_address_a_camera_tells_more() {
        let (cameras, asked, _events) = fakes::cameras();
        let ip: IpAddr = "192.168.0.64".parse().unwrap();
        cameras.sighted(
            &[Sighting {
                ip,
                vendor: None,
                http_port: Some(8080),
                rtsp_port: Some(8554),
                onvif_path: None,
            }],
            &[],
        );
        fakes::give_login(&cameras, "192.168.0.64");
        let login = cameras.login_at(ip).unwrap();
        let (lesson, outcome) = ask(&cameras, &job(Some(login), Some("UNIVIEW")));
        assert_eq!(outcome, Outcome::Settled);
        assert_eq!(lesson.manufacturer.as_deref(), Some("Fake"));
        // Nobody knows a Fake's paths; it answers ISAPI, and has none of those.
        assert_eq!(lesson.stream, Some(StreamPlace::Nowhere));
        let asked = asked.lock().unwrap();
        assert!(
            asked.contains(&"192.168.0.64:8080 probe".to_owned()),
            "{asked:?}"
        );
        assert!(
            asked.contains(&"192.168.0.64:8554 speaks".to_owned()),
            "{asked:?}"
        );
    }

    #[test]
    fn a_refused_login_is_not_tried_on_the_stream() {
        let (cameras, asked, _events) = fakes::cameras();
        let wrong = login("canary-wrong-1");
        fakes::give_this_login(&cameras, "192.168.0.64", &wrong);
        let (lesson, outcome) = ask(&cameras, &job(Some(wrong), Some("UNIVIEW")));
        assert_eq!((lesson.manufacturer, outcome), (None, Outcome::Settled));
        let asked = asked.lock().unwrap();
        assert!(
            asked.iter().all(|line| !line.contains("by admin")),
            "{asked:?}"
        );
        assert_eq!(
            asked.iter().filter(|line| *line == "login refused").count(),
            1
        );
    }
}
