//! Every wrong query gets 400 and the name of its parameter, and the connection stays usable.

use crate::support::{Connection, Raw, Service};

#[tokio::test]
async fn every_wrong_query_names_its_parameter() {
    let service = Service::start("").await;
    let mut connection = Connection::open(service.addr).await;
    let cases = [
        ("/bool?min=1", "min", "unknown_parameter"),
        ("/bool?max=1", "max", "unknown_parameter"),
        ("/int?seed=1", "seed", "unknown_parameter"),
        ("/int?min=1&max=2&seed=3", "seed", "unknown_parameter"),
        ("/int?min=1&min=1", "min", "duplicate_parameter"),
        ("/float?max=0.5&max=0.6", "max", "duplicate_parameter"),
        ("/int?min=%", "min", "bad_encoding"),
        ("/int?max=%4", "max", "bad_encoding"),
        ("/double?max=%gg", "max", "bad_encoding"),
        ("/double?min=%ff", "min", "bad_encoding"),
        ("/int?min=", "min", "invalid_parameter"),
        ("/int?min", "min", "invalid_parameter"),
        ("/int?min=ten", "min", "invalid_parameter"),
        ("/int?max=1.0", "max", "invalid_parameter"),
        ("/float?min=abc", "min", "invalid_parameter"),
        ("/float?min=nan", "min", "invalid_parameter"),
        ("/double?max=NaN", "max", "invalid_parameter"),
        ("/float?max=inf", "max", "invalid_parameter"),
        ("/double?min=-inf", "min", "invalid_parameter"),
        ("/double?max=infinity", "max", "invalid_parameter"),
        ("/int?max=3000000000", "max", "out_of_range"),
        ("/int?min=-2147483649", "min", "out_of_range"),
        ("/float?max=1e39", "max", "out_of_range"),
        ("/float?min=-1e39", "min", "out_of_range"),
        ("/double?max=1e309", "max", "out_of_range"),
        ("/float?min=-3e38&max=3e38", "min", "out_of_range"),
        ("/double?min=-1e308&max=1e308", "min", "out_of_range"),
        ("/int?min=2&max=1", "min", "empty_range"),
        ("/float?min=1&max=1", "min", "empty_range"),
        ("/float?min=1", "min", "empty_range"),
        ("/float?max=0", "max", "empty_range"),
        ("/double?min=2&max=1", "min", "empty_range"),
        ("/double?max=-1", "max", "empty_range"),
    ];
    for (target, parameter, code) in cases {
        let reply = connection.ask("GET", target, &[]).await;
        assert_eq!(reply.status, 400, "{target}: {reply:?}");
        assert_eq!(reply.header("content-type"), "application/json");
        let error = reply.error().error;
        assert_eq!(
            (error.path.as_deref(), error.code.as_str()),
            (Some(parameter), code),
            "{target}: {error:?}"
        );
        assert!(!error.message.is_empty());
        let head = connection.ask("HEAD", target, &[("accept", "text/plain")]).await;
        assert_eq!((head.status, head.body.as_str()), (400, ""), "{target}");
    }
    assert_eq!(connection.ask("GET", "/int", &[]).await.status, 200);
    assert_eq!(service.metric("rng_connections", ""), 1.0);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let service = Service::start("").await;
    for bytes in
        ["nonsense\r\n\r\n", "GET\r\n\r\n", "GET /int HTTP/9.9\r\n\r\n", "GET /int HTTP/1.1\r\n: x\r\n\r\n"]
    {
        let mut raw = Raw::open(service.addr).await;
        raw.write(bytes).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bytes:?}: {answer:?}");
    }
}
