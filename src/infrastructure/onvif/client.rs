//! Sends operations: finds the service's path, logs in as the camera wants it, keeps its time,
//! reads the answer. Knows no domain command.

use std::time::{Duration, Instant, SystemTime};

use super::address::{ServiceAddress, service_places};
use super::answer::device::{ServiceList, system_time};
use super::clock::CameraClock;
use super::envelope::{NONCE_LEN, Token};
use super::form::{Form, Message};
use super::memory::{Learnt, Memory, OtherTime, Scheme};
use super::outcome::{Outcome, Trouble, judge, login_error, refusal};
use super::reply;
use super::request::{self, AUDIO_ENCODERS, Operation, Service, VIDEO_ENCODERS};
use crate::domain::camera::{CameraAddress, CameraError, Credentials};
use crate::infrastructure::http::camera::{CameraOptions, MAX_REPLY};
use crate::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use crate::infrastructure::http::login_client::{LoginClient, LoginError, LoginRules};
use crate::infrastructure::http::response::{HttpError, Response};
use crate::infrastructure::xml::Element;
use crate::util::time::rfc3339;

/// Longest wait for the camera's clock; a slow one needs more than a second.
const CLOCK_WAIT: Duration = Duration::from_secs(2);
/// For users only, whatever they may do besides.
const WHO_ARE_YOU: &str = "GetDeviceInformation";

/// The connections to one device.
#[derive(Debug)]
pub struct OnvifClient {
    address: CameraAddress,
    credentials: Option<Credentials>,
    options: CameraOptions,
    memory: Memory,
    /// One a port: services may live on another than the one that was reached.
    doors: Vec<(u16, LoginClient)>,
    logged_in: bool,
    /// In which the operation at hand is put.
    form: Form,
    /// Where somebody says that its device service is.
    told_path: Option<String>,
    /// Where its device service is, as far as is known.
    device_path: String,
    /// The last answer that is to be written back, as it came.
    whole: Vec<u8>,
}

impl OnvifClient {
    /// Opens nothing yet.
    pub fn new(
        address: CameraAddress,
        credentials: Option<Credentials>,
        options: CameraOptions,
        memory: Memory,
    ) -> Self {
        Self {
            address,
            credentials,
            options,
            memory,
            doors: Vec::new(),
            logged_in: false,
            form: Form::default(),
            told_path: None,
            device_path: Service::Device.usual_path().to_owned(),
            whole: Vec::new(),
        }
    }

    /// Its device service is not where it usually is, somebody says; it is looked for there first.
    #[must_use]
    pub fn with_device_path(mut self, path: Option<&str>) -> Self {
        if let Some(path) = path {
            path.clone_into(&mut self.device_path);
            self.told_path = Some(path.to_owned());
        }
        self
    }

    fn device_place(&self) -> ServiceAddress {
        ServiceAddress {
            port: self.address.port,
            path: self.device_path.clone(),
        }
    }

    /// Where the camera was reached.
    pub fn address(&self) -> &CameraAddress {
        &self.address
    }

    /// The same, and whether it is spoken with by TLS there.
    pub fn reached(&self) -> (&CameraAddress, bool) {
        let secure = self.options.doors.is_tls(self.address.socket());
        (&self.address, secure)
    }

    /// What was learnt.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether the camera has answered something that carried our login.
    pub fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// The last answer of an operation whose answers are written back, as it came.
    pub(super) fn take_whole(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.whole)
    }

    fn keep_whole(&mut self, operation: &Operation, response: &Response) {
        if matches!(operation.name, VIDEO_ENCODERS | AUDIO_ENCODERS) {
            self.whole.clone_from(&response.body);
        }
    }

    /// Drops the connections.
    pub fn hang_up(&mut self) {
        for (_, door) in &mut self.doors {
            door.hang_up();
        }
    }

    fn door(&mut self, port: u16) -> &mut LoginClient {
        let at = match self.doors.iter().position(|(p, _)| *p == port) {
            Some(at) => at,
            None => {
                let peer = CameraAddress::new(self.address.ip, port).socket();
                let rules = LoginRules {
                    allow_basic: self.options.allow_basic,
                    is_definite: |response| reply::read(&response.body).is_ok(),
                };
                let options = &self.options;
                let doors = options.doors.clone();
                let http = CameraClient::new(peer, options.connect_timeout, doors);
                let door = LoginClient::new(http, self.credentials.clone(), rules);
                self.doors.push((port, door));
                self.doors.len() - 1
            }
        };
        // Just found or just pushed.
        #[allow(clippy::indexing_slicing)]
        &mut self.doors[at].1
    }

    /// Does one operation, wherever its service is.
    pub fn call(&mut self, operation: &Operation, deadline: Instant) -> Result<Element, Trouble> {
        let service = operation.service;
        let settled = self
            .memory
            .with(|m| m.places.iter().find(|(s, _)| *s == service).cloned());
        if let Some((_, place)) = settled {
            if service == Service::Device {
                self.device_path.clone_from(&place.path);
            }
            let result = self.at_place(&place, operation, deadline);
            if matches!(result, Err(Trouble::NotHere(_))) {
                // It was here before: this is not the device it was.
                self.memory.with(Learnt::forget_paths);
            }
            return result;
        }
        let advertised = match service {
            Service::Device => self.told_path.clone(),
            _ => self.services(deadline)?.address(service).map(str::to_owned),
        };
        let places = service_places(advertised.as_deref(), self.reached(), service.usual_path());
        let mut first: Option<(&ServiceAddress, Trouble)> = None;
        for place in &places {
            if service == Service::Device {
                self.device_path.clone_from(&place.path);
            }
            match self.at_place(place, operation, deadline) {
                Err(trouble) if trouble.is_elsewhere() || first.is_some() => {
                    first.get_or_insert((place, trouble));
                }
                result => {
                    // Even a fault that says something of the matter shows that it is here.
                    if matches!(result, Ok(_) | Err(Trouble::Fault(_))) {
                        self.settle(service, place);
                    }
                    return result;
                }
            }
        }
        let Some((place, trouble)) = first else {
            let words = "no address of the service".to_owned();
            return Err(CameraError::NotSupported(words).into());
        };
        // Nowhere better: it is here, and can't.
        if matches!(trouble, Trouble::Fault(_)) {
            self.settle(service, place);
        }
        Err(trouble)
    }

    fn settle(&self, service: Service, place: &ServiceAddress) {
        self.memory.with(|m| {
            m.places.retain(|(s, _)| *s != service);
            m.places.push((service, place.clone()));
        });
    }

    /// What the camera says of its services, asked once. The old question first, which all
    /// understand; the new one where the old leaves out media or movement.
    pub fn services(&mut self, deadline: Instant) -> Result<ServiceList, Trouble> {
        if let Some(known) = self.memory.with(|m| m.services.clone()) {
            return Ok(known);
        }
        let old = self.call(&request::capabilities(), deadline);
        let mut list = match &old {
            Ok(content) => ServiceList::of_capabilities(content),
            Err(trouble) if trouble.is_about_the_question() => ServiceList::default(),
            // Asking otherwise would not help, and a refused login is not sent twice.
            Err(trouble) => return Err(trouble.clone()),
        };
        let complete =
            list.address(Service::Media).is_some() && list.address(Service::Ptz).is_some();
        if !complete {
            match self.ask_services(deadline) {
                Ok(more) => list = list.or(more),
                Err(trouble) if !trouble.is_about_the_question() => return Err(trouble),
                Err(_) => {}
            }
        }
        self.memory.with(|m| m.services = Some(list.clone()));
        Ok(list)
    }

    /// The new question alone.
    pub fn ask_services(&mut self, deadline: Instant) -> Result<ServiceList, Trouble> {
        let content = self.call(&request::services(), deadline)?;
        Ok(ServiceList::of_services(&content))
    }

    fn at_place(
        &mut self,
        place: &ServiceAddress,
        operation: &Operation,
        deadline: Instant,
    ) -> Result<Element, Trouble> {
        self.form = self.memory.with(|m| m.form);
        let result = self.in_any_form(operation, |client| {
            client.exchange(place, operation, deadline)
        });
        match &result {
            Ok(_) => self.note_taken(operation),
            Err(Trouble::Other(CameraError::LoginRefused(refusal)))
                if refusal.tried && self.is_still_taken(operation, deadline) =>
            {
                return Err(CameraError::Forbidden(refusal.words.clone()).into());
            }
            Err(_) => {}
        }
        result
    }

    /// Asks, and where the camera says yes and no more, asks in the other forms, too. The form that
    /// worked is remembered; what is silent in all of them is not asked that often again.
    fn in_any_form<T>(
        &mut self,
        operation: &Operation,
        mut ask: impl FnMut(&mut Self) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let first = ask(self);
        if !matches!(first, Err(Trouble::Wordless(_)))
            || self.memory.with(|m| m.silent.contains(&operation.name))
        {
            return first;
        }
        let silent = self.form;
        for form in Form::ALL.into_iter().filter(|form| *form != silent) {
            self.form = form;
            let result = ask(self);
            let refused = matches!(
                &result,
                Err(Trouble::Other(CameraError::LoginRefused(refusal))) if refusal.tried
            );
            if result.is_ok() || refused {
                self.memory.with(|m| m.form = form);
                return result;
            }
        }
        self.form = silent;
        self.memory.with(|m| m.silent.push(operation.name));
        first
    }

    fn note_taken(&self, operation: &Operation) {
        let open = operation.service == Service::Device && operation.name != WHO_ARE_YOU;
        if let Some(login) = self.credentials.as_ref().filter(|_| !open) {
            let moves = matches!(operation.service, Service::Ptz | Service::Imaging);
            self.memory.with(|m| {
                m.proof_failed &= !moves;
                if m.taken.as_ref() != Some(login.password()) {
                    m.taken = Some(login.password().clone());
                }
            });
        }
    }

    /// After a refusal: whether it was about a right and not about the login, for which cameras
    /// have the same words. So it was if the camera has taken this login before and takes it still,
    /// for something that it refuses to strangers. Costs a wrong password one more try, once.
    fn is_still_taken(&mut self, refused: &Operation, deadline: Instant) -> bool {
        let password = self.credentials.as_ref().map(|c| c.password().clone());
        let taken = self
            .memory
            .with(|m| m.taken.is_some() && m.taken == password && !m.proof_failed);
        if !taken {
            return false;
        }
        let asked = request::device_information();
        let place = self.device_place();
        let still = refused.name != WHO_ARE_YOU
            && self.refuses_strangers(&place, &asked, deadline)
            && self.exchange(&place, &asked, deadline).is_ok();
        self.memory.with(|m| m.proof_failed = !still);
        still
    }

    fn refuses_strangers(
        &mut self,
        place: &ServiceAddress,
        operation: &Operation,
        deadline: Instant,
    ) -> bool {
        self.send_plain(place, operation, deadline)
            .is_ok_and(|response| matches!(judge(response, operation), Outcome::Refused(..)))
    }

    fn exchange(
        &mut self,
        place: &ServiceAddress,
        operation: &Operation,
        deadline: Instant,
    ) -> Result<Element, Trouble> {
        let Some(login) = self.credentials.clone() else {
            let sent = self.send_plain(place, operation, deadline);
            let response = silence(sent, operation)?;
            self.keep_whole(operation, &response);
            return match judge(response, operation) {
                Outcome::Done(content) => Ok(content),
                Outcome::Refused(words, left, _) => Err(refusal(false, words, left)),
                Outcome::Failed(trouble) => Err(trouble),
            };
        };
        if self.memory.with(|m| m.scheme) == Scheme::Http {
            return self.with_http_login(place, operation, deadline);
        }
        let clock = self.clock(deadline)?;
        let (mut words, left, response) =
            match self.with_token(place, operation, &login, &clock, deadline)? {
                Outcome::Done(content) => {
                    self.logged_in = true;
                    return Ok(content);
                }
                Outcome::Failed(trouble) => return Err(trouble),
                Outcome::Refused(words, left, response) => (words, left, response),
            };
        // The token is not what it wants, if it asks for something else.
        match self.door(place.port).take_challenge(&response) {
            Ok(true) => {
                self.memory.with(|m| m.scheme = Scheme::Http);
                return self.with_http_login(place, operation, deadline);
            }
            Ok(false) => {}
            // It asks for what it does not get. The token was sent and refused all the same, and
            // that may be for its time.
            Err(error) => {
                if let CameraError::LoginRefused(why) = CameraError::from(login_error(error)) {
                    words = format!("{words}; {}", why.words);
                }
            }
        }
        let Some(better) = self.better_clock(&clock, deadline)? else {
            return Err(refusal(true, words, left));
        };
        match self.with_token(place, operation, &login, &better.clock, deadline)? {
            Outcome::Done(content) => {
                self.logged_in = true;
                self.memory.with(|m| {
                    m.clock = Some(better.clock);
                    if better.is_other_time {
                        m.other_time = OtherTime::Meant;
                    }
                });
                Ok(content)
            }
            Outcome::Failed(trouble) => Err(trouble),
            Outcome::Refused(words, left, _) => Err(refusal(true, words, left)),
        }
    }

    fn with_http_login(
        &mut self,
        place: &ServiceAddress,
        operation: &Operation,
        deadline: Instant,
    ) -> Result<Element, Trouble> {
        // Never both logins in one request: the camera would check both.
        let message = Message::new(self.form, None, operation);
        let request = message.to(&place.path);
        let sent = match self.door(place.port).send(&request, deadline) {
            Err(LoginError::Http(error)) => Err(error),
            other => Ok(other.map_err(login_error)?),
        };
        let response = silence(sent, operation)?;
        self.keep_whole(operation, &response);
        match judge(response, operation) {
            Outcome::Done(content) => {
                self.logged_in = true;
                Ok(content)
            }
            Outcome::Failed(trouble) => Err(trouble),
            Outcome::Refused(words, left, _) => {
                // The next try goes the other way.
                self.memory.with(|m| m.scheme = Scheme::Token);
                Err(refusal(true, words, left))
            }
        }
    }

    fn with_token(
        &mut self,
        place: &ServiceAddress,
        operation: &Operation,
        login: &Credentials,
        clock: &CameraClock,
        deadline: Instant,
    ) -> Result<Outcome, Trouble> {
        loop {
            let mut nonce = [0_u8; NONCE_LEN];
            getrandom::fill(&mut nonce)
                .map_err(|why| CameraError::Unreachable(format!("no random numbers: {why}")))?;
            let created = rfc3339(clock.time(Instant::now(), SystemTime::now()));
            let token = Token::new(login, nonce, &created);
            let message = Message::new(self.form, Some(&token), operation);
            let request = Request {
                secret: true,
                ..message.to(&place.path)
            };
            let sent = self.door(place.port).send_plain(&request, deadline);
            match silence(sent, operation) {
                // Ends: the next one opens a connection, and a new one is never Dead.
                Err(HttpError::Dead) => {}
                Err(error) => return Err(error.into()),
                Ok(response) => {
                    self.keep_whole(operation, &response);
                    return Ok(judge(response, operation));
                }
            }
        }
    }

    fn send_plain(
        &mut self,
        place: &ServiceAddress,
        operation: &Operation,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        let message = Message::new(self.form, None, operation);
        let request = message.to(&place.path);
        match self.door(place.port).send_plain(&request, deadline) {
            Err(HttpError::Dead) => self.door(place.port).send_plain(&request, deadline),
            other => other,
        }
    }

    /// The camera's clock, read if it is not known or old.
    fn clock(&mut self, deadline: Instant) -> Result<CameraClock, Trouble> {
        let known = self.memory.with(|m| m.clock);
        match known.filter(|c| !c.is_old(Instant::now())) {
            Some(clock) => Ok(clock),
            None => self.read_clock(deadline),
        }
    }

    /// Asks without a login: one with a wrong time would make even this fail. Nothing depends on
    /// the answer: a camera that closes, says nothing or answers nonsense has our time, and only
    /// a short share of the time goes into asking.
    fn read_clock(&mut self, deadline: Instant) -> Result<CameraClock, Trouble> {
        let operation = request::system_date_and_time();
        let place = self.device_place();
        let share = clock_share(Instant::now(), deadline);
        let (mut middle, mut date) = (Instant::now(), None);
        let asked = self.in_any_form(&operation, |client| {
            let begin = Instant::now();
            let sent = client.send_plain(&place, &operation, share);
            middle = begin + begin.elapsed() / 2;
            let response = sent?;
            date = response
                .header("date")
                .and_then(|d| httpdate::parse_http_date(&d).ok());
            match judge(response, &operation) {
                Outcome::Done(content) => Ok(system_time(&content)),
                Outcome::Refused(words, left, _) => Err(refusal(false, words, left)),
                Outcome::Failed(trouble) => Err(trouble),
            }
        });
        let told = match asked {
            Ok(told) => told,
            // No such path, or no connection: there is nobody to log in to.
            Err(
                trouble @ (Trouble::NotHere(_)
                | Trouble::Other(
                    CameraError::Unreachable(_) | CameraError::Certificate(_),
                )),
            ) => {
                return Err(trouble);
            }
            // A few ask for a login here, some have no such question.
            Err(_) => None,
        };
        let mut clock = CameraClock::new(told, date, SystemTime::now(), middle);
        self.memory.with(|m| {
            if m.other_time == OtherTime::Meant {
                clock = clock.alternative().unwrap_or(clock);
            }
            m.clock = Some(clock);
        });
        Ok(clock)
    }

    /// After a refusal that may be about the time: a clock that makes another login than
    /// `refused` did, if there is one. Without one the password is wrong, and is not sent again.
    fn better_clock(
        &mut self,
        refused: &CameraClock,
        deadline: Instant,
    ) -> Result<Option<BetterClock>, Trouble> {
        // However young the last reading is: a camera that has just started sets its clock.
        let fresh = self.read_clock(deadline)?;
        let now = Instant::now();
        if fresh.differs(refused, now, SystemTime::now()) {
            return Ok(Some(BetterClock {
                clock: fresh,
                is_other_time: false,
            }));
        }
        let Some(clock) = fresh.alternative() else {
            return Ok(None);
        };
        let untried = self.memory.with(|m| {
            let untried = m.other_time == OtherTime::Unknown;
            if untried {
                m.other_time = OtherTime::Tried;
            }
            untried
        });
        Ok(untried.then_some(BetterClock {
            clock,
            is_other_time: true,
        }))
    }

    /// A picture by HTTP.
    pub fn picture(
        &mut self,
        place: &ServiceAddress,
        deadline: Instant,
    ) -> Result<Response, Trouble> {
        let request = Request {
            method: "GET",
            target: &place.path,
            content_type: None,
            soap_action: None,
            body: None,
            resend: Resend::Always,
            max_reply: MAX_REPLY,
            secret: false,
        };
        self.door(place.port)
            .send(&request, deadline)
            .map_err(login_error)
    }
}

/// The end of the wait for an optional answer.
pub(super) fn clock_share(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + (left / 4).min(CLOCK_WAIT)
}

struct BetterClock {
    clock: CameraClock,
    is_other_time: bool,
}

/// Our own request handed back is an answer without a word: enough where none is needed.
fn silence(
    sent: Result<Response, HttpError>,
    operation: &Operation,
) -> Result<Response, HttpError> {
    match sent {
        Err(HttpError::Echo) if !operation.asks => Ok(Response {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        }),
        other => other,
    }
}
