//! What each request is on a device: movements, presets, questions, pictures.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::accounts::Use;
use super::contact::{CheckReport, Contact, DETECT, QueryData};
use super::order::{DeviceRequest, Done, PresetOrder, Query};
use crate::domain::camera::{
    CameraAddress, CameraDevice, CameraError, Credentials, FrameSource, LoginRefusal, Picture,
    PictureLimit, Protocol, SnapshotWish,
};
use crate::domain::gateway::{Leave, LoginEnd};
use crate::util::secret::Secret;

/// The port of RTSP where nobody says another.
const RTSP: u16 = 554;
/// Whether a camera answers RTSP is waited for so long.
const ASK_RTSP: Duration = Duration::from_secs(2);

impl Contact {
    pub(super) fn ask(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Result<Done<QueryData>, CameraError> {
        let nothing = Done::default;
        match request {
            DeviceRequest::Move {
                drive,
                velocity,
                limit,
            } => {
                let accepted = device.move_at(*drive, *velocity, *limit, deadline)?;
                Ok(Done {
                    ends_after: accepted.ends_after,
                    ..nothing()
                })
            }
            DeviceRequest::Stop { drive, way } => {
                device.stop(*drive, *way, deadline)?;
                Ok(nothing())
            }
            DeviceRequest::Preset(order) => preset(device, order, deadline),
            DeviceRequest::FocusAuto => {
                device.focus_auto(deadline)?;
                Ok(nothing())
            }
            DeviceRequest::CameraPatrol { patrol, start } => {
                let patrol = patrol.to_string();
                if *start {
                    device.start_patrol(&patrol, deadline)?;
                } else {
                    device.stop_patrol(&patrol, deadline)?;
                }
                Ok(nothing())
            }
            DeviceRequest::Query(query) => Ok(Done {
                data: Some(self.query(device, protocol, *query, deadline)?),
                ..nothing()
            }),
        }
    }

    fn query(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        query: Query,
        deadline: Instant,
    ) -> Result<QueryData, CameraError> {
        let book = &self.shared.parts.book;
        match query {
            Query::Check => {
                let asked = Instant::now();
                let checked = device.check(deadline)?;
                Ok(QueryData::Check(CheckReport {
                    online: true,
                    protocol: Some(protocol),
                    latency: Some(asked.elapsed()),
                    authenticated: checked.authenticated,
                    fault: None,
                }))
            }
            Query::Snapshot {
                max_width,
                max_bytes,
            } => {
                let limit = PictureLimit {
                    max_bytes,
                    max_width,
                };
                self.picture(device, limit, deadline)
            }
            Query::Presets => Ok(QueryData::Presets(device.presets(deadline)?)),
            Query::DeviceInfo | Query::OnvifProbe => {
                let mut info = device.probe(deadline)?;
                let support = &mut info.protocol_support;
                let address = CameraAddress::new(info.address.ip, info.address.port);
                let soon = deadline.min(Instant::now() + DETECT);
                let speaks = |protocol| self.shared.parts.gateway.speaks(&address, protocol, soon);
                for offer in self.shared.parts.gateway.protocols() {
                    // Only what it answers counts; a question that fails tells nothing.
                    if support.of(offer.protocol).is_none()
                        && let Ok(answers) = speaks(offer.protocol)
                    {
                        support.note(offer.protocol, answers);
                    }
                }
                if support.rtsp.is_none() {
                    support.rtsp = self.speaks_rtsp(address.ip, deadline);
                }
                book.model(&self.as_named().1, info.model.as_deref());
                Ok(QueryData::Info(Box::new(info)))
            }
            Query::StreamUri => Ok(QueryData::StreamUri(device.stream_uri(deadline)?)),
        }
    }

    /// Whether the camera answers RTSP, asked without a login; `None` = there was no time to ask.
    fn speaks_rtsp(&self, ip: IpAddr, deadline: Instant) -> Option<bool> {
        let told = self.target().ok().and_then(|target| target.rtsp_port);
        let at = SocketAddr::new(ip, told.unwrap_or(RTSP));
        let time = deadline
            .saturating_duration_since(Instant::now())
            .min(ASK_RTSP);
        if time.is_zero() {
            return None;
        }
        Some(self.shared.parts.rtsp.speaks(at, time).is_ok())
    }

    /// The camera's own picture, else a frame of its stream.
    fn picture(
        &self,
        device: &mut dyn CameraDevice,
        limit: PictureLimit,
        deadline: Instant,
    ) -> Result<QueryData, CameraError> {
        let pictures = &self.shared.parts.pictures;
        // What is asked for small needs no scaling down.
        let wish = SnapshotWish {
            size: limit.max_width.map(|width| (width, width * 9 / 16)),
        };
        let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let jpeg = match device.snapshot(wish, half) {
            Ok(jpeg) => jpeg,
            Err(error @ (CameraError::LoginRefused(_) | CameraError::Unreachable(_))) => {
                return Err(error);
            }
            Err(error) => match self.frame(device, half, deadline) {
                Ok(jpeg) => jpeg,
                Err(refused @ CameraError::LoginRefused(_)) => return Err(refused),
                // What the camera itself said tells more than FFmpeg's words.
                Err(_) => return Err(error),
            },
        };
        let captured_at = SystemTime::now();
        let (jpeg, width, height) = pictures.fit(jpeg, limit)?;
        Ok(QueryData::Picture(Box::new(Picture {
            jpeg,
            width,
            height,
            captured_at,
        })))
    }

    /// A frame of the camera's stream, under the guard: RTSP may know other logins than HTTP.
    fn frame(
        &self,
        device: &mut dyn CameraDevice,
        half: Instant,
        deadline: Instant,
    ) -> Result<Vec<u8>, CameraError> {
        let no_stream = || CameraError::NotSupported("it tells no stream".to_owned());
        let uri = device.stream_uri(half)?.ok_or_else(no_stream)?;
        let ip = self.address()?;
        let book = &self.shared.parts.book;
        let known = book.taken_logins(&self.camera(), self.place.ip, Use::View);
        let login = known.into_iter().next();
        let mut source = FrameSource {
            ip,
            url: Secret::url(uri),
            login: None,
        };
        let pictures = &self.shared.parts.pictures;
        let Some(login) = login else {
            return pictures.frame(&source, deadline).1;
        };
        let refusal = |words: String| {
            CameraError::LoginRefused(LoginRefusal {
                // By the stream, and told to the guard here; nothing is said of HTTP.
                tried: false,
                unlock_after: None,
                tries_left: None,
                words,
            })
        };
        match book.stream_leave(ip, &login) {
            Leave::Go => {}
            Leave::Guarded(words) => return Err(refusal(words)),
            Leave::Later => {
                return Err(CameraError::Busy(
                    "other tries of this login are under way".to_owned(),
                ));
            }
        }
        source.login = Credentials::new(login.user.clone(), login.password.clone()).ok();
        let (end, picture) = pictures.frame(&source, deadline);
        book.stream_login(ip, &login, end);
        if end == LoginEnd::Refused {
            let words = "the camera's stream refused user name or password";
            log::warn!(camera:% = self.place, user = login.user.as_str(); "{words}");
            return Err(refusal(words.to_owned()));
        }
        picture
    }
}

fn preset(
    device: &mut dyn CameraDevice,
    order: &PresetOrder,
    deadline: Instant,
) -> Result<Done<QueryData>, CameraError> {
    let preset = match order {
        PresetOrder::Goto { preset, force } => {
            device.goto_preset(preset, *force, deadline)?;
            Arc::clone(preset)
        }
        PresetOrder::Set { preset, name } => {
            Arc::from(device.set_preset(preset.as_deref(), name.as_deref(), deadline)?)
        }
        PresetOrder::Delete { preset } => {
            device.delete_preset(preset, deadline)?;
            Arc::clone(preset)
        }
    };
    Ok(Done {
        preset: Some(preset),
        ..Done::default()
    })
}
