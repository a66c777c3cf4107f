use serde_json::json;

use super::support::{Balancer, Does, Raw, Upstream, until};

const PUT: &str = "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

/// Sends the head, waits for the word to go on, and sends the body.
async fn ask(lb: &Balancer, head: &str) -> (String, String) {
    let mut raw = Raw::connect(lb.traffic).await;
    raw.send(head).await;
    let (go_on, _) = raw.answer().await.unwrap();
    assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
    raw.send("body").await;
    raw.answer().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_word_to_go_on_another_upstream_can_answer() {
    let dies = Upstream::new("dies", Does::ContinuesAndCloses).await;
    let good = Upstream::new("good", Does::Serves).await;
    let lb = Balancer::simple().await;
    lb.set_json(1, vec![dies.json(), good.with(&json!({"backup": true}))]).await;
    let (head, body) = ask(&lb, PUT).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.starts_with("host1/good "), "{head}{body}");
    assert_eq!(good.requests()[0].body, b"body");
    assert_eq!(lb.metric("lb_retries_total{reason=\"reset\"}").await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_word_to_go_on_a_failure_is_still_told() {
    let dies = Upstream::new("dies", Does::ContinuesAndCloses).await;
    let lb = Balancer::simple().await;
    lb.set(1, &[&dies]).await;
    for (request, why) in [(PUT, "all were tried"), (POST, "not_idempotent")] {
        let (head, body) = ask(&lb, request).await;
        assert!(head.starts_with("HTTP/1.1 502 ") && body.contains("upstream_failed"), "{head}{body}");
        assert!(body.contains(why), "{body}");
    }
    // A request is counted a moment after its answer is with the client.
    until("counted", async || lb.metric("lb_requests_total{code=\"5xx\"}").await == Some(2.0)).await;
    assert_eq!(lb.metric("lb_requests_total{code=\"1xx\"}").await, Some(0.0));
}
