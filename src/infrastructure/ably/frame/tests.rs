use super::*;
use serde_json::json;

fn parse(value: &Value) -> ProtocolMessage {
    ProtocolMessage::parse(&value.to_string()).unwrap()
}

#[test]
fn connected_with_its_details() {
    let frame = ProtocolMessage::parse(
        r#"{"action":4,"connectionId":"PxN5MzWkQe",
         "connectionDetails":{"clientId":"lss-machine_007","connectionKey":"PxN5MzWkQe!a91kD-5d1",
           "maxMessageSize":65536,"maxFrameSize":524288,"maxInboundRate":50,"maxOutboundRate":50,
           "connectionStateTtl":120000,"maxIdleInterval":15000,"serverId":"x","siteCode":"y"}}"#,
    )
    .unwrap();
    assert_eq!(frame.action, Action::Connected);
    assert_eq!(frame.connection_id.as_deref(), Some("PxN5MzWkQe"));
    assert_eq!(frame.defects, 0);
    let details = frame.details.unwrap();
    assert_eq!(details.client_id.as_deref(), Some("lss-machine_007"));
    assert_eq!(
        details.connection_key.unwrap().expose(),
        "PxN5MzWkQe!a91kD-5d1"
    );
    assert_eq!(details.max_message_size, Some(65536));
    assert_eq!(details.connection_state_ttl, Some(120_000));
    assert_eq!(details.max_idle_interval, Some(15000));
    assert_eq!(details.max_inbound_rate, Some(50));
}

#[test]
fn a_message_takes_id_connection_and_time_from_its_frame() {
    let frame = parse(&json!({
        "action": 15, "id": "aB3dE5gH7k:12", "connectionId": "aB3dE5gH7k",
        "channel": "lss:x:commands", "channelSerial": "f1c2@1-108", "timestamp": 1_769_767_200_123_i64,
        "messages": [
            {"name": "command", "data": "{\"command\":\"Q\"}", "encoding": "json", "clientId": "rcs"},
            {"id": "own", "connectionId": "other", "timestamp": 7, "data": "s", "action": 1}
        ]
    }));
    let [first, second] = &frame.messages[..] else {
        panic!("{frame:?}")
    };
    assert_eq!(first.id.as_deref(), Some("aB3dE5gH7k:12:0"));
    assert_eq!(first.connection_id.as_deref(), Some("aB3dE5gH7k"));
    assert_eq!(first.timestamp, Some(1_769_767_200_123));
    assert_eq!(first.data, Data::Json(json!({"command": "Q"})));
    assert_eq!(first.action, 0);
    assert_eq!(second.id.as_deref(), Some("own"));
    assert_eq!(second.connection_id.as_deref(), Some("other"));
    assert_eq!((second.timestamp, second.action), (Some(7), 1));
}

#[test]
fn without_any_id_the_message_serial_stands_in_else_there_is_none() {
    let frame = parse(&json!({"action": 15, "messages": [{"serial": "f@1-1:000"}, {"data": "x"}]}));
    assert_eq!(frame.messages[0].id.as_deref(), Some("f@1-1:000"));
    assert_eq!(frame.messages[1].id, None);
}

#[test]
fn absent_is_null_and_unknown_is_ignored() {
    let frame = parse(&json!({
        "action": 11, "channel": "c", "channelSerial": null, "error": null, "params": null,
        "messages": null, "flags": null, "somethingNew": {"deep": [1]}, "res": [{"serials": [null]}]
    }));
    assert_eq!(
        (frame.channel_serial, frame.error, frame.flags),
        (None, None, 0)
    );
    assert_eq!(frame.defects, 0);
    assert_eq!(parse(&json!({"action": 4711})).action, Action::Other(4711));
}

#[test]
fn wrong_types_are_absent_and_noted() {
    let frame = parse(&json!({
        "action": 15, "id": 5, "channel": ["c"], "msgSerial": "7", "count": -1, "flags": 1.5,
        "timestamp": "now", "error": "bad", "connectionDetails": [], "presence": "x",
        "messages": [17, {"name": 3, "data": {"raw": true}, "encoding": 9}, "text"]
    }));
    assert_eq!(frame.messages.len(), 1, "the readable one is kept");
    assert_eq!(frame.messages[0].data, Data::Json(json!({"raw": true})));
    assert_eq!(frame.defects, 13);
    assert_eq!(frame.msg_serial, None);
}

#[test]
fn numbers_written_as_doubles_count() {
    let frame =
        ProtocolMessage::parse(r#"{"action":1.0,"msgSerial":7.0,"timestamp":1.769e12}"#).unwrap();
    assert_eq!((frame.action, frame.msg_serial), (Action::Ack, Some(7)));
    assert_eq!(frame.timestamp, Some(1_769_000_000_000));
}

#[test]
fn what_is_no_frame_has_a_name() {
    let refused = |text: &str| ProtocolMessage::parse(text).unwrap_err();
    assert_eq!(refused(""), FrameError::NotJson);
    assert_eq!(refused("\u{FFFD}"), FrameError::NotJson);
    assert_eq!(refused("[1]"), FrameError::NotAnObject);
    assert_eq!(refused("{}"), FrameError::NoAction);
    assert_eq!(refused("{\"action\":\"4\"}"), FrameError::NoAction);
    assert_eq!(refused("{\"action\":-1}"), FrameError::NoAction);
    assert_eq!(refused(&"{\"a\":".repeat(100_000)), FrameError::NotJson);
}

#[test]
fn error_objects() {
    let frame = parse(
        &json!({"action": 9, "error": {"code": 40142, "statusCode": 401,
        "message": "Token expired", "href": "x", "cause": {"code": 1}, "requestId": "r"}}),
    );
    let error = frame.error.unwrap();
    assert!(error.is_token_error());
    assert_eq!(error.to_string(), "Token expired (40142)");
    // The status follows from the code where it is missing.
    let error = parse(&json!({"action": 9, "error": {"code": 40142}})).error;
    assert!(error.unwrap().is_token_error());
    let error = ErrorInfo::new(40101, 401, "");
    assert!(!error.is_token_error());
    assert_eq!(error.to_string(), "code 40101");
    assert!(ErrorInfo::new(42911, 429, "").is_rate_limit());
    assert!(ErrorInfo::new(50003, 503, "").is_server_error());
}

#[test]
fn an_error_text_that_repeats_a_secret_is_masked() {
    let _key = Secret::new("app.key:canary-secret");
    let frame = parse(&json!({"action": 9, "error": {"code": 40101,
        "message": "bad key app.key:canary-secret"}}));
    assert!(!format!("{frame:?}").contains("canary"));
}

#[test]
fn publishes_carry_serial_zero_and_nothing_of_the_servers() {
    let mut frame = ProtocolMessage::on(Action::Message, "c");
    frame.msg_serial = Some(0);
    frame.connection_id = Some("never sent".into());
    frame.timestamp = Some(1);
    frame.publish = Some(Outgoing {
        id: Some("i1".into()),
        name: Some("heartbeat".into()),
        data: Data::Json(json!({"a": 1})).encode(),
    });
    let sent: Value = serde_json::from_str(&frame.to_text()).unwrap();
    assert_eq!(
        sent,
        json!({"action": 15, "channel": "c", "msgSerial": 0,
            "messages": [{"id": "i1", "name": "heartbeat", "data": "{\"a\":1}", "encoding": "json"}]})
    );
}

#[test]
fn name_and_data_that_are_absent_are_left_out() {
    let mut frame = ProtocolMessage::on(Action::Message, "c");
    frame.publish = Some(Outgoing {
        id: None,
        name: None,
        data: Data::None.encode(),
    });
    let sent: Value = serde_json::from_str(&frame.to_text()).unwrap();
    assert_eq!(sent["messages"], json!([{}]));
}

#[test]
fn presence_attach_and_auth() {
    let mut frame = ProtocolMessage::on(Action::Presence, "r");
    frame.msg_serial = Some(3);
    frame.presence_op = Some(PresenceOp {
        action: PresenceAction::Leave,
        data: Data::None.encode(),
    });
    let sent: Value = serde_json::from_str(&frame.to_text()).unwrap();
    assert_eq!(
        sent,
        json!({"action": 14, "channel": "r", "msgSerial": 3, "presence": [{"action": 3}]})
    );

    let mut frame = ProtocolMessage::on(Action::Attach, "c");
    frame.flags = SUBSCRIBE;
    frame.params = vec![("rewind", "2m".into())];
    let sent: Value = serde_json::from_str(&frame.to_text()).unwrap();
    assert_eq!(
        sent,
        json!({"action": 10, "channel": "c", "flags": 262_144, "params": {"rewind": "2m"}})
    );

    let mut frame = ProtocolMessage::new(Action::Auth);
    frame.access_token = Some(Secret::new("token-canary"));
    assert!(!format!("{frame:?}").contains("canary"));
    let sent: Value = serde_json::from_str(&frame.to_text()).unwrap();
    assert_eq!(
        sent,
        json!({"action": 17, "auth": {"accessToken": "token-canary"}})
    );
}

#[test]
fn presence_entries() {
    let frame = parse(
        &json!({"action": 16, "channel": "r", "channelSerial": "s1:", "id": "AA:0",
        "connectionId": "AA", "timestamp": 9,
        "presence": [{"action": 1, "clientId": "n", "data": "{}", "encoding": "json"}, {"clientId": "x"}]}),
    );
    assert_eq!(
        frame.presence.len(),
        1,
        "an entry without an action is none"
    );
    let entry = &frame.presence[0];
    assert_eq!(entry.action, PresenceAction::Present);
    assert_eq!(entry.id.as_deref(), Some("AA:0:0"));
    assert_eq!(entry.connection_id.as_deref(), Some("AA"));
    assert_eq!(entry.timestamp, Some(9));
}

#[test]
fn size_counts_name_and_raw_data() {
    let data = Data::Binary(vec![0; 30]).encode();
    assert_eq!(message_size("name", &data), 34);
}

#[test]
fn debug_shows_no_payload_and_no_key() {
    let frame = parse(
        &json!({"action": 15, "id": "f", "messages": [{"data": "canary-data"}],
        "connectionDetails": {"connectionKey": "canary-key"}}),
    );
    assert!(!format!("{frame:?} {:?}", frame.details).contains("canary"));
}

proptest::proptest! {
    /// Any text, any JSON: a frame or an error, never a panic.
    #[test]
    fn any_text(text in ".*") {
        let _ = ProtocolMessage::parse(&text);
    }

    #[test]
    fn any_fields(action in 0_u64..25, number in proptest::num::f64::ANY, text in ".*", encoding in "[a-z0-9/+-]*") {
        let value = json!({"action": action, "msgSerial": number, "count": number, "timestamp": number,
            "id": text, "error": {"code": number, "message": text},
            "messages": [{"data": text, "encoding": encoding}], "presence": [{"action": number, "id": text}]});
        let frame = ProtocolMessage::parse(&value.to_string()).unwrap();
        let _ = (frame.to_text(), format!("{frame:?}"));
    }
}
