//! The thread `ably`: a socket, the machine, and what goes in and out between them.
//!
//! It waits in poll(2) alone, for the socket, the doorbell or the next deadline, so a publish
//! never waits for a read, nor a close for a connect. Nobody's code runs on it but the `urgent`
//! predicate. If nobody takes its events it stops reading the socket until somebody does, so what
//! it holds is bounded by one turn's worth; timers and publishes go on meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::ClientConfig;

use super::connection::Machine;
use super::connection::types::{
    ChannelState, ConnectionState, Credentials, Delivery, Input, Output, Publish, Refusal,
    Settings, StateChange, Timing, TransportId, Urgent,
};
use super::doorbell::Doorbell;
use super::endpoint::Hosts;
use super::frame::{ErrorInfo, ProtocolMessage};
use super::handle::{AblyHandle, HandleShared};
use super::helper::{Answer, Helpers, TokenSource};
use super::report::report;
use super::transport::{Event, Transport};
use crate::util::secret::Secret;
use crate::util::time::Now;
use crate::util::url::is_loopback_host;

/// The thread shows that it lives at least this often.
const MAX_SLEEP: Duration = Duration::from_secs(10);
/// While nobody takes its events, they are offered again after this long.
const OFFER_AGAIN: Duration = Duration::from_millis(10);
/// After this long it is said that nobody takes them.
const STUCK: Duration = Duration::from_secs(10);

/// How the client logs in.
#[derive(Debug, Clone)]
pub enum Auth {
    /// An API key: `appId.keyId:keySecret`.
    Key(Secret),
    /// Tokens from elsewhere.
    Url(TokenSource),
}

/// What the client is told once.
#[derive(Clone)]
pub struct ClientSettings {
    /// Our identity.
    pub client_id: String,
    /// How we log in.
    pub auth: Auth,
    /// A routing name or a host (REC1).
    pub endpoint: String,
    /// Of the service.
    pub port: u16,
    /// Fallback hosts; `None` = those of the endpoint.
    pub fallback_hosts: Option<Vec<String>>,
    /// Roots and versions for the websocket; `None` = no TLS, to loopback only.
    pub tls: Option<Arc<ClientConfig>>,
    /// For tokens, the connectivity check and the server's time. Must trust the same roots.
    pub http: ureq::Agent,
    /// Answers with `yes` where there is an internet (REC3).
    pub connectivity_check_url: String,
    /// The channel whose messages are delivered.
    pub commands: String,
    /// The channel whose presence we enter.
    pub registry: String,
    /// `name/version`, told to the service.
    pub agent: String,
    /// Which messages pass while others are held; see
    /// [`StreamPlace::held`](crate::domain::gateway::StreamPlace::held).
    pub urgent: Urgent,
    /// Durations; [`Timing::default`] but for tests.
    pub timing: Timing,
}

/// Why a client can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Credentials would travel in the clear (RSA1).
    #[error("without TLS the Ably endpoint must be a loopback address, and '{0}' is none")]
    NotLoopback(String),
    /// The system has no thread or descriptor left.
    #[error("the Ably client can't start: {0}")]
    System(#[from] io::Error),
}

/// What the daemon hears of the client. Bounded by the channel it gives: when that is full, the
/// client stops reading until it is not.
#[derive(Debug)]
pub enum AblyEvent {
    /// A message of the command channel, once.
    Message(Box<Delivery>),
    /// The connection changed its state.
    Connection(StateChange<ConnectionState>),
    /// A channel changed its state.
    Channel(String, StateChange<ChannelState>),
    /// Commands may have been lost: what is current should be announced again.
    ContinuityLost {
        /// Whether stored commands are being fetched.
        rewinding: bool,
    },
    /// A publish is given up.
    Refused {
        id: String,
        channel: String,
        why: Refusal,
        /// A kept one that was too large, with its place: an error may go in its stead.
        kept: Option<Box<Publish>>,
    },
    /// Our presence was refused; it is tried again.
    PresenceRefused(ErrorInfo),
    /// The watched link is gone.
    LinkLost,
    /// Somebody else uses our client id (`true`), or no longer does.
    ClonedMachineId(bool),
    /// The client is closed; nothing follows.
    Ended,
}

/// Starts clients.
pub struct AblyClient;

impl AblyClient {
    /// Starts the thread `ably`. It connects at once, and for ever.
    pub fn start(
        settings: ClientSettings,
        events: Sender<AblyEvent>,
    ) -> Result<AblyHandle, StartError> {
        let hosts = Hosts::of(&settings.endpoint, settings.fallback_hosts.as_deref());
        if settings.tls.is_none() {
            let all = std::iter::once(&hosts.primary).chain(&hosts.fallbacks);
            if let Some(host) = all.into_iter().find(|host| !is_loopback_host(host)) {
                return Err(StartError::NotLoopback(host.clone()));
            }
        }
        let bell = Arc::new(Doorbell::new()?);
        let (helpers, answers) = Helpers::new(
            settings.http.clone(),
            settings.tls.is_some(),
            settings.port,
            settings.timing.request,
            Arc::clone(&bell),
        );
        let machine = Machine::new(machine_settings(&settings, hosts), Now::read());
        let ledger = Arc::clone(machine.ledger());
        let shared = Arc::new(HandleShared::new(bell, ledger, machine.status()));
        let runner = Runner {
            settings,
            machine,
            helpers,
            answers,
            transport: None,
            events,
            offered: VecDeque::new(),
            refused_since: None,
            stuck_told: false,
            later: VecDeque::new(),
            unreadable: 0,
            dirty: true,
            ended: false,
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new()
            .name("ably".to_owned())
            .spawn(move || runner.run())?;
        Ok(AblyHandle::new(shared, thread))
    }
}

fn machine_settings(settings: &ClientSettings, hosts: Hosts) -> Settings {
    Settings {
        client_id: settings.client_id.clone(),
        credentials: match &settings.auth {
            Auth::Key(key) => Credentials::Key(key.clone()),
            Auth::Url(_) => Credentials::Tokens,
        },
        hosts,
        commands: settings.commands.clone(),
        registry: settings.registry.clone(),
        agent: settings.agent.clone(),
        urgent: Arc::clone(&settings.urgent),
        timing: settings.timing.clone(),
        seed: fastrand::u64(..),
    }
}

/// Says that the thread is over, however it ends.
struct Over(Arc<HandleShared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.ended();
    }
}

struct Runner {
    settings: ClientSettings,
    machine: Machine,
    helpers: Helpers,
    answers: Receiver<Answer>,
    transport: Option<Transport>,
    events: Sender<AblyEvent>,
    /// Events that nobody has taken yet.
    offered: VecDeque<AblyEvent>,
    refused_since: Option<Instant>,
    stuck_told: bool,
    /// What the machine is to hear once it has said everything.
    later: VecDeque<Input>,
    /// Frames of this transport that could not be read.
    unreadable: u64,
    /// Something happened since the status was last written.
    dirty: bool,
    ended: bool,
    shared: Arc<HandleShared>,
}

impl Runner {
    fn run(mut self) {
        let _over = Over(Arc::clone(&self.shared));
        self.feed(Input::Connect);
        loop {
            if self.take_inbox() {
                return;
            }
            self.take_answers();
            self.drive();
            self.meet_deadline();
            // What that gave to send.
            self.drive();
            self.offer();
            let status = std::mem::take(&mut self.dirty).then(|| self.machine.status());
            self.shared.turned(status);
            if self.ended && self.offered.is_empty() {
                return;
            }
            self.wait();
        }
    }

    fn feed(&mut self, input: Input) {
        self.dirty = true;
        self.later.push_back(input);
        while let Some(input) = self.later.pop_front() {
            for output in self.machine.handle(input, Now::read()) {
                self.act(output);
            }
        }
    }

    /// Returns whether to end at once.
    fn take_inbox(&mut self) -> bool {
        let inbox = self.shared.take();
        if inbox.abort {
            if let Some(mut transport) = self.transport.take() {
                transport.close();
            }
            return true;
        }
        for publish in inbox.publishes {
            self.feed(Input::Publish(publish));
        }
        if let Some(data) = inbox.presence {
            self.feed(Input::PresenceData(data));
        }
        if let Some(on) = inbox.watch {
            self.feed(Input::WatchLink(on));
        }
        if inbox.close {
            self.feed(Input::Close);
        }
        false
    }

    fn take_answers(&mut self) {
        while let Ok(answer) = self.answers.try_recv() {
            match answer {
                Answer::Machine(input) => self.feed(input),
                Answer::Resolved(id, addresses) => {
                    let event = match &mut self.transport {
                        Some(transport) if transport.id == id => {
                            transport.resolved(addresses, Instant::now())
                        }
                        _ => None,
                    };
                    self.on_events(id, event);
                }
            }
        }
    }

    /// Whether frames may be read: not while nobody takes what came of the last ones.
    fn listens(&self) -> bool {
        self.offered.is_empty()
    }

    fn drive(&mut self) {
        let listen = self.listens();
        if !listen {
            self.machine.not_listening(Now::read());
        }
        if let Some(transport) = &mut self.transport {
            let id = transport.id;
            let events = transport.drive(listen, Instant::now());
            self.on_events(id, events);
        }
    }

    fn on_events(&mut self, id: TransportId, events: impl IntoIterator<Item = Event>) {
        for event in events {
            // What one event led to may have been the end of this transport.
            if self.transport.as_ref().is_none_or(|t| t.id != id) {
                return;
            }
            match event {
                Event::Opened => self.feed(Input::Opened(id)),
                Event::Activity => self.feed(Input::Activity(id)),
                Event::Text(text) => match ProtocolMessage::parse(&text) {
                    Ok(frame) => {
                        if frame.defects > 0 {
                            self.note_unreadable("parts of it have the wrong type");
                        }
                        self.feed(Input::Frame(id, Box::new(frame)));
                    }
                    Err(error) => {
                        self.note_unreadable(&error.to_string());
                        self.feed(Input::Activity(id));
                    }
                },
                Event::Unreadable(why) => {
                    self.note_unreadable(why);
                    self.feed(Input::Activity(id));
                }
                Event::Lost(fault) => {
                    self.transport = None;
                    self.feed(Input::Lost(id, fault));
                    return;
                }
            }
        }
    }

    /// Once a transport: a service that talks nonsense must not fill the log.
    fn note_unreadable(&mut self, why: &str) {
        self.unreadable += 1;
        if self.unreadable == 1 {
            log::warn!(reason = why; "Ably sent a frame that can't be read; further ones are not told");
        }
    }

    fn meet_deadline(&mut self) {
        let due = self.machine.next_deadline();
        if due.is_some_and(|at| at <= Instant::now()) {
            self.feed(Input::Timeout);
        }
    }

    fn act(&mut self, output: Output) {
        report(&output, &self.machine);
        match output {
            Output::OpenTransport {
                transport,
                host,
                path,
            } => {
                self.unreadable = 0;
                self.helpers.resolve(transport, &host);
                let tls = self.settings.tls.clone();
                let port = self.settings.port;
                self.transport = Some(Transport::new(transport, host, port, path, tls));
            }
            Output::Send(id, frame) => {
                let open = self.transport.as_mut().filter(|t| t.id == id);
                let event = open.and_then(|transport| transport.send(frame.to_text()));
                if let Some(Event::Lost(fault)) = event {
                    self.transport = None;
                    // Not from within what the machine has just put out.
                    self.later.push_back(Input::Lost(id, fault));
                }
            }
            Output::CloseTransport(id) => {
                if self.transport.as_ref().is_some_and(|t| t.id == id)
                    && let Some(mut transport) = self.transport.take()
                {
                    transport.close();
                }
            }
            Output::CheckConnectivity(id) => {
                let url = &self.settings.connectivity_check_url;
                self.helpers.connectivity(id, url);
            }
            Output::FetchToken(id, host) => {
                if let Auth::Url(source) = &self.settings.auth {
                    let client_id = &self.settings.client_id;
                    self.helpers.token(id, source, client_id, &host);
                }
            }
            Output::FetchTime(id, host) => self.helpers.time(id, &host),
            Output::Acked(_) | Output::PingAnswered(_) | Output::PingLost | Output::Note(_) => {}
            Output::Deliver(delivery) => self.tell(AblyEvent::Message(delivery)),
            Output::Connection(change) => self.tell(AblyEvent::Connection(change)),
            Output::Channel(name, change) => self.tell(AblyEvent::Channel(name, change)),
            Output::ContinuityLost { rewinding, .. } => {
                self.tell(AblyEvent::ContinuityLost { rewinding });
            }
            Output::Refused {
                id,
                channel,
                why,
                kept,
            } => self.tell(AblyEvent::Refused {
                id,
                channel,
                why,
                kept,
            }),
            Output::PresenceRefused(error) => self.tell(AblyEvent::PresenceRefused(error)),
            Output::LinkLost => self.tell(AblyEvent::LinkLost),
            Output::ClonedMachineId(cloned) => self.tell(AblyEvent::ClonedMachineId(cloned)),
            Output::Ended => {
                self.ended = true;
                self.tell(AblyEvent::Ended);
            }
        }
    }

    fn tell(&mut self, event: AblyEvent) {
        self.offered.push_back(event);
    }

    /// Hands events over, as far as they are taken.
    fn offer(&mut self) {
        while let Some(event) = self.offered.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {
                    self.refused_since = None;
                    self.stuck_told = false;
                }
                Err(TrySendError::Full(event)) => {
                    self.offered.push_front(event);
                    let since = *self.refused_since.get_or_insert_with(Instant::now);
                    if !self.stuck_told && since.elapsed() >= STUCK {
                        self.stuck_told = true;
                        log::error!("nobody takes commands: reading from Ably rests");
                    }
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    // Nobody will ever take anything: whoever owned us is gone.
                    self.offered.clear();
                    if !self.ended {
                        self.feed(Input::Close);
                        self.offered.clear();
                    }
                    return;
                }
            }
        }
    }

    /// Waits for the socket, the doorbell or the next deadline.
    fn wait(&self) {
        let now = Instant::now();
        let listen = self.listens();
        let mut sleep = MAX_SLEEP;
        let transport = self.transport.as_ref();
        let deadlines = [
            self.machine.next_deadline(),
            transport.and_then(Transport::next_deadline),
        ];
        for at in deadlines.into_iter().flatten() {
            sleep = sleep.min(at.saturating_duration_since(now));
        }
        if !listen {
            sleep = sleep.min(OFFER_AGAIN);
        } else if transport.is_some_and(Transport::has_more) {
            sleep = Duration::ZERO;
        }
        // Rounded up: a wake-up before the deadline would only lead to another one.
        let ms = sleep.as_nanos().div_ceil(1_000_000);
        let timeout = u16::try_from(ms).unwrap_or(u16::MAX);
        let mut fds = vec![PollFd::new(self.shared.bell.as_fd(), PollFlags::POLLIN)];
        if let Some((fd, flags)) = transport.and_then(|t| t.interest(listen)) {
            fds.push(PollFd::new(fd, flags));
        }
        // An interrupted wait is a short one; anything else would come again at the next.
        let _ = poll(&mut fds, PollTimeout::from(timeout));
        self.shared.bell.answer();
    }
}
