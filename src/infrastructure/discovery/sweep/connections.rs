//! The sockets of a sweep: connecting, the conversation that is had with each port, its deadlines,
//! and what is learnt. What is said is `talk`'s, and who is connected to `schedule`'s.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};

use super::Sweep;
use crate::infrastructure::discovery::dossier::Dossier;
use crate::infrastructure::discovery::facts::{End, Facts, Next};
use crate::infrastructure::discovery::http_talk::{HttpTalk, Questions};
use crate::infrastructure::discovery::rtsp_talk::RtspTalk;
use crate::infrastructure::discovery::schedule::{Attempt, Ticket};
use crate::infrastructure::discovery::talk::{PortKind, Talk};

/// An answer is waited for that long.
const ANSWER: Duration = Duration::from_secs(2);
/// A conversation with one port takes that long at most.
const CONVERSATION: Duration = Duration::from_secs(5);
/// What the kernel keeps of an open connection that nobody reads yet.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// A socket to one port.
#[derive(Debug)]
pub(super) struct Conn {
    stream: TcpStream,
    pub ip: Ipv4Addr,
    pub port: u16,
    /// `None` while connecting.
    pub talking: Option<Talking>,
}

#[derive(Debug)]
pub(super) struct Talking {
    pub talk: Talk,
    /// Not written yet.
    out: Vec<u8>,
    pub deadline: Instant,
    /// Of the whole conversation.
    end: Instant,
}

impl Sweep<'_> {
    pub(super) fn connect(&mut self, attempt: Attempt, now: Instant) {
        match begin_connect(attempt, &self.epoll) {
            Ok(stream) => {
                let conn = Conn {
                    stream,
                    ip: attempt.ip,
                    port: attempt.port,
                    talking: None,
                };
                self.conns.insert(attempt.ticket, conn);
            }
            Err(Errno::ECONNREFUSED) => {
                self.schedule.refused(attempt.ticket);
                self.abandon(attempt.ip, attempt.port);
            }
            Err(
                why @ (Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::ENOSPC
                | Errno::EADDRNOTAVAIL
                | Errno::EAGAIN),
            ) => {
                self.schedule.not_begun(attempt.ticket, now);
                self.warn(format!("the sweep is slower: {}", why.desc()));
            }
            Err(_) => {
                self.schedule.unreachable(attempt.ticket);
                self.abandon(attempt.ip, attempt.port);
            }
        }
    }

    pub(super) fn given_up(&mut self, ticket: Ticket) {
        if let Some(conn) = self.conns.remove(&ticket) {
            self.abandon(conn.ip, conn.port);
        }
    }

    /// A conversation that was to go on has no connection any more.
    fn abandon(&mut self, ip: Ipv4Addr, port: u16) {
        if let Some((talk, _)) = self.parked.remove(&(ip, port)) {
            self.learnt(ip, port, talk.facts());
        }
    }

    /// Something has happened on a connection.
    pub(super) fn stirred(&mut self, ticket: Ticket, events: EpollFlags) {
        let Some(conn) = self.conns.get_mut(&ticket) else {
            return;
        };
        if conn.talking.is_some() {
            if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
            {
                self.read(ticket);
            } else {
                self.write(ticket);
            }
            return;
        }
        let connected = match conn.stream.take_error() {
            Ok(None) => {
                events.contains(EpollFlags::EPOLLOUT) && !events.contains(EpollFlags::EPOLLERR)
            }
            Ok(Some(why)) | Err(why) => {
                let (ip, port) = (conn.ip, conn.port);
                self.conns.remove(&ticket);
                match why.kind() {
                    io::ErrorKind::ConnectionRefused => self.schedule.refused(ticket),
                    // Only a connection that stood can be reset.
                    io::ErrorKind::ConnectionReset => {
                        self.schedule.opened(ticket, false);
                        self.dossiers.entry(ip).or_default().opened(port);
                        self.noted(ip, port, "closes at once");
                    }
                    _ => self.schedule.unreachable(ticket),
                }
                self.abandon(ip, port);
                return;
            }
        };
        if connected {
            self.opened(ticket);
        }
    }

    fn opened(&mut self, ticket: Ticket) {
        let Some(conn) = self.conns.remove(&ticket) else {
            return;
        };
        let (ip, port) = (conn.ip, conn.port);
        self.dossiers.entry(ip).or_default().opened(port);
        let now = Instant::now();
        let parked = self.parked.remove(&(ip, port));
        let resumed = parked.is_some();
        let talk = match parked {
            Some(parked) => Some(parked),
            None => self.talk(ip, port).map(|talk| (talk, now + CONVERSATION)),
        };
        let Some((mut talk, end)) = talk else {
            self.schedule.opened(ticket, false);
            if self.kind(port) == PortKind::Sign {
                self.noted(ip, port, "open; nothing is asked there");
            }
            return;
        };
        if !self.schedule.opened(ticket, true) {
            // No room on that device or here: closed, and it comes again.
            if resumed {
                self.parked.insert((ip, port), (talk, end));
            }
            return;
        }
        // What nobody reads must not pile up in the kernel; it is no fault if that can't be set.
        let _ = setsockopt(&conn.stream, sockopt::RcvBuf, &RECEIVE_BUFFER);
        if self.named(ip, port).is_some() {
            self.dossiers.entry(ip).or_default().hint_asked(port, true);
        }
        let out = talk.begin();
        let talking = Talking {
            talk,
            out,
            deadline: (now + ANSWER).min(end),
            end,
        };
        self.conns.insert(
            ticket,
            Conn {
                talking: Some(talking),
                ..conn
            },
        );
        self.write(ticket);
    }

    /// The conversation for a port; `None` where there is nothing to say.
    fn talk(&self, ip: Ipv4Addr, port: u16) -> Option<Talk> {
        let kind = self.kind(port);
        let dossier = self.dossiers.get(&ip);
        let knows = |what: fn(&Dossier) -> bool| dossier.is_some_and(what);
        let fresh = !dossier.is_some_and(|d| d.knows(port));
        let isapi = kind == PortKind::Web && fresh && !knows(Dossier::isapi);
        let questions = match kind {
            PortKind::Rtsp => return fresh.then(|| Talk::Rtsp(RtspTalk::new(ip, port))),
            PortKind::Sign => return None,
            PortKind::Web | PortKind::Onvif => Questions {
                isapi,
                onvif: fresh && !knows(Dossier::onvif),
                hinted: self
                    .named(ip, port)
                    .filter(|_| !knows(Dossier::onvif))
                    .map(str::to_owned),
                page: isapi,
            },
        };
        let talk = HttpTalk::new(ip, port, questions);
        (!talk.is_empty()).then_some(Talk::Http(talk))
    }

    fn write(&mut self, ticket: Ticket) {
        let Some(conn) = self.conns.get_mut(&ticket) else {
            return;
        };
        let Some(talking) = &mut conn.talking else {
            return;
        };
        while !talking.out.is_empty() {
            match (&conn.stream).write(&talking.out) {
                Ok(0) => break,
                Ok(n) => {
                    talking.out.drain(..n);
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                // The reading side tells how it ended, and what was said before.
                Err(_) => talking.out.clear(),
            }
        }
        let mut wanted = EpollFlags::EPOLLIN;
        if !talking.out.is_empty() {
            wanted |= EpollFlags::EPOLLOUT;
        }
        let mut event = EpollEvent::new(wanted, ticket);
        // It can fail only for a descriptor that is not in the set.
        let _ = self.epoll.modify(&conn.stream, &mut event);
    }

    fn read(&mut self, ticket: Ticket) {
        let Some(conn) = self.conns.get_mut(&ticket) else {
            return;
        };
        let Some(talking) = &mut conn.talking else {
            return;
        };
        let room = self.buffer.len().min(4096);
        let Some(buffer) = self.buffer.get_mut(..room) else {
            return;
        };
        let next = match (&conn.stream).read(buffer) {
            Ok(0) => talking.talk.ended(End::Closed),
            Ok(n) => talking.talk.received(buffer.get(..n).unwrap_or_default()),
            Err(why)
                if matches!(
                    why.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                if talking.out.is_empty() {
                    return;
                }
                self.write(ticket);
                return;
            }
            Err(_) => talking.talk.ended(End::Closed),
        };
        self.goes_on(ticket, next);
    }

    pub(super) fn late(&mut self, now: Instant) {
        let late: Vec<Ticket> = self
            .conns
            .iter()
            .filter(|(_, c)| c.talking.as_ref().is_some_and(|t| now >= t.deadline))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in late {
            let Some(talking) = self
                .conns
                .get_mut(&ticket)
                .and_then(|conn| conn.talking.as_mut())
            else {
                continue;
            };
            let mut next = talking.talk.ended(End::Late);
            if now >= talking.end {
                next = Next::Over;
            }
            self.goes_on(ticket, next);
        }
    }

    fn goes_on(&mut self, ticket: Ticket, next: Next) {
        let now = Instant::now();
        match next {
            Next::More => {}
            Next::Send(bytes) => {
                if let Some(talking) = self
                    .conns
                    .get_mut(&ticket)
                    .and_then(|conn| conn.talking.as_mut())
                {
                    talking.out = bytes;
                    talking.deadline = (now + ANSWER).min(talking.end);
                }
                self.write(ticket);
            }
            Next::Again | Next::Over => {
                let Some(conn) = self.conns.remove(&ticket) else {
                    return;
                };
                let (ip, port) = (conn.ip, conn.port);
                // Closed before the next is opened.
                drop(conn.stream);
                let Some(talking) = conn.talking else { return };
                if next == Next::Again && now < talking.end {
                    self.parked.insert((ip, port), (talking.talk, talking.end));
                    self.schedule.talked(ip, port, true);
                } else {
                    self.learnt(ip, port, talking.talk.facts());
                    let again = self.is_hint_open(ip, port);
                    self.schedule.talked(ip, port, again);
                }
            }
        }
    }

    /// A port that is open, and all there is to say of it.
    fn noted(&mut self, ip: Ipv4Addr, port: u16, note: &str) {
        let facts = Facts {
            note: note.to_owned(),
            ..Facts::default()
        };
        self.learnt(ip, port, facts);
    }

    pub(super) fn learnt(&mut self, ip: Ipv4Addr, port: u16, facts: Facts) {
        let dossier = self.dossiers.entry(ip).or_default();
        dossier.learnt(port, facts);
        if dossier.is_tarpit() {
            self.schedule.leave(ip);
        }
    }
}

fn begin_connect(attempt: Attempt, epoll: &Epoll) -> nix::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    let to = SockaddrIn::from(SocketAddrV4::new(attempt.ip, attempt.port));
    match connect(fd.as_raw_fd(), &to) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(why) => return Err(why),
    }
    epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLOUT, attempt.ticket))?;
    Ok(TcpStream::from(fd))
}
