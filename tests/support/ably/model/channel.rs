//! Channels of the model: attach, positions, stored messages, members.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::{Model, SocketId, error, spend};

/// ATTACHED: a SYNC follows.
pub const HAS_PRESENCE: u64 = 1;
/// ATTACHED: stored messages follow.
pub const HAS_BACKLOG: u64 = 2;
/// ATTACHED: nothing was lost.
pub const RESUMED: u64 = 4;
/// Modes that a client without modes gets.
pub const ATTACHED_FLAGS: u64 = PRESENCE | PUBLISH | SUBSCRIBE | PRESENCE_SUBSCRIBE;
const PRESENCE: u64 = 1 << 16;
const PUBLISH: u64 = 1 << 17;
const SUBSCRIBE: u64 = 1 << 18;
const PRESENCE_SUBSCRIBE: u64 = 1 << 19;

/// Something that happened on a channel.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Position.
    pub position: u64,
    /// When.
    pub at: i64,
    /// Connection it came from.
    pub conn: String,
    /// The frame, with its position in it.
    pub frame: Value,
}

impl Stored {
    fn is_message(&self) -> bool {
        self.frame["action"] == 15
    }
}

/// One member of a presence set.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its entry, as in a SYNC.
    pub entry: Value,
}

/// A channel.
#[derive(Debug, Default)]
pub struct Channel {
    /// Position of the newest event.
    head: u64,
    /// Events at or below this position are forgotten.
    forgotten: u64,
    stored: VecDeque<Stored>,
    /// Members by connection and client.
    pub members: BTreeMap<(String, String), Member>,
    pub(super) ids: BTreeSet<String>,
    pub(super) recent: VecDeque<i64>,
    /// Everything that was ever published: id and data.
    pub log: Vec<(String, Value)>,
    /// Publishes that were recognised as doubles.
    pub doubles: u64,
    syncs: u64,
}

impl Channel {
    pub(super) fn has_member_of(&self, conn: &str) -> bool {
        self.members.keys().any(|(owner, _)| owner == conn)
    }

    /// Client ids of the members.
    pub fn member_clients(&self) -> Vec<String> {
        self.members
            .keys()
            .map(|(_, client)| client.clone())
            .collect()
    }
}

fn serial(channel: &str, position: u64) -> String {
    format!("s{}@{position}", channel.len())
}

fn position(channel: &str, text: &str) -> Option<u64> {
    let rest = text.strip_prefix(&format!("s{}@", channel.len()))?;
    rest.parse().ok()
}

impl Model {
    fn channel(&mut self, name: &str) -> &mut Channel {
        self.channels.entry(name.to_owned()).or_default()
    }

    pub(super) fn expire(&mut self, now: i64) {
        let retention = self.config.retention;
        for channel in self.channels.values_mut() {
            while let Some(oldest) = channel.stored.front()
                && now - oldest.at >= retention
            {
                channel.forgotten = oldest.position;
                channel.stored.pop_front();
            }
        }
    }

    pub(super) fn on_attach(&mut self, socket: SocketId, name: &str, frame: &Value, now: i64) {
        self.expire(now);
        let client = self.client_of(socket);
        let given = frame["channelSerial"].as_str().map(str::to_owned);
        let rewind = frame["params"]["rewind"].as_str().map(str::to_owned);
        if self.is_strict(&client) {
            self.check_attach(&client, name, given.as_deref(), rewind.as_deref());
        }
        if name.is_empty() || name.starts_with([':']) {
            let frame = json!({"action": 9, "channel": name, "error": error(40010, 400, "name")});
            self.send(socket, frame, now);
            return;
        }
        if spend(&mut self.faults.ignore_attach) {
            return;
        }
        let refused = match rewind {
            Some(_) => spend(&mut self.faults.refuse_rewind).then_some((40160, 401)),
            None => self.faults.attach_error.pop_front(),
        };
        if let Some((code, status)) = refused {
            self.detach_socket(socket, name, now);
            let frame =
                json!({"action": 9, "channel": name, "error": error(code, status, "refused")});
            self.send(socket, frame, now);
            return;
        }
        let again = self.sockets[&socket].attached.contains_key(name);
        let modes = frame["flags"].as_u64().unwrap_or(0) & ATTACHED_FLAGS;
        let modes = if modes == 0 { ATTACHED_FLAGS } else { modes };
        if let Some(open) = self.sockets.get_mut(&socket) {
            open.attached.insert(name.to_owned(), modes);
        }
        let refuse = given.is_some() && spend(&mut self.faults.refuse_continuity);
        let channel = self.channel(name);
        let head = channel.head;
        let from = given.as_deref().and_then(|text| position(name, text));
        let kept = from.filter(|from| *from >= channel.forgotten && *from <= head && !refuse);
        let mut flags = modes;
        let mut fault = None;
        let start = match (&given, kept, &rewind) {
            (Some(_), Some(from), _) => {
                flags |= RESUMED;
                from
            }
            (Some(_), None, _) => {
                fault = Some(error(90003, 404, "continuity lost"));
                head
            }
            // Attached already: nothing is rewound.
            (None, _, _) if again => {
                flags |= RESUMED;
                head
            }
            (None, _, Some(_)) => {
                let messages = channel.stored.iter().filter(|s| s.is_message());
                let oldest = messages.rev().take(100).last();
                oldest.map_or(head, |stored| stored.position - 1)
            }
            (None, _, None) => head,
        };
        let replay: Vec<Stored> = channel
            .stored
            .iter()
            .filter(|s| s.position > start)
            .cloned()
            .collect();
        // A rewind is of messages only.
        let rewinding = given.is_none() && rewind.is_some();
        let replay: Vec<Value> = replay
            .into_iter()
            .filter(|s| !rewinding || s.is_message())
            .filter_map(|s| self.for_socket(socket, name, &s))
            .collect();
        if !replay.is_empty() {
            flags |= HAS_BACKLOG;
        }
        let members = !self.channel(name).members.is_empty();
        let sees = modes & PRESENCE_SUBSCRIBE != 0;
        if members {
            flags |= HAS_PRESENCE;
        }
        let mut attached = json!({"action": 11, "channel": name, "flags": flags,
            "channelSerial": serial(name, start)});
        if let Some(fault) = fault {
            attached["error"] = fault;
        }
        if let Some(rewind) = rewind {
            attached["params"] = json!({"rewind": rewind});
        }
        if self.config.stamps {
            attached["timestamp"] = json!(now);
        }
        self.send(socket, attached, now);
        if members && sees {
            self.send_sync(socket, name, now);
        }
        for frame in replay {
            self.send(socket, frame, now);
        }
    }

    pub(super) fn on_detach(&mut self, socket: SocketId, name: &str, now: i64) {
        let client = self.client_of(socket);
        self.detaching.insert((client, name.to_owned()));
        self.detach_socket(socket, name, now);
        self.send(socket, json!({"action": 13, "channel": name}), now);
    }

    fn detach_socket(&mut self, socket: SocketId, name: &str, now: i64) {
        let conn = self.sockets[&socket].conn.clone();
        if let Some(open) = self.sockets.get_mut(&socket) {
            open.attached.remove(name);
        }
        self.remove_member(name, &conn, false, now);
    }

    /// Detaches a client's channel from the server's side.
    pub fn detach(&mut self, socket: SocketId, name: &str, code: u32, now: i64) -> Vec<super::Out> {
        if self.sockets.contains_key(&socket) {
            self.detach_socket(socket, name, now);
            let frame = json!({"action": 13, "channel": name, "error": error(code, 400, "gone")});
            self.send(socket, frame, now);
        }
        self.take_out()
    }

    /// The frame of something stored, as that socket may see it.
    fn for_socket(&self, socket: SocketId, name: &str, stored: &Stored) -> Option<Value> {
        let open = self.sockets.get(&socket)?;
        let modes = *open.attached.get(name)?;
        let own = open.conn == stored.conn;
        let conn = self.conns.get(&open.conn)?;
        let sees = if stored.is_message() {
            modes & SUBSCRIBE != 0 && (conn.echo || !own)
        } else {
            // One's own presence events come in any case (RTP17a).
            own || modes & PRESENCE_SUBSCRIBE != 0
        };
        sees.then(|| stored.frame.clone())
    }

    /// Stores an event and sends it to everyone who is to see it.
    pub(super) fn broadcast(&mut self, name: &str, conn: &str, mut frame: Value, now: i64) {
        let channel = self.channel(name);
        channel.head += 1;
        let position = channel.head;
        frame["channel"] = json!(name);
        frame["channelSerial"] = json!(serial(name, position));
        frame["timestamp"] = json!(now);
        let stored = Stored {
            position,
            at: now,
            conn: conn.to_owned(),
            frame,
        };
        channel.stored.push_back(stored.clone());
        let twice = stored.is_message() && spend(&mut self.faults.duplicate);
        let sockets: Vec<SocketId> = self.sockets.keys().copied().collect();
        for socket in sockets {
            if let Some(frame) = self.for_socket(socket, name, &stored) {
                if twice {
                    self.send(socket, frame.clone(), now);
                }
                self.send(socket, frame, now);
            }
        }
    }

    fn send_sync(&mut self, socket: SocketId, name: &str, now: i64) {
        let page = self.config.sync_page.max(1);
        let channel = self.channel(name);
        channel.syncs += 1;
        let sequence = channel.syncs;
        let entries: Vec<Value> = channel.members.values().map(|m| m.entry.clone()).collect();
        let pages: Vec<&[Value]> = entries.chunks(page).collect();
        let count = pages.len();
        let frames: Vec<Value> = pages
            .iter()
            .enumerate()
            .map(|(index, page)| {
                let last = index + 1 == count;
                let cursor = if last {
                    String::new()
                } else {
                    format!("c{index}")
                };
                json!({"action": 16, "channel": name,
                    "channelSerial": format!("sync{sequence}:{cursor}"), "presence": page})
            })
            .collect();
        for frame in frames {
            self.send(socket, frame, now);
        }
    }

    pub(super) fn member_event(
        &mut self,
        name: &str,
        conn: &str,
        frame_id: &str,
        entry: &Value,
        now: i64,
    ) {
        let client = entry["clientId"].as_str().unwrap_or_default().to_owned();
        let key = (conn.to_owned(), client);
        let channel = self.channel(name);
        let mut entry = entry.clone();
        let leaves = entry["action"] == 3;
        if leaves {
            match channel.members.remove(&key) {
                // No effect: not a member (RTP10d).
                None => return,
                Some(member) if entry.get("data").is_none() => {
                    for field in ["data", "encoding"] {
                        if let Some(value) = member.entry.get(field) {
                            entry[field] = value.clone();
                        }
                    }
                }
                Some(_) => {}
            }
        } else {
            let mut present = entry.clone();
            present["action"] = json!(1);
            present["connectionId"] = json!(conn);
            present["id"] = json!(format!("{frame_id}:0"));
            present["timestamp"] = json!(now);
            channel.members.insert(key, Member { entry: present });
        }
        let frame =
            json!({"action": 14, "id": frame_id, "connectionId": conn, "presence": [entry]});
        self.broadcast(name, conn, frame, now);
    }

    /// A member whose connection or attachment has ended. Synthesised: its id does not begin with
    /// its connection's (RTP2b1).
    pub(super) fn remove_member(&mut self, name: &str, conn: &str, synthesised: bool, now: i64) {
        let clients: Vec<String> = self
            .channel(name)
            .members
            .keys()
            .filter(|(owner, _)| owner == conn)
            .map(|(_, client)| client.clone())
            .collect();
        for client in clients {
            self.next_id += 1;
            let id = if synthesised {
                format!("server:{}:0", self.next_id)
            } else {
                format!("{conn}:9{}", self.next_id)
            };
            let entry = json!({"action": 3, "clientId": client});
            self.member_event(name, conn, &id, &entry, now);
        }
    }

    /// Puts a stranger into a presence set, as another connection would.
    pub fn stranger(
        &mut self,
        name: &str,
        conn: &str,
        client: &str,
        enters: bool,
        now: i64,
    ) -> Vec<super::Out> {
        self.next_id += 1;
        let id = format!("{conn}:{}", self.next_id);
        let action = if enters { 2 } else { 3 };
        let entry = json!({"action": action, "clientId": client, "data": "{}"});
        self.member_event(name, conn, &id, &entry, now);
        self.take_out()
    }
}
