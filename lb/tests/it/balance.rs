//! How requests are shared out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::support::{Balancer, Burst, Does, Raw, Upstream, burst, http, send, until};

async fn upstreams(n: usize, does: &Does) -> Vec<Upstream> {
    let mut all = Vec::new();
    for i in 0..n {
        all.push(Upstream::new(&format!("u{i}"), does.clone()).await);
    }
    all
}

fn asked(upstreams: &[Upstream]) -> Vec<usize> {
    upstreams.iter().map(Upstream::asked).collect()
}

/// Makes requests one after another that all stay open.
async fn open_requests(lb: &Balancer, n: usize, upstreams: &[Upstream]) -> Vec<Burst> {
    let mut open = Vec::new();
    let before: usize = asked(upstreams).iter().sum();
    for i in 1..=n {
        open.push(burst(1, lb.traffic, "GET", b""));
        until("in flight", async || asked(upstreams).iter().sum::<usize>() == before + i).await;
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn least_conn_fills_up_by_weight() {
    let (gate, open) = watch::channel(false);
    let upstreams = upstreams(3, &Does::ServesWhen(open)).await;
    let [a, b, c] = &upstreams[..] else { unreachable!() };
    let lb = Balancer::start("balance = \"least_conn\"", "").await;
    lb.set_json(1, vec![a.json(), b.with(&json!({"weight": 2})), c.with(&json!({"weight": 3}))]).await;
    let first = open_requests(&lb, 30, &upstreams).await;
    assert_eq!(asked(&upstreams), [5, 10, 15]);
    // A new one is the least used.
    let new = [Upstream::new("new", Does::Hangs).await];
    lb.set_json(2, vec![a.json(), b.json(), c.json(), new[0].json()]).await;
    let second = open_requests(&lb, 5, &new).await;
    gate.send_replace(true);
    for request in first {
        assert_eq!(request.statuses().await, [200]);
    }
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_two_asks_the_less_used() {
    let (gate, open) = watch::channel(false);
    let all = upstreams(2, &Does::Serves).await;
    all[0].now(Does::ServesWhen(open));
    let lb = Balancer::start("balance = \"random_two\"", "").await;
    lb.set(1, &[&all[0]]).await;
    let held = open_requests(&lb, 3, &all[..1]).await;
    lb.set(2, &[&all[0], &all[1]]).await;
    // Of two, both are looked at.
    for _ in 0..20 {
        assert!(send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/u1 "));
    }
    gate.send_replace(true);
    for request in held {
        assert_eq!(request.statuses().await, [200]);
    }
    until("idle", async || lb.status_of(&all[0]).await["in_flight"] == 0).await;
    until("both are asked", async || {
        send(lb.traffic, "GET", Vec::new()).await.text().starts_with("host1/u0 ")
    })
    .await;
}

/// Who serves each of these requests.
async fn map(lb: &Balancer, requests: &[String]) -> Vec<String> {
    let mut served = Vec::new();
    for request in requests {
        let mut raw = Raw::connect(lb.traffic).await;
        raw.send(request).await;
        let (head, body) = raw.answer().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        served.push(body.split(' ').next().unwrap().to_owned());
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stays_where_it_is() {
    let uri = |i| format!("GET /path/{i}?q HTTP/1.1\r\nHost: x\r\n\r\n");
    let header = |i| format!("GET /{} HTTP/1.1\r\nHost: x\r\nX-User: user{i}\r\n\r\n", i % 7);
    let cookie = |i| format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b; sid=s{i}; c=d\r\n\r\n");
    let keys: [(&str, &dyn Fn(usize) -> String); 3] =
        [("uri", &uri), ("header:X-User", &header), ("cookie:sid", &cookie)];
    let all = upstreams(4, &Does::Serves).await;
    for (key, request) in keys {
        let lb = Balancer::start(&format!("balance = \"hash\"\nhash_key = \"{key}\""), "").await;
        lb.set(1, &all.iter().collect::<Vec<_>>()).await;
        let requests: Vec<String> = (0..80).map(request).collect();
        let before = map(&lb, &requests).await;
        assert_eq!(map(&lb, &requests).await, before, "{key}");
        let mut shares = BTreeMap::new();
        for id in &before {
            *shares.entry(id.clone()).or_insert(0) += 1;
        }
        assert_eq!(shares.len(), 4, "{key}: {shares:?}");
        // Only those of the one that leaves move, and they come back with it.
        lb.set(2, &all[..3].iter().collect::<Vec<_>>()).await;
        for (now, before) in map(&lb, &requests).await.iter().zip(&before) {
            assert!(now == before || *before == all[3].id, "{key}: {before} -> {now}");
        }
        lb.set(3, &all.iter().rev().collect::<Vec<_>>()).await;
        assert_eq!(map(&lb, &requests).await, before, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_key_are_spread() {
    let all = upstreams(4, &Does::Serves).await;
    let lb = Balancer::start("balance = \"hash\"\nhash_key = \"header:X-User\"", "").await;
    lb.set(1, &all.iter().collect::<Vec<_>>()).await;
    let served = map(&lb, &vec!["GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(); 200]).await;
    // That one of four is missing by chance is as likely as drawing 200 times without it.
    assert_eq!(served.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_where_it_is() {
    let all = upstreams(4, &Does::Serves).await;
    let lb = Balancer::start("balance = \"hash\"\nhash_key = \"client\"", "").await;
    lb.set(1, &all.iter().collect::<Vec<_>>()).await;
    let mut used = BTreeMap::new();
    for client in 1..=40 {
        let mut served = Vec::new();
        for path in ["/a", "/b"] {
            let mut raw = Raw::connect_from([127, 0, 0, client], lb.traffic).await;
            raw.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            served.push(raw.answer().await.unwrap().1.split(' ').next().unwrap().to_owned());
        }
        assert_eq!(served[0], served[1]);
        *used.entry(served.remove(0)).or_insert(0) += 1;
    }
    assert_eq!(used.len(), 4, "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_all_it_may_have_is_passed_over() {
    for balance in ["round_robin", "least_conn", "random_two", "hash"] {
        let (gate, open) = watch::channel(false);
        let all = upstreams(3, &Does::ServesWhen(open)).await;
        let lb = Balancer::start(&format!("balance = \"{balance}\""), "").await;
        let set = all.iter().map(|upstream| upstream.with(&json!({"max_conns": 4}))).collect();
        lb.set_json(1, set).await;
        let requests = open_requests(&lb, 12, &all).await;
        assert_eq!(asked(&all), [4, 4, 4], "{balance}");
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 503, "{balance}");
        gate.send_replace(true);
        for request in requests {
            assert_eq!(request.statuses().await, [200], "{balance}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_one_starts_slowly() {
    const SLOWLY: Duration = Duration::from_secs(3);
    let all = upstreams(2, &Does::Serves).await;
    let lb = Balancer::start("", "[upstream]\nslow_start_ms = 3000\n").await;
    lb.set(1, &[&all[0]]).await;
    tokio::time::sleep(SLOWLY).await;
    lb.set(2, &[&all[0], &all[1]]).await;
    for _ in 0..40 {
        assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
    }
    let share = all[1].asked();
    assert!(share < 16, "{share} of 40 at once");
    until("it has its share", async || {
        let before = all[1].asked();
        for _ in 0..20 {
            assert_eq!(send(lb.traffic, "GET", Vec::new()).await.status, 200);
        }
        all[1].asked() == before + 10
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_seen_whole_and_fail_nothing() {
    const UPDATES: u64 = 300;
    for balance in ["round_robin", "least_conn", "random_two", "hash"] {
        let all = upstreams(4, &Does::Serves).await;
        let lb = Balancer::start(&format!("balance = \"{balance}\""), "").await;
        lb.set(1, &[&all[0]]).await;
        let (stop, stopped) = watch::channel(false);
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let (traffic, stopped) = (lb.traffic, stopped.clone());
                tokio::spawn(async move {
                    let mut served = 0;
                    while !*stopped.borrow() {
                        let path = format!("/{client}/{served}");
                        let answer = http(traffic, "GET", &path, &[], Vec::new()).await.unwrap();
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for generation in 2..UPDATES {
            // No two sets in a row have an incarnation in common.
            let (one, other) = if generation % 2 == 0 { (&all[0], &all[1]) } else { (&all[2], &all[3]) };
            let life = json!({"incarnation": generation});
            lb.set_json(generation, vec![one.with(&life), other.with(&life)]).await;
        }
        stop.send_replace(true);
        for client in clients {
            assert!(client.await.unwrap() > 0, "{balance}");
        }
    }
}
