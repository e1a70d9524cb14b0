//! Reading JSON that others wrote: every fault names the field by its path and says what would
//! be right, and none repeats a value, which may be a password. Knows no command.
//!
//! Rules, the same at every door: unknown fields are ignored; `null`, `""` and a `0` where zero
//! says nothing count as absent, because senders with primitive types can't leave a field out; of a
//! repeated key the last one counts, an empty text counts as an empty object. What can be meant in
//! one way only is taken: numbers and truth values as texts, ids as numbers.

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

    /// The same fields, called by the path to the object that holds them.
    #[must_use]
    pub fn within(self, name: &str) -> Self {
        let path = format!("{name}.{}", self.path);
        Self { path, ..self }
    }

    /// An object inside this one; absent = one without fields.
    pub fn object(&self, name: &str) -> Result<Self, Fault> {
        let path = format!("{}.", self.path_of(name));
        match self.get(name).filter(|value| !is_zero(value)) {
            None => Ok(Self { map: None, path }),
            Some(Value::Object(map)) => Ok(Self {
                map: Some(map),
                path,
            }),
            Some(other) => Err(self.mismatch(name, "an object", other)),
        }
    }

    /// A list of objects.
    pub fn list(&self, name: &str) -> Result<Option<Vec<Self>>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| match item {
                    Value::Object(map) => Ok(Self {
                        map: Some(map),
                        path: format!("{}[{index}].", self.path_of(name)),
                    }),
                    other => Err(self.mismatch(&format!("{name}[{index}]"), "an object", other)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(self.mismatch(name, "a list", other)),
        }
    }

    /// An id: a text, or a whole number in its place.
    pub fn id(&self, name: &str) -> Result<Option<String>, Fault> {
        match self.get(name).filter(|value| !is_zero(value)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                Ok(Some(number.to_string()))
            }
            Some(other) => Err(self.mismatch(name, "a text", other)),
        }
    }

    /// What is sent back as it came, as a text.
    pub fn echo(&self, name: &str) -> Result<Option<String>, Fault> {
        match self.get(name) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            _ => self.text_or_number(name),
        }
    }

    /// A text that may be empty, such as a password.
    pub fn text_or_empty(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        match self.map.and_then(|map| map.get(name)) {
            Some(Value::String(text)) => Ok(Some(text)),
            _ => self.text(name),
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        match self.get(name).filter(|value| !is_zero(value)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.mismatch(name, "a text", other)),
        }
    }

    /// A text, or a number in its place (`"2500k"` and `2500000`); 0 = absent.
    pub fn text_or_number(&self, name: &str) -> Result<Option<String>, Fault> {
        match self.get(name).filter(|value| !is_zero(value)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.mismatch(name, "a text or a number", other)),
        }
    }

    /// A whole number; `30`, `30.0` and `"30"` are the same. 0 = absent.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Fault> {
        Ok(self.integer_or_zero(name)?.filter(|number| *number != 0))
    }

    /// The same where zero says something, such as a speed.
    pub fn integer_or_zero(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(text) => whole_text(text.trim()),
            _ => None,
        };
        let mismatch = || self.mismatch(name, "a whole number", value);
        number.map(Some).ok_or_else(mismatch)
    }

    /// `true` or `false`, also as a text or as 1 and 0.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let flag = match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.trim() {
                text if text.eq_ignore_ascii_case("true") || text == "1" => Some(true),
                text if text.eq_ignore_ascii_case("false") || text == "0" => Some(false),
                _ => None,
            },
            Value::Number(number) => match number.as_i64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            _ => None,
        };
        let mismatch = || self.mismatch(name, "true or false", value);
        flag.map(Some).ok_or_else(mismatch)
    }

    /// Whether there is such a field, whatever it holds.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// 20002 for a field of this object that must be there.
    pub fn missing(&self, name: &str) -> Fault {
        Fault::new(
            ErrorCode::ParamMissing,
            format!("{} is missing", self.path_of(name)),
        )
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.trim().is_empty(),
            _ => true,
        })
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

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

/// A whole number written out, with a sign and zeros behind the point at most.
fn whole_text(text: &str) -> Option<i64> {
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) if text.chars().all(plain) => text.parse().ok().and_then(whole),
        Err(_) => None,
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
    fn what_senders_with_primitive_types_send_for_nothing_is_absent() {
        let value = json!({ "zero": 0, "text": "0", "empty": "", "blank": " ", "float": 0.0 });
        let fields = Fields::of(&value, "x").unwrap();
        for name in ["zero", "text", "empty", "blank", "float"] {
            assert_eq!(fields.integer(name).unwrap(), None, "{name}");
        }
        assert_eq!(fields.integer_or_zero("text").unwrap(), Some(0));
        assert_eq!(fields.integer_or_zero("float").unwrap(), Some(0));
        for name in ["zero", "empty", "blank", "float"] {
            assert_eq!(fields.text(name).unwrap(), None, "{name}");
            assert_eq!(fields.id(name).unwrap(), None, "{name}");
            assert_eq!(fields.text_or_number(name).unwrap(), None, "{name}");
            assert_eq!(fields.object(name).unwrap().text("a").unwrap(), None);
        }
        assert_eq!(fields.flag("empty").unwrap(), None);
        assert_eq!(fields.text_or_empty("empty").unwrap(), Some(""));
        assert_eq!(fields.id("text").unwrap().as_deref(), Some("0"));
    }

    #[test]
    fn what_can_be_meant_in_one_way_only_is_taken() {
        let value = json!({ "n": "30", "m": " -7 ", "f": "30.0", "id": 4711, "t": "True",
            "no": "false", "one": 1, "nil": 0, "half": "1.5", "exp": "1e3", "words": "3 or 4",
            "float_id": 1.5, "yes": "yes", "two": 2 });
        let fields = Fields::of(&value, "x").unwrap();
        assert_eq!(fields.integer("n").unwrap(), Some(30));
        assert_eq!(fields.integer("m").unwrap(), Some(-7));
        assert_eq!(fields.integer("f").unwrap(), Some(30));
        assert_eq!(fields.id("id").unwrap().as_deref(), Some("4711"));
        for (name, flag) in [("t", true), ("no", false), ("one", true), ("nil", false)] {
            assert_eq!(fields.flag(name).unwrap(), Some(flag), "{name}");
        }
        for name in ["half", "exp", "words"] {
            assert!(fields.integer(name).is_err(), "{name}");
        }
        assert!(fields.id("float_id").is_err());
        assert!(fields.flag("yes").is_err() && fields.flag("two").is_err());
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
