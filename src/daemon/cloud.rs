//! The cloud's line in the daemon: the Ably client, the command door, heartbeats, presence and
//! what health says of them. Decides nothing about commands.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};

use super::cameras::CloudEnd;
use super::metrics::Replaced;
use crate::adapter::command::{CameraEvents, CommandDoor, TaskEvents, heartbeat, is_urgent};
use crate::application::camera::CameraService;
use crate::application::health::HealthBoard;
use crate::application::node::NodeRegistry;
use crate::application::stream::StreamService;
use crate::config::Config;
use crate::domain::gateway::{CloudMessage, NodeSource, TaskObserver, Uplink};
use crate::domain::health::{Part, PartStatus};
use crate::domain::node::{Camera, LssNode};
use crate::infrastructure::ably::client::{AblyClient, AblyEvent, Auth, ClientSettings};
use crate::infrastructure::ably::connection::types::{
    ChannelState, ConnectionState, Status, Timing,
};
use crate::infrastructure::ably::data::Data;
use crate::infrastructure::ably::frame::ErrorInfo;
use crate::infrastructure::ably::handle::AblyHandle;
use crate::infrastructure::ably::helper::TokenSource;
use crate::infrastructure::ably::line::{self, AblyLine, REGISTRY_CHANNEL, commands_channel};
use crate::infrastructure::http::agent::{Timeouts, agent};
use crate::infrastructure::http::names::Names;
use crate::infrastructure::http::tls::TrustStore;
use crate::infrastructure::rcs::RcsUplink;
use crate::util::time::Now;

/// Events of the line that wait for the bridge; when it is full the line holds back reading.
const EVENTS: usize = 256;
/// Commands that wait for the door; the same.
const COMMANDS: usize = 256;
/// Presence waits at most so long for the first registration (contract 13).
const PRESENCE_WAITS: Duration = Duration::from_secs(10);
/// A client that can't be started is tried again after so long.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// A client that has not turned for so long hangs: it never sleeps for more than ten seconds.
const HANGS: Duration = Duration::from_secs(60);
/// When it has changed it is told again, at most this often.
const PRESENCE_AGAIN: Duration = Duration::from_secs(30);
/// How often it looks whether that has come; only until then.
const PRESENCE_LOOKS: Duration = Duration::from_millis(250);

/// The line, before anything hangs on it.
pub struct Line {
    settings: ClientSettings,
    speaker: AblyLine,
    events: Receiver<AblyEvent>,
    /// The way to the command door. The bridge holds it alone: its end is the door's.
    messages: Arc<Sender<CloudMessage>>,
    /// The door's end, until there is one.
    incoming: Option<Receiver<CloudMessage>>,
    replaced: Arc<Replaced>,
    node_id: String,
    failing: Arc<AtomicBool>,
}

/// The line with everything that hangs on it.
pub struct Cloud {
    speaker: AblyLine,
    stop: Sender<()>,
    bridge: JoinHandle<()>,
    commands: JoinHandle<()>,
}

/// What the client is told of the configuration. Opens nothing.
pub(super) fn settings(config: &Config) -> io::Result<ClientSettings> {
    let node_id = config.node.node_id();
    let ably = &config.ably;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
    let auth = match (&ably.auth_url, &ably.api_key) {
        (Some(url), _) => Auth::Url(TokenSource {
            url: url.clone(),
            headers: ably.auth_headers.clone(),
        }),
        (None, Some(key)) => Auth::Key(key.clone()),
        (None, None) => {
            return Err(invalid("neither ably.api_key nor ably.auth_url is set"));
        }
    };
    let roots = TrustStore::new(ably.ca_file.clone())
        .roots()
        .map_err(|why| invalid(&why.to_string()))?;
    let tls = if ably.tls {
        Some(roots.rustls().map_err(|why| invalid(&why.to_string()))?)
    } else {
        None
    };
    // Ten seconds in all: a token source that takes longer has failed (RSA4c).
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        read: Duration::from_secs(5),
    };
    Ok(ClientSettings {
        client_id: ably.client_id.clone(),
        auth,
        endpoint: ably.endpoint.clone(),
        port: ably.port,
        fallback_hosts: ably.fallback_hosts.clone(),
        tls,
        http: agent(timeouts, roots.ureq(), Names::default()),
        connectivity_check_url: ably.connectivity_check_url.clone(),
        commands: commands_channel(&node_id),
        registry: REGISTRY_CHANNEL.to_owned(),
        agent: concat!("lss/", env!("CARGO_PKG_VERSION")).to_owned(),
        urgent: Arc::new(|message| is_urgent(&line::text(message))),
        timing: Timing::default(),
    })
}

impl Line {
    /// Starts to connect.
    pub fn open(config: &Config, replaced: Arc<Replaced>) -> io::Result<Self> {
        let settings = settings(config)?;
        let (handle, events) = connect(&settings)?;
        let (messages, incoming) = bounded(COMMANDS);
        Ok(Self {
            settings,
            speaker: AblyLine::new(handle, &config.node.node_id()),
            events,
            messages: Arc::new(messages),
            incoming: Some(incoming),
            replaced,
            node_id: config.node.node_id(),
            failing: Arc::new(AtomicBool::new(false)),
        })
    }

    /// What speaks on the line.
    pub fn speaker(&self) -> AblyLine {
        self.speaker.clone()
    }

    /// For a look at what waits for the command door.
    pub fn commands(&self) -> Weak<Sender<CloudMessage>> {
        Arc::downgrade(&self.messages)
    }

    /// Tells the line of every change of a task.
    pub fn observer(&self) -> Box<dyn TaskObserver> {
        Box::new(TaskEvents {
            line: Arc::new(self.speaker.clone()),
            node_id: self.node_id.clone(),
        })
    }

    /// Where cameras tell what lss does on its own, and whether one moves for the cloud.
    pub fn camera_events(&self) -> CloudEnd {
        let speaker = self.speaker.clone();
        CloudEnd {
            events: CameraEvents {
                line: Arc::new(self.speaker.clone()),
                node_id: self.node_id.clone(),
            },
            watch: Box::new(move |on| speaker.handle().watch_link(on)),
        }
    }

    /// Whether RCS and this line were both last seen failing.
    pub fn uplink(&self, rcs: Arc<RcsUplink>) -> Arc<dyn Uplink> {
        Arc::new(Both {
            rcs,
            ably: self.failing.clone(),
        })
    }

    /// Hangs the door, the heartbeat and health on it.
    pub fn serve(
        mut self,
        config: &Config,
        streams: StreamService,
        cameras: CameraService,
        node: Arc<NodeRegistry>,
        health: Arc<HealthBoard>,
    ) -> io::Result<Cloud> {
        let incoming = self.incoming.take().unwrap_or_else(never);
        let door = CommandDoor {
            streams,
            cameras: cameras.clone(),
            line: Arc::new(self.speaker.clone()),
            node_id: self.node_id.clone(),
        };
        let commands = door.start(incoming)?;
        let (stop, stopped) = bounded(1);
        let speaker = self.speaker.clone();
        let interval = config.ably.heartbeat_interval;
        let bridge = Bridge {
            line: self,
            cameras,
            node,
            health,
            entered: None,
            told_again: None,
        };
        let bridge = std::thread::Builder::new()
            .name("cloud".to_owned())
            .spawn(move || bridge.run(interval, &stopped))?;
        Ok(Cloud {
            speaker,
            stop,
            bridge,
            commands,
        })
    }
}

impl Cloud {
    /// After the streams have ended: results go out, the last heartbeat says OFFLINE, presence
    /// leaves, the connection is closed. By `deadline`.
    pub fn close(self, deadline: Instant) {
        // The bridge's end ends the door's queue; the door ends when every answer is out.
        let _ = self.stop.try_send(());
        let both = [self.bridge, self.commands];
        while Instant::now() < deadline && both.iter().any(|t| !t.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        if !self.speaker.handle().close(patience) {
            log::warn!(
                "the cloud's line did not close in time; presence leaves by itself within seconds"
            );
        }
    }
}

fn connect(settings: &ClientSettings) -> io::Result<(AblyHandle, Receiver<AblyEvent>)> {
    let (tx, events) = bounded(EVENTS);
    let handle =
        AblyClient::start(settings.clone(), tx).map_err(|why| io::Error::other(why.to_string()))?;
    Ok((handle, events))
}

struct Both {
    rcs: Arc<RcsUplink>,
    ably: Arc<AtomicBool>,
}

impl Uplink for Both {
    fn is_down(&self) -> bool {
        self.rcs.is_down() && self.ably.load(Ordering::Relaxed)
    }
}

/// What of the presence body is worth telling again when it changes.
#[derive(PartialEq)]
struct PresenceFacts {
    max_tasks: usize,
    engine: String,
    node_ip: Option<String>,
    public_ip: Option<String>,
    cameras: Vec<Camera>,
}

impl PresenceFacts {
    fn of(node: &LssNode) -> Self {
        Self {
            max_tasks: node.identity.max_tasks,
            engine: node.system.ffmpeg_version.clone(),
            node_ip: node.node_ip.clone(),
            public_ip: node.public_ip.clone(),
            cameras: as_told(&node.cameras),
        }
    }
}

/// When a camera was last seen changes with every sweep, and is not told.
fn as_told(cameras: &[Camera]) -> Vec<Camera> {
    let undated = |camera: &Camera| Camera {
        last_seen: UNIX_EPOCH,
        ..camera.clone()
    };
    cameras.iter().map(undated).collect()
}

/// The thread `cloud`.
struct Bridge {
    line: Line,
    cameras: CameraService,
    node: Arc<NodeRegistry>,
    health: Arc<HealthBoard>,
    /// What presence says; `None` = not entered yet.
    entered: Option<PresenceFacts>,
    /// When it was last told again.
    told_again: Option<Instant>,
}

impl Bridge {
    fn run(mut self, interval: Duration, stop: &Receiver<()>) {
        let enter_by = Instant::now() + PRESENCE_WAITS;
        let beat = tick(interval);
        self.tell_health();
        loop {
            let looks = match self.entered {
                None => crossbeam_channel::after(PRESENCE_LOOKS),
                Some(_) => crossbeam_channel::never(),
            };
            select! {
                recv(self.line.events) -> event => match event {
                    Ok(event) => self.event(event),
                    Err(_) => self.replace_client("has ended"),
                },
                recv(looks) -> _ => self.presence(Instant::now() >= enter_by),
                recv(beat) -> _ => {
                    if self.line.speaker.handle().last_turn().elapsed() > HANGS {
                        self.replace_client("hangs");
                    }
                    self.heartbeat();
                    if self.entered.is_some() {
                        self.presence(true);
                    }
                }
                recv(stop) -> _ => break,
            }
            self.tell_health();
        }
        self.heartbeat();
    }

    /// The client has ended, and nobody asked it to, or it hangs: a fault of lss. A new one takes
    /// its place. What one that hangs has not delivered can't be had.
    fn replace_client(&mut self, what: &str) {
        self.cameras.link_lost();
        self.line.replaced.ably.fetch_add(1, Ordering::Relaxed);
        log::error!("the cloud's line {what} by a fault of lss and is opened anew");
        self.health.set(
            Part::Ably,
            PartStatus::Down,
            "ended by a fault of lss, opened anew",
            Now::read().wall,
        );
        match connect(&self.line.settings) {
            Ok((handle, events)) => {
                self.line.speaker.replace(handle);
                self.line.events = events;
                self.entered = None;
            }
            Err(why) => {
                log::error!("the cloud's line can't be opened: {why}");
                // Tried again at the next turn that finds the old channel closed.
                std::thread::sleep(OPEN_AGAIN);
            }
        }
    }

    fn event(&mut self, event: AblyEvent) {
        match event {
            AblyEvent::Message(delivery) => {
                // Whoever sends can stop too.
                self.cameras.link_back();
                // Waits for a place: the line holds back reading meanwhile. The door waits for
                // nothing but its own queues.
                let _ = self.line.messages.send(line::message(&delivery));
            }
            AblyEvent::ContinuityLost { rewinding } => {
                log::warn!(rewinding = rewinding; "commands may have been lost while the line was down; what the service still holds is fetched");
            }
            AblyEvent::Refused {
                channel, why, kept, ..
            } => {
                log::error!(channel = channel.as_str(); "the cloud's line refused a message: {why}");
                if let Some(result) = kept {
                    self.line.speaker.too_large(*result, &why);
                }
            }
            AblyEvent::ClonedMachineId(true) => {
                log::error!(node = self.line.node_id.as_str(); "another device uses this machine id (a cloned image?): give each its own lss.node.machine_id");
            }
            AblyEvent::ClonedMachineId(false) => {
                log::info!("the other device with this machine id is gone");
            }
            // The client logs its own changes; health is told after every event.
            AblyEvent::Connection(_) => {
                if self.line.speaker.handle().status().connection.state
                    == ConnectionState::Connected
                {
                    self.cameras.link_back();
                }
            }
            AblyEvent::LinkLost => self.cameras.link_lost(),
            AblyEvent::Channel(..) | AblyEvent::PresenceRefused(_) | AblyEvent::Ended => {}
        }
    }

    fn heartbeat(&self) {
        let now = Now::read();
        let node = self.node.node(now);
        let mut json = heartbeat::heartbeat(&node, true, now);
        if json.len() > self.room() {
            json = heartbeat::heartbeat(&node, false, now);
        }
        self.line.speaker.heartbeat(&json);
    }

    /// Enters presence once RCS knows us (or `anyway`), and tells it again when it has changed.
    fn presence(&mut self, anyway: bool) {
        let node = self.node.node(Now::read());
        if node.registered_at.is_none() && !anyway {
            return;
        }
        let told = PresenceFacts::of(&node);
        if self.entered.as_ref() == Some(&told) {
            return;
        }
        if self.entered.is_some() {
            let just_now = |at: Instant| at.elapsed() < PRESENCE_AGAIN;
            if self.told_again.is_some_and(just_now) {
                return;
            }
            self.told_again = Some(Instant::now());
        }
        let mut json = heartbeat::presence(&node, true);
        if json.len() > self.room() {
            json = heartbeat::presence(&node, false);
        }
        if let Ok(value) = serde_json::from_str(&json) {
            self.line.speaker.handle().set_presence(Data::Json(value));
        }
        self.entered = Some(told);
    }

    /// Bytes of a payload, with some left for the rest of the message.
    fn room(&self) -> usize {
        self.line.speaker.max_size().saturating_sub(256)
    }

    fn tell_health(&self) {
        let machine = &self.line.speaker.handle().status();
        let failing = matches!(
            machine.connection.state,
            ConnectionState::Disconnected | ConnectionState::Suspended | ConnectionState::Failed
        );
        self.line.failing.store(failing, Ordering::Relaxed);
        let up = machine.connection.state == ConnectionState::Connected
            && machine.commands.state == ChannelState::Attached
            && !machine.cloned;
        let part = if up { PartStatus::Up } else { PartStatus::Down };
        let words = in_words(machine);
        self.health.set(Part::Ably, part, &words, Now::read().wall);
    }
}

/// States, why, and how much waits: what an operator wants to know of the line.
fn in_words(machine: &Status) -> String {
    let why = |reason: &Option<ErrorInfo>| match reason {
        Some(why) => format!(" ({why})"),
        None => String::new(),
    };
    format!(
        "{}connection {}{}, command channel {}{}, registry {}{}; retries {}, results waiting {}, messages waiting {}, continuity lost {}",
        if machine.cloned {
            "another device uses this machine id; "
        } else {
            ""
        },
        machine.connection.state.name(),
        why(&machine.connection.reason),
        machine.commands.state.name(),
        why(&machine.commands.reason),
        machine.registry.state.name(),
        if machine.present { " (present)" } else { "" },
        machine.retries,
        machine.results_waiting,
        machine.publishes_waiting,
        machine.continuity_lost,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn that_a_camera_was_seen_again_is_no_news_and_that_it_is_gone_is() {
        let told = |online, last_seen: SystemTime| PresenceFacts {
            max_tasks: 4,
            engine: String::new(),
            node_ip: None,
            public_ip: None,
            cameras: as_told(&[Camera {
                ip: "192.168.0.64".to_owned(),
                port: 554,
                onvif: true,
                rtsp_url: String::new(),
                vendor: Some("HIKVISION".to_owned()),
                model: String::new(),
                online,
                last_seen,
            }]),
        };
        let later = UNIX_EPOCH + Duration::from_secs(60);
        assert!(told(true, UNIX_EPOCH) == told(true, later));
        assert!(told(true, UNIX_EPOCH) != told(false, UNIX_EPOCH));
    }
}
