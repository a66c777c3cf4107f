//! The access log, from a client's request to the line.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Balancer, Does, Raw, Upstream, send, until};

fn table(path: &Path, more: &str) -> String {
    format!("[access_log]\npath = \"{}\"\n{more}", path.display())
}

/// The lines of the log, when there are so many.
async fn lines(path: &Path, n: usize) -> Vec<String> {
    let mut lines = Vec::new();
    until(&format!("{n} lines"), async || {
        lines = fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect();
        lines.len() >= n
    })
    .await;
    assert_eq!(lines.len(), n);
    lines
}

const REQUEST: &str =
    "GET /a?b=c HTTP/1.1\r\nHost: test.example\r\nUser-Agent: agent\r\nX-Request-Id: r-1\r\n\r\n";

/// Two upstreams of which the first fails, and a load balancer with this log.
async fn with_retry(tables: &str) -> (Balancer, Upstream, Upstream) {
    let fails = Upstream::new("fails", Does::Says("HTTP/1.1 502 Oops\r\nContent-Length: 0\r\n\r\n")).await;
    let serves = Upstream::new("serves", Does::Serves).await;
    let lb = Balancer::start("", &format!("[client]\ntrust_forwarded = true\n{tables}")).await;
    lb.set_json(1, vec![fails.json(), serves.with(&json!({"backup": true}))]).await;
    (lb, fails, serves)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_line_names_every_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access");
    let (lb, fails, serves) = with_retry(&table(&path, "")).await;
    let mut client = Raw::connect(lb.traffic).await;
    client.send(REQUEST).await;
    let (_, body) = client.answer().await.unwrap();
    assert_eq!(body, "host1/serves 1 0");
    let line = lines(&path, 1).await.remove(0);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let rest = format!("] \"GET /a?b=c HTTP/1.1\" 200 {} \"-\" \"agent\" rt=", body.len());
    assert!(line.contains(&rest), "{line}");
    assert!(
        line.contains(&format!(" ua=\"{}, {}\" us=\"502, 200\" urt=\"", fails.addr, serves.addr)),
        "{line}"
    );
    assert!(line.contains(" host=\"test.example\" id=\"r-1\" tls=- end="), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_line_names_every_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access");
    let (lb, fails, serves) = with_retry(&table(&path, "format = \"json\"\n")).await;
    fails.now(Does::ClosesAfterRequest);
    let mut client = Raw::connect(lb.traffic).await;
    client.send(REQUEST).await;
    client.answer().await.unwrap();
    // One that is nobody's: no upstream is asked.
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
    lb.set_json(2, Vec::new()).await;
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 503);
    let lines: Vec<Value> =
        lines(&path, 3).await.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = &lines[0];
    assert_eq!(
        (&line["method"], &line["target"], &line["status"]),
        (&json!("GET"), &json!("/a?b=c"), &json!(200))
    );
    assert_eq!((&line["host"], &line["request_id"]), (&json!("test.example"), &json!("r-1")));
    let attempts = line["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{line}");
    assert_eq!((&attempts[0]["upstream"], &attempts[0]["failed"]), (&json!(fails.addr), &json!("reset")));
    assert_eq!((&attempts[1]["upstream"], &attempts[1]["status"]), (&json!(serves.addr), &json!(200)));
    assert!(line["duration_ms"].as_f64().unwrap() >= attempts[1]["duration_ms"].as_f64().unwrap(), "{line}");
    assert_eq!((&lines[2]["status"], &lines[2]["attempts"]), (&json!(503), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_cannot_forge_a_line() {
    for format in ["text", "json"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access");
        let lb = Balancer::start("", &table(&path, &format!("format = \"{format}\"\n"))).await;
        let upstream = Upstream::new("a", Does::Serves).await;
        lb.set(1, &[&upstream]).await;
        let mut client = Raw::connect(lb.traffic).await;
        let agent = "x\" 200 \\ \u{e9} \u{9b}31m\tend";
        client
            .send(&format!("GET /\"'\\{{}}<script> HTTP/1.1\r\nHost: h\r\nUser-Agent: {agent}\r\n\r\n"))
            .await;
        let answered = client.answer().await.unwrap().0;
        let line = lines(&path, 1).await.remove(0);
        assert!(line.bytes().all(|byte| !byte.is_ascii_control()), "{answered} {line}");
        if format == "text" {
            assert!(line.contains("\"x\\x22 200 \\x5C \\xC3\\xA9 \\xC2\\x9B31m\\x09end\""), "{line}");
        } else {
            let json: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(json["user_agent"], agent);
            assert!(!line.contains('\u{9b}'), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_no_traffic() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::start("", &table(Path::new("/dev/full"), "queue = 1\n")).await;
    lb.set(1, &[&upstream]).await;
    for _ in 0..50 {
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
    }
    until("counted", async || lb.metric("lb_access_log_lost").await == Some(50.0)).await;
    lb.stop().await;
}
