use super::*;

const HAS_PRESENCE: u64 = 1;
const RESUMED: u64 = 4;

fn data(text: &str) -> Input {
    Input::PresenceData(Data::Json(json!({"v": text})))
}

/// Presence operations that are sent: action, data, serial.
fn ops(out: &[Output]) -> Vec<(u64, String, u64)> {
    sent_of(out, 14)
        .iter()
        .map(|frame| {
            let entry = &frame["presence"][0];
            assert_eq!(frame["channel"], R);
            assert!(entry.get("clientId").is_none(), "RTP8c");
            assert!(entry.get("id").is_none());
            let data = entry["data"].as_str().unwrap_or_default().to_owned();
            let action = entry["action"].as_u64().unwrap();
            (action, data, frame["msgSerial"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn entered_once_the_registry_is_attached_and_not_before() {
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connect);
    bench.feed(data("1"));
    assert!(ops(&bench.connected("A", "k")).is_empty(), "RTP16b");
    let out = bench.attached(R, "r1", 0);
    assert_eq!(ops(&out), [(2, r#"{"v":"1"}"#.to_owned(), 0)]);
    assert_eq!(sent_of(&out, 14)[0]["presence"][0]["encoding"], "json");
    assert!(!bench.machine.status().present);
    bench.ack(0, 1);
    assert!(bench.machine.status().present);
}

#[test]
fn new_data_is_an_update_and_the_same_data_is_nothing() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.ack(0, 1);
    assert!(ops(&bench.feed(data("1"))).is_empty());
    assert_eq!(ops(&bench.feed(data("2")))[0].0, 4);
    // While it has no answer only the newest waits.
    assert!(ops(&bench.feed(data("3"))).is_empty());
    assert!(ops(&bench.feed(data("4"))).is_empty());
    assert_eq!(ops(&bench.ack(1, 1)), [(4, r#"{"v":"4"}"#.to_owned(), 2)]);
}

#[test]
fn entered_afresh_after_every_attached_but_a_resumed_one_on_an_attached_channel() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.ack(0, 1);
    assert!(ops(&bench.attached(R, "r1", RESUMED)).is_empty(), "RTP17i");
    assert_eq!(
        ops(&bench.attached(R, "r1", 0)),
        [(2, r#"{"v":"1"}"#.to_owned(), 1)]
    );
    bench.ack(1, 1);
    bench.lose();
    bench.connected("A", "k2");
    assert!(!bench.machine.status().present);
    let out = bench.attached(R, "r1", RESUMED);
    assert_eq!(ops(&out).len(), 1, "through ATTACHING: entered again");
    // With what is current by then.
    bench.lose();
    bench.feed(data("9"));
    bench.wait(SEC * 2);
    bench.connected("B", "k3");
    assert_eq!(
        ops(&bench.attached(R, "r1", 0)),
        [(2, r#"{"v":"9"}"#.to_owned(), 0)]
    );
}

#[test]
fn what_was_in_flight_is_forgotten_on_disconnect() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.publish("p");
    bench.lose();
    let out = bench.connected("A", "k2");
    assert!(ops(&out).is_empty());
    assert_eq!(published(&out), [("p".to_owned(), 1)], "the hole stays");
    assert_eq!(ops(&bench.attached(R, "r1", RESUMED))[0].2, 2);
}

#[test]
fn refused_presence_is_told_and_tried_again() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    let out = bench.nack(0, 91003, 400);
    assert!(
        matches!(&out[..], [Output::PresenceRefused(e)] if e.code == 91003),
        "RTP17e"
    );
    let out = bench.wait_alive(SEC * 16);
    assert_eq!(ops(&out)[0].0, 2);
    bench.ack(1, 1);
    assert!(bench.machine.status().present);
}

#[test]
fn refused_presence_does_not_wait_if_the_data_changes() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.nack(0, 40000, 400);
    assert_eq!(ops(&bench.feed(data("2"))).len(), 1);
}

#[test]
fn data_over_the_limit_is_not_sent() {
    let mut bench = Bench::up();
    let out = bench.feed(data(&"x".repeat(70_000)));
    assert!(ops(&out).is_empty());
    assert!(matches!(&out[..], [Output::PresenceRefused(e)] if e.code == 40009));
    assert_eq!(ops(&bench.feed(data("small"))).len(), 1);
}

#[test]
fn a_registry_that_fails_takes_the_presence_along() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.ack(0, 1);
    bench.error(Some(R), 40160, 401);
    assert!(!bench.machine.status().present, "RTP5a");
    assert!(ops(&bench.feed(data("2"))).is_empty(), "RTP8g, RTL11");
    bench.wait_alive(SEC * 70);
    assert_eq!(ops(&bench.attached(R, "r5", 0)).len(), 1);
}

fn event(action: u64, conn: &str, id: &str, at: i64) -> Value {
    json!({"action": 14, "channel": R, "channelSerial": "r", "connectionId": conn, "id": id,
        "timestamp": at, "presence": [{"action": action, "clientId": "node", "data": "{}"}]})
}

#[test]
fn thrown_out_means_entering_again_soon() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.ack(0, 1);
    assert!(ops(&bench.frame(&event(3, "A", "server:1", 5))).is_empty());
    assert!(!bench.machine.status().present);
    assert_eq!(ops(&bench.wait(SEC * 5)).len(), 1);
}

#[test]
fn the_late_leave_of_our_old_connection_is_not_ours() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.ack(0, 1);
    bench.lose();
    bench.connected("B", "k2");
    bench.attached(R, "r1", 0);
    bench.ack(0, 1);
    bench.frame(&event(3, "A", "server:9", 5));
    assert!(bench.machine.status().present, "RTP17b");
}

fn cloned(out: &[Output]) -> Option<bool> {
    out.iter().find_map(|one| match one {
        Output::ClonedMachineId(cloned) => Some(*cloned),
        _ => None,
    })
}

#[test]
fn a_stranger_under_our_id_for_a_minute_is_a_clone() {
    let mut bench = Bench::up();
    bench.frame(&event(2, "X", "X:1:0", 5));
    assert_eq!(cloned(&bench.wait_alive(SEC * 59)), None);
    assert_eq!(cloned(&bench.wait_alive(SEC * 2)), Some(true));
    assert!(bench.machine.status().cloned);
    assert_eq!(cloned(&bench.wait_alive(SEC * 600)), None, "told once");
    assert_eq!(
        cloned(&bench.frame(&event(3, "X", "X:2:0", 9))),
        Some(false)
    );
}

#[test]
fn nobody_else_is_a_clone() {
    let mut bench = Bench::up();
    bench.feed(data("1"));
    bench.ack(0, 1);
    // Ourselves, our former self, another node, one that left in time.
    bench.frame(&event(2, "A", "A:0:0", 5));
    let mut other = event(2, "Y", "Y:1:0", 5);
    other["presence"][0]["clientId"] = json!("other");
    bench.frame(&other);
    bench.frame(&event(2, "Z", "Z:1:0", 5));
    bench.frame(&event(3, "Z", "Z:2:0", 6));
    bench.lose();
    bench.connected("B", "k2");
    bench.attached(R, "r1", HAS_PRESENCE);
    bench.frame(
        &json!({"action": 16, "channel": R, "channelSerial": "s1:", "presence":
        [{"action": 1, "clientId": "node", "connectionId": "A", "id": "A:0:0", "timestamp": 5}]}),
    );
    assert_eq!(cloned(&bench.wait_alive(SEC * 300)), None);
}

#[test]
fn an_older_event_does_not_bring_a_stranger_back() {
    let mut bench = Bench::up();
    bench.frame(&event(2, "X", "X:5:0", 50));
    // An older LEAVE that comes late is no leave (RTP2).
    bench.frame(&event(3, "X", "X:4:0", 40));
    assert_eq!(cloned(&bench.wait_alive(SEC * 61)), Some(true));
    // A synthesised one is compared by its time.
    bench.frame(&event(3, "X", "server:1", 49));
    assert!(bench.machine.status().cloned);
    assert_eq!(
        cloned(&bench.frame(&event(3, "X", "server:2", 51))),
        Some(false)
    );
}

fn sync(cursor: &str, connections: &[&str]) -> Value {
    let members: Vec<Value> = connections
        .iter()
        .map(|c| json!({"action": 1, "clientId": "node", "connectionId": c, "id": format!("{c}:1:0")}))
        .collect();
    json!({"action": 16, "channel": R, "channelSerial": cursor, "presence": members})
}

#[test]
fn a_sync_in_pages_names_who_is_there() {
    let mut bench = Bench::up();
    bench.frame(&event(2, "X", "X:1:0", 5));
    bench.wait_alive(SEC * 61);
    assert!(bench.machine.status().cloned);
    // Attached anew: X is in the second page, then in none.
    bench.attached(R, "r2", HAS_PRESENCE);
    bench.frame(&sync("s1:p1", &["Q"]));
    assert!(
        bench.machine.status().cloned,
        "in mid-sync nothing is certain"
    );
    assert_eq!(cloned(&bench.frame(&sync("s1:", &["X"]))), None);
    bench.attached(R, "r3", HAS_PRESENCE);
    assert_eq!(
        cloned(&bench.frame(&sync("s2:", &[]))),
        Some(false),
        "RTP19"
    );
    // Q and X are both gone.
    assert_eq!(cloned(&bench.wait_alive(SEC * 100)), None);
}

#[test]
fn a_sync_that_begins_anew_forgets_the_first() {
    let mut bench = Bench::up();
    bench.attached(R, "r2", HAS_PRESENCE);
    bench.frame(&sync("s1:p1", &["X"]));
    bench.frame(&sync("s2:p1", &["Y"]));
    bench.frame(&sync("s2:", &[]));
    // X was only in the sequence that was given up.
    let watched = bench.machine.presence.clone_deadline(SEC * 60);
    assert!(watched.is_some());
    bench.frame(&event(3, "Y", "Y:2:0", 9));
    assert_eq!(cloned(&bench.wait_alive(SEC * 100)), None, "RTP18a");
}

#[test]
fn without_has_presence_nobody_is_there() {
    let mut bench = Bench::up();
    bench.frame(&event(2, "X", "X:1:0", 5));
    bench.attached(R, "r2", 0);
    assert_eq!(cloned(&bench.wait_alive(SEC * 100)), None, "RTP19a");
}

#[test]
fn a_sync_without_a_serial_is_one_page() {
    let mut bench = Bench::up();
    bench.attached(R, "r2", HAS_PRESENCE);
    let mut page = sync("", &["X"]);
    page.as_object_mut().unwrap().remove("channelSerial");
    bench.frame(&page);
    assert_eq!(cloned(&bench.wait_alive(SEC * 61)), Some(true), "RTP18c");
}
