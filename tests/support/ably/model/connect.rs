//! Connects: credentials, resume, CONNECTED.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::{Conn, Model, Out, Socket, SocketId, error, spend};

impl Model {
    /// A websocket was opened with these query parameters.
    pub fn connect(&mut self, socket: SocketId, query: &[(String, String)], now: i64) -> Vec<Out> {
        let get = |name: &str| {
            let found = query.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let client = get("clientId").unwrap_or_default();
        self.connects.push((client.clone(), now));
        let strict = self.is_strict(&client);
        let version = get("v").or_else(|| get("V")).unwrap_or_default();
        if version.parse::<u32>().unwrap_or(0) < 2 {
            self.violation(format!("connect with protocol version '{version}'"));
        }
        if client == "*" {
            self.violation("clientId is *");
        }
        if strict {
            for (name, value) in [
                ("format", "json"),
                ("heartbeats", "true"),
                ("echo", "false"),
            ] {
                if get(name).as_deref() != Some(value) {
                    self.violation(format!("connect without {name}={value}"));
                }
            }
            if get("agent").is_none() {
                self.violation("connect without agent");
            }
            let expected = self.expect_resume.get(&client).cloned();
            if get("resume") != expected {
                self.violation("resume is not the key of the newest CONNECTED");
            }
        }
        // Refusals come after the upgrade, as a frame.
        self.sockets.insert(
            socket,
            Socket {
                conn: String::new(),
                last_sent: now,
                last_serial: None,
                attached: BTreeMap::new(),
                resumed: false,
            },
        );
        if let Some((code, status)) = self.faults.connect_error.pop_front() {
            return self.refuse(socket, code, status, now);
        }
        let known = get("key").is_some_and(|key| self.config.keys.contains(&key));
        if !known {
            let token = get("accessToken").or_else(|| get("access_token"));
            match token.and_then(|token| self.tokens.get(&token).copied()) {
                Some(end) if end > now => {}
                Some(_) => return self.refuse(socket, 40142, 401, now),
                None if get("key").is_some() => {
                    return self.refuse(socket, 40101, 401, now);
                }
                None => return self.refuse(socket, 40143, 401, now),
            }
        }
        let wanted = get("resume");
        let kept = wanted.as_ref().and_then(|key| {
            let id = key.split('!').next()?;
            let conn = self.conns.get(id)?;
            let alive = conn
                .lost_at
                .is_none_or(|at| now - at < self.config.state_ttl);
            (alive && conn.key == *key && conn.client == client).then(|| id.to_owned())
        });
        let refused = kept.is_some() && spend(&mut self.faults.refuse_resume);
        let resumed = kept.filter(|_| !refused);
        let failed = wanted.is_some() && resumed.is_none();
        let echo = get("echo").as_deref() != Some("false");
        let id = resumed
            .clone()
            .unwrap_or_else(|| self.new_conn(&client, echo));
        self.bind(socket, &id, resumed.is_some(), now);
        let error = failed.then(|| error(80008, 400, "Unable to recover connection"));
        self.send_connected(socket, error, now);
        self.take_out()
    }

    fn refuse(&mut self, socket: SocketId, code: u32, status: u16, now: i64) -> Vec<Out> {
        let frame = json!({"action": 9, "error": error(code, status, "refused")});
        self.send(socket, frame, now);
        self.sockets.remove(&socket);
        self.out.push(Out::Close(socket));
        self.take_out()
    }

    fn new_conn(&mut self, client: &str, echo: bool) -> String {
        let id = format!("conn{:06}", self.next_id);
        self.next_id += 1;
        self.conns.insert(
            id.clone(),
            Conn {
                key: String::new(),
                client: client.to_owned(),
                echo,
                socket: None,
                lost_at: None,
                processed: BTreeMap::new(),
                keys_given: 0,
                recent: VecDeque::new(),
            },
        );
        id
    }

    fn bind(&mut self, socket: SocketId, id: &str, resumed: bool, now: i64) {
        let old = self.conns.get(id).and_then(|conn| conn.socket);
        if let Some(old) = old {
            self.close_socket(old, now);
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.socket = Some(socket);
            conn.lost_at = None;
        }
        if let Some(open) = self.sockets.get_mut(&socket) {
            id.clone_into(&mut open.conn);
            open.resumed = resumed;
        }
    }

    /// CONNECTED, with a new key each time.
    pub(super) fn send_connected(&mut self, socket: SocketId, error: Option<Value>, now: i64) {
        let id = self.sockets[&socket].conn.clone();
        let config = self.config.clone();
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.keys_given += 1;
        conn.key = format!("{id}!k{}", conn.keys_given);
        let mut frame = json!({
            "action": 4, "connectionId": id,
            "connectionDetails": {
                "connectionKey": conn.key, "maxMessageSize": config.max_message_size,
                "maxFrameSize": 524_288, "maxInboundRate": config.rate, "maxOutboundRate": 50,
                "connectionStateTtl": config.state_ttl, "maxIdleInterval": config.max_idle,
                "serverId": "model"
            }
        });
        if !conn.client.is_empty() {
            frame["connectionDetails"]["clientId"] = json!(conn.client);
        }
        if let Some(error) = error {
            frame["error"] = error;
        }
        if config.stamps {
            frame["timestamp"] = json!(now);
        }
        self.send(socket, frame, now);
    }
}
