//! Fits the encoder of a camera: what is set, the smallest change, and with leave to write it: read,
//! change, write, read again, look at the stream; not as asked → the old settings are written back
//! (contract 16). Blocking; runs on a connection of its own, in nobody's way.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Contact;
use crate::application::camera::order::{DeviceRequest, Done, Query, QueryData};
use crate::domain::camera::fit::{
    self, ChangeError, EncoderBackup, EncoderChange, EncoderDevice, EncoderStream, FitAsk,
    FitReport, Fitness, JudgedStream, StreamName,
};
use crate::domain::camera::{CameraDevice, CameraError, Credentials, Protocol};
use crate::domain::discovery::Sight;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::{LoginEnd, LoginPermit};
use crate::util::secret::Secret;
use crate::util::url;

/// Between two writes of one camera.
const WRITES: Duration = Duration::from_secs(60);
/// For reading what is set.
const READ: Duration = Duration::from_secs(8);
/// For the description of one stream.
const DESCRIBE: Duration = Duration::from_secs(2);
/// For one document.
const WRITE: Duration = Duration::from_secs(6);
/// A camera may be busy for a moment with what it was told.
const PAUSE: Duration = Duration::from_millis(300);
/// Kept free at the end for writing the old settings back.
const TAKE_BACK: Duration = Duration::from_secs(15);
/// Between two tries of that: its service may be starting again.
const BACK_PAUSE: Duration = Duration::from_secs(1);

/// Why a stream was not seen.
enum Unseen {
    /// Asking again may help.
    Yet(String),
    /// The login, or the guard.
    Login(String),
}

impl Contact {
    /// Any request, as it is on a device.
    pub(super) fn carry_out(
        &self,
        device: &mut dyn CameraDevice,
        protocol: Protocol,
        login: Option<&Credentials>,
        request: &DeviceRequest,
        deadline: Instant,
    ) -> Result<Done, CameraError> {
        let DeviceRequest::Query(Query::Fit(ask)) = request else {
            return self.ask(device, protocol, request, deadline);
        };
        let report = self.fit(device, login, *ask, deadline)?;
        Ok(Done {
            data: Some(QueryData::Fit(Box::new(report))),
            ..Done::default()
        })
    }

    fn fit(
        &self,
        device: &mut dyn CameraDevice,
        login: Option<&Credentials>,
        ask: FitAsk,
        deadline: Instant,
    ) -> Result<FitReport, CameraError> {
        let ip = self.address()?;
        let encoders = device.encoders().ok_or_else(|| {
            CameraError::NotSupported("its encoder can't be set by what it speaks".to_owned())
        })?;
        let told = encoders.encoders(soon(deadline, READ))?;
        if let Some(login) = login {
            // Else its own stream would wait until it is known what this very login is worth.
            self.has_taken(ip, login);
        }
        let streams: Vec<JudgedStream> = told
            .into_iter()
            .map(|stream| {
                let sight = self.described(ip, login, &stream, deadline);
                fit::judge(stream, sight)
            })
            .collect();
        let chosen = fit::choose(&streams, ask.stream, ask.wish)
            .cloned()
            .map_err(CameraError::NotFound)?;
        let mut report = FitReport {
            streams,
            ..FitReport::default()
        };
        match fit::plan(&chosen, ask.wish) {
            Err(why) if ask.apply => {
                report.failed = Some(Fault::new(ErrorCode::ValidationFailed, why));
            }
            Err(_) => {}
            Ok(change) => {
                report.plan = change.steps(chosen.stream.name, &chosen.stream.settings);
                if ask.apply {
                    let mut trial = Trial {
                        contact: self,
                        ip,
                        login,
                        before: &chosen,
                        change: &change,
                        looks: deadline.checked_sub(TAKE_BACK).unwrap_or(deadline),
                        deadline,
                    };
                    trial.run(encoders, &mut report)?;
                }
            }
        }
        Ok(report)
    }

    /// What a stream's description shows; `None` where it does not come.
    fn described(
        &self,
        ip: IpAddr,
        login: Option<&Credentials>,
        stream: &EncoderStream,
        deadline: Instant,
    ) -> Option<Sight> {
        let rtsp = &self.common().parts.rtsp;
        let until = soon(deadline, DESCRIBE);
        let seen = self.at_stream(ip, login, stream, |at, url, credentials| {
            let left = until.saturating_duration_since(Instant::now());
            let described = rtsp.describe(at, url, credentials, left);
            let end = match &described {
                Ok(_) if credentials.is_some() => LoginEnd::Taken,
                Err(fault) if fault.code == ErrorCode::Unauthorized && credentials.is_some() => {
                    LoginEnd::Refused
                }
                _ => LoginEnd::Unknown,
            };
            (end, described.map(|description| Sight::of(&description)))
        });
        seen.map_err(|unseen| match unseen {
            Unseen::Yet(why) | Unseen::Login(why) => {
                log::info!(camera:% = self.place(); "a stream can't be looked at: {why}");
            }
        })
        .ok()
    }

    /// Does something with a stream under the login guard.
    fn at_stream(
        &self,
        ip: IpAddr,
        login: Option<&Credentials>,
        stream: &EncoderStream,
        look: impl FnOnce(SocketAddr, &Secret, Option<&Credentials>) -> (LoginEnd, Result<Sight, Fault>),
    ) -> Result<Sight, Unseen> {
        let told = stream.url.as_deref().ok_or_else(|| {
            Unseen::Login("the camera does not tell where the stream is".to_owned())
        })?;
        let parts = url::split(told)
            .map_err(|why| Unseen::Login(format!("where the camera says its stream is {why}")))?;
        let at = SocketAddr::new(ip, parts.rtsp_port());
        let place = Secret::url(told.to_owned());
        let Some(login) = login else {
            return look(at, &place, None).1.map_err(unseen);
        };
        let book = &self.common().parts.book;
        match book.stream_permit(ip, login) {
            LoginPermit::Granted => {}
            LoginPermit::Guarded(words) => return Err(Unseen::Login(words)),
            LoginPermit::NotYet => {
                let words = "other tries of this login are under way";
                return Err(Unseen::Yet(words.to_owned()));
            }
        }
        let (end, seen) = look(at, &place, Some(login));
        book.stream_login(ip, login, end);
        seen.map_err(unseen)
    }
}

fn unseen(fault: Fault) -> Unseen {
    match fault.code {
        ErrorCode::Unauthorized | ErrorCode::AccessDenied => Unseen::Login(fault.message),
        _ => Unseen::Yet(fault.message),
    }
}

fn soon(deadline: Instant, time: Duration) -> Instant {
    deadline.min(Instant::now() + time)
}

/// One change of one stream, on its way.
struct Trial<'a> {
    contact: &'a Contact,
    ip: IpAddr,
    login: Option<&'a Credentials>,
    before: &'a JudgedStream,
    change: &'a EncoderChange,
    /// When a change that is not as asked by then is taken back.
    looks: Instant,
    deadline: Instant,
}

impl Trial<'_> {
    fn name(&self) -> StreamName {
        self.before.stream.name
    }

    /// Writes, looks, and takes it back where it is not what was asked. An error only where nothing
    /// has been written: whoever hears one may try again with another login.
    fn run(
        &mut self,
        encoders: &mut dyn EncoderDevice,
        report: &mut FitReport,
    ) -> Result<(), CameraError> {
        if self.before.sight.is_none() {
            let words = "its stream can't be looked at, so nobody could tell what a change does; \
                         nothing is written";
            report.failed = Some(failed(words));
            return Ok(());
        }
        if self.change.is_empty() {
            let (sight, lies) = self.look(encoders, &self.before.stream);
            report.verified = sight;
            if !lies.is_empty() {
                let words = format!("nothing is to be changed, and yet {}", lies.join("; "));
                report.failed = Some(failed(&words));
            }
            return Ok(());
        }
        let backup = encoders.backup(self.name(), self.change, soon(self.looks, WRITE))?;
        self.contact.may_write(Instant::now())?;
        let written = encoders.change(&backup, self.change, soon(self.looks, WRITE));
        if let Err(ChangeError {
            why:
                error @ (CameraError::LoginRefused(_)
                | CameraError::Certificate(_)
                | CameraError::Forbidden(_)
                | CameraError::Unreachable(_)),
            has_written: false,
        }) = written
        {
            return Err(error);
        }
        let trouble = written.err();
        // The camera has said no, so there is nothing that it could still do.
        let refused = trouble.as_ref().is_some_and(|trouble| !trouble.has_written);
        self.contact.has_written(Instant::now());
        log::info!(
            camera:% = self.contact.place(), stream = self.name().name();
            "the settings of its encoder were changed"
        );
        let after = self.settled(encoders, refused);
        let why = trouble.as_ref().map(|trouble| &trouble.why);
        let mut wrong = self.judge_words(why, after.as_ref());
        if wrong.is_empty()
            && let Some(after) = &after
        {
            let (sight, lies) = self.look(encoders, after);
            report.verified = sight;
            wrong = lies;
        }
        match after {
            Some(after) if wrong.is_empty() => {
                report.applied = true;
                self.accept(after, report);
            }
            after => {
                let old = &self.before.stream.settings;
                let unchanged = after.is_some_and(|after| after.settings == *old);
                let mut words = wrong.join("; ");
                if unchanged && refused {
                    words.push_str("; the camera has changed nothing");
                } else {
                    let back = self.take_back(encoders, &backup, unchanged);
                    report.rolled_back = back.is_ok() && !unchanged;
                    let (Ok(told) | Err(told)) = back;
                    words = format!("{words}; {told}");
                    log::warn!(
                        camera:% = self.contact.place(), stream = self.name().name();
                        "a change of its encoder is not what was asked: {words}"
                    );
                }
                report.failed = Some(failed(&words));
            }
        }
        Ok(())
    }

    /// What the camera itself says is not as asked.
    fn judge_words(
        &self,
        refused: Option<&CameraError>,
        after: Option<&EncoderStream>,
    ) -> Vec<String> {
        if let Some(refused) = refused {
            return vec![refused.to_string()];
        }
        let Some(after) = after else {
            return vec!["its settings can't be read any more".to_owned()];
        };
        let missing = self.missing(after);
        if missing.is_empty() {
            return Vec::new();
        }
        let keys = missing.join(", ");
        vec![format!("it says yes, and then {keys} is not as asked")]
    }

    /// Keys of the picture that are not as asked. The sound is worth no rollback.
    fn missing(&self, after: &EncoderStream) -> Vec<&'static str> {
        let mut missing = self.change.missing_in(&after.settings);
        missing.retain(|key| *key != "audio");
        missing
    }

    /// The settings once they are as asked, else as they are when the camera has had its time. What
    /// was refused is not waited for.
    fn settled(&self, encoders: &mut dyn EncoderDevice, refused: bool) -> Option<EncoderStream> {
        let until = soon(self.looks, self.contact.policy().fit_look / 2);
        loop {
            let read = self.read(encoders, self.looks);
            let done = read
                .as_ref()
                .is_some_and(|r| refused || self.missing(r).is_empty());
            if done || Instant::now() + PAUSE >= until {
                return read;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn read(&self, encoders: &mut dyn EncoderDevice, until: Instant) -> Option<EncoderStream> {
        let all = encoders.encoders(soon(until, READ)).ok()?;
        all.into_iter().find(|s| s.name == self.name())
    }

    /// Looks at the stream until it is as asked or the time is out: what was seen last, and what is
    /// not as asked. A camera may need some seconds to change over.
    fn look(
        &self,
        encoders: &mut dyn EncoderDevice,
        stream: &EncoderStream,
    ) -> (Option<Sight>, Vec<String>) {
        let until = soon(self.looks, self.contact.policy().fit_look);
        let (mut seen, mut wrong) = (None, Vec::new());
        loop {
            match self.look_once(encoders, stream, until) {
                Ok(sight) => {
                    wrong = fit::lies(self.before, self.change, &sight);
                    seen = Some(sight);
                    if wrong.is_empty() {
                        return (seen, wrong);
                    }
                }
                Err(Unseen::Login(why)) => {
                    return (seen, vec![format!("its stream can't be looked at: {why}")]);
                }
                Err(Unseen::Yet(why)) if seen.is_none() => {
                    wrong = vec![format!("its stream can't be looked at: {why}")];
                }
                Err(Unseen::Yet(_)) => {}
            }
            if Instant::now() + PAUSE >= until {
                return (seen, wrong);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn look_once(
        &self,
        encoders: &mut dyn EncoderDevice,
        stream: &EncoderStream,
        until: Instant,
    ) -> Result<Sight, Unseen> {
        let rtsp = &self.contact.common().parts.rtsp;
        self.contact
            .at_stream(self.ip, self.login, stream, |at, url, credentials| {
                let mut on_play = || {
                    // So that the first picture does not wait for its turn; a camera that can't
                    // sends its next one by itself.
                    if let Err(why) = encoders.keyframe(stream.name, soon(until, PAUSE * 5)) {
                        log::debug!(camera:% = self.contact.place(); "no keyframe on demand: {why}");
                    }
                };
                rtsp.look(at, url, credentials, until, &mut on_play)
            })
    }

    /// It is as asked: the stream as it is now takes the place of the old one.
    fn accept(&self, after: EncoderStream, report: &mut FitReport) {
        let sound = report
            .verified
            .as_ref()
            .and_then(|sight| fit::silent_lie(self.change, sight));
        let mut judged = fit::judge(after, report.verified.clone());
        if let Some(lie) = sound {
            judged.reason = format!("{}; {lie}", judged.reason);
        }
        if judged.fitness != Fitness::Unchanged {
            log::debug!(camera:% = self.contact.place(); "fitted, and {}", judged.reason);
        }
        let slot = report
            .streams
            .iter_mut()
            .find(|s| s.stream.name == self.name());
        if let Some(slot) = slot {
            *slot = judged;
        }
    }

    /// Writes the old settings back, as often as that takes, and looks again; in words what came of
    /// it. Also where the camera shows no change yet (`unchanged`): it may only be late.
    fn take_back(
        &self,
        encoders: &mut dyn EncoderDevice,
        backup: &EncoderBackup,
        unchanged: bool,
    ) -> Result<String, String> {
        self.restore(encoders, backup)
            .map_err(|why| format!("and the old settings could not be written back: {why}"))?;
        let mut words = if unchanged {
            "the camera has changed nothing so far, and the old settings were written again, for it \
             may be late"
        } else {
            "the old settings were written back"
        }
        .to_owned();
        let old = &self.before.stream.settings;
        match self.read(encoders, self.deadline) {
            Some(now) if now.settings == *old => {
                let contact = self.contact;
                let sight = contact.described(self.ip, self.login, &now, self.deadline);
                let old = self.before.sight.as_ref();
                if sight.as_ref().map(|s| s.profile) != old.map(|s| s.profile) {
                    words.push_str(", and its stream is not yet what it was");
                }
            }
            Some(_) => words.push_str(", and the camera does not show all of them"),
            None => words.push_str(", and can't be read again"),
        }
        Ok(words)
    }

    fn restore(
        &self,
        encoders: &mut dyn EncoderDevice,
        backup: &EncoderBackup,
    ) -> Result<(), CameraError> {
        loop {
            let why = match encoders.restore(backup, soon(self.deadline, WRITE)) {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            let may_pass = matches!(
                why,
                CameraError::Unreachable(_)
                    | CameraError::NoAnswer(_)
                    | CameraError::Busy(_)
                    | CameraError::Device(_)
                    | CameraError::BadAnswer(_)
            );
            if !may_pass || Instant::now() + BACK_PAUSE >= self.deadline {
                return Err(why);
            }
            log::debug!(
                camera:% = self.contact.place();
                "the old settings are to be written back once more: {why}"
            );
            std::thread::sleep(BACK_PAUSE);
        }
    }
}

fn failed(words: &str) -> Fault {
    Fault::new(ErrorCode::InternalError, words.to_owned())
}

/// When a camera may be written to: not more than once a minute.
pub(super) fn may_write(last: Option<Instant>, now: Instant) -> Result<(), CameraError> {
    let since = last.map(|last| now.saturating_duration_since(last));
    match since.filter(|since| *since < WRITES) {
        None => Ok(()),
        Some(since) => {
            let left = WRITES.saturating_sub(since).as_secs() + 1;
            Err(CameraError::Busy(format!(
                "its encoder's settings are written at most once a minute; again in {left} s"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_written_to_once_a_minute_at_most() {
        let now = Instant::now();
        assert_eq!(may_write(None, now), Ok(()));
        let busy = may_write(Some(now), now + Duration::from_secs(59)).unwrap_err();
        assert_eq!(busy.code(), ErrorCode::NodeBusy);
        assert!(busy.to_string().contains("again in 2 s"), "{busy}");
        assert_eq!(may_write(Some(now), now + WRITES), Ok(()));
    }
}
