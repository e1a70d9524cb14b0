//! A camera spoken to by ISAPI.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::answer::{self, DeviceInfo, PtzChannel};
use super::body::{self, Call, Lens};
use super::client::{IsapiClient, Memory, StopTrust};
use super::status::Trouble;
use crate::domain::camera::fit::EncoderDevice;
use crate::domain::camera::{
    CameraCapabilities, CameraDevice, CameraDeviceInfo, CameraError, CameraTarget, Checked, Motion,
    MoveAccepted, PresetInfo, Protocol, ProtocolSupport, SnapshotWish, StopWay, StreamSettings,
    is_function_preset,
};
use crate::domain::ptz::{Drive, Velocity};
use crate::infrastructure::http::camera::CameraOptions;

/// A timed move that is longer than this is cut short by some models.
const LONGEST_MOMENTARY: Duration = Duration::from_secs(2);
/// A camera that was told to stop may take so long to stand still.
const SETTLE: Duration = Duration::from_millis(900);
/// Between two looks at it: long enough that a slow movement shows in tenths of a degree.
const LOOK: Duration = Duration::from_millis(250);
/// Where RTSP answers unless the camera says otherwise.
const RTSP_PORT: u16 = 554;
/// The highest preset or tour number sent.
const MAX_NUMBER: u32 = 9_999;

/// One client of one ISAPI device. See [`CameraDevice`].
pub struct IsapiCamera {
    target: CameraTarget,
    memory: Memory,
    client: IsapiClient,
}

impl IsapiCamera {
    /// Opens nothing yet. `memory` = what other clients of this camera have learnt.
    pub fn new(target: CameraTarget, options: CameraOptions, memory: Memory) -> Self {
        let options = options.for_manner(&target.manner);
        let client = IsapiClient::new(
            &target.address,
            target.credentials.clone(),
            options,
            memory.clone(),
        );
        Self {
            target,
            memory,
            client,
        }
    }

    pub(super) fn channel(&self) -> u16 {
        self.target.channel
    }

    pub(super) fn client(&mut self) -> &mut IsapiClient {
        &mut self.client
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where RTSP answers. A login that was refused is not sent again.
    pub(super) fn rtsp_place(&mut self, deadline: Instant) -> Result<SocketAddr, CameraError> {
        let was_taken = self.client.is_logged_in();
        let told = match self.client.read(&body::protocol_ports(), deadline) {
            Ok(root) => answer::rtsp_port(&root),
            Err(error @ (CameraError::Unreachable(_) | CameraError::Certificate(_))) => {
                return Err(error);
            }
            Err(CameraError::LoginRefused(refusal)) if refusal.tried && !was_taken => {
                return Err(CameraError::LoginRefused(refusal));
            }
            // Told to administrators only; the usual port is as good a guess as any.
            Err(_) => None,
        };
        let port = told.unwrap_or(RTSP_PORT);
        Ok(SocketAddr::new(self.target.address.ip, port))
    }

    fn act(&mut self, call: &Call, deadline: Instant) -> Result<(), CameraError> {
        self.client.call(call, deadline)?;
        Ok(())
    }

    fn act_in_tree(
        &mut self,
        make: impl Fn(super::body::PtzTree) -> Call,
        deadline: Instant,
    ) -> Result<(), CameraError> {
        self.client.in_tree(make, deadline)?;
        Ok(())
    }

    /// What the channel's movement can do; remembers which presets are functions.
    fn ptz_channel(&mut self, deadline: Instant) -> Result<Option<PtzChannel>, CameraError> {
        let channel = self.channel();
        let root = self
            .client
            .in_tree(|tree| body::ptz_capabilities(tree, channel), deadline)?;
        let caps = root.as_ref().and_then(PtzChannel::read);
        if let Some(list) = caps.as_ref().and_then(|c| c.function_presets.clone()) {
            self.memory.with(|m| m.function_presets = Some(list));
        }
        Ok(caps)
    }

    /// Whether a preset is a function. The camera is asked once where the number makes it likely.
    fn is_function(&mut self, number: u32, deadline: Instant) -> Result<bool, CameraError> {
        let mut known = self.memory.with(|m| m.function_presets.clone());
        if known.is_none() && is_function_preset(number) {
            self.ask_function_presets(deadline)?;
            known = self.memory.with(|m| m.function_presets.clone());
        }
        Ok(known.map_or_else(|| is_function_preset(number), |list| list.contains(&number)))
    }

    /// Without an answer the usual numbers are believed. A login that was refused is not sent
    /// again.
    fn ask_function_presets(&mut self, deadline: Instant) -> Result<(), CameraError> {
        match self.ptz_channel(deadline) {
            Err(error @ CameraError::LoginRefused(_)) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// A preset that may be written.
    fn own_preset(&mut self, preset: &str, deadline: Instant) -> Result<u32, CameraError> {
        let number = number(preset, "preset")?;
        if self.is_function(number, deadline)? {
            return Err(CameraError::NotSupported(format!(
                "preset {number} is a function of the camera and can't be set or deleted"
            )));
        }
        Ok(number)
    }

    /// Whether a lens motor answers; `None` where nothing can be concluded.
    fn has_lens(&mut self, lens: Lens, deadline: Instant) -> Option<bool> {
        let call = body::lens_state(self.channel(), lens);
        match self.client.call(&call, deadline) {
            Ok(Some(_)) => Some(true),
            Err(Trouble::Refused(refusal)) if refusal.sub == "notsupport" => Some(false),
            _ => None,
        }
    }

    /// Pan, tilt and zoom. A short movement is given its end, where the camera can.
    fn turn(
        &mut self,
        velocity: Velocity,
        limit: Duration,
        deadline: Instant,
    ) -> Result<MoveAccepted, CameraError> {
        let channel = self.channel();
        let timed = !velocity.is_zero()
            && limit <= LONGEST_MOMENTARY
            && !self.memory.with(|m| m.no_momentary);
        let mut refused = false;
        if timed {
            let made = self.client.in_tree(
                |tree| body::momentary(tree, channel, velocity, limit),
                deadline,
            );
            match made {
                Ok(_) => {
                    return Ok(MoveAccepted {
                        ends_after: Some(limit),
                    });
                }
                Err(Trouble::Refused(why)) if why.may_be_about_the_form() => {
                    refused = why.is_meant();
                }
                Err(trouble) => return Err(trouble.into()),
            }
        }
        self.act_in_tree(|tree| body::continuous(tree, channel, velocity), deadline)?;
        if refused {
            // Only now is it known that it was the timed move that the camera can't.
            self.memory.with(|m| m.no_momentary = true);
        }
        Ok(MoveAccepted::default())
    }

    /// Whether a stop that the camera has accepted is to be looked at.
    fn stop_is_doubtful(&self) -> bool {
        self.memory.with(|m| {
            let moved = std::mem::take(&mut m.moved);
            match m.stop {
                StopTrust::Unproven => moved,
                StopTrust::Proven | StopTrust::Unseen => false,
                StopTrust::Weak => true,
            }
        })
    }

    /// Looks until it is twice in the same place; `Some(false)` when it is not within [`SETTLE`],
    /// `None` where it does not say.
    fn stands_still(&mut self, deadline: Instant) -> Option<bool> {
        let begin = Instant::now();
        let mut before = None;
        loop {
            let at = match self.motion(deadline) {
                Ok(motion) => motion.position,
                Err(CameraError::NotSupported(_)) => None,
                // It has accepted the stop, and says nothing more: believed this time.
                Err(_) => return None,
            };
            if at.is_none() {
                self.memory.with(|m| m.stop = StopTrust::Unseen);
                return None;
            }
            if at == before {
                return Some(true);
            }
            if begin.elapsed() >= SETTLE || Instant::now() + LOOK >= deadline {
                return Some(false);
            }
            before = at;
            std::thread::sleep(LOOK);
        }
    }

    fn capabilities(&mut self, deadline: Instant) -> CameraCapabilities {
        let mut all = CameraCapabilities::default();
        match self.ptz_channel(deadline) {
            Ok(Some(caps)) => all.ptz = caps.capabilities,
            Err(CameraError::NotSupported(_)) => all.ptz.supported = Some(false),
            Ok(None) | Err(_) => {}
        }
        all.ptz.focus = self.has_lens(Lens::Focus, deadline);
        all.ptz.iris = self.has_lens(Lens::Iris, deadline);
        let channel = self.channel();
        let stream = self
            .client
            .read(&body::stream_capabilities(channel), deadline)
            .or_else(|_| self.client.read(&body::stream_settings(channel), deadline));
        if let Ok(root) = stream {
            (all.video, all.audio) = answer::stream(&root);
        }
        all
    }
}

/// A preset or tour number.
fn number(text: &str, what: &str) -> Result<u32, CameraError> {
    text.parse()
        .ok()
        .filter(|n| (1..=MAX_NUMBER).contains(n) && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| CameraError::NotFound(format!("no such {what}: ISAPI numbers them from 1")))
}

impl CameraDevice for IsapiCamera {
    fn protocol(&self) -> Protocol {
        Protocol::ISAPI
    }

    fn hang_up(&mut self) {
        self.client.hang_up();
    }

    fn check(&mut self, deadline: Instant) -> Result<Checked, CameraError> {
        let answer = self.client.read(&Call::get(body::USER_CHECK), deadline);
        match answer {
            // Old firmware has no such check.
            Err(CameraError::NotSupported(_)) => {
                self.client.read(&body::device_info(), deadline)?;
            }
            other => {
                other?;
            }
        }
        Ok(Checked {
            authenticated: self.client.is_logged_in(),
        })
    }

    fn probe(&mut self, deadline: Instant) -> Result<CameraDeviceInfo, CameraError> {
        let root = self.client.read(&body::device_info(), deadline)?;
        let info = DeviceInfo::read(&root).ok_or_else(|| {
            CameraError::BadAnswer("no DeviceInfo where one was expected".to_owned())
        })?;
        self.memory.with(|m| m.recorder = Some(info.is_recorder()));
        Ok(CameraDeviceInfo {
            address: self.target.address.clone(),
            manufacturer: info.manufacturer,
            model: info.model,
            serial_number: info.serial_number,
            firmware_version: info.firmware,
            hardware_id: info.hardware,
            mac_address: info.mac_address,
            device_name: info.device_name,
            probe_method: Protocol::ISAPI,
            protocol_support: ProtocolSupport::speaks(Protocol::ISAPI),
            capabilities: Some(self.capabilities(deadline)),
            probe_time: SystemTime::now(),
        })
    }

    fn move_at(
        &mut self,
        drive: Drive,
        velocity: Velocity,
        limit: Duration,
        deadline: Instant,
    ) -> Result<MoveAccepted, CameraError> {
        let channel = self.channel();
        match drive {
            Drive::PanTiltZoom => {
                if !velocity.is_zero() {
                    self.memory.with(|m| m.moved = true);
                }
                return self.turn(velocity, limit, deadline);
            }
            Drive::Focus => {
                self.act(&body::lens(channel, Lens::Focus, velocity.focus), deadline)?;
            }
            Drive::Iris => self.act(&body::lens(channel, Lens::Iris, velocity.iris), deadline)?,
        }
        Ok(MoveAccepted::default())
    }

    fn focus_auto(&mut self, deadline: Instant) -> Result<(), CameraError> {
        let channel = self.channel();
        let once = self.act_in_tree(|tree| body::one_push_focus(tree, channel), deadline);
        if !matches!(once, Err(CameraError::NotSupported(_))) {
            return once;
        }
        let settings = body::focus_settings(channel);
        let response = self.client.send(
            &settings,
            crate::infrastructure::xml::MAX_DOCUMENT,
            deadline,
        )?;
        super::status::judge(&response)?;
        let call = body::focus_settings_auto(channel, &response.body).ok_or_else(|| {
            CameraError::NotSupported("it has no automatic focus to switch on".to_owned())
        })?;
        self.act(&call, deadline)
    }

    fn stop(&mut self, drive: Drive, _way: StopWay, deadline: Instant) -> Result<(), CameraError> {
        // ISAPI knows one way of stopping: velocity zero.
        self.move_at(drive, Velocity::ZERO, Duration::ZERO, deadline)?;
        if drive == Drive::PanTiltZoom && self.stop_is_doubtful() {
            match self.stands_still(deadline) {
                Some(true) => self.memory.with(|m| m.stop = StopTrust::Proven),
                Some(false) => {
                    self.memory.with(|m| m.stop = StopTrust::Weak);
                    let words = "it has accepted the stop and still moves".to_owned();
                    return Err(CameraError::Device(words));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn motion(&mut self, deadline: Instant) -> Result<Motion, CameraError> {
        let channel = self.channel();
        let root = self
            .client
            .in_tree(|tree| body::ptz_status(tree, channel), deadline)?
            .ok_or_else(|| CameraError::BadAnswer("no status of the movement".to_owned()))?;
        Ok(Motion {
            moving: None,
            position: answer::position(&root),
        })
    }

    fn presets(&mut self, deadline: Instant) -> Result<Vec<PresetInfo>, CameraError> {
        let channel = self.channel();
        if self.memory.with(|m| m.function_presets.is_none()) {
            self.ask_function_presets(deadline)?;
        }
        let root = self
            .client
            .in_tree(|tree| body::presets(tree, channel), deadline)?
            .filter(|root| !root.name.eq_ignore_ascii_case("ResponseStatus"))
            .ok_or_else(|| CameraError::BadAnswer("no list of presets".to_owned()))?;
        let functions = self.memory.with(|m| m.function_presets.clone());
        Ok(answer::presets(&root, functions.as_deref()))
    }

    fn goto_preset(
        &mut self,
        preset: &str,
        force: bool,
        deadline: Instant,
    ) -> Result<(), CameraError> {
        let number = number(preset, "preset")?;
        if !force && self.is_function(number, deadline)? {
            return Err(CameraError::NotSupported(format!(
                "preset {number} is a function of the camera, not a position; only with force"
            )));
        }
        let channel = self.channel();
        self.act_in_tree(|tree| body::goto_preset(tree, channel, number), deadline)
    }

    fn set_preset(
        &mut self,
        preset: Option<&str>,
        name: Option<&str>,
        deadline: Instant,
    ) -> Result<String, CameraError> {
        let preset = preset.ok_or_else(|| {
            CameraError::NotSupported("storing a preset without a number (presetId)".to_owned())
        })?;
        let number = self.own_preset(preset, deadline)?;
        let channel = self.channel();
        let unnamed = format!("Preset {number}");
        let name = name.filter(|n| !n.trim().is_empty()).unwrap_or(&unnamed);
        self.act_in_tree(
            |tree| body::set_preset(tree, channel, number, name),
            deadline,
        )?;
        Ok(number.to_string())
    }

    fn delete_preset(&mut self, preset: &str, deadline: Instant) -> Result<(), CameraError> {
        let number = self.own_preset(preset, deadline)?;
        let channel = self.channel();
        self.act_in_tree(|tree| body::delete_preset(tree, channel, number), deadline)
    }

    fn start_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError> {
        let number = number(patrol, "patrol")?;
        let channel = self.channel();
        self.act_in_tree(|tree| body::patrol(tree, channel, number, true), deadline)
    }

    fn stop_patrol(&mut self, patrol: &str, deadline: Instant) -> Result<(), CameraError> {
        let number = number(patrol, "patrol")?;
        let channel = self.channel();
        self.act_in_tree(|tree| body::patrol(tree, channel, number, false), deadline)
    }

    fn snapshot(&mut self, wish: SnapshotWish, deadline: Instant) -> Result<Vec<u8>, CameraError> {
        self.client.picture(self.channel(), wish.size, deadline)
    }

    fn stream_uri(&mut self, deadline: Instant) -> Result<Option<String>, CameraError> {
        let at = self.rtsp_place(deadline)?;
        let channel = self.channel();
        Ok(Some(format!("rtsp://{at}/Streaming/Channels/{channel}01")))
    }

    fn stream_settings(&mut self, deadline: Instant) -> Result<StreamSettings, CameraError> {
        let call = body::stream_settings(self.channel());
        Ok(answer::stream_settings(&self.client.read(&call, deadline)?))
    }

    fn encoders(&mut self) -> Option<&mut dyn EncoderDevice> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_presets() {
        assert_eq!(number("94", "preset").unwrap(), 94);
        for bad in [
            "../../x", "0", "-1", "+1", "1e3", "", "10000", "1/goto", "１",
        ] {
            let error = number(bad, "preset").unwrap_err();
            assert!(matches!(error, CameraError::NotFound(_)), "{bad}");
        }
    }
}
