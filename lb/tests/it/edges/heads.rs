//! What a head becomes on its way.

use super::support::{Message, Wire, pair};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// What an upstream gets for this head.
async fn forwarded(tables: &str, head: &str) -> Message {
    let (lb, backend) = pair(tables).await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send(head).await;
    let mut server = backend.accept().await;
    let asked = server.request().await;
    server.send(OK).await;
    assert_eq!(client.answer().await.text(), "ok");
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_one_hop_stay_there() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Hop\r\nConnection: x-other\r\nX-Hop: 1\r\nX-OTHER: 2\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
             X-End: 3\r\n\r\n",
        )
        .await;
    let mut server = backend.accept().await;
    let asked = server.request().await;
    for name in [
        "connection",
        "x-hop",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "http2-settings",
    ] {
        assert_eq!(asked.value(name), None, "{}", asked.head);
    }
    assert_eq!(asked.value("x-end"), Some("3"));
    server
        .send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
             Upgrade: h2c\r\nX-End: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok",
        )
        .await;
    let answer = client.answer().await;
    for name in ["connection", "x-hop", "keep-alive", "upgrade"] {
        assert_eq!(answer.value(name), None, "{}", answer.head);
    }
    assert_eq!(answer.value("x-end"), Some("2"));
    assert_eq!(answer.values("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_make_a_field_vanish_that_matters() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: Host, Content-Length, Cookie, Authorization, X-Forwarded-For\r\n\
                Cookie: a=b\r\nAuthorization: basic\r\nContent-Length: 4\r\n\r\nbody";
    let asked = forwarded("", head).await;
    assert_eq!((asked.value("host"), asked.text()), (Some("x"), "body"));
    assert_eq!((asked.value("cookie"), asked.value("authorization")), (Some("a=b"), Some("basic")));
    assert_eq!(asked.value("x-forwarded-for"), Some("127.0.0.1"));
}

const CLAIMS: &str = "GET /p HTTP/1.1\r\nHost: real.example\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: claimed.example\r\nX-Forwarded-Port: 443\r\nForwarded: for=192.0.2.1\r\n\
    X-Request-Id: client-id\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_claims_about_itself_is_replaced() {
    let asked = forwarded("", CLAIMS).await;
    assert_eq!(asked.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.value("x-forwarded-proto"), Some("http"));
    assert_eq!(asked.value("x-forwarded-host"), Some("real.example"));
    assert_eq!((asked.value("x-forwarded-port"), asked.value("forwarded")), (None, None), "{}", asked.head);
    let id = asked.value("x-request-id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_client_claims_is_kept() {
    let asked = forwarded("[client]\ntrust_forwarded = true\n", CLAIMS).await;
    assert_eq!(asked.value("x-forwarded-for"), Some("192.0.2.1, 192.0.2.2, 127.0.0.1"));
    assert_eq!(asked.value("x-forwarded-proto"), Some("https"));
    assert_eq!(asked.value("x-forwarded-host"), Some("claimed.example"));
    assert_eq!(
        (asked.value("x-forwarded-port"), asked.value("forwarded")),
        (Some("443"), Some("for=192.0.2.1"))
    );
    assert_eq!(asked.value("x-request-id"), Some("client-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_says_where_to_before_host_does() {
    for (target, line, host) in [
        ("http://target.example:81/a?b", "GET /a?b HTTP/1.1", "target.example:81"),
        ("HTTP://target.example", "GET / HTTP/1.1", "target.example"),
        ("http://target.example?q", "GET /?q HTTP/1.1", "target.example"),
    ] {
        let asked = forwarded("", &format!("GET {target} HTTP/1.1\r\nHost: other.example\r\n\r\n")).await;
        assert_eq!(asked.head.lines().next(), Some(line));
        assert_eq!((asked.value("host"), asked.value("x-forwarded-host")), (Some(host), Some(host)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_passed_on_as_it_came() {
    let target = "/a/../b//c/%2e%2E;p?q=%20|[]\\{}'\"<>^`&&?";
    let asked = forwarded("", &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!(asked.head.lines().next(), Some(format!("GET {target} HTTP/1.1").as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_the_whole_server() {
    for target in ["*", "http://x"] {
        let asked = forwarded("", &format!("OPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(asked.head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{}", asked.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_passed_on_as_they_came() {
    for method in ["PATCH", "PROPFIND", "get", "M-SEARCH", "x!#$%&'*+-.^_`|~9"] {
        let asked = forwarded("", &format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(asked.head.starts_with(&format!("{method} / HTTP/1.1\r\n")), "{}", asked.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.status() == 501 && answer.text().contains("CONNECT"), "{answer:?}");
    assert!(!backend.is_asked());
}
