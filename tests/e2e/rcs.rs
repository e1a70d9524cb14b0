//! A cloud service that takes everything and remembers it. Shared with `examples/site.rs`; the one
//! that misbehaves is in `tests/support/`.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// The path, `/lss/register` and the like.
    pub path: String,
    /// The body; null if it was no JSON.
    pub body: Value,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

/// The stand-in. Ends with its value.
pub struct Rcs {
    server: Arc<tiny_http::Server>,
    calls: Arc<Mutex<Vec<Call>>>,
    thread: Option<JoinHandle<()>>,
}

impl Rcs {
    /// Listens on a loopback port of its own.
    pub fn start() -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").expect("bind"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let thread = {
            let (server, calls) = (Arc::clone(&server), Arc::clone(&calls));
            std::thread::spawn(move || {
                for mut request in server.incoming_requests() {
                    let mut text = String::new();
                    let _ = request.as_reader().read_to_string(&mut text);
                    let authorization = request
                        .headers()
                        .iter()
                        .find(|h| h.field.equiv("authorization"))
                        .map(|h| h.value.as_str().to_owned());
                    calls.lock().expect("calls").push(Call {
                        path: request.url().to_owned(),
                        body: serde_json::from_str(&text).unwrap_or(Value::Null),
                        authorization,
                    });
                    let ok = r#"{"code":0,"message":"success","data":null}"#;
                    let _ = request.respond(tiny_http::Response::from_string(ok));
                }
            })
        };
        Self {
            server,
            calls,
            thread: Some(thread),
        }
    }

    /// What `rcs.base_url` must be.
    pub fn base_url(&self) -> String {
        let address = self.server.server_addr().to_ip().expect("an address");
        format!("http://{address}")
    }

    /// Everything so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("calls").clone()
    }

    /// The bodies sent to `path`, oldest first.
    pub fn bodies(&self, path: &str) -> Vec<Value> {
        self.calls()
            .into_iter()
            .filter(|c| c.path == path)
            .map(|c| c.body)
            .collect()
    }

    /// The callbacks of one task, oldest first.
    pub fn callbacks(&self, task: &str) -> Vec<Value> {
        let mut bodies = self.bodies("/lss/task/callback");
        bodies.retain(|b| b["taskId"] == task);
        bodies
    }

    /// Waits for a callback of `task` of that `callbackType`, and returns it.
    pub fn await_callback(&self, task: &str, kind: &str, limit: Duration) -> Option<Value> {
        super::lab::poll(limit, || {
            self.callbacks(task)
                .into_iter()
                .find(|b| b["callbackType"] == kind)
        })
    }
}

impl Drop for Rcs {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
