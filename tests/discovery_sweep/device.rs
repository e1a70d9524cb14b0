//! Things that listen on a network: cameras, and what is none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lss::infrastructure::discovery::PortKind;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, socket,
};

/// High ports in the places of 554, 80, 8000, 8080, 8554, 8899 and 37777.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub rtsp: u16,
    pub web: u16,
    pub sdk: u16,
    pub web2: u16,
    pub rtsp2: u16,
    pub onvif: u16,
    pub onvif2: u16,
    pub sign: u16,
}

impl Ports {
    /// Nobody listens on them.
    pub fn free() -> Self {
        let held: Vec<TcpListener> = (0..8)
            .map(|_| TcpListener::bind("0.0.0.0:0").unwrap())
            .collect();
        let port = |at: usize| held[at].local_addr().unwrap().port();
        Self {
            rtsp: port(0),
            web: port(1),
            sdk: port(2),
            web2: port(3),
            rtsp2: port(4),
            onvif: port(5),
            onvif2: port(6),
            sign: port(7),
        }
    }

    pub fn kinds(&self) -> Vec<(u16, PortKind)> {
        vec![
            (self.rtsp, PortKind::Rtsp),
            (self.web, PortKind::Web),
            (self.sdk, PortKind::Onvif),
            (self.web2, PortKind::Web),
            (self.rtsp2, PortKind::Rtsp),
            (self.onvif, PortKind::Onvif),
            (self.onvif2, PortKind::Onvif),
            (self.sign, PortKind::Sign),
        ]
    }
}

/// How something behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A camera's RTSP: DESCRIBE wants a login.
    Rtsp,
    /// Wants a login for OPTIONS already.
    RtspLogin,
    /// RECORD, and no DESCRIBE.
    AirPlay,
    /// ONVIF's clock, and 404 for all else.
    Onvif,
    /// The same, one request a connection.
    OnvifCloses,
    /// Digest for everything, as Hikvision's.
    Isapi,
    /// A page, and a Basic login for everything below.
    Router,
    /// A page, and a fault for any SOAP.
    Printer,
    /// Says this, and waits.
    Says(&'static str),
    /// Accepts.
    Silent,
    /// A byte a second.
    Drips,
    /// Never completes a connection.
    BlackHole,
    /// Ends its side at once.
    HalfClosed,
    /// Noise without end.
    Garbage,
    /// A page without end.
    EndlessPage,
    /// Resets at once.
    Resets,
}

/// What a device saw.
#[derive(Debug, Default, Clone)]
pub struct Heard {
    pub connections: usize,
    /// Connections at once.
    pub most_at_once: usize,
    pub bytes: Vec<u8>,
    pub sent: usize,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    now: AtomicUsize,
    heard: Mutex<Heard>,
}

/// Something on one port of one address.
pub struct Device {
    pub ip: Ipv4Addr,
    pub port: u16,
    manner: Manner,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// What fills a black hole.
    hole: Vec<OwnedFd>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} {:?}", self.ip, self.port, self.manner)
    }
}

impl Device {
    pub fn start(ip: Ipv4Addr, port: u16, manner: Manner) -> Self {
        Self::try_start(ip, port, manner).unwrap_or_else(|| panic!("can't listen on {ip}:{port}"))
    }

    pub fn try_start(ip: Ipv4Addr, port: u16, manner: Manner) -> Option<Self> {
        let mut device = Self {
            ip,
            port,
            manner,
            shared: Arc::default(),
            accepting: None,
            hole: Vec::new(),
        };
        if manner == Manner::BlackHole {
            device.hole = black_hole(ip, port);
            return Some(device);
        }
        let listener = TcpListener::bind((ip, port)).ok()?;
        let shared = Arc::clone(&device.shared);
        device.accepting = Some(std::thread::spawn(move || {
            accept(&listener, manner, &shared);
        }));
        Some(device)
    }

    pub fn heard(&self) -> Heard {
        self.shared.heard.lock().unwrap().clone()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.accepting.take() {
            let _ = TcpStream::connect(SocketAddr::from((self.ip, self.port)));
            thread.join().unwrap();
        }
    }
}

fn accept(listener: &TcpListener, manner: Manner, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // No descriptors: they come back.
            std::thread::sleep(Duration::from_millis(5));
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
            continue;
        };
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        let now = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
        {
            let mut heard = shared.heard.lock().unwrap();
            heard.connections += 1;
            heard.most_at_once = heard.most_at_once.max(now);
        }
        std::thread::spawn(move || {
            behave(&stream, manner, &shared);
            shared.now.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn behave(stream: &TcpStream, manner: Manner, shared: &Shared) {
    stream
        .set_read_timeout(Some(Duration::from_secs(12)))
        .unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(12)))
        .unwrap();
    let say = |bytes: &[u8]| {
        let written = (&*stream).write(bytes).unwrap_or(0);
        shared.heard.lock().unwrap().sent += written;
        written > 0
    };
    if matches!(manner, Manner::Garbage | Manner::EndlessPage) {
        // What is written is all but what was taken.
        let small = nix::sys::socket::sockopt::SndBuf;
        nix::sys::socket::setsockopt(stream, small, &4096).unwrap();
    }
    match manner {
        Manner::Says(text) => {
            say(text.as_bytes());
        }
        Manner::HalfClosed => stream.shutdown(Shutdown::Write).unwrap(),
        Manner::Resets => {
            reset(stream);
            return;
        }
        Manner::Drips => {
            while say(b"H") && !shared.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_secs(1));
            }
            return;
        }
        Manner::Garbage => {
            while say(&[0xa5; 1000]) {}
            return;
        }
        Manner::EndlessPage => {
            say(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>");
            while say(&[b'x'; 1000]) {}
            return;
        }
        _ => {}
    }
    let mut pending = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match (&*stream).read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                pending.extend_from_slice(&chunk[..n]);
                shared
                    .heard
                    .lock()
                    .unwrap()
                    .bytes
                    .extend_from_slice(&chunk[..n]);
            }
        }
        while let Some(request) = take_request(&mut pending) {
            if let Some(answer) = answer(manner, &request)
                && !say(&answer)
            {
                return;
            }
            if manner == Manner::OnvifCloses {
                return;
            }
        }
    }
}

/// The first request, when it is whole.
fn take_request(pending: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(pending).into_owned();
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head]
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "))
        .map_or(0, |n| n.parse().unwrap());
    if pending.len() < head + length {
        return None;
    }
    pending.drain(..head + length);
    Some(text[..head + length].to_owned())
}

fn answer(manner: Manner, request: &str) -> Option<Vec<u8>> {
    let line = request.lines().next().unwrap();
    let clock = line.starts_with("POST /onvif/device_service ")
        && request.contains("<GetSystemDateAndTime ");
    let text = match manner {
        Manner::Rtsp | Manner::RtspLogin | Manner::AirPlay => return rtsp(manner, request),
        Manner::Onvif | Manner::OnvifCloses if clock => {
            let body = include_str!("../fixtures/cameras/agsh-onvif/GetSystemDateAndTime.xml");
            http("200 OK", "Content-Type: application/soap+xml\r\n", body)
        }
        Manner::Onvif | Manner::OnvifCloses => http("404 Not Found", "", ""),
        Manner::Isapi => http(
            "401 Unauthorized",
            "Server: App-webs/\r\nWWW-Authenticate: Digest qop=\"auth\", realm=\"IP Camera(F1598)\", nonce=\"4e4445\"\r\n",
            "",
        ),
        Manner::Router if line == "GET / HTTP/1.1" => http(
            "200 OK",
            "Server: mini_httpd/1.30\r\n",
            "<html><head><title>Home Router</title></head></html>",
        ),
        Manner::Router if line.contains("RTSP/1.0") => http("400 Bad Request", "", ""),
        Manner::Router => http(
            "401 Unauthorized",
            "Server: mini_httpd/1.30\r\nWWW-Authenticate: Basic realm=\"Router\"\r\n",
            "<html>401</html>",
        ),
        Manner::Printer if line.starts_with("POST") => http(
            "500 Internal Server Error",
            "Server: PrintSrv\r\n",
            "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason><s:Text>not understood</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>",
        ),
        Manner::Printer => http(
            "200 OK",
            "Server: PrintSrv\r\n",
            "<html><title>\n LaserPrinter 4000 </title></html>",
        ),
        _ => return None,
    };
    Some(text)
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn rtsp(manner: Manner, request: &str) -> Option<Vec<u8>> {
    let line = request.lines().next()?;
    if !line.ends_with(" RTSP/1.0") {
        return Some(b"RTSP/1.0 400 Bad Request\r\n\r\n".to_vec());
    }
    let cseq = request.lines().find_map(|l| l.strip_prefix("CSeq: "))?;
    let login = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"IP Camera(C1214)\", nonce=\"51\", stale=\"FALSE\"";
    let rest = match (manner, line.starts_with("OPTIONS ")) {
        (Manner::AirPlay, _) => {
            "200 OK\r\nPublic: ANNOUNCE, SETUP, RECORD, PAUSE, FLUSH, TEARDOWN, OPTIONS"
        }
        (Manner::Rtsp, true) => "200 OK\r\nPublic: OPTIONS, DESCRIBE, PLAY, PAUSE, SETUP",
        _ => login,
    };
    Some(format!("RTSP/1.0 {rest}\r\nCSeq: {cseq}\r\n\r\n").into_bytes())
}

fn reset(stream: &TcpStream) {
    let now = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &now).unwrap();
}

/// A listener whose queue is full: what knocks is dropped in silence.
fn black_hole(ip: Ipv4Addr, port: u16) -> Vec<OwnedFd> {
    let at = SockaddrIn::from(std::net::SocketAddrV4::new(ip, port));
    let new = || {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap()
    };
    let listener = new();
    bind(listener.as_raw_fd(), &at).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut held = vec![listener];
    for _ in 0..3 {
        let filler = new();
        let _ = connect(filler.as_raw_fd(), &at);
        held.push(filler);
    }
    held
}

/// Says why a test saw nothing.
pub fn skipped(why: &str) {
    let line = format!("SKIPPED {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Devices for ever: `ip port manner`, with `;` between them. Says `ready`.
pub fn serve(all: &str) -> ! {
    let _devices: Vec<Device> = all
        .split(';')
        .map(|one| {
            let [ip, port, manner] = one.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{one}")
            };
            let manner = match manner {
                "rtsp" => Manner::Rtsp,
                "onvif" => Manner::Onvif,
                "isapi" => Manner::Isapi,
                "router" => Manner::Router,
                "hole" => Manner::BlackHole,
                other => panic!("{other}"),
            };
            Device::start(ip.parse().unwrap(), port.parse().unwrap(), manner)
        })
        .collect();
    let mut out = std::io::stdout();
    out.write_all(b"\nready\n").unwrap();
    out.flush().unwrap();
    loop {
        std::thread::park();
    }
}
