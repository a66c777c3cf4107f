use super::support::{Balancer, Does, Raw, Upstream, http};

async fn status(lb: &Balancer, method: &str, path: &str) -> u16 {
    http(lb.traffic, method, path, &[], Vec::new()).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_paths_are_not_asked_for() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::simple().await;
    lb.set(1, &[&upstream]).await;
    for path in ["/heartbeat", "/heartbeat?x=1", "/metrics", "/healthz?"] {
        let answer = http(lb.traffic, "GET", path, &[], Vec::new()).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
        assert_eq!(answer.headers["content-type"], "application/json");
    }
    assert_eq!(status(&lb, "POST", "/heartbeat").await, 404);
    let mut raw = Raw::connect(lb.traffic).await;
    // However a client writes it, what the upstream would read as the path is compared.
    for target in ["http://x/heartbeat", "http://x/heartbeat?a"] {
        raw.send(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let (head, _) = raw.answer().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 404 "), "{target}: {head}");
    }
    let mut fragment = Raw::connect(lb.traffic).await;
    fragment.send("GET /heartbeat#a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, _) = fragment.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(upstream.connections(), 0);
    // The connection is still good, and other paths are the upstream's.
    for path in ["/", "/heartbeats", "/a/heartbeat", "/?/heartbeat"] {
        raw.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(raw.answer().await.unwrap().0.starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert_eq!(upstream.requests().len(), 4);
    assert_eq!(lb.get("/metrics").await.status, 200, "the load balancer's own are elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_can_be_chosen() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::start("hidden_paths = [\"/private\"]", "").await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(status(&lb, "GET", "/private").await, 404);
    assert_eq!(status(&lb, "GET", "/heartbeat").await, 200);
    let lb = Balancer::start("hidden_paths = []", "").await;
    lb.set(1, &[&upstream]).await;
    assert_eq!(status(&lb, "GET", "/metrics").await, 200);
}
