//! Sends calls, logs in, judges the replies. Knows what one camera was seen to refuse, and
//! shares that with its other clients; knows no domain command.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body::{self, Call, PicturePath, PtzTree};
use super::status::{Refusal, Trouble, judge, read_refusal};
use crate::domain::camera::fit::KeyframePace;
use crate::domain::camera::{CameraAddress, CameraError, Credentials};
use crate::infrastructure::http::camera::{CameraOptions, MAX_REPLY};
use crate::infrastructure::http::camera_client::{CameraClient, Request, Resend};
use crate::infrastructure::http::login_client::{LoginClient, LoginError, LoginRules};
use crate::infrastructure::http::response::Response;
use crate::infrastructure::xml::{self, Element, MAX_DOCUMENT};
use crate::util::secret::Secret;

/// Between two tries of a read that the camera was too busy for.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// Further tries of such a read.
const BUSY_RETRIES: u32 = 2;

/// Whether a camera's stop stops it; a yes alone is believed of none that can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopTrust {
    /// Not seen yet: looked at after the first movement.
    #[default]
    Unproven,
    /// It was moved and then stood still.
    Proven,
    /// It said yes and moved on: looked at every time.
    Weak,
    /// It does not say where it looks: believed.
    Unseen,
}

/// What was learnt of one camera.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Learnt {
    /// Where movement is found; `None` until something has worked.
    pub tree: Option<PtzTree>,
    /// Whether it is a recorder; `None` until it was asked.
    pub recorder: Option<bool>,
    /// Timed moves are refused.
    pub no_momentary: bool,
    /// Where pictures are found.
    pub picture: Option<PicturePath>,
    /// Picture sizes can't be asked for.
    pub no_picture_size: bool,
    /// Whether a stop stops it.
    pub stop: StopTrust,
    /// A movement was sent since a stop was last looked at.
    pub moved: bool,
    /// Which presets are functions; `None` until it was asked, or where it does not say.
    pub function_presets: Option<Vec<u32>>,
    /// The password whose check is done: it was taken, or there is nothing to check it by.
    pub checked: Option<Secret>,
    /// The password that the camera has taken, and refuses strangers for.
    pub taken: Option<Secret>,
    /// That password was refused since.
    pub proof_failed: bool,
    /// When it may be asked for a keyframe.
    pub keyframes: KeyframePace,
}

/// Shared by the clients of one camera. Never locked across I/O.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Learnt>>);

impl Memory {
    /// Reads or writes it.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut Learnt) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One connection to one device.
#[derive(Debug)]
pub struct IsapiClient {
    login: LoginClient,
    password: Option<Secret>,
    memory: Memory,
}

impl IsapiClient {
    /// Opens nothing yet.
    pub fn new(
        address: &CameraAddress,
        credentials: Option<Credentials>,
        options: CameraOptions,
        memory: Memory,
    ) -> Self {
        let http = CameraClient::new(address.socket(), options.connect_timeout, options.doors);
        let rules = LoginRules {
            allow_basic: options.allow_basic,
            is_definite,
        };
        Self {
            password: credentials.as_ref().map(|c| c.password().clone()),
            login: LoginClient::new(http, credentials, rules),
            memory,
        }
    }

    /// Drops the connection.
    pub fn hang_up(&mut self) {
        self.login.hang_up();
    }

    /// Whether the camera asked for a login and took ours.
    pub fn is_logged_in(&self) -> bool {
        self.login.is_logged_in()
    }

    /// Fetches a login challenge where one is needed.
    pub fn prime(&mut self, deadline: Instant) -> Result<(), CameraError> {
        self.login
            .prime(body::USER_CHECK, deadline)
            .map_err(login_error)
    }

    /// Sends one call; the whole reply, unjudged but for the login.
    pub fn send(
        &mut self,
        call: &Call,
        max_reply: usize,
        deadline: Instant,
    ) -> Result<Response, CameraError> {
        self.check_login(call, deadline)?;
        if call.method != "GET" {
            self.prime(deadline)?;
        }
        let has_content = call.body.as_deref().is_some_and(|b| !b.is_empty());
        let request = Request {
            method: call.method,
            target: &call.target,
            content_type: has_content.then_some("application/xml"),
            soap_action: None,
            body: call.body.as_deref(),
            resend: call.resend,
            max_reply,
            secret: false,
        };
        match self.login.send(&request, deadline) {
            Ok(response) => {
                if self.login.is_logged_in() {
                    self.memory.with(|m| m.proof_failed = false);
                }
                Ok(response)
            }
            Err(error) if self.is_about_the_function(call, &error, deadline) => {
                let words = "this function refuses a login that is taken otherwise, HTTP 401";
                Err(CameraError::Forbidden(words.to_owned()))
            }
            Err(error) => Err(login_error(error)),
        }
    }

    /// A login is shown to `userCheck` before anything else, once: then a refusal there is about
    /// the login, and one elsewhere later may be about the function. Costs no login that is not
    /// taken. A stop does not wait for it.
    fn check_login(&mut self, call: &Call, deadline: Instant) -> Result<(), CameraError> {
        let stops = call.method != "GET" && call.resend == Resend::Always;
        let done = self.memory.with(|m| m.checked == self.password);
        if call.target == body::USER_CHECK || stops || done {
            return Ok(());
        }
        match self.is_taken(deadline) {
            Err(
                error @ (CameraError::LoginRefused(_)
                | CameraError::Unreachable(_)
                | CameraError::Certificate(_)),
            ) => return Err(error),
            // It closes, or is too busy for the check: the call itself shows, and the next one asks.
            Err(CameraError::NoAnswer(_) | CameraError::Busy(_)) => return Ok(()),
            // It has no such check, or has other troubles with it.
            Ok(_) | Err(_) => {}
        }
        let password = self.password.clone();
        self.memory.with(|m| m.checked = password);
        Ok(())
    }

    /// Whether the camera takes our login, and refuses strangers.
    fn is_taken(&mut self, deadline: Instant) -> Result<bool, CameraError> {
        self.call(&Call::get(body::USER_CHECK), deadline)?;
        let taken = self.login.is_logged_in();
        if taken {
            let password = self.password.clone();
            self.memory.with(|m| m.taken = password);
        }
        Ok(taken)
    }

    /// After a refused login: whether the login is still taken otherwise. Asked only of a camera
    /// that has taken it before, so that a wrong password goes out once; one that was changed
    /// costs one more try, once.
    fn is_about_the_function(
        &mut self,
        call: &Call,
        error: &LoginError,
        deadline: Instant,
    ) -> bool {
        let LoginError::Refused {
            tried: true,
            response,
        } = error
        else {
            return false;
        };
        // One that counts the tries, or has locked the account, means the login.
        let told = read_refusal(&response.body);
        let counted = told.unlock_after.is_some() || told.tries_left.is_some();
        let worth_it = call.target != body::USER_CHECK
            && self
                .memory
                .with(|m| m.taken.is_some() && m.taken == self.password && !m.proof_failed);
        if counted || !worth_it {
            return false;
        }
        let still = self.is_taken(deadline);
        if matches!(still, Err(CameraError::LoginRefused(_))) {
            self.memory.with(|m| m.proof_failed = true);
        }
        still.unwrap_or(false)
    }

    /// Sends one call and judges the reply.
    pub fn call(&mut self, call: &Call, deadline: Instant) -> Result<Option<Element>, Trouble> {
        let response = self
            .send(call, MAX_DOCUMENT, deadline)
            .map_err(Trouble::Other)?;
        judge(&response)
    }

    /// Reads a document; tried again while the camera is too busy and time is left.
    pub fn read(&mut self, call: &Call, deadline: Instant) -> Result<Element, CameraError> {
        self.reading(call, deadline).map_err(CameraError::from)
    }

    fn reading(&mut self, call: &Call, deadline: Instant) -> Result<Element, Trouble> {
        let mut tries = 0;
        loop {
            let response = self
                .send(call, MAX_DOCUMENT, deadline)
                .map_err(Trouble::Other)?;
            let error = match judge(&response) {
                Ok(Some(root)) => return Ok(root),
                Ok(None) => {
                    let words = match xml::parse(&response.body) {
                        Err(why) => format!("{why} where ISAPI was expected"),
                        Ok(_) => "no document where ISAPI was expected".to_owned(),
                    };
                    return Err(Trouble::Other(CameraError::BadAnswer(words)));
                }
                Err(trouble) => trouble,
            };
            let busy =
                matches!(&error, Trouble::Refused(r) if matches!(r.error(), CameraError::Busy(_)));
            if !busy || tries == BUSY_RETRIES || Instant::now() + BUSY_PAUSE >= deadline {
                return Err(error);
            }
            tries += 1;
            std::thread::sleep(BUSY_PAUSE);
        }
    }

    /// Sends a call for a channel's movement, wherever this device has it: a recorder may have
    /// its network channels behind a proxy path.
    pub fn in_tree(
        &mut self,
        make: impl Fn(PtzTree) -> Call,
        deadline: Instant,
    ) -> Result<Option<Element>, Trouble> {
        let known = self.memory.with(|m| m.tree);
        let tree = known.unwrap_or(PtzTree::Direct);
        let first = self.call(&make(tree), deadline);
        let wrong_tree = matches!(&first, Err(Trouble::Refused(r)) if r.is_wrong_tree());
        if first.is_ok() {
            self.memory.with(|m| m.tree = Some(tree));
        }
        if !wrong_tree || known.is_some() || !self.is_recorder(deadline) {
            return first;
        }
        let second = self.call(&make(PtzTree::Proxy), deadline);
        if second.is_ok() {
            self.memory.with(|m| m.tree = Some(PtzTree::Proxy));
            return second;
        }
        first
    }

    fn is_recorder(&mut self, deadline: Instant) -> bool {
        if let Some(known) = self.memory.with(|m| m.recorder) {
            return known;
        }
        let Ok(root) = self.read(&body::device_info(), deadline) else {
            return false;
        };
        let recorder = super::answer::DeviceInfo::read(&root).is_some_and(|i| i.is_recorder());
        self.memory.with(|m| m.recorder = Some(recorder));
        recorder
    }

    /// A picture as the device gives it.
    pub fn picture(
        &mut self,
        channel: u16,
        size: Option<(u32, u32)>,
        deadline: Instant,
    ) -> Result<Vec<u8>, CameraError> {
        let (known, no_size) = self.memory.with(|m| (m.picture, m.no_picture_size));
        let size = size.filter(|_| !no_size);
        let paths = match &known {
            Some(path) => std::slice::from_ref(path),
            None => PicturePath::ALL.as_slice(),
        };
        let mut first_error = None;
        for &path in paths {
            let mut result = self.picture_at(path, channel, size, deadline);
            if size.is_some() && matches!(&result, Err(Trouble::Refused(r)) if refuses_query(r)) {
                result = self.picture_at(path, channel, None, deadline);
                if result.is_ok() {
                    self.memory.with(|m| m.no_picture_size = true);
                }
            }
            match result {
                Ok(picture) => {
                    self.memory.with(|m| m.picture = Some(path));
                    return Ok(picture);
                }
                Err(trouble) => {
                    let elsewhere = matches!(&trouble, Trouble::Refused(r) if r.is_wrong_tree());
                    first_error.get_or_insert(trouble);
                    if !elsewhere {
                        break;
                    }
                }
            }
        }
        Err(first_error.map_or_else(
            || CameraError::NotSupported("no picture".to_owned()),
            CameraError::from,
        ))
    }

    fn picture_at(
        &mut self,
        path: PicturePath,
        channel: u16,
        size: Option<(u32, u32)>,
        deadline: Instant,
    ) -> Result<Vec<u8>, Trouble> {
        let call = body::picture(path, channel, size);
        let response = self
            .send(&call, MAX_REPLY, deadline)
            .map_err(Trouble::Other)?;
        if response.status == 200 && response.body.starts_with(&[0xFF, 0xD8, 0xFF]) {
            return Ok(response.body);
        }
        // Its words, if it has any.
        judge(&response)?;
        let words = "no JPEG where a picture was expected".to_owned();
        Err(Trouble::Other(CameraError::BadAnswer(words)))
    }
}

/// A 403 with the camera's own reason is about the request, not about an old nonce.
fn is_definite(response: &Response) -> bool {
    matches!(judge(response), Err(Trouble::Refused(r)) if r.code.is_some())
}

fn refuses_query(refusal: &Refusal) -> bool {
    matches!(refusal.http, 400 | 403) || refusal.is_wrong_tree()
}

fn login_error(error: LoginError) -> CameraError {
    error.into_camera_error(|response| read_refusal(&response.body))
}
