//! The forms in which one operation can be put into a request. Pure.
//!
//! Nearly all cameras take the plain one. Some answer it with 200 and nothing, and want the action
//! named in the content type, or SOAP 1.1. Others refuse whatever names an action: so the plain form
//! is what is sent, and the others only after such a silence.

use super::envelope::{Token, envelope, envelope_1_1};
use super::request::Operation;
use crate::infrastructure::http::camera_client::{Request, Resend};
use crate::infrastructure::xml::MAX_DOCUMENT;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// SOAP 1.2.
    #[default]
    Plain,
    /// SOAP 1.2, with `action="…"` in the content type.
    WithAction,
    /// SOAP 1.1, whose action has a header of its own.
    Soap11,
}

impl Form {
    /// The forms to try, the likeliest first.
    pub const ALL: [Self; 3] = [Self::Plain, Self::WithAction, Self::Soap11];

    /// What is tried after this one has met with silence.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Plain => Some(Self::WithAction),
            Self::WithAction => Some(Self::Soap11),
            Self::Soap11 => None,
        }
    }
}

/// An operation as it goes out.
#[derive(Debug)]
pub struct Message {
    /// `Content-Type`
    pub content_type: String,
    /// `SOAPAction`, quoted, where SOAP 1.1 wants it.
    pub soap_action: Option<String>,
    /// The envelope.
    pub body: Vec<u8>,
    resend: Resend,
}

impl Message {
    /// Writes it.
    pub fn new(form: Form, token: Option<&Token>, operation: &Operation) -> Self {
        let namespace = operation.service.namespace();
        let action = format!("\"{namespace}/{}\"", operation.name);
        let soap_1_2 = "application/soap+xml; charset=utf-8";
        Self {
            content_type: match form {
                Form::Plain => soap_1_2.to_owned(),
                Form::WithAction => format!("{soap_1_2}; action={action}"),
                Form::Soap11 => "text/xml; charset=utf-8".to_owned(),
            },
            soap_action: (form == Form::Soap11).then_some(action),
            body: match form {
                Form::Plain | Form::WithAction => envelope(token, &operation.body),
                Form::Soap11 => envelope_1_1(token, &operation.body),
            },
            resend: operation.resend,
        }
    }

    /// To a path.
    pub fn to<'a>(&'a self, path: &'a str) -> Request<'a> {
        Request {
            method: "POST",
            target: path,
            content_type: Some(&self.content_type),
            soap_action: self.soap_action.as_deref(),
            body: Some(&self.body),
            resend: self.resend,
            max_reply: MAX_DOCUMENT,
            secret: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::stop;
    use super::*;

    #[test]
    fn an_action_is_named_only_where_it_belongs() {
        let action = "\"http://www.onvif.org/ver20/ptz/wsdl/Stop\"";
        let written = Form::ALL.map(|form| {
            let message = Message::new(form, None, &stop("p"));
            let body = String::from_utf8(message.body).unwrap();
            assert!(body.contains("Stop"), "{body}");
            (
                message.content_type,
                message.soap_action,
                body.contains("http://schemas.xmlsoap.org/soap/envelope/"),
            )
        });
        let soap_1_2 = "application/soap+xml; charset=utf-8".to_owned();
        assert_eq!(
            written,
            [
                (soap_1_2.clone(), None, false),
                (format!("{soap_1_2}; action={action}"), None, false),
                (
                    "text/xml; charset=utf-8".to_owned(),
                    Some(action.to_owned()),
                    true
                ),
            ]
        );
        let mut all = vec![Form::default()];
        all.extend(std::iter::successors(Form::default().next(), |f| f.next()));
        assert_eq!(all, Form::ALL);
    }
}
