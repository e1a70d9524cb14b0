//! Any lines as frames of the service, to a machine that is connected: no panic, no payload or key
//! in `Debug`, no deadline that is due for ever, no tight reconnect loop.
//!
//! Each line is a frame; a line `+123` lets that many milliseconds pass.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lss::infrastructure::ably::connection::Machine;
use lss::infrastructure::ably::connection::types::{
    Credentials, Input, Output, Publish, PublishKind, Settings, Timing, TransportId,
};
use lss::infrastructure::ably::data::Data;
use lss::infrastructure::ably::endpoint::Hosts;
use lss::infrastructure::ably::frame::ProtocolMessage;
use lss::util::secret::Secret;
use lss::util::time::Now;

const CANARY: &str = "cAnary7f3aX";

struct World {
    machine: Machine,
    now: Now,
    transport: TransportId,
    opened: u32,
}

impl World {
    fn feed(&mut self, input: Input) {
        for output in self.machine.handle(input, self.now) {
            assert!(!format!("{output:?}").contains(CANARY));
            match output {
                Output::OpenTransport { transport, .. } => {
                    self.transport = transport;
                    self.opened += 1;
                }
                Output::Send(_, frame) => {
                    // What we send is read by others: it must be JSON.
                    let _: serde_json::Value = serde_json::from_str(&frame.to_text()).unwrap();
                }
                _ => {}
            }
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(at) = self.machine.next_deadline() {
            if at > end.mono {
                break;
            }
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            self.feed(Input::Timeout);
            let next = self.machine.next_deadline();
            assert!(next.is_none_or(|next| next > self.now.mono), "it spins");
        }
        self.now = end;
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    // The fuzzer learns the word from what it compares.
    if text.contains("cAnary") {
        return;
    }
    let now = Now { mono: Instant::now(), wall: SystemTime::UNIX_EPOCH };
    let settings = Settings {
        client_id: "node".to_owned(),
        credentials: Credentials::Key(Secret::new(format!("a.b:{CANARY}"))),
        hosts: Hosts { primary: "p".to_owned(), fallbacks: vec!["f".to_owned()] },
        commands: "cmd".to_owned(),
        registry: "reg".to_owned(),
        agent: "lss/fuzz".to_owned(),
        urgent: Arc::new(|message| message.name.as_deref() == Some("stop")),
        timing: Timing::default(),
        seed: 1,
    };
    let machine = Machine::new(settings, now);
    let mut world = World { machine, now, transport: TransportId(0), opened: 0 };
    world.feed(Input::PresenceData(Data::Text(CANARY.to_owned())));
    world.feed(Input::Connect);
    let mut time = Duration::ZERO;
    for (index, line) in text.lines().enumerate().take(64) {
        if let Some(ms) = line.strip_prefix('+').and_then(|ms| ms.parse::<u32>().ok()) {
            let by = Duration::from_millis(u64::from(ms % 400_000));
            time += by;
            world.pass(by);
            continue;
        }
        let Ok(frame) = ProtocolMessage::parse(line) else { continue };
        let _ = (frame.to_text(), format!("{frame:?}"));
        let id = world.transport;
        world.feed(Input::Opened(id));
        world.feed(Input::Frame(id, Box::new(frame)));
        if index % 4 == 0 {
            world.feed(Input::Publish(Publish {
                channel: "s".to_owned(),
                name: "n".to_owned(),
                data: Data::Text(CANARY.to_owned()).encode(),
                id: index.to_string(),
                kind: PublishKind::Event,
            }));
        }
    }
    // At once, then after a second, two, four, …; a round has two hosts.
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    assert!(world.opened <= 8 + seconds, "{} connects in {seconds} s", world.opened);
    let _ = world.machine.status();
});
