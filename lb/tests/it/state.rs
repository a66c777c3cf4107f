use std::fs;

use serde_json::{Value, json};

use super::support::{Balancer, Does, Upstream, send, until};

fn top(path: &std::path::Path) -> String {
    format!("state_file = {:?}\n", path.to_str().unwrap())
}

fn written(path: &std::path::Path) -> Value {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_set_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upstreams.json");
    let upstream = Upstream::new("a", Does::Serves).await;
    let lb = Balancer::start(&top(&path), "").await;
    for generation in 1..=20 {
        lb.set_json(generation, vec![upstream.with(&json!({"weight": generation}))]).await;
    }
    lb.stop().await;
    assert_eq!(written(&path)["generation"], 20);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left there");

    let lb = Balancer::start(&top(&path), "").await;
    assert_eq!(lb.get("/readyz").await.status, 200);
    assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
    assert_eq!(lb.status_of(&upstream).await["weight"], 20);
    let stale = lb.put(&json!({"generation": 19, "upstreams": []})).await;
    assert_eq!(stale.status, 409);
    let same = vec![upstream.with(&json!({"weight": 20}))];
    assert_eq!(lb.put(&json!({"generation": 20, "upstreams": same})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_no_use_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upstreams.json");
    let duplicate = json!({"id": "h/a", "incarnation": 1, "addr": "127.0.0.1:80"});
    let invalid = json!({"generation": 3, "upstreams": [duplicate, duplicate]}).to_string();
    for content in ["", "{\"generation\": 5, \"upstr", "\u{0}\u{0}\u{0}", "{\"generation\": 5}", &invalid] {
        fs::write(&path, content).unwrap();
        let lb = Balancer::start(&top(&path), "").await;
        assert_eq!(lb.get("/v1/upstreams").await.json()["generation"], 0);
        assert_eq!(fs::read_to_string(dir.path().join("upstreams.json.bad")).unwrap(), content);
        lb.set_json(1, vec![]).await;
        until("written", async || written(&path)["generation"] == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let upstream = Upstream::new("a", Does::Serves).await;
    for parent in [&missing, &file] {
        let lb = Balancer::start(&top(&parent.join("upstreams.json")), "").await;
        lb.set(1, &[&upstream]).await;
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
        until("counted", async || lb.metric("lb_state_write_failures_total").await >= Some(1.0)).await;
        assert_eq!(lb.get("/v1/upstreams").await.json()["generation"], 1);
    }
    // It recovers by itself with the next set.
    let path = missing.join("upstreams.json");
    let lb = Balancer::start(&top(&path), "").await;
    lb.set(1, &[&upstream]).await;
    until("counted", async || lb.metric("lb_state_write_failures_total").await >= Some(1.0)).await;
    fs::create_dir(&missing).unwrap();
    lb.set(2, &[&upstream]).await;
    until("written", async || written(&path)["generation"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upstreams.json");
    let lb = Balancer::start(&top(&path), "").await;
    lb.set_json(1, vec![]).await;
    until("written", async || written(&path)["generation"] == 1).await;
    // Every write to what is written first now fails with ENOSPC.
    std::os::unix::fs::symlink("/dev/full", dir.path().join("upstreams.json.tmp")).unwrap();
    lb.set_json(2, vec![]).await;
    until("counted", async || lb.metric("lb_state_write_failures_total").await == Some(1.0)).await;
    assert_eq!(written(&path)["generation"], 1);
    assert_eq!(lb.get("/v1/upstreams").await.json()["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_list_wins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upstreams.json");
    let (a, b) = (Upstream::new("a", Does::Serves).await, Upstream::new("b", Does::Serves).await);
    let table = |upstream: &Upstream| {
        format!("[[upstreams]]\nid = \"{}\"\naddr = \"{}\"\n", upstream.id, upstream.addr)
    };
    let serves = async |lb: &Balancer| send(lb.traffic, "GET", Vec::new()).await.text();
    let generation = async |lb: &Balancer| lb.get("/v1/upstreams").await.json()["generation"].clone();

    let lb = Balancer::start(&top(&path), &table(&a)).await;
    assert!(serves(&lb).await.starts_with("host1/a "));
    lb.stop().await;
    let lb = Balancer::start(&top(&path), &table(&b)).await;
    assert!(serves(&lb).await.starts_with("host1/b "));
    assert_eq!(generation(&lb).await, 2);
    // A pushed set is kept as long as the list is not edited again, and so it is when there is no list any more.
    lb.set(7, &[&a]).await;
    lb.stop().await;
    for tables in [table(&b), String::new()] {
        let lb = Balancer::start(&top(&path), &tables).await;
        assert!(serves(&lb).await.starts_with("host1/a "));
        assert_eq!(generation(&lb).await, 7);
        lb.stop().await;
    }
    // An edit that was reloaded is known to the file.
    let lb = Balancer::start(&top(&path), &table(&b)).await;
    lb.reload(&top(&path), &table(&a)).await;
    assert_eq!(generation(&lb).await, 8);
    lb.set(9, &[&b]).await;
    lb.stop().await;
    let lb = Balancer::start(&top(&path), &table(&a)).await;
    assert!(serves(&lb).await.starts_with("host1/b "));
    assert_eq!(generation(&lb).await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_an_older_version_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upstreams.json");
    let (a, b) = (Upstream::new("a", Does::Serves).await, Upstream::new("b", Does::Serves).await);
    fs::write(&path, json!({"generation": 5, "upstreams": [a.json()]}).to_string()).unwrap();
    let table = format!("[[upstreams]]\nid = \"b\"\naddr = \"{}\"\n", b.addr);
    let lb = Balancer::start(&top(&path), &table).await;
    assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/a "));
    // From now on an edit would be noticed.
    until("written", async || written(&path)["configured"][0]["id"] == "b").await;
    assert_eq!(written(&path)["generation"], 5);
}
