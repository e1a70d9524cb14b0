//! Peers that mean harm: they take a connection, read what looks like a request, and answer
//! without end, or with what must not be believed. Each answer has an end all the same, far beyond
//! every bound of lss.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What goes to one connection at most.
const MOST: usize = 64 << 20;
/// A connection is kept for so long at most.
const LONGEST: Duration = Duration::from_secs(20);

/// How it harms.
#[derive(Debug, Clone)]
pub enum Manner {
    /// A body that does not end.
    EndlessBody,
    /// Chunks that do not end.
    EndlessChunks,
    /// Header lines that do not end.
    EndlessHead,
    /// One header line that does not end.
    EndlessLine,
    /// An interim answer after the other.
    EndlessInterim,
    /// A document that unfolds to gigabytes.
    XmlBomb,
    /// An RTSP answer, and then packets as fast as they go.
    RtspFlood,
    /// Sends the caller to another host.
    Redirect(SocketAddr),
    /// Says nothing.
    Mute,
}

/// A running one; its threads end when it is dropped.
pub struct Hostile {
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Hostile {
    /// On a free port of loopback.
    pub fn start(manner: Manner) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), manner).unwrap()
    }

    /// On this address.
    pub fn start_on(addr: SocketAddr, manner: Manner) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let (count, over) = (Arc::clone(&connections), Arc::clone(&stopped));
        let acceptor = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let (manner, over) = (manner.clone(), Arc::clone(&over));
                threads.push(std::thread::spawn(move || harm(stream, &manner, &over)));
            }
            for thread in threads {
                let _ = thread.join();
            }
        });
        Ok(Self {
            addr,
            connections,
            stopped,
            acceptor: Some(acceptor),
        })
    }

    /// How often it was called.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn harm(mut stream: TcpStream, manner: &Manner, over: &AtomicBool) {
    // Each wait ends soon, so that the end is heard of.
    let soon = Some(Duration::from_millis(200));
    stream.set_read_timeout(soon).unwrap();
    stream.set_write_timeout(soon).unwrap();
    let until = Instant::now() + LONGEST;
    let goes_on = || !over.load(Ordering::SeqCst) && Instant::now() < until;
    let mut buffer = [0; 16 * 1024];
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => head.extend_from_slice(&buffer[..n]),
            Err(_) if goes_on() => {}
            Err(_) => return,
        }
    }
    let (start, again): (Vec<u8>, Vec<u8>) = match manner {
        Manner::EndlessBody => (ok("application/xml"), b"<a>".repeat(20_000)),
        Manner::EndlessChunks => (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            [b"ffff\r\n".to_vec(), vec![b' '; 0xffff], b"\r\n".to_vec()].concat(),
        ),
        Manner::EndlessHead => (
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            b"X-More: and more\r\n".repeat(3_000),
        ),
        Manner::EndlessLine => (b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 60_000]),
        Manner::EndlessInterim => (Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000)),
        Manner::XmlBomb => (bomb(), Vec::new()),
        Manner::RtspFlood => (
            b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 2000000000\r\n\r\n".to_vec(),
            [b"$\0\xff\xff".to_vec(), vec![0x61; 0xffff]].concat(),
        ),
        Manner::Redirect(to) => (
            format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{to}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .into_bytes(),
            Vec::new(),
        ),
        Manner::Mute => (Vec::new(), Vec::new()),
    };
    let closes = matches!(manner, Manner::XmlBomb | Manner::Redirect(_));
    let mut sent = 0;
    let mut rest: &[u8] = &start;
    while sent < MOST && goes_on() {
        if rest.is_empty() {
            if again.is_empty() {
                break;
            }
            rest = &again;
        }
        match stream.write(rest) {
            Ok(n) => {
                sent += n;
                rest = &rest[n..];
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    // Until the other side goes.
    while !closes && goes_on() && !matches!(stream.read(&mut buffer), Ok(0)) {}
}

fn ok(kind: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n").into_bytes()
}

/// "A billion laughs", as a camera's answer.
fn bomb() -> Vec<u8> {
    let entities: Vec<String> = (1..30)
        .map(|n| {
            let inner = format!("&x{};", n - 1).repeat(10);
            format!("<!ENTITY x{n} \"{inner}\">")
        })
        .collect();
    let text = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY x0 \"ha\">{}]><a>&x29;</a>",
        entities.concat()
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    (head + &text).into_bytes()
}
