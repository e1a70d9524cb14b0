//! What a stranger on the network can do to the REST port, each bounded in count and time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long one connection of an attacker lasts at most.
const LASTS: Duration = Duration::from_secs(4);

/// A connection, as far as there is one: who is attacked may refuse.
fn connect(to: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok()?;
    let pace = Some(Duration::from_millis(50));
    stream.set_read_timeout(pace).ok()?;
    stream.set_write_timeout(pace).ok()?;
    Some(stream)
}

/// Writes as much as is taken in the time of one connection.
fn push(stream: &mut TcpStream, mut bytes: &[u8]) {
    let until = Instant::now() + LASTS;
    while !bytes.is_empty() && Instant::now() < until {
        match stream.write(bytes) {
            Ok(0) => return,
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Connections that say nothing.
pub fn silent(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).filter_map(|_| connect(to)).collect()
}

/// Requests that come a byte at a time, of connections that are held side by side.
pub fn slow(to: SocketAddr, count: usize) {
    let mut all = silent(to, count);
    let head = b"POST /api/stream/start HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ";
    for stream in &mut all {
        let _ = stream.write_all(head);
    }
    let until = Instant::now() + LASTS;
    while Instant::now() < until && !all.is_empty() {
        all.retain_mut(|stream| stream.write(b"y").is_ok());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Bodies and headers beyond every size.
pub fn oversized(to: SocketAddr, rounds: usize) {
    let post = "POST /api/stream/start HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    let large = vec![b'z'; 3 << 20];
    for _ in 0..rounds {
        for (head, body) in [
            // A body of its length, one that claims more than there is memory, one in chunks.
            (
                format!("{post}Content-Length: {}\r\n\r\n", large.len()),
                large.clone(),
            ),
            (
                format!("{post}Content-Length: 99999999999\r\n\r\n"),
                large.clone(),
            ),
            (
                format!("{post}Transfer-Encoding: chunked\r\n\r\n300000\r\n"),
                large.clone(),
            ),
            // A line, and lines, without end.
            (format!("{post}X: "), large.clone()),
            (post.to_owned(), b"X: y\r\n".repeat(200_000)),
            ("GET /".to_owned(), large.clone()),
        ] {
            let Some(mut stream) = connect(to) else {
                continue;
            };
            push(&mut stream, head.as_bytes());
            push(&mut stream, &body);
        }
    }
}

/// Many requests on one connection, none of whose answers is read.
pub fn pipelined(to: SocketAddr, connections: usize, token: &str) {
    let one = format!(
        "GET /api/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let many = one.repeat(500);
    let mut held = silent(to, connections);
    for stream in &mut held {
        push(stream, many.as_bytes());
    }
}

/// Requests without a token, with a wrong one, from a foreign page. How many were answered with
/// anything but a refusal.
pub fn strangers(to: SocketAddr, count: usize) -> usize {
    let mut let_in = 0;
    for n in 0..count {
        let line = [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Basic YTpi\r\n",
            "Origin: http://evil.example\r\n",
        ][n % 4];
        let target = [
            "/api/stream/tasks",
            "/metrics",
            "/api/cameras",
            "/api/stream/node",
        ][n / 4 % 4];
        let Some(mut stream) = connect(to) else {
            continue;
        };
        push(
            &mut stream,
            format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}\r\n").as_bytes(),
        );
        let answer = answer(&mut stream);
        let refused = ["401", "403", "503"].map(|status| format!("HTTP/1.1 {status} "));
        if !answer.is_empty() && !refused.iter().any(|r| answer.starts_with(r)) {
            let_in += 1;
        }
    }
    let_in
}

fn answer(stream: &mut TcpStream) -> String {
    let until = Instant::now() + LASTS;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while Instant::now() < until && answer.len() < 64 << 10 {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
