//! The cloud of the tests as a process of its own, RCS and Ably, both over TLS and both strict: for
//! tests that run the packaged program, on whatever machine it was built for.
//!
//! ```text
//! cargo run --example cloud_standin DIR
//! ```
//!
//! Writes `DIR/rcs.pem` and `DIR/ably.pem`, what a client has to trust, and says where it listens
//! (`localhost`): `ready RCS_PORT ABLY_PORT`. Then a line for everything that comes:
//!
//! ```text
//! MILLISECONDS Register|Heartbeat|Callback {body}     at RCS; the Unix time of its coming
//! MILLISECONDS CHANNEL {message}                      at Ably
//! ```
//!
//! A line `CHANNEL {message}` on stdin is published. It ends with stdin: 0, or 1 and the reasons if
//! a client did anything against the contract.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)] // A tool of tests: a fault ends it.

#[path = "../tests/support/ably.rs"]
#[allow(dead_code)] // Of the stand-ins it uses a part.
mod ably;
#[path = "../tests/support/certs.rs"]
mod certs;
#[path = "../tests/support/rcs.rs"]
#[allow(dead_code)]
mod rcs;

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ably::Standin;
use ably::model::Config;
use ably::tls::TlsFront;
use base64::Engine as _;
use rcs::Rcs;

fn main() -> ExitCode {
    let dir = std::env::args().nth(1).expect("a directory");
    let dir = Path::new(&dir);
    let authority = certs::TestCa::new("RCS of the tests");
    authority.write(&dir.join("rcs.pem"));
    let rcs = Rcs::start_tls(authority.server(&["localhost", "127.0.0.1"]));
    let standin = Arc::new(Standin::bind("127.0.0.1:0", Config::default()));
    let front = TlsFront::start(standin.address);
    std::fs::write(dir.join("ably.pem"), pem(front.pem().der())).unwrap();
    let rcs_port = rcs.base_url().rsplit(':').next().unwrap().to_owned();
    println!("ready {rcs_port} {}", front.address.port());

    // Said as it comes, not when somebody looks.
    rcs.script(|request| {
        println!("{} {:?} {}", millis(), request.door, request.body);
        None
    });
    let stop = Arc::new(AtomicBool::new(false));
    let watching = {
        let (standin, stop) = (standin.clone(), stop.clone());
        std::thread::spawn(move || watch(&standin, &stop))
    };
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (channel, message) = line.split_once(' ').expect("CHANNEL MESSAGE");
        standin.publish(channel, &serde_json::from_str(message).unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    watching.join().unwrap();
    let mut complaints = standin.model(|model| model.violations.clone());
    complaints.append(&mut rcs.violations());
    rcs.forgive();
    for complaint in &complaints {
        println!("against the contract: {complaint}");
    }
    ExitCode::from(u8::from(!complaints.is_empty()))
}

/// Prints what is published, until told to stop.
fn watch(standin: &Standin, stop: &AtomicBool) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(10));
        let news = standin.model(|model| {
            let mut news = Vec::new();
            for (name, channel) in &model.channels {
                let seen = seen.entry(name.clone()).or_default();
                for (_, data) in channel.log.iter().skip(*seen) {
                    // JSON inside a string is what lss sends.
                    let data = data
                        .as_str()
                        .map_or_else(|| data.to_string(), str::to_owned);
                    news.push(format!("{name} {data}"));
                }
                *seen = channel.log.len();
            }
            news
        });
        for line in news {
            println!("{} {line}", millis());
        }
    }
}

fn millis() -> u128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_millis()
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
