use super::heartbeat::Reader;
use super::support::{Balancer, Does, Upstream, send};

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_says_how_busy_it_was_lately() {
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::start("", "[heartbeat]\ninterval_ms = 20\n").await;
    lb.set(1, &[&upstream]).await;
    let mut reader = Reader::connect(lb.admin).await;
    let load = loop {
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
        let load = reader.next().await.unwrap()["load"].clone();
        if load["latency_ms"].is_object() && load["requests_per_second"].as_f64() > Some(0.0) {
            break load;
        }
    };
    let (mean, p99) =
        (load["latency_ms"]["mean"].as_f64().unwrap(), load["latency_ms"]["p99"].as_f64().unwrap());
    assert!(mean > 0.0 && p99 > 0.0, "{load}");
    // Idle for longer than it looks back.
    while reader.next().await.unwrap()["load"]["requests_per_second"] != 0.0 {}
    while !reader.next().await.unwrap()["load"]["latency_ms"].is_null() {}
}
