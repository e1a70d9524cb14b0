//! What was learnt of one camera, shared by its clients.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::address::ServiceAddress;
use super::answer::device::ServiceList;
use super::answer::imaging::Range;
use super::answer::media::Profile;
use super::answer::ptz::Preset;
use super::clock::CameraClock;
use super::form::Form;
use super::request::{Axes, Service};
use crate::domain::camera::fit::{KeyframePace, StreamName};
use crate::util::secret::Secret;

/// Where the login goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Into the message.
    #[default]
    Token,
    /// Around it: HTTP Digest.
    Http,
}

/// Whether a camera's clock means another time than it says (local time for UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherTime {
    /// Not tried.
    #[default]
    Unknown,
    /// Tried once. A wrong password must not be sent again for this.
    Tried,
    /// The camera has taken it.
    Meant,
}

/// Whether a camera's `Stop` stops it. Some refuse it, some accept it and turn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopTrust {
    /// Not seen yet: looked at after the first one.
    #[default]
    Unproven,
    /// The camera was seen to move and then to stand still.
    Proven,
    /// Refused, or not obeyed: velocity zero is sent too.
    Weak,
}

/// Where one stream's encoders are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEncoder {
    /// Which stream.
    pub name: StreamName,
    /// The media service that tells of it.
    pub service: Service,
    /// The token of a profile that has it.
    pub profile: String,
    /// The token of its picture's configuration.
    pub video: String,
    /// The token of its sound's.
    pub audio: Option<String>,
}

/// The facts. Everything may be forgotten at any time and is then learnt again.
#[derive(Debug, Default)]
pub struct Learnt {
    /// Where the login goes.
    pub scheme: Scheme,
    /// The camera's clock.
    pub clock: Option<CameraClock>,
    /// Whether the clock means another time than it says.
    pub other_time: OtherTime,
    /// The form in which it was last heard to answer.
    pub form: Form,
    /// Questions that it answers with nothing, in whatever form they are put.
    pub silent: Vec<&'static str>,
    /// What it says of its services.
    pub services: Option<ServiceList>,
    /// Where a service was found.
    pub places: Vec<(Service, ServiceAddress)>,
    /// The media service that gave the profile.
    pub media: Option<Service>,
    /// The profile that moves our channel.
    pub profile: Option<Profile>,
    /// The view that was last told to move, until a stop of it was taken: several views of one
    /// video source move each by a profile of its own.
    pub under_way: Option<Profile>,
    /// The times that a move can be given: `None` = not asked, `Some(None)` = none.
    pub move_times: Option<Option<(Duration, Duration)>>,
    /// Moves name only the axes that move.
    pub moving_axes_only: bool,
    /// What accepted moves have named: a stop by velocity zero speaks as they did.
    pub named: Vec<Axes>,
    /// Pan and tilt, and zoom, were ever set going by an accepted move.
    pub set_going: (bool, bool),
    /// Whether it says if it moves; `None` = not asked.
    pub tells_motion: Option<bool>,
    /// Whether `Stop` stops it.
    pub stop: StopTrust,
    /// A movement was sent since `Stop` was last looked at.
    pub moved: bool,
    /// The speeds of the focus: `None` = not asked, `Some(None)` = it has none.
    pub focus_speeds: Option<Option<Range>>,
    /// All presets.
    pub presets: Option<Vec<Preset>>,
    /// Where its picture is.
    pub picture: Option<ServiceAddress>,
    /// Its serial number.
    pub serial_number: Option<String>,
    /// The password that it has taken last, for something that is not for everybody.
    pub taken: Option<Secret>,
    /// That password was refused since, or nothing can be proven here.
    pub proof_failed: bool,
    /// The encoders of our channel's streams.
    pub encoders: Vec<KnownEncoder>,
    /// When it may be asked for a keyframe.
    pub keyframes: KeyframePace,
}

impl Learnt {
    /// Paths and tokens are no longer what they were (new firmware, another device at this
    /// address).
    pub fn forget_paths(&mut self) {
        self.services = None;
        self.form = Form::default();
        self.silent.clear();
        self.places.clear();
        self.picture = None;
        self.forget_profile();
    }

    /// Our profile is no longer known.
    pub fn forget_profile(&mut self) {
        self.profile = None;
        self.encoders.clear();
        self.media = None;
        self.move_times = None;
        self.focus_speeds = None;
        self.presets = None;
    }
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
