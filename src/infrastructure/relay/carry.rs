//! A relay at work: one thread that waits on the camera's connection, the sockets to the WHIP endpoint,
//! the courier and SIGTERM, and lets the machines do the rest.
//!
//! The camera is never waited for by those who watch, nor they by it: what can't be sent is left out.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::courier::{Back, Courier, Errand};
use super::group::Group;
use super::job::Carry;
use super::look::addresses;
use super::peer::Peer;
use super::report::{self, Block, Report};
use super::sessions::{End, Order, Sessions, Told};
use super::sockets::Sockets;
use super::source::{Heard, Source, Stop};
use crate::domain::camera::Credentials;
use crate::domain::stream::{Cause, Diagnosis, MediaUrl};
use crate::infrastructure::http::tls::TrustStore;
use crate::infrastructure::rtsp::line::cnonce;
use crate::infrastructure::whip::client::Client;
use crate::infrastructure::whip::release::{Closed, SessionCloser};
use crate::util::secret::Secret;
use crate::util::url;

/// To one of the camera's addresses.
const CONNECT: Duration = Duration::from_secs(4);
/// How far it is, is told this often.
const PROGRESS: Duration = Duration::from_secs(1);
/// In the end: the camera's connection takes what is left, an answer that is under way comes, and the
/// session is ended.
const GOODBYE: Duration = Duration::from_millis(500);
const LAST_ANSWER: Duration = Duration::from_secs(2);
const LAST_DELETE: Duration = Duration::from_millis(3500);
/// Of the camera's connection, at once; read so often before anything else has its turn.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 8;
/// Datagrams before anything else has its turn.
const DATAGRAMS: usize = 256;
/// No datagram of ours, or to us, is longer.
const DATAGRAM: usize = 2048;

/// Makes the sender of a session that is sent from these addresses, and its offer.
pub type Make<P> = fn(Instant, &[SocketAddr]) -> Result<(P, String), String>;

/// Why it is over.
enum Over {
    /// By SIGTERM.
    Asked,
    Source(Stop),
    Session(End),
    /// Nobody hears what it tells.
    Alone(io::Error),
}

impl From<Stop> for Over {
    fn from(stop: Stop) -> Self {
        Self::Source(stop)
    }
}

impl From<End> for Over {
    fn from(end: End) -> Self {
        Self::Session(end)
    }
}

/// Carries until it is asked to end, or can't go on; says on `output` what happens. `Err` = nobody
/// hears it.
pub fn carry<P: Peer>(job: &Carry, make: Make<P>, output: impl Write) -> io::Result<()> {
    let mut teller = Teller { output };
    let (relay, over) = match Relay::start(job, make, &mut teller) {
        Err(over) => (None, over),
        Ok(mut relay) => {
            let over = match relay.run(&mut teller) {
                Ok(never) => match never {},
                Err(over) => over,
            };
            (Some(relay), over)
        }
    };
    // First, so that whoever waits knows: what follows may take seconds.
    match over {
        Over::Asked => {}
        Over::Source(Stop::Refused(why)) => teller.tell(&Report::Failed {
            why,
            retry_after: None,
            own: false,
        })?,
        Over::Source(Stop::Misunderstood(why)) => teller.tell(&Report::Failed {
            why,
            retry_after: None,
            own: true,
        })?,
        Over::Source(Stop::Unfit(why)) => teller.tell(&Report::Unfit(why))?,
        Over::Session(end) => teller.tell(&Report::Failed {
            why: end.why,
            retry_after: end.retry_after,
            own: end.own,
        })?,
        Over::Alone(why) => {
            if let Some(relay) = relay {
                relay.leave(&mut teller);
            }
            return Err(why);
        }
    }
    if let Some(relay) = relay {
        relay.leave(&mut teller);
    }
    Ok(())
}

/// Says what happens.
struct Teller<W> {
    output: W,
}

impl<W: Write> Teller<W> {
    fn tell(&mut self, report: &Report) -> io::Result<()> {
        self.output.write_all(report::write(report).as_bytes())?;
        self.output.flush()
    }

    /// For people.
    fn say(words: &str) {
        let _ = writeln!(io::stderr(), "{words}");
    }
}

/// What has gone out.
#[derive(Default)]
struct Sent {
    frames: u64,
    bytes: u64,
    first: Option<u64>,
    last: u64,
    /// At the last block.
    told: (u64, u64),
    told_at: Option<Instant>,
}

struct Relay<P> {
    make: Make<P>,
    at: SocketAddr,
    tcp: TcpStream,
    /// For the camera, not written yet.
    to_camera: Vec<u8>,
    source: Source,
    sessions: Sessions<P>,
    group: Group,
    sockets: Sockets,
    /// The endpoint is on this machine.
    loopback: bool,
    courier: Courier,
    asked: SignalFd,
    sent: Sent,
}

impl<P: Peer> Relay<P> {
    fn start<W: Write>(job: &Carry, make: Make<P>, _: &mut Teller<W>) -> Result<Self, Over> {
        let (tcp, at, login) = dial(&job.url)?;
        // From here on there is something to end in order; before, SIGTERM ends all there is.
        let asked = heed_signals().map_err(|why| crashed(&format!("signals: {why}")))?;
        let random = cnonce().map_err(|fault| crashed(&fault.message))?;
        let number = u32::from_str_radix(random.get(..8).unwrap_or(""), 16).unwrap_or(1);
        let now = Instant::now();
        let source = Source::new(at, &job.url, login, (random, number), job.silence, now)?;
        let trust = Arc::new(TrustStore::new(None));
        let client = Client::new(
            job.whip_url.clone(),
            job.bearer.clone(),
            job.whip_hosts.clone().into(),
            job.patience,
            Arc::clone(&trust),
        );
        let courier = Courier::start(client, SessionCloser::new(trust), job.bearer.clone())
            .map_err(|why| crashed(&format!("no thread: {why}")))?;
        let loopback =
            url::split(job.whip_url.expose()).is_ok_and(|parts| url::is_loopback_host(parts.host));
        Ok(Self {
            make,
            at,
            tcp,
            to_camera: Vec::new(),
            source,
            sessions: Sessions::new(job.patience, fastrand::u64(..), now),
            group: Group::default(),
            sockets: Sockets::default(),
            loopback,
            courier,
            asked,
            sent: Sent::default(),
        })
    }

    fn run<W: Write>(&mut self, teller: &mut Teller<W>) -> Result<std::convert::Infallible, Over> {
        let mut piece = vec![0; PIECE];
        loop {
            let now = Instant::now();
            self.look_after_camera(now, teller)?;
            self.write_camera()?;
            self.sessions.tick(now)?;
            self.serve(now, teller)?;
            self.progress(now, teller)?;
            self.wait(now);
            if self.asked.read_signal().ok().flatten().is_some() {
                return Err(Over::Asked);
            }
            self.read_camera(&mut piece, teller)?;
            let now = Instant::now();
            while let Some(back) = self.courier.back() {
                self.came_back(back, now, teller)?;
            }
            let mut datagram = [0; DATAGRAM];
            for _ in 0..DATAGRAMS {
                let Some((length, from, to)) = self.sockets.receive(&mut datagram) else {
                    break;
                };
                let bytes = datagram.get(..length).unwrap_or_default();
                self.sessions.receive(from, to, bytes, now);
                self.transmit(now)?;
            }
        }
    }

    /// Until something comes or is due.
    fn wait(&self, now: Instant) {
        let progress = self.sent.told_at.map(|at| at + PROGRESS);
        let due = [
            self.source.next_tick(),
            self.sessions.next_tick(),
            self.group.due(),
            progress,
        ];
        let timeout = match due.into_iter().flatten().min() {
            None => PollTimeout::NONE,
            Some(at) => {
                // Rounded up: a wait that ends too soon is a turn for nothing.
                let left = at.saturating_duration_since(now).as_micros().div_ceil(1000);
                PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX))
                    .unwrap_or(PollTimeout::ZERO)
            }
        };
        let camera = if self.to_camera.is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![
            PollFd::new(self.tcp.as_fd(), camera),
            input(self.courier.fd()),
            input(self.asked.as_fd()),
        ];
        fds.extend(self.sockets.fds().map(input));
        // EINTR and the like: the loop looks again.
        let _ = poll(&mut fds, timeout);
    }

    /// Orders and words of the sessions, datagrams, and pictures that are due.
    fn serve<W: Write>(&mut self, now: Instant, teller: &mut Teller<W>) -> Result<(), Over> {
        loop {
            self.transmit(now)?;
            while let Some(told) = self.sessions.told() {
                self.tell_session(told, now, teller)?;
            }
            if let Some(order) = self.sessions.order() {
                self.obey(order, now)?;
                continue;
            }
            let Some(peer) = self.sessions.up() else {
                return Ok(());
            };
            let Some(cut) = self.group.next(now) else {
                return Ok(());
            };
            peer.video(&cut.payloads, cut.ticks, now);
            self.sent.frames += 1;
            self.sent.bytes += cut.len() as u64;
            self.sent.first.get_or_insert(cut.ticks);
            self.sent.last = cut.ticks.max(self.sent.last);
        }
    }

    fn transmit(&mut self, now: Instant) -> Result<(), End> {
        while let Some((from, to, bytes)) = self.sessions.transmit(now)? {
            self.sockets.send(from, to, &bytes);
        }
        Ok(())
    }

    fn obey(&mut self, order: Order, now: Instant) -> Result<(), End> {
        match order {
            Order::Prepare => {
                for (from, to, bytes) in self.sessions.last_words(now) {
                    self.sockets.send(from, to, &bytes);
                }
                // Afresh: the way out may be another one by now.
                self.sockets = Sockets::bind(self.loopback);
                let made = (self.make)(now, &self.sockets.addresses());
                self.sessions.prepared(made, now)
            }
            Order::Post(offer) => {
                self.courier.send(Errand::Open(offer));
                Ok(())
            }
            Order::Delete(session) => {
                self.courier.send(Errand::Close(session));
                Ok(())
            }
        }
    }

    fn tell_session<W: Write>(
        &mut self,
        told: Told,
        now: Instant,
        teller: &mut Teller<W>,
    ) -> Result<(), Over> {
        let report = match told {
            Told::Made(session) => Report::Made(session),
            Told::Elsewhere(host) => Report::Elsewhere(host),
            Told::Up(took) => {
                self.group.open(now);
                self.sent.told_at.get_or_insert(now);
                Report::Up(took)
            }
            Told::Lost(why) => {
                self.group.close();
                Teller::<W>::say(&format!("the WHIP session is lost: {why}"));
                Report::Lost(why)
            }
            Told::KeyframeWanted => Report::KeyframeWanted,
        };
        teller.tell(&report).map_err(Over::Alone)
    }

    fn came_back<W: Write>(
        &mut self,
        back: Back,
        now: Instant,
        teller: &mut Teller<W>,
    ) -> Result<(), Over> {
        match back {
            Back::Opened(answer) => Ok(self.sessions.opened(answer, now)?),
            Back::Closed(closed) => ended(&closed, teller).map_err(Over::Alone),
        }
    }

    /// What is due, and what is overdue.
    fn look_after_camera<W: Write>(
        &mut self,
        now: Instant,
        teller: &mut Teller<W>,
    ) -> Result<(), Over> {
        if self.source.wants_anew(now) {
            Teller::<W>::say(
                "the camera plays and sends nothing: asked again, for its sound as well, which is dropped",
            );
            self.source.tear_down();
            self.write_camera()?;
            self.source.begin_anew(now)?;
            self.dial_again()?;
        }
        let mut heard = Vec::new();
        let ticked = self.source.tick(now, &mut heard);
        self.take_heard(heard, now, teller)?;
        Ok(ticked?)
    }

    fn take_heard<W: Write>(
        &mut self,
        heard: Vec<Heard>,
        now: Instant,
        teller: &mut Teller<W>,
    ) -> Result<(), Over> {
        for one in heard {
            match one {
                Heard::Open { login_taken } => teller
                    .tell(&Report::Open { login_taken })
                    .map_err(Over::Alone)?,
                Heard::Fit => self.sessions.begin(now),
                Heard::Picture { picture, ticks } => self.group.push(&picture, ticks),
                Heard::Words(words) => Teller::<W>::say(&words),
            }
        }
        Ok(())
    }

    /// The camera has closed the connection; another one is made where the conversation can go on.
    fn camera_ended<W: Write>(&mut self, teller: &mut Teller<W>) -> Result<(), Over> {
        let now = Instant::now();
        let mut heard = Vec::new();
        let ended = self.source.ended(now, &mut heard);
        self.take_heard(heard, now, teller)?;
        ended?;
        Ok(self.dial_again()?)
    }

    fn read_camera<W: Write>(
        &mut self,
        piece: &mut [u8],
        teller: &mut Teller<W>,
    ) -> Result<(), Over> {
        for _ in 0..PIECES {
            let read = match self.tcp.read(piece) {
                Ok(0) => return self.camera_ended(teller),
                Ok(read) => read,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What was sent behind its end.
                Err(why)
                    if why.kind() == io::ErrorKind::ConnectionReset && !self.source.plays() =>
                {
                    return self.camera_ended(teller);
                }
                Err(why) => return Err(lost(&why).into()),
            };
            let now = Instant::now();
            let mut heard = Vec::new();
            let fed = self
                .source
                .feed(piece.get(..read).unwrap_or_default(), now, &mut heard);
            self.take_heard(heard, now, teller)?;
            fed?;
            self.write_camera()?;
            self.serve(now, teller)?;
        }
        Ok(())
    }

    fn write_camera(&mut self) -> Result<(), Stop> {
        if self.source.needs_connection() {
            self.dial_again()?;
        }
        self.to_camera.extend(self.source.take_output());
        while !self.to_camera.is_empty() {
            match self.tcp.write(&self.to_camera) {
                // What it said before it closed may be there to be read.
                Ok(0) => return Ok(()),
                Ok(written) => {
                    self.to_camera.drain(..written);
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The conversation goes on by another connection.
    fn dial_again(&mut self) -> Result<(), Stop> {
        self.tcp = connect(self.at, CONNECT).map_err(|why| lost(&why))?;
        self.to_camera.clear();
        self.source.connected_anew(Instant::now());
        Ok(())
    }

    fn progress<W: Write>(&mut self, now: Instant, teller: &mut Teller<W>) -> Result<(), Over> {
        let Some(since) = self.sent.told_at else {
            return Ok(());
        };
        let passed = now.saturating_duration_since(since);
        if passed < PROGRESS {
            return Ok(());
        }
        let sent = &mut self.sent;
        let ticks = sent.last.saturating_sub(sent.first.unwrap_or(sent.last));
        let rate = |now: u64, before: u64| {
            let more = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
            f64::from(more) / passed.as_secs_f64()
        };
        let (_, damaged) = self.source.losses();
        let block = Block {
            frames: sent.frames,
            fps: rate(sent.frames, sent.told.0),
            kbps: rate(sent.bytes, sent.told.1) * 8.0 / 1000.0,
            out_time: Duration::from_micros(ticks.saturating_mul(100) / 9),
            left_out: damaged + self.group.left_out(),
            uplink: self.sessions.uplink(),
        };
        sent.told = (sent.frames, sent.bytes);
        sent.told_at = Some(now);
        teller.tell(&Report::Progress(block)).map_err(Over::Alone)
    }

    /// Gives back what was taken: the camera's place, and the endpoint's.
    fn leave<W: Write>(mut self, teller: &mut Teller<W>) {
        self.source.tear_down();
        self.to_camera.extend(self.source.take_output());
        let _ = self.tcp.set_nonblocking(false);
        let _ = self.tcp.set_write_timeout(Some(GOODBYE));
        let _ = self.tcp.write_all(&self.to_camera);
        let _ = self.tcp.shutdown(Shutdown::Both);
        if self.sessions.is_posting()
            && let Some(session) = self.last_answer(teller)
        {
            // What it is for is over.
            let _ = teller.tell(&Report::Made(session.clone()));
            self.courier.send(Errand::Close(session));
            self.last_delete(teller);
        }
        self.sessions.leave();
        let mut deletes = 0;
        while let Some(order) = self.sessions.order() {
            if let Order::Delete(session) = order {
                self.courier.send(Errand::Close(session));
                deletes += 1;
            }
        }
        let now = Instant::now();
        for (from, to, bytes) in self.sessions.last_words(now) {
            self.sockets.send(from, to, &bytes);
        }
        for _ in 0..deletes {
            self.last_delete(teller);
        }
    }

    /// The session of an answer that is under way. Before it comes what became of the one that was lost.
    fn last_answer<W: Write>(&self, teller: &mut Teller<W>) -> Option<Secret> {
        let until = Instant::now() + LAST_ANSWER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.courier.back_within(left)? {
                Back::Opened(answer) => return answer.ok()?.url,
                Back::Closed(closed) => {
                    let _ = ended(&closed, teller);
                }
            }
        }
    }

    fn last_delete<W: Write>(&self, teller: &mut Teller<W>) {
        if let Some(Back::Closed(closed)) = self.courier.back_within(LAST_DELETE) {
            let _ = ended(&closed, teller);
        }
    }
}

/// One that could not be ended is left to the daemon.
fn ended<W: Write>(closed: &Closed, teller: &mut Teller<W>) -> io::Result<()> {
    match closed {
        Closed::Done | Closed::Gone => teller.tell(&Report::Ended),
        Closed::Refused(status) => {
            let words = format!("the WHIP server refused to close the session ({status})");
            Teller::<W>::say(&words);
            teller.tell(&Report::Ended)
        }
        Closed::Failed(why) => {
            Teller::<W>::say(&format!("the WHIP session could not be closed: {why}"));
            Ok(())
        }
    }
}

/// Connects to the source.
fn dial(source: &Secret) -> Result<(TcpStream, SocketAddr, Option<Credentials>), Stop> {
    let refused = |cause, detail: String| Stop::Refused(Diagnosis { cause, detail });
    let parsed = MediaUrl::parse("sourceUrl", source.expose())
        .map_err(|fault| refused(Cause::BadCommand, fault.message))?;
    let login = parsed
        .credentials()
        .map(|(user, password)| Credentials::new(user, password))
        .transpose()
        .map_err(|fault| refused(Cause::BadCommand, fault.message))?;
    let found = addresses(parsed.host(), Instant::now() + CONNECT).unwrap_or_default();
    let mut last = refused(
        Cause::SourceUnreachable,
        "the source's host name can't be resolved".to_owned(),
    );
    for ip in found {
        let at = SocketAddr::new(ip, parsed.port().unwrap_or(554));
        match connect(at, CONNECT) {
            Ok(tcp) => return Ok((tcp, at, login)),
            Err(why) => last = refused(Cause::SourceUnreachable, connect_words(&why)),
        }
    }
    Err(last)
}

fn connect(at: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&at, within)?;
    tcp.set_nodelay(true)?;
    tcp.set_nonblocking(true)?;
    Ok(tcp)
}

fn connect_words(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => {
            "the source refused the connection: is the port right, is it switched on?".to_owned()
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "the source does not answer (timed out)".to_owned()
        }
        _ => format!("there is no way to the source: {why}"),
    }
}

fn lost(why: &io::Error) -> Stop {
    Stop::Refused(Diagnosis {
        cause: Cause::SourceUnreachable,
        detail: format!("the connection to the source failed: {why}"),
    })
}

fn crashed(words: &str) -> Stop {
    Stop::Refused(Diagnosis {
        cause: Cause::EngineCrash,
        detail: format!("the relay can't begin: {words}"),
    })
}

/// SIGTERM is read, and ends nothing by itself. Before any thread is started: they inherit it.
fn heed_signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
