//! TLS in front of a stand-in camera, with the certificates that cameras have, and a plain port that
//! leads there.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

/// What a camera's certificate is like. All sign themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For its address, and in time.
    Usual,
    /// Its time was over years ago.
    Expired,
    /// X.509 version 1: no extensions, no names.
    Version1,
}

/// What a plain request to the TLS port gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plainly {
    /// A TLS alert.
    Alert,
    /// The connection's end.
    Close,
    /// 400, in words.
    Words,
    /// Nothing, until the client gives up.
    Silence,
    /// The camera's answer, by the same way as with TLS: what is compared with.
    Passed,
}

/// A certificate with its key, for a server.
#[derive(Clone)]
pub struct Shown(Arc<ServerConfig>);

impl Shown {
    /// A new one.
    pub fn new(kind: Kind, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        if kind == Kind::Expired {
            params.not_before = rcgen::date_time_ymd(2009, 1, 1);
            params.not_after = rcgen::date_time_ymd(2012, 1, 1);
        }
        let certificate = params.self_signed(&key).unwrap();
        let der = match kind {
            Kind::Version1 => CertificateDer::from(version_1(certificate.der())),
            _ => certificate.der().clone(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            // Not by `with_single_cert`: that reads the certificate, and takes no version 1.
            .with_cert_resolver(Arc::new(Always(Arc::new(rustls::sign::CertifiedKey::new(
                vec![der],
                key,
            )))));
        Self(Arc::new(config))
    }
}

#[derive(Debug)]
struct Always(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Always {
    fn resolve(
        &self,
        _: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The same certificate as of version 1. Its signature is wrong then; nobody checks that of a
/// certificate which vouches for itself.
fn version_1(der: &[u8]) -> Vec<u8> {
    let (tbs, rest) = content(content(der).0);
    let mut kept = Vec::new();
    let mut fields = tbs;
    while !fields.is_empty() {
        let (_, after) = content(fields);
        let field = &fields[..fields.len() - after.len()];
        // Version and extensions.
        if !matches!(field[0], 0xA0 | 0xA3) {
            kept.extend_from_slice(field);
        }
        fields = after;
    }
    let mut inner = sequence(&kept);
    inner.extend_from_slice(rest);
    sequence(&inner)
}

/// The content of the first item, and what follows it.
fn content(der: &[u8]) -> (&[u8], &[u8]) {
    let (head, length) = match der[1] {
        n if n < 0x80 => (2, usize::from(n)),
        n => {
            let digits = usize::from(n & 0x7F);
            let length = der[2..2 + digits]
                .iter()
                .fold(0, |n, byte| n << 8 | usize::from(*byte));
            (2 + digits, length)
        }
    };
    der[head..].split_at(length)
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut out = vec![0x30, 0x82, high, low];
    out.extend_from_slice(content);
    out
}

struct Shared {
    shown: Mutex<Shown>,
    plainly: Plainly,
    behind: SocketAddr,
    handshakes: AtomicUsize,
    /// Handshakes that are still to be broken off.
    breaks: AtomicUsize,
    /// All that was sent without TLS, and all that was sent by TLS.
    plain: Mutex<Vec<u8>>,
    secured: Mutex<Vec<u8>>,
    stop: AtomicBool,
}

/// A TLS port of a camera that is somewhere behind.
pub struct TlsCamera {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl TlsCamera {
    /// In front of `behind`, on a port of its own.
    pub fn start(behind: SocketAddr, shown: Shown, plainly: Plainly) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            shown: Mutex::new(shown),
            plainly,
            behind,
            handshakes: AtomicUsize::new(0),
            breaks: AtomicUsize::new(0),
            plain: Mutex::default(),
            secured: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                if all.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(tcp), all) = (tcp, Arc::clone(&all)) else {
                    continue;
                };
                thread::spawn(move || all.welcome(tcp));
            }
        });
        Self { addr, shared }
    }

    /// With a certificate of the usual kind.
    pub fn usual(behind: SocketAddr) -> Self {
        Self::start(behind, Shown::new(Kind::Usual, BOTH), Plainly::Close)
    }

    /// Shows another certificate from now on.
    pub fn show(&self, shown: Shown) {
        *self.shared.shown.lock().unwrap() = shown;
    }

    /// Breaks off the next handshakes, as one that has no session free: closed, reset, an alert.
    pub fn break_off(&self, handshakes: usize) {
        self.shared.breaks.store(handshakes, Ordering::Relaxed);
    }

    /// Hands shaken so far, short ones included.
    pub fn handshakes(&self) -> usize {
        self.shared.handshakes.load(Ordering::Relaxed)
    }

    /// What was sent to it without TLS.
    pub fn plain(&self) -> String {
        String::from_utf8_lossy(&self.shared.plain.lock().unwrap()).into_owned()
    }

    /// What was sent to it by TLS.
    pub fn secured(&self) -> String {
        String::from_utf8_lossy(&self.shared.secured.lock().unwrap()).into_owned()
    }
}

/// TLS 1.3 and 1.2.
pub const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

impl Drop for TlsCamera {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn welcome(&self, mut tcp: TcpStream) {
        let mut first = [0];
        if !matches!(tcp.peek(&mut first), Ok(1)) {
            return;
        }
        if first != [0x16] && self.plainly != Plainly::Alert {
            let mut said = [0; 4096];
            let read = tcp.read(&mut said).unwrap_or(0);
            self.plain.lock().unwrap().extend_from_slice(&said[..read]);
            match self.plainly {
                Plainly::Words => {
                    let _ = tcp.write_all(
                        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
                    );
                }
                Plainly::Silence => {
                    let _ = tcp.read(&mut said);
                }
                Plainly::Passed => {
                    let _ = self.pass(tcp, &said[..read]);
                }
                Plainly::Alert | Plainly::Close => {}
            }
            return;
        }
        let take_one = |left: usize| left.checked_sub(1);
        let (done, now) = (Ordering::Relaxed, Ordering::Relaxed);
        if let Ok(left) = self.breaks.fetch_update(done, now, take_one) {
            // What is not read makes the close a reset.
            if left % 3 != 0 {
                let _ = tcp.read(&mut [0; 4096]);
            }
            if left % 3 == 2 {
                // A fatal alert: internal_error.
                let _ = tcp.write_all(&[0x15, 3, 3, 0, 2, 2, 80]);
            }
            return;
        }
        let _ = self.pump(tcp);
    }

    fn pass(&self, mut front: TcpStream, first: &[u8]) -> io::Result<()> {
        let mut behind = TcpStream::connect(self.behind)?;
        front.set_nodelay(true)?;
        behind.set_nodelay(true)?;
        behind.write_all(first)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut fds = [
                PollFd::new(front.as_fd(), PollFlags::POLLIN),
                PollFd::new(behind.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut fds, PollTimeout::from(60_000_u16))?;
            let ready = fds.map(|fd| fd.revents().is_some_and(|r| !r.is_empty()));
            if ready[0] {
                let read = front.read(&mut buffer)?;
                if read == 0 {
                    return Ok(());
                }
                behind.write_all(&buffer[..read])?;
            }
            if ready[1] {
                let read = behind.read(&mut buffer)?;
                if read == 0 {
                    return Ok(());
                }
                front.write_all(&buffer[..read])?;
            }
        }
    }

    fn pump(&self, mut front: TcpStream) -> io::Result<()> {
        let config = self.shown.lock().unwrap().0.clone();
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        front.set_nodelay(true)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut front)?;
        }
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        let mut behind = TcpStream::connect(self.behind)?;
        behind.set_nodelay(true)?;
        let mut buffer = vec![0; 64 * 1024];
        let end = |tls: &mut ServerConnection, front: &mut TcpStream| {
            tls.send_close_notify();
            let _ = tls.write_tls(front);
            let _ = front.shutdown(Shutdown::Both);
        };
        loop {
            // What has been decrypted goes first.
            let mut said = Vec::new();
            loop {
                match tls.reader().read(&mut buffer) {
                    Ok(0) => {
                        let _ = behind.shutdown(Shutdown::Both);
                        return Ok(());
                    }
                    Ok(read) => said.extend_from_slice(&buffer[..read]),
                    Err(_) => break,
                }
            }
            if !said.is_empty() {
                self.secured.lock().unwrap().extend_from_slice(&said);
                behind.write_all(&said)?;
            }
            while tls.wants_write() {
                tls.write_tls(&mut front)?;
            }
            let mut fds = [
                PollFd::new(front.as_fd(), PollFlags::POLLIN),
                PollFd::new(behind.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut fds, PollTimeout::from(60_000_u16))?;
            let ready = fds.map(|fd| fd.revents().is_some_and(|r| !r.is_empty()));
            if ready[0] {
                if tls.read_tls(&mut front)? == 0 {
                    let _ = behind.shutdown(Shutdown::Both);
                    return Ok(());
                }
                tls.process_new_packets().map_err(io::Error::other)?;
            }
            if ready[1] {
                match behind.read(&mut buffer) {
                    Ok(0) | Err(_) => {
                        end(&mut tls, &mut front);
                        return Ok(());
                    }
                    Ok(read) => tls.writer().write_all(&buffer[..read])?,
                }
            }
        }
    }
}

/// A plain port that answers whatever it is told with 400, and keeps it.
pub struct Plain {
    /// Where it listens.
    pub addr: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Plain {
    /// On a port of its own.
    pub fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// On this one.
    pub fn start_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&said);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                let Ok(mut tcp) = tcp else { continue };
                let mut words = [0; 4096];
                let read = tcp.read(&mut words).unwrap_or(0);
                all.lock().unwrap().extend_from_slice(&words[..read]);
                let _ = tcp.write_all(
                    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }
        });
        Self { addr, said }
    }

    /// What it was told.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }
}

/// A plain port that sends everybody to `https://<the same host>:port`, and keeps what it was told.
pub struct Redirect {
    /// Where it listens.
    pub addr: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Redirect {
    /// Leads to a port of `host`.
    pub fn start(host: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&said);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                let (Ok(mut tcp), all) = (tcp, Arc::clone(&all)) else {
                    continue;
                };
                thread::spawn(move || {
                    let _ = tcp.set_read_timeout(Some(Duration::from_secs(10)));
                    let mut request = Vec::new();
                    let mut one = [0; 1];
                    while !request.ends_with(b"\r\n\r\n") && matches!(tcp.read(&mut one), Ok(1)) {
                        request.push(one[0]);
                    }
                    all.lock().unwrap().extend_from_slice(&request);
                    let target = String::from_utf8_lossy(&request);
                    let target = target.split(' ').nth(1).unwrap_or("/").to_owned();
                    let _ = write!(
                        tcp,
                        "HTTP/1.1 301 Moved\r\nLocation: https://{host}:{port}{target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    );
                    // The body, if there is one, before the connection is closed without a reset.
                    let _ = tcp.shutdown(Shutdown::Write);
                    let mut body = Vec::new();
                    let _ = tcp.read_to_end(&mut body);
                    all.lock().unwrap().extend_from_slice(&body);
                });
            }
        });
        Self { addr, said }
    }

    /// What it was told.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }
}
