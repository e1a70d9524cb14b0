//! What a client is held to, once it has received what makes it so.

use serde_json::Value;

use super::Model;

impl Model {
    /// The client of this socket has received this frame: from now on it must act on it.
    pub fn delivered(&mut self, client: &str, frame: &Value) {
        let channel = frame["channel"].as_str().map(str::to_owned);
        let key = |name: String| (client.to_owned(), name);
        match (frame["action"].as_u64(), channel) {
            (Some(4), _) => {
                let resume = frame["connectionDetails"]["connectionKey"].as_str();
                let resume = resume.unwrap_or_default().to_owned();
                self.expect_resume.insert(client.to_owned(), resume);
            }
            (Some(13), Some(name)) if self.detaching.remove(&key(name.clone())) => {
                self.expect_serial.remove(&key(name));
            }
            (Some(9), Some(name)) => {
                self.expect_serial.remove(&key(name));
            }
            // FAILED forgets the key; a token error does not (RTN15c5).
            (Some(9), None) => {
                let code = frame["error"]["code"].as_u64().unwrap_or(0);
                if !(40140..40150).contains(&code) {
                    self.forget_expectations(client);
                }
            }
            (Some(action @ (11 | 14 | 15)), Some(name)) => {
                if let Some(serial) = frame["channelSerial"].as_str() {
                    self.expect_serial
                        .insert(key(name.clone()), serial.to_owned());
                }
                if action == 11 {
                    self.attached_once.insert(key(name));
                }
            }
            _ => {}
        }
    }

    pub(super) fn forget_expectations(&mut self, client: &str) {
        self.expect_resume.remove(client);
        self.expect_serial.retain(|(owner, _), _| owner != client);
        self.detaching.retain(|(owner, _)| owner != client);
    }

    pub(super) fn check_attach(
        &mut self,
        client: &str,
        name: &str,
        given: Option<&str>,
        rewind: Option<&str>,
    ) {
        let key = (client.to_owned(), name.to_owned());
        if self.detaching.contains(&key) {
            // Its DETACHED is still on the way, or was lost: either is fine.
            self.detaching.remove(&key);
            self.expect_serial.remove(&key);
        }
        let expected = self.expect_serial.get(&key).cloned();
        if expected.as_deref() != given {
            self.violation(format!(
                "ATTACH of {name} with serial {given:?}, not {expected:?}"
            ));
        }
        if rewind.is_some() && !self.attached_once.contains(&key) {
            self.violation(format!("rewind on the first attach of {name}"));
        }
    }
}
