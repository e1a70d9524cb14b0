//! The description of the REST API is true, both ways: what is answered is as it says, and what it
//! says of request bodies is what the doors read, no more and no less.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests too

mod rest_support;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rest_support::*;
use serde_json::{Value, json};
use support::digest_server::GateRules;
use support::isapi_camera::{self, IsapiStandIn, Model};

/// Of a type that no field has.
const WRONG: &str = "[[1]]";

/// A REST API with a task, a camera and a tour, and its description of itself.
struct Bench {
    site: Site,
    api: Value,
    camera: IsapiStandIn,
}

impl Bench {
    fn new() -> Self {
        let site = Site::new();
        let described = site.get("/api/openapi.json");
        assert_eq!(described.status, 200);
        site.start("task_001").data();
        let bench = Self {
            api: described.json(),
            site,
            camera: dome(),
        };
        bench.start_tour();
        bench
    }

    fn start_tour(&self) {
        let tour = self.body("PatrolStart").to_string();
        self.site.call("POST", "/api/patrol/start", &tour).data();
    }

    /// Every operation: method, path as described, path to call, the operation.
    fn operations(&self) -> Vec<(String, &str, String, &Value)> {
        let paths = self.api["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().iter().map(|(method, what)| {
                    let target = path
                        .replace("{taskId}", "task_001")
                        .replace("{id}", "cam_1")
                        .replace("{cameraId}", "cam_1")
                        .replace("{presetId}", "7");
                    (method.to_uppercase(), path.as_str(), target, what)
                })
            })
            .collect()
    }

    /// The schema of a response, its reference followed.
    fn answer<'a>(&'a self, operation: &'a Value, status: &str) -> &'a Value {
        let response = &operation["responses"][status];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.resolve(reference),
            None => response,
        };
        &response["content"]
    }

    fn resolve(&self, reference: &str) -> &Value {
        let found = self.api.pointer(reference.trim_start_matches('#'));
        found.unwrap_or_else(|| panic!("nothing at {reference}"))
    }

    /// A body that is carried out, by its schema's name.
    fn body(&self, schema: &str) -> Value {
        let camera = |more: Value| {
            let rules = GateRules::default();
            let mut all = json!({
                "ip": "127.0.0.1", "port": self.camera.addr.port(), "vendorType": "HIKVISION",
                "username": rules.user, "password": rules.password, "channel": 1,
            });
            let all_fields = all.as_object_mut().unwrap();
            all_fields.extend(more.as_object().unwrap().clone());
            all
        };
        match schema {
            "Start" => serde_json::from_str(&start_body("task_002")).unwrap(),
            "Stop" => json!({ "taskId": "task_001", "force": false }),
            "Maintenance" => json!({ "enabled": false }),
            "ScanAsk" => json!({ "subnet": "127.77.1.0/30" }),
            "CameraAsk" => camera(json!({ "cameraId": "cam_1" })),
            "CameraAddress" => camera(json!({})),
            "PtzAsk" => camera(json!({ "action": "PAN_LEFT", "speed": 1, "duration": 1 })),
            "FitAsk" => camera(json!({
                "stream": "main", "apply": false,
                "wish": {
                    "bitrateKbps": 1, "fps": 1, "width": 1, "height": 1, "keyframeSeconds": 1,
                },
            })),
            "PresetName" => camera(json!({ "name": "Gate" })),
            "PatrolStart" => camera(json!({
                "cameraId": "cam_1", "tourId": "t", "loopCount": 0,
                "waypoints": [{ "action": "LEFT", "speed": 1, "duration": 60_000, "startTime": 0 }],
            })),
            "PatrolAsk" => json!({ "cameraId": "cam_1", "tourId": "t" }),
            other => panic!("no body for {other}"),
        }
    }
}

/// The name of the schema of an operation's body.
fn body_schema(operation: &Value) -> Option<&str> {
    let content = &operation["requestBody"]["content"]["application/json"];
    content["schema"]["$ref"].as_str()?.rsplit('/').next()
}

/// Each route of the description is called; the body is as described, and what comes back is of a
/// status it names and has exactly the fields that it says are always there.
#[test]
fn every_answer_is_as_described() {
    let bench = Bench::new();
    for (method, path, target, operation) in bench.operations() {
        let body = match body_schema(operation) {
            Some(name) => {
                let body = bench.body(name);
                bench.check(
                    &json!({ "$ref": format!("#/components/schemas/{name}") }),
                    &body,
                    path,
                );
                body.to_string()
            }
            None => String::new(),
        };
        let reply = bench.site.call(&method, &target, &body);
        assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
        let content = bench.answer(operation, "200");
        let good = &content["application/json"]["schema"];
        if good.is_null() {
            // Not JSON at all: the picture, the figures.
            let kind = content.as_object().unwrap().keys().next().unwrap();
            assert!(reply.head.contains(kind), "{path}: {}", reply.head);
        } else {
            bench.check(good, &reply.json(), path);
        }

        let wrong = bench.site.call(&method, &target, "[");
        let statuses = operation["responses"].as_object().unwrap();
        let status = wrong.status.to_string();
        assert!(
            statuses.contains_key(&status),
            "{method} {path} does not name {status}"
        );
        if wrong.status != 200 {
            let schema = &bench.answer(operation, &status)["application/json"]["schema"];
            bench.check(schema, &wrong.json(), &format!("{method} {path} {status}"));
        }
        for status in statuses.keys() {
            assert!(
                bench.answer(operation, status).is_object(),
                "{method} {path} {status}"
            );
        }
    }
}

fn is_ignored(ignored: &Value, field: &str) -> bool {
    let mut names = ignored.as_array().into_iter().flatten();
    names.any(|name| name == field)
}

/// Of every name that any door reads: a described field of the wrong type is refused by its name, a
/// field that is not described is not read.
#[test]
fn bodies_have_the_described_fields_and_no_others() {
    let bench = Bench::new();
    let known = names_that_doors_read();
    let wrong: Value = serde_json::from_str(WRONG).unwrap();
    for (method, path, target, operation) in bench.operations() {
        let Some(name) = body_schema(operation) else {
            continue;
        };
        let good = bench.body(name);
        let schema = bench.resolve(&format!("#/components/schemas/{name}"));
        for (place, fields) in bench.objects(schema) {
            for field in &fields {
                let mut body = good.clone();
                put(&mut body, &place, field, wrong.clone());
                if name == "PatrolAsk" {
                    // The one before may have ended it.
                    bench.start_tour();
                }
                let reply = bench.site.call(&method, &target, &body.to_string());
                if is_ignored(&reply.json()["data"]["ignored"], field) {
                    // A stop needs nothing but its camera: it names what it could not read.
                    continue;
                }
                let named = reply.json()["message"].as_str().unwrap_or("").to_owned();
                assert_eq!(
                    reply.status, 400,
                    "{method} {path} does not read {place}{field}: {reply:?}"
                );
                // Of a list its first item is named, which is none.
                assert!(
                    named.contains(&format!("{field} must be"))
                        || named.contains(&format!("{field}[0] must be")),
                    "{method} {path} {place}{field}: {named}"
                );
            }
            let mut body = good.clone();
            for field in known.iter().filter(|name| !fields.contains(*name)) {
                put(&mut body, &place, field, wrong.clone());
            }
            let reply = bench.site.call(&method, &target, &body.to_string());
            assert_ne!(
                reply.status, 400,
                "{method} {path} reads what is not described: {reply:?}"
            );
        }
    }
}

/// What the description calls required is missed, and nothing else is.
#[test]
fn bodies_need_what_is_required() {
    let bench = Bench::new();
    for (method, path, target, operation) in bench.operations() {
        let Some(name) = body_schema(operation) else {
            continue;
        };
        let schema = bench.resolve(&format!("#/components/schemas/{name}"));
        let required = bench.required(schema);
        for field in &required {
            let mut body = bench.body(name);
            body.as_object_mut().unwrap().remove(field.as_str());
            let reply = bench.site.call(&method, &target, &body.to_string());
            assert_eq!(
                reply.outcome(),
                (400, 20002),
                "{method} {path} without {field}: {reply:?}"
            );
        }
        // The camera and the tour are known by now; the test's node names no networks to scan.
        let mut least = bench.body(name);
        least.as_object_mut().unwrap().retain(|field, _| {
            required.contains(field) || ["cameraId", "subnet"].contains(&field.as_str())
        });
        let reply = bench.site.call(&method, &target, &least.to_string());
        assert_ne!(
            reply.code(),
            20002,
            "{method} {path} with {least}: {reply:?}"
        );
    }
}

/// `place` is a path of fields that ends in a dot, or nothing; `waypoints[0].` is a list's first.
fn put(body: &mut Value, place: &str, field: &str, value: Value) {
    let mut at = body;
    for step in place.split_terminator('.') {
        at = match step.strip_suffix("[0]") {
            Some(list) => &mut at[list][0],
            None => &mut at[step],
        };
    }
    at[field] = value;
}

/// Every field name that code of the doors asks a JSON object for.
fn names_that_doors_read() -> BTreeSet<String> {
    const READERS: [&str; 8] = [
        ".text(\"",
        ".text_or_number(\"",
        ".integer(\"",
        ".flag(\"",
        ".object(\"",
        ".list(\"",
        "text(\"",
        "number(fields, \"",
    ];
    fn walk(dir: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, names);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for reader in READERS {
                    let found = text.split(reader).skip(1);
                    names.extend(found.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapter"),
        &mut names,
    );
    assert!(names.len() > 30, "the scan has lost the readers: {names:?}");
    names
}

/// A camera that answers everything.
fn dome() -> IsapiStandIn {
    let mut picture = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 48)
        .write_to(&mut picture, image::ImageFormat::Jpeg)
        .unwrap();
    let model = Model {
        picture: picture.into_inner(),
        picture_size: false,
        stream: Some((554, 50)),
        ..Model::default()
    };
    isapi_camera::start(GateRules::default(), model)
}

/// JSON Schema, as far as the description uses it.
impl Bench {
    /// The schemas that hold at once: this one, what it refers to, what it is all of.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let mut all = vec![schema];
        if let Some(reference) = schema["$ref"].as_str() {
            all.extend(self.parts(self.resolve(reference)));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            all.extend(self.parts(part));
        }
        all
    }

    fn properties<'a>(&'a self, schema: &'a Value) -> BTreeMap<&'a str, Vec<&'a Value>> {
        let mut all: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for part in self.parts(schema) {
            for (name, property) in part["properties"].as_object().into_iter().flatten() {
                all.entry(name).or_default().push(property);
            }
        }
        all
    }

    fn required(&self, schema: &Value) -> BTreeSet<String> {
        let parts = self.parts(schema);
        let names = parts.iter().filter_map(|part| part["required"].as_array());
        let names = names
            .flatten()
            .map(|name| name.as_str().unwrap().to_owned());
        names.collect()
    }

    /// The objects of a body, by the path to each, with the names of their fields.
    fn objects(&self, schema: &Value) -> Vec<(String, BTreeSet<String>)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), schema)];
        while let Some((place, schema)) = open.pop() {
            let fields = self.properties(schema);
            for (name, properties) in &fields {
                for property in properties {
                    let inner = property["oneOf"].get(0).unwrap_or(property);
                    if !self.properties(inner).is_empty() {
                        open.push((format!("{place}{name}."), inner));
                    } else if !self.properties(&inner["items"]).is_empty() {
                        open.push((format!("{place}{name}[0]."), &inner["items"]));
                    }
                }
            }
            let names = fields.into_keys().map(str::to_owned);
            found.push((place, names.collect()));
        }
        found
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) {
        for part in self.parts(schema) {
            for (keyword, rule) in part.as_object().unwrap() {
                self.check_one(keyword, rule, value, at);
            }
        }
        let properties = self.properties(schema);
        let Some(fields) = value.as_object().filter(|_| !properties.is_empty()) else {
            return;
        };
        for (name, field) in fields {
            let described = properties.get(name.as_str());
            let described = described.unwrap_or_else(|| panic!("{at}.{name} is not described"));
            for schema in described {
                self.check(schema, field, &format!("{at}.{name}"));
            }
        }
        for name in self.required(schema) {
            assert!(fields.contains_key(&name), "{at}.{name} is missing");
        }
    }

    fn check_one(&self, keyword: &str, rule: &Value, value: &Value, at: &str) {
        let length = value.as_array().map(|items| items.len() as u64);
        match keyword {
            "type" => {
                let one = std::slice::from_ref(rule);
                let types = rule.as_array().map_or(one, Vec::as_slice);
                let kind = kind(value);
                let fits = |t: &Value| t == kind || (t == "number" && kind == "integer");
                assert!(
                    types.iter().any(fits),
                    "{at}: {kind} where {rule} is described"
                );
            }
            "const" => assert_eq!(value, rule, "{at}"),
            "not" => assert_ne!(value, &rule["const"], "{at}"),
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{at}: {value}"),
            "oneOf" => {
                assert_eq!(rule[1], json!({ "type": "null" }), "{at}: one of what?");
                if !value.is_null() {
                    self.check(&rule[0], value, at);
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    self.check(rule, item, &format!("{at}[]"));
                }
            }
            "minimum" => assert!(
                value.as_f64() >= rule.as_f64() || value.is_null(),
                "{at}: {value}"
            ),
            "maximum" => assert!(value.as_f64() <= rule.as_f64(), "{at}: {value}"),
            "minItems" => assert!(length >= rule.as_u64(), "{at}"),
            "maxItems" => assert!(length <= rule.as_u64(), "{at}"),
            // Of the whole, or for readers.
            "$ref" | "allOf" | "properties" | "required" | "description" | "default" | "format"
            | "writeOnly" => {}
            other => panic!("{at}: this test does not know {other}"),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
