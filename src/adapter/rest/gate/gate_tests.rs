use super::*;
use std::io::{Read as _, Write as _};

use crossbeam_channel::bounded;
use nix::sys::eventfd::EfdFlags;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server for one request.
fn server() -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut theirs = theirs;
    std::thread::spawn(move || {
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            match theirs.read(&mut buffer) {
                Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let _ = theirs.write_all(ANSWER.as_bytes());
    });
    ours
}

fn ask(address: std::net::SocketAddr) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(20));
    client.set_read_timeout(patience).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    // A gate that panicked closes without a word.
    let _ = client.read_to_string(&mut answer);
    answer
}

#[test]
fn a_panic_closes_what_was_open_and_the_gate_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let bell = Arc::new(EventFd::from_flags(flags).unwrap());
    let (stop, stopped) = bounded(1);
    let mut calls = 0;
    let connect = Box::new(move || {
        calls += 1;
        assert!(calls != 2, "a bug of ours");
        Ok(server())
    });
    let gate = Gate::new(
        listener,
        Arc::clone(&bell),
        stopped,
        connect,
        Limits::default(),
        Box::new(|| Duration::ZERO),
    );
    let gate = gate.unwrap();
    let gate = std::thread::spawn(move || gate.run());
    let answers: Vec<bool> = (0..4).map(|_| ask(address).ends_with("ok")).collect();
    assert_eq!(answers, [true, false, true, true]);
    stop.send(Instant::now()).unwrap();
    bell.write(1).unwrap();
    gate.join().unwrap();
}
