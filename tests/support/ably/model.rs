//! An Ably server without sockets, threads or a clock: frames and the time go in, frames come out.
//!
//! It shares no code with the client. It is stricter than the service: what a client does against
//! the protocol is written down in [`Model::violations`], which tests expect to be empty. The
//! rules that need to know what a client has *received* are checked for the clients named in
//! [`Model::strict`]; for them whoever carries the frames calls [`Model::delivered`].

mod channel;
mod expect;
mod publish;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

pub use channel::Channel;

/// One websocket.
pub type SocketId = u64;

/// What the server does.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    /// Sends a frame.
    Send(SocketId, Value),
    /// Closes the websocket.
    Close(SocketId),
}

/// How the server behaves. Durations in milliseconds.
#[derive(Debug, Clone)]
pub struct Config {
    /// API keys that are good.
    pub keys: Vec<String>,
    /// How long the state of a lost connection is kept.
    pub state_ttl: i64,
    /// How long the server is silent at most.
    pub max_idle: i64,
    /// How long a member stays after its transport is lost.
    pub presence_linger: i64,
    /// How long messages are stored.
    pub retention: i64,
    /// Bytes of a publish.
    pub max_message_size: usize,
    /// Publishes a second, per connection and per channel.
    pub rate: usize,
    /// How many more are let pass, because a network can push together what was sent apart.
    pub rate_slack: usize,
    /// Members in a page of a SYNC.
    pub sync_page: usize,
    /// CONNECTED and ATTACHED carry the time.
    pub stamps: bool,
    /// Whether what is over the rate is refused, beside being written down.
    pub enforce_rate: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: vec!["app.key:secret".to_owned()],
            state_ttl: 120_000,
            max_idle: 15_000,
            presence_linger: 15_000,
            retention: 120_000,
            max_message_size: 65_536,
            rate: 50,
            rate_slack: 0,
            sync_page: 2,
            stamps: true,
            enforce_rate: true,
        }
    }
}

/// Faults that are waiting to happen; each counts down.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Resumes that fail.
    pub refuse_resume: u32,
    /// Continuity that is not given although it could be.
    pub refuse_continuity: u32,
    /// ACKs and NACKs that are not sent.
    pub lose_acks: u32,
    /// ATTACHes that get no answer.
    pub ignore_attach: u32,
    /// Publishes that are refused, with this code and status.
    pub nack: VecDeque<(u32, u16)>,
    /// ATTACHes that are refused with an ERROR of that code.
    pub attach_error: VecDeque<(u32, u16)>,
    /// Connects that are refused with an ERROR of that code.
    pub connect_error: VecDeque<(u32, u16)>,
    /// Messages that are delivered twice.
    pub duplicate: u32,
    /// Rewinds that are refused with an ERROR.
    pub refuse_rewind: u32,
    /// HEARTBEATs with an id that get no answer.
    pub ignore_pings: u32,
}

fn spend(counter: &mut u32) -> bool {
    let some = *counter > 0;
    *counter = counter.saturating_sub(1);
    some
}

#[derive(Debug)]
struct Socket {
    conn: String,
    last_sent: i64,
    /// Last msgSerial on this transport.
    last_serial: Option<u64>,
    /// Channels attached on this transport, with their modes.
    attached: BTreeMap<String, u64>,
    /// The connection was resumed with it.
    resumed: bool,
}

#[derive(Debug)]
struct Conn {
    key: String,
    client: String,
    echo: bool,
    socket: Option<SocketId>,
    lost_at: Option<i64>,
    /// msgSerial → id of what it carried.
    processed: BTreeMap<u64, String>,
    keys_given: u32,
    recent: VecDeque<i64>,
}

/// The server.
pub struct Model {
    /// How it behaves; may be changed at any time.
    pub config: Config,
    /// What goes wrong next.
    pub faults: Faults,
    /// What clients did against the protocol.
    pub violations: Vec<String>,
    /// Clients of which everything is expected.
    pub strict: BTreeSet<String>,
    /// Tokens that are good, and when they end.
    pub tokens: BTreeMap<String, i64>,
    /// Connects of each client, with their times.
    pub connects: Vec<(String, i64)>,
    /// AUTH frames that brought a good token.
    pub auths: u64,
    /// Channels by name.
    pub channels: BTreeMap<String, Channel>,
    sockets: BTreeMap<SocketId, Socket>,
    conns: BTreeMap<String, Conn>,
    next_id: u64,
    expect_resume: BTreeMap<String, String>,
    expect_serial: BTreeMap<(String, String), String>,
    detaching: BTreeSet<(String, String)>,
    attached_once: BTreeSet<(String, String)>,
    out: Vec<Out>,
}

impl Model {
    /// A server that nobody is connected to.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            faults: Faults::default(),
            violations: Vec::new(),
            strict: BTreeSet::new(),
            tokens: BTreeMap::new(),
            connects: Vec::new(),
            auths: 0,
            channels: BTreeMap::new(),
            sockets: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_id: 1,
            expect_resume: BTreeMap::new(),
            expect_serial: BTreeMap::new(),
            detaching: BTreeSet::new(),
            attached_once: BTreeSet::new(),
            out: Vec::new(),
        }
    }

    fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    fn is_strict(&self, client: &str) -> bool {
        self.strict.contains(client)
    }

    fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    fn send(&mut self, socket: SocketId, frame: Value, now: i64) {
        if let Some(open) = self.sockets.get_mut(&socket) {
            open.last_sent = now;
            self.out.push(Out::Send(socket, frame));
        }
    }

    fn close_socket(&mut self, socket: SocketId, now: i64) {
        if self.sockets.contains_key(&socket) {
            self.out.push(Out::Close(socket));
            self.lost(socket, now);
        }
    }

    fn client_of(&self, socket: SocketId) -> String {
        let conn = self.sockets.get(&socket).map(|s| &s.conn);
        conn.and_then(|id| self.conns.get(id))
            .map_or_else(String::new, |conn| conn.client.clone())
    }

    /// Sockets of a client that are open.
    pub fn sockets_of(&self, client: &str) -> Vec<SocketId> {
        self.sockets
            .iter()
            .filter(|(_, s)| self.conns.get(&s.conn).is_some_and(|c| c.client == client))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Whether a client has a channel attached.
    pub fn is_attached(&self, client: &str, channel: &str) -> bool {
        self.sockets_of(client)
            .iter()
            .any(|s| self.sockets[s].attached.contains_key(channel))
    }

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
    fn send_connected(&mut self, socket: SocketId, error: Option<Value>, now: i64) {
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

    /// A websocket is gone.
    pub fn lost(&mut self, socket: SocketId, now: i64) {
        let Some(gone) = self.sockets.remove(&socket) else {
            return;
        };
        if let Some(conn) = self.conns.get_mut(&gone.conn)
            && conn.socket == Some(socket)
        {
            conn.socket = None;
            conn.lost_at = Some(now);
        }
    }

    /// A frame came.
    pub fn frame(&mut self, socket: SocketId, frame: &Value, now: i64) -> Vec<Out> {
        if !self.sockets.contains_key(&socket) {
            return Vec::new();
        }
        let channel = frame["channel"].as_str().unwrap_or_default().to_owned();
        match frame["action"].as_u64() {
            Some(0) => self.on_heartbeat(socket, frame, now),
            Some(5) => self.close_socket(socket, now),
            Some(7) => self.on_close(socket, now),
            Some(10) => self.on_attach(socket, &channel, frame, now),
            Some(12) => self.on_detach(socket, &channel, now),
            Some(14) => self.on_presence(socket, &channel, frame, now),
            Some(15) => self.on_message(socket, &channel, frame, now),
            Some(16) => {}
            Some(17) => self.on_auth(socket, frame, now),
            other => self.violation(format!("a client sent action {other:?}")),
        }
        self.take_out()
    }

    /// A text that is no frame.
    pub fn garbage(&mut self, text: &str) {
        self.violation(format!("a client sent no JSON: {text:.40}"));
    }

    fn on_heartbeat(&mut self, socket: SocketId, frame: &Value, now: i64) {
        match frame.get("id") {
            None => {
                let client = self.client_of(socket);
                // Official clients may answer; ours must not.
                if self.is_strict(&client) {
                    self.violation("HEARTBEAT without an id: an answer to the server's");
                }
            }
            Some(id) => {
                if !spend(&mut self.faults.ignore_pings) {
                    self.send(socket, json!({"action": 0, "id": id}), now);
                }
            }
        }
    }

    fn on_close(&mut self, socket: SocketId, now: i64) {
        self.send(socket, json!({"action": 8}), now);
        let client = self.client_of(socket);
        let id = self.sockets[&socket].conn.clone();
        self.end_conn(&id, false, now);
        self.sockets.remove(&socket);
        self.out.push(Out::Close(socket));
        self.forget_expectations(&client);
    }

    fn on_auth(&mut self, socket: SocketId, frame: &Value, now: i64) {
        let token = frame["auth"]["accessToken"].as_str().unwrap_or_default();
        if self.tokens.get(token).is_some_and(|end| *end > now) {
            self.auths += 1;
            self.send_connected(socket, None, now);
        } else {
            let frame = json!({"action": 9, "error": error(40102, 401, "bad token")});
            self.send(socket, frame, now);
            self.close_socket(socket, now);
        }
    }

    fn end_conn(&mut self, id: &str, synthesised: bool, now: i64) {
        let names: Vec<String> = self.channels.keys().cloned().collect();
        for name in names {
            self.remove_member(&name, id, synthesised, now);
        }
        self.conns.remove(id);
    }

    /// Time passes: heartbeats, members and connections that end.
    pub fn tick(&mut self, now: i64) -> Vec<Out> {
        let idle: Vec<SocketId> = self
            .sockets
            .iter()
            .filter(|(_, s)| now - s.last_sent >= self.config.max_idle)
            .map(|(id, _)| *id)
            .collect();
        for socket in idle {
            self.send(socket, json!({"action": 0}), now);
        }
        let lost = |after: i64| -> Vec<String> {
            self.conns
                .iter()
                .filter(|(_, c)| c.lost_at.is_some_and(|at| now - at >= after))
                .map(|(id, _)| id.clone())
                .collect()
        };
        let (gone, ended) = (
            lost(self.config.presence_linger),
            lost(self.config.state_ttl),
        );
        for id in gone {
            let names: Vec<String> = self.channels.keys().cloned().collect();
            for name in names {
                self.remove_member(&name, &id, true, now);
            }
        }
        for id in ended {
            self.end_conn(&id, true, now);
        }
        self.expire(now);
        self.take_out()
    }

    /// When [`Model::tick`] has something to do.
    pub fn next_tick(&self) -> Option<i64> {
        let idle = self
            .sockets
            .values()
            .map(|s| s.last_sent + self.config.max_idle);
        let lost = self.conns.iter().filter_map(|(id, conn)| {
            let at = conn.lost_at?;
            let member = self.channels.values().any(|c| c.has_member_of(id));
            let after = if member {
                self.config.presence_linger
            } else {
                self.config.state_ttl
            };
            Some(at + after)
        });
        idle.chain(lost).min()
    }

    /// Ends a transport with DISCONNECTED, as the server does before it goes.
    pub fn disconnect(&mut self, socket: SocketId, code: u32, status: u16, now: i64) -> Vec<Out> {
        let frame = json!({"action": 6, "error": error(code, status, "go away")});
        self.send(socket, frame, now);
        self.close_socket(socket, now);
        self.take_out()
    }

    /// Ends a connection with ERROR.
    pub fn fail(&mut self, socket: SocketId, code: u32, status: u16, now: i64) -> Vec<Out> {
        let frame = json!({"action": 9, "error": error(code, status, "fatal")});
        self.send(socket, frame, now);
        let id = self.sockets.get(&socket).map(|s| s.conn.clone());
        self.close_socket(socket, now);
        if let Some(id) = id {
            self.end_conn(&id, true, now);
        }
        self.take_out()
    }

    /// Sends any frame to a socket.
    pub fn inject(&mut self, socket: SocketId, frame: Value, now: i64) -> Vec<Out> {
        self.send(socket, frame, now);
        self.take_out()
    }
}

/// An ErrorInfo.
pub fn error(code: u32, status: u16, message: &str) -> Value {
    json!({"code": code, "statusCode": status, "message": message})
}
