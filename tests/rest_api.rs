//! The local REST API over real sockets: routes, refusals, what is shown.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests too

mod rest_support;

use std::time::SystemTime;

use lss::adapter::rest::Access;
use lss::domain::health::{Part, PartStatus};
use lss::util::secret::Secret;
use rest_support::*;
use serde_json::{Value, json};

#[test]
fn the_specs_seven_routes() {
    let site = Site::new();
    let started = site.start("task_001");
    assert_eq!(started.outcome(), (200, 0));
    assert_eq!(started.json()["message"], "success");
    assert_eq!(started.data()["status"], "STARTING");
    site.start("task_002").data();

    assert_eq!(
        site.get("/api/stream/task/task_001").data()["taskId"],
        "task_001"
    );
    let ids = |reply: &Reply| -> Vec<String> {
        let data = reply.data();
        let tasks = data.as_array().unwrap().iter();
        tasks
            .map(|t| t["taskId"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        ids(&site.get("/api/stream/tasks")),
        ["task_002", "task_001"]
    );

    let stopped = site.call(
        "POST",
        "/api/stream/stop",
        r#"{"taskId":"task_001","force":false}"#,
    );
    assert_eq!(stopped.outcome(), (200, 0));
    assert_eq!(stopped.data()["status"], "STOPPED");
    assert_eq!(stopped.data()["stopReason"], "COMMAND");
    assert_eq!(ids(&site.get("/api/stream/tasks/active")), ["task_002"]);

    let node = site.get("/api/stream/node").data();
    assert_eq!(node["nodeId"], "lss-test");
    assert_eq!(node["ablyClientId"], "lss-test");
    assert_eq!(node["systemInfo"]["cpuCores"], 4);
    assert_eq!(
        node["cameras"][0]["rtspUrl"],
        "rtsp://192.168.0.64:554/Streaming/Channels/101"
    );
    assert_eq!(node["registeredAt"], Value::Null);

    let health = site.get("/api/stream/health").data();
    assert_eq!(health["status"], "UP");
    assert!(health["uptimeMs"].is_u64());
    assert_eq!(health["parts"]["rcs"]["status"], "UP");
}

#[test]
fn log_and_maintenance() {
    let site = Site::new();
    site.start("task_001").data();
    for target in [
        "/api/stream/task/task_001/log",
        "/api/stream/task/task%5f001/log?run=1",
    ] {
        assert_eq!(
            site.get(target).data(),
            json!({ "taskId": "task_001", "run": 1, "runs": [1], "lines": ["first", "second"] })
        );
    }
    assert_eq!(
        site.get("/api/stream/task/task_001/log?run=2").outcome(),
        (404, 20004)
    );
    assert_eq!(
        site.get("/api/stream/task/task_001/log?run=x").outcome(),
        (400, 20003)
    );

    let put = |body: &str| site.call("PUT", "/api/stream/node/maintenance", body);
    assert_eq!(
        put(r#"{"enabled":true}"#).data(),
        json!({ "enabled": true })
    );
    let refused = site.start("task_002");
    assert_eq!(refused.outcome(), (503, 30302));
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(
        put(r#"{"enabled":false}"#).data(),
        json!({ "enabled": false })
    );
    site.start("task_002").data();
    assert_eq!(put("").outcome(), (400, 20002));
    assert_eq!(put(r#"{"enabled":"yes"}"#).outcome(), (400, 20003));
}

#[test]
fn health_live_and_ready() {
    let site = Site::new();
    assert_eq!(site.get("/livez").outcome(), (200, 0));
    assert_eq!(site.get("/readyz").data()["ready"], true);

    site.health.set(
        Part::Rcs,
        PartStatus::Down,
        "connection refused",
        SystemTime::now(),
    );
    let ready = site.get("/readyz");
    assert_eq!(ready.outcome(), (503, 30301));
    assert!(
        ready.json()["message"]
            .as_str()
            .unwrap()
            .contains("rcs: connection refused")
    );
    assert_eq!(
        ready.json()["data"]["parts"]["rcs"]["reason"],
        "connection refused"
    );
    assert_eq!(ready.json()["data"]["parts"]["ably"]["status"], "UP");
    assert_eq!(site.get("/api/stream/health").data()["status"], "DEGRADED");

    site.health.stopping();
    assert_eq!(site.get("/api/stream/health").data()["status"], "DOWN");
    assert_eq!(site.get("/readyz").status, 503);
    assert_eq!(site.get("/livez").status, 200);
}

#[test]
fn refusals_of_requests() {
    let site = Site::new();
    site.start("task_001").data();
    let start = "/api/stream/start";
    let json = "Content-Type: application/json\r\n";
    let sized = |body: &str, headers: &str| {
        format!(
            "POST {start} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let cases: Vec<(Reply, u16, u64, &str)> = vec![
        (site.get("/"), 404, 20004, "route"),
        (site.get("/api/stream/tasks/"), 404, 20004, "route"),
        (site.get("/api/stream/task/"), 404, 20004, "route"),
        (site.get("/api/stream/Tasks"), 404, 20004, "route"),
        (site.get("/api/../livez"), 404, 20004, "route"),
        (site.get(start), 405, 20001, "POST"),
        (
            site.call("DELETE", "/api/stream/tasks", ""),
            405,
            20001,
            "GET, HEAD",
        ),
        (site.call("OPTIONS", start, ""), 405, 20001, "POST"),
        (site.call("BREW", "/livez", ""), 405, 20001, "GET"),
        (site.call("POST", start, ""), 400, 20002, "taskId"),
        (site.call("POST", start, "  "), 400, 20002, "taskId"),
        (site.call("POST", start, "{"), 400, 20001, "line 1 column 1"),
        (site.call("POST", start, "[1]"), 400, 20003, "object"),
        (
            site.call("POST", start, r#"{"taskId":[1]}"#),
            400,
            20003,
            "taskId",
        ),
        (
            site.call("POST", start, r#"{"videoConfig":{"fps":"x"}}"#),
            400,
            20003,
            "videoConfig.fps",
        ),
        (
            site.call("POST", start, &start_body("a b")),
            400,
            20003,
            "taskId",
        ),
        (
            site.call("POST", start, &"[".repeat(200_000)),
            400,
            20001,
            "malformed",
        ),
        (
            site.call("POST", start, &start_body("task_001")),
            409,
            30102,
            "active",
        ),
        (
            site.call("POST", start, &start_body("no-engine")),
            500,
            40101,
            "FFmpeg",
        ),
        (
            site.call("POST", start, &start_body("t").replace("https:", "http:")),
            400,
            20005,
            "whipUrl",
        ),
        (
            site.call("POST", "/api/stream/stop", "{}"),
            400,
            20002,
            "taskId",
        ),
        (
            site.call("POST", "/api/stream/stop", r#"{"taskId":"x"}"#),
            404,
            30101,
            "no task",
        ),
        (
            site.call(
                "POST",
                "/api/stream/stop",
                r#"{"taskId":"x","force":"maybe"}"#,
            ),
            400,
            20003,
            "force",
        ),
        (site.get("/api/stream/task/unknown"), 404, 30101, "no task"),
        (site.get("/api/stream/task/a%20b"), 400, 20003, "taskId"),
        (site.get("/api/stream/task/%FF"), 400, 20003, "taskId"),
        (
            site.raw(sized("{}", "").as_bytes()),
            415,
            20001,
            "application/json",
        ),
        (
            site.raw(sized("{}", "Content-Type: text/plain\r\n").as_bytes()),
            415,
            20001,
            "JSON",
        ),
        (
            site.raw(sized("{}", "Content-Type: Application/JSON; charset=utf-8\r\n").as_bytes()),
            400,
            20002,
            "taskId",
        ),
        (
            site.raw(sized(&"x".repeat(256 * 1024), json).as_bytes()),
            400,
            20001,
            "malformed",
        ),
        (
            site.raw(sized(&"x".repeat(256 * 1024 + 1), json).as_bytes()),
            413,
            20001,
            "256 KiB",
        ),
        (
            site.raw(sized(&"x".repeat(900_000), json).as_bytes()),
            413,
            20001,
            "256 KiB",
        ),
        (
            site.raw(sized(&"x".repeat(900_000), "").as_bytes()),
            415,
            20001,
            "JSON",
        ),
    ];
    for (reply, status, code, words) in cases {
        assert_eq!(reply.outcome(), (status, code), "{words}: {reply:?}");
        assert_eq!(reply.json()["data"], Value::Null);
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{message} / {words}");
        assert!(!reply.body.contains("canary"), "{reply:?}");
        assert_eq!(reply.header("Allow").is_some(), status == 405);
    }
    assert_eq!(
        site.call("PATCH", start, "").header("Allow").as_deref(),
        Some("POST")
    );
}

#[test]
fn host_origin_and_token() {
    let token = "canary-token-1";
    let site = Site::with(Setup {
        access: Access {
            token: Some(Secret::new(token)),
            allowed_hosts: vec!["lss.example".into()],
            host_name: "gateway-7".into(),
        },
        ..Setup::default()
    });
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let ask = |method: &str, target: &str, host: &str, headers: &str| {
        site.raw(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").as_bytes())
    };
    let tasks = "/api/stream/tasks";
    for (host, headers, status, code) in [
        ("127.0.0.1", String::new(), 401, 10001),
        ("gateway-7", String::new(), 401, 10001),
        (
            "lss.example",
            "Authorization: Basic eDp5\r\n".into(),
            401,
            10001,
        ),
        ("127.0.0.1", bearer("wrong"), 403, 10002),
        ("evil.example", bearer("wrong"), 421, 10002),
        ("evil.example", String::new(), 421, 10002),
        (
            "127.0.0.1",
            "Origin: http://evil.example\r\n".into(),
            403,
            10002,
        ),
        (
            "evil.example",
            "Origin: http://evil.example\r\n".into(),
            421,
            10002,
        ),
        (
            "127.0.0.1",
            "Origin: http://127.0.0.1\r\n".into(),
            401,
            10001,
        ),
        ("127.0.0.1", bearer(token), 200, 0),
        ("evil.example", bearer(token), 200, 0),
        (
            "x",
            bearer(token) + "Origin: http://evil.example\r\n",
            200,
            0,
        ),
    ] {
        let reply = ask("GET", tasks, host, &headers);
        assert_eq!(reply.outcome(), (status, code), "{host} {headers}");
        assert_eq!(reply.header("WWW-Authenticate").is_some(), status == 401);
        assert!(!format!("{reply:?}").contains("canary"));
    }
    // Who may not ask does not learn which routes there are, nor that its body is too large.
    assert_eq!(
        ask("GET", "/nowhere", "127.0.0.1", "").outcome(),
        (401, 10001)
    );
    assert_eq!(
        ask("GET", "/nowhere", "127.0.0.1", &bearer(token)).outcome(),
        (404, 20004)
    );
    let large = "Content-Length: 9999999\r\n";
    assert_eq!(
        ask("POST", "/api/stream/start", "evil", large).outcome(),
        (421, 10002)
    );
    assert_eq!(
        ask("POST", "/api/stream/start", "10.0.0.1", large).outcome(),
        (401, 10001)
    );
    let allowed = bearer(token) + large;
    assert_eq!(
        ask("POST", "/api/stream/start", "x", &allowed).outcome(),
        (415, 20001)
    );
    // A request of old may name no host at all.
    let old = site.raw(b"GET /api/stream/tasks HTTP/1.0\r\n\r\n");
    assert_eq!(old.outcome(), (421, 10002));
    // Three routes are for those who watch.
    for open in ["/livez", "/readyz", "/api/stream/health"] {
        let headers = bearer("wrong") + "Origin: http://evil.example\r\n";
        assert_eq!(ask("GET", open, "evil.example", &headers).status, 200);
        let old = site.raw(format!("GET {open} HTTP/1.0\r\n\r\n").as_bytes());
        assert_eq!(old.status, 200, "{old:?}");
    }
}

#[test]
fn access_can_be_swapped_but_not_opened_to_the_world() {
    let site = Site::new();
    let rest = site.rest.as_ref().unwrap();
    assert_eq!(site.get("/api/stream/tasks").status, 200);
    let closed = Access {
        token: Some(Secret::new("canary-token-2")),
        ..Access::default()
    };
    rest.set_access(closed).unwrap();
    assert_eq!(site.get("/api/stream/tasks").status, 401);
    rest.set_access(Access::default()).unwrap();
    assert_eq!(site.get("/api/stream/tasks").status, 200);
}

#[test]
fn a_head_is_a_get_without_body() {
    let site = Site::new();
    let reply = site.call("HEAD", "/livez", "");
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    let length = site.get("/livez").body.len().to_string();
    assert_eq!(reply.header("Content-Length"), Some(length));
    let unknown = site.call("HEAD", "/nowhere", "");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, ""));
}

#[test]
fn no_secret_leaves() {
    let site = Site::new();
    let canary = "canary-0815";
    let command = format!(
        "ffmpeg -i rtsp://u:{canary}@192.168.0.64/x -authorization {canary} \
         -f whip https://w.example/{canary}/whip"
    );
    let start = json!({
        "taskId": "t", "sourceUrl": format!("rtsp://u:{canary}@192.168.0.64/{canary}"),
        "whipUrl": format!("https://w.example/{canary}/whip"),
        "playbackUrl": format!("https://w.example/{canary}/whep"), "ffmpegCommand": command,
    });
    let mut seen = vec![site.call("POST", "/api/stream/start", &start.to_string())];
    assert_eq!(seen[0].status, 200);
    for target in [
        "/api/stream/task/t",
        "/api/stream/tasks",
        "/api/stream/tasks/active",
    ] {
        seen.push(site.get(target));
    }
    seen.push(site.get(&format!("/api/stream/task/{canary}")));
    seen.push(site.get(&format!("/{canary}?token={canary}")));
    seen.push(site.call(canary, "/livez", ""));
    for broken in [
        format!("{{\"sourceUrl\": \"rtsp://u:{canary}@x/\" {canary}"),
        format!("{{\"sourceUrl\": [\"{canary}\"]}}"),
        format!("\"{canary}\""),
        json!({ "taskId": "u", "sourceUrl": format!("http://u:{canary}@x/"), "whipUrl": canary })
            .to_string(),
        json!({ "taskId": canary.repeat(20), "sourceUrl": "" }).to_string(),
        json!({ "taskId": "v", "sourceUrl": format!("rtsp://u:{canary}@x:0/"), "whipUrl": "" })
            .to_string(),
    ] {
        seen.push(site.call("POST", "/api/stream/start", &broken));
    }
    seen.push(site.call("POST", "/api/stream/stop", r#"{"taskId":"t"}"#));
    for reply in seen {
        assert!(!reply.body.contains("canary"), "{reply:?}");
        assert!(!reply.head.contains("canary"), "{reply:?}");
    }
}
