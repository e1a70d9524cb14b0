//! Reading JSON that others wrote: every fault names the field by its path and says what would
//! be right, and none repeats a value, which may be a password. Knows no command.
//!
//! Rules, the same at every door: unknown fields are ignored, `null` counts as absent, of a
//! repeated key the last one counts, an empty text counts as an empty object.

use serde_json::{Map, Value};

use crate::domain::error::{ErrorCode, Fault};

/// Parses a JSON text. 20001 with line and column if it is none (nesting over 128 levels
/// included); empty or white space = `{}`.
pub fn parse(text: &[u8]) -> Result<Value, Fault> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    // What serde_json says of a syntax error names places and characters of the grammar, never
    // the text it stumbled over.
    serde_json::from_slice(text).map_err(|why| {
        Fault::new(
            ErrorCode::BadRequest,
            format!("the JSON is malformed: {why}"),
        )
    })
}

/// The fields of one JSON object, with the path that leads to it.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The fields of a whole text; `what` names it in the fault ("the body", "payload").
    pub fn of(value: &'a Value, what: &str) -> Result<Self, Fault> {
        match value {
            Value::Object(map) => Ok(Self {
                map: Some(map),
                path: String::new(),
            }),
            other => Err(Fault::new(
                ErrorCode::ParamInvalid,
                format!("{what} must be a JSON object, not {}", kind(other)),
            )),
        }
    }

    /// An object inside this one; absent = one without fields.
    pub fn object(&self, name: &str) -> Result<Self, Fault> {
        let path = format!("{}.", self.path_of(name));
        match self.get(name) {
            None => Ok(Self { map: None, path }),
            Some(Value::Object(map)) => Ok(Self {
                map: Some(map),
                path,
            }),
            Some(other) => Err(self.mismatch(name, "an object", other)),
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.mismatch(name, "a text", other)),
        }
    }

    /// A text, or a number in its place (`"2500k"` and `2500000`).
    pub fn text_or_number(&self, name: &str) -> Result<Option<String>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.mismatch(name, "a text or a number", other)),
        }
    }

    /// A whole number; `30.0` is one, `"30"` is not.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Fault> {
        const EXPECTED: &str = "a whole number";
        match self.get(name) {
            None => Ok(None),
            Some(value @ Value::Number(number)) => number
                .as_i64()
                .or_else(|| number.as_f64().and_then(whole))
                .map(Some)
                .ok_or_else(|| self.mismatch(name, EXPECTED, value)),
            Some(other) => Err(self.mismatch(name, EXPECTED, other)),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.mismatch(name, "true or false", other)),
        }
    }

    /// 20002 for a field of this object that must be there.
    pub fn missing(&self, name: &str) -> Fault {
        Fault::new(
            ErrorCode::ParamMissing,
            format!("{} is missing", self.path_of(name)),
        )
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| !value.is_null())
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn mismatch(&self, name: &str, expected: &str, got: &Value) -> Fault {
        Fault::new(
            ErrorCode::ParamInvalid,
            format!(
                "{} must be {expected}, not {}",
                self.path_of(name),
                kind(got)
            ),
        )
    }
}

/// The whole number that a float is, if it is one that `f64` and `i64` both hold exactly.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation)] // guarded by the range
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.as_i64().is_some() => "a number",
        Value::Number(_) => "a number with a fraction or out of range",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_name_path_and_type_and_no_value() {
        let value = json!({
            "taskId": 4_711_001, "loop": "canary", "videoConfig": { "fps": "canary", "width": 1.5 },
            "audioConfig": ["canary"], "bitrate": { "canary": 1 }
        });
        let fields = Fields::of(&value, "the body").unwrap();
        let video = fields.object("videoConfig").unwrap();
        let cases = [
            (fields.text("taskId").unwrap_err(), "taskId must be a text"),
            (
                fields.flag("loop").unwrap_err(),
                "loop must be true or false",
            ),
            (
                video.integer("fps").unwrap_err(),
                "videoConfig.fps must be a whole number, not a text",
            ),
            (
                video.integer("width").unwrap_err(),
                "videoConfig.width must be a whole number, not a number with a fraction",
            ),
            (
                fields.object("audioConfig").unwrap_err(),
                "audioConfig must be an object, not a list",
            ),
            (
                fields.text_or_number("bitrate").unwrap_err(),
                "bitrate must be a text or a number, not an object",
            ),
            (
                Fields::of(&json!([1]), "the body").unwrap_err(),
                "the body must be a JSON object, not a list",
            ),
        ];
        for (fault, words) in cases {
            assert_eq!(fault.code, ErrorCode::ParamInvalid);
            assert!(fault.message.starts_with(words), "{}", fault.message);
            assert!(!fault.message.contains("canary") && !fault.message.contains("4711"));
        }
    }

    #[test]
    fn null_and_unknown_fields_are_absent() {
        let value = json!({ "a": null, "other": 1, "o": null });
        let fields = Fields::of(&value, "x").unwrap();
        assert_eq!(fields.text("a").unwrap(), None);
        assert_eq!(fields.object("o").unwrap().flag("x").unwrap(), None);
        assert_eq!(fields.missing("b").message, "b is missing");
        assert_eq!(
            fields.object("o").unwrap().missing("b").message,
            "o.b is missing"
        );
    }

    #[test]
    fn whole_numbers() {
        let value = json!({ "i": -1, "f": 30.0, "big": 1e300, "u": u64::MAX });
        let fields = Fields::of(&value, "x").unwrap();
        assert_eq!(fields.integer("i").unwrap(), Some(-1));
        assert_eq!(fields.integer("f").unwrap(), Some(30));
        assert!(fields.integer("big").is_err());
        assert!(fields.integer("u").is_err());
        assert_eq!(fields.text_or_number("f").unwrap().as_deref(), Some("30.0"));
    }

    #[test]
    fn malformed_says_where_and_not_what() {
        for (text, place) in [
            (&b"{\"password\": canary-1}"[..], "line 1 column 14"),
            (b"{\n \"a\": \"canary", "line 2"),
            (b"{\"a\":1} canary", "line 1 column 9"),
            (b"\xff\xfe", "line 1"),
            (b"{\"a\":\"\xff canary\"}", "line 1"),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.code, ErrorCode::BadRequest);
            assert!(fault.message.contains(place), "{}", fault.message);
            assert!(!fault.message.contains("canary"), "{}", fault.message);
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert_eq!(parse(b" \r\n").unwrap(), json!({}));
    }
}
