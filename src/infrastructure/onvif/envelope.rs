//! The SOAP envelope, with or without a WS-UsernameToken. Pure: nonce and time are passed in.
//!
//! No WS-Addressing headers: some firmware refuses a stop for them, and the camera goes on
//! turning.

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

use crate::domain::camera::Credentials;
use crate::infrastructure::xml::XmlWriter;

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const SOAP_1_1: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const WSSE: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const WSU: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const PASSWORD_DIGEST: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64_BINARY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// Bytes of a token's nonce. Cameras were seen to refuse 36; all take 16.
pub const NONCE_LEN: usize = 16;

/// A login inside the message. The password goes in as a digest only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    username: String,
    digest: String,
    nonce: String,
    created: String,
}

impl Token {
    /// `nonce` = fresh random bytes; `created` = the camera's time in UTC, `…Z`.
    pub fn new(login: &Credentials, nonce: [u8; NONCE_LEN], created: &str) -> Self {
        let base64 = base64::engine::general_purpose::STANDARD;
        let mut hasher = Sha1::new();
        // The raw bytes, not their Base64.
        hasher.update(nonce);
        hasher.update(created.as_bytes());
        hasher.update(login.password().expose().as_bytes());
        Self {
            username: login.username().to_owned(),
            digest: base64.encode(hasher.finalize()),
            nonce: base64.encode(nonce),
            created: created.to_owned(),
        }
    }
}

/// A whole message. `body` = one element, as [`super::request`] writes it.
pub fn envelope(token: Option<&Token>, body: &str) -> Vec<u8> {
    in_version(SOAP, token, body)
}

/// The same in SOAP 1.1.
pub fn envelope_1_1(token: Option<&Token>, body: &str) -> Vec<u8> {
    in_version(SOAP_1_1, token, body)
}

fn in_version(soap: &str, token: Option<&Token>, body: &str) -> Vec<u8> {
    XmlWriter::document(|w| {
        w.element("s:Envelope", &[("xmlns:s", soap)], |w| {
            if let Some(token) = token {
                w.element("s:Header", &[], |w| security(w, token));
            }
            w.element("s:Body", &[], |w| w.fragment_inside(body));
        });
    })
}

fn security(w: &mut XmlWriter, token: &Token) {
    let attributes = [
        ("s:mustUnderstand", "1"),
        ("xmlns:wsse", WSSE),
        ("xmlns:wsu", WSU),
    ];
    w.element("wsse:Security", &attributes, |w| {
        w.element("wsse:UsernameToken", &[], |w| {
            w.leaf("wsse:Username", &token.username);
            w.leaf_with("wsse:Password", &[("Type", PASSWORD_DIGEST)], &token.digest);
            w.leaf_with(
                "wsse:Nonce",
                &[("EncodingType", BASE64_BINARY)],
                &token.nonce,
            );
            w.leaf("wsu:Created", &token.created);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::secret::Secret;

    fn nonce() -> [u8; 16] {
        std::array::from_fn(|i| u8::try_from(i).unwrap())
    }

    #[test]
    fn the_password_digest() {
        for (password, digest) in [
            ("12345", "MovS+4/AAznaF3+vn+ETn6yuRo0="),
            ("Passw0rd&<é", "mVk5u+QYxwFwvdSVYAVNNU2SBf4="),
        ] {
            let login = Credentials::new("admin", Secret::new(password)).unwrap();
            let token = Token::new(&login, nonce(), "2026-01-30T10:00:00.000Z");
            assert_eq!(token.digest, digest);
            assert_eq!(token.nonce, "AAECAwQFBgcICQoLDA0ODw==");
        }
    }

    #[test]
    fn a_message_as_it_goes_out() {
        let login = Credentials::new("ad<min>&\"", Secret::new("12345")).unwrap();
        let token = Token::new(&login, nonce(), "2026-01-30T10:00:00.000Z");
        let text = String::from_utf8(envelope(Some(&token), "<A xmlns=\"u\"/>")).unwrap();
        assert_eq!(
            text,
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope xmlns:s=\"{SOAP}\"><s:Header><wsse:Security s:mustUnderstand=\"1\" xmlns:wsse=\"{WSSE}\" xmlns:wsu=\"{WSU}\"><wsse:UsernameToken><wsse:Username>ad&lt;min&gt;&amp;&quot;</wsse:Username><wsse:Password Type=\"{PASSWORD_DIGEST}\">MovS+4/AAznaF3+vn+ETn6yuRo0=</wsse:Password><wsse:Nonce EncodingType=\"{BASE64_BINARY}\">AAECAwQFBgcICQoLDA0ODw==</wsse:Nonce><wsu:Created>2026-01-30T10:00:00.000Z</wsu:Created></wsse:UsernameToken></wsse:Security></s:Header><s:Body><A xmlns=\"u\"/></s:Body></s:Envelope>"
            )
        );
        let plain = String::from_utf8(envelope(None, "<A/>")).unwrap();
        assert!(!plain.contains("Header") && plain.contains("<s:Body><A/></s:Body>"));
    }
}
