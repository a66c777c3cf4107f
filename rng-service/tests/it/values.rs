//! The values, their two formats, methods and headers.

use crate::support::{Connection, Raw, Service};

#[tokio::test]
async fn each_kind_answers_in_its_shape() {
    let service = Service::start("").await;
    let mut connection = Connection::open(service.addr).await;
    for _ in 0..50 {
        for kind in ["bool", "int", "float", "double"] {
            let reply = connection.ask("GET", &format!("/{kind}"), &[]).await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("content-type"), "application/json");
            assert_eq!(reply.header("cache-control"), "no-store");
            assert_eq!(reply.header("vary"), "Accept");
            assert_eq!(reply.header("connection"), "");
            let json = reply.json();
            let object = json.as_object().expect("an object");
            assert_eq!(object.keys().collect::<Vec<_>>(), ["kind", "value", "instance"]);
            assert_eq!(json["kind"], kind);
            assert_eq!(json["instance"], "host1/svc-11");
            match kind {
                "bool" => assert!(json["value"].is_boolean()),
                "int" => assert!(i32::try_from(json["value"].as_i64().expect("an integer")).is_ok()),
                _ => assert!((0.0..1.0).contains(&json["value"].as_f64().expect("a number")), "{json}"),
            }
        }
    }
    assert_eq!(service.metric("rng_connections", ""), 1.0);
    assert_eq!(service.metric("rng_requests_total", "route=int"), 50.0);
}

#[tokio::test]
async fn bounds_are_kept() {
    let service = Service::start("").await;
    let mut connection = Connection::open(service.addr).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let reply = connection.ask("GET", "/int?min=-1&max=1", &[]).await;
        seen.insert(reply.json()["value"].as_i64().expect("an integer"));
        let reply = connection.ask("GET", "/double?min=1e300&max=2e300", &[]).await;
        assert!((1e300..2e300).contains(&reply.json()["value"].as_f64().expect("a number")));
        let reply = connection.ask("GET", "/float?min=-2&max=-1.5", &[("accept", "text/plain")]).await;
        assert!((-2.0..-1.5).contains(&reply.body.parse::<f32>().expect("a number")), "{reply:?}");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-1, 0, 1]);
}

#[tokio::test]
async fn the_client_chooses_the_format() {
    let service = Service::start("").await;
    let reply = service.ask("GET", "/int?min=7&max=7", &[("accept", "text/plain")]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "7"));
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(reply.header("cache-control"), "no-store");
    let reply = service.ask("GET", "/bool", &[("accept", "text/plain;q=0.5, */*;q=0.1")]).await;
    assert!(matches!(reply.body.as_str(), "true" | "false"), "{reply:?}");
    let reply = service.ask("GET", "/int?min=7&max=7", &[("accept", "*/*")]).await;
    assert_eq!(reply.body, r#"{"kind":"int","value":7,"instance":"host1/svc-11"}"#);
    let reply = service.ask("GET", "/int", &[("accept", "text/html")]).await;
    assert_eq!((reply.status, reply.header("vary")), (406, "Accept"));
    assert_eq!(reply.error().error.path.as_deref(), Some("Accept"));
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let service = Service::start("").await;
    for (target, content_type) in [
        ("/int?min=5&max=5", "application/json"),
        ("/healthz", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/heartbeat", "text/event-stream"),
    ] {
        let reply = service.ask("HEAD", target, &[]).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{target}");
        assert_eq!(reply.header("content-type"), content_type, "{target}");
    }
    let get = service.get("/int?min=5&max=5").await;
    let head = service.ask("HEAD", "/int?min=5&max=5", &[]).await;
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("content-length"), get.body.len().to_string());
    assert_eq!(service.metric("rng_heartbeat_readers", ""), 0.0);
}

#[tokio::test]
async fn head_leaves_nothing_on_the_connection() {
    let service = Service::start("").await;
    let mut raw = Raw::open(service.addr).await;
    raw.write("HEAD /heartbeat HTTP/1.1\r\nhost: a\r\n\r\nHEAD /nothing HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.write("HEAD /int HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let all = raw.rest().await;
    let heads: Vec<&str> = all.split_terminator("\r\n\r\n").collect();
    assert_eq!(heads.len(), 3, "{all}");
    assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 ")), "{all}");
    assert!(!heads[0].contains("content-length"), "the length of a stream is unknown: {all}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let service = Service::start("").await;
    for target in ["/", "/ints", "/int/", "/INT", "//int", "/heartbeat/x"] {
        let reply = service.get(target).await;
        assert_eq!((reply.status, reply.error().error.code.as_str()), (404, "not_found"), "{target}");
        assert_eq!(service.ask("POST", target, &[]).await.status, 404, "{target}");
    }
    for target in ["/bool", "/int?min=x", "/heartbeat", "/metrics", "/healthz"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let reply = service.ask(method, target, &[]).await;
            assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"), "{method} {target}");
            assert_eq!(reply.error().error.code, "method_not_allowed");
        }
    }
    assert_eq!(service.metric("rng_requests_total", "route=other"), 12.0);
}

#[tokio::test]
async fn health_and_metrics() {
    let service = Service::start("").await;
    let reply = service.get("/healthz").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"OK"}"#));
    service.get("/int").await;
    service.get("/int?min=x").await;
    let text = service.get("/metrics").await.body;
    for line in [
        r#"rng_requests_total{code="200",route="int"} 1"#,
        r#"rng_requests_total{code="400",route="int"} 1"#,
        r#"rng_requests_total{code="200",route="healthz"} 1"#,
        "rng_requests_in_flight 1",
        "rng_draining 0",
        "rng_heartbeat_readers 0",
        "rng_request_duration_seconds_count 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    assert!(text.contains("rng_cpu_seconds "), "{text}");
}
