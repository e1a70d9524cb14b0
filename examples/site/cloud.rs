//! A cloud service that takes everything and keeps the callbacks. (The strict one, which also
//! misbehaves on demand, is in `tests/support/`.)

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

/// The stand-in for RCS. Ends with its value.
pub struct Cloud {
    server: Arc<tiny_http::Server>,
    callbacks: Arc<Mutex<Vec<Value>>>,
    thread: Option<JoinHandle<()>>,
}

impl Cloud {
    /// Listens on a loopback port of its own.
    pub fn start() -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").expect("bind"));
        let callbacks = Arc::new(Mutex::new(Vec::new()));
        let thread = {
            let (server, callbacks) = (Arc::clone(&server), Arc::clone(&callbacks));
            std::thread::spawn(move || {
                for mut request in server.incoming_requests() {
                    let mut text = String::new();
                    let _ = request.as_reader().take(1 << 20).read_to_string(&mut text);
                    if request.url() == "/lss/task/callback" {
                        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
                        callbacks.lock().expect("callbacks").push(body);
                    }
                    let ok = r#"{"code":0,"message":"success","data":null}"#;
                    let _ = request.respond(tiny_http::Response::from_string(ok));
                }
            })
        };
        Self {
            server,
            callbacks,
            thread: Some(thread),
        }
    }

    /// What `rcs.base_url` must be.
    pub fn base_url(&self) -> String {
        let address = self.server.server_addr().to_ip().expect("an address");
        format!("http://{address}")
    }

    /// The callbacks so far, oldest first.
    pub fn callbacks(&self) -> Vec<Value> {
        self.callbacks.lock().expect("callbacks").clone()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
