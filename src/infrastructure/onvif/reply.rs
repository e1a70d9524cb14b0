//! Envelopes that come back, and faults in them. Pure.

use crate::domain::camera::CameraError;
use crate::infrastructure::http::camera::camera_words;
use crate::infrastructure::xml::{self, Element, XmlError};

/// A fault, in the shape of SOAP 1.1 or 1.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Codes from the outermost in, without their prefixes: those are each camera's own.
    pub codes: Vec<String>,
    /// The camera's prose, as it may be shown.
    pub reason: String,
}

/// What a fault means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Credentials or clock.
    NotAuthorized,
    /// The account may not.
    Prohibited,
    /// Not there, or not at this path.
    NotSupported,
    /// Our profile is not known any more.
    NoProfile,
    /// Our profile does not move.
    NoPtzProfile,
    /// No such preset or tour.
    NoToken,
    /// The way we wrote it: velocity, space, timeout.
    BadForm,
    /// Not while it moves.
    Moving,
    /// Anything else.
    Other,
}

impl Fault {
    /// The meaning.
    pub fn kind(&self) -> FaultKind {
        let has = |names: &[&str]| {
            self.codes
                .iter()
                .any(|c| names.iter().any(|n| c.eq_ignore_ascii_case(n)))
        };
        let says = |text: &str| self.reason.to_ascii_lowercase().contains(text);
        if has(&["NotAuthorized", "FailedAuthentication", "InvalidSecurity"])
            || says("authority failure")
            || says("time check failed")
        {
            FaultKind::NotAuthorized
        } else if has(&["OperationProhibited"]) {
            FaultKind::Prohibited
        } else if has(&["NoProfile"]) {
            FaultKind::NoProfile
        } else if has(&["NoPTZProfile"]) {
            FaultKind::NoPtzProfile
        } else if has(&["NoToken"]) {
            FaultKind::NoToken
        } else if has(&["MovingPTZ"]) {
            FaultKind::Moving
        } else if has(&["ActionNotSupported", "UnknownAction"]) {
            FaultKind::NotSupported
        } else if has(&[
            "InvalidVelocity",
            "SpaceNotSupported",
            "TimeoutNotSupported",
            "InvalidArgVal",
        ]) {
            FaultKind::BadForm
        } else {
            FaultKind::Other
        }
    }

    /// Logins left, where the prose counts them down ("You still have 26 attempt(s)").
    pub fn tries_left(&self) -> Option<u32> {
        let words: Vec<&str> = self.reason.split_whitespace().collect();
        words.windows(2).find_map(|pair| match pair {
            [number, word] if word.starts_with("attempt") => number.parse().ok(),
            _ => None,
        })
    }

    /// As the domain has it, for those that are not about a login.
    pub fn error(&self) -> CameraError {
        let words = self.words();
        match self.kind() {
            FaultKind::Prohibited => CameraError::Forbidden(words),
            FaultKind::NotSupported | FaultKind::NoPtzProfile => CameraError::NotSupported(words),
            FaultKind::NoToken => {
                CameraError::NotFound(format!("the camera knows it not: {words}"))
            }
            FaultKind::Moving => CameraError::Busy(words),
            _ => CameraError::Device(words),
        }
    }

    /// Codes and prose in one line.
    pub fn words(&self) -> String {
        let codes = self.codes.join("/");
        camera_words(&format!("{} ({codes})", self.reason))
    }

    fn read(fault: &Element) -> Self {
        let mut codes = Vec::new();
        let mut code = fault.child("Code");
        while let Some(here) = code {
            codes.extend(here.text_of("Value").map(local));
            code = here.child("Subcode");
        }
        // SOAP 1.1
        codes.extend(fault.text_of("faultcode").map(local));
        let reason = fault
            .text_at(&["Reason", "Text"])
            .or_else(|| fault.text_of("faultstring"))
            .unwrap_or("no reason given");
        Self {
            codes,
            reason: camera_words(reason),
        }
    }
}

/// Behind the last colon.
fn local(name: &str) -> String {
    name.rsplit(':').next().unwrap_or(name).trim().to_owned()
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The element inside the body.
    Content(Element),
    /// A fault, whatever the HTTP status.
    Fault(Fault),
}

/// Reads an envelope. Headers are not looked at: some cameras echo ours.
pub fn read(bytes: &[u8]) -> Result<Reply, ReplyError> {
    let root = xml::parse(bytes)?;
    if !root.name.eq_ignore_ascii_case("Envelope") {
        return Err(ReplyError::NoEnvelope);
    }
    let mut body = root.children;
    let content = body
        .iter()
        .position(|c| c.name.eq_ignore_ascii_case("Body"))
        .map(|at| body.swap_remove(at))
        .and_then(|body| body.children.into_iter().next())
        .ok_or(ReplyError::NoContent)?;
    if content.name.eq_ignore_ascii_case("Fault") {
        Ok(Reply::Fault(Fault::read(&content)))
    } else {
        Ok(Reply::Content(content))
    }
}

/// Why bytes are no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No XML of ours.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML, but no SOAP.
    #[error("XML without a SOAP envelope")]
    NoEnvelope,
    /// SOAP with nothing inside.
    #[error("a SOAP envelope with nothing inside")]
    NoContent,
}

#[cfg(test)]
mod tests {
    use super::super::answer::fixture;
    use super::*;
    use proptest::prelude::*;

    fn fault(path: &str) -> Fault {
        match read(&fixture(path)).unwrap() {
            Reply::Fault(fault) => fault,
            Reply::Content(content) => panic!("{}", content.name),
        }
    }

    #[test]
    fn captured_faults() {
        let not_authorized = fault("onvif-nvt/trendnet/core/GetDeviceInformation.Error.xml");
        assert_eq!(not_authorized.kind(), FaultKind::NotAuthorized);
        assert_eq!(not_authorized.codes, ["Sender", "NotAuthorized"]);
        let bad = fault("onvif-nvt/hikvision-fixed/core/GetServices.Error.xml");
        assert_eq!(bad.kind(), FaultKind::BadForm);
        assert_eq!(bad.reason, "the parameter value is illegal");
        let none = fault("elixir-onvif/get_audio_encoder_configuration_options_notsupport.xml");
        assert_eq!(none.kind(), FaultKind::NotSupported);
        assert_eq!(
            none.words(),
            "No audio support (Receiver/ActionNotSupported/AudioNotSupported)"
        );
        for path in [
            "onvif-nvt/hikvision-fixed/core/GetDot11Status.Error.xml",
            "onvif-nvt/hikvision-fixed/core/GetEndpointReference.Error.xml",
            "onvif-nvt/hikvision-fixed/core/SetNTP.Error.xml",
            "onvif-nvt/hikvision-fixed/media/GetAudioDecoderConfigurations.Error.xml",
            "onvif-nvt/trendnet/core/GetServices.Error.xml",
        ] {
            let fault = fault(path);
            assert!(fault.codes.len() > 1 && !fault.reason.is_empty(), "{path}");
        }
    }

    #[test]
    fn soap_1_1_and_odd_shapes() {
        let old = b"<E:Envelope xmlns:E='http://schemas.xmlsoap.org/soap/envelope/'><E:Body><E:Fault><faultcode>ns6:NoProfile</faultcode><faultstring>x</faultstring></E:Fault></E:Body></E:Envelope>";
        let Ok(Reply::Fault(fault)) = read(old) else {
            panic!()
        };
        assert_eq!(fault.kind(), FaultKind::NoProfile);
        let bare = b"<Envelope><Body><Fault/></Body></Envelope>";
        let Ok(Reply::Fault(fault)) = read(bare) else {
            panic!()
        };
        assert_eq!(fault.kind(), FaultKind::Other);
        let counted = Fault {
            codes: vec!["Sender".into(), "NotAuthorized".into()],
            reason:
                "Sender not Authorized. Invalid username or password! You still have 26 attempt(s)"
                    .into(),
        };
        assert_eq!(counted.tries_left(), Some(26));
        let tapo = Fault {
            codes: vec![],
            reason: "Authority failure".into(),
        };
        assert_eq!(tapo.kind(), FaultKind::NotAuthorized);
    }

    #[test]
    fn what_is_no_reply() {
        assert_eq!(read(b"<a/>"), Err(ReplyError::NoEnvelope));
        assert_eq!(
            read(b"<Envelope><Body/></Envelope>"),
            Err(ReplyError::NoContent)
        );
        assert_eq!(
            read(b"<!DOCTYPE html><html>401"),
            Err(ReplyError::Xml(XmlError::Html))
        );
        // Published with curly quotes and an unbound prefix; no name is looked up by prefix.
        assert!(matches!(
            read(&fixture("agsh-onvif/Error.xml")),
            Ok(Reply::Fault(_)) | Err(_)
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let wrapped = [b"<Envelope><Body>".as_slice(), &bytes, b"</Body></Envelope>"].concat();
            if let Ok(Reply::Fault(fault)) = read(&wrapped) {
                let _ = (fault.kind(), fault.tries_left(), fault.words());
            }
        }
    }
}
