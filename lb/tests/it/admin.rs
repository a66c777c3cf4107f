use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::support::{Answer, Balancer, Does, Raw, TOKEN, Upstream, http};

fn set(generation: u64, ids: &[u64]) -> Value {
    let upstreams: Vec<Value> = ids
        .iter()
        .map(
            |n| json!({"id": format!("h/u{n}"), "incarnation": 1, "addr": format!("127.0.0.1:{}", 1000 + n)}),
        )
        .collect();
    json!({"generation": generation, "upstreams": upstreams})
}

async fn generation(lb: &Balancer) -> u64 {
    lb.get("/v1/upstreams").await.json()["generation"].as_u64().unwrap()
}

async fn with_token(lb: &Balancer, authorization: &str) -> Answer {
    let headers = [("Authorization", authorization.to_owned())];
    http(lb.admin, "PUT", "/v1/upstreams", &headers, set(1, &[]).to_string().into_bytes()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_need_the_token() {
    let lb = Balancer::simple().await;
    let wrong = TOKEN.replace('a', "b");
    for authorization in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        &format!("Basic {TOKEN}"),
        &format!("Bearer {wrong}"),
        &format!("Bearer {TOKEN}x"),
    ] {
        let answer = with_token(&lb, authorization).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{authorization:?}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let delete = http(lb.admin, "DELETE", "/v1/upstreams/h/u1?generation=2", &[], vec![]).await.unwrap();
    assert_eq!(delete.status, 401);
    assert_eq!(generation(&lb).await, 0);
    assert_eq!(with_token(&lb, &format!("bearer {TOKEN}")).await.status, 200);
    assert_eq!(generation(&lb).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_closed_and_take_no_place() {
    let tables = "[admin]\nmax_connections = 1\nallow = [\"192.0.2.0/24\", \"127.0.0.1\"]\n";
    let lb = Balancer::start("", tables).await;
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        strangers.push(Raw(socket.connect(lb.admin).await.unwrap()));
    }
    assert_eq!(lb.get("/healthz").await.status, 200);
    for mut stranger in strangers {
        assert_eq!(stranger.rest().await.0, "");
    }

    let lb = Balancer::start("", "[admin]\nallow = [\"192.0.2.0/24\"]\n").await;
    for path in ["/healthz", "/v1/upstreams", "/heartbeat", "/nothing"] {
        assert!(http(lb.admin, "GET", path, &[], Vec::new()).await.is_err(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_an_answer_does_not_keep_a_place() {
    let lb = Balancer::start("", "[admin]\nmax_connections = 1\nwrite_timeout_ms = 100\n").await;
    // Far more than the kernel holds for a connection.
    assert_eq!(lb.put(&set(1, &(1..=1000).collect::<Vec<_>>())).await.status, 200);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    let mut stuck = Raw(socket.connect(lb.admin).await.unwrap());
    stuck.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let next = tokio::time::timeout(Duration::from_secs(20), lb.get("/healthz")).await;
    assert_eq!(next.expect("its place is free again").status, 200);
    let (head, _) = stuck.rest().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.ends_with("}\n"), "it was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_sets_are_refused_and_change_nothing() {
    let lb = Balancer::start("", "[limits]\nupstreams = 2\n[admin]\nmax_body_bytes = 2000\n").await;
    assert_eq!(lb.put(&set(1, &[1])).await.status, 200);
    let before = lb.get("/v1/upstreams").await.text();
    let one = |field: &str, value: Value| {
        let mut body = set(2, &[1, 2]);
        body["upstreams"][1][field] = value;
        body.to_string()
    };
    for (body, path) in [
        (one("addr", json!("localhost:80")), "upstreams[1].addr"),
        (one("addr", json!("127.0.0.1:0")), "upstreams[1].addr"),
        (one("addr", json!("127.0.0.1:1001")), "upstreams[1].addr"),
        (one("id", json!("h/u1")), "upstreams[1].id"),
        (one("id", json!("two/slashes/")), "upstreams[1].id"),
        (one("id", json!("-word")), "upstreams[1].id"),
        (one("incarnation", json!(0)), "upstreams[1].incarnation"),
        (one("incarnation", json!(-1)), "upstreams[1].incarnation"),
        (one("weight", json!(0)), "upstreams[1].weight"),
        (one("weight", json!(1001)), "upstreams[1].weight"),
        (one("state", json!("down")), "upstreams[1].state"),
        (one("max_conns", json!("many")), "upstreams[1].max_conns"),
        (one("colour", json!("red")), "upstreams[1].colour"),
        (set(2, &[1, 2, 3]).to_string(), "upstreams"),
        (set(0, &[]).to_string(), "generation"),
        (set(u64::MAX, &[]).to_string(), "generation"),
        (json!({"generation": 2, "upstreams": [], "extra": 1}).to_string(), "extra"),
        (json!({"generation": 2}).to_string(), ""),
        ("{\"generation\": 2, \"upstreams\": []} trailing".to_owned(), ""),
        ("{\"generation\": 2, \"upstreams\": [".to_owned(), "upstreams"),
        ("not json".to_owned(), ""),
        (String::new(), ""),
    ] {
        let answer = lb.write("PUT", "/v1/upstreams", &body).await;
        assert_eq!((answer.status, answer.path().as_str()), (400, path), "{body}: {}", answer.text());
    }
    let answer = lb.write("PUT", "/v1/upstreams", &" ".repeat(3000)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert_eq!(lb.get("/v1/upstreams").await.text(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_errors_are_json_too() {
    let lb = Balancer::simple().await;
    for (method, path, status, code) in [
        ("GET", "/", 404, "not_found"),
        ("PUT", "/v1/upstream", 404, "not_found"),
        ("POST", "/v1/upstreams", 405, "method_not_allowed"),
        ("GET", "/v1/upstreams/h/u1", 405, "method_not_allowed"),
        ("POST", "/heartbeat", 405, "method_not_allowed"),
    ] {
        let answer = http(lb.admin, method, path, &[], vec![]).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_order_writes() {
    let lb = Balancer::simple().await;
    let answer = lb.put(&set(5, &[1, 2])).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"generation": 5})));
    let stale = lb.put(&set(4, &[3])).await;
    assert_eq!((stale.status, stale.code().as_str()), (409, "stale_generation"));
    assert!(stale.text().contains("present generation 5"), "{}", stale.text());
    assert_eq!(stale.headers["phalanx-generation"], "5");
    let conflict = lb.put(&set(5, &[1])).await;
    assert_eq!((conflict.status, conflict.code().as_str()), (409, "generation_conflict"));
    assert_eq!(lb.put(&set(5, &[2, 1])).await.status, 200);

    let view = lb.get("/v1/upstreams").await.json();
    assert_eq!(view["generation"], 5);
    assert_eq!(
        view["upstreams"][0],
        json!({"id": "h/u1", "incarnation": 1, "addr": "127.0.0.1:1001", "weight": 1, "state": "up", "backup": false,
               "max_conns": 0, "available": true, "in_flight": 0, "attempts_total": 0, "failures_total": 0})
    );

    let delete = async |rest: &str| lb.write("DELETE", &format!("/v1/upstreams/{rest}"), "").await;
    for (rest, status, code) in [
        ("h/u1?generation=5", 409, "stale_generation"),
        ("h/u9?generation=6", 404, "unknown_upstream"),
        ("h/u1", 400, "invalid_parameter"),
        ("h/u1?generation=x", 400, "invalid_parameter"),
        ("h/u1?generation=6&force=1", 400, "invalid_parameter"),
    ] {
        let answer = delete(rest).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{rest}");
    }
    assert_eq!(delete("h%2Fu1?generation=6").await.json(), json!({"generation": 6}));
    assert_eq!(delete("h/u2?generation=9").await.json(), json!({"generation": 9}));
    assert_eq!(lb.get("/v1/upstreams").await.json(), json!({"generation": 9, "upstreams": []}));
    assert_eq!(lb.metric("lb_generation").await, Some(9.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn crossed_writes_end_with_the_newest() {
    let lb = Balancer::simple().await;
    let admin = lb.admin;
    let writers: Vec<_> = (0..8u64)
        .map(|writer| {
            tokio::spawn(async move {
                let mut accepted = 0;
                // Each writer's order is another; together they send every generation from 1 to 200.
                for i in 0..25u64 {
                    let generation = 1 + (i * 7 % 25) * 8 + writer;
                    let headers = [("Authorization", format!("Bearer {TOKEN}"))];
                    let body = set(generation, &[generation, 1000 + generation]).to_string().into_bytes();
                    let answer = http(admin, "PUT", "/v1/upstreams", &headers, body).await.unwrap();
                    assert!([200, 409].contains(&answer.status), "{}", answer.status);
                    if answer.status == 200 {
                        assert!(accepted < generation, "an older one was accepted after a newer one");
                        accepted = generation;
                    }
                }
                accepted
            })
        })
        .collect();
    let mut seen = 0;
    for writer in writers {
        let view = lb.get("/v1/upstreams").await.json();
        let now = view["generation"].as_u64().unwrap();
        assert!(now >= seen);
        seen = now;
        if now > 0 {
            assert_eq!(view["upstreams"][0]["id"], format!("h/u{now}"), "a set belongs to its generation");
            assert_eq!(view["upstreams"][1]["id"], format!("h/u{}", 1000 + now));
        }
        assert!(writer.await.unwrap() <= 200);
    }
    assert_eq!(generation(&lb).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics() {
    let lb = Balancer::simple().await;
    assert_eq!(lb.get("/healthz").await.status, 200);
    assert_eq!(lb.get("/readyz").await.status, 503);
    let upstream = Upstream::new("a", Does::Serves).await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(lb.get("/readyz").await.status, 200);
    lb.set_json(2, vec![upstream.with(&json!({"state": "draining"}))]).await;
    assert_eq!(lb.get("/readyz").await.status, 503);
    let metrics = lb.get("/metrics").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    for name in [
        "lb_requests_total",
        "lb_request_duration_seconds",
        "lb_attempts_total",
        "lb_retries_total",
        "lb_upstreams",
        "lb_generation",
        "lb_in_flight",
        "lb_connections",
        "lb_state_write_failures_total",
    ] {
        assert!(metrics.text().contains(&format!("# TYPE {name} ")), "{name}");
    }
}
