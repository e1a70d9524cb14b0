//! Publishes and presence operations of clients: serials, ids, sizes, rates, answers.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Model, Out, SocketId, error, spend};

impl Model {
    /// Checks a msgSerial. Returns whether the frame was processed before.
    fn check_serial(
        &mut self,
        socket: SocketId,
        frame: &Value,
        content: &str,
    ) -> Option<(u64, bool)> {
        let Some(serial) = frame["msgSerial"].as_u64() else {
            self.violation("a publish without msgSerial");
            return None;
        };
        let open = &self.sockets[&socket];
        let (last, resumed, id) = (open.last_serial, open.resumed, open.conn.clone());
        let strict = self.is_strict(&self.client_of(socket));
        let expected = last.map_or(0, |last| last + 1);
        if last.is_some_and(|last| serial <= last) {
            self.violation(format!(
                "msgSerial {serial} after {last:?} on one transport"
            ));
        } else if strict && !resumed && serial != expected {
            self.violation(format!(
                "msgSerial {serial}, not {expected}, on a new connection"
            ));
        }
        if let Some(open) = self.sockets.get_mut(&socket) {
            open.last_serial = Some(serial);
        }
        let conn = self.conns.get_mut(&id)?;
        let before = conn.processed.get(&serial).cloned();
        match before {
            None => {
                conn.processed.insert(serial, content.to_owned());
                Some((serial, false))
            }
            Some(before) => {
                if before != content {
                    self.violation(format!(
                        "msgSerial {serial} carries something else than before"
                    ));
                }
                Some((serial, true))
            }
        }
    }

    fn answer(&mut self, socket: SocketId, serial: u64, fault: Option<Value>, now: i64) {
        if fault.is_some() {
            // Should the refusal get lost, it is processed when it comes again.
            let conn = self.sockets[&socket].conn.clone();
            if let Some(conn) = self.conns.get_mut(&conn) {
                conn.processed.remove(&serial);
            }
        }
        if spend(&mut self.faults.lose_acks) {
            return;
        }
        let mut frame = json!({"action": 1, "msgSerial": serial, "count": 1});
        if let Some(fault) = fault {
            frame["action"] = json!(2);
            frame["error"] = fault;
        }
        self.send(socket, frame, now);
    }

    fn over_rate(&mut self, socket: SocketId, name: &str, now: i64) -> bool {
        let rate = self.config.rate + self.config.rate_slack;
        let count = |recent: &mut VecDeque<i64>| {
            recent.push_back(now);
            while recent.front().is_some_and(|at| now - at >= 1_000) {
                recent.pop_front();
            }
            recent.len() > rate
        };
        let conn = self.sockets[&socket].conn.clone();
        let connection = self
            .conns
            .get_mut(&conn)
            .is_some_and(|c| count(&mut c.recent));
        let channel = self.channels.entry(name.to_owned()).or_default();
        let over = count(&mut channel.recent) || connection;
        if over {
            self.violation(format!("more than {rate} publishes a second"));
        }
        over && self.config.enforce_rate
    }

    pub(super) fn on_message(&mut self, socket: SocketId, name: &str, frame: &Value, now: i64) {
        let content = frame["messages"].to_string();
        let Some((serial, again)) = self.check_serial(socket, frame, &content) else {
            return;
        };
        let conn = self.sockets[&socket].conn.clone();
        let client = self.client_of(socket);
        let messages = frame["messages"].as_array().cloned().unwrap_or_default();
        if messages.is_empty() {
            self.violation("MESSAGE without messages");
        }
        if again {
            self.answer(socket, serial, None, now);
            return;
        }
        if let Some((code, status)) = self.faults.nack.pop_front() {
            let fault = error(code, status, "refused on purpose");
            self.answer(socket, serial, Some(fault), now);
            return;
        }
        if self.over_rate(socket, name, now) {
            self.answer(socket, serial, Some(error(42911, 429, "slow down")), now);
            return;
        }
        if let Some(fault) = self.check_messages(&messages, &client) {
            self.answer(socket, serial, Some(fault), now);
            return;
        }
        let frame_id = format!("{conn}:{serial}");
        let channel = self.channels.entry(name.to_owned()).or_default();
        let mut fresh = Vec::new();
        for (index, mut message) in messages.into_iter().enumerate() {
            let own = message["id"].as_str().map(str::to_owned);
            let id = own.unwrap_or_else(|| format!("{frame_id}:{index}"));
            if channel.ids.insert(id.clone()) {
                channel.log.push((id, message["data"].clone()));
                if !client.is_empty() {
                    message["clientId"] = json!(client);
                }
                fresh.push(message);
            } else {
                channel.doubles += 1;
            }
        }
        // The publisher's ACK and the subscribers' copies race; here the ACK goes first.
        self.answer(socket, serial, None, now);
        if !fresh.is_empty() {
            let frame =
                json!({"action": 15, "id": frame_id, "connectionId": conn, "messages": fresh});
            self.broadcast(name, &conn, frame, now);
        }
    }

    fn check_messages(&mut self, messages: &[Value], client: &str) -> Option<Value> {
        let mut size = 0;
        for message in messages {
            for field in ["connectionId", "timestamp", "serial", "action"] {
                // Official clients send `action: 0`; ours leaves it out.
                let usual = field == "action" && message[field] == 0 && !self.is_strict(client);
                if message.get(field).is_some() && !usual {
                    self.violation(format!("a publish carries {field}"));
                }
            }
            if let Some(theirs) = message["clientId"].as_str() {
                if self.is_strict(client) {
                    self.violation("a publish carries clientId");
                }
                if theirs != client {
                    return Some(error(40012, 400, "clientId"));
                }
            }
            match message.get("data") {
                None | Some(Value::String(_)) => {}
                Some(_) => {
                    self.violation("data is neither a string nor absent");
                    return Some(error(40013, 400, "data"));
                }
            }
            let data = message["data"].as_str().unwrap_or_default();
            if message["encoding"] == "json" && serde_json::from_str::<Value>(data).is_err() {
                self.violation("data is said to be json and is not");
            }
            size += data.len() + message["name"].as_str().map_or(0, str::len);
        }
        if size > self.config.max_message_size {
            self.violation(format!("a publish of {size} bytes"));
            return Some(error(40009, 400, "too large"));
        }
        None
    }

    pub(super) fn on_presence(&mut self, socket: SocketId, name: &str, frame: &Value, now: i64) {
        let content = frame["presence"].to_string();
        let Some((serial, again)) = self.check_serial(socket, frame, &content) else {
            return;
        };
        if again {
            self.answer(socket, serial, None, now);
            return;
        }
        let client = self.client_of(socket);
        let strict = self.is_strict(&client);
        let attached = self.sockets[&socket].attached.get(name).copied();
        match attached {
            None => {
                // A race with a DETACHED on its way is no mistake.
                self.answer(socket, serial, Some(error(91001, 400, "not attached")), now);
                return;
            }
            Some(modes) if modes & (1 << 16) == 0 => {
                self.violation("presence without its mode");
                self.answer(socket, serial, Some(error(40160, 401, "mode")), now);
                return;
            }
            Some(_) if client.is_empty() => {
                self.answer(socket, serial, Some(error(91000, 400, "no clientId")), now);
                return;
            }
            Some(_) => {}
        }
        if let Some((code, status)) = self.faults.nack.pop_front() {
            self.answer(socket, serial, Some(error(code, status, "on purpose")), now);
            return;
        }
        let conn = self.sockets[&socket].conn.clone();
        let entries = frame["presence"].as_array().cloned().unwrap_or_default();
        self.answer(socket, serial, None, now);
        for (index, mut entry) in entries.into_iter().enumerate() {
            if strict && entry.get("clientId").is_some() {
                self.violation("own presence carries clientId");
            }
            if entry.get("clientId").is_none() {
                entry["clientId"] = json!(client);
            }
            if let Some(fields) = entry.as_object_mut() {
                fields.remove("id");
            }
            let id = if index == 0 {
                format!("{conn}:{serial}")
            } else {
                format!("{conn}:{serial}-{index}")
            };
            self.member_event(name, &conn, &id, &entry, now);
        }
    }

    /// Publishes as somebody who is connected to another server: an RCS. Returns the message's id
    /// as its receivers will derive it.
    pub fn publish(&mut self, name: &str, message: &Value, now: i64) -> (String, Vec<Out>) {
        self.next_id += 1;
        let frame_id = format!("RCSRCSRCSR:{}", self.next_id);
        let id = message["id"]
            .as_str()
            .map_or_else(|| format!("{frame_id}:0"), str::to_owned);
        let mut message = message.clone();
        message["clientId"] = json!("rcs");
        let frame = json!({"action": 15, "id": frame_id, "connectionId": "RCSRCSRCSR", "messages": [message]});
        self.broadcast(name, "RCSRCSRCSR", frame, now);
        (id, self.take_out())
    }

    /// The same with several messages in one array: one frame, one time.
    pub fn publish_all(&mut self, name: &str, messages: &[Value], now: i64) -> Vec<Out> {
        self.next_id += 1;
        let frame = json!({"action": 15, "id": format!("RCSRCSRCSR:{}", self.next_id),
            "connectionId": "RCSRCSRCSR", "messages": messages});
        self.broadcast(name, "RCSRCSRCSR", frame, now);
        self.take_out()
    }
}
