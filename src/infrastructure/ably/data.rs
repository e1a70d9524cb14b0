//! Payloads: what a message carries, and its `encoding` chain (RSL4, RSL6). No state.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::Value;

/// Longer chains than this are not undone: no honest sender nests deeper.
const MAX_STEPS: usize = 8;

/// Base64 as strangers write it: padding optional, stray last bits ignored.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a message carries. `Debug` shows kind and size only: commands carry camera passwords.
#[derive(Clone, Default, PartialEq)]
pub enum Data {
    /// Nothing.
    #[default]
    None,
    Text(String),
    /// An object or array (or, from strangers, any JSON value).
    Json(Value),
    /// Bytes.
    Binary(Vec<u8>),
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Json(_) => f.write_str("Json(…)"),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// A payload in its wire form.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// `data`; absent on the wire when `None`.
    pub data: Option<String>,
    /// `encoding`; absent on the wire when `None`.
    pub encoding: Option<&'static str>,
    /// What counts towards `maxMessageSize`: text and JSON text in UTF-8 bytes, bytes raw (TM6).
    pub size: usize,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes, {:?})", self.size, self.encoding)
    }
}

impl Data {
    /// The wire form for `format=json` (RSL4d): text as it is, JSON as its text, bytes as Base64.
    pub fn encode(&self) -> Encoded {
        match self {
            Self::None => Encoded {
                data: None,
                encoding: None,
                size: 0,
            },
            Self::Text(text) => Encoded {
                size: text.len(),
                data: Some(text.clone()),
                encoding: None,
            },
            Self::Json(value) => {
                let text = value.to_string();
                Encoded {
                    size: text.len(),
                    data: Some(text),
                    encoding: Some("json"),
                }
            }
            Self::Binary(bytes) => Encoded {
                size: bytes.len(),
                data: Some(STANDARD.encode(bytes)),
                encoding: Some("base64"),
            },
        }
    }

    /// Undoes `encoding` from right to left (RSL6). Stops at a step that is unknown or fails, and
    /// gives what was decoded so far with the encoding that is left (RSL6b). Never fails.
    pub fn decode(wire: Value, encoding: Option<&str>) -> (Self, Option<String>) {
        let mut data = match wire {
            Value::Null => Self::None,
            Value::String(text) => Self::Text(text),
            // Not allowed on the wire (RSL4a), but there is only one thing it can mean.
            other => Self::Json(other),
        };
        let mut left: Vec<&str> = encoding
            .unwrap_or("")
            .split('/')
            .map(str::trim)
            .filter(|step| !step.is_empty())
            .collect();
        if left.len() > MAX_STEPS {
            return (data, Some(left.join("/")));
        }
        while let Some(step) = left.pop() {
            data = match data.undo(step) {
                Ok(decoded) => decoded,
                Err(as_it_was) => {
                    left.push(step);
                    data = as_it_was;
                    break;
                }
            };
        }
        (data, (!left.is_empty()).then(|| left.join("/")))
    }

    /// One step undone, or the data as it was.
    fn undo(self, step: &str) -> Result<Self, Self> {
        match (step, self) {
            ("base64", Self::Text(text)) => {
                let bytes: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
                match TOLERANT.decode(bytes) {
                    Ok(decoded) => Ok(Self::Binary(decoded)),
                    Err(_) => Err(Self::Text(text)),
                }
            }
            ("utf-8", Self::Binary(bytes)) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Self::Text(text)),
                Err(e) => Err(Self::Binary(e.into_bytes())),
            },
            // JSON frames are UTF-8 already.
            ("utf-8", Self::Text(text)) => Ok(Self::Text(text)),
            ("json", Self::Text(text)) => match serde_json::from_str(&text) {
                Ok(value) => Ok(Self::Json(value)),
                Err(_) => Err(Self::Text(text)),
            },
            (_, data) => Err(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decoded(data: &str, encoding: Option<&str>) -> (Data, Option<String>) {
        Data::decode(json!(data), encoding)
    }

    #[test]
    fn the_references_examples() {
        assert_eq!(decoded("foo", None), (Data::Text("foo".into()), None));
        assert_eq!(
            decoded("{\"foo\":42}", None),
            (Data::Text("{\"foo\":42}".into()), None)
        );
        assert_eq!(
            decoded("{\"foo\":42}", Some("json")),
            (Data::Json(json!({"foo": 42})), None)
        );
        assert_eq!(
            decoded("3q2+7w==", Some("base64")),
            (Data::Binary(vec![0xde, 0xad, 0xbe, 0xef]), None)
        );
        assert_eq!(
            decoded("eyJhIjoxfQ==", Some("json/utf-8/base64")),
            (Data::Json(json!({"a": 1})), None)
        );
    }

    #[test]
    fn stops_at_what_it_cannot_undo() {
        assert_eq!(
            decoded("3q2+7w==", Some("json/utf-8/cipher+aes-128-cbc/base64")),
            (
                Data::Binary(vec![0xde, 0xad, 0xbe, 0xef]),
                Some("json/utf-8/cipher+aes-128-cbc".into())
            )
        );
        // Bytes that are no UTF-8, truncated in the middle of a character.
        assert_eq!(
            decoded("5pel5g==", Some("json/utf-8/base64")),
            (
                Data::Binary(vec![0xe6, 0x97, 0xa5, 0xe6]),
                Some("json/utf-8".into())
            )
        );
        assert_eq!(
            decoded("{broken", Some("json")),
            (Data::Text("{broken".into()), Some("json".into()))
        );
        assert_eq!(
            decoded("!!!", Some("base64")),
            (Data::Text("!!!".into()), Some("base64".into()))
        );
    }

    #[test]
    fn base64_with_line_breaks_or_without_padding() {
        for text in ["eyJh\r\nIjox\nfQ==", "eyJhIjoxfQ"] {
            assert_eq!(
                decoded(text, Some("json/utf-8/base64")).0,
                Data::Json(json!({"a": 1})),
                "{text}"
            );
        }
    }

    #[test]
    fn chains_of_any_order_end() {
        let long = "json/".repeat(5_000);
        let (data, left) = decoded("1", Some(&long));
        assert_eq!(data, Data::Text("1".into()));
        assert!(left.is_some());
        assert_eq!(decoded("x", Some("//")), (Data::Text("x".into()), None));
        // `json` twice: the second has no text to work on.
        assert_eq!(
            decoded("{}", Some("json/json")),
            (Data::Json(json!({})), Some("json".into()))
        );
    }

    #[test]
    fn json_too_deep_stays_text() {
        let deep = "[".repeat(100_000);
        let (data, left) = decoded(&deep, Some("json"));
        assert_eq!((data, left.as_deref()), (Data::Text(deep), Some("json")));
    }

    #[test]
    fn encodes_each_kind_and_counts_raw_bytes() {
        let text = Data::Text("Ü".into()).encode();
        assert_eq!((text.encoding, text.size), (None, 2));
        let value = Data::Json(json!({"a": [1, "x"]})).encode();
        assert_eq!(value.data.as_deref(), Some("{\"a\":[1,\"x\"]}"));
        assert_eq!((value.encoding, value.size), (Some("json"), 13));
        let bytes = Data::Binary(vec![0xde, 0xad, 0xbe, 0xef]).encode();
        assert_eq!(bytes.data.as_deref(), Some("3q2+7w=="));
        assert_eq!((bytes.encoding, bytes.size), (Some("base64"), 4));
        assert_eq!(Data::None.encode().data, None);
    }

    #[test]
    fn what_is_encoded_comes_back() {
        for data in [
            Data::None,
            Data::Text("a \"b\" \u{1F4F7}".into()),
            Data::Json(json!({"k": [null, 1.5, "ß"]})),
            Data::Binary((0..=255).collect()),
        ] {
            let wire = data.encode();
            let value = wire.data.map_or(Value::Null, Value::String);
            assert_eq!(Data::decode(value, wire.encoding), (data, None));
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let data = Data::Json(json!({"password": "canary-7"}));
        assert!(!format!("{data:?} {:?}", data.encode()).contains("canary"));
    }
}
