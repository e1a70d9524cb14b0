//! The Ably stand-in of the tests as a process of its own, for tests in other languages and for
//! trying things by hand:
//!
//! ```text
//! cargo run --example ably_standin [PORT]
//! ```
//!
//! Says `{"port": …}` on stdout, then takes orders as lines of JSON on stdin, and ends with stdin:
//!
//! | order | does |
//! |---|---|
//! | `{"publish": {"channel", "message"}}` | publishes as an RCS elsewhere; answers `{"published": id}` |
//! | `{"cut": clientId}`, `{"silence": clientId}` | cuts its lines, or lets them swallow everything |
//! | `{"faults": {"refuse_resume", "refuse_continuity", "lose_acks", "ignore_attach", "duplicate"}}` | what goes wrong next, how often |
//! | `{"nack": [code, status]}` | refuses the next publish |
//! | `{"strict": clientId}` | holds that client to everything |
//! | `{"log": channel}`, `{"members": channel}` | answers with what was published, and who is present |
//! | `{"violations": true}` | answers with what clients did against the protocol |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)] // A tool of tests: a fault ends it.

#[path = "../tests/support/ably.rs"]
#[allow(dead_code)] // Of the stand-in it uses a part.
mod ably;

use std::io::BufRead as _;

use ably::Standin;
use ably::model::{Config, Model};
use serde_json::{Value, json};

fn main() {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".to_owned());
    let standin = Standin::bind(&format!("127.0.0.1:{port}"), Config::default());
    println!("{}", json!({"port": standin.address.port()}));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match serde_json::from_str::<Value>(&line) {
            Ok(order) => obey(&standin, &order),
            Err(error) => Some(json!({"error": error.to_string()})),
        };
        if let Some(answer) = answer {
            println!("{answer}");
        }
    }
}

fn obey(standin: &Standin, order: &Value) -> Option<Value> {
    let (name, value) = order.as_object()?.iter().next()?;
    let text = value.as_str().unwrap_or_default();
    match name.as_str() {
        "publish" => {
            let channel = value["channel"].as_str().unwrap_or_default();
            let id = standin.publish(channel, &value["message"]);
            Some(json!({"published": id}))
        }
        "cut" => {
            standin.cut(text);
            None
        }
        "silence" => {
            standin.silence(text);
            None
        }
        "faults" => {
            standin.model(|model| set_faults(model, value));
            None
        }
        "nack" => {
            let number = |index: usize| value[index].as_u64().unwrap_or(50_000);
            let code = u32::try_from(number(0)).unwrap();
            let status = u16::try_from(number(1)).unwrap();
            standin.model(|model| model.faults.nack.push_back((code, status)));
            None
        }
        "strict" => {
            standin.model(|model| model.strict.insert(text.to_owned()));
            None
        }
        "log" => {
            let log = standin.model(|model| model.channels.get(text).map(|c| c.log.clone()));
            Some(json!({"log": log.unwrap_or_default()}))
        }
        "members" => {
            let members: Option<Vec<Value>> = standin.model(|model| {
                let channel = model.channels.get(text);
                channel.map(|c| c.members.values().map(|m| m.entry.clone()).collect())
            });
            Some(json!({"members": members.unwrap_or_default()}))
        }
        "violations" => Some(json!({
            "violations": standin.model(|model| model.violations.clone())
        })),
        other => Some(json!({"error": format!("no order '{other}'")})),
    }
}

fn set_faults(model: &mut Model, wanted: &Value) {
    let count = |name: &str| u32::try_from(wanted[name].as_u64().unwrap_or(0)).unwrap();
    model.faults.refuse_resume += count("refuse_resume");
    model.faults.refuse_continuity += count("refuse_continuity");
    model.faults.lose_acks += count("lose_acks");
    model.faults.ignore_attach += count("ignore_attach");
    model.faults.duplicate += count("duplicate");
}
